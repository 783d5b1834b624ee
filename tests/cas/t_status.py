#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""SPEC 6.4: user.kv.status is enough to try again without a second look, for scripts too; .kv/blob gives the value that a conflict met."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "mount"))
from lib import *  # noqa: E402,F403

NONE = "1" * 40


def blob(t, key):
    return t.repo.blob(t.ns, key) or "absent"


def of(who, t, key="", name="status"):
    return dict(line.split("=", 1) for line in who.get(t.path(key), name).splitlines())


def theirs(t, data=b"theirs\n", key="k"):
    ok(t.repo.foreign(t.ns, {key: data}), "foreign commit")


LINES = ["result", "reason", "namespace", "key", "expected-blob", "tree", "commit", "version", "blob"]


@case("the lines, in their order")
def lines(t):
    p = t.put("k", b"v1\n")
    c = Client()
    c.arm(p, "blob", NONE)
    fails(errno.EAGAIN, c.save, p, b"late\n")
    eq([line.split("=")[0] for line in c.get(p, "status").splitlines()], LINES)
    ok(c.get(p, "status").endswith("\n"), "the last line is one")
    c.disarm(p, "blob")
    c.save(p, b"v2\n")
    eq([line.split("=")[0] for line in c.get(p, "status").splitlines()], [n for n in LINES if n not in ("reason", "expected-blob")])
    c.quit()


DONE = [
    ("save", "k", lambda c, p: c.save(p("k"), b"new\n")),
    ("create", "new", lambda c, p: c.save(p("new"), b"new\n")),
    ("unlink", "k", lambda c, p: c.unlink(p("k"))),
    ("rename", "new", lambda c, p: c.rename(p("k"), p("new"))),
    ("mkdir", "new", lambda c, p: c.mkdir(p("new"))),
    ("chmod", "k", lambda c, p: c.chmod(p("k"), 0o755)),
]


@table(DONE)
def success_tells_version_and_blob(t, key, change):
    t.put("k", b"v1\n")
    c = Client()
    change(c, t.path)
    for name in ("status", "status." + key):
        s = of(c, t, "", name)
        eq([s[n] for n in ("result", "key", "tree", "commit", "version", "blob")],
           ["committed", key, t.repo.tree(t.ns), t.repo.tip(t.ns), str(t.repo.version(t.ns)), blob(t, key)])
    c.quit()


@case("rename: either end that is in the way is named, and both keys tell of it")
def both_ends(t):
    t.put("a", b"a\n"), t.put("b", b"b\n")
    for wrong in ("a", "b"):
        c = Client()
        c.arm(t.path(wrong), "blob", NONE)
        fails(errno.EAGAIN, c.rename, t.path("a"), t.path("b"))
        for where in ("a", "b", ""):
            s = of(c, t, where)
            eq((s["key"], s["reason"], s["expected-blob"], s["blob"]), (wrong, "blob", NONE, blob(t, wrong)))
        c.quit()
    c = Client()
    c.rename(t.path("a"), t.path("b"))
    for name in ("status.a", "status.b", "status"):
        eq((of(c, t, "", name)["key"], of(c, t, "", name)["blob"]), ("b", blob(t, "b")))
    c.quit()


@case("a conflict about the namespace tells the blob of the key, too")
def blob_of_the_key(t):
    p = t.put("k", b"v1\n")
    c = Client()
    for name, wrong in (("tree", NONE), ("commit", NONE), ("version", "77")):
        c.arm(p, name, wrong)
        fails(errno.EAGAIN, c.unlink, p)
        eq((of(c, t)["reason"], of(c, t)["key"], of(c, t)["blob"]), (name, "k", blob(t, "k")))
        fails(errno.EAGAIN, c.save, t.path("new"), b"x")
        eq((of(c, t)["key"], of(c, t)["blob"]), ("new", "absent"))
    c.quit()


