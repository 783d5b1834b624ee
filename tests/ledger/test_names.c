/* SPDX-License-Identifier: MIT */
/* Names, object names, errors: all without a repository. */
#include "helper.h"

#include <errno.h>

static int check(const char *name)
{
	return ledger_name_check(name, strlen(name));
}

static void names_that_git_refuses(void **state)
{
	static const char *const bad[] = {".",
					  "..",
					  ".git",
					  ".GIT",
					  ".Git",
					  "git~1",
					  "GIT~1",
					  ".git ",
					  ".git.",
					  ".git . .",
					  ".git:x",
					  ".git::$INDEX_ALLOCATION",
					  "git~1.",
					  "git~1:x",
					  "x\\.git",
					  "a\\git~1",
					  ".g\xe2\x80\x8cit",
					  "\xe2\x80\x8d.git",
					  ".git\xef\xbb\xbf",
					  ".gi\xe2\x81\xaft",
					  ".git\xff",
					  ".git\\x"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (check(bad[i]) != LEDGER_EFORBIDDEN)
			fail_msg("'%s' is not refused", bad[i]);
}

static void names_that_git_takes(void **state)
{
	static const char *const good[] = {"a",          ".gita",        ".gi",    "git",  "git~2", "...",
					   ".git~",      "..git",        " ",      "\n",   "\x01",  "\xff",
					   ".gitignore", ".gitmodules",  ".kv",    "a\\b", "-",     "agit~1",
					   ".git-x",     "\xe2\x80\x8c", "git~1x", ".g it"};

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		if (check(good[i]))
			fail_msg("'%s' is refused: %s", good[i], ledger_errmsg());
}

static void names_malformed(void **state)
{
	char longname[257];

	memset(longname, 'x', sizeof(longname));
	assert_rc(ledger_name_check("", 0), LEDGER_EINVALID);
	assert_rc(ledger_name_check("a/b", 3), LEDGER_EINVALID);
	assert_rc(ledger_name_check("a\0b", 3), LEDGER_EINVALID);
	assert_ok(ledger_name_check(longname, 255));
	assert_rc(ledger_name_check(longname, 256), LEDGER_ENAMETOOLONG);
}

static void namespaces(void **state)
{
	static const char *const good[] = {"app", "team/app", "a.b", "@", "-x", "\xc3\xa4"};
	static const char *const bad[] = {"",   "/",  "a/",  "/a",   "a//b", "a..b", "a.lock", "a b",  "a~b",   "a^",  "a:b",
					  "a?", "a*", "a[b", "a\\b", "a.",   ".a",   "x/.y",   "a@{b", "a\x7f", "a\tb"};
	static const char *const forbidden[] = {".kv", "a/.kv", ".kv/a", ".git", "a/.GIT"};
	char longname[2000];

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		assert_ok(ledger_ns_check(good[i]));
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (ledger_ns_check(bad[i]) != LEDGER_EINVALID)
			fail_msg("'%s' is not refused", bad[i]);
	for (size_t i = 0; i < sizeof(forbidden) / sizeof(*forbidden); i++)
		assert_rc(ledger_ns_check(forbidden[i]), LEDGER_EFORBIDDEN);
	memset(longname, 'x', sizeof(longname));
	longname[1999] = '\0';
	assert_rc(ledger_ns_check(longname), LEDGER_ENAMETOOLONG);
	longname[251] = '\0';
	assert_rc(ledger_ns_check(longname), LEDGER_ENAMETOOLONG);
	longname[250] = '\0';
	assert_ok(ledger_ns_check(longname));
}

static void object_names(void **state)
{
	struct ledger_oid o;
	char buf[LEDGER_OID_HEXSIZE + 1];
	const char *hex = "0123456789abcdefABCDEF000000000000000042";

	assert_ok(ledger_oid_parse(&o, hex, 40));
	assert_string_equal(ledger_oid_fmt(buf, &o), "0123456789abcdefabcdef000000000000000042");
	assert_false(ledger_oid_is_zero(&o));
	assert_rc(ledger_oid_parse(&o, hex, 39), LEDGER_EINVALID);
	assert_rc(ledger_oid_parse(&o, "0123456789abcdefABCDEF00000000000000004g", 40), LEDGER_EINVALID);
	assert_rc(ledger_oid_parse(&o, "0123456789abcdefABCDEF000000000000000042 ", 41), LEDGER_EINVALID);
	assert_string_equal(ledger_oid_fmt(buf, &o), "0123456789abcdefabcdef000000000000000042");
}

static void error_tables(void **state)
{
	for (int code = 0; code >= LEDGER_EDEAD; code--) {
		assert_string_not_equal(ledger_error_name(code), "?");
		assert_true(strlen(ledger_strerror(code)) > 3);
		assert_true(code ? ledger_errno(code) > 0 : ledger_errno(code) == 0);
		assert_true(code ? ledger_exit_status(code) > 0 : ledger_exit_status(code) == 0);
	}
	assert_int_equal(ledger_errno(LEDGER_ECONFLICT), EAGAIN);
	assert_int_equal(ledger_errno(LEDGER_ELOCKED), EAGAIN);
	assert_int_equal(ledger_errno(LEDGER_EFORBIDDEN), EPERM);
	assert_int_equal(ledger_exit_status(LEDGER_ECONFLICT), 2);
	assert_int_equal(ledger_exit_status(LEDGER_ENOTFOUND), 1);
	assert_int_equal(ledger_exit_status(LEDGER_EINVALID), 4);
	assert_int_equal(ledger_exit_status(LEDGER_EIO), 5);
	assert_string_equal(ledger_error_name(7), "?");
	assert_string_equal(ledger_error_name(-1000), "?");
	assert_int_equal(ledger_errno(-1000), EIO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_that_git_refuses), cmocka_unit_test(names_that_git_takes),
		cmocka_unit_test(names_malformed),        cmocka_unit_test(namespaces),
		cmocka_unit_test(object_names),           cmocka_unit_test(error_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
