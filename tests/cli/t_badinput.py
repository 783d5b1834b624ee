#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Every malformed option, key, name, object name, JSON line, repository: its status, its sentence, and nothing changed."""
import struct

from kvlib import *  # noqa: F401,F403

OID = "0123456789abcdef0123456789abcdef01234567"

ARGS = [
    # arguments, status, in stderr
    ([], 129, "usage: git kv"),
    (["frobnicate"], 129, "unknown command: `frobnicate'"),
    (["--frob", "get", "k"], 129, "unknown option `frob'"),
    (["-q", "get", "k"], 129, "unknown switch `q'"),
    (["--repo"], 129, "option `repo' requires a value"),
    (["--json=yes", "get", "k"], 129, "option `json' takes no value"),
    (["get"], 129, "get: no key given"),
    (["get", "a", "b"], 129, "get: one key at a time"),
    (["get", "--frob", "a"], 129, "unknown option `frob'"),
    (["set"], 129, "set: no key given"),
    (["set", "k"], 129, "set: no value given"),
    (["set", "k", "two", "words"], 129, "too many arguments"),
    (["set", "k", "v", "--file", "f"], 129, "VALUE and --file exclude each other"),
    (["set", "k", "--file"], 129, "option `file' requires a value"),
    (["set", "k", "--file", "/no/such/file"], 5, "cannot open '/no/such/file': No such file"),
    (["set", "k", "--file", "/"], 5, "'/' is a directory"),
    (["set", "k", "-5"], 129, "unknown switch `5'"),
    (["del"], 129, "del: no key given"),
    (["mset"], 129, "mset: no --file given"),
    (["mset", "f"], 129, "mset: takes no arguments but options"),
    (["mset", "--file", "/no/such/file"], 5, "cannot open '/no/such/file'"),
    (["list", "x"], 129, "a prefix goes behind --prefix"),
    (["list", "--prefix", "/x"], 4, "begins with a slash"),
    (["list", "--prefix", "/"], 4, "begins with a slash"),
    (["list", "--prefix", "a//x"], 4, "ends with a slash"),
    (["list", "--prefix", "../x"], 4, "has '..' as a component"),
    (["list", "--prefix", "p" * 5000], 4, "--prefix is 5000 bytes long"),
    (["history", "a", "b"], 129, "history: one key at a time"),
    (["history", "--follow"], 129, "--follow needs a key"),
    (["history", "-n", "x"], 129, "option `max-count' expects a number, not 'x'"),
    (["history", "-n", "-1"], 129, "expects a number"),
    (["history", "-n", "99999999999999999999"], 129, "expects a number"),
    (["status", "x"], 129, "status: takes no arguments"),
    (["recover", "x"], 129, "recover: takes no arguments"),
    (["ns"], 129, "ns: list, create, delete, restore or rename?"),
    (["ns", "frob"], 129, "ns: unknown verb `frob'"),
    (["ns", "list", "x"], 129, "ns list: takes 0 names, not 1"),
    (["ns", "create"], 129, "ns create: takes 1 name, not 0"),
    (["ns", "rename", "x"], 129, "ns rename: takes 2 names, not 1"),
    (["ns", "restore", "x", "--version", "no"], 129, "expects a number"),
    (["remote"], 129, "remote: setup, update or off?"),
    (["remote", "frob"], 129, "unknown verb `frob'"),
    (["remote", "setup", "a", "b"], 129, "too many arguments"),
    (["remote", "setup"], 128, "'origin' is not a remote of this repository"),
    (["remote", "setup", "nope"], 128, "'nope' is not a remote of this repository"),
    (["--remote", "nope", "set", "k", "v"], 128, "'nope' is not a remote"),
    (["--remote", "nope", "--local", "set", "k", "v"], 129, "--local and --remote exclude each other"),
    (["stargate"], 129, "stargate: init or sync?"),
    (["stargate", "init"], 129, "stargate init: which directory?"),
    (["stargate", "init", "a", "b"], 129, "too many arguments"),
    (["stargate", "frob"], 129, "unknown verb `frob'"),
    (["stargate", "sync"], 128, "has no kv.upstream"),
    (["hook"], 129, "hook: which one?"),
    (["hook", "post-receive"], 129, "unknown hook `post-receive'"),
    (["hook", "pre-receive", "x"], 129, "hook"),
]

