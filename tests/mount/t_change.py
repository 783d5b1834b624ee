#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""SPEC 5.3: every change is one commit; what rename(2) promises; SPEC 7: what git sees of it."""
import ctypes
import pwd
import re

from lib import *
from lib import EMPTY_TREE, libc

NOREPLACE, EXCHANGE = 1, 2


def renameat2(a, b, flags):
    if libc.renameat2(-100, os.fsencode(a), -100, os.fsencode(b), flags):
        raise OSError(ctypes.get_errno(), "renameat2", a)


# title            change, given a namespace with f, g (keys), x (executable), l (link), d/in (key), e (empty)     commits  words of the subject
CHANGES = [
    ("set", lambda p: save(p("f"), b"new\n"), 1, "set f"),
    ("create", lambda p: save(p("new"), b"new\n"), 1, "set new"),
    ("create deep", lambda p: save(p("d/new"), b"new\n"), 1, "set d/new"),
    ("unlink", lambda p: os.unlink(p("f")), 1, "delete f"),
    ("unlink deep", lambda p: os.unlink(p("d/in")), 1, "delete d/in"),
    ("unlink a link", lambda p: os.unlink(p("l")), 1, "delete l"),
    ("rename", lambda p: os.rename(p("f"), p("new")), 1, "rename f -> new"),
    ("rename over a key", lambda p: os.rename(p("f"), p("g")), 1, "rename f -> g"),
    ("rename into a directory", lambda p: os.rename(p("f"), p("e/f")), 1, "rename f -> e/f"),
    ("rename a directory", lambda p: os.rename(p("d"), p("d2")), 1, "rename d -> d2"),
    ("rename a directory onto an empty one", lambda p: os.rename(p("d"), p("e")), 1, "rename d -> e"),
    ("rename to itself", lambda p: os.rename(p("f"), p("f")), 0, ""),
    ("rename NOREPLACE", lambda p: renameat2(p("f"), p("new"), NOREPLACE), 1, "rename f -> new"),
    ("exchange", lambda p: renameat2(p("f"), p("g"), EXCHANGE), 1, "f g"),
    ("exchange key and directory", lambda p: renameat2(p("f"), p("d"), EXCHANGE), 1, "f d"),
    ("mkdir", lambda p: os.mkdir(p("new")), 1, "new"),
    ("rmdir", lambda p: os.rmdir(p("e")), 1, "e"),
    ("symlink", lambda p: os.symlink("f", p("new")), 1, "new"),
    ("chmod +x", lambda p: os.chmod(p("f"), 0o755), 1, "f"),
    ("chmod -x", lambda p: os.chmod(p("x"), 0o644), 1, "x"),
    ("chmod to the same", lambda p: os.chmod(p("x"), 0o755), 0, ""),
    ("chmod of a directory", lambda p: os.chmod(p("d"), 0o700), 0, ""),
    ("truncate to 0", lambda p: os.truncate(p("f"), 0), 1, "f"),
    ("truncate longer", lambda p: os.truncate(p("f"), 100), 1, "f"),
    ("truncate to its size", lambda p: os.truncate(p("f"), 2), 0, ""),
    ("utime", lambda p: os.utime(p("f"), (1, 1)), 0, ""),
    ("utime now", lambda p: os.utime(p("f")), 0, ""),
]


def populate(t):
    blob = t.repo.hash
    sub = t.repo.mktree([("100644", "in", blob(b"d\n"))])
    tree = t.repo.mktree([("40000", "d", sub), ("40000", "e", t.repo.mktree([])), ("100644", "f", blob(b"f\n")), ("100644", "g", blob(b"g\n")),
                          ("120000", "l", blob(b"f")), ("100755", "x", blob(b"x\n"))])
    old = t.repo.tip(t.ns)
    t.repo.git("update-ref", "refs/kv/" + t.ns, t.repo.commit_tree(tree, old, "populate\n\nKV-Version: 2\n"), old)


