/* SPDX-License-Identifier: MIT */
/*
 * The statistics in Prometheus' text format 0.0.4: per family HELP and TYPE, then a line for each namespace.
 *
 * Label values are UTF-8.  A name that is not, or that has control characters, quotes or backslashes, is shown as git would
 * quote it, so that two names never become one; then what the format itself needs is escaped.
 */
#include "buf.h"
#include "internal.h"
#include "stats.h"

#include <stdlib.h>

static void label(struct buf *b, const char *name, const char *value)
{
	struct buf quoted = BUF_INIT;

	message_path(&quoted, value);
	b->oom = b->oom || quoted.oom;
	buf_fmt(b, "%s=\"", name);
	for (const char *p = quoted.p ? quoted.p : ""; *p; p++) {
		if (*p == '"' || *p == '\\')
			buf_add(b, "\\", 1);
		buf_add(b, p, 1);
	}
	buf_str(b, "\"");
	buf_release(&quoted);
}

/* "ledgerfs_NAME{namespace="...",MORE} " */
static void series(struct buf *b, const char *name, const struct stats_view *v, const char *more_name, const char *more)
{
	buf_fmt(b, "ledgerfs_%s{", name);
	label(b, "namespace", v->ns);
	if (more) {
		buf_str(b, ",");
		label(b, more_name, more);
	}
	buf_str(b, "} ");
}

static void family(struct buf *b, const char *name, const char *type, const char *help)
{
	buf_fmt(b, "# HELP ledgerfs_%s %s\n# TYPE ledgerfs_%s %s\n", name, help, name, type);
}

static void counter(struct buf *b, const struct stats_view *v, size_t n, size_t field, const char *name, const char *help)
{
	family(b, name, "counter", help);
	for (size_t i = 0; i < n; i++) {
		series(b, name, &v[i], NULL, NULL);
		buf_fmt(b, "%llu\n", (unsigned long long)*(const uint64_t *)((const char *)&v[i].numbers + field));
	}
}

static void put_counters(struct buf *b, const struct stats_view *v, size_t n)
{
	static const struct {
		const char *name;
		size_t field;
		const char *help;
	} all[] = {
		{"attempts_total", offsetof(struct ledger_stats, attempts), "Changes that were tried."},
		{"commits_total", offsetof(struct ledger_stats, commits), "Changes that were made: one commit each."},
		{"unchanged_total", offsetof(struct ledger_stats, unchanged),
		 "Changes that were so already: success without a commit."},
		{"lock_timeouts_total", offsetof(struct ledger_stats, lock_timeouts),
		 "Changes given up because the lock of the ref stayed held by another."},
		{"failures_total", offsetof(struct ledger_stats, failures),
		 "Changes that failed for another reason than a conflict or a lock."},
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		counter(b, v, n, all[i].field, all[i].name, all[i].help);
	family(b, "successes_total", "counter", "Changes that succeeded, with a commit or without.");
	for (size_t i = 0; i < n; i++) {
		series(b, "successes_total", &v[i], NULL, NULL);
		buf_fmt(b, "%llu\n", (unsigned long long)(v[i].numbers.commits + v[i].numbers.unchanged));
	}
}

static void put_conflicts(struct buf *b, const struct stats_view *v, size_t n)
{
	family(b, "conflicts_total", "counter", "Changes that were refused, by what did not hold.");
	for (size_t i = 0; i < n; i++)
		for (int r = 0; r < LEDGER_REFUSALS; r++) {
			series(b, "conflicts_total", &v[i], "reason", ledger_refusal_name(r));
			buf_fmt(b, "%llu\n", (unsigned long long)v[i].numbers.conflicts[r]);
		}
}

static void put_retries(struct buf *b, const struct stats_view *v, size_t n)
{
	family(b, "retries_total", "counter",
	       "Further tries: the lock of the ref was held (lock), another writer had moved the ref (moved).");
	for (size_t i = 0; i < n; i++) {
		series(b, "retries_total", &v[i], "cause", "lock");
		buf_fmt(b, "%llu\n", (unsigned long long)v[i].numbers.lock_retries);
		series(b, "retries_total", &v[i], "cause", "moved");
		buf_fmt(b, "%llu\n", (unsigned long long)v[i].numbers.moved_retries);
	}
}

static void put_durations(struct buf *b, const struct stats_view *v, size_t n)
{
	family(b, "change_duration_seconds", "summary",
	       "Time from the start of a change to its answer, success or conflict.");
	for (size_t i = 0; i < n; i++) {
		const struct ledger_stats *s = &v[i].numbers;
		const struct {
			const char *q;
			double value;
		} quantiles[] = {{"0.5", s->p50}, {"0.95", s->p95}, {"0.99", s->p99}};

		for (size_t k = 0; k < 3; k++) {
			series(b, "change_duration_seconds", &v[i], "quantile", quantiles[k].q);
			if (s->timed)
				buf_fmt(b, "%.7g\n", quantiles[k].value);
			else
				buf_str(b, "NaN\n");
		}
		series(b, "change_duration_seconds_sum", &v[i], NULL, NULL);
		buf_fmt(b, "%.9g\n", s->seconds);
		series(b, "change_duration_seconds_count", &v[i], NULL, NULL);
		buf_fmt(b, "%llu\n", (unsigned long long)s->timed);
	}
}

static void put_contended(struct buf *b, const struct stats_view *v, size_t n)
{
	family(b, "contended_key_conflicts", "gauge", "Refused changes of the most contended keys; an upper estimate.");
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < v[i].ncontended; k++) {
			series(b, "contended_key_conflicts", &v[i], "key", v[i].contended[k].key);
			buf_fmt(b, "%llu\n", (unsigned long long)v[i].contended[k].conflicts);
		}
}

int ledger_stats_text(struct ledger *l, const char *ns, char **text, size_t *len)
{
	struct stats_view none = {.ns = ns}, *v = NULL;
	const struct stats_view *show;
	struct buf b = BUF_INIT;
	size_t n, used;
	char *p;
	int rc = stats_views(l->stats, ns, &v, &n);

	if (rc)
		return rc;
	show = ns && !n ? &none : v;
	if (ns && !n)
		n = 1;
	put_counters(&b, show, n);
	put_conflicts(&b, show, n);
	put_retries(&b, show, n);
	put_durations(&b, show, n);
	put_contended(&b, show, n);
	stats_views_free(v, show == v ? n : 0);
	used = b.len;
	p = buf_detach(&b);
	if (!p)
		return LEDGER_ENOMEM;
	*text = p;
	*len = used;
	return 0;
}
