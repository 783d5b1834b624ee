/* SPDX-License-Identifier: MIT */
#include "stored.h"

#include "engine.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

void stored_head(unsigned char out[STORED_HEAD], uint32_t len, bool final)
{
	out[0] = final;
	out[1] = (unsigned char)len;
	out[2] = (unsigned char)(len >> 8);
	out[3] = (unsigned char)~len;
	out[4] = (unsigned char)(~len >> 8);
}

void stored_head_of(unsigned char out[STORED_HEAD], uint64_t n, uint64_t size)
{
	uint64_t left = size - n * STORED_BLOCK;

	stored_head(out, left < STORED_BLOCK ? (uint32_t)left : STORED_BLOCK, left <= STORED_BLOCK);
}

int stored_parts(struct iovec *v, unsigned char *heads, void *buf, size_t len, uint64_t off, size_t *done)
{
	size_t have = 0;
	int n = 0;

	while (have < len && n + 2 <= STORED_VEC) {
		size_t room = STORED_BLOCK - (off + have) % STORED_BLOCK;

		if (have) {
			v[n] = (struct iovec){heads + (size_t)(n / 2) * STORED_HEAD, STORED_HEAD};
			n++;
		}
		if (room > len - have)
			room = len - have;
		v[n++] = (struct iovec){(char *)buf + have, room};
		have += room;
	}
	*done = have;
	return n;
}

static bool head_is(const unsigned char *head, uint64_t block, uint64_t size)
{
	unsigned char want[STORED_HEAD];

	stored_head_of(want, block, size);
	return memcmp(head, want, STORED_HEAD) == 0;
}

/* One call: the bytes of `buf` that were read. */
static ssize_t read_some(const struct stored *b, char *buf, size_t len, uint64_t off)
{
	unsigned char heads[STORED_VEC / 2 * STORED_HEAD];
	struct iovec v[STORED_VEC];
	size_t done, got;
	ssize_t r;
	int n;

	n = stored_parts(v, heads, buf, len, off, &done);
	do
		r = preadv(b->fd, v, n, (off_t)stored_pos(b->at, off));
	while (r < 0 && errno == EINTR);
	if (r <= 0)
		return ledger_fail(r ? io_code(errno) : LEDGER_EIO, "cannot read a value: %s",
				   r ? strerror(errno) : "its file is too short");
	done = 0;
	got = (size_t)r;
	for (int i = 0; i < n && got; i += 2) {
		size_t part;

		if (i && got <= STORED_HEAD)
			break;
		if (i && !b->draft && !head_is(v[i - 1].iov_base, off / STORED_BLOCK + (unsigned)i / 2, b->size))
			return ledger_fail(LEDGER_ECORRUPT, "a large value's pack is damaged");
		got -= i ? STORED_HEAD : 0;
		part = got < v[i].iov_len ? got : v[i].iov_len;
		done += part;
		got -= part;
	}
	return (ssize_t)done;
}

ssize_t store_stored_pread(const struct stored *b, void *buf, size_t len, uint64_t off)
{
	size_t done = 0;

	if (off >= b->size)
		return 0;
	if (len > b->size - off)
		len = b->size - off;
	while (done < len) {
		ssize_t n = read_some(b, (char *)buf + done, len - done, off + done);

		if (n < 0)
			return n;
		done += (size_t)n;
	}
	return (ssize_t)done;
}
