/* gemm.c: products as nlc emits them, beside the core's own peak and OpenBLAS, all in one process and one thread.

   usage: gemm [CPU [M N K]]     CPU: native, x86-64-v2, x86-64-v3, x86-64-v4; without sizes, a list of them
   A line: GFLOP/s of nlc, share of the peak, GFLOP/s of OpenBLAS (if its shared library is found), nlc / OpenBLAS.
   Every figure is the best of many short runs, taken in turn, so that a busy machine does little harm. */
#include "emit_jit.h"
#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef void (*Product)(const float *a, const float *b, float *c, float *scratch, int64_t tid, int64_t nthreads);
typedef void (*Sgemm)(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda,
                      const float *b, int ldb, float beta, float *c, int ldc);
typedef struct { int64_t m, n, k; bool ta, tb; char *name; ContractSpec s; double best, blas; } Shape;

enum { MAXSHAPES = 128 };
static Shape shape[MAXSHAPES];
static int nshapes;

static void add(int64_t m, int64_t n, int64_t k, bool ta, bool tb)
{
    Shape *x = &shape[nshapes++];
    *x = (Shape){ .m = m, .n = n, .k = k, .ta = ta, .tb = tb };
    x->name = arena_printf("mm_%d_%d_%d_%d%d", (int)m, (int)n, (int)k, ta, tb);
    ContractSpec *s = &x->s;
    s->dt = F32;
    if (m > 1) s->m[s->nm++] = (Ext){ m, ta ? 1 : k, 0, n };
    if (n > 1) s->n[s->nn++] = (Ext){ n, 0, tb ? k : 1, 1 };
    if (k > 1) s->k[s->nk++] = (Ext){ k, ta ? m : 1, tb ? 1 : n, 0 };
}

static void shapes(char **size)
{
    for (int form = 0; size && form < 4; form++)
        add(atoi(size[0]), atoi(size[1]), atoi(size[2]), form & 1, form & 2);
    if (size)
        return;
    static const int64_t square[] = { 8, 16, 32, 64, 128, 256, 512, 1024 };
    for (int form = 0; form < 4; form++)
        for (size_t i = 0; i < sizeof square / sizeof *square; i++)
            add(square[i], square[i], square[i], form & 1, form & 2);
    static const int64_t layer[][2] = { { 784, 256 }, { 256, 256 }, { 256, 10 } };      /* in, out; batch 64 */
    for (int i = 0; i < 3; i++) {
        int64_t in = layer[i][0], out = layer[i][1];
        add(64, out, in, false, false);              /* x W */
        add(64, out, in, false, true);               /* x W', W is [out, in] */
        add(64, in, out, false, false);              /* dx = dy W */
        add(64, in, out, false, true);
        add(out, in, 64, true, false);               /* dW = dy' x */
        add(in, out, 64, true, false);
    }
    add(1, 256, 784, false, false);                  /* one item */
    add(1, 256, 784, false, true);
    add(1, 256, 256, false, true);
    add(256, 784, 1, false, false);
}

/* Chains of multiply-adds in registers only: what the core can do. */
static void emit_peak(Em *em, int chains)
{
    LLVMValueRef p[1], tid, n, acc[32], next[32];
    em_kernel(em, "peak", 1, p, &tid, &n);
    int lanes = em_lanes(em, F32);
    LLVMBasicBlockRef before = LLVMGetInsertBlock(em->b);
    LLVMValueRef x = em_load(em, F32, lanes, p[0], NULL);
    EmLoop l = em_loop(em, em_int(em, 0), n, 1, true);
    for (int i = 0; i < chains; i++) {
        acc[i] = LLVMBuildPhi(em->b, LLVMTypeOf(x), "");
        LLVMAddIncoming(acc[i], &x, &before, 1);
    }
    for (int i = 0; i < chains; i++)
        next[i] = em_fma(em, acc[i], x, em_num_like(em, x, 1e-3 * (i + 1)));
    LLVMBasicBlockRef last = LLVMGetInsertBlock(em->b);
    for (int i = 0; i < chains; i++)
        LLVMAddIncoming(acc[i], &next[i], &last, 1);
    em_loop_end(em, &l);
    for (int i = 0; i < chains; i++)
        em_store(em, F32, next[i], p[0], em_int(em, i * lanes));
    em_kernel_end(em);
}

static double peak_now(void *lib, const Target *t, int chains)
{
    static float buffer[32 * 16];
    void (*peak)(float *, int64_t, int64_t) = (void (*)(float *, int64_t, int64_t))jit_find(lib, "peak");
    double best = 0;
    memset(buffer, 0, sizeof buffer);
    for (int r = 0; r < 40; r++) {
        double start = seconds();
        peak(buffer, 0, 20000);
        double rate = 2.0 * 20000 * chains * (t->vbytes / 4) / (seconds() - start) * 1e-9;
        best = rate > best ? rate : best;
    }
    return best;
}

