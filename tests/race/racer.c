/* SPDX-License-Identifier: MIT */
/*
 * One client of the race: see racer.h.  It ends early when an operation ends in an error that leaves its outcome open (the
 * mount died): a new client has to take over, so that only a client's last operation is unknown.
 */
#include "racer.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define KEYS_MAX 4096

enum guard { GUARD_NONE, GUARD_BLOB, GUARD_SWAP, GUARD_TREE, GUARD_COMMIT, GUARD_VERSION };
static const char *const guard_names[] = {"", "blob", "swap", "tree", "commit", "version"};

struct racer {
	struct racelog log;
	uint64_t dice;
	unsigned keys, value_max;
	unsigned pause; /* --cas: mean pause between transactions, in percent of the last one's duration */
	bool only_cas;
	int64_t took;
	unsigned long ops;
	int64_t deadline;
	struct snapshot known[KEYS_MAX];
};

static uint64_t roll(struct racer *r, uint64_t sides)
{
	return roll_dice(&r->dice, sides);
}

/* Keys that renames connect come in pairs, within a directory and across two; -1: no pair. */
static int key_partner(const struct racer *r, unsigned key)
{
	unsigned other;

	if (key % 8 > 2)
		return -1;
	other = key % 8 == 0 ? key ^ 8u : key % 8 == 1 ? key + 1 : key - 1;
	return other < r->keys ? (int)other : -1;
}

/* Was our last write refused because others held git's lock of the ref for too long?  That says nothing of the key. */
static bool locked_out(void)
{
	char status[1024];
	ssize_t n = getxattr(".", "user.kv.status", status, sizeof status - 1);

	status[n > 0 ? n : 0] = 0;
	return strncmp(status, "result=locked\n", 14) == 0;
}

/* Ends the operation with the outcome that `err` stands for. */
static void conclude(struct racer *r, int err)
{
	char number[16];

	if (!err)
		racelog_end(&r->log, "ok");
	else if (err == EAGAIN || err == EBUSY)
		racelog_end(&r->log, locked_out() ? "busy" : "conflict");
	else if (err == ENOENT)
		racelog_end(&r->log, "absent");
	else if (err == EEXIST)
		racelog_end(&r->log, "exists");
	else
		racelog_end(&r->log, "error");
	snprintf(number, sizeof number, "%d", err);
	if (err && err != EAGAIN && err != EBUSY && err != ENOENT && err != EEXIST)
		racelog_arg(&r->log, "errno", number);
	racelog_send(&r->log);
	if (err && err != EAGAIN && err != EBUSY && err != ENOENT && err != EEXIST)
		exit(3);
}

/* Reads a key into what is known of it. */
static void do_read(struct racer *r, unsigned key)
{
	struct snapshot *s = &r->known[key];
	char name[32];
	const char *data;
	size_t len;
	int err;

	key_name(name, key);
	racelog_begin(&r->log, "read", name);
	racelog_send(&r->log);
	err = load(name, roll(r, 10) == 0, &data, &len);
	if (err == ENOENT) {
		snapshot_absent(s);
	} else if (err) {
		conclude(r, err);
	} else if (!snapshot_from(s, data, len)) {
		snapshot_clear(s);
		racelog_end(&r->log, "torn");
		racelog_send(&r->log);
		return;
	}
	racelog_end(&r->log, "ok");
	racelog_arg(&r->log, "seen", s->state);
	racelog_send(&r->log);
}

/* Reads the namespace's tree, commit or version; text into `out`. */
static void do_tip(struct racer *r, const char *what, char out[64])
{
	char name[32];
	ssize_t n;

	snprintf(name, sizeof name, "user.kv.%s", what);
	racelog_begin(&r->log, "tip", "-");
	racelog_send(&r->log);
	n = getxattr(".", name, out, 63);
	if (n < 0)
		conclude(r, errno == ENOENT ? EIO : errno);
	out[n < 0 ? 0 : n] = '\0';
	racelog_end(&r->log, "ok");
	racelog_arg(&r->log, what, out);
	racelog_send(&r->log);
}

/* What a guarded operation needs to arm and to let go. */
struct armed {
	enum guard guard;
	char value[64]; /* expected tree, commit, version */
};

