/* loops_test.c: what is done to loops once all gradients are taken changes no value: products in another order, what leaves
   a loop. Bodies are made by hand; the values are the evaluator's before and after, and what must have left is looked for. */
#include "../../compiler/graph.h"
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

enum { T = 5, D = 3, E = 4 };

static Tensor *numbers(Node *like, int salt)
{
    Tensor *t = tensor_new((Dt)like->dt, like->rank, like->dim);
    for (int64_t i = 0; i < n_size(like); i++) t->f[i] = sin(1.7 * (double)i + salt);
    return t;
}

static void same_values(Region *before, Region *after)
{
    Tensor *in[16], *a[8], *b[8];
    EvalStatus st = { 0 };
    for (int i = 0; i < before->np; i++) in[i] = numbers(before->formal[i], i);
    region_eval(before, in, a, false, &st);
    region_eval(after, in, b, false, &st);
    for (int k = 0; k < before->nr; k++)
        for (int64_t i = 0; i < n_size(before->result[k]); i++)
            cr_assert_float_eq(a[k]->f[i], b[k]->f[i], 1e-12 * (1 + fabs(a[k]->f[i])), "result %d element %ld", k, (long)i);
    for (int k = 0; k < before->nr; k++) { tensor_free(a[k]); tensor_free(b[k]); }
    for (int i = 0; i < before->np; i++) tensor_free(in[i]);
}

static int count(const Region *r, Op op, int rank)       /* at this depth */
{
    Node **order;
    int n = graph_order(r->nr, r->result, &order), found = 0;
    for (int i = 0; i < n; i++) found += order[i]->op == op && order[i]->rank == rank;
    return found;
}

static const Region *body(const Region *r)               /* of the only loop */
{
    Node **order;
    int n = graph_order(r->nr, r->result, &order);
    for (int i = 0; i < n; i++) if (order[i]->op == OP_LOOP) return order[i]->a.r[0];
    cr_assert(false, "no loop is left");
    return NULL;
}

static Node *formal(int k, int rank, int a, int b)
{
    int32_t dim[2] = { a, b };
    return n_formal(k, F64, rank, dim);
}

static Region *closed(int np, Node **f, int nr, Node **res, const uint8_t *rkind)
{
    uint8_t kind[16];
    for (int i = 0; i < np; i++) kind[i] = K_CAPTURE;
    return region_new(np, f, kind, nr, res, rkind);
}

static void setup(void) { graph_reset(); }
TestSuite(loops, .init = setup);

static Node *outer_of(Node *u, Node *v)
{
    int8_t la[MAXDIM] = { 1 }, lb[MAXDIM] = { 2 }, lo[MAXDIM] = { 1, 2 };
    return n_contract(u, v, la, lb, 2, lo);
}

static Node *times_vector(Node *m, Node *v)
{
    int8_t la[MAXDIM] = { 1, 2 }, lb[MAXDIM] = { 2 }, lo[MAXDIM] = { 1 };
    return n_contract(m, v, la, lb, 1, lo);
}

/* sum_ij e_i k_j X_ij makes no matrix: it is e . (X k). */
Test(loops, products_make_no_matrix)
{
    Node *f[3] = { formal(0, 1, D, 0), formal(1, 1, E, 0), formal(2, 2, D, E) };
    Node *x = n_sum(n_bin(OP_MUL, n_un(OP_NEG, outer_of(f[0], f[1])), f[2]), 3);
    uint8_t kind[1] = { K_STACK };
    Region *r = closed(3, f, 1, &x, kind), *s = products_order(r);
    same_values(r, s);
    cr_assert_eq(count(s, OP_MUL, 2), 0);
    cr_assert_eq(count(s, OP_CONTRACT, 2), 0);
}

/* A scalar is multiplied with the small side, and equal sums are one. */
Test(loops, equal_products_are_shared)
{
    Node *f[3] = { formal(0, 1, D, 0), formal(1, 1, E, 0), formal(2, 2, D, E) };
    Node *b = n_slice1(f[0], 0, 0, 1, 1);
    b = n_reshape(b, 0, NULL);
    Node *res[2] = { times_vector(n_bin(OP_MUL, f[2], b), f[1]), times_vector(f[2], f[1]) };
    uint8_t kind[2] = { K_STACK, K_STACK };
    Region *r = closed(3, f, 2, res, kind), *s = products_order(r);
    same_values(r, s);
    cr_assert_eq(count(s, OP_CONTRACT, 1), 1);
    cr_assert_eq(count(s, OP_MUL, 2), 0);
}

/* A loop with a state M [D, E], weights W [D, D], items x [D] and k [E]:
   u = tanh(W x);  M' = M + u k';  stacks W (M' k) and adds up outer(x, k). */
