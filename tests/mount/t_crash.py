#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""SPEC 5.5 and 8.1: kill -9 of the daemon loses nothing that was acknowledged, and the next mount takes over."""
import random

from lib import *

ROUNDS = int(os.environ.get("ROUNDS", "8"))


def keep_saving(mnt, ns, who, report):
    """Saves until the mount dies; every acknowledged value goes to `report` first thing."""
    i = 0
    with open(report, "ab", 0) as f:
        while True:
            i += 1
            try:
                save("%s/%s/k%d" % (mnt, ns, who), b"%d\n" % i * (i % 50 + 1))
            except OSError:
                return i
            f.write(b"%d\n" % i)


OPS["keep_saving"] = keep_saving


@table([("publish=sync", ""), ("publish=async", "publish=async")])
def kill_9_under_load_again_and_again(t, opts):
    """Every acknowledged save is there, no ledger is torn."""
    rng = random.Random(os.environ.get("SEED", os.getpid()))
    repo = Repo(tempfile.mkdtemp(dir=work()) + "/r.git")
    reports = [work() + "/report-%d" % i for i in range(3)]
    total = 0
    for n in range(ROUNDS):
        m = Mount(repo, opts)
        if n == 0:
            os.mkdir(m.dir + "/app")
        for r in reports:
            open(r, "wb").close()
        clients = [Client() for _ in reports]
        for who, c in enumerate(clients):
            c.begin("keep_saving", m.dir, "app", who, reports[who])
        enough = rng.randrange(3, 60)
        until(lambda: min(os.path.getsize(r) for r in reports) > enough, "saves")
        m.kill()
        tried = [c.end() for c in clients]
        for c in clients:
            c.quit()
        with Mount(repo, opts) as m:
            for who, r in enumerate(reports):
                acked = int(open(r).read().split()[-1])
                value = read(m.dir + "/app/k%d" % who)
                got = int(value.split()[0])
                ok(acked <= got <= tried[who], "client %d: acknowledged %d, tried %d, found %d" % (who, acked, tried[who], got))
                eq(value, b"%d\n" % got * (got % 50 + 1), "whole")
                total += acked
            save(m.dir + "/app/after", b"%d\n" % n)
        eq(repo.show("app", "after"), b"%d\n" % n)
        eq(repo.faults(), [], "round %d" % n)
    print("# %d rounds, %d acknowledged saves, 0 lost" % (ROUNDS, total))


@case("a lock file of a dead writer is not ours to break: the save waits, then says EAGAIN; with it gone all goes on")
def stale_lock(t):
    repo = Repo(work() + "/lock.git")
    with Mount(repo) as m:
        os.mkdir(m.dir + "/app")
        lock = repo.path + "/refs/kv/app.lock"
        open(lock, "x").close()
        t0 = time.monotonic()
        fails(errno.EAGAIN, save, m.dir + "/app/k", b"v\n")
        ok(time.monotonic() - t0 > 1, "it did not wait at all")
        ok(os.path.exists(lock), "it broke somebody's lock")
        os.unlink(lock)
        save(m.dir + "/app/k", b"v\n")
        eq(repo.show("app", "k"), b"v\n")


if __name__ == "__main__":
    main(shared=False)
