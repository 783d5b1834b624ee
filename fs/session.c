/* SPDX-License-Identifier: MIT */
/* The bytes and the life of a write session; how it is saved is in save.c. */
#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>

/* The base's bytes, when they are wanted first: who replaces or appends never reads them. */
static int load_base(struct session *s)
{
	if (s->base_value || s->base_absent || !s->base_size)
		return 0;
	return named_object(ledger_value_get(s->fs->ledger, &s->base, &s->base_value));
}

/*
 * All handles of one process on a key tell it one number, that of the first: programs that look after their own locks, which
 * exclude no thread of theirs, know by the number which handles are of one file (sqlite above all).
 */
static void own_number_locked(struct session *s, const struct place *p)
{
	for (const struct session *o = p->sessions; o; o = o->next) {
		if (!o->ended && o->who.pid == s->who.pid && !atomic_load(&o->detached))
			s->base_ino = o->base_ino ? o->base_ino : o->priv->ino;
	}
}

int session_new(struct fs *fs, struct inode *priv, const struct ledger_entry *base, fuse_req_t req)
{
	struct session *s = calloc(1, sizeof(*s));
	int r = LEDGER_ENOMEM;

	if (!s)
		return r;
	s->fs = fs;
	s->priv = priv;
	pthread_mutex_init(&s->lock, NULL);
	s->kind = LEDGER_FILE;
	s->fd_ino = priv->ino;
	s->bytes = spool_new(fs->ledger);
	if (!s->bytes)
		goto fail;
	if (base) {
		s->base = base->oid;
		s->kind = base->kind;
		r = named_object(ledger_blob_size(fs->ledger, &base->oid, &s->base_size));
		if (r)
			goto fail;
	} else {
		s->base_absent = true;
		s->whole = true;
	}
	s->last_pid = proc_last_pid();
	who_from_req(&s->who, req);
	holders_chain(fs->holders, s->who.tid, &s->chain); /* without one, late saves are unguarded: SPEC 6.2 */
	if (s->chain)
		s->who.pid = proc_pid(holder_chain_proc(s->chain));
	else
		who_look(&s->who, NULL);
	clock_gettime(CLOCK_REALTIME, &s->mtime);
	pthread_mutex_lock(&fs->lock);
	for (struct inode *i = priv->place->inodes; base && i; i = i->next) {
		if (i->type == INODE_VERSION && ledger_oid_eq(&i->blob, &base->oid)) {
			s->mtime = i->mtime;
			s->base_ino = i->key_ino;
		}
	}
	own_number_locked(s, priv->place);
	s->place = place_ref_locked(priv->place);
	s->next = s->place->sessions;
	s->place->sessions = s;
	priv->session = s;
	pthread_mutex_unlock(&fs->lock);
	return 0;
fail:
	spool_free(s->bytes);
	pthread_mutex_destroy(&s->lock);
	free(s);
	return r;
}

void session_show_base_ino(struct session *s)
{
	if (s->base_ino)
		atomic_store(&s->fd_ino, s->base_ino);
}

int session_set_flags(struct session *s, int flags)
{
	if (flags & O_TRUNC)
		return session_truncate(s, 0);
	if (flags & O_APPEND) {
		s->append_only = true;
		s->whole = false;
	}
	return 0;
}

