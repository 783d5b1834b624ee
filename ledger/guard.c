/* SPDX-License-Identifier: MIT */
/* What a push would bring.  The walk over commits; the trees are guard_tree.c's. */
#include "guard.h"
#include "fail.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const rule_names[] = {"none", "commit", "merge", "force", "version", "name", "tree"};

const char *ledger_rule_name(enum ledger_rule r)
{
	return (size_t)r < sizeof(rule_names) / sizeof(*rule_names) ? rule_names[r] : "?";
}

int guard_find(struct ledger_guard *g, enum ledger_rule rule, const char *fmt, ...)
{
	struct ledger_finding *f = g->finding;
	va_list ap;

	f->rule = rule;
	f->commit = g->commit;
	va_start(ap, fmt);
	vsnprintf(f->text, sizeof(f->text), fmt, ap);
	va_end(ap);
	/* Names come from whoever pushed: no control byte of theirs reaches a terminal. */
	for (char *p = f->text; *p; p++)
		if ((unsigned char)*p < 32 || *p == 127)
			*p = '?';
	return ledger_fail(LEDGER_EFORBIDDEN, "%s", f->text);
}

int guard_error(const char *what)
{
	const git_error *e = git_error_last();

	return ledger_fail(LEDGER_EIO, "%s: %s", what, e && e->message ? e->message : "unknown error");
}

/*
 * Whose repository it is was git's question, before it called the hook: it may well belong to another user.  libgit2 asks
 * it once more, by rules of its own, unless told not to; the setting is the whole process's, so it is put back.
 */
static int open_from_environment(git_repository **repo)
{
	int was = 1, rc;

	git_libgit2_opts(GIT_OPT_GET_OWNER_VALIDATION, &was);
	git_libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, 0);
	rc = git_repository_open_ext(repo, NULL, GIT_REPOSITORY_OPEN_FROM_ENV, NULL);
	git_libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, was);
	return rc;
}

