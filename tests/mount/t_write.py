#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""SPEC 5.1: one save, one commit, made by the last close; fsync; whose death commits nothing."""
import array
import mmap
import signal
import socket

from lib import *

RW, W, TRUNC, CREAT, APPEND = os.O_RDWR, os.O_WRONLY, os.O_TRUNC, os.O_CREAT, os.O_APPEND


def call(fd, name, *args):
    return getattr(os, name)(fd, *args)


#    title                                 flags               calls                                                          bytes after     commits
SAVES = [
    ("truncate and write", W | TRUNC, [("write", b"new\n")], b"new\n", 1),
    ("many writes", W | TRUNC, [("write", b"%d\n" % i) for i in range(500)], b"".join(b"%d\n" % i for i in range(500)), 1),
    ("overwrite the start", W, [("write", b"NEW")], b"NEW value\n", 1),
    ("append", W | APPEND, [("write", b"more\n")], b"old value\nmore\n", 1),
    ("pwrite beyond the end", W, [("pwrite", b"x", 20)], b"old value\n" + b"\0" * 10 + b"x", 1),
    ("ftruncate shorter", W, [("ftruncate", 3)], b"old", 1),
    ("ftruncate longer", W, [("ftruncate", 12)], b"old value\n\0\0", 1),
    ("truncate, write nothing", W | TRUNC, [], b"", 1),
    ("open and close", W, [], b"old value\n", 0),
    ("open RDWR, read, close", RW, [("read", 100)], b"old value\n", 0),
    ("the same bytes", W | TRUNC, [("write", b"old value\n")], b"old value\n", 0),
    ("the same bytes in place", RW, [("pwrite", b"old", 0)], b"old value\n", 0),
    ("read, then write behind", RW, [("read", 3), ("write", b"-NEW")], b"old-NEWue\n", 1),
    ("O_RDONLY|O_TRUNC empties", os.O_RDONLY | TRUNC, [], b"", 1),
    ("O_APPEND|O_TRUNC replaces", W | APPEND | TRUNC, [("write", b"a"), ("write", b"b")], b"ab", 1),
    ("seek to the end and write", W, [("lseek", 0, os.SEEK_END), ("write", b"end")], b"old value\nend", 1),
    ("posix_fallocate, then write", W | TRUNC, [("posix_fallocate", 0, 8), ("write", b"1234")], b"1234\0\0\0\0", 1),
    ("O_SYNC", W | TRUNC | os.O_SYNC, [("write", b"sync")], b"sync", 1),
    ("writev", W | TRUNC, [("writev", [b"a", b"bb", b"ccc"])], b"abbccc", 1),
    ("one large write", W | TRUNC, [("write", b"0123456789abcdef" * 20000)], b"0123456789abcdef" * 20000, 1),
]


@table(SAVES)
def save_by(t, flags, calls, want, n):
    p = t.put("k", b"old value\n")
    ino = os.stat(p).st_ino
    with commits(t, n):
        fd = os.open(p, flags)
        for name, *args in calls:
            call(fd, name, *args)
        os.close(fd)
        eq(t.repo.show(t.ns, "k"), want, "in git, right after close")
    eq(read(p), want, "at the path")
    eq(os.stat(p).st_ino != ino, bool(n), "a new inode")


CREATES = [("nothing written", [], b""), ("one write", [("write", b"v\n")], b"v\n"), ("sparse", [("pwrite", b"x", 5000)], b"\0" * 5000 + b"x"),
           ("fsync before close", [("write", b"v\n"), ("fsync",)], b"v\n"), ("ftruncate", [("ftruncate", 3)], b"\0\0\0")]


@table(CREATES)
def create(t, calls, want):
    with commits(t, 1):
        fd = os.open(t.path("k"), W | CREAT, 0o644)
        for name, *args in calls:
            call(fd, name, *args)
        os.close(fd)
    eq((t.repo.show(t.ns, "k"), read(t.path("k"))), (want, want))


@case("the handle sees its own bytes: fstat, SEEK_END, read, fsync")
def own_view(t):
    p = t.put("k", b"committed\n")
    fd = os.open(p, RW)
    os.pwrite(fd, b"12345", 20)
    eq(os.fstat(fd).st_size, 25)
    eq(os.lseek(fd, 0, os.SEEK_END), 25)
    eq(os.pread(fd, 100, 0), b"committed\n" + b"\0" * 10 + b"12345")
    os.ftruncate(fd, 4)
    eq((os.fstat(fd).st_size, os.pread(fd, 9, 0)), (4, b"comm"))
    os.close(fd)
    eq(read(p), b"comm")


