/* SPDX-License-Identifier: MIT */
#include "timekeeper.h"

#include "names.h"
#include "timefile.h"
#include "timekept.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What an asker may spend on the way to the tip. */
#define ASK_COMMITS 1000
#define ASK_BYTES ((size_t)64 << 20)
/* What a committer may: its commit, and those of its group. */
#define SAW_COMMITS 64
/* An index of which nobody asked is begun by so many commits: a process of one commit is cheap. */
#define SAW_BEGINS 16
/* An index that was got by fewer steps, none of them with nanoseconds, is not worth a file. */
#define SAVE_LEAST 100

struct timekeeper *timekeeper_new(void)
{
	struct timekeeper *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	pthread_mutex_init(&k->lock, NULL);
	pthread_cond_init(&k->wake, NULL);
	k->end = &k->jobs;
	return k;
}

/* --- following ------------------------------------------------------------------------------------------------------ */

static int tip_of(struct ledger *l, const char *ns, struct ledger_oid *out)
{
	char ref[NAMES_REF_MAX];
	int rc = names_ref(ref, NAMES_KV, ns);

	return rc ? rc : store_ref_read(l->store, ref, out);
}

static void give_up(struct timekeeper *k, struct kept *x, int rc)
{
	timeindex_release(&x->index);
	kept_count_memory(k, x);
	x->rc = rc;
	x->state = FAILED;
}

/* To the tip, if that is within the budget (1: it is not).  The index is locked and READY. */
static int catch_up(struct ledger *l, struct kept *x, const struct time_budget *b)
{
	struct ledger_oid tip;
	int rc = tip_of(l, x->ns, &tip);

	if (rc || timeindex_knows(&x->index, &tip))
		return rc;
	rc = timeindex_advance(&x->index, l, &tip, b);
	kept_count_memory(l->timekeeper, x);
	if (rc < 0)
		give_up(l->timekeeper, x, rc);
	return rc;
}

static void on_pause(void *arg)
{
	void **a = arg;
	struct kept *x = a[1];

	/* The way may be long, and the process may be killed on it. */
	if (x->index.steps - x->tried >= 20 * SAVE_STEPS && kept_save_due(x))
		kept_save(a[0], x);
}

/* The thread's way to the tip, with the index in its hand. */
static void follow(struct ledger *l, struct kept *x)
{
	struct timekeeper *k = l->timekeeper;
	void *arg[] = {l, x};
	const struct time_budget b = {SIZE_MAX, SIZE_MAX, &k->stop, on_pause, arg};
	struct ledger_oid tip;
	int rc;

	do
		rc = tip_of(l, x->ns, &tip);
	while (!rc && !timeindex_knows(&x->index, &tip) && !(rc = timeindex_advance(&x->index, l, &tip, &b)));
	pthread_mutex_lock(&x->lock);
	kept_count_memory(k, x);
	if (rc < 0 && rc != LEDGER_ENOTFOUND)
		give_up(k, x, rc);
	else
		x->state = READY;
	pthread_cond_broadcast(&x->settled);
	pthread_mutex_unlock(&x->lock);
}

/* A file is worth it after a long way: who is killed would have to go it again. */
static bool worth_saving(const struct kept *x)
{
	return kept_save_due(x) || x->index.steps - x->saved >= SAVE_STEPS;
}

static const struct time_budget ask_budget = {.commits = ASK_COMMITS, .bytes = ASK_BYTES};

static void work(struct ledger *l, struct kept *x)
{
	bool due;

	pthread_mutex_lock(&x->lock);
	if (x->state == FRESH)
		kept_begin(l, x);
	if (x->state == READY && catch_up(l, x, &ask_budget) > 0)
		x->state = FOLLOWING;
	due = x->state == FOLLOWING;
	pthread_mutex_unlock(&x->lock);
	if (due)
		follow(l, x);
	pthread_mutex_lock(&x->lock);
	due = x->state == READY && worth_saving(x);
	pthread_mutex_unlock(&x->lock);
	if (due)
		kept_save_beside(l, x);
	if (!l->timekeeper->swept && due && l->keep_times)
		timefile_sweep(l);
	l->timekeeper->swept |= due;
}

static void *thread_main(void *arg)
{
	struct ledger *l = arg;
	struct timekeeper *k = l->timekeeper;

	setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 10);
	pthread_mutex_lock(&k->lock);
	while (!atomic_load(&k->stop)) {
		struct kept *x = k->jobs;

		if (!x) {
			pthread_cond_wait(&k->wake, &k->lock);
			continue;
		}
		k->jobs = x->job;
		if (!k->jobs)
			k->end = &k->jobs;
		x->queued = false;
		pthread_mutex_unlock(&k->lock);
		work(l, x);
		kept_put(k, x);
		kept_make_room(l);
		pthread_mutex_lock(&k->lock);
	}
	pthread_mutex_unlock(&k->lock);
	return NULL;
}

/* Gives it to the thread, which is begun when there is something to do.  No lock is held. */
static void queue(struct ledger *l, struct kept *x)
{
	struct timekeeper *k = l->timekeeper;
	bool running;

	pthread_mutex_lock(&k->lock);
	if (!k->running && !atomic_load(&k->stop))
		k->running = !pthread_create(&k->thread, NULL, thread_main, l);
	if (k->running && !x->queued) {
		x->refs++;
		x->queued = true;
		x->job = NULL;
		*k->end = x;
		k->end = &x->job;
		pthread_cond_signal(&k->wake);
	}
	running = k->running;
	pthread_mutex_unlock(&k->lock);
	if (running)
		return;
	/* Without the thread, whoever asks gets a little nearer. */
	pthread_mutex_lock(&x->lock);
	if (x->state == FOLLOWING)
		x->state = READY;
	pthread_cond_broadcast(&x->settled);
	pthread_mutex_unlock(&x->lock);
}

