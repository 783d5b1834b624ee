/* SPDX-License-Identifier: MIT */
/* ledger_build(): commits for another repository; ledger_guard_*(): what that one asks of them. */
#include "helper.h"

#include <ledger/guard.h>

static struct ledger_result built(struct fixture *f, const char *key, const char *text, const struct ledger_oid *base,
				  bool create)
{
	struct ledger_value *v = value_of(f->l, text);
	struct ledger_edit e = {.op = LEDGER_SET, .path = key, .value = v, .kind = LEDGER_FILE};
	struct ledger_change c = {.ns = "app", .edits = &e, .nedits = 1, .actor = actor, .create = create};
	struct ledger_result res;

	assert_ok(ledger_build(f->l, &c, base, &res));
	ledger_value_unref(v);
	return res;
}

static void on_nothing(void **state)
{
	struct fixture *f = *state;
	struct ledger_oid none = {0};
	struct ledger_result res = built(f, "k", "1", &none, true);

	assert_true(res.changed);
	assert_int_equal(res.tip.version, 1);
	assert_string_equal(git(f, "cat-file blob %s:k", hex_of(&res.tip.commit)), "1");
	assert_string_equal(git(f, "rev-list --count %s", hex_of(&res.tip.commit)), "1");
	assert_string_equal(git(f, "for-each-ref"), "");
	/* Dangling by intention. */
	fixture_no_fsck();
}

static void on_a_commit_that_is_no_tip(void **state)
{
	struct fixture *f = *state;
	struct ledger_result first, second, res;
	struct ledger_tip tip;

	assert_ok(set(f->l, "k", "1", &first));
	assert_ok(set(f->l, "k", "2", &second));
	res = built(f, "other", "3", &first.tip.commit, false);
	assert_int_equal(res.tip.version, 2);
	assert_string_equal(git(f, "rev-parse %s^", hex_of(&res.tip.commit)), hex_of(&first.tip.commit));
	assert_string_equal(git(f, "cat-file blob %s:k", hex_of(&res.tip.commit)), "1");
	assert_ok(ledger_tip(f->l, "app", &tip));
	assert_true(ledger_oid_eq(&tip.commit, &second.tip.commit));
	/* The same state as the base: no commit. */
	res = built(f, "k", "1", &first.tip.commit, false);
	assert_false(res.changed);
	assert_true(ledger_oid_eq(&res.tip.commit, &first.tip.commit));
	fixture_no_fsck();
}

static void expectations_are_of_the_base(void **state)
{
	struct fixture *f = *state;
	struct ledger_result first, second, res;
	struct ledger_expect x = {.what = LEDGER_EXPECT_TREE};
	struct ledger_change c = {.ns = "app", .expects = &x, .nexpects = 1, .actor = actor};

	assert_ok(set(f->l, "k", "1", &first));
	assert_ok(set(f->l, "k", "2", &second));
	x.oid = first.tip.tree;
	assert_ok(ledger_build(f->l, &c, &first.tip.commit, &res));
	assert_false(res.changed);
	assert_rc(ledger_build(f->l, &c, &second.tip.commit, &res), LEDGER_ECONFLICT);
	assert_int_equal(res.reason, LEDGER_REASON_TREE);
	assert_true(ledger_oid_eq(&res.tip.tree, &second.tip.tree));
}

static void failures(void **state)
{
	struct fixture *f = *state;
	struct ledger_oid none = {0}, absent = oid_of("1111111111111111111111111111111111111111");
	struct ledger_edit e[] = {{.op = LEDGER_MKDIR, .path = "d"},
				  {.op = LEDGER_DELETE, .path = "no"},
				  {.op = LEDGER_DELETE, .path = "no too"}};
	struct ledger_change c = {.ns = "app", .edits = e, .nedits = 3, .actor = actor};
	struct ledger_result first, res;

	assert_ok(set(f->l, "k", "1", &first));
	assert_rc(ledger_build(f->l, &c, &none, NULL), LEDGER_ENOTFOUND);
	assert_rc(ledger_build(f->l, &c, &absent, NULL), LEDGER_ECORRUPT);
	assert_rc(ledger_build(f->l, &c, &first.tip.commit, &res), LEDGER_ENOTFOUND);
	assert_int_equal(res.reason, LEDGER_REASON_EDIT);
	assert_int_equal(res.index, 1);
	assert_rc(ledger_commit(f->l, &c, &res), LEDGER_ENOTFOUND);
	assert_int_equal(res.reason, LEDGER_REASON_EDIT);
	assert_int_equal(res.index, 1);
	assert_rc(ledger_tip(f->l, "app", &first.tip), 0);
	assert_int_equal(first.tip.version, 1);
}

