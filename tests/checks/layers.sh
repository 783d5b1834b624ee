#!/bin/sh
# SPDX-License-Identifier: MIT
# Dependencies run one way: ledger/ and include/ never name FUSE, fs/ and cli/ never name libgit2 nor look into ledger/.
cd "$(dirname "$0")/../.." || exit 1
bad=0
none() { # PATTERN WHY FILES...
	pattern=$1 why=$2
	shift 2
	if grep -rnE "$pattern" --include='*.[ch]' --include=meson.build "$@"; then
		echo "not allowed: $why"
		bad=1
	fi
}
none '#include.*[Ff]use|\bfuse_[a-z]|FUSE_[A-Z]|fuse3' "FUSE in the ledger" ledger include/ledger
none '#include.*git2|\bgit_(oid|odb|repository|reference|object|commit|tree|treebuilder|blob|buf|strarray|config|signature|error|libgit2|transaction)_[a-z]|dependency.*libgit2|\blibgit2\b.*[]]' "libgit2 outside the ledger" fs cli include
none '#include [<"](\.\./)?ledger/(store|internal|fail|tree|edit|group|queue)[^/]*\.h' "the ledger's inside" fs cli
exit $bad
