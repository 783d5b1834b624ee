# SPDX-License-Identifier: MIT
"""The ledger of a namespace as stock git shows it: commits in order, what each changed, what the values say."""

import re
import subprocess
import tempfile

PIECE = re.compile(rb"([a-z]+[0-9]+(?:_[0-9]+)?\.[0-9]+)\+([0-9]+):([a-z]*)\n")


class Commit:
    """One commit.  `changes` maps a path to its state after it (history.ABSENT: deleted); `bad` says what is malformed."""

    __slots__ = ("oid", "tree", "parents", "version", "comm", "pid", "race_op", "changes", "bad")

    def __init__(self, oid, tree, parents, version, comm="", pid=0, race_op="", changes=None, bad=""):
        self.oid, self.tree, self.parents, self.version = oid, tree, parents, version
        self.comm, self.pid, self.race_op = comm, pid, race_op
        self.changes, self.bad = changes if changes is not None else {}, bad

    def copy(self):
        return Commit(self.oid, self.tree, list(self.parents), self.version, self.comm, self.pid, self.race_op,
                      dict(self.changes), self.bad)


def to_text(commits):
    """One line for each commit, for keeping."""
    out = []
    for c in commits:
        changes = ["%s=%s" % (path, state or "-") for path, state in c.changes.items()]
        out.append(" ".join([c.oid, c.tree, ",".join(c.parents), str(c.version), c.comm or "-", str(c.pid), c.race_op or "-", *changes]))
    return "".join(line + "\n" for line in out)


def from_text(text):
    out = []
    for line in text.splitlines():
        oid, tree, parents, version, comm, pid, race_op, *changes = line.split(" ")
        pairs = [change.split("=") for change in changes]
        out.append(Commit(oid, tree, parents.split(","), int(version), comm if comm != "-" else "", int(pid),
                          race_op if race_op != "-" else "", {path: "" if state == "-" else state for path, state in pairs}))
    return out


def filler(ident, length):
    """The bytes that make a piece as long as its writer wanted: a letter that depends on the writer."""
    return bytes([ord("a") + sum(ident) % 26]) * length


def piece(ident, length):
    """What the operation `ident` writes."""
    ident = ident.encode("ascii")
    return b"%s+%d:%s\n" % (ident, length, filler(ident, length))


def state_of(value):
    """The state that the bytes of a value stand for, or None when nobody wrote them so."""
    out, at = [], 0
    while at < len(value):
        match = PIECE.match(value, at)
        if not match or match.group(3) != filler(match.group(1), int(match.group(2))):
            return None
        out.append(match.group(1).decode("ascii"))
        at = match.end()
    return ",".join(out) if out else None


def git(repo, *args, **more):
    """Output of git in `repo`, as text; raises with git's own words on failure."""
    done = subprocess.run(["git", "-C", repo, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)
    if done.returncode:
        raise RuntimeError("git %s: %s" % (" ".join(args), done.stderr.decode("utf-8", "replace").strip()))
    return done.stdout.decode("utf-8", "surrogateescape")


FORMAT = "%x01%H %T %P%n%(trailers:only,unfold)"
TRAILER = re.compile(r"^([A-Za-z-]+): (.*)$")
CLIENT = re.compile(r"^(.*)\[([0-9]+)\]")


def _trailer(commit, line):
    match = TRAILER.match(line)
    if not match:
        return
    name, text = match.groups()
    if name == "KV-Version":
        if commit.version is not None or not text.isdigit():
            commit.bad = "KV-Version twice or no number"
        commit.version = int(text) if text.isdigit() else None
    elif name == "KV-Client":
        client = CLIENT.match(text)
        if client:
            commit.comm, commit.pid = client.group(1), int(client.group(2))
    elif name == "Race-Op":
        commit.race_op = text


def _commits(stream):
    """Commits with `changes` still as blob names ("" for a deletion)."""
    out = []
    for line in stream:
        line = line.decode("utf-8", "surrogateescape").rstrip("\n")
        if line.startswith("\x01"):
            words = line[1:].split(" ")
            out.append(Commit(words[0], words[1], [w for w in words[2:] if w], None))
        elif line.startswith(":"):
            meta, path = line.split("\t", 1)
            _, new_mode, _, new_oid, _ = meta.split(" ")
            if new_mode not in ("100644", "000000"):
                out[-1].bad = "mode %s of %s" % (new_mode, path)
            out[-1].changes[path] = "" if new_mode == "000000" else new_oid
        elif line:
            _trailer(out[-1], line)
    return out


def _blobs(repo, oids):
    """{oid: state or None} of blobs."""
    with tempfile.TemporaryFile() as wanted:
        wanted.write(b"".join(oid.encode() + b"\n" for oid in oids))
        wanted.seek(0)
        with subprocess.Popen(["git", "-C", repo, "cat-file", "--batch"], stdin=wanted, stdout=subprocess.PIPE) as child:
            out = {}
            for oid in oids:
                words = child.stdout.readline().split()
                if len(words) != 3 or words[1] != b"blob":
                    raise RuntimeError("git cat-file %s: %r" % (oid, words))
                out[oid] = state_of(child.stdout.read(int(words[2]) + 1)[:-1])
    if child.returncode:
        raise RuntimeError("git cat-file: status %d" % child.returncode)
    return out


def load(repo, ref, since=None):
    """The commits of `ref`, oldest first; without those up to and including the commit `since`."""
    tip = git(repo, "rev-parse", "--verify", ref + "^{commit}").strip()
    span = [tip] if since is None else [tip, "^" + since]
    command = ["git", "-C", repo, "-c", "core.quotePath=false", "log", "--reverse", "--topo-order", "--root", "-r", "--raw",
               "--no-abbrev", "--no-renames", "--format=" + FORMAT, *span]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        commits = _commits(child.stdout)
    if child.returncode:
        raise RuntimeError("git log %s: status %d" % (ref, child.returncode))
    states = _blobs(repo, sorted({oid for c in commits for oid in c.changes.values() if oid}))
    for commit in commits:
        for path, oid in commit.changes.items():
            if oid and states[oid] is None:
                commit.bad = "the value of %s is none that was written" % path
            commit.changes[path] = (states[oid] or "?") if oid else ""
    return commits
