/* grad.c: reverse mode on the tensor graph.

   vjp() requires results whose regions are closed and a cotangent (of the result's type and shape) or NULL for each. It
   walks the graph from the results down to the `wrt` nodes and builds, out of ordinary nodes, the cotangent of each
   wrt:
        grad[j] = sum over i of  cot[i] * d result[i] / d wrt[j].
   A missing cotangent is NULL and never a tensor of zeros, so nothing is computed where nothing flows; integers and
   bools carry none. Nothing flows below a wrt unless another wrt lies below it. STOP lets nothing pass if its tag is
   the one asked for, STOP_ALL or STOP_SHIFT.

   Each operation has one row in the table `adjoint`: the cotangent of its operand i, given the cotangent g of its
   result x. LOOP and COND, which have several results, follow the table of kinds (the reverse of a loop is a loop of
   the same trip in the other direction):

        forward                  reverse
        CAPTURE c                SUM of its cotangent
        ITEM x                   STACK of its cotangent
        CARRY in / final         final / initial CARRY of cotangents
        STACK y                  ITEM: cotangent of y
        SUM s                    CAPTURE: cotangent of s, the same for every t
        carry-in of each t       ITEM; a second STACK of the forward loop (the residual)

   The reverse region is the vjp of the body over the same formals: it contains the body's forward, recomputed from the
   carry-in. Only kinds of this table occur in it, so it can be differentiated again. Nodes are immutable, so the loop
   that also stacks its carry-ins is a second loop beside the first (widen_loop); loops that agree in everything but the
   list of results count as one here (struct Twins), and loops_merge() (twins.c) makes one of them when all gradients
   have been taken. */
#include "graph.h"
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void *zalloc(size_t n, size_t size) { return arena_alloc((n ? n : 1) * size); }

static bool is_struct(const Node *x) { return x->op == OP_LOOP || x->op == OP_COND; }

/* ---- What flows: a piece of graph in order, with a mark on each node from which something flows back to a seed. */

typedef struct {
    int64_t tag, also;           /* of the objective, and one tag more that lets nothing pass */
    bool all;                    /* plain reachability: through stops, integers and predicates too */
} Flow;

typedef struct {
    int n; Node **node;          /* operands first */
    int mask; int *slot;         /* position + 1 by id, open addressing */
    bool *live;                  /* by position */
    bool **out;                  /* LOOP, COND, by position: which results are live */
} Dag;

typedef Node *(*Adjoint)(Node *x, int i, Node *g);
static const Adjoint adjoint[NOPS];

static Dag dag_new(int nr, Node *const *result)
{
    Dag d = {0};
    d.n = graph_order(nr, result, &d.node);
    for (d.mask = 15; d.mask < 2 * d.n; d.mask = 2 * d.mask + 1) {}
    d.slot = zalloc((size_t)d.mask + 1, sizeof *d.slot);
    d.live = zalloc((size_t)d.n, sizeof *d.live);
    d.out = zalloc((size_t)d.n, sizeof *d.out);
    for (int i = 0; i < d.n; i++) {
        uint32_t h = d.node[i]->id * 2654435761u;
        while (d.slot[h & (uint32_t)d.mask]) h++;
        d.slot[h & (uint32_t)d.mask] = i + 1;
    }
    return d;
}

/* The position of x, or -1 if the results do not reach it. */
static int dag_find(const Dag *d, const Node *x)
{
    for (uint32_t h = x->id * 2654435761u;; h++) {
        int i = d->slot[h & (uint32_t)d->mask] - 1;
        if (i < 0 || d->node[i] == x) return i;
    }
}

static bool dag_live(const Dag *d, const Node *x)
{
    int i = dag_find(d, x);
    return i >= 0 && d->live[i];
}

static bool passes(const Node *x, Flow f)
{
    if (f.all) return true;
    if (x->op == OP_STOP) return x->a.k != f.tag && x->a.k != f.also && x->a.k != STOP_ALL && x->a.k != STOP_SHIFT;
    return dt_float((Dt)x->dt) && adjoint[x->op];
}

static void dag_flow(Dag *d, int nw, Node *const *wrt, Flow f);
static void walk(int nr, Node *const *result, Node *const *cot, int nw, Node *const *wrt, Flow f, Node **grad);

/* live[k]: result k of the region depends on one of the formals marked. */
static bool *region_flow(const Region *r, const bool *formal, Flow f)
{
    Node **wrt = zalloc((size_t)r->np, sizeof *wrt);
    int nw = 0;
    for (int i = 0; i < r->np; i++) if (formal[i]) wrt[nw++] = r->formal[i];
    Dag d = dag_new(r->nr, r->result);
    dag_flow(&d, nw, wrt, f);
    bool *live = zalloc((size_t)r->nr, sizeof *live);
    for (int k = 0; k < r->nr; k++) live[k] = dag_live(&d, r->result[k]);
    return live;
}

