/* SPDX-License-Identifier: MIT */
/* ns: namespaces as a whole. */
#include "remote.h"
#include "write.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char ns_usage[] = "usage: git kv ns list [--archived]\n"
			       "   or: git kv ns create NAME\n"
			       "   or: git kv ns delete [--force] [--expect-...] NAME\n"
			       "   or: git kv ns restore [--version N] NAME\n"
			       "   or: git kv ns rename [--expect-...] NAME NEW";

/* --- list ------------------------------------------------------------------------------------------------------------- */

static int put_ns(void *arg, const char *ns)
{
	const struct kv *kv = arg;
	struct ledger_tip tip;
	int rc;

	if (!kv->json && (!kv->tty || kv->nul)) {
		put_key_line(kv, ns);
		return 0;
	}
	rc = ledger_tip(kv->ledger, ns, &tip);
	if (rc == LEDGER_ENOTFOUND) /* gone since the listing began */
		return 0;
	if (rc) {
		say_warning("namespace '%s': %s", ns, ledger_errmsg());
		return 0;
	}
	if (kv->json) {
		json_t *o = json_object();

		json_put_bytes(o, "namespace", ns, strlen(ns));
		json_put_tip(o, &tip);
		json_object_set_new(o, "time", json_integer((json_int_t)tip.time.tv_sec));
		json_print(o);
		return 0;
	}
	put_time(stdout, tip.time.tv_sec);
	printf("  %8" PRIu64 "  ", tip.version);
	put_key_line(kv, ns);
	return 0;
}

static int put_archived(void *arg, const char *ns, uint64_t version)
{
	const struct kv *kv = arg;

	if (kv->json) {
		json_t *o = json_object();

		json_put_bytes(o, "namespace", ns, strlen(ns));
		json_object_set_new(o, "version", json_integer((json_int_t)version));
		json_print(o);
		return 0;
	}
	printf("%" PRIu64 "\t", version);
	put_key_line(kv, ns);
	return 0;
}

/* --- one namespace ------------------------------------------------------------------------------------------------------
 */

struct ns_options {
	bool archived, force;
	uint64_t version;
	struct opt_list given;
	struct expects expects;
};

static int say_tip(const struct kv *kv, const char *ns, const struct ledger_tip *tip)
{
	json_t *o;

	if (kv->json) {
		o = json_object();
		json_object_set_new(o, "namespace", json_string(ns));
		json_put_tip(o, tip);
		json_print(o);
	} else if (kv->tty) {
		printf("%s  version %" PRIu64 "\n", ns, tip->version);
	}
	return 0;
}

static int ns_create(struct kv *kv, const char *remote, const char *ns)
{
	struct ledger_actor a = kv_actor();
	struct ledger_tip tip;
	int rc;

	if (remote)
		return remote_ns_create(kv, remote, ns);
	rc = ledger_ns_create(kv->ledger, ns, &a, &tip);
	return rc ? say_ledger(rc, "cannot create namespace '%s'", ns) : say_tip(kv, ns, &tip);
}

static int ns_delete(struct kv *kv, const char *remote, const char *ns, const struct ns_options *o)
{
	const struct ledger_change c = {.ns = ns, .expects = o->expects.v, .nexpects = o->expects.n};
	struct ledger_result res = {0};
	char *text;
	int rc, status;

	if (remote)
		return remote_ns_delete(kv, remote, ns, o->force, &o->expects);
	rc = ledger_ns_delete(kv->ledger, ns, o->force, o->expects.v, o->expects.n, &res);
	if (rc == LEDGER_ENOTEMPTY) {
		say_error("namespace '%s' has keys; nothing changed", ns);
		say_hint("delete them first, or say --force; either way its history stays in %s%s/", KV_ARCHIVE, ns);
		return ledger_exit_status(rc);
	}
	text = xasprintf("cannot delete namespace '%s'", ns);
	if (rc)
		status = write_report(kv, &c, rc, &res, &(struct what){.text = text});
	else
		status = say_tip(kv, ns, &res.tip);
	free(text);
	return status;
}

