#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""session.py KEY NAME VALUE...: sets NAME=VALUE lines of a session, one update each, and counts them in visits=N.

It saves with open, write and close; the expectation makes the close fail when the session has changed.
"""

import os
import sys

from retry import Conflict, look, retry, swap


def update(key, name, value):
    blob, text = look(key)
    if text is None:
        swap(key, "absent", b"visits=0")
        raise Conflict(key)
    try:
        os.setxattr(key, "user.kv.expect-blob", blob.encode())
    except FileNotFoundError:
        raise Conflict(key) from None
    fields = dict(line.split("=", 1) for line in text.decode().splitlines())
    fields["visits"] = str(int(fields["visits"]) + 1)
    fields[name] = value
    with open(key, "w", encoding="ascii") as file:
        file.write("".join("%s=%s\n" % item for item in fields.items()))


arguments = sys.argv[2:]
for pair in zip(arguments[::2], arguments[1::2]):
    retry(update, sys.argv[1], *pair)
