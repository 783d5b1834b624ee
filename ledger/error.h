/* SPDX-License-Identifier: MIT */
/* How code inside ledger/ reports failures.  Internal to ledger/. */
#ifndef LEDGER_ERROR_INTERNAL_H
#define LEDGER_ERROR_INTERNAL_H

#include "fail.h"

/* As ledger_fail() for a failed system call: code from `err` (an errno), sentence "WHAT: strerror". */
int ledger_fail_errno(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The same for a failed libgit2 call that returned `rc`; `errno` must have been 0 before the call. */
int ledger_fail_git(int rc, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The code that an errno stands for. */
int ledger_from_errno(int err);

/* Every public call begins with this: an older sentence must not stand for a newer failure. */
void ledger_error_clear(void);

/* Every public call ends with this: a sentence that was noted for another code than `code` (>= 0: success) goes. */
void ledger_error_settle(int code);

/* The noted sentence for `code`, "" when there is none: to carry it over to another thread. */
const char *ledger_error_noted(int code);

#endif
