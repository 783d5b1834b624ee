/* SPDX-License-Identifier: MIT */
/* One name each: unlink, mkdir, rmdir, symlink, mknod.  One change, one commit (SPEC 5.3). */
#include "control.h"
#include "local.h"
#include "ops.h"
#include "session.h"

#include <errno.h>
#include <stdlib.h>

/* Commits one edit of the held name for the caller. */
static int change_held(fuse_req_t req, const struct hold *h, struct ledger_edit *e)
{
	struct who w;

	who_from_req(&w, req);
	e->path = h->path;
	return fs_change(fs_of(req), &w, h->ns, h->path, NULL, e, 1, NULL);
}

/* The place of `name`, held for a change.  As child_place() and hold_begin(). */
static int hold_child(fuse_req_t req, struct inode *dir, const char *name, struct hold *h)
{
	struct fs *fs = fs_of(req);
	struct place *p;
	int r;

	if (fs->readonly)
		return LEDGER_EROFS;
	r = child_place(fs, dir, name, &p);
	if (r)
		return r;
	r = hold_begin(fs, p, true, h);
	place_unref(fs, p);
	return r;
}

/* What is open under the name goes on without one. */
static void forget_name(struct fs *fs, struct place *p)
{
	pthread_mutex_lock(&fs->lock);
	sessions_detach_locked(p);
	for (struct inode *i = p->inodes; i; i = i->next)
		i->unlinked = true;
	pthread_mutex_unlock(&fs->lock);
}

/* --- unlink -------------------------------------------------------------------------------------------------------- */

static int unlink_held(fuse_req_t req, const struct hold *h)
{
	struct fs *fs = fs_of(req);
	struct ledger_edit e = {.op = LEDGER_DELETE};
	struct local *l = local_at(fs, h->place);
	bool unsaved;
	int r;

	if (l && l->type != LOCAL_GONE) {
		local_unlink(fs, l);
		local_unref(fs, l);
		return 0;
	}
	pthread_mutex_lock(&fs->lock);
	unsaved = sessions_creating_locked(h->place);
	pthread_mutex_unlock(&fs->lock);
	r = l ? LEDGER_ENOTFOUND : change_held(req, h, &e);
	/* A file that was never saved is just given up. */
	if (r == LEDGER_ENOTFOUND && unsaved)
		r = 0;
	if (!r)
		forget_name(fs, h->place);
	local_unref(fs, l);
	return r;
}

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs *fs = fs_of(req);
	struct inode *dir = inode_of(fs, parent);
	struct hold h;
	int r;

	if (dir->type == INODE_CONTROL) {
		reply_error(req, control_unlink(fs, dir, name, fuse_req_ctx(req)->uid));
		return;
	}
	r = hold_child(req, dir, name, &h);
	if (!r) {
		r = unlink_held(req, &h);
		hold_end(fs, &h);
	}
	reply_error(req, r);
}

/* --- directories and namespaces -------------------------------------------------------------------------------------- */

/* The namespace that `name` in the root or a prefix means; free() it.  NULL: out of memory. */
static char *namespace_name(struct fs *fs, struct inode *dir, const char *name)
{
	char *prefix, *ns;

	if (place_name(fs, dir->place, NULL, &prefix))
		return NULL;
	ns = path_join(prefix, name);
	free(prefix);
	return ns;
}

static int mkdir_namespace(fuse_req_t req, struct inode *dir, const char *name, struct inode **out)
{
	struct fs *fs = fs_of(req);
	struct ledger_actor a;
	struct place *p = NULL;
	struct who w;
	char *ns;
	int r;

	if (fs->readonly)
		return LEDGER_EROFS;
	if (strcmp(name, CONTROL_NAME) == 0)
		return LEDGER_EFORBIDDEN;
	ns = namespace_name(fs, dir, name);
	if (!ns)
		return LEDGER_ENOMEM;
	who_from_req(&w, req);
	who_look(&w, NULL);
	a = (struct ledger_actor){.comm = w.comm, .pid = w.pid, .uid = w.uid};
	r = ledger_ns_check(ns);
	if (!r)
		r = ledger_ns_create(fs->ledger, ns, &a, NULL);
	if (!r) {
		p = place_get(fs, ns, "");
		*out = p ? inode_dir(fs, p, INODE_DIR) : NULL;
		place_unref(fs, p);
		r = *out ? 0 : LEDGER_ENOMEM;
	}
	free(ns);
	return r;
}

