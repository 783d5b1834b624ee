/* SPDX-License-Identifier: MIT */
/*
 * kv/tips: for some refs, a value that is known to be durable with all that it leads to.  Owners write it after their
 * sync and read it when they find a value that they did not set; so two mounts of one repository need not bring the
 * whole file system to the disk at each other's commits.  What it says was true when it was written and stays true, so
 * a write may be lost, late or torn (an object name in it then just does not match).
 */
#include "engine.h"

#include <unistd.h>

#define SLOTS 64
#define SLOT 64

void tips_open(struct store *s)
{
	/* Without it, more is synced than must be. */
	s->tips_fd = io_open(s->dirfd, "kv/tips", O_RDWR | O_CREAT, 0666);
}

void tips_close(struct store *s)
{
	if (s->tips_fd >= 0)
		io_close(s->tips_fd);
	s->tips_fd = -1;
}

static void stamp(const char *ref, const struct ledger_oid *oid, unsigned char out[LEDGER_OID_SIZE], size_t *slot)
{
	struct ledger_oid sum;
	struct sha h;

	/* Name and value in one hash: a slot cannot be taken for another ref's. */
	sha_init(&h);
	sha_update(&h, ref, strlen(ref) + 1);
	*slot = 0;
	for (const char *p = ref; *p; p++)
		*slot = *slot * 31 + (unsigned char)*p;
	*slot = *slot % SLOTS * SLOT;
	sha_update(&h, oid->id, LEDGER_OID_SIZE);
	sha_final(&h, &sum);
	memcpy(out, sum.id, LEDGER_OID_SIZE);
}

void tips_set(struct store *s, const char *ref, const struct ledger_oid *oid)
{
	unsigned char want[LEDGER_OID_SIZE];
	size_t slot;

	if (s->tips_fd < 0)
		return;
	stamp(ref, oid, want, &slot);
	/* Not through io.h: what is lost here costs time, nothing else. */
	if (pwrite(s->tips_fd, want, sizeof(want), (off_t)slot) != sizeof(want))
		tips_close(s);
}

bool tips_known(struct store *s, const char *ref, const struct ledger_oid *oid)
{
	unsigned char want[LEDGER_OID_SIZE], have[LEDGER_OID_SIZE];
	size_t slot;

	if (s->tips_fd < 0)
		return false;
	stamp(ref, oid, want, &slot);
	return pread(s->tips_fd, have, sizeof(have), (off_t)slot) == sizeof(have) && memcmp(have, want, sizeof(want)) == 0;
}
