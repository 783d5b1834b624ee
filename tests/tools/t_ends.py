#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The end of a mount with files open, saved and unsaved, and temporary files beside: what is saved is committed, what is not is named."""
import fcntl
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "mount"))
from lib import *  # noqa: E402,F401,F403


def start(name, opts=""):
    repo = Repo(work() + "/" + name)
    m = Mount(repo, opts)
    os.mkdir(m.dir + "/app")
    save(m.dir + "/app/k", b"old\n")
    return repo, m, m.dir + "/app/"


def finish(m, how):
    """The daemon's status and log, by SIGTERM or after everybody has closed."""
    if how == "SIGTERM":
        m.proc.send_signal(signal.SIGTERM)
        status = m.proc.wait(LIMIT)
        Mount.live.remove(m)
    else:
        status = m.unmount()
    ok(not [x for x in mounts() if x[0] == m.dir], "the mount is gone")
    return status, [line.split(": ", 1)[1] for line in m.log()]


@case("fusermount3 -u is refused while a file, a folder or a mapping is in use; all goes on")
def refused(t):
    repo, m, d = start("refused.git")
    c = Client()
    for call, args in (("open", (d + "k", os.O_RDONLY)), ("open", (d + "k", os.O_WRONLY)), ("open", (m.dir, os.O_RDONLY))):
        fd = getattr(c, call)(*args)
        q = subprocess.run(["fusermount3", "-u", m.dir], stderr=subprocess.PIPE, text=True)
        ok(q.returncode and "busy" in q.stderr.lower(), q)
        c.close(fd)
    c.chdir(d)
    ok(subprocess.run(["fusermount3", "-u", m.dir], stderr=subprocess.DEVNULL).returncode, "a working directory")
    c.chdir("/")
    save(d + "k", b"new\n")
    eq(finish(m, "fusermount3"), (0, []))
    eq(repo.show("app", "k"), b"new\n")
    c.quit()


@case("SIGTERM with dirty, clean, fsynced and poisoned handles: what is saved is there, the dirty one is named, none else")
def term(t):
    repo, m, d = start("term.git")
    c = Client()
    for name in ("dirty", "clean", "synced", "half"):
        save(d + name, b"old\n")
    fds = {name: c.open(d + name, os.O_RDWR) for name in ("dirty", "clean", "synced", "half")}
    c.pwrite(fds["dirty"], b"new\n", 0)
    c.pwrite(fds["synced"], b"new\n", 0)
    c.fsync(fds["synced"])
    c.pwrite(fds["half"], b"new\n", 0)
    c.fsync(fds["half"])
    c.pwrite(fds["half"], b"newer\n", 0)
    new = c.open(d + "never", os.O_WRONLY | os.O_CREAT)
    c.write(new, b"x")
    status, log = finish(m, "SIGTERM")
    eq(status, 0)
    eq({k: repo.show("app", k) for k in repo.keys("app")}, {"k": b"old\n", "dirty": b"old\n", "clean": b"old\n", "synced": b"new\n", "half": b"new\n"})
    named = sorted(x.split(":")[0] for x in log if "not saved" in x)
    eq(named, ["app/dirty", "app/half", "app/never"], "named in the log: %s" % log)
    fails((errno.ENOTCONN, errno.ECONNABORTED), c.pwrite, fds["dirty"], b"x", 0)
    c.quit(9)
    eq(repo.faults(), [])


def wait_for_lock(path):
    fd = os.open(path, os.O_RDWR)
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX)
    finally:
        try:
            os.close(fd)
        except OSError:
            pass


OPS.update({"wait_for_lock": wait_for_lock, "lockf": lambda fd: fcntl.lockf(fd, fcntl.LOCK_EX)})


@case("SIGTERM while a process waits for a lock: it is told, and the daemon ends")
def waiting(t):
    repo, m, d = start("waiting.git")
    holder, waiter = Client(), Client()
    fd = holder.open(d + "k", os.O_RDWR)
    holder.lockf(fd)
    waiter.begin("wait_for_lock", d + "k")
    queued(m, waiter)
    status, log = finish(m, "SIGTERM")
    eq((status, [x for x in log if "in use" not in x]), (0, []))
    fails((errno.EINTR, errno.ENOTCONN, errno.ECONNABORTED, errno.EIO), waiter.end)
    for c in (holder, waiter):
        c.quit(9)


