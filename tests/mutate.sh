#!/bin/sh
# Broken copies of all programs of the tests, the examples and the library (tests/mutate.awk, MUTATIONS of them, the same in every run):
# the compiler ends by itself within ten seconds, with status 0, or 1 and a message; a sanitizer has nothing to say.
. "${top_srcdir:-.}/tests/lib.sh"
: "${MUTATIONS:=150}"
case $NLC in /*) ;; *) NLC=$PWD/$NLC ;; esac
command -v timeout >/dev/null || skip_all "no timeout command"

survives() {
    program=$1 seed=$2 status=0
    awk -v seed="$seed" -f "$tests/mutate.awk" "$program" > "$scratch/broken.nl"
    (cd "$(dirname "$program")" && timeout 10 "$NLC" graph "$scratch/broken.nl") > "$scratch/out" 2> "$scratch/err" || status=$?
    case $status in
        0) ;;
        1) [ -s "$scratch/err" ] || status=silent ;;
    esac
    grep -qE 'Sanitizer|runtime error' "$scratch/err" && status=sanitizer
    case $status in 0 | 1) return 0 ;; esac
    echo "seed $seed of $program: status $status"
    head -n 20 "$scratch/err"
    return 1
}

all_survive() {
    set -- "$top_srcdir"/examples/*/*.nl "$top_srcdir"/stdlib/*.nl "$tests"/lang/*.nl "$tests"/golden/*.nl "$tests"/errors/*.nl "$tests"/messages/*.nl
    count=$# bad=0 k=0
    while [ "$k" -lt "$MUTATIONS" ]; do
        eval "program=\${$((k * 7919 % count + 1))}"
        survives "$program" "$k" || bad=1
        k=$((k + 1))
    done
    return $bad
}

check "$MUTATIONS broken programs" all_survive
finish
