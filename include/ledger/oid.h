/* SPDX-License-Identifier: MIT */
/* Object names (SHA-1), free of any git library's types. */
#ifndef LEDGER_OID_H
#define LEDGER_OID_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define LEDGER_OID_SIZE 20
#define LEDGER_OID_HEXSIZE 40

struct ledger_oid {
	unsigned char id[LEDGER_OID_SIZE];
};

/* Exactly 40 hex digits in `hex[0..len)`, either case; LEDGER_EINVALID otherwise. */
int ledger_oid_parse(struct ledger_oid *out, const char *hex, size_t len);

/* Writes 40 digits and a NUL; returns `buf`. */
char *ledger_oid_fmt(char buf[LEDGER_OID_HEXSIZE + 1], const struct ledger_oid *oid);

static inline bool ledger_oid_eq(const struct ledger_oid *a, const struct ledger_oid *b)
{
	return memcmp(a->id, b->id, LEDGER_OID_SIZE) == 0;
}

static inline bool ledger_oid_is_zero(const struct ledger_oid *a)
{
	static const struct ledger_oid zero;

	return ledger_oid_eq(a, &zero);
}

#endif
