# SPDX-License-Identifier: MIT
"""
The harness of the mount tests: a private repository, a daemon in the foreground with its stderr kept, TAP.

A test file declares cases with @case or @table and ends with main().  Every case gets `t`: t.repo, t.mount, and a
namespace of its own, t.ns, shown at t.dir.  Nothing sleeps: waits are for events (the mount table, a pidfd, a pipe), or
look at a condition again and again with a limit (until()).  A line on the daemon's stderr that no case announced
with t.expect_log() fails the test; so do a leftover lock, an unclean fsck and a hole in a ledger's versions.

Environment: LEDGERFS (the program), KVTOOL (kvtool.c), TMPDIR; KEEP=1 keeps the temporary files.
Replay one case: tests/mount/t_x.py 'part of its title'.
"""
import atexit
import errno
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

from client import *  # noqa: F401,F403 (tests write `from lib import *`)
from client import PR_SET_CHILD_SUBREAPER, die_with_parent, libc  # noqa: F401
from repo import EMPTY_BLOB, EMPTY_TREE, ENV, Repo  # noqa: F401

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
LEDGERFS = os.environ.get("LEDGERFS", TOP + "/build/fs/ledgerfs")
KVTOOL = os.environ.get("KVTOOL", TOP + "/build/tests/mount/kvtool")
SLOW = float(os.environ.get("SLOW", "1"))  # sanitizers: everything may take so many times longer
LIMIT = 20 * SLOW  # seconds for one wait
WATCHDOG = 100 * SLOW  # for a whole file; below meson's own limit
SANITIZER = re.compile(r"Sanitizer|runtime error:|Assertion|terminate called")



def skip(why):
    print("1..0 # SKIP " + why)
    sys.exit(77)


def mounts():
    """[(mount point, device minor, type)] of this mount namespace, oldest first."""
    out = []
    with open("/proc/self/mountinfo") as f:
        for line in f:
            left, right = line.split(" - ", 1)
            field = left.split(" ")
            point = re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), field[4])
            out.append((point, int(field[2].split(":")[1]), right.split(" ")[0]))
    return out


def until(cond, what, limit=None):
    """Looks at `cond` until it is true; for conditions that offer no event.  Returns what it returned."""
    end = time.monotonic() + (limit or LIMIT)
    while True:
        got = cond()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError("waited in vain: " + what)
        time.sleep(0.002)


# Where the kernel keeps the daemon's threads while they have nothing to do: for requests, for each other, for signals, for time to pass.
IDLE = ("fuse_dev_do_read", "futex", "do_futex", "do_sigtimedwait", "poll_schedule_timeout", "do_poll", "do_sys_poll", "hrtimer_nanosleep", "do_nanosleep")


def _wchan(pid, tid):
    try:
        with open("/proc/%d/task/%d/wchan" % (pid, tid)) as f:
            return f.read()
    except (FileNotFoundError, ProcessLookupError):
        return "0"


def _unanswered(mount, client):
    """The client waits for a request's answer, and no thread of the daemon does anything (one that is woken is not asleep any more)."""
    at = _wchan(client.pid, client.pid)
    return ("request_wait_answer" in at or "fuse" in at) and all(
        _wchan(mount.proc.pid, int(tid)).startswith(IDLE) for tid in os.listdir("/proc/%d/task" % mount.proc.pid))


def queued(mount, client):
    """
    The client's call is one that the daemon has taken and keeps: it is in the kernel, waiting for the answer, and the daemon has nothing
    left to do.  Twice in a row, because the threads are looked at one after the other.
    """
    def kept():
        ok(not client.ready(), "it was answered and did not wait")
        return _unanswered(mount, client) and _unanswered(mount, client)
    until(kept, "the request to be taken and kept")
    ok(not client.ready(), "it was answered and did not wait")


