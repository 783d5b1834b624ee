/* SPDX-License-Identifier: MIT */
/*
 * The times of a whole directory in one walk: from the tip back along first parents, each entry gets the time of the
 * first commit whose parent has something else under its name.  Both trees are in git's order, so a step is a merge; where
 * the directory's own tree did not change, a step costs nothing.
 */
#include "keytime.h"

#include <stdlib.h>

/* Bytes of trees to read before the search gives up: what a second or two allow. */
#define TREE_BYTES_MAX ((size_t)256 << 20)

struct search {
	struct ledger *l;
	const char *dir;
	struct ledger_tree *t; /* the directory at the tip */
	struct timespec *time; /* for each entry of `t`; tv_nsec -1: not yet known */
	size_t left;
	size_t bytes;
};

static bool open_entry(const struct search *s, size_t i)
{
	return s->time[i].tv_nsec < 0;
}

static void settle(struct search *s, size_t i, const struct timespec *time)
{
	s->time[i] = *time;
	s->left--;
}

static void settle_all(struct search *s, const struct timespec *time)
{
	for (size_t i = 0; i < ledger_tree_count(s->t); i++)
		if (open_entry(s, i))
			settle(s, i, time);
}

/* Entries that `before` does not have, or has otherwise, are of `time`. */
static void compare(struct search *s, const struct ledger_tree *before, const struct timespec *time)
{
	size_t n = ledger_tree_count(s->t), m = ledger_tree_count(before);
	struct ledger_entry e, b = {0};

	for (size_t i = 0, k = 0; i < n; i++) {
		int order = 1;

		ledger_tree_at(s->t, i, &e);
		for (; k < m; k++) {
			ledger_tree_at(before, k, &b);
			order = tree_order(&b, &e);
			if (order >= 0)
				break;
		}
		if (open_entry(s, i) && (k == m || order || b.kind != e.kind || !ledger_oid_eq(&b.oid, &e.oid)))
			settle(s, i, time);
	}
}

/* One step: the commit at `time` came from the state `root`.  *now: the directory's tree, then and after this step. */
static int step(struct search *s, const struct ledger_oid *root, const struct timespec *time, struct ledger_oid *now)
{
	struct ledger_entry e;
	struct ledger_tree *before;
	int rc = tree_walk(s->l, root, s->dir, &e);

	if (rc == LEDGER_ENOTFOUND || rc == LEDGER_ENOTDIR || (!rc && e.kind != LEDGER_DIR)) {
		settle_all(s, time);
		return 0;
	}
	if (rc || ledger_oid_eq(&e.oid, now))
		return rc;
	rc = tree_load(s->l, &e.oid, &before);
	if (rc)
		return rc;
	compare(s, before, time);
	s->bytes += before->rawlen;
	ledger_tree_unref(before);
	*now = e.oid;
	return 0;
}

static int search(struct search *s, const struct ledger_tip *tip)
{
	struct ledger_oid now = s->t->oid;
	struct tip_info at, parent;
	int rc = tip_peek(s->l, &tip->commit, &at);

	for (int i = 0; !rc && s->left && i < KEYTIME_WALK_MAX && s->bytes < TREE_BYTES_MAX; i++) {
		if (ledger_oid_is_zero(&at.parent)) {
			settle_all(s, &at.tip.time);
			break;
		}
		rc = tip_peek(s->l, &at.parent, &parent);
		if (rc == LEDGER_ECORRUPT) { /* a shallow clone: the history ends here */
			settle_all(s, &at.tip.time);
			return 0;
		}
		if (!rc && !ledger_oid_eq(&at.tip.tree, &parent.tip.tree))
			rc = step(s, &parent.tip.tree, &at.tip.time, &now);
		at = parent;
	}
	return rc;
}

static int note_all(struct search *s, const char *ns, const struct ledger_tip *tip)
{
	struct buf path = BUF_INIT;
	struct ledger_entry e;
	bool oom;

	for (size_t i = 0; i < ledger_tree_count(s->t) && !path.oom; i++) {
		ledger_tree_at(s->t, i, &e);
		path.len = 0;
		if (*s->dir)
			buf_fmt(&path, "%s/", s->dir);
		buf_add(&path, e.name, e.namelen);
		if (!path.oom)
			keytime_note(s->l, ns, path.p,
				     &(struct key_time){tip->commit, e.oid, open_entry(s, i) ? tip->time : s->time[i],
							open_entry(s, i)});
	}
	oom = path.oom;
	buf_release(&path);
	return oom ? LEDGER_ENOMEM : 0;
}

int keytime_resolve(struct ledger *l, const char *ns, const struct ledger_tip *tip, const char *dir)
{
	struct search s = {.l = l, .dir = dir};
	struct ledger_entry e;
	int rc = tree_walk(l, &tip->tree, dir, &e);

	if (!rc)
		rc = tree_load(l, &e.oid, &s.t);
	if (rc)
		return rc;
	s.left = ledger_tree_count(s.t);
	s.time = malloc((s.left + 1) * sizeof(*s.time));
	for (size_t i = 0; s.time && i < s.left; i++)
		s.time[i] = (struct timespec){0, -1};
	rc = s.time ? search(&s, tip) : LEDGER_ENOMEM;
	if (!rc)
		rc = note_all(&s, ns, tip);
	ledger_tree_unref(s.t);
	free(s.time);
	return rc;
}
