/* SPDX-License-Identifier: MIT */
/* What becomes of a push that the upstream has taken. */
#ifndef KV_HOOK_WATCH_H
#define KV_HOOK_WATCH_H

#include "hook.h"

/*
 * The upstream has the push's refs at `new`, and had them at `upstream`.  Returns at once; a process of its own waits until
 * git-receive-pack has ended.  A ref that was not accepted here is then put back over there, if it still is at `new`: by
 * compare-and-swap, never blindly.  What it did stands in GITDIR/kv-stargate.log.
 */
void hook_watch(const struct hook *h, const char *url);

#endif
