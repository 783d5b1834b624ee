/* SPDX-License-Identifier: MIT */
#include "append.h"

#include <stdlib.h>

/* The value that an edit is to append to, when it is worth the trouble; else NULL. */
static struct ledger_value *large_base(struct ledger *l, const struct ledger_edit *e, const struct ledger_oid *root)
{
	struct ledger_value *v;
	struct ledger_entry there;
	uint64_t size;

	if (e->op != LEDGER_APPEND || tree_walk(l, root, e->path, &there) ||
	    (there.kind != LEDGER_FILE && there.kind != LEDGER_EXEC))
		return NULL;
	if (blob_size(l, &there.oid, &size) || size + ledger_value_size(e->value) <= VALUE_IN_MEMORY)
		return NULL;
	return value_load(l, &there.oid, &v) ? NULL : v;
}

/* What fails here fails again under the lock, where it is told in its turn: expectations come first. */
static void prepare_one(struct ledger *l, const struct ledger_edit *e, const struct ledger_oid *root, struct append *out)
{
	struct ledger_value *base = large_base(l, e, root), *v;

	if (!base)
		return;
	out->from = *ledger_value_oid(base);
	if (!value_concat(l, base, e->value, &v)) {
		if (!store_stage(l->store, v))
			out->result = v;
		else
			ledger_value_unref(v);
	}
	ledger_value_unref(base);
}

struct append *append_prepare(struct ledger *l, const struct ledger_change *c, const struct ledger_oid *root)
{
	struct append *a = calloc(c->nedits, sizeof(*a));

	for (size_t i = 0; a && i < c->nedits; i++)
		prepare_one(l, &c->edits[i], root, &a[i]);
	return a;
}

void append_free(struct ledger *l, struct append *a, size_t n)
{
	for (size_t i = 0; a && i < n; i++)
		if (a[i].result) {
			store_unstage(l->store, a[i].result);
			ledger_value_unref(a[i].result);
		}
	free(a);
}
