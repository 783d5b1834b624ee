/* SPDX-License-Identifier: MIT */
/*
 * A blob in a pack as a zlib stream of full stored blocks, which can be read and written in place: the byte at `off` stands
 * at stored_pos(at, off), five bytes of the next block's head after each 65535.
 */
#ifndef LEDGER_ENGINE_STORED_H
#define LEDGER_ENGINE_STORED_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define STORED_BLOCK 65535u /* the most that a stored block holds */
#define STORED_HEAD 5u
#define STORED_VEC 34 /* parts of one call: 17 blocks, with a megabyte whatever its offset */

/* Where the byte `off` of a blob stands whose first byte stands at `at`. */
static inline uint64_t stored_pos(uint64_t at, uint64_t off)
{
	return at + off + off / STORED_BLOCK * STORED_HEAD;
}

/* The head of a block; `final`: the last one, with `len` bytes. */
void stored_head(unsigned char out[STORED_HEAD], uint32_t len, bool final);

/* The head that the block `n` of a blob of `size` bytes has. */
void stored_head_of(unsigned char out[STORED_HEAD], uint64_t n, uint64_t size);

/*
 * One call's parts from `off` on: the pieces of buf[0..len) with the heads between them, which come from or go to
 * heads[5 * k].  At most STORED_VEC parts; *done: how much of `buf` they are.  Returns their number.
 */
int stored_parts(struct iovec *v, unsigned char *heads, void *buf, size_t len, uint64_t off, size_t *done);

#endif
