/* SPDX-License-Identifier: MIT */
/* LOOKUP and what only looks: attributes, link targets, space. */
#include "control.h"
#include "journal.h"
#include "local.h"
#include "ops.h"
#include "session.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/statvfs.h>

int fill_entry(struct fs *fs, struct inode *i, struct fuse_entry_param *e)
{
	memset(e, 0, sizeof(*e));
	e->ino = inode_id(fs, i);
	e->attr_timeout = inode_attr_timeout(i);
	/* No entry is cached: every open looks at the ref again (SPEC 4, close-to-open). */
	e->entry_timeout = 0;
	return inode_stat(fs, i, &e->attr);
}

void reply_entry(fuse_req_t req, struct inode *i)
{
	struct fs *fs = fs_of(req);
	struct fuse_entry_param e;
	int r = fill_entry(fs, i, &e);

	if (r) {
		inode_forget(fs, i, 1);
		reply_error(req, r);
	} else if (fuse_reply_entry(req, &e) == -ENOENT) {
		inode_forget(fs, i, 1); /* the request was interrupted: the kernel will never forget it */
	}
}

int child_place(struct fs *fs, struct inode *dir, const char *name, struct place **out)
{
	char *ns = NULL, *path = NULL, *child = NULL;
	int r;

	if (dir->type == INODE_ROOT || dir->type == INODE_PREFIX || dir->type == INODE_CONTROL)
		return LEDGER_EFORBIDDEN;
	if (dir->type != INODE_DIR)
		return LEDGER_ENOTDIR;
	r = ledger_name_check(name, strlen(name));
	if (!r && inode_is_unlinked(fs, dir))
		r = LEDGER_ENOTFOUND; /* removed under its user; another may have its name by now */
	if (r)
		return r;
	if (place_name(fs, dir->place, &ns, &path))
		return LEDGER_ENOMEM;
	if (!*path && strcmp(name, CONTROL_NAME) == 0) {
		r = LEDGER_EFORBIDDEN;
	} else {
		child = path_join(path, name);
		*out = child ? place_get(fs, ns, child) : NULL;
		r = *out ? 0 : LEDGER_ENOMEM;
	}
	free(ns);
	free(path);
	free(child);
	return r;
}

/* In the root or a prefix: a namespace, or a directory of them. */
static int lookup_namespace(struct fs *fs, struct inode *dir, const char *name, struct inode **out)
{
	struct ledger_tip tip;
	struct place *p = NULL;
	enum inode_type type = INODE_DIR;
	char *prefix = NULL, *ns = NULL;
	int r = LEDGER_ENOMEM;

	if (place_name(fs, dir->place, NULL, &prefix) || !(ns = path_join(prefix, name)))
		goto out;
	r = ledger_ns_check(ns);
	if (!r)
		r = ledger_tip(fs->ledger, ns, &tip);
	if (r == LEDGER_ENOTFOUND && fs_prefix_exists(fs, ns)) {
		type = INODE_PREFIX;
		r = 0;
	} else if (r == LEDGER_EINVALID || r == LEDGER_EFORBIDDEN || r == LEDGER_ECORRUPT) {
		r = LEDGER_ENOTFOUND; /* no such namespace can be shown */
	}
	if (r)
		goto out;
	r = LEDGER_ENOMEM;
	p = type == INODE_DIR ? place_get(fs, ns, "") : place_get(fs, NULL, ns);
	if (p && (*out = inode_dir(fs, p, type)))
		r = 0;
out:
	place_unref(fs, p);
	free(prefix);
	free(ns);
	return r;
}

int lookup_committed(struct fs *fs, struct place *p, pid_t tid, struct inode **out)
{
	struct ledger_tip tip;
	struct ledger_entry e;
	int r = fs_resolve(fs, p, &tip, &e);

	if (r == LEDGER_ENOTDIR)
		r = LEDGER_ENOTFOUND;
	if (r)
		return r;
	*out = tid && e.kind != LEDGER_DIR ? session_own_saved(fs, p, &e, tid) : NULL;
	if (*out) {
		inode_looked_up(fs, *out);
		inode_unref(fs, *out);
		return 0;
	}
	if (e.kind != LEDGER_DIR)
		return inode_version(fs, p, &tip, &e, redirect_expected(fs, p, tid) ? tid : 0, out);
	*out = inode_dir(fs, p, INODE_DIR);
	return *out ? 0 : LEDGER_ENOMEM;
}

