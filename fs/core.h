/* SPDX-License-Identifier: MIT */
/*
 * The inside of the FUSE face: places, inodes, write sessions.  Only fs/ includes it.
 *
 * A *place* is a name in the mount: a namespace and a path in it.  It exists in memory only while somebody refers to it.
 * An *inode* is what the kernel holds a nodeid for.  A place has many over time: every committed value that was looked up
 * is an inode of its own (a version), and every write handle has a private one (docs/DESIGN.md, "The FUSE seam").
 *
 * Locks, in the order in which they may be taken:
 *   1. fs.dirs[ns]	  rwlock; read: anything that changes one name; write: a change of a directory's own name
 *   2. place.names	  rwlock; read: a save to the place; write: rename and unlink of it (two places: by address)
 *   3. session.lock	  one handle's bytes and state
 *   4. holder pins	  an expectation that guards a commit under way (holder.h)
 *   5. the ledger's own
 *   6. fs.lock		  the tables; nothing is called with it held but malloc, free and holders_peek() (carry.c)
 *   7. those inside holder.h and proctree.h
 */
#ifndef FS_CORE_H
#define FS_CORE_H

#define FUSE_USE_VERSION 312
#include "classify.h"
#include "fs.h"
#include "holder.h"
#include "locks.h"
#include "log.h"
#include "outcome.h"
#include "proc.h"
#include "proctree.h"

#include <fuse3/fuse_lowlevel.h>
#include <ledger/change.h>
#include <ledger/ledger.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

enum inode_type {
	INODE_ROOT = 1, /* the mount's root: namespaces and their prefixes */
	INODE_PREFIX,   /* a directory of namespaces: `team` of refs/kv/team/app */
	INODE_DIR,      /* a namespace's root (path "") or a directory in one */
	INODE_VERSION,  /* a committed value of a key (file or symlink); its content never changes */
	INODE_PRIVATE,  /* the private copy of one write handle */
	INODE_LOCAL,    /* a scratch or passing file: its bytes live in the mount */
	INODE_CONTROL,  /* .kv and what is in it */
};

struct session; /* session.h */
struct local;   /* local.h */
struct file;    /* file.h */
struct dir;     /* dir.c */

struct place {
	struct place *next;       /* hash chain, or fs.nameless; fs.lock */
	struct place **link;      /* in fs.nameless; fs.lock */
	char *ns;                 /* NULL for the mount's root and prefixes; fs.lock */
	char *path;               /* inside ns, or the prefix; fs.lock */
	uint64_t hash;            /* fs.lock */
	unsigned refs;            /* fs.lock */
	bool hashed;              /* in the table: false when its name was taken over; fs.lock */
	struct inode *inodes;     /* all inodes of this place; fs.lock */
	struct session *sessions; /* open write handles; fs.lock */
	struct local *local;      /* scratch, passing or whiteout state; fs.lock */
	pthread_rwlock_t names;
};

struct inode {
	_Atomic(enum inode_type) type; /* constant, but for redirect_adopt() */
	enum ledger_kind kind;         /* VERSION: FILE, EXEC, LINK; else DIR or FILE; fs.lock */
	struct ledger_oid blob;        /* VERSION: its value; constant */
	uint64_t size;                 /* VERSION: the value's; constant */
	uint64_t ino;                  /* st_ino; constant */
	uint64_t key_ino;              /* VERSION: what stat(2) of the key tells; constant */
	pid_t sole;                    /* VERSION: the thread LOOKUP showed it to; 0: all; -1: it has been read; fs.lock */
	bool told;                     /* VERSION: the kernel has been told key_ino; fs.lock */
	struct timespec mtime;         /* VERSION: when the key last changed, or as touch(1) said; fs.lock */
	struct ledger_oid as_of;       /* VERSION: the tip for which `mtime` was asked; fs.lock */
	atomic_bool guess;             /* VERSION: the ledger does not know `mtime` yet */
	struct place *place;           /* owned reference; fs.lock */
	struct inode *next;            /* place.inodes; fs.lock */
	uint64_t nlookup;              /* the kernel's count; fs.lock */
	unsigned refs;                 /* ours; fs.lock */
	unsigned opens;                /* VERSION: handles that read `value`; fs.lock */
	bool superseded; /* VERSION: a save replaced it: not to be found again even if the value comes back; fs.lock */
	bool unlinked;   /* its name is gone; fs.lock */
	struct ledger_value *value; /* VERSION: while opens > 0; fs.lock */
	struct session *session;    /* PRIVATE: its write handle; constant once set, owned */
	struct local *local;        /* LOCAL: owned reference; constant */
	int control;                /* CONTROL: enum control_node; constant */
	char *name;                 /* CONTROL: a rejected value's name; constant */
};

