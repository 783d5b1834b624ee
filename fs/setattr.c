/* SPDX-License-Identifier: MIT */
/* SETATTR: truncate, chmod, chown, utimensat. */
#include "file.h"
#include "ops.h"

#include <errno.h>
#include <stdlib.h>

/* truncate(2): by descriptor it changes the handle's copy; by path it is a commit of its own (SPEC 5.3). */
static int set_size(fuse_req_t req, struct inode *i, uint64_t size, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct session *s = session_of(i, fi);
	struct who w;
	bool alone;
	int r;

	if (fs->readonly)
		return EROFS;
	if (i->type == INODE_LOCAL)
		return ledger_errno(local_truncate(fs, i->local, size));
	if (!s && i->type != INODE_VERSION)
		return EISDIR;
	if (!s)
		return redirect_caller(req, i);
	alone = !fi && redirect_done(fs, fuse_req_ctx(req)->pid, i);
	if (!fi && !alone && !atomic_load(&s->created))
		return redirect_caller(req, i); /* by the name: LOOKUP showed the handle for the key */
	r = session_truncate(s, size);
	if (!r && alone) {
		who_from_req(&w, req);
		/* To the size that it has: nothing is saved, but a stale expectation refuses that too (SPEC 6). */
		r = session_check(s, &w);
		if (!r)
			r = session_save(s, &w);
	}
	return ledger_errno(r);
}

/* chmod(2) of a committed key: one commit when the x bit changes, else accepted and not kept. */
static int set_version_kind(fuse_req_t req, struct inode *i, enum ledger_kind kind)
{
	struct fs *fs = fs_of(req);
	struct ledger_edit e = {.op = LEDGER_CHMOD, .kind = kind};
	struct hold h;
	struct who w;
	int r;

	pthread_mutex_lock(&fs->lock);
	r = i->type == INODE_VERSION && (i->kind == kind || i->kind == LEDGER_LINK || i->superseded || i->unlinked);
	pthread_mutex_unlock(&fs->lock);
	if (r)
		return 0;
	if (fs->readonly)
		return LEDGER_EROFS;
	r = hold_begin(fs, i->place, false, &h);
	if (r)
		return r;
	e.path = h.path;
	who_from_req(&w, req);
	r = fs_change(fs, &w, h.ns, h.path, NULL, &e, 1, NULL);
	hold_end(fs, &h);
	if (!r) {
		pthread_mutex_lock(&fs->lock);
		i->kind = kind;
		pthread_mutex_unlock(&fs->lock);
	}
	return r;
}

static int set_mode(fuse_req_t req, struct inode *i, mode_t mode, struct fuse_file_info *fi)
{
	enum ledger_kind kind = mode & 0111 ? LEDGER_EXEC : LEDGER_FILE;
	struct session *s = session_of(i, fi);

	if (s && (fi || atomic_load(&s->created)))
		session_set_kind(s, kind);
	else if (i->type == INODE_LOCAL)
		local_set(i->local, &kind, NULL);
	else if (i->type == INODE_VERSION || i->type == INODE_PRIVATE)
		return set_version_kind(req, i, kind);
	return 0;
}

static int set_owner(struct fs *fs, const struct stat *attr, int to_set)
{
	if ((to_set & FUSE_SET_ATTR_UID) && attr->st_uid != fs->opts->uid)
		return EPERM;
	if ((to_set & FUSE_SET_ATTR_GID) && attr->st_gid != fs->opts->gid)
		return EPERM;
	return 0;
}

/* The time holds for the value that is there now, while mounted.  `only`: if it is that one; NULL: whatever it is. */
static void remember_time(struct fs *fs, struct inode *i, const struct ledger_oid *only, const struct timespec *t)
{
	struct ledger_entry e;
	char *ns, *path;

	if (fs_resolve(fs, i->place, NULL, &e) || (only && !ledger_oid_eq(only, &e.oid)) ||
	    place_name(fs, i->place, &ns, &path))
		return;
	times_set(fs, ns, path, &e.oid, t);
	free(ns);
	free(path);
	pthread_mutex_lock(&fs->lock);
	for (struct inode *v = i->place->inodes; v; v = v->next) {
		if (v->type == INODE_DIR || (v->type == INODE_VERSION && ledger_oid_eq(&v->blob, &e.oid)))
			v->mtime = *t;
	}
	pthread_mutex_unlock(&fs->lock);
}

/* A handle's time goes with its next save; one with nothing to save has the key's. */
static void set_session_time(struct fs *fs, struct inode *i, struct session *s, const struct timespec *t)
{
	struct ledger_oid base;
	bool dirty;

	session_set_mtime(s, t);
	pthread_mutex_lock(&s->lock);
	dirty = s->dirty || s->base_absent;
	base = s->base;
	pthread_mutex_unlock(&s->lock);
	if (!dirty && !fs->readonly)
		remember_time(fs, i, &base, t);
}

static void set_mtime(fuse_req_t req, struct inode *i, const struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct session *s = session_of(i, fi);
	struct timespec t = attr->st_mtim;

	if (to_set & FUSE_SET_ATTR_MTIME_NOW)
		clock_gettime(CLOCK_REALTIME, &t);
	if (s)
		set_session_time(fs, i, s, &t);
	else if (i->type == INODE_LOCAL)
		local_set(i->local, NULL, &t);
	else if (i->type == INODE_DIR || (i->type == INODE_VERSION && !i->superseded))
		remember_time(fs, i, NULL, &t);
}

void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct inode *i = inode_of(fs, ino);
	struct stat st;
	double timeout;
	int err = 0, r;

	if (i->type == INODE_CONTROL)
		err = EPERM;
	if (!err)
		err = set_owner(fs, attr, to_set);
	if (!err && (to_set & FUSE_SET_ATTR_MODE))
		err = ledger_errno(set_mode(req, i, attr->st_mode, fi));
	if (!err && (to_set & FUSE_SET_ATTR_SIZE))
		err = set_size(req, i, (uint64_t)attr->st_size, fi);
	else if (!err && (to_set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)))
		set_mtime(req, i, attr, to_set, fi);
	if (err) {
		fuse_reply_err(req, err);
		return;
	}
	timeout = inode_attr_timeout(i); /* as in op_getattr() */
	r = inode_stat(fs, i, &st);
	if (r)
		reply_error(req, r);
	else
		fuse_reply_attr(req, &st, timeout);
}
