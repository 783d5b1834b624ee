/* SPDX-License-Identifier: MIT */
/*
 * Inodes: what the kernel holds nodeids for.
 *
 * A nodeid is the address of its struct inode; the kernel's lookup count and our own references keep it alive.  A key's
 * committed value gets an inode when it is looked up and keeps it: its bytes and size never change, so the kernel may
 * cache them for ever.  A save makes the next lookup find another inode; who has the old one open keeps the old value.
 */
#include "control.h"
#include "core.h"
#include "local.h"
#include "session.h"

#include <stdlib.h>

struct inode *inode_of(struct fs *fs, fuse_ino_t nodeid)
{
	return nodeid == FUSE_ROOT_ID ? &fs->root : (struct inode *)(uintptr_t)nodeid;
}

fuse_ino_t inode_id(struct fs *fs, const struct inode *i)
{
	return i == &fs->root ? FUSE_ROOT_ID : (fuse_ino_t)(uintptr_t)i;
}

uint64_t inode_number(struct fs *fs)
{
	return (1ULL << 62) | atomic_fetch_add(&fs->next_ino, 1);
}

/* In one critical section with the search that came before it; `p` gets a reference of its own. */
static struct inode *new_locked(struct place *p, enum inode_type type)
{
	struct inode *i = calloc(1, sizeof(*i));

	if (!i)
		return NULL;
	i->type = type;
	i->kind = LEDGER_FILE;
	i->place = place_ref_locked(p);
	i->next = p->inodes;
	p->inodes = i;
	return i;
}

static void free_locked(struct fs *fs, struct inode *i)
{
	struct inode **slot = &i->place->inodes;

	while (*slot != i)
		slot = &(*slot)->next;
	*slot = i->next;
	place_unref_locked(fs, i->place);
}

/* The rest of the end, which must not run under fs.lock. */
static void free_unlocked(struct inode *i)
{
	ledger_value_unref(i->value);
	if (i->session)
		session_free(i->session);
	free(i->name);
	free(i);
}

/* Ends the inode if nobody holds it; the caller has fs.lock, and frees what is returned after letting go of it. */
static struct inode *reap_locked(struct fs *fs, struct inode *i)
{
	struct local *local = i->local;

	if (i == &fs->root || i->nlookup || i->refs)
		return NULL;
	free_locked(fs, i);
	if (local)
		local_unref_locked(fs, local);
	return i;
}

void inode_ref_locked(struct inode *i)
{
	i->refs++;
}

void inode_unref(struct fs *fs, struct inode *i)
{
	struct inode *dead;

	pthread_mutex_lock(&fs->lock);
	i->refs--;
	dead = reap_locked(fs, i);
	pthread_mutex_unlock(&fs->lock);
	if (dead)
		free_unlocked(dead);
}

void inode_looked_up(struct fs *fs, struct inode *i)
{
	pthread_mutex_lock(&fs->lock);
	i->nlookup++;
	pthread_mutex_unlock(&fs->lock);
}

void inode_forget(struct fs *fs, struct inode *i, uint64_t n)
{
	struct inode *dead;

	pthread_mutex_lock(&fs->lock);
	i->nlookup -= n < i->nlookup ? n : i->nlookup;
	dead = reap_locked(fs, i);
	pthread_mutex_unlock(&fs->lock);
	if (dead)
		free_unlocked(dead);
}

void inode_abandon(struct fs *fs, struct inode *i)
{
	struct inode *dead;

	pthread_mutex_lock(&fs->lock);
	i->nlookup = 0;
	i->refs = 0;
	dead = reap_locked(fs, i);
	pthread_mutex_unlock(&fs->lock);
	if (dead)
		free_unlocked(dead);
}

struct inode *inode_new(struct fs *fs, struct place *p, enum inode_type type)
{
	struct inode *i;

	pthread_mutex_lock(&fs->lock);
	i = new_locked(p, type);
	if (i) {
		i->refs = 1;
		i->ino = inode_number(fs);
	}
	pthread_mutex_unlock(&fs->lock);
	return i;
}

struct inode *inode_dir(struct fs *fs, struct place *p, enum inode_type type)
{
	struct inode *i;

