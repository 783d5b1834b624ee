/* SPDX-License-Identifier: MIT */
/*
 * Files that are written anew (ledger/engine/spare.c): they are, and never under somebody who has one open, mapped, or by
 * another name.
 */
#include "../../ledger/engine/io.h"
#include "../ledger/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define COMMITS_MAX 20000 /* a fraction of it is enough */
#define SEEN_MAX 4096

/* A file that somebody looks at, and what he saw. */
struct watched {
	char path[420];
	int fd;
	void *map;
	char bytes[4096];
	size_t len;
};

/* Small packs by inode: one that comes again under another name was written anew. */
struct seen {
	struct {
		ino_t ino;
		char name[64];
	} v[SEEN_MAX];
	size_t n, again;
};

static void note(struct seen *s, const char *path)
{
	const char *name = strrchr(path, '/') + 1;
	struct stat st;
	size_t i = 0;

	if (stat(path, &st) < 0)
		return; /* taken away meanwhile */
	while (i < s->n && s->v[i].ino != st.st_ino)
		i++;
	if (i == s->n && s->n++ == SEEN_MAX)
		fail_msg("more files than there can be");
	s->again += s->v[i].name[0] && strcmp(s->v[i].name, name) != 0;
	s->v[i].ino = st.st_ino;
	snprintf(s->v[i].name, sizeof(s->v[i].name), "%s", name);
}

static size_t small_packs(struct fixture *f, const char *suffix, glob_t *found)
{
	char pattern[400];

	snprintf(pattern, sizeof(pattern), "%s/objects/pack/pack-6b76*.%s", f->repo, suffix);
	return glob(pattern, 0, NULL, found) == 0 ? found->gl_pathc : 0;
}

static void watch(struct watched *w, const char *path)
{
	ssize_t n;

	memset(w, 0, sizeof(*w));
	snprintf(w->path, sizeof(w->path), "%s", path);
	w->fd = open(path, O_RDONLY);
	assert_true(w->fd >= 0);
	n = pread(w->fd, w->bytes, sizeof(w->bytes), 0);
	assert_true(n > 0);
	w->len = (size_t)n;
}

static void watch_mapped(struct watched *w, const char *path)
{
	watch(w, path);
	w->map = mmap(NULL, w->len, PROT_READ, MAP_SHARED, w->fd, 0);
	assert_true(w->map != MAP_FAILED);
	close(w->fd);
	w->fd = -1;
}

/* By a second name in the folder of the test. */
static void watch_linked(struct watched *w, const char *path, const char *to)
{
	assert_int_equal(link(path, to), 0);
	watch(w, to);
	close(w->fd);
	w->fd = -1;
}

static void assert_same(struct watched *w)
{
	char now[4096];
	ssize_t n;
	int fd = w->fd;

	if (w->map) {
		assert_memory_equal(w->map, w->bytes, w->len);
		munmap(w->map, w->len);
		return;
	}
	if (fd < 0)
		fd = open(w->path, O_RDONLY);
	n = pread(fd, now, sizeof(now), 0);
	assert_int_equal(n, w->len);
	assert_memory_equal(now, w->bytes, w->len);
	close(fd);
}

static void commit(struct fixture *f, int i)
{
	char text[32];

	snprintf(text, sizeof(text), "%d", i);
	assert_ok(set(f->l, "key", text, NULL));
}

static bool leases(struct fixture *f)
{
	char path[300];
	bool yes;
	int fd;

	snprintf(path, sizeof(path), "%s/probe", f->dir);
	fd = open(path, O_RDWR | O_CREAT, 0666);
	yes = fd >= 0 && fcntl(fd, F_SETLEASE, F_WRLCK) == 0;
	close(fd);
	return yes;
}

static void nobody_sees_a_file_change(void **state)
{
	struct fixture *f = *state;
	char ref[400], to[300];
	struct seen *seen = calloc(1, sizeof(*seen));
	struct watched w[8];
	glob_t packs, idxs;
	struct stat st;
	ino_t last = 0;
	ino_t *files = calloc(COMMITS_MAX, sizeof(*files));
	size_t commits = 0, moved = 0, nfiles = 0, k;
	int n = 0, i = 0;

	assert_non_null(seen);
	assert_non_null(files);
	if (!leases(f)) {
		free(seen);
		free(files);
		skip();
	}
	snprintf(ref, sizeof(ref), "%s/refs/kv/app", f->repo);
	/* The first commits of a process have no small packs. */
	while (i < COMMITS_MAX && small_packs(f, "idx", &idxs) < 4) {
		globfree(&idxs);
		commit(f, i++);
	}
	assert_true(idxs.gl_pathc >= 4 && small_packs(f, "pack", &packs) >= 4);
	watch(&w[n++], packs.gl_pathv[0]);
	watch(&w[n++], idxs.gl_pathv[0]);
	watch_mapped(&w[n++], packs.gl_pathv[1]);
	watch_mapped(&w[n++], idxs.gl_pathv[2]);
	snprintf(to, sizeof(to), "%s/linked.pack", f->dir);
	watch_linked(&w[n++], packs.gl_pathv[3], to);
	globfree(&packs);
	globfree(&idxs);
	watch(&w[n++], ref);
	commit(f, ++i);
	watch_mapped(&w[n++], ref);
	commit(f, ++i);
	snprintf(to, sizeof(to), "%s/linked.ref", f->dir);
	watch_linked(&w[n++], ref, to);
	for (; i < COMMITS_MAX && seen->again < 100; i++) {
		commit(f, i);
		assert_int_equal(stat(ref, &st), 0);
		moved += st.st_ino != last;
		last = st.st_ino;
		commits++;
		for (k = 0; k < nfiles && files[k] != st.st_ino; k++)
			;
		if (k == nfiles)
			files[nfiles++] = st.st_ino;
		if (i % 64)
			continue;
		small_packs(f, "idx", &idxs);
		for (k = 0; k < idxs.gl_pathc; k++)
			note(seen, idxs.gl_pathv[k]);
		globfree(&idxs);
	}
	assert_true(seen->again >= 100);
	/* A value's file is never changed in its place, and a few go round: some five for each generation. */
	assert_int_equal(moved, commits);
	assert_true(nfiles * 2 < commits);
	for (int j = 0; j < n; j++)
		assert_same(&w[j]);
	free(seen);
	free(files);
}

