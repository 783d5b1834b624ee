/* SPDX-License-Identifier: MIT */
/*
 * history: the commits of a namespace, or those that changed a key.
 *
 * `git log` does the work, with its own commit graph and path filters, and is read as it comes: `git kv history | head`
 * costs no more than `git log | head`.
 */
#include "opt.h"
#include "run.h"

#include <stdlib.h>
#include <string.h>

static const char history_usage[] = "usage: git kv history [<options>] [KEY]";

/* Fields of a commit, one a line (none can hold a newline), behind a byte that no raw entry begins with. */
#define FORMAT "--format=%x01%H%n%T%n%ct%n%(trailers:key=KV-Version,valueonly,separator=%x2C)%n%an%n%ae%n%s"
enum { F_COMMIT, F_TREE, F_TIME, F_VERSION, F_NAME, F_EMAIL, F_SUBJECT, F_COUNT };

struct history {
	struct kv *kv;
	const char *key; /* NULL: the whole namespace */
	uint64_t n;
	char *commit; /* the record that is being read: its token, cut at the newlines ... */
	char *field[F_COUNT];
	json_t *changes; /* ... and what it changed */
};

static void put_commit(struct history *h)
{
	char *const *f = h->field;
	json_t *o;

	if (!h->commit)
		return;
	h->n++;
	if (h->kv->json) {
		uint64_t version;

		o = json_object();
		json_object_set_new(o, "commit", json_string(f[F_COMMIT]));
		json_object_set_new(o, "tree", json_string(f[F_TREE]));
		json_object_set_new(o, "version",
				    parse_count(f[F_VERSION], &version) ? json_integer((json_int_t)version) : json_null());
		json_object_set_new(o, "time", json_integer((json_int_t)strtoll(f[F_TIME], NULL, 10)));
		json_put_bytes(o, "author", f[F_NAME], strlen(f[F_NAME]));
		json_put_bytes(o, "email", f[F_EMAIL], strlen(f[F_EMAIL]));
		json_put_bytes(o, "subject", f[F_SUBJECT], strlen(f[F_SUBJECT]));
		if (h->key)
			json_object_set(o, "changes", h->changes);
		json_print(o);
	} else if (h->kv->tty && !h->kv->nul) {
		printf("%8s  ", *f[F_VERSION] ? f[F_VERSION] : "-");
		put_time(stdout, (time_t)strtoll(f[F_TIME], NULL, 10));
		printf("  %.10s  %-16s  %s\n", f[F_COMMIT], f[F_NAME], f[F_SUBJECT]);
	} else {
		printf("%s\t%s\t%s\t%s%c", *f[F_VERSION] ? f[F_VERSION] : "-", f[F_COMMIT], f[F_TIME], f[F_SUBJECT],
		       h->kv->nul ? '\0' : '\n');
	}
	free(h->commit);
	h->commit = NULL;
	json_array_clear(h->changes);
}

static bool begin_commit(struct history *h, const char *token)
{
	char *p;

	h->commit = p = xstrdup(token + 1);
	for (int i = 0; i < F_COUNT; i++) {
		char *nl = strchr(p, '\n');

		h->field[i] = p;
		if (i == F_SUBJECT) {
			if (nl)
				*nl = '\0';
			return true;
		}
		if (!nl)
			return false;
		*nl = '\0';
		p = nl + 1;
	}
	return false;
}

