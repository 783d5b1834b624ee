/* SPDX-License-Identifier: MIT */
/*
 * The operations: each is decode, one call into the face or the ledger, one reply.  Bodies return a ledger error;
 * reply_error() turns it into the errno.
 */
#ifndef FS_OPS_H
#define FS_OPS_H

#include "core.h"

struct file; /* file.h */

/* Replies with the errno of a ledger error (0: success). */
static inline void reply_error(fuse_req_t req, int r)
{
	fuse_reply_err(req, ledger_errno(r));
}

/* Fills and replies an entry for the inode whose lookup was counted; forgets it when the kernel did not take it. */
void reply_entry(fuse_req_t req, struct inode *i);
/* Fills `e` for the inode.  0 or a ledger error. */
int fill_entry(struct fs *fs, struct inode *i, struct fuse_entry_param *e);

/*
 * The place of `name` in a directory inode, with a reference.  ENOTDIR; EFORBIDDEN in the root, prefixes and control
 * directories (keys live in namespaces) and for names that git refuses or `.kv`; ENAMETOOLONG, EINVALID.
 */
int child_place(struct fs *fs, struct inode *dir, const char *name, struct place **out);

/* lookup.c */
/* What the repository has at the place; `tid`: who asks, for session_own_saved() (0: the version for everybody).  A lookup is counted. */
int lookup_committed(struct fs *fs, struct place *p, pid_t tid, struct inode **out);
void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup);
void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_readlink(fuse_req_t req, fuse_ino_t ino);
void op_statfs(fuse_req_t req, fuse_ino_t ino);
/* open.c */
void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi);
void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
/* For truncate(2) by path: sends the caller through LOOKUP to a private inode of its own.  ESTALE for the reply, or a positive errno. */
int redirect_caller(fuse_req_t req, struct inode *i);
/* The private inode that the caller's LOOKUP of the place is to get, with a kernel lookup counted, or NULL. */
struct inode *redirect_take(struct fs *fs, pid_t tid, const char *ns, const char *path);
/* The caller reached it: the redirect is done. */
bool redirect_done(struct fs *fs, pid_t tid, struct inode *priv);
void redirects_free(struct fs *fs);
/* Frees what the kernel did not release before the mount ended; nothing is saved. */
void files_free(struct fs *fs);
void dirs_free(struct fs *fs);
/* io.c */
void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off, struct fuse_file_info *fi);
void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len, struct fuse_file_info *fi);
void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi);
/* names.c, rename.c */
void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name);
void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to_parent, const char *to_name, unsigned flags);
/* dir.c */
void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
/* xattr.c */
void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags);
void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);
void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
/* lockops.c */
void op_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock);
void op_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock, int sleep);
void op_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int op);
/* FLUSH: the fcntl locks of the process `owner` on the file's key end. */
void locks_on_flush(struct fs *fs, struct file *f, uint64_t owner);
/* RELEASE: so do its open file description's own (OFD), and with `flock` the flock of `owner`. */
/* The flock of an open directory: libfuse does not say at RELEASEDIR whose it was. */
void dir_note_flock(struct fuse_file_info *fi);
void flock_release(struct fs *fs, struct inode *i, uint64_t owner);
void locks_on_release(struct fs *fs, struct file *f, uint64_t owner, bool flock);

#endif
