#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""SPEC 3: what a namespace, a key, a directory is on either side."""
import socket
import stat

from lib import *
from lib import EMPTY_TREE


@case("mkdir makes the ref with a first commit of the empty tree")
def mkdir_ns(t):
    eq(t.repo.tree(t.ns), EMPTY_TREE, "tree")
    eq((t.repo.count(t.ns), t.repo.version(t.ns)), (1, 1), "commits, version")
    eq(os.listdir(t.dir), [], "listing")
    ok(t.ns in os.listdir(t.mount.dir), "the mount lists the namespace")
    fails(errno.EEXIST, os.mkdir, t.dir)


NAMES = ["plain", "a.b", "a..b", "x.lock", "a~b", "a^b", "a:b", "a?b", "a*b", "a[b", "a\\b", "a b", "a\tb", "a\x7fb", "@", "@{", "a@{b",
         ".dot", "dot.", "-dash", "ümlaut", "日本", "a'b\"c$d", "a;b|c&d", "HEAD", "x" * 200]


@table([(repr(n), n) for n in NAMES])
def namespace_name(t, name):
    """git itself says which names are good."""
    good = t.repo.raw("check-ref-format", "refs/kv/" + name, check=False)[0] == 0
    path = t.mount.dir + "/" + name
    if good:
        os.mkdir(path)
        eq(t.repo.count(name), 1, "commits")
        save(path + "/k", b"v")
        eq(t.repo.show(name, "k"), b"v")
    else:
        fails(errno.EINVAL, os.mkdir, path)
        ok(not os.path.exists(path), "not there")


@case("a ref with slashes shows as nested directories", ns=False)
def nested(t):
    tip = t.repo.commit_tree(t.repo.mktree([("100644", "k", t.repo.hash(b"deep\n"))]), message="first\n\nKV-Version: 1\n")
    t.repo.git("update-ref", "refs/kv/team/sub/app", tip)
    eq(read(t.mount.dir + "/team/sub/app/k"), b"deep\n")
    eq(os.listdir(t.mount.dir + "/team"), ["sub"])
    eq(os.listdir(t.mount.dir + "/team/sub"), ["app"])
    save(t.mount.dir + "/team/sub/app/k", b"new\n")
    eq((t.repo.show("team/sub/app", "k"), t.repo.version("team/sub/app")), (b"new\n", 2))
    fails(errno.EPERM, save, t.mount.dir + "/team/file", b"x")
    fails((errno.EEXIST, errno.ENOTEMPTY), os.mkdir, t.mount.dir + "/team")
    fails((errno.ENOTEMPTY, errno.EPERM, errno.EBUSY), os.rmdir, t.mount.dir + "/team")


@case("rmdir archives: the ref moves, history stays, twice too")
def rmdir_ns(t):
    t.put("k")
    fails(errno.ENOTEMPTY, os.rmdir, t.dir)
    os.unlink(t.path("k"))
    tip = t.repo.tip(t.ns)
    os.rmdir(t.dir)
    eq(t.repo.tip(t.ns), None, "ref")
    eq(t.repo.ref("refs/kv-archive/%s/3" % t.ns), tip, "archive ref")
    ok(not os.path.exists(t.dir) and t.ns not in os.listdir(t.mount.dir), "gone from the mount")
    os.mkdir(t.dir)
    eq(t.repo.version(t.ns), 1, "version of the new one")
    save(t.path("k"), b"other")
    os.unlink(t.path("k"))
    second = t.repo.tip(t.ns)
    os.rmdir(t.dir)
    refs = t.repo.git("for-each-ref", "--format=%(objectname)", "refs/kv-archive/" + t.ns).split()
    ok(tip in refs and second in refs, "both histories are kept: %s" % refs)


@case("mv renames the ref; not onto one that is there")
def rename_ns(t):
    t.put("k")
    tip = t.repo.tip(t.ns)
    os.mkdir(t.dir + "x")
    fails((errno.EEXIST, errno.ENOTEMPTY), os.rename, t.dir, t.dir + "x")
    eq(t.repo.tip(t.ns), tip, "tip")
    os.rename(t.dir, t.dir + "y")
    eq((t.repo.tip(t.ns), t.repo.tip(t.ns + "y")), (None, tip), "refs")
    eq(read(t.dir + "y/k"), b"old\n")
    ok(not os.path.exists(t.path("k")), "old name is gone")
    save(t.dir + "y/k", b"2")
    eq(t.repo.show(t.ns + "y", "k"), b"2")
    fails(errno.EINVAL, os.rename, t.dir + "y", t.dir + "..bad")


