/* graph_test.c: the tensor graph. Every operation's shape rule and values against numbers worked out by hand; every
   rule of the algebra against the same expression with its operands hidden; regions, loops, conds, dump, verifier,
   Philox. */
#include "graph.h"
#include "ops.h"
#include "philox.h"
#include <criterion/criterion.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

Options opt;

/* ---- building and looking */
typedef struct { int rank; int32_t dim[MAXDIM]; } Shape;
#define S(...) ((Shape){ (int)(sizeof((int32_t[]){ __VA_ARGS__ }) / sizeof(int32_t)), { __VA_ARGS__ } })
#define L(...) ((int8_t[]){ __VA_ARGS__ })
#define I(...) ((int32_t[]){ __VA_ARGS__ })
#define COUNT(a) (int)(sizeof(a) / sizeof *(a))
static const Shape SCALAR = { 0, { 0 } };

static Node *data(Dt dt, Shape s, int n, const double *v)
{
    char *bytes = arena_alloc((size_t)n * 8 + 1);
    for (int i = 0; i < n; i++)
        switch (dt) {
        case F32: ((float *)bytes)[i] = (float)v[i]; break;
        case F64: ((double *)bytes)[i] = v[i]; break;
        case I32: ((int32_t *)bytes)[i] = (int32_t)v[i]; break;
        case I64: ((int64_t *)bytes)[i] = (int64_t)v[i]; break;
        case U32: ((uint32_t *)bytes)[i] = (uint32_t)v[i]; break;
        default:  ((uint8_t *)bytes)[i] = (uint8_t)v[i];
        }
    return n_data(dt, s.rank, s.dim, bytes);
}
#define DATA(dt, shape, ...) data(dt, shape, COUNT(((double[]){ __VA_ARGS__ })), (double[]){ __VA_ARGS__ })
#define VEC_F(...) DATA(F64, S(COUNT(((double[]){ __VA_ARGS__ }))), __VA_ARGS__)
#define VEC_I(...) DATA(I32, S(COUNT(((double[]){ __VA_ARGS__ }))), __VA_ARGS__)
#define VEC_B(...) DATA(BOOL, S(COUNT(((double[]){ __VA_ARGS__ }))), __VA_ARGS__)

static Node *splat(Dt dt, double v, Shape s) { return n_splat(dt, v, s.rank, s.dim); }
static Node *formal(int k, Dt dt, Shape s) { return n_formal(k, dt, s.rank, s.dim); }
static Node *hide(Node *x) { return n_mark(x, graph_uid()); }          /* no rule looks through a mark */
static Node *bcast(Node *x, Shape s, const int8_t *map) { return n_bcast(x, s.rank, s.dim, map); }
static Node *reshape(Node *x, Shape s) { return n_reshape(x, s.rank, s.dim); }

static Region *region(int np, Node *const *f, const uint8_t *fk, int nr, Node *const *r, const uint8_t *rk)
{
    Region *x = region_new(np, f, fk, nr, r, rk);
    verify_region(x, "the test");
    return x;
}

static Tensor *value(Node *x, bool round, EvalStatus *st)
{
    Tensor *out;
    region_eval(region(0, NULL, NULL, 1, &x, (uint8_t[]){ K_STACK }), NULL, &out, round, st);
    return out;
}

static double at(const Tensor *t, int64_t i) { return dt_float(t->dt) ? t->f[i] : (double)t->i[i]; }

static bool near(double a, double b)
{
    return a == b || (isnan(a) && isnan(b)) || fabs(a - b) <= 1e-11 * (1 + fabs(a) + fabs(b));
}

static void want(int line, Node *x, const char *type, int n, const double *v)
{
    cr_assert_str_eq(node_type(x), type, "line %d: type is %s", line, node_type(x));
    cr_assert_eq(n_size(x), n, "line %d: the test lists %d values", line, n);
    Tensor *t = value(x, false, NULL);
    for (int i = 0; i < n; i++)
        cr_expect(near(at(t, i), v[i]), "line %d: element %d is %.17g, not %.17g", line, i, at(t, i), v[i]);
    tensor_free(t);
}
#define WANT(x, type, ...) want(__LINE__, x, type, COUNT(((double[]){ __VA_ARGS__ })), (double[]){ __VA_ARGS__ })

/* The same values from both; the first must have become an operation `op`. */
static void agree(int line, Node *simple, Node *plain, Op op)
{
    cr_expect_eq(simple->op, op, "line %d: became %s", line, op_row[simple->op].name);
    cr_assert_str_eq(node_type(simple), node_type(plain), "line %d", line);
    Tensor *a = value(simple, false, NULL), *b = value(plain, false, NULL);
    for (int64_t i = 0; i < n_size(simple); i++)
        cr_expect(near(at(a, i), at(b, i)), "line %d: element %d: %.17g and %.17g", line, (int)i, at(a, i), at(b, i));
    tensor_free(a), tensor_free(b);
}
#define AGREE(simple, plain, op) agree(__LINE__, simple, plain, OP_##op)

static void fini(void)
{
    graph_reset();
    arena_free_all();
}

TestSuite(philox, .fini = fini);
TestSuite(values, .fini = fini);
TestSuite(algebra, .fini = fini);
TestSuite(regions, .fini = fini);
TestSuite(broken, .fini = fini);

