/* SPDX-License-Identifier: MIT */
/* Changes on a remote: build, push, and again when somebody else was first. */
#include "remote.h"
#include "run.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define PUSH_TRIES 100  /* lost races before a change gives up: by then others made a hundred commits */
#define REFUSED_TRIES 8 /* the same, while the remote stands still: its lock is held, or its disk fails */
#define CUT_TRIES 3
#define BACKOFF_MS 5
#define BACKOFF_MAX_MS 400

int remote_choose(struct kv *kv, char **out)
{
	char *name, *var, *url;

	*out = NULL;
	if (kv->local && kv->remote)
		return say_usage("--local and --remote exclude each other");
	if (kv->local)
		return 0;
	name = kv->remote ? xstrdup(kv->remote) : kv_config(kv, "kv.remote");
	if (!name || !*name) {
		free(name);
		return 0;
	}
	var = xasprintf("remote.%s.url", name);
	url = kv_config(kv, var);
	free(var);
	if (!url) {
		say_fatal("'%s' is not a remote of this repository", name);
		free(name);
		return KV_FATAL;
	}
	free(url);
	*out = name;
	return 0;
}

/* --- one change on its way
 * -------------------------------------------------------------------------------------------------- */

struct trip {
	struct kv *kv;
	const char *remote;
	const struct ledger_change *c;
	const struct what *what;
	char *ref;
	struct ledger_oid base;  /* what the change is built on; zero: the remote has no such namespace */
	bool fresh;              /* the remote was asked for it since the command began */
	struct ledger_oid local; /* the local ref; zero: absent */
	struct ledger_result res;
	bool built;           /* `res` is a commit on `base`, not to be made anew: it may have been sent already */
	unsigned lost, still; /* races lost; those of them after which the remote had not moved */
	unsigned cuts;        /* connections that ended in the middle, while the remote did not move */
};

static int ask_remote(struct trip *t)
{
	char *why = NULL;
	int status = track_fetch(t->kv, t->remote, t->c->ns, &t->base, &why);

	if (status)
		say_error("cannot read namespace '%s' from '%s': %s", t->c->ns, t->remote, why ? why : "unknown reason");
	free(why);
	t->fresh = true;
	return status;
}

/*
 * The local ref must be able to follow: it is absent, or the base has all its commits.  Otherwise somebody committed here
 * (through a mount, with --local) what the remote does not have, and a commit on the remote's tip would fork the ledger.
 */
static bool can_follow(struct trip *t)
{
	if (ledger_oid_is_zero(&t->local))
		return true;
	return !ledger_oid_is_zero(&t->base) && is_ancestor(t->kv, &t->local, &t->base);
}

static int say_ahead(const struct trip *t)
{
	say_error("namespace '%s' has commits here that '%s' does not have; nothing changed", t->c->ns, t->remote);
	say_hint("send them with `git push %s %s`, or give --local to go on committing here", t->remote, t->ref);
	return KV_POLICY;
}

/* The local ref goes where the remote is.  The change has landed: what fails here is a warning. */
static void follow(struct trip *t, const struct ledger_oid *to)
{
	char *why = NULL;

	if (ledger_oid_eq(to, &t->local))
		return;
	if (!ref_move(t->kv, t->ref, to, &t->local, &why)) {
		say_warning("'%s' has the change, but namespace '%s' here did not follow: %s", t->remote, t->c->ns, why);
		free(why);
	}
}

static void say_remarks(const struct push *p)
{
	if (p->remarks)
		fputs(p->remarks, stderr);
}

static int landed(struct trip *t, const struct push *p)
{
	say_remarks(p);
	follow(t, &t->res.tip.commit);
	return write_report(t->kv, t->c, 0, &t->res, t->what);
}

static int gave_up(struct trip *t, const struct push *p)
{
	if (t->still >= REFUSED_TRIES && p->conflict) {
		say_error("conflict: %s: '%s' says that it changed, and its tip stands still; nothing changed",
			  t->what->text, t->remote);
		say_remarks(p);
		return KV_CONFLICT;
	}
	if (t->still >= REFUSED_TRIES) {
		say_error("%s: '%s' refuses although nobody else moved it: %s", t->what->text, t->remote, p->reason);
		say_remarks(p);
		return KV_IO;
	}
	say_error("%s: others were first %u times in a row; nothing changed", t->what->text, t->lost);
	return KV_CONFLICT;
}

