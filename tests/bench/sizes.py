# SPDX-License-Identifier: MIT
"""How the cost grows: with the number of keys in a namespace, with the length of its history, with the size of a value."""
import hashlib
import os
import random
import subprocess
import time

from peers import ENV, Mount


def key_path(layout, n):
    return "k%d" % n if layout == "flat" else "d%d/k%d" % (n // 1000, n % 1000)


def fast_import(repo, write):
    if not os.path.exists(repo):
        subprocess.run(["git", "init", "-q", "--bare", repo], check=True, env=ENV)
    p = subprocess.Popen(["git", "--git-dir=" + repo, "fast-import", "--quiet", "--done", "--depth=20"], stdin=subprocess.PIPE, env=ENV)
    write(p.stdin)
    p.stdin.write(b"done\n")
    p.stdin.close()
    if p.wait():
        raise RuntimeError("git fast-import failed")


def commit_head(n, message):
    text = "%s\n\nKV-Version: %d\n" % (message, n)
    return ("commit refs/kv/bench\ncommitter b <b@b> %d +0000\ndata %d\n%s" % (1700000000 + n, len(text), text)).encode()


def value_of(n, size):
    return ("%d " % n + "v" * size)[:size].encode()


def make_keys(repo, layout, keys, size):
    """One commit.  fast-import puts name by name into a directory by looking through it: a large one comes from mktree."""
    def blobs(f):
        for n in range(keys):
            f.write(b"blob\ndata %d\n%s\n" % (size, value_of(n, size)))

    def by_names(f):
        f.write(commit_head(1, "set many keys"))
        for n in range(keys):
            f.write(b"M 100644 inline %s\ndata %d\n%s\n" % (key_path(layout, n).encode(), size, value_of(n, size)))

    def by_tree(f):
        f.write(commit_head(1, "set many keys") + b"M 040000 %s \n" % tree)

    if layout != "flat":
        fast_import(repo, by_names)
        return
    fast_import(repo, blobs)
    names = [hashlib.sha1(b"blob %d\0%s" % (size, value_of(n, size))).hexdigest() for n in range(keys)]
    entries = "".join("100644 blob %s\t%s\n" % (oid, key_path(layout, n)) for n, oid in enumerate(names))
    tree = subprocess.run(["git", "--git-dir=" + repo, "mktree"], input=entries.encode(), stdout=subprocess.PIPE, check=True, env=ENV).stdout.strip()
    fast_import(repo, by_tree)


def make_history(repo, commits, keys, size):
    def write(f):
        for n in range(1, commits + 1):
            f.write(commit_head(n, "set k%d" % (n % keys)))
            f.write(b"M 100644 inline k%d\ndata %d\n%s\n" % (n % keys, size, value_of(n, size)))
    fast_import(repo, write)


def timed(fn, items):
    """Microseconds of each, median."""
    t = []
    for i in items:
        a = time.perf_counter()
        fn(i)
        t.append((time.perf_counter() - a) * 1e6)
    t.sort()
    return t[len(t) // 2]


def read_whole(path):
    fd = os.open(path, os.O_RDONLY)
    os.read(fd, 1 << 20)
    os.close(fd)


def known(at, layout, keys):
    """Lists and stats every key; microseconds per entry of both."""
    dirs = [at] if layout == "flat" else [at + "/d%d" % d for d in range((keys + 999) // 1000)]
    a = time.perf_counter()
    names = [(d, os.listdir(d)) for d in dirs]
    b = time.perf_counter()
    n = 0
    for d, entries in names:
        for e in entries:
            os.stat(d + "/" + e)
            n += 1
    return (b - a) * 1e6 / n, (time.perf_counter() - b) * 1e6 / n


def reads_of_keys(exe, repo, at, layout, keys):
    """Of a fresh mount, whose caches are empty: cold then hot reads, listing, stat, and memory for each key that is known."""
    m = Mount(exe, repo, at)
    try:
        some = [m.where + "/" + key_path(layout, n) for n in random.Random(1).sample(range(keys), min(keys, 500))]
        cold, hot = timed(read_whole, some), timed(read_whole, some)
        before = m.rss()
        listing, stat = known(m.where, layout, keys)
        return {"cold read us": cold, "hot read us": hot, "readdir us per entry": listing, "stat us": stat,
                "bytes per known key": max(0, m.rss() - before) / keys}
    finally:
        m.end()


def disk_use(repo):
    size = files = 0
    for d, _, names in os.walk(repo):
        for n in names:
            try:
                size += os.lstat(os.path.join(d, n)).st_blocks * 512
                files += 1
            except FileNotFoundError:
                pass
    return size, files


def large_source(path, megabytes, kind):
    """A file to copy: random bytes, or a log's text."""
    with open(path, "wb") as f:
        if kind == "random":
            for _ in range(megabytes):
                f.write(os.urandom(1 << 20))
        else:
            n = 0
            while f.tell() < megabytes << 20:
                f.write(b"".join(b"line %d of a log, user=alice action=login status=ok\n" % i for i in range(n, n + 10000)))
                n += 10000
            f.truncate(megabytes << 20)
        os.fsync(f.fileno())


def make_new(path):
    """Another content than before, so that no round finds the last one's object."""
    with open(path, "r+b") as f:
        f.write(os.urandom(16))
        os.fsync(f.fileno())


def copy_speed(source, path):
    """MB/s of `cp` and `sync FILE`: when they have ended it is on the disk."""
    t = time.perf_counter()
    subprocess.run(["cp", source, path], check=True)
    subprocess.run(["sync", path], check=True)
    return (os.path.getsize(source) >> 20) / (time.perf_counter() - t)


def read_speed(path):
    t = time.perf_counter()
    subprocess.run(["cat", path], stdout=subprocess.DEVNULL, check=True)
    return (os.path.getsize(path) >> 20) / (time.perf_counter() - t)
