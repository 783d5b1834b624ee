/* SPDX-License-Identifier: MIT */
/* Values: in memory, in files, their names, their limits. */
#include "helper.h"

#include <fcntl.h>

static void in_memory(void **state)
{
	struct fixture *f = *state;
	struct ledger_value *v, *w;
	char buf[8] = "xxxxxxx";

	assert_ok(ledger_value_new(f->l, "he\0lo", 5, &v));
	assert_int_equal(ledger_value_size(v), 5);
	assert_string_equal(hex_of(ledger_value_oid(v)), "8f9ec25ef0d8645d23e029190de1d99d965a0dc5");
	assert_memory_equal(ledger_value_data(v), "he\0lo", 5);
	assert_int_equal(ledger_value_pread(v, buf, 3, 1), 3);
	assert_memory_equal(buf, "e\0lxxxx", 7);
	assert_int_equal(ledger_value_pread(v, buf, 8, 3), 2);
	assert_int_equal(ledger_value_pread(v, buf, 8, 5), 0);
	assert_int_equal(ledger_value_pread(v, buf, 8, UINT64_MAX), 0);
	w = ledger_value_ref(v);
	ledger_value_unref(v);
	assert_int_equal(ledger_value_size(w), 5);
	ledger_value_unref(w);
	ledger_value_unref(NULL);
	assert_ok(ledger_value_new(f->l, NULL, 0, &v));
	assert_string_equal(hex_of(ledger_value_oid(v)), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
	ledger_value_unref(v);
}

static char *bytes_of(size_t len)
{
	char *data = malloc(len + 1);

	for (size_t i = 0; i < len; i++)
		data[i] = (char)(i ^ i >> 9);
	return data;
}

/* What stock git calls these bytes. */
static const char *git_name(struct fixture *f, const char *data, size_t len)
{
	char path[320];
	FILE *file;

	snprintf(path, sizeof(path), "%s/file", f->dir);
	file = fopen(path, "w");
	assert_true(file && fwrite(data, 1, len, file) == len && fclose(file) == 0);
	return git(f, "hash-object '%s'", path);
}

static void commit_value(struct fixture *f, struct ledger_value *v, struct ledger_result *res)
{
	struct ledger_edit e = {.op = LEDGER_SET, .path = "k", .kind = LEDGER_FILE, .value = v};

	assert_ok(change1(f->l, e, NULL, res));
}

static void same_bytes(struct ledger_value *v, const char *data, size_t len)
{
	char *back = malloc(len + 1);

	assert_int_equal(ledger_value_size(v), len);
	assert_int_equal(ledger_value_pread(v, back, len + 1, 0), len);
	assert_memory_equal(back, data, len);
	for (size_t at = 1; at < len; at = at * 2 + 65533) {
		size_t part = len - at < 200000 ? len - at : 200000;

		assert_int_equal(ledger_value_pread(v, back, 200000, at), part);
		assert_memory_equal(back, data + at, part);
	}
	free(back);
}

/* Sizes around what is kept in memory, around full blocks, and where the length of an entry's head changes. */
static void from_drafts(void **state)
{
	static const size_t sizes[] = {0,
				       1,
				       4 << 20,
				       (4 << 20) + 1,
				       9 << 20,
				       65 * 65535,
				       65 * 65535 + 1,
				       513 * 65535,
				       (32 << 20) - 1,
				       (32 << 20) + 7};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		char *data = bytes_of(sizes[i]);
		struct ledger_draft *d;
		struct ledger_result res;
		struct ledger_value *v, *back;
		uint64_t size;

		assert_ok(ledger_draft_new(f->l, &d));
		for (size_t at = 0; at < sizes[i]; at += 1 << 20)
			assert_ok(ledger_draft_pwrite(d, data + at, sizes[i] - at < 1 << 20 ? sizes[i] - at : 1 << 20, at));
		assert_ok(ledger_draft_value(d, &v));
		assert_string_equal(hex_of(ledger_value_oid(v)), git_name(f, data, sizes[i]));
		assert_int_equal(ledger_value_data(v) == NULL, sizes[i] > 4 << 20);
		same_bytes(v, data, sizes[i]);
		commit_value(f, v, &res);
		assert_ok(ledger_blob_size(f->l, &res.blob, &size));
		assert_int_equal(size, sizes[i]);
		assert_ok(ledger_value_get(f->l, &res.blob, &back));
		same_bytes(back, data, sizes[i]);
		ledger_draft_free(d);
		same_bytes(v, data, sizes[i]);
		ledger_value_unref(v);
		/* Also out of git's own pack; and what is open stays readable. */
		git(f, "repack -adq");
		same_bytes(back, data, sizes[i]);
		ledger_value_unref(back);
		assert_ok(ledger_value_get(f->l, &res.blob, &back));
		same_bytes(back, data, sizes[i]);
		ledger_value_unref(back);
		free(data);
	}
	git(f, "fsck --full --strict");
}

