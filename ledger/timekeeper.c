/* SPDX-License-Identifier: MIT */
#include "timekeeper.h"

#include "names.h"
#include "timefile.h"
#include "timeindex.h"

#include <pthread.h>
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
/* Steps between two writings, at least; a larger index is written at each 16th part of its keys. */
#define SAVE_STEPS 1000
/* An index that was got by fewer steps, none of them with nanoseconds, is not worth a file. */
#define SAVE_LEAST 100
/* Bytes of all indexes; those that were not asked for longest go first. */
#define MEMORY ((size_t)256 << 20)
#define BUCKETS 256 /* a power of two */

struct kept {
	struct kept *next, *job; /* keeper's lock */
	char *ns;                /* constant */
	unsigned refs;           /* keeper's lock; 1 is the table's */
	bool queued;             /* keeper's lock */
	uint64_t used;           /* keeper's lock */
	pthread_mutex_t lock;    /* before all locks of the ledger but the keeper's, which is let go before */
	pthread_cond_t settled;  /* it is not FOLLOWING any more */
	enum { FRESH, READY, FOLLOWING, FAILED } state; /* lock */
	int rc;                                         /* lock; why it FAILED */
	unsigned seen;                                  /* lock; commits while it is FRESH */
	struct timeindex index;                         /* lock; while FOLLOWING the thread's */
	size_t saved, tried; /* the same; index.steps as of the file, and of the last try to write it */
	bool own;            /* the same; it has times that the history does not have */
	size_t counted;      /* the same; its share of keeper.memory */
};

struct timekeeper {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct kept *bucket[BUCKETS]; /* lock */
	struct kept *jobs, **end;     /* lock; a reference each */
	uint64_t clock;               /* lock */
	pthread_t thread;             /* lock */
	bool running;                 /* lock */
	bool swept;                   /* the thread's */
	atomic_bool stop;
	atomic_size_t memory;
};

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

/* --- the table ------------------------------------------------------------------------------------------------------ */

static struct kept **bucket_of(struct timekeeper *k, const char *ns)
{
	uint32_t h = 5381;

	for (; *ns; ns++)
		h = h * 33 + (unsigned char)*ns;
	return &k->bucket[(h ^ h >> 16) & (BUCKETS - 1)];
}

static struct kept *kept_new(const char *ns)
{
	struct kept *x = calloc(1, sizeof(*x));

	if (x)
		x->ns = strdup(ns);
	if (!x || !x->ns) {
		free(x);
		return NULL;
	}
	pthread_mutex_init(&x->lock, NULL);
	pthread_cond_init(&x->settled, NULL);
	x->refs = 1;
	return x;
}

static void kept_free(struct timekeeper *k, struct kept *x)
{
	atomic_fetch_sub(&k->memory, x->counted);
	timeindex_release(&x->index);
	pthread_cond_destroy(&x->settled);
	pthread_mutex_destroy(&x->lock);
	free(x->ns);
	free(x);
}

static void put(struct timekeeper *k, struct kept *x)
{
	bool last;

	pthread_mutex_lock(&k->lock);
	last = --x->refs == 0;
	pthread_mutex_unlock(&k->lock);
	if (last)
		kept_free(k, x);
}

/* The keeper's lock is held; the table's reference goes to the caller. */
static void unlist(struct timekeeper *k, struct kept *x)
{
	struct kept **p = bucket_of(k, x->ns);

	while (*p != x)
		p = &(*p)->next;
	*p = x->next;
}

static struct kept *find_locked(struct timekeeper *k, const char *ns)
{
	struct kept *x = *bucket_of(k, ns);

	while (x && strcmp(x->ns, ns))
		x = x->next;
	return x;
}

/* The one of which nobody asked for longest and that nobody has in hand. */
static struct kept *oldest_locked(struct timekeeper *k)
{
	struct kept *old = NULL;

	for (size_t i = 0; i < BUCKETS; i++)
		for (struct kept *x = k->bucket[i]; x; x = x->next)
			if (x->refs == 1 && x->counted && (!old || x->used < old->used))
				old = x;
	return old;
}

static void save(struct ledger *l, struct kept *x);

static void make_room(struct ledger *l)
{
	struct timekeeper *k = l->timekeeper;

	while (atomic_load(&k->memory) > MEMORY) {
		struct kept *x;

		pthread_mutex_lock(&k->lock);
		x = oldest_locked(k);
		if (x)
			unlist(k, x);
		pthread_mutex_unlock(&k->lock);
		if (!x)
			return;
		save(l, x);
		put(k, x);
	}
}

/* A reference; NULL: out of memory. */
static struct kept *get(struct ledger *l, const char *ns)
{
	struct timekeeper *k = l->timekeeper;
	struct kept *x;

	pthread_mutex_lock(&k->lock);
	x = find_locked(k, ns);
	if (!x) {
		x = kept_new(ns);
		if (x) {
			struct kept **b = bucket_of(k, ns);

			x->next = *b;
			*b = x;
		}
	}
	if (x) {
		x->refs++;
		x->used = ++k->clock;
	}
	pthread_mutex_unlock(&k->lock);
	return x;
}

/* --- the file ------------------------------------------------------------------------------------------------------- */

static void count_memory(struct timekeeper *k, struct kept *x)
{
	size_t now = timeindex_memory(&x->index);

	atomic_fetch_add(&k->memory, now - x->counted);
	x->counted = now;
}

static bool save_due(const struct kept *x)
{
	size_t every = x->index.table.n / 16;

	return x->index.steps - x->tried >= (every > SAVE_STEPS ? every : SAVE_STEPS);
}

