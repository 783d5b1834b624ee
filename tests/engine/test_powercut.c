/* SPDX-License-Identifier: MIT */
/*
 * Power cuts: a workload is recorded call by call (disk.h), then cut at many points in every way that is legal.  After
 * recovery everything acknowledged before the cut must be there, whole, and git must find the repository clean.
 * LEDGERFS_CUTS: how many per workload (default 40); LEDGERFS_SEED.
 */
#include "../ledger/helper.h"
#include "disk.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>
#include <time.h>
#include <zlib.h>

#define THREADS 3
#define NAMESPACES 2

struct ack {
	size_t at; /* disk_now() when it was acknowledged */
	struct ledger_oid commit;
};

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static struct ack acks[20000];
static size_t nacks;
static struct ledger *led;
static int per_thread;
static size_t renamed_from, renamed_to; /* the calls of the rename and what comes after it */

static void acked(const struct ledger_oid *commit)
{
	size_t at = disk_now();

	pthread_mutex_lock(&mu);
	assert_true(nacks < sizeof(acks) / sizeof(*acks));
	acks[nacks++] = (struct ack){at, *commit};
	pthread_mutex_unlock(&mu);
}

static void commit_one(unsigned *rnd, bool large)
{
	static char big[600 << 10];
	char ns[16], path[64], text[300];
	struct ledger_edit e = {.op = LEDGER_SET, .flags = LEDGER_PARENTS, .path = path, .kind = LEDGER_FILE};
	struct ledger_change c = {.ns = ns, .edits = &e, .nedits = 1, .actor = actor, .create = true};
	struct ledger_result res;

	snprintf(ns, sizeof(ns), "ns%d", rand_r(rnd) % NAMESPACES);
	snprintf(path, sizeof(path), "d%d/k%d", rand_r(rnd) % 3, rand_r(rnd) % 12);
	snprintf(text, sizeof(text), "%d %*d", rand_r(rnd), rand_r(rnd) % 200, 1);
	if (large) {
		memset(big, *text, sizeof(big));
		assert_ok(ledger_value_new(led, big, sizeof(big), &e.value));
	} else {
		assert_ok(ledger_value_new(led, text, strlen(text), &e.value));
	}
	assert_ok(ledger_commit(led, &c, &res));
	ledger_value_unref(e.value);
	/* The same value again is no commit of its own. */
	if (res.changed)
		acked(&res.tip.commit);
}

static void *worker(void *arg)
{
	unsigned rnd = (unsigned)(uintptr_t)arg;

	for (int i = 0; i < per_thread; i++)
		commit_one(&rnd, false);
	return NULL;
}

static void workload(struct fixture *f, enum ledger_publish publish, unsigned rnd)
{
	struct ledger_options o = {.publish = publish, .no_upkeep = true};
	pthread_t t[THREADS];
	struct ledger_result res;

	assert_ok(ledger_open(&led, f->repo, &o));
	for (int i = 0; i < 5; i++)
		commit_one(&rnd, false); /* before there is a journal, and after */
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, worker, (void *)(uintptr_t)(rnd + 1000 + (unsigned)i)), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	commit_one(&rnd, true);
	renamed_from = disk_now();
	assert_ok(ledger_ns_rename(led, "ns0", "renamed", NULL, 0, &res));
	for (int i = 0; i < 10; i++)
		commit_one(&rnd, false);
	renamed_to = disk_now();
	ledger_free(led);
}

/* The crash was a reboot: the journals speak of another boot. */
static void other_boot(const char *repo)
{
	char cmd[600], path[512];
	unsigned char head[68];
	FILE *p;

	snprintf(cmd, sizeof(cmd), "find %s -path '*/kv/*' -name 'journal.[01]'", repo);
	p = popen(cmd, "r");
	assert_non_null(p);
	while (fgets(path, sizeof(path), p)) {
		int fd;

		path[strcspn(path, "\n")] = 0;
		fd = open(path, O_RDWR);
		assert_true(fd >= 0);
		if (pread(fd, head, sizeof(head), 0) == sizeof(head)) {
			uint32_t crc;

			memset(head + 24, 'b', 36);
			crc = (uint32_t)crc32(0, head, 64);
			for (int i = 0; i < 4; i++)
				head[64 + i] = (unsigned char)(crc >> (8 * i));
			assert_int_equal(pwrite(fd, head, sizeof(head), 0), sizeof(head));
		}
		close(fd);
	}
	assert_int_equal(pclose(p), 0);
}

static int by_commit(const void *a, const void *b)
{
	return memcmp(((const struct ack *)a)->commit.id, ((const struct ack *)b)->commit.id, 20);
}

