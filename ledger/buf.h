/* SPDX-License-Identifier: MIT */
/* A growing byte buffer.  Out of memory is remembered and asked for once, at the end.  Internal to ledger/. */
#ifndef LEDGER_BUF_H
#define LEDGER_BUF_H

#include <stdbool.h>
#include <stddef.h>

struct buf {
	char *p; /* NUL behind the last byte once something was added */
	size_t len, cap;
	bool oom; /* an addition failed: `p` is incomplete */
};

#define BUF_INIT                  \
	{                         \
		NULL, 0, 0, false \
	}

void buf_release(struct buf *b);
void buf_add(struct buf *b, const void *data, size_t len);
void buf_str(struct buf *b, const char *s);
void buf_fmt(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The string for the caller to free, NULL when memory ran out; the buffer is empty again. */
char *buf_detach(struct buf *b);

#endif
