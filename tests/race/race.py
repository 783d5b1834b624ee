#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The race: many clients on every face of one namespace, with faults; then the checker's verdict.

    race.py [--ops N] [--seconds N] [--seed N] [--keys N] [--clients N] [--outside N] [--no-faults] [--options A;B]
            [--keep DIR] [--racer PROGRAM] [--ledgerfs PROGRAM] [--git-kv PROGRAM]

The environment's RACE_OPS, RACE_SECONDS and RACE_SEED go before the options: that is how the long run is asked for.
"""

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
from place import Place, mounted

HERE = os.path.dirname(os.path.abspath(__file__))
REF = "refs/kv/app"
STALLED = 60  # seconds without a single operation: something hangs


class Racer:
    """One seat of the race inside a mount: a client, and after its death the next one, until the seat's share is done."""

    def __init__(self, race, place, name, share, seed):
        self.race, self.place, self.name, self.share, self.seed = race, place, name, share, seed
        self.turns, self.done, self.log, self.pidfd = 0, 0, None, None

    def start(self):
        self.turns += 1
        client = "%s_%d" % (self.name, self.turns)
        self.log = Tail(self.race.log_path(client))
        options = self.race.options
        command = [options.racer, "--dir", os.path.join(self.place.point, "app"), "--log", self.log.path, "--name", client,
                   "--place", os.path.basename(self.place.point), "--seed", str(self.seed * 1000 + self.turns),
                   "--ops", str(self.share - self.done), "--seconds", str(options.seconds), "--keys", str(options.keys)]
        parent = subprocess.run(command + options.racer_args, stdout=subprocess.PIPE, stderr=self.race.stderr, check=True)
        try:
            self.pidfd = os.pidfd_open(int(parent.stdout))
        except ProcessLookupError:
            self.pidfd = None  # done already

    def signal(self, number):
        if self.pidfd is not None:
            try:
                signal.pidfd_send_signal(self.pidfd, number)
            except ProcessLookupError:
                pass

    def ended(self):
        return self.pidfd is None or bool(select.select([self.pidfd], [], [], 0)[0])

    def settle(self):
        """After the end of a client: true when the seat's share is done."""
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None
        self.log.follow()
        self.done += self.log.started
        return self.log.finished or self.done >= self.share


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


