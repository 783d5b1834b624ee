/* SPDX-License-Identifier: MIT */
/* Expectations that go along with the handles of a file that is renamed.  Threads: any; takes fs.lock. */
#ifndef FS_CARRY_H
#define FS_CARRY_H

#include "session.h"

/* Before the commit that renames what is at, and below, `path`: the handles there note what is expected of their keys. */
void carry_note(struct fs *fs, const char *ns, const char *path);

/* A rename under way is also the handle's first save: what was expected of the old name has no say any more. */
void carry_nothing(struct session *s);

/* The place is about to get another path: its handles keep what they noted, if they have nothing yet.  fs.lock held. */
void carry_take_locked(struct fs *fs, struct place *p);

/* What the handle carries, as an expectation of `path` (borrowed).  False: nothing. */
bool carry_get(struct session *s, const char *path, struct ledger_expect *e);

/* The handle has saved `blob`. */
void carry_move_on(struct session *s, const struct ledger_oid *blob);

#endif
