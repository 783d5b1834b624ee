/* SPDX-License-Identifier: MIT */
/*
 * publish=async: groups are acknowledged when the journal has them; some milliseconds later this thread makes one pack of
 * them all, moves the refs and lets their locks go.
 */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

#define RETRY_MS 100

/* What the window is to do to a ref. */
struct window_move {
	struct window_move *next;
	char *name;
	struct ledger_oid from, to;
	char why[256];
};

static void moves_free(struct window_move *m)
{
	while (m) {
		struct window_move *next = m->next;

		free(m->name);
		free(m);
		m = next;
	}
}

/* The moves as they are now; mu is held. */
static int moves_take(struct store *s, struct window_move **out)
{
	struct window_move *list = NULL, *m;
	struct held *h;

	for (h = s->held; h; h = h->next) {
		if (!h->in_window)
			continue;
		m = io_calloc(1, sizeof(*m));
		if (m)
			m->name = io_strdup(h->name);
		if (!m || !m->name) {
			free(m);
			moves_free(list);
			return LEDGER_ENOMEM;
		}
		m->from = h->disk;
		m->to = h->tip;
		memcpy(m->why, h->why, sizeof(m->why));
		m->next = list;
		list = m;
	}
	*out = list;
	return 0;
}

/* One small pack of the generation's objects up to `n`; mu is held, and let go while the disk works. */
static int publish_gen(struct store *s, struct gen *g, size_t n)
{
	struct pack *p = &s->window_pack;
	size_t from = g->published;
	struct obj **objs;
	uint64_t seq;
	int r = 0;

	if (from >= n)
		return 0;
	if (!gen_reserve(g, 0, 0, 2, 0)) /* one for us, one for a group that publishes itself meanwhile */
		return LEDGER_ENOMEM;
	objs = io_malloc((n - from) * sizeof(*objs));
	if (!objs)
		return LEDGER_ENOMEM;
	/* The list may be moved while others append to it. */
	memcpy(objs, g->list + from, (n - from) * sizeof(*objs));
	seq = ++s->small_seq;
	pthread_mutex_unlock(&s->mu);
	pack_begin(p);
	for (size_t i = 0; i < n - from && !r; i++)
		r = pack_add(p, objs[i], NULL);
	if (!r)
		r = pack_finish(p);
	if (!r)
		r = small_write(s, p, seq, "w");
	free(objs);
	pthread_mutex_lock(&s->mu);
	if (!r) {
		g->small[g->nsmall++] = seq;
		g->published = n;
	}
	return r;
}

static int publish_window(struct store *s)
{
	struct gen *frozen = s->frozen ? gen_ref(s->frozen) : NULL, *cur = gen_ref(s->cur);
	size_t nfrozen = frozen ? frozen->n : 0, ncur = cur->n;
	struct window_move *moves, *m;
	struct held *h;
	int r;

	r = moves_take(s, &moves);
	if (r < 0) {
		moves = NULL;
		goto out;
	}
	if (frozen)
		r = publish_gen(s, frozen, nfrozen);
	if (!r)
		r = publish_gen(s, cur, ncur);
	for (m = moves; m && !r; m = m->next) {
		pthread_mutex_unlock(&s->mu);
		/* There and back in one window is no move. */
		if (!ledger_oid_eq(&m->from, &m->to))
			r = store_move_ref(s, m->name, &m->from, &m->to, m->why, false);
		pthread_mutex_lock(&s->mu);
		if (r < 0)
			break;
		h = held_find(s, m->name);
		h->disk = m->to;
		h->in_window = !ledger_oid_eq(&h->tip, &h->disk);
		held_settle(s, h);
	}
	if (!r && frozen)
		frozen->shown = nfrozen;
	if (!r)
		cur->shown = ncur;
out:
	moves_free(moves);
	gen_unref(frozen);
	gen_unref(cur);
	return r;
}

static void *publisher_main(void *arg)
{
	struct store *s = arg;
	int r;

	pthread_mutex_lock(&s->mu);
	for (;;) {
		uint64_t end;

		while (!s->stop && !held_unpublished(s)) {
			s->flush_now = false;
			pthread_cond_wait(&s->pub_cond, &s->mu);
		}
		if (s->stop && (!held_unpublished(s) || s->pub_err))
			break;
		end = store_now() + (s->pub_err ? RETRY_MS : WINDOW_MS);
		while (!s->flush_now && !s->stop && store_now() < end)
			store_wait_until(s, &s->pub_cond, end);
		s->flush_now = false;
		r = publish_window(s);
		if (r < 0 && !s->pub_err)
			store_log(s, "what is acknowledged cannot be published yet: %s", ledger_errmsg());
		s->pub_err = r;
		s->pub_rounds++;
		pthread_cond_broadcast(&s->changed);
		pthread_cond_signal(&s->keep_cond);
	}
	pthread_mutex_unlock(&s->mu);
	return NULL;
}

int publisher_flush(struct store *s)
{
	uint64_t round = s->pub_rounds;

	while (held_unpublished(s)) {
		/* A round that was under way already may have failed for what is mended now: wait for one of our own. */
		if (s->pub_err && s->pub_rounds > round + 1)
			return ledger_fail(s->pub_err, "what is acknowledged cannot be published yet");
		s->flush_now = true;
		pthread_cond_signal(&s->pub_cond);
		pthread_cond_wait(&s->changed, &s->mu);
	}
	return 0;
}

int publisher_start(struct store *s)
{
	pack_init(&s->window_pack, 0);
	if (pthread_create(&s->publisher, NULL, publisher_main, s) != 0)
		return ledger_fail(LEDGER_ENOMEM, "no thread for the publisher");
	s->has_publisher = true;
	return 0;
}

/* Publishes what is left, as far as it can. */
void publisher_stop(struct store *s)
{
	if (!s->has_publisher)
		return;
	pthread_mutex_lock(&s->mu);
	s->stop = true;
	pthread_cond_signal(&s->pub_cond);
	pthread_mutex_unlock(&s->mu);
	pthread_join(s->publisher, NULL);
	pack_release(&s->window_pack);
	s->has_publisher = false;
}
