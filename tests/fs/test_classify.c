/* SPDX-License-Identifier: MIT */
#include "classify.h"
#include "unit.h"
#include <string.h>

static enum name_class ask(struct classify *c, const char *name)
{
	return classify_name(c, name, strlen(name));
}

static void builtin_names(void **state)
{
	static const struct {
		const char *name;
		enum name_class class;
	} want[] = {
		{".key.swp", NAME_SCRATCH},
		{".key.swx", NAME_SCRATCH},
		{".key.swpx", NAME_SCRATCH},
		{".key.swapp", NAME_KEY},
		{".#key", NAME_SCRATCH},
		{"#key#", NAME_SCRATCH},
		{"##", NAME_SCRATCH},
		{"#", NAME_KEY},
		{"key~", NAME_SCRATCH},
		{"~key", NAME_KEY},
		{".goutputstream-AB12CD", NAME_SCRATCH},
		{".goutputstream", NAME_KEY},
		{".nfs0000001", NAME_SCRATCH},
		{".fuse_hidden0001", NAME_SCRATCH},
		{".~lock.a.odt#", NAME_SCRATCH},
		{".~lock.a.odt", NAME_KEY},
		{"sedAb12Cd", NAME_PASSING},
		{"sedAb12C", NAME_KEY},
		{"sedAb12Cde", NAME_KEY},
		{"4913", NAME_PASSING},
		{"14913", NAME_KEY},
		{".key.Ab12Cd", NAME_PASSING},
		{"key.Ab12Cd", NAME_PASSING},
		{"tmpabcd1234", NAME_PASSING},
		{"tmpabc", NAME_KEY},
		{"a.tmp", NAME_PASSING},
		{".tmp", NAME_PASSING},
		{"HEAD.lock", NAME_PASSING},
		{"XXiTAxro", NAME_PASSING},
		{"Cu9jIOVT", NAME_PASSING},
		{"zibv20Ek", NAME_PASSING},
		{"tmp.MqYVvRj93E", NAME_PASSING},
		{"package.json.2718281828", NAME_PASSING},
		{"package.json.271828182", NAME_PASSING},
		{"package.json.27182818", NAME_KEY},
		{"package.json.271828182x", NAME_KEY},
		{"f.vsctmp", NAME_PASSING},
		{"f___jb_tmp___", NAME_SCRATCH},
		{"f___jb_old___", NAME_SCRATCH},
		{"base.db-journal", NAME_SCRATCH},
		{"base.db-shm", NAME_SCRATCH},
		{"base.db-wal", NAME_KEY},
		{".~tmp~", NAME_SCRATCH},
		{"key", NAME_KEY},
		{"key.txt", NAME_KEY},
		{".hide", NAME_KEY},
		{".hidden", NAME_PASSING},
		{"", NAME_KEY},
	};
	struct classify *c;
	size_t i;

	(void)state;
	assert_int_equal(classify_new(&c), 0);
	for (i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		if (ask(c, want[i].name) != want[i].class)
			fail_msg("'%s' is %d", want[i].name, ask(c, want[i].name));
	}
	assert_int_equal(classify_name(c, "key~more", 4), NAME_SCRATCH); /* length counts, not the NUL */
	classify_free(c);
}

static void single_names(void **state)
{
	(void)state;
	assert_true(classify_single("a-wal", 5));
	assert_true(classify_single("a-shm", 5));
	assert_false(classify_single("a-walk", 6));
	assert_false(classify_single("wal", 3));
}

static void configured_names(void **state)
{
	struct classify *c;

	(void)state;
	assert_int_equal(classify_new(&c), 0);
	assert_int_equal(classify_scratch(c, "*.bak"), 0);
	assert_int_equal(ask(c, "a.bak"), NAME_SCRATCH);
	assert_int_equal(classify_scratch(c, "-*.bak"), 0);
	assert_int_equal(ask(c, "a.bak"), NAME_KEY);
	assert_int_equal(classify_scratch(c, "-*~"), 0); /* a built-in one */
	assert_int_equal(ask(c, "a~"), NAME_KEY);
	assert_int_equal(classify_scratch(c, "*~"), 0); /* and back: later values win */
	assert_int_equal(ask(c, "a~"), NAME_SCRATCH);
	assert_int_equal(classify_passing(c, "part-*"), 0);
	assert_int_equal(ask(c, "part-1"), NAME_PASSING);
	assert_int_equal(classify_scratch(c, "part-1"), 0); /* on both lists */
	assert_int_equal(ask(c, "part-1"), NAME_SCRATCH);
	assert_int_equal(classify_passing(c, "-4913"), 0);
	assert_int_equal(ask(c, "4913"), NAME_KEY);
	assert_int_equal(classify_passing(c, "-never-there"), 0);
	assert_int_equal(classify_passing(c, ""), 0);
	assert_int_equal(classify_passing(c, "-"), 0);
	assert_int_equal(classify_passing(c, "a/b*"), 0);
	assert_int_equal(ask(c, "a"), NAME_KEY);
	assert_int_equal(ask(c, ""), NAME_KEY);
	classify_free(c);
	classify_free(NULL);
}

static void matching(void **state)
{
	char name[256];

	(void)state;
	assert_true(classify_match("a*b*c", "aXXbYYbZc", 9));
	assert_false(classify_match("a*b*c", "aXXbYYbZ", 8));
	assert_true(classify_match("*", "", 0));
	assert_true(classify_match("**", "x", 1));
	assert_false(classify_match("?", "", 0));
	assert_false(classify_match("", "x", 1));
	assert_true(classify_match("[x]", "[x]", 3)); /* no brackets but one, no escapes */
	assert_true(classify_match("a[0-9]*", "a7x", 3));
	assert_false(classify_match("a[0-9]*", "ax7", 3));
	assert_true(classify_match("*.[0-9][0-9]", "1.2.34", 6));
	assert_false(classify_match("[0-9]", "[0-9]", 5));
	assert_false(classify_match("[0-9]", "", 0));
	assert_false(classify_match("[x]", "x", 1));
	/* The worst there is stays quadratic. */
	memset(name, 'a', sizeof(name));
	assert_false(classify_match("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", name, sizeof(name)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(builtin_names),
		cmocka_unit_test(configured_names),
		cmocka_unit_test(matching),
		cmocka_unit_test(single_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
