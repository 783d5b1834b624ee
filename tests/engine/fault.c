/* SPDX-License-Identifier: MIT */
#include "fault.h"

#include "../../ledger/engine/io.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
	pthread_mutex_t mu;
	struct fault f;
	long seen;
	bool armed, hit, sync_failed;
	bool dying; /* the write that is under way is the last call */
} at = {.mu = PTHREAD_MUTEX_INITIALIZER};

static atomic_bool mallocs; /* are armed: the usual case is quick */

static bool is_sync(enum io_op op)
{
	return op == IO_FSYNC || op == IO_FDATASYNC || op == IO_SYNCFS;
}

static bool is_name(enum io_op op)
{
	return op == IO_OPEN || op == IO_RENAME || op == IO_EXCHANGE || op == IO_LINK || op == IO_UNLINK || op == IO_MKDIR ||
	       op == IO_RMDIR;
}

static bool of_kind(enum fault_kind kind, const struct io_call *c)
{
	switch (kind) {
	case FAULT_WRITE:
		return c->op == IO_WRITE;
	case FAULT_SYNC:
		return is_sync(c->op);
	case FAULT_NAME:
		return is_name(c->op);
	case FAULT_OPEN:
		return c->op == IO_OPEN;
	case FAULT_SPACE:
		return c->op == IO_WRITE || c->op == IO_MKDIR || c->op == IO_LINK ||
		       (c->op == IO_OPEN && (c->flags & O_CREAT));
	case FAULT_CHANGE:
		return c->op == IO_WRITE || is_sync(c->op) || is_name(c->op);
	case FAULT_ALLOC:
		return c->op == IO_ALLOC;
	default:
		return false;
	}
}

static _Noreturn void die(void)
{
	kill(getpid(), SIGKILL);
	for (;;)
		pause();
}

/* Is this call, one of the kind, to fail?  Its place among those that do in *nth.  mu is held. */
static bool struck(long *nth)
{
	long n = at.seen++;

	*nth = n - at.f.from;
	if (n < at.f.from || (at.f.count && n >= at.f.from + at.f.count))
		return false;
	at.hit = true;
	return true;
}

static int before(void *arg, struct io_call *c)
{
	long nth;
	int err = 0;

	pthread_mutex_lock(&at.mu);
	if (at.armed && of_kind(at.f.kind, c) && struck(&nth)) {
		if (nth == 0 && at.f.torn && c->op == IO_WRITE && c->len > 1) {
			c->len /= 2;
			at.dying = at.f.err == FAULT_KILL;
		} else if (at.f.err == FAULT_KILL) {
			die();
		} else {
			err = at.f.err;
			at.sync_failed |= err && is_sync(c->op);
		}
	}
	pthread_mutex_unlock(&at.mu);
	return err;
}

static void after(void *arg, const struct io_call *c, int ret)
{
	pthread_mutex_lock(&at.mu);
	if (at.dying && c->op == IO_WRITE)
		die();
	pthread_mutex_unlock(&at.mu);
}

static const struct io_hook hook = {before, after, NULL};

void fault_arm(const struct fault *f)
{
	pthread_mutex_lock(&at.mu);
	at.f = *f;
	at.seen = 0;
	at.hit = at.sync_failed = at.dying = false;
	at.armed = true;
	pthread_mutex_unlock(&at.mu);
	io_hook_set(&hook);
	atomic_store(&mallocs, f->kind == FAULT_MALLOC);
}

void fault_disarm(void)
{
	atomic_store(&mallocs, false);
	pthread_mutex_lock(&at.mu);
	at.armed = false;
	pthread_mutex_unlock(&at.mu);
}

void fault_hold(void)
{
	pthread_mutex_lock(&at.mu);
}

void fault_release(void)
{
	pthread_mutex_unlock(&at.mu);
}

bool fault_hit(void)
{
	bool hit;

	pthread_mutex_lock(&at.mu);
	hit = at.hit;
	pthread_mutex_unlock(&at.mu);
	return hit;
}

bool fault_sync_failed(void)
{
	bool failed;

	pthread_mutex_lock(&at.mu);
	failed = at.sync_failed;
	pthread_mutex_unlock(&at.mu);
	return failed;
}

/* --- malloc: the linker puts these before libc's (--wrap) ----------------------------------------------------------- */

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
char *__wrap_strdup(const char *s);

static bool denied(void)
{
	bool no = false;
	long nth;

	if (!atomic_load_explicit(&mallocs, memory_order_relaxed))
		return false;
	pthread_mutex_lock(&at.mu);
	if (at.armed && at.f.kind == FAULT_MALLOC)
		no = struck(&nth);
	pthread_mutex_unlock(&at.mu);
	if (no)
		errno = ENOMEM;
	return no;
}

void *__wrap_malloc(size_t n)
{
	return denied() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return denied() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	return denied() ? NULL : __real_realloc(p, n);
}

char *__wrap_strdup(const char *s)
{
	return denied() ? NULL : __real_strdup(s);
}
