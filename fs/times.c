/* SPDX-License-Identifier: MIT */
/*
 * Times that this mount knows better than the history: what utimensat(2) set and what its own saves took.  An entry holds
 * as long as the key has the value that it had then; after a remount the history alone speaks (SPEC 3).
 */
#include "core.h"

#include <search.h>
#include <stdlib.h>

struct touched {
	char *name; /* ns, NUL, path */
	size_t len;
	struct ledger_oid blob;
	struct timespec time;
};

static int compare(const void *a, const void *b)
{
	const struct touched *x = a, *y = b;

	if (x->len != y->len)
		return x->len < y->len ? -1 : 1;
	return memcmp(x->name, y->name, x->len);
}

static char *make_name(const char *ns, const char *path, size_t *len)
{
	size_t n = strlen(ns) + 1, m = strlen(path);
	char *s = malloc(n + m);

	if (!s)
		return NULL;
	memcpy(s, ns, n);
	memcpy(s + n, path, m);
	*len = n + m;
	return s;
}

static void touched_free(void *arg)
{
	struct touched *t = arg;

	free(t->name);
	free(t);
}

void times_set(struct fs *fs, const char *ns, const char *path, const struct ledger_oid *blob, const struct timespec *time)
{
	struct touched *t = calloc(1, sizeof(*t)), **found;

	if (!t)
		return;
	t->name = make_name(ns, path, &t->len);
	t->blob = *blob;
	t->time = *time;
	if (!t->name) {
		free(t);
		return;
	}
	pthread_mutex_lock(&fs->lock);
	found = tsearch(t, &fs->touched, compare);
	if (found && *found != t) {
		(*found)->blob = t->blob;
		(*found)->time = t->time;
	}
	if (!found || *found != t)
		touched_free(t);
	pthread_mutex_unlock(&fs->lock);
}

bool times_get(struct fs *fs, const char *ns, const char *path, const struct ledger_oid *blob, struct timespec *time)
{
	struct touched key, **found = NULL;
	bool hit = false;

	pthread_mutex_lock(&fs->lock);
	if (fs->touched) {
		key.name = make_name(ns, path, &key.len);
		if (key.name)
			found = tfind(&key, &fs->touched, compare);
		if (found && ledger_oid_eq(&(*found)->blob, blob)) {
			*time = (*found)->time;
			hit = true;
		}
		free(key.name);
	}
	pthread_mutex_unlock(&fs->lock);
	return hit;
}

void times_free(struct fs *fs)
{
	tdestroy(fs->touched, touched_free);
	fs->touched = NULL;
}
