#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""git kv on one repository: every command, what it prints, what git sees."""
import base64
import os
import pty
import select

from kvlib import *  # noqa: F401,F403


@case("set, get: byte for byte")
def bytes_exact():
    r = new_repo()
    for value in [b"", b"\n", b"x", b"\0\xff\r\n\0", bytes(range(256)) * 300, os.urandom(6 << 20)]:
        r.kv("set", "k", "-", input=value)
        equal(r.kv("get", "k").raw, value)
        equal(r.git("cat-file", "blob", "refs/kv/main:k").raw, value)
    r.kv("set", "k", "as an argument, no newline added")
    equal(r.kv("get", "k").raw, b"as an argument, no newline added")
    r.kv("set", "k", "--", "-5")
    equal(r.kv("get", "k").raw, b"-5")
    path = folder("files") + "/f"
    with open(path, "wb") as f:
        f.write(b"from a file\n")
    r.kv("set", "k2", "--file", path)
    r.kv("set", "k3", "--file=" + path)
    r.kv("set", "-F", path, "k4")
    equal({r.kv("get", k).raw for k in ("k2", "k3", "k4")}, {b"from a file\n"})
    r.whole()


@case("set: one commit, with git's author, the key's name and the trailers; the same again: none")
def one_commit():
    r = new_repo()
    first = r.kv("set", "a/b c", "1", "--json").json()
    equal(first["changed"], True)
    equal(first["version"], 1)
    equal(first["commit"], r.ref())
    equal(first["tree"], r.tree())
    equal(first["blob"], r.ref("refs/kv/main:a/b c"))
    again = r.kv("set", "a/b c", "1", "--json").json()
    equal(again["changed"], False)
    equal(again["commit"], first["commit"])
    body = r.git("log", "-1", "--format=%B", "refs/kv/main").out
    check(body.startswith("set a/b c\n"), body)
    check(re.search(r"^KV-Version: 1\nKV-Client: git-kv\[\d+\] %d$" % os.getuid(), body, re.M), body)
    equal(r.kv("set", "q", "1").out, "")
    r.whole()


@case("set keeps x, --executable gives it")
def executable():
    r = new_repo()
    r.kv("set", "s", "#!/bin/sh", "-x")
    r.kv("set", "s", "#!/bin/dash")
    equal(r.git("ls-tree", "refs/kv/main", "s").out.split()[0], "100755")
    equal(r.kv("get", "s", "--json").json()["kind"], "executable")


@case("get: absent is 1, a directory 4, an absent namespace 1; nothing on stdout")
def get_absent():
    r = new_repo()
    r.kv("set", "d/k", "v")
    for args, status, words in [(["get", "no"], 1, "key 'no' does not exist in namespace 'main'"), (["get", "d/no/x"], 1, "does not exist"),
                                (["get", "d/k/x"], 1, "does not exist"), (["get", "d"], 4, "'d' is a directory"),
                                (["--ns", "other", "get", "k"], 1, "namespace 'other' does not exist")]:
        g = r.kv(*args, status=status)
        check(words in g.err and g.err.startswith("error: "), g)
        equal(g.out, "")


@case("get --json: the value and the state that it is of")
def get_json():
    r = new_repo()
    r.kv("set", "k", "grüße\n")
    j = r.kv("get", "k", "--json").json()
    s = r.state()
    equal((j["key"], j["value"], j["size"]), ("k", "grüße\n", 8))
    equal((j["tree"], j["commit"], j["version"]), (s["tree"], s["commit"], s["version"]))
    equal(j["blob"], r.ref("refs/kv/main:k"))
    r.kv("set", "k", "-", input=b"\xff\0x")
    j = r.kv("get", "k", "--json").json()
    equal(base64.b64decode(j["value_b64"]), b"\xff\0x")
    check("value" not in j, j)


@case("del: one commit for all keys, emptied directories go; absent: 1, and nothing is done")
def delete():
    r = new_repo()
    for k in ("a", "d/e/f", "d/g"):
        r.kv("set", k, k)
    before = r.ref()
    d = r.kv("del", "a", "no", status=1)
    check("'no'" in d.err, d)
    equal(r.ref(), before)
    r.kv("del", "a", "no", "d/e/f", "--ignore-unmatch")
    equal(r.kv("list").out, "d/g\n")
    equal(r.versions(), [1, 2, 3, 4])
    r.kv("del", "d/g")
    equal(r.tree(), EMPTY_TREE)
    r.kv("del", "x", "--ignore-unmatch")
    equal(r.versions()[-1], 5)
    d = r.kv("--ns", "no", "del", "x", status=1)
    check("no" in d.err, d)


