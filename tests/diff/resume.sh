#!/bin/sh
# Interruption: whatever the moment, a run that is interrupted and resumed, again and again, leaves the same checkpoint, tables
# and records, to the bit, as one that is not. Interrupts are signals that stop after a step (INT, TERM) and at once (KILL).
. "${top_srcdir:-.}/tests/lib.sh"
cd "$scratch" || exit 1

# whole NAME SOURCE OPTIONS..: compiles and runs without an interruption
whole() {
    name=$1 source=$2
    shift 2
    "$NLC" "$@" "$source" -o "$name.exe" && { rm -f "$name".whole.*; ends "$name" whole; }
}

# ends NAME RUN OPTIONS..: a run to the end
ends() {
    out=$1.$2 exe=$1.exe
    shift 2
    "./$exe" --quiet --allow-nan --metrics "$out.jsonl" --tables "$out.csv" --checkpoint "$out.ck" "$@" > "$out.tables"
}

# broken NAME SIGNAL SECONDS OPTIONS..: a run with a signal every so many seconds, as long as it gets on
broken() {
    name=$1 signal=$2 seconds=$3 turns=0 resume=
    shift 3
    rm -rf "$name".broken.*
    while [ "$turns" -lt 12 ]; do
        turns=$((turns + 1))
        if timeout -s "$signal" "$seconds" "./$name.exe" --quiet --allow-nan --metrics "$name.broken.jsonl" --tables "$name.broken.csv" \
            --checkpoint "$name.broken.ck" $resume "$@" > "$name.broken.tables" 2> "$name.said"; then
            same "$name"
            return
        fi
        [ -f "$name.broken.ck" ] && resume="--resume $name.broken.ck"
    done
    ends "$name" broken $resume && same "$name"
}

same() {
    diff -r "$1.whole.csv" "$1.broken.csv" && for part in jsonl tables ck; do cmp "$1.whole.$part" "$1.broken.$part" || return 1; done
}

cat > long.nl <<'END'
use nn
use optim
stream points(k) -> (x : [16], y : i32[]) { x = normal([16]) + 0.1*k;  y = randint(3) }
model Net(opt) over (x : [16], y : i32[]) {
    event done
    default with ewc(0.1, done, opt)
    learn a = Mlp(16, 64, 64)  every 3 mean
    learn b = Linear(64, 3)    every when loud sum
    learn c : [3] = 0          every done mean
    state seen : [64] = 0  every 2
    h = a(x + 0.1*normal([16]))
    seen <- 0.9*seen + 0.1*pool(h)
    loud = pool(sum(x)) > 0
    z = b(tanh(h + 0.1*stop(seen))) + c
    minimize xent(z, y)
    report accuracy = argmax(z) == y, loss, nats = avg(xent(z, y), y + 1)
}
schedule {
    repeat 2 seeds {
        m = Net(adamw(1e-3, eps = 1e-6))
        for task in 0..2 {
            train m on points(task)[0:300] batch 7 for 2 epochs shuffled
            test m on each (points(e)[0:100] for e in 0..2) batch 9 learning seen
            tick m.done
            c = m
            train (m, c) on mix(0.5: points(task), 0.5: points(5)) for 50 steps until loss < 0.01
            tick (m, c).done
            test (m, c) on points(9)[5:50]
        }
    }
    table 100*accuracy rows task cols stream cells model
    table nats rows model cols stream
}
END
check "a long program" whole long long.nl --float=f64
for signal in INT TERM KILL; do
    for seconds in 0.02 0.05 0.11 0.23; do
        check "SIG$signal every $seconds s" broken long $signal $seconds --save-every 17
    done
done
check "saved at every step" broken long KILL 0.3 --save-every 1
check "permuted digits" whole permuted "$top_srcdir/examples/permuted/permuted.nl" -D TASKS=2 -D EPOCHS=1
for signal in INT KILL; do check "permuted digits, SIG$signal" broken permuted $signal 0.4 --save-every 50; done
check "notebook" whole notebook "$top_srcdir/examples/notebook/notebook.nl" --float=f64
for signal in TERM KILL; do check "notebook, SIG$signal" broken notebook $signal 0.03 --save-every 3; done
finish
