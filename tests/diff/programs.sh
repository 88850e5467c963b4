#!/bin/sh
# Random programs: the reference evaluator against the executable, and the executable against itself (program.sh).
# GENERATOR is what makes them, NPROGRAMS=N sets how many, FIRST where the seeds begin, JOBS how many at a time.
. "${top_srcdir:-.}/tests/lib.sh"
: "${GENERATOR:=gen_program}" "${NPROGRAMS:=200}" "${FIRST:=1}" "${JOBS:=$(nproc 2>/dev/null || echo 2)}"
group=20
GEN=$top_builddir/tests/diff/$GENERATOR
export NLC TOOL GEN

end=$((FIRST + NPROGRAMS - 1))
seq "$FIRST" "$end" | xargs -P "$JOBS" -n 1 sh "$tests/diff/program.sh" "$scratch"

# The seeds from $1 to $2 are all right.
agree() {
    bad=0 seed=$1
    while [ "$seed" -le "$2" ]; do
        [ -f "$scratch/$seed.ok" ] || { bad=1; cat "$scratch/$seed.log"; }
        seed=$((seed + 1))
    done
    return $bad
}

from=$FIRST
while [ "$from" -le "$end" ]; do
    to=$((from + group - 1))
    [ "$to" -le "$end" ] || to=$end
    check "$GENERATOR $from to $to" agree "$from" "$to"
    from=$((to + 1))
done
finish