EXPECT = [
    (["--expect-tree"], 129, "option `expect-tree' requires a value"),
    (["--expect-tree", ""], 129, "--expect-tree: '' is not an object name of 40 hex digits"),
    (["--expect-tree", OID[:39]], 129, "is not an object name of 40 hex digits"),
    (["--expect-tree", OID + "0"], 129, "is not an object name of 40 hex digits"),
    (["--expect-tree", "g" + OID[1:]], 129, "is not an object name"),
    (["--expect-tree", "HEAD"], 129, "'HEAD' is not an object name"),
    (["--expect-commit", " " + OID[1:]], 129, "--expect-commit: "),
    (["--expect-version", ""], 129, "--expect-version: '' is not a version"),
    (["--expect-version", "0"], 129, "'0' is not a version"),
    (["--expect-version", "-1"], 129, "'-1' is not a version"),
    (["--expect-version", "+1"], 129, "'+1' is not a version"),
    (["--expect-version", "1x"], 129, "'1x' is not a version"),
    (["--expect-version", "0x1"], 129, "'0x1' is not a version"),
    (["--expect-version", "18446744073709551616"], 129, "is not a version"),
    (["--expect-blob", "gone"], 129, "'gone' is neither an object name of 40 hex digits nor 'absent'"),
    (["--expect-blob", "ABSENT"], 129, "'ABSENT' is neither"),
    (["--expect-blob", "k="], 129, "'' is neither"),
    (["--expect-blob", "=absent"], 4, "key '' is empty"),
    (["--expect-blob", "a/=absent"], 4, "key 'a/' ends with a slash"),
    (["--expect-frob", OID], 129, "unknown option `expect-frob'"),
]

KEYS = [
    ("", "key '' is empty"), ("/", "begins with a slash"), ("/a", "begins with a slash"), ("a/", "ends with a slash"), ("a//b", "has an empty component"),
    (".", "has '.' as a component"), ("..", "has '..'"), ("a/./b", "has '.'"), ("a/../b", "has '..'"), (".git", "a name that git refuses"),
    ("a/.GIT/b", "'.GIT' as a component, a name that git refuses"), ("git~1", "a name that git refuses"), (".git ", "a name that git refuses"),
    (".g\u200cit", "a name that git refuses"), (".kv", "the control directory"), (".kv/x", "the control directory"), ("a" * 256, "of 256 bytes, more than 255"),
    ("b/" * 2500 + "b", "is 5001 bytes long"), ("x\ny/", "key '\"x\\ny/\"' ends with a slash"),
]

NAMESPACES = ["", "/", "a/", "/a", "a//b", "a..b", "a b", "a~", "a^", "a:", "a?", "a*", "a[", "a\\", "a.lock", ".a", "a/.b", "a@{b", "a.", "\x7f", "a\nb", "..",
              ".git", ".kv", "a/.kv"]

