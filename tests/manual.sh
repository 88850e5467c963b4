#!/bin/sh
# The programs in the manual of the language (man/nl.5, after `.\" example NAME`), and those of README.md (after `<!-- NAME -->`):
# each compiles and runs.
. "${top_srcdir:-.}/tests/lib.sh"

# Text between .Bd and .Ed after each mark, one file each, with roff's escapes undone.
from_manual() {
    awk -v to="$1" '
        /^\.\\" example / { name = $3; next }
        /^\.Bd/ && name { out = to "/" name ".nl"; printf "" > out; next }
        /^\.Ed/ { out = name = ""; next }
        out {
            gsub(/\\-/, "-"); gsub(/\\\(aq/, "\047"); gsub(/\\&/, ""); gsub(/\\e/, "\\")
            print > out
        }' "$top_srcdir/man/nl.5"
}

from_readme() {
    awk -v to="$1" '
        /^<!-- [a-z]+ -->/ { name = $2; next }
        /^```nl/ && name { out = to "/" name ".nl"; printf "" > out; next }
        /^```/ { out = name = ""; next }
        out { print > out }' "$top_srcdir/README.md"
}

runs() { "$NLC" run "$1" --quiet && "$NLC" run --reference "$1" --quiet && "$NLC" gradcheck "$1" && "$NLC" graph "$1"; }

mkdir "$scratch/manual" "$scratch/readme"
from_manual "$scratch/manual"
from_readme "$scratch/readme"
for program in "$scratch"/manual/*.nl; do check "nl.5: $(basename "$program" .nl)" runs "$program"; done
for program in "$scratch"/readme/*.nl; do check "README: $(basename "$program" .nl)" runs "$program"; done
marked=$(grep -c '^\.\\" example ' "$top_srcdir/man/nl.5")
found() { [ "$(ls "$scratch/manual" | wc -l)" = "$marked" ]; }
check "all examples of nl.5 were found" found
finish
