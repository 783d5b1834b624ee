#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The race without a mount: processes with threads on the ledger library, git from outside, faults; the checker's verdict."""

import subprocess
import sys

import drive
import gitclient
import gitlog

PROCESSES = 3


class LedgerRace(drive.Race):
    FAULTS = {**drive.Race.FAULTS, "stop_one": 2}

    def prepare(self):
        objects = gitclient.Objects(self.repo)
        empty = objects.write_tree({})
        tree = objects.write_tree({"d%d" % number: ("40000", empty) for number in range(8)})
        who = "%s %d +0000" % gitclient.NOBODY
        commit = objects.write("commit", ("tree %s\nauthor %s\ncommitter %s\n\nbegin\n\nKV-Version: 1\n" % (tree, who, who)).encode())
        gitlog.git(self.repo, "update-ref", drive.REF, commit)

    def seats(self):
        return [drive.Seat("l" + "abc"[number], self.options.ops // PROCESSES, self.dice.randrange(1 << 30), self.launch)
                for number in range(PROCESSES)]

    def launch(self, seat):
        threads = self.options.clients
        seat.tails = [drive.Tail(self.log_path("%s%d_%d" % (seat.name, thread, seat.turns))) for thread in range(threads)]
        child = subprocess.Popen([self.options.libracer, self.repo, self.logs, seat.name, str(seat.turns), str(threads),
                                  str(seat.seed + seat.turns * 100), str(seat.left), str(self.options.seconds),
                                  str(self.options.keys)], stderr=self.stderr)
        self.keepers.append(child)  # to be waited for
        return child.pid

    def stop_one(self):
        """One process stands still, maybe with the ref's lock in hand."""
        seat = self.dice.choice(self.racers)
        seat.signal(drive.signal.SIGSTOP)
        drive.time.sleep(self.dice.uniform(0.05, 0.5))
        seat.signal(drive.signal.SIGCONT)


def main():
    options = drive.arguments(__doc__, libracer=drive.built("tests", "race", "libracer"))
    return 0 if LedgerRace(options).whole() else 1


if __name__ == "__main__":
    sys.exit(main())
