/* SPDX-License-Identifier: MIT */
/* Changes that reach the disk together.  Internal to ledger/; called by the leader alone. */
#ifndef LEDGER_GROUP_H
#define LEDGER_GROUP_H

#include "append.h"
#include "internal.h"

/* A change that somebody waits for. */
struct request {
	struct queue_item item; /* first */
	const struct ledger_change *change;
	bool must_create;              /* EEXISTS when the namespace is there */
	const struct ledger_oid *base; /* ledger_build(): the commit to build on, no ref moves; else NULL */
	struct append *appends;        /* one for each edit, or NULL */
	char who[IDENT_WHO_MAX];
	struct ledger_result res;
	unsigned retries; /* tries that found the ref's lock taken */
	int rc;
	char msg[256];       /* the sentence for `rc`: it arose in another thread */
	struct group_ns *ns; /* of the group that works on it */
};

/* Works off the requests (linked by item.next): one group, all answers. */
void group_run(struct ledger *l, struct request *first);

#endif