MODES = [("644", 0o644, "100644"), ("755", 0o755, "100755"), ("700", 0o700, "100755"), ("601: any x bit", 0o601, "100755"), ("600", 0o600, "100644"),
         ("4644", 0o4644, "100644"), ("000", 0, "100644"), ("777", 0o777, "100755")]


@table(MODES)
def chmod_to(t, mode, want):
    p = t.put("k")
    with commits(t, 1 if want == "100755" else 0):
        os.chmod(p, mode)
    eq(t.repo.entries(t.ns)["k"][0], want, "mode in git")
    eq(stat.S_IMODE(os.stat(p).st_mode), 0o755 if want == "100755" else 0o644, "mode shown")
    save(p, b"another value\n")
    eq(t.repo.entries(t.ns)["k"][0], want, "mode after a save")
    with commits(t, 1 if want == "100755" else 0):
        os.chmod(p, 0o644)
    eq(t.repo.entries(t.ns)["k"][0], "100644", "mode back")


@case("creat with an x bit makes 100755 in the same commit")
def creat_x(t):
    with commits(t, 1):
        fd = os.open(t.path("k"), os.O_CREAT | os.O_WRONLY, 0o755)
        os.write(fd, b"#!/bin/sh\necho ran\n")
        os.close(fd)
    eq(t.repo.entries(t.ns)["k"][0], "100755")
    eq(subprocess.run([t.path("k")], stdout=subprocess.PIPE).stdout, b"ran\n", "it runs")


@case("symlink is a 120000 blob")
def symlink(t):
    for name, target in [("a", "k"), ("b", "/abs/olute"), ("c", "../../up"), ("d", "x" * 3000)]:
        with commits(t, 1):
            os.symlink(target, t.path(name))
        eq(os.readlink(t.path(name)), target)
        eq(t.repo.entries(t.ns)[name][0], "120000")
        eq(t.repo.show(t.ns, name), target.encode())
    t.put("k", b"through\n")
    eq(read(t.path("a")), b"through\n")
    ok(stat.S_ISLNK(os.lstat(t.path("a")).st_mode), "lstat")
    save(t.path("a"), b"written through\n")
    eq(t.repo.show(t.ns, "k"), b"written through\n")
    eq(t.repo.entries(t.ns)["a"][0], "120000", "still a link")


@case("directories nest, empty ones are kept as an entry of the empty tree")
def directories(t):
    with commits(t, 1):
        os.mkdir(t.path("d"))
    eq(t.repo.entries(t.ns), {"d": ("040000", EMPTY_TREE)})
    with commits(t, 2):
        os.makedirs(t.path("d/e/f"))
    t.put("d/e/f/k", b"deep\n")
    eq(t.repo.show(t.ns, "d/e/f/k"), b"deep\n")
    with commits(t, 1):
        os.unlink(t.path("d/e/f/k"))
    eq(t.repo.entries(t.ns)["d/e/f"], ("040000", EMPTY_TREE), "emptied directory")
    fails(errno.ENOTEMPTY, os.rmdir, t.path("d"))
    with commits(t, 1):
        os.rmdir(t.path("d/e/f"))
    eq(sorted(t.repo.entries(t.ns)), ["d", "d/e"])
    fails(errno.EEXIST, os.mkdir, t.path("d"))
    fails(errno.ENOENT, os.mkdir, t.path("absent/d"))
    fails(errno.EISDIR, save, t.path("d"), b"x")
    t.put("k")
    fails(errno.ENOTDIR, os.mkdir, t.path("k/d"))
    fails(errno.ENOTDIR, os.rmdir, t.path("k"))
    fails((errno.EISDIR, errno.EPERM), os.unlink, t.path("d"))


def bind(path):
    here = os.getcwd()
    os.chdir(os.path.dirname(path))  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(os.path.basename(path))
    finally:
        os.chdir(here)