	pthread_mutex_lock(&fs->lock);
	for (i = p->inodes; i; i = i->next) {
		if (i->type == type && !i->unlinked)
			break;
	}
	if (!i) {
		i = new_locked(p, type);
		if (i) {
			i->kind = LEDGER_DIR;
			i->ino = place_ino(p->ns, p->path, NULL);
		}
	}
	if (i)
		i->nlookup++;
	pthread_mutex_unlock(&fs->lock);
	return i;
}

static struct inode *find_version_locked(struct place *p, const struct ledger_entry *e)
{
	for (struct inode *i = p->inodes; i; i = i->next) {
		if (i->type == INODE_VERSION && !i->sole && !i->superseded && !i->unlinked &&
		    ledger_oid_eq(&i->blob, &e->oid) && (i->kind == LEDGER_LINK) == (e->kind == LEDGER_LINK)) {
			i->kind = e->kind;
			return i;
		}
	}
	return NULL;
}

/* When the key last changed: as this mount remembers, else as the history says, else the tip's time. */
static struct timespec key_time(struct fs *fs, const char *ns, const char *path, const struct ledger_tip *tip,
				const struct ledger_oid *blob, bool *guess)
{
	struct timespec t;

	*guess = false;
	if (times_get(fs, ns, path, blob, &t) || ledger_key_time(fs->ledger, ns, tip, path, &t, guess) == 0)
		return t;
	return tip->time;
}

/*
 * The tip is another one than the version's time was asked for: the value may have gone and come back meanwhile, or the
 * ledger may know by now what it could only guess.
 */
static void ask_again(struct fs *fs, struct inode *i, const struct ledger_tip *tip)
{
	struct timespec mtime, before;
	char *ns, *path;
	bool guess;

	if (place_name(fs, i->place, &ns, &path))
		return;
	pthread_mutex_lock(&fs->lock);
	before = i->mtime;
	pthread_mutex_unlock(&fs->lock);
	mtime = key_time(fs, ns, path, tip, &i->blob, &guess);
	free(ns);
	free(path);
	pthread_mutex_lock(&fs->lock);
	/* Unless touch(1) came in between. */
	if (i->mtime.tv_sec == before.tv_sec && i->mtime.tv_nsec == before.tv_nsec) {
		i->mtime = mtime;
		i->as_of = tip->commit;
		atomic_store(&i->guess, guess);
	}
	pthread_mutex_unlock(&fs->lock);
}

/* A look at a version whose time was a guess. */
static void improve_guess(struct fs *fs, struct inode *i)
{
	struct ledger_tip tip;
	struct ledger_entry e;

	if (!fs_resolve(fs, i->place, &tip, &e) && ledger_oid_eq(&e.oid, &i->blob))
		ask_again(fs, i, &tip);
}

int inode_version(struct fs *fs, struct place *p, const struct ledger_tip *tip, const struct ledger_entry *e, pid_t sole,
		  struct inode **out)
{
	struct inode *i;
	struct timespec mtime;
	uint64_t size;
	char *ns, *path;
	bool guess, old = false;
	int r;

	pthread_mutex_lock(&fs->lock);
	i = sole ? NULL : find_version_locked(p, e);
	if (i) {
		i->nlookup++;
		old = atomic_load(&i->guess) || !ledger_oid_eq(&i->as_of, &tip->commit);
	}
	pthread_mutex_unlock(&fs->lock);
	if (i) {
		if (old)
			ask_again(fs, i, tip);
		*out = i;
		return 0;
	}
	r = named_object(ledger_blob_size(fs->ledger, &e->oid, &size));
	if (r)
		return r;
	if (place_name(fs, p, &ns, &path))
		return LEDGER_ENOMEM;
	mtime = key_time(fs, ns, path, tip, &e->oid, &guess);
	pthread_mutex_lock(&fs->lock);
	i = sole ? NULL : find_version_locked(p, e);
	if (!i) {
		i = new_locked(p, INODE_VERSION);
		if (i) {
			i->kind = e->kind;
			i->blob = e->oid;
			i->size = size;
			i->mtime = mtime;
			i->as_of = tip->commit;
			atomic_store(&i->guess, guess);
			i->key_ino = place_ino(ns, path, &e->oid);
			i->ino = sole ? inode_number(fs) : i->key_ino;
			i->sole = sole;
		}
	}
	if (i)
		i->nlookup++;
	pthread_mutex_unlock(&fs->lock);
	free(ns);
	free(path);
	if (!i)
		return LEDGER_ENOMEM;
	*out = i;
	return 0;
}

