/* SPDX-License-Identifier: MIT */
/*
 * A pack that is for good is shown before the ref that will reach it moves.  A gc or repack that has listed the packs by
 * then, and looks at the refs before the move, takes it for garbage and removes it when it is done, maybe minutes later.
 * git's receive-pack has the same gap, and closes it in this way: a .keep lies beside the pack from before it is there
 * until the ref has moved (git-index-pack(1), --keep).  Who lists the packs later sees the ref as well.
 *
 * Packs that a generation covers need none: its checkpoint comes after the refs.
 */
#include "engine.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void line_of(const char *owner_dir, char out[64])
{
	snprintf(out, 64, "ledgerfs %s\n", owner_dir);
}

int keep_begin(struct store *s, const char *owner_dir, const char *pack)
{
	char path[80], line[64];

	snprintf(path, sizeof(path), PACK_DIR "/pack-%s.keep", pack);
	line_of(owner_dir, line);
	for (int i = 0;; i++) {
		if (io_write_file(s->dirfd, path, line, strlen(line), 0444, false) == 0 || errno == EEXIST)
			return 0;
		if (i || errno != ENOENT)
			return ledger_fail(io_code(errno), "%s: %s", path, strerror(errno));
		io_mkdir(s->dirfd, PACK_DIR); /* a foreign gc may have removed it, empty */
	}
}

void keep_end(struct store *s, const char *pack)
{
	char path[80];

	snprintf(path, sizeof(path), PACK_DIR "/pack-%s.keep", pack);
	io_unlink(s->dirfd, path);
}

int keep_in_gen(struct store *s, const char *pack)
{
	struct gen *g;
	int r = 0;

	pthread_mutex_lock(&s->mu);
	g = s->cur;
	if (io_grow((void **)&g->kept, &g->keptcap, g->nkept + 1, sizeof(*g->kept)))
		memcpy(g->kept[g->nkept++], pack, sizeof(*g->kept));
	else
		r = LEDGER_ENOMEM;
	pthread_mutex_unlock(&s->mu);
	return r ? r : keep_begin(s, s->owner.dir, pack);
}

void keep_end_gen(struct store *s, const struct gen *g)
{
	for (size_t i = 0; i < g->nkept; i++)
		keep_end(s, g->kept[i]);
}

static bool says(int dirfd, const char *path, const char *line)
{
	int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
	char buf[64];
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, buf, sizeof(buf));
	close(fd);
	return n == (ssize_t)strlen(line) && memcmp(buf, line, (size_t)n) == 0;
}

void keep_sweep(struct store *s, const char *owner_dir)
{
	int fd = openat(s->dirfd, PACK_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	char path[80], line[64];
	struct dirent *e;

	if (!d) {
		if (fd >= 0)
			close(fd);
		return;
	}
	line_of(owner_dir, line);
	while ((e = readdir(d))) {
		if (strncmp(e->d_name, "pack-6b77", 9) != 0 || strlen(e->d_name) != 50 ||
		    strcmp(e->d_name + 45, ".keep") != 0)
			continue;
		snprintf(path, sizeof(path), PACK_DIR "/%.50s", e->d_name);
		if (says(s->dirfd, path, line))
			io_unlink(s->dirfd, path);
	}
	closedir(d);
}
