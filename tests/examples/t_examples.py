#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The example programs, many at once, in sh and in Python on the same keys, on two mounts: the result is exact."""
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "mount"))

from lib import LIMIT, Mount, case, commits, eq, main, ok  # noqa: E402


def program(name):
    path = os.path.join(HERE, name)
    return [path] if name.endswith(".sh") else [sys.executable, "-B", path]


def together(*commands):
    """Runs them all at once; their outputs.  Fails when one does."""
    children = [subprocess.Popen([*program(name), *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE) for name, *args in commands]
    out = []
    for child in children:
        text, errors = child.communicate(timeout=4 * LIMIT)
        eq((child.returncode, errors), (0, b""), "end of " + " ".join(child.args))
        out.append(text.decode())
    return out


def history(t, key):
    """The values of a key, oldest first."""
    revisions = t.repo.git("rev-list", "--reverse", "refs/kv/" + t.ns, "--", key).split()
    return [t.repo.git("cat-file", "blob", "%s:%s" % (rev, key)) for rev in revisions]


class elsewhere:
    """The namespace on a second mount of the same repository."""

    def __init__(self, t):
        self.t = t

    def __enter__(self):
        self.mount = Mount(self.t.repo)
        return os.path.join(self.mount.dir, self.t.ns)

    def __exit__(self, *exc):
        return self.mount.__exit__(*exc)


@case("counter: every increment counts, one commit each")
def counter(t):
    with elsewhere(t) as other, commits(t, 150):
        here = t.path("hits")
        together(*[("counter.sh", key, 10) for key in (here, here, other + "/hits")],
                 *[("counter.py", key, 40) for key in (here, here, other + "/hits")])
    eq(t.repo.show(t.ns, "hits"), b"150")
    eq(history(t, "hits"), [str(n) for n in range(1, 151)], "every value in turn")


@case("session: no update is lost, whoever made it")
def session(t):
    fields = {}
    commands = []
    with elsewhere(t) as other:
        for number, (name, key) in enumerate((n, k) for n in ("session.sh", "session.py") for k in
                                             (t.path("u1"), t.path("u1"), other + "/u1")):
            mine = {"item%d.%d" % (number, i): str(number * i) for i in range(8)}
            fields.update(mine)
            commands.append((name, key, *[word for item in mine.items() for word in item]))
        together(*commands)
    lines = t.repo.show(t.ns, "u1").decode().splitlines()
    fields["visits"] = str(len(fields))
    eq(sorted(lines), sorted("%s=%s" % item for item in fields.items()), "the session")
    eq(t.repo.keys(t.ns), ["u1"], "nothing else is left in the tree")


@case("rate limiter: exactly as many pass as may, in each window")
def ratelimit(t):
    with elsewhere(t) as other:
        for window, limit in ((7, 40), (8, 25)):
            out = together(*[(name, key, limit, window, 20) for name in ("ratelimit.sh", "ratelimit.py")
                             for key in (t.path("api"), other + "/api")])
            eq(sum(int(text) for text in out), limit, "let through in window %d" % window)
            eq(t.repo.show(t.ns, "api").decode(), "%d %d" % (window, limit))
        eq(together(("ratelimit.sh", t.path("api"), 99, 7, 3)), ["0\n"], "a window that is over")


def check_lease(t, terms):
    """Terms one by one, each with one holder that hands it back or lets it expire, and its work done in its turn."""
    holder, term, led = "-", 0, []
    for text in history(t, "lead"):
        who, number, _ = text.split(" ")
        if who == "-":
            eq(int(number), term, "the term that is handed back")
        else:
            eq(int(number), term + 1, "the next term after %d of %s" % (term, holder))
            led.append("%s %s" % (number, who))
        holder, term = who, int(number)
    eq(term, terms, "number of terms")
    eq(t.repo.show(t.ns, "lead.work").decode().splitlines(), led, "the work, in order of terms")


@case("leader lease: one leader at a time, every term once")
def lease(t):
    with elsewhere(t) as other:
        together(*[(name, key, "%s-%d" % (name, number), 60000, 6) for name in ("lease.sh", "lease.py")
                   for number, key in enumerate((t.path("lead"), other + "/lead"))])
    check_lease(t, 24)


@case("leader lease: a leader that is gone is replaced when its lease expires")
def lease_crash(t):
    together(("lease.py", t.path("lead"), "gone", 300, 1, "crash"))
    together(("lease.sh", t.path("lead"), "next", 60000, 2), ("lease.py", t.path("lead"), "other", 60000, 2))
    check_lease(t, 5)
    first, second = history(t, "lead")[:2]
    granted = int(second.split(" ")[2]) - 60000
    ok(granted >= int(first.split(" ")[2]), "the second leader came before the first lease was over: %s, %s" % (first, second))


main()
