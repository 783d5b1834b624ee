/* SPDX-License-Identifier: MIT */
/*
 * The Nth call that changes the disk fails, for every N of a scripted workload, and so do allocations; then everything
 * that was acknowledged is there, nothing that was refused is, reads went on, and git finds nothing to complain about.
 * LEDGERFS_FAULT_STRIDE: only every so many N (default 7; 1: all).
 */
#include "../../ledger/engine/io.h"
#include "../ledger/helper.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/stat.h>

/* --- the fault ------------------------------------------------------------------------------------------------------ */

enum kind { WRITES, SYNCS, NAMES, ALLOCS };

static struct {
	atomic_long seen; /* calls of the kind */
	long from, count; /* fail calls [from, from+count) */
	enum kind kind;
	int err; /* 0: a short write, then EIO */
	atomic_bool sync_failed, hit;
} fault;

static bool of_kind(enum io_op op)
{
	switch (op) {
	case IO_WRITE:
		return fault.kind == WRITES;
	case IO_FSYNC:
	case IO_FDATASYNC:
	case IO_SYNCFS:
		return fault.kind == SYNCS;
	case IO_ALLOC:
		return fault.kind == ALLOCS;
	case IO_CLOSE:
		return false;
	default:
		return fault.kind == NAMES;
	}
}

static int before(void *arg, struct io_call *c)
{
	long n;

	if (!of_kind(c->op))
		return 0;
	n = atomic_fetch_add(&fault.seen, 1);
	if (n < fault.from || n >= fault.from + fault.count)
		return 0;
	atomic_store(&fault.hit, true);
	if (fault.kind == SYNCS)
		atomic_store(&fault.sync_failed, true);
	if (fault.err || c->len < 2)
		return fault.err ? fault.err : EIO;
	/* Half of it goes, and nothing more. */
	if (n + 1 < fault.from + fault.count) {
		c->len /= 2;
		return 0;
	}
	return EIO;
}

static void after(void *arg, const struct io_call *c, int ret)
{
}

static const struct io_hook hook = {before, after, NULL};

static void arm(enum kind kind, long from, long count, int err)
{
	fault.kind = kind;
	fault.from = from;
	fault.count = count;
	fault.err = err;
	atomic_store(&fault.seen, 0);
	atomic_store(&fault.hit, false);
	atomic_store(&fault.sync_failed, false);
	io_hook_set(&hook);
}

/* --- the workload --------------------------------------------------------------------------------------------------- */

#define KEYS 4

/* What must be in namespace `app`, key by key; a failed sync leaves it open whether its change is there. */
struct model {
	char value[KEYS][32]; /* "": absent */
	char maybe[KEYS][32];
	bool ns, in_doubt;
	long acked;
	uint64_t version;
};

static char big[700 << 10];

static void set_key(struct ledger *l, struct model *m, int k, const char *text, bool large)
{
	struct ledger_edit e = {.op = LEDGER_SET, .flags = LEDGER_PARENTS, .kind = LEDGER_FILE};
	struct ledger_change c = {.ns = "app", .edits = &e, .nedits = 1, .actor = actor, .create = true};
	struct ledger_result res = {0};
	char path[32];
	int rc;

	snprintf(path, sizeof(path), "d%d/key%d", k % 2, k);
	e.path = path;
	if (large) {
		memset(big, 'b', sizeof(big));
		memcpy(big, text, strlen(text));
		big[strlen(text)] = '\n';
	}
	if (ledger_value_new(l, large ? big : text, large ? sizeof(big) : strlen(text), &e.value))
		return;
	rc = ledger_commit(l, &c, &res);
	ledger_value_unref(e.value);
	if (!rc) {
		assert_true(res.changed);
		snprintf(m->value[k], sizeof(m->value[k]), "%s", text);
		m->version = res.tip.version;
		m->ns = true;
		m->acked++;
	} else if (rc == LEDGER_EDEAD) {
		/* The first one: what comes after it does not even begin. */
		if (!m->in_doubt)
			snprintf(m->maybe[k], sizeof(m->maybe[k]), "%s", text);
		m->in_doubt = true;
	} else {
		assert_true(rc == LEDGER_EIO || rc == LEDGER_ENOSPC || rc == LEDGER_ENOMEM || rc == LEDGER_EACCES);
	}
}

/* Two refs in one group; afterwards back again, so that the model need not know. */
static void rename_there_and_back(struct ledger *l, struct model *m)
{
	int rc = ledger_ns_rename(l, "app", "team/other", NULL, 0, NULL);

	if (rc == LEDGER_EDEAD)
		m->in_doubt = true;
	if (rc)
		return;
	for (int i = 0; i < 20; i++) {
		rc = ledger_ns_rename(l, "team/other", "app", NULL, 0, NULL);
		if (!rc)
			return;
		if (rc == LEDGER_EDEAD) {
			m->in_doubt = true;
			return;
		}
	}
	fail_msg("the namespace cannot be renamed back: %s", ledger_errmsg());
}

static char *read_key(struct ledger *l, const char *ns, int k)
{
	static char text[64];
	struct ledger_tip tip;
	struct ledger_entry there;
	struct ledger_value *v;
	char path[32];
	ssize_t n;

	snprintf(path, sizeof(path), "d%d/key%d", k % 2, k);
	if (ledger_tip(l, ns, &tip) || ledger_lookup(l, &tip.tree, path, &there))
		return "";
	assert_ok(ledger_value_get(l, &there.oid, &v));
	n = ledger_value_pread(v, text, sizeof(text) - 1, 0);
	assert_true(n >= 0);
	text[n] = 0;
	text[strcspn(text, "\n")] = 0;
	ledger_value_unref(v);
	return text;
}

