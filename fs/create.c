/* SPDX-License-Identifier: MIT */
/* CREATE: a new key gets its write handle at once, a temporary name its local file. */
#include "file.h"
#include "ops.h"

#include <errno.h>
#include <fcntl.h>

/* The directory must be there now; the close would only tell of it later. */
static int check_parent(struct fs *fs, struct inode *dir)
{
	struct ledger_entry e;
	int r;

	if (local_is_dir(fs, dir->place))
		return 0;
	r = fs_resolve(fs, dir->place, NULL, &e);
	return r ? r : e.kind == LEDGER_DIR ? 0 : LEDGER_ENOTDIR;
}

/* A local file at the held place: the one that is there, or a new one. */
static int create_local(fuse_req_t req, struct place *p, struct local *l, enum local_type type, mode_t mode, int flags,
			struct inode **out)
{
	struct fs *fs = fs_of(req);
	enum ledger_kind kind = mode & 0111 ? LEDGER_EXEC : LEDGER_FILE;
	struct local *new = NULL;
	struct who w;
	int r = 0;

	if (!l) {
		who_from_req(&w, req);
		l = new = local_new(fs, p, type, &w);
		if (!l)
			return LEDGER_ENOMEM;
		local_set(l, &kind, NULL);
	} else if (flags & O_TRUNC) {
		r = local_truncate(fs, l, 0);
	}
	if (!r) {
		*out = local_inode(fs, l);
		r = *out ? 0 : LEDGER_ENOMEM;
	}
	local_unref(fs, new);
	return r;
}

/* A write handle for a key at the held place, there (`base`) or not. */
static int create_key(fuse_req_t req, struct place *p, const struct ledger_entry *base, bool hidden, mode_t mode, int flags,
		      struct inode **out)
{
	struct fs *fs = fs_of(req);
	struct inode *priv;
	int r = new_private(req, p, base, &priv);

	if (r)
		return r;
	if (!base || hidden) {
		priv->session->kind = mode & 0111 ? LEDGER_EXEC : LEDGER_FILE;
		priv->session->exclusive = (flags & O_EXCL) && !hidden;
		priv->session->dirty = true; /* an empty new file is a value too */
		priv->session->whole = true;
		atomic_store(&priv->session->created, true);
	}
	r = session_set_flags(priv->session, flags);
	if (r) {
		inode_unref(fs, priv);
		return r;
	}
	inode_looked_up(fs, priv);
	inode_unref(fs, priv);
	*out = priv;
	return 0;
}

static bool being_created(struct fs *fs, struct place *p)
{
	bool yes;

	pthread_mutex_lock(&fs->lock);
	yes = sessions_creating_locked(p);
	pthread_mutex_unlock(&fs->lock);
	return yes;
}

static int create_held(fuse_req_t req, const struct hold *h, mode_t mode, int flags, struct inode **out)
{
	struct fs *fs = fs_of(req);
	struct place *p = h->place;
	struct local *l = local_at(fs, p);
	struct ledger_entry base;
	enum name_class class = local_class(fs, h->ns, h->path);
	bool hidden = l && l->type == LOCAL_GONE, there;
	int r;

	r = current_base(fs, p, &base, &there);
	if (!r && (flags & O_EXCL) && ((l && !hidden) || (there && !hidden) || being_created(fs, p)))
		r = LEDGER_EEXISTS;
	if (!r && l && !hidden)
		r = create_local(req, p, l, 0, mode, flags, out);
	else if (!r && !there && class != NAME_KEY)
		r = create_local(req, p, NULL, class == NAME_SCRATCH ? LOCAL_SCRATCH : LOCAL_PASSING, mode, flags, out);
	else if (!r && !(r = check_open(req, p))) /* temporary files are nobody's to guard */
		r = create_key(req, p, there ? &base : NULL, hidden, mode, flags, out);
	local_unref(fs, l);
	return r;
}

static int create(fuse_req_t req, struct inode *dir, const char *name, mode_t mode, int flags, struct inode **out)
{
	struct fs *fs = fs_of(req);
	struct place *p;
	struct hold h;
	int r = fs->readonly ? LEDGER_EROFS : child_place(fs, dir, name, &p);

	if (r)
		return r;
	r = check_parent(fs, dir);
	if (!r)
		r = hold_begin(fs, p, true, &h);
	if (!r) {
		r = create_held(req, &h, mode, flags, out);
		hold_end(fs, &h);
	}
	place_unref(fs, p);
	return r;
}

static bool creates_taken(fuse_req_t req, struct inode *dir, const char *name)
{
	struct place *p;
	bool yes;

	if (!classify_single(name, strlen(name)) || child_place(fs_of(req), dir, name, &p))
		return false;
	yes = open_is_taken(req, p, NULL);
	place_unref(fs_of(req), p);
	return yes;
}

void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct inode *i = NULL;
	struct fuse_entry_param e;
	struct file *f = NULL;
	int r;

	if (creates_taken(req, inode_of(fs, parent), name)) {
		fuse_reply_err(req, EBUSY);
		return;
	}
	r = create(req, inode_of(fs, parent), name, mode, fi->flags, &i);

	/* The second walk of an open with O_CREAT, if it was one, has ended here: the file it was meant for is gone. */
	redirect_done(fs, fuse_req_ctx(req)->pid, NULL);
	if (!r)
		r = fill_entry(fs, i, &e);
	if (!r) {
		f = file_new(req, i, i->type == INODE_PRIVATE ? i : NULL, true);
		r = f ? 0 : LEDGER_ENOMEM;
	}
	if (r || open_is_taken(req, i->place, f->session)) {
		if (f)
			file_close(fs, f);
		if (i)
			inode_forget(fs, i, 1);
		fuse_reply_err(req, r ? ledger_errno(r) : EBUSY);
		return;
	}
	fi->fh = (uintptr_t)f;
	fi->keep_cache = i->type == INODE_LOCAL;
	fi->direct_io = i->type == INODE_PRIVATE && (fi->flags & O_ACCMODE) == O_WRONLY;
	if (fuse_reply_create(req, &e, fi) == -ENOENT) {
		file_close(fs, f);
		inode_forget(fs, i, 1);
	}
}
