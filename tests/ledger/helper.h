/* SPDX-License-Identifier: MIT */
/* What the unit tests of the ledger share: a repository of their own, stock git beside it, short ways to say a change. */
#ifndef TESTS_LEDGER_HELPER_H
#define TESTS_LEDGER_HELPER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <ledger/change.h>

struct fixture {
	char dir[256];  /* removed at the end */
	char repo[300]; /* dir/repo, bare */
	struct ledger *l;
	char log[4096]; /* lines of the ledger */
};

/* setup, teardown of a test with an open ledger; teardown runs git fsck --strict unless `no_fsck` below was called. */
int fixture_setup(void **state);
int fixture_setup_synced(void **state); /* waits for the disk */
int fixture_teardown(void **state);
void fixture_no_fsck(void);

struct ledger *open_again(struct fixture *f);

/* Runs "git -C REPO ..." through the shell; asserts success; returns what it printed (static, without the last newline). */
const char *git(struct fixture *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same without the assertion: the exit status. */
int git_status(struct fixture *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define assert_rc(call, want)                                                                                           \
	do {                                                                                                            \
		int rc_ = (call);                                                                                       \
		if (rc_ != (want)) {                                                                                    \
			print_error("%s:%d: %s = %s (%s), not %s\n", __FILE__, __LINE__, #call, ledger_error_name(rc_), \
				    ledger_errmsg(), ledger_error_name(want));                                          \
			fail();                                                                                         \
		}                                                                                                       \
	} while (0)
#define assert_ok(call) assert_rc(call, 0)

extern const struct ledger_actor actor;

struct ledger_oid oid_of(const char *hex);
const char *hex_of(const struct ledger_oid *oid); /* static, four in turn */

struct ledger_value *value_of(struct ledger *l, const char *text);

/* One edit as a change of namespace "app", with up to one expectation. */
int change1(struct ledger *l, struct ledger_edit e, const struct ledger_expect *x, struct ledger_result *res);
int set(struct ledger *l, const char *path, const char *text, struct ledger_result *res);
int set_expecting(struct ledger *l, const char *path, const char *text, struct ledger_expect x, struct ledger_result *res);
int plain(struct ledger *l, enum ledger_op op, const char *path, const char *to, unsigned flags);

/* The value at a path of the tip of "app" (static), NULL when there is none. */
const char *get(struct ledger *l, const char *path);

#endif
