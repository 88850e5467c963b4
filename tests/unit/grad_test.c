/* grad_test.c: every adjoint, and loops and conds to third order, against central differences in f64. */
#include "graph.h"
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

Options opt;

/* ---- Numbers, shapes, formals. */

static uint64_t rng = 88172645463325252u;
static double uniform(double lo, double hi)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return lo + (hi - lo) * (double)(rng >> 11) / 9007199254740992.0;
}

typedef struct { int rank; int32_t dim[MAXDIM]; } Shape;
#define SHAPE(...) ((Shape){(int)(sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t)), {__VA_ARGS__}})
static const Shape scalar = {0, {0}};

static Node *random_data(int rank, const int32_t *dim, double lo, double hi)
{
    int64_t n = 1;
    for (int i = 0; i < rank; i++) n *= dim[i];
    double *d = NEWN(double, n);
    for (int64_t i = 0; i < n; i++) d[i] = uniform(lo, hi);
    return n_data(F64, rank, dim, d);
}

/* The inputs of a test: formals and the ranges of their random values. */
typedef struct { int n; Node *formal[8]; double lo[8], hi[8]; } Inputs;

static Node *input(Inputs *in, Shape s, double lo, double hi)
{
    Node *x = n_formal(in->n, F64, s.rank, s.dim);
    in->formal[in->n] = x;
    in->lo[in->n] = lo;
    in->hi[in->n++] = hi;
    return x;
}

/* ---- The check. */

static double evaluate(const Region *r, Tensor **in, Tensor **out)
{
    EvalStatus st = {0};
    region_eval(r, in, out, false, &st);
    cr_assert(!st.bad, "an index out of range");
    return out[0]->f[0];
}

static double evaluate_scalar(const Region *r, Tensor **in)
{
    Tensor *out[16];
    double v = evaluate(r, in, out);
    for (int k = 0; k < r->nr; k++) tensor_free(out[k]);
    return v;
}

static Node *dot(Node *a, Node *b)
{
    Node *p = n_bin(OP_MUL, a, b);
    return p->rank ? n_sum(p, (1u << p->rank) - 1) : p;
}

static void compare(const char *what, const Inputs *in, Node *s, Node **grad)
{
    uint8_t fk[8] = {0}, rk[9];
    Node *res[9] = {s}, *only[1] = {s};
    Tensor *t[8], *out[9];
    memset(rk, K_STACK, sizeof rk);
    for (int j = 0; j < in->n; j++) {
        res[j + 1] = grad[j] ? grad[j] : n_zeros_like(in->formal[j]);
        t[j] = tensor_new(F64, in->formal[j]->rank, in->formal[j]->dim);
        for (int64_t i = 0; i < n_size(in->formal[j]); i++) t[j]->f[i] = uniform(in->lo[j], in->hi[j]);
    }
    evaluate(region_new(in->n, in->formal, fk, in->n + 1, res, rk), t, out);
    Region *e = region_new(in->n, in->formal, fk, 1, only, rk);
    for (int j = 0; j < in->n; j++) {
        for (int64_t i = 0; i < n_size(in->formal[j]); i++) {
            double x = t[j]->f[i], h = 1e-5 * fmax(1, fabs(x));
            t[j]->f[i] = x + h;
            double up = evaluate_scalar(e, t);
            t[j]->f[i] = x - h;
            double down = evaluate_scalar(e, t);
            t[j]->f[i] = x;
            double want = (up - down) / (2 * h), got = out[j + 1]->f[i];
            cr_expect(fabs(want - got) <= 2e-6 * (1 + fabs(want)),
                      "%s: input %d element %d: gradient %.10g, differences %.10g",
                      what, j, (int)i, got, want);
        }
    }
    for (int j = 0; j <= in->n; j++) tensor_free(out[j]);
    for (int j = 0; j < in->n; j++) tensor_free(t[j]);
}

/* Checks s = dot(y, random) and then, order - 1 times, the sum of dot(gradient, random) in the place of s. */
static void check(const char *what, const Inputs *in, Node *y, int order)
{
    Node *s = dot(y, random_data(y->rank, y->dim, 0.5, 1.5));
    for (int k = 1; k <= order; k++) {
        Node *grad[8], *one = n_const(F64, 1), *next = NULL;
        vjp(1, &s, &one, in->n, in->formal, 0, grad);
        char title[80];
        snprintf(title, sizeof title, "%s, order %d", what, k);
        compare(title, in, s, grad);
        for (int j = 0; j < in->n; j++) {
            if (!grad[j]) continue;
            Node *p = dot(grad[j], random_data(grad[j]->rank, grad[j]->dim, 0.5, 1.5));
            next = next ? n_bin(OP_ADD, next, p) : p;
        }
        if (!next) return;
        s = next;
    }
}

/* ---- Elementwise. */