@case("namespaces: a refused rmdir and rename tell what was expected of the whole; the status follows a rename")
def namespaces(t):
    c = Client()
    c.arm(t.dir, "version", "7")
    for call in (lambda: c.rmdir(t.dir), lambda: c.rename(t.dir, t.dir + "x")):
        fails(errno.EAGAIN, call)
        s = of(c, t)
        eq([s.get(n) for n in ("result", "reason", "namespace", "key", "expected-version", "version", "commit", "blob")],
           ["conflict", "version", t.ns, "", "7", "1", t.repo.tip(t.ns), None])
    c.arm(t.dir, "version", "1")
    c.rename(t.dir, t.dir + "x")
    eq(c.get(t.dir + "x", "expect-version"), "1")
    eq(c.get(t.dir + "x", "status").splitlines()[:2], ["result=conflict", "reason=version"])
    c.rmdir(t.dir + "x")
    c.quit()


@case("a key's name with newlines and backslashes stays one line")
def odd_name(t):
    name = "a\nblob=%s\\n" % NONE
    t.put(name, b"v\n")
    s = status(t.path(name))
    eq((s["key"], s["blob"], len(s)), ("a\\nblob=%s\\\\n" % NONE, blob(t, name), 7))


# --- the value -------------------------------------------------------------------------------------------------------


@case("the value that a conflict met, and the one that was expected, are read under .kv/blob by their OIDs")
def values(t):
    p = t.put("k", b"mine was made from this\n")
    base = blob(t, "k")
    c = Client()
    c.arm(p, "blob", base)
    theirs(t, b"theirs\n")
    fails(errno.EAGAIN, c.save, p, b"late\n")
    s = of(c, t, "k")
    met = s["blob"]
    for i in range(3):  # whatever happens since
        theirs(t, b"%d\n" % i)
    os.unlink(p)
    f = t.path(".kv/blob/" + met)
    eq((read(f), os.stat(f).st_size), (b"theirs\n", 7))
    eq(read(t.path(".kv/blob/" + s["expected-blob"])), b"mine was made from this\n")
    with commits(t, 0):
        fails(errno.EPERM, os.unlink, f)
        fails((errno.EPERM, errno.EACCES), save, f, b"x")
        fails((errno.EPERM, errno.EACCES, errno.ENOENT), save, t.path(".kv/blob/new"), b"x")
    eq(os.listdir(t.path(".kv/blob")), [])
    c.quit()


@case("what no status of the namespace names is not given: another namespace's, any other object of the repository")
def not_told(t):
    t.put("k", b"v1\n")
    secret = t.repo.hash(b"a secret elsewhere in the repository\n")
    other = t.repo.hash(b"other namespace\n")
    os.mkdir(t.dir + "b")
    save(t.dir + "b/k", b"other namespace\n")
    eq(read(t.dir + "b/.kv/blob/" + other), b"other namespace\n")
    tree = t.repo.tree(t.ns)
    for name in (secret, other, tree, t.repo.tip(t.ns), NONE, blob(t, "k").upper(), blob(t, "k")[:39], "x"):
        fails(errno.ENOENT, os.stat, t.path(".kv/blob/" + name))
    eq(read(t.path(".kv/blob/" + blob(t, "k"))), b"v1\n")
    os.mkdir(t.path("d"))
    eq(status(t.dir)["blob"], EMPTY_TREE)  # a tree is no value
    fails(errno.ENOENT, os.stat, t.path(".kv/blob/" + EMPTY_TREE))
    fails(errno.ENOENT, os.stat, t.mount.dir + "/.kv/blob")


@case("large values too")
def large(t):
    data = os.urandom(9 << 20)
    p = t.put("k", data)
    oid = status(p)["blob"]
    c = Client()
    c.save(p, b"small\n")
    ok(read(t.path(".kv/blob/" + oid)) == data, "the same bytes")
    c.quit()


def add_by_status(ns, n):
    """Never looks at the key again after the first time: a conflict tells what the next try needs."""
    path, lost = ns + "/k", 0
    fd = os.open(path, os.O_RDONLY)
    old, value = os.getxattr(fd, "user.kv.blob").decode(), int(os.pread(fd, 20, 0))
    os.close(fd)
    for _ in range(n):
        while True:
            try:
                os.setxattr(path, "user.kv.swap." + old, b"%d\n" % (value + 1))
                old, value = status(path)["blob"], value + 1
                break
            except OSError as e:
                if e.errno != errno.EBUSY:
                    raise
                lost += 1
                old = status(path)["blob"]
                value = int(read(ns + "/.kv/blob/" + old))
    return lost