/* --- from outside --------------------------------------------------------------------------------------------------- */

int timekeeper_ask(struct ledger *l, const char *ns, const struct ledger_tip *tip, const char *path, struct timespec *out)
{
	struct kept *x = kept_get(l, ns);
	struct path_id id;
	int r = -1, way = 0;

	if (!x)
		return 0;
	path_id(path, strlen(path), &id);
	pthread_mutex_lock(&x->lock);
	if (x->state == FRESH)
		kept_begin(l, x);
	if (x->state == READY)
		r = timeindex_at(&x->index, &tip->commit, &id, out);
	if (r < 0 && x->state == READY) {
		way = catch_up(l, x, &ask_budget);
		if (!way)
			r = timeindex_at(&x->index, &tip->commit, &id, out);
		else if (way > 0)
			x->state = FOLLOWING; /* the next one need not find out again that it is far */
	}
	pthread_mutex_unlock(&x->lock);
	if (way > 0)
		queue(l, x);
	kept_put(l->timekeeper, x);
	kept_make_room(l);
	return r > 0;
}

/* Mostly it is the next one, which is seen at once. */
static bool is_news(struct ledger *l, const struct kept *x, const struct ledger_oid *commit)
{
	struct tip_info info;

	return !tip_peek(l, commit, &info) &&
	       (ledger_oid_eq(&info.parent, &x->index.commit) || !timeindex_knows(&x->index, commit));
}

bool timekeeper_saw(struct ledger *l, const char *ns, const struct ledger_oid *commit)
{
	const struct time_budget b = {.commits = SAW_COMMITS, .bytes = ASK_BYTES};
	struct kept *x = kept_get(l, ns);
	bool ready = true, due = false;
	int rc = 0;

	if (!x)
		return false;
	/* Whoever has it in hand brings it to the tip, or the next one does; the cache of commits has the nanoseconds. */
	if (!pthread_mutex_trylock(&x->lock)) {
		ready = x->state == READY;
		due = x->state == FRESH && ++x->seen == SAW_BEGINS;
		if (ready && is_news(l, x, commit)) {
			rc = timeindex_advance(&x->index, l, commit, &b);
			x->own = true;
			kept_count_memory(l->timekeeper, x);
			if (rc < 0)
				give_up(l->timekeeper, x, rc);
			due = rc > 0 || (!rc && kept_save_due(x));
			if (due)
				x->tried = x->index.steps;
		}
		pthread_mutex_unlock(&x->lock);
	}
	if (due)
		queue(l, x);
	kept_put(l->timekeeper, x);
	return ready && rc >= 0;
}

int ledger_times_settle(struct ledger *l, const char *ns)
{
	const struct time_budget b = {.commits = SIZE_MAX, .bytes = SIZE_MAX};
	struct kept *x;
	int rc;

	ledger_error_clear();
	rc = ledger_ns_check(ns);
	x = rc ? NULL : kept_get(l, ns);
	if (!rc && !x)
		rc = LEDGER_ENOMEM;
	if (!rc) {
		pthread_mutex_lock(&x->lock);
		while (x->state == FOLLOWING)
			pthread_cond_wait(&x->settled, &x->lock);
		if (x->state == FRESH)
			kept_begin(l, x);
		rc = x->state == FAILED ? x->rc : catch_up(l, x, &b);
		pthread_mutex_unlock(&x->lock);
		kept_put(l->timekeeper, x);
		kept_make_room(l);
	}
	LEAVE(rc, "ns=%s", ns);
	return rc;
}

void timekeeper_moved(struct ledger *l, const char *ns, const char *to)
{
	struct timekeeper *k = l->timekeeper;
	struct kept *gone[2];
	const char *names[] = {ns, to};

	pthread_mutex_lock(&k->lock);
	for (int i = 0; i < 2; i++) {
		gone[i] = names[i] ? kept_find_locked(k, names[i]) : NULL;
		if (gone[i])
			kept_unlist(k, gone[i]);
	}
	pthread_mutex_unlock(&k->lock);
	if (gone[0] && to) {
		pthread_mutex_lock(&gone[0]->lock);
		if (gone[0]->state == READY)
			kept_save(l, gone[0]);
		pthread_mutex_unlock(&gone[0]->lock);
	}
	for (int i = 0; i < 2; i++)
		if (gone[i])
			kept_put(k, gone[i]);
	if (l->keep_times)
		timefile_move(l, ns, to);
}

void timekeeper_free(struct ledger *l)
{
	struct timekeeper *k = l->timekeeper;
	bool running;

	if (!k)
		return;
	pthread_mutex_lock(&k->lock);
	atomic_store(&k->stop, true);
	pthread_cond_signal(&k->wake);
	running = k->running;
	pthread_mutex_unlock(&k->lock);
	if (running)
		pthread_join(k->thread, NULL);
	for (struct kept *x = k->jobs, *next; x; x = next) {
		next = x->job;
		kept_put(k, x);
	}
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct kept *x = k->bucket[i], *next; x; x = next) {
			next = x->next;
			if (x->own || x->index.steps - x->saved >= SAVE_LEAST)
				kept_save(l, x);
			kept_put(k, x);
		}
	pthread_cond_destroy(&k->wake);
	pthread_mutex_destroy(&k->lock);
	free(k);
	l->timekeeper = NULL;
}
