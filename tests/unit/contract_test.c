/* contract_test.c: products of random loops, strides, types and thread counts, on several levels of the CPU, bit by
   bit against plain loops that follow the bits contract (one chain of multiply-adds over k, slabs, or 16 lanes and a
   tree). */
#include "emit_jit.h"
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef void (*Kernel)();
enum { COUNT = 120 };

static const char *const cpus[] = { NULL, "x86-64-v3", "x86-64-v2" };
enum { NCPU = sizeof cpus / sizeof *cpus };

typedef struct { ContractSpec s; int64_t na, nb, nc, outputs; char *name; bool epilogue; } Case;

/* ---- random cases */

static int64_t below(uint64_t *rng, int64_t n) { return (int64_t)(rng_next(rng) % (uint64_t)n); }

static int64_t extent(uint64_t *rng)
{
    static const int64_t some[] = { 2, 3, 4, 5, 7, 8, 10, 13, 16, 17, 24, 31, 32, 33, 40, 65 };
    return below(rng, 4) ? some[below(rng, 9)] : some[below(rng, 16)];
}

static int fill(uint64_t *rng, Ext *list, int max)
{
    int n = (int)below(rng, max + 1);
    for (int i = 0; i < n; i++)
        list[i] = (Ext){ extent(rng), 0, 0, 0 };
    return n;
}

/* Lays one operand out: its loops in a random order (or the order given), densely, now and then with a gap. Returns the
   number of elements from the first to the last. */
static int64_t lay_out(uint64_t *rng, Ext **loop, int n, int which, bool keep_last)
{
    int64_t stride = 1, last = 0;
    for (int i = n - 1; i >= 0; i--) {
        int j = keep_last && i == n - 1 ? i : (int)below(rng, i + 1);
        Ext *e = loop[j];
        loop[j] = loop[i];
        *(which == 0 ? &e->sa : which == 1 ? &e->sb : &e->sc) = stride;
        last += (e->n - 1) * stride;
        stride *= e->n;
        if (!below(rng, 6))
            stride += below(rng, 3);
    }
    return last + 1;
}

static int gather_loops(Ext **to, ContractSpec *s, bool m, bool n, bool k)
{
    int count = 0;
    for (int i = 0; i < s->nbatch; i++) to[count++] = &s->batch[i];
    for (int i = 0; k && i < s->nk; i++) to[count++] = &s->k[i];
    for (int i = 0; m && i < s->nm; i++) to[count++] = &s->m[i];
    for (int i = 0; n && i < s->nn; i++) to[count++] = &s->n[i];
    return count;
}

static int64_t volume(const Ext *e, int n)
{
    int64_t v = 1;
    for (int i = 0; i < n; i++)
        v *= e[i].n;
    return v;
}

static void strides(uint64_t *rng, Case *c)
{
    Ext *loop[4 * MAXDIM];
    ContractSpec *s = &c->s;
    int n = gather_loops(loop, s, true, false, true);
    c->na = lay_out(rng, loop, n, 0, false);
    n = gather_loops(loop, s, false, true, true);
    c->nb = lay_out(rng, loop, n, 1, false);
    n = gather_loops(loop, s, true, true, false);
    c->nc = lay_out(rng, loop, n, 2, s->nn > 0 && below(rng, 8));
    c->outputs = volume(s->batch, s->nbatch) * volume(s->m, s->nm) * volume(s->n, s->nn);
}

static Case random_case(uint64_t *rng, int number)
{
    Case c = { 0 };
    ContractSpec *s = &c.s;
    do {
        s->nbatch = fill(rng, s->batch, below(rng, 3) ? 0 : 2);
        s->nm = fill(rng, s->m, 2);
        s->nn = fill(rng, s->n, below(rng, 3) ? 1 : 2);
        s->nk = fill(rng, s->k, below(rng, 2) ? 1 : 3);
        if (s->nk && !below(rng, 3))
            s->k[below(rng, s->nk)].n = 100 + below(rng, 9000);
        strides(rng, &c);
    } while (c.outputs * volume(s->k, s->nk) > 3000000 || c.na > 2000000 || c.nb > 2000000);
    static const Dt types[] = { F32, F32, F32, F64, I32, I64 };
    s->dt = types[below(rng, 6)];
    c.epilogue = !below(rng, 3);
    c.name = arena_printf("case%d", number);
    return c;
}

/* ---- the reference */

typedef struct { double f; int64_t i; } Number;

