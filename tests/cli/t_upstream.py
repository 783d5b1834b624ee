#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""kv.upstream: a shared repository that feeds another.  The table of hook_upstream.c, row by row."""
import select

from kvlib import *  # noqa: F401,F403

SENTENCE = "Push rejected: upstream branch changed externally. Pull latest changes and retry."


def chain(stargate_above=False):
    """An upstream, a Stargate that feeds it, a clone of the Stargate."""
    up = new_stargate() if stargate_above else new_repo()
    hub = new_stargate("--upstream", up.path)
    return up, hub, clone(hub.path)


def same(up, hub, ref="refs/kv/main"):
    check(hub.ref(ref), "nothing there")
    equal(up.ref(ref), hub.ref(ref))


def wait_log(hub, words):
    """The line that the watcher of a push writes when it has done its work."""
    end = time.monotonic() + LIMIT
    path = hub.path + "/kv-stargate.log"
    while True:
        text = open(path).read() if os.path.exists(path) else ""
        if words in text:
            return text
        check(time.monotonic() < end, "not in the log:", words, text)
        select.select([], [], [], 0.01)


@case("absent upstream, absent here: created in both")
def both_absent():
    for above in (False, True):
        up, hub, c = chain(above)
        c.kv("set", "k", "1")
        same(up, hub)
        c.kv("set", "k", "2", "--expect-version", "1")
        same(up, hub)
        up.whole()
        hub.whole()
        equal(up.kv("get", "k").out, "2")


@case("absent upstream, present here: the upstream gets all of it")
def absent_upstream():
    up, hub, c = chain()
    c.kv("set", "k", "1")
    up.git("update-ref", "-d", "refs/kv/main")
    c.kv("set", "k", "2")
    same(up, hub)
    equal(up.versions(), [1, 2])


@case("new here: what builds on the upstream's state goes on, anything else is refused")
def absent_here():
    up, hub, c = chain()
    up.kv("set", "k", "theirs")
    objects = hub.refs()
    r = c.kv("set", "k", "mine", status=2)
    check(SENTENCE in r.err and "git kv stargate sync" in r.err, r)
    equal(hub.ref(), None, objects)
    equal(up.kv("get", "k").out, "theirs")
    # Built on it by hand.
    c.git("fetch", "-q", up.path, "refs/kv/main:refs/kv/main")
    c.git("push", "-q", "origin", c.commit(EMPTY_TREE, c.ref(), version=2) + ":refs/kv/main")
    same(up, hub)
    # What the upstream has already, to the letter.
    up.git("update-ref", "refs/kv/other", up.ref())
    c.git("push", "-q", "origin", up.ref() + ":refs/kv/other")
    same(up, hub, "refs/kv/other")


@case("the same: pushed on, then accepted")
def equal_states():
    up, hub, c = chain()
    for i in range(3):
        c.kv("set", "k", str(i))
        same(up, hub)
    c.kv("--ns", "team/app", "set", "k", "1")
    c.kv("ns", "create", "gone")
    c.kv("ns", "delete", "gone")
    same(up, hub, "refs/kv/team/app")
    equal(up.ref("refs/kv/gone"), None)
    same(up, hub, "refs/kv-archive/gone/1")


@case("different: refused, nothing moves; sync, then it goes on")
def different():
    up, hub, c = chain()
    c.kv("set", "k", "1")
    up.kv("set", "k", "outside")
    tip, refs = up.ref(), hub.ref()
    r = c.kv("set", "k", "2", status=2)
    check(SENTENCE in r.err and "upstream  commit " + tip in r.err, r)
    r = c.git("push", "origin", c.commit(EMPTY_TREE, c.ref(), version=2) + ":refs/kv/main", status=1)
    check("remote: error: " + SENTENCE in r.err, r)
    equal((up.ref(), hub.ref()), (tip, refs))
    equal(hub.ref("refs/kv-upstream/kv/main"), tip)
    check("kv-upstream" not in c.git("ls-remote", "origin").out, "not hidden")
    hub.kv("stargate", "sync")
    same(up, hub)
    c.kv("set", "k", "2")
    same(up, hub)
    equal(up.kv("history").out.count("\n"), 3)
    # Rewound outside is changed, too.
    up.git("update-ref", "refs/kv/main", up.ref() + "~1")
    check(SENTENCE in c.kv("set", "k", "3", status=2).err, "rewound")
    c.git("push", "origin", c.commit(EMPTY_TREE, c.ref(), version=4) + ":refs/kv/main", status=1)
    up.git("update-ref", "refs/kv/main", up.commit(EMPTY_TREE, up.ref(), version=3))
    r = hub.kv("stargate", "sync", status=2)
    check("left as it is" in r.err, r)


