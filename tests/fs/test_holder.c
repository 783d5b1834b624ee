/* SPDX-License-Identifier: MIT */
#include "holder.h"
#include "puppet.h"
#include "unit.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

static struct proctree *tree;
static struct holders *h;

static struct ledger_oid oid(int n)
{
	struct ledger_oid o;

	memset(o.id, n, sizeof(o.id));
	return o;
}

static struct ledger_tip tip(int n)
{
	return (struct ledger_tip){.tree = oid(n), .commit = oid(n + 100), .version = (uint64_t)n};
}

static void arm_tree(pid_t tid, int n)
{
	struct ledger_expect e = {.what = LEDGER_EXPECT_TREE, .oid = oid(n)};

	assert_int_equal(holders_arm(h, "app", tid, &e), 0);
}

static void arm_blob(pid_t tid, const char *key, int n)
{
	struct ledger_expect e = {.what = n ? LEDGER_EXPECT_BLOB : LEDGER_EXPECT_ABSENT, .oid = oid(n), .path = key};

	assert_int_equal(holders_arm(h, "app", tid, &e), 0);
}

/* The tree that a write of `tid` has to meet; 0: none. */
static int meets(pid_t tid)
{
	struct holder_who who = {.tid = tid};
	struct holder_set set;
	int n;

	assert_int_equal(holders_peek(h, "app", NULL, 0, &who, &set), 0);
	n = set.n ? set.expects[0].oid.id[0] : 0;
	holders_settle(h, &set, HOLDER_CONFLICT, NULL, NULL); /* does nothing to what was only looked at */
	return n;
}

/* A write by `tid` (or `chain`) to `key` that ends as `outcome`, making tip and blob `n`.  Returns how many it had to meet.
 */
static size_t write_as(pid_t tid, struct holder_chain *chain, const char *key, enum holder_outcome outcome, int n)
{
	struct holder_who who = {.tid = tid, .chain = chain};
	struct ledger_oid blob = oid(n);
	struct ledger_tip t = tip(n);
	struct holder_set set;
	size_t met;

	assert_int_equal(holders_find(h, "app", &key, 1, &who, &set), 0);
	met = set.n;
	holders_settle(h, &set, outcome, &t, &blob);
	assert_int_equal(set.n, 0);
	return met;
}

static int setup(void **state)
{
	(void)state;
	return proctree_new(&tree) || holders_new(&h, tree);
}

static int teardown(void **state)
{
	(void)state;
	holders_free(h);
	proctree_free(tree);
	return 0;
}

static void nobody(void **state)
{
	struct holder_who who = {.tid = 0}; /* not even looked at */
	struct ledger_expect e;
	struct holder_set set;

	(void)state;
	assert_int_equal(holders_find(h, "app", NULL, 0, &who, &set), 0);
	assert_int_equal(set.n, 0);
	assert_int_equal(holders_get(h, "app", NULL, getpid(), &e), ENODATA);
	assert_int_equal(holders_disarm(h, "app", NULL, getpid(), LEDGER_EXPECT_TREE), ENODATA);
	arm_tree(getpid(), 1);
	assert_int_equal(holders_find(h, "other", NULL, 0, &who, &set),
			 0); /* another namespace is no reason to look either */
	assert_int_equal(set.n, 0);
	assert_int_equal(holders_find(h, "app", NULL, 0, &who, &set), ESRCH);
	assert_int_equal(set.n, 0);
}

static void bad_input(void **state)
{
	struct ledger_expect e = {.what = LEDGER_EXPECT_BLOB};

	(void)state;
	assert_int_equal(holders_arm(h, "app", getpid(), &e), EINVAL);
	e.path = "";
	assert_int_equal(holders_arm(h, "app", getpid(), &e), EINVAL);
	e.what = 0;
	assert_int_equal(holders_arm(h, "app", getpid(), &e), EINVAL);
	e.what = 99;
	assert_int_equal(holders_arm(h, "app", getpid(), &e), EINVAL);
	e.what = LEDGER_EXPECT_TREE;
	assert_int_equal(holders_arm(h, "app", 0, &e), ESRCH);
	assert_int_equal(holders_count(h), 0);
}

