/* SPDX-License-Identifier: MIT */
/*
 * Reading directories.  An open directory keeps the tree that was there at the last rewind: what it lists is one state of
 * the namespace.  Offsets: 1 and 2 for the dots, then the entries of the tree, then the names that only the mount has.
 */
#include "control.h"
#include "local.h"
#include "ops.h"

#include <errno.h>
#include <stdlib.h>

struct name {
	char *name;
	uint64_t ino;
	mode_t type;
};

struct dir {
	struct dir *next, **link; /* fs.opendirs; fs.lock */
	pthread_mutex_t lock;
	struct ledger_tree *tree; /* lock; NULL: none */
	char *ns, *path;          /* lock; of the tree */
	struct name *names;       /* lock; what is not in the tree */
	size_t nnames, cap;
	bool failed; /* lock; out of memory */
};

static void dir_clear(struct dir *d)
{
	ledger_tree_unref(d->tree);
	d->tree = NULL;
	for (size_t i = 0; i < d->nnames; i++)
		free(d->names[i].name);
	d->nnames = 0;
	free(d->ns);
	free(d->path);
	d->ns = d->path = NULL;
	d->failed = false;
}

static void add_name(struct dir *d, const char *name, uint64_t ino, mode_t type)
{
	struct name *p = d->names;

	if (d->nnames == d->cap) {
		size_t cap = d->cap ? d->cap * 2 : 16;

		p = realloc(d->names, cap * sizeof(*p));
		if (!p) {
			d->failed = true;
			return;
		}
		d->names = p;
		d->cap = cap;
	}
	p[d->nnames] = (struct name){strdup(name), ino, type};
	if (!p[d->nnames].name)
		d->failed = true;
	else
		d->nnames++;
}

/* --- the root and prefixes ------------------------------------------------------------------------------------------- */

struct namespaces {
	struct dir *dir;
	const char *prefix;
	size_t len;
};

static int add_namespace(void *arg, const char *ns)
{
	struct namespaces *n = arg;
	struct dir *d = n->dir;
	const char *rest = ns + n->len, *slash;
	char *name;

	if (strncmp(ns, n->prefix, n->len) != 0 || (n->len && *rest++ != '/') || ledger_ns_check(ns))
		return 0;
	slash = strchr(rest, '/');
	name = slash ? strndup(rest, (size_t)(slash - rest)) : strdup(rest);
	if (!name) {
		d->failed = true;
		return 0;
	}
	/* In byte order one prefix's namespaces come in a row, but `a-b` may stand between `a` and `a/b`. */
	for (size_t i = d->nnames; i-- > 0;) {
		if (strcmp(d->names[i].name, name) == 0) {
			free(name);
			return 0;
		}
		if (strncmp(d->names[i].name, name, 1) != 0)
			break;
	}
	add_name(d, name, place_ino(slash ? NULL : ns, slash ? name : "", NULL), S_IFDIR);
	free(name);
	return 0;
}

static int load_namespaces(struct fs *fs, struct inode *i, struct dir *d)
{
	struct namespaces n = {.dir = d};
	char *prefix;
	int r;

	if (place_name(fs, i->place, NULL, &prefix))
		return LEDGER_ENOMEM;
	n.prefix = prefix;
	n.len = strlen(prefix);
	r = ledger_ns_each(fs->ledger, add_namespace, &n);
	free(prefix);
	return r < 0 ? r : 0;
}

/* --- directories of a namespace --------------------------------------------------------------------------------------- */

/* The name of a local file that lies directly in `dir`, else NULL. */
static const char *direct_child(const char *dir, const char *path)
{
	size_t n = strlen(dir);

	if (n && (strncmp(path, dir, n) != 0 || path[n] != '/'))
		return NULL;
	path += n ? n + 1 : 0;
	return *path && !strchr(path, '/') ? path : NULL;
}

static void add_locals(struct fs *fs, struct dir *d)
{
	pthread_mutex_lock(&fs->lock);
	for (struct local *l = fs->locals; l; l = l->next) {
		const char *name;

		if (!l->linked || l->type == LOCAL_GONE || strcmp(l->place->ns, d->ns) != 0)
			continue;
		name = direct_child(d->path, l->place->path);
		if (name)
			add_name(d, name, l->ino, l->dir ? S_IFDIR : l->kind == LEDGER_LINK ? S_IFLNK : S_IFREG);
	}
	pthread_mutex_unlock(&fs->lock);
}

static int load_tree(struct fs *fs, struct inode *i, struct dir *d)
{
	struct ledger_tip tip;
	struct ledger_entry e;
	int r;

	if (place_name(fs, i->place, &d->ns, &d->path))
		return LEDGER_ENOMEM;
	r = ledger_tip(fs->ledger, d->ns, &tip);
	if (!r)
		r = ledger_lookup(fs->ledger, &tip.tree, d->path, &e);
	if (!r && e.kind != LEDGER_DIR)
		r = LEDGER_ENOTDIR;
	if (!r)
		r = named_object(ledger_tree_get(fs->ledger, &e.oid, &d->tree));
	if (!r || r == LEDGER_ENOTFOUND)
		add_locals(fs, d);
	/* A directory that was removed under its reader is empty. */
	return r == LEDGER_ENOTFOUND || r == LEDGER_ENOTDIR ? 0 : r;
}

