/* SPDX-License-Identifier: MIT */
/* When local files are opened and closed, and what becomes of those that stay. */
#include "control.h"
#include "local.h"

#include <stdlib.h>

struct janitor {
	pthread_t thread;
	pthread_cond_t wake; /* with fs.lock: something has a new due time, or stop */
	bool stop;           /* fs.lock */
};

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void arm_locked(struct fs *fs, struct local *l)
{
	if (!l->linked || l->type == LOCAL_SCRATCH || l->writers)
		return;
	l->due = now_ms() + LOCAL_STAY_MS;
	pthread_cond_signal(&fs->janitor->wake);
}

void local_open(struct fs *fs, struct local *l, bool writer, pid_t pid)
{
	if (!writer)
		return;
	pthread_mutex_lock(&fs->lock);
	if (l->writers++ == 0)
		l->user = pid;
	l->due = 0;
	pthread_mutex_unlock(&fs->lock);
}

void local_flush(struct fs *fs, struct local *l, pid_t tid)
{
	struct proc_exit end = {0};
	pid_t pid;

	if (proc_exit_state(tid, &end) || !end.exiting || end.signal <= 0 || proc_tgid(tid, &pid))
		return;
	pthread_mutex_lock(&l->lock);
	if (l->writer == pid)
		l->tainted = true;
	pthread_mutex_unlock(&l->lock);
}

/* The file is a key already and was written again through a handle from before: one more save, on what it was. */
static void save_late(struct fs *fs, struct local *l)
{
	struct ledger_edit e = {.op = LEDGER_SET, .base_rule = LEDGER_BASE_BLOB, .flags = LEDGER_KEEP_KIND};
	struct ledger_entry there;
	char *ns = NULL, *path = NULL;
	int r = LEDGER_ENOMEM;

	if (place_name(fs, l->place, &ns, &path))
		return;
	r = fs_resolve(fs, l->place, NULL, &there);
	if (!r) {
		e.path = path;
		e.base = l->blob;
		r = local_value(fs, l, &e.value, &e.kind);
	}
	if (!r)
		r = fs_change(fs, &l->who, ns, path, NULL, &e, 1, NULL);
	if (r == LEDGER_ECONFLICT)
		control_reject(fs, ns, path, e.value, l->who.uid);
	if (r)
		log_line("%s/%s: writes after its rename are not saved: %s", ns, path, ledger_strerror(r));
	ledger_value_unref(e.value);
	free(ns);
	free(path);
}

void local_close(struct fs *fs, struct local *l, bool writer)
{
	bool last = false, late, tainted;

	if (!writer)
		return;
	pthread_mutex_lock(&l->lock);
	late = l->late && l->written && !l->tainted;
	tainted = l->tainted;
	pthread_mutex_unlock(&l->lock);
	pthread_mutex_lock(&fs->lock);
	if (--l->writers == 0) {
		last = true;
		if (!tainted || l->type == LOCAL_SCRATCH)
			arm_locked(fs, l);
	}
	pthread_mutex_unlock(&fs->lock);
	if (!last)
		return;
	if (tainted && l->type == LOCAL_PASSING) {
		struct place *p = l->place;

		pthread_rwlock_wrlock(&p->names);
		local_unlink(fs, l);
		pthread_rwlock_unlock(&p->names);
	} else if (late) {
		save_late(fs, l);
	}
}

void local_reclass(struct fs *fs, struct local *l, enum local_type type)
{
	pthread_mutex_lock(&fs->lock);
	l->type = type;
	l->due = 0;
	arm_locked(fs, l);
	pthread_mutex_unlock(&fs->lock);
}

/* The edit that a passing or gone file stands for. */
static int settle_edit(struct fs *fs, struct local *l, enum local_type type, struct ledger_edit *e)
{
	if (type == LOCAL_GONE) {
		e->op = LEDGER_DELETE;
		e->base_rule = LEDGER_BASE_BLOB;
		e->base = l->blob;
		return 0;
	}
	e->op = LEDGER_SET;
	e->base_rule = LEDGER_BASE_ABSENT;
	return local_value(fs, l, &e->value, &e->kind);
}

/* With the name locked. */
static int settle_named(struct fs *fs, struct local *l, const char *ns, const char *path, enum local_type type)
{
	struct ledger_edit e = {.path = path};
	struct timespec mtime;
	struct ledger_result res;
	int r;

	r = settle_edit(fs, l, type, &e);
	if (!r)
		r = fs_change(fs, &l->who, ns, path, NULL, &e, 1, &res);
	if (!r && type == LOCAL_PASSING) {
		pthread_mutex_lock(&l->lock);
		mtime = l->mtime;
		pthread_mutex_unlock(&l->lock);
		times_set(fs, ns, path, &res.blob, &mtime);
	}
	if (r == LEDGER_ECONFLICT && e.value)
		control_reject(fs, ns, path, e.value, l->who.uid);
	if (r)
		log_line("%s/%s: %s not committed: %s", ns, path, type == LOCAL_GONE ? "its removal was" : "it was",
			 ledger_strerror(r));
	ledger_value_unref(e.value);
	/* Another try would fail alike, but for a full disk: then the file stays and is tried again. */
	if (r != LEDGER_ENOSPC) {
		pthread_mutex_lock(&fs->lock);
		inode_supersede_locked(l->place);
		pthread_mutex_unlock(&fs->lock);
		local_drop_name(fs, l);
	}
	return r;
}

