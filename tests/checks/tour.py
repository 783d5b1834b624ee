#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
tour.py README DIR: runs the README's tour in DIR, where demo/repo.git is mounted at demo/mnt, and compares what it prints.

The tour is every fenced block of the kind ```console: a line "$ command" (continued by lines "> ..."), then what it prints.  One shell runs it
all, so variables last.  What differs from run to run is compared by its form: object names, pids, hosts, dates.
"""
import re
import subprocess
import sys

MARK = "--- tour: next command"
FORMS = [
    (r"\b[0-9a-f]{40}\b", "<oid>"), (r"\b[0-9a-f]{7,12}\b", "<short oid>"), (r"\[\d+\]( \d+)?", "[pid uid]"), (r"^Author: .*", "Author: <user>"),
    (r"^Date: .*", "Date: <date>"), (r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?( [+-]\d{4})?", "<time>"), (r"^(bash|sh): (line )?\d+: ", "sh: "),
]


def parse(text):
    """[(command, lines)] of all console blocks."""
    out = []
    for block in re.findall(r"^```console\n(.*?)^```", text, re.M | re.S):
        for line in block.splitlines():
            if line.startswith("$ "):
                out.append((line[2:], []))
            elif line.startswith("> ") and not out[-1][1]:
                out[-1] = (out[-1][0] + "\n" + line[2:], [])
            else:
                out[-1][1].append(line)
    return out


def form(lines):
    out = []
    for line in lines:
        for pattern, name in FORMS:
            line = re.sub(pattern, name, line)
        out.append(line.rstrip())
    return out


def main():
    steps = parse(open(sys.argv[1]).read())
    if len(steps) < 5:
        sys.exit("%s has no tour" % sys.argv[1])
    script = "".join("%s\necho; echo '%s'\n" % (command, MARK) for command, _ in steps)
    p = subprocess.run(["bash"], input=script, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=sys.argv[2], timeout=120)
    parts = p.stdout.split("\n%s\n" % MARK)
    bad = len(parts) - 1 != len(steps)
    for (command, want), got in zip(steps, parts):
        got = got.rstrip("\n").splitlines()
        same = form(want) == form(got)
        bad |= not same
        print("%s $ %s" % ("ok    " if same else "NOT OK", command))
        if not same:
            print("".join("       README: %s\n" % line for line in want) + "".join("       here:   %s\n" % line for line in got), end="")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
