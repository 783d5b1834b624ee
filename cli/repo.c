/* SPDX-License-Identifier: MIT */
/* Which repository, and the ledger in it. */
#include "run.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int kv_discover(struct kv *kv)
{
	/* The common directory: in a linked work tree, refs/kv and the objects are the main repository's. */
	static const char *const ask[] = {"rev-parse", "--path-format=absolute", "--git-common-dir", NULL};
	struct run r;

	if (kv->gitdir)
		return 0;
	if (kv->repo) {
		kv->gitdir = xstrdup(kv->repo);
		return 0;
	}
	if (run_git(&r, NULL, RUN_NO_DIR, 0, ask) != 0) {
		run_complain(&r);
		run_release(&r);
		return KV_FATAL;
	}
	if (r.outlen && r.out[r.outlen - 1] == '\n')
		r.out[--r.outlen] = '\0';
	kv->gitdir = r.out;
	r.out = NULL;
	run_release(&r);
	return 0;
}

static void log_line(void *arg, const char *line)
{
	say_warning("%s", line);
}

int kv_open(struct kv *kv, bool readonly)
{
	struct ledger_options o = {.readonly = readonly, .keep_times = true, .log = log_line};
	int status = kv_discover(kv), rc;
	char *found;

	if (status)
		return status;
	if (!*kv->gitdir)
		return say_fatal("--repo is empty");
	rc = ledger_open(&kv->ledger, kv->gitdir, &o);
	if (rc == LEDGER_ENOTFOUND || rc == LEDGER_EREPO)
		return say_fatal("'%s': %s", kv->gitdir, ledger_errmsg());
	if (rc)
		return say_ledger(rc, "cannot open '%s'", kv->gitdir);
	found = xstrdup(ledger_gitdir(kv->ledger));
	free(kv->gitdir);
	kv->gitdir = found;
	return 0;
}

void kv_close(struct kv *kv)
{
	ledger_free(kv->ledger);
	kv->ledger = NULL;
	free(kv->gitdir);
	kv->gitdir = NULL;
}

static int keep_last(void *arg, const char *value)
{
	char **last = arg;

	free(*last);
	*last = xstrdup(value);
	return 0;
}

char *kv_config(struct kv *kv, const char *name)
{
	char *value = NULL;

	if (ledger_config_each(kv->ledger, name, keep_last, &value) < 0) {
		free(value);
		return NULL;
	}
	return value;
}

int kv_tip(struct kv *kv, struct ledger_tip *out)
{
	int rc = ledger_tip(kv->ledger, kv->ns, out);

	if (rc == LEDGER_ENOTFOUND) {
		say_error("namespace '%s' does not exist", kv->ns);
		return KV_FALSE;
	}
	return rc ? say_ledger(rc, "namespace '%s'", kv->ns) : 0;
}

struct ledger_actor kv_actor(void)
{
	return (struct ledger_actor){.comm = "git-kv", .pid = getpid(), .uid = geteuid()};
}
