/* SPDX-License-Identifier: MIT */
/*
 * Large values as they are written (store.h says what a draft is).
 *
 * The file is a pack of one object from its first byte on:
 *
 *   PACK, 2, 1 | entry's head | 78 01 | filling | block's head | 65535 bytes | block's head | ... | adler | SHA-1
 *   0            12             12+h              25             DRAFT_AT
 *
 * The entry's head has the size, so its length h is known last; the first byte must stand somewhere before.  The filling
 * makes up for it: empty blocks of deflate's fixed code, ten bits each, which give nothing.
 */
#ifndef LEDGER_ENGINE_DRAFT_H
#define LEDGER_ENGINE_DRAFT_H

#include "../store.h"
#include "sha.h"
#include "stored.h"

#include <stdatomic.h>

#define DRAFT_AT 30u           /* entries' heads of 4 to 7 bytes can be filled up: 256 KiB to 64 TiB */
#define DRAFT_MIN (256u << 10) /* bytes of the smallest value that can be sealed */

struct follow;

struct store_draft {
	atomic_uint refs;
	int fd, dirfd;
	bool nosync;
	bool named;         /* it had a name: it cannot be given one again */
	atomic_bool placed; /* it has a name in the repository: never changed again */
	bool sealed;
	uint64_t size;
	struct follow *follow; /* NULL: nobody reads along */
	uint64_t started;      /* the kernel was asked to begin writing up to here */
	/* Once sealed: */
	struct ledger_oid oid, trailer;
	uint32_t crc;
};

/* The pack's first DRAFT_AT bytes. */
void draft_head(unsigned char out[DRAFT_AT], uint64_t size);

/* The length of the sealed file. */
uint64_t draft_end(uint64_t size);

/* Lets the disk begin with what it has not been given yet. */
void draft_start_writing(struct store_draft *d);

/* All that was written is on the disk. */
int draft_sync(struct store_draft *d);

/* --- seal.c: the sums of a draft of `size` bytes, of which `done` are in --------------------------------------------- */

#define SUMS_BLOCKS 16 /* of one piece */
#define SUMS_PIECE ((size_t)SUMS_BLOCKS * STORED_BLOCK)

struct sums {
	uint64_t size, done;
	unsigned char head[DRAFT_AT];
	struct sha blob, pack;
	uint32_t crc, adler;
	/* Of one piece: what the file says before each block, and the blocks. */
	unsigned char heads[SUMS_BLOCKS][STORED_HEAD];
	unsigned char data[SUMS_PIECE];
};

struct sums *sums_new(uint64_t size); /* NULL: out of memory */
/* The next piece, which must have been written. */
int sums_piece(const struct store_draft *d, struct sums *s);

/* --- follow.c: sums while it is written ------------------------------------------------------------------------------ */

/* Bytes up to `end` were added behind the others. */
void follow_wrote(struct store_draft *d, uint64_t end);
/* Something else changed: what was summed up is worth nothing. */
void follow_cancel(struct store_draft *d);
/* The sums so far, for the caller to free, if they are those of a value of the draft's size; else NULL. */
struct sums *follow_end(struct store_draft *d);

/* --- draft.c ---------------------------------------------------------------------------------------------------------- */

/* Gives the sealed file the name `to`; -1 and errno (ENOENT, EOPNOTSUPP: it must be copied). */
int draft_link(struct store_draft *d, const char *to);

/* Copies the sealed file to the new one `to`; synced unless nosync. */
int draft_copy_to(struct store_draft *d, const char *to);

#endif
