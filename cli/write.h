/* SPDX-License-Identifier: MIT */
/* What the commands that change something share. */
#ifndef KV_WRITE_H
#define KV_WRITE_H

#include "opt.h"

/* Expectations from the command line; the keys in `v` are owned by `keys`. */
struct expects {
	struct ledger_expect *v;
	size_t n, cap;
	char **keys;
	size_t nkeys, capkeys;
};

/* The rows of an option table that fill `list` (struct opt_list *). */
#define EXPECT_OPTIONS(list)                                                                                                \
	{0, "expect-tree", OPT_LIST, (list), "OID", "only if the namespace's tree is OID"},                                 \
		{0, "expect-commit", OPT_LIST, (list), "OID", "only if the namespace's tip is OID"},                        \
		{0, "expect-version", OPT_LIST, (list), "N", "only if the namespace is at version N"},                      \
	{                                                                                                                   \
		0, "expect-blob", OPT_LIST, (list), "[KEY=]OID|absent", "only if the key's value is OID, or the key absent" \
	}

/*
 * Understands what `given` holds.  An --expect-blob without `KEY=` is about `own_key`; NULL: it must say KEY.
 * 0, KV_USAGE or KV_BADKEY, said.
 */
int expects_parse(struct expects *out, const struct opt_list *given, const char *own_key);
/*
 * One expectation; `name` is without "expect-".  `wire`: from a push option, where a key with odd bytes stands in quotes
 * since options of a push cannot hold newlines.  On failure `*why` is a sentence (malloc'ed).
 */
int expects_add(struct expects *out, const char *name, const char *value, const char *own_key, bool wire, char **why);
void expects_release(struct expects *e);

/* All of `fd` (called `name` in errors) as a value.  0 or an exit status, said. */
int input_value(struct kv *kv, int fd, const char *name, struct ledger_value **out);
int input_file(struct kv *kv, const char *path, struct ledger_value **out); /* "-": stdin */

_Static_assert((int)LEDGER_REASON_TREE == (int)LEDGER_EXPECT_TREE &&
		       (int)LEDGER_REASON_COMMIT == (int)LEDGER_EXPECT_COMMIT &&
		       (int)LEDGER_REASON_VERSION == (int)LEDGER_EXPECT_VERSION &&
		       (int)LEDGER_REASON_BLOB == (int)LEDGER_EXPECT_BLOB &&
		       (int)LEDGER_REASON_ABSENT == (int)LEDGER_EXPECT_ABSENT,
	       "an expectation that does not hold is cast to its reason");

/* How a change is called in errors. */
struct what {
	const char *text;           /* "cannot set 'a'" */
	const unsigned long *lines; /* of each edit in the file `text`; NULL: edits have no lines */
};

/* Makes the change here or, where a remote is set, there (remote.h); says how it went.  Returns the exit status. */
int write_change(struct kv *kv, const struct ledger_change *c, const struct what *what);
/* A change without edits on an absent namespace: that is what "absent" expects, and no other expectation.  As
 * ledger_commit(). */
int write_on_nothing(const struct ledger_change *c, struct ledger_result *res);
/* Says how a change went that somebody else made; `rc` as ledger_commit() gives it. */
int write_report(const struct kv *kv, const struct ledger_change *c, int rc, const struct ledger_result *res,
		 const struct what *what);

#endif