int ledger_guard_open(struct ledger_guard **out)
{
	struct ledger_guard *g = calloc(1, sizeof(*g));
	int rc;

	if (!g)
		return ledger_fail(LEDGER_ENOMEM, "out of memory");
	git_libgit2_init();
	rc = open_from_environment(&g->repo);
	if (!rc)
		rc = git_repository_odb(&g->odb, g->repo);
	if (!rc)
		rc = git_oid_fromstr(&g->empty_tree, "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
	if (rc) {
		const git_error *e = git_error_last();

		rc = ledger_fail(LEDGER_EREPO, "%s", e && e->message ? e->message : "not a git repository");
		ledger_guard_free(g);
		return rc;
	}
	*out = g;
	return 0;
}

void ledger_guard_free(struct ledger_guard *g)
{
	if (!g)
		return;
	guard_seen_release(&g->seen);
	git_odb_free(g->odb);
	git_repository_free(g->repo);
	git_libgit2_shutdown();
	free(g);
}

int ledger_guard_ref(struct ledger_guard *g, const char *ref, struct ledger_oid *out)
{
	git_oid id;
	int rc = git_reference_name_to_id(&id, g->repo, ref);

	if (rc && rc != GIT_ENOTFOUND)
		return guard_error("cannot read a ref");
	memset(out, 0, sizeof(*out));
	if (!rc)
		memcpy(out->id, id.id, sizeof(out->id));
	return 0;
}

int ledger_guard_config(struct ledger_guard *g, const char *name, char **out)
{
	git_config *config = NULL;
	git_buf buf = {0};
	char *value = NULL;
	int rc;

	rc = git_repository_config(&config, g->repo);
	if (!rc)
		rc = git_config_get_string_buf(&buf, config, name);
	git_config_free(config);
	if (rc && rc != GIT_ENOTFOUND)
		return guard_error("cannot read the configuration");
	if (!rc && !(value = strdup(buf.ptr)))
		rc = ledger_fail(LEDGER_ENOMEM, "out of memory");
	git_buf_dispose(&buf);
	if (rc == LEDGER_ENOMEM)
		return rc;
	*out = value;
	return 0;
}

/* --- versions --------------------------------------------------------------------------------------------------------- */

/* The digits of a trailer's line, exactly as the ledger writes it (message.c) and reads it (tip.c). */
static bool trailer_value(const char *p, const char *end, uint64_t *out)
{
	static const char name[] = "KV-Version: ";
	uint64_t v = 0;

	if ((size_t)(end - p) < sizeof(name) || memcmp(p, name, sizeof(name) - 1) != 0)
		return false;
	p += sizeof(name) - 1;
	if (*p < '1' || *p > '9')
		return false;
	for (; p < end && *p >= '0' && *p <= '9'; p++) {
		v = v * 10 + (uint64_t)(*p - '0');
		if (v > INT64_MAX / 16)
			return false;
	}
	*out = v;
	return p == end || *p == '\n';
}

/*
 * The KV-Version trailer of a message's last paragraph: 1 found, 0 none, -1 malformed or more than one.  Lines of the
 * last paragraph alone count, as for git-interpret-trailers(1): a value pasted into the body is no trailer.
 */
static int trailer(const char *message, uint64_t *out)
{
	static const char name[] = "kv-version";
	const char *end = message + strlen(message), *last = message, *next;
	int found = 0;

	while (end > message && (end[-1] == '\n' || end[-1] == ' '))
		end--;
	for (const char *p = message; p < end; p = next) {
		next = memchr(p, '\n', (size_t)(end - p));
		next = next ? next + 1 : end;
		if (*p == '\n')
			last = next;
	}
	for (const char *p = last; p < end; p = next) {
		next = memchr(p, '\n', (size_t)(end - p));
		next = next ? next + 1 : end;
		/* Whatever git would take for this trailer must be the one and right. */
		if ((size_t)(end - p) < sizeof(name) - 1 || strncasecmp(p, name, sizeof(name) - 1) != 0)
			continue;
		if (found || !trailer_value(p, end, out))
			return -1;
		found = 1;
	}
	return found;
}

/* A commit's version: its trailer's, else (somebody else's commit) its generation along first parents. */
static int version_of(struct ledger_guard *g, git_commit *c, uint64_t *out)
{
	git_commit *at = NULL, *up;
	uint64_t n = 0, v;
	int rc;

	for (;; n++) {
		git_commit *here = at ? at : c;

		if (trailer(git_commit_message(here), &v) == 1) {
			*out = v + n;
			break;
		}
		if (git_commit_parentcount(here) == 0) {
			*out = n + 1;
			break;
		}
		rc = git_commit_parent(&up, here, 0);
		git_commit_free(at);
		at = up;
		if (rc)
			return guard_error("cannot read a parent");
	}
	git_commit_free(at);
	return 0;
}

int ledger_guard_tip(struct ledger_guard *g, const struct ledger_oid *commit, struct ledger_tip *out)
{
	struct ledger_tip tip = {.commit = *commit};
	git_commit *c;
	git_oid id;
	int rc;

	memcpy(id.id, commit->id, sizeof(id.id));
	rc = git_commit_lookup(&c, g->repo, &id);
	if (rc)
		/* Another kind of object is "not found" for libgit2, too. */
		return git_odb_exists(g->odb, &id) ? ledger_fail(LEDGER_ECORRUPT, "it is not a commit that can be read")
						   : ledger_fail(LEDGER_ENOTFOUND, "there is no such commit");
	memcpy(tip.tree.id, git_commit_tree_id(c)->id, sizeof(tip.tree.id));
	tip.time.tv_sec = git_commit_time(c);
	rc = version_of(g, c, &tip.version);
	git_commit_free(c);
	if (!rc)
		*out = tip;
	return rc;
}

int ledger_guard_blob(struct ledger_guard *g, const struct ledger_oid *tree, const char *path, struct ledger_oid *out)
{
	git_tree_entry *e = NULL;
	git_tree *t;
	git_oid id;
	int rc;

	memcpy(id.id, tree->id, sizeof(id.id));
	rc = git_tree_lookup(&t, g->repo, &id);
	if (rc)
		return guard_error("cannot read a tree");
	rc = git_tree_entry_bypath(&e, t, path);
	git_tree_free(t);
	if (rc && rc != GIT_ENOTFOUND)
		return guard_error("cannot look up a key");
	memset(out, 0, sizeof(*out));
	if (!rc)
		memcpy(out->id, git_tree_entry_id(e)->id, sizeof(out->id));
	git_tree_entry_free(e);
	return 0;
}

/* --- the chain -------------------------------------------------------------------------------------------------------- */

/* Where a walk goes down to: the old tip, or nothing when the ref is new. */
struct floor {
	git_oid id;
	bool none;
	uint64_t version;
};

/* The commit `c` alone: one parent (or none, where that may be), its version's trailer. */
static int check_commit(struct ledger_guard *g, git_commit *c, const struct floor *floor, uint64_t *version)
{
	unsigned parents = git_commit_parentcount(c);
	int has = trailer(git_commit_message(c), version);

	if (parents > 1)
		return guard_find(g, LEDGER_RULE_MERGE, "commit %.10s has %u parents: a ledger is linear",
				  git_oid_tostr_s(git_commit_id(c)), parents);
	if (has != 1)
		return guard_find(g, LEDGER_RULE_VERSION, "commit %.10s has %s", git_oid_tostr_s(git_commit_id(c)),
				  has ? "a malformed KV-Version trailer, or two" : "no KV-Version trailer");
	/*
	 * Versions follow each other, so a commit whose version is not above the old tip's cannot stand above it: that
	 * ends the walk of a forced push early instead of at the beginning of history.
	 */
	if (!floor->none && (parents == 0 || *version <= floor->version))
		return guard_find(g, LEDGER_RULE_FORCE,
				  "the push does not build on the present tip (commit %.10s, version %llu)",
				  git_oid_tostr_s(&floor->id), (unsigned long long)floor->version);
	return 0;
}

/* `child` stands on `parent` (NULL: on nothing) whose version is `below`. */
static int check_step(struct ledger_guard *g, git_commit *child, uint64_t version, git_commit *parent, uint64_t below)
{
	if (version != below + 1)
		return guard_find(g, LEDGER_RULE_VERSION,
				  "commit %.10s says KV-Version %llu; behind version %llu comes %llu",
				  git_oid_tostr_s(git_commit_id(child)), (unsigned long long)version,
				  (unsigned long long)below, (unsigned long long)below + 1);
	return guard_trees(g, git_commit_tree_id(child), parent ? git_commit_tree_id(parent) : NULL);
}

static int walk(struct ledger_guard *g, git_commit *c, const struct floor *floor)
{
	git_commit *parent = NULL;
	uint64_t version, below;
	int rc = 0;

	/* `c` is owned from here on; each turn checks one commit and goes to its parent. */
	memcpy(g->commit.id, git_commit_id(c)->id, sizeof(g->commit.id));
	rc = check_commit(g, c, floor, &version);
	while (!rc) {
		memcpy(g->commit.id, git_commit_id(c)->id, sizeof(g->commit.id));
		if (git_commit_parentcount(c) == 0) {
			rc = check_step(g, c, version, NULL, 0);
			break;
		}
		if (git_commit_parent(&parent, c, 0)) {
			rc = guard_find(g, LEDGER_RULE_COMMIT, "the parent of commit %.10s cannot be read",
					git_oid_tostr_s(git_commit_id(c)));
			break;
		}
		if (!floor->none && git_oid_equal(git_commit_id(parent), &floor->id)) {
			rc = check_step(g, c, version, parent, floor->version);
			break;
		}
		memcpy(g->commit.id, git_commit_id(parent)->id, sizeof(g->commit.id));
		rc = check_commit(g, parent, floor, &below);
		memcpy(g->commit.id, git_commit_id(c)->id, sizeof(g->commit.id));
		if (!rc)
			rc = check_step(g, c, version, parent, below);
		git_commit_free(c);
		c = parent;
		parent = NULL;
		version = below;
	}
	git_commit_free(parent);
	git_commit_free(c);
	return rc;
}

int ledger_guard_chain(struct ledger_guard *g, const struct ledger_oid *old, const struct ledger_oid *new,
		       struct ledger_finding *out)
{
	struct floor floor = {.none = ledger_oid_is_zero(old)};
	struct ledger_tip tip;
	git_commit *c;
	git_oid id;
	int rc;

	g->finding = out;
	g->commit = *new;
	if (!floor.none) {
		rc = ledger_guard_tip(g, old, &tip);
		if (rc)
			return rc;
		memcpy(floor.id.id, old->id, sizeof(floor.id.id));
		floor.version = tip.version;
	}
	memcpy(id.id, new->id, sizeof(id.id));
	if (git_commit_lookup(&c, g->repo, &id))
		return guard_find(g, LEDGER_RULE_COMMIT, "%.10s is not a commit", git_oid_tostr_s(&id));
	rc = walk(g, c, &floor);
	if (rc)
		guard_seen_release(&g->seen); /* not all that was seen was found good */
	return rc;
}
