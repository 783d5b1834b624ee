/* SPDX-License-Identifier: MIT */
/* get: one value, byte for byte. */
#include "opt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char get_usage[] = "usage: git kv get [<options>] KEY";

static int write_out(const char *buf, size_t len)
{
	while (len) {
		ssize_t w = write(1, buf, len);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0) {
			say_error("cannot write the output: %s", strerror(errno));
			return KV_IO;
		}
		buf += w;
		len -= (size_t)w;
	}
	return 0;
}

static int put_value(const struct ledger_value *v)
{
	uint64_t off = 0, size = ledger_value_size(v);
	const void *data = ledger_value_data(v);
	int status = 0;
	char *buf;

	fflush(stdout);
	if (data)
		return write_out(data, (size_t)size);
	buf = xcalloc(1 << 20, 1);
	while (off < size && !status) {
		ssize_t n = ledger_value_pread(v, buf, 1 << 20, off);

		if (n <= 0) {
			status = say_ledger(n ? (int)n : LEDGER_ECORRUPT, "cannot read the value");
			break;
		}
		status = write_out(buf, (size_t)n);
		off += (uint64_t)n;
	}
	free(buf);
	return status;
}

static const char *const kinds[] = {[LEDGER_FILE] = "file", [LEDGER_EXEC] = "executable", [LEDGER_LINK] = "symlink"};

static int put_json(const char *key, const struct ledger_tip *tip, const struct ledger_entry *e,
		    const struct ledger_value *v)
{
	size_t size = (size_t)ledger_value_size(v), n = 0;
	char *buf = xcalloc(size + 1, 1);
	json_t *o;

	while (n < size) {
		ssize_t r = ledger_value_pread(v, buf + n, size - n, n);

		if (r <= 0) {
			free(buf);
			return say_ledger(r ? (int)r : LEDGER_ECORRUPT, "cannot read the value");
		}
		n += (size_t)r;
	}
	o = json_object();
	json_put_bytes(o, "key", key, strlen(key));
	json_object_set_new(o, "kind", json_string(kinds[e->kind]));
	json_put_oid(o, "blob", &e->oid);
	json_object_set_new(o, "size", json_integer((json_int_t)size));
	json_put_bytes(o, "value", buf, size);
	json_put_tip(o, tip);
	json_print(o);
	free(buf);
	return 0;
}

int cmd_get(struct kv *kv, int argc, char **argv)
{
	static const struct opt opts[] = {{0}};
	struct ledger_value *v = NULL;
	struct ledger_entry e;
	struct ledger_tip tip;
	int n = opt_parse(kv, argc, argv, get_usage, opts, false), status, rc;
	char *q;

	if (n != 1) {
		if (n >= 0)
			say_error(n ? "get: one key at a time" : "get: no key given");
		return KV_USAGE;
	}
	status = check_key_say(argv[1]);
	if (!status)
		status = check_ns_say(kv->ns);
	if (!status)
		status = kv_open(kv, true);
	if (!status)
		status = kv_tip(kv, &tip);
	if (status)
		return status;
	q = quoted(argv[1]);
	rc = ledger_lookup(kv->ledger, &tip.tree, argv[1], &e);
	if (rc == LEDGER_ENOTFOUND || rc == LEDGER_ENOTDIR) {
		say_error("key '%s' does not exist in namespace '%s'", q, kv->ns);
		status = KV_FALSE;
	} else if (!rc && e.kind == LEDGER_DIR) {
		say_error("'%s' is a directory; `git kv list --prefix %s/' lists its keys", q, q);
		status = KV_BADKEY;
	} else if (rc || (rc = ledger_value_get(kv->ledger, &e.oid, &v))) {
		status = say_ledger(rc, "cannot read '%s'", q);
		if (status == KV_FALSE) /* the key is there and its value is not: that is damage */
			status = KV_IO;
	} else {
		status = kv->json ? put_json(argv[1], &tip, &e, v) : put_value(v);
	}
	ledger_value_unref(v);
	free(q);
	return status;
}
