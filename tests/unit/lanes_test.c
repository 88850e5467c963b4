/* lanes_test.c: a loop over time goes lane by lane where no lane sees another, with the same results, and stays whole where one does. */
#include "graph.h"
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

Options opt;

enum { T = 5, N = 3 };

static Node *vectors(Node *M, Node *k)     /* of each lane: M k */
{
    return n_contract(M, k, (int8_t[]){ 1, 2, 3 }, (int8_t[]){ 1, 3 }, 2, (int8_t[]){ 1, 2 });
}

/* Every second item is halved: a branch, which all lanes take together. */
static Node *sometimes(Node *x, Node *t)
{
    Node *half = n_bin(OP_MUL, x, n_const(F64, 0.5)), *cut[1] = { x }, **cap;
    Region *r0, *r1;
    int n = region_close2(1, &half, &x, 1, cut, &cap, &r0, &r1);
    return n_out(n_cond(n_bin(OP_LT, n_bin(OP_MOD, t, n_iconst(I32, 2)), n_iconst(I32, 1)), n, cap, r0, r1), 0);
}

/* The vector is pushed through the matrix three times. */
static Node *again(Node *M, Node *x)
{
    Node *f[2] = { n_formal(0, F64, 2, x->dim), n_formal(1, F64, 3, M->dim) };
    Node *res[1] = { n_un(OP_TANH, vectors(f[1], f[0])) };
    uint8_t fk[2] = { K_CARRY, K_CAPTURE }, rk[1] = { K_CARRY };
    return n_out(n_loop(3, false, region_new(2, f, fk, 1, res, rk), 2, (Node *[]){ x, M }), 0);
}

typedef Node *Mix(Node *x);

/* States M : [B, N, N] and a counter; what is stacked, added up, and summed over lanes: that by products and by sums. */
static Region *program(int b, bool reverse, Mix *mix)
{
    int32_t mm[] = { b, N, N }, vv[] = { b, N }, ww[] = { N, N }, tv[] = { T, b, N };
    Node *f[6] = { n_formal(0, I32, 0, NULL), n_formal(1, F64, 3, mm), n_formal(2, F64, 2, vv), n_formal(3, F64, 2, vv), n_formal(4, F64, 2, ww),
                   n_formal(5, I32, 0, NULL) };
    Node *M = f[1], *v = f[3], *k = n_contract(f[2], f[4], (int8_t[]){ 1, 2 }, (int8_t[]){ 3, 2 }, 2, (int8_t[]){ 1, 3 });
    if (mix) k = mix(k);
    Node *y = sometimes(again(M, vectors(M, k)), f[0]), *error = n_bin(OP_SUB, y, v);
    Node *w = n_contract(error, k, (int8_t[]){ 1, 2 }, (int8_t[]){ 1, 3 }, 3, (int8_t[]){ 1, 2, 3 });
    Node *next = n_bin(OP_SUB, n_bin(OP_MUL, n_const(F64, 0.9), M), n_bin(OP_MUL, n_const(F64, 0.1), w));
    Node *over_lanes = n_contract(error, f[2], (int8_t[]){ 1, 2 }, (int8_t[]){ 1, 3 }, 2, (int8_t[]){ 2, 3 });
    Node *res[7] = { next, n_bin(OP_ADD, f[5], n_iconst(I32, 1)), y, n_sum(n_bin(OP_MUL, v, v), 2), n_bin(OP_MUL, over_lanes, f[4]),
                     n_un(OP_NEG, n_sum(y, 3)), n_sum(y, 1) };
    uint8_t fk[6] = { K_INDEX, K_CARRY, K_ITEM, K_ITEM, K_CAPTURE, K_CARRY };
    uint8_t rk[7] = { K_CARRY, K_CARRY, K_STACK, K_SUM, K_SUM, K_SUM, K_STACK };
    Region *body = region_new(6, f, fk, 7, res, rk);
    Node *in[4] = { n_formal(0, F64, 3, mm), n_formal(1, F64, 3, tv), n_formal(2, F64, 3, tv), n_formal(3, F64, 2, ww) };
    Node *operands[5] = { in[0], in[1], in[2], in[3], n_iconst(I32, 7) }, *loop = n_loop(T, reverse, body, 5, operands), *out[7];
    for (int i = 0; i < 7; i++) out[i] = n_out(loop, i);
    uint8_t ck[4] = { 0 }, sk[7];
    memset(sk, K_STACK, sizeof sk);
    return region_new(4, in, ck, 7, out, sk);
}

