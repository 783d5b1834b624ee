/* SPDX-License-Identifier: MIT */
#include "packlist.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MERGE_MIN 8

int packlist_read(struct store *s, struct packlist *p)
{
	struct dirent *e;
	int fd, r = 0;
	DIR *d;

	fd = openat(s->dirfd, PACK_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		if (fd >= 0)
			close(fd);
		return LEDGER_EIO;
	}
	while (!r && (e = readdir(d))) {
		char path[80];
		struct stat st;

		if (strncmp(e->d_name, "pack-6b77", 9) != 0 || strlen(e->d_name) != 49 ||
		    strcmp(e->d_name + 45, ".idx") != 0)
			continue;
		snprintf(path, sizeof(path), PACK_DIR "/%.45s.keep", e->d_name);
		if (faccessat(s->dirfd, path, F_OK, 0) == 0)
			continue;
		snprintf(path, sizeof(path), PACK_DIR "/%.45s.pack", e->d_name);
		if (fstatat(s->dirfd, path, &st, 0) < 0)
			continue;
		if (!io_grow((void **)&p->v, &p->cap, p->n + 1, sizeof(*p->v))) {
			r = LEDGER_ENOMEM;
			break;
		}
		snprintf(p->v[p->n].name, 41, "%.40s", e->d_name + 5);
		p->v[p->n++].size = st.st_size;
	}
	closedir(d);
	return r;
}

void packlist_release(struct packlist *p)
{
	free(p->v);
	memset(p, 0, sizeof(*p));
}

static int by_size(const void *a, const void *b)
{
	off_t x = ((const struct old_pack *)a)->size, y = ((const struct old_pack *)b)->size;

	return (x > y) - (x < y);
}

/* Up to the largest that is an eighth of all these, or less. */
size_t packlist_choose(struct packlist *p)
{
	off_t sum = 0;
	size_t n = 0;

	if (p->n)
		qsort(p->v, p->n, sizeof(*p->v), by_size);
	for (size_t i = 0; i < p->n; i++) {
		sum += p->v[i].size;
		if (p->v[i].size * MERGE_MIN <= sum)
			n = i + 1;
	}
	return n;
}

/* --- objects ---------------------------------------------------------------------------------------------------------- */

struct place {
	uint64_t off;
	const unsigned char *oid;
};

static int by_offset(const void *a, const void *b)
{
	uint64_t x = ((const struct place *)a)->off, y = ((const struct place *)b)->off;

	return (x > y) - (x < y);
}

#define IDX_HEAD (8 + 256 * 4)
#define IDX_EACH (LEDGER_OID_SIZE + 4 + 4) /* name, crc, offset */

/* The objects of a version 2 index in the order of their offsets; see git's gitformat-pack(5).  NULL: not one, no memory. */
static struct place *idx_places(const unsigned char *idx, size_t len, size_t *n)
{
	const unsigned char *names = idx + IDX_HEAD, *offs, *large;
	struct place *v;

	if (len < IDX_HEAD || memcmp(idx, "\377tOc\0\0\0\2", 8) != 0)
		return NULL;
	*n = get_be32(idx + IDX_HEAD - 4);
	if (*n > (len - IDX_HEAD) / IDX_EACH)
		return NULL;
	offs = names + *n * (LEDGER_OID_SIZE + 4);
	large = offs + *n * 4;
	v = io_malloc(*n * sizeof(*v));
	for (size_t i = 0; v && i < *n; i++) {
		uint32_t off = get_be32(offs + i * 4);
		size_t at = (size_t)(off & 0x7fffffff) * 8;

		v[i].oid = names + i * LEDGER_OID_SIZE;
		v[i].off = off;
		if (!(off & 0x80000000))
			continue;
		if (at + 8 > len - (size_t)(large - idx)) {
			free(v);
			return NULL;
		}
		v[i].off = (uint64_t)get_be32(large + at) << 32 | get_be32(large + at + 4);
	}
	if (v && *n)
		qsort(v, *n, sizeof(*v), by_offset);
	return v;
}

static void tell(int fd, const struct place *v, size_t n)
{
	char buf[64 * (LEDGER_OID_HEXSIZE + 1)];
	size_t len = 0;

	for (size_t i = 0; i < n; i++) {
		struct ledger_oid oid;
		char hex[LEDGER_OID_HEXSIZE + 1];

		memcpy(oid.id, v[i].oid, LEDGER_OID_SIZE);
		memcpy(buf + len, ledger_oid_fmt(hex, &oid), LEDGER_OID_HEXSIZE);
		len += LEDGER_OID_HEXSIZE;
		buf[len++] = '\n';
		if (len < sizeof(buf) && i + 1 < n)
			continue;
		for (size_t done = 0; done < len;) {
			ssize_t w = write(fd, buf + done, len - done);

			if (w < 0 && errno != EINTR)
				return; /* a reader that died early is seen by its status */
			done += w > 0 ? (size_t)w : 0;
		}
		len = 0;
	}
}

int packlist_objects(struct store *s, const struct packlist *p, size_t n, int fd)
{
	for (size_t i = 0; i < n; i++) {
		char path[80];
		struct place *v;
		size_t len, many;
		void *idx;

		snprintf(path, sizeof(path), PACK_DIR "/pack-%s.idx", p->v[i].name);
		if (io_read_file(s->dirfd, path, &idx, &len) < 0)
			return errno == ENOENT ? LEDGER_ENOTFOUND : LEDGER_EIO;
		v = idx_places(idx, len, &many);
		if (v)
			tell(fd, v, many);
		free(v);
		free(idx);
		if (!v)
			return LEDGER_ECORRUPT;
	}
	return 0;
}
