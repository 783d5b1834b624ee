/* SPDX-License-Identifier: MIT */
/*
 * The store of ledger/store.h: state shared by the parts of the engine.  Only ledger/engine/ includes this.
 *
 * A group goes through record -> journal (one fdatasync) -> small pack -> refs.  Published synchronously, the pack is
 * written while another thread does the fdatasync, and the refs move before the acknowledgement.  Published
 * asynchronously, the acknowledgement follows the fdatasync, git's locks of the refs stay taken, and the publisher makes
 * one pack of all groups of a window.  The keeper turns generations (gen.h) into checkpoint packs.
 *
 *   group.c	   a group begins, takes	commit.c   and ends	  publish.c  the publisher of windows
 *   checkpoint.c  the keeper's work		recover.c  the dead (replay.c their journals, reclaim.c their refs)
 *   upkeep.c   merging checkpoint packs (packlist.c: which)
 *   draft.c, seal.c, stored.c, stage.c   large values
 *   small.c	   small packs	  ring.c     old values of a ref	spare.c    files written anew
 *   read.c	   reading	  watch.c    who else is here
 *
 * Before there is a journal (the first groups of a process, so that a process of one commit is cheap) a group is
 * "direct": its pack is synced, then its ref.
 *
 * Threads: the group's thread (one at a time, ledger/commit.c sees to that), the publisher, the keeper, the packer,
 * upkeep, the watcher, and any number of readers.  Lock order: store.mu, then refs.mu.  store.own_mu comes before all;
 * store.stage_mu is taken alone, packer.mu and store.spare_mu are leaves.
 */
#ifndef LEDGER_ENGINE_ENGINE_H
#define LEDGER_ENGINE_ENGINE_H

#include "../fail.h"
#include "gen.h"
#include "io.h"
#include "journal.h"
#include "owner.h"
#include "pack.h"
#include "refs.h"

#include <git2.h>
#include <pthread.h>

#define DIRECT_GROUPS 3            /* so many before a journal is worth its making */
#define JOURNAL_SIZE (8u << 20)    /* pre-written bytes of a segment; a busy one may grow */
#define JOURNAL_SMALL (256u << 10) /* for the one group that needs a journal at once */
#define STAGE_MIN (512u << 10)     /* values from here on get a pack of their own */
#define CUT_COMMITS 6000
#define CUT_PACKS 128 /* so many small packs, once the generation is CUT_PACKS_MS old: each checkpoint is some syncs */
#define CUT_PACKS_MS 250
#define CUT_PACKS_MAX 512 /* so many at any age: git looks into all of them */
#define CUT_BYTES (16u << 20)
#define CUT_BUSY_MS 1000  /* a generation of some size is no older */
#define CUT_QUIET_MS 5000 /* a small one neither */
#define WINDOW_MS 5       /* async: from the first acknowledgement to its publication */
#define HOLD_MS 50        /* async: a ref's lock is let go at least so often */
#define UPKEEP_EVERY 16   /* checkpoints */
#define UPKEEP_MANY 32    /* packs that make a process of few commits merge them at its end */
#define POLITE_MS 1000    /* async: after somebody else was seen, publish at once, so that no lock is held for long */

/*
 * A ref that the group works on or the window holds.  Its git lock is taken when the group is durable and only then, if it
 * can be: so it is held for the move alone, and foreign writers, who try for 100 ms, find it free.  That the ref is still
 * what the group was built on is then seen under the lock; if not, the group is taken back and its changes tried again.
 */
struct held {
	struct held *next;
	char *name;
	bool locked;            /* we have REF.lock */
	bool in_group;          /* the group at work has asked for it */
	bool in_window;         /* acknowledged, not yet published */
	bool foreign;           /* nobody vouches that `disk` is on the disk: others moved it */
	struct ledger_oid disk; /* what stock git reads */
	struct ledger_oid tip;  /* with what is acknowledged */
	char why[256];          /* of the newest acknowledged move */
	uint64_t since;         /* milliseconds, when the lock was taken for the window */
	bool moved;             /* in the group: it is to go to `to` */
	struct ledger_oid to;
	char to_why[256];
	bool placed; /* in the group: it went */
};