@table(CHANGES)
def change(t, do, n, words):
    populate(t)
    before = t.repo.tip(t.ns)
    with commits(t, n):
        do(t.path)
    subject = t.repo.subject(t.ns)
    for word in words.split() if n else ():
        ok(word in re.split(r"[ ,]+", subject), "the subject %r does not name %r" % (subject, word))
    if words.startswith(("set", "delete", "rename")):
        eq(subject, words, "subject")
    if n:
        eq(t.repo.git("rev-parse", "refs/kv/%s^" % t.ns), before, "parent")
        eq((t.repo.version(t.ns), get(t.dir, "version")), (3, "3"), "version")
        message = t.repo.message(t.ns)
        ok(re.search(r"\n\nKV-Version: 3\nKV-Client: \S+\[%d\] %d\n*$" % (os.getpid(), os.getuid()), message), "trailers: %r" % message)


EFFECTS = [
    ("rename over a key", "rename", "f", "g", {"g": b"f\n"}, ["f"]),
    ("rename a directory", "rename", "d", "new", {"new/in": b"d\n"}, ["d"]),
    ("rename a directory onto an empty one", "rename", "d", "e", {"e/in": b"d\n"}, ["d"]),
    ("rename a directory into another", "rename", "e", "d/e", {"d/in": b"d\n"}, ["e"]),
    ("rename a link", "rename", "l", "m", {"m": b"f\n"}, ["l"]),
    ("exchange two keys", "exchange", "f", "g", {"f": b"g\n", "g": b"f\n"}, []),
    ("exchange key and directory", "exchange", "f", "d", {"f/in": b"d\n", "d": b"f\n"}, []),
    ("noreplace", "noreplace", "f", "new", {"new": b"f\n"}, ["f"]),
]


@table(EFFECTS)
def effect(t, how, a, b, there, gone):
    populate(t)
    for name in ("f", "g", "d/in"):
        read(t.path(name))  # the kernel knows the names already
    {"rename": os.rename, "exchange": lambda a, b: renameat2(a, b, EXCHANGE), "noreplace": lambda a, b: renameat2(a, b, NOREPLACE)}[how](t.path(a), t.path(b))
    for name, data in there.items():
        eq(read(t.path(name)), data, name)
    for name in gone:
        ok(not os.path.lexists(t.path(name)), name + " is still there")
    eq(sorted(os.listdir(t.dir)), sorted(k for k in t.repo.entries(t.ns) if "/" not in k), "listing and tree")


ERRORS = [
    ("noreplace onto a key", errno.EEXIST, lambda p: renameat2(p("f"), p("g"), NOREPLACE)),
    ("exchange with nothing", errno.ENOENT, lambda p: renameat2(p("f"), p("new"), EXCHANGE)),
    ("a directory into itself", errno.EINVAL, lambda p: os.rename(p("d"), p("d/x"))),
    ("a key over a directory", errno.EISDIR, lambda p: os.rename(p("f"), p("e"))),
    ("a directory over a key", errno.ENOTDIR, lambda p: os.rename(p("d"), p("f"))),
    ("a directory over a full one", errno.ENOTEMPTY, lambda p: os.rename(p("e"), p("d"))),
    ("nothing renamed", errno.ENOENT, lambda p: os.rename(p("new"), p("f"))),
    ("into nothing", errno.ENOENT, lambda p: os.rename(p("f"), p("new/f"))),
    ("nothing unlinked", errno.ENOENT, lambda p: os.unlink(p("new"))),
    ("nothing removed", errno.ENOENT, lambda p: os.rmdir(p("new"))),
    ("a full directory removed", errno.ENOTEMPTY, lambda p: os.rmdir(p("d"))),
    ("symlink over a key", errno.EEXIST, lambda p: os.symlink("x", p("f"))),
    ("mkdir over a key", errno.EEXIST, lambda p: os.mkdir(p("f"))),
    ("O_EXCL over a key", errno.EEXIST, lambda p: os.open(p("f"), os.O_CREAT | os.O_EXCL | os.O_WRONLY)),
    ("open below a key", errno.ENOTDIR, lambda p: save(p("f/x"), b"")),
    ("truncate nothing", errno.ENOENT, lambda p: os.truncate(p("new"), 0)),
    ("truncate a directory", errno.EISDIR, lambda p: os.truncate(p("d"), 0)),
]


