#!/usr/bin/env python3
"""Times what nlc makes, beside PyTorch and JAX where this interpreter has them.

    compare.py NLC FOLDER [PART..]       PARTS: step road memory nested; all of them without a word
                                 FOLDER: for files, is kept

The machine may be busy. So all systems take turns in one run, every step is timed alone, and the tables give two
figures: the fastest tenth (the 10 % quantile: what the system needs) and the median (with the machine's load in it).
Every system is kept to the same cores, as many as threads. In the environment: ROUNDS, the turns for each (default 8);
PRIORITY, a real-time priority for whatever is timed in the parts step, memory and nested (for root, on a busy machine);
ONLY, some of the workloads of nested; THREADS, 1 or 2 for one of its tables.
"""
import importlib.util, json, os, select, statistics, subprocess, sys, time

here = os.path.dirname(os.path.abspath(__file__))
nlc, folder = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
parts = sys.argv[3:] or ["step", "road", "memory", "nested"]
rounds = int(os.environ.get("ROUNDS", "8"))
priority = int(os.environ.get("PRIORITY", "0"))
cores = sorted(os.sched_getaffinity(0))
WARM, STEPS, CHECKED = 20, 100, 8

has = lambda name: importlib.util.find_spec(name) is not None
peers = (["eager", "fused", "compile"] if has("torch") else []) + (["jax", "jax-ahead"] if has("jax") else [])
title = {"nlc": "nlc", "eager": "PyTorch, eager", "fused": "PyTorch, eager, fused AdamW",
         "compile": "PyTorch, torch.compile, fused AdamW", "jax": "JAX, jit",
         "jax-ahead": "JAX, jit, waiting at every 10th step"}


def urgent(process, on=True):
    """Gives all threads of a process the priority that was asked for, or takes it from them."""
    if priority:
        policy = os.SCHED_RR if on else os.SCHED_OTHER         # in turns: threads that spin must not keep others out
        for thread in os.listdir(f"/proc/{process}/task"):
            os.sched_setscheduler(int(thread), policy, os.sched_param(priority if on else 0))


def run(*command, threads=1, hurry=False, **more):
    """Runs a command on the first cores; gives the finished process."""
    def begin():
        os.sched_setaffinity(0, cores[:threads])
        if hurry:
            urgent(os.getpid())
    done = subprocess.run(command, preexec_fn=begin, capture_output=True, text=True, cwd=folder, **more)
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
    run(os.path.join(folder, program), "--threads", str(threads), "--quiet", "--times", times, threads=threads,
        hurry=True)
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


class Peer:
    """A server, kept between the turns: a script of this folder, which answers requests, one a line."""
    def __init__(self, threads, script, *words, **more):
        keep = lambda: os.sched_setaffinity(0, cores[:threads])
        self.process = subprocess.Popen([sys.executable, os.path.join(here, script), *words], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, preexec_fn=keep,
                                        **more)

    def ask(self, what, n):
        self.process.stdin.write(f"{what} {n}\n")
        self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], 600)[0]:
            self.process.kill()
            sys.exit(f"a peer hangs: {self.process.args}")
        line = self.process.stdout.readline()
        return json.loads(line) if line else sys.exit(f"a peer died; run it by hand to see why: {self.process.args}")

    def times(self, n):
        """Microseconds of n steps."""
        urgent(self.process.pid)
        answer = self.ask("run", n)
        urgent(self.process.pid, False)
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def metrics(program, *options):
    """What an executable says of each training step, at one thread."""
    lines = os.path.join(folder, "lines")
    run(os.path.join(folder, program), "--quiet", "--threads", "1", "--log-every", "1", "--metrics", lines, *options)
    with open(lines) as f:
        return [e for e in map(json.loads, f) if e["event"] == "train"]


# ---- a training step

def mlp_peer(system, threads):
    return Peer(threads, "mlp_peer.py", system, str(threads), folder)


def nlc_losses():
    compile_nl("mlp.nl", "mlp-few", "-D", "WARM=0", "-D", f"STEPS={CHECKED}")
    return [e["loss"] for e in metrics("mlp-few")]


def check_losses(system, losses, own):
    apart = max(abs(a - b) / abs(b) for a, b in zip(losses, own))
    print(f"{title[system]}: losses of the first {len(own)} steps agree with nlc's to {apart:.1e}")
    if len(losses) != len(own) or not apart < 2e-4:
        sys.exit(f"{system} does not compute the same: {losses}, nlc {own}")


