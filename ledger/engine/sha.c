/* SPDX-License-Identifier: MIT */
/* The low-level SHA-1 of libcrypto: half the cost of EVP for objects of a few hundred bytes, which are nearly all. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "sha.h"

#include <openssl/sha.h>
#include <stddef.h>
#include <stdio.h>

_Static_assert(sizeof(struct sha) == sizeof(SHA_CTX), "struct sha stands for SHA_CTX, so that only this file sees it");
_Static_assert(offsetof(struct sha, num) == offsetof(SHA_CTX, num) && offsetof(struct sha, nl) == offsetof(SHA_CTX, Nl),
	       "and so that the blocks of two can be done at once");

void sha_init(struct sha *h)
{
	SHA1_Init((SHA_CTX *)h);
}

void sha_update(struct sha *h, const void *data, size_t len)
{
	SHA1_Update((SHA_CTX *)h, data, len);
}

/* Up to the next full block; what was taken of `data`. */
static size_t fill(struct sha *h, const unsigned char *data, size_t len)
{
	size_t n = h->num ? 64 - h->num : 0;

	if (n > len)
		n = len;
	sha_update(h, data, n);
	return n;
}

/* Notes that so many bytes went in. */
static void count(struct sha *h, size_t len)
{
	uint64_t bits = ((uint64_t)h->nh << 32 | h->nl) + ((uint64_t)len << 3);

	h->nl = (uint32_t)bits;
	h->nh = (uint32_t)(bits >> 32);
}

void sha_update2(struct sha *a, const void *adata, size_t alen, struct sha *b, const void *bdata, size_t blen)
{
	const unsigned char *pa = adata, *pb = bdata;
	size_t na, nb, blocks;

	if (sha_pair_fast()) {
		na = fill(a, pa, alen);
		nb = fill(b, pb, blen);
		blocks = (alen - na < blen - nb ? alen - na : blen - nb) / 64;
		if (!a->num && !b->num && blocks) {
			sha_pair_blocks(a->state, pa + na, b->state, pb + nb, blocks);
			count(a, blocks * 64);
			count(b, blocks * 64);
			na += blocks * 64;
			nb += blocks * 64;
		}
		pa += na;
		alen -= na;
		pb += nb;
		blen -= nb;
	}
	sha_update(a, pa, alen);
	sha_update(b, pb, blen);
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
