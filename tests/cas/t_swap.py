#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""SPEC 6.1, user.kv.swap: compare and set of a key in one call.  A conflict is EBUSY."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "mount"))
from lib import *  # noqa: E402,F403

NONE = "1" * 40
MAX = 65536  # the kernel's limit of a value of an attribute


def swap(path, old, data, flags=0):
    os.setxattr(path, "user.kv.swap." + old, data, flags)


def blob(t, key):
    return t.repo.blob(t.ns, key) or "absent"


OPS["swap"] = swap


def fields(who, path, name="status"):
    return dict(line.split("=", 1) for line in who.get(path, name).splitlines())


@table([("text", b"new\n"), ("empty", b""), ("one byte", b"x"), ("NULs", b"\0" * 100), ("64 KiB", os.urandom(MAX))])
def lands(t, data):
    """By the key, by its directory, and on an absent key."""
    p = t.put("k", b"old\n")
    for where, old in ((p, lambda: blob(t, "k")), (t.dir, lambda: blob(t, "k") + ".k"), (t.dir, lambda: "absent.fresh")):
        key = "fresh" if old() == "absent.fresh" else "k"
        with commits(t, 1):
            swap(where, old(), data)
        eq((t.repo.show(t.ns, key), read(t.path(key))), (data, data))
        s = status(t.path(key))
        eq([s[n] for n in ("result", "key", "version", "blob", "commit")],
           ["committed", key, str(t.repo.version(t.ns)), blob(t, key), t.repo.tip(t.ns)])
        t.put("k", b"old\n")


@case("more than 64 KiB is the kernel's E2BIG")
def too_big(t):
    p = t.put("k")
    with commits(t, 0):
        fails(errno.E2BIG, swap, p, blob(t, "k"), b"x" * (MAX + 1))


# where, the expected, what is there: a key `k`, a directory `d` with `d/k`, no `none`
STALE = [
    ("another blob", "k", lambda t: NONE, "blob", NONE, "k"),
    ("the old blob", "k", lambda t: t.repo.hash(b"older\n"), "blob", None, "k"),
    ("absent, on a key that is there", "", lambda t: "absent.k", "absent", "absent", "k"),
    ("absent, on the key itself", "k", lambda t: "absent", "absent", "absent", "k"),
    ("a blob, on a key that is not there", "", lambda t: blob(t, "k") + ".none", "blob", None, "none"),
    ("another blob, by the directory", "d", lambda t: NONE + ".k", "blob", NONE, "d/k"),
    ("absent, where a directory is", "", lambda t: "absent.d", "absent", "absent", "d"),
    ("a blob, where a directory is", "", lambda t: NONE + ".d", "blob", NONE, "d"),
]


@table(STALE)
def conflict(t, where, old, reason, expected, key):
    t.put("k", b"older\n"), t.put("k", b"old\n")
    os.mkdir(t.path("d"))
    t.put("d/k", b"below\n")
    before = t.repo.entries(t.ns), read(t.path("k")), os.stat(t.path("k")).st_ino
    c = Client()
    name = old(t)
    with commits(t, 0):
        fails(errno.EBUSY, c.swap, t.path(where), name, b"refused\n")
    eq((t.repo.entries(t.ns), read(t.path("k")), os.stat(t.path("k")).st_ino), before)
    head, base = os.path.split(key)
    for place, attr in ((t.path(head), "status." + base), (t.dir, "status")):
        s = fields(c, place, attr)
        eq([s[n] for n in ("result", "reason", "key", "expected-blob", "tree", "commit", "version", "blob")],
           ["conflict", reason, key, expected or name[:40], t.repo.tree(t.ns), t.repo.tip(t.ns), str(t.repo.version(t.ns)), blob(t, key)])
    c.quit()


MALFORMED = ["", "x", "0" * 39, "0" * 41, "g" * 40, " " + "0" * 39, "Absent", "absent ", "HEAD", "0" * 64]


@table([(repr(m[:45]), m) for m in MALFORMED])
def malformed(t, old):
    p = t.put("k")
    with commits(t, 0):
        fails(errno.EINVAL, swap, p, old, b"x")
        fails(errno.EINVAL, swap, t.dir, old, b"x")
        fails(errno.EINVAL, swap, t.dir, old + ".k", b"x")
        fails(errno.EINVAL, swap, t.dir, NONE, b"x")  # a directory has no value: of which key?
        fails(errno.EINVAL, swap, p, NONE + ".k", b"x")


