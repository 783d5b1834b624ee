/* SPDX-License-Identifier: MIT */
/*
 * The Stargate's side of a push: `git-kv hook pre-receive` (docs/STARGATE.md).
 *
 * What it prints goes to the client's terminal behind "remote: ", first for people, then one line for programs:
 *
 *	kv-stargate: 1 ok ref=REF commit=OID expects=N
 *	kv-stargate: 1 conflict ref=REF reason=WORD commit=OID tree=OID version=N [blob=OID|absent key=KEY]
 *	kv-stargate: 1 refused ref=REF rule=WORD
 *	kv-stargate: 1 probe
 *
 * "1" is the version of the lines.  An absent state is commit, tree = absent, version = 0.
 */
#ifndef KV_HOOK_H
#define KV_HOOK_H

#include "write.h"
#include <ledger/guard.h>

/* One line of the hook's input that is about a ledger. */
struct hook_ref {
	char *ref;                  /* full name */
	const char *ns;             /* in it, behind refs/kv/; NULL: a ref below refs/kv-archive/ */
	struct ledger_oid old, new; /* zero: creation; deletion */
	struct ledger_tip tip;      /* of old */
	struct ledger_oid upstream; /* hook_upstream.c: what the upstream has */
};

struct hook {
	struct ledger_guard *guard;
	char *gitdir; /* absolute */
	struct hook_ref *refs;
	size_t n, cap;
	bool probe;
	struct expects expects;
	char **scope; /* of each expectation: the namespace it is about; NULL: the only one of the push */
	size_t nscope, capscope;
};

/* Takes what is ours from the push options.  0 or KV_POLICY, said. */
int hook_options(struct hook *h);
/* The expectations about `r`; how many there were in `*count`.  0, or KV_CONFLICT, said. */
int hook_expectations(struct hook *h, const struct hook_ref *r, size_t *count);
/* With kv.upstream set: compares, pushes on.  0, or KV_CONFLICT, KV_POLICY, KV_IO, said. */
int hook_upstream(struct hook *h);

/* A refusal's machine line. */
int hook_refuse(const struct hook_ref *r, const char *rule); /* returns KV_POLICY */
void hook_conflict_line(const struct hook_ref *r, const char *reason, const char *more);

#endif
