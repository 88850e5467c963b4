/* plan_test.c: what the plan promises: states in place, what fuses into one kernel, branches that cost nothing, sums in
   slots, equal kernels once. That the numbers are right is the business of tests/diff/graph_fuzz.c. */
#include "plan.h"
#include <criterion/criterion.h>
#include <string.h>

Options opt;

static Target target;
static Model *model;
static VEC(Node *) formals;
static VEC(Bind) in, out;
static VEC(Node *) results;

static void setup(void)
{
    memset(&target, 0, sizeof target);
    target.triple = "x86_64-pc-linux-gnu";
    target.vbytes = 32, target.vregs = 16, target.fma = true, target.l1 = 32 << 10, target.l2 = 512 << 10;
    model = NEW(Model);
    model->name = "m";
    formals.n = in.n = out.n = results.n = 0;
    plan_solo_work = 1 << 15;
}

TestSuite(plan, .init = setup);

#define SHAPE(...) (int)(sizeof((int32_t[]){ __VA_ARGS__ }) / sizeof(int32_t)), (int32_t[]){ __VA_ARGS__ }

static Node *input(Dt dt, int rank, const int32_t *dim)
{
    Node *n = n_formal(formals.n, dt, rank, dim);
    Bind b = { B_FIELD, 0 };
    for (int i = 0; i < in.n; i++) b.index += in.at[i].kind == B_FIELD;
    PUSH(formals, n);
    PUSH(in, b);
    return n;
}

static Node *state(Dt dt, int rank, const int32_t *dim)
{
    State *s = NEW(State);
    s->path = "s";
    s->dt = dt, s->rank = rank, s->id = model->state.n;
    memcpy(s->dim, dim, sizeof *dim * (size_t)rank);
    PUSH(model->state, s);
    Node *n = n_formal(formals.n, dt, rank, dim);
    Bind b = { B_STATE, s->id };
    PUSH(formals, n);
    PUSH(in, b);
    return n;
}

static void becomes(Node *formal, Node *n)
{
    PUSH(results, n);
    PUSH(out, in.at[formal->a.k]);
}

static void output(Node *n)
{
    Bind b = { B_OUT, 0 };
    for (int i = 0; i < out.n; i++) b.index += out.at[i].kind == B_OUT;
    PUSH(results, n);
    PUSH(out, b);
}

static Plan *planned(void)
{
    uint8_t *fk = NEWN(uint8_t, formals.n + 1), *rk = NEWN(uint8_t, results.n + 1);
    memset(fk, K_CAPTURE, (size_t)formals.n);
    memset(rk, K_STACK, (size_t)results.n);
    Entry *e = NEW(Entry);
    e->name = "test";
    e->model = model;
    e->r = region_new(formals.n, formals.at, fk, results.n, results.at, rk);
    e->in = in.at, e->out = out.at;
    Program *p = NEW(Program);
    PUSH(p->entry, e);
    return plan_program(p, &target);
}

static const Seq *steps(const Plan *p) { return p->entry.at[0]->seq; }

static Node *times(Node *x, double v) { return n_bin(OP_MUL, x, n_const((Dt)x->dt, v)); }
static Node *over(Node *x, const Node *like)              /* [a] -> [a, b] */
{
    return n_bcast(x, like->rank, like->dim, (int8_t[]){ 0, -1, -1, -1, -1, -1, -1, -1 });
}

/* ---- states */

Test(plan, a_state_is_updated_in_place)
{
    Node *w = state(F32, SHAPE(100, 30)), *x = input(F32, SHAPE(100, 30));
    becomes(w, n_bin(OP_ADD, w, x));
    Plan *p = planned();
    cr_assert_eq(steps(p)->step.n, 1);
    cr_assert_eq(p->entry.at[0]->arena, 0);
    const Step *s = steps(p)->step.at[0];
    cr_assert_eq(s->narg, 2);
    cr_assert(s->arg[0].read && s->arg[0].write && s->arg[0].buf->space == SP_STATE);
}

Test(plan, adamw_is_one_kernel_without_memory)
{
    Node *w = state(F32, SHAPE(64, 50)), *m = state(F32, SHAPE(64, 50)), *v = state(F32, SHAPE(64, 50)), *g = input(F32, SHAPE(64, 50));
    Node *m1 = n_bin(OP_ADD, times(m, 0.9), times(g, 0.1)), *v1 = n_bin(OP_ADD, times(v, 0.999), times(n_bin(OP_MUL, g, g), 0.001));
    becomes(m, m1);
    becomes(v, v1);
    becomes(w, n_bin(OP_SUB, w, n_bin(OP_DIV, times(m1, 0.01), n_bin(OP_ADD, n_un(OP_SQRT, v1), n_const(F32, 1e-8)))));
    Plan *p = planned();
    cr_assert_eq(steps(p)->step.n, 1);
    cr_assert_eq(p->entry.at[0]->arena, 0);
}

