# SPDX-License-Identifier: MIT
"""What a program needs for compare-and-swap on a mounted ledger, and how it tries again.  The mount is all it uses."""

import errno
import os
import random
import time


class Conflict(Exception):
    """Somebody was faster."""


LOST = (errno.EAGAIN, errno.EBUSY)


def retry(attempt, *args, limit=0.004, most=0.5):
    """Calls attempt(*args) until it raises no Conflict, and no error that means one; returns what it returns.

    The pause before the next try is random between nothing and a limit that doubles: losers that wait equally long would
    meet again.
    """
    while True:
        try:
            return attempt(*args)
        except Conflict:
            pass
        except OSError as error:
            if error.errno not in LOST:
                raise
        time.sleep(random.uniform(0, limit))
        limit = min(2 * limit, most)


def look(key):
    """(name of the value, value) of a key; ("absent", None).  The name first: then a newer value makes the swap fail."""
    try:
        blob = os.getxattr(key, "user.kv.blob").decode()
        with open(key, "rb") as file:
            return blob, file.read()
    except FileNotFoundError:
        return "absent", None


def swap(key, blob, value):
    """Sets the value in one call if the key still is at `blob` (or "absent"); else Conflict."""
    try:
        if blob == "absent":
            directory, name = os.path.split(key)
            os.setxattr(directory, "user.kv.swap.absent." + name, value)
        else:
            os.setxattr(key, "user.kv.swap." + blob, value)
    except FileNotFoundError:
        raise Conflict(key) from None
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        raise Conflict(key) from None
