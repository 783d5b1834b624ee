# SPDX-License-Identifier: MIT
"""What is measured, and what beside: each is started on the loopback with its data below one folder, and ended by its pid."""
import os
import shutil
import signal
import socket
import subprocess
import time

PACKAGES = ["redis-server", "libhiredis-dev", "postgresql", "libpq-dev", "etcd-server"]
TICK = os.sysconf("SC_CLK_TCK")
ENV = {**os.environ, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_AUTHOR_NAME": "b", "GIT_AUTHOR_EMAIL": "b@b",
       "GIT_COMMITTER_NAME": "b", "GIT_COMMITTER_EMAIL": "b@b"}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def cpu_of(pids):
    """Seconds of processor that the processes and their children took, in user and in kernel mode."""
    total = 0
    for pid in pids:
        try:
            with open("/proc/%d/stat" % pid) as f:
                total += sum(map(int, f.read().rsplit(")", 1)[1].split()[11:15]))
        except OSError:
            pass
    return total / TICK


def children(pid):
    found = []
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/children" % (pid, task)) as f:
            found += map(int, f.read().split())
    return found


class Mount:
    """A mounted repository."""
    def __init__(self, exe, repo, at, opts="", ns="bench"):
        self.repo, self.dir, self.where = repo, at, at + "/" + ns
        os.makedirs(at, exist_ok=True)
        subprocess.run([exe, "-o", "init" + opts, repo, at], check=True)
        args = ("%s\0-o\0init%s\0%s\0%s\0" % (exe, opts, repo, at)).encode()
        self.pid = next(int(p) for p in os.listdir("/proc") if p.isdigit() and cmdline(p) == args)
        if not os.path.exists(self.where):
            os.mkdir(self.where)

    def pids(self):
        return [self.pid]

    def settle(self, limit=600):
        """
        Until the daemon rests: a mount of a long history without an index of its times makes one, in a thread of low priority.  The seconds
        of processor that it took.
        """
        first = now = cpu_of([self.pid])
        for _ in range(limit):
            before = now
            time.sleep(1)
            now = cpu_of([self.pid])
            if now - before < 0.05:
                break
        return now - first

    def rss(self):
        with open("/proc/%d/status" % self.pid) as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmRSS"))

    def peak(self):
        """Bytes of memory that it had at most."""
        with open("/proc/%d/status" % self.pid) as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM"))

    def end(self):
        subprocess.run(["fusermount3", "-u", self.dir], check=False)
        wait_gone(self.pid)


class Passthrough(Mount):
    def __init__(self, exe, below, at):  # pylint: disable=super-init-not-called
        os.makedirs(below)
        os.makedirs(at)
        subprocess.run([exe, below, at], check=True)
        args = ("%s\0%s\0%s\0" % (exe, below, at)).encode()
        self.pid = next(int(p) for p in os.listdir("/proc") if p.isdigit() and cmdline(p) == args)
        self.dir = self.where = at


class Disk:
    def __init__(self, at):
        os.makedirs(at)
        self.where = at

    def pids(self):
        return []

    def end(self):
        pass


def cmdline(pid):
    try:
        with open("/proc/%s/cmdline" % pid, "rb") as f:
            return f.read()
    except OSError:
        return b""


def wait_gone(pid, limit=60):
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return
    import select
    p = select.poll()
    p.register(fd, select.POLLIN)
    p.poll(limit * 1000)
    os.close(fd)


class Server:
    """A process that listens on a port of the loopback."""
    def __init__(self, argv, port, log, user=None):
        self.where = str(port)
        with open(log, "w") as out:
            self.proc = subprocess.Popen(argv, stdout=out, stderr=out, user=user, group=user and "postgres", extra_groups=[] if user else None,
                                         start_new_session=True)
        end = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                if time.monotonic() > end or self.proc.poll() is not None:
                    self.end()
                    with open(log) as f:
                        raise RuntimeError("%s does not start: %s" % (argv[0], f.read()[-300:])) from None
                time.sleep(0.05)

    def pids(self):
        return [self.proc.pid, *children(self.proc.pid)]

    def end(self):
        self.proc.send_signal(signal.SIGINT)
        try:
            self.proc.wait(20)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()


def redis(top):
    if not shutil.which("redis-server"):
        return None
    os.mkdir(top + "/redis")
    port = free_port()
    return Server(["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", top + "/redis", "--appendonly", "yes", "--appendfsync",
                   "always", "--save", "", "--daemonize", "no"], port, top + "/redis.log")


def postgres(top):
    base = "/usr/lib/postgresql"
    versions = sorted(os.listdir(base), key=float) if os.path.isdir(base) else []
    if not versions:
        return None
    bin_, data, port = "%s/%s/bin" % (base, versions[-1], ), top + "/postgres", free_port()
    os.mkdir(data)
    user = None
    if os.geteuid() == 0:  # it refuses to run as root
        user = "postgres"
        shutil.chown(data, user, user)
    as_user = {"user": user, "group": user, "extra_groups": []} if user else {}
    subprocess.run([bin_ + "/initdb", "-D", data, "-U", "postgres", "--auth=trust"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   cwd=data, **as_user)
    s = Server([bin_ + "/postgres", "-D", data, "-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c",
                "max_connections=100"], port, top + "/postgres.log", user)
    sql = "CREATE TABLE kv (key text PRIMARY KEY, version bigint NOT NULL, value text NOT NULL)"
    for _ in range(100):  # it listens a moment before it answers
        if subprocess.run(["psql", "-qh", "127.0.0.1", "-p", str(port), "-U", "postgres", "-c", sql], stderr=subprocess.DEVNULL, check=False).returncode == 0:
            return s
        time.sleep(0.1)
    s.end()
    raise RuntimeError("PostgreSQL does not answer")


def etcd(top):
    if not shutil.which("etcd"):
        return None
    port, peer = free_port(), free_port()
    client, other = "http://127.0.0.1:%d" % port, "http://127.0.0.1:%d" % peer
    return Server(["etcd", "--data-dir", top + "/etcd", "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", other,
                   "--initial-advertise-peer-urls", other, "--initial-cluster", "default=" + other], port, top + "/etcd.log")


def git_commits(repo, seconds, size, state):
    """Commits of one key, one after the other, as a script makes them: hash-object, mktree, commit-tree, update-ref.  Their times in us."""
    git = ["git", "--git-dir=" + repo, "-c", "core.fsync=all"]
    times, end = [], time.monotonic() + seconds

    def run(*a, **kw):
        return subprocess.run([*git, *a], stdout=subprocess.PIPE, env=ENV, check=True, text=True, **kw).stdout.strip()

    while time.monotonic() < end or not times:
        t = time.monotonic()
        state["n"] = state.get("n", 0) + 1
        blob = run("hash-object", "-w", "--stdin", input=(str(state["n"]) + "v" * size)[:size])
        tree = run("mktree", input="100644 blob %s\tk0\n" % blob)
        new = run("commit-tree", tree, *(["-p", state["tip"]] if "tip" in state else []), "-m", "set k0")
        run("update-ref", "refs/kv/plumbing", new, state.get("tip", "0" * 40))
        state["tip"] = new
        times.append((time.monotonic() - t) * 1e6)
    return times
