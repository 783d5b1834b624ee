/* SPDX-License-Identifier: MIT */
#include "revalidate.h"

#include <stdlib.h>

#define LOCK_HANDLES 64 /* of one process on one key; what is beyond stays with its value */

struct lock_reply {
	struct lock_reply *next; /* revalidator.lock */
	struct fs *fs;
	fuse_req_t req;
	struct inode *priv; /* of the handle; owned reference; NULL: it has no copy of its own */
	uint64_t file;      /* the handle, as locks_*() know it */
	uint64_t owner;
	enum lock_scope scope;
	struct inode *behind[LOCK_HANDLES]; /* to be brought up to date; owned references */
	unsigned nbehind;
};

struct revalidator {
	pthread_t thread;
	pthread_mutex_t lock; /* a leaf */
	pthread_cond_t wake;
	struct lock_reply *first, **end; /* lock */
	bool stop;                       /* lock */
};

struct lock_reply *lock_reply_new(struct fs *fs, fuse_req_t req, struct file *f, enum lock_scope scope, uint64_t owner)
{
	struct lock_reply *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->fs = fs;
	l->req = req;
	l->owner = owner;
	if (f && f->session && scope != LOCK_REFRESH_NONE) {
		l->scope = scope;
		l->file = (uintptr_t)f;
		l->priv = f->priv;
		pthread_mutex_lock(&fs->lock);
		inode_ref_locked(l->priv);
		pthread_mutex_unlock(&fs->lock);
	}
	return l;
}

void lock_reply_free(struct lock_reply *l)
{
	if (!l)
		return;
	for (unsigned i = 0; i < l->nbehind; i++)
		inode_unref(l->fs, l->behind[i]);
	if (l->priv)
		inode_unref(l->fs, l->priv);
	free(l);
}

static void reply(struct lock_reply *l, int err)
{
	fuse_reply_err(l->req, err);
	lock_reply_free(l);
}

/* The other handles that the process of this one opened on the key: referenced, each with its number for locks_*(). */
static unsigned others(struct lock_reply *l, struct inode **privs, uint64_t *files, char **key)
{
	struct session *s = l->priv->session;
	struct fs *fs = l->fs;
	struct place *p;
	unsigned n = 0;

	*key = NULL;
	pthread_mutex_lock(&fs->lock);
	p = s->place;
	for (struct file *f = p->sessions && p->sessions->next ? fs->files : NULL; f && n < LOCK_HANDLES - 1; f = f->next) {
		if (f->session && f->session != s && f->session->place == p && f->session->who.pid == s->who.pid) {
			inode_ref_locked(f->priv);
			privs[n] = f->priv;
			files[n++] = (uintptr_t)f;
		}
	}
	if (n && p->ns)
		*key = path_join(p->ns, p->path);
	pthread_mutex_unlock(&fs->lock);
	return n;
}

/* Takes `priv` over. */
static void note_behind(struct lock_reply *l, struct inode *priv)
{
	if (session_is_behind(priv->session))
		l->behind[l->nbehind++] = priv;
	else
		inode_unref(l->fs, priv);
}

/* Which handles are to be brought up to date? */
static void find_behind(struct lock_reply *l)
{
	struct inode *privs[LOCK_HANDLES];
	uint64_t files[LOCK_HANDLES];
	struct fs *fs = l->fs;
	unsigned n;
	char *key;

	if (l->scope != LOCK_REFRESH_OTHERS) {
		pthread_mutex_lock(&fs->lock);
		inode_ref_locked(l->priv);
		pthread_mutex_unlock(&fs->lock);
		note_behind(l, l->priv);
	}
	if (l->scope == LOCK_REFRESH_FILE)
		return;
	n = others(l, privs, files, &key);
	if (n && l->scope == LOCK_REFRESH_OTHERS && !session_saved_newest(l->priv->session)) {
		while (n)
			inode_unref(fs, privs[--n]);
	}
	for (unsigned i = 0; i < n; i++) {
		if (key && !locks_held_otherwise(fs->locks, key, files[i], l->owner))
			note_behind(l, privs[i]);
		else
			inode_unref(fs, privs[i]);
	}
	free(key);
}

void lock_reply_send(struct lock_reply *l, int err)
{
	struct revalidator *v = l->fs->revalidator;
	bool queued = false;

	if (!err && l->priv && v)
		find_behind(l);
	if (l->nbehind) {
		pthread_mutex_lock(&v->lock);
		queued = !v->stop;
		if (queued) {
			*v->end = l;
			v->end = &l->next;
			pthread_cond_signal(&v->wake);
		}
		pthread_mutex_unlock(&v->lock);
	}
	if (!queued)
		reply(l, err);
}

/*
 * A value that cannot be read now is no reason to refuse the lock: the handle stays with what it has, and its save is
 * refused (SPEC 5.2).  The kernel knows no inode of that number when the handle is not on it (open.c): then it has no pages.
 */
static void revalidate(struct lock_reply *l)
{
	for (unsigned i = 0; i < l->nbehind; i++) {
		if (session_refresh(l->behind[i]->session))
			fuse_lowlevel_notify_inval_inode(l->fs->se, inode_id(l->fs, l->behind[i]), 0, 0);
	}
	reply(l, 0);
}

static void *revalidator_main(void *arg)
{
	struct revalidator *v = arg;

	pthread_mutex_lock(&v->lock);
	for (;;) {
		struct lock_reply *l = v->first;

		if (l) {
			v->first = l->next;
			if (!v->first)
				v->end = &v->first;
			pthread_mutex_unlock(&v->lock);
			revalidate(l);
			pthread_mutex_lock(&v->lock);
		} else if (v->stop) {
			break;
		} else {
			pthread_cond_wait(&v->wake, &v->lock);
		}
	}
	pthread_mutex_unlock(&v->lock);
	return NULL;
}

int revalidate_start(struct fs *fs)
{
	struct revalidator *v = calloc(1, sizeof(*v));

	if (!v)
		return LEDGER_ENOMEM;
	v->end = &v->first;
	pthread_mutex_init(&v->lock, NULL);
	pthread_cond_init(&v->wake, NULL);
	if (pthread_create(&v->thread, NULL, revalidator_main, v)) {
		pthread_cond_destroy(&v->wake);
		pthread_mutex_destroy(&v->lock);
		free(v);
		return LEDGER_ENOMEM;
	}
	fs->revalidator = v;
	return 0;
}

void revalidate_stop(struct fs *fs)
{
	struct revalidator *v = fs->revalidator;

	if (!v)
		return;
	pthread_mutex_lock(&v->lock);
	v->stop = true;
	pthread_cond_signal(&v->wake);
	pthread_mutex_unlock(&v->lock);
	pthread_join(v->thread, NULL);
	fs->revalidator = NULL;
	pthread_cond_destroy(&v->wake);
	pthread_mutex_destroy(&v->lock);
	free(v);
}
