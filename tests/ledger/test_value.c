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
	assert_int_equal(ledger_value_fd(v), -1);
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

static int file_of(struct fixture *f, size_t len)
{
	char path[320], *data = malloc(len);
	int fd;

	snprintf(path, sizeof(path), "%s/file", f->dir);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	for (size_t i = 0; i < len; i++)
		data[i] = (char)(i ^ i >> 9);
	assert_int_equal(write(fd, data, len), len);
	free(data);
	return fd;
}

static void from_files(void **state)
{
	static const size_t sizes[] = {0, 1, 4 << 20, (4 << 20) + 1, 9 << 20};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		struct ledger_result res;
		struct ledger_value *v, *back;
		struct ledger_edit e = {.op = LEDGER_SET, .path = "k", .kind = LEDGER_FILE};
		char *a = malloc(sizes[i] + 1), *b = malloc(sizes[i] + 1);
		uint64_t size;

		assert_ok(ledger_value_new_fd(f->l, file_of(f, sizes[i]), sizes[i], &v));
		assert_string_equal(hex_of(ledger_value_oid(v)), git(f, "hash-object '%s/file'", f->dir));
		assert_int_equal(ledger_value_data(v) == NULL, sizes[i] > 4 << 20);
		e.value = v;
		assert_ok(change1(f->l, e, NULL, &res));
		assert_ok(ledger_blob_size(f->l, &res.blob, &size));
		assert_int_equal(size, sizes[i]);
		assert_ok(ledger_blob_size(f->l, &res.blob, &size));
		assert_ok(ledger_value_get(f->l, &res.blob, &back));
		assert_int_equal(ledger_value_size(back), sizes[i]);
		assert_int_equal(ledger_value_pread(v, a, sizes[i], 0), sizes[i]);
		assert_int_equal(ledger_value_pread(back, b, sizes[i], 0), sizes[i]);
		assert_int_equal(memcmp(a, b, sizes[i]), 0);
		ledger_value_unref(v);
		ledger_value_unref(back);
		/* Also out of a pack. */
		git(f, "repack -adq");
		assert_ok(ledger_value_get(f->l, &res.blob, &back));
		assert_int_equal(ledger_value_pread(back, b, sizes[i], 0), sizes[i]);
		assert_int_equal(memcmp(a, b, sizes[i]), 0);
		ledger_value_unref(back);
		free(a);
		free(b);
	}
}

static void wrong_files(void **state)
{
	struct fixture *f = *state;
	struct ledger_value *v = NULL;
	int fd = file_of(f, 10);

	assert_rc(ledger_value_new_fd(f->l, fd, 11, &v), LEDGER_EINVALID);
	assert_int_equal(fcntl(fd, F_GETFD), -1); /* taken over, also on failure */
	fd = file_of(f, 5 << 20);
	assert_rc(ledger_value_new_fd(f->l, fd, 6 << 20, &v), LEDGER_EINVALID);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	assert_null(v);
}

static void limit(void **state)
{
	struct fixture *f = *state;
	struct ledger_options o = {.nosync = true, .value_limit = 10};
	struct ledger *l;
	struct ledger_value *v;
	struct ledger_edit e = {.op = LEDGER_APPEND, .path = "k", .kind = LEDGER_FILE};

	assert_ok(ledger_open(&l, f->repo, &o));
	assert_rc(ledger_value_new(l, "12345678901", 11, &v), LEDGER_ETOOBIG);
	assert_rc(ledger_value_new_fd(l, file_of(f, 11), 11, &v), LEDGER_ETOOBIG);
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
		test(in_memory), test(from_files), test(wrong_files), test(limit), test(not_a_blob),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
