/* SPDX-License-Identifier: MIT */
/* Which names git takes: in trees, as refs.  Internal to ledger/. */
#ifndef LEDGER_NAMES_H
#define LEDGER_NAMES_H

#include <ledger/change.h>

#define NAMES_KV "refs/kv/"
#define NAMES_ARCHIVE "refs/kv-archive/"

/* Longest ref name that this ledger makes: prefix, namespace, version. */
#define NAMES_REF_MAX 2048

/* As ledger_name_check(), without a sentence for people: for entries of trees. */
int names_component(const char *name, size_t len);

/* Is `path` fit to be changed?  Not "": EINVALID; below `.kv`: EFORBIDDEN; ENAMETOOLONG also from 4096 bytes on. */
int names_path_check(const char *path);

/* May a symbolic link have this name?  git refuses .gitmodules and its disguises as one: EFORBIDDEN. */
int names_link_check(const char *name, size_t len);

/* Writes prefix and checked `ns` to `ref`. */
int names_ref(char ref[NAMES_REF_MAX], const char *prefix, const char *ns);

#endif
