/* SPDX-License-Identifier: MIT */
/* What opens as a ledger, what does not, and with which words. */
#include "helper.h"

#include <sys/stat.h>

static void sh(const char *fmt, const char *dir)
{
	char cmd[1024];

	snprintf(cmd, sizeof(cmd), fmt, dir);
	assert_int_equal(system(cmd), 0);
}

/* Opens DIR/`name`, which must be refused with that code and a sentence that has `word` in it. */
static void refused(struct fixture *f, const char *name, int code, const char *word)
{
	struct ledger *l = NULL;
	char path[400];

	snprintf(path, sizeof(path), "%s/%s", f->dir, name);
	assert_rc(ledger_open(&l, path, NULL), code);
	if (!strstr(ledger_errmsg(), word))
		fail_msg("'%s' does not speak of '%s'", ledger_errmsg(), word);
	assert_null(strchr(ledger_errmsg(), '\n'));
	assert_null(l);
}

static struct ledger *opened(struct fixture *f, const char *name)
{
	struct ledger *l;
	char path[400];

	snprintf(path, sizeof(path), "%s/%s", f->dir, name);
	assert_ok(ledger_open(&l, path, NULL));
	return l;
}

static void refusals(void **state)
{
	struct fixture *f = *state;

	refused(f, "nothing", LEDGER_ENOTFOUND, "nothing");
	sh("mkdir '%s'/empty", f->dir);
	refused(f, "empty", LEDGER_EREPO, "not a git repository");
	sh("echo x >'%s'/file", f->dir);
	refused(f, "file", LEDGER_EREPO, "not a git repository");
	refused(f, "file/below", LEDGER_ENOTDIR, "file");
	sh("cd '%s' && git init -q --object-format=sha256 --bare sha256", f->dir);
	refused(f, "sha256", LEDGER_EREPO, "SHA-1");
	sh("cd '%s' && git init -q --object-format=sha256 sha256w", f->dir);
	refused(f, "sha256w", LEDGER_EREPO, "SHA-1");
	sh("cd '%s' && git init -q --bare rt && git -C rt config core.repositoryformatversion 1 && "
	   "git -C rt config extensions.refStorage reftable",
	   f->dir);
	refused(f, "rt", LEDGER_EREPO, "reftable");
	sh("cd '%s' && git init -q --bare bad && echo '[core' >bad/config", f->dir);
	refused(f, "bad", LEDGER_ECORRUPT, "configuration");
	sh("cd '%s' && git init -q --bare new && git -C new config core.repositoryformatversion 7", f->dir);
	refused(f, "new", LEDGER_EREPO, "cannot be opened");
	sh("cd '%s' && git init -q --bare norefs && rm -r norefs/refs", f->dir);
	refused(f, "norefs", LEDGER_EREPO, "not a git repository");
}

static void kinds_of_repositories(void **state)
{
	struct fixture *f = *state;
	struct ledger *l;
	struct ledger_tip tip;
	char want[400];

	sh("cd '%s' && git init -q tree", f->dir);
	snprintf(want, sizeof(want), "%s/tree/.git", f->dir);
	l = opened(f, "tree");
	assert_string_equal(ledger_gitdir(l), want);
	assert_false(ledger_is_readonly(l));
	assert_ok(ledger_ns_create(l, "app", &actor, NULL));
	ledger_free(l);
	l = opened(f, "tree/.git");
	assert_ok(ledger_tip(l, "app", &tip));
	ledger_free(l);
	/* Not a walk upwards, and a linked work tree shares its repository's namespaces. */
	sh("mkdir '%s'/tree/sub", f->dir);
	refused(f, "tree/sub", LEDGER_EREPO, "not a git repository");
	sh("cd '%s'/tree && git -c user.name=x -c user.email=x@y commit -q --allow-empty -m x && git worktree add -q "
	   "../linked",
	   f->dir);
	l = opened(f, "linked");
	assert_string_equal(ledger_gitdir(l), want);
	assert_ok(ledger_tip(l, "app", &tip));
	ledger_free(l);
	sh("ln -s tree '%s'/link", f->dir);
	l = opened(f, "link");
	assert_string_equal(ledger_gitdir(l), want);
	ledger_free(l);
}

static void init_makes_a_bare_one(void **state)
{
	struct fixture *f = *state;
	struct ledger_options o = {.init = true};
	struct ledger *l;

	assert_string_equal(git(f, "config gc.auto"), "0");
	assert_string_equal(git(f, "rev-parse --is-bare-repository"), "true");
	assert_true(git_status(f, "symbolic-ref -q HEAD >/dev/null") == 0);
	assert_ok(set(f->l, "k", "v", NULL));
	/* Again: opens what is there. */
	assert_ok(ledger_open(&l, f->repo, &o));
	assert_string_equal(get(l, "k"), "v");
	ledger_free(l);
	sh("cd '%s' && test \"$(ls -A)\" = repo", f->dir);
	assert_rc(ledger_open(&l, "/proc/nowhere/repo", &o), LEDGER_ENOTFOUND);
}

static void readonly(void **state)
{
	struct fixture *f = *state;
	struct ledger_options o = {.readonly = true};
	struct ledger *l;
	struct ledger_tip tip;

	assert_ok(set(f->l, "k", "v", NULL));
	assert_ok(ledger_open(&l, f->repo, &o));
	assert_true(ledger_is_readonly(l));
	assert_string_equal(get(l, "k"), "v");
	assert_rc(set(l, "k", "w", NULL), LEDGER_EROFS);
	assert_rc(ledger_ns_create(l, "b", &actor, NULL), LEDGER_EROFS);
	assert_rc(ledger_ns_delete(l, "app", true, NULL, 0, NULL), LEDGER_EROFS);
	assert_rc(ledger_ns_rename(l, "app", "b", NULL, 0, NULL), LEDGER_EROFS);
	assert_rc(ledger_ns_restore(l, "b", 0, &tip), LEDGER_EROFS);
	ledger_free(l);
	assert_string_equal(get(f->l, "k"), "v");
}

static int count(void *arg, const char *value)
{
	strcat(arg, value);
	strcat(arg, ",");
	return strcmp(value, "stop") == 0;
}

static void config(void **state)
{
	struct fixture *f = *state;
	char got[256] = "";

	git(f, "config --add kv.scratch one; git config --add kv.scratch two");
	assert_int_equal(ledger_config_each(f->l, "kv.scratch", count, got), 2);
	assert_string_equal(got, "one,two,");
	assert_int_equal(ledger_config_each(f->l, "kv.nothing", count, got), 0);
	git(f, "config --add kv.scratch stop; git config --add kv.scratch more");
	got[0] = '\0';
	assert_int_equal(ledger_config_each(f->l, "kv.scratch", count, got), 3);
	assert_string_equal(got, "one,two,stop,");
	assert_true(ledger_config_each(f->l, "nonsense", count, got) < 0);
}

#define test(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(refusals), test(kinds_of_repositories), test(init_makes_a_bare_one), test(readonly), test(config),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
