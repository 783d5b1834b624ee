/* SPDX-License-Identifier: MIT */
/*
 * The inside of `struct ledger`.  Internal to ledger/.
 *
 * Locks: every mutex in here is a leaf: nobody takes a second one while holding one; but for that of an index of times
 * (timekeeper.c), whose holder reads refs, commits and trees.  What orders changes is not a lock but leadership (queue.h):
 * one thread at a time makes groups, and only that thread calls store_group_*().
 */
#ifndef LEDGER_INTERNAL_H
#define LEDGER_INTERNAL_H

#include "error.h"
#include "oidcache.h"
#include "queue.h"
#include "stats.h"
#include "store.h"
#include "trace.h"
#include "tree.h"

#include <ledger/change.h>

/* Values up to this many bytes are kept in memory, larger ones in a file. */
#define VALUE_IN_MEMORY (4u << 20)

struct config;

struct ledger {
	struct store *store;
	struct config *config;
	char *gitdir;
	bool readonly;
	uint64_t value_limit;
	unsigned lock_wait_ms; /* LEDGER_LOCK_WAIT_MS; tests make it shorter before they use the ledger */
	void (*log)(void *arg, const char *line);
	void *log_arg;

	struct treecache *trees;
	struct oidcache *tips;   /* commit -> struct tip_info */
	struct oidcache *sizes;  /* blob -> uint64_t */
	struct oidcache *times;  /* (namespace, path) -> struct key_time; where there is no index */
	struct oidcache *warned; /* trees whose hostile entries were logged -> char */
	struct stats *stats;
	struct timekeeper *timekeeper;
	bool keep_times; /* may write the indexes of times */
	struct queue queue;
};

/* One line to the owner's log, if there is one. */
void ledger_log(struct ledger *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* --- repository (repo.c) -------------------------------------------------------------------------------------------- */

/* Finds, checks, makes the repository: *gitdir (common directory of work trees, absolute) for the caller to free. */
int repo_open(const char *path, bool init, char **gitdir, struct config **config, bool *writable);

/* --- configuration (config.c) --------------------------------------------------------------------------------------- */

struct git_repository;

/* Takes `repo` over. */
int config_new(struct config **out, struct git_repository *repo, const char *gitdir);
void config_free(struct config *c);
int config_each(struct config *c, const char *name, int (*each)(void *arg, const char *value), void *arg);
/* user.name, user.email of the repository's own file, "" where not set; looks for a newer file first. */
int config_user(struct config *c, char *name, size_t namesize, char *email, size_t emailsize);

/* --- commits as tips (tip.c) ---------------------------------------------------------------------------------------- */

struct tip_info {
	struct ledger_tip tip;
	struct ledger_oid parent; /* the first; zero: none */
};

/* What the commit says; cached.  ECORRUPT: missing or not a commit. */
int tip_load(struct ledger *l, const struct ledger_oid *commit, struct tip_info *out);
/* The same, but the version may be missing (0), which it can take a long walk to count. */
int tip_peek(struct ledger *l, const struct ledger_oid *commit, struct tip_info *out);
/* Notes a commit of this ledger, with its time to the nanosecond. */
void tip_note(struct ledger *l, const struct tip_info *info);

/* --- trees (lookup.c) ----------------------------------------------------------------------------------------------- */

/* As ledger_tree_get() and ledger_lookup(), for calls from inside. */
int tree_load(struct ledger *l, const struct ledger_oid *oid, struct ledger_tree **out);
int tree_walk(struct ledger *l, const struct ledger_oid *root, const char *path, struct ledger_entry *out);

/* --- values (value.c, spool.c) -------------------------------------------------------------------------------------- */

/* An unlinked file in the repository, or where temporary files go; the descriptor or a negative error. */
int spool_open(struct ledger *l);
/* As ledger_blob_size(). */
int blob_size(struct ledger *l, const struct ledger_oid *oid, uint64_t *out);
/* As ledger_value_get(). */
int value_load(struct ledger *l, const struct ledger_oid *oid, struct ledger_value **out);
/* A value of a sealed draft, which it takes a reference of. */
int value_from_draft(struct store_draft *d, const struct ledger_oid *oid, struct ledger_value **out);
/* A value of the bytes of `a` and then those of `b`. */
int value_concat(struct ledger *l, struct ledger_value *a, struct ledger_value *b, struct ledger_value **out);

/* --- messages (message.c, ident.c) ---------------------------------------------------------------------------------- */

/* The path as it stands in a message: quoted as git does where it must be. */
void message_path(struct buf *b, const char *path);
/* Whole commit message; *subjectlen: its first line's length.  NULL: out of memory. */
char *message_build(const struct ledger_change *c, uint64_t version, size_t *subjectlen);
#define IDENT_WHO_MAX 800
/* "NAME <EMAIL>". */
int ident_who(struct ledger *l, const struct ledger_actor *a, char out[IDENT_WHO_MAX]);
/* "SECONDS +ZONE". */
void ident_when(const struct timespec *now, struct buf *out);

/* --- times of keys (keytime.c, timekeeper.c) ------------------------------------------------------------------------ */

struct key_time {
	struct ledger_oid commit; /* the tip for which this was found out */
	struct ledger_oid entry;  /* what was at the path then */
	struct timespec time;
	bool guess; /* the walk was given up: a time that is no older than the right one */
};

void keytime_note(struct ledger *l, const char *ns, const char *path, const struct key_time *t);

/* --- changes (commit.c, expect.c) ----------------------------------------------------------------------------------- */

/* Calls `attempt` until it gives something else than ELOCKED, for as long as another's lock may last.  *retries: how often
 * again. */
int lock_retry(struct ledger *l, int (*attempt)(struct ledger *l, void *arg), void *arg, unsigned *retries);

struct edit;

/* The expectations against `tip` (zero: absent); `e` looks into its tree.  Fills `res` on ECONFLICT. */
int expects_hold(struct edit *e, const struct ledger_tip *tip, const struct ledger_expect *x, size_t n,
		 struct ledger_result *res);
/* The same for the bases of edits. */
int bases_hold(struct edit *e, const struct ledger_tip *tip, const struct ledger_edit *ed, size_t n,
	       struct ledger_result *res);
/* Are the expectations well-formed?  EINVALID, and names_path_check()'s. */
int expects_valid(const struct ledger_expect *x, size_t n);

#endif
