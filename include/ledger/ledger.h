/* SPDX-License-Identifier: MIT */
/*
 * A ledger: the namespaces of one git repository.
 *
 * Every ref refs/kv/<ns> is a namespace; its commits are linear; the tree of the newest is the namespace's state
 * (docs/SPEC.md, sections 2 and 3).  Nothing here knows of FUSE, and nothing here shows a git library's types.
 *
 * Threads: a `struct ledger` may be used by any number of threads at once.  Values and trees are immutable and
 * reference-counted; their counts are atomic.  Strings passed in are borrowed for the call.  Paths are bytes without
 * leading, trailing or doubled slashes; "" is the namespace's root where a directory is meant.
 */
#ifndef LEDGER_LEDGER_H
#define LEDGER_LEDGER_H

#include <ledger/error.h>
#include <ledger/oid.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

struct ledger;
struct ledger_tree;
struct ledger_value;

/* --- opening ------------------------------------------------------------------------------------------------------ */

enum ledger_publish {
	LEDGER_PUBLISH_SYNC,  /* stock git sees a commit before it is acknowledged */
	LEDGER_PUBLISH_ASYNC, /* up to 20 ms later; durable and exclusive all the same (SPEC 5.5) */
};

struct ledger_options {
	bool init;       /* make a bare repository where `path` is absent */
	bool readonly;   /* every change is LEDGER_EROFS */
	bool nosync;     /* durability=none: does not wait for the disk */
	bool no_upkeep;  /* no repacking in the background */
	bool keep_times; /* readonly: may write the cache of keys' times all the same; else it always does */
	enum ledger_publish publish;
	uint64_t value_limit; /* bytes; larger values are LEDGER_ETOOBIG; 0: 1 TiB */
	/* For what no caller can return: hostile entries, recovery, upkeep.  One line without newline, any thread.  May be
	 * NULL. */
	void (*log)(void *arg, const char *line);
	void *log_arg;
};

/*
 * Opens the repository at `path` (work tree, .git or bare; exactly there, no walk upwards).  `opts` may be NULL.
 * EREPO: not a repository, SHA-256, reftable; ENOTFOUND: nothing at `path`; EACCES, ECORRUPT, EIO.
 * A repository on read-only storage, or one that this user may not write, opens as if `readonly` had been given.
 */
int ledger_open(struct ledger **out, const char *path, const struct ledger_options *opts);

/* Ends background work, publishes what is acknowledged, frees.  NULL is fine.  No call may be under way. */
void ledger_free(struct ledger *l);

/* The repository's git directory, absolute, without trailing slash; lives as long as the ledger. */
const char *ledger_gitdir(const struct ledger *l);
bool ledger_is_readonly(const struct ledger *l);

/*
 * All values of a (multi-valued) git configuration variable, the repository's whole chain; calls `each` with
 * NUL-terminated borrowed strings until it returns nonzero.  Returns how many it was called for.
 */
int ledger_config_each(struct ledger *l, const char *name, int (*each)(void *arg, const char *value), void *arg);

/* --- namespaces --------------------------------------------------------------------------------------------------- */

/* A namespace's state at one instant. */
struct ledger_tip {
	struct ledger_oid commit;
	struct ledger_oid tree;
	uint64_t version;     /* generation of the commit: 1 for the first */
	struct timespec time; /* the commit's; to the nanosecond while this ledger made it, else to the second */
};

/*
 * The tip now: looks at the ref, so it is never older than what any writer of the repository had finished when the call
 * began (2-6 us when nothing moved).  ENOTFOUND; EINVALID: not a name that git takes; ECORRUPT: not a commit of ours to
 * read (symbolic ref, missing object, tag): the namespace is then neither shown nor changed.
 */
int ledger_tip(struct ledger *l, const char *ns, struct ledger_tip *out);

/*
 * Calls `each` for every ref below refs/kv/, name without that prefix ("team/app"), in byte order, until it returns
 * nonzero; returns that value or a negative error.  Does not open the commits.
 */
int ledger_ns_each(struct ledger *l, int (*each)(void *arg, const char *ns), void *arg);

/* May `ns` be a namespace's name?  0, EINVALID, EFORBIDDEN (.kv, .git as a component), ENAMETOOLONG. */
int ledger_ns_check(const char *ns);

/* --- reading trees ------------------------------------------------------------------------------------------------ */

enum ledger_kind {
	LEDGER_FILE = 1, /* 100644 */
	LEDGER_EXEC,     /* 100755 */
	LEDGER_LINK,     /* 120000 */
	LEDGER_DIR,      /* 40000 */
};

struct ledger_entry {
	const char *name; /* lives as long as the tree that it came from */
	size_t namelen;
	enum ledger_kind kind;
	struct ledger_oid oid;
};

