/* SPDX-License-Identifier: MIT */
/*
 * Values from files and pipes.
 *
 * A value is taken whole before anything is decided: the ledger hashes and stores what does not change any more, and a
 * file that somebody is writing to could be hashed in one state and stored in another.  So: small ones in memory, large
 * ones in a draft of the ledger.
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

/* What did not fit into `buf` goes on into a draft; `n` bytes are in `buf`. */
static int spool(struct kv *kv, int fd, const char *name, char *buf, size_t n, struct ledger_value **out)
{
	struct ledger_draft *d = NULL;
	uint64_t size = 0;
	ssize_t got = (ssize_t)n;
	int rc = ledger_draft_new(kv->ledger, &d), status = 0;

	while (!rc && got > 0) {
		rc = ledger_draft_pwrite(d, buf, (size_t)got, size);
		size += (uint64_t)got;
		got = read_full(fd, buf, IN_MEMORY);
	}
	if (!rc && got < 0) {
		say_error("cannot read '%s': %s", name, strerror(errno));
		status = KV_IO;
	} else {
		if (!rc)
			rc = ledger_draft_value(d, out);
		status = rc ? say_ledger(rc, "value of %" PRIu64 " bytes from '%s'", size, name) : 0;
	}
	ledger_draft_free(d);
	return status;
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
