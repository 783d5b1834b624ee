/* SPDX-License-Identifier: MIT */
/*
 * Large values go to the disk before the group that names them, each into a synced pack of its own, in constant memory;
 * the journal then holds the name.  They are stored, not compressed: zlib is slower than the disk; git compresses what it
 * repacks.
 *
 * Nobody sees such a pack before a group names its value, so what is refused before that can go: its file has no name
 * yet.  Once shown it stays, whatever becomes of the group: a foreign git that met the value there did not write it
 * again, and its own commit may rest on it.
 */
#include "draft.h"
#include "engine.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIECE (256u << 10)

/* A value in memory, or in somebody's file: as a draft. */
static int make_draft(struct store *s, struct ledger_value *v, struct store_draft **out)
{
	uint64_t size = ledger_value_size(v), done = 0;
	struct ledger_oid oid;
	struct store_draft *d = NULL;
	char *buf = io_malloc(PIECE);
	int r = buf ? store_draft_new(s, &d) : LEDGER_ENOMEM;

	while (!r && done < size) {
		ssize_t n = ledger_value_pread(v, buf, PIECE, done);

		if (n <= 0) {
			r = n < 0 ? (int)n : ledger_fail(LEDGER_EIO, "a value is shorter than it says");
			break;
		}
		r = store_draft_pwrite(d, buf, (size_t)n, done);
		done += (uint64_t)n;
	}
	free(buf);
	if (!r)
		r = store_draft_seal(d, &oid);
	if (!r && !ledger_oid_eq(&oid, ledger_value_oid(v)))
		r = ledger_fail(LEDGER_EIO, "a value changed while it was read");
	if (!r)
		*out = d;
	else
		store_draft_unref(d);
	return r;
}

static void tmp_names(const struct staged *t, char pack[70], char idx[70])
{
	snprintf(pack, 70, "%s.p", t->tmp);
	snprintf(idx, 70, "%s.i", t->tmp);
}

static int write_index(struct store *s, const struct store_draft *d, const char *path)
{
	struct pack_entry e = {.oid = d->oid, .off = 12, .crc = d->crc};
	unsigned char *idx = NULL;
	size_t len = 0, cap = 0;
	int r;

	r = pack_make_index(&e, 1, &d->trailer, &idx, &len, &cap);
	io_unlink(s->dirfd, path);
	if (!r && io_write_file(s->dirfd, path, idx, len, 0444, !s->nosync) < 0)
		r = ledger_fail(io_code(errno), "%s: %s", path, strerror(errno));
	free(idx);
	return r;
}

/* All of the value is on the disk, and nobody sees it. */
static int prepare(struct store *s, struct ledger_value *v, struct staged *t)
{
	char pack[70], idx[70];
	uint64_t n;
	int r = 0;

	pthread_mutex_lock(&s->stage_mu);
	n = ++s->stage_seq;
	pthread_mutex_unlock(&s->stage_mu);
	t->oid = *ledger_value_oid(v);
	store_tmp(s, t->tmp, "v", n);
	tmp_names(t, pack, idx);
	/* Not named by its hash: two owners that stage the same bytes must not share what one of them may remove. */
	snprintf(t->pack, 41, "6b77%016" PRIx64 "%020" PRIx64, s->owner.id, n);
	t->draft = value_draft(v);
	if (t->draft)
		store_draft_ref(t->draft);
	else
		r = make_draft(s, v, &t->draft);
	if (!r)
		r = t->draft->named ? draft_copy_to(t->draft, pack) : draft_sync(t->draft);
	return r ? r : write_index(s, t->draft, idx);
}

/* Shows what was prepared: synced, named for good. */
static int place(struct store *s, struct staged *t)
{
	char pack[70], idx[70], name[80];
	int r = 0;

	tmp_names(t, pack, idx);
	snprintf(name, sizeof(name), PACK_DIR "/pack-%s.pack", t->pack);
	if (t->draft->named)
		return pack_place(s->dirfd, pack, idx, t->pack, !s->nosync);
	/* A name that it has got in an earlier try is its own: no other is the same. */
	if (draft_link(t->draft, name) == 0 || errno == EEXIST)
		return pack_place(s->dirfd, NULL, idx, t->pack, !s->nosync);
	if (errno != ENOENT && errno != EOPNOTSUPP && errno != EXDEV && errno != EPERM)
		return ledger_fail(io_code(errno), "%s: %s", name, strerror(errno));
	/* No /proc, or a foreign prune took the name that it had. */
	r = draft_copy_to(t->draft, pack);
	return r ? r : pack_place(s->dirfd, pack, idx, t->pack, !s->nosync);
}

