/* SPDX-License-Identifier: MIT */
#include "holder_slots.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- slots -------------------------------------------------------------------------------------------------------- */

static size_t hash(const char *ns, const char *key)
{
	uint64_t v = 14695981039346656037ULL;

	for (; *ns; ns++)
		v = (v ^ (unsigned char)*ns) * 1099511628211ULL;
	v = (v ^ 0xff) * 1099511628211ULL;
	for (; *key; key++)
		v = (v ^ (unsigned char)*key) * 1099511628211ULL;
	return (size_t)(v ^ v >> 32) % NBUCKETS;
}

struct slot *slot_find(struct holders *h, const char *ns, const char *key)
{
	struct slot *s;

	for (s = h->bucket[hash(ns, key)]; s; s = s->next) {
		if (strcmp(s->key, key) == 0 && strcmp(s->ns, ns) == 0)
			return s;
	}
	return NULL;
}

void slot_relink(struct holders *h, struct slot *s)
{
	struct slot **b = &h->bucket[hash(s->ns, s->key)];

	s->next = *b;
	*b = s;
}

struct slot *slot_make(struct holders *h, const char *ns, const char *key)
{
	struct slot *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->ns = strdup(ns);
	s->key = strdup(key);
	if (!s->ns || !s->key) {
		free(s->ns);
		free(s->key);
		free(s);
		return NULL;
	}
	slot_relink(h, s);
	return s;
}

void slot_drop(struct holders *h, struct slot *s)
{
	struct slot **at;

	if (!s || s->first)
		return;
	for (at = &h->bucket[hash(s->ns, s->key)]; *at != s; at = &(*at)->next)
		;
	*at = s->next;
	free(s->ns);
	free(s->key);
	free(s);
}

/* Takes it out of its slot, which stays even when it is empty now.  One that is handed out is freed by its settling. */
void expectation_end(struct holders *h, struct holder_expectation *x)
{
	struct holder_expectation **at;

	for (at = &x->slot->first; *at != x; at = &(*at)->next)
		;
	*at = x->next;
	x->slot = NULL;
	atomic_fetch_sub(&h->count, 1);
	if (x->died)
		h->dead--;
	if (x->busy)
		return;
	proc_unref(x->setter);
	free(x);
}

/* --- who holds it now --------------------------------------------------------------------------------------------- */

/* Was `p` ever the expectation's holder?  They are the ancestors of the setter, up to the last one. */
static bool was_holder(const struct holder_expectation *x, const struct proc *p)
{
	const struct proc *q;

	for (q = x->setter; q != p && q != x->holder; q = proc_up(q))
		;
	return q == p;
}

/* May a write with that chain still come under the expectation, which is dead?  Was the chain taken below a holder, in time?
 */
static bool chain_needs(const struct holder_chain *c, const struct holder_expectation *x)
{
	const struct proc *p;

	for (p = c->born < x->died ? c->leaf : NULL; p; p = proc_up(p)) {
		if (was_holder(x, p))
			return true;
	}
	return false;
}

/* The last holder is gone.  True when the expectation stays for late writes. */
static bool die(struct holders *h, struct holder_expectation *x)
{
	struct holder_chain *c;

	x->died = ++h->clock;
	h->dead++;
	for (c = h->chains; c; c = c->next)
		x->late += chain_needs(c, x);
	if (x->late)
		return true;
	expectation_end(h, x);
	return false;
}

/* `x` has come to a new holder: of what that one holds in this slot the newest stays. */
static void supersede(struct holders *h, struct holder_expectation *x)
{
	struct holder_expectation *y, *next;

	for (y = x->slot->first; y; y = next) {
		next = y->next;
		if (y == x || y->died || y->holder != x->holder)
			continue;
		if (y->seq > x->seq) {
			expectation_end(h, x);
			return;
		}
		expectation_end(h, y);
	}
}

/* Passes the expectations of a slot on from processes that have ended.  Deaths are learnt, the lock is held. */
void slot_settle(struct holders *h, struct slot *s)
{
	struct holder_expectation *x, *next;
	struct proc *up;

restart:
	for (x = s->first; x; x = next) {
		next = x->next;
		if (x->died || x->busy || proc_lives(x->holder))
			continue;
		while (!proc_lives(x->holder)) {
			up = proc_up(x->holder);
			if (x->used || !up || proc_pid(up) == 1)
				break;
			x->holder = up;
		}
		if (!proc_lives(x->holder)) {
			die(h, x);
		} else {
			supersede(h, x);
			goto restart; /* it may have ended `next` */
		}
	}
}

/*
 * What a write of `leaf` meets in this slot: its own or its nearest ancestor's.  Dead ones count for the chain alone that
 * they stayed for.  The slot is settled.
 */
struct holder_expectation *slot_pick(struct slot *s, const struct proc *leaf, const struct holder_chain *chain)
{
	struct holder_expectation *x, *found;
	const struct proc *p;

	for (p = leaf; p; p = proc_up(p)) {
		found = NULL;
		for (x = s->first; x; x = x->next) {
			if (!x->died && x->holder == p)
				return x;
			if (x->died && chain && chain->born < x->died && was_holder(x, p) && (!found || found->seq < x->seq))
				found = x;
		}
		if (found)
			return found;
	}
	return NULL;
}

/* --- chains ------------------------------------------------------------------------------------------------------- */

int holders_chain(struct holders *h, pid_t tid, struct holder_chain **out)
{
	struct holder_chain *c = calloc(1, sizeof(*c));
	int err;

	if (!c)
		return ENOMEM;
	err = proctree_get(h->tree, tid, &c->leaf);
	if (err) {
		free(c);
		return err;
	}
	c->h = h;
	atomic_init(&c->refs, 1);
	pthread_mutex_lock(&h->lock);
	c->born = h->clock;
	c->next = h->chains;
	if (c->next)
		c->next->prev = c;
	h->chains = c;
	pthread_mutex_unlock(&h->lock);
	*out = c;
	return 0;
}

struct holder_chain *holder_chain_ref(struct holder_chain *c)
{
	atomic_fetch_add(&c->refs, 1);
	return c;
}

/* `c` is going: dead expectations that stayed for no other chain go, too. */
static void let_late_go(struct holders *h, struct holder_chain *c)
{
	struct holder_expectation *x, *xnext;
	struct slot *s, *snext;
	size_t i;

	for (i = 0; i < NBUCKETS && h->dead; i++) {
		for (s = h->bucket[i]; s; s = snext) {
			snext = s->next;
			for (x = s->first; x; x = xnext) {
				xnext = x->next;
				if (x->died && chain_needs(c, x) && --x->late == 0)
					expectation_end(h, x);
			}
			slot_drop(h, s);
		}
	}
}

void holder_chain_unref(struct holder_chain *c)
{
	struct holders *h;

	if (!c || atomic_fetch_sub(&c->refs, 1) != 1)
		return;
	h = c->h;
	pthread_mutex_lock(&h->lock);
	if (c->prev)
		c->prev->next = c->next;
	else
		h->chains = c->next;
	if (c->next)
		c->next->prev = c->prev;
	let_late_go(h, c);
	pthread_mutex_unlock(&h->lock);
	proc_unref(c->leaf);
	free(c);
}

struct proc *holder_chain_proc(struct holder_chain *c)
{
	return c->leaf;
}
