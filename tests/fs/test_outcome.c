/* SPDX-License-Identifier: MIT */
#include "outcome.h"
#include "puppet.h"
#include "unit.h"
#include <errno.h>
#include <stdio.h>

static struct proctree *tree;
static struct outcomes *o;

static int setup(void **state)
{
	(void)state;
	return proctree_new(&tree) || outcomes_new(&o, tree);
}

static int teardown(void **state)
{
	(void)state;
	outcomes_free(o);
	proctree_free(tree);
	return 0;
}

static void record(pid_t writer, const char *key, const char *text)
{
	struct proc *p;

	assert_int_equal(proctree_get(tree, writer, &p), 0);
	assert_int_equal(outcomes_record(o, "app", key, p, text), 0);
	proc_unref(p);
}

static void sees(pid_t caller, const char *key, const char *want)
{
	char *text = NULL;
	int err = outcomes_lookup(o, "app", key, caller, &text);

	if (!want) {
		assert_int_equal(err, ENODATA);
		return;
	}
	assert_int_equal(err, 0);
	assert_string_equal(text, want);
	free(text);
}

/* 0 the shell, 1 a command of it, 2 another, 3 a stranger beside the shell. */
static void relatives(void **state)
{
	pid_t sh = puppet_start(0, -1), cp = puppet_start(1, 0), getfattr, other = puppet_start(3, -1);

	(void)state;
	sees(sh, NULL, NULL);
	record(cp, "k", "cp k");
	record(other, "k", "other k"); /* newer, but it still runs */
	sees(sh, "k", NULL);           /* the child has not exited: what it does is not the shell's yet */
	sees(cp, "k", "cp k");
	puppet_end(1);
	getfattr = puppet_start(2, 0);
	sees(sh, "k", "cp k");       /* an exited child's counts as its own */
	sees(getfattr, "k", "cp k"); /* an exited sibling's as the parent's */
	sees(other, "k", "other k");
	record(sh, "k", "sh k");
	sees(sh, "k", "sh k"); /* the newer one of both */
	sees(getfattr, "k", "sh k");
	sees(getfattr, "l", NULL);
	record(sh, "l", "sh l");
	sees(getfattr, "l", "sh l");
	sees(getfattr, NULL, "sh l");  /* of equally near ones the newest */
	record(sh, "k", "sh k again"); /* takes the place of the older one */
	sees(getfattr, NULL, "sh k again");
	record(getfattr, "k", "getfattr k");
	sees(getfattr, "k", "getfattr k"); /* its own before its parent's */
	sees(sh, "k", "sh k again");
	record(sh, NULL, "the namespace");
	sees(sh, "", "the namespace");
	sees(sh, "k", "sh k again");
	puppet_end(2);
	sees(sh, "k", "getfattr k"); /* has exited, and is newer */
	puppet_end(0);
	sees(getpid(), "k", "getfattr k");
	puppet_end(3);
	sees(getpid(), "l", "sh l");
}

/* The shell wrote itself, then a command that it ran: the newer one is to be seen; 1 runs 2 (sh -c 'cp ...'). */
static void newer_child(void **state)
{
	pid_t sh = puppet_start(0, -1), sub, cp, ask;

	(void)state;
	record(sh, "k", "sh k");
	sub = puppet_start(1, 0);
	cp = puppet_start(2, 1);
	sees(cp, "k", "sh k"); /* its grandparent's */
	record(cp, "k", "cp k");
	sees(sub, "k", "sh k");
	puppet_end(2);
	sees(sub, "k", "cp k");
	sees(sh, "k", "cp k"); /* a grandchild that has exited, though its parent runs */
	record(sh, "k", "sh k again");
	sees(sub, "k", "cp k"); /* nearer, though older */
	puppet_end(1);
	ask = puppet_start(3, 0);
	sees(ask, "k", "sh k again");
	puppet_end(3);
	puppet_end(0);
}

static void strangers(void **state)
{
	struct proc *p;
	char *text;

	(void)state;
	/* Whoever has nothing in common but process 1 sees nothing: here a daemon whose parent is gone, met afterwards. */
	puppet_start(0, -1);
	puppet_start(1, 0);
	puppet_start(2, 1);
	puppet_end(0);
	puppet_end(1);
	assert_int_equal(proctree_get(tree, puppet[2].pid, &p), 0);
	assert_int_equal(outcomes_record(o, "app", "k", p, "daemon"), 0);
	sees(puppet[2].pid, "k", "daemon");
	if (proc_up(p) && proc_pid(proc_up(p)) == 1 && getppid() != 1) /* else somebody collects orphans here */
		sees(getpid(), "k", NULL);
	proc_unref(p);
	assert_int_equal(outcomes_lookup(o, "app", "k", 0, &text), ESRCH);
	puppet_end(2);
}

static void bounded(void **state)
{
	char key[16];
	int i, w;

	(void)state;
	for (w = 0; w < 10; w++) {
		puppet_start(w, -1);
		for (i = 0; i < OUTCOMES_PER_WRITER + 10; i++) {
			snprintf(key, sizeof(key), "%d-%d", w, i);
			record(puppet[w].pid, key, key);
		}
		puppet_end(w);
	}
	sees(getpid(), "0-20", NULL); /* beyond OUTCOMES_MAX: the first writers' are gone */
	sees(getpid(), "9-5", NULL);  /* a writer's own oldest */
	sees(getpid(), "9-10", "9-10");
	sees(getpid(), "9-137", "9-137");
	sees(getpid(), "3-100", "3-100");
}

static void renamed(void **state)
{
	char *text;

	(void)state;
	record(getpid(), "k", "text");
	outcomes_ns_renamed(o, "app", "new");
	sees(getpid(), "k", NULL);
	assert_int_equal(outcomes_lookup(o, "new", "k", getpid(), &text), 0);
	free(text);
	assert_true(outcomes_mention(o, "new", "ex"));
	assert_false(outcomes_mention(o, "new", "Ex"));
	assert_false(outcomes_mention(o, "app", "ex"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(relatives, setup, teardown),
		cmocka_unit_test_setup_teardown(newer_child, setup, teardown),
		cmocka_unit_test_setup_teardown(strangers, setup, teardown),
		cmocka_unit_test_setup_teardown(bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(renamed, setup, teardown),
	};

	puppets_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
