/* SPDX-License-Identifier: MIT */
/*
 * Large appends are made before their change is queued.
 *
 * To append to a value is to write the whole of it anew.  For a large one that takes seconds, in which the leader would
 * hold up everybody's changes; so its thread does it first, on the value that is there then.  Under the lock the result
 * is taken if the value is still that one.  Internal to ledger/.
 */
#ifndef LEDGER_APPEND_H
#define LEDGER_APPEND_H

#include "internal.h"

struct append {
	struct ledger_oid from;      /* the value that was there */
	struct ledger_value *result; /* NULL: not made beforehand */
};

/* For each edit of the change, as of the tree `root`; NULL: nothing was made. */
struct append *append_prepare(struct ledger *l, const struct ledger_change *c, const struct ledger_oid *root);
void append_free(struct ledger *l, struct append *a, size_t n); /* NULL is fine */

#endif
