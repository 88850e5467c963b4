#!/bin/sh
# One random program: program.sh FOLDER SEED. The reference evaluator and the executable agree in f64 (reports and all states)
# and, roughly, in f32 (reports); the number of threads changes no bit; a run that is interrupted and resumed ends as the
# one that is not. Writes FOLDER/SEED.ok; or, if anything
# differs, FOLDER/SEED.log, and keeps its files in FOLDER. NLC, TOOL and GEN say what to run.
cd "$1" || exit 1
seed=$2 p=g$2
export OMP_WAIT_POLICY=passive
: "${F64_TOLERANCE:=1e-9}" "${F32_TOLERANCE:=1e-2}" "${PROGRAM_TIMEOUT:=100}"

fails() {
    { echo "program $seed: $1"; sed 's/^/    /' "$p.said" | cut -c1-300 | head -n 12; } > "$seed.log"
    exit 0
}

# run NAME COMMAND..: metrics, tables and checkpoint of a run are NAME.jsonl, NAME.tables, NAME.ck
run() {
    name=$1
    shift
    timeout "$PROGRAM_TIMEOUT" "$@" --quiet --allow-nan --metrics "$name.jsonl" --checkpoint "$name.ck" > "$name.tables" 2> "$p.said"
}

same_bits() {
    for part in jsonl tables ck; do cmp "$1.$part" "$2.$part" > "$p.said" 2>&1 || fails "$3: $part"; done
}

"$GEN" "$seed" "$p" > "$p.said" 2>&1 || fails "generating"
run "$p.ref" "$NLC" run --reference --float=f64 --verify "$p.nl" || fails "reference"
timeout "$PROGRAM_TIMEOUT" "$NLC" --float=f64 --verify "$p.nl" -o "$p.exe" > "$p.said" 2>&1 || fails "compiling f64"
run "$p.f64" "./$p.exe" --threads 1 || fails "running f64"
"$TOOL" close "$p.ref.jsonl" "$p.f64.jsonl" "$F64_TOLERANCE" > "$p.said" 2>&1 || fails "reports, f64"
for name in ref f64; do "$TOOL" tensors "$p.$name.ck" > "$p.$name.states"; done
"$TOOL" close "$p.ref.states" "$p.f64.states" "$F64_TOLERANCE" > "$p.said" 2>&1 || fails "states, f64"

# With a team for the smallest step, in memory full of garbage: the same bits.
NLC_SOLO_WORK=0 timeout "$PROGRAM_TIMEOUT" "$NLC" --float=f64 "$p.nl" -o "$p.team" > "$p.said" 2>&1 || fails "compiling for teams"
for threads in 1 2 3; do
    run "$p.threads" env NLRT_TEST=1 "./$p.team" --threads $threads || fails "running with $threads threads"
    same_bits "$p.f64" "$p.threads" "$threads threads"
done

for wait in 0.01 0.02; do
    rm -f "$p.again".*
    timeout -s INT $wait "./$p.exe" --quiet --allow-nan --threads 1 --save-every 1 --metrics "$p.again.jsonl" --checkpoint "$p.again.ck" > "$p.said" 2>&1
    [ -f "$p.again.ck" ] || continue
    run "$p.again" "./$p.exe" --threads 1 --resume "$p.again.ck" || fails "resuming"
    same_bits "$p.f64" "$p.again" "resumed"
done

grep -q null "$p.ref.jsonl" && { rm -f "$p".*; : > "$seed.ok"; exit 0; }       # it diverges: in f32 at another step
timeout "$PROGRAM_TIMEOUT" "$NLC" "$p.nl" -o "$p.exe" > "$p.said" 2>&1 || fails "compiling f32"
run "$p.f32" "./$p.exe" || fails "running f32"
"$TOOL" close "$p.ref.jsonl" "$p.f32.jsonl" "$F32_TOLERANCE" > "$p.said" 2>&1 || fails "reports, f32"
rm -f "$p".*
: > "$seed.ok"
