/* SPDX-License-Identifier: MIT */
#include "status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Each of these writes at `at` and returns what is behind; the caller has made room. */
static char *put_oid(char *at, const char *name, const struct ledger_oid *oid)
{
	at = stpcpy(stpcpy(at, name), "=");
	if (ledger_oid_is_zero(oid)) {
		at = stpcpy(at, "absent");
	} else {
		ledger_oid_fmt(at, oid);
		at += LEDGER_OID_HEXSIZE;
	}
	return stpcpy(at, "\n");
}

static char *put_number(char *at, const char *name, uint64_t n)
{
	return at + sprintf(at, "%s=%llu\n", name, (unsigned long long)n);
}

static char *put_expected(char *at, const struct ledger_expect *e)
{
	static const struct ledger_oid none;

	switch (e->what) {
	case LEDGER_EXPECT_TREE:
		return put_oid(at, "expected-tree", &e->oid);
	case LEDGER_EXPECT_COMMIT:
		return put_oid(at, "expected-commit", &e->oid);
	case LEDGER_EXPECT_VERSION:
		return put_number(at, "expected-version", e->version);
	case LEDGER_EXPECT_BLOB:
		return put_oid(at, "expected-blob", &e->oid);
	case LEDGER_EXPECT_ABSENT:
		return put_oid(at, "expected-blob", &none);
	}
	return at;
}

/* A line is a line: names may hold anything but a slash and NUL. */
static char *put_name(char *at, const char *name, const char *value)
{
	at = stpcpy(stpcpy(at, name), "=");
	for (; *value; value++) {
		if (*value == '\n' || *value == '\\')
			*at++ = '\\';
		*at++ = *value == '\n' ? 'n' : *value;
	}
	return stpcpy(at, "\n");
}

static const char *result_name(int result)
{
	return !result ? "committed" : result == LEDGER_ELOCKED ? "locked" : "conflict";
}

#define LINES_MAX 1024 /* all lines but the two names */

static char *status_text(const char *ns, const struct status *s, const struct ledger_result *res)
{
	const char *key = s->key ? s->key : "";
	char *text = malloc(LINES_MAX + 2 * strlen(ns) + 2 * strlen(key)), *at = text;

	if (!text)
		return NULL;
	at = stpcpy(stpcpy(stpcpy(at, "result="), result_name(s->result)), "\n");
	if (s->result == LEDGER_ECONFLICT)
		at = stpcpy(stpcpy(stpcpy(at, "reason="), ledger_reason_name(res->reason)), "\n");
	at = put_name(put_name(at, "namespace", ns), "key", key);
	if (s->expected)
		at = put_expected(at, s->expected);
	at = put_oid(put_oid(at, "tree", &res->tip.tree), "commit", &res->tip.commit);
	at = put_number(at, "version", res->tip.version);
	if (s->key)
		put_oid(at, "blob", &res->blob);
	return text;
}

/* The writer as a process of the tree; one reference. */
static struct proc *writer_proc(struct fs *fs, const struct who *w)
{
	struct proc *p = NULL;

	if (w->tid && proctree_get(fs->procs, w->tid, &p) == 0)
		return p;
	return w->chain ? proc_ref(holder_chain_proc(w->chain)) : NULL;
}

void status_record(struct fs *fs, const struct who *w, const char *ns, const char *const *keys, size_t nkeys,
		   const struct status *s, const struct ledger_result *res)
{
	struct proc *p = writer_proc(fs, w);
	char *text = p ? status_text(ns, s, res) : NULL;

	for (size_t i = 0; text && (i < nkeys || i == 0); i++)
		outcomes_record(fs->outcomes, ns, nkeys ? keys[i] : NULL, p, text);
	free(text);
	proc_unref(p);
}

void fs_record(struct fs *fs, const struct who *w, const char *ns, const char *key, int result,
	       const struct ledger_expect *expected, const struct ledger_result *res)
{
	const struct status s = {.result = result, .key = key, .expected = expected};

	status_record(fs, w, ns, &key, key ? 1 : 0, &s, res);
}