static Tensor *filled(const Node *x, double seed)
{
    Tensor *t = tensor_new((Dt)x->dt, x->rank, x->dim);
    for (int64_t i = 0; i < n_size(x); i++) t->f[i] = 0.5 * sin(seed + 1.7 * (double)i);
    return t;
}

/* Turns of the loop over lanes, which carries nothing; 0: there is none. */
static int64_t turns(const Region *r)
{
    Node **order;
    for (int i = 0, n = graph_order(r->nr, r->result, &order); i < n; i++)
        if (order[i]->op == OP_LOOP && !memchr(order[i]->a.r[0]->fkind, K_CARRY, (size_t)order[i]->a.r[0]->np)) return order[i]->a.k;
    return 0;
}

static int64_t compare(int b, bool reverse, Mix *mix)
{
    Region *r[2] = { program(b, reverse, mix) };
    r[1] = lanes_split(r[0]);
    verify_region(r[1], "lanes");
    Tensor *arg[4], *out[2][7];
    EvalStatus st = { 0 };
    for (int i = 0; i < 4; i++) arg[i] = filled(r[0]->formal[i], i + 1);
    for (int k = 0; k < 2; k++) region_eval(r[k], arg, out[k], false, &st);
    for (int i = 0; i < 7; i++) {
        Tensor *x = out[0][i], *y = out[1][i];
        cr_assert(x->rank == y->rank && !memcmp(x->dim, y->dim, sizeof *x->dim * x->rank));
        for (int64_t j = 0; j < n_size(r[0]->result[i]); j++)
            cr_assert(x->f ? fabs(x->f[j] - y->f[j]) <= 1e-12 : x->i[j] == y->i[j], "result %d of %d lanes, element %d", i, b, (int)j);
    }
    for (int i = 0; i < 14; i++) tensor_free(out[i / 7][i % 7]);
    for (int i = 0; i < 4; i++) tensor_free(arg[i]);
    return turns(r[1]);
}

enum { STATE = N * N * 8 };      /* bytes of a lane */

