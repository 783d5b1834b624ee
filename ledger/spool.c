/* SPDX-License-Identifier: MIT */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* An unlinked file in `dir`; -1 with errno. */
static int open_in(const char *dir)
{
	char path[4096];
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
		return fd;
	if (snprintf(path, sizeof(path), "%s/ledger-XXXXXX", dir) >= (int)sizeof(path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	return fd;
}

/* Beside the objects first: there the bytes have room where they are to go, and need not fit into a tmpfs. */
int spool_open(struct ledger *l)
{
	const char *tmp = getenv("TMPDIR");
	char dir[4096];
	int fd = -1;

	if (!l->readonly && snprintf(dir, sizeof(dir), "%s/kv", l->gitdir) < (int)sizeof(dir) - 4) {
		mkdir(dir, 0777);
		strcat(dir, "/tmp");
		mkdir(dir, 0700);
		fd = open_in(dir);
		if (fd < 0 && (errno == ENOSPC || errno == EDQUOT))
			return ledger_fail_errno(errno, "cannot make a temporary file in %s", dir);
	}
	if (fd < 0)
		fd = open_in(tmp && *tmp ? tmp : "/var/tmp");
	if (fd < 0)
		fd = open_in("/tmp");
	return fd >= 0 ? fd : ledger_fail_errno(errno, "cannot make a temporary file");
}
