/* SPDX-License-Identifier: MIT */
/* Trees as bytes with an index, and how a changed one is spliced from them.  Internal to ledger/. */
#ifndef LEDGER_TREE_H
#define LEDGER_TREE_H

#include "buf.h"
#include "store.h"

#include <stdatomic.h>

enum { TENT_DIR = 1 << 0, TENT_HIDDEN = 1 << 1 };

/* One entry of a tree: where it stands in the bytes. */
struct tent {
	uint32_t off; /* of the mode */
	uint32_t namelen;
	uint8_t modelen; /* digits; a blank follows */
	uint8_t flags;   /* TENT_* */
	uint8_t kind;    /* enum ledger_kind; meaningless when hidden */
};

/* Immutable but for the count and for what the cache's lock guards. */
struct ledger_tree {
	atomic_uint refs;
	struct ledger_oid oid;
	unsigned char *raw;
	size_t rawlen;
	struct tent *ents; /* all, hidden ones too, in git's order */
	uint32_t n;
	uint32_t nvis;
	uint32_t *vis; /* indexes of the entries that are shown; NULL: all are */
	bool unsorted; /* the bytes are not in git's order (the index is) */
	/* cache's lock: */
	struct ledger_tree *chain, *newer, *older;
	bool cached;
};

/* Parses `raw` (taken over, also on failure).  ECORRUPT: bytes that are no tree; ENOMEM; ETOOBIG: from 4 GiB on. */
int tree_parse(struct ledger_tree **out, const struct ledger_oid *oid, void *raw, size_t len);

/* An empty tree, named `oid`: zero for one that is not in the repository yet. */
int tree_empty(struct ledger_tree **out, const struct ledger_oid *oid);

/* Bytes of memory that the tree takes. */
size_t tree_footprint(const struct ledger_tree *t);

/* git's order of two entries; 0: same name, and both or neither directories. */
int tree_order(const struct ledger_entry *a, const struct ledger_entry *b);

/* How many entries, shown or hidden, have that name; *hidden: one that is not merely a duplicate of a shown one. */
unsigned tree_named(const struct ledger_tree *t, const char *name, size_t len, bool *hidden);

/* A change to one name: to be `kind` with `oid`, or (kind 0) to be absent. */
struct tree_change {
	const char *name;
	size_t namelen;
	enum ledger_kind kind;
	struct ledger_oid oid;
};

/* Where the new tree's bytes differ from the old one's: old [off, off+del) became new [off, off+inslen). */
struct tree_delta {
	size_t off, del, inslen;
	bool whole; /* not to be described by a splice: the old bytes were out of order */
};

/* A new tree: `base` with the changes (any order; one for each name at most), named and indexed. */
int tree_splice(const struct ledger_tree *base, const struct tree_change *ch, size_t n, struct ledger_tree **out,
		struct tree_delta *delta);

/* --- cache of parsed trees (treecache.c) ---------------------------------------------------------------------------- */

struct treecache;

/* Bytes of all trees together, and of those over half of that; `large` 0: they are not kept.  NULL: out of memory. */
struct treecache *treecache_new(size_t limit, size_t large);
void treecache_free(struct treecache *c);
struct ledger_tree *treecache_get(struct treecache *c, const struct ledger_oid *oid); /* a reference, or NULL */
void treecache_put(struct treecache *c, struct ledger_tree *t);                       /* takes a reference of its own */

#endif
