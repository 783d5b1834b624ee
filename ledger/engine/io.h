/* SPDX-License-Identifier: MIT */
/*
 * Every call of the engine that changes the disk, and every allocation, goes through here, so that a test can fail the
 * Nth of them, or write down what was asked for and synced and rebuild what a power cut may leave (tests/engine/).
 *
 * Paths are relative to the repository's directory `dirfd`.  Calls return as their system calls do: -1 and errno.
 */
#ifndef LEDGER_ENGINE_IO_H
#define LEDGER_ENGINE_IO_H

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

enum io_op {
	IO_OPEN, /* only what may create or write */
	IO_WRITE,
	IO_FSYNC,
	IO_FDATASYNC,
	IO_SYNCFS,
	IO_RENAME,
	IO_EXCHANGE,
	IO_LINK, /* of `path`, or of what `fd` is open on */
	IO_UNLINK,
	IO_MKDIR,
	IO_RMDIR,
	IO_CLOSE,
	IO_ALLOC,
	IO_TRUNCATE, /* to `off` */
};

struct io_call {
	enum io_op op;
	const char *path, *to; /* NULL where there is none */
	int fd;
	const void *buf;
	size_t len;
	off_t off;
	int flags;
};

/* What a test sees of each call; set before any store is open, called by any thread. */
struct io_hook {
	/* 0 lets the call go on (`c->len` of a write may have been shortened), else it fails with this errno. */
	int (*before)(void *arg, struct io_call *c);
	/* The call was made and gave `ret` (for IO_OPEN the descriptor). */
	void (*after)(void *arg, const struct io_call *c, int ret);
	void *arg;
};

/* NULL: none.  Borrowed until replaced. */
void io_hook_set(const struct io_hook *hook);

int io_open(int dirfd, const char *path, int flags, mode_t mode);
int io_close(int fd);
/* All of `buf` at `off`; a short write goes on, a second one that makes no way fails. */
int io_pwrite(int fd, const void *buf, size_t len, off_t off);
/* The same for more parts, which follow each other on the disk; the parts are used up.  A hook sees them one by one. */
int io_pwritev(int fd, struct iovec *v, int n, off_t off);
int io_ftruncate(int fd, off_t size);
int io_fsync(int fd);
int io_fdatasync(int fd);
int io_syncfs(int fd);
/* Opens the directory, fsyncs and closes it. */
int io_fsync_dir(int dirfd, const char *path);
int io_rename(int dirfd, const char *from, const char *to);
/* renameat2(RENAME_EXCHANGE); EINVAL or ENOSYS where the file system has none. */
int io_exchange(int dirfd, const char *a, const char *b);
int io_link(int dirfd, const char *from, const char *to);
/* Gives a file without a name (O_TMPFILE) one. */
int io_link_fd(int fd, int dirfd, const char *to);
int io_unlink(int dirfd, const char *path);
int io_mkdir(int dirfd, const char *path);
int io_rmdir(int dirfd, const char *path);

void *io_malloc(size_t len);
void *io_calloc(size_t n, size_t len);
void *io_realloc(void *p, size_t len);
char *io_strdup(const char *s);
/* Grows `*p` (elements of `size`) to hold `need`; false without memory, then nothing changed. */
bool io_grow(void **p, size_t *cap, size_t need, size_t size);

/* A new file with exactly these bytes, fsynced when `sync`; a failure leaves none behind. */
int io_write_file(int dirfd, const char *path, const void *buf, size_t len, mode_t mode, bool sync);

/*
 * The names in a directory, to the disk; the ledger's code.  ENOTFOUND: there is no such directory.  EDEAD: the sync failed,
 * and the next one may succeed without what this one lost; nobody can tell which names are on the disk.  (A file whose sync
 * failed is written anew instead.)
 */
int io_sync_names(int dirfd, const char *path);

/* All of a file, for the caller to free, with a NUL behind it; ENOENT, EIO when it gets shorter meanwhile, ENOMEM. */
int io_read_file(int dirfd, const char *path, void **data, size_t *len);

/* The ledger's code for an errno of the disk. */
int io_code(int err);

#endif
