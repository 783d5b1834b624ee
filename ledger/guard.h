/* SPDX-License-Identifier: MIT */
/* Internal to guard.c and guard_tree.c. */
#ifndef LEDGER_GUARD_INTERNAL_H
#define LEDGER_GUARD_INTERNAL_H

#include <git2.h>
#include <ledger/guard.h>

/* Trees that were found good in this push: open addressing, `cap` a power of two. */
struct guard_seen {
	git_oid *v;
	bool *used;
	size_t n, cap;
};

void guard_seen_release(struct guard_seen *s);

struct ledger_guard {
	git_repository *repo;
	git_odb *odb;
	git_oid empty_tree;
	struct guard_seen seen;
	struct ledger_finding *finding; /* of the call that is under way */
	struct ledger_oid commit;       /* the commit that is being looked at */
};

/* Fills the finding; returns EFORBIDDEN. */
int guard_find(struct ledger_guard *g, enum ledger_rule rule, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int guard_error(const char *what); /* EIO with libgit2's sentence */

/* All of the tree `new` that the tree `old` (NULL: nothing) does not have at the same place. */
int guard_trees(struct ledger_guard *g, const git_oid *new, const git_oid *old);

#endif
