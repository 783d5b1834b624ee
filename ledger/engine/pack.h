/* SPDX-License-Identifier: MIT */
/*
 * Building one pack in memory and writing it with its index.
 *
 * Two families of names, so that nobody ever has to guess whose a file is:
 *   pack-6b76<owner><seq>  small, not synced, shows groups to stock git until a checkpoint holds their objects; the
 *			    owner removes it, or who recovers the dead owner
 *   pack-6b77<hash>	    synced, for good
 * While it is written an index has a name that git does not know, and that does not begin with tmp_, which git removes.
 */
#ifndef LEDGER_ENGINE_PACK_H
#define LEDGER_ENGINE_PACK_H

#include "gen.h"
#include "sha.h"

#include <zlib.h>

#define PACK_DIR "objects/pack"

struct pack_entry {
	struct ledger_oid oid;
	uint64_t off;
	uint32_t crc;
};

struct pack {
	unsigned char *buf;
	size_t len, cap;
	struct pack_entry *ents;
	size_t n, entcap;
	unsigned char *idx;
	size_t idxlen, idxcap;
	uint64_t id;
	int level;     /* zlib's, of all but deltas */
	bool zinit[2]; /* of `z`: for large objects and for small ones */
	z_stream z[2];
	struct ledger_oid trailer;
};

void pack_init(struct pack *p, int level);
void pack_release(struct pack *p);
/* Empties it for the next pack; keeps the memory. */
void pack_begin(struct pack *p);

/*
 * Adds `o`, unless this pack has it: as a delta when its base is in this pack, else whole.  `whole` may be NULL: then the
 * bytes are made from the chain when needed.  ENOMEM, ECORRUPT; the pack is as before then.
 */
int pack_add(struct pack *p, struct obj *o, const void *whole);

/* Adds an object as it is, without a look for duplicates. */
int pack_add_raw(struct pack *p, enum store_type type, const struct ledger_oid *oid, const void *data, size_t len);

/* Ends the pack: trailer and index. */
int pack_finish(struct pack *p);

/* The index of packs that a stream wrote: entries sorted in place. */
int pack_make_index(struct pack_entry *ents, size_t n, const struct ledger_oid *trailer, unsigned char **out, size_t *len,
		    size_t *cap);

/*
 * Writes the finished pack for good: named by its hash, replacing one that is there.  `tmp`: a path of the caller's own for
 * what is not complete.  `sync`: both files and the directory are on the disk when it returns 0.  LEDGER codes; nothing is
 * left on failure.
 */
int pack_write(struct pack *p, int dirfd, const char *tmp, bool sync);

/* One of the two files, anew: what is at the path is the rest of a try that failed. */
int pack_write_new(int dirfd, const char *path, const void *buf, size_t len, mode_t mode, bool sync);

/* Moves finished temporary files into place, .pack first (`tmppack` NULL: it is there); as pack_write() with sync. */
int pack_place(int dirfd, const char *tmppack, const char *tmpidx, const char *name, bool sync);

/* The name of a pack for good: 6b77 and the first 36 digits of its hash. */
void pack_name(char out[41], const struct ledger_oid *trailer);

#endif
