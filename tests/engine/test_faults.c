/* SPDX-License-Identifier: MIT */
/*
 * The Nth call that changes the disk fails, for every N of a scripted workload, of its end and of a recovery, and so do
 * allocations; or the process dies there.  Then everything that was acknowledged is there, nothing that was refused is,
 * reads went on, and git finds nothing to complain about.
 *
 * Usage: test-engine-faults [NAME-PATTERN].  LEDGERFS_FAULT_STRIDE: only every so many N (default 1: all), beginning with
 * LEDGERFS_SEED modulo that.  The repository is in /dev/shm if there is one: what fails here is not the disk.
 */
#include "fault.h"
#include "script.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

static long stride = 1;
static unsigned seed;

/* Where the fault comes: the name of a mode is also that of its publishing. */
enum phase { WORK, CLOSE, RECOVERY };
static const char *const phases[] = {"at work", "at the end", "in recovery"};

static struct ledger_options options(int async)
{
	return (struct ledger_options){.publish = async ? LEDGER_PUBLISH_ASYNC : LEDGER_PUBLISH_SYNC, .no_upkeep = true};
}

static struct ledger *create(struct fixture *f, struct ledger_options o)
{
	struct ledger *l;

	o.init = true;
	script_remove(f->repo);
	assert_ok(ledger_open(&l, f->repo, &o));
	return l;
}

