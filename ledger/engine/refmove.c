/* SPDX-License-Identifier: MIT */
/*
 * A ref's value is replaced by renameat2(RENAME_EXCHANGE) with a fresh file: a rename over a file that is there costs
 * 20 times as much on ext4 without a journal (it flushes what it replaces), and writing in place tears for readers.
 */
#include "../fail.h"
#include "io.h"
#include "refs.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void refmove_line(char line[REF_LINE], const struct ledger_oid *oid)
{
	char hex[LEDGER_OID_HEXSIZE + 1];

	memcpy(line, ledger_oid_fmt(hex, oid), LEDGER_OID_HEXSIZE);
	line[LEDGER_OID_HEXSIZE] = '\n';
}

int refmove_prepare(int dirfd, const char *tmp, const struct ledger_oid *to, bool sync)
{
	char line[REF_LINE];
	int err;

	refmove_line(line, to);
	for (int i = 0;; i++) {
		if (io_write_file(dirfd, tmp, line, REF_LINE, 0666, sync) == 0)
			return 0;
		err = errno;
		if (i || err != EEXIST)
			return ledger_fail(io_code(err), "%s: %s", tmp, strerror(err));
		io_unlink(dirfd, tmp);
	}
}

/* Readers that keep a descriptor take the old value for current while it has a name and the time that it had. */
static bool mark_old(int dirfd, const char *path)
{
	const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = REFMOVE_OLD}};

	return utimensat(dirfd, path, times, AT_SYMLINK_NOFOLLOW) == 0; /* a time is nothing to the disk: not through io.h */
}

int refmove_place(int dirfd, const char *tmp, const char *name, bool keep)
{
	struct stat st;
	int r, err;

	/* The exchange would swap with a directory too. */
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno != ENOENT)
			return ledger_fail(io_code(errno), "%s: %s", name, strerror(errno));
	} else if (S_ISDIR(st.st_mode)) {
		r = reflock_clear_dir(dirfd, name);
		if (r < 0)
			return r;
	} else if (io_exchange(dirfd, tmp, name) == 0) {
		if (keep && mark_old(dirfd, tmp))
			return REFMOVE_KEPT;
		if (io_unlink(dirfd, tmp) == 0)
			return 0;
		err = errno;
		if (io_exchange(dirfd, tmp, name) == 0)
			return ledger_fail(io_code(err), "%s: %s", tmp, strerror(err));
		return 0; /* moved, and the old value's name is private: the move stands */
	} else if (errno != EINVAL && errno != ENOSYS && errno != ENOENT) {
		return ledger_fail(io_code(errno), "%s: %s", name, strerror(errno));
	}
	/* Absent (packed, or new), or a file system without the exchange.  The lock keeps other writers away. */
	if (io_rename(dirfd, tmp, name) == 0)
		return 0;
	return ledger_fail(io_code(errno), "%s: %s", name, strerror(errno));
}

int refmove_sync(int dirfd, const char *name)
{
	char dir[PATH_MAX];
	int fd, r, err;
	char *p;

	fd = io_open(dirfd, name, O_RDONLY | O_NOFOLLOW, 0);
	if (fd >= 0) {
		r = io_fsync(fd);
		err = errno;
		io_close(fd);
		if (r < 0)
			return ledger_fail(LEDGER_EDEAD, "%s: fsync: %s", name, strerror(err));
	} else if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP) {
		return ledger_fail(io_code(errno), "%s: %s", name, strerror(errno));
	}
	snprintf(dir, sizeof(dir), "%s", name);
	while ((p = strrchr(dir, '/'))) {
		*p = 0;
		r = io_sync_names(dirfd, dir);
		if (r < 0 && r != LEDGER_ENOTFOUND)
			return r;
	}
	return 0;
}