static Number read_number(Dt dt, const void *p, int64_t i)
{
    switch (dt) {
    case F32: return (Number){ (double)((const float *)p)[i], 0 };
    case F64: return (Number){ ((const double *)p)[i], 0 };
    case I32: return (Number){ 0, ((const int32_t *)p)[i] };
    default: return (Number){ 0, ((const int64_t *)p)[i] };
    }
}

static double round_to(Dt dt, double x) { return dt == F32 ? (double)(float)x : x; }

static double mac(Dt dt, bool fused, double a, double b, double c)
{
    if (dt == F32)
        return (double)(fused ? fmaf((float)a, (float)b, (float)c) : (float)(a * b) + (float)c);
    volatile double product = a * b;
    return fused ? fma(a, b, c) : product + c;
}

static bool is_dot(const ContractSpec *s)
{
    if (!s->nk)
        return false;
    Ext k = s->k[s->nk - 1], m = { 1, 0, 0, 0 }, v = { 1, 0, 0, 0 };
    if (s->nm) m = s->m[s->nm - 1];
    for (int i = s->nm - 1; i >= 0; i--)
        if (m.n < 8 && s->m[i].n > m.n)
            m = s->m[i];
    if (s->nn) v = s->n[s->nn - 1];
    if (s->nbatch) {
        Ext b = s->batch[s->nbatch - 1];
        if (b.sc == 1 && v.sc != 1 && (b.sa == 1 || b.sb == 1))
            v = b;
    }
    int64_t few = m.n < v.n ? m.n : v.n;
    return ((few <= 4 && k.n >= 16) || (few <= 12 && k.n >= 64)) && k.sa == 1 && k.sb == 1 && v.sb != 1 && v.sa == 0;
}

/* Steps of k until the next slab begins. */
static int64_t slab_length(const ContractSpec *s, int64_t *period)
{
    int64_t inner = volume(s->k, s->nk);
    *period = inner;
    if (inner <= 4096)
        return inner;
    for (int cut = 0; ; cut++) {
        int64_t outer_of_inner = inner;
        inner /= s->k[cut].n;
        if (inner <= 4096) {
            *period = outer_of_inner;
            int64_t step = 4096 / inner < s->k[cut].n ? 4096 / inner : s->k[cut].n;
            return step * inner;
        }
    }
}

static void offsets(const Ext *list, int n, int64_t flat, int64_t *a, int64_t *b, int64_t *c)
{
    for (int i = n - 1; i >= 0; i--) {
        int64_t x = flat % list[i].n;
        flat /= list[i].n;
        *a += x * list[i].sa;
        *b += x * list[i].sb;
        *c += x * list[i].sc;
    }
}

static double tree(Dt dt, double *lane)
{
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++)
            lane[i] = round_to(dt, lane[i] + lane[i + half]);
    return lane[0];
}

static Number element(const ContractSpec *s, bool fused, const void *a, const void *b, int64_t ao, int64_t bo)
{
    int64_t ks = volume(s->k, s->nk), period, slab = slab_length(s, &period), in_period = 0, in_slab = 0;
    double chain = 0, total = 0, lane[16] = { 0 };
    uint64_t sum = 0;
    bool dot = is_dot(s), slabs = ks > 4096;
    int64_t last = s->nk ? s->k[s->nk - 1].n : 1;
    for (int64_t k = 0; k < ks; k++) {
        int64_t ka = ao, kb = bo, unused = 0;
        offsets(s->k, s->nk, k, &ka, &kb, &unused);
        Number x = read_number(s->dt, a, ka), y = read_number(s->dt, b, kb);
        sum += (uint64_t)x.i * (uint64_t)y.i;
        double *to = dot ? &lane[k % last % 16] : &chain;
        *to = mac(s->dt, fused, x.f, y.f, *to);
        in_slab++;
        in_period++;
        if (slabs && (in_slab == slab || in_period == period)) {
            total = round_to(s->dt, total + chain);
            chain = 0;
            in_slab = 0;
            if (in_period == period)
                in_period = 0;
        }
    }
    double f = dot ? tree(s->dt, lane) : slabs ? total : chain;
    return (Number){ f, s->dt == I32 ? (int64_t)(int32_t)sum : (int64_t)sum };
}

/* ---- running */

