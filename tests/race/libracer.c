/* SPDX-License-Identifier: MIT */
/*
 * The race without a mount: a process with several threads on the ledger's own interface, each thread one client with its
 * own log (history.py).  Processes share the repository; threads of one share its group commits.
 */
#include "racer.h"
#include <ledger/change.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NS "app"
#define THREADS_MAX 16
#define VALUE_MAX (1 << 20)

struct client {
	struct ledger *ledger; /* shared by all threads */
	unsigned keys;
	unsigned long ops;
	int64_t deadline;
	char name[40];
	char log_path[4096];
	uint64_t dice;
	struct racelog log;
	char buf[VALUE_MAX];
};

static void finish(struct client *c, int err)
{
	racelog_end(&c->log, err == 0                  ? "ok"
			     : err == LEDGER_ECONFLICT ? "conflict"
			     : err == LEDGER_ENOTFOUND ? "absent"
			     : err == LEDGER_ELOCKED   ? "busy"
						       : "error");
	if (err && err != LEDGER_ECONFLICT && err != LEDGER_ENOTFOUND && err != LEDGER_ELOCKED) {
		racelog_arg(&c->log, "errno", "5");
		fprintf(stderr, "libracer: %s: %s: %s\n", c->name, ledger_error_name(err), ledger_errmsg());
	}
	racelog_send(&c->log);
}

/* One read operation: what `path` is at the tip, which goes to *tip. */
static bool do_read(struct client *c, const char *path, struct ledger_tip *tip, struct snapshot *out)
{
	struct ledger_value *value = NULL;
	struct ledger_entry entry;
	bool good = true;
	ssize_t n = 0;
	int err;

	racelog_begin(&c->log, "read", path);
	racelog_send(&c->log);
	err = ledger_tip(c->ledger, NS, tip);
	if (!err)
		err = ledger_lookup(c->ledger, &tip->tree, path, &entry);
	if (err == LEDGER_ENOTFOUND) {
		snapshot_absent(out);
	} else {
		if (!err)
			err = ledger_value_get(c->ledger, &entry.oid, &value);
		if (!err)
			n = ledger_value_pread(value, c->buf, sizeof c->buf, 0);
		ledger_value_unref(value);
		if (err || n < 0) {
			finish(c, err ? err : (int)n);
			return false;
		}
		good = snapshot_from(out, c->buf, (size_t)n);
	}
	racelog_end(&c->log, good ? "ok" : "torn");
	if (good)
		racelog_arg(&c->log, "seen", out->state);
	racelog_send(&c->log);
	return good;
}

/* Fills `e` with what was read of the key, or with the namespace that it was read of; adds it to the log's line. */
static void guard(struct client *c, struct ledger_expect *e, const char *path, const struct ledger_tip *tip,
		  const struct snapshot *s)
{
	char text[64];

	e->path = path;
	switch (roll_dice(&c->dice, 6)) {
	case 0:
		e->what = LEDGER_EXPECT_TREE;
		e->oid = tip->tree;
		racelog_arg(&c->log, "tree", ledger_oid_fmt(text, &e->oid));
		break;
	case 1:
		e->what = LEDGER_EXPECT_COMMIT;
		e->oid = tip->commit;
		racelog_arg(&c->log, "commit", ledger_oid_fmt(text, &e->oid));
		break;
	case 2:
		e->what = LEDGER_EXPECT_VERSION;
		e->version = tip->version;
		snprintf(text, sizeof text, "%llu", (unsigned long long)tip->version);
		racelog_arg(&c->log, "version", text);
		break;
	default:
		e->what = strcmp(s->state, "-") ? LEDGER_EXPECT_BLOB : LEDGER_EXPECT_ABSENT;
		if (e->what == LEDGER_EXPECT_BLOB)
			ledger_oid_parse(&e->oid, s->oid, OIDHEX - 1);
	}
	racelog_arg(&c->log, e->what == LEDGER_EXPECT_BLOB || e->what == LEDGER_EXPECT_ABSENT ? "expect" : "old", s->state);
}

static int commit(struct client *c, struct ledger_edit *edit, const struct ledger_expect *e, bool guarded, size_t len)
{
	struct ledger_change change = {.ns = NS, .edits = edit, .nedits = 1, .expects = e, .nexpects = guarded};
	int err = 0;

	change.actor = (struct ledger_actor){.comm = c->name, .pid = (pid_t)syscall(SYS_gettid)};
	if (len)
		err = ledger_value_new(c->ledger, c->buf, len, &edit->value);
	if (!err)
		err = ledger_commit(c->ledger, &change, NULL);
	ledger_value_unref(edit->value);
	return err;
}