/* In a namespace. */
static int lookup_key(struct fs *fs, struct place *p, const char *ns, const char *path, pid_t tid, struct inode **out)
{
	struct local *l;
	int r;

	*out = redirect_take(fs, tid, ns, path);
	if (*out)
		return 0;
	l = local_at(fs, p);
	if (l && l->type != LOCAL_GONE) {
		journal_check(fs, l);
		*out = local_is_dir(fs, p) ? inode_dir(fs, p, INODE_DIR) : local_inode(fs, l);
		local_unref(fs, l);
		return *out ? 0 : LEDGER_ENOMEM;
	}
	r = l ? LEDGER_ENOTFOUND : lookup_committed(fs, p, tid, out);
	local_unref(fs, l);
	if (r == LEDGER_ENOTFOUND) {
		*out = session_own_new(fs, ns, path, tid);
		if (*out) {
			inode_looked_up(fs, *out);
			inode_unref(fs, *out);
			r = 0;
		}
	}
	return r;
}

static int lookup_in_dir(struct fs *fs, struct inode *dir, const char *name, pid_t tid, struct inode **out)
{
	struct place *p = NULL;
	char *ns = NULL, *path = NULL;
	int r = child_place(fs, dir, name, &p);

	if (r == LEDGER_EFORBIDDEN || r == LEDGER_EINVALID)
		return LEDGER_ENOTFOUND;
	if (r)
		return r;
	r = LEDGER_ENOMEM;
	if (place_name(fs, p, &ns, &path) == 0)
		r = lookup_key(fs, p, ns, path, tid, out);
	place_unref(fs, p);
	free(ns);
	free(path);
	return r;
}

static bool is_control_name(struct fs *fs, struct inode *dir, const char *name)
{
	bool at_top;

	if (strcmp(name, CONTROL_NAME) != 0)
		return false;
	if (dir->type == INODE_ROOT)
		return true;
	pthread_mutex_lock(&fs->lock);
	at_top = dir->type == INODE_DIR && !*dir->place->path;
	pthread_mutex_unlock(&fs->lock);
	return at_top;
}

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs *fs = fs_of(req);
	struct inode *dir = inode_of(fs, parent), *found = NULL;
	int r;

	if (is_control_name(fs, dir, name))
		r = control_lookup(fs, NULL, dir->place, name, &found);
	else if (dir->type == INODE_CONTROL)
		r = control_lookup(fs, dir, dir->place, name, &found);
	else if (dir->type == INODE_ROOT || dir->type == INODE_PREFIX)
		r = lookup_namespace(fs, dir, name, &found);
	else
		r = lookup_in_dir(fs, dir, name, fuse_req_ctx(req)->pid, &found);
	if (r)
		reply_error(req, r);
	else
		reply_entry(req, found);
}

void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
	inode_forget(fs_of(req), inode_of(fs_of(req), ino), nlookup);
	fuse_reply_none(req);
}

void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	struct fs *fs = fs_of(req);

	for (size_t i = 0; i < count; i++)
		inode_forget(fs, inode_of(fs, forgets[i].ino), forgets[i].nlookup);
	fuse_reply_none(req);
}

/* Who asks for attributes is told the number that everybody is told. */
static void show_key_ino(struct fs *fs, struct inode *i)
{
	if (i->type != INODE_PRIVATE && (i->type != INODE_VERSION || i->ino == i->key_ino))
		return;
	pthread_mutex_lock(&fs->lock);
	if (i->type == INODE_VERSION)
		i->told = true;
	else
		session_show_base_ino(i->session);
	pthread_mutex_unlock(&fs->lock);
}

void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct inode *i = inode_of(fs, ino);
	double timeout = inode_attr_timeout(i); /* before the look: what may be kept for long is then right */
	struct stat st;
	int r;

	/* A handle comes along when the kernel asks for itself (SEEK_END, O_APPEND), never with fstat(2). */
	if (!fi)
		show_key_ino(fs, i);
	r = inode_stat(fs, i, &st);
	if (r)
		reply_error(req, r);
	else
		fuse_reply_attr(req, &st, timeout);
}

void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct fs *fs = fs_of(req);
	struct inode *i = inode_of(fs, ino);
	struct ledger_value *v = NULL;
	char target[4097];
	ssize_t n = LEDGER_EINVALID;

	if (i->type == INODE_LOCAL) {
		n = local_pread(i->local, target, sizeof(target) - 1, 0);
	} else if (i->type == INODE_VERSION) {
		n = named_object(ledger_value_get(fs->ledger, &i->blob, &v));
		if (!n)
			n = ledger_value_pread(v, target, sizeof(target) - 1, 0);
		ledger_value_unref(v);
	}
	if (n < 0) {
		reply_error(req, (int)n);
		return;
	}
	target[n] = '\0';
	fuse_reply_readlink(req, target);
}

void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs s;

	if (statvfs(ledger_gitdir(fs_of(req)->ledger), &s)) {
		fuse_reply_err(req, errno);
		return;
	}
	s.f_namemax = 255;
	fuse_reply_statfs(req, &s);
}