/* The test's epilogue: c = 2 v at the flat index, and a note in the extra operand that the element was visited. */
static void doubled(Em *em, const ContractSpec *s, LLVMValueRef v, int valid, LLVMValueRef batch, LLVMValueRef m,
                    LLVMValueRef n, const LLVMValueRef *operand)
{
    int64_t ms = volume(s->m, s->nm), ns = volume(s->n, s->nn);
    LLVMValueRef at = em_index(em, em_index(em, batch, ms, m), ns, n);
    LLVMValueRef twice = dt_float(s->dt) ? LLVMBuildFAdd(em->b, v, v, "") : LLVMBuildAdd(em->b, v, v, "");
    em_store_part(em, s->dt, twice, valid, operand[0], at);
    LLVMValueRef seen = em_load_part(em, s->dt, em_width(v), valid, operand[1], at);
    LLVMValueRef one = dt_float(s->dt) ? em_num(em, s->dt, em_width(v), 1) : em_inum(em, s->dt, em_width(v), 1);
    seen = dt_float(s->dt) ? LLVMBuildFAdd(em->b, seen, one, "") : LLVMBuildAdd(em->b, seen, one, "");
    em_store_part(em, s->dt, seen, valid, operand[1], at);
}

static void *filled(Dt dt, int64_t n, uint64_t *rng)
{
    char *p = guarded_alloc((size_t)(n * dt_size(dt)));
    for (int64_t i = 0; i < n; i++) {
        double x = rng_unit(rng);
        if (dt == F32) ((float *)p)[i] = (float)x;
        else if (dt == F64) ((double *)p)[i] = x;
        else if (dt == I32) ((int32_t *)p)[i] = (int32_t)(1000 * x);
        else ((int64_t *)p)[i] = (int64_t)(1000 * x);
    }
    return p;
}

typedef void (*Plain)(void *a, void *b, void *c, void *scratch, int64_t tid, int64_t nthreads);
typedef void (*Extra)(void *a, void *b, void *c, void *extra, void *scratch, int64_t tid, int64_t nthreads);

static void call(const Case *c, Kernel k, void *a, void *b, void *out, void *seen, void *scratch, int64_t tid,
                 int64_t nthreads)
{
    if (c->epilogue)
        ((Extra)k)(a, b, out, seen, scratch, tid, nthreads);
    else
        ((Plain)k)(a, b, out, scratch, tid, nthreads);
}

static void describe(const Case *c)
{
    const ContractSpec *s = &c->s;
    const Ext *list[4] = { s->batch, s->m, s->n, s->k };
    int n[4] = { s->nbatch, s->nm, s->nn, s->nk };
    fprintf(stderr, "%s type %d epilogue %d:", c->name, (int)s->dt, c->epilogue);
    for (int g = 0; g < 4; g++) {
        fprintf(stderr, " %c", "bmnk"[g]);
        for (int i = 0; i < n[g]; i++)
            fprintf(stderr, "[%d: %d %d %d]", (int)list[g][i].n, (int)list[g][i].sa, (int)list[g][i].sb,
                    (int)list[g][i].sc);
    }
    fprintf(stderr, "\n");
}

static void compare(const Case *c, const char *cpu, bool fused, int threads, void *a, void *b, const void *out,
                    const void *seen)
{
    const ContractSpec *s = &c->s;
    int64_t ms = volume(s->m, s->nm), ns = volume(s->n, s->nn);
    for (int64_t i = 0; i < c->outputs; i++) {
        int64_t ao = 0, bo = 0, co = 0;
        offsets(s->n, s->nn, i % ns, &ao, &bo, &co);
        offsets(s->m, s->nm, i / ns % ms, &ao, &bo, &co);
        offsets(s->batch, s->nbatch, i / ns / ms, &ao, &bo, &co);
        Number want = element(s, fused, a, b, ao, bo), got = read_number(s->dt, out, c->epilogue ? i : co);
        if (c->epilogue) {
            Number n = read_number(s->dt, seen, i);
            want.f = round_to(s->dt, 2 * want.f);
            want.i = s->dt == I32 ? (int64_t)(int32_t)(2 * want.i) : 2 * want.i;
            if (n.f + (double)n.i != 1)
                describe(c);
            cr_assert(n.f + (double)n.i == 1, "%s: element %d visited %g times", c->name, (int)i, n.f + (double)n.i);
        }
        if (want.f != got.f || want.i != got.i)
            describe(c);
        cr_assert(want.f == got.f && want.i == got.i, "%s on %s, %d threads, element %d: %.9g, not %.9g", c->name,
                  cpu ? cpu : "this machine", threads, (int)i, got.f + (double)got.i, want.f + (double)want.i);
    }
}