/* The same for a loop's body, over all turns: least fixpoint over the carries, which it adds to formal[]. */
static bool *loop_flow(const Region *r, bool *formal, Flow f)
{
    for (;;) {
        bool *live = region_flow(r, formal, f), grown = false;
        for (int i = 0; i < r->np; i++) {
            if (r->fkind[i] != K_CARRY) continue;
            int k = loop_carry_result(r, i);
            if (live[k] && !formal[i]) formal[i] = grown = true;
            if (formal[i]) live[k] = true;            /* no turn at all: the final value is the initial one */
        }
        if (!grown) return live;
    }
}

/* Marks the loop's formals whose operands are live. */
static bool *live_formals(const Dag *d, const Node *loop)
{
    const Region *r = loop->a.r[0];
    bool *formal = zalloc((size_t)r->np, sizeof *formal);
    for (int i = 0, in = 0; i < r->np; i++)
        if (r->fkind[i] != K_INDEX) formal[i] = dag_live(d, loop->in[in++]);
    return formal;
}

static bool *struct_flow(const Dag *d, const Node *x, Flow f)
{
    if (x->op == OP_LOOP) return loop_flow(x->a.r[0], live_formals(d, x), f);
    bool *formal = zalloc((size_t)x->nin, sizeof *formal);
    for (int i = 1; i < x->nin; i++) formal[i - 1] = dag_live(d, x->in[i]);
    bool *then = region_flow(x->a.r[0], formal, f), *els = region_flow(x->a.r[1], formal, f);
    bool chosen = f.all && dag_live(d, x->in[0]);
    for (int k = 0; k < x->a.r[0]->nr; k++) then[k] = then[k] || els[k] || chosen;
    return then;
}

static void dag_flow(Dag *d, int nw, Node *const *wrt, Flow f)
{
    for (int j = 0; j < nw; j++) {
        int i = dag_find(d, wrt[j]);
        if (i >= 0 && (f.all || dt_float((Dt)wrt[j]->dt))) d->live[i] = true;
    }
    for (int i = 0; i < d->n; i++) {
        Node *x = d->node[i];
        bool any = false;
        for (int k = 0; k < x->nin && !any; k++) any = dag_live(d, x->in[k]);
        if (!any) continue;
        if (is_struct(x)) {
            d->out[i] = struct_flow(d, x, f);
            d->live[i] = true;
        } else if (x->op == OP_OUT) {
            if (f.all || dt_float((Dt)x->dt)) d->live[i] |= d->out[dag_find(d, x->in[0])][x->a.k];
        } else {
            d->live[i] |= passes(x, f);
        }
    }
}

bool depends_on(Node *x, Node *on)
{
    Dag d = dag_new(1, &x);
    dag_flow(&d, 1, &on, (Flow){.all = true});
    return dag_live(&d, x);
}

/* ---- Adjoints of single operations. */

static Node *mul(Node *a, Node *b) { return n_bin(OP_MUL, a, b); }
static Node *scale(Node *x, double c) { return n_bin(OP_MUL, x, n_const((Dt)x->dt, c)); }
static Node *where(Node *c, Node *g) { return n_select(c, g, n_zeros_like(g)); }
static Node *where_not(Node *c, Node *g) { return n_select(c, n_zeros_like(g), g); }
static Node *one_minus(Node *x) { return n_bin(OP_SUB, n_const((Dt)x->dt, 1), x); }
static Node *is_zero(Node *x) { return n_bin(OP_EQ, x, n_zeros_like(x)); }
static Node *ones_like(Node *x) { return n_splat((Dt)x->dt, 1, x->rank, x->dim); }

static Node *d_same(Node *x, int i, Node *g) { (void)x; (void)i; return g; }
static Node *d_neg(Node *x, int i, Node *g) { (void)x; (void)i; return n_un(OP_NEG, g); }
static Node *d_abs(Node *x, int i, Node *g) { (void)i; return mul(g, n_un(OP_SIGN, x->in[0])); }
static Node *d_exp(Node *x, int i, Node *g) { (void)i; return mul(g, x); }
static Node *d_log(Node *x, int i, Node *g) { (void)i; return n_bin(OP_DIV, g, x->in[0]); }
static Node *d_sin(Node *x, int i, Node *g) { (void)i; return mul(g, n_un(OP_COS, x->in[0])); }
static Node *d_cos(Node *x, int i, Node *g) { (void)i; return n_un(OP_NEG, mul(g, n_un(OP_SIN, x->in[0]))); }
static Node *d_tanh(Node *x, int i, Node *g) { (void)i; return mul(g, one_minus(mul(x, x))); }
static Node *d_sigmoid(Node *x, int i, Node *g) { (void)i; return mul(g, mul(x, one_minus(x))); }
static Node *d_cast(Node *x, int i, Node *g) { (void)i; return n_cast(g, (Dt)x->in[0]->dt); }
static Node *d_sub(Node *x, int i, Node *g) { (void)x; return i == 0 ? g : n_un(OP_NEG, g); }
static Node *d_mul(Node *x, int i, Node *g) { return mul(g, x->in[1 - i]); }

