/* SPDX-License-Identifier: MIT */
/* Write handles that go on from newer values than they were opened on; who asks for that is in revalidate.c. */
#include "session.h"

#include <stdlib.h>

/* Nothing is unsaved.  The lock is held. */
static bool is_clean(const struct session *s)
{
	return !s->dirty && !s->error && !s->base_absent && !atomic_load(&s->created) && !atomic_load(&s->detached);
}

/* Made by O_CREAT alone: an empty file that nobody wrote gives way to a value.  The lock is held. */
static bool is_untouched(const struct session *s)
{
	return atomic_load(&s->created) && !s->exclusive && !s->error && !s->nwriters && !s->kind_set &&
	       !atomic_load(&s->detached) && spool_size(s->bytes) == 0;
}

bool session_has_unsaved(struct session *s)
{
	bool yes;

	pthread_mutex_lock(&s->lock);
	yes = s->dirty && !is_untouched(s);
	pthread_mutex_unlock(&s->lock);
	return yes;
}

/* What the key has now, if that is another value of the same nature.  The lock is held. */
static bool newer_value(struct session *s, struct ledger_entry *e)
{
	struct fs *fs = s->fs;
	struct place *p;
	int r;

	if (!is_clean(s) && !is_untouched(s))
		return false;
	pthread_mutex_lock(&fs->lock);
	p = place_ref_locked(s->place);
	pthread_mutex_unlock(&fs->lock);
	r = fs_resolve(fs, p, NULL, e);
	place_unref(fs, p);
	return !r && (e->kind == LEDGER_FILE || e->kind == LEDGER_EXEC) &&
	       (s->base_absent || !ledger_oid_eq(&e->oid, &s->base));
}

bool session_is_behind(struct session *s)
{
	struct ledger_entry e;
	bool behind;

	pthread_mutex_lock(&s->lock);
	behind = newer_value(s, &e);
	pthread_mutex_unlock(&s->lock);
	return behind;
}

bool session_saved_newest(struct session *s)
{
	struct ledger_entry e;
	bool yes;

	pthread_mutex_lock(&s->lock);
	yes = s->base_own && is_clean(s) && !newer_value(s, &e);
	pthread_mutex_unlock(&s->lock);
	return yes;
}

bool session_refresh(struct session *s)
{
	struct ledger_entry e;
	uint64_t size;
	bool done;

	pthread_mutex_lock(&s->lock);
	done = newer_value(s, &e) && !ledger_blob_size(s->fs->ledger, &e.oid, &size) && !spool_truncate(s->bytes, 0);
	if (done) {
		ledger_value_unref(s->base_value);
		s->base_value = NULL;
		s->base = e.oid;
		s->base_size = size;
		s->base_own = false;
		s->kind = e.kind;
		s->whole = s->replaces = s->was_read = s->dirty = s->base_absent = false;
		atomic_store(&s->created, false);
		s->mtime_set = false;
		clock_gettime(CLOCK_REALTIME, &s->mtime);
	}
	pthread_mutex_unlock(&s->lock);
	return done;
}

/* Its number is another than the version's, and somebody was told so. */
static bool shows_other_number(const struct session *s, uint64_t version)
{
	uint64_t shown = atomic_load(&s->fd_ino);

	return shown != version && (!s->base_ino || shown == s->base_ino);
}

/* Of more handles that a process has on a key the newest are looked at. */
#define OWN_MAX 16

struct inode *session_own_saved(struct fs *fs, struct place *p, const struct ledger_entry *e, pid_t tid)
{
	struct inode *own[OWN_MAX], *found = NULL;
	uint64_t version;
	bool any = false, good;
	unsigned n = 0;
	pid_t pid;

	pthread_mutex_lock(&fs->lock);
	for (struct session *s = p->sessions; s && !any; s = s->next)
		any = s->opens;
	pthread_mutex_unlock(&fs->lock);
	if (!any || proc_tgid(tid, &pid))
		return NULL;
	pthread_mutex_lock(&fs->lock);
	version = place_ino(p->ns, p->path, &e->oid);
	for (struct session *s = p->sessions; s && n < OWN_MAX; s = s->next) {
		if (s->opens && s->who.pid == pid && !atomic_load(&s->created) && shows_other_number(s, version)) {
			own[n++] = s->priv;
			inode_ref_locked(s->priv);
		}
	}
	pthread_mutex_unlock(&fs->lock);
	for (unsigned i = 0; i < n; i++) {
		struct session *s = own[i]->session;

		pthread_mutex_lock(&s->lock);
		good = !found && is_clean(s) && ledger_oid_eq(&s->base, &e->oid);
		pthread_mutex_unlock(&s->lock);
		if (good)
			found = own[i];
		else
			inode_unref(fs, own[i]);
	}
	return found;
}
