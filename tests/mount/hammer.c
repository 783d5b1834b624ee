/* SPDX-License-Identifier: MIT */
/*
 * hammer DIR SECONDS [READDIR]: readers against writers on the keys of one namespace (SPEC 4: never half of one value and
 * half of another, by read or by mmap; close-to-open).  READDIR: where the readers look, the same namespace on another
 * mount.
 *
 * Every value describes itself: a header (magic, writer, sequence, size) and then words that are a function of it, so that
 * one wrong byte, a short read or bytes of two values cannot pass.  Keys:
 *   shared   all writers write it: replace, rewrite in place, rename over it
 *   own-N    writer N alone, with the sequence that it has had acknowledged in shared memory: what an open shows must not be
 * older log      all append fixed-size records: whole records only, and none is lost Readers: pread in odd pieces, mmap, and
 * a handle kept over many saves that must go on showing the value it was opened with.
 */
#include "hammer.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WRITERS 3
#define READERS 4
#define MAXSIZE 200000
#define RECORD 64

struct shared {
	_Atomic uint64_t acked[WRITERS]; /* newest sequence of own-N whose close returned 0 */
	_Atomic uint64_t appended, saves, conflicts, reads, maps, kept;
	_Atomic int bad;
};

static struct shared *sh;
static const char *dir;
static time_t end;

static void bad(const char *what, const char *key, uint64_t a, uint64_t b)
{
	printf("# %s: %s (%llu, %llu)\n", key, what, (unsigned long long)a, (unsigned long long)b);
	fflush(stdout);
	sh->bad++;
}

static void bad_errno(const char *what, const char *key)
{
	printf("# %s: %s: %s\n", key, what, strerror(errno));
	fflush(stdout);
	sh->bad++;
}

static const char *path_of(char buf[256], const char *key)
{
	snprintf(buf, 256, "%s/%s", dir, key);
	return buf;
}

/* --- writers -------------------------------------------------------------------------------------------------------- */

/* One save in pieces; 0, or the errno of the step that failed. */
static int put(const char *path, int flags, const unsigned char *data, size_t len, unsigned *seed)
{
	int fd = open(path, flags, 0644);
	size_t done = 0;
	int err = 0;

	if (fd < 0)
		return errno;
	while (done < len) {
		size_t piece = 1 + (size_t)rand_r(seed) % 70000;
		ssize_t n = write(fd, data + done, piece < len - done ? piece : len - done);

		if (n < 0) {
			err = errno;
			break;
		}
		done += (size_t)n;
	}
	if (!err && !(flags & (O_TRUNC | O_APPEND)) && ftruncate(fd, (off_t)len))
		err = errno;
	if (close(fd) && !err)
		err = errno;
	return err;
}

static void save(int who, uint64_t seq, const char *key, int how, unsigned *seed)
{
	static unsigned char data[MAXSIZE];
	char path[256], other[256], name[64];
	size_t len = value_make(data, (uint64_t)who, seq, value_size(seed, MAXSIZE));
	int err;

	path_of(path, key);
	if (how == 0) {
		err = put(path, O_WRONLY | O_CREAT | O_TRUNC, data, len, seed);
	} else if (how == 1) {
		err = put(path, O_RDWR, data, len, seed); /* made from the old value: may be refused */
	} else {
		snprintf(name, sizeof(name), "next-%d", who);
		err = put(path_of(other, name), O_WRONLY | O_CREAT | O_TRUNC, data, len, seed);
		if (!err && rename(other, path))
			err = errno;
	}
	if (err == EAGAIN || err == EBUSY) {
		sh->conflicts++;
		if (how != 1 || key[0] == 'o')
			bad("conflict without an expectation", key, seq, (uint64_t)err);
	} else if (err) {
		errno = err;
		bad_errno(how == 0 ? "save by O_TRUNC" : how == 1 ? "save in place" : "save by rename", key);
	} else {
		sh->saves++;
		if (key[0] == 'o')
			sh->acked[who] = seq;
	}
}

