/* plan_view.c: views become strides.
   A node of a region is seen as VIEW (val, offset, stride per axis); a view operation only changes these. What no strides
   express (a reshape of a transposed tensor) becomes a val that copies.  Requires: no MARK or STOP matters any more.
   Guarantees: plan_view answers for every node that the region's results reach; every val knows its operands' views. */
#include "plan.h"
#include <assert.h>
#include <string.h>

bool op_reduces(int op)
{
    return op == OP_SUM || op == OP_MAXR;
}

/* ---- the region's table of nodes */

static struct Info *info_slot(Rplan *rp, Node *n)
{
    unsigned mask = (unsigned)rp->ninfo - 1, i = n->id * 2654435761u & mask;
    while (rp->info[i].node && rp->info[i].node != n)
        i = (i + 1) & mask;
    return &rp->info[i];
}

static void info_init(Rplan *rp, int n)
{
    rp->ninfo = 64;
    while (rp->ninfo < 2 * n)
        rp->ninfo *= 2;
    rp->info = NEWN(struct Info, rp->ninfo);
}

static void info_set(Rplan *rp, Node *n, View v)
{
    struct Info *slot = info_slot(rp, n);
    slot->node = n;
    slot->view = v;
}

View plan_view(Rplan *rp, Node *n)
{
    struct Info *slot = info_slot(rp, n);
    assert(slot->node);
    return slot->view;
}

/* ---- vals */

void dense_strides(int rank, const int32_t *dim, int64_t *stride)
{
    int64_t s = 1;
    for (int i = rank - 1; i >= 0; i--) {
        stride[i] = s;
        s *= dim[i];
    }
}

int val_layout(const Val *v, int32_t *dim)
{
    int rank = 0;
    for (int i = 0; i < v->rank; i++)
        if (!op_reduces(v->op) || !(v->axes >> i & 1))
            dim[rank++] = v->dim[i];
    return rank;
}

Val *val_new(Rplan *rp, Op op, Dt dt, Node *node, int rank, const int32_t *dim, int nin)
{
    Val *v = NEW(Val);
    v->op = (uint16_t)op;
    v->dt = (uint8_t)dt;
    v->node = node;
    v->rank = rank;
    for (int i = 0; i < rank; i++)
        v->dim[i] = dim[i];
    v->nin = nin;
    v->in = NEWN(View, nin ? nin : 1);
    v->id = rp->val.n;
    PUSH(rp->val, v);
    return v;
}

View val_view(Val *v)
{
    View w = { .val = v };
    int32_t dim[MAXDIM];
    int rank = val_layout(v, dim);
    dense_strides(rank, dim, w.stride);
    return w;
}

Val *val_copy(Rplan *rp, View from, Dt dt, int rank, const int32_t *dim)
{
    Val *v = val_new(rp, (Op)I_COPY, dt, NULL, rank, dim, 1);
    v->in[0] = from;
    return v;
}

int64_t val_size(const Val *v)
{
    int32_t dim[MAXDIM];
    int64_t n = 1;
    int rank = val_layout(v, dim);
    for (int i = 0; i < rank; i++)
        n *= dim[i];
    return n;
}

bool view_dense(const View *v, int rank, const int32_t *dim)
{
    int64_t s[MAXDIM];
    dense_strides(rank, dim, s);
    if (v->off || v->val->pure)
        return false;
    for (int i = 0; i < rank; i++)
        if (dim[i] > 1 && v->stride[i] != s[i])
            return false;
    return true;
}

/* ---- view operations: operand's view in, own view out */

static View view_bcast(const Node *n, View x)
{
    View v = x;
    for (int i = 0; i < n->rank; i++)
        v.stride[i] = n->a.map[i] < 0 ? 0 : x.stride[n->a.map[i]];
    return v;
}

static View view_slice(const Node *n, View x)
{
    for (int i = 0; i < n->rank; i++) {
        x.off += n->a.start[i] * x.stride[i];
        x.stride[i] *= n->a.step[i];
    }
    return x;
}

