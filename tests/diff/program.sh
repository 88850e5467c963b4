#!/bin/sh
# One program: program.sh FOLDER SEED makes a random one, program.sh FOLDER NAME FILE.nl OPTIONS.. takes that file.
# The reference evaluator, item by item, and the executable agree in f64 (reports and all states) and, roughly, in f32 (reports); the number
# of threads changes no bit; a run that is interrupted and resumed ends as the one that is not. Writes FOLDER/NAME.ok; or, if
# anything differs, FOLDER/NAME.log, and keeps its files in FOLDER. NLC, TOOL and GEN say what to run.
cd "$1" || exit 1
seed=$2 p=g$2 source=$3
export OMP_WAIT_POLICY=passive
: "${F64_TOLERANCE:=1e-9}" "${F32_TOLERANCE:=1e-2}" "${PROGRAM_TIMEOUT:=100}"

fails() {
    { echo "program $seed: $1"; sed 's/^/    /' "$p.said" | cut -c1-300 | head -n 12; } > "$seed.log"
    exit 0
}

agrees() {
    rm -rf "$p".*
    : > "$seed.ok"
    exit 0
}

# run NAME COMMAND..: metrics, tables and checkpoint of a run are NAME.jsonl, NAME.tables, NAME.ck
run() {
    name=$1
    shift
    timeout "$PROGRAM_TIMEOUT" "$@" --quiet --allow-nan --metrics "$name.jsonl" --checkpoint "$name.ck" > "$name.tables" 2> "$p.said"
}

compile() { timeout "$PROGRAM_TIMEOUT" "$NLC" "$@" --verify "$source" > "$p.said" 2>&1; }

same_bits() {
    for part in jsonl tables ck; do cmp "$1.$part" "$2.$part" > "$p.said" 2>&1 || fails "$3: $part"; done
}

# close TOLERANCE A B
close() { "$TOOL" close "$2" "$3" "$1" > "$p.said" 2>&1; }

if [ -z "$source" ]; then
    "$GEN" "$seed" "$p" > "$p.said" 2>&1 || fails "generating"
    source=$p.nl
    shift 2
else
    shift 3
fi
# Even seeds: a team even for the smallest step, dense forms even where they do not pay, lanes one by one or a few together, in memory
# full of garbage. Odd ones: as every program is compiled; f32, too.
case $seed in
    *[02468]) team="env NLRT_TEST=1" NLC_SOLO_WORK=0 NLC_DENSE_WORTH=0 NLC_LANE_BYTES=$((${seed#"${seed%?}"} * 8))
              export NLC_SOLO_WORK NLC_DENSE_WORTH NLC_LANE_BYTES ;;
    *) team= ;;
esac

run "$p.ref" "$NLC" run --reference --clocks=item --float=f64 --verify "$@" "$source" || fails "reference"
compile --float=f64 "$@" -o "$p.exe" || fails "compiling f64"
run "$p.f64" $team "./$p.exe" --threads 1 || fails "running f64"
close "$F64_TOLERANCE" "$p.ref.jsonl" "$p.f64.jsonl" || fails "reports, f64"
for name in ref f64; do "$TOOL" tensors "$p.$name.ck" | sed 's/-nan/nan/g' > "$p.$name.states"; done
close "$F64_TOLERANCE" "$p.ref.states" "$p.f64.states" || fails "states, f64"

# The same with the uses of each matrix in the place of its gradient, unless they are not all products.
if grep -q 'by_rank(Descent' "$source"; then
    if run "$p.seen" "$NLC" run --reference --float=f64 --verify -D Descent=seen "$@" "$source"; then
        close "$F64_TOLERANCE" "$p.ref.jsonl" "$p.seen.jsonl" || fails "reports, by the uses of matrices"
    else
        grep -q 'used here otherwise' "$p.said" || fails "by the uses of matrices"
    fi
fi

for threads in 2 3; do
    run "$p.threads" $team "./$p.exe" --threads $threads || fails "running with $threads threads"
    same_bits "$p.f64" "$p.threads" "$threads threads"
done
[ -z "$team" ] || agrees

for wait in 0.01 0.02; do
    rm -f "$p.again".*
    timeout -s INT $wait "./$p.exe" --quiet --allow-nan --threads 1 --save-every 1 \
        --metrics "$p.again.jsonl" --checkpoint "$p.again.ck" > "$p.said" 2>&1
    [ -f "$p.again.ck" ] || continue
    run "$p.again" "./$p.exe" --threads 1 --resume "$p.again.ck" || fails "resuming"
    same_bits "$p.f64" "$p.again" "resumed"
done

grep -q null "$p.ref.jsonl" && agrees                   # it diverges: in f32 at another step
compile "$@" -o "$p.exe" || fails "compiling f32"
run "$p.f32" "./$p.exe" || fails "running f32"
close "$F32_TOLERANCE" "$p.ref.jsonl" "$p.f32.jsonl" || fails "reports, f32"
agrees
