#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Clients of the race that come from outside the mount: git update-ref, git push from a clone, git kv.

    gitclient.py HOW REPO REF LOG CLIENT SEED KEYS [PROGRAM]

HOW is "ref", "push" or "kv"; PROGRAM is git-kv for the last.  Works until its standard input ends.  Each logs as history.py describes.  The commits of the first
two carry "Race-Op: CLIENT.SEQ", so that the checker knows them by name.
"""

import hashlib
import os
import random
import select
import subprocess
import sys
import tempfile
import time

import gitlog
from history import ABSENT

NOBODY = ("race <race@localhost>", 1700000000)


class Log:
    """The log of one client, one write(2) a line."""

    def __init__(self, path, client, place):
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.client, self.seq = client, 0
        self._put("C %s %d %s" % (client, os.getpid(), place))

    def _put(self, line, **args):
        for name, value in args.items():
            line += " %s=%s" % (name, "-" if value == ABSENT else value)
        os.write(self.fd, line.encode("ascii") + b"\n")

    @property
    def next_id(self):
        return "%s.%d" % (self.client, self.seq + 1)

    def begin(self, kind, key, **args):
        self.seq += 1
        self._put("I %d %d %s %s" % (self.seq, time.monotonic_ns(), kind, key), **args)

    def note(self, **args):
        self._put("N %d %d" % (self.seq, time.monotonic_ns()), **args)

    def end(self, outcome, **args):
        self._put("R %d %d %s" % (self.seq, time.monotonic_ns(), outcome), **args)


class Objects:
    """Reads and writes objects of one repository through git's own plumbing, kept running."""

    def __init__(self, repo):
        self.repo = repo
        self.reader = self._start("cat-file", "--batch")
        self.trees = self._start("mktree", "--batch", "--missing")
        self.writers = {kind: self._start("hash-object", "-w", "--stdin-paths", "-t", kind) for kind in ("blob", "commit")}
        self.scratch = tempfile.NamedTemporaryFile(prefix="race-object-")

    def _start(self, *args):
        return subprocess.Popen(["git", "-C", self.repo, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                stderr=subprocess.DEVNULL)

    def read(self, name):
        """(oid, bytes) of an object, or (None, b"")."""
        self.reader.stdin.write(name.encode() + b"\n")
        self.reader.stdin.flush()
        words = self.reader.stdout.readline().split()
        if len(words) != 3:
            if words[-1:] != [b"missing"]:
                raise RuntimeError("git cat-file: %r" % words)
            return None, b""
        return words[0].decode(), self.reader.stdout.read(int(words[2]) + 1)[:-1]

    def need(self, name):
        """
        The same of what is there.  git looks through its packs once more after a miss; a gc that puts one pack in the place of others
        just then, without any grace, can hide an object from both looks, and from a reader that goes on for longer.
        """
        for _ in range(5):
            found, data = self.read(name)
            if found:
                return found, data
            self.reader.stdin.close()
            self.reader.wait()
            self.reader = self._start("cat-file", "--batch")
        raise RuntimeError("git misses " + name)

    def write(self, kind, data):
        self.scratch.seek(0)
        self.scratch.truncate()
        self.scratch.write(data)
        self.scratch.flush()
        for _ in range(10):
            try:
                return self._ask(self.writers[kind], self.scratch.name + "\n")
            except (RuntimeError, BrokenPipeError):
                # git gc may remove the empty directory that git hash-object is about to write in.
                self.writers[kind].wait()
                self.writers[kind] = self._start("hash-object", "-w", "--stdin-paths", "-t", kind)
        raise RuntimeError("git hash-object -w fails again and again")

    def write_tree(self, entries):
        """`entries`: {name: (mode, oid)}."""
        kinds = {"40000": "tree"}
        rows = ["%06o %s %s\t%s\n" % (int(mode, 8), kinds.get(mode, "blob"), oid, name) for name, (mode, oid) in entries.items()]
        for _ in range(10):
            try:
                return self._ask(self.trees, "".join(rows) + "\n")
            except (RuntimeError, BrokenPipeError):
                self.trees.wait()
                self.trees = self._start("mktree", "--batch", "--missing")
        raise RuntimeError("git mktree fails again and again")

    @staticmethod
    def _ask(child, text):
        child.stdin.write(text.encode())
        child.stdin.flush()
        answer = child.stdout.readline().decode().strip()
        if len(answer) != 40:
            raise RuntimeError("%s: %r" % (" ".join(child.args), answer))
        return answer

    def entries(self, oid):
        """A tree as {name: (mode, oid)}."""
        _, data = self.need(oid)
        out, at = {}, 0
        while at < len(data):
            nul = data.index(b"\0", at)
            mode, name = data[at:nul].decode().split(" ", 1)
            out[name] = (mode, data[nul + 1:nul + 21].hex())
            at = nul + 21
        return out


class Snapshot:
    """A namespace at one commit."""

    def __init__(self, objects, name):
        self.objects = objects
        self.commit, data = objects.need(name)
        text = data.decode()
        self.tree = text.split("\n", 1)[0].split(" ")[1]
        self.version = int(text.rsplit("KV-Version: ", 1)[1].split("\n", 1)[0])
        self.root = objects.entries(self.tree)

    def value(self, key):
        top, name = key.split("/")
        entry = self.objects.entries(self.root[top][1]).get(name)
        return self.objects.need(entry[1])[1] if entry else None

    def with_key(self, key, value):
        """The commit that sets (None: deletes) `key`; with the message but for the trailer."""
        top, name = key.split("/")
        below = self.objects.entries(self.root[top][1])
        if value is None:
            del below[name]
        else:
            below[name] = ("100644", self.objects.write("blob", value))
        return self.objects.write_tree({**self.root, top: ("40000", self.objects.write_tree(below))})

    def commit_on(self, tree, subject, ident):
        who = "%s %d +0000" % NOBODY
        return self.objects.write("commit", ("tree %s\nparent %s\nauthor %s\ncommitter %s\n\n%s\n\nKV-Version: %d\nRace-Op: %s\n" % (
            tree, self.commit, who, who, subject, self.version + 1, ident)).encode())


def state_or_torn(value):
    return ABSENT if value is None else gitlog.state_of(value)


class Outside:
    """What update-ref and push have in common: look at a commit, build on it, move the ref if it is still there."""

    def __init__(self, log, keys, seed):
        self.log, self.keys, self.dice = log, keys, random.Random(seed)

    def key(self):
        number = self.dice.randrange(self.keys // 8 if self.dice.random() < 0.5 else self.keys)
        return "d%d/k%03d" % (number % 8, number)

    def step(self):
        if self.dice.random() < 0.3:
            self.look()
        else:
            self.change(self.dice.choice(("set", "set", "append", "delete")))

    def change(self, kind):
        key = self.key()
        snapshot = self.snapshot()
        have = snapshot.value(key)
        state = state_or_torn(have)
        if kind == "delete" and have is None:
            kind = "set"
        ident = self.log.next_id
        value = None if kind == "delete" else gitlog.piece(ident, self.dice.randrange(300))
        whole = (have or b"") + value if kind == "append" else value
        new = snapshot.commit_on(snapshot.with_key(key, whole), "%s %s" % (kind, key), ident)
        self.log.begin(kind, key, expect=state, commit=snapshot.commit, how=self.name)
        outcome = self.move(new, snapshot.commit)
        self.log.end(outcome)


def outcome_of(done):
    """What git's words on a failed move of the ref mean."""
    if done.returncode == 0:
        return "ok"
    words = done.stderr.decode("utf-8", "replace")
    if any(lost in words for lost in ("but expected", "stale info", "non-fast-forward", "fetch first")):
        return "conflict"
    if any(taken in words for taken in ("File exists", "cannot lock ref", "failed to update ref")):
        return "busy"
    raise RuntimeError("git says: " + words)


class RefClient(Outside):
    """git update-ref with the old value, in the repository itself."""

    name = "update-ref"

    def __init__(self, repo, ref, log, keys, seed):
        super().__init__(log, keys, seed)
        self.repo, self.ref, self.objects = repo, ref, Objects(repo)

    def snapshot(self):
        return Snapshot(self.objects, self.ref)

    def look(self):
        key = self.key()
        if self.dice.random() < 0.3:
            self.log.begin("tip", "-")
            self.log.end("ok", commit=self.objects.need(self.ref)[0])
            return
        self.log.begin("read", key)
        state = state_or_torn(Snapshot(self.objects, self.ref).value(key))
        if state is None:
            self.log.end("torn")
        else:
            self.log.end("ok", seen=state)

    def move(self, new, old):
        return outcome_of(subprocess.run(["git", "-C", self.repo, "update-ref", self.ref, new, old], stderr=subprocess.PIPE))


class PushClient(Outside):
    """git push with a lease, from a clone."""

    name = "push"

    def __init__(self, repo, ref, log, keys, seed, clone):
        super().__init__(log, keys, seed)
        self.repo, self.ref, self.clone = repo, ref, clone
        gitlog.git(clone, "init", "-q", "--bare")
        gitlog.git(clone, "config", "gc.auto", "0")
        self.fetch()
        self.objects = Objects(clone)

    def fetch(self):
        for _ in range(20):
            done = subprocess.run(["git", "-C", self.clone, "fetch", "-q", "--no-auto-gc", self.repo, "+%s:%s" % (self.ref, self.ref)],
                                  stderr=subprocess.PIPE)
            # The ref has moved on since it was advertised, and upload-pack gives what is a ref's value; or the far end has lost sight
            # of an object whose pack was replaced twice while it looked once.  What is really missing fails again, and in fsck.
            if b"not our ref" not in done.stderr and b"Could not read" not in done.stderr:
                break
        if done.returncode:
            raise RuntimeError("git fetch: " + done.stderr.decode("utf-8", "replace"))

    def snapshot(self):
        self.fetch()
        return Snapshot(self.objects, self.ref)

    def look(self):
        self.log.begin("tip", "-")
        self.fetch()
        self.log.end("ok", commit=self.objects.need(self.ref)[0])

    def move(self, new, old):
        return outcome_of(subprocess.run(["git", "-C", self.clone, "push", "-q", "--force-with-lease=%s:%s" % (self.ref, old),
                                          self.repo, "%s:%s" % (new, self.ref)], stderr=subprocess.PIPE))


class KvClient(Outside):
    """git kv get, set, del, with and without an expectation."""

    name = "kv"

    def __init__(self, repo, ref, log, keys, seed, program):
        super().__init__(log, keys, seed)
        self.command = [program, "--repo", repo, "--ns", ref.removeprefix("refs/kv/")]

    def run(self, *args, value=b""):
        child = subprocess.Popen([*self.command, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.log.note(pid=child.pid)
        out, err = child.communicate(value)
        # 2 is also the status for a lock that stays taken, which says nothing of the key.
        outcome = {0: "ok", 1: "absent", 2: "conflict" if b"conflict:" in err else "busy"}.get(child.returncode)
        if outcome is None:
            raise RuntimeError("git kv %s: status %d: %s" % (args, child.returncode, err.decode("utf-8", "replace")))
        return outcome, out

    def look(self):
        self.get(self.key())

    def get(self, key):
        """(state or None when torn, blob's name or "absent")."""
        self.log.begin("read", key)
        outcome, value = self.run("get", key)
        state = ABSENT if outcome == "absent" else gitlog.state_of(value)
        if state is None:
            self.log.end("torn")
        else:
            self.log.end("ok", seen=state)
        return state, "absent" if outcome == "absent" else blob_name(value)

    def change(self, kind):
        key, guard, more = self.key(), [], {}
        if self.dice.random() < 0.5:
            state, blob = self.get(key)
            if state is None:
                return
            guard, more = ["--expect-blob", blob], {"expect": state}
        if kind == "delete":
            self.log.begin("delete", key, how="kv", **more)
            outcome, _ = self.run("del", *guard, key)
        else:
            value = gitlog.piece(self.log.next_id, self.dice.randrange(300))
            self.log.begin("set", key, how="kv", **more)
            outcome, _ = self.run("set", *guard, key, "-", value=value)
        self.log.end(outcome)


def blob_name(value):
    return hashlib.sha1(b"blob %d\0" % len(value) + value).hexdigest()


def main(args):
    how, repo, ref, log, client, seed, keys = args[:7]
    log, seed, keys = Log(log, client, how), int(seed), int(keys)
    with tempfile.TemporaryDirectory(prefix="race-clone-") as clone:
        if how == "ref":
            actor = RefClient(repo, ref, log, keys, seed)
        elif how == "push":
            actor = PushClient(repo, ref, log, keys, seed, clone)
        else:
            actor = KvClient(repo, ref, log, keys, seed, args[7])
        while not select.select([sys.stdin], [], [], 0)[0]:
            actor.step()


if __name__ == "__main__":
    main(sys.argv[1:])
