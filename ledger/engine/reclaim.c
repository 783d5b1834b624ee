/* SPDX-License-Identifier: MIT */
/*
 * The refs of the dead.  One moves only where its value is ours: a value that our own journal names, none, a file without a
 * value, an object that is not there (a power cut leaves these), or an ancestor of ours after another boot.  Anything else
 * is a later move by somebody else: it stays, and what was acknowledged before that is kept under refs/kv-lost.
 */
#include "recover.h"

#include <ledger/change.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum verdict { STAYS, MOVES, FOREIGN };

/* In a view of its own: the store's repository would keep every pack that it meets here (odb.c). */
static bool reaches(struct store *s, const struct ledger_oid *from, const struct ledger_oid *to)
{
	git_repository *repo;
	git_oid a, b;
	bool yes;

	if (git_repository_open(&repo, s->gitdir) < 0)
		return false;
	memcpy(a.id, from->id, LEDGER_OID_SIZE);
	memcpy(b.id, to->id, LEDGER_OID_SIZE);
	yes = git_graph_descendant_of(repo, &a, &b) == 1;
	git_repository_free(repo);
	return yes;
}

static bool in_chain(const struct dead *d, const char *ref, const struct ledger_oid *v)
{
	for (size_t i = 0; i < d->nmoves; i++)
		if (strcmp(d->moves[i].ref, ref) == 0 &&
		    (ledger_oid_eq(&d->moves[i].from, v) || ledger_oid_eq(&d->moves[i].to, v)))
			return true;
	return false;
}

/* The ref's value now (zero: absent; *broken: a file without a value), read with its lock held. */
static int value_now(struct store *s, const char *ref, struct ledger_oid *out, bool *broken)
{
	int r = refs_read_loose(s->dirfd, ref, out, broken);

	if (r == LEDGER_ENOTFOUND)
		r = refs_read_packed(&s->refs, ref, out);
	if (r == LEDGER_ENOTFOUND || (r == LEDGER_ECORRUPT && *broken)) {
		memset(out, 0, sizeof(*out));
		return 0;
	}
	return r;
}

static enum verdict judge(struct recovery *rc, const struct dead *d, const struct move *last, const struct ledger_oid *now,
			  bool broken)
{
	struct store *s = rc->s;
	char boot[40];
	bool same_boot;

	if (ledger_oid_eq(now, &last->to) && !broken)
		return STAYS;
	if (broken)
		return MOVES;
	journal_boot(boot);
	same_boot = boot[0] && memcmp(boot, d->image.boot, 36) == 0;
	if (ledger_oid_is_zero(now)) {
		/* The machine did not stop, and the ref was there: somebody deleted it. */
		return same_boot && !in_chain(d, last->ref, now) ? FOREIGN : MOVES;
	}
	if (in_chain(d, last->ref, now))
		return MOVES;
	/* Half of one value over another is an object that nobody ever made. */
	if (!odb_exists(s, now))
		return MOVES;
	if (ledger_oid_is_zero(&last->to))
		return FOREIGN;
	if (reaches(s, now, &last->to))
		return STAYS;
	/* Older than our journal: a power cut lost a move, or somebody moved it back. */
	return !same_boot && reaches(s, &last->to, now) ? MOVES : FOREIGN;
}

static int set_ref(struct recovery *rc, struct dead *d, const char *ref, const struct ledger_oid *from,
		   const struct ledger_oid *to)
{
	struct store *s = rc->s;
	char tmp[64];
	int r;

	snprintf(tmp, sizeof(tmp), "%s/ref", d->owner.dir);
	if (ledger_oid_is_zero(to)) {
		r = refmove_delete(&s->refs, &d->owner, tmp, ref, !s->nosync);
		reflog_delete(s->dirfd, ref);
		return r || s->nosync ? r : refmove_sync(s->dirfd, ref);
	}
	r = refmove_prepare(s->dirfd, tmp, to, !s->nosync);
	if (!r)
		r = refmove_place(s->dirfd, tmp, ref, false);
	if (r < 0)
		return r;
	reflog_append(&s->reflog, s->dirfd, ref, from, to, "recovered");
	return s->nosync ? 0 : refmove_sync(s->dirfd, ref);
}

