/* SPDX-License-Identifier: MIT */
/* What is counted of attempts, and how it is told. */
#include "helper.h"
#include "histogram.h"
#include "internal.h"
#include "topkeys.h"

#include <ledger/stats.h>

static struct ledger_stats of(struct ledger *l, const char *ns)
{
	struct ledger_stats s;

	ledger_stats_get(l, ns, &s);
	return s;
}

static void durations(void **state)
{
	static struct histogram h;
	double q;

	(void)state;
	assert_true(histogram_quantile(&h, 0.5) == 0);
	for (uint64_t us = 1; us <= 100000; us++)
		histogram_add(&h, us);
	for (int i = 0; i < 3; i++) {
		const double share[] = {0.5, 0.95, 0.99};

		q = histogram_quantile(&h, share[i]);
		assert_true(q > share[i] * 0.1 * 0.96 && q < share[i] * 0.1 * 1.04);
	}
	assert_int_equal(h.count, 100000);
	/* Every power of two and its neighbours: in order, and no further off than a bucket. */
	q = 0;
	for (unsigned bit = 1; bit < 27; bit++)
		for (int d = -1; d <= 1; d++) {
			struct histogram one = {0};
			double us = (double)((1ULL << bit) + (uint64_t)d), got;

			histogram_add(&one, (uint64_t)us);
			got = histogram_quantile(&one, 1) * 1e6;
			assert_true(got >= us * 31 / 32 - 1e-6 && got <= us * 33 / 32 + 1e-6);
			assert_true(got >= q);
			q = got;
		}
	for (int i = 0; i < 200000; i++)
		histogram_add(&h, UINT64_MAX >> 20); /* beyond the table: in its last bucket */
	assert_true(histogram_quantile(&h, 0.99) > 100);
}

static void frequent_keys(void **state)
{
	static struct topkeys t;
	struct topkey out[5];
	char key[TOPKEYS_NAME_MAX + 8];

	(void)state;
	assert_int_equal(topkeys_list(&t, out, 5), 0);
	for (int round = 0; round < 1000; round++) {
		snprintf(key, sizeof(key), "rare%d", round);
		topkeys_add(&t, key);
		topkeys_add(&t, "often");
		if (round % 2)
			topkeys_add(&t, "half");
	}
	memset(key, 'x', sizeof(key));
	key[TOPKEYS_NAME_MAX + 1] = '\0';
	for (int i = 0; i < 2000; i++)
		topkeys_add(&t, key); /* too long to be watched */
	assert_int_equal(t.n, TOPKEYS);
	assert_int_equal(topkeys_list(&t, out, 5), 5);
	assert_string_equal(out[0].key, "often");
	assert_int_equal(out[0].count - out[0].over, 1000);
	assert_string_equal(out[1].key, "half");
	assert_true(out[1].count >= 500 && out[1].count - out[1].over <= 500);
	topkeys_release(&t);
}

static int set_if(struct ledger *l, enum ledger_expect_what what, const struct ledger_oid *oid, uint64_t version)
{
	struct ledger_expect x = {.what = what, .version = version, .path = "k"};

	if (oid)
		x.oid = *oid;
	return set_expecting(l, "k", "refused", x, NULL);
}

