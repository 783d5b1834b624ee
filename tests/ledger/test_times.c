/* SPDX-License-Identifier: MIT */
/* The index of times: that it says what the history says, and that nothing can make it say something else. */
#include "helper.h"

#include "timefile.h"
#include "timeindex.h"
#include "timekeeper.h"
#include "timetable.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/stat.h>

/* --- the table ------------------------------------------------------------------------------------------------------ */

static void table(void **state)
{
	enum { N = 3000 };
	static time_t want[N];
	struct timetable t = {0};
	unsigned seed = 7;
	size_t n = 0;

	(void)state;
	for (int round = 0; round < 60000; round++) {
		unsigned i = (unsigned)rand_r(&seed) % N;
		char name[16];
		struct path_id id;

		path_id(name, (size_t)snprintf(name, sizeof(name), "k%u", i), &id);
		assert_int_equal(timetable_get(&t, &id) != NULL, want[i] != 0);
		if (want[i])
			assert_int_equal(timetable_get(&t, &id)->sec, want[i]);
		if (rand_r(&seed) % 2) {
			assert_true(timetable_reserve(&t, t.n + 1));
			n += !want[i];
			want[i] = round + 1;
			timetable_put(&t, &id, &(struct timespec){want[i], 5});
		} else {
			n -= want[i] != 0;
			want[i] = 0;
			timetable_remove(&t, &id);
		}
		assert_int_equal(t.n, n);
	}
	timetable_release(&t);
}

/* --- what the history says ------------------------------------------------------------------------------------------ */

static struct timespec ask(struct ledger *l, const char *path, bool *guess)
{
	struct ledger_tip tip;
	struct timespec t;

	assert_ok(ledger_tip(l, "app", &tip));
	assert_ok(ledger_key_time(l, "app", &tip, path, &t, guess));
	return t;
}

/* Each path of the tip with the time that stock git finds, by its own diff of each commit. */
static size_t compare_with_git(struct fixture *f, struct ledger *l)
{
	char path[256];
	size_t n = 0;
	long long when;
	FILE *in;

	git(f, "log --first-parent --reverse --root -m --no-renames -t --format='@%%ct' --name-status refs/kv/app | "
	       "awk -F'\\t' '/^@/ { t = substr($1, 2); next } /^D/ { delete at[$2]; next } "
	       "NF > 1 { at[$2] = t } END { for (p in at) print at[p], p }' >times; "
	       "git ls-tree -rt refs/kv/app | grep -vc 4b825dc642cb >there");
	snprintf(path, sizeof(path), "%.200s/times", f->repo);
	in = fopen(path, "r");
	assert_non_null(in);
	while (fscanf(in, "%lld %255[^\n]\n", &when, path) == 2) {
		bool guess = true;
		struct timespec t = ask(l, path, &guess);

		if (guess || t.tv_sec != when)
			print_error("%s: %lld%s, git says %lld\n", path, (long long)t.tv_sec, guess ? ", a guess" : "",
				    when);
		assert_false(guess);
		assert_int_equal(t.tv_sec, when);
		n++;
	}
	fclose(in);
	/* Directories that are empty git's log does not always tell of. */
	assert_true(n >= strtoull(git(f, "version >/dev/null; cat there"), NULL, 10));
	git(f, "version >/dev/null; rm times there");
	return n;
}

