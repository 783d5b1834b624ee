/* SPDX-License-Identifier: MIT */
/* The bytes of a pack entry: head, offset to the base, the delta of a splice, zlib. */
#ifndef LEDGER_ENGINE_DELTA_H
#define LEDGER_ENGINE_DELTA_H

#include <stddef.h>
#include <stdint.h>

#define PACK_OFS_DELTA 6

/* Type and size of an entry; at most 11 bytes.  Returns the bytes written. */
size_t delta_head(unsigned char *out, int type, uint64_t size);

/* How far back the base of an OFS_DELTA begins; at most 10 bytes. */
size_t delta_back(unsigned char *out, uint64_t distance);

/* Room that delta_splice() needs at most. */
size_t delta_splice_bound(uint64_t baselen, size_t inslen);

/*
 * The delta that replaces base's bytes [off, off+del) by `ins`: copy, insert, copy.  Returns its length, or 0 when git's
 * delta cannot say it (a tree of 4 GiB).
 */
size_t delta_splice(unsigned char *out, uint64_t baselen, uint64_t off, uint64_t del, const unsigned char *ins,
		    size_t inslen);

/* A zlib stream of stored blocks: 16 bytes and 5 for each 64 KiB on top of `len`. */
size_t delta_stored_bound(size_t len);
size_t delta_stored(unsigned char *out, const void *data, size_t len);

#endif
