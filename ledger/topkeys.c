/* SPDX-License-Identifier: MIT */
#include "topkeys.h"

#include <stdlib.h>
#include <string.h>

void topkeys_release(struct topkeys *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->at[i].key);
	t->n = 0;
}

static struct topkey *find(struct topkeys *t, const char *key)
{
	for (size_t i = 0; i < t->n; i++)
		if (strcmp(t->at[i].key, key) == 0)
			return &t->at[i];
	return NULL;
}

static struct topkey *rarest(struct topkeys *t)
{
	struct topkey *min = &t->at[0];

	for (size_t i = 1; i < t->n; i++)
		if (t->at[i].count < min->count)
			min = &t->at[i];
	return min;
}

void topkeys_add(struct topkeys *t, const char *key)
{
	struct topkey *k = find(t, key);
	char *copy;

	if (k) {
		k->count++;
		return;
	}
	copy = strlen(key) <= TOPKEYS_NAME_MAX ? strdup(key) : NULL;
	if (!copy)
		return;
	if (t->n < TOPKEYS) {
		t->at[t->n++] = (struct topkey){.key = copy, .count = 1};
		return;
	}
	k = rarest(t);
	free(k->key);
	*k = (struct topkey){.key = copy, .count = k->count + 1, .over = k->count};
}

static int by_count(const void *a, const void *b)
{
	const struct topkey *x = a, *y = b;

	return x->count != y->count ? (x->count < y->count ? 1 : -1) : strcmp(x->key, y->key);
}

size_t topkeys_list(const struct topkeys *t, struct topkey *out, size_t max)
{
	struct topkey all[TOPKEYS];
	size_t n = t->n < max ? t->n : max;

	memcpy(all, t->at, t->n * sizeof(*all));
	qsort(all, t->n, sizeof(*all), by_count);
	memcpy(out, all, n * sizeof(*out));
	return n;
}
