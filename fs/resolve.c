/* SPDX-License-Identifier: MIT */
/* From a place to what the repository has there now. */
#include "core.h"

#include <stdlib.h>

int fs_resolve(struct fs *fs, struct place *p, struct ledger_tip *tip, struct ledger_entry *e)
{
	struct ledger_tip t;
	char *ns = NULL, *path = NULL;
	int r;

	if (place_name(fs, p, &ns, &path))
		return LEDGER_ENOMEM;
	r = ns ? ledger_tip(fs->ledger, ns, &t) : LEDGER_EISDIR;
	if (!r && tip)
		*tip = t;
	if (!r)
		r = ledger_lookup(fs->ledger, &t.tree, path, e);
	free(ns);
	free(path);
	return r;
}

struct prefix_search {
	const char *prefix;
	size_t len;
};

static int is_below(void *arg, const char *ns)
{
	struct prefix_search *s = arg;

	return strncmp(ns, s->prefix, s->len) == 0 && ns[s->len] == '/';
}

bool fs_prefix_exists(struct fs *fs, const char *prefix)
{
	struct prefix_search s = {prefix, strlen(prefix)};

	return ledger_ns_each(fs->ledger, is_below, &s) > 0;
}
