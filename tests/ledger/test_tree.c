/* SPDX-License-Identifier: MIT */
/* Trees: reading hostile ones, splicing new ones. */
#include "hash.h"
#include "helper.h"
#include "internal.h"

#include <fcntl.h>

/* --- raw trees ------------------------------------------------------------------------------------------------------ */

struct raw {
	unsigned char p[1 << 16];
	size_t len;
};

static void entry(struct raw *r, const char *mode, const char *name, const struct ledger_oid *oid)
{
	r->len += (size_t)sprintf((char *)r->p + r->len, "%s %s", mode, name) + 1;
	memcpy(r->p + r->len, oid->id, sizeof(oid->id));
	r->len += sizeof(oid->id);
}

/* The tree in the repository, as no git would have made it. */
static struct ledger_oid store_raw(struct fixture *f, const struct raw *r)
{
	char path[320];
	FILE *file;

	snprintf(path, sizeof(path), "%s/raw", f->dir);
	file = fopen(path, "w");
	assert_int_equal(fwrite(r->p, 1, r->len, file), r->len);
	fclose(file);
	return oid_of(git(f, "hash-object -t tree --literally -w '%s'", path));
}

static void point_at(struct fixture *f, const struct ledger_oid *tree)
{
	git(f, "update-ref refs/kv/app $(echo x | git -c user.name=x -c user.email=x@y commit-tree %s)", hex_of(tree));
}

static const char *listing(struct ledger *l, const struct ledger_oid *oid)
{
	static char out[8192];
	struct ledger_tree *t;
	struct ledger_entry e, again;
	size_t n = 0;

	out[0] = '\0';
	assert_ok(ledger_tree_get(l, oid, &t));
	for (size_t i = 0; i < ledger_tree_count(t); i++) {
		ledger_tree_at(t, i, &e);
		assert_int_equal(strlen(e.name), e.namelen);
		assert_ok(ledger_tree_find(t, e.name, e.namelen, &again));
		assert_memory_equal(&e, &again, sizeof(e));
		n += (size_t)snprintf(out + n, sizeof(out) - n, "%s:%d ", e.name, e.kind);
	}
	ledger_tree_unref(t);
	return out;
}

static void hostile_entries_are_hidden(void **state)
{
	struct fixture *f = *state;
	struct ledger_oid blob = oid_of(git(f, "hash-object -w --stdin </dev/null")), zero = {{0}}, commit = {{9}}, oid;
	struct raw r = {.len = 0};
	struct ledger_tree *t;
	struct ledger_entry e;
	char longname[300];

	fixture_no_fsck();
	memset(longname, 'x', 299);
	longname[299] = '\0';
	entry(&r, "100644", ".", &blob);
	entry(&r, "100644", "..", &blob);
	entry(&r, "100644", ".GiT", &blob);
	entry(&r, "100644", "a", &blob);
	entry(&r, "100755", "a", &blob);
	entry(&r, "100644", "a.b", &blob);
	entry(&r, "40000", "a", &hash_empty_tree);
	entry(&r, "100644", "b/c", &blob);
	entry(&r, "100644", "git~1", &blob);
	entry(&r, "100664", "group", &blob);
	entry(&r, "160000", "module", &commit);
	entry(&r, "100644", "null", &zero);
	entry(&r, "60000", "odd", &blob);
	entry(&r, "040000", "padded", &hash_empty_tree);
	entry(&r, "120000", "x", &blob);
	entry(&r, "100644", longname, &blob);
	oid = store_raw(f, &r);
	assert_string_equal(listing(f->l, &oid), "a:1 a.b:1 group:1 padded:4 x:3 ");
	assert_non_null(strstr(f->log, hex_of(&oid)));
	f->log[0] = '\0';
	listing(f->l, &oid);
	assert_string_equal(f->log, "");
	assert_ok(ledger_tree_get(f->l, &oid, &t));
	assert_rc(ledger_tree_find(t, "module", 6, &e), LEDGER_ENOTFOUND);
	assert_rc(ledger_tree_find(t, "..", 2, &e), LEDGER_ENOTFOUND);
	assert_rc(ledger_tree_find(t, "b/c", 3, &e), LEDGER_ENOTFOUND);
	assert_rc(ledger_tree_find(t, "", 0, &e), LEDGER_ENOTFOUND);
	ledger_tree_unref(t);
	assert_rc(ledger_lookup(f->l, &oid, "b/c", &e), LEDGER_ENOTFOUND);
	assert_rc(ledger_lookup(f->l, &oid, "a/c", &e), LEDGER_ENOTDIR);
	assert_ok(ledger_lookup(f->l, &oid, "padded", &e));
	assert_int_equal(e.kind, LEDGER_DIR);
	assert_null(e.name);
	assert_ok(ledger_lookup(f->l, &oid, "", &e));
	assert_memory_equal(&e.oid, &oid, sizeof(oid));
}