/* Is what we sent in the remote's history?  It may be, from an earlier push that had no answer. */
static bool is_there(const struct trip *t)
{
	return !ledger_oid_is_zero(&t->base) && is_ancestor(t->kv, &t->res.tip.commit, &t->base);
}

/* Somebody else was first, or so it seems: look, wait a little, and say whether to go on (-1) or how it ends. */
static int lost(struct trip *t, const struct push *p)
{
	struct ledger_oid before = t->base;
	int status;

	t->lost++;
	backoff(t->lost - 1, BACKOFF_MS, BACKOFF_MAX_MS);
	status = ask_remote(t);
	if (status)
		return status;
	if (is_there(t))
		return landed(t, p);
	t->still = ledger_oid_eq(&before, &t->base) ? t->still + 1 : 0;
	t->built = t->still > 0;
	return t->lost >= PUSH_TRIES || t->still >= REFUSED_TRIES ? gave_up(t, p) : -1;
}

/*
 * No answer.  The remote alone knows: our commit is in its history, or it is not.  If not, and the remote has moved, it
 * never will be: the push named the value that is gone.  If the remote has not moved, the same commit is sent again, and
 * whichever of the two pushes lands is the one.
 */
static int unknown(struct trip *t, struct push *p)
{
	struct ledger_oid before = t->base;
	char hex[LEDGER_OID_HEXSIZE + 1], *why = NULL;

	if (track_fetch(t->kv, t->remote, t->c->ns, &t->base, &why) != 0) {
		say_error("%s: no answer from '%s': %s", t->what->text, t->remote, p->reason);
		say_remarks(p);
		say_hint("whether commit %s is there is not known: look at it with `git kv remote update`",
			 ledger_oid_fmt(hex, &t->res.tip.commit));
		free(why);
		return KV_IO;
	}
	t->fresh = true;
	if (is_there(t))
		return landed(t, p);
	t->built = ledger_oid_eq(&before, &t->base);
	if (!t->built && t->lost++ < PUSH_TRIES)
		return -1;
	if (p->cut && t->cuts++ < CUT_TRIES) {
		backoff(t->cuts, BACKOFF_MS, BACKOFF_MAX_MS);
		return -1;
	}
	say_error("%s: '%s' did not take it: %s", t->what->text, t->remote, p->reason);
	say_remarks(p);
	return KV_IO;
}

static int refused(struct trip *t, const struct push *p)
{
	struct ledger_oid before = t->base;
	char *why = NULL;

	/* A hook that declines without a machine line may have lost a race of its own. */
	if (track_fetch(t->kv, t->remote, t->c->ns, &t->base, &why) == 0 && !ledger_oid_eq(&before, &t->base)) {
		t->fresh = true;
		t->built = false;
		t->lost++;
		return t->lost >= PUSH_TRIES ? gave_up(t, p) : -1;
	}
	free(why);
	say_error("%s: '%s' refused it: %s; nothing changed", t->what->text, t->remote, p->reason);
	say_remarks(p);
	return KV_POLICY;
}

static int no_guard(const struct trip *t)
{
	say_error("%s: '%s' has no Stargate hook that could check the expectation; nothing changed", t->what->text,
		  t->remote);
	say_hint("make it one with `git kv stargate init` over there, then `git kv remote setup %s` here", t->remote);
	return KV_POLICY;
}

static int unverified(const struct trip *t, const struct push *p)
{
	char hex[LEDGER_OID_HEXSIZE + 1];

	say_error("%s: '%s': %s", t->what->text, t->remote, p->reason);
	say_remarks(p);
	say_hint("commit %s is there, on top of exactly what it was built on; its Stargate hook is not: run `git kv remote "
		 "setup %s`",
		 ledger_oid_fmt(hex, &t->res.tip.commit), t->remote);
	return KV_POLICY;
}

