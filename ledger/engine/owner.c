/* SPDX-License-Identifier: MIT */
#include "owner.h"

#include "../fail.h"
#include "io.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

#define FORMAT "ledgerfs 1\n"

int owner_check_format(int dirfd)
{
	char buf[32] = "";
	int fd = openat(dirfd, "kv/format", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0) {
		if (errno == ENOENT)
			return 0;
		return ledger_fail(errno == ENOTDIR ? LEDGER_EREPO : io_code(errno), "kv/format: %s", strerror(errno));
	}
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	if (n < 0)
		return ledger_fail(LEDGER_EIO, "kv/format: %s", strerror(errno));
	buf[strcspn(buf, "\n")] = 0;
	if (n == sizeof(FORMAT) - 1 && memcmp(buf, FORMAT, sizeof(FORMAT) - 2) == 0)
		return 0;
	return ledger_fail(LEDGER_EREPO, "kv/format says \"%s\", this program knows \"ledgerfs 1\"", buf);
}

/* kv and kv/format, once in the life of a repository. */
static int make_kv(int dirfd, bool sync)
{
	int err;

	if (faccessat(dirfd, "kv/format", F_OK, 0) == 0)
		return 0;
	if (io_mkdir(dirfd, "kv") < 0 && errno != EEXIST)
		return -1;
	/* HEAD, config and the directories of a fresh repository may never have reached the disk. */
	if (sync && io_syncfs(dirfd) < 0)
		return -1;
	io_unlink(dirfd, "kv/format.new");
	if (io_write_file(dirfd, "kv/format.new", FORMAT, sizeof(FORMAT) - 1, 0666, sync) < 0 ||
	    io_rename(dirfd, "kv/format.new", "kv/format") < 0)
		return -1;
	if (!sync || (io_fsync_dir(dirfd, "kv") == 0 && io_fsync_dir(dirfd, ".") == 0))
		return 0;
	/* Its name stands for all this being on the disk: without it a power cut would hide every journal. */
	err = errno;
	io_unlink(dirfd, "kv/format");
	errno = err;
	return -1;
}

int owner_kv_lock(int dirfd, bool create)
{
	int fd;

	if (!create && faccessat(dirfd, "kv/format", F_OK, 0) < 0)
		return LEDGER_ENOTFOUND;
	if (create && io_mkdir(dirfd, "kv") < 0 && errno != EEXIST)
		return ledger_fail(io_code(errno), "kv: %s", strerror(errno));
	fd = io_open(dirfd, "kv/lock", O_RDWR | O_CREAT, 0666);
	if (fd < 0)
		return ledger_fail(io_code(errno), "kv/lock: %s", strerror(errno));
	while (flock(fd, LOCK_EX) < 0)
		if (errno != EINTR) {
			int err = errno;

			io_close(fd);
			return ledger_fail(LEDGER_EIO, "kv/lock: %s", strerror(err));
		}
	return fd;
}

void owner_dir(char out[OWNER_DIR_MAX], uint64_t id)
{
	snprintf(out, OWNER_DIR_MAX, "kv/%016" PRIx64, id);
}

static int make_own(struct owner *o, int dirfd, bool sync)
{
	char line[64], path[OWNER_DIR_MAX + 8], probe[OWNER_DIR_MAX + 8];

	if (io_mkdir(dirfd, o->dir) < 0)
		return -1;
	o->fd = io_open(dirfd, o->dir, O_RDONLY | O_DIRECTORY, 0);
	if (o->fd < 0 || flock(o->fd, LOCK_EX | LOCK_NB) < 0)
		return -1;
	snprintf(line, sizeof(line), "ledgerfs %016" PRIx64 " pid %ld\n", o->id, (long)getpid());
	snprintf(path, sizeof(path), "%s/lock", o->dir);
	if (io_write_file(dirfd, path, line, strlen(line), 0666, sync) < 0)
		return -1;
	snprintf(probe, sizeof(probe), "%s/probe", o->dir);
	o->links = io_link(dirfd, path, probe) == 0;
	if (o->links && io_unlink(dirfd, probe) < 0)
		return -1;
	return 0;
}

int owner_create(struct owner *o, int dirfd, bool sync)
{
	int lock, r = 0;

	o->fd = -1;
	atomic_store(&o->left, false);
	r = owner_check_format(dirfd);
	if (r < 0)
		return r;
	lock = owner_kv_lock(dirfd, true);
	if (lock < 0)
		return lock;
	do {
		if (getrandom(&o->id, sizeof(o->id), 0) != sizeof(o->id)) {
			r = ledger_fail(LEDGER_EIO, "getrandom: %s", strerror(errno));
			break;
		}
		owner_dir(o->dir, o->id);
		if (make_kv(dirfd, sync) == 0 && make_own(o, dirfd, sync) == 0)
			break;
		r = errno == EEXIST ? 1 : ledger_fail(io_code(errno), "kv: %s", strerror(errno));
		owner_release(o, dirfd);
	} while (r > 0);
	io_close(lock);
	return r;
}

void owner_release(struct owner *o, int dirfd)
{
	char path[OWNER_DIR_MAX + 8];

	if (o->fd < 0)
		return;
	snprintf(path, sizeof(path), "%s/lock", o->dir);
	io_unlink(dirfd, path);
	/* Refused while it holds a journal: then the next opener takes the directory for a dead owner's, as it should. */
	io_rmdir(dirfd, o->dir);
	owner_abandon(o);
}

void owner_abandon(struct owner *o)
{
	io_close(o->fd);
	o->fd = -1;
}

int owner_seize(int dirfd, uint64_t id)
{
	char dir[OWNER_DIR_MAX];
	int fd;

	owner_dir(dir, id);
	fd = openat(dirfd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -2 : -1;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	close(fd);
	return -1;
}

static bool parse_id(const char *hex, uint64_t *id)
{
	uint64_t v = 0;

	for (int i = 0; i < 16; i++) {
		char c = hex[i];

		if (c >= '0' && c <= '9')
			v = v << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			v = v << 4 | (uint64_t)(c - 'a' + 10);
		else
			return false;
	}
	*id = v;
	return true;
}

bool owner_parse(const char *name, uint64_t *id)
{
	return strlen(name) == 16 && parse_id(name, id);
}

bool owner_of_lock(int dirfd, const char *path, uint64_t *id)
{
	char buf[64];
	int fd = openat(dirfd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	if (n < 25 || memcmp(buf, "ledgerfs ", 9) != 0)
		return false;
	return parse_id(buf + 9, id);
}
