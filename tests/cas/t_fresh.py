#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
SPEC 4, last point: no new tree, commit or version is shown before what it makes stale is gone.  A client reads key, state, key
while others move both by `git update-ref` and through a second mount; what it reads after it saw a state is never older than
that state, by whatever way it reads, and a compare-and-swap never wins with an old read.

Every writer's commit sets the key to its number, and a few more things with it: its size, a directory entry, a link.
ROUNDS=5000 for a long run.
"""
import mmap
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "mount"))
from lib import *  # noqa: E402,F403

ROUNDS = int(os.environ.get("ROUNDS", "250"))


# --- the writer ------------------------------------------------------------------------------------------------------


def row(mode, name, oid):
    return mode.encode() + b" " + name.encode() + b"\0" + bytes.fromhex(oid)


def prepare(repo, ns, n):
    """n commits, one on top of the other, the i-th with the number i everywhere; [(commit, tree)]."""
    out, parent = [], repo.tip(ns)
    batch, names = [], []
    for i in range(1, n + 1):
        names.append((repo.hash(b"%06d" % i + b"." * i), repo.hash(b"%06d" % i)))
        below = repo.mktree([("100644", "k", names[-1][1])])
        batch.append((below, repo.mktree([("100644", "k", names[-1][0]), ("120000", "link", names[-1][1]),
                                          ("100644", "name%06d" % i, names[-1][1]), ("40000", "sub", below)])))
    version = repo.version(ns)
    for i, (_, tree) in enumerate(batch, 1):
        parent = repo.commit_tree(tree, parent, "%d\n\nKV-Version: %d\n" % (i, version + i))
        out.append((parent, tree))
    return out


def play(path, ns, commits_, start):
    """Moves the ref from one to the next as fast as git can, in one process."""
    p = subprocess.Popen(["git", "--git-dir=" + path, "update-ref", "--stdin"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **ENV_DAEMON})
    old = start
    for commit in commits_:
        p.stdin.write(b"start\nupdate refs/kv/%s %s %s\nprepare\ncommit\n" % (ns.encode(), commit.encode(), old.encode()))
        p.stdin.flush()
        for _ in range(3):
            line = p.stdout.readline()
            if not line.endswith(b"ok\n"):
                raise OSError(errno.EIO, "git update-ref: %r" % line)
        old = commit
    p.stdin.close()
    return p.wait()


OPS["play"] = play


# --- the reader: every way to look at the key gives its number ---------------------------------------------------------


def by_read(d):
    fd = os.open(d + "/k", os.O_RDONLY)
    try:
        return whole(os.read(fd, 1 << 20))
    finally:
        os.close(fd)


def whole(data):
    n = int(data[:6])
    if len(data) != 6 + n:
        raise AssertionError("torn: %d with %d bytes" % (n, len(data)))
    return n


def by_mmap(d):
    fd = os.open(d + "/k", os.O_RDONLY)
    try:
        m = mmap.mmap(fd, 0, access=mmap.ACCESS_READ)
        data = bytes(m)
        m.close()
        return whole(data)
    finally:
        os.close(fd)


def by_size(d):
    return os.stat(d + "/k").st_size - 6


def by_link(d):
    return int(os.readlink(d + "/link"))


def by_listing(d):
    return max(int(n[4:]) for n in os.listdir(d) if n.startswith("name"))


def by_sub(d):
    with open(d + "/sub/k", "rb") as f:
        return int(f.read())


WAYS = [by_read, by_mmap, by_size, by_link, by_listing, by_sub]
STATES = ["tree", "commit", "version"]


def watch(d, number_of, last, way, state):
    """Key, state, key until the last state is there.  Returns how often a state was met that the key before had not had yet."""
    moved = 0
    gone = 0
    while gone < last:
        try:
            first = way(d)
            at = number_of[get(d, state)]
            second = way(d)
        except FileNotFoundError:
            raise AssertionError("a name is gone")
        if at < first:
            raise AssertionError("%s %d after the key was %d" % (state, at, first))
        if second < at:
            raise AssertionError("stale: %s says %d, then %s says %d (%d before)" % (state, at, way.__name__, second, first))
        # What was not there yet is not remembered as absent either.
        if at > gone and not os.path.exists(d + "/name%06d" % at) and by_read(d) == at:
            raise AssertionError("stale: the name of %d is still absent" % at)
        if at != first:
            moved += 1
        gone = second
    return moved


@table([("%s, %s" % (w.__name__.replace("_", " "), s), w, s) for w, s in zip(WAYS, STATES * 2)])
def key_state_key(t, way, state):
    made = prepare(t.repo, t.ns, ROUNDS // 5)
    start = t.repo.tip(t.ns)
    version = t.repo.version(t.ns)
    number = {"commit": {c: i for i, (c, _) in enumerate(made, 1)}, "tree": {tr: i for i, (_, tr) in enumerate(made, 1)},
              "version": {str(version + i): i for i in range(1, len(made) + 1)}}[state]
    t.repo.git("update-ref", "refs/kv/" + t.ns, made[0][0], start)
    writer = Client()
    writer.begin("play", t.repo.path, t.ns, [c for c, _ in made[1:]], made[0][0])
    moved = watch(t.dir, number, len(made), way, state)
    eq(writer.end(), 0)
    writer.quit()
    print("# %d of %d states came between the two reads" % (moved, len(made)))


# --- compare-and-swap with what was read: no old read ever wins ----------------------------------------------------------


def add(d, n, state):
    """key, then the state, then the key again; if both reads agree and are of that state, adds one to it."""
    lost = 0
    for _ in range(n):
        while True:
            first = read(d + "/n")
            value = get(d, state)
            if read(d + "/n") != first:  # moved between: the next round
                lost += 1
                continue
            try:
                arm(d, state, value)
                save(d + "/n", b"%d\n" % (int(first) + 1))
                break
            except OSError as e:
                if e.errno not in (errno.EAGAIN, errno.EBUSY):
                    raise
                lost += 1
    disarm(d, state)
    return lost


def add_by_ref(path, ns, n):
    repo = Repo(path, init=False)
    lost = 0
    for _ in range(n):
        while True:
            tip = repo.tip(ns)
            value = int(repo.raw("cat-file", "blob", tip + ":n")) + 1
            tree = repo.mktree([("100644", "n", repo.hash(b"%d\n" % value))])
            new = repo.commit_tree(tree, tip, "foreign %d\n\nKV-Version: %d\n" % (os.getpid(), int(repo.git("log", "-1", "--format=%(trailers:key=KV-Version,valueonly)", tip)) + 1))
            if repo.raw("update-ref", "refs/kv/" + ns, new, tip, check=False)[0] == 0:
                break
            lost += 1
    return lost


OPS.update(add=add, add_by_ref=add_by_ref)


@table([(s, s) for s in STATES])
def no_old_read_wins(t, state):
    """Two clients on each of two mounts and one with git update-ref add to one key: the sum is exact."""
    t.put("n", b"0\n")
    n = max(ROUNDS // 25, 4)
    with Mount(t.repo) as other:
        clients = [Client() for _ in range(5)]
        for i, c in enumerate(clients[:4]):
            c.begin("add", (t.dir if i % 2 else other.dir + "/" + t.ns), n, state)
        clients[4].begin("add_by_ref", t.repo.path, t.ns, n)
        print("# lost rounds: %s" % [c.end() for c in clients])
        for d in (t.dir, other.dir + "/" + t.ns):
            eq(read(d + "/n"), b"%d\n" % (5 * n))
        for c in clients:
            c.quit()


@case("one thread's open descriptor keeps its whole value, while a new open of the same moment has the new one")
def old_and_new(t):
    made = prepare(t.repo, t.ns, 30)
    old = t.repo.tip(t.ns)
    for i, (commit, tree) in enumerate(made, 1):
        t.repo.git("update-ref", "refs/kv/" + t.ns, commit, old)
        old = commit
        fd = os.open(t.path("k"), os.O_RDONLY)
        eq(whole(os.pread(fd, 1 << 20, 0)), i)
        if i > 1:
            eq((whole(os.pread(kept, 1 << 20, 0)), os.fstat(kept).st_size - 6), (i - 1, i - 1))
            os.close(kept)
        kept = fd
    os.close(kept)


if __name__ == "__main__":
    main(log=["conflict|refused|rejected|EAGAIN"])
