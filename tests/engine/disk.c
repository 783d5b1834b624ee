/* SPDX-License-Identifier: MIT */
#include "disk.h"

#include "../../ledger/engine/io.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* One call that worked. */
struct event {
	enum io_op op;
	char *path, *to;
	int file;   /* number of the file written, synced or created */
	void *data; /* NULL: zeros */
	size_t len;
	off_t off;
};

static struct {
	pthread_mutex_t mu;
	struct event *v;
	size_t n, cap;
	int nfiles;
	ino_t *inos; /* of each file */
	size_t inocap;
	struct fd {
		int file;  /* 0: none */
		char *dir; /* of a directory */
	} fds[4096];
	char root[1024];
} disk = {.mu = PTHREAD_MUTEX_INITIALIZER};

/* A name and what it leads to; directories are file 0. */
struct entry {
	char *path;
	int file;
};

struct names {
	struct entry *v;
	size_t n, cap;
};

static struct names live; /* as the process sees them */

static struct entry *find(struct names *t, const char *path)
{
	for (size_t i = 0; i < t->n; i++)
		if (strcmp(t->v[i].path, path) == 0)
			return &t->v[i];
	return NULL;
}

static void put(struct names *t, const char *path, int file)
{
	struct entry *e = find(t, path);

	if (!e) {
		if (t->n == t->cap) {
			t->cap = t->cap * 2 + 256;
			t->v = realloc(t->v, t->cap * sizeof(*t->v));
			assert(t->v);
		}
		e = &t->v[t->n++];
		e->path = strdup(path);
	}
	e->file = file;
}

static void drop(struct names *t, const char *path)
{
	struct entry *e = find(t, path);

	if (!e)
		return;
	free(e->path);
	*e = t->v[--t->n];
}

static void names_free(struct names *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->v[i].path);
	free(t->v);
	memset(t, 0, sizeof(*t));
}

/* What a call does to the names. */
static void apply(struct names *t, const struct event *e)
{
	struct entry *a, *b;
	int file;

	switch (e->op) {
	case IO_OPEN:
		put(t, e->path, e->file);
		break;
	case IO_MKDIR:
		put(t, e->path, 0);
		break;
	case IO_UNLINK:
	case IO_RMDIR:
		drop(t, e->path);
		break;
	case IO_LINK:
		a = e->path ? find(t, e->path) : NULL;
		if (a || !e->path)
			put(t, e->to, a ? a->file : e->file);
		break;
	case IO_RENAME:
		a = find(t, e->path);
		if (a) {
			file = a->file;
			drop(t, e->path);
			put(t, e->to, file);
		}
		break;
	case IO_EXCHANGE:
		a = find(t, e->path);
		b = find(t, e->to);
		if (a && b) {
			file = a->file;
			a->file = b->file;
			b->file = file;
		}
		break;
	default:
		break;
	}
}

/* --- recording ------------------------------------------------------------------------------------------------------ */

static bool is_name(enum io_op op)
{
	return op == IO_OPEN || op == IO_MKDIR || op == IO_UNLINK || op == IO_RMDIR || op == IO_LINK || op == IO_RENAME ||
	       op == IO_EXCHANGE;
}

