/* SPDX-License-Identifier: MIT */
/* What fi->fh points to: one open file. */
#ifndef FS_FILE_H
#define FS_FILE_H

#include "core.h"
#include "local.h"
#include "session.h"

struct file {
	struct file *next, **link;  /* all open files, so that the end of the mount can free them; fs.lock */
	struct inode *inode;        /* what the kernel opened; owned reference */
	struct inode *priv;         /* write handle: the session's inode; owned reference */
	struct session *session;    /* priv's */
	struct ledger_value *value; /* control files: the bytes as of the open */
	bool writer;
};

static inline struct file *file_of(const struct fuse_file_info *fi)
{
	return fi ? (struct file *)(uintptr_t)fi->fh : NULL;
}

/* The session that a request on this inode is about: the open file's, or the private inode's own. */
static inline struct session *session_of(const struct inode *i, const struct fuse_file_info *fi)
{
	if (fi && fi->fh)
		return file_of(fi)->session;
	return i->type == INODE_PRIVATE ? i->session : NULL;
}

/* One open of `i` by the caller; `priv` is the write handle's private inode, NULL for readers.  NULL: out of memory. */
struct file *file_new(fuse_req_t req, struct inode *i, struct inode *priv, bool writer);
/* Frees one that was never open, or is no more; NULL is fine. */
void file_free(struct fs *fs, struct file *f);
/* The last descriptor is gone: a session is released. */
void file_close(struct fs *fs, struct file *f);

#endif
