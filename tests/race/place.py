# SPDX-License-Identifier: MIT
"""A daemon and its mount point, to be killed, stopped and started again."""

import os
import select
import signal
import subprocess
import time


def mounted(point):
    with open("/proc/self/mounts", encoding="utf-8") as table:
        return any(line.split(" ")[1] == point for line in table)


def wait_for_mount(point, process, seconds=20):
    """Waits until `point` is mounted; false when `process` ends before.  /proc/self/mounts tells of changes by poll(2)."""
    end = time.monotonic() + seconds
    watch = select.poll()
    pidfd = os.pidfd_open(process.pid)
    try:
        with open("/proc/self/mounts", "rb") as table:
            watch.register(table, select.POLLPRI)
            watch.register(pidfd, select.POLLIN)
            while not mounted(point):
                if process.poll() is not None:
                    return False
                left = end - time.monotonic()
                if left <= 0:
                    raise RuntimeError("%s is not mounted after %d s" % (point, seconds))
                watch.poll(left * 1000)
    finally:
        os.close(pidfd)
    return True


class Place:
    """ledgerfs on `point`; its standard error goes to `log`."""

    def __init__(self, program, repo, point, log, options=""):
        self.program, self.repo, self.point, self.log, self.options = program, repo, point, log, options
        self.process, self.minor = None, None
        os.makedirs(point, exist_ok=True)

    def start(self):
        with open(self.log, "ab") as log:
            command = [self.program, "-f"] + (["-o", self.options] if self.options else []) + [self.repo, self.point]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if not wait_for_mount(self.point, self.process):
            raise RuntimeError("ledgerfs ended with status %d: %s" % (self.process.returncode, self.words()))
        self.minor = os.minor(os.stat(self.point).st_dev)

    def words(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()[-2000:]

    def died(self):
        return self.process is not None and self.process.poll() is not None

    def kill(self):
        """kill -9; what is left of the mount is detached, so that whoever is inside sees ENOTCONN."""
        self.process.kill()
        self.process.wait()
        self.process = None
        subprocess.run(["umount", "-l", self.point], check=True)

    def pause(self):
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self):
        os.kill(self.process.pid, signal.SIGCONT)

    def stop(self, seconds=60):
        """SIGTERM; returns the exit status."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.abort()
            return -signal.SIGKILL
        finally:
            self.process = None
            if mounted(self.point):
                subprocess.run(["umount", "-l", self.point], check=False)

    def abort(self):
        """For a daemon that hangs: kills the connection, then the process."""
        try:
            with open("/sys/fs/fuse/connections/%d/abort" % self.minor, "w", encoding="ascii") as lever:
                lever.write("1")
        except OSError:
            pass  # no longer mounted, or no fusectl here: the kill has to do
        self.process.kill()
        self.process.wait()
