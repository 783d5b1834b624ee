/* SPDX-License-Identifier: MIT */
/*
 * Writing to a shared repository.
 *
 * A change is built on what the remote had when last asked (refs/kv-remote/<remote>/<ns>, as refs/remotes are for
 * branches), pushed with a lease on exactly that, and the local ref moves only when the remote has accepted.  What a
 * stale base could falsify (a conflict, "nothing to do") is never answered from it: the remote is asked first.
 */
#ifndef KV_REMOTE_H
#define KV_REMOTE_H

#include "write.h"

/* The remote that changes go to: --remote, else kv.remote; NULL: none, or --local.  0 or an exit status, said. */
int remote_choose(struct kv *kv, char **out);

/* As write_change() on the remote. */
int remote_write(struct kv *kv, const char *remote, const struct ledger_change *c, const struct what *what);
int remote_ns_create(struct kv *kv, const char *remote, const char *ns);
int remote_ns_delete(struct kv *kv, const char *remote, const char *ns, bool force, const struct expects *expects);

/* --- track.c: what a remote had when last asked -------------------------------------------------------------------------
 */

/* The value of a ref here; zero: absent.  0 or an exit status, said. */
int ref_read(struct kv *kv, const char *ref, struct ledger_oid *out);
/* Moves a ref from exactly `old` (zero: absent) to `new`; false with git's words in `*why` (malloc'ed). */
bool ref_move(struct kv *kv, const char *ref, const struct ledger_oid *new, const struct ledger_oid *old, char **why);
/* Is `a` an ancestor of `b`, or the same? */
bool is_ancestor(struct kv *kv, const struct ledger_oid *a, const struct ledger_oid *b);

int track_read(struct kv *kv, const char *remote, const char *ns, struct ledger_oid *out);
/* Asks the remote; zero: absent there.  0, or KV_IO with the reason in `*why` (malloc'ed), not said. */
int track_fetch(struct kv *kv, const char *remote, const char *ns, struct ledger_oid *out, char **why);
/* How `tip` stands to what the remote had; `track` zero: never asked, or absent there. */
int track_compare(struct kv *kv, const char *remote, const struct ledger_oid *tip, struct ledger_oid *track, uint64_t *ahead,
		  uint64_t *behind);

/* --- push.c: one ref over git's transport -------------------------------------------------------------------------------
 */

enum push_outcome {
	PUSH_LANDED,     /* the remote accepted, and confirmed the expectations when there were any */
	PUSH_LOST,       /* somebody else moved the ref: nothing changed there */
	PUSH_REFUSED,    /* the remote's rules: nothing changed there */
	PUSH_NO_GUARD,   /* the remote cannot check expectations: nothing changed there */
	PUSH_UNVERIFIED, /* accepted, but nobody said that the expectations were checked */
	PUSH_UNKNOWN,    /* no answer: it may have landed */
};

struct push {
	const char *remote, *ref;
	struct ledger_oid old, new; /* zero: create; delete */
	const struct ledger_expect *expects;
	size_t nexpects;
	bool probe; /* ask for the hook's greeting instead */
	/* Out; release with push_release(). */
	bool greeted;  /* probe: there is a Stargate */
	bool conflict; /* LOST: a hook said so: an expectation, or its upstream */
	bool cut;      /* UNKNOWN: the connection ended in the middle: worth another try */
	char *reason;  /* one sentence, for all but LANDED */
	char *remarks; /* what the remote's hooks said to people, lines with "remote: " */
};

enum push_outcome push_run(struct kv *kv, struct push *p);
void push_release(struct push *p);

/* The words of the hook's machine lines (hook.c writes them): "kv-stargate: 1 WORD name=value..." */
#define STARGATE_LINE "kv-stargate: 1 "

#endif
