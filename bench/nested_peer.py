#!/usr/bin/env python3
"""What a program of nested/ computes, in another system. Answers requests, one a line, on the standard input:

    nested_peer.py SYSTEM THREADS FOLDER WORKLOAD       SYSTEM: eager, compile (PyTorch) or jax
                                                        WORKLOAD: a program of nested/, delta-chunk or gated-chunk

    check N  ->  begins anew and makes N steps: numbers to compare by, and the seconds of the very first step, in which
                 everything is compiled
    run N    ->  makes N steps; how long each took until its gradients were known, in microseconds
    peak 0   ->  the most memory the process ever held, in MiB

A step is a loss and its gradient with respect to every input, through all the steps that the memory inside makes; for
maml also the step of Adam. The numbers are the sums of the gradients' absolute values, for maml the losses. The folder
holds what inputs.py writes. In torch.compile the body of a long loop is compiled, and the loop is Python: a thousand
turns unrolled it does not compile in bearable time; short loops are compiled whole.
"""
import json, os, resource, sys, time

system, threads, folder, workload = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = str(threads)
if system == "jax":
    os.environ["JAX_PLATFORMS"] = "cpu"
    if threads == 1:
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
import numpy as np

load = lambda name: np.load(os.path.join(folder, name + ".npy"))
if system == "jax":
    import jax, jax.numpy as jnp
    jax.config.update("jax_cpu_enable_async_dispatch", False)          # each step is waited for
    xp, scan = jnp, jax.lax.scan
    sigmoid, silu, relu = jax.nn.sigmoid, jax.nn.silu, jax.nn.relu
else:
    import torch
    torch.set_num_threads(threads)
    xp = torch
    sigmoid, silu, relu = torch.sigmoid, torch.nn.functional.silu, torch.relu
made = torch.compile if system == "compile" else lambda f: f
C, CHUNK = 16, 32       # tokens in a chunk of ttt and titans; in one of the hand-written forms of the delta rules


# ---- the delta rules, token by token: M <- a M - b (a M k - v) k'

def delta_torch(q, k, v, *rates):
    m = torch.zeros(len(q), q.shape[2], q.shape[2])
    ys = []
    for turn in zip(*(z.unbind(1) for z in (q, k, v) + rates)):         # a slice at every turn costs O(T^2) backwards
        m, y = delta_turn(m, *turn)
        ys.append(y)
    return torch.stack(ys, 1)


@made
def delta_turn(m, q, k, v, *rates):
    *a, b = (r[:, None, None] for r in rates)
    m = a[0] * m if a else m
    error = torch.baddbmm(v[:, :, None], m, k[:, :, None], beta=-1) * b
    m = torch.baddbmm(m, error, k[:, None], alpha=-1)
    return m, torch.bmm(m, q[:, :, None])[:, :, 0]


def delta_jax(*z):
    def turn(m, z):
        q, k, v, *a, b = z
        m = a[0] * m if a else m
        m = m - jnp.outer(b * (m @ k - v), k)
        return m, m @ q
    d = z[0].shape[2]
    return jax.vmap(lambda *z: scan(turn, jnp.zeros((d, d)), z, unroll=4)[1])(*z)


# ---- the same in chunks, as papers write them for GPUs. In a chunk that starts at S = M', with l_t the product of its
# first t gates:  A[t, i] = b_t l_t/l_i k_t . k_i below the diagonal,  U = (1 + A)^-1 diag(b) (V - diag(l) K S),
# outputs diag(l) Q S + tril(l_t/l_i q_t . k_i) U,  and the next S is l_C S + (diag(l_C/l) K)' U. What does not hold an
# S is computed for all chunks at once.

