#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""SPEC 5.1, last line: flock and fcntl locks are held per key, so that they exclude across saves."""
import fcntl
import struct

from lib import *

SH, EX, UN, NB = fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_UN, fcntl.LOCK_NB


def flock(fd, op):
    fcntl.flock(fd, op)


def lockf(fd, op, length=0, start=0):
    fcntl.lockf(fd, op, length, start)


def ofd(fd, op):
    kind = {SH: fcntl.F_RDLCK, EX: fcntl.F_WRLCK, UN: fcntl.F_UNLCK}[op & ~NB]
    fcntl.fcntl(fd, 37 if op & NB else 38, struct.pack("hhqqi4x", kind, 0, 0, 0, 0))  # F_OFD_SETLK, F_OFD_SETLKW


OPS.update(flock=flock, lockf=lockf, ofd=ofd)
KINDS = [("flock", "flock"), ("fcntl", "lockf"), ("OFD", "ofd")]
BUSY = (errno.EAGAIN, errno.EACCES)


def two(t):
    t.put("k")
    return Client(), Client()


@table(KINDS)
def excludes(t, lock):
    a, b = two(t)
    fa, fb = a.open(t.path("k"), os.O_RDWR), b.open(t.path("k"), os.O_RDWR)
    getattr(a, lock)(fa, EX | NB)
    fails(BUSY, getattr(b, lock), fb, EX | NB)
    fails(BUSY, getattr(b, lock), fb, SH | NB)
    getattr(a, lock)(fa, UN)
    getattr(b, lock)(fb, SH | NB)
    getattr(a, lock)(fa, SH | NB)
    fails(BUSY, getattr(a, lock), fa, EX | NB)
    a.quit(), b.quit()


@table(KINDS)
def excludes_across_a_save(t, lock):
    """The key has another inode by now; the lock is the key's."""
    a, b = two(t)
    fa = a.open(t.path("k"), os.O_RDWR)
    getattr(a, lock)(fa, EX | NB)
    save(t.path("k"), b"saved meanwhile\n")
    fb = b.open(t.path("k"), os.O_RDWR)
    fails(BUSY, getattr(b, lock), fb, EX | NB)
    a.close(fa)
    getattr(b, lock)(fb, EX | NB)
    a.quit(), b.quit()


@table(KINDS)
def waits_and_gets_it(t, lock):
    a, b = two(t)
    fa, fb = a.open(t.path("k"), os.O_RDWR), b.open(t.path("k"), os.O_RDWR)
    getattr(a, lock)(fa, EX | NB)
    b.begin(lock, fb, EX)
    queued(t.mount, b)
    save(t.path("k"), b"the mount answers others\n")
    getattr(a, lock)(fa, UN)
    b.end()
    fails(BUSY, getattr(a, lock), fa, EX | NB)
    a.quit(), b.quit()


@table([("%s, %s" % (k, s), k, s) for k in ("flock", "lockf", "ofd") for s in (0, 9)])
def is_released_by_the_holder_s_end(t, lock, sig):
    a, b = two(t)
    fa, fb = a.open(t.path("k"), os.O_RDWR), b.open(t.path("k"), os.O_RDWR)
    getattr(a, lock)(fa, EX | NB)
    b.begin(lock, fb, EX)
    queued(t.mount, b)
    a.quit(sig or None)
    b.end()
    b.quit()


@table(KINDS)
def a_waiter_that_is_killed_gives_up_its_place(t, lock):
    a, b = two(t)
    fa, fb = a.open(t.path("k"), os.O_RDWR), b.open(t.path("k"), os.O_RDWR)
    getattr(a, lock)(fa, EX | NB)
    b.begin(lock, fb, EX)
    queued(t.mount, b)
    b.quit(9)
    getattr(a, lock)(fa, UN)
    c = Client()
    getattr(c, lock)(c.open(t.path("k"), os.O_RDWR), EX | NB)
    a.quit(), c.quit()


@case("fcntl: ranges, and F_GETLK names the holder")
def ranges(t):
    a, b = two(t)
    fa, fb = a.open(t.path("k"), os.O_RDWR), b.open(t.path("k"), os.O_RDWR)
    a.lockf(fa, EX | NB, 10, 0)
    b.lockf(fb, EX | NB, 10, 10)
    fails(BUSY, b.lockf, fb, EX | NB, 1, 9)
    fails(BUSY, a.lockf, fa, EX | NB, 0, 10)
    with open(t.path("k"), "rb+") as f:
        got = struct.unpack("hhqqi4x", fcntl.fcntl(f, fcntl.F_GETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 10, 0)))
    eq((got[0], got[4]), (fcntl.F_WRLCK, a.pid), "type and pid")
    a.quit(), b.quit()


@case("fcntl: a circle of waiters is EDEADLK")
def deadlock(t):
    a, b = two(t)
    fa, fb = a.open(t.path("k"), os.O_RDWR), b.open(t.path("k"), os.O_RDWR)
    a.lockf(fa, EX, 1, 0)
    b.lockf(fb, EX, 1, 1)
    a.begin("lockf", fa, EX, 1, 1)
    queued(t.mount, a)
    fails(errno.EDEADLK, b.lockf, fb, EX, 1, 0)
    b.lockf(fb, UN, 1, 1)
    a.end()
    a.quit(), b.quit()


@case("a counter under flock: 4 processes x 25, read and written by separate opens, none lost")
def counter(t):
    t.put("k", b"0")
    t.put("lock", b"")
    clients = [Client() for _ in range(4)]
    for c in clients:
        c.begin("count_up", t.path("k"), t.path("lock"), 25)
    for c in clients:
        c.end()
    eq(read(t.path("k")), b"100")
    for c in clients:
        c.quit()


def count_up(key, lock, n):
    for _ in range(n):
        fd = os.open(lock, os.O_RDWR)
        fcntl.flock(fd, EX)
        save(key, b"%d" % (int(read(key)) + 1))
        os.close(fd)


OPS["count_up"] = count_up

if __name__ == "__main__":
    main()
