#!/bin/sh
# `make install` into a folder: the installed nlc finds its library and its runtime there, and nothing of the build tree.
. "${top_srcdir:-.}/tests/lib.sh"
cat > "$scratch/p.nl" <<'END'
use optim
model M over () { learn w : [] = 2  with gd(1);  report w;  minimize w }
schedule { train M for 1 steps;  test M }
END
root=$scratch/root
installs() { ${MAKE:-make} -s -C "$top_builddir" install DESTDIR="$root" prefix=/usr exec_prefix=/usr libdir=/usr/lib datadir=/usr/share bindir=/usr/bin mandir=/usr/share/man; }
runs()     { cd "$scratch" && "$root/usr/bin/nlc" run p.nl --quiet; }
leaves()   { ${MAKE:-make} -s -C "$top_builddir" uninstall DESTDIR="$root" prefix=/usr exec_prefix=/usr libdir=/usr/lib datadir=/usr/share bindir=/usr/bin mandir=/usr/share/man &&
             [ -z "$(find "$root" -type f)" ]; }
check "make install"                       installs
check "the installed nlc compiles and runs" runs
check "make uninstall leaves no file"      leaves
finish
