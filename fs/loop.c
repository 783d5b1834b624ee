/* SPDX-License-Identifier: MIT */
#define FUSE_USE_VERSION 312
#include "loop.h"
#include "log.h"
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

/* Only wakes the main thread from its wait inside libfuse. */
#define SIG_KICK SIGUSR2
/* Tells the signal thread that there is nothing more to wait for. */
#define SIG_DONE SIGUSR1
#define KICK_NS 20000000L

struct loop {
	struct fuse_session *se;
	const struct fs_options *o;
	unsigned major, minor; /* device of the mount */
	pthread_t main, signals, watch;
	bool have_signals, watched; /* those threads were started; the second is the first one's to set */
	pthread_mutex_t lock;
	pthread_cond_t moved_on;
	bool left;   /* lock: the loop has ended */
	bool closed; /* lock: nothing is left to be waited for */
};

/* --- libfuse's own words ------------------------------------------------------------------------------------------ */

static char last_words[256]; /* of libfuse while it mounts: one thread */
static bool mounting;

static void fuse_words(enum fuse_log_level level, const char *fmt, va_list ap)
{
	char line[sizeof(last_words)];
	size_t len;

	if (level == FUSE_LOG_DEBUG) { /* -d */
		vfprintf(stderr, fmt, ap);
		return;
	}
	vsnprintf(line, sizeof(line), fmt, ap);
	for (len = strlen(line); len && line[len - 1] == '\n'; len--)
		line[len - 1] = '\0';
	if (mounting)
		memcpy(last_words, line, sizeof(line));
	else
		log_line("%s", line);
}

/* --- mounting ----------------------------------------------------------------------------------------------------- */

/* SIGHUP stays ignored where it is (nohup(1)). */
static void ending_signals(sigset_t *set)
{
	struct sigaction hup;

	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	if (sigaction(SIGHUP, NULL, &hup) || hup.sa_handler != SIG_IGN)
		sigaddset(set, SIGHUP);
	sigaddset(set, SIG_DONE);
}

void loop_block_signals(void)
{
	sigset_t set;

	ending_signals(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static int add_opt(char **opts, const char *opt)
{
	return fuse_opt_add_opt(opts, opt);
}

/* The options that libfuse and the kernel are to see. */
static int mount_options(const struct fs_options *o, struct fuse_args *args)
{
	char *opts = NULL, *name = NULL;
	int rc = 0;

	rc |= asprintf(&name, "fsname=%s", o->repo) < 0;
	if (!rc) {
		rc |= fuse_opt_add_opt_escaped(&opts, name);
		free(name);
	}
	rc |= add_opt(&opts, "subtype=ledgerfs");
	if (o->ledger.readonly)
		rc |= add_opt(&opts, "ro");
	if (o->allow_other || o->allow_root)
		rc |= add_opt(&opts, o->allow_root ? "allow_root" : "allow_other");
	if (o->default_permissions)
		rc |= add_opt(&opts, "default_permissions");
	if (o->mount_opts[0])
		rc |= add_opt(&opts, o->mount_opts);
	rc |= fuse_opt_add_arg(args, "ledgerfs");
	if (o->debug)
		rc |= fuse_opt_add_arg(args, "-d");
	rc |= fuse_opt_add_arg(args, "-o");
	if (!rc)
		rc |= fuse_opt_add_arg(args, opts);
	free(opts);
	return rc;
}

/* Device of the topmost mount at `path`; false when there is none. */
static bool top_mount(const char *path, unsigned *major, unsigned *minor)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL, *c, point[4096];
	unsigned a, b;
	size_t size = 0, i;
	bool found = false;

	if (!f)
		return false;
	while (getline(&line, &size, f) >= 0) {
		if (sscanf(line, "%*d %*d %u:%u %*s %4095s", &a, &b, point) != 3)
			continue;
		for (c = point, i = 0; *c; i++) { /* \040 and the like stand for blanks, tabs, newlines, backslashes */
			if (*c == '\\' && c[1] && c[2] && c[3]) {
				point[i] = (char)((c[1] - '0') << 6 | (c[2] - '0') << 3 | (c[3] - '0'));
				c += 4;
			} else {
				point[i] = *c++;
			}
		}
		point[i] = '\0';
		if (!strcmp(point, path)) {
			*major = a;
			*minor = b;
			found = true;
		}
	}
	free(line);
	fclose(f);
	return found;
}

int loop_open(struct loop **out, const struct fs_options *o, const struct fuse_lowlevel_ops *ops, void *userdata, char *err,
	      size_t errlen)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct loop *s = calloc(1, sizeof(*s));
	pthread_condattr_t attr;

	if (!s) {
		snprintf(err, errlen, "out of memory");
		return -1;
	}
	s->o = o;
	s->main = pthread_self();
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->moved_on, &attr);
	pthread_condattr_destroy(&attr);
	fuse_set_log_func(fuse_words);
	mounting = true;
	if (mount_options(o, &args)) {
		snprintf(err, errlen, "out of memory");
		goto fail;
	}
	s->se = fuse_session_new(&args, ops, sizeof(*ops), userdata);
	if (!s->se || fuse_session_mount(s->se, o->mountpoint)) {
		snprintf(err, errlen, "cannot mount on %s%s%s", o->mountpoint, last_words[0] ? ": " : "", last_words);
		goto fail;
	}
	mounting = false;
	if (!top_mount(o->mountpoint, &s->major, &s->minor))
		log_line("%s: not in /proc/self/mountinfo: a signal will end the mount without waiting for open files",
			 o->mountpoint);
	fuse_opt_free_args(&args);
	*out = s;
	return 0;
