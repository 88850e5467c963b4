/* lanes.c: loops over time, lane by lane.

   A level over a sequence under a batch of B lanes is a loop over time whose states are [B, ..]: in each turn all lanes make one
   step. Where no lane sees another, the loop over time may as well stand inside one over the lanes:

       loop t < T { states [B, ..] }   =   loop l < B/g { loop t < T { states [g, ..] } }

   The outer loop carries nothing: its turns are shared by the threads, which do not meet until all are done, and the states
   of g lanes stay in a core's first caches. g follows from shapes only.

   Which axis of which node is the lane's is found for all axes at once: axes that an operation maps onto each other are one
   class (union-find), in the body and the regions inside it. A class is broken where something along it is mixed, picked or
   numbered. Where the lane's axis is the first unbroken class that every state has once, nodes keep their rank, and only the
   size of that axis becomes g. A sum over lanes leaves in each turn the part of g lanes; that will do where nothing but sums and
   multiples become of it, up to a result of the loop, which is then summed over the turns of the outer loop.
   Requires: regions without MARK and STOP.  Guarantees: same results; a loop that is not split is as it was. */
#include "ops.h"
#include <stdlib.h>
#include <string.h>

enum {
    STATE_BYTES = 4096,          /* as many lanes go together as make their states so large: what is called for less costs more than it spares */
    HEAVY_STATE = 1 << 20,       /* a lane's states so large are shared out well as they are, */
    HEAVY_PARTS = 8,             /* unless there are many lanes */
    UNIFORM_BYTES = 1 << 16      /* what is the same in all lanes is computed in each: no more than this */
};

/* ---- classes of axes */

/* A region where it stands: a body that two loops share stands in two places. */
typedef struct Place Place;
struct Place {
    const Region *r;
    PtrMap first;                /* node -> class of its axis 0, plus 1 */
    PtrMap inside;               /* LOOP, COND -> Place *[2] */
    PtrMap partial;              /* node -> itself, if it is a part of a sum over lanes */
};

typedef struct {
    VEC(int) up;                 /* union-find */
    VEC(bool) broken;
    VEC(Place *) place;
    int lane;                    /* the class that was chosen */
    int32_t size, group;         /* lanes; lanes of a turn */
} Lanes;

static int class_of(Lanes *l, Place *p, const Node *x, int axis)
{
    void **slot = ptrmap_at(&p->first, x);
    if (!*slot) {
        *slot = (void *)(intptr_t)(l->up.n + 1);
        for (int i = 0; i < (x->rank ? x->rank : 1); i++) {
            int own = l->up.n;
            PUSH(l->up, own);
            PUSH(l->broken, false);
        }
    }
    int c = (int)(intptr_t)*slot - 1 + axis;
    while (l->up.at[c] != c) {
        int next = l->up.at[l->up.at[c]];
        l->up.at[c] = next;
        c = next;
    }
    return c;
}

static void unite(Lanes *l, int a, int b)
{
    if (a == b)
        return;
    l->up.at[b] = a;
    l->broken.at[a] |= l->broken.at[b];
}

typedef struct { Lanes *l; Place *p; Node *x; } At;        /* the node that a rule looks at */

static int own(At *at, int axis) { return class_of(at->l, at->p, at->x, axis); }
static int operand(At *at, int k, int axis) { return class_of(at->l, at->p, at->x->in[k], axis); }
static void same(At *at, int axis, int k, int axis_k) { unite(at->l, own(at, axis), operand(at, k, axis_k)); }
static void broken(At *at, int class) { at->l->broken.at[class] = true; }
static void break_own(At *at, int axis) { broken(at, own(at, axis)); }
static void break_operand(At *at, int k, int axis) { broken(at, operand(at, k, axis)); }

/* ---- one rule per operation */

typedef void Rule(At *at);

static void rule_none(At *at) { (void)at; }

static void rule_same(At *at)
{
    for (int k = 0; k < at->x->nin; k++)
        for (int i = 0; i < at->x->in[k]->rank; i++)
            same(at, i, k, i);
}

static void rule_data(At *at)
{
    for (int i = 0; i < at->x->rank; i++)
        break_own(at, i);
}

static void rule_along(At *at)   /* one axis is special */
{
    rule_same(at);
    break_own(at, at->x->a.axis);
}

