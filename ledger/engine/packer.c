/* SPDX-License-Identifier: MIT */
/*
 * The thread that writes a group's small pack while the group's own thread syncs the journal.  That way round, because the
 * sync takes longer: the pack is mostly there when it is over, and nobody has to be woken for it.
 */
#include "engine.h"

#include <stdio.h>

static int write_group(struct store *s, uint64_t seq)
{
	struct pack *p = &s->group.pack;
	int r = pack_finish(p);

	return r ? r : small_write(s, p, seq, "g");
}

static void *packer_main(void *arg)
{
	struct store *s = arg;
	struct packer *w = &s->packer;

	pthread_mutex_lock(&w->mu);
	for (;;) {
		uint64_t seq;
		int r;

		while (w->state != PACKER_ASKED && w->state != PACKER_STOP)
			pthread_cond_wait(&w->cond, &w->mu);
		if (w->state == PACKER_STOP)
			break;
		seq = w->seq;
		pthread_mutex_unlock(&w->mu);
		r = write_group(s, seq);
		pthread_mutex_lock(&w->mu);
		w->result = r;
		if (r)
			snprintf(w->why, sizeof(w->why), "%s", ledger_errmsg());
		w->state = PACKER_DONE;
		pthread_cond_broadcast(&w->cond);
	}
	pthread_mutex_unlock(&w->mu);
	return NULL;
}

int packer_start(struct store *s)
{
	struct packer *w = &s->packer;

	if (w->running)
		return 0;
	pthread_mutex_init(&w->mu, NULL);
	pthread_cond_init(&w->cond, NULL);
	w->state = PACKER_IDLE;
	if (pthread_create(&w->thread, NULL, packer_main, s) != 0)
		return ledger_fail(LEDGER_ENOMEM, "no thread for packs");
	w->running = true;
	return 0;
}

void packer_stop(struct store *s)
{
	struct packer *w = &s->packer;

	if (!w->running)
		return;
	pthread_mutex_lock(&w->mu);
	w->state = PACKER_STOP;
	pthread_cond_broadcast(&w->cond);
	pthread_mutex_unlock(&w->mu);
	pthread_join(w->thread, NULL);
	pthread_cond_destroy(&w->cond);
	pthread_mutex_destroy(&w->mu);
	w->running = false;
}

void packer_ask(struct store *s, uint64_t seq)
{
	struct packer *w = &s->packer;

	pthread_mutex_lock(&w->mu);
	w->seq = seq;
	w->state = PACKER_ASKED;
	pthread_cond_broadcast(&w->cond);
	pthread_mutex_unlock(&w->mu);
}

int packer_wait(struct store *s)
{
	struct packer *w = &s->packer;
	int r;

	pthread_mutex_lock(&w->mu);
	while (w->state != PACKER_DONE)
		pthread_cond_wait(&w->cond, &w->mu);
	w->state = PACKER_IDLE;
	r = w->result ? ledger_fail(w->result, "%s", w->why) : 0;
	pthread_mutex_unlock(&w->mu);
	return r;
}