static void workload(struct ledger *l, struct model *m)
{
	char text[32];

	for (int i = 0; i < 14; i++) {
		snprintf(text, sizeof(text), "value %d", i);
		set_key(l, m, i % KEYS, text, i == 9);
		if (i == 6)
			rename_there_and_back(l, m);
	}
}

/* All of the model and nothing else; what is in doubt may be either. */
static void check_model(struct fixture *f, const struct model *m, const char *what)
{
	const char *ns = "app";
	struct ledger_tip tip;

	if (ledger_tip(f->l, "app", &tip) && m->in_doubt)
		ns = "team/other";
	for (int k = 0; k < KEYS; k++) {
		const char *have = read_key(f->l, ns, k);

		if (strcmp(have, m->value[k]) == 0 || (m->in_doubt && m->maybe[k][0] && strcmp(have, m->maybe[k]) == 0))
			continue;
		print_error("%s: key %d is \"%s\", acknowledged was \"%s\"\n", what, k, have, m->value[k]);
		fail();
	}
	assert_string_equal(git(f, "for-each-ref refs/kv-lost"), "");
	if (git_status(f, "fsck --strict --full >%s/fsck 2>&1", f->dir))
		fail_msg("%s: git fsck complains", what);
}

static void remove_repo(struct fixture *f)
{
	char cmd[400];

	snprintf(cmd, sizeof(cmd), "rm -rf %s", f->repo);
	assert_int_equal(system(cmd), 0);
}

static const char *const kinds[] = {"write", "sync", "name", "allocation"};

/* The workload with one fault; false when it came to its end without meeting it. */
static bool one(struct fixture *f, struct ledger_options o, enum kind kind, long from, long count, int err)
{
	struct model m = {0};
	char what[120];
	bool hit;

	snprintf(what, sizeof(what), "%s %s %ld..%ld, errno %d", o.publish ? "async" : "sync", kinds[kind], from,
		 from + count, err);
	o.init = true;
	remove_repo(f);
	/* A repository that is half made is libgit2's matter: the fault comes later. */
	assert_ok(ledger_open(&f->l, f->repo, &o));
	arm(kind, from, count, err);
	workload(f->l, &m);
	hit = atomic_load(&fault.hit);
	if (atomic_load(&fault.sync_failed) || m.in_doubt) {
		/* Final: but reading goes on. */
		if (!m.in_doubt && m.ns)
			assert_string_equal(read_key(f->l, "app", 0), m.value[0]);
	} else {
		io_hook_set(NULL);
		/* The disk is well again: so is the ledger. */
		set_key(f->l, &m, 0, "afterwards", false);
		if (strcmp(m.value[0], "afterwards") != 0)
			fail_msg("%s: nothing can be committed afterwards: %s", what, ledger_errmsg());
	}
	ledger_free(f->l);
	io_hook_set(NULL);
	o.init = false;
	if (ledger_open(&f->l, f->repo, &o))
		fail_msg("%s: cannot be opened again: %s", what, ledger_errmsg());
	check_model(f, &m, what);
	ledger_free(f->l);
	f->l = NULL;
	return hit;
}

static void every(struct fixture *f, enum kind kind, long count, int err)
{
	const char *env = getenv("LEDGERFS_FAULT_STRIDE");
	long stride = env ? atol(env) : 7, tried = 0;

	ledger_free(f->l);
	f->l = NULL;
	for (int async = 0; async < 2; async++) {
		struct ledger_options o = {.publish = async ? LEDGER_PUBLISH_ASYNC : LEDGER_PUBLISH_SYNC, .no_upkeep = true};

		for (long n = async ? stride / 2 : 0; one(f, o, kind, n, count, err); n += stride)
			tried++;
	}
	assert_true(tried * stride > 40);
	print_message("%ld places of failure (%s)\n", tried, kinds[kind]);
	assert_ok(ledger_open(&f->l, f->repo, NULL));
}

static void writes_fail(void **state)
{
	every(*state, WRITES, 1, EIO);
}

static void writes_are_short(void **state)
{
	every(*state, WRITES, 2, 0);
}

static void disk_is_full(void **state)
{
	every(*state, WRITES, 12, ENOSPC);
}

static void syncs_fail(void **state)
{
	every(*state, SYNCS, 1, EIO);
}

static void names_fail(void **state)
{
	every(*state, NAMES, 1, EIO);
}

static void no_room_for_names(void **state)
{
	every(*state, NAMES, 9, ENOSPC);
}

static void no_memory(void **state)
{
	every(*state, ALLOCS, 1, ENOMEM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(writes_fail, fixture_setup_synced, fixture_teardown),
		cmocka_unit_test_setup_teardown(writes_are_short, fixture_setup_synced, fixture_teardown),
		cmocka_unit_test_setup_teardown(disk_is_full, fixture_setup_synced, fixture_teardown),
		cmocka_unit_test_setup_teardown(syncs_fail, fixture_setup_synced, fixture_teardown),
		cmocka_unit_test_setup_teardown(names_fail, fixture_setup_synced, fixture_teardown),
		cmocka_unit_test_setup_teardown(no_room_for_names, fixture_setup_synced, fixture_teardown),
		cmocka_unit_test_setup_teardown(no_memory, fixture_setup_synced, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
