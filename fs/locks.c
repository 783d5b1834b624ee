/* SPDX-License-Identifier: MIT */
#include "lock_ranges.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * A key that has locks or waiting requests is in a bucket.  A request that waits is tried again whenever a lock on its key
 * goes or shrinks; requests that are granted, or told off, are moved to a list and told after the table is unlocked.
 */
#define NBUCKETS 1024

/* All fields of all structs below: locks->lock. */

struct waiter {
	struct waiter *next; /* of all tickets */
	uint64_t ticket;
	struct key *key; /* NULL: a ticket that is not queued yet */
	struct lock_want w;
	lock_done_fn *done;
	void *arg;
	int err;       /* to be told */
	uint64_t seen; /* the last search for a circle that came by */
	bool cancelled;
};

struct key {
	struct key *next; /* bucket */
	char *name;
	char *renamed; /* while locks_rename() is at work */
	struct lock_ranges held;
	size_t nwaiting;
};

struct locks {
	pthread_mutex_t lock;
	struct key *bucket[NBUCKETS];
	struct waiter *waiters; /* in the order of their tickets */
	uint64_t last_ticket;
	uint64_t search;
	size_t count; /* of all ranges */
};

int locks_new(struct locks **out)
{
	struct locks *l = calloc(1, sizeof(*l));

	if (!l)
		return ENOMEM;
	pthread_mutex_init(&l->lock, NULL);
	*out = l;
	return 0;
}

/* --- keys --------------------------------------------------------------------------------------------------------- */

static struct key **bucket_of(struct locks *l, const char *name)
{
	uint64_t v = 14695981039346656037ULL;

	for (; *name; name++)
		v = (v ^ (unsigned char)*name) * 1099511628211ULL;
	return &l->bucket[(v ^ v >> 32) % NBUCKETS];
}

static struct key *key_find(struct locks *l, const char *name)
{
	struct key *k;

	for (k = *bucket_of(l, name); k && strcmp(k->name, name); k = k->next)
		;
	return k;
}

static struct key *key_make(struct locks *l, const char *name)
{
	struct key *k = key_find(l, name), **b = bucket_of(l, name);

	if (k)
		return k;
	k = calloc(1, sizeof(*k));
	if (!k)
		return NULL;
	k->name = strdup(name);
	if (!k->name) {
		free(k);
		return NULL;
	}
	k->held.count = &l->count;
	k->next = *b;
	*b = k;
	return k;
}

static void key_unlink(struct locks *l, struct key *k)
{
	struct key **at;

	for (at = bucket_of(l, k->name); *at != k; at = &(*at)->next)
		;
	*at = k->next;
}

static void key_drop(struct locks *l, struct key *k)
{
	if (!k || k->held.first || k->nwaiting)
		return;
	key_unlink(l, k);
	free(k->name);
	free(k);
}

/* --- waiting ------------------------------------------------------------------------------------------------------ */

static struct waiter **find_ticket(struct locks *l, uint64_t ticket)
{
	struct waiter **at;

	for (at = &l->waiters; *at && (*at)->ticket != ticket; at = &(*at)->next)
		;
	return at;
}

/* Moves a queued request to *told, to be told `err` when the table is unlocked. */
static void tell_later(struct waiter **at, int err, struct waiter **told)
{
	struct waiter *w = *at;

	*at = w->next;
	w->key->nwaiting--;
	w->err = err;
	while (*told)
		told = &(*told)->next;
	w->next = NULL;
	*told = w;
}

static void tell(struct waiter *told)
{
	struct waiter *next;

	for (; told; told = next) {
		next = told->next;
		told->done(told->arg, told->err);
		free(told);
	}
}

/* Room was made on `k`: whoever can have its lock now gets it, in the order of asking; then the key may go. */
static void wake(struct locks *l, struct key *k, struct waiter **told)
{
	struct waiter **at = &l->waiters;
	bool freed;
	int err;

	while (k && k->nwaiting && *at) {
		if ((*at)->key != k) {
			at = &(*at)->next;
			continue;
		}
		err = lock_ranges_set(&k->held, &(*at)->w, &freed);
		if (err == EAGAIN) {
			at = &(*at)->next;
			continue;
		}
		tell_later(at, err, told);
		if (freed) /* its new lock is weaker than the one that it had: those before it may get on now */
			at = &l->waiters;
	}
	key_drop(l, k);
}

/*
 * Would `owner` wait for itself if it waited for the locks that stand against `w` on `k`?  Follows, from owner to owner,
 * what each one waits for, and comes by each waiting request once.  A chain of more than `depth` is taken for no circle.
 */