@case("fsync commits at once; the handle goes on from there")
def fsync(t):
    p = t.put("k", b"old\n")
    fd = os.open(p, W | TRUNC)
    os.write(fd, b"one\n")
    with commits(t, 1):
        os.fsync(fd)
        eq((t.repo.show(t.ns, "k"), read(p)), (b"one\n", b"one\n"))
    with commits(t, 0):
        os.fsync(fd)
        os.fdatasync(fd)
    os.write(fd, b"two\n")
    with commits(t, 1):
        os.fdatasync(fd)
    os.write(fd, b"three\n")
    with commits(t, 1):
        os.close(fd)
    eq(read(p), b"one\ntwo\nthree\n")


@case("fstat of a write handle tells the number that stat told: vim saves in place only then")
def same_number(t):
    p = t.put("k", b"old\n")
    before = os.stat(p)
    for flags in (W, RW, W | TRUNC, W | CREAT, W | APPEND):
        fd = os.open(p, flags)
        eq((os.fstat(fd).st_dev, os.fstat(fd).st_ino), (before.st_dev, before.st_ino), "flags %o" % flags)
        c = Client()
        c.quit(9)
        os.ftruncate(fd, 4)
        os.pwrite(fd, b"old\n", 0) if not flags & APPEND else None
        with commits(t, 0):
            os.close(fd)


@case("handles of one key whose numbers were asked for: each close commits at once all the same")
def asked_for_numbers(t):
    p = t.put("k")
    clients = []
    for i in range(3):
        c = Client()
        fds = [c.open(p, W | TRUNC) for _ in range(2)]
        for fd in fds:
            c.fstat(fd)
        clients.append((c, fds))
    for n in (0, 1):
        for i, (c, fds) in enumerate(clients):
            c.write(fds[n], b"%d-%d" % (i, n))
            with commits(t, 1):
                c.close(fds[n])
                eq(t.repo.show(t.ns, "k"), b"%d-%d" % (i, n), "right after close")
    for c, _ in clients:
        c.quit()


@case("only the last close of all duplicates commits")
def dups(t):
    p = t.put("k")
    fd = os.open(p, W | TRUNC)
    copies = [os.dup(fd) for _ in range(4)]
    with commits(t, 0):
        for c in copies[:3]:
            os.write(c, b"%d" % copies.index(c))
            os.close(c)
        os.close(fd)
        eq(read(p), b"old\n")
    with commits(t, 1):
        os.write(copies[3], b"last")
        os.close(copies[3])
        eq(t.repo.show(t.ns, "k"), b"012last")


@case("children that share the handle: their exits commit nothing, the last close everything")
def forks(t):
    p = t.put("k")
    fd = os.open(p, W | TRUNC)
    with commits(t, 0):
        for i in range(3):
            pid = os.fork()
            if pid == 0:
                os.write(fd, b"child %d\n" % i)
                os._exit(0)
            os.waitpid(pid, 0)
    with commits(t, 1):
        os.close(fd)
        eq(t.repo.show(t.ns, "k"), b"child 0\nchild 1\nchild 2\n")


@case("a child that outlives its parent's close makes the commit when it ends")
def orphan(t):
    p = t.put("k")
    c = Client()
    r, w = os.pipe()
    fd = os.open(p, W | TRUNC)
    pid = os.fork()
    if pid == 0:
        os.close(w)
        os.read(r, 1)
        os.write(fd, b"from the child\n")
        os._exit(0)
    with commits(t, 0):
        os.write(fd, b"parent\n")
        os.close(fd)
    with commits(t, 1):
        os.close(w)
        os.waitpid(pid, 0)
    os.close(r)
    eq(read(p), b"parent\nfrom the child\n")
    c.quit()


@case("exit without close commits; exec with close-on-exec commits")
def exits(t):
    for name, end in [("exit", lambda: os._exit(3)), ("exec", lambda: os.execvp("true", ["true"]))]:
        p = t.put(name)
        with commits(t, 1):
            pid = os.fork()
            if pid == 0:
                os.write(os.open(p, W | TRUNC), b"by " + name.encode())
                end()
            os.waitpid(pid, 0)
        eq(read(p), b"by " + name.encode())


