/* SPDX-License-Identifier: MIT */
/*
 * The index of times on the disk: kv/times/<hash of the namespace's name>, a header, the occupied slots, a SHA-1 over all
 * of it.  It is a cache: never synced, replaced by a rename, and whatever is wrong with a file, it is as if there were
 * none.  Numbers are the machine's own; a mark in the header tells.
 *
 *   0 "kvtimes1"  8 0x01020304  12 length of the name  16 keys  24 commit  44 zeros  48 name  +slots  +SHA-1
 *
 * kv/times/lock is flock()ed by the one that writes; who does not get it writes another time.  Internal to ledger/.
 */
#ifndef LEDGER_TIMEFILE_H
#define LEDGER_TIMEFILE_H

#include "internal.h"
#include "timetable.h"

/* 0, or LEDGER_ENOTFOUND: there is no good one.  More than `max` keys are no good one. */
int timefile_load(struct ledger *l, const char *ns, size_t max, struct ledger_oid *commit, struct timetable *out);
/* ELOCKED: another one is writing; EIO: for any reason.  `slots`: the occupied ones. */
int timefile_save(struct ledger *l, const char *ns, const struct ledger_oid *commit, const struct time_slot *slots,
		  size_t n);
/* The namespace has another name now; `to` NULL: it is gone. */
void timefile_move(struct ledger *l, const char *ns, const char *to);
/* Removes the files of namespaces that are no more. */
void timefile_sweep(struct ledger *l);

#endif