static const struct { Op op; const char *name; double lo, hi; } unary[] = {
    {OP_NEG, "neg", -2, 2}, {OP_ABS, "abs", 0.1, 2}, {OP_ABS, "abs", -2, -0.1}, {OP_SIGN, "sign", 0.1, 2},
    {OP_FLOOR, "floor", 0.1, 0.9},
    {OP_SQRT, "sqrt", 0.3, 3}, {OP_EXP, "exp", -2, 1}, {OP_LOG, "log", 0.3, 3}, {OP_SIN, "sin", -3, 3},
    {OP_COS, "cos", -3, 3},
    {OP_TANH, "tanh", -2, 2}, {OP_SIGMOID, "sigmoid", -3, 3}, {OP_ERF, "erf", -2, 2},
};

Test(grad, unary)
{
    for (size_t i = 0; i < sizeof unary / sizeof *unary; i++) {
        const Shape shape[] = {scalar, SHAPE(3), SHAPE(1), SHAPE(2, 1, 3)};
        for (int s = 0; s < 4; s++) {
            Inputs in = {0};
            Node *x = input(&in, shape[s], unary[i].lo, unary[i].hi);
            check(unary[i].name, &in, n_un(unary[i].op, x), 3);
        }
    }
}

static const struct { Op op; const char *name; double alo, ahi, blo, bhi; } binary[] = {
    {OP_ADD, "add", -2, 2, -2, 2}, {OP_SUB, "sub", -2, 2, -2, 2}, {OP_MUL, "mul", -2, 2, -2, 2},
    {OP_DIV, "div", -2, 2, 0.5, 2},
    {OP_POW, "pow", 0.3, 2, -2, 2}, {OP_MIN, "min", 0, 1, 1.1, 2}, {OP_MIN, "min", 1.1, 2, 0, 1},
    {OP_MAX, "max", 0, 1, 1.1, 2},
    {OP_MAX, "max", 1.1, 2, 0, 1}, {OP_MOD, "mod", 2.1, 2.9, 1, 1.02}, {OP_MOD, "mod", -2.9, -2.1, 1, 1.02},
};

Test(grad, binary)
{
    for (size_t i = 0; i < sizeof binary / sizeof *binary; i++) {
        const Shape shape[] = {scalar, SHAPE(4), SHAPE(2, 1)};
        for (int s = 0; s < 3; s++) {
            Inputs in = {0};
            Node *a = input(&in, shape[s], binary[i].alo, binary[i].ahi),
                  *b = input(&in, shape[s], binary[i].blo, binary[i].bhi);
            check(binary[i].name, &in, n_bin(binary[i].op, a, b), 2);
        }
        Inputs in = {0};
        Node *a = input(&in, SHAPE(3), binary[i].alo, binary[i].ahi);
        check("constant right", &in, n_bin(binary[i].op, a,
                                           n_const(F64, 0.5 * (binary[i].blo + binary[i].bhi) + 0.01)), 2);
        Inputs on = {0};
        Node *b = input(&on, scalar, binary[i].blo, binary[i].bhi);
        check("constant left", &on, n_bin(binary[i].op, n_const(F64, 0.5 * (binary[i].alo + binary[i].ahi) + 0.01), b),
              2);
    }
}

/* Powers with a constant exponent, of both signs where there is a value. */
Test(grad, powers)
{
    static const double whole[] = {0, 1, 2, 3, -1, -2, 5};
    for (int i = 0; i < 7; i++) {
        Inputs in = {0};
        Node *x = input(&in, SHAPE(4), -2, -0.5);
        check("whole power", &in, n_bin(OP_POW, x, n_const(F64, whole[i])), 3);
    }
}

static double gradient_at(Node *x, Node *y, double at)
{
    Node *one = n_const(F64, 1), *g, *res[1];
    vjp(1, &y, &one, 1, &x, 0, &g);
    if (!g) return 0;
    uint8_t k[1] = {0};
    res[0] = g;
    Tensor *t = tensor_new(F64, 0, NULL);
    t->f[0] = at;
    double v = evaluate_scalar(region_new(1, &x, k, 1, res, k), &t);
    tensor_free(t);
    return v;
}

/* Slopes that are agreed at kinks: none is NaN, also in the second derivative. */
Test(grad, kinks)
{
    Node *x = n_formal(0, F64, 0, NULL), *one = n_const(F64, 1), *g;
    cr_expect_eq(gradient_at(x, n_un(OP_SQRT, x), 0), 0);
    cr_expect_eq(gradient_at(x, n_un(OP_ABS, x), 0), 0);
    cr_expect_eq(gradient_at(x, n_bin(OP_POW, x, n_const(F64, 0.5)), 0), 0);
    cr_expect_eq(gradient_at(x, n_bin(OP_POW, x, n_const(F64, 3)), 0), 0);
    cr_expect_eq(gradient_at(x, n_bin(OP_MAX, x, n_const(F64, 1)), 1), 1);
    cr_expect_eq(gradient_at(x, n_bin(OP_MIN, x, n_const(F64, 1)), 1), 1);
    Node *s = n_un(OP_SQRT, x);
    vjp(1, &s, &one, 1, &x, 0, &g);
    cr_expect_eq(gradient_at(x, g, 0), 0);
}