static void every_outcome(void **state)
{
	struct fixture *f = *state;
	struct ledger_oid no = oid_of("1111111111111111111111111111111111111111");
	struct ledger_result r;
	struct ledger_stats s;
	struct ledger_value *v;

	assert_int_equal(of(f->l, "app").attempts, 0);
	assert_ok(set(f->l, "k", "1", &r));
	assert_ok(set(f->l, "k", "1", NULL));
	assert_rc(set_if(f->l, LEDGER_EXPECT_TREE, &no, 0), LEDGER_ECONFLICT);
	assert_rc(set_if(f->l, LEDGER_EXPECT_COMMIT, &no, 0), LEDGER_ECONFLICT);
	assert_rc(set_if(f->l, LEDGER_EXPECT_VERSION, NULL, 77), LEDGER_ECONFLICT);
	assert_rc(set_if(f->l, LEDGER_EXPECT_BLOB, &no, 0), LEDGER_ECONFLICT);
	assert_rc(set_if(f->l, LEDGER_EXPECT_ABSENT, NULL, 0), LEDGER_ECONFLICT);
	v = value_of(f->l, "2");
	for (int i = LEDGER_BASE_BLOB; i <= LEDGER_BASE_ABSENT; i++)
		assert_rc(change1(f->l,
				  (struct ledger_edit){.op = LEDGER_SET,
						       .path = "k",
						       .kind = LEDGER_FILE,
						       .value = v,
						       .base_rule = (enum ledger_base)i,
						       .base = no},
				  NULL, NULL),
			  LEDGER_ECONFLICT);
	ledger_value_unref(v);
	assert_ok(plain(f->l, LEDGER_MKDIR, "d", NULL, 0));
	assert_rc(plain(f->l, LEDGER_MKDIR, "d", NULL, 0), LEDGER_EEXISTS);
	assert_rc(plain(f->l, LEDGER_DELETE, "none", NULL, 0), LEDGER_ENOTFOUND);
	assert_rc(set(f->l, "bad//path", "x", NULL), LEDGER_EINVALID); /* no attempt */
	ledger_stats_refused(f->l, "app", LEDGER_REASON_TREE, false, "seen");
	s = of(f->l, "app");
	assert_int_equal(s.commits, 2);
	assert_int_equal(s.unchanged, 1);
	assert_int_equal(s.conflicts[LEDGER_REFUSED_TREE], 2);
	assert_int_equal(s.conflicts[LEDGER_REFUSED_COMMIT], 1);
	assert_int_equal(s.conflicts[LEDGER_REFUSED_VERSION], 1);
	assert_int_equal(s.conflicts[LEDGER_REFUSED_BLOB], 1);
	assert_int_equal(s.conflicts[LEDGER_REFUSED_ABSENT], 1);
	assert_int_equal(s.conflicts[LEDGER_REFUSED_BASE], 1);
	assert_int_equal(s.conflicts[LEDGER_REFUSED_EXISTS], 2);
	assert_int_equal(s.failures, 1);
	assert_int_equal(s.attempts, 2 + 1 + 9 + 1);
	assert_int_equal(s.timed, s.attempts - s.failures - 1);
	assert_true(s.p50 > 0 && s.p50 <= s.p95 && s.p95 <= s.p99 && s.seconds > 0);
}

/* Another writer moves the ref: what is built on its commit counts once; what we make ourselves never does. */
static void moved(void **state)
{
	struct fixture *f = *state;
	struct ledger *other = open_again(f);

	assert_ok(set(f->l, "k", "1", NULL));
	assert_ok(set(f->l, "k", "2", NULL));
	assert_int_equal(of(f->l, "app").moved_retries, 0);
	assert_ok(set(other, "k", "3", NULL));
	assert_ok(set(f->l, "k", "4", NULL));
	assert_int_equal(of(f->l, "app").moved_retries, 1);
	git(f, "update-ref refs/kv/app refs/kv/app~1");
	assert_ok(set(f->l, "k", "5", NULL));
	assert_int_equal(of(f->l, "app").moved_retries, 2);
	assert_ok(ledger_ns_delete(f->l, "app", true, NULL, 0, NULL));
	assert_ok(ledger_ns_create(f->l, "app", &actor, NULL));
	assert_ok(ledger_ns_rename(f->l, "app", "b", NULL, 0, NULL));
	assert_ok(ledger_ns_rename(f->l, "b", "app", NULL, 0, NULL));
	assert_ok(set(f->l, "k", "6", NULL));
	assert_int_equal(of(f->l, "app").moved_retries, 2);
	ledger_free(other);
}

static void held_lock(void **state)
{
	struct fixture *f = *state;
	struct ledger_stats s;
	char path[400];
	FILE *lock;

	assert_ok(set(f->l, "k", "1", NULL));
	snprintf(path, sizeof(path), "%s/refs/kv/app.lock", f->repo);
	lock = fopen(path, "wx");
	assert_non_null(lock);
	f->l->lock_wait_ms = 50;
	assert_rc(set(f->l, "k", "2", NULL), LEDGER_ELOCKED);
	assert_int_equal(fclose(lock) || unlink(path), 0);
	s = of(f->l, "app");
	assert_int_equal(s.lock_timeouts, 1);
	assert_true(s.lock_retries > 0);
	assert_int_equal(s.attempts, 2);
	assert_int_equal(s.timed, 1);
	assert_string_equal(get(f->l, "k"), "1");
}

