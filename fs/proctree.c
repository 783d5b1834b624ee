/* SPDX-License-Identifier: MIT */
#include "proctree.h"
#include "proc.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

/*
 * One epoll descriptor watches the pidfds of all living processes: one epoll_wait(2) that does not wait learns of every
 * death.  The kernel makes a pidfd ready before the parent's wait(2) can return (both happen under its tasklist lock), so
 * whoever acts on a child's end is never ahead of this tree.
 */
#define DEPTH_MAX 256
#define BUCKETS_MIN 64
#define DEATHS 64

struct proc {
	struct proctree *tree; /* const */
	pid_t tgid;            /* const */
	struct proc *parent;   /* const once the process is in the tree; one reference */
	struct proc *next;     /* tree->lock: the bucket */
	size_t refs;           /* tree->lock */
	int pidfd;             /* tree->lock; -1: dead */
	atomic_bool dead;      /* set under tree->lock */
};

struct proctree {
	pthread_mutex_t lock;
	int epoll;             /* const */
	struct proc **buckets; /* lock; living and dead ones, by tgid */
	size_t nbuckets;       /* lock; a power of two */
	size_t nprocs;         /* lock */
};

int proctree_new(struct proctree **out)
{
	struct proctree *t = calloc(1, sizeof(*t));

	if (!t)
		return ENOMEM;
	t->nbuckets = BUCKETS_MIN;
	t->buckets = calloc(t->nbuckets, sizeof(struct proc *));
	t->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!t->buckets || t->epoll < 0) {
		int err = t->buckets ? errno : ENOMEM;

		if (t->epoll >= 0)
			close(t->epoll);
		free(t->buckets);
		free(t);
		return err;
	}
	pthread_mutex_init(&t->lock, NULL);
	*out = t;
	return 0;
}

void proctree_free(struct proctree *t)
{
	if (!t)
		return;
	close(t->epoll);
	pthread_mutex_destroy(&t->lock);
	free(t->buckets);
	free(t);
}

static struct proc **bucket(struct proctree *t, pid_t tgid)
{
	return &t->buckets[((uint32_t)tgid * 2654435761U >> 7) & (t->nbuckets - 1)];
}

/* A longer table when it is crowded; without memory the old one does, slower.  Lock held. */
static void grow(struct proctree *t)
{
	struct proc **old = t->buckets, *p, *next, **b;
	size_t n = t->nbuckets, i;

	if (t->nprocs < n)
		return;
	t->buckets = calloc(n * 2, sizeof(struct proc *));
	if (!t->buckets) {
		t->buckets = old;
		return;
	}
	t->nbuckets = n * 2;
	for (i = 0; i < n; i++) {
		for (p = old[i]; p; p = next) {
			next = p->next;
			b = bucket(t, p->tgid);
			p->next = *b;
			*b = p;
		}
	}
	free(old);
}

/* Taken out of the epoll set by hand: closing would do that only if no child just forked shares the descriptor.  Lock held.
 */
static void mark_dead(struct proc *p)
{
	if (p->pidfd >= 0) {
		epoll_ctl(p->tree->epoll, EPOLL_CTL_DEL, p->pidfd, NULL);
		close(p->pidfd);
	}
	p->pidfd = -1;
	atomic_store_explicit(&p->dead, true, memory_order_release);
}

/* Learns of the deaths up to now.  Lock held. */
static void learn_deaths(struct proctree *t)
{
	struct epoll_event ev[DEATHS];
	int n, i;

	do {
		n = epoll_wait(t->epoll, ev, DEATHS, 0);
		for (i = 0; i < n; i++)
			mark_dead(ev[i].data.ptr);
	} while (n == DEATHS || (n < 0 && errno == EINTR));
}

/* The living process of that number, or NULL.  Lock held, deaths learnt. */
static struct proc *find(struct proctree *t, pid_t tgid)
{
	struct proc *p;

	for (p = *bucket(t, tgid); p; p = p->next) {
		if (p->tgid == tgid && p->pidfd >= 0)
			return p;
	}
	return NULL;
}

