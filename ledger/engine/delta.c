/* SPDX-License-Identifier: MIT */
/* Formats: git's Documentation/gitformat-pack.txt; RFC 1950 and 1951 for stored blocks. */
#include "delta.h"

#include "sha.h"

#include <string.h>
#include <zlib.h>

size_t delta_head(unsigned char *out, int type, uint64_t size)
{
	unsigned char *p = out, c = (unsigned char)(type << 4 | (size & 15));

	for (size >>= 4; size; size >>= 7) {
		*p++ = c | 0x80;
		c = size & 0x7f;
	}
	*p++ = c;
	return (size_t)(p - out);
}

size_t delta_back(unsigned char *out, uint64_t distance)
{
	unsigned char tmp[10];
	size_t i = sizeof(tmp);

	tmp[--i] = distance & 127;
	while (distance >>= 7)
		tmp[--i] = (unsigned char)(128 | (--distance & 127));
	memcpy(out, tmp + i, sizeof(tmp) - i);
	return sizeof(tmp) - i;
}

static unsigned char *put_size(unsigned char *p, uint64_t v)
{
	for (; v >= 128; v >>= 7)
		*p++ = (unsigned char)(v | 128);
	*p++ = (unsigned char)v;
	return p;
}

#define COPY_MAX 0xffffffu

static unsigned char *put_copy(unsigned char *p, uint64_t off, uint64_t len)
{
	while (len > 0) {
		uint32_t n = len > COPY_MAX ? COPY_MAX : (uint32_t)len;
		unsigned char *op = p++;

		*op = 0x80;
		for (int i = 0; i < 4; i++)
			if (off >> (8 * i) & 255) {
				*p++ = (unsigned char)(off >> (8 * i));
				*op |= (unsigned char)(1 << i);
			}
		for (int i = 0; i < 3; i++)
			if (n >> (8 * i) & 255) {
				*p++ = (unsigned char)(n >> (8 * i));
				*op |= (unsigned char)(16 << i);
			}
		off += n;
		len -= n;
	}
	return p;
}

size_t delta_splice_bound(uint64_t baselen, size_t inslen)
{
	return 20 + inslen + inslen / 127 + 1 + 8 * (size_t)(baselen / COPY_MAX + 3);
}

size_t delta_splice(unsigned char *out, uint64_t baselen, uint64_t off, uint64_t del, const unsigned char *ins,
		    size_t inslen)
{
	unsigned char *p = out;

	if (baselen > UINT32_MAX)
		return 0;
	p = put_size(p, baselen);
	p = put_size(p, baselen - del + inslen);
	p = put_copy(p, 0, off);
	while (inslen > 0) {
		unsigned char n = inslen > 127 ? 127 : (unsigned char)inslen;

		*p++ = n;
		memcpy(p, ins, n);
		p += n;
		ins += n;
		inslen -= n;
	}
	p = put_copy(p, off + del, baselen - off - del);
	return (size_t)(p - out);
}

size_t delta_stored_bound(size_t len)
{
	return len + 5 * (len / 65535 + 1) + 16;
}

size_t delta_stored(unsigned char *out, const void *data, size_t len)
{
	const unsigned char *in = data;
	unsigned char *p = out;
	uint32_t adler = (uint32_t)adler32_z(1, in, len);

	*p++ = 0x78;
	*p++ = 0x01;
	do {
		size_t n = len > 65535 ? 65535 : len;

		*p++ = n == len; /* the last block */
		*p++ = (unsigned char)n;
		*p++ = (unsigned char)(n >> 8);
		*p++ = (unsigned char)~n;
		*p++ = (unsigned char)(~n >> 8);
		if (n)
			memcpy(p, in, n);
		p += n;
		in += n;
		len -= n;
	} while (len > 0);
	put_be32(p, adler);
	return (size_t)(p + 4 - out);
}
