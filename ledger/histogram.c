/* SPDX-License-Identifier: MIT */
#include "histogram.h"

#define SUB (1u << HISTOGRAM_BITS)

/* Below SUB each microsecond has its own; then the leading bit gives the octave, the HISTOGRAM_BITS behind it the bucket. */
static unsigned bucket_of(uint64_t us)
{
	unsigned top;

	if (us < SUB)
		return (unsigned)us;
	top = 63 - (unsigned)__builtin_clzll(us);
	if (top >= HISTOGRAM_BITS + HISTOGRAM_OCTAVES)
		return HISTOGRAM_BUCKETS - 1;
	return ((top - HISTOGRAM_BITS + 1) << HISTOGRAM_BITS) + (unsigned)(us >> (top - HISTOGRAM_BITS) & (SUB - 1));
}

/* The middle of the durations that fall into bucket `i`, in microseconds. */
static double middle(unsigned i)
{
	unsigned shift;

	if (i < 2 * SUB)
		return i;
	shift = (i >> HISTOGRAM_BITS) - 1;
	return ((double)(SUB + (i & (SUB - 1))) + 0.5) * (double)(1ULL << shift);
}

void histogram_add(struct histogram *h, uint64_t us)
{
	h->count++;
	h->sum_us += us;
	h->bucket[bucket_of(us)]++;
}

double histogram_quantile(const struct histogram *h, double q)
{
	double rank = q * (double)h->count;
	uint64_t seen = 0;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += h->bucket[i];
		if (seen && (double)seen >= rank)
			return middle(i) / 1e6;
	}
	return 0;
}
