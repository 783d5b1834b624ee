# SPDX-License-Identifier: MIT
"""What the races have in common: a repository, clients from outside, faults at random, counting, the verdict."""

import argparse
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import check
import gitlog

HERE = os.path.dirname(os.path.abspath(__file__))
REF = "refs/kv/app"
STALLED = 60  # seconds without a single operation: something hangs


class Tail:
    """Counts the operations of a log that is being written."""

    def __init__(self, path):
        self.path, self.offset, self.started, self.finished, self.rest = path, 0, 0, False, b""

    def follow(self):
        if not os.path.exists(self.path):
            return
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            data = file.read()
        self.offset += len(data)
        lines = (self.rest + data).split(b"\n")
        self.rest = lines.pop()
        for line in lines:
            self.started += line.startswith(b"I ")
            self.finished |= line == b"X"


class Seat:
    """A place in the race: a process, and after its death the next one, until the seat's share of operations is done.

    launch(seat) starts the process number seat.turns, which is to do seat.left operations with each of its clients; it returns
    the process id, and sets seat.tails to the logs of the clients.
    """

    def __init__(self, name, share, seed, launch):
        self.name, self.share, self.seed, self.launch = name, share, seed, launch
        self.turns, self.done, self.tails, self.pidfd = 0, 0, [], None

    @property
    def left(self):
        return (self.share - self.done) // max(1, len(self.tails)) + 1

    def start(self):
        self.turns += 1
        try:
            self.pidfd = os.pidfd_open(self.launch(self))
        except ProcessLookupError:
            self.pidfd = None  # has done all already

    def signal(self, number):
        if self.pidfd is not None:
            try:
                signal.pidfd_send_signal(self.pidfd, number)
            except ProcessLookupError:
                pass

    def count(self):
        for tail in self.tails:
            tail.follow()
        return self.done + sum(tail.started for tail in self.tails)

    def busy(self):
        """Is there more to do?  Gives the seat to a new process when the old one is dead."""
        if not self.tails:
            return False
        if self.pidfd is not None and not select.select([self.pidfd], [], [], 0)[0]:
            return True
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None
        self.done = self.count()
        if self.done >= self.share or all(tail.finished for tail in self.tails):
            self.tails = []
            return False
        self.start()
        return True


