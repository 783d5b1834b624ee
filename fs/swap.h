/* SPDX-License-Identifier: MIT */
/* Compare-and-swap of a key in one call: setxattr(2) of user.kv.swap.* (SPEC 6.1). */
#ifndef FS_SWAP_H
#define FS_SWAP_H

#include "core.h"

/*
 * Sets the value of a key if its blob is what `arg` says: "OID" or "absent" on the key itself, the same with ".NAME" behind
 * on its directory.  A positive errno for the reply; a conflict is EBUSY, recorded for user.kv.status.
 */
int swap_value(fuse_req_t req, struct inode *i, bool is_key, const char *arg, const char *value, size_t size);

#endif
