/* SPDX-License-Identifier: MIT */
/* How a group ends: direct, published at once, published later, or not at all. */
#include "engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

bool store_cut_due(struct store *s, uint64_t now)
{
	const struct gen *g = s->cur;
	uint64_t age;

	if (s->frozen || s->journal_state != JOURNAL_READY || (!g->n && !g->nstaged && !g->nrefs))
		return false;
	age = now - g->born;
	return s->cut_now || g->commits >= CUT_COMMITS || g->nsmall >= CUT_PACKS_MAX ||
	       g->bytes >= CUT_BYTES + (256u << 10) || s->journal.off >= s->journal.size[s->journal.cur] / 4 * 3 ||
	       (age >= CUT_PACKS_MS && g->nsmall >= CUT_PACKS) ||
	       (age >= CUT_BUSY_MS && (g->nsmall >= 16 || g->commits >= 64)) || age >= CUT_QUIET_MS;
}

void store_cut(struct store *s)
{
	struct gen *fresh = gen_new();

	/* Without memory or disk the generation just grows; the next group's end tries again. */
	if (!fresh || journal_switch(&s->journal) < 0) {
		gen_unref(fresh);
		return;
	}
	s->frozen = s->cur;
	s->cur = fresh;
	atomic_fetch_add(&s->cuts, 1);
	s->cut_now = false;
	pthread_cond_signal(&s->keep_cond);
}

/* The group's own state goes; mu is held.  Locks that no window needs are let go. */
static void finish(struct store_group *g)
{
	struct store *s = g->s;
	for (size_t i = 0; i < g->nrefs; i++) {
		struct held *h = g->refs[i];

		if (!h)
			continue;
		h->in_group = h->moved = h->placed = false;
		held_settle(s, h);
	}
	g->nrefs = 0;
	s->group_active = false;
	if (store_cut_due(s, store_now()))
		store_cut(s);
	else if (s->cur->n && s->journal_state == JOURNAL_READY && s->cur->commits < 2)
		pthread_cond_signal(&s->keep_cond); /* it sleeps for ever while there is nothing */
	pthread_cond_broadcast(&s->changed);
}

static void drop_values(struct store_group *g)
{
	for (size_t i = 0; i < g->nvalues; i++)
		ledger_value_unref(g->values[i]);
	g->nvalues = 0;
}

/* Nothing happened: the objects are forgotten, so that a later group journals them again. */
static void forget(struct store_group *g)
{
	while (g->nobjs > 0)
		gen_drop(g->s->cur, g->objs[--g->nobjs]);
}

void store_group_abort(struct store_group *g)
{
	struct store *s = g->s;

	pthread_mutex_lock(&s->mu);
	if (g->failed == LEDGER_EDEAD) /* a large value's sync */
		store_die(s, ledger_errmsg());
	forget(g);
	finish(g);
	pthread_mutex_unlock(&s->mu);
	drop_values(g);
}

/* --- moving refs ---------------------------------------------------------------------------------------------------- */

int store_move_ref(struct store *s, const char *name, const struct ledger_oid *from, const struct ledger_oid *to,
		   const char *why, bool sync)
{
	char tmp[64];
	int r;

	if (!sync && !ledger_oid_is_zero(from) && !ledger_oid_is_zero(to)) {
		r = ring_move(s, name, from, to);
		if (!r)
			reflog_append(&s->reflog, s->dirfd, name, from, to, why);
		return r;
	}
	ring_drop(s, name);
	store_tmp(s, tmp, "r", 0);
	if (ledger_oid_is_zero(to)) {
		r = refmove_delete(&s->refs, &s->owner, tmp, name, sync);
		if (!r)
			reflog_delete(s->dirfd, name);
		return r;
	}
	r = refmove_prepare(s->dirfd, tmp, to, sync);
	if (!r)
		r = refmove_place(s->dirfd, tmp, name, false);
	if (r < 0) {
		io_unlink(s->dirfd, tmp);
		return r;
	}
	reflog_append(&s->reflog, s->dirfd, name, from, to, why);
	return 0;
}

/*
 * Refs of the group that already went go back; their locks are still held.  If they cannot, half of the group is visible
 * and the journal has all of it: nothing more may happen until recovery has made it whole.
 */
static int move_back(struct store_group *g, int why)
{
	char text[200];

	snprintf(text, sizeof(text), "%s", ledger_errmsg());
	for (size_t i = 0; i < g->nrefs; i++) {
		struct held *h = g->refs[i];

		if (h->placed && store_move_ref(g->s, h->name, &h->to, &h->disk, "undone: the group failed", false) < 0)
			return ledger_fail(LEDGER_EDEAD, "%s can be moved neither on (%s) nor back", h->name, text);
		if (h->placed)
			ring_drop(g->s, h->name); /* it has the value that is not to be */
	}
	return ledger_fail(why, "%s", text);
}

