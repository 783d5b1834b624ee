#!/bin/sh
# SPDX-License-Identifier: MIT
# Real input: a part of this machine's /etc goes through the mount with cp -a and rsync -a, is edited with ordinary tools beside a copy on
# the disk, and is read back with stock git.  Every step compares byte for byte.
. "$(dirname "$0")/lib.sh"

src=$work/src disk=$work/disk
mkdir "$src"
# Files, links and folders; owner and modes as the mount shows them; no dangling surprises of special files.
(cd / && find etc -xdev \( -type l -o -type f -size -100k \) -readable 2>/dev/null | LC_ALL=C sort | head -n 250 >"$work/list")
tar -C / -T "$work/list" -cf - | tar -C "$src" --no-same-owner -xf -
mkdir -p "$src/etc/empty/deep"
printf 'one\ntwo\nthree\n' >"$src/etc/poem"
printf '#!/bin/sh\necho ran\n' >"$src/etc/script"
chmod -R u+rw,go+r,a-st "$src"
find "$src" -type d -exec chmod 755 {} +
find "$src" -type f -perm /111 -exec chmod 755 {} +
find "$src" -type f ! -perm /111 -exec chmod 644 {} +
chmod 755 "$src/etc/script"
cp -a "$src" "$disk"
entries=$(find "$src/etc" | wc -l)

start_mount
app=$mnt/app
mkdir "$app" "$mnt/synced"

# New files of passing names (*.??????, SPEC 5.4) become commits when they have stayed; until then .kv/scratch lists them.
until_settled() {
	"${PYTHON:-python3}" - "$mnt/$1/.kv/scratch" <<-'E'
		import sys, time
		end = time.monotonic() + 30
		while open(sys.argv[1]).read():
		    assert time.monotonic() < end, "still not settled: " + open(sys.argv[1]).read()
		    time.sleep(0.05)
	E
}

copied() {
	cp -a "$src/etc" "$app/etc"
	same "$src" "$app"
	until_settled app
	[ "$(commits app)" = $((entries + 1)) ] || { echo "$(commits app) commits for $entries entries"; git -C "$repo" log --format=%s refs/kv/app | sort | uniq -d; return 1; }
}
try "cp -a: the same tree, one commit an entry ($entries)" copied

synced() {
	rsync -a "$src/etc" "$mnt/synced/"
	same "$src" "$mnt/synced"
	until_settled synced
	tip=$(git -C "$repo" rev-parse refs/kv/synced)
	rsync -a --checksum "$src/etc" "$mnt/synced/"
	same "$src" "$mnt/synced"
	[ "$(git -C "$repo" rev-parse refs/kv/synced)" = "$tip" ] || { echo "the second rsync changed something"; return 1; }
}
try "rsync -a: the same tree; a second run changes nothing" synced

