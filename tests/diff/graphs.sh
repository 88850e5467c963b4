#!/bin/sh
# Random graphs of all operations: the reference evaluator against emitted code, alone and by a team of threads.
# GRAPHS=N sets how many programs of several entries each, FIRST where the seeds begin.
. "${top_srcdir:-.}/tests/lib.sh"
: "${GRAPHS:=60}" "${FIRST:=1}"
group=10

agree() { "$top_builddir/tests/diff/graph_fuzz" -n "$group" -s "$1" | tee "$scratch/said" && grep -q " 0 differences" "$scratch/said"; }

from=$FIRST
while [ "$from" -lt $((FIRST + GRAPHS)) ]; do
    check "graphs from $from" agree "$from"
    from=$((from + group))
done
finish
