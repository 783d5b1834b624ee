#!/bin/sh
# SPDX-License-Identifier: MIT
# lease.sh KEY ME MILLISECONDS TERMS [crash]: becomes leader TERMS times; each time it appends "TERM ME" to KEY.work and hands
# the lease back, with `crash` it just stops.  The key holds "HOLDER TERM EXPIRES": holder "-" when free, and when it
# expires in milliseconds of the epoch.  TERM grows by one with every change of leader, so that work can be fenced.
set -eu
. "$(dirname -- "$0")/retry.sh"

acquire() { # sets term and mine; $CONFLICT when somebody was faster or leads
	blob=$(blob_of "$key") || return
	holder=- term=0 expires=0 now=$(($(date +%s%N) / 1000000))
	if [ "$blob" != absent ]; then
		text=$(cat -- "$key") || return "$CONFLICT"
		holder=${text%% *} expires=${text##* }
		term=${text#* } term=${term% *}
	fi
	[ "$holder" = - ] || [ "$now" -ge "$expires" ] || return "$CONFLICT"
	term=$((term + 1)) mine="$me $((term)) $((now + ttl))"
	swap "$key" "$blob" "$mine"
}

release() { # only while it is still ours
	blob=$(blob_of "$key") || return
	[ "$(cat -- "$key")" = "$mine" ] || return 0
	swap "$key" "$blob" "- $term 0" || [ $? -eq "$CONFLICT" ]
}

key=$1 me=$2 ttl=$3 terms=$4
while [ "$terms" -gt 0 ]; do
	retry acquire
	echo "$term $me" >>"$key.work"
	[ "${5-}" != crash ] || exit 0
	release
	terms=$((terms - 1))
done
