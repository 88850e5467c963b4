/* segment_test.c: a loop made of segments has the results and the gradients of the plain loop, for every number of items, and keeps few states. */
#include "graph.h"
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

Options opt;

enum { D = 4, BIG = 70 };

/* M' = 0.9 M - (M k - v) k' / 10 + t/1000 at item t; stacked: M k; added up: v * v. M : [n, n], so that states pass KEEP_ALL when n is BIG. */
static Region *body(int n)
{
    int32_t mm[] = { n, n }, vv[] = { n };
    Node *f[4] = { n_formal(0, I32, 0, NULL), n_formal(1, F64, 2, mm), n_formal(2, F64, 1, vv), n_formal(3, F64, 1, vv) };
    Node *M = f[1], *k = f[2], *v = f[3];
    Node *y = n_contract(M, k, (int8_t[]){ 1, 2 }, (int8_t[]){ 2 }, 1, (int8_t[]){ 1 });
    Node *w = n_contract(n_bin(OP_SUB, y, v), k, (int8_t[]){ 1 }, (int8_t[]){ 2 }, 2, (int8_t[]){ 1, 2 });
    Node *m = n_bin(OP_SUB, n_bin(OP_MUL, n_const(F64, 0.9), M), n_bin(OP_MUL, n_const(F64, 0.1), w));
    m = n_bin(OP_ADD, m, n_bin(OP_MUL, n_const(F64, 1e-3), n_cast(f[0], F64)));
    Node *res[3] = { m, y, n_sum(n_bin(OP_MUL, v, v), 1) };
    uint8_t fk[4] = { K_INDEX, K_CARRY, K_ITEM, K_ITEM }, rk[3] = { K_CARRY, K_STACK, K_SUM };
    return region_new(4, f, fk, 3, res, rk);
}

static Tensor *filled(const Node *x, double seed)
{
    Tensor *t = tensor_new(F64, x->rank, x->dim);
    for (int64_t i = 0; i < n_size(x); i++) t->f[i] = 0.5 * sin(seed + 1.7 * (double)i);
    return t;
}

/* Results and gradients of sum(M_T^2) + sum(y^2) + s by both forms. */
static void compare(int n, int32_t trip)
{
    int32_t mm[] = { n, n }, tv[] = { trip, n };
    Node *in[3] = { n_formal(0, F64, 2, mm), n_formal(1, F64, 2, tv), n_formal(2, F64, 2, tv) }, *res[12];
    int nr = 0;
    for (int form = 0; form < 2; form++) {
        Node *out[3], *g[3];
        loop_run(trip, body(n), 3, in, form, out);
        Node *e = n_bin(OP_ADD, n_sum(n_bin(OP_MUL, out[0], out[0]), 3), n_sum(n_bin(OP_MUL, out[1], out[1]), 3));
        e = n_bin(OP_ADD, e, out[2]);
        Node *one = n_const(F64, 1);
        vjp(1, &e, &one, 3, in, 7, g);
        for (int i = 0; i < 3; i++) { res[nr++] = out[i]; }
        for (int i = 0; i < 3; i++) { cr_assert(g[i] != NULL); res[nr++] = g[i]; }
    }
    uint8_t fk[3] = { 0 }, rk[12];
    memset(rk, K_STACK, sizeof rk);
    Region *r = region_new(3, in, fk, nr, res, rk);
    verify_region(r, "segment");
    Tensor *arg[3] = { filled(in[0], 1), filled(in[1], 2), filled(in[2], 3) }, *out[12];
    EvalStatus st = { 0 };
    region_eval(r, arg, out, false, &st);
    for (int i = 0; i < 6; i++)
        for (int64_t k = 0; k < n_size(res[i]); k++)
            cr_assert(fabs(out[i]->f[k] - out[i + 6]->f[k]) <= 1e-12 * (1 + fabs(out[i]->f[k])), "result %d of %d items, element %d: %.17g, in segments %.17g", i, trip,
                      (int)k, out[i]->f[k], out[i + 6]->f[k]);
    for (int i = 0; i < nr; i++) tensor_free(out[i]);
    for (int i = 0; i < 3; i++) tensor_free(arg[i]);
}

Test(segment, numbers)
{
    static const int32_t trips[] = { 1, 2, 15, 16, 17, 23, 25, 31, 36, 50 };
    for (size_t i = 0; i < sizeof trips / sizeof *trips; i++) compare(BIG, trips[i]);
    compare(D, 40);
}

/* Of T states no stack of T copies is made: none of the loops stacks [T, n, n]. */
static int32_t longest_state_stack(Node *x)
{
    Node **order;
    int32_t most = 0;
    for (int i = 0, n = graph_order(1, &x, &order); i < n; i++)
        if (order[i]->op == OP_OUT && order[i]->rank == 3 && order[i]->dim[1] == BIG && order[i]->dim[2] == BIG && order[i]->dim[0] > most) most = order[i]->dim[0];
    return most;
}

Test(segment, memory)
{
    int32_t mm[] = { BIG, BIG }, tv[] = { 400, BIG };
    Node *in[3] = { n_formal(0, F64, 2, mm), n_formal(1, F64, 2, tv), n_formal(2, F64, 2, tv) }, *out[3], *g[3];
    loop_run(400, body(BIG), 3, in, true, out);
    Node *e = n_sum(n_bin(OP_MUL, out[1], out[1]), 3), *one = n_const(F64, 1);
    vjp(1, &e, &one, 3, in, 7, g);
    cr_assert(longest_state_stack(g[1]) == 20, "%d states kept outside of the segments", longest_state_stack(g[1]));
}
