/* SPDX-License-Identifier: MIT */
/* Internal to keytime.c and keytime_dir.c. */
#ifndef LEDGER_KEYTIME_H
#define LEDGER_KEYTIME_H

#include "internal.h"

/* Commits to look at before a search gives up. */
#define KEYTIME_WALK_MAX 1000

/* Entries of a directory whose times can be kept; in larger ones only what this ledger changed is known. */
#define KEYTIME_DIR_MAX 50000

/*
 * Finds out, for every entry of the directory `dir` ("": the root) at `tip`, when it last changed, and notes it: who asks
 * for one key's time asks for its neighbours' next.  Where the search gives up, the tip's time is a guess.
 */
int keytime_resolve(struct ledger *l, const char *ns, const struct ledger_tip *tip, const char *dir);

#endif