@case("unreachable: allow (the default) warns and accepts, and catches up; reject refuses")
def unreachable():
    up, hub, c = chain()
    c.kv("set", "k", "1")
    os.rename(up.path, up.path + ".away")
    for i in (2, 3):
        r = c.kv("set", "k", str(i))
        check("remote: warning: the upstream does not answer; accepted here alone" in r.err, r)
    equal(hub.versions(), [1, 2, 3])
    hub.git("config", "kv.upstreamUnreachable", "reject")
    r = c.kv("set", "k", "4", status=3)
    check("kv.upstreamUnreachable is 'reject'" in r.err, r)
    equal(hub.versions(), [1, 2, 3])
    hub.git("config", "kv.upstreamUnreachable", "maybe")
    check("neither 'allow' nor 'reject'" in c.kv("set", "k", "4", status=3).err, "configuration")
    hub.git("config", "kv.upstreamUnreachable", "reject")
    os.rename(up.path + ".away", up.path)
    equal(up.versions(), [1])
    c.kv("set", "k", "4")
    same(up, hub)
    c.kv("set", "k", "5")
    same(up, hub)
    equal(hub.ref("refs/kv-pending/kv/main"), None)
    # Changed outside while it was away: no catching up.
    hub.git("config", "kv.upstreamUnreachable", "allow")
    os.rename(up.path, up.path + ".away")
    c.kv("set", "k", "6")
    os.rename(up.path + ".away", up.path)
    up.kv("set", "k", "outside")
    check(SENTENCE in c.kv("set", "k", "7", status=2).err, "changed")


@case("the upstream moves between check and push: refused, nothing moves here")
def moves_between():
    up, hub, c = chain()
    c.kv("set", "k", "1")
    # The upstream's own hook runs between our look and its move.
    hook = up.path + "/hooks/pre-receive"
    with open(hook, "w") as f:
        f.write("#!/bin/sh\nrm -f $0\nunset $(git rev-parse --local-env-vars) GIT_QUARANTINE_PATH\n%s --repo . set k outside\n" % GIT_KV)
    os.chmod(hook, 0o755)
    r = c.git("push", "origin", c.commit(EMPTY_TREE, c.ref(), version=2) + ":refs/kv/main", status=1)
    check(SENTENCE in r.err, r)
    equal(hub.versions(), [1])
    equal(up.kv("get", "k").out, "outside")


@case("the upstream refuses: refused here, with its words")
def upstream_refuses():
    up, hub, c = chain()
    c.kv("set", "k", "1")
    hook = up.path + "/hooks/update"
    with open(hook, "w") as f:
        f.write("#!/bin/sh\nexit 1\n")
    os.chmod(hook, 0o755)
    r = c.kv("set", "k", "2", status=3)
    check("the upstream refuses it" in r.err and "hook declined" in r.err, r)
    equal(hub.versions(), [1])
    equal(up.versions(), [1])


