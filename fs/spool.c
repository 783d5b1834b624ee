/* SPDX-License-Identifier: MIT */
#include "spool.h"

#include <errno.h>
#include <fcntl.h>
#include <ledger/ledger.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY_CHUNK (1u << 20)

struct spool {
	const char *dir;
	char *mem; /* while fd < 0 */
	size_t cap;
	uint64_t size;
	int fd;
	bool shared; /* a value reads from fd: copy before the next change */
};

static int os_error(void)
{
	switch (errno) {
	case ENOSPC:
	case EDQUOT:
		return LEDGER_ENOSPC;
	case ENOMEM:
		return LEDGER_ENOMEM;
	case EFBIG:
		return LEDGER_ETOOBIG;
	default:
		return LEDGER_EIO;
	}
}

struct spool *spool_new(const char *dir)
{
	struct spool *s = calloc(1, sizeof(*s));

	if (s) {
		s->dir = dir;
		s->fd = -1;
	}
	return s;
}

void spool_free(struct spool *s)
{
	if (!s)
		return;
	if (s->fd >= 0)
		close(s->fd);
	free(s->mem);
	free(s);
}

uint64_t spool_size(const struct spool *s)
{
	return s->size;
}

/* An unlinked file: gone with its last descriptor, whatever happens to this process. */
static int unlinked_file(const char *dir)
{
	char name[4096];
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
		return fd;
	if (snprintf(name, sizeof(name), "%s/spool-XXXXXX", dir) >= (int)sizeof(name)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	fd = mkostemp(name, O_CLOEXEC);
	if (fd >= 0)
		unlink(name);
	return fd;
}

static int fd_write(int fd, const char *buf, size_t len, uint64_t off)
{
	while (len) {
		ssize_t n = pwrite(fd, buf, len, (off_t)off);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			return os_error();
		}
		buf += n;
		len -= (size_t)n;
		off += (uint64_t)n;
	}
	return 0;
}

static int move_to_disk(struct spool *s)
{
	int fd = unlinked_file(s->dir), r;

	if (fd < 0)
		return os_error();
	r = fd_write(fd, s->mem, s->size, 0);
	if (r) {
		close(fd);
		return r;
	}
	free(s->mem);
	s->mem = NULL;
	s->cap = 0;
	s->fd = fd;
	return 0;
}

/* Room for `size` bytes, wherever they will be. */
static int reserve(struct spool *s, uint64_t size)
{
	size_t cap = s->cap ? s->cap : 4096;
	char *mem;

	if (s->fd >= 0)
		return 0;
	if (size > SPOOL_MEMORY)
		return move_to_disk(s);
	if (size <= s->cap)
		return 0;
	while (cap < size)
		cap *= 2;
	mem = realloc(s->mem, cap);
	if (!mem)
		return LEDGER_ENOMEM;
	s->mem = mem;
	s->cap = cap;
	return 0;
}

