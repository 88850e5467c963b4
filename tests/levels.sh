#!/bin/sh
# Levels inside models, blocks and rules (tests/levels): what each program reports, against numbers computed elsewhere (see the
# comment at the head of each), through the reference evaluator and as an executable in f64, and in f32.
. "${top_srcdir:-.}/tests/lib.sh"

# reports FILE.nl TOLERANCE OPTIONS..
reports() {
    program=$1 tolerance=$2
    shift 2
    rm -f "$scratch/metrics"
    "$NLC" run "$@" "$program" --quiet --metrics "$scratch/metrics" >"$scratch/out" || return 1
    "$TOOL" records "$scratch/metrics" >"$scratch/records" && "$TOOL" close "${program%.nl}.out" "$scratch/records" "$tolerance"
}

for program in "$tests"/levels/*.nl; do
    name=$(basename "$program" .nl)
    check "$name, reference" reports "$program" 1e-8 --float=f64 --reference
    check "$name, f64" reports "$program" 1e-8 --float=f64
    check "$name, f32" reports "$program" 1e-2
done
finish
