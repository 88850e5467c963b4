#!/bin/sh
# run.sh: times what nlc makes, beside PyTorch and JAX where there are any. See README.md.
#     NLC=../build/nlc PYTHON=python3 bench/run.sh [step] [road] [memory] [nested]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
: "${NLC:=$here/../build/nlc}" "${PYTHON:=python3}"
command -v "$PYTHON" >/dev/null || { echo "run.sh: no $PYTHON; say PYTHON=... of an interpreter, best one with torch and jax" >&2; exit 1; }
command -v "$NLC" >/dev/null || { echo "run.sh: no $NLC; build nlc first, or say NLC=..." >&2; exit 1; }
scratch=$(mktemp -d -t nlc-bench-XXXXXX)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' INT TERM
"$PYTHON" "$here/inputs.py" "$scratch" mlp
"$PYTHON" "$here/inputs.py" "$scratch" nested
cp "$here/mlp.nl" "$here"/nested/*.nl "$scratch/"
"$PYTHON" "$here/compare.py" "$NLC" "$scratch" "$@"
