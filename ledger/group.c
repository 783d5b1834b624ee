/* SPDX-License-Identifier: MIT */
/*
 * One group: several changes, on one or more namespaces, one sync.
 *
 * Each namespace's ref is locked once and read under its lock; then its changes are applied one after the other, each
 * to the state that the one before it made.  Objects that the group has made but not yet written are found here first
 * (`pending`).  Nobody gets an answer before the group is durable: also a conflict may tell of a state that is being made.
 */
#include "group.h"

#include "edit.h"
#include "hash.h"
#include "names.h"

#include <stdio.h>
#include <stdlib.h>

#define PENDING_BUCKETS 512 /* a power of two */

/* A namespace that the group works on. */
struct group_ns {
	struct group_ns *next;
	const char *name; /* the first request's */
	char ref[NAMES_REF_MAX];
	int rc; /* why it cannot be worked on */
	char msg[256];
	bool exists, moved;
	bool loose;              /* built on a commit, not on the ref, which does not move: for one request alone */
	struct ledger_oid found; /* the ref as it was under the lock; zero when absent */
	struct ledger_tip tip;   /* as of the last change applied; zero when absent */
	char *why;               /* that change's subject, for the reflog */
};

struct pending {
	struct pending *next;
	struct ledger_tree *tree; /* one of these two */
	struct ledger_value *value;
};

struct group {
	struct ledger *l;
	struct store_group *store;
	struct group_ns *ns;
	struct pending *pending[PENDING_BUCKETS];
};

/* --- objects of the group ------------------------------------------------------------------------------------------- */

static struct pending **bucket_of(struct group *g, const struct ledger_oid *oid)
{
	size_t h;

	memcpy(&h, oid->id, sizeof(h));
	return &g->pending[h & (PENDING_BUCKETS - 1)];
}

static int pending_add(struct group *g, struct ledger_tree *t, struct ledger_value *v)
{
	struct pending **b = bucket_of(g, t ? &t->oid : ledger_value_oid(v)), *p = calloc(1, sizeof(*p));

	if (!p)
		return LEDGER_ENOMEM;
	p->tree = t ? ledger_tree_ref(t) : NULL;
	p->value = v ? ledger_value_ref(v) : NULL;
	p->next = *b;
	*b = p;
	return 0;
}

static int io_tree(void *arg, const struct ledger_oid *oid, struct ledger_tree **out)
{
	struct group *g = arg;

	for (struct pending *p = *bucket_of(g, oid); p; p = p->next)
		if (p->tree && ledger_oid_eq(&p->tree->oid, oid)) {
			*out = ledger_tree_ref(p->tree);
			return 0;
		}
	return tree_load(g->l, oid, out);
}

static int io_value(void *arg, const struct ledger_oid *oid, struct ledger_value **out)
{
	struct group *g = arg;

	for (struct pending *p = *bucket_of(g, oid); p; p = p->next)
		if (p->value && ledger_oid_eq(ledger_value_oid(p->value), oid)) {
			*out = ledger_value_ref(p->value);
			return 0;
		}
	return value_load(g->l, oid, out);
}

static int io_put_tree(void *arg, struct ledger_tree *t, const struct ledger_tree *base, const struct tree_delta *d)
{
	struct group *g = arg;
	int rc;

	if (base && !d->whole)
		rc = store_group_put_tree(g->store, &t->oid, t->raw, t->rawlen, &base->oid, d->off, d->del, t->raw + d->off,
					  d->inslen);
	else
		rc = store_group_put_tree(g->store, &t->oid, t->raw, t->rawlen, NULL, 0, 0, t->raw, t->rawlen);
	return rc ? rc : pending_add(g, t, NULL);
}

static int io_put_value(void *arg, struct ledger_value *v)
{
	struct group *g = arg;
	int rc = store_group_put_value(g->store, v);

	return rc ? rc : pending_add(g, NULL, v);
}

/* --- namespaces ----------------------------------------------------------------------------------------------------- */

/* Takes the ref's lock and reads the state under it. */
static int ns_lock(struct group *g, struct group_ns *n)
{
	struct ledger_oid commit;
	struct tip_info info;
	int rc = names_ref(n->ref, NAMES_KV, n->name);

	if (!rc)
		rc = store_group_lock(g->store, n->ref, &commit);
	if (rc || ledger_oid_is_zero(&commit))
		return rc;
	rc = tip_load(g->l, &commit, &info);
	if (rc)
		return rc;
	n->exists = true;
	n->found = commit;
	n->tip = info.tip;
	return 0;
}