static bool circle(struct locks *l, const struct key *k, const struct lock_want *w, uint64_t owner, int depth)
{
	const struct lock_held *h;
	struct waiter *v;

	for (h = lock_ranges_conflict(k->held.first, w); h && depth; h = lock_ranges_conflict(h->next, w)) {
		if (h->w.owner == owner)
			return true;
		for (v = l->waiters; v; v = v->next) {
			if (!v->key || v->seen == l->search || v->w.family != LOCK_FCNTL || v->w.owner != h->w.owner)
				continue;
			v->seen = l->search;
			if (circle(l, v->key, &v->w, owner, depth - 1))
				return true;
		}
	}
	return false;
}

static bool would_deadlock(struct locks *l, const struct key *k, const struct lock_want *w)
{
	l->search++;
	return w->family == LOCK_FCNTL && circle(l, k, w, w->owner, 100);
}

uint64_t locks_ticket(struct locks *l)
{
	struct waiter *w = calloc(1, sizeof(*w)), **at;
	uint64_t ticket;

	if (!w)
		return 0;
	pthread_mutex_lock(&l->lock);
	for (at = &l->waiters; *at; at = &(*at)->next)
		;
	ticket = w->ticket = ++l->last_ticket;
	*at = w;
	pthread_mutex_unlock(&l->lock);
	return ticket;
}

int locks_wait(struct locks *l, const char *key, const struct lock_want *want, uint64_t ticket, lock_done_fn *done,
	       void *arg)
{
	struct waiter **at, *w, *told = NULL;
	struct key *k = NULL;
	bool freed = false;
	int err = EINVAL;

	pthread_mutex_lock(&l->lock);
	at = find_ticket(l, ticket);
	w = *at;
	if (w && lock_want_valid(want) && !w->key) {
		k = key_make(l, key);
		err = w->cancelled ? EINTR : !k ? ENOMEM : lock_ranges_set(&k->held, want, &freed);
		if (err == EAGAIN)
			err = would_deadlock(l, k, want) ? EDEADLK : EINPROGRESS;
	}
	if (err == EINPROGRESS) {
		w->key = k;
		w->w = *want;
		w->done = done;
		w->arg = arg;
		k->nwaiting++;
	} else if (w && !w->key) {
		*at = w->next;
		free(w);
	}
	if (freed)
		wake(l, k, &told);
	else
		key_drop(l, k);
	pthread_mutex_unlock(&l->lock);
	tell(told);
	return err;
}

void locks_cancel(struct locks *l, uint64_t ticket)
{
	struct waiter **at, *told = NULL;
	struct key *k;

	pthread_mutex_lock(&l->lock);
	at = find_ticket(l, ticket);
	if (*at && (*at)->key) {
		k = (*at)->key;
		tell_later(at, EINTR, &told);
		key_drop(l, k);
	} else if (*at) {
		(*at)->cancelled = true;
	}
	pthread_mutex_unlock(&l->lock);
	tell(told);
}

/* --- the rest ----------------------------------------------------------------------------------------------------- */

void locks_test(struct locks *l, const char *key, const struct lock_want *w, struct lock_want *out)
{
	struct key *k;
	const struct lock_held *h;

	pthread_mutex_lock(&l->lock);
	k = key_find(l, key);
	h = k && lock_want_valid(w) && w->type != F_UNLCK ? lock_ranges_conflict(k->held.first, w) : NULL;
	*out = h ? h->w : *w;
	if (!h)
		out->type = F_UNLCK;
	pthread_mutex_unlock(&l->lock);
}

int locks_set(struct locks *l, const char *key, const struct lock_want *w)
{
	struct waiter *told = NULL;
	struct key *k;
	bool freed = false;
	int err = 0;

	if (!lock_want_valid(w))
		return EINVAL;
	pthread_mutex_lock(&l->lock);
	k = w->type == F_UNLCK ? key_find(l, key) : key_make(l, key);
	if (k)
		err = lock_ranges_set(&k->held, w, &freed);
	else if (w->type != F_UNLCK)
		err = ENOMEM;
	if (freed)
		wake(l, k, &told);
	else
		key_drop(l, k);
	pthread_mutex_unlock(&l->lock);
	tell(told);
	return err;
}

static void release(struct locks *l, const char *key, lock_match_fn *match, uint64_t id)
{
	struct waiter *told = NULL;
	struct key *k;

	pthread_mutex_lock(&l->lock);
	k = key_find(l, key);
	if (k) {
		lock_ranges_remove(&k->held, match, id);
		wake(l, k, &told);
	}
	pthread_mutex_unlock(&l->lock);
	tell(told);
}