def compare_steps(threads):
    own = nlc_losses()
    servers = {system: mlp_peer(system, threads) for system in peers}
    times = {system: [] for system in ["nlc"] + peers}
    for system, server in servers.items():
        check_losses(system, server.ask("losses", CHECKED), own)
        server.ask("run", WARM)
    for _ in range(rounds):
        times["nlc"] += step_times("mlp", threads, WARM)
        for system, server in servers.items():
            server.ask("run", 5)
            times[system] += server.times(STEPS if system != "jax-ahead" else STEPS // 4)
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
    peer = mlp_peer(system, min(2, len(cores)))
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
            plain = float(run(os.path.join(folder, "memory-c"), threads=threads, hurry=True, env=few).stdout)
            t = step_times("memory", threads, 0)
            third = len(t) // 3
            now = {"y = 0.5 x + 0.1 y, in C": plain, "chain with tanh": min(t[:third]) / 1e3,
                   "softmax": min(t[third:-third]) / 1e3, "layer norm": min(t[-third:]) / 1e3}
            best = {k: min(v, best.get(k, v)) for k, v in now.items()}
        print(f"{threads} thread{'s' if threads > 1 else ''}:\n")
        plain = best["y = 0.5 x + 0.1 y, in C"]
        table(["kernel", "fastest, ms", "GB/s", "/ C"],
              [[k, f"{v:.2f}", f"{16384 * 1024 * 12 / v / 1e6:.1f}", f"{v / plain:.2f}"] for k, v in best.items()])


# ---- learning inside learning

inside = os.environ.get("ONLY", "delta delta-chunk gated gated-chunk ttt selfmod titans maml").split()
others = [s for s in ("eager", "compile", "jax") if s in peers]
short = {"eager": "eager", "compile": "torch.compile", "jax": "JAX"}


def source(workload):
    """The program: one for both ways in which others write the delta rules."""
    return workload.split("-")[0]


def nlc_numbers(name):
    """What the systems are compared by, of three steps: the sums of the gradients' absolute values, or the loss."""
    check = ["-D", "CHECK=1"] if "CHECK" in open(os.path.join(folder, name + ".nl")).read() else []
    compile_nl(name + ".nl", name + "-few", "-D", "STEPS=3", *check)
    known = ("event", "model", "stream", "step", "loss")
    return [[e[k] for k in e if k not in known] or [e["loss"]] for e in metrics(name + "-few")]


def check_numbers(workload, system, answer, own):
    pairs = [(a, b) for x, y in zip(answer, own) for a, b in zip(x, y)]
    apart = max(abs(a - b) / abs(b) for a, b in pairs)
    print(f"{workload}, {short[system]}: {len(own[0])} numbers of {len(own)} steps agree with nlc's to {apart:.1e}")
    if [len(x) for x in answer] != [len(x) for x in own] or not apart < 1e-5:
        sys.exit(f"{system} does not compute the same: {answer}, nlc {own}")


def nested_servers(workload, threads, own, cold):
    """The other systems, compiled and compared; the seconds of their first steps, where cold finds nothing compiled."""
    servers, first = {}, {}
    more = {"env": {**os.environ, "TORCHINDUCTOR_CACHE_DIR": os.path.join(folder, "cold-" + workload)}} if cold else {}
    for system in others:
        words = (system, str(threads), folder, workload)
        servers[system] = Peer(threads, "nested_peer.py", *words, **more)
        answer = servers[system].ask("check", len(own))
        check_numbers(workload, system, answer["numbers"], own)
        first[system] = answer["first"]
    return servers, first


def nested_times(workload, threads, servers):
    """Milliseconds of a step, the median; all take turns."""
    name = source(workload)
    steps = {s: max(3, min(100, int(6e5 / statistics.median(server.times(2))))) for s, server in servers.items()}
    times = {system: [] for system in ["nlc"] + others}
    for _ in range(max(2, rounds // 2)):
        times["nlc"] += step_times(name + "-steps", threads, 3)
        for system, server in servers.items():
            times[system] += server.times(steps[system] + 1)[1:]
    return {system: statistics.median(t) / 1e3 for system, t in times.items()}


def peak(*command):
    """The most memory that a command ever held, in MiB."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=folder)
    return os.wait4(process.pid, 0)[2].ru_maxrss / 1024


def nested_first(name):
    """Seconds from the source to the end of the first step, the median."""
    def once():
        made = compile_nl(name + ".nl", name + "-one", "-D", "STEPS=1")
        return made + timed(os.path.join(folder, name + "-one"), "--quiet")
    return statistics.median(once() for _ in range(5))


def beside(what, digits, rows):
    """A table: a figure for each system, and how much larger the others' are than nlc's."""
    head = ["workload", f"nlc, {what}"]
    for system in others:
        head += [f"{short[system]}, {what}", "/ nlc"]
    body = []
    for workload, t in rows.items():
        body.append([workload, f"{t['nlc']:.{digits}f}"])
        for system in others:
            body[-1] += [f"{t[system]:.{digits}f}", f"{t[system] / t['nlc']:.1f}"]
    table(head, body)


def show(workload, what, figures):
    print(f"{workload}, {what}: " + ", ".join(f"{s} {x:.2f}" for s, x in figures.items()), flush=True)


def part_nested():
    print("## Learning inside learning: loss and gradient through a memory's steps, f32\n")
    times, first, memory = {1: {}, 2: {}}, {}, {}
    counts = [int(n) for n in os.environ.get("THREADS", "2 1").split()]
    for workload in [w for w in inside if others or w == source(w)]:
        name = source(workload)
        own = nlc_numbers(name)
        compile_nl(name + ".nl", name + "-steps", "-D", f"STEPS={303 if name == 'maml' else 33}")
        for threads in counts:                     # what is compiled for two threads first has both cores to do so
            if threads > len(cores):
                continue
            servers, seconds = nested_servers(workload, threads, own, workload not in first)
            times[threads][workload] = nested_times(workload, threads, servers)
            show(workload, f"{threads} threads, ms", times[threads][workload])
            if workload not in first:
                first[workload] = {"nlc": nested_first(name), **seconds}
                memory[workload] = {"nlc": peak(os.path.join(folder, name + "-steps"), "--quiet")}
                memory[workload].update({s: server.ask("peak", 0) for s, server in servers.items()})
                show(workload, "first step, s", first[workload])
                show(workload, "memory, MiB", memory[workload])
            for server in servers.values():
                server.close()
    for threads, rows in times.items():
        if rows:
            print(f"\n{threads} thread{'s' if threads > 1 else ''}, median of a step:\n")
            beside("ms", 2, rows)
    print("From the source to the end of the first step:\n")
    beside("s", 2, first)
    print("The most memory, interpreters and libraries in it:\n")
    beside("MiB", 0, memory)


for name, package in (("PyTorch", "torch"), ("JAX", "jax")):
    if not has(package):
        print(f"{name} is skipped: {sys.executable} has no {package}")
for name in parts:
    globals()["part_" + name]()
