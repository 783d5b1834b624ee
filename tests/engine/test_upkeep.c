/* SPDX-License-Identifier: MIT */
/*
 * The merging of packs: which ones, that nothing is lost by it, and that it ends with the ledger, also in a process that
 * blocks the signals which end it, as a daemon does.
 */
#include "../ledger/helper.h"
#include "engine/packlist.h"

#include <errno.h>
#include <glob.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>

#define LONG 60 /* seconds that the git which merges would take */

#define STARTED "LEDGERFS_TEST_STARTED"

/* This program by the name of git: a shell would let go of the blocked signals. */
static int merge_for_long(void)
{
	struct timespec t = {LONG, 0};
	char path[400];
	FILE *f;

	snprintf(path, sizeof(path), "%s.new", getenv(STARTED));
	f = fopen(path, "w");
	if (!f || fprintf(f, "%ld\n", (long)getpid()) < 0 || fclose(f) || rename(path, getenv(STARTED)))
		return 1;
	nanosleep(&t, NULL);
	return 0;
}

/* A checkpoint is made at once when somebody takes a small pack. */
static void take_small_packs(const char *repo)
{
	char pattern[400];
	glob_t found;

	snprintf(pattern, sizeof(pattern), "%s/objects/pack/pack-6b76*.idx", repo);
	if (glob(pattern, 0, NULL, &found) == 0)
		for (size_t i = 0; i < found.gl_pathc; i++)
			unlink(found.gl_pathv[i]);
	globfree(&found);
}

static long pid_in(const char *path)
{
	FILE *f = fopen(path, "r");
	long pid = 0;

	if (!f)
		return 0;
	assert_int_equal(fscanf(f, "%ld", &pid), 1);
	fclose(f);
	return pid;
}

static void merging_ends_with_the_ledger(void **state)
{
	struct fixture *f = *state;
	struct timespec begin, end, nap = {0, 5000000};
	char dir[300], git_path[320], started[320], text[32], self[4096] = "", *path = strdup(getenv("PATH")), *with;
	sigset_t term, old;
	long pid = 0;

	snprintf(dir, sizeof(dir), "%s/bin", f->dir);
	snprintf(git_path, sizeof(git_path), "%s/git", dir);
	snprintf(started, sizeof(started), "%s/started", f->dir);
	assert_int_equal(mkdir(dir, 0755), 0);
	assert_true(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
	assert_int_equal(symlink(self, git_path), 0);
	setenv(STARTED, started, 1);
	assert_true(asprintf(&with, "%s:%s", dir, path) > 0);
	setenv("PATH", with, 1);
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &term, &old);
	ledger_free(f->l);
	assert_ok(ledger_open(&f->l, f->repo, NULL));
	for (int i = 0; i < 4000 && !pid; i++) {
		snprintf(text, sizeof(text), "%d", i);
		assert_ok(set(f->l, "key", text, NULL));
		take_small_packs(f->repo);
		nanosleep(&nap, NULL); /* the interval of looks */
		pid = pid_in(started);
	}
	assert_true(pid > 0);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	ledger_free(f->l);
	clock_gettime(CLOCK_MONOTONIC, &end);
	setenv("PATH", path, 1);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	assert_true(end.tv_sec - begin.tv_sec < LONG / 2);
	assert_true(kill((pid_t)pid, 0) < 0 && errno == ESRCH);
	free(path);
	free(with);
	assert_ok(ledger_open(&f->l, f->repo, NULL));
	assert_string_equal(get(f->l, "key"), text);
}

static size_t chosen(size_t n, const off_t *sizes)
{
	struct packlist p = {.v = calloc(n + 1, sizeof(struct old_pack)), .n = n};

	assert_non_null(p.v);
	for (size_t i = 0; i < n; i++)
		p.v[i].size = sizes[i];
	n = packlist_choose(&p);
	for (size_t i = 1; i < p.n; i++)
		assert_true(p.v[i - 1].size <= p.v[i].size);
	packlist_release(&p);
	return n;
}

static void eights_are_merged(void **state)
{
	off_t sizes[64], total = 0, written = 0;
	size_t n = 0, most = 0;

	for (size_t i = 0; i < 64; i++)
		sizes[i] = 100;
	assert_int_equal(chosen(0, sizes), 0);
	assert_int_equal(chosen(7, sizes), 0);
	assert_int_equal(chosen(8, sizes), 8);
	assert_int_equal(chosen(20, sizes), 20);
	sizes[3] = 100 * 19; /* larger than an eighth of all: not again */
	assert_int_equal(chosen(20, sizes), 19);
	/* 4,096 packs that come one by one: each byte is written some three times, and few packs are there at any time. */
	for (int i = 0; i < 4096; i++) {
		struct packlist p = {.v = calloc(65, sizeof(struct old_pack)), .n = ++n};
		off_t sum = 0;
		size_t k;

		sizes[n - 1] = 90 + i * 7 % 20;
		total += sizes[n - 1];
		for (size_t j = 0; j < n; j++)
			p.v[j].size = sizes[j];
		k = packlist_choose(&p);
		for (size_t j = 0; j < k; j++)
			sum += p.v[j].size;
		for (size_t j = k; j < n; j++)
			sizes[j - k] = p.v[j].size;
		n -= k;
		if (k)
			sizes[n++] = sum;
		written += sum;
		most = n > most ? n : most;
		assert_true(n < 40);
		packlist_release(&p);
	}
	assert_true(written <= 4 * total);
	print_message("at most %zu packs, each byte written %.1f times\n", most, (double)written / (double)total);
}

static size_t packs_for_good(const char *repo)
{
	char pattern[400];
	glob_t found;
	size_t n;

	snprintf(pattern, sizeof(pattern), "%s/objects/pack/pack-6b77*.idx", repo);
	n = glob(pattern, 0, NULL, &found) == 0 ? found.gl_pathc : 0;
	globfree(&found);
	return n;
}

static void nothing_is_lost_by_a_merge(void **state)
{
	struct fixture *f = *state;
	struct timespec nap = {0, 5000000};
	char text[32], last[32], key[32];
	size_t most = 0, now = 0;
	int i;

	for (i = 0; i < 4000 && now + 8 > most; i++) {
		snprintf(text, sizeof(text), "%d", i);
		snprintf(key, sizeof(key), "d%d/k%d", i % 3, i % 7);
		assert_ok(set(f->l, key, text, NULL));
		take_small_packs(f->repo);
		nanosleep(&nap, NULL); /* the interval of looks */
		now = packs_for_good(f->repo);
		most = now > most ? now : most;
	}
	assert_true(now + 8 <= most);
	/* What was taken last comes back with the next checkpoint; the end makes one. */
	ledger_free(f->l);
	assert_ok(ledger_open(&f->l, f->repo, NULL));
	/* The ledger and stock git have every one of them; fsck is teardown's. */
	snprintf(last, sizeof(last), "%d", i);
	assert_string_equal(get(f->l, key), text);
	assert_string_equal(git(f, "rev-list --count refs/kv/app"), last);
	assert_int_equal(git_status(f, "rev-list --objects refs/kv/app >/dev/null"), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(eights_are_merged),
		cmocka_unit_test_setup_teardown(nothing_is_lost_by_a_merge, fixture_setup_synced, fixture_teardown),
		cmocka_unit_test_setup_teardown(merging_ends_with_the_ledger, fixture_setup_synced, fixture_teardown),
	};

	if (argc > 1 && getenv(STARTED))
		return merge_for_long();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
