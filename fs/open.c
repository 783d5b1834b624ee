/* SPDX-License-Identifier: MIT */
/*
 * Opening.  A reader opens the version that LOOKUP found.  A writer must get an inode of its own, because the kernel keeps
 * one size and one page cache per inode; but OPEN names the inode already.  So the first OPEN for writing is answered
 * ESTALE: the kernel then walks the path again, from the same thread, and that LOOKUP is given the private inode.  No
 * program sees the ESTALE.  Where there is no walk (an open of /proc/self/fd/N) the second OPEN comes without a LOOKUP:
 * then the handle works on the inode that was named, uncached.
 */
#include "control.h"
#include "file.h"
#include "ops.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

/* Redirects that nobody came for (the caller was killed in between) are dropped after so many seconds. */
#define REDIRECT_SECONDS 60

static time_t seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

static bool is_writer(int flags)
{
	return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC);
}

/* --- redirects ------------------------------------------------------------------------------------------------------ */

/* Takes those out that `match` says (or are too old), and gives them to the caller as a list. */
static struct redirect *pull_locked(struct fs *fs, pid_t tid, const struct inode *priv, const struct place *place)
{
	struct redirect *out = NULL, *r;
	time_t now = seconds();

	for (struct redirect **slot = &fs->redirects; (r = *slot);) {
		bool mine = r->tid == tid && (priv ? r->priv == priv : !place || r->priv->place == place);

		if (!mine && now - r->born < REDIRECT_SECONDS) {
			slot = &r->next;
			continue;
		}
		*slot = r->next;
		r->next = out;
		out = r;
	}
	return out;
}

/* Frees a list; returns whether one of it was for `tid`. */
static bool drop_list(struct fs *fs, struct redirect *list, pid_t tid)
{
	bool mine = false;

	while (list) {
		struct redirect *r = list;

		list = r->next;
		mine = mine || r->tid == tid;
		inode_unref(fs, r->priv);
		free(r);
	}
	return mine;
}

bool redirect_done(struct fs *fs, pid_t tid, struct inode *priv)
{
	struct redirect *list;

	pthread_mutex_lock(&fs->lock);
	list = pull_locked(fs, tid, priv, NULL);
	pthread_mutex_unlock(&fs->lock);
	return drop_list(fs, list, tid);
}

struct inode *redirect_take(struct fs *fs, pid_t tid, const char *ns, const char *path)
{
	struct inode *found = NULL;

	pthread_mutex_lock(&fs->lock);
	for (struct redirect *r = fs->redirects; r && !found; r = r->next) {
		if (r->tid == tid && !r->moved && strcmp(r->priv->place->ns, ns) == 0 && strcmp(r->priv->place->path, path) == 0)
			found = r->priv;
	}
	if (found)
		found->nlookup++;
	pthread_mutex_unlock(&fs->lock);
	return found;
}

void redirects_free(struct fs *fs)
{
	struct redirect *list = fs->redirects;

	fs->redirects = NULL;
	drop_list(fs, list, 0);
}

/* A private inode with a session on what is at the place now; NULL `base`: nothing. */
static int new_private(fuse_req_t req, struct place *p, const struct ledger_entry *base, struct inode **out)
{
	struct fs *fs = fs_of(req);
	struct inode *priv = inode_new(fs, p, INODE_PRIVATE);
	int r;

	if (!priv)
		return LEDGER_ENOMEM;
	r = session_new(fs, priv, base, req);
	if (r) {
		inode_unref(fs, priv);
		return r;
	}
	*out = priv;
	return 0;
}

/* Did this thread's last OPEN of the place end in a redirect that no LOOKUP has used up?  Its inode, referenced. */
static struct inode *unused_redirect(struct fs *fs, pid_t tid, struct place *p)
{
	struct redirect *list;
	struct inode *priv = NULL;

	pthread_mutex_lock(&fs->lock);
	for (struct redirect *r = fs->redirects; r; r = r->next) {
		if (r->tid == tid && r->priv->place == p && r->priv->type == INODE_PRIVATE) {
			priv = r->priv;
			inode_ref_locked(priv);
			break;
		}
	}
	list = pull_locked(fs, tid, NULL, NULL);
	pthread_mutex_unlock(&fs->lock);
	drop_list(fs, list, tid);
	return priv;
}

