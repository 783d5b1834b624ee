/* SPDX-License-Identifier: MIT */
/* Every kind of edit and every way in which it is refused. */
#include "helper.h"

#include <pthread.h>

static const char *tree_of(struct fixture *f)
{
	return git(f, "ls-tree -rt --full-tree --format='%%(objectmode) %%(path)' refs/kv/app");
}

static uint64_t version(struct fixture *f)
{
	struct ledger_tip t;

	assert_ok(ledger_tip(f->l, "app", &t));
	return t.version;
}

static void set_replaces(void **state)
{
	struct fixture *f = *state;
	struct ledger_result res;

	assert_ok(set(f->l, "a/b", "one\n", &res));
	assert_true(res.changed);
	assert_int_equal(res.tip.version, 1);
	assert_string_equal(git(f, "show refs/kv/app:a/b"), "one");
	assert_string_equal(git(f, "rev-parse refs/kv/app:a/b"), hex_of(&res.blob));
	assert_string_equal(git(f, "rev-parse refs/kv/app^{tree}"), hex_of(&res.tip.tree));
	assert_string_equal(git(f, "rev-parse refs/kv/app"), hex_of(&res.tip.commit));
	assert_ok(set(f->l, "a/b", "two\n", &res));
	assert_int_equal(res.tip.version, 2);
	assert_string_equal(get(f->l, "a/b"), "two\n");
	assert_rc(set(f->l, "a", "x", NULL), LEDGER_EISDIR);
	assert_rc(set(f->l, "a/b/c", "x", NULL), LEDGER_ENOTDIR);
	assert_int_equal(version(f), 2);
}

static void set_same_is_no_commit(void **state)
{
	struct fixture *f = *state;
	struct ledger_result first, again;

	assert_ok(set(f->l, "k", "v", &first));
	assert_ok(set(f->l, "k", "v", &again));
	assert_false(again.changed);
	assert_memory_equal(&first.tip.commit, &again.tip.commit, sizeof(first.tip.commit));
	assert_memory_equal(&first.blob, &again.blob, sizeof(first.blob));
	assert_string_equal(git(f, "rev-list --count refs/kv/app"), "1");
}

static void set_needs_parents(void **state)
{
	struct fixture *f = *state;
	struct ledger_value *v = value_of(f->l, "x");
	struct ledger_edit e = {.op = LEDGER_SET, .path = "no/k", .kind = LEDGER_FILE, .value = v};

	assert_ok(set(f->l, "there", "x", NULL));
	assert_rc(change1(f->l, e, NULL, NULL), LEDGER_ENOTFOUND);
	ledger_value_unref(v);
	assert_int_equal(version(f), 1);
}

static void kinds(void **state)
{
	struct fixture *f = *state;
	struct ledger_value *v = value_of(f->l, "target"), *w = value_of(f->l, "new"), *empty = value_of(f->l, "");
	struct ledger_edit e = {.op = LEDGER_SET, .path = "x", .kind = LEDGER_EXEC, .value = v};

	assert_ok(change1(f->l, e, NULL, NULL));
	e.flags = LEDGER_KEEP_KIND;
	e.kind = LEDGER_FILE;
	e.value = w;
	assert_ok(change1(f->l, e, NULL, NULL));
	assert_string_equal(tree_of(f), "100755 x");
	e.flags = 0;
	e.value = v;
	assert_ok(change1(f->l, e, NULL, NULL));
	e.path = "l";
	e.kind = LEDGER_LINK;
	assert_ok(change1(f->l, e, NULL, NULL));
	assert_string_equal(tree_of(f), "120000 l\n100644 x");
	e.path = ".gitmodules";
	assert_rc(change1(f->l, e, NULL, NULL), LEDGER_EFORBIDDEN);
	e.path = "m";
	e.value = empty;
	assert_rc(change1(f->l, e, NULL, NULL), LEDGER_EINVALID);
	e.kind = LEDGER_DIR;
	assert_rc(change1(f->l, e, NULL, NULL), LEDGER_EINVALID);
	e.kind = LEDGER_FILE;
	assert_ok(change1(f->l, e, NULL, NULL));
	assert_rc(plain(f->l, LEDGER_RENAME, "l", ".gitmodules", 0), LEDGER_EFORBIDDEN);
	ledger_value_unref(v);
	ledger_value_unref(w);
	ledger_value_unref(empty);
}

