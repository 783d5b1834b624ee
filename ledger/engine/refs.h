/* SPDX-License-Identifier: MIT */
/*
 * Refs as git's "files" back end has them: loose files over packed-refs.  Reading here, changing in reflock.c and
 * refmove.c.  See git's refs/files-backend.c and refs/packed-backend.c for the protocol that others follow.
 */
#ifndef LEDGER_ENGINE_REFS_H
#define LEDGER_ENGINE_REFS_H

#include "../store.h"
#include "owner.h"

#include <pthread.h>
#include <sys/stat.h>

#define REFS_SLOTS 64 /* descriptors kept for fast reading */
#define REF_MAX 3000  /* bytes of a ref's name that we take: leaves room in PATH_MAX for what goes before and behind */

/* What a file was when it was read: the same again means that it was not replaced. */
struct ref_stamp {
	int fd; /* keeps the inode from being used again; -1: none */
	struct timespec mtime, ctime;
	off_t size;
};

struct ref_slot {
	char *name;
	struct ref_stamp stamp;
	struct ledger_oid oid;
};

#define REF_LINE (LEDGER_OID_HEXSIZE + 1) /* bytes of a loose ref's file */

struct packed_refs {
	struct ref_stamp stamp;
	char *data;
	size_t len;
	const char *body; /* behind the header */
	bool sorted;
};

struct refs {
	int dirfd;
	pthread_mutex_t mu; /* slots, packed */
	struct ref_slot slots[REFS_SLOTS];
	struct packed_refs packed;
};

void refs_init(struct refs *r, int dirfd);
void refs_release(struct refs *r);

/* Which of the slots is the ref's. */
unsigned refs_slot(const char *name);

/* The ref has just got this value, in the file that `fd` is open on, which is taken over; its lock is held. */
void refs_placed(struct refs *r, const char *name, int fd, const struct ledger_oid *oid);

/* The ref's value now.  ENOTFOUND; ECORRUPT: symbolic, or not a value. */
int refs_read(struct refs *r, const char *name, struct ledger_oid *out);

/*
 * Only the loose file: 0, ENOTFOUND (also when a directory is there), ECORRUPT; then `broken` tells of one that is not
 * symbolic but holds no value, as a power cut leaves it.
 */
int refs_read_loose(int dirfd, const char *name, struct ledger_oid *out, bool *broken);

/* Only packed-refs. */
int refs_read_packed(struct refs *r, const char *name, struct ledger_oid *out);

/* Is a packed ref above or below `name` (refs/kv/a for refs/kv/a/b and the other way round)? */
int refs_packed_conflict(struct refs *r, const char *name, bool *conflict);

/* All names with the prefix, sorted, each once, malloc'ed in one block each. */
struct ref_names {
	char **names;
	size_t n, cap;
};
int refs_list(struct refs *r, const char *prefix, struct ref_names *out);
int ref_names_add(struct ref_names *v, const char *name);
void ref_names_sort(struct ref_names *v);
void ref_names_release(struct ref_names *v);

/* --- the lock (reflock.c) ------------------------------------------------------------------------------------------- */

/*
 * Takes `path`.lock (a ref's or "packed-refs") as git does; the file is a link to the owner's marker.  EEXISTS: something
 * on the way to it is a ref; ELOCKED.
 */
int reflock_take(int dirfd, const struct owner *o, const char *path);
/* A failure is noted in `o`: its end looks for the lock once more. */
int reflock_drop(int dirfd, struct owner *o, const char *path);

/*
 * With the lock held, makes way at the ref's own path where nothing is to be: an empty directory goes.  EEXISTS: refs are
 * below it.
 */
int reflock_clear_dir(int dirfd, const char *name);

/* Empty directories above a ref that went, up to refs/x, which stays. */
void reflock_prune_dirs(int dirfd, const char *name);

/* Removes every lock below refs/ (and that of packed-refs) whose line names `owner`.  Returns how many, or an error. */
int reflock_sweep(int dirfd, uint64_t owner);

/* --- moving (refmove.c) --------------------------------------------------------------------------------------------- */

/* Writes the value into the private file `tmp`, for refmove_place(). */
int refmove_prepare(int dirfd, const char *tmp, const struct ledger_oid *to, bool sync);
void refmove_line(char line[REF_LINE], const struct ledger_oid *oid);
/*
 * Puts the prepared value in place of the ref's; the old one is gone when it returns 0.  The lock is held.  `keep`: it may
 * stay at `tmp`, and then REFMOVE_KEPT is returned; nobody takes it for the ref's value any more.
 */
enum { REFMOVE_KEPT = 1 };
#define REFMOVE_OLD 0 /* seconds: the modification time of a value's file that is kept so */
int refmove_place(int dirfd, const char *tmp, const char *name, bool keep);
/* fsync of the ref and of the directories above it.  EDEAD: an fsync failed. */
int refmove_sync(int dirfd, const char *name);
/* Removes the ref, loose and packed (`sync`: packed-refs).  `tmp` is a private path.  The ref's lock is held. */
int refmove_delete(struct refs *r, struct owner *o, const char *tmp, const char *name, bool sync);

/* --- reflog (reflog.c) ---------------------------------------------------------------------------------------------- */

struct reflog {
	bool always; /* core.logAllRefUpdates=always */
	char ident[512];
};

/* Appends the line where the configuration or an existing log asks for it.  Best effort, as a log is. */
void reflog_append(const struct reflog *l, int dirfd, const char *name, const struct ledger_oid *from,
		   const struct ledger_oid *to, const char *why);
void reflog_delete(int dirfd, const char *name);

#endif
