/* SPDX-License-Identifier: MIT */
/*
 * A shared repository that itself feeds another: kv.upstream.
 *
 * Before a push is accepted here it is compared with the upstream, and pushed on.  Both steps name the value that they
 * rest on, so that of two pushes at once, or a push and an outside change, one wins everywhere:
 *
 *	upstream has			what happens
 *	what we have			push on, accept
 *	nothing				push on as new, accept
 *	something, and we nothing	push on if the push builds on it, else refuse
 *	something else			refuse - unless it is what it had when we last could not reach it (below)
 *	no answer			kv.upstreamUnreachable: warn and accept (allow, default), or refuse (reject)
 *
 * After pushes that were accepted without the upstream, refs/kv-pending/<ns> holds the value that the upstream was
 * expected to be at; while it still is there, it merely lags, nobody changed it, and the next push brings it up.
 * refs/kv-upstream/<ns> holds what was found there instead.  Both are hidden from clients (transfer.hideRefs).
 *
 * git moves the refs here after the hook has said yes, and may yet fail to.  hook_watch.c waits for that.
 */
#include "hook.h"
#include "hook_watch.h"
#include "run.h"

#include <stdlib.h>
#include <string.h>

#define PENDING "refs/kv-pending/"
#define UPSTREAM "refs/kv-upstream/"
#define TIMEOUT_S 60

static const char refused_text[] = "Push rejected: upstream branch changed externally. Pull latest changes and retry.";

struct upstream {
	struct hook *h;
	char *url;
	bool reject; /* when it cannot be reached */
};

/* --- looking --------------------------------------------------------------------------------------------------------------
 */

