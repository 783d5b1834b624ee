/* SPDX-License-Identifier: MIT */
/*
 * Expectations and who holds them (SPEC 6.2, 6.3).
 *
 * An expectation is about a namespace (its tree, commit or version: one of the three) or about one key of it (its blob, or
 * that it is absent).  It belongs to the process that armed it, its setter; the first living process from the setter
 * upwards is its holder:
 *  - the holder exits, and no write under the expectation was tried yet: the parent that it had becomes the holder.  An
 *    older expectation of that parent about the same thing gives way to the newer one;
 *  - the holder exits after a write under it has landed, or was refused: the expectation ends with it.  (SPEC says
 *    "without having written"; a refused write counts as written, or the stale guard of every script that lost a race would
 *    move into the shell that ran it and refuse the user's next writes.)
 *  - process 1 is never a holder, unless it armed the expectation itself.
 * A write is checked against the expectation of the writing process, else of its nearest ancestor that holds one; that is
 * decided for the namespace's kinds and for the key's blob each by itself, so a write may have to meet one of both.
 *
 * A handle outlives processes: its RELEASE has no process id, and the writer may be gone.  So a handle opened for writing
 * keeps a `struct holder_chain`, taken when it is opened (or first written), and commits with that.  An expectation whose
 * last holder is gone stays for the chains that were taken below that holder: a late write is guarded as it was at the open.
 *
 * Writes of one holder are serialised: holders_find() hands out each expectation to one writer at a time and the others
 * wait, because the next write must be checked against what this one makes.
 *
 * Not covered (SPEC 6.2): a setter or writer that daemonised before it was first met; two threads of one process that arm
 * for the same thing (the later one counts); a script that runs as process 1 and arms through a child.
 *
 * Threads: any.  Functions that return int return 0 or a positive errno; ESRCH means that `tid` is in no process that this
 * daemon can see.  Lock order: an expectation that is handed out (all that a change needs at
 * once, or none), then the table's lock, then the process tree's; the table's lock is never held across a call to the
 * outside.
 */
#ifndef FS_HOLDER_H
#define FS_HOLDER_H

#include "proctree.h"
#include <ledger/change.h>

struct holders;
struct holder_chain;

/* More expectations than this at a time: ENOSPC from holders_arm(). */
#define HOLDERS_MAX 65536

/* `t` is borrowed and must outlive the table.  0 or ENOMEM. */
int holders_new(struct holders **out, struct proctree *t);
/* No chain and no set may be out.  NULL is fine. */
void holders_free(struct holders *h);

/*
 * Whose write it is: a thread that is asking now, or the chain that a handle kept.  `chain` goes first when it is not NULL;
 * then tid may be 0.
 */
struct holder_who {
	pid_t tid;
	struct holder_chain *chain; /* borrowed */
};

/* --- chains of handles -------------------------------------------------------------------------------------------- */

/* The process of `tid` and its ancestors, as they are now.  One reference.  ESRCH, ENOMEM, EMFILE. */
int holders_chain(struct holders *h, pid_t tid, struct holder_chain **out);
struct holder_chain *holder_chain_ref(struct holder_chain *c);
/* NULL is fine.  The last one lets the expectations go that had stayed for this chain. */
void holder_chain_unref(struct holder_chain *c);
/* The process that the chain begins with, borrowed (for outcomes_record()). */
struct proc *holder_chain_proc(struct holder_chain *c);

/* --- arming ------------------------------------------------------------------------------------------------------- */

/*
 * The process of `tid` expects `e` of namespace `ns`: replaces what the same process expected of the same thing (the
 * namespace, or the key e->path).  `e` is copied; e->path is the key for BLOB and ABSENT and not looked at otherwise.
 * The caller has checked the value's form, and that a stale one is told at the next write, not here.
 * EINVAL: unknown kind, a key is missing; ESRCH, ENOMEM, EMFILE, ENOSPC.
 */
int holders_arm(struct holders *h, const char *ns, pid_t tid, const struct ledger_expect *e);

/*
 * The expectation that a write of `tid` would meet: its own, else its nearest ancestor's.  `key` NULL: the namespace's, else
 * the key's.  out->path is NULL.  ENODATA: none; the caller compares out->what with the attribute that was asked for.
 */
int holders_get(struct holders *h, const char *ns, const char *key, pid_t tid, struct ledger_expect *out);

/*
 * Takes back what holders_get() would give, if it is of the kind `what` (for BLOB and ABSENT: either); else ENODATA.  A
 * commit that is already under way with it is not stopped.
 */
int holders_disarm(struct holders *h, const char *ns, const char *key, pid_t tid, enum ledger_expect_what what);

/* --- checking ----------------------------------------------------------------------------------------------------- */

#define HOLDER_KEYS_MAX 2 /* both ends of a rename */

/* What one change has to meet, handed out to it alone.  Fill with holders_find(), give back with holders_settle(). */
struct holder_set {
	/* To be passed as ledger_change.expects/nexpects; the paths in it are the caller's own `keys`. */
	struct ledger_expect expects[1 + HOLDER_KEYS_MAX];
	size_t n;
	struct holder_expectation *held[1 + HOLDER_KEYS_MAX]; /* private; as expects */
	int key_of[1 + HOLDER_KEYS_MAX]; /* private; index into the keys of the find, -1: the namespace */
};

/*
 * The expectations that a change by `who` to `keys` (0 to HOLDER_KEYS_MAX of them) of `ns` has to meet: at most one about
 * the namespace and one per key.  Waits for other changes that have one of them in hand.  set->n is 0 when there are none;
 * while nobody expects anything of `ns` or these keys no system call is made and nobody's process is looked at.
 * On success holders_settle() must follow, by any thread.  ESRCH only when there are expectations to choose from and no
 * chain was given; the change is then unguarded by SPEC 6.2 (nobody that we can see is its ancestor), `set` is empty and
 * valid.
 */
int holders_find(struct holders *h, const char *ns, const char *const *keys, size_t nkeys, const struct holder_who *who,
		 struct holder_set *set);

/*
 * As holders_find(), to look only (is an open or a write(2) stale already?): waits for nobody, and `set` holds nothing:
 * settling it does nothing.
 */
int holders_peek(struct holders *h, const char *ns, const char *const *keys, size_t nkeys, const struct holder_who *who,
		 struct holder_set *set);

enum holder_outcome {
	HOLDER_NOTHING,  /* no answer about the state: other error, nothing tried; expectations stay, inheritance too */
	HOLDER_LANDED,   /* the change is there (or was already): expectations move on to what it made */
	HOLDER_CONFLICT, /* refused: expectations stay as they are; they no longer pass on to a parent */
};

/*
 * Gives the set back.  LANDED: tree, commit and version move on to `tip`, the i-th key's blob to blobs[i] (as many as the
 * find had keys; all zero: the key is absent now).  `tip` and `blobs` are not looked at otherwise.  `set` is empty
 * afterwards; an empty one may be settled again.
 */
void holders_settle(struct holders *h, struct holder_set *set, enum holder_outcome outcome, const struct ledger_tip *tip,
		    const struct ledger_oid *blobs);

/* The namespace has a new name: expectations follow; those about `to` (there is none by that name) end. */
void holders_ns_renamed(struct holders *h, const char *from, const char *to);

/* How many expectations there are (for .kv/stats and tests). */
size_t holders_count(struct holders *h);

#endif
