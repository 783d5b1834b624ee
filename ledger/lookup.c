/* SPDX-License-Identifier: MIT */
/* From the name of a tree to the tree, from a path to its entry. */
#include "hash.h"
#include "internal.h"

#include <stdlib.h>

/* Once a tree: a hostile one is met again at every look. */
static void warn_hidden(struct ledger *l, const struct ledger_tree *t)
{
	char hex[LEDGER_OID_HEXSIZE + 1], seen = 1;

	if (t->nvis == t->n || oidcache_get(l->warned, &t->oid, &seen))
		return;
	oidcache_put(l->warned, &t->oid, &seen);
	ledger_log(l, "tree %s: %u of %u entries are not shown (names or kinds that cannot be files here)",
		   ledger_oid_fmt(hex, &t->oid), t->n - t->nvis, t->n);
}

int tree_load(struct ledger *l, const struct ledger_oid *oid, struct ledger_tree **out)
{
	struct ledger_tree *t = treecache_get(l->trees, oid);
	struct store_buf b;
	int rc = 0;

	if (!t && ledger_oid_eq(oid, &hash_empty_tree))
		rc = tree_empty(&t, oid);
	else if (!t) {
		rc = store_read(l->store, oid, STORE_TREE, NULL, &b);
		if (!rc)
			rc = tree_parse(&t, oid, b.data, b.len);
		if (!rc) {
			warn_hidden(l, t);
			treecache_put(l->trees, t);
		}
	}
	if (!rc)
		*out = t;
	return rc;
}

int ledger_tree_get(struct ledger *l, const struct ledger_oid *oid, struct ledger_tree **out)
{
	int rc;

	ledger_error_clear();
	rc = tree_load(l, oid, out);
	LEAVE(rc, "%s", TRACE_OID(oid));
	return rc;
}

int tree_walk(struct ledger *l, const struct ledger_oid *root, const char *path, struct ledger_entry *out)
{
	struct ledger_entry e = {.kind = LEDGER_DIR, .oid = *root};

	for (const char *p = path; *p;) {
		size_t n = strcspn(p, "/");
		struct ledger_tree *t;
		int rc;

		if (e.kind != LEDGER_DIR)
			return LEDGER_ENOTDIR;
		rc = tree_load(l, &e.oid, &t);
		if (rc == LEDGER_ENOTFOUND) /* not to be taken for an absent key */
			rc = ledger_fail(LEDGER_ECORRUPT, "a tree on the way to '%s' is missing", path);
		if (rc)
			return rc;
		rc = ledger_tree_find(t, p, n, &e);
		ledger_tree_unref(t);
		if (rc)
			return rc;
		p += n;
		if (*p && !*++p)
			return LEDGER_EINVALID;
	}
	e.name = NULL;
	e.namelen = 0;
	*out = e;
	return 0;
}

int ledger_lookup(struct ledger *l, const struct ledger_oid *root, const char *path, struct ledger_entry *out)
{
	int rc;

	ledger_error_clear();
	rc = tree_walk(l, root, path, out);
	LEAVE(rc, "%s:%s", TRACE_OID(root), path);
	return rc;
}
