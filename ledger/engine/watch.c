/* SPDX-License-Identifier: MIT */
/*
 * Who else is here.  A foreign writer that finds a ref locked tries again for 100 ms and gives up; nothing tells the
 * holder that it waits.  But every git opens HEAD when it starts, a push makes objects/tmp_objdir-incoming-* before it
 * locks anything, and another ledgerfs reads the line of our lock file, which is a link to the marker.  At any of these
 * what is acknowledged is published, and for a while every group is published before it is acknowledged: then a lock is
 * held for the move alone.
 *
 * inotify is late and may lose events; all it decides is who goes first.
 */
#include "engine.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

#define GATHER_NS 2000000 /* short beside the 100 ms that a foreign writer waits */

static void be_polite(struct store *s)
{
	uint64_t now = store_now();

	pthread_mutex_lock(&s->mu);
	s->foreign_at = now;
	s->polite_until = now + POLITE_MS;
	s->flush_now = true;
	pthread_cond_signal(&s->pub_cond);
	pthread_mutex_unlock(&s->mu);
}

/* A pack of ours went, and not by us: the objects must come back before anybody misses them. */
static void pack_gone(struct store *s, const char *name)
{
	char prefix[32];
	uint64_t seq = 0;

	snprintf(prefix, sizeof(prefix), "pack-6b76%s", s->owner.dir + 3);
	if (strncmp(name, prefix, 25) != 0 || strlen(name) != 49 || strcmp(name + 45, ".idx") != 0)
		return;
	for (const char *p = name + 25; p < name + 45; p++)
		seq = seq << 4 | (uint64_t)(*p <= '9' ? *p - '0' : *p - 'a' + 10);
	pthread_mutex_lock(&s->mu);
	for (size_t i = 0; i < s->cur->nsmall; i++)
		if (s->cur->small[i] == seq) {
			s->cut_now = true;
			pthread_cond_signal(&s->keep_cond);
		}
	pthread_mutex_unlock(&s->mu);
}

static void event(struct store *s, const struct inotify_event *e)
{
	const char *name = e->len ? e->name : "";

	if (e->mask & IN_Q_OVERFLOW || e->wd == s->watch_marker)
		be_polite(s);
	else if (e->wd == s->watch_git && (strcmp(name, "HEAD") == 0 || strcmp(name, "config") == 0))
		be_polite(s);
	else if (e->wd == s->watch_objects && strncmp(name, "tmp_objdir-", 11) == 0)
		be_polite(s);
	else if (e->wd == s->watch_packs)
		pack_gone(s, name);
}

static void *watcher_main(void *arg)
{
	_Alignas(struct inotify_event) char buf[8192];
	struct store *s = arg;
	struct pollfd fds[2] = {{.fd = s->watch_fd, .events = POLLIN}, {.fd = s->watch_stop[0], .events = POLLIN}};

	for (;;) {
		ssize_t n;

		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			break;
		if (fds[1].revents)
			break;
		n = read(s->watch_fd, buf, sizeof(buf));
		for (char *p = buf; n > 0 && p < buf + n;) {
			const struct inotify_event *e = (const struct inotify_event *)p;

			event(s, e);
			p += sizeof(*e) + e->len;
		}
		/* The keeper's own removals come in bursts: gathered, they do not wake us one by one. */
		nanosleep(&(struct timespec){0, GATHER_NS}, NULL);
	}
	return NULL;
}

static int add(struct store *s, const char *path, uint32_t mask)
{
	char full[PATH_MAX];

	snprintf(full, sizeof(full), "%s/%s", s->gitdir, path);
	return inotify_add_watch(s->watch_fd, full, mask);
}

int watch_start(struct store *s)
{
	char marker[OWNER_DIR_MAX + 8];

	s->watch_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (s->watch_fd < 0 || pipe2(s->watch_stop, O_CLOEXEC) < 0) {
		/* The limit of instances is per user and small: without it others just wait longer. */
		if (s->watch_fd >= 0)
			close(s->watch_fd);
		s->watch_fd = -1;
		store_log(s, "inotify: %s: foreign writers may have to try again", strerror(errno));
		return 0;
	}
	snprintf(marker, sizeof(marker), "%s/lock", s->owner.dir);
	s->watch_marker = add(s, marker, IN_OPEN);
	s->watch_git = add(s, ".", IN_OPEN);
	s->watch_objects = add(s, "objects", IN_CREATE);
	s->watch_packs = add(s, PACK_DIR, IN_DELETE);
	if (pthread_create(&s->watcher, NULL, watcher_main, s) != 0) {
		close(s->watch_stop[0]);
		close(s->watch_stop[1]);
		close(s->watch_fd);
		s->watch_fd = -1;
		return ledger_fail(LEDGER_ENOMEM, "no thread to watch the repository");
	}
	s->has_watcher = true;
	return 0;
}

void watch_stop(struct store *s)
{
	if (!s->has_watcher)
		return;
	close(s->watch_stop[1]);
	pthread_join(s->watcher, NULL);
	close(s->watch_stop[0]);
	close(s->watch_fd);
	s->watch_fd = -1;
	s->has_watcher = false;
}