/* `n` commits from number `from` on by somebody else, a second apart; a few keys are changed often, some once. */
static void foreign(struct fixture *f, int from, int n, const char *parent)
{
	git(f,
	    "version >/dev/null; awk -v from=%d -v n=%d -v parent=%s 'BEGIN { for (i = from; i < from + n; i++) { "
	    "printf \"commit refs/kv/app\\ncommitter x <x@y> %%d +0000\\ndata 1\\nx\", 100000000 + i; "
	    "if (i == from && parent != \"\") printf \"\\nfrom %%s\", parent; "
	    "if (i == 0) for (k = 0; k < 500; k++) printf \"\\nM 644 inline cold/%%d/k%%d\\ndata 1\\nc\", k %% 7, k; "
	    "printf \"\\nM 644 inline hot/%%d\\ndata %%d\\n%%s\", i %% 5, length(i), i; "
	    "if (i %% 50 == 3) printf \"\\nM 644 inline warm/d%%d/k\\ndata %%d\\n%%s\", i %% 400, length(i), i; "
	    "if (i %% 100 == 7) printf \"\\nM 644 inline cold/%%d/k%%d\\ndata 1\\n%%d\", i %% 7, i %% 500, i %% 10; "
	    "if (i %% 300 == 9) printf \"\\nD warm/d3\"; if (i %% 300 == 99) printf \"\\nM 755 inline warm/d3\\ndata "
	    "1\\nf\"; "
	    "if (i %% 300 == 153) printf \"\\nD warm/d3\"; "
	    "print \"\" } }' | git fast-import --quiet --force",
	    from, n, parent);
}

static void long_history(void **state)
{
	struct fixture *f = *state;
	struct ledger *l;
	bool guess = false;
	struct timespec t, again;

	foreign(f, 0, 2500, "");
	l = open_again(f);
	t = ask(l, "cold/0/k0", &guess); /* the way is long: nobody waits for it */
	assert_true(guess);
	assert_int_equal(t.tv_sec, 100002499);
	assert_ok(ledger_times_settle(l, "app"));
	t = ask(l, "cold/0/k0", &guess);
	assert_false(guess);
	assert_int_equal(t.tv_sec, 100000000);
	assert_true(compare_with_git(f, l) > 500);
	/* A few more by somebody else, a few of its own. */
	foreign(f, 2500, 700, "refs/kv/app^0");
	assert_true(compare_with_git(f, l) > 500);
	assert_ok(set(l, "cold/0/k0", "x", NULL));
	compare_with_git(f, l);
	t = ask(l, "cold/0/k0", NULL);
	ledger_free(l);
	/* Now the file has it, to the nanosecond too: the first answer is right. */
	l = open_again(f);
	again = ask(l, "cold/0/k0", &guess);
	assert_false(guess);
	assert_int_equal(again.tv_sec, t.tv_sec);
	assert_int_equal(again.tv_nsec, t.tv_nsec);
	compare_with_git(f, l);
	/* Far behind, while it is open. */
	foreign(f, 3200, 2100, "refs/kv/app^0");
	ask(l, "cold/1/k1", &guess);
	assert_true(guess);
	assert_ok(ledger_times_settle(l, "app"));
	compare_with_git(f, l);
	ledger_free(l);
}

static void rewritten(void **state)
{
	struct fixture *f = *state;
	struct ledger *l;

	foreign(f, 0, 1500, "");
	git(f, "rev-parse refs/kv/app~1400 >old; git rev-parse refs/kv/app >tip");
	l = open_again(f);
	assert_ok(ledger_times_settle(l, "app"));
	/* Not a descendant, and longer than the index goes by itself. */
	foreign(f, 5000, 1200, git(f, "rev-parse refs/kv/app~1400"));
	assert_ok(ledger_times_settle(l, "app"));
	compare_with_git(f, l);
	/* An ancestor; another one again; nothing in common. */
	git(f, "update-ref refs/kv/app $(cat old)");
	compare_with_git(f, l);
	git(f, "update-ref refs/kv/app $(cat tip)");
	assert_ok(ledger_times_settle(l, "app"));
	compare_with_git(f, l);
	git(f, "update-ref -d refs/kv/app");
	foreign(f, 9000, 40, "");
	compare_with_git(f, l);
	ledger_free(l);
	l = open_again(f);
	compare_with_git(f, l);
	git(f, "rev-parse HEAD >/dev/null 2>&1; rm old tip");
	ledger_free(l);
}

