/* SPDX-License-Identifier: MIT */
/*
 * Changing a namespace: one change, one commit (docs/SPEC.md, sections 5 to 7).
 *
 * ledger_commit() is the only place where a ref under refs/kv moves on.  It takes git's own lock of the ref, reads the
 * tip under it, checks every expectation and the base of every edit against that tip, builds the new tree, makes objects
 * and ref durable, and lets go: one atomic step against every writer of the repository.
 */
#ifndef LEDGER_CHANGE_H
#define LEDGER_CHANGE_H

#include <ledger/ledger.h>

enum ledger_op {
	LEDGER_SET,    /* path := value, with `kind`; replaces a key, never a directory (EISDIR) */
	LEDGER_APPEND, /* the bytes of `value` go behind the value that is there; absent: as LEDGER_SET */
	LEDGER_DELETE, /* a key (EISDIR on a directory) */
	LEDGER_MKDIR,  /* an empty directory: an entry that points to the empty tree; EEXISTS */
	LEDGER_RMDIR,  /* only when empty: ENOTEMPTY; ENOTDIR on a key */
	LEDGER_RENAME, /* `path` to `to`, key or directory with all in it, as rename(2): replaces a key or an empty directory
			*/
	LEDGER_EXCHANGE, /* swaps `path` and `to`; both must be there */
	LEDGER_CHMOD,    /* gives the key at `path` the kind FILE or EXEC */
};

/* What must hold of the key at `path` for an edit to be made; else LEDGER_ECONFLICT. */
enum ledger_base {
	LEDGER_BASE_ANY = 0, /* nothing */
	LEDGER_BASE_BLOB,    /* there, and its blob is `base`: the new value was made from it */
	LEDGER_BASE_ABSENT,  /* not there */
};

enum ledger_edit_flag {
	LEDGER_PARENTS = 1 << 0,    /* SET, APPEND, MKDIR: make missing directories on the way (else ENOTFOUND) */
	LEDGER_NOREPLACE = 1 << 1,  /* RENAME: EEXISTS when `to` is there */
	LEDGER_KEEP_KIND = 1 << 2,  /* SET, APPEND: a key that is there keeps FILE or EXEC; `kind` is for a new one */
	LEDGER_PRUNE = 1 << 3,      /* DELETE: also the directories that this empties */
	LEDGER_MISSING_OK = 1 << 4, /* DELETE: an absent key is no error */
};

struct ledger_edit {
	enum ledger_op op;
	unsigned flags;             /* enum ledger_edit_flag */
	const char *path;           /* inside the namespace */
	const char *to;             /* RENAME, EXCHANGE */
	enum ledger_kind kind;      /* SET, APPEND, CHMOD; for SET also LEDGER_LINK, with the target as value */
	struct ledger_value *value; /* SET, APPEND; borrowed */
	enum ledger_base base_rule;
	struct ledger_oid base; /* BASE_BLOB */
};

/* An expectation: the state that a writer says it read.  Several in one change must all hold. */
enum ledger_expect_what {
	LEDGER_EXPECT_TREE = 1, /* the tip's tree is `oid` */
	LEDGER_EXPECT_COMMIT,   /* the tip is `oid` */
	LEDGER_EXPECT_VERSION,  /* the tip's version is `version` */
	LEDGER_EXPECT_BLOB,     /* the key `path` is there and its blob (a directory: its tree) is `oid` */
	LEDGER_EXPECT_ABSENT,   /* nothing is at `path` */
};

struct ledger_expect {
	enum ledger_expect_what what;
	struct ledger_oid oid;
	uint64_t version;
	const char *path; /* BLOB, ABSENT */
};

/* Who makes the change. */
struct ledger_actor {
	const char *name, *email; /* NULL: user.name, user.email of the repository, else the account of `uid`, user@host */
	const char *comm;         /* program name for the KV-Client trailer; NULL: no trailer */
	pid_t pid;
	uid_t uid;
};

struct ledger_change {
	const char *ns;
	const struct ledger_edit *edits; /* applied in order, all or nothing */
	size_t nedits;
	const struct ledger_expect *expects;
	size_t nexpects;
	struct ledger_actor actor;
	const char *message; /* first lines of the commit message; NULL: "set PATH", "delete PATH", "rename A -> B", ... */
	bool create;         /* make the namespace when it is absent (else ENOTFOUND); its first commit then has the edits */
};

