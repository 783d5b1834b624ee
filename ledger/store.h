/* SPDX-License-Identifier: MIT */
/*
 * The storage seam: objects and refs of one repository.  Internal to ledger/; nothing outside may include it.
 *
 * Above it, the ledger decides what a commit is; below it, the store decides how bytes reach the disk.  A group is the
 * unit of durability: one or more commits, on one or more refs, that share their syncs.  The ledger's leader thread
 * (commit.c) makes one group at a time: store_group_*() is called by one thread at a time; all else by any thread.
 */
#ifndef LEDGER_STORE_H
#define LEDGER_STORE_H

#include <ledger/ledger.h>
#include <stdbool.h>
#include <sys/types.h>

struct store;
struct store_group;

enum store_type { STORE_COMMIT = 1, STORE_TREE = 2, STORE_BLOB = 3 }; /* git's own numbers */

/* Bytes with an owner. */
struct store_buf {
	void *data;
	size_t len;
};

/* Opens the store of the repository that ledger_open() found good.  Recovers what a dead owner left behind. */
int store_open(struct store **out, const char *gitdir, const struct ledger_options *opts);
void store_free(struct store *s);

/* --- reading ------------------------------------------------------------------------------------------------------ */

/* The value of a direct ref, never older than when the call began.  ENOTFOUND; ECORRUPT: symbolic or garbage. */
int store_ref_read(struct store *s, const char *ref, struct ledger_oid *out);

/* All refs that start with `prefix` (ends in '/'), in byte order: as ledger_ns_each(), `ref` is the full name. */
int store_ref_each(struct store *s, const char *prefix, int (*each)(void *arg, const char *ref), void *arg);

/* A whole object; `out->data` is malloc'ed for the caller, with a NUL behind it.  `type` 0: any, and told in *got. */
int store_read(struct store *s, const struct ledger_oid *oid, enum store_type type, enum store_type *got,
	       struct store_buf *out);

/* Type and size alone. */
int store_read_header(struct store *s, const struct ledger_oid *oid, enum store_type *type, uint64_t *size);

/* Streams the blob to `fd` (at its position), constant memory. */
int store_read_to(struct store *s, const struct ledger_oid *oid, int fd);

/*
 * A blob that some pack holds in stored blocks: read in place.  ENOTFOUND: there is none such, then store_read_to() is the
 * way.  `out->fd` is the caller's.
 */
struct stored {
	int fd;
	uint64_t at, size; /* where its first byte stands; see engine/stored.h */
	bool draft;        /* heads of blocks may not be there yet */
};
int store_read_stored(struct store *s, const struct ledger_oid *oid, struct stored *out);

/* As pread(2), but all of `len` up to the end.  ECORRUPT, EIO. */
ssize_t store_stored_pread(const struct stored *b, void *buf, size_t len, uint64_t off);

/* --- drafts ------------------------------------------------------------------------------------------------------- */

/*
 * A large value while it is written: a file without a name, already in the shape of the pack that it will be, so that
 * nothing is copied when it becomes a value, and nothing stays when it does not.  One thread at a time; the references are
 * counted for all threads.  ENOSPC, EIO, ENOMEM, EROFS.
 */
struct store_draft;
int store_draft_new(struct store *s, struct store_draft **out);
struct store_draft *store_draft_ref(struct store_draft *d);
void store_draft_unref(struct store_draft *d); /* NULL is fine */
/* Its bytes, for store_stored_pread(), as long as the draft is there and not changed. */
struct stored store_draft_stored(const struct store_draft *d);
int store_draft_pwrite(struct store_draft *d, const void *buf, size_t len, uint64_t off); /* a gap reads as zeros */
int store_draft_truncate(struct store_draft *d, uint64_t size);

/*
 * It will have `size` bytes, written one after the other, as far as the caller can tell: its sums are made while it is
 * written, and are thrown away if that was wrong.  What fails is only slower.
 */
void store_draft_expect(struct store_draft *d, uint64_t size);

/*
 * Ends the pack around the bytes and computes the value's name, without detection of made collisions: what that costs is
 * said in seal.c.  Nobody may change a sealed draft but after store_draft_open_again().
 */
int store_draft_seal(struct store_draft *d, struct ledger_oid *oid);

/* A draft of the same bytes that may be changed, in place of *d, which may be sealed: the same one when nobody else has it.
 */
int store_draft_open_again(struct store_draft **d);

/* A value's own draft, sealed, borrowed; NULL: it has none (value.c). */
struct store_draft *value_draft(const struct ledger_value *v);

/* --- writing ------------------------------------------------------------------------------------------------------ */

/*
 * Brings a value to the disk ahead of the group that will name it, where the store thinks that wise (large ones).
 * Called by the committing thread without any lock held, before it queues.
 */
int store_stage(struct store *s, struct ledger_value *v);

/*
 * The change that store_stage() was called for is over, made or refused: what was staged and no group named goes; nobody
 * has seen it.
 * Call it once for each store_stage() that returned 0, after the value's last group.
 */
void store_unstage(struct store *s, struct ledger_value *v);

/*
 * EROFS, EDEAD, ENOSPC, EIO.  Every begun group ends in store_group_commit() or store_group_abort().  What is put into a
 * group can be read at once (store_read()), so that a second change in the group may build on the first.
 */
int store_group_begin(struct store *s, struct store_group **out);

/*
 * Makes `ref` the group's and reads it; zero OID: absent.  ELOCKED at once when another holds git's lock of it (the caller
 * waits and tries again); EEXISTS: a directory/file conflict with another ref; ECORRUPT: symbolic.  Asked again in one
 * group it gives the value that the group moves the ref to.
 *
 * git's lock may be taken as late as in store_group_commit(), which makes sure under it that the ref is still at this
 * value and fails with ELOCKED otherwise.
 */
int store_group_lock(struct store_group *g, const char *ref, struct ledger_oid *tip);

/* Adds an object; its name is computed here. */
int store_group_put(struct store_group *g, enum store_type type, const void *data, size_t len, struct ledger_oid *oid);

/*
 * Adds a tree that is `base` with bytes [off, off+del) replaced by `ins[0..inslen)`: `data[0..len)` is the whole of it.
 * `base` NULL: a tree from nothing; else a tree that the store has.  `oid` is its name, computed by the caller.
 */
int store_group_put_tree(struct store_group *g, const struct ledger_oid *oid, const void *data, size_t len,
			 const struct ledger_oid *base, size_t off, size_t del, const void *ins, size_t inslen);

/* Adds a value (staged or not); keeps a reference until the group ends. */
int store_group_put_value(struct store_group *g, struct ledger_value *v);

/* The group's `ref` is to move to `to` (zero: to be deleted); the last call for a ref counts.  `why`: the reflog's line. */
int store_group_move(struct store_group *g, const char *ref, const struct ledger_oid *to, const char *why);

/*
 * Makes all objects and moves of the group durable, then visible, lets go of the locks and frees `g`.  A group may have
 * objects and no move: they are then for stock git to read when it returns (ledger_build()).  On failure none
 * of the moves is visible and `g` is freed too.  ELOCKED: somebody else moved a ref of the group, or is about to: build it
 * again.  store_group_abort(): nothing happened.
 */
int store_group_commit(struct store_group *g);
void store_group_abort(struct store_group *g);

#endif
