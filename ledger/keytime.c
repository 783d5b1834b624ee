/* SPDX-License-Identifier: MIT */
/*
 * When a key last changed: the first commit, going back from the tip, whose parent has something else at the path.
 *
 * The index (timekeeper.c) knows.  What follows is for the time until it is made, and for states that it has left behind:
 * a walk.  What was once found out for a tip is kept, so that a later question only walks the commits in between; keys that
 * this ledger changed are known without a walk.  The first question about a key answers for its whole directory.
 */
#include "keytime.h"
#include "hash.h"
#include "timekeeper.h"

#include <stdlib.h>

void keytime_note(struct ledger *l, const char *ns, const char *path, const struct key_time *t)
{
	struct ledger_oid key;

	if (!hash_key(ns, path, &key))
		oidcache_put(l->times, &key, t);
}

/* Has the commit's parent something else at the path?  1, 0 or a negative error. */
static int changed_by(struct ledger *l, const struct tip_info *c, const struct tip_info *parent, const char *path,
		      const struct ledger_entry *e)
{
	struct ledger_entry before;
	int rc;

	if (ledger_oid_eq(&c->tip.tree, &parent->tip.tree))
		return 0;
	rc = tree_walk(l, &parent->tip.tree, path, &before);
	if (rc == LEDGER_ENOTFOUND || rc == LEDGER_ENOTDIR)
		return 1;
	return rc ? rc : before.kind != e->kind || !ledger_oid_eq(&before.oid, &e->oid);
}

/*
 * From the tip back to the commit for which `known` was found out, which becomes what is found out now.  Beyond the bound
 * what was known stands as long as the entry is the same; else the tip's time is a guess.
 */
static int walk(struct ledger *l, const struct ledger_tip *tip, const char *path, const struct ledger_entry *e,
		struct key_time *known)
{
	bool same = ledger_oid_eq(&known->entry, &e->oid);
	struct timespec before = same ? known->time : tip->time;
	bool guess = !same || known->guess;
	struct tip_info at, parent;
	int rc = tip_peek(l, &tip->commit, &at);

	for (int i = 0; !rc && i < KEYTIME_WALK_MAX; i++) {
		if (same && ledger_oid_eq(&at.tip.commit, &known->commit))
			break;
		known->time = at.tip.time;
		known->guess = false;
		if (ledger_oid_is_zero(&at.parent))
			return 0;
		rc = tip_peek(l, &at.parent, &parent);
		if (rc == LEDGER_ECORRUPT) /* a shallow clone: the history ends here */
			return 0;
		if (!rc)
			rc = changed_by(l, &at, &parent, path, e);
		if (rc)
			return rc < 0 ? rc : 0;
		at = parent;
	}
	known->time = before; /* as it was known, or given up */
	known->guess = guess;
	return rc;
}

/* The times of all entries beside `path`, unless that is too many to keep. */
static int resolve_siblings(struct ledger *l, const char *ns, const struct ledger_tip *tip, const char *path)
{
	const char *slash = strrchr(path, '/');
	char *dir = strndup(path, slash ? (size_t)(slash - path) : 0);
	struct ledger_entry e;
	struct ledger_tree *t;
	size_t n;
	int rc = dir ? tree_walk(l, &tip->tree, dir, &e) : LEDGER_ENOMEM;

	if (!rc)
		rc = tree_load(l, &e.oid, &t);
	if (!rc) {
		n = ledger_tree_count(t);
		ledger_tree_unref(t);
		if (n <= KEYTIME_DIR_MAX)
			rc = keytime_resolve(l, ns, tip, dir);
	}
	free(dir);
	return rc;
}

static int key_time(struct ledger *l, const char *ns, const struct ledger_tip *tip, const char *path, struct timespec *out,
		    bool *guess)
{
	struct key_time known = {.time = tip->time, .guess = *path};
	struct ledger_entry e;
	struct ledger_oid key;
	int rc;

	if (*path && timekeeper_ask(l, ns, tip, path, out)) {
		*guess = false;
		return 0;
	}
	rc = hash_key(ns, path, &key);
	if (!rc)
		rc = tree_walk(l, &tip->tree, path, &e);
	if (!rc && *path && !oidcache_get(l->times, &key, &known)) {
		rc = resolve_siblings(l, ns, tip, path);
		oidcache_get(l->times, &key, &known);
	}
	if (rc)
		return rc;
	if (*path && !ledger_oid_is_zero(&known.commit) && !ledger_oid_eq(&known.commit, &tip->commit)) {
		rc = walk(l, tip, path, &e, &known);
		if (rc)
			return rc;
		known.commit = tip->commit;
		known.entry = e.oid;
		oidcache_put(l->times, &key, &known);
	}
	*out = known.time;
	*guess = known.guess;
	return 0;
}

int ledger_key_time(struct ledger *l, const char *ns, const struct ledger_tip *tip, const char *path, struct timespec *out,
		    bool *guess)
{
	bool is_guess = false;
	int rc;

	ledger_error_clear();
	rc = key_time(l, ns, tip, path, out, &is_guess);
	if (!rc && guess)
		*guess = is_guess;
	LEAVE(rc, "ns=%s %s%s", ns, path, is_guess ? " guess" : "");
	return rc;
}
