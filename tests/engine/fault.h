/* SPDX-License-Identifier: MIT */
/* Makes the Nth call of a kind fail, or be the last one of the process: ledger/engine/io.h and the ledger's malloc(). */
#ifndef TESTS_ENGINE_FAULT_H
#define TESTS_ENGINE_FAULT_H

#include <stdbool.h>

enum fault_kind {
	FAULT_WRITE,
	FAULT_SYNC,
	FAULT_NAME,   /* open for writing, rename, exchange, link, unlink, mkdir, rmdir */
	FAULT_OPEN,   /* takes a descriptor */
	FAULT_SPACE,  /* takes space: writes, new names */
	FAULT_CHANGE, /* writes, syncs and names */
	FAULT_ALLOC,  /* the engine's, in any of its threads */
	FAULT_MALLOC, /* each one of the ledger's own code */
};

enum { FAULT_KILL = -1 }; /* for `err`: SIGKILL, half a write is made first */

struct fault {
	enum fault_kind kind;
	long from, count; /* calls [from, from + count) fail; count 0: until fault_disarm() */
	int err;          /* 0 with `torn`: goes on after it */
	bool torn;        /* the first one, a write, goes half */
};

void fault_arm(const struct fault *f);
/* The disk is well again. */
void fault_disarm(void);
/* Between these nothing fails or dies: a child that is just being made has the descriptors, and with them the locks. */
void fault_hold(void);
void fault_release(void);
bool fault_hit(void);
/* One of those that failed was a sync. */
bool fault_sync_failed(void);

#endif
