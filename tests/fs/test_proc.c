/* SPDX-License-Identifier: MIT */
#include "proc.h"
#include "puppet.h"
#include "unit.h"
#include <errno.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/sysmacros.h>

static char dir[] = "/tmp/ledgerfs-proc-XXXXXX";
static char path[64];

static pid_t dead_pid(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	waitpid(pid, NULL, 0);
	return pid;
}

static void *thread_asks(void *arg)
{
	struct proc_id *id = arg;
	pid_t tid = (pid_t)syscall(SYS_gettid), tgid;

	if (tid == getpid() || proc_tgid(tid, &tgid) || tgid != getpid() || proc_identify(tid, id))
		id->tgid = -1;
	return NULL;
}

static void identity(void **state)
{
	struct proc_id me, again, thread, kid, untouched = {7, 7};
	pthread_t t;
	pid_t pid, ppid;
	int fd;

	(void)state;
	assert_int_equal(proc_identify(getpid(), &me), 0);
	assert_int_equal(me.tgid, getpid());
	assert_int_equal(proc_identify(getpid(), &again), 0);
	assert_memory_equal(&me.start, &again.start, sizeof(me.start));
	assert_int_equal(pthread_create(&t, NULL, thread_asks, &thread), 0);
	pthread_join(t, NULL);
	assert_int_equal(thread.tgid, getpid());
	assert_true(thread.start == me.start);
	assert_true(proc_alive(&me));

	pid = puppet_start(0, -1);
	assert_int_equal(proc_open(pid, &kid, &fd), 0);
	assert_true(proc_alive(&kid));
	assert_true(proc_pidfd_alive(fd));
	assert_int_equal(proc_parent(pid, fd, &ppid), 0);
	assert_int_equal(ppid, getpid());
	assert_int_equal(proc_parent(pid, -1, &ppid), 0); /* as an older kernel answers */
	assert_int_equal(ppid, getpid());
	assert_true(kid.start == 0 || kid.start != me.start);
	puppet_end(0);
	assert_false(proc_pidfd_alive(fd));
	assert_false(proc_alive(&kid));
	assert_int_not_equal(proc_parent(pid, fd, &ppid), 0);
	close(fd);

	assert_int_equal(proc_identify(0, &untouched), ESRCH);
	assert_int_equal(proc_identify(dead_pid(), &untouched), ESRCH);
	assert_int_equal(untouched.tgid, 7);
}

static void *thread_waits(void *arg)
{
	(void)arg;
	pause();
	return NULL;
}

/* How a child that does `how` looks when it has ended, before it is reaped. */
static struct proc_exit end_of(int how)
{
	struct proc_exit e;
	siginfo_t si;
	pthread_t t;
	pid_t pid = fork();

	if (pid == 0) {
		if (how < 0) { /* a threaded program that ends by itself */
			pthread_create(&t, NULL, thread_waits, NULL);
			exit(3);
		}
		if (how == 0)
			_exit(3);
		signal(how, SIG_DFL);
		raise(how);
		_exit(99);
	}
	assert_int_equal(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT), 0);
	assert_int_equal(proc_exit_state(pid, &e), 0);
	waitpid(pid, NULL, 0);
	return e;
}

static void exit_states(void **state)
{
	static const int killers[] = {SIGKILL, SIGTERM, SIGINT, SIGPIPE, SIGSEGV, SIGABRT};
	struct proc_exit e;
	size_t i;

	(void)state;
	assert_int_equal(proc_exit_state(getpid(), &e), 0);
	assert_false(e.exiting);
	assert_int_equal(e.signal, 0);
	for (i = 0; i < sizeof(killers) / sizeof(killers[0]); i++) {
		e = end_of(killers[i]);
		assert_true(e.exiting);
		assert_int_equal(e.signal, killers[i]);
	}
	for (i = 0; i < 20; i++) {
		e = end_of(i % 2 ? -1 : 0);
		assert_true(e.exiting);
		assert_int_equal(e.signal, 0);
	}
	assert_int_equal(proc_exit_state(dead_pid(), &e), ESRCH);
	assert_int_equal(proc_exit_state(0, &e), ESRCH);
}

