#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""SPEC 5.4: temporary names live in the mount; what is renamed to a key is one commit with the key's name."""
from lib import *

SCRATCH = [".k.swp", ".k.swo", ".k.swpx", ".#k", "#k#", "k~", ".goutputstream-AB12CD", ".nfs0000abcd", ".fuse_hidden0001", ".~lock.k#"]
PASSING = ["sedAbC123", "4913", ".k.a1B2c3", "k.XyZ123", "tmpabcdefgh", "k.tmp", "k.lock"]
KEYS = ["k.swp", ".k.swaps", "#k", "k#", "~k", "sed12345", "sed1234567", "49130", "k.12345", "k.1234567", "tmpabcdefg", "tmp", "k.tmpx", "lock"]


def listed(t):
    return sorted(read(t.path(".kv/scratch")).decode().splitlines())


@table([(n, n) for n in SCRATCH])
def scratch_name(t, name):
    """A file like any other to who uses it, and never a commit, fsync or not."""
    p = t.path(name)
    with commits(t, 0):
        fd = os.open(p, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(fd, b"scratch")
        os.fsync(fd)
        eq(os.pread(fd, 99, 0), b"scratch")
        os.close(fd)
        eq((read(p), os.listdir(t.dir), os.stat(p).st_size), (b"scratch", [name], 7))
        fails(errno.EEXIST, os.open, p, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        save(p, b"again")
        eq(read(p), b"again")
        ok(any(name in line for line in listed(t)), ".kv/scratch has %s" % listed(t))
        os.unlink(p)
        eq((os.listdir(t.dir), listed(t)), ([], []))


@table([(n, n) for n in SCRATCH + PASSING])
def saved_by_way_of(t, name):
    """Write a temporary file, rename it over the key: one commit, which names the key alone."""
    t.put("k")
    with commits(t, 1):
        fd = os.open(t.path(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        os.write(fd, b"new value\n")
        os.close(fd)
        os.rename(t.path(name), t.path("k"))
    eq((read(t.path("k")), t.repo.show(t.ns, "k"), t.repo.subject(t.ns)), (b"new value\n", b"new value\n", "set k"))
    eq((os.listdir(t.dir), t.repo.keys(t.ns), listed(t)), (["k"], ["k"], []))


@table([(n, n) for n in PASSING])
def passing_and_removed(t, name):
    with commits(t, 0):
        save(t.path(name), b"x")
        eq(read(t.path(name)), b"x")
        os.unlink(t.path(name))
        eq(os.listdir(t.dir), [])


@case("a passing name that stays becomes a key, one commit, after an fsync too")
def stays(t):
    for name in PASSING:
        save(t.path(name), b"stays\n")
    until(lambda: t.repo.keys(t.ns) == sorted(PASSING), "the commits")
    eq((t.repo.count(t.ns), listed(t)), (1 + len(PASSING), []))
    eq([read(t.path(n)) for n in PASSING], [b"stays\n"] * len(PASSING))
    with commits(t, 1):
        fd = os.open(t.path("other.tmp"), os.O_WRONLY | os.O_CREAT)
        os.write(fd, b"now\n")
        os.fsync(fd)  # rsync and git fsync what they rename next: that must not be two commits
        os.close(fd)
        until(lambda: "other.tmp" in t.repo.keys(t.ns), "its commit")


@table([(n, n) for n in KEYS])
def is_a_key_like_any_other(t, name):
    with commits(t, 1):
        save(t.path(name), b"v")
    eq(t.repo.keys(t.ns), [name])


@case("a key with a passing name that is there already is saved at once")
def there_already(t):
    t.repo.foreign(t.ns, {"conf.toml12": b"old\n", "Cargo.lock": b"old\n"})
    for name in ("conf.toml12", "Cargo.lock"):
        with commits(t, 1):
            save(t.path(name), b"new\n")
            eq(t.repo.show(t.ns, name), b"new\n")


@case("an expectation holds for the rename of a temporary file")
def guarded(t):
    t.put("k")
    c = Client()
    c.arm(t.dir, "tree", t.repo.tree(t.ns))
    ok(t.repo.foreign(t.ns, {"other": b"x"}), "foreign")
    c.save(t.path("k.tmp"), b"mine\n")
    with commits(t, 0):
        fails(errno.EAGAIN, c.rename, t.path("k.tmp"), t.path("k"))
    eq((read(t.path("k")), read(t.path("k.tmp"))), (b"old\n", b"mine\n"))
    c.arm(t.dir, "tree", t.repo.tree(t.ns))
    with commits(t, 1):
        c.rename(t.path("k.tmp"), t.path("k"))
    c.quit()


EDITS = [
    ("vim", "vim -N -u NONE -i NONE -es -c 's/old/NEW/' -c wq $k"), ("vim, backup kept", "vim -N -u NONE -i NONE -es --cmd 'set backup' -c 's/old/NEW/' -c wq $k; rm -f $k~"),
    ("vim, backupcopy=yes", "vim -N -u NONE -i NONE -es --cmd 'set backupcopy=yes' -c 's/old/NEW/' -c wq $k"),
    ("sed -i", "sed -i s/old/NEW/ $k"), ("sed -i with a backup", "sed -i~ s/old/NEW/ $k; rm $k~"), ("perl -pi", "perl -pi -e s/old/NEW/ $k"),
    ("rsync", "echo NEW > $W/k; rsync -ac $W/k $k"), ("rsync to the folder", "echo NEW > $W/k; rsync -ac $W/k $d/"), ("patch", "printf '@@ -1 +1 @@\\n-old\\n+NEW\\n' | patch -s $k"),
    ("lock and rename", "set -C; echo NEW > $k.lock && mv $k.lock $k"), ("ed", "printf '1s/old/NEW/\\nw\\nq\\n' | ed -s $k"),
    ("mktemp and mv", "f=$(mktemp $d/k.XXXXXX); echo NEW > $f; mv $f $k"), ("python tempfile and os.replace",
     "python3 -c 'import os,sys,tempfile\nwith tempfile.NamedTemporaryFile(dir=sys.argv[1],delete=False) as f: f.write(b\"NEW\\n\")\nos.replace(f.name, sys.argv[1]+\"/k\")' $d"),
]


@table([e for e in EDITS])
def one_clean_commit_by(t, cmd):
    """Exactly one commit, which names the key; nothing else in the tree, now or later."""
    t.put("k", b"old\n")
    w = tempfile.mkdtemp(dir=work())
    tip = t.repo.tip(t.ns)
    p = subprocess.run(["sh", "-c", cmd], env={**os.environ, "k": t.path("k"), "d": t.dir, "W": w}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, cwd=w, timeout=LIMIT)
    eq((p.returncode, p.stdout), (0, b""), "status and output")
    until(lambda: not listed(t), "temporary files to go")
    made = t.repo.git("log", "--format=%s", tip + "..refs/kv/" + t.ns).splitlines()
    eq((made, t.repo.keys(t.ns), os.listdir(t.dir)), (["set k"], ["k"], ["k"]))
    eq((read(t.path("k")), t.repo.show(t.ns, "k")), (b"NEW\n", b"NEW\n"))


@case("kv.scratch and kv.passing add names and take them off", ns=False)
def configured(t):
    repo = Repo(work() + "/conf.git")
    for key, value in [("kv.scratch", "*.bak"), ("kv.scratch", "-*~"), ("kv.passing", "-*.lock"), ("kv.passing", "part-*")]:
        repo.git("config", "--add", key, value)
    with Mount(repo) as m:
        d = m.dir + "/app"
        os.mkdir(d)
        for name in ("a.bak", "b~", "c.lock", "part-1"):
            save(d + "/" + name, b"v")
        eq(repo.keys("app"), ["b~", "c.lock"])
        os.unlink(d + "/a.bak")
        os.unlink(d + "/part-1")
        eq(repo.count("app"), 3)


@case("at unmount what was passing is committed, what was scratch is named in the log", ns=False)
def unmount(t):
    repo = Repo(work() + "/end.git")
    m = Mount(repo)
    os.mkdir(m.dir + "/app")
    save(m.dir + "/app/x.tmp", b"passing\n")
    save(m.dir + "/app/.x.swp", b"scratch\n")
    eq(m.unmount(), 0)
    eq((repo.keys("app"), repo.show("app", "x.tmp")), (["x.tmp"], b"passing\n"))
    ok(any(".x.swp" in line for line in m.log()), "log: %s" % m.log())


if __name__ == "__main__":
    main(log=["conflict|refused"])
