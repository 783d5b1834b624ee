/* SPDX-License-Identifier: MIT */
/*
 * Large values go to the disk before the group that names them, each into a synced pack of its own, in constant memory;
 * the journal then holds the name.  They are stored, not compressed: zlib is slower than the disk.
 */
#include "delta.h"
#include "engine.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 65535u /* the most that a stored block holds */
#define BUFFER (BLOCK * 16)

/* A pack that is written as it goes. */
struct out {
	int fd;
	off_t at;
	struct sha sum;
	uint32_t crc, adler;
};

static int out_put(struct out *o, const void *data, size_t len, bool entry)
{
	if (io_pwrite(o->fd, data, len, o->at) < 0)
		return ledger_fail(io_code(errno), "a large value: %s", strerror(errno));
	o->at += (off_t)len;
	sha_update(&o->sum, data, len);
	if (entry)
		o->crc = crc_update(o->crc, data, len);
	return 0;
}

/* The value as a zlib stream of stored blocks, a megabyte at a time. */
static int out_value(struct out *o, struct ledger_value *v)
{
	uint64_t size = ledger_value_size(v), done = 0;
	unsigned char *buf = io_malloc(BUFFER + 5 * (BUFFER / BLOCK) + 8), *p;
	unsigned char tail[4];
	int r = 0;

	if (!buf)
		return LEDGER_ENOMEM;
	r = out_put(o, "\x78\x01", 2, true);
	while (!r && done < size) {
		p = buf;
		while (p < buf + BUFFER && done < size) {
			size_t len = size - done < BLOCK ? (size_t)(size - done) : BLOCK, have = 0;

			while (have < len) {
				ssize_t n = ledger_value_pread(v, p + 5 + have, len - have, done + have);

				if (n <= 0) {
					free(buf);
					return n < 0 ? (int)n : ledger_fail(LEDGER_EIO, "a value is shorter than it says");
				}
				have += (size_t)n;
			}
			done += len;
			p[0] = done == size;
			p[1] = (unsigned char)len;
			p[2] = (unsigned char)(len >> 8);
			p[3] = (unsigned char)~len;
			p[4] = (unsigned char)(~len >> 8);
			o->adler = (uint32_t)adler32_z(o->adler, p + 5, len);
			p += 5 + len;
		}
		r = out_put(o, buf, (size_t)(p - buf), true);
	}
	free(buf);
	put_be32(tail, o->adler);
	return r ? r : out_put(o, tail, 4, true);
}

/* A pack of one object at `tmp`; its hash in *trailer. */
static int write_pack(struct store *s, const char *tmp, struct ledger_value *v, struct pack_entry *e,
		      struct ledger_oid *trailer)
{
	unsigned char head[12 + 16];
	struct out o = {.adler = 1};
	size_t n;
	int r;

	io_unlink(s->dirfd, tmp);
	o.fd = io_open(s->dirfd, tmp, O_RDWR | O_CREAT | O_EXCL, 0444);
	if (o.fd < 0)
		return ledger_fail(io_code(errno), "%s: %s", tmp, strerror(errno));
	sha_init(&o.sum);
	memcpy(head, "PACK\0\0\0\2\0\0\0\1", 12);
	r = out_put(&o, head, 12, false);
	n = delta_head(head, STORE_BLOB, ledger_value_size(v));
	if (!r)
		r = out_put(&o, head, n, true);
	if (!r)
		r = out_value(&o, v);
	sha_final(&o.sum, trailer);
	if (!r && io_pwrite(o.fd, trailer->id, LEDGER_OID_SIZE, o.at) < 0)
		r = ledger_fail(io_code(errno), "%s: %s", tmp, strerror(errno));
	if (!r && !s->nosync && io_fsync(o.fd) < 0)
		r = ledger_fail(io_code(errno), "%s: %s", tmp, strerror(errno));
	io_close(o.fd);
	e->oid = *ledger_value_oid(v);
	e->off = 12;
	e->crc = o.crc;
	return r;
}