/* 1 / (2 sqrt a), and 0 at 0. The divisor is made safe as well as the quotient: otherwise the next derivative is 0 *
   inf. */
static Node *d_sqrt(Node *x, int i, Node *g)
{
    (void)i;
    Node *zero = is_zero(x);
    Node *slope = n_bin(OP_DIV, n_splat((Dt)x->dt, 0.5, x->rank, x->dim), n_select(zero, ones_like(x), x));
    return mul(g, where_not(zero, slope));
}

/* 2 / sqrt(pi) * exp(-a^2) */
static Node *d_erf(Node *x, int i, Node *g)
{
    (void)i;
    Node *a = x->in[0];
    return mul(g, scale(n_un(OP_EXP, n_un(OP_NEG, mul(a, a))), 1.12837916709551257390));
}

/* (a/b)' = 1/b, -(a/b)/b */
static Node *d_div(Node *x, int i, Node *g)
{
    Node *q = n_bin(OP_DIV, g, x->in[1]);
    return i == 0 ? q : n_un(OP_NEG, mul(q, x));
}

/* a^c with a constant c: c a^(c-1). A root has slope 0 at 0, like sqrt. */
static Node *pow_by_constant(Node *a, double c, Node *g)
{
    if (c == 0) return NULL;
    if (c == 1) return g;
    if (c == 2) return scale(mul(g, a), 2);
    if (c < 0 || c > 1) return mul(g, scale(n_bin(OP_POW, a, n_const((Dt)a->dt, c - 1)), c));
    Node *zero = is_zero(a), *safe = n_select(zero, ones_like(a), a);
    return mul(g, where_not(zero, scale(n_bin(OP_POW, safe, n_const((Dt)a->dt, c - 1)), c)));
}

/* to a: b a^(b-1), with the exponent 0 instead of -1 at b = 0;  to b: a^b log a, and 0 where a has no logarithm. */
static Node *d_pow(Node *x, int i, Node *g)
{
    Node *a = x->in[0], *b = x->in[1];
    double c;
    if (i == 1) {
        Node *positive = n_bin(OP_LT, n_zeros_like(a), a);
        return mul(g, mul(x, n_un(OP_LOG, n_select(positive, a, ones_like(a)))));
    }
    if (is_const(b, &c)) return pow_by_constant(a, c, g);
    Node *less = n_bin(OP_SUB, n_select(is_zero(b), ones_like(b), b), n_const((Dt)b->dt, 1));
    return mul(g, mul(b, n_bin(OP_POW, a, less)));
}

/* Ties go to the first operand. */
static Node *d_max(Node *x, int i, Node *g)
{
    Node *second = n_bin(OP_LT, x->in[0], x->in[1]);
    return i == 1 ? where(second, g) : where_not(second, g);
}

static Node *d_min(Node *x, int i, Node *g)
{
    Node *second = n_bin(OP_LT, x->in[1], x->in[0]);
    return i == 1 ? where(second, g) : where_not(second, g);
}

/* a mod b = a - b floor(a/b) */
static Node *d_mod(Node *x, int i, Node *g)
{
    return i == 0 ? g : n_un(OP_NEG, mul(g, n_un(OP_FLOOR, n_bin(OP_DIV, x->in[0], x->in[1]))));
}

static Node *d_select(Node *x, int i, Node *g)
{
    if (i == 0) return NULL;
    return i == 1 ? where(x->in[0], g) : where_not(x->in[0], g);
}

/* Sums the axes that were new; the others stand in the result's order and go back to the operand's. */
static Node *d_bcast(Node *x, int i, Node *g)
{
    uint32_t gone = 0;
    int8_t map[MAXDIM] = {0};
    int left = 0;
    for (int j = 0; j < x->rank; j++) {
        if (x->a.map[j] < 0) gone |= 1u << j;
        else map[x->a.map[j]] = (int8_t)left++;
    }
    g = gone ? n_sum(g, gone) : g;
    return x->in[i]->rank ? n_perm(g, map) : g;
}