static void do_change(struct client *c, unsigned key)
{
	static const char *const names[] = {"set", "set", "append", "delete", "rename"};
	static const enum ledger_op ops[] = {LEDGER_SET, LEDGER_SET, LEDGER_APPEND, LEDGER_DELETE, LEDGER_RENAME};
	unsigned what = (unsigned)roll_dice(&c->dice, key % 8 == 0 && (key ^ 8u) < c->keys ? 5 : 4);
	struct ledger_edit edit = {.op = ops[what], .kind = LEDGER_FILE};
	bool guarded = roll_dice(&c->dice, 2) == 0;
	struct ledger_expect expect = {0};
	struct snapshot seen = {0};
	struct ledger_tip tip;
	char path[32], to[32], id[64];
	size_t len = 0;

	key_name(path, key);
	key_name(to, key ^ 8u);
	edit.path = path;
	edit.to = ops[what] == LEDGER_RENAME ? to : NULL;
	if (guarded && !do_read(c, path, &tip, &seen)) {
		snapshot_clear(&seen);
		return;
	}
	snprintf(id, sizeof id, "%s.%lu", c->name, c->log.seq + 1);
	racelog_begin(&c->log, names[what], path);
	if (what <= 2)
		len = piece_make(c->buf, sizeof c->buf, id, (unsigned)roll_dice(&c->dice, 300));
	if (edit.to)
		racelog_arg(&c->log, "to", to);
	if (guarded)
		guard(c, &expect, path, &tip, &seen);
	racelog_send(&c->log);
	finish(c, commit(c, &edit, &expect, guarded, len));
	snapshot_clear(&seen);
}

static void do_tip(struct client *c)
{
	char text[OIDHEX];
	struct ledger_tip tip;
	int err;

	racelog_begin(&c->log, "tip", "-");
	racelog_send(&c->log);
	err = ledger_tip(c->ledger, NS, &tip);
	if (err) {
		finish(c, err);
		return;
	}
	racelog_end(&c->log, "ok");
	racelog_arg(&c->log, "commit", ledger_oid_fmt(text, &tip.commit));
	racelog_send(&c->log);
}

static void *client_run(void *arg)
{
	struct client *c = arg;
	struct snapshot seen = {0};
	struct ledger_tip tip;
	char path[32];

	racelog_open(&c->log, c->log_path, c->name, (pid_t)syscall(SYS_gettid), "ledger");
	while (c->log.seq < c->ops && now_ns() < c->deadline) {
		unsigned key =
			(unsigned)(roll_dice(&c->dice, 2) ? roll_dice(&c->dice, c->keys / 8) : roll_dice(&c->dice, c->keys));
		uint64_t what = roll_dice(&c->dice, 20);

		key_name(path, key);
		if (what < 6)
			do_read(c, path, &tip, &seen);
		else if (what < 7)
			do_tip(c);
		else
			do_change(c, key);
	}
	snapshot_clear(&seen);
	racelog_close(&c->log);
	return NULL;
}

/* libracer REPO LOGDIR NAME TURN THREADS SEED OPS SECONDS KEYS: the i-th thread's client is NAMEi_TURN. */
int main(int argc, char **argv)
{
	pthread_t threads[THREADS_MAX];
	struct ledger *ledger;
	unsigned count;

	if (argc != 10 || (count = (unsigned)atoi(argv[5])) > THREADS_MAX || atoi(argv[9]) < 8) {
		fputs("usage: libracer REPO LOGDIR NAME TURN THREADS SEED OPS SECONDS KEYS\n", stderr);
		return 2;
	}
	if (ledger_open(&ledger, argv[1], NULL)) {
		fprintf(stderr, "libracer: %s\n", ledger_errmsg());
		return 2;
	}
	for (unsigned i = 0; i < count; i++) {
		struct client *c = calloc(1, sizeof *c);

		if (!c)
			die("calloc", argv[3]);
		c->ledger = ledger;
		snprintf(c->name, sizeof c->name, "%s%u_%s", argv[3], i, argv[4]);
		snprintf(c->log_path, sizeof c->log_path, "%s/%s", argv[2], c->name);
		c->dice = strtoul(argv[6], NULL, 10) + i;
		c->ops = strtoul(argv[7], NULL, 10);
		c->deadline = now_ns() + strtol(argv[8], NULL, 10) * 1000000000;
		c->keys = (unsigned)atoi(argv[9]);
		if (pthread_create(&threads[i], NULL, client_run, c))
			die("pthread_create", c->name);
	}
	for (unsigned i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	ledger_free(ledger);
	return 0;
}
