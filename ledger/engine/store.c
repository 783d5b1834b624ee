/* SPDX-License-Identifier: MIT */
#include "engine.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

uint64_t store_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void store_log(struct store *s, const char *fmt, ...)
{
	char line[512];
	va_list ap;

	if (!s->log)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	s->log(s->log_arg, line);
}

void store_wait_until(struct store *s, pthread_cond_t *cond, uint64_t at)
{
	struct timespec ts = {(time_t)(at / 1000), (long)(at % 1000) * 1000000};

	pthread_cond_timedwait(cond, &s->mu, &ts);
}

int store_die(struct store *s, const char *what)
{
	if (!s->dead) {
		store_log(s, "no commit is acknowledged any more until the repository is opened again: %s", what);
		s->dead = LEDGER_EDEAD;
	}
	pthread_cond_broadcast(&s->changed);
	pthread_cond_signal(&s->keep_cond);
	return LEDGER_EDEAD;
}

void store_tmp(struct store *s, char out[64], const char *kind, uint64_t n)
{
	snprintf(out, 64, "%s/%s%" PRIu64, s->owner.dir, kind, n);
}

void store_be_nice(void)
{
	setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 10);
}

int store_value_bytes(struct ledger_value *v, const void **data, void **copy)
{
	size_t len = (size_t)ledger_value_size(v), have = 0;
	char *buf;

	*copy = NULL;
	*data = ledger_value_data(v);
	if (*data || !len)
		return 0;
	buf = io_malloc(len);
	if (!buf)
		return LEDGER_ENOMEM;
	while (have < len) {
		ssize_t n = ledger_value_pread(v, buf + have, len - have, have);

		if (n <= 0) {
			free(buf);
			return n < 0 ? (int)n : ledger_fail(LEDGER_EIO, "a value is shorter than it says");
		}
		have += (size_t)n;
	}
	*data = *copy = buf;
	return 0;
}

int store_clear_dir(struct store *s, const char *dir, const char *prefix)
{
	size_t plen = strlen(prefix);
	struct dirent *e;
	int fd, r = 0;
	DIR *d;

	fd = openat(s->dirfd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		if (fd >= 0)
			close(fd);
		return errno == ENOENT ? 0 : ledger_fail(LEDGER_EIO, "%s: cannot be read", dir);
	}
	while ((e = readdir(d))) {
		char path[PATH_MAX];

		if (e->d_name[0] == '.' || strncmp(e->d_name, prefix, plen) != 0)
			continue;
		if (snprintf(path, sizeof(path), "%s/%s", dir, e->d_name) >= (int)sizeof(path))
			continue;
		if (io_unlink(s->dirfd, path) < 0 && errno != ENOENT)
			r = ledger_fail(io_code(errno), "%s: %s", path, strerror(errno));
	}
	closedir(d);
	return r;
}

/* --- opening -------------------------------------------------------------------------------------------------------- */

static int open_repo(struct store *s, const char *gitdir)
{
	size_t len;
	int err;

	err = git_repository_open(&s->repo, gitdir);
	if (err < 0) {
		const git_error *e = git_error_last();

		return ledger_fail(LEDGER_EREPO, "%s: %s", gitdir, e ? e->message : "cannot be opened");
	}
	s->gitdir = io_strdup(git_repository_commondir(s->repo));
	if (!s->gitdir)
		return LEDGER_ENOMEM;
	len = strlen(s->gitdir);
	if (len > 1 && s->gitdir[len - 1] == '/')
		s->gitdir[len - 1] = 0;
	s->dirfd = open(s->gitdir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dirfd < 0)
		return ledger_fail(io_code(errno), "%s: %s", s->gitdir, strerror(errno));
	if (odb_open(s) < 0)
		return ledger_fail(LEDGER_EREPO, "%s/objects cannot be opened", s->gitdir);
	return 0;
}

/* Who the reflog says moved a ref. */
static void load_reflog(struct store *s)
{
	git_config *cfg = NULL;
	git_signature *sig = NULL;
	const char *value;
	char host[128] = "localhost";

	if (git_repository_config_snapshot(&cfg, s->repo) == 0) {
		s->reflog.always =
			git_config_get_string(&value, cfg, "core.logallrefupdates") == 0 && strcasecmp(value, "always") == 0;
		git_config_free(cfg);
	}
	if (git_signature_default(&sig, s->repo) == 0) {
		snprintf(s->reflog.ident, sizeof(s->reflog.ident), "%s <%s>", sig->name, sig->email);
		git_signature_free(sig);
		return;
	}
	if (gethostname(host, sizeof(host) - 1) < 0)
		strcpy(host, "localhost");
	snprintf(s->reflog.ident, sizeof(s->reflog.ident), "ledgerfs <ledgerfs@%s>", host);
}

