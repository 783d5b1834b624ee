# SPDX-License-Identifier: MIT
"""
The harness of the tests of `git kv`: private folders, a git configuration of nobody, TAP.

A test file declares cases with @case and ends with main().  Nothing sleeps to wait for something.
Environment: GIT_KV (the program), LEDGERFS, TMPDIR; KEEP=1 keeps the temporary files.
Replay one case: tests/cli/t_x.py 'part of its title'.
"""
import atexit
import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
GIT_KV = os.environ.get("GIT_KV", TOP + "/build/cli/git-kv")
LIMIT = 120 * float(os.environ.get("SLOW", "1"))  # seconds for one command
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
ZERO = "0" * 40
SANITIZER = re.compile(rb"Sanitizer|runtime error:|Assertion")

ROOT = tempfile.mkdtemp(prefix="kv-test-")
if os.environ.get("KEEP"):
    print("# files stay in " + ROOT)
else:
    atexit.register(shutil.rmtree, ROOT, True)

# Found by git as `git kv`, in a world of its own.
ENV = {k: v for k, v in os.environ.items() if not k.startswith("GIT_") and k != "EMAIL"}
ENV.update(PATH=os.path.dirname(GIT_KV) + ":" + os.environ["PATH"], HOME=ROOT, XDG_CONFIG_HOME=ROOT, GIT_CONFIG_NOSYSTEM="1", LC_ALL="C.UTF-8",
           TZ="UTC", GIT_AUTHOR_NAME="T", GIT_AUTHOR_EMAIL="t@example.org", GIT_COMMITTER_NAME="T", GIT_COMMITTER_EMAIL="t@example.org")
with open(ROOT + "/.gitconfig", "w") as f:
    f.write("[init]\n\tdefaultBranch = main\n[safe]\n\tdirectory = *\n[gc]\n\tauto = 0\n")


class Result:
    def __init__(self, args, status, out, err):
        self.args, self.status, self.raw, self.raw_err = args, status, out, err
        self.out, self.err = out.decode("utf-8", "surrogateescape"), err.decode("utf-8", "surrogateescape")

    def json(self):
        return json.loads(self.out)

    def lines(self):
        return [json.loads(line) for line in self.out.splitlines()]

    def __str__(self):
        return "%s\n-> status %d\nstdout: %s\nstderr: %s" % (self.args, self.status, self.out[:3000], self.err[:3000])


class Failure(Exception):
    pass


def check(ok, *why):
    if not ok:
        raise Failure(" ".join(str(w) for w in why))


def equal(a, b, *why):
    check(a == b, "%r is not %r" % (a, b), *why)


def run(args, cwd=None, input=b"", status=0, env=None):
    """Runs it; `status` is what it must end with (None: anything; a tuple: any of these)."""
    if isinstance(input, str):
        input = input.encode("utf-8", "surrogateescape")
    p = subprocess.run(args, cwd=cwd, input=input, capture_output=True, env=dict(ENV, **(env or {})), timeout=LIMIT)
    r = Result(args, p.returncode, p.stdout, p.stderr)
    check(not SANITIZER.search(p.stderr), r)
    if status is not None:
        check(r.status in (status if isinstance(status, tuple) else (status,)), "status is not", status, "\n", r)
    return r


class Repo:
    def __init__(self, path):
        self.path = path

    def kv(self, *args, **kw):
        return run([GIT_KV] + list(args), cwd=self.path, **kw)

    def git(self, *args, **kw):
        return run(["git"] + list(args), cwd=self.path, **kw)

    def start(self, *args, **kw):
        return subprocess.Popen([GIT_KV] + list(args), cwd=self.path, env=ENV, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kw)

    def ref(self, name="refs/kv/main"):
        r = self.git("rev-parse", "--verify", "-q", name, status=(0, 1))
        return r.out.strip() or None

    def refs(self):
        return self.git("for-each-ref", "--format=%(refname) %(objectname)").out

    def tree(self, name="refs/kv/main"):
        return self.ref(name + "^{tree}")

    def state(self, ns="main"):
        return self.kv("--ns", ns, "status", "--json").json()

    def versions(self, name="refs/kv/main"):
        """The versions of a ledger, oldest first, as the trailers say."""
        out = self.git("log", "--reverse", "--format=%P|%(trailers:key=KV-Version,valueonly,separator=%x2C)", name).out
        parents = [line.split("|")[0].split() for line in out.splitlines()]
        check(all(len(p) == (i > 0) for i, p in enumerate(parents)), "not linear", out)
        return [int(line.split("|")[1]) for line in out.splitlines()]

    def whole(self, name="refs/kv/main"):
        """fsck is clean, versions follow each other."""
        r = self.git("fsck", "--strict", "--full")
        check("error" not in r.err and "missing" not in r.out, r)
        if self.ref(name):
            v = self.versions(name)
            equal(v, list(range(1, len(v) + 1)))

    def objects(self):
        """Names of everything in the object store: to see that a refusal left nothing behind."""
        return sorted(os.path.relpath(os.path.join(d, f), self.path) for d, _, fs in os.walk(self.path + "/objects") for f in fs)

    # --- commits that git kv would not make

    def blob(self, data):
        return self.git("hash-object", "-w", "--stdin", input=data).out.strip()

    def mktree(self, entries):
        """{name: (mode, oid)} by git's own writer, unchecked."""
        def key(item):
            name, (mode, _) = item
            return name.encode("utf-8", "surrogateescape") + (b"/" if mode == "40000" else b"")
        return self.raw_tree([(mode, name, oid) for name, (mode, oid) in sorted(entries.items(), key=key)])

    def raw_tree(self, entries):
        """[(mode, name, oid)] in the order given, byte for byte."""
        data = b"".join(m.encode() + b" " + n.encode("utf-8", "surrogateescape") + b"\0" + bytes.fromhex(o) for m, n, o in entries)
        return self.git("hash-object", "-w", "-t", "tree", "--literally", "--stdin", input=data).out.strip()

    def commit(self, tree, *parents, version=None, message="hand-made"):
        text = message + ("\n\nKV-Version: %s\n" % version if version is not None else "\n")
        args = ["commit-tree", tree]
        for p in parents:
            args += ["-p", p]
        return self.git(*args, input=text).out.strip()