from_git() {
	mkdir -p "$work/archive" && rm -rf "$work/archive"/*
	git -C "$repo" archive "$1" | tar -C "$work/archive" -xf -
	rm -rf "$work/full" && cp -a "$2" "$work/full"
	find "$work/full" -depth -type d -empty -delete # git archive leaves them out
	diff -r --no-dereference "$work/full" "$work/archive"
}
try "git archive gives it back" from_git refs/kv/app "$src"
try "both namespaces are one tree" [ "$(git -C "$repo" rev-parse 'refs/kv/app^{tree}')" = "$(git -C "$repo" rev-parse 'refs/kv/synced^{tree}')" ]

# edit TITLE COMMAND: the same command on the disk and in the mount, then the same tree.
edit() {
	for top in "$disk" "$app"; do
		(cd "$top/etc" && sh -ec "$1") || { echo "failed in $top"; return 1; }
	done
	same "$disk" "$app"
	until_settled app
	from_git refs/kv/app "$disk"
}
cat >"$work/change.patch" <<'E'
--- a/poem
+++ b/poem
@@ -1,3 +1,4 @@
+zero
 ONE
 two
 three
E
export work
before=$(git -C "$repo" rev-parse refs/kv/app)
try "sed -i" edit "sed -i 's/one/ONE/' poem"
try "patch" edit 'patch -s -p1 < $work/change.patch'
try "vim" edit 'vim -N -u NONE -i NONE -es -c "g/two/s//TWO/" -c "wq" poem'
try "perl -pi" edit "perl -pi -e 's/three/THREE/' poem"
try "ed" edit 'printf "a\nlast\n.\nw\nq\n" | ed -s poem'
try "sort -o" edit "sort -o poem poem"
try "echo >>" edit "echo appended >> poem"
try "cp over, mv, ln -sf, rm" edit "cp poem verse; mv verse strophe; ln -sf strophe link; cp poem link; rm poem"
try "chmod" edit "chmod +x strophe; chmod -x script"
try "mkdir, mv of a folder, rmdir" edit "mkdir -p x/y; mv empty x/y/moved; rmdir x/y/moved/deep"
try "install, touch, truncate" edit "install -m 755 strophe installed; touch touched; truncate -s 10 installed"
try "git apply" edit 'printf "%s\n" "--- a/strophe" "+++ b/strophe" "@@ -1 +1,2 @@" "+by git" "$(head -n 1 strophe | sed "s/^/ /")" > $work/p; git apply --unidiff-zero --unsafe-paths $work/p || patch -s -p1 < $work/p'
try "vim that writes in place (backupcopy=yes)" edit 'vim -N -u NONE -i NONE -es --cmd "set backupcopy=yes" -c "%s/^/  /" -c "wq" strophe'
try "vim without a backup (nowritebackup)" edit 'vim -N -u NONE -i NONE -es --cmd "set nowritebackup" -c "%s/^ //" -c "wq" strophe'
try "find -exec sed -i over many" edit "find . -name '*.conf' -type f | head -n 20 | xargs -r sed -i -e '1s/^/# edited\n/'"

history() {
	git -C "$repo" diff --name-only "$before" refs/kv/app >"$work/changed"
	(cd "$work" && diff -rq --no-dereference src disk || true) >"$work/differing"
	for f in poem strophe installed link script; do
		grep -qx "etc/$f" "$work/changed" || { echo "$f is not in git diff"; return 1; }
	done
	git -C "$repo" show "$before:etc/poem" | cmp - "$src/etc/poem"
	git -C "$repo" log --format=%s "$before..refs/kv/app" -- etc/poem | grep -q poem
	[ -z "$(git -C "$repo" rev-list --min-parents=2 refs/kv/app)" ]
}
try "stock git: diff, show of the old value, log of a key" history

outside() { # a repository of the user's own whose work tree is the namespace
	g="git --git-dir=$work/own.git --work-tree=$app -c user.name=A -c user.email=a@example.org"
	git init -q --bare "$work/own.git" && git --git-dir="$work/own.git" config core.bare false
	$g add -A
	$g commit -qm all
	[ -z "$($g status --porcelain)" ]
	echo edited >>"$app/etc/strophe" && [ "$($g status --porcelain)" = " M etc/strophe" ]
	$g checkout -q -- .
	[ -z "$($g status --porcelain)" ]
	same "$disk" "$app"
}
try "git with its work tree in the mount: add, commit, status, checkout" outside

readers() {
	for c in "grep -rh root . | sort" "find . | sort" "find . -type f -exec md5sum {} + | sort" "tar -cf - --sort=name --mtime=@0 --format=ustar . | md5sum" "cat \$(find . -type f | sort | head -n 50) | wc" "ls -R" "du -a --apparent-size . | grep -c ."; do
		[ "$(cd "$disk/etc" && sh -c "$c")" = "$(cd "$app/etc" && sh -c "$c")" ] || { echo "differs: $c"; return 1; }
	done
}
try "grep -r, find, tar, cat, ls -R see what is there" readers

removed() {
	rm -rf "$app/etc"
	[ -z "$(ls -A "$app")" ]
	rmdir "$app"
	[ -n "$(git -C "$repo" for-each-ref refs/kv-archive/app)" ]
}
try "rm -rf and rmdir: gone from the mount, kept in the archive" removed
finish