static bool zeros(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

static struct event *add(enum io_op op, const char *path, const char *to)
{
	struct event *e;

	if (disk.n == disk.cap) {
		disk.cap = disk.cap * 2 + 1024;
		disk.v = realloc(disk.v, disk.cap * sizeof(*disk.v));
		assert(disk.v);
	}
	e = &disk.v[disk.n++];
	memset(e, 0, sizeof(*e));
	e->op = op;
	e->path = path ? strdup(path) : NULL;
	e->to = to ? strdup(to) : NULL;
	return e;
}

static int new_file(ino_t ino)
{
	size_t n = (size_t)++disk.nfiles;

	if (n >= disk.inocap) {
		disk.inocap = disk.inocap * 2 + 1024;
		disk.inos = realloc(disk.inos, disk.inocap * sizeof(*disk.inos));
		assert(disk.inos);
	}
	disk.inos[n] = ino;
	return (int)n;
}

/*
 * What a descriptor is open on tells its inode, not its path: another thread may have put another file there before this
 * call is written down.  An inode is used again, the newest file counts.
 */
static int file_of(ino_t ino)
{
	int n = disk.nfiles;

	while (n && disk.inos[n] != ino)
		n--;
	return n;
}

static void opened(const struct io_call *c, int fd)
{
	struct stat st;
	struct fd *f;

	assert(fd < (int)(sizeof(disk.fds) / sizeof(*disk.fds)));
	f = &disk.fds[fd];
	memset(f, 0, sizeof(*f));
	if (c->flags & O_DIRECTORY && (c->flags & O_TMPFILE) != O_TMPFILE) {
		f->dir = strdup(c->path);
		return;
	}
	assert(fstat(fd, &st) == 0);
	if ((c->flags & O_TMPFILE) == O_TMPFILE) {
		f->file = new_file(st.st_ino);
	} else if (c->flags & O_EXCL || (c->flags & O_CREAT && !find(&live, c->path))) {
		struct event *e = add(IO_OPEN, c->path, NULL);

		f->file = e->file = new_file(st.st_ino);
		apply(&live, e);
	} else {
		/* None: a state that a cut has left is at work, and nobody asks for what is written down now. */
		f->file = file_of(st.st_ino);
	}
}

static int before(void *arg, struct io_call *c)
{
	return 0;
}

static void after(void *arg, const struct io_call *c, int ret)
{
	struct event *e;

	if (ret < 0 || c->op == IO_ALLOC)
		return;
	pthread_mutex_lock(&disk.mu);
	if (c->op == IO_OPEN) {
		opened(c, ret);
	} else if (c->op == IO_CLOSE) {
		free(disk.fds[c->fd].dir);
		memset(&disk.fds[c->fd], 0, sizeof(disk.fds[c->fd]));
	} else if (c->op == IO_WRITE) {
		e = add(c->op, NULL, NULL);
		e->file = disk.fds[c->fd].file;
		e->off = c->off;
		e->len = c->len;
		if (!zeros(c->buf, c->len)) {
			e->data = malloc(c->len);
			assert(e->data);
			memcpy(e->data, c->buf, c->len);
		}
	} else if (c->op == IO_TRUNCATE) {
		e = add(c->op, NULL, NULL);
		e->file = disk.fds[c->fd].file;
		e->off = c->off;
	} else if (is_name(c->op)) {
		e = add(c->op, c->path, c->to);
		if (c->op == IO_LINK && !c->path)
			e->file = disk.fds[c->fd].file;
		apply(&live, e);
	} else {
		e = add(c->op, disk.fds[c->fd].dir, NULL);
		e->file = disk.fds[c->fd].file;
	}
	pthread_mutex_unlock(&disk.mu);
}

static const struct io_hook hook = {before, after, NULL};

/* What is there already: files with one synced write. */
static void take_base(const char *rel)
{
	char path[2 * PATH_MAX], sub[PATH_MAX];
	struct dirent *d;
	struct stat st;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/%s", disk.root, rel);
	dir = opendir(path);
	assert(dir);
	while ((d = readdir(dir))) {
		struct event *e;
		FILE *f;

		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		assert(snprintf(sub, sizeof(sub), "%s%s%s", rel, *rel ? "/" : "", d->d_name) < PATH_MAX);
		snprintf(path, sizeof(path), "%s/%s", disk.root, sub);
		assert(lstat(path, &st) == 0);
		e = add(S_ISDIR(st.st_mode) ? IO_MKDIR : IO_OPEN, sub, NULL);
		if (S_ISDIR(st.st_mode)) {
			apply(&live, e);
			take_base(sub);
			continue;
		}
		e->file = new_file(st.st_ino);
		apply(&live, e);
		e = add(IO_WRITE, NULL, NULL);
		e->file = disk.nfiles;
		e->len = (size_t)st.st_size;
		e->data = malloc(e->len + 1);
		f = fopen(path, "rb");
		assert(f && e->data && fread(e->data, 1, e->len, f) == e->len);
		fclose(f);
		add(IO_FSYNC, NULL, NULL)->file = disk.nfiles;
	}
	closedir(dir);
	add(IO_FSYNC, *rel ? rel : ".", NULL);
}

void disk_begin(const char *dir)
{
	snprintf(disk.root, sizeof(disk.root), "%s", dir);
	take_base("");
	io_hook_set(&hook);
}

void disk_end(void)
{
	io_hook_set(NULL);
	for (size_t i = 0; i < disk.n; i++) {
		free(disk.v[i].path);
		free(disk.v[i].to);
		free(disk.v[i].data);
	}
	free(disk.v);
	disk.v = NULL;
	free(disk.inos);
	disk.inos = NULL;
	disk.inocap = 0;
	disk.n = disk.cap = 0;
	disk.nfiles = 0;
	names_free(&live);
}

size_t disk_now(void)
{
	size_t n;

	pthread_mutex_lock(&disk.mu);
	n = disk.n;
	pthread_mutex_unlock(&disk.mu);
	return n;
}

/* --- cutting -------------------------------------------------------------------------------------------------------- */

static bool in_dir(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	if (strcmp(dir, ".") == 0)
		return !strchr(path, '/');
	return strncmp(path, dir, n) == 0 && path[n] == '/' && !strchr(path + n + 1, '/');
}

static bool is_sync(const struct event *e)
{
	return e->op == IO_FSYNC || e->op == IO_FDATASYNC || e->op == IO_SYNCFS;
}

/* The first name that may be missing. */
static size_t names_forced(size_t at)
{
	size_t forced = 0;

	for (size_t i = 0; i < at; i++) {
		const struct event *s = &disk.v[i];

		if (!is_sync(s) || (s->op != IO_SYNCFS && !s->path))
			continue;
		for (size_t k = i; k-- > forced;) {
			const struct event *e = &disk.v[k];

			if (is_name(e->op) && (s->op == IO_SYNCFS || (e->path && in_dir(e->path, s->path)) ||
					       (e->to && in_dir(e->to, s->path)))) {
				forced = k + 1;
				break;
			}
		}
	}
	return forced;
}

/* Was the write synced before the cut? */
static bool write_forced(size_t i, size_t at)
{
	for (size_t k = i + 1; k < at; k++)
		if (is_sync(&disk.v[k]) &&
		    (disk.v[k].op == IO_SYNCFS || (!disk.v[k].path && disk.v[k].file == disk.v[i].file)))
			return true;
	return false;
}

static void write_file(const char *path, int file, size_t at, const bool *kept, const size_t *torn)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0644);

	assert(fd >= 0);
	for (size_t i = 0; i < at; i++) {
		const struct event *e = &disk.v[i];
		size_t len = e->len;

		if (e->op == IO_TRUNCATE && e->file == file)
			assert(ftruncate(fd, e->off) == 0);
		if (e->op != IO_WRITE || e->file != file || !kept[i])
			continue;
		if (torn[i])
			len = torn[i];
		if (e->data) {
			assert(pwrite(fd, e->data, len, e->off) == (ssize_t)len);
		} else {
			struct stat st;

			assert(fstat(fd, &st) == 0);
			if (st.st_size < e->off + (off_t)len)
				assert(ftruncate(fd, e->off + (off_t)len) == 0);
		}
	}
	close(fd);
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->path, ((const struct entry *)b)->path);
}