static void run_case(const Case *c, const Target *t, const char *cpu, void *lib)
{
    const ContractSpec *s = &c->s;
    uint64_t rng = (uint64_t)c->na;
    size_t bytes = (size_t)((c->epilogue ? c->outputs : c->nc) * dt_size(s->dt)), wants = (size_t)contract_scratch(t, s);
    void *a = filled(s->dt, c->na, &rng), *b = filled(s->dt, c->nb, &rng), *first = malloc(bytes);
    void *scratch = guarded_alloc(wants);
    size_t seen_bytes = (size_t)(c->outputs * dt_size(s->dt));
    Kernel k = (Kernel)jit_find(lib, c->name);
    for (int threads = 1; threads <= 7; threads += threads == 1 ? 1 : 5) {
        void *out = guarded_alloc(bytes), *seen = guarded_alloc(seen_bytes);
        for (int tid = 0; tid < threads; tid++)
            call(c, k, a, b, out, seen, scratch, tid, threads);
        if (threads == 1) {
            compare(c, cpu, t->fma, threads, a, b, out, seen);
            memcpy(first, out, bytes);
        } else {
            if (memcmp(first, out, bytes))
                describe(c);
            cr_assert(!memcmp(first, out, bytes), "%s: %d threads make other bits", c->name, threads);
        }
        guarded_free(out, bytes);
        guarded_free(seen, seen_bytes);
    }
    free(first);
    guarded_free(a, (size_t)(c->na * dt_size(s->dt)));
    guarded_free(b, (size_t)(c->nb * dt_size(s->dt)));
    guarded_free(scratch, wants);
}

static void run_all(Case *c, int n)
{
    for (int k = 0; k < NCPU; k++) {
        if (cpus[k] && !strcmp(cpus[k], "x86-64-v3") && !__builtin_cpu_supports("avx2"))
            continue;
        Target t;
        cr_assert(target_find(&t, cpus[k]));
        Em *em = em_new(&t, "products");
        for (int i = 0; i < n; i++) {
            if (c[i].epilogue) {
                c[i].s.nextra = 1;
                c[i].s.epilogue = doubled;
            }
            emit_contract(em, &c[i].s, c[i].name);
        }
        void *lib = jit_load(em);
        for (int i = 0; i < n; i++)
            run_case(&c[i], &t, cpus[k], lib);
    }
}

Test(contract, random_loops_and_strides)
{
    static Case c[COUNT];
    uint64_t rng = getenv("SEED") ? (uint64_t)atoi(getenv("SEED")) : 1;
    for (int i = 0; i < COUNT; i++)
        c[i] = random_case(&rng, i);
    run_all(c, COUNT);
}

/* Row-major matrices: a is [m,k] or [k,m], b is [k,n] or [n,k]. */
static Case matrices(int64_t m, int64_t n, int64_t k, bool ta, bool tb)
{
    Case c = { .na = m * k, .nb = k * n, .nc = m * n, .outputs = m * n };
    ContractSpec *s = &c.s;
    s->dt = F32;
    if (m > 1) s->m[s->nm++] = (Ext){ m, ta ? 1 : k, 0, n };
    if (n > 1) s->n[s->nn++] = (Ext){ n, 0, tb ? k : 1, 1 };
    if (k > 1) s->k[s->nk++] = (Ext){ k, ta ? m : 1, tb ? 1 : n, 0 };
    c.name = arena_printf("mm_%d_%d_%d_%d%d", (int)m, (int)n, (int)k, ta, tb);
    return c;
}

Test(contract, matrices_of_all_forms)
{
    static const int64_t size[][3] = { { 1, 1, 1 }, { 1, 1, 100 }, { 1, 64, 48 }, { 64, 1, 48 }, { 3, 5, 4 },
                                       { 16, 16, 16 }, { 65, 10, 256 }, { 13, 33, 1 }, { 100, 100, 100 },
                                       { 17, 40, 5000 }, { 2, 50, 40 }, { 12, 96, 17 }, { 130, 70, 33 }, { 1, 300, 1 },
                                       { 700, 270, 200 } };
    enum { SIZES = sizeof size / sizeof *size };
    static Case c[4 * SIZES];
    for (int i = 0; i < 4 * SIZES; i++)
        c[i] = matrices(size[i / 4][0], size[i / 4][1], size[i / 4][2], i & 1, i & 2);
    run_all(c, 4 * SIZES);
}