/* What is not in place goes. */
static void forget(struct store *s, struct staged *t)
{
	char pack[70], idx[70];

	tmp_names(t, pack, idx);
	if (!t->placed && t->tmp[0]) {
		io_unlink(s->dirfd, pack);
		io_unlink(s->dirfd, idx);
	}
	store_draft_unref(t->draft);
	free(t);
}

int stage_write(struct store *s, struct ledger_value *v)
{
	struct staged *t = io_calloc(1, sizeof(*t));
	int r;

	if (!t)
		return LEDGER_ENOMEM;
	r = prepare(s, v, t);
	if (!r)
		r = place(s, t);
	t->placed = !r;
	forget(s, t);
	return r;
}

static struct staged *find(struct store *s, const struct ledger_oid *oid)
{
	struct staged *t;

	for (t = s->staged; t; t = t->next)
		if (ledger_oid_eq(&t->oid, oid))
			return t;
	return NULL;
}

/* Writes the value unless it is there from another caller; counts one user. */
static int stage(struct store *s, struct ledger_value *v, int users)
{
	const struct ledger_oid *oid = ledger_value_oid(v);
	struct staged *t, *have;
	int r;

	pthread_mutex_lock(&s->stage_mu);
	have = find(s, oid);
	if (have)
		have->users += users;
	pthread_mutex_unlock(&s->stage_mu);
	if (have)
		return 0;
	t = io_calloc(1, sizeof(*t));
	if (!t)
		return LEDGER_ENOMEM;
	r = prepare(s, v, t);
	if (r < 0) {
		forget(s, t);
		return r;
	}
	t->users = users;
	pthread_mutex_lock(&s->stage_mu);
	have = find(s, oid);
	if (have) {
		have->users += users;
	} else {
		t->next = s->staged;
		s->staged = t;
	}
	pthread_mutex_unlock(&s->stage_mu);
	if (have)
		forget(s, t);
	return 0;
}

int store_stage(struct store *s, struct ledger_value *v)
{
	int r;

	if (s->readonly || ledger_value_size(v) < STAGE_MIN)
		return 0;
	r = store_own(s);
	if (!r)
		r = stage(s, v, 1);
	if (r == LEDGER_EDEAD) {
		pthread_mutex_lock(&s->mu);
		store_die(s, ledger_errmsg());
		pthread_mutex_unlock(&s->mu);
	}
	return r;
}

/* Takes it off the list; stage_mu is held. */
static void drop(struct store *s, struct staged *t)
{
	struct staged **p;

	for (p = &s->staged; *p != t;)
		p = &(*p)->next;
	*p = t->next;
}

void store_unstage(struct store *s, struct ledger_value *v)
{
	struct staged *t;

	if (s->readonly || ledger_value_size(v) < STAGE_MIN)
		return;
	pthread_mutex_lock(&s->stage_mu);
	t = find(s, ledger_value_oid(v));
	if (t && --t->users <= 0)
		drop(s, t);
	else
		t = NULL;
	pthread_mutex_unlock(&s->stage_mu);
	if (t)
		forget(s, t);
}

int stage_commit(struct store *s, struct ledger_value *v)
{
	struct staged *t;
	int r;

	r = stage(s, v, 1);
	if (r < 0)
		return r;
	/* Ours until it is unstaged, and only one thread makes groups: nobody else looks at `placed`. */
	pthread_mutex_lock(&s->stage_mu);
	t = find(s, ledger_value_oid(v));
	pthread_mutex_unlock(&s->stage_mu);
	if (!t->placed) {
		r = keep_in_gen(s, t->pack);
		if (!r)
			r = place(s, t);
		t->placed = !r;
	}
	store_unstage(s, v);
	return r;
}

void stage_free(struct store *s)
{
	while (s->staged) {
		struct staged *t = s->staged;

		s->staged = t->next;
		forget(s, t);
	}
}
