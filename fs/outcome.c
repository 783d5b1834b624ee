/* SPDX-License-Identifier: MIT */
#include "outcome.h"
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define NBUCKETS 512
#define DEPTH_MAX 256

/* All fields: outcomes->lock. */
struct record {
	struct record *newer, *older; /* by age, all together */
	struct record *next;          /* bucket of the writer, newest first */
	struct proc *writer;          /* one reference */
	char *ns, *key, *text;        /* one allocation each */
};

struct outcomes {
	struct proctree *tree;
	pthread_mutex_t lock;
	struct record *newest, *oldest; /* lock */
	size_t count;                   /* lock */
	struct record *bucket[NBUCKETS];
};

int outcomes_new(struct outcomes **out, struct proctree *t)
{
	struct outcomes *o = calloc(1, sizeof(*o));

	if (!o)
		return ENOMEM;
	o->tree = t;
	pthread_mutex_init(&o->lock, NULL);
	*out = o;
	return 0;
}

static struct record **bucket_of(struct outcomes *o, const struct proc *writer)
{
	return &o->bucket[((uintptr_t)writer >> 5) % NBUCKETS];
}

static void record_free(struct record *r)
{
	if (!r)
		return;
	proc_unref(r->writer);
	free(r->ns);
	free(r->key);
	free(r->text);
	free(r);
}

/* Lock held. */
static void drop(struct outcomes *o, struct record *r)
{
	struct record **at;

	for (at = bucket_of(o, r->writer); *at != r; at = &(*at)->next)
		;
	*at = r->next;
	*(r->newer ? &r->newer->older : &o->newest) = r->older;
	*(r->older ? &r->older->newer : &o->oldest) = r->newer;
	o->count--;
	record_free(r);
}

void outcomes_free(struct outcomes *o)
{
	if (!o)
		return;
	while (o->oldest)
		drop(o, o->oldest);
	pthread_mutex_destroy(&o->lock);
	free(o);
}

/* The writer's record on the same key goes, and its oldest when it has too many.  Lock held. */
static void make_room(struct outcomes *o, const struct record *r)
{
	struct record *x, *same = NULL, *last = NULL;
	size_t mine = 0;

	for (x = *bucket_of(o, r->writer); x; x = x->next) {
		if (x->writer != r->writer)
			continue;
		mine++;
		last = x;
		if (strcmp(x->key, r->key) == 0 && strcmp(x->ns, r->ns) == 0)
			same = x;
	}
	if (same)
		drop(o, same);
	else if (mine >= OUTCOMES_PER_WRITER)
		drop(o, last);
	else if (o->count >= OUTCOMES_MAX)
		drop(o, o->oldest);
}

int outcomes_record(struct outcomes *o, const char *ns, const char *key, struct proc *writer, const char *text)
{
	struct record *r = calloc(1, sizeof(*r)), **b;

	if (!r)
		return ENOMEM;
	r->writer = proc_ref(writer);
	r->ns = strdup(ns);
	r->key = strdup(key ? key : "");
	r->text = strdup(text);
	if (!r->ns || !r->key || !r->text) {
		record_free(r);
		return ENOMEM;
	}
	pthread_mutex_lock(&o->lock);
	make_room(o, r);
	b = bucket_of(o, writer);
	r->next = *b;
	*b = r;
	r->older = o->newest;
	*(o->newest ? &o->newest->newer : &o->oldest) = r;
	o->newest = r;
	o->count++;
	pthread_mutex_unlock(&o->lock);
	return 0;
}

/*
 * Steps up from the caller to the nearest ancestor (itself at 0) that is the writer, or whose descendant the writer was
 * until it exited: what a child did counts as its parent's when it is gone.  `limit` or more: no relatives, or no nearer.
 */
static int distance(const struct proc *writer, const struct proc *const *caller, int depth, int limit)
{
	bool gone = !proc_lives(writer);
	const struct proc *p = writer;

	for (int below = 0; p && (below == 0 || gone); below++, p = proc_up(p)) {
		for (int i = 0; i < depth && i < limit; i++) {
			if (caller[i] != p)
				continue;
			/* All are descendants of process 1: only its own children are meant to be its relatives. */
			return proc_pid(p) == 1 && (i > 1 || below > 1) ? limit : i;
		}
	}
	return limit;
}

int outcomes_lookup(struct outcomes *o, const char *ns, const char *key, pid_t tid, char **text)
{
	const struct proc *caller[DEPTH_MAX], *p;
	int depth = 0, best = DEPTH_MAX, d, err = ENODATA;
	struct record *r, *found = NULL;
	struct proc *leaf;

	err = proctree_get(o->tree, tid, &leaf);
	if (err)
		return err;
	for (p = leaf; p && depth < DEPTH_MAX; p = proc_up(p))
		caller[depth++] = p;
	pthread_mutex_lock(&o->lock);
	for (r = o->newest; r && best > 0; r = r->older) {
		if (strcmp(r->ns, ns) || (key && *key && strcmp(r->key, key)))
			continue;
		d = distance(r->writer, caller, depth, best);
		if (d < best) {
			best = d;
			found = r;
		}
	}
	err = found ? 0 : ENODATA;
	if (found) {
		char *copy = strdup(found->text);

		if (copy)
			*text = copy;
		else
			err = ENOMEM;
	}
	pthread_mutex_unlock(&o->lock);
	proc_unref(leaf);
	return err;
}

bool outcomes_mention(struct outcomes *o, const char *ns, const char *part)
{
	bool found = false;

	pthread_mutex_lock(&o->lock);
	for (struct record *r = o->newest; r && !found; r = r->older)
		found = strcmp(r->ns, ns) == 0 && strstr(r->text, part);
	pthread_mutex_unlock(&o->lock);
	return found;
}

void outcomes_ns_renamed(struct outcomes *o, const char *from, const char *to)
{
	struct record *r, *older;
	char *name;

	pthread_mutex_lock(&o->lock);
	for (r = o->newest; r; r = older) {
		older = r->older;
		if (strcmp(r->ns, from))
			continue;
		name = strdup(to);
		if (!name) {
			drop(o, r);
			continue;
		}
		free(r->ns);
		r->ns = name;
	}
	pthread_mutex_unlock(&o->lock);
}
