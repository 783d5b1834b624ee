/* SPDX-License-Identifier: MIT */
/* The last-holder test: who else has this inode open for writing?  By fdinfo alone; see proc.h for why. */
#include "proc.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* From here on it is cheaper to list /proc than to try every number. */
#define RANGE_LISTED 256
#define TRIED_MAX 64

struct search {
	const struct proc_held_query *q;
	bool unreadable;
	pid_t tried[TRIED_MAX]; /* looked at already; when full, some are looked at twice */
	size_t ntried;
};

/* Device of the mount `mnt_id` as the process behind `procfd` (its directory in /proc) sees it.  0: found. */
static int mount_dev(int procfd, int mnt_id, dev_t *dev)
{
	int fd = openat(procfd, "mountinfo", O_RDONLY | O_CLOEXEC), id, err = ENOENT;
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
	unsigned major, minor;
	char *line = NULL;
	size_t size = 0;

	if (!f) {
		err = errno;
		if (fd >= 0)
			close(fd);
		return err;
	}
	while (err && getline(&line, &size, f) >= 0) {
		if (sscanf(line, "%d %*d %u:%u", &id, &major, &minor) == 3 && id == mnt_id) {
			*dev = makedev(major, minor);
			err = 0;
		}
	}
	free(line);
	fclose(f);
	return err;
}

int proc_mount_id(dev_t dev)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	unsigned major, minor;
	char *line = NULL;
	size_t size = 0;
	int id, found = -1;

	if (!f)
		return -1;
	while (found < 0 && getline(&line, &size, f) >= 0) {
		if (sscanf(line, "%d %*d %u:%u", &id, &major, &minor) == 3 && makedev(major, minor) == dev)
			found = id;
	}
	free(line);
	fclose(f);
	return found;
}

/*
 * Is this the text of a descriptor that is open for writing on the inode?  A mount id of another mount namespace is
 * translated to its device; one that cannot be (detached since) counts as ours, which errs to the harmless side.
 */
static bool matches(struct search *s, int procfd, const char *info)
{
	const char *flags = strstr(info, "flags:"), *mnt = strstr(info, "mnt_id:"), *ino = strstr(info, "ino:");
	unsigned long long number;
	dev_t dev = 0;
	int id;

	if (!ino) { /* a kernel before 5.14 does not say */
		s->unreadable = true;
		return false;
	}
	number = strtoull(ino + 4, NULL, 10);
	if (!flags || (number != s->q->ino && (!s->q->ino_shown || number != s->q->ino_shown)))
		return false;
	if ((strtoul(flags + 6, NULL, 8) & O_ACCMODE) == O_RDONLY)
		return false;
	id = mnt ? (int)strtol(mnt + 7, NULL, 10) : -1;
	if (id >= 0 && id == s->q->mnt_id)
		return true;
	return id < 0 || mount_dev(procfd, id, &dev) || dev == s->q->dev;
}

/*
 * Looks through one fdinfo directory, `fd`, which is taken over; `others` descriptors with that number are of other handles.
 * Sets *empty when it lists nothing.
 */
static bool dir_holds(struct search *s, int procfd, int fd, unsigned others, bool *empty)
{
	DIR *d = fdopendir(fd);
	struct dirent *e;
	bool held = false;
	char buf[512];
	ssize_t n;
	int f;

	*empty = true;
	if (!d) {
		close(fd);
		return false;
	}
	while (!held && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		*empty = false;
		f = openat(dirfd(d), e->d_name, O_RDONLY | O_CLOEXEC);
		if (f < 0) {
			s->unreadable |= errno == EACCES || errno == EPERM;
			continue;
		}
		n = read(f, buf, sizeof(buf) - 1);
		close(f);
		if (n <= 0)
			continue;
		buf[n] = '\0';
		if (matches(s, procfd, buf)) {
			held = others == 0;
			others -= !held;
		}
	}
	/* A directory that may not be listed ends at once, with an error. */
	closedir(d);
	return held;
}

