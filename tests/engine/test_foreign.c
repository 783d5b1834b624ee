/* SPDX-License-Identifier: MIT */
/*
 * Stock git beside the engine, under continuous load: gc, repack, pack-refs, update-ref and push into the repository.
 * Nothing acknowledged is lost, foreign writers get a ref's lock within git's own 100 ms, readers see whole states.
 * LEDGERFS_FOREIGN_S: seconds of each part (default 5).
 */
#include "../ledger/helper.h"
#include "engine/io.h"

#include <dirent.h>
#include <glob.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>

#define THREADS 4

struct acks {
	struct ledger_oid *v;
	size_t n, cap;
};

static struct fixture *fix;
static atomic_bool stop;

struct writer {
	pthread_t thread;
	struct ledger *l;
	unsigned rnd;
	struct acks acks;
	size_t conflicts;
};

static void keep(struct acks *a, const struct ledger_oid *oid)
{
	if (a->n == a->cap) {
		a->cap = a->cap * 2 + 1024;
		a->v = realloc(a->v, a->cap * sizeof(*a->v));
		assert_non_null(a->v);
	}
	a->v[a->n++] = *oid;
}

static void *write_on(void *arg)
{
	struct writer *w = arg;

	while (!atomic_load(&stop)) {
		char path[64], text[64];
		struct ledger_edit e = {.op = LEDGER_SET, .flags = LEDGER_PARENTS, .path = path, .kind = LEDGER_FILE};
		struct ledger_change c = {.ns = "app", .edits = &e, .nedits = 1, .actor = actor, .create = true};
		struct ledger_result res;
		int rc;

		snprintf(path, sizeof(path), "d%d/k%d", rand_r(&w->rnd) % 4, rand_r(&w->rnd) % 30);
		snprintf(text, sizeof(text), "%d", rand_r(&w->rnd));
		assert_ok(ledger_value_new(w->l, text, strlen(text), &e.value));
		rc = ledger_commit(w->l, &c, &res);
		ledger_value_unref(e.value);
		if (rc) {
			print_error("commit: %s (%s)\n", ledger_error_name(rc), ledger_errmsg());
			fail();
		}
		if (res.changed)
			keep(&w->acks, &res.tip.commit);
	}
	return NULL;
}

static void load_begin(struct writer *w, int n, struct ledger *l)
{
	atomic_store(&stop, false);
	for (int i = 0; i < n; i++) {
		memset(&w[i], 0, sizeof(w[i]));
		w[i].l = l;
		w[i].rnd = (unsigned)i + 1;
		assert_int_equal(pthread_create(&w[i].thread, NULL, write_on, &w[i]), 0);
	}
}

static void load_end(struct writer *w, int n, struct acks *all)
{
	atomic_store(&stop, true);
	for (int i = 0; i < n; i++) {
		pthread_join(w[i].thread, NULL);
		for (size_t k = 0; k < w[i].acks.n; k++)
			keep(all, &w[i].acks.v[k]);
		free(w[i].acks.v);
	}
}

static int by_oid(const void *a, const void *b)
{
	return memcmp(a, b, 20);
}

static void check(struct fixture *f, struct acks *acks)
{
	char cmd[600], line[64];
	size_t found = 0;
	FILE *p;

	/* fsck looks at each pack that it once listed; an open ledger removes small ones. */
	ledger_free(f->l);
	f->l = NULL;
	qsort(acks->v, acks->n, sizeof(*acks->v), by_oid);
	snprintf(cmd, sizeof(cmd), "git -C %s rev-list refs/kv/app", f->repo);
	p = popen(cmd, "r");
	while (fgets(line, sizeof(line), p)) {
		struct ledger_oid oid;

		assert_int_equal(ledger_oid_parse(&oid, line, 40), 0);
		found += bsearch(&oid, acks->v, acks->n, sizeof(oid), by_oid) != NULL;
	}
	assert_int_equal(pclose(p), 0);
	print_message("%zu acknowledged commits, %zu lost\n", acks->n, acks->n - found);
	assert_int_equal(found, acks->n);
	assert_int_equal(git_status(f, "fsck --strict --full >/dev/null 2>&1"), 0);
}

