/* SPDX-License-Identifier: MIT */
/*
 * The old values of a ref that moves often: the file of one of them becomes that of a new value (spare.c says why).  Files
 * go round within their ref, so even a reader that was on its way into one all the time finds a whole value of that ref.
 *
 * After a power cut such a file may have any of the values that were ever written to it, or half of one.  Recovery knows
 * what to do with half a value, and with those that its journal names: so a ring has only files that were created, and
 * values that were written, since the generation at work began, goes on only from the value that it wrote last, and ends
 * when somebody else has moved the ref and when it comes or goes.
 *
 * Threads: the one that moves refs, the group's or the publisher.
 */
#include "engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void ring_path(struct store *s, char path[64], const struct ring *r, unsigned i)
{
	store_tmp(s, path, "v", (uint64_t)(r - s->rings) * RING_MAX + i);
}

static void clear(struct store *s, struct ring *r)
{
	char path[64];

	for (unsigned i = 0; i < r->n; i++) {
		ring_path(s, path, r, i);
		io_unlink(s->dirfd, path);
	}
	free(r->name);
	memset(r, 0, sizeof(*r));
}

void ring_drop(struct store *s, const char *name)
{
	struct ring *r = &s->rings[refs_slot(name)];

	if (r->name && strcmp(r->name, name) == 0)
		clear(s, r);
}

void rings_clear(struct store *s)
{
	for (unsigned i = 0; i < REFS_SLOTS; i++)
		clear(s, &s->rings[i]);
}

/* The ref's own, which goes on from `from`; NULL: no memory. */
static struct ring *ring_of(struct store *s, const char *name, const struct ledger_oid *from)
{
	struct ring *r = &s->rings[refs_slot(name)];
	unsigned cuts = atomic_load(&s->cuts);

	if (r->name && (strcmp(r->name, name) != 0 || !ledger_oid_eq(&r->last, from) || r->cut != cuts))
		clear(s, r);
	if (!r->name) {
		r->name = io_strdup(name);
		r->cut = cuts;
	}
	return r->name ? r : NULL;
}

/* A file at `path` with the value, open; `again`: one may be there.  -1 and errno. */
static int fill(struct store *s, const char *path, const struct ledger_oid *to, bool again)
{
	char line[REF_LINE];
	int fd = again ? spare_open(s, path) : -1, err;

	refmove_line(line, to);
	if (fd >= 0 && spare_fill(fd, line, REF_LINE) == 0)
		return fd;
	if (fd >= 0)
		io_close(fd);
	io_unlink(s->dirfd, path);
	fd = io_open(s->dirfd, path, O_RDWR | O_CREAT | O_EXCL, 0666);
	if (fd < 0 || io_pwrite(fd, line, REF_LINE, 0) == 0)
		return fd;
	err = errno;
	io_close(fd);
	io_unlink(s->dirfd, path);
	errno = err;
	return -1;
}

int ring_move(struct store *s, const char *name, const struct ledger_oid *from, const struct ledger_oid *to)
{
	struct ring *r = ring_of(s, name, from);
	char path[64];
	unsigned i;
	int fd, got;

	if (!r)
		return LEDGER_ENOMEM;
	i = r->n == RING_MAX ? r->next : r->n;
	ring_path(s, path, r, i);
	fd = fill(s, path, to, i < r->n);
	if (fd < 0)
		return ledger_fail(io_code(errno), "%s: %s", path, strerror(errno));
	got = refmove_place(s->dirfd, path, name, r->own);
	if (got < 0) {
		io_unlink(s->dirfd, path);
		io_close(fd);
		return got;
	}
	if (i < r->n)
		r->next = (i + 1) % RING_MAX;
	else
		r->n += got == REFMOVE_KEPT;
	r->last = *to;
	r->own = true;
	refs_placed(&s->refs, name, fd, to);
	return 0;
}
