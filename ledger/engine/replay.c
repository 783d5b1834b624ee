/* SPDX-License-Identifier: MIT */
/* The journals of the dead, into memory. */
#include "recover.h"

#include <stdlib.h>
#include <string.h>

static int scan_record(void *arg, uint64_t seq, uint64_t done)
{
	struct recovery *rc = arg;

	rc->now->newest = seq;
	if (done > rc->now->done)
		rc->now->done = done;
	return 0;
}

static int scan_abort(void *arg, uint64_t seq)
{
	struct dead *d = ((struct recovery *)arg)->now;

	if (!io_grow((void **)&d->aborted, &d->abortcap, d->naborted + 1, sizeof(*d->aborted)))
		return LEDGER_ENOMEM;
	d->aborted[d->naborted++] = seq;
	return 0;
}

static int scan_object(void *arg, enum store_type type, const struct ledger_oid *oid, const void *data, size_t len)
{
	return 0;
}

static int scan_splice(void *arg, const struct ledger_oid *oid, const struct ledger_oid *base, size_t len, size_t off,
		       size_t del, const void *ins, size_t inslen)
{
	return 0;
}

static int scan_large(void *arg, const struct ledger_oid *oid, uint64_t size)
{
	return 0;
}

static int scan_move(void *arg, const char *ref, const struct ledger_oid *from, const struct ledger_oid *to, bool early)
{
	return 0;
}

static int load_record(void *arg, uint64_t seq, uint64_t done)
{
	struct recovery *rc = arg;

	rc->seq = seq;
	rc->skip = seq <= rc->now->done;
	for (size_t i = 0; i < rc->now->naborted; i++)
		rc->skip |= rc->now->aborted[i] == seq;
	return 0;
}

static int mismatch(struct recovery *rc, const struct ledger_oid *oid)
{
	char hex[LEDGER_OID_HEXSIZE + 1];

	return ledger_fail(LEDGER_ECORRUPT, "%s: record %llu: object %s is not what its name says", rc->now->owner.dir,
			   (unsigned long long)rc->seq, ledger_oid_fmt(hex, oid));
}

static int keep(struct recovery *rc, struct obj *o)
{
	if (!o || !gen_reserve(rc->gen, 1, 0, 0, 0))
		return LEDGER_ENOMEM;
	gen_append(rc->gen, o);
	return 0;
}

/*
 * Is the object of a record there already?  A base that a pack lent is kept from now on: the pack may be a small one of
 * another dead owner, which goes when that one's records are in the recovered pack.
 */
static bool have_already(struct recovery *rc, const struct ledger_oid *oid, int *r)
{
	struct obj *o = gen_find(rc->gen, oid);

	*r = 0;
	if (o && o->on_disk) {
		*r = keep(rc, o);
		o->on_disk = *r != 0;
	}
	return o != NULL;
}

static int load_object(void *arg, enum store_type type, const struct ledger_oid *oid, const void *data, size_t len)
{
	struct recovery *rc = arg;
	struct ledger_oid have;
	int r = 0;

	if (rc->skip || have_already(rc, oid, &r))
		return r;
	sha_object(type, data, len, &have);
	if (!ledger_oid_eq(&have, oid))
		return mismatch(rc, oid);
	return keep(rc, gen_add(rc->gen, type, oid, data, len));
}

/* The base of a splice: replayed before, or of a pack. */
static int find_base(struct recovery *rc, const struct ledger_oid *oid, struct obj **out)
{
	struct store_buf buf;
	int r;

	*out = gen_find(rc->gen, oid);
	if (*out)
		return 0;
	r = store_read(rc->s, oid, STORE_TREE, NULL, &buf);
	if (r < 0)
		return r;
	/* In the map only: it is on the disk already. */
	*out = gen_add(rc->gen, STORE_TREE, oid, buf.data, buf.len);
	free(buf.data);
	if (!*out)
		return LEDGER_ENOMEM;
	(*out)->on_disk = true;
	return 0;
}

