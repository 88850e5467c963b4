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
# One token an item: what the test learns in the schedule is what a stream learns.
cat > "$scratch/kept.nl" <<'EOF'
use nn
use optim
use memory
stream corpus = text("corpus.txt")
stream pairs  = corpus window 2 step 1
model Lm over (s : i32[L]) {
    default with adamw(1e-2)
    learn E : [256, 16] ~ normal(0.1)
    learn core = DeltaNet(16) keep
    learn mlp = Mlp(16, 32)  every 3
    h = E[s[:-1]]
    h = h + core(rms(h))
    z = rms(h + mlp(rms(h))) @ E'
    emit z
    minimize mean(xent(z, s[1:]))
    report bits = avg(xent(z, s[1:])) / log(2)
}
schedule {
    test Lm on pairs learning mlp, E
    stream Lm learning mlp, E
    stream Lm learning mlp
}
EOF
printf '%s' "a memory is a level that learns inside of another one, as long as its context is; a window is none." | head -c 97 > "$scratch/corpus.txt"
cd "$scratch" || exit 1

learned() { "$NLC" kept.nl -o kept && ./kept --quiet --checkpoint ck --memory-save mk --metrics mk.jsonl; }

# Weights, rules' states and clocks of E and mlp as the test left them, and the memory of core.
learns_as_test() {
    ./kept stream --learning E,mlp --memory-save ms --quiet < corpus.txt > rate || return 1
    same_rate 97 mk.jsonl || return 1
    "$TOOL" tensors ms > all && grep -v '^Lm.core' all > moved && grep '^Lm.core' all > kept_moved || return 1
    "$TOOL" tensors ck | grep -E '^Lm.(E|mlp)' > want && "$TOOL" tensors mk > want_kept || return 1
    [ "$(wc -l < moved)" -eq 24 ] && "$TOOL" close want moved 1e-5 && "$TOOL" close want_kept kept_moved 1e-5
}

learns_in_parts() {
    head -c 41 corpus.txt | ./kept stream --learning mlp,E --memory-save first --threads 1 || return 1
    tail -c +42 corpus.txt | ./kept stream --learning mlp,E --memory-load first --memory-save second || return 1
    cmp ms second
}

# What it has learned goes with the memory, also where nothing more is learned; another learner may go on from it.
learned_stays() {
    ./kept stream --memory-load ms --memory-save still < corpus.txt || return 1
    "$TOOL" tensors ms | grep -v core > before && "$TOOL" tensors still | grep -v core > after && cmp before after || return 1
    ./kept generate --memory-load ms --bytes 5 > one && ./kept generate --bytes 5 > other || return 1
    ./kept stream --memory-load ms --learning mlp < corpus.txt && ! cmp one other
}

no_such_learning() {
    says "there is --learning mlp,E, or --learning mlp" ./kept stream --learning core && says "write \`stream Lm learning E\`" ./lm stream --learning E &&
        says "a schedule does not" ./kept --memory-load ms && says "no train or test" ./lm --memory-save x &&
        says "is no kept state of this one" ./lm stream --from c --memory-load ms && says "made by another program" ./kept stream --from c
}

# A window that moves on by one, and a memory from window to window: what has it seen?
window_with_memory() {
    sed 's/h = h + core/learn near = Attention(16)\n    h = h + near(rms(h)) + core/' kept.nl > both.nl
    "$NLC" both.nl -o both && says "which of them the states have seen" ./both generate && says "mixes a window" ./both stream --learning mlp
}

built()  { "$NLC" lm.nl -o lm && "$NLC" -D Memory=Attention lm.nl -o attention; }
trains() { ./lm --quiet --checkpoint c --metrics m && ./attention --quiet --checkpoint ca; }

# What the stream printed (rate) for so many bytes is what the test of these metrics reports.
same_rate() {
    rate=$(sed -n "s/^$1 bytes: \([0-9.]*\) bits.*/\1/p" rate)
    want=$(sed -n 's/.*"test".*"bits":\([0-9.]*\).*/\1/p' "$2")
    echo "stream: $rate, test: $want"
    awk -v a="$rate" -v b="$want" 'BEGIN { exit !(a > 0 && a - b < 2e-4 && b - a < 2e-4) }'
}

# The corpus in one piece, as the schedule's test reads it, and byte by byte.
bits_agree() {
    ./lm stream --from c --quiet < corpus.txt > rate || return 1
    "$TOOL" records m > records || return 1
    grep whole records
    same_rate 97 m
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
        says "tokens at a time, not one by one" ./attention stream
}

check "built"                                  built
check "trained"                                trains
check "byte by byte as in one piece"           bits_agree
check "generated in two parts"                 in_parts
check "streamed in two parts"                  streams_in_parts
check "threads change no byte"                 threads
check "a window that moves on"                 windows
check "tested while it learns"                 learned
check "a stream learns what the test learned"  learns_as_test
check "it learns in two parts"                 learns_in_parts
check "what was learned stays"                 learned_stays
check "what it cannot learn is refused"        no_such_learning
check "a window and a memory are refused"      window_with_memory
check "what does not fit is refused"           others_refused
finish
