/* SPDX-License-Identifier: MIT */
/*
 * Redirects: how an open for writing, or truncate(2) by path, is sent through LOOKUP to a private inode (open.c has the
 * story).  One is noted per thread and place, from the request that was answered ESTALE until the one that reaches the
 * inode.
 */
#include "file.h"
#include "ops.h"

#include <errno.h>
#include <stdlib.h>

/* Redirects that nobody came for (the caller was killed in between) are dropped after so many seconds. */
#define REDIRECT_SECONDS 60

static time_t seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

/* Takes those out that `match` says (or are too old), and gives them to the caller as a list. */
static struct redirect *pull_locked(struct fs *fs, pid_t tid, const struct inode *priv, const struct place *place)
{
	struct redirect *out = NULL, *r;
	time_t now = seconds();

	for (struct redirect **slot = &fs->redirects; (r = *slot);) {
		bool mine = r->tid == tid && (priv ? r->priv == priv : !place || r->priv->place == place);

		if (!mine && now - r->born < REDIRECT_SECONDS) {
			slot = &r->next;
			continue;
		}
		*slot = r->next;
		r->next = out;
		out = r;
	}
	return out;
}

/* Frees a list; returns whether one of it was for `tid`. */
static bool drop_list(struct fs *fs, struct redirect *list, pid_t tid)
{
	bool mine = false;

	while (list) {
		struct redirect *r = list;

		list = r->next;
		mine = mine || r->tid == tid;
		inode_unref(fs, r->priv);
		free(r);
	}
	return mine;
}

bool redirect_done(struct fs *fs, pid_t tid, struct inode *priv)
{
	struct redirect *list;

	pthread_mutex_lock(&fs->lock);
	list = pull_locked(fs, tid, priv, NULL);
	pthread_mutex_unlock(&fs->lock);
	return drop_list(fs, list, tid);
}

struct inode *redirect_take(struct fs *fs, pid_t tid, const char *ns, const char *path)
{
	struct inode *found = NULL;

	pthread_mutex_lock(&fs->lock);
	for (struct redirect *r = fs->redirects; r && !found; r = r->next) {
		if (r->tid == tid && !r->moved && !r->gone && strcmp(r->priv->place->ns, ns) == 0 &&
		    strcmp(r->priv->place->path, path) == 0)
			found = r->priv;
	}
	if (found)
		found->nlookup++;
	pthread_mutex_unlock(&fs->lock);
	return found;
}

void redirects_free(struct fs *fs)
{
	struct redirect *list = fs->redirects;

	fs->redirects = NULL;
	drop_list(fs, list, 0);
}

/*
 * Between the walk and the open a rename may have given the name to another place; the handle is one on the name
 * (SPEC 5.2), so its session belongs with that one, or it could never be saved.
 */
static void follow_name(struct fs *fs, struct session *s)
{
	struct place *p, *heir;

	pthread_mutex_lock(&fs->lock);
	p = s->place;
	if (!p->hashed && p->ns && (heir = place_get_locked(fs, p->ns, p->path))) {
		sessions_move_locked(fs, p, heir);
		place_unref_locked(fs, heir);
	}
	pthread_mutex_unlock(&fs->lock);
}

int new_private(fuse_req_t req, struct place *p, const struct ledger_entry *base, struct inode **out)
{
	struct fs *fs = fs_of(req);
	struct inode *priv = inode_new(fs, p, INODE_PRIVATE);
	int r;

	if (!priv)
		return LEDGER_ENOMEM;
	r = session_new(fs, priv, base, req);
	if (r) {
		inode_unref(fs, priv);
		return r;
	}
	follow_name(fs, priv->session);
	*out = priv;
	return 0;
}

/* --- without a second walk ---------------------------------------------------------------------------------------- */

#define EXPECT_AFTER 2 /* opens for writing in a row */

/* A place does not outlive the kernel's inodes of it, which go with each save; fs.lock held. */
static struct habit *habit_of(struct fs *fs, const struct place *p, pid_t tid)
{
	return &fs->habits[(p->hash + (uint64_t)tid) % HABITS];
}

bool redirect_expected(struct fs *fs, const struct place *p, pid_t tid)
{
	struct habit *h;
	bool yes;

	pthread_mutex_lock(&fs->lock);
	h = habit_of(fs, p, tid);
	yes = tid && h->tid == tid && h->place == p->hash && h->writes >= EXPECT_AFTER;
	pthread_mutex_unlock(&fs->lock);
	return yes;
}

void redirect_learn(struct fs *fs, struct inode *i, pid_t tid, bool writer)
{
	struct habit *h;

	if (!writer && i->ino == i->key_ino)
		return; /* everybody's version */
	pthread_mutex_lock(&fs->lock);
	h = habit_of(fs, i->place, tid);
	if (writer) {
		if (h->tid != tid || h->place != i->place->hash)
			*h = (struct habit){.tid = tid, .place = i->place->hash};
		h->writes++;
	} else if (i->type == INODE_VERSION && i->sole) {
		i->sole = -1; /* it has a page cache now: nobody's */
		h->writes = 0;
	}
	pthread_mutex_unlock(&fs->lock);
}

