#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""foreign.py REPO NS [KEY [VALUE]]: one commit by a foreign writer, with stock git alone."""
import os
import sys

from repo import Repo

repo, ns, key, value = Repo(sys.argv[1], init=False), sys.argv[2], (sys.argv[3:] or ["foreign"])[0], (sys.argv[4:] or [str(os.getpid())])[0]
sys.exit(0 if repo.foreign(ns, {key: value.encode()}) else 1)