static void chmod_x(void **state)
{
	struct fixture *f = *state;
	struct ledger_edit e = {.op = LEDGER_CHMOD, .path = "d/k", .kind = LEDGER_EXEC};

	assert_ok(set(f->l, "d/k", "v", NULL));
	assert_ok(change1(f->l, e, NULL, NULL));
	assert_string_equal(tree_of(f), "040000 d\n100755 d/k");
	assert_ok(change1(f->l, e, NULL, NULL));
	assert_int_equal(version(f), 2);
	assert_string_equal(git(f, "log -1 --format=%%s refs/kv/app"), "chmod +x d/k");
	e.kind = LEDGER_FILE;
	assert_ok(change1(f->l, e, NULL, NULL));
	assert_string_equal(git(f, "log -1 --format=%%s refs/kv/app"), "chmod -x d/k");
	e.kind = LEDGER_LINK;
	assert_rc(change1(f->l, e, NULL, NULL), LEDGER_EINVALID);
	e.kind = LEDGER_EXEC;
	e.path = "d";
	assert_rc(change1(f->l, e, NULL, NULL), LEDGER_EISDIR);
	e.path = "n";
	assert_rc(change1(f->l, e, NULL, NULL), LEDGER_ENOTFOUND);
}

static int append(struct fixture *f, const char *path, const char *text, struct ledger_result *res)
{
	struct ledger_value *v = value_of(f->l, text);
	struct ledger_edit e = {.op = LEDGER_APPEND, .path = path, .kind = LEDGER_FILE, .value = v};
	int rc = change1(f->l, e, NULL, res);

	ledger_value_unref(v);
	return rc;
}

static void append_goes_behind(void **state)
{
	struct fixture *f = *state;
	struct ledger_result res;

	assert_ok(append(f, "log", "one\n", &res));
	assert_ok(append(f, "log", "two\n", &res));
	assert_string_equal(get(f->l, "log"), "one\ntwo\n");
	assert_string_equal(git(f, "rev-parse refs/kv/app:log"), hex_of(&res.blob));
	assert_ok(append(f, "log", "", &res));
	assert_false(res.changed);
	assert_ok(plain(f->l, LEDGER_MKDIR, "d", NULL, 0));
	assert_rc(append(f, "d", "x", NULL), LEDGER_EISDIR);
	assert_rc(append(f, "log/x", "x", NULL), LEDGER_ENOTDIR);
}

static void append_large(void **state)
{
	struct fixture *f = *state;
	size_t len = (5 << 20) + 3;
	char *big = malloc(len);
	struct ledger_value *v;
	struct ledger_result res;
	struct ledger_edit e = {.op = LEDGER_APPEND, .path = "big", .kind = LEDGER_FILE};

	for (size_t i = 0; i < len; i++)
		big[i] = (char)(i * 31 + i / 251);
	assert_ok(ledger_value_new(f->l, big, len, &v));
	e.value = v;
	assert_ok(change1(f->l, e, NULL, NULL));
	assert_ok(change1(f->l, e, NULL, NULL));
	assert_ok(append(f, "big", "tail", &res));
	ledger_value_unref(v);
	assert_ok(ledger_value_get(f->l, &res.blob, &v));
	assert_int_equal(ledger_value_size(v), 2 * len + 4);
	assert_null(ledger_value_data(v));
	for (int k = 0; k < 2; k++) {
		char *back = malloc(len);

		assert_int_equal(ledger_value_pread(v, back, len, (uint64_t)k * len), len);
		assert_memory_equal(back, big, len);
		free(back);
	}
	ledger_value_unref(v);
	free(big);
	assert_string_equal(git(f, "cat-file -s refs/kv/app:big"), "10485770");
}