Test(lanes, numbers)
{
    static const struct { int lanes, together; } row[] = {
        { 1, 1 }, { 2, 1 }, { 3, 1 }, { 7, 1 }, { 25, 1 }, { 4, 2 }, { 24, 3 }, { 25, 5 }, { 64, 16 }, { 7, 7 }, { 12, 12 },
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        for (int reverse = 0; reverse < 2; reverse++) {
            setenv("NLC_LANE_BYTES", arena_printf("%d", row[i].together * STATE), 1);
            int64_t n = compare(row[i].lanes, reverse, NULL), want = row[i].lanes / row[i].together;
            cr_assert(n == (want == 1 ? 0 : want), "%d lanes in %d turns, not %d", row[i].lanes, (int)n, (int)want);
        }
}

/* By itself: tiny states stay together, those of a cache's size go alone. */
Test(lanes, sizes)
{
    unsetenv("NLC_LANE_BYTES");
    cr_assert(compare(8, false, NULL) == 0);
    cr_assert(compare(240, false, NULL) == 240 / 60);
}

/* What some lanes see of others; x : [b, N]. */
static Node *less_mean(Node *x)
{
    Node *mean = n_bin(OP_MUL, n_sum(x, 1), n_const(F64, 1.0 / x->dim[0]));
    return n_bin(OP_SUB, x, n_bcast(mean, 2, x->dim, (int8_t[]){ -1, 0 }));
}
static Node *upside_down(Node *x) { return n_slice(x, (int32_t[]){ x->dim[0] - 1, 0 }, x->dim, (int32_t[]){ -1, 1 }); }
static Node *running(Node *x) { return n_cumsum(x, 0, false); }
static Node *largest(Node *x) { return n_bin(OP_SUB, x, n_bcast(n_maxr(x, 1), 2, x->dim, (int8_t[]){ -1, 0 })); }
static Node *counted(Node *x) { return n_bin(OP_ADD, x, n_cast(n_iota(I32, 2, x->dim, 0), F64)); }
static Node *each_with_each(Node *x)
{
    Node *g = n_contract(x, x, (int8_t[]){ 1, 2 }, (int8_t[]){ 3, 2 }, 2, (int8_t[]){ 1, 3 });
    return n_contract(g, x, (int8_t[]){ 1, 2 }, (int8_t[]){ 2, 3 }, 2, (int8_t[]){ 1, 3 });
}
static Node *rolled(Node *x)     /* lane i gets, at last, what lane i + 1 had first */
{
    int32_t flat[] = { x->dim[0] * N };
    Node *y = n_reshape(x, 1, flat);
    return n_reshape(n_concat(2, (Node *[]){ n_slice1(y, 0, 1, flat[0] - 1, 1), n_slice1(y, 0, 0, 1, 1) }, 0), 2, x->dim);
}
static Node *mixed_rows(Node *x) { return n_reshape(n_perm(x, (int8_t[]){ 1, 0 }), 2, x->dim); }

Test(lanes, that_see_each_other)
{
    setenv("NLC_LANE_BYTES", "0", 1);
    static Mix *const mix[] = { less_mean, upside_down, running, largest, counted, each_with_each, rolled, mixed_rows };
    for (size_t i = 0; i < sizeof mix / sizeof *mix; i++) {
        cr_assert(compare(4, false, mix[i]) == 0, "mix %d", (int)i);
        cr_assert(compare(N, false, mix[i]) == 0, "mix %d, as many lanes as elements", (int)i);
    }
}

/* Sizes that happen to agree mean nothing; and what only looks like mixing is none. */
static Node *through_other_shapes(Node *x)
{
    int32_t wide[] = { x->dim[0], 1, N, 1 }, back[] = { 1, x->dim[0], N };
    Node *y = n_perm(n_reshape(x, 4, wide), (int8_t[]){ 3, 2, 0, 1 });
    y = n_perm(n_reshape(y, 3, (int32_t[]){ 1, N, x->dim[0] }), (int8_t[]){ 0, 2, 1 });
    y = n_slice(n_pad(n_reshape(y, 3, back), 3, (int32_t[]){ 1, x->dim[0], N + 2 }, (int32_t[]){ 0, 0, 1 }, (int32_t[]){ 1, 1, 1 }), (int32_t[]){ 0, 0, 0 }, back,
                (int32_t[]){ 1, 1, 1 });
    return n_reshape(y, 2, x->dim);
}
static Node *sorted(Node *x) { return n_gather(x, n_argsort(x, 1), 1, (Loc){ 0 }); }
static Node *windows(Node *x) { return n_fold(n_window(x, 1, 2), 1); }

Test(lanes, that_do_not)
{
    setenv("NLC_LANE_BYTES", "0", 1);
    static Mix *const mix[] = { through_other_shapes, sorted, windows };
    for (size_t i = 0; i < sizeof mix / sizeof *mix; i++) {
        cr_assert(compare(4, false, mix[i]) == 4, "%d", (int)i);
        cr_assert(compare(N, false, mix[i]) == N, "%d, as many lanes as elements", (int)i);
    }
}
