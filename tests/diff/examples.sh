#!/bin/sh
# The programs of tests/lang, tests/golden and examples, as the random ones: evaluator against executable, teams of threads,
# interruptions (program.sh).
. "${top_srcdir:-.}/tests/lib.sh"
export NLC TOOL

# agrees FILE.nl OPTIONS..: by a team (name that ends in an even digit) and as compiled
agrees() {
    name=$(basename "$1" .nl)
    for turn in 0 1; do
        sh "$tests/diff/program.sh" "$scratch" "$name$turn" "$@"
        [ -f "$scratch/$name$turn.ok" ] || { cat "$scratch/$name$turn.log"; return 1; }
    done
}

for program in "$tests"/lang/*.nl "$tests"/golden/*.nl; do
    check "$(basename "$program" .nl)" agrees "$program"
done
F32_TOLERANCE=0.2
export F32_TOLERANCE
check "notebook" agrees "$top_srcdir/examples/notebook/notebook.nl"
[ -z "$LONG" ] || check "permuted digits" agrees "$top_srcdir/examples/permuted/permuted.nl" -D TASKS=1 -D EPOCHS=1
finish
