/* SPDX-License-Identifier: MIT */
/*
 * racer: one client of the race.  It works in its current directory, a namespace in a mount, and logs every operation
 * as history.py describes.  One thread; a failure that cannot be logged ends the process.
 */
#ifndef RACE_RACER_H
#define RACE_RACER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define OIDHEX 41 /* 40 digits and a NUL */

/* --- value.c: what the clients write and read ---------------------------------------------------------------------- */

/* The keys' names: gitclient.py has the same. */
void key_name(char out[32], unsigned key);

/* What a client knows of a key.  `state` is "-" for an absent one; both strings belong to the snapshot. */
struct snapshot {
	char *state;
	char oid[OIDHEX]; /* of the blob; "absent" */
	bool known;
};

void snapshot_clear(struct snapshot *s);
void snapshot_move(struct snapshot *to, struct snapshot *from);

/* The piece of the operation `id` with `length` bytes of filler, into `buf`; returns its size.  Ends the process when it
 * does not fit. */
size_t piece_make(char *buf, size_t size, const char *id, unsigned length);

/* Fills `out` from the bytes of a value; false when they are none that clients write. */
bool snapshot_from(struct snapshot *out, const char *data, size_t len);
void snapshot_absent(struct snapshot *out);

/* --- racelog.c: the log, one line before and one after an operation ------------------------------------------------- */

struct racelog {
	int fd;
	const char *client;
	unsigned long seq; /* of the operation under way */
	char line[1 << 17];
	size_t used;
};

int64_t now_ns(void);
/* 0 to sides - 1; the same choices again for the same start of *dice. */
uint64_t roll_dice(uint64_t *dice, uint64_t sides);
void racelog_open(struct racelog *log, const char *path, const char *client, pid_t pid, const char *place);
/* Starts operation seq + 1.  `key` is "-" for the namespace; then add arguments and send. */
void racelog_begin(struct racelog *log, const char *op, const char *key);
void racelog_note(struct racelog *log);
void racelog_end(struct racelog *log, const char *outcome);
/* One " name=value". */
void racelog_arg(struct racelog *log, const char *name, const char *value);
void racelog_send(struct racelog *log);
/* All is done. */
void racelog_close(struct racelog *log);

/* --- save.c: the ways to bring a value to a key; 0 or the errno of the first call that failed ------------------------ */

enum save_way {
	SAVE_TRUNC,       /* open(O_CREAT|O_TRUNC), write, close */
	SAVE_TRUNC_FSYNC, /* the same with fsync */
	SAVE_PARTS,       /* the same in several writes */
	SAVE_RENAME,      /* a scratch file, renamed over the key */
	SAVE_APPEND,      /* open(O_APPEND), write, close */
	SAVE_CREATE,      /* open(O_CREAT|O_EXCL) */
	SAVE_WAYS
};

extern const char *const save_way_names[SAVE_WAYS];

int save(enum save_way way, const char *key, const char *id, const void *data, size_t len);

/* Reads a whole key by read(2) or mmap(2) into a static buffer. */
int load(const char *key, bool by_mmap, const char **data, size_t *len);

/* swap in one call: `oid` may be "absent". */
int save_swap(const char *key, const char *oid, const void *data, size_t len);

_Noreturn void die(const char *what, const char *which);

#endif
