/* SPDX-License-Identifier: MIT */
/* Opening and closing a ledger; what it has in common for all its parts. */
#include "internal.h"
#include "names.h"
#include "timekeeper.h"

#include <git2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define TREES_MEMORY ((size_t)64 << 20)
#define LARGE_TREES_MEMORY ((size_t)256 << 20) /* of directories of 700,000 keys and more; half of it for one at most */
#define VALUE_LIMIT ((uint64_t)1 << 40)

void ledger_log(struct ledger *l, const char *fmt, ...)
{
	char line[1024];
	va_list ap;

	if (!l->log)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	for (char *p = line; *p; p++)
		if (*p == '\n' || *p == '\r')
			*p = '?';
	l->log(l->log_arg, line);
}

static int alloc_caches(struct ledger *l)
{
	l->trees = treecache_new(TREES_MEMORY, LARGE_TREES_MEMORY);
	l->tips = oidcache_new(4096, sizeof(struct tip_info));
	l->sizes = oidcache_new(8192, sizeof(uint64_t));
	l->times = oidcache_new(32768, sizeof(struct key_time));
	l->warned = oidcache_new(256, 1);
	l->stats = stats_new();
	l->timekeeper = timekeeper_new();
	return l->timekeeper && l->stats && l->trees && l->tips && l->sizes && l->times && l->warned ? 0 : LEDGER_ENOMEM;
}

static void destroy(struct ledger *l)
{
	timekeeper_free(l);
	store_free(l->store);
	config_free(l->config);
	treecache_free(l->trees);
	oidcache_free(l->tips);
	oidcache_free(l->sizes);
	oidcache_free(l->times);
	oidcache_free(l->warned);
	stats_free(l->stats);
	queue_release(&l->queue);
	free(l->gitdir);
	free(l);
	git_libgit2_shutdown();
}

static int open_into(struct ledger *l, const char *path, const struct ledger_options *opts)
{
	struct ledger_options o = *opts;
	bool writable = false;
	int rc = alloc_caches(l);

	if (!rc)
		rc = repo_open(path, o.init, &l->gitdir, &l->config, &writable);
	if (rc)
		return rc;
	if (!writable)
		o.readonly = true;
	l->readonly = o.readonly;
	l->keep_times = writable && (!o.readonly || o.keep_times);
	return store_open(&l->store, l->gitdir, &o);
}

int ledger_open(struct ledger **out, const char *path, const struct ledger_options *opts)
{
	static const struct ledger_options defaults;
	struct ledger *l;
	int rc;

	ledger_error_clear();
	if (!opts)
		opts = &defaults;
	l = calloc(1, sizeof(*l));
	if (!l)
		return LEDGER_ENOMEM;
	git_libgit2_init();
	/* Parsed trees and commits are kept here already; libgit2 would keep another 256 MiB of them. */
	git_libgit2_opts(GIT_OPT_ENABLE_CACHING, 0);
	queue_init(&l->queue);
	l->log = opts->log;
	l->log_arg = opts->log_arg;
	l->value_limit = opts->value_limit ? opts->value_limit : VALUE_LIMIT;
	l->lock_wait_ms = LEDGER_LOCK_WAIT_MS;
	rc = open_into(l, path, opts);
	if (rc)
		destroy(l);
	else
		*out = l;
	LEAVE(rc, "%s%s%s", path, opts->init ? " init" : "", opts->readonly ? " readonly" : "");
	return rc;
}

void ledger_free(struct ledger *l)
{
	if (!l)
		return;
	LEAVE(0, "%s", l->gitdir);
	destroy(l);
}

const char *ledger_gitdir(const struct ledger *l)
{
	return l->gitdir;
}

bool ledger_is_readonly(const struct ledger *l)
{
	return l->readonly;
}

int ledger_config_each(struct ledger *l, const char *name, int (*each)(void *arg, const char *value), void *arg)
{
	int rc;

	ledger_error_clear();
	rc = config_each(l->config, name, each, arg);
	LEAVE(rc, "%s", name);
	return rc;
}

struct ns_arg {
	int (*each)(void *arg, const char *ns);
	void *arg;
};

static int on_ref(void *arg, const char *ref)
{
	struct ns_arg *a = arg;

	return a->each(a->arg, ref + strlen(NAMES_KV));
}

int ledger_ns_each(struct ledger *l, int (*each)(void *arg, const char *ns), void *arg)
{
	struct ns_arg a = {each, arg};
	int rc;

	ledger_error_clear();
	rc = store_ref_each(l->store, NAMES_KV, on_ref, &a);
	LEAVE(rc, "%s", NAMES_KV);
	return rc;
}
