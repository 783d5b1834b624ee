/* SPDX-License-Identifier: MIT */
/*
 * Opening.  A reader opens the version that LOOKUP found.  A writer must get an inode of its own, because the kernel keeps
 * one size and one page cache per inode; but OPEN names the inode already.  So the first OPEN for writing is answered
 * ESTALE: the kernel then walks the path again, from the same thread, and that LOOKUP is given the private inode.  No
 * program sees the ESTALE.  Where there is no walk (an open of /proc/self/fd/N) the second OPEN comes without a LOOKUP:
 * then the handle works on the inode that was named, uncached.  Who has opened a key for writing before is likely to do it
 * again: see redirect_expected().
 */
#include "control.h"
#include "file.h"
#include "ops.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

static bool is_writer(int flags)
{
	return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC);
}

int check_open(fuse_req_t req, struct place *p)
{
	struct fs *fs = fs_of(req);
	char *ns, *path;
	struct who w;
	int r;

	if (fs->readonly)
		return LEDGER_EROFS;
	if (place_name(fs, p, &ns, &path))
		return LEDGER_ENOMEM;
	who_from_req(&w, req);
	r = fs_change_check(fs, &w, ns, path);
	free(ns);
	free(path);
	return r;
}

static bool is_single_locked(const struct place *p)
{
	const char *slash = strrchr(p->path, '/');

	slash = slash ? slash + 1 : p->path;
	return classify_single(slash, strlen(slash));
}

bool open_is_taken(fuse_req_t req, struct place *p, const struct session *self)
{
	struct fs *fs = fs_of(req);
	bool yes;
	pid_t pid;

	pthread_mutex_lock(&fs->lock);
	yes = is_single_locked(p);
	pthread_mutex_unlock(&fs->lock);
	if (!yes || proc_tgid(fuse_req_ctx(req)->pid, &pid))
		return false;
	yes = false;
	pthread_mutex_lock(&fs->lock);
	if (p->local && p->local->writers && p->local->user != pid)
		yes = true;
	for (struct session *s = p->sessions; s && !yes; s = s->next)
		yes = s != self && s->opens && !atomic_load(&s->detached);
	pthread_mutex_unlock(&fs->lock);
	return yes;
}

/*
 * Does the caller's process write on it, which is of those that only one may?  sqlite falls back to an open for reading, and
 * would look for what its first connection wrote in a value that has less.
 */
static bool read_is_taken(fuse_req_t req, struct place *p)
{
	struct fs *fs = fs_of(req);
	bool yes;
	pid_t pid;

	pthread_mutex_lock(&fs->lock);
	yes = p->sessions && is_single_locked(p);
	pthread_mutex_unlock(&fs->lock);
	if (!yes || proc_tgid(fuse_req_ctx(req)->pid, &pid))
		return false;
	yes = false;
	pthread_mutex_lock(&fs->lock);
	for (struct session *s = p->sessions; s && !yes; s = s->next)
		yes = s->opens && s->who.pid == pid && !atomic_load(&s->detached);
	pthread_mutex_unlock(&fs->lock);
	return yes;
}

static void reply_open(fuse_req_t req, struct file *f, struct fuse_file_info *fi)
{
	fi->fh = (uintptr_t)f;
	if (fuse_reply_open(req, fi) == -ENOENT)
		file_close(fs_of(req), f); /* interrupted: no RELEASE will come */
}

/* A write handle on the private inode `priv`; the kernel named `i`. */
static void open_session(fuse_req_t req, struct inode *i, struct inode *priv, struct fuse_file_info *fi)
{
	struct file *f;
	int r = session_set_flags(priv->session, fi->flags);

	if (r) {
		reply_error(req, r);
		return;
	}
	f = file_new(req, i, priv, true);
	if (!f) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	/* Asked again when it is open: of two at once one has it at most. */
	if (open_is_taken(req, i->place, priv->session)) {
		file_close(fs_of(req), f);
		fuse_reply_err(req, EBUSY);
		return;
	}
	redirect_learn(fs_of(req), i, fuse_req_ctx(req)->pid, true);
	if (i != priv)
		priv->session->fd_ino = i->ino;
	/* A handle that cannot be mapped needs no page cache; uncached, a write costs one request and not two. */
	fi->direct_io = i != priv || (fi->flags & O_ACCMODE) == O_WRONLY;
	fi->keep_cache = 0;
	reply_open(req, f, fi);
}

/*
 * The thread was sent on its second walk, and that led to another file: the one it was meant for has been renamed, or
 * removed, and replaced.  A second ESTALE would reach the program; the handle works on the inode that was named, uncached.
 */
