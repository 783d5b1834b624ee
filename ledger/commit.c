/* SPDX-License-Identifier: MIT */
/* ledger_commit(): from the caller's side of the queue. */
#include "edit.h"
#include "group.h"
#include "names.h"
#include "timekeeper.h"

#include <stdlib.h>
#include <unistd.h>

/* --- arguments ------------------------------------------------------------------------------------------------------ */

static bool is_file_kind(enum ledger_kind k)
{
	return k == LEDGER_FILE || k == LEDGER_EXEC;
}

static bool has_value(const struct ledger_edit *e)
{
	return e->op == LEDGER_SET || e->op == LEDGER_APPEND;
}

static int edit_valid(const struct ledger_edit *e)
{
	bool value = has_value(e);
	bool move = e->op == LEDGER_RENAME || e->op == LEDGER_EXCHANGE;
	int rc;

	if ((unsigned)e->op > LEDGER_CHMOD || (unsigned)e->base_rule > LEDGER_BASE_ABSENT || !e->path)
		return ledger_fail(LEDGER_EINVALID, "no such kind of edit");
	rc = names_path_check(e->path);
	if (!rc && value && !e->value)
		return ledger_fail(LEDGER_EINVALID, "no value for '%s'", e->path);
	if (!rc && (value || e->op == LEDGER_CHMOD) && !is_file_kind(e->kind) &&
	    !(e->op == LEDGER_SET && e->kind == LEDGER_LINK))
		return ledger_fail(LEDGER_EINVALID, "'%s' cannot be of that kind", e->path);
	if (!rc && move)
		rc = e->to ? names_path_check(e->to) : ledger_fail(LEDGER_EINVALID, "'%s' is to move nowhere", e->path);
	return rc;
}

static int change_valid(const struct ledger_change *c)
{
	int rc = ledger_ns_check(c->ns);

	for (size_t i = 0; !rc && i < c->nedits; i++)
		rc = edit_valid(&c->edits[i]);
	return rc ? rc : expects_valid(c->expects, c->nexpects);
}

/* --- waiting for others' locks -------------------------------------------------------------------------------------- */

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/*
 * git's lock is a file that says nothing when it goes: there is no event to wait for, so it is tried again, as git does,
 * after a pause that grows from about 1 ms to about 20 ms and is never the same for two who wait.
 */
static void pause_before(unsigned try, unsigned *seed)
{
	unsigned top = try < 5 ? 1000u <<
	try:
		20000u;
	struct timespec t = {0, (long)(top / 2 + (unsigned)rand_r(seed) % top) * 1000};

	nanosleep(&t, NULL);
}

int lock_retry(struct ledger *l, int (*attempt)(struct ledger *l, void *arg), void *arg, unsigned *retries)
{
	uint64_t end = now_ms() + l->lock_wait_ms;
	unsigned seed = (unsigned)end ^ (unsigned)(uintptr_t)&seed;

	for (unsigned try = 0;; try++) {
		int rc = attempt(l, arg);

		*retries = try;
		if (rc != LEDGER_ELOCKED || now_ms() >= end)
			return rc;
		pause_before(try, &seed);
	}
}

/* --- the request ---------------------------------------------------------------------------------------------------- */

static int attempt(struct ledger *l, void *arg)
{
	struct request *r = arg;
	struct queue_item *batch = queue_begin(&l->queue, &r->item);

	if (batch) {
		group_run(l, (struct request *)batch);
		queue_end(&l->queue, batch);
	}
	return r->rc;
}

static void unstage_values(struct ledger *l, const struct ledger_change *c, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (has_value(&c->edits[i]))
			store_unstage(l->store, c->edits[i].value);
}

/* All or none. */
static int stage_values(struct ledger *l, const struct ledger_change *c)
{
	for (size_t i = 0; i < c->nedits; i++) {
		int rc = has_value(&c->edits[i]) ? store_stage(l->store, c->edits[i].value) : 0;

		if (rc) {
			unstage_values(l, c, i);
			return rc;
		}
	}
	return 0;
}

/* The state to make large appends on beforehand; zero when there is none: the leader will say why. */
static struct ledger_oid present_tree(struct ledger *l, const struct request *r)
{
	static const struct ledger_oid none;
	struct ledger_oid commit = none;
	struct tip_info info;
	char ref[NAMES_REF_MAX];

	if (r->base)
		commit = *r->base;
	else if (names_ref(ref, NAMES_KV, r->change->ns) || store_ref_read(l->store, ref, &commit))
		return none;
	return ledger_oid_is_zero(&commit) || tip_load(l, &commit, &info) ? none : info.tip.tree;
}

static bool appends(const struct ledger_change *c)
{
	for (size_t i = 0; i < c->nedits; i++)
		if (c->edits[i].op == LEDGER_APPEND)
			return true;
	return false;
}

static void prepare_appends(struct ledger *l, struct request *r)
{
	struct ledger_oid root;

	if (!appends(r->change))
		return;
	root = present_tree(l, r);
	if (!ledger_oid_is_zero(&root))
		r->appends = append_prepare(l, r->change, &root);
}

