/* SPDX-License-Identifier: MIT */
/*
 * The control directory `.kv` at the root of the mount and of each namespace (SPEC 3, 5.4, 6.4): reached by name, not
 * listed.  Files in it are made when they are opened.
 */
#ifndef FS_CONTROL_H
#define FS_CONTROL_H

#include "core.h"

#define CONTROL_NAME ".kv"

enum control_node {
	CONTROL_DIR = 1,  /* .kv */
	CONTROL_SCRATCH,  /* .kv/scratch: names of local files, one a line */
	CONTROL_STATS,    /* .kv/stats: counters for Prometheus (ledger/stats.h) */
	CONTROL_REJECTED, /* .kv/rejected: values that a conflict refused */
	CONTROL_BLOBS,    /* .kv/blob: committed values by OID, not listed */
	CONTROL_VALUE,    /* .kv/rejected/N-name */
	CONTROL_BLOB,     /* .kv/blob/OID: there as long as a user.kv.status of the namespace names it */
};

#define CONTROL_REJECTED_MAX 64               /* values kept per namespace */
#define CONTROL_REJECTED_BYTES (256ULL << 20) /* and bytes in all */

int control_new(struct fs *fs); /* 0 or a ledger error */
void control_free(struct fs *fs);

/* Keeps the refused value for its writer's user; the oldest give way.  Takes a reference. */
void control_reject(struct fs *fs, const char *ns, const char *path, struct ledger_value *v, uid_t uid);

/* The node `name` in the control node `dir` (NULL: .kv itself at `p`); one kernel lookup is counted.  ledger errors. */
int control_lookup(struct fs *fs, struct inode *dir, struct place *p, const char *name, struct inode **out);

/* Kind, size, owner and mode of a node.  0 or a ledger error. */
int control_stat(struct fs *fs, struct inode *i, struct stat *st);

/* The bytes of a file node as they are now: one reference. */
int control_open(struct fs *fs, struct inode *i, struct ledger_value **out);

/* Names in a directory node: `each(arg, name, is_dir)`. */
void control_each(struct fs *fs, struct inode *dir, void (*each)(void *arg, const char *name, bool is_dir), void *arg);

/* Removes a rejected value; `uid` must own it or be root.  ENOTFOUND, EACCES, EROFS. */
int control_unlink(struct fs *fs, struct inode *dir, const char *name, uid_t uid);

#endif