static int mkdir_scratch(fuse_req_t req, struct place *p)
{
	struct fs *fs = fs_of(req);
	struct local *l;
	struct who w;

	who_from_req(&w, req);
	l = local_new_dir(fs, p, &w);
	local_unref(fs, l);
	return l ? 0 : LEDGER_ENOMEM;
}

static int mkdir_in(fuse_req_t req, struct inode *dir, const char *name, struct inode **out)
{
	struct fs *fs = fs_of(req);
	struct ledger_edit e = {.op = LEDGER_MKDIR};
	struct ledger_entry there;
	struct local *l;
	struct hold h;
	int r = hold_child(req, dir, name, &h);

	if (r)
		return r;
	l = local_at(fs, h.place);
	if (l && l->type == LOCAL_GONE)
		r = local_settle_held(fs, l, &h);
	else if (l)
		r = LEDGER_EEXISTS;
	if (!r && local_class(fs, h.ns, h.path) == NAME_SCRATCH && fs_resolve(fs, h.place, NULL, &there) != 0)
		r = mkdir_scratch(req, h.place);
	else if (!r)
		r = change_held(req, &h, &e);
	local_unref(fs, l);
	if (!r) {
		*out = inode_dir(fs, h.place, INODE_DIR);
		r = *out ? 0 : LEDGER_ENOMEM;
	}
	hold_end(fs, &h);
	return r;
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct inode *dir = inode_of(fs_of(req), parent), *new = NULL;
	int r;

	if (holds_namespaces(dir))
		r = mkdir_namespace(req, dir, name, &new);
	else
		r = mkdir_in(req, dir, name, &new);
	if (r)
		reply_error(req, r);
	else
		reply_entry(req, new);
}

static int rmdir_namespace(fuse_req_t req, struct inode *dir, const char *name)
{
	struct fs *fs = fs_of(req);
	struct who w;
	char *ns;
	int r;

	if (fs->readonly)
		return LEDGER_EROFS;
	ns = namespace_name(fs, dir, name);
	if (!ns)
		return LEDGER_ENOMEM;
	who_from_req(&w, req);
	r = local_settle_below(fs, ns, "");
	if (!r && local_any_below(fs, ns, ""))
		r = LEDGER_ENOTEMPTY;
	if (!r) {
		r = fs_change_ns(fs, &w, ns, NULL);
	}
	if ((r == LEDGER_ENOTFOUND || r == LEDGER_EEXISTS) && fs_prefix_exists(fs, ns))
		r = LEDGER_ENOTEMPTY;
	free(ns);
	return r;
}

static int rmdir_in(fuse_req_t req, struct inode *dir, const char *name)
{
	struct fs *fs = fs_of(req);
	struct ledger_edit e = {.op = LEDGER_RMDIR};
	struct place *p;
	struct hold h;
	char *ns = NULL, *path = NULL;
	int r;

	if (fs->readonly)
		return LEDGER_EROFS;
	r = child_place(fs, dir, name, &p);
	if (r)
		return r;
	r = LEDGER_ENOMEM;
	if (place_name(fs, p, &ns, &path) == 0)
		r = local_settle_below(fs, ns, path);
	if (!r && local_any_below(fs, ns, path))
		r = LEDGER_ENOTEMPTY;
	free(ns);
	free(path);
	if (!r)
		r = hold_begin(fs, p, true, &h);
	if (!r) {
		struct local *l = local_at(fs, h.place);

		if (l && local_is_dir(fs, h.place))
			local_unlink(fs, l);
		else
			r = change_held(req, &h, &e);
		local_unref(fs, l);
		if (!r)
			forget_name(fs, h.place);
		hold_end(fs, &h);
	}
	place_unref(fs, p);
	return r;
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct inode *dir = inode_of(fs_of(req), parent);

	if (dir->type == INODE_CONTROL || strcmp(name, CONTROL_NAME) == 0)
		fuse_reply_err(req, EPERM);
	else
		reply_error(req, holds_namespaces(dir) ? rmdir_namespace(req, dir, name) : rmdir_in(req, dir, name));
}