static void own_and_kinds(void **state)
{
	struct ledger_expect e = {.what = LEDGER_EXPECT_VERSION, .version = 7}, got;
	pid_t a = puppet_start(0, -1);

	(void)state;
	arm_tree(a, 1);
	assert_int_equal(meets(a), 1);
	assert_int_equal(meets(getpid()), 0); /* a parent does not hold its living child's */
	arm_tree(a, 2);
	assert_int_equal(meets(a), 2);
	assert_int_equal(holders_arm(h, "app", a, &e), 0); /* one of the three kinds at a time */
	assert_int_equal(holders_count(h), 1);
	assert_int_equal(holders_get(h, "app", NULL, a, &got), 0);
	assert_int_equal(got.what, LEDGER_EXPECT_VERSION);
	assert_int_equal(got.version, 7);
	assert_int_equal(holders_get(h, "app", "k", a, &got), ENODATA);
	assert_int_equal(holders_disarm(h, "app", NULL, a, LEDGER_EXPECT_TREE), ENODATA);
	arm_blob(a, "k", 3);
	assert_int_equal(holders_get(h, "app", "k", a, &got), 0);
	assert_int_equal(got.oid.id[0], 3);
	assert_null(got.path);
	assert_int_equal(holders_get(h, "app", "l", a, &got), ENODATA);
	assert_int_equal(holders_disarm(h, "app", "k", a, LEDGER_EXPECT_ABSENT), 0);
	assert_int_equal(holders_disarm(h, "app", "k", a, LEDGER_EXPECT_BLOB), ENODATA);
	assert_int_equal(holders_disarm(h, "app", NULL, a, LEDGER_EXPECT_VERSION), 0);
	assert_int_equal(holders_count(h), 0);
	puppet_end(0);
}

/* setfattr in a script: 0 is the shell, 1 the setter, 2 the writer. */
static void passes_to_parent(void **state)
{
	pid_t sh = puppet_start(0, -1), setter = puppet_start(1, 0), cp;

	(void)state;
	arm_tree(setter, 1);
	assert_int_equal(meets(sh), 0);
	puppet_end(1);
	assert_int_equal(meets(sh), 1);
	cp = puppet_start(2, 0);
	assert_int_equal(meets(cp), 1);
	assert_int_equal(meets(getpid()), 0);
	assert_int_equal(write_as(cp, NULL, "k", HOLDER_LANDED, 2), 1); /* moves on */
	assert_int_equal(meets(sh), 2);
	puppet_end(2);
	assert_int_equal(meets(sh), 2); /* it is the shell's */
	puppet_end(0);
	assert_int_equal(meets(getpid()), 0); /* used: ends with the shell */
	assert_int_equal(holders_count(h), 0);
}

/* Nothing was tried: it goes up, over processes that are gone already, and a newer one takes the place of an older one. */
static void passes_up(void **state)
{
	pid_t sh = puppet_start(0, -1), b;

	(void)state;
	puppet_start(1, 0);
	b = puppet_start(2, 1);
	arm_tree(b, 5);
	puppet_end(1);
	puppet_end(2);
	assert_int_equal(meets(sh), 5);
	arm_tree(puppet_start(1, 0), 6);
	assert_int_equal(meets(sh), 5);
	puppet_end(1);
	assert_int_equal(meets(sh), 6);
	assert_int_equal(holders_count(h), 1);
	/* Two setters at once: the later one counts, whichever ends last. */
	arm_tree(puppet_start(1, 0), 7);
	arm_tree(puppet_start(2, 0), 8);
	puppet_end(2);
	assert_int_equal(meets(sh), 8);
	puppet_end(1);
	assert_int_equal(meets(sh), 8);
	assert_int_equal(holders_count(h), 1);
	/* An inherited one is replaced by arming, too. */
	arm_tree(sh, 9);
	assert_int_equal(meets(sh), 9);
	assert_int_equal(holders_count(h), 1);
	puppet_end(0);
	assert_int_equal(meets(getpid()), 9);
	arm_tree(getpid(), 1);
	assert_int_equal(holders_count(h), 1);
}

