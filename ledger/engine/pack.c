/* SPDX-License-Identifier: MIT */
#include "pack.h"

#include "../fail.h"
#include "delta.h"
#include "io.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Atomic uint64_t last_id; /* of all packs of the process: what obj.packid says */

void pack_init(struct pack *p, int level)
{
	memset(p, 0, sizeof(*p));
	p->level = level;
}

void pack_release(struct pack *p)
{
	for (int i = 0; i < 2; i++)
		if (p->zinit[i])
			deflateEnd(&p->z[i]);
	free(p->buf);
	free(p->ents);
	free(p->idx);
	memset(p, 0, sizeof(*p));
}

void pack_begin(struct pack *p)
{
	p->len = 12;
	p->n = 0;
	p->id = atomic_fetch_add(&last_id, 1) + 1;
}

/* Most objects are small: tables of zlib's own size take longer to clear than such a one to compress. */
#define SMALL_MAX 1024
#define SMALL_WINDOW 12
#define SMALL_MEM 5
/* So few bytes are stored: they would save next to nothing. */
#define STORED_MAX 64

static size_t zbound(struct pack *p, size_t len, int level)
{
	/* The small tables may make more of what does not compress than compressBound() knows. */
	return level ? compressBound(len) + (len <= SMALL_MAX ? len / 4 : 0) + 64 : delta_stored_bound(len);
}

static size_t zput(struct pack *p, unsigned char *out, size_t room, const void *data, size_t len, int level)
{
	bool small = len <= SMALL_MAX;
	z_stream *z = &p->z[small];

	if (level == 0)
		return delta_stored(out, data, len);
	if (!p->zinit[small]) {
		if ((small ? deflateInit2(z, level, Z_DEFLATED, SMALL_WINDOW, SMALL_MEM, Z_DEFAULT_STRATEGY)
			   : deflateInit(z, level)) != Z_OK)
			return 0;
		p->zinit[small] = true;
	} else {
		deflateReset(z);
	}
	z->next_in = (unsigned char *)data;
	z->avail_in = (unsigned)len;
	z->next_out = out;
	z->avail_out = (unsigned)room;
	return deflate(z, Z_FINISH) == Z_STREAM_END ? z->total_out : 0;
}

/* Starts an entry: room for it in both arrays. */
static int reserve(struct pack *p, size_t len)
{
	if (!io_grow((void **)&p->buf, &p->cap, p->len + len + 64, 1) ||
	    !io_grow((void **)&p->ents, &p->entcap, p->n + 1, sizeof(*p->ents)))
		return LEDGER_ENOMEM;
	return 0;
}

static void entry_done(struct pack *p, const struct ledger_oid *oid, size_t len)
{
	struct pack_entry *e = &p->ents[p->n++];

	e->oid = *oid;
	e->off = p->len;
	e->crc = crc_update(0, p->buf + p->len, len);
	p->len += len;
}

int pack_add_raw(struct pack *p, enum store_type type, const struct ledger_oid *oid, const void *data, size_t len)
{
	int level = len < STORED_MAX || len > UINT32_MAX / 2 ? 0 : p->level;
	size_t room = zbound(p, len, level), n, z;
	unsigned char *at;

	if (reserve(p, room) < 0)
		return LEDGER_ENOMEM;
	at = p->buf + p->len;
	n = delta_head(at, type, len);
	z = zput(p, at + n, room, data, len, level);
	if (!z)
		return LEDGER_ENOMEM;
	entry_done(p, oid, n + z);
	return 0;
}

/* 1: added; 0: cannot be said as a delta; negative: error. */
static int add_delta(struct pack *p, struct obj *o)
{
	size_t room = delta_splice_bound(o->base->len, o->inslen), len, n;
	unsigned char small[512], *delta = small, *at;
	int r = 0;

	if (room > sizeof(small)) {
		delta = io_malloc(room);
		if (!delta)
			return LEDGER_ENOMEM;
	}
	len = delta_splice(delta, o->base->len, o->off, o->del, o->data, o->inslen);
	if (len) {
		r = reserve(p, delta_stored_bound(len));
		if (!r) {
			at = p->buf + p->len;
			n = delta_head(at, PACK_OFS_DELTA, len);
			n += delta_back(at + n, p->len - o->base->packoff);
			n += delta_stored(at + n, delta, len);
			o->packoff = p->len;
			o->packid = p->id;
			o->packdepth = (unsigned char)(o->base->packdepth + 1);
			entry_done(p, &o->oid, n);
			r = 1;
		}
	}
	if (delta != small)
		free(delta);
	return r;
}

int pack_add(struct pack *p, struct obj *o, const void *whole)
{
	void *made = NULL;
	uint64_t off = p->len;
	int r;

	if (o->packid == p->id)
		return 0;
	/* A tree shorter than two entries costs less whole than as a link of a chain. */
	if (o->base && o->base->packid == p->id && o->base->packdepth < GEN_DEPTH && o->len > 96) {
		r = add_delta(p, o);
		if (r)
			return r < 0 ? r : 0;
	}
	if (!whole && !o->base)
		whole = o->data;
	if (!whole) {
		r = obj_whole(o, &made);
		if (r < 0)
			return r;
		whole = made;
	}
	r = pack_add_raw(p, o->type, &o->oid, whole, o->len);
	free(made);
	if (r < 0)
		return r;
	o->packoff = off;
	o->packid = p->id;
	o->packdepth = 0;
	return 0;
}

