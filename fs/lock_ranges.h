/* SPDX-License-Identifier: MIT */
/*
 * The locks that are held on one key: the inside of locks.c, which owns the mutex.
 *
 * An owner's fcntl ranges do not overlap, and do not touch in the same type through the same file, but for keys that were
 * joined; its flock lock is one.
 */
#ifndef FS_LOCK_RANGES_H
#define FS_LOCK_RANGES_H

#include "locks.h"
#include <stddef.h>

struct lock_held {
	struct lock_held *next;
	struct lock_want w;
};

struct lock_ranges {
	struct lock_held *first;
	size_t *count; /* of the whole table; kept up to date, LOCKS_MAX is its bound */
};

bool lock_want_valid(const struct lock_want *w);

/* The first lock at or behind `h` that belongs to somebody else and that `w` has to wait for. */
const struct lock_held *lock_ranges_conflict(const struct lock_held *h, const struct lock_want *w);

/*
 * As locks_set(); `w` is valid.  *freed: somebody else may have got room (also with EAGAIN, when a flock is converted).
 */
int lock_ranges_set(struct lock_ranges *r, const struct lock_want *w, bool *freed);

typedef bool lock_match_fn(const struct lock_want *held, uint64_t id);

lock_match_fn lock_match_fcntl_owner, lock_match_flock_owner, lock_match_file;

void lock_ranges_remove(struct lock_ranges *r, lock_match_fn *match, uint64_t id);

/* Moves all of `from` to `to`. */
void lock_ranges_join(struct lock_ranges *to, struct lock_ranges *from);

void lock_ranges_release(struct lock_ranges *r);

#endif
