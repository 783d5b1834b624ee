/* SPDX-License-Identifier: MIT */
/*
 * When each key of a state last changed: a table from paths, of which 96 bits of a hash are kept, to times.  Open
 * addressing, 24 bytes a slot, 1.25 to 1.9 slots a key.  Two paths with one hash would share a time: nothing else depends
 * on it.  Internal to ledger/; the caller locks.
 */
#ifndef LEDGER_TIMETABLE_H
#define LEDGER_TIMETABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct path_id {
	uint32_t w[3];
};

/* Also what an entry of the index's file is. */
struct time_slot {
	struct path_id id;
	uint32_t nsec; /* TIME_NONE: free, or not there */
	int64_t sec;
};

#define TIME_NONE UINT32_MAX

struct timetable {
	struct time_slot *slots;
	size_t nslots, n;
};

void path_id(const char *path, size_t len, struct path_id *out);
static inline bool path_id_eq(const struct path_id *a, const struct path_id *b)
{
	return a->w[0] == b->w[0] && a->w[1] == b->w[1] && a->w[2] == b->w[2];
}

void timetable_release(struct timetable *t);
/* Makes room for `n` keys; false: no memory, and nothing happened. */
bool timetable_reserve(struct timetable *t, size_t n);
/* NULL: not there. */
const struct time_slot *timetable_get(const struct timetable *t, const struct path_id *id);
/* There must be room. */
void timetable_put(struct timetable *t, const struct path_id *id, const struct timespec *time);
void timetable_remove(struct timetable *t, const struct path_id *id);

#endif
