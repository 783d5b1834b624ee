/* SPDX-License-Identifier: MIT */
/*
 * Where deleted namespaces go: refs/kv-archive/<ns>/<version>, or <version>-<n> (n from 2) when that name is taken: by
 * an earlier life of the namespace that ended at the same version, or because archived namespaces lie below it.
 * Internal to ledger/.
 */
#ifndef LEDGER_ARCHIVE_H
#define LEDGER_ARCHIVE_H

#include "internal.h"
#include "names.h"

/* Is `name` (without the prefix) one that the ledger gave to an archived state? */
bool archive_is_state(const char *name);

/* Locks, in the group, the first free name for the state; writes it to `ref`. */
int archive_lock_free(struct ledger *l, struct store_group *g, const char *ns, uint64_t version, char ref[NAMES_REF_MAX]);

/* The newest archived state of `ns` with that version (0: any).  ENOTFOUND. */
int archive_find(struct ledger *l, const char *ns, uint64_t version, char ref[NAMES_REF_MAX]);

#endif