bool redirect_adopt(fuse_req_t req, struct inode *i)
{
	struct fs *fs = fs_of(req);
	struct ledger_entry base;
	struct session *s;
	bool sole, there;

	pthread_mutex_lock(&fs->lock);
	sole = i->type == INODE_VERSION && i->sole == fuse_req_ctx(req)->pid && !i->superseded && !i->unlinked &&
	       i->key_ino == place_ino(i->place->ns, i->place->path, &i->blob); /* not renamed since */
	pthread_mutex_unlock(&fs->lock);
	if (!sole || current_base(fs, i->place, &base, &there) || !there || !ledger_oid_eq(&base.oid, &i->blob) ||
	    session_new(fs, i, &base, req))
		return false;
	pthread_mutex_lock(&fs->lock);
	s = i->session;
	sole = i->sole == fuse_req_ctx(req)->pid; /* else somebody reads it, by /proc/PID/fd/N of a descriptor of O_PATH */
	if (sole)
		i->type = INODE_PRIVATE;
	else
		i->session = NULL;
	if (i->told)
		session_show_base_ino(s);
	pthread_mutex_unlock(&fs->lock);
	if (sole)
		follow_name(fs, s);
	else
		session_free(s);
	return sole;
}

bool redirect_unused(struct fs *fs, pid_t tid, struct place *p, struct inode **priv)
{
	struct redirect *list;

	*priv = NULL;
	pthread_mutex_lock(&fs->lock);
	for (struct redirect *r = fs->redirects; r; r = r->next) {
		if (r->tid == tid && r->priv->place == p && r->priv->type == INODE_PRIVATE) {
			*priv = r->priv;
			inode_ref_locked(*priv);
			break;
		}
	}
	list = pull_locked(fs, tid, NULL, NULL);
	pthread_mutex_unlock(&fs->lock);
	return drop_list(fs, list, tid);
}

int current_base(struct fs *fs, struct place *p, struct ledger_entry *e, bool *there)
{
	int r = fs_resolve(fs, p, NULL, e);

	*there = r == 0;
	if (r == LEDGER_ENOTFOUND || r == LEDGER_ENOTDIR)
		return 0;
	if (!r && e->kind == LEDGER_DIR)
		return LEDGER_EISDIR;
	return r;
}

/* Notes the redirect; it has the caller's reference to r->priv. */
static void note(fuse_req_t req, struct redirect *r)
{
	struct fs *fs = fs_of(req);

	r->tid = fuse_req_ctx(req)->pid;
	r->born = seconds();
	pthread_mutex_lock(&fs->lock);
	r->next = fs->redirects;
	fs->redirects = r;
	pthread_mutex_unlock(&fs->lock);
}

int redirect_caller(fuse_req_t req, struct inode *i)
{
	struct fs *fs = fs_of(req);
	struct redirect *r = calloc(1, sizeof(*r));
	struct ledger_entry base;
	bool there;
	int rc;

	if (!r)
		return ENOMEM;
	rc = current_base(fs, i->place, &base, &there);
	r->gone = !rc && !there && i->type != INODE_PRIVATE; /* the walk will find out, or that it is back */
	if (r->gone) {
		pthread_mutex_lock(&fs->lock);
		inode_ref_locked(r->priv = i);
		pthread_mutex_unlock(&fs->lock);
	} else if (!rc) {
		rc = new_private(req, i->place, there ? &base : NULL, &r->priv);
	}
	if (rc) {
		free(r);
		return ledger_errno(rc);
	}
	note(req, r);
	return ESTALE;
}

int redirect_to_version(fuse_req_t req, struct inode *i)
{
	struct fs *fs = fs_of(req);
	struct redirect *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return ENOMEM;
	rc = lookup_committed(fs, i->place, 0, &r->priv);
	if (rc) {
		free(r);
		return rc == LEDGER_ENOTFOUND ? ESTALE : ledger_errno(rc); /* gone meanwhile: the walk will find out */
	}
	pthread_mutex_lock(&fs->lock);
	inode_ref_locked(r->priv);
	r->priv->nlookup--;
	pthread_mutex_unlock(&fs->lock);
	note(req, r);
	return ESTALE;
}

bool redirect_was_to_version(struct fs *fs, pid_t tid, const struct place *p)
{
	bool yes = false;

	pthread_mutex_lock(&fs->lock);
	for (struct redirect *r = fs->redirects; r && !yes; r = r->next)
		yes = r->tid == tid && r->priv->place == p && r->priv->type == INODE_VERSION && !r->gone;
	pthread_mutex_unlock(&fs->lock);
	return yes;
}
