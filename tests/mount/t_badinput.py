#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""SPEC 9: whatever is wrong ends with one clear line and a status; a full disk and a read-only one; nothing half-applies."""

import glob

from lib import *

NO_ROOT = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def repo_at(name, *args):
    path = work() + "/" + name
    if not os.path.exists(path):
        subprocess.run(["git", "init", "-q", *args, path], check=True)
    return path


def made(name, make):
    path = work() + "/" + name
    if not os.path.lexists(path):
        make(path)
    return path


def good():
    return repo_at("good.git", "--bare")


def mnt():
    return made("mnt", os.mkdir)


def folder_with_file(path):
    os.mkdir(path)
    open(path + "/file", "w").close()


def corrupt_config(path):
    subprocess.run(["git", "init", "-q", "--bare", path], check=True)
    with open(path + "/config", "w") as f:
        f.write("[core\nbare = = maybe\n")


def without_head(path):
    subprocess.run(["git", "init", "-q", "--bare", path], check=True)
    os.unlink(path + "/HEAD")


def future_format(path):
    subprocess.run(["git", "init", "-q", "--bare", path], check=True)
    subprocess.run(["git", "-C", path, "config", "core.repositoryformatversion", "9"], check=True)


def reftable(path):
    subprocess.run(["git", "init", "-q", "--bare", path], check=True)
    subprocess.run(["git", "-C", path, "config", "core.repositoryformatversion", "1"], check=True)
    subprocess.run(["git", "-C", path, "config", "extensions.refStorage", "reftable"], check=True)


#    what                          arguments                                                   a word of the line
ROWS = [
    ("no arguments", lambda: [], "usage|REPO|missing"),
    ("one argument", lambda: [good()], "usage|MOUNTPOINT|missing"),
    ("three arguments", lambda: [good(), mnt(), "more"], "usage|argument|operand|more"),
    ("unknown option", lambda: ["--frobnicate", good(), mnt()], "frobnicate"),
    ("unknown letter", lambda: ["-q", good(), mnt()], "q"),
    ("-o without a value", lambda: [good(), mnt(), "-o"], "-o"),
    ("unknown -o", lambda: ["-o", "frobnicate", good(), mnt()], "frobnicate"),
    ("unknown -o with a value", lambda: ["-o", "frob=1", good(), mnt()], "frob"),
    ("publish=", lambda: ["-o", "publish=maybe", good(), mnt()], "publish"),
    ("durability=", lambda: ["-o", "durability=maybe", good(), mnt()], "durability"),
    ("umask=9", lambda: ["-o", "umask=9", good(), mnt()], "umask"),
    ("umask=01000", lambda: ["-o", "umask=01000", good(), mnt()], "umask"),
    ("umask empty", lambda: ["-o", "umask=", good(), mnt()], "umask"),
    ("uid=-1", lambda: ["-o", "uid=-1", good(), mnt()], "uid"),
    ("uid=root", lambda: ["-o", "uid=1x", good(), mnt()], "uid"),
    ("gid=99999999999", lambda: ["-o", "gid=99999999999", good(), mnt()], "gid"),
    ("init with a value", lambda: ["-o", "init=yes", good(), mnt()], "init"),
    ("no such repository", lambda: [work() + "/absent.git", mnt()], "absent.git"),
    ("repository is a file", lambda: [made("file", lambda p: open(p, "w").close()), mnt()], "file"),
    ("repository is a plain folder", lambda: [made("folder", folder_with_file), mnt()], "folder"),
    ("repository is an empty folder", lambda: [made("empty", os.mkdir), mnt()], "empty"),
    ("init over somebody's files", lambda: ["-o", "init", made("folder", folder_with_file), mnt()], "folder"),
    ("init below nothing", lambda: ["-o", "init", work() + "/absent/deep.git", mnt()], "absent"),
    ("init where a file is", lambda: ["-o", "init", made("file", lambda p: open(p, "w").close()), mnt()], "file"),
    ("empty repository name", lambda: ["", mnt()], "."),
    ("SHA-256 repository", lambda: [repo_at("sha256.git", "--bare", "--object-format=sha256"), mnt()], "(?i)sha.?256|object ?format|not supported"),
    ("reftable repository", lambda: [made("reftable.git", reftable), mnt()], "(?i)reftable|not supported|extension"),
    ("repository of a future format", lambda: [made("future.git", future_format), mnt()], "future.git|version"),
    ("corrupt config", lambda: [made("corrupt.git", corrupt_config), mnt()], "corrupt.git|config"),
    ("no HEAD", lambda: [made("headless.git", without_head), mnt()], "headless.git"),
    ("no such mount point", lambda: [good(), work() + "/absent"], "absent"),
    ("mount point is a file", lambda: [good(), made("file", lambda p: open(p, "w").close())], "file"),
    ("empty mount point name", lambda: [good(), ""], "."),
]