static void flip(char *data, struct ledger_draft *d, size_t at, size_t len, char c)
{
	memset(data + at, c, len);
	assert_ok(ledger_draft_pwrite(d, data + at, len, at));
}

/* Written out of order, with gaps, cut and made longer again, and gone on with after it was a value. */
static void draft_in_any_order(void **state)
{
	enum { LEN = (6 << 20) + 12345 };
	struct fixture *f = *state;
	char *data = calloc(1, LEN), *first = malloc(LEN);
	struct ledger_draft *d;
	struct ledger_value *v[3];
	struct ledger_result res;

	assert_ok(ledger_draft_new(f->l, &d));
	flip(data, d, LEN - 10, 10, 'z');
	flip(data, d, 65530, 20, 'a');
	flip(data, d, 3 << 20, 1 << 20, 'b');
	assert_ok(ledger_draft_truncate(d, 65540 + (3 << 20)));
	memset(data + 65540 + (3 << 20), 0, LEN - 65540 - (3 << 20));
	assert_ok(ledger_draft_truncate(d, LEN));
	assert_int_equal(ledger_draft_size(d), LEN);
	assert_ok(ledger_draft_value(d, &v[0]));
	memcpy(first, data, LEN);
	assert_string_equal(hex_of(ledger_value_oid(v[0])), git_name(f, data, LEN));
	/* The value keeps what it has, committed or not. */
	flip(data, d, 100, 5, 'c');
	same_bytes(v[0], first, LEN);
	commit_value(f, v[0], &res);
	assert_ok(ledger_draft_value(d, &v[1]));
	commit_value(f, v[1], &res);
	flip(data, d, 200, 5, 'd');
	assert_ok(ledger_draft_value(d, &v[2]));
	ledger_value_unref(v[2]); /* nobody has it: it is gone on with in place, longer by a gap */
	assert_ok(ledger_draft_truncate(d, LEN - 100));
	memset(data + LEN - 100, 0, 100);
	assert_ok(ledger_draft_truncate(d, LEN));
	assert_ok(ledger_draft_value(d, &v[2]));
	assert_string_equal(hex_of(ledger_value_oid(v[2])), git_name(f, data, LEN));
	commit_value(f, v[2], &res);
	git(f, "fsck --full --strict");
	same_bytes(v[2], data, LEN);
	ledger_draft_free(d);
	for (int i = 0; i < 3; i++)
		ledger_value_unref(v[i]);
	free(data);
	free(first);
}

/* A guess of the size changes nothing, right or wrong. */
static void guessed_sizes(void **state)
{
	enum { LEN = (5 << 20) + 777 };
	static const uint64_t guesses[] = {LEN, LEN + 1, LEN - 1, 4 << 20, 400 << 10, 1ull << 39};
	struct fixture *f = *state;
	char *data = bytes_of(LEN), want[41];

	snprintf(want, sizeof(want), "%s", git_name(f, data, LEN));
	for (size_t i = 0; i < sizeof(guesses) / sizeof(*guesses); i++) {
		for (int back = 0; back < 3; back++) {
			struct ledger_draft *d;
			struct ledger_value *v;
			struct ledger_result res;

			assert_ok(ledger_draft_new(f->l, &d));
			for (size_t at = 0; at < LEN; at += 100000) {
				if (at == 300000)
					ledger_draft_expect(d, guesses[i]);
				if (at == 4 * 1000000 && back == 1)
					assert_ok(ledger_draft_pwrite(d, data + 1000, 5, 1000));
				if (at == 3 * 1000000 && back == 2)
					assert_ok(ledger_draft_pwrite(d, "x", 1, 2999999));
				assert_ok(ledger_draft_pwrite(d, data + at, LEN - at < 100000 ? LEN - at : 100000, at));
			}
			if (back == 2)
				assert_ok(ledger_draft_pwrite(d, data + 2999999, 1, 2999999));
			assert_ok(ledger_draft_value(d, &v));
			assert_string_equal(hex_of(ledger_value_oid(v)), want);
			ledger_draft_free(d);
			commit_value(f, v, &res);
			ledger_value_unref(v);
		}
	}
	git(f, "fsck --full --strict");
	free(data);
}

