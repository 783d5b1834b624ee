/* SPDX-License-Identifier: MIT */
#include "engine.h"

static void *syncer_main(void *arg)
{
	struct store *s = arg;
	struct syncer *y = &s->syncer;

	pthread_mutex_lock(&y->mu);
	for (;;) {
		int r;

		while (y->state != SYNCER_ASKED && y->state != SYNCER_STOP)
			pthread_cond_wait(&y->cond, &y->mu);
		if (y->state == SYNCER_STOP)
			break;
		pthread_mutex_unlock(&y->mu);
		r = journal_write(&s->journal, &s->group.rec);
		pthread_mutex_lock(&y->mu);
		y->result = r;
		y->state = SYNCER_DONE;
		pthread_cond_broadcast(&y->cond);
	}
	pthread_mutex_unlock(&y->mu);
	return NULL;
}

int syncer_start(struct store *s)
{
	struct syncer *y = &s->syncer;

	if (y->running)
		return 0;
	pthread_mutex_init(&y->mu, NULL);
	pthread_cond_init(&y->cond, NULL);
	y->state = SYNCER_IDLE;
	if (pthread_create(&y->thread, NULL, syncer_main, s) != 0)
		return ledger_fail(LEDGER_ENOMEM, "no thread for the journal");
	y->running = true;
	return 0;
}

void syncer_stop(struct store *s)
{
	struct syncer *y = &s->syncer;

	if (!y->running)
		return;
	pthread_mutex_lock(&y->mu);
	y->state = SYNCER_STOP;
	pthread_cond_broadcast(&y->cond);
	pthread_mutex_unlock(&y->mu);
	pthread_join(y->thread, NULL);
	pthread_cond_destroy(&y->cond);
	pthread_mutex_destroy(&y->mu);
	y->running = false;
}

void syncer_ask(struct store *s)
{
	struct syncer *y = &s->syncer;

	pthread_mutex_lock(&y->mu);
	y->state = SYNCER_ASKED;
	pthread_cond_broadcast(&y->cond);
	pthread_mutex_unlock(&y->mu);
}

int syncer_wait(struct store *s)
{
	struct syncer *y = &s->syncer;
	int r;

	pthread_mutex_lock(&y->mu);
	while (y->state != SYNCER_DONE)
		pthread_cond_wait(&y->cond, &y->mu);
	y->state = SYNCER_IDLE;
	r = y->result;
	pthread_mutex_unlock(&y->mu);
	return r;
}
