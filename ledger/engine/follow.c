/* SPDX-License-Identifier: MIT */
/*
 * A thread that makes a draft's sums while it is written, on the guess that it will have a certain size.  It reads what is
 * complete and nobody will write again; when that proves wrong, the sums are thrown away, and sealing makes them anew.
 */
#include "draft.h"
#include "engine.h"

#include <stdlib.h>

struct follow {
	const struct store_draft *d;
	struct sums *sums; /* the thread's until it has ended */
	pthread_t thread;
	pthread_mutex_t mu;
	pthread_cond_t cond;
	uint64_t written; /* mu: so many bytes are complete */
	uint64_t told;    /* the writer's: at this size the thread was woken last */
	bool stop;        /* mu */
	int r;            /* the thread's until it has ended */
};

static void *follow_main(void *arg)
{
	struct follow *f = arg;
	struct sums *s = f->sums;

	pthread_mutex_lock(&f->mu);
	/* The last piece, with the end, is for who seals. */
	while (!f->stop && !f->r && s->size - s->done > SUMS_PIECE) {
		if (f->written - s->done <= SUMS_PIECE) {
			pthread_cond_wait(&f->cond, &f->mu);
			continue;
		}
		pthread_mutex_unlock(&f->mu);
		f->r = sums_piece(f->d, s);
		pthread_mutex_lock(&f->mu);
	}
	pthread_mutex_unlock(&f->mu);
	return NULL;
}

void store_draft_expect(struct store_draft *d, uint64_t size)
{
	struct follow *f;

	if (d->follow || d->sealed || size < d->size || size < DRAFT_MIN)
		return;
	f = io_calloc(1, sizeof(*f));
	if (!f)
		return;
	f->d = d;
	f->sums = sums_new(size);
	pthread_mutex_init(&f->mu, NULL);
	pthread_cond_init(&f->cond, NULL);
	if (f->sums && pthread_create(&f->thread, NULL, follow_main, f) == 0) {
		d->follow = f;
		follow_wrote(d, d->size);
		return;
	}
	pthread_cond_destroy(&f->cond);
	pthread_mutex_destroy(&f->mu);
	free(f->sums);
	free(f);
}

void follow_wrote(struct store_draft *d, uint64_t end)
{
	struct follow *f = d->follow;

	if (!f || end - f->told < SUMS_PIECE)
		return;
	f->told = end;
	pthread_mutex_lock(&f->mu);
	f->written = end;
	pthread_cond_signal(&f->cond);
	pthread_mutex_unlock(&f->mu);
}

struct sums *follow_end(struct store_draft *d)
{
	struct follow *f = d->follow;
	struct sums *s;

	if (!f)
		return NULL;
	d->follow = NULL;
	pthread_mutex_lock(&f->mu);
	f->stop = true;
	pthread_cond_signal(&f->cond);
	pthread_mutex_unlock(&f->mu);
	pthread_join(f->thread, NULL);
	s = f->sums;
	if (f->r || s->size != d->size) {
		free(s);
		s = NULL;
	}
	pthread_cond_destroy(&f->cond);
	pthread_mutex_destroy(&f->mu);
	free(f);
	return s;
}

void follow_cancel(struct store_draft *d)
{
	if (d->follow)
		free(follow_end(d));
}
