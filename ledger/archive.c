/* SPDX-License-Identifier: MIT */
#include "archive.h"

#include <stdio.h>
#include <stdlib.h>

/* More lives of one namespace than this end at one version only in a test of this limit. */
#define NAMES_TRIED 10000

/* A name below refs/kv-archive/, taken apart. */
struct archived {
	size_t nslen; /* bytes of the namespace */
	uint64_t version;
	uint64_t n; /* 1 when not said */
};

static bool parse_number(const char **p, uint64_t *out)
{
	char *end;

	if (**p < '1' || **p > '9' || strspn(*p, "0123456789") > 18)
		return false;
	*out = strtoull(*p, &end, 10);
	*p = end;
	return true;
}

/* `name` is without the prefix.  False: not a name that the ledger gave. */
static bool parse(const char *name, struct archived *out)
{
	const char *slash = strrchr(name, '/'), *p = slash ? slash + 1 : NULL;
	struct archived a = {.n = 1};

	if (!slash || slash == name || !parse_number(&p, &a.version))
		return false;
	if (*p == '-') {
		p++;
		if (!parse_number(&p, &a.n))
			return false;
	}
	a.nslen = (size_t)(slash - name);
	*out = a;
	return *p == '\0';
}

bool archive_is_state(const char *name)
{
	struct archived a;

	return parse(name, &a);
}

static void format(char ref[NAMES_REF_MAX], const char *ns, uint64_t version, unsigned n)
{
	int len = snprintf(ref, NAMES_REF_MAX, NAMES_ARCHIVE "%s/%llu", ns, (unsigned long long)version);

	if (n > 1)
		snprintf(ref + len, NAMES_REF_MAX - (size_t)len, "-%u", n);
}

int archive_lock_free(struct ledger *l, struct store_group *g, const char *ns, uint64_t version, char ref[NAMES_REF_MAX])
{
	for (unsigned n = 1; n < NAMES_TRIED; n++) {
		char name[NAMES_REF_MAX];
		struct ledger_oid there;
		int rc;

		format(name, ns, version, n);
		if (!store_ref_read(l->store, name, &there))
			continue;
		rc = store_group_lock(g, name, &there);
		if (rc == LEDGER_EEXISTS || (!rc && !ledger_oid_is_zero(&there)))
			continue;
		if (!rc)
			strcpy(ref, name);
		return rc;
	}
	return ledger_fail(LEDGER_EEXISTS, "the archive has no name left for '%s'", ns);
}

/* --- looking -------------------------------------------------------------------------------------------------------- */

struct search {
	struct ledger *l;
	uint64_t version;
	size_t nslen;
	bool found;
	struct archived best;
	time_t time;
	char *ref;
};

/* The newest commit; of those of one second the higher version, then the later name. */
static bool is_newer(const struct search *s, const struct archived *a, time_t time)
{
	if (!s->found)
		return true;
	if (time != s->time)
		return time > s->time;
	if (a->version != s->best.version)
		return a->version > s->best.version;
	return a->n > s->best.n;
}

static int on_candidate(void *arg, const char *ref)
{
	struct search *s = arg;
	struct archived a;
	struct ledger_oid oid;
	struct tip_info info;
	int rc;

	if (!parse(ref + strlen(NAMES_ARCHIVE), &a) || a.nslen != s->nslen || (s->version && a.version != s->version))
		return 0;
	rc = store_ref_read(s->l->store, ref, &oid);
	if (!rc)
		rc = tip_load(s->l, &oid, &info);
	if (rc == LEDGER_ENOTFOUND || rc == LEDGER_ECORRUPT)
		return 0; /* gone meanwhile, or not a state to go back to */
	if (rc)
		return rc;
	if (is_newer(s, &a, info.tip.time.tv_sec)) {
		s->found = true;
		s->best = a;
		s->time = info.tip.time.tv_sec;
		strcpy(s->ref, ref);
	}
	return 0;
}

int archive_find(struct ledger *l, const char *ns, uint64_t version, char ref[NAMES_REF_MAX])
{
	struct search s = {.l = l, .version = version, .nslen = strlen(ns), .ref = ref};
	char prefix[NAMES_REF_MAX];
	int rc;

	snprintf(prefix, sizeof(prefix), NAMES_ARCHIVE "%s/", ns);
	rc = store_ref_each(l->store, prefix, on_candidate, &s);
	if (rc || s.found)
		return rc;
	if (version)
		return ledger_fail(LEDGER_ENOTFOUND, "the archive has no version %llu of '%s'", (unsigned long long)version,
				   ns);
	return ledger_fail(LEDGER_ENOTFOUND, "the archive has no '%s'", ns);
}

struct each_arg {
	int (*each)(void *arg, const char *ns, uint64_t version);
	void *arg;
};

static int on_archived(void *arg, const char *ref)
{
	struct each_arg *e = arg;
	const char *name = ref + strlen(NAMES_ARCHIVE);
	char ns[NAMES_REF_MAX];
	struct archived a;

	if (!parse(name, &a) || a.nslen >= sizeof(ns))
		return 0;
	memcpy(ns, name, a.nslen);
	ns[a.nslen] = '\0';
	return e->each(e->arg, ns, a.version);
}

int ledger_ns_archived_each(struct ledger *l, int (*each)(void *arg, const char *ns, uint64_t version), void *arg)
{
	struct each_arg e = {each, arg};
	int rc;

	ledger_error_clear();
	rc = store_ref_each(l->store, NAMES_ARCHIVE, on_archived, &e);
	LEAVE(rc, "%s", NAMES_ARCHIVE);
	return rc;
}