void locks_release_owner(struct locks *l, const char *key, uint64_t owner)
{
	release(l, key, lock_match_fcntl_owner, owner);
}

void locks_release_file(struct locks *l, const char *key, uint64_t file)
{
	release(l, key, lock_match_file, file);
}

bool locks_none(struct locks *l)
{
	bool none;

	pthread_mutex_lock(&l->lock);
	none = l->count == 0;
	pthread_mutex_unlock(&l->lock);
	return none;
}

/* Gives `k`, which is in no bucket, its new name: into a bucket, or joined to the key that has the name. */
static void rename_one(struct locks *l, struct key *k)
{
	struct key *there = key_find(l, k->renamed), **b = bucket_of(l, k->renamed);
	struct waiter *w;

	free(k->name);
	if (!there) {
		k->name = k->renamed;
		k->renamed = NULL;
		k->next = *b;
		*b = k;
		return;
	}
	lock_ranges_join(&there->held, &k->held);
	for (w = l->waiters; w; w = w->next) {
		if (w->key == k)
			w->key = there;
	}
	there->nwaiting += k->nwaiting;
	free(k->renamed);
	free(k);
}

/* Makes the new names of all keys at and below `from`; false when there is no memory for one. */
static bool make_names(struct locks *l, const char *from, const char *to)
{
	size_t flen = strlen(from), i;
	struct key *k;

	for (i = 0; i < NBUCKETS; i++) {
		for (k = l->bucket[i]; k; k = k->next) {
			if (strncmp(k->name, from, flen) || (k->name[flen] && k->name[flen] != '/'))
				continue;
			if (asprintf(&k->renamed, "%s%s", to, k->name + flen) < 0) {
				k->renamed = NULL;
				return false;
			}
		}
	}
	return true;
}

/* All are taken out first, so that a new name that lies below the old one is not met again. */
int locks_rename(struct locks *l, const char *from, const char *to)
{
	struct key **at, *k, *moved = NULL;
	bool all;
	size_t i;

	pthread_mutex_lock(&l->lock);
	all = make_names(l, from, to);
	for (i = 0; i < NBUCKETS; i++) {
		for (at = &l->bucket[i]; (k = *at);) {
			if (!k->renamed || !all) {
				free(k->renamed);
				k->renamed = NULL;
				at = &k->next;
				continue;
			}
			*at = k->next;
			k->next = moved;
			moved = k;
		}
	}
	while ((k = moved)) {
		moved = k->next;
		rename_one(l, k);
	}
	pthread_mutex_unlock(&l->lock);
	return all ? 0 : ENOMEM;
}

bool locks_held(struct locks *l, const char *key, enum lock_family family, uint64_t owner)
{
	struct key *k;
	bool held = false;

	pthread_mutex_lock(&l->lock);
	k = key_find(l, key);
	for (struct lock_held *h = k ? k->held.first : NULL; h && !held; h = h->next)
		held = h->w.family == family && h->w.owner == owner;
	pthread_mutex_unlock(&l->lock);
	return held;
}

bool locks_held_otherwise(struct locks *l, const char *key, uint64_t file, uint64_t owner)
{
	struct key *k;
	bool held = false;

	pthread_mutex_lock(&l->lock);
	k = key_find(l, key);
	for (struct lock_held *h = k ? k->held.first : NULL; h && !held; h = h->next)
		held = h->w.file == file && h->w.owner != owner;
	pthread_mutex_unlock(&l->lock);
	return held;
}

bool locks_any(struct locks *l, const char *key)
{
	bool any;

	pthread_mutex_lock(&l->lock);
	any = key_find(l, key) != NULL;
	pthread_mutex_unlock(&l->lock);
	return any;
}

void locks_stop(struct locks *l, int err)
{
	struct waiter *told = NULL, **at;

	pthread_mutex_lock(&l->lock);
	for (at = &l->waiters; *at;) {
		if ((*at)->key)
			tell_later(at, err, &told);
		else
			at = &(*at)->next;
	}
	pthread_mutex_unlock(&l->lock);
	tell(told);
}

void locks_free(struct locks *l)
{
	struct waiter *w, *next;
	struct key *k;
	size_t i;

	if (!l)
		return;
	locks_stop(l, EINTR);
	for (w = l->waiters; w; w = next) {
		next = w->next;
		free(w);
	}
	for (i = 0; i < NBUCKETS; i++) {
		while ((k = l->bucket[i])) {
			l->bucket[i] = k->next;
			lock_ranges_release(&k->held);
			free(k->name);
			free(k);
		}
	}
	pthread_mutex_destroy(&l->lock);
	free(l);
}
