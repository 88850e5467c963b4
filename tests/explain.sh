#!/bin/sh
# nlc explain (tests/explain): the updates of each program, derived by the compiler, against those worked out by hand.
. "${top_srcdir:-.}/tests/lib.sh"

explains() {
    "$NLC" explain "$@" >"$scratch/out" && diff "${program%.nl}.out" "$scratch/out"
}

for program in "$tests"/explain/*.nl; do
    name=$(basename "$program" .nl)
    check "$name" explains "$program"
    check "$name, f64" explains --float=f64 "$program"
done
for program in "$tests"/levels/*.nl "$tests"/lang/*.nl; do
    [ -e "$program" ] || continue
    check "$(basename "$program") is explained" "$NLC" explain "$program"
done
finish
