/* SPDX-License-Identifier: MIT */
/*
 * One ref over git's own push, and what came of it.
 *
 * Exit codes of hooks never reach the client of a push: what git prints is all there is.  Its status line for the ref
 * (--porcelain) tells accepted from refused; the hook's machine line tells a conflict from another refusal, and confirms
 * that expectations were checked.  Without either nothing is taken for granted.
 */
#include "remote.h"
#include "run.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- the request ----------------------------------------------------------------------------------------------------------
 */

static void add_expect(struct args *a, const struct ledger_expect *e)
{
	char hex[LEDGER_OID_HEXSIZE + 1], *key;

	args_add(a, "-o");
	switch (e->what) {
	case LEDGER_EXPECT_TREE:
		args_addf(a, "kv.expect-tree=%s", ledger_oid_fmt(hex, &e->oid));
		break;
	case LEDGER_EXPECT_COMMIT:
		args_addf(a, "kv.expect-commit=%s", ledger_oid_fmt(hex, &e->oid));
		break;
	case LEDGER_EXPECT_VERSION:
		args_addf(a, "kv.expect-version=%" PRIu64, e->version);
		break;
	case LEDGER_EXPECT_BLOB:
	case LEDGER_EXPECT_ABSENT:
		key = quoted(e->path);
		args_addf(a, "kv.expect-blob=%s=%s", key,
			  e->what == LEDGER_EXPECT_ABSENT ? "absent" : ledger_oid_fmt(hex, &e->oid));
		free(key);
		break;
	}
}

static void request(struct args *a, const struct push *p)
{
	char new[LEDGER_OID_HEXSIZE + 1], old[LEDGER_OID_HEXSIZE + 1];

	/* The remote's words are parsed: no colours in them.  Tags of the user's configuration have no business here. */
	args_add(a, "-c");
	args_add(a, "color.remote=never");
	args_add(a, "-c");
	args_add(a, "push.followTags=false");
	args_add(a, "push");
	args_add(a, "--porcelain");
	args_add(a, isatty(2) ? "--progress" : "--no-progress");
	args_add(a, "--recurse-submodules=no");
	/* An empty value: the ref must not be there yet. */
	args_addf(a, "--force-with-lease=%s:%s", p->ref, ledger_oid_is_zero(&p->old) ? "" : ledger_oid_fmt(old, &p->old));
	if (p->probe) {
		args_add(a, "-o");
		args_add(a, "kv.probe");
	}
	for (size_t i = 0; i < p->nexpects; i++)
		add_expect(a, &p->expects[i]);
	args_add(a, "--end-of-options");
	args_add(a, p->remote);
	args_addf(a, "%s:%s", ledger_oid_is_zero(&p->new) ? "" : ledger_oid_fmt(new, &p->new), p->ref);
}

/* --- the answer -----------------------------------------------------------------------------------------------------------
 */

struct answer {
	char flag;     /* of the ref's status line; 0: there was none */
	char *summary; /* behind it: "[rejected] (stale info)" */
	bool acked;    /* "ok" for our ref, commit and number of expectations */
	bool conflict, refused;
	bool no_options; /* the remote takes no push options */
	bool cut;        /* the connection ended before its time */
};

/* " name=VALUE" in a machine line; VALUE ends at a space. */
static bool field_is(const char *line, const char *name, const char *want)
{
	size_t n = strlen(name), w = strlen(want);

	for (const char *p = strchr(line, ' '); p; p = strchr(p + 1, ' '))
		if (strncmp(p + 1, name, n) == 0 && p[1 + n] == '=' && strncmp(p + 2 + n, want, w) == 0 &&
		    (p[2 + n + w] == ' ' || !p[2 + n + w]))
			return true;
	return false;
}

static void machine_line(struct answer *ans, struct push *p, const char *line)
{
	char hex[LEDGER_OID_HEXSIZE + 1], count[24];

	if (starts_with(line, "probe"))
		p->greeted = true;
	if (!field_is(line, "ref", p->ref))
		return;
	snprintf(count, sizeof(count), "%zu", p->nexpects);
	if (starts_with(line, "ok "))
		ans->acked = field_is(line, "commit", ledger_oid_fmt(hex, &p->new)) && field_is(line, "expects", count);
	else if (starts_with(line, "conflict "))
		ans->conflict = true;
	else if (starts_with(line, "refused "))
		ans->refused = true;
}

