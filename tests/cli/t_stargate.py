#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The shared repository: stargate init, what its hook lets in and what not, with nothing left behind."""
import signal
import stat

from kvlib import *  # noqa: F401,F403


def pair(setup=True):
    """A Stargate with a namespace at version 2, and a clone that has it."""
    hub = new_stargate()
    c = clone(hub.path, setup)
    c.kv("--remote", "origin", "set", "k", "1")
    c.kv("--remote", "origin", "set", "d/x", "1")
    return hub, c


def push_refused(hub, c, *args, rule=None, words=None, conflict=None):
    """A stock `git push` that must bounce, leaving no object, no ref, no quarantine."""
    refs, objects = hub.refs(), hub.objects()
    r = c.git("push", "origin", *args, status=(1, 128))
    if rule:
        check("remote: kv-stargate: 1 refused ref=" in r.err and " rule=%s " % rule in r.err, "rule", rule, r)
    if conflict:
        check("remote: kv-stargate: 1 conflict ref=" in r.err and " reason=%s " % conflict in r.err, "conflict", conflict, r)
    if words:
        check(words in r.err, "not said:", repr(words), r)
    equal(hub.refs(), refs, r)
    equal(hub.objects(), objects, r)
    return r


@case("init: makes a bare repository, equips one, again and again; refuses what it cannot")
def init():
    hub = new_stargate()
    equal(hub.git("config", "receive.advertisePushOptions").out, "true\n")
    equal(hub.git("config", "receive.fsckObjects").out, "true\n")
    equal(hub.git("rev-parse", "--is-bare-repository").out, "true\n")
    check(os.stat(hub.path + "/hooks/pre-receive").st_mode & stat.S_IXUSR, "hook")
    config = open(hub.path + "/config").read()
    hub.kv("stargate", "init", hub.path)
    equal(open(hub.path + "/config").read(), config)
    old = new_repo()
    old.kv("set", "k", "v")
    old.kv("stargate", "init", ".")
    equal(clone(old.path).kv("get", "k", status=1).out, "")  # a clone has it after update
    place = Repo(folder("place"))
    os.mkdir(place.path + "/empty")
    place.kv("stargate", "init", "empty")
    run(["git", "init", "-q", place.path + "/tree"])
    check("not a bare repository" in place.kv("stargate", "init", "tree/.git", status=128).err, "tree")
    with open(place.path + "/file", "w") as f:
        f.write("x")
    check("is not a git repository" in place.kv("stargate", "init", "file", status=128).err, "file")
    run(["git", "init", "-q", "--bare", "--object-format=sha256", place.path + "/sha256"])
    check("only sha1" in place.kv("stargate", "init", "sha256", status=128).err, "sha256")
    other = new_repo()
    with open(other.path + "/hooks/pre-receive", "w") as f:
        f.write("#!/bin/sh\nexit 0\n")
    check("somebody else's" in other.kv("stargate", "init", ".", status=128).err, "hook")
    equal(open(other.path + "/hooks/pre-receive").read(), "#!/bin/sh\nexit 0\n")
    away = new_repo()
    away.git("config", "core.hooksPath", "/no/where")
    check("core.hooksPath" in away.kv("stargate", "init", ".", status=128).err, "hooksPath")
    check(not os.path.exists(away.path + "/hooks/pre-receive"), "hook")


@case("init --mirror: branches, tags and namespaces come along")
def mirror():
    src = new_repo(bare=False)
    src.git("commit", "-q", "--allow-empty", "-m", "x")
    src.git("tag", "t")
    src.kv("set", "k", "v")
    hub = new_stargate("--mirror", src.path)
    equal(hub.ref(), src.ref())
    equal(hub.ref("refs/heads/main"), src.ref("refs/heads/main"))
    equal(hub.ref("refs/tags/t"), src.ref("refs/tags/t"))
    src.kv("set", "k", "2")
    hub.git("fetch", "-q")
    equal(hub.ref(), src.ref())
    check("mirrors" in hub.kv("stargate", "init", "--mirror", "/other", hub.path, status=128).err, "another")
    new_stargate("--upstream", src.path).git("config", "kv.upstream")


