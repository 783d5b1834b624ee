/* SPDX-License-Identifier: MIT */
/* `ledgerfs`: opens the ledger, mounts it, serves it, and ends in good order (SPEC 8.1). */
#include "fs.h"
#include "log.h"
#include "loop.h"
#include "options.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	EXIT_REFUSED = 1, /* usage, or a repository that cannot be served */
	EXIT_MOUNT = 32,
};

#define FUSE_SUPER_MAGIC 0x65735546

static int complain(int status, const char *text)
{
	fprintf(stderr, "ledgerfs: %s\n", text);
	return status;
}

/* --- the foreground half of a daemon ------------------------------------------------------------------------------ */

/* Asks the mount for something that only a daemon at work can answer. */
static int check_answers(const struct fs_options *o)
{
	struct statfs fs;
	char text[512];

	if (!statfs(o->mountpoint, &fs) && (unsigned long)fs.f_type == FUSE_SUPER_MAGIC)
		return 0;
	snprintf(text, sizeof(text), "%s: mounted, but it does not answer", o->mountpoint);
	return complain(EXIT_MOUNT, text);
}

/* Waits for the daemon's word: one byte, 0 when it has mounted, else the exit status (its line is on stderr already). */
static int await_daemon(const struct fs_options *o, pid_t daemon, int pipe)
{
	unsigned char word;
	int status = 0;
	ssize_t n;

	while ((n = read(pipe, &word, 1)) < 0 && errno == EINTR)
		;
	if (n == 1)
		return word ? word : check_answers(o);
	while (waitpid(daemon, &status, 0) < 0 && errno == EINTR)
		;
	return complain(EXIT_MOUNT,
			WIFSIGNALED(status) ? "the daemon was killed at its start" : "the daemon ended at its start");
}

static void give_word(int *pipe, int status)
{
	unsigned char word = (unsigned char)status;

	if (*pipe < 0)
		return;
	while (write(*pipe, &word, 1) < 0 && errno == EINTR)
		;
	close(*pipe);
	*pipe = -1;
}

/*
 * Forks while there is one thread.  In the parent: returns true, with the exit status.  In the child: false, *pipe is where
 * its word goes.
 */
static bool daemonise(const struct fs_options *o, int *pipe_out, int *status)
{
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC)) {
		*status = complain(EXIT_MOUNT, strerror(errno));
		return true;
	}
	pid = fork();
	if (pid < 0) {
		*status = complain(EXIT_MOUNT, strerror(errno));
		return true;
	}
	if (pid > 0) {
		close(fds[1]);
		*status = await_daemon(o, pid, fds[0]);
		return true;
	}
	close(fds[0]);
	setsid();
	*pipe_out = fds[1];
	return false;
}

/* Lets go of the terminal and of the directory it was started in. */
static void detach(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), fd;

	log_target(1);
	if (chdir("/"))
		log_line("chdir /: %s", strerror(errno)); /* the start directory stays busy, no more */
	for (fd = 0; null >= 0 && fd <= 2; fd++)
		dup2(null, fd);
	if (null > 2)
		close(null);
}

/* --- serving ------------------------------------------------------------------------------------------------------ */

/* A pidfd per writing process, a spool file per large value: the soft limit is made for select(2), not for this. */
static void raise_limits(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim))
		return;
	lim.rlim_cur = lim.rlim_max;
	setrlimit(RLIMIT_NOFILE, &lim);
}

/* From the opening of the repository to the end of the mount; `pipe` is -1 in the foreground. */
static int serve(struct fs_options *o, int pipe)
{
	struct loop *loop = NULL;
	struct ledger *ledger = NULL;
	struct fs *fs = NULL;
	char err[1024];
	int rc, status = 0;

	loop_block_signals();
	raise_limits();
	o->ledger.log = log_callback;
	rc = ledger_open(&ledger, o->repo, &o->ledger);
	if (rc) {
		snprintf(err, sizeof(err), "%s: %s", o->repo, ledger_errmsg());
		status = complain(EXIT_REFUSED, err);
		goto out;
	}
	rc = fs_new(&fs, ledger, o);
	if (rc) {
		snprintf(err, sizeof(err), "%s: %s", o->repo, ledger_strerror(rc));
		status = complain(EXIT_REFUSED, err);
		goto out;
	}
	if (loop_open(&loop, o, fs_ops(), fs, err, sizeof(err))) {
		status = complain(EXIT_MOUNT, err);
		goto out;
	}
	fs_attach(fs, loop_fuse(loop));
	if (pipe >= 0)
		detach();
	give_word(&pipe, 0);
	rc = loop_run(loop);
	if (rc < 0) {
		log_line("%s: the request loop failed: %s", o->mountpoint, strerror(-rc));
		status = EXIT_MOUNT;
	}
	fs_shutdown(fs);
out:
	loop_close(loop);
	fs_free(fs);
	ledger_free(ledger);
	loop_free(loop);
	give_word(&pipe, status);
	log_flush();
	return status;
}

int main(int argc, char **argv)
{
	struct fs_options o = {0};
	int status = 0, pipe = -1;
	char err[512];

	if (fs_options_parse(&o, argc, argv, err, sizeof(err)))
		return complain(EXIT_REFUSED, err);
	if (o.command == FS_HELP)
		fputs(fs_usage, stdout);
	else if (o.command == FS_VERSION)
		puts("ledgerfs " LEDGERFS_VERSION);
	else if (o.foreground || !daemonise(&o, &pipe, &status))
		status = serve(&o, pipe);
	fs_options_release(&o);
	return status;
}