Test(grad, select_and_cast)
{
    Inputs in = {0};
    Node *a = input(&in, SHAPE(5), -2, 2), *b = input(&in, SHAPE(5), -2, 2);
    Node *c = n_bin(OP_LT, n_iota(F64, 1, (int32_t[]){5}, 0), n_splat(F64, 2.5, 1, (int32_t[]){5}));
    check("select", &in, n_select(c, n_bin(OP_MUL, a, b), n_un(OP_SIN, b)), 2);
    Node *narrow = n_cast(a, F32), *one = n_splat(F32, 1, 1, (int32_t[]){5}), *g[2];
    vjp(1, &narrow, &one, 2, in.formal, 0, g);
    cr_expect(g[0] && g[0]->dt == F64 && !g[1]);
    Node *whole = n_cast(n_cast(a, I32), F64), *back = n_splat(F64, 1, 1, (int32_t[]){5});
    vjp(1, &whole, &back, 2, in.formal, 0, g);
    cr_expect(!g[0] && !g[1], "integers carry no cotangent");
}

/* ---- Views and data. */

static Node *cube(Node *x) { return n_bin(OP_MUL, x, n_bin(OP_MUL, x, x)); }

Test(grad, bcast_and_perm)
{
    Inputs in = {0};
    Node *x = input(&in, SHAPE(2, 3), -1, 1);
    check("bcast", &in, cube(n_bcast(x, 4, (int32_t[]){4, 2, 1, 3}, (int8_t[]){-1, 0, -1, 1})), 2);
    check("bcast turned", &in, n_bcast(x, 3, (int32_t[]){3, 2, 2}, (int8_t[]){1, -1, 0}), 1);
    check("perm", &in, cube(n_perm(x, (int8_t[]){1, 0})), 2);
    check("reshape", &in, cube(n_reshape(x, 3, (int32_t[]){1, 6, 1})), 2);
    Inputs on = {0};
    Node *y = input(&on, SHAPE(2, 1, 3, 4), -1, 1);
    check("perm of four", &on, cube(n_perm(y, (int8_t[]){2, 3, 1, 0})), 2);
    Inputs sc = {0};
    Node *z = input(&sc, scalar, -1, 1);
    check("bcast of a scalar", &sc, cube(n_bcast(z, 2, (int32_t[]){3, 2}, (int8_t[]){-1, -1})), 2);
    Inputs st = {0};
    Node *v = input(&st, SHAPE(2, 1), -1, 1);
    check("expand", &st, cube(n_expand(v, 3, (int32_t[]){2, 2, 3})), 2);
}

Test(grad, slices)
{
    Inputs in = {0};
    Node *x = input(&in, SHAPE(5, 4), -1, 1);
    check("slice", &in, cube(n_slice(x, (int32_t[]){1, 0}, (int32_t[]){3, 2}, (int32_t[]){1, 2})), 2);
    check("slice backwards", &in, cube(n_slice(x, (int32_t[]){4, 3}, (int32_t[]){2, 4}, (int32_t[]){-2, -1})), 2);
    check("pad", &in, cube(n_pad(x, 2, (int32_t[]){7, 12}, (int32_t[]){1, 2}, (int32_t[]){1, 3})), 2);
    check("pad backwards", &in, cube(n_pad(x, 2, (int32_t[]){11, 5}, (int32_t[]){9, 4}, (int32_t[]){-2, -1})), 2);
    check("window", &in, cube(n_window(x, 0, 3)), 3);
    check("window of the last axis", &in, cube(n_window(x, 1, 4)), 2);
    check("window of one", &in, cube(n_window(x, 1, 1)), 2);
}

Test(grad, concat_and_cumsum)
{
    Inputs in = {0};
    Node *x = input(&in, SHAPE(2, 3), -1, 1), *y = input(&in, SHAPE(2, 1), -1, 1);
    check("concat", &in, cube(n_concat(3, (Node *[]){x, y, x}, 1)), 2);
    check("cumsum", &in, cube(n_cumsum(x, 1, false)), 2);
    check("cumsum reversed", &in, cube(n_cumsum(x, 0, true)), 2);
}

