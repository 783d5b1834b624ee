#!/bin/sh
# SPDX-License-Identifier: MIT
# Every public header compiles alone, twice in a row.
cd "$(dirname "$0")/../.." || exit 1
bad=0
for h in include/ledger/*.h; do
	name=${h#include/}
	printf '#include <%s>\n#include <%s>\nint unused;\n' "$name" "$name" |
		${CC:-cc} -std=gnu17 -D_GNU_SOURCE -Wall -Wextra -Wstrict-prototypes -Werror -Iinclude -fsyntax-only -x c - || { echo "not alone: $h"; bad=1; }
done
exit $bad
