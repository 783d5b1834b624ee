/* SPDX-License-Identifier: MIT */
/*
 * recover: opening a ledger for writing brings in what an owner left that died.  This command does that, and looks at every
 * namespace afterwards.  What was brought in, the ledger says by itself (through its log, on stderr).
 */
#include "opt.h"

#include <inttypes.h>

static const char recover_usage[] = "usage: git kv recover";

struct look {
	struct kv *kv;
	int worst;
};

static int look_at(void *arg, const char *ns)
{
	struct look *l = arg;
	struct ledger_tip tip;
	struct ledger_tree *t = NULL;
	int rc = ledger_tip(l->kv->ledger, ns, &tip);

	if (!rc)
		rc = ledger_tree_get(l->kv->ledger, &tip.tree, &t);
	ledger_tree_unref(t);
	if (rc == LEDGER_ENOTFOUND) /* deleted since the listing began */
		return 0;
	if (rc) {
		l->worst = say_ledger(rc, "namespace '%s'", ns);
	} else if (l->kv->json) {
		json_t *o = json_object();

		json_object_set_new(o, "namespace", json_string(ns));
		json_put_tip(o, &tip);
		json_print(o);
	} else {
		printf("%" PRIu64 "\t", tip.version);
		put_key_line(l->kv, ns);
	}
	return 0;
}

int cmd_recover(struct kv *kv, int argc, char **argv)
{
	static const struct opt opts[] = {{0}};
	struct look l = {.kv = kv};
	int n = opt_parse(kv, argc, argv, recover_usage, opts, false), status, rc;

	if (n > 0)
		say_error("recover: takes no arguments");
	if (n)
		return KV_USAGE;
	status = kv_open(kv, false);
	if (status)
		return status;
	if (ledger_is_readonly(kv->ledger)) {
		say_error("'%s' cannot be written to: nothing was recovered", kv->gitdir);
		return ledger_exit_status(LEDGER_EROFS);
	}
	rc = ledger_ns_each(kv->ledger, look_at, &l);
	return rc < 0 ? say_ledger(rc, "cannot list the namespaces") : l.worst;
}
