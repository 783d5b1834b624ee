/* SPDX-License-Identifier: MIT */
/* set, del, and the way of every change into the ledger. */
#include "write.h"
#include "remote.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A change that the ledger refused or could not make. */
static int say_failed(int rc, const struct ledger_result *res, const struct what *what)
{
	if (what->lines && res->reason == LEDGER_REASON_EDIT)
		return say_ledger(rc, "%s:%lu", what->text, what->lines[res->index]);
	return say_ledger(rc, "%s", what->text);
}

int write_report(const struct kv *kv, const struct ledger_change *c, int rc, const struct ledger_result *res,
		 const struct what *what)
{
	char hex[LEDGER_OID_HEXSIZE + 1];
	json_t *o;

	if (rc == LEDGER_ECONFLICT)
		return say_conflict(kv, c, res);
	if (rc)
		return say_failed(rc, res, what);
	if (kv->json) {
		o = json_object();
		json_object_set_new(o, "changed", json_boolean(res->changed));
		json_put_tip(o, &res->tip);
		json_put_oid(o, "blob", &res->blob);
		json_print(o);
	} else if (kv->tty) {
		printf("%s  version %" PRIu64 "  tree %s%s\n", c->ns, res->tip.version, ledger_oid_fmt(hex, &res->tip.tree),
		       res->changed ? "" : "  (unchanged)");
	}
	return KV_OK;
}

/* Nothing to do, here: the expectations are checked all the same. */
static int check_only(struct kv *kv, const struct ledger_change *c, struct ledger_result *res)
{
	struct ledger_tip tip;
	int rc = ledger_tip(kv->ledger, c->ns, &tip);

	if (rc != LEDGER_ENOTFOUND)
		return rc ? rc : ledger_build(kv->ledger, c, &tip.commit, res);
	return write_on_nothing(c, res);
}

int write_on_nothing(const struct ledger_change *c, struct ledger_result *res)
{
	for (size_t i = 0; i < c->nexpects; i++)
		if (c->expects[i].what != LEDGER_EXPECT_ABSENT) {
			res->reason = (enum ledger_reason)c->expects[i].what;
			res->index = i;
			return LEDGER_ECONFLICT;
		}
	return 0;
}

int write_change(struct kv *kv, const struct ledger_change *c, const struct what *what)
{
	struct ledger_result res = {0};
	char *remote = NULL;
	int status = remote_choose(kv, &remote), rc;

	if (status)
		return status;
	if (remote) {
		status = remote_write(kv, remote, c, what);
	} else {
		rc = c->nedits ? ledger_commit(kv->ledger, c, &res) : check_only(kv, c, &res);
		status = write_report(kv, c, rc, &res, what);
	}
	free(remote);
	return status;
}

/* --- set -------------------------------------------------------------------------------------------------------------- */

static const char set_usage[] = "usage: git kv set [<options>] KEY (VALUE | - | --file F)";

static int set_value(struct kv *kv, const char *text, const char *file, struct ledger_value **out)
{
	int rc;

	if (file)
		return input_file(kv, file, out);
	if (strcmp(text, "-") == 0)
		return input_file(kv, "-", out);
	rc = ledger_value_new(kv->ledger, text, strlen(text), out);
	return rc ? say_ledger(rc, "value") : 0;
}

int cmd_set(struct kv *kv, int argc, char **argv)
{
	struct opt_list given = {0};
	struct expects expects = {0};
	const char *file = NULL;
	bool exec = false;
	const struct opt opts[] = {
		{'F', "file", OPT_TEXT, &file, "F", "the value is what is in the file F"},
		{'x', "executable", OPT_FLAG, &exec, NULL, "the file that shows the key is executable"},
		EXPECT_OPTIONS(&given),
		{0},
	};
	struct ledger_edit edit = {.op = LEDGER_SET, .flags = LEDGER_PARENTS, .kind = LEDGER_FILE};
	struct ledger_change c = {.edits = &edit, .nedits = 1, .create = true};
	struct ledger_value *value = NULL;
	char *text = NULL, *q = NULL;
	int n = opt_parse(kv, argc, argv, set_usage, opts, false), status = KV_USAGE;

	if (n < 0)
		goto out;
	if (n == 0 || n > 2 || (n == 2) == (file != NULL)) {
		if (n == 0)
			say_error("set: no key given");
		else if (n > 2)
			say_error("set: too many arguments (quote a VALUE that has spaces)");
		else if (n == 2)
			say_error("set: VALUE and --file exclude each other");
		else
			say_error("set: no value given: VALUE, '-' for standard input, or --file");
		opt_help(stderr, set_usage, opts);
		goto out;
	}
	status = check_key_say(argv[1]);
	if (!status)
		status = check_ns_say(kv->ns);
	if (!status)
		status = expects_parse(&expects, &given, argv[1]);
	if (!status)
		status = kv_open(kv, false);
	if (!status)
		status = set_value(kv, argv[2], file, &value);
	if (status)
		goto out;
	edit.flags |= exec ? 0 : LEDGER_KEEP_KIND;
	edit.kind = exec ? LEDGER_EXEC : LEDGER_FILE;
	edit.path = argv[1];
	edit.value = value;
	c.ns = kv->ns;
	c.expects = expects.v;
	c.nexpects = expects.n;
	c.actor = kv_actor();
	q = quoted(argv[1]);
	text = xasprintf("cannot set '%s'", q);
	status = write_change(kv, &c, &(struct what){.text = text});
out:
	ledger_value_unref(value);
	expects_release(&expects);
	free(given.v);
	free(text);
	free(q);
	return status;
}

/* --- del -------------------------------------------------------------------------------------------------------------- */

static const char del_usage[] = "usage: git kv del [<options>] KEY...";

static int del_keys(struct kv *kv, char **keys, size_t n, bool missing_ok, const struct expects *expects)
{
	struct ledger_edit *edits = xcalloc(n, sizeof(*edits));
	struct ledger_change c = {.ns = kv->ns,
				  .edits = edits,
				  .nedits = n,
				  .expects = expects->v,
				  .nexpects = expects->n,
				  .actor = kv_actor()};
	int status;

	for (size_t i = 0; i < n; i++)
		edits[i] = (struct ledger_edit){
			.op = LEDGER_DELETE, .flags = LEDGER_PRUNE | (missing_ok ? LEDGER_MISSING_OK : 0u), .path = keys[i]};
	status = write_change(kv, &c, &(struct what){.text = "cannot delete"});
	free(edits);
	return status;
}

int cmd_del(struct kv *kv, int argc, char **argv)
{
	struct opt_list given = {0};
	struct expects expects = {0};
	bool missing_ok = false;
	const struct opt opts[] = {
		{0, "ignore-unmatch", OPT_FLAG, &missing_ok, NULL, "an absent key is no error"},
		EXPECT_OPTIONS(&given),
		{0},
	};
	int n = opt_parse(kv, argc, argv, del_usage, opts, false), status = KV_USAGE;

	if (n == 0) {
		say_error("del: no key given");
		opt_help(stderr, del_usage, opts);
	}
	if (n <= 0)
		goto out;
	status = check_ns_say(kv->ns);
	for (int i = 1; i <= n && !status; i++)
		status = check_key_say(argv[i]);
	if (!status)
		status = expects_parse(&expects, &given, n == 1 ? argv[1] : NULL);
	if (!status)
		status = kv_open(kv, false);
	if (!status)
		status = del_keys(kv, argv + 1, (size_t)n, missing_ok, &expects);
out:
	expects_release(&expects);
	free(given.v);
	return status;
}
