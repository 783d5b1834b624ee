/* SPDX-License-Identifier: MIT */
/* Which repositories can be ledgers; one clear sentence for each that cannot. */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <git2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* A rename that never replaces; EEXIST when another was faster. */
static int move_in_place(const char *from, const char *to)
{
	return renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);
}

/* What git must not do behind the ledger's back in a repository that is its own (docs/DESIGN.md): pack in the foreground. */
static int configure_new(git_repository *repo)
{
	git_config *cfg = NULL;
	int rc = git_repository_config(&cfg, repo);

	if (!rc)
		rc = git_config_set_int32(cfg, "gc.auto", 0);
	git_config_free(cfg);
	return rc;
}

/* A new repository is not on the disk before somebody says so: HEAD and config were seen to vanish. */
static int sync_file_system(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;

	if (fd < 0 || syncfs(fd))
		rc = ledger_fail_errno(errno, "cannot sync %s", dir);
	if (fd >= 0)
		close(fd);
	return rc;
}

static void remove_tree(const char *dir)
{
	char path[4096];
	static const char *const parts[] = {"HEAD",         "config",  "description",  "objects/info",
					    "objects/pack", "objects", "refs/heads",   "refs/tags",
					    "refs",         "hooks",   "info/exclude", "info"};

	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
		if (snprintf(path, sizeof(path), "%s/%s", dir, parts[i]) < (int)sizeof(path))
			remove(path);
	rmdir(dir);
}

/* Built beside `path` and moved there whole, so that nobody meets half a repository. */
static int repo_init(const char *path)
{
	git_repository_init_options o = GIT_REPOSITORY_INIT_OPTIONS_INIT;
	git_repository *repo = NULL;
	char tmp[4096];
	int rc;

	if (snprintf(tmp, sizeof(tmp), "%s.init-%ld", path, (long)getpid()) >= (int)sizeof(tmp))
		return ledger_fail(LEDGER_ENAMETOOLONG, "the repository's path is too long");
	if (mkdir(tmp, 0777))
		return ledger_fail_errno(errno, "cannot create a repository at %s", path);
	o.flags = GIT_REPOSITORY_INIT_BARE | GIT_REPOSITORY_INIT_NO_REINIT;
	errno = 0;
	rc = git_repository_init_ext(&repo, tmp, &o);
	if (!rc)
		rc = configure_new(repo);
	if (rc)
		rc = ledger_fail_git(rc, "cannot create a repository at %s", path);
	git_repository_free(repo);
	if (!rc && move_in_place(tmp, path) && errno != EEXIST)
		rc = ledger_fail_errno(errno, "cannot create a repository at %s", path);
	if (!rc)
		rc = sync_file_system(path);
	if (access(tmp, F_OK) == 0)
		remove_tree(tmp);
	return rc;
}

/* --- checks --------------------------------------------------------------------------------------------------------- */

/* An extension that this program, whatever its library says, does not know how to write. */
static int check_extensions(const char *file, const char *path)
{
	git_config *cfg = NULL;
	git_buf v = GIT_BUF_INIT;
	int rc = 0;

	if (access(file, F_OK))
		return 0;
	errno = 0;
	if (git_config_open_ondisk(&cfg, file))
		return ledger_fail(LEDGER_ECORRUPT, "the repository's configuration cannot be read: %s",
				   git_error_last() ? git_error_last()->message : file);
	if (!git_config_get_string_buf(&v, cfg, "extensions.objectformat") && strcasecmp(v.ptr, "sha1"))
		rc = ledger_fail(LEDGER_EREPO, "%s uses object format %s: only SHA-1 repositories are supported", path,
				 v.ptr);
	git_buf_dispose(&v);
	if (!rc && !git_config_get_string_buf(&v, cfg, "extensions.refstorage") && strcasecmp(v.ptr, "files"))
		rc = ledger_fail(LEDGER_EREPO, "%s keeps its refs as %s: only the files format is supported", path, v.ptr);
	git_buf_dispose(&v);
	git_config_free(cfg);
	return rc;
}

