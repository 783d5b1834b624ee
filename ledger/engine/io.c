/* SPDX-License-Identifier: MIT */
#include "io.h"

#include "../fail.h"

#include <errno.h>
#include <ledger/error.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static _Atomic(const struct io_hook *) the_hook;

void io_hook_set(const struct io_hook *hook)
{
	atomic_store(&the_hook, hook);
}

/* Asks the hook; -1 with errno when the call is to fail. */
static int before(struct io_call *c)
{
	const struct io_hook *h = atomic_load_explicit(&the_hook, memory_order_relaxed);
	int err = h ? h->before(h->arg, c) : 0;

	if (!err)
		return 0;
	errno = err;
	return -1;
}

static int after(const struct io_call *c, int ret)
{
	const struct io_hook *h = atomic_load_explicit(&the_hook, memory_order_relaxed);
	int err = errno;

	if (h)
		h->after(h->arg, c, ret);
	errno = err;
	return ret;
}

int io_open(int dirfd, const char *path, int flags, mode_t mode)
{
	struct io_call c = {.op = IO_OPEN, .path = path, .flags = flags, .fd = -1};

	if (before(&c) < 0)
		return -1;
	return after(&c, openat(dirfd, path, flags | O_CLOEXEC, mode));
}

int io_close(int fd)
{
	struct io_call c = {.op = IO_CLOSE, .fd = fd};

	/* The hook may not fail this one: the descriptor would leak.  What close() could tell, fsync() told. */
	after(&c, 0);
	return close(fd);
}

int io_pwrite(int fd, const void *buf, size_t len, off_t off)
{
	const char *p = buf;

	while (len > 0) {
		struct io_call c = {.op = IO_WRITE, .fd = fd, .buf = p, .len = len, .off = off};
		ssize_t n;

		if (before(&c) < 0)
			return -1;
		n = pwrite(fd, p, c.len, off);
		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			errno = ENOSPC;
		if (n <= 0)
			return after(&c, -1);
		c.len = (size_t)n;
		after(&c, 0);
		p += n;
		off += n;
		len -= (size_t)n;
	}
	return 0;
}

int io_pwritev(int fd, struct iovec *v, int n, off_t off)
{
	while (n > 0) {
		ssize_t done;

		if (atomic_load_explicit(&the_hook, memory_order_relaxed)) {
			if (io_pwrite(fd, v->iov_base, v->iov_len, off) < 0)
				return -1;
			done = (ssize_t)v->iov_len;
		} else {
			done = pwritev(fd, v, n, off);
			if (done < 0 && errno == EINTR)
				continue;
			if (done == 0)
				errno = ENOSPC;
			if (done <= 0)
				return -1;
		}
		off += done;
		for (; n > 0 && (size_t)done >= v->iov_len; v++, n--)
			done -= (ssize_t)v->iov_len;
		if (n > 0) {
			v->iov_base = (char *)v->iov_base + done;
			v->iov_len -= (size_t)done;
		}
	}
	return 0;
}

int io_ftruncate(int fd, off_t size)
{
	struct io_call c = {.op = IO_TRUNCATE, .fd = fd, .off = size};

	if (before(&c) < 0)
		return -1;
	return after(&c, ftruncate(fd, size));
}

static int sync_call(enum io_op op, int fd, int (*sync)(int))
{
	struct io_call c = {.op = op, .fd = fd};

	if (before(&c) < 0)
		return -1;
	return after(&c, sync(fd));
}

int io_fsync(int fd)
{
	return sync_call(IO_FSYNC, fd, fsync);
}

int io_fdatasync(int fd)
{
	return sync_call(IO_FDATASYNC, fd, fdatasync);
}

int io_syncfs(int fd)
{
	return sync_call(IO_SYNCFS, fd, syncfs);
}

