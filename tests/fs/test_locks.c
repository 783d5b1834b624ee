/* SPDX-License-Identifier: MIT */
#include "locks.h"
#include "unit.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static struct locks *l;

static int setup(void **state)
{
	(void)state;
	return locks_new(&l);
}

static int teardown(void **state)
{
	(void)state;
	locks_free(l);
	return 0;
}

static struct lock_want range(short type, uint64_t owner, int64_t start, int64_t end)
{
	return (struct lock_want){
		.family = LOCK_FCNTL, .type = type, .owner = owner, .start = start, .end = end, .pid = (pid_t)owner};
}

static int set(short type, uint64_t owner, int64_t start, int64_t end)
{
	struct lock_want w = range(type, owner, start, end);

	return locks_set(l, "app/k", &w);
}

static int flk(const char *key, short type, uint64_t owner)
{
	struct lock_want w = {.family = LOCK_FLOCK, .type = type, .owner = owner, .file = owner};

	return locks_set(l, key, &w);
}

static void none(void *arg, int err)
{
	(void)arg;
	(void)err;
	abort();
}

static void told(void *arg, int err)
{
	*(int *)arg = err;
}

static int wait_for(const char *key, struct lock_want w, int *result)
{
	*result = -1;
	return locks_wait(l, key, &w, locks_ticket(l), told, result);
}

static void flocks(void **state)
{
	int r;

	(void)state;
	assert_int_equal(flk("app/k", F_RDLCK, 1), 0);
	assert_int_equal(flk("app/k", F_RDLCK, 2), 0);
	assert_int_equal(flk("app/k", F_WRLCK, 3), EAGAIN);
	assert_int_equal(flk("app/other", F_WRLCK, 3), 0);
	assert_int_equal(set(F_WRLCK, 4, 0, LOCKS_EOF), 0); /* the families do not see each other */
	assert_int_equal(flk("app/k", F_WRLCK, 1), EAGAIN); /* a failed conversion costs the old lock */
	assert_int_equal(flk("app/k", F_WRLCK, 2), 0);
	assert_int_equal(flk("app/k", F_RDLCK, 1), EAGAIN);
	assert_int_equal(
		wait_for("app/k", (struct lock_want){.family = LOCK_FLOCK, .type = F_RDLCK, .owner = 1, .file = 1}, &r),
		EINPROGRESS);
	assert_int_equal(r, -1);
	assert_int_equal(flk("app/k", F_RDLCK, 2), 0); /* weaker: makes room */
	assert_int_equal(r, 0);
	locks_release_file(l, "app/k", 1);
	assert_int_equal(flk("app/k", F_WRLCK, 2), 0);
	assert_int_equal(flk("app/k", F_UNLCK, 2), 0);
	assert_int_equal(flk("app/k", F_UNLCK, 2), 0);
	assert_int_equal(set(F_UNLCK, 4, 0, LOCKS_EOF), 0);
	assert_false(locks_any(l, "app/k"));
	assert_true(locks_held(l, "app/other", LOCK_FLOCK, 3));
	assert_false(locks_held(l, "app/other", LOCK_FLOCK, 2));
	assert_false(locks_held(l, "app/other", LOCK_FCNTL, 3));
	assert_false(locks_held(l, "app/k", LOCK_FLOCK, 2));
	assert_true(locks_any(l, "app/other"));
}

/* Every small sequence of operations against a model of 8 bytes. */
static void ranges_against_model(void **state)
{
	short model[3][8] = {0}; /* by owner and byte: F_UNLCK, F_RDLCK, F_WRLCK */
	unsigned seed = 1;
	int i, o, b;

	(void)state;
	for (o = 0; o < 3; o++) {
		for (b = 0; b < 8; b++)
			model[o][b] = F_UNLCK;
	}
	for (i = 0; i < 200000; i++) {
		uint64_t owner = (uint64_t)(rand_r(&seed) % 3);
		short type = (short[]){F_UNLCK, F_RDLCK, F_WRLCK}[rand_r(&seed) % 3];
		int a = rand_r(&seed) % 8, z = a + rand_r(&seed) % (8 - a), err;
		bool stands = false, free_to;
		struct lock_want w, got;

		for (o = 0; o < 3; o++) {
			for (b = a; b <= z; b++)
				stands |= (uint64_t)o != owner && type != F_UNLCK && model[o][b] != F_UNLCK &&
					  (type == F_WRLCK || model[o][b] == F_WRLCK);
		}
		w = range(type, owner, a, z == 7 ? LOCKS_EOF : z);
		if (type != F_UNLCK) {
			locks_test(l, "app/k", &w, &got);
			free_to = got.type == F_UNLCK;
			assert_int_equal(free_to, !stands);
			if (stands)
				assert_true(got.owner != owner && got.start <= w.end && got.end >= w.start);
		}
		err = locks_set(l, "app/k", &w);
		assert_int_equal(err, stands ? EAGAIN : 0);
		for (b = a; !err && b <= z; b++)
			model[owner][b] = type;
	}
	for (o = 0; o < 3; o++)
		locks_release_owner(l, "app/k", (uint64_t)o);
	assert_false(locks_any(l, "app/k"));
}