/* There and back by somebody else, seen once, at the end. */
static void there_and_back(void **state)
{
	struct fixture *f = *state;
	bool guess;

	foreign(f, 0, 2000, "");
	assert_ok(ledger_times_settle(f->l, "app"));
	git(f, "rev-parse refs/kv/app >at; (printf 'commit refs/kv/app\\ncommitter x <x@y> 200000000 +0000\\ndata "
	       "1\\nx\\nfrom %%s\\n"
	       "M 644 inline cold/1/k1\\ndata 1\\nz\\ncommit refs/kv/app\\ncommitter x <x@y> 200000005 +0000\\ndata 1\\nx\\n"
	       "M 644 inline cold/1/k1\\ndata 1\\nc\\n' $(cat at)) | git fast-import --quiet; rm at");
	assert_int_equal(ask(f->l, "cold/1/k1", &guess).tv_sec, 200000005);
	assert_false(guess);
	compare_with_git(f, f->l);
}

/* --- changes of every kind ------------------------------------------------------------------------------------------ */

static const char *const names[] = {"a",   "a.b",   "a-b", "b",     "d", "d/a", "d/b",
				    "d/e", "d/e/f", "d.x", "z/y/x", "z", "a/a", "a/b"};
enum { NAMES = sizeof(names) / sizeof(*names), COMMITS = 250 };

/* Files, directories and both in turn under the same names. */
static void random_history(struct fixture *f)
{
	static const enum ledger_op ops[] = {LEDGER_DELETE, LEDGER_RENAME, LEDGER_EXCHANGE, LEDGER_CHMOD, LEDGER_RMDIR};
	unsigned seed = 11;
	struct ledger_tip tip = {0};

	while (tip.version < COMMITS) {
		const char *a = names[(unsigned)rand_r(&seed) % NAMES], *b = names[(unsigned)rand_r(&seed) % NAMES];
		const char text[2] = {(char)('a' + rand_r(&seed) % 3)};
		struct ledger_edit e = {.op = ops[rand_r(&seed) % 5], .path = a, .to = b, .kind = LEDGER_EXEC};

		/* Half of it is refused: a directory is in the way, there is nothing. */
		if (rand_r(&seed) % 2)
			set(f->l, a, text, NULL);
		else
			change1(f->l, e, NULL, NULL);
		if (ledger_tip(f->l, "app", &tip))
			tip.version = 0;
	}
}

/* The same history with the Nth commit at N * 1000; `oids`: its commits. */
static void redate(struct fixture *f, struct ledger_oid oids[COMMITS])
{
	char name[320], hex[64];
	FILE *in;
	int n = 0;

	git(f, "rev-list --reverse refs/kv/app >list; n=0; p=; while read c; do n=$((n + 1000)); "
	       "p=\"-p $(GIT_COMMITTER_DATE=\"@$n +0000\" git -c user.name=x -c user.email=x@y commit-tree $p -m x "
	       "$c^{tree})\"; "
	       "done <list; git update-ref refs/kv/app ${p#-p }; git rev-list --reverse refs/kv/app >list");
	snprintf(name, sizeof(name), "%s/list", f->repo);
	in = fopen(name, "r");
	assert_non_null(in);
	for (; n < COMMITS && fscanf(in, "%40s\n", hex) == 1; n++)
		oids[n] = oid_of(hex);
	fclose(in);
	assert_int_equal(n, COMMITS);
	git(f, "version >/dev/null; rm list");
}

struct moment {
	struct ledger_tip tip;
	struct ledger_entry e[NAMES];
	time_t time[NAMES]; /* 0: not there */
};

/* By a look at each path before and after. */
static void think(struct ledger *l, const struct moment *before, struct moment *m)
{
	assert_ok(ledger_tip(l, "app", &m->tip));
	for (int k = 0; k < NAMES; k++) {
		if (ledger_lookup(l, &m->tip.tree, names[k], &m->e[k]))
			continue;
		m->time[k] = m->tip.time.tv_sec;
		if (before && before->time[k] && before->e[k].kind == m->e[k].kind &&
		    ledger_oid_eq(&before->e[k].oid, &m->e[k].oid))
			m->time[k] = before->time[k];
	}
}

