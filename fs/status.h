/* SPDX-License-Identifier: MIT */
/* What user.kv.status says of an attempt (SPEC 6.4; docs/CAS.md lists the lines). */
#ifndef FS_STATUS_H
#define FS_STATUS_H

#include "core.h"

struct status {
	int result;                           /* 0, LEDGER_ECONFLICT, LEDGER_ELOCKED */
	const char *key;                      /* what it is about; NULL: the namespace */
	const struct ledger_expect *expected; /* conflict: what did not hold; may be NULL */
};

/*
 * Remembers it for the writer under each of the keys (none: under the namespace).  `res`: what is there now, `blob` that of
 * s->key.  Without memory, or a process to put it to, nothing is remembered.
 */
void status_record(struct fs *fs, const struct who *w, const char *ns, const char *const *keys, size_t nkeys,
		   const struct status *s, const struct ledger_result *res);

#endif