static void bad_input(void **state)
{
	struct lock_want w = range(F_WRLCK, 1, 5, 4), out;

	(void)state;
	assert_int_equal(locks_set(l, "k", &w), EINVAL);
	w = range(F_WRLCK, 1, -1, 4);
	assert_int_equal(locks_set(l, "k", &w), EINVAL);
	w = range(77, 1, 0, 4);
	assert_int_equal(locks_set(l, "k", &w), EINVAL);
	assert_int_equal(locks_wait(l, "k", &w, locks_ticket(l), none, NULL), EINVAL);
	w = range(F_WRLCK, 1, 0, 4);
	assert_int_equal(locks_wait(l, "k", &w, 12345, none, NULL), EINVAL); /* no such ticket */
	locks_test(l, "k", &w, &out);
	assert_int_equal(out.type, F_UNLCK);
	assert_false(locks_any(l, "k"));
}

static void waiting(void **state)
{
	int r[4];

	(void)state;
	assert_int_equal(set(F_WRLCK, 1, 0, 99), 0);
	assert_int_equal(wait_for("app/k", range(F_RDLCK, 2, 0, 9), &r[0]), EINPROGRESS);
	assert_int_equal(wait_for("app/k", range(F_WRLCK, 3, 0, 9), &r[1]), EINPROGRESS);
	assert_int_equal(wait_for("app/k", range(F_RDLCK, 4, 50, 59), &r[2]), EINPROGRESS);
	assert_int_equal(wait_for("app/k", range(F_WRLCK, 5, 200, 209), &r[3]), 0); /* nobody there */
	assert_int_equal(set(F_UNLCK, 1, 50, 99), 0);
	assert_int_equal(r[2], 0);
	assert_int_equal(r[0], -1);
	locks_release_owner(l, "app/k", 1);
	assert_int_equal(r[0], 0);
	assert_int_equal(r[1], -1);
	locks_release_owner(l, "app/k", 2);
	assert_int_equal(r[1], 0);
}

/*
 * The kernel's number of an open file is an address that another open has before the first one's RELEASE is here: that
 * must leave the later one's lock alone, whole or cut.
 */
static void release_of_an_earlier_file(void **state)
{
	struct lock_want first = range(F_WRLCK, 7, 0, 99), second = range(F_WRLCK, 7, 0, 99),
			 part = range(F_WRLCK, 7, 10, 19);
	struct lock_want out;

	(void)state;
	first.file = 1;
	second.file = part.file = 2;
	assert_int_equal(locks_set(l, "app/k", &first), 0);
	assert_int_equal(locks_set(l, "app/k", &second), 0);
	locks_release_file(l, "app/k", 1);
	assert_int_equal(set(F_RDLCK, 8, 50, 50), EAGAIN);
	locks_release_file(l, "app/k", 2);
	assert_false(locks_any(l, "app/k"));

	assert_int_equal(locks_set(l, "app/k", &first), 0);
	assert_int_equal(locks_set(l, "app/k", &part), 0);
	locks_release_file(l, "app/k", 1);
	first.owner = 8;
	locks_test(l, "app/k", &first, &out);
	assert_true(out.type == F_WRLCK && out.start == 10 && out.end == 19);
	locks_release_owner(l, "app/k", 7);
	assert_true(locks_none(l));
}