/* --- new entries that are whole at once ------------------------------------------------------------------------------ */

/* The same for a name that is only passing by: emacs locks a file with a symbolic link `.#name`. */
static int make_local(fuse_req_t req, const struct hold *h, enum ledger_kind kind, const char *bytes, struct inode **out)
{
	struct fs *fs = fs_of(req);
	bool scratch = local_class(fs, h->ns, h->path) == NAME_SCRATCH;
	struct local *l;
	struct who w;
	int r;

	who_from_req(&w, req);
	l = local_new(fs, h->place, scratch ? LOCAL_SCRATCH : LOCAL_PASSING, &w);
	if (!l)
		return LEDGER_ENOMEM;
	local_set(l, &kind, NULL);
	r = local_pwrite(fs, l, bytes, strlen(bytes), 0, false, 0);
	if (!r) {
		local_reclass(fs, l, scratch ? LOCAL_SCRATCH : LOCAL_PASSING);
		*out = local_inode(fs, l);
		r = *out ? 0 : LEDGER_ENOMEM;
	}
	if (r)
		local_unlink(fs, l);
	local_unref(fs, l);
	return r;
}

/* Commits a new entry of `kind` with these bytes and looks it up. */
static int make_entry(fuse_req_t req, struct inode *dir, const char *name, enum ledger_kind kind, const char *bytes,
		      struct inode **out)
{
	struct fs *fs = fs_of(req);
	struct ledger_edit e = {.op = LEDGER_SET, .kind = kind, .base_rule = LEDGER_BASE_ABSENT};
	struct ledger_entry there;
	struct ledger_tip tip;
	struct local *l;
	struct hold h;
	bool unsaved;
	int r;

	r = hold_child(req, dir, name, &h);
	if (r)
		return r;
	l = local_at(fs, h.place);
	pthread_mutex_lock(&fs->lock);
	unsaved = sessions_creating_locked(h.place);
	pthread_mutex_unlock(&fs->lock);
	if (l && l->type == LOCAL_GONE)
		r = local_settle_held(fs, l, &h);
	else if (l || unsaved)
		r = LEDGER_EEXISTS;
	local_unref(fs, l);
	if (!r && fs_resolve(fs, h.place, NULL, &there) == 0)
		r = LEDGER_EEXISTS;
	if (!r && local_class(fs, h.ns, h.path) != NAME_KEY) {
		r = make_local(req, &h, kind, bytes, out);
		hold_end(fs, &h);
		return r;
	}
	if (!r)
		r = ledger_value_new(fs->ledger, bytes, strlen(bytes), &e.value);
	if (!r)
		r = change_held(req, &h, &e);
	ledger_value_unref(e.value);
	if (!r)
		r = fs_resolve(fs, h.place, &tip, &there);
	if (!r)
		r = inode_version(fs, h.place, &tip, &there, 0, out);
	hold_end(fs, &h);
	return r;
}

void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct inode *new;
	int r = make_entry(req, inode_of(fs_of(req), parent), name, LEDGER_LINK, target, &new);

	if (r)
		reply_error(req, r);
	else
		reply_entry(req, new);
}

void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	struct inode *new;
	int r;

	if (!S_ISREG(mode)) {
		fuse_reply_err(req, EPERM);
		return;
	}
	r = make_entry(req, inode_of(fs_of(req), parent), name, mode & 0111 ? LEDGER_EXEC : LEDGER_FILE, "", &new);
	if (r)
		reply_error(req, r);
	else
		reply_entry(req, new);
}

void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	fuse_reply_err(req, EPERM);
}
