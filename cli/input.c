/* SPDX-License-Identifier: MIT */
/*
 * Values from files and pipes.
 *
 * A value is taken whole before anything is decided: the ledger hashes and stores what does not change any more, and a
 * file that somebody is writing to could be hashed in one state and stored in another.  So: small ones in memory, large
 * ones in an unlinked file beside the repository (where there is room for the value anyway).
 */
#include "write.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define IN_MEMORY (4u << 20)

static int open_spool(const struct kv *kv)
{
	char name[] = "/tmp/git-kv-XXXXXX";
	int fd = open(kv->gitdir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0)
		return fd;
	/* A file system without O_TMPFILE, or a repository that others own. */
	fd = mkostemp(name, O_CLOEXEC);
	if (fd >= 0)
		unlink(name);
	return fd;
}

/* As read(2) until `len` or the end. */
static ssize_t read_full(int fd, char *buf, size_t len)
{
	size_t n = 0;

	while (n < len) {
		ssize_t r = read(fd, buf + n, len - n);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -1;
		if (r == 0)
			break;
		n += (size_t)r;
	}
	return (ssize_t)n;
}

static int write_full(int fd, const char *buf, size_t len)
{
	while (len) {
		ssize_t w = write(fd, buf, len);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return -1;
		buf += w;
		len -= (size_t)w;
	}
	return 0;
}

/* What did not fit into `buf` goes on into a file; `n` bytes are in `buf`. */
static int spool(struct kv *kv, int fd, const char *name, char *buf, size_t n, struct ledger_value **out)
{
	uint64_t size = 0;
	int to = open_spool(kv), rc;
	ssize_t got = (ssize_t)n;

	if (to < 0) {
		say_error("cannot make room for '%s': %s", name, strerror(errno));
		return KV_IO;
	}
	while (got > 0) {
		if (write_full(to, buf, (size_t)got) < 0) {
			say_error("cannot make room for '%s': %s", name, strerror(errno));
			close(to);
			return KV_IO;
		}
		size += (uint64_t)got;
		got = read_full(fd, buf, IN_MEMORY);
	}
	if (got < 0) {
		say_error("cannot read '%s': %s", name, strerror(errno));
		close(to);
		return KV_IO;
	}
	rc = ledger_value_new_fd(kv->ledger, to, size, out);
	return rc ? say_ledger(rc, "value of %" PRIu64 " bytes from '%s'", size, name) : 0;
}

int input_value(struct kv *kv, int fd, const char *name, struct ledger_value **out)
{
	char *buf = xcalloc(IN_MEMORY, 1);
	ssize_t n = read_full(fd, buf, IN_MEMORY);
	int status = 0, rc;

	if (n < 0) {
		say_error("cannot read '%s': %s", name, strerror(errno));
		status = KV_IO;
	} else if (n < (ssize_t)IN_MEMORY) {
		rc = ledger_value_new(kv->ledger, buf, (size_t)n, out);
		if (rc)
			status = say_ledger(rc, "value from '%s'", name);
	} else {
		status = spool(kv, fd, name, buf, (size_t)n, out);
	}
	free(buf);
	return status;
}

int input_file(struct kv *kv, const char *path, struct ledger_value **out)
{
	struct stat st;
	int fd, status;

	if (strcmp(path, "-") == 0)
		return input_value(kv, 0, "standard input", out);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0) {
		say_error("cannot open '%s': %s", path, strerror(errno));
		status = KV_IO;
	} else if (S_ISDIR(st.st_mode)) {
		say_error("'%s' is a directory; a value is wanted", path);
		status = KV_IO;
	} else {
		status = input_value(kv, fd, path, out);
	}
	if (fd >= 0)
		close(fd);
	return status;
}
