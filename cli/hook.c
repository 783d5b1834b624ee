/* SPDX-License-Identifier: MIT */
/* hook pre-receive: the rules of a shared ledger. */
#include "hook.h"
#include "opt.h"
#include "run.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char hook_usage[] = "usage: git kv hook pre-receive   (called by git-receive-pack)";

/* --- machine lines --------------------------------------------------------------------------------------------------------
 */

int hook_refuse(const struct hook_ref *r, const char *rule)
{
	fprintf(stderr, "kv-stargate: 1 refused ref=%s rule=%s\n", r->ref, rule);
	return KV_POLICY;
}

void hook_conflict_line(const struct hook_ref *r, const char *reason, const char *more)
{
	char commit[LEDGER_OID_HEXSIZE + 1], tree[LEDGER_OID_HEXSIZE + 1];
	bool absent = ledger_oid_is_zero(&r->old);

	fprintf(stderr, "kv-stargate: 1 conflict ref=%s reason=%s commit=%s tree=%s version=%" PRIu64 "%s\n", r->ref, reason,
		absent ? "absent" : ledger_oid_fmt(commit, &r->tip.commit),
		absent ? "absent" : ledger_oid_fmt(tree, &r->tip.tree), r->tip.version, more);
}

/* --- input ----------------------------------------------------------------------------------------------------------------
 */

/* "OLD NEW REF": 0, or KV_IO for a line that git does not write. */
static int take_line(struct hook *h, char *line)
{
	struct hook_ref r = {0};
	size_t len = strcspn(line, "\n");
	const char *ref = line + 2 * LEDGER_OID_HEXSIZE + 2;

	line[len] = '\0';
	if (len < 2 * LEDGER_OID_HEXSIZE + 3 || ledger_oid_parse(&r.old, line, LEDGER_OID_HEXSIZE) != 0 ||
	    line[LEDGER_OID_HEXSIZE] != ' ' ||
	    ledger_oid_parse(&r.new, line + LEDGER_OID_HEXSIZE + 1, LEDGER_OID_HEXSIZE) != 0 ||
	    line[2 * LEDGER_OID_HEXSIZE + 1] != ' ') {
		say_error("pre-receive: a line that is not OLD NEW REF");
		return KV_IO;
	}
	/* Everything else passes untouched. */
	if (!starts_with(ref, KV_REFS) && !starts_with(ref, KV_ARCHIVE) && strcmp(ref, "refs/kv") != 0)
		return 0;
	r.ref = xstrdup(ref);
	if (starts_with(ref, KV_REFS))
		r.ns = r.ref + strlen(KV_REFS);
	XGROW(h->refs, h->n, h->cap);
	h->refs[h->n++] = r;
	return 0;
}

static int take_input(struct hook *h)
{
	char *line = NULL;
	size_t cap = 0;
	int status = 0;

	while (!status && getline(&line, &cap, stdin) > 0)
		status = take_line(h, line);
	if (!status && ferror(stdin)) {
		say_error("pre-receive: cannot read the list of refs");
		status = KV_IO;
	}
	free(line);
	return status;
}

/* --- rules ----------------------------------------------------------------------------------------------------------------
 */

/*
 * History is never dropped: a namespace goes only when its archive, refs/kv-archive/<ns>/<version>, is already there (in
 * a push before this one: without --atomic git might take the deletion and not the archive).
 */
static int check_deletion(struct hook *h, const struct hook_ref *r)
{
	struct ledger_oid archived;
	char *archive;
	int rc;

	if (!r->ns) {
		say_error("%s: an archived namespace cannot be deleted by a push", r->ref);
		return hook_refuse(r, "delete");
	}
	archive = xasprintf(KV_ARCHIVE "%s/%" PRIu64, r->ns, r->tip.version);
	rc = ledger_guard_ref(h->guard, archive, &archived);
	if (!rc && ledger_oid_eq(&archived, &r->old)) {
		free(archive);
		return 0;
	}
	say_error("%s: a namespace cannot be deleted by a push while its history has no other name", r->ref);
	say_hint("push it to %s first; `git kv ns delete %s` does both", archive, r->ns);
	free(archive);
	return hook_refuse(r, "delete");
}

/* The tip's own archive costs no walk: it was checked when it was pushed. */
static bool archives_tip(struct hook *h, const struct hook_ref *r, uint64_t *version)
{
	const char *ns = r->ref + strlen(KV_ARCHIVE), *slash = strrchr(ns, '/');
	struct ledger_oid at;
	char *ref;
	int rc;

	if (!slash || !parse_count(slash + 1, version))
		return false;
	ref = xasprintf(KV_REFS "%.*s", (int)(slash - ns), ns);
	rc = ledger_guard_ref(h->guard, ref, &at);
	free(ref);
	return !rc && ledger_oid_eq(&at, &r->new);
}

