/* SPDX-License-Identifier: MIT */
/* Expectations from outside: options of commands, options of a push. */
#include "write.h"

#include <stdlib.h>
#include <string.h>

static int parse_oid(const char *name, const char *value, struct ledger_oid *oid, char **why)
{
	if (ledger_oid_parse(oid, value, strlen(value)) == 0)
		return 0;
	*why = xasprintf("expect-%s: '%s' is not an object name of 40 hex digits", name, value);
	return KV_USAGE;
}

/* [KEY=]OID|absent.  A key may have '=' in it, an OID not: the last one divides. */
static int parse_blob(struct expects *out, struct ledger_expect *e, const char *value, const char *own_key, bool wire,
		      char **why)
{
	const char *eq = strrchr(value, '='), *what = eq ? eq + 1 : value;
	char *key;
	int status;

	if (!eq && !own_key) {
		*why = xasprintf("expect-blob: '%s' does not say which key: KEY=OID or KEY=absent", value);
		return KV_USAGE;
	}
	if (strcmp(what, "absent") == 0) {
		e->what = LEDGER_EXPECT_ABSENT;
	} else {
		e->what = LEDGER_EXPECT_BLOB;
		if (ledger_oid_parse(&e->oid, what, strlen(what)) != 0) {
			*why = xasprintf("expect-blob: '%s' is neither an object name of 40 hex digits nor 'absent'", what);
			return KV_USAGE;
		}
	}
	if (eq) {
		char *raw = xstrndup(value, (size_t)(eq - value));

		key = wire ? unquoted(raw) : xstrdup(raw);
		free(raw);
		if (!key) {
			*why = xasprintf("expect-blob: the quotes of the key in '%s' are malformed", value);
			return KV_BADKEY;
		}
	} else {
		key = xstrdup(own_key);
	}
	XGROW(out->keys, out->nkeys, out->capkeys);
	out->keys[out->nkeys++] = key;
	status = check_key(key, why);
	e->path = key;
	return status;
}

int expects_add(struct expects *out, const char *name, const char *value, const char *own_key, bool wire, char **why)
{
	struct ledger_expect e = {0};
	int status;

	if (strcmp(name, "tree") == 0) {
		e.what = LEDGER_EXPECT_TREE;
		status = parse_oid(name, value, &e.oid, why);
	} else if (strcmp(name, "commit") == 0) {
		e.what = LEDGER_EXPECT_COMMIT;
		status = parse_oid(name, value, &e.oid, why);
	} else if (strcmp(name, "version") == 0) {
		e.what = LEDGER_EXPECT_VERSION;
		status = parse_count(value, &e.version) && e.version ? 0 : KV_USAGE;
		if (status)
			*why = xasprintf("expect-version: '%s' is not a version (1, 2, ...)", value);
	} else {
		status = parse_blob(out, &e, value, own_key, wire, why);
	}
	if (status)
		return status;
	XGROW(out->v, out->n, out->cap);
	out->v[out->n++] = e;
	return 0;
}

int expects_parse(struct expects *out, const struct opt_list *given, const char *own_key)
{
	for (size_t i = 0; i < given->n; i++) {
		const char *name = given->v[i].opt->name + strlen("expect-");
		char *why = NULL;
		int status = expects_add(out, name, given->v[i].value, own_key, false, &why);

		if (status) {
			say_error("--%s", why);
			free(why);
			return status;
		}
	}
	return 0;
}

void expects_release(struct expects *e)
{
	for (size_t i = 0; i < e->nkeys; i++)
		free(e->keys[i]);
	free(e->keys);
	free(e->v);
	memset(e, 0, sizeof(*e));
}