@case("stock git may push what is a ledger: append, several commits, a new namespace, other refs")
def accepted():
    hub, c = pair()
    one = c.commit(c.mktree({"k": ("100644", c.blob(b"3")), "x": ("100755", c.blob(b"x")), "l": ("120000", c.blob(b"k"))}), c.ref(), version=3)
    two = c.commit(c.mktree({"d": ("40000", EMPTY_TREE)}), one, version=4)
    c.git("push", "-q", "origin", two + ":refs/kv/main")
    equal(hub.ref(), two)
    root = c.commit(EMPTY_TREE, version=1)
    c.git("push", "-q", "origin", root + ":refs/kv/team/app")
    # Everything outside refs/kv passes untouched: merges, force, deletion, what no ledger would take.
    merge = c.commit(EMPTY_TREE, root, two)
    c.git("push", "-q", "origin", merge + ":refs/heads/x", root + ":refs/tags/t", merge + ":refs/kvx/y")
    c.git("push", "-q", "--force", "origin", root + ":refs/heads/x")
    c.git("push", "-q", "origin", ":refs/heads/x")
    hub.whole()
    hub.whole("refs/kv/team/app")


@case("not linear: a merge, at the tip or below it, is refused")
def merges():
    hub, c = pair()
    tip, tree = c.ref(), c.tree()
    other = c.commit(tree, version=1)
    merge = c.commit(tree, tip, other, version=3)
    push_refused(hub, c, merge + ":refs/kv/main", rule="merge", words="2 parents")
    push_refused(hub, c, c.commit(EMPTY_TREE, merge, version=4) + ":refs/kv/main", rule="merge")
    push_refused(hub, c, c.commit(tree, tip, other, c.commit(tree, version=2), version=3) + ":refs/kv/main", rule="merge", words="3 parents")
    push_refused(hub, c, c.commit(tree, other, c.commit(EMPTY_TREE, version=1), version=2) + ":refs/kv/new", rule="merge")


@case("force: rewinding, another history, a fork, is refused")
def force():
    hub, c = pair()
    tip = c.ref()
    push_refused(hub, c, "+%s~1:refs/kv/main" % tip, rule="force", words="never rewound")
    push_refused(hub, c, "+%s:refs/kv/main" % c.commit(EMPTY_TREE, version=1), rule="force")
    push_refused(hub, c, "+%s:refs/kv/main" % c.commit(EMPTY_TREE, tip + "~1", version=2), rule="force")
    fork = c.commit(EMPTY_TREE, c.commit(EMPTY_TREE, tip + "~1", version=2), version=3)
    push_refused(hub, c, "+%s:refs/kv/main" % fork, rule="force")
    push_refused(hub, c, "+%s:refs/kv/main" % c.commit(EMPTY_TREE, c.commit(EMPTY_TREE, version=7), version=8), rule="force")


@case("deletion: refused until the history has another name; archives stay as they are")
def deletion():
    hub, c = pair()
    tip = c.ref()
    push_refused(hub, c, ":refs/kv/main", rule="delete", words="git kv ns delete main")
    push_refused(hub, c, "--atomic", ":refs/kv/main", tip + ":refs/kv-archive/main/2", rule="delete")
    push_refused(hub, c, tip + ":refs/kv-archive/main/3", rule="archive")
    push_refused(hub, c, tip + ":refs/kv-archive/main/x", rule="archive")
    push_refused(hub, c, tip + ":refs/kv-archive/2", rule="archive")
    push_refused(hub, c, c.commit(EMPTY_TREE, version=5) + ":refs/kv-archive/main/5", rule="version")
    c.git("push", "-q", "origin", tip + "~1:refs/kv-archive/main/1")
    push_refused(hub, c, ":refs/kv/main", rule="delete")
    c.git("push", "-q", "origin", tip + ":refs/kv-archive/main/2")
    push_refused(hub, c, "+%s~1:refs/kv-archive/main/2" % tip, rule="archive")
    push_refused(hub, c, ":refs/kv-archive/main/2", rule="delete")
    c.git("push", "-q", "origin", ":refs/kv/main")
    equal(hub.ref(), None)
    equal(hub.ref("refs/kv-archive/main/2"), tip)


