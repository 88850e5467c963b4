/* verify.c: checks that a region obeys the rules of the graph: operands are older, type and shape are what the
   operation's row infers, every formal reached is one of the region's, at its position and type; regions inside LOOP
   and COND too, whose kinds and types the rows of LOOP and COND check. Aborts with a message that prints the node: a
   broken rule is an error of the compiler. */
#include "ops.h"
#include <stdlib.h>
#include <string.h>

static void fail(const Region *r, const Node *x, const char *after, const char *what)
{
    fprintf(stderr, "nlc: internal error: the graph is broken after %s\n", after);
    region_print(r, stderr);
    graph_fail(x, what);
}

static void check_node(const Region *r, Node *x, const char *after)
{
    Node again;
    memcpy(&again, x, sizeof again);
    if (op_row[x->op].arity >= 0 && op_row[x->op].arity != x->nin)
        fail(r, x, after, "wrong number of operands");
    for (int i = 0; i < x->nin; i++)
        if (x->in[i]->id >= x->id)
            fail(r, x, after, "an operand is younger");
    for (int i = 0; i < x->nin; i++)
        if (x->in[i]->dt == NDT && x->op != OP_OUT)
            fail(r, x, after, "uses a loop or cond that has several results as a value");
    const char *bad = op_row[x->op].infer(&again);
    if (bad)
        fail(r, x, after, bad);
    if (!same_type(x, &again))
        fail(r, x, after, "has not the type that its operation infers");
    if (x->op == OP_FORMAL && (x->a.k < 0 || x->a.k >= r->np || r->formal[x->a.k] != x))
        fail(r, x, after, "is no formal of its region: the region is not closed");
}

void check_region(const Region *r, const char *after, bool deep)
{
    Node **order;
    int n = graph_order(r->nr, r->result, &order);
    for (int i = 0; i < r->np; i++) {
        if (r->formal[i]->op != OP_FORMAL || r->formal[i]->a.k != i)
            fail(r, r->formal[i], after, "is not the formal of its position");
        if (r->fkind[i] > K_CARRY)
            fail(r, r->formal[i], after, "a formal with the kind of a result");
    }
    for (int i = 0; i < r->nr; i++) {
        if (r->rkind[i] < K_CARRY)
            fail(r, r->result[i], after, "a result with the kind of a formal");
        if (r->result[i]->dt == NDT)
            fail(r, r->result[i], after, "a result that is a loop or cond itself");
    }
    for (int i = 0; i < n; i++) {
        check_node(r, order[i], after);
        for (int j = 0; j < 2 && deep; j++)
            if (order[i]->a.r[j])
                check_region(order[i]->a.r[j], after, true);
    }
}

void verify_region(const Region *r, const char *after) { check_region(r, after, true); }
