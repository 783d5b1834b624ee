/* SPDX-License-Identifier: MIT */
/* What differs between two states of a namespace.  Internal to ledger/. */
#ifndef LEDGER_TREEDIFF_H
#define LEDGER_TREEDIFF_H

#include "internal.h"

struct treediff {
	struct ledger *l;
	/* For each path, directories too, that is there in `after` and was not so in `before`, or (`there` false) was there
	 * and is not any more.  Once for each path; nonzero ends the search with that. */
	int (*each)(void *arg, const char *path, size_t len, bool there);
	void *arg;
	size_t bytes; /* of trees, added up: a measure of the work */
};

/* `before` zero: there was nothing.  What was hidden from view counts as absent. */
int treediff_run(struct treediff *d, const struct ledger_oid *before, const struct ledger_oid *after);

#endif
