/* SPDX-License-Identifier: MIT */
/*
 * A process dies at each place of a few commits, and somebody moves the ref on before the recovery.  What they wrote stays;
 * everything acknowledged is below refs/kv, or below refs/kv-lost when it could be acknowledged before the ref had moved
 * (publish=async); a commit that nobody was told of is not kept there.  LEDGERFS_LOST_STRIDE: only every so many places.
 */
#include "fault.h"
#include "script.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define COMMITS 8

struct told {
	atomic_int n;
	struct ledger_oid commit[COMMITS];
};

static void live(struct fixture *f, struct ledger_options o, struct told *told)
{
	struct ledger_result res;
	struct ledger *l;
	char text[16];

	if (ledger_open(&l, f->repo, &o))
		_exit(2);
	/* Two refs in one group: the journal is made at once. */
	if (ledger_ns_create(l, "first", &actor, NULL) || ledger_ns_rename(l, "first", "app", NULL, 0, NULL))
		_exit(3);
	for (int i = 0; i < COMMITS; i++) {
		snprintf(text, sizeof(text), "%d", i);
		if (set(l, "key", text, &res))
			_exit(4);
		told->commit[told->n] = res.tip.commit;
		told->n++;
	}
	kill(getpid(), SIGKILL);
}

/* As somebody would who was told by git that a dead process left its lock. */
static void move_on(struct fixture *f, char foreign[64])
{
	*foreign = 0;
	git(f, "pack-refs --no-prune >/dev/null; find refs -name '*.lock' -delete");
	if (!*git(f, "for-each-ref refs/kv/app"))
		return;
	snprintf(foreign, 64, "%s",
		 git(f, "-c user.name=a -c user.email=a commit-tree -p refs/kv/app -m foreign refs/kv/app^{tree}"));
	git(f, "update-ref refs/kv/app %s", foreign);
}

/* How many commits are kept as lost. */
static int check(struct fixture *f, const struct told *told, const char *foreign, const char *what)
{
	char all[8192], hex[LEDGER_OID_HEXSIZE + 1];
	int lost;

	snprintf(all, sizeof(all), "%s", git(f, "rev-list --glob='refs/kv/*' --glob='refs/kv-lost/*'"));
	for (int i = 0; i < told->n; i++)
		if (!strstr(all, ledger_oid_fmt(hex, &told->commit[i])))
			fail_msg("%s: commit %d of %d is lost", what, i, told->n);
	lost = atoi(git(f, "for-each-ref refs/kv-lost | wc -l"));
	if (*foreign && !strstr(git(f, "rev-list refs/kv/app"), foreign))
		fail_msg("%s: what was written meanwhile is lost", what);
	if (git_status(f, "fsck --strict --full >/dev/null 2>&1"))
		fail_msg("%s: git fsck complains", what);
	return lost;
}

static void everywhere(struct fixture *f, enum ledger_publish publish)
{
	struct told *told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const char *env = getenv("LEDGERFS_LOST_STRIDE");
	long stride = env && atol(env) > 0 ? atol(env) : 1, places = 0;
	struct fault fault = {.kind = FAULT_CHANGE, .count = 1, .err = FAULT_KILL};
	struct ledger_options o = {.publish = publish, .no_upkeep = true, .init = true};
	int kept = 0;

	assert_true(told != MAP_FAILED);
	do {
		char what[80], foreign[64];
		struct ledger *l;
		pid_t pid;
		int status;

		memset(told, 0, sizeof(*told));
		script_remove(f->repo);
		fault.from = places++ * stride;
		snprintf(what, sizeof(what), "%s, place %ld", publish ? "async" : "sync", fault.from);
		assert_ok(ledger_open(&l, f->repo, &o));
		ledger_free(l);
		pid = fork();
		if (!pid) {
			fault_arm(&fault);
			live(f, o, told);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		move_on(f, foreign);
		assert_ok(ledger_open(&l, f->repo, &o));
		ledger_free(l);
		kept += check(f, told, foreign, what);
	} while (told->n < COMMITS);
	munmap(told, sizeof(*told));
	print_message("%ld places of death, something was kept as lost after %d\n", places, kept);
	if (publish == LEDGER_PUBLISH_ASYNC)
		assert_true(kept > 0);
	else
		assert_int_equal(kept, 0);
}

static void sync_publishing(void **state)
{
	everywhere(*state, LEDGER_PUBLISH_SYNC);
}

static void async_publishing(void **state)
{
	everywhere(*state, LEDGER_PUBLISH_ASYNC);
}

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(sync_publishing, setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(async_publishing, setup, fixture_teardown),
	};

	script_in_memory();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