/* The occupied slots, to be written with no lock held.  NULL: no memory. */
static struct time_slot *snapshot(const struct kept *x, size_t *n)
{
	const struct timetable *t = &x->index.table;
	struct time_slot *s = malloc((t->n + 1) * sizeof(*s));

	*n = 0;
	for (size_t i = 0; s && i < t->nslots; i++)
		if (t->slots[i].nsec != TIME_NONE)
			s[(*n)++] = t->slots[i];
	return s;
}

/* Of an index that the caller has in hand, locked or not. */
static void save(struct ledger *l, struct kept *x)
{
	struct time_slot *s;
	size_t n;

	x->tried = x->index.steps;
	if (!l->keep_times || x->saved == x->index.steps || ledger_oid_is_zero(&x->index.commit))
		return;
	s = snapshot(x, &n);
	if (s && !timefile_save(l, x->ns, &x->index.commit, s, n))
		x->saved = x->index.steps;
	free(s);
}

/* The same while others go on with it. */
static void save_beside(struct ledger *l, struct kept *x)
{
	struct ledger_oid commit;
	struct time_slot *s = NULL;
	size_t n, steps;

	pthread_mutex_lock(&x->lock);
	steps = x->tried = x->index.steps;
	commit = x->index.commit;
	if (l->keep_times && x->state == READY && x->saved != steps && !ledger_oid_is_zero(&commit))
		s = snapshot(x, &n);
	pthread_mutex_unlock(&x->lock);
	if (s && !timefile_save(l, x->ns, &commit, s, n)) {
		pthread_mutex_lock(&x->lock);
		x->saved = steps;
		pthread_mutex_unlock(&x->lock);
	}
	free(s);
}

/* From the disk, if something good is there.  The index is locked. */
static void begin(struct ledger *l, struct kept *x)
{
	struct tip_info info;

	if (!timefile_load(l, x->ns, TIMEINDEX_KEYS_MAX, &x->index.commit, &x->index.table)) {
		if (tip_peek(l, &x->index.commit, &info))
			timeindex_clear(&x->index); /* it is of a commit that is gone */
		x->index.tree = ledger_oid_is_zero(&x->index.commit) ? x->index.commit : info.tip.tree;
	}
	x->state = READY;
	count_memory(l->timekeeper, x);
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
	count_memory(k, x);
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
	count_memory(l->timekeeper, x);
	if (rc < 0)
		give_up(l->timekeeper, x, rc);
	return rc;
}

static void on_pause(void *arg)
{
	void **a = arg;
	struct kept *x = a[1];

	/* The way may be long, and the process may be killed on it. */
	if (x->index.steps - x->tried >= 20 * SAVE_STEPS && save_due(x))
		save(a[0], x);
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
	count_memory(k, x);
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
	return save_due(x) || x->index.steps - x->saved >= SAVE_STEPS;
}

static const struct time_budget ask_budget = {.commits = ASK_COMMITS, .bytes = ASK_BYTES};

static void work(struct ledger *l, struct kept *x)
{
	bool due;

	pthread_mutex_lock(&x->lock);
	if (x->state == FRESH)
		begin(l, x);
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
		save_beside(l, x);
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
		put(k, x);
		make_room(l);
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
	struct kept *x = get(l, ns);
	struct path_id id;
	int r = -1, way = 0;

	if (!x)
		return 0;
	path_id(path, strlen(path), &id);
	pthread_mutex_lock(&x->lock);
	if (x->state == FRESH)
		begin(l, x);
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
	put(l->timekeeper, x);
	make_room(l);
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
	struct kept *x = get(l, ns);
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
			count_memory(l->timekeeper, x);
			if (rc < 0)
				give_up(l->timekeeper, x, rc);
			due = rc > 0 || (!rc && save_due(x));
			if (due)
				x->tried = x->index.steps;
		}
		pthread_mutex_unlock(&x->lock);
	}
	if (due)
		queue(l, x);
	put(l->timekeeper, x);
	return ready && rc >= 0;
}

int ledger_times_settle(struct ledger *l, const char *ns)
{
	const struct time_budget b = {.commits = SIZE_MAX, .bytes = SIZE_MAX};
	struct kept *x;
	int rc;

	ledger_error_clear();
	rc = ledger_ns_check(ns);
	x = rc ? NULL : get(l, ns);
	if (!rc && !x)
		rc = LEDGER_ENOMEM;
	if (!rc) {
		pthread_mutex_lock(&x->lock);
		while (x->state == FOLLOWING)
			pthread_cond_wait(&x->settled, &x->lock);
		if (x->state == FRESH)
			begin(l, x);
		rc = x->state == FAILED ? x->rc : catch_up(l, x, &b);
		pthread_mutex_unlock(&x->lock);
		put(l->timekeeper, x);
		make_room(l);
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
		gone[i] = names[i] ? find_locked(k, names[i]) : NULL;
		if (gone[i])
			unlist(k, gone[i]);
	}
	pthread_mutex_unlock(&k->lock);
	if (gone[0] && to) {
		pthread_mutex_lock(&gone[0]->lock);
		if (gone[0]->state == READY)
			save(l, gone[0]);
		pthread_mutex_unlock(&gone[0]->lock);
	}
	for (int i = 0; i < 2; i++)
		if (gone[i])
			put(k, gone[i]);
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
		put(k, x);
	}
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct kept *x = k->bucket[i], *next; x; x = next) {
			next = x->next;
			if (x->own || x->index.steps - x->saved >= SAVE_LEAST)
				save(l, x);
			put(k, x);
		}
	pthread_cond_destroy(&k->wake);
	pthread_mutex_destroy(&k->lock);
	free(k);
	l->timekeeper = NULL;
}
