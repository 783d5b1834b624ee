/* SPDX-License-Identifier: MIT */
/* The FUSE face as main.c sees it: make it from an open ledger, hand its operations to a session, shut it down. */
#ifndef FS_FS_H
#define FS_FS_H

#include "options.h"

#include <ledger/ledger.h>

struct fs;
struct fuse_session;
struct fuse_lowlevel_ops;

/* Builds the face over `l`, which stays the caller's and must outlive it; `o` likewise.  0 or a negative ledger error. */
int fs_new(struct fs **out, struct ledger *l, const struct fs_options *o);

/* The operations for fuse_session_new(); its userdata is the struct fs. */
const struct fuse_lowlevel_ops *fs_ops(void);

/* Tells the face its session, after fuse_session_new() and before the loop. */
void fs_attach(struct fs *fs, struct fuse_session *se);

/*
 * After the loop has ended: commits what was saved and only waited (passing files), names in the log what was not saved
 * (open dirty handles, scratch files).  SPEC 5.4, 8.1.
 */
void fs_shutdown(struct fs *fs);

void fs_free(struct fs *fs); /* NULL is fine */

#endif