/* The key as it is now is the base of what the caller will write. */
static int current_base(struct fs *fs, struct place *p, struct ledger_entry *e, bool *there)
{
	int r = fs_resolve(fs, p, NULL, e);

	*there = r == 0;
	if (r == LEDGER_ENOTFOUND || r == LEDGER_ENOTDIR)
		return 0;
	if (!r && e->kind == LEDGER_DIR)
		return LEDGER_EISDIR;
	return r;
}

int redirect_caller(fuse_req_t req, struct inode *i)
{
	struct fs *fs = fs_of(req);
	struct redirect *r = calloc(1, sizeof(*r));
	struct ledger_entry base;
	bool there;
	int rc;

	if (!r)
		return ENOMEM;
	rc = current_base(fs, i->place, &base, &there);
	if (!rc && !there && i->type != INODE_PRIVATE) {
		free(r);
		return ESTALE; /* gone meanwhile: the walk will find out */
	}
	if (!rc)
		rc = new_private(req, i->place, there ? &base : NULL, &r->priv);
	if (rc) {
		free(r);
		return ledger_errno(rc);
	}
	r->tid = fuse_req_ctx(req)->pid;
	r->born = seconds();
	pthread_mutex_lock(&fs->lock);
	r->next = fs->redirects;
	fs->redirects = r;
	pthread_mutex_unlock(&fs->lock);
	return ESTALE;
}

/* --- files ------------------------------------------------------------------------------------------------------------ */

static void file_free(struct fs *fs, struct file *f)
{
	if (!f)
		return;
	pthread_mutex_lock(&fs->lock);
	*f->link = f->next;
	if (f->next)
		f->next->link = f->link;
	pthread_mutex_unlock(&fs->lock);
	inode_unref(fs, f->inode);
	if (f->priv)
		inode_unref(fs, f->priv);
	ledger_value_unref(f->value);
	free(f);
}

void files_free(struct fs *fs)
{
	while (fs->files)
		file_free(fs, fs->files);
}

static struct file *file_new(fuse_req_t req, struct inode *i, struct inode *priv, bool writer)
{
	struct fs *fs = fs_of(req);
	struct file *f = calloc(1, sizeof(*f));
	pid_t pid = 0;

	if (!f)
		return NULL;
	f->inode = i;
	f->priv = priv;
	f->session = priv ? priv->session : NULL;
	f->writer = writer;
	pthread_mutex_lock(&fs->lock);
	f->next = fs->files;
	f->link = &fs->files;
	if (f->next)
		f->next->link = &f->next;
	fs->files = f;
	inode_ref_locked(i);
	if (priv) {
		inode_ref_locked(priv);
		priv->session->opens++;
	}
	if (i->type == INODE_VERSION)
		i->opens++;
	pthread_mutex_unlock(&fs->lock);
	if (i->local)
		local_open(fs, i->local, writer, proc_tgid(fuse_req_ctx(req)->pid, &pid) ? 0 : pid);
	return f;
}

static void file_close(struct fs *fs, struct file *f)
{
	struct ledger_value *value = NULL;
	bool last = false;

	pthread_mutex_lock(&fs->lock);
	if (f->session)
		last = --f->session->opens == 0;
	if (f->inode->type == INODE_VERSION && --f->inode->opens == 0) {
		value = f->inode->value;
		f->inode->value = NULL;
	}
	pthread_mutex_unlock(&fs->lock);
	ledger_value_unref(value);
	if (last)
		session_release(f->session);
	if (f->inode->local)
		local_close(fs, f->inode->local, f->writer);
	file_free(fs, f);
}

/* May the caller start to write the key at all?  Told at open already (SPEC 6.4). */
static int check_open(fuse_req_t req, struct place *p)
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

