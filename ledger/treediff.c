/* SPDX-License-Identifier: MIT */
/*
 * Both trees are in git's order, so finding what differs is a merge.  Most of the time one entry in a large directory
 * differs: the bytes that are the same at the beginning and at the end are passed over without a look at the entries.
 */
#include "treediff.h"

#include <limits.h>

#define STRIDE 4096

/* A directory before and after; either may be NULL. */
struct sides {
	struct ledger_tree *t[2];
	size_t from[2], to[2]; /* entries to be compared */
};

static int dir(struct treediff *d, struct buf *path, const struct ledger_oid *before, const struct ledger_oid *after);

/* --- what is the same ----------------------------------------------------------------------------------------------- */

static size_t common_start(const unsigned char *a, const unsigned char *b, size_t len)
{
	size_t i = 0;

	while (len - i >= STRIDE && !memcmp(a + i, b + i, STRIDE))
		i += STRIDE;
	while (i < len && a[i] == b[i])
		i++;
	return i;
}

/* `a` and `b` are the ends. */
static size_t common_end(const unsigned char *a, const unsigned char *b, size_t len)
{
	size_t i = 0;

	while (len - i >= STRIDE && !memcmp(a - i - STRIDE, b - i - STRIDE, STRIDE))
		i += STRIDE;
	while (i < len && a[-(ptrdiff_t)i - 1] == b[-(ptrdiff_t)i - 1])
		i++;
	return i;
}

/* The first entry that begins at `off` or later. */
static size_t entry_from(const struct ledger_tree *t, size_t off)
{
	size_t lo = 0, hi = t->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (t->ents[mid].off < off)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static size_t offset_of(const struct ledger_tree *t, size_t i)
{
	return i < t->n ? t->ents[i].off : t->rawlen;
}

static bool is_plain(const struct ledger_tree *t)
{
	return t->n && !t->vis && !t->unsorted;
}

static void skip_same(struct sides *s)
{
	const struct ledger_tree *a = s->t[0], *b = s->t[1];
	size_t min = a->rawlen < b->rawlen ? a->rawlen : b->rawlen, same, i, k;

	same = common_start(a->raw, b->raw, min);
	i = entry_from(a, same + 1);
	/* Back to the entry that the first difference is in, if there is one. */
	i -= i && offset_of(a, i) > same;
	s->from[0] = s->from[1] = i;
	same = common_end(a->raw + a->rawlen, b->raw + b->rawlen, min - offset_of(a, i));
	i = entry_from(a, a->rawlen - same);
	k = entry_from(b, b->rawlen - same);
	/* Equal bytes to the end are equal entries where an entry begins in both. */
	while (i < a->n && k < b->n && a->rawlen - a->ents[i].off != b->rawlen - b->ents[k].off) {
		if (a->rawlen - a->ents[i].off > b->rawlen - b->ents[k].off)
			i++;
		else
			k++;
	}
	if (i < a->n && k < b->n) {
		s->to[0] = i;
		s->to[1] = k;
	}
}

/* --- what is not ---------------------------------------------------------------------------------------------------- */

static const struct ledger_oid none;

/* The name is there on one side or on both, otherwise. */
static int differs(struct treediff *d, struct buf *path, const struct sides *s, const struct ledger_entry *b,
		   const struct ledger_entry *a)
{
	const struct ledger_entry *e = a ? a : b;
	size_t len = path->len;
	struct ledger_entry other;
	int rc = 0;

	if (b && a && b->kind == a->kind && ledger_oid_eq(&b->oid, &a->oid))
		return 0;
	if (len + e->namelen + 1 >= PATH_MAX) /* nobody can ask for it */
		return 0;
	if (len)
		buf_str(path, "/");
	buf_add(path, e->name, e->namelen);
	if (path->oom)
		return LEDGER_ENOMEM;
	/* A file in the place of a directory, or the other way round, is met twice, the second time at another place. */
	if (a || !s->t[1] || ledger_tree_find(s->t[1], e->name, e->namelen, &other))
		rc = d->each(d->arg, path->p, path->len, a != NULL);
	if (!rc && e->kind == LEDGER_DIR)
		rc = dir(d, path, b ? &b->oid : &none, a ? &a->oid : &none);
	path->len = len;
	return rc;
}

static int compare(struct treediff *d, struct buf *path, const struct sides *s)
{
	size_t i = s->from[0], k = s->from[1];
	int rc = 0;

	while (!rc && (i < s->to[0] || k < s->to[1])) {
		struct ledger_entry b, a;
		int order;

		if (i < s->to[0])
			ledger_tree_at(s->t[0], i, &b);
		if (k < s->to[1])
			ledger_tree_at(s->t[1], k, &a);
		order = i == s->to[0] ? 1 : k == s->to[1] ? -1 : tree_order(&b, &a);
		rc = differs(d, path, s, order <= 0 ? &b : NULL, order >= 0 ? &a : NULL);
		i += order <= 0;
		k += order >= 0;
	}
	return rc;
}

static int load(struct treediff *d, struct sides *s, int side, const struct ledger_oid *oid)
{
	int rc;

	if (ledger_oid_is_zero(oid))
		return 0;
	rc = tree_load(d->l, oid, &s->t[side]);
	if (rc)
		return rc;
	s->to[side] = ledger_tree_count(s->t[side]);
	d->bytes += s->t[side]->rawlen;
	return 0;
}

static int dir(struct treediff *d, struct buf *path, const struct ledger_oid *before, const struct ledger_oid *after)
{
	struct sides s = {0};
	int rc = load(d, &s, 0, before);

	if (!rc)
		rc = load(d, &s, 1, after);
	if (!rc && s.t[0] && s.t[1] && is_plain(s.t[0]) && is_plain(s.t[1]))
		skip_same(&s);
	if (!rc)
		rc = compare(d, path, &s);
	ledger_tree_unref(s.t[0]);
	ledger_tree_unref(s.t[1]);
	return rc;
}

int treediff_run(struct treediff *d, const struct ledger_oid *before, const struct ledger_oid *after)
{
	struct buf path = BUF_INIT;
	int rc = ledger_oid_eq(before, after) ? 0 : dir(d, &path, before, after);

	buf_release(&path);
	return rc;
}
