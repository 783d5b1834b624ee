/* SPDX-License-Identifier: MIT */
/*
 * LEDGER_TRACE=1 (standard error) or a file's absolute path: one line for every public call, with arguments and result.
 * Internal to ledger/.
 */
#ifndef LEDGER_TRACE_H
#define LEDGER_TRACE_H

#include "error.h"

#include <ledger/change.h>

struct buf;

bool trace_on(void);
void trace_line(const char *func, int rc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* "ns edits expects" of a change, for trace_line(); "" when out of memory.  To be freed. */
char *trace_change(const struct ledger_change *c);

/* Forty digits in a buffer of the calling expression. */
#define TRACE_OID(oid) ledger_oid_fmt((char[LEDGER_OID_HEXSIZE + 1]){0}, oid)

/* Every public call ends with this: the thread's sentence is about `rc` and nothing older, and the call is traced. */
#define LEAVE(rc, ...)                                                \
	do {                                                          \
		ledger_error_settle((int)(rc));                       \
		if (trace_on())                                       \
			trace_line(__func__, (int)(rc), __VA_ARGS__); \
	} while (0)

#endif
