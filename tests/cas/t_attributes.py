#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""SPEC 6.1 to 6.3 for keys: expect-blob on keys that are there and that are not, under every kind of change, and how it moves on."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "mount"))
from lib import *  # noqa: E402,F403

NONE = "1" * 40  # no object has this name


def blob(t, key):
    return t.repo.blob(t.ns, key) or "absent"


def rig(t):
    for key in ("k", "l", "d/k"):
        os.makedirs(os.path.dirname(t.path(key)), exist_ok=True)
        t.put(key, key.encode() + b" value\n")
    os.mkdir(t.path("empty"))
    return Client()


def state(t):
    return t.repo.entries(t.ns), sorted(os.listdir(t.dir)), {k: read(t.path(k)) for k in t.repo.keys(t.ns)}


RW, W, TRUNC, CREAT, EXCL, APPEND = os.O_RDWR, os.O_WRONLY, os.O_TRUNC, os.O_CREAT, os.O_EXCL, os.O_APPEND

# what it does, the keys that it changes, how
CHANGES = [
    ("save", ["k"], lambda c, p: c.save(p("k"), b"new\n")),
    ("save without O_TRUNC", ["k"], lambda c, p: c.save(p("k"), b"N", W)),
    ("append", ["k"], lambda c, p: c.save(p("k"), b"more\n", W | APPEND)),
    ("create", ["new"], lambda c, p: c.save(p("new"), b"new\n")),
    ("create O_EXCL", ["new"], lambda c, p: c.save(p("new"), b"new\n", W | CREAT | EXCL)),
    ("create below", ["d/new"], lambda c, p: c.save(p("d/new"), b"new\n")),
    ("unlink", ["k"], lambda c, p: c.unlink(p("k"))),
    ("rename", ["k", "new"], lambda c, p: c.rename(p("k"), p("new"))),
    ("rename over", ["k", "l"], lambda c, p: c.rename(p("k"), p("l"))),
    ("rename into a directory", ["k", "d/k"], lambda c, p: c.rename(p("k"), p("d/k"))),
    ("mkdir", ["new"], lambda c, p: c.mkdir(p("new"))),
    ("rmdir", ["empty"], lambda c, p: c.rmdir(p("empty"))),
    ("rename of a directory", ["d", "new"], lambda c, p: c.rename(p("d"), p("new"))),
    ("symlink", ["new"], lambda c, p: c.symlink("k", p("new"))),
    ("truncate", ["k"], lambda c, p: c.truncate(p("k"), 1)),
    ("chmod", ["k"], lambda c, p: c.chmod(p("k"), 0o755)),
]


def arm_key(c, t, key, value):
    """By the directory: works for keys that are not there, too."""
    head, name = os.path.split(key)
    c.arm(t.path(head), "blob." + name, value)


def armed_for(c, t, key):
    head, name = os.path.split(key)
    return c.get(t.path(head), "expect-blob." + name)


@table([("%s: %s" % (ch[0], key), ch[2], key) for ch in CHANGES for key in ch[1]])
def stale_expectation_of_one_key(t, change, key):
    """It refuses every kind of change that touches the key, at either end, tells which key, and leaves all as it is."""
    c = rig(t)
    there = blob(t, key)
    wrong = NONE if there == "absent" else "absent"
    for value in (wrong, NONE):
        arm_key(c, t, key, value)
        before = state(t)
        with commits(t, 0):
            fails(errno.EAGAIN, change, c, t.path)
        eq(state(t), before, "all")
        eq(armed_for(c, t, key), value, "a conflict leaves it as it was")
        head, name = os.path.split(key)
        s = dict(line.split("=", 1) for line in c.get(t.path(head), "status." + name).splitlines())
        eq((s["result"], s["key"], s["expected-blob"], s["blob"]), ("conflict", key, value, there))
        eq(s["reason"], "absent" if value == "absent" else "blob")
    c.quit()


@table([("%s" % ch[0], ch[2], ch[1]) for ch in CHANGES])
def fresh_expectation_moves_on(t, change, keys):
    """All keys that the change touches are expected as they are: it lands, and each expectation is what is there now."""
    c = rig(t)
    for key in keys:
        arm_key(c, t, key, blob(t, key))
    ok(t.repo.foreign(t.ns, {"other": b"somebody else's key\n"}), "foreign")
    with commits(t, 1):
        change(c, t.path)
    for key in keys:
        eq(armed_for(c, t, key), blob(t, key), "moved on: " + key)
    ok(t.repo.foreign(t.ns, {"other": b"again\n"}), "foreign")
    c.quit()


