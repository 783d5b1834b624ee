#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""SPEC 6.1 and 6.3: the attributes, and the life of an expectation in one process."""
import ctypes

from lib import *
from lib import EMPTY_TREE, libc

NAMES = ["tree", "commit", "version"]


def truth(t, name, key="k"):
    return {"tree": t.repo.tree, "commit": t.repo.tip, "version": lambda ns: str(t.repo.version(ns)), "blob": lambda ns: t.repo.blob(ns, key)}[name](t.ns)


def theirs(t, key="other"):
    """Somebody else's commit."""
    ok(t.repo.foreign(t.ns, {key: b"%d\n" % t.repo.count(t.ns)}), "foreign commit")


@table([(n, n) for n in NAMES])
def reading(t, name):
    t.put("k", b"v1\n")
    os.makedirs(t.path("d/e"))
    t.put("d/e/k")
    os.symlink("k", t.path("l"))
    for where in ("", "k", "d", "d/e", "d/e/k"):
        eq(get(t.path(where), name), truth(t, name), where)
    theirs(t)
    for where in ("", "k", "d/e/k"):
        eq(get(t.path(where), name), truth(t, name), where + " after a foreign commit")
    eq(get(t.path("l"), name, follow_symlinks=True), truth(t, name), "through a link")


@case("user.kv.blob: on a key the OID of its committed value, on a directory ENODATA")
def blob(t):
    p = t.put("k", b"v1\n")
    eq(get(p, "blob"), truth(t, "blob"))
    save(p, b"v2\n")
    eq(get(p, "blob"), truth(t, "blob"))
    fd = os.open(p, os.O_RDWR)
    os.write(fd, b"unsaved")
    eq(get(p, "blob"), truth(t, "blob"), "with unsaved bytes about")
    os.close(fd)
    fails((errno.ENODATA, errno.ENOTSUP), get, t.dir, "blob")
    save(t.path("empty"), b"")
    eq(get(t.path("empty"), "blob"), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391")


@table([(n, n) for n in NAMES + ["blob", "status"]])
def read_only(t, name):
    p = t.put("k")
    before = truth(t, "commit")
    fails(errno.EPERM, os.setxattr, p, "user.kv." + name, b"x")
    fails(errno.EPERM, os.removexattr, p, "user.kv." + name)
    eq(truth(t, "commit"), before)


@case("none is listed; other names are ENOTSUP; security.capability is ENODATA; a small buffer is ERANGE")
def other_names(t):
    p = t.put("k")
    c = Client()
    c.arm(p, "tree", truth(t, "tree"))
    for where in (p, t.dir, t.mount.dir):
        eq(c.listxattr(where), [], "listxattr")
    for name in ("user.foo", "user.kv.bogus", "user.kv.", "user.kv", "user.kv.expect-", "user.kv.expect-foo", "user.kv.tree2"):
        fails(errno.ENOTSUP, os.setxattr, p, name, b"x")
        fails((errno.ENOTSUP, errno.ENODATA), os.getxattr, p, name)
    fails(errno.ENODATA, os.getxattr, p, "security.capability")
    fails((errno.ENODATA, errno.ENOTSUP), os.getxattr, p, "system.posix_acl_access")
    buf = ctypes.create_string_buffer(39)
    ctypes.set_errno(0)
    eq((libc.getxattr(os.fsencode(p), b"user.kv.tree", buf, 39), ctypes.get_errno()), (-1, errno.ERANGE))
    eq(libc.getxattr(os.fsencode(p), b"user.kv.tree", None, 0), 40, "size")
    c.disarm(p)
    c.quit()


MALFORMED = {
    "tree": ["", "x", "0" * 39, "0" * 41, "g" * 40, " " + "0" * 39, "absent", "HEAD", "-1", "0" * 64, "0" * 40 + "\n\n"],
    "version": ["", "x", "-1", "+1", " 1", "1x", "0x1", "1.0", "18446744073709551616", "9" * 40, "absent"],
    "blob": ["", "x", "0" * 39, "Absent ", "absent!", "0" * 41],
}
MALFORMED["commit"] = MALFORMED["tree"]


@table([("%s %r" % (n, v[:45]), n, v) for n in ("tree", "commit", "version", "blob") for v in MALFORMED[n]])
def malformed(t, name, value):
    p = t.put("k")
    c = Client()
    fails(errno.EINVAL, c.arm, p, name, value)
    fails(errno.ENODATA, c.get, p, "expect-" + name)
    c.save(p, b"not guarded\n")
    c.quit()


@table([(n, n) for n in NAMES + ["blob"]])
def armed_and_disarmed(t, name):
    p = t.put("k")
    c, d = Client(), Client()
    fails(errno.ENODATA, c.get, p, "expect-" + name)
    fails(errno.ENODATA, c.disarm, p, name)
    value = truth(t, name)
    c.arm(p, name, value)
    eq(c.get(p, "expect-" + name), value)
    if name != "blob":
        eq(c.get(t.dir, "expect-" + name), value, "one for the namespace")
    fails(errno.ENODATA, d.get, p, "expect-" + name)
    theirs(t, "k")
    fails(errno.EAGAIN, c.save, p, b"refused\n")
    eq(c.get(p, "expect-" + name), value, "a conflict leaves it as it was")
    fails(errno.EAGAIN, c.save, p, b"refused again\n")
    d.save(p, b"another process is not bound\n")
    c.disarm(p, name)
    fails(errno.ENODATA, c.get, p, "expect-" + name)
    with commits(t, 1):
        c.save(p, b"free\n")
    c.quit(), d.quit()


OPS_TABLE = [
    ("save", lambda c, p: c.save(p("k"), b"new\n")),
    ("save without O_TRUNC", lambda c, p: c.save(p("k"), b"N", os.O_WRONLY)),
    ("append", lambda c, p: c.save(p("k"), b"more\n", os.O_WRONLY | os.O_APPEND)),
    ("create", lambda c, p: c.save(p("new"), b"new\n")),
    ("create O_EXCL", lambda c, p: c.save(p("new"), b"new\n", os.O_WRONLY | os.O_CREAT | os.O_EXCL)),
    ("unlink", lambda c, p: c.unlink(p("k"))),
    ("rename", lambda c, p: c.rename(p("k"), p("new"))),
    ("rename over", lambda c, p: c.rename(p("k"), p("l"))),
    ("mkdir", lambda c, p: c.mkdir(p("new"))),
    ("rmdir", lambda c, p: c.rmdir(p("d"))),
    ("symlink", lambda c, p: c.symlink("k", p("new"))),
    ("truncate", lambda c, p: c.truncate(p("k"), 1)),
    ("chmod", lambda c, p: c.chmod(p("k"), 0o755)),
]


def rig(t):
    t.put("k", b"value\n"), t.put("l", b"other value\n")
    os.mkdir(t.path("d"))
    return Client()


@table([("%s: %s" % (n, o[0]), n, o[1]) for n in NAMES for o in OPS_TABLE])
def guards(t, name, op):
    """A stale expectation refuses every kind of change and leaves everything as it is; a fresh one lets it through and moves on with it."""
    c = rig(t)
    c.arm(t.dir, name, truth(t, name))
    theirs(t)
    before = (t.repo.entries(t.ns), {k: read(t.path(k)) for k in ("k", "l")}, os.stat(t.path("k")).st_ino, sorted(os.listdir(t.dir)))
    with commits(t, 0):
        fails(errno.EAGAIN, op, c, t.path)
    eq((t.repo.entries(t.ns), {k: read(t.path(k)) for k in ("k", "l")}, os.stat(t.path("k")).st_ino, sorted(os.listdir(t.dir))), before, "all")
    c.arm(t.dir, name, truth(t, name))
    with commits(t, 1):
        op(c, t.path)
    eq(c.get(t.dir, "expect-" + name), truth(t, name), "moved on")
    c.quit()


@table([(n, n) for n in NAMES])
def series_of_writes(t, name):
    """By one holder goes through while nobody else writes."""
    c = rig(t)
    c.arm(t.dir, name, truth(t, name))
    with commits(t, 8):
        for i in range(4):
            c.save(t.path("k"), b"%d\n" % i)
        c.rename(t.path("k"), t.path("m"))
        c.mkdir(t.path("n"))
        c.save(t.path("n/x"), b"x")
        c.unlink(t.path("l"))
    theirs(t)
    fails(errno.EAGAIN, c.save, t.path("m"), b"late\n")
    c.arm(t.dir, name, truth(t, name))
    c.save(t.path("m"), b"again\n")
    c.quit()


@case("A, B, A: a tree comes back and is taken; commit and version are not fooled")
def aba(t):
    p = t.put("k", b"A\n")
    clients = {n: Client() for n in NAMES}
    for n, c in clients.items():
        c.arm(p, n, truth(t, n))
    save(p, b"B\n")
    save(p, b"A\n")
    for n in ("commit", "version"):
        fails(errno.EAGAIN, clients[n].save, p, b"fooled\n")
    clients["tree"].save(p, b"the tree is what it expected\n")
    eq(read(p), b"the tree is what it expected\n")
    for c in clients.values():
        c.quit()


@case("the same value again: no commit, success, expectation unchanged; a stale one is refused all the same")
def same_value(t):
    c = rig(t)
    tree = truth(t, "tree")
    c.arm(t.dir, "tree", tree)
    with commits(t, 0):
        c.save(t.path("k"), b"value\n")
    eq(c.get(t.dir, "expect-tree"), tree)
    theirs(t)
    fails(errno.EAGAIN, c.save, t.path("k"), b"value\n")
    c.quit()


@case("one about the namespace: a newer one replaces it; one about the key beside it must hold too")
def several(t):
    c = rig(t)
    p = t.path("k")
    c.arm(t.dir, "tree", truth(t, "tree"))
    c.arm(t.dir, "version", "1")
    fails(errno.ENODATA, c.get, p, "expect-tree")
    fails(errno.EAGAIN, c.save, p, b"x")
    c.arm(t.dir, "tree", truth(t, "tree"))
    c.arm(p, "blob", "absent")
    fails(errno.EAGAIN, c.save, p, b"x")
    c.arm(p, "blob", truth(t, "blob"))
    c.save(p, b"x")
    theirs(t)
    fails(errno.EAGAIN, c.save, p, b"the blob holds, the tree does not")
    c.quit()


@case("an expectation of one namespace says nothing of another")
def per_namespace(t):
    c = rig(t)
    os.mkdir(t.dir + "b")
    c.arm(t.dir, "tree", EMPTY_TREE)
    c.save(t.dir + "b/k", b"free\n")
    fails(errno.EAGAIN, c.save, t.path("k"), b"bound\n")
    c.disarm(t.dir)
    c.quit()


@case("namespaces themselves: rmdir and rename under a stale expectation")
def whole_namespace(t):
    c = Client()
    c.arm(t.dir, "version", "7")
    fails(errno.EAGAIN, c.rmdir, t.dir)
    fails(errno.EAGAIN, c.rename, t.dir, t.dir + "x")
    eq(get(t.dir, "version"), "1")
    c.arm(t.dir, "version", "1")
    c.rmdir(t.dir)
    c.quit()


@case("expect-blob: other keys may move, this one not")
def expect_blob(t):
    c = rig(t)
    p = t.path("k")
    c.arm(p, "blob", truth(t, "blob"))
    theirs(t)
    with commits(t, 2):
        c.save(p, b"one\n")
        c.save(p, b"two\n")
    eq(c.get(p, "expect-blob"), truth(t, "blob"), "moved on")
    c.save(t.path("l"), b"not bound\n")
    theirs(t, "k")
    for op in (lambda: c.save(p, b"x"), lambda: c.unlink(p), lambda: c.rename(t.path("l"), p), lambda: c.rename(p, t.path("m")),
               lambda: c.chmod(p, 0o755), lambda: c.truncate(p, 0)):
        with commits(t, 0):
            fails(errno.EAGAIN, op)
    c.arm(p, "blob", truth(t, "blob"))
    c.unlink(p)
    c.quit()


@case("expect-blob absent: the key must not be there")
def expect_absent(t):
    c = rig(t)
    p = t.path("k")
    c.arm(p, "blob", "absent")
    eq(c.get(p, "expect-blob"), "absent")
    fails(errno.EAGAIN, c.save, p, b"x")
    ok(t.repo.foreign(t.ns, {"k": None}), "foreign delete")
    with commits(t, 1):
        c.save(p, b"created\n")
    eq(c.get(p, "expect-blob"), truth(t, "blob"), "moved on")
    ok(t.repo.foreign(t.ns, {"k": None}), "foreign delete")
    fails(errno.EAGAIN, c.save, p, b"it is gone\n")
    c.quit()


if __name__ == "__main__":
    main(log=["conflict|refused|rejected|EAGAIN"])
