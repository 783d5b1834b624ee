/* SPDX-License-Identifier: MIT */
/* Directories of a change in the making.  Internal to edit.c and edit_dir.c. */
#ifndef LEDGER_EDIT_DIR_H
#define LEDGER_EDIT_DIR_H

#include "edit.h"

struct dir;

/* One name that an edit has looked at or changed. */
struct slot {
	struct slot *next;          /* in its bucket */
	enum ledger_kind kind;      /* 0: absent */
	struct ledger_oid oid;      /* of a directory: of its state before the change, when `dir` is loaded */
	struct dir *dir;            /* a directory that is loaded */
	struct ledger_value *value; /* a new value; a reference */
	unsigned nbase;             /* entries of that name in the directory as it was */
	bool hidden;                /* ... none of which can be shown */
	size_t len;
	char name[];
};

struct dir {
	struct ledger_tree *base; /* as it was */
	struct slot **bucket;
	size_t nbuckets, nslots;
	size_t live; /* entries now, hidden ones included */
};

int dir_new(struct dir **out, struct ledger_tree *base); /* takes the reference over, also on failure */
void dir_free(struct dir *d);

/* The slot of a name, made from the base when it is new. */
int dir_slot(struct dir *d, const char *name, size_t len, struct slot **out);

/* Makes the slot hold that; takes `dir` and `value` over. */
void slot_set(struct dir *d, struct slot *s, enum ledger_kind kind, const struct ledger_oid *oid, struct dir *dir,
	      struct ledger_value *value);
void slot_clear(struct dir *d, struct slot *s);

/* The directory as a tree, after its parts.  *oid: its name. */
int dir_finish(struct dir *d, const struct edit_io *io, struct ledger_oid *oid);

#endif
