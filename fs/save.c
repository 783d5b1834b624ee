/* SPDX-License-Identifier: MIT */
/* How a write session becomes a commit: when (SPEC 5.1), under which condition (5.2), and what stays when it may not. */
#include "carry.h"
#include "control.h"
#include "journal.h"
#include "local.h"
#include "session.h"

#include <ledger/stats.h>
#include <stdlib.h>

static struct place *session_place(struct session *s)
{
	struct place *p;

	pthread_mutex_lock(&s->fs->lock);
	p = place_ref_locked(s->place);
	pthread_mutex_unlock(&s->fs->lock);
	return p;
}

/* Holds the name that the session has to be saved under; a rename may give the session to another place meanwhile. */
static int hold_name(struct session *s, struct hold *h)
{
	for (;;) {
		struct place *p = session_place(s), *now;
		int r = hold_begin(s->fs, p, false, h);

		now = session_place(s);
		place_unref(s->fs, now);
		place_unref(s->fs, p);
		if (!r && now == p)
			return 0;
		if (!r)
			hold_end(s->fs, h);
		else if (now == p)
			return r;
	}
}

/* SPEC 5.2: what must hold of the key for this value to land. */
static void base_rule(const struct session *s, struct ledger_edit *e)
{
	e->base_rule = LEDGER_BASE_ANY;
	if (s->exclusive && s->base_absent)
		e->base_rule = LEDGER_BASE_ABSENT;
	else if (s->append_only || s->replaces)
		return;
	else if (s->base_absent)
		e->base_rule = LEDGER_BASE_ABSENT;
	else
		e->base_rule = LEDGER_BASE_BLOB;
	e->base = s->base;
}

/* Nothing but the x bit changed. */
static bool only_kind(const struct session *s)
{
	return s->kind_set && !s->whole && !s->base_absent && spool_size(s->bytes) == 0;
}

/* The edit; its value is the caller's to unref. */
static int make_edit(struct session *s, const char *path, struct ledger_edit *e)
{
	memset(e, 0, sizeof(*e));
	e->path = path;
	e->kind = s->kind;
	base_rule(s, e);
	if (only_kind(s)) {
		e->op = LEDGER_CHMOD;
		e->base_rule = LEDGER_BASE_ANY;
		return 0;
	}
	e->op = s->append_only ? LEDGER_APPEND : LEDGER_SET;
	if (!s->kind_set && !atomic_load(&s->created))
		e->flags = LEDGER_KEEP_KIND;
	return spool_value(s->bytes, &e->value);
}

/* The handle goes on from what it committed. */
static int rebase(struct session *s, const struct hold *v, const struct ledger_result *res)
{
	int r = 0;

	atomic_store(&s->created, false);
	s->dirty = s->kind_set = s->exclusive = false;
	s->base_absent = false;
	s->base_own = true;
	journal_follow(s->fs, v->ns, v->path, s->who.pid, &s->base, &res->blob);
	s->base = res->blob;
	carry_move_on(s, &res->blob);
	if (s->mtime_set)
		times_set(s->fs, v->ns, v->path, &res->blob, &s->mtime);
	s->mtime_set = false;
	if (s->append_only) {
		ledger_value_unref(s->base_value);
		s->base_value = NULL;
		r = ledger_blob_size(s->fs->ledger, &res->blob, &s->base_size);
		if (!r)
			r = spool_truncate(s->bytes, 0);
	}
	return r;
}

/* The refused value stays readable for its writer. */
static void keep_refused(struct session *s, const struct who *w, const struct hold *v, struct ledger_value *value)
{
	struct ledger_value *whole = NULL;

	if (!value)
		return;
	if (!s->append_only)
		whole = ledger_value_ref(value);
	else if (spool_value(s->bytes, &whole))
		return;
	control_reject(s->fs, v->ns, v->path, whole, w->uid);
	ledger_value_unref(whole);
}

