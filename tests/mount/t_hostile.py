#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""SPEC 3, last row: entries of a hostile tree are never shown, never followed, logged once."""
from lib import *
from lib import EMPTY_TREE

GOOD = b"good\n"


def entry(t, name, mode="100644", data=b"evil\n"):
    return (mode, name, t.repo.hash(data))


ROWS = [
    ("dot", lambda t: [entry(t, ".")]),
    ("dot dot", lambda t: [entry(t, "..")]),
    ("dot dot as tree", lambda t: [("40000", "..", t.repo.mktree([entry(t, "x")]))]),
    ("slash", lambda t: [entry(t, "a/b")]),
    ("leading slash", lambda t: [entry(t, "/etc")]),
    ("traversal", lambda t: [entry(t, "../../etc/passwd")]),
    (".git", lambda t: [entry(t, ".git")]),
    (".GIT", lambda t: [entry(t, ".GIT")]),
    ("git~1", lambda t: [entry(t, "git~1")]),
    (".git as tree", lambda t: [("40000", ".git", t.repo.mktree([entry(t, "config")]))]),
    ("gitlink", lambda t: [("160000", "sub", "1" * 40)]),
    ("empty name", lambda t: [entry(t, "")]),
    ("name of 300 bytes", lambda t: [entry(t, "n" * 300)]),
    ("its own .kv", lambda t: [("40000", ".kv", t.repo.mktree([entry(t, "evil")]))]),
    ("mode 0", lambda t: [entry(t, "zero", "0")]),
    ("mode of a device", lambda t: [entry(t, "dev", "20644")]),
]


@table(ROWS)
def hides(t, make):
    tree = t.repo.mktree(sorted(make(t) + [entry(t, "good", data=GOOD)], key=lambda e: e[1]))
    tip = t.repo.commit_tree(tree, t.repo.tip(t.ns), "hostile\n\nKV-Version: 2\n")
    t.repo.git("update-ref", "refs/kv/" + t.ns, tip)
    t.expect_log(".")
    eq(os.listdir(t.dir), ["good"])
    eq(read(t.path("good")), GOOD)
    for name in ("a", "sub", "zero", "dev", ".git", ".GIT", "git~1", "n" * 255, ".kv/evil"):
        ok(not os.path.lexists(t.path(name)), "%s is reachable" % name)
    os.listdir(t.dir), os.listdir(t.dir)
    lines = t.new_log()
    ok(len(lines) <= 1, "logged more than once: %s" % lines)
    ok(lines or ".kv" in str(make(t)), "not logged")


@case("a name twice: one is shown, both stay what they are for git")
def duplicate(t):
    tree = t.repo.mktree([entry(t, "k", data=b"one"), entry(t, "k", data=b"two"), entry(t, "z", data=GOOD)])
    t.repo.git("update-ref", "refs/kv/" + t.ns, t.repo.commit_tree(tree, t.repo.tip(t.ns), "dup\n\nKV-Version: 2\n"))
    t.expect_log(".")
    ok(sorted(os.listdir(t.dir)) in (["k", "z"], ["z"]), "listing %s" % os.listdir(t.dir))
    eq(read(t.path("z")), GOOD)


@case("a save beside hostile entries leaves a tree that git takes")
def save_beside(t):
    tree = t.repo.mktree([entry(t, ".git"), entry(t, "good", data=GOOD)])
    t.repo.git("update-ref", "refs/kv/" + t.ns, t.repo.commit_tree(tree, t.repo.tip(t.ns), "bad\n\nKV-Version: 2\n"))
    t.expect_log(".")
    save(t.path("good"), b"better\n")
    eq(t.repo.show(t.ns, "good"), b"better\n")
    eq(read(t.path("good")), b"better\n")


@case("a tree that is not sorted still finds its keys or says that it cannot")
def unsorted(t):
    names = ["m", "a", "z", "b"]
    tree = t.repo.mktree([entry(t, n, data=n.encode()) for n in names])
    t.repo.git("update-ref", "refs/kv/" + t.ns, t.repo.commit_tree(tree, t.repo.tip(t.ns), "unsorted\n\nKV-Version: 2\n"))
    t.expect_log(".")
    for n in sorted(os.listdir(t.dir)):
        eq(read(t.path(n)), n.encode())


def foreign_ref(t, name, oid):
    path = t.repo.path + "/refs/kv/" + name
    with open(path, "w") as f:
        f.write(oid + "\n")


BROKEN = [
    ("to a blob", lambda t: t.repo.hash(b"no commit")),
    ("to a tree", lambda t: EMPTY_TREE),
    ("to nothing", lambda t: "2" * 40),
    ("of garbage", lambda t: "garbage"),
    ("symbolic", lambda t: "ref: refs/kv/" + t.ns),
    ("to a tag", lambda t: t.repo.hash(b"object %s\ntype commit\ntag v\ntagger A <a@b> 1 +0000\n\nm\n" % t.repo.tip(t.ns).encode(), "tag")),
    ("to a commit without its tree", lambda t: t.repo.hash(b"tree " + b"3" * 40 + b"\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nm\n", "commit")),
]


@table(BROKEN)
def ref(t, make):
    """A broken ref is an error of its own namespace alone, and is left as it is."""
    name = t.ns + "broken"
    foreign_ref(t, name, make(t))
    before = open(t.repo.path + "/refs/kv/" + name).read()
    t.expect_log(".")
    try:
        fails((errno.EIO, errno.ENOENT, errno.EPERM), os.listdir, t.mount.dir + "/" + name)
        fails((errno.EIO, errno.ENOENT, errno.EPERM), save, t.mount.dir + "/" + name + "/k", b"x")
        os.listdir(t.mount.dir)
        t.put("k", b"others go on\n")
        eq(t.repo.show(t.ns, "k"), b"others go on\n")
        eq(open(t.repo.path + "/refs/kv/" + name).read(), before, "ref")
    finally:
        os.unlink(t.repo.path + "/refs/kv/" + name)


@case("a missing blob is EIO for its key alone")
def missing_blob(t):
    tree = t.repo.mktree([("100644", "gone", "4" * 40), entry(t, "good", data=GOOD)])
    t.repo.git("update-ref", "refs/kv/" + t.ns, t.repo.commit_tree(tree, t.repo.tip(t.ns), "bad\n\nKV-Version: 2\n"))
    t.expect_log(".")
    fails(errno.EIO, read, t.path("gone"))
    eq(read(t.path("good")), GOOD)


if __name__ == "__main__":
    repo = Repo(work() + "/repo.git")
    repo.hostile = True
    main(repo=repo)