static void names_and_clock(void **state)
{
	char comm[PROC_COMM_SIZE];
	pid_t before, pid, after;

	(void)state;
	prctl(PR_SET_NAME, "a) b\n(c");
	assert_int_equal(proc_task(getpid(), &pid, comm), 0);
	assert_int_equal(pid, getpid());
	assert_string_equal(comm, "a) b?(c");
	prctl(PR_SET_NAME, "0123456789abcdef"); /* the kernel keeps 15 */
	assert_int_equal(proc_task(getpid(), &pid, comm), 0);
	assert_string_equal(comm, "0123456789abcde");
	/* A name cannot pass itself off as a line of status. */
	prctl(PR_SET_NAME, "x\nPPid:\t1");
	assert_int_equal(proc_parent(getpid(), -1, &pid), 0);
	assert_int_equal(pid, getppid());
	prctl(PR_SET_NAME, "test");
	assert_int_equal(proc_task(dead_pid(), &pid, comm), ESRCH);
	assert_int_equal(proc_task(0, &pid, comm), ESRCH);

	before = proc_last_pid();
	pid = dead_pid();
	after = proc_last_pid();
	assert_true(before > 0);
	assert_true(after < before || (pid > before && pid <= after));
}

/* --- proc_held() -------------------------------------------------------------------------------------------------- */

static struct proc_held_query query(void)
{
	struct proc_held_query q = {.mnt_id = -1, .last_at_open = proc_last_pid()};
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	q.dev = st.st_dev;
	q.ino = st.st_ino;
	q.mnt_id = proc_mount_id(st.st_dev);
	assert_true(q.mnt_id >= 0);
	return q;
}

static void *thread_tells(void *arg)
{
	pid_t tid = (pid_t)syscall(SYS_gettid);

	assert_int_equal(write(*(int *)arg, &tid, sizeof(tid)), sizeof(tid));
	pause();
	return NULL;
}

/*
 * A child with that number; false: somebody has it.  clone3(2) leaves the clock of process ids alone, which other tests go
 * by at the same time.
 */
static bool child_with(pid_t pid)
{
	struct clone_args args = {.exit_signal = SIGCHLD, .set_tid = (uintptr_t)&pid, .set_tid_size = 1};
	long child = syscall(SYS_clone3, &args, sizeof(args));

	if (child == 0) {
		prctl(PR_SET_NAME, "newer");
		for (;;)
			pause();
	}
	if (child < 0 && errno != EEXIST)
		skip(); /* no right to, or a kernel before 5.5 */
	return child > 0;
}

/* A thread that proc_task() has met, and that is gone: its number. */
static pid_t met_and_gone(void)
{
	char comm[PROC_COMM_SIZE];
	pid_t pid, tid, tgid;
	int fd[2];

	assert_int_equal(pipe(fd), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		pthread_t t;

		prctl(PR_SET_NAME, "older");
		pthread_create(&t, NULL, thread_tells, &fd[1]);
		pause();
	}
	assert_int_equal(read(fd[0], &tid, sizeof(tid)), sizeof(tid));
	assert_int_equal(proc_task(tid, &tgid, comm), 0);
	assert_int_equal(tgid, pid);
	assert_string_equal(comm, "older");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(fd[0]);
	close(fd[1]);
	return tid;
}

/* The number of a thread goes to a process: neither its old group nor its old name may stick to it. */
static void number_again(void **state)
{
	char comm[PROC_COMM_SIZE];
	pid_t tid = 0, tgid;
	bool same = false;

	(void)state;
	/* Somebody else may get the number before us: then another one. */
	for (int i = 0; i < 200 && !same; i++) {
		tid = met_and_gone();
		same = child_with(tid);
	}
	assert_true(same);
	while (proc_task(tid, &tgid, comm) == 0 && strcmp(comm, "newer") != 0)
		sched_yield();
	assert_int_equal(tgid, tid);
	assert_string_equal(comm, "newer");
	kill(tid, SIGKILL);
	waitpid(tid, NULL, 0);
	assert_int_equal(proc_tgid(tid, &tgid), ESRCH);
}