Test(grad, gather)
{
    static const int32_t flat[] = {2, 0, 2, 1, 3, 0};
    Node *idx = n_data(I32, 2, (int32_t[]){2, 3}, flat);
    Inputs in = {0};
    Node *x = input(&in, SHAPE(4, 2), -1, 1);
    check("gather", &in, cube(n_gather(x, idx, 0, (Loc){0})), 3);
    Inputs on = {0};
    Node *y = input(&on, SHAPE(2, 4, 1, 2), -1, 1);
    check("gather with a batch axis", &on, cube(n_gather(y, idx, 1, (Loc){0})), 3);
    Inputs one = {0};
    Node *z = input(&one, SHAPE(2, 3, 4), -1, 1);
    check("gather with two batch axes", &one, cube(n_gather(z, idx, 2, (Loc){0})), 2);
}

Test(grad, reductions)
{
    Inputs in = {0};
    Node *x = input(&in, SHAPE(3, 2, 4), -1, 1);
    static const uint32_t masks[] = {1, 2, 4, 3, 5, 6, 7};
    for (int i = 0; i < 7; i++) {
        check("sum", &in, cube(n_sum(cube(x), masks[i])), 2);
        check("maximum", &in, cube(n_maxr(n_un(OP_SIN, x), masks[i])), 2);
    }
    Node *same = n_splat(F64, 2, 2, (int32_t[]){2, 3}),
          *y = n_bin(OP_MUL, n_formal(0, F64, 2, (int32_t[]){2, 3}), same);
    Node *f = n_formal(0, F64, 2, (int32_t[]){2, 3}), *m = n_maxr(y, 3), *one = n_const(F64, 1), *g;
    vjp(1, &m, &one, 1, &f, 0, &g);
    Tensor *t = tensor_new(F64, 2, f->dim), *out;
    EvalStatus st = {0};
    uint8_t k[1] = {0};
    region_eval(region_new(1, &f, k, 1, &g, k), &t, &out, false, &st);
    for (int i = 0; i < 6; i++) cr_expect_eq(out->f[i], i == 0 ? 2 : 0, "of equals only the first");
    tensor_free(t);
    tensor_free(out);
}

Test(grad, contract)
{
    static const struct { const char *a, *b, *o; } cases[] = {
        {"ij", "jk", "ik"}, {"ij", "kj", "ki"}, {"i", "j", "ij"}, {"i", "i", ""}, {"bij", "bjk", "bik"},
        {"bij", "jk", "kbi"},
        {"ij", "ij", "j"}, {"ijk", "k", "ji"}, {"", "ij", "ji"}, {"ij", "ij", ""}, {"abij", "bkj", "kiab"},
        {"ij", "k", "k"}, {"ij", "jk", "k"},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        static const int32_t size['z'] = {['a'] = 2, ['b'] = 1, ['i'] = 2, ['j'] = 3, ['k'] = 2};
        const char *text[3] = {cases[c].a, cases[c].b, cases[c].o};
        int8_t l[3][MAXDIM] = {{0}};
        Inputs in = {0};
        Node *x[2];
        for (int i = 0; i < 3; i++) {
            Shape s = {(int)strlen(text[i]), {0}};
            for (int j = 0; j < s.rank; j++) {
                s.dim[j] = size[(int)text[i][j]];
                l[i][j] = (int8_t)(text[i][j] - 'a' + 1);
            }
            if (i < 2) x[i] = input(&in, s, -1, 1);
        }
        check(text[0], &in, cube(n_contract(x[0], x[1], l[0], l[1], (int)strlen(text[2]), l[2])), 2);
    }
}

/* ---- COND and LOOP. */

static void kinds(uint8_t *k, const char *text)
{
    static const uint8_t kind[128] = {
        ['i'] = K_INDEX, ['k'] = K_CAPTURE, ['x'] = K_ITEM, ['c'] = K_CARRY, ['s'] = K_STACK, ['+'] = K_SUM,
    };
    for (; *text; text++) *k++ = kind[(int)*text];
}

/* fk, rk: a letter per formal and result: i index, k capture, x item, c carry, s stack, + sum */
static Node *loop(int trip, bool reverse, const char *fk, Node **formal, const char *rk, Node **result, int nin,
                  Node **in)
{
    uint8_t f[16], r[16];
    kinds(f, fk);
    kinds(r, rk);
    return n_loop(trip, reverse, region_new((int)strlen(fk), formal, f, (int)strlen(rk), result, r), nin, in);
}

Test(grad, cond)
{
    for (int taken = 0; taken < 2; taken++) {
        Inputs in = {0};
        Node *a = input(&in, SHAPE(3), 0.5, 1.5), *b = input(&in, SHAPE(3), 0.5, 1.5), *c = input(&in, scalar, 0.5, 1);
        Node *f[3] = {n_formal(0, F64, 1, a->dim), n_formal(1, F64, 1, a->dim), n_formal(2, F64, 0, NULL)};
        uint8_t fk[3] = {K_CAPTURE, K_CAPTURE, K_CAPTURE}, rk[2] = {K_STACK, K_STACK};
        Node *yes[2] = {n_bin(OP_MUL, f[0], n_bin(OP_MUL, f[1], f[1])), n_un(OP_EXP, f[2])};
        Node *no[2] = {n_un(OP_SIN, f[0]), n_bin(OP_MUL, f[2], n_bin(OP_MUL, f[2], f[2]))};
        Node *pred = n_bin(OP_LT, c, n_const(F64, taken ? 2 : 0));
        Node *caps[3] = {a, b, c};
        Node *s = n_cond(pred, 3, caps, region_new(3, f, fk, 2, yes, rk), region_new(3, f, fk, 2, no, rk));
        check("cond", &in, n_bin(OP_MUL, n_out(s, 0), n_out(s, 1)), 3);
    }
}