/* Memory that outlives a child. */
static struct model *shared_model(void)
{
	struct model *m = mmap(NULL, sizeof(*m), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(m != MAP_FAILED);
	return m;
}

/* --- the three phases ----------------------------------------------------------------------------------------------- */

/* A repository that a process left which died without any fault, after the whole workload; as f->dir/dead. */
static void make_dead(struct fixture *f, struct ledger_options o, struct model *m)
{
	char dead[300];
	int status;
	pid_t pid;

	memset(m, 0, sizeof(*m));
	script_remove(f->repo);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		struct ledger *l = create(f, o);

		script_run(l, m);
		kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_int_equal(m->acked, 15);
	snprintf(dead, sizeof(dead), "%s/dead", f->dir);
	script_remove(dead);
	assert_int_equal(rename(f->repo, dead), 0);
}

/* Each returns whether the fault was met. */
static bool at_work(struct fixture *f, struct ledger_options o, const struct fault *fault, const char *what)
{
	struct ledger *l = create(f, o);
	struct model m = {0};
	bool hit;

	fault_arm(fault);
	script_run(l, &m);
	hit = fault_hit();
	/* Reading goes on, whatever the disk does. */
	if (fault->err != ENOMEM)
		script_read(l, &m, what);
	if (!m.dead && !fault_sync_failed()) {
		fault_disarm();
		script_after(l, &m, what);
	}
	ledger_free(l);
	fault_disarm();
	script_check(f, o, &m, what);
	return hit;
}

static bool at_the_end(struct fixture *f, struct ledger_options o, const struct fault *fault, const char *what)
{
	struct ledger *l = create(f, o);
	struct model m = {0};

	script_run(l, &m);
	fault_arm(fault);
	ledger_free(l);
	fault_disarm();
	script_check(f, o, &m, what);
	return fault_hit();
}

static bool in_recovery(struct fixture *f, struct ledger_options o, const struct fault *fault, const struct model *dead,
			const char *what)
{
	char from[300];
	struct ledger *l;
	struct model m = *dead;
	int rc;

	snprintf(from, sizeof(from), "%s/dead", f->dir);
	script_copy(from, f->repo);
	fault_arm(fault);
	rc = ledger_open(&l, f->repo, &o);
	fault_disarm();
	if (!rc)
		ledger_free(l);
	script_check(f, o, &m, what);
	return fault_hit();
}

/* One phase with one kind of fault at every place, published both ways. */
static void every(struct fixture *f, enum phase phase, struct fault fault)
{
	struct model *dead = shared_model();
	long tried = 0;

	for (int async = 0; async < 2; async++) {
		struct ledger_options o = options(async);
		long n = (long)(seed % (unsigned)stride);

		if (phase == RECOVERY)
			make_dead(f, o, dead);
		/* Threads make the number of calls vary a little: the end is where three are not met. */
		for (int missed = 0; missed < 3; n += stride) {
			char what[160];
			bool hit;

			fault.from = n;
			snprintf(what, sizeof(what), "%s, %s, kind %d, place %ld, errno %d", async ? "async" : "sync",
				 phases[phase], fault.kind, n, fault.err);
			if (phase == WORK)
				hit = at_work(f, o, &fault, what);
			else if (phase == CLOSE)
				hit = at_the_end(f, o, &fault, what);
			else
				hit = in_recovery(f, o, &fault, dead, what);
			tried += hit;
			missed = hit ? 0 : missed + 1;
		}
	}
	munmap(dead, sizeof(*dead));
	assert_true(tried > 0 || stride > 1);
	print_message("%ld places %s\n", tried, phases[phase]);
}

static void all_phases(struct fixture *f, struct fault fault)
{
	every(f, WORK, fault);
	every(f, CLOSE, fault);
	every(f, RECOVERY, fault);
}

/* --- kinds of faults ------------------------------------------------------------------------------------------------ */

static void writes_fail(void **state)
{
	all_phases(*state, (struct fault){.kind = FAULT_WRITE, .count = 1, .err = EIO});
}

static void writes_are_short(void **state)
{
	every(*state, WORK, (struct fault){.kind = FAULT_WRITE, .count = 1, .torn = true});
}

static void writes_are_short_and_fail(void **state)
{
	all_phases(*state, (struct fault){.kind = FAULT_WRITE, .count = 2, .torn = true, .err = EIO});
}

/* Until there is room again. */
static void disk_is_full(void **state)
{
	all_phases(*state, (struct fault){.kind = FAULT_SPACE, .torn = true, .err = ENOSPC});
}

static void one_write_finds_no_room(void **state)
{
	every(*state, WORK, (struct fault){.kind = FAULT_WRITE, .count = 1, .err = ENOSPC});
}

static void syncs_fail(void **state)
{
	all_phases(*state, (struct fault){.kind = FAULT_SYNC, .count = 1, .err = EIO});
}

/* Space that is found only when the pages are written. */
static void syncs_find_no_room(void **state)
{
	every(*state, WORK, (struct fault){.kind = FAULT_SYNC, .err = ENOSPC});
}

static void names_fail(void **state)
{
	all_phases(*state, (struct fault){.kind = FAULT_NAME, .count = 1, .err = EIO});
}

static void no_room_for_names(void **state)
{
	every(*state, WORK, (struct fault){.kind = FAULT_NAME, .count = 9, .err = ENOSPC});
}

static void no_descriptors(void **state)
{
	all_phases(*state, (struct fault){.kind = FAULT_OPEN, .count = 3, .err = EMFILE});
}

/* As ext4 turns read-only after an error. */
static void disk_turns_read_only(void **state)
{
	all_phases(*state, (struct fault){.kind = FAULT_CHANGE, .err = EROFS});
}

static void no_memory(void **state)
{
	all_phases(*state, (struct fault){.kind = FAULT_ALLOC, .count = 1, .err = ENOMEM});
}

static void no_memory_for_a_while(void **state)
{
	every(*state, WORK, (struct fault){.kind = FAULT_ALLOC, .err = ENOMEM});
}

static void no_memory_anywhere(void **state)
{
	every(*state, WORK, (struct fault){.kind = FAULT_MALLOC, .count = 1, .err = ENOMEM});
	every(*state, RECOVERY, (struct fault){.kind = FAULT_MALLOC, .count = 1, .err = ENOMEM});
}

/* --- deaths --------------------------------------------------------------------------------------------------------- */

/* The child ends by the fault, or by itself when there was none; its ledger is never closed. */
static bool dies(void (*life)(struct fixture *f, struct ledger_options o, struct model *m), struct fixture *f,
		 struct ledger_options o, struct model *m, const struct fault *fault)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (!pid) {
		fault_arm(fault);
		life(f, o, m);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 0);
	return WIFSIGNALED(status);
}

