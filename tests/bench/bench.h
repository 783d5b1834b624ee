/* SPDX-License-Identifier: MIT */
/*
 * One thing done over and over by some processes: what scripts/bench starts.  A *kind* is one way to do it; files.c has
 * those on a file system, swap.c those of the mount's compare-and-swap, redis.c, postgres.c and etcd.c the peers.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stddef.h>
#include <stdint.h>

struct client {
	unsigned id;
	const char *where; /* a directory, or port number of a peer on the loopback */
	char name[128];    /* of the client's own key */
	char key[768];     /* where it is: <where>/<name> for files, <name> for peers */
	char tmp[800];
	char *value; /* `size` bytes and a NUL; value_next() changes it */
	size_t size;
	uint64_t n;    /* values made so far */
	unsigned keys; /* many-*: of so many keys in <where>/ a random one each time */
	uint64_t random;
	int fd;
	char oid[41]; /* swap: of the value that is there */
	uint64_t version;
	void *conn;
	char *spare; /* `size` bytes: the value before */
};

struct kind {
	const char *name;
	/* Before the clock runs; puts the key there.  0 or an errno. */
	int (*begin)(struct client *c);
	/* Once.  0 or an errno; EAGAIN and EBUSY are conflicts. */
	int (*step)(struct client *c);
};

extern const struct kind files_kinds[], swap_kinds[], redis_kinds[], postgres_kinds[], etcd_kinds[];

/* Never the same bytes twice: those would make no commit. */
void value_next(struct client *c);
/* open(O_TRUNC), write, perhaps fsync, close. */
int save(struct client *c, const char *path, int sync);
/* Sets `key` to <where>/<name>. */
void set_path(struct client *c);
/* many-*: to the path of a random one of its keys; `name` is flat or two. */
void pick(struct client *c);

#endif
