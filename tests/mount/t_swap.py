#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""SPEC 6.1: compare-and-swap of one key: in one call (user.kv.swap), and by name on its directory (swap, expect-blob, status)."""
from lib import *


def swap(path, expected, value, name=""):
    os.setxattr(path, "user.kv.swap." + expected + name, value)


OPS["swap"] = swap


@case("the right blob: one commit, the new value, whole")
def right(t):
    p = t.put("k", b"one\n")
    with commits(t, 1):
        swap(p, get(p, "blob"), b"two\n")
    eq((read(p), t.repo.show(t.ns, "k"), t.repo.subject(t.ns)), (b"two\n", b"two\n", "set k"))
    eq(get(p, "blob"), t.repo.blob(t.ns, "k"))


@table([("another blob", "0" * 39 + "1"), ("an older one", None), ("absent", "absent")])
def refused(t, expected):
    p = t.put("k", b"one\n")
    expected = expected or get(p, "blob")
    save(p, b"two\n")
    with commits(t, 0):
        fails(errno.EBUSY, swap, p, expected, b"three\n")
    eq(read(p), b"two\n")
    s = status(p)
    eq((s["result"], s["key"], s["expected-blob"], s["blob"], s["version"]), ("conflict", "k", expected, get(p, "blob"), "3"))


@case("absent by name on the directory creates; when it is there EBUSY")
def absent(t):
    os.mkdir(t.path("d"))
    for where, key in ((t.dir, "k"), (t.path("d"), "d/k")):
        with commits(t, 1):
            swap(where, "absent", b"new\n", ".k")
        eq(t.repo.show(t.ns, key), b"new\n")
        with commits(t, 0):
            fails(errno.EBUSY, swap, where, "absent", b"again\n", ".k")
    with commits(t, 1):
        swap(t.dir, get(t.path("k"), "blob"), b"newer\n", ".k")
    eq(read(t.path("k")), b"newer\n")
    with commits(t, 0):
        fails(errno.EBUSY, swap, t.dir, t.repo.blob(t.ns, "k"), b"x", ".nothing-here")
        fails(errno.EBUSY, swap, t.dir, t.repo.blob(t.ns, "k"), b"x", ".d")


@table([("no OID", "xyz", ""), ("39 digits", "0" * 39, ""), ("empty", "", ""), ("no name on a directory", "absent", "d"), ("empty name", "absent.", "d"),
        ("a slash in the name", "absent.a/b", "d")])
def malformed(t, what, where):
    t.put("k")
    with commits(t, 0):
        fails((errno.EINVAL, errno.ENOTSUP, errno.EPERM), swap, t.dir if where else t.path("k"), what, b"x")


@table([(repr(n), n) for n in (".git", "..", ".", ".kv", "GIT~1")])
def forbidden_name(t, name):
    with commits(t, 0):
        fails((errno.EPERM, errno.EINVAL), swap, t.dir, "absent." + name, b"x")


@case("the same value: no commit, success; large values and bytes of any kind")
def values(t):
    p = t.put("k", b"one\n")
    with commits(t, 0):
        swap(p, get(p, "blob"), b"one\n")
    for value in (b"", bytes(range(256)), os.urandom(60000)):
        with commits(t, 1):
            swap(p, get(p, "blob"), value)
        eq(read(p), value)
    os.chmod(p, 0o755)
    swap(p, get(p, "blob"), b"#!/bin/sh\n")
    eq(t.repo.entries(t.ns)["k"][0], "100755", "the mode stays")
    fails(errno.ENODATA, os.getxattr, p, "user.kv.swap." + get(p, "blob"))


@case("other keys may move: sixteen clients swap a key each, none is refused")
def others(t):
    clients = [Client() for _ in range(16)]
    for i in range(16):
        t.put("k%d" % i, b"0")
    for n in range(5):
        for i, c in enumerate(clients):
            c.begin("swap", t.path("k%d" % i), get(t.path("k%d" % i), "blob"), b"%d" % (n + 1))
        for c in clients:
            c.end()
    eq([read(t.path("k%d" % i)) for i in range(16)], [b"5"] * 16)
    for c in clients:
        c.quit()


def count(path, n):
    refused = 0
    for _ in range(n):
        while True:
            blob = get(path, "blob")
            value = int(read(path))
            if get(path, "blob") != blob:
                continue
            try:
                swap(path, blob, b"%d" % (value + 1))
                break
            except OSError as e:
                if e.errno != errno.EBUSY:
                    raise
                refused += 1
    return refused


OPS["count"] = count


@case("four processes on two mounts count one key up by swap: the sum is exact")
def counter(t):
    t.put("k", b"0")
    before = t.repo.count(t.ns)
    with Mount(t.repo) as other:
        clients = [Client() for _ in range(4)]
        for i, c in enumerate(clients):
            c.begin("count", t.path("k") if i % 2 else other.dir + "/" + t.ns + "/k", 25)
        print("# refused: %s" % [c.end() for c in clients])
        eq((read(t.path("k")), t.repo.count(t.ns) - before), (b"100", 100))
        for c in clients:
            c.quit()


@case("who has the old value open keeps it; the next open sees the new one")
def readers(t):
    p = t.put("k", b"one\n")
    fd, ino = os.open(p, os.O_RDONLY), os.stat(p).st_ino
    swap(p, get(p, "blob"), b"twotwo\n")
    eq((os.pread(fd, 99, 0), read(p), os.stat(p).st_size), (b"one\n", b"twotwo\n", 7))
    ok(os.stat(p).st_ino != ino, "a new inode")
    os.close(fd)


@case("expect-blob by name on the directory: absent guards a creation")
def expect_by_name(t):
    c = Client()
    c.setxattr(t.dir, "user.kv.expect-blob.k", b"absent")
    eq(c.getxattr(t.dir, "user.kv.expect-blob.k"), b"absent")
    ok(t.repo.foreign(t.ns, {"k": b"theirs\n"}), "foreign")
    fails(errno.EAGAIN, c.save, t.path("k"), b"mine\n")
    eq(read(t.path("k")), b"theirs\n")
    s = dict(line.split("=", 1) for line in c.getxattr(t.dir, "user.kv.status.k").decode().splitlines())
    eq((s["result"], s["expected-blob"], s["blob"]), ("conflict", "absent", t.repo.blob(t.ns, "k")))
    c.setxattr(t.dir, "user.kv.expect-blob.k", s["blob"].encode())
    c.save(t.path("k"), b"mine\n")
    c.setxattr(t.dir, "user.kv.expect-blob.new", b"absent")
    with commits(t, 1):
        c.save(t.path("new"), b"created\n")
    c.quit()


if __name__ == "__main__":
    main(log=["conflict|refused|rejected"])