/* Every commit acknowledged by then is reachable. */
static void check_acks(struct fixture *f, size_t at, const char *what)
{
	char line[64], cmd[700];
	size_t want = 0, have = 0;
	bool *seen = calloc(nacks + 1, sizeof(bool));
	FILE *p;

	assert_non_null(seen);

	for (size_t i = 0; i < nacks; i++)
		want += acks[i].at <= at;
	snprintf(cmd, sizeof(cmd), "git -C %s rev-list --glob='refs/kv/*' 2>&1", f->repo);
	p = popen(cmd, "r");
	while (fgets(line, sizeof(line), p)) {
		struct ack a, *hit;

		if (ledger_oid_parse(&a.commit, line, 40)) {
			print_error("%s: %s", what, line);
			continue;
		}
		hit = bsearch(&a, acks, nacks, sizeof(a), by_commit);
		have += hit && hit->at <= at;
		if (hit)
			seen[hit - acks] = true;
	}
	pclose(p);
	for (size_t i = 0; i < nacks && have != want; i++)
		if (acks[i].at <= at && !seen[i])
			print_error("lost: %s, acknowledged after %zu calls\n", hex_of(&acks[i].commit), acks[i].at);
	free(seen);
	if (have != want)
		print_error("%s: %zu of %zu acknowledged commits are lost; left as %s\n%s%s\n", what, want - have, want,
			    f->repo, f->log, git(f, "for-each-ref"));
	if (have != want) {
		disk_print(at > 150 ? at - 150 : 0, at);
		snprintf(cmd, sizeof(cmd), "cp -a %s %s.kept", f->repo, f->dir);
		system(cmd);
	}
	assert_int_equal(have, want);
	if (git_status(f, "fsck --strict --full >%s/fsck 2>&1", f->dir)) {
		snprintf(cmd, sizeof(cmd), "cat %s/fsck", f->dir);
		system(cmd);
		fail_msg("%s: git fsck complains", what);
	}
	if (*git(f, "for-each-ref refs/kv-lost")) {
		print_error("%s", f->log);
		fail_msg("%s: kept as lost; left as %s", what, f->repo);
	}
}

static void on_log(void *arg, const char *line)
{
	struct fixture *f = arg;
	size_t n = strlen(f->log);

	snprintf(f->log + n, sizeof(f->log) - n, "%s\n", line);
}

static void cut(struct fixture *f, size_t at, enum disk_fate fate, unsigned *seed)
{
	static const char *const fates[] = {"least", "names", "random"};
	struct ledger_options o = {.log = on_log, .log_arg = f};
	char what[120], cmd[700];
	unsigned given = *seed;
	size_t before;
	int rc;

	snprintf(what, sizeof(what), "cut after %zu calls, %s, seed %u", at, fates[fate], given);
	snprintf(cmd, sizeof(cmd), "rm -rf %s && mkdir %s", f->repo, f->repo);
	assert_int_equal(system(cmd), 0);
	disk_cut(f->repo, at, fate, seed);
	if (rand_r(seed) % 2)
		other_boot(f->repo);
	f->log[0] = 0;
	rc = ledger_open(&led, f->repo, &o);
	if (rc)
		fail_msg("%s: cannot be opened: %s", what, ledger_errmsg());
	check_acks(f, at, what);
	/* It works on; this one is not of the recorded past. */
	before = nacks;
	commit_one(seed, false);
	nacks = before;
	ledger_free(led);
	check_acks(f, at, what);
}

static void cuts(struct fixture *f, enum ledger_publish publish, int commits)
{
	const char *env = getenv("LEDGERFS_CUTS");
	int n = env ? atoi(env) : 40;
	unsigned seed;
	size_t from, end;

	env = getenv("LEDGERFS_SEED");
	seed = env ? (unsigned)atoi(env) : (unsigned)time(NULL);
	print_message("LEDGERFS_SEED=%u\n", seed);
	ledger_free(f->l);
	f->l = NULL;
	nacks = 0;
	per_thread = commits / THREADS;
	disk_begin(f->repo);
	from = disk_now();
	workload(f, publish, seed);
	end = disk_now();
	qsort(acks, nacks, sizeof(*acks), by_commit);
	check_acks(f, end, "no cut at all");
	print_message("%zu calls, %zu acknowledged commits\n", end - from, nacks);
	for (int i = 0; i < n; i++) {
		bool rename = i % 4 == 0;
		size_t first = rename ? renamed_from : from, last = rename ? renamed_to : end;

		cut(f, first + (size_t)rand_r(&seed) % (last - first + 1), (enum disk_fate)(i / 4 % 3), &seed);
	}
	disk_end();
	assert_ok(ledger_open(&f->l, f->repo, NULL));
}

static void sync_publishing(void **state)
{
	cuts(*state, LEDGER_PUBLISH_SYNC, 400);
}

static void async_publishing(void **state)
{
	cuts(*state, LEDGER_PUBLISH_ASYNC, 2500);
}

static void few_commits(void **state)
{
	cuts(*state, LEDGER_PUBLISH_SYNC, 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(few_commits, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(sync_publishing, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(async_publishing, fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
