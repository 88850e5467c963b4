/* hoist.c: what a loop need not do turn by turn leaves it.

   Requires: no gradient is taken afterwards. The values of a loop's body are of four kinds:
     the same in every turn     computed once, captured;
     before    follows from the turn's items alone: computed for all turns at once, an item of the loop;
     core      lies between the states that a turn begins with and those that it ends with, or reads a state;
     after     follows from small values of the core, and no state follows from it: they are stacked, and it is computed for all turns.
   So the product of a weight with something of each turn becomes one product, and a sum over the turns of products of small values
   (the gradient of a weight) becomes one product too. What is as large as a state stays in the loop, as does what is cheaper to
   compute again than to read. */
#include "graph.h"
#include "ops.h"
#include <string.h>

enum { TURN = 1, STATE = 2 };            /* differs from turn to turn; depends on a state */

typedef struct {
    Node *loop; const Region *r;
    int32_t trip;
    int64_t large;                       /* elements of the largest state */
    int n; Node **order; PtrMap at;      /* the body's nodes, operands first; index + 1 by node */
    uint8_t *kind;
    bool *before, *after;                /* may leave the loop */
    bool *stays;                         /* is needed in the loop */
    bool *sum;                           /* nobody needs it but a SUM result */
    bool *import;                        /* comes into the loop from outside */
    Node **outside; bool *turns;         /* its value outside; whether it has the axis of turns */
    int *slot;                           /* STACK result of the new loop, -1: none */
} Hoist;

static int at(const Hoist *h, const Node *x) { return (int)(intptr_t)ptrmap_get(&h->at, x) - 1; }
static bool formal(const Node *x) { return x->op == OP_FORMAL; }
static bool small(const Hoist *h, const Node *x) { return n_size(x) < h->large; }

/* ---- which values are which */

static void kinds(Hoist *h)
{
    for (int i = 0; i < h->n; i++) {
        const Node *x = h->order[i];
        *ptrmap_at(&h->at, x) = (void *)(intptr_t)(i + 1);
        if (formal(x)) {
            int k = h->r->fkind[x->a.k];
            h->kind[i] = k == K_CARRY ? STATE | TURN : k == K_CAPTURE ? 0 : TURN;
        }
        for (int j = 0; j < x->nin; j++) h->kind[i] |= h->kind[at(h, x->in[j])];
    }
}

/* A weight times something of a turn. */
static bool weighs(const Hoist *h, const Node *x)
{
    return x->op == OP_CONTRACT && (h->kind[at(h, x->in[0])] == 0) != (h->kind[at(h, x->in[1])] == 0);
}

static void find_before(Hoist *h)
{
    for (int i = 0; i < h->n; i++) {
        const Node *x = h->order[i];
        if (h->kind[i] != TURN || formal(x) || !can_lift(x) || !(small(h, x) || weighs(h, x))) continue;
        h->before[i] = true;
        for (int j = 0; j < x->nin; j++) {
            int o = at(h, x->in[j]);
            if (h->kind[o] && !h->before[o] && !(formal(x->in[j]) && (small(h, x->in[j]) || weighs(h, x)))) h->before[i] = false;
        }
    }
}

/* Can the operands of node i be had outside? */
static bool within_reach(const Hoist *h, int i)
{
    const Node *x = h->order[i];
    for (int j = 0; j < x->nin; j++) {
        int o = at(h, x->in[j]);
        if (h->kind[o] && !h->before[o] && !small(h, x->in[j]) && !weighs(h, x)) return false;
        if (x->in[j]->dt == NDT) return false;
    }
    return true;
}

static bool multiplies(const Node *x) { return x->op == OP_CONTRACT || x->op == OP_SUM || x->op == OP_MUL; }

/* From the last node to the first: after, if all that read it are after, too. */
static void find_after(Hoist *h)
{
    bool *read = NEWN(bool, h->n + 1);
    for (int k = 0; k < h->r->nr; k++) {
        int i = at(h, h->r->result[k]);
        if (h->r->rkind[k] == K_CARRY) h->stays[i] = true;
        else if (h->r->rkind[k] == K_STACK) read[i] = true;
        else h->sum[i] = true;
    }
    for (int i = h->n - 1; i >= 0; i--) {
        const Node *x = h->order[i];
        bool only_sum = h->sum[i] && !read[i];
        if (h->sum[i] && !(only_sum && !h->stays[i] && (h->before[i] || (multiplies(x) && can_lift(x) && within_reach(h, i))))) {
            h->stays[i] = true;          /* added up in the loop */
            h->sum[i] = false;
        }
        h->after[i] = h->kind[i] && !h->before[i] && !h->stays[i] && !formal(x) && can_lift(x) && within_reach(h, i) &&
                      (h->sum[i] || small(h, x) || weighs(h, x));
        bool inside = !h->after[i] && !h->before[i] && h->kind[i];
        if (inside && !formal(x)) h->stays[i] = true;
        for (int j = 0; j < x->nin; j++) {
            int o = at(h, x->in[j]);
            read[o] |= !inside;
            h->stays[o] |= inside;
        }
    }
}

