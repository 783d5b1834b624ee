# SPDX-License-Identifier: MIT
"""
The table of tools: one Row a tool or a way to save.

A row begins with the keys `start` in a namespace of its own, committed.  `do` is a shell script that runs there (errors end it; $T is a
folder outside, $HERE the one of the tests).  Afterwards, and after the unmount that settles what was on its way:
`log` are the subjects of the commits that it made, oldest first, sorted where `any_order`; `keys` is the whole tree, {path: bytes, or a
function of the bytes}; `scratch` names what it leaves in the mount alone, as the unmount's log does.  `log` or `keys` may be a function of what
was found, which says what is wrong with it, for tools whose own output nobody can foretell.  `why` tells why a tool cannot do its work here;
then `status` is what it ends with.
"""


class Row:
    def __init__(self, tool, how, do, keys, log=("set f",), start=None, scratch=(), any_order=False, status=0, why="", shell="sh", program=None, said="", limit=60):
        self.tool, self.how, self.do, self.keys, self.log = tool, how, do, keys, log
        self.start = {"f": b"old\n"} if start is None else start
        self.scratch, self.any_order, self.status, self.why, self.shell = set(scratch), any_order, status, why, shell
        self.program = program or tool.split()[0]
        self.said, self.limit = said, limit


NEW = {"f": b"new\n"}
TWO = {"a": b"one\n", "d/b": b"two\n"}
BIG = b"0123456789abcdef" * 8192  # 128 KiB


def only(*patterns):
    """Every subject is one of these (a whole-subject regular expression each)."""
    import re

    def check(got):
        bad = [s for s in got if not any(re.fullmatch(p, s) for p in patterns)]
        return "unexpected commits: %s" % bad[:5] if bad or not got else None
    return check


VIM = "TERM=dumb vim -u NONE -N --not-a-term -c 'set %s' -c 'normal ccnew' -c wq f </dev/null >/dev/null 2>&1"

PERL_TEMP = "perl -MFile::Temp=tempfile -e '($h, $n) = tempfile(%s); print $h \"new\\n\"; close $h or die; rename $n, \"f\" or die'"

GIT_CLI = "git -c init.defaultBranch=main -c protocol.file.allow=always"
CLONE = ("cp -r $T/two one; export GIT_DIR=$PWD/one/.store; %s init -q; export GIT_WORK_TREE=one; %s add -A; %s commit -qm one; unset GIT_DIR GIT_WORK_TREE; "
         "%s clone -q --bare one/.store two; mkdir copy; git --git-dir=two --work-tree=copy checkout -q -f main; git --git-dir=two fsck --strict").replace("%s", GIT_CLI)


def GIT_KEYS(got):
    odd = [k for k in got if not k.startswith(("store/", "fs/", "include/")) and k != "f"]
    odd += [k for k in got if k.endswith(".lock") or "tmp_" in k]
    return "left over: %s" % odd if odd or "store/packed-refs" not in got else None


