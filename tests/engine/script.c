/* SPDX-License-Identifier: MIT */
#include "script.h"

#include "fault.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

extern char **environ;

/* --- the workload --------------------------------------------------------------------------------------------------- */

/* The change is about to be tried: from now on it may be there. */
static void begin(struct model *m)
{
	if (!m->dead)
		m->doubt = true;
}

static void end(struct model *m, int rc)
{
	if (m->dead) {
		assert_true(rc != 0);
		return;
	}
	if (rc == LEDGER_EDEAD) {
		m->dead = true;
		return;
	}
	if (!rc) {
		m->now = m->next;
		m->acked++;
	} else if (rc != LEDGER_EIO && rc != LEDGER_ENOSPC && rc != LEDGER_ENOMEM && rc != LEDGER_EACCES &&
		   rc != LEDGER_EROFS) {
		/* A namespace that could not be made is not there to be renamed or deleted. */
		assert_true(rc == LEDGER_ENOTFOUND || rc == LEDGER_EEXISTS);
	}
	m->doubt = false;
}

/* What follows if the change works; nothing once it is known that no other begins. */
static struct state *next(struct model *m)
{
	static struct state ignored;

	if (m->dead)
		return &ignored;
	m->doubt = false;
	m->next = m->now;
	return &m->next;
}

static const char *path_of(char out[32], int k, bool twin)
{
	snprintf(out, 32, twin ? "twin/key%d" : "d%d/key%d", twin ? k : k % 2, k);
	return out;
}

/* The key and its twin in one commit; "" deletes them.  A value of more bytes begins with the text. */
static int set_key(struct ledger *l, struct model *m, int k, const char *text, size_t bytes)
{
	static char big[700 << 10];
	char path[2][32], ns[16];
	struct ledger_value *v = NULL;
	struct ledger_edit e[2];
	struct ledger_change c = {.ns = ns, .edits = e, .nedits = 2, .actor = actor, .create = true};
	struct state *s = next(m);
	struct ledger_result res = {0};
	int rc = 0;

	snprintf(ns, sizeof(ns), "%s", *m->now.at ? m->now.at : "app");
	if (!*text && !*m->now.value[k])
		return 0;
	snprintf(s->at, sizeof(s->at), "%s", ns);
	snprintf(s->value[k], sizeof(s->value[k]), "%s", text);
	if (bytes) {
		memset(big, 'b', bytes);
		memcpy(big, text, strlen(text));
		big[strlen(text)] = '\n';
	}
	if (*text)
		rc = ledger_value_new(l, bytes ? big : text, bytes ? bytes : strlen(text), &v);
	if (rc)
		return rc;
	for (int i = 0; i < 2; i++)
		e[i] = (struct ledger_edit){.op = v ? LEDGER_SET : LEDGER_DELETE,
					    .flags = v ? LEDGER_PARENTS : 0,
					    .kind = LEDGER_FILE,
					    .path = path_of(path[i], k, i),
					    .value = v};
	begin(m);
	rc = ledger_commit(l, &c, &res);
	end(m, rc);
	if (v)
		ledger_value_unref(v);
	assert_true(rc || res.changed);
	return rc;
}

