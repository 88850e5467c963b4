/* gradcheck_test.c: nlc gradcheck finds a wrong gradient and only that. */
#include "program.h"
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

Options opt;

/* An entry over one learned tensor w : [3, 2], born as zeros, and a field x : [4, 3]. */
static struct { Program *p; Model *model; Entry *entry; State *state; Node *w, *x, *mark; } t;

static Entry *entry_of(int np, Node **formal, Bind *in, int nr, Node **result, Bind *out)
{
    uint8_t *k = NEWN(uint8_t, np + nr), *rk = NEWN(uint8_t, nr);
    memset(rk, K_STACK, (size_t)nr);
    Entry *e = NEW(Entry);
    e->name = "Net.step";
    e->r = region_new(np, formal, k, nr, result, rk);
    e->in = in;
    e->out = out;
    e->model = t.model;
    return e;
}

static void begin(void)
{
    t.p = NEW(Program);
    t.model = NEW(Model);
    t.state = NEW(State);
    *t.state = (State){.path = "Net.w", .kind = ST_LEARN, .dt = F32, .rank = 2, .dim = {3, 2}};
    PUSH(t.model->state, t.state);
    PUSH(t.p->model, t.model);
    Node *seed = n_formal(0, I64, 0, NULL), *zero = n_splat(F32, 0, 2, t.state->dim);
    t.model->init = entry_of(1, &seed, (Bind[]){{B_SEED, 0}}, 1, &zero, (Bind[]){{B_STATE, 0}});
    t.w = n_formal(0, F32, 2, t.state->dim);
    t.x = n_formal(1, F32, 2, (int32_t[]){4, 3});
    t.mark = n_mark(t.w, graph_uid());
}

static Node *product(void)
{
    return n_contract(t.x, t.mark, (int8_t[8]){1, 2}, (int8_t[8]){2, 3}, 2, (int8_t[8]){1, 3});
}

/* gradcheck of E with the gradient times `factor`; the text is left in `text`. */
static char text[2000];
static int run(Node *e, double factor, int64_t tag)
{
    Node *one = n_const(F32, 1), *g;
    vjp(1, &e, &one, 1, &t.mark, tag, &g);
    if (g) g = n_bin(OP_MUL, g, n_const(F32, factor));
    Objective *o = NEW(Objective);
    *o = (Objective){.name = "loss", .e = e, .nw = 1, .wrt = NEWN(Node *, 1), .grad = NEWN(Node *, 1),
                     .state = NEWN(State *, 1), .tag = tag};
    o->wrt[0] = t.mark;
    o->grad[0] = g;
    o->state[0] = t.state;
    Node *formal[2] = {t.w, t.x}, *result[1] = {e};
    t.entry = entry_of(2, formal, (Bind[]){{B_STATE, 0}, {B_FIELD, 0}}, 1, result, (Bind[]){{B_OUT, 0}});
    PUSH(t.entry->objective, o);
    t.p->entry.n = 0;
    PUSH(t.p->entry, t.entry);
    FILE *f = tmpfile();
    int wrong = gradcheck(t.p, f);
    rewind(f);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    return wrong;
}

Test(gradcheck, right_and_wrong)
{
    begin();
    Node *e = n_sum(n_un(OP_TANH, product()), 3);
    cr_expect_eq(run(e, 1, 1), 0, "%s", text);
    cr_expect(strstr(text, "Net.w") && strstr(text, "ok"), "%s", text);
    cr_expect_eq(run(e, 1.01, 1), 1, "%s", text);
    cr_expect(strstr(text, "WRONG"), "%s", text);
    cr_expect_eq(run(e, 0, 1), 1, "%s", text);
}

Test(gradcheck, stops_are_constants)
{
    begin();
    Node *y = product(), *e = n_sum(n_bin(OP_MUL, y, n_un(OP_SIN, n_stop(y, 7))), 3);
    cr_expect_eq(run(e, 1, 7), 0, "%s", text);
    cr_expect_eq(run(e, 1, 8), 0, "%s", text);
    cr_expect_eq(run(n_sum(n_stop(y, 7), 3), 1, 7), 0, "%s", text);
    cr_expect(strstr(text, "does not depend"), "%s", text);
}

/* max(y - y, 0) has a kink wherever w is. */
Test(gradcheck, kinks)
{
    begin();
    Node *y = product(), *rest = n_bin(OP_SUB, y, n_stop(y, STOP_ALL));
    Node *e = n_sum(n_bin(OP_MAX, rest, n_zeros_like(rest)), 3);
    cr_expect_eq(run(n_bin(OP_ADD, e, n_sum(n_bin(OP_MUL, y, y), 3)), 1, 1), 0, "%s", text);
}

Test(gradcheck, not_finite)
{
    begin();
    Node *e = n_sum(n_un(OP_LOG, n_un(OP_NEG, n_bin(OP_MUL, product(), product()))), 3);
    cr_expect_eq(run(e, 1, 1), 0);
    cr_expect(strstr(text, "not checked"), "%s", text);
}

/* min(y*y, -1) is -1 wherever w is, and every slope 0: that says nothing about a gradient. */
Test(gradcheck, nothing_exercised)
{
    begin();
    Node *y = product(), *flat = n_bin(OP_MIN, n_bin(OP_MUL, y, y), n_splat(F32, -1, y->rank, y->dim));
    cr_expect_eq(run(n_sum(flat, 3), 1, 1), 0, "%s", text);
    cr_expect(strstr(text, "0 on both sides: nothing was exercised") && !strstr(text, "ok"), "%s", text);
    cr_expect_eq(run(n_sum(n_bin(OP_ADD, flat, y), 3), 1, 1), 0, "%s", text);
    cr_expect(!strstr(text, "nothing was exercised") && strstr(text, "ok"), "%s", text);
}
