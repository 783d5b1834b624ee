#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""lease.py KEY ME MILLISECONDS TERMS [crash]: becomes leader TERMS times; each time it appends "TERM ME" to KEY.work and hands
the lease back, with `crash` it just stops.  The key holds "HOLDER TERM EXPIRES": holder "-" when free, and when it expires
in milliseconds of the epoch.  TERM grows by one with every change of leader, so that work can be fenced."""

import sys
import time

from retry import Conflict, look, retry, swap


def acquire(key, me, ttl):
    """The term and what the key says in it."""
    blob, text = look(key)
    holder, term, expires = text.decode().split() if text else ("-", "0", "0")
    now = time.time_ns() // 1000000
    if holder != "-" and now < int(expires):
        raise Conflict(key)
    term = int(term) + 1
    mine = b"%s %d %d" % (me.encode(), term, now + ttl)
    swap(key, blob, mine)
    return term, mine


def release(key, term, mine):
    """Only while it is still ours."""
    blob, text = look(key)
    if text == mine:
        try:
            swap(key, blob, b"- %d 0" % term)
        except Conflict:
            pass


def main(key, me, ttl, terms, crash=""):
    for _ in range(int(terms)):
        term, mine = retry(acquire, key, me, int(ttl))
        with open(key + ".work", "a", encoding="ascii") as work:
            work.write("%d %s\n" % (term, me))
        if crash:
            return
        release(key, term, mine)


main(*sys.argv[1:])