/* What the upstream has for the push's refs.  False: no answer, reason in `*why`. */
static bool look(struct upstream *u, char **why)
{
	struct args a = {0};
	struct run r;
	bool ok;

	args_add(&a, "ls-remote");
	args_add(&a, "--end-of-options");
	args_add(&a, u->url);
	for (size_t i = 0; i < u->h->n; i++) {
		memset(&u->h->refs[i].upstream, 0, sizeof(u->h->refs[i].upstream));
		args_add(&a, u->h->refs[i].ref);
	}
	ok = run_git(&r, u->h->gitdir, RUN_OUTSIDE, TIMEOUT_S, a.v) == 0;
	if (!ok) {
		*why = run_reason(&r);
		*r.out = '\0';
	}
	for (char *save = NULL, *line = strtok_r(r.out, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		for (size_t i = 0; i < u->h->n; i++) /* ls-remote matches tails of names too: compare all of it */
			if (strlen(line) > LEDGER_OID_HEXSIZE &&
			    strcmp(line + LEDGER_OID_HEXSIZE + 1, u->h->refs[i].ref) == 0)
				ledger_oid_parse(&u->h->refs[i].upstream, line, LEDGER_OID_HEXSIZE);
	run_release(&r);
	args_release(&a);
	return ok;
}

static bool ancestor(struct upstream *u, const struct ledger_oid *a, const struct ledger_oid *b)
{
	char ah[LEDGER_OID_HEXSIZE + 1], bh[LEDGER_OID_HEXSIZE + 1];
	struct run r;
	bool yes;

	/* Across: what is pushed lies in the quarantine still. */
	yes = run_git(&r, u->h->gitdir, RUN_ACROSS, 0,
		      (const char *[]){"merge-base", "--is-ancestor", ledger_oid_fmt(ah, a), ledger_oid_fmt(bh, b), NULL}) ==
	      0;
	run_release(&r);
	return yes;
}

/* The upstream's other value comes into a private ref: `stargate sync` wants it, and whoever looks for what happened. */
static void fetch_other(struct upstream *u, const struct hook_ref *r)
{
	char *spec = xasprintf("+%s:" UPSTREAM "%s", r->ref, r->ref + strlen("refs/"));
	struct run run;

	run_git(&run, u->h->gitdir, RUN_OUTSIDE, TIMEOUT_S,
		(const char *[]){"fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance",
				 "--end-of-options", u->url, spec, NULL});
	run_release(&run);
	free(spec);
}

static int private_ref(struct upstream *u, const char *prefix, const struct hook_ref *r, struct ledger_oid *out)
{
	char *ref = xasprintf("%s%s", prefix, r->ref + strlen("refs/"));
	int rc = ledger_guard_ref(u->h->guard, ref, out);

	free(ref);
	return rc;
}

/* Zero: takes it away. */
static void set_pending(struct upstream *u, const struct hook_ref *r, const struct ledger_oid *to)
{
	char hex[LEDGER_OID_HEXSIZE + 1], *ref = xasprintf(PENDING "%s", r->ref + strlen("refs/"));
	struct run run;

	if (run_git(&run, u->h->gitdir, RUN_OUTSIDE, 0, (const char *[]){"update-ref", ref, ledger_oid_fmt(hex, to), NULL}))
		say_warning("cannot note that the upstream lags (%s): `git kv stargate sync` will be needed", ref);
	run_release(&run);
	free(ref);
}

/* --- deciding
 * --------------------------------------------------------------------------------------------------------------- */

static int compare_one(struct upstream *u, const struct hook_ref *r)
{
	const struct ledger_oid *there = &r->upstream, zero = {{0}};
	struct ledger_oid pending;
	char hex[LEDGER_OID_HEXSIZE + 1], hex2[LEDGER_OID_HEXSIZE + 1];
	bool lags = private_ref(u, PENDING, r, &pending) == 0 && !ledger_oid_is_zero(&pending);

	if (ledger_oid_eq(there, &r->old) && lags)
		set_pending(u, r, &zero); /* it has caught up */
	if (ledger_oid_is_zero(there) || ledger_oid_eq(there, &r->old) || ledger_oid_eq(there, &r->new))
		return 0;
	if (lags && ledger_oid_eq(&pending, there) && ancestor(u, there, &r->old))
		return 0;
	fetch_other(u, r);
	if (ledger_oid_is_zero(&r->old) && ancestor(u, there, &r->new))
		return 0;
	say_error("%s", refused_text);
	fprintf(stderr, "  %s\n  here      commit %s\n  upstream  commit %s\n", r->ref,
		ledger_oid_is_zero(&r->old) ? "absent" : ledger_oid_fmt(hex, &r->old), ledger_oid_fmt(hex2, there));
	say_hint("the shared repository takes the upstream's state over with `git kv stargate sync`");
	hook_conflict_line(r, "upstream", "");
	return KV_CONFLICT;
}

static int compare_all(struct upstream *u)
{
	int status = 0;

	for (size_t i = 0; i < u->h->n; i++)
		if (compare_one(u, &u->h->refs[i]))
			status = KV_CONFLICT;
	return status;
}

static int unreachable(struct upstream *u, const char *why)
{
	if (u->reject) {
		say_error("the upstream does not answer, and kv.upstreamUnreachable is 'reject': %s", why);
		for (size_t i = 0; i < u->h->n; i++)
			hook_refuse(&u->h->refs[i], "upstream");
		return KV_POLICY;
	}
	say_warning("the upstream does not answer; accepted here alone, the next push brings it up: %s", why);
	for (size_t i = 0; i < u->h->n; i++) {
		const struct hook_ref *r = &u->h->refs[i];
		struct ledger_oid pending;

		/* The first one alone: from there on the upstream stands still, as far as we know. */
		if (!ledger_oid_is_zero(&r->old) && private_ref(u, PENDING, r, &pending) == 0 &&
		    ledger_oid_is_zero(&pending))
			set_pending(u, r, &r->old);
	}
	return 0;
}

/* --- pushing on
 * --------------------------------------------------------------------------------------------------------------- */

static size_t push_args(struct upstream *u, struct args *a)
{
	char hex[LEDGER_OID_HEXSIZE + 1];
	size_t n = 0;

	args_add(a, "-c");
	args_add(a, "push.followTags=false");
	args_add(a, "push");
	args_add(a, "--porcelain");
	args_add(a, "--no-progress");
	if (u->h->n > 1)
		args_add(a, "--atomic");
	for (size_t i = 0; i < u->h->n; i++) {
		const struct hook_ref *r = &u->h->refs[i];

		args_addf(a, "--force-with-lease=%s:%s", r->ref,
			  ledger_oid_is_zero(&r->upstream) ? "" : ledger_oid_fmt(hex, &r->upstream));
	}
	args_add(a, "--end-of-options");
	args_add(a, u->url);
	for (size_t i = 0; i < u->h->n; i++) {
		const struct hook_ref *r = &u->h->refs[i];

		if (ledger_oid_eq(&r->upstream, &r->new))
			continue; /* it has it already, or has nothing to delete */
		args_addf(a, "%s:%s", ledger_oid_is_zero(&r->new) ? "" : ledger_oid_fmt(hex, &r->new), r->ref);
		n++;
	}
	return n;
}

static bool all_there(struct upstream *u, char **why)
{
	if (!look(u, why))
		return false;
	for (size_t i = 0; i < u->h->n; i++)
		if (!ledger_oid_eq(&u->h->refs[i].upstream, &u->h->refs[i].new))
			return false;
	return true;
}

static int refuse_all(struct upstream *u, const char *sentence, const char *detail, bool conflict)
{
	say_error("%s", sentence);
	fprintf(stderr, "  upstream: %s\n", detail);
	for (size_t i = 0; i < u->h->n; i++) {
		if (conflict)
			hook_conflict_line(&u->h->refs[i], "upstream", "");
		else
			hook_refuse(&u->h->refs[i], "upstream");
	}
	return conflict ? KV_CONFLICT : KV_POLICY;
}

/* The status line that says why: "!\tFROM:TO\t[rejected] (stale info)". */
static char *push_reason(const struct run *r)
{
	const char *p = starts_with(r->out, "!\t") ? r->out : strstr(r->out, "\n!\t");

	if (!p)
		return run_reason(r);
	p += *p == '\n';
	return xstrndup(p + 2, strcspn(p + 2, "\n"));
}

static int push_on(struct upstream *u)
{
	struct ledger_oid *before = xcalloc(u->h->n, sizeof(*before)); /* look() overwrites */
	struct args a = {0};
	int status = 0;
	struct run r = {0};
	char *why = NULL, *late = NULL;

	for (size_t i = 0; i < u->h->n; i++)
		before[i] = u->h->refs[i].upstream;
	if (push_args(u, &a) == 0)
		goto out;
	if (run_git(&r, u->h->gitdir, RUN_ACROSS, TIMEOUT_S, a.v) != 0) {
		why = push_reason(&r);
		if (strstr(r.out, "(stale info)") || strstr(r.out, "(fetch first)") || strstr(r.out, "(non-fast-forward)") ||
		    strstr(r.out, "failed to update ref") || strstr(r.out, "cannot lock ref"))
			status = refuse_all(u, refused_text, why, true);
		else if (starts_with(r.out, "!\t") || strstr(r.out, "\n!\t"))
			status = refuse_all(u, "Push rejected: the upstream refuses it.", why, false);
		else if (!all_there(u, &late)) /* no status line: the answer may have been lost on the way back */
			status = late ? unreachable(u, why)
				      : refuse_all(u, "Push rejected: the upstream did not take it.", why, false);
	}
	for (size_t i = 0; i < u->h->n; i++)
		u->h->refs[i].upstream = before[i];
	if (!status)
		hook_watch(u->h, u->url);
out:
	run_release(&r);
	args_release(&a);
	free(before);
	free(late);
	free(why);
	return status;
}

/* --- all of it
 * ---------------------------------------------------------------------------------------------------------------- */

static int configure(struct upstream *u)
{
	char *mode = NULL;
	int rc = ledger_guard_config(u->h->guard, "kv.upstream", &u->url), status = 0;

	if (!rc && u->url)
		rc = ledger_guard_config(u->h->guard, "kv.upstreamUnreachable", &mode);
	if (rc)
		return say_ledger(rc, "kv.upstream");
	if (mode && strcmp(mode, "allow") != 0 && strcmp(mode, "reject") != 0) {
		say_error("kv.upstreamUnreachable is '%s', neither 'allow' nor 'reject'", mode);
		status = KV_POLICY;
	}
	u->reject = mode && strcmp(mode, "reject") == 0;
	free(mode);
	return status;
}

int hook_upstream(struct hook *h)
{
	struct upstream u = {.h = h};
	char *why = NULL;
	int status = configure(&u);

	if (!status && u.url && *u.url) {
		if (!look(&u, &why))
			status = unreachable(&u, why);
		else if (!(status = compare_all(&u)))
			status = push_on(&u);
	}
	free(why);
	free(u.url);
	return status;
}
