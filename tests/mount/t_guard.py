#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""SPEC 5.2: no lost bytes without a guard either.  How the handle was opened, what became of the key since, what its commit does."""
from lib import *

RW, W, TRUNC, CREAT, EXCL, APPEND = os.O_RDWR, os.O_WRONLY, os.O_TRUNC, os.O_CREAT, os.O_EXCL, os.O_APPEND
OLD, MINE, THEIRS = b"old value\n", b"mine\n", b"theirs\n"
LANDS, REFUSED = "lands", "refused"


def with_write(fd):
    os.write(fd, MINE)


def truncate_then_write(fd):
    os.ftruncate(fd, 0)
    os.write(fd, MINE)


def read_then_truncate(fd):
    os.read(fd, 100)
    os.ftruncate(fd, 0)
    os.pwrite(fd, MINE, 0)


def append_and_cut(fd):
    os.write(fd, MINE)
    os.ftruncate(fd, 3)


# how it is opened           flags             body                verdict   the key then holds (None: as below)
HANDLES = [
    ("O_TRUNC", W | TRUNC, with_write, LANDS, MINE),
    ("O_TRUNC, O_RDWR", RW | TRUNC, with_write, LANDS, MINE),
    ("O_TRUNC, O_APPEND", W | TRUNC | APPEND, with_write, LANDS, MINE),
    ("O_CREAT and O_TRUNC", W | CREAT | TRUNC, with_write, LANDS, MINE),
    ("truncated to 0 before any read", W, truncate_then_write, LANDS, MINE),
    ("truncated to 0 before any read, O_RDWR", RW, truncate_then_write, LANDS, MINE),
    ("truncated after a read", RW, read_then_truncate, REFUSED, None),
    ("O_APPEND, only appended to", W | APPEND, with_write, LANDS, THEIRS + MINE),
    ("O_APPEND and O_RDWR", RW | APPEND, with_write, LANDS, THEIRS + MINE),
    ("O_APPEND, cut as well", W | APPEND, append_and_cut, REFUSED, None),
    ("O_WRONLY", W, with_write, REFUSED, None),
    ("O_RDWR", RW, with_write, REFUSED, None),
    ("O_CREAT without O_TRUNC", W | CREAT, with_write, REFUSED, None),
]


def change_here(t):
    save(t.path("k"), THEIRS)


def change_foreign(t):
    ok(t.repo.foreign(t.ns, {"k": THEIRS}), "foreign commit")


def change_by_rename(t):
    save(t.path("other"), THEIRS)
    os.rename(t.path("other"), t.path("k"))


CHANGES = [("saved here", change_here), ("git update-ref", change_foreign), ("renamed over", change_by_rename)]


@table([("%s / %s" % (h[0], c[0]), *h[1:], c[1]) for h in HANDLES for c in CHANGES])
def key_changed(t, flags, body, verdict, want, change):
    p = t.put("k", OLD)
    fd = os.open(p, flags, 0o644)
    body(fd)
    change(t)
    with commits(t, 1 if verdict == LANDS else 0):
        if verdict == LANDS:
            os.close(fd)
        else:
            fails(errno.EAGAIN, os.close, fd)
    want = THEIRS if want is None else want
    eq((read(p), t.repo.show(t.ns, "k")), (want, want))


@table([(h[0], *h[1:]) for h in HANDLES])
def key_changed_before_the_first_write(t, flags, body, verdict, want):
    """A handle that can no longer land says so at write already, with EBUSY; what it says at close is EAGAIN all the same."""
    p = t.put("k", OLD)
    fd = os.open(p, flags, 0o644)
    change_here(t)
    if verdict == LANDS:
        body(fd)
        with commits(t, 1):
            os.close(fd)
    else:
        with commits(t, 0):
            if body is append_and_cut:
                body(fd)  # its write could still land; it is the cut that makes it another value
            else:
                fails((errno.EBUSY, errno.EAGAIN) if "truncate" in body.__name__ else errno.EBUSY, body, fd)
            fails(errno.EAGAIN, os.close, fd)
    eq(read(p), THEIRS if want is None else want)


@table([(h[0], *h[1:]) for h in HANDLES if h[3] == REFUSED])
def fsync_refuses_too(t, flags, body, verdict, want):
    p = t.put("k", OLD)
    fd = os.open(p, flags, 0o644)
    body(fd)
    change_here(t)
    with commits(t, 0):
        fails(errno.EAGAIN, os.fsync, fd)
        fails(errno.EAGAIN, os.close, fd)
    eq(read(p), THEIRS)