void session_free(struct session *s)
{
	struct fs *fs = s->fs;
	struct session **slot;

	pthread_mutex_lock(&fs->lock);
	for (slot = &s->place->sessions; *slot != s;)
		slot = &(*slot)->next;
	*slot = s->next;
	place_unref_locked(fs, s->place);
	pthread_mutex_unlock(&fs->lock);
	ledger_value_unref(s->base_value);
	spool_free(s->bytes);
	holder_chain_unref(s->chain);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

void sessions_move_locked(struct fs *fs, struct place *from, struct place *to)
{
	struct session *s;

	while ((s = from->sessions)) {
		from->sessions = s->next;
		s->next = to->sessions;
		to->sessions = s;
		s->place = place_ref_locked(to);
		/* The inode keeps `from` alive: this cannot be its last reference. */
		place_unref_locked(fs, from);
	}
}

void sessions_detach_locked(struct place *p)
{
	for (struct session *s = p->sessions; s; s = s->next)
		atomic_store(&s->detached, true);
}

bool sessions_creating_locked(const struct place *p)
{
	for (const struct session *s = p->sessions; s; s = s->next) {
		if (atomic_load(&s->created) && !atomic_load(&s->detached))
			return true;
	}
	return false;
}

/* Is the process of `tid` the one that `c` begins with, or one of its descendants? */
static bool descends(struct fs *fs, pid_t tid, struct holder_chain *c)
{
	struct proc *p, *opener = c ? holder_chain_proc(c) : NULL;
	bool yes = false;

	if (!opener || proctree_get(fs->procs, tid, &p))
		return false;
	for (struct proc *up = p; up && !yes; up = proc_up(up))
		yes = up == opener;
	proc_unref(p);
	return yes;
}

/* Of more processes that make the same file at once the newest find theirs. */
#define MAKERS_MAX 16

struct inode *session_own_new(struct fs *fs, const char *ns, const char *path, pid_t tid)
{
	struct inode *makers[MAKERS_MAX], *found = NULL;
	struct place *p;
	size_t n = 0;

	pthread_mutex_lock(&fs->lock);
	p = place_find_locked(fs, ns, path);
	for (struct session *s = p ? p->sessions : NULL; s && n < MAKERS_MAX; s = s->next) {
		if (atomic_load(&s->created) && s->opens && !atomic_load(&s->detached)) {
			makers[n++] = s->priv;
			inode_ref_locked(s->priv);
		}
	}
	pthread_mutex_unlock(&fs->lock);
	for (size_t i = 0; i < n; i++) {
		if (!found && descends(fs, tid, makers[i]->session->chain))
			found = makers[i];
		else
			inode_unref(fs, makers[i]);
	}
	return found;
}

/* --- bytes; the lock is held ---------------------------------------------------------------------------------------- */

static uint64_t size_locked(const struct session *s)
{
	return s->whole ? spool_size(s->bytes) : s->base_size + spool_size(s->bytes);
}

/* Makes `bytes` the whole value: from the base, with the appended tail behind it. */
static int make_whole(struct session *s)
{
	struct spool *tail = s->bytes, *all;
	char buf[65536];
	uint64_t off = 0;
	ssize_t n;
	int r;

	if (s->whole)
		return 0;
	all = spool_new(s->fs->ledger);
	if (!all)
		return LEDGER_ENOMEM;
	r = load_base(s);
	if (!r)
		r = spool_load(all, s->base_value);
	while (!r && (n = spool_pread(tail, buf, sizeof(buf), off)) != 0) {
		r = n < 0 ? (int)n : spool_pwrite(all, buf, (size_t)n, spool_size(all));
		off += (uint64_t)(n > 0 ? n : 0);
	}
	if (r) {
		spool_free(all);
		return r;
	}
	spool_free(tail);
	s->bytes = all;
	s->whole = true;
	s->append_only = false;
	return 0;
}

/* The base no longer matters: the writer replaces the value. */
static int start_empty(struct session *s)
{
	int r = spool_truncate(s->bytes, 0);

	if (r)
		return r;
	s->whole = true;
	s->append_only = false;
	if (!s->was_read)
		s->replaces = true;
	return 0;
}

static int check_limit(const struct session *s, uint64_t end)
{
	return end > s->fs->max_size ? LEDGER_ETOOBIG : 0;
}

static void note_writer(struct session *s, pid_t tid)
{
	if (!tid || tid == s->last_tid)
		return;
	s->last_tid = tid;
	if (tid == s->who.tid)
		s->last_tgid = s->who.pid;
	else if (proc_tgid(tid, &s->last_tgid))
		return;
	for (unsigned i = 0; i < s->nwriters; i++) {
		if (s->writers[i] == s->last_tgid)
			return;
	}
	if (s->nwriters < SESSION_WRITERS)
		s->writers[s->nwriters++] = s->last_tgid;
}

uint64_t session_size(struct session *s)
{
	uint64_t n;

	pthread_mutex_lock(&s->lock);
	n = size_locked(s);
	pthread_mutex_unlock(&s->lock);
	return n;
}

int session_stat(struct session *s, enum ledger_kind *kind, struct stat *st)
{
	pthread_mutex_lock(&s->lock);
	*kind = s->kind;
	st->st_size = (off_t)size_locked(s);
	st->st_mtim = s->mtime;
	pthread_mutex_unlock(&s->lock);
	st->st_nlink = atomic_load(&s->detached) ? 0 : 1;
	return 0;
}

static ssize_t pread_locked(struct session *s, char *buf, size_t len, uint64_t off)
{
	uint64_t base = s->whole ? 0 : s->base_size;
	size_t done = 0;
	ssize_t n;

	if (off < base && (n = load_base(s)) < 0)
		return n;
	while (done < len && off + done < base) {
		n = ledger_value_pread(s->base_value, buf + done, len - done, off + done);
		if (n <= 0)
			return n < 0 ? n : LEDGER_ECORRUPT;
		done += (size_t)n;
	}
	if (done == len)
		return (ssize_t)done;
	n = spool_pread(s->bytes, buf + done, len - done, off + done - base);
	return n < 0 ? n : (ssize_t)done + n;
}

ssize_t session_pread(struct session *s, void *buf, size_t len, uint64_t off)
{
	ssize_t n;

	pthread_mutex_lock(&s->lock);
	s->was_read = true;
	n = pread_locked(s, buf, len, off);
	pthread_mutex_unlock(&s->lock);
	return n;
}

/* A large file that is copied here: its size is known before its end, so that the ledger can work while it comes in. */
static void guess_size(struct session *s, pid_t tid)
{
	uint64_t have = spool_size(s->bytes), size;

	if (s->guessed || !tid || !s->whole || have <= SPOOL_MEMORY)
		return;
	s->guessed = true;
	size = proc_source_size(tid, have);
	if (size)
		spool_expect(s->bytes, size);
}

static int pwrite_locked(struct session *s, const void *buf, size_t len, uint64_t off)
{
	int r;

	/* An appender's offset is the kernel's idea of the size; ours is right when others' appends came in between. */
	if (s->append_only)
		return spool_pwrite(s->bytes, buf, len, spool_size(s->bytes));
	r = make_whole(s);
	return r ? r : spool_pwrite(s->bytes, buf, len, off);
}

int session_pwrite(struct session *s, const void *buf, size_t len, uint64_t off, pid_t tid, bool writepage)
{
	int r;

	pthread_mutex_lock(&s->lock);
	if (writepage && s->append_only)
		r = make_whole(s);
	else
		r = 0;
	if (!r)
		r = s->error ? s->error : check_limit(s, s->append_only ? size_locked(s) + len : off + len);
	if (!r)
		r = pwrite_locked(s, buf, len, off);
	if (!r) {
		s->dirty = true;
		clock_gettime(CLOCK_REALTIME, &s->mtime);
		s->mtime_set = false;
		if (!writepage) {
			note_writer(s, tid);
			guess_size(s, tid);
		}
	} else if (!s->error) {
		s->error = r; /* a value with a hole in it must never be saved */
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

int session_truncate(struct session *s, uint64_t size)
{
	bool same;
	int r;

	pthread_mutex_lock(&s->lock);
	r = s->error ? s->error : check_limit(s, size);
	same = size != 0 && size == size_locked(s);
	if (!r && size == 0) {
		r = start_empty(s);
	} else if (!r && !same) {
		r = make_whole(s);
		if (!r)
			r = spool_truncate(s->bytes, size);
	}
	if (!r && same) {
		; /* nothing to save: what is not whole would be saved as nothing */
	} else if (!r) {
		s->dirty = true;
		clock_gettime(CLOCK_REALTIME, &s->mtime);
	} else if (!s->error) {
		s->error = r;
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

static int fallocate_locked(struct session *s, int mode, uint64_t off, uint64_t len)
{
	uint64_t size = size_locked(s), end = off + len;
	int r = check_limit(s, end);

	if (r)
		return r;
	r = make_whole(s);
	if (!r && !(mode & FALLOC_FL_KEEP_SIZE) && end > size)
		r = spool_truncate(s->bytes, end);
	size = size_locked(s);
	if (!r && (mode & (FALLOC_FL_ZERO_RANGE | FALLOC_FL_PUNCH_HOLE)) && off < size)
		r = spool_zero(s->bytes, off, (end < size ? end : size) - off);
	return r;
}

int session_fallocate(struct session *s, int mode, uint64_t off, uint64_t len)
{
	int r;

	if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		return LEDGER_EINVALID;
	pthread_mutex_lock(&s->lock);
	r = s->error ? s->error : fallocate_locked(s, mode, off, len);
	if (!r)
		s->dirty = true;
	pthread_mutex_unlock(&s->lock);
	return r;
}

void session_set_kind(struct session *s, enum ledger_kind kind)
{
	pthread_mutex_lock(&s->lock);
	if (s->kind != kind) {
		s->kind = kind;
		s->kind_set = true;
		s->dirty = true;
	}
	pthread_mutex_unlock(&s->lock);
}

void session_set_mtime(struct session *s, const struct timespec *t)
{
	pthread_mutex_lock(&s->lock);
	s->mtime = *t;
	s->mtime_set = true;
	pthread_mutex_unlock(&s->lock);
}

void session_poison(struct session *s, int error)
{
	pthread_mutex_lock(&s->lock);
	if (!s->error)
		s->error = error;
	pthread_mutex_unlock(&s->lock);
}
