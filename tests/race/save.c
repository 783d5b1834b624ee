/* SPDX-License-Identifier: MIT */
#include "racer.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define VALUE_MAX (4 << 20)

const char *const save_way_names[SAVE_WAYS] = {"trunc", "fsync", "parts", "rename", "append", "create"};

_Noreturn void die(const char *what, const char *which)
{
	fprintf(stderr, "racer: %s: %s: %s\n", what, which, strerror(errno));
	exit(2);
}

static int write_all(int fd, const char *data, size_t len, size_t step)
{
	while (len) {
		ssize_t n = write(fd, data, len < step ? len : step);

		if (n < 0)
			return errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/*
 * The close is made in any case; its error counts when nothing failed before.  After an EAGAIN of fsync it is what counts:
 * a conflict fails both, but where others held git's lock of the ref for too long, the close may have saved after all.
 */
static int finish(int fd, int err)
{
	if (close(fd))
		return err ? err : errno;
	return err == EAGAIN ? 0 : err;
}

static int save_by_rename(const char *key, const char *id, const void *data, size_t len)
{
	char temp[256];
	const char *slash = strrchr(key, '/');
	int dir = slash ? (int)(slash + 1 - key) : 0, fd, err;

	snprintf(temp, sizeof temp, "%.*s.goutputstream-%s", dir, key, id);
	fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return errno;
	err = finish(fd, write_all(fd, data, len, len));
	if (!err && rename(temp, key))
		err = errno;
	if (err)
		unlink(temp);
	return err;
}

int save(enum save_way way, const char *key, const char *id, const void *data, size_t len)
{
	int flags = O_WRONLY | O_CREAT | O_CLOEXEC, err, fd;

	if (way == SAVE_RENAME)
		return save_by_rename(key, id, data, len);
	flags |= way == SAVE_APPEND ? O_APPEND : way == SAVE_CREATE ? O_EXCL : O_TRUNC;
	fd = open(key, flags, 0644);
	if (fd < 0)
		return errno;
	err = write_all(fd, data, len, way == SAVE_PARTS ? len / 3 + 1 : len);
	if (!err && way == SAVE_TRUNC_FSYNC && fsync(fd))
		err = errno;
	return finish(fd, err);
}

int save_swap(const char *key, const char *oid, const void *data, size_t len)
{
	char path[256], name[320];
	const char *base = strrchr(key, '/');

	if (strcmp(oid, "absent")) {
		snprintf(name, sizeof name, "user.kv.swap.%s", oid);
		return setxattr(key, name, data, len, 0) ? errno : 0;
	}
	snprintf(path, sizeof path, "%.*s", base ? (int)(base - key) : 1, base ? key : ".");
	snprintf(name, sizeof name, "user.kv.swap.absent.%s", base ? base + 1 : key);
	return setxattr(path, name, data, len, 0) ? errno : 0;
}

static int load_mmap(int fd, char *buf, size_t *len)
{
	struct stat st;
	void *map;

	if (fstat(fd, &st))
		return errno;
	*len = (size_t)st.st_size;
	if (!*len)
		return 0;
	if (*len > VALUE_MAX)
		return EFBIG;
	map = mmap(NULL, *len, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		return errno;
	memcpy(buf, map, *len);
	munmap(map, *len);
	return 0;
}

static int load_read(int fd, char *buf, size_t *len)
{
	for (*len = 0; *len < VALUE_MAX;) {
		ssize_t n = read(fd, buf + *len, VALUE_MAX - *len);

		if (n < 0)
			return errno;
		if (!n)
			return 0;
		*len += (size_t)n;
	}
	return EFBIG;
}

int load(const char *key, bool by_mmap, const char **data, size_t *len)
{
	static char buf[VALUE_MAX];
	int fd = open(key, O_RDONLY | O_CLOEXEC), err;

	if (fd < 0)
		return errno;
	err = by_mmap ? load_mmap(fd, buf, len) : load_read(fd, buf, len);
	close(fd);
	*data = buf;
	return err;
}
