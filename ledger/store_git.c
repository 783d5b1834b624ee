/* SPDX-License-Identifier: MIT */
/*
 * The store on libgit2's own writer: loose objects, its ref transactions, its fsync.  Simple and slow (about 70 system
 * calls a commit).
 *
 * libgit2's fsync covers files and the directory that a file stands in; what it leaves out is done in sync_dirs().  It
 * moves refs one by one: when a later one of a group fails, those before it are put back (undo_moves()).
 */
#include "error.h"
#include "hash.h"
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <git2.h>
#include <git2/sys/repository.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct store {
	git_repository *repo;
	git_odb *odb;
	git_refdb *refdb;
	char *gitdir;
	bool nosync;
};

struct locked_ref {
	struct locked_ref *next;
	char *name;
	git_transaction *tx;
	struct ledger_oid was, to;
	bool move, moved;
	char *why;
};

struct store_group {
	struct store *s;
	struct locked_ref *refs;
};

static const git_oid *to_git(const struct ledger_oid *oid)
{
	return (const git_oid *)oid;
}

static void from_git(struct ledger_oid *out, const git_oid *id)
{
	memcpy(out->id, id->id, LEDGER_OID_SIZE);
}

int store_open(struct store **out, const char *gitdir, const struct ledger_options *opts)
{
	struct store *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return LEDGER_ENOMEM;
	git_libgit2_init();
	/* A setting of the whole process: once somebody wants to wait for the disk, all do. */
	if (!opts->nosync)
		git_libgit2_opts(GIT_OPT_ENABLE_FSYNC_GITDIR, 1);
	s->nosync = opts->nosync;
	s->gitdir = strdup(gitdir);
	errno = 0;
	rc = s->gitdir ? git_repository_open_ext(&s->repo, gitdir, GIT_REPOSITORY_OPEN_NO_SEARCH, NULL) : 0;
	if (!rc && s->repo)
		rc = git_repository_odb(&s->odb, s->repo);
	/* Made now, not by the first of several threads that come along. */
	if (!rc && s->repo)
		rc = git_repository_refdb(&s->refdb, s->repo);
	if (!rc && s->refdb) {
		*out = s;
		return 0;
	}
	rc = rc ? ledger_fail_git(rc, "cannot open %s", gitdir) : LEDGER_ENOMEM;
	store_free(s);
	return rc;
}

void store_free(struct store *s)
{
	if (!s)
		return;
	git_odb_free(s->odb);
	git_refdb_free(s->refdb);
	git_repository_free(s->repo);
	free(s->gitdir);
	free(s);
	git_libgit2_shutdown();
}

/* --- reading -------------------------------------------------------------------------------------------------------- */

