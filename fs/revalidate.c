/* SPDX-License-Identifier: MIT */
#include "revalidate.h"

#include <stdlib.h>

struct lock_reply {
	struct lock_reply *next; /* revalidator.lock */
	struct fs *fs;
	fuse_req_t req;
	struct inode *priv; /* owned reference; NULL: a handle without a copy of its own */
	bool cached;        /* the kernel may have pages of `priv` */
};

struct revalidator {
	pthread_t thread;
	pthread_mutex_t lock; /* a leaf */
	pthread_cond_t wake;
	struct lock_reply *first, **end; /* lock */
	bool stop;                       /* lock */
};

struct lock_reply *lock_reply_new(struct fs *fs, fuse_req_t req, struct file *f)
{
	struct lock_reply *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->fs = fs;
	l->req = req;
	if (f && f->session) {
		l->priv = f->priv;
		l->cached = f->inode == f->priv;
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
	if (l->priv)
		inode_unref(l->fs, l->priv);
	free(l);
}

static void reply(struct lock_reply *l, int err)
{
	fuse_reply_err(l->req, err);
	lock_reply_free(l);
}

void lock_reply_send(struct lock_reply *l, int err)
{
	struct revalidator *v = l->fs->revalidator;
	bool queued = false;

	if (!err && l->priv && v && session_is_behind(l->priv->session)) {
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
 * refused (SPEC 5.2).
 */
static void revalidate(struct lock_reply *l)
{
	if (session_refresh(l->priv->session) && l->cached)
		fuse_lowlevel_notify_inval_inode(l->fs->se, inode_id(l->fs, l->priv), 0, 0);
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
