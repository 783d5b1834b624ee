# SPDX-License-Identifier: MIT
"""Histories: what the clients of a race did, as they logged it.

A client writes one text file, one line before and one after each operation, so that a kill in between leaves the
invocation on record.  Fields are separated by one blank; times are CLOCK_MONOTONIC nanoseconds, one clock for all
processes of the machine.

    C CLIENT PID PLACE                   once, first: who logs; PLACE starts with "mnt" for a mount, is "ref", "push", "kv" or
                                         "ledger" elsewhere
    I SEQ TIME OP KEY [NAME=VALUE...]    the operation SEQ of this client starts
    N SEQ TIME [NAME=VALUE...]           something learned on the way
    R SEQ TIME OUTCOME [NAME=VALUE...]   it has ended
    X                                    last: the client has done all it was asked for

OP is what the operation does to KEY when it succeeds:

    read     seen=STATE in R                 set      the key's value becomes the piece CLIENT.SEQ
    append   that piece goes behind          create   as set, only when the key is absent
    delete   the key becomes absent          rename   to=KEY2: the value moves there
    tip      R tells version=, commit= or tree= of the namespace; KEY is "-"

A STATE is the list of pieces that a value consists of, joined by commas; "-" is the absent key.  Every piece is
written at most once, so a state names the writes that made it.  Guards are arguments of I or N:

    expect=STATE     refused unless the key is so (expect-blob, swap)
    base=STATE       the same, read on the operation's own handle (a save without O_TRUNC)
    tree= commit= version=   refused unless the namespace is so
    old=STATE        what the client read after it had the tree, commit or version, before it wrote

OUTCOME is ok, conflict (refused), absent (no such key), exists (create), busy (refused because a lock was taken: git's
own writers), torn (a read saw what nobody wrote), error (errno=N), or unknown.  An operation without R is unknown, and so is one that ended with an error: it may have
happened, now or later, or not.  The other arguments (how=, pid=) are for people and for the checks of the trailer.
"""

ABSENT = ""  # the state of a key that is not there
NEVER = float("inf")

READS = ("read", "tip")
GUARDS = ("expect", "base", "tree", "commit", "version")


class Op:
    """One operation.  `end` is NEVER while its outcome is unknown; `pos` is its place in the ledger, once found."""

    __slots__ = ("client", "seq", "kind", "key", "to", "start", "end", "outcome", "seen", "expect", "base", "old",
                 "tree", "commit", "version", "pid", "place", "how", "errno", "pos", "drowned")

    def __init__(self, client, seq, kind, key, start, **more):
        self.client, self.seq, self.kind, self.key, self.start = client, seq, kind, key, start
        self.end, self.outcome = NEVER, "unknown"
        self.to = self.seen = self.expect = self.base = self.old = None
        self.tree = self.commit = self.version = None
        self.pid, self.place, self.how, self.errno, self.pos = 0, "", "", 0, None
        self.drowned = ()  # filerules.Witnesses.drowned()
        for name, value in more.items():
            setattr(self, name, value)

    @property
    def id(self):
        return "%s.%d" % (self.client, self.seq)

    @property
    def refuses(self):
        """The state of the key that the operation wants, or None when it takes any."""
        if self.expect is not None:
            return self.expect
        return ABSENT if self.kind == "create" and self.base is None else self.base

    @property
    def guarded(self):
        return any(getattr(self, name) is not None for name in GUARDS)

    @property
    def is_write(self):
        return self.kind not in READS

    def copy(self):
        twin = Op(self.client, self.seq, self.kind, self.key, self.start)
        for name in self.__slots__:
            setattr(twin, name, getattr(self, name))
        return twin

    def __str__(self):
        text = "%s %s %s" % (self.id, self.kind, self.key)
        for name in ("to", "how", "expect", "base", "old", "seen", "tree", "commit", "version"):
            value = getattr(self, name)
            if value is not None and value != "":
                text += " %s=%s" % (name, value)
            elif value == ABSENT and name != "how":
                text += " %s=-" % name
        return "%s [%s, %s] %s" % (text, self.start, self.end, self.outcome)


class BadLog(Exception):
    """A log that no client writes: the checker must not guess."""


STATES = {"seen", "expect", "base", "old"}
NUMBERS = {"version", "pid", "errno"}
TEXTS = {"to", "tree", "commit", "how"}


def _take(op, words):
    for word in words:
        name, _, value = word.partition("=")
        if name in STATES:
            setattr(op, name, ABSENT if value == "-" else value)
        elif name in NUMBERS:
            setattr(op, name, int(value))
        elif name in TEXTS:
            setattr(op, name, value)
        else:
            raise BadLog("unknown argument %r" % word)


def _note(op, time, words, out):
    """An N line; a value read on the way is an observation of its own."""
    _take(op, words)
    for name in ("base", "old"):
        if any(w.startswith(name + "=") for w in words):
            out.append(Op(op.client, op.seq, "read", op.key, op.start, end=time, outcome="ok", seen=getattr(op, name),
                          how="of " + op.kind))


def _result(op, time, outcome, words):
    _take(op, words)
    if outcome in ("error", "unknown"):
        return
    op.outcome, op.end = outcome, time


def parse(lines, name="log"):
    """The operations of one client's log, in order."""
    ops, open_op, client, pid, place = [], None, None, 0, ""
    for number, line in enumerate(lines, 1):
        if not line.endswith("\n"):
            break  # the kill came in the middle of a line
        words = line.split()
        try:
            tag = words[0]
            if tag == "C":
                client, pid, place = words[1], int(words[2]), words[3]
            elif tag == "I":
                open_op = Op(client, int(words[1]), words[3], words[4], int(words[2]), pid=pid, place=place)
                _take(open_op, words[5:])
                ops.append(open_op)
            elif tag == "X":
                open_op = None
            elif open_op is None or int(words[1]) != open_op.seq:
                raise BadLog("no such operation under way")
            elif tag == "N":
                _note(open_op, int(words[2]), words[3:], ops)
            elif tag == "R":
                _result(open_op, int(words[2]), words[3], words[4:])
                open_op = None
            else:
                raise BadLog("unknown line")
        except (IndexError, ValueError, BadLog) as bad:
            raise BadLog("%s:%d: %s: %r" % (name, number, bad, line)) from bad
    return ops


def load(paths):
    ops = []
    for path in paths:
        with open(path, encoding="ascii") as file:
            ops += parse(file, path)
    return ops
