#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The operations that tools expect of a file system, one case each (docs/SPEC.md 3 to 5)."""
import ctypes
import fcntl
import mmap
import os
import stat
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "mount"))
from lib import *  # noqa: E402,F401,F403

NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4
KEEP_SIZE, PUNCH_HOLE, COLLAPSE, ZERO_RANGE, INSERT = 1, 2, 8, 16, 32
O_TMPFILE = 0o20000000 | os.O_DIRECTORY


def check(r, path=None):
    if r < 0:
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e), path)
    return r


def rename2(a, b, flags):
    check(libc.renameat2(-100, os.fsencode(a), -100, os.fsencode(b), flags), a)


def fallocate(fd, mode, off, length):
    check(libc.fallocate(fd, mode, ctypes.c_long(off), ctypes.c_long(length)))


# --- rename

@case("RENAME_NOREPLACE: EEXIST and nothing changes; else one commit")
def noreplace(t):
    a, b = t.put("a", b"a"), t.put("b", b"b")
    os.mkdir(t.path("d"))
    with commits(t, 0):
        fails(errno.EEXIST, rename2, a, b, NOREPLACE)
        fails(errno.EEXIST, rename2, a, t.path("d"), NOREPLACE)
        fails(errno.EEXIST, rename2, t.path("d"), b, NOREPLACE)
    with commits(t, 1):
        rename2(a, t.path("c"), NOREPLACE)
    eq((read(t.path("c")), read(b), t.repo.subject(t.ns)), (b"a", b"b", "rename a -> c"))
    with commits(t, 1):
        rename2(t.path("d"), t.path("e"), NOREPLACE)


@table([("two files", "a", "b"), ("a file and a directory", "a", "d"), ("a directory and one deeper down", "d", "x/e"), ("two directories", "d", "e2")])
def exchange(t, a, b):
    for key in ("a", "b", "d/1", "x/e/2", "e2/3"):
        os.makedirs(os.path.dirname(t.path(key)), exist_ok=True)
        t.put(key, key.encode())
    before = t.repo.entries(t.ns)
    with commits(t, 1):
        rename2(t.path(a), t.path(b), EXCHANGE)

    def swapped(p):
        for x, y in ((a, b), (b, a)):
            if p == x or p.startswith(x + "/"):
                return y + p[len(x):]
        return p
    want = {swapped(p): e for p, e in before.items()}
    got = t.repo.entries(t.ns)
    eq({p: e for p, e in got.items() if e[0] != "040000"}, {p: e for p, e in want.items() if e[0] != "040000"})
    for p, (mode, _) in got.items():
        eq(stat.S_ISDIR(os.stat(t.path(p)).st_mode), mode == "040000", p)
    with commits(t, 0):
        fails(errno.ENOENT, rename2, t.path(a), t.path("absent"), EXCHANGE)
        fails(errno.EINVAL, rename2, t.path(a), t.path(b), EXCHANGE | NOREPLACE)
        fails((errno.EINVAL, errno.EPERM, errno.ENOTDIR, errno.EISDIR), rename2, t.path(a), t.path(b), WHITEOUT)


@case("open handles follow an exchange: each file keeps its own")
def exchange_open(t):
    a, b = t.put("a", b"a"), t.put("b", b"b")
    fa, fb = os.open(a, os.O_RDONLY), os.open(b, os.O_RDWR)
    rename2(a, b, EXCHANGE)
    eq((os.pread(fa, 9, 0), os.pread(fb, 9, 0)), (b"a", b"b"))
    os.pwrite(fb, b"B", 0)
    os.close(fb)
    os.close(fa)
    eq((read(a), read(b)), (b"B", b"a"))


@case("a directory of 2,000 keys is renamed by one commit; what is open below goes along")
def rename_dir(t):
    tree = t.repo.mktree([("100644", "k%04d" % i, t.repo.hash(b"%d" % i)) for i in range(2000)])
    os.mkdir(t.path("w"))
    ok(t.repo.foreign(t.ns, {"w/x": b"x"}), "prepared")
    root = t.repo.mktree([("40000", "d", tree)])
    new = t.repo.commit_tree(root, t.repo.tip(t.ns), "many\n\nKV-Version: 4\n")
    t.repo.git("update-ref", "refs/kv/" + t.ns, new)
    fd = os.open(t.path("d/k0007"), os.O_RDWR)
    cwd = os.open(t.path("d"), os.O_RDONLY | os.O_DIRECTORY)
    with commits(t, 1):
        os.rename(t.path("d"), t.path("e"))
    eq((t.repo.subject(t.ns), t.repo.entries(t.ns)["e"][1]), ("rename d -> e", tree))
    eq((len(os.listdir(t.path("e"))), len(os.listdir(cwd))), (2000, 2000))
    os.pwrite(fd, b"new", 0)
    os.close(fd)
    eq(t.repo.show(t.ns, "e/k0007"), b"new")
    fails(errno.ENOENT, os.stat, t.path("d"))
    os.close(cwd)