/* Reads what the guard is about, in the order that makes it safe: first the namespace, then the key. */
static void look(struct racer *r, unsigned key, struct armed *a)
{
	if (a->guard >= GUARD_TREE)
		do_tip(r, guard_names[a->guard], a->value);
	if (a->guard == GUARD_NONE)
		return;
	/* Now and then an old look will have to do: it must be refused unless the key is still so. */
	if (a->guard == GUARD_SWAP && r->known[key].known && roll(r, 8) == 0)
		return;
	do_read(r, key);
	if (!r->known[key].known) /* torn: the report is made, and there is nothing to expect */
		a->guard = GUARD_NONE;
}

static void log_guard(struct racer *r, unsigned key, const struct armed *a)
{
	if (a->guard == GUARD_BLOB || a->guard == GUARD_SWAP)
		racelog_arg(&r->log, "expect", r->known[key].state);
	if (a->guard >= GUARD_TREE) {
		racelog_arg(&r->log, "old", r->known[key].state);
		racelog_arg(&r->log, guard_names[a->guard], a->value);
	}
}

/* The attribute for a key's expectation, on its directory: there it can be set and removed when the key is absent. */
static void blob_attribute(unsigned key, char dir[32], char name[64])
{
	char path[32], *slash;

	key_name(path, key);
	slash = strchr(path, '/');
	snprintf(dir, 32, "%.*s", (int)(slash - path), path);
	snprintf(name, 64, "user.kv.expect-blob.%s", slash + 1);
}

static int arm(struct racer *r, unsigned key, const struct armed *a)
{
	char dir[32], name[64];

	if (a->guard == GUARD_NONE || a->guard == GUARD_SWAP)
		return 0;
	if (a->guard == GUARD_BLOB) {
		blob_attribute(key, dir, name);
		return setxattr(dir, name, r->known[key].oid, strlen(r->known[key].oid), 0) ? errno : 0;
	}
	snprintf(name, sizeof name, "user.kv.expect-%s", guard_names[a->guard]);
	return setxattr(".", name, a->value, strlen(a->value), 0) ? errno : 0;
}

/* Lets go of the expectation.  When that fails the process ends, and the expectation with it. */
static void disarm(unsigned key, struct armed *a)
{
	char dir[32], name[64];
	int err = 0;

	if (a->guard == GUARD_BLOB) {
		blob_attribute(key, dir, name);
		err = removexattr(dir, name) ? errno : 0;
	}
	if (a->guard >= GUARD_TREE) {
		snprintf(name, sizeof name, "user.kv.expect-%s", guard_names[a->guard]);
		err = removexattr(".", name) ? errno : 0;
	}
	if (err && err != ENOTCONN && err != ECONNABORTED)
		fprintf(stderr, "racer: cannot let go of an expectation: %s\n", strerror(err));
	if (err)
		exit(3);
}

static void do_save(struct racer *r, unsigned key, enum save_way way, struct armed *a)
{
	char name[32], id[64], how[32], piece[1 << 16];
	size_t len;
	int err;

	key_name(name, key);
	look(r, key, a);
	snprintf(id, sizeof id, "%s.%lu", r->log.client, r->log.seq + 1);
	len = piece_make(piece, sizeof piece, id, (unsigned)roll(r, r->value_max + 1));
	racelog_begin(&r->log, way == SAVE_APPEND ? "append" : way == SAVE_CREATE ? "create" : "set", name);
	log_guard(r, key, a);
	snprintf(how, sizeof how, "%s%s%s", a->guard == GUARD_SWAP ? "" : save_way_names[way],
		 *guard_names[a->guard] ? "?" : "", guard_names[a->guard]);
	racelog_arg(&r->log, "how", how);
	racelog_send(&r->log);
	if (a->guard == GUARD_SWAP) {
		err = save_swap(name, r->known[key].oid, piece, len);
	} else {
		err = arm(r, key, a);
		if (!err)
			err = save(way, name, id, piece, len);
	}
	/* Where a value was expected, its absence is a conflict; elsewhere saving finds no name missing. */
	if (err == ENOENT)
		err = a->guard == GUARD_SWAP || a->guard == GUARD_BLOB ? EBUSY : EIO;
	conclude(r, err);
	disarm(key, a);
}

