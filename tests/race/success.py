#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Normal contention: 16 clients, 64 keys, read then compare-and-set of one key (swap and expect-blob in turn), in two mounts.

More than 90 % of the attempts must succeed when the clients do something else for half of their time: the pause between two
transactions is as long as a transaction takes, on average.  The rate without any pause is printed beside it.  With tree expectations the same load would fail nearly always: that other
keys may move is what expectations of a key are for.
"""

import os
import sys

import drive
import history
from race import MountRace


class SuccessRace(MountRace):
    pause = 0  # mean, in percent of a transaction

    def client_options(self):
        return ["--cas", "--pause", str(self.pause)]

    def attempts(self):
        """(attempts, successes, operations in all)."""
        ops = history.load(os.path.join(self.logs, name) for name in os.listdir(self.logs))
        writes = [op for op in ops if op.is_write]
        return len(writes), sum(op.outcome == "ok" for op in writes), len(ops)

    def verdict(self, since, took):
        good = super().verdict(since, took)
        tried, won, _ = self.attempts()
        self.rate = won / tried
        print("16 clients, 64 keys, pause %d %%: %d attempts, %d succeeded: %.1f %%, %.0f a second" % (
            self.pause, tried, won, 100 * self.rate, tried / took))
        return good


def main():
    if not os.access("/dev/fuse", os.W_OK):
        print("no /dev/fuse: skipped")
        return 77
    options = drive.arguments(__doc__, racer=drive.built("tests", "race", "racer"), ops=6000)
    options.clients, options.keys, options.outside, options.faults = 8, 64, 0, "none"
    good = True
    for pause in (0, 100):
        race = SuccessRace(options)
        race.pause = pause
        good = race.whole() and good
    if race.rate <= 0.9:
        print("the rate with pauses must be over 90 %")
        good = False
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
