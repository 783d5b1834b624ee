/* SPDX-License-Identifier: MIT */
/*
 * Trees of a push, byte by byte.
 *
 * They are read raw: git libraries drop or repair what is malformed, and a guard that does not see it lets it in.  The
 * work list instead of recursion, and the set of trees already found good, bound what a hostile push can cost: neither
 * ten thousand levels nor a tree that names the same subtree a thousand times at each of ten levels does harm.
 */
#include "fail.h"
#include "guard.h"

#include <ledger/change.h>
#include <stdlib.h>
#include <string.h>

/* --- trees already found good -------------------------------------------------------------------------------------------
 */

void guard_seen_release(struct guard_seen *s)
{
	free(s->v);
	free(s->used);
	memset(s, 0, sizeof(*s));
}

static size_t seen_slot(const struct guard_seen *s, const git_oid *id)
{
	size_t i;

	memcpy(&i, id->id, sizeof(i)); /* an object's name is as good as a hash gets */
	for (i &= s->cap - 1; s->used[i] && !git_oid_equal(&s->v[i], id); i = (i + 1) & (s->cap - 1))
		;
	return i;
}

static int seen_grow(struct guard_seen *s)
{
	struct guard_seen big = {.cap = s->cap ? 2 * s->cap : 64, .n = s->n};

	big.v = calloc(big.cap, sizeof(*big.v));
	big.used = calloc(big.cap, sizeof(*big.used));
	if (!big.v || !big.used) {
		guard_seen_release(&big);
		return ledger_fail(LEDGER_ENOMEM, "out of memory");
	}
	for (size_t i = 0; i < s->cap; i++)
		if (s->used[i]) {
			size_t to = seen_slot(&big, &s->v[i]);

			big.v[to] = s->v[i];
			big.used[to] = true;
		}
	guard_seen_release(s);
	*s = big;
	return 0;
}

/* 1: it was there; 0: it is now; or an error. */
static int seen_add(struct guard_seen *s, const git_oid *id)
{
	size_t i;
	int rc;

	if (2 * (s->n + 1) > s->cap && (rc = seen_grow(s)))
		return rc;
	i = seen_slot(s, id);
	if (s->used[i])
		return 1;
	s->used[i] = true;
	s->v[i] = *id;
	s->n++;
	return 0;
}

/* --- one entry ----------------------------------------------------------------------------------------------------------
 */

struct entry {
	unsigned mode;
	const char *name;
	size_t len;
	git_oid id;
};

/* The entry at `*p`, which moves behind it; false at malformed bytes. */
static bool next_entry(const char **p, const char *end, struct entry *e)
{
	const char *s = *p, *nul;

	e->mode = 0;
	if (s == end || *s == '0')
		return false;
	for (; s < end && *s >= '0' && *s <= '7'; s++) {
		if (e->mode > 0177777)
			return false;
		e->mode = e->mode << 3 | (unsigned)(*s - '0');
	}
	if (s == end || *s++ != ' ' || !(nul = memchr(s, '\0', (size_t)(end - s))) || end - nul <= GIT_OID_RAWSZ)
		return false;
	e->name = s;
	e->len = (size_t)(nul - s);
	memcpy(e->id.id, nul + 1, GIT_OID_RAWSZ);
	*p = nul + 1 + GIT_OID_RAWSZ;
	return true;
}

#define MODE_TREE 0040000

/* git's order: a directory sorts as if its name ended with a slash. */
static int order(const struct entry *a, const struct entry *b)
{
	size_t len = a->len < b->len ? a->len : b->len;
	int c = memcmp(a->name, b->name, len);
	unsigned char ca, cb;

	if (c)
		return c;
	ca = a->len > len ? (unsigned char)a->name[len] : a->mode == MODE_TREE ? '/' : 0;
	cb = b->len > len ? (unsigned char)b->name[len] : b->mode == MODE_TREE ? '/' : 0;
	return ca - cb;
}

static int check_name(struct ledger_guard *g, const struct entry *e, bool root)
{
	int rc = ledger_name_check(e->name, e->len);

	if (!rc && !(root && e->len == 3 && memcmp(e->name, ".kv", 3) == 0))
		return 0;
	return guard_find(g, LEDGER_RULE_NAME, "'%.*s' cannot be a key's name%s", (int)(e->len < 300 ? e->len : 300),
			  e->name, rc == LEDGER_ENAMETOOLONG ? ": longer than 255 bytes" : "");
}

static int check_kind(struct ledger_guard *g, const struct entry *e)
{
	int len = (int)(e->len < 255 ? e->len : 255);
	git_object_t want = GIT_OBJECT_BLOB, type;
	size_t size;

	if (e->mode == MODE_TREE)
		want = GIT_OBJECT_TREE;
	else if (e->mode != 0100644 && e->mode != 0100755 && e->mode != 0120000)
		return guard_find(g, LEDGER_RULE_TREE, "'%.*s' has mode %06o: a ledger holds files, links and directories",
				  len, e->name, e->mode);
	if (git_oid_equal(&e->id, &g->empty_tree) && want == GIT_OBJECT_TREE)
		return 0;
	if (git_odb_read_header(&size, &type, g->odb, &e->id))
		return guard_find(g, LEDGER_RULE_TREE, "'%.*s' names object %.10s, which is not there", len, e->name,
				  git_oid_tostr_s(&e->id));
	if (type != want)
		return guard_find(g, LEDGER_RULE_TREE, "'%.*s' names object %.10s, which is a %s", len, e->name,
				  git_oid_tostr_s(&e->id), git_object_type2string(type));
	return 0;
}