/* A base at the end of a full chain starts a new one. */
static int check_splice(struct recovery *rc, const struct ledger_oid *oid, struct obj *base, size_t len, size_t off,
			size_t del, const void *ins, size_t inslen, struct obj **out)
{
	struct obj tmp = {
		.type = STORE_TREE, .base = base, .len = len, .off = off, .del = del, .data = ins, .inslen = inslen};
	struct ledger_oid have;
	void *whole;
	int r;

	if (base->depth >= GEN_DEPTH) {
		struct obj flat = *base;

		r = obj_whole(base, &whole);
		if (r < 0)
			return r;
		flat.base = NULL;
		flat.data = whole;
		flat.inslen = flat.len;
		flat.depth = 0;
		r = check_splice(rc, oid, &flat, len, off, del, ins, inslen, out);
		free(whole);
		return r;
	}
	r = obj_whole(&tmp, &whole);
	if (r < 0)
		return r;
	sha_object(STORE_TREE, whole, len, &have);
	if (!ledger_oid_eq(&have, oid))
		r = mismatch(rc, oid);
	else if (gen_find(rc->gen, &base->oid) == base)
		*out = gen_add_splice(rc->gen, oid, base, len, off, del, ins, inslen);
	else
		*out = gen_add(rc->gen, STORE_TREE, oid, whole, len);
	free(whole);
	return r;
}

static int load_splice(void *arg, const struct ledger_oid *oid, const struct ledger_oid *base, size_t len, size_t off,
		       size_t del, const void *ins, size_t inslen)
{
	struct recovery *rc = arg;
	struct obj *b, *o = NULL;
	int r = 0;

	if (rc->skip || have_already(rc, oid, &r))
		return r;
	r = find_base(rc, base, &b);
	if (r < 0)
		return r;
	if (off > b->len || del > b->len - off || len != b->len - del + inslen)
		return mismatch(rc, oid);
	r = check_splice(rc, oid, b, len, off, del, ins, inslen, &o);
	return r ? r : keep(rc, o);
}

static int load_large(void *arg, const struct ledger_oid *oid, uint64_t size)
{
	struct recovery *rc = arg;
	enum store_type type;
	uint64_t have;

	if (rc->skip)
		return 0;
	/* Its own pack was synced before the record was written. */
	return store_read_header(rc->s, oid, &type, &have);
}

static int load_move(void *arg, const char *ref, const struct ledger_oid *from, const struct ledger_oid *to, bool early)
{
	struct recovery *rc = arg;
	struct dead *d = rc->now;
	struct move *m;

	if (rc->skip)
		return 0;
	if (strncmp(ref, "refs/", 5) != 0 || strlen(ref) > REF_MAX || strstr(ref, ".."))
		return ledger_fail(LEDGER_ECORRUPT, "%s: record %llu moves \"%.80s\"", d->owner.dir,
				   (unsigned long long)rc->seq, ref);
	if (!io_grow((void **)&d->moves, &d->movecap, d->nmoves + 1, sizeof(*d->moves)))
		return LEDGER_ENOMEM;
	m = &d->moves[d->nmoves];
	m->ref = io_strdup(ref);
	if (!m->ref)
		return LEDGER_ENOMEM;
	m->from = *from;
	m->to = *to;
	m->early = early;
	d->nmoves++;
	rc->commits++;
	return 0;
}

static int load_abort(void *arg, uint64_t seq)
{
	return 0;
}

static void forget_moves(struct dead *d)
{
	while (d->nmoves > 0)
		free(d->moves[--d->nmoves].ref);
}

static int replay(struct recovery *rc, struct dead *d)
{
	const struct journal_reader scan = {scan_record, scan_object, scan_splice, scan_large, scan_move, scan_abort, rc};
	const struct journal_reader load = {load_record, load_object, load_splice, load_large, load_move, load_abort, rc};
	int r;

	rc->now = d;
	d->naborted = 0;
	forget_moves(d);
	r = journal_replay(&d->image, &scan);
	return r ? r : journal_replay(&d->image, &load);
}

/*
 * One owner's trees may be splices of another's: who lacks something waits for the others.  What is lacking in the end
 * was taken by a foreign prune after a foreign move: the records before it count.
 */
int replay_all(struct recovery *rc)
{
	size_t left = rc->n, before;
	int r;

	do {
		before = left;
		for (size_t i = 0; i < rc->n; i++) {
			struct dead *d = &rc->dead[i];

			if (d->loaded)
				continue;
			r = replay(rc, d);
			if (r == LEDGER_ENOTFOUND)
				continue;
			if (r < 0)
				return r;
			d->loaded = true;
			left--;
		}
	} while (left && left < before);
	for (size_t i = 0; left && i < rc->n; i++)
		if (!rc->dead[i].loaded) {
			replay(rc, &rc->dead[i]);
			store_log(rc->s, "%s: the journal ends at record %llu: %s", rc->dead[i].owner.dir,
				  (unsigned long long)rc->seq, ledger_errmsg());
		}
	return 0;
}
