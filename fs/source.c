/* SPDX-License-Identifier: MIT */
/*
 * What a process copies from: programs that copy a file have read as much of it as they have written.  A guess, which
 * decides about nothing but speed.
 */
#include "proc.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define AHEAD (16u << 20) /* a copier has no more than this in its buffers */
#define LOOKS_MAX 256     /* descriptors */

/* What fdinfo says of one that is open for reading only. */
static bool read_info(int dirfd, const char *name, uint64_t *pos)
{
	char text[256], *p;
	int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return false;
	text[n] = 0;
	p = strstr(text, "flags:");
	if (strncmp(text, "pos:", 4) != 0 || !p || (strtol(p + 6, NULL, 8) & O_ACCMODE) != O_RDONLY)
		return false;
	*pos = strtoull(text + 4, NULL, 10);
	return true;
}

/* The size of the regular file behind a descriptor; 0: none.  Asks no file system, which might be us. */
static uint64_t size_of(pid_t tid, const char *name)
{
	char path[64];
	struct statx st;

	snprintf(path, sizeof(path), "/proc/%d/fd/%.12s", (int)tid, name);
	if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, STATX_TYPE | STATX_SIZE, &st) || !S_ISREG(st.stx_mode))
		return 0;
	return st.stx_size;
}

uint64_t proc_source_size(pid_t tid, uint64_t written)
{
	uint64_t pos, size = 0;
	struct dirent *e;
	char path[40];
	int looks = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo", (int)tid);
	d = opendir(path);
	while (d && !size && looks++ < LOOKS_MAX && (e = readdir(d))) {
		if (e->d_name[0] == '.' || !read_info(dirfd(d), e->d_name, &pos) || pos < written || pos - written > AHEAD)
			continue;
		size = size_of(tid, e->d_name);
		if (size < pos)
			size = 0;
	}
	if (d)
		closedir(d);
	return size;
}
