/* SPDX-License-Identifier: MIT */
#include "edit_dir.h"

#include <stdlib.h>

int dir_new(struct dir **out, struct ledger_tree *base)
{
	struct dir *d = calloc(1, sizeof(*d));

	if (d) {
		d->nbuckets = 8;
		d->bucket = calloc(d->nbuckets, sizeof(*d->bucket));
	}
	if (!d || !d->bucket) {
		free(d);
		ledger_tree_unref(base);
		return LEDGER_ENOMEM;
	}
	d->base = base;
	d->live = base->n;
	*out = d;
	return 0;
}

static void slot_free(struct slot *s)
{
	dir_free(s->dir);
	ledger_value_unref(s->value);
	free(s);
}

void dir_free(struct dir *d)
{
	if (!d)
		return;
	for (size_t i = 0; i < d->nbuckets; i++) {
		struct slot *s = d->bucket[i], *next;

		for (; s; s = next) {
			next = s->next;
			slot_free(s);
		}
	}
	free(d->bucket);
	ledger_tree_unref(d->base);
	free(d);
}

/* FNV-1a: names inside one change; nobody gains by colliding them but to slow his own commit. */
static size_t hash_name(const char *name, size_t len)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)name[i]) * 0x100000001b3u;
	return (size_t)(h ^ h >> 32);
}

static int grow(struct dir *d)
{
	size_t n = d->nbuckets * 2;
	struct slot **b = calloc(n, sizeof(*b));

	if (!b)
		return LEDGER_ENOMEM;
	for (size_t i = 0; i < d->nbuckets; i++) {
		struct slot *s = d->bucket[i], *next;

		for (; s; s = next) {
			struct slot **to = &b[hash_name(s->name, s->len) & (n - 1)];

			next = s->next;
			s->next = *to;
			*to = s;
		}
	}
	free(d->bucket);
	d->bucket = b;
	d->nbuckets = n;
	return 0;
}

int dir_slot(struct dir *d, const char *name, size_t len, struct slot **out)
{
	struct ledger_entry e;
	struct slot *s, **b = &d->bucket[hash_name(name, len) & (d->nbuckets - 1)];

	for (s = *b; s; s = s->next)
		if (s->len == len && !memcmp(s->name, name, len)) {
			*out = s;
			return 0;
		}
	if (d->nslots >= d->nbuckets && grow(d))
		return LEDGER_ENOMEM;
	s = calloc(1, sizeof(*s) + len + 1);
	if (!s)
		return LEDGER_ENOMEM;
	memcpy(s->name, name, len);
	s->len = len;
	s->nbase = tree_named(d->base, name, len, &s->hidden);
	if (!ledger_tree_find(d->base, name, len, &e)) {
		s->kind = e.kind;
		s->oid = e.oid;
		d->live -= s->nbase - 1; /* duplicates go when the shown one changes; they do not keep a directory alive */
	}
	b = &d->bucket[hash_name(name, len) & (d->nbuckets - 1)];
	s->next = *b;
	*b = s;
	d->nslots++;
	*out = s;
	return 0;
}

void slot_set(struct dir *d, struct slot *s, enum ledger_kind kind, const struct ledger_oid *oid, struct dir *dir,
	      struct ledger_value *value)
{
	static const struct ledger_oid zero;

	d->live += (kind != 0) - (s->kind != 0);
	if (s->dir != dir)
		dir_free(s->dir);
	ledger_value_unref(s->value);
	s->kind = kind;
	s->oid = oid ? *oid : zero;
	s->dir = dir;
	s->value = value;
}

void slot_clear(struct dir *d, struct slot *s)
{
	slot_set(d, s, 0, NULL, NULL, NULL);
}

/* --- writing -------------------------------------------------------------------------------------------------------- */

/* Parts before the whole: directories and values below. */
static int finish_parts(struct dir *d, const struct edit_io *io)
{
	int rc = 0;

	for (size_t i = 0; i < d->nbuckets; i++)
		for (struct slot *s = d->bucket[i]; !rc && s; s = s->next)
			if (s->dir)
				rc = dir_finish(s->dir, io, &s->oid);
	return rc;
}

static bool differs(const struct dir *d, const struct slot *s)
{
	struct ledger_entry e;
	bool there = !ledger_tree_find(d->base, s->name, s->len, &e);

	if (!there || !s->kind)
		return there || s->kind;
	return e.kind != s->kind || !ledger_oid_eq(&e.oid, &s->oid);
}

/* The slots that are not as before. */
static int collect(const struct dir *d, const struct edit_io *io, struct tree_change **out, size_t *n)
{
	struct tree_change *ch = malloc((d->nslots + 1) * sizeof(*ch));
	int rc = 0;

	*n = 0;
	if (!ch)
		return LEDGER_ENOMEM;
	for (size_t i = 0; i < d->nbuckets; i++)
		for (struct slot *s = d->bucket[i]; !rc && s; s = s->next) {
			if (!differs(d, s))
				continue;
			if (s->value)
				rc = io->put_value(io->arg, s->value);
			ch[*n].name = s->name;
			ch[*n].namelen = s->len;
			ch[*n].kind = s->kind;
			ch[(*n)++].oid = s->oid;
		}
	if (rc)
		free(ch);
	else
		*out = ch;
	return rc;
}

int dir_finish(struct dir *d, const struct edit_io *io, struct ledger_oid *oid)
{
	struct tree_change *ch;
	struct tree_delta delta;
	struct ledger_tree *t = NULL;
	bool fresh = ledger_oid_is_zero(&d->base->oid); /* was not there before: its empty tree must be written */
	size_t n;
	int rc = finish_parts(d, io);

	if (!rc)
		rc = collect(d, io, &ch, &n);
	if (rc)
		return rc;
	if (!n && !fresh) {
		*oid = d->base->oid;
		goto out;
	}
	rc = tree_splice(d->base, ch, n, &t, &delta);
	if (rc)
		goto out;
	rc = io->put_tree(io->arg, t, d->base->n && t->n ? d->base : NULL, &delta);
	if (!rc)
		*oid = t->oid;
out:
	free(ch);
	ledger_tree_unref(t);
	return rc;
}