static void nobody_holds(void **state)
{
	struct proc_held_query q = query();

	(void)state;
	q.flusher = q.opener = getpid();
	assert_int_equal(proc_held(&q), PROC_NOT_HELD);
}

static void flusher_and_opener(void **state)
{
	struct proc_held_query q = query();
	int fd = open(path, O_RDWR | O_CLOEXEC), ro;

	(void)state;
	assert_int_equal(proc_held(&q), PROC_NOT_HELD); /* not asked about this process */
	q.flusher = getpid();
	assert_int_equal(proc_held(&q), PROC_HELD);
	q.flusher = 0;
	q.opener = getpid();
	assert_int_equal(proc_held(&q), PROC_HELD);
	q.mnt_id = -1; /* by way of the device */
	assert_int_equal(proc_held(&q), PROC_HELD);
	q.dev = makedev(0, 0);
	assert_int_equal(proc_held(&q), PROC_NOT_HELD);
	q = query();
	q.opener = getpid();
	q.ino++;
	assert_int_equal(proc_held(&q), PROC_NOT_HELD);
	q.ino--;
	close(fd);
	ro = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(proc_held(&q), PROC_NOT_HELD);
	close(ro);
}

static void newcomers(void **state)
{
	struct proc_held_query q = query();
	int fd;

	(void)state;
	puppet_start(1, -1);
	fd = puppet_do(1, 'o', 0, path);
	assert_true(fd >= 0);
	assert_int_equal(proc_held(&q), PROC_HELD);
	q.last_at_open = proc_last_pid(); /* it is older than that open */
	assert_int_equal(proc_held(&q), PROC_NOT_HELD);
	q.extra = &puppet[1].pid;
	q.nextra = 1;
	assert_int_equal(proc_held(&q), PROC_HELD);
	q.nextra = 0;
	puppet_start(2, 1); /* inherits it */
	puppet_do(1, 'c', fd, NULL);
	assert_int_equal(proc_held(&q), PROC_HELD);
	puppet_do(2, 'c', fd, NULL);
	assert_int_equal(proc_held(&q), PROC_NOT_HELD);

	puppet_do(1, 'o', 0, path);
	q.last_at_open = 1; /* a long range: by the list of /proc */
	assert_int_equal(proc_held(&q), PROC_HELD);
	q.last_at_open = proc_last_pid() + 1000; /* numbers began again since */
	assert_int_equal(proc_held(&q), PROC_HELD);
	puppet_end(2);
	puppet_end(1);
	assert_int_equal(proc_held(&q), PROC_NOT_HELD);
}

static void *holds_in_thread(void *arg)
{
	int *fds = arg;
	char c;

	if (unshare(CLONE_FILES) == 0) {
		fds[2] = open(path, O_WRONLY | O_CLOEXEC);
		fds[3] = (int)syscall(SYS_gettid);
	}
	if (write(fds[1], "r", 1) != 1 || read(fds[0], &c, 1) != 1)
		abort();
	return NULL;
}

/* A table of its own in a thread: seen when the thread is new, or flushes. */
static void unshared_table(void **state)
{
	struct proc_held_query q = query();
	int a[2], b[2], arg[4] = {-1, -1, -1, -1};
	pthread_t t;
	char c;

	(void)state;
	assert_int_equal(pipe(a), 0);
	assert_int_equal(pipe(b), 0);
	arg[0] = a[0];
	arg[1] = b[1];
	pthread_create(&t, NULL, holds_in_thread, arg);
	assert_int_equal(read(b[0], &c, 1), 1);
	assert_true(arg[2] >= 0);
	assert_int_equal(proc_held(&q), PROC_HELD);
	q.last_at_open = proc_last_pid();
	q.opener = getpid();
	assert_int_equal(proc_held(&q), PROC_NOT_HELD);
	q.flusher = arg[3];
	assert_int_equal(proc_held(&q), PROC_HELD);
	assert_int_equal(write(a[1], "x", 1), 1);
	pthread_join(t, NULL);
	close(a[0]);
	close(a[1]);
	close(b[0]);
	close(b[1]);
}