struct retired {
	uint64_t seq;
	uint64_t at; /* milliseconds: not before */
};

struct store_draft;

/* A value in a file that is a pack of its own, synced, which nobody sees before a group names it. */
struct staged {
	struct staged *next;
	struct ledger_oid oid;
	struct store_draft *draft; /* one reference */
	char tmp[64], pack[41];
	int users;   /* store_stage() without store_unstage() */
	bool placed; /* a group named it: it stays; the group's thread */
};

struct store_group {
	struct store *s;
	bool eager;   /* takes locks before the work */
	bool packing; /* objects go into `pack` as they are put */
	struct record rec;
	struct pack pack;
	struct obj **objs; /* new with this group */
	size_t nobjs, objcap;
	struct ledger_value **values; /* staged ones, one reference each */
	size_t nvalues, valuecap;
	struct held **refs; /* its own: they stay while they are in_group; NULL: given back already */
	size_t nrefs, refcap;
	size_t nmoves;
	int failed; /* an earlier call's error: the commit returns it */
};

/* A thread that writes the group's pack while the group's own syncs the journal. */
struct packer {
	pthread_t thread;
	bool running;
	pthread_mutex_t mu;
	pthread_cond_t cond;
	enum { PACKER_IDLE, PACKER_ASKED, PACKER_DONE, PACKER_STOP } state; /* mu */
	uint64_t seq;                                                       /* mu */
	int result;                                                         /* mu */
	char why[256];                                                      /* of a failure; mu */
};

/* Files of old values of a ref (ring.c). */
#define RING_MAX 4
struct ring {
	char *name;             /* NULL: none */
	struct ledger_oid last; /* what the ref was moved to */
	unsigned cut;           /* store.cuts when it began */
	bool own;               /* the file that is the ref's now is the ring's */
	unsigned n, next;       /* files there are; the one that is due when there are RING_MAX */
};

struct store {
	char *gitdir; /* the common one of a repository with work trees */
	int dirfd;
	bool readonly, nosync, no_upkeep, async;
	void (*log)(void *arg, const char *line);
	void *log_arg;
	git_repository *repo;
	pthread_mutex_t odb_mu;
	struct odb *odb; /* odb.c; odb_mu */
	struct refs refs;
	struct reflog reflog;
	int tips_fd; /* kv/tips; -1: none */

	pthread_mutex_t own_mu;
	struct owner owner; /* set once: own_mu, then as it is */
	bool owned;         /* own_mu */

	pthread_mutex_t mu;
	pthread_cond_t changed;     /* anything below that somebody may wait for */
	pthread_cond_t keep_cond;   /* the keeper has work */
	pthread_cond_t pub_cond;    /* the publisher has work */
	pthread_cond_t upkeep_cond; /* upkeep is to end */
	/* All below: mu, unless it says otherwise. */
	int dead; /* a sync failed: the code to answer with */
	struct gen *cur, *frozen;
	atomic_uint cuts; /* how often `cur` was frozen */
	struct held *held;
	bool group_active;
	struct store_group group; /* the group's thread */
	struct journal journal;   /* its writer: the group's thread; the keeper when no group is active */
	enum { JOURNAL_NONE, JOURNAL_WANTED, JOURNAL_MAKING, JOURNAL_READY } journal_state;
	unsigned direct_groups;
	bool want_cut;
	bool cut_now; /* whatever its size: somebody removed packs, or the store closes */
	int keep_err; /* the last checkpoint's */
	int pub_err;  /* the last window's */
	uint64_t pub_rounds;
	bool flush_now; /* the publisher is not to wait for the window's end */
	bool stop;
	uint64_t small_seq;
	struct retired *retired;
	size_t nretired, retiredcap;
	size_t checkpoints; /* since the last upkeep */
	size_t kept;        /* packs of failed groups that stay: for the merging alone */
	pid_t upkeep_pid;
	bool upkeep_busy;
	char (*merged)[41]; /* upkeep's: packs that another holds now */
	size_t nmerged;
	bool upkeep_failed;    /* it was logged; upkeep's */
	uint64_t polite_until; /* milliseconds */
	uint64_t foreign_at;   /* milliseconds: somebody else was last seen */
	bool eager; /* somebody moved a ref under a group: the next one takes its locks before the work, not after it */