@table(ERRORS)
def error(t, want, do):
    populate(t)
    with commits(t, 0):
        fails(want, do, t.path)


@case("author and committer are the caller's user at this host")
def author(t):
    t.put("k")
    user = pwd.getpwuid(os.getuid()).pw_name
    who = t.repo.git("log", "-1", "--format=%an|%ae|%cn|%ce", "refs/kv/" + t.ns).split("|")
    ok(who[1].startswith(user + "@") and who[3].startswith(user + "@"), "mail: %s" % who)
    eq((who[0], who[1]), (who[2], who[3]), "committer")


@case("user.name and user.email of the repository win")
def configured(t):
    repo = Repo(work() + "/named.git")
    repo.git("config", "user.name", "Ada Example")
    repo.git("config", "user.email", "ada@example.org")
    with Mount(repo) as m:
        os.mkdir(m.dir + "/app")
        save(m.dir + "/app/k", b"v")
        eq(repo.git("log", "-1", "--format=%an <%ae> %cn <%ce>", "refs/kv/app"), "Ada Example <ada@example.org> Ada Example <ada@example.org>")


@case("odd names in the subject keep it one line")
def subjects(t):
    for name in ("new\nline", "KV-Version: 9", "a\n\nKV-Version: 99", "tab\there", "ü"):
        t.put(name)
        lines = t.repo.message(t.ns).split("\n")
        ok(lines[1] == "" and lines[2].startswith("KV-Version:"), "message %r" % lines)
        eq(get(t.dir, "version"), str(t.repo.count(t.ns)), "version")


@case("a foreign commit without a version counts as one more", ns=False)
def versions(t):
    repo = Repo(work() + "/foreign.git")
    with Mount(repo) as m:
        os.mkdir(m.dir + "/app")
        save(m.dir + "/app/k", b"1")
        ok(repo.foreign("app", {"k": b"2"}, trailer=False), "foreign commit")
        eq(get(m.dir + "/app", "version"), "3")
        save(m.dir + "/app/k", b"3")
        eq((get(m.dir + "/app", "version"), repo.version("app")), ("4", 4))


@case("refs outside refs/kv are never touched, HEAD neither")
def others(t):
    tip = t.repo.commit_tree(EMPTY_TREE, message="main")
    for ref in ("refs/heads/main", "refs/tags/kv", "refs/kvx/app", "refs/notes/kv"):
        t.repo.git("update-ref", ref, tip)
    t.put("k")
    os.rename(t.path("k"), t.path("l"))
    os.unlink(t.path("l"))
    names = t.repo.git("for-each-ref", "--format=%(refname) %(objectname)").splitlines()
    eq([n for n in names if not n.startswith(("refs/kv/", "refs/kv-archive/"))], [r + " " + tip for r in
       ("refs/heads/main", "refs/kvx/app", "refs/notes/kv", "refs/tags/kv")])
    eq(t.repo.git("symbolic-ref", "HEAD"), "refs/heads/main")


@case("git log -p reads well")
def log(t):
    t.put("config", b"a = 1\n")
    t.put("config", b"a = 2\n")
    text = t.repo.git("log", "-p", "-1", "--format=%s%n%(trailers:only)", "refs/kv/" + t.ns)
    ok(text.startswith("set config\nKV-Version: 3\n") and "-a = 1\n+a = 2" in text, text)
    ok("a = 2" in t.repo.git("blame", "refs/kv/" + t.ns, "--", "config"), "blame")


if __name__ == "__main__":
    main(log=["version|trailer"])