static View view_window(const Node *n, View x)
{
    View v = x;
    for (int i = 0, o = 0; i < n->in[0]->rank; i++) {
        v.stride[o++] = x.stride[i];
        if (i == n->a.axis)
            v.stride[o++] = x.stride[i];
    }
    return v;
}

/* Sums over axes of size 1 leave them out. */
static View view_drop(const Node *n, View x)
{
    View v = x;
    for (int i = 0, o = 0; i < n->in[0]->rank; i++)
        if (!(n->a.axes >> i & 1))
            v.stride[o++] = x.stride[i];
    return v;
}

/* A reshape by strides: groups of axes with equal products, in both shapes from the front; in each group the old axes
   have to lie as one axis. False if they do not. */
static bool view_reshape(const Node *n, View x, View *out)
{
    const Node *from = n->in[0];
    int rank[2] = { 0, n->rank };
    int64_t dim[MAXDIM], stride[MAXDIM];
    *out = (View){ .val = x.val, .off = x.off };
    if (n_size(n) == 0)
        return true;
    for (int i = 0; i < from->rank; i++)
        if (from->dim[i] != 1) {
            dim[rank[0]] = from->dim[i];
            stride[rank[0]++] = x.stride[i];
        }
    for (int i = 0, o = 0; i < rank[0];) {
        int j = i + 1, p = o + 1;
        if (o >= n->rank)
            return false;
        int64_t have = dim[i], want = n->dim[o];
        while (have != want)
            if (have < want)
                have *= dim[j++];
            else
                want *= n->dim[p++];
        for (int k = i; k + 1 < j; k++)
            if (stride[k] != stride[k + 1] * dim[k + 1])
                return false;
        int64_t s = stride[j - 1];
        for (int k = p - 1; k >= o; k--) {
            out->stride[k] = s;
            s *= n->dim[k];
        }
        i = j;
        o = p;
        while (i >= rank[0] && o < n->rank)       /* what is left are ones */
            out->stride[o++] = 0;
    }
    return true;
}

/* ---- from nodes to views */

static bool all_ones(const Node *x, uint32_t axes)
{
    for (int i = 0; i < x->rank; i++)
        if (axes >> i & 1 && x->dim[i] != 1)
            return false;
    return true;
}

static View leaf(Rplan *rp, Node *n)
{
    Val *v = val_new(rp, n->op, n->dt, n, n->rank, n->dim, 0);
    View w = val_view(v);
    if (n->op == OP_DATA) {
        Buf *b = NEW(Buf);
        b->space = SP_DATA;
        b->data = n;
        b->bytes = n_size(n) * dt_size(n->dt);
        v->buf = b;
        v->stored = true;
        return w;
    }
    v->pure = true;
    for (int i = 0; i < n->rank; i++)
        w.stride[i] = n->op == OP_IOTA && i == n->a.axis;
    return w;
}

static View zero_splat(Rplan *rp, Node *n)
{
    return leaf(rp, n_splat(n->dt, 0, n->rank, n->dim));
}

/* out[b.., i.., r..] = x[b.., idx[b.., i..], r..]: both operands on the result's axes. */
static void gather_operands(Val *v, Node *n, View x, View idx)
{
    int nb = n->a.axis, last = n->in[1]->rank;
    View *a = &v->in[0], *i = &v->in[1];
    *a = x;
    *i = idx;
    for (int k = 0; k < n->rank; k++) {
        a->stride[k] = k < nb ? x.stride[k] : k < last ? 0 : x.stride[k - last + nb + 1];
        i->stride[k] = k < last ? idx.stride[k] : 0;
    }
    v->gstride = x.stride[nb];
    v->glimit = n->in[0]->dim[nb];
}

/* A value that has to lie in memory to be read. */
static View in_memory(Rplan *rp, View v, const Node *n)
{
    return v.val->pure ? val_view(val_copy(rp, v, n->dt, n->rank, n->dim)) : v;
}

static bool wants_memory(int op, int k)
{
    return op == OP_CONTRACT || (op == OP_GATHER && k == 0) || op == OP_PAD || op == OP_SCATTER || op == OP_FOLD || op == OP_CUMSUM ||
           op == OP_ARGSORT || op == OP_ARGMAX || op == OP_LOOP || (op == OP_COND && k == 0);
}