@case("mkdir, then rmdir, then a file of that name: one expectation goes along")
def directory_series(t):
    c = rig(t)
    arm_key(c, t, "new", "absent")
    with commits(t, 5):
        c.mkdir(t.path("new"))
        c.rmdir(t.path("new"))
        c.save(t.path("new"), b"1\n")
        c.rename(t.path("new"), t.path("newer"))
        c.save(t.path("new"), b"2\n")
    ok(t.repo.foreign(t.ns, {"new": b"theirs\n"}), "foreign")
    fails(errno.EAGAIN, c.unlink, t.path("new"))
    c.quit()


@case("expect-blob.NAME and expect-blob of the key are one")
def two_names(t):
    c = rig(t)
    arm_key(c, t, "d/k", blob(t, "d/k"))
    eq(c.get(t.path("d/k"), "expect-blob"), blob(t, "d/k"))
    c.disarm(t.path("d/k"), "blob")
    fails(errno.ENODATA, armed_for, c, t, "d/k")
    c.arm(t.path("d/k"), "blob", NONE)
    eq(armed_for(c, t, "d/k"), NONE)
    c.disarm(t.path("d"), "blob.k")
    c.save(t.path("d/k"), b"free\n")
    fails(errno.EINVAL, c.arm, t.path("d"), "blob", blob(t, "d/k"))  # a directory has no value
    c.quit()


BAD = [("", errno.EINVAL), ("a/b", errno.EINVAL), ("/", errno.EINVAL), (".", errno.EPERM), ("..", errno.EPERM), (".git", errno.EPERM), (".GIT", errno.EPERM), (".kv", errno.EPERM)]


@table([("%r" % n, n, e) for n, e in BAD])
def names_that_cannot_be_keys(t, name, want):
    c = rig(t)
    before = t.repo.tip(t.ns)
    fails(want, c.arm, t.dir, "blob." + name, "absent")
    fails(want, c.disarm, t.dir, "blob." + name)
    fails(want, os.setxattr, t.dir, "user.kv.swap.absent." + name, b"x")
    eq(t.repo.tip(t.ns), before)
    c.save(t.path("k"), b"nothing is armed\n")
    c.quit()


@case("XATTR_CREATE and XATTR_REPLACE")
def flags(t):
    c = rig(t)
    p = t.path("k")
    for name, value in (("tree", t.repo.tree(t.ns)), ("blob", blob(t, "k"))):
        attr = "user.kv.expect-" + name
        fails(errno.ENODATA, c.setxattr, p, attr, value.encode(), os.XATTR_REPLACE)
        fails(errno.ENODATA, c.getxattr, p, attr)
        c.setxattr(p, attr, value.encode(), os.XATTR_CREATE)
        fails(errno.EEXIST, c.setxattr, p, attr, NONE.encode(), os.XATTR_CREATE)
        eq(c.getxattr(p, attr).decode(), value)
        c.setxattr(p, attr, NONE.encode(), os.XATTR_REPLACE)
        eq(c.getxattr(p, attr).decode(), NONE)
        c.disarm(p, name)
    c.quit()


@case("a version on an absent key is refused, and says that the key is absent")
def version_on_absent(t):
    c = rig(t)
    was = blob(t, "k")
    arm_key(c, t, "k", was)
    ok(t.repo.foreign(t.ns, {"k": None}), "foreign delete")
    with commits(t, 0):
        fails(errno.EAGAIN, c.save, t.path("k"), b"late\n")
        fails(errno.EBUSY, c.setxattr, t.dir, "user.kv.swap.%s.k" % was, b"late\n")
        fails(errno.ENOENT, c.setxattr, t.path("k"), "user.kv.swap." + was, b"late\n")
    s = dict(line.split("=", 1) for line in c.get(t.dir, "status.k").splitlines())
    eq((s["reason"], s["expected-blob"], s["blob"]), ("blob", was, "absent"))
    arm_key(c, t, "k", "absent")
    c.save(t.path("k"), b"absent on an absent key creates\n")
    eq(t.repo.show(t.ns, "k"), b"absent on an absent key creates\n")
    c.quit()


