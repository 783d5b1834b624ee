/* SPDX-License-Identifier: MIT */
/* Namespaces as a whole: refs that move without a commit. */
#include "archive.h"
#include "edit.h"
#include "internal.h"
#include "names.h"
#include "reflog.h"
#include "timekeeper.h"

#include <stdio.h>
#include <stdlib.h>

struct ns_op {
	int (*run)(struct ledger *l, struct ns_op *op, struct store_group *g);
	const char *ns, *to;
	bool force;
	uint64_t version;
	const struct ledger_expect *expects;
	size_t nexpects;
	struct ledger_result res;
	/* The reflog follows its ref when the group lands. */
	char from_ref[NAMES_REF_MAX], to_ref[NAMES_REF_MAX];
};

static int from_tree(void *arg, const struct ledger_oid *oid, struct ledger_tree **out)
{
	return tree_load(arg, oid, out);
}

/* The expectations of an operation that changes no tree. */
static int check_expects(struct ledger *l, struct ns_op *op)
{
	const struct edit_io io = {.arg = l, .tree = from_tree};
	struct ledger_tip tip = op->res.tip;
	struct edit *e;
	int rc;

	if (!op->nexpects)
		return 0;
	rc = edit_new(&e, l, &io, &tip.tree);
	if (rc)
		return rc;
	rc = expects_hold(e, &tip, op->expects, op->nexpects, &op->res);
	edit_free(e);
	return rc;
}

/* --- a group of its own for each ------------------------------------------------------------------------------------ */

/* `run` has locked and checked; from_ref moves to to_ref. */
static int land(struct ledger *l, struct ns_op *op, struct store_group *g)
{
	static const struct ledger_oid gone;
	bool logged;
	char why[2 * NAMES_REF_MAX + 16];
	int rc;

	snprintf(why, sizeof(why), "rename %s to %s", op->from_ref, op->to_ref);
	rc = store_group_move(g, op->to_ref, &op->res.tip.commit, why);
	if (!rc)
		rc = store_group_move(g, op->from_ref, &gone, why);
	if (rc) {
		store_group_abort(g);
		return rc;
	}
	/* Before the refs: a store writes to the log that it finds, and removes that of a ref that goes. */
	logged = reflog_move(l->gitdir, op->from_ref, op->to_ref);
	rc = store_group_commit(g);
	if (rc && logged)
		reflog_move(l->gitdir, op->to_ref, op->from_ref);
	op->res.changed = !rc;
	if (!rc) {
		stats_saw(l->stats, op->ns, &op->res.tip.commit, &gone);
		if (op->to)
			stats_saw(l->stats, op->to, &gone, &op->res.tip.commit);
		timekeeper_moved(l, op->ns, op->to);
	}
	return rc;
}

static int attempt(struct ledger *l, void *arg)
{
	struct ns_op *op = arg;
	struct queue_item item = {.alone = true};
	struct queue_item *batch = queue_begin(&l->queue, &item);
	struct store_group *g;
	int rc;

	/* Who wants to be alone is always its own leader. */
	rc = store_group_begin(l->store, &g);
	if (!rc) {
		op->to_ref[0] = '\0';
		rc = op->run(l, op, g);
		if (rc || !op->to_ref[0])
			store_group_abort(g);
		else
			rc = land(l, op, g);
	}
	queue_end(&l->queue, batch);
	return rc;
}

static int submit(struct ledger *l, struct ns_op *op)
{
	struct stats_attempt a = {.ns = op->ns, .res = &op->res, .began_us = stats_clock()};

	if (l->readonly)
		return ledger_fail(LEDGER_EROFS, "the repository is read-only");
	a.rc = ledger_ns_check(op->ns);
	if (!a.rc && op->to)
		a.rc = ledger_ns_check(op->to);
	if (!a.rc)
		a.rc = expects_valid(op->expects, op->nexpects);
	if (a.rc)
		return a.rc;
	a.rc = lock_retry(l, attempt, op, &a.lock_retries);
	stats_attempt(l->stats, &a);
	return a.rc;
}

/* Locks the namespace's ref, reads its tip, checks the expectations. */
static int lock_tip(struct ledger *l, struct ns_op *op, struct store_group *g)
{
	struct ledger_oid commit;
	struct tip_info info;
	int rc = names_ref(op->from_ref, NAMES_KV, op->ns);

	if (!rc)
		rc = store_group_lock(g, op->from_ref, &commit);
	if (!rc && ledger_oid_is_zero(&commit))
		rc = ledger_fail(LEDGER_ENOTFOUND, "there is no namespace '%s'", op->ns);
	if (!rc)
		rc = tip_load(l, &commit, &info);
	if (rc)
		return rc;
	op->res = (struct ledger_result){.tip = info.tip};
	return check_expects(l, op);
}

/* --- delete --------------------------------------------------------------------------------------------------------- */

/* What is not shown does not keep a namespace: the archive has it. */
static int check_empty(struct ledger *l, const struct ns_op *op)
{
	struct ledger_tree *t;
	struct ledger_entry kv;
	size_t n;
	int rc = tree_load(l, &op->res.tip.tree, &t);

	if (rc)
		return rc == LEDGER_ENOTFOUND ? ledger_fail(LEDGER_ECORRUPT, "the namespace's tree is missing") : rc;
	n = ledger_tree_count(t);
	if (n == 1 && !ledger_tree_find(t, ".kv", 3, &kv))
		n = 0;
	ledger_tree_unref(t);
	return n ? ledger_fail(LEDGER_ENOTEMPTY, "the namespace '%s' is not empty", op->ns) : 0;
}

