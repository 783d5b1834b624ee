/* SPDX-License-Identifier: MIT */
/*
 * RENAME: how most editors and tools put a value in its place.  One commit, named after the key (SPEC 5.3, 5.4):
 *
 *   from	  to			what it is
 *   ----------	  --------------------	------------------------------------------------------------------
 *   key	  name			a rename commit
 *   key	  new scratch name	a backup: the key is hidden, and deleted after a while (local.h)
 *   local file	  key, new name		a save of the key with the file's bytes
 *   local file	  new temporary name	nothing: the file has another name
 *   unsaved file name			a save under the new name
 *   directory	  name			a rename commit; what is live below goes along
 *   namespace	  name			the ref is renamed
 */
#include "carry.h"
#include "local.h"
#include "ops.h"
#include "session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE 2
#endif

/* Both ends, held, and what is there. */
struct ends {
	struct hold from, to;
	struct ledger_entry e_from, e_to;
	int r_from, r_to;            /* of looking them up: 0 or a ledger error */
	struct local *l_from, *l_to; /* referenced */
	enum name_class to_class;
	struct who who;
	unsigned flags;
};

static void move_locks(struct fs *fs, const char *ns, const char *path, const char *to_ns, const char *to_path)
{
	char *a = path_join(ns, path), *b = path_join(to_ns, to_path);

	if (a && b)
		locks_rename(fs->locks, a, b);
	free(a);
	free(b);
}

/* The live things of the one end are now at the other; times go along, as rename(2) keeps them. */
static int moved(struct fs *fs, struct ends *x, const struct ledger_oid *blob, const struct timespec *mtime)
{
	int r;

	if (mtime)
		times_set(fs, x->to.ns, x->to.path, blob, mtime);
	r = place_move(fs, x->from.place, x->to.place);
	move_locks(fs, x->from.ns, x->from.path, x->to.ns, x->to.path);
	return r ? LEDGER_ENOMEM : 0;
}

static int rename_commit(struct fs *fs, struct ends *x, enum ledger_op op)
{
	struct ledger_edit e = {.op = op, .path = x->from.path, .to = x->to.path};

	if (x->flags & RENAME_NOREPLACE)
		e.flags = LEDGER_NOREPLACE;
	carry_note(fs, x->from.ns, x->from.path);
	if (op == LEDGER_EXCHANGE)
		carry_note(fs, x->to.ns, x->to.path);
	return fs_change(fs, &x->who, x->from.ns, x->from.path, x->to.path, &e, 1, NULL);
}

/* A committed key to another name. */
static int rename_key(struct fs *fs, struct ends *x)
{
	struct timespec mtime;
	bool known = false;
	int r;

	if (x->l_to && x->l_to->type != LOCAL_GONE && (x->flags & RENAME_NOREPLACE))
		return LEDGER_EEXISTS;
	pthread_mutex_lock(&fs->lock);
	for (struct inode *i = x->from.place->inodes; i; i = i->next) {
		if (i->type == INODE_VERSION && !i->superseded && ledger_oid_eq(&i->blob, &x->e_from.oid)) {
			mtime = i->mtime;
			known = true;
		}
	}
	pthread_mutex_unlock(&fs->lock);
	r = rename_commit(fs, x, LEDGER_RENAME);
	if (r)
		return r;
	if (x->l_to)
		local_unlink(fs, x->l_to);
	return moved(fs, x, &x->e_from.oid, known ? &mtime : NULL);
}

/* A key to a scratch name: the old value is kept beside, the key itself may be about to get a new one. */
static int rename_to_backup(struct fs *fs, struct ends *x)
{
	struct ledger_value *v = NULL;
	struct local *backup = NULL, *gone;
	int r;

	r = fs_change_check(fs, &x->who, x->from.ns, x->from.path);
	if (!r)
		r = named_object(ledger_value_get(fs->ledger, &x->e_from.oid, &v));
	if (r)
		return r;
	if (x->l_to)
		local_unlink(fs, x->l_to);
	backup = local_new(fs, x->to.place, LOCAL_SCRATCH, &x->who);
	r = backup ? local_load(backup, v) : LEDGER_ENOMEM;
	ledger_value_unref(v);
	gone = r ? NULL : local_new(fs, x->from.place, LOCAL_GONE, &x->who);
	if (gone) {
		local_set(backup, &x->e_from.kind, NULL);
		gone->blob = x->e_from.oid;
		inode_supersede(fs, x->from.place);
		local_reclass(fs, gone, LOCAL_GONE);
	} else if (backup) {
		local_unlink(fs, backup);
		r = r ? r : LEDGER_ENOMEM;
	}
	local_unref(fs, gone);
	local_unref(fs, backup);
	return r;
}

