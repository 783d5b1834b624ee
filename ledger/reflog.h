/* SPDX-License-Identifier: MIT */
/* Reflogs follow renamed refs.  Internal to ledger/. */
#ifndef LEDGER_REFLOG_H
#define LEDGER_REFLOG_H

#include <stdbool.h>

/* Moves the log of `from`, if there is one, to `to`.  A reflog is a convenience: that it cannot be moved is no failure. */
bool reflog_move(const char *gitdir, const char *from, const char *to);

#endif