static int ns_restore(struct kv *kv, const char *remote, const char *ns, const struct ns_options *o)
{
	struct ledger_tip tip;
	int rc;

	if (remote) {
		say_error("ns restore works on this repository alone; writes go to '%s'", remote);
		say_hint("run it in the shared repository, or give --local");
		return KV_POLICY;
	}
	rc = ledger_ns_restore(kv->ledger, ns, o->version, &tip);
	if (rc == LEDGER_ENOTFOUND) {
		say_error("no archived state of namespace '%s'%s", ns, o->version ? " at that version" : "");
		return KV_FALSE;
	}
	return rc ? say_ledger(rc, "cannot restore namespace '%s'", ns) : say_tip(kv, ns, &tip);
}

static int ns_rename(struct kv *kv, const char *remote, const char *ns, const char *to, const struct ns_options *o)
{
	const struct ledger_change c = {.ns = ns, .expects = o->expects.v, .nexpects = o->expects.n};
	struct ledger_result res = {0};
	char *text;
	int rc, status;

	if (remote) {
		say_error("ns rename works on this repository alone; writes go to '%s'", remote);
		say_hint("run it in the shared repository, or give --local");
		return KV_POLICY;
	}
	rc = ledger_ns_rename(kv->ledger, ns, to, o->expects.v, o->expects.n, &res);
	text = xasprintf("cannot rename namespace '%s' to '%s'", ns, to);
	status = rc ? write_report(kv, &c, rc, &res, &(struct what){.text = text}) : say_tip(kv, to, &res.tip);
	free(text);
	return status;
}

/* --- the command --------------------------------------------------------------------------------------------------------
 */

static int run_verb(struct kv *kv, const char *verb, int n, char **names, struct ns_options *o)
{
	bool list = strcmp(verb, "list") == 0;
	char *remote = NULL;
	int status = 0, rc;

	for (int i = 0; i < n && !status; i++)
		status = check_ns_say(names[i]);
	if (!status)
		status = expects_parse(&o->expects, &o->given, NULL);
	if (!status)
		status = kv_open(kv, list);
	if (!status)
		status = remote_choose(kv, &remote);
	if (status)
		return status;
	if (list) {
		rc = o->archived ? ledger_ns_archived_each(kv->ledger, put_archived, kv)
				 : ledger_ns_each(kv->ledger, put_ns, kv);
		status = rc < 0 ? say_ledger(rc, "cannot list the namespaces") : 0;
	} else if (strcmp(verb, "create") == 0) {
		status = ns_create(kv, remote, names[0]);
	} else if (strcmp(verb, "delete") == 0) {
		status = ns_delete(kv, remote, names[0], o);
	} else if (strcmp(verb, "restore") == 0) {
		status = ns_restore(kv, remote, names[0], o);
	} else {
		status = ns_rename(kv, remote, names[0], names[1], o);
	}
	free(remote);
	return status;
}

static const struct {
	const char *name;
	int names; /* how many it takes */
} verbs[] = {{"list", 0}, {"create", 1}, {"delete", 1}, {"restore", 1}, {"rename", 2}};

int cmd_ns(struct kv *kv, int argc, char **argv)
{
	struct ns_options o = {0};
	const struct opt opts[] = {
		{0, "archived", OPT_FLAG, &o.archived, NULL, "list: archived states, version and name"},
		{'f', "force", OPT_FLAG, &o.force, NULL, "delete: also with keys in it"},
		{0, "version", OPT_COUNT, &o.version, "N", "restore: that one, not the newest"},
		EXPECT_OPTIONS(&o.given),
		{0},
	};
	int n = opt_parse(kv, argc, argv, ns_usage, opts, false), status = KV_USAGE;
	size_t i;

	if (n == 0)
		say_error("ns: list, create, delete, restore or rename?");
	if (n <= 0)
		goto out;
	for (i = 0; i < sizeof(verbs) / sizeof(*verbs); i++)
		if (strcmp(argv[1], verbs[i].name) == 0)
			break;
	if (i == sizeof(verbs) / sizeof(*verbs)) {
		say_error("ns: unknown verb `%s'", argv[1]);
	} else if (n - 1 != verbs[i].names) {
		say_error("ns %s: takes %d name%s, not %d", argv[1], verbs[i].names, verbs[i].names == 1 ? "" : "s", n - 1);
	} else {
		status = run_verb(kv, argv[1], n - 1, argv + 2, &o);
		goto out;
	}
	opt_help(stderr, ns_usage, opts);
out:
	expects_release(&o.expects);
	free(o.given.v);
	return status;
}
