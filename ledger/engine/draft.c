/* SPDX-License-Identifier: MIT */
#include "draft.h"

#include "delta.h"
#include "engine.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define START (8u << 20) /* so many bytes are worth a request to begin writing */
#define PIECE (1u << 20)

static int fail(const char *what)
{
	return ledger_fail(io_code(errno), "%s: %s", what, strerror(errno));
}

/* --- its file ------------------------------------------------------------------------------------------------------- */

/* Where file systems make no files without a name: one that loses its name at once. */
static int open_named(int dirfd)
{
	static atomic_uint last;
	char name[64];
	int fd, err;

	snprintf(name, sizeof(name), "draft-%d-%u", (int)getpid(), atomic_fetch_add(&last, 1));
	fd = io_open(dirfd, name, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd >= 0 && io_unlink(dirfd, name) < 0) {
		err = errno;
		io_close(fd);
		errno = err;
		return -1;
	}
	return fd;
}

static int open_file(int dirfd, bool *named)
{
	int fd = io_open(dirfd, PACK_DIR, O_TMPFILE | O_RDWR, 0600);

	*named = false;
	if (fd < 0 && errno == ENOENT && io_mkdir(dirfd, PACK_DIR) == 0) /* a foreign gc may have removed it, empty */
		fd = io_open(dirfd, PACK_DIR, O_TMPFILE | O_RDWR, 0600);
	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
		return fd;
	*named = true;
	return open_named(dirfd);
}

static int new_in(int dirfd, bool nosync, struct store_draft **out)
{
	struct store_draft *d = io_calloc(1, sizeof(*d));
	int r;

	if (!d)
		return LEDGER_ENOMEM;
	atomic_init(&d->refs, 1);
	d->dirfd = dirfd;
	d->nosync = nosync;
	d->fd = open_file(dirfd, &d->named);
	if (d->fd < 0) {
		r = fail("a large value");
		free(d);
		return r;
	}
	*out = d;
	return 0;
}

int store_draft_new(struct store *s, struct store_draft **out)
{
	return new_in(s->dirfd, s->nosync, out);
}

struct store_draft *store_draft_ref(struct store_draft *d)
{
	atomic_fetch_add_explicit(&d->refs, 1, memory_order_relaxed);
	return d;
}

void store_draft_unref(struct store_draft *d)
{
	if (!d || atomic_fetch_sub_explicit(&d->refs, 1, memory_order_acq_rel) != 1)
		return;
	follow_cancel(d);
	io_close(d->fd);
	free(d);
}

/* --- its bytes ------------------------------------------------------------------------------------------------------ */

struct stored store_draft_stored(const struct store_draft *d)
{
	return (struct stored){.fd = d->fd, .at = DRAFT_AT, .size = d->size, .draft = !d->sealed};
}

/* Lets the disk begin, so that the sync at the end finds little to do.  Only a hint: errors show at the sync. */
static void start_writing(struct store_draft *d, uint64_t least)
{
	uint64_t end = stored_pos(DRAFT_AT, d->size);

	if (d->nosync || end < d->started + least)
		return;
	sync_file_range(d->fd, (off_t)d->started, (off_t)(end - d->started), SYNC_FILE_RANGE_WRITE);
	d->started = end;
}

void draft_start_writing(struct store_draft *d)
{
	start_writing(d, 1);
}

int store_draft_pwrite(struct store_draft *d, const void *buf, size_t len, uint64_t off)
{
	unsigned char heads[STORED_VEC / 2 * STORED_HEAD];
	struct iovec v[STORED_VEC];
	size_t done;
	int n;

	if (off != d->size)
		follow_cancel(d);
	for (int i = 0; i < STORED_VEC / 2; i++)
		stored_head(heads + i * (int)STORED_HEAD, STORED_BLOCK, false);
	while (len > 0) {
		n = stored_parts(v, heads, (void *)buf, len, off, &done);
		if (io_pwritev(d->fd, v, n, (off_t)stored_pos(DRAFT_AT, off)) < 0)
			return fail("a large value");
		buf = (const char *)buf + done;
		off += done;
		len -= done;
		if (off > d->size)
			d->size = off;
	}
	start_writing(d, START);
	follow_wrote(d, d->size);
	return 0;
}