int stage_write(struct store *s, struct ledger_value *v, char name[41])
{
	char tmp[64], tmppack[70], tmpidx[70];
	struct ledger_oid trailer;
	struct pack_entry e;
	unsigned char *idx = NULL;
	size_t len = 0, cap = 0;
	uint64_t n;
	int r;

	pthread_mutex_lock(&s->stage_mu);
	n = ++s->stage_seq;
	pthread_mutex_unlock(&s->stage_mu);
	store_tmp(s, tmp, "v", n);
	snprintf(tmppack, sizeof(tmppack), "%s.p", tmp);
	snprintf(tmpidx, sizeof(tmpidx), "%s.i", tmp);
	/* Not named by its hash: two owners that stage the same bytes must not share what one of them may remove. */
	snprintf(name, 41, "6b77%016" PRIx64 "%020" PRIx64, s->owner.id, n);
	r = write_pack(s, tmppack, v, &e, &trailer);
	if (!r)
		r = pack_make_index(&e, 1, &trailer, &idx, &len, &cap);
	if (!r && io_write_file(s->dirfd, tmpidx, idx, len, 0444, !s->nosync) < 0)
		r = ledger_fail(io_code(errno), "%s: %s", tmpidx, strerror(errno));
	if (!r)
		r = pack_place(s->dirfd, tmppack, tmpidx, name, !s->nosync);
	if (r < 0) {
		io_unlink(s->dirfd, tmppack);
		io_unlink(s->dirfd, tmpidx);
	}
	free(idx);
	return r;
}

static void unlink_pack(struct store *s, const char *name)
{
	char path[80];

	snprintf(path, sizeof(path), PACK_DIR "/pack-%s.idx", name);
	io_unlink(s->dirfd, path);
	snprintf(path, sizeof(path), PACK_DIR "/pack-%s.pack", name);
	io_unlink(s->dirfd, path);
}

static struct staged *find(struct store *s, const struct ledger_oid *oid)
{
	struct staged *t;

	for (t = s->staged; t; t = t->next)
		if (ledger_oid_eq(&t->oid, oid))
			return t;
	return NULL;
}

/* Writes the value unless it is there from another caller; counts one user. */
static int stage(struct store *s, struct ledger_value *v, int users)
{
	const struct ledger_oid *oid = ledger_value_oid(v);
	struct staged *t, *have;
	char name[41];
	int r;

	pthread_mutex_lock(&s->stage_mu);
	have = find(s, oid);
	if (have)
		have->users += users;
	pthread_mutex_unlock(&s->stage_mu);
	if (have)
		return 0;
	t = io_calloc(1, sizeof(*t));
	if (!t)
		return LEDGER_ENOMEM;
	r = stage_write(s, v, name);
	if (r < 0) {
		free(t);
		return r;
	}
	t->oid = *oid;
	t->users = users;
	memcpy(t->pack, name, sizeof(t->pack));
	pthread_mutex_lock(&s->stage_mu);
	have = find(s, oid);
	if (have) {
		have->users += users;
		unlink_pack(s, name);
		free(t);
	} else {
		t->next = s->staged;
		s->staged = t;
	}
	pthread_mutex_unlock(&s->stage_mu);
	return 0;
}

int store_stage(struct store *s, struct ledger_value *v)
{
	int r;

	if (s->readonly || ledger_value_size(v) < STAGE_MIN)
		return 0;
	r = store_own(s);
	return r ? r : stage(s, v, 1);
}

void store_unstage(struct store *s, struct ledger_value *v)
{
	struct staged **p, *t;

	if (s->readonly || ledger_value_size(v) < STAGE_MIN)
		return;
	pthread_mutex_lock(&s->stage_mu);
	for (p = &s->staged; (t = *p); p = &t->next)
		if (ledger_oid_eq(&t->oid, ledger_value_oid(v)))
			break;
	if (t && --t->users <= 0) {
		*p = t->next;
		if (!t->committed)
			unlink_pack(s, t->pack);
		free(t);
	}
	pthread_mutex_unlock(&s->stage_mu);
}

int stage_commit(struct store *s, struct ledger_value *v)
{
	struct staged **p, *t;
	int r;

	r = stage(s, v, 0);
	if (r < 0)
		return r;
	pthread_mutex_lock(&s->stage_mu);
	for (p = &s->staged; (t = *p); p = &t->next)
		if (ledger_oid_eq(&t->oid, ledger_value_oid(v)))
			break;
	if (t)
		t->committed = true;
	if (t && !t->users) {
		/* Staged just now: nobody will ask for it to be unstaged. */
		*p = t->next;
		free(t);
	}
	pthread_mutex_unlock(&s->stage_mu);
	return 0;
}

void stage_free(struct store *s)
{
	while (s->staged) {
		struct staged *t = s->staged;

		s->staged = t->next;
		free(t);
	}
}
