/* SPDX-License-Identifier: MIT */
/*
 * Expectations as push options: kv.expect-tree=OID, kv.expect-commit=OID, kv.expect-version=N,
 * kv.expect-blob=KEY=OID|absent.  In a push of several namespaces each says which it is about: kv.expect-tree@NS=OID.
 *
 * An option that begins with "kv." and is not understood refuses the push: it may have been a guard.
 */
#include "hook.h"
#include "opt.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int bad_option(const char *option, const char *why)
{
	char *q = quoted(option);

	say_error("push option '%.200s': %s", q, why);
	fputs("kv-stargate: 1 refused ref=* rule=option\n", stderr);
	free(q);
	return KV_POLICY;
}

static int take_option(struct hook *h, const char *option)
{
	static const char *const names[] = {"tree", "commit", "version", "blob"};
	static const char prefix[] = "kv.expect-";
	const char *name = option + sizeof(prefix) - 1, *eq = strchr(option, '='), *at;
	char *why = NULL, *ns = NULL;
	size_t i, len;
	int status;

	if (!starts_with(option, "kv."))
		return 0;
	if (strcmp(option, "kv.probe") == 0) {
		h->probe = true;
		return 0;
	}
	if (!starts_with(option, prefix))
		return bad_option(option, "no such option");
	if (!eq)
		return bad_option(option, "it has no value");
	at = memchr(name, '@', (size_t)(eq - name));
	len = (size_t)((at ? at : eq) - name);
	for (i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0)
			break;
	if (i == sizeof(names) / sizeof(*names))
		return bad_option(option, "no such expectation");
	status = expects_add(&h->expects, names[i], eq + 1, NULL, true, &why);
	if (status) {
		bad_option(option, why);
		free(why);
		return KV_POLICY;
	}
	if (at)
		ns = xstrndup(at + 1, (size_t)(eq - at - 1));
	XGROW(h->scope, h->nscope, h->capscope);
	h->scope[h->nscope++] = ns;
	return 0;
}

/* Every expectation must be about a namespace of this push, and it must be clear which. */
static int check_scopes(struct hook *h)
{
	size_t namespaces = 0, named;

	for (size_t i = 0; i < h->n; i++)
		namespaces += h->refs[i].ns != NULL;
	for (size_t e = 0; e < h->nscope; e++) {
		if (!h->scope[e] && namespaces != 1)
			return bad_option("kv.expect-...",
					  namespaces ? "the push has several namespaces: say which, kv.expect-...@NAMESPACE="
						     : "the push has no namespace that it could be about");
		named = 0;
		for (size_t i = 0; i < h->n && h->scope[e]; i++)
			named += h->refs[i].ns && strcmp(h->refs[i].ns, h->scope[e]) == 0;
		if (h->scope[e] && !named)
			return bad_option(h->scope[e], "the push does not have this namespace");
	}
	return 0;
}

int hook_options(struct hook *h)
{
	const char *count = getenv("GIT_PUSH_OPTION_COUNT");
	uint64_t n = 0;
	int status = 0;

	if (count && !parse_count(count, &n))
		return bad_option(count, "not a number of options");
	for (uint64_t i = 0; i < n && !status; i++) {
		char *var = xasprintf("GIT_PUSH_OPTION_%" PRIu64, i);
		const char *option = getenv(var);

		status = option ? take_option(h, option) : bad_option(var, "it is announced, but not there");
		free(var);
	}
	return status || h->probe ? status : check_scopes(h);
}

/* --- checking -------------------------------------------------------------------------------------------------------------
 */

/* Compares; what is there for a key goes to `*blob`.  0 holds, 1 does not, or a negative error. */
static int holds_not(struct hook *h, const struct hook_ref *r, const struct ledger_expect *e, struct ledger_oid *blob)
{
	int rc;

	memset(blob, 0, sizeof(*blob));
	if (ledger_oid_is_zero(&r->old))
		return e->what != LEDGER_EXPECT_ABSENT;
	switch (e->what) {
	case LEDGER_EXPECT_TREE:
		return !ledger_oid_eq(&e->oid, &r->tip.tree);
	case LEDGER_EXPECT_COMMIT:
		return !ledger_oid_eq(&e->oid, &r->tip.commit);
	case LEDGER_EXPECT_VERSION:
		return e->version != r->tip.version;
	case LEDGER_EXPECT_BLOB:
	case LEDGER_EXPECT_ABSENT:
		rc = ledger_guard_blob(h->guard, &r->tip.tree, e->path, blob);
		if (rc)
			return rc;
		return e->what == LEDGER_EXPECT_ABSENT ? !ledger_oid_is_zero(blob) : !ledger_oid_eq(&e->oid, blob);
	}
	return 1;
}

static int say_lost(const struct hook_ref *r, const struct ledger_expect *e, const struct ledger_oid *blob)
{
	enum ledger_reason reason = (enum ledger_reason)e->what; /* the two enums name the same things in the same order */
	const struct ledger_change c = {.ns = r->ns, .expects = e, .nexpects = 1};
	const struct ledger_result res = {.tip = r->tip, .blob = *blob, .reason = reason};
	const struct kv plain = {0};
	char hex[LEDGER_OID_HEXSIZE + 1], *key, *more;

	say_conflict(&plain, &c, &res);
	if (e->path) {
		key = quoted(e->path);
		more = xasprintf(" blob=%s key=%s", ledger_oid_is_zero(blob) ? "absent" : ledger_oid_fmt(hex, blob), key);
		free(key);
	} else {
		more = xstrdup("");
	}
	hook_conflict_line(r, ledger_reason_name(reason), more);
	free(more);
	return KV_CONFLICT;
}

int hook_expectations(struct hook *h, const struct hook_ref *r, size_t *count)
{
	for (size_t i = 0; i < h->nscope; i++) {
		const struct ledger_expect *e = &h->expects.v[i];
		struct ledger_oid blob;
		int rc;

		if (h->scope[i] && strcmp(h->scope[i], r->ns) != 0)
			continue;
		rc = holds_not(h, r, e, &blob);
		if (rc < 0)
			return say_ledger(rc, "%s", r->ref);
		if (rc)
			return say_lost(r, e, &blob);
		++*count;
	}
	return 0;
}
