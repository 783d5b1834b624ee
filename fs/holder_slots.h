/* SPDX-License-Identifier: MIT */
/* The inside of fs/holder.h: for holder.c and holder_slots.c only. */
#ifndef FS_HOLDER_SLOTS_H
#define FS_HOLDER_SLOTS_H

#include "holder.h"
#include <pthread.h>
#include <stdatomic.h>

/*
 * Expectations lie in slots, one per thing that can be expected: a namespace (key ""), or one key of it.  Deaths are learnt
 * when a slot is looked at: slot_settle() first brings its expectations to their present holders, so that all that follows
 * may take `holder` as it stands.  Slots that nobody looks at again are swept now and then by holders_arm().
 */
#define NBUCKETS 4096

struct slot {
	struct slot *next; /* bucket */
	char *ns, *key;    /* one allocation each; ns may be exchanged by holders_ns_renamed() */
	struct holder_expectation *first;
};

/* All fields: holders->lock. */
struct holder_expectation {
	struct holder_expectation *next; /* slot */
	struct slot *slot;               /* NULL: no longer in one; freed when it is settled */
	struct proc *setter;             /* one reference, which keeps `holder` too: an ancestor or itself */
	struct proc *holder;
	struct ledger_expect e; /* path NULL */
	uint64_t seq;           /* order of arming */
	uint64_t died;          /* clock when the last holder's end was learnt; 0: alive */
	size_t late;            /* when dead: chains that may still write under it */
	bool used;              /* a write under it was tried */
	bool busy;              /* handed out */
};

struct holder_chain {
	struct holders *h;
	struct proc *leaf; /* one reference */
	atomic_size_t refs;
	uint64_t born;                    /* const */
	struct holder_chain *prev, *next; /* h->lock */
};

struct holders {
	struct proctree *tree;
	pthread_mutex_t lock;
	pthread_cond_t given_back;
	size_t waiting;                /* lock */
	atomic_size_t count;           /* written under lock */
	size_t dead;                   /* lock: expectations that stay for late chains */
	uint64_t clock;                /* lock */
	size_t armed;                  /* lock: since the last sweep */
	struct holder_chain *chains;   /* lock */
	struct slot *bucket[NBUCKETS]; /* lock */
};

/* All of these: h->lock is held. */

struct slot *slot_find(struct holders *h, const char *ns, const char *key); /* NULL: none */
struct slot *slot_make(struct holders *h, const char *ns, const char *key); /* NULL: no memory */
void slot_relink(struct holders *h, struct slot *s);                        /* into the bucket of its name */
/* Frees it if it is empty; NULL is fine. */
void slot_drop(struct holders *h, struct slot *s);

/* Passes the expectations of a slot on from processes that have ended, as far as deaths are learnt. */
void slot_settle(struct holders *h, struct slot *s);

/*
 * What a write of `leaf` meets in this slot, which is settled: its own or its nearest ancestor's; NULL.  Dead ones count for
 * a chain alone, and one that they stayed for.
 */
struct holder_expectation *slot_pick(struct slot *s, const struct proc *leaf, const struct holder_chain *chain);

/* Takes it out of its slot, which stays even when it is empty now.  One that is handed out is freed by its settling. */
void expectation_end(struct holders *h, struct holder_expectation *x);

#endif
