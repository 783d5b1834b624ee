# SPDX-License-Identifier: MIT
# The harness of the mount tests in shell: `. lib.sh`, then start_mount, then `try TITLE COMMAND...` for each case, then finish.
# Variables: $repo, $mnt, $work (temporary, private), $LEDGERFS, $KVTOOL.  See lib.py for the rules; this is its small sister.

here=$(cd "$(dirname "$0")" && pwd)
: "${LEDGERFS:=$here/../../build/fs/ledgerfs}" "${KVTOOL:=$here/../../build/tests/mount/kvtool}"
[ -e /dev/fuse ] || { echo "1..0 # SKIP no /dev/fuse"; exit 77; }
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null LC_ALL=C.UTF-8
work=$(mktemp -d "${TMPDIR:-/tmp}/ledgerfs-test-XXXXXX")
export HOME="$work"
repo=$work/repo.git mnt=$work/mnt
daemon= cases=0 failed=0
[ -n "$(ls /sys/fs/fuse/connections 2>/dev/null)" ] || mount -t fusectl none /sys/fs/fuse/connections 2>/dev/null || true

# Frees a daemon that hangs in the kernel (its connection's abort file), unmounts, cleans up.
clean_up() {
	minor=$(findmnt -n -o MAJ:MIN "$mnt" 2>/dev/null | tail -n 1 | sed 's/.*://; s/ //g')
	if [ -n "$minor" ]; then
		fusermount3 -u "$mnt" 2>/dev/null || echo 1 >"/sys/fs/fuse/connections/$minor/abort" 2>/dev/null
		umount -l "$mnt" 2>/dev/null
	fi
	[ -z "$daemon" ] || kill -9 "$daemon" 2>/dev/null
	[ -n "${KEEP:-}" ] || rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM HUP

# start_mount [OPTIONS...]: a daemon in the foreground, its stderr in $work/stderr; returns when the mount answers.
start_mount() {
	mkdir -p "$mnt"
	"$LEDGERFS" -f -o init "$@" "$repo" "$mnt" 2>"$work/stderr" &
	daemon=$!
	"${PYTHON:-python3}" "$here/wait_mount.py" "$mnt" "$daemon" || {
		echo "Bail out! no mount: $(cat "$work/stderr")"
		exit 1
	}
}

# try TITLE COMMAND...: one case; COMMAND's output is shown when it fails.
try() {
	title=$1
	shift
	cases=$((cases + 1))
	(set -e; "$@") >"$work/out" 2>&1 # not inside an `if`: set -e would not work there
	status=$?
	if [ $status = 0 ]; then
		echo "ok $cases - $title"
	else
		echo "not ok $cases - $title (status $status)"
		sed 's/^/# /' "$work/out"
		failed=$((failed + 1))
	fi
}

# same A B: two files or trees are equal, byte for byte, names and x bits too.
same() {
	diff -r --no-dereference "$1" "$2" && listing "$1" >"$work/a" && listing "$2" >"$work/b" && diff "$work/a" "$work/b"
}
listing() { (cd "$1" && find . -printf '%y %p %l\n' | sort && find . -type f -perm /111 | sort); }

commits() { git -C "$repo" rev-list --count "refs/kv/$1"; }

silent() { cat "$work/stderr" && [ ! -s "$work/stderr" ]; }

# finish: unmounts, looks at the daemon's words and at the repository, prints the plan.
finish() {
	fusermount3 -u "$mnt" && wait "$daemon"
	try "the daemon ended well" [ $? = 0 ]
	daemon=
	try "it said nothing" silent
	try "git fsck --strict" git -C "$repo" fsck --strict --no-dangling
	echo "1..$cases"
	[ "$failed" = 0 ] || echo "# replay: $0"
	[ "$failed" = 0 ]
}