int local_settle_held(struct fs *fs, struct local *l, const struct hold *h)
{
	enum local_type type;
	bool mine;

	pthread_mutex_lock(&fs->lock);
	mine = l->linked && l->place == h->place && !l->writers;
	type = l->type;
	pthread_mutex_unlock(&fs->lock);
	return mine && type != LOCAL_SCRATCH ? settle_named(fs, l, h->ns, h->path, type) : 0;
}

int local_settle(struct fs *fs, struct local *l)
{
	struct place *p;
	struct hold h;
	int r;

	pthread_mutex_lock(&fs->lock);
	p = place_ref_locked(l->place);
	l->due = 0;
	pthread_mutex_unlock(&fs->lock);
	r = hold_begin(fs, p, true, &h);
	place_unref(fs, p);
	if (r)
		return r;
	r = local_settle_held(fs, l, &h);
	hold_end(fs, &h);
	return r;
}

/* Is anything local below the directory `path` of `ns` ("": anywhere in it)? */
bool local_any_below(struct fs *fs, const char *ns, const char *path)
{
	size_t n = strlen(path);
	bool yes = false;

	pthread_mutex_lock(&fs->lock);
	for (struct local *l = fs->locals; l && !yes; l = l->next) {
		yes = l->linked && l->type != LOCAL_GONE && strcmp(l->place->ns, ns) == 0 &&
		      strncmp(l->place->path, path, n) == 0 && (!n || l->place->path[n] == '/');
	}
	pthread_mutex_unlock(&fs->lock);
	return yes;
}

/* Keys below that were renamed to scratch names are deleted for good before their directory goes. */
int local_settle_below(struct fs *fs, const char *ns, const char *path)
{
	size_t n = strlen(path);
	int r = 0;

	while (!r) {
		struct local *l;

		pthread_mutex_lock(&fs->lock);
		for (l = fs->locals; l; l = l->next) {
			if (l->linked && l->type == LOCAL_GONE && strcmp(l->place->ns, ns) == 0 &&
			    strncmp(l->place->path, path, n) == 0 && (!n || l->place->path[n] == '/'))
				break;
		}
		if (l)
			l->refs++;
		pthread_mutex_unlock(&fs->lock);
		if (!l)
			return 0;
		r = local_settle(fs, l);
		local_unref(fs, l);
	}
	return r;
}

/* The one that is due next, with a reference; else *wait is when to look again (0: when woken). */
static struct local *next_due_locked(struct fs *fs, uint64_t now, uint64_t *wait)
{
	*wait = 0;
	for (struct local *l = fs->locals; l; l = l->next) {
		if (!l->linked || !l->due)
			continue;
		if (l->due <= now) {
			l->refs++;
			return l;
		}
		if (!*wait || l->due < *wait)
			*wait = l->due;
	}
	return NULL;
}

static void *janitor_main(void *arg)
{
	struct fs *fs = arg;
	struct janitor *j = fs->janitor;

	pthread_mutex_lock(&fs->lock);
	while (!j->stop) {
		uint64_t wait;
		struct local *l = next_due_locked(fs, now_ms(), &wait);

		if (l) {
			pthread_mutex_unlock(&fs->lock);
			local_settle(fs, l);
			pthread_mutex_lock(&fs->lock);
			local_unref_locked(fs, l);
		} else if (wait) {
			struct timespec t = {(time_t)(wait / 1000), (long)(wait % 1000) * 1000000};

			pthread_cond_timedwait(&j->wake, &fs->lock, &t);
		} else {
			pthread_cond_wait(&j->wake, &fs->lock);
		}
	}
	pthread_mutex_unlock(&fs->lock);
	return NULL;
}

int local_start(struct fs *fs)
{
	struct janitor *j = calloc(1, sizeof(*j));
	pthread_condattr_t attr;

	if (!j)
		return LEDGER_ENOMEM;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&j->wake, &attr);
	pthread_condattr_destroy(&attr);
	fs->janitor = j;
	if (pthread_create(&j->thread, NULL, janitor_main, fs)) {
		pthread_cond_destroy(&j->wake);
		free(j);
		fs->janitor = NULL;
		return LEDGER_ENOMEM;
	}
	return 0;
}

void local_stop(struct fs *fs)
{
	struct janitor *j = fs->janitor;
	struct local *l;

	if (!j)
		return;
	pthread_mutex_lock(&fs->lock);
	j->stop = true;
	pthread_cond_signal(&j->wake);
	pthread_mutex_unlock(&fs->lock);
	pthread_join(j->thread, NULL);
	pthread_mutex_lock(&fs->lock);
	for (;;) {
		char *ns, *path;

		for (l = fs->locals; l && !l->linked; l = l->next)
			;
		if (!l)
			break;
		l->refs++;
		pthread_mutex_unlock(&fs->lock);
		if (l->type != LOCAL_SCRATCH && !l->writers) {
			local_settle(fs, l);
		} else if (place_name(fs, l->place, &ns, &path) == 0) {
			log_line("%s/%s: a scratch file is lost with the mount", ns, path);
			free(ns);
			free(path);
		}
		local_drop_name(fs, l);
		pthread_mutex_lock(&fs->lock);
		local_unref_locked(fs, l);
	}
	pthread_mutex_unlock(&fs->lock);
	pthread_cond_destroy(&j->wake);
	free(j);
	fs->janitor = NULL;
}