/* ---- what comes back in: cheap values are computed again */

static bool view(const Node *x) { return op_row[x->op].group == G_VIEW && x->op != OP_FOLD; }

static bool cheap(const Node *x)
{
    switch (x->op) {
    case OP_NEG: case OP_ADD: case OP_SUB: case OP_MUL: case OP_SELECT: case OP_MIN: case OP_MAX: case OP_ABS: case OP_CAST:
    case OP_LT: case OP_LE: case OP_EQ: case OP_AND: case OP_OR: case OP_NOT: return true;
    default: return view(x);
    }
}

static bool light(const Hoist *h, const Node *x)            /* an item, seen somehow */
{
    while (view(x)) x = x->in[0];
    return !h->kind[at(h, x)] || (formal(x) && h->r->fkind[x->a.k] == K_ITEM);
}

static bool comes_back(const Hoist *h, int i)
{
    const Node *x = h->order[i];
    if (!x->nin) return true;
    if (!h->kind[i]) return view(x);
    if (!cheap(x)) return false;
    if (view(x)) return n_size(x->in[0]) <= n_size(x) || light(h, x);
    for (int j = 0; j < x->nin; j++) if (!light(h, x->in[j])) return false;
    return true;
}

static bool find_imports(Hoist *h)
{
    bool any = false;
    for (int i = h->n - 1; i >= 0; i--) {
        const Node *x = h->order[i];
        if (!h->stays[i] || formal(x) || (h->kind[i] && !h->before[i])) continue;
        h->import[i] = !comes_back(h, i) && x->dt != NDT;
        any |= h->import[i];
        for (int j = 0; j < x->nin && !h->import[i]; j++) h->stays[at(h, x->in[j])] = true;
    }
    return any;
}

static bool leaves(const Hoist *h, int k)                  /* result k is not the new loop's */
{
    int i = at(h, h->r->result[k]);
    if (h->r->rkind[k] == K_CARRY) return false;
    if (h->r->rkind[k] == K_SUM) return h->sum[i];
    return h->after[i] || h->before[i] || !h->kind[i] || (formal(h->order[i]) && !(h->kind[i] & STATE));
}

/* ---- the new loop */

typedef struct { VEC(Node *) formal; VEC(uint8_t) fkind; VEC(Node *) in; VEC(Node *) from; VEC(Node *) to; VEC(Node *) result; VEC(uint8_t) rkind; } Made;

static void outside_value(Hoist *h, int i);

static Node *outside_of(Hoist *h, Node *x, bool *turns)
{
    int i = at(h, x);
    outside_value(h, i);
    *turns = h->turns[i];
    return h->outside[i];
}

/* The value of node i where the loop stands. */
static void outside_value(Hoist *h, int i)
{
    Node *x = h->order[i];
    if (h->outside[i]) return;
    if (formal(x)) {                                       /* CAPTURE, ITEM, INDEX; what is stacked has its value already */
        int operand = 0;
        for (int k = 0; k < x->a.k; k++) operand += h->r->fkind[k] != K_INDEX;
        h->turns[i] = h->r->fkind[x->a.k] != K_CAPTURE;
        h->outside[i] = h->r->fkind[x->a.k] == K_INDEX ? n_iota(I32, 1, &h->trip, 0) : h->loop->in[operand];
        return;
    }
    Node **in = NEWN(Node *, x->nin + 1);
    bool *turns = NEWN(bool, x->nin + 1);
    for (int j = 0; j < x->nin; j++) in[j] = outside_of(h, x->in[j], &turns[j]);
    h->turns[i] = h->kind[i] != 0;
    h->outside[i] = h->turns[i] ? lift_node(x, in, turns, h->trip) : node(x->op, x->dt, x->rank, x->dim, x->nin, in, &x->a, x->loc);
}

static void new_formal(Made *m, Node *from, int kind, Node *operand)
{
    Node *f = n_formal(m->formal.n, (Dt)from->dt, from->rank, from->dim);
    PUSH(m->formal, f);
    PUSH(m->fkind, (uint8_t)kind);
    PUSH(m->from, from);
    PUSH(m->to, f);
    if (operand) PUSH(m->in, operand);
}

