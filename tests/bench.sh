#!/bin/sh
# The programs of bench/nested, small: what they are compared by, of the reference evaluator and of the executable, item by
# item and in blocks; and their gradients are those of central differences. python3 makes their inputs.
. "${top_srcdir:-.}/tests/lib.sh"
command -v python3 >/dev/null && python3 -c '' 2>/dev/null || skip_all "no python3"

sizes="B=2 T=35 D=6 N=2 L=32 H=5 C=16 TASKS=3 SHOTS=4"
cp "$top_srcdir"/bench/nested/*.nl "$scratch/"
# shellcheck disable=SC2086
python3 "$top_srcdir/bench/inputs.py" "$scratch" nested $sizes

# constants PROGRAM: those of the sizes that it has
constants() {
    for size in $sizes CHECK=1 STEPS=2; do
        ! grep -q "^const ${size%=*} " "$1" || printf ' -D %s' "$size"
    done
}

# numbers OUT OPTIONS..: what the program reports
numbers() {
    out=$1
    shift
    "$NLC" run --float=f64 "$@" "$program" --quiet --log-every 1 --metrics "$scratch/metrics" >/dev/null &&
        grep '"train"' "$scratch/metrics" >"$out"
}

agree() {
    # shellcheck disable=SC2046
    set -- $(constants "$program")
    numbers "$scratch/slow" --reference "$@" && numbers "$scratch/items" --clocks=item "$@" && numbers "$scratch/fast" "$@" &&
        "$TOOL" close "$scratch/slow" "$scratch/items" 1e-9 && "$TOOL" close "$scratch/slow" "$scratch/fast" 1e-9
}

# shellcheck disable=SC2046
gradients() { "$NLC" gradcheck $(constants "$program") "$program"; }

for program in "$scratch"/*.nl; do
    name=$(basename "$program" .nl)
    [ "$name" != keep ] || continue
    check "$name: evaluator and executable agree" agree
    check "$name: gradients" gradients
done
finish
