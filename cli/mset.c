/* SPDX-License-Identifier: MIT */
/*
 * mset: many changes from JSON lines, all of them or none, one commit.
 *
 * {"op":"set","key":K,"value":V}  or  "value_b64":B  or  "file":F;   {"op":"del","key":K}
 *
 * "key_b64" instead of "key" is for keys that are not UTF-8.  Everything is read and checked before anything is decided;
 * an error names file and line.
 */
#include "write.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char mset_usage[] = "usage: git kv mset [<options>] --file (F | -)";

struct batch {
	const char *name; /* of the file */
	unsigned long line;
	struct ledger_edit *edits;
	unsigned long *lines; /* of each edit */
	size_t n, cap, capl;
	bool missing_ok;
};

static int bad_line(const struct batch *b, int status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static int bad_line(const struct batch *b, int status, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	if (status == KV_FATAL)
		say_fatal("%s:%lu: %s", b->name, b->line, text ? text : "");
	else
		say_error("%s:%lu: %s", b->name, b->line, text ? text : "");
	free(text);
	return status;
}

/* The fields of one line; NULL: not there.  Borrowed from the object. */
struct fields {
	const json_t *op, *key, *key_b64, *value, *value_b64, *file;
};

static int take_fields(const struct batch *b, json_t *obj, struct fields *f)
{
	const struct {
		const char *name;
		const json_t **to;
	} known[] = {{"op", &f->op},
		     {"key", &f->key},
		     {"key_b64", &f->key_b64},
		     {"value", &f->value},
		     {"value_b64", &f->value_b64},
		     {"file", &f->file}};
	const char *name;
	json_t *v;

	json_object_foreach(obj, name, v)
	{
		size_t i;

		for (i = 0; i < sizeof(known) / sizeof(*known); i++)
			if (strcmp(name, known[i].name) == 0)
				break;
		if (i == sizeof(known) / sizeof(*known))
			return bad_line(b, KV_FATAL, "unknown field \"%s\"", name);
		if (!json_is_string(v))
			return bad_line(b, KV_FATAL, "\"%s\" is not a string", name);
		*known[i].to = v;
	}
	return 0;
}

static int take_key(const struct batch *b, const struct fields *f, char **out)
{
	char *key, *why;
	size_t len;
	int status;

	if (!f->key == !f->key_b64)
		return bad_line(b, KV_FATAL, f->key ? "both \"key\" and \"key_b64\"" : "no \"key\"");
	if (f->key) {
		len = json_string_length(f->key);
		key = xcalloc(len + 1, 1);
		memcpy(key, json_string_value(f->key), len);
	} else {
		key = base64_decode(json_string_value(f->key_b64), json_string_length(f->key_b64), &len);
		if (!key)
			return bad_line(b, KV_FATAL, "\"key_b64\" is not base64");
	}
	if (strlen(key) != len)
		status = bad_line(b, KV_BADKEY, "the key has a NUL byte");
	else if ((status = check_key(key, &why))) {
		bad_line(b, status, "%s", why);
		free(why);
	}
	if (status)
		free(key);
	else
		*out = key;
	return status;
}

static int take_value(struct kv *kv, const struct batch *b, const struct fields *f, struct ledger_value **out)
{
	int given = !!f->value + !!f->value_b64 + !!f->file, rc;
	size_t len;
	void *raw;

	if (given != 1)
		return bad_line(b, KV_FATAL,
				"\"set\" takes exactly one of \"value\", \"value_b64\", \"file\"; this line has %d", given);
	if (f->file) {
		const char *path = json_string_value(f->file);

		if (strlen(path) != json_string_length(f->file))
			return bad_line(b, KV_FATAL, "the name of the file has a NUL byte");
		if (strcmp(path, "-") == 0)
			return bad_line(b, KV_FATAL, "a line cannot take its value from standard input");
		rc = input_file(kv, path, out);
		return rc ? bad_line(b, rc, "the value could not be read") : 0;
	}
	if (f->value) {
		rc = ledger_value_new(kv->ledger, json_string_value(f->value), json_string_length(f->value), out);
	} else {
		raw = base64_decode(json_string_value(f->value_b64), json_string_length(f->value_b64), &len);
		if (!raw)
			return bad_line(b, KV_FATAL, "\"value_b64\" is not base64");
		rc = ledger_value_new(kv->ledger, raw, len, out);
		free(raw);
	}
	return rc ? bad_line(b, ledger_exit_status(rc), "%s", ledger_errmsg()) : 0;
}

static int take_object(struct kv *kv, struct batch *b, json_t *obj)
{
	struct ledger_edit e = {.flags = LEDGER_PARENTS | LEDGER_KEEP_KIND, .kind = LEDGER_FILE};
	struct fields f = {0};
	char *key = NULL;
	const char *op;
	int status;

	if (!json_is_object(obj))
		return bad_line(b, KV_FATAL, "not a JSON object");
	status = take_fields(b, obj, &f);
	if (status)
		return status;
	if (!f.op)
		return bad_line(b, KV_FATAL, "no \"op\"");
	op = json_string_value(f.op);
	if (strcmp(op, "set") != 0 && strcmp(op, "del") != 0)
		return bad_line(b, KV_FATAL, "\"op\" is \"%s\", neither \"set\" nor \"del\"", op);
	status = take_key(b, &f, &key);
	if (status)
		return status;
	if (*op == 's') {
		e.op = LEDGER_SET;
		status = take_value(kv, b, &f, &e.value);
	} else {
		e.op = LEDGER_DELETE;
		e.flags = LEDGER_PRUNE | (b->missing_ok ? LEDGER_MISSING_OK : 0u);
		if (f.value || f.value_b64 || f.file)
			status = bad_line(b, KV_FATAL, "\"del\" takes no value");
	}
	if (status) {
		free(key);
		return status;
	}
	e.path = key;
	XGROW(b->edits, b->n, b->cap);
	XGROW(b->lines, b->n, b->capl);
	b->lines[b->n] = b->line;
	b->edits[b->n++] = e;
	return 0;
}

static int take_lines(struct kv *kv, struct batch *b, FILE *f)
{
	size_t cap = 0;
	char *line = NULL;
	int status = 0;
	ssize_t len;

	while (!status && (len = getline(&line, &cap, f)) >= 0) {
		json_error_t err;
		json_t *obj;

		b->line++;
		progress("Reading lines", b->line);
		if (strspn(line, " \t\r\n") == (size_t)len)
			continue;
		obj = json_loadb(line, (size_t)len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &err);
		if (obj)
			status = take_object(kv, b, obj);
		else
			status = bad_line(b, KV_FATAL, "not JSON: %s (column %d)", err.text, err.column);
		json_decref(obj);
	}
	if (!status && ferror(f)) {
		say_error("cannot read '%s': %s", b->name, strerror(errno));
		status = KV_IO;
	}
	free(line);
	progress_done();
	return status;
}

static int take_file(struct kv *kv, struct batch *b, const char *file)
{
	bool in = strcmp(file, "-") == 0;
	FILE *f = in ? stdin : fopen(file, "re");
	int status;

	if (!f) {
		say_error("cannot open '%s': %s", file, strerror(errno));
		return KV_IO;
	}
	b->name = in ? "standard input" : file;
	status = take_lines(kv, b, f);
	if (!in)
		fclose(f);
	return status;
}

static int commit_batch(struct kv *kv, struct batch *b, const struct expects *expects)
{
	bool sets = false;

	for (size_t i = 0; i < b->n; i++)
		sets |= b->edits[i].op == LEDGER_SET;
	const struct ledger_change c = {.ns = kv->ns,
					.edits = b->edits,
					.nedits = b->n,
					.expects = expects->v,
					.nexpects = expects->n,
					.actor = kv_actor(),
					.create = sets};
	return write_change(kv, &c, &(struct what){.text = b->name, .lines = b->lines});
}

int cmd_mset(struct kv *kv, int argc, char **argv)
{
	struct opt_list given = {0};
	struct expects expects = {0};
	struct batch b = {0};
	const char *file = NULL;
	const struct opt opts[] = {
		{'F', "file", OPT_TEXT, &file, "F", "the JSON lines; '-': standard input"},
		{0, "ignore-unmatch", OPT_FLAG, &b.missing_ok, NULL, "\"del\" of an absent key is no error"},
		EXPECT_OPTIONS(&given),
		{0},
	};
	int n = opt_parse(kv, argc, argv, mset_usage, opts, false), status = KV_USAGE;

	if (n > 0 || (n == 0 && !file)) {
		say_error(n > 0 ? "mset: takes no arguments but options" : "mset: no --file given");
		opt_help(stderr, mset_usage, opts);
		n = -1;
	}
	if (n < 0)
		goto out;
	status = check_ns_say(kv->ns);
	if (!status)
		status = expects_parse(&expects, &given, NULL);
	if (!status)
		status = kv_open(kv, false);
	if (!status)
		status = take_file(kv, &b, file);
	if (!status)
		status = commit_batch(kv, &b, &expects);
out:
	for (size_t i = 0; i < b.n; i++) {
		ledger_value_unref(b.edits[i].value);
		free((char *)b.edits[i].path);
	}
	free(b.edits);
	free(b.lines);
	expects_release(&expects);
	free(given.v);
	return status;
}