static void new_formals(Hoist *h, Made *m)
{
    int operand = 0;
    for (int k = 0; k < h->r->np; k++) {
        Node *f = h->r->formal[k], *in = h->r->fkind[k] == K_INDEX ? NULL : h->loop->in[operand++];
        int i = at(h, f);
        if (h->r->fkind[k] == K_CARRY || (i >= 0 && h->stays[i])) new_formal(m, f, h->r->fkind[k], in);
    }
    for (int i = 0; i < h->n; i++) {
        if (!h->import[i]) continue;
        outside_value(h, i);
        new_formal(m, h->order[i], h->turns[i] ? K_ITEM : K_CAPTURE, h->outside[i]);
    }
}

/* What values after the loop need of the core is stacked. */
static void stack_operands(Hoist *h, Made *m)
{
    for (int i = 0; i < h->n; i++) {
        const Node *x = h->order[i];
        if (!h->after[i]) continue;
        for (int j = 0; j < x->nin; j++) {
            int o = at(h, x->in[j]);
            bool has = !h->kind[o] || h->after[o] || h->before[o] || (formal(x->in[j]) && !(h->kind[o] & STATE));
            if (has || h->slot[o] >= 0) continue;
            h->slot[o] = m->result.n;
            PUSH(m->result, x->in[j]);
            PUSH(m->rkind, K_STACK);
        }
    }
}

static Node *sum_of_turns(Node *x, bool turns, int32_t trip)
{
    return turns ? n_sum(x, 1) : n_bin(OP_MUL, x, n_splat((Dt)x->dt, trip, x->rank, x->dim));
}

static Node **new_loop(Hoist *h)
{
    Made m = { 0 };
    const Region *r = h->r;
    int *kept = NEWN(int, r->nr + 1);
    new_formals(h, &m);
    for (int k = 0; k < r->nr; k++) {
        if (leaves(h, k)) continue;
        int i = at(h, r->result[k]);
        kept[k] = m.result.n;
        if (r->rkind[k] == K_STACK) h->slot[i] = m.result.n;
        PUSH(m.result, r->result[k]);
        PUSH(m.rkind, r->rkind[k]);
    }
    stack_operands(h, &m);
    graph_subst(m.result.n, m.result.at, m.from.n, m.from.at, m.to.at);
    Region *body = region_new(m.formal.n, m.formal.at, m.fkind.at, m.result.n, m.result.at, m.rkind.at);
    Node *loop = n_loop(h->trip, h->loop->a.reverse, body, m.in.n, m.in.at), **out = NEWN(Node *, r->nr + 1);
    for (int i = 0; i < h->n; i++) if (h->slot[i] >= 0) { h->outside[i] = n_out(loop, h->slot[i]); h->turns[i] = true; }
    for (int k = 0; k < r->nr; k++) {
        bool turns;
        if (!leaves(h, k)) { out[k] = n_out(loop, kept[k]); continue; }
        Node *x = outside_of(h, r->result[k], &turns);
        out[k] = r->rkind[k] == K_SUM ? sum_of_turns(x, turns, h->trip) : turns ? x : lift_same(x, h->trip);
    }
    return out;
}

/* The results of the loop without what can leave it; NULL: nothing can. */
static Node **hoisted(Node *loop)
{
    Hoist h = { .loop = loop, .r = loop->a.r[0], .trip = (int32_t)loop->a.k };
    h.n = graph_order(h.r->nr, h.r->result, &h.order);
    for (int i = 0; i < h.r->np; i++)
        if (h.r->fkind[i] == K_CARRY && n_size(h.r->formal[i]) > h.large) h.large = n_size(h.r->formal[i]);
    h.kind = NEWN(uint8_t, h.n + 1);
    h.before = NEWN(bool, h.n + 1); h.after = NEWN(bool, h.n + 1); h.stays = NEWN(bool, h.n + 1); h.sum = NEWN(bool, h.n + 1);
    h.import = NEWN(bool, h.n + 1); h.turns = NEWN(bool, h.n + 1);
    h.outside = NEWN(Node *, h.n + 1);
    h.slot = NEWN(int, h.n + 1);
    for (int i = 0; i < h.n; i++) h.slot[i] = -1;
    kinds(&h);
    find_before(&h);
    find_after(&h);
    bool any = find_imports(&h);
    for (int k = 0; k < h.r->nr; k++) any |= leaves(&h, k);
    Node **out = any ? new_loop(&h) : NULL;
    ptrmap_free(&h.at);
    return out;
}

static PtrMap done;                      /* loops -> their results, one by one */

static Node *hoist_node(Node *x)
{
    if (x->op == OP_LOOP && x->a.k > 1) *ptrmap_at(&done, x) = hoisted(x);
    if (x->op != OP_OUT) return x;
    Node **out = ptrmap_get(&done, x->in[0]);
    return out ? out[x->a.k] : x;
}

Region *loops_hoist(Region *r)
{
    Region *s = region_rewrite(r, hoist_node);
    ptrmap_free(&done);
    done = (PtrMap){ 0 };
    return s;
}
