#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A thread that saves the same key again and again is shown an inode of its own before it opens (fs/redirect.c): nobody may notice."""
from lib import *

W, TRUNC, APPEND = os.O_WRONLY, os.O_TRUNC, os.O_APPEND
HABIT = 3  # saves after which it has become one


def again(t, key="k"):
    """The key, saved so often that the next open for writing is expected."""
    p = t.put(key, b"0\n")
    for i in range(HABIT):
        save(p, b"%d\n" % (i + 1), W | TRUNC)
    return p


@case("one open is one request then, not two with a walk between")
def _(t):
    with Mount(t.repo, args=("-d",)) as m:
        os.mkdir(m.dir + "/debug")
        p = m.dir + "/debug/k"
        save(p, b"0\n")
        for i in range(20):
            save(p, b"%d\n" % i, W | TRUNC)
        words = "\n".join(m.log())
        opens, flushes = words.count("opcode: OPEN (14)"), words.count("opcode: FLUSH (25)")
        ok(flushes >= 20, "%d saves were seen" % flushes)
        ok(opens <= 20 + HABIT, "%d opens for 20 saves" % opens)


@case("each save is one commit, and others read whole values meanwhile")
def _(t):
    p, other = again(t), Client()
    for i in range(5):
        with commits(t, 1):
            fd = os.open(p, W | TRUNC)
            os.write(fd, b"half")
            eq(other.read_all(p), b"%d\n" % (HABIT if i == 0 else 99 + i), "what others read while it is written")
            os.write(fd, b" and half\n")
            os.close(fd)
            eq(other.read_all(p), b"half and half\n", "after the close")
            eq(t.repo.show(t.ns, "k"), b"half and half\n")
        save(p, b"%d\n" % (100 + i), W | TRUNC)
    other.quit()


@case("it is told the same number, size and time as others are, and by its handle too")
def _(t):
    p, other = again(t), Client()
    for _i in range(3):
        mine, theirs = os.stat(p), other.stat(p)
        for field in ("st_ino", "st_size", "st_mtime_ns", "st_mode", "st_nlink"):
            eq(getattr(mine, field), getattr(theirs, field), field)
        fd = os.open(p, W)
        eq(os.fstat(fd).st_ino, mine.st_ino, "fstat of the handle")
        os.write(fd, b"x")
        os.close(fd)
        ok(other.stat(p).st_ino != theirs.st_ino, "a new value has the old one's number")
        save(p, b"%d\n" % _i, W | TRUNC)
    other.quit()


@case("it reads what others saved since")
def _(t):
    p, other = again(t), Client()
    for i in range(4):
        eq(other.save(p, b"theirs %d\n" % i), None)
        eq(read(p), b"theirs %d\n" % i)
        eq(os.stat(p).st_size, 9)
        for n in range(HABIT):  # reading ended it
            save(p, b"mine %d\n" % n, W | TRUNC)
    other.quit()


#    title, what happens between its stat and its open
BETWEEN = [
    ("another saves", lambda t, other, p: other.save(p, b"theirs\n"), b"theirs\n+"),
    ("another saves the same and takes it back", lambda t, other, p: (other.save(p, b"theirs\n"), other.save(p, b"%d\n" % HABIT)), b"%d\n+" % HABIT),
    ("git moves the ref", lambda t, other, p: t.repo.foreign(t.ns, {"k": b"git's\n"}), b"git's\n+"),
    ("another renames it and makes a new one", lambda t, other, p: (other.rename(p, p + "2"), other.save(p, b"new\n")), b"new\n+"),
]


@table(BETWEEN)
def appends_to_what_is_there(t, between, want):
    p, other = again(t), Client()
    os.access(p, os.W_OK)  # a walk, and nothing else
    between(t, other, p)
    save(p, b"+", W | APPEND)
    eq(read(p), want)
    eq(t.repo.show(t.ns, "k"), want)
    other.quit()


@case("the key is removed or renamed between its walk and its open")
def _(t):
    other = Client()
    for away in (other.unlink, lambda p: other.rename(p, p + "-away")):
        p = again(t)
        os.access(p, os.W_OK)
        away(p)
        fails(errno.ENOENT, os.open, p, W)
        fails(errno.ENOENT, os.stat, p)
        save(p, b"back\n")
        eq(read(p), b"back\n")
        os.unlink(p)
    other.quit()


@case("a stale expectation is told at the open, and a good one moves on")
def _(t):
    p = again(t)
    arm(p, "blob", get(p, "blob"))
    t.repo.foreign(t.ns, {"k": b"theirs\n"})
    with commits(t, 0):
        fails((errno.EAGAIN, errno.EBUSY), os.open, p, W | TRUNC)
    eq(get(p, "status").splitlines()[0], "result=conflict")
    arm(p, "blob", get(p, "blob"))
    for i in range(HABIT):
        with commits(t, 1):
            save(p, b"guarded %d\n" % i, W | TRUNC)


@case("two that both have the habit: the one that changed in place what it had not seen is refused, none is lost")
def _(t):
    p, other = again(t), Client()
    for i in range(HABIT + 2):
        eq(other.save(p, b"%d\n" % (10 + i), W | TRUNC), None)
    for i in range(4):
        mine, theirs = os.open(p, W), other.open(p, W)
        os.pwrite(mine, b"m", 0)
        other.pwrite(theirs, b"t", 0)
        with commits(t, 1):
            os.close(mine)
            fails((errno.EAGAIN, errno.EBUSY), other.close, theirs)
        eq(t.repo.show(t.ns, "k")[:1], b"m")  # a reading would end the habit
        save(p, b"%d\n" % (50 + i), W | TRUNC)
    other.quit()


@case("a descriptor of O_PATH reads through /proc what the key had, while the thread writes")
def _(t):
    p = again(t)
    at = os.open(p, os.O_PATH)
    fd = os.open(p, W | TRUNC)
    os.write(fd, b"unsaved")
    eq(read("/proc/self/fd/%d" % at), b"%d\n" % HABIT)
    os.close(fd)
    os.close(at)
    eq(read(p), b"unsaved")


main()
