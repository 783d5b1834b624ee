/* SPDX-License-Identifier: MIT */
/* SHA-1 and CRC-32 as packs need them. */
#ifndef LEDGER_ENGINE_SHA_H
#define LEDGER_ENGINE_SHA_H

#include "../store.h"

#include <stdbool.h>
#include <stdint.h>

struct sha {
	uint32_t state[5], nl, nh, data[16];
	unsigned int num;
};

void sha_init(struct sha *h);
void sha_update(struct sha *h, const void *data, size_t len);
/* Two at once, which is faster than one after the other where sha_pair_fast(). */
void sha_update2(struct sha *a, const void *adata, size_t alen, struct sha *b, const void *bdata, size_t blen);
void sha_final(struct sha *h, struct ledger_oid *out);

/* sha_pair.c: can this processor do two at once?  If so: `blocks` of 64 bytes for either. */
bool sha_pair_fast(void);
void sha_pair_blocks(uint32_t ha[5], const unsigned char *pa, uint32_t hb[5], const unsigned char *pb, size_t blocks);

/*
 * The name of an object.  Fast, without the detection of made collisions: for bytes that we built ourselves.  Values
 * from users are named by ledger_value_new().
 */
void sha_object(enum store_type type, const void *data, size_t len, struct ledger_oid *out);

/* sums.c: as zlib's; they begin with 0 and 1. */
uint32_t crc_update(uint32_t crc, const void *data, size_t len);
uint32_t adler_update(uint32_t adler, const void *data, size_t len);

const char *object_type_name(enum store_type type);

/* Big-endian, as git's files have it, and little-endian, as the journal has it. */
static inline void put_be32(unsigned char *p, uint32_t v)
{
	p[0] = (unsigned char)(v >> 24);
	p[1] = (unsigned char)(v >> 16);
	p[2] = (unsigned char)(v >> 8);
	p[3] = (unsigned char)v;
}

static inline uint32_t get_be32(const unsigned char *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void put_le32(unsigned char *p, uint32_t v)
{
	p[0] = (unsigned char)v;
	p[1] = (unsigned char)(v >> 8);
	p[2] = (unsigned char)(v >> 16);
	p[3] = (unsigned char)(v >> 24);
}

static inline uint32_t get_le32(const unsigned char *p)
{
	return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

static inline void put_le64(unsigned char *p, uint64_t v)
{
	put_le32(p, (uint32_t)v);
	put_le32(p + 4, (uint32_t)(v >> 32));
}

static inline uint64_t get_le64(const unsigned char *p)
{
	return (uint64_t)get_le32(p + 4) << 32 | get_le32(p);
}

#endif
