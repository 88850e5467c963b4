#!/bin/sh
# Broken programs: every program of the tests, the examples and the standard library, damaged at a few places. nlc must
# end with 0 or 1, whatever it reads: no crash, no hang. BROKEN=N sets how many variants of each.
. "${top_srcdir:-.}/tests/lib.sh"
copies=${BROKEN:-6}

survives() {
    file=$1 k=0
    while [ "$k" -lt "$copies" ]; do
        k=$((k + 1))
        "$TOOL" mutate "$file" "$k" > "$scratch/broken.nl"
        status=0
        (cd "$(dirname "$file")" && timeout 60 "$NLC" check "$scratch/broken.nl") >"$scratch/said" 2>&1 || status=$?
        [ "$status" -le 1 ] && continue
        echo "variant $k of $file ended with $status:"
        tail -n 20 "$scratch/said"
        return 1
    done
}

for program in "$tests"/lang/*.nl "$tests"/errors/*.nl "$top_srcdir"/examples/*/*.nl "$top_srcdir"/stdlib/*.nl; do
    check "$(basename "$program")" survives "$program"
done
finish
