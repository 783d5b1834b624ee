# SPDX-License-Identifier: MIT
"""Calls on the mount: by this process, or by a process of its own (expectations and handles belong to processes)."""
import ctypes
import os
import pickle
import select
import signal
import socket

libc = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def die_with_parent():
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Client:
    """
    A child process that makes calls on request: expectations and handles belong to processes.
    c.open(...), c.write(...): os.* calls, or one of OPS; OSError comes back as it was raised.
    c.begin(...) then c.end(): the same in two halves, for calls that block.  It has a copy of every descriptor that is
    open when it is made, as any child: make it before handles whose last close matters.
    """

    def __init__(self):
        ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            try:
                die_with_parent()
                self._serve(theirs)
            finally:
                os._exit(0)
        theirs.close()
        self.sock = ours
        self.file = ours.makefile("rb")

    @staticmethod
    def _serve(sock):
        file = sock.makefile("rb")
        while True:
            name, args, kw = pickle.load(file)
            if name == "quit":
                return
            try:
                answer = (True, (OPS.get(name) or getattr(os, name))(*args, **kw))
            except OSError as e:
                answer = (False, e)
            except Exception as e:  # a test's own mistake: to be seen, not swallowed
                answer = (False, AssertionError("in client: %r" % e))
            sock.sendall(pickle.dumps(answer))

    def begin(self, name, *args, **kw):
        self.sock.sendall(pickle.dumps((name, args, kw)))

    def end(self):
        ok, value = pickle.load(self.file)
        if not ok:
            raise value
        return value

    def ready(self, seconds=0):
        """Is an answer there?"""
        return bool(select.select([self.sock], [], [], seconds)[0])

    def __getattr__(self, name):
        def call(*args, **kw):
            self.begin(name, *args, **kw)
            return self.end()
        return call

    def quit(self, sig=None):
        if sig:
            os.kill(self.pid, sig)
        else:
            self.begin("quit")
        self.file.close()
        self.sock.close()
        return os.waitpid(self.pid, 0)[1]


def save(path, data, flags=os.O_WRONLY | os.O_CREAT | os.O_TRUNC):
    """One save: open, write, close, and every error told."""
    fd = os.open(path, flags, 0o644)
    try:
        while data:
            data = data[os.write(fd, data):]
    except OSError:
        try:
            os.close(fd)
        except OSError:
            pass
        raise
    os.close(fd)


def read(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        out = b""
        while True:
            part = os.read(fd, 1 << 20)
            if not part:
                return out
            out += part
    finally:
        os.close(fd)


def get(path, name, **kw):
    return os.getxattr(path, "user.kv." + name, **kw).decode()


def arm(path, name, value):
    os.setxattr(path, "user.kv.expect-" + name, value.encode())


def disarm(path, name="tree"):
    os.removexattr(path, "user.kv.expect-" + name)


OPS = {"save": save, "read_all": read, "get": get, "arm": arm, "disarm": disarm}


def status(path):
    """user.kv.status as a dict."""
    return dict(line.split("=", 1) for line in get(path, "status").splitlines())