/* A ring goes on only from its own last value. */
static void a_foreign_move_ends_the_round(void **state)
{
	struct fixture *f = *state;
	char first[64], line[64], pattern[400];
	glob_t found;

	for (int i = 0; i < 40; i++)
		commit(f, i);
	for (int round = 0; round < 5; round++) {
		snprintf(first, sizeof(first), "%s", git(f, "rev-parse refs/kv/app~2"));
		git(f, "update-ref refs/kv/app %s", first);
		for (int i = 0; i < 20; i++) {
			commit(f, 1000 * (round + 1) + i);
			snprintf(line, sizeof(line), "%s", git(f, "rev-parse refs/kv/app~%d", i + 1));
			assert_string_equal(line, first);
			/* Every file that goes round has a value of the history from here on: see ring.c. */
			snprintf(pattern, sizeof(pattern), "%s/kv/*/v*", f->repo);
			if (glob(pattern, 0, NULL, &found) == 0)
				for (size_t k = 0; k < found.gl_pathc; k++) {
					FILE *v = fopen(found.gl_pathv[k], "r");

					assert_true(v && fgets(line, sizeof(line), v));
					fclose(v);
					line[40] = 0;
					assert_int_equal(git_status(f, "merge-base --is-ancestor %s refs/kv/app", line), 0);
				}
			globfree(&found);
		}
	}
}

/* The linker has every fstat() of the ledger come here. */
int __real_fstat64(int fd, struct stat *st);
int __wrap_fstat64(int fd, struct stat *st);

static _Atomic(struct fixture *) before_fstat; /* somebody moves the ref just before the next one */

int __wrap_fstat64(int fd, struct stat *st)
{
	struct fixture *f = atomic_exchange(&before_fstat, NULL);

	if (f)
		commit(f, 1000000);
	return __real_fstat64(fd, st);
}

/* One that has opened the ref's file, and looks at it only when the ref has gone on to another one. */
static void an_old_value_is_never_taken_for_current(void **state)
{
	struct fixture *f = *state;
	struct ledger_tip tip;
	struct ledger *other;
	glob_t packs;
	int i = 0;

	while (i < COMMITS_MAX && small_packs(f, "pack", &packs) < 8) {
		globfree(&packs);
		commit(f, i++);
	}
	globfree(&packs);
	other = open_again(f);
	before_fstat = f;
	assert_ok(ledger_tip(other, "app", &tip));
	assert_null(before_fstat);
	assert_ok(ledger_tip(other, "app", &tip));
	assert_string_equal(hex_of(&tip.commit), git(f, "rev-parse refs/kv/app"));
	ledger_free(other);
}

/* Of the spares there are the newest, which is taken last; how many. */
static size_t newest_spare(struct fixture *f, char path[400])
{
	char pattern[400];
	long best = -1;
	glob_t found;
	size_t n;

	snprintf(pattern, sizeof(pattern), "%s/kv/*/f*", f->repo);
	n = glob(pattern, 0, NULL, &found) == 0 ? found.gl_pathc : 0;
	for (size_t k = 0; k < n; k++) {
		long number = strtol(strrchr(found.gl_pathv[k], 'f') + 1, NULL, 10);

		if (number > best) {
			best = number;
			snprintf(path, 400, "%s", found.gl_pathv[k]);
		}
	}
	globfree(&found);
	return n;
}

static int no_space(void *arg, struct io_call *c)
{
	return c->op == IO_WRITE ? ENOSPC : 0;
}

static void made(void *arg, const struct io_call *c, int ret)
{
}

static void a_full_disk_gets_them_back(void **state)
{
	static const struct io_hook full = {no_space, made, NULL};
	struct fixture *f = *state;
	char path[400];
	int i = 0;

	while (i < COMMITS_MAX && newest_spare(f, path) < 20)
		commit(f, i++);
	assert_true(i < COMMITS_MAX);
	io_hook_set(&full);
	assert_int_equal(set(f->l, "key", "more", NULL), LEDGER_ENOSPC);
	io_hook_set(NULL);
	assert_int_equal(access(path, F_OK), -1);
	assert_ok(set(f->l, "key", "enough", NULL));
	assert_string_equal(git(f, "show refs/kv/app:key"), "enough");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nobody_sees_a_file_change, fixture_setup_synced, fixture_teardown),
		cmocka_unit_test_setup_teardown(an_old_value_is_never_taken_for_current, fixture_setup_synced,
						fixture_teardown),
		cmocka_unit_test_setup_teardown(a_full_disk_gets_them_back, fixture_setup_synced, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_foreign_move_ends_the_round, fixture_setup_synced, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