int io_fsync_dir(int dirfd, const char *path)
{
	int fd, ret, err;

	fd = io_open(dirfd, path, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return -1;
	ret = io_fsync(fd);
	err = errno;
	io_close(fd);
	errno = err;
	return ret;
}

int io_rename(int dirfd, const char *from, const char *to)
{
	struct io_call c = {.op = IO_RENAME, .path = from, .to = to};

	if (before(&c) < 0)
		return -1;
	return after(&c, renameat(dirfd, from, dirfd, to));
}

int io_exchange(int dirfd, const char *a, const char *b)
{
	struct io_call c = {.op = IO_EXCHANGE, .path = a, .to = b};

	if (before(&c) < 0)
		return -1;
	return after(&c, renameat2(dirfd, a, dirfd, b, RENAME_EXCHANGE));
}

int io_link(int dirfd, const char *from, const char *to)
{
	struct io_call c = {.op = IO_LINK, .path = from, .to = to};

	if (before(&c) < 0)
		return -1;
	return after(&c, linkat(dirfd, from, dirfd, to, 0));
}

int io_link_fd(int fd, int dirfd, const char *to)
{
	struct io_call c = {.op = IO_LINK, .fd = fd, .to = to};
	char from[32];

	if (before(&c) < 0)
		return -1;
	snprintf(from, sizeof(from), "/proc/self/fd/%d", fd);
	return after(&c, linkat(AT_FDCWD, from, dirfd, to, AT_SYMLINK_FOLLOW));
}

int io_unlink(int dirfd, const char *path)
{
	struct io_call c = {.op = IO_UNLINK, .path = path};

	if (before(&c) < 0)
		return -1;
	return after(&c, unlinkat(dirfd, path, 0));
}

int io_mkdir(int dirfd, const char *path)
{
	struct io_call c = {.op = IO_MKDIR, .path = path};

	if (before(&c) < 0)
		return -1;
	return after(&c, mkdirat(dirfd, path, 0777));
}

int io_rmdir(int dirfd, const char *path)
{
	struct io_call c = {.op = IO_RMDIR, .path = path};

	if (before(&c) < 0)
		return -1;
	return after(&c, unlinkat(dirfd, path, AT_REMOVEDIR));
}

static bool alloc_ok(size_t len)
{
	struct io_call c = {.op = IO_ALLOC, .len = len};

	return before(&c) == 0;
}

void *io_malloc(size_t len)
{
	return alloc_ok(len) ? malloc(len ? len : 1) : NULL;
}

void *io_calloc(size_t n, size_t len)
{
	return alloc_ok(len) ? calloc(n ? n : 1, len ? len : 1) : NULL;
}

void *io_realloc(void *p, size_t len)
{
	return alloc_ok(len) ? realloc(p, len ? len : 1) : NULL;
}

char *io_strdup(const char *s)
{
	return alloc_ok(strlen(s) + 1) ? strdup(s) : NULL;
}

bool io_grow(void **p, size_t *cap, size_t need, size_t size)
{
	size_t n;
	void *q;

	if (need <= *cap)
		return true;
	n = need + need / 2 + 16;
	if (n < need || n > SIZE_MAX / size)
		return false;
	q = io_realloc(*p, n * size);
	if (!q)
		return false;
	*p = q;
	*cap = n;
	return true;
}

int io_write_file(int dirfd, const char *path, const void *buf, size_t len, mode_t mode, bool sync)
{
	int fd, err;

	fd = io_open(dirfd, path, O_WRONLY | O_CREAT | O_EXCL, mode);
	if (fd < 0)
		return -1;
	if (io_pwrite(fd, buf, len, 0) == 0 && (!sync || io_fsync(fd) == 0)) {
		io_close(fd);
		return 0;
	}
	err = errno;
	io_close(fd);
	unlinkat(dirfd, path, 0); /* best effort: the name is private, and a later try starts by removing it */
	errno = err;
	return -1;
}

int io_sync_names(int dirfd, const char *path)
{
	int fd = io_open(dirfd, path, O_RDONLY | O_DIRECTORY, 0), r, err;

	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return LEDGER_ENOTFOUND;
	if (fd < 0)
		return ledger_fail(io_code(errno), "%s: %s", path, strerror(errno));
	r = io_fsync(fd);
	err = errno;
	io_close(fd);
	return r < 0 ? ledger_fail(LEDGER_EDEAD, "%s: fsync: %s", path, strerror(err)) : 0;
}

int io_read_file(int dirfd, const char *path, void **out, size_t *len)
{
	int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC), err = 0;
	struct stat st;
	char *data = NULL;
	size_t have = 0;

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) < 0)
		err = errno;
	else if (!(data = io_malloc((size_t)st.st_size + 1)))
		err = ENOMEM;
	while (!err && have < (size_t)st.st_size) {
		ssize_t n = pread(fd, data + have, (size_t)st.st_size - have, (off_t)have);

		if (n > 0)
			have += (size_t)n;
		else if (n == 0 || errno != EINTR)
			err = n ? errno : EIO;
	}
	close(fd);
	if (err) {
		free(data);
		errno = err;
		return -1;
	}
	data[have] = 0;
	*out = data;
	*len = have;
	return 0;
}

int io_code(int err)
{
	switch (err) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return LEDGER_ENOSPC;
	case EROFS:
		return LEDGER_EROFS;
	case EACCES:
	case EPERM:
		return LEDGER_EACCES;
	case ENOMEM:
		return LEDGER_ENOMEM;
	default:
		return LEDGER_EIO;
	}
}