@case("versions: none, twice, wrong, leading zero, signs, in the body, too large, not from 1, not +1")
def versions():
    hub, c = pair()
    tip = c.ref()
    for text in ["x", "x\n\nKV-Version: 4", "x\n\nKV-Version: 2", "x\n\nKV-Version: 03", "x\n\nKV-Version: +3", "x\n\nKV-Version: 3x", "x\n\nKV-Version:",
                 "x\n\nKV-Version: 3\nKV-Version: 3", "x\n\nKV-Version: 3\nkv-version: 9", "x\n\nKV-Version: 3\n\nthe body ends here", "x\n\nKV-Version:3",
                 "x\n\nKV-Version: 99999999999999999999999", "x\n\nKV-Version: 0", "x\n\n KV-Version: 3", "x\n\nkv-version: 3"]:
        push_refused(hub, c, c.commit(EMPTY_TREE, tip, message=text) + ":refs/kv/main", rule="force" if text.endswith(": 2") else "version")
    push_refused(hub, c, c.commit(EMPTY_TREE, version=2) + ":refs/kv/new", rule="version", words="comes 1")
    push_refused(hub, c, c.commit(EMPTY_TREE, c.commit(EMPTY_TREE, tip, version=5), version=6) + ":refs/kv/main", rule="version")
    push_refused(hub, c, c.commit(EMPTY_TREE, c.commit(EMPTY_TREE, tip), version=4) + ":refs/kv/main", rule="version")
    c.git("push", "-q", "origin", c.commit(EMPTY_TREE, tip, message="x\n\nKV-Version: 1\n\nKV-Client: x\nKV-Version: 3") + ":refs/kv/main")


@case("names: .git in any spelling, .., slashes, empty, too long, .kv at the root, deep down too")
def names():
    hub, c = pair()
    hub.git("config", "receive.fsckObjects", "false")  # the hook alone
    tip, blob = c.ref(), c.blob(b"v")
    for name in [".git", ".GIT", "git~1", ".git ", ".git.", ".g\u200cit", ".", "..", "a/b", "/", "x" * 256, ".kv", "../../x", ".git::$INDEX_ALLOCATION"]:
        tree = c.raw_tree([("100644", name, blob)])
        deep = c.raw_tree([("40000", "a", c.raw_tree([("40000", "b", tree)]))])
        push_refused(hub, c, c.commit(tree, tip, version=3) + ":refs/kv/main", rule="name")
        if name != ".kv":
            push_refused(hub, c, c.commit(deep, tip, version=3) + ":refs/kv/main", rule="name")
            # Behind it a commit that takes the name away again.
            push_refused(hub, c, c.commit(EMPTY_TREE, c.commit(tree, tip, version=3), version=4) + ":refs/kv/main", rule="name")
    kv = c.raw_tree([("100644", ".kv", blob)])
    c.git("push", "-q", "origin", c.commit(c.raw_tree([("40000", "a", kv)]), tip, version=3) + ":refs/kv/main")
    # The same tree as a root: it was good below a directory only.
    push_refused(hub, c, c.commit(kv, c.commit(c.raw_tree([("40000", "a", kv)]), c.commit(EMPTY_TREE, version=1), version=2), version=3) + ":refs/kv/new",
                 rule="name")


