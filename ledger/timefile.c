/* SPDX-License-Identifier: MIT */
/* Not through engine/io.h: what is lost here costs time, nothing else. */
#include "timefile.h"

#include "engine/sha.h"
#include "hash.h"
#include "names.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC "kvtimes1"
#define MARK 0x01020304u
#define CHUNK 2048 /* slots at a time */

struct head {
	char magic[8];
	uint32_t mark, namelen;
	uint64_t keys;
	struct ledger_oid commit;
	uint32_t zero;
};

_Static_assert(sizeof(struct head) == 48 && sizeof(struct time_slot) == 24, "the file's layout");

/* --- paths ---------------------------------------------------------------------------------------------------------- */

static bool path_of(const struct ledger *l, const char *name, char out[PATH_MAX])
{
	return snprintf(out, PATH_MAX, "%s/kv/times/%s", l->gitdir, name) < PATH_MAX;
}

static bool file_of(const struct ledger *l, const char *ns, char out[PATH_MAX])
{
	char hex[LEDGER_OID_HEXSIZE + 1];
	struct ledger_oid id;

	return !hash_key("times", ns, &id) && path_of(l, ledger_oid_fmt(hex, &id), out);
}

/* --- reading -------------------------------------------------------------------------------------------------------- */

static bool read_all(int fd, void *data, size_t len)
{
	for (size_t have = 0; have < len;) {
		ssize_t n = read(fd, (char *)data + have, len - have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		have += (size_t)n;
	}
	return true;
}

/* The header and the name behind it, which is NUL-terminated. */
static bool read_head(int fd, struct head *h, char name[NAMES_REF_MAX], struct sha *sum)
{
	struct stat st;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || !read_all(fd, h, sizeof(*h)) ||
	    memcmp(h->magic, MAGIC, sizeof(h->magic)) || h->mark != MARK || h->namelen >= NAMES_REF_MAX ||
	    h->keys > (uint64_t)st.st_size / sizeof(struct time_slot) ||
	    (uint64_t)st.st_size != sizeof(*h) + h->namelen + h->keys * sizeof(struct time_slot) + LEDGER_OID_SIZE ||
	    !read_all(fd, name, h->namelen))
		return false;
	name[h->namelen] = '\0';
	sha_init(sum);
	sha_update(sum, h, sizeof(*h));
	sha_update(sum, name, h->namelen);
	return true;
}

static bool read_slots(int fd, uint64_t keys, struct sha *sum, struct timetable *t)
{
	struct time_slot *buf = malloc(CHUNK * sizeof(*buf));
	struct ledger_oid want, have;
	bool ok = buf && timetable_reserve(t, keys);

	for (uint64_t left = keys; ok && left;) {
		size_t n = left < CHUNK ? (size_t)left : CHUNK;

		ok = read_all(fd, buf, n * sizeof(*buf));
		if (!ok)
			break;
		sha_update(sum, buf, n * sizeof(*buf));
		for (size_t i = 0; i < n && (ok = buf[i].nsec < 1000000000); i++)
			timetable_put(t, &buf[i].id, &(struct timespec){(time_t)buf[i].sec, buf[i].nsec});
		left -= n;
	}
	sha_final(sum, &have);
	free(buf);
	return ok && read_all(fd, want.id, sizeof(want.id)) && ledger_oid_eq(&want, &have);
}

int timefile_load(struct ledger *l, const char *ns, size_t max, struct ledger_oid *commit, struct timetable *out)
{
	struct timetable t = {0};
	char path[PATH_MAX], name[NAMES_REF_MAX];
	struct head h;
	struct sha sum;
	bool ok;
	int fd;

	if (!file_of(l, ns, path))
		return LEDGER_ENOTFOUND;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return LEDGER_ENOTFOUND;
	ok = read_head(fd, &h, name, &sum) && h.keys <= max && read_slots(fd, h.keys, &sum, &t);
	close(fd);
	if (!ok) {
		timetable_release(&t);
		return LEDGER_ENOTFOUND;
	}
	*commit = h.commit;
	*out = t;
	return 0;
}

/* --- writing -------------------------------------------------------------------------------------------------------- */