/* Puts an axis back for each bit of axes: g has the other axes of x's shape, in order. */
static Node *spread(Node *g, uint32_t axes, int rank, const int32_t *dim)
{
    int8_t map[MAXDIM] = {0};
    for (int j = 0, k = 0; j < rank; j++) map[j] = (int8_t)(axes >> j & 1 ? -1 : k++);
    return n_bcast(g, rank, dim, map);
}

static Node *d_sum(Node *x, int i, Node *g)
{
    Node *a = x->in[i];
    return spread(g, x->a.axes, a->rank, a->dim);
}

static Node *unperm(Node *g, const int8_t *map)
{
    int8_t back[MAXDIM] = {0};
    for (int j = 0; j < g->rank; j++) back[map[j]] = (int8_t)j;
    return n_perm(g, back);
}

static Node *d_perm(Node *x, int i, Node *g) { (void)i; return unperm(g, x->a.map); }
static Node *d_reshape(Node *x, int i, Node *g) { return n_reshape(g, x->in[i]->rank, x->in[i]->dim); }
static Node *d_slice(Node *x, int i, Node *g)
{
    return n_pad(g, x->in[i]->rank, x->in[i]->dim, x->a.start, x->a.step);
}
static Node *d_pad(Node *x, int i, Node *g) { return n_slice(g, x->a.start, x->in[i]->dim, x->a.step); }

static Node *d_window(Node *x, int i, Node *g)
{
    (void)i;
    return node(OP_FOLD, (Dt)0, 0, NULL, 1, &g, &(Attr){.axis = x->a.axis, .k = x->a.k}, x->loc);
}

static Node *d_fold(Node *x, int i, Node *g) { return n_window(g, x->a.axis, x->in[i]->dim[x->a.axis + 1]); }

static Node *d_concat(Node *x, int i, Node *g)
{
    int axis = x->a.axis, start = 0;
    for (int k = 0; k < i; k++) start += x->in[k]->dim[axis];
    return n_slice1(g, axis, start, x->in[i]->dim[axis], 1);
}

static Node *d_gather(Node *x, int i, Node *g)
{
    if (i == 1) return NULL;
    Node *a = x->in[0], *in[2] = {g, x->in[1]};
    return node(OP_SCATTER, (Dt)a->dt, a->rank, a->dim, 2, in, &(Attr){.axis = x->a.axis}, x->loc);
}

static Node *d_scatter(Node *x, int i, Node *g)
{
    return i == 1 ? NULL : n_gather(g, x->in[1], x->a.axis, x->loc);
}

static Node *d_cumsum(Node *x, int i, Node *g) { (void)i; return n_cumsum(g, x->a.axis, !x->a.k); }

/* g where the first of the largest stands. The reduced axes are brought together into one, the last. */
static Node *d_maxr(Node *x, int i, Node *g)
{
    Node *a = x->in[i];
    int8_t map[MAXDIM] = {0};
    int32_t dim[MAXDIM] = {0}, moved[MAXDIM] = {0};
    int kept = 0, all = 0;
    for (int j = 0; j < a->rank; j++) {
        if (x->a.axes >> j & 1) continue;
        dim[kept++] = a->dim[j];
        map[all++] = (int8_t)j;
    }
    dim[kept] = 1;
    for (int j = 0; j < a->rank; j++) {
        if (!(x->a.axes >> j & 1)) continue;
        dim[kept] *= a->dim[j];
        map[all++] = (int8_t)j;
    }
    for (int j = 0; j < a->rank; j++) moved[j] = a->dim[map[j]];

    Node *flat = n_reshape(n_perm(a, map), kept + 1, dim);
    Node *first = spread(n_argmax(flat, kept), 1u << kept, kept + 1, dim);
    Node *here = n_bin(OP_EQ, n_iota(I32, kept + 1, dim, kept), first);
    Node *h = where(here, spread(g, 1u << kept, kept + 1, dim));
    return unperm(n_reshape(h, a->rank, moved), map);
}

static bool has_label(const int8_t *labels, int n, int8_t l)
{
    for (int j = 0; j < n; j++) if (labels[j] == l) return true;
    return false;
}

/* The product of g with the other operand, labels in the order of this one; a label that only this operand has was
   summed away. */
static Node *d_contract(Node *x, int i, Node *g)
{
    Node *a = x->in[i], *b = x->in[1 - i];
    if (b->op == OP_STOP && b->a.k <= STOP_USES) b = b->in[0];       /* the stop is of this product alone */
    const int8_t *la = i == 0 ? x->a.la : x->a.lb, *lb = i == 0 ? x->a.lb : x->a.la;
    int8_t lo[MAXDIM] = {0};
    uint32_t gone = 0;
    int n = 0;
    for (int j = 0; j < a->rank; j++) {
        if (has_label(x->a.lo, x->rank, la[j]) || has_label(lb, b->rank, la[j])) lo[n++] = la[j];
        else gone |= 1u << j;
    }
    Node *p = i == 0 ? n_contract(g, b, x->a.lo, lb, n, lo) : n_contract(b, g, lb, x->a.lo, n, lo);
    return gone ? spread(p, gone, a->rank, a->dim) : p;
}

