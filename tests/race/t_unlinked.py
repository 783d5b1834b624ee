#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A file is removed while somebody writes it: the bytes go nowhere, but nobody who had a condition is told that it held."""
import errno
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "mount"))

from lib import Client, case, commits, eq, fails, main, ok  # noqa: E402


def removed(t, key):
    """By a process that expects nothing."""
    other = Client()
    other.unlink(t.path(key))
    other.quit()


@case("no condition: the close succeeds, the key stays removed")
def unguarded(t):
    for number, flags in enumerate((os.O_TRUNC, os.O_APPEND)):
        path = t.put("k%d" % number)
        fd = os.open(path, os.O_WRONLY | flags)
        removed(t, "k%d" % number)
        with commits(t, 0):
            os.write(fd, b"new")
            os.close(fd)
        ok(not os.path.exists(path), "the key is back")


@case("the new value was made from the old one: EBUSY, EAGAIN")
def made_from_it(t):
    fd = os.open(t.put("k"), os.O_RDWR)
    os.read(fd, 9)
    os.pwrite(fd, b"new", 0)
    removed(t, "k")
    with commits(t, 0):
        fails(errno.EBUSY, os.pwrite, fd, b"new", 0)
        fails(errno.EAGAIN, os.close, fd)


@case("an expectation: EAGAIN from fsync and from close")
def guarded(t):
    for end in (os.fsync, os.close):
        for name, key in (("tree", ""), ("commit", ""), ("version", ""), ("blob", "k")):
            path = t.put("k", end.__name__.encode() + name.encode())
            holder = Client()
            value = holder.getxattr(t.path(key), "user.kv." + name)
            holder.setxattr(t.path(key), "user.kv.expect-" + name, value)
            fd = holder.open(path, os.O_WRONLY | os.O_TRUNC)
            holder.write(fd, b"new")
            removed(t, "k")
            with commits(t, 0):
                fails(errno.EAGAIN, getattr(holder, end.__name__), fd)
            holder.quit()


@case("expected to be absent: what came and went meanwhile is no reason to say that it was made")
def came_and_went(t):
    for end in (os.fsync, os.close):
        path = t.path(end.__name__)
        holder, other = Client(), Client()
        holder.arm(t.dir, "blob." + end.__name__, "absent")
        fd = holder.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        holder.write(fd, b"new")
        other.save(path + "2", b"other")
        other.rename(path + "2", path)
        other.unlink(path)
        with commits(t, 0):
            fails(errno.EAGAIN, getattr(holder, end.__name__), fd)
        ok(not os.path.exists(path), "the key is back")
        holder.quit()
        other.quit()


@case("the removal was the holder's own: its expectation moves on")
def own_removal(t):
    holder = Client()
    path = t.put("k")
    holder.setxattr(t.dir, "user.kv.expect-tree", holder.getxattr(t.dir, "user.kv.tree"))
    fd = holder.open(path, os.O_WRONLY | os.O_TRUNC)
    holder.write(fd, b"new")
    holder.unlink(path)
    with commits(t, 0):
        holder.close(fd)
    holder.quit()


@case("a temporary file: made, saved, removed, used on")
def temporary(t):
    with commits(t, 2):
        fd = os.open(t.path("t"), os.O_RDWR | os.O_CREAT | os.O_EXCL)
        os.write(fd, b"one")
        os.fsync(fd)
        os.unlink(t.path("t"))
        os.write(fd, b"two")
        eq(os.pread(fd, 9, 0), b"onetwo")
        os.close(fd)


main()