/* A change beside hidden entries leaves them; one onto their name is refused or, for a duplicate, ends it. */
static void hostile_trees_can_be_changed(void **state)
{
	struct fixture *f = *state;
	struct ledger_oid blob = oid_of(git(f, "hash-object -w --stdin </dev/null")), commit = {{9}}, oid;
	struct raw r = {.len = 0};

	fixture_no_fsck();
	entry(&r, "160000", "module", &commit);
	entry(&r, "100644", "zz", &blob);
	entry(&r, "100644", "dup", &blob); /* out of order, and twice */
	entry(&r, "100755", "dup", &blob);
	entry(&r, "100644", "d", &blob);
	entry(&r, "40000", "d", &hash_empty_tree);
	oid = store_raw(f, &r);
	point_at(f, &oid);
	assert_rc(set(f->l, "module", "x", NULL), LEDGER_EEXISTS);
	assert_rc(plain(f->l, LEDGER_MKDIR, "module", NULL, 0), LEDGER_EEXISTS);
	assert_rc(set(f->l, "module/x", "x", NULL), LEDGER_EEXISTS);
	assert_rc(plain(f->l, LEDGER_RENAME, "zz", "module", 0), LEDGER_EEXISTS);
	assert_rc(plain(f->l, LEDGER_DELETE, "module", NULL, 0), LEDGER_ENOTFOUND);
	assert_ok(plain(f->l, LEDGER_DELETE, "dup", NULL, 0));
	assert_ok(set(f->l, "d", "file", NULL));
	assert_string_equal(git(f, "ls-tree --format='%%(objectmode) %%(path)' refs/kv/app"),
			    "100644 d\n160000 module\n100644 zz");
	assert_ok(set(f->l, "e", "file", NULL));
	assert_ok(plain(f->l, LEDGER_DELETE, "zz", NULL, 0));
	assert_string_equal(git(f, "ls-tree --name-only refs/kv/app"), "d\ne\nmodule");
}

/* What is not shown keeps its directory: nothing of others' is thrown away unseen. */
static void hidden_entries_keep_a_directory(void **state)
{
	struct fixture *f = *state;
	struct ledger_oid commit = {{9}}, oid;
	struct raw inner = {.len = 0}, outer = {.len = 0};

	fixture_no_fsck();
	entry(&inner, "160000", "module", &commit);
	oid = store_raw(f, &inner);
	entry(&outer, "40000", "d", &oid);
	oid = store_raw(f, &outer);
	point_at(f, &oid);
	assert_rc(plain(f->l, LEDGER_RMDIR, "d", NULL, 0), LEDGER_ENOTEMPTY);
	assert_ok(set(f->l, "d/k", "v", NULL));
	assert_ok(plain(f->l, LEDGER_DELETE, "d/k", NULL, LEDGER_PRUNE));
	assert_string_equal(git(f, "ls-tree -r --name-only refs/kv/app"), "d/module");
}

static void malformed(void **state)
{
	static const char *const bad[] = {"100644",
					  "100644 name",
					  "100644 name\0short",
					  "x name\0aaaaaaaaaaaaaaaaaaaa",
					  " name\0aaaaaaaaaaaaaaaaaaaa",
					  "999999 n\0aaaaaaaaaaaaaaaaaaaa"};
	static const size_t len[] = {6, 11, 17, 27, 26, 29};
	struct fixture *f = *state;
	struct ledger_oid oid = {{1}};
	struct ledger_tree *t;

	for (size_t i = 0; i < sizeof(len) / sizeof(*len); i++) {
		void *copy = malloc(len[i]);

		memcpy(copy, bad[i], len[i]);
		assert_rc(tree_parse(&t, &oid, copy, len[i]), LEDGER_ECORRUPT);
	}
	assert_rc(ledger_tree_get(f->l, &oid, &t), LEDGER_ENOTFOUND);
	oid = oid_of(git(f, "hash-object -w --stdin </dev/null"));
	assert_rc(ledger_tree_get(f->l, &oid, &t), LEDGER_ECORRUPT);
}

