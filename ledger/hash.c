/* SPDX-License-Identifier: MIT */
#include "hash.h"

#include "error.h"

#include <errno.h>
#include <git2.h>
#include <openssl/evp.h>
#include <stdio.h>

const struct ledger_oid hash_empty_tree = {{0x4b, 0x82, 0x5d, 0xc6, 0x42, 0xcb, 0x6e, 0xb9, 0xa0, 0x60,
					    0xe5, 0x4b, 0xf8, 0xd6, 0x92, 0x88, 0xfb, 0xee, 0x49, 0x04}};

int hash_object(enum store_type type, const void *data, size_t len, struct ledger_oid *out)
{
	git_oid id;
	int rc;

	errno = 0;
	rc = git_odb_hash(&id, data ? data : "", len, (git_object_t)type);
	if (rc)
		return ledger_fail_git(rc, "cannot hash");
	memcpy(out->id, id.id, LEDGER_OID_SIZE);
	return 0;
}

static int sha1_two(const void *a, size_t alen, const void *b, size_t blen, struct ledger_oid *out)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	int ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha1(), NULL) && EVP_DigestUpdate(ctx, a, alen) &&
		 EVP_DigestUpdate(ctx, b, blen) && EVP_DigestFinal_ex(ctx, out->id, NULL);

	EVP_MD_CTX_free(ctx);
	return ok ? 0 : ledger_fail(LEDGER_ENOMEM, "SHA-1 is not available");
}

int hash_tree(const void *data, size_t len, struct ledger_oid *out)
{
	char head[32];
	int n = snprintf(head, sizeof(head), "tree %zu", len) + 1;

	return sha1_two(head, (size_t)n, data, len, out);
}

int hash_key(const char *a, const char *b, struct ledger_oid *out)
{
	return sha1_two(a, strlen(a) + 1, b, strlen(b), out);
}
