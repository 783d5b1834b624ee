/* SPDX-License-Identifier: MIT */
/* Namespaces as a whole on a remote. */
#include "remote.h"
#include "run.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

int remote_ns_create(struct kv *kv, const char *remote, const char *ns)
{
	const struct ledger_change c = {.ns = ns, .create = true, .actor = kv_actor()};
	char *text = xasprintf("cannot create namespace '%s'", ns);
	int status = remote_write(kv, remote, &c, &(struct what){.text = text});

	free(text);
	return status;
}

/* One of the two pushes of a deletion. */
static int push_ref(struct kv *kv, struct push *p, const char *what)
{
	int status = 0;

	switch (push_run(kv, p)) {
	case PUSH_LANDED:
		break;
	case PUSH_LOST:
		say_error("conflict: %s: somebody else changed it meanwhile; nothing changed", what);
		status = KV_CONFLICT;
		break;
	case PUSH_UNKNOWN:
		say_error("%s: no answer from '%s': %s", what, p->remote, p->reason);
		status = KV_IO;
		break;
	default:
		say_error("%s: '%s' refused it: %s", what, p->remote, p->reason);
		status = KV_POLICY;
	}
	if (p->remarks)
		fputs(p->remarks, stderr);
	push_release(p);
	return status;
}

/* The state there, once its conditions hold.  Expectations are checked by building an empty change on it. */
static int check_deletable(struct kv *kv, const char *remote, const char *ns, bool force, const struct expects *expects,
			   struct ledger_tip *tip)
{
	const struct ledger_change c = {.ns = ns, .expects = expects->v, .nexpects = expects->n, .actor = kv_actor()};
	struct ledger_result res = {0};
	struct ledger_oid there;
	struct ledger_tree *t;
	char *why = NULL;
	int status = track_fetch(kv, remote, ns, &there, &why), rc;

	if (status) {
		say_error("cannot delete namespace '%s': %s", ns, why ? why : "unknown reason");
		free(why);
		return status;
	}
	if (ledger_oid_is_zero(&there)) {
		say_error("namespace '%s' does not exist on '%s'", ns, remote);
		return KV_FALSE;
	}
	rc = ledger_build(kv->ledger, &c, &there, &res);
	if (rc)
		return write_report(kv, &c, rc, &res, &(struct what){.text = "cannot delete the namespace"});
	rc = ledger_tree_get(kv->ledger, &res.tip.tree, &t);
	if (rc)
		return say_ledger(rc, "cannot read namespace '%s'", ns);
	if (ledger_tree_count(t) && !force) {
		say_error("namespace '%s' has keys; nothing changed", ns);
		say_hint("delete them first, or say --force; either way its history stays in %s%s/", KV_ARCHIVE, ns);
		status = ledger_exit_status(LEDGER_ENOTEMPTY);
	}
	ledger_tree_unref(t);
	*tip = res.tip;
	return status;
}

/*
 * First the archive, then the deletion: the hook lets a namespace go only when its history has a name that stays.  Ended
 * in the middle, a name too many is left and nothing is lost.
 */
int remote_ns_delete(struct kv *kv, const char *remote, const char *ns, bool force, const struct expects *expects)
{
	char *what = xasprintf("cannot delete namespace '%s'", ns), *ref = xasprintf(KV_REFS "%s", ns), *archive = NULL,
	     *why = NULL;
	struct push save = {.remote = remote}, drop = {.remote = remote, .ref = ref};
	struct ledger_tip tip, local;
	struct ledger_oid zero = {0};
	int status = check_deletable(kv, remote, ns, force, expects, &tip);

	if (status)
		goto out;
	archive = xasprintf(KV_ARCHIVE "%s/%" PRIu64, ns, tip.version);
	save.ref = archive;
	save.new = drop.old = tip.commit;
	drop.expects = expects->v;
	drop.nexpects = expects->n;
	status = push_ref(kv, &save, what);
	if (!status)
		status = push_ref(kv, &drop, what);
	if (status || ledger_tip(kv->ledger, ns, &local) != 0 || !is_ancestor(kv, &local.commit, &tip.commit))
		goto out;
	/* The local one goes the same way, when it holds nothing else. */
	if (!ref_move(kv, archive, &tip.commit, &zero, &why) || !ref_move(kv, ref, &zero, &local.commit, &why)) {
		say_warning("'%s' has deleted it, but it is still here: %s", remote, why);
		free(why);
	}
out:
	free(archive);
	free(ref);
	free(what);
	return status;
}
