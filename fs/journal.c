/* SPDX-License-Identifier: MIT */
#include "journal.h"
#include "local.h"

#include <stdio.h>
#include <stdlib.h>

static const char suffix[] = "-journal";

static bool is_scratch(struct fs *fs, const struct local *l)
{
	bool yes;

	pthread_mutex_lock(&fs->lock);
	yes = l->type == LOCAL_SCRATCH;
	pthread_mutex_unlock(&fs->lock);
	return yes;
}

/* The name of the database whose journal it is, or false.  free() both. */
static bool database_of(struct fs *fs, struct local *l, char **ns, char **path)
{
	size_t n, end = sizeof(suffix) - 1;

	if (!is_scratch(fs, l) || place_name(fs, l->place, ns, path))
		return false;
	n = strlen(*path);
	if (*ns && n > end && strcmp(*path + n - end, suffix) == 0) {
		(*path)[n - end] = '\0';
		return true;
	}
	free(*ns);
	free(*path);
	return false;
}

/* Of more handles that a process has on a key the newest are looked at. */
#define HANDLES_MAX 16

/* The handles of the process on the key at (ns, path), referenced. */
static unsigned handles_of(struct fs *fs, const char *ns, const char *path, pid_t pid, struct inode **out)
{
	struct place *p;
	unsigned n = 0;

	pthread_mutex_lock(&fs->lock);
	p = place_find_locked(fs, ns, path);
	for (struct session *s = p ? p->sessions : NULL; s && n < HANDLES_MAX; s = s->next) {
		if (s->opens && s->who.pid == pid) {
			inode_ref_locked(s->priv);
			out[n++] = s->priv;
		}
	}
	pthread_mutex_unlock(&fs->lock);
	return n;
}

/* The value of the database at (ns, path): zero when it is absent.  0 or a ledger error. */
static int value_of(struct fs *fs, const char *ns, const char *path, struct ledger_oid *blob)
{
	struct ledger_entry e;
	struct ledger_tip tip;
	int r = ledger_tip(fs->ledger, ns, &tip);

	if (!r)
		r = ledger_lookup(fs->ledger, &tip.tree, path, &e);
	if (r && r != LEDGER_ENOTFOUND)
		return r;
	memset(blob, 0, sizeof(*blob));
	if (!r)
		*blob = e.oid;
	return 0;
}

/*
 * The writer cannot take back any more what it has written to its own copy: that must not be saved, even if the database
 * gets its old value again.
 */
static void poison(struct fs *fs, const char *ns, const char *path, pid_t pid, const struct ledger_oid *now)
{
	struct inode *priv[HANDLES_MAX];
	unsigned n = handles_of(fs, ns, path, pid, priv);

	for (unsigned i = 0; i < n; i++) {
		struct session *s = priv[i]->session;
		bool behind;

		pthread_mutex_lock(&s->lock);
		behind = s->dirty && !ledger_oid_eq(&s->base, now);
		pthread_mutex_unlock(&s->lock);
		if (behind)
			session_poison(s, LEDGER_ECONFLICT);
		inode_unref(fs, priv[i]);
	}
}

static void empty(struct fs *fs, struct local *l, const char *ns, const char *path)
{
	bool was_empty;

	pthread_mutex_lock(&l->lock);
	l->of_known = false;
	was_empty = spool_size(l->bytes) == 0;
	pthread_mutex_unlock(&l->lock);
	if (!was_empty && local_truncate(fs, l, 0) == 0)
		log_line("%s/%s%s: emptied, because %s has got another value from elsewhere", ns, path, suffix, path);
}

void journal_written(struct fs *fs, struct local *l, pid_t pid)
{
	struct inode *priv[HANDLES_MAX];
	struct ledger_oid of, now;
	bool known, found = false;
	char *ns, *path;
	unsigned n;

	if (!database_of(fs, l, &ns, &path))
		return;
	n = handles_of(fs, ns, path, pid, priv);
	known = n && value_of(fs, ns, path, &now) == 0;
	for (unsigned i = 0; i < n; i++) {
		struct session *s = priv[i]->session;

		/* Which of them is at work nobody can tell; one that is not up to date is refused at its first write. */
		pthread_mutex_lock(&s->lock);
		if (!found)
			of = s->base;
		found = found || (known && ledger_oid_eq(&s->base, &now));
		pthread_mutex_unlock(&s->lock);
		if (found)
			of = now;
		inode_unref(fs, priv[i]);
	}
	if (known) {
		pthread_mutex_lock(&l->lock);
		l->of = of;
		l->of_known = true;
		pthread_mutex_unlock(&l->lock);
	}
	free(ns);
	free(path);
}

/* The journal of the database at (ns, path), with a reference, or NULL. */
static struct local *journal_of(struct fs *fs, const char *ns, const char *path)
{
	struct local *l = NULL;
	struct place *p;
	char *name;

	pthread_mutex_lock(&fs->lock);
	if (fs->locals && asprintf(&name, "%s%s", path, suffix) >= 0) {
		p = place_find_locked(fs, ns, name);
		l = p ? p->local : NULL;
		if (l)
			l->refs++;
		free(name);
	}
	pthread_mutex_unlock(&fs->lock);
	return l;
}

/* Who wrote it, or has it open to play it back. */
void journal_follow(struct fs *fs, const char *ns, const char *path, pid_t pid, const struct ledger_oid *from,
		    const struct ledger_oid *to)
{
	struct local *l = journal_of(fs, ns, path);
	bool its;

	if (!l)
		return;
	pthread_mutex_lock(&fs->lock);
	its = l->writers && l->user == pid;
	pthread_mutex_unlock(&fs->lock);
	pthread_mutex_lock(&l->lock);
	if (l->of_known && (its || l->writer == pid) && ledger_oid_eq(&l->of, from))
		l->of = *to;
	pthread_mutex_unlock(&l->lock);
	local_unref(fs, l);
}

void journal_check(struct fs *fs, struct local *l)
{
	struct ledger_oid of, now;
	char *ns, *path;
	pid_t writer;
	bool known;

	pthread_mutex_lock(&l->lock);
	known = l->of_known;
	of = l->of;
	writer = l->writer;
	pthread_mutex_unlock(&l->lock);
	if (!known || !database_of(fs, l, &ns, &path))
		return;
	if (value_of(fs, ns, path, &now) == 0 && !ledger_oid_eq(&now, &of)) {
		poison(fs, ns, path, writer, &now);
		empty(fs, l, ns, path);
	}
	free(ns);
	free(path);
}

void journal_refused(struct fs *fs, const char *ns, const char *path, pid_t pid)
{
	struct local *l = journal_of(fs, ns, path);
	bool its;

	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	its = l->of_known && l->writer == pid;
	pthread_mutex_unlock(&l->lock);
	if (its)
		empty(fs, l, ns, path);
	local_unref(fs, l);
}