@case("a directory onto an empty one, onto a full one, into itself, onto a file")
def rename_dir_errors(t):
    os.makedirs(t.path("d/sub"))
    t.put("d/k")
    os.mkdir(t.path("empty"))
    os.mkdir(t.path("full"))
    t.put("full/k")
    t.put("file")
    with commits(t, 0):
        fails((errno.ENOTEMPTY, errno.EEXIST), os.rename, t.path("d"), t.path("full"))
        fails(errno.EINVAL, os.rename, t.path("d"), t.path("d/sub/x"))
        fails(errno.ENOTDIR, os.rename, t.path("d"), t.path("file"))
        fails(errno.EISDIR, os.rename, t.path("file"), t.path("empty"))
        os.rename(t.path("file"), t.path("file"))
    with commits(t, 1):
        os.rename(t.path("d"), t.path("empty"))
    eq(t.repo.keys(t.ns), ["empty/k", "file", "full/k"])


# --- files without a name

@table([("a reader", os.O_RDONLY), ("a writer", os.O_RDWR)])
def unlinked_while_open(t, flags):
    p = t.put("k", b"old\n")
    fd = os.open(p, flags)
    with commits(t, 1):
        os.unlink(p)
    eq((os.read(fd, 9), os.fstat(fd).st_nlink, os.fstat(fd).st_size), (b"old\n", 0, 4))
    if flags != os.O_RDONLY:
        fails(errno.EBUSY, os.pwrite, fd, b"gone", 0)  # made from a value that is no more: its writer is told (SPEC 5.2)
    with commits(t, 1):
        save(p, b"another\n")
    if flags != os.O_RDONLY:
        fails(errno.EAGAIN, os.close, fd)
    else:
        os.close(fd)
    eq((read(p), t.repo.keys(t.ns)), (b"another\n", ["k"]))


@case("O_TMPFILE is refused cleanly: programs make a named one instead")
def tmpfile(t):
    with commits(t, 0):
        fails(errno.EOPNOTSUPP, os.open, t.dir, O_TMPFILE | os.O_RDWR, 0o600)
        import tempfile as tf
        with tf.TemporaryFile(dir=t.dir) as f:
            f.write(b"x" * 100000)
            f.flush()
            eq(os.fstat(f.fileno()).st_nlink, 0)
    eq(os.listdir(t.dir), [])


# --- bytes