/* An OPEN for writing that was answered ESTALE: the same thread's next LOOKUP of the place gets `priv` (open.c). */
struct redirect {
	struct redirect *next; /* fs.lock */
	pid_t tid;
	struct inode *priv; /* owned reference */
	time_t born;        /* monotonic seconds */
	bool moved;         /* the place was renamed since: the thread will ask for the old name; fs.lock */
	bool gone;          /* the key had gone: LOOKUP gets nothing here, `priv` is the inode that the OPEN named */
};

/* How often in a row a thread has opened a place for writing. */
struct habit {
	pid_t tid;
	uint64_t place; /* its hash */
	unsigned writes;
};

#define HABITS 256

struct fs {
	struct ledger *ledger;
	const struct fs_options *opts;
	struct fuse_session *se;
	struct proctree *procs;
	struct holders *holders;
	struct outcomes *outcomes;
	struct locks *locks;
	struct classify *classify;
	_Atomic dev_t dev;    /* the mount's st_dev as processes see it; 0 until known */
	atomic_int mnt_id;    /* proc_mount_id() of it; -1 until known */
	uint64_t max_size;    /* bytes of a value at most */
	bool readonly;        /* every change is EROFS */
	struct timespec born; /* times of directories of namespaces */
	pthread_rwlock_t dirs[64];
	pthread_mutex_t lock;
	struct place **table;        /* fs.lock */
	size_t nplaces, ntable;      /* fs.lock */
	struct place *nameless;      /* places whose name was taken over, while somebody refers to them; fs.lock */
	struct inode root;           /* fs.lock */
	struct redirect *redirects;  /* fs.lock */
	struct habit habits[HABITS]; /* fs.lock */
	void *touched;               /* times.c: a search tree; fs.lock */
	struct local *locals;        /* all local files; fs.lock */
	unsigned scratch_dirs;       /* of them linked directories; fs.lock */
	struct file *files;          /* all open files; fs.lock */
	struct dir *opendirs;        /* all open directories; fs.lock */
	_Atomic uint64_t next_ino;
	struct control *control;
	struct janitor *janitor; /* local.c: commits passing files that stay */
	struct revalidator *revalidator;
};

/* Finds out the mount's device number as /proc shows it, once; fs->dev is 0 until that works. */
void fs_learn_device(struct fs *fs);

/* A rwlock whose writers do not starve: a rename gets in between saves that never pause.  Not to be read-locked twice. */
void rwlock_init(pthread_rwlock_t *lock);

/* --- place.c ------------------------------------------------------------------------------------------------------ */

/* Finds or makes the place; NULL: out of memory.  One reference for the caller.  The _locked ones want fs.lock held. */
struct place *place_get(struct fs *fs, const char *ns, const char *path);
struct place *place_get_locked(struct fs *fs, const char *ns, const char *path);
/* Finds it only. */
struct place *place_find_locked(struct fs *fs, const char *ns, const char *path);
struct place *place_ref_locked(struct place *p);
void place_unref_locked(struct fs *fs, struct place *p);
void place_unref(struct fs *fs, struct place *p); /* NULL is fine */