class Race:
    """One race.  What runs inside comes from a subclass: prepare(), seats(), watch(), close()."""

    FAULTS = {"kill_client": 4, "stop_clients": 3, "gc": 1, "pack_refs": 2}

    def __init__(self, options):
        self.options = options
        self.dice = random.Random(options.seed)
        self.base = tempfile.mkdtemp(prefix="race-", dir=options.keep)
        self.repo = os.path.join(self.base, "repo.git")
        self.logs = os.path.join(self.base, "logs")
        os.mkdir(self.logs)
        self.stderr = open(os.path.join(self.base, "clients.err"), "ab")
        self.keepers_stderr = open(os.path.join(self.base, "keepers.err"), "ab")
        self.racers, self.outside, self.keepers, self.tails, self.problems = [], [], [], [], []
        self.faults = {}  # how often each was made
        self.chances = {name: weight for name, weight in self.FAULTS.items()
                        if options.faults == "all" or name in options.faults.split(",")}
        gitlog.git(self.base, "init", "-q", "--bare", self.repo)
        for name, value in (("user.name", "race"), ("user.email", "race@localhost"), ("gc.auto", "0"), ("receive.autogc", "0")):
            gitlog.git(self.repo, "config", name, value)

    def log_path(self, client):
        return os.path.join(self.logs, client)

    # --- for subclasses -----------------------------------------------------------------------------------------------

    def prepare(self):
        """Makes the namespace app with the directories d0 to d7."""

    def seats(self):
        """The seats, in a list."""
        return []

    def watch(self):
        """Raises when something that must live has died."""

    def close(self):
        """Ends what prepare() began."""

    def lag(self):
        """The arguments of check.allow_lag(), or None."""
        return None

    # --- the run ------------------------------------------------------------------------------------------------------

    def start_outside(self):
        kinds = ["ref", "ref", "push"] + (["kv"] if self.options.git_kv else [])
        for number in range(self.options.outside):
            kind = kinds[number % len(kinds)]
            client = "%s%d" % (kind, number)
            command = [sys.executable, os.path.join(HERE, "gitclient.py"), kind, self.repo, REF, self.log_path(client), client,
                       str(self.dice.randrange(1 << 30)), str(self.options.keys)]
            child = subprocess.Popen(command + ([self.options.git_kv] if kind == "kv" else []), stdin=subprocess.PIPE,
                                     stderr=self.stderr)
            self.outside.append(child)
            self.tails.append(Tail(self.log_path(client)))

    def count(self):
        for tail in self.tails:
            tail.follow()
        return sum(tail.started for tail in self.tails) + sum(seat.count() for seat in self.racers)

    def run(self):
        """Until every seat has done its share, or the time is over."""
        end = time.monotonic() + self.options.seconds
        moved, last = time.monotonic(), -1
        while time.monotonic() < end and [seat for seat in self.racers if seat.busy()]:
            self.watch()
            now = self.count()
            if now != last:
                moved, last = time.monotonic(), now
            elif time.monotonic() - moved > STALLED:
                raise RuntimeError("nothing moves for %d s after %d operations" % (STALLED, now))
            self.keepers = [child for child in self.keepers if child.poll() is None]
            if self.chances:
                name = self.dice.choices(list(self.chances), list(self.chances.values()))[0]
                self.faults[name] = self.faults.get(name, 0) + 1
                getattr(self, name)()
            time.sleep(self.dice.uniform(0.1, 0.5))  # the pace of the faults

    def stop(self):
        self.stop_racers()
        for child in self.outside:
            child.stdin.close()
            if child.wait():
                self.problems.append("a client outside ended with status %d" % child.returncode)
        for child in self.keepers:
            child.wait()

    def stop_racers(self):
        for seat in self.racers:
            seat.signal(signal.SIGCONT)
            seat.signal(signal.SIGKILL)
        for seat in self.racers:
            if seat.pidfd is not None:
                select.select([seat.pidfd], [], [])

    # --- faults -------------------------------------------------------------------------------------------------------

    def kill_client(self):
        self.dice.choice(self.racers).signal(signal.SIGKILL)

    def stop_clients(self):
        """All stand still, in the middle of whatever they do: those outside have the ref for themselves."""
        for seat in self.racers:
            seat.signal(signal.SIGSTOP)
        time.sleep(self.dice.uniform(0.05, 0.3))
        for seat in self.racers:
            seat.signal(signal.SIGCONT)

    def keeper(self, *args):
        # git pack-refs complains when a ref moves on while it works, which is no error of anybody.
        self.keepers.append(subprocess.Popen(["git", "-C", self.repo, *args], stderr=self.keepers_stderr))

    def gc(self):
        if not any(child.args[3] == "gc" for child in self.keepers):
            self.keeper("gc", "--quiet")

    def pack_refs(self):
        self.keeper("pack-refs", "--all")

    # --- the verdict --------------------------------------------------------------------------------------------------

    def verdict(self, since, took):
        logs = sorted(os.path.join(self.logs, name) for name in os.listdir(self.logs))
        print("faults: " + (", ".join("%s %d" % item for item in sorted(self.faults.items())) or "none"))
        report = check.run(self.repo, REF, since, logs, lag=self.lag())
        print("%d operations in %.1f s, seed %d" % (self.count(), took, self.options.seed))
        fsck = subprocess.run(["git", "-C", self.repo, "fsck", "--strict", "--no-dangling"], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)
        words = [line for line in fsck.stdout.decode("utf-8", "replace").splitlines() if not line.startswith(("Checking", "notice:"))]
        if fsck.returncode or words:
            self.problems.append("git fsck --strict: status %d: %s" % (fsck.returncode, "; ".join(words[:5])))
        self.stderr.close()
        self.keepers_stderr.close()
        with open(os.path.join(self.base, "clients.err"), encoding="utf-8", errors="replace") as file:
            errors = file.read()
        if errors:
            self.problems.append("clients said: " + errors[-2000:])
        for problem in self.problems:
            print("problem: " + problem)
        return not report.total and not self.problems

    def whole(self):
        """All of it; returns true when nothing is wrong."""
        good = False
        try:
            self.prepare()
            since = gitlog.git(self.repo, "rev-parse", REF).strip()
            began = time.monotonic()
            self.racers = self.seats()
            for seat in self.racers:
                seat.start()
            self.start_outside()
            self.run()
            took = time.monotonic() - began
            self.stop()
            self.close()
            good = self.verdict(since, took)
        finally:
            self.stop_racers()
            for child in self.outside:
                child.stdin.close()
            if not good:
                self.abandon()
            if good and not self.options.keep:
                shutil.rmtree(self.base)
            else:
                print("kept: " + self.base)
        return good

    def abandon(self):
        """After a failure: frees what may hang."""


def built(*path):
    """A program of the build directory, or None."""
    build = os.environ.get("MESON_BUILD_ROOT", os.path.join(HERE, "..", "..", "build"))
    found = os.path.join(build, *path)
    return found if os.path.exists(found) else None


def arguments(description, **defaults):
    """Options; the environment's RACE_OPS, RACE_SECONDS and RACE_SEED go before them."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--ops", type=int, default=defaults.pop("ops", 10000))
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--keys", type=int, default=64)
    parser.add_argument("--clients", type=int, default=6, help="seats in each of the two mounts, threads of a process")
    parser.add_argument("--outside", type=int, default=4, help="clients that are git: update-ref twice, push, kv, and so on")
    parser.add_argument("--faults", default="all", help="all, none, or names of faults with commas between")
    parser.add_argument("--options", default="", help="mount options of the first and the second mount, with a ; between")
    parser.add_argument("--keep", help="directory for repository, mounts and logs, which then stay")
    parser.add_argument("--git-kv", default=built("cli", "git-kv"))
    for name, value in defaults.items():
        parser.add_argument("--" + name, default=value)
    options = parser.parse_args()
    for name in ("ops", "seconds", "seed"):
        if os.environ.get("RACE_" + name.upper()):
            setattr(options, name, int(os.environ["RACE_" + name.upper()]))
    print("replay: %s --ops %d --seed %d --keys %d --clients %d --outside %d --options '%s'%s" % (
        sys.argv[0], options.ops, options.seed, options.keys, options.clients, options.outside, options.options,
        "" if options.faults == "all" else " --faults " + options.faults), flush=True)
    return options
