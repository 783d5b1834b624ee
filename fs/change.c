/* SPDX-License-Identifier: MIT */
/* One change of the mount: its expectations, the commit, and what becomes of both. */
#include "core.h"
#include "status.h"

#include <errno.h>
#include <ledger/stats.h>
#include <stdlib.h>

void who_from_req(struct who *w, fuse_req_t req)
{
	const struct fuse_ctx *c = fuse_req_ctx(req);

	memset(w, 0, sizeof(*w));
	w->tid = c->pid;
	w->uid = c->uid;
}

void who_look(struct who *w, struct proc_exit *end)
{
	pid_t tid = w->tid ? w->tid : w->pid;
	struct proc_look look = {0};

	if (w->pid && w->comm[0] && !end)
		return;
	if (end ? proc_look(tid, &look) : proc_task(tid, &look.tgid, look.comm)) {
		look.tgid = w->pid ? w->pid : w->tid;
		strcpy(look.comm, "?");
	}
	w->pid = look.tgid;
	memcpy(w->comm, look.comm, sizeof(w->comm));
	if (end)
		*end = look.end;
}

static struct holder_who holder_who(const struct who *w)
{
	return (struct holder_who){.tid = w->tid, .chain = w->tid ? NULL : w->chain};
}

/* The object at `path` of a tree, a directory's too; zero: none. */
static struct ledger_oid blob_at(struct fs *fs, const struct ledger_oid *tree, const char *path)
{
	struct ledger_entry e;

	return ledger_lookup(fs->ledger, tree, path, &e) ? (struct ledger_oid){0} : e.oid;
}

static void settle(struct fs *fs, struct holder_set *set, const char *const *keys, size_t nkeys, int r,
		   const struct ledger_result *res)
{
	struct ledger_oid blobs[HOLDER_KEYS_MAX] = {0};
	enum holder_outcome o = r == 0 ? HOLDER_LANDED : r == LEDGER_ECONFLICT ? HOLDER_CONFLICT : HOLDER_NOTHING;

	for (size_t i = 0; set->n && i < nkeys && r == 0; i++)
		blobs[i] = blob_at(fs, &res->tip.tree, keys[i]);
	holders_settle(fs->holders, set, o, &res->tip, blobs);
}

/* What was expected of the thing that a conflict is about; `buf` when that was an edit's base. */
static const struct ledger_expect *conflict_cause(const struct ledger_change *c, const struct ledger_result *res,
						  struct ledger_expect *buf)
{
	const struct ledger_edit *e;

	if (res->reason != LEDGER_REASON_BASE)
		return res->index < c->nexpects ? &c->expects[res->index] : NULL;
	if (res->index >= c->nedits)
		return NULL;
	e = &c->edits[res->index];
	buf->what = e->base_rule == LEDGER_BASE_ABSENT ? LEDGER_EXPECT_ABSENT : LEDGER_EXPECT_BLOB;
	buf->oid = e->base;
	buf->path = e->path;
	return buf;
}

/* For user.kv.status: under all keys of the change, about the one that decided. */
static void record(struct fs *fs, const struct who *w, const struct ledger_change *c, const char *const *keys, size_t nkeys,
		   int r, struct ledger_result *res)
{
	const struct ledger_edit *last = c->nedits ? &c->edits[c->nedits - 1] : NULL;
	struct status s = {.result = r, .key = nkeys ? keys[0] : NULL};
	struct ledger_expect buf;

	if (r == LEDGER_ECONFLICT)
		s.expected = conflict_cause(c, res, &buf);
	else if (r == LEDGER_ELOCKED && ledger_tip(fs->ledger, c->ns, &res->tip))
		return;
	else if (!r && last && last->op == LEDGER_RENAME)
		s.key = last->to;
	if (s.expected && s.expected->path)
		s.key = s.expected->path;
	if (s.key && (r == LEDGER_ELOCKED || (r && res->reason <= LEDGER_REASON_VERSION)))
		res->blob = blob_at(fs, &res->tip.tree, s.key); /* the ledger tells of it when the conflict is about it */
	status_record(fs, w, c->ns, keys, nkeys, &s, res);
}

int fs_change_if(struct fs *fs, const struct who *caller, const char *ns, const char *key, const char *key2,
		 const struct ledger_expect *own, const struct ledger_edit *edits, size_t nedits, struct ledger_result *out)
{
	const char *keys[HOLDER_KEYS_MAX] = {key, key2};
	size_t nkeys = !key ? 0 : !key2 ? 1 : 2;
	struct holder_who hw = holder_who(caller);
	struct ledger_result res = {0};
	struct holder_set set = {0};
	struct ledger_expect expects[2 + HOLDER_KEYS_MAX];
	struct ledger_change c = {.ns = ns, .edits = edits, .nedits = nedits, .expects = expects};
	struct who w = *caller;
	int r, h;

	h = holders_find(fs->holders, ns, keys, nkeys, &hw, &set);
	if (h && h != ESRCH)
		return LEDGER_ENOMEM;
	who_look(&w, NULL);
	if (own)
		expects[c.nexpects++] = *own;
	for (size_t i = 0; i < set.n; i++)
		expects[c.nexpects++] = set.expects[i];
	c.actor = (struct ledger_actor){.comm = w.comm, .pid = w.pid, .uid = w.uid};
	r = ledger_commit(fs->ledger, &c, &res);
	if (r == 0 || r == LEDGER_ECONFLICT || r == LEDGER_ELOCKED)
		record(fs, caller, &c, keys, nkeys, r, &res);
	settle(fs, &set, keys, nkeys, r, &res);
	if (out)
		*out = res;
	return r;
}