@case("exact match: OIDs in capitals are the same object, nothing else is")
def exact(t):
    c = rig(t)
    good = blob(t, "k")
    arm_key(c, t, "k", good.upper())
    eq(armed_for(c, t, "k"), good)
    c.save(t.path("k"), b"1\n")
    for i in range(40):
        other = "%x" % (int(blob(t, "k")[i], 16) ^ 1)
        arm_key(c, t, "k", blob(t, "k")[:i] + other + blob(t, "k")[i + 1:])
        fails(errno.EAGAIN, c.save, t.path("k"), b"2\n")
    c.quit()


@case("A, B, A of one key: blob and tree take it, commit and version do not")
def aba(t):
    p = t.put("k", b"A\n")
    clients = {n: Client() for n in ("blob", "tree", "commit", "version")}
    for n, c in clients.items():
        c.arm(p, n, {"blob": blob(t, "k"), "tree": t.repo.tree(t.ns), "commit": t.repo.tip(t.ns), "version": str(t.repo.version(t.ns))}[n])
    ok(t.repo.foreign(t.ns, {"k": b"B\n"}) and t.repo.foreign(t.ns, {"k": b"A\n"}), "there and back")
    for n in ("commit", "version"):
        fails(errno.EAGAIN, clients[n].save, p, b"fooled\n")
    with commits(t, 1):
        clients["tree"].save(p, b"by tree\n")
    fails(errno.EAGAIN, clients["blob"].save, p, b"it is another by now\n")
    save(p, b"A\n")
    clients["blob"].save(p, b"by blob\n")
    eq(read(p), b"by blob\n")
    for c in clients.values():
        c.quit()


SAME = [
    ("save", lambda c, t: c.save(t.path("k"), b"k value\n")),
    ("save without O_TRUNC", lambda c, t: c.save(t.path("k"), b"k v", W)),
    ("truncate to its size", lambda c, t: c.truncate(t.path("k"), 8)),
    ("swap", lambda c, t: c.setxattr(t.path("k"), "user.kv.swap." + blob(t, "k"), b"k value\n")),
]


@table([(s[0], s[1], n) for s in SAME for n in ("tree", "commit", "version", "blob")])
def same_value_again(t, change, name):
    """No commit, version and expectation unchanged, success; a stale expectation refuses it all the same."""
    c = rig(t)
    p = t.path("k")
    value = c.get(p, name)
    c.arm(p, name, value)
    ino = os.stat(p).st_ino
    with commits(t, 0):
        change(c, t)
    eq((c.get(p, "expect-" + name), c.get(p, name)), (value, value))
    eq((os.stat(p).st_ino, read(p)), (ino, b"k value\n"))
    if change is not SAME[2][1]:  # which asks the ledger for nothing
        s = dict(line.split("=", 1) for line in c.get(p, "status").splitlines())
        eq((s["result"], s["version"], s["blob"]), ("committed", str(t.repo.version(t.ns)), blob(t, "k")))
    c.arm(p, name, "7777" if name == "version" else NONE)
    with commits(t, 0):
        fails((errno.EAGAIN, errno.EBUSY), change, c, t)
    c.quit()


@case("per-key expectations let other keys move: sixteen writers, a key each, and git beside them; none is refused")
def other_keys_move(t):
    clients = [Client() for _ in range(16)]
    for i, c in enumerate(clients):
        t.put("k%d" % i, b"0\n")
        c.arm(t.path("k%d" % i), "blob", blob(t, "k%d" % i))
    n, mine = 12, 0
    before = t.repo.count(t.ns)
    for r in range(n):
        for i, c in enumerate(clients):
            c.begin("save", t.path("k%d" % i), b"%d %d\n" % (i, r))
        mine += t.repo.foreign(t.ns, {"other": b"%d\n" % r})
        for c in clients:
            c.end()
    eq(t.repo.count(t.ns) - before, 16 * n + mine)
    eq([read(t.path("k%d" % i)) for i in range(16)], [b"%d %d\n" % (i, n - 1) for i in range(16)])
    for c in clients:
        c.quit()


if __name__ == "__main__":
    main(log=["conflict|refused|rejected|EAGAIN"])