class Mount:
    """A daemon in the foreground and its mount; use as a context manager or let the harness end it."""

    live = []
    made = []

    def __init__(self, repo, opts="", args=(), env=None, point=None, ready=True):
        self.repo = repo
        self.dir = point or tempfile.mkdtemp(prefix="mnt-", dir=work())
        self.minor = None
        self.errfile = tempfile.NamedTemporaryFile(prefix="stderr-", dir=work(), delete=False)
        argv = [LEDGERFS, "-f", *(["-o", opts] if opts else []), *args, repo.path if isinstance(repo, Repo) else repo, self.dir]
        self.proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self.errfile, stderr=self.errfile,
                                     preexec_fn=die_with_parent, env={**os.environ, **ENV_DAEMON, **(env or {})})
        Mount.live.append(self)
        Mount.made.append(self)
        if ready and not self.wait():
            raise AssertionError("the daemon ended with status %s instead of mounting: %s" % (self.proc.returncode, self.log()))

    def wait(self):
        """Until the mount answers (True) or the daemon has ended (False)."""
        pidfd = os.pidfd_open(self.proc.pid)
        with open("/proc/self/mountinfo") as info:
            p = select.poll()
            p.register(info, select.POLLPRI | select.POLLERR)
            p.register(pidfd, select.POLLIN)
            while True:
                found = [m for m in mounts() if m[0] == self.dir and m[2].startswith("fuse")]
                if found:
                    self.minor = found[-1][1]
                    os.statvfs(self.dir)  # waits for the daemon's first answer
                    break
                if self.proc.poll() is not None:
                    break
                if not p.poll(LIMIT * 1000):
                    raise AssertionError("no mount and no exit: " + str(self.log()))
        os.close(pidfd)
        return self.minor is not None

    def log(self):
        with open(self.errfile.name, errors="replace") as f:
            return f.read().splitlines()

    def abort(self):
        """Frees a daemon that hangs in the kernel: nothing less than the connection's abort file does."""
        if self.minor is not None:
            try:
                with open("/sys/fs/fuse/connections/%d/abort" % self.minor, "w") as f:
                    f.write("1")
            except OSError:
                pass
        subprocess.run(["umount", "-l", self.dir], stderr=subprocess.DEVNULL, check=False)
        if self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()

    def unmount(self, how="fusermount3"):
        """Ends the mount the ordinary way and returns the daemon's exit status."""
        if how == "fusermount3":
            subprocess.run(["fusermount3", "-u", self.dir], check=True)
        else:
            self.proc.send_signal(how)
        status = self.proc.wait(LIMIT)
        Mount.live.remove(self)
        return status

    def kill(self):
        """kill -9 and clean the dead mount away, as an operator would."""
        self.proc.kill()
        self.proc.wait()
        subprocess.run(["fusermount3", "-u", "-z", self.dir], check=True)
        Mount.live.remove(self)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self in Mount.live:
            self.unmount() if exc[0] is None else self.abort()
            if self in Mount.live:
                Mount.live.remove(self)


ENV_DAEMON = {**ENV}
_work = None


def work():
    """This test's private temporary folder."""
    global _work
    if _work is None:
        _work = tempfile.mkdtemp(prefix="ledgerfs-test-")
        atexit.register(_cleanup, os.getpid())
    return _work


def _cleanup(pid):
    if os.getpid() != pid:
        return
    for m in list(Mount.live):
        m.abort()
    if not os.environ.get("KEEP"):
        shutil.rmtree(_work, ignore_errors=True)


# --- assertions -------------------------------------------------------------------------------------------------------


def eq(got, want, what="value"):
    if got != want:
        raise AssertionError("%s: got %.400r, want %.400r" % (what, got, want))


def ok(cond, what):
    if not cond:
        raise AssertionError(what)


def fails(want, fn, *args, **kw):
    """fn(...) fails with that errno (or one of a tuple)."""
    want = want if isinstance(want, tuple) else (want,)
    names = "/".join(errno.errorcode[e] for e in want)
    try:
        fn(*args, **kw)
    except OSError as e:
        if e.errno not in want:
            raise AssertionError("%s%.200r: failed with %s, want %s" % (getattr(fn, "__name__", fn), args, errno.errorcode.get(e.errno, e), names))
        return
    raise AssertionError("%s%.200r: succeeded, want %s" % (getattr(fn, "__name__", fn), args, names))


class commits:
    """with commits(t, n): the body makes exactly n commits on the namespace; 0 also means the very same tip."""

    def __init__(self, t, n, ns=None):
        self.t, self.n, self.ns = t, n, ns or t.ns

    def __enter__(self):
        self.before, self.tip = self.t.repo.count(self.ns), self.t.repo.tip(self.ns)

    def __exit__(self, *exc):
        if exc[0] is None:
            made = self.t.repo.count(self.ns) - self.before
            log = self.t.repo.git("log", "--format=%s", "-%d" % (made + 1), "refs/kv/" + self.ns).splitlines()
            ok(made == self.n, "made %d commits, want %d: %s" % (made, self.n, log))
            ok(self.n or self.t.repo.tip(self.ns) == self.tip, "the tip moved")


# --- cases ------------------------------------------------------------------------------------------------------------

