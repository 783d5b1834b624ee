/* SPDX-License-Identifier: MIT */
#include "helper.h"

#include <sys/wait.h>

static bool no_fsck;

const struct ledger_actor actor = {.comm = "test", .pid = 42, .uid = 0};

static void on_log(void *arg, const char *line)
{
	struct fixture *f = arg;
	size_t n = strlen(f->log);

	snprintf(f->log + n, sizeof(f->log) - n, "%s\n", line);
}

static int setup(void **state, bool nosync)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct ledger_options o = {.init = true, .nosync = nosync, .log = on_log, .log_arg = f};
	const char *tmp = getenv("TMPDIR");

	if (!f)
		return -1;
	no_fsck = false;
	snprintf(f->dir, sizeof(f->dir), "%s/ledger-test-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(f->dir))
		return -1;
	snprintf(f->repo, sizeof(f->repo), "%s/repo", f->dir);
	/* Nobody's own configuration may matter. */
	setenv("GIT_CONFIG_NOSYSTEM", "1", 1);
	setenv("GIT_CONFIG_GLOBAL", "/dev/null", 1);
	setenv("HOME", f->dir, 1);
	if (ledger_open(&f->l, f->repo, &o))
		return -1;
	*state = f;
	return 0;
}

int fixture_setup(void **state)
{
	return setup(state, true);
}

int fixture_setup_synced(void **state)
{
	return setup(state, false);
}

void fixture_no_fsck(void)
{
	no_fsck = true;
}

int fixture_teardown(void **state)
{
	struct fixture *f = *state;
	char cmd[400];
	int rc = 0;

	ledger_free(f->l);
	if (!no_fsck)
		rc = git_status(f,
				"fsck --strict --full --no-dangling 2>&1 | grep -v '^notice:' | grep . && exit 1 || true");
	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", f->dir);
	if (system(cmd))
		rc = -1;
	free(f);
	return rc;
}

struct ledger *open_again(struct fixture *f)
{
	struct ledger_options o = {.nosync = true, .log = on_log, .log_arg = f};
	struct ledger *l;

	assert_ok(ledger_open(&l, f->repo, &o));
	return l;
}

static int run(struct fixture *f, const char *fmt, va_list ap, char *out, size_t size)
{
	char cmd[8192];
	int n = snprintf(cmd, sizeof(cmd), "cd '%s' && git ", f->repo);
	size_t len;
	FILE *p;

	vsnprintf(cmd + n, sizeof(cmd) - (size_t)n, fmt, ap);
	p = popen(cmd, "r");
	if (!p)
		return -1;
	len = fread(out, 1, size - 1, p);
	out[len] = '\0';
	if (len && out[len - 1] == '\n')
		out[len - 1] = '\0';
	n = pclose(p);
	return WIFEXITED(n) ? WEXITSTATUS(n) : -1;
}

const char *git(struct fixture *f, const char *fmt, ...)
{
	static char out[1 << 16];
	va_list ap;
	int rc;

	va_start(ap, fmt);
	rc = run(f, fmt, ap, out, sizeof(out));
	va_end(ap);
	if (rc)
		print_error("git %s: status %d\n", fmt, rc);
	assert_int_equal(rc, 0);
	return out;
}

int git_status(struct fixture *f, const char *fmt, ...)
{
	char out[4096];
	va_list ap;
	int rc;

	va_start(ap, fmt);
	rc = run(f, fmt, ap, out, sizeof(out));
	va_end(ap);
	if (rc)
		print_message("git %s: status %d: %s\n", fmt, rc, out);
	return rc;
}

struct ledger_oid oid_of(const char *hex)
{
	struct ledger_oid o;

	assert_ok(ledger_oid_parse(&o, hex, strlen(hex)));
	return o;
}

const char *hex_of(const struct ledger_oid *oid)
{
	static char buf[4][LEDGER_OID_HEXSIZE + 1];
	static int i;

	return ledger_oid_fmt(buf[i++ & 3], oid);
}

struct ledger_value *value_of(struct ledger *l, const char *text)
{
	struct ledger_value *v;

	assert_ok(ledger_value_new(l, text, strlen(text), &v));
	return v;
}

int change1(struct ledger *l, struct ledger_edit e, const struct ledger_expect *x, struct ledger_result *res)
{
	struct ledger_change c = {
		.ns = "app", .edits = &e, .nedits = 1, .expects = x, .nexpects = x != NULL, .actor = actor, .create = true};

	return ledger_commit(l, &c, res);
}

static int set_with(struct ledger *l, const char *path, const char *text, const struct ledger_expect *x,
		    struct ledger_result *res)
{
	struct ledger_value *v = value_of(l, text);
	int rc = change1(l,
			 (struct ledger_edit){
				 .op = LEDGER_SET, .path = path, .flags = LEDGER_PARENTS, .kind = LEDGER_FILE, .value = v},
			 x, res);

	ledger_value_unref(v);
	return rc;
}

int set(struct ledger *l, const char *path, const char *text, struct ledger_result *res)
{
	return set_with(l, path, text, NULL, res);
}

int set_expecting(struct ledger *l, const char *path, const char *text, struct ledger_expect x, struct ledger_result *res)
{
	return set_with(l, path, text, &x, res);
}

int plain(struct ledger *l, enum ledger_op op, const char *path, const char *to, unsigned flags)
{
	return change1(l, (struct ledger_edit){.op = op, .path = path, .to = to, .flags = flags}, NULL, NULL);
}

const char *get(struct ledger *l, const char *path)
{
	static char out[4096];
	struct ledger_tip tip;
	struct ledger_entry e;
	struct ledger_value *v;
	ssize_t n;

	assert_ok(ledger_tip(l, "app", &tip));
	if (ledger_lookup(l, &tip.tree, path, &e))
		return NULL;
	assert_ok(ledger_value_get(l, &e.oid, &v));
	n = ledger_value_pread(v, out, sizeof(out) - 1, 0);
	assert_true(n >= 0);
	out[n] = '\0';
	ledger_value_unref(v);
	return out;
}