static void expect(struct ledger *l, const struct moment *m)
{
	for (int k = 0; k < NAMES; k++) {
		struct timespec t;
		bool guess;
		int rc = ledger_key_time(l, "app", &m->tip, names[k], &t, &guess);

		assert_int_equal(!rc, m->time[k] != 0);
		if (rc)
			continue;
		if (t.tv_sec != m->time[k])
			print_error("%s at %lld: %lld, not %lld\n", names[k], (long long)m->tip.time.tv_sec,
				    (long long)t.tv_sec, (long long)m->time[k]);
		assert_int_equal(t.tv_sec, m->time[k]);
		assert_false(guess);
	}
}

static void every_change(void **state)
{
	struct fixture *f = *state;
	struct ledger_oid oids[COMMITS];
	struct moment *m = calloc(COMMITS, sizeof(*m));
	struct ledger *one = open_again(f), *two = open_again(f);
	char path[320];

	assert_non_null(m);
	random_history(f);
	redate(f, oids);
	snprintf(path, sizeof(path), "%s/refs/kv/app", f->repo);
	for (int i = 0; i < COMMITS; i++) {
		FILE *ref = fopen(path, "w");

		assert_non_null(ref);
		fprintf(ref, "%s\n", hex_of(&oids[i]));
		fclose(ref);
		think(one, i ? &m[i - 1] : NULL, &m[i]);
		/* One follows each step, the other seven at a time; both are asked about states that are over, too. */
		expect(one, &m[i]);
		for (int j = i % 3; j < i; j += 17)
			expect(one, &m[j]);
		if (i % 7 == 0)
			expect(two, &m[i]);
	}
	expect(two, &m[COMMITS - 1]);
	compare_with_git(f, one);
	ledger_free(one);
	ledger_free(two);
	free(m);
}

/* --- the file ------------------------------------------------------------------------------------------------------- */

/* The one file of the index; its path. */
static const char *file_of_index(struct fixture *f)
{
	static char path[700];
	char dir[400];
	struct dirent *e;
	int n = 0;
	DIR *d;

	snprintf(dir, sizeof(dir), "%s/kv/times", f->repo);
	d = opendir(dir);
	assert_non_null(d);
	while ((e = readdir(d)))
		if (strlen(e->d_name) == LEDGER_OID_HEXSIZE) {
			snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
			n++;
		}
	closedir(d);
	assert_int_equal(n, 1);
	return path;
}

static char *slurp(const char *path, size_t *len)
{
	FILE *in = fopen(path, "r");
	char *data = malloc(1 << 20);

	assert_non_null(in);
	assert_non_null(data);
	*len = fread(data, 1, 1 << 20, in);
	fclose(in);
	return data;
}

static void spill(const char *path, const char *data, size_t len)
{
	FILE *out = fopen(path, "w");

	assert_non_null(out);
	assert_int_equal(fwrite(data, 1, len, out), len);
	fclose(out);
}

/* A new ledger's first answer: is it from the file?  What it says in the end is right; `all`: of each key. */
static bool first_answer_of(struct fixture *f, bool all)
{
	struct ledger *l = open_again(f);
	bool guess;

	ask(l, "cold/3/k3", &guess);
	assert_ok(ledger_times_settle(l, "app"));
	assert_int_equal(ask(l, "cold/3/k3", NULL).tv_sec, 100000000);
	assert_int_equal(ask(l, "cold/0/k7", NULL).tv_sec, 100000007);
	if (all)
		compare_with_git(f, l);
	ledger_free(l);
	return !guess;
}

static bool first_answer(struct fixture *f)
{
	return first_answer_of(f, false);
}

