/* SPDX-License-Identifier: MIT */
#include "timekept.h"

#include "timefile.h"
#include "timekeeper.h"

#include <stdlib.h>

/* Bytes of all indexes; those that were not asked for longest go first. */
#define MEMORY ((size_t)256 << 20)

/* --- the table ------------------------------------------------------------------------------------------------------ */

static struct kept **bucket_of(struct timekeeper *k, const char *ns)
{
	uint32_t h = 5381;

	for (; *ns; ns++)
		h = h * 33 + (unsigned char)*ns;
	return &k->bucket[(h ^ h >> 16) & (BUCKETS - 1)];
}

static struct kept *kept_new(const char *ns)
{
	struct kept *x = calloc(1, sizeof(*x));

	if (x)
		x->ns = strdup(ns);
	if (!x || !x->ns) {
		free(x);
		return NULL;
	}
	pthread_mutex_init(&x->lock, NULL);
	pthread_cond_init(&x->settled, NULL);
	x->refs = 1;
	return x;
}

static void kept_free(struct timekeeper *k, struct kept *x)
{
	atomic_fetch_sub(&k->memory, x->counted);
	timeindex_release(&x->index);
	pthread_cond_destroy(&x->settled);
	pthread_mutex_destroy(&x->lock);
	free(x->ns);
	free(x);
}

void kept_put(struct timekeeper *k, struct kept *x)
{
	bool last;

	pthread_mutex_lock(&k->lock);
	last = --x->refs == 0;
	pthread_mutex_unlock(&k->lock);
	if (last)
		kept_free(k, x);
}

void kept_unlist(struct timekeeper *k, struct kept *x)
{
	struct kept **p = bucket_of(k, x->ns);

	while (*p != x)
		p = &(*p)->next;
	*p = x->next;
}

struct kept *kept_find_locked(struct timekeeper *k, const char *ns)
{
	struct kept *x = *bucket_of(k, ns);

	while (x && strcmp(x->ns, ns))
		x = x->next;
	return x;
}

/* The one of which nobody asked for longest and that nobody has in hand. */
static struct kept *oldest_locked(struct timekeeper *k)
{
	struct kept *old = NULL;

	for (size_t i = 0; i < BUCKETS; i++)
		for (struct kept *x = k->bucket[i]; x; x = x->next)
			if (x->refs == 1 && x->counted && (!old || x->used < old->used))
				old = x;
	return old;
}

void kept_make_room(struct ledger *l)
{
	struct timekeeper *k = l->timekeeper;

	while (atomic_load(&k->memory) > MEMORY) {
		struct kept *x;

		pthread_mutex_lock(&k->lock);
		x = oldest_locked(k);
		if (x)
			kept_unlist(k, x);
		pthread_mutex_unlock(&k->lock);
		if (!x)
			return;
		kept_save(l, x);
		kept_put(k, x);
	}
}

struct kept *kept_get(struct ledger *l, const char *ns)
{
	struct timekeeper *k = l->timekeeper;
	struct kept *x;

	pthread_mutex_lock(&k->lock);
	x = kept_find_locked(k, ns);
	if (!x) {
		x = kept_new(ns);
		if (x) {
			struct kept **b = bucket_of(k, ns);

			x->next = *b;
			*b = x;
		}
	}
	if (x) {
		x->refs++;
		x->used = ++k->clock;
	}
	pthread_mutex_unlock(&k->lock);
	return x;
}

/* --- the file ------------------------------------------------------------------------------------------------------- */

void kept_count_memory(struct timekeeper *k, struct kept *x)
{
	size_t now = timeindex_memory(&x->index);

	atomic_fetch_add(&k->memory, now - x->counted);
	x->counted = now;
}

bool kept_save_due(const struct kept *x)
{
	size_t every = x->index.table.n / 16;

	return x->index.steps - x->tried >= (every > SAVE_STEPS ? every : SAVE_STEPS);
}

/* The occupied slots, to be written with no lock held.  NULL: no memory. */
static struct time_slot *snapshot(const struct kept *x, size_t *n)
{
	const struct timetable *t = &x->index.table;
	struct time_slot *s = malloc((t->n + 1) * sizeof(*s));

	*n = 0;
	for (size_t i = 0; s && i < t->nslots; i++)
		if (t->slots[i].nsec != TIME_NONE)
			s[(*n)++] = t->slots[i];
	return s;
}

void kept_save(struct ledger *l, struct kept *x)
{
	struct time_slot *s;
	size_t n;

	x->tried = x->index.steps;
	if (!l->keep_times || x->saved == x->index.steps || ledger_oid_is_zero(&x->index.commit))
		return;
	s = snapshot(x, &n);
	if (s && !timefile_save(l, x->ns, &x->index.commit, s, n))
		x->saved = x->index.steps;
	free(s);
}

void kept_save_beside(struct ledger *l, struct kept *x)
{
	struct ledger_oid commit;
	struct time_slot *s = NULL;
	size_t n, steps;

	pthread_mutex_lock(&x->lock);
	steps = x->tried = x->index.steps;
	commit = x->index.commit;
	if (l->keep_times && x->state == READY && x->saved != steps && !ledger_oid_is_zero(&commit))
		s = snapshot(x, &n);
	pthread_mutex_unlock(&x->lock);
	if (s && !timefile_save(l, x->ns, &commit, s, n)) {
		pthread_mutex_lock(&x->lock);
		x->saved = steps;
		pthread_mutex_unlock(&x->lock);
	}
	free(s);
}

void kept_begin(struct ledger *l, struct kept *x)
{
	struct tip_info info;

	if (!timefile_load(l, x->ns, TIMEINDEX_KEYS_MAX, &x->index.commit, &x->index.table)) {
		if (tip_peek(l, &x->index.commit, &info))
			timeindex_clear(&x->index); /* it is of a commit that is gone */
		x->index.tree = ledger_oid_is_zero(&x->index.commit) ? x->index.commit : info.tip.tree;
	}
	x->state = READY;
	kept_count_memory(l->timekeeper, x);
}
