/* SPDX-License-Identifier: MIT */
/* The edits, each with the conditions that POSIX gives it. */
#include "edit.h"

#include "edit_dir.h"
#include "hash.h"
#include "names.h"

#include <stdlib.h>

struct edit {
	struct ledger *l;
	struct edit_io io;
	struct ledger_oid root_oid;
	struct dir *root;
};

int edit_new(struct edit **out, struct ledger *l, const struct edit_io *io, const struct ledger_oid *root)
{
	struct edit *e = calloc(1, sizeof(*e));
	struct ledger_tree *t;
	int rc;

	if (!e)
		return LEDGER_ENOMEM;
	e->l = l;
	e->io = *io;
	e->root_oid = *root;
	rc = ledger_oid_is_zero(root) ? tree_empty(&t, root) : io->tree(io->arg, root, &t);
	if (rc == LEDGER_ENOTFOUND)
		rc = ledger_fail(LEDGER_ECORRUPT, "the namespace's tree is missing");
	if (!rc)
		rc = dir_new(&e->root, t);
	if (rc)
		free(e);
	else
		*out = e;
	return rc;
}

void edit_free(struct edit *e)
{
	if (!e)
		return;
	dir_free(e->root);
	free(e);
}

int edit_finish(struct edit *e, struct ledger_oid *root)
{
	return dir_finish(e->root, &e->io, root);
}

/* --- ways ----------------------------------------------------------------------------------------------------------- */

/* The directory of a slot, loaded. */
static int enter(struct edit *e, struct slot *s, struct dir **out)
{
	struct ledger_tree *t;
	int rc = 0;

	if (!s->dir) {
		rc = e->io.tree(e->io.arg, &s->oid, &t);
		if (rc == LEDGER_ENOTFOUND)
			rc = ledger_fail(LEDGER_ECORRUPT, "the tree of directory '%s' is missing", s->name);
		if (!rc)
			rc = dir_new(&s->dir, t);
	}
	if (!rc)
		*out = s->dir;
	return rc;
}

/* A new, empty directory in the slot. */
static int make_dir(struct dir *d, struct slot *s)
{
	static const struct ledger_oid zero;
	struct ledger_tree *t;
	struct dir *made;
	int rc;

	if (s->hidden)
		return ledger_fail(LEDGER_EEXISTS, "'%s' is an entry that is not shown here (a submodule?)", s->name);
	rc = tree_empty(&t, &zero);
	if (!rc)
		rc = dir_new(&made, t);
	if (!rc)
		slot_set(d, s, LEDGER_DIR, &zero, made, NULL);
	return rc;
}

/* Where a path ends: a slot in a directory. */
struct place {
	struct dir *dir;
	struct slot *slot;
};

/* Walks `path` (checked, not ""); `parents`: makes the directories on the way. */
static int find(struct edit *e, const char *path, bool parents, struct place *out)
{
	struct dir *d = e->root;

	for (const char *p = path;;) {
		size_t n = strcspn(p, "/");
		struct slot *s;
		int rc = dir_slot(d, p, n, &s);

		if (rc)
			return rc;
		if (!p[n]) {
			*out = (struct place){d, s};
			return 0;
		}
		if (!s->kind && !parents)
			return ledger_fail(LEDGER_ENOTFOUND, "there is no directory '%.*s'", (int)(p + n - path), path);
		if (!s->kind)
			rc = make_dir(d, s);
		else if (s->kind != LEDGER_DIR)
			rc = ledger_fail(LEDGER_ENOTDIR, "'%.*s' is not a directory", (int)(p + n - path), path);
		if (!rc)
			rc = enter(e, s, &d);
		if (rc)
			return rc;
		p += n + 1;
	}
}

int edit_lookup(struct edit *e, const char *path, struct ledger_entry *out)
{
	struct place at;
	int rc = find(e, path, false, &at);

	if (rc == LEDGER_ENOTDIR)
		return LEDGER_ENOTFOUND;
	if (rc)
		return rc;
	if (!at.slot->kind)
		return LEDGER_ENOTFOUND;
	*out = (struct ledger_entry){.kind = at.slot->kind, .oid = at.slot->oid};
	return 0;
}