static void rule_iota(At *at) { break_own(at, at->x->a.axis); }

static void rule_map(At *at)
{
    for (int i = 0; i < at->x->rank; i++)
        if (at->x->a.map[i] >= 0)
            same(at, i, 0, at->x->a.map[i]);
}

/* An axis stays one where as much stands before it as before, and as much behind it. */
static void rule_reshape(At *at)
{
    const Node *x = at->x, *y = x->in[0];
    uint32_t kept = 0;
    int64_t before = 1, size = n_size(x);
    for (int i = 0; i < x->rank; before *= x->dim[i++]) {
        int64_t b = 1;
        int j = 0;
        while (j < y->rank && (b < before || (b == before && y->dim[j] == 1 && x->dim[i] != 1)))
            b *= y->dim[j++];
        if (size && j < y->rank && b == before && y->dim[j] == x->dim[i] && x->dim[i] != 1) {
            same(at, i, 0, j);
            kept |= 1u << j;
        } else {
            break_own(at, i);
        }
    }
    for (int j = 0; j < y->rank; j++)
        if (!(kept >> j & 1))
            break_operand(at, 0, j);
}

static void rule_range(At *at)   /* SLICE, PAD */
{
    const Node *x = at->x, *y = x->in[0];
    for (int i = 0; i < x->rank; i++)
        if (x->dim[i] == y->dim[i] && x->a.start[i] == 0 && x->a.step[i] == 1) {
            same(at, i, 0, i);
        } else {
            break_own(at, i);
            break_operand(at, 0, i);
        }
}

/* The axis of the wide side (that of the windows) and the one after it come from one axis of the other. */
static void rule_window(At *at)
{
    const Node *x = at->x;
    bool fold = x->op == OP_FOLD;
    int narrow = fold ? x->rank : x->in[0]->rank;
    for (int i = 0; i < narrow; i++) {
        int wide = i <= x->a.axis ? i : i + 1;
        if (i != x->a.axis) {
            same(at, fold ? i : wide, 0, fold ? wide : i);
            continue;
        }
        for (int j = 0; j < 2; j++)
            if (j == 0 || fold)
                break_operand(at, 0, i + j);
        for (int j = 0; j < 2; j++)
            if (j == 0 || !fold)
                break_own(at, i + j);
    }
}

static void rule_gather(At *at)
{
    const Node *x = at->x, *y = x->in[0], *idx = x->in[1];
    int nb = x->a.axis;
    for (int i = 0; i < nb; i++)
        same(at, i, 0, i);
    for (int i = 0; i < idx->rank; i++)
        same(at, i, 1, i);
    for (int i = nb + 1; i < y->rank; i++)
        same(at, idx->rank + i - nb - 1, 0, i);
    break_operand(at, 0, nb);
}

static void rule_scatter(At *at)
{
    const Node *x = at->x, *d = x->in[0], *idx = x->in[1];
    int nb = x->a.axis;
    for (int i = 0; i < idx->rank; i++)
        if (i < nb) {
            same(at, i, 0, i);
            same(at, i, 1, i);
        } else {
            break_operand(at, 0, i);
            break_operand(at, 1, i);
        }
    for (int i = idx->rank; i < d->rank; i++)
        same(at, nb + 1 + i - idx->rank, 0, i);
    break_own(at, nb);
}

static void rule_reduce(At *at)
{
    const Node *x = at->x;
    uint32_t axes = x->op == OP_ARGMAX ? 1u << x->a.axis : x->a.axes;
    for (int i = 0, o = 0; i < x->in[0]->rank; i++)
        if (!(axes >> i & 1))
            same(at, o++, 0, i);
        else if (x->op != OP_SUM)
            break_operand(at, 0, i);
}

static void rule_contract(At *at)
{
    const Node *x = at->x;
    for (int k = 0; k < 2; k++) {
        const int8_t *label = k ? x->a.lb : x->a.la;
        for (int i = 0; i < x->in[k]->rank; i++) {
            int o = 0;
            while (o < x->rank && x->a.lo[o] != label[i])
                o++;
            if (o < x->rank)
                same(at, o, k, i);
        }
    }
    for (int i = 0; i < x->in[0]->rank; i++)          /* summed ones that line up */
        for (int j = 0; j < x->in[1]->rank; j++)
            if (x->a.la[i] == x->a.lb[j])
                unite(at->l, operand(at, 0, i), operand(at, 1, j));
}

