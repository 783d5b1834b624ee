/* SPDX-License-Identifier: MIT */
/*
 * Parsed trees by name, bounded by their bytes; the least recently used goes first.  Large ones, of directories of a million
 * keys, have a cache of their own: they would take the place of all the others, and cost most to read again.
 */
#include "tree.h"

#include <pthread.h>
#include <stdlib.h>

#define BUCKETS 32768 /* a power of two; of the trees of small directories about as many fit in */

struct treecache {
	pthread_mutex_t lock;
	size_t limit;                        /* constant */
	size_t size;                         /* lock */
	struct ledger_tree *bucket[BUCKETS]; /* lock; by `chain` */
	struct ledger_tree *newest, *oldest; /* lock; by `older`, `newer` */
	struct treecache *large;             /* constant; for what is over half of the limit; NULL: such ones are not kept */
};

struct treecache *treecache_new(size_t limit, size_t large)
{
	struct treecache *c = calloc(1, sizeof(*c));

	if (c && large && !(c->large = treecache_new(large, 0))) {
		free(c);
		c = NULL;
	}
	if (!c)
		return NULL;
	c->limit = limit;
	pthread_mutex_init(&c->lock, NULL);
	return c;
}

static struct ledger_tree **bucket_of(struct treecache *c, const struct ledger_oid *oid)
{
	size_t h;

	memcpy(&h, oid->id, sizeof(h));
	return &c->bucket[h & (BUCKETS - 1)];
}

static struct ledger_tree **find(struct treecache *c, const struct ledger_oid *oid)
{
	struct ledger_tree **p = bucket_of(c, oid);

	while (*p && !ledger_oid_eq(&(*p)->oid, oid))
		p = &(*p)->chain;
	return p;
}

static void list_remove(struct treecache *c, struct ledger_tree *t)
{
	*(t->newer ? &t->newer->older : &c->newest) = t->older;
	*(t->older ? &t->older->newer : &c->oldest) = t->newer;
}

static void list_push(struct treecache *c, struct ledger_tree *t)
{
	t->newer = NULL;
	t->older = c->newest;
	*(c->newest ? &c->newest->newer : &c->oldest) = t;
	c->newest = t;
}

/* Takes the oldest out; the caller drops its reference. */
static struct ledger_tree *evict(struct treecache *c)
{
	struct ledger_tree *t = c->oldest;

	list_remove(c, t);
	*find(c, &t->oid) = t->chain;
	t->cached = false;
	c->size -= tree_footprint(t);
	return t;
}

void treecache_free(struct treecache *c)
{
	if (!c)
		return;
	treecache_free(c->large);
	while (c->oldest)
		ledger_tree_unref(evict(c));
	pthread_mutex_destroy(&c->lock);
	free(c);
}

struct ledger_tree *treecache_get(struct treecache *c, const struct ledger_oid *oid)
{
	struct ledger_tree *t;

	pthread_mutex_lock(&c->lock);
	t = *find(c, oid);
	if (t) {
		ledger_tree_ref(t);
		list_remove(c, t);
		list_push(c, t);
	}
	pthread_mutex_unlock(&c->lock);
	return t || !c->large ? t : treecache_get(c->large, oid);
}

void treecache_put(struct treecache *c, struct ledger_tree *t)
{
	size_t size = tree_footprint(t);

	if (size > c->limit / 2) {
		if (c->large)
			treecache_put(c->large, t);
		return;
	}
	pthread_mutex_lock(&c->lock);
	if (!t->cached && !*find(c, &t->oid)) {
		struct ledger_tree **p = bucket_of(c, &t->oid);

		t->chain = *p;
		*p = ledger_tree_ref(t);
		t->cached = true;
		list_push(c, t);
		c->size += size;
	}
	while (c->size > c->limit)
		ledger_tree_unref(evict(c));
	pthread_mutex_unlock(&c->lock);
}