static int not_there(const char *path)
{
	return ledger_fail(LEDGER_ENOTFOUND, "there is no '%s'", path);
}

/* --- values --------------------------------------------------------------------------------------------------------- */

static int check_link_path(const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;

	return names_link_check(name, strlen(name));
}

static int check_moved_link(const struct slot *s, const char *to)
{
	return s->kind == LEDGER_LINK ? check_link_path(to) : 0;
}

static int check_link(const char *path, const struct ledger_value *v)
{
	const char *target = ledger_value_data(v);
	uint64_t len = ledger_value_size(v);

	if (!len || !target || memchr(target, '\0', (size_t)len))
		return ledger_fail(LEDGER_EINVALID, "the target of a symbolic link must not be empty or have NUL bytes");
	if (len > 4095)
		return ledger_fail(LEDGER_ENAMETOOLONG, "the target of a symbolic link has at most 4095 bytes");
	return check_link_path(path);
}

static enum ledger_kind kind_for(const struct ledger_edit *ed, const struct slot *s)
{
	if ((ed->flags & LEDGER_KEEP_KIND) && (s->kind == LEDGER_FILE || s->kind == LEDGER_EXEC))
		return s->kind;
	return ed->kind;
}

static int check_target(const struct ledger_edit *ed, const struct slot *s)
{
	if (s->kind == LEDGER_DIR)
		return ledger_fail(LEDGER_EISDIR, "'%s' is a directory", ed->path);
	if (s->hidden && !s->kind)
		return ledger_fail(LEDGER_EEXISTS, "'%s' is an entry that is not shown here (a submodule?)", ed->path);
	return 0;
}

static int apply_set(struct edit *e, const struct ledger_edit *ed)
{
	struct place at;
	int rc = ed->kind == LEDGER_LINK ? check_link(ed->path, ed->value) : 0;

	if (!rc)
		rc = find(e, ed->path, ed->flags & LEDGER_PARENTS, &at);
	if (!rc)
		rc = check_target(ed, at.slot);
	if (rc)
		return rc;
	slot_set(at.dir, at.slot, kind_for(ed, at.slot), ledger_value_oid(ed->value), NULL, ledger_value_ref(ed->value));
	return 0;
}

/* The value in a slot: new in this change, or a committed one. */
static int slot_value(struct edit *e, const struct slot *s, struct ledger_value **out)
{
	int rc;

	if (s->value) {
		*out = ledger_value_ref(s->value);
		return 0;
	}
	rc = e->io.value(e->io.arg, &s->oid, out);
	return rc == LEDGER_ENOTFOUND ? ledger_fail(LEDGER_ECORRUPT, "the value of '%s' is missing", s->name) : rc;
}

static int grow(struct edit *e, const struct slot *s, struct ledger_value *tail, struct ledger_value **out)
{
	struct ledger_value *old;
	int rc = slot_value(e, s, &old);

	if (rc)
		return rc;
	rc = value_concat(e->l, old, tail, out);
	ledger_value_unref(old);
	return rc;
}

static int apply_append(struct edit *e, const struct ledger_edit *ed, const struct append *ready)
{
	struct ledger_value *v;
	struct place at;
	int rc = find(e, ed->path, ed->flags & LEDGER_PARENTS, &at);

	if (!rc)
		rc = check_target(ed, at.slot);
	if (!rc && at.slot->kind == LEDGER_LINK)
		rc = ledger_fail(LEDGER_EINVALID, "'%s' is a symbolic link", ed->path);
	if (rc)
		return rc;
	if (!at.slot->kind) {
		slot_set(at.dir, at.slot, ed->kind, ledger_value_oid(ed->value), NULL, ledger_value_ref(ed->value));
		return 0;
	}
	if (ready && ready->result && ledger_oid_eq(&ready->from, &at.slot->oid))
		v = ledger_value_ref(ready->result);
	else
		rc = grow(e, at.slot, ed->value, &v);
	if (!rc)
		slot_set(at.dir, at.slot, kind_for(ed, at.slot), ledger_value_oid(v), NULL, v);
	return rc;
}

