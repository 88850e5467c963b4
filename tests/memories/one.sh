#!/bin/sh
# One memory in one template, by the reference evaluator, item by item, and as an executable, both in f64:
#     one.sh FOLDER LINE TEMPLATE NAME=VALUE..
# LINE is the line of the list; NAME=VALUE are the constants of the program. Writes FOLDER/JOB.ok, or FOLDER/JOB.log and keeps the
# program there. NLC, TOOL and top_srcdir say what to run.
here=$top_srcdir/tests/memories
cd "$1" || exit 1
line=$2 template=$3
shift 3
job=$line.$template.$(echo "$*" | tr -d ' =')
: "${MEMORY_TIMEOUT:=60}"

fails() {
    { echo "$name, $made, $*, in $template:"; sed 's/^/    /' said | cut -c1-300 | head -n 12; } > "../$job.log"
    cp program.nl "../$job.nl"
    exit 0
}

# run NAME COMMAND..: a run of the schedule; its tests, and the tensors at the end, are NAME.tests and NAME.states
run() {
    out=$1
    shift
    timeout "$MEMORY_TIMEOUT" "$@" --quiet --metrics "$out.jsonl" --checkpoint "$out.ck" > said 2>&1 || fails "running, $out"
    "$TOOL" records "$out.jsonl" > "$out.tests" && "$TOOL" tensors "$out.ck" > "$out.states"
}

# agree WHAT: evaluator and executable
agree() { "$TOOL" close "reference.$1" "native.$1" "$tolerance" > said 2>&1 || fails "$1 differ"; }

# judge OUT: what is called same.. is 0, up to the size of the largest output; other.. is not; states called drift are 0.
judge() {
    tr ' ' '\n' < "$1.tests" | awk -F= -v others="$others" '
        { v = $2 < 0 ? -$2 : $2 }
        /^most/  { if (!(v < 1e12)) { print; bad = 1 } else if (v > top) top = v }
        /^same/  { if (!(v <= 1e-9*(top > 1 ? top : 1))) { print; bad = 1 } }
        /^other/ { if (others && !(v > 1e-9)) { print; bad = 1 } }
        END { exit bad }' > said || fails "not the same, or not another, $1"
    awk '/drift =/ { for (i = 3; i <= NF; i++) if (!($i < 1e-7 && $i > -1e-7)) { print $1, $i; bad = 1; break } } END { exit bad }' \
        "$1.states" > said || fails "gradients of a difference that is 0, $1"
}

# slopes OUT: the gradients along the direction in which everything moved (sizes.nl), against the difference of the objective
slopes() {
    if has clocks || [ ! "$smooth" ]; then return; fi
    {
        sed 's/.* e=\([^ ]*\).*/e \1/' "$1.tests"
        sed -n 's/.*slope = /slope /p' "$1.states"
    } | awk '
        $1 == "e" { e[++n] = $2 }
        $1 == "slope" { sum += $2; size += $2 < 0 ? -$2 : $2 }
        END {
            far = (e[2] - e[3])/2e-7 - sum
            if (far < 0) far = -far
            print "slope " sum ", of differences " (e[2] - e[3])/2e-7
            exit !(far <= 1e-5*(size + 1))
        }' > said || fails "slopes, $1"
}

gradients() {
    [ "$smooth" ] || return 0
    "$NLC" gradcheck program.nl > said 2>&1 && grep -q ', 0 wrong$' said && ! grep -q 'not checked' said || fails "gradients"
}

# The equations of stream.nl; its tests are twelve, four, one, first, last, three in lanes, one in lanes, five, seven.
windows() {
    sed 's/.*=//' "$1.tests" | awk '
        function equal(a, b, what) { if (!(a - b < 1e-9 && b - a < 1e-9)) { print what ": " a ", " b; bad = 1 } }
        { v[NR] = $1 }
        END {
            equal(v[1], v[2], "windows of 4"); equal(v[1], v[3], "windows of 1")
            equal(v[6], v[7], "windows of 1 in lanes"); equal((v[4] + v[5])/2, v[6], "lanes")
            equal((5*v[8] + 7*v[9])/12, v[1], "carry")
            if (v[1] == v[6]) { print "nothing is remembered"; bad = 1 }
            exit bad || NR != 9
        }' > said || fails "windows, $1"
}

