#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""SPEC 4: committed values only, whole, and never older than the ref at the open."""
import mmap
import stat

from lib import *

BIG = b"".join(b"%07d\n" % i for i in range(40000))  # 320,000 bytes: many pages, several requests


@case("unsaved bytes are nobody else's: read, stat and a mapping show the committed value")
def unsaved(t):
    p = t.put("k", b"committed\n")
    w = Client()
    for flags in (os.O_WRONLY, os.O_RDWR | os.O_TRUNC, os.O_WRONLY | os.O_APPEND):
        fd = w.open(p, flags)
        w.write(fd, b"x" * 30000)
        eq(read(p), b"committed\n")
        eq(os.stat(p).st_size, 10)
        with open(p, "rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as m:
            eq(m[:], b"committed\n", "mapping")
        eq(w.fstat(fd).st_size, 30010 if flags & os.O_APPEND else 30000, "the writer's own view")
        w.ftruncate(fd, 0)
        w.write(fd, b"committed\n") if not flags & os.O_APPEND else None
        w.quit(9)
        w = Client()
    eq(t.repo.show(t.ns, "k"), b"committed\n")
    w.quit()


@case("a new key is not there before its first commit")
def unborn(t):
    w = Client()
    fd = w.open(t.path("k"), os.O_CREAT | os.O_WRONLY, 0o644)
    w.write(fd, b"half")
    ok("k" not in t.repo.keys(t.ns), "committed early")
    try:
        got = read(t.path("k"))
        raise AssertionError("another process reads %r" % got)
    except FileNotFoundError:
        pass
    w.write(fd, b" whole")
    with commits(t, 1):
        w.close(fd)
    eq(read(t.path("k")), b"half whole")
    w.quit()


def by_save(t, p, data):
    save(p, data)


def by_rename(t, p, data):
    save(p + ".other", data)
    os.rename(p + ".other", p)


def by_ref(t, p, data):
    ok(t.repo.foreign(t.ns, {os.path.relpath(p, t.dir): data}), "foreign commit")


def by_truncate(t, p, data):
    os.truncate(p, 0)


def by_unlink(t, p, data):
    os.unlink(p)


@table([("save", by_save), ("rename over it", by_rename), ("git update-ref", by_ref), ("truncate", by_truncate), ("unlink", by_unlink)])
def who_has_the_old_one_keeps_it(t, change):
    """...open or mapped, whole; no byte of it was read before the change."""
    p = t.put("k", BIG)
    ino = os.stat(p).st_ino
    fd, fresh = os.open(p, os.O_RDONLY), os.open(p, os.O_RDONLY)
    eq(os.pread(fd, 8, 0), BIG[:8])
    private = mmap.mmap(fd, 0, prot=mmap.PROT_READ, flags=mmap.MAP_PRIVATE)
    shared = mmap.mmap(fd, 0, prot=mmap.PROT_READ, flags=mmap.MAP_SHARED)
    change(t, p, b"small\n")
    eq(os.pread(fresh, len(BIG) + 1, 0), BIG, "a handle that had read nothing")
    eq(os.pread(fd, len(BIG) + 1, 0), BIG, "a handle")
    eq(private[:], BIG, "a private mapping")
    eq(shared[:], BIG, "a shared mapping")
    eq(os.fstat(fd).st_size, len(BIG), "fstat")
    if change not in (by_unlink,):
        eq(read(p), b"" if change is by_truncate else b"small\n", "the path")
        ok(os.stat(p).st_ino != ino, "a save makes a new inode")
    private.close(), shared.close(), os.close(fd), os.close(fresh)


@case("every open is as new as the ref: 100 foreign moves")
def foreign_fresh(t):
    p = t.put("k", b"0\n")
    for i in range(1, 101):
        data = b"%d\n" % i * (i % 7 + 1)
        ok(t.repo.foreign(t.ns, {"k": data}), "foreign commit")
        if i % 3 == 0:
            eq(get(t.dir, "tree"), t.repo.tree(t.ns), "tree")
        if i % 2:
            eq(os.stat(p).st_size, len(data), "stat")
        eq(read(p), data)


@case("two mounts of one repository show each other's saves at the next open")
def two_mounts(t):
    with Mount(t.repo) as other:
        a, b = t.path("k"), other.dir + "/" + t.ns + "/k"
        for i in range(60):
            here, there = (a, b) if i % 2 else (b, a)
            save(here, b"%d\n" % i)
            eq(read(there), b"%d\n" % i)
            eq(os.listdir(os.path.dirname(there)), ["k"])
            eq(get(there, "blob"), t.repo.blob(t.ns, "k"), "blob")
        os.unlink(a)
        fails(errno.ENOENT, read, b)
        os.mkdir(b)
        ok(stat.S_ISDIR(os.stat(a).st_mode), "directory")


@case("a name that changes its kind under foreign hands")
def kinds(t):
    p = t.put("k", b"file\n")
    blob = t.repo.hash(b"target")
    for mode, oid, check in [("40000", t.repo.mktree([("100644", "in", blob)]), stat.S_ISDIR), ("120000", blob, stat.S_ISLNK),
                             ("100755", blob, stat.S_ISREG), ("40000", t.repo.mktree([]), stat.S_ISDIR), ("100644", blob, stat.S_ISREG)]:
        old = t.repo.tip(t.ns)
        tip = t.repo.commit_tree(t.repo.mktree([(mode, "k", oid)]), old, "kind\n\nKV-Version: %d\n" % (t.repo.version(t.ns) + 1))
        t.repo.git("update-ref", "refs/kv/" + t.ns, tip, old)
        ok(check(os.lstat(p).st_mode), "mode %o after %s" % (os.lstat(p).st_mode, mode))
    t.repo.foreign(t.ns, {"k": None, "other": b"x"})
    fails(errno.ENOENT, os.stat, p)
    eq(os.listdir(t.dir), ["other"])
    os.stat(t.path("other"))


@case("a namespace that appears, moves and goes under foreign hands")
def foreign_ns(t):
    t.put("k", b"v")
    tip = t.repo.tip(t.ns)
    new = t.ns + "new"
    fails(errno.ENOENT, os.stat, t.mount.dir + "/" + new)
    t.repo.git("update-ref", "refs/kv/" + new, tip)
    eq(read(t.mount.dir + "/" + new + "/k"), b"v")
    ok(new in os.listdir(t.mount.dir), "listed")
    t.repo.git("update-ref", "-d", "refs/kv/" + new)
    fails(errno.ENOENT, read, t.mount.dir + "/" + new + "/k")
    ok(new not in os.listdir(t.mount.dir), "still listed")
    t.repo.git("pack-refs", "--all", "--prune")
    eq(read(t.path("k")), b"v", "after pack-refs")
    t.put("k", b"w")
    eq(t.repo.show(t.ns, "k"), b"w")


@case("git push into the repository shows at the next open")
def push(t):
    p = t.put("k", b"1\n")
    clone = Repo(work() + "/clone-" + t.ns)
    spec = "refs/kv/%s:refs/kv/%s" % (t.ns, t.ns)
    clone.git("fetch", "-q", t.repo.path, "+" + spec)
    for i in range(2, 8):
        ok(clone.foreign(t.ns, {"k": b"%d\n" % i}), "commit in the clone")
        clone.git("push", "-q", t.repo.path, spec)
        eq(read(p), b"%d\n" % i)
        eq(get(p, "version"), str(clone.version(t.ns)))


@case("git gc, repack -ad and prune in the middle change nothing that is seen")
def gc(t):
    want = {}
    for i in range(40):
        want["k%d" % (i % 10)] = b"%d\n" % i * 100
        save(t.path("k%d" % (i % 10)), want["k%d" % (i % 10)])
        if i % 13 == 12:
            t.repo.git(*(["gc", "-q", "--force", "--prune=now"] if i % 2 else ["repack", "-adq"]))
    eq({k: read(t.path(k)) for k in os.listdir(t.dir)}, want)
    t.put("after", b"gc")
    eq(t.repo.show(t.ns, "after"), b"gc")


@case("a large value reads whole at any offset")
def large(t):
    data = os.urandom(1 << 20) * 9 + b"tail"
    p = t.put("k", data)
    eq(read(p), data)
    fd = os.open(p, os.O_RDONLY)
    for off in (0, 1, 4095, 4096, 131071, 131072, len(data) - 5, len(data) - 1, len(data), len(data) + 9):
        eq(os.pread(fd, 70000, off), data[off:off + 70000], "pread at %d" % off)
    eq(os.lseek(fd, 0, os.SEEK_END), len(data))
    os.close(fd)
    eq(t.repo.show(t.ns, "k"), data)


if __name__ == "__main__":
    main()