@case("hard links, devices, fifos and sockets are EPERM; nothing is committed")
def special(t):
    p = t.put("k")
    with commits(t, 0):
        fails(errno.EPERM, os.link, p, t.path("l"))
        fails(errno.EPERM, os.mkfifo, t.path("f"))
        fails(errno.EPERM, os.mknod, t.path("n"), stat.S_IFCHR | 0o600, os.makedev(1, 3))
        fails(errno.EPERM, os.mknod, t.path("n"), stat.S_IFBLK | 0o600, os.makedev(7, 0))
        fails(errno.EPERM, bind, t.path("s"))
    eq(os.listdir(t.dir), ["k"])


@case("chown: EPERM to another, success to the shown owner")
def chown(t):
    p = t.put("k")
    st = os.stat(p)
    with commits(t, 0):
        os.chown(p, st.st_uid, st.st_gid)
        os.chown(p, -1, -1)
        fails(errno.EPERM, os.chown, p, st.st_uid + 1, -1)
        fails(errno.EPERM, os.chown, p, -1, st.st_gid + 1)
    eq((os.stat(p).st_uid, os.stat(p).st_gid), (st.st_uid, st.st_gid))


@case("no file, link or fifo at the mount's root: EPERM")
def root_file(t):
    p = t.put("k")
    fails(errno.EPERM, save, t.mount.dir + "/file", b"x")
    fails(errno.EPERM, os.symlink, "x", t.mount.dir + "/link")
    fails(errno.EPERM, os.mkfifo, t.mount.dir + "/fifo")
    fails((errno.EPERM, errno.EXDEV), os.rename, p, t.mount.dir + "/file")
    eq(read(p), b"old\n")


@case("rename between namespaces is EXDEV, and mv copies")
def exdev(t):
    p = t.put("k", b"moves\n")
    other = t.mount.dir + "/" + t.ns + "o"
    os.mkdir(other)
    fails(errno.EXDEV, os.rename, p, other + "/k")
    subprocess.run(["mv", p, other + "/k"], check=True)
    eq((t.repo.show(t.ns + "o", "k"), t.repo.keys(t.ns)), (b"moves\n", []))


DOTGIT = [".git", ".GIT", ".Git", "git~1", "GIT~1", ".git ", ".git.", ".git...", ".git . .", ".git::$INDEX_ALLOCATION", ".g\u200cit", "\u200e.git",
          ".gi\ufefft", "x\\.git", ".git\\x"]


@table([(repr(n), n) for n in DOTGIT])
def dot_git(t, name):
    """First the premise: git refuses it."""
    probe = Repo(work() + "/probe.git")
    err = probe.raw("fsck", "--strict", probe.mktree([("100644", name, probe.hash(b"x"))]), check=False)[2]
    ok(b"error" in err, "git takes the name: %r" % err)
    t.put("k")
    os.mkdir(t.path("d"))
    with commits(t, 0):
        for where in (t.path(name), t.path("d/" + name)):
            fails(errno.EPERM, save, where, b"x")
            fails(errno.EPERM, os.mkdir, where)
            fails(errno.EPERM, os.symlink, "x", where)
            fails(errno.EPERM, os.rename, t.path("k"), where)
        fails(errno.EPERM, os.rename, t.path("d"), t.path(name))
    ok(not os.path.lexists(t.path(name)), "not there")


@case("a .gitmodules that is a symlink would fail fsck: refused")
def gitmodules(t):
    with commits(t, 0):
        fails(errno.EPERM, os.symlink, "x", t.path(".gitmodules"))


