/* SPDX-License-Identifier: MIT */
/*
 * Sealing a draft: two SHA-1 (the value's name, the pack's own), Adler-32 and CRC-32 in one pass over the bytes, which are
 * still in the page cache.  It cannot begin before the last byte is written: both names begin with the size.  A second
 * thread takes the two sums that are not SHA-1.
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

#define BLOCKS 16 /* of one piece */
#define PIECE ((size_t)BLOCKS * STORED_BLOCK)

struct piece {
	unsigned char heads[BLOCKS][STORED_HEAD]; /* what the file says before each block */
	unsigned char data[PIECE];
};

/* Reads the blocks from `first` on; their length. */
static int read_piece(const struct store_draft *d, uint64_t first, struct piece *p, size_t *len)
{
	uint64_t off = first * STORED_BLOCK, pos = stored_pos(DRAFT_AT, off) - STORED_HEAD;
	size_t want = d->size - off < PIECE ? (size_t)(d->size - off) : PIECE, left = want;
	struct iovec v[2 * BLOCKS];
	int n = 0, i = 0;

	for (int k = 0; left; k++) {
		size_t room = left < STORED_BLOCK ? left : STORED_BLOCK;

		v[n++] = (struct iovec){p->heads[k], STORED_HEAD};
		v[n++] = (struct iovec){p->data + (size_t)k * STORED_BLOCK, room};
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

/* --- the sums that a second thread makes ---------------------------------------------------------------------------- */

struct sums {
	const struct store_draft *d;
	struct piece *p;
	const unsigned char *head; /* the pack's first bytes */
	uint32_t crc, adler;
	unsigned char tail[4]; /* adler, as it stands behind the last block */
	int r;
};

static void *make_sums(void *arg)
{
	struct sums *s = arg;
	unsigned char head[STORED_HEAD];

	s->r = 0;
	s->adler = 1;
	s->crc = crc_update(0, s->head + 12, DRAFT_AT - 12);
	for (uint64_t n = 0; !s->r && n * STORED_BLOCK < s->d->size; n += BLOCKS) {
		size_t len, room;

		s->r = read_piece(s->d, n, s->p, &len);
		for (size_t at = 0; !s->r && at < len; at += room) {
			uint64_t block = n + at / STORED_BLOCK;

			room = len - at < STORED_BLOCK ? len - at : STORED_BLOCK;
			stored_head_of(head, block, s->d->size);
			if (block)
				s->crc = crc_update(s->crc, head, STORED_HEAD);
			s->crc = crc_update(s->crc, s->p->data + at, room);
			s->adler = adler_update(s->adler, s->p->data + at, room);
		}
	}
	put_be32(s->tail, s->adler);
	s->crc = crc_update(s->crc, s->tail, sizeof(s->tail));
	return NULL;
}

/* --- the hashes ----------------------------------------------------------------------------------------------------- */

/* Puts right the head of a block in the file: the last one's, and those that a gap or a change of the size left out. */
static int put_head(const struct store_draft *d, uint64_t block, const unsigned char *was, const unsigned char *want)
{
	if (!block || memcmp(was, want, STORED_HEAD) == 0) /* the first block's is the pack's head */
		return 0;
	if (io_pwrite(d->fd, want, STORED_HEAD, (off_t)(stored_pos(DRAFT_AT, block * STORED_BLOCK) - STORED_HEAD)) == 0)
		return 0;
	return ledger_fail(io_code(errno), "a large value: %s", strerror(errno));
}

static int hash_piece(const struct store_draft *d, uint64_t first, struct piece *p, size_t len, struct sha *blob,
		      struct sha *pack)
{
	unsigned char head[STORED_HEAD];
	size_t room;
	int r = 0;

	for (size_t at = 0; !r && at < len; at += room) {
		uint64_t block = first + at / STORED_BLOCK;

		room = len - at < STORED_BLOCK ? len - at : STORED_BLOCK;
		stored_head_of(head, block, d->size);
		if (block)
			sha_update(pack, head, STORED_HEAD);
		sha_update2(blob, p->data + at, room, pack, p->data + at, room);
		r = put_head(d, block, p->heads[at / STORED_BLOCK], head);
	}
	return r;
}

static int hash_all(struct store_draft *d, struct piece *p, struct sha *blob, struct sha *pack)
{
	int r = 0;

	for (uint64_t n = 0; !r && n * STORED_BLOCK < d->size; n += BLOCKS) {
		size_t len;

		r = read_piece(d, n, p, &len);
		if (!r)
			r = hash_piece(d, n, p, len, blob, pack);
	}
	return r;
}

/* Head, Adler-32 and SHA-1 around the blocks. */
static int finish(struct store_draft *d, const unsigned char *head, const unsigned char *adler, struct sha *pack)
{
	unsigned char tail[4 + LEDGER_OID_SIZE];

	sha_update(pack, adler, 4);
	sha_final(pack, &d->trailer);
	memcpy(tail, adler, 4);
	memcpy(tail + 4, d->trailer.id, LEDGER_OID_SIZE);
	if (io_pwrite(d->fd, head, DRAFT_AT, 0) == 0 &&
	    io_pwrite(d->fd, tail, sizeof(tail), (off_t)(draft_end(d->size) - sizeof(tail))) == 0)
		return 0;
	return ledger_fail(io_code(errno), "a large value: %s", strerror(errno));
}

/* All sums; the Adler-32 in sums->tail, the blob's name in `oid`, the pack's hash goes on behind the blocks. */
static int sum_up(struct store_draft *d, struct sums *sums, struct sha *pack, struct ledger_oid *oid)
{
	struct piece *p = io_malloc(2 * sizeof(*p));
	struct sha blob;
	pthread_t thread;
	char start[32];
	bool helped;
	int r;

	if (!p)
		return LEDGER_ENOMEM;
	sums->p = p + 1;
	sha_init(&blob);
	sha_update(&blob, start, (size_t)snprintf(start, sizeof(start), "blob %" PRIu64, d->size) + 1);
	sha_init(pack);
	sha_update(pack, sums->head, DRAFT_AT);
	helped = pthread_create(&thread, NULL, make_sums, sums) == 0;
	r = hash_all(d, p, &blob, pack);
	if (helped)
		pthread_join(thread, NULL);
	else if (!r)
		make_sums(sums);
	free(p);
	sha_final(&blob, oid);
	return r ? r : sums->r;
}

int store_draft_seal(struct store_draft *d, struct ledger_oid *oid)
{
	unsigned char head[DRAFT_AT];
	struct sums sums = {.d = d, .head = head};
	struct sha pack;
	int r;

	if (d->sealed) {
		*oid = d->oid;
		return 0;
	}
	if (d->size < DRAFT_MIN)
		return ledger_fail(LEDGER_EINVALID, "a value of %" PRIu64 " bytes is no large one", d->size);
	draft_start_writing(d);
	draft_head(head, d->size);
	r = sum_up(d, &sums, &pack, &d->oid);
	if (!r)
		r = finish(d, head, sums.tail, &pack);
	if (r)
		return r;
	d->crc = sums.crc;
	d->sealed = true;
	*oid = d->oid;
	return 0;
}