@case("two pushes at once, ten times: one order, the same in both")
def at_once():
    up, hub, c = chain()
    d = clone(hub.path)
    c.kv("set", "k", "0")
    for i in range(10):
        ps = [x.start("set", "k%d" % n, str(i)) for n, x in enumerate((c, d))]
        for p in ps:
            out, err = p.communicate(timeout=LIMIT)
            equal(p.returncode, 0, err.decode())
    same(up, hub)
    equal(hub.versions(), list(range(1, 22)))
    version = hub.state()["version"]
    for x in (c, d):
        x.kv("remote", "update")
    ps = [x.start("set", "k", "new %d" % n, "--expect-version", str(version)) for n, x in enumerate((c, d))]
    for p in ps:
        p.communicate(timeout=LIMIT)
    equal(sorted(p.returncode for p in ps), [0, 2])
    same(up, hub)
    hub.whole()
    up.whole()


@case("accepting fails after the upstream took it: the upstream is put back, by compare-and-swap, and the log says so")
def rolled_back():
    up, hub, c = chain()
    c.kv("set", "k", "1")
    hook = hub.path + "/hooks/update"
    with open(hook, "w") as f:
        f.write("#!/bin/sh\nexit 1\n")
    os.chmod(hook, 0o755)
    c.git("push", "origin", c.commit(EMPTY_TREE, c.ref(), version=2) + ":refs/kv/main", status=1)
    wait_log(hub, "the upstream is back at " + c.ref())
    same(up, hub)
    c.git("push", "origin", c.commit(EMPTY_TREE, version=1) + ":refs/kv/new", status=1)
    wait_log(hub, "refs/kv/new: not accepted here after the upstream took it; the upstream is back at absent")
    equal(up.ref("refs/kv/new"), None)
    os.unlink(hook)
    c.kv("set", "k", "2")
    same(up, hub)
    # Not blindly: somebody wrote there meanwhile.
    with open(hook, "w") as f:
        f.write("#!/bin/sh\nunset $(git rev-parse --local-env-vars) GIT_QUARANTINE_PATH\n%s --repo %s set k outside\nexit 1\n" % (GIT_KV, up.path))
    os.chmod(hook, 0o755)
    c.git("push", "origin", c.commit(EMPTY_TREE, c.ref(), version=3) + ":refs/kv/main", status=1)
    wait_log(hub, "could not be put back")
    equal(up.kv("get", "k").out, "outside")


@case("receive-pack killed after the upstream took it: put back")
def killed():
    up, hub, c = chain()
    c.kv("set", "k", "1")
    real = hub.path + "/hooks/pre-receive"
    os.rename(real, real + ".real")
    with open(real, "w") as f:
        f.write("#!/bin/sh\n%s.real || exit\nkill -9 $PPID\nexit 1\n" % real)
    os.chmod(real, 0o755)
    c.git("push", "origin", c.commit(EMPTY_TREE, c.ref(), version=2) + ":refs/kv/main", status=(1, 128))
    wait_log(hub, "the upstream is back at " + c.ref())
    same(up, hub)
    os.rename(real + ".real", real)
    c.kv("set", "k", "2")
    same(up, hub)


@case("several namespaces in one push: all there and here, or none")
def several():
    up, hub, c = chain()
    up.git("config", "receive.advertiseAtomic", "true")
    c.kv("set", "k", "1")
    c.kv("--ns", "b", "set", "k", "1")
    main, b = c.ref(), c.ref("refs/kv/b")
    c.git("push", "-q", "--atomic", "origin", c.commit(EMPTY_TREE, main, version=2) + ":refs/kv/main", c.commit(EMPTY_TREE, b, version=2) + ":refs/kv/b")
    same(up, hub)
    same(up, hub, "refs/kv/b")
    up.kv("--ns", "b", "set", "k", "outside")
    state = up.refs(), hub.ref(), hub.ref("refs/kv/b")
    c.git("push", "--atomic", "origin", c.commit(EMPTY_TREE, hub.ref(), version=3) + ":refs/kv/main",
          c.commit(EMPTY_TREE, hub.ref("refs/kv/b"), version=3) + ":refs/kv/b", status=1, env={"GIT_ALTERNATE_OBJECT_DIRECTORIES": hub.path + "/objects"})
    equal((up.refs(), hub.ref(), hub.ref("refs/kv/b")), state)


main()