static const Adjoint adjoint[NOPS] = {
    [OP_NEG] = d_neg, [OP_ABS] = d_abs, [OP_SQRT] = d_sqrt, [OP_EXP] = d_exp, [OP_LOG] = d_log, [OP_SIN] = d_sin,
    [OP_COS] = d_cos, [OP_TANH] = d_tanh, [OP_SIGMOID] = d_sigmoid, [OP_ERF] = d_erf, [OP_CAST] = d_cast,
    [OP_ADD] = d_same, [OP_SUB] = d_sub, [OP_MUL] = d_mul, [OP_DIV] = d_div, [OP_POW] = d_pow,
    [OP_MIN] = d_min, [OP_MAX] = d_max, [OP_MOD] = d_mod, [OP_SELECT] = d_select,
    [OP_BCAST] = d_bcast, [OP_PERM] = d_perm, [OP_RESHAPE] = d_reshape, [OP_SLICE] = d_slice, [OP_PAD] = d_pad,
    [OP_WINDOW] = d_window, [OP_FOLD] = d_fold,
    [OP_CONCAT] = d_concat, [OP_GATHER] = d_gather, [OP_SCATTER] = d_scatter, [OP_CUMSUM] = d_cumsum,
    [OP_SUM] = d_sum, [OP_MAXR] = d_maxr, [OP_CONTRACT] = d_contract,
    [OP_MARK] = d_same, [OP_STOP] = d_same,
    /* nothing flows through CONST FORMAL IOTA DATA SIGN FLOOR NOT IDIV LT LE EQ AND OR BITS ARGSORT ARGMAX; LOOP, COND,
       OUT: below */
};

/* ---- The walk. */

/* Loops that differ in nothing but their list of results: one widest loop stands for all of them. */
typedef struct {
    Node *wide;                  /* with the results of all */
    int left;                    /* how many of them the walk has not come to */
    Node **cot;                  /* of wide's results */
} Twins;

typedef struct {
    Dag d;
    Flow f;
    Node **cot;                  /* by position */
    Twins **twins;               /* by position: LOOP and COND */
} Walk;

static void flow(Walk *w, Node *x, Node *g)
{
    int i = dag_find(&w->d, x);
    if (!g || i < 0 || !w->d.live[i]) return;
    assert(g->dt == x->dt && g->rank == x->rank && !memcmp(g->dim, x->dim, sizeof g->dim));
    w->cot[i] = w->cot[i] ? n_bin(OP_ADD, w->cot[i], g) : g;
}

static void find_twins(Walk *w)
{
    VEC(Twins *) groups = {0};
    for (int i = 0; i < w->d.n; i++) {
        Node *x = w->d.node[i];
        if (!is_struct(x) || !w->d.live[i]) continue;
        Twins *t = NULL;
        for (int j = 0; j < groups.n && !t; j++) if (loop_same(groups.at[j]->wide, x)) t = groups.at[j];
        if (!t) { t = NEW(Twins); t->wide = x; PUSH(groups, t); }
        else t->wide = loop_union(t->wide, x);
        t->left++;
        w->twins[i] = t;
    }
    for (int j = 0; j < groups.n; j++)
        groups.at[j]->cot = zalloc((size_t)groups.at[j]->wide->a.r[0]->nr, sizeof(Node *));
}

/* The cotangent of one result of a loop or cond waits there until all results have been seen. */
static void out_cotangent(Walk *w, Node *out, Node *g)
{
    Twins *t = w->twins[dag_find(&w->d, out->in[0])];
    const Node *s = out->in[0];
    int k = t->wide == s ? (int)out->a.k : loop_find_result(t->wide->a.r[0], s->a.r[0], (int)out->a.k);
    t->cot[k] = t->cot[k] ? n_bin(OP_ADD, t->cot[k], g) : g;
}

/* used[i]: the results need formal i. */
static bool *formals_used(int np, Node *const *formal, int nr, Node *const *result)
{
    Dag d = dag_new(nr, result);
    bool *used = zalloc((size_t)np, sizeof *used);
    for (int i = 0; i < np; i++) used[i] = dag_find(&d, formal[i]) >= 0;
    return used;
}

static Node *zeros_of(const Node *x) { return n_splat((Dt)x->dt, 0, x->rank, x->dim); }

/* ---- COND: the same predicate, each side the vjp of its own side, recomputing inside. */