OPS["add_by_status"] = add_by_status


@case("four processes add to one key by swap, status and .kv/blob alone: the sum is exact")
def without_a_second_look(t):
    t.put("k", b"0\n")
    clients = [Client() for _ in range(4)]
    with commits(t, 120):
        for c in clients:
            c.begin("add_by_status", t.dir, 30)
        print("# lost rounds: %s" % [c.end() for c in clients])
    eq(read(t.path("k")), b"120\n")
    for c in clients:
        c.quit()


# --- whose attempt ---------------------------------------------------------------------------------------------------

PRELUDE = r"""
st() { getfattr --absolute-names --only-values -n user.kv.status "${1:-$ns/k}" | sed -n 's/^\(result\|blob\)=//p'; }
stale() { setfattr -n user.kv.expect-blob -v 1111111111111111111111111111111111111111 "$ns/k"; }
oid() { printf '%s\n' "$1" | git hash-object --stdin; }
one=$(oid 1) two=$(oid 2)
"""

SCRIPTS = [
    ("the shell's own", "echo 1 > $ns/k; st", "committed {1}"),
    ("an exited child's is newer than the shell's own", "echo 1 > $ns/k; echo 2 | cp /dev/stdin $ns/k; st", "committed {2}"),
    ("the shell's own is newer than an exited child's", "echo 2 | cp /dev/stdin $ns/k; echo 1 > $ns/k; st", "committed {1}"),
    ("cp that is refused || the question", "echo 1 > $ns/k; stale; cp /dev/null $ns/k 2>/dev/null || st", "conflict {1}"),
    ("mv, rm", "echo 1 > $ns/k; echo 2 > $ns/l; mv $ns/l $ns/k; st; rm $ns/k; st $ns", "committed {2} committed absent"),
    ("a function in a subshell", "echo 1 > $ns/k; (echo 2 > $ns/k); st", "committed {2}"),
    ("a pipeline's", "echo 1 > $ns/k; echo 2 | tee $ns/k >/dev/null; st", "committed {2}"),
    ("a nested script's", "echo 1 > $ns/k; sh -c 'sh -c \"echo 2 > \\$ns/k\"; true'; st", "committed {2}"),
    ("in a command substitution", "echo 1 > $ns/k; x=$(cp /dev/null $ns/k; st); echo $x", "committed e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"),
    ("nobody's yet", "getfattr --absolute-names --only-values -n user.kv.status $ns/none 2>/dev/null || echo none", "none"),
]


@table([("%s: %s" % (s, r[0]), s, *r[1:]) for r in SCRIPTS for s in ("dash", "bash")])
def script(t, shell, text, want):
    t.put("k", b"of the test\n")  # an attempt of the test itself: farther from the script than its own
    env = {**os.environ, "ns": t.dir}
    p = subprocess.run([shell, "-c", PRELUDE + text], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=LIMIT)
    eq(p.stderr.decode(), "", "stderr")
    oids = {"{1}": t.repo.hash(b"1\n"), "{2}": t.repo.hash(b"2\n")}
    for k, v in oids.items():
        want = want.replace(k, v)
    eq(" ".join(p.stdout.decode().split()), want)


@case("two scripts side by side see each their own")
def side_by_side(t):
    p = t.put("k", b"0\n")
    a, b = Client(), Client()
    a.arm(p, "blob", NONE)
    fails(errno.EAGAIN, a.save, p, b"a\n")
    b.save(p, b"b\n")
    for _ in range(2):
        eq((of(a, t, "k")["result"], of(b, t, "k")["result"]), ("conflict", "committed"))
    fresh = Client()
    eq(of(fresh, t, "k")["result"], "committed")  # its parent's (the test's own save), not its siblings', who still run
    eq(of(fresh, t, "k")["version"], "2")
    b.quit()
    eq(of(fresh, t, "k")["version"], "3")  # what an exited child did counts as its parent's
    a.quit(), fresh.quit()


if __name__ == "__main__":
    main(log=["conflict|refused|rejected|EAGAIN"])