static void conflict_stays_below(void **state)
{
	pid_t sh = puppet_start(0, -1);

	(void)state;
	arm_tree(sh, 1);
	assert_int_equal(write_as(sh, NULL, "k", HOLDER_CONFLICT, 9), 1);
	assert_int_equal(meets(sh), 1); /* every further write meets it again */
	assert_int_equal(write_as(sh, NULL, "k", HOLDER_NOTHING, 9), 1);
	assert_int_equal(meets(sh), 1);
	puppet_end(0);
	assert_int_equal(meets(getpid()), 0);
}

static void subshells(void **state)
{
	pid_t sh = puppet_start(0, -1), a = puppet_start(1, 0), b = puppet_start(2, 0), a1 = puppet_start(3, 1),
	      b1 = puppet_start(4, 2);

	(void)state;
	arm_tree(a1, 1);
	arm_tree(b1, 2);
	puppet_end(3);
	puppet_end(4);
	assert_int_equal(meets(a), 1);
	assert_int_equal(meets(b), 2);
	assert_int_equal(meets(sh), 0);
	assert_int_equal(write_as(a, NULL, "k", HOLDER_LANDED, 3), 1);
	assert_int_equal(meets(a), 3);
	assert_int_equal(meets(b), 2); /* its own, and stale now */
	puppet_end(1);
	puppet_end(2);
	puppet_end(0);
	assert_int_equal(meets(getpid()), 2); /* b never tried: its goes up; a's has ended */
	assert_int_equal(holders_count(h), 1);
}

static void keys(void **state)
{
	const char *names[] = {"from", "to"};
	struct holder_who who = {.tid = getpid()};
	struct ledger_oid blobs[2] = {oid(0), oid(8)};
	struct ledger_tip t = tip(4);
	struct ledger_expect e;
	struct holder_set set;

	(void)state;
	arm_tree(getpid(), 1);
	arm_blob(getpid(), "from", 8);
	arm_blob(getpid(), "to", 0);
	assert_int_equal(holders_find(h, "app", names, 2, &who, &set), 0);
	assert_int_equal(set.n, 3);
	assert_int_equal(set.expects[0].what, LEDGER_EXPECT_TREE);
	assert_int_equal(set.expects[1].what, LEDGER_EXPECT_BLOB);
	assert_string_equal(set.expects[1].path, "from");
	assert_int_equal(set.expects[2].what, LEDGER_EXPECT_ABSENT);
	assert_string_equal(set.expects[2].path, "to");
	holders_settle(h, &set, HOLDER_LANDED, &t, blobs);
	assert_int_equal(holders_get(h, "app", "from", getpid(), &e), 0);
	assert_int_equal(e.what, LEDGER_EXPECT_ABSENT);
	assert_int_equal(holders_get(h, "app", "to", getpid(), &e), 0);
	assert_int_equal(e.what, LEDGER_EXPECT_BLOB);
	assert_int_equal(e.oid.id[0], 8);
	assert_int_equal(meets(getpid()), 4);
	names[1] = "from"; /* the same key twice is one */
	assert_int_equal(holders_find(h, "app", names, 2, &who, &set), 0);
	assert_int_equal(set.n, 2);
	holders_settle(h, &set, HOLDER_NOTHING, NULL, NULL);
	assert_int_equal(write_as(getpid(), NULL, "else", HOLDER_NOTHING, 0), 1);
}

static void moves_on_by_kind(void **state)
{
	struct ledger_expect e = {.what = LEDGER_EXPECT_COMMIT, .oid = oid(1)};

	(void)state;
	assert_int_equal(holders_arm(h, "app", getpid(), &e), 0);
	assert_int_equal(write_as(getpid(), NULL, "k", HOLDER_LANDED, 5), 1);
	assert_int_equal(holders_get(h, "app", NULL, getpid(), &e), 0);
	assert_int_equal(e.oid.id[0], 105);
	e.what = LEDGER_EXPECT_VERSION;
	assert_int_equal(holders_arm(h, "app", getpid(), &e), 0);
	assert_int_equal(write_as(getpid(), NULL, "k", HOLDER_LANDED, 6), 1);
	assert_int_equal(holders_get(h, "app", NULL, getpid(), &e), 0);
	assert_int_equal(e.version, 6);
}