/* The new formals: the captures as they were, then one for each result that has a cotangent. */
static int cotangent_formals(const Region *r, Node *const *cot, Node **formal, Node **inner)
{
    int np = r->np;
    memcpy(formal, r->formal, sizeof *formal * (size_t)r->np);
    for (int k = 0; k < r->nr; k++) {
        if (!cot[k]) continue;
        inner[k] = n_formal(np, (Dt)r->result[k]->dt, r->result[k]->rank, r->result[k]->dim);
        formal[np++] = inner[k];
    }
    return np;
}

static void cond_adjoint(Walk *w, Node *x, Node *const *cot)
{
    Region *then = x->a.r[0], *els = x->a.r[1], *side[2];
    int most = then->np + then->nr, nw = 0, n = 0;
    Node **formal = zalloc((size_t)most, sizeof *formal), **inner = zalloc((size_t)then->nr, sizeof *inner);
    Node **wrt = zalloc((size_t)then->np, sizeof *wrt), **ops = zalloc((size_t)then->np, sizeof *ops);
    Node **g0 = zalloc((size_t)then->np, sizeof *g0), **g1 = zalloc((size_t)then->np, sizeof *g1);
    int np = cotangent_formals(then, cot, formal, inner);
    for (int i = 0; i < then->np; i++)
        if (dag_live(&w->d, x->in[i + 1])) { ops[nw] = x->in[i + 1]; wrt[nw++] = then->formal[i]; }
    walk(then->nr, then->result, inner, nw, wrt, w->f, g0);
    walk(els->nr, els->result, inner, nw, wrt, w->f, g1);
    for (int j = 0; j < nw; j++) {
        if (!g0[j] && !g1[j]) continue;
        g0[n] = g0[j] ? g0[j] : zeros_of(wrt[j]);
        g1[n] = g1[j] ? g1[j] : zeros_of(wrt[j]);
        ops[n++] = ops[j];
    }
    if (!n) return;
    uint8_t *fkind = zalloc((size_t)np, 1), *rkind = zalloc((size_t)n, 1);
    memset(fkind, K_CAPTURE, (size_t)np);
    memset(rkind, K_STACK, (size_t)n);
    side[0] = region_new(np, formal, fkind, n, g0, rkind);
    side[1] = region_new(np, formal, fkind, n, g1, rkind);
    bool *u0 = formals_used(np, formal, n, g0), *u1 = formals_used(np, formal, n, g1);
    Node **cap = zalloc((size_t)np, sizeof *cap);
    for (int i = 0; i < then->np; i++) cap[i] = u0[i] || u1[i] ? x->in[i + 1] : zeros_of(x->in[i + 1]);
    for (int k = 0, i = then->np; k < then->nr; k++) if (cot[k]) cap[i++] = cot[k];
    Node *back = n_cond(x->in[0], np, cap, side[0], side[1]);
    for (int j = 0; j < n; j++) flow(w, ops[j], n_out(back, j));
}

/* ---- LOOP: see the table at the head. */

typedef struct {
    Node *loop; Region *r;
    Node *const *cot;            /* of the loop's results, outside */
    bool *formal;                /* live formals */
    bool *carried;               /* by result: a CARRY whose cotangent is carried */
    Node **in;                   /* operand by formal (INDEX: NULL) */
    int np, nr;                  /* the reverse region: formals, their operands, results, kinds */
    Node **pf, **po, **res; uint8_t *fk, *rk;
    Node **inner;                /* by result: its cotangent, inside */
    Node **wrt, **grad; int nw, *which;     /* live formals and their cotangents inside */
} Reverse;

/* The results whose cotangents can reach each other through the turns: an upper bound, since a STOP further in is not
   looked for. */
static void find_carried(Reverse *v, Flow f)
{
    Region *r = v->r;
    Dag d = dag_new(r->nr, r->result);
    dag_flow(&d, v->nw, v->wrt, f);
    for (int k = 0; k < r->nr; k++) v->carried[k] = v->cot[k] && r->rkind[k] == K_CARRY;
    for (bool grown = true; grown;) {
        bool *got = zalloc((size_t)d.n, sizeof *got);
        for (int k = 0; k < r->nr; k++)
            if (v->cot[k] || v->carried[k]) got[dag_find(&d, r->result[k])] = true;
        for (int i = d.n - 1; i >= 0; i--)
            for (int j = 0; got[i] && d.live[i] && j < d.node[i]->nin; j++) got[dag_find(&d, d.node[i]->in[j])] = true;
        grown = false;
        for (int i = 0; i < r->np; i++) {
            int p = dag_find(&d, r->formal[i]);
            if (r->fkind[i] != K_CARRY || !v->formal[i] || p < 0 || !got[p]) continue;
            int k = loop_carry_result(r, i);
            if (!v->carried[k]) v->carried[k] = grown = true;
        }
    }
}