static void *append_big(void *arg)
{
	struct fixture *f = arg;

	for (int i = 0; i < 3; i++)
		assert_ok(append(f, i % 2 ? "small" : "big", "0123456789", NULL));
	return NULL;
}

/* What was made beforehand on a value that is another by now is not taken. */
static void append_large_at_once(void **state)
{
	enum { THREADS = 6, SIZE = 5 << 20 };
	struct fixture *f = *state;
	char *big = calloc(1, SIZE);
	struct ledger_value *v;
	struct ledger_edit e = {.op = LEDGER_SET, .path = "big", .kind = LEDGER_FILE};
	pthread_t t[THREADS];

	assert_ok(ledger_value_new(f->l, big, SIZE, &v));
	free(big);
	e.value = v;
	assert_ok(change1(f->l, e, NULL, NULL));
	ledger_value_unref(v);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, append_big, f), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	assert_string_equal(git(f, "cat-file -s refs/kv/app:big"), "5243000");
	assert_string_equal(git(f, "cat-file -s refs/kv/app:small"), "60");
	assert_int_equal(version(f), 19);
}

static void delete_keeps_the_directory(void **state)
{
	struct fixture *f = *state;

	assert_ok(set(f->l, "d/e/k", "v", NULL));
	assert_rc(plain(f->l, LEDGER_DELETE, "d/e", NULL, 0), LEDGER_EISDIR);
	assert_rc(plain(f->l, LEDGER_DELETE, "d/x", NULL, 0), LEDGER_ENOTFOUND);
	assert_rc(plain(f->l, LEDGER_DELETE, "x/y", NULL, 0), LEDGER_ENOTFOUND);
	assert_rc(plain(f->l, LEDGER_DELETE, "d/e/k/z", NULL, 0), LEDGER_ENOTDIR);
	assert_ok(plain(f->l, LEDGER_DELETE, "x/y", NULL, LEDGER_MISSING_OK));
	assert_ok(plain(f->l, LEDGER_DELETE, "d/e/k/z", NULL, LEDGER_MISSING_OK));
	assert_int_equal(version(f), 1);
	assert_ok(plain(f->l, LEDGER_DELETE, "d/e/k", NULL, 0));
	assert_string_equal(tree_of(f), "040000 d\n040000 d/e");
	assert_string_equal(git(f, "log -1 --format=%%s refs/kv/app"), "delete d/e/k");
}

static void delete_prunes(void **state)
{
	struct fixture *f = *state;

	assert_ok(set(f->l, "d/e/k", "v", NULL));
	assert_ok(set(f->l, "d/f", "v", NULL));
	assert_ok(plain(f->l, LEDGER_DELETE, "d/e/k", NULL, LEDGER_PRUNE));
	assert_string_equal(tree_of(f), "040000 d\n100644 d/f");
	assert_ok(plain(f->l, LEDGER_DELETE, "d/f", NULL, LEDGER_PRUNE));
	assert_string_equal(tree_of(f), "");
	assert_int_equal(version(f), 4);
}

