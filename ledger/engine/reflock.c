/* SPDX-License-Identifier: MIT */
#include "../fail.h"
#include "io.h"
#include "refs.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void lock_path(char out[PATH_MAX], const char *path)
{
	snprintf(out, PATH_MAX, "%s.lock", path);
}

/* The directories above `path`; EEXISTS when one of them is a file: a ref. */
static int make_parents(int dirfd, const char *path)
{
	char dir[PATH_MAX];

	snprintf(dir, sizeof(dir), "%s", path);
	for (char *p = strchr(dir, '/'); p; p = strchr(p + 1, '/')) {
		*p = 0;
		if (io_mkdir(dirfd, dir) < 0 && errno != EEXIST) {
			if (errno == ENOTDIR)
				return ledger_fail(LEDGER_EEXISTS, "%s is below another ref", path);
			return ledger_fail(io_code(errno), "%s: %s", dir, strerror(errno));
		}
		*p = '/';
	}
	return 0;
}

/* One try, as link(2) does it: EEXIST when the lock is taken. */
static int try_link(int dirfd, const struct owner *o, const char *lock)
{
	char marker[OWNER_DIR_MAX + 8], line[64];
	int len;

	if (o->links) {
		snprintf(marker, sizeof(marker), "%s/lock", o->dir);
		return io_link(dirfd, marker, lock);
	}
	/* Without hard links, a crash between creation and write leaves a lock that nobody can be told of. */
	len = snprintf(line, sizeof(line), "ledgerfs %s pid %ld\n", o->dir + 3, (long)getpid());
	return io_write_file(dirfd, lock, line, (size_t)len, 0666, false);
}

int reflock_take(int dirfd, const struct owner *o, const char *path)
{
	char lock[PATH_MAX];
	int r;

	if (strlen(path) > REF_MAX)
		return ledger_fail(LEDGER_ENAMETOOLONG, "%.80s...: a ref's name of more than %d bytes", path, REF_MAX);
	lock_path(lock, path);
	/* git's gc and pack-refs remove empty directories while we make them: a few rounds. */
	for (int i = 0; i < 5; i++) {
		if (try_link(dirfd, o, lock) == 0)
			return 0;
		if (errno == EEXIST)
			return ledger_fail(LEDGER_ELOCKED, "%s is locked", path);
		if (errno == ENOTDIR)
			return ledger_fail(LEDGER_EEXISTS, "%s is below another ref", path);
		if (errno != ENOENT)
			break;
		r = make_parents(dirfd, path);
		if (r < 0)
			return r;
		errno = ENOENT;
	}
	return ledger_fail(io_code(errno), "%s: %s", lock, strerror(errno));
}

int reflock_drop(int dirfd, struct owner *o, const char *path)
{
	char lock[PATH_MAX];

	lock_path(lock, path);
	if (io_unlink(dirfd, lock) == 0 || errno == ENOENT)
		return 0;
	atomic_store(&o->left, true);
	return ledger_fail(io_code(errno), "%s: %s", lock, strerror(errno));
}

/* Removes a tree of empty directories; ENOTEMPTY when a file is in it. */
static int clear_dirs(int dirfd, const char *path)
{
	struct dirent *e;
	int fd, r = 0;
	DIR *d;

	if (io_rmdir(dirfd, path) == 0 || errno == ENOENT)
		return 0;
	if (errno != ENOTEMPTY && errno != EEXIST)
		return -1;
	fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	while (!r && (e = readdir(d))) {
		char sub[PATH_MAX];

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (snprintf(sub, sizeof(sub), "%s/%s", path, e->d_name) >= (int)sizeof(sub))
			r = -1;
		else
			r = clear_dirs(dirfd, sub);
	}
	closedir(d);
	return r ? r : io_rmdir(dirfd, path);
}

int reflock_clear_dir(int dirfd, const char *name)
{
	struct stat st;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
		return 0;
	if (clear_dirs(dirfd, name) == 0)
		return 0;
	return ledger_fail(LEDGER_EEXISTS, "%s: refs are below it", name);
}

void reflock_prune_dirs(int dirfd, const char *name)
{
	char dir[PATH_MAX];
	char *p;

	snprintf(dir, sizeof(dir), "%s", name);
	while ((p = strrchr(dir, '/'))) {
		*p = 0;
		/* "refs/kv" itself stays, as git leaves refs/heads. */
		if (!strchr(dir, '/') || !strchr(strchr(dir, '/') + 1, '/') || io_rmdir(dirfd, dir) < 0)
			return;
	}
}

static int sweep_file(int dirfd, const char *path, uint64_t owner)
{
	uint64_t id;

	if (!owner_of_lock(dirfd, path, &id) || id != owner)
		return 0;
	if (io_unlink(dirfd, path) < 0 && errno != ENOENT)
		return ledger_fail(io_code(errno), "%s: %s", path, strerror(errno));
	return 1;
}

static int sweep_dir(int dirfd, const char *path, uint64_t owner)
{
	struct dirent *e;
	int fd, n = 0;
	DIR *d;

	fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		if (fd >= 0)
			close(fd);
		return fd < 0 && errno == ENOENT ? 0 : ledger_fail(LEDGER_EIO, "%s: cannot be read", path);
	}
	while ((e = readdir(d))) {
		size_t len = strlen(e->d_name);
		char sub[PATH_MAX];
		int r = 0;

		if (e->d_name[0] == '.' || snprintf(sub, sizeof(sub), "%s/%s", path, e->d_name) >= (int)sizeof(sub))
			continue;
		if (len > 5 && strcmp(e->d_name + len - 5, ".lock") == 0)
			r = sweep_file(dirfd, sub, owner);
		else if (e->d_type == DT_DIR || e->d_type == DT_UNKNOWN)
			r = sweep_dir(dirfd, sub, owner);
		if (r < 0 && e->d_type != DT_UNKNOWN) {
			n = r;
			break;
		}
		n += r > 0 ? r : 0;
	}
	closedir(d);
	return n;
}

int reflock_sweep(int dirfd, uint64_t owner)
{
	int n = sweep_file(dirfd, "packed-refs.lock", owner), m;

	if (n < 0)
		return n;
	m = sweep_dir(dirfd, "refs", owner);
	return m < 0 ? m : n + m;
}
