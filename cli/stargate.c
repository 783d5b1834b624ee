/* SPDX-License-Identifier: MIT */
/* stargate: a repository that is shared. */
#include "opt.h"
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char stargate_usage[] = "usage: git kv stargate init [--mirror URL] [--upstream URL] DIR\n"
				     "   or: git kv stargate sync [DIR]";

/* Runs git there; says what it said when it fails. */
static int call_git(const char *dir, const char *const argv[])
{
	struct run r;
	int status = run_git(&r, dir, 0, 0, argv) ? KV_FATAL : 0;

	if (status)
		run_complain(&r);
	run_release(&r);
	return status;
}

/* What git prints there, without the newline; malloc'ed; NULL: it failed. */
static char *ask_git(const char *dir, const char *const argv[])
{
	struct run r;
	char *s = NULL;

	if (run_git(&r, dir, 0, 0, argv) == 0) {
		r.out[strcspn(r.out, "\n")] = '\0';
		s = xstrdup(r.out);
	}
	run_release(&r);
	return s;
}

/* --- init: the repository
 * ----------------------------------------------------------------------------------------------------- */

static bool absent_or_empty(const char *dir)
{
	return rmdir(dir) == 0 || errno == ENOENT;
}

/* Makes the bare repository, or finds that there is one. */
static int make_or_find(const char *dir)
{
	static const char *const bare_q[] = {"rev-parse", "--is-bare-repository", NULL};
	static const char *const format_q[] = {"rev-parse", "--show-object-format", NULL};
	char *bare, *format;
	struct run r;
	int status = 0;

	if (absent_or_empty(dir)) {
		run_git(&r, NULL, RUN_NO_DIR, 0,
			(const char *[]){"-c", "init.defaultBranch=main", "init", "--quiet", "--bare",
					 "--object-format=sha1", "--", dir, NULL});
		status = r.status ? KV_FATAL : 0;
		if (status)
			run_complain(&r);
		run_release(&r);
		return status;
	}
	bare = ask_git(dir, bare_q);
	format = ask_git(dir, format_q);
	if (!bare)
		status = say_fatal("'%s' is there and is not a git repository", dir);
	else if (strcmp(bare, "true") != 0)
		status = say_fatal("'%s' is not a bare repository: a shared one has no work tree", dir);
	else if (!format || strcmp(format, "sha1") != 0)
		status = say_fatal("'%s' has objects of the kind %s; only sha1 is supported", dir,
				   format ? format : "unknown");
	free(bare);
	free(format);
	return status;
}

/* --- init: the hook
 * ----------------------------------------------------------------------------------------------------------- */

#define HOOK_MARK "# Installed by `git kv stargate init`."

static int write_hook(const char *path)
{
	char self[PATH_MAX], *tmp = xasprintf("%s.kv-new", path);
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	FILE *f = NULL;
	int fd, status = 0;

	self[n > 0 ? n : 0] = '\0';
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0777);
	if (fd >= 0)
		f = fdopen(fd, "w");
	if (f) {
		fputs("#!/bin/sh\n" HOOK_MARK
		      "\n# Refuses a push that a ledger does not allow; when git-kv is gone, every push.\nkv='",
		      f);
		for (const char *p = self; *p; p++)
			fputs(*p == '\'' ? "'\\''" : (char[]){*p, 0}, f);
		fputs("'\ntest -x \"$kv\" || kv=git-kv\nexec \"$kv\" hook pre-receive\n", f);
	}
	if (!f || ferror(f) || fflush(f) || fchmod(fd, 0755) < 0 || fsync(fd) < 0 || rename(tmp, path) < 0) {
		status = say_fatal("cannot write '%s': %s", path, strerror(errno));
		unlink(tmp);
	}
	if (f)
		fclose(f);
	else if (fd >= 0)
		close(fd);
	free(tmp);
	return status;
}

static bool is_ours(const char *path)
{
	char buf[256] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, buf, sizeof(buf) - 1);

	if (fd >= 0)
		close(fd);
	buf[n > 0 ? n : 0] = '\0';
	return strstr(buf, HOOK_MARK) != NULL;
}

static int install_hook(const char *dir)
{
	char *hooks = ask_git(dir, (const char *[]){"rev-parse", "--path-format=absolute", "--git-path", "hooks", NULL});
	char *own = xasprintf("%s/hooks", dir), *path = xasprintf("%s/pre-receive", own), *real_own = NULL,
	     *real_hooks = NULL;
	int status = 0;

	if (mkdir(own, 0777) < 0 && errno != EEXIST) {
		status = say_fatal("cannot make '%s': %s", own, strerror(errno));
		goto out;
	}
	real_own = realpath(own, NULL);
	real_hooks = hooks ? realpath(hooks, NULL) : NULL;
	if (!real_own || !real_hooks || strcmp(real_own, real_hooks) != 0) {
		status = say_fatal("core.hooksPath sends git to '%s' for hooks: the one in '%s' would not run",
				   hooks ? hooks : "?", own);
		say_hint("take core.hooksPath out, or set it in this repository: git --git-dir=%s config core.hooksPath %s",
			 dir, own);
	} else if (access(path, F_OK) == 0 && !is_ours(path)) {
		status = say_fatal("'%s' is there and is somebody else's", path);
		say_hint("let it end with `exec git-kv hook pre-receive` yourself (standard input must reach it), or move "
			 "it away");
	} else {
		status = write_hook(path);
	}
out:
	free(real_hooks);
	free(real_own);
	free(path);
	free(own);
	free(hooks);
	return status;
}