@case("a descriptor sent over a socket: the commit comes when the kernel lets go")
def scm_rights(t):
    p = t.put("k")
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    fd = os.open(p, W | TRUNC)
    os.write(fd, b"sent")
    a.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
    os.close(fd)
    a.close()
    b.close()  # the descriptor dies in flight
    until(lambda: t.repo.show(t.ns, "k") == b"sent", "the commit at release")
    eq((read(p), t.repo.count(t.ns)), (b"sent", 3))


SIGNALS = ["SIGKILL", "SIGTERM", "SIGINT", "SIGSEGV", "SIGPIPE", "SIGABRT", "SIGHUP"]


@table([(s, s) for s in SIGNALS])
def killed_writer_commits_nothing(t, name):
    p = t.put("k")
    c = Client()
    c.signal_default(name)
    fd = c.open(p, W | TRUNC)
    c.write(fd, b"half")
    new = c.open(t.path("new"), W | CREAT, 0o644)
    c.write(new, b"half")
    with commits(t, 0):
        status = c.quit(getattr(signal, name))
        ok(os.WIFSIGNALED(status), "the client died by the signal")
    eq((read(p), os.listdir(t.dir)), (b"old\n", ["k"]))
    t.put("k", b"next\n")


@case("a killed child that wrote on the handle poisons it: the parent's close fails")
def killed_child(t):
    p = t.put("k")
    fd = os.open(p, W | TRUNC)
    c = Client()
    c.write(fd, b"half")
    c.quit(9)
    with commits(t, 0):
        try:
            os.write(fd, b"and half")
        except OSError:
            pass
        fails((errno.EIO, errno.EBUSY, errno.EAGAIN, errno.EINTR, errno.ECANCELED), os.close, fd)
    eq(read(p), b"old\n")


@case("a killed child that never wrote is a bystander")
def bystander(t):
    p = t.put("k")
    fd = os.open(p, W | TRUNC)
    os.write(fd, b"by the parent\n")
    c = Client()
    c.quit(9)
    with commits(t, 1):
        os.close(fd)
    eq(read(p), b"by the parent\n")


@case("an unlinked new file is private: written, read, gone, never committed")
def unlinked(t):
    with commits(t, 0):
        fd = os.open(t.path("tmp"), RW | CREAT | os.O_EXCL, 0o600)
        os.unlink(t.path("tmp"))
        os.write(fd, b"scratch")
        eq(os.pread(fd, 99, 0), b"scratch")
        os.close(fd)
        eq(os.listdir(t.dir), [])


@case("a new file that is renamed while open ends whole under its new name")
def renamed_open(t):
    t.put("k")
    fd = os.open(t.path("tmp"), W | CREAT, 0o644)
    os.write(fd, b"one ")
    os.rename(t.path("tmp"), t.path("k"))
    os.write(fd, b"two")
    os.close(fd)
    eq((read(t.path("k")), t.repo.show(t.ns, "k"), os.listdir(t.dir)), (b"one two", b"one two", ["k"]))


@case("bytes written through a shared mapping are in the value")
def mapped(t):
    p = t.put("k", b"0" * 10000)
    fd = os.open(p, RW)
    with mmap.mmap(fd, 10000) as m:
        m[5000:5004] = b"MMAP"
        m.flush()
    os.close(fd)
    until(lambda: t.repo.show(t.ns, "k")[5000:5004] == b"MMAP", "the commit of the mapping")
    eq(read(p), b"0" * 5000 + b"MMAP" + b"0" * 4996)
    eq(t.repo.count(t.ns), 3, "commits")


@case("a write handle by way of /proc/self/fd")
def reopen(t):
    p = t.put("k", b"old\n")
    fd = os.open(p, os.O_RDONLY)
    save("/proc/self/fd/%d" % fd, b"through proc\n", W | TRUNC)
    os.close(fd)
    until(lambda: t.repo.show(t.ns, "k") == b"through proc\n", "the commit")
    eq(read(p), b"through proc\n")


def signal_default(name):
    if name != "SIGKILL":
        signal.signal(getattr(signal, name), signal.SIG_DFL)


OPS["signal_default"] = signal_default

if __name__ == "__main__":
    main(log=["poison|killed|signal|not committed|refused|discard"])