static void cancelling(void **state)
{
	uint64_t before = locks_ticket(l), queued = locks_ticket(l), granted = locks_ticket(l);
	struct lock_want w = range(F_WRLCK, 2, 0, 0);
	int r = -1;

	(void)state;
	assert_int_equal(set(F_WRLCK, 1, 0, 0), 0);
	locks_cancel(l, before);
	assert_int_equal(locks_wait(l, "app/k", &w, before, none, NULL), EINTR);
	assert_int_equal(locks_wait(l, "app/k", &w, queued, told, &r), EINPROGRESS);
	locks_cancel(l, queued);
	assert_int_equal(r, EINTR);
	locks_cancel(l, queued);
	assert_int_equal(set(F_UNLCK, 1, 0, 0), 0);
	assert_false(locks_any(l, "app/k")); /* the cancelled one got nothing */
	assert_int_equal(locks_wait(l, "app/k", &w, granted, none, NULL), 0);
	locks_cancel(l, granted);
	locks_cancel(l, 0);
	assert_true(locks_any(l, "app/k"));
}

static void circles(void **state)
{
	int r[3];

	(void)state;
	assert_int_equal(set(F_WRLCK, 1, 1, 1), 0);
	assert_int_equal(set(F_WRLCK, 2, 2, 2), 0);
	assert_int_equal(set(F_WRLCK, 3, 3, 3), 0);
	assert_int_equal(wait_for("app/k", range(F_WRLCK, 1, 2, 2), &r[0]), EINPROGRESS);
	assert_int_equal(wait_for("app/k", range(F_WRLCK, 2, 3, 3), &r[1]), EINPROGRESS);
	assert_int_equal(wait_for("app/k", range(F_WRLCK, 3, 1, 1), &r[2]), EDEADLK);
	assert_int_equal(wait_for("app/k", range(F_WRLCK, 3, 9, 9), &r[2]), 0);
	locks_release_owner(l, "app/k", 3);
	assert_int_equal(r[1], 0);
	assert_int_equal(r[0], -1);
	locks_release_owner(l, "app/k", 2);
	assert_int_equal(r[0], 0);
}

/* A waiting owner's own new lock is weaker than its old one: somebody before it in the queue gets on. */
static void granted_makes_room(void **state)
{
	int r[2];

	(void)state;
	assert_int_equal(set(F_WRLCK, 1, 0, 9), 0);
	assert_int_equal(set(F_WRLCK, 2, 15, 19), 0);
	assert_int_equal(wait_for("app/k", range(F_RDLCK, 3, 0, 5), &r[0]), EINPROGRESS);
	assert_int_equal(wait_for("app/k", range(F_RDLCK, 1, 0, 19), &r[1]), EINPROGRESS);
	assert_int_equal(set(F_UNLCK, 2, 0, LOCKS_EOF), 0);
	assert_int_equal(r[1], 0);
	assert_int_equal(r[0], 0);
}

static void renames(void **state)
{
	int r;

	(void)state;
	assert_int_equal(flk("app/a/x", F_WRLCK, 1), 0);
	assert_int_equal(flk("app/ab", F_WRLCK, 1), 0);
	assert_int_equal(
		wait_for("app/a/x", (struct lock_want){.family = LOCK_FLOCK, .type = F_RDLCK, .owner = 2, .file = 2}, &r),
		EINPROGRESS);
	assert_int_equal(locks_rename(l, "app/a", "app/a/b"), 0); /* below itself: each once */
	assert_true(locks_any(l, "app/a/b/x"));
	assert_true(locks_any(l, "app/ab"));
	assert_false(locks_any(l, "app/a/x"));
	assert_int_equal(locks_rename(l, "app/a/b/x", "app/y"), 0);
	assert_int_equal(flk("app/y", F_WRLCK, 3), EAGAIN);
	assert_int_equal(locks_rename(l, "app/y", "app/y"), 0);
	assert_int_equal(locks_rename(l, "none", "app/y"), 0);
	/* Onto a key that is locked: both stay, and each ends by itself. */
	assert_int_equal(set(F_WRLCK, 7, 0, 100), 0);
	assert_int_equal(locks_rename(l, "app/y", "app/k"), 0);
	assert_int_equal(flk("app/k", F_RDLCK, 3), EAGAIN);
	assert_int_equal(set(F_WRLCK, 8, 50, 50), EAGAIN);
	assert_int_equal(r, -1);
	assert_int_equal(flk("app/k", F_UNLCK, 1), 0);
	assert_int_equal(r, 0);
	assert_int_equal(set(F_UNLCK, 7, 0, 100), 0);
	assert_int_equal(set(F_WRLCK, 8, 50, 50), 0);
}

