/* SPDX-License-Identifier: MIT */
#include "timeindex.h"

#include "treediff.h"

#include <stdlib.h>

#define SEGMENT 256 /* commits that are kept in memory at a time */

/* --- the last steps ------------------------------------------------------------------------------------------------- */

struct time_past {
	struct {
		struct ledger_oid commit;
		uint32_t undo; /* the first thing to undo of what came after it */
	} was[TIMEINDEX_PAST];
	struct time_slot undo[TIMEINDEX_UNDO]; /* what a key had before; TIME_NONE: it was not there */
	size_t nwas, nundo;
};

static void past_forget(struct time_past *p)
{
	if (p)
		p->nwas = p->nundo = 0;
}

/* Room for a step that changes `n` keys; the older half goes when it must.  NULL: the step is not to be undone. */
static struct time_past *past_room(struct timeindex *x, size_t n)
{
	struct time_past *p = x->past;

	if (!p) {
		p = x->past = malloc(sizeof(*p)); /* what is not used yet takes no memory */
		past_forget(p);
	}
	if (!p)
		return NULL;
	if (ledger_oid_is_zero(&x->commit) || n > TIMEINDEX_UNDO / 2) {
		past_forget(p);
		return NULL;
	}
	while (p->nwas == TIMEINDEX_PAST || p->nundo + n > TIMEINDEX_UNDO) {
		size_t k = (p->nwas + 1) / 2;
		uint32_t gone = k < p->nwas ? p->was[k].undo : (uint32_t)p->nundo;

		p->nwas -= k;
		p->nundo -= gone;
		memmove(p->was, p->was + k, p->nwas * sizeof(*p->was));
		memmove(p->undo, p->undo + gone, p->nundo * sizeof(*p->undo));
		for (size_t i = 0; i < p->nwas; i++)
			p->was[i].undo -= gone;
	}
	return p;
}

static ptrdiff_t past_find(const struct time_past *p, const struct ledger_oid *commit)
{
	for (size_t i = p ? p->nwas : 0; i-- > 0;)
		if (ledger_oid_eq(&p->was[i].commit, commit))
			return (ptrdiff_t)i;
	return -1;
}

/* --- looking -------------------------------------------------------------------------------------------------------- */

bool timeindex_knows(const struct timeindex *x, const struct ledger_oid *commit)
{
	return ledger_oid_eq(&x->commit, commit) || past_find(x->past, commit) >= 0;
}

int timeindex_at(const struct timeindex *x, const struct ledger_oid *commit, const struct path_id *path,
		 struct timespec *out)
{
	const struct time_slot *s = timetable_get(&x->table, path);

	if (!ledger_oid_eq(&x->commit, commit)) {
		ptrdiff_t k = past_find(x->past, commit);

		if (k < 0)
			return -1;
		for (size_t i = x->past->was[k].undo; i < x->past->nundo; i++)
			if (path_id_eq(&x->past->undo[i].id, path)) {
				s = &x->past->undo[i];
				break;
			}
	}
	if (!s || s->nsec == TIME_NONE)
		return 0;
	*out = (struct timespec){(time_t)s->sec, s->nsec};
	return 1;
}

size_t timeindex_memory(const struct timeindex *x)
{
	return x->table.nslots * sizeof(*x->table.slots) + (x->past ? sizeof(*x->past) : 0);
}

void timeindex_clear(struct timeindex *x)
{
	static const struct ledger_oid none;

	timetable_release(&x->table);
	past_forget(x->past);
	x->commit = x->tree = none;
}

void timeindex_release(struct timeindex *x)
{
	timeindex_clear(x);
	free(x->past);
	x->past = NULL;
}

/* --- one step ------------------------------------------------------------------------------------------------------- */

struct changes {
	struct change {
		struct path_id id;
		bool there;
	} * v;
	size_t n, cap;
	size_t appear;
	const struct treediff *diff;
	size_t bytes; /* that may be read */
	const atomic_bool *stop;
};

static bool stopped(const atomic_bool *stop)
{
	return stop && atomic_load_explicit(stop, memory_order_relaxed);
}

static int collect(void *arg, const char *path, size_t len, bool there)
{
	struct changes *c = arg;

	if (c->diff->bytes > c->bytes || stopped(c->stop))
		return 1;
	if (c->n >= 2 * TIMEINDEX_KEYS_MAX)
		return LEDGER_ETOOBIG;
	if (c->n == c->cap) {
		size_t cap = c->cap ? 2 * c->cap : 16;
		struct change *v = realloc(c->v, cap * sizeof(*v));

		if (!v)
			return LEDGER_ENOMEM;
		c->v = v;
		c->cap = cap;
	}
	path_id(path, len, &c->v[c->n].id);
	c->v[c->n++].there = there;
	c->appear += there;
	return 0;
}