@table([("fusermount3 -u", "fusermount3"), ("SIGTERM", "SIGTERM")])
def temporary_files(t, how):
    repo, m, d = start("tmp-%s.git" % how)
    save(d + ".k.swp", b"swap")
    save(d + "k~", b"backup")
    save(d + "stays.tmp", b"a key like any other\n")
    save(d + "goes.tmp", b"x")
    os.unlink(d + "goes.tmp")
    os.rename(d + "k", d + "k.bak~")
    os.mkdir(d + ".~tmp~")
    save(d + ".~tmp~/part", b"x")
    eq(sorted(read(d + ".kv/scratch").decode().split()), [".k.swp", ".~tmp~", ".~tmp~/part", "k.bak~", "k~", "stays.tmp"])
    status, log = finish(m, how)
    eq((status, repo.keys("app"), repo.show("app", "stays.tmp")), (0, ["stays.tmp"], b"a key like any other\n"))
    lost = sorted(x.split(":")[0] for x in log if "lost with the mount" in x)
    eq(lost, ["app/.k.swp", "app/.~tmp~", "app/.~tmp~/part", "app/k.bak~", "app/k~"], "named: %s" % log)
    eq(sorted(x for x in log if "lost" not in x and "in use" not in x), [])
    eq(repo.faults(), [])


@case("a passing file that stays becomes a key by itself; one that is open does not yet")
def passing(t):
    repo, m, d = start("passing.git")
    tip = repo.tip("app")
    save(d + "a.tmp", b"stays\n")
    c = Client()
    fd = c.open(d + "b.tmp", os.O_WRONLY | os.O_CREAT)
    c.write(fd, b"open\n")
    eq(repo.tip("app"), tip, "not at once")
    until(lambda: repo.tip("app") != tip, "the commit of a.tmp")
    eq((repo.keys("app"), repo.subject("app"), read(d + "a.tmp")), (["a.tmp", "k"], "set a.tmp", b"stays\n"))
    tip = repo.tip("app")
    c.close(fd)
    until(lambda: repo.tip("app") != tip, "the commit of b.tmp")
    eq((repo.keys("app"), read(d + ".kv/scratch")), (["a.tmp", "b.tmp", "k"], b""))
    save(d + "a.tmp", b"again\n")
    eq(repo.show("app", "a.tmp"), b"again\n", "a key by now: its saves are commits")
    c.quit()
    eq(finish(m, "fusermount3"), (0, []))


@case("kv.scratch and kv.passing add and remove patterns")
def configured(t):
    repo = Repo(work() + "/conf.git")
    for key, value in (("scratch", "*.bak"), ("scratch", "-*~"), ("passing", "build-*"), ("passing", "-*.tmp")):
        repo.git("config", "--add", "kv." + key, value)
    with Mount(repo) as m:
        d = m.dir + "/app/"
        os.mkdir(d)
        for name in ("k.bak", "k~", "build-1", "k.tmp"):
            save(d + name, b"x")
        eq(sorted(read(d + ".kv/scratch").decode().split()), ["build-1", "k.bak"])
        eq(repo.keys("app"), ["k.tmp", "k~"])
        os.rename(d + "build-1", d + "built")
        eq(repo.subject("app"), "set built")
    eq(repo.keys("app"), ["built", "k.tmp", "k~"])


@case("scratch files are bounded in memory: 64 MiB of them go to the disk, and nothing of them stays")
def bounded(t):
    repo, m, d = start("bounded.git")
    files = set(os.listdir(repo.gitdir))
    for i in range(2):
        with open(d + "k%d~" % i, "wb") as f:
            for _ in range(32):
                f.write(os.urandom(1 << 20))
    with open("/proc/%d/status" % m.proc.pid) as f:
        rss = int(dict(line.split(":", 1) for line in f)["RssAnon"].split()[0]) // 1024
    ok(rss < 32 * (1 if SLOW == 1 else 8), "%d MiB of memory" % rss)
    eq(os.stat(d + "k1~").st_size, 32 << 20)
    status, log = finish(m, "fusermount3")
    eq((status, len(log), set(os.listdir(repo.gitdir)) - files), (0, 2, set()))


@case("SIGTERM in the middle of writes by eight processes: it ends in time, no save is half, every acknowledged one is there")
def term_under_load(t):
    repo, m, d = start("load.git")
    clients = [Client() for _ in range(8)]
    for n, c in enumerate(clients):
        c.begin("until_it_fails", d + "w%d" % n)
    until(lambda: repo.count("app") > 60, "some saves")
    status, log = finish(m, "SIGTERM")
    eq(status, 0)
    for n, c in enumerate(clients):
        acked, tried = c.end()
        got = int(repo.show("app", "w%d" % n).split(b"\n", 1)[0])
        ok(acked <= got <= tried, "acknowledged %d, there %d, tried %d" % (acked, got, tried))
        eq(repo.show("app", "w%d" % n), b"%d\n" % got * 500, "whole")
        c.quit()
    eq(repo.faults(), [])


def until_it_fails(path):
    """Saves until the mount is gone: the last that was acknowledged, the last that was tried."""
    acked = 0
    while True:
        try:
            save(path, b"%d\n" % (acked + 1) * 500)
            acked += 1
        except OSError:
            return acked, acked + 1


OPS["until_it_fails"] = until_it_fails


if __name__ == "__main__":
    main(shared=False)