static void directories(void **state)
{
	struct fixture *f = *state;

	assert_ok(plain(f->l, LEDGER_MKDIR, "d", NULL, 0));
	assert_string_equal(git(f, "ls-tree refs/kv/app"), "040000 tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\td");
	assert_rc(plain(f->l, LEDGER_MKDIR, "d", NULL, 0), LEDGER_EEXISTS);
	assert_rc(plain(f->l, LEDGER_MKDIR, "x/y", NULL, 0), LEDGER_ENOTFOUND);
	assert_ok(plain(f->l, LEDGER_MKDIR, "x/y", NULL, LEDGER_PARENTS));
	assert_ok(set(f->l, "k", "v", NULL));
	assert_rc(plain(f->l, LEDGER_MKDIR, "k", NULL, 0), LEDGER_EEXISTS);
	assert_rc(plain(f->l, LEDGER_MKDIR, "k/d", NULL, 0), LEDGER_ENOTDIR);
	assert_rc(plain(f->l, LEDGER_RMDIR, "x", NULL, 0), LEDGER_ENOTEMPTY);
	assert_rc(plain(f->l, LEDGER_RMDIR, "k", NULL, 0), LEDGER_ENOTDIR);
	assert_rc(plain(f->l, LEDGER_RMDIR, "n", NULL, 0), LEDGER_ENOTFOUND);
	assert_ok(plain(f->l, LEDGER_RMDIR, "x/y", NULL, 0));
	assert_ok(plain(f->l, LEDGER_RMDIR, "x", NULL, 0));
	assert_ok(plain(f->l, LEDGER_RMDIR, "d", NULL, 0));
	assert_string_equal(tree_of(f), "100644 k");
}

static void rename_keys(void **state)
{
	struct fixture *f = *state;
	struct ledger_result res;

	assert_ok(set(f->l, "a", "1", NULL));
	assert_ok(set(f->l, "b", "2", NULL));
	assert_ok(set(f->l, "d/k", "3", NULL));
	assert_rc(plain(f->l, LEDGER_RENAME, "a", "b", LEDGER_NOREPLACE), LEDGER_EEXISTS);
	assert_rc(plain(f->l, LEDGER_RENAME, "n", "b", 0), LEDGER_ENOTFOUND);
	assert_rc(plain(f->l, LEDGER_RENAME, "a", "d", 0), LEDGER_EISDIR);
	assert_rc(plain(f->l, LEDGER_RENAME, "a", "x/y", 0), LEDGER_ENOTFOUND);
	assert_rc(plain(f->l, LEDGER_RENAME, "a", "b/y", 0), LEDGER_ENOTDIR);
	assert_rc(plain(f->l, LEDGER_RENAME, "a", NULL, 0), LEDGER_EINVALID);
	assert_ok(change1(f->l, (struct ledger_edit){.op = LEDGER_RENAME, .path = "a", .to = "a"}, NULL, &res));
	assert_false(res.changed);
	assert_ok(change1(f->l, (struct ledger_edit){.op = LEDGER_RENAME, .path = "a", .to = "b"}, NULL, &res));
	assert_true(res.changed);
	assert_string_equal(git(f, "rev-parse refs/kv/app:b"), hex_of(&res.blob));
	assert_ok(plain(f->l, LEDGER_RENAME, "b", "d/k", 0));
	assert_string_equal(tree_of(f), "040000 d\n100644 d/k");
	assert_string_equal(get(f->l, "d/k"), "1");
	assert_string_equal(git(f, "log -1 --format=%%s refs/kv/app"), "rename b -> d/k");
}

static void rename_same_content(void **state)
{
	struct fixture *f = *state;

	assert_ok(set(f->l, "a", "same", NULL));
	assert_ok(set(f->l, "b", "same", NULL));
	assert_ok(plain(f->l, LEDGER_EXCHANGE, "a", "b", 0));
	assert_int_equal(version(f), 2);
	assert_ok(plain(f->l, LEDGER_RENAME, "a", "b", 0));
	assert_string_equal(tree_of(f), "100644 b");
}

