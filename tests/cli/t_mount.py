#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A mount on the shared repository: it sees each accepted push at the next open; git kv works beside it."""
import atexit

from kvlib import *  # noqa: F401,F403

LEDGERFS = os.environ.get("LEDGERFS", TOP + "/build/fs/ledgerfs")

if not os.path.exists("/dev/fuse"):
    print("1..0 # SKIP no /dev/fuse")
    sys.exit(77)


def mount(repo):
    """The daemon in the foreground; the mount point, once it is in the mount table."""
    point = folder("mnt")
    log = open(folder("log") + "/stderr", "w+")
    p = subprocess.Popen([LEDGERFS, "-f", repo.path, point], env=ENV, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def stop():
        if os.path.ismount(point):
            subprocess.run(["fusermount3", "-u", point], capture_output=True)
        try:
            p.wait(20)
        except subprocess.TimeoutExpired:
            p.kill()
            subprocess.run(["fusermount3", "-u", "-z", point], capture_output=True)

    atexit.register(stop)
    end = time.monotonic() + LIMIT
    while not os.path.ismount(point):
        check(p.poll() is None and time.monotonic() < end, "no mount", open(log.name).read())
        os.sched_yield()
    return point, stop, log


def read(path):
    with open(path) as f:
        return f.read()


@case("each accepted push is seen at the next open, a refused one never; saves in the mount are seen by git kv")
def pushes():
    hub = new_stargate()
    a, b = clone(hub.path), clone(hub.path)
    a.kv("set", "n", "0")
    point, stop, log = mount(hub)
    equal(read(point + "/main/n"), "0")
    for i in range(1, 31):
        who = (a, b)[i % 2]
        who.kv("set", "n", str(i))
        equal(read(point + "/main/n"), str(i))
        equal(os.getxattr(point + "/main", "user.kv.version").decode(), str(i + 1))
    stale = a.state()
    with open(point + "/main/n", "w") as f:
        f.write("from the mount")
    r = a.kv("set", "n", "x", "--expect-commit", stale["commit"], status=2)
    check("version 32" in r.err, r)
    equal(read(point + "/main/n"), "from the mount")
    b.kv("remote", "update")
    equal(b.kv("get", "n").out, "from the mount")
    # Here, beside the mount, without a push.
    hub.kv("set", "n", "beside", "--expect-version", "32")
    equal(read(point + "/main/n"), "beside")
    a.git("push", "origin", a.commit(EMPTY_TREE, a.ref(), a.ref(), version=99) + ":refs/kv/main", status=1)
    equal(read(point + "/main/n"), "beside")
    a.kv("ns", "create", "fresh")
    equal(os.listdir(point + "/fresh"), [])
    stop()
    hub.whole()


@case("3 clones and a shell in the mount, one counter, compare-and-swap: none lost")
def counter():
    hub = new_stargate()
    clones = [clone(hub.path) for _ in range(3)]
    clones[0].kv("set", "n", "0")
    point, stop, log = mount(hub)
    script = r"""
import json, random, subprocess, sys, time
wins = 0
while wins < 5:
    subprocess.run([sys.argv[1], "remote", "update"], check=True)
    now = json.loads(subprocess.run([sys.argv[1], "get", "n", "--json"], capture_output=True, check=True).stdout)
    r = subprocess.run([sys.argv[1], "set", "n", str(int(now["value"]) + 1), "--expect-tree", now["tree"]], capture_output=True)
    assert r.returncode in (0, 2), r
    wins += r.returncode == 0
    time.sleep(random.random() * 0.02)
"""
    inside = r"""
import errno, os, random, sys, time
d = sys.argv[1]
wins = 0
while wins < 15:
    tree = os.getxattr(d, "user.kv.tree")
    n = int(open(d + "/n").read())
    try:
        os.setxattr(d, "user.kv.expect-tree", tree)
        fd = os.open(d + "/n", os.O_WRONLY | os.O_TRUNC)
        os.write(fd, str(n + 1).encode())
        os.close(fd)
        wins += 1
    except OSError as e:
        assert e.errno in (errno.EAGAIN, errno.EBUSY), e
        time.sleep(random.random() * 0.02)
"""
    ps = [subprocess.Popen([sys.executable, "-c", script, GIT_KV], cwd=c.path, env=ENV, stderr=subprocess.PIPE) for c in clones]
    ps.append(subprocess.Popen([sys.executable, "-c", inside, point + "/main"], env=ENV, stderr=subprocess.PIPE))
    for p in ps:
        err = p.communicate(timeout=LIMIT)[1]
        equal(p.returncode, 0, err.decode())
    equal(read(point + "/main/n"), "30")
    equal(hub.versions(), list(range(1, 32)))
    stop()
    hub.whole()


main()
