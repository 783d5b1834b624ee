/* SPDX-License-Identifier: MIT */
/*
 * The keeper: a thread of low priority that makes the journal, turns frozen generations into synced packs, and removes
 * the small packs that those cover.
 *
 * A small pack may go when a synced pack holds all that it holds.  It stays a while for readers that have just listed it,
 * and as long as a `git gc` runs (within bounds): gc gives up when a pack vanishes under it.  It must never be a .keep pack
 * nor live in an alternate: git then drops objects from the checkpoint pack as redundant, and ours removes the other copy.
 */
#include "engine.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define GRACE_BUSY_MS 1000 /* somebody else was here in the last seconds */
#define GRACE_MS 100
#define FOREIGN_MS 10000
#define KEEP_RETRY_MS 200
/*
 * zlib is nine tenths of the work.  While commits come faster than this they wait for the processor, and would wait for
 * that too: what they leave is stored then, and larger.
 */
#define STORED_PER_MS 8
/*
 * So many small packs wait for the end of a gc at most.  A gc that meets ever more packs never ends; one that loses a pack
 * under it gives up, harms nothing and can be run again.
 */
#define RETIRED_MAX 1024

int store_make_journal(struct store *s, off_t size)
{
	struct journal j;
	int r = 0;

	while (s->journal_state == JOURNAL_MAKING)
		pthread_cond_wait(&s->changed, &s->mu);
	if (s->journal_state == JOURNAL_READY)
		return 0;
	s->journal_state = JOURNAL_MAKING;
	pthread_mutex_unlock(&s->mu);
	r = packer_start(s);
	if (!r)
		r = journal_create(&j, s->dirfd, s->owner.dir, s->owner.id, size, !s->nosync);
	pthread_mutex_lock(&s->mu);
	if (!r)
		s->journal = j;
	s->journal_state = r ? JOURNAL_NONE : JOURNAL_READY;
	if (r == LEDGER_EDEAD)
		store_die(s, ledger_errmsg());
	pthread_cond_broadcast(&s->changed);
	return r;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The refs that the generation moved, as they are now: to the disk, each once. */
static int sync_refs(struct store *s, struct gen *g)
{
	const char *last = "";
	int r = 0;

	if (g->nrefs)
		qsort(g->refnames, g->nrefs, sizeof(char *), by_name);
	for (size_t i = 0; i < g->nrefs && !r; i++) {
		if (strcmp(g->refnames[i], last) != 0)
			r = refmove_sync(s->dirfd, g->refnames[i]);
		last = g->refnames[i];
	}
	return r;
}

/* Staged values were reachable by nobody for a while: a foreign prune may have taken their packs. */
static int check_staged(struct store *s, struct gen *g)
{
	int r = 0;

	for (size_t i = 0; i < g->nstaged && !r; i++) {
		if (!odb_exists(s, ledger_value_oid(g->staged[i])))
			r = stage_write(s, g->staged[i]);
	}
	return r;
}

/* Everything of the generation into one synced pack.  mu is not held: nobody changes a frozen generation. */
static int write_checkpoint(struct store *s, struct gen *g, bool stored)
{
	struct pack *p = &s->ck_pack;
	char tmp[64];
	int r = 0;

	if (g->n) {
		p->level = stored ? 0 : 1;
		pack_begin(p);
		for (size_t i = 0; i < g->n && !r; i++)
			r = pack_add(p, g->list[i], NULL);
		if (!r)
			r = pack_finish(p);
		store_tmp(s, tmp, "c", 0);
		if (!r)
			r = pack_write(p, s->dirfd, tmp, !s->nosync);
	}
	if (!r)
		r = check_staged(s, g);
	if (!r && !s->nosync)
		r = sync_refs(s, g);
	if (!r)
		keep_end_gen(s, g);
	return r;
}

static void retire(struct store *s, struct gen *g)
{
	uint64_t now = store_now();
	bool company = s->foreign_at && now - s->foreign_at < FOREIGN_MS;

	if (!io_grow((void **)&s->retired, &s->retiredcap, s->nretired + g->nsmall, sizeof(*s->retired))) {
		/* They go when the owner's end is tidied up. */
		return;
	}
	for (size_t i = 0; i < g->nsmall; i++) {
		s->retired[s->nretired].seq = g->small[i];
		s->retired[s->nretired++].at = now + (company ? GRACE_BUSY_MS : GRACE_MS);
	}
}

/* Removes what is due; mu is held and let go meanwhile.  Returns when the next one is due, 0: never. */
static uint64_t run_retired(struct store *s)
{
	uint64_t now = store_now();
	uint64_t batch[64];
	size_t n = 0;

	if (!s->nretired)
		return 0;
	if (s->retired[0].at > now)
		return s->retired[0].at;
	if (s->nretired <= RETIRED_MAX && store_gc_running(s))
		return now + GRACE_BUSY_MS;
	while (n < s->nretired && n < 64 && s->retired[n].at <= now) {
		batch[n] = s->retired[n].seq;
		n++;
	}
	memmove(s->retired, s->retired + n, (s->nretired - n) * sizeof(*s->retired));
	s->nretired -= n;
	pthread_mutex_unlock(&s->mu);
	for (size_t i = 0; i < n; i++)
		small_remove(s, batch[i]);
	pthread_mutex_lock(&s->mu);
	return now;
}

/* What `done` says must reach the disk some time: at once when it is quiet, else with the next group. */
static void note_done(struct store *s)
{
	struct record rec = {0};

	if (s->group_active || s->cur->n)
		return;
	record_begin(&rec);
	if (journal_write(&s->journal, &rec) == LEDGER_EDEAD)
		store_die(s, ledger_errmsg());
	record_release(&rec);
}

/* mu is held, and let go while the disk works. */
static int checkpoint_frozen(struct store *s)
{
	struct gen *g = s->frozen;
	bool stored = g->commits > STORED_PER_MS * (store_now() - g->born);
	int r;

	/* The refs must be there before they are synced. */
	while (g->shown < g->n) {
		if (s->pub_err || s->dead || s->stop)
			return s->pub_err ? s->pub_err : LEDGER_EDEAD;
		s->flush_now = true;
		pthread_cond_signal(&s->pub_cond);
		pthread_cond_wait(&s->changed, &s->mu);
	}
	pthread_mutex_unlock(&s->mu);
	r = write_checkpoint(s, g, stored);
	if (r == LEDGER_ENOSPC)
		spares_clear(s); /* it is tried again */
	/* The first journal may have been a small one.  Nobody else touches its idle segment before `frozen` is NULL again.
	 */
	if (!r)
		journal_extend(&s->journal, JOURNAL_SIZE);
	pthread_mutex_lock(&s->mu);
	/* Whatever else failed is tried again, with files that are written anew. */
	if (r == LEDGER_EDEAD)
		return store_die(s, ledger_errmsg());
	if (r < 0)
		return r;
	s->journal.done = g->last_seq;
	retire(s, g);
	s->frozen = NULL;
	gen_unref(g);
	s->checkpoints++;
	note_done(s);
	return 0;
}

/* When the keeper must look again though nobody wakes it; 0: never. */
static uint64_t next_look(struct store *s, uint64_t retired)
{
	uint64_t at = retired, cut = 0;

	if (!s->frozen && s->journal_state == JOURNAL_READY && (s->cur->n || s->cur->nrefs))
		cut = s->cur->born + (s->cur->nsmall >= 16 || s->cur->commits >= 64 ? CUT_BUSY_MS : CUT_QUIET_MS);
	if (cut && (!at || cut < at))
		at = cut;
	return at;
}

static void *keeper_main(void *arg)
{
	struct store *s = arg;
	sigset_t leases;
	uint64_t at;

	store_be_nice();
	sigemptyset(&leases);
	sigaddset(&leases, SIGIO);
	pthread_sigmask(SIG_BLOCK, &leases, NULL);
	atomic_store(&s->keeper_tid, (int)syscall(SYS_gettid));
	pthread_mutex_lock(&s->mu);
	while (!s->stop && !s->dead) {
		if (s->journal_state == JOURNAL_WANTED && store_make_journal(s, JOURNAL_SIZE) < 0) {
			store_log(s, "no journal, so every commit is synced on its own: %s", ledger_errmsg());
			s->direct_groups = 0;
			continue; /* dead perhaps */
		}
		if (s->frozen) {
			s->keep_err = checkpoint_frozen(s);
			pthread_cond_broadcast(&s->changed);
			if (s->keep_err && !s->dead && !s->stop) {
				store_wait_until(s, &s->keep_cond, store_now() + KEEP_RETRY_MS);
				continue;
			}
		}
		/* All that is due before the next cut: under load there is always a next one. */
		do
			at = run_retired(s);
		while (at && at <= store_now() && !s->stop);
		if (!s->group_active && store_cut_due(s, store_now())) {
			store_cut(s);
			if (!s->frozen)
				store_wait_until(s, &s->keep_cond, store_now() + KEEP_RETRY_MS);
			continue;
		}
		if (!s->no_upkeep && !s->upkeep_busy && s->checkpoints >= UPKEEP_EVERY) {
			s->checkpoints = 0;
			upkeep_begin(s);
		}
		at = next_look(s, at);
		if (s->frozen || s->stop || (at && at <= store_now() && !s->group_active))
			continue;
		if (at)
			store_wait_until(s, &s->keep_cond, at > store_now() ? at : store_now() + 10);
		else
			pthread_cond_wait(&s->keep_cond, &s->mu);
	}
	pthread_mutex_unlock(&s->mu);
	return NULL;
}

int keeper_start(struct store *s)
{
	pack_init(&s->ck_pack, 1);
	if (pthread_create(&s->keeper, NULL, keeper_main, s) != 0)
		return ledger_fail(LEDGER_ENOMEM, "no thread for checkpoints");
	s->has_keeper = true;
	return 0;
}

void keeper_stop(struct store *s)
{
	if (!s->has_keeper)
		return;
	pthread_mutex_lock(&s->mu);
	s->stop = true;
	if (s->upkeep_pid)
		kill(s->upkeep_pid, SIGTERM);
	pthread_cond_broadcast(&s->keep_cond);
	pthread_cond_broadcast(&s->changed);
	pthread_cond_broadcast(&s->upkeep_cond);
	pthread_mutex_unlock(&s->mu);
	pthread_join(s->keeper, NULL);
	upkeep_join(s);
	s->has_keeper = false;
}

int checkpoint_all(struct store *s)
{
	int r = 0;

	if (held_unpublished(s))
		return ledger_fail(LEDGER_EIO, "not everything is published");
	for (int i = 0; i < 2 && !r; i++) {
		struct gen *g = i ? s->cur : s->frozen;

		if (g && (g->n || g->nrefs || g->nstaged || g->nkept))
			r = write_checkpoint(s, g, false);
		if (g && !r)
			retire(s, g);
	}
	if (r || store_gc_running(s))
		return r ? r : LEDGER_ELOCKED;
	while (s->nretired > 0)
		small_remove(s, s->retired[--s->nretired].seq);
	return 0;
}
