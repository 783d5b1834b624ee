/* SPDX-License-Identifier: MIT */
/*
 * Leader and followers.  Whoever has something for the disk queues it; the first one that finds nobody leading becomes
 * the leader, takes all that is queued, works it off in one group and wakes the others with their results.  What comes
 * meanwhile forms the next group.  Internal to ledger/.
 */
#ifndef LEDGER_QUEUE_H
#define LEDGER_QUEUE_H

#include <pthread.h>
#include <stdbool.h>

struct queue_item {
	struct queue_item *next;
	pthread_cond_t wake;
	bool alone; /* not to share a group */
	bool done;  /* queue's lock */
};

struct queue {
	pthread_mutex_t lock;
	bool leading;                    /* lock */
	struct queue_item *head, **tail; /* lock */
};

void queue_init(struct queue *q);
void queue_release(struct queue *q);

/*
 * Queues `it` and waits.  NULL: a leader has done it.  Else the caller leads: the list (`next`) that it gets, `it`
 * among them, is to be worked off and given to queue_end().
 */
struct queue_item *queue_begin(struct queue *q, struct queue_item *it);
void queue_end(struct queue *q, struct queue_item *batch);

#endif