/* map: y_t = sin(x_t) * w * t; sum of x_t w */
Test(grad, loop_map)
{
    for (int reverse = 0; reverse < 2; reverse++) {
        Inputs in = {0};
        Node *w = input(&in, SHAPE(2), -1, 1), *x = input(&in, SHAPE(4, 2), -1, 1);
        Node *f[3] = {n_formal(0, I32, 0, NULL), n_formal(1, F64, 1, w->dim), n_formal(2, F64, 1, w->dim)};
        Node *t = n_bin(OP_ADD, n_cast(f[0], F64), n_const(F64, 1));
        Node *res[2] = {n_bin(OP_MUL, n_bin(OP_MUL, n_un(OP_SIN, f[2]), f[1]), t), cube(n_bin(OP_MUL, f[2], f[1]))};
        Node *ops[2] = {w, x};
        Node *l = loop(4, reverse, "ikx", f, "s+", res, 2, ops);
        check("map, stack", &in, cube(n_out(l, 0)), 3);
        check("map, sum", &in, cube(n_out(l, 1)), 3);
        Node *both = n_bin(OP_ADD, n_sum(n_out(l, 0), 1), n_out(l, 1));
        check("map, both", &in, both, 3);
    }
}

/* The delta memory: M <- M - beta (M k - v) k',  y = M q. */
static Node *delta(Node *M0, Node *beta, Node *ks, Node *vs, int trip, bool reverse)
{
    Node *f[4] = {n_formal(0, F64, 2, M0->dim), n_formal(1, F64, 0, NULL), n_formal(2, F64, 1, ks->dim + 1),
                  n_formal(3, F64, 1, vs->dim + 1)};
    Node *Mk = n_contract(f[0], f[2], (int8_t[8]){1, 2}, (int8_t[8]){2}, 1, (int8_t[8]){1});
    Node *err = n_bin(OP_MUL, n_bin(OP_SUB, Mk, f[3]), f[1]);
    Node *next = n_bin(OP_SUB, f[0], n_contract(err, f[2], (int8_t[8]){1}, (int8_t[8]){2}, 2, (int8_t[8]){1, 2}));
    Node *y = n_contract(next, n_un(OP_SIN, f[2]), (int8_t[8]){1, 2}, (int8_t[8]){2}, 1, (int8_t[8]){1});
    Node *res[2] = {next, y}, *ops[4] = {M0, beta, ks, vs};
    return loop(trip, reverse, "ckxx", f, "cs", res, 4, ops);
}

Test(grad, loop_carry)
{
    for (int reverse = 0; reverse < 2; reverse++) {
        Inputs in = {0};
        Node *M = input(&in, SHAPE(2, 3), -1, 1), *beta = input(&in, scalar, 0.2, 0.5);
        Node *k = input(&in, SHAPE(4, 3), -1, 1), *v = input(&in, SHAPE(4, 2), -1, 1);
        Node *l = delta(M, beta, k, v, 4, reverse);
        check("delta, final", &in, n_out(l, 0), 2);
        check("delta, emits", &in, cube(n_out(l, 1)), 3);
        check("delta, both", &in, n_bin(OP_ADD, dot(n_out(l, 0), n_out(l, 0)), dot(n_out(l, 1), n_out(l, 1))), 2);
    }
}

/* Carries that feed each other, one that is an integer, one that nothing flows through, and one of which only the start
   matters. */
