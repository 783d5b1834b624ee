/* SPDX-License-Identifier: MIT */
/* Namespaces as a whole: create, list, delete, rename, restore; what stands in their way. */
#include "helper.h"

static void create(void **state)
{
	struct fixture *f = *state;
	struct ledger_tip tip, again;

	assert_ok(ledger_ns_create(f->l, "team/app", &actor, &tip));
	assert_int_equal(tip.version, 1);
	assert_string_equal(git(f, "log --format=%%s refs/kv/team/app"), "create team/app");
	assert_string_equal(git(f, "rev-parse refs/kv/team/app^{tree}"), "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
	assert_ok(ledger_tip(f->l, "team/app", &again));
	assert_memory_equal(&tip, &again, sizeof(tip));
	assert_rc(ledger_ns_create(f->l, "team/app", &actor, NULL), LEDGER_EEXISTS);
	assert_rc(ledger_ns_create(f->l, "team", &actor, NULL), LEDGER_EEXISTS);
	assert_rc(ledger_ns_create(f->l, "team/app/x", &actor, NULL), LEDGER_EEXISTS);
	git(f, "pack-refs --all --prune");
	assert_rc(ledger_ns_create(f->l, "team", &actor, NULL), LEDGER_EEXISTS);
	assert_rc(ledger_ns_create(f->l, "team/app/x", &actor, NULL), LEDGER_EEXISTS);
	assert_rc(ledger_ns_create(f->l, "a b", &actor, NULL), LEDGER_EINVALID);
	assert_rc(ledger_ns_create(f->l, ".kv", &actor, NULL), LEDGER_EFORBIDDEN);
	assert_rc(ledger_tip(f->l, "team", &tip), LEDGER_ENOTFOUND);
	assert_rc(ledger_tip(f->l, "team/app/x", &tip), LEDGER_ENOTFOUND);
	assert_rc(ledger_tip(f->l, "a b", &tip), LEDGER_EINVALID);
}

static int collect(void *arg, const char *ns)
{
	strcat(arg, ns);
	strcat(arg, " ");
	return strcmp(ns, "stop") ? 0 : 77;
}

static void list(void **state)
{
	struct fixture *f = *state;
	char names[256] = "";

	assert_ok(ledger_ns_each(f->l, collect, names));
	assert_string_equal(names, "");
	assert_ok(ledger_ns_create(f->l, "b", &actor, NULL));
	assert_ok(ledger_ns_create(f->l, "a/z", &actor, NULL));
	assert_ok(ledger_ns_create(f->l, "a-b", &actor, NULL));
	git(f, "pack-refs --all --prune");
	assert_ok(ledger_ns_create(f->l, "c", &actor, NULL));
	git(f, "update-ref refs/heads/other refs/kv/c");
	assert_ok(ledger_ns_each(f->l, collect, names));
	assert_string_equal(names, "a-b a/z b c ");
	assert_ok(ledger_ns_create(f->l, "stop", &actor, NULL));
	assert_ok(ledger_ns_create(f->l, "zz", &actor, NULL));
	names[0] = '\0';
	assert_int_equal(ledger_ns_each(f->l, collect, names), 77);
	assert_string_equal(names, "a-b a/z b c stop ");
}

static int collect_archived(void *arg, const char *ns, uint64_t version)
{
	sprintf((char *)arg + strlen(arg), "%s@%llu ", ns, (unsigned long long)version);
	return 0;
}

static const char *archived(struct fixture *f)
{
	static char names[1024];

	names[0] = '\0';
	assert_ok(ledger_ns_archived_each(f->l, collect_archived, names));
	return names;
}

static void delete_archives(void **state)
{
	struct fixture *f = *state;
	struct ledger_result res;
	struct ledger_tip tip;

	assert_ok(set(f->l, "k", "v", NULL));
	assert_rc(ledger_ns_delete(f->l, "app", false, NULL, 0, NULL), LEDGER_ENOTEMPTY);
	assert_ok(plain(f->l, LEDGER_DELETE, "k", NULL, 0));
	assert_ok(ledger_ns_delete(f->l, "app", false, NULL, 0, &res));
	assert_true(res.changed);
	assert_int_equal(res.tip.version, 2);
	assert_string_equal(git(f, "for-each-ref --format='%%(refname)'"), "refs/kv-archive/app/2");
	assert_string_equal(git(f, "rev-parse refs/kv-archive/app/2"), hex_of(&res.tip.commit));
	assert_rc(ledger_ns_delete(f->l, "app", false, NULL, 0, NULL), LEDGER_ENOTFOUND);
	assert_rc(ledger_tip(f->l, "app", &tip), LEDGER_ENOTFOUND);

	/* A second life that ends at the same version, and a third. */
	for (int i = 0; i < 2; i++) {
		assert_ok(set(f->l, "k", i ? "x" : "w", NULL));
		assert_ok(set(f->l, "k", "y", NULL));
		assert_ok(ledger_ns_delete(f->l, "app", true, NULL, 0, NULL));
	}
	assert_string_equal(git(f, "for-each-ref --format='%%(refname)'"),
			    "refs/kv-archive/app/2\nrefs/kv-archive/app/2-2\nrefs/kv-archive/app/2-3");
	assert_string_equal(archived(f), "app@2 app@2 app@2 ");
}

static void delete_guarded(void **state)
{
	struct fixture *f = *state;
	struct ledger_result v1, v2, res = {0};
	struct ledger_expect x = {.what = LEDGER_EXPECT_TREE}, k = {.what = LEDGER_EXPECT_BLOB, .path = "k"};

	assert_ok(set(f->l, "k", "1", &v1));
	assert_ok(set(f->l, "k", "2", &v2));
	x.oid = v1.tip.tree;
	k.oid = v1.blob;
	assert_rc(ledger_ns_delete(f->l, "app", true, &x, 1, &res), LEDGER_ECONFLICT);
	assert_int_equal(res.tip.version, 2);
	assert_int_equal(res.reason, LEDGER_REASON_TREE);
	assert_rc(ledger_ns_rename(f->l, "app", "b", &k, 1, &res), LEDGER_ECONFLICT);
	assert_memory_equal(&res.blob, &v2.blob, sizeof(res.blob));
	assert_string_equal(git(f, "for-each-ref --format='%%(refname)'"), "refs/kv/app");
	x.oid = v2.tip.tree;
	k.oid = v2.blob;
	assert_ok(ledger_ns_rename(f->l, "app", "b", &k, 1, &res));
	assert_ok(ledger_ns_delete(f->l, "b", true, &x, 1, &res));
}

static void rename_ref(void **state)
{
	struct fixture *f = *state;
	struct ledger_result res;

	git(f, "config core.logAllRefUpdates always");
	ledger_free(f->l);
	f->l = open_again(f);
	assert_ok(set(f->l, "k", "v", NULL));
	assert_ok(set(f->l, "k", "w", NULL));
	assert_ok(ledger_ns_create(f->l, "there", &actor, NULL));
	assert_rc(ledger_ns_rename(f->l, "app", "there", NULL, 0, NULL), LEDGER_EEXISTS);
	assert_rc(ledger_ns_rename(f->l, "app", "there/x", NULL, 0, NULL), LEDGER_EEXISTS);
	assert_rc(ledger_ns_rename(f->l, "app", "app/x", NULL, 0, NULL), LEDGER_EEXISTS);
	assert_rc(ledger_ns_rename(f->l, "none", "x", NULL, 0, NULL), LEDGER_ENOTFOUND);
	assert_rc(ledger_ns_rename(f->l, "app", "x y", NULL, 0, NULL), LEDGER_EINVALID);
	assert_ok(ledger_ns_rename(f->l, "app", "app", NULL, 0, &res));
	assert_false(res.changed);
	assert_ok(ledger_ns_rename(f->l, "app", "deep/er/b", NULL, 0, &res));
	assert_true(res.changed);
	assert_int_equal(res.tip.version, 2);
	assert_string_equal(git(f, "for-each-ref --format='%%(refname)'"), "refs/kv/deep/er/b\nrefs/kv/there");
	assert_string_equal(git(f, "rev-parse refs/kv/deep/er/b"), hex_of(&res.tip.commit));
	assert_string_equal(git(f, "reflog refs/kv/deep/er/b | wc -l"), "3");
	/* Not onto a name above its own: as long as the one is there the other cannot be.  By a third name it works. */
	assert_rc(ledger_ns_rename(f->l, "deep/er/b", "deep", NULL, 0, &res), LEDGER_EEXISTS);
	assert_ok(ledger_ns_rename(f->l, "deep/er/b", "d", NULL, 0, &res));
	assert_ok(ledger_ns_rename(f->l, "d", "deep", NULL, 0, &res));
	assert_ok(ledger_ns_rename(f->l, "deep", "d", NULL, 0, &res));
	assert_ok(ledger_ns_rename(f->l, "d", "deep/again", NULL, 0, &res));
	assert_string_equal(git(f, "reflog refs/kv/deep/again | wc -l"), "7");
}

static void restore(void **state)
{
	struct fixture *f = *state;
	struct ledger_tip tip;

	assert_ok(set(f->l, "k", "1", NULL));
	assert_ok(ledger_ns_delete(f->l, "app", true, NULL, 0, NULL));
	assert_ok(set(f->l, "k", "1", NULL));
	assert_ok(set(f->l, "k", "2", NULL));
	assert_ok(ledger_ns_delete(f->l, "app", true, NULL, 0, NULL));
	assert_string_equal(archived(f), "app@1 app@2 ");
	assert_rc(ledger_ns_restore(f->l, "app", 3, &tip), LEDGER_ENOTFOUND);
	assert_rc(ledger_ns_restore(f->l, "ap", 0, &tip), LEDGER_ENOTFOUND);
	assert_ok(ledger_ns_restore(f->l, "app", 0, &tip));
	assert_int_equal(tip.version, 2);
	assert_string_equal(get(f->l, "k"), "2");
	assert_rc(ledger_ns_restore(f->l, "app", 1, &tip), LEDGER_EEXISTS);
	assert_string_equal(archived(f), "app@1 ");
	assert_ok(ledger_ns_delete(f->l, "app", true, NULL, 0, NULL));
	assert_ok(ledger_ns_restore(f->l, "app", 1, &tip));
	assert_string_equal(get(f->l, "k"), "1");
	assert_ok(set(f->l, "k", "3", NULL));
}

/* refs/kv-archive/app/3 is a state of app, and what the states of app/3 would have to lie below. */
static void archive_in_the_way(void **state)
{
	struct fixture *f = *state;
	struct ledger_tip tip;

	for (int i = 0; i < 3; i++)
		assert_ok(set(f->l, "k", i % 2 ? "1" : "2", NULL));
	assert_ok(ledger_ns_delete(f->l, "app", true, NULL, 0, NULL));
	assert_ok(ledger_ns_create(f->l, "app/3", &actor, NULL));
	assert_ok(ledger_ns_delete(f->l, "app/3", false, NULL, 0, NULL));
	assert_string_equal(archived(f), "app@3 app/3@1 ");
	/* And the other way round. */
	for (int i = 0; i < 3; i++)
		assert_ok(set(f->l, "k", i % 2 ? "3" : "4", NULL));
	assert_ok(ledger_ns_delete(f->l, "app", true, NULL, 0, NULL));
	assert_string_equal(archived(f), "app@3 app@3 app/3@1 ");
	assert_ok(ledger_ns_restore(f->l, "app/3", 1, &tip));
	assert_rc(ledger_ns_restore(f->l, "app", 3, &tip), LEDGER_EEXISTS);
	assert_ok(ledger_ns_delete(f->l, "app/3", false, NULL, 0, NULL));
	assert_ok(ledger_ns_restore(f->l, "app", 3, &tip));
	assert_int_equal(tip.version, 3);
}

/* A namespace that cannot be read is neither shown nor changed. */
static void damaged(void **state)
{
	struct fixture *f = *state;
	struct ledger_tip tip;

	fixture_no_fsck();
	assert_ok(set(f->l, "k", "v", NULL));
	git(f, "symbolic-ref refs/kv/sym refs/kv/app");
	assert_rc(ledger_tip(f->l, "sym", &tip), LEDGER_ECORRUPT);
	git(f, "update-ref refs/kv/blob $(git rev-parse refs/kv/app:k)");
	assert_rc(ledger_tip(f->l, "blob", &tip), LEDGER_ECORRUPT);
	git(f, "-c user.name=x -c user.email=x@y tag -a -m x t refs/kv/app && git update-ref refs/kv/tag refs/tags/t");
	assert_rc(ledger_tip(f->l, "tag", &tip), LEDGER_ECORRUPT);
	git(f, "rev-parse HEAD >/dev/null 2>&1; echo 1234567890123456789012345678901234567890 >refs/kv/gone");
	assert_rc(ledger_tip(f->l, "gone", &tip), LEDGER_ECORRUPT);
	git(f, "rev-parse HEAD >/dev/null 2>&1; echo garbage >refs/kv/bad");
	assert_rc(ledger_tip(f->l, "bad", &tip), LEDGER_ECORRUPT);
	git(f, "rev-parse HEAD >/dev/null 2>&1; : >refs/kv/empty");
	assert_rc(ledger_tip(f->l, "empty", &tip), LEDGER_ECORRUPT);
	for (const char *const *p = (const char *const[]){"sym", "blob", "tag", "gone", "bad", "empty", NULL}; *p; p++) {
		struct ledger_edit e = {.op = LEDGER_MKDIR, .path = "d"};
		struct ledger_change c = {.ns = *p, .edits = &e, .nedits = 1, .actor = actor, .create = true};

		assert_rc(ledger_commit(f->l, &c, NULL), LEDGER_ECORRUPT);
		assert_rc(ledger_ns_delete(f->l, *p, true, NULL, 0, NULL), LEDGER_ECORRUPT);
	}
	assert_string_equal(git(f, "symbolic-ref refs/kv/sym"), "refs/kv/app");
	assert_string_equal(git(f, "rev-list --count refs/kv/app"), "1");
}

#define test(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(create),     test(list),    test(delete_archives),    test(delete_guarded),
		test(rename_ref), test(restore), test(archive_in_the_way), test(damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