static void add_formal(Reverse *v, int k, Kind kind, Node *operand)
{
    Node *x = v->r->result[k];
    v->inner[k] = n_formal(v->np, (Dt)x->dt, x->rank, x->dim);
    v->pf[v->np] = v->inner[k];
    v->fk[v->np] = (uint8_t)kind;
    v->po[v->np++] = operand;
}

/* The vjp of the body over its formals and one formal more for each cotangent of a result. */
static void reverse_body(Reverse *v, Flow f)
{
    Region *r = v->r;
    v->np = r->np;
    for (int k = 0; k < r->nr; k++) {
        v->inner[k] = NULL;
        if (r->rkind[k] == K_CARRY && v->carried[k])
            add_formal(v, k, K_CARRY, v->cot[k] ? v->cot[k] : zeros_of(r->result[k]));
        else if (r->rkind[k] != K_CARRY && v->cot[k])
            add_formal(v, k, r->rkind[k] == K_SUM ? K_CAPTURE : K_ITEM, v->cot[k]);
    }
    walk(r->nr, r->result, v->inner, v->nw, v->wrt, f, v->grad);
}

/* Carries that turned out to have no cotangent, neither from outside nor from a turn, are taken out; true if there was
   one. */
static bool drop_uncarried(Reverse *v)
{
    bool dropped = false;
    for (int j = 0; j < v->nw; j++) {
        if (v->r->fkind[v->which[j]] != K_CARRY || v->grad[j]) continue;
        int k = loop_carry_result(v->r, v->which[j]);
        if (v->carried[k] && !v->cot[k]) { v->carried[k] = false; dropped = true; }
    }
    return dropped;
}

/* The forward loop with the carry-ins asked for as further STACKs, and where these stand. */
static Node *widen_loop(const Reverse *v, const bool *need, int *at)
{
    Region *r = v->r;
    Node **res = zalloc((size_t)r->np, sizeof *res);
    uint8_t *kind = zalloc((size_t)r->np, 1);
    int n = 0;
    for (int i = 0; i < r->np; i++) {
        if (r->fkind[i] != K_CARRY || !need[i]) continue;
        at[i] = -1;
        for (int k = 0; k < r->nr; k++) if (r->rkind[k] == K_STACK && r->result[k] == r->formal[i]) at[i] = k;
        if (at[i] >= 0) continue;
        at[i] = r->nr + n;
        res[n] = r->formal[i];
        kind[n++] = K_STACK;
    }
    return n ? loop_more_results(v->loop, n, res, kind) : v->loop;
}

static void add_result(Reverse *v, Node *x, Kind kind)
{
    v->res[v->nr] = x;
    v->rk[v->nr++] = (uint8_t)kind;
}

/* Results: cotangents of CARRY, ITEM and CAPTURE formals, in this order of kinds; at[j]: where that of wrt j stands, or
   -1. */
static void reverse_results(Reverse *v, int *at)
{
    static const struct { Kind forward, reverse; } row[] = {{K_ITEM, K_STACK}, {K_CAPTURE, K_SUM}};
    for (int j = 0; j < v->nw; j++) at[j] = -1;
    for (int k = 0; k < v->r->nr; k++) {              /* a carry without a live formal still needs its place */
        if (v->r->rkind[k] != K_CARRY || !v->carried[k]) continue;
        Node *next = NULL;
        for (int j = 0; j < v->nw; j++) {
            if (v->r->fkind[v->which[j]] != K_CARRY || loop_carry_result(v->r, v->which[j]) != k) continue;
            next = v->grad[j];
            at[j] = v->nr;
        }
        add_result(v, next ? next : zeros_of(v->r->result[k]), K_CARRY);
    }
    for (int t = 0; t < 2; t++)
        for (int j = 0; j < v->nw; j++) {
            if (v->r->fkind[v->which[j]] != row[t].forward || !v->grad[j]) continue;
            at[j] = v->nr;
            add_result(v, v->grad[j], row[t].reverse);
        }
}

static Reverse reverse_new(const Walk *w, Node *loop, Node *const *cot)
{
    Region *r = loop->a.r[0];
    size_t most = (size_t)(r->np + r->nr);
    Reverse v = {.loop = loop, .r = r, .cot = cot, .formal = live_formals(&w->d, loop)};
    v.carried = zalloc(most, sizeof *v.carried);
    v.in = zalloc(most, sizeof *v.in);
    v.pf = zalloc(most, sizeof *v.pf); v.po = zalloc(most, sizeof *v.po); v.res = zalloc(most, sizeof *v.res);
    v.fk = zalloc(most, 1); v.rk = zalloc(most, 1);
    v.inner = zalloc(most, sizeof *v.inner);
    v.wrt = zalloc(most, sizeof *v.wrt); v.grad = zalloc(most, sizeof *v.grad); v.which = zalloc(most, sizeof *v.which);
    loop_flow(r, v.formal, w->f);
    for (int i = 0, in = 0; i < r->np; i++) {
        if (r->fkind[i] == K_INDEX) continue;
        v.in[i] = loop->in[in++];
        if (v.formal[i]) { v.which[v.nw] = i; v.wrt[v.nw++] = r->formal[i]; }
    }
    return v;
}

