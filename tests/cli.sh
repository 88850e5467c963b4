#!/bin/sh
# The command line of nlc: exit status, files that come and go, messages.
. "${top_srcdir:-.}/tests/lib.sh"

cat > "$scratch/good.nl" <<'END'
const K = 2
model M over () { learn w : [] = K  with gd(1);  report w;  minimize w }
rule gd(lr) (W, g) { W <- W - lr*g }
schedule { train M for 1 steps;  test M }
END
cat > "$scratch/bad.nl" <<'END'
model M over () { minimize nothing }
schedule { train M for 1 steps }
END
cat > "$scratch/data.nl" <<'END'
stream data = csv("missing.csv") -> (x : [])
model M over (x : []) { report x }
schedule { test M on data }
END
data=$scratch/data.nl good=$scratch/good.nl bad=$scratch/bad.nl

builds()      { "$NLC" "$good" -o "$scratch/good" && [ -x "$scratch/good" ] && "$scratch/good" --quiet; }
default_out() { mkdir -p "$scratch/here" && cd "$scratch/here" && "$NLC" "$good" && [ -x good ] && [ "$(ls)" = good ]; }
object()      { "$NLC" -c "$good" -o "$scratch/good.o" && [ -s "$scratch/good.o" ]; }
keeps_old()   { echo old > "$scratch/old" && ! "$NLC" "$bad" -o "$scratch/old" && [ "$(cat "$scratch/old")" = old ]; }
leaves_none() { mkdir -p "$scratch/tmp" && TMPDIR=$scratch/tmp "$NLC" run "$good" --quiet && [ -z "$(ls -A "$scratch/tmp")" ]; }
w_is() {
    want=$1
    shift
    rm -f "$scratch/m"
    "$NLC" run "$@" "$good" --quiet --metrics "$scratch/m" && "$TOOL" records "$scratch/m" > "$scratch/r" &&
        echo "M - w=$want" | "$TOOL" close - "$scratch/r" 1e-6
}

check "an executable"                        builds
check "without -o: named after the source"   default_out
check "-c: an object file"                   object
check "run"                                  w_is 1
check "-D"                                   w_is 4 -D K=5
check "-D with an expression"                w_is 8 -D 'K=3^2'
check "--cpu=generic"                        w_is 1 --cpu=generic
check "--reference"                          w_is 1 --reference
check "run: the program's exit status"       exits 2 "$NLC" run "$good" --no-such-option
check "a failed compilation leaves OUT"      keeps_old
check "nothing stays in the temporary folder" leaves_none
check "check: fine"                          exits 0 "$NLC" check "$good"
check "check: errors"                        exits 1 "$NLC" check "$bad"
check "the message has its place"            says "bad.nl:1:28: error:" "$NLC" check "$bad"
check "graph"                                says "M" "$NLC" graph "$good"
check "graph --dot"                          says "digraph" "$NLC" graph --dot "$good"
check "gradcheck"                            exits 0 "$NLC" gradcheck "$good"
check "--dump=parse"                         says "model" "$NLC" check --dump=parse "$good"
check "--dump=graph"                         says "entry M" "$NLC" check --dump=graph "$good"
check "--dump=loops"                         says "7 items: 2 blocks, which hold a state" "$NLC" check --dump=loops "$tests/levels/std_ttt_3.nl"
check "--dump of an unknown pass"            says "is it \`graph\`" "$NLC" check --dump=grahp "$good"
check "--help"                               exits 0 "$NLC" --help
check "--version"                            says "nlc " "$NLC" --version
check "no source file"                       exits 2 "$NLC"
check "an unknown option"                    exits 2 "$NLC" --nonsense "$good"
check "two source files"                     exits 2 "$NLC" "$good" "$bad"
check "-o without a value"                   exits 2 "$NLC" "$good" -o
check "-D without a value"                   exits 2 "$NLC" -D K "$good"
check "--float of another type"              exits 2 "$NLC" --float=f16 "$good"
check "a missing file"                       exits 1 "$NLC" "$scratch/missing.nl"
check "a folder as source"                   exits 1 "$NLC" "$scratch"
check "a folder as output"                   exits 1 "$NLC" "$good" -o "$scratch"
check "an output that cannot be written"     exits 1 "$NLC" "$good" -o "$scratch/none/out"
check "-D of a name that is no const"        exits 1 "$NLC" check -D NOPE=1 "$good"
check "an unknown processor"                 exits 1 "$NLC" --cpu=nonsense "$good" -o "$scratch/x"
check "a data file that is not there"        says "missing.csv" "$NLC" run "$data" --quiet
check "its exit status"                      exits 1 "$NLC" run "$data" --quiet

# w is where the task is after one step; so task 1 costs 0 and then, when the second was learned, 1: forgotten. Where larger
# is better, the same numbers are a gain.
cat > "$scratch/tasks.nl" <<'END'
use optim
stream task(k) -> (x : []) { x = k }
model Net over (x : []) {
    learn w : [] = 0  with gd(0.5)
    minimize (w - x)^2
    report miss = loss, loss
}
schedule {
    for k in 1..2 {
        train Net on task(k) for 1 steps
        test Net on each (task(e)[0:2] for e in 1..2)
    }
    table TABLE rows k cols stream
}
END
forgets() {
    sed "s/TABLE rows/$2 rows/" "$scratch/tasks.nl" > "$scratch/table.nl"
    "$NLC" run "$scratch/table.nl" --quiet | grep -q "forgetting_chaudhry *$1$"
}
check "a table of the loss: lower is better" forgets 1.0 loss
check "of another report: it is told"        forgets 10.0 "10*miss lower"
check "else higher is better"                forgets -1.0 miss
finish
