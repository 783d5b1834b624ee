#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The race's checker: it accepts right histories, and it finds every fault that is planted into them."""

import itertools
import os
import random
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import check
import gitlog
import history
import linear
import serial
from history import ABSENT, Op
from simulate import Simulation

SEEDS = range(8)


def judge(ops, commits, start):
    return check.judge(ops, commits, start).counts


class Recorded:
    """A real history: two clients in each of two mounts, two of git update-ref and one of git push, 16 keys, no faults."""

    def __init__(self):
        here = os.path.dirname(os.path.abspath(__file__))
        self.ops = history.load([os.path.join(here, "recorded.log")])
        with open(os.path.join(here, "recorded.commits"), encoding="ascii") as file:
            commit, tree, version = file.readline().split()
            self.commits = gitlog.from_text(file.read())
        self.start = serial.Start(commit, tree, int(version))
        self.states = {}
        for made in self.commits:
            self.states.update(made.changes)

    def tip(self):
        return self.commits[-1].oid, self.commits[-1].tree, self.commits[-1].version


def relink(commits, start):
    """Parents and versions as they were if the ledger had always been so."""
    before, version = start.commit, start.version
    for commit in commits:
        version += 1
        commit.parents, commit.version = [before], version
        before = commit.oid
    return commits


def replay(commits, ops):
    """Gives each commit the changes that its operation makes at its new place."""
    states, writes = {}, {op.id: op for op in ops if op.is_write}
    for commit in commits:
        commit.changes = serial._expected_changes(writes[commit.race_op], states)
        states.update(commit.changes)
    return commits