int fs_change(struct fs *fs, const struct who *w, const char *ns, const char *key, const char *key2,
	      const struct ledger_edit *edits, size_t nedits, struct ledger_result *out)
{
	return fs_change_if(fs, w, ns, key, key2, NULL, edits, nedits, out);
}

int fs_change_ns(struct fs *fs, const struct who *w, const char *ns, const char *to)
{
	struct holder_who hw = holder_who(w);
	struct ledger_result res = {0};
	struct holder_set set = {0};
	int r, h = holders_find(fs->holders, ns, NULL, 0, &hw, &set);

	if (h && h != ESRCH)
		return LEDGER_ENOMEM;
	if (to)
		r = ledger_ns_rename(fs->ledger, ns, to, set.expects, set.n, &res);
	else
		r = ledger_ns_delete(fs->ledger, ns, false, set.expects, set.n, &res);
	if (r == LEDGER_ECONFLICT)
		fs_record(fs, w, ns, NULL, r, res.index < set.n ? &set.expects[res.index] : NULL, &res);
	/* The tip is the same commit wherever the ref is: nothing to move on to. */
	holders_settle(fs->holders, &set, r == LEDGER_ECONFLICT ? HOLDER_CONFLICT : HOLDER_NOTHING, NULL, NULL);
	return r;
}

/* Does the expectation hold of this tip?  `res` gets the reason and the blob that is there. */
static bool holds(struct fs *fs, const struct ledger_expect *e, const struct ledger_tip *tip, struct ledger_result *res)
{
	switch (e->what) {
	case LEDGER_EXPECT_TREE:
		res->reason = LEDGER_REASON_TREE;
		return ledger_oid_eq(&e->oid, &tip->tree);
	case LEDGER_EXPECT_COMMIT:
		res->reason = LEDGER_REASON_COMMIT;
		return ledger_oid_eq(&e->oid, &tip->commit);
	case LEDGER_EXPECT_VERSION:
		res->reason = LEDGER_REASON_VERSION;
		return e->version == tip->version;
	case LEDGER_EXPECT_BLOB:
		res->reason = LEDGER_REASON_BLOB;
		return ledger_oid_eq(&e->oid, &res->blob);
	case LEDGER_EXPECT_ABSENT:
		res->reason = LEDGER_REASON_ABSENT;
		return ledger_oid_is_zero(&res->blob);
	}
	return false;
}

/*
 * A refusal that was found by looking counts as a write that was tried: the expectation is not for the holder's parent any
 * more (fs/holder.h).
 */
static void mark_refused(struct fs *fs, const char *ns, const char *const *keys, size_t nkeys, const struct holder_who *hw)
{
	struct holder_set set = {0};

	if (holders_find(fs->holders, ns, keys, nkeys, hw, &set) == 0)
		holders_settle(fs->holders, &set, HOLDER_CONFLICT, NULL, NULL);
}

int fs_change_check_if(struct fs *fs, const struct who *w, const char *ns, const char *key, const struct ledger_expect *own,
		       bool lost)
{
	const char *keys[1] = {key};
	struct holder_who hw = holder_who(w);
	struct ledger_expect expects[2 + HOLDER_KEYS_MAX];
	struct ledger_result res = {0};
	struct holder_set set = {0};
	size_t n = 0;
	int r;

	r = holders_peek(fs->holders, ns, keys, key ? 1 : 0, &hw, &set);
	if (r && r != ESRCH)
		return LEDGER_ENOMEM;
	if (own)
		expects[n++] = *own;
	for (size_t i = 0; i < set.n; i++)
		expects[n++] = set.expects[i];
	if (!n)
		return 0;
	r = ledger_tip(fs->ledger, ns, &res.tip);
	if (r)
		return r;
	if (key)
		res.blob = blob_at(fs, &res.tip.tree, key);
	for (size_t i = 0; i < n; i++) {
		if (!holds(fs, &expects[i], &res.tip, &res) || (lost && expects[i].what == LEDGER_EXPECT_ABSENT)) {
			fs_record(fs, w, ns, key, LEDGER_ECONFLICT, &expects[i], &res);
			ledger_stats_refused(fs->ledger, ns, res.reason, false, key);
			mark_refused(fs, ns, keys, key ? 1 : 0, &hw);
			return LEDGER_ECONFLICT;
		}
	}
	return 0;
}

int fs_change_check(struct fs *fs, const struct who *w, const char *ns, const char *key)
{
	return fs_change_check_if(fs, w, ns, key, NULL, false);
}
