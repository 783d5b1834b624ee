/* SPDX-License-Identifier: MIT */
#include "holder_slots.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* All slots are settled after so many armings at least, so that those of finished processes do not pile up. */
#define SWEEP_MIN 256

int holders_new(struct holders **out, struct proctree *t)
{
	struct holders *h = calloc(1, sizeof(*h));

	if (!h)
		return ENOMEM;
	h->tree = t;
	h->clock = 1;
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->given_back, NULL);
	*out = h;
	return 0;
}

void holders_free(struct holders *h)
{
	size_t i;

	if (!h)
		return;
	for (i = 0; i < NBUCKETS; i++) {
		while (h->bucket[i]) {
			while (h->bucket[i]->first)
				expectation_end(h, h->bucket[i]->first);
			slot_drop(h, h->bucket[i]);
		}
	}
	pthread_cond_destroy(&h->given_back);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

/* --- arming ------------------------------------------------------------------------------------------------------- */

static bool about_key(enum ledger_expect_what what)
{
	return what == LEDGER_EXPECT_BLOB || what == LEDGER_EXPECT_ABSENT;
}

/* Lock held. */
static void sweep(struct holders *h)
{
	struct slot *s, *next;
	size_t i;

	if (++h->armed < SWEEP_MIN || h->armed < atomic_load(&h->count) / 2)
		return;
	h->armed = 0;
	for (i = 0; i < NBUCKETS; i++) {
		for (s = h->bucket[i]; s; s = next) {
			next = s->next;
			slot_settle(h, s);
			slot_drop(h, s);
		}
	}
}

int holders_arm(struct holders *h, const char *ns, pid_t tid, const struct ledger_expect *e)
{
	const char *key = about_key(e->what) ? e->path : "";
	struct holder_expectation *x, *y, *next;
	struct slot *s = NULL;
	int err;

	if (e->what < LEDGER_EXPECT_TREE || e->what > LEDGER_EXPECT_ABSENT || !key || (about_key(e->what) && !*key))
		return EINVAL;
	x = calloc(1, sizeof(*x));
	if (!x)
		return ENOMEM;
	err = proctree_get(h->tree, tid, &x->setter); /* learns of deaths, too */
	if (err) {
		free(x);
		return err;
	}
	x->holder = x->setter;
	x->e = *e;
	x->e.path = NULL;
	pthread_mutex_lock(&h->lock);
	sweep(h);
	if (atomic_load(&h->count) >= HOLDERS_MAX) {
		err = ENOSPC;
	} else {
		s = slot_find(h, ns, key);
		if (!s)
			s = slot_make(h, ns, key);
		if (!s)
			err = ENOMEM;
	}
	if (!err) {
		slot_settle(h, s);
		for (y = s->first; y; y = next) {
			next = y->next;
			if (!y->died && y->holder == x->holder)
				expectation_end(h, y);
		}
		x->seq = ++h->clock;
		x->slot = s;
		x->next = s->first;
		s->first = x;
		atomic_fetch_add(&h->count, 1);
	}
	pthread_mutex_unlock(&h->lock);
	if (err) {
		proc_unref(x->setter);
		free(x);
	}
	return err;
}

/* Finds what the process of `tid` holds or inherits in a slot.  0: *x is it and the lock is held; else it is not. */
static int lock_callers(struct holders *h, const char *ns, const char *key, pid_t tid, struct holder_expectation **x)
{
	struct proc *leaf;
	struct slot *s;
	int err;

	if (!atomic_load(&h->count))
		return ENODATA;
	err = proctree_get(h->tree, tid, &leaf);
	if (err)
		return err;
	pthread_mutex_lock(&h->lock);
	s = slot_find(h, ns, key ? key : "");
	if (s) {
		slot_settle(h, s);
		*x = slot_pick(s, leaf, NULL);
		if (!*x)
			slot_drop(h, s);
	}
	if (!s || !*x) {
		pthread_mutex_unlock(&h->lock);
		err = ENODATA;
	}
	proc_unref(leaf);
	return err;
}

int holders_get(struct holders *h, const char *ns, const char *key, pid_t tid, struct ledger_expect *out)
{
	struct holder_expectation *x;
	int err = lock_callers(h, ns, key, tid, &x);

	if (err)
		return err;
	*out = x->e;
	pthread_mutex_unlock(&h->lock);
	return 0;
}

int holders_disarm(struct holders *h, const char *ns, const char *key, pid_t tid, enum ledger_expect_what what)
{
	struct holder_expectation *x;
	struct slot *s;
	int err = lock_callers(h, ns, key, tid, &x);

	if (err)
		return err;
	if (x->e.what == what || (about_key(what) && about_key(x->e.what))) {
		s = x->slot;
		expectation_end(h, x);
		slot_drop(h, s);
	} else {
		err = ENODATA;
	}
	pthread_mutex_unlock(&h->lock);
	return err;
}

/* --- checking ----------------------------------------------------------------------------------------------------- */

/* Fills `set` with what `leaf` meets.  Returns one of them that is handed out, or NULL.  Lock held, deaths learnt. */
static struct holder_expectation *choose(struct holders *h, const char *ns, const char *const *keys, size_t nkeys,
					 const struct proc *leaf, const struct holder_chain *chain, struct holder_set *set)
{
	struct holder_expectation *x, *busy = NULL;
	struct slot *s;
	int i;

	set->n = 0;
	for (i = -1; i < (int)nkeys; i++) {
		s = slot_find(h, ns, i < 0 ? "" : keys[i]);
		if (!s || (i == 1 && strcmp(keys[0], keys[1]) == 0))
			continue;
		slot_settle(h, s);
		x = slot_pick(s, leaf, chain);
		if (!x) {
			slot_drop(h, s);
			continue;
		}
		if (x->busy)
			busy = x;
		set->expects[set->n] = x->e;
		set->expects[set->n].path = i < 0 ? NULL : keys[i];
		set->held[set->n] = x;
		set->key_of[set->n++] = i;
	}
	return busy;
}

static bool anything(struct holders *h, const char *ns, const char *const *keys, size_t nkeys)
{
	size_t i;
	bool any;

	if (!atomic_load(&h->count))
		return false;
	pthread_mutex_lock(&h->lock);
	any = slot_find(h, ns, "") != NULL;
	for (i = 0; i < nkeys && !any; i++)
		any = slot_find(h, ns, keys[i]) != NULL;
	pthread_mutex_unlock(&h->lock);
	return any;
}

static int look(struct holders *h, const char *ns, const char *const *keys, size_t nkeys, const struct holder_who *who,
		struct holder_set *set, bool hand_out)
{
	struct proc *leaf = NULL;
	size_t i;
	int err;

	memset(set, 0, sizeof(*set));
	if (nkeys > HOLDER_KEYS_MAX)
		return EINVAL;
	if (!anything(h, ns, keys, nkeys))
		return 0;
	if (!who->chain) {
		err = proctree_get(h->tree, who->tid, &leaf);
		if (err)
			return err;
	}
	pthread_mutex_lock(&h->lock);
	proctree_learn(h->tree);
	/* All at once or none: who waits holds nothing, so there is no order to keep. */
	while (choose(h, ns, keys, nkeys, leaf ? leaf : who->chain->leaf, who->chain, set) && hand_out) {
		h->waiting++;
		pthread_cond_wait(&h->given_back, &h->lock);
		h->waiting--;
		proctree_learn(h->tree);
	}
	for (i = 0; i < set->n; i++) {
		if (hand_out)
			set->held[i]->busy = true;
		else
			set->held[i] = NULL;
	}
	pthread_mutex_unlock(&h->lock);
	proc_unref(leaf);
	return 0;
}

int holders_find(struct holders *h, const char *ns, const char *const *keys, size_t nkeys, const struct holder_who *who,
		 struct holder_set *set)
{
	return look(h, ns, keys, nkeys, who, set, true);
}

int holders_peek(struct holders *h, const char *ns, const char *const *keys, size_t nkeys, const struct holder_who *who,
		 struct holder_set *set)
{
	return look(h, ns, keys, nkeys, who, set, false);
}

static void move_on(struct ledger_expect *e, const struct ledger_tip *tip, const struct ledger_oid *blob)
{
	switch (e->what) {
	case LEDGER_EXPECT_TREE:
		e->oid = tip->tree;
		break;
	case LEDGER_EXPECT_COMMIT:
		e->oid = tip->commit;
		break;
	case LEDGER_EXPECT_VERSION:
		e->version = tip->version;
		break;
	case LEDGER_EXPECT_BLOB:
	case LEDGER_EXPECT_ABSENT:
		e->what = ledger_oid_is_zero(blob) ? LEDGER_EXPECT_ABSENT : LEDGER_EXPECT_BLOB;
		e->oid = *blob;
		break;
	}
}

void holders_settle(struct holders *h, struct holder_set *set, enum holder_outcome outcome, const struct ledger_tip *tip,
		    const struct ledger_oid *blobs)
{
	struct holder_expectation *x;
	size_t i;

	if (!set->n)
		return;
	pthread_mutex_lock(&h->lock);
	for (i = 0; i < set->n; i++) {
		x = set->held[i];
		if (!x) /* of holders_peek() */
			continue;
		x->busy = false;
		if (!x->slot) { /* ended meanwhile */
			proc_unref(x->setter);
			free(x);
			continue;
		}
		if (outcome != HOLDER_NOTHING)
			x->used = true;
		if (outcome == HOLDER_LANDED)
			move_on(&x->e, tip, set->key_of[i] < 0 ? NULL : &blobs[set->key_of[i]]);
	}
	if (h->waiting)
		pthread_cond_broadcast(&h->given_back);
	pthread_mutex_unlock(&h->lock);
	set->n = 0;
}

/* --- the rest ----------------------------------------------------------------------------------------------------- */

void holders_ns_renamed(struct holders *h, const char *from, const char *to)
{
	struct slot *s, *next, **at, *moved = NULL;
	char *name;
	size_t i;

	if (!atomic_load(&h->count) || strcmp(from, to) == 0)
		return;
	pthread_mutex_lock(&h->lock);
	for (i = 0; i < NBUCKETS; i++) {
		for (at = &h->bucket[i]; (s = *at);) {
			name = strcmp(s->ns, from) == 0 ? strdup(to) : NULL;
			if (!name && strcmp(s->ns, from) && strcmp(s->ns, to)) {
				at = &s->next;
				continue;
			}
			if (!name) { /* about `to`; or no memory for the new name: the guard cannot follow */
				while (s->first)
					expectation_end(h, s->first);
				slot_drop(h, s);
				continue;
			}
			*at = s->next;
			free(s->ns);
			s->ns = name;
			s->next = moved;
			moved = s;
		}
	}
	for (s = moved; s; s = next) {
		next = s->next;
		slot_relink(h, s);
	}
	pthread_mutex_unlock(&h->lock);
}

size_t holders_count(struct holders *h)
{
	return atomic_load(&h->count);
}
