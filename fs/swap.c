/* SPDX-License-Identifier: MIT */
#include "swap.h"

#include "local.h"
#include "ops.h"

#include <errno.h>
#include <ledger/stats.h>
#include <stdlib.h>

/* Reads OID or `absent` from the front of `arg`; what is behind it: "" or ".NAME".  NULL: malformed. */
static const char *parse_expected(const char *arg, struct ledger_expect *e)
{
	size_t n = strcspn(arg, ".");

	if (n == 6 && memcmp(arg, "absent", 6) == 0)
		e->what = LEDGER_EXPECT_ABSENT;
	else if (ledger_oid_parse(&e->oid, arg, n) == 0)
		e->what = LEDGER_EXPECT_BLOB;
	else
		return NULL;
	return arg + n;
}

/* What is hidden as gone is deleted first; any other local file has the name, but no value yet. */
static int clear_local(struct fs *fs, struct place *p)
{
	struct local *l = local_at(fs, p);
	int r = l && l->type == LOCAL_GONE ? local_settle(fs, l) : 0;

	local_unref(fs, l);
	return r;
}

/* A file that is not committed has the name: refused as if the key had another value, and told so. */
static int refuse_local(struct fs *fs, const struct who *w, const struct hold *h, const struct ledger_expect *e)
{
	struct ledger_result res = {.reason = LEDGER_REASON_ABSENT};
	int r = ledger_tip(fs->ledger, h->ns, &res.tip);

	if (r)
		return r;
	if (e->what == LEDGER_EXPECT_BLOB)
		res.reason = LEDGER_REASON_BLOB;
	fs_record(fs, w, h->ns, h->path, LEDGER_ECONFLICT, e, &res);
	ledger_stats_refused(fs->ledger, h->ns, res.reason, false, h->path);
	return LEDGER_ECONFLICT;
}

static int swap_held(fuse_req_t req, const struct hold *h, struct ledger_expect *expected, const char *value, size_t size)
{
	struct fs *fs = fs_of(req);
	struct ledger_edit e = {.op = LEDGER_SET, .path = h->path, .kind = LEDGER_FILE, .flags = LEDGER_KEEP_KIND};
	struct local *l = local_at(fs, h->place);
	struct ledger_result res;
	struct who w;
	int r;

	who_from_req(&w, req);
	expected->path = h->path;
	if (l) {
		local_unref(fs, l);
		return refuse_local(fs, &w, h, expected);
	}
	r = ledger_value_new(fs->ledger, value, size, &e.value);
	if (r)
		return r;
	r = fs_change_if(fs, &w, h->ns, h->path, NULL, expected, &e, 1, &res);
	if (!r && res.changed)
		inode_supersede(fs, h->place);
	ledger_value_unref(e.value);
	return r;
}

static int swap_at(fuse_req_t req, struct place *p, struct ledger_expect *e, const char *value, size_t size)
{
	struct fs *fs = fs_of(req);
	struct hold h;
	int r = clear_local(fs, p);

	if (!r)
		r = hold_begin(fs, p, false, &h);
	if (r)
		return r;
	r = swap_held(req, &h, e, value, size);
	hold_end(fs, &h);
	return r;
}

int swap_value(fuse_req_t req, struct inode *i, bool is_key, const char *arg, const char *value, size_t size)
{
	struct fs *fs = fs_of(req);
	struct ledger_expect e = {0};
	struct place *p = NULL;
	const char *rest = parse_expected(arg, &e);
	int r;

	if (fs->readonly)
		return EROFS;
	if (!rest || (is_key ? *rest != '\0' : *rest != '.'))
		return EINVAL;
	r = is_key ? 0 : child_place(fs, i, rest + 1, &p);
	if (!r)
		r = swap_at(req, is_key ? i->place : p, &e, value, size);
	place_unref(fs, p);
	/* Linux turns EAGAIN from setxattr(2) into ENOTSUP. */
	return r == LEDGER_ECONFLICT || r == LEDGER_ELOCKED ? EBUSY : ledger_errno(r);
}
