#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""SPEC 8.1: the program's options, its ends, its faces in /proc/mounts and fstab."""
import signal
import stat

from lib import *

BIN = os.path.dirname(os.path.abspath(LEDGERFS))


def fresh(name, **kw):
    return Repo(tempfile.mkdtemp(dir=work()) + "/" + name, **kw)


def point():
    return tempfile.mkdtemp(prefix="mnt-", dir=work())


def try_it(m, ns="app"):
    """It is a mount that works."""
    os.mkdir(m + "/" + ns)
    save(m + "/%s/k" % ns, b"v\n")
    eq(read(m + "/%s/k" % ns), b"v\n")


def daemon_of(mnt):
    """The pid of the background daemon with that mount point among its arguments."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as f:
                args = f.read().split(b"\0")
        except OSError:
            continue
        if os.fsencode(mnt) in args and b"ledgerfs" in os.path.basename(args[0]):
            return int(pid)
    return None


def background(*args, mnt):
    """Runs the command, which must have mounted by the time it returns; unmounts and waits for the daemon's end."""
    p = subprocess.run(list(args), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT)
    eq((p.returncode, p.stdout.decode()), (0, ""), "status and output")
    found = [m for m in mounts() if m[0] == mnt]
    ok(found and found[-1][2] == "fuse.ledgerfs", "mounted at once: %s" % found)
    pid = daemon_of(mnt)
    ok(pid, "a daemon in the background")
    pidfd = os.pidfd_open(pid)
    try:
        try_it(mnt)
        cwd_of = os.readlink("/proc/%d/cwd" % pid)
        eq(cwd_of, "/", "the daemon's working directory")
        ok(os.getsid(pid) != os.getsid(0), "a session of its own")
    finally:
        subprocess.run(["fusermount3", "-u", mnt], check=True)
        ok(select.select([pidfd], [], [], LIMIT)[0], "the daemon ends after the unmount")
        os.close(pidfd)


@case("in the background: returns when the mount answers; the daemon ends with it")
def daemonises(t):
    m = point()
    background(LEDGERFS, fresh("r.git").path, m, mnt=m)


@case("options behind the operands, as mount.fuse3 puts them, and its generic ones")
def generic(t):
    m = point()
    background(LEDGERFS, fresh("r.git").path, m, "-o", "rw,dev,suid,noatime,nodev,nosuid,exec,async,_netdev,noauto,nofail,user,x-systemd.automount", mnt=m)


@case("relative paths, from another folder")
def relative(t):
    top = tempfile.mkdtemp(dir=work())
    Repo(top + "/r.git")
    os.mkdir(top + "/m")
    p = subprocess.run([LEDGERFS, "r.git", "./m"], cwd=top, stdin=subprocess.DEVNULL)
    eq(p.returncode, 0)
    try_it(top + "/m")
    subprocess.run(["fusermount3", "-u", top + "/m"], check=True)