def listing(path):
    return sorted(os.path.join(d, f) for d, _, files in os.walk(path) for f in files)


@table(ROWS)
def refuses(t, make, words):
    args = make()
    before = listing(work())
    for extra in ([], ["-f"]):
        p = subprocess.run([LEDGERFS, *extra, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=LIMIT)
        err = p.stderr.decode()
        ok(p.returncode == 1, "status %d: %s" % (p.returncode, err))
        eq(p.stdout, b"", "stdout")
        eq(len(err.splitlines()), 1, "lines on stderr: %r" % err)
        ok(err.startswith("ledgerfs: ") and re.search(words, err), "the line %r does not speak of %s" % (err, words))
        ok(not [m for m in mounts() if m[0].startswith(work())], "mounted all the same")
    eq(listing(work()), before, "files")


@table([("--help", ["--help"], "(?i)usage.*REPO MOUNTPOINT"), ("-h", ["-h"], "(?i)usage"), ("--version", ["--version"], r"ledgerfs \d+\.\d+"), ("-V", ["-V"], r"\d+\.\d+")])
def informs(t, args, words):
    p = subprocess.run([LEDGERFS, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    eq((p.returncode, p.stderr), (0, b""))
    ok(re.search(words, p.stdout.decode(), re.S), p.stdout)


@case("a mount that fails is status 32")
def mount_failure(t):
    skip_unless(os.geteuid() == 0, "only for root")
    text = "mount --bind /dev/null /dev/fuse && exec \"$0\" %s \"$1\" \"$2\""
    for flag in ("", "-f"):
        p = subprocess.run(["unshare", "-m", "sh", "-c", text % flag, LEDGERFS, good(), mnt()], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=LIMIT)
        eq(p.returncode, 32, "status (%s)" % p.stderr.decode())
        ok(p.stderr, "silent")


@case("a repository that the user may not read is refused, one that he may not write is read-only")
def rights(t):
    skip_unless(os.geteuid() == 0, "only for root")
    repo = Repo(work() + "/rights.git")
    with Mount(repo) as m:
        os.mkdir(m.dir + "/app")
        save(m.dir + "/app/k", b"v\n")
    os.chmod(work(), 0o755)
    where = made("theirs", os.mkdir)
    os.chown(where, 65534, 65534)
    os.chmod(repo.path, 0o700)
    p = subprocess.run([*NO_ROOT, LEDGERFS, "-f", repo.path, where], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=LIMIT)
    ok(p.returncode == 1 and len(p.stderr.splitlines()) == 1, p)
    os.chmod(repo.path, 0o755)


@case("a repository without a ref mounts empty")
def no_refs(t):
    with Mount(Repo(work() + "/norefs.git")) as m:
        eq(os.listdir(m.dir), [])


def tmpfs(size):
    d = tempfile.mkdtemp(dir=work())
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=" + size, "none", d], check=True)
    return d


@case("full disk: ENOSPC, the ledger stays whole, reads go on; with space again all works")
def full(t):
    skip_unless(os.geteuid() == 0, "only for root")
    d = tmpfs("24m")
    try:
        repo = Repo(d + "/r.git")
        with Mount(repo) as m:
            os.mkdir(m.dir + "/app")
            save(m.dir + "/app/k", b"v\n")
            with open(d + "/filler", "wb", 0) as f:
                fails(errno.ENOSPC, lambda: [f.write(b"x" * 65536) for _ in range(10000)])
            tip, failed = repo.tip("app"), 0
            for i in range(20):
                try:
                    save(m.dir + "/app/big%d" % i, os.urandom(100000))
                except OSError as e:
                    eq(e.errno, errno.ENOSPC)
                    failed += 1
            ok(failed >= 15, "only %d of 20 saves failed" % failed)
            eq(read(m.dir + "/app/k"), b"v\n")
            ok(repo.git("merge-base", "--is-ancestor", tip, "refs/kv/app") == "", "the ledger went back")
            eq(repo.faults(), [])
            os.unlink(d + "/filler")
            save(m.dir + "/app/k", b"space again\n")
            eq(repo.show("app", "k"), b"space again\n")
            eq(repo.faults(), [])
    finally:
        subprocess.run(["umount", "-l", d], check=False)


def fill(path):
    """Takes the last page of the file system."""
    with open(path, "wb", 0) as f:
        for n in (1 << 16, 1 << 12):
            fails(errno.ENOSPC, lambda n=n: [f.write(b"x" * n) for _ in range(100000)])


def saves_until_full(m, acked):
    """Saves until ten in a row fail, with ENOSPC.  What was acknowledged goes to `acked`."""
    failed = 0
    for i in range(1000):
        if failed == 10:
            return
        try:
            save(m.dir + "/app/full%d" % i, b"full %d\n" % i)
            acked["full%d" % i] = b"full %d\n" % i
            failed = 0
        except OSError as e:
            eq(e.errno, errno.ENOSPC)
            failed += 1
    raise AssertionError("a full disk takes every save")


def holds(m, acked):
    for key, value in acked.items():
        eq(read(m.dir + "/app/" + key), value, key)


@table([("publish=sync", "publish=sync"), ("publish=async", "publish=async")])
def full_disk_under_a_journal_that_is_written_already(t, opts):
    """Writes fail, reads go on; killed and mounted again with no room, nothing acknowledged is lost; with space all works."""
    if os.geteuid():
        return
    d = tmpfs("48m")
    try:
        repo, acked = Repo(d + "/r.git"), {}
        with Mount(repo, opts) as m:
            os.mkdir(m.dir + "/app")
            for i in range(8):
                acked["k%d" % i] = b"%d\n" % i
                save(m.dir + "/app/k%d" % i, acked["k%d" % i])
            until(lambda: len(glob.glob(d + "/r.git/kv/*/journal.[01]")) == 2, "the journal")
            fill(d + "/filler")
            # The journal is there, so publish=async goes on until its publisher meets the full disk.
            saves_until_full(m, acked)
            fails(errno.ENOSPC, os.unlink, m.dir + "/app/k0")
            fails(errno.ENOSPC, os.rename, m.dir + "/app/k0", m.dir + "/app/moved")
            fails(errno.ENOSPC, os.mkdir, m.dir + "/another")
            holds(m, acked)
            eq(sorted(os.listdir(m.dir + "/app")), sorted(acked))
            os.unlink(d + "/filler")
            for i in range(50):
                acked["k%d" % i] = b"later %d\n" % i
                save(m.dir + "/app/k%d" % i, acked["k%d" % i])
            holds(m, acked)
            fill(d + "/filler")
            saves_until_full(m, acked)
            m.kill()
        # With no room it may be refused, in one line; it may not come up with less than was acknowledged.
        m = Mount(repo, opts, ready=False)
        if m.wait():
            holds(m, acked)
            m.unmount()
        else:
            eq(len(m.log()), 1, "lines")
        os.unlink(d + "/filler")
        with Mount(repo, opts) as m:
            holds(m, acked)
            save(m.dir + "/app/last", b"last\n")
            acked["last"] = b"last\n"
            holds(m, acked)
        for key, value in acked.items():
            eq(repo.show("app", key), value, key)
        eq(repo.faults(), [])
    finally:
        subprocess.run(["umount", "-l", d], check=False)


@case("read-only repository: EROFS, reads go on")
def rofs(t):
    skip_unless(os.geteuid() == 0, "only for root")
    d = tmpfs("24m")
    try:
        repo = Repo(d + "/r.git")
        with Mount(repo) as m:
            os.mkdir(m.dir + "/app")
            save(m.dir + "/app/k", b"v\n")
        subprocess.run(["mount", "-o", "remount,ro", d], check=True)
        with Mount(repo) as m:
            eq(read(m.dir + "/app/k"), b"v\n")
            fails(errno.EROFS, save, m.dir + "/app/k", b"x")
            fails(errno.EROFS, os.mkdir, m.dir + "/new")
            fails(errno.EROFS, os.unlink, m.dir + "/app/k")
    finally:
        subprocess.run(["umount", "-l", d], check=False)


if __name__ == "__main__":
    main(shared=False)
