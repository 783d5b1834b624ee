/* SPDX-License-Identifier: MIT */
/* The engine's hashes and checksums give what libcrypto and zlib give, for all lengths and alignments. */
#include "../../ledger/engine/sha.h"
#include "helper.h"

#include <openssl/evp.h>
#include <zlib.h>

enum { LEN = 70000 };

static unsigned char *bytes(unsigned seed)
{
	unsigned char *p = malloc(LEN + 64);

	for (size_t i = 0; i < LEN + 64; i++)
		p[i] = seed ? (unsigned char)(rand_r(&seed) >> 7) : 0xff; /* all ones: the largest sums */
	return p;
}

static void checksums(void **state)
{
	for (unsigned seed = 0; seed < 3; seed++) {
		unsigned char *p = bytes(seed);

		for (size_t len = 0; len <= LEN; len += len < 300 ? 1 : 4999) {
			for (size_t at = 0; at < 3; at++) {
				const unsigned char *q = p + at * 7;

				assert_int_equal(crc_update(seed * 77777, q, len), crc32_z(seed * 77777, q, len));
				assert_int_equal(adler_update(1, q, len), adler32_z(1, q, len));
				assert_int_equal(adler_update(0xfff0fff0, q, len), adler32_z(0xfff0fff0, q, len));
			}
		}
		free(p);
	}
}

static void sha1(const void *data, size_t len, unsigned char out[20])
{
	assert_int_equal(EVP_Digest(data, len, out, NULL, EVP_sha1(), NULL), 1);
}

/* Two streams in pieces of any size, each its own. */
static void pairs(void **state)
{
	unsigned char *a = bytes(5), *b = bytes(6), want[20];
	struct ledger_oid got;
	unsigned rnd = 1;

	for (int round = 0; round < 200; round++) {
		size_t na = 0, nb = 0;
		struct sha x, y;

		sha_init(&x);
		sha_init(&y);
		while (na < LEN && nb < LEN) {
			size_t top = round % 2 ? 300 : 20000;
			size_t la = (size_t)rand_r(&rnd) % top, lb = (size_t)rand_r(&rnd) % top;

			la = la < LEN - na ? la : LEN - na;
			lb = lb < LEN - nb ? lb : LEN - nb;
			sha_update2(&x, a + na, la, &y, b + nb, lb);
			na += la;
			nb += lb;
		}
		sha1(a, na, want);
		sha_final(&x, &got);
		assert_memory_equal(got.id, want, 20);
		sha1(b, nb, want);
		sha_final(&y, &got);
		assert_memory_equal(got.id, want, 20);
	}
	free(a);
	free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(checksums), cmocka_unit_test(pairs)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
