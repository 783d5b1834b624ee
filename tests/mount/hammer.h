/* SPDX-License-Identifier: MIT */
/* Values that describe themselves: made by writers, judged by readers (hammer.c). */
#ifndef TESTS_HAMMER_H
#define TESTS_HAMMER_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define VALUE_MAGIC 0x6c65646765726673u
#define VALUE_HEADER 4 /* words: magic, writer, sequence, size in bytes */

static inline uint64_t value_word(uint64_t who, uint64_t seq, uint64_t i)
{
	uint64_t x = who * 0x9e3779b97f4a7c15u + seq * 0xbf58476d1ce4e5b9u + i * 0x94d049bb133111ebu;

	x ^= x >> 31;
	return x ? x : 1; /* never NUL words: a hole is seen */
}

/* Small ones, page-sized ones and large ones, in whole words. */
static inline size_t value_size(unsigned *seed, size_t max)
{
	unsigned r = (unsigned)rand_r(seed);
	size_t n = r % 3 == 0 ? 40 + r / 3 % 200 : r % 3 == 1 ? 3900 + r / 3 % 400 : r / 3 % max;

	return (n < 40 ? 40 : n) & ~(size_t)7;
}

static inline size_t value_make(unsigned char *buf, uint64_t who, uint64_t seq, size_t size)
{
	uint64_t head[VALUE_HEADER] = {VALUE_MAGIC, who, seq, size};

	memcpy(buf, head, sizeof(head));
	for (size_t i = VALUE_HEADER; i < size / 8; i++) {
		uint64_t w = value_word(who, seq, i);

		memcpy(buf + i * 8, &w, 8);
	}
	return size;
}

/* NULL, or what is wrong with it. */
static inline const char *value_check(const unsigned char *buf, size_t len, uint64_t *who, uint64_t *seq)
{
	uint64_t head[VALUE_HEADER], w;

	if (len < sizeof(head))
		return len ? "a value shorter than its header" : "an empty value";
	memcpy(head, buf, sizeof(head));
	if (head[0] != VALUE_MAGIC)
		return "a value without its magic";
	if (head[3] != len)
		return "size and value do not agree";
	for (size_t i = VALUE_HEADER; i < len / 8; i++) {
		memcpy(&w, buf + i * 8, 8);
		if (w != value_word(head[1], head[2], i))
			return w ? "bytes of another value" : "a hole in a value";
	}
	*who = head[1];
	*seq = head[2];
	return NULL;
}

/* A line of the log: writer, sequence, and a sum over both.  `size` counts the NUL, which is not written. */
static inline void record_make(unsigned char *buf, size_t size, uint64_t who, uint64_t seq)
{
	uint64_t words[2] = {who, seq}, sum = value_word(who, seq, 0);
	size_t at = 0;

	memset(buf, '.', size);
	for (int i = 0; i < 3; i++)
		for (int d = 60; d >= 0; d -= 4)
			buf[at++] = (unsigned char)"0123456789abcdef"[(i < 2 ? words[i] : sum) >> d & 15];
	buf[size - 2] = '\n';
}

static inline int record_good(const unsigned char *buf, size_t size)
{
	unsigned char want[256];
	uint64_t words[2] = {0, 0};

	for (int i = 0; i < 32; i++) {
		if (!memchr("0123456789abcdef", buf[i], 16))
			return 0;
		words[i / 16] = words[i / 16] << 4 | (uint64_t)(buf[i] <= '9' ? buf[i] - '0' : buf[i] - 'a' + 10);
	}
	record_make(want, size, words[0], words[1]);
	return !memcmp(buf, want, size - 1);
}

#endif
