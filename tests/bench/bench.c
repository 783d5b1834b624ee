/* SPDX-License-Identifier: MIT */
/*
 * bench KIND DIR CLIENTS SECONDS SIZE: so many processes do one thing over and over for so long; prints a line
 *	OPERATIONS REFUSED SECONDS P50 P90 P99 MAX		(latencies in microseconds)
 * Kinds: save (open O_TRUNC, write, close), cas (read the tree, arm expect-tree, save), casblob (the same with the key's
 *blob), swap (one setxattr), replace (write a new file, fsync, rename over the key: what a careful program does on a disk),
 * read (open, read, close), pread (of a handle that is open), stat.
 * Each client has its own key, DIR/k<n>, so what is measured is the way, not the contention; `shared` before a kind
 *(shared-cas) makes all use one key.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define SAMPLES (1 << 20) /* of each client; later operations are counted, not kept */

struct client {
	char key[512], tmp[544];
	char *value;
	size_t size;
	uint64_t n;
	int fd;
};

struct result {
	uint64_t ops, refused, samples;
	float us[SAMPLES];
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Each returns 0 or an errno; EAGAIN and EBUSY are conflicts. */

static int save(struct client *c, const char *path, int sync)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644), err = 0;

	if (fd < 0)
		return errno;
	/* Never the same bytes twice: those would make no commit. */
	snprintf(c->value, c->size, "%016llx%d", (unsigned long long)++c->n, (int)getpid());
	if (write(fd, c->value, c->size) != (ssize_t)c->size || (sync && fsync(fd)))
		err = errno;
	if (close(fd) && !err)
		err = errno;
	return err;
}

static int do_save(struct client *c)
{
	return save(c, c->key, 0);
}

static int do_replace(struct client *c)
{
	int err = save(c, c->tmp, 1);

	return err ? err : rename(c->tmp, c->key) ? errno : 0;
}

static int guarded(struct client *c, const char *what)
{
	char name[64], arm[64], value[64];
	ssize_t n;

	snprintf(name, sizeof(name), "user.kv.%s", what);
	snprintf(arm, sizeof(arm), "user.kv.expect-%s", what);
	n = getxattr(c->key, name, value, sizeof(value));
	if (n < 0 || setxattr(c->key, arm, value, (size_t)n, 0))
		return errno;
	return save(c, c->key, 0);
}

static int do_cas(struct client *c)
{
	return guarded(c, "tree");
}

static int do_casblob(struct client *c)
{
	return guarded(c, "blob");
}

static int do_swap(struct client *c)
{
	char oid[64], name[128];
	ssize_t n = getxattr(c->key, "user.kv.blob", oid, sizeof(oid) - 1);

	if (n < 0)
		return errno;
	oid[n] = 0;
	snprintf(name, sizeof(name), "user.kv.swap.%s", oid);
	snprintf(c->value, c->size, "%016llx%d", (unsigned long long)++c->n, (int)getpid());
	return setxattr(c->key, name, c->value, c->size, 0) ? errno : 0;
}

static int do_read(struct client *c)
{
	int fd = open(c->key, O_RDONLY);
	ssize_t n;

	if (fd < 0)
		return errno;
	n = read(fd, c->value, c->size);
	close(fd);
	return n < 0 ? errno : 0;
}

static int do_pread(struct client *c)
{
	if (c->fd < 0 && (c->fd = open(c->key, O_RDONLY)) < 0)
		return errno;
	return pread(c->fd, c->value, c->size, 0) < 0 ? errno : 0;
}

static int do_stat(struct client *c)
{
	struct stat st;

	return stat(c->key, &st) ? errno : 0;
}

static const struct kind {
	const char *name;
	int (*fn)(struct client *);
} kinds[] = {
	{"save", do_save},       {"cas", do_cas},   {"casblob", do_casblob}, {"swap", do_swap},
	{"replace", do_replace}, {"read", do_read}, {"pread", do_pread},     {"stat", do_stat},
};

static void run(const struct kind *k, struct client *c, struct result *r, double seconds)
{
	double end = now() + seconds;

	for (double t = now(), u; t < end; t = u) {
		int err = k->fn(c);

		u = now();
		if (err == EAGAIN || err == EBUSY) {
			r->refused++;
			continue;
		}
		if (err) {
			fprintf(stderr, "bench: %s: %s\n", c->key, strerror(err));
			_exit(1);
		}
		if (r->samples < SAMPLES)
			r->us[r->samples++] = (float)((u - t) * 1e6);
		r->ops++;
	}
}

static int by_value(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

static void report(struct result *r, int clients, double seconds)
{
	uint64_t n = 0, ops = 0, refused = 0;
	float *all;

	for (int i = 0; i < clients; i++)
		n += r[i].samples;
	all = malloc((n + 1) * sizeof(*all));
	if (!all)
		exit(1);
	n = 0;
	for (int i = 0; i < clients; i++) {
		memcpy(all + n, r[i].us, r[i].samples * sizeof(*all));
		n += r[i].samples;
		ops += r[i].ops;
		refused += r[i].refused;
	}
	qsort(all, n, sizeof(*all), by_value);
	all[n] = n ? all[n - 1] : 0;
	printf("%llu %llu %.3f %.0f %.0f %.0f %.0f\n", (unsigned long long)ops, (unsigned long long)refused, seconds,
	       (double)all[n / 2], (double)all[n * 9 / 10], (double)all[n * 99 / 100], (double)all[n]);
	free(all);
}

static const struct kind *find_kind(const char *name)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(kinds[i].name, name))
			return &kinds[i];
	return NULL;
}

int main(int argc, char **argv)
{
	int shared = argc == 6 && !strncmp(argv[1], "shared-", 7);
	const struct kind *k = argc == 6 ? find_kind(argv[1] + (shared ? 7 : 0)) : NULL;
	int clients = k ? atoi(argv[3]) : 0, status, bad = 0;
	struct client c = {.fd = -1};
	struct result *r;
	double began;

	if (!k || clients < 1 || (c.size = (size_t)atol(argv[5])) < 32) {
		fprintf(stderr, "usage: bench KIND DIR CLIENTS SECONDS SIZE\n");
		return 2;
	}
	r = mmap(NULL, sizeof(*r) * (size_t)clients, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	c.value = malloc(c.size + 1);
	if (r == MAP_FAILED || !c.value)
		return 1;
	memset(c.value, 'v', c.size);
	for (int i = 0; i < clients; i++) { /* keys are there before the clock runs */
		snprintf(c.key, sizeof(c.key), "%s/k%d", argv[2], shared ? 0 : i);
		if (save(&c, c.key, 0)) {
			perror(c.key);
			return 1;
		}
	}
	began = now();
	for (int i = 0; i < clients; i++)
		if (fork() == 0) {
			snprintf(c.key, sizeof(c.key), "%s/k%d", argv[2], shared ? 0 : i);
			snprintf(c.tmp, sizeof(c.tmp), "%s.new%d", c.key, i);
			run(k, &c, &r[i], atof(argv[4]));
			_exit(0);
		}
	while (wait(&status) > 0 || errno == EINTR)
		bad |= status;
	report(r, clients, now() - began);
	return bad != 0;
}
