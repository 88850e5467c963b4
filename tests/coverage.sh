#!/bin/sh
# Every message of the compiler has a test with its text: each format of error_at, warn_at and note_at in compiler/ is matched by
# a line of a tests/messages/*.err or by a text in tests/unit/*_test.c, or stands in tests/messages.except with a reason:
#     reason<TAB>format as in the source
. "${top_srcdir:-.}/tests/lib.sh"

# The literals of every call of the three, one a line: FILE:LINE<TAB>FORMAT. Adjacent literals are one; of a choice c ? "a" : "b" all count.
cat > "$scratch/formats.awk" <<'AWK'
function literal(    c, text) {                       # text[at] is the opening quote
    text = ""
    for (at++; (c = substr(all, at, 1)) != "\""; at++) {
        text = text c
        if (c == "\\") text = text substr(all, ++at, 1)
    }
    at++
    return text
}
function call(place,    depth, c, text, found) {      # at is just behind the call's '('
    depth = 1; text = ""; found = 0
    while (depth > 0 && at <= length(all)) {
        c = substr(all, at, 1)
        if (c == "\"") { text = text literal(); found = 1; continue }
        if (c == "'") { at += substr(all, at + 1, 1) == "\\" ? 4 : 3; continue }
        if (c == "(") depth++
        if (c == ")") depth--
        if (found && c == ":") { print place "\t" text; text = "" }
        else if (found && c == "," && depth == 1) break
        at++
    }
    if (found) print place "\t" text
}
{ all = all $0 "\n"; start[FNR] = length(all) }
END {
    line = 1
    for (at = 1; match(substr(all, at), /[^_a-z](error_at|warn_at|note_at|WRONG|SKIP)\(/); ) {
        from = at + RSTART
        at += RSTART + RLENGTH - 1
        while (start[line] < from) line++
        head = substr(all, at, 10)
        if (head !~ /^Loc at, c/ && head !~ /^\.\.\./) call(name ":" line)
    }
}
AWK

# A format as an extended regular expression.
to_pattern() {
    sed -e 's/\\"/"/g' -e "s/\\\\\\\\/\\\\/g" -e 's/[][().*^$+?{}|\\]/\\&/g' -e 's/%%/%/g' \
        -e 's/%[-0-9.\\*]*[lhz]*[a-zA-Z]/.*/g' -e 's/"/"/g'
}

uncovered() {
    for source in "$top_srcdir"/compiler/*.c "$top_srcdir"/compiler/lex.l "$top_srcdir"/compiler/parse.y; do
        awk -v name="$(basename "$source")" -f "$scratch/formats.awk" "$source"
    done > "$scratch/formats"
    [ -s "$scratch/formats" ] || { echo "no messages found"; return 1; }
    sed -n 's/^.*: \(error\|warning\|note\): //p' "$tests"/messages/*.err > "$scratch/said"
    cat "$tests"/unit/*_test.c | sed -e 's/\\"/"/g' >> "$scratch/said"
    tab=$(printf '\t')
    status=0
    while IFS= read -r entry; do
        place=${entry%%"$tab"*} format=${entry#*"$tab"}
        case $format in *[a-z][a-z][a-z]*) ;; *) format= ;; esac
        [ -n "$format" ] && printf '%s\n' "$format" | to_pattern > "$scratch/pattern" && grep -qE -f "$scratch/pattern" "$scratch/said" && continue
        grep -qF -- "$tab${entry#*"$tab"}" "$tests/messages.except" && continue
        echo "no test of the message at $place: ${entry#*"$tab"}"
        status=1
    done < "$scratch/formats"
    return $status
}

# What stands in the list of exceptions is still in the sources.
stale() {
    status=0
    while IFS=$(printf '\t') read -r reason format; do
        case $reason in '#'* | '') continue ;; esac
        cut -f2- "$scratch/formats" | grep -qxF -- "$format" || { echo "no such message any more: $format"; status=1; }
    done < "$tests/messages.except"
    return $status
}

missing() { says "error: cannot read 'missing.nl': No such file or directory" "$NLC" check missing.nl; }
too_large() {
    dd if=/dev/zero of="$scratch/large.nl" bs=1 count=1 seek=67108864 2>/dev/null
    says "error: cannot read '$scratch/large.nl': a source file has at most 64 MB" "$NLC" check "$scratch/large.nl"
}

check "every message has a test" uncovered
check "exceptions are messages" stale
check "a source that is not there" missing
check "a source that is too large" too_large
finish
