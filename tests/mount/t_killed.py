#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
SPEC 5.1: a killed writer commits nothing.  Each command writes half of a value, says so through the fifo $R, and blocks; then its whole
process group gets the signal, as by ^C.
"""
import shutil
import signal

from lib import *

COMMANDS = [
    "(echo half; echo > $R; sleep 1000) > $k", "{ echo half; echo > $R; sleep 1000; } > $k", "(echo half; echo > $R; sleep 1000) >> $k",
    "{ /bin/echo half; echo > $R; sleep 1000; echo rest; } > $k", "exec 3> $k; echo half >&3; echo > $R; sleep 1000", "exec > $k; echo half; echo > $R; sleep 1000",
    "for i in 1 2 3; do echo $i; [ $i -lt 2 ] || { echo > $R; sleep 1000; }; done > $k", "(echo half; echo > $R; sleep 1000) | cat > $k",
    "(echo half; echo > $R; sleep 1000) | tee $k > /dev/null", "(echo half; echo > $R; sleep 1000; echo rest) > $d/new",
    "perl -e 'open(F, \">\", $ENV{k}); $s = select F; $| = 1; select $s; print F \"half\"; open(R, \">\", $ENV{R}); print R \"\\n\"; close R; sleep 1000'",
    "python3 -c 'import os,time,signal\nsignal.signal(2, signal.SIG_DFL)\nf=open(os.environ[\"k\"],\"wb\",0); f.write(b\"half\"); open(os.environ[\"R\"],\"w\").write(\"x\"); time.sleep(1000)'",
    "python3 -c 'import os,time,signal,threading\nsignal.signal(2, signal.SIG_DFL)\nf=open(os.environ[\"k\"],\"wb\",0)\ndef w():\n f.write(b\"half\"); open(os.environ[\"R\"],\"w\").write(\"x\"); time.sleep(1000)\n"
    "threading.Thread(target=w).start()'",
]
SIGNALS = ["SIGINT", "SIGTERM", "SIGKILL"]


def children(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
        return [int(x) for x in f.read().split()]


def commands_of(pid):
    """The programs of its descendants."""
    out = set()
    for child in children(pid):
        try:
            with open("/proc/%d/comm" % child) as f:
                out.add(f.read().strip())
            out |= commands_of(child)
        except OSError:
            pass
    return out


@table([("%s: %s: %s" % (s, sig, c.replace("\n", "; ")[:70]), s, sig, c) for c in COMMANDS for s in ("dash", "bash") for sig in SIGNALS])
def kill(t, shell, sig, cmd):
    t.put("k")
    w = tempfile.mkdtemp(dir=work())
    os.mkfifo(w + "/ready")
    env = {**os.environ, "k": t.path("k"), "d": t.dir, "R": w + "/ready"}
    p = subprocess.Popen([KVTOOL, "reap", "setsid", shell, "-c", cmd], env=env, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent)
    with commits(t, 0):
        with open(w + "/ready") as f:
            f.read()  # half is written
        if cmd.startswith(("(", "{", "exec", "for")):
            # the shell's child between fork and exec would swallow the signal: wait for the program that blocks
            until(lambda: "sleep" in commands_of(p.pid), "sleep to run")
        os.killpg(children(p.pid)[0], getattr(signal, sig))
        p.wait(LIMIT)
    eq((read(t.path("k")), os.listdir(t.dir)), (b"old\n", ["k"]))
    shutil.rmtree(w)


@case("cat, by its own group: what came through the pipe before ^C is not a value")
def cat(t):
    t.put("k")
    r, w = os.pipe()
    with open(t.path("k"), "wb", 0) as out:
        p = subprocess.Popen(["cat"], stdin=r, stdout=out)
    os.write(w, b"half")
    until(lambda: "pos:\t4\n" in open("/proc/%d/fdinfo/1" % p.pid).read(), "cat's write")
    with commits(t, 0):
        p.send_signal(signal.SIGINT)
        p.wait()
    eq(read(t.path("k")), b"old\n")
    os.close(r), os.close(w)


@case("an exit by the program's own will commits, whatever its status")
def exit_status(t):
    t.put("k")
    with commits(t, 1):
        eq(subprocess.run(["sh", "-c", "exec > $k; echo whole; exit 3"], env={**os.environ, "k": t.path("k")}).returncode, 3)
    eq(read(t.path("k")), b"whole\n")


if __name__ == "__main__":
    main(log=["poison|kill|signal|not committed|discard"])