#define LOCK_TRIES 10

/* One ref's lock, now that the group is durable; a foreign writer's move takes a millisecond or so. */
static int lock_one(struct store *s, struct held *h)
{
	struct timespec nap = {0, 500000};
	struct ledger_oid now;
	int r;

	for (int i = 0;; i++) {
		r = store_lock_ref(s, h->name, &now);
		if (r != LEDGER_ELOCKED || i == LOCK_TRIES)
			break;
		nanosleep(&nap, NULL);
	}
	if (r < 0)
		return r;
	h->locked = true;
	if (ledger_oid_eq(&now, &h->disk))
		return 0;
	pthread_mutex_lock(&s->mu);
	s->eager = true;
	pthread_mutex_unlock(&s->mu);
	return ledger_fail(LEDGER_ELOCKED, "%s was moved by another", h->name);
}

/* The locks of all refs that are to move; ELOCKED: one was moved by somebody else, or is being moved. */
static int lock_all(struct store_group *g)
{
	int r = 0;

	for (size_t i = 0; i < g->nrefs && !r; i++)
		if (g->refs[i]->moved && !g->refs[i]->locked)
			r = lock_one(g->s, g->refs[i]);
	return r;
}

/*
 * All moves, deletions last: a name that goes makes way for no other of the group, but one that comes must be there
 * before its old name is not, so that the commits are never without a ref.
 */
static int place_all(struct store_group *g, bool sync)
{
	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < g->nrefs; i++) {
			struct held *h = g->refs[i];
			int r;

			if (!h->moved || ledger_oid_is_zero(&h->to) != (pass == 1))
				continue;
			/* The same value again is no move, and to delete what is not there neither. */
			if (ledger_oid_eq(&h->to, &h->disk))
				continue;
			r = store_move_ref(g->s, h->name, &h->disk, &h->to, h->to_why, sync);
			/* A deletion that failed may have gone half the way: packed-refs has it no more. */
			h->placed = !r || pass == 1;
			if (!r && sync)
				r = refmove_sync(g->s->dirfd, h->name);
			if (r < 0)
				return move_back(g, r);
		}
	return 0;
}

/* Others moved a ref that we build on: bring what they wrote to the disk. */
static int sync_foreign(struct store_group *g)
{
	struct store *s = g->s;
	bool foreign = false;

	for (size_t i = 0; i < g->nrefs; i++)
		foreign |= g->refs[i]->foreign;
	if (!foreign)
		return 0;
	if (io_syncfs(s->dirfd) < 0)
		return ledger_fail(LEDGER_EDEAD, "syncfs: %s", strerror(errno));
	for (size_t i = 0; i < g->nrefs; i++)
		g->refs[i]->foreign = false;
	return 0;
}

/* The moves stand: what we know of the refs follows.  mu is held. */
static void moves_done(struct store_group *g, bool window)
{
	struct store *s = g->s;

	for (size_t i = 0; i < g->nrefs; i++) {
		struct held *h = g->refs[i];

		if (!h->moved)
			continue;
		h->tip = h->to;
		memcpy(h->why, h->to_why, sizeof(h->why));
		if (window && !h->in_window) {
			h->in_window = true;
			h->since = store_now();
		}
		if (!window)
			h->disk = h->to;
		tips_set(s, h->name, &h->to);
	}
}

static void prune_deleted(struct store_group *g)
{
	for (size_t i = 0; i < g->nrefs; i++) {
		struct held *h = g->refs[i];

		if (!h || !h->placed || !ledger_oid_is_zero(&h->to))
			continue;
		/* The lock is a file in the directory that is to go. */
		if (reflock_drop(g->s->dirfd, &g->s->owner, h->name) == 0)
			h->locked = false;
		reflock_prune_dirs(g->s->dirfd, h->name);
	}
}

/* --- direct --------------------------------------------------------------------------------------------------------- */

