/* SPDX-License-Identifier: MIT */
#include "oidcache.h"

#include <pthread.h>
#include <stdlib.h>

#define WAYS 4

struct oidcache {
	pthread_mutex_t lock;
	size_t sets, value_size; /* constant */
	struct ledger_oid *keys; /* lock; [sets * WAYS], zero: free */
	unsigned char *values;   /* lock */
	unsigned char *next;     /* lock; [sets]: the way to give up next */
};

struct oidcache *oidcache_new(size_t sets, size_t value_size)
{
	struct oidcache *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->sets = sets;
	c->value_size = value_size;
	c->keys = calloc(sets * WAYS, sizeof(*c->keys));
	c->values = calloc(sets * WAYS, value_size);
	c->next = calloc(sets, 1);
	pthread_mutex_init(&c->lock, NULL);
	if (c->keys && c->values && c->next)
		return c;
	oidcache_free(c);
	return NULL;
}

void oidcache_free(struct oidcache *c)
{
	if (!c)
		return;
	pthread_mutex_destroy(&c->lock);
	free(c->keys);
	free(c->values);
	free(c->next);
	free(c);
}

static size_t set_of(const struct oidcache *c, const struct ledger_oid *key)
{
	size_t h;

	memcpy(&h, key->id, sizeof(h));
	return h & (c->sets - 1);
}

/* The slot that holds `key`, or -1.  Lock held. */
static ptrdiff_t find(const struct oidcache *c, size_t set, const struct ledger_oid *key)
{
	for (size_t i = set * WAYS; i < (set + 1) * WAYS; i++)
		if (ledger_oid_eq(&c->keys[i], key))
			return (ptrdiff_t)i;
	return -1;
}

bool oidcache_get(struct oidcache *c, const struct ledger_oid *key, void *value)
{
	ptrdiff_t i;

	pthread_mutex_lock(&c->lock);
	i = find(c, set_of(c, key), key);
	if (i >= 0)
		memcpy(value, c->values + (size_t)i * c->value_size, c->value_size);
	pthread_mutex_unlock(&c->lock);
	return i >= 0;
}

void oidcache_put(struct oidcache *c, const struct ledger_oid *key, const void *value)
{
	size_t set = set_of(c, key);
	ptrdiff_t i;

	pthread_mutex_lock(&c->lock);
	i = find(c, set, key);
	if (i < 0)
		i = (ptrdiff_t)(set * WAYS + (c->next[set]++ & (WAYS - 1)));
	c->keys[i] = *key;
	memcpy(c->values + (size_t)i * c->value_size, value, c->value_size);
	pthread_mutex_unlock(&c->lock);
}
