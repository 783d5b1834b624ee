/* SPDX-License-Identifier: MIT */
#include "racer.h"
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

uint64_t roll_dice(uint64_t *dice, uint64_t sides)
{
	uint64_t z = *dice += 0x9e3779b97f4a7c15u; /* splitmix64 */

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return (z ^ (z >> 31)) % sides;
}

int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

__attribute__((format(printf, 2, 3))) static void put(struct racelog *log, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(log->line + log->used, sizeof log->line - log->used, format, args);
	va_end(args);
	if (n < 0 || (size_t)n >= sizeof log->line - log->used)
		die("log line too long", log->client);
	log->used += (size_t)n;
}

void racelog_send(struct racelog *log)
{
	put(log, "\n");
	if (write(log->fd, log->line, log->used) != (ssize_t)log->used)
		die("log", log->client);
	log->used = 0;
}

void racelog_open(struct racelog *log, const char *path, const char *client, pid_t pid, const char *place)
{
	log->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
	if (log->fd < 0)
		die("open", path);
	log->client = client;
	put(log, "C %s %d %s", client, (int)pid, place);
	racelog_send(log);
}

void racelog_begin(struct racelog *log, const char *op, const char *key)
{
	log->seq++;
	put(log, "I %lu %" PRId64 " %s %s", log->seq, now_ns(), op, key);
}

void racelog_note(struct racelog *log)
{
	put(log, "N %lu %" PRId64, log->seq, now_ns());
}

void racelog_end(struct racelog *log, const char *outcome)
{
	put(log, "R %lu %" PRId64 " %s", log->seq, now_ns(), outcome);
}

void racelog_arg(struct racelog *log, const char *name, const char *value)
{
	put(log, " %s=%s", name, value);
}

void racelog_close(struct racelog *log)
{
	put(log, "X");
	racelog_send(log);
	close(log->fd);
}