static Place *look_at(Lanes *l, const Region *r);

static Place **places_inside(At *at)
{
    void **slot = ptrmap_at(&at->p->inside, at->x);
    if (!*slot) {
        Place **q = NEWN(Place *, 2);
        *slot = q;               /* the map may grow below */
        for (int i = 0; i < 2 && at->x->a.r[i]; i++)
            q[i] = look_at(at->l, at->x->a.r[i]);
        return q;
    }
    return *slot;
}

static void same_all(Lanes *l, Place *p, const Node *x, int from, Place *q, const Node *y)
{
    for (int i = 0; i < y->rank; i++)
        unite(l, class_of(l, p, x, i + from), class_of(l, q, y, i));
}

static void rule_cond(At *at)
{
    Place **q = places_inside(at);
    for (int side = 0; side < 2; side++)
        for (int i = 0; i < q[side]->r->np; i++)
            same_all(at->l, at->p, at->x->in[i + 1], 0, q[side], q[side]->r->formal[i]);
    for (int i = 0; i < q[0]->r->nr; i++)
        same_all(at->l, q[0], q[0]->r->result[i], 0, q[1], q[1]->r->result[i]);
}

static void carries(Lanes *l, Place *p)
{
    for (int i = 0; i < p->r->np; i++)
        if (p->r->fkind[i] == K_CARRY)
            same_all(l, p, p->r->result[loop_carry_result(p->r, i)], 0, p, p->r->formal[i]);
}

static void rule_loop(At *at)
{
    Place *q = places_inside(at)[0];
    const Region *r = q->r;
    for (int i = 0, k = 0; i < r->np; i++) {
        if (r->fkind[i] == K_INDEX)
            continue;
        bool item = r->fkind[i] == K_ITEM;
        if (item)
            break_operand(at, k, 0);
        same_all(at->l, at->p, at->x->in[k], item, q, r->formal[i]);
        k++;
    }
    carries(at->l, q);
}

static void rule_out(At *at)
{
    const Node *s = at->x->in[0];
    At of = { at->l, at->p, (Node *)s };
    Place **q = places_inside(&of);
    bool stack = s->op == OP_LOOP && s->a.r[0]->rkind[at->x->a.k] == K_STACK;
    if (stack)
        break_own(at, 0);
    for (int side = 0; side < 2 && q[side]; side++)
        same_all(at->l, at->p, at->x, stack, q[side], q[side]->r->result[at->x->a.k]);
}

static Rule *const rule[NOPS] = {
    [OP_CONST] = rule_none, [OP_FORMAL] = rule_none, [OP_IOTA] = rule_iota, [OP_DATA] = rule_data,
    [OP_BCAST] = rule_map, [OP_PERM] = rule_map, [OP_RESHAPE] = rule_reshape, [OP_SLICE] = rule_range, [OP_PAD] = rule_range,
    [OP_WINDOW] = rule_window, [OP_FOLD] = rule_window, [OP_CONCAT] = rule_along, [OP_GATHER] = rule_gather,
    [OP_SCATTER] = rule_scatter, [OP_CUMSUM] = rule_along, [OP_ARGSORT] = rule_along, [OP_SUM] = rule_reduce,
    [OP_MAXR] = rule_reduce, [OP_ARGMAX] = rule_reduce, [OP_CONTRACT] = rule_contract, [OP_COND] = rule_cond,
    [OP_LOOP] = rule_loop, [OP_OUT] = rule_out, [OP_MARK] = rule_same, [OP_STOP] = rule_same,
};

static Place *look_at(Lanes *l, const Region *r)
{
    Place *p = NEW(Place);
    Node **order;
    int n = graph_order(r->nr, r->result, &order);
    p->r = r;
    PUSH(l->place, p);
    for (int i = 0; i < n; i++) {
        At at = { l, p, order[i] };
        (rule[order[i]->op] ? rule[order[i]->op] : rule_same)(&at);
    }
    return p;
}

static void forget(Lanes *l)
{
    for (int i = 0; i < l->place.n; i++) {
        ptrmap_free(&l->place.at[i]->first);
        ptrmap_free(&l->place.at[i]->inside);
        ptrmap_free(&l->place.at[i]->partial);
    }
}

