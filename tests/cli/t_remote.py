#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes from clones, over git's real transports on loopback: file, git daemon, git's http backend, ssh's form."""
from kvlib import *  # noqa: F401,F403

served = folder("served")
URL = {"file": "file://" + served, "path": served, "git": serve_git(served), "http": serve_http(served), "ssh": "ssh://there" + served}

# ssh as git sees it: a program that runs a command for a host.
with open(served + "/ssh", "w") as f:
    f.write('#!/bin/sh\nshift\nunset $(git rev-parse --local-env-vars)\nexec sh -c "$*"\n')
os.chmod(served + "/ssh", 0o755)
ENV.update(GIT_SSH=served + "/ssh", GIT_SSH_VARIANT="simple")


def stargate(name):
    path = "%s/%s.git" % (served, name)
    run([GIT_KV, "stargate", "init", path])
    hub = Repo(path)
    hub.git("config", "http.receivepack", "true")
    return hub


def each_transport(title, names=("file", "path", "git", "http", "ssh")):
    def add(f):
        for name in names:
            def one(name=name):
                hub = stargate("%s-%d" % (name, len(os.listdir(served))))
                f(hub, URL[name] + "/" + os.path.basename(hub.path))
            cases.append(("%s: %s" % (name, title), one))
        return f
    return add


@each_transport("two terminals: --expect-tree lands, and is refused when the other was first")
def two_terminals(hub, url):
    a, b = clone(url), clone(url)
    first = a.kv("set", "k", "1", "--json").json()
    equal(hub.ref(), first["commit"])
    equal(a.ref(), first["commit"])
    b.kv("remote", "update")
    equal(b.kv("get", "k").out, "1")
    tree = b.state()["tree"]
    equal(tree, first["tree"])
    won = a.kv("set", "k", "from a", "--expect-tree", tree, "--json").json()
    before = b.refs()
    lost = b.kv("set", "k", "from b", "--expect-tree", tree, status=2)
    check(lost.err.startswith("error: conflict: "), lost)
    check("expected  tree    " + tree in lost.err and "there     tree    " + won["tree"] in lost.err and "version 2" in lost.err, lost)
    equal(hub.ref(), won["commit"])
    equal(b.ref(), first["commit"], "the local ref moved", before)
    b.kv("remote", "update")
    b.kv("set", "k", "from b", "--expect-tree", b.state()["tree"])
    equal(hub.git("cat-file", "blob", "refs/kv/main:k").out, "from b")
    hub.whole()
    b.whole()


@each_transport("a stale client of each kind: every expectation, each command; the other's value stays")
def stale(hub, url):
    a, b = clone(url), clone(url)
    a.kv("set", "k", "1")
    b.kv("remote", "update")
    s, blob = b.state(), b.ref("refs/kv/main:k")
    a.kv("set", "k", "2")
    a.kv("set", "other", "x")
    tip = hub.ref()
    for args in (["--expect-tree", s["tree"]], ["--expect-commit", s["commit"]], ["--expect-version", "1"], ["--expect-blob", "k=" + blob],
                 ["--expect-blob", "other=absent"]):
        for command in (["set", "k", "3"], ["del", "k"], ["mset", "--file", "-"], ["mset", "--file", "/dev/null"]):
            r = b.kv(*(command + args), input='{"op":"set","key":"k","value":"3"}\n', status=2)
            check("conflict: " in r.err, r)
    equal(hub.ref(), tip)
    equal(b.ref(), s["commit"])
    # An expectation about a key lets other keys move; unguarded writes go on top of what is there.
    b.kv("set", "mine", "y", "--expect-blob", "absent")
    b.kv("set", "k", "3")
    equal(hub.kv("list").out, "k\nmine\nother\n")
    hub.whole()


@each_transport("set, mset, del, ns: as here, but there", ("file", "http"))
def commands(hub, url):
    a, b = clone(url), clone(url)
    a.kv("mset", "--file", "-", input='{"op":"set","key":"x/1","value":"1"}\n{"op":"set","key":"y","value":"2"}\n')
    equal(hub.versions(), [1])
    b.kv("del", "y")
    equal(hub.kv("list").out, "x/1\n")
    check("nope" in b.kv("del", "nope", status=1).err, "absent")
    equal(b.kv("set", "x/1", "1", "--json").json()["changed"], False)
    a.kv("ns", "create", "team/app")
    check("has it already" in b.kv("ns", "create", "team/app", status=3).err, "exists")
    b.kv("--ns", "team/app", "set", "k", "v")
    check("has keys" in a.kv("ns", "delete", "team/app", status=3).err, "not empty")
    a.kv("ns", "delete", "team/app", "--force", "--expect-version", "1", status=2)
    a.kv("ns", "delete", "team/app", "--force", "--expect-version", "2")
    check(hub.ref("refs/kv/team/app") is None and hub.ref("refs/kv-archive/team/app/2"), hub.refs())
    equal(a.ref("refs/kv/team/app"), None)
    a.kv("ns", "delete", "team/app", status=1)
    b.kv("ns", "restore", "team/app", status=3)
    b.kv("--ns", "team/app", "del", "k", status=(1, 3))
    hub.whole()


