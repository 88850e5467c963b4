#!/usr/bin/env python3
"""Times what nlc makes, beside PyTorch and JAX where this interpreter has them.

    compare.py NLC FOLDER [PART..]       PARTS: step road memory; all of them without a word. FOLDER: for files, is kept

The machine may be busy. So all systems take turns in one run, every step is timed alone, and the tables give two
figures: the fastest tenth (the 10 % quantile: what the system needs) and the median (with the machine's load in it).
ROUNDS in the environment: turns for each (default 8). Every system is kept to the same cores, as many as threads.
"""
import importlib.util, json, os, statistics, subprocess, sys, time

here = os.path.dirname(os.path.abspath(__file__))
nlc, folder = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
parts = sys.argv[3:] or ["step", "road", "memory"]
rounds = int(os.environ.get("ROUNDS", "8"))
cores = sorted(os.sched_getaffinity(0))
WARM, STEPS, CHECKED = 20, 100, 8

has = lambda name: importlib.util.find_spec(name) is not None
peers = (["eager", "fused", "compile"] if has("torch") else []) + (["jax", "jax-ahead"] if has("jax") else [])
title = {"nlc": "nlc", "eager": "PyTorch, eager", "fused": "PyTorch, eager, fused AdamW",
         "compile": "PyTorch, torch.compile, fused AdamW", "jax": "JAX, jit",
         "jax-ahead": "JAX, jit, waiting at every 10th step"}


def run(*command, threads=1, **more):
    """Runs a command on the first cores; gives the finished process."""
    keep = lambda: os.sched_setaffinity(0, cores[:threads])
    done = subprocess.run(command, preexec_fn=keep, capture_output=True, text=True, cwd=folder, **more)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done


def timed(*command, **more):
    start = time.perf_counter()
    run(*command, **more)
    return time.perf_counter() - start


def compile_nl(source, out, *options):
    return timed(nlc, source, "-o", out, *options)


def step_times(program, threads, warm):
    """Microseconds of each training step of a program, less the first ones."""
    times = os.path.join(folder, "times")
    run(os.path.join(folder, program), "--threads", str(threads), "--quiet", "--times", times, threads=threads)
    with open(times) as f:
        return [float(line) for line in f][warm:]


def quantile(values, q):
    return sorted(values)[int(q * (len(values) - 1))]


def table(head, rows):
    rows = [head] + rows
    width = [max(len(str(r[i])) for r in rows) for i in range(len(head))]
    for k, r in enumerate(rows):
        cells = [str(c).ljust(w) if i == 0 else str(c).rjust(w) for i, (c, w) in enumerate(zip(r, width))]
        print("| " + " | ".join(cells) + " |")
        if k == 0:
            print("|" + "|".join("-" * (w + 1) + ("-" if i == 0 else ":") for i, w in enumerate(width)) + "|")
    print(flush=True)


# ---- a training step

