/* SPDX-License-Identifier: MIT */
/* When a key last changed. */
#include "helper.h"

static void later(void)
{
	struct timespec a, b;

	/* The clock itself is the event: it has to have moved on. */
	clock_gettime(CLOCK_REALTIME, &a);
	do
		clock_gettime(CLOCK_REALTIME, &b);
	while (a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec);
}

static struct timespec time_of(struct ledger *l, const char *path)
{
	struct ledger_tip tip;
	struct timespec t;

	assert_ok(ledger_tip(l, "app", &tip));
	assert_ok(ledger_key_time(l, "app", &tip, path, &t, NULL));
	return t;
}

static void assert_time(struct timespec a, struct timespec b)
{
	assert_int_equal(a.tv_sec, b.tv_sec);
	assert_int_equal(a.tv_nsec, b.tv_nsec);
}

static struct timespec put(struct ledger *l, const char *path, const char *text)
{
	struct ledger_result res;

	later();
	assert_ok(set(l, path, text, &res));
	return res.tip.time;
}

static void own_commits(void **state)
{
	struct fixture *f = *state;
	struct timespec a, b, c, d;
	struct ledger_tip tip;
	struct ledger_result res;

	a = put(f->l, "d/a", "1");
	b = put(f->l, "d/b", "1");
	c = put(f->l, "e/c", "1");
	assert_time(time_of(f->l, "d/a"), a);
	assert_time(time_of(f->l, "d/b"), b);
	assert_time(time_of(f->l, "d"), b);
	assert_time(time_of(f->l, "e"), c);
	assert_ok(ledger_tip(f->l, "app", &tip));
	assert_time(tip.time, c);
	put(f->l, "d/a", "1"); /* the same: no commit */
	assert_time(time_of(f->l, "d/a"), a);
	d = put(f->l, "d/a", "2");
	assert_time(time_of(f->l, "d/a"), d);
	assert_time(time_of(f->l, "d/b"), b);
	later();
	assert_ok(change1(f->l, (struct ledger_edit){.op = LEDGER_RENAME, .path = "e/c", .to = "d/c"}, NULL, &res));
	assert_time(time_of(f->l, "d/c"), res.tip.time);
	assert_time(time_of(f->l, "e"), res.tip.time);
	assert_int_equal(res.tip.time.tv_sec, strtoll(git(f, "log -1 --format=%%ct refs/kv/app"), NULL, 10));
}

static void after_reopening(void **state)
{
	struct fixture *f = *state;
	struct ledger_tip tip;
	struct timespec t;
	struct ledger *other;

	for (int i = 0; i < 5; i++) {
		git(f, "hash-object -t tree -w /dev/null");
		git(f,
		    "update-ref refs/kv/app $(GIT_COMMITTER_DATE='@%d +0000' git -c user.name=x -c user.email=x@y "
		    "commit-tree -m x %s "
		    "$( (git ls-tree refs/kv/app 2>/dev/null; printf '100644 blob %%s\\tk%d\\n' "
		    "$(git hash-object -w --stdin </dev/null)) | git mktree))",
		    1000000 + i, i ? "-p refs/kv/app" : "", i);
	}
	other = open_again(f);
	for (int i = 4; i >= 0; i--) {
		char path[8];

		snprintf(path, sizeof(path), "k%d", i);
		assert_time(time_of(other, path), (struct timespec){1000000 + i, 0});
		assert_time(time_of(other, path), (struct timespec){1000000 + i, 0});
	}
	assert_ok(ledger_tip(other, "app", &tip));
	assert_rc(ledger_key_time(other, "app", &tip, "none", &t, NULL), LEDGER_ENOTFOUND);
	put(other, "k1", "x");
	assert_time(time_of(other, "k0"), (struct timespec){1000000, 0});
	/* An older state has older times. */
	assert_ok(ledger_key_time(other, "app", &tip, "k1", &t, NULL));
	assert_time(t, (struct timespec){1000001, 0});
	ledger_free(other);
}

/* The same history with the Nth commit at N * 1000. */
static void redate(struct fixture *f)
{
	git(f, "rev-list --reverse refs/kv/app >list; n=0; p=; while read c; do n=$((n + 1000)); "
	       "p=\"-p $(GIT_COMMITTER_DATE=\"@$n +0000\" git -c user.name=x -c user.email=x@y commit-tree $p -m x "
	       "$c^{tree})\"; "
	       "done <list; git update-ref refs/kv/app ${p#-p }; rm list");
}

