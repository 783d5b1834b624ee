/* SPDX-License-Identifier: MIT */
/*
 * What a push would bring: the rules of a ledger, asked of commits that are not accepted yet.
 *
 * For the hooks of a shared repository (git-receive-pack(1)): the objects of a push lie in a quarantine that the
 * environment names, and the references have not moved.  A guard only reads, leaves nothing behind, and sees the
 * quarantine; one thread.  It costs what the push brings: a tree that the parent has too is not read again.
 */
#ifndef LEDGER_GUARD_H
#define LEDGER_GUARD_H

#include <ledger/ledger.h>

struct ledger_guard;

/* Which rule a push breaks.  The names (ledger_rule_name()) go over the wire and do not change. */
enum ledger_rule {
	LEDGER_RULE_NONE = 0,
	LEDGER_RULE_COMMIT,  /* "commit": the new value is not a commit, or one that cannot be read */
	LEDGER_RULE_MERGE,   /* "merge": a commit with more than one parent */
	LEDGER_RULE_FORCE,   /* "force": the old tip is not among the new one's ancestors */
	LEDGER_RULE_VERSION, /* "version": no KV-Version trailer, more than one, or not the parent's + 1 */
	LEDGER_RULE_NAME,    /* "name": a key that git or the ledger refuses */
	LEDGER_RULE_TREE,    /* "tree": modes, order, duplicates, objects of the wrong type or absent */
};

const char *ledger_rule_name(enum ledger_rule r); /* static */

struct ledger_finding {
	enum ledger_rule rule;
	struct ledger_oid commit; /* the commit that breaks it */
	char text[600];           /* one sentence, without control bytes */
};

/*
 * Opens the repository that git's environment names (GIT_DIR and, in a hook, the quarantine).  EREPO, EIO, ENOMEM.
 */
int ledger_guard_open(struct ledger_guard **out);
void ledger_guard_free(struct ledger_guard *g); /* NULL is fine */

/* Where a ref of the repository is now; zero: absent.  EIO. */
int ledger_guard_ref(struct ledger_guard *g, const char *ref, struct ledger_oid *out);

/* A configuration variable, malloc'ed; NULL: not set.  EIO, ENOMEM. */
int ledger_guard_config(struct ledger_guard *g, const char *name, char **out);

/* Tree, version and time of any commit.  ENOTFOUND, ECORRUPT (not a commit). */
int ledger_guard_tip(struct ledger_guard *g, const struct ledger_oid *commit, struct ledger_tip *out);

/* The object at `path` below the tree (a directory is there, too); zero when there is none.  EIO. */
int ledger_guard_blob(struct ledger_guard *g, const struct ledger_oid *tree, const char *path, struct ledger_oid *out);

/*
 * May a ledger's ref go from `old` (zero: it is created) to `new`?  0; EFORBIDDEN with `*out` filled; EIO, ENOMEM.
 * Each new commit has one parent (the first of a ledger: none), the version that follows its parent's, and a tree of
 * files, links and directories with names that a ledger takes.  Work is bounded by what is new, also for hostile pushes.
 */
int ledger_guard_chain(struct ledger_guard *g, const struct ledger_oid *old, const struct ledger_oid *new,
		       struct ledger_finding *out);

#endif