static void bad_file(void **state)
{
	struct fixture *f = *state;
	const char *path;
	char *good, *bad;
	size_t len;

	foreign(f, 0, 1300, "");
	assert_false(first_answer(f));
	assert_true(first_answer(f));
	path = file_of_index(f);
	good = slurp(path, &len);
	bad = malloc(len + 1);
	assert_non_null(bad);
	/* A bit in the header, the commit, the slots, the sum; and the version of another program. */
	for (int i = 0; i < 24; i++) {
		size_t at = i < 12 ? (size_t)i * 4 + 3 : (size_t)i * (len - 1) / 23;

		memcpy(bad, good, len);
		bad[at] = (char)(bad[at] ^ (1 << i % 8));
		spill(path, bad, len);
		assert_false(first_answer(f));
	}
	for (int i = 0; i < 5; i++) {
		spill(path, good, len * (size_t)i / 5 + (i > 2));
		assert_false(first_answer(f));
	}
	memcpy(bad, good, len);
	bad[len] = 0;
	spill(path, bad, len + 1);
	assert_false(first_answer(f));
	memset(bad, 0, len); /* a file whose bytes never reached the disk */
	spill(path, bad, len);
	assert_false(first_answer(f));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0666), 0);
	assert_false(first_answer(f));
	spill(path, good, len);
	assert_true(first_answer(f));
	free(good);
	free(bad);
}

/* Good bytes, of a commit that is no longer in the repository's history, or not at all. */
static void foreign_file(void **state)
{
	struct fixture *f = *state;
	struct ledger_oid commit = {{0x12, 0x34}};
	struct path_id id;
	struct time_slot s = {.sec = 77};

	foreign(f, 0, 1300, "");
	path_id("cold/3/k3", 9, &id);
	s.id = id;
	assert_ok(timefile_save(f->l, "app", &commit, &s, 1));
	assert_false(first_answer(f));
	commit = oid_of(git(f, "-c user.name=x -c user.email=x@y commit-tree -m x $(git hash-object -t tree -w /dev/null)"));
	assert_ok(timefile_save(f->l, "app", &commit, &s, 1));
	assert_false(first_answer(f));
	assert_true(first_answer(f));
}

/* Who is killed while it writes leaves a file and a lock that ends with it; who only reads writes nothing. */
static void writers(void **state)
{
	struct fixture *f = *state;
	struct ledger_options ro = {.readonly = true}, cli = {.readonly = true, .keep_times = true};
	char path[400];
	struct ledger *l, *other;
	bool guess;
	int fd;

	foreign(f, 0, 1300, "");
	assert_ok(ledger_open(&l, f->repo, &ro));
	assert_ok(ledger_times_settle(l, "app"));
	compare_with_git(f, l);
	ledger_free(l);
	snprintf(path, sizeof(path), "%s/kv/times/new", f->repo);
	assert_int_not_equal(access(path, F_OK), 0);

	/* Two at once: each has its own in memory, the later file is as good as the other one. */
	l = open_again(f);
	other = open_again(f);
	assert_ok(ledger_times_settle(l, "app"));
	assert_ok(ledger_times_settle(other, "app"));
	for (int i = 0; i < 20; i++) {
		assert_ok(set(i % 2 ? l : other, i % 3 ? "hot/0" : "cold/2/k2", i % 2 ? "x" : "y", NULL));
		compare_with_git(f, l);
		compare_with_git(f, other);
	}
	ledger_free(l);
	assert_true(first_answer_of(f, true));
	ledger_free(other);
	assert_true(first_answer_of(f, true));

	git(f, "version >/dev/null; rm kv/times/????????*; echo half >kv/times/new");
	snprintf(path, sizeof(path), "%s/kv/times/lock", f->repo);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	assert_false(first_answer(f)); /* could not write */
	close(fd);
	assert_ok(ledger_open(&l, f->repo, &cli));
	assert_ok(ledger_times_settle(l, "app"));
	ledger_free(l);
	assert_true(first_answer(f));
	l = open_again(f);
	ask(l, "hot/0", &guess);
	assert_false(guess);
	ledger_free(l);
}

