/* SPDX-License-Identifier: MIT */
/* Compare-and-swap: who comes second gets CONFLICT with all it needs to try again; nobody else is disturbed. */
#include "helper.h"
#include "internal.h"

#include <pthread.h>

static struct ledger_expect expect_tree(const struct ledger_oid *oid)
{
	return (struct ledger_expect){.what = LEDGER_EXPECT_TREE, .oid = *oid};
}

/* Two handles on one repository: the first wins, the second is refused, looks again, wins. */
static void second_loses(void **state)
{
	struct fixture *f = *state;
	struct ledger *other = open_again(f);
	struct ledger_result first, lost = {0}, won;
	struct ledger_tip a, b;

	assert_ok(set(f->l, "n", "0", NULL));
	assert_ok(ledger_tip(f->l, "app", &a));
	assert_ok(ledger_tip(other, "app", &b));
	assert_ok(set_expecting(f->l, "n", "1", expect_tree(&a.tree), &first));
	assert_rc(set_expecting(other, "n", "2", expect_tree(&b.tree), &lost), LEDGER_ECONFLICT);
	assert_non_null(strstr(ledger_errmsg(), hex_of(&b.tree)));
	assert_int_equal(lost.reason, LEDGER_REASON_TREE);
	assert_false(lost.changed);
	assert_int_equal(lost.tip.version, 2);
	assert_memory_equal(&lost.tip.commit, &first.tip.commit, sizeof(lost.tip.commit));
	assert_memory_equal(&lost.tip.tree, &first.tip.tree, sizeof(lost.tip.tree));
	assert_string_equal(get(other, "n"), "1");
	assert_ok(set_expecting(other, "n", "2", expect_tree(&lost.tip.tree), &won));
	assert_int_equal(won.tip.version, 3);
	assert_string_equal(get(f->l, "n"), "2");
	ledger_free(other);
}

static void every_reason(void **state)
{
	struct fixture *f = *state;
	struct ledger_result v1, v2, res;
	struct ledger_value *v;

	assert_ok(set(f->l, "k", "1", &v1));
	assert_ok(set(f->l, "k", "2", &v2));

	assert_rc(set_expecting(f->l, "o", "x", (struct ledger_expect){.what = LEDGER_EXPECT_COMMIT, .oid = v1.tip.commit},
				&res),
		  LEDGER_ECONFLICT);
	assert_int_equal(res.reason, LEDGER_REASON_COMMIT);
	assert_rc(set_expecting(f->l, "o", "x", (struct ledger_expect){.what = LEDGER_EXPECT_VERSION, .version = 1}, &res),
		  LEDGER_ECONFLICT);
	assert_int_equal(res.reason, LEDGER_REASON_VERSION);
	assert_rc(set_expecting(f->l, "o", "x", (struct ledger_expect){LEDGER_EXPECT_BLOB, v1.blob, .path = "k"}, &res),
		  LEDGER_ECONFLICT);
	assert_int_equal(res.reason, LEDGER_REASON_BLOB);
	assert_memory_equal(&res.blob, &v2.blob, sizeof(res.blob));
	assert_int_equal(res.tip.version, 2);
	assert_rc(set_expecting(f->l, "o", "x", (struct ledger_expect){LEDGER_EXPECT_BLOB, v1.blob, .path = "no/k"}, &res),
		  LEDGER_ECONFLICT);
	assert_true(ledger_oid_is_zero(&res.blob));
	assert_rc(
		set_expecting(f->l, "o", "x", (struct ledger_expect){LEDGER_EXPECT_BLOB, v1.blob, .path = "k/below"}, &res),
		LEDGER_ECONFLICT);
	assert_rc(set_expecting(f->l, "o", "x", (struct ledger_expect){.what = LEDGER_EXPECT_ABSENT, .path = "k"}, &res),
		  LEDGER_ECONFLICT);
	assert_int_equal(res.reason, LEDGER_REASON_ABSENT);
	assert_memory_equal(&res.blob, &v2.blob, sizeof(res.blob));
	assert_rc(set_expecting(f->l, "o", "x", (struct ledger_expect){.what = LEDGER_EXPECT_ABSENT, .path = "/k"}, &res),
		  LEDGER_EINVALID);
	assert_rc(set_expecting(f->l, "o", "x", (struct ledger_expect){.what = LEDGER_EXPECT_ABSENT}, &res),
		  LEDGER_EINVALID);

	v = value_of(f->l, "3");
	assert_rc(change1(f->l,
			  (struct ledger_edit){.op = LEDGER_SET,
					       .path = "k",
					       .kind = LEDGER_FILE,
					       .value = v,
					       .base_rule = LEDGER_BASE_BLOB,
					       .base = v1.blob},
			  NULL, &res),
		  LEDGER_ECONFLICT);
	assert_int_equal(res.reason, LEDGER_REASON_BASE);
	assert_memory_equal(&res.blob, &v2.blob, sizeof(res.blob));
	assert_rc(change1(f->l,
			  (struct ledger_edit){.op = LEDGER_SET,
					       .path = "k",
					       .kind = LEDGER_FILE,
					       .value = v,
					       .base_rule = LEDGER_BASE_ABSENT},
			  NULL, &res),
		  LEDGER_ECONFLICT);
	assert_int_equal(res.reason, LEDGER_REASON_BASE);
	assert_ok(change1(f->l,
			  (struct ledger_edit){.op = LEDGER_SET,
					       .path = "k",
					       .kind = LEDGER_FILE,
					       .value = v,
					       .base_rule = LEDGER_BASE_BLOB,
					       .base = v2.blob},
			  NULL, &res));
	ledger_value_unref(v);
	assert_string_equal(git(f, "rev-list --count refs/kv/app"), "3");
}

