/* SPDX-License-Identifier: MIT */
/*
 * Compare-and-swap in one call: setxattr of user.kv.swap.<blob>.  swap: through a descriptor of the key, knowing the name
 * of the value that is there, as a client of Redis or PostgreSQL knows the old value or its version.  swap-path: the name
 * is read first, all by path.  many-swap: that of one of many keys.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

/* The blob's name of what is in `value`. */
static int blob_name(const struct client *c, char oid[41])
{
	EVP_MD_CTX *ctx = c->conn;
	unsigned char id[20];
	char head[32];
	int n = snprintf(head, sizeof(head), "blob %zu", c->size) + 1;

	if (!EVP_DigestInit_ex(ctx, EVP_sha1(), NULL) || !EVP_DigestUpdate(ctx, head, (size_t)n) ||
	    !EVP_DigestUpdate(ctx, c->value, c->size) || !EVP_DigestFinal_ex(ctx, id, NULL))
		return EIO;
	for (int i = 0; i < 20; i++)
		snprintf(oid + 2 * i, 3, "%02x", id[i]);
	return 0;
}

static int begin_swap(struct client *c)
{
	int err;

	set_path(c);
	c->conn = EVP_MD_CTX_new();
	if (!c->conn)
		return ENOMEM;
	err = save(c, c->key, 0);
	if (!err && (c->fd = open(c->key, O_RDONLY)) < 0)
		err = errno;
	return err ? err : blob_name(c, c->oid);
}

static int do_swap(struct client *c)
{
	char name[128];

	snprintf(name, sizeof(name), "user.kv.swap.%s", c->oid);
	value_next(c);
	return fsetxattr(c->fd, name, c->value, c->size, 0) ? errno : blob_name(c, c->oid);
}

static int do_swap_path(struct client *c)
{
	char name[128], oid[64];
	ssize_t n = getxattr(c->key, "user.kv.blob", oid, sizeof(oid) - 1);

	if (n < 0)
		return errno;
	oid[n] = 0;
	snprintf(name, sizeof(name), "user.kv.swap.%s", oid);
	value_next(c);
	return setxattr(c->key, name, c->value, c->size, 0) ? errno : 0;
}

static int do_many_swap(struct client *c)
{
	pick(c);
	return do_swap_path(c);
}

const struct kind swap_kinds[] = {
	{"swap", begin_swap, do_swap},
	{"swap-path", begin_swap, do_swap_path},
	{"many-swap", NULL, do_many_swap},
	{NULL},
};