/* Has the key moved away from what the session was made from, so that base_rule() would refuse it? */
static int check_base(struct session *s, const struct who *w, const char *ns, const char *path)
{
	struct ledger_result res = {.reason = LEDGER_REASON_BASE};
	struct ledger_expect expected = {.what = LEDGER_EXPECT_BLOB};
	struct ledger_edit e = {0};
	struct ledger_entry there;
	bool holds;
	int r;

	base_rule(s, &e);
	if (e.base_rule == LEDGER_BASE_ANY)
		return 0;
	r = ledger_tip(s->fs->ledger, ns, &res.tip);
	if (!r)
		r = ledger_lookup(s->fs->ledger, &res.tip.tree, path, &there);
	if (r && r != LEDGER_ENOTFOUND)
		return r;
	if (!r)
		res.blob = there.oid;
	if (e.base_rule == LEDGER_BASE_ABSENT)
		holds = r != 0;
	else
		holds = !r && ledger_oid_eq(&there.oid, &e.base) && !atomic_load(&s->detached);
	if (holds)
		return 0;
	expected.oid = e.base;
	if (e.base_rule == LEDGER_BASE_ABSENT)
		expected.what = LEDGER_EXPECT_ABSENT;
	fs_record(s->fs, w, ns, path, LEDGER_ECONFLICT, &expected, &res);
	ledger_stats_refused(s->fs->ledger, ns, LEDGER_REASON_BASE, e.base_rule == LEDGER_BASE_ABSENT, path);
	return LEDGER_ECONFLICT;
}

/* Is it a new key that will not be made after all?  Lock held. */
static bool is_lost(const struct session *s)
{
	return atomic_load(&s->detached) && s->base_absent && !s->base_own;
}

/* Would what is expected of the key refuse it?  `lost`: is_lost(). */
static int check_guards(struct session *s, const struct who *w, const char *ns, const char *path, bool lost)
{
	struct ledger_expect carried;

	return fs_change_check_if(s->fs, w, ns, path, carry_get(s, path, &carried) ? &carried : NULL, lost);
}

/*
 * May a session whose name was unlinked end well?  What it has goes nowhere, as POSIX has it; but who expected something, or
 * made the new value from the one that is gone, is told: else two of them could win against one state.
 */
static int check_detached(struct session *s, const struct who *w, const char *ns, const char *path)
{
	int r = s->base_absent || s->base_own ? 0 : check_base(s, w, ns, path);

	return r ? r : check_guards(s, w, ns, path, is_lost(s));
}

static int save_locked(struct session *s, const struct who *w, const struct hold *v)
{
	bool detached = atomic_load(&s->detached); /* stays so: the name is held */
	struct fs *fs = s->fs;
	struct ledger_expect carried;
	struct ledger_edit e;
	struct ledger_result res;
	int r;

	if (s->error)
		return s->error;
	if (!s->dirty)
		return 0;
	r = make_edit(s, v->path, &e);
	if (r)
		return r;
	if (detached)
		r = check_detached(s, w, v->ns, v->path);
	else
		r = fs_change_if(fs, w, v->ns, v->path, NULL, carry_get(s, v->path, &carried) ? &carried : NULL, &e, 1,
				 &res);
	if (!r && detached) {
		s->dirty = false;
	} else if (!r) {
		local_returned(fs, v->place);
		if (res.changed)
			inode_supersede(fs, v->place);
		r = rebase(s, v, &res);
		if (r)
			s->error = r;
		r = 0;
	} else if (r == LEDGER_ECONFLICT) {
		s->error = r;
		keep_refused(s, w, v, e.value);
	}
	ledger_value_unref(e.value);
	return r;
}

