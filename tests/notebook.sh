#!/bin/sh
# examples/notebook, whole: the printed table, all recorded accuracies of both networks, the final weights, memories and counts,
# against what the notebook itself computed (notebook.json).
. "${top_srcdir:-.}/tests/lib.sh"
example=$top_srcdir/examples/notebook
json=$example/notebook.json

# run NAME COMMAND..: the program's records and its checkpoint, under scratch/NAME.*
runs() {
    name=$1
    shift
    "$@" --quiet --metrics "$scratch/$name.jsonl" --checkpoint "$scratch/$name.safetensors" > "$scratch/$name.table" &&
        "$TOOL" records "$scratch/$name.jsonl" > "$scratch/$name.records"
}

# The accuracies of one network in the order of the schedule; every 7th group of three is the printed one.
accuracies() { grep "^$2 " "$scratch/$1.records" | sed 's/.*accuracy=//' | awk -v part="$3" '
    { group = int((NR - 1) / 3) % 7; if ((part == "printed") == (group == 6)) print }'; }

one_a_line() { tr ' ' '\n' | grep '[0-9]'; }

recorded() {
    key=$(echo "$2" | tr SN sn)
    accuracies "$1" "$2" recorded > "$scratch/got"
    "$TOOL" json "$json" "$key.recorded" | one_a_line > "$scratch/all"
    # of each entry the epoch (its first number) is no accuracy
    awk 'NR % 4 != 1' "$scratch/all" > "$scratch/want"
    [ "$(wc -l < "$scratch/got")" = 54 ] && "$TOOL" close "$scratch/got" "$scratch/want" 1e-9
}

printed() {
    key=$(echo "$2" | tr SN sn)
    accuracies "$1" "$2" printed | awk '{ print 100 * $1 }' > "$scratch/got"
    for task in 0 1 2; do "$TOOL" json "$json" "printed.$task.$key"; done | one_a_line > "$scratch/want"
    [ "$(wc -l < "$scratch/got")" = 9 ] && "$TOOL" close "$scratch/got" "$scratch/want" 1e-9
}

weights() {
    key=$(echo "$2" | tr SN sn)
    "$TOOL" tensors "$scratch/$1.safetensors" "$2.W1" "$2.b1" "$2.W2" "$2.b2" > "$scratch/got" &&
        "$TOOL" json "$json" "$key.final.W1" "$key.final.b1" "$key.final.W2" "$key.final.b2" > "$scratch/want" &&
        "$TOOL" close "$scratch/got" "$scratch/want" 1e-12
}

memories() {
    "$TOOL" tensors "$scratch/$1.safetensors" Nested.hidden.fast Nested.hidden.mid Nested.hidden.slow \
        Nested.output.fast Nested.output.mid Nested.output.slow > "$scratch/got" &&
        "$TOOL" json "$json" nested.final_memory.hidden.0 nested.final_memory.hidden.1 nested.final_memory.hidden.2 \
            nested.final_memory.output.0 nested.final_memory.output.1 nested.final_memory.output.2 > "$scratch/want" &&
        "$TOOL" close "$scratch/got" "$scratch/want" 1e-12
}

counts() {
    "$TOOL" tensors "$scratch/$1.safetensors" Nested.hidden.fast.count Nested.hidden.mid.count Nested.hidden.slow.count > "$scratch/got" &&
        "$TOOL" json "$json" nested.final_memory.counts.0 nested.final_memory.counts.1 nested.final_memory.counts.2 > "$scratch/want" &&
        "$TOOL" close "$scratch/got" "$scratch/want" 0
}

all_of() {
    check "$1: runs" runs "$@"
    for network in Simple Nested; do
        check "$1: the 54 recorded accuracies of $network" recorded "$1" $network
        check "$1: the 9 printed accuracies of $network" printed "$1" $network
        check "$1: the final weights of $network" weights "$1" $network
    done
    check "$1: the memories" memories "$1"
    check "$1: the memories' counts" counts "$1"
}

table() {
    "$NLC" run "$example/notebook.nl" --quiet > "$scratch/f32.table" && grep -v '^$' "$example/expected.txt" | while read -r line; do
        grep -qF "$line" "$scratch/f32.table" || { echo "missing: $line"; cat "$scratch/f32.table"; exit 1; }
    done
}

all_of f64 "$NLC" run --float=f64 "$example/notebook.nl"
all_of reference "$NLC" run --float=f64 --reference "$example/notebook.nl"
check "the same table in f32" table
finish
