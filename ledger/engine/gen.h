/* SPDX-License-Identifier: MIT */
/*
 * A generation: the objects committed since one checkpoint, in memory, in the order of commitment.
 *
 * It serves three: reads of what no pack on the disk may hold yet, the small packs that show a group to stock git, and
 * the checkpoint pack, which is built from here and never from files, because a foreign `git gc --prune=now` may have
 * taken those.  A tree is kept as a splice of another tree of the same generation where it can be; every chain of
 * splices starts with a whole tree and has at most GEN_DEPTH links, so one walk of a chain is bounded, and a pack of the
 * whole generation needs no base from outside.
 *
 * Threads: the map and the list belong to the store's mutex; objects never change once added.  A reader that holds a
 * reference to the generation may use an object without the mutex.
 */
#ifndef LEDGER_ENGINE_GEN_H
#define LEDGER_ENGINE_GEN_H

#include "../store.h"

#include <stdatomic.h>

#define GEN_DEPTH 50 /* git's own limit for the deltas that it makes */

struct obj {
	struct ledger_oid oid;
	unsigned char type;  /* enum store_type */
	unsigned char depth; /* links to the whole tree at the start of the chain */
	unsigned char packdepth;
	bool on_disk;     /* recovery: lent by a pack as a base, not of the records so far */
	struct obj *base; /* NULL: `data` is the whole object */
	struct obj *next; /* in the map's bucket */
	size_t len;       /* of the whole object */
	size_t off, del;  /* base's bytes [off, off+del) ... */
	size_t inslen;    /* ... are replaced by data[0..inslen) */
	const unsigned char *data;
	uint64_t packid, packoff; /* where the pack builder at work put it: one builder at a time */
};

struct gen_chunk;

struct gen {
	atomic_int refs;
	struct gen_chunk *chunks;
	struct obj **buckets;
	size_t nbuckets, nmap;
	struct obj **list; /* committed */
	size_t n, cap;
	size_t bytes; /* held in chunks */
	size_t commits;
	uint64_t last_seq; /* journal sequence of the newest group in it */
	char **refnames;   /* refs moved, in the chunks; may repeat */
	size_t nrefs, refcap;
	uint64_t *small; /* sequence numbers of the small packs that show it */
	size_t nsmall, smallcap;
	struct ledger_value **staged; /* values in packs of their own, one reference each */
	size_t nstaged, stagedcap;
	char (*kept)[41]; /* packs that have a .keep until its refs have moved (keep.c) */
	size_t nkept, keptcap;
	size_t published; /* list[0..published) is in small packs */
	size_t shown;     /* list[0..shown): and the refs have moved */
	uint64_t born;    /* milliseconds, of its first group */
};

struct gen *gen_new(void);
struct gen *gen_ref(struct gen *g);
void gen_unref(struct gen *g); /* NULL is fine */

struct obj *gen_find(const struct gen *g, const struct ledger_oid *oid);

/* Adds an object to the map, not to the list; copies the bytes.  NULL without memory. */
struct obj *gen_add(struct gen *g, enum store_type type, const struct ledger_oid *oid, const void *data, size_t len);
struct obj *gen_add_splice(struct gen *g, const struct ledger_oid *oid, struct obj *base, size_t len, size_t off, size_t del,
			   const void *ins, size_t inslen);
/* Takes an object that was never committed out of the map again; its memory stays until the generation goes. */
void gen_drop(struct gen *g, struct obj *o);

/* Makes room in the lists, so that the three calls below cannot fail. */
bool gen_reserve(struct gen *g, size_t nobjs, size_t nrefs, size_t nsmall, size_t nstaged);
void gen_append(struct gen *g, struct obj *o);
/* `name` is copied when the room is reserved by gen_name(). */
char *gen_name(struct gen *g, const char *name);

/* The bytes of the object, o->len of them and a NUL, malloc'ed for the caller.  ENOMEM, ECORRUPT. */
int obj_whole(const struct obj *o, void **out);

#endif
