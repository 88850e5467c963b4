/* math_test.c: every function of emit_math.c against libm in double: error in units in the last place over a dense
   sweep of the floats, special values, and equal bits for scalars, vectors and every level of the CPU that has fma.
   */
#include "emit_jit.h"
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

typedef void (*Kernel)(const float *x, const float *y, float *out, int64_t tid, int64_t n);
typedef struct { const char *name; Op op; double (*ref)(double); double ulp, ulp_nofma; } Fn;

static double sigmoid_ref(double x) { return 1 / (1 + exp(-x)); }

static const Fn fns[] = {
    { "exp", OP_EXP, exp, 1.1, 1.6 },          { "log", OP_LOG, log, 1.1, 1.6 },
    { "sin", OP_SIN, sin, 1.6, 1.8 },          { "cos", OP_COS, cos, 1.6, 1.8 },
    { "tanh", OP_TANH, tanh, 2.5, 3.5 },       { "sigmoid", OP_SIGMOID, sigmoid_ref, 2.5, 2.5 },
    { "erf", OP_ERF, erf, 1.5, 2.0 },
};
enum { NFN = sizeof fns / sizeof *fns, N = 1 << 12 };

static const char *const cpus[] = { NULL, "x86-64-v3", "x86-64-v2" };   /* NULL: this machine */
enum { NCPU = sizeof cpus / sizeof *cpus };

/* out[i] = f(x[i] [, y[i]]) for i < n (the last argument), `lanes` at a time. */
static void emit_map(Em *em, const char *name, Op op, bool binary, Dt dt, int lanes)
{
    LLVMValueRef p[3], tid, n;
    em_kernel(em, name, 3, p, &tid, &n);
    EmLoop l = em_loop(em, em_int(em, 0), n, lanes, false);
    LLVMValueRef x = em_load(em, dt, lanes, p[0], l.i);
    LLVMValueRef v = binary ? emit_math2(em, op, x, em_load(em, dt, lanes, p[1], l.i)) : emit_math(em, op, x);
    em_store(em, dt, v, p[2], l.i);
    em_loop_end(em, &l);
    em_kernel_end(em);
}

static Target target_of(const char *cpu)
{
    Target t;
    cr_assert(target_find(&t, cpu));
    return t;
}

/* One library: for each function a scalar, a full vector and an odd width. */
static void *library(const Target *t)
{
    Em *em = em_new(t, "math");
    for (int i = 0; i < NFN; i++) {
        emit_map(em, arena_printf("%s_1", fns[i].name), fns[i].op, false, F32, 1);
        emit_map(em, arena_printf("%s_v", fns[i].name), fns[i].op, false, F32, em_lanes(em, F32));
        emit_map(em, arena_printf("%s_w", fns[i].name), fns[i].op, false, F32, 2);
        emit_map(em, arena_printf("%s_d", fns[i].name), fns[i].op, false, F64, em_lanes(em, F64));
    }
    emit_map(em, "pow_1", OP_POW, true, F32, 1);
    emit_map(em, "pow_v", OP_POW, true, F32, em_lanes(em, F32));
    emit_map(em, "mod_v", OP_MOD, true, F32, em_lanes(em, F32));
    return jit_load(em);
}

static bool here_runs(const char *cpu)
{
#if defined __x86_64__
    return !cpu || strcmp(cpu, "x86-64-v3") || __builtin_cpu_supports("avx2");
#else
    return !cpu;
#endif
}

static float from_bits(uint32_t b)
{
    float f;
    memcpy(&f, &b, 4);
    return f;
}

static uint32_t to_bits(float f)
{
    uint32_t b;
    memcpy(&b, &f, 4);
    return b;
}

static double ulps(float got, double want)
{
    if (isnan(want))
        return isnan(got) ? 0 : INFINITY;
    if (isnan(got))
        return INFINITY;
    if ((double)got == want || (float)want == got)
        return 0;
    double a = fabs(want);
    if (a < 0x1p-126)
        return fabs((double)got) <= 0x1p-126 ? 0 : INFINITY;
    if (a < 0x1p-120 && fabs((double)got - want) <= 0x1p-126)      /* a term was flushed to zero */
        return 0;
    if (isinf(got))
        return a > 0x1.fffffep127 ? 0 : INFINITY;
    return fabs((double)got - want) / ldexp(1, ilogb(fmin(a, 0x1.fffffep127)) - 23);
}

static bool same(float a, float b) { return to_bits(a) == to_bits(b) || (isnan(a) && isnan(b)); }

typedef struct { double worst; float at; uint64_t hash; } Worst;

