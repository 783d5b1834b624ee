/* SPDX-License-Identifier: MIT */
/* The low-level SHA-1 of libcrypto: half the cost of EVP for objects of a few hundred bytes, which are nearly all. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "sha.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <zlib.h>

_Static_assert(sizeof(struct sha) == sizeof(SHA_CTX), "struct sha stands for SHA_CTX, so that only this file sees it");

void sha_init(struct sha *h)
{
	SHA1_Init((SHA_CTX *)h);
}

void sha_update(struct sha *h, const void *data, size_t len)
{
	SHA1_Update((SHA_CTX *)h, data, len);
}

void sha_update2(struct sha *a, const void *adata, size_t alen, struct sha *b, const void *bdata, size_t blen)
{
	sha_update(a, adata, alen);
	sha_update(b, bdata, blen);
}

void sha_final(struct sha *h, struct ledger_oid *out)
{
	SHA1_Final(out->id, (SHA_CTX *)h);
}

const char *object_type_name(enum store_type type)
{
	switch (type) {
	case STORE_COMMIT:
		return "commit";
	case STORE_TREE:
		return "tree";
	case STORE_BLOB:
		return "blob";
	}
	return "?";
}

void sha_object(enum store_type type, const void *data, size_t len, struct ledger_oid *out)
{
	struct sha h;
	char head[32];
	int n;

	n = snprintf(head, sizeof(head), "%s %zu", object_type_name(type), len);
	sha_init(&h);
	sha_update(&h, head, (size_t)n + 1);
	sha_update(&h, data, len);
	sha_final(&h, out);
}

uint32_t crc_update(uint32_t crc, const void *data, size_t len)
{
	return (uint32_t)crc32_z(crc, data, len);
}
