/* SPDX-License-Identifier: MIT */
/*
 * Facts about processes, read so that no call ever waits for the process it asks about (docs/DESIGN.md, the FUSE seam).
 *
 * A FLUSH that close-on-exec causes is sent while the task holds its exec_update_lock; the readers of /proc/PID/stat, maps,
 * exe, cwd, environ and of the links in fd/ sleep until that FLUSH is answered: a daemon that reads them while it handles
 * the FLUSH waits for itself.  What is used here does not take the lock: status, comm, the directory fdinfo and the files in
 * it, mountinfo, pidfd_open(2), PIDFD_GET_INFO.  stat is read only of a task without an address space (no VmSize line in
 * status): such a task is past all exec.
 *
 * Every function takes thread ids where it says `tid` (FUSE's request context carries thread ids) and may be called by any
 * thread.  Those that return int return 0 or a positive errno; ESRCH: no such task, or one in a process namespace that this
 * daemon cannot see (tid 0).  `*out` is untouched on failure.
 */
#ifndef FS_PROC_H
#define FS_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * A process, told apart from a later one with the same number.  `start` is the inode number of its pidfd (unique until the
 * next boot) where the kernel has one (6.9 and newer), else 0: a start time cannot be had without the risk above.  With 0
 * only a pidfd that was kept open tells (fs/proctree.h does that, and is sound on every kernel).
 */
struct proc_id {
	pid_t tgid;
	uint64_t start;
};

/* Names the process of the thread `tid`. */
int proc_identify(pid_t tid, struct proc_id *out);

/*
 * As proc_identify(), and hands out a pidfd of it (close-on-exec, the caller closes it).  `out` may be NULL.  Also EMFILE,
 * ENFILE, ENOSYS (a kernel before 5.3).
 */
int proc_open(pid_t tid, struct proc_id *out, int *pidfd);

/* Is the process of the pidfd still there (a zombie is not)?  0.4 us. */
bool proc_pidfd_alive(int pidfd);

/* Is this very process still there?  With `start` 0: any process of that number. */
bool proc_alive(const struct proc_id *id);

#define PROC_COMM_SIZE 16

/*
 * Thread group of a thread, and its name for trailers and log lines (control bytes become '?'; `comm` may be NULL).  1 us
 * for one that was asked about lately, at the price of a descriptor each for 64 of them.
 */
int proc_task(pid_t tid, pid_t *tgid, char comm[PROC_COMM_SIZE]);
int proc_tgid(pid_t tid, pid_t *out);

/*
 * The parent's process id; 0 when it has none here (process 1, or a parent outside this process namespace).  `pidfd` is one
 * of the process `tgid`, or -1; with it the answer is about that very process, never about a later one of its number.
 */
int proc_parent(pid_t tgid, int pidfd, pid_t *out);

/* How a task that is exiting ends. */
struct proc_exit {
	bool exiting; /* it has no address space any more: exiting (or a kernel thread) */
	int signal;   /* the signal that kills it; 0: it ends by itself, or is not exiting; -1: not ours to know */
};

/*
 * Is the thread exiting, and was it killed (SPEC 5.1: a killed writer commits nothing)?  Right for threaded programs too:
 * the kernel gives every thread of a killed group the group's exit code.  A daemon without privileges is shown 0 for
 * processes of other users and for undumpable ones; for other users that is turned into -1.
 */
int proc_exit_state(pid_t tid, struct proc_exit *out);

/* What a request wants to know of its caller, by one reading of status: process, name (as proc_task()), exit. */
struct proc_look {
	pid_t tgid;
	char comm[PROC_COMM_SIZE];
	struct proc_exit end;
};

int proc_look(pid_t tid, struct proc_look *out);

/* The process id given out last in this process namespace (clock of proc_held()); 0 when it cannot be read. */
pid_t proc_last_pid(void);

/* --- the last-holder test ----------------------------------------------------------------------------------------- */

enum proc_held {
	PROC_NOT_HELD,
	PROC_HELD,
	PROC_HELD_UNKNOWN, /* nobody seen, but a candidate's descriptors may not be read (see below) */
};

struct proc_held_query {
	dev_t dev;          /* st_dev of the mount */
	int mnt_id;         /* mount id of the mount in the daemon's namespace (proc_mount_id()); -1: not known, slower */
	uint64_t ino;       /* inode number (st_ino) of the handle's private inode */
	uint64_t ino_shown; /* another one that its descriptors may show; 0: none */
	pid_t flusher;      /* thread that sent the FLUSH; 0: none */
	pid_t opener;       /* process (proc_tgid(): the thread may be gone) that opened the handle; 0: none */
	pid_t last_at_open; /* proc_last_pid() before the open was answered */
	const pid_t *extra; /* other processes to look at: those that wrote on the handle */
	size_t nextra;
	const pid_t *twins; /* openers (processes) of other handles that may show the same number; twice when two are its */
	size_t ntwins;
};

/*
 * Does any process have a descriptor open for writing on that inode (SPEC 5.1, "by the last close")?  Looks at the flusher,
 * the opener, the extra ones, and at every process and thread created since the open: a descriptor travels by fork.  At a
 * FLUSH the descriptor that is being closed is no longer in the flusher's table, at exit the table is gone: neither counts.
 *
 * 5 us a process looked at, and nothing for the others when none was created.  Wrong in these cases, all harmless or rare:
 * a holder that exits meanwhile is called HELD (the RELEASE follows and commits); a process older than the open that got
 * the descriptor over a socket or with pidfd_getfd(2) and never wrote is not seen (one commit more); so is one created
 * exactly a whole cycle of process ids ago.  A descriptor in the table of a thread that unshared it (CLONE_FILES taken
 * back) is seen only if that thread flushes, or was created since the open.
 *
 * As many descriptors of a process as it is named in `twins` are taken for those of the other handles.  So a process that is
 * named, lost its own of those and inherited one of this is not seen (one commit more); with duplicates of its own it is
 * called HELD.
 *
 * Without privileges the descriptors of other users' and of undumpable processes may not be read: UNKNOWN unless a holder
 * was found elsewhere.  Read-only descriptors never count.
 */
enum proc_held proc_held(const struct proc_held_query *q);

/* The id of the mount with device `dev` in this process's mount namespace (the first in /proc/self/mountinfo); -1: none. */
int proc_mount_id(dev_t dev);

/* --- guesses ------------------------------------------------------------------------------------------------------ */

/*
 * The size of the regular file that the thread's process seems to copy, of which it has written `written` bytes: one that it
 * has open for reading only, and has read a little further.  0: none is seen.
 */
uint64_t proc_source_size(pid_t tid, uint64_t written);

#endif