/* Of several expectations the first that does not hold is told, with its place. */
static void all_must_hold(void **state)
{
	struct fixture *f = *state;
	struct ledger_result v1, res = {0};
	struct ledger_value *v = value_of(f->l, "2");
	struct ledger_edit e[] = {
		{.op = LEDGER_SET, .path = "a", .kind = LEDGER_FILE, .value = v},
		{.op = LEDGER_SET, .path = "b", .kind = LEDGER_FILE, .value = v, .base_rule = LEDGER_BASE_BLOB},
	};
	struct ledger_expect x[2];
	struct ledger_change c = {.ns = "app", .edits = e, .nedits = 2, .expects = x, .nexpects = 2, .actor = actor};

	assert_ok(set(f->l, "k", "1", &v1));
	x[0] = (struct ledger_expect){LEDGER_EXPECT_BLOB, v1.blob, .path = "k"};
	x[1] = (struct ledger_expect){.what = LEDGER_EXPECT_ABSENT, .path = "k"};
	assert_rc(ledger_commit(f->l, &c, &res), LEDGER_ECONFLICT);
	assert_int_equal(res.index, 1);
	c.nexpects = 1;
	assert_rc(ledger_commit(f->l, &c, &res), LEDGER_ECONFLICT);
	assert_int_equal(res.reason, LEDGER_REASON_BASE);
	assert_int_equal(res.index, 1);
	assert_true(ledger_oid_is_zero(&res.blob));
	e[1].base_rule = LEDGER_BASE_ABSENT;
	assert_ok(ledger_commit(f->l, &c, &res));
	ledger_value_unref(v);
}

/* The same value again is a success, but what is expected must hold all the same. */
static void same_value_is_checked(void **state)
{
	struct fixture *f = *state;
	struct ledger_result v1, res;

	assert_ok(set(f->l, "k", "1", &v1));
	assert_ok(set_expecting(f->l, "k", "1", expect_tree(&v1.tip.tree), &res));
	assert_false(res.changed);
	assert_ok(set(f->l, "k", "2", NULL));
	assert_rc(set_expecting(f->l, "k", "2", expect_tree(&v1.tip.tree), &res), LEDGER_ECONFLICT);
}

/* Expectations come before everything else that can be wrong with a change. */
static void expectation_before_conditions(void **state)
{
	struct fixture *f = *state;
	struct ledger_oid none = {{1}};
	struct ledger_expect x = expect_tree(&none);

	assert_ok(set(f->l, "k", "1", NULL));
	assert_rc(change1(f->l, (struct ledger_edit){.op = LEDGER_DELETE, .path = "absent"}, &x, NULL), LEDGER_ECONFLICT);
	assert_rc(set_expecting(f->l, "k/x", "1", x, NULL), LEDGER_ECONFLICT);
}

static void absent_namespace(void **state)
{
	struct fixture *f = *state;
	struct ledger_value *v = value_of(f->l, "1");
	struct ledger_edit e = {.op = LEDGER_SET, .path = "k", .kind = LEDGER_FILE, .value = v};
	struct ledger_expect x = {.what = LEDGER_EXPECT_BLOB, .path = "k"};
	struct ledger_change c = {.ns = "app", .edits = &e, .nedits = 1, .actor = actor};
	struct ledger_result res = {0};

	assert_rc(ledger_commit(f->l, &c, &res), LEDGER_ENOTFOUND);
	c.create = true;
	c.expects = &x;
	c.nexpects = 1;
	assert_rc(ledger_commit(f->l, &c, &res), LEDGER_ECONFLICT);
	assert_int_equal(res.tip.version, 0);
	x.what = LEDGER_EXPECT_ABSENT;
	assert_ok(ledger_commit(f->l, &c, &res));
	assert_int_equal(res.tip.version, 1);
	assert_string_equal(git(f, "log --format=%%s refs/kv/app"), "set k");
	ledger_value_unref(v);
}

