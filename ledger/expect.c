/* SPDX-License-Identifier: MIT */
/* Compare-and-swap: does what a writer expects hold of the tip under the lock (SPEC 6)? */
#include "edit.h"
#include "internal.h"
#include "names.h"

const char *ledger_reason_name(enum ledger_reason r)
{
	static const char *const names[] = {"none", "tree", "commit", "version", "blob", "absent", "base", "edit"};

	return (unsigned)r < sizeof(names) / sizeof(*names) ? names[r] : "?";
}

int expects_valid(const struct ledger_expect *x, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int rc = 0;

		if (x[i].what < LEDGER_EXPECT_TREE || x[i].what > LEDGER_EXPECT_ABSENT)
			return ledger_fail(LEDGER_EINVALID, "no such kind of expectation");
		if (x[i].what >= LEDGER_EXPECT_BLOB)
			rc = x[i].path ? names_path_check(x[i].path)
				       : ledger_fail(LEDGER_EINVALID, "an expectation of a key needs its path");
		if (rc)
			return rc;
	}
	return 0;
}

static int conflict(struct ledger_result *res, const struct ledger_tip *tip, enum ledger_reason why, size_t index,
		    const struct ledger_entry *there)
{
	*res = (struct ledger_result){.tip = *tip, .reason = why, .index = index};
	if (there)
		res->blob = there->oid;
	return LEDGER_ECONFLICT;
}

static int conflict_oid(struct ledger_result *res, const struct ledger_tip *tip, enum ledger_reason why, size_t index,
			const struct ledger_oid *want, const struct ledger_oid *is)
{
	conflict(res, tip, why, index, NULL);
	return ledger_fail(LEDGER_ECONFLICT, "%s expected to be %s, it is %s", ledger_reason_name(why), TRACE_OID(want),
			   TRACE_OID(is));
}

/*
 * A key against "this object" (`want`) or "absent" (NULL).  A directory is an object too: its tree.  No value has that name,
 * so it never passes for one.
 */
static int check_key(struct edit *e, const struct ledger_tip *tip, const char *path, const struct ledger_oid *want,
		     enum ledger_reason why, size_t index, struct ledger_result *res)
{
	struct ledger_entry there;
	int rc = edit_lookup(e, path, &there);

	if (rc == LEDGER_ENOTFOUND) {
		if (!want)
			return 0;
		conflict(res, tip, why, index, NULL);
		return ledger_fail(LEDGER_ECONFLICT, "'%s' expected to be %s, it is absent", path, TRACE_OID(want));
	}
	if (rc)
		return rc;
	if (want && ledger_oid_eq(want, &there.oid))
		return 0;
	conflict(res, tip, why, index, &there);
	if (want)
		return ledger_fail(LEDGER_ECONFLICT, "'%s' expected to be %s, it is %s", path, TRACE_OID(want),
				   TRACE_OID(&there.oid));
	return ledger_fail(LEDGER_ECONFLICT, "'%s' expected to be absent, it is %s", path, TRACE_OID(&there.oid));
}

static int check_one(struct edit *e, const struct ledger_tip *tip, const struct ledger_expect *x, size_t i,
		     struct ledger_result *res)
{
	switch (x->what) {
	case LEDGER_EXPECT_TREE:
		if (ledger_oid_eq(&x->oid, &tip->tree))
			return 0;
		return conflict_oid(res, tip, LEDGER_REASON_TREE, i, &x->oid, &tip->tree);
	case LEDGER_EXPECT_COMMIT:
		if (ledger_oid_eq(&x->oid, &tip->commit))
			return 0;
		return conflict_oid(res, tip, LEDGER_REASON_COMMIT, i, &x->oid, &tip->commit);
	case LEDGER_EXPECT_VERSION:
		if (x->version == tip->version)
			return 0;
		conflict(res, tip, LEDGER_REASON_VERSION, i, NULL);
		return ledger_fail(LEDGER_ECONFLICT, "version expected to be %llu, it is %llu",
				   (unsigned long long)x->version, (unsigned long long)tip->version);
	case LEDGER_EXPECT_BLOB:
		return check_key(e, tip, x->path, &x->oid, LEDGER_REASON_BLOB, i, res);
	case LEDGER_EXPECT_ABSENT:
		return check_key(e, tip, x->path, NULL, LEDGER_REASON_ABSENT, i, res);
	}
	return LEDGER_EINVALID;
}

int expects_hold(struct edit *e, const struct ledger_tip *tip, const struct ledger_expect *x, size_t n,
		 struct ledger_result *res)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < n; i++)
		rc = check_one(e, tip, &x[i], i, res);
	return rc;
}

int bases_hold(struct edit *e, const struct ledger_tip *tip, const struct ledger_edit *ed, size_t n,
	       struct ledger_result *res)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < n; i++) {
		const struct ledger_oid *want = ed[i].base_rule == LEDGER_BASE_BLOB ? &ed[i].base : NULL;

		if (ed[i].base_rule != LEDGER_BASE_ANY)
			rc = check_key(e, tip, ed[i].path, want, LEDGER_REASON_BASE, i, res);
	}
	return rc;
}
