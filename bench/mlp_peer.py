#!/usr/bin/env python3
"""The training step of mlp.nl in another system. Answers requests, one a line, on the standard input:

    mlp_peer.py SYSTEM THREADS FOLDER        SYSTEM: eager, fused, compile (PyTorch), jax or jax-ahead

    losses N  ->  begins anew and makes N steps; their losses
    run N     ->  makes N steps; how long each took until its loss was known, in microseconds
                  (jax-ahead: ten steps at a time, whose losses nobody waits for but the last)

The folder holds x.npy, y.npy, w0.npy, w1.npy, w2.npy as inputs.py writes them. Every system gets its batches
ready made and its weights as they are; what it compiles, it compiles before the first answer.
"""
import json, os, sys, time

system, threads, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = str(threads)
if system.startswith("jax"):
    os.environ["JAX_PLATFORMS"] = "cpu"
    if threads == 1:
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
import numpy as np

BATCH, RATE, B1, B2, EPS, DECAY = 64, 1e-3, 0.9, 0.999, 1e-8, 0.01
load = lambda name: np.load(os.path.join(folder, name + ".npy"))
x, y = load("x"), load("y")
weights = [load(f"w{i}") for i in range(3)]
batches = [(x[i:i + BATCH], y[i:i + BATCH]) for i in range(0, len(x), BATCH)]


class Torch:
    def __init__(self):
        import torch
        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        self.torch = torch
        self.batches = [(torch.tensor(a), torch.tensor(b).long()) for a, b in batches]
        nn = torch.nn
        self.net = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
        self.begin()

    def begin(self):
        torch = self.torch
        with torch.no_grad():
            for layer, w in zip(self.net[::2], weights):
                layer.weight.copy_(torch.tensor(w))
                layer.bias.zero_()
        fused = {"fused": True} if system != "eager" else {}
        self.opt = torch.optim.AdamW(self.net.parameters(), RATE, (B1, B2), EPS, DECAY, **fused)
        loss = lambda a, b: torch.nn.functional.cross_entropy(self.net(a), b)
        self.loss = torch.compile(loss) if system == "compile" else loss
        self.at = 0

    def step(self):
        a, b = self.batches[self.at % len(self.batches)]
        self.at += 1
        self.opt.zero_grad()
        loss = self.loss(a, b)
        loss.backward()
        self.opt.step()
        return loss

    def wait(self, loss):
        return float(loss.detach())


class Jax:
    def __init__(self):
        import jax, jax.numpy as jnp
        self.jax, self.jnp = jax, jnp
        self.batches = [(jnp.asarray(a), jnp.asarray(b)) for a, b in batches]

        def loss(p, a, b):
            h = a
            for i, (w, c) in enumerate(p):
                h = h @ w.T + c
                if i < 2:
                    h = jax.nn.relu(h)
            return -jax.nn.log_softmax(h)[jnp.arange(BATCH), b].mean()

        def update(p, m, v, t, a, b):
            value, g = jax.value_and_grad(loss)(p, a, b)
            t = t + 1
            each = jax.tree.map
            m = each(lambda m, g: B1 * m + (1 - B1) * g, m, g)
            v = each(lambda v, g: B2 * v + (1 - B2) * g * g, v, g)
            c1, c2 = 1 - B1 ** t, 1 - B2 ** t
            p = each(lambda p, m, v: p - RATE * (m / c1 / (jnp.sqrt(v / c2) + EPS) + DECAY * p), p, m, v)
            return p, m, v, t, value
        self.update = jax.jit(update, donate_argnums=(0, 1, 2, 3))
        self.begin()

    def begin(self):
        jnp = self.jnp
        p = [(jnp.array(w), jnp.zeros(w.shape[0])) for w in weights]
        zero = lambda: self.jax.tree.map(jnp.zeros_like, p)
        self.state = (p, zero(), zero(), jnp.zeros(()))
        self.at = 0

    def step(self):
        a, b = self.batches[self.at % len(self.batches)]
        self.at += 1
        *self.state, value = self.update(*self.state, a, b)
        return value

    def wait(self, loss):
        self.jax.block_until_ready(self.state)
        return float(loss)


def microseconds(step, ahead=10 if system == "jax-ahead" else 1):
    start = time.perf_counter()
    for _ in range(ahead):
        last = step()
    peer.wait(last)
    return 1e6 * (time.perf_counter() - start) / ahead


peer = (Jax if system.startswith("jax") else Torch)()
for line in sys.stdin:
    what, n = line.split()
    if what == "losses":
        peer.begin()
        answer = [peer.wait(peer.step()) for _ in range(int(n))]
    else:
        answer = [microseconds(peer.step) for _ in range(int(n))]
    print(json.dumps(answer), flush=True)
