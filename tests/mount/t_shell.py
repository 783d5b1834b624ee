#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
SPEC 5.1, as users meet it: shells, languages and tools that share, inherit and duplicate a write handle.  A row is a command, or (command,
commits) where it is not exactly one; None: as many as it likes.  $k is the key ("old\n" before), $d its directory, $W a folder on the disk.
Each command runs on the disk as well: exit status, output and every byte in the directory must be the same.
"""
import shutil

from lib import *

SH = [
    "echo new > $k", "echo more >> $k", ": > $k", "> $k", "printf '%s' abc > $k", "cat /dev/null > $k", ("cat /dev/null >> $k", 0),
    "(echo a; echo b) > $k", "{ echo a; echo b; } > $k", "{ echo a; /bin/echo b; } > $k", "(echo a; (echo b; echo c)) > $k", "/bin/echo new > $k",
    "seq 1 20000 > $k", "seq 1 5 | cat > $k", "seq 1 1000 | sort -rn | head -n 5 > $k", "seq 100000 | head -n 1 > $k",
    "exec 3> $k; echo a >&3; echo b >&3; exec 3>&-", "exec 3> $k; /bin/echo a >&3; /bin/echo b >&3; exec 3>&-", "exec 3>> $k; echo a >&3; exec 3>&-",
    "exec 3> $k; yes | head -n 2 >&3; exec 3>&-", "exec 3<> $k; echo NEW >&3; exec 3>&-", "exec > $k; echo a; /bin/echo b",
    "exec > $k; exec /bin/echo replaced", "exec 3> $k 4>&3; echo a >&3; exec 3>&-; echo b >&4; exec 4>&-", "(exec 5> $k; (echo x >&5); (echo y >&5))",
    "for i in 1 2 3; do echo $i; done > $k", "for i in 1 2 3; do /bin/echo $i; done > $k", "i=0; while [ $i -lt 50 ]; do echo $i; i=$((i+1)); done > $k",
    "seq 3 | while read x; do echo line $x; done > $k", "cat > $k <<E\na\nb\nE", "cat <<E >> $k\nc\nE", "f() { echo a; /bin/echo b; }; f > $k",
    "echo out > $k 2>&1", "{ echo out; echo err >&2; } > $k 2>&1", "ls /nonexistent > $k 2>&1 || true", "echo a > $k && /bin/true",
    "sh -c 'echo a; sh -c \"echo b; /bin/echo c\"' > $k", "(echo a & wait; echo b) > $k", "{ /bin/echo a & /bin/echo b & wait; } | sort > $k",
    "echo a | tee $k > /dev/null", "echo a | tee -a $k > /dev/null", "env X=1 /bin/echo env > $k", "x=$(echo a > $k; echo b); echo $x",
    "if echo a; then echo b; fi > $k", "! false > $k", "eval 'echo a > $k'", "nice /bin/echo a > $k", "timeout 20 /bin/echo a > $k",
    "(/bin/true & echo a; wait) > $k", "find /etc/hostname > $k", "trap 'echo trap' EXIT; exec > $k; echo body", "(echo a > $k) & wait",
    "set -C; echo a >| $k", "(echo a; exec /bin/echo b) > $k", "echo a > $k; echo a > $k", ("echo old > $k", 0), ("false >> $k", 0),
    ("echo a > $k; echo b >> $k; echo c >> $k", 3), ("echo a > $k; echo b > $k", 2), ("echo a > $d/x; echo b > $d/y; cat $d/x $d/y > $k", 3),
    ("set -C; echo a > $k", 0), ("echo x > $d/absent/y", 0), ("for i in 1 2 3 4; do echo line >> $k & done; wait", 4),
    "(read x < $W/fifo; echo late) > $k & echo go > $W/fifo",
]
BASH = [
    "echo a &> $k", "exec {fd}> $k; echo a >&$fd; exec {fd}>&-", "cat <<< here > $k", "cat <(echo a) <(echo b) > $k", "echo a | tee >(cat > /dev/null) > $k",
    "coproc cat > $k; echo a >&${COPROC[1]}; eval \"exec ${COPROC[1]}>&-\"; wait", "mapfile x < $k; echo ${#x[@]} > $k", "set -o pipefail; seq 3 | cat > $k",
    "{ time (echo a; /bin/echo b) > $k; } 2>/dev/null", "shopt -s lastpipe; seq 3 | while read x; do echo $x; done > $k",
]
TOOLS = [
    "cp /etc/passwd $k", ("cp --remove-destination /etc/passwd $k", 2), "cp -p /etc/passwd $k", "dd if=/etc/passwd of=$k status=none",
    "dd if=/etc/passwd of=$k bs=7 status=none", "printf NE | dd of=$k conv=notrunc status=none", "dd if=/etc/passwd of=$k conv=fsync status=none",
    "echo x | dd of=$k oflag=append conv=notrunc status=none", "seq 50000 | tee $k >/dev/null", "sort -r -o $k /etc/passwd", "sort -o $k $k /etc/passwd",
    "truncate -s 2 $k", "truncate -s 9000 $k", ("truncate -s 4 $k", 0), ("install -m 644 /etc/passwd $k", 2), ("install -m 755 /etc/passwd $d/new", 2),
    ("touch $k", 0), "touch $d/new", "awk -v F=$k 'BEGIN { print \"c\" > F; print \"d\" > F }'",
    "awk -v F=$k 'BEGIN { print \"a\" > F; close(F) }'", "sed -n \"w $k\" /etc/passwd", "head -c 100000 /dev/zero | tail -c 5 > $k", "gzip -nc /etc/passwd > $k",
    "perl -e 'open(F, \">\", $ARGV[0]) or die; print F \"a\\n\"; close(F) or die' $k",
    "perl -e '$|=1; open(F, \">>\", $ARGV[0]); print F \"a\\n\"; system(\"true\"); close(F) or die' $k",
    "perl -e 'open(STDOUT, \">\", $ARGV[0]); $|=1; print \"a\\n\"; system(\"echo b\"); print \"c\\n\"' $k",
    "python3 -c 'import sys\nwith open(sys.argv[1],\"w\") as f: f.write(\"a\\n\")' $k", "python3 -c 'import sys; open(sys.argv[1],\"w\").write(\"a\\n\")' $k",
    "python3 -c 'import sys\nwith open(sys.argv[1],\"r+b\") as f: f.seek(0,2); f.write(b\"tail\")' $k", "python3 -c 'print(\"printed\")' > $k",
    "python3 -c 'import sys,subprocess as s\nwith open(sys.argv[1],\"w\") as f: s.run([\"echo\",\"a\"],stdout=f); s.run([\"echo\",\"b\"],stdout=f)' $k",
    "python3 -c 'import os,sys\nf=open(sys.argv[1],\"w\"); p=os.fork()\nif not p: f.write(\"c\\n\"); f.close(); os._exit(0)\nos.wait(); f.write(\"p\\n\")' $k",
    "python3 -c 'import sys,threading,os\nf=os.open(sys.argv[1],os.O_WRONLY|os.O_TRUNC)\nt=[threading.Thread(target=os.pwrite,args=(f,b\"%d\"%i,i)) for i in range(8)]\n"
    "[x.start() for x in t];[x.join() for x in t]' $k",
    "node -e 'require(\"fs\").writeFileSync(process.argv[1],\"a\\n\")' $k", "node -e 'console.log(\"a\");console.log(\"b\")' > $k",
    "node -e 'const s=require(\"fs\").createWriteStream(process.argv[1]);for(let i=0;i<99;i++)s.write(i+\"\\n\");s.end()' $k",
    "printf 'k:\\n\\techo a > $(K)\\n' > $W/mk; make -s -f $W/mk K=$k", "printf 'k:\\n\\t@(echo a; /bin/echo b) > $(K)\\n' > $W/mk; make -s -f $W/mk K=$k",
    "printf 'k:\\n\\techo a\\n\\t/bin/echo b\\n' > $W/mk; make -f $W/mk > $k", "printf 'a b c d:\\n\\t@echo $@\\n' > $W/mk; make -s -j4 -f $W/mk a b c d | sort > $k",
    "seq 4 | xargs -n 1 echo item > $k", "echo $k | xargs -I{} sh -c 'echo a > {}'", "find /etc/hostname -exec echo {} ';' > $k", "git --version > $k",
    ("git config -f $d/conf a.b c; cp $d/conf $k", None), ("mkdir $W/t; echo tar > $W/t/k; tar -C $W/t -cf $W/t.tar k; tar -C $d -xf $W/t.tar", 2),
    "printf 'a\\nadded\\n.\\nw\\nq\\n' | ed -s $k", ("printf abcd | split -b 2 - $d/part.", 2), "curl -s file:///etc/hostname -o $k", "echo x | cpp -P > $k",
    ("echo moved > $W/m; mv $W/m $k", None), "echo synced > $W/k; rsync --inplace $W/k $k", ("cat $k $k > $d/x; cp $d/x $k; rm $d/x", 3), ("cmp $k $k", 0),
    ("cat $k; grep -r old $d; find $d -type f; ls $d; wc -c $k | cut -d' ' -f1; md5sum < $k", 0), "setsid -w sh -c 'echo a > $k'", "nohup echo a > $k 2>/dev/null",
    ("ln -s target $d/l; readlink $d/l", 1), ("mkdir -p $d/p/q; rmdir $d/p/q; rm -r $d/p", 4), ("rm $k; echo again > $k", 2), "mv $k $d/new", "chmod +x $k",
    ("cp $k $d/n; mv $d/n $k", 2), ("mkfifo $W/p; (echo via fifo > $W/p &); cat $W/p > $k", 1),
]


def spread(shells, rows):
    for row in rows:
        cmd, n = row if isinstance(row, tuple) else (row, 1)
        for s in shells:
            yield (s + ": " + cmd.replace("\n", "; ")[:90], s, cmd, n)


def run(shell, cmd, d):
    """Runs it and waits for every process that it left behind: their exits are the last closes."""
    w = tempfile.mkdtemp(dir=work())
    os.mkfifo(w + "/fifo")
    env = {**os.environ, "k": d + "/k", "d": d, "W": w}
    p = subprocess.run([KVTOOL, "reap", shell, "-c", cmd], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       cwd=w, timeout=LIMIT)
    shutil.rmtree(w)
    return p.returncode, p.stdout.replace(d.encode(), b"D").replace(w.encode(), b"W")


def contents(d):
    return {n: os.readlink(d + "/" + n) if os.path.islink(d + "/" + n) else read(d + "/" + n) for n in sorted(os.listdir(d))}


@table([*spread(("dash", "bash"), SH), *spread(("bash",), BASH), *spread(("dash",), TOOLS)])
def run_in(t, shell, cmd, n):
    for tool in ("node", "curl", "ed", "rsync", "perl", "make", "cpp", "gzip"):
        skip_unless(shutil.which(tool) or not re.search(r"\b%s " % tool, cmd), "no %s here" % tool)
    disk = tempfile.mkdtemp(dir=work())
    save(disk + "/k", b"old\n")
    t.put("k", b"old\n")
    before, tip = t.repo.count(t.ns), t.repo.tip(t.ns)
    want, got = run(shell, cmd, disk), run(shell, cmd, t.dir)
    made = t.repo.count(t.ns) - before
    eq(got, want, "status and output")
    eq(contents(t.dir), contents(disk), "the directory")
    if n is not None:
        eq(made, n, "commits (%s)" % t.repo.git("log", "--format=%s", tip + "..refs/kv/" + t.ns).replace("\n", ", "))
    eq({k: v[0] for k, v in t.repo.entries(t.ns).items()}, {k: "120000" if os.path.islink(disk + "/" + k) else "100755" if os.access(disk + "/" + k, os.X_OK)
                                                            and os.stat(disk + "/" + k).st_mode & 0o111 else "100644" for k in os.listdir(disk)}, "modes in git")
    shutil.rmtree(disk)


if __name__ == "__main__":
    main()