@case("mount -t fuse.ledgerfs and fstab, in a mount namespace where it is installed")
def mount_helper(t):
    skip_unless(os.geteuid() == 0, "only for root")
    tab = work() + "/fstab"
    with open(tab, "w") as f:
        f.write("%s/made.git %s/by-fstab fuse.ledgerfs defaults,noauto,init 0 0\n" % (work(), work()))
    text = """
        mount --bind "$BIN" /usr/local/bin && cd "$W" && mkdir by-mount by-fstab && git init -q --bare by-hand.git
        mount -t fuse.ledgerfs -o noatime by-hand.git by-mount && mount -T fstab by-fstab
        for m in by-mount by-fstab; do
            findmnt -n -o FSTYPE $m && mkdir $m/app && echo $m > $m/app/k && cat $m/app/k && umount $m
        done
        git -C made.git log --format=%s refs/kv/app
    """
    p = subprocess.run(["unshare", "-m", "sh", "-ec", text], env={**os.environ, "BIN": BIN, "W": work()}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    eq(p.stdout.decode().splitlines(), ["fuse.ledgerfs", "by-mount", "fuse.ledgerfs", "by-fstab", "set k", "create app"])


@case("/proc/mounts says fuse.ledgerfs and names the repository")
def proc_mounts(t):
    repo = fresh("my repo.git")
    with Mount(repo) as m:
        line = [x.split() for x in open("/proc/mounts") if x.split()[1] == m.dir][0]
        eq(line[2], "fuse.ledgerfs")
        ok(line[0].endswith("my\\040repo.git"), "source %s" % line[0])


@case("-s serves several clients with one thread")
def single(t):
    with Mount(fresh("r.git"), args=["-s"]) as m:
        try_it(m.dir)
        clients = [Client() for _ in range(4)]
        for i in range(20):
            for n, c in enumerate(clients):
                c.begin("save", m.dir + "/app/%d" % n, b"%d" % i)
            for c in clients:
                c.end()
        eq([read(m.dir + "/app/%d" % n) for n in range(4)], [b"19"] * 4)
        for c in clients:
            c.quit()


@case("-d shows the requests")
def debug(t):
    with Mount(fresh("r.git"), args=["-d"]) as m:
        try_it(m.dir)
        ok(any("LOOKUP" in line.upper() for line in m.log()), "no request on stderr")


@table([("bare", dict(bare=True), ""), ("with a work tree", dict(bare=False), ""), ("its .git", dict(bare=False), "/.git")])
def repository(t, kw, suffix):
    repo = fresh("repo", **kw)
    with Mount(repo.path + suffix) as m:
        try_it(m.dir)
        eq(repo.show("app", "k"), b"v\n")
    eq(repo.faults(), [])


@case("a worktree's own checkout and index are left alone")
def worktree(t):
    repo = fresh("repo", bare=False)
    save(repo.path + "/file", b"work\n")
    env = {"GIT_WORK_TREE": repo.path}
    repo.git("add", "file", env=env)
    repo.git("commit", "-qm", "first", env=env)
    with Mount(repo) as m:
        try_it(m.dir)
    eq(repo.git("status", "--porcelain", env=env), "")
    eq(repo.git("log", "--format=%s", "HEAD"), "first")


@case("-o init makes a bare repository, durable and gc-safe, only where there is none")
def init(t):
    path = tempfile.mkdtemp(dir=work()) + "/new.git"
    with Mount(path, "init") as m:
        try_it(m.dir)
    repo = Repo(path, init=False)
    eq(repo.git("config", "core.bare"), "true")
    eq(repo.show("app", "k"), b"v\n")
    eq(repo.faults(), [])
    tip = repo.tip("app")
    with Mount(path, "init") as m:
        eq(read(m.dir + "/app/k"), b"v\n")
    eq(repo.tip("app"), tip)


@table([("fusermount3 -u", "fusermount3"), ("SIGTERM", signal.SIGTERM), ("SIGINT", signal.SIGINT), ("SIGHUP", signal.SIGHUP)])
def ends_by(t, how):
    repo = fresh("r.git")
    m = Mount(repo)
    try_it(m.dir)
    eq(m.unmount(how), 0, "exit status")
    ok(not os.path.ismount(m.dir), "unmounted")
    eq([line for line in m.log() if "unmounting" not in line], [])
    eq((repo.show("app", "k"), repo.faults()), (b"v\n", []))


@case("SIGTERM with a dirty handle: nothing half is committed, and it ends")
def term_dirty(t):
    repo = fresh("r.git")
    m = Mount(repo)
    try_it(m.dir)
    c = Client()
    fd = c.open(m.dir + "/app/k", os.O_WRONLY | os.O_TRUNC)
    c.write(fd, b"half")
    os.kill(m.proc.pid, signal.SIGTERM)
    status = m.proc.wait(LIMIT)
    Mount.live.remove(m)
    subprocess.run(["umount", "-l", m.dir], stderr=subprocess.DEVNULL, check=False)
    eq(status, 0, "exit status")
    ok(any("app/k" in line or "k" in line for line in m.log()), "the unsaved handle is named in the log: %s" % m.log())
    eq((repo.show("app", "k"), repo.count("app"), repo.faults()), (b"v\n", 2, []))
    c.quit(9)


@case("fusermount3 -u with an open handle is refused; all goes on")
def busy(t):
    with Mount(fresh("r.git")) as m:
        try_it(m.dir)
        fd = os.open(m.dir + "/app/k", os.O_WRONLY | os.O_TRUNC)
        os.write(fd, b"new\n")
        p = subprocess.run(["fusermount3", "-u", m.dir], stderr=subprocess.PIPE)
        ok(p.returncode and b"busy" in p.stderr.lower(), p)
        os.close(fd)
        eq(read(m.dir + "/app/k"), b"new\n")


@case("ro: EROFS for every change, reads and attributes work")
def readonly(t):
    repo = fresh("r.git")
    with Mount(repo) as m:
        try_it(m.dir)
    tip = repo.tip("app")
    with Mount(repo, "ro") as m:
        p = m.dir + "/app/k"
        eq((read(p), get(p, "commit")), (b"v\n", tip))
        for call in (lambda: save(p, b"x"), lambda: save(p + "2", b"x"), lambda: os.unlink(p), lambda: os.mkdir(m.dir + "/new"), lambda: os.mkdir(m.dir + "/app/d"),
                     lambda: os.rename(p, p + "2"), lambda: os.symlink("x", p + "2"), lambda: os.chmod(p, 0o755), lambda: os.truncate(p, 0)):
            fails(errno.EROFS, call)
        repo.foreign("app", {"k": b"foreign\n"})
        eq(read(p), b"foreign\n")


@table([("default", "", 0o022, 0o755, 0o644), ("umask=027", "umask=027", 0o022, 0o750, 0o640), ("umask=0", "umask=0", 0o022, 0o777, 0o666),
        ("umask=077", "umask=077", 0o022, 0o700, 0o600)])
def modes(t, opts, mask, dirmode, filemode):
    with Mount(fresh("r.git"), opts) as m:
        try_it(m.dir)
        eq(stat.S_IMODE(os.stat(m.dir + "/app").st_mode), dirmode)
        eq(stat.S_IMODE(os.stat(m.dir + "/app/k").st_mode), filemode)
        os.chmod(m.dir + "/app/k", 0o777)
        eq(stat.S_IMODE(os.stat(m.dir + "/app/k").st_mode), dirmode)


@case("uid and gid are shown; chown to them succeeds")
def owner(t):
    with Mount(fresh("r.git"), "uid=1234,gid=4321") as m:
        try_it(m.dir)
        st = os.stat(m.dir + "/app/k")
        eq((st.st_uid, st.st_gid), (1234, 4321))
        os.chown(m.dir + "/app/k", 1234, 4321)
        fails(errno.EPERM, os.chown, m.dir + "/app/k", 0, 0)


def as_nobody(*args):
    p = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return p.returncode, p.stdout.decode()


@case("another user: nothing without allow_other, by the modes with it")
def allow_other(t):
    skip_unless(os.geteuid() == 0, "only for root")
    os.chmod(work(), 0o755)
    repo = fresh("r.git")
    with Mount(repo) as m:
        os.chmod(m.dir, 0o755)
        try_it(m.dir)
        eq(as_nobody("cat", m.dir + "/app/k")[0], 1)
    with Mount(repo, "allow_other,default_permissions") as m:
        eq(as_nobody("cat", m.dir + "/app/k"), (0, "v\n"))
        eq(as_nobody("sh", "-c", "echo x > %s/app/k" % m.dir)[0] != 0, True, "mode 644 keeps others from writing")
    with Mount(repo, "allow_other,default_permissions,umask=0") as m:
        eq(as_nobody("sh", "-c", "echo theirs > %s/app/k" % m.dir), (0, ""))
        eq(repo.show("app", "k"), b"theirs\n")
        eq(repo.git("log", "-1", "--format=%an", "refs/kv/app"), "nobody")
        ok("] 65534" in repo.message("app"), "KV-Client names the uid")


if __name__ == "__main__":
    main(shared=False)