/* ---- Philox: the vectors published with Random123 */
Test(philox, known_answers)
{
    static const struct { uint32_t counter[4], key[2], word[4]; } kat[] = {
        { { 0, 0, 0, 0 }, { 0, 0 }, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { { ~0u, ~0u, ~0u, ~0u }, { ~0u, ~0u }, { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
        { { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 }, { 0xa4093822, 0x299f31d0 },
          { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
    };
    for (int i = 0; i < COUNT(kat); i++) {
        uint32_t word[4];
        philox(kat[i].counter, kat[i].key, word);
        cr_expect_arr_eq(word, kat[i].word, sizeof word);
    }
}

Test(philox, bits_place_their_arguments)                   /* seed and site make the third vector's key; word by word */
{
    uint64_t step = 0x0370734413198a2eu, site = 0x1111111122222222u;
    uint64_t seed = (uint64_t)(0x299f31d0u ^ 0x22222222u) << 32 | (0xa4093822u ^ 0x11111111u);
    uint32_t word[4] = { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 };
    for (int k = 0; k < 4; k++) {
        cr_expect_eq(philox_bits(seed, site, step, 0x85a308d3, 0x243f6a88, k), word[k]);
        int64_t s = (int64_t)seed, t = (int64_t)step;
        Node *n = n_bits(n_data(I64, 0, NULL, &s), n_data(I64, 0, NULL, &t), DATA(I64, S(2), 0x85a308d3, 5),
                         DATA(I64, S(2), 0x243f6a88, 7), k, site);
        WANT(n, "u32[2]", word[k], philox_bits(seed, site, step, 5, 7, k));
    }
}

/* ---- leaves and elementwise */
Test(values, leaves)
{
    WANT(n_const(F32, 0.1), "f32[]", 0.1f);
    WANT(n_iconst(I64, INT64_MAX), "i64[]", (double)INT64_MAX);
    WANT(n_iconst(U32, -1), "u32[]", 4294967295.0);
    WANT(n_iconst(BOOL, 7), "bool[]", 1);
    WANT(splat(I32, 3, S(2, 1)), "i32[2, 1]", 3, 3);
    WANT(n_iota(I32, 2, I(2, 3), 1), "i32[2, 3]", 0, 1, 2, 0, 1, 2);
    WANT(n_iota(F64, 2, I(2, 3), 0), "f64[2, 3]", 0, 0, 0, 1, 1, 1);
    WANT(DATA(F32, S(2), 0.5, 0.1), "f32[2]", 0.5, 0.1f);
    WANT(DATA(U8, S(2), 255, 1), "u8[2]", 255, 1);
}

Test(values, unary)
{
    Node *x = VEC_F(-1.5, 0, 2.25);
    WANT(n_un(OP_NEG, x), "f64[3]", 1.5, 0, -2.25);
    WANT(n_un(OP_ABS, x), "f64[3]", 1.5, 0, 2.25);
    WANT(n_un(OP_SIGN, x), "f64[3]", -1, 0, 1);
    WANT(n_un(OP_FLOOR, x), "f64[3]", -2, 0, 2);
    WANT(n_un(OP_SQRT, x), "f64[3]", NAN, 0, 1.5);
    WANT(n_un(OP_EXP, x), "f64[3]", 0.22313016014842982, 1, 9.487735836358526);
    WANT(n_un(OP_LOG, VEC_F(1, 0, -1)), "f64[3]", 0, -INFINITY, NAN);
    WANT(n_un(OP_SIN, VEC_F(0, 1.5707963267948966)), "f64[2]", 0, 1);
    WANT(n_un(OP_COS, VEC_F(0, 3.141592653589793)), "f64[2]", 1, -1);
    WANT(n_un(OP_TANH, VEC_F(0, 1, -1000)), "f64[3]", 0, 0.7615941559557649, -1);
    WANT(n_un(OP_SIGMOID, VEC_F(0, 2, -1000, 1000, NAN)), "f64[5]", 0.5, 0.8807970779778823, 0, 1, NAN);
    WANT(n_un(OP_ERF, VEC_F(0, 1)), "f64[2]", 0, 0.8427007929497149);
    WANT(n_un(OP_NOT, VEC_B(0, 1)), "bool[2]", 1, 0);
    Node *i = VEC_I(-7, 0, INT32_MIN);
    WANT(n_un(OP_NEG, i), "i32[3]", 7, 0, INT32_MIN);
    WANT(n_un(OP_ABS, i), "i32[3]", 7, 0, INT32_MIN);
    WANT(n_un(OP_SIGN, i), "i32[3]", -1, 0, -1);
}

Test(values, casts)
{
    Node *x = VEC_F(-1.75, 1.75, 3e9, -3e9, 1e30, NAN, INFINITY);
    WANT(n_cast(x, I32), "i32[7]", -1, 1, INT32_MAX, INT32_MIN, INT32_MAX, 0, INT32_MAX);
    WANT(n_cast(x, I64), "i64[7]", -1, 1, 3e9, -3e9, 9223372036854775807.0, 0, 9223372036854775807.0);
    WANT(n_cast(x, U32), "u32[7]", 0, 1, 3e9, 0, 4294967295.0, 0, 4294967295.0);
    WANT(n_cast(x, U8), "u8[7]", 0, 1, 255, 0, 255, 0, 255);
    WANT(n_cast(x, BOOL), "bool[7]", 1, 1, 1, 1, 1, 1, 1);
    WANT(n_cast(VEC_I(-1, 256), U8), "u8[2]", 255, 0);
    WANT(n_cast(VEC_I(-1, 2), F64), "f64[2]", -1, 2);
    WANT(n_cast(VEC_B(0, 1), F32), "f32[2]", 0, 1);
    WANT(n_cast(DATA(I32, S(1), 16777217), F32), "f32[1]", 16777216);
}

Test(values, binary)
{
    Node *a = VEC_F(7, -7, 0.5), *b = VEC_F(2, 2, -0.25);
    WANT(n_bin(OP_ADD, a, b), "f64[3]", 9, -5, 0.25);
    WANT(n_bin(OP_SUB, a, b), "f64[3]", 5, -9, 0.75);
    WANT(n_bin(OP_MUL, a, b), "f64[3]", 14, -14, -0.125);
    WANT(n_bin(OP_DIV, a, b), "f64[3]", 3.5, -3.5, -2);
    WANT(n_bin(OP_POW, a, VEC_F(2, 4, 2)), "f64[3]", 49, 2401, 0.25);
    WANT(n_bin(OP_IDIV, a, b), "f64[3]", 3, -4, -2);
    WANT(n_bin(OP_MOD, a, b), "f64[3]", 1, 1, 0);
    WANT(n_bin(OP_LT, a, b), "bool[3]", 0, 1, 0);
    WANT(n_bin(OP_LE, a, a), "bool[3]", 1, 1, 1);
    WANT(n_bin(OP_EQ, a, VEC_F(7, 7, NAN)), "bool[3]", 1, 0, 0);
    WANT(n_bin(OP_MAX, VEC_F(1, NAN, 1, 2), VEC_F(2, 1, NAN, 1)), "f64[4]", 2, NAN, NAN, 2);
    WANT(n_bin(OP_MIN, VEC_F(1, NAN, 1, 2), VEC_F(2, 1, NAN, 1)), "f64[4]", 1, NAN, NAN, 1);
    WANT(n_bin(OP_AND, VEC_B(0, 1, 1), VEC_B(1, 0, 1)), "bool[3]", 0, 0, 1);
    WANT(n_bin(OP_OR, VEC_B(0, 1, 0), VEC_B(1, 0, 0)), "bool[3]", 1, 1, 0);
    WANT(n_select(VEC_B(1, 0), VEC_F(1, 2), VEC_F(3, 4)), "f64[2]", 1, 4);
    WANT(n_select(VEC_B(1, 0), VEC_I(1, 2), n_iconst(I32, 9)), "i32[2]", 1, 9);
    WANT(n_bin(OP_ADD, n_const(F64, 1), a), "f64[3]", 8, -6, 1.5);
}

Test(values, integers_divide_down_and_wrap_around)
{
    Node *a = VEC_I(7, -7, 7, -7, 5, INT32_MIN), *b = VEC_I(2, 2, -2, -2, 0, -1);
    WANT(n_bin(OP_IDIV, a, b), "i32[6]", 3, -4, -4, 3, 0, INT32_MIN);
    WANT(n_bin(OP_MOD, a, b), "i32[6]", 1, 1, -1, -1, 0, 0);
    WANT(n_bin(OP_ADD, VEC_I(INT32_MAX), VEC_I(1)), "i32[1]", INT32_MIN);
    WANT(n_bin(OP_SUB, DATA(U32, S(1), 0), DATA(U32, S(1), 1)), "u32[1]", 4294967295.0);
    WANT(n_bin(OP_MUL, VEC_I(65536), VEC_I(65537)), "i32[1]", 65536);
    WANT(n_bin(OP_MAX, VEC_I(-3, 4), VEC_I(2, 1)), "i32[2]", 2, 4);
    WANT(n_bin(OP_MIN, VEC_I(-3, 4), VEC_I(2, 1)), "i32[2]", -3, 1);
    WANT(n_bin(OP_LT, VEC_I(-3, 4), VEC_I(2, 1)), "bool[2]", 1, 0);
    WANT(n_bin(OP_LE, VEC_I(2, 4), VEC_I(2, 1)), "bool[2]", 1, 0);
    WANT(n_bin(OP_EQ, VEC_I(2, 4), VEC_I(2, 1)), "bool[2]", 1, 0);
}

/* ---- views and data movement; m = [[1 2 3] [4 5 6]] */
static Node *m23(void) { return DATA(F64, S(2, 3), 1, 2, 3, 4, 5, 6); }

Test(values, views)
{
    Node *m = m23();
    WANT(bcast(VEC_F(1, 2), S(2, 2), L(0, -1)), "f64[2, 2]", 1, 1, 2, 2);
    WANT(bcast(VEC_F(1, 2), S(2, 2), L(-1, 0)), "f64[2, 2]", 1, 2, 1, 2);
    WANT(bcast(m, S(3, 2, 2), L(1, -1, 0)), "f64[3, 2, 2]", 1, 4, 1, 4, 2, 5, 2, 5, 3, 6, 3, 6);
    WANT(n_expand(DATA(F64, S(2, 1), 1, 2), 3, I(2, 2, 2)), "f64[2, 2, 2]", 1, 1, 2, 2, 1, 1, 2, 2);
    WANT(n_perm(m, L(1, 0)), "f64[3, 2]", 1, 4, 2, 5, 3, 6);
    WANT(reshape(hide(m), S(3, 2)), "f64[3, 2]", 1, 2, 3, 4, 5, 6);
    WANT(n_slice(m, I(0, 2), I(2, 2), I(1, -2)), "f64[2, 2]", 3, 1, 6, 4);
    WANT(n_slice1(m, 1, 1, 1, 1), "f64[2, 1]", 2, 5);
    cr_expect_str_eq(node_type(n_slice1(m, 1, 0, 0, 1)), "f64[2, 0]");
}

Test(values, padding_and_windows)
{
    Node *m = m23();
    WANT(n_pad(VEC_F(1, 2), 1, I(5), I(1), I(2)), "f64[5]", 0, 1, 0, 2, 0);
    WANT(n_pad(VEC_F(1, 2), 1, I(3), I(2), I(-1)), "f64[3]", 0, 2, 1);
    WANT(n_pad(m, 2, I(3, 4), I(1, 0), I(1, 1)), "f64[3, 4]", 0, 0, 0, 0, 1, 2, 3, 0, 4, 5, 6, 0);
    WANT(n_window(VEC_F(1, 2, 3, 4), 0, 2), "f64[3, 2]", 1, 2, 2, 3, 3, 4);
    WANT(n_window(m, 1, 2), "f64[2, 2, 2]", 1, 2, 2, 3, 4, 5, 5, 6);
    WANT(n_window(m, 0, 2), "f64[1, 2, 3]", 1, 2, 3, 4, 5, 6);
    WANT(n_fold(DATA(F64, S(3, 2), 1, 2, 3, 4, 5, 6), 0), "f64[4]", 1, 5, 9, 6);
    WANT(n_fold(DATA(F64, S(2, 2, 1), 1, 2, 3, 4), 0), "f64[3, 1]", 1, 5, 4);
}

Test(values, movement)
{
    Node *m = m23();
    WANT(n_concat(2, (Node *[]){ m, DATA(F64, S(2, 1), 8, 9) }, 1), "f64[2, 4]", 1, 2, 3, 8, 4, 5, 6, 9);
    WANT(n_concat(2, (Node *[]){ m, DATA(F64, S(1, 3), 7, 8, 9) }, 0), "f64[3, 3]", 1, 2, 3, 4, 5, 6, 7, 8, 9);
    WANT(n_gather(m, VEC_I(1, 0, 1), 0, (Loc){ 0 }), "f64[3, 3]", 4, 5, 6, 1, 2, 3, 4, 5, 6);
    WANT(n_gather(m, VEC_I(2, 0), 1, (Loc){ 0 }), "f64[2]", 3, 4);
    WANT(n_gather(m, DATA(I64, S(2, 2), 2, 0, 1, 1), 1, (Loc){ 0 }), "f64[2, 2]", 3, 1, 5, 5);
    WANT(n_gather(VEC_I(5, 6), n_iconst(I32, 1), 0, (Loc){ 0 }), "i32[]", 6);
    WANT(n_scatter(m, VEC_I(1, 1), 0, 2, I(3, 3)), "f64[3, 3]", 0, 0, 0, 5, 7, 9, 0, 0, 0);
    WANT(n_scatter(VEC_F(5, 6), VEC_I(2, 0), 1, 2, I(2, 3)), "f64[2, 3]", 0, 0, 5, 6, 0, 0);
    WANT(n_cumsum(m, 1, false), "f64[2, 3]", 1, 3, 6, 4, 9, 15);
    WANT(n_cumsum(m, 1, true), "f64[2, 3]", 6, 5, 3, 15, 11, 6);
    WANT(n_cumsum(m, 0, false), "f64[2, 3]", 1, 2, 3, 5, 7, 9);
    WANT(n_cumsum(VEC_I(1, 2, 3), 0, true), "i32[3]", 6, 5, 3);
    WANT(n_argsort(VEC_F(2, NAN, 1, 2, -1), 0), "i32[5]", 4, 2, 0, 3, 1);
    WANT(n_argsort(DATA(I32, S(3, 2), 3, 1, 1, 2, 2, 1), 0), "i32[3, 2]", 1, 0, 2, 2, 0, 1);
    Attr falling = { .axis = 0, .k = 1 };
    Node *v = VEC_F(2, NAN, 1, 2, -1);
    WANT(node(OP_ARGSORT, NDT, 0, NULL, 1, &v, &falling, (Loc){ 0 }), "i32[5]", 0, 3, 2, 4, 1);
}

Test(values, a_bad_index_is_reported_and_clamped)
{
    Loc here = { .line = 7, .col = 3 }, there = { .line = 9, .col = 1 };
    Node *x = VEC_F(1, 2, 3), *a = n_gather(x, VEC_I(0, 5), 0, here), *b = n_gather(x, VEC_I(-1, 1), 0, there);
    EvalStatus st = { 0 };
    Tensor *t = value(n_bin(OP_ADD, b, a), false, &st);
    cr_expect(st.bad);
    cr_expect_eq(st.index, 5);
    cr_expect_eq(st.value, 3);
    cr_expect_eq(site_loc((int)st.site).line, 7);
    cr_expect_eq(site_count(), 2);
    cr_expect_eq(t->f[0], 2);
    cr_expect_eq(t->f[1], 5);
    cr_expect_eq(a, n_gather(x, a->in[1], 0, there), "one gather, whatever its place");
    tensor_free(t);
}

/* ---- reductions and products */
Test(values, reductions)
{
    Node *m = m23(), *i = DATA(I32, S(2, 2), 1, 5, 7, 5);
    WANT(n_sum(m, 1), "f64[3]", 5, 7, 9);
    WANT(n_sum(m, 2), "f64[2]", 6, 15);
    WANT(n_sum(m, 3), "f64[]", 21);
    WANT(n_sum(i, 2), "i32[2]", 6, 12);
    WANT(n_maxr(m, 1), "f64[3]", 4, 5, 6);
    WANT(n_maxr(i, 3), "i32[]", 7);
    WANT(n_maxr(VEC_F(1, NAN, 3), 1), "f64[]", NAN);
    WANT(n_argmax(DATA(F64, S(2, 3), 1, 3, 3, 9, 4, NAN), 1), "i32[2]", 1, 2);
    WANT(n_argmax(i, 0), "i32[2]", 1, 0);
}

Test(values, contractions)
{
    Node *a = m23(), *b = DATA(F64, S(3, 2), 1, 0, 0, 1, 1, 1), *v = VEC_F(1, 0, 2);
    WANT(n_contract(a, b, L(1, 3), L(3, 2), 2, L(1, 2)), "f64[2, 2]", 4, 5, 10, 11);
    WANT(n_contract(a, b, L(1, 3), L(3, 2), 2, L(2, 1)), "f64[2, 2]", 4, 10, 5, 11);
    WANT(n_contract(a, v, L(1, 2), L(2), 1, L(1)), "f64[2]", 7, 16);
    WANT(n_contract(v, v, L(5), L(5), 0, NULL), "f64[]", 5);
    WANT(n_contract(v, VEC_F(3, 4), L(1), L(2), 2, L(2, 1)), "f64[2, 3]", 3, 0, 6, 4, 0, 8);
    WANT(n_contract(a, a, L(1, 2), L(1, 2), 1, L(1)), "f64[2]", 14, 77);
    WANT(n_contract(a, a, L(1, 2), L(1, 2), 2, L(1, 2)), "f64[2, 3]", 1, 4, 9, 16, 25, 36);
    WANT(n_contract(a, v, L(1, 2), L(3), 2, L(1, 3)), "f64[2, 3]", 6, 0, 12, 15, 0, 30);
    WANT(n_contract(VEC_I(1, 2), VEC_I(3, 4), L(1), L(1), 0, NULL), "i32[]", 11);
    Node *t = DATA(F64, S(2, 2, 2), 1, 2, 3, 4, 5, 6, 7, 8);              /* batch in front, in the middle */
    WANT(n_contract(t, t, L(1, 2, 3), L(1, 4, 3), 3, L(2, 1, 4)), "f64[2, 2, 2]", 5, 11, 61, 83, 11, 25, 83, 113);
}

static Node *random_data(Shape s)
{
    static uint32_t seed = 1;
    int n = 1;
    for (int i = 0; i < s.rank; i++)
        n *= s.dim[i];
    double *v = NEWN(double, n);
    for (int i = 0; i < n; i++)
        v[i] = (double)(philox_bits(1, 2, 3, seed, (uint64_t)i, 0) % 2001) / 500 - 2;
    seed++;
    return n_data(F64, s.rank, s.dim, v);
}

Test(values, contract_of_all_sizes_is_the_sum_of_products)   /* both inner loops of the evaluator, and their tails */
{
    for (int m = 1; m < 7; m += 2)
        for (int n = 1; n < 8; n++)
            for (int k = 0; k < 7; k++) {
                Node *a = hide(random_data(S(k, 2, m))), *b = hide(random_data(S(n, 2, k)));
                Node *c = n_contract(a, b, L(9, 4, 2), L(3, 4, 9), 3, L(4, 2, 3)), *sum;
                sum = n_sum(n_bin(OP_MUL, hide(bcast(a, S(2, m, n, k), L(1, 2, -1, 0))),
                                       hide(bcast(b, S(2, m, n, k), L(1, -1, 0, 2)))), 8);
                AGREE(c, sum, CONTRACT);
            }
}

Test(values, rounding)
{
    Node *x = DATA(F32, S(2), 1, 2), *y = n_bin(OP_DIV, x, DATA(F32, S(2), 3, 3));
    Tensor *t = value(y, true, NULL), *u = value(y, false, NULL);
    cr_expect_eq(t->f[0], (double)(1.0f / 3));
    cr_expect_eq(u->f[0], 1.0 / 3);
    tensor_free(t), tensor_free(u);
}

/* ---- algebra */
Test(algebra, equal_nodes_are_one)
{
    Node *a = formal(0, F32, S(3)), *b = formal(1, F32, S(3));
    cr_expect_eq(n_bin(OP_ADD, a, b), n_bin(OP_ADD, b, a));
    cr_expect_eq(n_bin(OP_MUL, a, b), n_bin(OP_MUL, b, a));
    cr_expect_neq(n_bin(OP_SUB, a, b), n_bin(OP_SUB, b, a));
    cr_expect_neq(n_bin(OP_MAX, a, b), n_bin(OP_MAX, b, a), "the gradient of a tie goes to the first");
    cr_expect_eq(VEC_F(1, 2), VEC_F(1, 2), "data is compared by content");
    cr_expect_neq(n_mark(a, 1), n_mark(a, 2));
    cr_expect_neq(n_const(F64, 0.0), n_const(F64, -0.0));
    cr_expect_eq(n_const(F64, NAN), n_const(F64, NAN));
    Node *m = formal(2, F32, S(3, 3));
    cr_expect_eq(n_contract(m, a, L(7, 4), L(4), 1, L(7)), n_contract(m, a, L(1, 2), L(2), 1, L(1)));
}

Test(algebra, constants_fold_in_their_own_type)
{
    Node *third = n_bin(OP_DIV, n_const(F32, 1), n_const(F32, 3));
    cr_expect_eq(third, n_const(F32, 1.0f / 3));
    cr_expect_eq(n_bin(OP_ADD, n_iconst(I32, INT32_MAX), n_iconst(I32, 1)), n_iconst(I32, INT32_MIN));
    cr_expect_eq(n_bin(OP_ADD, n_iconst(I64, INT64_MAX), n_iconst(I64, 1)), n_iconst(I64, INT64_MIN));
    cr_expect_eq(n_bin(OP_MUL, n_iconst(I64, 3037000500), n_iconst(I64, 3)), n_iconst(I64, 9111001500));
    cr_expect_eq(n_bin(OP_IDIV, n_iconst(I32, -7), n_iconst(I32, 2)), n_iconst(I32, -4));
    cr_expect_eq(n_bin(OP_MOD, n_iconst(I32, -7), n_iconst(I32, 2)), n_iconst(I32, 1));
    cr_expect_eq(n_bin(OP_IDIV, n_iconst(I64, INT64_MIN), n_iconst(I64, -1)), n_iconst(I64, INT64_MIN));
    cr_expect_eq(n_bin(OP_IDIV, n_iconst(I32, 1), n_iconst(I32, 0))->op, OP_IDIV, "left to the running program");
    cr_expect_eq(n_bin(OP_MOD, n_iconst(I32, 1), n_iconst(I32, 0))->op, OP_MOD);
    cr_expect_eq(n_un(OP_EXP, splat(F64, 0, S(2, 2))), splat(F64, 1, S(2, 2)));
    cr_expect_eq(n_bin(OP_LT, n_const(F32, 1), n_const(F32, 2)), n_iconst(BOOL, 1));
    cr_expect_eq(n_un(OP_NOT, n_iconst(BOOL, 1)), n_iconst(BOOL, 0));
    cr_expect_eq(n_cast(n_const(F64, 2.7), I32), n_iconst(I32, 2));
    cr_expect_eq(n_cast(n_const(F64, 0.1), F32), n_const(F32, 0.1));
    cr_expect_eq(n_select(n_iconst(BOOL, 0), n_const(F32, 1), n_const(F32, 2)), n_const(F32, 2));
    cr_expect_eq(n_bits(n_iconst(I64, 1), n_iconst(I64, 2), n_iconst(I64, 3), n_iconst(I64, 4), 1, 5),
                 n_iconst(U32, philox_bits(1, 5, 2, 3, 4, 1)));
    cr_expect_eq(n_bin(OP_MAX, n_const(F32, 1), n_const(F32, NAN)), n_const(F32, NAN));
}

Test(algebra, arithmetic)
{
    Node *x = VEC_F(-1.5, 0.5, 4), *y = VEC_F(2, 3, -1);
    Node *zero = n_const(F64, 0), *one = n_const(F64, 1), *two = n_const(F64, 2);
    cr_expect_eq(n_bin(OP_ADD, x, zero), x);
    cr_expect_eq(n_bin(OP_ADD, zero, x), x);
    cr_expect_eq(n_bin(OP_SUB, x, zero), x);
    cr_expect_eq(n_bin(OP_SUB, zero, x), n_un(OP_NEG, x));
    cr_expect_eq(n_bin(OP_MUL, x, one), x);
    cr_expect_eq(n_bin(OP_MUL, zero, x), splat(F64, 0, S(3)));
    cr_expect_eq(n_bin(OP_MUL, x, n_const(F64, -1)), n_un(OP_NEG, x));
    cr_expect_eq(n_bin(OP_DIV, x, one), x);
    cr_expect_eq(n_un(OP_NEG, n_un(OP_NEG, x)), x);
    cr_expect_eq(n_un(OP_ABS, n_un(OP_NEG, x)), n_un(OP_ABS, x));
    cr_expect_eq(n_un(OP_ABS, n_un(OP_ABS, x)), n_un(OP_ABS, x));
    cr_expect_eq(n_bin(OP_MIN, x, x), x);
    cr_expect_eq(n_bin(OP_MAX, x, x), x);
    cr_expect_eq(n_bin(OP_ADD, x, n_un(OP_NEG, y)), n_bin(OP_SUB, x, y));
    cr_expect_eq(n_bin(OP_ADD, n_un(OP_NEG, x), y), n_bin(OP_SUB, y, x));
    cr_expect_eq(n_bin(OP_SUB, x, n_un(OP_NEG, y)), n_bin(OP_ADD, x, y));
    AGREE(n_bin(OP_MUL, n_un(OP_NEG, x), two), n_bin(OP_MUL, hide(n_un(OP_NEG, x)), two), MUL);
    AGREE(n_un(OP_NEG, n_bin(OP_MUL, x, two)), n_un(OP_NEG, hide(n_bin(OP_MUL, x, two))), MUL);
    Node *i = VEC_I(-7, 8), *j = hide(i);
    cr_expect_eq(n_bin(OP_ADD, j, j)->op, OP_ADD);
    cr_expect_eq(n_bin(OP_IDIV, i, n_iconst(I32, 1)), i);
    cr_expect_eq(n_bin(OP_MOD, i, n_iconst(I32, 1)), splat(I32, 0, S(2)));
    cr_expect_eq(n_un(OP_FLOOR, i), i);
}

/* The same to the bit: no product is rounded twice, or once less. */
static void agree_exactly(int line, Node *simple, Node *plain, Op op)
{
    cr_expect_eq(simple->op, op, "line %d: became %s", line, op_row[simple->op].name);
    Tensor *a = value(simple, true, NULL), *b = value(plain, true, NULL);
    for (int64_t i = 0; i < n_size(simple); i++)
        cr_expect(at(a, i) == at(b, i), "line %d: element %d: %.17g and %.17g", line, (int)i, at(a, i), at(b, i));
    tensor_free(a), tensor_free(b);
}
#define AGREE_EXACTLY(simple, plain, op) agree_exactly(__LINE__, simple, plain, OP_##op)

Test(algebra, numbers_in_front)
{
    Node *x = DATA(F32, S(3), -1.7, 0.1, 4.3), *y = DATA(F32, S(3), 2.9, 3.3, -1.1);
    Node *half = n_const(F32, 0.5), *two = n_const(F32, 2), *tenth = n_const(F32, 0.1), *third = n_const(F32, 1. / 3);
    cr_expect_eq(n_bin(OP_ADD, x, x), n_bin(OP_MUL, x, two));
    AGREE_EXACTLY(n_bin(OP_ADD, x, x), n_bin(OP_ADD, x, hide(x)), MUL);
    cr_expect_eq(n_bin(OP_MUL, n_bin(OP_MUL, x, half), two), x);
    cr_expect_eq(n_bin(OP_ADD, n_bin(OP_MUL, x, half), n_bin(OP_MUL, x, half)), x);
    cr_expect_eq(n_bin(OP_MUL, n_bin(OP_MUL, x, tenth), two), n_bin(OP_MUL, x, n_bin(OP_MUL, tenth, two)));
    AGREE_EXACTLY(n_bin(OP_MUL, n_bin(OP_MUL, x, tenth), two), n_bin(OP_MUL, hide(n_bin(OP_MUL, x, tenth)), two), MUL);
    AGREE_EXACTLY(n_bin(OP_MUL, n_bin(OP_MUL, x, half), tenth), n_bin(OP_MUL, hide(n_bin(OP_MUL, x, half)), tenth), MUL);
    cr_expect_eq(n_bin(OP_MUL, n_bin(OP_MUL, x, tenth), third)->in[0]->op == OP_MUL ||
                 n_bin(OP_MUL, n_bin(OP_MUL, x, tenth), third)->in[1]->op == OP_MUL, true, "rounded twice, and so it stays");
    Node *minus = n_bin(OP_MUL, y, n_const(F32, -0.1)), *plus = n_bin(OP_MUL, y, tenth);
    cr_expect_eq(n_bin(OP_ADD, x, minus), n_bin(OP_SUB, x, plus));
    cr_expect_eq(n_bin(OP_ADD, minus, x), n_bin(OP_SUB, x, plus));
    cr_expect_eq(n_bin(OP_SUB, x, minus), n_bin(OP_ADD, x, plus));
    AGREE_EXACTLY(n_bin(OP_ADD, x, minus), n_bin(OP_ADD, x, hide(minus)), SUB);
    AGREE_EXACTLY(n_bin(OP_SUB, x, minus), n_bin(OP_SUB, x, hide(minus)), ADD);
}

Test(algebra, powers)
{
    Node *x = VEC_F(0.5, 2, 4);
    static const double e[] = { 0, 1, 2, 3, 0.5, -1, -0.5, 1.5 };
    static const Op op[] = { OP_CONST, OP_DATA, OP_MUL, OP_MUL, OP_SQRT, OP_DIV, OP_DIV, OP_POW };
    for (int i = 0; i < COUNT(e); i++)
        agree(__LINE__, n_bin(OP_POW, x, n_const(F64, e[i])), n_bin(OP_POW, x, hide(splat(F64, e[i], S(3)))), op[i]);
}

Test(algebra, logic)
{
    Node *b = VEC_B(0, 1, 1), *c = VEC_B(1, 1, 0), *x = VEC_F(1, 2, 3), *y = VEC_F(4, 5, 6), *i = VEC_I(1, 2, 3);
    Node *t = n_iconst(BOOL, 1), *f = n_iconst(BOOL, 0);
    cr_expect_eq(n_un(OP_NOT, n_un(OP_NOT, b)), b);
    cr_expect_eq(n_bin(OP_AND, b, t), b);
    cr_expect_eq(n_bin(OP_AND, f, b), splat(BOOL, 0, S(3)));
    cr_expect_eq(n_bin(OP_OR, b, f), b);
    cr_expect_eq(n_bin(OP_OR, t, b), splat(BOOL, 1, S(3)));
    cr_expect_eq(n_bin(OP_AND, b, b), b);
    cr_expect_eq(n_bin(OP_AND, b, c), n_bin(OP_AND, c, b));
    cr_expect_eq(n_select(t, x, y), x);
    cr_expect_eq(n_select(f, x, y), y);
    cr_expect_eq(n_select(b, x, x), x);
    cr_expect_eq(n_select(n_un(OP_NOT, b), x, y), n_select(b, y, x));
    cr_expect_eq(n_bin(OP_EQ, i, i), splat(BOOL, 1, S(3)));
    cr_expect_eq(n_bin(OP_LT, i, i), splat(BOOL, 0, S(3)));
    cr_expect_eq(n_bin(OP_EQ, x, x)->op, OP_EQ, "x may be no number");
}

Test(algebra, casts_and_tags)
{
    Node *x = VEC_F(1.5, 2), *b = VEC_B(0, 1), *i = VEC_I(3, 4);
    cr_expect_eq(n_cast(x, F64), x);
    cr_expect_eq(n_cast(n_cast(b, F64), F32), n_cast(b, F32));
    cr_expect_eq(n_cast(n_cast(i, F64), I32), i);
    cr_expect_neq(n_cast(n_cast(x, F32), F64), x);
    cr_expect_eq(n_cast(n_cast(i, F32), I32)->in[0]->op, OP_CAST, "f32 does not hold every i32");
    cr_expect_eq(n_stop(n_const(F64, 1), 3), n_const(F64, 1));
    cr_expect_eq(n_stop(i, 3), i);
    cr_expect_eq(n_stop(n_stop(x, 3), 3), n_stop(x, 3));
    cr_expect_eq(n_stop(n_stop(x, STOP_ALL), 3), n_stop(x, STOP_ALL));
    cr_expect_eq(n_stop(n_stop(x, 3), STOP_ALL)->in[0], n_stop(x, 3));
    cr_expect_eq(n_mark(n_const(F64, 1), 3)->op, OP_MARK);
}

Test(algebra, views_compose)
{
    Node *m = m23(), *x = hide(random_data(S(2, 3, 4))), *v = VEC_F(1, 2, 3), *c = splat(F64, 7, S(2, 3));
    cr_expect_eq(bcast(m, S(2, 3), L(0, 1)), m);
    cr_expect_eq(bcast(c, S(4, 2, 3), L(-1, 0, 1)), splat(F64, 7, S(4, 2, 3)));
    cr_expect_eq(bcast(bcast(v, S(2, 3), L(-1, 0)), S(2, 4, 3), L(0, -1, 1)), bcast(v, S(2, 4, 3), L(-1, -1, 0)));
    Node *turned = bcast(m, S(3, 4, 2), L(1, -1, 0));
    cr_expect_eq(turned->in[0]->op, OP_PERM, "a broadcast keeps the order of axes");
    AGREE(turned, n_perm(hide(bcast(m, S(2, 3, 4), L(0, 1, -1))), L(1, 2, 0)), BCAST);
    cr_expect_eq(n_perm(m, L(0, 1)), m);
    cr_expect_eq(n_perm(n_perm(x, L(1, 2, 0)), L(2, 0, 1)), x);
    AGREE(n_perm(n_perm(x, L(1, 2, 0)), L(1, 0, 2)), n_perm(hide(n_perm(x, L(1, 2, 0))), L(1, 0, 2)), PERM);
    AGREE(n_perm(bcast(m, S(2, 4, 3), L(0, -1, 1)), L(2, 0, 1)),
          n_perm(hide(bcast(m, S(2, 4, 3), L(0, -1, 1))), L(2, 0, 1)), BCAST);
    cr_expect_eq(n_perm(c, L(1, 0)), splat(F64, 7, S(3, 2)));
    cr_expect_eq(reshape(m, S(2, 3)), m);
    cr_expect_eq(reshape(reshape(x, S(24)), S(2, 3, 4)), x);
    cr_expect_eq(reshape(reshape(x, S(24)), S(6, 4)), reshape(x, S(6, 4)));
    cr_expect_eq(reshape(c, S(6)), splat(F64, 7, S(6)));
    cr_expect_eq(reshape(m, S(6))->op, OP_DATA);
}

Test(algebra, slices)
{
    Node *m = m23(), *x = hide(random_data(S(7))), *v = VEC_F(1, 2, 3), *c = splat(F64, 7, S(2, 3));
    cr_expect_eq(n_slice1(m, 1, 0, 3, 1), m);
    cr_expect_eq(n_slice1(c, 1, 0, 2, 1), splat(F64, 7, S(2, 2)));
    AGREE(n_slice1(n_slice1(x, 0, 6, 4, -2), 0, 1, 2, 2), n_slice1(hide(n_slice1(x, 0, 6, 4, -2)), 0, 1, 2, 2), SLICE);
    cr_expect_eq(n_slice1(n_slice1(x, 0, 6, 4, -2), 0, 1, 2, 2)->in[0], x);
    Node *b = bcast(v, S(4, 3), L(-1, 0));
    AGREE(n_slice(b, I(1, 2), I(2, 2), I(1, -1)), n_slice(hide(b), I(1, 2), I(2, 2), I(1, -1)), BCAST);
    Node *both = n_concat(2, (Node *[]){ x, hide(random_data(S(5))) }, 0);
    AGREE(n_slice1(both, 0, 8, 2, 3), n_slice1(hide(both), 0, 8, 2, 3), SLICE);
    cr_expect_eq(n_slice1(both, 0, 0, 7, 1), x);
    cr_expect_eq(n_slice1(both, 0, 6, 2, 1)->in[0], both, "lies in both pieces");
    cr_expect_eq(n_pad(m, 2, I(2, 3), I(0, 0), I(1, 1)), m);
    cr_expect_eq(n_pad(splat(F64, 0, S(2)), 1, I(5), I(1), I(1)), splat(F64, 0, S(5)));
    cr_expect_eq(n_pad(splat(F64, 1, S(2)), 1, I(5), I(1), I(1))->op, OP_PAD);
    cr_expect_eq(n_window(splat(F64, 7, S(4)), 0, 2), splat(F64, 7, S(3, 2)));
    cr_expect_eq(n_window(x, 0, 1), reshape(x, S(7, 1)));
    cr_expect_eq(n_fold(reshape(x, S(7, 1)), 0), x);
    cr_expect_eq(n_fold(splat(F64, 0, S(3, 2)), 0), splat(F64, 0, S(4)));
}

Test(algebra, movement)
{
    Node *m = m23(), *c = splat(F64, 7, S(2, 3)), *none = splat(F64, 1, S(0, 3));
    cr_expect_eq(n_concat(1, &m, 0), m);
    cr_expect_eq(n_concat(2, (Node *[]){ c, c }, 0), splat(F64, 7, S(4, 3)));
    cr_expect_eq(n_concat(3, (Node *[]){ none, m, none }, 0), m);
    cr_expect_eq(n_concat(3, (Node *[]){ m, none, c }, 0), n_concat(2, (Node *[]){ m, c }, 0));
    cr_expect_eq(n_scatter(splat(F64, 0, S(2)), VEC_I(0, 1), 0, 1, I(3)), splat(F64, 0, S(3)));
    cr_expect_eq(n_cumsum(splat(F64, 0, S(2)), 0, false), splat(F64, 0, S(2)));
}

Test(algebra, elementwise_before_broadcast)
{
    Node *v = VEC_F(1, 2, 3), *w = VEC_F(2, 3, 4), *a = bcast(v, S(2, 3), L(-1, 0)), *b = bcast(w, S(2, 3), L(-1, 0));
    AGREE(n_bin(OP_MUL, a, b), n_bin(OP_MUL, hide(a), hide(b)), BCAST);
    AGREE(n_un(OP_EXP, a), n_un(OP_EXP, hide(a)), BCAST);
    AGREE(n_bin(OP_ADD, a, n_const(F64, 2)), n_bin(OP_ADD, hide(a), n_const(F64, 2)), BCAST);
    AGREE(n_cast(a, F32), n_cast(hide(a), F32), BCAST);
    AGREE(n_select(n_bin(OP_LT, a, b), a, b), n_select(n_bin(OP_LT, hide(a), b), a, b), BCAST);
    cr_expect_eq(n_bin(OP_ADD, a, bcast(VEC_F(1, 2), S(2, 3), L(0, -1)))->op, OP_ADD);
}

Test(algebra, reductions)
{
    Node *m = m23(), *x = hide(random_data(S(2, 3, 4))), *v = VEC_F(1, 2, 3);
    cr_expect_eq(n_sum(m, 0), m);
    cr_expect_eq(n_sum(splat(F64, 7, S(2, 3)), 2), splat(F64, 21, S(2)));
    cr_expect_eq(n_maxr(splat(F64, 7, S(2, 3)), 3), n_const(F64, 7));
    Node *b = bcast(v, S(2, 3, 4), L(-1, 0, -1));
    for (uint32_t axes = 1; axes < 8; axes++) {
        Node *s = n_sum(b, axes), *t = n_maxr(b, axes);
        agree(__LINE__, s, n_sum(hide(b), axes), (Op)s->op);
        agree(__LINE__, t, n_maxr(hide(b), axes), (Op)t->op);
        cr_expect(s->op != OP_SUM || s->in[0] == v);
    }
    cr_expect_eq(n_sum(n_sum(x, 2), 2), n_sum(x, 6));
    cr_expect_eq(n_maxr(n_maxr(x, 1), 1), n_maxr(x, 3));
    cr_expect_eq(n_sum(hide(random_data(S(2, 1))), 2)->op, OP_RESHAPE);
    Node *p = n_perm(x, L(2, 0, 1));
    AGREE(n_sum(p, 1), n_sum(hide(p), 1), SUM);
    AGREE(n_sum(p, 2), n_sum(hide(p), 2), PERM);
    AGREE(n_maxr(p, 4), n_maxr(hide(p), 4), PERM);
    Node *c = n_contract(m, v, L(1, 2), L(2), 1, L(1));
    AGREE(n_sum(c, 1), n_sum(hide(c), 1), CONTRACT);
    Node *outer = n_contract(x, hide(random_data(S(2, 5))), L(1, 2, 3), L(1, 4), 4, L(1, 2, 3, 4));
    AGREE(n_sum(outer, 1), n_sum(hide(outer), 1), CONTRACT);
    cr_expect_eq(n_argmax(splat(F64, 1, S(3, 2)), 0), splat(I32, 0, S(2)));
}

Test(algebra, contractions)
{
    Node *a = hide(random_data(S(2, 3))), *b = hide(random_data(S(3, 4))), *v = hide(random_data(S(3))),
        *s = hide(n_const(F64, 3));
#define BOTH(x, y, la, lb, n, lo, op) \
    AGREE(n_contract(x, y, la, lb, n, lo), n_contract(hide(x), hide(y), la, lb, n, lo), op)
    BOTH(n_perm(a, L(1, 0)), b, L(3, 1), L(3, 2), 2, L(1, 2), CONTRACT);
    cr_expect_eq(n_contract(n_perm(a, L(1, 0)), b, L(3, 1), L(3, 2), 2, L(1, 2)),
                 n_contract(a, b, L(1, 3), L(3, 2), 2, L(1, 2)));
    Node *c = n_contract(a, b, L(1, 3), L(3, 2), 2, L(1, 2));
    AGREE(n_perm(c, L(1, 0)), n_perm(hide(c), L(1, 0)), CONTRACT);
    BOTH(splat(F64, 0, S(2, 3)), b, L(1, 3), L(3, 2), 2, L(1, 2), CONST);
    BOTH(splat(F64, 1, S(2, 3)), b, L(1, 3), L(3, 2), 2, L(1, 2), BCAST);
    BOTH(splat(F64, 5, S(3)), b, L(3), L(3, 2), 1, L(2), MUL);
    BOTH(splat(F64, 5, S(2)), b, L(3), L(1, 2), 2, L(2, 1), MUL);          /* its label is in no other operand */
    BOTH(splat(F64, 5, S(2)), splat(F64, 3, S(2, 4)), L(1), L(1, 2), 1, L(2), CONST);
    BOTH(bcast(v, S(2, 3), L(-1, 0)), b, L(1, 3), L(3, 2), 2, L(1, 2), BCAST);
    /* summed, and only broadcast along */
    BOTH(bcast(v, S(2, 3), L(-1, 0)), b, L(1, 3), L(3, 2), 1, L(2), MUL);
    BOTH(bcast(v, S(3, 2), L(0, -1)), a, L(3, 1), L(1, 3), 1, L(3), MUL);           /* a is summed, then elementwise */
    BOTH(bcast(v, S(2, 3), L(-1, 0)), a, L(1, 2), L(1, 2), 1, L(2), MUL);
    BOTH(a, b, L(1, 2), L(3, 4), 4, L(1, 2, 3, 4), CONTRACT);                  /* an outer product stays one */
    BOTH(a, v, L(1, 2), L(2), 2, L(2, 1), MUL);                                /* rows by a number each */
    BOTH(bcast(v, S(2, 3), L(-1, 0)), bcast(v, S(2, 3), L(-1, 0)), L(1, 2), L(1, 2), 0, L(0), MUL);
    BOTH(a, s, L(1, 2), L(0), 2, L(2, 1), MUL);
    BOTH(s, a, L(0), L(1, 2), 2, L(1, 2), MUL);
    BOTH(s, s, L(0), L(0), 0, L(0), MUL);
    BOTH(a, v, L(1, 2), L(3), 1, L(3), MUL);                                /* a alone is summed: a number times v */
}

/* ---- random expressions, with all rules and with none */
typedef struct { Node *simple, *plain; } Pair;
static uint32_t dice_at;
static int dice(int n) { return (int)(philox_bits(99, 0, 0, 0, dice_at++, 0) % (uint32_t)n); }

static Pair pick(Pair *pool, int n, int rank)              /* one of this rank, or of any if rank < 0 */
{
    for (int i = dice(n), tries = 0; tries < n; tries++, i = (i + 1) % n)
        if (rank < 0 || pool[i].simple->rank == rank)
            return pool[i];
    return pool[0];
}

static Node *random_elementwise(int what, Node *a, Node *b)
{
    static const Op op2[] = { OP_ADD, OP_SUB, OP_MUL, OP_MIN, OP_MAX }, op1[] = { OP_NEG, OP_TANH, OP_SIGMOID, OP_ABS };
    return what < 5 ? n_bin(op2[what], a, same_shape(a, b) ? b : n_const(F64, what - 1)) : n_un(op1[what - 5], a);
}

static Node *random_view(int what, Node *a, const int *r)
{
    int8_t map[MAXDIM];
    int32_t dim[MAXDIM];
    int ax = r[0] % a->rank, n = a->dim[ax];
    switch (what) {
    case 0:
        for (int i = 0; i < a->rank; i++)
            map[i] = (int8_t)((i + ax) % a->rank);
        return n_perm(a, map);
    case 1:
        for (int i = 0; i <= a->rank; i++)
            dim[i] = i == ax ? 2 + r[1] % 2 : a->dim[i - (i > ax)], map[i] = (int8_t)(i == ax ? -1 : i - (i > ax));
        return n_bcast(a, a->rank + 1, dim, map);
    case 2: return n_slice1(a, ax, r[1] % n, 1 + r[2] % (n - r[1] % n), 1);
    case 3: return n_slice1(a, ax, n - 1, (n + 1) / 2, n > 1 ? -2 : 1);
    case 4: return n_reshape(a, 1, I((int32_t)n_size(a)));
    case 5: return n_concat(2, (Node *[]){ a, a }, ax);
    case 6: return n > 1 ? n_window(a, ax, 1 + r[1] % 2) : a;
    case 7: return n_cumsum(a, ax, r[1] % 2);
    default:
        memcpy(dim, a->dim, sizeof dim);
        dim[ax] = 2 * n + 1;
        return n_pad(a, a->rank, dim, I(ax == 0, ax == 1, ax == 2), I(1 + (ax == 0), 1 + (ax == 1), 1 + (ax == 2)));
    }
}

/* labels by size: an axis of b gets an unused label of a of its size */
static Node *random_contract(Node *a, Node *b, const int *r)
{
    int8_t la[MAXDIM], lb[MAXDIM], lo[MAXDIM];
    int rank = 0, next = a->rank + 1;
    unsigned used = 0;
    for (int i = 0; i < a->rank; i++)
        la[i] = (int8_t)(i + 1);
    for (int j = 0; j < b->rank; j++) {
        lb[j] = (int8_t)next++;
        for (int i = 0; i < a->rank; i++)
            if (a->dim[i] == b->dim[j] && !(used >> i & 1)) {
                lb[j] = la[i], used |= 1u << i;
                next--;
                break;
            }
    }
    for (int l = next - 1; l > 0 && rank < 3; l--)
        if (r[l % 3] % 2)
            lo[rank++] = (int8_t)l;
    return n_contract(a, b, la, lb, rank, lo);
}

static Node *random_node(int kind, int what, Node *a, Node *b, const int *r)
{
    switch (kind) {
    case 0: return random_elementwise(what, a, b);
    case 1: return a->rank && a->rank < 3 ? random_view(what, a, r) : a;
    case 2: return a->rank ? n_sum(a, (uint32_t)(1 + r[0] % ((1 << a->rank) - 1))) : a;
    case 3: return a->rank ? n_maxr(a, (uint32_t)(1 + r[0] % ((1 << a->rank) - 1))) : a;
    default: return random_contract(a, b, r);
    }
}

static void random_program(int id)
{
    Pair pool[32];
    int n = 0;
    static const Shape shape[] = { { 0, { 0 } }, { 1, { 3 } }, { 2, { 2, 3 } }, { 2, { 3, 3 } }, { 3, { 2, 1, 3 } } };
    for (int i = 0; i < COUNT(shape); i++, n++)
        pool[n].plain = pool[n].simple = random_data(shape[i]);
    for (int i = 0; i < COUNT(shape); i++, n++) {
        pool[n].simple = splat(F64, dice(3) - 1, shape[i]);
        pool[n].plain = hide(pool[n].simple);
    }
    while (n < 32) {
        Pair a = pick(pool, n, -1), b = pick(pool, n, dice(2) ? a.simple->rank : -1);
        int kind = dice(5), what = dice(9), r[3] = { dice(60), dice(60), dice(60) };
        pool[n].simple = random_node(kind, what, a.simple, b.simple, r);
        pool[n].plain = hide(random_node(kind, what, a.plain, b.plain, r));
        if (n_size(pool[n].simple) > 2000)
            continue;
        Tensor *s = value(pool[n].simple, false, NULL), *p = value(pool[n].plain, false, NULL);
        bool small = true;
        cr_assert_str_eq(node_type(pool[n].simple), node_type(pool[n].plain));
        for (int64_t i = 0; i < n_size(pool[n].simple); i++) {
            cr_assert(fabs(s->f[i] - p->f[i]) <= 1e-9 * (1 + fabs(p->f[i])),
                      "program %d, node %d (%s): %.17g and %.17g", id, n, op_row[pool[n].simple->op].name, s->f[i], p->f[i]);
            small &= fabs(p->f[i]) < 1e3;
        }
        n += small;
        tensor_free(s), tensor_free(p);
    }
}

Test(algebra, random_programs)
{
    for (int id = 0; id < 300; id++) {
        random_program(id);
        graph_reset();
    }
}

/* ---- regions */
/* result k, with values of nodes as inputs */
static void run(int line, const Region *r, Node *const *in, int k, int n, const double *v)
{
    Tensor *arg[8], *out[8];
    for (int i = 0; i < r->np; i++)
        arg[i] = value(in[i], false, NULL);
    region_eval(r, arg, out, false, NULL);
    cr_assert_eq(n_size(r->result[k]), n, "line %d", line);
    for (int i = 0; i < n; i++)
        cr_expect(near(at(out[k], i), v[i]), "line %d: element %d is %g, not %g", line, i, at(out[k], i), v[i]);
    for (int i = 0; i < r->np; i++)
        tensor_free(arg[i]);
    for (int i = 0; i < r->nr; i++)
        tensor_free(out[i]);
}
#define RUN(r, in, k, ...) run(__LINE__, r, in, k, COUNT(((double[]){ __VA_ARGS__ })), (double[]){ __VA_ARGS__ })
#define NODES(...) ((Node *[]){ __VA_ARGS__ })
#define KINDS(...) ((uint8_t[]){ __VA_ARGS__ })

Test(regions, map_with_index_items_stack_and_sum)
{
    Node *t = formal(0, I32, SCALAR), *c = formal(1, F64, S(2)), *x = formal(2, F64, S(2));
    Node *y = n_bin(OP_ADD, n_bin(OP_MUL, x, c), n_cast(t, F64));
    Region *body = region(3, NODES(t, c, x), KINDS(K_INDEX, K_CAPTURE, K_ITEM), 2, NODES(y, x), KINDS(K_STACK, K_SUM));
    for (int reverse = 0; reverse < 2; reverse++) {
        Node *loop = n_loop(3, reverse, body, 2, NODES(VEC_F(10, 100), DATA(F64, S(3, 2), 1, 2, 3, 4, 5, 6)));
        WANT(n_out(loop, 0), "f64[3, 2]", 10, 200, 31, 401, 52, 602);
        WANT(n_out(loop, 1), "f64[2]", 9, 12);
    }
}

Test(regions, carries_move_together)                       /* (a, b) <- (b, a + b), each reading the old values */
{
    Node *a = formal(0, I64, SCALAR), *b = formal(1, I64, SCALAR);
    Region *body = region(2, NODES(a, b), KINDS(K_CARRY, K_CARRY), 3, NODES(a, b, n_bin(OP_ADD, a, b)),
                          KINDS(K_STACK, K_CARRY, K_CARRY));
    Node *loop = n_loop(8, false, body, 2, NODES(hide(n_iconst(I64, 0)), hide(n_iconst(I64, 1))));
    WANT(n_out(loop, 0), "i64[8]", 0, 1, 1, 2, 3, 5, 8, 13);
    WANT(n_out(loop, 1), "i64[]", 21);
    WANT(n_out(loop, 2), "i64[]", 34);
    Node *none = n_loop(0, false, body, 2, NODES(n_iconst(I64, 4), n_iconst(I64, 5)));
    WANT(n_out(none, 2), "i64[]", 5);
    cr_expect_str_eq(node_type(n_out(none, 0)), "i64[0]");
}

Test(regions, reverse_loop_runs_backwards)
{
    Node *s = formal(0, F64, SCALAR), *x = formal(1, F64, SCALAR),
         *y = n_bin(OP_ADD, n_bin(OP_MUL, s, n_const(F64, 2)), x);
    Region *body = region(2, NODES(s, x), KINDS(K_CARRY, K_ITEM), 2, NODES(y, y), KINDS(K_CARRY, K_STACK));
    Node *in[] = { n_const(F64, 0), VEC_F(1, 2, 3) };
    WANT(n_out(n_loop(3, false, body, 2, in), 1), "f64[3]", 1, 4, 11);
    WANT(n_out(n_loop(3, true, body, 2, in), 1), "f64[3]", 17, 8, 3);
    WANT(n_out(n_loop(3, true, body, 2, in), 0), "f64[]", 17);
}

Test(regions, loops_nest)                                  /* sum over i of the sum over j < 4 of (i + 1) m[i][j] */
{
    Node *w = formal(0, F64, SCALAR), *x = formal(1, F64, SCALAR);
    Region *inner = region(2, NODES(w, x), KINDS(K_CAPTURE, K_ITEM), 1, NODES(n_bin(OP_MUL, w, x)), KINDS(K_SUM));
    Node *t = formal(0, I32, SCALAR), *row = formal(1, F64, S(4));
    Node *weight = n_cast(n_bin(OP_ADD, t, n_iconst(I32, 1)), F64);
    Node *sum = n_out(n_loop(4, false, inner, 2, NODES(weight, row)), 0);
    Region *outer = region(2, NODES(t, row), KINDS(K_INDEX, K_ITEM), 2, NODES(sum, sum), KINDS(K_SUM, K_STACK));
    Node *m = DATA(F64, S(2, 4), 1, 2, 3, 4, 5, 6, 7, 8), *loop = n_loop(2, false, outer, 1, &m);
    WANT(n_out(loop, 0), "f64[]", 10 + 2 * 26);
    WANT(n_out(loop, 1), "f64[2]", 10, 52);
}

Test(regions, equal_loops_are_one_and_constant_carries_vanish)
{
    Node *s = formal(0, F64, SCALAR), *c = formal(1, F64, SCALAR), *one[3];
    for (int i = 0; i < 2; i++) {
        Region *body = region(2, NODES(s, c), KINDS(K_CARRY, K_CARRY), 2, NODES(n_bin(OP_MUL, s, c), c),
            KINDS(K_CARRY, K_CARRY));
        one[i] = n_loop(3, false, body, 2, NODES(VEC_F(2)->rank ? n_const(F64, 2) : NULL, hide(n_const(F64, 3))));
        cr_expect_eq(one[i]->in[1], n_out(one[i], 1), "a carry that nothing changes");
        WANT(n_out(one[i], 0), "f64[]", 54);
    }
    Region *a = region(2, NODES(s, c), KINDS(K_CAPTURE, K_CAPTURE), 1, NODES(n_bin(OP_MUL, s, c)), KINDS(K_STACK));
    Region *b = region(2, NODES(s, c), KINDS(K_CAPTURE, K_CAPTURE), 1, NODES(n_bin(OP_MUL, s, c)), KINDS(K_STACK));
    Node *in[] = { VEC_F(1), VEC_F(2) };
    Node *x = reshape(in[0], SCALAR), *y = reshape(in[1], SCALAR);
    cr_expect_neq(a, b);
    cr_expect_eq(n_loop(2, false, a, 2, NODES(x, y)), n_loop(2, false, b, 2, NODES(x, y)));
}

/* y_t = exp(c) + x_t where t is even, x_t elsewhere; counts of even t */
Test(regions, invariants_and_integers_in_loops)
{
    Node *c = formal(0, F64, S(2)), *x = formal(1, F64, S(2)), *n = formal(2, I32, SCALAR),
         *t = formal(3, I32, SCALAR), **cap;
    Node *even = n_bin(OP_EQ, n_bin(OP_MOD, t, n_iconst(I32, 2)), n_iconst(I32, 0));
    Node *e = n_un(OP_EXP, c), *sum = n_bin(OP_ADD, e, x);
    Region *yes, *no;
    int ncap = region_close2(1, &sum, &x, 1, &e, &cap, &yes, &no);
    Node *y = n_out(n_cond(even, ncap, cap, yes, no), 0), *one = n_cast(even, I32);
    Region *body = region(4, NODES(c, x, n, t), KINDS(K_CAPTURE, K_ITEM, K_CARRY, K_INDEX), 4,
                          NODES(one, y, n_bin(OP_ADD, n, one), e),
                          KINDS(K_SUM, K_STACK, K_CARRY, K_SUM));
    Node *c0 = formal(0, F64, S(2)), *rows = formal(1, F64, S(3, 2)), *start = formal(2, I32, SCALAR);
    Node *loop = n_loop(3, true, body, 3, NODES(c0, rows, start)), *res[4];
    for (int k = 0; k < 4; k++)
        res[k] = n_out(loop, k);
    Region *r = region(3, NODES(c0, rows, start), KINDS(K_CAPTURE, K_CAPTURE, K_CAPTURE), 4, res,
                       KINDS(K_STACK, K_STACK, K_STACK, K_STACK));
    for (int i = 0; i < 2; i++) {                          /* another call, other captures */
        Node *in[] = { i ? VEC_F(0, 0) : VEC_F(0.6931471805599453, 0), DATA(F64, S(3, 2), 1, 2, 3, 4, 5, 6),
            n_iconst(I32, 5) };
        RUN(r, in, 0, 2);
        RUN(r, in, 1, 3 - i, 3, 3, 4, 7 - i, 7);
        RUN(r, in, 2, 7);
        RUN(r, in, 3, 6 - 3 * i, 3);
    }
}

Test(regions, sums_round_once_and_changed_regions_are_seen)
{
    Node *x = formal(0, F32, SCALAR), *m = formal(0, F32, S(3));
    Region *body = region(1, &x, KINDS(K_ITEM), 1, &x, KINDS(K_SUM));
    Node *sum = n_out(n_loop(3, false, body, 1, &m), 0);
    Region *r = region(1, &m, KINDS(K_CAPTURE), 1, &sum, KINDS(K_STACK));
    Tensor *in = value(DATA(F32, S(3), 16777216, 1, 1), false, NULL), *out;
    region_eval(r, &in, &out, true, NULL);
    cr_expect_eq(out->f[0], 16777218);
    tensor_free(out);
    r->result[0] = n_maxr(m, 1);
    region_eval(r, &in, &out, true, NULL);
    cr_expect_eq(out->f[0], 16777216);
    tensor_free(out), tensor_free(in), tensor_free(NULL);
}

Test(regions, conds_choose)
{
    Node *f = formal(0, F64, SCALAR), *p = formal(1, F64, SCALAR);
    Region *twice = region(1, &f, KINDS(K_CAPTURE), 1, NODES(n_bin(OP_MUL, f, n_const(F64, 2))), KINDS(K_STACK));
    Region *same = region(1, &f, KINDS(K_CAPTURE), 1, &f, KINDS(K_STACK));
    Node *x = n_bin(OP_ADD, f, n_const(F64, 1));
    Node *on = n_bin(OP_LT, n_const(F64, 0), p);
    Node *a = n_out(n_cond(on, 1, &f, twice, same), 0), *b = n_out(n_cond(on, 1, &x, twice, same), 0);
    Region *r = region(2, NODES(f, p), KINDS(K_CAPTURE, K_CAPTURE), 3, NODES(a, b, n_bin(OP_SUB, a, b)),
        KINDS(K_STACK, K_STACK, K_STACK));
    for (int sign = -1; sign < 2; sign += 2) {
        Node *in[] = { n_const(F64, 5), n_const(F64, sign) };
        RUN(r, in, 0, sign > 0 ? 10 : 5);
        RUN(r, in, 1, sign > 0 ? 12 : 6);
        RUN(r, in, 2, sign > 0 ? -2 : -1);                 /* both are read after both have run */
    }
    cr_expect_eq(n_out(n_cond(n_iconst(BOOL, 1), 1, &x, twice, same), 0), n_bin(OP_MUL, x, n_const(F64, 2)));
    cr_expect_eq(n_out(n_cond(n_iconst(BOOL, 0), 1, &x, twice, same), 0), x);
}

Test(regions, closing_finds_what_is_captured)
{
    Node *a = formal(0, F64, S(2)), *b = formal(1, F64, S(2)), *c = formal(7, F64, S(2));
    Node *cut = n_bin(OP_MUL, a, b), *below = n_un(OP_EXP, c);
    Node *yes = n_bin(OP_ADD, n_bin(OP_ADD, cut, b), cut), *no = n_bin(OP_SUB, below, cut), **cap;
    Region *r0, *r1;
    int n = region_close2(1, &yes, &no, 2, NODES(cut, a), &cap, &r0, &r1);
    verify_region(r0, "closing");
    verify_region(r1, "closing");
    cr_assert_eq(n, 4);
    cr_expect(cap[0] == cut && cap[1] == a && cap[2] == b && cap[3] == c, "cuts, then formals, oldest first");
    cr_expect(r0->np == 4 && r1->np == 4 && r0->fkind[3] == K_CAPTURE && r0->rkind[0] == K_STACK);
    RUN(r0, NODES(VEC_F(2, 3), VEC_F(9, 9), VEC_F(5, 7), VEC_F(0, 0)), 0, 9, 13);
    RUN(r1, NODES(VEC_F(2, 3), VEC_F(9, 9), VEC_F(5, 7), VEC_F(0, 0)), 0, -1, -2);
    n = region_close2(1, &yes, NULL, 0, NULL, &cap, &r0, NULL);
    cr_expect_eq(n, 2);
    cr_expect_eq(r0->result[0], yes, "already closed over its own formals");
}

Test(regions, substitution_and_erasure)
{
    Node *a = formal(0, F64, SCALAR), *b = formal(1, F64, SCALAR), *m = n_mark(a, graph_uid());
    Node *y = n_bin(OP_MUL, n_stop(n_bin(OP_ADD, m, b), STOP_ALL), n_const(F64, 3)), *res[] = { y, b, NULL };
    graph_subst(3, res, 2, NODES(a, b), NODES(b, a));      /* at once: no chain a -> b -> a */
    cr_expect_eq(res[0], n_bin(OP_MUL, n_stop(n_bin(OP_ADD, n_mark(b, m->a.k), a), STOP_ALL), n_const(F64, 3)));
    cr_expect_eq(res[1], a);
    Region *inner = region(1, &a, KINDS(K_CARRY), 1, NODES(n_stop(n_bin(OP_MUL, a, m), 1)), KINDS(K_CARRY));
    Node *loop = n_out(n_loop(2, false, inner, 1, NODES(m)), 0);
    Region *r = region(2, NODES(a, b), KINDS(K_CAPTURE, K_CAPTURE), 2, NODES(y, loop), KINDS(K_STACK, K_STACK)),
        *e = region_erase(r);
    verify_region(e, "erasing");
    cr_expect_eq(e->result[0], n_bin(OP_MUL, n_bin(OP_ADD, a, b), n_const(F64, 3)));
    cr_expect_eq(e->result[1]->in[0]->in[0], a);
    cr_expect_eq(e->result[1]->in[0]->a.r[0]->result[0], n_bin(OP_MUL, a, a));
    Node *in[] = { n_const(F64, 3), n_const(F64, 4) };
    RUN(r, in, 0, 21);
    RUN(e, in, 0, 21);
    RUN(r, in, 1, 81);
    RUN(e, in, 1, 81);
}

Test(regions, values_can_be_given_to_nodes)
{
    Node *a = formal(0, F64, SCALAR), *m = n_bin(OP_MUL, a, a), *y = n_bin(OP_ADD, m, a);
    Region *r = region(1, &a, KINDS(K_CAPTURE), 1, &y, KINDS(K_STACK));
    Tensor *x = value(n_const(F64, 3), false, NULL), *v = value(n_const(F64, 100), false, NULL), *out;
    region_eval_with(r, &x, &out, false, NULL, 1, &m, &v);
    cr_expect_eq(out->f[0], 103);
    tensor_free(out);
    region_eval(r, &x, &out, false, NULL);
    cr_expect_eq(out->f[0], 12);
    tensor_free(out), tensor_free(x), tensor_free(v);
}

Test(regions, order_is_by_birth)
{
    Node *a = formal(0, F64, SCALAR), *b = n_un(OP_EXP, a), *c = n_un(OP_SIN, a), *d = n_bin(OP_MUL, c, b), **order;
    int n = graph_order(2, NODES(d, NULL), &order);
    cr_assert_eq(n, 4);
    cr_expect(order[0] == a && order[1] == b && order[2] == c && order[3] == d);
    Node *deep = a;
    for (int i = 0; i < 100000; i++)
        deep = n_un(i % 2 ? OP_SIN : OP_COS, deep);
    cr_expect_eq(graph_order(1, &deep, &order), 100001, "no recursion");
}

/* ---- dump */
Test(regions, dump)
{
    Node *s = formal(0, F32, S(2)), *x = formal(1, F32, S(2)), *m = formal(1, F32, S(3, 2));
    Region *body = region(2, NODES(s, x), KINDS(K_CARRY, K_ITEM), 2, NODES(n_bin(OP_ADD, s, x), s),
                          KINDS(K_CARRY, K_STACK));
    Node *loop = n_loop(3, true, body, 2, NODES(s, m));
    Node *dot = n_contract(n_out(loop, 1), m, L(1, 2), L(3, 2), 2, L(1, 3));
    graph_loc = (Loc){ .file = (uint16_t)source_add_text("a.nl", "\n"), .line = 7, .col = 12 };
    Node *top = n_slice1(n_maxr(n_bin(OP_MUL, dot, n_const(F32, 0.5)), 1), 0, 0, 2, 2);
    graph_loc = (Loc){ 0 };
    Node *res[] = { n_out(loop, 0), top };
    char *text = NULL;
    size_t size;
    FILE *to = open_memstream(&text, &size);
    region_print(region(2, NODES(s, m), KINDS(K_CAPTURE, K_CAPTURE), 2, res, KINDS(K_STACK, K_STACK)), to);
    fclose(to);
    cr_expect_str_eq(text,
        "region (capture %0: f32[2], capture %1: f32[3, 2]) {\n"
        "    %2 = loop 3 reverse %0 %1 region (carry %0: f32[2], item %1: f32[2]) {\n"
        "        %2 = add %0 %1: f32[2]\n"
        "    } carry %2, stack %0\n"
        "    %3 = out 1 %2: f32[3, 2]\n"
        "    %4 = contract ac,bc->ab %3 %1: f32[3, 3]\n"
        "    %5 = const 0.5: f32[3, 3]  # a.nl:7:12\n"
        "    %6 = mul %4 %5: f32[3, 3]  # a.nl:7:12\n"
        "    %7 = maxr [0] %6: f32[3]  # a.nl:7:12\n"
        "    %8 = slice start [0] step [2] %7: f32[2]  # a.nl:7:12\n"
        "    %9 = out 0 %2: f32[2]\n"
        "} stack %9, stack %8\n");
    free(text);
}

/* ---- broken rules end the compiler with a message */
#define BROKEN(name, make) Test(broken, name, .signal = SIGABRT) { (void)freopen("/dev/null", "w", stderr); make; }
BROKEN(shapes_differ, n_bin(OP_ADD, VEC_F(1, 2), VEC_F(1, 2, 3)))
BROKEN(types_differ, n_bin(OP_ADD, VEC_F(1, 2), VEC_I(1, 2)))
BROKEN(root_of_integers, n_un(OP_SQRT, VEC_I(1)))
BROKEN(not_of_numbers, n_un(OP_NOT, VEC_F(1)))
BROKEN(broadcast_loses_an_axis, bcast(m23(), S(2, 4), L(0, -1)))
BROKEN(no_permutation, n_perm(m23(), L(0, 0)))
BROKEN(reshape_changes_size, reshape(hide(m23()), S(5)))
BROKEN(slice_outside, n_slice1(m23(), 1, 2, 2, 1))
BROKEN(pad_outside, n_pad(VEC_F(1, 2), 1, I(3), I(1), I(2)))
BROKEN(window_too_long, n_window(VEC_F(1, 2), 0, 3))
BROKEN(concat_of_other_sizes, n_concat(2, NODES(m23(), VEC_F(1)), 0))
BROKEN(gather_by_floats, n_gather(m23(), VEC_F(1), 0, (Loc){ 0 }))
BROKEN(sum_of_no_axis, n_sum(m23(), 4))
BROKEN(label_of_two_sizes, n_contract(m23(), VEC_F(1, 2), L(1, 2), L(2), 1, L(1)))
BROKEN(label_from_nowhere, n_contract(m23(), VEC_F(1, 2, 3), L(1, 2), L(2), 1, L(3)))

static Region *empty(void) { return region_new(0, NULL, NULL, 0, NULL, NULL); }
BROKEN(predicate_is_no_bool, n_cond(n_const(F64, 1), 0, NULL, empty(), empty()))

static Region *count_body(Dt dt)                           /* a carry of i32, and a result of dt */
{
    Node *a = formal(0, I32, SCALAR);
    return region_new(1, &a, KINDS(K_CARRY), 1, NODES(n_cast(a, dt)), KINDS(K_CARRY));
}
BROKEN(carry_changes_type, n_loop(2, false, count_body(F32), 1, NODES(n_iconst(I32, 1))))
BROKEN(carry_starts_with_another_type, n_loop(2, false, count_body(I32), 1, NODES(n_iconst(I64, 1))))
BROKEN(loop_without_its_operand, n_loop(2, false, count_body(I32), 0, NULL))

static void trip_of_items(int trip)
{
    Node *x = formal(0, F64, SCALAR), *v = VEC_F(1, 2, 3);
    n_loop(trip, false, region_new(1, &x, KINDS(K_ITEM), 1, &x, KINDS(K_STACK)), 1, &v);
}
BROKEN(items_are_as_many_as_iterations, trip_of_items(2))

static void not_closed(void)
{
    Node *x = formal(0, F64, SCALAR), *y = n_bin(OP_ADD, x, formal(1, F64, SCALAR));
    verify_region(region_new(1, &x, KINDS(K_CAPTURE), 1, &y, KINDS(K_STACK)), "the test");
}
BROKEN(region_is_not_closed, not_closed())
