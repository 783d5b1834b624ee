#!/bin/sh
# SPDX-License-Identifier: MIT
# ratelimit.sh KEY LIMIT WINDOW TRIES: asks TRIES times to be let through in the time window of that number; prints how many
# times it was.  The key holds "WINDOW COUNT"; a later window starts again from nothing, an earlier one is over.
set -eu
. "$(dirname -- "$0")/retry.sh"

take() { # 0: let through, 1: not
	blob=$(blob_of "$key") || exit
	at=0 count=0
	if [ "$blob" != absent ]; then
		text=$(cat -- "$key") || return "$CONFLICT"
		at=${text% *} count=${text#* }
	fi
	[ "$window" -ge "$at" ] || return 1
	[ "$window" -eq "$at" ] || count=0
	[ "$count" -lt "$limit" ] || return 1
	swap "$key" "$blob" "$window $((count + 1))"
}

key=$1 limit=$2 window=$3 tries=$4 passed=0
while [ "$tries" -gt 0 ]; do
	if retry take; then
		passed=$((passed + 1))
	fi
	tries=$((tries - 1))
done
echo "$passed"
