#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The race: clients in two mounts of one repository and git from outside, with faults; then the checker's verdict."""

import os
import re
import signal
import subprocess
import sys
import time

import drive

sys.path.insert(0, os.path.join(os.path.dirname(drive.HERE), "mount"))

from lib import Mount  # noqa: E402


# What a daemon may say: scratch files of killed clients, what a killed daemon left to the next one.
QUIET = re.compile("a scratch file is lost with the mount$|recovered [0-9]+ acknowledged moves|not saved at its release"
                   "|kept as refs/kv-lost/")


class MountRace(drive.Race):
    FAULTS = {**drive.Race.FAULTS, "stop_daemon": 2, "kill_daemon": 1}

    def prepare(self):
        self.points = [os.path.join(self.base, name) for name in "ab"]
        self.mount_options = (self.options.options.split(";") + ["", ""])[:2]
        for point in self.points:
            os.mkdir(point)
        self.mounts = [None, None]
        for number in range(2):
            self.mount(number)
        space = os.path.join(self.points[1], "app")  # git and both mounts see it at once: only the first may be async
        os.mkdir(space)
        for number in range(8):
            os.mkdir(os.path.join(space, "d%d" % number))

    def mount(self, number):
        self.mounts[number] = Mount(self.repo, self.mount_options[number], point=self.points[number])

    def seats(self):
        count = 2 * self.options.clients
        return [drive.Seat("%s%d" % ("ab"[number % 2], number // 2), self.options.ops // count, self.dice.randrange(1 << 30),
                           self.launch) for number in range(count)]

    def launch(self, seat):
        client = "%s_%d" % (seat.name, seat.turns)
        seat.tails = [drive.Tail(self.log_path(client))]
        point = self.points["ab".index(seat.name[0])]
        parent = subprocess.run([self.options.racer, "--dir", os.path.join(point, "app"), "--log", self.log_path(client),
                                 "--name", client, "--place", "mnt-" + os.path.basename(point), "--seed", str(seat.seed + seat.turns),
                                 "--ops", str(seat.left), "--seconds", str(self.options.seconds),
                                 "--keys", str(self.options.keys), *self.client_options()],
                                stdout=subprocess.PIPE, stderr=self.stderr, check=True)
        return int(parent.stdout)  # it has gone over to process 1: see racer.c

    def client_options(self):
        return []

    def lag(self):
        # 20 ms by SPEC 5.5; the machine that runs this has more to do.
        return ("mnt-a", 200) if "publish=async" in self.mount_options[0] else None

    def watch(self):
        for mount in self.mounts:
            if mount.proc.poll() is not None:
                raise RuntimeError("ledgerfs on %s died with status %d: %s" % (mount.dir, mount.proc.returncode, mount.log()))

    def close(self):
        for mount in self.mounts:
            status = mount.unmount(signal.SIGTERM)
            self.listen(mount)
            if status:
                self.problems.append("ledgerfs on %s ended with status %d" % (mount.dir, status))

    def listen(self, mount):
        said = [line for line in mount.log() if not QUIET.search(line)]
        if said:
            self.problems.append("ledgerfs on %s said: %s" % (mount.dir, said[:10]))

    def abandon(self):
        for mount in self.mounts:
            if mount in Mount.live:
                print("ledgerfs on %s said: %s" % (mount.dir, mount.log()[-10:]))
                mount.abort()

    # --- faults -------------------------------------------------------------------------------------------------------

    def stop_daemon(self):
        process = self.mounts[1].proc
        process.send_signal(signal.SIGSTOP)
        time.sleep(self.dice.uniform(0.1, 0.7))
        process.send_signal(signal.SIGCONT)

    def kill_daemon(self):
        self.listen(self.mounts[0])
        self.mounts[0].kill()
        self.mount(0)


def main():
    if not os.access("/dev/fuse", os.W_OK):
        print("no /dev/fuse: skipped")
        return 77
    options = drive.arguments(__doc__, racer=drive.built("tests", "race", "racer"))
    return 0 if MountRace(options).whole() else 1


if __name__ == "__main__":
    sys.exit(main())
