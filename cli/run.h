/* SPDX-License-Identifier: MIT */
/*
 * Stock git as a program: transport, and the few things that it does better than anybody else could.
 *
 * Always in the C locale, since some of its words are parsed (SPEC 8.2; push.c).
 */
#ifndef KV_RUN_H
#define KV_RUN_H

#include "kv.h"

enum run_flag {
	RUN_INPUT_OPEN = 1 << 0, /* stdin is ours; else /dev/null */
	RUN_STDERR = 1 << 1,     /* stderr is ours; else captured */
	RUN_NO_DIR = 1 << 2,     /* without --git-dir: git finds the repository itself */
	/*
	 * For a hook (git-receive-pack(1), quarantine): the environment names objects that are not accepted yet.
	 * RUN_OUTSIDE: git shall not see them, and may move refs.  RUN_ACROSS: it sees them, but a repository that it
	 * talks to does not take itself for quarantined.  Both leave push options and identity of the push behind.
	 */
	RUN_OUTSIDE = 1 << 3,
	RUN_ACROSS = 1 << 4,
	RUN_METER = 1 << 5, /* git's own progress (--progress) goes on to our stderr, from the first second on */
};

/* What a program said; release with run_release(). */
struct run {
	int status; /* exit status; 128 + N: killed by signal N; -1: could not be started; RUN_TIMEOUT */
	char *out;  /* NUL behind it */
	size_t outlen;
	char *err;
};
#define RUN_TIMEOUT (-2)

/*
 * Runs `git --git-dir=GITDIR ARGV...` to its end; `argv` ends with NULL and starts behind "git".  `timeout_s` 0: none;
 * else the program and all that it started is killed then.  Returns r->status.
 */
int run_git(struct run *r, const char *gitdir, unsigned flags, unsigned timeout_s, const char *const argv[]);
void run_release(struct run *r);

/* The same with stdout as a stream to read while it runs.  NULL: could not start, said.  Close with run_close(). */
FILE *run_stream(const char *gitdir, pid_t *pid, const char *const argv[]);
/* Exit status as above. */
int run_close(FILE *f, pid_t pid);

/* Copies what git said to stderr, each line as it is ("fatal: ..."); for the failed ones. */
void run_complain(const struct run *r);
/* The line that says why it failed, without "fatal: " or "error: "; malloc'ed; never NULL. */
char *run_reason(const struct run *r);

/* Arguments that grow. */
struct args {
	const char **v; /* ends with NULL */
	char **own;     /* those to free */
	size_t n, cap, nown, owncap;
};
void args_add(struct args *a, const char *arg); /* borrowed */
void args_addf(struct args *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void args_release(struct args *a);

#endif