static void init_sync(struct store *s)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&s->mu, NULL);
	pthread_mutex_init(&s->own_mu, NULL);
	pthread_mutex_init(&s->stage_mu, NULL);
	pthread_mutex_init(&s->spare_mu, NULL);
	pthread_mutex_init(&s->odb_mu, NULL);
	pthread_cond_init(&s->changed, &attr);
	pthread_cond_init(&s->keep_cond, &attr);
	pthread_cond_init(&s->pub_cond, &attr);
	pthread_cond_init(&s->upkeep_cond, &attr);
	pthread_condattr_destroy(&attr);
}

static void free_sync(struct store *s)
{
	pthread_cond_destroy(&s->upkeep_cond);
	pthread_cond_destroy(&s->pub_cond);
	pthread_cond_destroy(&s->keep_cond);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->odb_mu);
	pthread_mutex_destroy(&s->spare_mu);
	pthread_mutex_destroy(&s->stage_mu);
	pthread_mutex_destroy(&s->own_mu);
	pthread_mutex_destroy(&s->mu);
}

int store_open(struct store **out, const char *gitdir, const struct ledger_options *opts)
{
	static const struct ledger_options none;
	struct store *s;
	int r;

	if (!opts)
		opts = &none;
	s = io_calloc(1, sizeof(*s));
	if (!s)
		return LEDGER_ENOMEM;
	git_libgit2_init(); /* store_free() takes it back */
	s->dirfd = s->owner.fd = s->tips_fd = s->watch_fd = -1;
	s->journal.fd[0] = s->journal.fd[1] = -1;
	s->readonly = opts->readonly;
	s->nosync = opts->nosync;
	s->no_upkeep = opts->no_upkeep;
	s->async = opts->publish == LEDGER_PUBLISH_ASYNC;
	s->log = opts->log;
	s->log_arg = opts->log_arg;
	init_sync(s);
	refs_init(&s->refs, -1);
	s->cur = gen_new();
	r = s->cur ? open_repo(s, gitdir) : LEDGER_ENOMEM;
	s->refs.dirfd = s->dirfd;
	if (!r)
		r = owner_check_format(s->dirfd);
	if (!r && !s->readonly)
		r = recover_all(s);
	if (r < 0) {
		store_free(s);
		return r;
	}
	load_reflog(s);
	*out = s;
	return 0;
}

/* The owner's end: nothing is left behind but packs and refs, or else what the next opener needs to recover. */
static void disown(struct store *s)
{
	bool clean;

	publisher_stop(s);
	atomic_store(&s->no_spares, true); /* a lease needs the keeper */
	keeper_stop(s);
	packer_stop(s);
	watch_stop(s);
	clean = !s->dead && (s->journal_state != JOURNAL_READY || checkpoint_all(s) == 0);
	while (s->held) {
		s->held->in_group = s->held->in_window = false;
		held_settle(s, s->held);
	}
	journal_close(&s->journal);
	if (clean) {
		keep_end_gen(s, s->cur); /* of a last group that failed */
		journal_remove(s->dirfd, s->owner.dir);
	}
	/* Many processes of few commits each leave many packs. */
	if (!s->no_upkeep && !s->dead && s->journal_state != JOURNAL_READY && s->direct_groups)
		upkeep_run(s, UPKEEP_MANY);
	upkeep_tidy(s);
	free(s->merged);
	spares_clear(s);
	rings_clear(s);
	tips_close(s);
	if (atomic_load(&s->owner.left) && reflock_sweep(s->dirfd, s->owner.id) < 0)
		owner_abandon(&s->owner);
	else
		owner_release(&s->owner, s->dirfd);
	pack_release(&s->ck_pack);
}

void store_free(struct store *s)
{
	if (!s)
		return;
	if (s->owned)
		disown(s);
	stage_free(s);
	record_release(&s->group.rec);
	pack_release(&s->group.pack);
	free(s->group.objs);
	free(s->group.values);
	free(s->group.refs);
	free(s->retired);
	gen_unref(s->cur);
	gen_unref(s->frozen);
	refs_release(&s->refs);
	odb_close(s);
	git_repository_free(s->repo);
	git_libgit2_shutdown();
	if (s->dirfd >= 0)
		close(s->dirfd);
	free_sync(s);
	free(s->gitdir);
	free(s);
}
