/* SPDX-License-Identifier: MIT */
/* A growing file in memory that moves to a draft of the ledger when it gets large.  One owner at a time: no locks. */
#ifndef FS_SPOOL_H
#define FS_SPOOL_H

#include <stdint.h>
#include <sys/types.h>

struct ledger;
struct ledger_value;
struct spool;

#define SPOOL_MEMORY (4u << 20) /* bytes in memory at most */

/* `l` lives as long as the spool.  NULL: out of memory. */
struct spool *spool_new(struct ledger *l);
void spool_free(struct spool *s); /* NULL is fine */

uint64_t spool_size(const struct spool *s);

/* All return 0, or bytes, or a negative ledger error (ENOSPC, ENOMEM, EIO); a failed call changed nothing that counts. */
ssize_t spool_pread(const struct spool *s, void *buf, size_t len, uint64_t off);
int spool_pwrite(struct spool *s, const void *buf, size_t len, uint64_t off); /* a gap reads as zeros */
int spool_truncate(struct spool *s, uint64_t size);
int spool_zero(struct spool *s, uint64_t off, uint64_t len); /* inside the size */

/* It will probably get `size` bytes by appending; what is in memory does not care. */
void spool_expect(struct spool *s, uint64_t size);

/* Replaces the content by the value's. */
int spool_load(struct spool *s, const struct ledger_value *v);

/* All of it as a value of the ledger; the spool stays usable. */
int spool_value(struct spool *s, struct ledger_value **out);

#endif
