/* SPDX-License-Identifier: MIT */
/*
 * $GIT_DIR/kv: what the engine keeps in a repository.
 *
 *   kv/format	     the format of all below; another one than ours is refused and left alone
 *   kv/lock	     flock()ed while an owner begins and while the dead are recovered
 *   kv/tips	     shared by the owners at work: refs' values that are known to be durable (tips.c)
 *   kv/upkeep	     flock()ed by the one that repacks
 *   kv/times/	     when keys last changed: a cache (../timefile.h), none of the engine's business
 *   kv/<id>/	     one process's: flock()ed as long as it lives, so the lock dies with it
 *   kv/<id>/lock	     the marker: REF.lock files of the owner are hard links to it, so they are never without their
 *		     line, which tells whose they are
 *   kv/<id>/journal.N
 *   kv/<id>/f<n>, v<n> files to be written anew (spare.c, ring.c)
 */
#ifndef LEDGER_ENGINE_OWNER_H
#define LEDGER_ENGINE_OWNER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define OWNER_DIR_MAX 24

struct owner {
	uint64_t id;
	char dir[OWNER_DIR_MAX]; /* "kv/0123456789abcdef" */
	int fd;                  /* of the directory; -1: none */
	bool links;              /* the file system has hard links */
	atomic_bool left;        /* a lock could not be removed */
};

/* LEDGER_EREPO when kv/format is not ours; nothing is there: fine. */
int owner_check_format(int dirfd);

/* flock of kv/lock, blocking; the descriptor, or a negative error.  Makes kv when `create`, else ENOTFOUND. */
int owner_kv_lock(int dirfd, bool create);

/* Begins a new owner.  `sync`: a fresh repository is brought to the disk, once. */
int owner_create(struct owner *o, int dirfd, bool sync);
/* Gives the flock up; the directory stays when it still holds something. */
void owner_release(struct owner *o, int dirfd);
/* The same, and the directory stays: the next opener takes it for a dead owner's. */
void owner_abandon(struct owner *o);

/* "kv/<id>" */
void owner_dir(char out[OWNER_DIR_MAX], uint64_t id);

/*
 * A descriptor that holds the flock of a dead owner's directory; -1 when it lives, -2 when there is none.  Close it to let
 * go.
 */
int owner_seize(int dirfd, uint64_t id);

/* Reads the line of a lock file: true and the id when an owner of ours wrote it. */
bool owner_of_lock(int dirfd, const char *path, uint64_t *id);

/* Does `name` look like an owner's directory in kv? */
bool owner_parse(const char *name, uint64_t *id);

#endif
