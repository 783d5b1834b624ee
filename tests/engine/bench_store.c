/* SPDX-License-Identifier: MIT */
/*
 * Commits a second of the ledger without FUSE: bench_store [-t threads] [-s seconds] [-k keys] [-d per directory]
 * [-v bytes] [-a(sync)] [-n(osync)] [-N namespaces] [-C(as)] DIR.  Each thread sets random keys, one commit each.
 */
#include <ledger/change.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static struct ledger *led;
static long keys = 1000, per_dir = 30, bytes = 100, namespaces = 1;
static atomic_bool stop;
static const struct ledger_actor actor = {.name = "Bench", .email = "bench@localhost", .comm = "bench", .pid = 1};

struct worker {
	pthread_t thread;
	unsigned seed;
	double *lat;
	size_t n, cap;
};

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, ledger_errmsg());
	exit(1);
}

static void path_of(char *out, size_t size, long key)
{
	if (per_dir >= keys)
		snprintf(out, size, "key%07ld", key);
	else
		snprintf(out, size, "d%05ld/key%07ld", key / per_dir, key);
}

static void set_one(const char *ns, long key, unsigned *seed)
{
	char path[64], data[8192];
	struct ledger_edit e = {.op = LEDGER_SET, .flags = LEDGER_PARENTS, .path = path, .kind = LEDGER_FILE};
	struct ledger_change c = {.ns = ns, .edits = &e, .nedits = 1, .actor = actor, .create = true};
	struct ledger_result res;

	path_of(path, sizeof(path), key);
	memset(data, 'x', sizeof(data));
	snprintf(data, sizeof(data), "{\"a\":%d,\"b\":%d,\"c\":%d}", rand_r(seed), rand_r(seed), rand_r(seed));
	if (ledger_value_new(led, data, (size_t)bytes, &e.value) < 0 || ledger_commit(led, &c, &res) < 0)
		die("commit");
	ledger_value_unref(e.value);
}

static void fill(void)
{
	for (long n = 0; n < namespaces; n++) {
		struct ledger_edit *e = calloc((size_t)keys, sizeof(*e));
		struct ledger_change c = {.edits = e, .nedits = (size_t)keys, .actor = actor, .create = true};
		struct ledger_value *v;
		char ns[32], *paths = malloc((size_t)keys * 64);

		snprintf(ns, sizeof(ns), "ns%ld", n);
		c.ns = ns;
		if (ledger_value_new(led, "init", 4, &v) < 0)
			die("value");
		for (long k = 0; k < keys; k++) {
			path_of(paths + k * 64, 64, k);
			e[k] = (struct ledger_edit){.op = LEDGER_SET,
						    .flags = LEDGER_PARENTS,
						    .path = paths + k * 64,
						    .kind = LEDGER_FILE,
						    .value = v};
		}
		if (ledger_commit(led, &c, NULL) < 0)
			die("fill");
		ledger_value_unref(v);
		free(e);
		free(paths);
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;

	while (!atomic_load(&stop)) {
		char ns[32];
		double t = now_us();

		snprintf(ns, sizeof(ns), "ns%ld", rand_r(&w->seed) % namespaces);
		set_one(ns, rand_r(&w->seed) % keys, &w->seed);
		if (w->n < w->cap)
			w->lat[w->n++] = now_us() - t;
	}
	return NULL;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	struct ledger_options o = {.init = true};
	struct worker *w;
	struct rusage r0, r1;
	double secs = 3, t0, t1, *all, cpu;
	size_t n = 0;
	int threads = 1, c;

	while ((c = getopt(argc, argv, "t:s:k:d:v:N:anu")) != -1)
		switch (c) {
		case 't':
			threads = atoi(optarg);
			break;
		case 's':
			secs = atof(optarg);
			break;
		case 'k':
			keys = atol(optarg);
			break;
		case 'd':
			per_dir = atol(optarg);
			break;
		case 'v':
			bytes = atol(optarg);
			break;
		case 'N':
			namespaces = atol(optarg);
			break;
		case 'a':
			o.publish = LEDGER_PUBLISH_ASYNC;
			break;
		case 'n':
			o.nosync = true;
			break;
		case 'u':
			o.no_upkeep = true;
			break;
		default:
			return 2;
		}
	if (optind + 1 != argc || bytes > 8192)
		return 2;
	if (ledger_open(&led, argv[optind], &o) < 0)
		die("open");
	fill();
	w = calloc((size_t)threads, sizeof(*w));
	for (int i = 0; i < 20; i++)
		set_one("ns0", i, &(unsigned){1});
	getrusage(RUSAGE_SELF, &r0);
	t0 = now_us();
	for (int i = 0; i < threads; i++) {
		w[i].seed = (unsigned)i + 1;
		w[i].cap = 1000000;
		w[i].lat = malloc(w[i].cap * sizeof(double));
		pthread_create(&w[i].thread, NULL, work, &w[i]);
	}
	while (now_us() - t0 < secs * 1e6)
		usleep(10000);
	atomic_store(&stop, true);
	for (int i = 0; i < threads; i++) {
		pthread_join(w[i].thread, NULL);
		n += w[i].n;
	}
	t1 = now_us();
	getrusage(RUSAGE_SELF, &r1);
	all = malloc((n + 1) * sizeof(double));
	n = 0;
	for (int i = 0; i < threads; i++) {
		memcpy(all + n, w[i].lat, w[i].n * sizeof(double));
		n += w[i].n;
	}
	qsort(all, n, sizeof(double), by_value);
	cpu = (double)(r1.ru_utime.tv_sec - r0.ru_utime.tv_sec + r1.ru_stime.tv_sec - r0.ru_stime.tv_sec) * 1e6 +
	      (double)(r1.ru_utime.tv_usec - r0.ru_utime.tv_usec + r1.ru_stime.tv_usec - r0.ru_stime.tv_usec);
	printf("threads %2d keys %ld/%ld %s: %8.0f commits/s  p50 %5.0f  p99 %6.0f  max %7.0f us  cpu %3.0f us/commit\n",
	       threads, keys, per_dir, o.publish ? "async" : "sync ", (double)n / (t1 - t0) * 1e6, n ? all[n / 2] : 0,
	       n ? all[n * 99 / 100] : 0, n ? all[n - 1] : 0, cpu / (double)n);
	t0 = now_us();
	ledger_free(led);
	printf("close %.0f ms\n", (now_us() - t0) / 1e3);
	for (int i = 0; i < threads; i++)
		free(w[i].lat);
	free(w);
	free(all);
	return 0;
}
