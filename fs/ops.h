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

/* Is it the root or a prefix: a directory of namespaces? */
static inline bool holds_namespaces(const struct inode *dir)
{
	return dir->type == INODE_ROOT || dir->type == INODE_PREFIX;
}

/* lookup.c */
/* What the repository has at the place; `tid`: who asks, for session_own_saved() (0: the version for everybody).  A lookup
 * is counted. */
int lookup_committed(struct fs *fs, struct place *p, pid_t tid, struct inode **out);
void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup);
void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_readlink(fuse_req_t req, fuse_ino_t ino);
void op_statfs(fuse_req_t req, fuse_ino_t ino);
/* open.c, create.c, file.c */
void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi);
void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
/* May the caller start to write the key at all?  Told at open already (SPEC 6.4).  0 or a ledger error. */
int check_open(fuse_req_t req, struct place *p);
/*
 * Is it of those that only one may write (classify_single()), and does another do so: another process on a local file,
 * another handle than `self` on a key, because each has a copy of its own?
 */
bool open_is_taken(fuse_req_t req, struct place *p, const struct session *self);
/* redirect.c */
/* A private inode with a session on `base` (NULL: nothing) for the caller; one reference.  0 or a ledger error. */
int new_private(fuse_req_t req, struct place *p, const struct ledger_entry *base, struct inode **out);
/* The key as it is now is the base of what the caller will write.  EISDIR, and what a look at it gives. */
int current_base(struct fs *fs, struct place *p, struct ledger_entry *e, bool *there);
/*
 * Did this thread's last OPEN end in a redirect that did not lead to its inode?  *priv: when it was for the place, the
 * private inode, referenced; else NULL.
 */
bool redirect_unused(struct fs *fs, pid_t tid, struct place *p, struct inode **priv);
/*
 * LOOKUP showed a process its own handle for the version (session_own_saved()), and now it opens that for reading: the
 * second walk finds the version itself, whose bytes will not change.  Returns as redirect_caller().
 */
int redirect_to_version(fuse_req_t req, struct inode *i);
/* Was this thread sent to a version, and came back without a walk, by /proc/self/fd/N? */
bool redirect_was_to_version(struct fs *fs, pid_t tid, const struct place *p);
/* For truncate(2) by path: sends the caller through LOOKUP to a private inode of its own.  ESTALE for the reply, or a
 * positive errno. */
int redirect_caller(fuse_req_t req, struct inode *i);
/* The private inode that the caller's LOOKUP of the place is to get, with a kernel lookup counted, or NULL. */
struct inode *redirect_take(struct fs *fs, pid_t tid, const char *ns, const char *path);
/*
 * A thread that opens a place for writing again and again is shown a version of its own by each LOOKUP (inode_version()). If
 * the next thing is an OPEN for writing, that inode becomes the private one at once: no ESTALE, no second walk, and nothing
 * else can have met it.  For whatever else comes it is a version like any other.
 *
 * Is LOOKUP to do so?  `tid` 0: no.
 */
bool redirect_expected(struct fs *fs, const struct place *p, pid_t tid);
/* The inode is opened, for writing or for reading; a version that is being read stays one. */
void redirect_learn(struct fs *fs, struct inode *i, pid_t tid, bool writer);
/* Makes it the caller's private inode with a session, if it is such a one and the key still has that value. */
bool redirect_adopt(fuse_req_t req, struct inode *i);
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
void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to_parent, const char *to_name,
	       unsigned flags);
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
/* RELEASE, RELEASEDIR: so do the flock and the OFD locks of the open file (fi->fh). */
void locks_on_release(struct fs *fs, struct inode *i, uint64_t file);

#endif
