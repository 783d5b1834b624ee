# SPDX-License-Identifier: MIT
"""What clients of one mount owe to files, where a plain register would have it otherwise.

Within a mount an open file is a file, as POSIX has it, and these results are right although the ledger does not show them:

 - A write whose file is removed between its open and its close is "drowned": the close succeeds, nothing is committed,
   unless it was guarded or made from the value that is gone: then the close fails.  The removal of a file that was created
   and not yet saved drowns too.
 - A write whose file is renamed in between lands under the new name, and may drown there.  What is expected of the old
   name goes along.
 - A file that another process of the mount has created and not yet saved is there for O_EXCL.

Each is excused only with a witness: an operation of the same mount on the same key, at the same time, that explains it.
"""

import bisect

LONGEST = 120 * 10**9  # ns; no operation lasts longer, so the search for a witness may stop there


class Witnesses:
    """The writes of each mount and key (both ends of a rename), by start."""

    def __init__(self, ops):
        self.rows = {}
        for op in sorted((op for op in ops if op.is_write and op.place.startswith("mnt")), key=lambda op: op.start):
            for key in (op.key, op.to):
                if key is not None:
                    starts, found = self.rows.setdefault((op.place, key), ([], []))
                    starts.append(op.start)
                    found.append(op)

    def beside(self, op, key):
        """Writes to `key` in the mount of `op` that overlap with it in time, latest first."""
        starts, found = self.rows.get((op.place, key), ((), ()))
        for i in range(bisect.bisect_right(starts, op.end) - 1, -1, -1):
            if starts[i] < op.start - LONGEST:
                return
            if found[i] is not op and found[i].end >= op.start:
                yield found[i]

    def names(self, op):
        """The names that the file of the write `op` may have had meanwhile, because it was renamed."""
        at, seen = {op.key}, set()
        while at:
            seen |= at
            at = {o.to for name in at for o in self.beside(op, name)
                  if o.kind == "rename" and o.key == name and o.outcome in ("ok", "unknown")} - seen
        return seen

    def drowned(self, op):
        """The operations that may have drowned `op`, which was acknowledged and has no commit.  Guarded ones must not drown."""
        if op.guarded:
            return []
        if op.kind in ("set", "append", "create"):
            return [o for name in self.names(op) for o in self.beside(op, name)
                    if o.kind == "delete" and o.key == name and o.outcome in ("ok", "unknown")]
        if op.kind == "delete":
            return [o for o in self.beside(op, op.key) if o.kind in ("set", "append", "create")]
        return []

    def moved(self, op, key):
        """May the write `op` have landed under `key`, because its file was renamed so?"""
        return op.kind in ("set", "append", "create") and key in self.names(op)

    def unsaved(self, op):
        """May `op`, which found its key there, have met a file that was not saved yet?"""
        return any(o.kind in ("set", "append", "create") for o in self.beside(op, op.key))
