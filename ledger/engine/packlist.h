/* SPDX-License-Identifier: MIT */
/* Which checkpoint packs are there, which of them are to be merged, and what is in them: for upkeep.c. */
#ifndef LEDGER_ENGINE_PACKLIST_H
#define LEDGER_ENGINE_PACKLIST_H

#include "engine.h"

struct old_pack {
	char name[41];
	off_t size;
};

struct packlist {
	struct old_pack *v;
	size_t n, cap;
};

/* The packs that are for good, and ours, and not kept by a .keep.  Negative: not all could be read. */
int packlist_read(struct store *s, struct packlist *p);
void packlist_release(struct packlist *p);

/* How many of the smallest are to be merged, 0: none; sorts by size. */
size_t packlist_choose(struct packlist *p);

/*
 * Writes the names of all objects of the first `n` to `fd`, a line each, pack by pack in the order of the packs' bytes.
 * ENOTFOUND: a pack is not there any more; that nobody reads is no error.
 */
int packlist_objects(struct store *s, const struct packlist *p, size_t n, int fd);

#endif
