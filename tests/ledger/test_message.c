/* SPDX-License-Identifier: MIT */
/* What a commit says: subject, trailers, author, time. */
#include "helper.h"

#include <pwd.h>

static const char *subject(struct fixture *f)
{
	return git(f, "log -1 --format=%%s refs/kv/app");
}

static void subjects(void **state)
{
	struct fixture *f = *state;
	struct ledger_value *v = value_of(f->l, "target");

	assert_ok(ledger_ns_create(f->l, "app", &actor, NULL));
	assert_string_equal(subject(f), "create app");
	assert_ok(set(f->l, "a b/c", "1", NULL));
	assert_string_equal(subject(f), "set a b/c");
	assert_ok(plain(f->l, LEDGER_DELETE, "a b/c", NULL, 0));
	assert_string_equal(subject(f), "delete a b/c");
	assert_ok(plain(f->l, LEDGER_RENAME, "a b", "d", 0));
	assert_string_equal(subject(f), "rename a b -> d");
	assert_ok(plain(f->l, LEDGER_RMDIR, "d", NULL, 0));
	assert_string_equal(subject(f), "rmdir d");
	assert_ok(plain(f->l, LEDGER_MKDIR, "d", NULL, 0));
	assert_string_equal(subject(f), "mkdir d");
	assert_ok(change1(f->l, (struct ledger_edit){.op = LEDGER_SET, .path = "l", .kind = LEDGER_LINK, .value = v}, NULL,
			  NULL));
	assert_string_equal(subject(f), "symlink l");
	ledger_value_unref(v);
}

static void odd_paths_are_quoted(void **state)
{
	static const char *const cases[][2] = {
		{"new\nline", "set \"new\\nline\""},
		{"tab\there", "set \"tab\\there\""},
		{"quo\"te", "set \"quo\\\"te\""},
		{"back\\slash", "set \"back\\\\slash\""},
		{"bell\x01\x7f", "set \"bell\\001\\177\""},
		{"\xc3\xa4\xe2\x82\xac", "set \xc3\xa4\xe2\x82\xac"},
		{"latin\xe4", "set \"latin\\344\""},
		{"a -> b", "set a -> b"},
		{"\n\nKV-Version: 99", "set \"\\n\\nKV-Version: 99\""},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char version[] = {(char)('1' + i), '\0'};

		assert_ok(set(f->l, cases[i][0], "v", NULL));
		assert_string_equal(git(f, "log -1 --format=%%B refs/kv/app | head -1"), cases[i][1]);
		assert_string_equal(git(f, "log -1 --format='%%(trailers:key=KV-Version,valueonly)' refs/kv/app | head -1"),
				    version);
	}
}

static void trailers(void **state)
{
	struct fixture *f = *state;
	struct ledger_edit e = {.op = LEDGER_MKDIR, .path = "d"};
	struct ledger_change c = {.ns = "app",
				  .edits = &e,
				  .nedits = 1,
				  .create = true,
				  .actor = {.comm = "e\nvil] [\xff", .pid = 77, .uid = 1000}};

	assert_ok(ledger_commit(f->l, &c, NULL));
	assert_string_equal(git(f, "log -1 --format=%%B refs/kv/app | git interpret-trailers --parse"),
			    "KV-Version: 1\nKV-Client: e?vil? ??[77] 1000");
	e.path = "e";
	c.actor.comm = NULL;
	assert_ok(ledger_commit(f->l, &c, NULL));
	assert_string_equal(git(f, "log -1 --format=%%B refs/kv/app | git interpret-trailers --parse"), "KV-Version: 2");
}

static void own_message(void **state)
{
	struct fixture *f = *state;
	struct ledger_edit e = {.op = LEDGER_MKDIR, .path = "d"};
	struct ledger_change c = {.ns = "app",
				  .edits = &e,
				  .nedits = 1,
				  .create = true,
				  .actor = actor,
				  .message = "\n  why I did it\n\nBecause.\n\nKV-Version: 7\n\n"};
	struct ledger_result res;
	struct ledger *other;
	struct ledger_tip tip;

	assert_ok(ledger_commit(f->l, &c, &res));
	assert_string_equal(git(f, "log -1 --format=%%B refs/kv/app"),
			    "why I did it\n\nBecause.\n\nKV-Version: 7\n\nKV-Version: 1\nKV-Client: test[42] 0\n");
	other = open_again(f);
	assert_ok(ledger_tip(other, "app", &tip));
	assert_int_equal(tip.version, 1);
	ledger_free(other);
	e.path = "e";
	c.message = " \n ";
	assert_ok(ledger_commit(f->l, &c, &res));
	assert_string_equal(subject(f), "mkdir e");
}