/* The two places where a configuration may stand, before libgit2's own words on it. */
static int check_format(const char *path)
{
	char file[4096];
	int rc = 0;

	if (snprintf(file, sizeof(file), "%s/.git/config", path) < (int)sizeof(file))
		rc = check_extensions(file, path);
	if (!rc && snprintf(file, sizeof(file), "%s/objects", path) < (int)sizeof(file) && !access(file, F_OK)) {
		snprintf(file, sizeof(file), "%s/config", path);
		rc = check_extensions(file, path);
	}
	return rc;
}

static int open_git(git_repository **out, const char *path)
{
	int rc;

	errno = 0;
	rc = git_repository_open_ext(out, path, GIT_REPOSITORY_OPEN_NO_SEARCH, NULL);
	if (!rc)
		return 0;
	if (errno == EACCES || errno == EPERM)
		return ledger_fail(LEDGER_EACCES, "no permission to read the repository at %s", path);
	if (rc == GIT_ENOTFOUND)
		return ledger_fail(LEDGER_EREPO, "%s is not a git repository", path);
	if (rc == GIT_EOWNER)
		return ledger_fail(LEDGER_EACCES,
				   "%s belongs to another user (git config --global --add safe.directory allows it)", path);
	return ledger_fail(LEDGER_EREPO, "%s cannot be opened as a git repository: %s", path,
			   git_error_last() ? git_error_last()->message : "unknown reason");
}

static int check_readable(const char *gitdir)
{
	static const char *const parts[] = {"HEAD", "objects", "refs"};
	char path[4096];

	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		int mode = i ? R_OK | X_OK : R_OK;

		if (snprintf(path, sizeof(path), "%s/%s", gitdir, parts[i]) >= (int)sizeof(path))
			return ledger_fail(LEDGER_ENAMETOOLONG, "the repository's path is too long");
		if (!access(path, mode))
			continue;
		if (errno == EACCES)
			return ledger_fail(LEDGER_EACCES, "no permission to read %s", path);
		return ledger_fail(LEDGER_EREPO, "the repository is damaged: %s: %s", path, strerror(errno));
	}
	return 0;
}

static bool is_writable(const char *gitdir)
{
	static const char *const parts[] = {"", "/objects", "/refs"};
	char path[4096];

	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		snprintf(path, sizeof(path), "%s%s", gitdir, parts[i]);
		if (access(path, W_OK | X_OK))
			return false;
	}
	return true;
}

static int stat_repo(const char *path, bool init)
{
	struct stat st;

	if (!stat(path, &st)) {
		if (S_ISDIR(st.st_mode))
			return 0;
		return ledger_fail(LEDGER_EREPO, "%s is not a git repository: not a directory", path);
	}
	if (errno == ENOENT)
		return init ? repo_init(path) : ledger_fail(LEDGER_ENOTFOUND, "there is nothing at %s", path);
	return ledger_fail_errno(errno, "%s", path);
}

int repo_open(const char *path, bool init, char **gitdir, struct config **config, bool *writable)
{
	git_repository *repo = NULL;
	char *real = NULL;
	int rc = stat_repo(path, init);

	if (!rc)
		rc = check_format(path);
	if (!rc)
		rc = open_git(&repo, path);
	if (rc)
		return rc;
	real = realpath(git_repository_commondir(repo), NULL);
	if (!real)
		rc = ledger_fail_errno(errno, "%s", path);
	if (!rc)
		rc = check_readable(real);
	if (rc) {
		git_repository_free(repo);
		free(real);
		return rc;
	}
	rc = config_new(config, repo, real);
	if (rc) {
		free(real);
		return rc;
	}
	*writable = is_writable(real);
	*gitdir = real;
	return 0;
}