static void loop_adjoint(Walk *w, Node *loop, Node *const *cot)
{
    Reverse v = reverse_new(w, loop, cot);
    Region *r = v.r;
    find_carried(&v, w->f);
    do reverse_body(&v, w->f); while (drop_uncarried(&v));

    int *at = zalloc((size_t)v.nw, sizeof *at), *stack = zalloc((size_t)r->np, sizeof *stack);
    reverse_results(&v, at);
    if (!v.nr) return;
    memcpy(v.pf, r->formal, sizeof *v.pf * (size_t)r->np);
    bool *need = formals_used(r->np, r->formal, v.nr, v.res);
    Node *wide = widen_loop(&v, need, stack);
    for (int i = 0; i < r->np; i++) {                 /* a formal that is not needed keeps its place, at no cost */
        bool carry = r->fkind[i] == K_CARRY;
        v.fk[i] = carry ? K_ITEM : r->fkind[i];
        if (r->fkind[i] == K_INDEX) continue;
        if (need[i]) { v.po[i] = carry ? n_out(wide, stack[i]) : v.in[i]; continue; }
        int32_t dim[MAXDIM] = {(int32_t)loop->a.k};
        for (int j = 0; j < v.in[i]->rank && j < MAXDIM - 1; j++) dim[j + 1] = v.in[i]->dim[j];
        v.po[i] = carry ? n_splat((Dt)v.in[i]->dt, 0, v.in[i]->rank + 1, dim) : zeros_of(v.in[i]);
    }
    int nin = 0;
    for (int i = 0; i < v.np; i++) if (v.fk[i] != K_INDEX) v.po[nin++] = v.po[i];
    Region *body = region_new(v.np, v.pf, v.fk, v.nr, v.res, v.rk);
    Node *back = n_loop((int32_t)loop->a.k, !loop->a.reverse, body, nin, v.po);
    for (int j = 0; j < v.nw; j++) if (at[j] >= 0) flow(w, v.in[v.which[j]], n_out(back, at[j]));
}

static void struct_adjoint(Walk *w, Twins *t)
{
    if (--t->left > 0) return;
    for (int k = 0; k < t->wide->a.r[0]->nr; k++) {
        if (!t->cot[k]) continue;
        (t->wide->op == OP_LOOP ? loop_adjoint : cond_adjoint)(w, t->wide, t->cot);
        return;
    }
}

static void walk(int nr, Node *const *result, Node *const *cot, int nw, Node *const *wrt, Flow f, Node **grad)
{
    Walk w = {.d = dag_new(nr, result), .f = f};
    w.cot = zalloc((size_t)w.d.n, sizeof *w.cot);
    w.twins = zalloc((size_t)w.d.n, sizeof *w.twins);
    dag_flow(&w.d, nw, wrt, w.f);
    find_twins(&w);
    for (int i = 0; i < nr; i++) if (dt_float((Dt)result[i]->dt)) flow(&w, result[i], cot[i]);
    for (int i = w.d.n - 1; i >= 0; i--) {
        Node *x = w.d.node[i], *g = w.cot[i];
        if (w.twins[i]) { struct_adjoint(&w, w.twins[i]); continue; }
        if (!g) continue;
        if (x->op == OP_OUT) { if (w.twins[dag_find(&w.d, x->in[0])]) out_cotangent(&w, x, g); continue; }
        if (!passes(x, w.f)) continue;
        for (int k = 0; k < x->nin; k++)
            if (dag_live(&w.d, x->in[k])) flow(&w, x->in[k], adjoint[x->op](x, k, g));
    }
    for (int j = 0; j < nw; j++) {
        int i = dag_find(&w.d, wrt[j]);
        grad[j] = i >= 0 ? w.cot[i] : NULL;
    }
}

void vjp(int nr, Node *const *result, Node *const *cot, int nw, Node *const *wrt, int64_t tag, Node **grad)
{
    walk(nr, result, cot, nw, wrt, (Flow){.tag = tag, .also = tag}, grad);
}

bool flows_past(Node *x, Node *to, int64_t tag, int64_t also)
{
    Dag d = dag_new(1, &x);
    dag_flow(&d, 1, &to, (Flow){.tag = tag, .also = also});
    return dag_live(&d, x);
}