/* --- trees --------------------------------------------------------------------------------------------------------------
 */

struct todo {
	git_oid new, old;
	bool has_old, root;
};

struct list {
	struct todo *v;
	size_t n, cap;
};

static int list_push(struct list *l, struct todo t)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 64;
		struct todo *v = reallocarray(l->v, cap, sizeof(*v));

		if (!v)
			return ledger_fail(LEDGER_ENOMEM, "out of memory");
		l->v = v;
		l->cap = cap;
	}
	l->v[l->n++] = t;
	return 0;
}

/* Moves `*p` in the old tree up to the entry that has the place of `e`; true when there is one of the same name. */
static bool counterpart(const char **p, const char *end, const struct entry *e, struct entry *found)
{
	const char *q = *p;
	int c;

	while (q < end && next_entry(&q, end, found)) {
		c = order(found, e);
		if (c > 0)
			return false;
		*p = q;
		if (c == 0)
			return true;
	}
	return false;
}

static int check_tree(struct ledger_guard *g, const struct todo *t, git_odb_object *new, git_odb_object *old, struct list *l)
{
	const char *p = git_odb_object_data(new), *end = p + git_odb_object_size(new);
	const char *o = old ? git_odb_object_data(old) : NULL, *oend = old ? o + git_odb_object_size(old) : NULL;
	struct entry e, before = {0}, was;
	int rc = 0;

	while (p < end && !rc) {
		struct todo sub = {0};
		bool there;

		if (!next_entry(&p, end, &e))
			return guard_find(g, LEDGER_RULE_TREE, "tree %.10s is malformed", git_oid_tostr_s(&t->new));
		if (before.name && order(&before, &e) >= 0)
			return guard_find(g, LEDGER_RULE_TREE, "tree %.10s is not sorted, or has '%.*s' twice",
					  git_oid_tostr_s(&t->new), (int)(e.len < 255 ? e.len : 255), e.name);
		/* A file and a directory of one name do not meet in the order: "a", then "a.b", then "a/". */
		before = e;
		rc = check_name(g, &e, t->root);
		there = !rc && o && counterpart(&o, oend, &e, &was);
		if (rc || (there && was.mode == e.mode && git_oid_equal(&was.id, &e.id)))
			continue;
		rc = check_kind(g, &e);
		if (rc || e.mode != MODE_TREE || git_oid_equal(&e.id, &g->empty_tree))
			continue;
		sub.new = e.id;
		sub.has_old = there && was.mode == MODE_TREE;
		if (sub.has_old)
			sub.old = was.id;
		rc = list_push(l, sub);
	}
	return rc;
}

/* A file "a" and a directory "a" in one tree: the only pair of one name that sorting does not bring together. */
static int check_twice(struct ledger_guard *g, const struct todo *t, git_odb_object *new)
{
	const char *p = git_odb_object_data(new), *end = p + git_odb_object_size(new);
	struct entry e, file = {0};

	while (p < end && next_entry(&p, end, &e)) {
		const char *q = p;
		struct entry next;

		if (e.mode == MODE_TREE)
			continue;
		file = e;
		/* All names between "a" and "a/" begin with "a" and a byte below '/'. */
		while (q < end && next_entry(&q, end, &next) && next.len >= file.len &&
		       memcmp(next.name, file.name, file.len) == 0) {
			if (next.len == file.len)
				return guard_find(g, LEDGER_RULE_TREE, "tree %.10s has '%.*s' twice",
						  git_oid_tostr_s(&t->new), (int)(file.len < 255 ? file.len : 255),
						  file.name);
			if ((unsigned char)next.name[file.len] >= '/')
				break;
		}
	}
	return 0;
}

static int check_one(struct ledger_guard *g, const struct todo *t, struct list *l)
{
	git_odb_object *new = NULL, *old = NULL;
	int rc = seen_add(&g->seen, &t->new);

	/* A root is looked at again: as a directory it may have had a name that the root may not (.kv). */
	if (rc < 0 || (rc > 0 && !t->root))
		return rc > 0 ? 0 : rc;
	rc = 0;
	if (git_oid_equal(&t->new, &g->empty_tree))
		return 0;
	if (git_odb_read(&new, g->odb, &t->new) || git_odb_object_type(new) != GIT_OBJECT_TREE) {
		rc = guard_find(g, LEDGER_RULE_TREE, "tree %.10s cannot be read", git_oid_tostr_s(&t->new));
		goto out;
	}
	/* An old tree that cannot be read spares nothing, no more. */
	if (t->has_old && (git_odb_read(&old, g->odb, &t->old) || git_odb_object_type(old) != GIT_OBJECT_TREE)) {
		git_odb_object_free(old);
		old = NULL;
	}
	rc = check_tree(g, t, new, old, l);
	if (!rc)
		rc = check_twice(g, t, new);
out:
	git_odb_object_free(new);
	git_odb_object_free(old);
	return rc;
}

int guard_trees(struct ledger_guard *g, const git_oid *new, const git_oid *old)
{
	struct todo t = {.new = *new, .has_old = old != NULL, .root = true};
	struct list l = {0};
	int rc;

	if (old && git_oid_equal(new, old))
		return 0;
	if (old)
		t.old = *old;
	rc = list_push(&l, t);
	while (!rc && l.n) {
		t = l.v[--l.n];
		rc = check_one(g, &t, &l);
	}
	free(l.v);
	return rc;
}