static int check_archive(struct hook *h, const struct hook_ref *r)
{
	const char *ns = r->ref + strlen(KV_ARCHIVE), *slash = strrchr(ns, '/');
	struct ledger_finding f = {0};
	struct ledger_tip tip;
	uint64_t version = 0;
	int rc = 0;

	if (!ledger_oid_is_zero(&r->old)) {
		say_error("%s: an archived namespace does not change", r->ref);
		return hook_refuse(r, "archive");
	}
	if (!archives_tip(h, r, &version))
		rc = ledger_guard_chain(h->guard, &r->old, &r->new, &f);
	if (rc == LEDGER_EFORBIDDEN) {
		say_error("%s: %s", r->ref, f.text);
		return hook_refuse(r, ledger_rule_name(f.rule));
	}
	if (!rc)
		rc = ledger_guard_tip(h->guard, &r->new, &tip);
	if (rc)
		return say_ledger(rc, "%s", r->ref);
	if (!slash || !parse_count(slash + 1, &version) || version != tip.version) {
		say_error("%s: the archive of version %" PRIu64 " is %s<namespace>/%" PRIu64, r->ref, tip.version,
			  KV_ARCHIVE, tip.version);
		return hook_refuse(r, "archive");
	}
	return 0;
}

static int check_update(struct hook *h, const struct hook_ref *r)
{
	struct ledger_finding f = {0};
	int rc = ledger_ns_check(r->ns);

	if (rc) {
		say_error("%s: cannot be a namespace: %s", r->ref, ledger_strerror(rc));
		return hook_refuse(r, "name");
	}
	rc = ledger_guard_chain(h->guard, &r->old, &r->new, &f);
	if (rc == LEDGER_EFORBIDDEN) {
		say_error("%s: %s", r->ref, f.text);
		if (f.rule == LEDGER_RULE_FORCE)
			say_hint("fetch it, make the change on its tip, and push again; a ledger is never rewound");
		return hook_refuse(r, ledger_rule_name(f.rule));
	}
	return rc ? say_ledger(rc, "%s", r->ref) : 0;
}

static int check_ref(struct hook *h, struct hook_ref *r, size_t *count)
{
	int rc, status;

	*count = 0;
	if (!r->ns && !starts_with(r->ref, KV_ARCHIVE)) {
		say_error("refs/kv itself cannot be a ref: namespaces are below it");
		return hook_refuse(r, "name");
	}
	if (!ledger_oid_is_zero(&r->old)) {
		rc = ledger_guard_tip(h->guard, &r->old, &r->tip);
		if (rc) {
			say_ledger(rc, "%s: its present tip cannot be read", r->ref);
			return hook_refuse(r, "tip");
		}
	}
	status = r->ns ? hook_expectations(h, r, count) : 0;
	if (status)
		return status;
	if (ledger_oid_is_zero(&r->new))
		return check_deletion(h, r);
	return r->ns ? check_update(h, r) : check_archive(h, r);
}

static int check_all(struct hook *h)
{
	size_t *counts = xcalloc(h->n, sizeof(*counts));
	char hex[LEDGER_OID_HEXSIZE + 1];
	int status = 0;

	/* All of them, so that one push tells all that is wrong with it. */
	for (size_t i = 0; i < h->n; i++) {
		int s = check_ref(h, &h->refs[i], &counts[i]);

		if (s && !status)
			status = s;
	}
	if (!status)
		status = hook_upstream(h);
	for (size_t i = 0; i < h->n && !status; i++)
		if (counts[i])
			fprintf(stderr, "kv-stargate: 1 ok ref=%s commit=%s expects=%zu\n", h->refs[i].ref,
				ledger_oid_fmt(hex, &h->refs[i].new), counts[i]);
	free(counts);
	return status;
}

/* --- the command
 * ------------------------------------------------------------------------------------------------------------ */

static int pre_receive(struct hook *h)
{
	const char *dir = getenv("GIT_DIR");
	int status, rc;

	h->gitdir = realpath(dir ? dir : ".", NULL);
	if (!h->gitdir)
		return say_fatal("pre-receive: no repository: this is for git-receive-pack to call");
	status = take_input(h);
	if (!status)
		status = hook_options(h);
	if (status)
		return status;
	if (h->probe) {
		fputs("kv-stargate: 1 probe\n", stderr);
		return KV_POLICY;
	}
	if (!h->n)
		return 0;
	rc = ledger_guard_open(&h->guard);
	if (rc)
		return say_ledger(rc, "pre-receive: cannot open the repository");
	return check_all(h);
}

int cmd_hook(struct kv *kv, int argc, char **argv)
{
	static const struct opt opts[] = {{0}};
	struct hook h = {0};
	int n = opt_parse(kv, argc, argv, hook_usage, opts, false), status;

	if (n < 0)
		return KV_USAGE;
	if (n != 1 || strcmp(argv[1], "pre-receive") != 0) {
		if (n)
			say_error("hook: unknown hook `%s'", argv[1]);
		else
			say_error("hook: which one?");
		opt_help(stderr, hook_usage, opts);
		return KV_USAGE;
	}
	status = pre_receive(&h);
	ledger_guard_free(h.guard);
	for (size_t i = 0; i < h.n; i++)
		free(h.refs[i].ref);
	for (size_t i = 0; i < h.nscope; i++)
		free(h.scope[i]);
	free(h.refs);
	free(h.scope);
	free(h.gitdir);
	expects_release(&h.expects);
	return status;
}