/* The main thread has ended, another one goes on with the table. */
static void leader_gone(void **state)
{
	struct proc_held_query q = query();
	int ready[2];
	char buf[64], c;
	pthread_t t;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		if (open(path, O_WRONLY) < 0)
			_exit(1);
		pthread_create(&t, NULL, thread_waits, NULL);
		if (write(ready[1], "r", 1) != 1)
			_exit(1);
		syscall(SYS_exit, 0); /* this thread alone */
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	snprintf(buf, sizeof(buf), "/proc/%d/status", pid);
	for (c = 0; c != 'Z';) { /* no event tells of a leader's end: look until it is so */
		FILE *f = fopen(buf, "r");
		char line[128];

		while (fgets(line, sizeof(line), f))
			sscanf(line, "State: %c", &c);
		fclose(f);
		sched_yield();
	}
	assert_int_equal(proc_held(&q), PROC_HELD);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(ready[0]);
	close(ready[1]);
}

static void other_namespaces(void **state)
{
	struct proc_held_query q = query();

	(void)state;
	puppet_start(3, -1);
	if (puppet_do(3, 'n', 0, NULL)) { /* not allowed to */
		puppet_end(3);
		skip();
	}
	assert_true(puppet_do(3, 'o', 0, path) >= 0); /* another mount id for the same mount */
	assert_int_equal(proc_held(&q), PROC_HELD);
	q.mnt_id = -1;
	assert_int_equal(proc_held(&q), PROC_HELD);
	puppet_end(3);
	assert_int_equal(proc_held(&q), PROC_NOT_HELD);
}

/* A daemon without privileges may not look at root's processes. */
static void unreadable(void **state)
{
	struct proc_held_query q = query();
	struct proc_exit e;
	int status, got[3];
	siginfo_t si;
	pid_t pid, zombie;

	(void)state;
	if (geteuid() != 0)
		skip();
	puppet_start(4, -1);
	zombie = fork();
	if (zombie == 0) {
		raise(SIGKILL);
		_exit(0);
	}
	waitid(P_PID, (id_t)zombie, &si, WEXITED | WNOWAIT);
	pid = fork();
	if (pid == 0) {
		if (setuid(65534))
			_exit(100);
		got[0] = proc_held(&q) == PROC_HELD_UNKNOWN;
		q.last_at_open = proc_last_pid();
		got[1] = proc_held(&q) == PROC_NOT_HELD;
		got[2] = proc_exit_state(zombie, &e) == 0 && e.exiting && e.signal == -1;
		_exit(got[0] | got[1] << 1 | got[2] << 2);
	}
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 7);
	waitpid(zombie, NULL, 0);
	puppet_end(4);
}

static int setup(void **state)
{
	int fd;

	(void)state;
	puppets_init();
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/file", dir);
	fd = open(path, O_CREAT | O_WRONLY, 0666);
	if (fd < 0 || fchmod(fd, 0666) || chmod(dir, 0755))
		return -1;
	return close(fd);
}

static int teardown(void **state)
{
	(void)state;
	return unlink(path) || rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(identity),       cmocka_unit_test(exit_states),        cmocka_unit_test(names_and_clock),
		cmocka_unit_test(nobody_holds),   cmocka_unit_test(flusher_and_opener), cmocka_unit_test(newcomers),
		cmocka_unit_test(unshared_table), cmocka_unit_test(leader_gone),        cmocka_unit_test(other_namespaces),
		cmocka_unit_test(unreadable),     cmocka_unit_test(number_again),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
