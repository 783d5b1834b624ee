#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Checks the logs of a race against the ledger that it left: see history.py, serial.py and linear.py.

    check.py REPO REF SINCE LOG...

SINCE is the commit that the namespace was at when the race began.  Prints counts, the first faults in words, and exits 1
when there is any.
"""

import sys
import time

import gitlog
import history
import linear
import serial


def judge(ops, commits, start):
    """All checks; returns the report.  Changes `pos` of the operations."""
    report = serial.Report()
    for op in ops:
        op.pos, op.drowned = None, ()
    lines = serial.place(ops, commits, start, report)
    serial.check(ops, commits, start, lines, report)
    for keys, group in linear.objects(serial.resolve(ops)).items():
        try:
            stuck = linear.search(group, keys, start.states)
            if stuck is not None:
                report.add("linear", "%s: no place for %s" % (",".join(keys), stuck))
        except linear.Undecided as undecided:
            report.add("undecided", str(undecided))
    return report


def summary(ops, commits):
    """Counts of what was judged: one line for outcomes, one for kinds of attempts."""
    outcomes, kinds = {}, {}
    for op in ops:
        if op.how.startswith("of "):
            continue  # the read inside another operation
        outcomes[op.outcome] = outcomes.get(op.outcome, 0) + 1
        name = op.kind if not op.how else op.how
        kinds[name] = kinds.get(name, 0) + 1
    return ["operations %d: %s; commits %d" % (sum(outcomes.values()),
                                               ", ".join("%s %d" % item for item in sorted(outcomes.items())), len(commits)),
            "kinds: " + ", ".join("%s %d" % item for item in sorted(kinds.items()))]


def start_of(repo, commit):
    """The state of the namespace at `commit`."""
    tree = gitlog.git(repo, "rev-parse", commit + "^{tree}").strip()
    body = gitlog.git(repo, "log", "-1", "--format=%(trailers:key=KV-Version,valueonly)", commit).split()
    states = {}
    for line in gitlog.git(repo, "ls-tree", "-r", commit).splitlines():
        meta, path = line.split("\t", 1)
        value = gitlog.git(repo, "cat-file", "blob", meta.split()[2]).encode("ascii")
        states[path] = gitlog.state_of(value) or "?"
    return serial.Start(commit, tree, int(body[0]), states)


def allow_lag(ops, place, milliseconds):
    """With publish=async at `place` everybody else may see a commit of it so much later (SPEC 5.5): each of their looks and
    refusals may be about the state of that long ago.  What lands is not excused."""
    for op in ops:
        if op.place != place and (not op.is_write or op.outcome in ("absent", "exists", "conflict")):
            op.start -= milliseconds * 1000000


def run(repo, ref, since, logs, out=sys.stdout, lag=None):
    """Loads, judges, prints; returns the report.  `lag`: the arguments of allow_lag()."""
    began = time.monotonic()
    ops = history.load(logs)
    if lag:
        allow_lag(ops, *lag)
    commits = gitlog.load(repo, ref, since)
    report = judge(ops, commits, start_of(repo, since))
    for line in summary(ops, commits):
        print(line, file=out)
    print("right by the rules of files: " + ", ".join("%s %d" % item for item in report.excused.items()), file=out)
    for words in report.words:
        print("  " + words, file=out)
    print("verdict: " + ", ".join("%d %s" % (count, fault) for fault, count in report.counts.items())
          + " (checked in %.1f s)" % (time.monotonic() - began), file=out)
    return report


def main(args):
    if len(args) < 4:
        print(__doc__, file=sys.stderr)
        return 2
    return 1 if run(args[0], args[1], args[2], args[3:]).total else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
