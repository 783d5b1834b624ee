/* SPDX-License-Identifier: MIT */
#include "lock_ranges.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

bool lock_want_valid(const struct lock_want *w)
{
	return (w->type == F_RDLCK || w->type == F_WRLCK || w->type == F_UNLCK) &&
	       (w->family == LOCK_FLOCK || (w->family == LOCK_FCNTL && w->start >= 0 && w->start <= w->end));
}

static bool overlap(const struct lock_want *a, const struct lock_want *b)
{
	return a->family == LOCK_FLOCK || (a->start <= b->end && b->start <= a->end);
}

const struct lock_held *lock_ranges_conflict(const struct lock_held *h, const struct lock_want *w)
{
	for (; h; h = h->next) {
		if (h->w.family == w->family && h->w.owner != w->owner && overlap(&h->w, w) &&
		    (h->w.type == F_WRLCK || w->type == F_WRLCK))
			return h;
	}
	return NULL;
}

static void drop(struct lock_ranges *r, struct lock_held **at)
{
	struct lock_held *h = *at;

	*at = h->next;
	(*r->count)--;
	free(h);
}

/* Puts `w` in, in the first of the spare ones. */
static void put(struct lock_ranges *r, const struct lock_want *w, struct lock_held **spare)
{
	struct lock_held *h = *spare;

	*spare = h->next;
	h->w = *w;
	h->next = r->first;
	r->first = h;
	(*r->count)++;
}

/* Takes up a lock of the same owner, type and file that overlaps or touches `w`: `w` grows to cover both. */
static bool swallow(struct lock_want *w, const struct lock_want *old)
{
	if (old->type != w->type || old->file != w->file || (old->end != LOCKS_EOF && old->end + 1 < w->start) ||
	    (w->end != LOCKS_EOF && w->end + 1 < old->start))
		return false;
	if (old->start < w->start)
		w->start = old->start;
	if (old->end > w->end)
		w->end = old->end;
	return true;
}

/* Sets or takes away a range of one owner; nobody else's stands against it. */
static void set_range(struct lock_ranges *r, struct lock_want w, struct lock_held **spare)
{
	struct lock_held **at = &r->first, *h;
	struct lock_want tail;

	while ((h = *at)) {
		if (h->w.family != LOCK_FCNTL || h->w.owner != w.owner) {
			at = &h->next;
		} else if (w.type != F_UNLCK && swallow(&w, &h->w)) {
			drop(r, at);
		} else if (!overlap(&h->w, &w)) {
			at = &h->next;
		} else if (h->w.start < w.start) { /* its head stays, maybe its tail */
			tail = h->w;
			h->w.end = w.start - 1;
			at = &h->next;
			if (tail.end > w.end) {
				tail.start = w.end + 1;
				put(r, &tail, spare);
			}
		} else if (h->w.end > w.end) { /* its tail stays */
			h->w.start = w.end + 1;
			at = &h->next;
		} else {
			drop(r, at);
		}
	}
	if (w.type != F_UNLCK)
		put(r, &w, spare);
}

static void free_spare(struct lock_held *h)
{
	struct lock_held *next;

	for (; h; h = next) {
		next = h->next;
		free(h);
	}
}

/* As many as set_range() can need: one for `w`, and one for each lock that it cuts in two. */
static int get_spare(const struct lock_ranges *r, const struct lock_want *w, struct lock_held **spare)
{
	const struct lock_held *h;
	struct lock_held *s;
	size_t need = 1;

	for (h = r->first; h; h = h->next)
		need += h->w.owner == w->owner && h->w.family == w->family && h->w.start < w->start && h->w.end > w->end;
	if (w->type != F_UNLCK && *r->count >= LOCKS_MAX)
		return ENOLCK;
	for (*spare = NULL; need; need--) {
		s = calloc(1, sizeof(*s));
		if (!s) {
			free_spare(*spare);
			return ENOMEM;
		}
		s->next = *spare;
		*spare = s;
	}
	return 0;
}

bool lock_match_fcntl_owner(const struct lock_want *held, uint64_t owner)
{
	return held->family == LOCK_FCNTL && held->owner == owner;
}

bool lock_match_flock_owner(const struct lock_want *held, uint64_t owner)
{
	return held->family == LOCK_FLOCK && held->owner == owner;
}

bool lock_match_file(const struct lock_want *held, uint64_t file)
{
	return held->file == file;
}

void lock_ranges_remove(struct lock_ranges *r, lock_match_fn *match, uint64_t id)
{
	struct lock_held **at = &r->first;

	while (*at) {
		if (match(&(*at)->w, id))
			drop(r, at);
		else
			at = &(*at)->next;
	}
}

int lock_ranges_set(struct lock_ranges *r, const struct lock_want *w, bool *freed)
{
	struct lock_held *spare = NULL;
	int err = 0;

	*freed = w->type != F_WRLCK; /* unlocked, or maybe weakened */
	if (w->family == LOCK_FLOCK && w->type == F_UNLCK) {
		lock_ranges_remove(r, lock_match_flock_owner, w->owner);
		return 0;
	}
	err = get_spare(r, w, &spare);
	if (err)
		return err;
	if (w->family == LOCK_FLOCK) { /* a conversion lets the old lock go before it tries for the new one: flock(2) */
		*freed = true;
		lock_ranges_remove(r, lock_match_flock_owner, w->owner);
	}
	if (w->type != F_UNLCK && lock_ranges_conflict(r->first, w))
		err = EAGAIN;
	else if (w->family == LOCK_FLOCK)
		put(r, w, &spare);
	else
		set_range(r, *w, &spare);
	free_spare(spare);
	return err;
}

void lock_ranges_join(struct lock_ranges *to, struct lock_ranges *from)
{
	struct lock_held **at;

	for (at = &to->first; *at; at = &(*at)->next)
		;
	*at = from->first;
	from->first = NULL;
}

void lock_ranges_release(struct lock_ranges *r)
{
	while (r->first)
		drop(r, &r->first);
}
