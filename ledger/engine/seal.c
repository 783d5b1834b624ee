/* SPDX-License-Identifier: MIT */
/*
 * Sealing a draft: two SHA-1 (the value's name, the pack's own), Adler-32 and CRC-32 in one pass over the bytes, which are
 * still in the page cache.  Both names begin with the size, so the pass begins after the last byte; or before, where the
 * writer's source told the size beforehand (follow.c).
 *
 * The name is computed with the processor's own instructions, without git's detection of made collisions, which is six
 * times as slow and would be most of the cost of a large value.  git still refuses such a blob where it checks what it
 * gets: in clone, fetch, fsck.  Values that are kept in memory are named with the detection (ledger/hash.c).
 */
#include "draft.h"
#include "engine.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Reads the next blocks; their length. */
static int read_piece(const struct store_draft *d, struct sums *s, size_t *len)
{
	uint64_t pos = stored_pos(DRAFT_AT, s->done) - STORED_HEAD;
	size_t want = s->size - s->done < SUMS_PIECE ? (size_t)(s->size - s->done) : SUMS_PIECE, left = want;
	struct iovec v[2 * SUMS_BLOCKS];
	int n = 0, i = 0;

	for (int k = 0; left; k++) {
		size_t room = left < STORED_BLOCK ? left : STORED_BLOCK;

		v[n++] = (struct iovec){s->heads[k], STORED_HEAD};
		v[n++] = (struct iovec){s->data + (size_t)k * STORED_BLOCK, room};
		left -= room;
	}
	while (i < n) {
		ssize_t got = preadv(d->fd, v + i, n - i, (off_t)pos);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return ledger_fail(LEDGER_EIO, "a large value cannot be read: %s",
					   got ? strerror(errno) : "it is too short");
		pos += (uint64_t)got;
		for (; i < n && (size_t)got >= v[i].iov_len; i++)
			got -= (ssize_t)v[i].iov_len;
		if (i < n) {
			v[i].iov_base = (char *)v[i].iov_base + got;
			v[i].iov_len -= (size_t)got;
		}
	}
	*len = want;
	return 0;
}

/* Puts right the head of a block in the file: the last one's, and those that a gap or a change of the size left out. */
static int put_head(const struct store_draft *d, uint64_t block, const unsigned char *was, const unsigned char *want)
{
	if (!block || memcmp(was, want, STORED_HEAD) == 0) /* the first block's is the pack's head */
		return 0;
	if (io_pwrite(d->fd, want, STORED_HEAD, (off_t)(stored_pos(DRAFT_AT, block * STORED_BLOCK) - STORED_HEAD)) == 0)
		return 0;
	return ledger_fail(io_code(errno), "a large value: %s", strerror(errno));
}

static int sum_block(const struct store_draft *d, struct sums *s, uint64_t block, const unsigned char *was,
		     const unsigned char *data, size_t len)
{
	unsigned char head[STORED_HEAD];

	stored_head_of(head, block, s->size);
	if (block) {
		sha_update(&s->pack, head, STORED_HEAD);
		s->crc = crc_update(s->crc, head, STORED_HEAD);
	}
	sha_update2(&s->blob, data, len, &s->pack, data, len);
	s->crc = crc_update(s->crc, data, len);
	s->adler = adler_update(s->adler, data, len);
	return put_head(d, block, was, head);
}

struct sums *sums_new(uint64_t size)
{
	struct sums *s = io_malloc(sizeof(*s));
	char start[32];

	if (!s)
		return NULL;
	s->size = size;
	s->done = 0;
	draft_head(s->head, size);
	sha_init(&s->blob);
	sha_update(&s->blob, start, (size_t)snprintf(start, sizeof(start), "blob %" PRIu64, size) + 1);
	sha_init(&s->pack);
	sha_update(&s->pack, s->head, DRAFT_AT);
	s->crc = crc_update(0, s->head + 12, DRAFT_AT - 12);
	s->adler = 1;
	return s;
}

int sums_piece(const struct store_draft *d, struct sums *s)
{
	size_t len, room;
	int r = read_piece(d, s, &len);

	for (size_t at = 0; !r && at < len; at += room) {
		room = len - at < STORED_BLOCK ? len - at : STORED_BLOCK;
		r = sum_block(d, s, (s->done + at) / STORED_BLOCK, s->heads[at / STORED_BLOCK], s->data + at, room);
	}
	s->done += len;
	return r;
}

/* Head, Adler-32 and SHA-1 around the blocks. */
static int finish(struct store_draft *d, struct sums *s)
{
	unsigned char tail[4 + LEDGER_OID_SIZE];

	put_be32(tail, s->adler);
	sha_update(&s->pack, tail, 4);
	d->crc = crc_update(s->crc, tail, 4);
	sha_final(&s->blob, &d->oid);
	sha_final(&s->pack, &d->trailer);
	memcpy(tail + 4, d->trailer.id, LEDGER_OID_SIZE);
	if (io_pwrite(d->fd, s->head, DRAFT_AT, 0) == 0 &&
	    io_pwrite(d->fd, tail, sizeof(tail), (off_t)(draft_end(d->size) - sizeof(tail))) == 0)
		return 0;
	return ledger_fail(io_code(errno), "a large value: %s", strerror(errno));
}

int store_draft_seal(struct store_draft *d, struct ledger_oid *oid)
{
	struct sums *s;
	int r = 0;

	if (d->sealed) {
		*oid = d->oid;
		return 0;
	}
	if (d->size < DRAFT_MIN)
		return ledger_fail(LEDGER_EINVALID, "a value of %" PRIu64 " bytes is no large one", d->size);
	draft_start_writing(d);
	s = follow_end(d);
	if (!s)
		s = sums_new(d->size);
	if (!s)
		return LEDGER_ENOMEM;
	while (!r && s->done < d->size)
		r = sums_piece(d, s);
	if (!r)
		r = finish(d, s);
	free(s);
	if (r)
		return r;
	d->sealed = true;
	*oid = d->oid;
	return 0;
}
