#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""keys.py PROGRAM ARGS... -- TEXT KEYS [TEXT KEYS]...: runs it in a terminal; each time its screen shows TEXT, presses KEYS (^X: control-X)."""
import os
import pty
import re
import select
import sys

at = sys.argv.index("--")
pid, fd = pty.fork()
if pid == 0:
    os.environ["TERM"] = "xterm"
    os.execvp(sys.argv[1], sys.argv[1:at])
steps = [(t.encode(), re.sub(r"\^([A-Z])|\\r", lambda m: chr(ord(m[1]) - 64) if m[1] else "\r", k).encode()) for t, k in zip(sys.argv[at + 1::2], sys.argv[at + 2::2])]
seen = b""
while True:
    if not select.select([fd], [], [], 20)[0]:
        sys.stderr.write("no %r on the screen: %r\n" % (steps[0][0] if steps else "end", seen[-2000:]))
        os.kill(pid, 9)
    try:
        more = os.read(fd, 65536)
    except OSError:  # the terminal's last user is gone
        break
    if not more:
        break
    seen += more
    if steps and steps[0][0] in seen:
        os.write(fd, steps.pop(0)[1])
        seen = b""
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
sys.exit(status if not steps else "ended before %r was shown: %r" % (steps[0][0], seen[-2000:]))