int store_ref_read(struct store *s, const char *ref, struct ledger_oid *out)
{
	git_reference *r = NULL;
	int rc;

	errno = 0;
	rc = git_reference_lookup(&r, s->repo, ref);
	if (rc == GIT_ENOTFOUND)
		return ledger_fail(LEDGER_ENOTFOUND, "there is no ref %s", ref);
	if (rc == GIT_EINVALIDSPEC)
		return ledger_fail(LEDGER_EINVALID, "%s is not a name that git takes for a ref", ref);
	if (rc)
		return ledger_fail_git(rc, "cannot read %s", ref);
	if (git_reference_type(r) != GIT_REFERENCE_DIRECT)
		rc = ledger_fail(LEDGER_ECORRUPT, "%s is symbolic", ref);
	else
		from_git(out, git_reference_target(r));
	git_reference_free(r);
	return rc;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names that start with `prefix`. */
static int list_refs(struct store *s, const char *prefix, git_strarray *out)
{
	git_strarray all = {0};
	size_t n = strlen(prefix), k = 0;
	int rc;

	errno = 0;
	rc = git_reference_list(&all, s->repo);
	if (rc)
		return ledger_fail_git(rc, "cannot list refs");
	for (size_t i = 0; i < all.count; i++) {
		if (strncmp(all.strings[i], prefix, n)) {
			free(all.strings[i]);
			continue;
		}
		all.strings[k++] = all.strings[i];
	}
	all.count = k;
	qsort(all.strings, k, sizeof(*all.strings), by_name);
	*out = all;
	return 0;
}

int store_ref_each(struct store *s, const char *prefix, int (*each)(void *arg, const char *ref), void *arg)
{
	git_strarray names;
	int rc = list_refs(s, prefix, &names);

	if (rc)
		return rc;
	for (size_t i = 0; !rc && i < names.count; i++)
		rc = each(arg, names.strings[i]);
	git_strarray_dispose(&names);
	return rc;
}

static int object_error(int rc, const struct ledger_oid *oid)
{
	char hex[LEDGER_OID_HEXSIZE + 1];

	ledger_oid_fmt(hex, oid);
	if (rc == GIT_ENOTFOUND)
		return ledger_fail(LEDGER_ENOTFOUND, "object %s is missing", hex);
	return ledger_fail_git(rc, "cannot read object %s", hex);
}

int store_read(struct store *s, const struct ledger_oid *oid, enum store_type type, enum store_type *got,
	       struct store_buf *out)
{
	git_odb_object *o;
	char hex[LEDGER_OID_HEXSIZE + 1];
	enum store_type is;
	int rc;

	errno = 0;
	rc = git_odb_read(&o, s->odb, to_git(oid));
	if (rc)
		return object_error(rc, oid);
	is = (enum store_type)git_odb_object_type(o);
	if (type && is != type) {
		git_odb_object_free(o);
		return ledger_fail(LEDGER_ECORRUPT, "object %s is a %s", ledger_oid_fmt(hex, oid),
				   git_object_type2string((git_object_t)is));
	}
	out->len = git_odb_object_size(o);
	out->data = malloc(out->len + 1);
	if (out->data) {
		memcpy(out->data, git_odb_object_data(o), out->len);
		((char *)out->data)[out->len] = '\0';
	}
	git_odb_object_free(o);
	if (!out->data)
		return LEDGER_ENOMEM;
	if (got)
		*got = is;
	return 0;
}

int store_read_header(struct store *s, const struct ledger_oid *oid, enum store_type *type, uint64_t *size)
{
	git_object_t t;
	size_t n;
	int rc;

	errno = 0;
	rc = git_odb_read_header(&n, &t, s->odb, to_git(oid));
	if (rc)
		return object_error(rc, oid);
	*type = (enum store_type)t;
	*size = n;
	return 0;
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return ledger_fail_errno(errno, "cannot write a value");
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Only loose objects can be streamed by libgit2; of a packed one this takes the whole into memory. */
static int write_whole(struct store *s, const struct ledger_oid *oid, int fd)
{
	git_odb_object *o;
	int rc;

	errno = 0;
	rc = git_odb_read(&o, s->odb, to_git(oid));
	if (rc)
		return object_error(rc, oid);
	rc = write_all(fd, git_odb_object_data(o), git_odb_object_size(o));
	git_odb_object_free(o);
	return rc;
}

int store_read_to(struct store *s, const struct ledger_oid *oid, int fd)
{
	enum { PIECE = 1 << 16 };
	git_odb_stream *in = NULL;
	git_object_t type;
	uint64_t left;
	size_t size;
	char *buf;
	int rc;

	if (git_odb_open_rstream(&in, &size, &type, s->odb, to_git(oid)))
		return write_whole(s, oid, fd);
	buf = malloc(PIECE);
	rc = buf ? 0 : LEDGER_ENOMEM;
	for (left = size; !rc && left;) {
		int n = git_odb_stream_read(in, buf, PIECE);

		if (n <= 0 || (uint64_t)n > left)
			rc = ledger_fail(LEDGER_ECORRUPT, "an object ends before its size");
		else
			rc = write_all(fd, buf, (size_t)n);
		left -= n > 0 ? (uint64_t)n : 0;
	}
	free(buf);
	git_odb_stream_free(in);
	return rc;
}

/* --- objects -------------------------------------------------------------------------------------------------------- */

static int write_stream(git_odb_stream *out, const struct ledger_value *v, git_oid *id)
{
	enum { PIECE = 1 << 17 };
	char *buf = malloc(PIECE);
	uint64_t off = 0;
	int rc = buf ? 0 : LEDGER_ENOMEM;

	while (!rc && off < ledger_value_size(v)) {
		ssize_t n = ledger_value_pread(v, buf, PIECE, off);

		if (n <= 0) {
			rc = n ? (int)n : ledger_fail(LEDGER_EIO, "a value's file became shorter");
			break;
		}
		errno = 0;
		rc = git_odb_stream_write(out, buf, (size_t)n);
		if (rc)
			rc = ledger_fail_git(rc, "cannot write a value");
		off += (uint64_t)n;
	}
	free(buf);
	if (rc)
		return rc;
	errno = 0;
	rc = git_odb_stream_finalize_write(id, out);
	return rc ? ledger_fail_git(rc, "cannot write a value") : 0;
}

static int put_streamed(struct store *s, const struct ledger_value *v)
{
	git_odb_stream *out = NULL;
	git_oid id;
	int rc;

	errno = 0;
	rc = git_odb_open_wstream(&out, s->odb, ledger_value_size(v), GIT_OBJECT_BLOB);
	if (rc)
		return ledger_fail_git(rc, "cannot write a value");
	rc = write_stream(out, v, &id);
	git_odb_stream_free(out);
	if (!rc && git_oid_cmp(&id, to_git(ledger_value_oid(v))))
		rc = ledger_fail(LEDGER_EIO, "a value changed while it was written");
	return rc;
}

int store_stage(struct store *s, struct ledger_value *v)
{
	if (ledger_value_data(v) || git_odb_exists(s->odb, to_git(ledger_value_oid(v))))
		return 0;
	return put_streamed(s, v);
}

/* A loose object may by now be another writer's too: what nobody refers to is left to git gc. */
void store_unstage(struct store *s, struct ledger_value *v)
{
}

int store_group_put(struct store_group *g, enum store_type type, const void *data, size_t len, struct ledger_oid *oid)
{
	git_oid id;
	int rc;

	errno = 0;
	rc = git_odb_write(&id, g->s->odb, data ? data : "", len, (git_object_t)type);
	if (rc)
		return ledger_fail_git(rc, "cannot write an object");
	from_git(oid, &id);
	return 0;
}

int store_group_put_tree(struct store_group *g, const struct ledger_oid *oid, const void *data, size_t len,
			 const struct ledger_oid *base, size_t off, size_t del, const void *ins, size_t inslen)
{
	struct ledger_oid got;
	int rc = store_group_put(g, STORE_TREE, data, len, &got);

	if (!rc && !ledger_oid_eq(oid, &got))
		rc = ledger_fail(LEDGER_EIO, "a tree was named wrongly");
	return rc;
}

int store_group_put_value(struct store_group *g, struct ledger_value *v)
{
	struct ledger_oid got;

	if (ledger_value_data(v))
		return store_group_put(g, STORE_BLOB, ledger_value_data(v), (size_t)ledger_value_size(v), &got);
	return store_stage(g->s, v);
}

/* --- refs ----------------------------------------------------------------------------------------------------------- */

int store_group_begin(struct store *s, struct store_group **out)
{
	struct store_group *g = calloc(1, sizeof(*g));

	if (!g)
		return LEDGER_ENOMEM;
	g->s = s;
	*out = g;
	return 0;
}

static void ref_free(struct locked_ref *r)
{
	git_transaction_free(r->tx);
	free(r->name);
	free(r->why);
	free(r);
}

void store_group_abort(struct store_group *g)
{
	for (struct locked_ref *r = g->refs, *next; r; r = next) {
		next = r->next;
		ref_free(r);
	}
	free(g);
}

static struct locked_ref *find_ref(struct store_group *g, const char *name)
{
	struct locked_ref *r = g->refs;

	while (r && strcmp(r->name, name))
		r = r->next;
	return r;
}

/* Neither a ref above `name` nor one below it: libgit2's transactions do not look. */
static int check_path_free(struct store *s, const char *name)
{
	char path[4096];
	struct ledger_oid oid;
	git_strarray below;
	size_t n;
	int rc;

	snprintf(path, sizeof(path), "%s/", name);
	rc = list_refs(s, path, &below);
	if (rc)
		return rc;
	n = below.count;
	git_strarray_dispose(&below);
	if (n)
		return ledger_fail(LEDGER_EEXISTS, "there are refs below %s", name);
	snprintf(path, sizeof(path), "%s", name);
	for (char *p = strrchr(path, '/'); p && p > path + 5; p = strrchr(path, '/')) {
		*p = '\0';
		rc = store_ref_read(s, path, &oid);
		if (!rc || rc == LEDGER_ECORRUPT)
			return ledger_fail(LEDGER_EEXISTS, "there is a ref %s", path);
	}
	return 0;
}

static int lock_new(struct store_group *g, struct locked_ref *r)
{
	int rc;

	errno = 0;
	rc = git_transaction_new(&r->tx, g->s->repo);
	if (!rc)
		rc = git_transaction_lock_ref(r->tx, r->name);
	if (!rc)
		return 0;
	/* A ref above this one: its file stands where a directory would have to be. */
	if (rc != GIT_ELOCKED && check_path_free(g->s, r->name) == LEDGER_EEXISTS)
		return LEDGER_EEXISTS;
	return ledger_fail_git(rc, "cannot lock %s", r->name);
}

int store_group_lock(struct store_group *g, const char *ref, struct ledger_oid *tip)
{
	struct locked_ref *r = find_ref(g, ref);
	int rc;

	if (r) {
		*tip = r->was;
		return 0;
	}
	r = calloc(1, sizeof(*r));
	if (!r)
		return LEDGER_ENOMEM;
	r->name = strdup(ref);
	rc = r->name ? lock_new(g, r) : LEDGER_ENOMEM;
	if (!rc)
		rc = store_ref_read(g->s, ref, &r->was);
	if (rc == LEDGER_ENOTFOUND)
		rc = check_path_free(g->s, ref);
	if (rc) {
		ref_free(r);
		return rc;
	}
	r->next = g->refs;
	g->refs = r;
	*tip = r->was;
	return 0;
}

int store_group_move(struct store_group *g, const char *ref, const struct ledger_oid *to, const char *why)
{
	struct locked_ref *r = find_ref(g, ref);
	char *text = strdup(why);

	if (!r || !text) {
		free(text);
		return r ? LEDGER_ENOMEM : ledger_fail(LEDGER_EINVALID, "%s is not locked", ref);
	}
	free(r->why);
	r->why = text;
	r->to = *to;
	r->move = true;
	return 0;
}

/* libgit2 wants an identity for the reflog and may find none configured. */
static int set_target(struct locked_ref *r)
{
	git_signature *who = NULL;
	int rc = git_signature_new(&who, "ledgerfs", "ledgerfs@localhost", time(NULL), 0);

	if (!rc)
		rc = git_transaction_set_target(r->tx, r->name, to_git(&r->to), who, r->why);
	git_signature_free(who);
	return rc;
}

static int move_ref(struct locked_ref *r)
{
	int rc;

	errno = 0;
	rc = ledger_oid_is_zero(&r->to) ? git_transaction_remove(r->tx, r->name) : set_target(r);
	if (!rc)
		rc = git_transaction_commit(r->tx);
	if (rc)
		return ledger_fail_git(rc, "cannot move %s", r->name);
	r->moved = true;
	return 0;
}

/* Puts back what was moved before a failure, unless somebody has moved on from there. */
static void undo_moves(struct store_group *g)
{
	for (struct locked_ref *r = g->refs; r; r = r->next) {
		struct ledger_oid now = {{0}};

		if (!r->moved)
			continue;
		git_transaction_free(r->tx);
		r->tx = NULL;
		if (git_transaction_new(&r->tx, g->s->repo) || git_transaction_lock_ref(r->tx, r->name))
			continue;
		store_ref_read(g->s, r->name, &now);
		if (!ledger_oid_eq(&now, &r->to))
			continue;
		r->to = r->was;
		move_ref(r);
	}
}

static int sync_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;

	if (fd < 0)
		return errno == ENOENT ? 0 : ledger_fail_errno(errno, "cannot sync %s", dir);
	if (fsync(fd))
		rc = ledger_fail_errno(errno, "cannot sync %s", dir);
	close(fd);
	return rc;
}

/* The directories that may be new: of the objects, and on the way to each ref. */
static int sync_dirs(struct store_group *g)
{
	char path[4096];
	int rc;

	if (g->s->nosync)
		return 0;
	snprintf(path, sizeof(path), "%s/objects", g->s->gitdir);
	rc = sync_dir(path);
	for (struct locked_ref *r = g->refs; !rc && r; r = r->next) {
		if (!r->move || snprintf(path, sizeof(path), "%s/%s", g->s->gitdir, r->name) >= (int)sizeof(path))
			continue;
		for (char *p = strrchr(path, '/'); !rc && p && p >= path + strlen(g->s->gitdir); p = strrchr(path, '/')) {
			*p = '\0';
			rc = sync_dir(path);
		}
	}
	return rc;
}

static void remove_reflogs(struct store_group *g)
{
	char path[4096];

	for (struct locked_ref *r = g->refs; r; r = r->next)
		if (r->moved && ledger_oid_is_zero(&r->to) &&
		    snprintf(path, sizeof(path), "%s/logs/%s", g->s->gitdir, r->name) < (int)sizeof(path))
			unlink(path);
}

int store_group_commit(struct store_group *g)
{
	int rc = 0;

	/* What appears before what goes: a state that moves to another name is never without one. */
	for (int gone = 0; gone < 2; gone++)
		for (struct locked_ref *r = g->refs; !rc && r; r = r->next)
			if (r->move && ledger_oid_is_zero(&r->to) == gone)
				rc = move_ref(r);
	if (!rc)
		rc = sync_dirs(g);
	if (rc)
		undo_moves(g);
	else
		remove_reflogs(g);
	store_group_abort(g);
	return rc;
}
