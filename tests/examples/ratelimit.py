#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""ratelimit.py KEY LIMIT WINDOW TRIES: asks TRIES times to be let through in the time window of that number; prints how many
times it was.  The key holds "WINDOW COUNT"; a later window starts again from nothing, an earlier one is over."""

import sys

from retry import look, retry, swap


def take(key, limit, window):
    blob, text = look(key)
    at, count = (int(word) for word in text.split()) if text else (0, 0)
    if window < at:
        return False
    if window > at:
        count = 0
    if count >= limit:
        return False
    swap(key, blob, b"%d %d" % (window, count + 1))
    return True


numbers = [int(word) for word in sys.argv[2:]]
print(sum(retry(take, sys.argv[1], *numbers[:2]) for _ in range(numbers[2])))
