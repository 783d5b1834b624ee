/* SPDX-License-Identifier: MIT */
/* Keys and names from outside: each fault has its own sentence (SPEC 9). */
#include "kv.h"

#include <stdlib.h>
#include <string.h>

#define KEY_MAX 4096

/* One component of a key; NULL when it is fine. */
static char *component_fault(const char *key, const char *name, size_t len)
{
	char *one, *q, *why = NULL;
	int rc;

	if (!len)
		return xasprintf("has an empty component ('//')");
	rc = ledger_name_check(name, len);
	if (!rc && name == key && len == 3 && memcmp(name, ".kv", 3) == 0)
		return xasprintf("begins with '.kv', which is the control directory's name");
	if (!rc)
		return NULL;
	one = xstrndup(name, len);
	q = quoted(one);
	if (strcmp(one, ".") == 0 || strcmp(one, "..") == 0)
		why = xasprintf("has '%s' as a component", one);
	else if (rc == LEDGER_ENAMETOOLONG)
		why = xasprintf("has a component of %zu bytes, more than 255", len);
	else if (rc == LEDGER_EFORBIDDEN)
		why = xasprintf("has '%s' as a component, a name that git refuses in trees", q);
	else
		why = xasprintf("has a component that cannot be a name: '%s'", q);
	free(q);
	free(one);
	return why;
}

static char *key_fault(const char *key)
{
	size_t len = strlen(key);
	const char *p, *slash;

	if (!len)
		return xasprintf("is empty");
	if (len > KEY_MAX)
		return xasprintf("is %zu bytes long, more than %d", len, KEY_MAX);
	if (key[0] == '/')
		return xasprintf("begins with a slash");
	if (key[len - 1] == '/')
		return xasprintf("ends with a slash");
	for (p = key;; p = slash + 1) {
		char *why;

		slash = strchrnul(p, '/');
		why = component_fault(key, p, (size_t)(slash - p));
		if (why)
			return why;
		if (!*slash)
			return NULL;
	}
}

int check_key(const char *key, char **why)
{
	char *fault = key_fault(key), *q;

	if (!fault)
		return 0;
	q = strlen(key) <= KEY_MAX ? quoted(key) : xstrdup("(long)");
	*why = xasprintf("key '%s' %s", q, fault);
	free(q);
	free(fault);
	return KV_BADKEY;
}

int check_key_say(const char *key)
{
	char *why;
	int status = check_key(key, &why);

	if (status) {
		say_error("%s", why);
		free(why);
	}
	return status;
}

int check_ns_say(const char *ns)
{
	int rc = ledger_ns_check(ns);
	char *q;

	if (!rc)
		return 0;
	q = quoted(ns);
	if (rc == LEDGER_EFORBIDDEN)
		say_error("namespace '%s' has a reserved name ('.git' or '.kv') as a component", q);
	else if (rc == LEDGER_ENAMETOOLONG)
		say_error("namespace '%s' has a component of more than 255 bytes", q);
	else
		say_error("'%s' cannot be a namespace: 'refs/kv/%s' is not a name that git takes for a ref", q, q);
	free(q);
	return KV_BADKEY;
}