/* The name that a place has now: copies for the caller to free(). `ns` may be NULL when not wanted.  ENOMEM as -1. */
int place_name(struct fs *fs, const struct place *p, char **ns, char **path);

/* A place whose name is held still: no rename or unlink of it or above it can happen. */
struct hold {
	struct place *place;    /* owned reference */
	char *ns, *path;        /* owned; its name */
	pthread_rwlock_t *dirs; /* NULL: another hold has it */
};

/*
 * Takes locks 1 (for reading) and 2 (for writing if `change`: the caller is about to change what the name means).
 * 0, ENOMEM, or ENOTFOUND when the place has lost its name.  hold_end() lets go.
 */
int hold_begin(struct fs *fs, struct place *p, bool change, struct hold *h);
void hold_end(struct fs *fs, struct hold *h);

/* Both, for a change of both, in an order that cannot deadlock; of the same namespace.  End the second first. */
int hold_two(struct fs *fs, struct place *p, struct place *q, struct hold *hp, struct hold *hq);

/*
 * The file at `from` is now at `to` (same namespace): what is live at `from` goes along; what was at `to` loses its name,
 * but its open write handles stay with the name, for SPEC 5.2 to judge them.
 */
int place_move(struct fs *fs, struct place *from, struct place *to);

/* A directory (path) or namespace (path "") was renamed: every live place below goes along. */
int place_move_tree(struct fs *fs, const char *ns, const char *path, const char *to_ns, const char *to_path);

/* The rwlock for directory renames in `ns`. */
pthread_rwlock_t *fs_dirs(struct fs *fs, const char *ns);

/* st_ino of what is at (ns, path); `blob` NULL for a directory.  The same after a remount. */
uint64_t place_ino(const char *ns, const char *path, const struct ledger_oid *blob);

/* "dir" + "/" + "name", or just "name" when dir is "".  malloc'ed; NULL: out of memory. */
char *path_join(const char *dir, const char *name);
/* Is `path` at or below the directory `dir`?  Then the rest behind it ("" or "/..."), in `path`; else NULL. */
const char *path_below(const char *dir, const char *path);

/* --- inode.c ------------------------------------------------------------------------------------------------------ */

static inline struct fs *fs_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

struct inode *inode_of(struct fs *fs, fuse_ino_t nodeid);
fuse_ino_t inode_id(struct fs *fs, const struct inode *i);

/*
 * The version inode for the entry that `tip` has at the place: the live one, or a new one.  `sole`: always a new one, which
 * is shown to this thread only, this once, with a number of its own until it asks for it; 0: the one for all.  One kernel
 * lookup is counted.  0 or a ledger error.
 */
int inode_version(struct fs *fs, struct place *p, const struct ledger_tip *tip, const struct ledger_entry *e, pid_t sole,
		  struct inode **out);
/* The one inode of `type` (PREFIX, DIR) at the place; one kernel lookup is counted.  NULL: out of memory. */
struct inode *inode_dir(struct fs *fs, struct place *p, enum inode_type type);
/* A new inode that is in no way shared, with one reference of ours and no kernel lookup.  NULL: out of memory. */
struct inode *inode_new(struct fs *fs, struct place *p, enum inode_type type);
void inode_ref_locked(struct inode *i);
void inode_unref(struct fs *fs, struct inode *i);
/* Counts or forgets kernel lookups. */
void inode_looked_up(struct fs *fs, struct inode *i);
void inode_forget(struct fs *fs, struct inode *i, uint64_t n);
/* Ends it, whoever still counts on it: for the end of the face. */
void inode_abandon(struct fs *fs, struct inode *i);
/* A save landed at the place: what was looked up before is not to be found again. */
void inode_supersede(struct fs *fs, struct place *p);
void inode_supersede_locked(struct place *p);
/* Has its name gone? */
bool inode_is_unlinked(struct fs *fs, const struct inode *i);
/* Number for a private or local inode: unique while mounted. */
uint64_t inode_number(struct fs *fs);

