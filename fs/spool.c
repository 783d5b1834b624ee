/* SPDX-License-Identifier: MIT */
#include "spool.h"

#include <ledger/ledger.h>
#include <stdlib.h>
#include <string.h>

#define COPY_CHUNK (1u << 20)

struct spool {
	struct ledger *ledger;
	char *mem; /* while there is no draft */
	size_t cap;
	uint64_t size; /* of what is in memory */
	struct ledger_draft *draft;
};

struct spool *spool_new(struct ledger *l)
{
	struct spool *s = calloc(1, sizeof(*s));

	if (s)
		s->ledger = l;
	return s;
}

void spool_free(struct spool *s)
{
	if (!s)
		return;
	ledger_draft_free(s->draft);
	free(s->mem);
	free(s);
}

uint64_t spool_size(const struct spool *s)
{
	return s->draft ? ledger_draft_size(s->draft) : s->size;
}

static int move_to_disk(struct spool *s)
{
	struct ledger_draft *d = NULL;
	int r = ledger_draft_new(s->ledger, &d);

	if (!r && s->size)
		r = ledger_draft_pwrite(d, s->mem, s->size, 0);
	if (r) {
		ledger_draft_free(d);
		return r;
	}
	free(s->mem);
	s->mem = NULL;
	s->cap = 0;
	s->draft = d;
	return 0;
}

/* Room for `size` bytes, wherever they will be. */
static int reserve(struct spool *s, uint64_t size)
{
	size_t cap = s->cap ? s->cap : 4096;
	char *mem;

	if (s->draft)
		return 0;
	if (size > SPOOL_MEMORY)
		return move_to_disk(s);
	if (size <= s->cap)
		return 0;
	while (cap < size)
		cap *= 2;
	mem = realloc(s->mem, cap);
	if (!mem)
		return LEDGER_ENOMEM;
	s->mem = mem;
	s->cap = cap;
	return 0;
}

ssize_t spool_pread(const struct spool *s, void *buf, size_t len, uint64_t off)
{
	if (s->draft)
		return ledger_draft_pread(s->draft, buf, len, off);
	if (off >= s->size)
		return 0;
	if (len > s->size - off)
		len = s->size - off;
	memcpy(buf, s->mem + off, len);
	return (ssize_t)len;
}

int spool_truncate(struct spool *s, uint64_t size)
{
	int r;

	if (s->draft && size == 0) {
		/* What a value may still read from is left to it. */
		ledger_draft_free(s->draft);
		s->draft = NULL;
		s->size = 0;
		return 0;
	}
	r = reserve(s, size);
	if (r)
		return r;
	if (s->draft)
		return ledger_draft_truncate(s->draft, size);
	if (size > s->size)
		memset(s->mem + s->size, 0, size - s->size);
	s->size = size;
	return 0;
}

int spool_pwrite(struct spool *s, const void *buf, size_t len, uint64_t off)
{
	int r;

	if (len == 0)
		return 0;
	if (off > INT64_MAX - len)
		return LEDGER_ETOOBIG;
	r = reserve(s, off + len);
	if (r)
		return r;
	if (s->draft)
		return ledger_draft_pwrite(s->draft, buf, len, off);
	if (off > s->size)
		memset(s->mem + s->size, 0, off - s->size);
	memcpy(s->mem + off, buf, len);
	if (off + len > s->size)
		s->size = off + len;
	return 0;
}

void spool_expect(struct spool *s, uint64_t size)
{
	if (s->draft)
		ledger_draft_expect(s->draft, size);
}

int spool_zero(struct spool *s, uint64_t off, uint64_t len)
{
	static const char zeros[65536];

	while (len) {
		size_t n = len < sizeof(zeros) ? len : sizeof(zeros);
		int r = spool_pwrite(s, zeros, n, off);

		if (r)
			return r;
		off += n;
		len -= n;
	}
	return 0;
}

int spool_load(struct spool *s, const struct ledger_value *v)
{
	uint64_t size = v ? ledger_value_size(v) : 0, off = 0;
	int r = spool_truncate(s, 0);
	char *buf;

	if (r || !size)
		return r;
	if (ledger_value_data(v))
		return spool_pwrite(s, ledger_value_data(v), size, 0);
	r = reserve(s, size);
	if (r)
		return r;
	buf = malloc(COPY_CHUNK);
	if (!buf)
		return LEDGER_ENOMEM;
	while (!r && off < size) {
		ssize_t n = ledger_value_pread(v, buf, COPY_CHUNK, off);

		if (n <= 0) {
			r = n < 0 ? (int)n : LEDGER_ECORRUPT;
			break;
		}
		r = spool_pwrite(s, buf, (size_t)n, off);
		off += (uint64_t)n;
	}
	free(buf);
	return r;
}

int spool_value(struct spool *s, struct ledger_value **out)
{
	if (s->draft)
		return ledger_draft_value(s->draft, out);
	return ledger_value_new(s->ledger, s->mem, s->size, out);
}