static void sweep_chunk(const Fn *f, Kernel one, Kernel vec, Kernel two, const float *x, Worst *w)
{
    static float a[N], b[N], c[N];
    one(x, x, a, 0, N);
    vec(x, x, b, 0, N);
    two(x, x, c, 0, N);
    for (int i = 0; i < N; i++) {
        cr_assert(same(a[i], b[i]) && same(a[i], c[i]), "%s(%a): scalar %a, vector %a, pair %a", f->name, (double)x[i],
                  (double)a[i], (double)b[i], (double)c[i]);
        if (!isnan(x[i]) && fabsf(x[i]) < 0x1p-126f)
            continue;                                 /* denormals count as 0; tested with the special values */
        double e = ulps(a[i], f->ref((double)x[i]));
        if (e > w->worst) {
            w->worst = e;
            w->at = x[i];
        }
        w->hash = (w->hash ^ (isnan(a[i]) ? 1 : to_bits(a[i]))) * 0x100000001b3;
    }
}

static uint64_t sweep(const Fn *f, const char *cpu, bool fma, void *lib)
{
    static float x[N];
    Worst w = { 0, 0, 0 };
    Kernel one = (Kernel)jit_find(lib, arena_printf("%s_1", f->name));
    Kernel vec = (Kernel)jit_find(lib, arena_printf("%s_v", f->name));
    Kernel two = (Kernel)jit_find(lib, arena_printf("%s_w", f->name));
    uint64_t bits = 0;
    while (bits >> 32 == 0) {
        for (int i = 0; i < N; i++, bits += 2503)
            x[i] = from_bits((uint32_t)bits);
        sweep_chunk(f, one, vec, two, x, &w);
    }
    double bound = fma ? f->ulp : f->ulp_nofma;
    printf("# %-8s %-10s %.2f ulp at %.9g\n", f->name, cpu ? cpu : "native", w.worst, (double)w.at);
    cr_assert(w.worst <= bound, "%s: %g ulp at %a", f->name, w.worst, (double)w.at);
    return w.hash;
}

Test(math, accuracy)
{
    uint64_t hash[NFN][2] = { { 0 } };
    for (int k = 0; k < NCPU; k++) {
        if (!here_runs(cpus[k]))
            continue;
        Target t = target_of(cpus[k]);
        void *lib = library(&t);
        for (int mode = 0; mode < 2; mode++)
            for (int i = 0; i < NFN; i++) {
                flush_denormals(mode);
                uint64_t bits = sweep(&fns[i], cpus[k], t.fma, lib);
                flush_denormals(false);
                if (!t.fma)
                    continue;
                cr_assert(!hash[i][mode] || hash[i][mode] == bits, "%s: other bits on %s", fns[i].name, cpus[k]);
                hash[i][mode] = bits;
            }
    }
}

static void check(Kernel k, const char *name, float x, float y, double want)
{
    float xs[16], ys[16], out[16];
    for (int i = 0; i < 16; i++) {
        xs[i] = x;
        ys[i] = y;
    }
    k(xs, ys, out, 0, 16);
    for (int i = 0; i < 16; i++) {
        bool zero = want != 0 || !signbit(out[i]) == !signbit(want);
        cr_assert(ulps(out[i], want) <= 1 && zero, "%s(%g, %g) = %g, not %g", name, (double)x, (double)y,
                  (double)out[i], want);
    }
}

Test(math, special_values)
{
    static const struct { const char *f; float x; double want; } row[] = {
        { "exp", 0, 1 }, { "exp", -0.0f, 1 }, { "exp", INFINITY, INFINITY }, { "exp", -INFINITY, 0 },
        { "exp", NAN, NAN }, { "exp", 89, INFINITY }, { "exp", 1e30f, INFINITY }, { "exp", -1e30f, 0 },
        { "exp", -104, 0 },
        { "exp", 1e-40f, 1 },
        { "log", 0, -INFINITY }, { "log", -0.0f, -INFINITY }, { "log", -1, NAN }, { "log", INFINITY, INFINITY },
        { "log", -INFINITY, NAN }, { "log", NAN, NAN }, { "log", 1, 0 }, { "log", 1e-40f, -INFINITY },
        { "sin", 0, 0 }, { "sin", -0.0f, -0.0 }, { "sin", INFINITY, NAN }, { "sin", -INFINITY, NAN },
        { "sin", NAN, NAN },
        { "cos", 0, 1 }, { "cos", -0.0f, 1 }, { "cos", INFINITY, NAN }, { "cos", NAN, NAN },
        { "tanh", 0, 0 }, { "tanh", -0.0f, -0.0 }, { "tanh", INFINITY, 1 }, { "tanh", -INFINITY, -1 },
        { "tanh", NAN, NAN }, { "tanh", 1e30f, 1 }, { "tanh", 1e-30f, 1e-30f },
        { "sigmoid", 0, 0.5 }, { "sigmoid", INFINITY, 1 }, { "sigmoid", -INFINITY, 0 }, { "sigmoid", NAN, NAN },
        { "sigmoid", -200, 0 }, { "sigmoid", 200, 1 },
        { "erf", 0, 0 }, { "erf", -0.0f, -0.0 }, { "erf", INFINITY, 1 }, { "erf", -INFINITY, -1 }, { "erf", NAN, NAN },
    };
    for (int k = 0; k < NCPU; k++) {
        if (!here_runs(cpus[k]))
            continue;
        Target t = target_of(cpus[k]);
        void *lib = library(&t);
        for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
            check((Kernel)jit_find(lib, arena_printf("%s_v", row[i].f)), row[i].f, row[i].x, 0, row[i].want);
            check((Kernel)jit_find(lib, arena_printf("%s_1", row[i].f)), row[i].f, row[i].x, 0, row[i].want);
        }
    }
}