@each_transport("8 clones, one counter, compare-and-swap: none lost", ("git", "http"))
def counter8(hub, url):
    count(hub, url, 8, 3)


def count(hub, url, clones, each):
    """Every clone adds 1 `each` times by compare-and-swap; all at once."""
    first = clone(url)
    first.kv("set", "n", "0")
    script = r"""
import json, random, subprocess, sys, time
kv, each = sys.argv[1], int(sys.argv[2])
def call(*args):
    return subprocess.run([kv] + list(args), capture_output=True, text=True, stdin=subprocess.DEVNULL)
wins = tries = 0
while wins < each:
    r = call("remote", "update")
    assert r.returncode == 0, r
    now = json.loads(call("get", "n", "--json").stdout)
    tries += 1
    guard = ["--expect-tree", now["tree"]] if wins % 2 else ["--expect-blob", now["blob"]]
    r = call("set", "n", str(int(now["value"]) + 1), *guard)
    assert r.returncode in (0, 2), r
    if r.returncode == 0:
        wins += 1
    else:
        assert "conflict: " in r.stderr, r
        time.sleep(random.random() * 0.05)
print(tries)
"""
    places = [first] + [clone(url) for _ in range(clones - 1)]
    ps = [subprocess.Popen([sys.executable, "-c", script, GIT_KV, str(each)], cwd=p.path, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for p in places]
    tries = 0
    for p in ps:
        out, err = p.communicate(timeout=LIMIT)
        equal(p.returncode, 0, err.decode())
        tries += int(out)
    equal(hub.git("cat-file", "blob", "refs/kv/main:n").out, str(clones * each))
    equal(hub.versions(), list(range(1, clones * each + 2)))
    hub.whole()
    print("# %d increments, %d tries" % (clones * each, tries))


@case("20 clones, one counter, compare-and-swap: none lost")
def counter20():
    hub = stargate("counter20")
    count(hub, URL["file"] + "/counter20.git", 20, 2)


@case("20 clones write without a guard at once: all land, by retrying")
def unguarded():
    hub = stargate("unguarded")
    url = URL["git"] + "/unguarded.git"
    places = [clone(url) for _ in range(20)]
    ps = [p.start("set", "k%d" % i, "v") for i, p in enumerate(places)]
    for p in ps:
        out, err = p.communicate(timeout=LIMIT)
        equal(p.returncode, 0, err.decode())
    equal(len(hub.kv("list").out.splitlines()), 20)
    equal(hub.versions(), list(range(1, 21)))


@case("10 processes write in one clone at once: all land, and the clone follows")
def one_clone():
    hub = stargate("oneclone")
    c = clone(hub.path)
    c.kv("set", "k", "0")
    ps = [c.start("set", "k%d" % i, "v") for i in range(10)]
    for p in ps:
        out, err = p.communicate(timeout=LIMIT)
        equal(p.returncode, 0, err.decode())
    equal(hub.versions(), list(range(1, 12)))
    c.kv("remote", "update")
    equal(c.ref(), hub.ref())


@case("two clients that make the same change on the same tip: one commit each, or one conflict, never one commit for both")
def twins():
    hub = stargate("twins")
    a, b = clone(hub.path), clone(hub.path)
    a.kv("set", "n", "1")
    b.kv("remote", "update")
    tree = b.state()["tree"]
    ps = [x.start("set", "n", "2", "--expect-tree", tree) for x in (a, b)]
    for p in ps:
        p.communicate(timeout=LIMIT)
    equal(sorted(p.returncode for p in ps), [0, 2])


@case("the remote has no hook: unguarded writes land, guarded ones are refused before anything is sent")
def no_hook():
    hub = new_repo()
    c = clone(hub.path, setup=False)
    r = c.kv("remote", "setup")
    check(r.err.startswith("warning: ") and "no Stargate hook" in r.err and "hint: " in r.err, r)
    equal(c.git("config", "remote.origin.kvStargate").out, "false\n")
    c.kv("set", "k", "1")
    equal(hub.ref(), c.ref())
    for args in (["--expect-tree", c.tree()], ["--expect-blob", "absent"]):
        r = c.kv("set", "k", "2", *args, status=3)
        check("no Stargate hook" in r.err and "hint: " in r.err, r)
    equal(hub.versions(), [1])
    # Takes push options, has no hook: setup's probe is accepted, and taken away again.
    hub.git("config", "receive.advertisePushOptions", "true")
    check("no Stargate hook" in c.kv("remote", "setup").err, "probe")
    equal(hub.refs().count("\n"), 1, hub.refs())
    # Once set up, it takes its hook away: no word, no success.
    c.git("config", "remote.origin.kvStargate", "true")
    r = c.kv("set", "k", "2", "--expect-tree", c.tree(), status=3)
    check("without a word that the expectations were checked" in r.err, r)
    equal(c.versions(), [1], "the local ref moved")
    hub.git("config", "receive.advertisePushOptions", "false")
    c.kv("remote", "update")
    r = c.kv("set", "k", "3", "--expect-tree", c.tree(), status=3)
    check("no Stargate hook" in r.err, r)
    equal(hub.versions(), [1, 2])


@case("another hook declines: 3, with its words; a race that hides behind it is found")
def other_hook():
    hub = stargate("otherhook")
    c, d = clone(hub.path), clone(hub.path)
    c.kv("set", "k", "1")
    hook = hub.path + "/hooks/update"
    with open(hook, "w") as f:
        f.write("#!/bin/sh\necho not on a sunday >&2\nexit 1\n")
    os.chmod(hook, 0o755)
    r = c.kv("set", "k", "2", status=3)
    check("hook declined" in r.err and "not on a sunday" in r.err and "nothing changed" in r.err, r)
    equal(c.versions(), [1])
    equal(hub.versions(), [1])
    os.unlink(hook)
    # This pre-receive declines once, after somebody else has moved the ref.
    real = hub.path + "/hooks/pre-receive"
    os.rename(real, real + ".real")
    with open(real, "w") as f:
        f.write("#!/bin/sh\ncp %s.real %s.new; mv %s.new %s\nunset $(git rev-parse --local-env-vars) GIT_QUARANTINE_PATH\n%s --repo . set k other >&2\nexit 1\n" % (real, real, real, real, GIT_KV))
    os.chmod(real, 0o755)
    d.kv("remote", "update")
    r = d.kv("set", "k", "mine", "--expect-version", "1", status=2)
    check("conflict: " in r.err and "version 2" in r.err, r)
    equal(hub.kv("get", "k").out, "other")


@case("the server's faces of a lost race: lock held, ref moved between check and update: 2, or done again")
def lost_faces():
    hub = stargate("faces")
    c = clone(hub.path)
    c.kv("set", "k", "1")
    # Moves the ref after the hook has said yes: git finds another value under the lock.
    hook = hub.path + "/hooks/update"
    with open(hook, "w") as f:
        f.write("#!/bin/sh\nrm -f $0\nunset $(git rev-parse --local-env-vars) GIT_QUARANTINE_PATH\n%s --repo . set other x\n" % GIT_KV)
    os.chmod(hook, 0o755)
    version = c.state()["version"]
    r = c.kv("set", "k", "2", "--expect-version", str(version), status=2)
    check("conflict: " in r.err, r)
    equal(hub.kv("get", "k").out, "1")
    with open(hook, "w") as f:
        f.write("#!/bin/sh\nrm -f $0\nunset $(git rev-parse --local-env-vars) GIT_QUARANTINE_PATH\n%s --repo . set other y\n" % GIT_KV)
    os.chmod(hook, 0o755)
    c.kv("set", "k", "3")
    equal((hub.kv("get", "k").out, hub.kv("get", "other").out), ("3", "y"))
    # Somebody holds the lock for good: it says so, and does not spin for ever.
    lock = hub.path + "/refs/kv/main.lock"
    open(lock, "w").close()
    r = c.kv("set", "k", "4", status=5)
    check("refuses although nobody else moved it" in r.err, r)
    os.unlink(lock)
    c.kv("set", "k", "4")
    hub.whole()


@case("no answer: the connection ends after the push was taken, or before; the truth is asked for")
def no_answer():
    hub = stargate("noanswer")
    c = clone(hub.path)
    c.kv("set", "k", "1")
    wrapper = folder("bin") + "/receive-pack"
    # Hands the client the list of refs, and then nothing of what receive-pack says.
    with open(wrapper, "w") as f:
        f.write("#!%s\n" % sys.executable + r"""
import subprocess, sys
p = subprocess.Popen(["git-receive-pack"] + sys.argv[1:], stdin=subprocess.PIPE if MODE == "before" else None, stdout=subprocess.PIPE)
while True:
    size = p.stdout.read(4)
    n = int(size, 16)
    sys.stdout.buffer.write(size + (p.stdout.read(n - 4) if n else b""))
    sys.stdout.buffer.flush()
    if n == 0:
        break
if MODE == "before":
    p.kill()
else:
    p.stdout.read()
p.wait()
""".replace("import sub", "MODE = 'after'\nimport sub"))
    os.chmod(wrapper, 0o755)
    c.git("config", "remote.origin.receivepack", wrapper)
    j = c.kv("set", "k", "2", "--json").json()
    equal(hub.ref(), j["commit"])
    equal(c.ref(), j["commit"])
    c.kv("set", "k", "3", "--expect-version", "2")
    equal(hub.versions(), [1, 2, 3])
    text = open(wrapper).read().replace("MODE = 'after'", "MODE = 'before'")
    with open(wrapper, "w") as f:
        f.write(text)
    r = c.kv("set", "k", "4", status=5)
    check("did not take it" in r.err, r)
    equal(hub.versions(), [1, 2, 3])
    equal(c.versions(), [1, 2, 3])
    # And the remote gone altogether.
    os.rename(hub.path, hub.path + ".away")
    r = c.kv("set", "k", "4", status=5)
    check(r.err.startswith("error: "), r)
    os.rename(hub.path + ".away", hub.path)
    hub.whole()


@case("commits made here that the remote lacks: refused with a hint, nothing forks")
def ahead():
    hub = stargate("ahead")
    c = clone(hub.path)
    c.kv("set", "k", "1")
    c.kv("set", "k", "local", "--local")
    equal(c.state()["remote"]["ahead"], 1)
    r = c.kv("set", "k", "2", status=3)
    check("has commits here that 'origin' does not have" in r.err and "hint: " in r.err, r)
    equal(hub.versions(), [1])
    c.kv("remote", "update")
    equal(c.kv("get", "k").out, "local")
    c.git("push", "-q", "origin", "refs/kv/main")
    c.kv("set", "k", "2")
    equal(hub.versions(), [1, 2, 3])
    # Apart in both directions.
    c.kv("set", "k", "local", "--local")
    clone(hub.path).kv("set", "k", "theirs")
    r = c.kv("remote", "update", status=2)
    check("the other way round; left as it is" in r.err, r)
    c.kv("set", "k", "3", status=3)
    equal(c.kv("get", "k").out, "local")


@case("setup: again is fine; a refspec that would overwrite namespaces is refused; off; --remote, --local")
def setup():
    hub = stargate("setup")
    c = clone(hub.path)
    config = open(c.path + "/.git/config").read()
    c.kv("remote", "setup")
    c.kv("remote", "setup", "origin")
    equal(open(c.path + "/.git/config").read(), config)
    c.kv("set", "k", "1")
    c.kv("set", "k", "2", "--local")
    equal(hub.versions(), [1])
    c.git("push", "-q", "origin", "refs/kv/main")
    c.kv("remote", "off")
    c.kv("set", "k", "3")
    equal(hub.versions(), [1, 2])
    c.git("push", "-q", "origin", "refs/kv/main")
    c.kv("--remote", "origin", "set", "k", "4")
    equal(hub.versions(), [1, 2, 3, 4])
    c.git("config", "--add", "remote.origin.fetch", "refs/kv/*:refs/kv/*")
    r = c.kv("remote", "setup", status=3)
    check("over commits made meanwhile" in r.err, r)


@case("the hook's own rules reach the client's user: 3")
def rules():
    hub = stargate("rules")
    c = clone(hub.path)
    c.kv("set", "k", "1")
    hook = hub.path + "/hooks/pre-receive"
    real = open(hook).read()
    with open(hook, "w") as f:
        f.write("#!/bin/sh\ncat >/dev/null\necho 'error: no' >&2\necho 'kv-stargate: 1 refused ref=refs/kv/main rule=name' >&2\nexit 1\n")
    r = c.kv("set", "k", "2", status=3)
    check("refused it" in r.err and "remote: error: no" in r.err and "kv-stargate" not in r.err, r)
    # A yes to somebody else's commit is no yes.
    with open(hook, "w") as f:
        f.write("#!/bin/sh\ncat >/dev/null\necho 'kv-stargate: 1 ok ref=refs/kv/main commit=%s expects=1' >&2\n" % ("1" * 40))
    r = c.kv("set", "k", "2", "--expect-version", "1", status=3)
    check("without a word" in r.err, r)
    with open(hook, "w") as f:
        f.write(real)


@case("large values and 10,000 keys go through in one push")
def large():
    hub = stargate("large")
    c = clone(URL["http"] + "/large.git")
    c.kv("set", "big", "-", input=os.urandom(5 << 20))
    c.kv("mset", "--file", "-", input="".join('{"op":"set","key":"%02d/%04d","value":"%d"}\n' % (i % 50, i, i) for i in range(10000)))
    equal(hub.versions(), [1, 2])
    d = clone(URL["git"] + "/large.git")
    d.kv("remote", "update")
    equal(len(d.kv("list").out.splitlines()), 10001)
    equal(d.kv("get", "big").raw, c.kv("get", "big").raw)
    d.kv("del", "00/0000", "--expect-version", "2")
    hub.whole()


main()
