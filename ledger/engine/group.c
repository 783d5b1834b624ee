/* SPDX-License-Identifier: MIT */
/* The life of a group: begin, lock, put, move; commit.c of this directory ends it. */
#include "engine.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Its directory in kv, its threads; own_mu is held. */
static int own(struct store *s)
{
	int r;

	r = owner_create(&s->owner, s->dirfd, !s->nosync);
	if (r < 0)
		return r;
	tips_open(s);
	s->stop = false;
	r = keeper_start(s);
	if (!r && s->async)
		r = publisher_start(s);
	if (!r)
		r = watch_start(s);
	if (r < 0) {
		watch_stop(s);
		publisher_stop(s);
		keeper_stop(s);
		tips_close(s);
		owner_release(&s->owner, s->dirfd);
		return r;
	}
	s->owned = true;
	return 0;
}

int store_own(struct store *s)
{
	int r = 0;

	pthread_mutex_lock(&s->own_mu);
	if (!s->owned)
		r = own(s);
	pthread_mutex_unlock(&s->own_mu);
	return r;
}

/* Too much is waiting for the keeper: mu is held. */
static bool overfull(const struct store *s)
{
	return s->frozen && (s->cur->commits > 3 * CUT_COMMITS || s->cur->bytes > 4 * CUT_BYTES ||
			     s->cur->nsmall > 2 * CUT_PACKS_MAX || s->journal.off > 4 * (off_t)JOURNAL_SIZE);
}

int store_group_begin(struct store *s, struct store_group **out)
{
	struct store_group *g = &s->group;
	int r;

	if (s->readonly)
		return ledger_fail(LEDGER_EROFS, "the repository was opened read-only");
	r = store_own(s);
	if (r < 0)
		return r;
	pthread_mutex_lock(&s->mu);
	while (!s->dead && overfull(s) && !s->keep_err)
		pthread_cond_wait(&s->changed, &s->mu);
	if (s->dead)
		r = ledger_fail(s->dead, "a sync failed before: open the repository again");
	else if (overfull(s))
		r = ledger_fail(s->keep_err, "the last checkpoint failed");
	else if (s->pub_err) {
		/* What is acknowledged goes first; perhaps there is space again. */
		r = publisher_flush(s);
	}
	if (!r) {
		s->group_active = true;
		g->s = s;
		g->packing = !s->async || s->journal_state != JOURNAL_READY;
		g->pack.level = s->journal_state == JOURNAL_READY ? 0 : 1;
		g->nobjs = g->nvalues = g->nmoves = g->nrefs = 0;
		g->failed = 0;
		g->eager = s->eager;
		s->eager = false;
	}
	pthread_mutex_unlock(&s->mu);
	if (r < 0)
		return r;
	record_begin(&g->rec);
	if (g->packing)
		pack_begin(&g->pack);
	*out = g;
	return 0;
}

/* --- locks ---------------------------------------------------------------------------------------------------------- */

/* A lock file is in the way: whose is it?  1: it is gone, try again. */
static int meet_lock(struct store *s, const char *ref)
{
	char lock[PATH_MAX];
	uint64_t id;

	snprintf(lock, sizeof(lock), "%s.lock", ref);
	/* Opening it to read its line is also how a ledgerfs tells another one that it waits (watch.c). */
	if (!owner_of_lock(s->dirfd, lock, &id))
		return LEDGER_ELOCKED;
	if (id == s->owner.id) {
		/* Ours, and not held: its removal failed before. */
		return io_unlink(s->dirfd, lock) == 0 ? 1 : LEDGER_ELOCKED;
	}
	return recover_owner(s, id) > 0 ? 1 : LEDGER_ELOCKED;
}

/* The ref's value under its lock; that there is none also means that nothing is in its way. */
static int read_locked(struct store *s, const char *ref, struct ledger_oid *tip)
{
	bool conflict;
	int r;

	memset(tip, 0, sizeof(*tip));
	r = refs_read(&s->refs, ref, tip);
	if (r != LEDGER_ENOTFOUND)
		return r;
	r = reflock_clear_dir(s->dirfd, ref);
	if (!r)
		r = refs_packed_conflict(&s->refs, ref, &conflict);
	if (!r && conflict)
		r = ledger_fail(LEDGER_EEXISTS, "%s: a packed ref is above or below it", ref);
	return r;
}

