/* SPDX-License-Identifier: MIT */
#include "log.h"
#include <ctype.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>

#define LINE_SIZE 1001
#define SLOTS 64
#define MINUTE 60

/* What was written of one line (by its hash), or of one format (by its address).  A newer one takes a slot over. */
struct slot {
	uint64_t id;
	time_t since; /* start of the minute; of a format: when tokens were last added */
	long n;       /* written in the minute; of a format: tokens left */
};

static struct {
	pthread_mutex_t lock;
	bool syslog;               /* lock */
	unsigned long left_out;    /* lock */
	struct slot line[SLOTS];   /* lock */
	struct slot format[SLOTS]; /* lock */
} log_state = {.lock = PTHREAD_MUTEX_INITIALIZER};

static time_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + 1; /* never 0 */
}

static void write_out(const char *line)
{
	if (log_state.syslog)
		syslog(LOG_NOTICE, "%s", line);
	else
		fprintf(stderr, "ledgerfs: %s\n", line);
}

static bool line_passes(const char *line, time_t t)
{
	uint64_t id = 14695981039346656037ULL;
	struct slot *s;

	for (; *line; line++)
		id = (id ^ (unsigned char)*line) * 1099511628211ULL;
	s = &log_state.line[id % SLOTS];
	if (s->id != id || t - s->since >= MINUTE)
		*s = (struct slot){.id = id, .since = t};
	return s->n++ < LOG_REPEAT;
}

static bool format_passes(const char *fmt, time_t t)
{
	uint64_t id = (uintptr_t)fmt;
	struct slot *s = &log_state.format[(id >> 4) % SLOTS];

	if (s->id != id)
		*s = (struct slot){.id = id, .since = t, .n = LOG_BURST};
	s->n += (t - s->since) * LOG_RATE;
	s->since = t;
	if (s->n > LOG_BURST)
		s->n = LOG_BURST;
	return s->n > 0 && s->n--;
}

/* Lock held. */
static void tell_left_out(void)
{
	char text[64];

	if (!log_state.left_out)
		return;
	snprintf(text, sizeof(text), "(%lu lines left out)", log_state.left_out);
	log_state.left_out = 0;
	write_out(text);
}

static void put(const char *fmt, char *line)
{
	time_t t = now();
	char *p;

	for (p = line; *p; p++) {
		if (iscntrl((unsigned char)*p))
			*p = '?';
	}
	pthread_mutex_lock(&log_state.lock);
	if (line_passes(line, t) && format_passes(fmt, t)) {
		tell_left_out();
		write_out(line);
	} else {
		log_state.left_out++;
	}
	pthread_mutex_unlock(&log_state.lock);
}

void log_target(int to_syslog)
{
	pthread_mutex_lock(&log_state.lock);
	if (to_syslog)
		openlog("ledgerfs", LOG_PID, LOG_DAEMON);
	log_state.syslog = to_syslog;
	pthread_mutex_unlock(&log_state.lock);
}

void log_line(const char *fmt, ...)
{
	char line[LINE_SIZE];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	put(fmt, line);
}

void log_callback(void *arg, const char *text)
{
	char line[LINE_SIZE];

	(void)arg;
	snprintf(line, sizeof(line), "%s", text);
	put("", line);
}

void log_flush(void)
{
	pthread_mutex_lock(&log_state.lock);
	tell_left_out();
	pthread_mutex_unlock(&log_state.lock);
}
