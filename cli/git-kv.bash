# SPDX-License-Identifier: MIT
# Completion of `git kv` for bash; git's own completion calls _git_kv.
_git_kv()
{
	local commands="get set del mset list history status ns recover remote stargate"
	local expect="--expect-tree= --expect-commit= --expect-version= --expect-blob="
	local global="--repo= --ns= --json --null --remote= --local"
	local ns=main command= i
	for ((i = 2; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--ns) ns=${COMP_WORDS[i + 1]} ;;
		get | set | del | mset | list | history | status | ns | recover | remote | stargate) command=${command:-${COMP_WORDS[i]}} ;;
		esac
	done
	case "$command,$cur" in
	,--*) __gitcomp "$global" ;;
	,*) __gitcomp "$commands" ;;
	get,--* | status,--* | recover,--* | remote,--*) __gitcomp "$global" ;;
	set,--*) __gitcomp "--file= --executable $expect $global" ;;
	del,--*) __gitcomp "--ignore-unmatch $expect $global" ;;
	mset,--*) __gitcomp "--file= --ignore-unmatch $expect $global" ;;
	list,--*) __gitcomp "--prefix= --long $global" ;;
	history,--*) __gitcomp "--max-count= --follow $global" ;;
	ns,--*) __gitcomp "--archived --force --version= $expect $global" ;;
	stargate,--*) __gitcomp "--mirror= --upstream=" ;;
	# The first thousand keys are enough to go on typing.
	get,* | set,* | del,* | history,*) __gitcomp_nl "$(__git kv --ns "$ns" list --prefix "$cur" 2>/dev/null | head -n 1000)" ;;
	ns,*) __gitcomp "list create delete restore rename $(__git kv ns list 2>/dev/null)" ;;
	remote,*) __gitcomp "setup update off $(__git remote 2>/dev/null)" ;;
	stargate,*) __gitcomp "init sync" ;;
	esac
}