static View computed(Rplan *rp, Node *n)
{
    View in[3];
    View *operand = n->nin <= 3 ? in : NEWN(View, n->nin);
    for (int i = 0; i < n->nin; i++) {
        operand[i] = plan_view(rp, n->in[i]);
        if (wants_memory(n->op, i))
            operand[i] = in_memory(rp, operand[i], n->in[i]);
    }
    Node *over = op_reduces(n->op) ? n->in[0] : n;
    Val *v = val_new(rp, n->op, n->dt, n, over->rank, over->dim, n->nin);
    v->axes = op_reduces(n->op) ? n->a.axes : 0;
    for (int i = 0; i < n->nin; i++)
        v->in[i] = operand[i];
    if (n->op == OP_GATHER)
        gather_operands(v, n, operand[0], operand[1]);
    return val_view(v);
}

static View reshaped(Rplan *rp, Node *n)
{
    View v, x = plan_view(rp, n->in[0]);
    if (view_reshape(n, x, &v))
        return v;
    v = (View){ .val = val_copy(rp, x, n->dt, n->in[0]->rank, n->in[0]->dim) };
    dense_strides(n->rank, n->dim, v.stride);
    return v;
}

static View result_of(Rplan *rp, Node *n)
{
    Val *v = val_new(rp, OP_OUT, n->dt, n, n->rank, n->dim, 1);
    v->in[0] = plan_view(rp, n->in[0]);
    return val_view(v);
}

static bool summed_nothing(const Node *n)
{
    if (n->op != OP_CONTRACT || n_size(n) == 0)
        return n_size(n) == 0;
    return n_size(n->in[0]) == 0 || n_size(n->in[1]) == 0;
}

/* ---- products that are better nests: they have little to reuse, and nests share loads with their neighbours */

enum { SHORT = 8 };

static int label_at(const int8_t *labels, int rank, int label)
{
    for (int i = 0; i < rank; i++)
        if (labels[i] == label)
            return i;
    return -1;
}

/* The operand's strides on axes with these labels; 0 where it has none. */
static View on_labels(const View *x, const int8_t *own, int own_rank, const int8_t *labels, int rank)
{
    View v = *x;
    for (int i = 0; i < rank; i++) {
        int at = label_at(own, own_rank, labels[i]);
        v.stride[i] = at < 0 ? 0 : x->stride[at];
    }
    return v;
}

static bool has_labels(const int8_t *all, int rank, const int8_t *some, int n)
{
    for (int i = 0; i < n; i++)
        if (label_at(all, rank, some[i]) < 0)
            return false;
    return true;
}

/* Which operand has every label: 0, 1; 2: neither, but nothing is summed; -1: a product proper. */
static int matrix_of(const Node *n)
{
    const Node *a = n->in[0], *b = n->in[1];
    if (has_labels(n->a.lo, n->rank, n->a.la, a->rank) && has_labels(n->a.lo, n->rank, n->a.lb, b->rank))
        return 2;
    if (has_labels(n->a.la, a->rank, n->a.lb, b->rank) && has_labels(n->a.la, a->rank, n->a.lo, n->rank))
        return 0;
    return has_labels(n->a.lb, b->rank, n->a.la, a->rank) && has_labels(n->a.lb, b->rank, n->a.lo, n->rank) ? 1 : -1;
}

static uint32_t summed_axes(const Node *n, const int8_t *labels, int rank)
{
    uint32_t axes = 0;
    for (int i = 0; i < rank; i++)
        if (label_at(n->a.lo, n->rank, labels[i]) < 0)
            axes |= 1u << i;
    return axes;
}

static View multiplied(Rplan *rp, Node *n, const int8_t *labels, int rank, const int32_t *dim)
{
    View a = plan_view(rp, n->in[0]), b = plan_view(rp, n->in[1]);
    Val *v = val_new(rp, OP_MUL, n->dt, n, rank, dim, 2);
    v->in[0] = on_labels(&a, n->a.la, n->in[0]->rank, labels, rank);
    v->in[1] = on_labels(&b, n->a.lb, n->in[1]->rank, labels, rank);
    return val_view(v);
}