CASES = []


def case(title, **kw):
    def add(fn):
        CASES.append((title, fn, (), kw))
        return fn
    return add


def table(rows, **kw):
    """One case per row; the row's first field is its title, the others are the arguments."""
    def add(fn):
        CASES.extend((fn.__name__.replace("_", " ") + ": " + r[0], fn, r[1:], kw) for r in rows)
        return fn
    return add


class Skip(Exception):
    """This case cannot run here; says why."""


def skip_unless(cond, why):
    if not cond:
        raise Skip(why)


class T:
    def __init__(self, repo, mount):
        self.repo, self.mount = repo, mount
        self.ns = self.dir = None
        self.seen = 0
        self.expected = []

    def path(self, key=""):
        return self.dir + ("/" + key if key else "")

    def put(self, key, data=b"old\n"):
        save(self.path(key), data)
        return self.path(key)

    def expect_log(self, *patterns):
        """Lines that the daemon may write from now on."""
        self.expected.extend(patterns)

    def new_log(self):
        lines = self.mount.log()
        new, self.seen = lines[self.seen:], len(lines)
        return new

    def unexpected(self):
        return [line for line in self.new_log() if SANITIZER.search(line) or not any(re.search(p, line) for p in self.expected)]


def _watchdog():
    os.write(2, b"# watchdog: the test hangs; aborting its mounts\n")
    import faulthandler
    faulthandler.dump_traceback(all_threads=True)
    for m in list(Mount.live):
        os.write(2, ("# daemon %d: %s\n" % (m.proc.pid, m.log()[-20:])).encode())
        m.abort()
    os._exit(1)


def _diag(text):
    for line in text.rstrip("\n").splitlines():
        print("# " + line)


def main(opts="", log=(), repo=None, shared=True):
    """Runs the cases.  `log`: lines that any of them may cause.  shared=False: cases mount for themselves."""
    if not os.path.exists("/dev/fuse"):
        skip("no /dev/fuse")
    if os.geteuid() == 0 and not os.listdir("/sys/fs/fuse/connections"):
        subprocess.run(["mount", "-t", "fusectl", "none", "/sys/fs/fuse/connections"], stderr=subprocess.DEVNULL, check=False)
    os.umask(0o022)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a runner under nohup passes on that it is ignored, and daemons honour it
    sys.stdout.reconfigure(line_buffering=True)
    os.environ.update({"HOME": work(), **{k: v for k, v in ENV.items() if k.startswith("GIT_CONFIG") or k == "LC_ALL"}})
    timer = threading.Timer(WATCHDOG, _watchdog)
    timer.daemon = True
    timer.start()
    want = sys.argv[1] if len(sys.argv) > 1 else ""
    chosen = [c for c in CASES if want in c[0]]
    bad = 0
    print("1..%d" % (len(chosen) + (1 if shared else 0)))
    repo = repo or Repo(work() + "/repo.git")
    t = T(repo, Mount(repo, opts) if shared else None)
    for i, (title, fn, args, kw) in enumerate(chosen, 1):
        try:
            t.expected = list(log)
            if shared and kw.get("ns", True):
                t.ns = "n%d" % i
                t.dir = t.mount.dir + "/" + t.ns
                os.mkdir(t.dir)
            fn(t, *args)
            if shared:
                eq(t.unexpected(), [], "the daemon's stderr")
            eq([line for m in Mount.made for line in m.log() if SANITIZER.search(line)], [], "a sanitizer's report")
            print("ok %d - %s" % (i, title))
        except Skip as e:
            print("ok %d - %s # SKIP %s" % (i, title, e))
        except Exception:
            bad += 1
            print("not ok %d - %s" % (i, title))
            _diag(traceback.format_exc())
            for line in [line for m in Mount.made for line in m.log()][-200:]:
                _diag("daemon: " + line)
            _diag("replay: %s %r" % (os.path.relpath(sys.argv[0]), title))
        Mount.made = [m for m in Mount.made if m is t.mount]
    if shared:
        try:
            eq(t.mount.unmount(), 0, "the daemon's exit status")
            eq(t.unexpected(), [], "the daemon's stderr at the end")
            eq(repo.faults(), [], "the repository")
            print("ok %d - unmounted; fsck, versions and log are clean" % (len(chosen) + 1))
        except Exception:
            bad += 1
            print("not ok %d - unmounted; fsck, versions and log are clean" % (len(chosen) + 1))
            _diag(traceback.format_exc())
    sys.stdout.flush()
    sys.exit(1 if bad else 0)