/* A raw entry: "\n?:MODE MODE OLD NEW STATUS", its path follows as the next token, two for a rename. */
static bool take_change(struct history *h, const char *entry, FILE *f, char **token, size_t *cap)
{
	char blob[LEDGER_OID_HEXSIZE + 1], letter;
	json_t *o;

	if (sscanf(entry, ":%*o %*o %*40[0-9a-f] %40[0-9a-f] %c", blob, &letter) != 2 || getdelim(token, cap, '\0', f) < 0)
		return false;
	o = json_object();
	json_object_set_new(o, "change", json_stringn(&letter, 1));
	if (letter == 'R' || letter == 'C') {
		json_put_bytes(o, "from", *token, strlen(*token));
		if (getdelim(token, cap, '\0', f) < 0) {
			json_decref(o);
			return false;
		}
	}
	json_put_bytes(o, "key", *token, strlen(*token));
	json_object_set_new(o, "blob", letter == 'D' ? json_null() : json_string(blob));
	json_array_append_new(h->changes, o);
	return true;
}

static int read_log(struct history *h, FILE *f)
{
	char *token = NULL;
	size_t cap = 0;
	bool ok = true;

	while (ok && getdelim(&token, &cap, '\0', f) > 0) {
		const char *entry = token + (*token == '\n');

		if (*token == 1) {
			put_commit(h);
			ok = begin_commit(h, token);
		} else if (*entry == ':') {
			char *copy = xstrdup(entry);

			ok = h->commit && take_change(h, copy, f, &token, &cap);
			free(copy);
		} else {
			ok = !*entry;
		}
	}
	if (ok)
		put_commit(h);
	else
		say_error("cannot understand what `git log` prints");
	free(h->commit);
	free(token);
	return ok ? 0 : KV_IO;
}

static int run_log(struct history *h, uint64_t max, bool follow)
{
	struct args a = {0};
	int status, ended;
	pid_t pid;
	FILE *f;

	args_add(&a, "--literal-pathspecs");
	args_add(&a, "-c");
	args_add(&a, "log.follow=false");
	args_add(&a, "log");
	args_add(&a, "-z");
	args_add(&a, "--no-color");
	args_add(&a, "--no-show-signature");
	args_add(&a, "--first-parent");
	args_add(&a, "--no-notes");
	if (max)
		args_addf(&a, "--max-count=%llu", (unsigned long long)max);
	if (h->key) {
		args_add(&a, "--raw");
		args_add(&a, "--no-abbrev");
		args_add(&a, follow ? "--follow" : "--no-renames");
	}
	args_add(&a, FORMAT);
	args_addf(&a, KV_REFS "%s", h->kv->ns);
	args_add(&a, "--");
	if (h->key)
		args_add(&a, h->key);
	f = run_stream(h->kv->gitdir, &pid, a.v);
	args_release(&a);
	if (!f)
		return KV_IO;
	status = read_log(h, f);
	ended = run_close(f, pid);
	return status ? status : ended ? KV_IO : 0;
}

int cmd_history(struct kv *kv, int argc, char **argv)
{
	struct history h = {.kv = kv};
	bool follow = false;
	uint64_t max = 0;
	const struct opt opts[] = {
		{'n', "max-count", OPT_COUNT, &max, "N", "the newest N commits only"},
		{0, "follow", OPT_FLAG, &follow, NULL, "follow the key across renames"},
		{0},
	};
	int n = opt_parse(kv, argc, argv, history_usage, opts, false), status = KV_USAGE;
	struct ledger_tip tip;
	char *q;

	if (n < 0)
		return KV_USAGE;
	if (n > 1 || (follow && !n)) {
		say_error(n > 1 ? "history: one key at a time" : "history: --follow needs a key");
		return KV_USAGE;
	}
	status = check_ns_say(kv->ns);
	if (!status && n)
		status = check_key_say(argv[1]);
	if (!status)
		status = kv_open(kv, true);
	if (!status)
		status = kv_tip(kv, &tip);
	if (status)
		return status;
	h.key = n ? argv[1] : NULL;
	h.changes = json_array();
	status = run_log(&h, max, follow);
	json_decref(h.changes);
	if (!status && h.key && !h.n) {
		q = quoted(h.key);
		say_error("key '%s' has no history in namespace '%s'", q, kv->ns);
		free(q);
		status = KV_FALSE;
	}
	return status;
}
