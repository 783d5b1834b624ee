/* SPDX-License-Identifier: MIT */
/*
 * What dead owners left behind.  In this order, so that it can be killed anywhere and begun again: their locks go; their
 * journals are replayed into memory, every object checked against its name; one synced pack holds what came out; the refs
 * move; their small packs and their directories go.
 *
 * A ref moves only where its value is ours: a value that our own journal names, none, a file without a value, an object that
 * is not there (a power cut leaves these), or an ancestor of ours after another boot.  Anything else is a later move by
 * somebody else: it stays, and ours is kept under refs/kv-lost.
 */
#include "engine.h"

#include <ledger/change.h>

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct move {
	char *ref;
	struct ledger_oid from, to;
};

struct dead {
	struct owner owner;
	struct journal_image image;
	uint64_t done, newest;
	uint64_t *aborted;
	size_t naborted, abortcap;
	struct move *moves;
	size_t nmoves, movecap;
	bool loaded;
};

struct recovery {
	struct store *s;
	struct gen *gen;
	struct dead *dead;
	size_t n, cap;
	/* while replaying: */
	struct dead *now;
	bool skip;      /* the record is done, or was taken back */
	uint64_t seq;   /* of the record */
	size_t commits; /* replayed */
};

/* --- finding them --------------------------------------------------------------------------------------------------- */

static void dead_release(struct dead *d)
{
	for (size_t i = 0; i < d->nmoves; i++)
		free(d->moves[i].ref);
	free(d->moves);
	free(d->aborted);
	journal_unload(&d->image);
	if (d->owner.fd >= 0)
		close(d->owner.fd);
}

/* Takes the owner's lock if it is dead, and loads its journal.  1: it lives, or is gone. */
static int seize(struct recovery *rc, uint64_t id)
{
	struct dead *d;
	int fd = owner_seize(rc->s->dirfd, id), r;

	if (fd < 0)
		return 1;
	if (!io_grow((void **)&rc->dead, &rc->cap, rc->n + 1, sizeof(*rc->dead))) {
		close(fd);
		return LEDGER_ENOMEM;
	}
	d = &rc->dead[rc->n++];
	memset(d, 0, sizeof(*d));
	d->owner.id = id;
	d->owner.fd = fd;
	owner_dir(d->owner.dir, id);
	r = journal_load(&d->image, rc->s->dirfd, d->owner.dir);
	return r;
}

static int seize_all(struct recovery *rc)
{
	struct dirent *e;
	int fd, r = 0;
	DIR *dir;

	fd = openat(rc->s->dirfd, "kv", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		if (fd >= 0)
			close(fd);
		return ledger_fail(LEDGER_EIO, "kv: cannot be read");
	}
	while (r >= 0 && (e = readdir(dir))) {
		uint64_t id;

		if (owner_parse(e->d_name, &id))
			r = seize(rc, id);
	}
	closedir(dir);
	return r < 0 ? r : 0;
}

/* --- replay --------------------------------------------------------------------------------------------------------- */

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

static int scan_move(void *arg, const char *ref, const struct ledger_oid *from, const struct ledger_oid *to, const char *why)
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

static int load_move(void *arg, const char *ref, const struct ledger_oid *from, const struct ledger_oid *to, const char *why)
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
static int replay_all(struct recovery *rc)
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

static int write_pack(struct recovery *rc)
{
	struct store *s = rc->s;
	struct pack p;
	char tmp[64];
	int r = 0;

	if (!rc->gen->n)
		return 0;
	pack_init(&p, 1);
	pack_begin(&p);
	for (size_t i = 0; i < rc->gen->n && !r; i++)
		r = pack_add(&p, rc->gen->list[i], NULL);
	if (!r)
		r = pack_finish(&p);
	snprintf(tmp, sizeof(tmp), "%s/recovered", rc->dead[0].owner.dir);
	if (!r)
		r = pack_write(&p, s->dirfd, NULL, tmp, !s->nosync, NULL);
	pack_release(&p);
	if (!r && odb_refresh(s) < 0)
		r = ledger_fail(LEDGER_EIO, "the packs cannot be read");
	return r;
}

/* --- refs ----------------------------------------------------------------------------------------------------------- */

enum verdict { STAYS, MOVES, FOREIGN };