static void build(const char *to, struct names *t, size_t at, const bool *kept, const size_t *torn)
{
	char path[2 * PATH_MAX], (*first)[2 * PATH_MAX] = calloc((size_t)disk.nfiles + 1, sizeof(*first));

	assert(first);
	qsort(t->v, t->n, sizeof(*t->v), by_path);
	for (size_t i = 0; i < t->n; i++) {
		char *slash;

		snprintf(path, sizeof(path), "%s/%s", to, t->v[i].path);
		slash = strrchr(path, '/');
		*slash = 0;
		if (access(path, F_OK) < 0)
			continue; /* its directory never reached the disk */
		*slash = '/';
		if (!t->v[i].file) {
			assert(mkdir(path, 0755) == 0);
		} else if (first[t->v[i].file][0]) {
			assert(link(first[t->v[i].file], path) == 0);
		} else {
			strcpy(first[t->v[i].file], path);
			write_file(path, t->v[i].file, at, kept, torn);
		}
	}
	free(first);
}

void disk_print(size_t from, size_t to)
{
	static const char *const ops[] = {"open", "write",  "fsync", "fdatasync", "syncfs", "rename", "exchange",
					  "link", "unlink", "mkdir", "rmdir",     "close",  "alloc",  "truncate"};

	for (size_t i = from; i < to && i < disk.n; i++)
		fprintf(stderr, "%6zu %-9s %s %s file %d len %zu off %lld\n", i, ops[disk.v[i].op],
			disk.v[i].path ? disk.v[i].path : "", disk.v[i].to ? disk.v[i].to : "", disk.v[i].file,
			disk.v[i].len, (long long)disk.v[i].off);
}

void disk_cut(const char *to, size_t at, enum disk_fate fate, unsigned *seed)
{
	size_t names = names_forced(at);
	bool *kept = calloc(at + 1, sizeof(bool));
	size_t *torn = calloc(at + 1, sizeof(size_t));
	struct names t = {0};
	unsigned odds = (unsigned)rand_r(seed) % 5;

	assert(kept && torn);
	if (fate == DISK_NAMES)
		names = at;
	else if (fate == DISK_RANDOM && at > names)
		names += (size_t)rand_r(seed) % (at - names + 1);
	for (size_t i = 0; i < at; i++) {
		if (i < names && is_name(disk.v[i].op))
			apply(&t, &disk.v[i]);
		if (disk.v[i].op != IO_WRITE)
			continue;
		kept[i] = write_forced(i, at);
		if (kept[i] || fate != DISK_RANDOM)
			continue;
		kept[i] = (unsigned)rand_r(seed) % 4 < odds;
		if (kept[i] && rand_r(seed) % 4 == 0 && disk.v[i].len > 1)
			torn[i] = 1 + (size_t)rand_r(seed) % (disk.v[i].len - 1);
	}
	build(to, &t, at, kept, torn);
	names_free(&t);
	free(kept);
	free(torn);
}