fail:
	mounting = false;
	fuse_opt_free_args(&args);
	loop_free(s);
	return -1;
}

struct fuse_session *loop_fuse(struct loop *s)
{
	return s->se;
}

/* --- the end ------------------------------------------------------------------------------------------------------ */

/* fusermount3 -u, for daemons that may not unmount themselves. */
static bool helper_unmounts(const char *path)
{
	char *argv[] = {"fusermount3", "-u", "--", (char *)path, NULL};
	posix_spawn_file_actions_t fa;
	extern char **environ;
	int status = -1;
	pid_t pid;

	if (posix_spawn_file_actions_init(&fa))
		return false;
	if (posix_spawn_file_actions_addopen(&fa, 2, "/dev/null", O_WRONLY, 0) ||
	    posix_spawnp(&pid, argv[0], &fa, NULL, argv, environ))
		pid = -1;
	posix_spawn_file_actions_destroy(&fa);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return pid > 0 && status == 0;
}

/* Unmounts what is ours and on top, while the loop answers; false when it is busy. */
static bool unmount_politely(struct loop *s)
{
	unsigned major, minor;

	if (!top_mount(s->o->mountpoint, &major, &minor) || major != s->major || minor != s->minor)
		return false;
	if (!umount2(s->o->mountpoint, UMOUNT_NOFOLLOW))
		return true;
	return errno == EPERM && helper_unmounts(s->o->mountpoint);
}

/* Waits for *flag at most until `deadline`; the lock is held. */
static bool wait_for(struct loop *s, const bool *flag, const struct timespec *deadline)
{
	while (!*flag && pthread_cond_timedwait(&s->moved_on, &s->lock, deadline) == 0)
		;
	return *flag;
}

static struct timespec in(time_t sec, long nsec)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += sec + (t.tv_nsec + nsec) / 1000000000L;
	t.tv_nsec = (t.tv_nsec + nsec) % 1000000000L;
	return t;
}

