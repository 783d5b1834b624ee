#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
SPEC 6.4, last point: check and move are one atomic step against every writer.  Processes increment one key with
expect-tree and try again on a conflict: the sum is exact, and every increment is one commit.  ROUNDS=500 for a long run.
"""
from lib import *

ROUNDS = int(os.environ.get("ROUNDS", "25"))


def increment(key, n, name="tree"):
    """Reads the tree first: a value that is older than the tree that guards it would be the stale read of SPEC 4."""
    refused = 0
    for _ in range(n):
        while True:
            try:
                arm(key, name, get(key, name))
                save(key, b"%d\n" % (int(read(key)) + 1), os.O_WRONLY | os.O_TRUNC)
                break
            except OSError as e:
                if e.errno not in (errno.EAGAIN, errno.EBUSY):
                    raise
                refused += 1
                os.sched_yield()
    disarm(key, name)
    return refused


def increment_by_ref(path, ns, n):
    repo = Repo(path, init=False)
    refused = 0
    for _ in range(n):
        while True:
            tip = repo.tip(ns)
            value = int(repo.raw("cat-file", "blob", tip + ":k")) + 1
            tree = repo.mktree([("100644", "k", repo.hash(b"%d\n" % value))])
            version = int(repo.git("log", "-1", "--format=%(trailers:key=KV-Version,valueonly)", tip)) + 1
            if repo.raw("update-ref", "refs/kv/" + ns, repo.commit_tree(tree, tip, "foreign %d-%d\n\nKV-Version: %d\n" % (os.getpid(), version, version)), tip, check=False)[0] == 0:
                break
            refused += 1
    return refused


def increment_by_push(url, ns, n, where):
    clone = Repo(where)
    refused = 0
    for _ in range(n):
        while True:
            clone.git("fetch", "-q", url, "+refs/kv/%s:refs/kv/%s" % (ns, ns))
            value = int(clone.show(ns, "k")) + 1
            clone.foreign(ns, {"k": b"%d\n" % value})
            if clone.raw("push", "-q", url, "refs/kv/%s:refs/kv/%s" % (ns, ns), check=False)[0] == 0:
                break
            refused += 1
    return refused


OPS.update(increment=increment, increment_by_ref=increment_by_ref, increment_by_push=increment_by_push)

MIXES = [
    ("four processes on one mount", ["a"] * 4), ("two mounts, two processes each", ["a", "a", "b", "b"]), ("a mount and git update-ref", ["a", "a", "ref"]),
    ("two mounts, git update-ref and git push", ["a", "b", "ref", "push"]), ("two git update-ref and a mount", ["ref", "ref", "a"]),
]


@table([("%s, by expect-%s" % (m[0], n), m[1], n) for m in MIXES for n in (["tree", "version", "commit"] if m is MIXES[1] else ["tree"])])
def the_sum_is_exact(t, mix, name):
    t.put("k", b"0\n")
    before = t.repo.count(t.ns)
    with Mount(t.repo) as other:
        places = {"a": t.dir, "b": other.dir + "/" + t.ns}
        clients, want = [], 0
        for i, who in enumerate(mix):
            c = Client()
            n = ROUNDS if who in places else ROUNDS // 5 + 1
            want += n
            clients.append(c)
            if who == "ref":
                c.begin("increment_by_ref", t.repo.path, t.ns, n)
            elif who == "push":
                c.begin("increment_by_push", t.repo.path, t.ns, n, "%s/clone-%s-%d" % (work(), t.ns, i))
            else:
                c.begin("increment", places[who] + "/k", n, name)
        refused = [c.end() for c in clients]
        for c in clients:
            c.quit()
        print("# %d increments, refused: %s" % (want, ", ".join("%s %d" % x for x in zip(mix, refused))))
        for place in places.values():
            eq(read(place + "/k"), b"%d\n" % want)
    eq(t.repo.show(t.ns, "k"), b"%d\n" % want)
    eq(t.repo.count(t.ns) - before, want, "commits")
    values = [t.repo.raw("cat-file", "blob", c + ":k") for c in t.repo.git("rev-list", "refs/kv/" + t.ns).splitlines()[:-1]] if want < 150 else []
    eq(values, [b"%d\n" % i for i in range(want, -1, -1)] if values else [], "every step is in the history")


@case("without a guard increments do get lost: the test can fail", ns=True)
def premise(t):
    p = t.put("k", b"0\n")
    a, b = Client(), Client()
    va, vb = a.read_all(p), b.read_all(p)
    a.save(p, b"%d\n" % (int(va) + 1))
    b.save(p, b"%d\n" % (int(vb) + 1))
    eq(read(p), b"1\n")
    a.quit(), b.quit()


if __name__ == "__main__":
    main(log=["conflict|refused|rejected"])