# Lines; a fault is in the last one.
LINES = [
    ("x", 128, "1: not JSON: "),
    ('{"op":"set"', 128, "1: not JSON: "),
    ('{"op":"set","key":"k","value":"v"} x', 128, "1: not JSON: "),
    ('{"op":"set","key":"k","value":"v"}{}', 128, "1: not JSON: "),
    ("\n\n[1]", 128, "3: not a JSON object"),
    ("1", 128, "not a JSON object"),
    ('"s"', 128, "not a JSON object"),
    ("null", 128, "not a JSON object"),
    ("{}", 128, 'no "op"'),
    ('{"op":"set","op":"del","key":"k"}', 128, "not JSON: duplicate"),
    ('{"op":"frob","key":"k"}', 128, '"op" is "frob", neither "set" nor "del"'),
    ('{"op":1,"key":"k"}', 128, '"op" is not a string'),
    ('{"op":"set","value":"v"}', 128, 'no "key"'),
    ('{"op":"set","key":1,"value":"v"}', 128, '"key" is not a string'),
    ('{"op":"set","key":null,"value":"v"}', 128, '"key" is not a string'),
    ('{"op":"set","key":"k","key_b64":"aw==","value":"v"}', 128, 'both "key" and "key_b64"'),
    ('{"op":"set","key_b64":"aw=","value":"v"}', 128, '"key_b64" is not base64'),
    ('{"op":"set","key":"a\\u0000b","value":"v"}', 4, "the key has a NUL byte"),
    ('{"op":"set","key":"","value":"v"}', 4, "key '' is empty"),
    ('{"op":"del","key":"a/../b"}', 4, "has '..' as a component"),
    ('{"op":"set","key":".git/config","value":"v"}', 4, "a name that git refuses"),
    ('{"op":"set","key":"k"}', 128, "exactly one of"),
    ('{"op":"set","key":"k","value":"v","value_b64":"dg=="}', 128, "this line has 2"),
    ('{"op":"set","key":"k","value":5}', 128, '"value" is not a string'),
    ('{"op":"set","key":"k","value_b64":"dg"}', 128, '"value_b64" is not base64'),
    ('{"op":"set","key":"k","value_b64":"dh=="}', 128, '"value_b64" is not base64'),
    ('{"op":"set","key":"k","value_b64":"d\\ng="}', 128, '"value_b64" is not base64'),
    ('{"op":"set","key":"k","file":"/no/such/file"}', 5, "1: the value could not be read"),
    ('{"op":"set","key":"k","file":"-"}', 128, "cannot take its value from standard input"),
    ('{"op":"set","key":"k","file":"a\\u0000b"}', 128, "the name of the file has a NUL byte"),
    ('{"op":"set","key":"k","value":"v","mode":"755"}', 128, 'unknown field "mode"'),
    ('{"op":"set","Key":"k","value":"v"}', 128, 'unknown field "Key"'),
    ('{"op":"del","key":"k","value":"v"}', 128, '"del" takes no value'),
    (b'{"op":"set","key":"\xff","value":"v"}', 128, "not JSON: "),
    (b'{"op":"set","key":"k","value":"\xff"}', 128, "not JSON: "),
    (b'{"op":"set","key":"k\0","value":"v"}', 128, "not JSON: "),
    ('{"op":"set","key":"new","value":"v"}\n{"op":"del","key":"nope"}', 1, "standard input:2: "),
    ('{"op":"set","key":"new","value":"v"}\n{"op":"set","key":"k/x","value":"v"}', 4, "standard input:2: 'k' is"),
    ('{"op":"set","key":"new","value":"v"}\n\n{"op":"set","key":"d","value":"v"}\n{"op":"set","key":"z","value":"v"}', 4, "standard input:3: 'd' is a directory"),
    ('{"op":"set","key":"new/x","value":"v"}\n{"op":"del","key":"new"}', 4, "standard input:2: 'new' is a directory"),
]


def fixture():
    r = new_repo()
    r.kv("set", "k", "v")
    r.kv("set", "d/x", "v")
    return r


def refused(r, args, status, words, **kw):
    before = r.refs()
    e = r.kv(*args, status=status, **kw)
    check(words in e.err, "not said:", repr(words), e)
    check(status == 129 and not args or e.err.startswith(("error: ", "fatal: ")), e)
    equal(e.out, "", e)
    equal(r.refs(), before, "something changed:", e)


@case("-h is 129 and prints the usage, for each command too")
def help_text():
    r = new_repo()
    for args in [[], ["get"], ["set"], ["del"], ["mset"], ["list"], ["history"], ["status"], ["ns"], ["recover"], ["remote"], ["stargate"], ["hook"]]:
        h = r.kv(*(args + ["-h"]), status=129)
        check(h.out.startswith("usage: git kv"), h)
        equal(h.err, "")
    h = r.git("kv", "-h", status=129)
    check(h.out.startswith("usage: git kv"), h)
    check(r.kv("--version").out.startswith("git-kv "), "version")


@case("options and arguments (%d)" % len(ARGS))
def arguments():
    r = fixture()
    for args, status, words in ARGS:
        refused(r, args, status, words)


@case("expectations (%d)" % len(EXPECT))
def expectations():
    r = fixture()
    for args, status, words in EXPECT:
        refused(r, ["set", "k", "2"] + args, status, words)
        refused(r, ["mset", "--file", "-"] + args, status, "" if args[-1] in ("gone", "ABSENT") else words)
    refused(r, ["del", "k", "d/x", "--expect-blob", "absent"], 129, "does not say which key")
    refused(r, ["mset", "--file", "-", "--expect-blob", OID], 129, "does not say which key")


@case("keys (%d)" % len(KEYS))
def keys():
    r = fixture()
    for key, words in KEYS:
        for args in (["get", "--", key], ["set", "--", key, "v"], ["del", "--", key], ["del", "--", "k", key], ["history", "--", key]):
            refused(r, args, 4, words)
    refused(r, ["set", "k/x", "v"], 4, "'k' is")
    refused(r, ["set", "d", "v"], 4, "'d' is a directory")
    refused(r, ["del", "d"], 4, "'d' is a directory")