/* Names in packed-refs: they go by another way. */
static void pack_refs(struct ledger *l)
{
	posix_spawn_file_actions_t quiet;
	char *argv[] = {"git", "-C", (char *)ledger_gitdir(l), "pack-refs", "--all", NULL};
	int status;
	pid_t pid;

	/* It may find a ref locked, or moved meanwhile: that one stays loose. */
	posix_spawn_file_actions_init(&quiet);
	posix_spawn_file_actions_addopen(&quiet, 2, "/dev/null", O_WRONLY, 0);
	fault_hold();
	assert_int_equal(posix_spawnp(&pid, "git", &quiet, NULL, argv, environ), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	fault_release();
	posix_spawn_file_actions_destroy(&quiet);
}

static void rename_to(struct ledger *l, struct model *m, const char *to)
{
	char from[16];
	struct state *s = next(m);

	memcpy(from, m->now.at, sizeof(from));
	if (!*from || strcmp(from, to) == 0)
		return;
	snprintf(s->at, sizeof(s->at), "%s", to);
	begin(m);
	end(m, ledger_ns_rename(l, from, to, NULL, 0, NULL));
}

static void side(struct ledger *l, struct model *m, enum script_side to)
{
	struct state *s = next(m);
	struct ledger_tip tip;

	if (to == SIDE_ARCHIVED ? m->now.side != SIDE_THERE : m->now.side == SIDE_THERE)
		return;
	s->side = to;
	begin(m);
	if (to == SIDE_ARCHIVED)
		end(m, ledger_ns_delete(l, "side", true, NULL, 0, NULL));
	else if (m->now.side == SIDE_ARCHIVED)
		end(m, ledger_ns_restore(l, "side", 0, &tip));
	else
		end(m, ledger_ns_create(l, "side", &actor, &tip));
}

void script_run(struct ledger *l, struct model *m)
{
	set_key(l, m, 0, "first", 0);
	set_key(l, m, 1, "second", 0);
	rename_to(l, m, "team/other"); /* two refs: the journal is made at once */
	set_key(l, m, 2, "third", 0);
	set_key(l, m, 0, "bulky 1", 100 << 10);
	side(l, m, SIDE_THERE);
	set_key(l, m, 3, "bulky 2", 120 << 10); /* three quarters of the small journal: a checkpoint begins */
	set_key(l, m, 1, "after the cut", 0);
	side(l, m, SIDE_ARCHIVED);
	set_key(l, m, 2, "large", 700 << 10);
	pack_refs(l);
	rename_to(l, m, "app");
	set_key(l, m, 3, "", 0);
	side(l, m, SIDE_THERE);
	set_key(l, m, 3, "came back", 0);
	set_key(l, m, 0, "last", 0);
}

void script_after(struct ledger *l, struct model *m, const char *what)
{
	int rc = set_key(l, m, 0, "afterwards", 0);

	if (rc)
		fail_msg("%s: nothing can be committed afterwards: %s: %s", what, ledger_error_name(rc), ledger_errmsg());
}

/* --- what is there -------------------------------------------------------------------------------------------------- */

static void read_key(struct ledger *l, const char *ns, int k, bool twin, char out[24])
{
	struct ledger_tip tip;
	struct ledger_entry there;
	struct ledger_value *v;
	char path[32];
	ssize_t n;
	int rc;

	*out = 0;
	assert_ok(ledger_tip(l, ns, &tip));
	rc = ledger_lookup(l, &tip.tree, path_of(path, k, twin), &there);
	if (rc == LEDGER_ENOTFOUND || rc == LEDGER_ENOTDIR)
		return;
	assert_ok(rc);
	assert_ok(ledger_value_get(l, &there.oid, &v));
	n = ledger_value_pread(v, out, 23, 0);
	assert_true(n > 0);
	out[n] = 0;
	out[strcspn(out, "\n")] = 0;
	ledger_value_unref(v);
}

/* Dead in the midst of a move of two refs that went neither on nor back, perhaps: recovery makes it whole. */
static bool half_way(const struct model *m)
{
	return m->dead && m->doubt;
}

static int count_side(void *arg, const char *ns, uint64_t version)
{
	*(int *)arg += strcmp(ns, "side") == 0;
	return 0;
}

static enum script_side read_side(struct ledger *l, const struct model *m, const char *what)
{
	struct ledger_tip tip;
	int archived = 0, rc;

	assert_ok(ledger_ns_archived_each(l, count_side, &archived));
	rc = ledger_tip(l, "side", &tip);
	if (rc != LEDGER_ENOTFOUND)
		assert_ok(rc);
	if (archived + !rc > 1 && !(half_way(m) && m->now.side != m->next.side))
		fail_msg("%s: the namespace `side` is there and archived", what);
	return !rc ? SIDE_THERE : archived ? SIDE_ARCHIVED : SIDE_NONE;
}

static void read_state(struct ledger *l, const struct model *m, struct state *s, const char *what)
{
	static const char *const names[] = {"app", "team/other"};
	struct ledger_tip tip;
	char twin[24];

	memset(s, 0, sizeof(*s));
	for (int i = 0; i < 2; i++) {
		int rc = ledger_tip(l, names[i], &tip);

		if (rc == LEDGER_ENOTFOUND)
			continue;
		if (rc)
			fail_msg("%s: %s: %s", what, names[i], ledger_errmsg());
		if (*s->at && half_way(m) && strcmp(m->now.at, m->next.at) != 0)
			break;
		if (*s->at)
			fail_msg("%s: the namespace has both names", what);
		snprintf(s->at, sizeof(s->at), "%s", names[i]);
	}
	for (int k = 0; *s->at && k < SCRIPT_KEYS; k++) {
		read_key(l, s->at, k, false, s->value[k]);
		read_key(l, s->at, k, true, twin);
		if (strcmp(twin, s->value[k]) != 0)
			fail_msg("%s: half a commit: key %d is \"%s\", its twin \"%s\"", what, k, s->value[k], twin);
	}
	s->side = read_side(l, m, what);
}

static bool same(const struct state *a, const struct state *b)
{
	if (strcmp(a->at, b->at) != 0 || a->side != b->side)
		return false;
	for (int k = 0; k < SCRIPT_KEYS; k++)
		if (strcmp(a->value[k], b->value[k]) != 0)
			return false;
	return true;
}

static void print_state(const char *name, const struct state *s)
{
	print_error("%-12s \"%s\", side %d:", name, s->at, s->side);
	for (int k = 0; k < SCRIPT_KEYS; k++)
		print_error(" \"%s\"", s->value[k]);
	print_error("\n");
}

void script_read(struct ledger *l, const struct model *m, const char *what)
{
	struct state s;

	read_state(l, m, &s, what);
	if (same(&s, &m->now) || (m->doubt && same(&s, &m->next)))
		return;
	print_state("acknowledged", &m->now);
	if (m->doubt)
		print_state("or", &m->next);
	print_state("found", &s);
	fail_msg("%s: not what was acknowledged", what);
}

/* --- git's view ----------------------------------------------------------------------------------------------------- */

static int git_fsck(struct fixture *f)
{
	char *argv[] = {"git", "-C", f->repo, "fsck", "--strict", "--full", "--no-progress", NULL};
	char out[400];
	posix_spawn_file_actions_t files;
	int status;
	pid_t pid;

	snprintf(out, sizeof(out), "%s/fsck", f->dir);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, 1, out, O_WRONLY | O_CREAT | O_TRUNC, 0666);
	posix_spawn_file_actions_adddup2(&files, 1, 2);
	assert_int_equal(posix_spawnp(&pid, "git", &files, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&files);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static const char *walk_what;

/* No lock, no file that was under way, no directory of an owner; and nothing was parked. */
static int look(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	const char *name = path + ftw->base, *parent = strstr(path, "/repo/");
	size_t n = strlen(name);

	if (n > 5 && strcmp(name + n - 5, ".lock") == 0)
		fail_msg("%s: left behind: %s", walk_what, path);
	if (parent && strncmp(parent, "/repo/objects/pack/", 19) == 0 && strncmp(name, "pack-", 5) != 0)
		fail_msg("%s: left behind: %s", walk_what, path);
	if (parent && strncmp(parent, "/repo/kv/", 9) == 0 && type == FTW_DP)
		fail_msg("%s: left behind: %s", walk_what, path);
	if (strcmp(name, "kv-lost") == 0)
		fail_msg("%s: something is kept as lost", walk_what);
	return 0;
}

void script_check(struct fixture *f, struct ledger_options o, const struct model *m, const char *what)
{
	struct model whole = *m;
	struct ledger *l;
	char cmd[400];

	o.init = false;
	if (ledger_open(&l, f->repo, &o))
		fail_msg("%s: cannot be opened again: %s", what, ledger_errmsg());
	whole.dead = false;
	script_read(l, &whole, what);
	ledger_free(l);
	if (git_fsck(f)) {
		snprintf(cmd, sizeof(cmd), "cat %s/fsck", f->dir);
		system(cmd);
		fail_msg("%s: git fsck complains", what);
	}
	walk_what = what;
	assert_int_equal(nftw(f->repo, look, 32, FTW_DEPTH | FTW_PHYS), 0);
}

/* --- files ---------------------------------------------------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

void script_remove(const char *dir)
{
	assert_true(nftw(dir, remove_one, 32, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT);
}

void script_copy(const char *from, const char *to)
{
	char *argv[] = {"cp", "-a", "--", (char *)from, (char *)to, NULL};
	int status;
	pid_t pid;

	script_remove(to);
	assert_int_equal(posix_spawnp(&pid, "cp", NULL, NULL, argv, environ), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

void script_in_memory(void)
{
	struct statvfs fs;

	if (!getenv("TMPDIR") && statvfs("/dev/shm", &fs) == 0 && !(fs.f_flag & ST_RDONLY) &&
	    access("/dev/shm", W_OK) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize > (48u << 20))
		setenv("TMPDIR", "/dev/shm", 1);
}
