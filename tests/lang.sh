#!/bin/sh
# One program per construct (tests/lang): what its tests report, against numbers worked out by hand, and (tests/golden) against
# numbers computed elsewhere; in f64, in f32, and
# through the reference evaluator.
. "${top_srcdir:-.}/tests/lib.sh"

for program in "$tests"/lang/*.nl "$tests"/golden/*.nl; do
    name=$(basename "$program" .nl)
    check "$name, f64" reports "$program" 1e-10 --float=f64 --verify
    check "$name, f32" reports "$program" 2e-5
    check "$name, reference" reports "$program" 1e-10 --float=f64 --reference
done
finish
