/* SPDX-License-Identifier: MIT */
/*
 * SQLite's rollback journals, which are scratch files: old pages of the database `X` in `X-journal`.  The next one who opens
 * a database whose writer was killed plays them back.  That is right while the database has the value that they were taken
 * from, or one that the same writer has made of it; but a key can get another value from elsewhere at any time, by git, by
 * another mount, by cp, and old pages in that one would be neither.
 *
 * So a journal knows the value of the database that its writer's handle goes on from, follows when that handle is saved, and
 * is emptied (which is what SQLite does to one that it needs no more) when somebody looks it up while the database has
 * another value, and when its writer is told that the database has changed.
 */
#ifndef FS_JOURNAL_H
#define FS_JOURNAL_H

#include "session.h"

/* The process `pid` has written to `l`. */
void journal_written(struct fs *fs, struct local *l, pid_t pid);
/* The database at (ns, path) was `from` (absent: zero) and is `to` by a save of a handle of the process `pid`. */
void journal_follow(struct fs *fs, const char *ns, const char *path, pid_t pid, const struct ledger_oid *from,
		    const struct ledger_oid *to);
/* Somebody looks `l` up. */
void journal_check(struct fs *fs, struct local *l);
/* A handle of the process `pid` on the database at (ns, path) will never be saved: somebody else has changed that. */
void journal_refused(struct fs *fs, const char *ns, const char *path, pid_t pid);

#endif