/*
 * The tree `oid`, parsed; from a bounded cache where possible.  Hostile entries (SPEC 3, last row) are left out and
 * logged once per tree.  The caller owns one reference.  ENOTFOUND, ECORRUPT, EIO, ENOMEM.
 */
int ledger_tree_get(struct ledger *l, const struct ledger_oid *oid, struct ledger_tree **out);
struct ledger_tree *ledger_tree_ref(struct ledger_tree *t);
void ledger_tree_unref(struct ledger_tree *t); /* NULL is fine */

size_t ledger_tree_count(const struct ledger_tree *t);
/* Entry `i` of count, in git's order. */
void ledger_tree_at(const struct ledger_tree *t, size_t i, struct ledger_entry *out);
/* By name, logarithmic.  ENOTFOUND. */
int ledger_tree_find(const struct ledger_tree *t, const char *name, size_t namelen, struct ledger_entry *out);

/*
 * Walks `path` down from `root`.  `out->name` is NULL (the tree may be gone when the call returns); "" gives the root
 * itself as a LEDGER_DIR.  ENOTFOUND, ENOTDIR, and what ledger_tree_get() gives.
 */
int ledger_lookup(struct ledger *l, const struct ledger_oid *root, const char *path, struct ledger_entry *out);

/*
 * When the entry at `path` last changed, as of `tip`: to the nanosecond for commits that a ledger made and that were not
 * read from the history since, else to the second.  *guess (may be NULL): the history is longer than was looked at so far,
 * and *out is the tip's own time; asked again later the answer is right (docs/SPEC.md says when).
 */
int ledger_key_time(struct ledger *l, const char *ns, const struct ledger_tip *tip, const char *path, struct timespec *out,
		    bool *guess);

/*
 * Until this returns 0, the time of a key may be a guess; afterwards none is, for states of now and later.  Reads the whole
 * history when nobody has before (docs/DESIGN.md says how long that takes).  ENOTFOUND; ECORRUPT: not all of it is there
 * to read; ETOOBIG: more keys than are kept track of.
 */
int ledger_times_settle(struct ledger *l, const char *ns);

/* --- values ------------------------------------------------------------------------------------------------------- */

/* Size in bytes of the blob `oid` without reading it where the store can tell; cached. */
int ledger_blob_size(struct ledger *l, const struct ledger_oid *oid, uint64_t *out);

/*
 * The committed value `oid`: in memory when small; else read where a pack holds it uncompressed, or from an unlinked
 * temporary file.  One reference.
 */
int ledger_value_get(struct ledger *l, const struct ledger_oid *oid, struct ledger_value **out);

/* A new value from bytes that are copied.  Hashed here; the disk is not touched. */
int ledger_value_new(struct ledger *l, const void *data, size_t len, struct ledger_value **out);

struct ledger_value *ledger_value_ref(struct ledger_value *v);
void ledger_value_unref(struct ledger_value *v); /* NULL is fine */
uint64_t ledger_value_size(const struct ledger_value *v);
const struct ledger_oid *ledger_value_oid(const struct ledger_value *v);
/* As pread(2): bytes read, 0 at the end, or a negative ledger error. */
ssize_t ledger_value_pread(const struct ledger_value *v, void *buf, size_t len, uint64_t off);
/* The bytes when they are in memory, else NULL: then ledger_value_pread() is the way.  Borrowed. */
const void *ledger_value_data(const struct ledger_value *v);

/* --- drafts: large values while they are written ------------------------------------------------------------------- */

/*
 * A file without a name in the repository, to be written in any order.  It becomes a value without being copied; what does
 * not become one leaves nothing behind.  One thread at a time.  Calls fail with ENOSPC, EIO, ENOMEM, and ETOOBIG beyond the
 * ledger's limit; a failed one changed nothing but perhaps the bytes that it was to change.
 */
struct ledger_draft;
int ledger_draft_new(struct ledger *l, struct ledger_draft **out);
void ledger_draft_free(struct ledger_draft *d); /* NULL is fine; values that were made from it stay */
uint64_t ledger_draft_size(const struct ledger_draft *d);
ssize_t ledger_draft_pread(const struct ledger_draft *d, void *buf, size_t len, uint64_t off);
int ledger_draft_pwrite(struct ledger_draft *d, const void *buf, size_t len, uint64_t off); /* a gap reads as zeros */
int ledger_draft_truncate(struct ledger_draft *d, uint64_t size);
/* It will probably be `size` bytes, written in order: the work of ledger_draft_value() is then done while it is written. */
void ledger_draft_expect(struct ledger_draft *d, uint64_t size);
/*
 * All of it as a value; reads it once for its name.  The draft stays usable: the next change goes to a copy if the value is
 * still there.
 */
int ledger_draft_value(struct ledger_draft *d, struct ledger_value **out);

#endif