static void append(int who, uint64_t seq)
{
	unsigned char record[RECORD];
	char path[256];
	unsigned seed = (unsigned)seq;
	int err;

	record_make(record, RECORD, (uint64_t)who, seq);
	err = put(path_of(path, "log"), O_WRONLY | O_APPEND, record, RECORD - 1, &seed);
	if (err) {
		errno = err;
		bad_errno("append", "log");
	} else {
		sh->appended++;
	}
}

static void writer(int who)
{
	unsigned seed = (unsigned)who * 7919 + 17;
	char own[32];

	snprintf(own, sizeof(own), "own-%d", who);
	for (uint64_t seq = 2; time(NULL) < end && !sh->bad; seq++) {
		save(who, seq, own, (int)(seq % 3), &seed);
		save(who, seq, "shared", (int)((unsigned)rand_r(&seed) % 3), &seed);
		if (seq % 4 == 0)
			append(who, seq);
	}
}

/* --- readers -------------------------------------------------------------------------------------------------------- */

static void judge(const char *how, const char *key, const unsigned char *data, size_t len, int owner, uint64_t atleast)
{
	uint64_t who, seq;
	const char *fault = value_check(data, len, &who, &seq);

	if (fault)
		bad(fault, key, len, 0);
	else if (owner >= 0 && (who != (uint64_t)owner || seq < atleast))
		bad(how, key, seq, atleast);
}

static void by_read(const char *key, int owner, unsigned *seed)
{
	static unsigned char data[MAXSIZE + 1];
	char path[256];
	uint64_t atleast = owner >= 0 ? sh->acked[owner] : 0;
	int fd = open(path_of(path, key), O_RDONLY);
	size_t len = 0;
	ssize_t n;

	if (fd < 0) {
		bad_errno("open", key);
		return;
	}
	do {
		size_t piece = 1 + (size_t)rand_r(seed) % 65536, room = sizeof(data) - len;

		n = pread(fd, data + len, piece < room ? piece : room, (off_t)len);
		len += n > 0 ? (size_t)n : 0;
	} while (n > 0 && len < sizeof(data));
	if (n < 0)
		bad_errno("read", key);
	else
		judge("an older value than was acknowledged before the open", key, data, len, owner, atleast);
	close(fd);
	sh->reads++;
}

/* Maps the value, reads it, lets others save, reads it again: the same. */
static void by_map(const char *key, int owner, int flags)
{
	char path[256];
	uint64_t atleast = owner >= 0 ? sh->acked[owner] : 0, who, seq = 0, seq2 = 0;
	int fd = open(path_of(path, key), O_RDONLY);
	struct stat st;
	unsigned char *p;

	if (fd < 0 || fstat(fd, &st)) {
		bad_errno("open", key);
		return;
	}
	p = st.st_size ? mmap(NULL, (size_t)st.st_size, PROT_READ, flags, fd, 0) : MAP_FAILED;
	if (p == MAP_FAILED) {
		bad("no mapping, or of nothing", key, (uint64_t)st.st_size, (uint64_t)errno);
		close(fd);
		return;
	}
	judge("an older value than was acknowledged, mapped", key, p, (size_t)st.st_size, owner, atleast);
	value_check(p, (size_t)st.st_size, &who, &seq);
	for (int i = 0; i < 20; i++)
		sched_yield();
	if (value_check(p, (size_t)st.st_size, &who, &seq2) || seq2 != seq)
		bad("the mapping changed", key, seq, seq2);
	munmap(p, (size_t)st.st_size);
	close(fd);
	sh->maps++;
}

struct kept {
	int fd;
	uint64_t who, seq;
};

