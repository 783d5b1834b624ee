/* SPDX-License-Identifier: MIT */
/* Allocation that ends the program, and other small things. */
#include "kv.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

static void *must(void *p)
{
	static const char line[] = "fatal: out of memory\n";

	if (p)
		return p;
	if (write(2, line, sizeof(line) - 1) < 0)
		_exit(KV_FATAL);
	_exit(KV_FATAL);
}

void *xcalloc(size_t n, size_t size)
{
	return must(calloc(n ? n : 1, size));
}

void *xreallocarray(void *p, size_t n, size_t size)
{
	return must(reallocarray(p, n ? n : 1, size));
}

char *xstrdup(const char *s)
{
	return must(strdup(s));
}

char *xstrndup(const char *s, size_t n)
{
	return must(strndup(s, n));
}

char *xasprintf(const char *fmt, ...)
{
	va_list ap;
	char *s = NULL;

	va_start(ap, fmt);
	if (vasprintf(&s, fmt, ap) < 0)
		s = NULL;
	va_end(ap);
	return must(s);
}

FILE *xmemstream(char **buf, size_t *len)
{
	return must(open_memstream(buf, len));
}

bool starts_with(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

void backoff(unsigned round, unsigned base_ms, unsigned max_ms)
{
	uint64_t ms = (uint64_t)base_ms << (round < 16 ? round : 16), us;
	uint32_t r = 0;

	if (ms > max_ms)
		ms = max_ms;
	us = ms * 1000;
	if (getrandom(&r, sizeof(r), 0) != sizeof(r))
		r = (uint32_t)getpid() * 2654435761u;
	us = us / 2 + r % (us / 2 + 1);
	nanosleep(&(struct timespec){.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000}, NULL);
}
