#!/bin/sh
# SPDX-License-Identifier: MIT
# Every C file is as clang-format 14 (Debian 12's) leaves it; other versions differ in details, so with them this is skipped.
cd "$(dirname "$0")/../.." || exit 1
case $(clang-format --version 2>/dev/null) in
*' 14.'*) ;;
*) echo "no clang-format 14"; exit 77 ;;
esac
find fs ledger cli include tests -name '*.[ch]' -exec clang-format --dry-run -Werror {} +