@case("list: order, prefixes, odd names, -z, --json")
def listing():
    r = new_repo()
    keys = ["aa", "a.b", "a/b", "a/bc/d", "a0", "b", "ü", "tab\there", 'q"uote', "new\nline", "sp ace"]
    r.kv("mset", "--file", "-", input="".join(json.dumps({"op": "set", "key": k, "value": k}) + "\n" for k in keys))
    git = [k for k in r.git("ls-tree", "-r", "-z", "--name-only", "refs/kv/main").out.split("\0") if k]
    equal([k for k in r.kv("list", "-z").out.split("\0") if k], git)
    equal(r.kv("list").out, r.git("ls-tree", "-r", "--name-only", "refs/kv/main").out)
    for prefix, want in [("a", ["aa", "a.b", "a/b", "a/bc/d", "a0"]), ("a/", ["a/b", "a/bc/d"]), ("a/b", ["a/b", "a/bc/d"]), ("a/bc/", ["a/bc/d"]),
                         ("c", []), ("a/b/c", []), ("no/x", []), ("", keys)]:
        equal(sorted(k for k in r.kv("list", "-z", "--prefix", prefix).out.split("\0") if k), sorted(want), prefix)
    j = {o["key"]: o for o in r.kv("list", "--json").lines()}
    equal(sorted(j), sorted(keys))
    equal(j["a/b"]["blob"], r.ref("refs/kv/main:a/b"))
    long = r.kv("list", "--long", "-p", "a.").out
    check(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+0000 +3  a\.b\n$", long), repr(long))


@case("list reads no value: it works when every value is gone")
def list_reads_no_value():
    r = new_repo()
    r.kv("mset", "--file", "-", input="".join('{"op":"set","key":"k%d/x","value":"value %d"}\n' % (i, i) for i in range(20)))
    missing = r.mktree({"there": ("100644", "1" * 40), "not": ("100644", "2" * 40)})
    r.git("update-ref", "refs/kv/main", r.commit(missing, r.ref(), version=2))
    equal(r.kv("list").out, "not\nthere\n")
    r.kv("get", "there", status=5)


@case("names that are not UTF-8: quoted, -z raw, key_b64")
def raw_names():
    r = new_repo()
    name = b"caf\xe9"
    b64 = base64.b64encode(name).decode()
    r.kv("mset", "--file", "-", input=json.dumps({"op": "set", "key_b64": b64, "value": "v"}) + "\n")
    equal(r.kv("list").out, '"caf\\351"\n')
    equal(r.kv("list", "-z").raw, name + b"\0")
    equal(r.kv("list", "--json").json()["key_b64"], b64)
    equal(r.kv("get", name.decode("utf-8", "surrogateescape")).out, "v")
    r.kv("mset", "--file", "-", input=json.dumps({"op": "del", "key_b64": b64}) + "\n")
    equal(r.kv("list").out, "")


@case("mset: every kind of line, order, one commit; nothing to do: no commit")
def mset():
    r = new_repo()
    path = folder("files")
    with open(path + "/v", "wb") as f:
        f.write(b"file\0value")
    lines = ['{"op":"set","key":"a","value":"1"}', '', '  {"op":"set","key":"b","value_b64":"AAECAw=="}\r',
             json.dumps({"op": "set", "key": "c", "file": path + "/v"}), '{"op":"set","key":"gone","value":"x"}', '{"op":"del","key":"gone"}',
             '{"op":"set","key":"a","value":"2\\u0000"}', '{"op":"set","key":"d","value":""}']
    with open(path + "/batch", "w", newline="") as f:
        f.write("\n".join(lines))  # the last line without its newline
    j = r.kv("mset", "--file", path + "/batch", "--json").json()
    equal(j["version"], 1)
    equal([r.kv("get", k).raw for k in "abcd"], [b"2\0", b"\0\1\2\3", b"file\0value", b""])
    equal(r.kv("list").out, "a\nb\nc\nd\n")
    equal(r.kv("mset", "--file", path + "/batch", "--json").json()["changed"], False)
    equal(r.kv("mset", "--file", "-", "--json", input="\n\n").json()["changed"], False)
    equal(r.versions(), [1])
    fresh = new_repo()
    fresh.kv("mset", "--file", "-", input="", status=0)
    equal(fresh.refs(), "")


@case("mset: 10,000 keys are one commit")
def mset_many():
    r = new_repo()
    r.kv("mset", "--file", "-", input="".join('{"op":"set","key":"%02d/%04d","value":"%d"}\n' % (i % 50, i, i) for i in range(10000)))
    equal(len(r.kv("list").out.splitlines()), 10000)
    equal(r.versions(), [1])
    equal(r.kv("get", "33/0083").out, "83")
    r.whole()


@case("expectations: each kind, each command, success and conflict")
def expectations():
    r = new_repo()
    r.kv("set", "k", "1", "--expect-blob", "absent")
    s = r.state()
    blob = r.ref("refs/kv/main:k")
    other = "1234567890123456789012345678901234567890"
    good = [["--expect-tree", s["tree"]], ["--expect-commit", s["commit"]], ["--expect-version", "1"], ["--expect-blob", blob],
            ["--expect-blob=k=" + blob, "--expect-blob", "no=absent", "--expect-tree=" + s["tree"].upper()]]
    bad = [(["--expect-tree", other], "tree", other, s["tree"]), (["--expect-commit", other], "commit", other, s["commit"]),
           (["--expect-version", "7"], "version", "7", "1"), (["--expect-blob", other], "blob", other, blob), (["--expect-blob", "absent"], "blob", "absent", blob),
           (["--expect-blob", "no=" + other], "blob", other, "absent"), (["--expect-version", "1", "--expect-blob", "k=absent"], "blob", "absent", blob)]
    for args, name, expected, there in bad:
        for command in (["set", "k", "2"], ["del", "k"], ["mset", "--file", "-"]):
            if command[0] == "mset" and args[-1] in (other, "absent") and args[-2] == "--expect-blob":
                args = args[:-1] + ["k=" + args[-1]]
            c = r.kv(*(command + args), status=2, input='{"op":"del","key":"k"}\n')
            check(c.err.startswith("error: conflict: "), c)
            check(re.search(r"^  expected  %s +%s$" % (name, expected), c.err, re.M), c)
            check(re.search(r"^  there     %s +%s$" % (name, there), c.err, re.M), c)
            check("tree    " + s["tree"] in c.err and "commit  " + s["commit"] in c.err and "version 1" in c.err, c)
            equal(c.out, "")
    equal(r.ref(), s["commit"])
    for args in good:
        equal(r.kv("set", "k", "1", "--json", *args).json()["changed"], False)
    j = r.kv("set", "k", "2", "--json", "--expect-tree", other, status=2).json()["conflict"]
    equal((j["reason"], j["expected"], j["there"]["tree"], j["there"]["version"]), ("tree", {"tree": other}, s["tree"], 1))
    j = r.kv("set", "k", "2", "--json", "--expect-blob", other, status=2).json()["conflict"]
    equal((j["key"], j["expected"], j["there"]["blob"]), ("k", {"blob": other}, blob))
    r.kv("set", "k", "2", *good[0])
    r.kv("set", "other", "x")
    r.kv("del", "k", "--expect-blob", r.ref("refs/kv/main:k"))
    for args in (["--expect-tree", other], ["--expect-version", "1"], ["--expect-blob", other]):
        c = r.kv("--ns", "absent", "set", "k", "v", *args, status=2)
        check("absent" in c.err, c)
    equal(r.kv("ns", "list").out, "main\n")


@case("a tree that comes back fools --expect-tree, not --expect-commit")
def aba():
    r = new_repo()
    r.kv("set", "k", "a")
    s = r.state()
    r.kv("set", "k", "b")
    r.kv("set", "k", "a")
    r.kv("set", "k", "c", "--expect-commit", s["commit"], status=2)
    r.kv("set", "k", "c", "--expect-version", "1", status=2)
    r.kv("set", "k", "c", "--expect-tree", s["tree"])


@case("history: newest first, of a key, of a directory, --follow, -n, -z, --json, odd names")
def history():
    r = new_repo()
    for k, v in [("a", "1"), ("d/b", "1"), ("a", "2"), ("new\nline", "1")]:
        r.kv("set", k, v)
    r.kv("del", "a")
    r.kv("set", "a", "3")
    rows = [line.split("\t") for line in r.kv("history").out.splitlines()]
    equal([row[0] for row in rows], list("654321"))
    equal([row[1] for row in rows], r.git("rev-list", "refs/kv/main").out.split())
    equal(rows[0][3], "set a")
    equal([x.split("\t")[0] for x in r.kv("history", "a").out.splitlines()], list("6531"))
    equal([x.split("\t")[0] for x in r.kv("history", "d").out.splitlines()], ["2"])
    equal(len(r.kv("history", "-n", "2").out.splitlines()), 2)
    equal(r.kv("history", "-z", "-n1").out.count("\0"), 1)
    j = r.kv("history", "a", "--json").lines()
    equal([o["changes"][0]["change"] for o in j], ["A", "D", "M", "A"])
    equal(j[1]["changes"][0]["blob"], None)
    equal(j[3]["changes"], [{"change": "A", "key": "a", "blob": r.git("hash-object", "--stdin", input="1").out.strip()}])
    equal([o["version"] for o in j], [6, 5, 3, 1])
    equal(j[0]["author"], r.git("log", "-1", "--format=%an", "refs/kv/main").out.strip())
    equal(r.kv("history", "new\nline", "--json").json()["changes"][0]["key"], "new\nline")
    equal(len(r.kv("history", ":(glob)*", status=1).out), 0)
    check("has no history" in r.kv("history", "never", status=1).err, "words")
    # A rename as the mount would make it.
    tree = r.mktree({"b": ("100644", r.ref("refs/kv/main:a"))})
    r.git("update-ref", "refs/kv/main", r.commit(tree, r.ref(), version=7, message="rename a -> b"))
    equal(len(r.kv("history", "b").out.splitlines()), 1)
    check(len(r.kv("history", "--follow", "b").out.splitlines()) > 1, "follow")
    equal(r.kv("history", "--follow", "b", "--json").lines()[0]["changes"][0]["from"], "a")


@case("history: commits that stock git made have no version, and break nothing")
def history_foreign():
    r = new_repo()
    r.kv("set", "a", "1")
    r.git("update-ref", "refs/kv/main", r.commit(EMPTY_TREE, r.ref(), message="by hand\n\nwith a body\n"))
    equal(r.kv("history").out.split("\t")[0], "-")
    equal(r.kv("history", "--json").lines()[0]["version"], None)
    equal(r.state()["version"], 2)
    equal(r.kv("set", "a", "2", "--json").json()["version"], 3)


@case("status: name=value, --json, an absent namespace is 1")
def status():
    r = new_repo()
    r.kv("status", status=1)
    r.kv("set", "k", "v")
    lines = dict(x.split("=", 1) for x in r.kv("status").out.splitlines())
    equal((lines["namespace"], lines["version"], lines["tree"], lines["commit"]), ("main", "1", r.tree(), r.ref()))
    equal(int(lines["time"]), int(r.git("log", "-1", "--format=%ct", "refs/kv/main").out))
    equal(r.kv("status", "-z").out.count("\0"), len(lines))


@case("ns: create, list, delete, restore, rename; history is kept")
def namespaces():
    r = new_repo()
    equal(r.kv("ns", "list").out, "")
    r.kv("ns", "create", "app")
    equal(r.tree("refs/kv/app"), EMPTY_TREE)
    check("app" in r.kv("ns", "create", "app", status=3).err, "exists")
    r.kv("ns", "create", "app/x", status=3)  # git has no ref below a ref
    r.kv("ns", "create", "team/x")
    r.kv("--ns", "app", "set", "k", "v")
    equal(r.kv("ns", "list").out, "app\nteam/x\n")
    equal([o["version"] for o in r.kv("ns", "list", "--json").lines()], [2, 1])
    e = r.kv("ns", "delete", "app", status=3)
    check("has keys" in e.err and "hint: " in e.err, e)
    r.kv("ns", "delete", "app", "--force", "--expect-version", "1", status=2)
    tip = r.ref("refs/kv/app")
    r.kv("ns", "delete", "app", "--force", "--expect-version", "2")
    equal(r.ref("refs/kv-archive/app/2"), tip)
    equal(r.kv("ns", "list", "--archived").out, "2\tapp\n")
    equal(r.kv("ns", "list").out, "team/x\n")
    r.kv("ns", "restore", "app", "--version", "9", status=1)
    r.kv("ns", "restore", "app")
    equal(r.ref("refs/kv/app"), tip)
    r.kv("ns", "rename", "app", "team/x", status=3)
    r.kv("ns", "rename", "app", "web")
    equal(r.kv("ns", "list").out, "team/x\nweb\n")
    r.kv("ns", "delete", "no", status=1)
    r.kv("ns", "restore", "no", status=1)
    r.whole("refs/kv/web")


@case("the repository is found as git finds it: upwards, GIT_DIR, -C, a linked work tree, --repo")
def discovery():
    r = new_repo(bare=False)
    sub = Repo(r.path + "/deep/er")
    os.makedirs(sub.path)
    sub.kv("set", "k", "v")
    equal(r.kv("get", "k").out, "v")
    outside = Repo(folder("outside"))
    equal(outside.git("-C", sub.path, "kv", "get", "k").out, "v")
    equal(outside.git("--git-dir", r.path + "/.git", "kv", "get", "k").out, "v")
    equal(outside.kv("get", "k", env={"GIT_DIR": r.path + "/.git"}).out, "v")
    equal(outside.kv("--repo", r.path, "get", "k").out, "v")
    equal(outside.kv("get", "--repo=" + r.path + "/.git", "k").out, "v")
    r.git("commit", "-q", "--allow-empty", "-m", "x")
    r.git("worktree", "add", "-q", outside.path + "/tree")
    equal(Repo(outside.path + "/tree").kv("get", "k").out, "v")
    no = outside.kv("get", "k", status=128)
    check(no.err.startswith("fatal: not a git repository"), no)


def on_terminal(r, *args):
    """Its output with stdout on a terminal."""
    ours, theirs = pty.openpty()
    p = subprocess.Popen([GIT_KV] + list(args), cwd=r.path, env=ENV, stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.PIPE)
    os.close(theirs)
    out = b""
    while select.select([ours], [], [], LIMIT)[0]:
        try:
            data = os.read(ours, 65536)
        except OSError:  # EIO: the other side is closed
            break
        if not data:
            break
        out += data
    os.close(ours)
    equal(p.wait(), 0, p.stderr.read())
    p.stderr.close()
    return out.decode().replace("\r\n", "\n")


@case("columns with times on a terminal, records elsewhere")
def columns():
    r = new_repo()
    check(re.match(r"main  version 1  tree [0-9a-f]{40}\n", on_terminal(r, "set", "k", "value")), "set")
    when = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+0000"
    check(re.match(when + r"           5  k\n$", on_terminal(r, "list")), "list")
    check(re.match(r" +1  " + when + r"  [0-9a-f]{10}  \S+ +set k\n$", on_terminal(r, "history")), on_terminal(r, "history"))
    check(re.search(r"^version:    1$", on_terminal(r, "status"), re.M), "status")
    check(re.search(r"^time:       " + when, on_terminal(r, "status"), re.M), "status time")
    check(re.match(when + r" +1  main\n$", on_terminal(r, "ns", "list")), "ns list")
    equal(on_terminal(r, "get", "k"), "value")
    equal(on_terminal(r, "list", "-z"), "k\0")


@case("a full disk behind stdout is an error")
def full_output():
    r = new_repo()
    r.kv("set", "k", "v")
    for args in (["get", "k"], ["list"], ["status"], ["history"], ["get", "k", "--json"]):
        with open("/dev/full", "w") as full:
            p = subprocess.run([GIT_KV] + args, cwd=r.path, env=ENV, stdout=full, stderr=subprocess.PIPE)
        equal(p.returncode, 5, args)
        check(b"cannot write the output" in p.stderr, p.stderr)


@case("recover: says the state of every namespace")
def recover():
    r = new_repo()
    r.kv("set", "k", "v")
    equal(r.kv("recover").out, "1\tmain\n")
    equal(r.kv("recover", "--json").json()["commit"], r.ref())
    r.git("update-ref", "refs/kv/bad", r.blob(b"not a commit"))
    e = r.kv("recover", status=5)
    check("bad" in e.err, e)


@case("40 writers of one repository: each commit once, versions follow each other")
def writers():
    r = new_repo()
    r.kv("set", "k", "0")
    ps = [r.start("set", "k%d" % i, str(i)) for i in range(40)]
    for p in ps:
        out, err = p.communicate(timeout=LIMIT)
        equal(p.returncode, 0, err)
    equal(r.versions(), list(range(1, 42)))
    equal(len(r.kv("list").out.splitlines()), 41)
    r.whole()


main()
