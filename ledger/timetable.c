/* SPDX-License-Identifier: MIT */
#include "timetable.h"

#include "engine/sha.h"

#include <stdlib.h>
#include <string.h>

void path_id(const char *path, size_t len, struct path_id *out)
{
	struct ledger_oid sum;
	struct sha h;

	sha_init(&h);
	sha_update(&h, path, len);
	sha_final(&h, &sum);
	memcpy(out->w, sum.id, sizeof(out->w));
}

void timetable_release(struct timetable *t)
{
	free(t->slots);
	*t = (struct timetable){0};
}

static bool is_free(const struct time_slot *s)
{
	return s->nsec == TIME_NONE;
}

/* Any number of slots will do, so that the table can grow by halves. */
static size_t home(const struct timetable *t, const struct path_id *id)
{
	return (size_t)(((uint64_t)id->w[0] * t->nslots) >> 32);
}

static size_t after(const struct timetable *t, size_t i)
{
	return i + 1 < t->nslots ? i + 1 : 0;
}

/* The slot of the path, or the free one where it would be. */
static struct time_slot *find(const struct timetable *t, const struct path_id *id)
{
	size_t i = home(t, id);

	while (!is_free(&t->slots[i]) && !path_id_eq(&t->slots[i].id, id))
		i = after(t, i);
	return &t->slots[i];
}

bool timetable_reserve(struct timetable *t, size_t n)
{
	struct timetable bigger = {.n = t->n};

	if (n + n / 4 < t->nslots)
		return true;
	bigger.nslots = n + n / 2 + 16;
	if (bigger.nslots < t->nslots + t->nslots / 2)
		bigger.nslots = t->nslots + t->nslots / 2;
	if (bigger.nslots > UINT32_MAX)
		return false;
	bigger.slots = malloc(bigger.nslots * sizeof(*bigger.slots));
	if (!bigger.slots)
		return false;
	for (size_t i = 0; i < bigger.nslots; i++)
		bigger.slots[i].nsec = TIME_NONE;
	for (size_t i = 0; i < t->nslots; i++)
		if (!is_free(&t->slots[i]))
			*find(&bigger, &t->slots[i].id) = t->slots[i];
	free(t->slots);
	*t = bigger;
	return true;
}

const struct time_slot *timetable_get(const struct timetable *t, const struct path_id *id)
{
	struct time_slot *s = t->nslots ? find(t, id) : NULL;

	return s && !is_free(s) ? s : NULL;
}

void timetable_put(struct timetable *t, const struct path_id *id, const struct timespec *time)
{
	struct time_slot *s = find(t, id);

	t->n += is_free(s);
	*s = (struct time_slot){*id, (uint32_t)time->tv_nsec, time->tv_sec};
}

/* What stands behind the hole and would be looked for before it moves up. */
void timetable_remove(struct timetable *t, const struct path_id *id)
{
	struct time_slot *hole = t->nslots ? find(t, id) : NULL;

	if (!hole || is_free(hole))
		return;
	t->n--;
	for (size_t at = (size_t)(hole - t->slots), i = after(t, at); !is_free(&t->slots[i]); i = after(t, i)) {
		size_t want = home(t, &t->slots[i].id);
		bool between = at <= i ? at < want && want <= i : at < want || want <= i;

		if (between)
			continue;
		t->slots[at] = t->slots[i];
		at = i;
		hole = &t->slots[at];
	}
	hole->nsec = TIME_NONE;
}
