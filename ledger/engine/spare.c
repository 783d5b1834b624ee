/* SPDX-License-Identifier: MIT */
/*
 * Files that are written anew instead of being removed and created.  On ext4 without a journal a new inode costs up to a
 * millisecond when many were deleted in the last minutes, because its allocator looks at each of these; elsewhere it costs
 * what a rename does.
 *
 * Nobody may see a file change that he has open.  So one is written anew only under a write lease, which the kernel gives
 * when there is no other open file and no mapping of it, and which makes who opens it wait until it ends (fcntl(2),
 * "Leases").  Nor may it have another name, as in a backup of hard links.  Where there are no leases nothing is kept.  The
 * lease ends before the file gets its new name, so nobody who goes by names waits, not even for a process that is stopped.
 *
 * Spares are kv/<id>/f<n>, taken in the order in which they came.
 */
#include "engine.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#define SPARES_MAX 4096

/* Who waits for the lease's end makes the kernel send SIGIO: to the keeper, which blocks it. */
static int lease(struct store *s, int fd)
{
	struct f_owner_ex owner = {F_OWNER_TID, atomic_load(&s->keeper_tid)};

	return fcntl(fd, F_SETOWN_EX, &owner) < 0 || fcntl(fd, F_SETLEASE, F_WRLCK) < 0 ? -1 : 0;
}

int spare_open(struct store *s, const char *path)
{
	struct stat st;
	int fd;

	if (atomic_load(&s->no_spares) || !atomic_load(&s->keeper_tid))
		return -1;
	fd = io_open(s->dirfd, path, O_RDWR | O_NOFOLLOW, 0);
	if (fd < 0)
		return -1;
	if (lease(s, fd) < 0)
		atomic_store(&s->no_spares, errno != EAGAIN);
	else if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 && st.st_uid == geteuid())
		return fd;
	io_close(fd);
	return -1;
}

int spare_fill(int fd, const void *buf, size_t len)
{
	struct stat st;

	if (io_pwrite(fd, buf, len, 0) < 0 || fstat(fd, &st) < 0 ||
	    (st.st_size > (off_t)len && io_ftruncate(fd, (off_t)len) < 0))
		return -1;
	fcntl(fd, F_SETLEASE, F_UNLCK);
	return 0;
}

int spare_take(struct store *s, char path[64])
{
	int fd = -1;

	pthread_mutex_lock(&s->spare_mu);
	while (fd < 0 && s->spare_first < s->spare_next && !atomic_load(&s->no_spares)) {
		store_tmp(s, path, "f", s->spare_first++);
		fd = spare_open(s, path);
		if (fd < 0)
			io_unlink(s->dirfd, path);
	}
	pthread_mutex_unlock(&s->spare_mu);
	return fd;
}

void spare_keep(struct store *s, const char *path)
{
	char to[64];
	bool kept = false;

	pthread_mutex_lock(&s->spare_mu);
	if (s->spare_next - s->spare_first < SPARES_MAX && !atomic_load(&s->no_spares)) {
		store_tmp(s, to, "f", s->spare_next);
		kept = io_rename(s->dirfd, path, to) == 0;
		s->spare_next += kept;
	}
	pthread_mutex_unlock(&s->spare_mu);
	if (!kept)
		io_unlink(s->dirfd, path);
}

void spares_clear(struct store *s)
{
	char path[64];

	pthread_mutex_lock(&s->spare_mu);
	for (; s->spare_first < s->spare_next; s->spare_first++) {
		store_tmp(s, path, "f", s->spare_first);
		io_unlink(s->dirfd, path);
	}
	pthread_mutex_unlock(&s->spare_mu);
}