/* A save that goes on from the value: read and write on one handle, without O_TRUNC. */
static void do_update(struct racer *r, unsigned key)
{
	char name[32], id[64], piece[1 << 16];
	struct snapshot base = {0};
	static char old[1 << 20];
	size_t len;
	ssize_t n;
	int fd, err = 0;

	key_name(name, key);
	snprintf(id, sizeof id, "%s.%lu", r->log.client, r->log.seq + 1);
	len = piece_make(piece, sizeof piece, id, (unsigned)roll(r, r->value_max + 1));
	racelog_begin(&r->log, "set", name);
	racelog_arg(&r->log, "how", "update");
	racelog_send(&r->log);
	fd = open(name, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		conclude(r, errno);
		return;
	}
	n = pread(fd, old, sizeof old, 0);
	if (n < 0)
		err = errno;
	else if (!snapshot_from(&base, old, (size_t)n))
		err = EILSEQ;
	if (!err) {
		racelog_note(&r->log);
		racelog_arg(&r->log, "base", base.state);
		racelog_send(&r->log);
		if (pwrite(fd, piece, len, 0) != (ssize_t)len || ftruncate(fd, (off_t)len))
			err = errno;
	}
	if (close(fd) && !err)
		err = errno;
	snapshot_clear(&base);
	conclude(r, err);
}

static void do_delete(struct racer *r, unsigned key, struct armed *a)
{
	char name[32];
	int err;

	key_name(name, key);
	look(r, key, a);
	racelog_begin(&r->log, "delete", name);
	log_guard(r, key, a);
	racelog_send(&r->log);
	err = arm(r, key, a);
	if (!err)
		err = unlink(name) ? errno : 0;
	conclude(r, err);
	disarm(key, a);
}

static void do_rename(struct racer *r, unsigned key, struct armed *a)
{
	int partner = key_partner(r, key), err;
	char name[32], to[32];

	if (partner < 0)
		return;
	key_name(name, key);
	key_name(to, (unsigned)partner);
	look(r, key, a);
	racelog_begin(&r->log, "rename", name);
	racelog_arg(&r->log, "to", to);
	log_guard(r, key, a);
	racelog_send(&r->log);
	err = arm(r, key, a);
	if (!err)
		err = rename(name, to) ? errno : 0;
	conclude(r, err);
	disarm(key, a);
}

/* Half of all go to an eighth of the keys. */
static unsigned pick_key(struct racer *r)
{
	return (unsigned)(roll(r, 2) && r->keys >= 8 ? roll(r, r->keys / 8) : roll(r, r->keys));
}

static enum guard pick_guard(struct racer *r, bool swap)
{
	static const enum guard some[] = {GUARD_BLOB,    GUARD_BLOB, GUARD_TREE, GUARD_COMMIT,
					  GUARD_VERSION, GUARD_SWAP, GUARD_SWAP};

	return some[roll(r, swap ? 7 : 5)];
}

static void one_mixed(struct racer *r)
{
	static const char *const tips[] = {"tree", "commit", "version"};
	struct armed a = {.guard = GUARD_NONE};
	unsigned key = pick_key(r);
	uint64_t what = roll(r, 100);
	char text[64];

	if (what < 32) {
		do_read(r, key);
	} else if (what < 35) {
		do_tip(r, tips[roll(r, 3)], text);
	} else if (what < 50) {
		do_save(r, key, (enum save_way)roll(r, SAVE_APPEND), &a);
	} else if (what < 58) {
		do_save(r, key, SAVE_APPEND, &a);
	} else if (what < 61) {
		do_save(r, key, SAVE_CREATE, &a);
	} else if (what < 66) {
		do_update(r, key);
	} else if (what < 88) {
		a.guard = pick_guard(r, true);
		do_save(r, key, a.guard == GUARD_SWAP ? SAVE_TRUNC : (enum save_way)roll(r, SAVE_CREATE), &a);
	} else if (what < 94) {
		a.guard = roll(r, 2) ? pick_guard(r, false) : GUARD_NONE;
		do_delete(r, key, &a);
	} else {
		a.guard = roll(r, 2) ? pick_guard(r, false) : GUARD_NONE;
		do_rename(r, key, &a);
	}
}