class Race:
    def __init__(self, options):
        self.options = options
        self.dice = random.Random(options.seed)
        self.base = tempfile.mkdtemp(prefix="race-", dir=options.keep)
        self.repo = os.path.join(self.base, "repo.git")
        self.logs = os.path.join(self.base, "logs")
        os.mkdir(self.logs)
        self.stderr = open(os.path.join(self.base, "clients.err"), "ab")
        self.keepers_stderr = open(os.path.join(self.base, "keepers.err"), "ab")
        self.places, self.racers, self.outside, self.keepers = [], [], [], []
        self.tails, self.faults, self.problems = [], {}, []
        self.paused = None

    def log_path(self, client):
        return os.path.join(self.logs, client)

    # --- beginning and end --------------------------------------------------------------------------------------------

    def prepare(self):
        gitlog.git(self.base, "init", "-q", "--bare", self.repo)
        for name, value in (("user.name", "race"), ("user.email", "race@localhost"), ("gc.auto", "0"), ("receive.autogc", "0")):
            gitlog.git(self.repo, "config", name, value)
        mount_options = (self.options.options.split(";") + ["", ""])[:2]
        for name, words in zip(("a", "b"), mount_options):
            place = Place(self.options.ledgerfs, self.repo, os.path.join(self.base, name), os.path.join(self.base, name + ".err"),
                          words)
            self.places.append(place)
            place.start()
        space = os.path.join(self.places[0].point, "app")
        os.mkdir(space)
        for number in range(8):
            os.mkdir(os.path.join(space, "d%d" % number))
        return gitlog.git(self.repo, "rev-parse", REF).strip()

    def start_clients(self):
        seats = 2 * self.options.clients
        for number in range(seats):
            place = self.places[number % 2]
            racer = Racer(self, place, "%s%d" % (os.path.basename(place.point), number // 2), self.options.ops // seats,
                          self.dice.randrange(1 << 30))
            racer.start()
            self.racers.append(racer)
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

    def stop(self):
        for racer in self.racers:
            racer.signal(signal.SIGCONT)
            racer.signal(signal.SIGKILL)
        for child in self.outside:
            child.stdin.close()
            if child.wait():
                self.problems.append("a client outside ended with status %d" % child.returncode)
        for child in self.keepers:
            child.wait()
        for place in self.places:
            status = place.stop()
            if status:
                self.problems.append("ledgerfs on %s ended with status %d: %s" % (place.point, status, place.words()))

    # --- while it runs ------------------------------------------------------------------------------------------------

    def count(self):
        for tail in self.tails:
            tail.follow()
        total = sum(tail.started for tail in self.tails)
        for racer in self.racers:
            if racer.log is not None:
                racer.log.follow()
                total += racer.done + racer.log.started
            else:
                total += racer.done
        return total

    def replace_dead(self):
        """Gives the seats of dead clients to new ones; returns how many seats are still at work."""
        busy = 0
        for racer in self.racers:
            if racer.log is None:
                continue
            if racer.ended():
                if racer.settle():
                    racer.log = None
                    continue
                racer.start()
            busy += 1
        return busy

    def run(self):
        end = time.monotonic() + self.options.seconds
        moved, last = time.monotonic(), -1
        while time.monotonic() < end:
            if not self.replace_dead():
                return
            for place in self.places:
                if place.died():
                    raise RuntimeError("ledgerfs on %s died with status %d: %s" % (place.point, place.process.returncode,
                                                                                   place.words()))
            now = self.count()
            if now != last:
                moved, last = time.monotonic(), now
            elif time.monotonic() - moved > STALLED:
                raise RuntimeError("nothing moves for %d s after %d operations" % (STALLED, now))
            self.keepers = [child for child in self.keepers if child.poll() is None]
            if self.options.faults:
                self.fault()
            time.sleep(self.dice.uniform(0.1, 0.5))  # the pace of the faults

    # --- faults -------------------------------------------------------------------------------------------------------

    def fault(self):
        names = ["kill_client"] * 4 + ["stop_clients"] * 3 + ["stop_daemon"] * 2 + ["kill_daemon", "gc", "pack_refs", "pack_refs"]
        name = self.dice.choice(names)
        self.faults[name] = self.faults.get(name, 0) + 1
        getattr(self, name)()

    def kill_client(self):
        self.dice.choice(self.racers).signal(signal.SIGKILL)

    def stop_clients(self):
        """All clients in mounts stand still, in the middle of whatever they do: those outside have the ref for themselves."""
        for racer in self.racers:
            racer.signal(signal.SIGSTOP)
        time.sleep(self.dice.uniform(0.05, 0.3))
        for racer in self.racers:
            racer.signal(signal.SIGCONT)

    def stop_daemon(self):
        self.places[1].pause()
        time.sleep(self.dice.uniform(0.1, 0.7))
        self.places[1].resume()

    def kill_daemon(self):
        self.places[0].kill()
        self.places[0].start()

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
        report = check.run(self.repo, REF, since, logs)
        print("%d operations in %.1f s, seed %d" % (self.count(), took, self.options.seed))
        fsck = subprocess.run(["git", "-C", self.repo, "fsck", "--strict", "--no-dangling"], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)
        words = [line for line in fsck.stdout.decode("utf-8", "replace").splitlines() if not line.startswith("Checking")]
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


def default_program(*path):
    found = os.path.join(HERE, "..", "..", "build", *path)
    return found if os.path.exists(found) else None


def arguments():
    parser = argparse.ArgumentParser(description="The race of all writers; see the top of this file.")
    parser.add_argument("--ops", type=int, default=10000)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--keys", type=int, default=64)
    parser.add_argument("--clients", type=int, default=6, help="in each of the two mounts")
    parser.add_argument("--outside", type=int, default=4, help="git update-ref twice, git push, git kv, and so on")
    parser.add_argument("--no-faults", dest="faults", action="store_false")
    parser.add_argument("--options", default="", help="mount options of the first and the second mount, with a ; between")
    parser.add_argument("--keep", help="directory for repository, mounts and logs; kept")
    parser.add_argument("--racer", default=default_program("tests", "race", "racer"))
    parser.add_argument("--ledgerfs", default=default_program("fs", "ledgerfs"))
    parser.add_argument("--git-kv", default=default_program("cli", "git-kv"))
    options = parser.parse_args()
    options.racer_args = []
    for name in ("ops", "seconds", "seed"):
        if os.environ.get("RACE_" + name.upper()):
            setattr(options, name, int(os.environ["RACE_" + name.upper()]))
    return options


def main():
    options = arguments()
    if not options.ledgerfs or not options.racer or not os.access("/dev/fuse", os.W_OK):
        print("no ledgerfs, no racer or no /dev/fuse: skipped")
        return 77
    race = Race(options)
    print("race.py --ops %d --seed %d --keys %d --clients %d --outside %d --options '%s'%s" % (
        options.ops, options.seed, options.keys, options.clients, options.outside, options.options,
        "" if options.faults else " --no-faults"), flush=True)
    good = False
    try:
        since = race.prepare()
        began = time.monotonic()
        race.start_clients()
        race.run()
        took = time.monotonic() - began
        race.stop()
        good = race.verdict(since, took)
    finally:
        for racer in race.racers:
            racer.signal(signal.SIGKILL)
        for place in race.places:
            if place.process is not None:
                place.abort()
            if mounted(place.point):
                subprocess.run(["umount", "-l", place.point], check=False)
        if good and not options.keep:
            shutil.rmtree(race.base)
        else:
            print("kept: " + race.base)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
