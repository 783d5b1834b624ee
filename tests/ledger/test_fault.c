/* SPDX-License-Identifier: MIT */
/*
 * Faults at the storage seam and of memory: the Nth call fails, for every N, over a scripted workload.  After each:
 * the refused change has left nothing, the next one works, what was acknowledged is there.
 *
 * The linker puts the functions here between the ledger and its store (--wrap).
 */
#include "helper.h"
#include "store.h"

#include <pthread.h>
#include <stdatomic.h>

static atomic_int countdown = -1; /* calls until the fault; below 0: none */
static int fault = LEDGER_EIO;
static atomic_uint injected;

static int strike(void)
{
	if (countdown < 0 || countdown-- != 0)
		return 0;
	injected++;
	return 1;
}

#define WRAP(name, params, args)           \
	int __real_##name params;          \
	int __wrap_##name params;          \
	int __wrap_##name params           \
	{                                  \
		if (strike())              \
			return fault;      \
		return __real_##name args; \
	}

WRAP(store_ref_read, (struct store * s, const char *ref, struct ledger_oid *out), (s, ref, out))
WRAP(store_read,
     (struct store * s, const struct ledger_oid *oid, enum store_type type, enum store_type *got, struct store_buf *out),
     (s, oid, type, got, out))
WRAP(store_read_header, (struct store * s, const struct ledger_oid *oid, enum store_type *type, uint64_t *size),
     (s, oid, type, size))
WRAP(store_stage, (struct store * s, struct ledger_value *v), (s, v))
WRAP(store_group_begin, (struct store * s, struct store_group **out), (s, out))
WRAP(store_group_lock, (struct store_group * g, const char *ref, struct ledger_oid *tip), (g, ref, tip))
WRAP(store_group_put, (struct store_group * g, enum store_type type, const void *data, size_t len, struct ledger_oid *oid),
     (g, type, data, len, oid))
WRAP(store_group_put_tree,
     (struct store_group * g, const struct ledger_oid *oid, const void *data, size_t len, const struct ledger_oid *base,
      size_t off, size_t del, const void *ins, size_t inslen),
     (g, oid, data, len, base, off, del, ins, inslen))
WRAP(store_group_put_value, (struct store_group * g, struct ledger_value *v), (g, v))
WRAP(store_group_move, (struct store_group * g, const char *ref, const struct ledger_oid *to, const char *why),
     (g, ref, to, why))

int __real_store_group_commit(struct store_group *g);
int __wrap_store_group_commit(struct store_group *g);
int __wrap_store_group_commit(struct store_group *g)
{
	if (!strike())
		return __real_store_group_commit(g);
	store_group_abort(g);
	return fault;
}

/* --- memory --------------------------------------------------------------------------------------------------------- */

static __thread int alloc_countdown = -1; /* of the ledger's own code, this thread */

static int alloc_strike(void)
{
	if (alloc_countdown < 0 || alloc_countdown--)
		return 0;
	injected++;
	return 1;
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);

void *__wrap_malloc(size_t n)
{
	return alloc_strike() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return alloc_strike() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	return alloc_strike() ? NULL : __real_realloc(p, n);
}

/* --- workload ------------------------------------------------------------------------------------------------------- */

static int two_edits(struct ledger *l)
{
	struct ledger_value *v;
	int rc = ledger_value_new(l, "fresh", 5, &v);

	if (rc)
		return rc;
	struct ledger_edit e[] = {
		{.op = LEDGER_SET, .path = "x/y/z", .flags = LEDGER_PARENTS, .kind = LEDGER_FILE, .value = v},
		{.op = LEDGER_APPEND, .path = "log", .kind = LEDGER_FILE, .value = v},
		{.op = LEDGER_RENAME, .path = "x", .to = "w"},
	};
	struct ledger_change c = {.ns = "app", .edits = e, .nedits = 3, .actor = actor};

	rc = ledger_commit(l, &c, NULL);
	ledger_value_unref(v);
	return rc;
}

static int do_step(struct ledger *l, int step)
{
	struct ledger_tip tip;

	switch (step) {
	case 0:
		return two_edits(l);
	case 1:
		return plain(l, LEDGER_DELETE, "w/y/z", NULL, LEDGER_PRUNE);
	case 2:
		return ledger_ns_create(l, "other", &actor, NULL);
	case 3:
		return ledger_ns_rename(l, "other", "third", NULL, 0, NULL);
	case 4:
		return ledger_ns_delete(l, "third", false, NULL, 0, NULL);
	case 5:
		return ledger_ns_restore(l, "third", 0, &tip);
	case 6:
		return ledger_ns_delete(l, "third", true, NULL, 0, NULL);
	case 7: /* its archive comes first */
		return ledger_ns_create(l, "third/1", &actor, NULL);
	case 8:
		return ledger_ns_delete(l, "third/1", true, NULL, 0, NULL);
	default:
		return 1;
	}
}

