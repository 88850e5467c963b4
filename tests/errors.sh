#!/bin/sh
# Wrong programs (tests/errors): every line that ends in `#! TEXT` has an error whose message contains TEXT, and no other
# line has one; the exit status is 1.
. "${top_srcdir:-.}/tests/lib.sh"

complains() {
    program=$1
    name=$(basename "$program")
    status=0
    "$NLC" check "$program" > "$scratch/said" 2>&1 || status=$?
    cat "$scratch/said"
    [ "$status" = 1 ] || { echo "exit status $status"; return 1; }
    grep -n '#! ' "$program" | sed 's/^\([0-9]*\):.*#! /\1 /' > "$scratch/want"
    while read -r line text; do
        grep "$name:$line:[0-9]*: error: " "$scratch/said" | grep -qF -- "$text" || { echo "line $line: no message with: $text"; return 1; }
    done < "$scratch/want"
    lines=$(cut -d' ' -f1 "$scratch/want" | sort -n | uniq | tr '\n' ' ')
    got=$(sed -n "s/^[^ ]*$name:\([0-9]*\):[0-9]*: error: .*/\1/p" "$scratch/said" | sort -n | uniq | tr '\n' ' ')
    [ "$lines" = "$got" ] || { echo "errors on lines $got, not $lines"; return 1; }
}

for program in "$tests"/errors/*.nl; do
    check "$(basename "$program" .nl)" complains "$program"
done
finish
