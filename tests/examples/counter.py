#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""counter.py KEY TIMES: adds one, TIMES times.  Any number of these may run at once; none is lost."""

import sys

from retry import look, retry, swap


def add_one(key):
    blob, value = look(key)
    swap(key, blob, b"%d" % (int(value or 0) + 1))


for _ in range(int(sys.argv[2])):
    retry(add_one, sys.argv[1])
