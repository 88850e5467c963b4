#!/usr/bin/env python3
"""The files that the programs of this folder read.

    inputs.py FOLDER mlp                    640 items of 784 numbers, their labels, three matrices of weights
    inputs.py FOLDER nested [NAME=VALUE..]  what nested/*.nl read; names: the constants of these programs

Every number is a hash of its place, so that any program in any language can make the same ones.
"""
import array, math, os, struct, sys


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


folder = sys.argv[1]


def save(name, shape, values):
    write_npy(os.path.join(folder, name + ".npy"), "<f4", shape, array.array("f", values))


def mlp(items=640):
    save("x", (items, 784), hashed(items * 784, 21, 1))
    write_npy(os.path.join(folder, "y.npy"), "<i4", (items,), array.array("i", [i * 7 % 10 for i in range(items)]))
    for k, (i, o) in enumerate(((784, 256), (256, 256), (256, 10))):
        save(f"w{k}", (o, i), hashed(o * i, 22 + k, i**-0.5))


# ---- learning inside learning

def some(name, shape, salt, scale=1, middle=0):
    """Numbers from middle - scale to middle + scale."""
    save(name, shape, (middle + x for x in hashed(math.prod(shape), salt, scale)))


def keys(name, shape, salt):
    """Rows of length 1."""
    x, d = hashed(math.prod(shape), salt, 1), shape[-1]
    for at in range(0, len(x), d):
        long = math.sqrt(sum(z * z for z in x[at:at + d]))
        x[at:at + d] = array.array("f", [z / long for z in x[at:at + d]])
    save(name, shape, x)


def delta(B=8, T=1024, D=64):
    """What delta.nl, gated.nl and ttt.nl read."""
    some("delta_q", (B, T, D), 1)
    keys("delta_k", (B, T, D), 2)
    some("delta_v", (B, T, D), 3)
    some("delta_b", (B, T), 4, 0.5, 0.5)
    some("delta_a", (B, T), 5, 0.05, 0.95)
    some("delta_w", (B, T, D), 6)
    some("ttt_e", (B, T), 4, 0.25, 0.25)
    some("ttt_W", (D, D), 7, D**-0.5)


def titans(N=4, L=512, D=64, H=256, C=16):
    some("titans_q", (N, L, D), 11)
    keys("titans_k", (N, L, D), 12)
    some("titans_v", (N, L, D), 13)
    some("titans_t", (N, L), 14, 0.005, 0.005)
    some("titans_e", (N, L // C), 15, 0.1, 0.6)
    some("titans_a", (N, L // C), 16, 0.02, 0.02)
    some("titans_W2", (D, H), 17, D**-0.5)
    some("titans_W1", (H, D), 18, H**-0.5)
    some("titans_w", (N, L, D), 19)


def selfmod(N=4, L=512, D=64):
    some("selfmod_x", (N, L, D), 1)
    matrices, gates = hashed(3 * D * D, 8, D**-0.5), hashed(2 * D, 9, 0.3 * D**-0.5)
    save("selfmod_S", (3 * D + 2, D), matrices + gates)
    some("selfmod_Q", (D, D), 7, D**-0.5)
    some("selfmod_w", (N, L, D), 6)


def maml(TASKS=25, SHOTS=10):
    """Sines of some height and phase, a few points of each to adapt to and a few to be judged by."""
    height = [1 + 2 * (x + 1) for x in hashed(TASKS, 53, 1)]
    phase = [1.57 * (x + 1) for x in hashed(TASKS, 54, 1)]
    for name, salt in (("s", 51), ("q", 52)):
        x = hashed(TASKS * SHOTS, salt, 5)
        save("maml_x" + name, (TASKS, SHOTS, 1), x)
        save("maml_y" + name, (TASKS, SHOTS, 1),
             (height[i // SHOTS] * math.sin(x[i] - phase[i // SHOTS]) for i in range(len(x))))
    some("maml_W1", (40, 1), 55)
    some("maml_W2", (40, 40), 56, 0.27)
    some("maml_W3", (1, 40), 57, 0.27)


def nested(**sizes):
    for make in (delta, titans, selfmod, maml):
        names = make.__code__.co_varnames[:make.__code__.co_argcount]
        make(**{name: sizes[name] for name in names if name in sizes})


sizes = (word.split("=") for word in sys.argv[3:])
{"mlp": mlp, "nested": nested}[sys.argv[2]](**{name: int(value) for name, value in sizes})