@case("O_DIRECT reads and writes")
def direct(t):
    p, page = t.path("k"), mmap.mmap(-1, 8192)
    page[:] = bytes(range(256)) * 32
    fd = os.open(p, os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    eq(os.writev(fd, [page]), 8192)
    back = mmap.mmap(-1, 8192)
    eq((os.preadv(fd, [back], 0), back[:]), (8192, page[:]))
    os.close(fd)
    fd = os.open(p, os.O_RDONLY | os.O_DIRECT)
    eq((os.preadv(fd, [back], 4096), back[:4096]), (4096, page[4096:]))
    os.close(fd)
    eq(t.repo.show(t.ns, "k"), page[:])


@table([("grow", 0, 2, 8, b"abcd" + bytes(6)), ("KEEP_SIZE", KEEP_SIZE, 2, 8, b"abcd"), ("ZERO_RANGE", ZERO_RANGE, 1, 2, b"a\0\0d"), ("ZERO_RANGE beyond the end", ZERO_RANGE, 3, 3, b"abc\0\0\0"),
        ("PUNCH_HOLE", PUNCH_HOLE | KEEP_SIZE, 0, 2, b"\0\0cd")])
def allocate(t, mode, off, length, want):
    p = t.put("k", b"abcd")
    fd = os.open(p, os.O_RDWR)
    fallocate(fd, mode, off, length)
    eq((os.fstat(fd).st_size, os.pread(fd, 99, 0)), (len(want), want))
    os.close(fd)
    eq(t.repo.show(t.ns, "k"), want)


@case("fallocate modes that make no sense here are EOPNOTSUPP; a handle for reading is EBADF")
def allocate_errors(t):
    p = t.put("k", bytes(8192))
    fd = os.open(p, os.O_RDWR)
    for mode in (COLLAPSE, INSERT):
        fails(errno.EOPNOTSUPP, fallocate, fd, mode, 0, 4096)
    os.close(fd)
    fd = os.open(p, os.O_RDONLY)
    fails(errno.EBADF, fallocate, fd, 0, 0, 1)
    os.close(fd)


@case("copy_file_range and sendfile, from key to key")
def copy_range(t):
    a = t.put("a", b"0123456789" * 1000)
    src = os.open(a, os.O_RDONLY)
    with commits(t, 1):
        dst = os.open(t.path("b"), os.O_WRONLY | os.O_CREAT)
        done = 0
        while done < 10000:
            done += os.copy_file_range(src, dst, 10000 - done)
        os.close(dst)
    with commits(t, 1):
        dst = os.open(t.path("c"), os.O_WRONLY | os.O_CREAT)
        eq(os.sendfile(dst, src, 5, 10), 10)
        os.close(dst)
    os.close(src)
    eq((read(t.path("b")), read(t.path("c"))), (read(a), b"5678901234"))


@case("SEEK_DATA and SEEK_HOLE: all data, one hole at the end")
def seek(t):
    p = t.put("k", b"abc" + bytes(10000))
    for flags in (os.O_RDONLY, os.O_RDWR):
        fd = os.open(p, flags)
        eq((os.lseek(fd, 0, os.SEEK_DATA), os.lseek(fd, 0, os.SEEK_HOLE), os.lseek(fd, 5000, os.SEEK_DATA)), (0, 10003, 5000))
        fails(errno.ENXIO, os.lseek, fd, 10003, os.SEEK_DATA)
        eq(os.lseek(fd, 0, os.SEEK_END), 10003)
        os.close(fd)


@case("sparse writes: zeros between; a value with a hole is whole")
def sparse(t):
    fd = os.open(t.path("k"), os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, b"end", 100000)
    eq((os.fstat(fd).st_size, os.pread(fd, 4, 0)), (100003, bytes(4)))
    os.close(fd)
    eq(read(t.path("k")), bytes(100000) + b"end")


@table([("private, of a reader", os.O_RDONLY, mmap.MAP_PRIVATE, mmap.PROT_READ), ("shared, of a reader", os.O_RDONLY, mmap.MAP_SHARED, mmap.PROT_READ),
        ("private and written", os.O_RDWR, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)])
def mapping(t, flags, how, prot):
    p = t.put("k", b"old\n" * 3000)
    fd = os.open(p, flags)
    m = mmap.mmap(fd, 0, how, prot)
    os.close(fd)
    with commits(t, 0):
        eq(m[:8], b"old\nold\n")
        if prot & mmap.PROT_WRITE:
            m[0:3] = b"new"
    save(p, b"short\n")
    eq(m[-4:], b"old\n", "the mapping keeps the value that it was made of")
    m.close()
    eq(read(p), b"short\n")


@case("a shared mapping that is written: one commit at the last close, with all of it")
def mapping_shared(t):
    p = t.put("k", b"old\n" * 3000)
    with commits(t, 1):
        fd = os.open(p, os.O_RDWR)
        m = mmap.mmap(fd, 0)
        m[0:3] = b"new"
        m[11996:11999] = b"end"
        m.flush()
        m.close()
        os.close(fd)
    eq(t.repo.show(t.ns, "k"), b"new\n" + b"old\n" * 2998 + b"end\n")


@case("a mapping that grows its file")
def mapping_grow(t):
    with commits(t, 1):
        fd = os.open(t.path("k"), os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.ftruncate(fd, 8192)
        m = mmap.mmap(fd, 8192)
        m[8188:8192] = b"tail"
        m.close()
        os.close(fd)
    eq(t.repo.show(t.ns, "k"), bytes(8188) + b"tail")


# --- attributes

@table([("on a path", False), ("on a descriptor", True)])
def utimens(t, by_fd):
    p = t.put("k")
    with commits(t, 0):
        if by_fd:
            fd = os.open(p, os.O_WRONLY)
            os.utime(fd, ns=(1, 1234567890123456789))
            eq(os.fstat(fd).st_mtime_ns, 1234567890123456789)
            os.close(fd)
        else:
            os.utime(p, ns=(1, 1234567890123456789))
    eq(os.stat(p).st_mtime_ns, 1234567890123456789)
    save(p, b"new\n")
    ok(abs(os.stat(p).st_mtime - time.time()) < 100, "a save has its own time")
    os.utime(p)
    ok(abs(os.stat(p).st_mtime - time.time()) < 100, "now")
    os.mkdir(t.path("d"))
    os.utime(t.path("d"), ns=(1, 1234567890123456789))
    eq(os.stat(t.path("d")).st_mtime_ns, 1234567890123456789)
    os.symlink("k", t.path("l"))
    os.utime(t.path("l"), ns=(1, 1234567890123456789), follow_symlinks=False)
    eq(os.lstat(t.path("l")).st_mtime_ns, 1234567890123456789)


@case("a time given before the close holds after it, as cp -p and tar do it; rename carries it")
def utimens_then_close(t):
    fd = os.open(t.path("k"), os.O_WRONLY | os.O_CREAT, 0o644)
    os.write(fd, b"x")
    os.utime(fd, ns=(1, 1234567890123456789))
    os.close(fd)
    eq(os.stat(t.path("k")).st_mtime_ns, 1234567890123456789)
    os.rename(t.path("k"), t.path("l"))
    eq(os.stat(t.path("l")).st_mtime_ns, 1234567890123456789)
    with commits(t, 1):
        os.chmod(t.path("l"), 0o755)
    eq(os.stat(t.path("l")).st_mtime_ns, 1234567890123456789, "chmod does not change it")


@case("every mode is taken; the x bits decide; no other bit is kept")
def modes(t):
    p = t.put("k")
    for mode in list(range(0, 0o10000, 0o123)) + [0o7777, 0o4755, 0o2644, 0o1777, 0]:
        os.chmod(p, mode)
        eq(stat.S_IMODE(os.stat(p).st_mode), 0o755 if mode & 0o111 else 0o644, oct(mode))
        eq(t.repo.entries(t.ns)["k"][0], "100755" if mode & 0o111 else "100644")
    fd = os.open(p, os.O_RDWR)
    with commits(t, 1):
        os.fchmod(fd, 0o700)
        os.close(fd)
    eq(t.repo.entries(t.ns)["k"][0], "100755")


@case("numbers: unique, of a version its own, the same after a remount; links 1; blocks by size; kinds in the listing")
def numbers(t):
    os.mkdir(t.path("d"))
    for i in range(300):
        t.put("k%d" % i, b"alike\n")
        t.put("d/k%d" % i, b"alike\n")
    os.symlink("k1", t.path("l"))
    st = {p: os.lstat(t.path(p)) for p in t.repo.entries(t.ns)}
    eq(len({s.st_ino for s in st.values()}), 602, "distinct numbers")
    eq({s.st_nlink for s in st.values()}, {1})
    eq((st["k1"].st_blocks, st["k1"].st_size, st["l"].st_size), (1, 6, 2))
    for e in os.scandir(t.dir):
        eq(e.inode(), st[e.name].st_ino, "number in the listing of " + e.name)
        eq((e.is_file(follow_symlinks=False), e.is_dir(follow_symlinks=False), e.is_symlink()), (e.name[0] == "k", e.name == "d", e.name == "l"))
    old = st["k7"].st_ino
    save(t.path("k7"), b"another\n")
    ok(os.stat(t.path("k7")).st_ino != old, "a save replaces the file")
    with Mount(t.repo) as m:
        for p, s in st.items():
            if p != "k7":
                eq(os.lstat("%s/%s/%s" % (m.dir, t.ns, p)).st_ino, s.st_ino, "after a mount: " + p)


# --- many, long, deep, odd

@case("100,000 keys in one directory: listed whole, looked up, changed")
def large(t):
    blob = t.repo.hash(b"v\n")
    d = t.repo.mktree([("100644", "k%06d" % i, blob) for i in range(100000)])
    new = t.repo.commit_tree(t.repo.mktree([("40000", "d", d)]), t.repo.tip(t.ns), "many\n\nKV-Version: 2\n")
    t.repo.git("update-ref", "refs/kv/" + t.ns, new)
    began = time.monotonic()
    names = os.listdir(t.path("d"))
    listed = time.monotonic()
    eq((len(names), len(set(names))), (100000, 100000))
    for i in range(0, 100000, 997):
        eq(os.stat(t.path("d/k%06d" % i)).st_size, 2)
    looked = time.monotonic()
    with commits(t, 3):
        save(t.path("d/k050000"), b"new\n")
        save(t.path("d/new"), b"n")
        os.unlink(t.path("d/k099999"))
    eq((read(t.path("d/k050000")), len(os.listdir(t.path("d")))), (b"new\n", 100000))
    print("# listed in %.2f s, 101 looked up in %.2f s, 3 changes in %.2f s" % (listed - began, looked - listed, time.monotonic() - looked))
    if os.environ.get("RATIOS"):
        ratios(t, 100000)


def ratios(t, n):
    """What listings cost beside the disk's own, and what one request costs that does nothing; for docs/DESIGN.md."""
    disk = tempfile.mkdtemp(dir=work())
    for i in range(n):
        with open("%s/k%06d" % (disk, i), "w") as f:
            f.write("v\n")
    for cmd in ("ls -f %s", "find %s", "ls -l %s", "find %s -ls", "du %s"):
        took = []
        for d in (t.path("d"), disk):
            best = 1e9
            for _ in range(3):
                began = time.monotonic()
                subprocess.run(cmd % d, shell=True, stdout=subprocess.DEVNULL, check=True)
                best = min(best, time.monotonic() - began)
            took.append(best)
        print("# %-12s %.2f s, on the disk %.2f s: %.1f times" % (cmd % "D", *took, took[0] / took[1]))
    took = []
    for call in (lambda name: os.statvfs(t.dir), lambda name: os.lstat(t.path("d/" + name))):
        began = time.monotonic()
        for name in os.listdir(t.path("d")):
            call(name)
        took.append(time.monotonic() - began)
    print("# statfs of each %.2f s, lstat of each %.2f s: %.2f times" % (*took, took[1] / took[0]))
    shutil.rmtree(disk)


@case("a long listing leaves nothing behind that could be stale: what another writer changes is seen by the next stat and open")
def listed(t):
    for i in range(50):
        t.put("d%02d" % i)
    for step in range(3):
        subprocess.run(["ls", "-lR", t.dir], stdout=subprocess.DEVNULL, check=True)
        subprocess.run(["find", t.dir, "-ls"], stdout=subprocess.DEVNULL, check=True)
        old = os.stat(t.path("d07"))
        ok(t.repo.foreign(t.ns, {"d07": b"step %d, longer than it was\n" % (10 ** (step + 1)), "d%02d" % (20 + step): None, "new%d" % step: b"new"}), "moved from outside")
        st = os.stat(t.path("d07"))
        eq((st.st_size, st.st_ino != old.st_ino, read(t.path("d07"))), (len(t.repo.show(t.ns, "d07")), True, t.repo.show(t.ns, "d07")))
        fails(errno.ENOENT, os.stat, t.path("d%02d" % (20 + step)))
        eq(read(t.path("new%d" % step)), b"new")
        eq(sorted(os.listdir(t.dir)), t.repo.keys(t.ns))


@case("names of 255 bytes, of every byte that git takes; 256 is ENAMETOOLONG")
def names(t):
    odd = [bytes([b]) * 3 for b in range(1, 256) if b not in b"/."]
    odd += [b"n" * 255, "\u00e9".encode() * 127, b"a\nb", b"-", b"...", b"\xff" * 255]
    for n in odd:
        save(os.fsencode(t.dir) + b"/" + n, n)
    eq(sorted(os.listdir(os.fsencode(t.dir))), sorted(odd))
    for n in odd:
        eq(read(os.fsencode(t.dir) + b"/" + n), n)
    kept = [n for n in odd if n not in (b"###", b"~~~")]  # nobody's keys: scratch names
    eq(sorted(os.fsencode(k) for k in t.repo.keys(t.ns)), sorted(kept))
    fails(errno.ENAMETOOLONG, save, t.path("n" * 256), b"")
    fails(errno.ENAMETOOLONG, os.mkdir, t.path("n" * 256))
    for n in set(odd) - set(kept):
        os.unlink(os.fsencode(t.dir) + b"/" + n)


@case("deep paths: 60 directories, and a path of 4,000 bytes")
def deep(t):
    path = "/".join(["d%02d" % i for i in range(60)])
    os.makedirs(t.path(path))
    with commits(t, 1):
        save(t.path(path + "/k"), b"deep\n")
    eq(t.repo.show(t.ns, path + "/k"), b"deep\n")
    here = os.open(t.dir, os.O_RDONLY)
    for i in range(16):
        os.mkdir("n" * 240, dir_fd=here)
        below = os.open("n" * 240, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    fd = os.open("k", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=here)
    os.write(fd, b"long\n")
    os.close(fd)
    eq(t.repo.show(t.ns, "/".join(["n" * 240] * 16 + ["k"])), b"long\n")
    os.close(here)


# --- locks and handles (SPEC 5.1, last line)

def count_up(path, n):
    """n increments, under a lock, through one handle that stays open."""
    fd = os.open(path, os.O_RDWR)
    for _ in range(n):
        fcntl.lockf(fd, fcntl.LOCK_EX)
        v = int(os.pread(fd, 20, 0))
        os.pwrite(fd, b"%-10d" % (v + 1), 0)
        fcntl.lockf(fd, fcntl.LOCK_UN)
    os.close(fd)


def count_flock(path, n):
    fd = os.open(path, os.O_RDWR)
    for _ in range(n):
        fcntl.flock(fd, fcntl.LOCK_EX)
        v = int(os.pread(fd, 20, 0))
        os.pwrite(fd, b"%-10d" % (v + 1), 0)
        fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)


OPS.update({"count_up": count_up, "count_flock": count_flock})


@table([("fcntl", "count_up"), ("flock", "count_flock")])
def counters_through_handles_that_stay_open(t, how):
    p = t.put("k", b"%-10d" % 0)
    clients = [Client() for _ in range(4)]
    with commits(t, 80):
        for c in clients:
            c.begin(how, p, 20)
        for c in clients:
            c.end()
    eq(int(read(p)), 80)
    for c in clients:
        c.quit()


@case("a lock brings a handle up to date, mapped pages too; a second lock does not; unsaved bytes stay")
def revalidated(t):
    p, other = t.put("k", b"one..\n"), Client()
    fd = os.open(p, os.O_RDWR)
    eq(os.pread(fd, 9, 0), b"one..\n")
    other.save(p, b"two and longer\n")
    eq(os.pread(fd, 99, 0), b"one..\n", "without a lock it stays")
    fcntl.lockf(fd, fcntl.LOCK_SH, 1, 0)
    eq((os.pread(fd, 99, 0), os.fstat(fd).st_size), (b"two and longer\n", 15))
    other.save(p, b"three\n")
    fcntl.lockf(fd, fcntl.LOCK_EX, 1, 1)
    eq(os.pread(fd, 99, 0), b"two and longer\n", "what was read under a lock stays")
    fcntl.lockf(fd, fcntl.LOCK_UN)
    fails(errno.EBUSY, os.pwrite, fd, b"mine", 0)  # made from a value that is no more
    fails(errno.EAGAIN, os.close, fd)
    eq(read(p), b"three\n")
    fd = os.open(p, os.O_RDWR)
    m = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
    eq(m[:], b"three\n")
    other.save(p, b"seven\n")
    eq(m[:], b"three\n")
    fcntl.flock(fd, fcntl.LOCK_EX)
    eq(m[:], b"seven\n", "pages that are mapped")
    os.pwrite(fd, b"mine!", 0)
    other.begin("save", p, b"theirs")
    other.end()
    fails(errno.EAGAIN, fcntl.flock, fd, fcntl.LOCK_UN)
    m.close()
    fails(errno.EAGAIN, os.close, fd)
    eq(read(p), b"theirs")
    other.quit()


@case("fcntl locks are a process's: its other handles on the key come along, not those with a lock of their own, nor other processes'")
def revalidated_together(t):
    p, other = t.put("k", b"one\n"), Client()
    fds = [os.open(p, os.O_RDWR) for _ in range(4)]
    theirs = other.open(p, os.O_RDWR)

    def see():
        return [os.pread(fd, 99, 0) for fd in fds]
    eq(see(), [b"one\n"] * 4)
    fcntl.fcntl(fds[3], 37, struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, 0, 1, 0))  # F_OFD_SETLK
    t.put("k", b"two\n")
    fcntl.lockf(fds[0], fcntl.LOCK_SH, 1, 5)
    eq(see(), [b"two\n"] * 3 + [b"one\n"], "the first lock of the process")
    other.save(p, b"three\n")
    fcntl.lockf(fds[1], fcntl.LOCK_EX, 1, 6)
    eq(see(), [b"two\n"] * 3 + [b"one\n"], "the second: what was read under the first stays")
    fcntl.lockf(fds[1], fcntl.LOCK_UN)
    fcntl.lockf(fds[2], fcntl.LOCK_EX, 1, 5)
    eq(see(), [b"three\n"] * 3 + [b"one\n"], "the first again")
    os.pwrite(fds[2], b"four!\n", 0)
    os.fsync(fds[2])
    eq(see(), [b"three\n"] * 2 + [b"four!\n", b"one\n"], "a save alone moves no other handle")
    fcntl.lockf(fds[2], fcntl.LOCK_SH, 1, 5)
    eq(see(), [b"four!\n"] * 3 + [b"one\n"], "a lock through the handle that saved")
    eq(other.pread(theirs, 99, 0), b"one\n", "another process")
    fcntl.lockf(fds[2], fcntl.LOCK_UN)
    for fd in fds:
        os.close(fd)
    other.quit()


@case("all handles of one process on a key tell one number, whichever value they began with")
def one_number(t):
    p, other = t.put("k", b"one\n"), Client()
    first = os.open(p, os.O_RDWR)
    number = os.fstat(first).st_ino
    t.put("k", b"two\n")
    second = os.open(p, os.O_RDWR)
    eq(os.fstat(second).st_ino, number, "of one process")
    theirs = other.open(p, os.O_RDWR)
    ok(other.fstat(theirs).st_ino != number, "of another process: the value's")
    os.pwrite(second, b"six\n", 0)
    os.fsync(second)
    eq(os.stat(p).st_ino, number, "and stat, beside a handle that is behind")
    fails(errno.EBUSY, os.pwrite, first, b"old\n", 0)
    fails(errno.EAGAIN, os.close, first)
    os.close(second)
    third = os.open(p, os.O_RDWR)
    ok(os.fstat(third).st_ino != number, "when all were closed: the value's")
    os.close(third)
    eq(read(p), b"six\n")
    other.quit()


@case("who lets go of a lock has saved; an empty new file is not saved by that")
def saved_at_unlock(t):
    p = t.path("k")
    fd = os.open(p, os.O_RDWR | os.O_CREAT)
    with commits(t, 0):
        fcntl.flock(fd, fcntl.LOCK_EX)
        fcntl.flock(fd, fcntl.LOCK_UN)
    with commits(t, 1):
        fcntl.flock(fd, fcntl.LOCK_EX)
        os.write(fd, b"x")
        fcntl.flock(fd, fcntl.LOCK_UN)
        eq(read(p), b"x")
        os.close(fd)


@case("stat of a key that this process saved through an open handle tells that handle's number; opened, it is the version")
def own_number(t):
    p = t.put("k", b"one\n")
    fd = os.open(p, os.O_RDWR)
    eq(os.fstat(fd).st_ino, os.stat(p).st_ino)
    os.pwrite(fd, b"two\n", 0)
    os.fsync(fd)
    eq(os.fstat(fd).st_ino, os.stat(p).st_ino, "after a save")
    r = os.open(p, os.O_RDONLY)
    os.pwrite(fd, b"six\n", 0)
    eq((os.read(r, 9), read(p)), (b"two\n", b"two\n"), "never unsaved bytes")
    os.close(r)
    with commits(t, 1):
        os.close(fd)
    fd = os.open(p, os.O_RDWR)
    os.fstat(fd)
    os.pwrite(fd, b"ten\n", 0)
    os.fsync(fd)
    os.stat(p)
    with commits(t, 1):
        os.truncate(p, 2)
    eq(read(p), b"te")
    with commits(t, 1):
        os.chmod(p, 0o755)
    eq((os.pread(fd, 9, 0), t.repo.entries(t.ns)["k"][0]), (b"ten\n", "100755"))
    os.close(fd)


if __name__ == "__main__":
    main()