static void long_lists_are_cut(void **state)
{
	struct fixture *f = *state;
	struct ledger_edit e[300];
	struct ledger_change c = {.ns = "app", .edits = e, .nedits = 300, .create = true, .actor = actor};
	char names[300][8];

	for (int i = 0; i < 300; i++) {
		snprintf(names[i], sizeof(names[i]), "d%d", i);
		e[i] = (struct ledger_edit){.op = LEDGER_MKDIR, .path = names[i]};
	}
	assert_ok(ledger_commit(f->l, &c, NULL));
	assert_string_equal(subject(f), "300 changes");
	assert_string_equal(git(f, "log -1 --format=%%b refs/kv/app | grep -c '^mkdir d'"), "200");
	assert_string_equal(git(f, "log -1 --format=%%b refs/kv/app | grep more"), "and 100 more");
}

static const char *author(struct fixture *f)
{
	return git(f, "log -1 --format='%%an <%%ae>' refs/kv/app");
}

static void authors(void **state)
{
	struct fixture *f = *state;
	struct ledger_edit e = {.op = LEDGER_MKDIR};
	struct ledger_change c = {.ns = "app", .edits = &e, .nedits = 1, .create = true, .actor = {.uid = 0}};
	struct passwd *pw = getpwuid(0);
	char host[128], want[300];

	gethostname(host, sizeof(host));
	snprintf(want, sizeof(want), "%s <%s@%s>", pw->pw_name, pw->pw_name, host);
	e.path = "1";
	assert_ok(ledger_commit(f->l, &c, NULL));
	assert_string_equal(author(f), want);
	assert_string_equal(git(f, "log -1 --format='%%an%%ae%%at%%ai' refs/kv/app"),
			    git(f, "log -1 --format='%%cn%%ce%%ct%%ci' refs/kv/app"));
	/* An account that nobody has. */
	e.path = "2";
	c.actor.uid = 3999999999u;
	assert_ok(ledger_commit(f->l, &c, NULL));
	snprintf(want, sizeof(want), "uid-3999999999 <uid-3999999999@%s>", host);
	assert_string_equal(author(f), want);
	/* The repository's own settings, seen without opening it again; never those of the user who runs the program. */
	git(f, "config user.name 'Re <po>' && git config user.email '<repo@example.org>'");
	e.path = "3";
	assert_ok(ledger_commit(f->l, &c, NULL));
	assert_string_equal(author(f), "Re po <repo@example.org>");
	e.path = "4";
	c.actor.name = "A. Caller\n";
	c.actor.email = "caller@example.org";
	assert_ok(ledger_commit(f->l, &c, NULL));
	assert_string_equal(author(f), "A. Caller <caller@example.org>");
	e.path = "5";
	c.actor.name = c.actor.email = "<>\n";
	assert_ok(ledger_commit(f->l, &c, NULL));
	assert_string_equal(git(f, "rev-list --count refs/kv/app"), "5");
}

static void zone_is_local(void **state)
{
	struct fixture *f = *state;
	struct ledger_result res;
	char want[32];

	setenv("TZ", "XXX-3:30", 1);
	tzset();
	assert_ok(set(f->l, "k", "v", &res));
	snprintf(want, sizeof(want), "%lld", (long long)res.tip.time.tv_sec);
	assert_string_equal(git(f, "log -1 --format=%%ct refs/kv/app"), want);
	assert_non_null(strstr(git(f, "log -1 --format=%%ci refs/kv/app"), "+0330"));
	setenv("TZ", "XXX+9:15", 1);
	tzset();
	assert_ok(set(f->l, "k", "w", &res));
	assert_non_null(strstr(git(f, "log -1 --format=%%ci refs/kv/app"), "-0915"));
	unsetenv("TZ");
	tzset();
}

/* Versions where git made commits of its own, with misleading trailers, on top of ours and below. */
static void versions(void **state)
{
	static const struct {
		const char *message;
		uint64_t version;
	} cases[] = {
		{"plain", 1},
		{"two", 2},
		{"x\n\nKV-Version: 40\n", 40},
		{"y", 41},
		{"z\n\nKV-Version: 99999999999999999999\n", 42},
		{"z\n\nKV-Version: -5\n", 43},
		{"z\n\nKV-Version: 5x\n", 44},
		{"KV-Version: 7", 45},
		{"a\n\nKV-Version: 7\n\nnot in the last paragraph\n", 46},
		{"b\n\nOther: x\nKV-Version: 50\nMore: y\n", 50},
		{"c", 51},
	};
	struct fixture *f = *state;
	struct ledger_tip tip;

	git(f, "hash-object -t tree -w /dev/null");
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		git(f,
		    "update-ref refs/kv/app $(printf '%s' | git -c user.name=x -c user.email=x@y commit-tree %s "
		    "4b825dc642cb6eb9a060e54bf8d69288fbee4904)",
		    cases[i].message, i ? "-p refs/kv/app" : "");
		if (i % 2) {
			ledger_free(f->l);
			f->l = open_again(f);
		}
		assert_ok(ledger_tip(f->l, "app", &tip));
		assert_int_equal(tip.version, cases[i].version);
	}
}

#define test(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(subjects), test(odd_paths_are_quoted), test(trailers), test(own_message), test(long_lists_are_cut),
		test(authors),  test(zone_is_local),        test(versions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