static int open_replaced(fuse_req_t req, struct inode *i, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct ledger_entry base;
	struct inode *priv = NULL;
	bool there;
	int r = current_base(fs, i->place, &base, &there);

	if (!r)
		r = new_private(req, i->place, there ? &base : NULL, &priv);
	if (r)
		return ledger_errno(r);
	open_session(req, i, priv, fi);
	inode_unref(fs, priv);
	return 0;
}

static void open_writer(fuse_req_t req, struct inode *i, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	pid_t tid = fuse_req_ctx(req)->pid;
	struct inode *priv;
	bool again;
	int r;

	if (i->type == INODE_PRIVATE && redirect_done(fs, tid, i)) {
		open_session(req, i, i, fi);
		return;
	}
	again = redirect_unused(fs, tid, i->place, &priv);
	if (priv) {
		/* No LOOKUP came: /proc/self/fd/N.  A private inode is the handle itself; a version is written uncached. */
		open_session(req, i, i->type == INODE_PRIVATE ? i : priv, fi);
		inode_unref(fs, priv);
		return;
	}
	r = open_is_taken(req, i->place, NULL) ? EBUSY : ledger_errno(check_open(req, i->place));
	if (!r && !again && redirect_adopt(req, i)) {
		open_session(req, i, i, fi);
		return;
	}
	if (!r)
		r = again ? open_replaced(req, i, fi) : redirect_caller(req, i);
	if (r)
		fuse_reply_err(req, r);
}

/* Somebody reads a handle's own copy: through /proc/self/fd/N, or its maker by the name of a file that is not saved yet. */
static void open_private_reader(fuse_req_t req, struct inode *i, struct fuse_file_info *fi)
{
	struct file *f;

	if (redirect_done(fs_of(req), fuse_req_ctx(req)->pid, i)) {
		/* It was kept for an open for writing that never came back for it: this walk must not end here. */
		fuse_reply_err(req, ESTALE);
		return;
	}
	if (!atomic_load(&i->session->created) && !redirect_was_to_version(fs_of(req), fuse_req_ctx(req)->pid, i->place)) {
		fuse_reply_err(req, redirect_to_version(req, i));
		return;
	}
	redirect_done(fs_of(req), fuse_req_ctx(req)->pid, NULL);
	f = file_new(req, i, i, false);

	if (!f) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	fi->direct_io = 1;
	reply_open(req, f, fi);
}

static void open_local(fuse_req_t req, struct inode *i, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct file *f = file_new(req, i, NULL, is_writer(fi->flags));
	int r = 0;

	if (!f)
		r = ENOMEM;
	else if (open_is_taken(req, i->place, NULL)) /* asked when it is open: of two at once the first has it */
		r = EBUSY;
	else if (fi->flags & O_TRUNC)
		r = ledger_errno(local_truncate(fs, i->local, 0));
	if (r) {
		if (f)
			file_close(fs, f);
		fuse_reply_err(req, r);
		return;
	}
	fi->keep_cache = 1;
	reply_open(req, f, fi);
}

static void open_control(fuse_req_t req, struct inode *i, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct file *f;
	int r;

	if (is_writer(fi->flags)) {
		fuse_reply_err(req, EPERM);
		return;
	}
	f = file_new(req, i, NULL, false);
	r = f ? control_open(fs, i, &f->value) : LEDGER_ENOMEM;
	if (r) {
		file_free(fs, f);
		reply_error(req, r);
		return;
	}
	fi->direct_io = 1; /* made for this open: its size is not known before */
	reply_open(req, f, fi);
}

void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct inode *i = inode_of(fs_of(req), ino);
	struct file *f;

	switch (i->type) {
	case INODE_LOCAL:
		open_local(req, i, fi);
		return;
	case INODE_CONTROL:
		open_control(req, i, fi);
		return;
	case INODE_VERSION:
	case INODE_PRIVATE:
		break;
	default:
		fuse_reply_err(req, EISDIR);
		return;
	}
	if (is_writer(fi->flags)) {
		open_writer(req, i, fi);
		return;
	}
	if (read_is_taken(req, i->place)) {
		fuse_reply_err(req, EBUSY);
		return;
	}
	redirect_learn(fs_of(req), i, fuse_req_ctx(req)->pid, false);
	if (i->type == INODE_PRIVATE) {
		open_private_reader(req, i, fi);
		return;
	}
	redirect_done(fs_of(req), fuse_req_ctx(req)->pid, i);
	f = file_new(req, i, NULL, false);
	if (!f) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	fi->keep_cache = 1;
	reply_open(req, f, fi);
}