/* Frees what hangs in the kernel: nothing less ends a process whose threads wait for its own answers. */
static void abort_connection(const struct loop *s)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/sys/fs/fuse/connections/%u/abort", s->minor);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, "1", 1) != 1)
		log_line("%s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* Sees to it that the process ends in time. */
static void *watch_thread(void *arg)
{
	struct timespec limit = in(LOOP_SHUTDOWN_SECONDS, 0);
	struct loop *s = arg;
	bool closed;

	pthread_mutex_lock(&s->lock);
	closed = wait_for(s, &s->closed, &limit);
	pthread_mutex_unlock(&s->lock);
	if (closed)
		return NULL;
	log_line("%s: not ended after %d s: ending without it", s->o->mountpoint, LOOP_SHUTDOWN_SECONDS);
	log_flush();
	abort_connection(s);
	umount2(s->o->mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW);
	_exit(1);
}

static void end_loop(struct loop *s)
{
	struct timespec kick;

	s->watched = !pthread_create(&s->watch, NULL, watch_thread, s);
	if (!unmount_politely(s))
		log_line("%s: in use, or not ours to unmount: open files are cut off", s->o->mountpoint);
	pthread_mutex_lock(&s->lock);
	if (!s->left) /* else the unmount has ended the loop already, and the session may be gone */
		fuse_session_exit(s->se);
	/* libfuse looks at that flag and then waits: a kick between the two is lost, so it is kicked until it has left. */
	while (!s->left) {
		pthread_kill(s->main, SIG_KICK);
		kick = in(0, KICK_NS);
		wait_for(s, &s->left, &kick);
	}
	pthread_mutex_unlock(&s->lock);
}

static void *signal_thread(void *arg)
{
	struct loop *s = arg;
	sigset_t set;
	bool left;
	int sig;

	ending_signals(&set);
	for (;;) {
		if (sigwait(&set, &sig))
			continue;
		if (sig != SIG_DONE) {
			end_loop(s);
			return NULL;
		}
		pthread_mutex_lock(&s->lock);
		left = s->left;
		pthread_mutex_unlock(&s->lock);
		if (left) /* else it is somebody else's SIGUSR1 */
			return NULL;
	}
}

static void nothing(int sig)
{
	(void)sig;
}

static int request_loop(struct loop *s)
{
	struct fuse_loop_config *config;
	int rc;

	if (s->o->single)
		return fuse_session_loop(s->se);
	config = fuse_loop_cfg_create();
	if (!config)
		return -ENOMEM;
	fuse_loop_cfg_set_clone_fd(config, s->o->clone_fd);
	fuse_loop_cfg_set_max_threads(config, s->o->max_threads);
	/* Idle threads stay: making and ending them at each burst costs more than they do. */
	fuse_loop_cfg_set_idle_threads(config, s->o->max_threads);
	rc = fuse_session_loop_mt(s->se, config);
	fuse_loop_cfg_destroy(config);
	return rc;
}

static void advance(struct loop *s, bool *flag)
{
	pthread_mutex_lock(&s->lock);
	*flag = true;
	pthread_cond_broadcast(&s->moved_on);
	pthread_mutex_unlock(&s->lock);
}

int loop_run(struct loop *s)
{
	struct sigaction kick = {.sa_handler = nothing}; /* no SA_RESTART: it is to interrupt */
	int rc;

	sigaction(SIG_KICK, &kick, NULL);
	rc = -pthread_create(&s->signals, NULL, signal_thread, s);
	if (rc)
		return rc;
	s->have_signals = true;
	rc = request_loop(s);
	advance(s, &s->left);
	return rc;
}

void loop_close(struct loop *s)
{
	if (!s || !s->se)
		return;
	fuse_session_unmount(s->se);
	fuse_session_destroy(s->se);
	s->se = NULL;
}

void loop_free(struct loop *s)
{
	if (!s)
		return;
	loop_close(s);
	if (s->have_signals) {
		advance(s, &s->closed);
		pthread_kill(s->signals, SIG_DONE);
		pthread_join(s->signals, NULL);
	}
	if (s->watched)
		pthread_join(s->watch, NULL);
	pthread_cond_destroy(&s->moved_on);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