static void live(struct fixture *f, struct ledger_options o, struct model *m)
{
	struct ledger *l;

	o.init = false;
	if (ledger_open(&l, f->repo, &o))
		_exit(2);
	script_run(l, m);
	ledger_free(l);
}

static void recover(struct fixture *f, struct ledger_options o, struct model *m)
{
	struct ledger *l;

	if (ledger_open(&l, f->repo, &o))
		_exit(2);
	ledger_free(l);
}

static void deaths(struct fixture *f, bool recovery)
{
	struct model *m = shared_model(), *dead = shared_model();
	struct fault fault = {.kind = FAULT_CHANGE, .count = 1, .err = FAULT_KILL, .torn = true};
	char from[300], empty[300];
	long tried = 0;

	snprintf(from, sizeof(from), "%s/dead", f->dir);
	snprintf(empty, sizeof(empty), "%s/empty", f->dir);
	ledger_free(create(f, options(0)));
	script_remove(empty);
	assert_int_equal(rename(f->repo, empty), 0);
	for (int async = 0; async < 2; async++) {
		struct ledger_options o = options(async);
		long n = (long)(seed % (unsigned)stride);

		if (recovery)
			make_dead(f, o, dead);
		for (int missed = 0; missed < 3; n += stride) {
			char what[120];
			bool hit;

			memset(m, 0, sizeof(*m));
			if (recovery)
				*m = *dead;
			script_copy(recovery ? from : empty, f->repo);
			fault.from = n;
			snprintf(what, sizeof(what), "%s, death %s, place %ld", async ? "async" : "sync",
				 recovery ? "in recovery" : "at work", n);
			hit = dies(recovery ? recover : live, f, o, m, &fault);
			script_check(f, o, m, what);
			tried += hit;
			missed = hit ? 0 : missed + 1;
		}
	}
	munmap(m, sizeof(*m));
	munmap(dead, sizeof(*dead));
	print_message("%ld places of death\n", tried);
	assert_true(tried * stride > (recovery ? 20 : 200));
}

static void deaths_at_work(void **state)
{
	deaths(*state, false);
}

static void deaths_in_recovery(void **state)
{
	deaths(*state, true);
}

/* --- the fixture ---------------------------------------------------------------------------------------------------- */

/* Each run makes its own repository. */
static int setup(void **state)
{
	struct fixture *f;

	if (fixture_setup_synced(state) < 0)
		return -1;
	f = *state;
	ledger_free(f->l);
	f->l = NULL;
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(writes_fail),
		TEST(writes_are_short),
		TEST(writes_are_short_and_fail),
		TEST(one_write_finds_no_room),
		TEST(disk_is_full),
		TEST(syncs_fail),
		TEST(syncs_find_no_room),
		TEST(names_fail),
		TEST(no_room_for_names),
		TEST(no_descriptors),
		TEST(disk_turns_read_only),
		TEST(no_memory),
		TEST(no_memory_for_a_while),
		TEST(no_memory_anywhere),
		TEST(deaths_at_work),
		TEST(deaths_in_recovery),
	};
	const char *env = getenv("LEDGERFS_FAULT_STRIDE");

	stride = env && atol(env) > 0 ? atol(env) : 1;
	env = getenv("LEDGERFS_SEED");
	seed = env ? (unsigned)atol(env) : (unsigned)time(NULL);
	if (stride > 1)
		print_message("LEDGERFS_FAULT_STRIDE=%ld LEDGERFS_SEED=%u\n", stride, seed);
	script_in_memory();
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
