#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Other users: one who mounts their own repository, one who comes to another's mount; access by the shown modes."""
import os
import pwd
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "mount"))
from lib import *  # noqa: E402,F401,F403

USER = pwd.getpwnam("nobody")


def as_user(*args, env=None, **kw):
    return ["setpriv", "--reuid=%d" % USER.pw_uid, "--regid=%d" % USER.pw_gid, "--clear-groups", *args]


def run(*args, **kw):
    p = subprocess.run(as_user(*args), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "HOME": home()}, **kw)
    return p.returncode, p.stdout


_home = []


def home():
    """A folder that is theirs."""
    if not _home:
        os.chmod(work(), 0o755)
        _home.append(work() + "/home")
        os.mkdir(_home[0], 0o755)
        os.chown(_home[0], USER.pw_uid, USER.pw_gid)
    return _home[0]


def may_run():
    """Can that user reach the program at all?  It may lie in a folder of root's alone."""
    if os.geteuid() or not shutil.which("setpriv") or not shutil.which("fusermount3"):
        return None
    if subprocess.run(as_user(LEDGERFS, "--version"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
        return LEDGERFS
    shutil.copy(LEDGERFS, work() + "/ledgerfs")
    os.chmod(work() + "/ledgerfs", 0o755)
    return work() + "/ledgerfs"


@case("a user mounts their own repository with fusermount3, works, and unmounts; root stays outside")
def own(t):
    home()
    prog = may_run()
    skip_unless(prog, "only for root, with setpriv and fusermount3")
    mnt, repo = home() + "/mnt", home() + "/repo.git"
    eq(run("mkdir", mnt)[0], 0)
    status, out = run(prog, "-o", "init", repo, mnt)
    eq((status, out), (0, ""), "mounting")
    try:
        eq(run("sh", "-ec", "cd %s; mkdir app; echo one > app/k; echo two >> app/k; sed -i s/one/1/ app/k; cat app/k; stat -c '%%u %%a' app/k; mv app/k app/l; ls app" % mnt),
           (0, "1\ntwo\n%d 644\nl\n" % USER.pw_uid))
        fails((errno.EACCES,), os.listdir, mnt)
        line = [x.split() for x in open("/proc/mounts") if x.split()[1] == mnt][0]
        ok("user_id=%d" % USER.pw_uid in line[3] and "nosuid" in line[3] and "nodev" in line[3], line)
        eq(run("git", "--git-dir=" + repo, "log", "--format=%an %s", "refs/kv/app")[1].split("\n")[:2], ["nobody rename k -> l", "nobody set k"])
        eq(os.stat(repo).st_uid, USER.pw_uid)
        eq({os.lstat(os.path.join(d, f)).st_uid for d, _, files in os.walk(repo) for f in files}, {USER.pw_uid}, "owners of what is in the repository")
    finally:
        eq(run("fusermount3", "-u", mnt), (0, ""))
    eq(run("git", "--git-dir=" + repo, "fsck", "--strict")[0], 0)


@case("a user's daemon ends by SIGTERM too: it asks fusermount3")
def own_term(t):
    home()
    prog = may_run()
    skip_unless(prog, "only for root, with setpriv and fusermount3")
    mnt, repo = home() + "/mnt2", home() + "/repo2.git"
    run("mkdir", mnt)
    p = subprocess.Popen(as_user(prog, "-f", "-o", "init", repo, mnt), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, "HOME": home()})
    until(lambda: p.poll() is not None or [x for x in mounts() if x[0] == mnt], "the mount")
    eq(run("sh", "-ec", "mkdir %s/app; echo x > %s/app/k" % (mnt, mnt)), (0, ""))
    p.terminate()
    eq((p.wait(LIMIT), p.stderr.read()), (0, b""))
    p.stderr.close()
    ok(not [x for x in mounts() if x[0] == mnt], "unmounted")


@case("a user may not mount over what is not theirs, nor a repository that they may not read")
def refused(t):
    home()
    prog = may_run()
    skip_unless(prog, "only for root, with setpriv and fusermount3")
    os.makedirs(work() + "/roots", exist_ok=True)
    run("mkdir", home() + "/mnt3")
    status, out = run(prog, "-o", "init", home() + "/repo3.git", work() + "/roots")
    ok(status == 32 and "no write access" in out and out.count("ledgerfs:") == 1, (status, out))  # fusermount3 says why
    closed = Repo(work() + "/closed.git")
    os.chmod(closed.path, 0o700)
    status, out = run(prog, closed.path, home() + "/mnt3")
    ok(status in (1, 32) and out.count("\n") == 1, (status, out))
    eq([x for x in mounts() if x[0].startswith(home() + "/mnt3")], [])


@case("allow_other with uid, gid, umask: the kernel checks the shown modes, for access(2) as for the call itself")
def checked(t):
    home()
    skip_unless(os.geteuid() == 0, "only for root")
    repo = Repo(work() + "/shared.git")
    with Mount(repo, "allow_other,uid=%d,gid=0,umask=027" % USER.pw_uid) as m:
        os.chmod(m.dir, 0o755)
        eq(run("sh", "-ec", "mkdir %s/app; echo theirs > %s/app/k; test -w %s/app/k; test -r %s/app/k; ! test -x %s/app/k" % ((m.dir,) * 5)), (0, ""))
        st = os.stat(m.dir + "/app/k")
        eq((st.st_uid, st.st_gid, st.st_mode & 0o777), (USER.pw_uid, 0, 0o640))
        other = ["setpriv", "--reuid=1", "--regid=1", "--clear-groups", "sh", "-c"]
        q = subprocess.run(other + ["cat %s/app/k; echo x > %s/app/k; test -r %s/app/k || echo no" % ((m.dir,) * 3)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        ok(q.stdout.count("Permission denied") == 2 and q.stdout.endswith("no\n"), q.stdout)
        eq(repo.show("app", "k"), b"theirs\n")
        ok("] %d" % USER.pw_uid in repo.message("app"), "KV-Client names the uid: " + repo.message("app"))
        eq(run("chmod", "+x", m.dir + "/app/k"), (0, ""))
        eq(run("sh", "-c", "test -x %s/app/k" % m.dir)[0], 0)


@case("ro: a user reads, nobody writes; remount of the same repository read-write beside it")
def readonly(t):
    home()
    skip_unless(os.geteuid() == 0, "only for root")
    repo = Repo(work() + "/ro.git")
    with Mount(repo) as rw:
        os.mkdir(rw.dir + "/app")
        save(rw.dir + "/app/k", b"v\n")
        with Mount(repo, "ro,allow_other") as ro:
            eq(run("cat", ro.dir + "/app/k"), (0, "v\n"))
            fails(errno.EROFS, save, ro.dir + "/app/k", b"x")
            fails(errno.EROFS, save, ro.dir + "/app/new.tmp", b"x")
            fails(errno.EROFS, os.mkdir, ro.dir + "/new")
            fails(errno.EROFS, os.utime, ro.dir + "/app/k")
            save(rw.dir + "/app/k", b"new\n")
            eq(read(ro.dir + "/app/k"), b"new\n", "what the other mount saves is seen")


def let_in():
    """Runs this test where users may open /dev/fuse, as udev has it: in a mount namespace with a device of its own if need be."""
    if os.geteuid():
        skip("only root can become another user")
    if os.stat("/dev/fuse").st_mode & 0o6 == 0o6:
        return
    if os.environ.get("IN_NAMESPACE"):
        skip("no way to a /dev/fuse for users")
    os.execvp("unshare", ["unshare", "-m", "--propagation", "private", "sh", "-c",
                          'd=$(mktemp -d) && mknod -m 666 $d/fuse c 10 229 && mount --bind $d/fuse /dev/fuse && rm -r $d && exec "$@"', "sh",
                          "env", "IN_NAMESPACE=1", sys.executable, *sys.argv])


if __name__ == "__main__":
    if os.path.exists("/dev/fuse"):
        let_in()
    main(shared=False)