static void rename_directories(void **state)
{
	struct fixture *f = *state;

	assert_ok(set(f->l, "d/e/k", "1", NULL));
	assert_ok(set(f->l, "k", "2", NULL));
	assert_ok(plain(f->l, LEDGER_MKDIR, "empty", NULL, 0));
	assert_rc(plain(f->l, LEDGER_RENAME, "d", "d/x", 0), LEDGER_EINVALID);
	assert_rc(plain(f->l, LEDGER_RENAME, "d", "d/e/x", 0), LEDGER_EINVALID);
	assert_rc(plain(f->l, LEDGER_RENAME, "d", "k", 0), LEDGER_ENOTDIR);
	assert_rc(plain(f->l, LEDGER_RENAME, "empty", "d", 0), LEDGER_ENOTEMPTY);
	assert_rc(plain(f->l, LEDGER_RENAME, "d/e", "d", 0), LEDGER_ENOTEMPTY);
	assert_rc(plain(f->l, LEDGER_RENAME, "d/e/k", "d", 0), LEDGER_EISDIR);
	assert_ok(plain(f->l, LEDGER_RENAME, "d", "empty", 0));
	assert_string_equal(tree_of(f), "040000 empty\n040000 empty/e\n100644 empty/e/k\n100644 k");
	assert_ok(plain(f->l, LEDGER_RENAME, "empty/e", "dd", 0));
	assert_string_equal(tree_of(f), "040000 dd\n100644 dd/k\n040000 empty\n100644 k");
}

static void exchange(void **state)
{
	struct fixture *f = *state;

	assert_ok(set(f->l, "a", "1", NULL));
	assert_ok(set(f->l, "d/k", "2", NULL));
	assert_rc(plain(f->l, LEDGER_EXCHANGE, "a", "n", 0), LEDGER_ENOTFOUND);
	assert_rc(plain(f->l, LEDGER_EXCHANGE, "n", "a", 0), LEDGER_ENOTFOUND);
	assert_rc(plain(f->l, LEDGER_EXCHANGE, "d", "d/k", 0), LEDGER_EINVALID);
	assert_rc(plain(f->l, LEDGER_EXCHANGE, "d/k", "d", 0), LEDGER_EINVALID);
	assert_ok(plain(f->l, LEDGER_EXCHANGE, "a", "d", 0));
	assert_string_equal(tree_of(f), "040000 a\n100644 a/k\n100644 d");
	assert_string_equal(get(f->l, "d"), "1");
	assert_string_equal(git(f, "log -1 --format=%%s refs/kv/app"), "exchange a <-> d");
}

static void sorts_as_git(void **state)
{
	struct fixture *f = *state;

	/* "a" as a directory comes behind "a.b" and "a-b", as a key before them. */
	assert_ok(set(f->l, "a.b", "1", NULL));
	assert_ok(set(f->l, "a/x", "2", NULL));
	assert_ok(set(f->l, "a-b", "3", NULL));
	assert_ok(set(f->l, "a0", "4", NULL));
	assert_string_equal(git(f, "ls-tree --name-only refs/kv/app"), "a-b\na.b\na\na0");
	assert_ok(plain(f->l, LEDGER_DELETE, "a/x", NULL, LEDGER_PRUNE));
	assert_ok(set(f->l, "a", "5", NULL));
	assert_string_equal(git(f, "ls-tree --name-only refs/kv/app"), "a\na-b\na.b\na0");
}

static void several_are_one_commit(void **state)
{
	struct fixture *f = *state;
	struct ledger_value *v = value_of(f->l, "v");
	struct ledger_edit e[] = {
		{.op = LEDGER_SET, .path = "x/a", .kind = LEDGER_FILE, .value = v, .flags = LEDGER_PARENTS},
		{.op = LEDGER_RENAME, .path = "x", .to = "y"},
		{.op = LEDGER_APPEND, .path = "y/a", .kind = LEDGER_FILE, .value = v},
		{.op = LEDGER_MKDIR, .path = "y/d"},
		{.op = LEDGER_EXCHANGE, .path = "y/a", .to = "y/d"},
		{.op = LEDGER_DELETE, .path = "y/nothing"},
	};
	struct ledger_change c = {.ns = "app", .edits = e, .nedits = 6, .actor = actor, .create = true};
	struct ledger_result res;

	assert_rc(ledger_commit(f->l, &c, &res), LEDGER_ENOTFOUND);
	assert_int_not_equal(git_status(f, "rev-parse -q --verify refs/kv/app"), 0);
	c.nedits = 5;
	assert_ok(ledger_commit(f->l, &c, &res));
	assert_int_equal(res.tip.version, 1);
	assert_string_equal(tree_of(f), "040000 y\n040000 y/a\n100644 y/d");
	assert_string_equal(get(f->l, "y/d"), "vv");
	assert_string_equal(git(f, "log --format=%%s refs/kv/app"), "5 changes");
	ledger_value_unref(v);
}