/* A handle that stays open: its value stays, whatever is saved meanwhile. */
static void by_kept(const char *key, struct kept *k, int renew)
{
	static unsigned char data[MAXSIZE + 1];
	char path[256];
	uint64_t who = 0, seq = 0;
	const char *fault;
	ssize_t n;

	if (k->fd < 0)
		k->fd = open(path_of(path, key), O_RDONLY);
	n = pread(k->fd, data, sizeof(data), 0);
	fault = n < 0 ? "pread of a kept handle" : value_check(data, (size_t)n, &who, &seq);
	if (fault)
		bad(fault, key, (uint64_t)n, (uint64_t)errno);
	else if (k->seq && (k->who != who || k->seq != seq))
		bad("a kept handle shows another value", key, k->seq, seq);
	k->who = who;
	k->seq = seq;
	sh->kept++;
	if (renew) {
		close(k->fd);
		*k = (struct kept){.fd = -1};
	}
}

static void read_log(void)
{
	static unsigned char data[1 << 22];
	char path[256];
	uint64_t atleast = sh->appended;
	int fd = open(path_of(path, "log"), O_RDONLY);
	ssize_t n = read(fd, data, sizeof(data));

	close(fd);
	if (n < 0 || n % (RECORD - 1))
		bad("half a record", "log", (uint64_t)n, 0);
	else if ((uint64_t)n / (RECORD - 1) < atleast)
		bad("an acknowledged append is not there", "log", (uint64_t)n / (RECORD - 1), atleast);
	for (ssize_t i = 0; i < n; i += RECORD - 1)
		if (!record_good(data + i, RECORD))
			bad("a torn record", "log", (uint64_t)i, 0);
}

static void reader(int who)
{
	unsigned seed = (unsigned)who * 104729 + 5;
	struct kept kept = {.fd = -1};
	char own[32];

	while (time(NULL) < end && !sh->bad) {
		int owner = (int)((unsigned)rand_r(&seed) % WRITERS);

		snprintf(own, sizeof(own), "own-%d", owner);
		by_read("shared", -1, &seed);
		by_read(own, owner, &seed);
		by_map("shared", -1, MAP_PRIVATE);
		by_map(own, owner, MAP_SHARED);
		by_kept("shared", &kept, rand_r(&seed) % 16 == 0);
		if (rand_r(&seed) % 8 == 0)
			read_log();
	}
}

int main(int argc, char **argv)
{
	unsigned char first[4096];
	char path[256], own[32];
	unsigned seed = 3;
	int status, n = 0;

	if (argc != 3 && argc != 4)
		return 2;
	dir = argv[1];
	end = time(NULL) + atoi(argv[2]);
	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sh == MAP_FAILED)
		return 2;
	for (int i = -1; i < WRITERS; i++) {
		snprintf(own, sizeof(own), i < 0 ? "shared" : "own-%d", i);
		status = put(path_of(path, own), O_WRONLY | O_CREAT | O_TRUNC, first,
			     value_make(first, (uint64_t)(i < 0 ? 0 : i), 1, 2000), &seed);
		if (status || (i < 0 && put(path_of(path, "log"), O_WRONLY | O_CREAT, first, 0, &seed)))
			return 2;
	}
	for (int i = 0; i < WRITERS + READERS; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			if (i < WRITERS) {
				writer(i);
			} else {
				dir = argv[argc - 1 == 3 ? 3 : 1];
				reader(i);
			}
			_exit(0);
		}
		n += pid > 0;
	}
	while (n-- > 0)
		if (wait(&status) < 0 || status)
			bad("a process died (SIGBUS of a mapping?)", "status", (uint64_t)status, 0);
	read_log();
	printf("# %llu saves, %llu refused, %llu appends; %llu reads, %llu mappings, %llu looks at a kept handle; %d "
	       "anomalies\n",
	       (unsigned long long)sh->saves, (unsigned long long)sh->conflicts, (unsigned long long)sh->appended,
	       (unsigned long long)sh->reads, (unsigned long long)sh->maps, (unsigned long long)sh->kept, sh->bad);
	return sh->bad || !sh->saves || !sh->reads;
}