static void add_control(void *arg, const char *name, bool is_dir)
{
	add_name(arg, name, 1ULL << 61, is_dir ? S_IFDIR : S_IFREG);
}

static int dir_load(struct fs *fs, struct inode *i, struct dir *d)
{
	int r = 0;

	dir_clear(d);
	if (i->type == INODE_CONTROL)
		control_each(fs, i, add_control, d);
	else if (i->type == INODE_DIR)
		r = load_tree(fs, i, d);
	else
		r = load_namespaces(fs, i, d);
	return r ? r : d->failed ? LEDGER_ENOMEM : 0;
}

/* --- operations ------------------------------------------------------------------------------------------------------- */

static void dir_free(struct fs *fs, struct dir *d)
{
	pthread_mutex_lock(&fs->lock);
	*d->link = d->next;
	if (d->next)
		d->next->link = d->link;
	pthread_mutex_unlock(&fs->lock);
	dir_clear(d);
	free(d->names);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

void dirs_free(struct fs *fs)
{
	while (fs->opendirs)
		dir_free(fs, fs->opendirs);
}

void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct dir *d = calloc(1, sizeof(*d));

	if (!d) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	pthread_mutex_init(&d->lock, NULL);
	pthread_mutex_lock(&fs->lock);
	d->next = fs->opendirs;
	d->link = &fs->opendirs;
	if (d->next)
		d->next->link = &d->next;
	fs->opendirs = d;
	pthread_mutex_unlock(&fs->lock);
	fi->fh = (uintptr_t)d;
	if (fuse_reply_open(req, fi) == -ENOENT)
		dir_free(fs, d);
}

void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct dir *d = (struct dir *)(uintptr_t)fi->fh;

	locks_on_release(fs_of(req), inode_of(fs_of(req), ino), fi->fh);
	dir_free(fs_of(req), d);
	fuse_reply_err(req, 0);
}

/* Is the tree's entry to be left out, because something local hides it or stands for it? */
static bool hidden(struct fs *fs, struct dir *d, const char *path)
{
	struct place *p;
	bool yes;

	if (!*d->path && strcmp(path, CONTROL_NAME) == 0)
		return true;
	pthread_mutex_lock(&fs->lock);
	p = fs->locals ? place_find_locked(fs, d->ns, path) : NULL;
	yes = p && p->local;
	pthread_mutex_unlock(&fs->lock);
	return yes;
}

static mode_t kind_type(enum ledger_kind kind)
{
	return kind == LEDGER_DIR ? S_IFDIR : kind == LEDGER_LINK ? S_IFLNK : S_IFREG;
}

/* Entry `n` (from 0: behind the dots) into `buf`.  Bytes used, 0: left out, more than `size`: no room; -1: out of memory. */
static ssize_t emit(fuse_req_t req, struct dir *d, size_t n, char *buf, size_t size)
{
	size_t ntree = d->tree ? ledger_tree_count(d->tree) : 0;
	struct stat st = {0};
	struct ledger_entry e;
	ssize_t used = 0;
	char *path;

	if (n >= ntree) {
		st.st_ino = d->names[n - ntree].ino;
		st.st_mode = d->names[n - ntree].type;
		return (ssize_t)fuse_add_direntry(req, buf, size, d->names[n - ntree].name, &st, (off_t)n + 3);
	}
	ledger_tree_at(d->tree, n, &e);
	path = path_join(d->path, e.name);
	if (!path)
		return -1;
	if (!hidden(fs_of(req), d, path)) {
		st.st_ino = place_ino(d->ns, path, e.kind == LEDGER_DIR ? NULL : &e.oid);
		st.st_mode = kind_type(e.kind);
		used = (ssize_t)fuse_add_direntry(req, buf, size, e.name, &st, (off_t)n + 3);
	}
	free(path);
	return used;
}

static ssize_t emit_dot(fuse_req_t req, fuse_ino_t ino, int n, char *buf, size_t size)
{
	struct stat st = {.st_ino = inode_of(fs_of(req), ino)->ino, .st_mode = S_IFDIR};

	return (ssize_t)fuse_add_direntry(req, buf, size, n ? ".." : ".", &st, n + 1);
}

static int fill(fuse_req_t req, fuse_ino_t ino, struct dir *d, char *buf, size_t size, off_t off, size_t *used)
{
	size_t total = 2 + (d->tree ? ledger_tree_count(d->tree) : 0) + d->nnames;

	*used = 0;
	for (size_t n = (size_t)off; n < total; n++) {
		ssize_t k = n < 2 ? emit_dot(req, ino, (int)n, buf + *used, size - *used)
				  : emit(req, d, n - 2, buf + *used, size - *used);

		if (k < 0)
			return LEDGER_ENOMEM;
		if ((size_t)k > size - *used)
			break;
		*used += (size_t)k;
	}
	return 0;
}

void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct dir *d = (struct dir *)(uintptr_t)fi->fh;
	char *buf = malloc(size);
	size_t used = 0;
	int r = 0;

	if (!buf) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	pthread_mutex_lock(&d->lock);
	if (off == 0)
		r = dir_load(fs, inode_of(fs, ino), d);
	if (!r)
		r = fill(req, ino, d, buf, size, off, &used);
	pthread_mutex_unlock(&d->lock);
	if (r)
		reply_error(req, r);
	else
		fuse_reply_buf(req, buf, used);
	free(buf);
}

void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	fuse_reply_err(req, 0); /* every change of a name was durable when it returned */
}
