#!/bin/sh
# Broken copies of all programs of the tests, the examples and the library (MUTATIONS of them, the same in every run):
# the compiler ends by itself within ten seconds of work, with status 0, or 1 and a message; a sanitizer has nothing to say.
. "${top_srcdir:-.}/tests/lib.sh"
: "${MUTATIONS:=150}"
case $NLC in /*) ;; *) NLC=$PWD/$NLC ;; esac
command -v timeout >/dev/null || skip_all "no timeout command"

# A broken copy of a program, the same for the same `seed`: one to three of its tokens or lines are taken away, doubled, swapped, or
# replaced by a number or a word that should not stand there.
cat > "$scratch/mutate.awk" <<'AWK'
BEGIN {
    srand(seed)
    n_odd = split("0 -1 1e308 2147483648 9223372036854775807 0.5 [] () inf \"text\" 90% 1..3 x [1,2] 65536", odd, " ")
    n_word = split("+ - * / % ^ @ < = == ' . , ; : ( ) [ ] { } ~ <- -> .. and every with learn state minimize for in if wrt from keep " \
                   "report emit when window key new stop pool avg given total sum level over default batch on test step t loss", word, " ")
}
{ line[NR] = $0 }
function pick(n) { return 1 + int(n * rand()) }
# The tokens of a line: the k-th starts at start[k]; comments are left out.
function tokens(s,    at, n) {
    n = 0
    for (at = 1; at <= length(s) && match(substr(s, at), /[A-Za-z_][A-Za-z_0-9]*|[0-9]+|"[^"]*"|[^ ]/); at += RLENGTH) {
        at += RSTART - 1
        if (substr(s, at, 1) == "#") break
        n++
        start[n] = at
        size[n] = RLENGTH
    }
    return n
}
function put(i, k, text) { line[i] = substr(line[i], 1, start[k] - 1) text substr(line[i], start[k] + size[k]) }
function text_of(i, k) { return substr(line[i], start[k], size[k]) }
function mutate(    i, j, k, n, how, held) {
    i = pick(NR); j = pick(NR); how = pick(10)
    if (how == 1) { line[i] = ""; return }
    if (how == 2) { line[i] = line[i] "\n" line[j]; return }
    if (how == 3) { held = line[i]; line[i] = line[j]; line[j] = held; return }
    n = tokens(line[j])
    if (!n) return
    k = pick(n)
    held = text_of(j, k)
    if (how == 4) { put(j, k, ""); return }
    if (how == 5) { put(j, k, held " " held); return }
    if (how == 6) { put(j, k, word[pick(n_word)]); return }
    if (how == 7) { put(j, k, held " " word[pick(n_word)]); return }
    n = tokens(line[i])
    if (!n) return
    k = pick(n)
    if (how == 8) { put(i, k, held); return }
    for (j = 1; j <= n && text_of(i, k) !~ /^[0-9]/; j++) k = 1 + k % n      # a number, if there is one
    put(i, k, odd[pick(n_odd)])
}
END {
    for (times = pick(3); times > 0; times--) mutate()
    for (i = 1; i <= NR; i++) print line[i]
}
AWK

survives() {
    program=$1 seed=$2 status=0
    awk -v seed="$seed" -f "$scratch/mutate.awk" "$program" > "$scratch/broken.nl"
    (cd "$(dirname "$program")" && ulimit -t 10 && timeout 100 "$NLC" graph "$scratch/broken.nl") > "$scratch/out" 2> "$scratch/err" || status=$?
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
