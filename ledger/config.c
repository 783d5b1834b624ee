/* SPDX-License-Identifier: MIT */
/* The repository's configuration through libgit2. */
#include "internal.h"

#include <errno.h>
#include <git2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

struct config {
	git_repository *repo; /* lock, when its configuration is looked at */
	char *file;           /* constant; the repository's own file */
	pthread_mutex_t lock;
	struct stat seen;           /* lock; `name`, `email` are of this state of the file */
	bool valid;                 /* lock */
	char name[256], email[256]; /* lock */
};

int config_new(struct config **out, struct git_repository *repo, const char *gitdir)
{
	struct config *c = calloc(1, sizeof(*c));

	if (c && asprintf(&c->file, "%s/config", gitdir) >= 0) {
		c->repo = repo;
		pthread_mutex_init(&c->lock, NULL);
		*out = c;
		return 0;
	}
	free(c);
	git_repository_free(repo);
	return LEDGER_ENOMEM;
}

void config_free(struct config *c)
{
	if (!c)
		return;
	pthread_mutex_destroy(&c->lock);
	git_repository_free(c->repo);
	free(c->file);
	free(c);
}

struct each_arg {
	int (*each)(void *arg, const char *value);
	void *arg;
	int count;
};

static int on_value(const git_config_entry *entry, void *payload)
{
	struct each_arg *a = payload;

	a->count++;
	return a->each(a->arg, entry->value ? entry->value : "");
}

int config_each(struct config *c, const char *name, int (*each)(void *arg, const char *value), void *arg)
{
	struct each_arg a = {each, arg, 0};
	git_config *snapshot = NULL;
	int rc;

	pthread_mutex_lock(&c->lock);
	errno = 0;
	rc = git_repository_config_snapshot(&snapshot, c->repo);
	pthread_mutex_unlock(&c->lock);
	if (rc)
		return ledger_fail_git(rc, "cannot read the configuration");
	rc = git_config_get_multivar_foreach(snapshot, name, NULL, on_value, &a);
	if (rc < 0 && rc != GIT_ENOTFOUND && !a.count)
		rc = ledger_fail_git(rc, "cannot read the configuration variable '%s'", name);
	else
		rc = a.count;
	git_config_free(snapshot);
	return rc;
}

static void get_string(git_config *cfg, const char *name, char *out, size_t size)
{
	const char *v;

	out[0] = '\0';
	if (!git_config_get_string(&v, cfg, name))
		snprintf(out, size, "%s", v);
}

/* Of the repository's own file alone: the daemon's user is nobody's author.  Lock held. */
static int reload(struct config *c)
{
	git_config *all = NULL, *local = NULL, *snapshot = NULL;
	int rc;

	c->name[0] = c->email[0] = '\0';
	errno = 0;
	rc = git_repository_config(&all, c->repo);
	if (!rc)
		rc = git_config_open_level(&local, all, GIT_CONFIG_LEVEL_LOCAL);
	if (!rc)
		rc = git_config_snapshot(&snapshot, local);
	if (!rc) {
		get_string(snapshot, "user.name", c->name, sizeof(c->name));
		get_string(snapshot, "user.email", c->email, sizeof(c->email));
	}
	git_config_free(snapshot);
	git_config_free(local);
	git_config_free(all);
	return rc && rc != GIT_ENOTFOUND ? ledger_fail_git(rc, "cannot read %s", c->file) : 0;
}

static bool same_state(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	       a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

int config_user(struct config *c, char *name, size_t namesize, char *email, size_t emailsize)
{
	struct stat now = {0};
	int rc = 0;

	if (stat(c->file, &now))
		memset(&now, 0, sizeof(now));
	pthread_mutex_lock(&c->lock);
	if (!c->valid || !same_state(&now, &c->seen)) {
		rc = reload(c);
		c->valid = !rc;
		c->seen = now;
	}
	snprintf(name, namesize, "%s", c->name);
	snprintf(email, emailsize, "%s", c->email);
	pthread_mutex_unlock(&c->lock);
	return rc;
}