@case("reading gives ENODATA, removing ENODATA, XATTR_REPLACE ENODATA; nothing of it is listed")
def reading(t):
    p = t.put("k", b"old\n")
    name = "user.kv.swap." + blob(t, "k")
    with commits(t, 0):
        fails(errno.ENODATA, os.getxattr, p, name)
        fails(errno.ENODATA, os.removexattr, p, name)
        fails(errno.ENODATA, os.setxattr, p, name, b"x", os.XATTR_REPLACE)
    with commits(t, 1):
        os.setxattr(p, name, b"x", os.XATTR_CREATE)
    eq(os.listxattr(p), [])


@case("the parent directory must be there; a file is none")
def parents(t):
    t.put("k")
    with commits(t, 0):
        fails(errno.ENOENT, swap, t.path("none"), "absent.k", b"x")
        fails(errno.EINVAL, swap, t.path("k"), "absent.k", b"x")
    os.mkdir(t.path("d"))
    fd = os.open(t.path("d"), os.O_RDONLY)
    os.rmdir(t.path("d"))
    with commits(t, 0):
        fails(errno.ENOENT, swap, "/proc/self/fd/%d" % fd, "absent.k", b"x")
    os.close(fd)


@case("the x bit stays; a link becomes a file")
def kinds(t):
    p = t.put("k", b"#!/bin/sh\n")
    os.chmod(p, 0o755)
    swap(p, blob(t, "k"), b"#!/bin/sh\ntrue\n")
    eq(t.repo.entries(t.ns)["k"][0], "100755")
    os.symlink("k", t.path("l"))
    fails(errno.EBUSY, swap, t.dir, "absent.l", b"x")
    swap(t.dir, blob(t, "l") + ".l", b"now a file\n")
    eq((t.repo.entries(t.ns)["l"][0], read(t.path("l"))), ("100644", b"now a file\n"))


@case("the caller's other expectations must hold too; it moves them on")
def other_expectations(t):
    p = t.put("k", b"old\n")
    c = Client()
    c.arm(p, "tree", t.repo.tree(t.ns))
    c.swap(p, blob(t, "k"), b"1\n")
    eq(c.get(p, "expect-tree"), t.repo.tree(t.ns))
    ok(t.repo.foreign(t.ns, {"other": b"x"}), "foreign")
    with commits(t, 0):
        fails(errno.EBUSY, c.swap, p, blob(t, "k"), b"2\n")
    s = fields(c, p)
    eq((s["reason"], s["blob"]), ("tree", blob(t, "k")))
    c.arm(p, "version", str(t.repo.version(t.ns)))
    c.arm(p, "blob", blob(t, "k"))
    c.swap(p, blob(t, "k"), b"3\n")
    eq((c.get(p, "expect-version"), c.get(p, "expect-blob")), (str(t.repo.version(t.ns)), blob(t, "k")))
    c.quit()


@case("by a descriptor: the name counts, not the value that was opened")
def by_descriptor(t):
    p = t.put("k", b"one\n")
    one = blob(t, "k")
    fd = os.open(p, os.O_RDONLY)
    swap(fd, one, b"two\n")
    eq((os.pread(fd, 100, 0), read(p)), (b"one\n", b"two\n"))
    fails(errno.EBUSY, swap, fd, one, b"three\n")
    swap(fd, blob(t, "k"), b"three\n")
    os.unlink(p)
    with commits(t, 0):
        fails(errno.EBUSY, swap, fd, t.repo.hash(b"three\n"), b"gone\n")
    eq(fields(Self(), t.dir, "status.k")["blob"], "absent")
    os.close(fd)


class Self:
    get = staticmethod(get)


@case("value and blob of one descriptor are of one instant: enough for read-modify-write")
def pair(t):
    p = t.put("k", b"0\n")
    fd = os.open(p, os.O_RDONLY)
    save(p, b"1\n")
    eq((os.pread(fd, 10, 0), os.getxattr(fd, "user.kv.blob").decode()), (b"0\n", t.repo.hash(b"0\n")))
    os.close(fd)