Test(plan, a_reader_of_the_old_value_goes_first)
{
    Node *w = state(F32, SHAPE(40, 40)), *x = input(F32, SHAPE(40, 40));
    becomes(w, n_bin(OP_ADD, w, x));
    output(n_contract(x, w, (int8_t[MAXDIM]){ 1, 2 }, (int8_t[MAXDIM]){ 2, 3 }, 2, (int8_t[MAXDIM]){ 1, 3 }));
    Plan *p = planned();
    cr_assert_eq(steps(p)->step.n, 2);
    cr_assert_eq(steps(p)->step.at[0]->kernel->kind, KN_CONTRACT);
    cr_assert_eq(p->entry.at[0]->arena, 0);
}

Test(plan, a_state_that_is_read_crosswise_is_made_elsewhere)
{
    Node *w = state(F32, SHAPE(40, 40));
    becomes(w, n_bin(OP_ADD, w, n_perm(w, (int8_t[]){ 1, 0 })));
    Plan *p = planned();
    cr_assert_eq(steps(p)->step.n, 2);
    cr_assert_eq(p->entry.at[0]->arena, 40 * 40 * 4);
}

/* w' = w + x is there before its sums are; w itself is wanted before them only, or behind them. */
static int kernels_of_a_sum_over_new(bool old_behind)
{
    Node *w = state(F32, SHAPE(40, 50)), *next = n_bin(OP_ADD, w, n_un(OP_EXP, input(F32, SHAPE(40, 50))));
    becomes(w, next);
    output(n_bin(OP_DIV, old_behind ? w : next, over(n_sum(next, 2), next)));
    return steps(planned())->step.n;
}

Test(plan, a_state_that_a_later_pass_reads_is_updated_in_place)
{
    cr_assert_eq(kernels_of_a_sum_over_new(false), 1);
}

Test(plan, a_state_whose_old_value_a_later_pass_reads_is_made_elsewhere)
{
    cr_assert_eq(kernels_of_a_sum_over_new(true), 2);
}

Test(plan, two_states_change_places)
{
    Node *a = state(F32, SHAPE(100)), *b = state(F32, SHAPE(100));
    becomes(a, b);
    becomes(b, a);
    Plan *p = planned();
    cr_assert_eq(steps(p)->step.n, 3);
}

Test(plan, a_state_that_stays_costs_nothing)
{
    Node *a = state(F32, SHAPE(100));
    becomes(a, a);
    cr_assert_eq(steps(planned())->step.n, 0);
}

/* ---- nests */

Test(plan, softmax_is_one_kernel)
{
    Node *x = input(F32, SHAPE(64, 100));
    Node *e = n_un(OP_EXP, n_bin(OP_SUB, x, over(n_maxr(x, 2), x)));
    output(n_bin(OP_DIV, e, over(n_sum(e, 2), x)));
    Plan *p = planned();
    cr_assert_eq(steps(p)->step.n, 1);
    cr_assert_eq(p->kernel.at[0]->nest.npass, 3);
    cr_assert(p->kernel.at[0]->nest.vec_inner);
}

Test(plan, views_are_strides)
{
    Node *x = input(F32, SHAPE(6, 8));
    Node *y = n_perm(n_slice1(n_reshape(x, SHAPE(6, 2, 4)), 2, 1, 2, 1), (int8_t[]){ 2, 0, 1 });
    output(n_un(OP_NEG, y));
    Plan *p = planned();
    cr_assert_eq(steps(p)->step.n, 1);
    const Nest *n = &p->kernel.at[0]->nest;
    cr_assert_eq(n->ins[0].op, I_LOAD);
    cr_assert_eq(n->ins[0].stride[0], 1);
    cr_assert_eq(steps(p)->step.at[0]->arg[0].offset, 4);
}

Test(plan, a_reshape_of_a_transposed_tensor_copies)
{
    Node *x = input(F32, SHAPE(6, 8));
    output(n_un(OP_NEG, n_reshape(n_perm(x, (int8_t[]){ 1, 0 }), SHAPE(48))));
    cr_assert_eq(steps(planned())->step.n, 2);
}

Test(plan, a_large_sum_has_slots)
{
    Node *x = input(F32, SHAPE(1000, 300));
    output(n_sum(n_bin(OP_MUL, x, x), 3));
    Plan *p = planned();
    cr_assert_eq(steps(p)->step.n, 2);
    cr_assert_eq(p->kernel.at[0]->nest.slots, 16);
    cr_assert(steps(p)->step.at[1]->barrier);
}

