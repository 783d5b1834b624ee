/* SPDX-License-Identifier: MIT */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

struct held *held_find(struct store *s, const char *name)
{
	struct held *h;

	for (h = s->held; h; h = h->next)
		if (strcmp(h->name, name) == 0)
			return h;
	return NULL;
}

struct held *held_add(struct store *s, const char *name)
{
	struct held *h = io_calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->name = io_strdup(name);
	if (!h->name) {
		free(h);
		return NULL;
	}
	h->next = s->held;
	s->held = h;
	return h;
}

void held_settle(struct store *s, struct held *h)
{
	struct held **p;

	if (h->in_group || h->in_window)
		return;
	/* A lock that cannot be removed is ours all the same: reflock_take() in group.c knows its line. */
	if (h->locked && reflock_drop(s->dirfd, &s->owner, h->name) < 0)
		store_log(s, "%s: the lock could not be removed: %s", h->name, ledger_errmsg());
	for (p = &s->held; *p != h; p = &(*p)->next)
		;
	*p = h->next;
	free(h->name);
	free(h);
}

bool held_unpublished(const struct store *s)
{
	const struct held *h;

	for (h = s->held; h; h = h->next)
		if (h->in_window)
			return true;
	return false;
}
