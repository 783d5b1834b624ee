/* SPDX-License-Identifier: MIT */
/*
 * The indexes of times of all namespaces in use: who brings them to the tip, and to the disk.  Internal to ledger/.
 *
 * A short way to the tip is gone by whoever asks, a long one by a thread in the background; until it has arrived,
 * keytime.c answers by walking back a bounded number of commits.  Own commits are followed by the threads that made them,
 * after their answer is fixed and beside the next group.
 */
#ifndef LEDGER_TIMEKEEPER_H
#define LEDGER_TIMEKEEPER_H

#include "internal.h"

struct timekeeper;

struct timekeeper *timekeeper_new(void); /* NULL: out of memory */
/* Ends the thread, writes what was not written.  NULL is fine; so is a ledger that was never opened. */
void timekeeper_free(struct ledger *l);

/* 1: the path's time as of `tip`.  0: the index cannot tell, or there is no such path. */
int timekeeper_ask(struct ledger *l, const char *ns, const struct ledger_tip *tip, const char *path, struct timespec *out);
/* A commit of this ledger; true: the index has it, or will, with its nanoseconds. */
bool timekeeper_saw(struct ledger *l, const char *ns, const struct ledger_oid *commit);
/* The namespace's ref was renamed; `to` NULL: deleted. */
void timekeeper_moved(struct ledger *l, const char *ns, const char *to);

#endif