static int apply(struct timeindex *x, const struct changes *c, const struct tip_info *to)
{
	struct time_past *p;

	if (x->table.n + c->appear > TIMEINDEX_KEYS_MAX)
		return LEDGER_ETOOBIG;
	if (!timetable_reserve(&x->table, x->table.n + c->appear))
		return LEDGER_ENOMEM;
	p = past_room(x, c->n);
	if (p) {
		p->was[p->nwas].commit = x->commit;
		p->was[p->nwas++].undo = (uint32_t)p->nundo;
	}
	for (size_t i = 0; i < c->n; i++) {
		const struct change *ch = &c->v[i];

		if (p) {
			const struct time_slot *s = timetable_get(&x->table, &ch->id);

			p->undo[p->nundo++] = s ? *s : (struct time_slot){ch->id, TIME_NONE, 0};
		}
		if (ch->there)
			timetable_put(&x->table, &ch->id, &to->tip.time);
		else
			timetable_remove(&x->table, &ch->id);
	}
	x->commit = to->tip.commit;
	x->tree = to->tip.tree;
	x->steps++;
	return 0;
}

static int step(struct timeindex *x, struct ledger *l, const struct tip_info *to, size_t *bytes, const atomic_bool *stop)
{
	struct treediff d = {.l = l, .each = collect};
	struct changes c = {.diff = &d, .bytes = *bytes, .stop = stop};
	int rc;

	d.arg = &c;
	rc = treediff_run(&d, &x->tree, &to->tip.tree);
	if (rc == LEDGER_ENOTFOUND)
		rc = ledger_fail(LEDGER_ECORRUPT, "a tree of the history is missing");
	if (!rc)
		rc = apply(x, &c, to);
	free(c.v);
	if (*bytes != SIZE_MAX)
		*bytes -= d.bytes < *bytes ? d.bytes : *bytes;
	return rc;
}

/* --- the way -------------------------------------------------------------------------------------------------------- */

/* From a commit back to the index's, or to the first of all: every SEGMENTth commit. */
struct way {
	struct ledger_oid *mark;
	size_t n, cap;
	struct ledger_oid first; /* when it is not the index's; else zero */
};

static int add_mark(struct way *w, const struct ledger_oid *oid)
{
	if (w->n == w->cap) {
		size_t cap = w->cap ? 2 * w->cap : 16;
		struct ledger_oid *m = realloc(w->mark, cap * sizeof(*m));

		if (!m)
			return LEDGER_ENOMEM;
		w->mark = m;
		w->cap = cap;
	}
	w->mark[w->n++] = *oid;
	return 0;
}

static int find_way(const struct timeindex *x, struct ledger *l, const struct ledger_oid *to, const struct time_budget *b,
		    struct way *w)
{
	struct ledger_oid at = *to, child = {0};
	int rc = add_mark(w, to);

	for (size_t n = 0; !rc && !ledger_oid_eq(&at, &x->commit); n++) {
		struct tip_info info;

		if (n >= b->commits || stopped(b->stop))
			return 1;
		rc = tip_peek(l, &at, &info);
		if (rc == LEDGER_ECORRUPT && n) { /* a shallow clone: the history begins with the child */
			w->first = child;
			return 0;
		}
		if (!rc && n && n % SEGMENT == 0)
			rc = add_mark(w, &at);
		if (!rc && ledger_oid_is_zero(&info.parent)) {
			w->first = at;
			return 0;
		}
		child = at;
		at = info.parent;
	}
	return rc;
}

/* The steps to `to`, which is not far from the index's commit. */
static int follow(struct timeindex *x, struct ledger *l, const struct ledger_oid *to, const struct way *w,
		  const struct time_budget *b, size_t *bytes)
{
	struct tip_info *part = malloc((SEGMENT + 1) * sizeof(*part));
	struct ledger_oid at = *to;
	size_t n = 0;
	int rc = part ? 0 : LEDGER_ENOMEM;

	while (!rc && n <= SEGMENT && !ledger_oid_eq(&at, &x->commit)) {
		bool first = ledger_oid_is_zero(&x->commit) && ledger_oid_eq(&at, &w->first);

		rc = tip_peek(l, &at, &part[n]);
		if (rc)
			break;
		at = part[n++].parent;
		if (first)
			break;
	}
	while (!rc && n-- > 0)
		rc = stopped(b->stop) ? 1 : step(x, l, &part[n], bytes, b->stop);
	free(part);
	return rc;
}

int timeindex_advance(struct timeindex *x, struct ledger *l, const struct ledger_oid *to, const struct time_budget *b)
{
	struct way w = {0};
	size_t bytes = b->bytes;
	int rc = find_way(x, l, to, b, &w);

	if (!rc && !ledger_oid_is_zero(&w.first))
		timeindex_clear(x);
	while (!rc && w.n) {
		rc = follow(x, l, &w.mark[--w.n], &w, b, &bytes);
		if (!rc && b->pause)
			b->pause(b->arg);
	}
	free(w.mark);
	return rc;
}