/* The tree before the commit; zero when it is the first. */
static struct ledger_oid tree_before(struct ledger *l, const struct ledger_oid *commit)
{
	static const struct ledger_oid none;
	struct tip_info info, parent;

	if (tip_load(l, commit, &info) || ledger_oid_is_zero(&info.parent) || tip_load(l, &info.parent, &parent))
		return none;
	return parent.tip.tree;
}

static bool was_so(struct ledger *l, const struct ledger_oid *root, const char *path, const struct ledger_entry *e)
{
	struct ledger_entry before;

	return !ledger_oid_is_zero(root) && !tree_walk(l, root, path, &before) && before.kind == e->kind &&
	       ledger_oid_eq(&before.oid, &e->oid);
}

/* Times to the nanosecond of the keys that this change made; a huge change would only push others out. */
static void note_times(struct ledger *l, const struct request *r)
{
	const struct ledger_change *c = r->change;
	struct ledger_oid before = tree_before(l, &r->res.tip.commit);

	for (size_t i = 0; i < c->nedits && i < 256; i++) {
		const struct ledger_edit *e = &c->edits[i];
		const char *paths[] = {e->path, e->to};

		for (int k = 0; k < 2; k++) {
			struct key_time t = {.commit = r->res.tip.commit, .time = r->res.tip.time};
			struct ledger_entry there;

			if (!paths[k] || tree_walk(l, &r->res.tip.tree, paths[k], &there) ||
			    was_so(l, &before, paths[k], &there))
				continue;
			t.entry = there.oid;
			keytime_note(l, c->ns, paths[k], &t);
		}
	}
}

/* A well-formed change. */
static int submit_valid(struct ledger *l, struct request *r)
{
	int rc = ident_who(l, &r->change->actor, r->who);

	if (!rc)
		rc = stage_values(l, r->change);
	if (rc)
		return rc;
	prepare_appends(l, r);
	rc = lock_retry(l, attempt, r, &r->retries);
	append_free(l, r->appends, r->change->nedits);
	unstage_values(l, r->change, r->change->nedits);
	if (rc)
		return r->msg[0] ? ledger_fail(rc, "%s", r->msg) : rc;
	if (r->res.changed && !r->base && !timekeeper_saw(l, r->change->ns, &r->res.tip.commit))
		note_times(l, r);
	return 0;
}

static int submit(struct ledger *l, struct request *r)
{
	struct stats_attempt a = {.ns = r->change->ns, .change = r->change, .res = &r->res, .began_us = stats_clock()};

	if (l->readonly)
		return ledger_fail(LEDGER_EROFS, "the repository is read-only");
	a.rc = change_valid(r->change);
	if (a.rc)
		return a.rc;
	a.rc = submit_valid(l, r);
	a.lock_retries = r->retries;
	if (!r->base)
		stats_attempt(l->stats, &a);
	return a.rc;
}

static void give_result(struct ledger_result *res, const struct request *r, int rc)
{
	if (res && (rc == 0 || rc == LEDGER_ECONFLICT || r->res.reason == LEDGER_REASON_EDIT))
		*res = r->res;
}

int ledger_build(struct ledger *l, const struct ledger_change *c, const struct ledger_oid *base, struct ledger_result *res)
{
	struct request r = {.change = c, .base = base};
	int rc;

	ledger_error_clear();
	rc = submit(l, &r);
	give_result(res, &r, rc);
	LEAVE(rc, "ns=%s base=%s -> commit=%s", c->ns, TRACE_OID(base), TRACE_OID(&r.res.tip.commit));
	return rc;
}

int ledger_commit(struct ledger *l, const struct ledger_change *c, struct ledger_result *res)
{
	struct request r = {.change = c};
	int rc;

	ledger_error_clear();
	rc = c->nedits || c->create ? submit(l, &r) : ledger_fail(LEDGER_EINVALID, "a change without edits");
	give_result(res, &r, rc);
	ledger_error_settle(rc);
	if (trace_on()) {
		char *text = trace_change(c);

		trace_line(__func__, rc, "%s -> commit=%s version=%llu%s%s", text ? text : "", TRACE_OID(&r.res.tip.commit),
			   (unsigned long long)r.res.tip.version, r.res.changed ? " changed" : "",
			   rc == LEDGER_ECONFLICT ? " conflict" : "");
		free(text);
	}
	return rc;
}

int ledger_ns_create(struct ledger *l, const char *ns, const struct ledger_actor *a, struct ledger_tip *out)
{
	struct ledger_change c = {.ns = ns, .create = true};
	struct request r = {.change = &c, .must_create = true};
	int rc;

	ledger_error_clear();
	if (a)
		c.actor = *a;
	else
		c.actor.uid = geteuid();
	rc = submit(l, &r);
	if (!rc && out)
		*out = r.res.tip;
	LEAVE(rc, "ns=%s", ns);
	return rc;
}
