/* SPDX-License-Identifier: MIT */
/*
 * Local files: what editors and tools keep beside a key for a moment (SPEC 5.4).  They live in the mount alone.
 *
 *  - scratch: a new file of a name that nobody gives to a key; never committed.  So is a new directory of such a name
 * (rsync's
 *    .~tmp~), and whatever is made in it;
 *  - passing: a new file of a name that a key might have; committed when it is still there LOCAL_STAY_MS after its last
 *    close, by the janitor thread, and at unmount;
 *  - gone: a key that was renamed to a scratch name, as editors make their backups.  The key is hidden at once; its
 *    deletion is committed after LOCAL_STAY_MS unless a new value of the key was saved meanwhile: that is one commit then.
 *
 * Scratch and passing files are ordinary shared files: their bytes are no value yet, and everybody on the mount sees them.
 */
#ifndef FS_LOCAL_H
#define FS_LOCAL_H

#include "core.h"
#include "spool.h"

#define LOCAL_STAY_MS 2000

enum local_type { LOCAL_SCRATCH = 1, LOCAL_PASSING, LOCAL_GONE };

struct local {
	struct local *next;   /* fs.locals; fs.lock */
	struct place *place;  /* owned reference; fs.lock */
	bool linked;          /* place.local is this; fs.lock */
	unsigned refs;        /* fs.lock */
	unsigned writers;     /* open for writing; fs.lock */
	pid_t user;           /* the process that opened it first, while writers > 0; fs.lock */
	uint64_t due;         /* monotonic milliseconds when the janitor takes it; 0: not yet; fs.lock */
	enum local_type type; /* fs.lock */
	uint64_t ino;         /* constant */
	bool dir;             /* a scratch directory; fs.lock */

	pthread_mutex_t lock;
	struct spool *bytes;   /* lock */
	enum ledger_kind kind; /* lock */
	struct timespec mtime; /* lock */
	bool tainted;          /* a process that wrote it was killed, or a write failed: never a value; lock */
	bool late;             /* was renamed to a key while open for writing: saved again there when written; lock */
	bool written;          /* since it was last a value; lock */
	pid_t writer;          /* process that wrote last; lock */
	struct ledger_oid of;  /* a journal: the value that its database had (journal.h); lock */
	bool of_known;         /* lock */

	struct ledger_oid blob;     /* GONE: the key's value; constant */
	struct who who;             /* who made it; constant */
	struct holder_chain *chain; /* owned; constant */
};

/* Starts the janitor.  0 or a ledger error. */
int local_start(struct fs *fs);
/* Stops it, commits what stays, names what is lost. */
void local_stop(struct fs *fs);

/*
 * A new local file at the place, which has none; the caller holds place.names for writing.  One reference.
 * NULL: out of memory.
 */
struct local *local_new(struct fs *fs, struct place *p, enum local_type type, const struct who *w);
/* The same for a directory, which is scratch. */
struct local *local_new_dir(struct fs *fs, struct place *p, const struct who *w);
/* Is the place a scratch directory? */
bool local_is_dir(struct fs *fs, const struct place *p);
/* What a new file at the place would be: by its name, and by the directory that it is in. */
enum name_class local_class(struct fs *fs, const char *ns, const char *path);
void local_unref_locked(struct fs *fs, struct local *l);
void local_unref(struct fs *fs, struct local *l);
/* The one at the place, if any, with a reference. */
struct local *local_at(struct fs *fs, struct place *p);
/* Is there one that hides or shows a name?  fs.lock held. */
static inline enum local_type local_type_locked(const struct place *p)
{
	return p->local ? p->local->type : 0;
}

/* Its inode; one kernel lookup is counted.  NULL: out of memory. */
struct inode *local_inode(struct fs *fs, struct local *l);

/* Takes it off its place: unlinked.  place.names is held for writing. */
void local_unlink(struct fs *fs, struct local *l);

/* The file is a value now, or nothing: its name no longer shows it; its inode lives on for who has it open. */
void local_drop_name(struct fs *fs, struct local *l);

/* A save landed at the place: what was hidden as gone is there again. */
void local_returned(struct fs *fs, struct place *p);

/* Commits a passing or gone one now; place.names is NOT held.  0 or a ledger error. */
int local_settle(struct fs *fs, struct local *l);
/* The same for who holds its name for a change. */
int local_settle_held(struct fs *fs, struct local *l, const struct hold *h);
/* Settles every GONE below the directory `path` of `ns` ("": in all of it): its name is to go. */
int local_settle_below(struct fs *fs, const char *ns, const char *path);
/* Is any scratch or passing file below it? */
bool local_any_below(struct fs *fs, const char *ns, const char *path);

/* `pid`: the process that opens it. */
void local_open(struct fs *fs, struct local *l, bool writer, pid_t pid);
/* A descriptor was closed by `tid`: notices killed writers. */
void local_flush(struct fs *fs, struct local *l, pid_t tid);
/* The last descriptor of an open file is gone. */
void local_close(struct fs *fs, struct local *l, bool writer);
/* Its name is of another class now (a rename): `type`, and the clock starts again. */
void local_reclass(struct fs *fs, struct local *l, enum local_type type);

void local_stat(struct local *l, enum ledger_kind *kind, struct stat *st);
ssize_t local_pread(struct local *l, void *buf, size_t len, uint64_t off);
int local_pwrite(struct fs *fs, struct local *l, const void *buf, size_t len, uint64_t off, bool append, pid_t tid);
int local_truncate(struct fs *fs, struct local *l, uint64_t size);
int local_zero(struct fs *fs, struct local *l, int mode, uint64_t off, uint64_t len);
void local_set(struct local *l, const enum ledger_kind *kind, const struct timespec *mtime);
/* Its bytes as a value, and its kind. */
int local_value(struct fs *fs, struct local *l, struct ledger_value **out, enum ledger_kind *kind);
int local_load(struct local *l, const struct ledger_value *v);

#endif
