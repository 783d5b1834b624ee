/* SPDX-License-Identifier: MIT */
/* recover: opening a ledger for writing brings in what an owner left that died; this command does that and nothing else. */
#include "opt.h"

static const char recover_usage[] = "usage: git kv recover";

static int say_count(void *arg, const char *ns)
{
	struct ledger_tip tip;
	struct kv *kv = arg;
	int rc = ledger_tip(kv->ledger, ns, &tip);

	if (rc)
		say_ledger(rc, "namespace '%s'", ns);
	else if (kv->json || kv->tty)
		return 0;
	return rc == LEDGER_ENOTFOUND ? 0 : rc;
}

int cmd_recover(struct kv *kv, int argc, char **argv)
{
	static const struct opt opts[] = {{0}};
	int n = opt_parse(kv, argc, argv, recover_usage, opts, false), status, rc;

	if (n > 0)
		say_error("recover: takes no arguments");
	if (n)
		return KV_USAGE;
	status = kv_open(kv, false); /* what it recovers, it says through the ledger's log */
	if (status)
		return status;
	if (ledger_is_readonly(kv->ledger)) {
		say_error("'%s' cannot be written to: nothing was recovered", kv->gitdir);
		return ledger_exit_status(LEDGER_EROFS);
	}
	rc = ledger_ns_each(kv->ledger, say_count, kv);
	return rc ? ledger_exit_status(rc) : KV_OK;
}