int store_lock_ref(struct store *s, const char *ref, struct ledger_oid *tip)
{
	int r;

	for (int i = 0;; i++) {
		r = reflock_take(s->dirfd, &s->owner, ref);
		if (r != LEDGER_ELOCKED || i || meet_lock(s, ref) <= 0)
			break;
	}
	if (r < 0)
		return r;
	r = read_locked(s, ref, tip);
	if (r < 0)
		reflock_drop(s->dirfd, &s->owner, ref);
	return r;
}

/* The value of a ref that is there and not locked; else the lock must be taken first, for the look to mean something. */
static bool read_free(struct store *s, const char *ref, struct ledger_oid *tip)
{
	char lock[PATH_MAX];

	snprintf(lock, sizeof(lock), "%s.lock", ref);
	return faccessat(s->dirfd, lock, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && refs_read(&s->refs, ref, tip) == 0;
}

/* Before a lock is taken for long: what others wrote goes to the disk while they may still write. */
static int sync_before(struct store *s, const char *ref)
{
	struct ledger_oid now;
	int r;

	if (s->nosync || strlen(ref) > REF_MAX || refs_read(&s->refs, ref, &now) < 0 || tips_known(s, ref, &now))
		return 0;
	if (io_syncfs(s->dirfd) == 0) {
		tips_set(s, ref, &now);
		return 0;
	}
	ledger_fail(LEDGER_EDEAD, "syncfs: %s", strerror(errno));
	pthread_mutex_lock(&s->mu);
	r = store_die(s, ledger_errmsg());
	pthread_mutex_unlock(&s->mu);
	return r;
}

int store_group_lock(struct store_group *g, const char *ref, struct ledger_oid *tip)
{
	struct store *s = g->s;
	struct ledger_oid now;
	struct held *h;
	bool eager = g->eager, locked = false;
	int r = 0;

	pthread_mutex_lock(&s->mu);
	h = held_find(s, ref);
	if (!io_grow((void **)&g->refs, &g->refcap, g->nrefs + 1, sizeof(*g->refs)))
		r = LEDGER_ENOMEM;
	if (h && !r) {
		/* The group's already, or the window's. */
		if (!h->in_group) {
			h->in_group = true;
			h->moved = false;
			g->refs[g->nrefs++] = h;
		}
		*tip = h->moved ? h->to : h->tip;
	}
	if (h || r) {
		pthread_mutex_unlock(&s->mu);
		return r;
	}
	pthread_mutex_unlock(&s->mu);
	if (strlen(ref) > REF_MAX || eager || !read_free(s, ref, &now)) {
		r = sync_before(s, ref);
		if (!r)
			r = store_lock_ref(s, ref, &now);
		locked = !r;
	}
	pthread_mutex_lock(&s->mu);
	h = r ? NULL : held_add(s, ref);
	if (h) {
		h->in_group = true;
		h->locked = locked;
		h->disk = h->tip = now;
		h->foreign = !ledger_oid_is_zero(&now) && !s->nosync && !tips_known(s, ref, &now);
		*tip = now;
		g->refs[g->nrefs++] = h;
	}
	pthread_mutex_unlock(&s->mu);
	if (!h && !r) {
		r = LEDGER_ENOMEM;
		if (locked)
			reflock_drop(s->dirfd, &s->owner, ref);
	}
	return r;
}

/* --- objects -------------------------------------------------------------------------------------------------------- */

/* The object is new in this generation: into the group's list, and into its pack. */
static int added(struct store_group *g, struct obj *o, const void *whole)
{
	int r = 0;

	if (!io_grow((void **)&g->objs, &g->objcap, g->nobjs + 1, sizeof(*g->objs))) {
		pthread_mutex_lock(&g->s->mu);
		gen_drop(g->s->cur, o);
		pthread_mutex_unlock(&g->s->mu);
		r = LEDGER_ENOMEM;
	} else {
		g->objs[g->nobjs++] = o;
		if (g->packing)
			r = pack_add(&g->pack, o, whole);
	}
	if (r < 0)
		g->failed = r;
	return r;
}

/* Adds an object with a known name.  One that this generation has is in the journal already. */
static int put(struct store_group *g, enum store_type type, const struct ledger_oid *oid, const void *data, size_t len)
{
	struct store *s = g->s;
	struct obj *o, *known;

	pthread_mutex_lock(&s->mu);
	known = gen_find(s->cur, oid);
	o = known ? NULL : gen_add(s->cur, type, oid, data, len);
	pthread_mutex_unlock(&s->mu);
	if (known)
		return 0;
	if (!o)
		return g->failed = LEDGER_ENOMEM;
	record_object(&g->rec, type, oid, data, len);
	return added(g, o, data);
}

int store_group_put(struct store_group *g, enum store_type type, const void *data, size_t len, struct ledger_oid *oid)
{
	struct ledger_oid name;
	git_oid id;
	int r;

	if (type == STORE_BLOB) {
		/* A user's bytes: the hash that detects made collisions. */
		if (git_odb_hash(&id, data, len, GIT_OBJECT_BLOB) < 0)
			return LEDGER_ENOMEM;
		memcpy(name.id, id.id, LEDGER_OID_SIZE);
	} else {
		sha_object(type, data, len, &name);
	}
	r = put(g, type, &name, data, len);
	if (!r)
		*oid = name;
	return r;
}

int store_group_put_tree(struct store_group *g, const struct ledger_oid *oid, const void *data, size_t len,
			 const struct ledger_oid *base, size_t off, size_t del, const void *ins, size_t inslen)
{
	struct store *s = g->s;
	struct obj *o, *b = NULL, *known;

	if (!base || inslen > len / 2)
		return put(g, STORE_TREE, oid, data, len);
	pthread_mutex_lock(&s->mu);
	known = gen_find(s->cur, oid);
	if (known) {
		pthread_mutex_unlock(&s->mu);
		return 0;
	}
	b = gen_find(s->cur, base);
	if (b && b->type == STORE_TREE && b->depth < GEN_DEPTH)
		o = gen_add_splice(s->cur, oid, b, len, off, del, ins, inslen);
	else
		o = gen_add(s->cur, STORE_TREE, oid, data, len);
	pthread_mutex_unlock(&s->mu);
	if (!o)
		return g->failed = LEDGER_ENOMEM;
	/* In the journal always the splice: its base is a tree of the tip, so replay finds it here or in a synced pack. */
	record_splice(&g->rec, oid, base, len, off, del, ins, inslen);
	return added(g, o, data);
}

static int put_staged(struct store_group *g, struct ledger_value *v)
{
	int r;

	if (!io_grow((void **)&g->values, &g->valuecap, g->nvalues + 1, sizeof(struct ledger_value *)))
		return g->failed = LEDGER_ENOMEM;
	r = stage_commit(g->s, v);
	if (r < 0)
		return g->failed = r;
	record_large(&g->rec, ledger_value_oid(v), ledger_value_size(v));
	g->values[g->nvalues++] = ledger_value_ref(v);
	return 0;
}

int store_group_put_value(struct store_group *g, struct ledger_value *v)
{
	const void *data;
	void *copy;
	int r;

	if (ledger_value_size(v) >= STAGE_MIN)
		return put_staged(g, v);
	r = store_value_bytes(v, &data, &copy);
	if (r < 0)
		return g->failed = r;
	r = put(g, STORE_BLOB, ledger_value_oid(v), data, (size_t)ledger_value_size(v));
	free(copy);
	return r;
}

int store_group_move(struct store_group *g, const char *ref, const struct ledger_oid *to, const char *why)
{
	struct store *s = g->s;
	struct held *h;

	pthread_mutex_lock(&s->mu);
	h = held_find(s, ref);
	if (h && h->in_group) {
		g->nmoves += !h->moved;
		h->moved = true;
		h->to = *to;
		snprintf(h->to_why, sizeof(h->to_why), "%s", why ? why : "");
	}
	pthread_mutex_unlock(&s->mu);
	return h ? 0 : ledger_fail(LEDGER_EINVALID, "%s: the group has not locked it", ref);
}
