#!/bin/sh
# examples/permuted and examples/maml, shortened: permuted learns, another file of digits can be named, one thread computes what three do. (The notebook
# has a test of its own.)
. "${top_srcdir:-.}/tests/lib.sh"
example=$top_srcdir/examples/permuted

compiles() { "$NLC" -D TASKS=2 -D EPOCHS=1 "$example/permuted.nl" -o "$scratch/permuted"; }

# After a task, both networks solve most of it, and not yet the other one.
learns() {
    "$scratch/permuted" --quiet --threads 1 --metrics "$scratch/one" --tables "$scratch" > "$scratch/table" || return 1
    "$TOOL" records "$scratch/one" | awk -F'accuracy=' '
        / task=0 / && /heldout, 0/ || / task=1 / && /heldout, 1/ { n++; if ($2 < 0.7) bad = 1 }
        / task=0 / && /heldout, 1/ { n++; if ($2 > 0.4) bad = 1 }
        END { exit bad || n != 30 }'
}
threads() { "$scratch/permuted" --quiet --threads 3 --metrics "$scratch/three" > "$scratch/table3" && cmp "$scratch/one" "$scratch/three"; }
other()   { cp "$example/digits.csv.gz" "$scratch/other.csv.gz" && cd "$scratch" && ./permuted --quiet --digits other.csv.gz --metrics "$scratch/two" && cmp one two; }
csv()     { ls "$scratch"/*.csv; }

# Tasks of five characters: chance is 0.2. A few steps are enough for more than that, and another file can be named.
omniglot() {
    "$NLC" -D TRAIN=10 "$top_srcdir/examples/maml/omniglot.nl" -o "$scratch/omniglot" || return 1
    cp "$top_srcdir/examples/maml/omniglot.npy.gz" "$scratch/other.npy.gz"
    (cd "$scratch" && ./omniglot --quiet --characters other.npy.gz --metrics drawings) > "$scratch/table" || return 1
    "$TOOL" records "$scratch/drawings" | awk -F'accuracy=' '{ n++; if ($2 < 0.3) bad = 1 } END { exit bad || n != 6 }'
}

check "permuted compiles" compiles
check "permuted learns" learns
check "tables are written" csv
check "three threads do what one does" threads
check "another file of digits" other
check "few drawings of characters" omniglot
check "permuted-idx" exits 0 "$NLC" check "$example/permuted-idx.nl"
finish
