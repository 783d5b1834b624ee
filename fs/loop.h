/* SPDX-License-Identifier: MIT */
/*
 * The mount and its request loop: from mount(2) to the last request, and what SIGTERM does to it.
 *
 * Order: loop_block_signals() before there are threads; loop_open(); loop_run() in the main thread; then the file
 * system is shut down (fs_shutdown()), which may still answer requests that were under way; loop_close(); all else is
 * freed; loop_free().
 */
#ifndef FS_LOOP_H
#define FS_LOOP_H

#include "options.h"
#include <stddef.h>

struct fuse_lowlevel_ops;
struct fuse_session;
struct loop;

/* From the signal to loop_free(); then the process ends at once, and open files get ENOTCONN. */
#define LOOP_SHUTDOWN_SECONDS 60

/* SIGTERM, SIGINT, SIGHUP go to loop_run() alone; SIGPIPE is ignored.  Threads made later inherit that. */
void loop_block_signals(void);

/*
 * Mounts.  0; else -1 and one line in err.  `o` is borrowed until loop_close(); `userdata` is what the operations get.
 * As soon as it returns the kernel queues requests: loop_run() answers them.
 */
int loop_open(struct loop **out, const struct fs_options *o, const struct fuse_lowlevel_ops *ops, void *userdata, char *err,
	      size_t errlen);

struct fuse_session *loop_fuse(struct loop *s);

/*
 * Handles requests until the file system is unmounted or a signal asks for the end.  On a signal it first unmounts as
 * umount(8) does, while requests are still answered, so that everything that is on its way arrives; when the mount is busy
 * the loop ends all the same.  0, or a negative errno of the loop.
 */
int loop_run(struct loop *s);

/* Unmounts if that is still to be done (lazily: handles that are open get ENOTCONN), and lets the kernel go. */
void loop_close(struct loop *s);

/* loop_close() if that is still to be done, ends the watch over the shutdown, frees.  Both take NULL. */
void loop_free(struct loop *s);

#endif
