/* SPDX-License-Identifier: MIT */
#include "gen.h"

#include "../fail.h"
#include "io.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK (256u << 10)

struct gen_chunk {
	struct gen_chunk *next;
	size_t used, cap;
	_Alignas(16) unsigned char data[];
};

struct gen *gen_new(void)
{
	struct gen *g = io_calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->nbuckets = 1024;
	g->buckets = io_calloc(g->nbuckets, sizeof(struct obj *));
	if (!g->buckets) {
		free(g);
		return NULL;
	}
	atomic_init(&g->refs, 1);
	return g;
}

struct gen *gen_ref(struct gen *g)
{
	atomic_fetch_add(&g->refs, 1);
	return g;
}

void gen_unref(struct gen *g)
{
	if (!g || atomic_fetch_sub(&g->refs, 1) != 1)
		return;
	while (g->chunks) {
		struct gen_chunk *c = g->chunks;

		g->chunks = c->next;
		free(c);
	}
	for (size_t i = 0; i < g->nstaged; i++)
		ledger_value_unref(g->staged[i]);
	free(g->buckets);
	free(g->list);
	free(g->refnames);
	free(g->small);
	free(g->staged);
	free(g->kept);
	free(g);
}

static void *take(struct gen *g, size_t len)
{
	struct gen_chunk *c = g->chunks;
	void *p;

	len = (len + 15) & ~(size_t)15;
	if (!c || c->cap - c->used < len) {
		size_t cap = len > CHUNK ? len : CHUNK;

		c = io_malloc(sizeof(*c) + cap);
		if (!c)
			return NULL;
		c->used = 0;
		c->cap = cap;
		/* A big one goes behind the first chunk, whose rest stays of use. */
		if (len > CHUNK / 2 && g->chunks) {
			c->next = g->chunks->next;
			g->chunks->next = c;
		} else {
			c->next = g->chunks;
			g->chunks = c;
		}
		g->bytes += cap;
	}
	p = c->data + c->used;
	c->used += len;
	return p;
}

static size_t bucket(const struct gen *g, const struct ledger_oid *oid)
{
	uint64_t h;

	memcpy(&h, oid->id, sizeof(h));
	return (size_t)h & (g->nbuckets - 1);
}

struct obj *gen_find(const struct gen *g, const struct ledger_oid *oid)
{
	struct obj *o;

	for (o = g->buckets[bucket(g, oid)]; o; o = o->next)
		if (ledger_oid_eq(&o->oid, oid))
			return o;
	return NULL;
}

/* Twice the buckets; without memory the chains just grow longer. */
static void rehash(struct gen *g)
{
	struct obj **old = g->buckets, **fresh;
	size_t n = g->nbuckets;

	fresh = io_calloc(n * 2, sizeof(struct obj *));
	if (!fresh)
		return;
	g->buckets = fresh;
	g->nbuckets = n * 2;
	for (size_t i = 0; i < n; i++) {
		struct obj *o = old[i], *next;

		for (; o; o = next) {
			size_t b = bucket(g, &o->oid);

			next = o->next;
			o->next = fresh[b];
			fresh[b] = o;
		}
	}
	free(old);
}

static struct obj *add(struct gen *g, enum store_type type, const struct ledger_oid *oid, const void *data, size_t len)
{
	struct obj *o = take(g, sizeof(*o) + len);
	size_t b;

	if (!o)
		return NULL;
	memset(o, 0, sizeof(*o));
	o->oid = *oid;
	o->type = (unsigned char)type;
	o->data = (unsigned char *)(o + 1);
	o->inslen = len;
	if (len)
		memcpy(o + 1, data, len);
	if (g->nmap >= g->nbuckets)
		rehash(g);
	b = bucket(g, oid);
	o->next = g->buckets[b];
	g->buckets[b] = o;
	g->nmap++;
	return o;
}

struct obj *gen_add(struct gen *g, enum store_type type, const struct ledger_oid *oid, const void *data, size_t len)
{
	struct obj *o = add(g, type, oid, data, len);

	if (o)
		o->len = len;
	return o;
}

struct obj *gen_add_splice(struct gen *g, const struct ledger_oid *oid, struct obj *base, size_t len, size_t off, size_t del,
			   const void *ins, size_t inslen)
{
	struct obj *o = add(g, STORE_TREE, oid, ins, inslen);

	if (!o)
		return NULL;
	o->base = base;
	o->depth = (unsigned char)(base->depth + 1);
	o->len = len;
	o->off = off;
	o->del = del;
	return o;
}

void gen_drop(struct gen *g, struct obj *o)
{
	struct obj **p = &g->buckets[bucket(g, &o->oid)];

	while (*p && *p != o)
		p = &(*p)->next;
	if (*p) {
		*p = o->next;
		g->nmap--;
	}
}

bool gen_reserve(struct gen *g, size_t nobjs, size_t nrefs, size_t nsmall, size_t nstaged)
{
	return io_grow((void **)&g->list, &g->cap, g->n + nobjs, sizeof(*g->list)) &&
	       io_grow((void **)&g->refnames, &g->refcap, g->nrefs + nrefs, sizeof(*g->refnames)) &&
	       io_grow((void **)&g->small, &g->smallcap, g->nsmall + nsmall, sizeof(*g->small)) &&
	       io_grow((void **)&g->staged, &g->stagedcap, g->nstaged + nstaged, sizeof(struct ledger_value *));
}

void gen_append(struct gen *g, struct obj *o)
{
	g->list[g->n++] = o;
	if (o->type == STORE_COMMIT)
		g->commits++;
}

char *gen_name(struct gen *g, const char *name)
{
	size_t len = strlen(name) + 1;
	char *p;

	/* Nearly always the ref of the group before. */
	if (g->nrefs && strcmp(g->refnames[g->nrefs - 1], name) == 0)
		return g->refnames[g->nrefs - 1];
	p = take(g, len);
	return p ? memcpy(p, name, len) : NULL;
}

int obj_whole(const struct obj *o, void **out)
{
	const struct obj *chain[GEN_DEPTH + 1];
	size_t n = 0, len, room = o->len;
	unsigned char *buf;

	for (; o->base; o = o->base) {
		if (n == GEN_DEPTH)
			return ledger_fail(LEDGER_ECORRUPT, "a chain of trees in memory is too long");
		chain[n++] = o;
	}
	/* A tree on the way may be longer than the one at its end. */
	if (o->len > room)
		room = o->len;
	for (size_t i = 0; i < n; i++)
		if (chain[i]->len > room)
			room = chain[i]->len;
	buf = io_malloc(room + 1);
	if (!buf)
		return LEDGER_ENOMEM;
	memcpy(buf, o->data, o->len);
	len = o->len;
	while (n-- > 0) {
		o = chain[n];
		if (o->inslen != o->del)
			memmove(buf + o->off + o->inslen, buf + o->off + o->del, len - o->off - o->del);
		memcpy(buf + o->off, o->data, o->inslen);
		len = o->len;
	}
	buf[len] = 0;
	*out = buf;
	return 0;
}