class Planted(unittest.TestCase):
    """Each test breaks a good history in one way, for many seeds, and wants that fault counted."""

    def histories(self, **more):
        """Good histories whose commits name their operation, so that they can be moved about; without special wishes a
        recorded one is among them."""
        for seed in SEEDS:
            sim = Recorded() if seed == 0 and not more else Simulation(seed, **more)
            report = check.judge(sim.ops, sim.commits, sim.start)
            self.assertEqual(report.total, 0, report.words)
            for op in sim.ops:
                if op.pos:
                    sim.commits[op.pos - 1].race_op = op.id
            self.assertTrue(all(commit.race_op for commit in sim.commits))
            self.dice = random.Random(seed)
            yield sim

    def some(self, candidates):
        candidates = list(candidates)
        self.assertTrue(candidates, "nothing to plant the fault into")
        return self.dice.choice(candidates)

    def found(self, fault, sim, commits=None):
        counts = judge(sim.ops, sim.commits if commits is None else commits, sim.start)
        self.assertGreater(counts[fault], 0, counts)
        return counts

    def test_acknowledged_write_dropped(self):
        for sim in self.histories():
            op = self.some(op for op in sim.ops if op.pos and op.outcome == "ok")
            commits = [c for c in sim.commits if c.race_op != op.id]
            counts = self.found("lost", sim, relink(replay(commits, sim.ops), sim.start))
            self.assertEqual(counts["lost"], 1)

    def test_acknowledged_delete_dropped_without_trailers(self):
        for sim in self.histories():
            op = self.some(op for op in sim.ops if op.pos and op.outcome == "ok" and op.kind == "delete")
            commits = [c for c in sim.commits if c.race_op != op.id]
            replay(commits, sim.ops)
            for commit in commits:
                commit.race_op = ""
            self.found("lost", sim, relink(commits, sim.start))

    def test_committed_twice(self):
        for sim in self.histories():
            at = self.dice.randrange(len(sim.commits))
            again = sim.commits[at].copy()
            again.oid += "again"
            sim.commits.insert(self.dice.randint(at + 1, len(sim.commits)), again)
            self.found("twice", sim, relink(sim.commits, sim.start))

    def test_unknown_write_committed_twice(self):
        for sim in self.histories(kill_rate=0.1):
            op = self.some(op for op in sim.ops if op.pos and op.outcome == "unknown")
            again = sim.commits[op.pos - 1].copy()
            again.oid += "again"
            sim.commits.insert(op.pos, again)
            self.found("twice", sim, relink(sim.commits, sim.start))

    def test_phantom(self):
        for sim in self.histories():
            alien = gitlog.Commit("alien", "alien", [], 0, "bash", 4711, "", {"d/k0": "z1.1"})
            sim.commits.insert(self.dice.randrange(len(sim.commits)), alien)
            self.found("phantom", sim, relink(sim.commits, sim.start))

    def test_phantom_delete(self):
        for sim in self.histories():
            alien = gitlog.Commit("alien", "alien", [], 0, "rm", 4711, "", {"d/k3": ABSENT})
            sim.commits.append(alien)
            self.found("phantom", sim, relink(sim.commits, sim.start))

    def test_refused_write_applied(self):
        for sim in self.histories():
            op = self.some(op for op in sim.ops if op.outcome == "conflict" and op.kind == "set")
            low = max((o.pos for o in sim.ops if o.pos and o.end < op.start), default=0)
            wrong = gitlog.Commit("wrong", "wrong", [], 0, "", op.pid, op.id, {op.key: op.id})
            sim.commits.insert(low, wrong)
            self.found("refused", sim, relink(sim.commits, sim.start))

    def test_stale_read(self):
        for sim in self.histories():
            read, old = self.stale_pair(sim)
            read.seen = old
            counts = self.found("stale", sim)
            self.assertGreater(counts["linear"], 0, "the search of its own finds it too")

    def stale_pair(self, sim):
        """A read and a state of its key that was over when it began."""
        pairs = []
        for write in (op for op in sim.ops if op.kind == "set" and op.outcome == "ok"):
            later = [op.end for op in sim.ops if op.pos and op.key == write.key and op.pos > write.pos and op.outcome == "ok"
                     and op.kind == "set"]
            pairs += [(op, write.id) for op in sim.ops if op.kind == "read" and op.outcome == "ok" and op.key == write.key
                      and later and op.start > min(later)]
        return self.some(pairs)

    def test_stale_absence(self):
        for sim in self.histories(keys=3, kill_rate=0):
            sim.ops.append(Op("n1", 1, "set", "d/new", 1, end=2, outcome="ok", pos=1))
            last = max(op.end for op in sim.ops)
            sim.ops.append(Op("n2", 2, "read", "d/new", last + 1, end=last + 2, outcome="ok", seen=ABSENT))
            sim.commits.append(gitlog.Commit("new", "new", [], 0, "", 0, "n1.1", {"d/new": "n1.1"}))
            self.found("stale", sim, relink(sim.commits, sim.start))

    def test_read_of_the_future(self):
        for sim in self.histories():
            pairs = [(read, write) for read in sim.ops if read.kind == "read" and read.outcome == "ok"
                     for write in sim.ops if write.kind == "set" and write.pos and write.key == read.key
                     and write.start > read.end]
            read, write = self.some(pairs)
            read.seen = write.id
            counts = self.found("stale", sim)
            self.assertGreater(counts["linear"], 0)

    def test_reordered(self):
        for sim in self.histories():
            writes = sorted((op for op in sim.ops if op.pos and op.outcome == "ok"), key=lambda op: op.pos)
            first, second = self.some((a, b) for a, b in zip(writes, writes[1:]) if b.pos == a.pos + 1 and a.end < b.start)
            at = first.pos - 1
            sim.commits[at], sim.commits[at + 1] = sim.commits[at + 1], sim.commits[at]
            self.found("order", sim, relink(replay(sim.commits, sim.ops), sim.start))

    def test_lost_update(self):
        for sim in self.histories():
            op = self.some(op for op in sim.ops if op.expect and op.pos and op.outcome == "ok" and op.kind == "set")
            op.expect = self.some(o.id for o in sim.ops if o.kind == "set" and o.pos and o.id != op.expect)
            counts = self.found("stale", sim)
            self.assertGreater(counts["linear"], 0)

    def test_tree_guard_ignored(self):
        for sim in self.histories(clients=2):
            op = self.some(op for op in sim.ops if op.tree and op.kind == "set" and op.pos)
            op.tree = "t0"
            self.found("stale", sim)

    def test_old_read_won_with_new_tree(self):
        for sim in self.histories(clients=2):
            op = self.some(op for op in sim.ops if op.tree and op.kind == "set" and op.pos and op.outcome == "ok")
            op.old = self.some(o.id for o in sim.ops if o.kind == "set" and o.pos and o.id != op.old)
            counts = self.found("stale", sim)
            self.assertGreater(counts["linear"], 0)

    def test_refused_for_nothing(self):
        for sim in self.histories(kill_rate=0):
            last = max(op.end for op in sim.ops)
            key, state = self.some(sim.states.items())
            sim.ops.append(Op("n1", 1, "read", key, last + 1, end=last + 2, outcome="ok", seen=state))
            sim.ops.append(Op("n1", 2, "set", key, last + 3, end=last + 4, outcome="conflict", expect=state))
            counts = self.found("spurious", sim)
            self.assertGreater(counts["linear"], 0)

    def test_refused_for_nothing_with_a_tree(self):
        for sim in self.histories(kill_rate=0):
            last = max(op.end for op in sim.ops if op.outcome != "unknown")
            sim.ops.append(Op("n1", 1, "set", "d/k3", last + 1, end=last + 2, outcome="conflict", tree=sim.tip()[1]))
            self.found("spurious", sim)

    def test_unguarded_write_refused(self):
        for sim in self.histories():
            last = max(op.end for op in sim.ops if op.outcome != "unknown")
            sim.ops.append(Op("n1", 1, "set", "d/k3", last + 1, end=last + 2, outcome="conflict"))
            self.found("spurious", sim)

    def test_appended_bytes_lost(self):
        for sim in self.histories():
            op = self.some(op for op in sim.ops if op.kind == "append" and op.pos
                           and "," in sim.commits[op.pos - 1].changes[op.key])
            sim.commits[op.pos - 1].changes[op.key] = op.id
            self.found("broken", sim)

    def test_created_twice(self):
        for sim in self.histories():
            op = self.some(op for op in sim.ops if op.kind == "set" and op.pos and op.outcome == "ok"
                           and self.state_before(sim, op) != ABSENT)
            op.kind = "create"
            self.found("stale", sim)

    @staticmethod
    def state_before(sim, op):
        for commit in reversed(sim.commits[:op.pos - 1]):
            if op.key in commit.changes:
                return commit.changes[op.key]
        return ABSENT

    def test_stale_tip(self):
        for sim in self.histories(kill_rate=0):
            tip = self.some(op for op in sim.ops if op.kind == "tip" and op.outcome == "ok" and op.version > 20)
            tip.version -= 15
            self.found("stale", sim)

    def test_version_gap(self):
        for sim in self.histories():
            for commit in sim.commits[len(sim.commits) // 2:]:
                commit.version += 1
            self.found("broken", sim)

    def test_merge(self):
        for sim in self.histories():
            sim.commits[5].parents.append("c0")
            self.found("broken", sim)

    def test_fork(self):
        for sim in self.histories():
            sim.commits[5].parents = [sim.commits[3].oid]
            self.found("broken", sim)

    def test_torn_and_errors(self):
        for sim in self.histories():
            sim.ops[7].outcome = "torn"
            sim.ops[9].errno = 5
            counts = judge(sim.ops, sim.commits, sim.start)
            self.assertEqual((counts["torn"], counts["error"]), (1, 1))


def overlapping(*rows):
    """Operations from (client, kind, start, end, more) on the key k."""
    return [Op(client, number, kind, "k", start, end=end, **dict({"outcome": "ok"}, **more))
            for number, (client, kind, start, end, more) in enumerate(rows, 1)]


class Search(unittest.TestCase):
    """The search alone, on histories small enough to read."""

    def verdict(self, *rows):
        return linear.search(overlapping(*rows), ("k",), {})

    def test_new_then_old(self):
        # While a write is under way, one reader has seen it; a later one must not see what was before.
        self.assertIsNotNone(self.verdict(("a", "set", 0, 100, {}), ("b", "read", 10, 20, {"seen": "a.1"}),
                                          ("c", "read", 30, 40, {"seen": ABSENT})))
        self.assertIsNone(self.verdict(("a", "set", 0, 100, {}), ("b", "read", 10, 20, {"seen": ABSENT}),
                                       ("c", "read", 30, 40, {"seen": "a.1"})))

    def test_both_win(self):
        self.assertIsNotNone(self.verdict(("a", "set", 0, 10, {}), ("b", "set", 20, 50, {"expect": "a.1"}),
                                          ("c", "set", 20, 50, {"expect": "a.1"})))

    def test_one_wins(self):
        self.assertIsNone(self.verdict(("a", "set", 0, 10, {}), ("b", "set", 20, 50, {"expect": "a.1"}),
                                       ("c", "set", 20, 50, {"expect": "a.1", "outcome": "conflict"})))

    def test_appends(self):
        self.assertIsNone(self.verdict(("a", "append", 0, 10, {}), ("b", "append", 0, 10, {}),
                                       ("c", "read", 20, 30, {"seen": "b.2,a.1"})))
        self.assertIsNotNone(self.verdict(("a", "append", 0, 10, {}), ("b", "append", 0, 10, {}),
                                          ("c", "read", 20, 30, {"seen": "b.2"})))

    def test_rename(self):
        ops = overlapping(("a", "set", 0, 10, {}), ("b", "rename", 20, 50, {"to": "l"}))
        look = [Op("c", 3, "read", "l", 30, end=31, outcome="ok", seen="a.1"),
                Op("c", 4, "read", "k", 32, end=33, outcome="ok", seen=ABSENT)]
        self.assertIsNone(linear.search(ops + look, ("k", "l"), {}))
        look[1].seen = "a.1"  # in both places at once
        self.assertIsNotNone(linear.search(ops + look, ("k", "l"), {}))

    def test_killed_write_that_happened(self):
        self.assertIsNone(self.verdict(("a", "set", 0, history.NEVER, {}), ("b", "read", 10, 20, {"seen": ABSENT}),
                                       ("c", "read", 30, 40, {"seen": "a.1"})))

    def test_many_at_once(self):
        rows = [("w%d" % i, "set", 0, 1000, {}) for i in range(12)]
        rows += [("r", "read", 10 + i, 10 + i, {"seen": "w%d.%d" % (i, i + 1)}) for i in (7, 3, 5)]
        self.assertIsNone(self.verdict(*sorted(rows, key=lambda r: r[0] == "r")))

    def test_agrees_with_every_permutation(self):
        dice, verdicts = random.Random(1), set()
        for _ in range(600):
            ops = self.small(dice)
            found = linear.search(ops, ("k",), {}) is None
            self.assertEqual(found, self.by_permutation(ops), [str(op) for op in ops])
            verdicts.add(found)
        self.assertEqual(verdicts, {True, False})

    @staticmethod
    def small(dice):
        ops = []
        for number in range(1, 6):
            begin = dice.randrange(10)
            op = Op("c", number, dice.choice(("read", "set", "append", "delete", "read")), "k", begin,
                    end=begin + dice.randrange(1, 6), outcome="ok")
            earlier = [ABSENT] + [o.id for o in ops if o.kind in ("set", "append")]
            if op.kind == "read":
                op.seen = dice.choice(earlier)
            elif op.kind == "set" and dice.random() < 0.6:
                op.expect, op.outcome = dice.choice(earlier), dice.choice(("ok", "conflict"))
            ops.append(op)
        return ops

    @staticmethod
    def by_permutation(ops):
        rules = [(linear._conditions(op, {"k": 0}), linear._effect(op, {"k": 0})) for op in ops]
        for order in itertools.permutations(range(len(ops))):
            if any(ops[order[j]].end < ops[order[i]].start for i in range(len(order)) for j in range(i + 1, len(order))):
                continue
            state = (ABSENT,)
            for i in order:
                state = linear._step(state, *rules[i])
                if state is None:
                    break
            else:
                return True
        return False

    def test_gives_up(self):
        rows = [("w%d" % i, "set", 0, 1000, {}) for i in range(14)] + [("r", "read", 10, 20, {"seen": "no.1"})]
        with self.assertRaises(linear.Undecided):
            linear.search(overlapping(*rows), ("k",), {}, budget=5000)


class Files(unittest.TestCase):
    """Results that are right for files of one mount, each with and without its witness."""

    def report(self, *rows, changes=()):
        """`rows` as overlapping() with the place in front; `changes` of the commits, by the operation's id."""
        ops = overlapping(*[row[1:] for row in rows])
        commits = []
        for op, row in zip(ops, rows):
            op.place, op.pid = row[0], op.seq
        for number, (ident, change) in enumerate(changes, 1):
            commits.append(gitlog.Commit("c%d" % number, "t%d" % number, ["c%d" % (number - 1)], number + 1, race_op=ident,
                                         changes=change))
        return check.judge(ops, commits, serial.Start("c0", "t0", 1, {"k": "z.1"}))

    def test_removed_while_open(self):
        rows = [("mnt-a", "a", "set", 0, 50, {}), ("mnt-a", "b", "delete", 10, 40, {})]
        report = self.report(*rows, changes=[("b.2", {"k": ABSENT})])
        self.assertEqual((report.total, report.excused["drowned"]), (0, 1), report.words)
        for place, begin, end in (("mnt-b", 10, 40), ("mnt-a", 60, 70), ("ref", 10, 40)):
            rows[1] = (place, "b", "delete", begin, end, {})
            self.assertEqual(self.report(*rows, changes=[("b.2", {"k": ABSENT})]).counts["lost"], 1)

    def test_guarded_and_removed_while_open(self):
        for guard in ({"expect": "z.1"}, {"base": "z.1"}, {"tree": "t0", "old": "z.1"}):
            rows = [("mnt-a", "a", "set", 0, 50, guard), ("mnt-a", "b", "delete", 10, 40, {})]
            self.assertEqual(self.report(*rows, changes=[("b.2", {"k": ABSENT})]).counts["lost"], 1)

    def test_removed_before_it_was_saved(self):
        rows = [("mnt-a", "z", "delete", 0, 5, {}), ("mnt-a", "a", "create", 10, 50, {}), ("mnt-a", "b", "delete", 20, 40, {})]
        report = self.report(*rows, changes=[("z.1", {"k": ABSENT})])
        self.assertEqual((report.total, report.excused["drowned"]), (0, 2), report.words)
        rows[1] = ("mnt-b", "a", "create", 10, 50, {})
        self.assertEqual(self.report(*rows, changes=[("z.1", {"k": ABSENT})]).counts["lost"], 2)

    def test_renamed_while_open(self):
        rows = [("mnt-a", "a", "set", 0, 50, {}), ("mnt-a", "b", "rename", 10, 40, {"to": "l"})]
        changes = [("b.2", {"k": ABSENT, "l": "z.1"}), ("a.1", {"l": "a.1"})]
        report = self.report(*rows, changes=changes)
        self.assertEqual((report.total, report.excused["moved"]), (0, 1), report.words)
        rows[1] = ("mnt-b", "b", "rename", 10, 40, {"to": "l"})
        self.assertEqual(self.report(*rows, changes=changes).counts["broken"], 1)

    def test_there_but_not_saved(self):
        rows = [("mnt-a", "z", "delete", 0, 5, {}), ("mnt-a", "a", "create", 10, 50, {}),
                ("mnt-a", "b", "create", 20, 25, {"outcome": "exists"}), ("mnt-a", "c", "read", 30, 35, {"seen": ABSENT})]
        changes = [("z.1", {"k": ABSENT}), ("a.2", {"k": "a.2"})]
        self.assertEqual(self.report(*rows, changes=changes).total, 0)
        rows[2] = ("mnt-b",) + rows[2][1:]
        self.assertGreater(self.report(*rows, changes=changes).counts["stale"], 0)


class Logs(unittest.TestCase):
    """The text of the logs."""

    def test_parse(self):
        ops = history.parse(line + "\n" for line in (
            "C a1 42 mnt", "I 1 10 set d/k expect=a1.0 how=swap", "R 1 20 ok", "I 2 30 set d/k", "N 2 35 base=a1.1",
            "R 2 40 conflict", "I 3 50 read d/k", "R 3 60 ok seen=-", "I 4 70 delete d/k", "R 4 80 error errno=107",
            "I 5 90 append d/k"))
        self.assertEqual([op.outcome for op in ops], ["ok", "conflict", "ok", "ok", "unknown", "unknown"])
        self.assertEqual((ops[0].expect, ops[0].how, ops[0].pid), ("a1.0", "swap", 42))
        self.assertEqual((ops[2].kind, ops[2].seen, ops[2].end), ("read", "a1.1", 35))
        self.assertEqual((ops[3].seen, ops[4].errno, ops[5].end), (ABSENT, 107, history.NEVER))

    def test_cut_line(self):
        self.assertEqual(len(history.parse(["C a 1 m\n", "I 1 10 set k\n", "R 1 2"])), 1)

    def test_refuses_what_it_does_not_know(self):
        for lines in (["C a 1 m\n", "R 1 20 ok\n"], ["C a 1 m\n", "I 1 x read k\n"], ["C a 1 m\n", "I 1 1 read k what=1\n"],
                      ["Y\n"], ["\n"]):
            with self.assertRaises(history.BadLog):
                history.parse(lines)

    def test_values(self):
        whole = gitlog.piece("a1_2.3", 5) + gitlog.piece("b1.7", 0)
        self.assertEqual(gitlog.state_of(whole), "a1_2.3,b1.7")
        for torn in (b"", whole[:-1], whole[1:], whole.replace(b"+5", b"+4"), bytes(len(whole)), whole[:9] + b"?" + whole[10:]):
            self.assertIsNone(gitlog.state_of(torn))


if __name__ == "__main__":
    unittest.main()
