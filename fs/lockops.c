/* SPDX-License-Identifier: MIT */
/* fcntl and flock: from requests to the table of locks per key. */
#include "file.h"
#include "ops.h"
#include "revalidate.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

static bool is_dir(const struct inode *i)
{
	return i->type == INODE_ROOT || i->type == INODE_PREFIX || i->type == INODE_DIR ||
	       (i->type == INODE_CONTROL && i->kind == LEDGER_DIR);
}

/* "ns/path"; free() it.  NULL: out of memory, or a place without namespace. */
static char *lock_key(struct fs *fs, struct inode *i)
{
	char *ns, *path, *key;

	if (place_name(fs, i->place, &ns, &path))
		return NULL;
	key = ns ? path_join(ns, path) : NULL;
	free(ns);
	free(path);
	return key;
}

static void done(void *arg, int err)
{
	lock_reply_send(arg, err);
}

/* libfuse calls this with the request still alive: the ticket itself is the argument, nothing can be freed too early. */
static void interrupted(fuse_req_t req, void *ticket)
{
	locks_cancel(fs_of(req)->locks, (uint64_t)(uintptr_t)ticket);
}

/* `f` NULL: a directory. */
static void set_lock(fuse_req_t req, fuse_ino_t ino, struct file *f, const struct lock_want *want, bool wait)
{
	struct fs *fs = fs_of(req);
	char *key = lock_key(fs, inode_of(fs, ino));
	/* Who holds a lock already has read under it: what it read must stay what it is. */
	bool first = key && !locks_held(fs->locks, key, want->family, want->owner);
	enum lock_scope scope = want->family == LOCK_FCNTL ? first ? LOCK_REFRESH_ALL : LOCK_REFRESH_OTHERS
				: first                    ? LOCK_REFRESH_FILE
							   : LOCK_REFRESH_NONE;
	struct lock_reply *reply = key ? lock_reply_new(fs, req, f, scope, want->owner) : NULL;
	uint64_t ticket;
	int err = ENOMEM;

	if (!reply) {
		fuse_reply_err(req, ENOMEM);
	} else if (!wait) {
		lock_reply_send(reply, locks_set(fs->locks, key, want));
	} else {
		if ((ticket = locks_ticket(fs->locks))) {
			fuse_req_interrupt_func(req, interrupted, (void *)(uintptr_t)ticket);
			err = locks_wait(fs->locks, key, want, ticket, done, reply);
		}
		if (err != EINPROGRESS)
			lock_reply_send(reply, err);
	}
	free(key);
}

/* The lock goes in any case; what was written under it is saved first, so that the next holder finds it. */
static void unlock(fuse_req_t req, fuse_ino_t ino, struct file *f, const struct lock_want *want)
{
	struct fs *fs = fs_of(req);
	char *key = lock_key(fs, inode_of(fs, ino));
	struct who w;
	int saved = 0, err;

	if (!key) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	if (f && f->session && session_has_unsaved(f->session)) {
		who_from_req(&w, req);
		saved = session_save(f->session, &w);
	}
	err = locks_set(fs->locks, key, want);
	free(key);
	fuse_reply_err(req, saved ? ledger_errno(saved) : err);
}

static struct lock_want want_of(const struct flock *l, const struct fuse_file_info *fi)
{
	return (struct lock_want){
		.family = LOCK_FCNTL,
		.type = l->l_type,
		.owner = fi->lock_owner,
		.file = fi->fh,
		.start = l->l_start,
		.end = l->l_len ? l->l_start + l->l_len - 1 : LOCKS_EOF,
		.pid = l->l_pid,
	};
}

void op_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock)
{
	struct fs *fs = fs_of(req);
	struct lock_want want = want_of(lock, fi), there;
	char *key = lock_key(fs, inode_of(fs, ino));

	if (!key) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	locks_test(fs->locks, key, &want, &there);
	free(key);
	lock->l_type = there.type;
	if (there.type != F_UNLCK) {
		lock->l_whence = SEEK_SET;
		lock->l_start = there.start;
		lock->l_len = there.end == LOCKS_EOF ? 0 : there.end - there.start + 1;
		lock->l_pid = there.pid;
	}
	fuse_reply_lock(req, lock);
}

void op_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock, int sleep)
{
	struct lock_want want = want_of(lock, fi);

	if (is_dir(inode_of(fs_of(req), ino))) {
		fuse_reply_err(req, ENOLCK); /* nothing tells when such a lock ends: directories have no FLUSH */
		return;
	}
	if (want.type == F_UNLCK)
		unlock(req, ino, file_of(fi), &want);
	else
		set_lock(req, ino, file_of(fi), &want, sleep);
}

void op_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int op)
{
	struct lock_want want = {.family = LOCK_FLOCK, .owner = fi->fh, .file = fi->fh, .pid = fuse_req_ctx(req)->pid};
	struct file *f = is_dir(inode_of(fs_of(req), ino)) ? NULL : file_of(fi);

	switch (op & ~LOCK_NB) {
	case LOCK_SH:
		want.type = F_RDLCK;
		break;
	case LOCK_EX:
		want.type = F_WRLCK;
		break;
	case LOCK_UN:
		want.type = F_UNLCK;
		break;
	default:
		fuse_reply_err(req, EINVAL);
		return;
	}
	if (want.type == F_UNLCK)
		unlock(req, ino, f, &want);
	else
		set_lock(req, ino, f, &want, !(op & LOCK_NB));
}

void locks_on_flush(struct fs *fs, struct file *f, uint64_t owner)
{
	char *key = locks_none(fs->locks) ? NULL : lock_key(fs, f->inode);

	/* An owner that locked through another descriptor of the key loses its locks at any close of it, as POSIX has it. */
	if (key)
		locks_release_owner(fs->locks, key, owner);
	free(key);
}

void locks_on_release(struct fs *fs, struct inode *i, uint64_t file)
{
	char *key = locks_none(fs->locks) ? NULL : lock_key(fs, i);

	/* Processes have flushed: what is left is a flock, or an open file's own (F_OFD_SETLK), of which the kernel says no
	 * more. */
	if (key)
		locks_release_file(fs->locks, key, file);
	free(key);
}
