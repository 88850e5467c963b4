#!/bin/sh
# The same for random programs about levels (gen_levels.c).
GENERATOR=gen_levels
: "${NPROGRAMS:=100}"
. "${top_srcdir:-.}/tests/diff/programs.sh"
