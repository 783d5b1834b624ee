#!/bin/sh
# SPDX-License-Identifier: MIT
# bench.sh [BUILD]: git kv in numbers, beside stock git's plumbing in the same run.  Not a test.  SECONDS_EACH=5 for the pushes.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "${1:-$top/build}" && pwd)
PATH=$build/cli:$PATH
work=$(mktemp -d "${TMPDIR:-/tmp}/kv-bench-XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
export HOME="$work" GIT_CONFIG_NOSYSTEM=1
git config --global gc.auto 0
git config --global user.name bench
git config --global user.email bench@example.org
each=${SECONDS_EACH:-5}

now() { date +%s%N; }
# took WHAT START N UNIT: milliseconds, and N a second.
took() { awk -v w="$1" -v a="$2" -v b="$(now)" -v n="$3" -v u="$4" 'BEGIN { t = (b - a) / 1e9; printf "%-58s %9.1f ms %12.0f %s/s\n", w, t * 1000, n / t, u }'; }

stream() { # COMMITS: fast-import of as many one-key commits
	awk -v n="$1" 'BEGIN { for (i = 1; i <= n; i++) {
		printf "commit refs/kv/main\nmark :%d\ncommitter b <b@e> %d +0000\ndata <<E\nset k\n\nKV-Version: %d\nE\n", i, 1700000000 + i, i
		if (i > 1) printf "from :%d\n", i - 1
		printf "M 100644 inline %02d/k%d\ndata <<E\n%d\nE\n\n", i % 100, i % 1000, i } }'
}
keys() { # N: fast-import of one commit with N keys in folders of 1,000
	printf 'commit refs/kv/main\ncommitter b <b@e> 1700000000 +0000\ndata <<E\nkeys\n\nKV-Version: 1\nE\n'
	awk -v n="$1" 'BEGIN { for (i = 0; i < n; i++) printf "M 100644 inline d%03d/k%06d\ndata <<E\n%d\nE\n", i / 1000, i, i; print "" }'
}

echo "== mset of 10,000 keys, one commit"
awk 'BEGIN { for (i = 0; i < 10000; i++) printf "{\"op\":\"set\",\"key\":\"d%02d/k%05d\",\"value\":\"value %d\"}\n", i % 100, i, i }' >batch
git init -q --bare mset.git
t=$(now); git kv --repo mset.git mset --file batch; took "git kv mset (durable)" "$t" 10000 keys
git init -q --bare import.git
keys 10000 >import
t=$(now); git -C import.git fast-import --quiet <import; took "git fast-import (no sync)" "$t" 10000 keys

echo "== one set, one get: whole processes"
t=$(now); for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do git-kv --repo mset.git set one $i; done; took "git-kv --repo set" "$t" 20 sets
t=$(now); for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do git-kv --repo mset.git get one; done >/dev/null; took "git-kv --repo get" "$t" 20 gets
t=$(now); for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do git -C mset.git cat-file blob refs/kv/main:one; done >/dev/null; took "git cat-file blob" "$t" 20 gets

echo "== list of 100,000 keys"
git init -q --bare list.git
keys 100000 | git -C list.git fast-import --quiet
t=$(now); git-kv --repo list.git list >out1; took "git kv list" "$t" 100000 keys
t=$(now); git -C list.git ls-tree -r --name-only refs/kv/main >out2; took "git ls-tree -r --name-only" "$t" 100000 keys
cmp out1 out2
t=$(now); git-kv --repo list.git list --prefix d050/k0500 >out1; took "git kv list --prefix d050/k0500 ($(wc -l <out1) keys)" "$t" "$(wc -l <out1)" keys
t=$(now); git-kv --repo list.git list --json >out1; took "git kv list --json" "$t" 100000 keys
t=$(now); git-kv --repo list.git list --long --prefix d050/ >out1; took "git kv list --long of 1,000" "$t" 1000 keys

echo "== history of 100,000 commits, 1,000 keys"
git init -q --bare hist.git
stream 100000 | git -C hist.git fast-import --quiet
t=$(now); git-kv --repo hist.git history >out1; took "git kv history" "$t" 100000 commits
t=$(now); git -C hist.git log --format='%H %ct %s %(trailers:key=KV-Version,valueonly)' refs/kv/main >out2; took "git log" "$t" 100000 commits
t=$(now); git-kv --repo hist.git history 42/k42 >out1; took "git kv history KEY ($(wc -l <out1) commits)" "$t" 100000 commits
t=$(now); git -C hist.git log --format=%H refs/kv/main -- 42/k42 >out2; took "git log -- KEY" "$t" 100000 commits

push_for() { # CLONE KEY NAMESPACE SECONDS
	end=$(($(date +%s) + $4))
	n=0
	while [ "$(date +%s)" -lt "$end" ]; do
		git-kv --repo "$1" --ns "$3" set "$2" $n || echo "status $?" >>failed
		n=$((n + 1))
	done
}
hub() { # NAME CLIENTS
	git kv stargate init "$1.git"
	i=0
	while [ $i -lt "$2" ]; do
		git clone -q "$1.git" "$1-$i" 2>/dev/null
		git kv --repo "$1-$i" remote setup
		i=$((i + 1))
	done
}
pushes() { # TITLE NAME CLIENTS one|own
	hub "$2" "$3"
	t=$(now)
	i=0
	while [ $i -lt "$3" ]; do
		[ "$4" = own ] && ns=n$i || ns=main
		push_for "$2-$i" "k$i" "$ns" "$each" &
		i=$((i + 1))
	done
	wait
	n=$(git -C "$2.git" for-each-ref --format='%(refname)' refs/kv | while read -r r; do git -C "$2.git" rev-list --count "$r"; done | awk '{ s += $1 } END { print s }')
	took "$1" "$t" "$n" pushes
}
echo "== pushes to a Stargate over file transport, $each s each"
pushes "1 client" one 1 one
pushes "8 clients, one namespace" eight 8 one
pushes "8 clients, a namespace each" own 8 own
git init -q --bare plain.git
git clone -q plain.git plain 2>/dev/null
t=$(now); n=0; end=$(($(date +%s) + each)); tree=$(git -C plain hash-object -t tree -w /dev/null); tip=
while [ "$(date +%s)" -lt "$end" ]; do
	tip=$(echo x | git -C plain commit-tree "$tree" ${tip:+-p "$tip"})
	git -C plain push -q origin "$tip:refs/kv/main"
	n=$((n + 1))
done
took "stock git commit-tree + push, no hook, 1 client" "$t" $n pushes
[ ! -e failed ] || { echo "failed writes:"; sort failed | uniq -c; }