ssize_t spool_pread(const struct spool *s, void *buf, size_t len, uint64_t off)
{
	size_t done = 0;

	if (off >= s->size)
		return 0;
	if (len > s->size - off)
		len = s->size - off;
	if (s->fd < 0) {
		memcpy(buf, s->mem + off, len);
		return (ssize_t)len;
	}
	while (done < len) {
		ssize_t n = pread(s->fd, (char *)buf + done, len - done, (off_t)(off + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return os_error();
		if (n == 0)
			return LEDGER_EIO;
		done += (size_t)n;
	}
	return (ssize_t)len;
}

/* A copy of [from, size) in an unlinked file of its own. */
static int copy_out(const struct spool *s, uint64_t from, int *out)
{
	int fd = unlinked_file(s->dir), r = 0;
	off_t in = (off_t)from;
	uint64_t left = s->size - from, done = 0;
	char *buf = NULL;

	if (fd < 0)
		return os_error();
	while (left) {
		ssize_t n = buf ? -1 : copy_file_range(s->fd, &in, fd, NULL, left, 0);

		if (n <= 0 && !buf) {
			buf = malloc(COPY_CHUNK);
			if (!buf) {
				r = LEDGER_ENOMEM;
				break;
			}
		}
		if (buf) {
			n = spool_pread(s, buf, COPY_CHUNK, from + done);
			r = n < 0 ? (int)n : fd_write(fd, buf, (size_t)n, done);
			if (r)
				break;
		}
		done += (uint64_t)n;
		left -= (uint64_t)n;
	}
	free(buf);
	if (r) {
		close(fd);
		return r;
	}
	*out = fd;
	return 0;
}

/* Before a change: what a value still reads from must not move under it. */
static int unshare(struct spool *s)
{
	int fd = -1, r;

	if (!s->shared)
		return 0;
	r = copy_out(s, 0, &fd);
	if (r)
		return r;
	close(s->fd);
	s->fd = fd;
	s->shared = false;
	return 0;
}

int spool_truncate(struct spool *s, uint64_t size)
{
	int r = unshare(s);

	if (!r)
		r = reserve(s, size);
	if (r)
		return r;
	if (s->fd >= 0) {
		if (ftruncate(s->fd, (off_t)size))
			return os_error();
	} else if (size > s->size) {
		memset(s->mem + s->size, 0, size - s->size);
	}
	s->size = size;
	return 0;
}

int spool_pwrite(struct spool *s, const void *buf, size_t len, uint64_t off)
{
	int r;

	if (len == 0)
		return 0;
	if (off > INT64_MAX - len)
		return LEDGER_ETOOBIG;
	r = unshare(s);
	if (!r)
		r = reserve(s, off + len);
	if (r)
		return r;
	if (s->fd >= 0) {
		r = fd_write(s->fd, buf, len, off);
		if (r)
			return r;
	} else {
		if (off > s->size)
			memset(s->mem + s->size, 0, off - s->size);
		memcpy(s->mem + off, buf, len);
	}
	if (off + len > s->size)
		s->size = off + len;
	return 0;
}

int spool_zero(struct spool *s, uint64_t off, uint64_t len)
{
	static const char zeros[65536];

	while (len) {
		size_t n = len < sizeof(zeros) ? len : sizeof(zeros);
		int r = spool_pwrite(s, zeros, n, off);

		if (r)
			return r;
		off += n;
		len -= n;
	}
	return 0;
}

int spool_load(struct spool *s, const struct ledger_value *v)
{
	uint64_t size = v ? ledger_value_size(v) : 0, off = 0;
	int r = spool_truncate(s, 0);
	char *buf;

	if (r || !size)
		return r;
	if (ledger_value_data(v))
		return spool_pwrite(s, ledger_value_data(v), size, 0);
	r = reserve(s, size);
	if (r)
		return r;
	buf = malloc(COPY_CHUNK);
	if (!buf)
		return LEDGER_ENOMEM;
	while (!r && off < size) {
		ssize_t n = ledger_value_pread(v, buf, COPY_CHUNK, off);

		if (n <= 0) {
			r = n < 0 ? (int)n : LEDGER_ECORRUPT;
			break;
		}
		r = spool_pwrite(s, buf, (size_t)n, off);
		off += (uint64_t)n;
	}
	free(buf);
	return r;
}

int spool_value(struct spool *s, struct ledger *l, uint64_t from, struct ledger_value **out)
{
	int fd = -1, r;

	if (from > s->size)
		return LEDGER_EINVALID;
	if (s->fd < 0)
		return ledger_value_new(l, s->mem ? s->mem + from : "", s->size - from, out);
	if (from) {
		r = copy_out(s, from, &fd);
	} else {
		fd = fcntl(s->fd, F_DUPFD_CLOEXEC, 0);
		r = fd < 0 ? LEDGER_EIO : 0;
		s->shared = fd >= 0;
	}
	return r ? r : ledger_value_new_fd(l, fd, s->size - from, out);
}
