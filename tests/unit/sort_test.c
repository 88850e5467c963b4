/* sort_test.c: the emitted argsort against the definition: the place of an element is the number of those that stand before it; equals
   keep their order, and what is not a number stands last in both directions. */
#include "emit_jit.h"
#include "emit_kernel.h"
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

typedef void (*Sort)(const void *x, int32_t *out, void *scratch, int64_t tid, int64_t n);
enum { OUTER = 3, INNER = 2 };

/* x : [OUTER, n, INNER], along the middle axis. */
static Sort sorter(const char *name, Dt dt, int64_t n, bool reverse)
{
    Target t;
    cr_assert(target_find(&t, NULL));
    Kernel k = { .kind = KN_ARGSORT, .noperand = 3 };
    k.move = (Move){ .op = OP_ARGSORT, .dt = dt, .rank = 3, .dim = { OUTER, n, INNER }, .sx = { n * INNER, INNER, 1 }, .axis = 1, .n = n, .k = reverse,
                     .reverse = reverse, .size = OUTER * n * INNER };
    Em *em = em_new(&t, "sort");
    emit_move(em, &k, name);
    return (Sort)jit_find(jit_load(em), name);
}

static bool stands_before(double a, double b, bool reverse)
{
    return isnan(b) ? !isnan(a) : reverse ? a > b : a < b;
}

static double random_value(uint64_t *seed, Dt dt)
{
    uint64_t r = rng_next(seed) >> 20;
    double v = (double)(r % 23) - (dt == U32 ? 0 : 11);
    return !dt_float(dt) ? v : r % 17 == 0 ? (double)NAN : r % 19 == 0 ? -INFINITY : r % 13 == 0 ? -0.0 : v / 4;
}

static void put(void *x, Dt dt, int64_t i, double v)
{
    if (dt == F32) ((float *)x)[i] = (float)v;
    else if (dt == F64) ((double *)x)[i] = v;
    else if (dt == I64) ((int64_t *)x)[i] = (int64_t)v;
    else ((int32_t *)x)[i] = (int32_t)v;
}

static void check_sort(Dt dt, int64_t n, bool reverse, uint64_t *seed)
{
    Sort sort = sorter("sort", dt, n, reverse);
    int64_t size = OUTER * n * INNER;
    double *v = calloc((size_t)size, sizeof *v);
    void *x = guarded_alloc((size_t)size * (size_t)dt_size(dt)), *scratch = guarded_alloc((size_t)n * 8);
    int32_t *out = guarded_alloc((size_t)size * 4);
    for (int64_t i = 0; i < size; i++)
        put(x, dt, i, v[i] = random_value(seed, dt));
    for (int tid = 0; tid < 2; tid++)
        sort(x, out, scratch, tid, 2);
    for (int o = 0; o < OUTER; o++)
        for (int c = 0; c < INNER; c++)
            for (int64_t i = 0; i < n; i++) {
                int64_t base = o * n * INNER + c, place = 0;
                for (int64_t j = 0; j < n; j++) {
                    double a = v[base + i * INNER], b = v[base + j * INNER];
                    place += stands_before(b, a, reverse) || (!stands_before(a, b, reverse) && j < i);
                }
                cr_assert_eq(out[base + place * INNER], i, "%s, %lld elements: %d at %lld, not %lld", dt_name(dt), (long long)n, out[base + place * INNER],
                             (long long)place, (long long)i);
            }
    guarded_free(x, (size_t)size * (size_t)dt_size(dt));
    guarded_free(scratch, (size_t)n * 8);
    guarded_free(out, (size_t)size * 4);
    free(v);
}

Test(sort, against_the_definition, .timeout = 120)
{
    static const Dt types[] = { F32, F64, I32, I64, U32 };
    static const int64_t sizes[] = { 1, 2, 3, 7, 64, 197 };
    uint64_t seed = 5;
    for (int t = 0; t < 5; t++)
        for (int s = 0; s < 6; s++)
            for (int reverse = 0; reverse < 2; reverse++)
                check_sort(types[t], sizes[s], reverse, &seed);
}