@case("trees: modes, gitlinks, order, duplicates, file and directory of one name, wrong types")
def trees():
    hub, c = pair()
    hub.git("config", "receive.fsckObjects", "false")
    tip, blob = c.ref(), c.blob(b"v")
    sub = c.raw_tree([("100644", "x", blob)])
    bad = [[("100664", "a", blob)], [("100600", "a", blob)], [("160000", "a", tip)], [("0100644", "a", blob)], [("140000", "a", blob)], [("7", "a", blob)],
           [("100644", "b", blob), ("100644", "a", blob)], [("100644", "a", blob), ("100644", "a", blob)], [("40000", "a", sub), ("100644", "a.b", blob)],
           [("100644", "a", blob), ("100644", "a.b", blob), ("40000", "a", sub)], [("100644", "a", blob), ("40000", "a", sub)],
           [("040000", "a", sub)]]
    for entries in bad:
        push_refused(hub, c, c.commit(c.raw_tree(entries), tip, version=3) + ":refs/kv/main", rule="tree")
    push_refused(hub, c, c.commit(c.raw_tree([("40000", "z", c.raw_tree(bad[0]))]), tip, version=3) + ":refs/kv/main", rule="tree")
    for what in [c.tree(), c.ref("refs/kv/main:k"), c.git("mktag", input="object %s\ntype commit\ntag t\ntagger T <t@e> 1 +0000\n\nx\n" % tip).out.strip()]:
        push_refused(hub, c, "+%s:refs/kv/new" % what, rule="commit")
    # What is already there and broken stops nobody who mends it.
    old = hub.raw_tree([("100664", "a", hub.blob(b"v"))])
    hub.git("update-ref", "refs/kv/main", hub.commit(old, hub.ref(), version=3))
    c.git("fetch", "-q")
    c.git("push", "-q", "origin", c.commit(EMPTY_TREE, hub.ref(), version=4) + ":refs/kv/main")


@case("objects of the wrong type, or absent, do not come in")
def objects():
    hub, c = pair()
    tip, blob, tree = c.ref(), c.blob(b"only here"), c.tree()
    for entries in [[("100644", "a", tree)], [("40000", "a", blob)], [("100644", "a", "1" * 40)], [("40000", "a", "1" * 40)], [("100644", "a", tip)]]:
        commit = c.commit(c.raw_tree(entries), tip, version=3)
        refs, files = hub.refs(), hub.objects()
        # git would not pack it: what a client of ill will sends, put together by hand.
        pack = c.git("pack-objects", "--stdout", "-q", input="%s\n%s\n" % (commit, c.git("rev-parse", commit + "^{tree}").out.strip()), status=None).raw
        line = "%s %s refs/kv/main\0report-status" % (tip, commit)
        body = ("%04x%s0000" % (len(line) + 4, line)).encode() + pack
        r = run(["git", "receive-pack", hub.path], input=body, status=None)
        equal(hub.refs(), refs, r)
        equal(hub.objects(), files, r)
        check("unpack ok\n" not in r.out or "ng refs/kv/main" in r.out, r)


@case("names of namespaces; refs/kv itself; private refs")
def ref_names():
    hub, c = pair()
    root = c.commit(EMPTY_TREE, version=1)
    push_refused(hub, c, root + ":refs/kv/a/.kv/b")
    push_refused(hub, c, root + ":refs/kv/" + "x" * 300)
    for ref in ("refs/kv-upstream/kv/main", "refs/kv-pending/kv/main", "refs/kv-remote/origin/main"):
        push_refused(hub, c, root + ":" + ref)
    bare = new_stargate()
    c.git("remote", "add", "bare", bare.path)
    r = c.git("push", "bare", root + ":refs/kv", status=1)
    check("rule=name" in r.err, r)
    equal(bare.refs(), "")


@case("one bad ref of a push takes the others with it, a good one of two is not half done")
def several():
    hub, c = pair()
    good, bad = c.commit(EMPTY_TREE, c.ref(), version=3), c.commit(EMPTY_TREE, version=9)
    for flags in ([], ["--atomic"]):
        push_refused(hub, c, *flags, good + ":refs/kv/main", bad + ":refs/kv/other", good + ":refs/heads/b", rule="version")
    c.git("push", "-q", "--atomic", "origin", good + ":refs/kv/main", c.commit(EMPTY_TREE, version=1) + ":refs/kv/other")
    # --atomic: a lost race on one of them.
    hub.kv("--ns", "other", "set", "x", "1")
    refs = hub.refs()
    c.git("push", "--atomic", "origin", c.commit(c.tree("refs/kv-remote/origin/main"), good, version=4) + ":refs/kv/main",
          c.commit(EMPTY_TREE, c.ref("refs/kv-remote/origin/other"), version=2) + ":refs/kv/other", status=1)
    equal(hub.refs(), refs)


