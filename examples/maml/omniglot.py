#!/usr/bin/env python3
"""omniglot.py ARCHIVE.zip OUT.npy.gz: the drawings of an Omniglot archive, 105 x 105 pixels of one bit, as sums of ink over
boxes of 7 x 7: bytes [characters, 20 drawers, 225], characters in the order of their names."""
import gzip
import struct
import sys
import zipfile
import zlib

SIDE, BOX = 105, 7


def pixels(png):
    """Rows of 0 (ink) and 1 (paper) of a grey PNG of one bit, not interlaced."""
    at, data = 8, b""
    while at < len(png):
        size, kind = struct.unpack(">I4s", png[at:at + 8])
        if kind == b"IHDR" and png[at + 8:at + 8 + size] != struct.pack(">IIBBBBB", SIDE, SIDE, 1, 0, 0, 0, 0):
            raise SystemExit("a drawing is not a grey PNG of 105 x 105 bits")
        if kind == b"IDAT":
            data += png[at + 8:at + 8 + size]
        at += 12 + size
    data = zlib.decompress(data)
    width = (SIDE + 7) // 8
    above, rows = [0] * width, []
    for y in range(SIDE):
        kind, line = data[y * (width + 1)], list(data[y * (width + 1) + 1:(y + 1) * (width + 1)])
        for i in range(width):
            a, b, c = line[i - 1] if i else 0, above[i], above[i - 1] if i else 0
            p = a + b - c
            paeth = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            line[i] = (line[i] + (0, a, b, (a + b) // 2, paeth)[kind]) % 256
        rows.append([line[x // 8] >> 7 - x % 8 & 1 for x in range(SIDE)])
        above = line
    return rows


def boxes(rows):
    n = SIDE // BOX
    return bytes(BOX * BOX - sum(sum(rows[BOX * i + k][BOX * j:BOX * j + BOX]) for k in range(BOX)) for i in range(n) for j in range(n))


def main(archive, out):
    with zipfile.ZipFile(archive) as z:
        names = sorted(n for n in z.namelist() if n.endswith(".png"))
        body = b"".join(boxes(pixels(z.read(n))) for n in names)
    count = len(names) // 20
    head = "{'descr': '|u1', 'fortran_order': False, 'shape': (%d, 20, %d), }" % (count, len(body) // len(names))
    head += " " * (-(len(head) + 11) % 64) + "\n"
    with open(out, "wb") as f, gzip.GzipFile("", "wb", 9, f, 0) as g:
        g.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + body)


main(*sys.argv[1:])