Test(grad, loop_many_carries)
{
    Inputs in = {0};
    Node *a = input(&in, SHAPE(2), 0.5, 1), *b = input(&in, SHAPE(2), 0.5, 1), *x = input(&in, SHAPE(3, 2), -1, 1);
    int32_t two[] = {2};
    Node *f[5] = {n_formal(0, F64, 1, two), n_formal(1, I32, 0, NULL), n_formal(2, F64, 1, two),
                  n_formal(3, F64, 1, two),
                  n_formal(4, F64, 1, two)};
    Node *t = n_bcast(n_cast(f[1], F64), 1, two, (int8_t[]){-1});
    Node *res[6] = {
        n_bin(OP_ADD, n_bin(OP_MUL, f[0], f[2]), f[4]),                 /* p <- p r + x */
        n_bin(OP_ADD, f[1], n_iconst(I32, 2)),                          /* n <- n + 2 */
        n_bin(OP_MUL, n_un(OP_SIN, f[0]), n_bin(OP_ADD, t, f[2])),      /* r <- sin(p) (n + r) */
        n_splat(F64, 3, 1, two),                                        /* c <- 3 */
        n_bin(OP_MUL, f[3], f[2]),
        n_bin(OP_MUL, f[0], t),
    };
    Node *ops[5] = {a, n_iconst(I32, 1), b, b, x};
    Node *l = loop(3, false, "ccccx", f, "ccccs+", res, 5, ops);
    check("carries, final", &in, n_bin(OP_ADD, n_out(l, 0), n_out(l, 2)), 2);
    check("carries, all", &in, n_bin(OP_ADD, n_bin(OP_MUL, n_out(l, 0), n_out(l, 5)),
                                     n_sum(n_bin(OP_MUL, n_out(l, 4), n_out(l, 4)), 1)), 2);
    check("carries, constant", &in, n_bin(OP_MUL, n_out(l, 3), n_sum(n_out(l, 4), 1)), 2);
    check("carries, not differentiable", &in, n_bin(OP_MUL, n_cast(n_bcast(n_out(l, 1), 1, two, (int8_t[]){-1}), F64),
                                                    a), 1);
}

/* A loop in a loop: for each row, a scan that starts at the outer carry; a sum goes out of both. */
Test(grad, loop_nested)
{
    for (int reverse = 0; reverse < 2; reverse++) {
        Inputs in = {0};
        Node *w = input(&in, scalar, 0.3, 0.9), *m = input(&in, SHAPE(2), 0.3, 0.9),
              *x = input(&in, SHAPE(3, 2, 2), -1, 1);
        int32_t two[] = {2};
        Node *g[3] = {n_formal(0, F64, 1, two), n_formal(1, F64, 0, NULL), n_formal(2, F64, 1, two)};
        Node *inner[3] = {n_bin(OP_ADD, n_bin(OP_MUL, n_un(OP_TANH, g[0]), g[1]), g[2]), n_bin(OP_MUL, g[0], g[2]),
                          n_bin(OP_MUL, g[1], g[0])};
        Node *f[3] = {n_formal(0, F64, 0, NULL), n_formal(1, F64, 1, two), n_formal(2, F64, 2, (int32_t[]){2, 2})};
        Node *iops[3] = {f[1], f[0], f[2]};
        Node *il = loop(2, !reverse, "ckx", g, "cs+", inner, 3, iops);
        Node *next = n_bin(OP_MUL, n_out(il, 0), n_out(il, 2));
        Node *outer[3] = {next, n_out(il, 1), n_bin(OP_MUL, next, f[1])};
        Node *ops[3] = {w, m, x};
        Node *l = loop(3, reverse, "kcx", f, "cs+", outer, 3, ops);
        check("nested, final", &in, n_out(l, 0), 3);
        check("nested, all", &in, n_bin(OP_ADD, n_bin(OP_MUL, n_out(l, 0), n_out(l, 2)), n_sum(cube(n_out(l, 1)), 3)),
              2);
    }
}

/* A cond in a loop that is due at every second turn: the form of a clock. */
Test(grad, clock)
{
    Inputs in = {0};
    int32_t two[] = {2};
    Node *m = input(&in, SHAPE(2), 0.3, 0.9), *x = input(&in, SHAPE(5, 2), -1, 1);
    Node *c[2] = {n_formal(0, F64, 1, two), n_formal(1, F64, 1, two)};
    uint8_t fk[2] = {K_CAPTURE, K_CAPTURE}, rk[1] = {K_STACK};
    Node *yes = n_bin(OP_SUB, c[0], n_bin(OP_MUL, c[1], n_un(OP_SIN, c[0]))), *no = c[0];
    Node *f[3] = {n_formal(0, I32, 0, NULL), n_formal(1, F64, 1, two), n_formal(2, F64, 1, two)};
    Node *due = n_bin(OP_EQ, n_bin(OP_MOD, f[0], n_iconst(I32, 2)), n_iconst(I32, 1));
    Node *cond = n_cond(due, 2, (Node *[]){f[1], f[2]}, region_new(2, c, fk, 1, &yes, rk),
                        region_new(2, c, fk, 1, &no, rk));
    Node *res[2] = {n_out(cond, 0), n_bin(OP_MUL, n_out(cond, 0), f[2])};
    Node *l = loop(5, false, "icx", f, "cs", res, 2, (Node *[]){m, x});
    check("clock", &in, n_bin(OP_ADD, dot(n_out(l, 0), m), dot(n_out(l, 1), n_out(l, 1))), 3);
}

