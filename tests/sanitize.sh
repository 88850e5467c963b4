#!/bin/sh
# The compiler and the runtime once more, with the address and undefined behaviour sanitizers, in a folder of their own;
# then the tests that feed them broken and sound programs.
. "${top_srcdir:-.}/tests/lib.sh"
folder=$top_builddir/sanitize
builds() {
    mkdir -p "$folder" && cd "$folder" || return 1
    [ -f Makefile ] || "$top_srcdir/configure" -q --enable-sanitizers CC="$CC" CFLAGS='-O1 -g' || return 1
    ${MAKE:-make} -s all tests/tool
}
# All tests of a script pass with the compiler of that folder.
passes() {
    script=$1
    NLC=$folder/nlc top_builddir=$folder ASAN_OPTIONS=detect_leaks=0 sh "$tests/$script" > "$scratch/tap" 2>&1 || return 1
    ! grep -A 30 '^not ok' "$scratch/tap"
}
check "builds with sanitizers" builds
check "broken programs" passes broken.sh
check "language tests" passes lang.sh
check "command line" passes cli.sh
check "whole messages" passes messages.sh
MUTATIONS=400
export MUTATIONS
check "mutations" passes mutate.sh
finish