static int by_oid(const void *a, const void *b)
{
	return memcmp(((const struct pack_entry *)a)->oid.id, ((const struct pack_entry *)b)->oid.id, LEDGER_OID_SIZE);
}

int pack_make_index(struct pack_entry *ents, size_t n, const struct ledger_oid *trailer, unsigned char **out, size_t *len,
		    size_t *cap)
{
	static const unsigned char magic[8] = {0xff, 't', 'O', 'c', 0, 0, 0, 2};
	struct ledger_oid sum;
	struct sha h;
	unsigned char *p;
	uint32_t big = 0;
	size_t k = 0;

	if (n > UINT32_MAX / 2)
		return LEDGER_ETOOBIG;
	qsort(ents, n, sizeof(*ents), by_oid);
	if (!io_grow((void **)out, cap, 8 + 1024 + n * 36 + 40, 1))
		return LEDGER_ENOMEM;
	p = *out;
	memcpy(p, magic, 8);
	p += 8;
	for (unsigned b = 0; b < 256; b++, p += 4) {
		while (k < n && ents[k].oid.id[0] <= b)
			k++;
		put_be32(p, (uint32_t)k);
	}
	for (size_t i = 0; i < n; i++, p += LEDGER_OID_SIZE)
		memcpy(p, ents[i].oid.id, LEDGER_OID_SIZE);
	for (size_t i = 0; i < n; i++, p += 4)
		put_be32(p, ents[i].crc);
	for (size_t i = 0; i < n; i++, p += 4)
		put_be32(p, ents[i].off < 0x80000000u ? (uint32_t)ents[i].off : (0x80000000u | big++));
	for (size_t i = 0; i < n; i++)
		if (ents[i].off >= 0x80000000u) {
			put_be32(p, (uint32_t)(ents[i].off >> 32));
			put_be32(p + 4, (uint32_t)ents[i].off);
			p += 8;
		}
	memcpy(p, trailer->id, LEDGER_OID_SIZE);
	p += LEDGER_OID_SIZE;
	sha_init(&h);
	sha_update(&h, *out, (size_t)(p - *out));
	sha_final(&h, &sum);
	memcpy(p, sum.id, LEDGER_OID_SIZE);
	*len = (size_t)(p + LEDGER_OID_SIZE - *out);
	return 0;
}

int pack_finish(struct pack *p)
{
	struct sha h;

	if (reserve(p, LEDGER_OID_SIZE) < 0)
		return LEDGER_ENOMEM;
	memcpy(p->buf, "PACK", 4);
	put_be32(p->buf + 4, 2);
	put_be32(p->buf + 8, (uint32_t)p->n);
	sha_init(&h);
	sha_update(&h, p->buf, p->len);
	sha_final(&h, &p->trailer);
	memcpy(p->buf + p->len, p->trailer.id, LEDGER_OID_SIZE);
	p->len += LEDGER_OID_SIZE;
	return pack_make_index(p->ents, p->n, &p->trailer, &p->idx, &p->idxlen, &p->idxcap);
}

void pack_name(char out[41], const struct ledger_oid *trailer)
{
	char hex[LEDGER_OID_HEXSIZE + 1];

	ledger_oid_fmt(hex, trailer);
	snprintf(out, 41, "6b77%.36s", hex);
}

int pack_place(int dirfd, const char *tmppack, const char *tmpidx, const char *name, bool sync)
{
	char pack[80], idx[80];
	int err;

	snprintf(pack, sizeof(pack), PACK_DIR "/pack-%s.pack", name);
	snprintf(idx, sizeof(idx), PACK_DIR "/pack-%s.idx", name);
	/* Where only the index fails the pack stays: one of this name may have been there, and what a name stands for never
	 * differs. */
	if ((!tmppack || io_rename(dirfd, tmppack, pack) == 0) && io_rename(dirfd, tmpidx, idx) == 0)
		return sync ? io_sync_names(dirfd, PACK_DIR) : 0;
	err = errno;
	return ledger_fail(io_code(err), "%s: %s", pack, strerror(err));
}

int pack_write_new(int dirfd, const char *path, const void *buf, size_t len, mode_t mode, bool sync)
{
	int err;

	for (int i = 0;; i++) {
		if (io_write_file(dirfd, path, buf, len, mode, sync) == 0)
			return 0;
		err = errno;
		if (i == 0 && err == EEXIST)
			io_unlink(dirfd, path);
		else if (i == 0 && err == ENOENT)
			io_mkdir(dirfd, PACK_DIR); /* a foreign gc may have removed it, empty */
		else
			return ledger_fail(io_code(err), "%s: %s", path, strerror(err));
	}
}

int pack_write(struct pack *p, int dirfd, const char *tmp, bool sync)
{
	char tmppack[128], tmpidx[128], name[41];
	int r;

	snprintf(tmppack, sizeof(tmppack), "%s.p", tmp);
	snprintf(tmpidx, sizeof(tmpidx), "%s.i", tmp);
	pack_name(name, &p->trailer);
	r = pack_write_new(dirfd, tmppack, p->buf, p->len, 0444, sync);
	if (!r)
		r = pack_write_new(dirfd, tmpidx, p->idx, p->idxlen, 0444, sync);
	if (!r)
		r = pack_place(dirfd, tmppack, tmpidx, name, sync);
	if (r < 0) {
		io_unlink(dirfd, tmppack);
		io_unlink(dirfd, tmpidx);
	}
	return r;
}
