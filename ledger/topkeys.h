/* SPDX-License-Identifier: MIT */
/*
 * The keys that come most often, in bounded memory ("space-saving", Metwally and others 2005): a key that is not among the
 * watched takes the place, and the count, of the rarest.  A count is at most too high, by its `over`; a key with more than
 * the TOPKEYS-th part of all is never missed.  No lock of its own.  Internal to ledger/.
 */
#ifndef LEDGER_TOPKEYS_H
#define LEDGER_TOPKEYS_H

#include <stddef.h>
#include <stdint.h>

#define TOPKEYS 40
#define TOPKEYS_NAME_MAX 1024 /* longer keys are not watched */

struct topkey {
	char *key; /* owned */
	uint64_t count, over;
};

struct topkeys {
	struct topkey at[TOPKEYS];
	size_t n;
};

void topkeys_release(struct topkeys *t);

/* Counts the key; without memory it is not counted. */
void topkeys_add(struct topkeys *t, const char *key);

/* The `max` most frequent first into `out`, whose keys stay those of `t`; how many. */
size_t topkeys_list(const struct topkeys *t, struct topkey *out, size_t max);

#endif