/* Lock held. */
static void put(struct proc *p)
{
	struct proctree *t;
	struct proc *parent, **at;

	for (; p && --p->refs == 0; p = parent) {
		t = p->tree;
		parent = p->parent;
		for (at = bucket(t, p->tgid); *at != p; at = &(*at)->next)
			;
		*at = p->next;
		t->nprocs--;
		mark_dead(p);
		free(p);
	}
}

/* Takes `pidfd` over.  Lock held. */
static int add(struct proctree *t, pid_t tgid, int pidfd, struct proc **out)
{
	struct epoll_event ev = {.events = EPOLLIN};
	struct proc *p = calloc(1, sizeof(*p)), **b;
	int err = ENOMEM;

	if (!p)
		goto fail;
	ev.data.ptr = p;
	if (epoll_ctl(t->epoll, EPOLL_CTL_ADD, pidfd, &ev)) {
		err = errno;
		goto fail;
	}
	grow(t);
	*p = (struct proc){.tree = t, .tgid = tgid, .refs = 1, .pidfd = pidfd};
	b = bucket(t, tgid);
	p->next = *b;
	*b = p;
	t->nprocs++;
	*out = p;
	return 0;
fail:
	free(p);
	close(pidfd);
	return err;
}

/*
 * The process of thread `tid`, found or new, with one reference; *known tells whether its parents are there already.
 * A pidfd is opened before the tree is asked: while it is open and its process lives, the number means that process.
 */
static int meet(struct proctree *t, pid_t tid, struct proc **out, bool *known)
{
	struct proc *p = find(t, tid);
	struct proc_id id;
	int fd, err;

	if (!p) {
		err = proc_open(tid, &id, &fd);
		if (err)
			return err;
		learn_deaths(t);
		p = find(t, id.tgid);
		*known = p != NULL;
		if (!p)
			return add(t, id.tgid, fd, out);
		close(fd);
	}
	*known = true;
	p->refs++;
	*out = p;
	return 0;
}

static bool out_of_resources(int err)
{
	return err == ENOMEM || err == EMFILE || err == ENFILE || err == ENOSYS || err == ENOSPC;
}

/*
 * Meets `p`'s ancestors up to the first that is known.  One that goes away meanwhile leaves `p` with a new parent, which is
 * then asked for.  0, or what out_of_resources() names; for anything else the chain ends there.  Lock held.
 */
static int meet_ancestors(struct proctree *t, struct proc *p)
{
	bool known = false;
	pid_t ppid, gone = 0;
	int depth = 0, err;

	while (!known && depth < DEPTH_MAX && !proc_parent(p->tgid, p->pidfd, &ppid) && ppid > 0 && ppid != gone) {
		err = meet(t, ppid, &p->parent, &known);
		if (out_of_resources(err))
			return err;
		if (err) {
			gone = ppid;
			continue;
		}
		p = p->parent;
		gone = 0;
		depth++;
	}
	return 0;
}

int proctree_get(struct proctree *t, pid_t tid, struct proc **out)
{
	struct proc *p;
	bool known;
	int err;

	if (tid <= 0)
		return ESRCH;
	pthread_mutex_lock(&t->lock);
	learn_deaths(t);
	err = meet(t, tid, &p, &known);
	if (!err && !known) {
		err = meet_ancestors(t, p);
		if (err) /* never keep a chain that is shorter than it should be */
			put(p);
	}
	pthread_mutex_unlock(&t->lock);
	if (!err)
		*out = p;
	return err;
}

struct proc *proc_ref(struct proc *p)
{
	pthread_mutex_lock(&p->tree->lock);
	p->refs++;
	pthread_mutex_unlock(&p->tree->lock);
	return p;
}

void proc_unref(struct proc *p)
{
	struct proctree *t;

	if (!p)
		return;
	t = p->tree;
	pthread_mutex_lock(&t->lock);
	put(p);
	pthread_mutex_unlock(&t->lock);
}

pid_t proc_pid(const struct proc *p)
{
	return p->tgid;
}

struct proc *proc_up(const struct proc *p)
{
	return p->parent;
}

bool proc_lives(const struct proc *p)
{
	return !atomic_load_explicit(&p->dead, memory_order_acquire);
}

void proctree_learn(struct proctree *t)
{
	pthread_mutex_lock(&t->lock);
	learn_deaths(t);
	pthread_mutex_unlock(&t->lock);
}
