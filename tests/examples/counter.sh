#!/bin/sh
# SPDX-License-Identifier: MIT
# counter.sh KEY TIMES: adds one, TIMES times.  Any number of these may run at once; none is lost.
set -eu
. "$(dirname -- "$0")/retry.sh"

add_one() {
	blob=$(blob_of "$key") || return
	value=0
	if [ "$blob" != absent ]; then
		value=$(cat -- "$key") || return "$CONFLICT" # deleted meanwhile
	fi
	swap "$key" "$blob" "$((value + 1))"
}

key=$1
times=$2
while [ "$times" -gt 0 ]; do
	retry add_one
	times=$((times - 1))
done