/* packed-refs without the ref, at `tmp`; ENOTFOUND when it has none. */
static int rewrite_packed(int dirfd, const char *tmp, const char *name, bool sync)
{
	char *data, *in, *out, *end;
	size_t nlen = strlen(name), len;
	int r = LEDGER_ENOTFOUND;
	void *file;
	bool skip = false;

	if (io_read_file(dirfd, "packed-refs", &file, &len) < 0)
		return errno == ENOENT ? LEDGER_ENOTFOUND : ledger_fail(io_code(errno), "packed-refs: %s", strerror(errno));
	data = file;
	end = data + len;
	for (in = out = data; in < end;) {
		char *nl = memchr(in, '\n', (size_t)(end - in));
		size_t n = nl ? (size_t)(nl - in) + 1 : (size_t)(end - in);

		if (*in != '^') /* a peeled value goes with its ref */
			skip = n == nlen + LEDGER_OID_HEXSIZE + 2 && in[LEDGER_OID_HEXSIZE] == ' ' &&
			       memcmp(in + LEDGER_OID_HEXSIZE + 1, name, nlen) == 0;
		if (skip) {
			r = 0;
		} else {
			memmove(out, in, n);
			out += n;
		}
		in += n;
	}
	if (!r) {
		io_unlink(dirfd, tmp);
		if (io_write_file(dirfd, tmp, data, (size_t)(out - data), 0666, sync) < 0)
			r = ledger_fail(io_code(errno), "%s: %s", tmp, strerror(errno));
	}
	free(data);
	return r;
}

#define PACKED_WAIT_MS 1000 /* git's core.packedRefsTimeout */

static int lock_packed(int dirfd, const struct owner *o)
{
	struct timespec nap = {0, 1000000};
	uint64_t id;
	int r;

	/* There is no event for a foreign lock that goes: git itself tries again so. */
	for (int waited = 0;; waited += (int)(nap.tv_nsec / 1000000)) {
		r = reflock_take(dirfd, o, "packed-refs");
		if (r == LEDGER_ELOCKED && atomic_load(&o->left) && owner_of_lock(dirfd, "packed-refs.lock", &id) &&
		    id == o->id && io_unlink(dirfd, "packed-refs.lock") == 0)
			r = reflock_take(dirfd, o, "packed-refs"); /* only the group's thread takes it: a lock that stayed */
		if (r != LEDGER_ELOCKED || waited >= PACKED_WAIT_MS)
			return r;
		nanosleep(&nap, NULL);
		if (nap.tv_nsec < 64000000)
			nap.tv_nsec += nap.tv_nsec / 2;
	}
}

static int delete_packed(struct refs *r, struct owner *o, const char *tmp, const char *name, bool sync)
{
	int ret = lock_packed(r->dirfd, o);

	if (ret < 0)
		return ret;
	ret = rewrite_packed(r->dirfd, tmp, name, sync);
	if (!ret && io_rename(r->dirfd, tmp, "packed-refs") < 0)
		ret = ledger_fail(io_code(errno), "packed-refs: %s", strerror(errno));
	if (!ret && sync)
		ret = io_sync_names(r->dirfd, ".");
	/* The value is gone by now, and to fail would be a lie.  A lock that stays is seen to below, or at the owner's end.
	 */
	reflock_drop(r->dirfd, o, "packed-refs");
	return ret == LEDGER_ENOTFOUND ? 0 : ret;
}

int refmove_delete(struct refs *r, struct owner *o, const char *tmp, const char *name, bool sync)
{
	struct ledger_oid oid;
	int ret;

	/* Packed first: the other way round, the old packed value would come back in between. */
	ret = refs_read_packed(r, name, &oid);
	if (!ret)
		ret = delete_packed(r, o, tmp, name, sync);
	if (ret < 0 && ret != LEDGER_ENOTFOUND)
		return ret;
	if (io_unlink(r->dirfd, name) < 0 && errno != ENOENT && errno != ENOTDIR && errno != EISDIR)
		return ledger_fail(io_code(errno), "%s: %s", name, strerror(errno));
	return 0;
}
