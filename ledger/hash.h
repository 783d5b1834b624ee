/* SPDX-License-Identifier: MIT */
/* Object names of bytes.  Internal to ledger/. */
#ifndef LEDGER_HASH_H
#define LEDGER_HASH_H

#include "store.h"

/* The empty tree, which git knows without having it; a directory entry needs the object all the same. */
extern const struct ledger_oid hash_empty_tree;

/* With git's collision detection: for bytes that users choose.  EIO (never seen), ENOMEM. */
int hash_object(enum store_type type, const void *data, size_t len, struct ledger_oid *out);

/* With the processor's own instructions, five times as fast: for trees that the ledger built. */
int hash_tree(const void *data, size_t len, struct ledger_oid *out);

/* A name for two strings, for tables. */
int hash_key(const char *a, const char *b, struct ledger_oid *out);

#endif