/* Why a change was refused. */
enum ledger_reason {
	LEDGER_REASON_NONE = 0,
	LEDGER_REASON_TREE,
	LEDGER_REASON_COMMIT,
	LEDGER_REASON_VERSION,
	LEDGER_REASON_BLOB,   /* the key has another value, or none, than expected */
	LEDGER_REASON_ABSENT, /* the key was expected absent and is there */
	LEDGER_REASON_BASE,   /* an edit's base: the key changed since its value was read */
	LEDGER_REASON_EDIT, /* no conflict: an edit's own condition, the code says which; of the result `index` alone is set
			     */
};

const char *ledger_reason_name(enum ledger_reason r); /* "tree", "blob", ...; static */

struct ledger_result {
	struct ledger_tip
		tip;  /* success: the state that the change made (or found, when !changed); conflict: what is there */
	bool changed; /* false: every edit was already so; no commit was made */
	/* Success: blob (a directory: tree) of the last edit's path after it (zero: none).  Conflict about a key: what is
	 * there (zero: absent).
	 */
	struct ledger_oid blob;
	enum ledger_reason reason; /* conflict */
	size_t index;              /* conflict: which of expects (TREE..ABSENT) or edits (BASE) it was */
};

/*
 * Makes the change: one commit with one parent on refs/kv/<ns>, durable when it returns 0.  The same state again makes
 * no commit and is a success (`changed` false); expectations are checked all the same.
 *
 * Expectations are checked first, then bases, then the edits' own conditions (ENOTFOUND, EEXISTS, EISDIR, ENOTDIR,
 * ENOTEMPTY, EFORBIDDEN, ENAMETOOLONG, EINVALID).  On any failure nothing changed: no ref, no acknowledged object.
 * `res` is filled on 0 and on LEDGER_ECONFLICT (tip, reason, index, blob), and tells which edit failed by its own
 * condition (reason LEDGER_REASON_EDIT, index); may be NULL.  Others' moves of the namespace
 * never make an unguarded change fail: it is rebuilt on the newest tip.  LEDGER_ELOCKED only when the ref's lock stays
 * taken by others for LEDGER_LOCK_WAIT_MS.  Blocks; may be called by many threads: concurrent changes share their syncs.
 */
int ledger_commit(struct ledger *l, const struct ledger_change *c, struct ledger_result *res);

#define LEDGER_LOCK_WAIT_MS 10000

/*
 * As ledger_commit(), but on the commit `base` (zero: on nothing) instead of the namespace's tip, and without moving a ref:
 * the commit and its objects are durable and stock git sees them; nothing names them.  For who takes the commit to another
 * repository.  The expectations are checked against `base`; a change without edits is fine, to check them alone.
 */
int ledger_build(struct ledger *l, const struct ledger_change *c, const struct ledger_oid *base, struct ledger_result *res);

/* --- namespaces as a whole; each with the expectations of its caller (may be NULL, 0) ------------------------------- */

/* Creates refs/kv/<ns>: a first commit of the empty tree.  EEXISTS (also a namespace above or below it), EINVALID,
 * EFORBIDDEN. */
int ledger_ns_create(struct ledger *l, const char *ns, const struct ledger_actor *a, struct ledger_tip *out);

/*
 * Moves refs/kv/<ns> to refs/kv-archive/<ns>/<version>: history is never dropped.  ENOTEMPTY unless the tree is empty
 * or `force`; ECONFLICT with `res` as ledger_commit().
 */
int ledger_ns_delete(struct ledger *l, const char *ns, bool force, const struct ledger_expect *expects, size_t nexpects,
		     struct ledger_result *res);

/* Renames the ref; EEXISTS when `to` is there (also as a prefix), ENOTFOUND, EINVALID, ECONFLICT. */
int ledger_ns_rename(struct ledger *l, const char *ns, const char *to, const struct ledger_expect *expects, size_t nexpects,
		     struct ledger_result *res);

/* Brings refs/kv-archive/<ns>/<version> back (version 0: the newest).  EEXISTS, ENOTFOUND. */
int ledger_ns_restore(struct ledger *l, const char *ns, uint64_t version, struct ledger_tip *out);

/* Archived states: `each(arg, ns, version)`, as ledger_ns_each(). */
int ledger_ns_archived_each(struct ledger *l, int (*each)(void *arg, const char *ns, uint64_t version), void *arg);

/* Is `name` fit as one component of a path?  0, EINVALID ("", with '/'), EFORBIDDEN (., .., .git as git sees it),
 * ENAMETOOLONG. */
int ledger_name_check(const char *name, size_t len);

#endif