/* A RELEASE after the writer, who held and used the expectation, has gone: guarded as it was at the open. */
static void late_writer(void **state)
{
	pid_t py = puppet_start(0, -1);
	struct holder_chain *c, *younger;

	(void)state;
	arm_tree(py, 1);
	assert_int_equal(holders_chain(h, py, &c), 0);
	assert_int_equal(proc_pid(holder_chain_proc(c)), py);
	assert_int_equal(write_as(0, c, "k", HOLDER_LANDED, 2), 1);
	puppet_end(0);
	assert_int_equal(meets(getpid()), 0);
	assert_int_equal(holders_count(h), 1);
	assert_int_equal(holders_chain(h, getpid(), &younger), 0);
	assert_int_equal(write_as(0, younger, "k", HOLDER_NOTHING, 0), 0);
	assert_int_equal(write_as(0, c, "k", HOLDER_LANDED, 3), 1);
	assert_int_equal(write_as(0, holder_chain_ref(c), "k", HOLDER_CONFLICT, 0), 1);
	holder_chain_unref(c);
	assert_int_equal(holders_count(h), 1);
	holder_chain_unref(c);
	assert_int_equal(holders_count(h), 0);
	holder_chain_unref(younger);
	holder_chain_unref(NULL);
}

/* The same where it has passed on to a parent: a late write of the old holder meets it there. */
static void late_writer_below_heir(void **state)
{
	pid_t sh = puppet_start(0, -1), py = puppet_start(1, 0);
	struct holder_chain *c;

	(void)state;
	arm_tree(py, 1);
	assert_int_equal(holders_chain(h, py, &c), 0);
	puppet_end(1);
	assert_int_equal(meets(sh), 1);
	assert_int_equal(write_as(0, c, "k", HOLDER_LANDED, 2), 1);
	assert_int_equal(meets(sh), 2);
	puppet_end(0);
	assert_int_equal(write_as(0, c, "k", HOLDER_LANDED, 3), 1);
	holder_chain_unref(c);
	assert_int_equal(meets(getpid()), 0);
	assert_int_equal(holders_count(h), 0);
}

/* A child whose shell has gone is still its descendant, if it was met before. */
static void orphan(void **state)
{
	pid_t child;
	struct holder_chain *c;

	(void)state;
	arm_tree(getpid(), 1);
	puppet_start(0, -1);
	child = puppet_start(1, 0);
	assert_int_equal(holders_chain(h, child, &c), 0);
	puppet_end(0);
	assert_int_equal(meets(child), 1);
	holder_chain_unref(c);
	puppet_end(1);
}

static void disarmed_in_hand(void **state)
{
	struct holder_who who = {.tid = getpid()};
	struct ledger_tip t = tip(3);
	struct holder_set set;

	(void)state;
	arm_tree(getpid(), 1);
	assert_int_equal(holders_find(h, "app", NULL, 0, &who, &set), 0);
	assert_int_equal(holders_disarm(h, "app", NULL, getpid(), LEDGER_EXPECT_TREE), 0);
	assert_int_equal(meets(getpid()), 0);
	arm_tree(getpid(), 2);
	holders_settle(h, &set, HOLDER_LANDED, &t, NULL);
	assert_int_equal(meets(getpid()), 2); /* the new one was not moved */
	assert_int_equal(holders_count(h), 1);
}

static void renamed(void **state)
{
	struct ledger_expect e;

	(void)state;
	arm_tree(getpid(), 1);
	arm_blob(getpid(), "k", 2);
	e = (struct ledger_expect){.what = LEDGER_EXPECT_TREE, .oid = oid(9)};
	assert_int_equal(holders_arm(h, "new", getpid(), &e), 0);
	holders_ns_renamed(h, "app", "new");
	assert_int_equal(holders_count(h), 2);
	assert_int_equal(holders_get(h, "new", NULL, getpid(), &e), 0);
	assert_int_equal(e.oid.id[0], 1);
	assert_int_equal(holders_get(h, "new", "k", getpid(), &e), 0);
	assert_int_equal(holders_get(h, "app", NULL, getpid(), &e), ENODATA);
}

/* --- threads ------------------------------------------------------------------------------------------------------ */

static atomic_int version, inside, clashes;

