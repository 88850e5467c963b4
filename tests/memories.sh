#!/bin/sh
# What holds of every sequence memory of the library (tests/memories/list), by the reference evaluator and as an executable, in f64:
# both say the same, also of gradients, which are those of central differences; nothing depends on what comes later; sequences do
# not see each other; pieces of a sequence, cut anywhere, with the state kept, are the sequence; and so is a stream read by windows,
# in lanes, byte by byte (tests/memories/*.nl). LONG=1: at more sizes and cuts, and with threads and interruptions.
# Without it, batches, and chunks of chunks, are for every third of them only. ONLY=NAME takes one memory, JOBS says how many at a time.
. "${top_srcdir:-.}/tests/lib.sh"
: "${JOBS:=$(nproc 2>/dev/null || echo 2)}"
top_srcdir=$(cd "$top_srcdir" && pwd)
list=$top_srcdir/tests/memories/list
export NLC TOOL LONG top_srcdir

# Every block of the library that takes a sequence stands in the list.
all_listed() {
    missing=0
    for block in $(cat "$top_srcdir"/stdlib/*.nl | sed 's/#.*//' | tr '\n' ' ' | grep -o 'block [A-Za-z0-9]*([^{]*{' |
        sed -n 's/block \([A-Za-z0-9]*\).*(x : \[T, .*/\1/p'); do
        grep -q "^$block " "$list" || { echo "$block is not in $list"; missing=1; }
    done
    return $missing
}

# jobs LINE REMARKS: the programs of one memory
jobs() {
    echo "$1 sizes D=4 E=3 C=3 H=2 T=7"
    case $2,$LONG in *more*,) return ;; esac
    echo "$1 sizes D=1 E=2 C=2 H=1 T=5"
    echo "$1 sizes D=3 E=5 C=5 H=3 T=1"
    [ -z "$LONG" ] || long_sizes "$1" "$2"
    [ ! "$LONG" ] && [ $(($1 % 3)) != 0 ] || echo "$1 batch D=3 E=2 C=2 H=1 T=5"
    case $2 in *whole*) return ;; esac
    cuts "$1" 1 7 3
    case $2,$LONG in *wild*,* | *,) ;; *) for seed in 2 3 4 5 6 7; do cuts "$1" "$seed" 11 4; done ;; esac
    [ ! "$LONG" ] && [ $(($1 % 3)) != 1 ] || echo "$1 nested D=3 E=2 C=2 H=1 T=9 N=$((1 + $1 % 3)) A=$((1 + $1 % 2))"
    echo "$1 stream D=4 E=3 C=5 H=2"
    [ -z "$LONG" ] || for c in 1 2 3 12 40; do echo "$1 stream D=3 E=4 C=$c H=1"; done
    case $2 in *chunked*) ;; *) echo "$1 lm D=3 E=2 C=3 H=1" ;; esac
}

# long_sizes LINE REMARKS
long_sizes() {
    for size in "1 1 1 1 1" "1 1 3 1 4" "2 1 4 2 4" "1 3 4 1 9" "5 2 1 1 6" "6 7 6 3 6" "4 4 4 4 17" "8 5 16 2 33" "17 9 8 1 20"; do
        case $2,$size in *rough*,1\ * | *wild*,*\ [1-9][0-9]) continue ;; esac
        echo "$size" | { read -r d e c h t; echo "$1 sizes D=$d E=$e C=$c H=$h T=$t"; }
    done
}

# cuts LINE SEED T C: pieces of N < T items, and cut at 0 < A < B < T
cuts() {
    awk -v line="$1" -v seed="$2" -v t="$3" -v c="$4" 'BEGIN {
        s = (line*7919 + seed*104729) % 65536
        for (i = 0; i < 4; i++) { s = (s*75 + 74) % 65537; r[i] = s }
        n = 1 + r[1] % (t - 1); a = 1 + r[2] % (t - 2); b = a + 1 + r[3] % (t - a - 1)
        printf "%d split D=4 E=3 C=%d H=2 T=%d R=2 N=%d A=%d B=%d\n", line, seed % 2 ? c : 1 + r[0] % c, t, n, a, b
    }'
}

# passed LINE: all programs of this line
passed() {
    bad=0
    for log in "$scratch/$1".*.log; do
        [ ! -f "$log" ] || { cat "$log"; bad=1; }
    done
    [ "$(grep -c "^$1 " "$scratch/jobs")" = "$(ls "$scratch/$1".*.ok 2>/dev/null | wc -l)" ] || bad=1
    return $bad
}

check "every sequence memory is listed" all_listed
line=0
while read -r name remarks made; do
    line=$((line + 1))
    case $name in '#'*) continue ;; esac
    [ -z "$ONLY" ] || [ "$ONLY" = "$name" ] || continue
    echo "$line $name $made" >> "$scratch/rows"
    jobs "$line" "$remarks" >> "$scratch/jobs"
done < "$list"
xargs -P "$JOBS" -L 1 sh "$top_srcdir/tests/memories/one.sh" "$scratch" < "$scratch/jobs"
while read -r line made; do check "${made#* }" passed "$line"; done < "$scratch/rows"
finish
