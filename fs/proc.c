/* SPDX-License-Identifier: MIT */
#include "proc.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

/* From linux/pidfd.h and linux/magic.h of kernels newer than the headers that this builds with. */
#define PIDFS_MAGIC 0x50494446
#define INFO_PID (1ULL << 0)

struct pidfd_info_v0 {
	uint64_t mask, cgroupid;
	uint32_t pid, tgid, ppid, ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
	int32_t exit_code;
};

#define PIDFD_INFO_V0 _IOWR(0xFF, 11, struct pidfd_info_v0)

/* Reads /proc/<tid>/<name> as a string; what does not fit is cut.  Returns 0 or an errno. */
static int slurp(pid_t tid, const char *name, char *buf, size_t size)
{
	char path[64];
	ssize_t n;
	int fd, err = 0;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)tid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? ESRCH : errno;
	/* These files are made in one piece at the first read: a second one would only say that it was all. */
	do
		n = read(fd, buf, size - 1);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		err = errno;
	buf[n > 0 ? n : 0] = '\0';
	close(fd);
	return err;
}

/* The text behind "\n<key>:" and blanks in a status file, or NULL.  The first line is Name:, which a process chooses. */
static const char *status_field(const char *status, const char *key)
{
	size_t len = strlen(key);
	const char *line = strchr(status, '\n');

	for (; line; line = strchr(line + 1, '\n')) {
		if (strncmp(line + 1, key, len) == 0 && line[1 + len] == ':')
			return line + 2 + len + strspn(line + 2 + len, " \t");
	}
	return NULL;
}

#define STATUS_SIZE 4096

static int status_number(pid_t tid, const char *key, long *out)
{
	char buf[STATUS_SIZE];
	const char *v;
	int err = tid > 0 ? slurp(tid, "status", buf, sizeof(buf)) : ESRCH;

	if (err)
		return err;
	v = status_field(buf, key);
	if (!v)
		return EIO;
	*out = strtol(v, NULL, 10);
	return 0;
}

/* A name for trailers and log lines: to the end of the line, without control bytes. */
static void copy_comm(char out[PROC_COMM_SIZE], const char *text, const char *end)
{
	size_t i;

	for (i = 0; i < PROC_COMM_SIZE - 1 && text + i < end; i++)
		out[i] = iscntrl((unsigned char)text[i]) ? '?' : text[i];
	out[i] = '\0';
}

/*
 * Threads that asked lately: the file comm of each, open.  It is bound to that very thread, so what can still be read is
 * its name, and says that the number is still its own.
 */
static struct task {
	pid_t tid, tgid;
	int fd;
} tasks[64];
static pthread_mutex_t tasks_lock = PTHREAD_MUTEX_INITIALIZER;

/* The name as the file has it, with a newline; nothing: the thread is gone. */
static bool task_name(const struct task *t, char text[PROC_COMM_SIZE + 1])
{
	ssize_t n = pread(t->fd, text, PROC_COMM_SIZE, 0);

	text[n > 0 ? n : 0] = '\0';
	return n > 0;
}

static int task_learn(struct task *t, pid_t tid, char text[PROC_COMM_SIZE + 1])
{
	char path[64];
	long tgid;
	int err;

	if (t->tid)
		close(t->fd);
	t->tid = 0;
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)tid);
	t->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (t->fd < 0)
		return errno == ENOENT ? ESRCH : errno;
	err = status_number(tid, "Tgid", &tgid);
	/* The name last: that it is there says that the status was the same thread's. */
	if (!err && !task_name(t, text))
		err = ESRCH;
	if (err) {
		close(t->fd);
		return err;
	}
	t->tid = tid;
	t->tgid = (pid_t)tgid;
	return 0;
}

int proc_task(pid_t tid, pid_t *tgid, char comm[PROC_COMM_SIZE])
{
	struct task *t = &tasks[(unsigned)tid % (sizeof(tasks) / sizeof(*tasks))];
	char text[PROC_COMM_SIZE + 1];
	int err = 0;

	if (tid <= 0)
		return ESRCH;
	pthread_mutex_lock(&tasks_lock);
	if (t->tid != tid || !task_name(t, text))
		err = task_learn(t, tid, text);
	if (!err)
		*tgid = t->tgid;
	pthread_mutex_unlock(&tasks_lock);
	if (!err && comm) {
		size_t len = strlen(text);

		copy_comm(comm, text, text + len - (text[len - 1] == '\n'));
	}
	return err;
}

int proc_tgid(pid_t tid, pid_t *out)
{
	return proc_task(tid, out, NULL);
}

