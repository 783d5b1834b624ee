/* SPDX-License-Identifier: MIT */
/* status: a namespace's tip, and how it stands to the remote that writes go to. */
#include "remote.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char status_usage[] = "usage: git kv status [<options>]";

struct state {
	struct ledger_tip tip;
	char *remote;            /* NULL: writes stay here */
	struct ledger_oid track; /* what the remote had when last asked; zero: nothing known */
	uint64_t ahead, behind;
};

static void put_json(const struct kv *kv, const struct state *s)
{
	json_t *o = json_object(), *r;

	json_object_set_new(o, "namespace", json_string(kv->ns));
	json_put_tip(o, &s->tip);
	json_object_set_new(o, "time", json_integer((json_int_t)s->tip.time.tv_sec));
	if (s->remote) {
		r = json_object();
		json_object_set_new(r, "name", json_string(s->remote));
		json_put_oid(r, "commit", &s->track);
		json_object_set_new(r, "ahead", json_integer((json_int_t)s->ahead));
		json_object_set_new(r, "behind", json_integer((json_int_t)s->behind));
		json_object_set_new(o, "remote", r);
	}
	json_print(o);
}

/* `name=value` as the mount's user.kv.status writes it (SPEC 6.4); aligned with colons for people. */
static void put_line(const struct kv *kv, const char *name, const char *value)
{
	if (kv->tty && !kv->nul)
		printf("%s:%*s%s\n", name, (int)(11 - strlen(name)), "", value);
	else
		printf("%s=%s%c", name, value, kv->nul ? '\0' : '\n');
}

static void put_text(const struct kv *kv, const struct state *s)
{
	char hex[LEDGER_OID_HEXSIZE + 1], num[64], *when = NULL;
	size_t len;
	FILE *f = xmemstream(&when, &len);

	put_time(f, s->tip.time.tv_sec);
	fclose(f);
	put_line(kv, "namespace", kv->ns);
	snprintf(num, sizeof(num), "%" PRIu64, s->tip.version);
	put_line(kv, "version", num);
	put_line(kv, "tree", ledger_oid_fmt(hex, &s->tip.tree));
	put_line(kv, "commit", ledger_oid_fmt(hex, &s->tip.commit));
	snprintf(num, sizeof(num), "%lld", (long long)s->tip.time.tv_sec);
	put_line(kv, "time", kv->tty && !kv->nul ? when : num);
	free(when);
	if (!s->remote)
		return;
	put_line(kv, "remote", s->remote);
	if (ledger_oid_is_zero(&s->track))
		return;
	snprintf(num, sizeof(num), "%" PRIu64, s->ahead);
	put_line(kv, "ahead", num);
	snprintf(num, sizeof(num), "%" PRIu64, s->behind);
	put_line(kv, "behind", num);
}

int cmd_status(struct kv *kv, int argc, char **argv)
{
	static const struct opt opts[] = {{0}};
	struct state s = {0};
	int n = opt_parse(kv, argc, argv, status_usage, opts, false), status;

	if (n > 0)
		say_error("status: takes no arguments");
	if (n)
		return KV_USAGE;
	status = check_ns_say(kv->ns);
	if (!status)
		status = kv_open(kv, true);
	if (!status)
		status = kv_tip(kv, &s.tip);
	if (!status)
		status = remote_choose(kv, &s.remote);
	if (!status && s.remote)
		status = track_compare(kv, s.remote, &s.tip.commit, &s.track, &s.ahead, &s.behind);
	if (!status && kv->json)
		put_json(kv, &s);
	else if (!status)
		put_text(kv, &s);
	free(s.remote);
	return status;
}
