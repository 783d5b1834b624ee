/* SPDX-License-Identifier: MIT */
/* Bytes and life of local files; the janitor that commits those that stay is in janitor.c. */
#include "local.h"
#include "journal.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>

struct local *local_new(struct fs *fs, struct place *p, enum local_type type, const struct who *w)
{
	struct local *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->bytes = spool_new(fs->ledger);
	if (!l->bytes) {
		free(l);
		return NULL;
	}
	pthread_mutex_init(&l->lock, NULL);
	l->kind = LEDGER_FILE;
	clock_gettime(CLOCK_REALTIME, &l->mtime);
	l->who = *w;
	who_look(&l->who, NULL);
	if (w->tid)
		holders_chain(fs->holders, w->tid, &l->chain);
	l->who.tid = 0;
	l->who.chain = l->chain;
	l->type = type;
	l->ino = inode_number(fs);
	l->refs = 2; /* the caller's and the name's */
	pthread_mutex_lock(&fs->lock);
	l->place = place_ref_locked(p);
	p->local = l;
	l->linked = true;
	l->next = fs->locals;
	fs->locals = l;
	pthread_mutex_unlock(&fs->lock);
	return l;
}

struct local *local_new_dir(struct fs *fs, struct place *p, const struct who *w)
{
	enum ledger_kind kind = LEDGER_DIR;
	struct local *l = local_new(fs, p, LOCAL_SCRATCH, w);

	if (!l)
		return NULL;
	local_set(l, &kind, NULL);
	pthread_mutex_lock(&fs->lock);
	l->dir = true;
	fs->scratch_dirs++;
	pthread_mutex_unlock(&fs->lock);
	return l;
}

bool local_is_dir(struct fs *fs, const struct place *p)
{
	bool yes;

	pthread_mutex_lock(&fs->lock);
	yes = p->local && p->local->dir;
	pthread_mutex_unlock(&fs->lock);
	return yes;
}

/* Is one of the directories above a scratch directory? */
static bool in_scratch_dir(struct fs *fs, const char *ns, const char *path)
{
	char *dir = strdup(path), *slash;
	bool yes = false;

	pthread_mutex_lock(&fs->lock);
	while (dir && fs->scratch_dirs && !yes && (slash = strrchr(dir, '/'))) {
		struct place *p;

		*slash = '\0';
		p = place_find_locked(fs, ns, dir);
		yes = p && p->local && p->local->dir;
	}
	pthread_mutex_unlock(&fs->lock);
	free(dir);
	return yes;
}

enum name_class local_class(struct fs *fs, const char *ns, const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;

	return slash && in_scratch_dir(fs, ns, path) ? NAME_SCRATCH : classify_name(fs->classify, name, strlen(name));
}

