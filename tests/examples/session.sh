#!/bin/sh
# SPDX-License-Identifier: MIT
# session.sh KEY NAME VALUE...: sets NAME=VALUE lines of a session, one update each, and counts them in visits=N.  It saves
# as editors do, with a new file renamed over the key; the expectation makes the rename fail when the session has changed.
set -eu
. "$(dirname -- "$0")/retry.sh"

update() { # NAME VALUE
	blob=$(blob_of "$key") || return
	if [ "$blob" = absent ]; then
		swap "$key" absent "visits=0" # a swap that finds it there is as good
		return "$CONFLICT"
	fi
	# setfattr hands the expectation on to this shell when it exits.
	setfattr -n user.kv.expect-blob -v "$blob" -- "$key" || return "$CONFLICT"
	# *~ is a scratch name: the file is no key and makes no commit.
	awk -v name="$1" -v value="$2" '
		{ at = index($0, "="); field = substr($0, 1, at - 1) }
		field == "visits" { print "visits=" substr($0, at + 1) + 1; next }
		field != name { print }
		END { print name "=" value }' "$key" >"$key.$$~" || return
	text=$(LC_ALL=C mv -f -- "$key.$$~" "$key" 2>&1) && return
	case $text in
	*'temporarily unavailable'*) return "$CONFLICT" ;;
	*) printf '%s\n' "$text" >&2 && return 1 ;;
	esac
}

key=$1
shift
while [ $# -gt 1 ]; do
	retry update "$1" "$2"
	shift 2
done
