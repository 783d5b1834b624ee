/* SPDX-License-Identifier: MIT */
/*
 * What a commit says of the state of its namespace.
 *
 * The version stands in the trailer KV-Version.  Commits that others made with stock git have none: their version is
 * counted along first parents up to a commit that has one, or to the first.
 */
#include "internal.h"
#include "names.h"

#include <stdlib.h>

#define VERSION_TRAILER "KV-Version: "

struct parsed {
	struct ledger_oid tree, parent;
	int64_t seconds;
	uint64_t version; /* 0: no trailer */
};

static bool header_oid(const char **p, const char *key, struct ledger_oid *out)
{
	size_t n = strlen(key);

	if (strncmp(*p, key, n) || strnlen(*p + n, LEDGER_OID_HEXSIZE + 1) <= LEDGER_OID_HEXSIZE ||
	    (*p)[n + LEDGER_OID_HEXSIZE] != '\n' || ledger_oid_parse(out, *p + n, LEDGER_OID_HEXSIZE))
		return false;
	*p += n + LEDGER_OID_HEXSIZE + 1;
	return true;
}

/* The seconds of "committer NAME <EMAIL> SECONDS ZONE"; 0 when they cannot be read, as git has it. */
static int64_t committer_seconds(const char *header, const char *end)
{
	const char *line = header, *eol, *gt;

	while (line < end && strncmp(line, "committer ", 10)) {
		line = memchr(line, '\n', (size_t)(end - line));
		if (!line)
			return 0;
		line++;
	}
	if (line >= end)
		return 0;
	eol = memchr(line, '\n', (size_t)(end - line));
	if (!eol)
		eol = end;
	gt = memrchr(line, '>', (size_t)(eol - line));
	return gt ? strtoll(gt + 1, NULL, 10) : 0;
}

/* A decimal without sign that ends the line; 0 otherwise.  Half the range is room enough to count on from. */
static uint64_t parse_version(const char *s)
{
	uint64_t v = 0;

	if (*s < '1' || *s > '9')
		return 0;
	for (; *s >= '0' && *s <= '9'; s++) {
		v = v * 10 + (uint64_t)(*s - '0');
		if (v > INT64_MAX / 16)
			return 0;
	}
	return *s == '\n' || *s == '\0' ? v : 0;
}

/* The trailer in the last paragraph of the message, which is not also its first. */
static uint64_t trailer_version(const char *msg)
{
	const char *end = msg + strlen(msg), *para, *p;

	while (end > msg && (end[-1] == '\n' || end[-1] == ' '))
		end--;
	para = memmem(msg, (size_t)(end - msg), "\n\n", 2);
	for (p = para; p; p = memmem(p + 1, (size_t)(end - p - 1), "\n\n", 2))
		para = p;
	for (p = para ? para + 1 : NULL; p && p < end; p = memchr(p + 1, '\n', (size_t)(end - p - 1)))
		if (!strncmp(p + 1, VERSION_TRAILER, strlen(VERSION_TRAILER)))
			return parse_version(p + 1 + strlen(VERSION_TRAILER));
	return 0;
}

static int read_commit(struct ledger *l, const struct ledger_oid *oid, struct parsed *out)
{
	struct store_buf b;
	char hex[LEDGER_OID_HEXSIZE + 1];
	struct parsed c = {0};
	const char *p, *body;
	int rc = store_read(l->store, oid, STORE_COMMIT, NULL, &b);

	if (rc == LEDGER_ENOTFOUND)
		return ledger_fail(LEDGER_ECORRUPT, "commit %s is missing", ledger_oid_fmt(hex, oid));
	if (rc)
		return rc;
	p = b.data;
	if (!header_oid(&p, "tree ", &c.tree)) {
		free(b.data);
		return ledger_fail(LEDGER_ECORRUPT, "commit %s is malformed", ledger_oid_fmt(hex, oid));
	}
	header_oid(&p, "parent ", &c.parent);
	body = strstr(p, "\n\n");
	c.seconds = committer_seconds(p, body ? body : p + strlen(p));
	c.version = body ? trailer_version(body + 2) : 0;
	free(b.data);
	*out = c;
	return 0;
}

/* Generations from `first` (which has no trailer and the parent `at`) down to a commit whose version is known. */
static int count_version(struct ledger *l, const struct ledger_oid *at, uint64_t *out)
{
	struct ledger_oid oid = *at;
	uint64_t steps = 1;

	while (!ledger_oid_is_zero(&oid)) {
		struct tip_info known;
		struct parsed c;
		int rc;

		if (oidcache_get(l->tips, &oid, &known) && known.tip.version) {
			*out = known.tip.version + steps;
			return 0;
		}
		rc = read_commit(l, &oid, &c);
		if (rc == LEDGER_ECORRUPT)
			break; /* a shallow clone ends here: the count begins where the history does */
		if (rc)
			return rc;
		if (c.version) {
			*out = c.version + steps;
			return 0;
		}
		oid = c.parent;
		steps++;
	}
	*out = steps;
	return 0;
}

int tip_peek(struct ledger *l, const struct ledger_oid *commit, struct tip_info *out)
{
	struct tip_info info = {.tip.commit = *commit};
	struct parsed c;
	int rc;

	if (oidcache_get(l->tips, commit, out))
		return 0;
	rc = read_commit(l, commit, &c);
	if (rc)
		return rc;
	info.tip.tree = c.tree;
	info.tip.time.tv_sec = c.seconds;
	info.tip.version = c.version;
	info.parent = c.parent;
	/* Another thread may have noted the nanoseconds meanwhile. */
	if (!oidcache_get(l->tips, commit, &info))
		oidcache_put(l->tips, commit, &info);
	*out = info;
	return 0;
}

int tip_load(struct ledger *l, const struct ledger_oid *commit, struct tip_info *out)
{
	struct tip_info info;
	int rc = tip_peek(l, commit, &info);

	if (!rc && !info.tip.version) {
		rc = count_version(l, &info.parent, &info.tip.version);
		if (!rc)
			oidcache_put(l->tips, commit, &info);
	}
	if (!rc)
		*out = info;
	return rc;
}

void tip_note(struct ledger *l, const struct tip_info *info)
{
	oidcache_put(l->tips, &info->tip.commit, info);
}

static int tip_now(struct ledger *l, const char *ns, struct ledger_tip *out)
{
	struct ledger_oid commit;
	struct tip_info info;
	char ref[NAMES_REF_MAX];
	int rc = names_ref(ref, NAMES_KV, ns);

	if (!rc)
		rc = store_ref_read(l->store, ref, &commit);
	if (!rc)
		rc = tip_load(l, &commit, &info);
	if (!rc)
		*out = info.tip;
	return rc;
}

int ledger_tip(struct ledger *l, const char *ns, struct ledger_tip *out)
{
	struct ledger_tip tip = {0};
	int rc;

	ledger_error_clear();
	rc = tip_now(l, ns, &tip);
	if (!rc)
		*out = tip;
	LEAVE(rc, "ns=%s -> commit=%s version=%llu", ns, TRACE_OID(&tip.commit), (unsigned long long)tip.version);
	return rc;
}