/* A local file becomes the key's new value. */
static int rename_local_to_key(struct fs *fs, struct ends *x)
{
	struct ledger_edit e = {.op = LEDGER_SET, .path = x->to.path};
	struct ledger_result res;
	struct timespec mtime;
	int r;

	r = local_value(fs, x->l_from, &e.value, &e.kind);
	if (!r)
		r = fs_change(fs, &x->who, x->to.ns, x->to.path, NULL, &e, 1, &res);
	ledger_value_unref(e.value);
	if (r)
		return r;
	pthread_mutex_lock(&x->l_from->lock);
	x->l_from->blob = res.blob;
	x->l_from->late = true;
	mtime = x->l_from->mtime;
	pthread_mutex_unlock(&x->l_from->lock);
	local_drop_name(fs, x->l_from);
	if (x->l_to)
		local_unlink(fs, x->l_to);
	return moved(fs, x, &res.blob, &mtime);
}

static int rename_local(struct fs *fs, struct ends *x)
{
	bool there = (x->l_to && x->l_to->type != LOCAL_GONE) || (!x->l_to && x->r_to == 0);

	if ((x->flags & RENAME_NOREPLACE) && there)
		return LEDGER_EEXISTS;
	if (x->to_class == NAME_KEY || x->r_to == 0)
		return rename_local_to_key(fs, x);
	if (x->l_to)
		local_unlink(fs, x->l_to);
	if (place_move(fs, x->from.place, x->to.place))
		return LEDGER_ENOMEM;
	local_reclass(fs, x->l_from, x->to_class == NAME_SCRATCH ? LOCAL_SCRATCH : LOCAL_PASSING);
	move_locks(fs, x->from.ns, x->from.path, x->to.ns, x->to.path);
	return 0;
}

/* A new file that is still being written: saved as it is, under the new name; its handle goes on from there. */
static int rename_unsaved(struct fs *fs, struct ends *x)
{
	struct session *s = NULL;
	struct inode *priv = NULL;
	int r;

	pthread_mutex_lock(&fs->lock);
	for (s = x->from.place->sessions; s; s = s->next) {
		if (atomic_load(&s->created) && !atomic_load(&s->detached))
			break;
	}
	if (s) {
		priv = s->priv;
		inode_ref_locked(priv);
	}
	pthread_mutex_unlock(&fs->lock);
	if (!s)
		return LEDGER_ENOTFOUND;
	r = session_save_as(s, &x->who, &x->to);
	if (!r)
		r = moved(fs, x, NULL, NULL);
	inode_unref(fs, priv);
	return r;
}

static int rename_held(struct fs *fs, struct ends *x)
{
	bool from_gone = x->l_from && x->l_from->type == LOCAL_GONE;

	if (local_is_dir(fs, x->to.place))
		return LEDGER_EISDIR;
	if (local_is_dir(fs, x->from.place))
		return -EXDEV; /* mv copies: a scratch directory is no tree that could be committed */

	if (x->l_from && !from_gone)
		return rename_local(fs, x);
	if (from_gone || x->r_from == LEDGER_ENOTFOUND)
		return from_gone ? LEDGER_ENOTFOUND : rename_unsaved(fs, x);
	if (x->r_from)
		return x->r_from;
	if (x->to_class == NAME_SCRATCH && x->r_to == LEDGER_ENOTFOUND)
		return rename_to_backup(fs, x);
	return rename_key(fs, x);
}

static int rename_file(fuse_req_t req, struct place *from, struct place *to, unsigned flags)
{
	struct fs *fs = fs_of(req);
	struct ends x = {.flags = flags};
	int r = hold_two(fs, from, to, &x.from, &x.to);

	if (r)
		return r;
	who_from_req(&x.who, req);
	x.to_class = local_class(fs, x.to.ns, x.to.path);
	x.l_from = local_at(fs, from);
	x.l_to = local_at(fs, to);
	x.r_from = fs_resolve(fs, from, NULL, &x.e_from);
	x.r_to = fs_resolve(fs, to, NULL, &x.e_to);
	r = rename_held(fs, &x);
	local_unref(fs, x.l_from);
	local_unref(fs, x.l_to);
	hold_end(fs, &x.to);
	hold_end(fs, &x.from);
	return r;
}

/* Directories, and every exchange: nothing else in the namespace moves meanwhile. */
static int rename_tree(fuse_req_t req, struct place *from, struct place *to, unsigned flags)
{
	static const char between[] = "/"; /* no path in a namespace begins so */
	struct fs *fs = fs_of(req);
	struct ends x = {.flags = flags};
	char *ns = NULL, *a = NULL, *b = NULL;
	int r = LEDGER_ENOMEM;

	if (place_name(fs, from, &ns, &a) || place_name(fs, to, NULL, &b))
		goto out;
	r = local_settle_below(fs, ns, a);
	if (!r)
		r = local_settle_below(fs, ns, b);
	if (!r && !(flags & RENAME_EXCHANGE) && local_any_below(fs, ns, b))
		r = LEDGER_ENOTEMPTY;
	if (r)
		goto out;
	who_from_req(&x.who, req);
	x.from = (struct hold){.ns = ns, .path = a};
	x.to = (struct hold){.ns = ns, .path = b};
	pthread_rwlock_wrlock(fs_dirs(fs, ns));
	r = rename_commit(fs, &x, flags & RENAME_EXCHANGE ? LEDGER_EXCHANGE : LEDGER_RENAME);
	if (!r && (flags & RENAME_EXCHANGE)) {
		r = place_move_tree(fs, ns, b, ns, between);
		place_move_tree(fs, ns, a, ns, b);
		place_move_tree(fs, ns, between, ns, a);
	} else if (!r) {
		r = place_move_tree(fs, ns, a, ns, b);
		move_locks(fs, ns, a, ns, b);
	}
	pthread_rwlock_unlock(fs_dirs(fs, ns));
out:
	free(ns);
	free(a);
	free(b);
	return r;
}

