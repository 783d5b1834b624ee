/* SPDX-License-Identifier: MIT */
#include "io.h"
#include "refs.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int open_log(int dirfd, const char *path, bool create)
{
	char dir[PATH_MAX];
	int fd = io_open(dirfd, path, O_WRONLY | O_APPEND, 0);

	if (fd >= 0 || errno != ENOENT || !create)
		return fd;
	snprintf(dir, sizeof(dir), "%s", path);
	for (char *p = strchr(dir, '/'); p; p = strchr(p + 1, '/')) {
		*p = 0;
		if (io_mkdir(dirfd, dir) < 0 && errno != EEXIST)
			return -1;
		*p = '/';
	}
	return io_open(dirfd, path, O_WRONLY | O_APPEND | O_CREAT, 0666);
}

void reflog_append(const struct reflog *l, int dirfd, const char *name, const struct ledger_oid *from,
		   const struct ledger_oid *to, const char *why)
{
	char path[PATH_MAX], line[2048], a[LEDGER_OID_HEXSIZE + 1], b[LEDGER_OID_HEXSIZE + 1];
	time_t now = time(NULL);
	struct tm tm;
	int fd, n, tz;

	snprintf(path, sizeof(path), "logs/%s", name);
	fd = open_log(dirfd, path, l->always);
	if (fd < 0)
		return;
	localtime_r(&now, &tm);
	tz = (int)(tm.tm_gmtoff / 60);
	n = snprintf(line, sizeof(line) - 1, "%s %s %s %lld %c%02d%02d\t%.1000s", ledger_oid_fmt(a, from),
		     ledger_oid_fmt(b, to), l->ident, (long long)now, tz < 0 ? '-' : '+', (tz < 0 ? -tz : tz) / 60,
		     (tz < 0 ? -tz : tz) % 60, why);
	for (char *p = strchr(line, '\t') + 1; *p; p++)
		if (*p == '\n')
			*p = ' ';
	line[n++] = '\n';
	/* O_APPEND: the offset is the kernel's. */
	io_pwrite(fd, line, (size_t)n, 0);
	io_close(fd);
}

void reflog_delete(int dirfd, const char *name)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "logs/%s", name);
	io_unlink(dirfd, path);
	reflock_prune_dirs(dirfd, path);
}