void local_unref_locked(struct fs *fs, struct local *l)
{
	struct local **slot;

	if (--l->refs)
		return;
	for (slot = &fs->locals; *slot != l;)
		slot = &(*slot)->next;
	*slot = l->next;
	place_unref_locked(fs, l->place);
	spool_free(l->bytes);
	holder_chain_unref(l->chain);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

void local_unref(struct fs *fs, struct local *l)
{
	if (!l)
		return;
	pthread_mutex_lock(&fs->lock);
	local_unref_locked(fs, l);
	pthread_mutex_unlock(&fs->lock);
}

struct local *local_at(struct fs *fs, struct place *p)
{
	struct local *l;

	pthread_mutex_lock(&fs->lock);
	l = p->local;
	if (l)
		l->refs++;
	pthread_mutex_unlock(&fs->lock);
	return l;
}

struct inode *local_inode(struct fs *fs, struct local *l)
{
	struct inode *i, *new = inode_new(fs, l->place, INODE_LOCAL);

	if (!new)
		return NULL;
	pthread_mutex_lock(&fs->lock);
	for (i = l->place->inodes; i; i = i->next) {
		if (i->type == INODE_LOCAL && i->local == l)
			break;
	}
	if (!i) {
		i = new;
		i->ino = l->ino;
		i->local = l;
		l->refs++;
	}
	i->nlookup++;
	pthread_mutex_unlock(&fs->lock);
	inode_unref(fs, new);
	return i;
}

static void unlink_locked(struct fs *fs, struct local *l)
{
	if (!l->linked)
		return;
	l->place->local = NULL;
	l->linked = false;
	fs->scratch_dirs -= l->dir;
	l->due = 0;
	local_unref_locked(fs, l);
}

void local_unlink(struct fs *fs, struct local *l)
{
	pthread_mutex_lock(&fs->lock);
	for (struct inode *i = l->place->inodes; i; i = i->next) {
		if (i->local == l)
			i->unlinked = true;
	}
	unlink_locked(fs, l);
	pthread_mutex_unlock(&fs->lock);
}

void local_drop_name(struct fs *fs, struct local *l)
{
	pthread_mutex_lock(&fs->lock);
	unlink_locked(fs, l);
	pthread_mutex_unlock(&fs->lock);
}

void local_returned(struct fs *fs, struct place *p)
{
	pthread_mutex_lock(&fs->lock);
	if (p->local && p->local->type == LOCAL_GONE)
		unlink_locked(fs, p->local);
	pthread_mutex_unlock(&fs->lock);
}

/* --- bytes ------------------------------------------------------------------------------------------------------------ */

void local_stat(struct local *l, enum ledger_kind *kind, struct stat *st)
{
	pthread_mutex_lock(&l->lock);
	*kind = l->kind;
	st->st_size = (off_t)spool_size(l->bytes);
	st->st_mtim = l->mtime;
	pthread_mutex_unlock(&l->lock);
}

ssize_t local_pread(struct local *l, void *buf, size_t len, uint64_t off)
{
	ssize_t n;

	pthread_mutex_lock(&l->lock);
	n = spool_pread(l->bytes, buf, len, off);
	pthread_mutex_unlock(&l->lock);
	return n;
}

static void changed(struct local *l)
{
	l->written = true;
	clock_gettime(CLOCK_REALTIME, &l->mtime);
}

int local_pwrite(struct fs *fs, struct local *l, const void *buf, size_t len, uint64_t off, bool append, pid_t tid)
{
	pid_t pid;
	int r;

	pthread_mutex_lock(&l->lock);
	if (append)
		off = spool_size(l->bytes);
	r = off + len > fs->max_size ? LEDGER_ETOOBIG : spool_pwrite(l->bytes, buf, len, off);
	if (r)
		l->tainted = true; /* a value with a hole in it must never be saved */
	else
		changed(l);
	if (tid)
		proc_tgid(tid, &l->writer);
	pid = l->writer;
	pthread_mutex_unlock(&l->lock);
	if (!r)
		journal_written(fs, l, pid);
	return r;
}

int local_truncate(struct fs *fs, struct local *l, uint64_t size)
{
	int r;

	pthread_mutex_lock(&l->lock);
	r = size > fs->max_size ? LEDGER_ETOOBIG : spool_truncate(l->bytes, size);
	if (!r)
		changed(l);
	if (!r && !size)
		l->tainted = false; /* a new beginning */
	pthread_mutex_unlock(&l->lock);
	return r;
}

int local_zero(struct fs *fs, struct local *l, int mode, uint64_t off, uint64_t len)
{
	uint64_t size, end = off + len;
	int r = 0;

	if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		return LEDGER_EINVALID;
	if (end > fs->max_size)
		return LEDGER_ETOOBIG;
	pthread_mutex_lock(&l->lock);
	size = spool_size(l->bytes);
	if (!(mode & FALLOC_FL_KEEP_SIZE) && end > size)
		r = spool_truncate(l->bytes, end);
	if (!r && (mode & ~FALLOC_FL_KEEP_SIZE) && off < size)
		r = spool_zero(l->bytes, off, (end < size ? end : size) - off);
	changed(l);
	pthread_mutex_unlock(&l->lock);
	return r;
}

void local_set(struct local *l, const enum ledger_kind *kind, const struct timespec *mtime)
{
	pthread_mutex_lock(&l->lock);
	if (kind)
		l->kind = *kind;
	if (mtime)
		l->mtime = *mtime;
	pthread_mutex_unlock(&l->lock);
}

int local_value(struct fs *fs, struct local *l, struct ledger_value **out, enum ledger_kind *kind)
{
	int r;

	pthread_mutex_lock(&l->lock);
	r = l->tainted ? LEDGER_EIO : spool_value(l->bytes, out);
	*kind = l->kind;
	if (!r)
		l->written = false;
	pthread_mutex_unlock(&l->lock);
	return r;
}

int local_load(struct local *l, const struct ledger_value *v)
{
	int r;

	pthread_mutex_lock(&l->lock);
	r = spool_load(l->bytes, v);
	pthread_mutex_unlock(&l->lock);
	return r;
}
