/* SPDX-License-Identifier: MIT */
/* The command line of `ledgerfs` (SPEC 8.1, 9).  Knows no FUSE types. */
#ifndef FS_OPTIONS_H
#define FS_OPTIONS_H

#include <ledger/ledger.h>
#include <stddef.h>

enum fs_command {
	FS_MOUNT,
	FS_HELP,
	FS_VERSION,
};

struct fs_options {
	enum fs_command command;
	char *repo;       /* absolute; need not exist with `init` */
	char *mountpoint; /* absolute, no symlinks, a directory */
	bool foreground;  /* -f, -d */
	bool debug;       /* -d: every request on stderr */
	bool single;      /* -s: one thread handles requests */

	uid_t uid; /* shown as owner of everything; default: the caller's */
	gid_t gid;
	mode_t umask;             /* taken from the shown modes; default: the caller's umask */
	bool default_permissions; /* the kernel checks the modes (always on with allow_other) */
	bool allow_other, allow_root;
	bool clone_fd;                /* each worker reads from its own /dev/fuse descriptor */
	unsigned max_threads;         /* workers; default FS_THREADS */
	struct ledger_options ledger; /* init, ro, publish=, durability=, noupkeep, max_size=; `log` is left NULL */

	char *mount_opts; /* further options for the kernel and fusermount3, comma-separated ("noatime,noexec"); "" when none
			   */
};

#define FS_THREADS 64 /* a save waits for the disk in its worker; the others must still find one */
#define FS_THREADS_MAX 1024

/*
 * Reads the command line.  Options may stand before, between and behind the operands; `--` ends them.  0: `out` is filled.
 * Else -1 and one line without newline in err[0..errlen); `out` is untouched.  Resolves relative paths against the current
 * directory: REPO must exist unless `init`, MOUNTPOINT must be a directory.  Reads umask(2) by setting it twice: call it
 * before there are threads.
 */
int fs_options_parse(struct fs_options *out, int argc, char **argv, char *err, size_t errlen);

/* Frees the strings; fine on a zeroed one. */
void fs_options_release(struct fs_options *o);

/* The text of --help. */
extern const char fs_usage[];

#endif