static bool product_as_nest(Rplan *rp, Node *n, View *out)
{
    int which = matrix_of(n);
    if (which < 0)
        return false;
    if (which == 2) {
        *out = multiplied(rp, n, n->a.lo, n->rank, n->dim);
        return true;
    }
    const Node *m = n->in[which];
    const int8_t *labels = which ? n->a.lb : n->a.la;
    uint32_t axes = summed_axes(n, labels, m->rank);
    int64_t summed = 1;
    for (int i = 0; i < m->rank; i++)
        summed *= axes >> i & 1 ? m->dim[i] : 1;
    if (axes >> (m->rank - 1) & 1 && summed < SHORT && n_size(n) >= SHORT)
        return false;
    View product = multiplied(rp, n, labels, m->rank, m->dim);
    if (all_ones(m, axes)) {
        View w = product;
        *out = on_labels(&w, labels, m->rank, n->a.lo, n->rank);
        return true;
    }
    Val *sum = val_new(rp, OP_SUM, n->dt, n, m->rank, m->dim, 1);
    sum->axes = axes;
    sum->in[0] = product;
    View w = val_view(sum);
    int8_t kept[MAXDIM];
    int rank = 0;
    for (int i = 0; i < m->rank; i++)
        if (!(axes >> i & 1))
            kept[rank++] = labels[i];
    *out = on_labels(&w, kept, rank, n->a.lo, n->rank);
    return true;
}

static View view_node(Rplan *rp, Node *n)
{
    View v;
    switch (n->op) {
    case OP_CONST: case OP_IOTA: case OP_DATA: return leaf(rp, n);
    case OP_BCAST: return view_bcast(n, plan_view(rp, n->in[0]));
    case OP_PERM: return view_bcast(n, plan_view(rp, n->in[0]));
    case OP_SLICE: return view_slice(n, plan_view(rp, n->in[0]));
    case OP_WINDOW: return view_window(n, plan_view(rp, n->in[0]));
    case OP_MARK: case OP_STOP: return plan_view(rp, n->in[0]);
    case OP_RESHAPE: return reshaped(rp, n);
    case OP_OUT: return result_of(rp, n);
    case OP_SUM: case OP_MAXR:
        v = plan_view(rp, n->in[0]);
        return all_ones(n->in[0], n->a.axes) ? view_drop(n, v) : computed(rp, n);
    case OP_CONTRACT:
        if (summed_nothing(n))
            return zero_splat(rp, n);
        return product_as_nest(rp, n, &v) ? v : computed(rp, n);
    default: return computed(rp, n);
    }
}

void plan_values(Rplan *rp)
{
    Node **order;
    int n = graph_order(rp->region->nr, rp->region->result, &order);
    info_init(rp, n + rp->region->np);
    for (int i = 0; i < rp->region->np; i++)
        info_set(rp, rp->region->formal[i], rp->formal[i]);
    for (int i = 0; i < n; i++)
        if (order[i]->op != OP_FORMAL)
            info_set(rp, order[i], view_node(rp, order[i]));
}

static bool computed_here(const Val *v)
{
    return !v->pure && !v->stored;
}

/* A result that is a leaf, a view, or the same val as an earlier result becomes a copy, which is grouped like any val. */
void plan_results_as_vals(Rplan *rp)
{
    const Region *r = rp->region;
    rp->rview = NEWN(View, r->nr + 1);
    for (int i = 0; i < r->nr; i++) {
        Node *n = r->result[i];
        View w = plan_view(rp, n);
        bool taken = false, whole = view_dense(&w, n->rank, n->dim);
        for (int j = 0; j < i; j++)
            taken |= rp->rview[j].val == w.val;
        if (computed_here(w.val) ? taken || !whole || val_size(w.val) != n_size(n) : !same_place(&w, n, rp->result[i]))
            w = val_view(val_copy(rp, w, (Dt)n->dt, n->rank, n->dim));
        rp->rview[i] = w;
    }
}
