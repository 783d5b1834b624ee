#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""SPEC 6.4: where a conflict is told, what status says of it, and where the refused bytes are."""
import ctypes

from lib import *

W, TRUNC, CREAT, APPEND = os.O_WRONLY, os.O_TRUNC, os.O_CREAT, os.O_APPEND


def armed(t):
    """A client whose expectation is right, and a key."""
    t.put("k", b"value\n")
    c = Client()
    c.arm(t.dir, "tree", t.repo.tree(t.ns))
    return c


def theirs(t, key="k", data=b"theirs\n"):
    ok(t.repo.foreign(t.ns, {key: data}), "foreign commit")


@table([("O_TRUNC", W | TRUNC), ("O_WRONLY", W), ("O_RDWR", os.O_RDWR), ("O_APPEND", W | APPEND), ("O_CREAT", W | CREAT)])
def stale_at_open(t, flags):
    c = armed(t)
    theirs(t)
    with commits(t, 0):
        fails(errno.EAGAIN, c.open, t.path("k"), flags, 0o644)
    eq(read(t.path("k")), b"theirs\n")
    c.close(c.open(t.path("k"), os.O_RDONLY))
    c.quit()


@table([("O_TRUNC", W | TRUNC), ("O_WRONLY", W), ("O_APPEND", W | APPEND), ("a new key", W | CREAT | os.O_EXCL)])
def stale_before_the_first_write(t, flags):
    c = armed(t)
    p = t.path("new" if flags & CREAT else "k")
    fd = c.open(p, flags, 0o644)
    theirs(t)
    with commits(t, 0):
        fails(errno.EBUSY, c.write, fd, b"late")
        fails(errno.EBUSY, c.write, fd, b"later")
        fails(errno.EAGAIN, c.close, fd)
    eq(read(t.path("k")), b"theirs\n")
    ok(not os.path.exists(t.path("new")), "created all the same")
    c.quit()


@table([("close", "close"), ("fsync", "fsync"), ("fdatasync", "fdatasync")])
def stale_after_the_write(t, how):
    c = armed(t)
    fd = c.open(t.path("k"), W | TRUNC)
    c.write(fd, b"late")
    theirs(t)
    with commits(t, 0):
        fails(errno.EAGAIN, getattr(c, how), fd)
        if how != "close":
            fails(errno.EAGAIN, c.close, fd)
    eq(read(t.path("k")), b"theirs\n")
    c.quit()


@case("the flush of a duplicate does not commit, but reports the conflict")
def dup_flush(t):
    c = armed(t)
    fd = c.open(t.path("k"), W | TRUNC)
    c.write(fd, b"late")
    copy = c.dup(fd)
    theirs(t)
    with commits(t, 0):
        fails(errno.EAGAIN, c.close, copy)
        fails(errno.EAGAIN, c.close, fd)
    c.quit()


@case("a conflict is never ESTALE, and the next save of an unguarded process lands")
def next_one(t):
    c = armed(t)
    theirs(t)
    for _ in range(5):
        fails(errno.EAGAIN, c.save, t.path("k"), b"mine\n")
    c.disarm(t.dir)
    c.save(t.path("k"), b"mine\n")
    eq(t.repo.show(t.ns, "k"), b"mine\n")
    c.quit()


def open_often(path, flags, n):
    """How often it was there; every error but ENOENT is raised."""
    there = 0
    for _ in range(n):
        try:
            os.close(os.open(path, flags, 0o644))
            there += 1
        except FileNotFoundError:
            pass
    return there


def come_and_go(path, other, n):
    for _ in range(n):
        save(path, b"here\n")
        os.unlink(path)
        save(other, b"here too\n")
        os.rename(other, path)
        os.unlink(path)


OPS.update(open_often=open_often, come_and_go=come_and_go)


@table([("write", W), ("truncate", W | TRUNC), ("read", os.O_RDONLY)])
def open_of_what_comes_and_goes(t, flags):
    """Gone when OPEN comes, back when the kernel has looked again: it is opened, or not there, but never ESTALE."""
    writer, openers = Client(), [Client() for _ in range(3)]
    writer.begin("come_and_go", t.path("k"), t.path("other"), 250)
    for c in openers:
        c.begin("open_often", t.path("k"), flags, 3000)
    for c in [*openers, writer]:
        c.end()
        c.quit()


