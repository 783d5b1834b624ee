/* SPDX-License-Identifier: MIT */
/* Bytes: READ, WRITE, FLUSH, FSYNC, FALLOCATE. */
#include "file.h"
#include "ops.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

/* --- READ ------------------------------------------------------------------------------------------------------------ */

/*
 * The version's bytes, loaded at the first read of an open and kept until the last close.  One reference: once the kernel
 * has copied the reply, the RELEASE of the file may be handled by another thread before the reply's call returns here.
 */
static int version_value(struct fs *fs, struct inode *i, struct ledger_value **out)
{
	struct ledger_value *v, *loser = NULL;
	int r;

	pthread_mutex_lock(&fs->lock);
	v = i->value ? ledger_value_ref(i->value) : NULL;
	pthread_mutex_unlock(&fs->lock);
	if (!v) {
		r = named_object(ledger_value_get(fs->ledger, &i->blob, &v));
		if (r)
			return r;
		pthread_mutex_lock(&fs->lock);
		if (i->value) {
			loser = v;
			v = ledger_value_ref(i->value);
		} else {
			i->value = ledger_value_ref(v);
		}
		pthread_mutex_unlock(&fs->lock);
		ledger_value_unref(loser);
	}
	*out = v;
	return 0;
}

static void reply_value(fuse_req_t req, const struct ledger_value *v, size_t size, off_t off)
{
	uint64_t total = ledger_value_size(v);
	const char *data = ledger_value_data(v);
	char *buf;
	ssize_t n;

	if ((uint64_t)off >= total)
		size = 0;
	else if (size > total - (uint64_t)off)
		size = total - (uint64_t)off;
	if (data || !size) {
		fuse_reply_buf(req, size ? data + off : NULL, size);
		return;
	}
	buf = malloc(size);
	n = buf ? ledger_value_pread(v, buf, size, (uint64_t)off) : LEDGER_ENOMEM;
	if (n < 0)
		reply_error(req, (int)n);
	else
		fuse_reply_buf(req, buf, (size_t)n);
	free(buf);
}

/* From a session or local file, which change: into a buffer of ours. */
static void reply_changing(fuse_req_t req, struct inode *i, struct session *s, size_t size, off_t off)
{
	char *buf = malloc(size ? size : 1);
	ssize_t n;

	if (!buf) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	n = s ? session_pread(s, buf, size, (uint64_t)off) : local_pread(i->local, buf, size, (uint64_t)off);
	if (n < 0)
		reply_error(req, (int)n);
	else
		fuse_reply_buf(req, buf, (size_t)n);
	free(buf);
}

void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct inode *i = inode_of(fs, ino);
	struct session *s = session_of(i, fi);
	struct ledger_value *v;
	int r;

	if (s || i->type == INODE_LOCAL) {
		reply_changing(req, i, s, size, off);
		return;
	}
	if (i->type == INODE_CONTROL) {
		v = ledger_value_ref(file_of(fi)->value); /* as version_value() says */
		r = 0;
	} else {
		r = version_value(fs, i, &v);
	}
	if (r) {
		reply_error(req, r);
		return;
	}
	reply_value(req, v, size, off);
	ledger_value_unref(v);
}

/* --- WRITE ----------------------------------------------------------------------------------------------------------- */

/*
 * May this write still land?  EBUSY if not: shells lose the error of close, and EAGAIN from write(2) makes git spin and
 * Python drop data (SPEC 6.4).
 */
static int write_error(int r)
{
	return r == LEDGER_ECONFLICT || r == LEDGER_ELOCKED ? EBUSY : ledger_errno(r);
}

static int session_write(fuse_req_t req, struct session *s, const char *buf, size_t size, off_t off, bool writepage)
{
	struct who w;
	int r = 0;

	if (!writepage) {
		who_from_req(&w, req);
		r = session_check(s, &w);
		if (r)
			session_poison(s, r);
	}
	return r ? r : session_pwrite(s, buf, size, (uint64_t)off, fuse_req_ctx(req)->pid, writepage);
}

void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct inode *i = inode_of(fs, ino);
	struct session *s = session_of(i, fi);
	bool append = (fi->flags & O_APPEND) && !fi->writepage;
	int r;

	if (s)
		r = session_write(req, s, buf, size, off, fi->writepage);
	else if (i->type == INODE_LOCAL)
		r = local_pwrite(fs, i->local, buf, size, (uint64_t)off, append, fuse_req_ctx(req)->pid);
	else
		r = LEDGER_EROFS;
	if (r)
		fuse_reply_err(req, write_error(r));
	else
		fuse_reply_write(req, size);
}

/* --- FLUSH, FSYNC ---------------------------------------------------------------------------------------------------- */

void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct file *f = file_of(fi);
	int r = 0;

	if (f->session)
		r = session_flush(f->session, req);
	else if (f->inode->local && f->writer)
		local_flush(fs, f->inode->local, fuse_req_ctx(req)->pid);
	locks_on_flush(fs, f, fi->lock_owner);
	reply_error(req, r);
}

void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct file *f = file_of(fi);
	struct who w;

	if (!f->session) {
		fuse_reply_err(req, 0);
		return;
	}
	who_from_req(&w, req);
	reply_error(req, session_save(f->session, &w));
}

void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct inode *i = inode_of(fs, ino);
	struct session *s = session_of(i, fi);
	int r = LEDGER_EINVALID;

	if (s)
		r = session_fallocate(s, mode, (uint64_t)off, (uint64_t)len);
	else if (i->type == INODE_LOCAL)
		r = local_zero(fs, i->local, mode, (uint64_t)off, (uint64_t)len);
	fuse_reply_err(req, r == LEDGER_EINVALID ? EOPNOTSUPP : ledger_errno(r));
}
