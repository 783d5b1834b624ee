/* SPDX-License-Identifier: MIT */
/*
 * The times of all keys of one namespace, as of one commit, and how they follow it to another.  Internal to ledger/.
 *
 * A step from a commit to its child costs what the child changed.  Where the new tip does not descend from the commit
 * that the index is of (a push -f, another life of the name), the index is made anew from the first commit on.  Time
 * never runs backwards in here, but who asks may have read the ref a moment ago: the last steps can be undone in thought.
 */
#ifndef LEDGER_TIMEINDEX_H
#define LEDGER_TIMEINDEX_H

#include "internal.h"
#include "timetable.h"

#include <stdatomic.h>

/* A namespace with more is not indexed: a tree made to be hostile may name 10^10. */
#define TIMEINDEX_KEYS_MAX ((size_t)4 << 20)
/* How many steps can be undone, and how many keys they may have changed. */
#define TIMEINDEX_PAST 1024
#define TIMEINDEX_UNDO 4096

struct time_past;

struct timeindex {
	struct ledger_oid commit, tree; /* zero: before the first */
	struct timetable table;
	struct time_past *past; /* NULL until there is some */
	size_t steps;           /* ever made */
};

/* What one call may cost. */
struct time_budget {
	size_t commits, bytes;    /* SIZE_MAX: any number */
	const atomic_bool *stop;  /* NULL, or ends the work as soon as it is true */
	void (*pause)(void *arg); /* NULL, or called now and then, with the index whole */
	void *arg;
};

void timeindex_release(struct timeindex *x);
/* Nothing, before the first commit. */
void timeindex_clear(struct timeindex *x);
size_t timeindex_memory(const struct timeindex *x);

/*
 * Follows the history to the commit `to`.  1: the budget was not enough; the index may have come nearer.  ECORRUPT, ETOOBIG,
 * ENOMEM...: what cannot be read, or kept.  Whatever comes, the index is right for the commit that it names.
 */
int timeindex_advance(struct timeindex *x, struct ledger *l, const struct ledger_oid *to, const struct time_budget *b);

/* 1: the path's time as of `commit`.  0: it was not there then.  -1: the index does not know of that commit. */
int timeindex_at(const struct timeindex *x, const struct ledger_oid *commit, const struct path_id *path,
		 struct timespec *out);
bool timeindex_knows(const struct timeindex *x, const struct ledger_oid *commit);

#endif