ROWS = [
    # --- editors
    Row("vim", "backupcopy=auto", VIM % "backupcopy=auto", NEW),
    Row("vim", "backupcopy=yes", VIM % "backupcopy=yes", NEW),
    Row("vim", "backupcopy=no", VIM % "backupcopy=no", NEW),
    Row("vim", "backup: keeps f~", VIM % "backup backupskip= backupcopy=auto", NEW, scratch=["f~"]),
    Row("vim", "undofile", VIM % "undofile", {"f": b"new\n", ".f.un~": None}, scratch=[".f.un~"]),
    Row("vim", "fsync off, a new file", "rm f; " + VIM % "nofsync", NEW, ("delete f", "set f")),
    Row("vim", "a file that is executable", "chmod +x f; " + VIM % "backupcopy=no" + "; test -x f", NEW, ("chmod +x f", "set f")),
    Row("nano", "^O ^X", "$HERE/keys.py nano --ignorercfiles f -- old '^Knew^O\r' 'Wrote 1 line' '^X'", NEW),
    Row("nano", "--backup", "$HERE/keys.py nano --ignorercfiles --backup f -- old '^Knew^O\r' 'Wrote 1 line' '^X'", NEW, scratch=["f~"]),
    Row("emacs", "--batch, backups", "emacs -Q --batch --eval '(setq backup-enable-predicate (lambda (_) t))' f --eval '(progn (erase-buffer) (insert \"new\\n\") (save-buffer))' 2>&1", NEW, scratch=["f~"]),
    Row("emacs", "--batch, backup-by-copying", "emacs -Q --batch --eval '(setq backup-enable-predicate (lambda (_) t))' f --eval '(progn (setq backup-by-copying t) (erase-buffer) (insert \"new\\n\") (save-buffer))' 2>&1", NEW, scratch=["f~"]),
    Row("emacs", "--batch, no backups", "emacs -Q --batch --eval '(setq backup-enable-predicate (lambda (_) t))' f --eval '(progn (setq make-backup-files nil) (erase-buffer) (insert \"new\\n\") (save-buffer))' 2>&1", NEW),
    Row("emacs", "-nw: lock and automatic save", "$HERE/keys.py emacs -Q -nw --eval '(setq backup-enable-predicate (lambda (_) t))' f -- old '^Knew^X^S' 'Wrote' '^X^C'", NEW, scratch=["f~"]),
    Row("ed", "w", "printf 's/old/new/\\nw\\nq\\n' | ed -s f", NEW),
    Row("vim", "ex, from a script", "printf 's/old/new/\\nwq\\n' | ex -s f", NEW, program="ex"),
    # --- in place
    Row("sed", "-i", "sed -i s/old/new/ f", NEW),
    Row("sed", "-i.bak", "sed -i.bak s/old/new/ f", {"f": b"new\n", "f.bak": b"old\n"}, ("rename f -> f.bak", "set f")),
    Row("perl", "-pi", "perl -pi -e s/old/new/ f", NEW),
    Row("perl", "-pi~", "perl -pi~ -e s/old/new/ f", NEW, scratch=["f~"]),
    Row("sed", "-i on a link, with and without --follow-symlinks", "ln -s f l; sed -i --follow-symlinks s/old/new/ l; test -L l; sed -i s/new/two/ l; test ! -L l", {"f": b"new\n", "l": b"two\n"}, ("symlink l", "set f", "set l")),
    Row("sed", "-i of three keys", "sed -i s/old/new/ f g h", {"f": b"new\n", "g": b"new\n", "h": b"new\n"}, ("set f", "set g", "set h"), start={"f": b"old\n", "g": b"old\n", "h": b"old\n"}),
    Row("perl", "-i.bak", "perl -i.bak -pe s/old/new/ f", {"f": b"new\n", "f.bak": b"old\n"}, ("rename f -> f.bak", "set f")),
    Row("sponge", "", "sort f | sponge f", {"f": b"a\nb\n"}, start={"f": b"b\na\n"}),
    Row("xxd", "-r", "xxd $T/two/a | xxd -r - f", {"f": b"one\n"}),
    Row("shred", "-u", "shred -u -n 1 f", {}, lambda got: None if got and "delete" in got[-1] else str(got), said="set f, rename f -> 0, delete 0", why="the history keeps what was: nothing is shredded in git"),
    Row("strip", "and objcopy, ar", "cp $HERE/project/* .; gcc -g -c one.c; strip one.o; objcopy --strip-all one.o; ar rcs lib.a one.o; ar t lib.a >/dev/null; rm one.o lib.a",
        lambda got: None if sorted(got) == ["Makefile", "f", "main.c", "one.c", "one.h", "two.c"] else str(sorted(got)), only("(set|delete) .*"), said="set one.o, ... set lib.a, delete one.o, delete lib.a"),
    Row("xz", "and bzip2, zstd, in place", "xz f; xz -d f.xz; bzip2 f; bzip2 -d f.bz2; zstd -q --rm f; zstd -q -d --rm f.zst", {"f": b"old\n"}, ["delete f"] * 3 + ["delete f.bz2", "delete f.xz", "delete f.zst"] + ["set f"] * 3 + ["set f.bz2", "set f.xz", "set f.zst"], any_order=True),
    Row("curl", "-o, and wget's way", "curl -s file://$T/two/a -o f", {"f": b"one\n"}),
    Row("git", "apply, outside a repository", "printf '%s\\n' 'diff --git a/f b/f' '--- a/f' '+++ b/f' '@@ -1 +1 @@' -old +new > $T/p; GIT_CEILING_DIRECTORIES=/ git apply $T/p", NEW, ("delete f", "set f"), why="git removes a file before it writes it"),
    Row("git", "merge-file", "cp f $T/mo; echo new > $T/mn; git merge-file f $T/mo $T/mn", NEW),
    Row("awk", "-i inplace", "gawk -i inplace '{ sub(/old/, \"new\"); print }' f", NEW, program="gawk"),
    Row("patch", "", "printf '%s\\n' '--- f' '+++ f' '@@ -1 +1 @@' -old +new | patch -s", NEW),
    Row("patch", "-b, a new file and a deleted one", "printf '%s\\n' '--- f' '+++ f' '@@ -1 +1 @@' -old +new '--- /dev/null' '+++ n' '@@ -0,0 +1 @@' +n '--- x' '+++ /dev/null' '@@ -1 +0,0 @@' -x | patch -s -b -z .was -p0",
        {"f": b"new\n", "n": b"n\n", "f.was": b"old\n", "n.was": b"", "x.was": b"x\n"}, only(".*"), start={"f": b"old\n", "x": b"x\n"}),
    # --- the shell and its friends
    Row("sh", "echo > f", "echo new > f", NEW),
    Row("sh", "echo >> f", "echo new >> f", {"f": b"old\nnew\n"}, ("append f",)),
    Row("sh", "here-document", "cat > f <<E\nnew\nE", NEW),
    Row("bash", "noclobber", "set -C; (echo x > f) 2>/dev/null && exit 9; rm f; echo new > f", NEW, ("delete f", "set f"), shell="bash"),
    Row("tee", "", "echo new | tee f >/dev/null", NEW),
    Row("tee", "-a", "echo new | tee -a f >/dev/null", {"f": b"old\nnew\n"}, ("append f",)),
    Row("dd", "", "dd if=/dev/zero of=f bs=4k count=3 2>/dev/null", {"f": bytes(12288)}),
    Row("dd", "oflag=direct", "dd if=/dev/zero of=f bs=4k count=3 oflag=direct 2>/dev/null", {"f": bytes(12288)}),
    Row("dd", "conv=notrunc,fsync seek", "printf XY | dd of=f bs=1 seek=1 conv=notrunc,fsync 2>/dev/null", {"f": b"oXY\n"}),
    Row("truncate", "-s, to zero and longer", "truncate -s 0 f; truncate -s 4 f; truncate -s +2 f", {"f": bytes(6)}, ("set f",) * 3),
    Row("split", "-b 4", "rm f; printf aaaabbbbcc | split -b 4 - part.", {"part.aa": b"aaaa", "part.ab": b"bbbb", "part.ac": b"cc"}, ("delete f", "set part.aa", "set part.ab", "set part.ac")),
    Row("touch", "a new file", "rm f; touch f", {"f": b""}, ("delete f", "set f")),
    Row("touch", "-d: a time is no commit", "touch -d 2001-02-03 f; test $(stat -c %Y f) = $(date -d 2001-02-03 +%s)", {"f": b"old\n"}, ()),
    Row("mktemp", "and mv", "t=$(mktemp f.XXXXXX); echo new > $t; mv $t f", NEW),
    Row("mktemp", "-p . and mv", "t=$(mktemp -p .); echo new > $t; mv $t f", NEW),
    Row("jq", "> tmp && mv", "jq .a=2 f > f.tmp && mv f.tmp f", {"f": b'{\n  "a": 2\n}\n'}, start={"f": b'{"a":1}\n'}),
    Row("flock", "-x f.lock around a save", "flock -x f.lock sh -c 'echo new > f'; rm f.lock", NEW),
    Row("flock", "on the key itself", "flock -x f sh -c 'echo new > f'", NEW),
    Row("sort", "-o f f", "sort -o f f", {"f": b"a\nb\n"}, start={"f": b"b\na\n"}),
    Row("xargs", "-P 4: four writers", "seq 4 | xargs -P 4 -I{} sh -c 'echo {} > k{}'", {"f": b"old\n", **{"k%d" % i: b"%d\n" % i for i in range(1, 5)}}, ["set k%d" % i for i in range(1, 5)], any_order=True),
    # --- copying and moving
    Row("cp", "over", "echo new > $T/n; cp $T/n f", NEW),
    Row("cp", "-f --remove-destination", "echo new > $T/n; cp --remove-destination $T/n f", NEW, ("delete f", "set f")),
    Row("cp", "inside, --reflink=auto", "cp f g", {"f": b"old\n", "g": b"old\n"}, ("set g",)),
    Row("cp", "-a of a folder", "cp -a $T/two/. .; test $(stat -c %Y a) = 981158400", {**TWO, "l": b"a"}, ["mkdir d", "set a", "set d/b", "symlink l"], start={}, any_order=True),
    Row("cp", "-b", "echo new > $T/n; cp -b $T/n f", NEW, scratch=["f~"]),
    Row("cp", "--sparse=always", "truncate -s 1M $T/s; cp --sparse=always $T/s f", {"f": bytes(1 << 20)}),
    Row("mv", "inside", "mv f g", {"g": b"old\n"}, ("rename f -> g",)),
    Row("mv", "onto a key", "mv g f", {"f": b"g\n"}, ("rename g -> f",), start={"f": b"old\n", "g": b"g\n"}),
    Row("mv", "from outside", "echo new > $T/m; mv $T/m f", NEW, ("delete f", "set f"), why="between file systems mv removes the target first, then copies"),
    Row("mv", "-b", "mv -b g f", {"f": b"g\n"}, only("set f", "rename g -> f", "delete f"), start={"f": b"old\n", "g": b"g\n"}, scratch=["f~"]),
    Row("mv", "-n", "mv -n g f || true", {"f": b"old\n", "g": b"g\n"}, (), start={"f": b"old\n", "g": b"g\n"}),
    Row("mv", "a folder of 200 keys", "mv d e", {"e/%d" % i: b"%d" % i for i in range(200)}, ("rename d -> e",), start={"d/%d" % i: b"%d" % i for i in range(200)}),
    Row("install", "-m 755", "echo new > $T/i; install -m 755 $T/i f; test -x f", NEW, ("delete f", "set f", "chmod +x f"), why="install removes the target, writes, then gives the mode", program="install"),
    Row("install", "-D", "echo new > $T/i; install -m 644 -D $T/i a/b/c", {"f": b"old\n", "a/b/c": b"new\n"}, ("mkdir a", "mkdir a/b", "set a/b/c")),
    Row("ln", "-s", "ln -s f l; test $(readlink l) = f", {"f": b"old\n", "l": b"f"}, ("symlink l",)),
    Row("ln", "-sfn over a link", "ln -s f l; ln -sfn g l; test $(readlink l) = g", {"f": b"old\n", "l": b"g"}, ("symlink l", "symlink l")),
    Row("ln", "a hard link", "ln f g 2>/dev/null", {"f": b"old\n"}, (), status=1, why="one key, one value: EPERM; tools that only try (git, rsync, mv) go on with rename or a copy"),
    Row("rm", "-r", "rm -r d", {"f": b"old\n"}, only("delete d/[01]", "rmdir d"), start={"f": b"old\n", "d/0": b"0", "d/1": b"1"}),
    # --- trees
    Row("rsync", "-a", "rsync -a $T/two/ .", {**TWO, "l": b"a"}, ["mkdir d", "set a", "set d/b", "symlink l"], start={}, any_order=True),
    Row("rsync", "-a again: nothing", "rsync -a $T/two/ .; rsync -a $T/two/ .; test -z \"$(rsync -ain $T/two/ . | grep -v '^\\.d')\"", {**TWO, "l": b"a"}, ["mkdir d", "set a", "set d/b", "symlink l"], start={}, any_order=True),
    Row("rsync", "-aW", "rsync -aW $T/two/ .", {**TWO, "l": b"a"}, ["mkdir d", "set a", "set d/b", "symlink l"], start={}, any_order=True),
    Row("rsync", "--inplace", "rsync -a --inplace $T/two/ .", {**TWO, "l": b"a"}, ["mkdir d", "set a", "set d/b", "symlink l"], start={"a": b"old\n"}, any_order=True),
    Row("rsync", "--inplace --no-W: changes a block", "rsync -a --inplace --no-whole-file --block-size=1024 $T/big .", {"big": BIG + b"end\n"}, ("set big",), start={"big": BIG}),
    Row("rsync", "--append", "rsync -a --append $T/big .", {"big": BIG + b"end\n"}, ("set big",), start={"big": BIG}),
    Row("rsync", "--append-verify", "rsync -a --append-verify $T/big .", {"big": BIG + b"end\n"}, ("set big",), start={"big": BIG}),
    Row("rsync", "--delay-updates", "rsync -a --delay-updates $T/two/ .", {**TWO, "l": b"a"}, ["mkdir d", "set a", "set d/b", "symlink l"], start={"a": b"old\n"}, any_order=True),
    Row("rsync", "-aX", "rsync -aX $T/two/ .", {**TWO, "l": b"a"}, ["mkdir d", "set a", "set d/b", "symlink l"], start={}, any_order=True),
    Row("rsync", "-aH", "rsync -aH $T/two/ .", {**TWO, "l": b"a"}, ["mkdir d", "set a", "set d/b", "symlink l"], start={}, any_order=True),
    Row("rsync", "--partial-dir, --temp-dir", "mkdir -p $T/rt; rsync -a --partial-dir=.rsync-partial --temp-dir=$T/rt $T/two/ .", {**TWO, "l": b"a"}, ["mkdir d", "set a", "set d/b", "symlink l"], start={}, any_order=True),
    Row("rsync", "--delete", "rsync -a --delete $T/two/ .", {**TWO, "l": b"a"}, ["delete x", "mkdir d", "set a", "set d/b", "symlink l"], start={"x": b"x"}, any_order=True),
    Row("rsync", "out of the mount", "rsync -a ./ $T/rout/; test $(cat $T/rout/f) = old; test -z \"$(rsync -ain ./ $T/rout/)\"", {"f": b"old\n"}, ()),
    Row("tar", "x", "tar -C $T/two -c . | tar -xf -", {**TWO, "l": b"a"}, ["mkdir d", "set a", "set d/b", "symlink l"], start={}, any_order=True),
    Row("tar", "x over what is there", "tar -C $T/two -c . | tar -xf -", {**TWO, "l": b"a"}, ["delete a", "mkdir d", "set a", "set d/b", "symlink l"], start={"a": b"old\n"}, any_order=True),
    Row("tar", "c, of keys alike", "tar -cf $T/t.tar .; mkdir -p $T/tx; tar -C $T/tx -xf $T/t.tar; cmp f $T/tx/f; tar -tvf $T/t.tar | grep -q 'link to' && exit 9; true", {"f": b"old\n", "g": b"old\n"}, (), start={"f": b"old\n", "g": b"old\n"}),
    Row("tar", "--xattrs c and x", "tar --xattrs -C $T/two -c . | tar --xattrs -xf -; tar --xattrs -cf $T/t2.tar .", {**TWO, "l": b"a"}, ["mkdir d", "set a", "set d/b", "symlink l"], start={}, any_order=True),
    Row("rsync", "--checksum: other bytes, same size and time", "touch -d @981158400 a; rsync -a $T/two/a .; test \"$(cat a)\" = ONE; rsync -a --checksum $T/two/a .", {"a": b"one\n"}, ("set a",), start={"a": b"ONE\n"}),
    Row("rsync", "-u, --existing, --ignore-existing", "rsync -a -u $T/two/a .; rsync -a --ignore-existing $T/two/a .; rsync -a --existing $T/two/d $T/s1 .", {"a": b"newer\n"}, (), start={"a": b"newer\n"}),
    Row("rsync", "-b", "rsync -ab $T/two/a .", {"a": b"one\n"}, ("set a",), start={"a": b"old\n"}, scratch=["a~"]),
    Row("rsync", "-b --suffix=.old", "rsync -ab --suffix=.old $T/two/a .", {"a": b"one\n", "a.old": b"old\n"}, ("rename a -> a.old", "set a"), start={"a": b"old\n"}),
    Row("rsync", "-b --backup-dir", "rsync -ab --backup-dir=was $T/two/a .", {"a": b"one\n", "was/a": b"old\n"}, ("mkdir was", "rename a -> was/a", "set a"), start={"a": b"old\n"}),
    Row("rsync", "-z, through a remote shell", "rsync -az --rsh=$T/rsh host:$T/two/ .", {**TWO, "l": b"a"}, ["mkdir d", "set a", "set d/b", "symlink l"], start={}, any_order=True),
    Row("rsync", "--delete-before, -after, -delay", "for w in before after delay; do echo x > x; rsync -a --delete-$w $T/two/ .; done", {**TWO, "l": b"a"}, ["delete x"] * 3 + ["mkdir d", "set a", "set d/b"] + ["set x"] * 3 + ["symlink l"], start={}, any_order=True),
    Row("rsync", "--sparse, --preallocate, --fsync", "rsync -a --sparse $T/s1 .; rsync -a --preallocate $T/big .; rsync -a --fsync $T/two/a .", {"s1": bytes(1 << 20), "big": BIG + b"end\n", "a": b"one\n"}, ["set a", "set big", "set s1"], start={}, any_order=True),
    Row("rsync", "--chmod, --no-perms, -R, --mkpath", "rsync -a --chmod=F755 $T/two/a .; rsync -rR $T/./two/d/b .; rsync -r --mkpath $T/two/a x/y/; test -x a", {"a": b"one\n", "two/d/b": b"two\n", "x/y/a": b"one\n"},
        ["mkdir two", "mkdir two/d", "mkdir x", "mkdir x/y", "set a", "set two/d/b", "set x/y/a"], start={}, any_order=True),
    Row("rsync", "--copy-dest, --compare-dest", "rsync -a --copy-dest=$PWD/old $T/two/a new/; rsync -a --compare-dest=$PWD/new $T/two/a $T/two/d more/", {"old/a": b"one\n", "new/a": b"one\n", "more/d/b": b"two\n"},
        only("(mkdir|set) (new|more).*"), start={"old/a": b"one\n"}, said="mkdir new, set new/a, mkdir more, mkdir more/d, set more/d/b"),
    Row("rsync", "--link-dest", "touch -d @981158400 old/a; rsync -a --link-dest=$PWD/old $T/two/a new/", {"old/a": b"one\n", "new/a": b"one\n"}, ("mkdir new", "set new/a"), start={"old/a": b"one\n"}, why="the hard link is refused, so rsync copies"),
    Row("rsync", "--remove-source-files, out of the mount", "rsync -a --remove-source-files f d $T/moved/; test \"$(cat $T/moved/f $T/moved/d/g)\" = \"old\nx\"", {}, ["delete d/g", "delete f"], start={"f": b"old\n", "d/g": b"x\n"}, any_order=True, shell="bash"),
    Row("rsync", "-aH of files that are hard links", "rsync -aH $T/hard/ . 2>/dev/null", lambda got: None if len(got) == 1 else str(got), only("set [xy]"), start={}, status=23, said="set x", why="-H asks for hard links, which there are none: without -H each is a key of its own"),
    Row("rsync", "-aH of keys alike", "rsync -aH ./ $T/hout/; test $(stat -c %h $T/hout/f) = 1; test $(stat -c %h $T/hout/g) = 1", {"f": b"old\n", "g": b"old\n"}, (), start={"f": b"old\n", "g": b"old\n"}),
    Row("rsync", "-a of a fifo", "rsync -a $T/fifo $T/two/a . 2>/dev/null", {"a": b"one\n"}, ("set a",), start={}, status=23, why="a fifo cannot be a value"),
    Row("tar", "x of files that are hard links", "tar -C $T/hard -c . | tar -xf - 2>/dev/null", {"x": b"one\n"}, lambda got: None if got in (["set x"], ["set y"]) else str(got), start={}, status=2, said="set x",
        why="tar makes a hard link, which is refused: archives made with --hard-dereference have none"),
    Row("tar", "--hard-dereference", "tar -C $T/hard --hard-dereference -c x y | tar -xf -", {"x": b"one\n", "y": b"one\n"}, ("set x", "set y"), start={}),
    Row("tar", "c, r and u of an archive that is a key, -z", "tar -cf t.tar f; echo g > g; tar -rf t.tar g; tar -uf t.tar g; tar -czf t.tgz f g; test \"$(tar -tf t.tar | tr '\\n' ' ')\" = 'f g '; test \"$(tar -tzf t.tgz | tr '\\n' ' ')\" = 'f g '; rm t.tar t.tgz",
        {"f": b"old\n", "g": b"g\n"}, ("set t.tar", "set g", "set t.tar", "set t.tgz", "delete t.tar", "delete t.tgz")),
    Row("tar", "x --keep-old-files, --overwrite, --unlink-first", "tar -C $T/two -cf $T/a.tar a; tar -xf $T/a.tar --skip-old-files; test \"$(cat a)\" = old; tar -xf $T/a.tar --overwrite; echo more > a; tar -xf $T/a.tar --unlink-first", {"a": b"one\n"}, ("set a", "set a", "delete a", "set a"), start={"a": b"old\n"}),
    Row("cp", "-a of files that are hard links", "cp -a $T/hard/. . 2>/dev/null", lambda got: None if len(got) == 1 else str(got), only("set [xy]"), start={}, status=1, said="set x", why="-a asks for hard links: cp -a --no-preserve=links makes each a key of its own"),
    Row("cp", "-a --no-preserve=links", "cp -a --no-preserve=links $T/hard/. .", {"x": b"one\n", "y": b"one\n"}, ["set x", "set y"], start={}, any_order=True),
    Row("cp", "-a out, of keys alike", "cp -a . $T/cout; test $(stat -c %h $T/cout/f) = 1; cmp $T/cout/f $T/cout/g", {"f": b"old\n", "g": b"old\n"}, (), start={"f": b"old\n", "g": b"old\n"}),
    Row("cp", "-u, -n, -i", "cp -n $T/two/a f; cp -u $T/two/a f; echo n | cp -i $T/two/a f 2>/dev/null || true", {"f": b"old\n"}, ()),
    Row("cp", "--reflink=always, -l", "cp --reflink=always f g 2>/dev/null && exit 9; rm g; cp -l f g 2>/dev/null", {"f": b"old\n"}, ("set g", "delete g"), status=1, why="no clones and no hard links: plain cp copies"),
    Row("cpio", "-p", "(cd $T/two && find . | cpio --quiet -o) | cpio --quiet -idm", {**TWO, "l": b"a"}, ["mkdir d", "set a", "set d/b", "symlink l"], start={}, any_order=True),
    Row("unzip", "", "(cd $T/two && rm -f ../z.zip && zip -qr ../z.zip a d); unzip -qo $T/z.zip", TWO, ["mkdir d", "set a", "set d/b"], start={}, any_order=True),
    Row("zip", "a new archive, then one that grows", "zip -q z.zip f; echo more > g; zip -q z.zip g; unzip -tq z.zip >/dev/null; rm z.zip", {"f": b"old\n", "g": b"more\n"}, ("set z.zip", "delete z.zip", "set z.zip", "set g", "delete z.zip", "set z.zip", "delete z.zip"), why="zip first tries whether it can make the archive; it removes an old one before the new one's rename"),
    Row("gzip", "and gunzip", "gzip f; gunzip f.gz", {"f": b"old\n"}, ("set f.gz", "delete f", "set f", "delete f.gz")),
    # --- readers
    Row("less", "in a terminal", "$HERE/keys.py less f -- old q", {"f": b"old\n"}, ()),
    Row("tail", "-F across saves", "$HERE/follow.py -F", {"f": b"new\n"}, ("set f", "set f")),
    Row("tail", "-f across saves", "$HERE/follow.py -f", {"f": b"new\n"}, ("set f", "set f"), status=1, why="a save replaces the file, as rename does: -f stays with the old value by design, -F follows the name"),
    Row("find", "-inum, -newer", "test $(find . -inum $(stat -c %i f)) = ./f; test $(find . -type f | wc -l) = 2", {"f": b"old\n", "g": b"old\n"}, (), start={"f": b"old\n", "g": b"old\n"}),
    Row("grep", "-r", "test $(grep -rl old . | wc -l) = 2; grep -q old f", {"f": b"old\n", "d/g": b"old\n"}, (), start={"f": b"old\n", "d/g": b"old\n"}),
    Row("du", "", "test $(du -sb --apparent-size f | cut -f1) = 4; test $(du -s . | cut -f1) -ge 1", {"f": b"old\n"}, ()),
    Row("diff", "-r", "mkdir -p $T/dr; cp -r . $T/dr/; diff -r . $T/dr", {"f": b"old\n", "d/g": b"x\n"}, (), start={"f": b"old\n", "d/g": b"x\n"}),
    Row("find", "-samefile, -links, -size, -printf %y %n %i", "test $(find . -samefile f) = ./f; test $(find . -type f -links 1 -size -2 | wc -l) = 3; test $(find . -printf '%i\\n' | sort -u | wc -l) = 5; test $(find . -name '*' -printf '%y' | tr -d '\\n' | wc -c) = 5", {"f": b"old\n", "g": b"old\n", "d/f": b"old\n"}, (), start={"f": b"old\n", "g": b"old\n", "d/f": b"old\n"}),
    Row("find", "-delete, -exec rm, -empty", "find d -type f -delete; find . -name 'x*' -exec rm {} +; find . -type d -empty -delete", {"f": b"old\n"}, only("delete d/[12]", "delete x[12]", "rmdir d"), start={"f": b"old\n", "d/1": b"1", "d/2": b"2", "x1": b"", "x2": b""}, said="delete d/1, delete d/2, delete x1, delete x2, rmdir d"),
    Row("du", "keys alike count each", "test $(du -sb --apparent-size . | cut -f1) -ge 200000; test $(du -s . | cut -f1) -ge 190", {"f": bytes(100000), "g": bytes(100000)}, (), start={"f": bytes(100000), "g": bytes(100000)}),
    Row("diff", "-rq of folders whose keys are alike but one", "test \"$(diff -rq a b)\" = 'Files a/y and b/y differ'", {"a/x": b"x", "b/x": b"x", "a/y": b"1", "b/y": b"2"}, (), start={"a/x": b"x", "b/x": b"x", "a/y": b"1", "b/y": b"2"}),
    Row("tail", "-c, -n, head -c, od, wc, sha256sum", "test $(tail -c 4 f) = end; test $(head -c 3 f) = 012; test $(wc -c <f) = 131076; test \"$(sha256sum <f)\" = \"$(sha256sum <$T/big)\"", {"f": BIG + b"end\n"}, (), start={"f": BIG + b"end\n"}),
    Row("df", "", "test $(df --output=size . | tail -1) = $(df --output=size $T/.. | tail -1)", {"f": b"old\n"}, ()),
    Row("ls", "-la, -i, -s, a long listing says what stat says", "test \"$(ls -i f)\" = \"$(stat -c '%i %n' f)\"; test \"$(ls -l f | cut -c1-10)\" = -rw-r--r--; ls -laR >/dev/null", {"f": b"old\n"}, ()),
    Row("cmp", "", "cp f $T/c; cmp f $T/c; ls -la >/dev/null; wc f >/dev/null; sha256sum f >/dev/null; file f 2>/dev/null >/dev/null || true", {"f": b"old\n"}, ()),
    # --- languages
    Row("python3", "open(w)", "python3 -c 'open(\"f\", \"w\").write(\"new\\n\")'", NEW),
    Row("python3", "open(r+), truncate", "python3 -c 'f = open(\"f\", \"r+\"); f.read(); f.seek(0); f.truncate(); f.write(\"new\\n\"); f.close()'", NEW),
    Row("python3", "mkstemp, os.replace", "python3 -c 'import os, tempfile\nfd, n = tempfile.mkstemp(dir=\".\")\nos.write(fd, b\"new\\n\"); os.fsync(fd); os.close(fd); os.replace(n, \"f\")'", NEW),
    Row("python3", "NamedTemporaryFile(delete=False)", "python3 -c 'import os, tempfile\nwith tempfile.NamedTemporaryFile(dir=\".\", delete=False) as t: t.write(b\"new\\n\")\nos.replace(t.name, \"f\")'", NEW),
    Row("python3", "NamedTemporaryFile renamed while open", "python3 -c 'import os, tempfile\nwith tempfile.NamedTemporaryFile(dir=\".\", delete=False) as t:\n t.write(b\"new\\n\"); t.flush(); os.rename(t.name, \"f\")'", NEW),
    Row("python3", "pathlib, shutil.copy2, copytree", "python3 -c 'import pathlib, shutil, os\npathlib.Path(\"f\").write_text(\"new\\n\"); shutil.copy2(\"f\", \"g\"); shutil.copytree(os.environ[\"T\"] + \"/two\", \"t\", symlinks=True)'",
        {"f": b"new\n", "g": b"new\n", "t/a": b"one\n", "t/d/b": b"two\n", "t/l": b"a"}, ["mkdir t", "mkdir t/d", "set f", "set g", "set t/a", "set t/d/b", "symlink t/l"], any_order=True),
    Row("python3", "mmap", "python3 -c 'import mmap\nwith open(\"f\", \"r+b\") as f:\n m = mmap.mmap(f.fileno(), 0); m[0:3] = b\"new\"; m.flush(); m.close()'", NEW),
    Row("python3", "dbm.dumb", "python3 -c 'import dbm.dumb as d\nwith d.open(\"db\") as x: x[\"a\"] = \"b\"\nwith d.open(\"db\") as x: assert x[\"a\"] == b\"b\"'", lambda got: None if "db.dat" in got and "db.dir" in got else str(got), only("(set|append|delete|rename) db[.].*"), scratch=[]),
    Row("node", "fs.writeFile", "node -e 'require(\"fs\").writeFile(\"f\", \"new\\n\", e => { if (e) throw e })'", NEW),
    Row("node", "fs.appendFileSync, copyFileSync", "node -e 'const fs = require(\"fs\"); fs.appendFileSync(\"f\", \"new\\n\"); fs.copyFileSync(\"f\", \"g\")'", {"f": b"old\nnew\n", "g": b"old\nnew\n"}, ("append f", "set g")),
    Row("node", "write-file-atomic's way: f.<number>", "node -e 'const fs = require(\"fs\"), t = \"f.2718281828\"; const d = fs.openSync(t, \"w\"); fs.writeSync(d, \"new\\n\"); fs.fsyncSync(d); fs.closeSync(d); fs.renameSync(t, \"f\")'", NEW),
    Row("code", "plain: open w, write, fdatasync", "node -e 'const fs = require(\"fs\"); const d = fs.openSync(\"f\", \"w\"); fs.writeSync(d, \"new\\n\"); fs.fdatasyncSync(d); fs.closeSync(d)'", NEW, program="node"),
    Row("code", "atomic: f.vsctmp, rename", "node -e 'const fs = require(\"fs\"); const d = fs.openSync(\"f.vsctmp\", \"w\"); fs.writeSync(d, \"new\\n\"); fs.fdatasyncSync(d); fs.closeSync(d); fs.renameSync(\"f.vsctmp\", \"f\")'", NEW, program="node"),
    Row("JetBrains", "safe write: f___jb_tmp___, f___jb_old___", "echo new > f___jb_tmp___; mv f f___jb_old___; mv f___jb_tmp___ f; rm f___jb_old___", NEW, program="mv"),
    Row("perl", "File::Temp and rename", PERL_TEMP % 'DIR => "."', NEW, only(r"set \w{10}", r"rename \w{10} -> f"), said="set XXXXXXXXXX, rename XXXXXXXXXX -> f",
        why="a temporary name of ten letters looks like any key's: the file is committed under it, then renamed"),
    Row("perl", "File::Temp with a template, and rename", PERL_TEMP % '"f.XXXXXX", DIR => "."', NEW),
    Row("perl", "open >, print, close", "perl -e 'open F, \">\", \"f\" or die; print F \"new\\n\"; close F or die'", NEW),
    # --- desktops
    Row("gio", "save", "echo new | gio save f", NEW),
    Row("gio", "save --backup", "echo new | gio save --backup f", NEW, scratch=["f~"]),
    Row("gio", "copy, move", "gio copy f g; gio move g h", {"f": b"old\n", "h": b"old\n"}, ("set g", "rename g -> h")),
    Row("GLib", "g_file_set_contents", "/usr/bin/python3 -c 'from gi.repository import GLib; GLib.file_set_contents(\"f\", b\"new\\n\")'", NEW, program="/usr/bin/python3"),
    Row("LibreOffice", "its lock and its way to save", "echo x > .~lock.f#; echo new > lu123abc.tmp; mv lu123abc.tmp f; rm .~lock.f#", NEW, program="mv"),
    # --- git and builds, inside a namespace
    Row("git", "init, clone, init --separate-git-dir", "for c in 'git init' \"git clone -q $T/clone.git .\" \"git init --separate-git-dir=$T/sep.git\"; do $c >$T/said 2>&1 && exit 9; grep -q '[.]git.*: Operation not permitted' $T/said; "
        "test \"$(ls -A)\" = \"$(test -e f && echo f)\"; rm -f f; done; exit 1", {}, ("delete f",), status=1,
        why="`.git` cannot be an entry of a git tree: \".git: Operation not permitted\", and nothing is left; the next rows show what works: the repository elsewhere (git --git-dir=X --work-tree=.) or under another name (GIT_DIR=store GIT_WORK_TREE=.)"),
    Row("git", "a real work tree, the repository outside (--git-dir, --work-tree)",
        "cp -r $T/tree/. .; g='git --git-dir='$T'/real.git --work-tree=.'; $g init -q -b main; $g add -A; $g commit -qm one; test -z \"$($g status --porcelain)\"; $g fsck --strict; "
        "test $($g rev-parse 'HEAD^{tree}') = $(python3 -c 'import os; print(os.getxattr(\".\", \"user.kv.tree\").decode())'); "
        "echo more >> README.md; $g commit -qam two; $g checkout -q HEAD~1; $g checkout -q main; $g reset -q --hard HEAD~1; test $($g rev-parse 'HEAD^{tree}') = $(python3 -c 'import os; print(os.getxattr(\".\", \"user.kv.tree\").decode())')",
        lambda got: None if "README.md" in got and "fs/core.h" in got and not [k for k in got if k.endswith(".lock")] else str(sorted(got))[:300], only("(set|mkdir|symlink|append|delete|chmod [+]x) .*"), start={}, limit=240, said="mkdir ..., set ..., append README.md, delete README.md, set README.md",
        why="each file is a commit; the namespace's tree is the one that git made"),
    Row("git", "init, add -A, commit, checkout, gc, fsck, of this project's sources",
        "cp -r $HERE/../../fs $HERE/../../include .; export GIT_DIR=store GIT_WORK_TREE=.; git init -q -b main; echo /store >store/info/exclude; "
        "git add -A; git commit -qm one; echo more >>f; git commit -qam two; git checkout -q HEAD~1; test \"$(cat f)\" = old; git checkout -q main; test -z \"$(git status --porcelain)\"; "
        "git gc -q; git fsck --strict; test $(git rev-list --count HEAD) = 2", GIT_KEYS,
        only("(append|set|delete|symlink|chmod [+-]x) store/.*", "(mkdir|rmdir) (store|fs|include)(/.*)?", "set (fs|include)/.*", "set f", "append f", "delete f", "rename store/.*"),
        limit=180, said="set/append/delete/mkdir/rmdir store/..., set fs/..., set include/..., append f, delete f, set f",
        why="each object and ref is a commit; checkout removes a file before it writes it"),
    Row("git", "clone, within the namespace", CLONE, lambda got: None if got.get("copy/a") == b"one\n" and got.get("copy/d/b") == b"two\n" else str(sorted(got))[:300],
        only("(append|set|delete|symlink|chmod [+-]x|mkdir|rmdir) (one|two|copy)(/.*)?"), limit=180, said="set/append/mkdir one/..., two/..., copy/...",
        why="hard links are refused, so git copies (not with an explicit --local)"),
    Row("make", "-j4 of a small C project with gcc, twice", "cp $HERE/project/* .; make -s -j4; test \"$(./prog)\" = 42; make -q; touch one.c; make -s -j4; make -q; make -s clean",
        lambda got: None if sorted(got) == ["Makefile", "f", "main.c", "one.c", "one.h", "two.c"] else str(sorted(got)),
        only("(set|delete) ((main|one|two)[.]o|prog|[a-z]+[.][ch]|Makefile)", "chmod [+]x prog"), limit=120, said="set main.o, set one.o, set two.o, set prog, chmod +x prog, ... delete prog"),
    Row("gcc", "-o over a running program", "cp $HERE/project/* .; gcc -o prog main.c one.c two.c; ./prog wait <$T/fifo & p=$!; exec 9>$T/fifo; gcc -DOTHER -o prog main.c one.c two.c; echo >&9; wait $p; ./prog",
        lambda got: None if "prog" in got else str(sorted(got)), only("(set|delete) (prog|[a-z]+[.][ch]|Makefile)", "chmod [+]x prog"), status=43, limit=120, said="set prog, chmod +x prog, delete prog, set prog, chmod +x prog"),
    # --- databases: t_sqlite.py looks closer
    Row("sqlite3", "create, insert, update, vacuum", "sqlite3 db 'create table t(x); insert into t values(1); insert into t values(2); update t set x=x+1; vacuum;'; test \"$(sqlite3 db 'select sum(x) from t; pragma integrity_check' | tr '\\n' ' ')\" = '5 ok '",
        lambda got: None if sorted(got) == ["db", "f"] else str(sorted(got)), ("set db",) * 5, said="set db, once a transaction"),
    Row("sqlite3", "a transaction of 1,000 rows", "(echo 'create table t(x); begin;'; seq -f 'insert into t values(%g);' 1000; echo 'commit;') | sqlite3 db; test $(sqlite3 db 'select count(*) from t') = 1000",
        lambda got: None if sorted(got) == ["db", "f"] else str(sorted(got)), ("set db",) * 2),
    Row("sqlite3", "WAL, one shell", "sqlite3 db 'pragma journal_mode=wal; create table t(x); insert into t values(1); insert into t values(2);' >/dev/null; test $(sqlite3 db 'select sum(x) from t') = 3",
        lambda got: None if sorted(got) == ["db", "f"] else str(sorted(got)), only("set db", "set db-wal", "delete db-wal"), said="set db, set db-wal once a transaction, set db, delete db-wal",
        why="the log must be durable at its fsync, so it is a key while it is there; a second shell at the same time gets \"unable to open database file\""),
]
