/* SPDX-License-Identifier: MIT */
/*
 * Checkpoint packs grow in number; git itself merges them, in a process of low priority.  Only packs of ours that are for
 * good are given to it, so nothing of it can meet a small pack that is about to go, nor another's.  They are merged so
 * that sizes stay geometric, some packs of each: a byte is written again only when eight times as many have come, so about
 * log8 of the number of checkpoints times.
 *
 * The merged pack is synced before what it replaces goes, and that waits for a running gc, as small packs do.
 */
#include "packlist.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

#define GC_STALE_S (12 * 3600) /* git too takes an older gc.pid for a dead one's */

bool store_gc_running(struct store *s)
{
	struct stat st;

	return fstatat(s->dirfd, "gc.pid", &st, 0) == 0 && time(NULL) - st.st_mtime < GC_STALE_S;
}

/*
 * Our environment without what would make git look elsewhere; but what it writes goes first to an object directory of our
 * own, so that a git that is killed leaves nothing in the repository's.
 */
static char **clean_env(char *objects, char *alternates)
{
	size_t n = 0, k = 0;
	char **env;

	while (environ[n])
		n++;
	env = io_malloc((n + 3) * sizeof(char *));
	if (!env)
		return NULL;
	for (size_t i = 0; i < n; i++)
		if (strncmp(environ[i], "GIT_", 4) != 0)
			env[k++] = environ[i];
	env[k++] = objects;
	env[k++] = alternates;
	env[k] = NULL;
	return env;
}

/* Starts git pack-objects; its stdin and stdout are the caller's to close. */
static pid_t start_git(struct store *s, const char *base, int *in, int *out)
{
	/*
	 * What is in a pack is taken over as it is, deltas too.  By the objects' names, not by --stdin-packs, which walks
	 * through all of the history for hints where to find new deltas.
	 */
	const char *argv[] = {"git", "--git-dir",   s->gitdir,    "pack-objects",
			      "-q",  "--threads=1", "--window=0", "--delta-base-offset",
			      base,  NULL};
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t attr;
	sigset_t none, pipe_only;
	char objects[PATH_MAX + 40], alternates[PATH_MAX + 60];
	int a[2] = {-1, -1}, b[2] = {-1, -1};
	char **env = clean_env(objects, alternates);
	pid_t pid = -1;

	snprintf(objects, sizeof(objects), "GIT_OBJECT_DIRECTORY=%s/%s/objects", s->gitdir, s->owner.dir);
	snprintf(alternates, sizeof(alternates), "GIT_ALTERNATE_OBJECT_DIRECTORIES=%s/objects", s->gitdir);

	if (env && pipe2(a, O_CLOEXEC) == 0 && pipe2(b, O_CLOEXEC) == 0) {
		posix_spawn_file_actions_init(&fa);
		posix_spawn_file_actions_adddup2(&fa, a[0], 0);
		posix_spawn_file_actions_adddup2(&fa, b[1], 1);
		posix_spawn_file_actions_addopen(&fa, 2, "/dev/null", O_WRONLY, 0);
		/* A daemon blocks the signals that end it, and a git that inherits that would not end for keeper_stop(). */
		sigemptyset(&none);
		sigemptyset(&pipe_only);
		sigaddset(&pipe_only, SIGPIPE);
		posix_spawnattr_init(&attr);
		posix_spawnattr_setsigmask(&attr, &none);
		posix_spawnattr_setsigdefault(&attr, &pipe_only);
		posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
		if (posix_spawnp(&pid, "git", &fa, &attr, (char *const *)argv, env) != 0)
			pid = -1;
		posix_spawnattr_destroy(&attr);
		posix_spawn_file_actions_destroy(&fa);
	}
	if (pid > 0)
		setpriority(PRIO_PROCESS, (id_t)pid, 15);
	free(env);
	if (a[0] >= 0)
		close(a[0]);
	if (b[1] >= 0)
		close(b[1]);
	if (pid < 0 && a[1] >= 0)
		close(a[1]);
	if (pid < 0 && b[0] >= 0)
		close(b[0]);
	*in = a[1];
	*out = b[0];
	return pid;
}