/* The lanes that are large take a detour; their neighbours must not notice. */
Test(math, trig_of_mixed_sizes)
{
    Target t = target_of(NULL);
    void *lib = library(&t);
    Kernel one = (Kernel)jit_find(lib, "sin_1"), vec = (Kernel)jit_find(lib, "sin_v");
    float x[16] = { 1, 1e20f, -3, 65536, 65537, -1e38f, NAN, INFINITY, 0, -0.0f, 2e5f, 7, 100, -2e9f, 1e-30f,
                    3e38f }, a[16], b[16];
    one(x, x, a, 0, 16);
    vec(x, x, b, 0, 16);
    for (int i = 0; i < 16; i++) {
        cr_assert(same(a[i], b[i]));
        cr_assert(ulps(a[i], sin((double)x[i])) <= 1.6, "sin(%a)", (double)x[i]);
    }
}

Test(math, power)
{
    static const float v[] = { 0, -0.0f, 1, -1, 2, -2, 3, -3, 0.5f, -0.5f, 1.5f, -1.5f, INFINITY, -INFINITY, NAN, 1e30f,
                               -1e30f, 1e-30f, 16777215, -16777215, 16777216, 33554433e10f, 0.99999994f, 1.0000001f,
                               100, -100, 0.1f };
    enum { NV = sizeof v / sizeof *v };
    for (int k = 0; k < NCPU; k++) {
        if (!here_runs(cpus[k]))
            continue;
        Target t = target_of(cpus[k]);
        void *lib = library(&t);
        Kernel one = (Kernel)jit_find(lib, "pow_1"), vec = (Kernel)jit_find(lib, "pow_v");
        for (int i = 0; i < NV; i++)
            for (int j = 0; j < NV; j++) {
                double want = pow((double)v[i], (double)v[j]);
                if (want != 0 && fabs(want) < 0x1p-126)
                    continue;
                check(one, "pow", v[i], v[j], want);
                check(vec, "pow", v[i], v[j], want);
            }
        static float x[N], y[N], a[N], b[N];
        uint64_t s = 7;
        for (int i = 0; i < N; i++) {
            x[i] = (float)exp(20 * rng_unit(&s));
            y[i] = (float)(5 * rng_unit(&s));
        }
        one(x, y, a, 0, N);
        vec(x, y, b, 0, N);
        for (int i = 0; i < N; i++) {
            cr_assert(same(a[i], b[i]));
            cr_assert(ulps(a[i], pow((double)x[i], (double)y[i])) <= 1, "pow(%a, %a)", (double)x[i], (double)y[i]);
        }
    }
}

Test(math, modulo_has_the_divisors_sign)
{
    Target t = target_of(NULL);
    Kernel mod = (Kernel)jit_find(library(&t), "mod_v");
    check(mod, "mod", 7, 3, 1);
    check(mod, "mod", -7, 3, 2);
    check(mod, "mod", 7, -3, -2);
    check(mod, "mod", -7, -3, -1);
    check(mod, "mod", 6, 3, 0);
    check(mod, "mod", 5.5f, 0.25f, 0);
}

Test(math, doubles_are_libm)
{
    typedef void (*Kernel64)(const double *x, const double *y, double *out, int64_t tid, int64_t n);
    Target t = target_of(NULL);
    void *lib = library(&t);
    double x[64], out[64];
    uint64_t s = 1;
    for (int i = 0; i < 64; i++)
        x[i] = 4 * rng_unit(&s);
    for (int f = 0; f < NFN; f++) {
        ((Kernel64)jit_find(lib, arena_printf("%s_d", fns[f].name)))(x, x, out, 0, 64);
        for (int i = 0; i < 64; i++) {
            double want = fns[f].ref(x[i]);
            cr_assert(isnan(want) ? isnan(out[i]) : fabs(out[i] - want) <= 4e-16 * fabs(want));
        }
    }
}
