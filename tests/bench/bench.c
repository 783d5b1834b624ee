/* SPDX-License-Identifier: MIT */
/*
 * bench KIND WHERE KEY CLIENTS SECONDS SIZE [KEYS]: so many processes do one thing over and over for so long.  Prints
 *	OPERATIONS REFUSED SECONDS BUCKET:COUNT...
 * where bucket b holds latencies from 2^(b/16) to 2^((b+1)/16) microseconds.  WHERE is a directory or a port on the
 * loopback.  Each client has its own key, KEY<n>, so that the way is measured and not the contention; `shared` before a
 * kind (shared-cas) makes all use one.  KEYS: many-* kinds pick one of so many: k<n> for KEY "flat", d<n / 1000>/k<n % 1000>
 * for "two".
 */
#include "bench.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BUCKETS (16 * 32)

struct result {
	uint64_t ops, refused, us[BUCKETS];
};

struct shared {
	pthread_barrier_t ready;
	struct result of[];
};

static const struct kind *const all_kinds[] = {
	files_kinds,    swap_kinds,
#ifdef HAVE_HIREDIS
	redis_kinds,
#endif
#ifdef HAVE_LIBPQ
	postgres_kinds,
#endif
	etcd_kinds,
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void value_next(struct client *c)
{
	int n = snprintf(c->value, c->size, "%016llx%08x", (unsigned long long)++c->n, (unsigned)getpid());

	c->value[n] = 'v';
}

static int bucket(double seconds)
{
	int b = seconds > 1e-6 ? (int)(log2(seconds * 1e6) * 16) : 0;

	return b < BUCKETS ? b : BUCKETS - 1;
}

static int run(const struct kind *k, struct client *c, struct result *r, double seconds)
{
	double end = now() + seconds;

	for (double t = now(), u; t < end; t = u) {
		int err = k->step(c);

		u = now();
		if (err == EAGAIN || err == EBUSY) {
			r->refused++;
			continue;
		}
		if (err) {
			fprintf(stderr, "bench: %s %s: %s\n", k->name, c->key, strerror(err));
			return 1;
		}
		r->us[bucket(u - t)]++;
		r->ops++;
	}
	return 0;
}

static int client_main(const struct kind *k, struct client *c, struct shared *s, double seconds)
{
	int err;

	c->random = c->id * 2654435761u + 88172645463325252u;
	c->value = malloc(c->size + 1);
	c->spare = malloc(c->size + 1);
	err = c->value && c->spare ? 0 : ENOMEM;
	if (!err) {
		memset(c->value, 'v', c->size);
		c->value[c->size] = 0;
		err = k->begin ? k->begin(c) : 0;
	}
	if (err)
		fprintf(stderr, "bench: %s %s: %s\n", k->name, c->key, strerror(err));
	pthread_barrier_wait(&s->ready);
	return err || run(k, c, &s->of[c->id], seconds);
}

static void report(struct shared *s, unsigned clients, double seconds)
{
	struct result sum = {0};

	for (unsigned i = 0; i < clients; i++) {
		sum.ops += s->of[i].ops;
		sum.refused += s->of[i].refused;
		for (int b = 0; b < BUCKETS; b++)
			sum.us[b] += s->of[i].us[b];
	}
	printf("%llu %llu %.3f", (unsigned long long)sum.ops, (unsigned long long)sum.refused, seconds);
	for (int b = 0; b < BUCKETS; b++)
		if (sum.us[b])
			printf(" %d:%llu", b, (unsigned long long)sum.us[b]);
	printf("\n");
}

static const struct kind *find_kind(const char *name)
{
	for (size_t i = 0; i < sizeof(all_kinds) / sizeof(all_kinds[0]); i++)
		for (const struct kind *k = all_kinds[i]; k->name; k++)
			if (!strcmp(k->name, name))
				return k;
	return NULL;
}

static struct shared *share(unsigned clients)
{
	struct shared *s = mmap(NULL, sizeof(*s) + sizeof(struct result) * clients, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_barrierattr_t attr;

	if (s == MAP_FAILED)
		return NULL;
	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&s->ready, &attr, clients + 1);
	return s;
}

int main(int argc, char **argv)
{
	int shared = argc >= 7 && !strncmp(argv[1], "shared-", 7), status, bad = 0;
	const struct kind *k = argc >= 7 ? find_kind(argv[1] + (shared ? 7 : 0)) : NULL;
	unsigned clients = k ? (unsigned)atoi(argv[4]) : 0;
	struct client c = {.fd = -1};
	struct shared *s;
	double began;

	if (argc == 3 && !strcmp(argv[1], "has")) /* is the kind built in? */
		return !find_kind(argv[2]);
	if (!clients || (c.size = (size_t)atol(argv[6])) < 32) {
		fprintf(stderr, "usage: bench KIND WHERE KEY CLIENTS SECONDS SIZE [KEYS]\n");
		return 2;
	}
	c.where = argv[2];
	c.keys = argc > 7 ? (unsigned)atoi(argv[7]) : 0;
	s = share(clients);
	if (!s)
		return 1;
	for (c.id = 0; c.id < clients; c.id++)
		if (fork() == 0) {
			if (c.keys)
				snprintf(c.name, sizeof(c.name), "%.100s", argv[3]);
			else
				snprintf(c.name, sizeof(c.name), "%.100s%u", argv[3], shared ? 0 : c.id);
			snprintf(c.key, sizeof(c.key), "%s", c.name);
			_exit(client_main(k, &c, s, atof(argv[5])));
		}
	pthread_barrier_wait(&s->ready);
	began = now();
	while (wait(&status) > 0 || errno == EINTR)
		bad |= status;
	report(s, clients, now() - began);
	return bad != 0;
}