/* A tree that is missing must not look like an absent key. */
static void missing_subtree(void **state)
{
	struct fixture *f = *state;
	struct ledger_oid gone = {{7}}, oid;
	struct ledger_entry e;
	struct raw r = {.len = 0};

	fixture_no_fsck();
	entry(&r, "40000", "d", &gone);
	oid = store_raw(f, &r);
	point_at(f, &oid);
	assert_rc(ledger_lookup(f->l, &oid, "d/k", &e), LEDGER_ECORRUPT);
	assert_rc(set(f->l, "d/k", "v", NULL), LEDGER_ECORRUPT);
	assert_rc(set_expecting(f->l, "x", "v", (struct ledger_expect){.what = LEDGER_EXPECT_ABSENT, .path = "d/k"}, NULL),
		  LEDGER_ECORRUPT);
	assert_ok(set(f->l, "x", "v", NULL));
}

/* --- splices -------------------------------------------------------------------------------------------------------- */

enum { NAMES = 40 };

static const char *name_no(int i)
{
	static const char *const stems[] = {"a", "a.", "a-b", "a0", "ab", "b", "a.b", "A", "\xc3\xa4", "z"};
	static char buf[4][32];
	static int turn;
	char *p = buf[turn++ & 3];

	snprintf(p, 32, "%s%.*s", stems[i % 10], i / 10, "xyz");
	return p;
}

static void check_delta(const struct ledger_tree *base, const struct ledger_tree *t, const struct tree_delta *d)
{
	assert_true(d->off + d->del <= base->rawlen);
	assert_int_equal(base->rawlen - d->del + d->inslen, t->rawlen);
	if (d->off)
		assert_memory_equal(base->raw, t->raw, d->off);
	if (base->rawlen - d->off - d->del)
		assert_memory_equal(base->raw + d->off + d->del, t->raw + d->off + d->inslen,
				    base->rawlen - d->off - d->del);
}

static void check_against(const struct ledger_tree *t, const enum ledger_kind *model)
{
	struct ledger_tree *parsed;
	struct ledger_entry e;
	void *copy = malloc(t->rawlen + 1);
	size_t count = 0;

	memcpy(copy, t->raw, t->rawlen);
	assert_ok(tree_parse(&parsed, &t->oid, copy, t->rawlen));
	assert_false(parsed->unsorted);
	assert_int_equal(parsed->n, t->n);
	assert_int_equal(parsed->nvis, t->nvis);
	for (uint32_t i = 0; i < t->n; i++) {
		assert_int_equal(parsed->ents[i].off, t->ents[i].off);
		assert_int_equal(parsed->ents[i].kind, t->ents[i].kind);
		assert_int_equal(parsed->ents[i].flags, t->ents[i].flags);
	}
	for (int i = 0; i < NAMES; i++) {
		int rc = ledger_tree_find(t, name_no(i), strlen(name_no(i)), &e);

		assert_int_equal(rc, model[i] ? 0 : LEDGER_ENOTFOUND);
		if (!rc)
			assert_int_equal(e.kind, model[i]);
		count += model[i] != 0;
	}
	assert_int_equal(ledger_tree_count(t), count);
	ledger_tree_unref(parsed);
}

static void random_splices(void **state)
{
	enum ledger_kind model[NAMES] = {0};
	struct ledger_oid zero = {{0}}, oid = {{0}};
	struct ledger_tree *t;
	unsigned seed = 1;

	assert_ok(tree_empty(&t, &zero));
	for (int round = 0; round < 3000; round++) {
		struct tree_change ch[8];
		size_t n = 1 + (size_t)rand_r(&seed) % 8;
		struct ledger_tree *next;
		struct tree_delta d;

		for (size_t k = 0; k < n; k++) {
			int i = (int)((unsigned)rand_r(&seed) % NAMES);

			for (size_t j = 0; j < k; j++)
				if (!strcmp(ch[j].name, name_no(i))) {
					i = (i + 1) % NAMES;
					j = (size_t)-1;
				}
			model[i] = (enum ledger_kind)(rand_r(&seed) % 5);
			oid.id[5] = (unsigned char)rand_r(&seed) | 1;
			ch[k] = (struct tree_change){strdup(name_no(i)), strlen(name_no(i)), model[i], oid};
		}
		assert_ok(tree_splice(t, ch, n, &next, &d));
		assert_false(d.whole);
		check_delta(t, next, &d);
		check_against(next, model);
		for (size_t k = 0; k < n; k++)
			free((char *)ch[k].name);
		ledger_tree_unref(t);
		t = next;
	}
	ledger_tree_unref(t);
}