static int seconds(void)
{
	const char *env = getenv("LEDGERFS_FOREIGN_S");

	return env ? atoi(env) : 5;
}

/* A shell loop beside us; its exit status is the number of failures that matter. */
static pid_t spawn(const char *script)
{
	pid_t pid = fork();

	if (!pid) {
		char cmd[4096];

		snprintf(cmd, sizeof(cmd),
			 "cd %s; end=$(($(date +%%s) + %d)); go() { [ $(date +%%s) -lt $end ]; }; fails=0; n=0; %s",
			 fix->repo, seconds(), script);
		execl("/bin/sh", "sh", "-c", cmd, NULL);
		_exit(127);
	}
	return pid;
}

static int reap(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void open_as(struct fixture *f, enum ledger_publish publish)
{
	struct ledger_options o = {.publish = publish};

	ledger_free(f->l);
	assert_ok(ledger_open(&f->l, f->repo, &o));
	fix = f;
}

static void maintenance(struct fixture *f, enum ledger_publish publish)
{
	static const char *const loops[] = {
		"while go; do git gc -q --prune=now >/dev/null 2>&1; done",
		"while go; do git repack -adq >/dev/null 2>&1; git pack-refs --all --prune >/dev/null 2>&1; done",
		/* Readers must never fail. */
		"while go; do git log -3 --format=%%H -p refs/kv/app >/dev/null 2>&1 || fails=$((fails+1)); n=$((n+1)); "
		"done; "
		"[ $n -gt 0 ] || exit 99; exit $fails",
	};
	struct writer w[THREADS];
	struct acks acks = {0};
	pid_t pids[3];
	int bad = 0;

	open_as(f, publish);
	assert_ok(set(f->l, "first", "1", NULL));
	load_begin(w, THREADS, f->l);
	for (int i = 0; i < 3; i++)
		pids[i] = spawn(loops[i]);
	for (int i = 0; i < 3; i++)
		bad = reap(pids[i]);
	load_end(w, THREADS, &acks);
	/* gc --prune=now beside a writer makes readers stumble with stock git alone, too: a few may. */
	print_message("%d failures of git log\n", bad);
	assert_true(bad < 99);
	check(f, &acks);
	free(acks.v);
}

static void maintenance_sync(void **state)
{
	maintenance(*state, LEDGER_PUBLISH_SYNC);
}

static void maintenance_async(void **state)
{
	maintenance(*state, LEDGER_PUBLISH_ASYNC);
}

/*
 * update-ref with the right old value or a wrong one: either way it must get the lock.  And what it writes is never lost:
 * each success is an ancestor of the end.
 */
static void writers(struct fixture *f, enum ledger_publish publish)
{
	static const char *const update =
		"export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a; : >../ok; "
		"while go; do old=$(git rev-parse refs/kv/app); new=$(git commit-tree -p $old -m \"foreign $n\" "
		"$old^{tree}); n=$((n+1)); "
		"msg=$(git update-ref refs/kv/app $new $old 2>&1); if [ $? = 0 ]; then echo $new >>../ok; else "
		"case $msg in *'but expected'*) ;; *) echo \"$msg\" >&2; fails=$((fails+1));; esac; fi; done; "
		"[ $n -gt 3 ] || exit 99; echo \"$n tries of update-ref, $(wc -l <../ok) won, $fails without the lock\"; "
		"[ $((fails * 20)) -le $n ]";
	static const char *const push =
		"rm -rf ../clone; git clone -q . ../clone 2>/dev/null; cd ../clone; git config user.name a; git config "
		"user.email a; "
		"while go; do n=$((n+1)); git fetch -q origin refs/kv/app && git checkout -q --detach FETCH_HEAD && "
		"git commit -q --allow-empty -m pushed; "
		"msg=$(git push -q origin HEAD:refs/kv/app 2>&1) && continue; case $msg in *'failed to update "
		"ref'*|*'cannot lock ref'*) "
		"case $msg in *'but expected'*) ;; *) echo \"$msg\" >&2; fails=$((fails+1));; esac;; esac; done; "
		"[ $n -gt 1 ] || exit 99; [ $((fails * 20)) -le $n ]";
	struct writer w[THREADS];
	struct acks acks = {0};
	struct ledger_oid oid;
	char path[400], line[64];
	FILE *ok;
	pid_t a, b;
	int bad;

	open_as(f, publish);
	assert_ok(set(f->l, "first", "1", NULL));
	load_begin(w, THREADS, f->l);
	a = spawn(update);
	b = spawn(push);
	bad = reap(a);
	bad |= reap(b);
	load_end(w, THREADS, &acks);
	/* A machine that is short of processors may starve whoever waits: one of twenty. */
	assert_int_equal(bad, 0);
	snprintf(path, sizeof(path), "%s/ok", f->dir);
	ok = fopen(path, "r");
	assert_non_null(ok);
	while (fgets(line, sizeof(line), ok)) {
		assert_ok(ledger_oid_parse(&oid, line, 40));
		keep(&acks, &oid);
	}
	fclose(ok);
	check(f, &acks);
	free(acks.v);
}

static void writers_sync(void **state)
{
	writers(*state, LEDGER_PUBLISH_SYNC);
}

static void writers_async(void **state)
{
	writers(*state, LEDGER_PUBLISH_ASYNC);
}

/* Two processes with the same repository open; here two stores, which share nothing but the disk. */
static void two_owners(void **state)
{
	struct fixture *f = *state;
	struct ledger_options o = {.publish = LEDGER_PUBLISH_ASYNC};
	struct writer a[2], b[2];
	struct acks acks = {0};
	struct ledger *other;
	struct timespec t = {seconds(), 0};

	open_as(f, LEDGER_PUBLISH_SYNC);
	assert_ok(ledger_open(&other, f->repo, &o));
	load_begin(a, 2, f->l);
	load_begin(b, 2, other);
	nanosleep(&t, NULL); /* how long the load lasts */
	atomic_store(&stop, true);
	load_end(a, 2, &acks);
	assert_true(acks.n > 20);
	load_end(b, 2, &acks);
	ledger_free(other);
	check(f, &acks);
	free(acks.v);
}

static size_t count_files(const char *dir)
{
	struct dirent *e;
	DIR *d = opendir(dir);
	size_t n = 0;

	assert_non_null(d);
	while ((e = readdir(d)))
		n++;
	closedir(d);
	return n;
}

/* 10^4 commits leave few files behind, while open and afterwards. */
static void files_are_bounded(void **state)
{
	struct fixture *f = *state;
	struct writer w[THREADS];
	struct acks acks = {0};
	char dir[400];
	size_t most = 0;

	open_as(f, LEDGER_PUBLISH_SYNC);
	snprintf(dir, sizeof(dir), "%s/objects/pack", f->repo);
	load_begin(w, THREADS, f->l);
	for (;;) {
		struct timespec nap = {0, 20000000};
		struct ledger_tip tip;
		size_t n;

		nanosleep(&nap, NULL); /* the interval of looks */
		n = count_files(dir);
		if (n > most)
			most = n;
		if (!ledger_tip(f->l, "app", &tip) && tip.version >= 10000)
			break;
	}
	load_end(w, THREADS, &acks);
	print_message("%zu commits, at most %zu files in objects/pack\n", acks.n, most);
	assert_true(most < 4000);
	ledger_free(f->l);
	f->l = NULL;
	assert_true(count_files(dir) < 100); /* closed, and upkeep as far as it got */
	snprintf(dir, sizeof(dir), "%s/kv", f->repo);
	assert_true(count_files(dir) < 10);
	check(f, &acks);
	free(acks.v);
}

/* Another process's small packs come and go by thousands: what was opened of them is let go. */
static void packs_of_another(void **state)
{
	struct fixture *f = *state;
	struct ledger_options o = {.nosync = true};
	size_t fds = count_files("/proc/self/fd"), most = 0;
	struct ledger *other;

	assert_ok(set(f->l, "k", "first", NULL));
	assert_ok(ledger_open(&other, f->repo, &o));
	for (int i = 0; i < 4000; i++) {
		const char *value;
		char text[16];
		size_t n;

		snprintf(text, sizeof(text), "%d", i);
		assert_ok(set(f->l, "k", text, NULL));
		value = get(other, "k");
		assert_non_null(value);
		assert_string_equal(value, text);
		n = count_files("/proc/self/fd");
		if (n > most)
			most = n;
	}
	ledger_free(other);
	print_message("at most %zu descriptors more\n", most - fds);
	assert_true(most - fds < 1000);
}

static _Atomic(struct fixture *) repack_of; /* NULL: not now */

/* A whole repack between the pack of a commit and its ref. */
static int repack_before_lock(void *arg, struct io_call *c)
{
	const char *path = c->op == IO_LINK ? c->to : c->path;
	struct fixture *f = repack_of;

	(void)arg;
	if (f && (c->op == IO_LINK || c->op == IO_OPEN) && path && strcmp(path, "refs/kv/app.lock") == 0) {
		repack_of = NULL;
		git(f, "repack -a -d -q");
	}
	return 0;
}

static void nothing_after(void *arg, const struct io_call *c, int ret)
{
	(void)arg;
	(void)c;
	(void)ret;
}

/*
 * A repack that sees the pack of a commit, but not yet its ref, takes the pack for garbage.  `before`: so many commits of
 * the same process come first; `size` of the value.
 */
static void repack_before_the_move(struct fixture *f, int before, size_t size)
{
	static const struct io_hook hook = {repack_before_lock, nothing_after, NULL};
	char text[16], keeps[400], *value = malloc(size + 1);
	glob_t found;

	assert_non_null(value);
	memset(value, 'x', size);
	value[size] = 0;

	ledger_free(f->l);
	io_hook_set(&hook);
	assert_ok(ledger_open(&f->l, f->repo, NULL));
	for (int i = 0; i < before; i++) {
		snprintf(text, sizeof(text), "%d", i);
		assert_ok(set(f->l, "k", text, NULL));
	}
	repack_of = f;
	assert_ok(set(f->l, "k", value, NULL));
	assert_null(atomic_load(&repack_of));
	ledger_free(f->l); /* the fixture's fsck looks for what is lost */
	f->l = NULL;
	io_hook_set(NULL);
	free(value);
	snprintf(text, sizeof(text), "%zu", size);
	assert_string_equal(git(f, "cat-file -s refs/kv/app:k"), text);
	snprintf(keeps, sizeof(keeps), "%s/objects/pack/*.keep", f->repo);
	assert_int_equal(glob(keeps, 0, NULL, &found), GLOB_NOMATCH);
}

static void repack_before_a_direct_move(void **state)
{
	repack_before_the_move(*state, 1, 10);
}

static void repack_before_a_journalled_move(void **state)
{
	repack_before_the_move(*state, 200, 10);
}

static void repack_before_a_large_one_s_move(void **state)
{
	repack_before_the_move(*state, 1, 9 << 20);
}

static void repack_before_a_large_one_s_journalled_move(void **state)
{
	repack_before_the_move(*state, 200, 9 << 20);
}

struct renamer {
	char dir[400], at[64];
	atomic_bool stop;
	size_t moves;
};

/*
 * Gives the one pack another name, as a repack does: the new one is there before the old one goes.  Every half a
 * millisecond: no repack is as fast, and a reader that is not given the processor for longer meets several.
 */
static void *rename_on(void *arg)
{
	static const char *const suffixes[] = {"pack", "idx"};
	struct renamer *r = arg;
	char from[512], to[512], next[64];

	while (!atomic_load(&r->stop)) {
		snprintf(next, sizeof(next), "pack-%040zu", ++r->moves);
		for (int i = 0; i < 2; i++) {
			snprintf(from, sizeof(from), "%s/%s.%s", r->dir, r->at, suffixes[i]);
			snprintf(to, sizeof(to), "%s/%s.%s", r->dir, next, suffixes[i]);
			assert_int_equal(link(from, to), 0);
		}
		for (int i = 1; i >= 0; i--) {
			snprintf(from, sizeof(from), "%s/%s.%s", r->dir, r->at, suffixes[i]);
			assert_int_equal(unlink(from), 0);
		}
		strcpy(r->at, next);
		nanosleep(&(struct timespec){0, 500000}, NULL);
	}
	return NULL;
}

/* An object that is there all the time is found all the time, though its pack never stands still. */
static void packs_that_move(void **state)
{
	struct fixture *f = *state;
	struct renamer r = {0};
	struct dirent *e;
	pthread_t thread;
	DIR *d;

	assert_ok(set(f->l, "k", "here", NULL));
	ledger_free(f->l);
	f->l = NULL;
	git(f, "repack -a -d -q");
	snprintf(r.dir, sizeof(r.dir), "%s/objects/pack", f->repo);
	d = opendir(r.dir);
	assert_non_null(d);
	while ((e = readdir(d)))
		if (strstr(e->d_name, ".pack"))
			snprintf(r.at, sizeof(r.at), "%.45s", e->d_name);
	closedir(d);
	for (int i = 0; i < 20; i++) /* others, that a look has to go through */
		git(f, "pack-objects -q %s/pack <<END\n$(echo %d | git -C %s hash-object -w --stdin)\nEND", r.dir, i,
		    f->repo);
	assert_int_equal(pthread_create(&thread, NULL, rename_on, &r), 0);
	for (int i = 0; i < 1000; i++) {
		struct ledger_options o = {.readonly = true};
		const char *value;
		struct ledger *l;

		assert_ok(ledger_open(&l, f->repo, &o));
		value = get(l, "k");
		assert_non_null(value);
		assert_string_equal(value, "here");
		ledger_free(l);
	}
	atomic_store(&r.stop, true);
	pthread_join(thread, NULL);
	print_message("the pack moved %zu times\n", r.moves);
	assert_true(r.moves > 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(writers_sync, fixture_setup_synced, fixture_teardown),
		cmocka_unit_test_setup_teardown(writers_async, fixture_setup_synced, fixture_teardown),
		cmocka_unit_test_setup_teardown(maintenance_sync, fixture_setup_synced, fixture_teardown),
		cmocka_unit_test_setup_teardown(maintenance_async, fixture_setup_synced, fixture_teardown),
		cmocka_unit_test_setup_teardown(two_owners, fixture_setup_synced, fixture_teardown),
		cmocka_unit_test_setup_teardown(files_are_bounded, fixture_setup_synced, fixture_teardown),
		cmocka_unit_test_setup_teardown(repack_before_a_direct_move, fixture_setup_synced, fixture_teardown),
		cmocka_unit_test_setup_teardown(repack_before_a_journalled_move, fixture_setup_synced, fixture_teardown),
		cmocka_unit_test_setup_teardown(repack_before_a_large_one_s_move, fixture_setup_synced, fixture_teardown),
		cmocka_unit_test_setup_teardown(repack_before_a_large_one_s_journalled_move, fixture_setup_synced,
						fixture_teardown),
		cmocka_unit_test_setup_teardown(packs_of_another, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(packs_that_move, fixture_setup_synced, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
