#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""SPEC 3: mtime of a key is the time of the last commit that changed it, after a remount too, however long ago that was."""
from lib import *

T0 = 1000000000
LONG = 3000  # commits: more than a walk looks at


def history(repo, first, n, change, parent=None):
    """Commits number first..first+n-1 by somebody else, one a second; change(i) is {path: text, or None to delete}."""
    out = []
    for i in range(first, first + n):
        msg = "commit %d\n\nKV-Version: %d\n" % (i, i + 1)
        out.append("commit refs/kv/app\ncommitter x <x@y> %d +0000\ndata %d\n%s" % (T0 + i, len(msg), msg))
        if i == first and parent:
            out.append("from %s" % parent)
        for path, text in change(i).items():
            out.append("D %s" % path if text is None else "M 644 inline %s\ndata %d\n%s" % (path, len(text), text))
    repo.raw("fast-import", "--quiet", "--force", input=("\n".join(out) + "\n").encode())


def busy(i):
    """40 keys that never change again, ten that do all the time, one now and then."""
    d = {"hot/%d" % (i % 10): str(i)}
    if i == 0:
        d.update({"cold/%d/k%d" % (k % 4, k): "c" for k in range(40)})
    if i % 700 == 3:
        d["warm/k%d" % i] = "w"
    return d


def git_times(repo):
    """{path: seconds} by git's own diffs."""
    when, at = {}, 0
    for line in repo.git("log", "--reverse", "--root", "--no-renames", "--format=@%ct", "--name-status", "refs/kv/app").splitlines():
        if line.startswith("@"):
            at = int(line[1:])
        elif line:
            how, path = line.split("\t")
            if how == "D":
                del when[path]
            else:
                when[path] = at
    return when


def mount_times(m, paths):
    return {p: int(os.stat("%s/app/%s" % (m.dir, p)).st_mtime) for p in paths}


def settled(m, path, want):
    until(lambda: int(os.stat("%s/app/%s" % (m.dir, path)).st_mtime) == want, "the time of %s" % path)


@case("a history of thousands of commits: the right time when it was read; after a remount at the first look")
def remount(t):
    repo = Repo(work() + "/long.git")
    history(repo, 0, LONG, busy)
    want = git_times(repo)
    with Mount(repo) as m:
        with open(m.dir + "/app/cold/0/k0") as f:  # the kernel keeps this inode, with what it was told first
            until(lambda: os.fstat(f.fileno()).st_mtime == T0, "the time of an open file")
        eq(mount_times(m, want), want)
        save(m.dir + "/app/cold/1/k1", b"new\n")
        own = os.stat(m.dir + "/app/cold/1/k1").st_mtime_ns
        os.utime(m.dir + "/app/cold/2/k2", ns=(5, 12345678900))
        save(m.dir + "/app/other", b"x\n")
        eq(os.stat(m.dir + "/app/cold/2/k2").st_mtime_ns, 12345678900, "touched, after another save")
    for _ in range(2):
        with Mount(repo) as m:
            eq(mount_times(m, ["cold/2/k2", "cold/3/k3"]), {"cold/2/k2": T0, "cold/3/k3": T0}, "the first look")
            eq(os.stat(m.dir + "/app/cold/1/k1").st_mtime_ns, own, "to the nanosecond")
            eq(mount_times(m, git_times(repo)), git_times(repo))
            eq(int(os.stat(m.dir + "/app/cold/3").st_mtime), T0, "a directory below which nothing changed")
    eq(repo.faults(), [])


@case("rsync -a and make see no change after a remount and thousands of commits to other keys")
def tools(t):
    repo = Repo(work() + "/tools.git")
    history(repo, 0, 50, busy)
    copy, out = work() + "/copy", work() + "/out"
    make = work() + "/Makefile"

    def rsync(m, *args):
        p = subprocess.run(["rsync", "-a", "-i", *args, m.dir + "/app/", copy], stdout=subprocess.PIPE, check=True)
        return sorted(line.split(maxsplit=1)[1] for line in p.stdout.decode().splitlines() if line[1] == "f")

    with Mount(repo) as m:
        rsync(m)
        open(make, "w").write("%s: %s/app/cold/0/k0\n\tcp $< $@\n" % (out, m.dir))
        subprocess.run(["make", "-s", "-f", make], check=True)
        point = m.dir
    history(repo, 50, LONG, lambda i: {"hot/%d" % (i % 3): "later %d" % i}, "refs/kv/app^0")
    with Mount(repo, point=point) as m:
        settled(m, "cold/0/k0", T0)
    with Mount(repo, point=point) as m:
        eq(subprocess.run(["make", "-q", "-f", make]).returncode, 0, "make has something to do")
        eq(rsync(m, "-n"), ["hot/0", "hot/1", "hot/2"], "rsync's list")
        save(m.dir + "/app/cold/0/k0", b"new\n")
        eq(subprocess.run(["make", "-q", "-f", make]).returncode, 1, "make sees the save")
        eq(rsync(m, "-n"), ["cold/0/k0", "hot/0", "hot/1", "hot/2"], "rsync's list after a save")


@case("a value that went and came back by somebody else has the time of its return, also where the kernel knew it")
def there_and_back(t):
    repo = Repo(work() + "/back.git")
    history(repo, 0, 10, lambda i: {"k": "A", "n": str(i)})
    with Mount(repo) as m, open(m.dir + "/app/k"):
        eq(mount_times(m, ["k"]), {"k": T0})
        history(repo, 10, 2, lambda i: {"k": "B" if i == 10 else "A"}, "refs/kv/app^0")
        eq(mount_times(m, ["k"]), {"k": T0 + 11})
        os.utime(m.dir + "/app/k", (7, 7))
        history(repo, 12, 1, lambda i: {"n": "more"}, "refs/kv/app^0")
        eq(mount_times(m, ["k"]), {"k": 7}, "touched")


@case("killed at any moment, two mounts at once, a history that is rewritten: never a wrong time from the cache")
def hardships(t):
    repo = Repo(work() + "/hard.git")
    history(repo, 0, LONG, busy)
    with Mount(repo) as m:
        mount_times(m, ["hot/1"])
        m.kill()  # while it reads the history
    one, two = Mount(repo), Mount(repo)
    for m in one, two:
        settled(m, "cold/0/k0", T0)
    for i in range(30):
        save("%s/app/cold/%d/k%d" % ((one, two)[i % 2].dir, i % 4, i), b"%d\n" % i)
    want = git_times(repo)
    for m in one, two:
        eq(mount_times(m, want), want)
    one.kill()
    two.unmount()
    with Mount(repo) as m:
        eq(mount_times(m, want), want, "after a kill")
        # Another history of the same length under the mount's feet.
        base = repo.git("rev-parse", "refs/kv/app~2500")
        history(repo, int(repo.version("app", "~2500")), LONG, lambda i: {"hot/x": str(i), **({"cold/0/k0": "re"} if i % 999 == 0 else {})}, base)
        want = git_times(repo)
        settled(m, "cold/3/k3", want["cold/3/k3"])
        until(lambda: mount_times(m, want) == want, "times of the other history")
    with Mount(repo) as m:
        eq(mount_times(m, want), want, "the first look")
    eq(repo.faults(), [])


if __name__ == "__main__":
    main(shared=False)
