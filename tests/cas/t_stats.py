#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
.kv/stats: what is counted, and that Prometheus can read it; and how many attempts succeed under contention.
CLIENTS, KEYS, OPS_EACH, THINK change the last cases.
"""
import os
import random
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "mount"))
from lib import *  # noqa: E402,F403

import promtext  # noqa: E402

NONE = "1" * 40


def stats(d, **labels):
    """{name: {rest of the labels: value}} of the samples that carry `labels`."""
    data = read(d + "/.kv/stats")
    out = {}
    for (name, pairs), value in promtext.parse(data).items():
        have = dict(pairs)
        if all(have.pop(k, None) == v for k, v in labels.items()):
            out.setdefault(name.replace("ledgerfs_", "", 1), {})[tuple(have.values())] = value
    return out


def numbers(t):
    s = stats(t.dir, namespace=t.ns)
    flat = {n: int(s[n][()]) for n in ("attempts_total", "successes_total", "commits_total", "unchanged_total", "lock_timeouts_total", "failures_total")}
    for (reason,), v in s["conflicts_total"].items():
        flat[reason] = int(v)
    return flat


def promtool(data):
    """promtool's verdict, None without it."""
    if not shutil.which("promtool"):
        return None
    p = subprocess.run(["promtool", "check", "metrics"], input=data, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return p.returncode, p.stdout.decode()


@case("each attempt is counted once, by its outcome")
def outcomes(t):
    p = t.put("k", b"v1\n")
    want = dict.fromkeys(numbers(t), 0)
    want.update(attempts_total=2, successes_total=2, commits_total=2)  # the namespace, the key

    def now(**more):
        for name, n in more.items():
            want[name] += n
        want["attempts_total"] += sum(more.values()) - more.get("commits_total", 0) - more.get("unchanged_total", 0)
        eq(numbers(t), want)

    now()
    save(p, b"v2\n")
    now(successes_total=1, commits_total=1)
    save(p, b"v2\n")
    now(successes_total=1, unchanged_total=1)
    c = Client()
    for name, value in (("tree", NONE), ("commit", NONE), ("version", "999"), ("blob", NONE), ("blob", "absent")):
        c.arm(p, name, value)
        fails(errno.EAGAIN, c.unlink, p)  # refused under the lock
        fails(errno.EAGAIN, c.open, p, os.O_WRONLY)  # refused by looking
        c.disarm(p, name)
        now(**{"absent" if value == "absent" else name: 2})
    fails(errno.EBUSY, os.setxattr, p, "user.kv.swap." + NONE, b"x")
    now(blob=1)
    fails(errno.EBUSY, os.setxattr, t.dir, "user.kv.swap.absent.k", b"x")
    now(absent=1)
    fd = os.open(p, os.O_RDWR)
    os.write(fd, b"V")
    os.setxattr(p, "user.kv.swap." + t.repo.blob(t.ns, "k"), b"between\n")
    now(successes_total=1, commits_total=1)
    fails(errno.EAGAIN, os.close, fd)
    now(base=1)
    fd = os.open(t.path("new"), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    ok(t.repo.foreign(t.ns, {"new": b"x"}), "foreign")
    fails(errno.EAGAIN, os.close, fd)
    now(exists=1)
    for other in (t.path(".kv/stats"), p, t.path("new")):
        read(other)
    now()
    eq(stats(t.dir, namespace=t.ns)["retries_total"][("moved",)], 1.0)
    s = stats(t.dir, namespace=t.ns)
    ok(0 < s["change_duration_seconds"][("0.5",)] <= s["change_duration_seconds"][("0.95",)] <= s["change_duration_seconds"][("0.99",)], "quantiles")
    eq(s["contended_key_conflicts"], {("k",): 13.0, ("new",): 1.0})
    c.quit()


NAMES = ["plain", 'quote"d', "back\\slash", "line\nbreak", "grün", b"latin\xe9".decode("utf-8", "surrogateescape"), "{brace,comma=}", "tab\there"]


@case("names of every kind: escaped, no two the same; the format by its own rules, and by promtool")
def format_(t):
    for name in NAMES:
        t.put(name)
        fails(errno.EBUSY, os.setxattr, t.path(name), "user.kv.swap." + NONE, b"x")
    for d in (t.dir, t.mount.dir):
        data = read(d + "/.kv/stats")
        keys = [k for (n, pairs) in promtext.parse(data) for l, k in pairs if n == "ledgerfs_contended_key_conflicts" and dict(pairs)["namespace"] == t.ns and l == "key"]
        eq(sorted(keys), sorted(["plain", '"quote\\"d"', '"back\\\\slash"', '"line\\nbreak"', "grün", '"latin\\351"', "{brace,comma=}", '"tab\\there"']))
        verdict = promtool(data)
        if verdict is None:
            print("# no promtool here: by our own reader alone")
        else:
            eq(verdict, (0, ""), "promtool check metrics")


@case("our own reader refuses what is malformed")
def reader(t):
    head = "# HELP a_total x\n# TYPE a_total counter\n"
    promtext.parse((head + 'a_total{x="y\\n\\\\\\""} 1\n').encode())
    for bad in ("a_total 1\n", head + "a_total 1", head + "a_total one\n", head + 'a_total{x="y} 1\n', head + 'a_total{x="\\t"} 1\n', head + "a_total{x=y} 1\n",
                head + "a_total 1\na_total 2\n", head + "b_total 1\n", head + "a_total -1\n", head + head, head.replace("a_total", "a") + "a 1\n",
                "# TYPE a_total counter\na_total 1\n", head + "\n"):
        try:
            promtext.parse(bad.encode())
        except promtext.Malformed:
            continue
        raise AssertionError("taken: %r" % bad)


@case("of one namespace, of all; read-only; a fresh namespace has all its series")
def places(t):
    os.mkdir(t.dir + "b")
    t.put("k")
    eq({dict(pairs)["namespace"] for _, pairs in promtext.parse(read(t.path(".kv/stats")))}, {t.ns})
    all_ = promtext.parse(read(t.mount.dir + "/.kv/stats"))
    ok({t.ns, t.ns + "b"} <= {dict(pairs).get("namespace") for _, pairs in all_}, "of all")
    c = Client()
    before = all_["ledgerfs_expectations", ()]
    c.arm(t.dir, "tree", NONE)
    eq(promtext.parse(read(t.mount.dir + "/.kv/stats"))["ledgerfs_expectations", ()], before + 1)
    c.quit()
    ok("stats" in os.listdir(t.path(".kv")) and "stats" in os.listdir(t.mount.dir + "/.kv"), "listed in .kv")
    with commits(t, 0):
        fails((errno.EPERM, errno.EACCES), save, t.path(".kv/stats"), b"x")
        fails((errno.EPERM, errno.EACCES), os.unlink, t.path(".kv/stats"))
    tip = t.repo.commit_tree(t.repo.mktree([]), None, "made by git\n\nKV-Version: 1\n")
    t.repo.git("update-ref", "refs/kv/%sc" % t.ns, tip)
    eq(stats(t.dir + "c", namespace=t.ns + "c")["attempts_total"], {(): 0.0})


# --- contention ------------------------------------------------------------------------------------------------------


def transactions(d, keys, n, think, seed, way):
    """Read a key, make a new value of it, compare and set; [attempts, successes].  `think`: seconds between two, on average."""
    dice = random.Random(seed)
    tried = won = 0
    for _ in range(n):
        if think:
            time.sleep(dice.uniform(0, 2 * think))  # the client's other work: part of the load
        path = d + "/k%d" % dice.randrange(keys)
        while True:
            fd = os.open(path, os.O_RDONLY)
            old, value = os.getxattr(fd, "user.kv.blob").decode(), int(os.pread(fd, 20, 0))
            os.close(fd)
            tried += 1
            try:
                if way == "swap":
                    os.setxattr(path, "user.kv.swap." + old, b"%d\n" % (value + 1))
                else:
                    arm(path, "blob", old)
                    save(path, b"%d\n" % (value + 1))
                won += 1
                break
            except OSError as e:
                if e.errno not in (errno.EAGAIN, errno.EBUSY):
                    raise
    return tried, won


OPS["transactions"] = transactions
CLIENTS, KEYS, EACH = (int(os.environ.get(n, d)) for n, d in (("CLIENTS", 16), ("KEYS", 64), ("OPS_EACH", 15)))
THINK = float(os.environ.get("THINK", "2"))  # in durations of a transaction


def run(t, way, think):
    """All clients at once; seconds of one transaction, and the share of attempts that succeeded."""
    os.mkdir(t.path("%s%g" % (way, think)))
    d = t.path("%s%g" % (way, think))
    for i in range(KEYS):
        save(d + "/k%d" % i, b"0\n")
    before = stats(t.dir, namespace=t.ns)
    clients = [Client() for _ in range(CLIENTS)]
    began = time.monotonic()
    for i, c in enumerate(clients):
        c.begin("transactions", d, KEYS, EACH, think, i, way)
    got = [c.end() for c in clients]
    took = time.monotonic() - began
    tried, won = (sum(x) for x in zip(*got))
    for c in clients:
        c.quit()
    eq((won, sum(int(read(d + "/k%d" % i)) for i in range(KEYS))), (CLIENTS * EACH, CLIENTS * EACH), "the sum of all")
    s = stats(t.dir, namespace=t.ns)
    eq(sum(s["conflicts_total"].values()) - sum(before["conflicts_total"].values()), tried - won, "conflicts that were counted")
    eq(s["attempts_total"][()] - before["attempts_total"][()], tried, "attempts that were counted")
    q = s["change_duration_seconds"]
    print("# %s, thinking %.0f ms: %d attempts, %.1f %% succeeded, %.0f a second; p50 %.2f, p95 %.2f, p99 %.2f ms" % (
        way, 1e3 * think, tried, 100 * won / tried, won / took, 1e3 * q[("0.5",)], 1e3 * q[("0.95",)], 1e3 * q[("0.99",)]))
    return took * CLIENTS / tried, won / tried


@table([("swap", "swap"), ("expect-blob and save", "save")])
def contention(t, way):
    """
    Normal contention: 16 clients, 64 keys, each client at other work for two thirds of its time: over 90 % succeed.  Without
    any other work between two transactions 16 clients want 14.3 different keys of 64 at a time on average: 89 % can succeed.
    """
    each, _ = run(t, way, 0)
    _, share = run(t, way, THINK * each)
    ok(share > 0.9, "only %.1f %% of the attempts succeeded" % (100 * share))


if __name__ == "__main__":
    main(log=["conflict|refused|rejected|EAGAIN"])