class Peer:
    """A server of mlp_peer.py, kept between the turns."""
    def __init__(self, system, threads):
        keep = lambda: os.sched_setaffinity(0, cores[:threads])
        command = [sys.executable, os.path.join(here, "mlp_peer.py"), system, str(threads), folder]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True, preexec_fn=keep)

    def ask(self, what, n):
        self.process.stdin.write(f"{what} {n}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        return json.loads(line) if line else sys.exit("a peer died; run mlp_peer.py by hand to see why")

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def nlc_losses():
    compile_nl("mlp.nl", "mlp-few", "-D", "WARM=0", "-D", f"STEPS={CHECKED}")
    lines = os.path.join(folder, "lines")
    run(os.path.join(folder, "mlp-few"), "--quiet", "--threads", "1", "--log-every", "1", "--metrics", lines)
    with open(lines) as f:
        events = [json.loads(line) for line in f]
    return [e["loss"] for e in events if e["event"] == "train"]


def check_losses(system, losses, own):
    apart = max(abs(a - b) / abs(b) for a, b in zip(losses, own))
    print(f"{title[system]}: losses of the first {len(own)} steps agree with nlc's to {apart:.1e}")
    if len(losses) != len(own) or not apart < 2e-4:
        sys.exit(f"{system} does not compute the same: {losses}, nlc {own}")


def compare_steps(threads):
    own = nlc_losses()
    servers = {system: Peer(system, threads) for system in peers}
    times = {system: [] for system in ["nlc"] + peers}
    for system, server in servers.items():
        check_losses(system, server.ask("losses", CHECKED), own)
        server.ask("run", WARM)
    for _ in range(rounds):
        times["nlc"] += step_times("mlp", threads, WARM)
        for system, server in servers.items():
            server.ask("run", 5)
            times[system] += server.ask("run", STEPS if system != "jax-ahead" else STEPS // 4)
    for server in servers.values():
        server.close()
    fast = {s: quantile(t, 0.1) for s, t in times.items()}
    middle = {s: statistics.median(t) for s, t in times.items()}
    print(f"\n{threads} thread{'s' if threads > 1 else ''}, {len(times['nlc'])} steps each:\n")
    row = lambda t, s: [f"{t[s]:.0f}", f"{t[s] / t['nlc']:.2f}"]
    table(["system", "fastest tenth, us", "/ nlc", "median, us", "/ nlc"],
          [[title[s]] + row(fast, s) + row(middle, s) for s in times])


def part_step():
    print("## One training step: MLP 784-256-256-10, batch 64, AdamW, f32\n")
    compile_nl("mlp.nl", "mlp", "-D", f"WARM={WARM}", "-D", f"STEPS={STEPS}")
    for threads in (1, 2):
        if threads <= len(cores):
            compare_steps(threads)


# ---- from the source to the first result

def first_step(system):
    """Seconds from nothing to the first finished step."""
    if system == "nlc":
        made = compile_nl("mlp.nl", "mlp-one", "-D", "WARM=0", "-D", "STEPS=1")
        return made + timed(os.path.join(folder, "mlp-one"), "--quiet")
    start = time.perf_counter()
    peer = Peer(system, min(2, len(cores)))
    peer.ask("losses", 1)
    spent = time.perf_counter() - start
    peer.close()
    return spent


def part_road():
    print("## From the source to a result\n")
    notebook = os.path.join(here, "..", "examples", "notebook", "notebook.nl")
    make = lambda: compile_nl(notebook, "notebook", "--float=f64")
    live = lambda: timed(os.path.join(folder, "notebook"), "--quiet")
    times = {"compile": [], "run": []}
    for _ in range(2 * rounds):
        times["compile"].append(make())
        times["run"].append(live())
    systems = ["nlc"] + [s for s in peers if s != "jax-ahead"]
    first = {s: [first_step(s) for _ in range(rounds if s == "nlc" else 2)] for s in systems}
    ratio = lambda t, than: f"{min(t) / than:.1f}" if than else ""
    row = lambda what, t, than: [what, f"{min(t):.3f}", f"{statistics.median(t):.3f}", ratio(t, than)]
    rows = [row("notebook.nl: nlc", times["compile"], 0), row("notebook: the whole run", times["run"], 0)]
    rows += [row(f"MLP: nothing to first step done, {title[s]}", t, min(first["nlc"])) for s, t in first.items()]
    table(["what", "fastest, s", "median, s", "/ nlc"], rows)


# ---- memory

def part_memory():
    print("## Kernels that memory bounds: 16384 x 1024 numbers, two arrays read and one written\n")
    compile_nl(os.path.join(here, "memory.nl"), "memory")
    cc = os.environ.get("CC", "cc").split()
    run(*cc, "-O3", "-march=native", "-fopenmp", os.path.join(here, "memory.c"), "-o", os.path.join(folder, "memory-c"))
    for threads in (1, 2):
        if threads > len(cores):
            break
        best = {}
        for _ in range(max(2, rounds // 2)):
            few = {**os.environ, "OMP_NUM_THREADS": str(threads)}
            plain = float(run(os.path.join(folder, "memory-c"), threads=threads, env=few).stdout)
            t = step_times("memory", threads, 0)
            third = len(t) // 3
            now = {"y = 0.5 x + 0.1 y, in C": plain, "chain with tanh": min(t[:third]) / 1e3,
                   "softmax": min(t[third:-third]) / 1e3, "layer norm": min(t[-third:]) / 1e3}
            best = {k: min(v, best.get(k, v)) for k, v in now.items()}
        print(f"{threads} thread{'s' if threads > 1 else ''}:\n")
        plain = best["y = 0.5 x + 0.1 y, in C"]
        table(["kernel", "fastest, ms", "GB/s", "/ C"],
              [[k, f"{v:.2f}", f"{16384 * 1024 * 12 / v / 1e6:.1f}", f"{v / plain:.2f}"] for k, v in best.items()])


for name, package in (("PyTorch", "torch"), ("JAX", "jax")):
    if not has(package):
        print(f"{name} is skipped: {sys.executable} has no {package}")
for name in parts:
    globals()["part_" + name]()