/* What is never ended leaves no thread behind. */
static void guessed_and_dropped(void **state)
{
	struct fixture *f = *state;
	struct ledger_draft *d;
	char *data = bytes_of(3 << 20);

	for (int i = 0; i < 4; i++) {
		assert_ok(ledger_draft_new(f->l, &d));
		ledger_draft_expect(d, 6 << 20);
		assert_ok(ledger_draft_pwrite(d, data, 3 << 20, 0));
		if (i % 2)
			assert_ok(ledger_draft_truncate(d, 10));
		ledger_draft_free(d);
	}
	free(data);
}

static size_t packs(struct fixture *f)
{
	return (size_t)atoi(git(f, "count-objects -v | sed -n 's/^packs: //p'"));
}

/* What is refused before a group names it was never there; what a group named stays. */
static void refused_is_not_shown(void **state)
{
	enum { LEN = 5 << 20 };
	struct fixture *f = *state;
	struct ledger_expect x = {.path = "k", .what = LEDGER_EXPECT_BLOB, .oid = {{1}}};
	struct ledger_edit e = {.op = LEDGER_SET, .path = "k", .kind = LEDGER_FILE};
	char *data = bytes_of(LEN);
	struct ledger_draft *d;
	size_t before;

	assert_ok(ledger_draft_new(f->l, &d));
	assert_ok(ledger_draft_pwrite(d, data, LEN, 0));
	assert_ok(ledger_draft_value(d, &e.value));
	assert_ok(set(f->l, "k", "v", NULL));
	before = packs(f);
	assert_rc(change1(f->l, e, &x, NULL), LEDGER_ECONFLICT);
	assert_int_equal(packs(f), before);
	assert_ok(change1(f->l, e, NULL, NULL));
	assert_true(packs(f) > before);
	git(f, "fsck --full --strict");
	ledger_value_unref(e.value);
	ledger_draft_free(d);
	free(data);
}

static void limit(void **state)
{
	struct fixture *f = *state;
	struct ledger_options o = {.nosync = true, .value_limit = 10};
	struct ledger *l;
	struct ledger_draft *d;
	struct ledger_value *v;
	struct ledger_edit e = {.op = LEDGER_APPEND, .path = "k", .kind = LEDGER_FILE};

	assert_ok(ledger_open(&l, f->repo, &o));
	assert_rc(ledger_value_new(l, "12345678901", 11, &v), LEDGER_ETOOBIG);
	assert_ok(ledger_draft_new(l, &d));
	assert_ok(ledger_draft_pwrite(d, "1234567890", 10, 0));
	assert_rc(ledger_draft_pwrite(d, "1", 1, 10), LEDGER_ETOOBIG);
	assert_rc(ledger_draft_pwrite(d, "1", 1, UINT64_MAX), LEDGER_ETOOBIG);
	assert_rc(ledger_draft_truncate(d, 11), LEDGER_ETOOBIG);
	assert_int_equal(ledger_draft_size(d), 10);
	ledger_draft_free(d);
	assert_ok(ledger_value_new(l, "123456", 6, &v));
	e.value = v;
	assert_ok(change1(l, e, NULL, NULL));
	assert_rc(change1(l, e, NULL, NULL), LEDGER_ETOOBIG);
	assert_string_equal(get(l, "k"), "123456");
	ledger_value_unref(v);
	ledger_free(l);
}

static void not_a_blob(void **state)
{
	struct fixture *f = *state;
	struct ledger_result res;
	struct ledger_oid none = {{3}};
	struct ledger_value *v;
	uint64_t size;

	assert_ok(set(f->l, "k", "v", &res));
	assert_rc(ledger_value_get(f->l, &res.tip.tree, &v), LEDGER_ECORRUPT);
	assert_rc(ledger_blob_size(f->l, &res.tip.commit, &size), LEDGER_ECORRUPT);
	assert_rc(ledger_value_get(f->l, &none, &v), LEDGER_ENOTFOUND);
	assert_rc(ledger_blob_size(f->l, &none, &size), LEDGER_ENOTFOUND);
}

#define test(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(in_memory),     test(from_drafts),         test(draft_in_any_order),
		test(guessed_sizes), test(guessed_and_dropped), test(refused_is_not_shown),
		test(limit),         test(not_a_blob),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
