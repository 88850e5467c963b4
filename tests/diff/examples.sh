#!/bin/sh
# The programs of tests/lang, tests/golden, tests/levels and examples, as the random ones: evaluator against executable, teams of threads,
# interruptions (program.sh).
. "${top_srcdir:-.}/tests/lib.sh"
export NLC TOOL

# agrees FILE.nl OPTIONS..: by a team or as compiled, in turns (program.sh takes names that end in an even digit by a team)
turn=0
agrees() {
    turn=$((1 - turn))
    name=$(basename "$1" .nl)$turn
    sh "$tests/diff/program.sh" "$scratch" "$name" "$@"
    [ -f "$scratch/$name.ok" ] || { cat "$scratch/$name.log"; return 1; }
}

for program in "$tests"/lang/*.nl "$tests"/golden/*.nl "$tests"/levels/*.nl; do
    check "$(basename "$program" .nl)" agrees "$program"
done
F32_TOLERANCE=0.2
export F32_TOLERANCE
for program in notebook notebook; do check "$program" agrees "$top_srcdir/examples/notebook/notebook.nl"; done
[ -z "$LONG" ] || check "permuted digits" agrees "$top_srcdir/examples/permuted/permuted.nl" -D TASKS=1 -D EPOCHS=1
finish
