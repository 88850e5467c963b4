# lib.sh: for the shell tests, which speak TAP. NLC is the compiler, TOOL tests/tool; both are set by `make check`.
n=0
: "${NLC:=./nlc}" "${top_srcdir:=.}" "${top_builddir:=.}"
TOOL=$top_builddir/tests/tool
tests=$top_srcdir/tests
scratch=$(mktemp -d -t nlc-test-XXXXXX)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' INT TERM

# reports FILE.nl TOLERANCE OPTIONS..: what the tests of the program report is what FILE.out says.
reports() {
    program=$1 tolerance=$2
    shift 2
    rm -f "$scratch/metrics"
    "$NLC" run "$@" "$program" --quiet --metrics "$scratch/metrics" >"$scratch/out" || return 1
    "$TOOL" records "$scratch/metrics" >"$scratch/records" && "$TOOL" close "${program%.nl}.out" "$scratch/records" "$tolerance"
}

# check WHAT COMMAND..: one test; it passes if the command succeeds.
check() {
    n=$((n + 1))
    what=$1
    shift
    if "$@" >"$scratch/log" 2>&1; then
        echo "ok $n - $what"
    else
        echo "not ok $n - $what"
        head -n 40 "$scratch/log" | sed 's/^/# /'
    fi
}

# exits STATUS COMMAND..: the command ends with this status.
exits() {
    want=$1
    shift
    status=0
    "$@" || status=$?
    [ "$status" = "$want" ] || { echo "exit status $status, not $want: $*"; return 1; }
}

# says TEXT COMMAND..: the command's output, either stream, contains the text; its exit status does not matter.
says() {
    text=$1
    shift
    out=$("$@" 2>&1) || :
    case $out in
        *"$text"*) ;;
        *) printf 'no "%s" in:\n%s\n' "$text" "$out"; return 1 ;;
    esac
}

skip_all() {
    echo "1..0 # SKIP $*"
    exit 0
}

finish() { echo "1..$n"; }