/* The same owner on both keys: its ranges overlap afterwards; cutting through both must not fall short of memory. */
static void joined_ranges(void **state)
{
	struct lock_want w = range(F_WRLCK, 1, 0, 100), r = range(F_RDLCK, 1, 10, 90);

	(void)state;
	assert_int_equal(locks_set(l, "a", &w), 0);
	assert_int_equal(locks_set(l, "b", &r), 0);
	assert_int_equal(locks_set(l, "c", &w), 0);
	assert_int_equal(locks_rename(l, "a", "b"), 0);
	assert_int_equal(locks_rename(l, "c", "b"), 0);
	w = range(F_UNLCK, 1, 40, 50);
	assert_int_equal(locks_set(l, "b", &w), 0);
	w = range(F_WRLCK, 2, 40, 50);
	assert_int_equal(locks_set(l, "b", &w), 0);
	w = range(F_RDLCK, 2, 30, 30);
	assert_int_equal(locks_set(l, "b", &w), EAGAIN);
	locks_release_owner(l, "b", 1);
	assert_int_equal(locks_set(l, "b", &w), 0);
}

static void told_at_the_end(void **state)
{
	struct locks *mine;
	struct lock_want w = range(F_WRLCK, 1, 0, 0), x = range(F_WRLCK, 2, 0, 0);
	int r = -1;

	(void)state;
	assert_int_equal(locks_new(&mine), 0);
	assert_int_equal(locks_set(mine, "k", &w), 0);
	assert_int_equal(locks_wait(mine, "k", &x, locks_ticket(mine), told, &r), EINPROGRESS);
	assert_true(locks_ticket(mine) != 0); /* never used */
	locks_free(mine);
	assert_int_equal(r, EINTR);
	locks_free(NULL);
}

/* --- threads: the lock excludes, every request is told once, interrupts at any moment ------------------------------ */

struct box {
	pthread_mutex_t m;
	pthread_cond_t c;
	int err, calls;
};

static void box_told(void *arg, int err)
{
	struct box *b = arg;

	pthread_mutex_lock(&b->m);
	b->err = err;
	b->calls++;
	pthread_cond_signal(&b->c);
	pthread_mutex_unlock(&b->m);
}

static long unguarded;
static atomic_ulong current[4];
static atomic_int done_threads;

static void *contender(void *arg)
{
	uint64_t me = (uint64_t)(uintptr_t)arg;
	struct box b = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0};
	struct lock_want w = {.family = LOCK_FLOCK, .type = F_WRLCK, .owner = me, .file = me};
	long got = 0;
	int i, err;

	for (i = 0; i < 1500; i++) {
		uint64_t ticket = locks_ticket(l);

		atomic_store(&current[me], ticket);
		b.calls = 0;
		err = locks_wait(l, "app/k", &w, ticket, box_told, &b);
		if (err == EINPROGRESS) {
			pthread_mutex_lock(&b.m);
			while (!b.calls)
				pthread_cond_wait(&b.c, &b.m);
			err = b.err;
			pthread_mutex_unlock(&b.m);
		}
		if (err == EINTR)
			continue;
		if (err)
			abort();
		unguarded++;
		got++;
		locks_release_file(l, "app/k", me);
	}
	atomic_fetch_add(&done_threads, 1);
	return (void *)got;
}

static void *interrupter(void *arg)
{
	unsigned seed = 5;

	(void)arg;
	while (atomic_load(&done_threads) < 4)
		locks_cancel(l, atomic_load(&current[rand_r(&seed) % 4]));
	return NULL;
}

static void excludes(void **state)
{
	pthread_t t[5];
	long sum = 0;
	void *got;
	uintptr_t i;

	(void)state;
	for (i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, contender, (void *)i);
	pthread_create(&t[4], NULL, interrupter, NULL);
	for (i = 0; i < 5; i++) {
		pthread_join(t[i], &got);
		sum += i < 4 ? (long)got : 0;
	}
	assert_int_equal(unguarded, sum);
	assert_true(sum > 0);
	assert_false(locks_any(l, "app/k"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(flocks),
		T(ranges_against_model),
		T(bad_input),
		T(waiting),
		T(release_of_an_earlier_file),
		T(cancelling),
		T(circles),
		T(granted_makes_room),
		T(renames),
		T(joined_ranges),
		T(told_at_the_end),
		T(excludes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