def move(base, pairs, exchange=False):
    for a, b in pairs:
        if libc.renameat2(-100, os.fsencode(base + "/" + a), -100, os.fsencode(base + "/" + b), 2 if exchange else 0):
            raise OSError(ctypes.get_errno(), "renameat2", a)


OPS["move"] = move
MOVES = [
    ("the file", ([("d/k", "new")],), "new"),
    ("the file twice", ([("d/k", "m"), ("m", "new")],), "new"),
    ("over another", ([("d/k", "other")],), "other"),
    ("its directory", ([("d", "e")],), "e/k"),
    ("in exchange", ([("d/k", "other")], True), "other"),
]


def guarded_handle(t):
    """A client that expects the value of d/k and has written on it, not closed yet."""
    os.mkdir(t.path("d"))
    t.put("d/k", b"value\n")
    t.put("other", b"other\n")
    c = Client()
    c.arm(t.path("d/k"), "blob", t.repo.blob(t.ns, "d/k"))
    fd = c.open(t.path("d/k"), W | TRUNC)
    c.write(fd, b"mine\n")
    return c, fd


@table(MOVES)
def renamed_under_a_guarded_handle(t, moves, name):
    """The handle follows the file, and what is expected goes along: another value there is a conflict."""
    c, fd = guarded_handle(t)
    save(t.path("d/k"), b"between\n")
    move(t.dir, *moves)
    with commits(t, 0):
        fails(errno.EAGAIN, c.close, fd)
    eq(status_of(c, t.dir)["reason"], "blob")
    eq(read(t.path(name)), b"between\n")
    c.quit()


@table(MOVES)
def renamed_under_a_guarded_handle_and_changed_there(t, moves, name):
    c, fd = guarded_handle(t)
    move(t.dir, *moves)
    save(t.path(name), b"between\n")
    fails(errno.EAGAIN, c.close, fd)
    eq(read(t.path(name)), b"between\n")
    c.quit()


@table([(m[0] + ("" if own else " by another"), *m[1:], own) for m in MOVES for own in (True, False)])
def renamed_under_a_guarded_handle_only(t, moves, name, own):
    """Nobody changed the value: it lands, and so does the handle's next one."""
    c, fd = guarded_handle(t)
    (lambda *args: c.move(*args) if own else move(*args))(t.dir, *moves)
    c.fsync(fd)
    eq(read(t.path(name)), b"mine\n")
    c.write(fd, b"more\n")
    c.close(fd)
    eq(read(t.path(name)), b"mine\nmore\n")
    c.quit()


def status_of(who, path):
    return dict(line.split("=", 1) for line in who.get(path, "status").splitlines())


def there(t, s, key="k"):
    """The state that is there now, as a status tells it."""
    eq([s[n] for n in ("namespace", "key", "tree", "commit", "version", "blob")],
       [t.ns, key, t.repo.tree(t.ns), t.repo.tip(t.ns), str(t.repo.version(t.ns)), t.repo.blob(t.ns, key)], "what is there")


@case("status of a conflict: what was expected, what is there (tree, commit, version, blob), which key")
def status_conflict(t):
    c = armed(t)
    expected = t.repo.tree(t.ns)
    fd = c.open(t.path("k"), W | TRUNC)
    c.write(fd, b"late")
    theirs(t)
    fails(errno.EAGAIN, c.close, fd)
    for where in ("k", ""):
        s = status_of(c, t.path(where))
        there(t, s)
        eq((s["result"], s["reason"], s["expected-tree"]), ("conflict", "tree", expected))
    c.arm(t.dir, "tree", s["tree"])  # enough to retry without a second look
    c.save(t.path("k"), b"second try\n")
    s = status_of(c, t.path("k"))
    there(t, s)
    eq((s["result"], "reason" in s), ("committed", False))
    c.quit()


REASONS = [(n, n, v) for n, v in (("tree", lambda t: t.repo.tree(t.ns)), ("commit", lambda t: t.repo.tip(t.ns)), ("version", lambda t: str(t.repo.version(t.ns))),
           ("blob", lambda t: t.repo.blob(t.ns, "k")))]


@table(REASONS)
def status_names_the_reason(t, name, value):
    t.put("k", b"value\n")
    c = Client()
    expected = value(t)
    c.arm(t.path("k"), name, expected)
    theirs(t)
    fails(errno.EAGAIN, c.save, t.path("k"), b"late\n")
    s = status_of(c, t.path("k"))
    there(t, s)
    eq((s["result"], s["reason"], s["expected-" + name]), ("conflict", name, expected))
    c.quit()


