/* SPDX-License-Identifier: MIT */
#include "stats.h"

#include "histogram.h"
#include "internal.h"
#include "topkeys.h"

#include <stdlib.h>

#define BUCKETS 256

struct entry {
	struct entry *next; /* chain of the bucket; constant */
	char *ns;           /* constant */
	pthread_mutex_t lock;
	struct ledger_stats n;  /* lock; attempts and quantiles are found out when they are read */
	struct histogram times; /* lock */
	struct topkeys keys;    /* lock */
	struct ledger_oid last; /* lock; where this ledger last saw the namespace; zero: not yet */
};

/* Entries live until the end: who found one may use it without the table's lock. */
struct stats {
	pthread_mutex_t lock;
	struct entry *bucket[BUCKETS]; /* lock */
	size_t count;                  /* lock */
};

const char *ledger_refusal_name(enum ledger_refusal r)
{
	static const char *const names[] = {"tree", "commit", "version", "blob", "absent", "base", "exists"};

	return (unsigned)r < LEDGER_REFUSALS ? names[r] : "?";
}

struct stats *stats_new(void)
{
	struct stats *s = calloc(1, sizeof(*s));

	if (s)
		pthread_mutex_init(&s->lock, NULL);
	return s;
}

void stats_free(struct stats *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct entry *e = s->bucket[i], *next; e; e = next) {
			next = e->next;
			topkeys_release(&e->keys);
			pthread_mutex_destroy(&e->lock);
			free(e->ns);
			free(e);
		}
	pthread_mutex_destroy(&s->lock);
	free(s);
}

