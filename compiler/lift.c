/* lift.c: a node of a loop's body, for all turns at once: the same operation with the turn as one more axis in front.
   Elementwise operations and views just get the axis, a contraction gets a label for it: where one side is the same in each
   turn, many small products become a large one. Loops, branches and draws are not lifted. */
#include "graph.h"
#include "ops.h"
#include <string.h>

bool can_lift(const Node *x)
{
    switch (x->op) {
    case OP_COND: case OP_LOOP: case OP_OUT: case OP_BITS: case OP_MARK: case OP_STOP: case OP_FORMAL: return false;
    case OP_SCATTER: case OP_GATHER: return x->rank < MAXDIM && x->in[0]->rank < MAXDIM && x->in[1]->rank < MAXDIM;
    default: break;
    }
    for (int i = 0; i < x->nin; i++) if (x->in[i]->rank >= MAXDIM) return false;
    return x->rank < MAXDIM;
}

static void dims(int32_t *dim, int32_t trip, const Node *x)
{
    dim[0] = trip;
    for (int i = 0; i < x->rank; i++) dim[i + 1] = x->dim[i];
}

/* The same value in every turn, with the axis. */
Node *lift_same(Node *x, int32_t trip)
{
    int32_t dim[MAXDIM];
    int8_t map[MAXDIM];
    dims(dim, trip, x);
    map[0] = -1;
    for (int i = 0; i < x->rank; i++) map[i + 1] = (int8_t)i;
    return n_bcast(x, x->rank + 1, dim, map);
}

static int free_label(const Node *x)
{
    uint32_t used = 0;
    for (int i = 0; i < x->in[0]->rank; i++) used |= 1u << x->a.la[i];
    for (int i = 0; i < x->in[1]->rank; i++) used |= 1u << x->a.lb[i];
    for (int l = 1; l < 25; l++) if (!(used >> l & 1)) return l;
    return 0;
}

static void shifted(int8_t *to, const int8_t *from, int n, bool with, int label)
{
    memset(to, 0, MAXDIM);
    if (with) to[0] = (int8_t)label;
    memcpy(to + with, from, (size_t)n);
}

static Node *lift_contract(const Node *x, Node *const *in, const bool *turns)
{
    int8_t la[MAXDIM], lb[MAXDIM], lo[MAXDIM];
    int label = free_label(x);
    shifted(la, x->a.la, x->in[0]->rank, turns[0], label);
    shifted(lb, x->a.lb, x->in[1]->rank, turns[1], label);
    shifted(lo, x->a.lo, x->rank, true, label);
    return n_contract(in[0], in[1], la, lb, x->rank + 1, lo);
}

/* One more axis before those that the attributes speak of. */
static Attr lifted_attr(const Node *x)
{
    Attr a;
    memcpy(&a, &x->a, sizeof a);
    for (int i = x->rank; i > 0; i--) {
        a.map[i] = (int8_t)(x->a.map[i - 1] < 0 ? -1 : x->a.map[i - 1] + 1);
        a.start[i] = x->a.start[i - 1];
        a.step[i] = x->a.step[i - 1];
    }
    a.map[0] = 0;
    a.start[0] = 0;
    a.step[0] = 1;
    a.axes = x->a.axes << 1;
    a.axis = x->a.axis + 1;
    return a;
}

/* x with the operands in[], of which those with turns[] have the axis in front. At least one has. */
Node *lift_node(const Node *x, Node *const *in, const bool *turns, int32_t trip)
{
    if (x->op == OP_CONTRACT) return lift_contract(x, in, turns);
    if (x->op == OP_GATHER && !turns[0] && !x->a.axis) return node(OP_GATHER, NDT, 0, NULL, 2, in, &x->a, x->loc);
    Node **all = NEWN(Node *, x->nin + 1);
    for (int i = 0; i < x->nin; i++) all[i] = turns[i] ? in[i] : lift_same(in[i], trip);
    int32_t dim[MAXDIM];
    dims(dim, trip, x);
    Attr a = lifted_attr(x);
    return node(x->op, x->dt, x->rank + 1, dim, x->nin, all, &a, x->loc);
}
