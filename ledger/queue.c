/* SPDX-License-Identifier: MIT */
#include "queue.h"

#include <stddef.h>

void queue_init(struct queue *q)
{
	pthread_mutex_init(&q->lock, NULL);
	q->leading = false;
	q->head = NULL;
	q->tail = &q->head;
}

void queue_release(struct queue *q)
{
	pthread_mutex_destroy(&q->lock);
}

/* The front of the queue, up to one that wants to be alone.  Lock held. */
static struct queue_item *take(struct queue *q)
{
	struct queue_item *first = q->head, *last = first;

	while (!first->alone && last->next && !last->next->alone)
		last = last->next;
	q->head = last->next;
	if (!q->head)
		q->tail = &q->head;
	last->next = NULL;
	return first;
}

struct queue_item *queue_begin(struct queue *q, struct queue_item *it)
{
	struct queue_item *batch = NULL;

	it->next = NULL;
	it->done = false;
	pthread_cond_init(&it->wake, NULL);
	pthread_mutex_lock(&q->lock);
	*q->tail = it;
	q->tail = &it->next;
	/* Only the head may lead, so that its batch has its own item: it is woken when the leader before it ends. */
	while (!it->done && (q->leading || q->head != it))
		pthread_cond_wait(&it->wake, &q->lock);
	if (!it->done) {
		q->leading = true;
		batch = take(q);
	}
	pthread_mutex_unlock(&q->lock);
	if (!batch)
		pthread_cond_destroy(&it->wake);
	return batch;
}

void queue_end(struct queue *q, struct queue_item *batch)
{
	struct queue_item *own = batch;

	/* The leader's own item is the first of its batch. */
	pthread_mutex_lock(&q->lock);
	for (struct queue_item *it = own->next, *next; it; it = next) {
		next = it->next; /* once done, the item may be gone as soon as the lock is free */
		it->done = true;
		pthread_cond_signal(&it->wake);
	}
	q->leading = false;
	if (q->head)
		pthread_cond_signal(&q->head->wake);
	pthread_mutex_unlock(&q->lock);
	pthread_cond_destroy(&own->wake);
}
