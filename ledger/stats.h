/* SPDX-License-Identifier: MIT */
/* The inside of <ledger/stats.h>: where attempts are counted, and how they are read.  Internal to ledger/. */
#ifndef LEDGER_STATS_INTERNAL_H
#define LEDGER_STATS_INTERNAL_H

#include <ledger/stats.h>

struct stats;

struct stats *stats_new(void); /* NULL: out of memory */
void stats_free(struct stats *s);

/* One attempt that has ended. */
struct stats_attempt {
	const char *ns;
	const struct ledger_change *change; /* NULL: of a namespace as a whole */
	const struct ledger_result *res;
	int rc;
	uint64_t began_us; /* stats_clock() */
	unsigned lock_retries;
};

uint64_t stats_clock(void);
void stats_attempt(struct stats *s, const struct stats_attempt *a);

/* The leader found the namespace at the one commit and left it at the other. */
void stats_saw(struct stats *s, const char *ns, const struct ledger_oid *found, const struct ledger_oid *left);

/* A namespace's numbers as of one instant. */
struct stats_view {
	const char *ns; /* lives as long as the ledger */
	struct ledger_stats numbers;
	struct {
		char *key;
		uint64_t conflicts;
	} contended[LEDGER_STATS_KEYS];
	size_t ncontended;
};

/* Of `ns` (NULL: all), for stats_views_free().  ENOMEM. */
int stats_views(struct stats *s, const char *ns, struct stats_view **out, size_t *n);
void stats_views_free(struct stats_view *v, size_t n);

#endif