static bool reaches(struct store *s, const struct ledger_oid *from, const struct ledger_oid *to)
{
	git_oid a, b;

	memcpy(a.id, from->id, LEDGER_OID_SIZE);
	memcpy(b.id, to->id, LEDGER_OID_SIZE);
	return git_graph_descendant_of(s->repo, &a, &b) == 1;
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
	if (ledger_oid_is_zero(&last->to))
		return FOREIGN;
	if (!odb_exists(s, now))
		return MOVES;
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
		r = refmove_place(s->dirfd, tmp, ref);
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

/* Ours under refs/kv-lost: nothing acknowledged is without a name. */
static int park(struct recovery *rc, struct dead *d, const struct move *last, const struct ledger_oid *now)
{
	struct store *s = rc->s;
	const char *ns = last->ref + (strncmp(last->ref, "refs/kv/", 8) == 0 ? 8 : 5);
	char name[PATH_MAX], hex[LEDGER_OID_HEXSIZE + 1], theirs[LEDGER_OID_HEXSIZE + 1];
	struct ledger_oid zero = {{0}}, have;
	int r;

	if (ledger_oid_is_zero(&last->to) || (!ledger_oid_is_zero(now) && reaches(s, now, &last->to)))
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

static int recover_ref(struct recovery *rc, struct dead *d, const struct move *last)
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

static int recover_refs(struct recovery *rc, struct dead *d)
{
	int r = 0;

	/* Names that come before names that go: never is a history without a ref. */
	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < d->nmoves && !r; i++)
			if (is_last(d, i) && ledger_oid_is_zero(&d->moves[i].to) == (pass == 1))
				r = recover_ref(rc, d, &d->moves[i]);
	return r;
}

/* --- before and after ----------------------------------------------------------------------------------------------- */

/* The dead owner's marker serves us: our locks are then swept by the next one if we die. */
static int prepare(struct store *s, struct dead *d)
{
	char path[OWNER_DIR_MAX + 8], line[64];
	int r;

	r = reflock_sweep(s->dirfd, d->owner.id);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "%s/lock", d->owner.dir);
	snprintf(line, sizeof(line), "ledgerfs %s pid %ld\n", d->owner.dir + 3, (long)getpid());
	io_unlink(s->dirfd, path);
	if (io_write_file(s->dirfd, path, line, strlen(line), 0666, !s->nosync) < 0)
		return ledger_fail(io_code(errno), "%s: %s", path, strerror(errno));
	d->owner.links = true;
	return 0;
}

static int tidy(struct store *s, struct dead *d)
{
	char prefix[32], sub[OWNER_DIR_MAX + 16];
	int r;

	/* What a merge of packs was about to write. */
	snprintf(sub, sizeof(sub), "%s/objects/pack", d->owner.dir);
	store_clear_dir(s, sub, "");
	io_rmdir(s->dirfd, sub);
	snprintf(sub, sizeof(sub), "%s/objects", d->owner.dir);
	io_rmdir(s->dirfd, sub);
	snprintf(prefix, sizeof(prefix), "pack-6b76%s", d->owner.dir + 3);
	r = store_clear_dir(s, PACK_DIR, prefix);
	if (!r)
		r = store_clear_dir(s, d->owner.dir, "");
	if (!r && io_rmdir(s->dirfd, d->owner.dir) < 0 && errno != ENOENT)
		r = ledger_fail(io_code(errno), "%s: %s", d->owner.dir, strerror(errno));
	if (!r && !s->nosync)
		r = io_sync_names(s->dirfd, "kv");
	return r;
}

static int run(struct recovery *rc)
{
	int r = 0;

	for (size_t i = 0; i < rc->n && !r; i++)
		r = prepare(rc->s, &rc->dead[i]);
	if (!r)
		r = replay_all(rc);
	if (!r)
		r = write_pack(rc);
	for (size_t i = 0; i < rc->n && !r; i++)
		r = recover_refs(rc, &rc->dead[i]);
	for (size_t i = 0; i < rc->n && !r; i++)
		r = tidy(rc->s, &rc->dead[i]);
	if (!r) {
		odb_refresh(rc->s);
		if (rc->commits)
			store_log(rc->s, "recovered %zu acknowledged moves of refs of a process that died", rc->commits);
	}
	return r;
}

static int recover(struct store *s, const uint64_t *id)
{
	struct recovery rc = {.s = s};
	int lock, r;

	lock = owner_kv_lock(s->dirfd, false);
	if (lock == LEDGER_ENOTFOUND)
		return 0;
	if (lock < 0)
		return lock;
	rc.gen = gen_new();
	if (!rc.gen)
		r = LEDGER_ENOMEM;
	else
		r = id ? seize(&rc, *id) : seize_all(&rc);
	if (r == 1)
		r = 0;
	if (!r)
		r = run(&rc);
	if (!r && rc.n)
		r = 1;
	for (size_t i = 0; i < rc.n; i++)
		dead_release(&rc.dead[i]);
	free(rc.dead);
	gen_unref(rc.gen);
	io_close(lock);
	return r;
}

int recover_all(struct store *s)
{
	int r = recover(s, NULL);

	if (r == LEDGER_EROFS || r == LEDGER_EACCES) {
		store_log(s, "what a dead process left behind cannot be recovered: %s", ledger_errmsg());
		return 0;
	}
	return r < 0 ? r : 0;
}

int recover_owner(struct store *s, uint64_t id)
{
	return recover(s, &id);
}