@case("namespaces (%d)" % len(NAMESPACES))
def namespaces():
    r = fixture()
    for i, ns in enumerate(NAMESPACES):
        commands = (["--ns", ns, "get", "k"], ["--ns", ns, "set", "k", "v"], ["--ns", ns, "del", "k"], ["--ns", ns, "list"], ["--ns", ns, "status"],
                    ["--ns", ns, "history"], ["--ns", ns, "mset", "--file", "-"], ["ns", "create", "--", ns], ["ns", "delete", "--", ns],
                    ["ns", "restore", "--", ns], ["ns", "rename", "--", "main", ns])
        # All commands with the first of them, each of the others with one.
        for args in commands if i < 2 else [commands[i % len(commands)]]:
            refused(r, args, 4, "namespace")


@case("JSON lines (%d): the file, the line, the fault; nothing of the file is done" % len(LINES))
def json_lines():
    r = fixture()
    for text, status, words in LINES:
        refused(r, ["mset", "--file", "-"], status, words, input=text)
    path = folder("files") + "/batch.jsonl"
    with open(path, "w") as f:
        f.write('{"op":"set","key":"a","value":"1"}\n{"op":"set","key":"b"}\n')
    refused(r, ["mset", "--file", path], 128, "fatal: %s:2: " % path)
    refused(r, ["mset", "--file", "/"], 5, "cannot read '/'")


@case("repositories: none, an empty folder, a file, unreadable, SHA-256, a bad ref, garbage")
def repositories():
    place = folder("place")
    r = Repo(place)
    os.mkdir(place + "/empty")
    open(place + "/file", "w").close()
    for path in (place + "/nowhere", place + "/empty", place + "/file", ""):
        e = r.kv("--repo", path, "get", "k", status=128)
        check(e.err.startswith("fatal: ") and e.err.count("\n") == 1, e)
    run(["git", "init", "-q", "--bare", "--object-format=sha256", place + "/sha256"])
    e = r.kv("--repo", place + "/sha256", "get", "k", status=128)
    check("SHA-256" in e.err or "sha256" in e.err, e)
    e = Repo(place + "/sha256").kv("set", "k", "v", status=128)
    run(["git", "init", "-q", "--bare", place + "/bad"])
    bad = Repo(place + "/bad")
    bad.git("symbolic-ref", "refs/kv/sym", "refs/kv/other")
    e = bad.kv("--ns", "sym", "set", "k", "v", status=5)
    check("sym" in e.err, e)
    tag = bad.git("mktag", input="object %s\ntype blob\ntag t\ntagger T <t@e> 1 +0000\n\nx\n" % bad.blob(b"x")).out.strip()
    bad.git("update-ref", "refs/kv/tag", tag)
    for args in (["get", "k"], ["set", "k", "v"], ["list"], ["status"]):
        e = bad.kv("--ns", "tag", *args, status=5)
        check(e.err.startswith("error: "), e)
    with open(bad.path + "/refs/kv/torn", "w") as f:
        f.write("not an oid\n")
    bad.kv("--ns", "torn", "get", "k", status=5)
    if os.getuid() == 0:
        return  # root reads everything
    os.chmod(place + "/bad", 0)
    bad.kv("--repo", place + "/bad", "get", "k", status=(5, 128))
    os.chmod(place + "/bad", 0o700)


@case("a damaged value, tree or commit is 5, and says which object")
def damage():
    r = new_repo()
    r.kv("set", "k", "a value")
    r.git("repack", "-adq", status=None)
    for name in ("refs/kv/main:k", "refs/kv/main^{tree}"):
        oid = r.git("rev-parse", name).out.strip()
        copy = Repo(folder("copy") + "/c")
        run(["cp", "-a", r.path, copy.path])
        loose = "%s/objects/%s/%s" % (copy.path, oid[:2], oid[2:])
        # All objects loose, then one of them wrong.
        packs = [copy.path + "/objects/pack/" + p for p in os.listdir(copy.path + "/objects/pack") if p.endswith(".pack")]
        for p in packs:
            with open(p, "rb") as f:
                data = f.read()
            for stem in (p, p[:-5] + ".idx", p[:-5] + ".rev", p[:-5] + ".bitmap"):
                if os.path.exists(stem):
                    os.unlink(stem)
            copy.git("unpack-objects", "-q", input=data)
        os.chmod(loose, 0o600)
        with open(loose, "wb") as f:
            f.write(struct.pack(">I", 0xdeadbeef))
        e = copy.kv("get", "k", status=5)
        check(e.err.startswith("error: "), e)


main()
