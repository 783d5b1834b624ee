/* SPDX-License-Identifier: MIT */
/*
 * Streaming a large blob out of a pack or a loose file, which libgit2 takes into memory whole.  Only for blobs that are
 * stored whole; git keeps what is larger than core.bigFileThreshold (512 MiB) so, and stage.c everything.  What stage.c
 * wrote can be read where it is.
 */
#include "draft.h"
#include "engine.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK (128u << 10)

/* The object's offset by a version 2 index; false: not in it. */
static bool idx_find(const unsigned char *p, size_t len, const struct ledger_oid *oid, uint64_t *off)
{
	uint32_t n, lo, hi;
	const unsigned char *names, *offs;

	if (len < 8 + 1024 + 40 || memcmp(p, "\377tOc\0\0\0\2", 8) != 0)
		return false;
	n = get_be32(p + 8 + 255 * 4);
	if ((len - 8 - 1024 - 40) / 28 < n)
		return false;
	names = p + 8 + 1024;
	offs = names + (size_t)n * 24;
	lo = oid->id[0] ? get_be32(p + 8 + (oid->id[0] - 1) * 4) : 0;
	hi = get_be32(p + 8 + oid->id[0] * 4);
	while (lo < hi && hi <= n) {
		uint32_t mid = lo + (hi - lo) / 2;
		int c = memcmp(names + (size_t)mid * 20, oid->id, 20);

		if (c == 0) {
			uint32_t o = get_be32(offs + (size_t)mid * 4);
			const unsigned char *big = offs + (size_t)n * 4 + (size_t)(o & 0x7fffffff) * 8;

			*off = o;
			if (!(o & 0x80000000u))
				return true;
			if (big + 8 > p + len - 40)
				return false;
			*off = (uint64_t)get_be32(big) << 32 | get_be32(big + 4);
			return true;
		}
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return false;
}

static bool idx_file_find(int dirfd, const char *path, const struct ledger_oid *oid, uint64_t *off)
{
	int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
	bool found = false;
	struct stat st;
	void *p;

	if (fd < 0)
		return false;
	if (fstat(fd, &st) == 0 && st.st_size > 0) {
		p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (p != MAP_FAILED) {
			found = idx_find(p, (size_t)st.st_size, oid, off);
			munmap(p, (size_t)st.st_size);
		}
	}
	close(fd);
	return found;
}

/* The pack that has it, opened; -1: none. */
static int find_pack(struct store *s, const struct ledger_oid *oid, uint64_t *off)
{
	struct dirent *e;
	int dfd, fd = -1;
	DIR *d;

	dfd = openat(s->dirfd, PACK_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = dfd < 0 ? NULL : fdopendir(dfd);
	if (!d) {
		if (dfd >= 0)
			close(dfd);
		return -1;
	}
	while (fd < 0 && (e = readdir(d))) {
		size_t len = strlen(e->d_name);
		char path[PATH_MAX];

		/* Small packs hold small objects. */
		if (len < 5 || strcmp(e->d_name + len - 4, ".idx") != 0 || strncmp(e->d_name, "pack-6b76", 9) == 0)
			continue;
		snprintf(path, sizeof(path), PACK_DIR "/%s", e->d_name);
		if (!idx_file_find(s->dirfd, path, oid, off))
			continue;
		strcpy(path + strlen(path) - 4, ".pack");
		fd = openat(s->dirfd, path, O_RDONLY | O_CLOEXEC);
	}
	closedir(d);
	return fd;
}

struct stream {
	int in, out;
	off_t at;
	uint64_t left;
	unsigned char src[BLOCK], dst[BLOCK];
};

static int put_out(struct stream *t, size_t len)
{
	const unsigned char *p = t->dst;

	if (len > t->left)
		return LEDGER_ECORRUPT;
	t->left -= len;
	while (len > 0) {
		ssize_t n = write(t->out, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return ledger_fail(io_code(errno), "a value cannot be spooled: %s", strerror(errno));
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int inflate_all(struct stream *t)
{
	z_stream z = {0};
	int r = 0, err = Z_OK;

	if (inflateInit(&z) != Z_OK)
		return LEDGER_ENOMEM;
	while (!r && err != Z_STREAM_END) {
		if (z.avail_in == 0) {
			ssize_t n = pread(t->in, t->src, BLOCK, t->at);

			if (n <= 0) {
				r = LEDGER_EIO;
				break;
			}
			t->at += n;
			z.next_in = t->src;
			z.avail_in = (unsigned)n;
		}
		z.next_out = t->dst;
		z.avail_out = BLOCK;
		err = inflate(&z, Z_NO_FLUSH);
		if (err != Z_OK && err != Z_STREAM_END && err != Z_BUF_ERROR)
			r = LEDGER_ECORRUPT;
		else
			r = put_out(t, BLOCK - z.avail_out);
	}
	inflateEnd(&z);
	if (!r && t->left)
		r = LEDGER_ECORRUPT;
	return r;
}

/* The entry at `off`: the blob's size, and where its zlib stream begins. */
static int entry_head(int fd, uint64_t off, uint64_t *size, uint64_t *data)
{
	unsigned char head[16];
	int shift = 4;
	size_t n = 0;

	if (pread(fd, head, sizeof(head), (off_t)off) != sizeof(head) || (head[0] >> 4 & 7) != STORE_BLOB)
		return LEDGER_ENOTFOUND;
	*size = head[0] & 15;
	while (head[n++] & 0x80 && n < 10) {
		*size |= (uint64_t)(head[n] & 127) << shift;
		shift += 7;
	}
	*data = off + n;
	return 0;
}

int bigread_to(struct store *s, const struct ledger_oid *oid, int fd)
{
	struct stream *t;
	uint64_t off, size, data;
	int r, in;

	in = find_pack(s, oid, &off);
	if (in < 0)
		return LEDGER_ENOTFOUND;
	r = entry_head(in, off, &size, &data);
	t = r ? NULL : io_malloc(sizeof(*t));
	if (!r && !t)
		r = LEDGER_ENOMEM;
	if (t) {
		t->in = in;
		t->out = fd;
		t->at = (off_t)data;
		t->left = size;
		r = inflate_all(t);
		if (r == LEDGER_ECORRUPT)
			ledger_fail(r, "a pack's bytes do not inflate to what its index says");
	}
	free(t);
	close(in);
	return r;
}

/* Past the filling of draft.h, if there is some: the first block's length, where it must stand. */
static bool find_first(int fd, uint64_t data, uint64_t size, uint64_t *at)
{
	unsigned char buf[16], want[STORED_HEAD], draft[DRAFT_AT];

	if (pread(fd, buf, sizeof(buf), (off_t)data) != sizeof(buf) || memcmp(buf, "\x78\x01", 2) != 0)
		return false;
	stored_head_of(want, 0, size);
	draft_head(draft, size);
	if (memcmp(buf + 2, want, STORED_HEAD) == 0)
		*at = data + 2 + STORED_HEAD;
	else if (size >= DRAFT_MIN && data + 2 < 25 && memcmp(buf, draft + data, DRAFT_AT - data) == 0)
		*at = DRAFT_AT;
	else
		return false;
	return true;
}

int bigread_stored(struct store *s, const struct ledger_oid *oid, struct stored *out)
{
	unsigned char last[STORED_HEAD], want[STORED_HEAD];
	struct stored b = {0};
	uint64_t off, data, n;
	int r;

	b.fd = find_pack(s, oid, &off);
	if (b.fd < 0)
		return LEDGER_ENOTFOUND;
	r = entry_head(b.fd, off, &b.size, &data);
	if (!r && !find_first(b.fd, data, b.size, &b.at))
		r = LEDGER_ENOTFOUND;
	if (!r) {
		/* The last block at its place: then all before it are full. */
		n = (b.size - 1) / STORED_BLOCK;
		stored_head_of(want, n, b.size);
		if (n && (pread(b.fd, last, STORED_HEAD, (off_t)(stored_pos(b.at, n * STORED_BLOCK) - STORED_HEAD)) !=
				  STORED_HEAD ||
			  memcmp(last, want, STORED_HEAD) != 0))
			r = LEDGER_ENOTFOUND;
	}
	if (r)
		close(b.fd);
	else
		*out = b;
	return r;
}
