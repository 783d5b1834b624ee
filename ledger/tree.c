/* SPDX-License-Identifier: MIT */
/*
 * A tree object is a list of "MODE NAME\0OID", in an order where a directory counts as "NAME/".  It is kept as it is,
 * with an index of where the entries begin, so that a commit that changes one entry copies the bytes and patches them.
 *
 * What git would never have written (hostile or damaged) is hidden, not repaired: see hide().
 */
#include "tree.h"

#include "error.h"
#include "hash.h"
#include "names.h"

#include <stdlib.h>
#include <sys/stat.h>

struct key {
	const char *name;
	size_t len;
	bool dir;
};

static const char *name_of(const struct ledger_tree *t, const struct tent *e)
{
	return (const char *)t->raw + e->off + e->modelen + 1;
}

static size_t size_of(const struct tent *e)
{
	return e->modelen + 1 + (size_t)e->namelen + 1 + LEDGER_OID_SIZE;
}

static struct key key_of(const struct ledger_tree *t, const struct tent *e)
{
	return (struct key){name_of(t, e), e->namelen, e->flags & TENT_DIR};
}

/* git's order. */
static int compare(struct key a, struct key b)
{
	size_t min = a.len < b.len ? a.len : b.len;
	int d = memcmp(a.name, b.name, min);
	unsigned char ca, cb;

	if (d)
		return d;
	ca = a.len > min ? (unsigned char)a.name[min] : a.dir ? '/' : 0;
	cb = b.len > min ? (unsigned char)b.name[min] : b.dir ? '/' : 0;
	return (int)ca - (int)cb;
}

int tree_order(const struct ledger_entry *a, const struct ledger_entry *b)
{
	return compare((struct key){a->name, a->namelen, a->kind == LEDGER_DIR},
		       (struct key){b->name, b->namelen, b->kind == LEDGER_DIR});
}