/* The state that ledger_build() asks for. */
static struct group_ns *ns_loose(struct group *g, const struct request *r)
{
	struct group_ns *n = calloc(1, sizeof(*n));
	struct tip_info info;

	if (!n)
		return NULL;
	n->name = r->change->ns;
	n->loose = true;
	n->next = g->ns;
	g->ns = n;
	if (ledger_oid_is_zero(r->base))
		return n;
	n->rc = tip_load(g->l, r->base, &info);
	if (n->rc) {
		snprintf(n->msg, sizeof(n->msg), "%s", ledger_error_noted(n->rc));
		return n;
	}
	n->exists = true;
	n->tip = info.tip;
	return n;
}

static struct group_ns *ns_get(struct group *g, const char *name)
{
	struct group_ns *n = g->ns;

	while (n && (n->loose || strcmp(n->name, name)))
		n = n->next;
	if (n)
		return n;
	n = calloc(1, sizeof(*n));
	if (!n)
		return NULL;
	n->name = name;
	n->next = g->ns;
	g->ns = n;
	n->rc = ns_lock(g, n);
	if (n->rc)
		snprintf(n->msg, sizeof(n->msg), "%s", ledger_error_noted(n->rc));
	return n;
}

/* --- one change ----------------------------------------------------------------------------------------------------- */

static char *commit_text(const struct request *r, const struct group_ns *n, const struct ledger_oid *tree,
			 const struct timespec *now, size_t *len, char **subject)
{
	struct buf b = BUF_INIT;
	size_t subjectlen;
	char *msg = message_build(r->change, n->tip.version + 1, &subjectlen);

	if (!msg)
		return NULL;
	buf_fmt(&b, "tree %s\n", TRACE_OID(tree));
	if (n->exists)
		buf_fmt(&b, "parent %s\n", TRACE_OID(&n->tip.commit));
	for (int i = 0; i < 2; i++) {
		buf_fmt(&b, "%s %s ", i ? "committer" : "author", r->who);
		ident_when(now, &b);
		buf_str(&b, "\n");
	}
	buf_str(&b, "\n");
	buf_str(&b, msg);
	*len = b.len;
	*subject = strndup(msg, subjectlen);
	free(msg);
	if (!*subject)
		buf_release(&b);
	return buf_detach(&b);
}

/* Makes the commit of a new state and moves the namespace on to it, in memory. */
static int advance(struct group *g, struct request *r, struct group_ns *n, const struct ledger_oid *tree)
{
	struct tip_info info = {.parent = n->tip.commit};
	char *text, *subject = NULL;
	size_t len;
	int rc;

	clock_gettime(CLOCK_REALTIME, &info.tip.time);
	text = commit_text(r, n, tree, &info.tip.time, &len, &subject);
	if (!text) {
		free(subject);
		return LEDGER_ENOMEM;
	}
	rc = store_group_put(g->store, STORE_COMMIT, text, len, &info.tip.commit);
	free(text);
	if (rc) {
		free(subject);
		return rc;
	}
	info.tip.tree = *tree;
	info.tip.version = n->tip.version + 1;
	/* Before anybody can see the commit, so that nobody reads its time to the second first. */
	tip_note(g->l, &info);
	free(n->why);
	n->why = subject;
	n->tip = info.tip;
	n->exists = n->moved = true;
	r->res.changed = true;
	return 0;
}

static void last_blob(struct edit *e, struct request *r)
{
	const struct ledger_change *c = r->change;
	const struct ledger_edit *last = c->nedits ? &c->edits[c->nedits - 1] : NULL;
	struct ledger_entry there;

	if (last && !edit_lookup(e, last->op == LEDGER_RENAME ? last->to : last->path, &there))
		r->res.blob = there.oid;
}

