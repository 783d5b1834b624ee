/* SPDX-License-Identifier: MIT */
/* One change of the mount: its expectations, the commit, and what is remembered of the outcome. */
#include "core.h"

#include <errno.h>
#include <stdio.h>
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
	struct proc_look look = {0};

	if (w->pid && w->comm[0] && !end)
		return;
	if (proc_look(w->tid ? w->tid : w->pid, &look)) {
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

/* What was expected, as user.kv.status names it. */
static void expected_text(char *buf, size_t size, const struct ledger_expect *e)
{
	char hex[LEDGER_OID_HEXSIZE + 1];

	switch (e->what) {
	case LEDGER_EXPECT_VERSION:
		snprintf(buf, size, "expected-version=%llu\n", (unsigned long long)e->version);
		return;
	case LEDGER_EXPECT_ABSENT:
		snprintf(buf, size, "expected-blob=absent\n");
		return;
	case LEDGER_EXPECT_TREE:
		snprintf(buf, size, "expected-tree=%s\n", ledger_oid_fmt(hex, &e->oid));
		return;
	case LEDGER_EXPECT_COMMIT:
		snprintf(buf, size, "expected-commit=%s\n", ledger_oid_fmt(hex, &e->oid));
		return;
	case LEDGER_EXPECT_BLOB:
		snprintf(buf, size, "expected-blob=%s\n",
			 ledger_oid_is_zero(&e->oid) ? "absent" : ledger_oid_fmt(hex, &e->oid));
		return;
	}
	buf[0] = '\0';
}

/* The writer as a process of the tree; one reference. */
static struct proc *writer_proc(struct fs *fs, const struct who *w)
{
	struct proc *p = NULL;

	if (w->tid && proctree_get(fs->procs, w->tid, &p) == 0)
		return p;
	return w->chain ? proc_ref(holder_chain_proc(w->chain)) : NULL;
}

void fs_record(struct fs *fs, const struct who *w, const char *ns, const char *key, int result,
	       const struct ledger_expect *expected, const struct ledger_result *res)
{
	char tree[LEDGER_OID_HEXSIZE + 1], commit[LEDGER_OID_HEXSIZE + 1], blob[LEDGER_OID_HEXSIZE + 1], want[80] = "";
	struct proc *p = writer_proc(fs, w);
	char *text = NULL;

	if (!p)
		return;
	if (expected)
		expected_text(want, sizeof(want), expected);
	if (asprintf(&text, "result=%s\n%s%s%snamespace=%s\nkey=%s\n%stree=%s\ncommit=%s\nversion=%llu\nblob=%s\n",
		     result == LEDGER_ECONFLICT ? "conflict" : "committed", result == LEDGER_ECONFLICT ? "reason=" : "",
		     result == LEDGER_ECONFLICT ? ledger_reason_name(res->reason) : "", result == LEDGER_ECONFLICT ? "\n" : "",
		     ns, key ? key : "", want, ledger_oid_fmt(tree, &res->tip.tree), ledger_oid_fmt(commit, &res->tip.commit),
		     (unsigned long long)res->tip.version,
		     ledger_oid_is_zero(&res->blob) ? "absent" : ledger_oid_fmt(blob, &res->blob)) >= 0) {
		outcomes_record(fs->outcomes, ns, key, p, text);
		free(text);
	}
	proc_unref(p);
}

/* What the change expected of the thing that a conflict is about. */
static const struct ledger_expect *conflict_cause(const struct holder_set *set, const struct ledger_edit *edits,
						  size_t nedits, const struct ledger_result *res, struct ledger_expect *buf)
{
	if (res->reason != LEDGER_REASON_BASE)
		return res->index < set->n ? &set->expects[res->index] : NULL;
	if (res->index >= nedits)
		return NULL;
	buf->what = edits[res->index].base_rule == LEDGER_BASE_ABSENT ? LEDGER_EXPECT_ABSENT : LEDGER_EXPECT_BLOB;
	buf->oid = edits[res->index].base;
	return buf;
}

/* The blob at `path` of a tree; zero: none. */
static struct ledger_oid blob_at(struct fs *fs, const struct ledger_oid *tree, const char *path)
{
	struct ledger_entry e;

	if (ledger_lookup(fs->ledger, tree, path, &e) || e.kind == LEDGER_DIR)
		return (struct ledger_oid){0};
	return e.oid;
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

int fs_change(struct fs *fs, const struct who *caller, const char *ns, const char *key, const char *key2,
	      const struct ledger_edit *edits, size_t nedits, struct ledger_result *out)
{
	const char *keys[HOLDER_KEYS_MAX] = {key, key2};
	size_t nkeys = !key ? 0 : !key2 ? 1 : 2;
	struct holder_who hw = holder_who(caller);
	struct ledger_result res = {0};
	struct ledger_expect cause;
	struct holder_set set = {0};
	struct ledger_change c = {.ns = ns, .edits = edits, .nedits = nedits};
	struct who w = *caller;
	int r, h;

	h = holders_find(fs->holders, ns, keys, nkeys, &hw, &set);
	if (h && h != ESRCH)
		return LEDGER_ENOMEM;
	who_look(&w, NULL);
	c.expects = set.expects;
	c.nexpects = set.n;
	c.actor = (struct ledger_actor){.comm = w.comm, .pid = w.pid, .uid = w.uid};
	r = ledger_commit(fs->ledger, &c, &res);
	if (r == LEDGER_ECONFLICT && key && res.reason <= LEDGER_REASON_VERSION)
		res.blob = blob_at(fs, &res.tip.tree, key); /* the ledger tells of the blob when the conflict is about it */
	if (r == 0 || r == LEDGER_ECONFLICT) {
		const struct ledger_expect *e = r ? conflict_cause(&set, edits, nedits, &res, &cause) : NULL;

		fs_record(fs, caller, ns, key, r, e, &res);
	}
	settle(fs, &set, keys, nkeys, r, &res);
	if (out)
		*out = res;
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

int fs_change_check(struct fs *fs, const struct who *w, const char *ns, const char *key)
{
	const char *keys[1] = {key};
	struct holder_who hw = holder_who(w);
	struct ledger_result res = {0};
	struct holder_set set = {0};
	int r;

	r = holders_peek(fs->holders, ns, keys, key ? 1 : 0, &hw, &set);
	if (r || !set.n)
		return r && r != ESRCH ? LEDGER_ENOMEM : 0;
	r = ledger_tip(fs->ledger, ns, &res.tip);
	if (r)
		return r;
	if (key)
		res.blob = blob_at(fs, &res.tip.tree, key);
	for (size_t i = 0; i < set.n; i++) {
		if (!holds(fs, &set.expects[i], &res.tip, &res)) {
			fs_record(fs, w, ns, key, LEDGER_ECONFLICT, &set.expects[i], &res);
			mark_refused(fs, ns, keys, key ? 1 : 0, &hw);
			return LEDGER_ECONFLICT;
		}
	}
	return 0;
}
