# SPDX-License-Identifier: MIT
"""What a test sees of a repository, and what a foreign writer does to it: always through stock git."""
import itertools
import os
import re
import subprocess

ENV = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": "Foreign",
    "GIT_AUTHOR_EMAIL": "foreign@example.org",
    "GIT_COMMITTER_NAME": "Foreign",
    "GIT_COMMITTER_EMAIL": "foreign@example.org",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C.UTF-8",
}
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
EMPTY_BLOB = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"


class GitError(AssertionError):
    pass


class Repo:
    """A bare (or not) repository at `path`, made unless it is there."""

    def __init__(self, path, bare=True, init=True):
        self.path = str(path)
        self.hashed, self.serial = {}, itertools.count()
        self.hostile = False  # holds trees that fsck is right to refuse
        if init and not os.path.exists(self.path):
            subprocess.run(["git", "init", "-q", "-b", "main"] + (["--bare"] if bare else []) + [self.path], check=True,
                           env={**os.environ, **ENV})
        self.gitdir = self.path if os.path.isdir(self.path + "/objects") else self.path + "/.git"

    def raw(self, *args, input=None, env=None, check=True):
        """Runs git; bytes of its standard output."""
        p = subprocess.run(["git", "--git-dir=" + self.gitdir, *args], input=input, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, env={**os.environ, **ENV, **(env or {})},
                           **({} if input is not None else {"stdin": subprocess.DEVNULL}))
        if check and p.returncode:
            raise GitError("git %s: status %d: %s" % (" ".join(args), p.returncode, p.stderr.decode(errors="replace").strip()))
        return p.stdout if check else (p.returncode, p.stdout, p.stderr)

    def git(self, *args, **kw):
        """The same as text without the last newline."""
        return self.raw(*args, **kw).decode().rstrip("\n")

    def ref(self, name):
        """The OID of a full ref name, None when absent."""
        status, out, _ = self.raw("rev-parse", "-q", "--verify", name, check=False)
        return out.decode().strip() if status == 0 else None

    def tip(self, ns):
        return self.ref("refs/kv/" + ns)

    def tree(self, ns):
        return self.ref("refs/kv/%s^{tree}" % ns)

    def blob(self, ns, key):
        return self.ref("refs/kv/%s:%s" % (ns, key))

    def show(self, ns, key):
        """The committed value of a key."""
        return self.raw("cat-file", "blob", "refs/kv/%s:%s" % (ns, key))

    def count(self, ns):
        """Commits of a namespace."""
        return int(self.git("rev-list", "--count", "refs/kv/" + ns))

    def version(self, ns, rev=""):
        """What the trailer of the tip says, None without one."""
        v = self.git("log", "-1", "--format=%(trailers:key=KV-Version,valueonly)", "refs/kv/%s%s" % (ns, rev)).strip()
        return int(v) if v else None

    def message(self, ns):
        return self.git("log", "-1", "--format=%B", "refs/kv/" + ns)

    def subject(self, ns):
        return self.git("log", "-1", "--format=%s", "refs/kv/" + ns)

    def entries(self, ns):
        """{path: (mode, oid)} of the whole tree, directories too."""
        out = {}
        for line in self.raw("ls-tree", "-r", "-t", "-z", "refs/kv/" + ns).split(b"\0"):
            if line:
                meta, name = line.split(b"\t", 1)
                mode, _, oid = meta.decode().split(" ")
                out[os.fsdecode(name)] = (mode, oid)
        return out

    def keys(self, ns):
        return sorted(p for p, (mode, _) in self.entries(ns).items() if mode != "040000")

    def hash(self, data, type="blob"):
        if (type, data) not in self.hashed:
            self.hashed[type, data] = self.git("hash-object", "-t", type, "-w", "--stdin", "--literally", input=data)
        return self.hashed[type, data]

    def mktree(self, entries):
        """A tree from (mode, name, oid) as they stand: no order, no check, for hostile ones."""
        body = b"".join(m.encode() + b" " + (n if isinstance(n, bytes) else os.fsencode(n)) + b"\0" + bytes.fromhex(o)
                        for m, n, o in entries)
        return self.hash(body, "tree")

    def commit_tree(self, tree, parent=None, message="foreign"):
        return self.git("commit-tree", tree, *(["-p", parent] if parent else []), input=message.encode())

    def _edit(self, tree, changes):
        """A tree with the changes made; empty directories stay (git's index would lose them)."""
        rows, below = {}, {}
        for line in self.raw("ls-tree", "-z", tree).split(b"\0") if tree else ():
            if line:
                meta, name = line.split(b"\t", 1)
                rows[name] = meta
        for path, data in changes.items():
            first, _, rest = os.fsencode(path).partition(b"/")
            if rest:
                below.setdefault(first, {})[rest] = data
            elif data is None:
                del rows[first]
            else:
                rows[first] = b"100644 blob " + self.hash(data).encode()
        for name, inner in below.items():
            rows[name] = b"040000 tree " + self._edit(rows[name].decode().split(" ")[2] if name in rows else None, inner).encode()
        return self.git("mktree", "-z", input=b"".join(meta + b"\t" + name + b"\0" for name, meta in rows.items()))

    def foreign(self, ns, changes, message="foreign", trailer=True):
        """One commit by a foreign writer with git update-ref: {path: bytes, or None to delete}.  False: lost the race."""
        old = self.tip(ns)
        tree = self._edit(old + "^{tree}", changes)
        message += " %d-%d" % (os.getpid(), next(self.serial))  # two writers' commits must not be one and the same
        if trailer:
            message += "\n\nKV-Version: %d\n" % (self.version(ns) + 1)
        new = self.commit_tree(tree, old, message)
        return self.raw("update-ref", "refs/kv/" + ns, new, old, check=False)[0] == 0

    def faults(self):
        """What is wrong with the repository as a whole; [] when all is well."""
        bad = []
        status, out, err = self.raw("fsck", "--strict", "--no-dangling", check=False)
        text = (out + err).decode(errors="replace").strip()
        if not self.hostile and (status or re.search(r"^(error|warning|missing|broken)", text, re.M)):
            bad.append("git fsck --strict: status %d: %s" % (status, text))
        refs = self.git("for-each-ref", "--format=%(refname)", "refs/kv/", "refs/kv-archive/").split()
        if refs and self.git("rev-list", "--min-parents=2", *refs):
            bad.append("a merge in a ledger")
        for name in refs:
            out = self.git("log", "--format=%(trailers:key=KV-Version,valueonly)", name).split()
            if out != [str(v) for v in range(len(out), 0, -1)] and not self.hostile:
                bad.append("%s: versions are not consecutive: %s" % (name, " ".join(out[:20])))
        left = [f for d, _, files in os.walk(self.gitdir + "/refs") for f in files if f.endswith(".lock")]
        if left:
            bad.append("left behind: %s" % left)
        return bad