static int apply_chmod(struct edit *e, const struct ledger_edit *ed)
{
	struct place at;
	int rc = find(e, ed->path, false, &at);

	if (rc)
		return rc;
	if (!at.slot->kind)
		return not_there(ed->path);
	if (at.slot->kind == LEDGER_DIR)
		return ledger_fail(LEDGER_EISDIR, "'%s' is a directory", ed->path);
	if (at.slot->kind == LEDGER_LINK)
		return ledger_fail(LEDGER_EINVALID, "'%s' is a symbolic link", ed->path);
	at.slot->kind = ed->kind;
	return 0;
}

/* --- removal -------------------------------------------------------------------------------------------------------- */

/* Removes directories above `path` that are empty now, from the lowest up. */
static int prune(struct edit *e, const char *path)
{
	char dir[4096];
	char *slash;

	strcpy(dir, path); /* names_path_check() has seen to the length */
	while ((slash = strrchr(dir, '/'))) {
		struct place at;
		struct dir *d;
		int rc;

		*slash = '\0';
		rc = find(e, dir, false, &at);
		if (!rc)
			rc = enter(e, at.slot, &d);
		if (rc)
			return rc;
		if (d->live)
			return 0;
		slot_clear(at.dir, at.slot);
	}
	return 0;
}

static int apply_delete(struct edit *e, const struct ledger_edit *ed)
{
	struct place at;
	int rc = find(e, ed->path, false, &at);

	if (!rc && !at.slot->kind)
		rc = not_there(ed->path);
	if (rc)
		return (ed->flags & LEDGER_MISSING_OK) && (rc == LEDGER_ENOTFOUND || rc == LEDGER_ENOTDIR) ? 0 : rc;
	if (at.slot->kind == LEDGER_DIR)
		return ledger_fail(LEDGER_EISDIR, "'%s' is a directory", ed->path);
	slot_clear(at.dir, at.slot);
	return ed->flags & LEDGER_PRUNE ? prune(e, ed->path) : 0;
}

static int apply_mkdir(struct edit *e, const struct ledger_edit *ed)
{
	struct place at;
	int rc = find(e, ed->path, ed->flags & LEDGER_PARENTS, &at);

	if (rc)
		return rc;
	if (at.slot->kind)
		return ledger_fail(LEDGER_EEXISTS, "'%s' is there already", ed->path);
	return make_dir(at.dir, at.slot);
}

static int check_empty(struct edit *e, const char *path, struct slot *s)
{
	struct dir *d;
	int rc = enter(e, s, &d);

	if (!rc && d->live)
		rc = ledger_fail(LEDGER_ENOTEMPTY, "the directory '%s' is not empty", path);
	return rc;
}

static int apply_rmdir(struct edit *e, const struct ledger_edit *ed)
{
	struct place at;
	int rc = find(e, ed->path, false, &at);

	if (rc)
		return rc;
	if (!at.slot->kind)
		return not_there(ed->path);
	if (at.slot->kind != LEDGER_DIR)
		return ledger_fail(LEDGER_ENOTDIR, "'%s' is not a directory", ed->path);
	rc = check_empty(e, ed->path, at.slot);
	if (!rc)
		slot_clear(at.dir, at.slot);
	return rc;
}

/* --- moves ---------------------------------------------------------------------------------------------------------- */

/* Is `inner` below `outer`? */
static bool is_below(const char *inner, const char *outer)
{
	size_t n = strlen(outer);

	return !strncmp(inner, outer, n) && inner[n] == '/';
}