static int commit_direct(struct store_group *g)
{
	struct store *s = g->s;
	struct gen *fresh, *done = NULL;
	char tmp[64], name[41] = "";
	int r = 0;

	fresh = gen_new();
	if (!fresh)
		return LEDGER_ENOMEM;
	if (g->pack.n) {
		store_tmp(s, tmp, "d", 0);
		r = pack_finish(&g->pack);
		if (!r) {
			pack_name(name, &g->pack.trailer);
			r = keep_begin(s, s->owner.dir, name);
		}
		if (!r)
			r = pack_write(&g->pack, s->dirfd, tmp, !s->nosync);
	}
	if (!r)
		r = sync_foreign(g);
	if (!r)
		r = lock_all(g);
	if (!r)
		r = place_all(g, !s->nosync);
	if (*name)
		keep_end(s, name);
	pthread_mutex_lock(&s->mu);
	if (!r) {
		moves_done(g, false);
		/* All of it is on the disk: nothing to remember. */
		done = s->cur;
		s->cur = fresh;
		fresh = NULL;
		if (++s->direct_groups >= DIRECT_GROUPS && s->journal_state == JOURNAL_NONE) {
			s->journal_state = JOURNAL_WANTED;
			pthread_cond_signal(&s->keep_cond);
		}
	}
	pthread_mutex_unlock(&s->mu);
	if (done)
		keep_end_gen(s, done);
	gen_unref(done);
	gen_unref(fresh);
	return r;
}

/* --- through the journal -------------------------------------------------------------------------------------------- */

/* Room for all that the commit will append, so that nothing can fail once it is durable.  mu is held. */
static int reserve(struct store_group *g, char ***names)
{
	struct gen *gen = g->s->cur;
	size_t n = 0;

	if (!gen_reserve(gen, g->nobjs, g->nmoves, 1, g->nvalues))
		return LEDGER_ENOMEM;
	*names = gen->refnames + gen->nrefs;
	for (size_t i = 0; i < g->nrefs; i++)
		if (g->refs[i]->moved) {
			(*names)[n] = gen_name(gen, g->refs[i]->name);
			if (!(*names)[n++])
				return LEDGER_ENOMEM;
		}
	return 0;
}

/* The group is durable: its generation has it.  mu is held. */
static void append(struct store_group *g)
{
	struct gen *gen = g->s->cur;

	if (!gen->n && !gen->nrefs)
		gen->born = store_now();
	for (size_t i = 0; i < g->nobjs; i++)
		gen_append(gen, g->objs[i]);
	gen->nrefs += g->nmoves;
	for (size_t i = 0; i < g->nvalues; i++)
		gen->staged[gen->nstaged++] = g->values[i];
	gen->last_seq = g->s->journal.seq;
	g->nobjs = g->nvalues = 0;
}

/* `early`: somebody may know of the group before its refs have moved, or of what it renames. */
static void record_moves(struct store_group *g, bool early)
{
	for (size_t i = 0; i < g->nrefs; i++) {
		const struct held *h = g->refs[i];

		if (h->moved)
			record_move(&g->rec, h->name, &h->tip, &h->to, h->to_why, early);
	}
}

/* The journal has the group and it failed after all: say so there, or nobody may say anything any more. */
static int take_back(struct store_group *g, int why)
{
	struct store *s = g->s;
	uint64_t seq = s->journal.seq;
	char text[200];

	snprintf(text, sizeof(text), "%s", ledger_errmsg());
	record_begin(&g->rec);
	record_abort(&g->rec, seq);
	if (journal_write(&s->journal, &g->rec) < 0)
		return LEDGER_EDEAD;
	return ledger_fail(why, "%s", text);
}

/* Objects that were not packed as they were put. */
static int pack_late(struct store_group *g)
{
	int r = 0;

	if (g->packing)
		return 0;
	pack_begin(&g->pack);
	for (size_t i = 0; i < g->nobjs && !r; i++)
		r = pack_add(&g->pack, g->objs[i], NULL);
	return r;
}

/*
 * The group failed after its pack could be seen.  A foreign git that met one of its objects there did not write it again,
 * and its own commit may rest on that one: what was shown never goes.  It stays in a pack for good, which upkeep merges; if
 * that cannot be written, in the one that was shown.
 */
static int keep_shown(struct store_group *g, uint64_t small, int failed)
{
	struct store *s = g->s;
	char why[256], tmp[64];
	int code;

	snprintf(why, sizeof(why), "%s", ledger_errmsg());
	store_tmp(s, tmp, "k", 0);
	code = pack_write(&g->pack, s->dirfd, tmp, !s->nosync);
	if (!code)
		small_remove(s, small);
	pthread_mutex_lock(&s->mu);
	if (++s->kept % 4 == 0)
		s->checkpoints++; /* so many packs are worth a merge as well */
	pthread_mutex_unlock(&s->mu);
	if (code == LEDGER_EDEAD)
		return code;
	return ledger_fail(failed, "%s", why); /* the sentence stays that of the group's own failure */
}

