#!/bin/sh
# generate, stream and memories, with compiled models: a memory that is trained in its context (token by token) and attention (a window).
. "${top_srcdir:-.}/tests/lib.sh"

cat > "$scratch/lm.nl" <<'EOF'
use nn
use optim
use memory
const Memory = DeltaNet
stream corpus = text("corpus.txt")
stream whole  = corpus window 97
stream part   = corpus window 17 step 16
model Lm over (s : i32[L]) {
    default with adamw(3e-3)
    learn E : [256, 16] ~ normal(0.1)
    learn core = Memory(16)
    h = E[s[:-1]]
    h = h + core(rms(h))
    z = rms(h) @ E'
    emit z
    minimize mean(xent(z, s[1:]))
    report bits = avg(xent(z, s[1:])) / log(2)
}
schedule {
    train Lm on part batch 2 for 12 steps
    test Lm on whole
}
EOF
printf '%s' "a memory is a level that learns inside of another one, as long as its context is; a window is none." | head -c 97 > "$scratch/corpus.txt"
cd "$scratch" || exit 1

built()  { "$NLC" lm.nl -o lm && "$NLC" -D Memory=Attention lm.nl -o attention; }
trains() { ./lm --quiet --checkpoint c --metrics m && ./attention --quiet --checkpoint ca; }

# The corpus in one piece, as the schedule's test reads it, and byte by byte.
bits_agree() {
    ./lm stream --from c --quiet < corpus.txt > rate || return 1
    "$TOOL" records m > records || return 1
    grep whole records
    rate=$(sed -n 's/^97 bytes: \([0-9.]*\) bits.*/\1/p' rate)
    want=$(sed -n 's/.*"test".*"bits":\([0-9.]*\).*/\1/p' m)
    echo "stream: $rate, test: $want"
    awk -v a="$rate" -v b="$want" 'BEGIN { exit !(a > 0 && a - b < 2e-4 && b - a < 2e-4) }'
}

in_parts() {
    ./lm generate --from c --prompt "a memory" --bytes 30 --seed 3 --memory-save all > whole || return 1
    ./lm generate --from c --prompt "a memory" --bytes 12 --seed 3 --memory-save first > parts || return 1
    cp first kept
    ./lm generate --from c --memory-load first --bytes 18 --seed 3 --memory-save second >> parts || return 1
    cmp whole parts && cmp first kept && cmp all second
}

streams_in_parts() {
    ./lm stream --from c --memory-save all < corpus.txt || return 1
    head -c 40 corpus.txt | ./lm stream --from c --memory-save first || return 1
    tail -c +41 corpus.txt | ./lm stream --from c --memory-load first --memory-save second || return 1
    cmp all second
}

threads() {
    ./lm generate --from c --prompt "a memory" --bytes 30 --seed 3 --threads 1 > one || return 1
    ./lm generate --from c --prompt "a memory" --bytes 30 --seed 3 --threads 3 > three || return 1
    cmp one three
}

windows() {
    ./attention generate --from ca --prompt "a memory" --bytes 120 --seed 3 > whole || return 1
    [ "$(wc -c < whole)" -eq 120 ]
}

others_refused() {
    says "made by another program" ./attention generate --from c && says "keeps what it learns in its context" ./attention generate --memory-save x &&
        says "cannot read a stream: it mixes a window" ./attention stream
}

check "built"                                  built
check "trained"                                trains
check "byte by byte as in one piece"           bits_agree
check "generated in two parts"                 in_parts
check "streamed in two parts"                  streams_in_parts
check "threads change no byte"                 threads
check "a window that moves on"                 windows
check "what does not fit is refused"           others_refused
finish