static int rename_in(fuse_req_t req, struct inode *dir, const char *name, struct inode *to_dir, const char *to_name,
		     unsigned flags)
{
	struct fs *fs = fs_of(req);
	struct place *from = NULL, *to = NULL;
	struct ledger_entry e;
	bool tree, same_ns;
	int r = child_place(fs, dir, name, &from);

	if (!r)
		r = child_place(fs, to_dir, to_name, &to);
	if (r)
		goto out;
	pthread_mutex_lock(&fs->lock);
	same_ns = strcmp(from->ns, to->ns) == 0;
	pthread_mutex_unlock(&fs->lock);
	tree = (flags & RENAME_EXCHANGE) || (fs_resolve(fs, from, NULL, &e) == 0 && e.kind == LEDGER_DIR);
	if (!same_ns)
		r = -EXDEV;
	else if (from == to)
		r = 0;
	else if (tree)
		r = rename_tree(req, from, to, flags);
	else
		r = rename_file(req, from, to, flags);
out:
	place_unref(fs, from);
	place_unref(fs, to);
	return r == -EXDEV ? EXDEV : ledger_errno(r);
}

/* --- namespaces -------------------------------------------------------------------------------------------------------- */

/* Both namespaces stand still: their locks, for writing, in one order. */
static void lock_two_ns(struct fs *fs, const char *a, const char *b, bool lock)
{
	pthread_rwlock_t *x = fs_dirs(fs, a), *y = fs_dirs(fs, b), *first = x < y ? x : y, *second = x < y ? y : x;

	if (lock) {
		pthread_rwlock_wrlock(first);
		if (first != second)
			pthread_rwlock_wrlock(second);
	} else {
		if (first != second)
			pthread_rwlock_unlock(second);
		pthread_rwlock_unlock(first);
	}
}

static int rename_ns_locked(fuse_req_t req, const char *ns, const char *to)
{
	struct fs *fs = fs_of(req);
	struct who w;
	int r;

	who_from_req(&w, req);
	r = fs_change_ns(fs, &w, ns, to);
	if (r)
		return r;
	holders_ns_renamed(fs->holders, ns, to);
	outcomes_ns_renamed(fs->outcomes, ns, to);
	locks_rename(fs->locks, ns, to);
	return place_move_tree(fs, ns, "", to, "") ? LEDGER_ENOMEM : 0;
}

static int rename_namespace(fuse_req_t req, struct inode *dir, const char *name, struct inode *to_dir, const char *to_name,
			    unsigned flags)
{
	struct fs *fs = fs_of(req);
	char *prefix = NULL, *to_prefix = NULL, *ns = NULL, *to = NULL;
	int r = LEDGER_ENOMEM;

	if (flags & RENAME_EXCHANGE)
		return EINVAL;
	if (place_name(fs, dir->place, NULL, &prefix) == 0 && place_name(fs, to_dir->place, NULL, &to_prefix) == 0 &&
	    (ns = path_join(prefix, name)) && (to = path_join(to_prefix, to_name)))
		r = ledger_ns_check(to);
	if (!r && strcmp(ns, to) != 0) {
		struct ledger_tip tip;

		r = ledger_tip(fs->ledger, ns, &tip);
		if (r == LEDGER_ENOTFOUND && fs_prefix_exists(fs, ns))
			r = LEDGER_EFORBIDDEN; /* a directory of namespaces is no ref */
		if (!r)
			r = local_settle_below(fs, ns, "");
		if (!r) {
			lock_two_ns(fs, ns, to, true);
			r = rename_ns_locked(req, ns, to);
			lock_two_ns(fs, ns, to, false);
		}
	}
	free(prefix);
	free(to_prefix);
	free(ns);
	free(to);
	return ledger_errno(r);
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to_parent, const char *to_name,
	       unsigned flags)
{
	struct fs *fs = fs_of(req);
	struct inode *dir = inode_of(fs, parent), *to_dir = inode_of(fs, to_parent);
	int err;

	if (fs->readonly)
		err = EROFS;
	else if (flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE))
		err = EINVAL;
	else if (dir->type == INODE_CONTROL || to_dir->type == INODE_CONTROL)
		err = EPERM;
	else if (holds_namespaces(dir) && holds_namespaces(to_dir))
		err = rename_namespace(req, dir, name, to_dir, to_name, flags);
	else if (holds_namespaces(dir) || holds_namespaces(to_dir))
		err = EXDEV;
	else
		err = rename_in(req, dir, name, to_dir, to_name, flags);
	fuse_reply_err(req, err);
}
