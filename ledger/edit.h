/* SPDX-License-Identifier: MIT */
/*
 * A change as it is being made: the state of a namespace, with directories loaded as far as edits reach.  Nothing is
 * written before edit_finish().  Internal to ledger/; one thread.
 */
#ifndef LEDGER_EDIT_H
#define LEDGER_EDIT_H

#include "append.h"
#include "internal.h"

struct edit;

/* Where trees and values come from and go to: the group knows those that it has made but not yet written. */
struct edit_io {
	void *arg;
	int (*tree)(void *arg, const struct ledger_oid *oid, struct ledger_tree **out);
	int (*value)(void *arg, const struct ledger_oid *oid, struct ledger_value **out);
	/* `base` NULL: from nothing. */
	int (*put_tree)(void *arg, struct ledger_tree *t, const struct ledger_tree *base, const struct tree_delta *d);
	int (*put_value)(void *arg, struct ledger_value *v);
};

/* A state that begins as the tree `root`. */
int edit_new(struct edit **out, struct ledger *l, const struct edit_io *io, const struct ledger_oid *root);
void edit_free(struct edit *e); /* NULL is fine */

/* What is at `path`; ENOTFOUND also where the way there is no directory. */
int edit_lookup(struct edit *e, const char *path, struct ledger_entry *out);

/* Makes one edit (not its base, which is checked before all edits).  `ready`: an append made beforehand, or NULL. */
int edit_apply(struct edit *e, const struct ledger_edit *ed, const struct append *ready);

/* Hands all new trees and values to the io, parts before wholes.  *root: the new state; the same as before: no change. */
int edit_finish(struct edit *e, struct ledger_oid *root);

#endif
