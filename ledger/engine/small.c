/* SPDX-License-Identifier: MIT */
/* The small packs that show groups to stock git before a checkpoint holds them: written, and taken away again. */
#include "engine.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void small_path(const struct store *s, char out[80], uint64_t seq, const char *suffix)
{
	snprintf(out, 80, PACK_DIR "/pack-6b76%016" PRIx64 "%020" PRIx64 ".%s", s->owner.id, seq, suffix);
}

/* In a spare file.  -1: there is none, or none that can be written. */
static int put_spare(struct store *s, const char *final, const void *buf, size_t len)
{
	char path[64];
	int fd = spare_take(s, path), r;

	if (fd < 0)
		return -1;
	r = spare_fill(fd, buf, len) == 0 && io_rename(s->dirfd, path, final) == 0 ? 0 : -1;
	if (r < 0)
		io_unlink(s->dirfd, path);
	io_close(fd);
	return r;
}

/* Else anew at `path`, by way of which it comes to its place. */
static int put(struct store *s, const char *path, const char *final, const void *buf, size_t len)
{
	int r;

	if (put_spare(s, final, buf, len) == 0)
		return 0;
	/* It may be written anew one day: not read-only, as packs for good are. */
	r = pack_write_new(s->dirfd, path, buf, len, 0666, false);
	if (!r && path != final && io_rename(s->dirfd, path, final) < 0)
		r = ledger_fail(io_code(errno), "%s: %s", final, strerror(errno));
	if (r < 0)
		io_unlink(s->dirfd, path);
	return r;
}

int small_write(struct store *s, struct pack *p, uint64_t seq, const char *kind)
{
	char pack[80], idx[80], tmp[64];
	int r;

	small_path(s, pack, seq, "pack");
	small_path(s, idx, seq, "idx");
	store_tmp(s, tmp, kind, 0);
	/* A pack without an index is nothing to git: no detour. */
	r = put(s, pack, pack, p->buf, p->len);
	if (!r && (r = put(s, tmp, idx, p->idx, p->idxlen)) < 0)
		io_unlink(s->dirfd, pack);
	return r;
}

void small_remove(struct store *s, uint64_t seq)
{
	static const char *const suffixes[] = {"idx", "pack"};
	char path[80];

	for (int i = 0; i < 2; i++) {
		small_path(s, path, seq, suffixes[i]);
		spare_keep(s, path);
	}
}
