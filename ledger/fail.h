/* SPDX-License-Identifier: MIT */
/* How code inside ledger/ fails: the code for the caller, the sentence for ledger_errmsg(). */
#ifndef LEDGER_FAIL_H
#define LEDGER_FAIL_H

#include <ledger/error.h>

/* Keeps the sentence for this thread's ledger_errmsg() and returns `code`.  Defined beside ledger_errmsg() in error.c. */
int ledger_fail(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