/* The index goes with the namespace's name, and with the namespace. */
static void renamed(void **state)
{
	struct fixture *f = *state;
	struct ledger_tip tip;
	struct timespec t;
	bool guess;

	foreign(f, 0, 1300, "");
	assert_ok(ledger_times_settle(f->l, "app"));
	assert_ok(ledger_ns_rename(f->l, "app", "other", NULL, 0, NULL));
	assert_ok(ledger_tip(f->l, "other", &tip));
	assert_ok(ledger_key_time(f->l, "other", &tip, "cold/1/k1", &t, &guess));
	assert_false(guess);
	assert_int_equal(t.tv_sec, 100000000);
	assert_ok(ledger_ns_delete(f->l, "other", true, NULL, 0, NULL));
	assert_int_equal(git_status(f, "version >/dev/null; ls kv/times | grep ......... && exit 1 || true"), 0);
	/* Deleted by somebody else: the file goes when another is written. */
	foreign(f, 0, 1300, "");
	assert_ok(ledger_times_settle(f->l, "app"));
	ledger_free(f->l);
	f->l = open_again(f);
	git(f, "update-ref refs/kv/third refs/kv/app; git update-ref -d refs/kv/app");
	assert_ok(ledger_times_settle(f->l, "third"));
	ledger_free(f->l);
	f->l = open_again(f);
	timefile_sweep(f->l);
	file_of_index(f);
}

/* Commits of which nobody asks: the index follows them all the same, and is there when somebody does. */
static void unasked(void **state)
{
	struct fixture *f = *state;
	struct ledger *l;
	bool guess;

	foreign(f, 0, 900, "");
	l = open_again(f);
	for (int i = 0; i < 200; i++)
		assert_ok(set(l, "hot/0", i % 2 ? "x" : "y", NULL));
	ledger_free(l);
	file_of_index(f);
	l = open_again(f);
	ask(l, "cold/3/k3", &guess);
	assert_false(guess);
	compare_with_git(f, l);
	ledger_free(l);
}

/* --- many at once --------------------------------------------------------------------------------------------------- */

enum { THREADS = 4, SAVES = 400 };

struct worker {
	struct ledger *l;
	int n, bad;
};

/* A state that was current a moment ago has its times to the nanosecond, whatever others committed since. */
static void *save_and_ask(void *arg)
{
	struct worker *w = arg;
	char path[32], text[16];

	for (int i = 0; i < SAVES; i++) {
		struct ledger_result res;
		struct timespec t;
		bool guess;

		snprintf(path, sizeof(path), "t/%d", (w->n + i) % THREADS);
		snprintf(text, sizeof(text), "%d %d", w->n, i);
		if (set(w->l, path, text, &res) || !res.changed ||
		    ledger_key_time(w->l, "app", &res.tip, path, &t, &guess) || guess || t.tv_sec != res.tip.time.tv_sec ||
		    t.tv_nsec != res.tip.time.tv_nsec)
			w->bad++;
	}
	return NULL;
}

static void threads(void **state)
{
	struct fixture *f = *state;
	pthread_t id[THREADS];
	struct worker w[THREADS];
	bool guess;

	foreign(f, 0, 1500, "");
	assert_ok(ledger_times_settle(f->l, "app"));
	for (int i = 0; i < THREADS; i++) {
		w[i] = (struct worker){.l = f->l, .n = i};
		assert_int_equal(pthread_create(&id[i], NULL, save_and_ask, &w[i]), 0);
	}
	for (int i = 0; i < 50; i++) {
		assert_int_equal(ask(f->l, "cold/3/k3", &guess).tv_sec, 100000000);
		assert_false(guess);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(id[i], NULL);
		assert_int_equal(w[i].bad, 0);
	}
	compare_with_git(f, f->l);
}

#define test(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(table), test(long_history), test(rewritten),
					   test(there_and_back),    test(every_change), test(bad_file),
					   test(foreign_file),      test(writers),      test(renamed),
					   test(unasked),           test(threads)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
