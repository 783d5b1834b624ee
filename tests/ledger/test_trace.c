/* SPDX-License-Identifier: MIT */
/* LEDGER_TRACE: one line for every public call.  And: the sentence of an error belongs to the call that failed last. */
#include "helper.h"

static char trace[300];

static void every_call_is_traced(void **state)
{
	struct fixture *f = *state;
	struct ledger_tip tip;
	struct ledger_expect x = {.what = LEDGER_EXPECT_VERSION, .version = 9};

	assert_ok(set(f->l, "a/b", "v", NULL));
	assert_rc(set_expecting(f->l, "a/b", "w", x, NULL), LEDGER_ECONFLICT);
	assert_rc(ledger_tip(f->l, "none", &tip), LEDGER_ENOTFOUND);
	assert_ok(ledger_ns_delete(f->l, "app", true, NULL, 0, NULL));
	git(f, "--version >/dev/null; grep -q 'ledger_open(.* init) = 0$' '%s'", trace);
	git(f, "--version >/dev/null; grep -q 'ledger_value_new(len=1) = 0$' '%s'", trace);
	git(f, "--version >/dev/null; grep -q 'ledger_commit(ns=app set(a/b .* changed) = 0$' '%s'", trace);
	git(f,
	    "--version >/dev/null; grep -q 'expect-version=9 .*conflict) = CONFLICT: version expected to be 9, it is 1$' "
	    "'%s'",
	    trace);
	git(f, "--version >/dev/null; grep -q 'ledger_tip(ns=none .*) = NOTFOUND: ' '%s'", trace);
	git(f, "--version >/dev/null; grep -q 'ledger_ns_delete(ns=app force) = 0$' '%s'", trace);
}

static void sentences(void **state)
{
	struct fixture *f = *state;
	struct ledger_entry e;
	struct ledger_tip tip;

	assert_ok(set(f->l, "k", "v", NULL));
	assert_rc(plain(f->l, LEDGER_DELETE, "none", NULL, 0), LEDGER_ENOTFOUND);
	assert_string_equal(ledger_errmsg(), "there is no 'none'");
	assert_ok(ledger_tip(f->l, "app", &tip));
	assert_string_equal(ledger_errmsg(), ledger_strerror(0));
	assert_rc(ledger_lookup(f->l, &tip.tree, "none", &e), LEDGER_ENOTFOUND);
	assert_string_equal(ledger_errmsg(), ledger_strerror(LEDGER_ENOTFOUND));
	assert_rc(ledger_tip(f->l, "bad\nname", &tip), LEDGER_EINVALID);
	assert_null(strchr(ledger_errmsg(), '\n'));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(every_call_is_traced, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(sentences, fixture_setup, fixture_teardown),
	};
	const char *tmp = getenv("TMPDIR");
	int fd, rc;

	snprintf(trace, sizeof(trace), "%s/ledger-trace-XXXXXX", tmp ? tmp : "/tmp");
	fd = mkstemp(trace);
	if (fd < 0)
		return 99;
	close(fd);
	setenv("LEDGER_TRACE", trace, 1);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(trace);
	return rc;
}
