/* SPDX-License-Identifier: MIT */
/*
 * What the files of `git kv` share.  Only cli/ includes it; the ledger is reached through include/ledger/ alone, and
 * transport is stock git run as a program (run.h).
 *
 * One process, one command, one thread: nothing here is made for more.
 */
#ifndef KV_H
#define KV_H

#include <jansson.h>
#include <ledger/change.h>
#include <stdarg.h>
#include <stdio.h>

/* Exit statuses (docs/SPEC.md, 8.2).  Those of the ledger's errors come from ledger_exit_status(). */
enum kv_status {
	KV_OK = 0,
	KV_FALSE = 1,
	KV_CONFLICT = 2,
	KV_POLICY = 3,
	KV_BADKEY = 4,
	KV_IO = 5,
	KV_FATAL = 128,
	KV_USAGE = 129,
};

#define KV_REFS "refs/kv/"
#define KV_ARCHIVE "refs/kv-archive/"
#define KV_TRACK "refs/kv-remote/" /* refs/kv-remote/<remote>/<ns>: what a remote had when last asked */

/* The command's surroundings: global options and what was opened. */
struct kv {
	const char *repo;      /* --repo; NULL: git's own discovery */
	const char *ns;        /* --ns */
	const char *remote;    /* --remote; NULL: as kv.remote says */
	bool json, nul, local; /* --json, -z, --local */
	bool tty;              /* stdout is a terminal */
	char *gitdir;          /* owned; set by kv_open() and kv_discover() */
	struct ledger *ledger; /* owned */
};

/* --- util.c: allocation that ends the program with one line when there is no memory ------------------------------- */

void *xcalloc(size_t n, size_t size);
void *xreallocarray(void *p, size_t n, size_t size);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
FILE *xmemstream(char **buf, size_t *len);
/* Makes room for one more in an array of `n` with capacity `*cap`. */
#define XGROW(p, n, cap)                                               \
	do {                                                           \
		if ((n) == (cap)) {                                    \
			(cap) = (cap) ? 2 * (cap) : 16;                \
			(p) = xreallocarray((p), (cap), sizeof(*(p))); \
		}                                                      \
	} while (0)
bool starts_with(const char *s, const char *prefix);
/* Waits `base_ms` doubled `round` times, at most `max_ms`, by a random share of half to all of it. */
void backoff(unsigned round, unsigned base_ms, unsigned max_ms);

/* --- say.c: words for people, on stderr --------------------------------------------------------------------------- */

void say_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void say_warning(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void say_hint(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
int say_fatal(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* returns KV_FATAL */
int say_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* returns KV_USAGE */
/* "error: <fmt>: <what the ledger said>"; returns the exit status of `code`.  Call it right after the failed call. */
int say_ledger(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A conflict: what was expected and what is there (SPEC 8.2); with --json also an object on stdout.  Returns KV_CONFLICT. */
int say_conflict(const struct kv *kv, const struct ledger_change *c, const struct ledger_result *res);
/* A progress meter on stderr, when that is a terminal, from the first second on. */
void progress(const char *what, uint64_t n);
void progress_text(const char *text, size_t len); /* the same with another's words */
void progress_done(void);

/* --- text.c: keys and times as text ------------------------------------------------------------------------------- */

/* As git quotes paths: bare, or in double quotes with C's escapes when a byte asks for it. */
void put_quoted(FILE *f, const char *s);
char *quoted(const char *s); /* malloc'ed */
/* Undoes put_quoted(): malloc'ed bytes, NULL when malformed or when a NUL is in it. */
char *unquoted(const char *s);
/* One record of a listing: the key, bare with NUL under -z, else quoted with newline. */
void put_key_line(const struct kv *kv, const char *key);
void put_time(FILE *f, time_t t); /* local, to the second, with zone */
bool is_utf8(const char *s, size_t len);
/* obj[name] = s, or obj[name_b64] where the bytes are not UTF-8. */
void json_put_bytes(json_t *obj, const char *name, const char *s, size_t len);
void json_put_oid(json_t *obj, const char *name, const struct ledger_oid *oid); /* zero: null */
void json_put_tip(json_t *obj, const struct ledger_tip *tip);
void json_print(json_t *obj); /* one line on stdout; takes `obj` over */
char *base64_encode(const void *data, size_t len);
/* malloc'ed; NULL when malformed: RFC 4648, padded, nothing else in it. */
void *base64_decode(const char *s, size_t len, size_t *outlen);

/* --- check.c: keys and names from outside ------------------------------------------------------------------------- */

/* 0, or KV_BADKEY with the sentence in `*why` (malloc'ed). */
int check_key(const char *key, char **why);
int check_key_say(const char *key); /* the same, said as an error */
int check_ns_say(const char *ns);   /* 0 or KV_BADKEY, said */

/* --- repo.c ------------------------------------------------------------------------------------------------------- */

/* Finds the repository: --repo, else as stock git does (environment, then upwards).  0 or an exit status, said. */
int kv_discover(struct kv *kv);
/* kv_discover(), then the ledger. */
int kv_open(struct kv *kv, bool readonly);
void kv_close(struct kv *kv);
/* A configuration variable's last value, malloc'ed; NULL: not set.  After kv_open(). */
char *kv_config(struct kv *kv, const char *name);
/* The tip of --ns; an absent namespace is said and KV_FALSE. */
int kv_tip(struct kv *kv, struct ledger_tip *out);
struct ledger_actor kv_actor(void);

/* --- commands: argv[0] is the command's name; each returns an exit status ------------------------------------------ */

int cmd_get(struct kv *kv, int argc, char **argv);
int cmd_set(struct kv *kv, int argc, char **argv);
int cmd_del(struct kv *kv, int argc, char **argv);
int cmd_mset(struct kv *kv, int argc, char **argv);
int cmd_list(struct kv *kv, int argc, char **argv);
int cmd_history(struct kv *kv, int argc, char **argv);
int cmd_status(struct kv *kv, int argc, char **argv);
int cmd_ns(struct kv *kv, int argc, char **argv);
int cmd_recover(struct kv *kv, int argc, char **argv);
int cmd_remote(struct kv *kv, int argc, char **argv);
int cmd_stargate(struct kv *kv, int argc, char **argv);
int cmd_hook(struct kv *kv, int argc, char **argv);

#endif
