/* SPDX-License-Identifier: MIT */
/*
 * kvtool: saves for test scripts, because shells lose the error of close.
 *
 * kvtool save FLAGS PATH TEXT
 *   FLAGS of t (O_TRUNC), c (O_CREAT), x (O_EXCL), a (O_APPEND), r (O_RDWR), s (fsync before close)
 *   Prints "ok", or the first step that failed and its errno's name ("close EAGAIN"); the exit status tells too.
 *
 * kvtool reap COMMAND ARGS...
 *   Runs it and waits for it and for every process that it leaves behind; the exit status is COMMAND's.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static int report(const char *step)
{
	printf("%s %s\n", step, strerrorname_np(errno));
	return 1;
}

static int open_flags(const char *letters)
{
	int flags = strchr(letters, 'r') ? O_RDWR : O_WRONLY;

	return flags | (strchr(letters, 't') ? O_TRUNC : 0) | (strchr(letters, 'c') ? O_CREAT : 0) |
	       (strchr(letters, 'x') ? O_EXCL : 0) | (strchr(letters, 'a') ? O_APPEND : 0);
}

static int save(const char *letters, const char *path, const char *text)
{
	int fd = open(path, open_flags(letters), 0644);

	if (fd < 0)
		return report("open");
	if (*text && write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		return report("write");
	if (strchr(letters, 's') && fsync(fd))
		return report("fsync");
	if (close(fd))
		return report("close");
	puts("ok");
	return 0;
}

static int reap(char **argv)
{
	int status, result = 0;
	pid_t child, pid;

	if (prctl(PR_SET_CHILD_SUBREAPER, 1) || (child = fork()) < 0) {
		perror("kvtool reap");
		return 125;
	}
	if (child == 0) {
		execvp(argv[0], argv);
		perror(argv[0]);
		_exit(127);
	}
	while ((pid = wait(&status)) > 0 || errno == EINTR)
		if (pid == child)
			result = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	return result;
}

int main(int argc, char **argv)
{
	if (argc == 5 && !strcmp(argv[1], "save"))
		return save(argv[2], argv[3], argv[4]);
	if (argc >= 3 && !strcmp(argv[1], "reap"))
		return reap(argv + 2);
	fprintf(stderr, "usage: kvtool save FLAGS PATH TEXT | reap COMMAND ARGS...\n");
	return 2;
}