/* Fills `st` for the inode.  0 or a ledger error. */
int inode_stat(struct fs *fs, struct inode *i, struct stat *st);

#define ATTR_FOREVER 3600.0 /* seconds: attributes of a version change by this mount's own replies only */
#define ATTR_DIR 0.1        /* seconds: a directory's times may lag behind foreign commits by so much */

double inode_attr_timeout(const struct inode *i);

/* --- resolve.c ---------------------------------------------------------------------------------------------------- */

/* The entry at the place now, by the tip of its namespace.  ledger errors; `tip` may be NULL. */
int fs_resolve(struct fs *fs, struct place *p, struct ledger_tip *tip, struct ledger_entry *e);

/* The result of reading an object that a tree names: when it is not there that is damage, not an absent key. */
static inline int named_object(int r)
{
	return r == LEDGER_ENOTFOUND ? LEDGER_ECORRUPT : r;
}

/* Is there a namespace below refs/kv/<prefix>/ ? */
bool fs_prefix_exists(struct fs *fs, const char *prefix);

/* --- times.c: times that touch(1) and this mount's own saves gave to keys ------------------------------------------- */

/* Remembers the time of (ns, path) for as long as its blob (or tree) stays `blob`.  Lost on lack of memory. */
void times_set(struct fs *fs, const char *ns, const char *path, const struct ledger_oid *blob, const struct timespec *t);
bool times_get(struct fs *fs, const char *ns, const char *path, const struct ledger_oid *blob, struct timespec *t);
void times_free(struct fs *fs);

/* --- change.c: one change, with expectations, statuses and log ------------------------------------------------------ */

/* Who asks for a change: the caller of a request, or, when nobody is there any more, what a handle recorded. */
struct who {
	pid_t tid; /* 0: only the chain is known */
	pid_t pid; /* process id, for the trailer; 0: not looked up yet, as `comm` */
	uid_t uid;
	struct holder_chain *chain; /* used when tid is 0; borrowed */
	char comm[PROC_COMM_SIZE];
};

/* Costs nothing: process and name are looked up when a commit wants them, by who_look(). */
void who_from_req(struct who *w, fuse_req_t req);
/* Looks them up unless that was done.  `end` may be NULL. */
void who_look(struct who *w, struct proc_exit *end);

/*
 * Commits edits on `ns` for `w`: adds the expectations that apply to `key` (and `key2`, the other end of a rename; may be
 * NULL), moves them on, records the outcome for user.kv.status.  A conflict is LEDGER_ECONFLICT.  `res` may be NULL.
 */
int fs_change(struct fs *fs, const struct who *w, const char *ns, const char *key, const char *key2,
	      const struct ledger_edit *edits, size_t nedits, struct ledger_result *res);

/* The same with one more expectation, which is the caller's for this change alone and checked first (NULL: none). */
int fs_change_if(struct fs *fs, const struct who *w, const char *ns, const char *key, const char *key2,
		 const struct ledger_expect *own, const struct ledger_edit *edits, size_t nedits, struct ledger_result *res);

/* The namespace as a whole gets the name `to`, or (NULL) goes to the archive, under the caller's expectation about it. */
int fs_change_ns(struct fs *fs, const struct who *w, const char *ns, const char *to);

/* Would a change of `key` by `w` conflict already?  0, ECONFLICT (recorded as the outcome), or another error. */
int fs_change_check(struct fs *fs, const struct who *w, const char *ns, const char *key);
/*
 * The same with one more expectation, checked first (NULL: none).  `lost`: a new key that will not be made after all; that
 * it was to be absent and is absent again does not mean that it was made.
 */
int fs_change_check_if(struct fs *fs, const struct who *w, const char *ns, const char *key, const struct ledger_expect *own,
		       bool lost);

/* status.c.  Records a conflict that was found without ledger_commit(): `expected` is what was, `res` what is there. */
void fs_record(struct fs *fs, const struct who *w, const char *ns, const char *key, int result,
	       const struct ledger_expect *expected, const struct ledger_result *res);

#endif