/* ---- the choice */

/* The axis of x that is the lane's; -1: none. */
static int lane_axis(Lanes *l, Place *p, const Node *x)
{
    for (int i = 0; i < x->rank; i++)
        if (class_of(l, p, x, i) == l->lane)
            return i;
    return -1;
}

static bool once(Lanes *l, Place *p, const Node *x)
{
    int n = 0;
    for (int i = 0; i < x->rank; i++)
        n += class_of(l, p, x, i) == l->lane;
    return n <= 1;
}

static int64_t bytes_of(const Node *x) { return n_size(x) * dt_size((Dt)x->dt); }

static bool is_partial(const Place *p, const Node *x) { return ptrmap_get(&p->partial, x); }

static bool is_zero(const Node *x)
{
    double v;
    return is_const(x, &v) && v == 0;
}

/* Is a sum over lanes made here? */
static bool sums_lanes(Lanes *l, Place *p, const Node *x)
{
    if (x->op != OP_SUM && x->op != OP_CONTRACT)
        return false;
    bool any = false;
    for (int k = 0; k < x->nin; k++)
        any |= lane_axis(l, p, x->in[k]) >= 0;
    return any && lane_axis(l, p, x) < 0;
}

/* How many operands are parts of sums, and are the others zeros? */
static int partial_operands(const Place *p, const Node *x, bool *rest_zero)
{
    int n = 0;
    *rest_zero = true;
    for (int k = 0; k < x->nin; k++)
        if (is_partial(p, x->in[k]))
            n++;
        else
            *rest_zero &= is_zero(x->in[k]);
    return n;
}

/* May x be made of parts, and is it linear in them? */
static bool stays_partial(Lanes *l, const Place *p, const Node *x)
{
    bool rest_zero;
    int n = partial_operands(p, x, &rest_zero);
    if (lane_axis(l, (Place *)p, x) >= 0)
        return false;
    switch (x->op) {
    case OP_NEG: case OP_BCAST: case OP_PERM: case OP_RESHAPE: case OP_SLICE: case OP_PAD: case OP_WINDOW: case OP_FOLD: case OP_SUM: case OP_CUMSUM:
        return true;
    case OP_ADD: case OP_SUB: case OP_CONCAT: return rest_zero;
    case OP_MUL: case OP_CONTRACT: return n == 1;
    case OP_DIV: return !is_partial(p, x->in[1]);
    default: return false;
    }
}

static bool result_partial(Place **q, const Node *out)
{
    int k = (int)out->a.k;
    for (int side = 0; side < 2 && q[side]; side++)
        if (is_partial(q[side], q[side]->r->result[k]))
            return true;
    return false;
}

/* Marks the parts of sums over lanes; false where one is used otherwise. */
static bool mark_partial(Lanes *l, Place *p)
{
    Node **order;
    int n = graph_order(p->r->nr, p->r->result, &order);
    for (int i = 0; i < n; i++) {
        Node *x = order[i];
        bool rest_zero, part = sums_lanes(l, p, x);
        if (x->op == OP_OUT) {
            At at = { l, p, x->in[0] };
            Place **q = places_inside(&at);
            part = result_partial(q, x);
            for (int side = 0; part && side < 2 && q[side]; side++) {
                Node *y = q[side]->r->result[x->a.k];
                if (!is_partial(q[side], y) && !is_zero(y))
                    return false;
            }
        } else if (partial_operands(p, x, &rest_zero)) {
            if (part || !stays_partial(l, p, x))
                return false;
            part = true;
        }
        if (op_row[x->op].attrs & A_REGION) {
            At at = { l, p, x };
            Place **q = places_inside(&at);
            for (int side = 0; side < 2 && q[side]; side++)
                if (!mark_partial(l, q[side]))
                    return false;
        }
        if (part)
            *ptrmap_at(&p->partial, x) = x;
    }
    for (int i = 0; i < p->r->nr; i++)
        if (p->r->rkind[i] == K_CARRY && is_partial(p, p->r->result[i]))
            return false;
    return true;
}

typedef struct { int64_t state, uniform, work, uniform_work, weights; } Sizes;

