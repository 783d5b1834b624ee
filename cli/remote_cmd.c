/* SPDX-License-Identifier: MIT */
/* remote: which shared repository this clone writes to, and bringing in what others wrote there. */
#include "remote.h"
#include "run.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static const char remote_usage[] = "usage: git kv remote setup [NAME]\n"
				   "   or: git kv remote update [NAME]\n"
				   "   or: git kv remote off";

static int set_config(struct kv *kv, const char *const argv[])
{
	struct run r;
	int status = run_git(&r, kv->gitdir, 0, 0, argv) ? KV_IO : 0;

	if (status)
		run_complain(&r);
	run_release(&r);
	return status;
}

/* --- setup --------------------------------------------------------------------------------------------------------------
 */

/* Fetches into tracking references.  Into refs/kv itself would not do: a push moves what it tracks without a look. */
static int add_refspec(struct kv *kv, const char *remote)
{
	char *var = xasprintf("remote.%s.fetch", remote), *spec = xasprintf("+" KV_REFS "*:" KV_TRACK "%s/*", remote);
	bool have = false;
	struct run r;
	int status = 0;

	run_git(&r, kv->gitdir, 0, 0, (const char *[]){"config", "--get-all", var, NULL});
	for (char *save = NULL, *line = strtok_r(r.out, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *colon = strrchr(line, ':');

		have |= strcmp(line, spec) == 0;
		if (colon && starts_with(colon + 1, KV_REFS)) {
			say_error("%s is '%s': git would move namespaces here with every push, over commits made meanwhile",
				  var, line);
			say_hint("take it out with `git config --unset-all %s`, and try again", var);
			status = KV_POLICY;
			goto out;
		}
	}
	if (!have)
		status = set_config(kv, (const char *[]){"config", "--add", var, spec, NULL});
out:
	run_release(&r);
	free(spec);
	free(var);
	return status;
}

/*
 * Is there a Stargate?  Its hook refuses a push with the option kv.probe, with a greeting.  A remote that takes push
 * options and has no such hook accepts the probe; it is taken away again.
 */
static int probe(struct kv *kv, const char *remote, bool *found)
{
	const struct ledger_change c = {.ns = "probe", .create = true, .actor = kv_actor(), .message = "probe"};
	struct ledger_oid none = {0};
	struct ledger_result res = {0};
	uint64_t r = 0;
	char *ref;
	int rc = ledger_build(kv->ledger, &c, &none, &res), status = 0;

	if (rc)
		return say_ledger(rc, "cannot make a commit");
	if (getrandom(&r, sizeof(r), 0) != sizeof(r))
		return say_fatal("no random numbers");
	ref = xasprintf("refs/kv-probe/%016" PRIx64, r);
	struct push p = {.remote = remote, .ref = ref, .new = res.tip.commit, .probe = true};
	struct push away = {.remote = remote, .ref = ref, .old = res.tip.commit};

	switch (push_run(kv, &p)) {
	case PUSH_LANDED:
		push_run(kv, &away);
		break;
	case PUSH_UNKNOWN:
		say_error("cannot push to '%s': %s", remote, p.reason);
		if (p.remarks)
			fputs(p.remarks, stderr);
		status = KV_IO;
		break;
	default:
		break;
	}
	*found = p.greeted;
	push_release(&p);
	push_release(&away);
	free(ref);
	return status;
}

static int setup(struct kv *kv, const char *remote)
{
	char *var = xasprintf("remote.%s.kvStargate", remote);
	bool found = false;
	int status = probe(kv, remote, &found);

	if (!status)
		status = add_refspec(kv, remote);
	if (!status)
		status = set_config(kv, (const char *[]){"config", var, found ? "true" : "false", NULL});
	if (!status)
		status = set_config(kv, (const char *[]){"config", "kv.remote", remote, NULL});
	free(var);
	if (status)
		return status;
	if (!found) {
		say_warning("'%s' has no Stargate hook: writes with expectations will be refused here", remote);
		say_hint("run `git kv stargate init` in that repository, then `git kv remote setup %s` again", remote);
	}
	if (kv->tty)
		printf("Changes go to '%s' from now on%s.\n", remote, found ? "; its Stargate checks expectations" : "");
	return 0;
}

/* --- update ---------------------------------------------------------------------------------------------------------------
 */

struct update {
	struct kv *kv;
	const char *remote;
	int status;
};

/* One tracking reference: the namespace follows where it can. */
static void follow_one(struct update *u, const char *ns, const struct ledger_oid *to)
{
	struct ledger_oid local = {0};
	struct ledger_tip tip;
	char *ref, *why = NULL;
	int rc = ledger_tip(u->kv->ledger, ns, &tip);

	if (rc && rc != LEDGER_ENOTFOUND) {
		u->status = say_ledger(rc, "namespace '%s'", ns);
		return;
	}
	if (!rc)
		local = tip.commit;
	if (ledger_oid_eq(&local, to))
		return;
	if (!rc && is_ancestor(u->kv, to, &local))
		return; /* ours is ahead: `git kv status` tells */
	if (!rc && !is_ancestor(u->kv, &local, to)) {
		say_error("namespace '%s' has commits here that '%s' does not have, and the other way round; left as it is",
			  ns, u->remote);
		u->status = KV_CONFLICT;
		return;
	}
	ref = xasprintf(KV_REFS "%s", ns);
	if (!ref_move(u->kv, ref, to, &local, &why)) {
		say_error("namespace '%s' did not follow: %s", ns, why);
		u->status = KV_IO;
	}
	free(why);
	free(ref);
}

static int update(struct kv *kv, const char *remote)
{
	char *spec = xasprintf("+" KV_REFS "*:" KV_TRACK "%s/*", remote), *prefix = xasprintf(KV_TRACK "%s/", remote);
	struct update u = {.kv = kv, .remote = remote};
	struct run r;
	char *why;

	run_git(&r, kv->gitdir, 0, 0,
		(const char *[]){"fetch", "--quiet", "--prune", "--no-tags", "--no-write-fetch-head",
				 "--refmap=", "--end-of-options", remote, spec, NULL});
	if (r.status) {
		why = run_reason(&r);
		say_error("cannot fetch from '%s': %s", remote, why);
		free(why);
		u.status = KV_IO;
		goto out;
	}
	run_release(&r);
	run_git(&r, kv->gitdir, 0, 0, (const char *[]){"for-each-ref", "--format=%(objectname) %(refname)", prefix, NULL});
	for (char *save = NULL, *line = strtok_r(r.out, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		struct ledger_oid to;

		if (strlen(line) > LEDGER_OID_HEXSIZE + 1 + strlen(prefix) &&
		    ledger_oid_parse(&to, line, LEDGER_OID_HEXSIZE) == 0)
			follow_one(&u, line + LEDGER_OID_HEXSIZE + 1 + strlen(prefix), &to);
	}
out:
	run_release(&r);
	free(prefix);
	free(spec);
	return u.status;
}

/* --- the command
 * ------------------------------------------------------------------------------------------------------------ */

static int run_verb(struct kv *kv, const char *verb, const char *name)
{
	bool off = strcmp(verb, "off") == 0;
	char *remote = NULL;
	int status = kv_open(kv, off);

	if (status)
		return status;
	if (off)
		return set_config(kv, (const char *[]){"config", "--unset-all", "kv.remote", NULL});
	kv->local = false;
	if (name)
		kv->remote = name;
	status = remote_choose(kv, &remote);
	if (!status && !remote) {
		kv->remote = "origin";
		status = remote_choose(kv, &remote);
	}
	if (!status)
		status = strcmp(verb, "setup") == 0 ? setup(kv, remote) : update(kv, remote);
	free(remote);
	return status;
}

int cmd_remote(struct kv *kv, int argc, char **argv)
{
	static const struct opt opts[] = {{0}};
	int n = opt_parse(kv, argc, argv, remote_usage, opts, false);

	if (n < 0)
		return KV_USAGE;
	if (n == 0)
		say_error("remote: setup, update or off?");
	else if (strcmp(argv[1], "setup") != 0 && strcmp(argv[1], "update") != 0 && strcmp(argv[1], "off") != 0)
		say_error("remote: unknown verb `%s'", argv[1]);
	else if (n > (strcmp(argv[1], "off") == 0 ? 1 : 2))
		say_error("remote %s: too many arguments", argv[1]);
	else
		return run_verb(kv, argv[1], n == 2 ? argv[2] : NULL);
	opt_help(stderr, remote_usage, opts);
	return KV_USAGE;
}
