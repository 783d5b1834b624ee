/* SPDX-License-Identifier: MIT */
/*
 * Durations in a bounded table: microseconds, sixteen buckets to each power of two, so that a bucket's middle is at most
 * 1/32 away from what fell into it.  No lock of its own.  Internal to ledger/.
 */
#ifndef LEDGER_HISTOGRAM_H
#define LEDGER_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BITS 4
#define HISTOGRAM_OCTAVES 24 /* up to 2^27 us: what is longer counts as that */
#define HISTOGRAM_BUCKETS ((HISTOGRAM_OCTAVES + 1) << HISTOGRAM_BITS)

struct histogram {
	uint64_t count;
	uint64_t sum_us;
	uint64_t bucket[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *h, uint64_t us);

/* The duration in seconds that the share `q` (0 to 1) of all did not exceed; 0 when there are none. */
double histogram_quantile(const struct histogram *h, double q);

#endif