static int pidfd_open_raw(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

int proc_open(pid_t tid, struct proc_id *out, int *pidfd)
{
	pid_t tgid = tid;
	struct statfs fs;
	struct stat st;
	int fd, err;

	if (tid <= 0)
		return ESRCH;
	fd = pidfd_open_raw(tid);
	if (fd < 0 && (errno == EINVAL || errno == ENOENT)) { /* a thread, not the leader of its group */
		err = proc_tgid(tid, &tgid);
		if (err)
			return err;
		fd = pidfd_open_raw(tgid);
	}
	if (fd < 0)
		return errno == EINVAL || errno == ENOENT ? ESRCH : errno;
	if (out) {
		if (fstat(fd, &st) || fstatfs(fd, &fs)) {
			err = errno;
			close(fd);
			return err;
		}
		out->tgid = tgid;
		out->start = (unsigned long)fs.f_type == PIDFS_MAGIC ? st.st_ino : 0;
	}
	*pidfd = fd;
	return 0;
}

int proc_identify(pid_t tid, struct proc_id *out)
{
	int fd, err = proc_open(tid, out, &fd);

	if (!err)
		close(fd);
	return err;
}

bool proc_pidfd_alive(int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	return poll(&p, 1, 0) == 0;
}

bool proc_alive(const struct proc_id *id)
{
	struct proc_id now;
	int fd;
	bool alive;

	if (proc_open(id->tgid, &now, &fd))
		return false;
	alive = now.tgid == id->tgid && (!id->start || now.start == id->start) && proc_pidfd_alive(fd);
	close(fd);
	return alive;
}

int proc_parent(pid_t tgid, int pidfd, pid_t *out)
{
	struct pidfd_info_v0 info = {.mask = INFO_PID};
	long v;
	int err;

	if (pidfd >= 0 && ioctl(pidfd, PIDFD_INFO_V0, &info) == 0 && (info.mask & INFO_PID)) {
		*out = (pid_t)info.ppid;
		return 0;
	}
	/* A kernel before 6.13.  The number is this process's only if it is still there after the reading. */
	err = status_number(tgid, "PPid", &v);
	if (err)
		return err;
	if (pidfd >= 0 && !proc_pidfd_alive(pidfd))
		return ESRCH;
	*out = (pid_t)v;
	return 0;
}

/* Field 52 of stat, counted behind the last ')' of the name, which may hold anything. */
static int stat_exit_code(const char *stat, long *out)
{
	const char *p = strrchr(stat, ')');
	int field;

	for (field = 2; p && field < 52; field++)
		p = strchr(p + 1, ' ');
	if (!p)
		return EIO;
	*out = strtol(p + 1, NULL, 10);
	return 0;
}

/* How a task ends whose status is in `status`. */
static int exit_state(pid_t tid, const char *status, struct proc_exit *out)
{
	char buf[STATUS_SIZE];
	const char *uid;
	uid_t owner, me = geteuid();
	long code = 0;
	int err;

	if (status_field(status, "VmSize")) {
		*out = (struct proc_exit){0};
		return 0;
	}
	uid = status_field(status, "Uid");
	owner = uid ? (uid_t)strtoul(uid, NULL, 10) : (uid_t)-1;
	err = slurp(tid, "stat", buf, sizeof(buf));
	if (!err)
		err = stat_exit_code(buf, &code);
	if (err)
		return err;
	out->exiting = true;
	out->signal = me != 0 && owner != me ? -1 : (int)(code & 0x7f);
	return 0;
}

int proc_exit_state(pid_t tid, struct proc_exit *out)
{
	char buf[STATUS_SIZE];
	int err = tid > 0 ? slurp(tid, "status", buf, sizeof(buf)) : ESRCH;

	return err ? err : exit_state(tid, buf, out);
}

int proc_look(pid_t tid, struct proc_look *out)
{
	static const char key[] = "Name:\t";
	char buf[STATUS_SIZE];
	const char *tgid;
	int err = tid > 0 ? slurp(tid, "status", buf, sizeof(buf)) : ESRCH;

	if (err)
		return err;
	tgid = status_field(buf, "Tgid");
	if (!tgid || strncmp(buf, key, strlen(key)) != 0)
		return EIO;
	err = exit_state(tid, buf, &out->end);
	if (err)
		return err;
	out->tgid = (pid_t)strtol(tgid, NULL, 10);
	copy_comm(out->comm, buf + strlen(key), strchr(buf, '\n'));
	return 0;
}

pid_t proc_last_pid(void)
{
	char buf[128];
	const char *last;
	ssize_t n;
	int fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	buf[n] = '\0';
	last = strrchr(buf, ' ');
	return last ? (pid_t)strtol(last + 1, NULL, 10) : 0;
}
