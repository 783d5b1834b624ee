#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
SPEC 6.2: whose expectation it is.  Each row is a shell script in namespace $ns with a key k; `stale` is somebody else's commit (git update-ref),
`arm` is setfattr with the present tree, `put TEXT` saves k with a tool that tells close errors (kvtool).  The script prints what put says.
"""
from lib import *

PRELUDE = r"""
tree() { getfattr --absolute-names --only-values -n user.kv.tree "$ns"; }
arm() { setfattr -n user.kv.expect-tree -v "${1:-$(tree)}" "$ns"; }
disarm() { setfattr -x user.kv.expect-tree "$ns"; }
stale() { python3 "$HERE/foreign.py" "$REPO" "$NS"; }
put() { "$KVTOOL" save tc "$ns/k" "$1"; }
"""

ROWS = [
    ("setfattr exits, its parent, the script, holds", "arm; stale; put 1", "open EAGAIN"),
    ("a fresh one goes through", "arm; put 1", "ok"),
    ("and moves on with the script's series of writes", "arm; put 1; put 2; put 3; stale; put 4", "ok ok ok open EAGAIN"),
    ("disarmed", "arm; stale; disarm; put 1", "ok"),
    ("armed again", "arm; stale; put 1; arm; put 2", "open EAGAIN ok"),
    ("not armed", "stale; put 1; stale; put 2", "ok ok"),
    ("two subshells have each their own", "(arm; stale; put 1); (arm; put 2)", "open EAGAIN ok"),
    ("a subshell's does not bind the script once it has written", "(arm; put 1); stale; put 2", "ok ok"),
    ("a subshell's that never wrote passes to the script", "(arm); stale; put 1", "open EAGAIN"),
    ("through three levels that exit", "sh -c 'sh -c \"$(cat $PRE); arm\"'; stale; put 1", "open EAGAIN"),
    ("a child of the holder is bound", "arm; stale; sh -c '. $PRE; put 1'", "open EAGAIN"),
    ("a grandchild too", "arm; stale; sh -c 'sh -c \". $PRE; put 1\"; true'", "open EAGAIN"),
    ("the nearest ancestor's counts: a fresh one in the child", "arm; stale; (arm; put 1)", "ok"),
    ("the nearest ancestor's counts: a stale one in the child", "arm; (arm; stale; put 1)", "open EAGAIN"),
    ("in a pipeline", "arm; stale; echo | { put 1; }", "open EAGAIN"),
    ("in a command substitution", "arm; stale; echo $(put 1)", "open EAGAIN"),
    ("by xargs", "arm; stale; echo 1 | xargs -I{} \"$KVTOOL\" save tc \"$ns/k\" {} || true", "open EAGAIN"),
    ("in the background, with the script waiting", "arm; stale; put 1 & wait", "open EAGAIN"),
    ("setsid without a fork", "arm; stale; setsid -w \"$KVTOOL\" save tc \"$ns/k\" 1 || true", "open EAGAIN"),
    ("nohup, nice, env, timeout", "arm; stale; nohup nice env timeout 60 \"$KVTOOL\" save tc \"$ns/k\" 1 2>/dev/null || true", "open EAGAIN"),
    ("exec: the same process goes on", "arm; stale; exec \"$KVTOOL\" save tc \"$ns/k\" 1", "open EAGAIN"),
    ("mv, rm, mkdir, ln -s and chmod are bound", "arm; stale; for c in 'mv $ns/k $ns/l' 'rm $ns/k' 'mkdir $ns/d' 'ln -s x $ns/s' 'chmod +x $ns/k';"
     " do eval \"$c\" 2>/dev/null || echo refused; done", "refused refused refused refused refused"),
]


def script(t, text, shell="sh"):
    pre = work() + "/prelude.sh"
    with open(pre, "w") as f:
        f.write(PRELUDE)
    env = {**os.environ, "ns": t.dir, "NS": t.ns, "REPO": t.repo.path, "HERE": HERE, "KVTOOL": KVTOOL, "PRE": pre}
    p = subprocess.run([shell, "-c", ". $PRE\n" + text], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=LIMIT)
    eq(p.stderr.decode(), "", "stderr of the script")
    return " ".join(p.stdout.decode().split())


@table([("%s: %s" % (s, r[0]), s, *r[1:]) for r in ROWS for s in ("dash", "bash")])
def holder(t, shell, text, want):
    t.put("k", b"value\n")
    eq(script(t, text, shell), want)


@case("two processes side by side: each its own, siblings are not bound")
def siblings(t):
    p = t.put("k")
    a, b, free = Client(), Client(), Client()
    a.arm(p, "tree", t.repo.tree(t.ns))
    b.arm(p, "tree", t.repo.tree(t.ns))
    b.save(p, b"b\n")
    fails(errno.EAGAIN, a.save, p, b"a\n")
    b.save(p, b"b2\n")
    free.save(p, b"free\n")
    fails(errno.EAGAIN, b.save, p, b"b3\n")
    eq(read(p), b"free\n")
    for c in (a, b, free):
        c.quit()


@case("an expectation dies with its last holder; the next process of that pid inherits nothing")
def death(t):
    p = t.put("k")
    c = Client()
    c.save(p, b"wrote\n")
    c.arm(p, "tree", t.repo.tree(t.ns))
    c.save(p, b"wrote again\n")
    pid = c.pid
    c.quit()
    save(p, b"free\n")
    last = "/proc/sys/kernel/ns_last_pid"
    if not os.access(last, os.W_OK):
        return
    for _ in range(50):
        with open(last, "w") as f:
            f.write(str(pid - 1))
        d = Client()
        if d.pid == pid:
            fails(errno.ENODATA, d.get, p, "expect-tree")
            d.save(p, b"same pid, another process\n")
        d.quit()
        if d.pid == pid:
            break


@case("a killed holder's expectation passes on as at exit")
def killed(t):
    p = t.put("k")
    out = script(t, "{ sh -c '. $PRE; arm; kill -9 $$'; } 2>/dev/null; stale; put 1")
    eq(out, "open EAGAIN")
    eq(read(p), b"old\n")


@case("threads of one process share its expectation")
def threads(t):
    p = t.put("k")
    c = Client()
    c.arm_in_thread(p, t.repo.tree(t.ns))
    ok(t.repo.foreign(t.ns, {"other": b"x"}), "foreign")
    fails(errno.EAGAIN, c.save, p, b"main thread\n")
    c.disarm(p)
    c.save(p, b"free\n")
    c.quit()


def arm_in_thread(path, tree):
    th = threading.Thread(target=arm, args=(path, "tree", tree))
    th.start()
    th.join()


OPS["arm_in_thread"] = arm_in_thread

if __name__ == "__main__":
    main(log=["conflict|refused|rejected|EAGAIN"])