@case("push options: each expectation held and not, quoted keys, scopes, malformed ones")
def options():
    hub, c = pair()
    c.kv("set", "new\nline", "1")
    c.kv("set", "a=b", "1")
    state = c.state()
    tip, tree, blob = state["commit"], state["tree"], c.ref("refs/kv/main:k")
    version, other = state["version"], "1" * 40
    commit = c.commit(EMPTY_TREE, tip, version=version + 1) + ":refs/kv/main"
    for option, reason in [("tree=" + other, "tree"), ("commit=" + other, "commit"), ("version=9", "version"), ("blob=k=" + other, "blob"),
                           ("blob=k=absent", "absent"), ("blob=no=" + blob, "blob"), ("blob=d=absent", "absent"), ('blob="new\\nline"=absent', "absent"),
                           ("blob=a=b=absent", "absent"), ("tree@main=" + other, "tree")]:
        r = push_refused(hub, c, "-o", "kv.expect-" + option, commit, conflict=reason)
        check("conflict: " in r.err and tip in r.err and tree in r.err and "version=%d" % version in r.err, r)
    for option in ["tree", "tree=", "tree=" + other[1:], "version=0", "version=x", "blob=" + other, "blob=k=x", "blob=/=absent", 'blob="k=absent',
                   'blob="\\q"=absent', 'blob="\\000"=absent', "frob=1", "tree@other=" + tree, "tree@=" + tree]:
        push_refused(hub, c, "-o", "kv.expect-" + option, commit, rule="option")
    push_refused(hub, c, "-o", "kv.frob=1", commit, rule="option", words="no such option")
    root = c.commit(EMPTY_TREE, version=1)
    push_refused(hub, c, "-o", "kv.expect-tree=" + tree, root + ":refs/heads/b", rule="option", words="no namespace")
    push_refused(hub, c, "-o", "kv.expect-tree=" + tree, commit, root + ":refs/kv/b", rule="option", words="say which")
    push_refused(hub, c, "-o", "kv.expect-tree@main=" + tree, "-o", "kv.expect-tree@b=" + tree, commit, root + ":refs/kv/b", conflict="tree")
    push_refused(hub, c, "-o", "kv.expect-version=1", root + ":refs/kv/b", conflict="version", words="absent")
    push_refused(hub, c, "-o", "kv.probe", commit, words="kv-stargate: 1 probe")
    r = c.git("push", "-o", "kv.expect-tree=" + tree, "-o", "kv.expect-commit=" + tip, "-o", "kv.expect-version=%d" % version, "-o", "kv.expect-blob=k=" + blob,
              "-o", "kv.expect-blob=nope=absent", "-o", "other.option", "-o", 'kv.expect-blob="new\\nline"=' + blob, "origin", commit)
    check("remote: kv-stargate: 1 ok ref=refs/kv/main commit=%s expects=6" % hub.ref() in r.err, r)
    c.git("push", "-q", "-o", "kv.expect-blob=x=absent", "origin", root + ":refs/kv/b")


@case("10,000 keys: one commit of them is let in, one bad name among them is found; 1,000 commits too")
def large():
    hub, c = pair()
    blob = c.blob(b"v")
    keys = {"k%05d" % i: ("100644", blob) for i in range(10000)}
    commit = c.commit(c.mktree(keys), c.ref(), version=3)
    c.git("push", "-q", "origin", commit + ":refs/kv/main")
    keys["k05000"] = ("100664", blob)
    push_refused(hub, c, c.commit(c.mktree(keys), commit, version=4) + ":refs/kv/main", rule="tree", words="k05000")
    stream = ["reset refs/heads/long\n"]
    for i in range(1, 1001):
        stream.append("commit refs/heads/long\nmark :%d\ncommitter T <t@e> 1 +0000\ndata <<E\nx\n\nKV-Version: %d\nE\n%sM 100644 inline d%d/f\ndata <<E\n%d\nE\n\n"
                      % (i, i, "from :%d\n" % (i - 1) if i > 1 else "", i % 30, i))
    c.git("fast-import", "--quiet", input="".join(stream))
    c.git("push", "-q", "origin", "refs/heads/long:refs/kv/long")
    hub.whole("refs/kv/long")