enum { STEPS = 9 };

static void state_of(struct fixture *f, char *out, size_t size)
{
	snprintf(out, size, "%s", git(f, "for-each-ref"));
}

/* A repository in which the steps before `step` are done. */
static struct fixture *fixture_at(int step)
{
	void *f;

	assert_int_equal(fixture_setup(&f), 0);
	assert_ok(set(((struct fixture *)f)->l, "log", "first ", NULL));
	for (int i = 0; i < step; i++)
		assert_ok(do_step(((struct fixture *)f)->l, i));
	return f;
}

static void fixture_end(struct fixture *f)
{
	void *state = f;

	assert_int_equal(fixture_teardown(&state), 0);
}

/*
 * The step with a fault at its Nth call, N from 0 until it goes through without meeting one.  `arm` sets the countdown.
 * A fault may be without consequence (a cache that is not filled): the repository is then made anew for the next N.
 */
static void faults_of_step(int step, void (*arm)(int n))
{
	struct fixture *f = fixture_at(step);

	for (int n = 0;; n++) {
		char before[4096], after[4096];
		unsigned met = injected;
		int rc;

		/* Nothing known from memory, every other time. */
		if (n % 2) {
			ledger_free(f->l);
			f->l = open_again(f);
		}
		state_of(f, before, sizeof(before));
		arm(n);
		rc = do_step(f->l, step);
		arm(-1);
		if (met == injected) {
			assert_ok(rc);
			assert_string_equal(get(f->l, "log"), "first fresh");
			break;
		}
		state_of(f, after, sizeof(after));
		/* Making way in the archive (the last step) is a move of its own, before the deletion. */
		if (rc && strcmp(before, after) && step != STEPS - 1)
			fail_msg("step %d, fault %d: %s, but the state is\n%s\nafter\n%s", step, n, ledger_error_name(rc),
				 after, before);
		if (!rc) {
			fixture_end(f);
			f = fixture_at(step);
		}
	}
	fixture_end(f);
}

static void every_fault(void (*arm)(int n))
{
	injected = 0;
	for (int step = 0; step < STEPS; step++)
		faults_of_step(step, arm);
	assert_true(injected > 50);
	print_message("%u faults\n", (unsigned)injected);
}

static void arm_store(int n)
{
	countdown = n;
}

static void arm_memory(int n)
{
	alloc_countdown = n;
}

static void store_faults(void **state)
{
	static const int codes[] = {LEDGER_EIO, LEDGER_ENOSPC};

	for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++) {
		fault = codes[i];
		every_fault(arm_store);
	}
}

static void memory_faults(void **state)
{
	every_fault(arm_memory);
}

/* --- a group that fails, fails for all in it ----------------------------------------------------------------------------
 */

static void *write_one(void *arg)
{
	struct fixture *f = arg;
	char key[32];

	snprintf(key, sizeof(key), "k%lx", (unsigned long)pthread_self());
	return (void *)(intptr_t)set(f->l, key, key, NULL);
}

static void failed_group(void **state)
{
	struct fixture *f = *state;
	unsigned failures = 0;

	fault = LEDGER_ENOSPC;
	assert_ok(set(f->l, "k", "v", NULL));
	for (int round = 0; round < 20; round++) {
		struct ledger_tip before, after;
		unsigned lost = 0;
		pthread_t t[8];

		assert_ok(ledger_tip(f->l, "app", &before));
		countdown = 5 + 3 * round;
		for (int i = 0; i < 8; i++)
			assert_int_equal(pthread_create(&t[i], NULL, write_one, f), 0);
		for (int i = 0; i < 8; i++) {
			void *rc;

			pthread_join(t[i], &rc);
			if ((intptr_t)rc)
				assert_int_equal((intptr_t)rc, LEDGER_ENOSPC);
			lost += (intptr_t)rc != 0;
		}
		countdown = -1;
		failures += lost;
		assert_ok(ledger_tip(f->l, "app", &after));
		/* Each change that was acknowledged made at most one commit, none that was refused did. */
		assert_true(after.version - before.version <= 8 - lost);
	}
	assert_true(failures > 0);
	assert_ok(set(f->l, "k", "w", NULL));
	assert_string_equal(get(f->l, "k"), "w");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(store_faults),
		cmocka_unit_test(memory_faults),
		cmocka_unit_test_setup_teardown(failed_group, fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
