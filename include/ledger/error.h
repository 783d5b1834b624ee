/* SPDX-License-Identifier: MIT */
/*
 * Errors of the ledger: one negative code each, 0 is success.
 *
 * A function that returns `int` returns 0 or one of these; where it also returns a count, the count is >= 0.  `*out` is
 * untouched on failure.  The code is what callers decide on; the sentence for people is separate: ledger_errmsg().
 */
#ifndef LEDGER_ERROR_H
#define LEDGER_ERROR_H

enum ledger_error {
	LEDGER_OK = 0,
	LEDGER_ECONFLICT = -1,  /* an expectation or the base of an edit does not hold; nothing changed */
	LEDGER_ELOCKED = -2,    /* another writer held the ref's lock for longer than the documented wait; nothing changed */
	LEDGER_ENOTFOUND = -3,  /* no such namespace, key, or object */
	LEDGER_EEXISTS = -4,    /* the name is taken */
	LEDGER_ENOTDIR = -5,    /* a path runs through something that is not a directory */
	LEDGER_EISDIR = -6,     /* a value was wanted, a directory is there */
	LEDGER_ENOTEMPTY = -7,  /* the directory or namespace has entries */
	LEDGER_EINVALID = -8,   /* malformed argument: path, ref name, OID, version, edit */
	LEDGER_EFORBIDDEN = -9, /* a name that git refuses in trees (.git in any spelling), or `.kv` */
	LEDGER_ENAMETOOLONG = -10, /* a component of more than 255 bytes */
	LEDGER_ETOOBIG = -11,      /* the value is larger than the ledger's limit */
	LEDGER_ECORRUPT = -12,     /* an object or ref cannot be what it says */
	LEDGER_EIO = -13,          /* the disk or git failed */
	LEDGER_ENOSPC = -14,       /* no space or quota left; the ledger is whole */
	LEDGER_EROFS = -15,        /* the ledger is read-only */
	LEDGER_EACCES = -16,       /* no permission on the repository's files */
	LEDGER_ENOMEM = -17,       /* out of memory */
	LEDGER_EREPO = -18,        /* not a git repository, or one of a kind that is not supported (SHA-256, reftable) */
	LEDGER_EDEAD = -19, /* an fsync failed before: nothing is acknowledged any more until the ledger is opened again */
};

/* The code's name without the prefix ("CONFLICT"), for traces and tests; "?" for an unknown one.  Static storage. */
const char *ledger_error_name(int code);

/* One short sentence for the code.  Static storage, never NULL. */
const char *ledger_strerror(int code);

/*
 * What the last failed ledger call of this thread had to say beyond its code ("refs/kv/app is symbolic"), or
 * ledger_strerror() of it.  Never NULL; valid until the thread's next ledger call.
 */
const char *ledger_errmsg(void);

/* The one table from codes to errno, as SPEC 6.4 and 9 give them (ECONFLICT and ELOCKED: EAGAIN).  Positive; 0 for 0. */
int ledger_errno(int code);

/* The one table from codes to exit statuses of `git kv` (SPEC 8.2). */
int ledger_exit_status(int code);

#endif
