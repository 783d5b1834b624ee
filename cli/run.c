/* SPDX-License-Identifier: MIT */
/* Stock git as a program. */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- arguments -------------------------------------------------------------------------------------------------------- */

void args_add(struct args *a, const char *arg)
{
	if (a->n + 2 > a->cap) {
		a->cap = a->cap ? 2 * a->cap : 32;
		a->v = xreallocarray(a->v, a->cap, sizeof(*a->v));
	}
	a->v[a->n++] = arg;
	a->v[a->n] = NULL;
}

void args_addf(struct args *a, const char *fmt, ...)
{
	va_list ap;
	char *s = NULL;

	va_start(ap, fmt);
	if (vasprintf(&s, fmt, ap) < 0)
		s = xstrdup("");
	va_end(ap);
	XGROW(a->own, a->nown, a->owncap);
	a->own[a->nown++] = s;
	args_add(a, s);
}

void args_release(struct args *a)
{
	for (size_t i = 0; i < a->nown; i++)
		free(a->own[i]);
	free(a->own);
	free(a->v);
	memset(a, 0, sizeof(*a));
}

/* --- the child -------------------------------------------------------------------------------------------------------- */

/* What would send git to another repository than --git-dir says, or belongs to our caller alone. */
static const char *const stray[] = {"GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX",
				    "GIT_NAMESPACE", "GIT_COMMON_DIR", NULL};
static const char *const quarantine[] = {"GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", NULL};

static void unset_all(const char *const names[])
{
	for (; *names; names++)
		unsetenv(*names);
}

static void child_environment(unsigned flags)
{
	setenv("LC_ALL", "C", 1);
	setenv("LANGUAGE", "C", 1);
	if (!(flags & RUN_NO_DIR))
		unset_all(stray);
	if (flags & (RUN_OUTSIDE | RUN_ACROSS)) {
		unsetenv("GIT_QUARANTINE_PATH");
		unsetenv("GIT_PUSH_OPTION_COUNT"); /* without the count the others mean nothing */
		setenv("GIT_TERMINAL_PROMPT", "0", 1);
	}
	if (flags & RUN_OUTSIDE)
		unset_all(quarantine);
}

static void child(const char *const argv[], unsigned flags, int outfd, int errfd, bool group)
{
	int null;

	if (group)
		setpgid(0, 0);
	if (!(flags & RUN_INPUT_OPEN)) {
		null = open("/dev/null", O_RDONLY);
		if (null < 0 || dup2(null, 0) < 0)
			_exit(127);
	}
	if (dup2(outfd, 1) < 0 || (errfd >= 0 && dup2(errfd, 2) < 0))
		_exit(127);
	child_environment(flags);
	execvp("git", (char *const *)argv);
	_exit(127);
}

/* Forks `git ARGV...` with stdout (and stderr, when `err` is given) in pipes. */
static pid_t start(const char *gitdir, unsigned flags, bool group, const char *const argv[], int *out, int *err)
{
	int o[2] = {-1, -1}, e[2] = {-1, -1};
	struct args a = {0};
	pid_t pid = -1;

	args_add(&a, "git");
	if (!(flags & RUN_NO_DIR))
		args_addf(&a, "--git-dir=%s", gitdir);
	while (*argv)
		args_add(&a, *argv++);
	if (pipe2(o, O_CLOEXEC) < 0 || (err && pipe2(e, O_CLOEXEC) < 0))
		goto out;
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		child(a.v, flags, o[1], e[1], group);
	if (pid > 0 && group)
		setpgid(pid, pid); /* both sides, so that neither is too late */
out:
	if (o[1] >= 0)
		close(o[1]);
	if (e[1] >= 0)
		close(e[1]);
	if (pid < 0) {
		if (o[0] >= 0)
			close(o[0]);
		if (e[0] >= 0)
			close(e[0]);
	} else {
		*out = o[0];
		if (err)
			*err = e[0];
	}
	args_release(&a);
	return pid;
}

static int reap(pid_t pid)
{
	int st;

	while (waitpid(pid, &st, 0) < 0)
		if (errno != EINTR)
			return -1;
	return WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
}

/* --- reading both pipes ----------------------------------------------------------------------------------------------- */

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/*
 * git's progress: "Writing objects:  33% (1/3)", each cut off by a carriage return.  What ends with a newline is no
 * progress any more, and is for whoever called.
 */
