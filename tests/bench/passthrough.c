/* SPDX-License-Identifier: MIT */
/*
 * passthrough DIR MOUNTPOINT: the least that a FUSE file system can do, for scripts/bench to compare with: every request
 * is handed on to DIR.  No cache of names or attributes, so that it answers as many requests as one must whose files may
 * change from elsewhere.
 */
#define FUSE_USE_VERSION 312
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

struct node {
	int fd; /* O_PATH */
	ino_t ino;
	uint64_t nlookup;
	struct node *next;
};

static struct node root;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* the list, nlookup */

static struct node *node_of(fuse_ino_t ino)
{
	return ino == FUSE_ROOT_ID ? &root : (struct node *)ino;
}

/* Takes `fd`. */
static struct node *node_get(int fd, ino_t ino)
{
	struct node *n;

	pthread_mutex_lock(&lock);
	for (n = root.next; n && n->ino != ino; n = n->next)
		;
	if (n) {
		close(fd);
	} else if ((n = calloc(1, sizeof(*n)))) {
		n->fd = fd;
		n->ino = ino;
		n->next = root.next;
		root.next = n;
	}
	if (n)
		n->nlookup++;
	pthread_mutex_unlock(&lock);
	return n;
}

static int look(fuse_ino_t dir, const char *name, struct fuse_entry_param *e)
{
	int fd = openat(node_of(dir)->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	memset(e, 0, sizeof(*e));
	if (fd < 0 || fstat(fd, &e->attr))
		return errno;
	e->ino = (fuse_ino_t)node_get(fd, e->attr.st_ino);
	return e->ino ? 0 : ENOMEM;
}

static void op_lookup(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	struct fuse_entry_param e;
	int err = look(dir, name, &e);

	err ? fuse_reply_err(req, err) : fuse_reply_entry(req, &e);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	struct node *n = node_of(ino), **p;

	pthread_mutex_lock(&lock);
	n->nlookup -= count;
	if (!n->nlookup && n != &root) {
		for (p = &root.next; *p != n; p = &(*p)->next)
			;
		*p = n->next;
		close(n->fd);
		free(n);
	}
	pthread_mutex_unlock(&lock);
	fuse_reply_none(req);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;

	fstatat(node_of(ino)->fd, "", &st, AT_EMPTY_PATH) ? fuse_reply_err(req, errno) : fuse_reply_attr(req, &st, 0);
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", node_of(ino)->fd);
	if (to_set & FUSE_SET_ATTR_SIZE && (fi ? ftruncate((int)fi->fh, attr->st_size) : truncate(path, attr->st_size)))
		fuse_reply_err(req, errno);
	else
		op_getattr(req, ino, fi);
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", node_of(ino)->fd);
	fd = open(path, (fi->flags & ~O_NOFOLLOW) | O_CLOEXEC);
	fi->fh = (uint64_t)fd;
	fd < 0 ? fuse_reply_err(req, errno) : fuse_reply_open(req, fi);
}

static void op_create(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	int fd = openat(node_of(dir)->fd, name, (fi->flags & ~O_NOFOLLOW) | O_CREAT | O_CLOEXEC, mode);
	struct fuse_entry_param e;
	int err = fd < 0 ? errno : look(dir, name, &e);

	fi->fh = (uint64_t)fd;
	err ? fuse_reply_err(req, err) : fuse_reply_create(req, &e, fi);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct fuse_bufvec buf = FUSE_BUFVEC_INIT(size);

	buf.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
	buf.buf[0].fd = (int)fi->fh;
	buf.buf[0].pos = off;
	fuse_reply_data(req, &buf, FUSE_BUF_SPLICE_MOVE);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t off, struct fuse_file_info *fi)
{
	ssize_t n = pwrite((int)fi->fh, data, size, off);

	n < 0 ? fuse_reply_err(req, errno) : fuse_reply_write(req, (size_t)n);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	close((int)fi->fh);
	fuse_reply_err(req, 0);
}

static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	fuse_reply_err(req, close(dup((int)fi->fh)) ? errno : 0);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int data, struct fuse_file_info *fi)
{
	fuse_reply_err(req, (data ? fdatasync((int)fi->fh) : fsync((int)fi->fh)) ? errno : 0);
}

static void op_rename(fuse_req_t req, fuse_ino_t dir, const char *name, fuse_ino_t to, const char *newname, unsigned flags)
{
	fuse_reply_err(req, renameat2(node_of(dir)->fd, name, node_of(to)->fd, newname, flags) ? errno : 0);
}

static void op_unlink(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	fuse_reply_err(req, unlinkat(node_of(dir)->fd, name, 0) ? errno : 0);
}

static void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", node_of(ino)->fd);
	fuse_reply_err(req, setxattr(path, name, value, size, flags) ? errno : 0);
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	fuse_reply_err(req, ENODATA);
}

static const struct fuse_lowlevel_ops ops = {
	.lookup = op_lookup,
	.forget = op_forget,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.open = op_open,
	.create = op_create,
	.read = op_read,
	.write = op_write,
	.flush = op_flush,
	.release = op_release,
	.fsync = op_fsync,
	.rename = op_rename,
	.unlink = op_unlink,
	.setxattr = op_setxattr,
	.getxattr = op_getxattr,
};

int main(int argc, char **argv)
{
	char *fargv[] = {argv[0], "-o", "fsname=passthrough"};
	struct fuse_args args = FUSE_ARGS_INIT(3, fargv);
	struct fuse_loop_config *config;
	struct fuse_session *se;
	int rc;

	root.fd = argc == 3 ? open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	if (root.fd < 0) {
		fprintf(stderr, "usage: passthrough DIR MOUNTPOINT\n");
		return 1;
	}
	se = fuse_session_new(&args, &ops, sizeof(ops), NULL);
	config = fuse_loop_cfg_create();
	if (!se || !config || fuse_set_signal_handlers(se) || fuse_session_mount(se, argv[2]))
		return 32;
	fuse_daemonize(0);
	fuse_loop_cfg_set_max_threads(config, 10);
	fuse_loop_cfg_set_idle_threads(config, 10);
	rc = fuse_session_loop_mt(se, config);
	fuse_session_unmount(se);
	fuse_session_destroy(se);
	return rc != 0;
}