static void count_node(Lanes *l, Place *p, const Node *x, Sizes *s)
{
    if (x->dt == NDT || op_row[x->op].group == G_LEAF || op_row[x->op].group == G_VIEW)
        return;
    if (lane_axis(l, p, x) < 0 && !is_partial(p, x))
        s->uniform_work += n_size(x);
    s->work += n_size(x);
    if (x->op == OP_CONTRACT)
        for (int k = 0; k < 2; k++)
            if (lane_axis(l, p, x->in[k]) < 0)
                s->weights += bytes_of(x->in[k]);
}

/* Is every node's lane axis the only one? What a split would cost and spare. */
static bool measure(Lanes *l, const Node *loop, Sizes *s)
{
    *s = (Sizes){ 0 };
    for (int i = 0; i < l->place.n; i++) {
        Place *p = l->place.at[i];
        Node **order;
        int n = graph_order(p->r->nr, p->r->result, &order);
        for (int j = 0; j < n; j++) {
            if (!once(l, p, order[j]))
                return false;
            count_node(l, p, order[j], s);
        }
    }
    Place *p = l->place.at[0];
    for (int i = 0; i < p->r->np; i++) {
        if (!once(l, p, p->r->formal[i]))
            return false;
        if (p->r->fkind[i] == K_CARRY && lane_axis(l, p, p->r->formal[i]) >= 0)
            s->state += bytes_of(p->r->formal[i]);
    }
    for (int i = 0; i < p->r->nr; i++)
        if (is_partial(p, p->r->result[i]))
            s->weights += bytes_of(p->r->result[i]) * (p->r->rkind[i] == K_STACK ? loop->a.k : 1);
        else if (lane_axis(l, p, p->r->result[i]) < 0)
            s->uniform += bytes_of(p->r->result[i]) * (p->r->rkind[i] == K_STACK ? loop->a.k : 1) * l->size;
    return true;
}

static bool has_room(const Node *loop)          /* one more axis everywhere */
{
    for (int i = 0; i < loop->nin; i++)
        if (loop->in[i]->rank == MAXDIM)
            return false;
    const Region *r = loop->a.r[0];
    for (int i = 0; i < r->nr; i++)
        if (r->result[i]->rank + (r->rkind[i] == K_STACK) == MAXDIM)
            return false;
    return true;
}

static const char *for_tests(void) { return getenv("NLC_LANE_BYTES"); }       /* instead of STATE_BYTES, and whatever it costs */

/* How many lanes go together; all of them: the loop stays as it is. */
static int32_t lanes_of_a_turn(const Lanes *l, const Sizes *s)
{
    int64_t least = for_tests() ? atoll(for_tests()) : STATE_BYTES, lane = s->state / l->size;
    int32_t g = 1;
    while (g < l->size && (l->size % g || lane * g < least))
        g++;
    return lane >= HEAVY_STATE && l->size / g < HEAVY_PARTS ? l->size : g;
}

static bool worth_it(const Lanes *l, const Sizes *s)
{
    if (!s->state || for_tests())
        return s->state;
    int64_t parts = l->size / l->group;
    return s->uniform / l->size * parts <= UNIFORM_BYTES && s->weights <= UNIFORM_BYTES && s->uniform_work * parts * 8 <= s->work;
}

static void forget_partial(Lanes *l)
{
    for (int i = 0; i < l->place.n; i++)
        ptrmap_free(&l->place.at[i]->partial);
}

/* The lane's class: an axis of the first state of numbers that may be it. */
static bool choose(Lanes *l, const Node *loop)
{
    Place *p = l->place.at[0];
    for (int i = 0; i < p->r->np; i++) {
        const Node *f = p->r->formal[i];
        if (p->r->fkind[i] != K_CARRY || !dt_float((Dt)f->dt) || !f->rank)
            continue;
        for (int a = 0; a < f->rank; a++) {
            Sizes s;
            l->lane = class_of(l, p, f, a);
            l->size = f->dim[a];
            if (l->size > 1 && !l->broken.at[l->lane] && mark_partial(l, p) && measure(l, loop, &s)) {
                l->group = lanes_of_a_turn(l, &s);
                if (worth_it(l, &s))
                    return l->group < l->size;
            }
            forget_partial(l);
        }
        return false;
    }
    return false;
}

