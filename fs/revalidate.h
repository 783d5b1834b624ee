/* SPDX-License-Identifier: MIT */
/*
 * What file locks mean for write handles, as NFS has it: who gets a lock on a key goes on from the key's newest value, who
 * lets go of one has saved.  So programs that share a key under locks (sqlite, databases of mail, counters) see each other's
 * work through handles that stay open.
 *
 * A handle with nothing unsaved takes over the committed value when the first lock on it is granted: who holds one already,
 * and gets another, has read under it.  fcntl locks belong to processes, not to handles: so all handles that the process
 * opened on the key are brought up to date, but for those with a lock of their own (F_OFD_SETLK); and when the process gets
 * one more lock through a handle that has saved the newest value itself, the others follow that one.
 *
 * Their pages in the kernel's cache are invalidated before the lock's reply, by a thread of its own: invalidating waits for
 * pages that are being read, and only the threads that answer requests can end that.
 */
#ifndef FS_REVALIDATE_H
#define FS_REVALIDATE_H

#include "file.h"

struct revalidator;

/* Starts the thread.  0 or LEDGER_ENOMEM. */
int revalidate_start(struct fs *fs);
/* Answers what is queued and ends the thread. */
void revalidate_stop(struct fs *fs);

/* The answer to a request for a lock; made before the lock is asked for. */
struct lock_reply;

enum lock_scope {
	LOCK_REFRESH_NONE,
	LOCK_REFRESH_FILE,   /* the handle that the lock was set through */
	LOCK_REFRESH_ALL,    /* and the others of its process on the key */
	LOCK_REFRESH_OTHERS, /* those alone, if that handle has saved what is the newest value */
};

/* NULL: out of memory.  `f` NULL: nothing to revalidate.  `owner` of the lock. */
struct lock_reply *lock_reply_new(struct fs *fs, fuse_req_t req, struct file *f, enum lock_scope scope, uint64_t owner);
/* Not to be used: the request is answered otherwise. */
void lock_reply_free(struct lock_reply *l);
/*
 * Answers: `err` is that of the lock; when it is 0, the handles of its scope are brought up to date first.  Takes `l` over.
 * Any thread.
 */
void lock_reply_send(struct lock_reply *l, int err);

#endif
