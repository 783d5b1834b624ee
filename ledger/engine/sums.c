/* SPDX-License-Identifier: MIT */
/*
 * CRC-32 and Adler-32: the processor's vectors for long data, zlib for the rest.  zlib's own take as long as both SHA-1
 * that a large value needs.
 */
#include "sha.h"

#include <stdbool.h>
#include <zlib.h>

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>

static bool fast(void)
{
	static _Atomic int known; /* 1: no, 2: yes */
	unsigned a, b, c, d;

	if (!known)
		known = 1 + (__get_cpuid(1, &a, &b, &c, &d) && (c & bit_PCLMUL) && (c & bit_SSSE3) && (c & bit_SSE4_1));
	return known == 2;
}

#define VEC __attribute__((target("pclmul,sse4.1,ssse3")))

VEC static inline __m128i load(const unsigned char *p)
{
	return _mm_loadu_si128((const __m128i *)p);
}

/* `x` moved on by as many bits as the two constants of `k` say, and what is there added. */
VEC static inline __m128i fold(__m128i x, __m128i k, __m128i there)
{
	return _mm_xor_si128(_mm_xor_si128(_mm_clmulepi64_si128(x, k, 0x00), _mm_clmulepi64_si128(x, k, 0x11)), there);
}

/*
 * By carry-less multiplication: V. Gopal and others, "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ"
 * (Intel, 2009), whose constants for this polynomial, bits reflected, these are.  `len`: 64 and more, a multiple of 16.
 */
VEC static uint32_t crc_fold(uint32_t crc, const unsigned char *p, size_t len)
{
	const __m128i by4 = _mm_set_epi64x(0x1c6e41596, 0x154442bd4), by1 = _mm_set_epi64x(0x0ccaa009e, 0x1751997d0);
	const __m128i last = _mm_set_epi64x(0, 0x163cd6124), poly = _mm_set_epi64x(0x1f7011641, 0x1db710641);
	const __m128i low = _mm_setr_epi32(~0, 0, ~0, 0);
	__m128i x[4], y;

	for (int i = 0; i < 4; i++)
		x[i] = load(p + 16 * i);
	x[0] = _mm_xor_si128(x[0], _mm_cvtsi32_si128((int)~crc));
	for (p += 64, len -= 64; len >= 64; p += 64, len -= 64)
		for (int i = 0; i < 4; i++)
			x[i] = fold(x[i], by4, load(p + 16 * i));
	y = x[0];
	for (int i = 1; i < 4; i++)
		y = fold(y, by1, x[i]);
	for (; len; p += 16, len -= 16)
		y = fold(y, by1, load(p));
	/* 128 bits to 64, to 32: Barrett's reduction. */
	y = _mm_xor_si128(_mm_srli_si128(y, 8), _mm_clmulepi64_si128(y, by1, 0x10));
	y = _mm_xor_si128(_mm_srli_si128(y, 4), _mm_clmulepi64_si128(_mm_and_si128(y, low), last, 0x00));
	x[0] = _mm_clmulepi64_si128(_mm_and_si128(y, low), poly, 0x10);
	x[0] = _mm_clmulepi64_si128(_mm_and_si128(x[0], low), poly, 0x00);
	return ~(uint32_t)_mm_extract_epi32(_mm_xor_si128(y, x[0]), 1);
}

#define ADLER 65521u
#define ADLER_RUN 5536 /* bytes until the sums must be reduced, a multiple of 32: they stay below 2^32 */

VEC static inline uint32_t sum4(__m128i v)
{
	v = _mm_add_epi32(v, _mm_shuffle_epi32(v, 0x4e));
	v = _mm_add_epi32(v, _mm_shuffle_epi32(v, 0xb1));
	return (uint32_t)_mm_cvtsi128_si32(v);
}

/* `len`: a multiple of 32. */
VEC static uint32_t adler_run(uint32_t adler, const unsigned char *p, size_t len)
{
	const __m128i w0 = _mm_setr_epi8(32, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17);
	const __m128i w1 = _mm_setr_epi8(16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1);
	const __m128i zero = _mm_setzero_si128(), one = _mm_set1_epi16(1);
	uint32_t a = adler & 0xffff, b = adler >> 16;

	while (len) {
		size_t run = len < ADLER_RUN ? len : ADLER_RUN;
		__m128i sum = zero, before = zero, weighed = zero;

		b += a * (uint32_t)run;
		len -= run;
		for (; run; run -= 32, p += 32) {
			__m128i x = load(p), y = load(p + 16);

			before = _mm_add_epi32(before, sum); /* what all bytes so far add for each 32 that follow */
			sum = _mm_add_epi32(sum, _mm_add_epi32(_mm_sad_epu8(x, zero), _mm_sad_epu8(y, zero)));
			weighed = _mm_add_epi32(weighed, _mm_madd_epi16(_mm_maddubs_epi16(x, w0), one));
			weighed = _mm_add_epi32(weighed, _mm_madd_epi16(_mm_maddubs_epi16(y, w1), one));
		}
		a = (a + sum4(sum)) % ADLER;
		b = (b % ADLER + sum4(_mm_slli_epi32(before, 5)) % ADLER + sum4(weighed)) % ADLER;
	}
	return b << 16 | a;
}

#else

static bool fast(void)
{
	return false;
}

static uint32_t crc_fold(uint32_t crc, const unsigned char *p, size_t len)
{
	return crc;
}

static uint32_t adler_run(uint32_t adler, const unsigned char *p, size_t len)
{
	return adler;
}

#endif

uint32_t crc_update(uint32_t crc, const void *data, size_t len)
{
	const unsigned char *p = data;
	size_t n = len >= 64 && fast() ? len & ~(size_t)15 : 0;

	if (n)
		crc = crc_fold(crc, p, n);
	return n == len ? crc : (uint32_t)crc32_z(crc, p + n, len - n);
}

uint32_t adler_update(uint32_t adler, const void *data, size_t len)
{
	const unsigned char *p = data;
	size_t n = len >= 64 && fast() ? len & ~(size_t)31 : 0;

	if (n)
		adler = adler_run(adler, p, n);
	return n == len ? adler : (uint32_t)adler32_z(adler, p + n, len - n);
}