count = 0


def folder(name):
    global count
    count += 1
    path = "%s/%d-%s" % (ROOT, count, name)
    os.mkdir(path)
    return path


def new_repo(bare=True):
    path = folder("repo")
    run(["git", "init", "-q"] + (["--bare"] if bare else []) + [path])
    return Repo(path)


def new_stargate(*options):
    path = folder("stargate") + "/hub.git"
    run([GIT_KV, "stargate", "init", path] + list(options))
    return Repo(path)


def clone(url, setup=True):
    path = folder("clone") + "/c"
    run(["git", "clone", "-q", url, path])
    r = Repo(path)
    if setup:
        r.kv("remote", "setup")
        equal(r.git("config", "remote.origin.kvStargate").out.strip(), "true")
    return r


# --- transports ---------------------------------------------------------------------------------------------------------

libc = ctypes.CDLL(None)


def server(args, **kw):
    """A process that ends with this one, however this one ends."""
    p = subprocess.Popen(args, env=ENV, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=lambda: libc.prctl(1, signal.SIGKILL), **kw)
    atexit.register(p.wait)
    atexit.register(p.kill)  # these run backwards
    return p


def wait_port(port, p):
    """A server's port: connects until it is taken."""
    end = time.monotonic() + 30
    while True:
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        check(p.poll() is None, "the server ended")
        check(time.monotonic() < end, "the server does not answer")
        os.sched_yield()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def serve_git(root):
    """git daemon over everything below root; its URL."""
    port = free_port()
    core = run(["git", "--exec-path"]).out.strip()
    p = server([core + "/git-daemon", "--reuseaddr", "--listen=127.0.0.1", "--port=%d" % port, "--base-path=" + root, "--export-all",
                "--enable=receive-pack", "--max-connections=0", root], stdout=subprocess.DEVNULL)
    wait_port(port, p)
    return "git://127.0.0.1:%d" % port


def serve_http(root):
    """git's http-backend behind a small server; its URL."""
    p = server([sys.executable, HERE + "/httpd.py", root], stdout=subprocess.PIPE)
    return p.stdout.readline().decode().strip()


# --- TAP ----------------------------------------------------------------------------------------------------------------

cases = []


def case(title):
    def add(f):
        cases.append((title, f))
        return f
    return add


def main():
    want = sys.argv[1:]
    todo = [c for c in cases if not want or any(w in c[0] for w in want)]
    print("1..%d" % len(todo), flush=True)
    failed = 0
    for n, (title, f) in enumerate(todo, 1):
        begin = time.monotonic()
        try:
            f()
            print("ok %d - %s # %.1f s" % (n, title, time.monotonic() - begin), flush=True)
        except Exception as e:  # noqa: B902 (a test that breaks fails, whatever broke it)
            failed += 1
            text = str(e) if isinstance(e, Failure) else traceback.format_exc()
            print("not ok %d - %s" % (n, title))
            where = traceback.extract_tb(e.__traceback__)[0 if len(traceback.extract_tb(e.__traceback__)) < 2 else 1]
            print("".join("# %s\n" % line for line in ("line %d" % where.lineno + "\n" + text).splitlines()))
            print("# again: %s %r" % (sys.argv[0], title), flush=True)
    sys.exit(1 if failed else 0)
