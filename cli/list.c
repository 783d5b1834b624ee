/* SPDX-License-Identifier: MIT */
/* list: keys by prefix.  Trees alone are read, never a value. */
#include "opt.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char list_usage[] = "usage: git kv list [<options>]";

#define PATH_LIMIT 4096 /* what check.c takes for a key; a hostile tree may be deeper */

struct listing {
	struct kv *kv;
	struct ledger_tip tip;
	const char *base; /* last component of the prefix: the names of the first directory begin with it */
	size_t baselen;
	bool columns;
	uint64_t n;
	char path[PATH_LIMIT + 1];
};

static const char *const kinds[] = {[LEDGER_FILE] = "file", [LEDGER_EXEC] = "executable", [LEDGER_LINK] = "symlink"};

static int put_columns(struct listing *l, const struct ledger_entry *e)
{
	struct timespec t = l->tip.time;
	uint64_t size;
	int rc = ledger_blob_size(l->kv->ledger, &e->oid, &size);

	if (!rc)
		rc = ledger_key_time(l->kv->ledger, l->kv->ns, &l->tip, l->path, &t, NULL);
	if (rc)
		return say_ledger(rc, "'%s'", l->path);
	put_time(stdout, t.tv_sec);
	printf("  %10" PRIu64 "  ", size);
	put_key_line(l->kv, l->path);
	return 0;
}

static int put_entry(struct listing *l, const struct ledger_entry *e)
{
	l->n++;
	if (l->kv->json) {
		json_t *o = json_object();

		json_put_bytes(o, "key", l->path, strlen(l->path));
		json_object_set_new(o, "kind", json_string(kinds[e->kind]));
		json_put_oid(o, "blob", &e->oid);
		json_print(o);
		return 0;
	}
	if (l->columns)
		return put_columns(l, e);
	put_key_line(l->kv, l->path);
	return 0;
}

/* The tree `oid` at path[0..len), which is "" or ends with a slash; of the first one the names that begin with the prefix.
 */
static int walk(struct listing *l, const struct ledger_oid *oid, size_t len, bool first)
{
	struct ledger_tree *t;
	struct ledger_entry e;
	int status = 0, rc = ledger_tree_get(l->kv->ledger, oid, &t);

	if (rc)
		return say_ledger(rc, "cannot read the directory '%.*s'", (int)len, l->path);
	for (size_t i = 0; i < ledger_tree_count(t) && !status; i++) {
		ledger_tree_at(t, i, &e);
		if (first && (e.namelen < l->baselen || memcmp(e.name, l->base, l->baselen) != 0))
			continue;
		if (len + e.namelen + 1 > PATH_LIMIT) {
			say_warning("'%.60s...' goes deeper than a key may; left out", l->path);
			continue;
		}
		memcpy(l->path + len, e.name, e.namelen);
		l->path[len + e.namelen] = '\0';
		if (e.kind != LEDGER_DIR) {
			status = put_entry(l, &e);
			continue;
		}
		memcpy(l->path + len + e.namelen, "/", 2);
		status = walk(l, &e.oid, len + e.namelen + 1, false);
	}
	ledger_tree_unref(t);
	return status;
}

static int list_prefix(struct listing *l, const char *prefix)
{
	const char *slash = strrchr(prefix, '/');
	size_t len = slash ? (size_t)(slash - prefix) : 0;
	struct ledger_entry dir = {.kind = LEDGER_DIR, .oid = l->tip.tree};
	int rc, status;

	l->base = slash ? slash + 1 : prefix;
	l->baselen = strlen(l->base);
	if (slash) {
		memcpy(l->path, prefix, len);
		l->path[len] = '\0';
		status = check_key_say(*prefix == '/' ? prefix : l->path);
		if (status)
			return status;
		rc = ledger_lookup(l->kv->ledger, &l->tip.tree, l->path, &dir);
		if (rc == LEDGER_ENOTFOUND || rc == LEDGER_ENOTDIR || (!rc && dir.kind != LEDGER_DIR))
			return 0;
		if (rc)
			return say_ledger(rc, "cannot read the directory '%s'", l->path);
		memcpy(l->path + len++, "/", 2);
	}
	return walk(l, &dir.oid, len, true);
}

int cmd_list(struct kv *kv, int argc, char **argv)
{
	struct listing l = {.kv = kv};
	const char *prefix = "";
	bool columns = false;
	const struct opt opts[] = {
		{'p', "prefix", OPT_TEXT, &prefix, "P", "only keys that begin with P"},
		{'l', "long", OPT_FLAG, &columns, NULL, "time of last change and size too, as on a terminal"},
		{0},
	};
	int n = opt_parse(kv, argc, argv, list_usage, opts, false), status;

	if (n > 0)
		say_error("list: takes no arguments but options (a prefix goes behind --prefix)");
	if (n)
		return KV_USAGE;
	if (strlen(prefix) >= PATH_LIMIT) {
		say_error("--prefix is %zu bytes long, more than a key may be", strlen(prefix));
		return KV_BADKEY;
	}
	status = check_ns_say(kv->ns);
	if (!status)
		status = kv_open(kv, true);
	if (!status)
		status = kv_tip(kv, &l.tip);
	if (status)
		return status;
	l.columns = columns || (kv->tty && !kv->nul);
	/* Where the history is not all there to read, some times are those of the tip. */
	if (l.columns && !kv->json)
		ledger_times_settle(kv->ledger, kv->ns);
	return list_prefix(&l, prefix);
}