/* An objective inside of a loop, differentiated by one outside: theta learns through phi <- phi - lr * dE/dphi. */
Test(grad, learning_to_learn)
{
    Inputs in = {0};
    Node *theta = input(&in, SHAPE(2), 0.3, 0.9), *lr = input(&in, scalar, 0.1, 0.3),
          *x = input(&in, SHAPE(3, 2), -1, 1);
    int32_t two[] = {2};
    Node *f[3] = {n_formal(0, F64, 1, two), n_formal(1, F64, 0, NULL), n_formal(2, F64, 1, two)};
    Node *phi = n_mark(f[0], graph_uid()), *e = n_sum(cube(n_un(OP_SIN, n_bin(OP_MUL, phi, f[2]))), 1),
          *one = n_const(F64, 1), *g;
    vjp(1, &e, &one, 1, &phi, 7, &g);
    Node *res[2] = {n_bin(OP_SUB, f[0], n_bin(OP_MUL, g, f[1])), e};
    Node *l = loop(3, false, "ckx", f, "cs", res, 3, (Node *[]){theta, lr, x});
    check("learned start", &in, n_out(l, 0), 2);
    check("learned start and losses", &in, n_bin(OP_ADD, dot(n_out(l, 0), n_out(l, 0)), n_sum(n_out(l, 1), 1)), 2);
}

/* An objective that reaches through a loop, inside of a loop, and one outside of both: forward loops and their twins
   meet. */
static Node *three_levels(Inputs *in)
{
    int32_t two[] = {2};
    Node *m = input(in, SHAPE(2), 0.3, 0.9), *x = input(in, SHAPE(2, 3, 2), -0.7, 0.7);
    Node *g[3] = {n_formal(0, F64, 1, two), n_formal(1, F64, 1, two), n_formal(2, F64, 1, two)};
    Node *body[2] = {n_un(OP_TANH, n_bin(OP_ADD, n_bin(OP_MUL, g[0], g[1]), g[2])), n_bin(OP_MUL, g[0], g[0])};
    Node *f[2] = {n_formal(0, F64, 1, two), n_formal(1, F64, 2, (int32_t[]){3, 2})};
    Node *w = n_mark(f[0], graph_uid());
    Node *il = loop(3, false, "ckx", g, "cs", body, 3, (Node *[]){n_zeros_like(f[0]), w, f[1]});
    Node *e = n_bin(OP_ADD, n_sum(n_out(il, 0), 1), n_sum(n_out(il, 1), 3)), *one = n_const(F64, 1), *dw;
    vjp(1, &e, &one, 1, &w, 3, &dw);
    Node *next = n_bin(OP_SUB, f[0], n_bin(OP_MUL, n_const(F64, 0.2), dw));
    Node *outer[2] = {next, n_out(il, 1)};
    Node *l = loop(2, false, "cx", f, "cs", outer, 2, (Node *[]){m, x});
    return n_bin(OP_ADD, dot(n_out(l, 0), m), n_sum(n_out(l, 1), 7));
}

Test(grad, three_levels)
{
    Inputs in = {0};
    Node *e = three_levels(&in);
    check("three levels", &in, e, 2);
}

/* ---- Marks, stops, dependence. */

Test(grad, tags)
{
    Node *x = n_formal(0, F64, 0, NULL), *one = n_const(F64, 1), *g;
    Node *other = n_mark(x, graph_uid()), *y = n_bin(OP_MUL, n_stop(other, 5), x);
    vjp(1, &y, &one, 1, &x, 5, &g);
    cr_expect(g == n_stop(other, 5), "only the path beside the stop");
    vjp(1, &y, &one, 1, &x, 6, &g);
    cr_expect_eq(gradient_at(x, n_bin(OP_MUL, y, x), 2), 12, "another's stop is transparent");
    Node *all = n_stop(x, STOP_ALL);
    vjp(1, &all, &one, 1, &x, 6, &g);
    cr_expect(!g);
    cr_expect(depends_on(all, x), "a stop does not hide what a value depends on");
    cr_expect(!depends_on(one, x));
}

Test(grad, marks)
{
    Node *x = n_formal(0, F64, 0, NULL), *one = n_const(F64, 1), *g[2];
    Node *a = n_mark(x, graph_uid()), *b = n_mark(x, graph_uid());
    cr_assert(a != b);
    Node *y = n_bin(OP_ADD, n_un(OP_SIN, a), n_bin(OP_MUL, b, n_const(F64, 3)));
    vjp(1, &y, &one, 2, (Node *[]){a, b}, 0, g);
    cr_expect(g[0] == n_un(OP_COS, a));
    cr_expect(g[1] == n_const(F64, 3));
    vjp(1, &y, &one, 1, &a, 0, g);
    cr_expect(g[0] == n_un(OP_COS, a));
    Node *none = n_formal(9, F64, 0, NULL);
    vjp(1, &y, &one, 1, &none, 0, g);
    cr_expect(!g[0], "no path: NULL");
}

