/* SPDX-License-Identifier: MIT */
/* Words for people: errors, conflicts, progress; on stderr, in git's manner. */
#include "kv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One line in one write, so that lines of several processes on one terminal stay whole. */
static void say(const char *prefix, const char *fmt, va_list ap)
{
	char *text = NULL, *line;

	progress_done();
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	line = xasprintf("%s: %s\n", prefix, text ? text : "out of memory");
	fflush(stdout);
	fputs(line, stderr);
	free(line);
	free(text);
}

#define SAY(prefix)                   \
	do {                          \
		va_list ap;           \
		va_start(ap, fmt);    \
		say(prefix, fmt, ap); \
		va_end(ap);           \
	} while (0)

void say_error(const char *fmt, ...)
{
	SAY("error");
}

void say_warning(const char *fmt, ...)
{
	SAY("warning");
}

void say_hint(const char *fmt, ...)
{
	SAY("hint");
}

int say_fatal(const char *fmt, ...)
{
	SAY("fatal");
	return KV_FATAL;
}

int say_usage(const char *fmt, ...)
{
	SAY("error");
	return KV_USAGE;
}

int say_ledger(int code, const char *fmt, ...)
{
	/* Taken first: what follows may call the ledger again. */
	char *why = xstrdup(ledger_errmsg()), *what = NULL;
	int status = ledger_exit_status(code);
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&what, fmt, ap) < 0)
		what = NULL;
	va_end(ap);
	if (status == KV_FATAL)
		say_fatal("%s: %s", what ? what : "", why);
	else
		say_error("%s: %s", what ? what : "", why);
	free(what);
	free(why);
	return status;
}

/* --- conflicts -------------------------------------------------------------------------------------------------------- */

/* What the refused expectation was: its name, its value as text, the key that it is about (or NULL). */
struct wish {
	const char *name;
	char value[LEDGER_OID_HEXSIZE + 1];
	const char *key;
};

static void wish_of(struct wish *w, const struct ledger_change *c, const struct ledger_result *res)
{
	const struct ledger_expect *e = res->index < c->nexpects ? &c->expects[res->index] : NULL;

	memset(w, 0, sizeof(*w));
	w->name = ledger_reason_name(res->reason);
	if (!e || res->reason == LEDGER_REASON_BASE)
		return;
	switch (e->what) {
	case LEDGER_EXPECT_VERSION:
		snprintf(w->value, sizeof(w->value), "%" PRIu64, e->version);
		break;
	case LEDGER_EXPECT_ABSENT:
		snprintf(w->value, sizeof(w->value), "absent");
		w->key = e->path;
		break;
	case LEDGER_EXPECT_BLOB:
		w->key = e->path; /* fallthrough */
	case LEDGER_EXPECT_TREE:
	case LEDGER_EXPECT_COMMIT:
		ledger_oid_fmt(w->value, &e->oid);
		break;
	}
	if (w->key)
		w->name = "blob";
}

static const char *oid_or(char hex[LEDGER_OID_HEXSIZE + 1], const struct ledger_oid *oid, const char *none)
{
	return ledger_oid_is_zero(oid) ? none : ledger_oid_fmt(hex, oid);
}

static void conflict_json(const struct ledger_change *c, const struct wish *w, const struct ledger_result *res)
{
	json_t *top = json_object(), *o = json_object(), *expected = json_object(), *there = json_object();

	json_object_set_new(o, "reason", json_string(ledger_reason_name(res->reason)));
	json_object_set_new(o, "namespace", json_string(c->ns));
	if (w->key)
		json_put_bytes(o, "key", w->key, strlen(w->key));
	if (*w->value && strcmp(w->name, "version") == 0)
		json_object_set_new(expected, w->name, json_integer((json_int_t)strtoull(w->value, NULL, 10)));
	else if (*w->value)
		json_object_set_new(expected, w->name, json_string(w->value));
	json_put_tip(there, &res->tip);
	if (w->key)
		json_put_oid(there, "blob", &res->blob);
	json_object_set_new(o, "expected", expected);
	json_object_set_new(o, "there", there);
	json_object_set_new(top, "conflict", o);
	json_print(top);
}

int say_conflict(const struct kv *kv, const struct ledger_change *c, const struct ledger_result *res)
{
	char hex[LEDGER_OID_HEXSIZE + 1], version[24];
	bool absent = ledger_oid_is_zero(&res->tip.commit);
	const char *there;
	struct wish w;
	char *key;

	wish_of(&w, c, res);
	key = w.key ? quoted(w.key) : NULL;
	snprintf(version, sizeof(version), "%" PRIu64, res->tip.version);
	if (key)
		say_error("conflict: key '%s' in namespace '%s' is not as expected; nothing changed", key, c->ns);
	else if (absent)
		say_error("conflict: namespace '%s' is absent; nothing changed", c->ns);
	else
		say_error("conflict: namespace '%s' is not as expected; nothing changed", c->ns);
	if (res->reason == LEDGER_REASON_VERSION)
		there = absent ? "absent" : version;
	else
		there = oid_or(hex,
			       key                                   ? &res->blob
			       : res->reason == LEDGER_REASON_COMMIT ? &res->tip.commit
								     : &res->tip.tree,
			       "absent");
	if (*w.value) {
		fprintf(stderr, "  expected  %-8s%s\n", w.name, w.value);
		fprintf(stderr, "  there     %-8s%s\n", w.name, there);
	}
	if (!absent) {
		fprintf(stderr, "  now at    tree    %s\n", ledger_oid_fmt(hex, &res->tip.tree));
		fprintf(stderr, "            commit  %s\n", ledger_oid_fmt(hex, &res->tip.commit));
		fprintf(stderr, "            version %s\n", version);
	}
	say_hint("read the namespace again, decide anew, and give what you read as the expectation");
	if (kv->json)
		conflict_json(c, &w, res);
	free(key);
	return KV_CONFLICT;
}

/* --- progress --------------------------------------------------------------------------------------------------------- */

static struct {
	struct timespec start, last;
	bool shown;
} meter;

static double since(const struct timespec *from)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - from->tv_sec) + (double)(now.tv_nsec - from->tv_nsec) / 1e9;
}

/* From the first second on, at most ten times a second. */
static bool meter_due(void)
{
	if (!meter.start.tv_sec)
		clock_gettime(CLOCK_MONOTONIC, &meter.start);
	if (!isatty(2) || since(&meter.start) < 1 || (meter.shown && since(&meter.last) < 0.1))
		return false;
	clock_gettime(CLOCK_MONOTONIC, &meter.last);
	meter.shown = true;
	return true;
}

void progress(const char *what, uint64_t n)
{
	if (n % 256 == 0 && meter_due())
		fprintf(stderr, "\r%s: %" PRIu64 "\033[K", what, n);
}

void progress_text(const char *text, size_t len)
{
	if (meter_due())
		fprintf(stderr, "\r%.*s\033[K", (int)len, text);
}

void progress_done(void)
{
	if (meter.shown)
		fputs("\r\033[K", stderr);
	meter.shown = false;
	meter.start.tv_sec = 0;
}
