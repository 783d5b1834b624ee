/* SPDX-License-Identifier: MIT */
/*
 * What the index of times costs: bench_times REPO, a repository with the namespace "app", whose keys are
 * kD/kN (docs/DESIGN.md has the figures).  CPU of this process per commit and per question; the time
 * to make the index from nothing, and to load it.
 */
#include <ledger/change.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static const struct ledger_actor actor = {.name = "Bench", .email = "bench@localhost", .comm = "bench", .pid = 1};

static double wall_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* Of the calling thread: the engine's threads do the same work at any length of history. */
static double cpu_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void must(int rc, const char *what)
{
	if (rc) {
		fprintf(stderr, "%s: %s\n", what, ledger_errmsg());
		exit(1);
	}
}

static void commit(struct ledger *l, const char *path, int n)
{
	struct ledger_value *v;
	char text[16];
	struct ledger_edit e = {.op = LEDGER_SET, .path = path, .kind = LEDGER_FILE, .flags = LEDGER_PARENTS};
	struct ledger_change c = {.ns = "app", .edits = &e, .nedits = 1, .actor = actor};

	must(ledger_value_new(l, text, (size_t)snprintf(text, sizeof(text), "%d", n), &v), "value");
	e.value = v;
	must(ledger_commit(l, &c, NULL), path);
	ledger_value_unref(v);
}

static void ask(struct ledger *l, const char *path)
{
	struct ledger_tip tip;
	struct timespec t;
	bool guess;

	must(ledger_tip(l, "app", &tip), "tip");
	must(ledger_key_time(l, "app", &tip, path, &t, &guess), path);
	if (guess)
		fprintf(stderr, "%s: a guess\n", path);
}

static long resident_kb(void)
{
	struct rusage r;

	getrusage(RUSAGE_SELF, &r);
	return r.ru_maxrss;
}

int main(int argc, char **argv)
{
	enum { N = 4000 };
	struct ledger_options o = {.nosync = true, .no_upkeep = true};
	struct ledger *l;
	char path[64];
	long rss;
	double t, c;

	if (argc != 2)
		return 2;
	must(ledger_open(&l, argv[1], &o), argv[1]);
	rss = resident_kb();
	t = wall_us();
	c = cpu_us();
	must(ledger_times_settle(l, "app"), "settle");
	printf("made or loaded: %.1f ms, %.1f ms of CPU, %ld KB more resident\n", (wall_us() - t) / 1e3,
	       (cpu_us() - c) / 1e3, resident_kb() - rss);
	t = wall_us();
	ledger_free(l);
	printf("written: %.1f ms\n", (wall_us() - t) / 1e3);

	must(ledger_open(&l, argv[1], &o), argv[1]);
	t = wall_us();
	ask(l, "k7/k7");
	printf("first question after opening: %.2f ms\n", (wall_us() - t) / 1e3);
	for (int i = 0; i < N; i++) { /* warm */
		snprintf(path, sizeof(path), "k%d/k%d", i % 30, i % 900);
		commit(l, path, i);
	}
	c = cpu_us();
	for (int i = 0; i < N; i++) {
		snprintf(path, sizeof(path), "k%d/k%d", i % 30, i % 900);
		commit(l, path, i + 1);
	}
	printf("commit: %.2f us of CPU\n", (cpu_us() - c) / N);
	c = cpu_us();
	for (int i = 0; i < N; i++) {
		snprintf(path, sizeof(path), "k%d/k%d", i % 30, i % 900);
		ask(l, path);
	}
	printf("question: %.2f us of CPU\n", (cpu_us() - c) / N);
	c = 0;
	for (int i = 0; i < N; i++) {
		commit(l, "k1/k1", i);
		snprintf(path, sizeof(path), "k%d/k%d", i % 30, i % 900);
		t = cpu_us();
		ask(l, path);
		c += cpu_us() - t;
	}
	printf("question after a commit: %.2f us of CPU\n", c / N);
	ledger_free(l);
	return 0;
}