/* Both ends of a move, the first of which must be there. */
static int find_both(struct edit *e, const struct ledger_edit *ed, struct place *from, struct place *to)
{
	int rc = find(e, ed->path, false, from);

	if (rc)
		return rc;
	if (!from->slot->kind)
		return not_there(ed->path);
	if (from->slot->kind == LEDGER_DIR && is_below(ed->to, ed->path))
		return ledger_fail(LEDGER_EINVALID, "a directory cannot move into itself");
	return find(e, ed->to, ed->flags & LEDGER_PARENTS, to);
}

/* rename(2)'s rules for what may be replaced. */
static int check_replace(struct edit *e, const struct ledger_edit *ed, struct slot *from, struct slot *to)
{
	if (!to->kind)
		return to->hidden ? ledger_fail(LEDGER_EEXISTS, "'%s' is an entry that is not shown here (a submodule?)",
						ed->to)
				  : 0;
	if (ed->flags & LEDGER_NOREPLACE)
		return ledger_fail(LEDGER_EEXISTS, "'%s' is there already", ed->to);
	if (from == to)
		return 0;
	if (from->kind == LEDGER_DIR && to->kind != LEDGER_DIR)
		return ledger_fail(LEDGER_ENOTDIR, "'%s' is not a directory", ed->to);
	if (from->kind != LEDGER_DIR && to->kind == LEDGER_DIR)
		return ledger_fail(LEDGER_EISDIR, "'%s' is a directory", ed->to);
	return to->kind == LEDGER_DIR ? check_empty(e, ed->to, to) : 0;
}

/* Takes what the slot holds out of it. */
static struct slot detach(struct slot *s)
{
	struct slot held = *s;

	s->dir = NULL;
	s->value = NULL;
	return held;
}

static int apply_rename(struct edit *e, const struct ledger_edit *ed)
{
	struct place from, to;
	struct slot held;
	int rc = find_both(e, ed, &from, &to);

	if (!rc)
		rc = check_replace(e, ed, from.slot, to.slot);
	if (!rc)
		rc = check_moved_link(from.slot, ed->to);
	if (rc || from.slot == to.slot)
		return rc;
	held = detach(from.slot);
	slot_clear(from.dir, from.slot);
	slot_set(to.dir, to.slot, held.kind, &held.oid, held.dir, held.value);
	return 0;
}

static int apply_exchange(struct edit *e, const struct ledger_edit *ed)
{
	struct place a, b;
	struct slot x, y;
	int rc = find_both(e, ed, &a, &b);

	if (rc)
		return rc;
	if (!b.slot->kind)
		return not_there(ed->to);
	if (b.slot->kind == LEDGER_DIR && is_below(ed->path, ed->to))
		return ledger_fail(LEDGER_EINVALID, "a directory cannot change places with what is in it");
	if (a.slot == b.slot)
		return 0;
	rc = check_moved_link(a.slot, ed->to);
	if (!rc)
		rc = check_moved_link(b.slot, ed->path);
	if (rc)
		return rc;
	x = detach(a.slot);
	y = detach(b.slot);
	slot_set(a.dir, a.slot, y.kind, &y.oid, y.dir, y.value);
	slot_set(b.dir, b.slot, x.kind, &x.oid, x.dir, x.value);
	return 0;
}

int edit_apply(struct edit *e, const struct ledger_edit *ed, const struct append *ready)
{
	switch (ed->op) {
	case LEDGER_SET:
		return apply_set(e, ed);
	case LEDGER_APPEND:
		return apply_append(e, ed, ready);
	case LEDGER_DELETE:
		return apply_delete(e, ed);
	case LEDGER_MKDIR:
		return apply_mkdir(e, ed);
	case LEDGER_RMDIR:
		return apply_rmdir(e, ed);
	case LEDGER_RENAME:
		return apply_rename(e, ed);
	case LEDGER_EXCHANGE:
		return apply_exchange(e, ed);
	case LEDGER_CHMOD:
		return apply_chmod(e, ed);
	}
	return LEDGER_EINVALID;
}