Test(plan, sums_of_rows_and_of_columns_share_a_pass)
{
    Node *x = input(F32, SHAPE(16, 50, 60)), *y = n_un(OP_TANH, x);
    output(n_sum(y, 4));
    output(n_sum(y, 2));
    Plan *p = planned();
    cr_assert_eq(steps(p)->step.n, 1);
    cr_assert_eq(p->entry.at[0]->arena, 0);
    int added = 0;
    for (int i = 0; i < p->kernel.at[0]->nest.nins; i++) added += p->kernel.at[0]->nest.ins[i].op == I_ACCUM;
    cr_assert_eq(added, 1);
}

Test(plan, sums_along_vectors_share_a_pass)
{
    Node *x = n_un(OP_EXP, input(F32, SHAPE(20, 30, 40)));
    output(n_sum(x, 2));
    output(n_sum(x, 4));
    Plan *p = planned();
    cr_assert_eq(steps(p)->step.n, 1);
    cr_assert_eq(p->entry.at[0]->arena, 0);
    int joined = 0;
    for (int i = 0; i < p->kernel.at[0]->nest.nins; i++) joined += p->kernel.at[0]->nest.ins[i].op == I_JOIN;
    cr_assert_eq(joined, 1);
}

Test(plan, equal_kernels_are_one)
{
    for (int i = 0; i < 3; i++) {
        Node *w = state(F32, SHAPE(30, 20)), *g = input(F32, SHAPE(30, 20));
        becomes(w, n_bin(OP_SUB, w, times(g, 0.1)));
    }
    Plan *p = planned();
    cr_assert_eq(steps(p)->step.n, 3);
    cr_assert_eq(p->kernel.n, 1);
}

Test(plan, a_cheap_value_is_computed_again)
{
    Node *x = input(F32, SHAPE(50, 60)), *y = times(x, 2);
    output(n_sum(y, 2));
    output(n_sum(n_bin(OP_MUL, y, y), 1));
    Plan *p = planned();
    cr_assert_eq(steps(p)->step.n, 2);
    cr_assert_eq(p->entry.at[0]->arena, 0);
}

Test(plan, independent_kernels_have_no_barrier_between_them)
{
    plan_solo_work = 0;
    for (int i = 0; i < 4; i++) {
        Node *w = state(F32, SHAPE(30, 20 + i)), *g = input(F32, SHAPE(30, 20 + i));
        becomes(w, n_bin(OP_SUB, w, times(g, 0.1)));
    }
    Plan *p = planned();
    for (int i = 0; i < steps(p)->step.n; i++)
        cr_assert(!steps(p)->step.at[i]->barrier);
}

/* ---- branches and loops */

Test(plan, a_branch_that_keeps_a_state_is_empty)
{
    Node *w = state(F32, SHAPE(100)), *g = input(F32, SHAPE(100)), *due = input(BOOL, 0, NULL);
    Node *f[2] = { n_formal(0, F32, SHAPE(100)), n_formal(1, F32, SHAPE(100)) };
    uint8_t fk[2] = { K_CAPTURE, K_CAPTURE }, rk[1] = { K_STACK };
    Node *yes = n_bin(OP_ADD, f[0], f[1]), *cap[2] = { w, g };
    Node *c = n_cond(due, 2, cap, region_new(2, f, fk, 1, &yes, rk), region_new(2, f, fk, 1, &f[0], rk));
    becomes(w, n_out(c, 0));
    Plan *p = planned();
    cr_assert_eq(steps(p)->step.n, 1);
    const Step *s = steps(p)->step.at[0];
    cr_assert_eq(s->kind, STEP_IF);
    cr_assert_eq(s->body[0]->step.n, 1);
    cr_assert_eq(s->body[1]->step.n, 0);
    cr_assert_eq(p->entry.at[0]->arena, 0);
}

Test(plan, the_state_of_a_loop_is_the_models)
{
    Node *w = state(F32, SHAPE(100)), *xs = input(F32, SHAPE(7, 100));
    Node *f[2] = { n_formal(0, F32, SHAPE(100)), n_formal(1, F32, SHAPE(100)) };
    uint8_t fk[2] = { K_ITEM, K_CARRY }, rk[1] = { K_CARRY };
    Node *next = n_bin(OP_ADD, times(f[1], 0.5), f[0]), *operand[2] = { xs, w };
    Node *l = n_loop(7, false, region_new(2, f, fk, 1, &next, rk), 2, operand);
    becomes(w, n_out(l, 0));
    Plan *p = planned();
    cr_assert_eq(steps(p)->step.n, 1);
    const Step *s = steps(p)->step.at[0];
    cr_assert_eq(s->kind, STEP_FOR);
    cr_assert_eq(s->body[0]->step.n, 1);
    cr_assert_eq(p->entry.at[0]->arena, 0);
}
