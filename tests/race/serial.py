# SPDX-License-Identifier: MIT
"""Do a history and a ledger belong together?

The ledger is a total order of the writes.  place() finds the commit of each write; check() then decides whether that
order explains every result and agrees with real time: position p of the ledger is the state after its p-th commit,
each observation needs one position that lies within its own call, not before the position of anything that had ended
when it began, and before every write that had not begun when it ended.  Choosing the earliest position in the order of
the calls' starts is complete: an earlier choice never hurts a later operation.
"""

import bisect
import errno
import os

import filerules
from history import ABSENT, NEVER

# What can be wrong, in the order of the report.
FAULTS = {
    "lost": "acknowledged write that is not in the ledger",
    "phantom": "commit that no operation asked for",
    "twice": "operation with two commits",
    "refused": "commit of an operation that was refused",
    "stale": "read, or won compare-and-swap, of a value that was over",
    "order": "commit whose place contradicts real time",
    "spurious": "refusal although the expectation held",
    "broken": "commit or value that is malformed, wrong parent or version",
    "torn": "read of bytes that nobody wrote so",
    "linear": "key whose history is not linearizable",
    "undecided": "key whose search was given up",
    "error": "operation with an error that no fault explains",
}

EXPLAINED = (0, errno.ENOTCONN, errno.ECONNABORTED)  # a daemon was killed


class Report:
    """Counts by fault, with the first few of each in words."""

    def __init__(self, keep=5):
        self.counts = dict.fromkeys(FAULTS, 0)
        self.words = []
        self.excused = dict.fromkeys(("drowned", "moved", "unsaved"), 0)  # filerules.py
        self.keep = keep

    def add(self, fault, text):
        self.counts[fault] += 1
        if self.counts[fault] <= self.keep:
            self.words.append("%s (%s): %s" % (fault, FAULTS[fault], text))

    @property
    def total(self):
        return sum(self.counts.values())


class Start:
    """The namespace when the race began."""

    def __init__(self, commit="", tree="", version=0, states=None):
        self.commit, self.tree, self.version = commit, tree, version
        self.states = states or {}


# --- which commit is whose ------------------------------------------------------------------------------------------


class _Owners:
    """Finds the operation of a commit: by its value, by the trailer of the race's own writers, by its client."""

    def __init__(self, ops):
        self.by_id = {op.id: op for op in ops if op.is_write}
        self.queues = {}
        for op in sorted((o for o in ops if o.kind in ("delete", "rename")), key=lambda o: o.start):
            self.queues.setdefault((op.kind, op.key, op.to, self._name(op), op.pid), []).append(op)

    @staticmethod
    def _name(op):
        """As KV-Client has it; a process number alone comes again in a long run."""
        return "git-kv" if op.place == "kv" else op.client

    def _by_client(self, kind, key, to, commit):
        """Deletions carry no value: the n-th of a client belongs to its n-th that may have happened."""
        queue = self.queues.get((kind, key, to, commit.comm, commit.pid), [])
        for outcomes in (("ok", "unknown"), ("conflict", "absent", "busy")):
            for op in queue:
                if op.outcome in outcomes and op.pos is None:
                    return op
        return queue[-1] if queue else None

    def find(self, commit, states):
        if commit.race_op:
            return self.by_id.get(commit.race_op)
        changes = list(commit.changes.items())
        if len(changes) == 1:
            path, state = changes[0]
            if state == ABSENT:
                return self._by_client("delete", path, None, commit)
            return self.by_id.get(state.rsplit(",", 1)[-1])
        if len(changes) == 2:
            gone = [p for p, s in changes if s == ABSENT]
            here = [p for p, s in changes if s != ABSENT]
            if len(gone) == 1 and commit.changes[here[0]] == states.get(gone[0], ABSENT):
                return self._by_client("rename", gone[0], here[0], commit)
        return None


def _expected_changes(op, states):
    """What the commit of `op` has to do to `states`."""
    if op.kind in ("set", "create"):
        return {op.key: op.id}
    if op.kind == "append":
        have = states.get(op.key, ABSENT)
        return {op.key: have + "," + op.id if have else op.id}
    if op.kind == "delete":
        return {op.key: ABSENT}
    return {op.key: ABSENT, op.to: states.get(op.key, ABSENT)}


def _form(commit, before, version, report):
    """Parent, version and shape of one commit."""
    if before and commit.parents != [before]:
        report.add("broken", "%s has the parents %s instead of %s" % (commit.oid, commit.parents, before))
    if commit.version != version:
        report.add("broken", "%s has KV-Version %s instead of %d" % (commit.oid, commit.version, version))
    if commit.bad:
        report.add("broken", "%s: %s" % (commit.oid, commit.bad))


