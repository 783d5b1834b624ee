/* SPDX-License-Identifier: MIT */
/*
 * File locks, held per key and not per inode, so that they exclude across saves (SPEC 5.1, last line): fcntl's byte ranges
 * and flock's whole-file locks, which do not see each other (as on local Linux file systems).
 *
 * A key is a string: namespace, '/', path.  An owner of fcntl locks is a number that the kernel gives (one per table of
 * descriptors, or per open file for OFD locks: nothing tells which); of a flock it is the number of the open file.  Ranges
 * are closed intervals of bytes, end LOCKS_EOF for "to the end".
 *
 * Every lock also knows the open file that it was set through, by a number that is ours.  The kernel's number of an open
 * file is made from the address of its struct file, which another open can have before the RELEASE of the first arrives:
 * a RELEASE that went by it would take away the lock of the later one.
 *
 * Waiting: a request that cannot be had is queued and its callback told later, exactly once, by the thread that made room
 * for it, with no lock of this table held.  A request is known by a ticket that is taken before it is queued, so that an
 * interrupt that comes before, during or after the queueing finds it, or finds it done:
 *
 *	ticket = locks_ticket(l);
 *	fuse_req_interrupt_func(req, on_interrupt, box of ticket);	on_interrupt: locks_cancel(l, ticket)
 *	rc = locks_wait(l, key, &want, ticket, done, req);
 *	if (rc != EINPROGRESS) reply(req, rc);				else done() replies
 *
 * Threads: any.
 */
#ifndef FS_LOCKS_H
#define FS_LOCKS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct locks;

#define LOCKS_EOF INT64_MAX

enum lock_family {
	LOCK_FCNTL,
	LOCK_FLOCK, /* start and end are not looked at */
};

struct lock_want {
	enum lock_family family;
	short type;         /* F_RDLCK (LOCK_SH), F_WRLCK (LOCK_EX), F_UNLCK (LOCK_UN) */
	uint64_t owner;     /* flock: `file` */
	uint64_t file;      /* that it is set through */
	int64_t start, end; /* closed; 0 <= start <= end */
	pid_t pid;          /* for F_GETLK */
};

/* err: 0: it is held now; EINTR: cancelled; ENOMEM, ENOLCK: it could have been had, but for that. */
typedef void lock_done_fn(void *arg, int err);

int locks_new(struct locks **out); /* 0 or ENOMEM */
/* Queued requests are told `err`; later ones queue again. */
void locks_stop(struct locks *l, int err);
/* Queued requests are told EINTR.  NULL is fine. */
void locks_free(struct locks *l);

/*
 * F_GETLK: a lock that `w` would have to wait for, in `out` (its family, type, owner, range, pid); out->type F_UNLCK when
 * there is none.
 */
void locks_test(struct locks *l, const char *key, const struct lock_want *w, struct lock_want *out);

/*
 * F_SETLK, LOCK_NB, and every F_UNLCK: sets at once, or EAGAIN and nothing changed (but a flock that is converted lets its
 * old lock go first, as flock(2) says).  EINVAL: bad range or type; ENOMEM; ENOLCK beyond LOCKS_MAX.
 */
int locks_set(struct locks *l, const char *key, const struct lock_want *w);

#define LOCKS_MAX 1048576

/* A ticket for locks_wait(); never 0, never reused.  0: out of memory. */
uint64_t locks_ticket(struct locks *l);

/*
 * F_SETLKW, LOCK_EX without LOCK_NB.  0: held.  EINPROGRESS: queued, `done(arg, err)` will be called once, maybe before this
 * returns.  EINTR: the ticket was cancelled already.  EDEADLK: fcntl owners would wait for each other in a circle (two
 * threads of one owner can make this a false alarm, as in the kernel).  EINVAL, ENOMEM, ENOLCK.  Except for EINPROGRESS the
 * ticket is spent when this returns and `done` is never called.
 */
int locks_wait(struct locks *l, const char *key, const struct lock_want *w, uint64_t ticket, lock_done_fn *done, void *arg);

/* Interrupts: a queued request is told EINTR (by this thread, before this returns), one not queued yet will not wait. */
void locks_cancel(struct locks *l, uint64_t ticket);

/* An owner's fcntl locks on a key, through whichever file: at every FLUSH. */
void locks_release_owner(struct locks *l, const char *key, uint64_t owner);

/* What is left of the locks through a file, of both families, on a key: at its RELEASE. */
void locks_release_file(struct locks *l, const char *key, uint64_t file);

/*
 * A key, or a directory with all keys below it, has a new name: locks and waiting requests follow.  Locks that are held on
 * `to` stay beside them, also where they contradict: each is somebody's, and ends by its own release.  0, or
 * ENOMEM and nothing changed.
 */
int locks_rename(struct locks *l, const char *from, const char *to);

/* Does this owner hold a lock of the family on the key? */
bool locks_held(struct locks *l, const char *key, enum lock_family family, uint64_t owner);

/* Does another owner than `owner` hold a lock on the key through this file? */
bool locks_held_otherwise(struct locks *l, const char *key, uint64_t file, uint64_t owner);

/* Does nobody hold a lock on any key? */
bool locks_none(struct locks *l);

/* Does anybody hold or await a lock on the key? */
bool locks_any(struct locks *l, const char *key);

#endif