/* The plain transaction of a cache's client: read, then compare and set; evenly spread. */
static void one_cas(struct racer *r)
{
	struct armed a = {.guard = roll(r, 2) ? GUARD_SWAP : GUARD_BLOB};
	int64_t pause = r->took * (int64_t)roll(r, 2 * r->pause + 1) / 100;
	struct timespec t = {pause / 1000000000, pause % 1000000000};
	unsigned key = (unsigned)roll(r, r->keys);

	nanosleep(&t, NULL);
	snapshot_clear(&r->known[key]);
	r->took = now_ns();
	do_save(r, key, SAVE_TRUNC, &a);
	r->took = now_ns() - r->took;
}

/*
 * Goes on as a child of process 1, whose number is printed.  An expectation whose holder is killed passes on to the parent
 * (SPEC 6.2): with the driver as parent it would be in force for all other clients.
 */
static void detach(void)
{
	pid_t parent = getpid(), child;
	sigset_t orphaned;
	int got;

	sigemptyset(&orphaned);
	sigaddset(&orphaned, SIGUSR1);
	sigprocmask(SIG_BLOCK, &orphaned, NULL);
	child = fork();
	if (child < 0)
		die("fork", "");
	if (child) {
		printf("%d\n", (int)child);
		fflush(stdout);
		_exit(0);
	}
	fclose(stdout); /* the driver waits for its end */
	prctl(PR_SET_PDEATHSIG, SIGUSR1);
	if (getppid() == parent)
		sigwait(&orphaned, &got);
}

static void usage(void)
{
	fputs("usage: racer --dir NAMESPACE --log FILE --name CLIENT --place PLACE --seed N --ops N --seconds N\n"
	      "             [--keys N] [--value-max N] [--cas] [--pause PERCENT]\n",
	      stderr);
	exit(2);
}

static void options(struct racer *r, int argc, char **argv)
{
	static const struct option names[] = {{"dir", 1, 0, 'd'},     {"log", 1, 0, 'l'},   {"name", 1, 0, 'n'},
					      {"place", 1, 0, 'p'},   {"seed", 1, 0, 's'},  {"ops", 1, 0, 'o'},
					      {"seconds", 1, 0, 't'}, {"keys", 1, 0, 'k'},  {"value-max", 1, 0, 'v'},
					      {"cas", 0, 0, 'c'},     {"pause", 1, 0, 'u'}, {0}};
	const char *dir = NULL, *log = NULL, *name = NULL, *place = "mnt";
	int c;

	while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
		unsigned long number = optarg ? strtoul(optarg, NULL, 10) : 0;

		switch (c) {
		case 'd':
			dir = optarg;
			break;
		case 'l':
			log = optarg;
			break;
		case 'n':
			name = optarg;
			break;
		case 'p':
			place = optarg;
			break;
		case 's':
			r->dice = number;
			break;
		case 'o':
			r->ops = number;
			break;
		case 't':
			r->deadline = now_ns() + (int64_t)number * 1000000000;
			break;
		case 'k':
			r->keys = (unsigned)number;
			break;
		case 'v':
			r->value_max = (unsigned)number;
			break;
		case 'c':
			r->only_cas = true;
			break;
		case 'u':
			r->pause = (unsigned)number;
			break;
		default:
			usage();
		}
	}
	if (!dir || !log || !name || !r->deadline || !r->keys || r->keys > KEYS_MAX || r->value_max > 60000 ||
	    optind != argc)
		usage();
	detach();
	prctl(PR_SET_NAME, name);
	racelog_open(&r->log, log, name, getpid(), place);
	/* Bound to this mount: a new one at the same place is not reached from here. */
	if (chdir(dir)) {
		if (errno == ENOTCONN || errno == ECONNABORTED)
			exit(3);
		die("chdir", dir);
	}
}

int main(int argc, char **argv)
{
	static struct racer r = {.keys = 64, .value_max = 300};

	options(&r, argc, argv);
	while (r.log.seq < r.ops && now_ns() < r.deadline) {
		if (r.only_cas)
			one_cas(&r);
		else
			one_mixed(&r);
	}
	racelog_close(&r.log);
	for (unsigned i = 0; i < r.keys; i++)
		snapshot_clear(&r.known[i]);
	return 0;
}