static void bad_arguments(void **state)
{
	static const char *const paths[] = {"", "/a", "a/", "a//b"};
	static const char *const forbidden[] = {".", "a/..", "a/.git/b", ".kv", ".kv/x", "git~1"};
	struct fixture *f = *state;
	char longpath[5000];
	struct ledger_change none = {.ns = "app", .actor = actor};

	for (size_t i = 0; i < 4; i++)
		assert_rc(set(f->l, paths[i], "x", NULL), LEDGER_EINVALID);
	for (size_t i = 0; i < 6; i++)
		assert_rc(set(f->l, forbidden[i], "x", NULL), LEDGER_EFORBIDDEN);
	memset(longpath, 'x', sizeof(longpath));
	longpath[4999] = '\0';
	assert_rc(set(f->l, longpath, "x", NULL), LEDGER_ENAMETOOLONG);
	for (int i = 1; i < 4999; i += 2)
		longpath[i] = '/';
	assert_rc(set(f->l, longpath, "x", NULL), LEDGER_ENAMETOOLONG);
	longpath[4095] = '\0';
	assert_ok(set(f->l, longpath, "x", NULL));
	assert_rc(ledger_commit(f->l, &none, NULL), LEDGER_EINVALID);
	assert_rc(plain(f->l, (enum ledger_op)99, "a", NULL, 0), LEDGER_EINVALID);
	assert_rc(plain(f->l, LEDGER_SET, "a", NULL, 0), LEDGER_EINVALID);
	assert_ok(set(f->l, "d/.kv", "below the root it is a name like any other", NULL));
}

static void many_in_one(void **state)
{
	enum { N = 5000 };
	struct fixture *f = *state;
	struct ledger_edit *e = calloc(N, sizeof(*e));
	struct ledger_change c = {.ns = "app", .edits = e, .nedits = N, .actor = actor, .create = true};
	struct ledger_value *v = value_of(f->l, "v");
	struct ledger_result res;

	for (int i = 0; i < N; i++) {
		char path[32];

		snprintf(path, sizeof(path), "k%05d", (i * 7919) % N);
		e[i] = (struct ledger_edit){.op = LEDGER_SET, .path = strdup(path), .kind = LEDGER_FILE, .value = v};
	}
	assert_ok(ledger_commit(f->l, &c, &res));
	assert_string_equal(git(f, "ls-tree refs/kv/app | wc -l"), "5000");
	assert_true(git_status(f, "ls-tree --name-only refs/kv/app | LC_ALL=C sort -c") == 0);
	for (int i = 0; i < N; i++) {
		e[i].op = LEDGER_DELETE;
		e[i].value = NULL;
	}
	c.nedits = N - 1;
	assert_ok(ledger_commit(f->l, &c, &res));
	assert_string_equal(git(f, "ls-tree refs/kv/app | wc -l"), "1");
	for (int i = 0; i < N; i++)
		free((char *)e[i].path);
	free(e);
	ledger_value_unref(v);
}

#define test(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(set_replaces),
		test(set_same_is_no_commit),
		test(set_needs_parents),
		test(kinds),
		test(chmod_x),
		test(append_goes_behind),
		test(append_large),
		test(append_large_at_once),
		test(delete_keeps_the_directory),
		test(delete_prunes),
		test(directories),
		test(rename_keys),
		test(rename_same_content),
		test(rename_directories),
		test(exchange),
		test(sorts_as_git),
		test(several_are_one_commit),
		test(bad_arguments),
		test(many_in_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