/* --- others --------------------------------------------------------------------------------------------------------- */

static void foreign_commit(struct fixture *f, const char *key, const char *text)
{
	git(f,
	    "update-ref refs/kv/app $(echo foreign | git -c user.name=x -c user.email=x@y commit-tree -p refs/kv/app $( "
	    "(git ls-tree refs/kv/app; printf '100644 blob %%s\\t%s\\n' $(printf '%s' | git hash-object -w --stdin)) | "
	    "git mktree))",
	    key, text);
}

static void foreign_writer(void **state)
{
	struct fixture *f = *state;
	struct ledger_result mine, res;
	struct ledger_tip tip;

	assert_ok(set(f->l, "mine", "1", &mine));
	foreign_commit(f, "theirs", "x");
	assert_ok(ledger_tip(f->l, "app", &tip));
	assert_int_equal(tip.version, 2); /* counted: git wrote no trailer */
	assert_string_equal(hex_of(&tip.commit), git(f, "rev-parse refs/kv/app"));
	assert_rc(set_expecting(f->l, "mine", "2", expect_tree(&mine.tip.tree), &res), LEDGER_ECONFLICT);
	/* Without a guard, or with one on its own key alone, nobody is in the way. */
	assert_ok(set_expecting(f->l, "mine", "2", (struct ledger_expect){LEDGER_EXPECT_BLOB, mine.blob, .path = "mine"},
				&res));
	foreign_commit(f, "more", "y");
	assert_ok(set(f->l, "mine", "3", &res));
	assert_int_equal(res.tip.version, 5);
	assert_string_equal(get(f->l, "theirs"), "x");
	assert_string_equal(get(f->l, "more"), "y");
	git(f, "pack-refs --all --prune");
	assert_ok(set(f->l, "mine", "4", &res));
	git(f, "repack -adq");
	git(f, "prune-packed");
	assert_string_equal(get(f->l, "theirs"), "x");
	foreign_commit(f, "packed", "z");
	git(f, "repack -adq && git prune-packed");
	assert_string_equal(get(f->l, "packed"), "z");
	assert_ok(set(f->l, "mine", "5", &res));
	assert_string_equal(git(f, "rev-list --count --first-parent refs/kv/app"), "8");
	assert_int_equal(res.tip.version, 8);
	git(f, "update-ref -d refs/kv/app");
	assert_rc(ledger_tip(f->l, "app", &tip), LEDGER_ENOTFOUND);
}

static void locked_by_another(void **state)
{
	struct fixture *f = *state;
	struct ledger_result res;

	assert_ok(set(f->l, "k", "1", NULL));
	f->l->lock_wait_ms = 50;
	git(f, "rev-parse HEAD >/dev/null 2>&1; touch refs/kv/app.lock");
	assert_rc(set(f->l, "k", "2", &res), LEDGER_ELOCKED);
	/* Another namespace is none of that lock's business. */
	assert_ok(ledger_ns_create(f->l, "free", &actor, NULL));
	assert_rc(ledger_ns_delete(f->l, "app", true, NULL, 0, NULL), LEDGER_ELOCKED);
	assert_rc(ledger_ns_rename(f->l, "free", "app", NULL, 0, NULL), LEDGER_ELOCKED);
	assert_string_equal(get(f->l, "k"), "1");
	git(f, "rev-parse HEAD >/dev/null 2>&1; rm refs/kv/app.lock");
	assert_ok(set(f->l, "k", "2", &res));
	assert_int_equal(res.tip.version, 2);
}

static void *unlock_later(void *arg)
{
	struct fixture *f = arg;

	for (int i = 0; i < 20; i++) { /* others' work goes on meanwhile */
		char key[8];

		snprintf(key, sizeof(key), "k%d", i);
		struct ledger_value *v = value_of(f->l, key);
		struct ledger_edit e = {.op = LEDGER_SET, .path = key, .kind = LEDGER_FILE, .value = v};
		struct ledger_change c = {.ns = "other", .edits = &e, .nedits = 1, .actor = actor, .create = true};

		assert_ok(ledger_commit(f->l, &c, NULL));
		ledger_value_unref(v);
	}
	git(f, "rev-parse HEAD >/dev/null 2>&1; rm refs/kv/app.lock");
	return NULL;
}

static void waits_for_a_lock(void **state)
{
	struct fixture *f = *state;
	struct ledger_result res;
	pthread_t t;

	assert_ok(set(f->l, "k", "1", NULL));
	git(f, "rev-parse HEAD >/dev/null 2>&1; touch refs/kv/app.lock");
	pthread_create(&t, NULL, unlock_later, f);
	assert_ok(set(f->l, "k", "2", &res));
	pthread_join(t, NULL);
	assert_int_equal(res.tip.version, 2);
	assert_string_equal(git(f, "rev-list --count refs/kv/other"), "20");
}