/* Divides stderr into machine lines and what the remote says to people. */
static void read_stderr(struct answer *ans, struct push *p, char *err)
{
	size_t len;
	FILE *f = xmemstream(&p->remarks, &len);
	char *save = NULL;

	for (char *line = strtok_r(err, "\r\n", &save); line; line = strtok_r(NULL, "\r\n", &save)) {
		size_t n = strlen(line);
		const char *text;

		if (!starts_with(line, "remote: "))
			continue;
		while (n && (line[n - 1] == ' ' || line[n - 1] == '\r')) /* git pads over what may have stood there */
			line[--n] = '\0';
		text = n > 8 ? line + 8 : "";
		if (starts_with(text, STARGATE_LINE))
			machine_line(ans, p, text + strlen(STARGATE_LINE));
		else
			fprintf(f, "%s\n", line);
	}
	fclose(f);
}

/* "F\tFROM:TO\tSUMMARY" */
static void read_stdout(struct answer *ans, const struct push *p, char *out)
{
	char *save = NULL;

	for (char *line = strtok_r(out, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *spec = strchr(line, '\t'), *summary = spec ? strchr(spec + 1, '\t') : NULL, *to;

		if (spec != line + 1 || !summary)
			continue;
		*summary++ = '\0';
		to = strchr(spec + 1, ':');
		if (!to || strcmp(to + 1, p->ref) != 0)
			continue;
		ans->flag = *line;
		free(ans->summary);
		ans->summary = xstrdup(summary);
	}
}

/*
 * What has no status line.  A lease that is stale, together with push options, makes git 2.39 write the options to a
 * receive-pack that has nothing to do and is gone already: it dies of the broken pipe before it can tell.
 */
static void read_failure(struct answer *ans, const struct run *r)
{
	static const char *const cuts[] = {"Broken pipe", "Connection reset", "hung up unexpectedly",
					   "unexpected disconnect", "early EOF"};

	ans->no_options = strstr(r->err, "does not support push options") != NULL;
	ans->cut = r->status == 128 + SIGPIPE;
	for (size_t i = 0; i < sizeof(cuts) / sizeof(*cuts); i++)
		ans->cut |= strstr(r->err, cuts[i]) != NULL;
}

/* Every face of a lost race that git has: the lease, the check before sending, and the server's lock. */
static bool lost_race(const char *summary)
{
	static const char *const faces[] = {
		"stale info",
		"non-fast-forward",
		"fetch first",
		"remote ref updated since checkout",
		"failed to update ref",
		"cannot lock ref",
		"incorrect old value",
		"but expected",
		"reference already exists",
	};

	for (size_t i = 0; i < sizeof(faces) / sizeof(*faces); i++)
		if (strstr(summary, faces[i]))
			return true;
	return false;
}

static enum push_outcome judge(const struct answer *ans, struct push *p, const struct run *r, const char *why)
{
	p->conflict = ans->conflict;
	if (ans->flag == '!') {
		p->reason = xasprintf("%s", ans->summary);
		if (ans->conflict || lost_race(ans->summary))
			return PUSH_LOST;
		return PUSH_REFUSED;
	}
	if (ans->flag && r->status == 0) {
		if (p->nexpects && !ans->acked) {
			p->reason = xstrdup("it accepted the push without a word that the expectations were checked");
			return PUSH_UNVERIFIED;
		}
		return PUSH_LANDED;
	}
	p->reason = xstrdup(why);
	p->cut = ans->cut;
	if (ans->no_options)
		return PUSH_NO_GUARD;
	return PUSH_UNKNOWN;
}

enum push_outcome push_run(struct kv *kv, struct push *p)
{
	struct answer ans = {0};
	struct args a = {0};
	enum push_outcome o;
	struct run r;
	char *why;

	request(&a, p);
	run_git(&r, kv->gitdir, isatty(2) ? RUN_METER : 0, 0, a.v);
	progress_done();
	why = run_reason(&r);
	read_failure(&ans, &r);
	read_stderr(&ans, p, r.err);
	read_stdout(&ans, p, r.out);
	o = judge(&ans, p, &r, why);
	free(why);
	free(ans.summary);
	run_release(&r);
	args_release(&a);
	return o;
}

void push_release(struct push *p)
{
	free(p->reason);
	free(p->remarks);
	p->reason = p->remarks = NULL;
}
