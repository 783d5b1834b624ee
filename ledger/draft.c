/* SPDX-License-Identifier: MIT */
/* Drafts as the ledger's users have them: a limit, and a copy before what a value still reads is changed. */
#include "hash.h"
#include "internal.h"

#include <stdlib.h>

struct ledger_draft {
	struct ledger *l;
	struct store_draft *d;
	bool sealed; /* a value may read from `d` */
};

int ledger_draft_new(struct ledger *l, struct ledger_draft **out)
{
	struct ledger_draft *d = calloc(1, sizeof(*d));
	int rc = d ? 0 : LEDGER_ENOMEM;

	ledger_error_clear();
	if (!rc)
		rc = store_draft_new(l->store, &d->d);
	if (!rc) {
		d->l = l;
		*out = d;
	} else {
		free(d);
	}
	LEAVE(rc, "new");
	return rc;
}

void ledger_draft_free(struct ledger_draft *d)
{
	if (!d)
		return;
	store_draft_unref(d->d);
	free(d);
}

uint64_t ledger_draft_size(const struct ledger_draft *d)
{
	return store_draft_stored(d->d).size;
}

ssize_t ledger_draft_pread(const struct ledger_draft *d, void *buf, size_t len, uint64_t off)
{
	struct stored b = store_draft_stored(d->d);

	return store_stored_pread(&b, buf, len, off);
}

/* Before a change that makes it `size` bytes or more. */
static int open_again(struct ledger_draft *d, uint64_t size)
{
	int rc = 0;

	if (size > d->l->value_limit)
		return ledger_fail(LEDGER_ETOOBIG, "a value has at most %llu bytes", (unsigned long long)d->l->value_limit);
	if (d->sealed)
		rc = store_draft_open_again(&d->d);
	if (!rc)
		d->sealed = false;
	return rc;
}

int ledger_draft_pwrite(struct ledger_draft *d, const void *buf, size_t len, uint64_t off)
{
	int rc;

	ledger_error_clear();
	rc = open_again(d, off > UINT64_MAX - len ? UINT64_MAX : off + len);
	if (!rc)
		rc = store_draft_pwrite(d->d, buf, len, off);
	LEAVE(rc, "len=%zu off=%llu", len, (unsigned long long)off);
	return rc;
}

int ledger_draft_truncate(struct ledger_draft *d, uint64_t size)
{
	int rc;

	ledger_error_clear();
	rc = open_again(d, size);
	if (!rc)
		rc = store_draft_truncate(d->d, size);
	LEAVE(rc, "size=%llu", (unsigned long long)size);
	return rc;
}

void ledger_draft_expect(struct ledger_draft *d, uint64_t size)
{
	if (!d->sealed && size <= d->l->value_limit)
		store_draft_expect(d->d, size);
}

static int small_value(struct ledger_draft *d, size_t size, struct ledger_value **out)
{
	char *data = malloc(size + 1);
	size_t have = 0;
	int rc = data ? 0 : LEDGER_ENOMEM;

	while (!rc && have < size) {
		ssize_t n = ledger_draft_pread(d, data + have, size - have, have);

		if (n <= 0)
			rc = n < 0 ? (int)n : ledger_fail(LEDGER_EIO, "a draft is shorter than it says");
		else
			have += (size_t)n;
	}
	if (!rc)
		rc = ledger_value_new(d->l, data, size, out);
	free(data);
	return rc;
}

int ledger_draft_value(struct ledger_draft *d, struct ledger_value **out)
{
	uint64_t size = ledger_draft_size(d);
	struct ledger_oid oid;
	int rc;

	ledger_error_clear();
	if (size <= VALUE_IN_MEMORY) {
		rc = small_value(d, (size_t)size, out);
	} else {
		d->sealed = true;
		rc = store_draft_seal(d->d, &oid);
		if (!rc)
			rc = value_from_draft(d->d, &oid, out);
	}
	LEAVE(rc, "size=%llu", (unsigned long long)size);
	return rc;
}