/* Directories, kinds, a key that became a directory; the first question answers for all of a directory. */
static void whole_directory(void **state)
{
	static const struct {
		const char *path;
		time_t time;
	} want[] = {{"d/a", 1000}, {"d/sub", 5000},     {"d/sub/k", 5000}, {"d/n", 7000}, {"d/n/deep", 7000},
		    {"d/x", 8000}, {"elsewhere", 9000}, {"d/a.b", 10000},  {"d", 10000},  {"", 10000}};
	struct fixture *f = *state;
	struct ledger_edit x = {.op = LEDGER_CHMOD, .path = "d/x", .kind = LEDGER_EXEC};
	struct timespec sub, n, last;
	struct ledger *other;

	put(f->l, "d/a", "1");
	put(f->l, "d/x", "1");
	put(f->l, "d/n", "1");
	put(f->l, "d/a.b", "1");
	sub = put(f->l, "d/sub/k", "1");
	assert_ok(plain(f->l, LEDGER_DELETE, "d/n", NULL, 0));
	n = put(f->l, "d/n/deep", "1");
	assert_ok(change1(f->l, x, NULL, NULL));
	put(f->l, "elsewhere", "1");
	last = put(f->l, "d/a.b", "2");
	/* To the nanosecond where the commits are this ledger's, also when nothing was noted for the path. */
	assert_time(time_of(f->l, "d/sub"), sub);
	assert_time(time_of(f->l, "d/n"), n);
	assert_time(time_of(f->l, "d"), last);
	assert_time(time_of(f->l, ""), last);

	redate(f);
	for (size_t first = 0; first < sizeof(want) / sizeof(*want); first++) {
		other = open_again(f);
		for (size_t i = 0; i < sizeof(want) / sizeof(*want); i++) {
			size_t k = (first + i) % (sizeof(want) / sizeof(*want));

			assert_time(time_of(other, want[k].path), (struct timespec){want[k].time, 0});
		}
		ledger_free(other);
	}
}

/* A search that gives up says the tip's time, and that it is a guess, until the whole history was read. */
static void gives_up(void **state)
{
	struct fixture *f = *state;
	struct ledger_tip tip;
	struct ledger *other;
	struct timespec t;
	bool guess = false;

	put(f->l, "old", "1");
	git(f, "rev-parse refs/kv/app >at; awk -v at=$(cat at) 'BEGIN { for (n = 1; n <= 1100; n++) { "
	       "printf \"commit refs/kv/app\\ncommitter x <x@y> %%d +0000\\ndata 2\\nx\\n\", n + 200000000; "
	       "if (n == 1) printf \"from %%s\\n\", at } }' | git fast-import --quiet; rm at");
	other = open_again(f);
	assert_ok(ledger_tip(other, "app", &tip));
	assert_ok(ledger_key_time(other, "app", &tip, "old", &t, &guess));
	assert_int_equal(t.tv_sec, 200001100);
	assert_true(guess);
	assert_ok(ledger_times_settle(other, "app"));
	assert_int_equal(time_of(other, "old").tv_sec, strtoll(git(f, "log -1 --format=%%ct refs/kv/app -- old"), NULL, 10));
	assert_ok(ledger_key_time(other, "app", &tip, "old", &t, &guess));
	assert_false(guess);
	ledger_free(other);
}

/* There and back again by somebody else: that is a change, of that moment. */
static void there_and_back(void **state)
{
	struct fixture *f = *state;
	struct timespec t;

	put(f->l, "k", "1");
	git(f, "update-ref refs/kv/app $(GIT_COMMITTER_DATE='@2000000 +0000' git -c user.name=x -c user.email=x@y "
	       "commit-tree -m x "
	       "-p refs/kv/app $(git hash-object -t tree -w /dev/null))");
	git(f, "update-ref refs/kv/app $(GIT_COMMITTER_DATE='@3000000 +0000' git -c user.name=x -c user.email=x@y "
	       "commit-tree -m x "
	       "-p refs/kv/app refs/kv/app~1^{tree})");
	t = time_of(f->l, "k");
	assert_int_equal(t.tv_sec, 3000000);
}

#define test(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {test(own_commits), test(after_reopening), test(there_and_back),
					   test(whole_directory), test(gives_up)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
