/* SPDX-License-Identifier: MIT */
/*
 * The repository's objects as libgit2 sees them, for what is not in memory.
 *
 * libgit2 keeps every pack that it ever listed, and every file that it opened of one, though the pack is long gone; beside
 * another writer whose small packs come and go that would be all the descriptors and mappings that the process may have.
 * So the whole view is made anew after ODB_READS reads, when packs came or went since: about a millisecond each time.
 */
#include "engine.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define ODB_READS 256

struct odb {
	git_odb *git;
	unsigned refs;         /* of readers under way, and the store's own; store.odb_mu */
	unsigned reads;        /* store.odb_mu */
	struct timespec packs; /* the pack directory's mtime, before it was made; constant */
};

static struct timespec packs_mtime(struct store *s)
{
	struct stat st;

	if (fstatat(s->dirfd, PACK_DIR, &st, 0) < 0)
		return (struct timespec){0};
	return st.st_mtim;
}

static struct odb *make(struct store *s)
{
	struct odb *o = io_calloc(1, sizeof(*o));
	char path[PATH_MAX];

	if (!o)
		return NULL;
	o->refs = 1;
	o->packs = packs_mtime(s);
	if (snprintf(path, sizeof(path), "%s/objects", s->gitdir) < (int)sizeof(path) && git_odb_open(&o->git, path) == 0)
		return o;
	free(o);
	return NULL;
}

static void unref(struct store *s, struct odb *o)
{
	bool last;

	pthread_mutex_lock(&s->odb_mu);
	last = --o->refs == 0;
	pthread_mutex_unlock(&s->odb_mu);
	if (last) {
		git_odb_free(o->git);
		free(o);
	}
}

/* The present view, for one read; unref() it. */
static struct odb *take(struct store *s)
{
	struct odb *o, *fresh = NULL, *old = NULL;
	struct timespec now;
	bool due;

	pthread_mutex_lock(&s->odb_mu);
	o = s->odb;
	o->refs++;
	due = ++o->reads == ODB_READS; /* for one reader alone */
	pthread_mutex_unlock(&s->odb_mu);
	if (!due)
		return o;
	now = packs_mtime(s);
	if (now.tv_sec != o->packs.tv_sec || now.tv_nsec != o->packs.tv_nsec)
		fresh = make(s);
	pthread_mutex_lock(&s->odb_mu);
	o->reads = 0;
	if (fresh) {
		fresh->refs++;
		old = s->odb;
		s->odb = fresh;
	}
	pthread_mutex_unlock(&s->odb_mu);
	if (!fresh)
		return o;
	unref(s, old); /* the store's */
	unref(s, o);   /* ours */
	return fresh;
}

/*
 * A miss is believed when the packs stood still.  libgit2, as git, looks through the directory once more after a miss; a
 * gc or another process's engine that puts a pack in another's place just then can hide from that look what was there
 * before and is there after it: the new pack came behind the look, the old one was gone when it was to be opened.  And a gc
 * may take another engine's newest small packs; that sees it, and writes them again (watch.c), a moment later.
 */
#define MISS_TRIES 60
#define MISS_TRIES_AT_ONCE 10
#define MISS_PAUSE_NS 10000000
#define MISS_WINDOW_S 2

static bool look_again(struct store *s, struct odb *o, int tries)
{
	struct timespec now;

	if (tries >= MISS_TRIES_AT_ONCE)
		nanosleep(&(struct timespec){0, MISS_PAUSE_NS}, NULL);
	clock_gettime(CLOCK_REALTIME, &now);
	return tries < MISS_TRIES && now.tv_sec - packs_mtime(s).tv_sec <= MISS_WINDOW_S && git_odb_refresh(o->git) == 0;
}

int odb_open(struct store *s)
{
	s->odb = make(s);
	return s->odb ? 0 : -1;
}

void odb_close(struct store *s)
{
	if (s->odb)
		unref(s, s->odb);
	s->odb = NULL;
}

int odb_read(struct store *s, git_odb_object **obj, const struct ledger_oid *oid)
{
	struct odb *o = take(s);
	git_oid id;
	int err;

	memcpy(id.id, oid->id, LEDGER_OID_SIZE);
	err = git_odb_read(obj, o->git, &id);
	for (int i = 0; err < 0 && look_again(s, o, i); i++)
		err = git_odb_read(obj, o->git, &id);
	unref(s, o);
	return err;
}

int odb_read_header(struct store *s, size_t *len, git_object_t *type, const struct ledger_oid *oid)
{
	struct odb *o = take(s);
	git_oid id;
	int err;

	memcpy(id.id, oid->id, LEDGER_OID_SIZE);
	err = git_odb_read_header(len, type, o->git, &id);
	for (int i = 0; err < 0 && look_again(s, o, i); i++)
		err = git_odb_read_header(len, type, o->git, &id);
	unref(s, o);
	return err;
}

bool odb_exists(struct store *s, const struct ledger_oid *oid)
{
	struct odb *o = take(s);
	bool there;
	git_oid id;

	memcpy(id.id, oid->id, LEDGER_OID_SIZE);
	there = git_odb_exists(o->git, &id);
	for (int i = 0; !there && look_again(s, o, i); i++)
		there = git_odb_exists(o->git, &id);
	unref(s, o);
	return there;
}

int odb_refresh(struct store *s)
{
	struct odb *o = take(s);
	int err = git_odb_refresh(o->git);

	unref(s, o);
	return err;
}