static int check_and_apply(struct group *g, struct request *r, struct group_ns *n, struct edit *e)
{
	const struct ledger_change *c = r->change;
	struct ledger_oid tree;
	int rc = expects_hold(e, &n->tip, c->expects, c->nexpects, &r->res);

	if (!rc)
		rc = bases_hold(e, &n->tip, c->edits, c->nedits, &r->res);
	for (size_t i = 0; !rc && i < c->nedits; i++) {
		rc = edit_apply(e, &c->edits[i], r->appends ? &r->appends[i] : NULL);
		if (rc) {
			r->res.reason = LEDGER_REASON_EDIT;
			r->res.index = i;
		}
	}
	if (!rc)
		rc = edit_finish(e, &tree);
	if (!rc && !(n->exists && ledger_oid_eq(&tree, &n->tip.tree)))
		rc = advance(g, r, n, &tree);
	if (rc)
		return rc;
	r->res.tip = n->tip;
	last_blob(e, r);
	return 0;
}

static int apply(struct group *g, struct request *r)
{
	const struct edit_io io = {g, io_tree, io_value, io_put_tree, io_put_value};
	struct group_ns *n = r->base ? ns_loose(g, r) : ns_get(g, r->change->ns);
	struct edit *e;
	int rc;

	r->ns = n;
	if (!n)
		return LEDGER_ENOMEM;
	if (n->rc)
		return n->msg[0] ? ledger_fail(n->rc, "%s", n->msg) : n->rc;
	if (n->exists && r->must_create)
		return ledger_fail(LEDGER_EEXISTS, "the namespace '%s' is there already", n->name);
	if (!n->exists && !r->must_create && !r->change->create)
		return ledger_fail(LEDGER_ENOTFOUND, "there is no namespace '%s'", n->name);
	rc = edit_new(&e, g->l, &io, &n->tip.tree);
	if (rc)
		return rc;
	rc = check_and_apply(g, r, n, e);
	edit_free(e);
	return rc;
}

/* --- the group ------------------------------------------------------------------------------------------------------ */

/* All moves, or none. */
static int finish(struct group *g)
{
	bool any = false;
	int rc = 0;

	for (struct group_ns *n = g->ns; !rc && n; n = n->next)
		if (n->moved) {
			any = true;
			if (!n->loose)
				rc = store_group_move(g->store, n->ref, &n->tip.commit, n->why);
		}
	if (any && !rc)
		return store_group_commit(g->store);
	store_group_abort(g->store);
	return rc;
}

static void set_answer(struct request *r, int rc)
{
	r->rc = rc;
	snprintf(r->msg, sizeof(r->msg), "%s", ledger_error_noted(rc));
}

/* The next reader and the next change find the new trees in memory. */
static void keep_trees(struct group *g)
{
	for (size_t i = 0; i < PENDING_BUCKETS; i++)
		for (struct pending *p = g->pending[i]; p; p = p->next)
			if (p->tree)
				treecache_put(g->l->trees, p->tree);
}

static void note_moves(struct group *g)
{
	for (struct group_ns *n = g->ns; n; n = n->next)
		if (!n->loose && !n->rc && n->exists)
			stats_saw(g->l->stats, n->name, &n->found, &n->tip.commit);
}

static void release(struct group *g)
{
	for (size_t i = 0; i < PENDING_BUCKETS; i++)
		for (struct pending *p = g->pending[i], *next; p; p = next) {
			next = p->next;
			ledger_tree_unref(p->tree);
			ledger_value_unref(p->value);
			free(p);
		}
	for (struct group_ns *n = g->ns, *next; n; n = next) {
		next = n->next;
		free(n->why);
		free(n);
	}
	free(g);
}

static struct request *next_of(struct request *r)
{
	return (struct request *)r->item.next;
}

static void answer_all(struct request *first, int rc)
{
	for (struct request *r = first; r; r = next_of(r))
		set_answer(r, rc);
}

void group_run(struct ledger *l, struct request *first)
{
	struct group *g = calloc(1, sizeof(*g));
	int rc = g ? store_group_begin(l->store, &g->store) : LEDGER_ENOMEM;

	if (rc) {
		free(g);
		answer_all(first, rc);
		return;
	}
	g->l = l;
	for (struct request *r = first; r; r = next_of(r)) {
		ledger_error_clear();
		memset(&r->res, 0, sizeof(r->res));
		set_answer(r, apply(g, r));
	}
	rc = finish(g);
	if (!rc) {
		keep_trees(g);
		note_moves(g);
	}
	/* What was answered on top of states that never came to be is void. */
	for (struct request *r = first; rc && r; r = next_of(r))
		if (r->ns && r->ns->moved) {
			memset(&r->res, 0, sizeof(r->res));
			set_answer(r, rc);
		}
	release(g);
}
