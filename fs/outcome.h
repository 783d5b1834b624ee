/* SPDX-License-Identifier: MIT */
/*
 * How everybody's last writes ended, for user.kv.status (SPEC 6.4): a bounded table of texts.
 *
 * One record per writing process, namespace and key: its newest.  The oldest of all give way beyond OUTCOMES_MAX, a
 * writer's own oldest beyond OUTCOMES_PER_WRITER.
 *
 * Threads: any.
 */
#ifndef FS_OUTCOME_H
#define FS_OUTCOME_H

#include "proctree.h"

#define OUTCOMES_MAX 1024
#define OUTCOMES_PER_WRITER 128

struct outcomes;

/* `t` is borrowed and must outlive the table.  0 or ENOMEM. */
int outcomes_new(struct outcomes **out, struct proctree *t);
void outcomes_free(struct outcomes *o); /* NULL is fine */

/*
 * `writer`'s attempt on `key` ("" or NULL: on the namespace itself) of `ns` ended as `text` says; copied.  `writer` is
 * borrowed (proctree_get(), holder_chain_proc()).  ENOMEM: not recorded, all stays as it was.
 */
int outcomes_record(struct outcomes *o, const char *ns, const char *key, struct proc *writer, const char *text);

/*
 * The text that the process of `tid` is to see: of the attempts on `key` (NULL or "": of all on the namespace) the one whose
 * writer is nearest in the tree of processes, of equally near ones the newest (SPEC 6.4).  The distance is the number of
 * steps up from the caller to the first ancestor, itself at 0, that is the writer or of which the writer is a descendant
 * that has exited: a script sees the outcome of the cp that it ran last as its own.  Processes that still run, but are no
 * ancestors, are no relatives.  Process 1 makes relatives only of its own children.
 * A text on the heap, the caller frees it.  ENODATA: none; ESRCH, ENOMEM, EMFILE.
 */
int outcomes_lookup(struct outcomes *o, const char *ns, const char *key, pid_t tid, char **text);

/* Is `part` in a text of the namespace that is still kept? */
bool outcomes_mention(struct outcomes *o, const char *ns, const char *part);

/* The namespace has a new name: its records follow. */
void outcomes_ns_renamed(struct outcomes *o, const char *from, const char *to);

#endif
