#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""follow.py -F|-f: does tail, following f, show what two saves put there?  Status 1: it does not."""
import select
import subprocess
import sys


def shows(text, seconds):
    seen = b""
    while text not in seen:
        if not select.select([tail.stdout], [], [], seconds)[0]:
            return False
        seen += tail.stdout.read1()
    return True


def save(data):
    with open("f", "wb") as f:
        f.write(data)


tail = subprocess.Popen(["tail", sys.argv[1], "--sleep-interval=0.05", "f"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
good = shows(b"old\n", 20)
for data in (b"newer\n", b"new\n"):
    save(data)
    good = good and shows(data, 20 if sys.argv[1] == "-F" else 1)
tail.kill()
tail.wait()
sys.exit(0 if good else 1)