@case("bombs: a tree of 10 levels that are 100 times the same, a tree of 5,000 levels")
def bombs():
    hub, c = pair()
    tree = c.raw_tree([("100644", "f", c.blob(b"v"))])
    for _ in range(10):
        tree = c.raw_tree([("40000", "d%03d" % i, tree) for i in range(100)])
    begin = time.monotonic()
    c.git("push", "-q", "origin", c.commit(tree, c.ref(), version=3) + ":refs/kv/main")
    check(time.monotonic() - begin < 20, "slow")
    deep = c.blob(b"v")
    entries = []
    mode = "100644"
    import hashlib
    import zlib
    for _ in range(5000):
        data = mode.encode() + b" a\0" + bytes.fromhex(deep)
        raw = b"tree %d\0" % len(data) + data
        deep, mode = hashlib.sha1(raw).hexdigest(), "40000"
        entries.append((deep, zlib.compress(raw)))
    for oid, data in entries:
        os.makedirs(c.path + "/.git/objects/" + oid[:2], exist_ok=True)
        with open(c.path + "/.git/objects/%s/%s" % (oid[:2], oid[2:]), "wb") as f:
            f.write(data)
    # In or out (git itself may have a limit), but the hook ends, and says so.
    r = c.git("push", "origin", c.commit(deep, c.ref("refs/kv-remote/origin/main"), version=4) + ":refs/kv/main", status=None)
    check("signal" not in r.err, r)


@case("the hook killed in the middle: refused, nothing left behind, the next push goes through")
def killed():
    hub, c = pair()
    hook = hub.path + "/hooks/pre-receive"
    real = open(hook).read()
    commit = c.commit(c.mktree({"new": ("100644", c.blob(b"new"))}), c.ref(), version=3)
    for how in ("kill -9 $$", "kill -TERM $$", "( kill -9 $PPID ); sleep 100"):
        with open(hook, "w") as f:
            f.write("#!/bin/sh\nread line\n%s\n" % how)
        refs = hub.refs()
        c.git("push", "origin", commit + ":refs/kv/main", status=(1, 128))
        equal(hub.refs(), refs)
        if "PPID" not in how:  # receive-pack itself was killed: its quarantine stays until git gc
            check(not [x for x in hub.objects() if "incoming" in x], hub.objects())
    # git-kv itself, while it reads.
    with open(hook, "w") as f:
        f.write("#!/bin/sh\nmkfifo f\n%s hook pre-receive <f &\nexec 3>f\nkill -9 $!; wait $!\n" % GIT_KV)
    c.git("push", "origin", commit + ":refs/kv/main", status=(1, 128))
    equal(hub.refs(), refs)
    with open(hook, "w") as f:
        f.write(real)
    c.git("push", "-q", "origin", commit + ":refs/kv/main")
    hub.whole()


@case("without git-kv on the server every push is refused")
def no_program():
    hub, c = pair()
    hook = hub.path + "/hooks/pre-receive"
    text = open(hook).read().replace(GIT_KV, "/gone/git-kv").replace("kv=git-kv", "kv=/gone/too")
    with open(hook, "w") as f:
        f.write(text)
    push_refused(hub, c, c.commit(EMPTY_TREE, c.ref(), version=3) + ":refs/kv/main")


@case("hook pre-receive outside of a push: a clear line")
def outside():
    r = new_repo()
    e = r.kv("hook", "pre-receive", status=5, input="garbage\n")
    check("not OLD NEW REF" in e.err, e)
    r.kv("hook", "pre-receive", input="")
    line = "%s %s refs/kv/x\n" % (ZERO, "1" * 40)
    e = Repo(folder("nowhere")).kv("hook", "pre-receive", status=(5, 128), input=line)
    check(e.err.startswith(("error: ", "fatal: ")), e)
    e = r.kv("hook", "pre-receive", status=3, input=line)
    check("rule=commit" in e.err, e)
    e = r.kv("hook", "pre-receive", status=3, input=line, env={"GIT_PUSH_OPTION_COUNT": "x"})
    check("not a number" in e.err, e)
    e = r.kv("hook", "pre-receive", status=3, input=line, env={"GIT_PUSH_OPTION_COUNT": "2", "GIT_PUSH_OPTION_0": "a"})
    check("not there" in e.err, e)


main()
