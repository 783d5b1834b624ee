/* SPDX-License-Identifier: MIT */
#include "trace.h"

#include "buf.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int trace_fd = -1; /* set once */

static void trace_init(void)
{
	const char *v = getenv("LEDGER_TRACE");

	if (!v || !*v || !strcmp(v, "0"))
		return;
	trace_fd = v[0] == '/' ? open(v, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : STDERR_FILENO;
}

bool trace_on(void)
{
	pthread_once(&once, trace_init);
	return trace_fd >= 0;
}

void trace_line(const char *func, int rc, const char *fmt, ...)
{
	struct buf b = BUF_INIT;
	struct timespec t;
	va_list ap;
	char args[1024];

	clock_gettime(CLOCK_REALTIME, &t);
	va_start(ap, fmt);
	vsnprintf(args, sizeof(args), fmt, ap);
	va_end(ap);
	buf_fmt(&b, "%lld.%06ld %d:%ld %s(%s) = ", (long long)t.tv_sec, t.tv_nsec / 1000, (int)getpid(), syscall(SYS_gettid),
		func, args);
	if (rc < 0)
		buf_fmt(&b, "%s: %s\n", ledger_error_name(rc), ledger_errmsg());
	else
		buf_fmt(&b, "%d\n", rc);
	/* One write, so that lines of threads do not mix.  A trace that cannot be written is not worth a failure. */
	if (!b.oom) {
		ssize_t ignored = write(trace_fd, b.p, b.len);

		(void)ignored;
	}
	buf_release(&b);
}

static const char *op_name(enum ledger_op op)
{
	static const char *const names[] = {"set", "append", "delete", "mkdir", "rmdir", "rename", "exchange", "chmod"};

	return (unsigned)op < sizeof(names) / sizeof(*names) ? names[op] : "?";
}

static void trace_edit(struct buf *b, const struct ledger_edit *e)
{
	buf_fmt(b, " %s(%s", op_name(e->op), e->path ? e->path : "NULL");
	if (e->to)
		buf_fmt(b, " -> %s", e->to);
	if (e->value)
		buf_fmt(b, " %s", TRACE_OID(ledger_value_oid(e->value)));
	if (e->flags)
		buf_fmt(b, " flags=%#x", e->flags);
	if (e->base_rule == LEDGER_BASE_BLOB)
		buf_fmt(b, " base=%s", TRACE_OID(&e->base));
	else if (e->base_rule == LEDGER_BASE_ABSENT)
		buf_str(b, " base=absent");
	buf_str(b, ")");
}

static void trace_expect(struct buf *b, const struct ledger_expect *x)
{
	switch (x->what) {
	case LEDGER_EXPECT_TREE:
		buf_fmt(b, " expect-tree=%s", TRACE_OID(&x->oid));
		break;
	case LEDGER_EXPECT_COMMIT:
		buf_fmt(b, " expect-commit=%s", TRACE_OID(&x->oid));
		break;
	case LEDGER_EXPECT_VERSION:
		buf_fmt(b, " expect-version=%llu", (unsigned long long)x->version);
		break;
	case LEDGER_EXPECT_BLOB:
		buf_fmt(b, " expect-blob=%s:%s", x->path ? x->path : "NULL", TRACE_OID(&x->oid));
		break;
	case LEDGER_EXPECT_ABSENT:
		buf_fmt(b, " expect-absent=%s", x->path ? x->path : "NULL");
		break;
	}
}

char *trace_change(const struct ledger_change *c)
{
	struct buf b = BUF_INIT;

	buf_fmt(&b, "ns=%s", c->ns ? c->ns : "NULL");
	for (size_t i = 0; i < c->nedits && i < 16; i++)
		trace_edit(&b, &c->edits[i]);
	if (c->nedits > 16)
		buf_fmt(&b, " ... %zu edits", c->nedits);
	for (size_t i = 0; i < c->nexpects; i++)
		trace_expect(&b, &c->expects[i]);
	return buf_detach(&b);
}