static Region *a_loop(bool reverse)
{
    Node *in[4] = { formal(0, 2, D, E), formal(1, 2, D, D), formal(2, 2, T, D), formal(3, 2, T, E) };
    Node *f[4] = { formal(0, 2, D, E), formal(1, 2, D, D), formal(2, 1, D, 0), formal(3, 1, E, 0) };
    uint8_t fk[4] = { K_CARRY, K_CAPTURE, K_ITEM, K_ITEM }, rk[3] = { K_CARRY, K_STACK, K_SUM }, out[3] = { K_STACK, K_STACK, K_STACK };
    Node *u = n_un(OP_TANH, times_vector(f[1], f[2])), *m = n_bin(OP_ADD, f[0], outer_of(u, f[3]));
    Node *res[3] = { m, times_vector(f[1], times_vector(m, f[3])), outer_of(f[2], f[3]) };
    Node *loop = n_loop(T, reverse, region_new(4, f, fk, 3, res, rk), 4, in), *all[3];
    for (int k = 0; k < 3; k++) all[k] = n_out(loop, k);
    return closed(4, in, 3, all, out);
}

static void leaves_the_loop(bool reverse)
{
    Region *r = a_loop(reverse), *s = loops_hoist(r);
    verify_region(s, "hoist");
    same_values(r, s);
    cr_assert_eq(count(body(s), OP_TANH, 1), 0, "u is computed for all turns");
    cr_assert_eq(count(body(s), OP_CONTRACT, 1), 1, "only M' k stays");
    for (int k = 0; k < body(s)->nr; k++) cr_assert_neq(body(s)->rkind[k], K_SUM);
}

Test(loops, before_and_after_leave)  { leaves_the_loop(false); }
Test(loops, and_from_the_last_item) { leaves_the_loop(true); }

/* The same loop without a loop: all turns at once, from the rule of its state. */
Test(loops, dense_form_equals_the_loop)
{
    Region *r = a_loop(false), *b = (Region *)body(r);
    Node *out[3];
    int64_t worth = dense_worth;
    dense_worth = 0;
    cr_assert(dense_run(T, b, r->formal, out));
    dense_worth = worth;
    uint8_t kind[3] = { K_STACK, K_STACK, K_STACK };
    Region *s = closed(4, r->formal, 3, out, kind);
    cr_assert_eq(count(s, OP_LOOP, 0), 0);
    same_values(r, s);
}

/* States that decay, by a factor of each item, and pass into each other: the coefficients are a loop over scalars. */
Test(loops, dense_form_with_decay_and_momentum)
{
    Node *in[5] = { formal(0, 2, D, E), formal(1, 2, D, E), formal(2, 1, T, 0), formal(3, 2, T, D), formal(4, 2, T, E) };
    Node *f[5] = { formal(0, 2, D, E), formal(1, 2, D, E), formal(2, 0, 0, 0), formal(3, 1, D, 0), formal(4, 1, E, 0) };
    uint8_t fk[5] = { K_CARRY, K_CARRY, K_ITEM, K_ITEM, K_ITEM }, rk[4] = { K_CARRY, K_CARRY, K_STACK, K_STACK };
    Node *s = n_bin(OP_SUB, n_bin(OP_MUL, f[0], f[2]), outer_of(f[3], f[4]));
    Node *m = n_bin(OP_ADD, n_bin(OP_MUL, f[1], n_bin(OP_SUB, n_const(F64, 1), f[2])), s);
    Node *res[4] = { s, m, times_vector(f[1], f[4]), times_vector(m, f[4]) };
    Region *b = region_new(5, f, fk, 4, res, rk);
    Node *loop = n_loop(T, false, b, 5, in), *all[4], *out[4];
    uint8_t kind[4] = { K_STACK, K_STACK, K_STACK, K_STACK };
    for (int k = 0; k < 4; k++) all[k] = n_out(loop, k);
    int64_t worth = dense_worth;
    dense_worth = 0;
    cr_assert(dense_run(T, b, in, out));
    dense_worth = worth;
    same_values(closed(5, in, 4, all, kind), closed(5, in, 4, out, kind));
}

/* A state that is read to change it is no such loop. */
Test(loops, no_dense_form_of_the_delta_rule)
{
    Node *f[3] = { formal(0, 2, D, E), formal(1, 1, D, 0), formal(2, 1, E, 0) };
    uint8_t fk[3] = { K_CARRY, K_ITEM, K_ITEM }, rk[1] = { K_CARRY };
    Node *e = n_bin(OP_SUB, times_vector(f[0], f[2]), f[1]), *m = n_bin(OP_SUB, f[0], outer_of(e, f[2]));
    dense_worth = 0;
    cr_assert_eq(dense_turns(region_new(3, f, fk, 1, &m, rk)), 0);
    dense_worth = DENSE;
}
