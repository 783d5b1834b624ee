/* SPDX-License-Identifier: MIT */
/* Open files: made by OPEN and CREATE, ended by RELEASE or with the mount. */
#include "file.h"
#include "ops.h"

#include <stdlib.h>

void file_free(struct fs *fs, struct file *f)
{
	if (!f)
		return;
	pthread_mutex_lock(&fs->lock);
	*f->link = f->next;
	if (f->next)
		f->next->link = f->link;
	pthread_mutex_unlock(&fs->lock);
	inode_unref(fs, f->inode);
	if (f->priv)
		inode_unref(fs, f->priv);
	ledger_value_unref(f->value);
	free(f);
}

void files_free(struct fs *fs)
{
	while (fs->files)
		file_free(fs, fs->files);
}

struct file *file_new(fuse_req_t req, struct inode *i, struct inode *priv, bool writer)
{
	struct fs *fs = fs_of(req);
	struct file *f = calloc(1, sizeof(*f));
	pid_t pid = 0;

	if (!f)
		return NULL;
	f->inode = i;
	f->priv = priv;
	f->session = priv ? priv->session : NULL;
	f->writer = writer;
	pthread_mutex_lock(&fs->lock);
	f->next = fs->files;
	f->link = &fs->files;
	if (f->next)
		f->next->link = &f->next;
	fs->files = f;
	inode_ref_locked(i);
	if (priv) {
		inode_ref_locked(priv);
		priv->session->opens++;
	}
	if (i->type == INODE_VERSION)
		i->opens++;
	pthread_mutex_unlock(&fs->lock);
	if (i->local)
		local_open(fs, i->local, writer, proc_tgid(fuse_req_ctx(req)->pid, &pid) ? 0 : pid);
	return f;
}

void file_close(struct fs *fs, struct file *f)
{
	struct ledger_value *value = NULL;
	bool last = false;

	pthread_mutex_lock(&fs->lock);
	if (f->session)
		last = f->session->ended = --f->session->opens == 0;
	if (f->inode->type == INODE_VERSION && --f->inode->opens == 0) {
		value = f->inode->value;
		f->inode->value = NULL;
	}
	pthread_mutex_unlock(&fs->lock);
	ledger_value_unref(value);
	if (last)
		session_release(f->session);
	if (f->inode->local)
		local_close(fs, f->inode->local, f->writer);
	file_free(fs, f);
}

void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct file *f = file_of(fi);

	locks_on_release(fs, f->inode, fi->fh);
	file_close(fs, f);
	fuse_reply_err(req, 0);
}