/* --- init: configuration
 * -------------------------------------------------------------------------------------------------------- */

static int configure(const char *dir, const char *upstream)
{
	static const char *const settings[][2] = {
		{"receive.advertisePushOptions", "true"},
		{"receive.fsckObjects", "true"},
	};
	/* Private to the hook: not advertised, not written to by a push. */
	static const char *const hidden[] = {"refs/kv-upstream", "refs/kv-pending", "refs/kv-remote"};
	int status = 0;

	for (size_t i = 0; i < sizeof(settings) / sizeof(*settings) && !status; i++)
		status = call_git(dir, (const char *[]){"config", settings[i][0], settings[i][1], NULL});
	for (size_t i = 0; i < sizeof(hidden) / sizeof(*hidden) && !status; i++) {
		char *exact = xasprintf("^%s$", hidden[i]);

		status = call_git(dir,
				  (const char *[]){"config", "--replace-all", "transfer.hideRefs", hidden[i], exact, NULL});
		free(exact);
	}
	if (!status && upstream)
		status = call_git(dir, (const char *[]){"config", "kv.upstream", upstream, NULL});
	return status;
}

/* The state of another repository, once; refs/kv without force, as ledgers only grow. */
static int mirror(const char *dir, const char *url)
{
	static const char *const specs[] = {"+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*",
					    KV_REFS "*:" KV_REFS "*", KV_ARCHIVE "*:" KV_ARCHIVE "*", NULL};
	const char *const fetch[] = {"-c",        "fetch.fsckObjects=true",
				     "fetch",     "--quiet",
				     "--no-tags", "--no-write-fetch-head",
				     "--refmap=", "--end-of-options",
				     url,         specs[0],
				     specs[1],    specs[2],
				     specs[3],    NULL};
	char *there = ask_git(dir, (const char *[]){"config", "--get", "remote.origin.url", NULL});
	int status = 0;

	if (there && strcmp(there, url) != 0)
		status = say_fatal("'%s' mirrors '%s' already", dir, there);
	free(there);
	if (!status)
		status = call_git(dir, (const char *[]){"config", "remote.origin.url", url, NULL});
	for (size_t i = 0; specs[i] && !status; i++)
		status = call_git(dir, (const char *[]){"config", i ? "--add" : "--replace-all", "remote.origin.fetch",
							specs[i], NULL});
	return status ? status : call_git(dir, fetch);
}

static int init(const struct kv *kv, const char *dir, const char *mirror_url, const char *upstream)
{
	int status = make_or_find(dir);

	if (!status)
		status = install_hook(dir);
	if (!status)
		status = configure(dir, upstream);
	if (!status && mirror_url)
		status = mirror(dir, mirror_url);
	if (!status && kv->tty)
		printf("'%s' is a Stargate. In a clone: git kv remote setup\n", dir);
	return status;
}

/* --- sync
 * ----------------------------------------------------------------------------------------------------------------------- */

/*
 * Takes over what the upstream has and this repository has not: after somebody else wrote there.  Fast-forward alone, by
 * git's own fetch: a namespace that went apart is left, and said.
 */
static int sync_upstream(struct kv *kv)
{
	char *url;
	int status = kv_discover(kv);
	struct run r;

	if (status)
		return status;
	url = ask_git(kv->gitdir, (const char *[]){"config", "--get", "kv.upstream", NULL});
	if (!url) {
		say_error("'%s' has no kv.upstream", kv->gitdir);
		return KV_FATAL;
	}
	run_git(&r, kv->gitdir, 0, 0,
		(const char *[]){"-c", "fetch.fsckObjects=true", "fetch", "--no-tags", "--no-write-fetch-head", "--refmap=",
				 "--end-of-options", url, KV_REFS "*:" KV_REFS "*", KV_ARCHIVE "*:" KV_ARCHIVE "*", NULL});
	if (r.status) {
		status = strstr(r.err, "[rejected]") ? KV_CONFLICT : KV_IO;
		run_complain(&r);
		say_error(status == KV_CONFLICT
				  ? "a namespace has commits that the other side has not, both ways; it is left as it is"
				  : "cannot fetch from the upstream");
	}
	run_release(&r);
	free(url);
	return status;
}

/* --- the command
 * ---------------------------------------------------------------------------------------------------------------- */

int cmd_stargate(struct kv *kv, int argc, char **argv)
{
	const char *mirror_url = NULL, *upstream = NULL;
	const struct opt opts[] = {
		{0, "mirror", OPT_TEXT, &mirror_url, "URL", "init: begin with the branches, tags and namespaces of URL"},
		{0, "upstream", OPT_TEXT, &upstream, "URL", "init: each push goes on to URL before it is accepted"},
		{0},
	};
	int n = opt_parse(kv, argc, argv, stargate_usage, opts, false);

	if (n < 0)
		return KV_USAGE;
	if (n == 2 && strcmp(argv[1], "init") == 0)
		return init(kv, argv[2], mirror_url, upstream);
	if (n >= 1 && n <= 2 && strcmp(argv[1], "sync") == 0) {
		if (n == 2)
			kv->repo = argv[2];
		return sync_upstream(kv);
	}
	if (n == 0)
		say_error("stargate: init or sync?");
	else if (strcmp(argv[1], "init") != 0 && strcmp(argv[1], "sync") != 0)
		say_error("stargate: unknown verb `%s'", argv[1]);
	else
		say_error("stargate %s: %s", argv[1], n == 1 ? "which directory?" : "too many arguments");
	opt_help(stderr, stargate_usage, opts);
	return KV_USAGE;
}
