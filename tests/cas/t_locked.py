#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
The ref's lock is held by another (SPEC 6.4; include/ledger/change.h): writers wait, with growing pauses, and give up with EAGAIN
after LEDGER_LOCK_WAIT_MS; nothing changes then.  Other namespaces and readers do not wait.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "mount"))
from lib import *  # noqa: E402,F403

WAIT = 10.0  # LEDGER_LOCK_WAIT_MS


class Lock:
    """git's own lock of the namespace's ref, held by somebody."""

    def __init__(self, t):
        self.path = "%s/refs/kv/%s.lock" % (t.repo.gitdir, t.ns)
        os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))

    def release(self):
        os.unlink(self.path)


def timed(fn, *args):
    """Seconds it took, and the errno it failed with (0: none)."""
    began = time.monotonic()
    try:
        fn(*args)
        err = 0
    except OSError as e:
        err = e.errno
    return time.monotonic() - began, err


def op(name, *args):
    return timed({"swap": lambda p, old, v: os.setxattr(p, "user.kv.swap." + old, v), "save": save}.get(name) or getattr(os, name), *args)


OPS["op"] = op


@case("held for good: EAGAIN (swap: EBUSY) after the documented time, nothing changes, and the status says so")
def for_good(t):
    p = t.put("k", b"old\n")
    os.mkdir(t.dir + "b")
    # The kernel lets one call at a time change the names in a directory: one for each, that none waits for another.
    for d in ("r", "u", "d"):
        os.mkdir(t.path(d))
        t.put(d + "/k")
    t.put("m")
    blob = t.repo.blob(t.ns, "k")
    calls = [("save", p, b"new\n"), ("swap", p, blob, b"new\n"), ("rename", t.path("r/k"), t.path("r/l")), ("unlink", t.path("u/k")),
             ("mkdir", t.path("d/d")), ("chmod", t.path("m"), 0o755)]
    clients = [Client() for _ in calls]
    tip = t.repo.tip(t.ns)
    clients[0].arm(p, "blob", blob)
    lock = Lock(t)
    began = time.monotonic()
    for c, call in zip(clients, calls):
        c.begin("op", *call)
    # Meanwhile readers read and another namespace is written to.
    for i in range(20):
        eq(read(p), b"old\n")
        save(t.dir + "b/k", b"%d\n" % i)
    took = time.monotonic() - began
    ok(took < WAIT * SLOW * 0.8, "the other namespace waited too: %.2f s for twenty saves" % took)
    ok(not any(c.ready() for c in clients), "gave up early")
    for c, call in zip(clients, calls):
        took, err = c.end()
        eq(errno.errorcode.get(err, err), "EBUSY" if call[0] == "swap" else "EAGAIN", call[0])
        ok(WAIT * 0.99 <= took < WAIT * 1.5 * SLOW, "%s gave up after %.2f s" % (call[0], took))
    lock.release()
    eq(t.repo.tip(t.ns), tip)
    s = dict(line.split("=", 1) for line in clients[1].get(p, "status").splitlines())
    eq([s[n] for n in ("result", "key", "version", "blob")], ["locked", "k", str(t.repo.version(t.ns)), blob])
    eq(clients[0].get(p, "expect-blob"), blob)
    clients[0].save(p, b"after\n")
    eq(t.repo.show(t.ns, "k"), b"after\n")
    for c in clients:
        c.quit()


@case("released in time: all who waited land, one commit each")
def in_time(t):
    for i in range(6):
        t.put("k%d" % i)
    clients = [Client() for _ in range(6)]
    lock = Lock(t)
    with commits(t, 6):
        for i, c in enumerate(clients):
            c.begin("op", "save", t.path("k%d" % i), b"new %d\n" % i)
        for c in clients:
            ok(not c.ready(0.1), "did not wait")
        lock.release()
        for c in clients:
            took, err = c.end()
            eq(err, 0)
    eq([read(t.path("k%d" % i)) for i in range(6)], [b"new %d\n" % i for i in range(6)])
    for c in clients:
        c.quit()


@case("who waits does not spin")
def no_spin(t):
    def cpu():
        with open("/proc/%d/stat" % t.mount.proc.pid) as f:
            field = f.read().rsplit(")", 1)[1].split()
        return (int(field[11]) + int(field[12])) / os.sysconf("SC_CLK_TCK")

    t.put("k")
    c = Client()
    lock = Lock(t)
    before, began = cpu(), time.monotonic()
    c.begin("op", "save", t.path("k"), b"new\n")
    ok(not c.ready(2), "did not wait")
    used, waited = cpu() - before, time.monotonic() - began
    lock.release()
    eq(c.end()[1], 0)
    ok(used < waited * 0.25 * SLOW, "%.2f s of processor time in %.2f s of waiting" % (used, waited))
    c.quit()


if __name__ == "__main__":
    main(log=["conflict|refused|rejected|EAGAIN|lock"])
