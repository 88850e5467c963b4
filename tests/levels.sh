#!/bin/sh
# Levels inside models, blocks and rules (tests/levels): what each program reports, against numbers computed elsewhere (see the
# comment at the head of each), through the reference evaluator and as an executable in f64, and in f32.
. "${top_srcdir:-.}/tests/lib.sh"

for program in "$tests"/levels/*.nl; do
    name=$(basename "$program" .nl)
    check "$name, reference" reports "$program" 1e-8 --float=f64 --reference
    check "$name, f64" reports "$program" 1e-8 --float=f64
    check "$name, f32" reports "$program" 1e-2
done
finish