void inode_supersede_locked(struct place *p)
{
	for (struct inode *i = p->inodes; i; i = i->next)
		i->superseded = true;
}

void inode_supersede(struct fs *fs, struct place *p)
{
	pthread_mutex_lock(&fs->lock);
	inode_supersede_locked(p);
	pthread_mutex_unlock(&fs->lock);
}

bool inode_is_unlinked(struct fs *fs, const struct inode *i)
{
	bool yes;

	pthread_mutex_lock(&fs->lock);
	yes = i->unlinked;
	pthread_mutex_unlock(&fs->lock);
	return yes;
}

double inode_attr_timeout(const struct inode *i)
{
	switch (i->type) {
	case INODE_VERSION:
		return i->ino != i->key_ino ? 0 : atomic_load(&i->guess) ? ATTR_DIR : ATTR_FOREVER;
	case INODE_ROOT:
	case INODE_PREFIX:
	case INODE_DIR:
		return ATTR_DIR;
	default:
		return 0;
	}
}

static mode_t kind_mode(struct fs *fs, enum ledger_kind kind)
{
	mode_t mask = fs->opts->umask;

	switch (kind) {
	case LEDGER_DIR:
		return S_IFDIR | (0777 & ~mask);
	case LEDGER_LINK:
		return S_IFLNK | 0777;
	case LEDGER_EXEC:
		return S_IFREG | (0777 & ~mask);
	default:
		return S_IFREG | (0666 & ~mask);
	}
}

static int dir_stat(struct fs *fs, struct inode *i, struct stat *st)
{
	struct ledger_tip tip;
	struct ledger_entry e = {.kind = LEDGER_DIR};
	char *ns = NULL, *path = NULL;
	bool guess;
	int r;

	st->st_nlink = 1; /* "not told", as btrfs has it: nobody is to conclude from it how many directories are in it */
	st->st_mtim = fs->born;
	if (i->type != INODE_DIR)
		return 0;
	if (inode_is_unlinked(fs, i)) {
		st->st_nlink = 0;
		return 0;
	}
	if (local_is_dir(fs, i->place))
		return 0;
	if (place_name(fs, i->place, &ns, &path))
		return LEDGER_ENOMEM;
	r = ledger_tip(fs->ledger, ns, &tip);
	if (!r)
		r = ledger_lookup(fs->ledger, &tip.tree, path, &e);
	if (!r)
		st->st_mtim = key_time(fs, ns, path, &tip, &e.oid, &guess);
	free(ns);
	free(path);
	/* A directory that is gone has nothing to tell, but is still somebody's working directory. */
	if (r == LEDGER_ENOTFOUND || r == LEDGER_ENOTDIR) {
		st->st_nlink = 0;
		r = 0;
	}
	return r;
}

int inode_stat(struct fs *fs, struct inode *i, struct stat *st)
{
	enum ledger_kind kind;
	int r = 0;

	memset(st, 0, sizeof(*st));
	if (i->type == INODE_VERSION && atomic_load(&i->guess))
		improve_guess(fs, i);
	pthread_mutex_lock(&fs->lock);
	kind = i->kind;
	st->st_nlink = i->unlinked ? 0 : 1;
	st->st_ino = i->ino;
	if (i->type == INODE_VERSION) {
		st->st_size = (off_t)i->size;
		st->st_mtim = i->mtime;
		if (i->told)
			st->st_ino = i->key_ino;
	}
	pthread_mutex_unlock(&fs->lock);
	st->st_uid = fs->opts->uid;
	st->st_gid = fs->opts->gid;
	st->st_blksize = 4096;
	switch (i->type) {
	case INODE_VERSION:
		break;
	case INODE_PRIVATE:
		r = session_stat(i->session, &kind, st);
		st->st_ino = atomic_load(&i->session->fd_ino);
		break;
	case INODE_LOCAL:
		local_stat(i->local, &kind, st);
		break;
	case INODE_CONTROL:
		return control_stat(fs, i, st);
	default:
		r = dir_stat(fs, i, st);
	}
	st->st_mode = kind_mode(fs, kind);
	st->st_blocks = (st->st_size + 511) / 512;
	st->st_atim = st->st_ctim = st->st_mtim;
	return r;
}
