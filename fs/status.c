/* SPDX-License-Identifier: MIT */
#include "status.h"

#include <stdio.h>
#include <stdlib.h>

static void put_oid(FILE *f, const char *name, const struct ledger_oid *oid)
{
	char hex[LEDGER_OID_HEXSIZE + 1];

	fprintf(f, "%s=%s\n", name, ledger_oid_is_zero(oid) ? "absent" : ledger_oid_fmt(hex, oid));
}

static void put_expected(FILE *f, const struct ledger_expect *e)
{
	static const struct ledger_oid none;

	switch (e->what) {
	case LEDGER_EXPECT_TREE:
		put_oid(f, "expected-tree", &e->oid);
		break;
	case LEDGER_EXPECT_COMMIT:
		put_oid(f, "expected-commit", &e->oid);
		break;
	case LEDGER_EXPECT_VERSION:
		fprintf(f, "expected-version=%llu\n", (unsigned long long)e->version);
		break;
	case LEDGER_EXPECT_BLOB:
		put_oid(f, "expected-blob", &e->oid);
		break;
	case LEDGER_EXPECT_ABSENT:
		put_oid(f, "expected-blob", &none);
		break;
	}
}

/* A line is a line: names may hold anything but a slash and NUL. */
static void put_name(FILE *f, const char *name, const char *value)
{
	fprintf(f, "%s=", name);
	for (; *value; value++) {
		if (*value == '\n' || *value == '\\')
			fprintf(f, "\\%s", *value == '\n' ? "n" : "\\");
		else
			fputc(*value, f);
	}
	fputc('\n', f);
}

static const char *result_name(int result)
{
	return !result ? "committed" : result == LEDGER_ELOCKED ? "locked" : "conflict";
}

static char *status_text(const char *ns, const struct status *s, const struct ledger_result *res)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return NULL;
	fprintf(f, "result=%s\n", result_name(s->result));
	if (s->result == LEDGER_ECONFLICT)
		fprintf(f, "reason=%s\n", ledger_reason_name(res->reason));
	put_name(f, "namespace", ns);
	put_name(f, "key", s->key ? s->key : "");
	if (s->expected)
		put_expected(f, s->expected);
	put_oid(f, "tree", &res->tip.tree);
	put_oid(f, "commit", &res->tip.commit);
	fprintf(f, "version=%llu\n", (unsigned long long)res->tip.version);
	if (s->key)
		put_oid(f, "blob", &res->blob);
	if (fclose(f)) {
		free(text);
		return NULL;
	}
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