/* Waits for the process; while it runs, keeper_stop() may end it. */
static bool wait_git(struct store *s, pid_t pid)
{
	siginfo_t info;
	int status = -1;

	while (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR)
		;
	pthread_mutex_lock(&s->mu);
	s->upkeep_pid = 0;
	pthread_mutex_unlock(&s->mu);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* The merged pack at `base`-<hash>; its hash into `hex`. */
static bool run_git(struct store *s, const char *base, const struct packlist *p, size_t n, char hex[41])
{
	sigset_t pipe_only, old;
	size_t have = 0;
	int in, out;
	ssize_t len;
	pid_t pid;
	bool ok, told;

	/* A git that dies while it is told must not end us. */
	sigemptyset(&pipe_only);
	sigaddset(&pipe_only, SIGPIPE);
	pthread_mutex_lock(&s->mu);
	pid = s->stop && s->has_keeper ? -1 : start_git(s, base, &in, &out);
	s->upkeep_pid = pid > 0 ? pid : 0;
	pthread_mutex_unlock(&s->mu);
	if (pid < 0)
		return false;
	pthread_sigmask(SIG_BLOCK, &pipe_only, &old);
	told = packlist_objects(s, p, n, in) == 0;
	if (!told) /* or it would pack what it has been told */
		kill(pid, SIGTERM);
	close(in);
	while (have < 40 && (len = read(out, hex + have, 40 - have)) > 0)
		have += (size_t)len;
	close(out);
	ok = wait_git(s, pid);
	/* What feed() may have raised is pending for this thread alone. */
	sigtimedwait(&pipe_only, NULL, &(struct timespec){0, 0});
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	hex[have] = 0;
	return ok && told && have == 40;
}

static int sync_file(struct store *s, const char *path)
{
	int fd = io_open(s->dirfd, path, O_RDONLY, 0), r;

	if (fd < 0)
		return -1;
	r = s->nosync ? 0 : io_fsync(fd);
	io_close(fd);
	return r;
}

/* What git wrote, to the disk and to its place. */
static int place(struct store *s, const char *base, const char *hex)
{
	char pack[128], idx[128], rev[128], name[41];
	int r = LEDGER_EIO;

	snprintf(pack, sizeof(pack), "%s-%s.pack", base, hex);
	snprintf(idx, sizeof(idx), "%s-%s.idx", base, hex);
	snprintf(rev, sizeof(rev), "%s-%s.rev", base, hex);
	snprintf(name, sizeof(name), "6b77%.36s", hex);
	io_unlink(s->dirfd, rev);
	if (sync_file(s, pack) == 0 && sync_file(s, idx) == 0)
		r = pack_place(s->dirfd, pack, idx, name, !s->nosync);
	io_unlink(s->dirfd, pack);
	io_unlink(s->dirfd, idx);
	return r;
}

static void remove_merged(struct store *s)
{
	for (size_t i = 0; i < s->nmerged; i++) {
		char path[80];

		snprintf(path, sizeof(path), PACK_DIR "/pack-%s.idx", s->merged[i]);
		io_unlink(s->dirfd, path);
		snprintf(path, sizeof(path), PACK_DIR "/pack-%s.pack", s->merged[i]);
		io_unlink(s->dirfd, path);
	}
	free(s->merged);
	s->merged = NULL;
	s->nmerged = 0;
}

void upkeep_tidy(struct store *s)
{
	if (s->nmerged && !store_gc_running(s))
		remove_merged(s);
}

/* The object directory of start_git(); what is in its pack directory is the rest of a git that was killed. */
static bool make_objects(struct store *s, bool begin)
{
	static const char *const subs[] = {"", "/pack"};
	char path[OWNER_DIR_MAX + 32];

	for (size_t i = 0; begin && i < 2; i++) {
		snprintf(path, sizeof(path), "%s/objects%s", s->owner.dir, subs[i]);
		if (io_mkdir(s->dirfd, path) < 0 && errno != EEXIST)
			return false;
	}
	snprintf(path, sizeof(path), "%s/objects/pack", s->owner.dir);
	store_clear_dir(s, path, "");
	for (size_t i = 2; !begin && i-- > 0;) {
		snprintf(path, sizeof(path), "%s/objects%s", s->owner.dir, subs[i]);
		io_rmdir(s->dirfd, path);
	}
	return true;
}

static int merge(struct store *s, const struct packlist *p, size_t n)
{
	char base[64], full[PATH_MAX], hex[41];
	char(*names)[41];
	int r;

	names = io_malloc(n * sizeof(*names));
	if (!names)
		return LEDGER_ENOMEM;
	store_tmp(s, base, "m", 0);
	snprintf(full, sizeof(full), "%s/%s", s->gitdir, base);
	r = make_objects(s, true) && run_git(s, full, p, n, hex) ? place(s, base, hex) : LEDGER_EIO;
	make_objects(s, false);
	if (r < 0) {
		/* A foreign gc took one of them, or there is no git: later. */
		free(names);
		return r;
	}
	for (size_t i = 0, k = 0; i < n; i++)
		if (strncmp(p->v[i].name + 4, hex, 36) != 0) { /* the same objects again: that is the merged one */
			memcpy(names[k++], p->v[i].name, 41);
			s->nmerged = k;
		}
	s->merged = names;
	return 0;
}

/* A foreign gc, or another mount, takes packs that it has merged: that is no failure of ours, and there will be others. */
static bool still_there(struct store *s, const struct packlist *p, size_t n)
{
	char path[80];
	bool all = true;

	for (size_t i = 0; i < n && all; i++) {
		snprintf(path, sizeof(path), PACK_DIR "/pack-%s.pack", p->v[i].name);
		all = faccessat(s->dirfd, path, F_OK, 0) == 0;
	}
	return all;
}

/* keeper_stop() has ended the git: there is nothing to tell. */
static bool stopping(struct store *s)
{
	bool yes;

	pthread_mutex_lock(&s->mu);
	yes = s->stop && s->has_keeper;
	pthread_mutex_unlock(&s->mu);
	return yes;
}

void upkeep_run(struct store *s, size_t least)
{
	struct packlist p = {0};
	int lock;
	size_t n;

	if (s->nmerged || store_gc_running(s))
		return;
	lock = io_open(s->dirfd, "kv/upkeep", O_RDWR | O_CREAT, 0666);
	if (lock < 0)
		return;
	if (flock(lock, LOCK_EX | LOCK_NB) == 0 && packlist_read(s, &p) == 0 && p.n >= least &&
	    (n = packlist_choose(&p)) > 0 && merge(s, &p, n) < 0 && !s->upkeep_failed && !stopping(s) &&
	    still_there(s, &p, n)) {
		store_log(s, "the packs could not be merged: is there a git of 2.32 or newer?");
		s->upkeep_failed = true;
	}
	packlist_release(&p);
	io_close(lock);
}

/* --- the thread ------------------------------------------------------------------------------------------------------- */

#define MERGED_GRACE_MS 1000 /* for readers that have just listed what is to go */

static void *upkeep_main(void *arg)
{
	struct store *s = arg;
	uint64_t end;
	bool stop;

	store_be_nice();
	upkeep_run(s, 0);
	pthread_mutex_lock(&s->mu);
	end = store_now() + MERGED_GRACE_MS;
	while (s->nmerged && !s->stop && store_now() < end) {
		store_wait_until(s, &s->upkeep_cond, end);
		if (store_now() >= end && store_gc_running(s))
			end = store_now() + MERGED_GRACE_MS;
	}
	stop = s->stop;
	pthread_mutex_unlock(&s->mu);
	if (!stop)
		upkeep_tidy(s);
	pthread_mutex_lock(&s->mu);
	s->upkeep_busy = false;
	pthread_mutex_unlock(&s->mu);
	return NULL;
}

void upkeep_begin(struct store *s)
{
	upkeep_join(s); /* one that is over */
	s->upkeep_busy = s->has_upkeep = pthread_create(&s->upkeep_thread, NULL, upkeep_main, s) == 0;
}

void upkeep_join(struct store *s)
{
	if (s->has_upkeep)
		pthread_join(s->upkeep_thread, NULL);
	s->has_upkeep = false;
}