static void guard(void **state)
{
	struct fixture *f = *state;
	struct ledger_result first, second;
	struct ledger_finding found = {0};
	struct ledger_guard *g;
	struct ledger_oid none = {0}, oid, merge;
	struct ledger_tip tip;
	char *value;

	assert_ok(set(f->l, "k", "1", &first));
	assert_ok(set(f->l, "k", "2", &second));
	merge = oid_of(git(f, "-c user.name=t -c user.email=t commit-tree -p %s -p %s %s -m x -m 'KV-Version: 3'",
			   hex_of(&second.tip.commit), hex_of(&first.tip.commit), hex_of(&first.tip.tree)));
	git(f, "config kv.x y");
	setenv("GIT_DIR", f->repo, 1);
	assert_ok(ledger_guard_open(&g));
	unsetenv("GIT_DIR");
	assert_ok(ledger_guard_chain(g, &none, &second.tip.commit, &found));
	assert_ok(ledger_guard_chain(g, &first.tip.commit, &second.tip.commit, &found));
	assert_rc(ledger_guard_chain(g, &second.tip.commit, &first.tip.commit, &found), LEDGER_EFORBIDDEN);
	assert_int_equal(found.rule, LEDGER_RULE_FORCE);
	assert_rc(ledger_guard_chain(g, &second.tip.commit, &merge, &found), LEDGER_EFORBIDDEN);
	assert_int_equal(found.rule, LEDGER_RULE_MERGE);
	assert_true(ledger_oid_eq(&found.commit, &merge));
	assert_rc(ledger_guard_chain(g, &none, &first.tip.tree, &found), LEDGER_EFORBIDDEN);
	assert_int_equal(found.rule, LEDGER_RULE_COMMIT);
	assert_ok(ledger_guard_tip(g, &second.tip.commit, &tip));
	assert_int_equal(tip.version, 2);
	assert_true(ledger_oid_eq(&tip.tree, &second.tip.tree));
	assert_rc(ledger_guard_tip(g, &first.tip.tree, &tip), LEDGER_ECORRUPT);
	assert_ok(ledger_guard_ref(g, "refs/kv/app", &oid));
	assert_true(ledger_oid_eq(&oid, &second.tip.commit));
	assert_ok(ledger_guard_ref(g, "refs/kv/no", &oid));
	assert_true(ledger_oid_is_zero(&oid));
	assert_ok(ledger_guard_blob(g, &second.tip.tree, "k", &oid));
	assert_true(ledger_oid_eq(&oid, &second.blob));
	assert_ok(ledger_guard_blob(g, &second.tip.tree, "k/x", &oid));
	assert_true(ledger_oid_is_zero(&oid));
	assert_ok(ledger_guard_config(g, "kv.x", &value));
	assert_string_equal(value, "y");
	free(value);
	assert_ok(ledger_guard_config(g, "kv.no", &value));
	assert_null(value);
	assert_string_equal(ledger_rule_name(LEDGER_RULE_TREE), "tree");
	assert_string_equal(ledger_rule_name((enum ledger_rule)99), "?");
	ledger_guard_free(g);
	ledger_guard_free(NULL);
	fixture_no_fsck();
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(on_nothing), TEST(on_a_commit_that_is_no_tip), TEST(expectations_are_of_the_base), TEST(failures),
		TEST(guard),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