	pthread_mutex_t spare_mu;         /* a leaf */
	uint64_t spare_first, spare_next; /* spare_mu */
	atomic_bool no_spares;            /* they cannot be had here */
	atomic_int keeper_tid;
	struct ring rings[REFS_SLOTS]; /* the thread's that moves refs */

	pthread_t keeper, publisher, watcher, upkeep_thread;
	bool has_keeper, has_publisher, has_watcher, has_upkeep;
	struct pack window_pack, ck_pack; /* the publisher's; the keeper's */
	struct packer packer;
	int watch_fd, watch_stop[2]; /* inotify; a pipe that ends the watcher */
	int watch_marker;            /* watch descriptors */
	int watch_git, watch_objects, watch_packs;

	pthread_mutex_t stage_mu;
	struct staged *staged; /* stage_mu */
	uint64_t stage_seq;    /* stage_mu */
};

/* Milliseconds of a clock that does not jump. */
uint64_t store_now(void);
void store_log(struct store *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* pthread_cond_timedwait() until store_now() is `at`; mu is held. */
void store_wait_until(struct store *s, pthread_cond_t *cond, uint64_t at);
/* A sync failed: nothing is acknowledged any more.  mu is held.  Returns LEDGER_EDEAD. */
int store_die(struct store *s, const char *what);
/* A private path for what is not complete, "kv/<id>/<kind><n>". */
void store_tmp(struct store *s, char out[64], const char *kind, uint64_t n);
/* Unlinks the files of a directory whose names begin so; that there is none is fine. */
int store_clear_dir(struct store *s, const char *dir, const char *prefix);
/* Lowers the calling thread's claim on the processor. */
void store_be_nice(void);
/* The value's bytes when they are few; `*copy` is to be freed. */
int store_value_bytes(struct ledger_value *v, const void **data, void **copy);

/* held.c: mu is held for all */
struct held *held_find(struct store *s, const char *name);
struct held *held_add(struct store *s, const char *name);
/* Lets the lock go and forgets the ref, unless a group or the window still needs it. */
void held_settle(struct store *s, struct held *h);
bool held_unpublished(const struct store *s);

/* packer.c */
int packer_start(struct store *s);
void packer_stop(struct store *s);
void packer_ask(struct store *s, uint64_t seq); /* to write s->group.pack as that small pack */
int packer_wait(struct store *s);

/* spare.c */
/* The file is needed no more: kept to be written anew, or removed; that it is not there is fine.  Any thread. */
void spare_keep(struct store *s, const char *path);
/* One that nobody else sees, under a lease until it is filled or closed; `path`: its name.  -1: none.  Any thread. */
int spare_take(struct store *s, char path[64]);
/* The file at `path`, if nobody else sees it; as above. */
int spare_open(struct store *s, const char *path);
/* Exactly these bytes into it; the lease ends.  -1 and errno. */
int spare_fill(int fd, const void *buf, size_t len);
/* Removes them all: at the end, and when the disk is full.  Any thread, mu not held. */
void spares_clear(struct store *s);

/* ring.c */
/* Moves the ref, which is at `from`, under its lock; neither is zero. */
int ring_move(struct store *s, const char *name, const struct ledger_oid *from, const struct ledger_oid *to);
void ring_drop(struct store *s, const char *name);
void rings_clear(struct store *s);

/* small.c */
/* Writes the finished pack as the small pack `seq`; `kind`: of the writer's own temporary file.  Nothing is left on failure.
 */
int small_write(struct store *s, struct pack *p, uint64_t seq, const char *kind);
/* Takes it away; that it is not there any more is fine. */
void small_remove(struct store *s, uint64_t seq);

/* group.c */
/* Makes this process an owner, once. */
int store_own(struct store *s);
/* Takes the ref's lock and reads it (zero: absent); ELOCKED when it is taken by one who lives. */
int store_lock_ref(struct store *s, const char *ref, struct ledger_oid *tip);

/* commit.c */
/* Is it time for a checkpoint?  mu is held, no group is at work. */
bool store_cut_due(struct store *s, uint64_t now);
/* Freezes the generation for the keeper; the same. */
void store_cut(struct store *s);

/* publish.c */
int publisher_start(struct store *s);
void publisher_stop(struct store *s);
/* Waits until all that is acknowledged is published; mu is held (and let go while waiting).  The publisher's error. */
int publisher_flush(struct store *s);
/* Moves one ref (zero: deletes it) under its lock; `sync`: what it writes, not yet the names: see refmove_sync(). */
int store_move_ref(struct store *s, const char *name, const struct ledger_oid *from, const struct ledger_oid *to,
		   const char *why, bool sync);

/* checkpoint.c */
int keeper_start(struct store *s);
void keeper_stop(struct store *s);
/* Makes the journal; mu is held (and let go meanwhile). */
int store_make_journal(struct store *s, off_t size);
/* The last checkpoint, of a store that no other thread uses. */
int checkpoint_all(struct store *s);

/* recover.c */
/* Recovers every dead owner.  LEDGER_EREPO: a format that is not known, nothing was touched. */
int recover_all(struct store *s);
/* The owner of this lock, if it is dead.  1: it was, and is recovered. */
int recover_owner(struct store *s, uint64_t id);

/* stage.c */
/* Writes the value's pack: synced, named for good. */
int stage_write(struct store *s, struct ledger_value *v);
/* The group names this value: it is shown. */
int stage_commit(struct store *s, struct ledger_value *v);
void stage_free(struct store *s);

/* watch.c */
int watch_start(struct store *s);
void watch_stop(struct store *s);

/* tips.c */
void tips_open(struct store *s);
void tips_close(struct store *s);
void tips_set(struct store *s, const char *ref, const struct ledger_oid *oid);
bool tips_known(struct store *s, const char *ref, const struct ledger_oid *oid);

/* upkeep.c */
/* Merges packs when there are `least` or more; mu is not held. */
void upkeep_run(struct store *s, size_t least);
/* Removes what was merged, unless a gc looks at it. */
void upkeep_tidy(struct store *s);
/* Both in a thread of its own, readers' grace between them: when none is at work; mu is held. */
void upkeep_begin(struct store *s);
void upkeep_join(struct store *s);
bool store_gc_running(struct store *s);

/* odb.c: what is not in memory; git_error_last() has the reason of what fails. */
int odb_open(struct store *s); /* 0 or -1; gitdir and dirfd are set */
void odb_close(struct store *s);
/* As git_odb_read(), git_odb_read_header(), git_odb_exists(), git_odb_refresh().  Any thread. */
int odb_read(struct store *s, git_odb_object **obj, const struct ledger_oid *oid);
int odb_read_header(struct store *s, size_t *len, git_object_t *type, const struct ledger_oid *oid);
bool odb_exists(struct store *s, const struct ledger_oid *oid);
int odb_refresh(struct store *s);

/* keep.c: a pack that is for good, from before it is shown until its ref has moved. */
int keep_begin(struct store *s, const char *owner_dir, const char *pack); /* `pack`: as pack_name() makes it */
void keep_end(struct store *s, const char *pack);
/* The same, to be ended with the generation of the group that is being made. */
int keep_in_gen(struct store *s, const char *pack);
void keep_end_gen(struct store *s, const struct gen *g);
void keep_sweep(struct store *s, const char *owner_dir); /* those of a dead owner */

/* bigread.c */
/* A blob that some pack holds whole, streamed.  ENOTFOUND: not so; then the odb is to be asked. */
int bigread_to(struct store *s, const struct ledger_oid *oid, int fd);
/* A blob that some pack holds in full stored blocks, to be read there.  ENOTFOUND: not so. */
int bigread_stored(struct store *s, const struct ledger_oid *oid, struct stored *out);

#endif
