/* SPDX-License-Identifier: MIT */
/*
 * kill -9 at random points under load: a child commits and tells of each acknowledgement, is killed, and what it said must
 * be there after recovery, which is killed sometimes too.  LEDGERFS_KILLS: how often (default 12); LEDGERFS_SEED.
 */
#include "../ledger/helper.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#define THREADS 6
#define NAMESPACES 3

static unsigned seed;

struct ack {
	int ns;
	struct ledger_oid commit;
};

static struct ledger *led;
static int ack_fd;

static void commit_one(unsigned *rnd)
{
	char ns[16], path[64], text[300];
	struct ledger_edit e = {.op = LEDGER_SET, .flags = LEDGER_PARENTS, .path = path, .kind = LEDGER_FILE};
	struct ledger_change c = {.ns = ns, .edits = &e, .nedits = 1, .actor = actor, .create = true};
	struct ledger_result res;
	struct ack a = {.ns = rand_r(rnd) % NAMESPACES};

	snprintf(ns, sizeof(ns), "ns%d", a.ns);
	snprintf(path, sizeof(path), "d%d/k%d", rand_r(rnd) % 4, rand_r(rnd) % 20);
	snprintf(text, sizeof(text), "%d %*d", rand_r(rnd), rand_r(rnd) % 200, 1);
	if (ledger_value_new(led, text, strlen(text), &e.value))
		_exit(3);
	if (ledger_commit(led, &c, &res))
		_exit(4);
	ledger_value_unref(e.value);
	a.commit = res.tip.commit;
	if (!res.changed)
		return;
	/* A pipe takes so few bytes whole. */
	if (write(ack_fd, &a, sizeof(a)) != sizeof(a))
		_exit(5);
}

static void *worker(void *arg)
{
	unsigned rnd = (unsigned)(uintptr_t)arg;

	for (;;)
		commit_one(&rnd);
	return NULL;
}

static void child(const char *repo, enum ledger_publish publish, unsigned rnd)
{
	struct ledger_options o = {.publish = publish};
	pthread_t t;

	if (ledger_open(&led, repo, &o))
		_exit(2);
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&t, NULL, worker, (void *)(uintptr_t)(rnd + (unsigned)i)))
			_exit(2);
	pause();
	_exit(0);
}

struct acks {
	struct ack *v;
	size_t n, cap;
};

static void add_ack(struct acks *acks, const struct ack *a)
{
	if (acks->n == acks->cap) {
		acks->cap = acks->cap * 2 + 1024;
		acks->v = realloc(acks->v, acks->cap * sizeof(*acks->v));
		assert_non_null(acks->v);
	}
	acks->v[acks->n++] = *a;
}

/* One life: killed after so many acknowledgements and microseconds. */
static void live_and_die(struct fixture *f, struct acks *acks, enum ledger_publish publish, size_t least, unsigned us)
{
	int fds[2], status;
	struct ack a;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		close(fds[0]);
		ack_fd = fds[1];
		child(f->repo, publish, (unsigned)rand_r(&seed));
	}
	close(fds[1]);
	for (size_t n = 0; n < least && read(fds[0], &a, sizeof(a)) == sizeof(a); n++)
		add_ack(acks, &a);
	nanosleep(&(struct timespec){0, (long)us * 1000}, NULL); /* where in its work it dies: at random */
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	while (read(fds[0], &a, sizeof(a)) == sizeof(a))
		add_ack(acks, &a);
	close(fds[0]);
}

/* A recovery that dies. */
static void half_recovery(struct fixture *f, unsigned us)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		struct ledger *l;

		ledger_open(&l, f->repo, NULL);
		pause();
	}
	nanosleep(&(struct timespec){0, (long)us * 1000}, NULL);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
}

static int by_commit(const void *a, const void *b)
{
	return memcmp(((const struct ack *)a)->commit.id, ((const struct ack *)b)->commit.id, 20);
}

static size_t check(struct fixture *f, struct acks *acks, unsigned round)
{
	char cmd[600], line[64];
	size_t found = 0;
	bool *seen = calloc(acks->n + 1, sizeof(bool));
	FILE *p;

	qsort(acks->v, acks->n, sizeof(*acks->v), by_commit);
	snprintf(cmd, sizeof(cmd), "git -C %s rev-list --glob='refs/kv/*'", f->repo);
	p = popen(cmd, "r");
	assert_non_null(p);
	while (fgets(line, sizeof(line), p)) {
		struct ack a, *hit;

		assert_int_equal(ledger_oid_parse(&a.commit, line, 40), 0);
		hit = acks->n ? bsearch(&a, acks->v, acks->n, sizeof(a), by_commit) : NULL;
		if (hit && !seen[hit - acks->v]) {
			seen[hit - acks->v] = true;
			found++;
		}
	}
	assert_int_equal(pclose(p), 0);
	if (found != acks->n)
		print_error("round %u: %zu of %zu acknowledged commits are lost\n", round, acks->n - found, acks->n);
	assert_int_equal(found, acks->n);
	free(seen);
	assert_int_equal(git_status(f, "fsck --strict --full >/dev/null 2>&1"), 0);
	assert_string_equal(git(f, "for-each-ref refs/kv-lost"), "");
	assert_string_equal(git(f, "rev-parse --git-dir >/dev/null; find %s/refs -name '*.lock'", f->repo), "");
	return found;
}

static void test_kill(void **state)
{
	struct fixture *f = *state;
	const char *env = getenv("LEDGERFS_KILLS");
	unsigned rounds = env ? (unsigned)atoi(env) : 12;
	struct acks acks = {0};

	env = getenv("LEDGERFS_SEED");
	seed = env ? (unsigned)atoi(env) : (unsigned)time(NULL);
	print_message("LEDGERFS_SEED=%u\n", seed);
	ledger_free(f->l);
	f->l = NULL;
	for (unsigned i = 0; i < rounds; i++) {
		struct ledger_options o = {0};

		live_and_die(f, &acks, i % 2 ? LEDGER_PUBLISH_ASYNC : LEDGER_PUBLISH_SYNC, (size_t)rand_r(&seed) % 2500,
			     (unsigned)rand_r(&seed) % 20000);
		for (unsigned k = (unsigned)rand_r(&seed) % 3; k > 0; k--)
			half_recovery(f, (unsigned)rand_r(&seed) % 30000);
		assert_ok(ledger_open(&f->l, f->repo, &o));
		check(f, &acks, i);
		ledger_free(f->l);
		f->l = NULL;
	}
	print_message("%u kills, %zu acknowledged, 0 lost\n", rounds, acks.n);
	free(acks.v);
	assert_ok(ledger_open(&f->l, f->repo, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_kill, fixture_setup_synced, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
