# SPDX-License-Identifier: MIT
"""Is a history linearizable?  Wing and Gong's search with Lowe's memoisation, one object at a time.

Linearizability is local (Herlihy and Wing): a history is linearizable if the part of each object is.  An object is a
key, or several that renames connect.  The search walks the events in time order, puts an operation in place as soon as
the specification allows it, and goes back when an operation has returned that could not be put in place; a
configuration (which operations are in place, what the state is) that was tried once is not tried again.  Sets of
operations are named by the exclusive or of 120-bit random numbers, one for each operation.

It knows nothing of git: unknown operations have been resolved before (serial.resolve), so what is here has happened.
"""

import random

from history import ABSENT

MUST, DIFFER, PRESENT = 1, 2, 3  # conditions on one key of the state
KEEP, SET, APPEND, DELETE, MOVE = 0, 1, 2, 3, 4  # effects


class Undecided(Exception):
    """The search was given up: its budget is spent."""


def objects(ops):
    """Groups the operations on keys by object: {sorted tuple of keys: [op...]}."""
    parent = {}

    def find(key):
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for op in ops:
        if op.kind == "rename":
            parent[find(op.key)] = find(op.to)
    groups, keys = {}, {}
    for op in ops:
        if op.kind == "tip":
            continue
        root = find(op.key)
        groups.setdefault(root, []).append(op)
        keys.setdefault(root, set()).update((op.key, op.to) if op.to else (op.key,))
    return {tuple(sorted(keys[root])): groups[root] for root in groups}


def _conditions(op, index):
    """What must hold for `op` to have ended as it did, or None when its result says nothing about this object."""
    at = index[op.key]
    if op.outcome == "absent":
        return [(MUST, at, ABSENT)]
    if op.outcome == "exists":
        return [(PRESENT, at, None)]
    if op.outcome == "conflict":
        guard = op.refuses
        if guard is None or op.tree or op.commit or op.version:
            return None  # another key may be the reason: the namespace's check decides
        return [(DIFFER, at, guard)]
    if op.kind == "read":
        return None if op.outcome != "ok" else [(MUST, at, op.seen)]
    out = [(MUST, at, state) for state in (op.expect, op.base, op.old) if state is not None]
    if op.kind == "create":
        out.append((MUST, at, ABSENT))
    if op.kind in ("delete", "rename"):
        out.append((PRESENT, at, None))
    return out


def _effect(op, index):
    if op.kind == "read" or op.outcome in ("absent", "exists", "conflict"):
        return (KEEP, 0, None)
    at = index[op.key]
    if op.kind in ("set", "create"):
        return (SET, at, op.id)
    if op.kind == "append":
        return (APPEND, at, op.id)
    if op.kind == "delete":
        return (DELETE, at, None)
    return (MOVE, at, index[op.to])


def _step(state, conditions, effect):
    """The state after the operation, or None when it cannot happen in `state`."""
    for what, at, value in conditions:
        have = state[at]
        if what == MUST:
            if have != value:
                return None
        elif what == DIFFER:
            if have == value:
                return None
        elif not have:
            return None
    what, at, value = effect
    if what == KEEP:
        return state
    new = list(state)
    if what == SET:
        new[at] = value
    elif what == APPEND:
        new[at] = new[at] + "," + value if new[at] else value
    elif what == DELETE:
        new[at] = ABSENT
    else:
        new[value], new[at] = new[at], ABSENT
    return tuple(new)


class _Events:
    """Calls and returns in time order as a doubly linked list; node 0 is the head, `last` the end."""

    def __init__(self, ops):
        marks = []
        for number, op in enumerate(ops):
            marks.append((op.start, 0, number))
            marks.append((op.end, 1, number))
        marks.sort()
        count = len(marks)
        self.last = count + 1
        self.next = list(range(1, count + 2)) + [0]
        self.prev = [0] + list(range(0, count + 1))
        self.op = [0] * (count + 2)
        self.call = [False] * (count + 2)
        self.match = [0] * (count + 2)
        seen = {}
        for node, (_, is_return, number) in enumerate(marks, 1):
            self.op[node], self.call[node] = number, not is_return
            if is_return:
                self.match[seen[number]] = node
            else:
                seen[number] = node

    def lift(self, node):
        for n in (node, self.match[node]):
            before, after = self.prev[n], self.next[n]
            self.next[before], self.prev[after] = after, before

    def unlift(self, node):
        for n in (self.match[node], node):
            self.next[self.prev[n]] = n
            self.prev[self.next[n]] = n


def search(ops, keys, initial, budget=None):
    """None when `ops` on `keys` are linearizable from the states `initial`, else the operation that fits nowhere.

    Raises Undecided after `budget` steps (default: 400 for each operation and a million).
    """
    index = {key: i for i, key in enumerate(keys)}
    rules = [_conditions(op, index) for op in ops]
    kept = [i for i, rule in enumerate(rules) if rule is not None]
    ops, rules = [ops[i] for i in kept], [rules[i] for i in kept]
    effects = [_effect(op, index) for op in ops]
    dice = random.Random(len(ops))
    names = [dice.getrandbits(120) for _ in ops]
    events = _Events(ops)
    following, is_call, op_of, last = events.next, events.call, events.op, events.last
    budget = budget or 400 * len(ops) + 1000000
    state, done, tried, trail = tuple(initial.get(key, ABSENT) for key in keys), 0, set(), []
    deepest, stuck, node = -1, None, following[0]
    while following[0] != last:
        budget -= 1
        if budget < 0:
            raise Undecided("%d operations on %s" % (len(ops), ",".join(keys)))
        if is_call[node]:
            number = op_of[node]
            new = _step(state, rules[number], effects[number])
            if new is not None and (done ^ names[number], new) not in tried:
                done ^= names[number]
                tried.add((done, new))
                trail.append((node, state))
                state = new
                events.lift(node)
                node = following[0]
            else:
                node = following[node]
            continue
        # `node` has returned and is not in place.
        if len(trail) > deepest:
            deepest, stuck = len(trail), ops[op_of[node]]
        while True:
            if not trail:
                return stuck
            back, state = trail.pop()
            done ^= names[op_of[back]]
            events.unlift(back)
            # What changes nothing is best in place at once: later cannot help what now does not.
            if effects[op_of[back]][0] != KEEP:
                break
        node = following[back]
    return None