/* ---- the rewriting */

static void lane_shape(Lanes *l, Place *p, const Node *x, int32_t *dim)
{
    int a = lane_axis(l, p, x);
    memcpy(dim, x->dim, sizeof x->dim);
    if (a >= 0)
        dim[a] = l->group;
}

static Region *narrowed(Lanes *l, Place *p);

static Node *narrow_node(Lanes *l, Place *p, Node *x, Node *const *in)
{
    int32_t dim[MAXDIM];
    Attr a;
    memcpy(&a, &x->a, sizeof a);
    At at = { l, p, x };
    Place **q = op_row[x->op].attrs & A_REGION ? places_inside(&at) : NULL;
    for (int i = 0; q && i < 2; i++)
        a.r[i] = q[i] ? narrowed(l, q[i]) : NULL;
    lane_shape(l, p, x, dim);
    return node((Op)x->op, (Dt)x->dt, x->rank, dim, x->nin, in, &a, x->loc);
}

/* The region with g lanes instead of all. */
static Region *narrowed(Lanes *l, Place *p)
{
    const Region *r = p->r;
    Region *own = region_new(r->np, r->formal, r->fkind, r->nr, r->result, r->rkind);
    PtrMap to = { 0 };
    int32_t dim[MAXDIM];
    Node **order;
    for (int i = 0; i < r->np; i++) {
        lane_shape(l, p, r->formal[i], dim);
        own->formal[i] = n_formal(i, (Dt)r->formal[i]->dt, r->formal[i]->rank, dim);
        *ptrmap_at(&to, r->formal[i]) = own->formal[i];
    }
    int n = graph_order(r->nr, r->result, &order);
    for (int i = 0; i < n; i++) {
        Node *x = order[i], **in = NEWN(Node *, x->nin + 1);
        if (x->op == OP_FORMAL)
            continue;
        for (int k = 0; k < x->nin; k++)
            in[k] = ptrmap_get(&to, x->in[k]);
        Node *y = narrow_node(l, p, x, in);
        *ptrmap_at(&to, x) = y;
    }
    for (int i = 0; i < r->nr; i++)
        own->result[i] = ptrmap_get(&to, r->result[i]);
    ptrmap_free(&to);
    return own;
}

/* [.., B, ..] -> [B/g, .., g, ..] */
static Node *in_parts(Node *x, int axis, int32_t g)
{
    int32_t dim[MAXDIM];
    int8_t map[MAXDIM];
    for (int i = 0; i <= x->rank; i++) {
        dim[i] = i < axis ? x->dim[i] : i == axis ? x->dim[i] / g : i == axis + 1 ? g : x->dim[i - 1];
        map[i] = (int8_t)(i == 0 ? axis : i <= axis ? i - 1 : i);
    }
    return n_perm(n_reshape(x, x->rank + 1, dim), map);
}

/* [B/g, .., g, ..] -> [.., B, ..], the lanes' axis being the given one of the result */
static Node *joined(Node *x, int axis)
{
    int32_t dim[MAXDIM];
    int8_t map[MAXDIM];
    for (int i = 0; i < x->rank; i++)
        map[i] = (int8_t)(i < axis ? i + 1 : i == axis ? 0 : i);
    Node *y = n_perm(x, map);
    for (int i = 0; i + 1 < y->rank; i++)
        dim[i] = i < axis ? y->dim[i] : i == axis ? y->dim[i] * y->dim[i + 1] : y->dim[i + 1];
    return n_reshape(y, y->rank - 1, dim);
}

static Node *first_part(Node *x)
{
    return n_reshape(n_slice1(x, 0, 0, 1, 1), x->rank - 1, x->dim + 1);
}

typedef struct { VEC(Node *) formal; VEC(uint8_t) kind; VEC(Node *) in; } Outer;       /* of the loop over lanes */

static Node *outer_formal(Outer *o, Node *x, Kind kind)
{
    bool item = kind == K_ITEM;
    Node *f = n_formal(o->formal.n, (Dt)x->dt, x->rank - item, x->dim + item);
    PUSH(o->formal, f);
    PUSH(o->kind, (uint8_t)kind);
    PUSH(o->in, x);
    return f;
}