def place(ops, commits, start, report):
    """Gives every write its `pos`, counting faults; returns {key: ([position...], [state...])}, positions ascending.

    Changes operations that filerules.py excuses: the key of one that landed under another name, the outcome ("busy", which
    says nothing) of one that found a file that was not saved.
    """
    owners, witnesses = _Owners(ops), filerules.Witnesses(ops)
    states = dict(start.states)
    lines = {key: ([0], [state]) for key, state in states.items()}
    before, version = start.commit, start.version
    for pos, commit in enumerate(commits, 1):
        version += 1
        _form(commit, before, version, report)
        before = commit.oid
        op = owners.find(commit, states)
        if op is None:
            report.add("phantom", "%s, version %s, %s" % (commit.oid, commit.version, commit.changes))
        elif op.pos is not None:
            report.add("twice", "%s at %d and %d" % (op, op.pos, pos))
        else:
            op.pos = pos
            if op.outcome not in ("ok", "unknown"):
                report.add("refused", "%s at %d" % (op, pos))
            if op.key not in commit.changes and len(commit.changes) == 1 and witnesses.moved(op, next(iter(commit.changes))):
                op.key = next(iter(commit.changes))
                report.excused["moved"] += 1
            if commit.changes != _expected_changes(op, states):
                report.add("broken", "%s of %s makes %s" % (commit.oid, op, commit.changes))
        for key, state in commit.changes.items():
            states[key] = state
            at, what = lines.setdefault(key, ([0], [ABSENT]))
            at.append(pos)
            what.append(state)
    for op in ops:
        if op.outcome == "exists" and witnesses.unsaved(op):
            op.outcome = "busy"
            report.excused["unsaved"] += 1
        elif op.is_write and op.outcome == "ok" and op.pos is None:
            op.drowned = witnesses.drowned(op)
            if op.drowned:
                report.excused["drowned"] += 1
            else:
                report.add("lost", str(op))
    return lines


def resolve(ops):
    """The operations that happened, for a search that knows nothing of the ledger: unknown ones by their commit.

    What drowned went nowhere, at no instant: the removal may even have expected the value from before.
    """
    out = []
    for op in ops:
        if op.drowned:
            continue
        if op.outcome == "unknown":
            if op.is_write and op.pos is not None:
                op = op.copy()
                op.outcome = "ok"
                out.append(op)
        elif op.outcome not in ("torn", "busy"):
            out.append(op)
    return out


# --- does the order explain the results ------------------------------------------------------------------------------


class _Ledger:
    """The states of the namespace by position."""

    def __init__(self, commits, start, lines):
        self.lines = lines
        self.size = len(commits)
        self.commit = [start.commit] + [c.oid for c in commits]
        self.tree = [start.tree] + [c.tree for c in commits]
        self.base = start.version
        self.trees = {}
        for pos, tree in enumerate(self.tree):
            self.trees.setdefault(tree, []).append(pos)
        self.commits = {oid: pos for pos, oid in enumerate(self.commit)}
        self.spans = {}
        for key, (at, what) in lines.items():
            for i, state in enumerate(what):
                until = at[i + 1] if i + 1 < len(at) else self.size + 1
                self.spans.setdefault((key, state), []).append((at[i], until))

    def state(self, key, pos):
        at, what = self.lines.get(key, ([0], [ABSENT]))
        return what[bisect.bisect_right(at, pos) - 1]

    def first_with(self, key, state, low):
        """The first position >= low where `key` is `state`, or None."""
        if key not in self.lines:
            return low if state == ABSENT else None
        spans = self.spans.get((key, state), ())
        i = bisect.bisect_right(spans, (low, NEVER)) - 1
        if i >= 0 and spans[i][1] > low:
            return low
        return spans[i + 1][0] if i + 1 < len(spans) else None

    def first_without(self, key, state, low):
        """The first position >= low where `key` is not `state`, or None."""
        at, what = self.lines.get(key, ([0], [ABSENT]))
        i = bisect.bisect_right(at, low) - 1
        while i < len(what):
            if what[i] != state:
                return max(low, at[i])
            i += 1
        return None

    def holds(self, op, pos):
        """Do the guards of `op` on the namespace hold at `pos`?"""
        return not (op.tree and self.tree[pos] != op.tree or op.commit and self.commit[pos] != op.commit
                    or op.version and self.base + pos != op.version)

    def tip_at(self, op, low):
        """First position >= low that a tip read may have seen; None when what it saw is nowhere from there on."""
        if op.version is not None:
            pos = op.version - self.base
        elif op.commit:
            pos = self.commits.get(op.commit, -1)
        else:
            at = self.trees.get(op.tree, [])
            i = bisect.bisect_left(at, low)
            pos = at[i] if i < len(at) else -1
        return pos if low <= pos <= self.size else None


