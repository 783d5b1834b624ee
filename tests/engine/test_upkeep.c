/* SPDX-License-Identifier: MIT */
/* The merging of packs ends with the ledger, also in a process that blocks the signals which end it, as a daemon does. */
#include "../ledger/helper.h"

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

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(merging_ends_with_the_ledger, fixture_setup_synced, fixture_teardown),
	};

	if (argc > 1 && getenv(STARTED))
		return merge_for_long();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
