/* SPDX-License-Identifier: MIT */
/*
 * Processes that do as they are told: the tests build trees of them.  All sockets are there before the first fork, so a
 * puppet can fork any other one.  Ends are awaited by pidfd: no test sleeps.
 */
#ifndef TEST_PUPPET_H
#define TEST_PUPPET_H

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PUPPETS 24

static struct puppet {
	int here, there; /* sockets: the test's end, the puppet's end */
	pid_t pid;
	int pidfd;
} puppet[PUPPETS];

static int lifeline[2]; /* the test alone has the end for writing: when it ends, puppets end */

struct puppet_order {
	char what; /* 'f' fork puppet arg, 'x' exit, 'o' open path for writing, 'r' for reading, 'c' close descriptor arg */
	int arg;
	char path[200];
};

static void puppets_init(void)
{
	int fds[2], i;

	if (pipe2(lifeline, O_CLOEXEC))
		abort();
	for (i = 0; i < PUPPETS; i++) {
		if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds))
			abort();
		puppet[i] = (struct puppet){.here = fds[0], .there = fds[1], .pidfd = -1};
	}
}

static void puppet_main(int me);

static int puppet_obey(const struct puppet_order *o)
{
	pid_t pid;

	switch (o->what) {
	case 'f':
		pid = fork();
		if (pid == 0)
			puppet_main(o->arg);
		return pid;
	case 'o':
		return open(o->path, O_WRONLY | O_CLOEXEC);
	case 'r':
		return open(o->path, O_RDONLY | O_CLOEXEC);
	case 'c':
		return close(o->arg);
	case 'n':
		return unshare(CLONE_NEWNS);
	case 'u':
		return setuid(65534) || prctl(PR_SET_DUMPABLE, 1);
	default:
		_exit(o->arg);
	}
}

static void puppet_main(int me)
{
	struct puppet_order o;
	struct pollfd wait[2] = {{.fd = puppet[me].there, .events = POLLIN}, {.fd = lifeline[0], .events = POLLIN}};
	int answer;

	if (lifeline[1] >= 0)
		close(lifeline[1]);
	lifeline[1] = -1;         /* for its children */
	signal(SIGCHLD, SIG_IGN); /* its children leave no zombies */
	while (poll(wait, 2, -1) > 0 && !wait[1].revents && read(puppet[me].there, &o, sizeof(o)) == sizeof(o)) {
		answer = puppet_obey(&o);
		if (write(puppet[me].there, &answer, sizeof(answer)) != sizeof(answer))
			break;
	}
	_exit(0);
}

static inline void puppet_send(int i, char what, int arg, const char *path)
{
	struct puppet_order o = {.what = what, .arg = arg};

	if (path)
		strncpy(o.path, path, sizeof(o.path) - 1);
	if (write(puppet[i].here, &o, sizeof(o)) != sizeof(o))
		abort();
}

/* Gives an order and waits for its result. */
static inline int puppet_do(int i, char what, int arg, const char *path)
{
	int answer;

	puppet_send(i, what, arg, path);
	if (read(puppet[i].here, &answer, sizeof(answer)) != sizeof(answer))
		abort();
	return answer;
}

/* Makes puppet `i` a child of puppet `parent`, or of the test (-1); returns its process id. */
static inline pid_t puppet_start(int i, int parent)
{
	pid_t pid;

	if (parent >= 0) {
		pid = puppet_do(parent, 'f', i, NULL);
	} else {
		pid = fork();
		if (pid == 0)
			puppet_main(i);
	}
	if (pid <= 0)
		abort();
	puppet[i].pid = pid;
	puppet[i].pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	return pid;
}

/* Lets it exit and waits for that; children of the test are reaped. */
static inline void puppet_end(int i)
{
	struct pollfd p = {.fd = puppet[i].pidfd, .events = POLLIN};

	puppet_send(i, 'x', 0, NULL);
	while (poll(&p, 1, -1) != 1)
		;
	waitpid(puppet[i].pid, NULL, 0);
	close(puppet[i].pidfd);
	puppet[i].pidfd = -1;
}

#endif