static void splice_names_as_git_does(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < NAMES; i++) {
		char path[64];

		snprintf(path, sizeof(path), i % 3 ? "%s" : "%s/sub", name_no(i));
		assert_ok(set(f->l, path, "v", NULL));
	}
	assert_string_equal(git(f, "ls-tree refs/kv/app | git mktree"), git(f, "rev-parse refs/kv/app^{tree}"));
}

static void cache_is_bounded(void **state)
{
	struct treecache *c = treecache_new(100000, 0);
	struct ledger_oid zero = {{0}};
	struct ledger_tree *first = NULL, *t;

	for (int i = 0; i < 1000; i++) {
		struct tree_change ch[] = {
			{"name-of-some-length", 19, LEDGER_FILE, {{(unsigned char)i, (unsigned char)(i >> 8), 1}}}};
		struct ledger_tree *empty;
		struct tree_delta d;

		assert_ok(tree_empty(&empty, &zero));
		assert_ok(tree_splice(empty, ch, 1, &t, &d));
		treecache_put(c, t);
		treecache_put(c, t);
		if (!first)
			first = ledger_tree_ref(t);
		assert_ptr_equal(treecache_get(c, &t->oid), t);
		ledger_tree_unref(t);
		ledger_tree_unref(t);
		ledger_tree_unref(empty);
	}
	assert_null(treecache_get(c, &first->oid));
	treecache_put(c, first);
	t = treecache_get(c, &first->oid);
	assert_ptr_equal(t, first);
	ledger_tree_unref(t);
	ledger_tree_unref(first);
	treecache_free(c);
}

/* A tree of `n` entries. */
static struct ledger_tree *tree_of(size_t n)
{
	struct tree_change *ch = calloc(n, sizeof(*ch));
	struct ledger_tree *empty, *t;
	struct ledger_oid zero = {{0}};
	struct tree_delta d;

	for (size_t i = 0; i < n; i++) {
		char name[16];

		snprintf(name, sizeof(name), "%08zu", i);
		ch[i] = (struct tree_change){strdup(name), 8, LEDGER_FILE, {{1}}};
	}
	assert_ok(tree_empty(&empty, &zero));
	assert_ok(tree_splice(empty, ch, n, &t, &d));
	ledger_tree_unref(empty);
	for (size_t i = 0; i < n; i++)
		free((char *)ch[i].name);
	free(ch);
	return t;
}

static bool is_kept(struct treecache *c, struct ledger_tree *t)
{
	struct ledger_tree *got = treecache_get(c, &t->oid);

	ledger_tree_unref(got);
	return got == t;
}

static void large_trees_do_not_drive_out_the_others(void **state)
{
	struct ledger_tree *small = tree_of(10), *large[3], *huge = tree_of(1000);
	struct treecache *c = treecache_new(4 * tree_footprint(small), 5 * tree_footprint(huge) / 2 - 1);

	treecache_put(c, small);
	for (size_t i = 0; i < 3; i++) {
		large[i] = tree_of(990 + i);
		treecache_put(c, large[i]);
		assert_true(is_kept(c, large[i]));
	}
	assert_true(is_kept(c, small));
	assert_false(is_kept(c, large[0]));
	assert_true(is_kept(c, large[1]));
	treecache_free(c);

	c = treecache_new(4 * tree_footprint(small), 3 * tree_footprint(huge) / 2);
	treecache_put(c, huge);
	assert_false(is_kept(c, huge));
	treecache_free(c);
	for (size_t i = 0; i < 3; i++)
		ledger_tree_unref(large[i]);
	ledger_tree_unref(small);
	ledger_tree_unref(huge);
}

#define test(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(hostile_entries_are_hidden),
		test(hostile_trees_can_be_changed),
		test(hidden_entries_keep_a_directory),
		test(malformed),
		test(missing_subtree),
		cmocka_unit_test(random_splices),
		test(splice_names_as_git_does),
		cmocka_unit_test(cache_is_bounded),
		cmocka_unit_test(large_trees_do_not_drive_out_the_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
