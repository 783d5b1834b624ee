/* SPDX-License-Identifier: MIT */
/*
 * What dead owners left behind.  In this order, so that it can be killed anywhere and begun again: their locks go; their
 * journals are replayed into memory, every object checked against its name; one synced pack holds what came out; the refs
 * move; their small packs and their directories go.
 */
#include "recover.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- finding them --------------------------------------------------------------------------------------------------- */

static void dead_release(struct dead *d)
{
	for (size_t i = 0; i < d->nmoves; i++)
		free(d->moves[i].ref);
	free(d->moves);
	free(d->aborted);
	journal_unload(&d->image);
	if (d->owner.fd >= 0)
		close(d->owner.fd);
}

/* Takes the owner's lock if it is dead, and loads its journal.  1: it lives, or is gone. */
static int seize(struct recovery *rc, uint64_t id)
{
	struct dead *d;
	int fd = owner_seize(rc->s->dirfd, id), r;

	if (fd < 0)
		return 1;
	if (!io_grow((void **)&rc->dead, &rc->cap, rc->n + 1, sizeof(*rc->dead))) {
		close(fd);
		return LEDGER_ENOMEM;
	}
	d = &rc->dead[rc->n++];
	memset(d, 0, sizeof(*d));
	d->owner.id = id;
	d->owner.fd = fd;
	owner_dir(d->owner.dir, id);
	r = journal_load(&d->image, rc->s->dirfd, d->owner.dir);
	return r;
}

static int seize_all(struct recovery *rc)
{
	struct dirent *e;
	int fd, r = 0;
	DIR *dir;

	fd = openat(rc->s->dirfd, "kv", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		if (fd >= 0)
			close(fd);
		return ledger_fail(LEDGER_EIO, "kv: cannot be read");
	}
	while (r >= 0 && (e = readdir(dir))) {
		uint64_t id;

		if (owner_parse(e->d_name, &id))
			r = seize(rc, id);
	}
	closedir(dir);
	return r < 0 ? r : 0;
}

/* --- what came out ------------------------------------------------------------------------------------------------- */

static int write_pack(struct recovery *rc)
{
	struct store *s = rc->s;
	struct pack p;
	char tmp[64], name[41];
	int r = 0;

	if (!rc->gen->n)
		return 0;
	pack_init(&p, 1);
	pack_begin(&p);
	for (size_t i = 0; i < rc->gen->n && !r; i++)
		r = pack_add(&p, rc->gen->list[i], NULL);
	if (!r)
		r = pack_finish(&p);
	snprintf(tmp, sizeof(tmp), "%s/recovered", rc->dead[0].owner.dir);
	if (!r) {
		pack_name(name, &p.trailer);
		r = keep_begin(s, rc->dead[0].owner.dir, name); /* tidy() ends it */
	}
	if (!r)
		r = pack_write(&p, s->dirfd, tmp, !s->nosync);
	pack_release(&p);
	if (!r && odb_refresh(s) < 0)
		r = ledger_fail(LEDGER_EIO, "the packs cannot be read");
	return r;
}

/* --- before and after ----------------------------------------------------------------------------------------------- */

/* The dead owner's marker serves us: our locks are then swept by the next one if we die. */
static int prepare(struct store *s, struct dead *d)
{
	char path[OWNER_DIR_MAX + 8], line[64];
	int r;

	r = reflock_sweep(s->dirfd, d->owner.id);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "%s/lock", d->owner.dir);
	snprintf(line, sizeof(line), "ledgerfs %s pid %ld\n", d->owner.dir + 3, (long)getpid());
	io_unlink(s->dirfd, path);
	if (io_write_file(s->dirfd, path, line, strlen(line), 0666, !s->nosync) < 0)
		return ledger_fail(io_code(errno), "%s: %s", path, strerror(errno));
	d->owner.links = true;
	return 0;
}

static int tidy(struct store *s, struct dead *d)
{
	char prefix[32], sub[OWNER_DIR_MAX + 16];
	int r;

	/* What a merge of packs was about to write. */
	snprintf(sub, sizeof(sub), "%s/objects/pack", d->owner.dir);
	store_clear_dir(s, sub, "");
	io_rmdir(s->dirfd, sub);
	snprintf(sub, sizeof(sub), "%s/objects", d->owner.dir);
	io_rmdir(s->dirfd, sub);
	keep_sweep(s, d->owner.dir);
	snprintf(prefix, sizeof(prefix), "pack-6b76%s", d->owner.dir + 3);
	r = store_clear_dir(s, PACK_DIR, prefix);
	if (!r)
		r = journal_remove(s->dirfd, d->owner.dir);
	if (!r)
		r = store_clear_dir(s, d->owner.dir, "");
	if (!r && io_rmdir(s->dirfd, d->owner.dir) < 0 && errno != ENOENT)
		r = ledger_fail(io_code(errno), "%s: %s", d->owner.dir, strerror(errno));
	if (!r && !s->nosync)
		r = io_sync_names(s->dirfd, "kv");
	return r;
}

static int run(struct recovery *rc)
{
	int r = 0;

	for (size_t i = 0; i < rc->n && !r; i++)
		r = prepare(rc->s, &rc->dead[i]);
	if (!r)
		r = replay_all(rc);
	if (!r)
		r = write_pack(rc);
	for (size_t i = 0; i < rc->n && !r; i++)
		r = reclaim_refs(rc, &rc->dead[i]);
	for (size_t i = 0; i < rc->n && !r; i++)
		r = tidy(rc->s, &rc->dead[i]);
	if (!r) {
		odb_refresh(rc->s);
		if (rc->commits)
			store_log(rc->s, "recovered %zu acknowledged moves of refs of a process that died", rc->commits);
	}
	return r;
}

static int recover(struct store *s, const uint64_t *id)
{
	struct recovery rc = {.s = s};
	int lock, r;

	lock = owner_kv_lock(s->dirfd, false);
	if (lock == LEDGER_ENOTFOUND)
		return 0;
	if (lock < 0)
		return lock;
	rc.gen = gen_new();
	if (!rc.gen)
		r = LEDGER_ENOMEM;
	else
		r = id ? seize(&rc, *id) : seize_all(&rc);
	if (r == 1)
		r = 0;
	if (!r)
		r = run(&rc);
	if (!r && rc.n)
		r = 1;
	for (size_t i = 0; i < rc.n; i++)
		dead_release(&rc.dead[i]);
	free(rc.dead);
	gen_unref(rc.gen);
	io_close(lock);
	return r;
}

int recover_all(struct store *s)
{
	int r = recover(s, NULL);

	if (r == LEDGER_EROFS || r == LEDGER_EACCES) {
		store_log(s, "what a dead process left behind cannot be recovered: %s", ledger_errmsg());
		return 0;
	}
	return r < 0 ? r : 0;
}

int recover_owner(struct store *s, uint64_t id)
{
	return recover(s, &id);
}