static void show_meter(const char *buf, size_t n)
{
	const char *end = memrchr(buf, '\r', n), *begin;

	if (!end)
		return;
	begin = end;
	while (begin > buf && begin[-1] != '\r' && begin[-1] != '\n')
		begin--;
	if (end > begin)
		progress_text(begin, (size_t)(end - begin));
}

/* Drains one pipe into `to`; closes it and sets it to -1 at the end. */
static void drain(struct pollfd *p, FILE *to, bool meter)
{
	char buf[65536];
	ssize_t n;

	if (!p->revents)
		return;
	n = read(p->fd, buf, sizeof(buf));
	if (n > 0) {
		fwrite(buf, 1, (size_t)n, to);
		if (meter)
			show_meter(buf, (size_t)n);
	} else if (n == 0 || errno != EINTR) {
		close(p->fd);
		p->fd = -1;
	}
}

/* True: both pipes came to their end; false: the time was over first. */
static bool gather(int outfd, int errfd, FILE *out, FILE *err, unsigned timeout_s, bool meter)
{
	struct pollfd p[2] = {{.fd = outfd, .events = POLLIN}, {.fd = errfd, .events = POLLIN}};
	int64_t end = now_ms() + (int64_t)timeout_s * 1000, left;

	while (p[0].fd >= 0 || p[1].fd >= 0) {
		left = timeout_s ? end - now_ms() : -1;
		if (timeout_s && left <= 0)
			break;
		if (poll(p, 2, (int)left) < 0)
			continue;
		drain(&p[0], out, false);
		drain(&p[1], err, meter);
	}
	for (int i = 0; i < 2; i++)
		if (p[i].fd >= 0)
			close(p[i].fd);
	return p[0].fd < 0 && p[1].fd < 0;
}

int run_git(struct run *r, const char *gitdir, unsigned flags, unsigned timeout_s, const char *const argv[])
{
	bool group = timeout_s > 0, whole;
	int out = -1, err = -1;
	size_t errlen;
	FILE *fo, *fe;
	pid_t pid;

	memset(r, 0, sizeof(*r));
	fo = xmemstream(&r->out, &r->outlen);
	fe = xmemstream(&r->err, &errlen);
	pid = start(gitdir, flags, group, argv, &out, flags & RUN_STDERR ? NULL : &err);
	if (pid < 0) {
		fprintf(fe, "fatal: cannot start git: %s\n", strerror(errno));
		r->status = -1;
	} else {
		whole = gather(out, err, fo, fe, timeout_s, flags & RUN_METER);
		if (!whole)
			kill(-pid, SIGKILL);
		r->status = reap(pid);
		if (!whole) {
			r->status = RUN_TIMEOUT;
			fprintf(fe, "fatal: no answer within %u s\n", timeout_s);
		} else if (r->status == 127) {
			fprintf(fe, "fatal: cannot run git: is it installed?\n");
		}
	}
	fclose(fo);
	fclose(fe);
	return r->status;
}

void run_release(struct run *r)
{
	free(r->out);
	free(r->err);
	memset(r, 0, sizeof(*r));
}

FILE *run_stream(const char *gitdir, pid_t *pid, const char *const argv[])
{
	int out = -1;
	FILE *f;

	*pid = start(gitdir, RUN_STDERR, false, argv, &out, NULL);
	if (*pid < 0) {
		say_error("cannot start git: %s", strerror(errno));
		return NULL;
	}
	f = fdopen(out, "r");
	if (!f) {
		say_fatal("out of memory");
		exit(KV_FATAL);
	}
	return f;
}

int run_close(FILE *f, pid_t pid)
{
	fclose(f);
	return reap(pid);
}

/* --- what it said ----------------------------------------------------------------------------------------------------- */

void run_complain(const struct run *r)
{
	progress_done();
	fputs(r->err, stderr);
	if (*r->err && r->err[strlen(r->err) - 1] != '\n')
		putc('\n', stderr);
}

char *run_reason(const struct run *r)
{
	const char *before = r->err, *line = r->err, *nl;

	/* The first such line: those behind it tell that the other side hung up on that. */
	for (; *line && !starts_with(line, "fatal: ") && !starts_with(line, "error: "); line = *nl ? nl + 1 : nl) {
		nl = strchrnul(line, '\n');
		before = line;
	}
	if (!*r->err)
		return xasprintf("git ended with status %d", r->status);
	/* ssh says why in a line of its own, and then git that it could not read. */
	if (!*line || (line != before && starts_with(line, "fatal: Could not read")))
		return xstrndup(before, strcspn(before, "\n"));
	return xstrndup(line + 7, strcspn(line + 7, "\n"));
}