/* Time on the core, so that neighbours on it do not count. */
static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float *filled(int64_t n)
{
    uint64_t rng = (uint64_t)n;
    float *p = aligned_alloc(64, ((size_t)n * 4 + 127) / 64 * 64);
    for (int64_t i = 0; i < n; i++)
        p[i] = (float)rng_unit(&rng);
    return p;
}

typedef struct { const float *a, *b; float *c, *scratch; } Data;

static void run_nlc(const Shape *x, void *f, const Data *d)
{
    (void)x;
    ((Product)f)(d->a, d->b, d->c, d->scratch, 0, 1);
}

static void run_blas(const Shape *x, void *f, const Data *d)
{
    enum { ROWS = 101, PLAIN = 111, TRANS = 112 };
    ((Sgemm)f)(ROWS, x->ta ? TRANS : PLAIN, x->tb ? TRANS : PLAIN, (int)x->m, (int)x->n, (int)x->k, 1, d->a,
               (int)(x->ta ? x->m : x->k), d->b, (int)(x->tb ? x->k : x->n), 0, d->c, (int)x->n);
}

/* GFLOP/s of one short run (about a millisecond). */
static double rate(const Shape *x, void (*run)(const Shape *, void *, const Data *), void *f, const Data *d)
{
    double work = 2.0 * (double)x->m * (double)x->n * (double)x->k;
    int64_t calls = (int64_t)(5e7 / work) + 1;
    double start = cpu_seconds();
    for (int64_t i = 0; i < calls; i++)
        run(x, f, d);
    return work * (double)calls / (cpu_seconds() - start) * 1e-9;
}

static void measure(Shape *x, const Target *t, void *lib, void *sgemm)
{
    size_t wants = (size_t)contract_scratch(t, &x->s);
    Data d = { filled(x->m * x->k), filled(x->k * x->n), filled(x->m * x->n),
               wants ? filled((int64_t)wants / 4) : NULL };
    void *f = jit_find(lib, x->name);
    for (int r = 0; r < 25; r++) {
        double mine = rate(x, run_nlc, f, &d), theirs = sgemm ? rate(x, run_blas, sgemm, &d) : 0;
        x->best = mine > x->best ? mine : x->best;
        x->blas = theirs > x->blas ? theirs : x->blas;
    }
    free((void *)d.a);
    free((void *)d.b);
    free(d.c);
    free(d.scratch);
}

static void *find_blas(void)
{
    void *lib = dlopen("libopenblas.so.0", RTLD_NOW);
    if (!lib)
        return NULL;
    void (*threads)(int) = (void (*)(int))dlsym(lib, "openblas_set_num_threads");
    char *(*core)(void) = (char *(*)(void))dlsym(lib, "openblas_get_corename");
    if (threads)
        threads(1);
    printf("OpenBLAS kernel: %s\n", core ? core() : "?");
    return dlsym(lib, "cblas_sgemm");
}

int main(int argc, char **argv)
{
    Target t;
    if (!target_find(&t, argc > 1 ? argv[1] : NULL))
        return 1;
    shapes(argc == 5 ? argv + 2 : NULL);
    Em *em = em_new(&t, "gemm");
    int chains = t.vregs == 32 ? 24 : 12;
    emit_peak(em, chains);
    for (int i = 0; i < nshapes; i++)
        emit_contract(em, &shape[i].s, shape[i].name);
    double start = seconds();
    void *lib = jit_load(em);
    printf("%d products compiled in %.0f ms\n", nshapes, 1e3 * (seconds() - start));
    void *sgemm = find_blas();
    double peak = peak_now(lib, &t, chains);
    printf("CPU %s, %d-byte vectors, peak %.1f GFLOP/s\n\n", t.cpu, t.vbytes, peak);
    printf("     m    n    k form    nlc  of peak  OpenBLAS  nlc/OpenBLAS\n");
    for (int i = 0; i < nshapes; i++) {
        Shape *x = &shape[i];
        measure(x, &t, lib, sgemm);
        printf("%6d %4d %4d  %c%c  %7.1f  %5.0f %%  ", (int)x->m, (int)x->n, (int)x->k, x->ta ? 't' : 'n',
               x->tb ? 't' : 'n', x->best, 100 * x->best / peak);
        if (sgemm)
            printf("%8.1f  %12.2f\n", x->blas, x->best / x->blas);
        else
            printf("       -             -\n");
    }
    return 0;
}
