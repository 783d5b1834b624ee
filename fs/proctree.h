/* SPDX-License-Identifier: MIT */
/*
 * The processes that the mount has met, each once, with the parents that they had when they were met.
 *
 * A process is one `struct proc` for as long as somebody refers to it; its address is its identity.  A pidfd is kept while
 * the process lives; as long as that one has not become readable nobody else can have the number, so "is thread T's process
 * this one" costs no system call for a main thread, and a reused number inherits nothing on any kernel (SPEC 6.2).
 *
 * Parents are recorded when a process is first met and stay: a process whose shell has exited is still a descendant of it
 * here, though the kernel has given it to process 1.  Each process refers to its parent: one reference keeps a whole chain.
 *
 * Descriptors: one per living process that is referred to.  main() raises the soft limit to the hard one.
 *
 * Threads: any.  The tree's lock is a leaf: nothing is called with it held.
 */
#ifndef FS_PROCTREE_H
#define FS_PROCTREE_H

#include <stdbool.h>
#include <sys/types.h>

struct proctree;
struct proc;

/* 0 or a positive errno (ENOMEM, EMFILE). */
int proctree_new(struct proctree **out);
/* All references must have been given back.  NULL is fine. */
void proctree_free(struct proctree *t);

/*
 * The process of the thread `tid` (never 0), with all its ancestors.  One reference, to be given back by proc_unref().
 * First meeting: about 6 us a level; afterwards a hash lookup.  ESRCH: no such process or not in this namespace; ENOMEM,
 * EMFILE, ENFILE; ENOSPC: more than fs.epoll.max_user_watches; ENOSYS: kernel before 5.3.  An ancestor that cannot be read
 * ends the chain there.
 */
int proctree_get(struct proctree *t, pid_t tid, struct proc **out);

struct proc *proc_ref(struct proc *p);
void proc_unref(struct proc *p); /* NULL is fine */

/* Its process id, also after its death. */
pid_t proc_pid(const struct proc *p);
/* The parent when it was met, borrowed from `p`; NULL at the top (process 1 is in the tree). */
struct proc *proc_up(const struct proc *p);
/* Does it live, as of the last proctree_get() or proctree_learn() of anybody?  Once false, it stays so.  No system call. */
bool proc_lives(const struct proc *p);
/* Learns of all deaths up to now: one system call for all processes together. */
void proctree_learn(struct proctree *t);

#endif