@case("an open and unsaved handle is refused afterwards, as by any other writer")
def beside_a_session(t):
    p = t.put("k", b"old\n")
    fd = os.open(p, os.O_RDWR)
    os.write(fd, b"mine")
    swap(p, blob(t, "k"), b"swapped\n")
    fails(errno.EAGAIN, os.close, fd)
    fd = os.open(t.path("new"), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    swap(t.dir, "absent.new", b"first\n")
    fails(errno.EAGAIN, os.close, fd)
    eq((read(p), read(t.path("new"))), (b"swapped\n", b"first\n"))


@case("a name that a temporary file has is not absent; one that a key could have is")
def temporary(t):
    for name in (".k.swp", "k.tmp"):
        save(t.path(name), b"temporary\n")
        with commits(t, 0):
            fails(errno.EBUSY, swap, t.dir, "absent." + name, b"x")
        os.unlink(t.path(name))
    p = t.put("k", b"value\n")
    was = blob(t, "k")
    os.rename(p, t.path("k~"))  # an editor's backup: the key is about to come back
    fails(errno.EBUSY, swap, t.dir, was + ".k", b"x")
    swap(t.dir, "absent.k", b"again\n")
    eq((read(p), read(t.path("k~"))), (b"again\n", b"value\n"))
    os.unlink(t.path("k~"))


@case("names at their limits: 255 bytes of attribute name are the kernel's")
def long_names(t):
    longest = "n" * (255 - len("user.kv.swap.absent."))
    swap(t.dir, "absent." + longest, b"x")
    eq(read(t.path(longest)), b"x")
    fails((errno.ERANGE, errno.ENAMETOOLONG), swap, t.dir, "absent.n" + longest, b"x")
    swap(t.dir, "absent.dots.in.name", b"y")
    eq(read(t.path("dots.in.name")), b"y")


@case("on no namespace: ENOTSUP; read-only: EROFS")
def elsewhere(t):
    p = t.put("k")
    fails((errno.ENOTSUP, errno.EPERM), swap, t.mount.dir, "absent.k", b"x")
    fails((errno.ENOTSUP, errno.EPERM), swap, t.path(".kv"), "absent.k", b"x")
    with Mount(t.repo, "ro") as m:
        fails(errno.EROFS, swap, m.dir + "/" + t.ns + "/k", blob(t, "k"), b"x")
        fails(errno.EROFS, swap, m.dir + "/" + t.ns, "absent.new", b"x")
    eq(read(p), b"old\n")


def increment(path, n):
    """The retry loop of a cache's client; the lost rounds are counted."""
    lost = 0
    for _ in range(n):
        while True:
            fd = os.open(path, os.O_RDONLY)
            old, value = os.getxattr(fd, "user.kv.blob").decode(), int(os.pread(fd, 20, 0))
            os.close(fd)
            try:
                swap(path, old, b"%d\n" % (value + 1))
                break
            except OSError as e:
                if e.errno != errno.EBUSY:
                    raise
                lost += 1
    return lost


OPS["increment"] = increment


@case("six processes on two mounts increment one key: the sum is exact, one commit each")
def sum_is_exact(t):
    t.put("k", b"0\n")
    n = 40
    with Mount(t.repo) as other:
        clients = [Client() for _ in range(6)]
        with commits(t, 6 * n):
            for i, c in enumerate(clients):
                c.begin("increment", (t.dir if i % 2 else other.dir + "/" + t.ns) + "/k", n)
            lost = [c.end() for c in clients]
        eq(read(t.path("k")), b"%d\n" % (6 * n))
        print("# lost rounds: %s" % lost)
        for c in clients:
            c.quit()


def create(path, names):
    won = []
    for name in names:
        try:
            swap(path, "absent." + name, b"%d\n" % os.getpid())
            won.append(name)
        except OSError as e:
            if e.errno != errno.EBUSY:
                raise
    return won


OPS["create"] = create


@case("swap.absent.NAME: of six who want the same new keys, one each gets it")
def create_once(t):
    names = ["lock%d" % i for i in range(40)]
    clients = [Client() for _ in range(6)]
    with commits(t, len(names)):
        for c in clients:
            c.begin("create", t.dir, names)
        won = {c.pid: c.end() for c in clients}
    eq(sorted(sum(won.values(), [])), sorted(names))
    for pid, mine in won.items():
        for name in mine:
            eq(read(t.path(name)), b"%d\n" % pid)
    for c in clients:
        c.quit()


if __name__ == "__main__":
    main(log=["conflict|refused|rejected|EAGAIN"])