/* A wrt above another: both get theirs, and what lies below the upper one flows on only because of the lower one. */
Test(grad, wrt_above_wrt)
{
    Node *x = n_formal(0, F64, 0, NULL), *one = n_const(F64, 1), *g[2];
    Node *low = n_mark(x, graph_uid()), *high = n_mark(n_bin(OP_MUL, low, n_const(F64, 2)), graph_uid());
    Node *y = n_bin(OP_MUL, high, n_const(F64, 5));
    vjp(1, &y, &one, 2, (Node *[]){low, high}, 0, g);
    cr_expect(g[0] == n_const(F64, 10));
    cr_expect(g[1] == n_const(F64, 5));
}

Test(grad, depends_through_loops)
{
    Node *a = n_formal(0, F64, 0, NULL), *b = n_formal(1, F64, 0, NULL), *xs = n_formal(2, F64, 1, (int32_t[]){3});
    Node *f[4] = {n_formal(0, F64, 0, NULL), n_formal(1, F64, 0, NULL), n_formal(2, F64, 0, NULL),
                  n_formal(3, F64, 0, NULL)};
    Node *res[3] = {n_bin(OP_ADD, f[0], f[2]), n_bin(OP_MUL, f[1], f[3]), f[1]};
    Node *l = loop(3, false, "ccxk", f, "ccs", res, 4, (Node *[]){a, b, xs, b});
    cr_expect(depends_on(n_out(l, 0), a) && depends_on(n_out(l, 0), xs) && !depends_on(n_out(l, 0), b));
    cr_expect(depends_on(n_out(l, 1), b) && !depends_on(n_out(l, 1), a) && !depends_on(n_out(l, 2), xs));
}

/* ---- loops_merge: one loop is left of a forward loop and the one that its gradient needs. */

static int count_loops(int nr, Node **result)
{
    Node **order;
    int n = graph_order(nr, result, &order), loops = 0;
    for (int i = 0; i < n; i++) loops += order[i]->op == OP_LOOP;
    return loops;
}

/* Two regions of one signature give the same bits. */
static void same_values(const Inputs *in, const Region *before, const Region *after)
{
    Tensor *t[8], *x[9], *y[9];
    for (int j = 0; j < in->n; j++) {
        t[j] = tensor_new(F64, in->formal[j]->rank, in->formal[j]->dim);
        for (int64_t i = 0; i < n_size(in->formal[j]); i++) t[j]->f[i] = uniform(in->lo[j], in->hi[j]);
    }
    evaluate(before, t, x);
    evaluate(after, t, y);
    for (int k = 0; k < before->nr; k++)
        for (int64_t i = 0; i < n_size(before->result[k]); i++) cr_expect_eq(x[k]->f[i], y[k]->f[i]);
    for (int j = 0; j < in->n; j++) tensor_free(t[j]);
    for (int k = 0; k < before->nr; k++) { tensor_free(x[k]); tensor_free(y[k]); }
}

Test(grad, merge)
{
    Inputs in = {0};
    Node *M = input(&in, SHAPE(2, 3), -1, 1), *beta = input(&in, scalar, 0.2, 0.5);
    Node *k = input(&in, SHAPE(4, 3), -1, 1), *v = input(&in, SHAPE(4, 2), -1, 1);
    Node *l = delta(M, beta, k, v, 4, false), *s = dot(n_out(l, 1), n_out(l, 1)), *one = n_const(F64, 1), *res[5] = {s};
    vjp(1, &s, &one, 4, in.formal, 0, res + 1);
    cr_expect_eq(count_loops(5, res), 3);
    uint8_t fk[4] = {0}, rk[5] = {0};
    Region *before = region_new(4, in.formal, fk, 5, res, rk), *after = loops_merge(before);
    cr_expect_eq(count_loops(5, after->result), 2, "the forward loop and its reverse");
    same_values(&in, before, after);
}

/* The number of loops at all depths, each body counted where it is used. */
static int count_all(const Region *r)
{
    Node **order;
    int n = graph_order(r->nr, r->result, &order), loops = 0;
    for (int i = 0; i < n; i++) {
        loops += order[i]->op == OP_LOOP;
        for (int k = 0; k < 2; k++) if (order[i]->a.r[k]) loops += count_all(order[i]->a.r[k]);
    }
    return loops;
}

Test(grad, merge_nested)
{
    Inputs in = {0};
    Node *res[3] = {three_levels(&in)}, *one = n_const(F64, 1);
    vjp(1, res, &one, 2, in.formal, 0, res + 1);
    uint8_t fk[2] = {0}, rk[3] = {K_STACK, K_STACK, K_STACK};
    Region *before = region_new(2, in.formal, fk, 3, res, rk), *after = loops_merge(before);
    cr_expect_lt(count_all(after), count_all(before));
    verify_region(after, "merging loops");
    same_values(&in, before, after);
    cr_expect(loops_merge(after) == after, "nothing is left to merge");
}