/* One push of what was built.  -1: go on with the next round. */
static int send(struct trip *t)
{
	struct push p = {.remote = t->remote,
			 .ref = t->ref,
			 .old = t->base,
			 .new = t->res.tip.commit,
			 .expects = t->c->expects,
			 .nexpects = t->c->nexpects};
	int status = KV_IO;

	switch (push_run(t->kv, &p)) {
	case PUSH_LANDED:
		status = landed(t, &p);
		break;
	case PUSH_LOST:
		status = lost(t, &p);
		break;
	case PUSH_REFUSED:
		status = refused(t, &p);
		break;
	case PUSH_NO_GUARD:
		status = no_guard(t);
		break;
	case PUSH_UNVERIFIED:
		status = unverified(t, &p);
		break;
	case PUSH_UNKNOWN:
		status = unknown(t, &p);
		break;
	}
	push_release(&p);
	return status;
}

/* One round: build on what is known, answer or push.  -1: another one. */
static int one_round(struct trip *t)
{
	bool follows = can_follow(t);
	bool nothing = !t->c->nedits && !t->c->create && ledger_oid_is_zero(&t->base);
	int rc = 0;

	if (follows && t->built)
		return send(t);
	t->built = false;
	memset(&t->res, 0, sizeof(t->res));
	if (follows)
		rc = nothing ? write_on_nothing(t->c, &t->res) : ledger_build(t->kv->ledger, t->c, &t->base, &t->res);

	if (follows && !rc && t->res.changed)
		return send(t);
	/* Any other answer must not come from an old state of the remote. */
	if (!t->fresh) {
		int status = ask_remote(t);

		return status ? status : -1;
	}
	if (!follows)
		return say_ahead(t);
	if (!rc && t->c->create && !t->c->nedits) {
		say_error("%s: '%s' has it already", t->what->text, t->remote);
		return ledger_exit_status(LEDGER_EEXISTS);
	}
	if (!rc && !ledger_oid_is_zero(&t->base))
		follow(t, &t->base);
	return write_report(t->kv, t->c, rc, &t->res, t->what);
}

/* Guarded writes want a hook over there that is known to check (`git kv remote setup` found it). */
static bool has_stargate(struct kv *kv, const char *remote)
{
	char *var = xasprintf("remote.%s.kvStargate", remote), *value = kv_config(kv, var);
	bool yes = value && strcmp(value, "true") == 0;

	free(value);
	free(var);
	return yes;
}

/*
 * Two clients that make the same change on the same tip in the same second must not make the same commit: both would see
 * it accepted, and one of two increments were lost.  Process ids do not tell clients on two machines apart.
 */
static char *unique_comm(void)
{
	uint64_t r = 0;

	if (getrandom(&r, sizeof(r), 0) != sizeof(r)) {
		say_fatal("no random numbers");
		exit(KV_FATAL);
	}
	return xasprintf("git-kv/%016" PRIx64, r);
}

int remote_write(struct kv *kv, const char *remote, const struct ledger_change *change, const struct what *what)
{
	struct ledger_change own = *change, *c = &own;
	struct trip t = {.kv = kv, .remote = remote, .c = c, .what = what};
	struct ledger_tip tip;
	int status = 0, rc;
	char *comm;

	if (c->nexpects && !has_stargate(kv, remote))
		return no_guard(&t);
	rc = ledger_tip(kv->ledger, c->ns, &tip);
	if (rc && rc != LEDGER_ENOTFOUND)
		return say_ledger(rc, "namespace '%s'", c->ns);
	if (!rc)
		t.local = tip.commit;
	t.ref = xasprintf(KV_REFS "%s", c->ns);
	own.actor.comm = comm = unique_comm();
	status = track_read(kv, remote, c->ns, &t.base);
	if (!status && ledger_oid_is_zero(&t.base))
		status = ask_remote(&t);
	if (!status)
		do
			status = one_round(&t);
		while (status < 0);
	free(t.ref);
	free(comm);
	return status;
}
