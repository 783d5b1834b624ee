# SPDX-License-Identifier: MIT
# To be sourced.  What a script needs for compare-and-swap on a mounted ledger, and how it tries again.

CONFLICT=75 # EX_TEMPFAIL of sysexits.h: somebody was faster

# retry COMMAND...: until it ends with another status than $CONFLICT.  The pause before the next try is random between
# nothing and a limit that doubles from 4 ms to 512 ms ("full jitter"): losers that wait equally long would meet again.
retry() {
	retry_limit=4
	while :; do
		retry_status=0
		"$@" || retry_status=$?
		[ "$retry_status" -eq "$CONFLICT" ] || return "$retry_status"
		retry_ms=$(($(od -An -N2 -tu2 /dev/urandom) % retry_limit))
		sleep "$(printf '0.%03d' "$retry_ms")"
		[ "$retry_limit" -ge 512 ] || retry_limit=$((retry_limit * 2))
	done
}

# blob_of KEY: the name of its committed value, or "absent".  Ask for it before the value is read: a value that is newer
# than its name makes the swap fail, one that is older cannot be.
blob_of() {
	if blob_text=$(getfattr --absolute-names --only-values -n user.kv.blob -- "$1" 2>&1); then
		printf '%s\n' "$blob_text"
	else
		case $blob_text in
		*'No such file'*) echo absent ;;
		*) printf '%s\n' "$blob_text" >&2 && return 1 ;;
		esac
	fi
}

# swap KEY BLOB VALUE: sets the value in one call if the key still is at BLOB (or absent); $CONFLICT if not.
swap() {
	if [ "$2" = absent ]; then
		set -- "$(dirname -- "$1")" "absent.$(basename -- "$1")" "$3"
	fi
	swap_text=$(LC_ALL=C setfattr -n "user.kv.swap.$2" -v "$3" -- "$1" 2>&1) && return
	case $swap_text in
	*'Device or resource busy'* | *'No such file'*) return "$CONFLICT" ;;
	*) printf '%s\n' "$swap_text" >&2 && return 1 ;;
	esac
}