/* Another process writes on it, and it is of those that only one may (classify_single()). */
static bool taken(fuse_req_t req, struct place *p)
{
	struct fs *fs = fs_of(req);
	const char *slash;
	bool yes = false;
	pid_t pid;

	pthread_mutex_lock(&fs->lock);
	slash = strrchr(p->path, '/');
	slash = slash ? slash + 1 : p->path;
	yes = classify_single(slash, strlen(slash));
	pthread_mutex_unlock(&fs->lock);
	if (!yes || proc_tgid(fuse_req_ctx(req)->pid, &pid))
		return false;
	yes = false;
	pthread_mutex_lock(&fs->lock);
	if (p->local && p->local->writers && p->local->user != pid)
		yes = true;
	for (struct session *s = p->sessions; s && !yes; s = s->next)
		yes = s->opens && s->who.pid != pid;
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
	if (i != priv)
		priv->session->fd_ino = i->ino;
	/* A handle that cannot be mapped needs no page cache; uncached, a write costs one request and not two. */
	fi->direct_io = i != priv || (fi->flags & O_ACCMODE) == O_WRONLY;
	fi->keep_cache = 0;
	reply_open(req, f, fi);
}

/*
 * The thread was sent on its second walk, and that led to another file: the one it was meant for has been renamed, and
 * replaced.  A second ESTALE would reach the program; the handle works on the inode that was named, uncached.
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
	int r;

	if (i->type == INODE_PRIVATE && redirect_done(fs, tid, i)) {
		open_session(req, i, i, fi);
		return;
	}
	priv = unused_redirect(fs, tid, i->place);
	if (priv) {
		/* No LOOKUP came: /proc/self/fd/N.  A private inode is the handle itself; a version is written uncached. */
		open_session(req, i, i->type == INODE_PRIVATE ? i : priv, fi);
		inode_unref(fs, priv);
		return;
	}
	r = taken(req, i->place) ? EBUSY : ledger_errno(check_open(req, i->place));
	if (!r)
		r = redirect_done(fs, tid, NULL) ? open_replaced(req, i, fi) : redirect_caller(req, i);
	if (r)
		fuse_reply_err(req, r);
}

/*
 * LOOKUP showed a process its own handle for the version (session_own_saved()), and now it opens that for reading: the
 * second walk finds the version itself, whose bytes will not change.
 */
static int send_to_version(fuse_req_t req, struct inode *i)
{
	struct fs *fs = fs_of(req);
	struct redirect *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return ENOMEM;
	rc = lookup_committed(fs, i->place, 0, &r->priv);
	if (rc) {
		free(r);
		return rc == LEDGER_ENOTFOUND ? ESTALE : ledger_errno(rc); /* gone meanwhile: the walk will find out */
	}
	r->tid = fuse_req_ctx(req)->pid;
	r->born = seconds();
	pthread_mutex_lock(&fs->lock);
	inode_ref_locked(r->priv);
	r->priv->nlookup--;
	r->next = fs->redirects;
	fs->redirects = r;
	pthread_mutex_unlock(&fs->lock);
	return ESTALE;
}

/* Was this thread sent to a version, and came back without a walk, by /proc/self/fd/N? */
static bool was_sent(struct fs *fs, pid_t tid, const struct place *p)
{
	bool yes = false;

	pthread_mutex_lock(&fs->lock);
	for (struct redirect *r = fs->redirects; r && !yes; r = r->next)
		yes = r->tid == tid && r->priv->place == p && r->priv->type == INODE_VERSION;
	pthread_mutex_unlock(&fs->lock);
	return yes;
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
	if (!atomic_load(&i->session->created) && !was_sent(fs_of(req), fuse_req_ctx(req)->pid, i->place)) {
		fuse_reply_err(req, send_to_version(req, i));
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
	else if (taken(req, i->place)) /* asked when it is open: of two at once the first has it */
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

/* --- CREATE ------------------------------------------------------------------------------------------------------------ */

/* The directory must be there now; the close would only tell of it later. */
static int check_parent(struct fs *fs, struct inode *dir)
{
	struct ledger_entry e;
	int r = fs_resolve(fs, dir->place, NULL, &e);

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
	const char *slash = strrchr(h->path, '/'), *name = slash ? slash + 1 : h->path;
	enum name_class class = classify_name(fs->classify, name, strlen(name));
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
	yes = taken(req, p);
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
	if (r || (i->type == INODE_LOCAL && taken(req, i->place))) {
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

void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct file *f = file_of(fi);

	locks_on_release(fs, f, fi->lock_owner, fi->flock_release);
	file_close(fs, f);
	fuse_reply_err(req, 0);
}
