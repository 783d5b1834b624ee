#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""SPEC 4 under load: torn, stale and shifting values (hammer.c).  HAMMER_SECONDS=60 for the long run."""
from lib import *

HAMMER = os.environ.get("HAMMER", TOP + "/build/tests/mount/hammer")
SECONDS = os.environ.get("HAMMER_SECONDS", "5")


def hammer(*dirs):
    p = subprocess.run([HAMMER, dirs[0], SECONDS, *dirs[1:]], stdout=subprocess.PIPE, text=True)
    print(p.stdout, end="")
    return p.returncode


@case("the hammer finds what it looks for: on a disk without ledgerfs it fails", ns=False)
def premise(t):
    ok(hammer(tempfile.mkdtemp(dir=work())) != 0, "no anomaly on a plain file system")


@case("readers and writers on one mount")
def one(t):
    eq(hammer(t.dir), 0, "status of the hammer")


@case("writers on one mount, readers on another")
def two(t):
    with Mount(t.repo) as other:
        eq(hammer(t.dir, other.dir + "/" + t.ns), 0, "status of the hammer")


if __name__ == "__main__":
    main()