/* The leader of the group may be gone while other threads keep the table: then theirs are looked at. */
static bool threads_hold(struct search *s, int procfd, unsigned others)
{
	int tasks = openat(procfd, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd;
	DIR *d = tasks < 0 ? NULL : fdopendir(tasks);
	struct dirent *e;
	bool held = false, empty;
	char path[32 + NAME_MAX];

	if (!d) {
		if (tasks >= 0)
			close(tasks);
		return false;
	}
	while (!held && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/fdinfo", e->d_name);
		fd = openat(dirfd(d), path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0)
			held = dir_holds(s, procfd, fd, others, &empty);
	}
	closedir(d);
	return held;
}

/* How many descriptors of the process, which may be named by a thread of it, are of other handles? */
static unsigned others_of(struct search *s, pid_t pid)
{
	unsigned n = 0;
	pid_t tgid = pid;

	if (s->q->ntwins && proc_tgid(pid, &tgid))
		return 0;
	for (size_t i = 0; i < s->q->ntwins; i++)
		n += s->q->twins[i] == tgid;
	return n;
}

static bool holds(struct search *s, pid_t pid)
{
	char path[32];
	bool held = false, empty = false;
	unsigned others;
	int procfd, fd;
	size_t i;

	for (i = 0; i < s->ntried; i++) {
		if (s->tried[i] == pid)
			return false;
	}
	if (pid <= 0)
		return false;
	if (s->ntried < TRIED_MAX)
		s->tried[s->ntried++] = pid;
	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	procfd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (procfd < 0)
		return false;
	others = others_of(s, pid);
	fd = openat(procfd, "fdinfo", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0) {
		held = dir_holds(s, procfd, fd, others, &empty);
		if (!held && empty)
			held = threads_hold(s, procfd, others);
	} else if (errno == EACCES || errno == EPERM) {
		s->unreadable = true;
	}
	close(procfd);
	return held;
}

/* Numbers below are for the first processes of a boot: the kernel begins again here. */
#define RESERVED_PIDS 300

/* Is the number in (then, now], numbers beginning again when `now` is smaller? */
static bool created_since(pid_t pid, pid_t then, pid_t now)
{
	return then <= now ? pid > then && pid <= now : pid > then || (pid >= RESERVED_PIDS && pid <= now);
}

/* Threads are not listed in /proc, but share their leader's table or, unshared, belong to a leader that is older. */
static bool listed_hold(struct search *s, pid_t then, pid_t now)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	bool held = false;
	long pid;

	if (!d) {
		s->unreadable = true;
		return false;
	}
	while (!held && (e = readdir(d))) {
		pid = strtol(e->d_name, NULL, 10);
		if (pid > 0 && created_since((pid_t)pid, then, now))
			held = holds(s, (pid_t)pid);
	}
	closedir(d);
	return held;
}

static bool newcomers_hold(struct search *s)
{
	pid_t then = s->q->last_at_open, now = proc_last_pid(), pid;
	bool held = false;

	if (!then || !now) { /* /proc/loadavg hidden: everybody may be new */
		return listed_hold(s, 0, INT32_MAX);
	}
	if (now == then)
		return false;
	if (now < then || now - then > RANGE_LISTED)
		return listed_hold(s, then, now);
	for (pid = then + 1; !held && pid <= now; pid++)
		held = holds(s, pid);
	return held;
}

enum proc_held proc_held(const struct proc_held_query *q)
{
	struct search s = {.q = q};
	bool held = holds(&s, q->flusher) || holds(&s, q->opener);
	size_t i;

	for (i = 0; !held && i < q->nextra; i++)
		held = holds(&s, q->extra[i]);
	if (held || newcomers_hold(&s))
		return PROC_HELD;
	return s.unreadable ? PROC_HELD_UNKNOWN : PROC_NOT_HELD;
}