def _guard_broken(ledger, op, low):
    """First position >= low where a guard of `op` does not hold: its refusal was right there."""
    found = []
    guard = op.refuses
    if guard is not None:
        found.append(ledger.first_without(op.key, guard, low))
    if op.tree or op.commit or op.version:
        pos = low
        while pos <= ledger.size and ledger.holds(op, pos):
            pos += 1
        found.append(pos if pos <= ledger.size else None)
    found = [pos for pos in found if pos is not None]
    return min(found) if found else None


def _observed(ledger, op, low):
    """(fault if there is none, first position >= low that explains the result of `op`)."""
    if op.kind == "tip":
        return "stale", ledger.tip_at(op, low)
    if op.outcome == "absent":
        return "stale", ledger.first_with(op.key, ABSENT, low)
    if op.outcome == "exists":
        return "stale", ledger.first_without(op.key, ABSENT, low)
    if op.outcome == "conflict":
        return "spurious", _guard_broken(ledger, op, low)
    if op.drowned:
        # Just before the removal; where that left no trace either, while the key was absent.
        places = [o.pos - 1 if o.pos is not None else ledger.first_with(op.key, ABSENT, low) for o in op.drowned]
        return "lost", min((pos for pos in places if pos is not None and pos >= low), default=None)
    return "stale", ledger.first_with(op.key, op.seen, low)


def _won(ledger, op, report):
    """A write that landed: its guards must have held just before."""
    before = op.pos - 1
    have = ledger.state(op.key, before)
    for name in ("expect", "base", "old"):
        want = getattr(op, name)
        if want is not None and want != have:
            report.add("stale", "%s landed at %d on %s" % (op, op.pos, have or "-"))
            return
    if not ledger.holds(op, before) or op.kind == "create" and have != ABSENT \
            or op.kind in ("delete", "rename") and have == ABSENT:
        report.add("stale", "%s landed at %d on commit %s, tree %s" % (op, op.pos, ledger.commit[before], ledger.tree[before]))


def _upper_bounds(ops):
    """(starts, bounds): every write that starts after starts[i-1] lies at bounds[i] or behind it."""
    writes = sorted((op.start, op.pos) for op in ops if op.pos is not None)
    bounds = [NEVER] * (len(writes) + 1)
    for i in range(len(writes) - 1, -1, -1):
        bounds[i] = min(bounds[i + 1], writes[i][1])
    return [start for start, _ in writes], bounds


def check(ops, commits, start, lines, report):
    """Adds to `report` whatever the ledger's order does not explain."""
    ledger = _Ledger(commits, start, lines)
    starts, bounds = _upper_bounds(ops)
    marks = []
    for number, op in enumerate(ops):
        if op.errno not in EXPLAINED:
            report.add("error", "%s: %s" % (op, os.strerror(op.errno)))
        if op.outcome == "absent" and op.kind in ("set", "append", "create") and op.how != "update":
            report.add("error", "%s: a write found a name missing" % op)
        if op.outcome == "torn":
            report.add("torn", str(op))
        elif op.outcome == "busy":
            pass
        elif op.pos is not None or op.drowned or op.outcome not in ("ok", "unknown") or not op.is_write and op.outcome == "ok":
            marks.append((op.start, 0, number))
            if op.end is not NEVER:
                marks.append((op.end, 1, number))
    marks.sort()
    low, witness, chosen = 0, None, {}
    for time, is_end, number in marks:
        op = ops[number]
        if is_end:
            if chosen.get(number, 0) > low:
                low, witness = chosen[number], op
            continue
        if op.pos is not None:
            if op.pos <= low:
                report.add("order", "%s at %d, but %d was there before it began: %s" % (op, op.pos, low, witness))
            _won(ledger, op, report)
            chosen[number] = op.pos
            continue
        fault, pos = _observed(ledger, op, low)
        if pos is None or pos >= bounds[bisect.bisect_right(starts, op.end)]:
            report.add(fault, "%s fits %s, with position %d behind it: %s" % (op, "nowhere" if pos is None else pos, low, witness))
        else:
            chosen[number] = pos