/*
 * The archived states of `app` are refs below refs/kv-archive/app/, so the state app/3 (version 3) would be in the way
 * of the archive of a namespace called app/3: it gets the name app/3-2, as if it had come second.
 */
static int run_make_way(struct ledger *l, struct ns_op *op, struct store_group *g)
{
	const char *slash = strrchr(op->ns, '/');
	struct ledger_oid oid;
	struct tip_info info;
	char above[NAMES_REF_MAX];
	int rc;

	snprintf(op->from_ref, sizeof(op->from_ref), NAMES_ARCHIVE "%s", op->ns);
	rc = store_group_lock(g, op->from_ref, &oid);
	if (rc == LEDGER_EEXISTS || (!rc && ledger_oid_is_zero(&oid)))
		return 0;
	if (!rc)
		rc = tip_load(l, &oid, &info);
	if (rc)
		return rc;
	op->res.tip = info.tip;
	snprintf(above, sizeof(above), "%.*s", (int)(slash - op->ns), op->ns);
	return archive_lock_free(l, g, above, strtoull(slash + 1, NULL, 10), op->to_ref);
}

/* For every part of the name that is itself the name of an archived state. */
static int make_way(struct ledger *l, const char *ns)
{
	char part[NAMES_REF_MAX - 16], ref[NAMES_REF_MAX];
	struct ledger_oid oid;
	int rc = names_ref(ref, NAMES_ARCHIVE, ns);

	for (const char *p = rc ? NULL : strchr(ns, '/'); !rc && p;) {
		struct ns_op op = {run_make_way, .ns = part};

		p = strchr(p + 1, '/');
		snprintf(part, sizeof(part), "%.*s", p ? (int)(p - ns) : (int)strlen(ns), ns);
		snprintf(ref, sizeof(ref), NAMES_ARCHIVE "%s", part);
		if (!store_ref_read(l->store, ref, &oid) && archive_is_state(part))
			rc = submit(l, &op);
	}
	return rc;
}

static int run_delete(struct ledger *l, struct ns_op *op, struct store_group *g)
{
	int rc = lock_tip(l, op, g);

	if (!rc && !op->force)
		rc = check_empty(l, op);
	return rc ? rc : archive_lock_free(l, g, op->ns, op->res.tip.version, op->to_ref);
}

int ledger_ns_delete(struct ledger *l, const char *ns, bool force, const struct ledger_expect *expects, size_t nexpects,
		     struct ledger_result *res)
{
	struct ns_op op = {run_delete, .ns = ns, .force = force, .expects = expects, .nexpects = nexpects};
	int rc;

	ledger_error_clear();
	rc = make_way(l, ns);
	if (!rc)
		rc = submit(l, &op);
	if (res && (!rc || rc == LEDGER_ECONFLICT))
		*res = op.res;
	LEAVE(rc, "ns=%s%s", ns, force ? " force" : "");
	return rc;
}

/* --- rename --------------------------------------------------------------------------------------------------------- */

static int run_rename(struct ledger *l, struct ns_op *op, struct store_group *g)
{
	char ref[NAMES_REF_MAX];
	struct ledger_oid there;
	int rc = lock_tip(l, op, g);

	if (rc || !strcmp(op->ns, op->to))
		return rc;
	rc = names_ref(ref, NAMES_KV, op->to);
	if (!rc)
		rc = store_group_lock(g, ref, &there);
	if (!rc && !ledger_oid_is_zero(&there))
		rc = ledger_fail(LEDGER_EEXISTS, "the namespace '%s' is there already", op->to);
	if (!rc)
		strcpy(op->to_ref, ref);
	return rc;
}

int ledger_ns_rename(struct ledger *l, const char *ns, const char *to, const struct ledger_expect *expects, size_t nexpects,
		     struct ledger_result *res)
{
	struct ns_op op = {run_rename, .ns = ns, .to = to, .expects = expects, .nexpects = nexpects};
	int rc;

	ledger_error_clear();
	rc = submit(l, &op);
	if (res && (!rc || rc == LEDGER_ECONFLICT))
		*res = op.res;
	LEAVE(rc, "ns=%s to=%s", ns, to);
	return rc;
}

/* --- restore -------------------------------------------------------------------------------------------------------- */

static int run_restore(struct ledger *l, struct ns_op *op, struct store_group *g)
{
	char ref[NAMES_REF_MAX];
	struct ledger_oid oid;
	struct tip_info info;
	int rc = names_ref(ref, NAMES_KV, op->ns);

	if (!rc)
		rc = store_group_lock(g, ref, &oid);
	if (!rc && !ledger_oid_is_zero(&oid))
		rc = ledger_fail(LEDGER_EEXISTS, "the namespace '%s' is there already", op->ns);
	if (!rc)
		rc = archive_find(l, op->ns, op->version, op->from_ref);
	if (!rc)
		rc = store_group_lock(g, op->from_ref, &oid);
	if (!rc && ledger_oid_is_zero(&oid))
		rc = ledger_fail(LEDGER_ENOTFOUND, "'%s' was taken from the archive by another", op->ns);
	if (!rc)
		rc = tip_load(l, &oid, &info);
	if (rc)
		return rc;
	op->res = (struct ledger_result){.tip = info.tip};
	strcpy(op->to_ref, ref);
	return 0;
}

int ledger_ns_restore(struct ledger *l, const char *ns, uint64_t version, struct ledger_tip *out)
{
	struct ns_op op = {run_restore, .ns = ns, .version = version};
	int rc;

	ledger_error_clear();
	rc = submit(l, &op);
	if (!rc && out)
		*out = op.res.tip;
	LEAVE(rc, "ns=%s version=%llu", ns, (unsigned long long)version);
	return rc;
}