static int commit_sync(struct store_group *g)
{
	struct store *s = g->s;
	char **names;
	uint64_t small = 0;
	char why[256];
	int r, jr, pr = 0;

	pthread_mutex_lock(&s->mu);
	r = reserve(g, &names);
	if (!r && g->nobjs)
		small = ++s->small_seq;
	pthread_mutex_unlock(&s->mu);
	if (!r)
		r = pack_late(g);
	if (r < 0)
		return r;
	record_moves(g, g->nmoves > 1);
	if (small)
		packer_ask(s, small);
	jr = journal_write(&s->journal, &g->rec);
	if (jr)
		snprintf(why, sizeof(why), "%s", ledger_errmsg());
	else
		r = sync_foreign(g);
	if (!jr && !r)
		r = lock_all(g);
	if (small)
		pr = packer_wait(s);
	if (!r)
		r = pr;
	if (!jr && !r)
		r = place_all(g, false);
	if (r == LEDGER_EDEAD && !jr)
		return r;
	if (jr || r) {
		r = jr ? ledger_fail(jr, "%s", why) : take_back(g, r);
		if (small && !pr)
			r = keep_shown(g, small, r);
		return r;
	}
	pthread_mutex_lock(&s->mu);
	append(g);
	if (small)
		s->cur->small[s->cur->nsmall++] = small;
	s->cur->published = s->cur->shown = s->cur->n; /* all before it was, too: see commit() */
	moves_done(g, false);
	pthread_mutex_unlock(&s->mu);
	return 0;
}

static int commit_async(struct store_group *g)
{
	struct store *s = g->s;
	char **names;
	uint64_t now;
	int r;

	pthread_mutex_lock(&s->mu);
	r = reserve(g, &names);
	pthread_mutex_unlock(&s->mu);
	if (r < 0)
		return r;
	record_moves(g, true);
	r = journal_write(&s->journal, &g->rec);
	if (r < 0)
		return r;
	r = lock_all(g);
	if (r < 0)
		return take_back(g, r);
	pthread_mutex_lock(&s->mu);
	append(g);
	moves_done(g, true);
	pthread_cond_signal(&s->pub_cond);
	now = store_now();
	for (size_t i = 0; i < g->nrefs; i++)
		if (g->refs[i] && g->refs[i]->in_window && now - g->refs[i]->since >= HOLD_MS) {
			/* Durable and acknowledged whatever comes of it: the publisher's error is for the next group. */
			g->refs[i]->in_group = false;
			g->refs[i] = NULL;
			publisher_flush(s);
		}
	pthread_mutex_unlock(&s->mu);
	return 0;
}

/* May the group be acknowledged before it is published?  Else what was is published first.  mu is held. */
static bool may_wait(struct store_group *g)
{
	struct store *s = g->s;

	if (!s->async || !g->nobjs || !g->nmoves || s->polite_until > store_now())
		return false;
	for (size_t i = 0; i < g->nrefs; i++) {
		const struct held *h = g->refs[i];

		/* A ref that comes or goes shows at once: names in directories are not kept in memory. */
		if (h->foreign || (h->moved && (ledger_oid_is_zero(&h->to) || ledger_oid_is_zero(&h->tip))))
			return false;
	}
	return true;
}

static int commit(struct store_group *g)
{
	struct store *s = g->s;
	bool wait = false, journal;
	int r = g->failed;

	if (!r && g->rec.failed)
		r = LEDGER_ENOMEM;
	pthread_mutex_lock(&s->mu);
	if (!r && s->dead)
		r = s->dead;
	/* Several refs move together or not at all, also through a crash: only the journal can say that. */
	if (!r && g->nmoves > 1 && s->journal_state != JOURNAL_READY)
		r = store_make_journal(s, JOURNAL_SMALL);
	journal = s->journal_state == JOURNAL_READY;
	if (!r && journal) {
		wait = may_wait(g);
		if (!wait && s->async)
			r = publisher_flush(s);
	}
	pthread_mutex_unlock(&s->mu);
	if (r < 0)
		return r;
	if (!g->nobjs && !g->nmoves && !g->nvalues)
		return 0;
	if (!journal)
		return commit_direct(g);
	return wait ? commit_async(g) : commit_sync(g);
}

int store_group_commit(struct store_group *g)
{
	struct store *s = g->s;
	int r = commit(g);

	if (r == LEDGER_ENOSPC)
		spares_clear(s);
	pthread_mutex_lock(&s->mu);
	if (r == LEDGER_EDEAD)
		store_die(s, ledger_errmsg());
	if (r < 0)
		forget(g);
	else
		prune_deleted(g);
	finish(g);
	pthread_mutex_unlock(&s->mu);
	drop_values(g);
	return r;
}