/* --- many threads --------------------------------------------------------------------------------------------------- */

enum { THREADS = 16, ROUNDS = 20 };

struct counter {
	struct ledger *l;
	unsigned conflicts;
};

static unsigned read_counter(struct ledger *l, struct ledger_tip *tip)
{
	struct ledger_entry e;
	struct ledger_value *v;
	unsigned n;

	assert_ok(ledger_tip(l, "app", tip));
	assert_ok(ledger_lookup(l, &tip->tree, "n", &e));
	assert_ok(ledger_value_get(l, &e.oid, &v));
	n = (unsigned)strtoul(ledger_value_data(v), NULL, 10);
	ledger_value_unref(v);
	return n;
}

static void *count_up(void *arg)
{
	struct counter *c = arg;

	for (int done = 0; done < ROUNDS;) {
		struct ledger_tip tip;
		char text[16];
		int rc;

		snprintf(text, sizeof(text), "%u", read_counter(c->l, &tip) + 1);
		rc = set_expecting(c->l, "n", text, (struct ledger_expect){.what = LEDGER_EXPECT_COMMIT, .oid = tip.commit},
				   NULL);
		if (rc != LEDGER_ECONFLICT)
			assert_ok(rc);
		rc ? c->conflicts++ : (unsigned)done++;
	}
	return NULL;
}

static void nothing_is_lost(void **state)
{
	struct fixture *f = *state;
	struct ledger *other = open_again(f);
	struct counter c[THREADS];
	pthread_t t[THREADS];
	unsigned conflicts = 0;

	assert_ok(set(f->l, "n", "0", NULL));
	for (int i = 0; i < THREADS; i++) {
		c[i] = (struct counter){i % 2 ? other : f->l, 0};
		assert_int_equal(pthread_create(&t[i], NULL, count_up, &c[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(t[i], NULL);
		conflicts += c[i].conflicts;
	}
	assert_string_equal(get(f->l, "n"), "320");
	assert_string_equal(git(f, "rev-list --count refs/kv/app"), "321");
	print_message("%d increments, %u conflicts\n", THREADS * ROUNDS, conflicts);
	ledger_free(other);
}

struct writer {
	struct fixture *f;
	struct ledger *l;
	int id;
};

/* Unguarded: appends to one key, sets one of its own, in one of three namespaces. */
static void *write_on(void *arg)
{
	static const char *const names[] = {"app", "b", "c/d"};
	struct writer *w = arg;

	for (int i = 0; i < ROUNDS; i++) {
		char path[16], line[32];

		snprintf(path, sizeof(path), "own%d", w->id);
		snprintf(line, sizeof(line), "%d %d\n", w->id, i);
		struct ledger_value *v = value_of(w->l, line);
		struct ledger_edit e[] = {{.op = LEDGER_APPEND, .path = "log", .kind = LEDGER_FILE, .value = v},
					  {.op = LEDGER_SET, .path = path, .kind = LEDGER_FILE, .value = v}};
		struct ledger_change c = {.ns = names[w->id % 3], .edits = e, .nedits = 2, .actor = actor, .create = true};

		assert_ok(ledger_commit(w->l, &c, NULL));
		ledger_value_unref(v);
	}
	return NULL;
}

static void unguarded_never_fails(void **state)
{
	struct fixture *f = *state;
	struct ledger *other = open_again(f);
	struct writer w[THREADS];
	pthread_t t[THREADS];

	for (int i = 0; i < THREADS; i++) {
		w[i] = (struct writer){f, i % 2 ? other : f->l, i};
		assert_int_equal(pthread_create(&t[i], NULL, write_on, &w[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	assert_string_equal(git(f, "show refs/kv/app:log | sort -u | wc -l"), "120");
	assert_string_equal(git(f, "show refs/kv/b:log | sort -u | wc -l"), "100");
	assert_string_equal(git(f, "show refs/kv/c/d:log | sort -u | wc -l"), "100");
	assert_string_equal(git(f, "rev-list --count refs/kv/app refs/kv/b refs/kv/c/d"), "320");
	assert_string_equal(git(f, "log -1 --format='%%(trailers:key=KV-Version,valueonly)' refs/kv/app"), "120\n");
	ledger_free(other);
}

#define test(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(second_loses),
		test(every_reason),
		test(all_must_hold),
		test(same_value_is_checked),
		test(expectation_before_conditions),
		test(absent_namespace),
		test(foreign_writer),
		test(locked_by_another),
		test(waits_for_a_lock),
		test(nothing_is_lost),
		test(unguarded_never_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