# batches OUT: the sequences of batch.nl one by one (m) and in batches of three (k): sums of gradients by the names of states
batches() {
    sed 's/.*v=/v /' "$1.tests" | cat - "$1.states" | awk '
        function equal(a, b, what) { if (!(a - b < 1e-9 && b - a < 1e-9)) { print what ": " a ", " b; bad = 1 } }
        $1 == "v" { v[++n] = $2 }
        $1 ~ /^m\..*\.sum$/ { one[substr($1, 3)] = $0 }
        $1 ~ /^k\..*\.sum$/ {
            if (split(one[substr($1, 3)], sums) != NF) { print "no sum as " $1; bad = 1 }
            for (i = 3; i <= NF; i++) equal(3*$i, sums[i], $1)
            seen++
        }
        END { equal(v[1], v[2], "what is said"); exit bad || !seen || n != 2 }' > said || fails "batches, $1"
}

# A corpus in one piece, in a test; byte by byte; and in two parts. Then generated, at once and in two parts.
live() {
    from="--from native.ck"
    want=$(sed 's/.*bits=//' native.tests)
    ./program stream $from --memory-save all < corpus.txt > rate 2> said || fails "stream"
    rate=$(sed -n 's/^41 bytes: \([0-9.]*\) bits.*/\1/p' rate)
    awk -v a="$rate" -v b="$want" 'BEGIN { print a, b; exit !(a > 0 && a < 1e3 && a - b < 1e-4 && b - a < 1e-4) }' > said || fails "byte by byte"
    head -c 17 corpus.txt | ./program stream $from --memory-save first > said 2>&1 || fails "stream, first part"
    tail -c +18 corpus.txt | ./program stream $from --memory-load first --memory-save second > said 2>&1 || fails "stream, second part"
    cmp all second > said 2>&1 || fails "memories of a stream in two parts"
    ./program generate $from --prompt "a memory" --bytes 20 --seed 3 --memory-save all > whole 2> said || fails "generate"
    ./program generate $from --prompt "a memory" --bytes 7 --seed 3 --memory-save first > parts 2> said || fails "generate, first part"
    ./program generate $from --memory-load first --bytes 13 --seed 3 --memory-save second >> parts 2> said || fails "generate, second part"
    cmp whole parts > said 2>&1 || fails "generated in two parts"
    cmp all second > said 2>&1 || fails "memories of what was generated in two parts"
}

row=$(sed -n "${line}p" "$here/list")
read -r name marks made <<EOF
$row
EOF
has() { case ,$marks, in *,$1,*) ;; *) return 1 ;; esac; }

mkdir "$job" && cd "$job" || exit 1
for constant; do eval "$constant"; done
if has square; then E=$D; fi
others=1 tolerance=1e-9 smooth=1
if has rough; then tolerance=1e-6; fi
if has rough && [ "$D" = 1 ]; then smooth=; fi
if has flat && { [ "$D" = 1 ] || [ "$E" = 1 ]; }; then others=; fi
if has chunked; then
    case $template in
        split) N=$((2*C)) A=$C B=$((2*C)) ;;
        nested) N=$C A=$C ;;
        stream) C=1 ;;
    esac
fi
{
    printf 'use nn\nuse optim\nuse memory\nuse continuum\n'
    for constant in D E C H T R N A B; do eval "[ -z \"\$$constant\" ] || echo const $constant = \$$constant"; done
    x=x
    if has pair; then x="x, tanh(2*x)"; fi
    echo "block Mix(d) (x : [t, d]) -> [t, d] { learn of = SelfModifying(d, C);  of(x) }"
    echo "block Slow(d) (x : [d]) -> [d] { learn of = Cms(d, Residual, (1, 2, 3));  of(x) }"
    echo "block Still(d) (x : [d]) -> [d] { learn of = Cms(d, Residual, (1, 1, 1));  of(x) }"
    echo "block Memory() (x : [t, D]) -> [t, E] { learn of = $made;  of($x) }"
    cat "$here/$template.nl"
} > program.nl
[ $template != lm ] || printf 'a memory is a level that learns in another' | head -c 41 > corpus.txt

run reference "$NLC" run --reference --clocks=item --float=f64 --verify program.nl
"$NLC" --float=f64 --verify program.nl -o program > said 2>&1 || fails "compiling"
run native ./program --threads 1
agree tests
agree states
case $template in
    sizes) judge reference; judge native; slopes reference; slopes native; gradients ;;
    split | nested) judge reference; judge native ;;
    batch) if ! has clocks; then batches reference; batches native; fi ;;
    stream) windows reference; windows native ;;
    lm) live ;;
esac
if [ "$LONG" ] && [ $template = sizes ] && [ "$D" -ge 4 ]; then
    (F64_TOLERANCE=1e-8 F32_TOLERANCE=1 sh "$top_srcdir/tests/diff/program.sh" "$PWD" team0 program.nl)
    [ -f team0.ok ] || { cp team0.log said; fails "threads"; }
fi
cd ..
[ "$KEEP" ] || rm -rf "$job"
: > "$job.ok"
