#!/bin/sh
# The whole text of every message of the scanner, the grammar and the names (tests/messages): what `nlc check NAME.nl`
# says there is NAME.err, to the letter. Files part_*.nl are used by others. UPDATE=1 writes the .err files anew (then
# look at the difference).
. "${top_srcdir:-.}/tests/lib.sh"
case $NLC in /*) ;; *) NLC=$PWD/$NLC ;; esac
cd "$tests/messages" || exit 1
passed=0 failed=0

says_exactly() {
    status=0
    "$NLC" check "$1.nl" > "$scratch/said" 2>&1 || status=$?
    [ -z "$UPDATE" ] || cp "$scratch/said" "$1.err"
    case $1 in warn-*) want=0 ;; *) want=1 ;; esac        # a warning stops nothing
    [ "$status" = $want ] || { echo "exit status $status"; return 1; }
    diff "$1.err" "$scratch/said"
}

for err in *.err; do
    name=${err%.err}
    check "$name" says_exactly "$name"
    if [ -s "$scratch/log" ]; then failed=$((failed + 1)); else passed=$((passed + 1)); fi
done
finish
echo "# $passed passed, $failed failed"
