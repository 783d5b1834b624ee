#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
The matrix of tools (rows.py): every row runs on one mount, each in a namespace of its own; then the mount ends, which settles what was on its
way, and every row's exit status, values, keys, commits, messages and leftovers are judged in the repository.

Prints the table; `--write` puts it into docs/TOOLS.md.  The test wants docs/TOOLS.md to be what it printed, but for versions of tools and
for rows that this machine skips.  `t_matrix.py TEXT` runs the rows with TEXT in their title.
"""
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "mount"))
import lib  # noqa: E402
from lib import Mount, Repo, save, work  # noqa: E402
from rows import BIG, ROWS  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
DOC = os.path.join(lib.TOP, "docs", "TOOLS.md")
HEAD = """# Tools on a mount

What tests/tools/t_matrix.py saw: each row ran in a namespace of its own; written by `tests/tools/t_matrix.py --write`, not by hand.
*commits* are those that the row's commands made; *beside* is what the tool left that is no key: it lives in the mount alone and
ends with it (SPEC 5.4).

| tool | how | status | values | commits | messages | beside |
|---|---|---|---|---|---|---|
"""


def title(row):
    return " ".join((row.tool, row.how)).strip()


def work_tree(to):
    """A copy of this project's work tree, of what is in git where it is a clone."""
    got = subprocess.run(["git", "-C", lib.TOP, "ls-files", "-z"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    names = [n for n in got.stdout.decode().split("\0") if n and os.path.lexists(lib.TOP + "/" + n)] if not got.returncode else []
    if not names:
        names = [os.path.relpath(os.path.join(d, n), lib.TOP) for part in ("fs", "include", "tests") for d, _, files in os.walk(lib.TOP + "/" + part) for n in files] + ["README.md"]
    for n in names:
        os.makedirs(os.path.dirname(to + "/" + n), exist_ok=True)
        shutil.copy2(lib.TOP + "/" + n, to + "/" + n, follow_symlinks=False)


def prepare():
    """What rows copy from."""
    top = work() + "/T"
    os.makedirs(top + "/two/d")
    for name, data in (("two/a", b"one\n"), ("two/d/b", b"two\n"), ("big", BIG + b"end\n")):
        with open("%s/%s" % (top, name), "wb") as f:
            f.write(data)
        os.utime("%s/%s" % (top, name), (981158400, 981158400))
    os.mkfifo(top + "/fifo")
    os.mkdir(top + "/hard")
    save(top + "/hard/x", b"one\n")
    os.link(top + "/hard/x", top + "/hard/y")
    with open(top + "/s1", "wb") as f:
        f.truncate(1 << 20)
    save(top + "/rsh", b'#!/bin/sh\nshift\nexec "$@"\n')
    os.chmod(top + "/rsh", 0o755)
    work_tree(top + "/tree")
    subprocess.run(["git", "init", "-q", "--bare", top + "/clone.git"], check=True)
    os.symlink("a", top + "/two/l")
    os.utime(top + "/two/l", (981158400, 981158400), follow_symlinks=False)
    return top


def missing(row):
    if not shutil.which(row.program):
        return "no %s here" % row.program
    if row.tool == "GLib" and subprocess.run([row.program, "-c", "from gi.repository import GLib"], stderr=subprocess.DEVNULL).returncode:
        return "no python3-gi here"
    return None


def begin(row, repo, mount, n):
    row.ns = "r%d" % n
    top = mount.dir + "/" + row.ns
    os.mkdir(top)
    for key, data in row.start.items():
        os.makedirs(os.path.dirname(top + "/" + key), exist_ok=True)
        save(top + "/" + key, data)
    row.base = repo.tip(row.ns)
    row.got = subprocess.run([row.shell, "-ec", row.do], cwd=top, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             timeout=row.limit * lib.SLOW, env={**os.environ, "T": work() + "/T", "HERE": HERE, "SHELL": "/bin/sh"})


def judge(row, repo, log):
    """Everything that is wrong with the row."""
    bad = []
    if row.got.returncode != row.status:
        bad.append("exit status %d, want %d: %s" % (row.got.returncode, row.status, row.got.stdout.decode(errors="replace")[-600:]))
    row.subjects = [s for s in repo.git("log", "--reverse", "--format=%s", "%s..refs/kv/%s" % (row.base, row.ns)).split("\n") if s]
    if callable(row.log):
        bad.extend(filter(None, [row.log(row.subjects)]))
    elif (sorted if row.any_order else list)(row.subjects) != (sorted if row.any_order else list)(row.log):
        bad.append("commits %s, want %s" % (row.subjects[:40], list(row.log)[:40]))
    found = {key: repo.show(row.ns, key) for key in repo.keys(row.ns)}
    if callable(row.keys):
        bad.extend(filter(None, [row.keys(found)]))
    else:
        want = {k: v for k, v in row.keys.items() if v is not None}
        if found != want:
            bad.append("the tree is %.600r, want %.600r" % (found, want))
    row.left = {m[1] for m in (re.fullmatch(r".*?\b%s/(.*): a scratch file is lost with the mount" % row.ns, line) for line in log) if m}
    if row.left != row.scratch:
        bad.append("left in the mount: %s, want %s" % (sorted(row.left), sorted(row.scratch)))
    return bad


def cell(text):
    return text.replace("|", "\\|").replace("\n", " ")


def line(row, skipped):
    if skipped:
        return None
    kinds = list(dict.fromkeys(sorted(row.subjects) if row.any_order else row.subjects))
    said = ", ".join(kinds[:4]) + (", ..." if len(kinds) > 4 else "")
    count = str(len(row.subjects)) if not row.said else "as many as files"
    said = row.said or said
    return "| %s | %s | %s | %s | %s | %s | %s |" % tuple(map(cell, (
        row.tool, row.how, str(row.status) + (": " + row.why if row.why else ""), "right", count, said,
        ", ".join(sorted(row.left)))))


def versions(rows):
    """Debian's versions of the programs; a line for people, not compared."""
    out = {}
    for program in sorted({r.program for r in rows}):
        path = os.path.realpath(shutil.which(program) or "")
        for p in (path, path.replace("/usr", "", 1)):
            got = subprocess.run(["dpkg-query", "-S", p], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.split(":")[0]
            if got:
                out[got] = subprocess.run(["dpkg-query", "-W", "-f=${Version}", got], stdout=subprocess.PIPE, text=True).stdout
                break
    return "Versions: " + ", ".join("%s %s" % v for v in sorted(out.items())) + ".\n"


def main():
    if not os.path.exists("/dev/fuse"):
        lib.skip("no /dev/fuse")
    write = "--write" in sys.argv
    want = [a for a in sys.argv[1:] if a != "--write"]
    rows = [r for r in ROWS if not want or want[0] in title(r)]
    os.umask(0o022)
    os.environ.update({"HOME": work(), "USER": "root", **lib.ENV})
    prepare()
    repo = Repo(work() + "/repo.git")
    mount = Mount(repo)
    print("1..%d" % (len(rows) + 2))
    skipped = {}
    for n, row in enumerate(rows):
        why = missing(row)
        if why:
            skipped[row] = why
        else:
            begin(row, repo, mount, n)
    status = mount.unmount()
    log = mount.log()
    bad, table = 0, []
    for n, row in enumerate(rows, 1):
        if row in skipped:
            print("ok %d - %s # SKIP %s" % (n, title(row), skipped[row]))
            continue
        faults = judge(row, repo, log)
        bad += bool(faults)
        print("%sok %d - %s" % ("not " if faults else "", n, title(row)))
        lib._diag("\n".join(faults + (["replay: tests/tools/t_matrix.py %r" % title(row)] if faults else [])))
        table.append(line(row, None))
    rest = [x for x in log if not x.endswith(": a scratch file is lost with the mount")]
    faults = repo.faults() + rest + (["exit status %d" % status] if status else [])
    bad += bool(faults)
    print("%sok %d - the daemon's end, its log, fsck, versions" % ("not " if faults else "", len(rows) + 1))
    lib._diag("\n".join(faults))
    print("#\n" + "\n".join("# " + t for t in table))
    bad += document(rows, skipped, table, write, bool(want))
    sys.exit(1 if bad else 0)


def document(rows, skipped, table, write, partly):
    n = len(rows) + 2
    if partly:
        print("ok %d - docs/TOOLS.md # SKIP not all rows were asked for" % n)
        return 0
    if write:
        with open(DOC, "w") as f:
            f.write(HEAD + "\n".join(table) + "\n\n" + versions(rows))
    try:
        with open(DOC) as f:
            there = [x for x in f.read().split("\n") if x.startswith("| ")][1:]
    except FileNotFoundError:
        there = []
    gone = tuple("| %s | %s | " % (cell(r.tool), cell(r.how)) for r in skipped)
    differ = [x for x in there if not (gone and x.startswith(gone)) and x not in table] + [x for x in table if x not in there]
    print("%sok %d - docs/TOOLS.md is what was seen" % ("not " if differ else "", n))
    lib._diag("\n".join(differ[:10] + (["tests/tools/t_matrix.py --write makes it anew"] if differ else [])))
    return bool(differ)


if __name__ == "__main__":
    main()
