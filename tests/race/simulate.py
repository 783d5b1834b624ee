# SPDX-License-Identifier: MIT
"""Histories of a store that is right by construction: clients overlap, and each operation takes effect at one instant."""

import heapq
import random

import gitlog
import history
import serial
from history import ABSENT

KINDS = (("read", 40), ("set", 12), ("append", 10), ("cas", 14), ("tree", 8), ("create", 4), ("delete", 6), ("rename", 5),
         ("tip", 4))


class Simulation:
    """`clients` of them, `count` operations on `keys`; then .ops, .commits and .start are what a real run would give."""

    def __init__(self, seed, clients=6, keys=4, count=400, kill_rate=0.01):
        self.dice = random.Random(seed)
        self.keys = ["d/k%d" % i for i in range(keys)]
        self.kill_rate = kill_rate
        self.start = serial.Start("c0", "t0", 1)
        self.states = {}
        self.ops, self.commits = [], []
        self.known = {}  # (client, key): state that it read last
        self.trees = {}  # (client, key): tree that was read just before that
        self.pids = clients  # the highest that was given out
        self.latest = {}  # client: key that it read last
        events = [(self.dice.random(), i, "start", ["c%d" % i, 0, i], None) for i in range(clients)]
        heapq.heapify(events)
        serial_number = clients
        while events:
            time, _, what, client, op = heapq.heappop(events)
            now = int(time * 1000)
            follow = None
            if what == "start" and len(self.ops) < count:
                op = self.begin(client, now)
                follow = "point"
            elif what == "point":
                self.apply(op)
                follow = "end"
            elif what == "end":
                follow = self.finish(client, op, now)
            if follow:
                serial_number += 1
                heapq.heappush(events, (time + self.dice.expovariate(1), serial_number, follow, client, op))

    def tip(self):
        last = self.commits[-1] if self.commits else None
        return (last.oid, last.tree, last.version) if last else (self.start.commit, self.start.tree, self.start.version)

    def begin(self, client, now):
        name, client[1] = client[0], client[1] + 1
        kind = self.dice.choices([k for k, _ in KINDS], [w for _, w in KINDS])[0]
        key = self.dice.choice(self.keys[:2] if kind == "rename" else self.keys)
        if kind == "tree":
            key = self.latest.get(name, key)
        op = history.Op(name, client[1], kind, key, now, pid=client[2])
        known = self.known.get((name, key))
        if kind == "rename":
            op.to = self.keys[1 - self.keys.index(key)]
        elif kind == "tip":
            op.key = "-"
        elif kind in ("cas", "tree"):
            op.kind = "set"
            if known is None:
                op.kind = "read"
            elif kind == "cas":
                op.expect = known
            else:
                op.old, op.tree = known, self.trees[name, key]
        elif kind == "delete" and known and self.dice.random() < 0.5:
            op.expect = known
        self.ops.append(op)
        return op

    def apply(self, op):
        have = self.states.get(op.key, ABSENT)
        commit, tree, version = self.tip()
        op.outcome = "ok"
        if op.kind == "tip":
            op.commit, op.tree, op.version = commit, tree, version
        elif op.kind == "read":
            op.seen = have
            self.latest[op.client] = op.key
            self.known[op.client, op.key], self.trees[op.client, op.key] = have, tree
        elif op.kind in ("delete", "rename") and have == ABSENT:
            op.outcome = "absent"
        elif op.kind == "create" and have != ABSENT:
            op.outcome = "exists"
        elif op.expect is not None and op.expect != have or op.tree and op.tree != tree:
            op.outcome = "conflict"
        else:
            self.commit(op, serial._expected_changes(op, self.states))

    def commit(self, op, changes):
        before, _, version = self.tip()
        self.states.update(changes)
        number = len(self.commits) + 1
        self.commits.append(gitlog.Commit("c%d" % number, "t%d" % number, [before], version + 1, op.client, op.pid, "", changes))

    def finish(self, client, op, now):
        if self.dice.random() < self.kill_rate:
            op.outcome = "unknown"
            self.pids += 1  # a new process takes over
            client[0], client[2] = "c%d" % self.pids, self.pids
            for name in ("seen",) if op.kind == "read" else ("commit", "tree", "version") if op.kind == "tip" else ():
                setattr(op, name, None)
        else:
            op.end = now
        return "start"
