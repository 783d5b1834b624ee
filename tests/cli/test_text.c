/* SPDX-License-Identifier: MIT */
/* Keys as text, base64, numbers, options, expectations: the parts of `git kv` that read what others wrote. */
#include "opt.h"
#include "write.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
/* after the four that it wants */
#include <cmocka.h>

static void quoting(void **state)
{
	static const struct {
		const char *raw, *text;
	} rows[] = {
		{"", ""},
		{"a/b c", "a/b c"},
		{"a\"b", "\"a\\\"b\""},
		{"a\\b", "\"a\\\\b\""},
		{"\a\b\t\n\v\f\r", "\"\\a\\b\\t\\n\\v\\f\\r\""},
		{"\x01\x7f\xff", "\"\\001\\177\\377\""},
		{"\xc3\xbc", "\"\\303\\274\""},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char *text = quoted(rows[i].raw), *raw = unquoted(text);

		assert_string_equal(text, rows[i].text);
		assert_string_equal(raw, rows[i].raw);
		free(text);
		free(raw);
	}
}

static void every_byte_survives(void **state)
{
	char all[256], *text, *raw;

	for (int i = 1; i < 256; i++)
		all[i - 1] = (char)i;
	all[255] = '\0';
	text = quoted(all);
	raw = unquoted(text);
	assert_string_equal(raw, all);
	free(text);
	free(raw);
}

static void bad_quotes(void **state)
{
	static const char *const bad[] = {"\"",       "\"a",       "\"a\"b",    "\"\\\"",   "\"\\q\"",   "\"\\1\"",
					  "\"\\12\"", "\"\\400\"", "\"\\000\"", "\"\\18\"", "\"\\\\\\\""};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_null(unquoted(bad[i]));
}

static void base64(void **state)
{
	unsigned char data[64];
	size_t len;

	for (size_t n = 0; n < sizeof(data); n++) {
		char *text;
		void *back;

		for (size_t i = 0; i < n; i++)
			data[i] = (unsigned char)(i * 37 + n * 101);
		text = base64_encode(data, n);
		back = base64_decode(text, strlen(text), &len);
		assert_non_null(back);
		assert_int_equal(len, n);
		assert_memory_equal(back, data, n);
		free(text);
		free(back);
	}
}

static void bad_base64(void **state)
{
	static const char *const bad[] = {"A",    "AA",   "AAA",  "A===", "====",  "AA=A",    "=AAA",
					  "AAA-", "AA A", "AB==", "AAB=", "AAAA=", "AAAA===="};
	size_t len;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_null(base64_decode(bad[i], strlen(bad[i]), &len));
}

static void counts(void **state)
{
	static const char *const bad[] = {"", " 1", "+1", "-1", "1 ", "1x", "0x1", "18446744073709551616"};
	uint64_t n = 7;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_false(parse_count(bad[i], &n));
	assert_int_equal(n, 7);
	assert_true(parse_count("18446744073709551615", &n));
	assert_true(n == UINT64_MAX);
	assert_true(parse_count("010", &n));
	assert_int_equal(n, 10);
}

#define OID "0123456789abcdef0123456789abcdef01234567"

static void expectations(void **state)
{
	static const struct {
		const char *name, *value, *own;
		bool wire;
		int status;
		const char *path;
	} rows[] = {
		{"blob", OID, "k", false, 0, "k"},
		{"blob", "absent", "k", false, 0, "k"},
		{"blob", "a=b=absent", "k", false, 0, "a=b"},
		{"blob", "\"a\"=absent", "k", false, 0, "\"a\""},
		{"blob", "\"a\\n\"=absent", NULL, true, 0, "a\n"},
		{"blob", "absent", NULL, true, KV_USAGE, NULL},
		{"blob", "\"a=absent", NULL, true, KV_BADKEY, NULL},
		{"blob", "../x=absent", NULL, true, KV_BADKEY, NULL},
		{"tree", OID, NULL, true, 0, NULL},
		{"tree", OID "0", NULL, true, KV_USAGE, NULL},
		{"version", "0", NULL, true, KV_USAGE, NULL},
		{"version", "18446744073709551615", NULL, true, 0, NULL},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct expects e = {0};
		char *why = NULL;
		int status = expects_add(&e, rows[i].name, rows[i].value, rows[i].own, rows[i].wire, &why);

		assert_int_equal(status, rows[i].status);
		assert_int_equal(e.n, status == 0);
		assert_int_equal(why != NULL, status != 0);
		if (rows[i].path)
			assert_string_equal(e.v[0].path, rows[i].path);
		free(why);
		expects_release(&e);
	}
}

static void options(void **state)
{
	char *argv[] = {"set", "a", "--list=1", "-n5", "--list", "2", "b", "-n", "7", "--flag", "--json", "--", "--c", NULL};
	struct kv kv = {0};
	struct opt_list list = {0};
	bool flag = false;
	uint64_t n = 0;
	const struct opt opts[] = {{0, "list", OPT_LIST, &list, "X", ""},
				   {'n', "num", OPT_COUNT, &n, "N", ""},
				   {'f', "flag", OPT_FLAG, &flag, NULL, ""},
				   {0}};

	assert_int_equal(opt_parse(&kv, 13, argv, "usage", opts, false), 3);
	assert_string_equal(argv[1], "a");
	assert_string_equal(argv[2], "b");
	assert_string_equal(argv[3], "--c");
	assert_int_equal(n, 7);
	assert_true(flag && kv.json);
	assert_int_equal(list.n, 2);
	assert_string_equal(list.v[0].value, "1");
	assert_string_equal(list.v[1].value, "2");
	free(list.v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(quoting), cmocka_unit_test(every_byte_survives), cmocka_unit_test(bad_quotes),
		cmocka_unit_test(base64),  cmocka_unit_test(bad_base64),          cmocka_unit_test(counts),
		cmocka_unit_test(options), cmocka_unit_test(expectations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