uint64_t stats_clock(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* --- namespaces ----------------------------------------------------------------------------------------------------- */

static struct entry **bucket_of(struct stats *s, const char *ns)
{
	uint32_t h = 2166136261u;

	for (; *ns; ns++)
		h = (h ^ (unsigned char)*ns) * 16777619u;
	return &s->bucket[h % BUCKETS];
}

static struct entry *find_locked(struct stats *s, const char *ns)
{
	struct entry *e = *bucket_of(s, ns);

	while (e && strcmp(e->ns, ns))
		e = e->next;
	return e;
}

static struct entry *make_locked(struct stats *s, const char *ns)
{
	struct entry *e = calloc(1, sizeof(*e)), **b = bucket_of(s, ns);

	if (e && !(e->ns = strdup(ns))) {
		free(e);
		e = NULL;
	}
	if (!e)
		return NULL;
	pthread_mutex_init(&e->lock, NULL);
	e->next = *b;
	*b = e;
	s->count++;
	return e;
}

/* The namespace's entry; a new one only if `make`; the common one when there are too many.  NULL: none. */
static struct entry *entry_of(struct stats *s, const char *ns, bool make)
{
	struct entry *e;

	pthread_mutex_lock(&s->lock);
	e = find_locked(s, ns);
	if (!e && s->count >= LEDGER_STATS_NAMESPACES) {
		e = find_locked(s, "");
		ns = "";
	}
	if (!e && make)
		e = make_locked(s, ns);
	pthread_mutex_unlock(&s->lock);
	return e;
}

/* --- counting ------------------------------------------------------------------------------------------------------- */

static enum ledger_refusal refusal_of(enum ledger_reason reason, bool absent)
{
	switch (reason) {
	case LEDGER_REASON_TREE:
		return LEDGER_REFUSED_TREE;
	case LEDGER_REASON_COMMIT:
		return LEDGER_REFUSED_COMMIT;
	case LEDGER_REASON_VERSION:
		return LEDGER_REFUSED_VERSION;
	case LEDGER_REASON_BLOB:
		return LEDGER_REFUSED_BLOB;
	case LEDGER_REASON_ABSENT:
		return LEDGER_REFUSED_ABSENT;
	default:
		return absent ? LEDGER_REFUSED_EXISTS : LEDGER_REFUSED_BASE;
	}
}

/* The key that a refused change is counted for: the one in the way, else the first that it was to change. */
static const char *contended_key(const struct stats_attempt *a, bool *absent)
{
	const struct ledger_change *c = a->change;
	size_t i = a->res->index;

	*absent = a->rc == LEDGER_EEXISTS;
	if (!c || !c->nedits)
		return NULL;
	if (a->res->reason == LEDGER_REASON_BASE && i < c->nedits)
		*absent = c->edits[i].base_rule == LEDGER_BASE_ABSENT;
	if ((a->res->reason == LEDGER_REASON_BASE || a->res->reason == LEDGER_REASON_EDIT) && i < c->nedits)
		return *absent && c->edits[i].op == LEDGER_RENAME ? c->edits[i].to : c->edits[i].path;
	if (a->res->reason >= LEDGER_REASON_BLOB && i < c->nexpects)
		return c->expects[i].path;
	return c->edits[0].path;
}

static void count_refused(struct entry *e, enum ledger_reason reason, bool absent, const char *key)
{
	e->n.conflicts[refusal_of(reason, absent)]++;
	if (key)
		topkeys_add(&e->keys, key);
}

static bool is_refusal(const struct stats_attempt *a)
{
	return a->rc == LEDGER_ECONFLICT || (a->rc == LEDGER_EEXISTS && a->res->reason == LEDGER_REASON_EDIT);
}

static void count_locked(struct entry *e, const struct stats_attempt *a)
{
	bool refused = is_refusal(a), absent;
	const char *key;

	e->n.lock_retries += a->lock_retries;
	if (!a->rc && a->res->changed) {
		e->n.commits++;
	} else if (!a->rc) {
		e->n.unchanged++;
	} else if (refused) {
		key = contended_key(a, &absent);
		count_refused(e, a->res->reason, absent, key);
	} else if (a->rc == LEDGER_ELOCKED) {
		e->n.lock_timeouts++;
	} else {
		e->n.failures++;
	}
	if (!a->rc || refused)
		histogram_add(&e->times, stats_clock() - a->began_us);
}

void stats_attempt(struct stats *s, const struct stats_attempt *a)
{
	/* Only what exists gets an entry: names that somebody made up are not worth memory. */
	struct entry *e = entry_of(s, a->ns, a->rc == 0 || a->rc == LEDGER_ECONFLICT);

	if (!e)
		return;
	pthread_mutex_lock(&e->lock);
	count_locked(e, a);
	pthread_mutex_unlock(&e->lock);
}

void stats_saw(struct stats *s, const char *ns, const struct ledger_oid *found, const struct ledger_oid *left)
{
	struct entry *e = entry_of(s, ns, true);

	if (!e || !*e->ns)
		return;
	pthread_mutex_lock(&e->lock);
	if (!ledger_oid_is_zero(&e->last) && !ledger_oid_eq(&e->last, found))
		e->n.moved_retries++;
	e->last = *left;
	pthread_mutex_unlock(&e->lock);
}

void ledger_stats_refused(struct ledger *l, const char *ns, enum ledger_reason reason, bool absent, const char *key)
{
	struct entry *e = entry_of(l->stats, ns, true);

	if (!e)
		return;
	pthread_mutex_lock(&e->lock);
	count_refused(e, reason, absent, key);
	pthread_mutex_unlock(&e->lock);
}

/* --- reading -------------------------------------------------------------------------------------------------------- */

static void read_locked(const struct entry *e, struct ledger_stats *out)
{
	*out = e->n;
	out->attempts = out->commits + out->unchanged + out->lock_timeouts + out->failures;
	for (int i = 0; i < LEDGER_REFUSALS; i++)
		out->attempts += out->conflicts[i];
	out->timed = e->times.count;
	out->seconds = (double)e->times.sum_us / 1e6;
	out->p50 = histogram_quantile(&e->times, 0.5);
	out->p95 = histogram_quantile(&e->times, 0.95);
	out->p99 = histogram_quantile(&e->times, 0.99);
}

void ledger_stats_get(struct ledger *l, const char *ns, struct ledger_stats *out)
{
	struct entry *e;

	memset(out, 0, sizeof(*out));
	pthread_mutex_lock(&l->stats->lock);
	e = find_locked(l->stats, ns);
	pthread_mutex_unlock(&l->stats->lock);
	if (!e)
		return;
	pthread_mutex_lock(&e->lock);
	read_locked(e, out);
	pthread_mutex_unlock(&e->lock);
}

static int view_entry(struct entry *e, struct stats_view *v)
{
	struct topkey top[LEDGER_STATS_KEYS];
	size_t n;
	int rc = 0;

	v->ns = e->ns;
	pthread_mutex_lock(&e->lock);
	read_locked(e, &v->numbers);
	n = topkeys_list(&e->keys, top, LEDGER_STATS_KEYS);
	for (size_t i = 0; i < n && !rc; i++) {
		v->contended[i].conflicts = top[i].count;
		v->contended[i].key = strdup(top[i].key);
		if (v->contended[i].key)
			v->ncontended++;
		else
			rc = LEDGER_ENOMEM;
	}
	pthread_mutex_unlock(&e->lock);
	return rc;
}

/* The entries to be shown, in no order; for the caller to free. */
static struct entry **entries(struct stats *s, const char *ns, size_t *n)
{
	struct entry **list;

	pthread_mutex_lock(&s->lock);
	list = calloc(s->count + 1, sizeof(struct entry *));
	*n = 0;
	for (size_t i = 0; list && i < BUCKETS; i++)
		for (struct entry *e = s->bucket[i]; e; e = e->next)
			if (!ns || strcmp(e->ns, ns) == 0)
				list[(*n)++] = e;
	pthread_mutex_unlock(&s->lock);
	return list;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct stats_view *)a)->ns, ((const struct stats_view *)b)->ns);
}

int stats_views(struct stats *s, const char *ns, struct stats_view **out, size_t *n)
{
	size_t count;
	struct entry **list = entries(s, ns, &count);
	struct stats_view *v = list ? calloc(count + 1, sizeof(*v)) : NULL;
	int rc = v ? 0 : LEDGER_ENOMEM;

	for (size_t i = 0; !rc && i < count; i++)
		rc = view_entry(list[i], &v[i]);
	free(list);
	if (rc) {
		stats_views_free(v, count);
		return rc;
	}
	qsort(v, count, sizeof(*v), by_name);
	*out = v;
	*n = count;
	return 0;
}

void stats_views_free(struct stats_view *v, size_t n)
{
	for (size_t i = 0; v && i < n; i++)
		for (size_t k = 0; k < v[i].ncontended; k++)
			free(v[i].contended[k].key);
	free(v);
}