/* What an operand of the loop is in the turn of g lanes. */
static Node *part_of(Lanes *l, Outer *o, Node *x, int axis)
{
    double v;
    if (axis < 0)
        return outer_formal(o, x, K_CAPTURE);
    if (is_const(x, &v)) {
        int32_t dim[MAXDIM];
        memcpy(dim, x->dim, sizeof dim);
        dim[axis] = l->group;
        return node(OP_CONST, (Dt)x->dt, x->rank, dim, 0, NULL, &x->a, x->loc);
    }
    return outer_formal(o, in_parts(x, axis, l->group), K_ITEM);
}

static Node **split(Lanes *l, const Node *loop)
{
    Place *p = l->place.at[0];
    const Region *r = p->r;
    Outer o = { 0 };
    Node **in = NEWN(Node *, loop->nin + 1), **out = NEWN(Node *, r->nr + 1);
    uint8_t *kind = NEWN(uint8_t, r->nr + 1);
    for (int i = 0, k = 0; i < r->np; i++) {
        if (r->fkind[i] == K_INDEX)
            continue;
        int a = lane_axis(l, p, r->formal[i]);
        in[k] = part_of(l, &o, loop->in[k], a < 0 ? a : a + (r->fkind[i] == K_ITEM));
        k++;
    }
    Node *inner = n_loop((int32_t)loop->a.k, loop->a.reverse, narrowed(l, p), loop->nin, in);
    for (int i = 0; i < r->nr; i++) {
        out[i] = n_out(inner, i);
        kind[i] = K_STACK;
    }
    Node *outer = n_loop(l->size / l->group, false, region_new(o.formal.n, o.formal.at, o.kind.at, r->nr, out, kind), o.in.n, o.in.at);
    for (int i = 0; i < r->nr; i++) {
        int a = lane_axis(l, p, r->result[i]);
        Node *x = n_out(outer, i);
        out[i] = is_partial(p, r->result[i]) ? n_sum(x, 1) : a < 0 ? first_part(x) : joined(x, a + (r->rkind[i] == K_STACK));
    }
    return out;
}

/* The values of the loop's results, made lane by lane; NULL if that cannot be. */
static Node **try_split(const Node *loop)
{
    Lanes l = { 0 };
    Node **out = NULL;
    if (loop->a.k > 0 && has_room(loop)) {
        look_at(&l, loop->a.r[0]);
        carries(&l, l.place.at[0]);
        if (choose(&l, loop))
            out = split(&l, loop);
    }
    forget(&l);
    return out;
}

/* ---- the pass */

static Node *with_regions(const Node *x, Node *const *in)
{
    Attr a;
    memcpy(&a, &x->a, sizeof a);
    for (int i = 0; i < 2 && a.r[i]; i++)
        a.r[i] = lanes_split(a.r[i]);
    return node((Op)x->op, NDT, 0, NULL, x->nin, in, &a, x->loc);
}

Region *lanes_split(Region *r)
{
    Region *own = region_new(r->np, r->formal, r->fkind, r->nr, r->result, r->rkind);
    PtrMap to = { 0 }, split_to = { 0 };
    Node **order;
    int n = graph_order(r->nr, r->result, &order);
    for (int i = 0; i < n; i++) {
        Node *x = order[i], *y = x, **in = NEWN(Node *, x->nin + 1), **out;
        for (int k = 0; k < x->nin; k++)
            in[k] = ptrmap_get(&to, x->in[k]);
        if (x->op == OP_OUT && (out = ptrmap_get(&split_to, x->in[0]))) {
            y = out[x->a.k];
        } else if (x->op == OP_LOOP || x->op == OP_COND) {
            y = node((Op)x->op, NDT, 0, NULL, x->nin, in, &x->a, x->loc);
            out = x->op == OP_LOOP ? try_split(y) : NULL;
            if (out)
                *ptrmap_at(&split_to, x) = out;
            else
                y = with_regions(y, y->in);
        } else if (x->nin) {
            y = node((Op)x->op, (Dt)x->dt, x->rank, x->dim, x->nin, in, &x->a, x->loc);
        }
        *ptrmap_at(&to, x) = y;
    }
    for (int i = 0; i < r->nr; i++)
        own->result[i] = ptrmap_get(&to, r->result[i]);
    ptrmap_free(&to);
    ptrmap_free(&split_to);
    return own;
}