static bool write_all(int fd, const void *data, size_t len, struct sha *sum)
{
	if (sum)
		sha_update(sum, data, len);
	for (size_t done = 0; done < len;) {
		ssize_t n = write(fd, (const char *)data + done, len - done);

		if (n < 0 && errno != EINTR)
			return false;
		done += n > 0 ? (size_t)n : 0;
	}
	return true;
}

static bool write_file(int fd, const char *ns, const struct ledger_oid *commit, const struct time_slot *slots, size_t n)
{
	struct head h = {.mark = MARK, .namelen = (uint32_t)strlen(ns), .keys = n, .commit = *commit};
	struct ledger_oid have;
	struct sha sum;

	memcpy(h.magic, MAGIC, sizeof(h.magic));
	sha_init(&sum);
	if (!write_all(fd, &h, sizeof(h), &sum) || !write_all(fd, ns, h.namelen, &sum))
		return false;
	for (size_t i = 0; i < n; i += CHUNK)
		if (!write_all(fd, slots + i, (n - i < CHUNK ? n - i : CHUNK) * sizeof(*slots), &sum))
			return false;
	sha_final(&sum, &have);
	return write_all(fd, have.id, sizeof(have.id), NULL);
}

/* The lock of those who write; its descriptor or an error. */
static int lock_times(struct ledger *l)
{
	char path[PATH_MAX];
	int fd;

	/* A repository that nobody wrote to yet has no kv. */
	if (!path_of(l, "", path) || snprintf(path, sizeof(path), "%s/kv", l->gitdir) >= PATH_MAX)
		return LEDGER_EIO;
	mkdir(path, 0777);
	path_of(l, "", path);
	mkdir(path, 0777);
	path_of(l, "lock", path);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
	if (fd < 0)
		return LEDGER_EIO;
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		close(fd);
		return LEDGER_ELOCKED;
	}
	return fd;
}

int timefile_save(struct ledger *l, const char *ns, const struct ledger_oid *commit, const struct time_slot *slots, size_t n)
{
	char path[PATH_MAX], tmp[PATH_MAX];
	int lock, fd;
	bool ok;

	if (!file_of(l, ns, path) || !path_of(l, "new", tmp))
		return LEDGER_EIO;
	lock = lock_times(l);
	if (lock < 0)
		return lock;
	/* What somebody left behind who was killed. */
	unlink(tmp);
	fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	ok = fd >= 0 && write_file(fd, ns, commit, slots, n);
	if (fd >= 0)
		ok = close(fd) == 0 && ok;
	ok = ok && rename(tmp, path) == 0;
	if (!ok)
		unlink(tmp);
	close(lock);
	return ok ? 0 : LEDGER_EIO;
}

void timefile_move(struct ledger *l, const char *ns, const char *to)
{
	char path[PATH_MAX], other[PATH_MAX];

	if (!file_of(l, ns, path))
		return;
	if (!to || !file_of(l, to, other) || rename(path, other))
		unlink(path);
}

/* Is the file of a namespace that is there, or not ours to judge? */
static bool belongs(struct ledger *l, const char *path)
{
	char name[NAMES_REF_MAX], ref[NAMES_REF_MAX], want[PATH_MAX];
	struct ledger_oid tip;
	struct head h;
	struct sha sum;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	bool good;

	if (fd < 0)
		return true;
	good = read_head(fd, &h, name, &sum);
	close(fd);
	/* Another name than the file's: the namespace was renamed, its next save says so. */
	return !good || !file_of(l, name, want) || strcmp(want, path) || names_ref(ref, NAMES_KV, name) ||
	       store_ref_read(l->store, ref, &tip) != LEDGER_ENOTFOUND;
}

void timefile_sweep(struct ledger *l)
{
	char dir[PATH_MAX], path[PATH_MAX];
	int lock = lock_times(l);
	struct dirent *e;
	DIR *d;

	if (lock < 0)
		return;
	path_of(l, "", dir);
	d = opendir(dir);
	while (d && (e = readdir(d)))
		if (strlen(e->d_name) == LEDGER_OID_HEXSIZE && path_of(l, e->d_name, path) && !belongs(l, path))
			unlink(path);
	if (d)
		closedir(d);
	close(lock);
}
