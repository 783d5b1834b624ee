/* SPDX-License-Identifier: MIT */
/*
 * What programs do to files: save (open O_TRUNC, write, close), replace (write a new file, fsync, rename over the key: a
 * careful program on a disk), cas and casblob (read the tree or the blob, arm the expectation, save), read (open, read,
 * close), pread (of a handle that is open), stat, and the same of a random one of many keys.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

int save(struct client *c, const char *path, int sync)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644), err = 0;

	if (fd < 0)
		return errno;
	value_next(c);
	if (write(fd, c->value, c->size) != (ssize_t)c->size || (sync && fsync(fd)))
		err = errno;
	if (close(fd) && !err)
		err = errno;
	return err;
}

void set_path(struct client *c)
{
	snprintf(c->key, sizeof(c->key), "%.600s/%s", c->where, c->name);
	snprintf(c->tmp, sizeof(c->tmp), "%s.new%u", c->key, c->id);
}

static int begin(struct client *c)
{
	set_path(c);
	return save(c, c->key, 0);
}

void pick(struct client *c)
{
	unsigned n;

	c->random ^= c->random << 13;
	c->random ^= c->random >> 7;
	c->random ^= c->random << 17;
	n = (unsigned)(c->random % c->keys);
	if (strcmp(c->name, "two") == 0)
		snprintf(c->key, sizeof(c->key), "%.600s/d%u/k%u", c->where, n / 1000, n % 1000);
	else
		snprintf(c->key, sizeof(c->key), "%.600s/k%u", c->where, n);
}

static int do_save(struct client *c)
{
	return save(c, c->key, 0);
}

static int do_replace(struct client *c)
{
	int err = save(c, c->tmp, 1);

	return err ? err : rename(c->tmp, c->key) ? errno : 0;
}

static int guarded(struct client *c, const char *what)
{
	char name[64], arm[64], value[64];
	ssize_t n;

	snprintf(name, sizeof(name), "user.kv.%s", what);
	snprintf(arm, sizeof(arm), "user.kv.expect-%s", what);
	n = getxattr(c->key, name, value, sizeof(value));
	if (n < 0 || setxattr(c->key, arm, value, (size_t)n, 0))
		return errno;
	return save(c, c->key, 0);
}

static int do_cas(struct client *c)
{
	return guarded(c, "tree");
}

static int do_casblob(struct client *c)
{
	return guarded(c, "blob");
}

static int do_read(struct client *c)
{
	int fd = open(c->key, O_RDONLY), err;
	ssize_t n;

	if (fd < 0)
		return errno;
	n = read(fd, c->spare, c->size);
	err = n < 0 ? errno : 0;
	close(fd);
	return err;
}

static int begin_pread(struct client *c)
{
	int err = begin(c);

	if (!err && (c->fd = open(c->key, O_RDONLY)) < 0)
		err = errno;
	return err;
}

/* One read(2) takes less than the clock costs: a step is a hundred of them. */
static int do_pread(struct client *c)
{
	for (int i = 0; i < 100; i++)
		if (pread(c->fd, c->spare, c->size, 0) < 0)
			return errno;
	return 0;
}

static int do_stat(struct client *c)
{
	struct stat st;

	return stat(c->key, &st) ? errno : 0;
}

static int do_many_read(struct client *c)
{
	pick(c);
	return do_read(c);
}

static int do_many_stat(struct client *c)
{
	pick(c);
	return do_stat(c);
}

static int do_many_save(struct client *c)
{
	pick(c);
	return do_save(c);
}

const struct kind files_kinds[] = {
	{"save", begin, do_save},
	{"replace", begin, do_replace},
	{"cas", begin, do_cas},
	{"casblob", begin, do_casblob},
	{"read", begin, do_read},
	{"pread", begin_pread, do_pread},
	{"stat", begin, do_stat},
	{"many-read", NULL, do_many_read},
	{"many-stat", NULL, do_many_stat},
	{"many-save", NULL, do_many_save},
	{NULL},
};