def chunk_parts(solve, q, k, v, *rates):
    n, t, d = q.shape
    cut = lambda z: z.reshape(n, t // CHUNK, CHUNK, *z.shape[2:])
    q, k, v, *a, b = (cut(z) for z in (q, k, v) + rates)
    keys, scores, b = k @ k.swapaxes(-1, -2), xp.tril(q @ k.swapaxes(-1, -2)), b[..., None]
    if not a:
        x = solve(xp.tril(b * keys, -1), xp.concatenate([b * v, b * k], -1))
        return x[..., :d], x[..., d:], q, scores, k
    log = xp.cumsum(xp.log(a[0]), -1)
    fade = xp.exp(xp.tril(log[..., :, None] - log[..., None, :]))
    kept, rest, last = xp.exp(log)[..., None], xp.exp(log[..., -1:] - log)[..., None], xp.exp(log[..., -1:])[..., None]
    x = solve(xp.tril(b * keys * fade, -1), xp.concatenate([b * v, b * kept * k], -1))
    return x[..., :d], x[..., d:], kept * q, scores * fade, rest * k, last


def chunk_turn(s, turn):
    values, keys, q, scores, k, *last = turn
    u = values - keys @ s
    return (last[0] * s if last else s) + k.swapaxes(-1, -2) @ u, q @ s + scores @ u


@made
def chunk_torch(*z):
    one = torch.eye(CHUNK)
    solve = lambda a, r: torch.linalg.solve_triangular(one + a, r, upper=False, unitriangular=True)
    parts = chunk_parts(solve, *z)
    n, t, d = z[0].shape
    s, ys = torch.zeros(n, d, d), []
    for c in range(t // CHUNK):
        s, y = chunk_turn(s, [p[:, c] for p in parts])
        ys.append(y)
    return torch.cat(ys, 1)


def chunk_jax(*z):
    one = jnp.eye(CHUNK)
    solve = lambda a, r: jax.scipy.linalg.solve_triangular(one + a, r, lower=True, unit_diagonal=True)
    n, t, d = z[0].shape
    turns = [p.swapaxes(0, 1) for p in chunk_parts(solve, *z)]
    return scan(chunk_turn, jnp.zeros((n, d, d)), turns)[1].swapaxes(0, 1).reshape(n, t, d)


# ---- TTT-Linear in its dual form: E = diag(e) (K W - V), outputs Q W - tril(Q K') E, the next W is W - K' E

@made
def ttt_turn(w, q, k, v, e):
    error = e[..., None] * (k @ w - v)
    return w - k.swapaxes(-1, -2) @ error, q @ w - xp.tril(q @ k.swapaxes(-1, -2)) @ error


def ttt_torch(q, k, v, e, w):
    w, ys = w.expand(len(q), -1, -1), []
    for turn in zip(*(z.split(C, 1) for z in (q, k, v, e))):
        w, y = ttt_turn(w, *turn)
        ys.append(y)
    return torch.cat(ys, 1)


def chunked(z):
    return z.reshape(len(z) // C, C, *z.shape[1:])


def ttt_jax(q, k, v, e, w):
    one = lambda *z: scan(lambda w, z: ttt_turn(w, *z), w, tuple(map(chunked, z)))[1].reshape(z[0].shape)
    return jax.vmap(one)(q, k, v, e)


# ---- Titans: s <- e s - (gradient of sum t |m(k) - v|^2 at the chunk's start), m <- (1 - a) m + s, m two layers

@made
def titans_torch(q, k, v, t, e, a, w1, w2):
    n = len(q)
    m = [w2.expand(n, -1, -1), w1.expand(n, -1, -1)]
    s, ys = [torch.zeros_like(w) for w in m], []
    q, k, v, t = (z.split(C, 1) for z in (q, k, v, t))
    for c in range(len(q)):
        ys.append(silu(q[c] @ m[0]) @ m[1])
        z = k[c] @ m[0]                                                 # the inner gradient, written out
        gate, h = sigmoid(z), silu(z)
        error = 2 * t[c][..., None] * (h @ m[1] - v[c])
        back = error @ m[1].transpose(1, 2) * (gate * (1 + z * (1 - gate)))
        g = [k[c].transpose(1, 2) @ back, h.transpose(1, 2) @ error]
        s = [e[:, c, None, None] * x - y for x, y in zip(s, g)]
        m = [(1 - a[:, c, None, None]) * x + y for x, y in zip(m, s)]
    return torch.cat(ys, 1)


def titans_jax(q, k, v, t, e, a, w1, w2):
    answer = lambda m, x: silu(x @ m[0]) @ m[1]
    inner = jax.grad(lambda m, k, v, t: (t * ((answer(m, k) - v) ** 2).sum(-1)).sum())

    def turn(state, z):
        (m, s), (q, k, v, t, e, a) = state, z
        s = [e * x - g for x, g in zip(s, inner(m, k, v, t))]
        return ([(1 - a) * x + y for x, y in zip(m, s)], s), answer(m, q)

    def one(q, k, v, t, e, a):
        begin = ([w2, w1], [jnp.zeros_like(w2), jnp.zeros_like(w1)])
        return scan(turn, begin, (*map(chunked, (q, k, v, t)), e, a))[1].reshape(q.shape)
    return jax.vmap(one)(q, k, v, t, e, a)


# ---- self-modifying Titans: all memories are rows of one matrix s: s <- alpha s - eta (2 s k - s v) k'

@made
def selfmod_turn(s, x, wq):
    d = x.shape[-1]
    unit = lambda z: z / xp.sqrt((z * z).sum(-1)[..., None] + 1e-6)
    times = lambda m, z: (m @ z[..., None])[..., 0]
    r = times(s, x)
    k, v = unit(r[..., :d]), r[..., d:2 * d]
    eta, alpha = 0.5 * sigmoid(r[..., 3 * d:3 * d + 1] - 1), sigmoid(r[..., 3 * d + 1:] + 3)
    y = times(s[..., 2 * d:3 * d, :], unit(x @ wq.T))
    write = eta * (2 * times(s, k) - times(s, v))
    return alpha[..., None] * s - write[..., None] * k[..., None, :], y


def selfmod_torch(x, s, wq):
    s, ys = s.expand(len(x), -1, -1), []
    for turn in x.unbind(1):
        s, y = selfmod_turn(s, turn, wq)
        ys.append(y)
    return torch.stack(ys, 1)


def selfmod_jax(x, s, wq):
    return jax.vmap(lambda x: scan(lambda s, x: selfmod_turn(s, x, wq), s, x, unroll=4)[1])(x)


# ---- MAML of second order: five steps of descent inside, one of Adam outside

RATE, B1, B2, EPS = 1e-3, 0.9, 0.999, 1e-8


def net(p, x):
    return relu(relu(x @ p[0].T + p[1]) @ p[2].T + p[3]) @ p[4].T + p[5]


def task(grad, p, xs, ys, xq, yq):
    miss = lambda p, x, y: ((net(p, x) - y) ** 2).mean()
    for _ in range(5):
        p = tuple(w - 0.01 * g for w, g in zip(p, grad(miss)(p, xs, ys)))
    return miss(p, xq, yq)


def weights():
    zero = lambda n: np.zeros(n, np.float32)
    return load("maml_W1"), zero(40), load("maml_W2"), zero(40), load("maml_W3"), zero(1)


points = lambda: [load("maml_" + name) for name in ("xs", "ys", "xq", "yq")]


class MamlTorch:
    def __init__(self):
        points_ = [torch.tensor(z) for z in points()]
        each = lambda p, *z: task(torch.func.grad, p, *z)
        loss = lambda p: torch.func.vmap(each, in_dims=(None, 0, 0, 0, 0))(p, *points_).mean()
        self.loss = made(loss)
        self.begin()

    def begin(self):
        self.p = tuple(torch.tensor(w, requires_grad=True) for w in weights())
        self.opt = torch.optim.Adam(self.p, RATE, (B1, B2), EPS)

    def step(self):
        self.opt.zero_grad()
        self.value = self.loss(self.p)
        self.value.backward()
        self.opt.step()

    def numbers(self):
        return [float(self.value.detach())]


class MamlJax:
    def __init__(self):
        points_ = [jnp.asarray(z) for z in points()]
        loss = lambda p: jax.vmap(lambda *z: task(jax.grad, p, *z))(*points_).mean()

        def update(p, m, v, t):
            value, g = jax.value_and_grad(loss)(p)
            t = t + 1
            m = [B1 * m + (1 - B1) * g for m, g in zip(m, g)]
            v = [B2 * v + (1 - B2) * g * g for v, g in zip(v, g)]
            c1, c2 = 1 - B1 ** t, 1 - B2 ** t
            p = tuple(p - RATE * (m / c1) / (jnp.sqrt(v / c2) + EPS) for p, m, v in zip(p, m, v))
            return p, m, v, t, value
        self.update = jax.jit(update, donate_argnums=(0, 1, 2, 3))
        self.begin()

    def begin(self):
        zeros = lambda: [jnp.zeros(w.shape) for w in weights()]
        self.state = (tuple(jnp.array(w) for w in weights()), zeros(), zeros(), jnp.zeros(()))

    def step(self):
        *self.state, self.value = self.update(*self.state)
        jax.block_until_ready((self.state, self.value))

    def numbers(self):
        return [float(self.value)]


# ---- a loss on outputs, and its gradient with respect to all inputs

class GradTorch:
    def __init__(self, outputs, inputs, weight):
        self.inputs = [torch.tensor(z, requires_grad=True) for z in inputs]
        self.loss = lambda: (outputs(*self.inputs) * weight_).sum()
        weight_ = torch.tensor(weight)

    def begin(self):
        pass

    def step(self):
        for z in self.inputs:
            z.grad = None
        self.loss().backward()

    def numbers(self):
        return [float(z.grad.abs().sum(dtype=torch.float64)) for z in self.inputs]


class GradJax:
    def __init__(self, outputs, inputs, weight):
        self.inputs = [jnp.asarray(z) for z in inputs]
        weight_ = jnp.asarray(weight)
        self.grad = jax.jit(jax.grad(lambda z: (outputs(*z) * weight_).sum()))

    def begin(self):
        pass

    def step(self):
        self.answer = jax.block_until_ready(self.grad(self.inputs))

    def numbers(self):
        return [float(np.abs(np.asarray(g, np.float64)).sum()) for g in self.answer]


inputs = {"delta": "delta_q delta_k delta_v delta_b delta_w",
          "gated": "delta_q delta_k delta_v delta_a delta_b delta_w",
          "ttt": "delta_q delta_k delta_v ttt_e ttt_W delta_w",
          "titans": "titans_q titans_k titans_v titans_t titans_e titans_a titans_W1 titans_W2 titans_w",
          "selfmod": "selfmod_x selfmod_S selfmod_Q selfmod_w"}


def make():
    kind = "jax" if system == "jax" else "torch"
    if workload == "maml":
        return MamlJax() if kind == "jax" else MamlTorch()
    base = workload.split("-")[0]
    *given, weight = (load(name) for name in inputs[base].split())
    name = "chunk" if workload.endswith("-chunk") else "delta" if base == "gated" else base
    return (GradJax if kind == "jax" else GradTorch)(globals()[f"{name}_{kind}"], given, weight)


def seconds():
    start = time.perf_counter()
    peer.step()
    return time.perf_counter() - start


def check(n):
    peer.begin()
    spent, numbers = [], []
    for _ in range(n):
        spent.append(seconds())
        numbers.append(peer.numbers())
    return {"numbers": numbers, "first": spent[0]}


peer = make()
for line in sys.stdin:
    what, n = line.split()
    answer = (check(int(n)) if what == "check" else [1e6 * seconds() for _ in range(int(n))] if what == "run" else
              resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(json.dumps(answer), flush=True)
