/* SPDX-License-Identifier: MIT */
/*
 * git moves the refs after pre-receive has said yes, and tells no hook when it fails to: an `update` hook may refuse, the
 * ref's lock be taken, the disk full, the process killed.  So a process outlives the hook and looks.
 */
#include "hook_watch.h"
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PUSH_TIMEOUT_S 60

/* --- whom to wait for
 * ------------------------------------------------------------------------------------------------------ */

/* Parent and name of a process; false: it is gone. */
static bool process(pid_t pid, pid_t *parent, char name[32])
{
	char path[64], line[512], *close_paren;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, line, sizeof(line) - 1);
	close(fd);
	if (n <= 0)
		return false;
	line[n] = '\0';
	close_paren = strrchr(line, ')');
	if (!close_paren || sscanf(close_paren, ") %*c %d", parent) != 1)
		return false;
	*close_paren = '\0';
	snprintf(name, 32, "%.31s", strchr(line, '(') + 1);
	return true;
}

/* git-receive-pack is our parent, or further up when the hook is called by a script of the administrator's. */
static int open_receive_pack(void)
{
	pid_t pid = getppid(), up, found = pid;
	char name[32];

	for (int depth = 0; depth < 8 && pid > 1 && process(pid, &up, name); depth++, pid = up)
		if (strcmp(name, "git") == 0 || starts_with(name, "git-receive-pa")) {
			found = pid;
			break;
		}
	return (int)syscall(SYS_pidfd_open, found, 0);
}

/* --- afterwards
 * -------------------------------------------------------------------------------------------------------------- */

static void log_line(int fd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void log_line(int fd, const char *fmt, ...)
{
	time_t now = time(NULL);
	char when[64], *text = NULL, *line;
	struct tm tm;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	if (!gmtime_r(&now, &tm) || !strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm))
		*when = '\0';
	line = xasprintf("%s %s\n", when, text ? text : "");
	if (write(fd, line, strlen(line)) < 0) {
		/* There is nobody left to tell. */
	}
	free(line);
	free(text);
}

/* Has git accepted it?  The ref is at `new`, or further on already; a deleted one is gone. */
static bool accepted(const struct hook *h, const struct hook_ref *r)
{
	char hex[LEDGER_OID_HEXSIZE + 1];
	struct run run;
	bool yes;

	if (ledger_oid_is_zero(&r->new))
		yes = run_git(&run, h->gitdir, RUN_OUTSIDE, 0,
			      (const char *[]){"rev-parse", "--verify", "--quiet", r->ref, NULL}) == 1;
	else
		yes = run_git(&run, h->gitdir, RUN_OUTSIDE, 0,
			      (const char *[]){"merge-base", "--is-ancestor", ledger_oid_fmt(hex, &r->new), r->ref, NULL}) ==
		      0;
	run_release(&run);
	return yes;
}

static void roll_back(const struct hook *h, const struct hook_ref *r, const char *url, int log)
{
	char new[LEDGER_OID_HEXSIZE + 1], was[LEDGER_OID_HEXSIZE + 1], *lease, *spec, *why;
	struct run run;

	lease = xasprintf("--force-with-lease=%s:%s", r->ref,
			  ledger_oid_is_zero(&r->new) ? "" : ledger_oid_fmt(new, &r->new));
	spec = xasprintf("%s:%s", ledger_oid_is_zero(&r->upstream) ? "" : ledger_oid_fmt(was, &r->upstream), r->ref);
	if (run_git(&run, h->gitdir, RUN_OUTSIDE, PUSH_TIMEOUT_S,
		    (const char *[]){"push", "--porcelain", "--no-progress", lease, "--end-of-options", url, spec, NULL}) ==
	    0) {
		log_line(log, "%s: not accepted here after the upstream took it; the upstream is back at %s", r->ref,
			 ledger_oid_is_zero(&r->upstream) ? "absent" : was);
	} else {
		why = run_reason(&run);
		log_line(log, "%s: not accepted here after the upstream took it, and the upstream could not be put back: %s",
			 r->ref, why);
		free(why);
	}
	run_release(&run);
	free(lease);
	free(spec);
}

static void watch(const struct hook *h, const char *url, int pidfd, int log)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		;
	for (size_t i = 0; i < h->n; i++)
		if (!ledger_oid_eq(&h->refs[i].upstream, &h->refs[i].new) && !accepted(h, &h->refs[i]))
			roll_back(h, &h->refs[i], url, log);
}

/* No descriptor of the push may stay open: receive-pack waits until the last writer of the hook's stderr is gone. */
static void let_go(void)
{
	int null = open("/dev/null", O_RDWR);

	for (int fd = 0; fd < 3 && null >= 0; fd++)
		dup2(null, fd);
	if (null > 2)
		close(null);
	setsid();
}

void hook_watch(const struct hook *h, const char *url)
{
	char *path = xasprintf("%s/kv-stargate.log", h->gitdir);
	int log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666), pidfd = open_receive_pack();
	pid_t pid = -1;

	free(path);
	fflush(NULL);
	if (log >= 0 && pidfd >= 0)
		pid = fork();
	if (pid == 0) {
		/* Twice, so that init inherits the watcher and receive-pack has no child that it does not know. */
		pid = fork();
		if (pid == 0) {
			let_go();
			watch(h, url, pidfd, log);
		}
		_exit(0);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
	else
		say_warning("nobody watches whether this push is accepted here: if it is not, the upstream will be ahead");
	if (log >= 0)
		close(log);
	if (pidfd >= 0)
		close(pidfd);
}