/* As git waits for a lock: there is no event for its end. */
static int lock_ref(struct store *s, struct dead *d, const char *ref)
{
	struct timespec nap = {0, 2000000};
	int r;

	for (int waited = 0; waited < LEDGER_LOCK_WAIT_MS; waited += (int)(nap.tv_nsec / 1000000)) {
		r = reflock_take(s->dirfd, &d->owner, ref);
		if (r != LEDGER_ELOCKED)
			return r;
		nanosleep(&nap, NULL);
		if (nap.tv_nsec < 50000000)
			nap.tv_nsec *= 2;
	}
	return ledger_fail(LEDGER_ELOCKED, "%s.lock is in the way of the recovery: who holds it?", ref);
}

/*
 * Ours under refs/kv-lost: nothing acknowledged is without a name.  A move that nobody was told of before it was made, and
 * that was not made or was seen by who moved the ref on, needs none.
 */
static int park(struct recovery *rc, struct dead *d, const struct move *last, const struct ledger_oid *now)
{
	struct store *s = rc->s;
	const char *ns = last->ref + (strncmp(last->ref, "refs/kv/", 8) == 0 ? 8 : 5);
	char name[PATH_MAX], hex[LEDGER_OID_HEXSIZE + 1], theirs[LEDGER_OID_HEXSIZE + 1];
	struct ledger_oid zero = {{0}}, have;
	int r;

	if (!last->early || ledger_oid_is_zero(&last->to) || (!ledger_oid_is_zero(now) && reaches(s, now, &last->to)))
		return 0;
	snprintf(name, sizeof(name), "refs/kv-lost/%s/%.12s", ns, ledger_oid_fmt(hex, &last->to));
	r = lock_ref(s, d, name);
	if (r < 0)
		return r;
	if (refs_read(&s->refs, name, &have) == LEDGER_ENOTFOUND)
		r = set_ref(rc, d, name, &zero, &last->to);
	if (reflock_drop(s->dirfd, &d->owner, name) < 0 && !r)
		r = LEDGER_EIO;
	if (!r)
		store_log(s, "%s: somebody moved it to %s meanwhile, that stays; what was acknowledged before is kept as %s",
			  last->ref, ledger_oid_fmt(theirs, now), name);
	return r;
}

static int reclaim_ref(struct recovery *rc, struct dead *d, const struct move *last)
{
	struct store *s = rc->s;
	struct ledger_oid now;
	bool broken = false;
	enum verdict v = FOREIGN;
	int r;

	r = lock_ref(s, d, last->ref);
	if (r < 0 && r != LEDGER_EEXISTS)
		return r;
	if (r == LEDGER_EEXISTS) {
		/* Others made a ref above ours. */
		memset(&now, 0, sizeof(now));
		return park(rc, d, last, &now);
	}
	r = value_now(s, last->ref, &now, &broken);
	if (!r)
		v = judge(rc, d, last, &now, broken);
	else if (r != LEDGER_ECORRUPT)
		goto out;
	else
		memset(&now, 0, sizeof(now));
	r = 0;
	if (v == MOVES) {
		r = set_ref(rc, d, last->ref, &now, &last->to);
		if (r == LEDGER_EEXISTS) {
			r = 0;
			v = FOREIGN;
		}
	}
	if (v == FOREIGN && !r)
		r = park(rc, d, last, &now);
	if (v == STAYS && !s->nosync)
		r = refmove_sync(s->dirfd, last->ref);
out:
	/* Its owner's directory is to go: a lock that stays would be nobody's. */
	if (reflock_drop(s->dirfd, &d->owner, last->ref) < 0 && !r)
		r = LEDGER_EIO;
	if (!r && ledger_oid_is_zero(&last->to))
		reflock_prune_dirs(s->dirfd, last->ref);
	return r;
}

static bool is_last(const struct dead *d, size_t i)
{
	for (size_t k = i + 1; k < d->nmoves; k++)
		if (strcmp(d->moves[k].ref, d->moves[i].ref) == 0)
			return false;
	return true;
}

int reclaim_refs(struct recovery *rc, struct dead *d)
{
	int r = 0;

	/* So there is never a history without a ref. */
	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < d->nmoves && !r; i++)
			if (is_last(d, i) && ledger_oid_is_zero(&d->moves[i].to) == (pass == 1))
				r = reclaim_ref(rc, d, &d->moves[i]);
	return r;
}
