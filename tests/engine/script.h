/* SPDX-License-Identifier: MIT */
/*
 * The workload that faults and deaths are put into, and what must be there after it.  It goes through each way in which the
 * engine commits: direct, through a journal that is made at once for a group of two refs, a checkpoint in mid-flight, a
 * value with a pack of its own, names that come and go.
 */
#ifndef TESTS_ENGINE_SCRIPT_H
#define TESTS_ENGINE_SCRIPT_H

#include "../ledger/helper.h"

#include <stdatomic.h>

#define SCRIPT_KEYS 4

enum script_side { SIDE_NONE, SIDE_THERE, SIDE_ARCHIVED };

/* What was acknowledged, and the one change that may be there or not.  Plain memory: it may be shared with a child. */
struct model {
	struct state {
		char at[16];                 /* the name of the namespace; "": none yet */
		char value[SCRIPT_KEYS][24]; /* "": absent */
		enum script_side side;       /* the namespace `side` */
	} now, next;                         /* next: when the change in doubt is there */
	atomic_bool doubt;                   /* `next` counts too */
	bool dead;                           /* LEDGER_EDEAD was seen: what follows does not begin */
	long acked;
};

void script_run(struct ledger *l, struct model *m);
/* One commit that must go through. */
void script_after(struct ledger *l, struct model *m, const char *what);
/* Reads everything: the state is the one of the model, whole. */
void script_read(struct ledger *l, const struct model *m, const char *what);
/* The same of a repository that nobody has open, and what git says to it; nothing is left lying about. */
void script_check(struct fixture *f, struct ledger_options o, const struct model *m, const char *what);

/* The tests' files go to /dev/shm, unless TMPDIR is set or there is no room: the disk takes no part in what is tested. */
void script_in_memory(void);
void script_remove(const char *dir);
void script_copy(const char *from, const char *to);

#endif
