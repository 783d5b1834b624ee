/* SPDX-License-Identifier: MIT */
/* A bounded map from object names to small fixed-size facts; forgets when full.  Any thread.  Internal to ledger/. */
#ifndef LEDGER_OIDCACHE_H
#define LEDGER_OIDCACHE_H

#include <ledger/oid.h>

struct oidcache;

/* `sets` is a power of two; room for four times as many facts.  NULL: out of memory. */
struct oidcache *oidcache_new(size_t sets, size_t value_size);
void oidcache_free(struct oidcache *c); /* NULL is fine */
bool oidcache_get(struct oidcache *c, const struct ledger_oid *key, void *value);
void oidcache_put(struct oidcache *c, const struct ledger_oid *key, const void *value);

#endif