int session_save_as(struct session *s, const struct who *w, const struct hold *to)
{
	struct ledger_edit e;
	struct ledger_result res;
	int r;

	pthread_mutex_lock(&s->lock);
	r = s->error ? s->error : make_edit(s, to->path, &e);
	if (!r) {
		e.base_rule = LEDGER_BASE_ANY;
		e.op = LEDGER_SET;
		r = fs_change(s->fs, w, to->ns, to->path, NULL, &e, 1, &res);
		if (!r)
			r = rebase(s, to, &res);
		if (!r)
			carry_nothing(s);
		ledger_value_unref(e.value);
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

int session_save(struct session *s, const struct who *w)
{
	struct who opener;
	struct hold v;
	int r;

	if (!w) {
		opener = s->who;
		opener.tid = 0;
		opener.chain = s->chain;
		w = &opener;
	}
	r = hold_name(s, &v);
	if (r)
		return r;
	pthread_mutex_lock(&s->lock);
	r = save_locked(s, w, &v);
	pthread_mutex_unlock(&s->lock);
	if (r == LEDGER_ECONFLICT)
		journal_refused(s->fs, v.ns, v.path, s->who.pid);
	hold_end(s->fs, &v);
	return r;
}

int session_check(struct session *s, const struct who *w)
{
	struct place *p = session_place(s);
	char *ns = NULL, *path = NULL;
	int r = LEDGER_ENOMEM;
	bool lost;

	if (place_name(s->fs, p, &ns, &path) == 0) {
		pthread_mutex_lock(&s->lock);
		r = s->error;
		if (!r && !(atomic_load(&s->detached) && (s->base_absent || s->base_own)))
			r = check_base(s, w, ns, path);
		lost = is_lost(s);
		pthread_mutex_unlock(&s->lock);
		if (r == LEDGER_ECONFLICT)
			journal_refused(s->fs, ns, path, s->who.pid);
		if (!r)
			r = check_guards(s, w, ns, path, lost);
		free(ns);
		free(path);
	}
	place_unref(s->fs, p);
	return r;
}

#define TWINS_MAX 64

/* The openers of other live handles whose descriptors show the number. */
static size_t twins(struct session *s, uint64_t ino, pid_t *openers)
{
	size_t n = 0;

	if (ino == s->priv->ino)
		return 0;
	pthread_mutex_lock(&s->fs->lock);
	for (struct session *o = s->place->sessions; o && n < TWINS_MAX; o = o->next) {
		if (o != s && o->opens && atomic_load(&o->fd_ino) == ino)
			openers[n++] = o->who.pid;
	}
	pthread_mutex_unlock(&s->fs->lock);
	return n;
}

/*
 * Does anybody but the closer still have a descriptor of this handle?  The number that descriptors show changes with the
 * first fstat(2), some time after fd_ino did: until then they show the private inode's own, and one that changes while we
 * look may have been missed.
 */
static enum proc_held still_held(struct session *s, pid_t flusher, const pid_t *writers, unsigned nwriters)
{
	struct proc_held_query q;
	pid_t openers[TWINS_MAX];
	enum proc_held r;

	fs_learn_device(s->fs);
	q = (struct proc_held_query){
		.dev = atomic_load(&s->fs->dev),
		.mnt_id = atomic_load(&s->fs->mnt_id),
		.ino = s->priv->ino,
		.flusher = flusher,
		.opener = s->who.pid,
		.last_at_open = s->last_pid,
		.extra = writers,
		.nextra = nwriters,
		.twins = openers,
	};
	do {
		q.ino_shown = atomic_load(&s->fd_ino);
		q.ntwins = twins(s, q.ino_shown, openers);
		r = proc_held(&q);
	} while (r != PROC_HELD && atomic_load(&s->fd_ino) != q.ino_shown);
	return r;
}

static bool wrote(const pid_t *writers, unsigned n, pid_t pid)
{
	for (unsigned i = 0; i < n; i++) {
		if (writers[i] == pid)
			return true;
	}
	return false;
}

int session_flush(struct session *s, fuse_req_t req)
{
	pid_t writers[SESSION_WRITERS];
	struct proc_exit end = {0};
	unsigned nwriters;
	struct who w;
	bool dirty, held;
	int r;

	pthread_mutex_lock(&s->lock);
	dirty = s->dirty;
	r = s->error;
	nwriters = s->nwriters;
	memcpy(writers, s->writers, sizeof(writers));
	pthread_mutex_unlock(&s->lock);
	if (r || !dirty)
		return r;
	who_from_req(&w, req);
	who_look(&w, &end);
	pthread_mutex_lock(&s->lock);
	memcpy(s->who.comm, w.comm, sizeof(w.comm)); /* for a save at release: the opener may have become another program */
	pthread_mutex_unlock(&s->lock);
	held = still_held(s, w.tid, writers, nwriters) == PROC_HELD;
	if (end.exiting && end.signal > 0 && (!held || wrote(writers, nwriters, w.pid))) {
		session_poison(s, LEDGER_EIO);
		return LEDGER_EIO;
	}
	if (held)
		return session_check(s, &w);
	r = session_save(s, &w);
	if (r)
		session_poison(s, r); /* close has told of it: it must not land later all the same */
	return r;
}

void session_release(struct session *s)
{
	char *ns, *path;
	bool dirty;
	int r;

	pthread_mutex_lock(&s->lock);
	dirty = s->dirty && !s->error;
	pthread_mutex_unlock(&s->lock);
	if (!dirty)
		return;
	r = session_save(s, NULL);
	if (!r)
		return;
	if (place_name(s->fs, s->place, &ns, &path) == 0) {
		log_line("%s/%s: not saved at its release, after the last close: %s", ns, path, ledger_strerror(r));
		free(ns);
		free(path);
	}
}
