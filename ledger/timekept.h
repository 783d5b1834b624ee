/* SPDX-License-Identifier: MIT */
/* The indexes in memory and their files.  Internal to timekeeper.c and timekept.c. */
#ifndef LEDGER_TIMEKEPT_H
#define LEDGER_TIMEKEPT_H

#include "timeindex.h"

#include <pthread.h>

/* Steps between two writings, at least; a larger index is written at each 16th part of its keys. */
#define SAVE_STEPS 1000
#define BUCKETS 256 /* a power of two */

struct kept {
	struct kept *next, *job; /* keeper's lock */
	char *ns;                /* constant */
	unsigned refs;           /* keeper's lock; 1 is the table's */
	bool queued;             /* keeper's lock */
	uint64_t used;           /* keeper's lock */
	pthread_mutex_t lock;    /* before all locks of the ledger but the keeper's, which is let go before */
	pthread_cond_t settled;  /* it is not FOLLOWING any more */
	enum { FRESH, READY, FOLLOWING, FAILED } state; /* lock */
	int rc;                                         /* lock; why it FAILED */
	unsigned seen;                                  /* lock; commits while it is FRESH */
	struct timeindex index;                         /* lock; while FOLLOWING the thread's */
	size_t saved, tried; /* the same; index.steps as of the file, and of the last try to write it */
	bool own;            /* the same; it has times that the history does not have */
	size_t counted;      /* the same; its share of keeper.memory */
};

struct timekeeper {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct kept *bucket[BUCKETS]; /* lock */
	struct kept *jobs, **end;     /* lock; a reference each */
	uint64_t clock;               /* lock */
	pthread_t thread;             /* lock */
	bool running;                 /* lock */
	bool swept;                   /* the thread's */
	atomic_bool stop;
	atomic_size_t memory;
};

/* A reference, made when there is none; NULL: out of memory. */
struct kept *kept_get(struct ledger *l, const char *ns);
void kept_put(struct timekeeper *k, struct kept *x);
/* The keeper's lock is held; NULL: there is none. */
struct kept *kept_find_locked(struct timekeeper *k, const char *ns);
/* The same; the table's reference goes to the caller. */
void kept_unlist(struct timekeeper *k, struct kept *x);
/* Ends those of which nobody asked for longest while all are too large. */
void kept_make_room(struct ledger *l);
void kept_count_memory(struct timekeeper *k, struct kept *x);

/* From the disk, if something good is there.  The index is locked. */
void kept_begin(struct ledger *l, struct kept *x);
bool kept_save_due(const struct kept *x);
/* Of an index that the caller has in hand, locked or not. */
void kept_save(struct ledger *l, struct kept *x);
/* The same while others go on with it. */
void kept_save_beside(struct ledger *l, struct kept *x);

#endif