/* First entry that is not before `k`. */
static uint32_t lower_bound(const struct ledger_tree *t, struct key k)
{
	uint32_t lo = 0, hi = t->n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (compare(key_of(t, &t->ents[mid]), k) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool same_name(const struct ledger_tree *t, uint32_t i, const char *name, size_t len)
{
	return i < t->n && t->ents[i].namelen == len && !memcmp(name_of(t, &t->ents[i]), name, len);
}

/* --- parsing -------------------------------------------------------------------------------------------------------- */

static uint8_t kind_of(unsigned mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return mode & S_IXUSR ? LEDGER_EXEC : LEDGER_FILE;
	case S_IFLNK:
		return LEDGER_LINK;
	case S_IFDIR:
		return LEDGER_DIR;
	default: /* a submodule's commit, or nothing that git knows */
		return 0;
	}
}

/* The entry at `off`; its size, or 0 when the bytes end or lie. */
static size_t parse_entry(const unsigned char *raw, size_t len, size_t off, struct tent *e)
{
	size_t i = off;
	unsigned mode = 0;
	const unsigned char *nul;

	for (; i < len && raw[i] >= '0' && raw[i] <= '7' && i - off < 8; i++)
		mode = mode << 3 | (unsigned)(raw[i] - '0');
	if (i == off || i >= len || raw[i] != ' ')
		return 0;
	nul = memchr(raw + i + 1, '\0', len - i - 1);
	if (!nul || len - (size_t)(nul + 1 - raw) < LEDGER_OID_SIZE)
		return 0;
	e->off = (uint32_t)off;
	e->modelen = (uint8_t)(i - off);
	e->namelen = (uint32_t)(nul - raw - (ptrdiff_t)i - 1);
	e->kind = kind_of(mode);
	e->flags = e->kind == LEDGER_DIR ? TENT_DIR : 0;
	return size_of(e);
}

static uint32_t count_entries(const unsigned char *raw, size_t len)
{
	uint32_t n = 0;
	struct tent e;

	for (size_t off = 0, step; off < len; off += step, n++) {
		step = parse_entry(raw, len, off, &e);
		if (!step)
			return UINT32_MAX;
	}
	return n;
}

static int by_key(const void *a, const void *b, void *tree)
{
	const struct tent *x = a, *y = b;
	int d = compare(key_of(tree, x), key_of(tree, y));

	return d ? d : (x->off > y->off) - (x->off < y->off);
}

static void index_entries(struct ledger_tree *t)
{
	uint32_t n = 0;

	for (size_t off = 0; off < t->rawlen; n++) {
		off += parse_entry(t->raw, t->rawlen, off, &t->ents[n]);
		if (n && compare(key_of(t, &t->ents[n - 1]), key_of(t, &t->ents[n])) > 0)
			t->unsorted = true;
	}
	if (t->unsorted)
		qsort_r(t->ents, n, sizeof(*t->ents), by_key, t);
}

/* Of entries with one name the first in git's order is the one that git's own look-ups find. */
static bool is_duplicate(const struct ledger_tree *t, uint32_t i)
{
	struct key k = key_of(t, &t->ents[i]);

	if (i && !compare(key_of(t, &t->ents[i - 1]), k))
		return true;
	if (!k.dir)
		return false;
	k.dir = false;
	return same_name(t, lower_bound(t, k), k.name, k.len) && !(t->ents[lower_bound(t, k)].flags & TENT_DIR);
}

/* SPEC 3, last row: names that git refuses, duplicates, submodules, entries without an object are never shown. */
static bool must_hide(const struct ledger_tree *t, uint32_t i)
{
	const struct tent *e = &t->ents[i];
	struct ledger_oid oid;

	memcpy(oid.id, t->raw + e->off + size_of(e) - LEDGER_OID_SIZE, LEDGER_OID_SIZE);
	return !e->kind || ledger_oid_is_zero(&oid) || names_component(name_of(t, e), e->namelen) || is_duplicate(t, i);
}

/* Fills `vis` from the flags. */
static int list_visible(struct ledger_tree *t)
{
	uint32_t hidden = 0;

	for (uint32_t i = 0; i < t->n; i++)
		hidden += (t->ents[i].flags & TENT_HIDDEN) != 0;
	t->nvis = t->n - hidden;
	if (!hidden)
		return 0;
	t->vis = malloc((t->nvis + 1) * sizeof(*t->vis));
	if (!t->vis)
		return LEDGER_ENOMEM;
	for (uint32_t i = 0, k = 0; i < t->n; i++)
		if (!(t->ents[i].flags & TENT_HIDDEN))
			t->vis[k++] = i;
	return 0;
}

static struct ledger_tree *tree_alloc(uint32_t n)
{
	struct ledger_tree *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	atomic_init(&t->refs, 1);
	t->n = n;
	t->ents = malloc(((size_t)n + 1) * sizeof(*t->ents));
	if (t->ents)
		return t;
	free(t);
	return NULL;
}

int tree_parse(struct ledger_tree **out, const struct ledger_oid *oid, void *raw, size_t len)
{
	struct ledger_tree *t = NULL;
	uint32_t n;

	if (len >= UINT32_MAX) {
		free(raw);
		return ledger_fail(LEDGER_ETOOBIG, "a tree object is too large");
	}
	n = count_entries(raw, len);
	if (n == UINT32_MAX) {
		char hex[LEDGER_OID_HEXSIZE + 1];

		free(raw);
		return ledger_fail(LEDGER_ECORRUPT, "tree %s is malformed", ledger_oid_fmt(hex, oid));
	}
	t = tree_alloc(n);
	if (!t) {
		free(raw);
		return LEDGER_ENOMEM;
	}
	t->oid = *oid;
	t->raw = raw;
	t->rawlen = len;
	index_entries(t);
	for (uint32_t i = 0; i < n; i++)
		if (must_hide(t, i))
			t->ents[i].flags |= TENT_HIDDEN;
	if (list_visible(t)) {
		ledger_tree_unref(t);
		return LEDGER_ENOMEM;
	}
	*out = t;
	return 0;
}

int tree_empty(struct ledger_tree **out, const struct ledger_oid *oid)
{
	return tree_parse(out, oid, NULL, 0);
}

/* --- reading -------------------------------------------------------------------------------------------------------- */

struct ledger_tree *ledger_tree_ref(struct ledger_tree *t)
{
	atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
	return t;
}

void ledger_tree_unref(struct ledger_tree *t)
{
	if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
		return;
	free(t->raw);
	free(t->ents);
	free(t->vis);
	free(t);
}

size_t tree_footprint(const struct ledger_tree *t)
{
	return sizeof(*t) + t->rawlen + t->n * sizeof(*t->ents) + (t->vis ? t->nvis * sizeof(*t->vis) : 0) + 64;
}

size_t ledger_tree_count(const struct ledger_tree *t)
{
	return t->nvis;
}

static void fill(const struct ledger_tree *t, uint32_t i, struct ledger_entry *out)
{
	const struct tent *e = &t->ents[i];

	out->name = name_of(t, e);
	out->namelen = e->namelen;
	out->kind = (enum ledger_kind)e->kind;
	memcpy(out->oid.id, t->raw + e->off + size_of(e) - LEDGER_OID_SIZE, LEDGER_OID_SIZE);
}

void ledger_tree_at(const struct ledger_tree *t, size_t i, struct ledger_entry *out)
{
	fill(t, t->vis ? t->vis[i] : (uint32_t)i, out);
}

int ledger_tree_find(const struct ledger_tree *t, const char *name, size_t namelen, struct ledger_entry *out)
{
	/* An entry's place depends on whether it is a directory, which the caller wants to know: look at both. */
	for (int dir = 0; dir < 2; dir++) {
		uint32_t i = lower_bound(t, (struct key){name, namelen, dir});

		for (; same_name(t, i, name, namelen); i++) {
			if (t->ents[i].flags & TENT_HIDDEN)
				continue;
			fill(t, i, out);
			return 0;
		}
	}
	return LEDGER_ENOTFOUND;
}

unsigned tree_named(const struct ledger_tree *t, const char *name, size_t len, bool *hidden)
{
	unsigned n = 0, shown = 0;

	for (int dir = 0; dir < 2; dir++) {
		uint32_t i = lower_bound(t, (struct key){name, len, dir});

		for (; same_name(t, i, name, len) && !!(t->ents[i].flags & TENT_DIR) == dir; i++, n++)
			shown += !(t->ents[i].flags & TENT_HIDDEN);
	}
	*hidden = n && !shown;
	return n;
}

/* --- splicing ------------------------------------------------------------------------------------------------------- */

/* One step of a splice: at index `at` of the old entries, leave out that entry, or put a new one before it. */
struct step {
	uint32_t at;
	const struct tree_change *put; /* NULL: leave out */
};

struct steps {
	struct step *v;
	size_t n;
};

static int by_place(const void *a, const void *b)
{
	const struct step *x = a, *y = b;

	if (x->at != y->at)
		return x->at < y->at ? -1 : 1;
	if (!x->put || !y->put)
		return x->put ? -1 : y->put ? 1 : 0;
	return compare((struct key){x->put->name, x->put->namelen, x->put->kind == LEDGER_DIR},
		       (struct key){y->put->name, y->put->namelen, y->put->kind == LEDGER_DIR});
}

/* Appends a step for every old entry, shown or not, of the name. */
static size_t plan_removal(const struct ledger_tree *t, const struct tree_change *c, struct step *v, size_t k)
{
	for (int dir = 0; dir < 2; dir++) {
		uint32_t i = lower_bound(t, (struct key){c->name, c->namelen, dir});

		for (; same_name(t, i, c->name, c->namelen) && !!(t->ents[i].flags & TENT_DIR) == dir; i++)
			v[k++] = (struct step){i, NULL};
	}
	return k;
}

/* All steps of the changes, in order.  *adds: how many entries come. */
static int plan(const struct ledger_tree *t, const struct tree_change *ch, size_t n, struct steps *out, uint32_t *adds)
{
	size_t cap = n, k = 0;
	struct step *v;
	bool hidden;

	for (size_t c = 0; c < n; c++)
		cap += tree_named(t, ch[c].name, ch[c].namelen, &hidden);
	v = malloc((cap + 1) * sizeof(*v));
	if (!v)
		return LEDGER_ENOMEM;
	*adds = 0;
	for (size_t c = 0; c < n; c++) {
		k = plan_removal(t, &ch[c], v, k);
		if (!ch[c].kind)
			continue;
		v[k].at = lower_bound(t, (struct key){ch[c].name, ch[c].namelen, ch[c].kind == LEDGER_DIR});
		v[k++].put = &ch[c];
		++*adds;
	}
	qsort(v, k, sizeof(*v), by_place);
	*out = (struct steps){v, k};
	return 0;
}

static const char *mode_text(enum ledger_kind kind)
{
	static const char *const text[] = {
		[LEDGER_FILE] = "100644", [LEDGER_EXEC] = "100755", [LEDGER_LINK] = "120000", [LEDGER_DIR] = "40000"};

	return text[kind];
}

/* The bytes and the index of a new tree as they grow. */
struct draft {
	struct ledger_tree *t;
	struct buf raw;
	uint32_t n;
};

static void draft_old(struct draft *d, const struct ledger_tree *base, uint32_t from, uint32_t to)
{
	const struct tent *e = base->ents;

	if (from >= to)
		return;
	if (base->unsorted) { /* the bytes do not follow the index: one by one */
		for (uint32_t i = from; i < to; i++) {
			d->t->ents[d->n] = e[i];
			d->t->ents[d->n++].off = (uint32_t)d->raw.len;
			buf_add(&d->raw, base->raw + e[i].off, size_of(&e[i]));
		}
		return;
	}
	for (uint32_t i = from; i < to; i++) {
		d->t->ents[d->n] = e[i];
		d->t->ents[d->n++].off = (uint32_t)(d->raw.len + (e[i].off - e[from].off));
	}
	buf_add(&d->raw, base->raw + e[from].off, e[to - 1].off + size_of(&e[to - 1]) - e[from].off);
}

static void draft_new(struct draft *d, const struct tree_change *c)
{
	const char *mode = mode_text(c->kind);

	d->t->ents[d->n++] = (struct tent){(uint32_t)d->raw.len, (uint32_t)c->namelen, (uint8_t)strlen(mode),
					   c->kind == LEDGER_DIR ? TENT_DIR : 0, (uint8_t)c->kind};
	buf_str(&d->raw, mode);
	buf_add(&d->raw, " ", 1);
	buf_add(&d->raw, c->name, c->namelen);
	buf_add(&d->raw, "", 1);
	buf_add(&d->raw, c->oid.id, LEDGER_OID_SIZE);
}

static size_t offset_at(const struct ledger_tree *t, uint32_t i)
{
	return i < t->n ? t->ents[i].off : t->rawlen;
}

static int draft_finish(struct draft *d, struct ledger_tree **out)
{
	struct ledger_tree *t = d->t;
	int rc;

	if (d->raw.oom)
		return LEDGER_ENOMEM;
	if (d->raw.len >= UINT32_MAX)
		return ledger_fail(LEDGER_ETOOBIG, "the directory would be too large");
	t->n = d->n;
	t->rawlen = d->raw.len;
	t->raw = (unsigned char *)buf_detach(&d->raw);
	if (!t->raw)
		return LEDGER_ENOMEM;
	rc = list_visible(t);
	if (!rc)
		rc = hash_tree(t->raw, t->rawlen, &t->oid);
	if (!rc)
		*out = t;
	return rc;
}

int tree_splice(const struct ledger_tree *base, const struct tree_change *ch, size_t n, struct ledger_tree **out,
		struct tree_delta *delta)
{
	struct draft d = {0};
	struct steps steps = {0};
	uint32_t adds, from = 0;
	size_t end;
	int rc = plan(base, ch, n, &steps, &adds);

	if (rc)
		return rc;
	d.t = tree_alloc(base->n + adds);
	if (!d.t) {
		rc = LEDGER_ENOMEM;
		goto out;
	}
	for (size_t i = 0; i < steps.n; i++) {
		draft_old(&d, base, from, steps.v[i].at);
		from = steps.v[i].at;
		if (steps.v[i].put)
			draft_new(&d, steps.v[i].put);
		else
			from++;
	}
	end = offset_at(base, from);
	delta->off = steps.n ? offset_at(base, steps.v[0].at) : base->rawlen;
	delta->del = end - delta->off;
	delta->inslen = d.raw.len - delta->off;
	delta->whole = base->unsorted;
	draft_old(&d, base, from, base->n);
	rc = draft_finish(&d, out);
out:
	free(steps.v);
	buf_release(&d.raw);
	if (rc)
		ledger_tree_unref(d.t);
	return rc;
}
