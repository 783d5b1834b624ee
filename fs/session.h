/* SPDX-License-Identifier: MIT */
/*
 * Write sessions: the private copy behind one open for writing, from open to the last close (SPEC 5.1, 5.2).
 *
 * A session belongs to one private inode.  It starts from the value that the key had at the open (its base), takes
 * writes, and is saved as one commit: at fsync, at the flush of the last holder, or at release.
 */
#ifndef FS_SESSION_H
#define FS_SESSION_H

#include "core.h"
#include "spool.h"

#define SESSION_WRITERS 16

/* carry.h */
struct carried {
	bool there;
	enum ledger_expect_what what; /* BLOB or ABSENT */
	struct ledger_oid blob;
};

struct session {
	struct fs *fs;
	struct session *next; /* place.sessions; fs.lock */
	struct place *place;  /* where it will be saved; owned reference; fs.lock */
	struct inode *priv;   /* its inode, which owns it */
	pthread_mutex_t lock;

	/* What it was made from; lock. */
	bool base_absent;
	bool base_own; /* the base is what this session saved */
	struct ledger_oid base;
	enum ledger_kind kind;
	uint64_t base_size;
	struct ledger_value *base_value; /* NULL: empty, or not loaded yet */

	/* The bytes; lock. */
	struct spool *bytes; /* the whole value once `whole`; with `tail`: only what goes behind the base */
	bool whole;          /* bytes has all; else the base shows through */
	bool replaces;       /* truncated to nothing before any read: the writer chose to replace (SPEC 5.2) */
	bool was_read;
	bool guessed;     /* its size, when it left memory */
	bool append_only; /* O_APPEND and nothing but appended: `bytes` is the tail */

	/* State; lock. */
	atomic_bool created; /* by O_CREAT on an absent name, and not saved yet */
	bool exclusive;      /* and by O_EXCL */
	bool dirty;          /* has something to save */
	bool kind_set;       /* fchmod gave it a kind */
	bool mtime_set;
	struct timespec mtime;
	int error;      /* ledger error that poisoned it: nothing more is saved (0: none) */
	unsigned opens; /* open files; fs.lock */
	bool ended;     /* there were some, and are no more; fs.lock */
	/*
	 * The number that /proc shows for its descriptors: the private inode's own, by which the last-holder test tells
	 * handles apart, until somebody calls fstat(2).  That must answer with the number that stat(2) of the key gave
	 * before the open (vim and others compare them and refuse to save), and the kernel takes over whatever it is told.
	 */
	_Atomic uint64_t fd_ino;
	uint64_t base_ino; /* the number of the version it was made from; 0: the key was absent; constant */

	/* Of the name that the file had before somebody renamed it (carry.h), and what a rename under way has noted;
	 * fs.lock. */
	struct carried guard, noted_guard;
	bool noted;

	atomic_bool detached; /* its name was unlinked: saves go nowhere, as POSIX has it (check_detached()) */

	/* Who; the opener is constant, the list of writers grows; lock. */
	struct who who;             /* the opener; who.tid is that of the open */
	struct holder_chain *chain; /* the opener's ancestry, for saves that nobody is there for; NULL: not known */
	pid_t last_pid;             /* newest process id of the system at the open */
	pid_t writers[SESSION_WRITERS];
	unsigned nwriters;
	pid_t last_tid, last_tgid; /* the last writer, so that runs of writes cost nothing */
};

/* Who calls fstat(2) is told the number of the version from now on; see fd_ino. */
void session_show_base_ino(struct session *s);

/* The bits of open(2)'s flags that say how it will be saved; before the first use. */
int session_set_flags(struct session *s, int flags);

/*
 * A session on `priv` (takes it over as priv->session) for the caller of `req`, based on `base` at the place (NULL:
 * nothing is there).  It is on the place's list when the call returns.  0 or a ledger error.
 */
int session_new(struct fs *fs, struct inode *priv, const struct ledger_entry *base, fuse_req_t req);

/* Off the list, all freed.  From the private inode's end only. */
void session_free(struct session *s);

/* All sessions of `from` go to `to`; fs.lock held. */
void sessions_move_locked(struct fs *fs, struct place *from, struct place *to);

/* The name of the place is gone: its sessions will save nothing.  fs.lock held. */
void sessions_detach_locked(struct place *p);

/* Is there an unsaved new file at the place?  fs.lock held. */
bool sessions_creating_locked(const struct place *p);

/*
 * The unsaved new file at the place, if `tid` is its opener's process or a descendant of it: programs reach what they are
 * just making by its name too.  A reference for the caller, or NULL.
 */
struct inode *session_own_new(struct fs *fs, const char *ns, const char *path, pid_t tid);

/* Bytes as the handle sees them.  Lock taken inside; sizes in bytes; ledger errors. */
uint64_t session_size(struct session *s);
int session_stat(struct session *s, enum ledger_kind *kind, struct stat *st);
ssize_t session_pread(struct session *s, void *buf, size_t len, uint64_t off);
/* `writepage`: a write-back of a mapped page.  `tid` 0 when unknown. */
int session_pwrite(struct session *s, const void *buf, size_t len, uint64_t off, pid_t tid, bool writepage);
int session_truncate(struct session *s, uint64_t size);
/* As fallocate(2) with `mode`; LEDGER_EINVALID for modes that make no sense here. */
int session_fallocate(struct session *s, int mode, uint64_t off, uint64_t len);
void session_set_kind(struct session *s, enum ledger_kind kind);
void session_set_mtime(struct session *s, const struct timespec *t);

/* --- save.c ------------------------------------------------------------------------------------------------------- */

/* Can a save by `w` still land?  0, or ECONFLICT, recorded for user.kv.status.  Costs a look at the ref. */
int session_check(struct session *s, const struct who *w);

/* Saves now if there is something to save: one commit.  `w` NULL: the opener, by the recorded chain.  0 or a ledger error.
 */
int session_save(struct session *s, const struct who *w);

/*
 * Saves a new file under the name `to` (held for a change), whatever is there: its own name is being renamed to that.  The
 * caller moves the place.  0 or a ledger error; nothing changed then.
 */
int session_save_as(struct session *s, const struct who *w, const struct hold *to);

/* Has somebody written on the handle what is not saved? */
bool session_has_unsaved(struct session *s);

/* Has the key another value than the handle goes on from, and nothing keeps the handle from taking that over? */
bool session_is_behind(struct session *s);

/* Is the key's newest value the one that this handle saved, and nothing unsaved since? */
bool session_saved_newest(struct session *s);

/* Takes the key's newest value over, unless something is unsaved.  Did the handle's bytes change? */
bool session_refresh(struct session *s);

/*
 * The private inode of a handle of the process of `tid` that goes on from `e`, the value that the place has now, with
 * nothing unsaved, while its fstat(2) tells another number than the version's stat(2): to be shown to that process in its
 * stead, because programs that compare the two (sqlite, before it writes) take a difference for a file that was replaced
 * under them. A reference for the caller, or NULL.
 */
struct inode *session_own_saved(struct fs *fs, struct place *p, const struct ledger_entry *e, pid_t tid);

/* FLUSH: one descriptor was closed by the caller of `req`.  0 or a ledger error for close(2). */
int session_flush(struct session *s, fuse_req_t req);

/* RELEASE: the last one is gone. */
void session_release(struct session *s);

/* Nothing more is saved from it; close fails with `error`. */
void session_poison(struct session *s, int error);

#endif
