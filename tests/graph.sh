#!/bin/sh
# nlc graph (tests/graph): the levels of each program, as text and for Graphviz.
. "${top_srcdir:-.}/tests/lib.sh"

shows() {
    want=$1
    shift
    "$NLC" graph "$@" >"$scratch/out" && diff "$want" "$scratch/out"
}

for program in "$tests"/graph/*.nl; do
    name=$(basename "$program" .nl)
    check "$name" shows "${program%.nl}.out" "$program"
    check "$name, for Graphviz" shows "${program%.nl}.dot" --dot "$program"
done
for program in "$tests"/levels/*.nl "$tests"/lang/*.nl; do
    [ -e "$program" ] || continue
    check "the levels of $(basename "$program")" "$NLC" graph "$program"
done
finish