@case("status is per writer: each process sees its own")
def status_per_writer(t):
    p = t.put("k", b"value\n")
    a, b = Client(), Client()
    a.arm(t.dir, "tree", t.repo.tree(t.ns))
    b.save(p, b"b\n")
    mine = t.repo.tip(t.ns)
    fails(errno.EAGAIN, a.save, p, b"a\n")
    eq(status_of(a, p)["result"], "conflict")
    eq((status_of(b, p)["result"], status_of(b, p)["commit"]), ("committed", mine))
    a.quit(), b.quit()


@case("status through a child that has exited: what a shell script asks")
def status_shell(t):
    t.put("k", b"value\n")
    tree = t.repo.tree(t.ns)
    text = """
        setfattr -n user.kv.expect-tree -v %s "$ns"
        python3 "$HERE/foreign.py" "$REPO" "$NS"
        { echo lost > "$ns/k"; } 2>/dev/null; "$KVTOOL" save t "$ns/k" lost
        getfattr --absolute-names --only-values -n user.kv.status "$ns/k"
    """ % tree
    env = {**os.environ, "ns": t.dir, "NS": t.ns, "REPO": t.repo.path, "HERE": HERE, "KVTOOL": KVTOOL}
    out = subprocess.run(["sh", "-c", text], env=env, stdout=subprocess.PIPE, check=True).stdout.decode()
    ok(tree in out and t.repo.tip(t.ns) in out and "conflict" in out, out)


@case("status: none yet is ENODATA")
def status_none(t):
    fails(errno.ENODATA, get, t.dir, "status")


def rejected(t):
    d = t.path(".kv/rejected")
    return [d + "/" + n for n in os.listdir(d)] if os.path.isdir(d) else []


WAYS = [
    ("close", lambda t, c, fd: fails(errno.EAGAIN, c.close, fd)),
    ("fsync, then close", lambda t, c, fd: (fails(errno.EAGAIN, c.fsync, fd), fails(errno.EAGAIN, c.close, fd))),
    ("exit without close", lambda t, c, fd: c.quit()),
]


@table(WAYS)
def the_refused_value_is_kept(t, way):
    c = armed(t)
    fd = c.open(t.path("k"), W | TRUNC)
    c.write(fd, b"precious %d\n" % c.pid)
    theirs(t)
    way(t, c, fd)
    files = until(lambda: rejected(t), "a file under .kv/rejected")
    eq([read(f) for f in files], [b"precious %d\n" % c.pid])
    with commits(t, 0):
        fails((errno.EPERM, errno.EROFS, errno.EACCES), save, files[0], b"x")
        os.unlink(files[0])
    eq(rejected(t), [])
    if way is not WAYS[2][1]:
        c.quit()


@case("refused without an expectation (5.2): kept as well")
def rejected_base(t):
    p = t.put("k", b"value\n")
    fd = os.open(p, os.O_RDWR)
    os.write(fd, b"VALUE\n")
    theirs(t)
    fails(errno.EAGAIN, os.close, fd)
    eq([read(f) for f in rejected(t)], [b"VALUE\n"])
    s = status(p)
    there(t, s)
    eq((s["result"], s["expected-blob"]), ("conflict", t.repo.git("rev-parse", "refs/kv/%s~1:k" % t.ns)))


@case("rejected values are bounded: the newest stay")
def rejected_bounded(t):
    c = armed(t)
    theirs(t)
    c.disarm(t.dir)
    n = 300
    for i in range(n):
        fd = c.open(t.path("k"), W)
        c.write(fd, b"%06d\n" % i)
        save(t.path("k"), b"theirs %d\n" % i)
        fails(errno.EAGAIN, c.close, fd)
    files = rejected(t)
    ok(0 < len(files) < n, "%d files are kept" % len(files))
    ok(b"%06d\n" % (n - 1) in [read(f)[:7] for f in files], "the newest is there")
    c.quit()


@case("a killed writer's bytes are not kept, nor a landed one's")
def not_rejected(t):
    c = armed(t)
    c.write(c.open(t.path("k"), W | TRUNC), b"killed")
    c.quit(9)
    t.put("k", b"landed\n")
    eq(rejected(t), [])


if __name__ == "__main__":
    main(log=["conflict|refused|rejected|EAGAIN|kill|signal"])