int store_draft_truncate(struct store_draft *d, uint64_t size)
{
	follow_cancel(d);
	if (io_ftruncate(d->fd, (off_t)stored_pos(DRAFT_AT, size)) < 0)
		return fail("a large value");
	d->size = size;
	if (d->started > stored_pos(DRAFT_AT, size))
		d->started = stored_pos(DRAFT_AT, size);
	return 0;
}

/* A copy of the file's first `len` bytes. */
static int copy_file(int from, int to, uint64_t len)
{
	char *buf = io_malloc(PIECE);
	uint64_t done = 0;
	int r = buf ? 0 : LEDGER_ENOMEM;

	while (!r && done < len) {
		ssize_t n = pread(from, buf, len - done < PIECE ? (size_t)(len - done) : PIECE, (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			r = fail("a large value cannot be read");
		else if (!n)
			break; /* a hole at the end */
		else if (io_pwrite(to, buf, (size_t)n, (off_t)done) < 0)
			r = fail("a large value");
		done += (uint64_t)(n > 0 ? n : 0);
	}
	free(buf);
	return r;
}

int store_draft_open_again(struct store_draft **d)
{
	struct store_draft *old = *d, *copy;
	int r;

	if (atomic_load(&old->refs) == 1 && !atomic_load(&old->placed)) {
		old->sealed = false;
		return store_draft_truncate(old, old->size); /* what sealed it is no part of the bytes */
	}
	r = new_in(old->dirfd, old->nosync, &copy);
	if (!r)
		r = copy_file(old->fd, copy->fd, stored_pos(DRAFT_AT, old->size));
	else
		return r;
	if (!r)
		r = store_draft_truncate(copy, old->size);
	if (r) {
		store_draft_unref(copy);
		return r;
	}
	store_draft_unref(old);
	*d = copy;
	return 0;
}

/* --- the pack around them ------------------------------------------------------------------------------------------- */

uint64_t draft_end(uint64_t size)
{
	/* A value that fills its last block exactly has no head of another behind it. */
	return stored_pos(DRAFT_AT, size - 1) + 1 + 4 + LEDGER_OID_SIZE;
}

void draft_head(unsigned char out[DRAFT_AT], uint64_t size)
{
	unsigned char head[STORED_HEAD], *p = out + 12;
	unsigned empty;

	memset(out, 0, DRAFT_AT);
	memcpy(out, "PACK\0\0\0\2\0\0\0\1", 12);
	p += delta_head(p, STORE_BLOB, size);
	*p++ = 0x78;
	*p++ = 0x01;
	/* An empty block is the bits 0 10 0000000.  With 3 to 6 of them one more is one byte more before the block's length.
	 */
	empty = (unsigned)(out + DRAFT_AT - STORED_HEAD - p) - 1;
	for (unsigned bit = 1; bit < 10 * empty; bit += 10)
		p[bit / 8] |= (unsigned char)(1u << bit % 8);
	stored_head_of(head, 0, size);
	p[10 * empty / 8] |= (unsigned char)((unsigned)head[0] << 10 * empty % 8);
	memcpy(out + DRAFT_AT - STORED_HEAD + 1, head + 1, STORED_HEAD - 1);
}

int draft_sync(struct store_draft *d)
{
	return d->nosync || io_fsync(d->fd) == 0 ? 0 : fail("a large value");
}

int draft_link(struct store_draft *d, const char *to)
{
	if (d->named) {
		errno = EOPNOTSUPP;
		return -1;
	}
	if (io_link_fd(d->fd, d->dirfd, to) < 0)
		return -1;
	atomic_store(&d->placed, true);
	return 0;
}

int draft_copy_to(struct store_draft *d, const char *to)
{
	int fd, r;

	io_unlink(d->dirfd, to);
	fd = io_open(d->dirfd, to, O_RDWR | O_CREAT | O_EXCL, 0444);
	if (fd < 0)
		return fail(to);
	r = copy_file(d->fd, fd, draft_end(d->size));
	if (!r && !d->nosync && io_fsync(fd) < 0)
		r = fail(to);
	io_close(fd);
	return r;
}