@case(".kv is reached by name, not listed, and takes nothing")
def control(t):
    for top in (t.mount.dir, t.dir):
        ok(".kv" not in os.listdir(top), "listed")
        ok(stat.S_ISDIR(os.stat(top + "/.kv").st_mode), "directory")
        fails((errno.EPERM, errno.EEXIST), os.mkdir, top + "/.kv")
        fails((errno.EPERM, errno.EISDIR), save, top + "/.kv", b"x")
        fails((errno.EPERM, errno.EROFS), save, top + "/.kv/file", b"x")
        fails((errno.EPERM, errno.EROFS), os.mkdir, top + "/.kv/dir")
        fails((errno.EPERM, errno.ENOTEMPTY, errno.EBUSY, errno.EROFS), os.rmdir, top + "/.kv")
    p = t.put("k")
    os.mkdir(t.path("d"))
    fails((errno.EPERM, errno.EISDIR, errno.EEXIST), os.rename, p, t.path(".kv"))
    fails((errno.EPERM, errno.ENOTEMPTY, errno.EEXIST), os.rename, t.path("d"), t.path(".kv"))
    fails((errno.EPERM, errno.EXDEV, errno.EBUSY), os.rename, t.path(".kv"), t.path("kv"))


@case("statfs answers for the file system that holds the repository")
def statfs(t):
    a, b = os.statvfs(t.dir), os.statvfs(t.repo.path)
    eq((a.f_blocks * a.f_frsize, a.f_files), (b.f_blocks * b.f_frsize, b.f_files))
    ok(a.f_namemax == 255, "f_namemax %d" % a.f_namemax)
    ok(abs(a.f_bavail * a.f_frsize - b.f_bavail * b.f_frsize) < b.f_blocks * b.f_frsize // 10, "free space")


@case("mtime of a saved key is the time of its commit")
def mtime(t):
    p = t.put("k")
    when = int(t.repo.git("log", "-1", "--format=%ct", "refs/kv/" + t.ns))
    eq(int(os.stat(p).st_mtime), when)
    ok(abs(when - time.time()) < 60, "and it is now")


BYTES = [b"new\nline", b"tab\t", b"\x01\x7f", b"\xff\xfe not utf-8", b" lead and trail ", b"quo\"te'", b"back\\slash", b"-rf", b"*?[x]", "\u65e5\u672c".encode(),
         b"a" * 255, b"CON", b"x:y", b"...", b"~x", b"#", b"$HOME", b"k~x"]


@table([(repr(n[:20]), n) for n in BYTES])
def key_name(t, name):
    p = os.fsencode(t.dir) + b"/" + name
    with commits(t, 1):
        save(p, name)
    eq(os.listdir(os.fsencode(t.dir)), [name])
    eq(read(p), name)
    eq([os.fsencode(k) for k in t.repo.keys(t.ns)], [name])
    with commits(t, 1):
        os.unlink(p)


@case("a name of 256 bytes is ENAMETOOLONG")
def long_name(t):
    fails(errno.ENAMETOOLONG, save, t.path("a" * 256), b"x")
    fails(errno.ENAMETOOLONG, os.mkdir, t.path("a" * 256))
    fails(errno.ENAMETOOLONG, os.stat, t.path("a" * 256))


@case("a directory of 5,000 keys lists and stats whole")
def large(t):
    want = {"key-%04d" % i: b"%d\n" % (i % 300) for i in range(5000)}
    t.repo.foreign(t.ns, {"big/" + k: v for k, v in want.items()})
    eq(sorted(os.listdir(t.path("big"))), sorted(want))
    with os.scandir(t.path("big")) as it:
        eq({e.name: e.stat().st_size for e in it}, {k: len(v) for k, v in want.items()}, "sizes")
    ok(len({os.stat(t.path("big/" + k)).st_ino for k in want}) == len(want), "one inode number each")
    t.put("big/key-2500", b"changed\n")
    eq(read(t.path("big/key-2500")), b"changed\n")
    os.unlink(t.path("big/key-0000"))
    eq(len(os.listdir(t.path("big"))), 4999)


@case("readdir goes on whole while keys come and go")
def readdir_changing(t):
    t.repo.foreign(t.ns, {"d/k%03d" % i: b"x" for i in range(400)})
    for n in range(20):
        with os.scandir(t.path("d")) as it:
            seen = [next(it).name]
            os.unlink(t.path("d/" + seen[0]))
            t.put("d/new%d" % n)
            seen += [e.name for e in it]
        eq(len(seen), len(set(seen)), "a name twice")
        missing = {"k%03d" % i for i in range(400)} & set(os.listdir(t.path("d"))) - set(seen)
        eq(missing, set(), "keys that stayed but were not listed")


if __name__ == "__main__":
    main(log=[r"\.git|hostile|not shown"])