static void *increments(void *arg)
{
	struct holder_who who = {.tid = *(pid_t *)arg};
	const char *key = "k";
	struct ledger_oid blob = oid(1);
	struct holder_set set;
	struct ledger_tip t;
	int i;

	for (i = 0; i < 300; i++) {
		if (holders_find(h, "app", &key, 1, &who, &set) || set.n != 2)
			abort();
		if (atomic_fetch_add(&inside, 1) || set.expects[0].version != (uint64_t)atomic_load(&version))
			atomic_fetch_add(&clashes, 1);
		atomic_fetch_add(&version, 1);
		t = (struct ledger_tip){.version = (uint64_t)atomic_load(&version)};
		atomic_fetch_sub(&inside, 1);
		holders_settle(h, &set, HOLDER_LANDED, &t, &blob);
	}
	return NULL;
}

static void serialised(void **state)
{
	struct ledger_expect e = {.what = LEDGER_EXPECT_VERSION, .version = 0};
	pthread_t t[6];
	pid_t me = getpid();
	int i;

	(void)state;
	assert_int_equal(holders_arm(h, "app", me, &e), 0);
	arm_blob(me, "k", 1);
	for (i = 0; i < 6; i++)
		assert_int_equal(pthread_create(&t[i], NULL, increments, &me), 0);
	for (i = 0; i < 6; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(atomic_load(&clashes), 0);
	assert_int_equal(holders_get(h, "app", NULL, me, &e), 0);
	assert_int_equal(e.version, 1800);
}

/* Arming, writing and ending in parallel, with processes that come and go; nothing is left at the end. */
static void *churns(void *arg)
{
	pid_t *pids = arg;
	unsigned seed = (unsigned)pids[0];
	struct holder_chain *c;
	char key[8];
	int i;

	for (i = 0; i < 400; i++) {
		pid_t tid = pids[rand_r(&seed) % 8];
		struct ledger_expect e = {.what = LEDGER_EXPECT_BLOB, .path = key};

		snprintf(key, sizeof(key), "k%d", rand_r(&seed) % 5);
		if (holders_arm(h, "churn", tid, &e) != 0)
			continue;
		if (holders_chain(h, tid, &c))
			continue;
		struct holder_who who = {.chain = c};
		struct holder_set set;
		struct ledger_oid blob = oid(0);
		const char *k = key;

		if (holders_find(h, "churn", &k, 1, &who, &set) == 0)
			holders_settle(h, &set, rand_r(&seed) % 3, &(struct ledger_tip){0}, &blob);
		holder_chain_unref(c);
	}
	return NULL;
}

static void churn(void **state)
{
	pid_t pids[8];
	pthread_t t[4];
	char key[8];
	int i;

	(void)state;
	puppet_start(0, -1);
	for (i = 0; i < 8; i++)
		pids[i] = puppet_start(i + 1, i % 2 ? i : 0);
	for (i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, churns, pids);
	for (i = 8; i > 0; i--)
		puppet_end(i);
	for (i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	puppet_end(0);
	for (i = 0; i < 5; i++) {
		struct ledger_expect e;

		snprintf(key, sizeof(key), "k%d", i);
		while (holders_get(h, "churn", key, getpid(), &e) == 0)
			assert_int_equal(holders_disarm(h, "churn", key, getpid(), e.what), 0);
	}
	assert_int_equal(holders_count(h), 0);
}

/* Slots that nobody looks at again do not pile up. */
static void swept(void **state)
{
	char key[16];
	int i, round;

	(void)state;
	for (round = 0; round < 4; round++) {
		pid_t a = puppet_start(0, -1);

		for (i = 0; i < 200; i++) {
			snprintf(key, sizeof(key), "%d-%d", round, i);
			arm_blob(a, key, 1);
			assert_int_equal(write_as(a, NULL, key, HOLDER_CONFLICT, 0), 1);
		}
		puppet_end(0);
	}
	assert_true(holders_count(h) < 600);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(nobody),
		T(bad_input),
		T(own_and_kinds),
		T(passes_to_parent),
		T(passes_up),
		T(conflict_stays_below),
		T(subshells),
		T(keys),
		T(moves_on_by_kind),
		T(late_writer),
		T(late_writer_below_heir),
		T(orphan),
		T(disarmed_in_hand),
		T(renamed),
		T(serialised),
		T(churn),
		T(swept),
	};

	puppets_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
