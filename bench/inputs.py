#!/usr/bin/env python3
"""The files of mlp.nl: 640 items of 784 numbers, their labels, three matrices of weights.

    inputs.py FOLDER

Every number is a hash of its place, so that any program in any language can make the same ones.
"""
import array, os, struct, sys


def hashed(n, salt, scale):
    """x[i] = scale * (hash(i + salt * 2654435761) / 2^31 - 1)"""
    out = array.array("f")
    for i in range(n):
        x = (i + salt * 2654435761) & 0xFFFFFFFF
        x ^= x >> 16
        x = x * 0x7FEB352D & 0xFFFFFFFF
        x ^= x >> 15
        x = x * 0x846CA68B & 0xFFFFFFFF
        x ^= x >> 16
        out.append((x / 2**31 - 1) * scale)
    return out


def write_npy(path, kind, shape, values):
    header = str({"descr": kind, "fortran_order": False, "shape": shape})
    header += " " * (-(len(header) + 11) % 64) + "\n"
    if sys.byteorder == "big":
        values.byteswap()
    with open(path, "wb") as f:
        f.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + values.tobytes())


folder, items = sys.argv[1], 640
write_npy(os.path.join(folder, "x.npy"), "<f4", (items, 784), hashed(items * 784, 21, 1))
write_npy(os.path.join(folder, "y.npy"), "<i4", (items,), array.array("i", [i * 7 % 10 for i in range(items)]))
for k, (i, o) in enumerate(((784, 256), (256, 256), (256, 10))):
    write_npy(os.path.join(folder, f"w{k}.npy"), "<f4", (o, i), hashed(o * i, 22 + k, i**-0.5))
