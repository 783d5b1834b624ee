#!/bin/sh
# SPDX-License-Identifier: MIT
# The daemon's two ends: how it reports its start, and what signals do to it at any moment.  TAP; LEDGERFS is the program.
[ -c /dev/fuse ] && [ "$(id -u)" = 0 ] || { echo "1..0 # SKIP needs root and /dev/fuse"; exit 77; }
top=$(mktemp -d) && cd "$top" && mkdir mnt || exit 1
n=0
pid=

mounted() { grep -q " $top/mnt fuse.ledgerfs" /proc/mounts; }

end() {
	exec 5>&-
	[ -n "$pid" ] && kill -KILL "$pid" 2>/dev/null
	while mounted; do umount -l mnt || break; done
	cd / && rm -rf "$top"
}
trap end EXIT
trap 'exit 1' TERM INT HUP

# result STATUS TITLE: what is in `err` goes with a failure
result() {
	n=$((n + 1))
	[ "$1" = 0 ] && echo "ok $n - $2" && return
	echo "not ok $n - $2"
	sed 's/^/# /' err
	failed=1
}

# start OPTIONS...: in the foreground, as $pid; returns when it is mounted and answers
start() {
	"$LEDGERFS" -f "$@" -o init repo mnt 2>err &
	pid=$!
	until mounted; do kill -0 $pid 2>/dev/null || return 1; done
	stat mnt >/dev/null
}

# A signal at once after the mount, with one thread and with many: it ends with 0, says nothing, leaves no mount.
for mode in "" -s; do
	for sig in TERM INT HUP; do
		bad=0
		for round in 1 2 3 4 5 6 7 8; do
			start $mode || bad=1
			kill -$sig $pid
			wait $pid || bad=1
			[ -s err ] && bad=1
			mounted && bad=1
			pid=
		done
		result $bad "SIG$sig ends it ${mode:-with all threads}"
	done
done

# While a writer is at work: what was acknowledged is there, the ledger is whole.
start && mkdir mnt/app
(
	i=0
	while i=$((i + 1)); echo $i >mnt/app/k; do echo $i >acknowledged; done
) 2>/dev/null &
writer=$!
until [ -s acknowledged ] && [ "$(cat acknowledged)" -ge 20 ] 2>/dev/null; do kill -0 $pid || break; done
kill -TERM $pid
wait $pid
bad=$?
pid=
kill $writer 2>/dev/null
wait $writer 2>/dev/null
rm -f mnt/app/k && rmdir mnt/app 2>/dev/null # where it wrote on after the unmount
[ "$(git -C repo show refs/kv/app:k)" -ge "$(cat acknowledged)" ] 2>>err || bad=1
git -C repo fsck --strict >>err 2>&1 || bad=1
result $bad "SIGTERM beside a writer loses nothing"

# Somebody has a file open: it ends all the same, and says what is cut off.
start && echo old >mnt/app/k && exec 5>mnt/app/k && echo new >&5
kill -TERM $pid
wait $pid
bad=$?
pid=
exec 5>&- 2>/dev/null
mounted && bad=1
[ "$(git -C repo show refs/kv/app:k)" = old ] || bad=1
grep -q "in use" err || bad=1
result $bad "SIGTERM while a file is open"

# The daemon's report.
"$LEDGERFS" repo mnt 2>err && stat -f -c %T mnt | grep -q fuse && fusermount3 -u mnt
result $? "in the background: 0, and it answers"
unshare -m sh -c 'mount -t tmpfs none /dev && "$LEDGERFS" repo mnt' 2>err
[ $? = 32 ] && [ "$(wc -l <err)" = 1 ]
result $? "no FUSE device: 32, one line"
"$LEDGERFS" err mnt 2>err2
[ $? = 1 ] && [ "$(wc -l <err2)" = 1 ] && ! mounted
result $? "not a repository: 1, one line"

# A user's own mount; /dev/fuse with the rights that udev gives it.
mkdir dev home && chmod 755 . && chown nobody home && cp "$LEDGERFS" home/ledgerfs
unshare -m sh -c 'mount -t tmpfs none dev && mknod dev/fuse c 10 229 && chmod 666 dev/fuse && mount --bind dev/fuse /dev/fuse &&
	HOME=$PWD/home setpriv --reuid nobody --regid nogroup --clear-groups sh -ec "
	cd home
	mkdir m
	./ledgerfs -f -o init r.git m & pid=\$!
	until grep -q \"home/m fuse.ledgerfs\" /proc/mounts; do kill -0 \$pid; done
	mkdir m/app
	echo 1 >m/app/k
	kill -TERM \$pid
	wait \$pid
	! grep -q \"home/m fuse.ledgerfs\" /proc/mounts
	git -C r.git show refs/kv/app:k"' >out 2>err && [ "$(cat out)" = 1 ] && ! [ -s err ]
result $? "a user without privileges mounts, saves and ends by SIGTERM"

# mount(8) drops PATH: the program is found where it is installed.
unshare -m sh -c 'mount -t tmpfs none /usr/local/bin && cp "$LEDGERFS" /usr/local/bin/ledgerfs && top=$PWD &&
	mount -t fuse.ledgerfs -o noatime,nofail,_netdev "$top/repo" "$top/mnt" && [ "$(cat mnt/app/k)" = old ] && umount mnt &&
	echo "$top/repo $top/mnt fuse.ledgerfs defaults,noauto,x-systemd.automount 0 0" >fstab &&
	mount -T fstab "$top/mnt" && [ "$(cat mnt/app/k)" = old ] && umount mnt' 2>err
result $? "mount -t fuse.ledgerfs and fstab"

echo "1..$n"
exit ${failed:-0}