static char *text_of(struct ledger *l, const char *ns)
{
	char *text;
	size_t len;

	assert_ok(ledger_stats_text(l, ns, &text, &len));
	assert_int_equal(strlen(text), len);
	assert_int_equal(text[len - 1], '\n');
	return text;
}

static void __attribute__((nonnull, noinline)) assert_has(const char *text, const char *part)
{
	if (strstr(text, part))
		return;
	print_error("%s\nis not in:\n%s", part, text);
	fail();
}

static void text(void **state)
{
	struct fixture *f = *state;
	static const char *const names[][2] = {
		{"plain", "key=\"plain\""},
		{"a\nb\"c\\d", "key=\"\\\"a\\\\nb\\\\\\\"c\\\\\\\\d\\\"\""},
		{"latin\xe9", "key=\"\\\"latin\\\\351\\\"\""},
		{"half\xed\xa0\x80", "key=\"\\\"half\\\\355\\\\240\\\\200\\\"\""}, /* a surrogate is no UTF-8 */
		{"gr\xc3\xbc\xc3\x9f", "key=\"gr\xc3\xbc\xc3\x9f\""},
	};
	char *t;

	/* Nothing was tried: all series are there, with zeros, so that rates have a start. */
	t = text_of(f->l, "app");
	assert_has(t, "# HELP ledgerfs_attempts_total ");
	assert_has(t, "# TYPE ledgerfs_attempts_total counter\nledgerfs_attempts_total{namespace=\"app\"} 0\n");
	assert_has(t, "ledgerfs_conflicts_total{namespace=\"app\",reason=\"exists\"} 0\n");
	assert_has(t, "ledgerfs_change_duration_seconds{namespace=\"app\",quantile=\"0.5\"} NaN\n");
	free(t);
	assert_ok(set(f->l, "k", "1", NULL));
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		ledger_stats_refused(f->l, "app", LEDGER_REASON_BLOB, false, names[i][0]);
	t = text_of(f->l, NULL);
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		assert_has(t, names[i][1]);
	assert_has(t, "ledgerfs_commits_total{namespace=\"app\"} 1\n");
	assert_has(t, "ledgerfs_successes_total{namespace=\"app\"} 1\n");
	assert_has(t, "ledgerfs_conflicts_total{namespace=\"app\",reason=\"blob\"} 5\n");
	assert_has(t, "ledgerfs_change_duration_seconds_count{namespace=\"app\"} 1\n");
	assert_has(t, "ledgerfs_retries_total{namespace=\"app\",cause=\"moved\"} 0\n");
	free(t);
	t = text_of(f->l, "other");
	assert_null(strstr(t, "\"app\""));
	free(t);
}

static void many_namespaces(void **state)
{
	struct fixture *f = *state;
	char ns[32];
	char *t;

	for (int i = 0; i < LEDGER_STATS_NAMESPACES + 5; i++) {
		snprintf(ns, sizeof(ns), "n%d", i);
		ledger_stats_refused(f->l, ns, LEDGER_REASON_TREE, false, NULL);
	}
	assert_int_equal(of(f->l, "n0").attempts, 1);
	assert_int_equal(of(f->l, "n1023").attempts, 1);
	assert_int_equal(of(f->l, "n1024").attempts, 0);
	assert_int_equal(of(f->l, "").attempts, 5);
	t = text_of(f->l, NULL);
	assert_has(t, "ledgerfs_attempts_total{namespace=\"\"} 5\n");
	free(t);
	/* Names that are no namespaces get no room. */
	assert_rc(plain(f->l, LEDGER_DELETE, "k", NULL, 0), LEDGER_ENOTFOUND);
	assert_int_equal(of(f->l, "app").attempts, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(durations),
		cmocka_unit_test(frequent_keys),
		cmocka_unit_test_setup_teardown(every_outcome, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(moved, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(held_lock, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(text, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(many_namespaces, fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
