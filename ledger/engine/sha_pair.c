/* SPDX-License-Identifier: MIT */
/*
 * SHA-1 of two streams at once by the processor's instructions for it.  Each waits for the one before, so one stream leaves
 * half of the unit idle; a second beside it costs next to nothing.
 */
#include "sha.h"

#include <stdbool.h>

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>

#define BLOCK 64

static bool detect(void)
{
	unsigned a, b, c, d;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSSE3) || !(c & bit_SSE4_1))
		return false;
	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA);
}

bool sha_pair_fast(void)
{
	static _Atomic int known; /* 1: no, 2: yes */

	if (!known)
		known = 1 + detect();
	return known == 2;
}

struct lane {
	__m128i abcd, e[2], m[4];
};

#define NI __attribute__((target("sha,sse4.1"), always_inline)) static inline

NI void lane_load(struct lane *l, const uint32_t h[5])
{
	l->abcd = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)h), 0x1b);
	l->e[0] = _mm_set_epi32((int)h[4], 0, 0, 0);
}

NI void lane_store(const struct lane *l, uint32_t h[5])
{
	_mm_storeu_si128((__m128i *)h, _mm_shuffle_epi32(l->abcd, 0x1b));
	h[4] = (uint32_t)_mm_extract_epi32(l->e[0], 3);
}

NI void lane_block(struct lane *l, const unsigned char *p)
{
	const __m128i swap = _mm_set_epi64x(0x0001020304050607, 0x08090a0b0c0d0e0f);

	for (int i = 0; i < 4; i++)
		l->m[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)p + i), swap);
}

/* Four of the eighty steps, the `n`th; f: which of the four functions. */
#define STEPS(l, n, f)                                                                                          \
	do {                                                                                                    \
		const __m128i now = (l).m[(n) % 4];                                                             \
		(l).e[(n) % 2] = (n) ? _mm_sha1nexte_epu32((l).e[(n) % 2], now) : _mm_add_epi32((l).e[0], now); \
		(l).e[((n) + 1) % 2] = (l).abcd;                                                                \
		if ((n) >= 3 && (n) <= 18)                                                                      \
			(l).m[((n) + 1) % 4] = _mm_sha1msg2_epu32((l).m[((n) + 1) % 4], now);                   \
		(l).abcd = _mm_sha1rnds4_epu32((l).abcd, (l).e[(n) % 2], f);                                    \
		if ((n) >= 1 && (n) <= 16)                                                                      \
			(l).m[((n) + 3) % 4] = _mm_sha1msg1_epu32((l).m[((n) + 3) % 4], now);                   \
		if ((n) >= 2 && (n) <= 17)                                                                      \
			(l).m[((n) + 2) % 4] = _mm_xor_si128((l).m[((n) + 2) % 4], now);                        \
	} while (0)

#define BOTH(n)                       \
	do {                          \
		STEPS(a, n, (n) / 5); \
		STEPS(b, n, (n) / 5); \
	} while (0)

__attribute__((target("sha,sse4.1"))) void sha_pair_blocks(uint32_t ha[5], const unsigned char *pa, uint32_t hb[5],
							   const unsigned char *pb, size_t blocks)
{
	struct lane a, b;

	lane_load(&a, ha);
	lane_load(&b, hb);
	for (; blocks; blocks--, pa += BLOCK, pb += BLOCK) {
		const __m128i a0 = a.abcd, ae = a.e[0], b0 = b.abcd, be = b.e[0];

		lane_block(&a, pa);
		lane_block(&b, pb);
		BOTH(0);
		BOTH(1);
		BOTH(2);
		BOTH(3);
		BOTH(4);
		BOTH(5);
		BOTH(6);
		BOTH(7);
		BOTH(8);
		BOTH(9);
		BOTH(10);
		BOTH(11);
		BOTH(12);
		BOTH(13);
		BOTH(14);
		BOTH(15);
		BOTH(16);
		BOTH(17);
		BOTH(18);
		BOTH(19);
		a.e[0] = _mm_sha1nexte_epu32(a.e[0], ae);
		b.e[0] = _mm_sha1nexte_epu32(b.e[0], be);
		a.abcd = _mm_add_epi32(a.abcd, a0);
		b.abcd = _mm_add_epi32(b.abcd, b0);
	}
	lane_store(&a, ha);
	lane_store(&b, hb);
}

#else

bool sha_pair_fast(void)
{
	return false;
}

void sha_pair_blocks(uint32_t ha[5], const unsigned char *pa, uint32_t hb[5], const unsigned char *pb, size_t blocks)
{
}

#endif
