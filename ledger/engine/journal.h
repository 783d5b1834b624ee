/* SPDX-License-Identifier: MIT */
/*
 * The journal of one owner: two segments, written in turn.
 *
 * A record is one group: its objects (trees as splices of other trees) and its moves of refs.  A record counts when its
 * checksum is right and it carries the number of its segment and the next sequence number: what an earlier turn left
 * behind in the file never does.  `done` in a record says up to which sequence a checkpoint holds everything.
 *
 * Numbers are little-endian.
 *   segment: "LFSJOURN" u32 version, u32 segment, u64 owner, char boot[40], u32 crc of what precedes; records from 4096
 *   record:  u32 'LFR1', u32 length of all, u32 crc of what follows, u32 segment, u64 seq, u64 done, items
 *   item 'O': u8 type, oid, u32 len, bytes		an object
 *	  'T': oid, oid base, u64 len, off, del, u32 inslen, bytes	a tree as a splice
 *	  'L': oid, u64 size				a value that has a pack of its own
 *	  'R': oid old, oid new, u16 len, name, u16 len, why	a move; zero: absent
 *	  'S': the same, and nobody was told of it before the ref had moved
 *	  'A': u64 seq					that group failed after all
 */
#ifndef LEDGER_ENGINE_JOURNAL_H
#define LEDGER_ENGINE_JOURNAL_H

#include "../store.h"
#include "gen.h"

#define JOURNAL_VERSION 1

/* A record under construction. */
struct record {
	unsigned char *buf;
	size_t len, cap;
	bool failed; /* no memory */
};

struct journal {
	int dirfd;
	char dir[24];
	uint64_t owner;
	int fd[2];
	int cur;          /* the segment written to */
	uint32_t segment; /* its number; rises at every switch */
	off_t off;
	off_t size[2]; /* pre-written bytes of each */
	uint64_t seq;  /* of the newest record */
	_Atomic uint64_t done;
	bool sync;
};

void record_begin(struct record *r);
void record_release(struct record *r);
void record_object(struct record *r, enum store_type type, const struct ledger_oid *oid, const void *data, size_t len);
void record_splice(struct record *r, const struct ledger_oid *oid, const struct ledger_oid *base, size_t len, size_t off,
		   size_t del, const void *ins, size_t inslen);
void record_large(struct record *r, const struct ledger_oid *oid, uint64_t size);
void record_move(struct record *r, const char *ref, const struct ledger_oid *from, const struct ledger_oid *to,
		 const char *why, bool early);
void record_abort(struct record *r, uint64_t seq);

/*
 * Creates both segments in the owner's directory, pre-written and on the disk.  The last step is a rename: a crash before
 * it leaves no journal.
 */
int journal_create(struct journal *j, int dirfd, const char *dir, uint64_t owner, off_t size, bool sync);
void journal_close(struct journal *j);
/* Removes the files, the newer segment last: the older one alone would tell of refs as they were before. */
int journal_remove(int dirfd, const char *dir);

/*
 * Ends the record and makes it durable as number seq+1.  LEDGER_EDEAD: the sync failed, nobody can tell what is on the
 * disk, nothing may be written any more.  Other errors: the record does not count.
 */
int journal_write(struct journal *j, struct record *r);

/* Goes on in the other segment; everything in it must be done. */
int journal_switch(struct journal *j);

/*
 * Pre-writes the segment that is not written to up to `size`, when it is shorter; everything in it must be done.  A failure
 * costs speed, nothing else.
 */
void journal_extend(struct journal *j, off_t size);

/* What replay is told of; a callback's nonzero result ends it and is returned. */
struct journal_reader {
	int (*record)(void *arg, uint64_t seq, uint64_t done);
	int (*object)(void *arg, enum store_type type, const struct ledger_oid *oid, const void *data, size_t len);
	int (*splice)(void *arg, const struct ledger_oid *oid, const struct ledger_oid *base, size_t len, size_t off,
		      size_t del, const void *ins, size_t inslen);
	int (*large)(void *arg, const struct ledger_oid *oid, uint64_t size);
	int (*move)(void *arg, const char *ref, const struct ledger_oid *from, const struct ledger_oid *to, bool early);
	int (*abort)(void *arg, uint64_t seq);
	void *arg;
};

/* A dead owner's journal in memory. */
struct journal_image {
	unsigned char *data[2];
	size_t len[2];
	uint32_t segment[2];
	int n; /* segments, older first */
	char boot[40];
};

/* EREPO: of a format that this program does not know. */
int journal_load(struct journal_image *im, int dirfd, const char *dir);
void journal_unload(struct journal_image *im);
int journal_replay(const struct journal_image *im, const struct journal_reader *rd);

/* This boot of the machine, as /proc tells it. */
void journal_boot(char out[40]);

#endif
