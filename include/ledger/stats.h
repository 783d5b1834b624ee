/* SPDX-License-Identifier: MIT */
/*
 * What became of the attempts to change a namespace, counted since the ledger was opened (docs/CAS.md).
 *
 * Every change that was well-formed and met a namespace is one attempt, and ends in exactly one of: a commit, nothing to
 * do, a conflict, a lock that stayed held, another failure.  Counting costs a hash and two short locks a change.
 *
 * Bounds: LEDGER_STATS_NAMESPACES namespaces are told apart, those met later are counted together under the name "";
 * LEDGER_STATS_KEYS keys of each are listed as contended, out of four times as many that are watched.
 *
 * Threads: any.
 */
#ifndef LEDGER_STATS_H
#define LEDGER_STATS_H

#include <ledger/change.h>

#define LEDGER_STATS_NAMESPACES 1024
#define LEDGER_STATS_KEYS 10

/* Why attempts were refused. */
enum ledger_refusal {
	LEDGER_REFUSED_TREE, /* an expectation did not hold, as enum ledger_reason has it */
	LEDGER_REFUSED_COMMIT,
	LEDGER_REFUSED_VERSION,
	LEDGER_REFUSED_BLOB,
	LEDGER_REFUSED_ABSENT,
	LEDGER_REFUSED_BASE,   /* the key changed since its value was read (SPEC 5.2) */
	LEDGER_REFUSED_EXISTS, /* a new key, directory or name is there already */
	LEDGER_REFUSALS,
};

const char *ledger_refusal_name(enum ledger_refusal r); /* "tree", ... "exists"; static */

struct ledger_stats {
	uint64_t attempts;  /* the sum of the next five */
	uint64_t commits;   /* made a commit, or moved the namespace as a whole */
	uint64_t unchanged; /* were so already: success without a commit */
	uint64_t conflicts[LEDGER_REFUSALS];
	uint64_t lock_timeouts; /* LEDGER_ELOCKED */
	uint64_t failures;      /* any other error */
	uint64_t lock_retries;  /* tries that found the ref's lock held by another */
	uint64_t moved_retries; /* groups of changes that found the ref moved on by another writer, and were built on that */
	/* Seconds from the call of ledger_commit() to its return, of attempts that were decided (success or conflict). */
	uint64_t timed;
	double seconds, p50, p95, p99; /* their sum; quantiles within 4 %, 0 when there are none */
};

/* The numbers of one namespace; all zero when nothing was tried. */
void ledger_stats_get(struct ledger *l, const char *ns, struct ledger_stats *out);

/*
 * The same and the most contended keys as text in Prometheus' exposition format 0.0.4: of one namespace, or (NULL) of all
 * that were met.  The caller frees `*text`.  ENOMEM.
 */
int ledger_stats_text(struct ledger *l, const char *ns, char **text, size_t *len);

/*
 * Counts an attempt that the caller refused without ledger_commit(), because it looked and saw the conflict already:
 * `reason` and, for LEDGER_REASON_BASE, whether the key was to be absent.  `key` may be NULL.
 */
void ledger_stats_refused(struct ledger *l, const char *ns, enum ledger_reason reason, bool absent, const char *key);

#endif