@table([(h[0], *h[1:]) for h in HANDLES])
def another_key_changed(t, flags, body, verdict, want):
    p = t.put("k", OLD)
    t.put("other")
    fd = os.open(p, flags, 0o644)
    body(fd)
    t.put("other", b"changed\n")
    t.repo.foreign(t.ns, {"third": b"3"})
    with commits(t, 1):
        os.close(fd)
    alone = t.put("alone", OLD)
    fd = os.open(alone, flags, 0o644)
    body(fd)
    os.close(fd)
    eq(read(p), read(alone), "the same as without the others")


@table([(h[0], *h[1:]) for h in HANDLES])
def nothing_written(t, flags, body, verdict, want):
    """A handle without a change has nothing to refuse."""
    p = t.put("k", OLD)
    fd = os.open(p, flags & ~TRUNC, 0o644)
    change_here(t)
    with commits(t, 0):
        os.close(fd)
    eq(read(p), THEIRS)


@case("O_CREAT|O_EXCL: within the mount the second creator gets EEXIST at open")
def excl(t):
    fd = os.open(t.path("k"), W | CREAT | EXCL, 0o644)
    fails(errno.EEXIST, os.open, t.path("k"), W | CREAT | EXCL, 0o644)
    os.write(fd, MINE)
    fails(errno.EEXIST, os.open, t.path("k"), W | CREAT | EXCL, 0o644)
    with commits(t, 1):
        os.close(fd)
    fails(errno.EEXIST, os.open, t.path("k"), W | CREAT | EXCL, 0o644)
    eq(read(t.path("k")), MINE)


@case("O_CREAT|O_EXCL: the key came by a foreign writer: EAGAIN at close")
def excl_foreign(t):
    fd = os.open(t.path("k"), W | CREAT | EXCL, 0o644)
    os.write(fd, MINE)
    change_foreign(t)
    with commits(t, 0):
        fails(errno.EAGAIN, os.close, fd)
    eq(read(t.path("k")), THEIRS)


@case("O_CREAT|O_EXCL on two mounts at once: one wins, the other's close is EAGAIN")
def excl_two(t):
    with Mount(t.repo) as other:
        a = os.open(t.path("k"), W | CREAT | EXCL, 0o644)
        b = os.open(other.dir + "/" + t.ns + "/k", W | CREAT | EXCL, 0o644)
        os.write(a, MINE), os.write(b, THEIRS)
        with commits(t, 1):
            os.close(b)
            fails(errno.EAGAIN, os.close, a)
        eq(read(t.path("k")), THEIRS)


@case("a creator whose open failed leaves the name free when it is given up")
def excl_released(t):
    c = Client()
    c.open(t.path("k"), W | CREAT | EXCL, 0o644)
    fails(errno.EEXIST, os.open, t.path("k"), W | CREAT | EXCL, 0o644)
    c.quit(9)
    save(t.path("k"), MINE, W | CREAT | EXCL)
    eq((read(t.path("k")), t.repo.count(t.ns)), (MINE, 2))


@case("after its own fsync a handle is guarded by what it committed")
def after_fsync(t):
    p = t.put("k", OLD)
    fd = os.open(p, RW)
    os.write(fd, b"one\n")
    os.fsync(fd)
    os.write(fd, b"two\n")
    os.fsync(fd)
    os.write(fd, b"three\n")
    change_here(t)
    with commits(t, 0):
        fails(errno.EAGAIN, os.close, fd)
    eq(read(p), THEIRS)


@case("eight processes append 40 lines each by >>: none lost, none torn")
def appends(t):
    t.put("log", b"first\n")
    clients = [Client() for _ in range(8)]
    for i in range(40):
        for n, c in enumerate(clients):
            c.begin("save", t.path("log"), b"%d:%d\n" % (n, i), W | APPEND)
        for c in clients:
            c.end()
    lines = read(t.path("log")).split(b"\n")
    eq(sorted(lines), sorted([b"first", b""] + [b"%d:%d" % (n, i) for n in range(8) for i in range(40)]))
    for n in range(8):
        mine = [line for line in lines if line.startswith(b"%d:" % n)]
        eq(mine, sorted(mine, key=lambda line: int(line[2:])), "order of one writer")
    eq(t.repo.count(t.ns), 2 + 320, "one commit each")
    for c in clients:
        c.quit()


if __name__ == "__main__":
    main(log=["conflict|refused|changed|rejected"])
