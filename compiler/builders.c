/* builders.c: the builders of graph.h: each fills in attributes and calls node(). Shapes must be right; node()
   aborts otherwise. */
#include "ops.h"
#include <string.h>

static Node *make(Op op, int nin, Node *const *in, const Attr *a)
{
    return node(op, NDT, 0, NULL, nin, in, a, (Loc){ 0 });
}

static Node *make1(Op op, Node *x, const Attr *a) { return make(op, 1, &x, a); }

static Node *leaf(Op op, Dt dt, int rank, const int32_t *dim, const Attr *a)
{
    return node(op, dt, rank, dim, 0, NULL, a, (Loc){ 0 });
}

/* ---- leaves */
static Node *constant(Dt dt, double f, int64_t i, int rank, const int32_t *dim)
{
    Attr a = { .num = f, .inum = i };
    return leaf(OP_CONST, dt, rank, dim, &a);
}

Node *n_splat(Dt dt, double v, int rank, const int32_t *dim)
{
    return constant(dt, v, dt_float(dt) ? 0 : (int64_t)v, rank, dim);
}

Node *n_const(Dt dt, double v) { return n_splat(dt, v, 0, NULL); }
Node *n_iconst(Dt dt, int64_t v) { return constant(dt, (double)v, v, 0, NULL); }
Node *n_zeros_like(Node *x) { return n_splat(x->dt, 0, x->rank, x->dim); }

bool is_const(const Node *x, double *v)
{
    if (x->op != OP_CONST)
        return false;
    if (v)
        *v = dt_float(x->dt) ? x->a.num : (double)x->a.inum;
    return true;
}

Node *n_data(Dt dt, int rank, const int32_t *dim, const void *bytes)
{
    Attr a = { .data = bytes };
    return leaf(OP_DATA, dt, rank, dim, &a);
}

Node *n_formal(int k, Dt dt, int rank, const int32_t *dim)
{
    Attr a = { .k = k };
    return leaf(OP_FORMAL, dt, rank, dim, &a);
}

Node *n_iota(Dt dt, int rank, const int32_t *dim, int axis)
{
    Attr a = { .axis = axis };
    return leaf(OP_IOTA, dt, rank, dim, &a);
}

/* ---- elementwise */
Node *n_un(Op op, Node *x) { return make1(op, x, NULL); }

static Node *to_shape(Node *x, const Node *like)           /* rank 0 is stretched */
{
    static const int8_t fresh[MAXDIM] = { -1, -1, -1, -1, -1, -1, -1, -1 };
    return x->rank || !like->rank ? x : n_bcast(x, like->rank, like->dim, fresh);
}

Node *n_bin(Op op, Node *a, Node *b)
{
    Node *in[2] = { to_shape(a, b), to_shape(b, a) };
    return make(op, 2, in, NULL);
}

Node *n_cast(Node *x, Dt dt) { return node(OP_CAST, dt, 0, NULL, 1, &x, NULL, (Loc){ 0 }); }

Node *n_select(Node *c, Node *a, Node *b)
{
    const Node *like = c->rank ? c : a->rank ? a : b;
    Node *in[3] = { to_shape(c, like), to_shape(a, like), to_shape(b, like) };
    return make(OP_SELECT, 3, in, NULL);
}

Node *n_bits(Node *seed, Node *step, Node *item, Node *element, int word, uint64_t site)
{
    Node *in[4] = { seed, step, item, element };
    Attr a = { .k = word, .site = site };
    return make(OP_BITS, 4, in, &a);
}

/* ---- views */
Node *n_bcast(Node *x, int rank, const int32_t *dim, const int8_t *map)
{
    Attr a = { 0 };
    if (rank > MAXDIM)
        graph_fail(x, "cannot be broadcast to so many axes");
    if (rank)
        memcpy(a.map, map, (size_t)rank);
    return node(OP_BCAST, x->dt, rank, dim, 1, &x, &a, (Loc){ 0 });
}

Node *n_expand(Node *x, int rank, const int32_t *dim)
{
    int32_t kept[MAXDIM];
    int8_t map[MAXDIM];
    int n = 0, lead = rank - x->rank;
    if (lead < 0 || rank > MAXDIM)
        graph_fail(x, "has more axes than the shape it is stretched to, or that has too many");
    for (int i = 0; i < rank; i++) {
        int32_t have = i < lead ? 0 : x->dim[i - lead];
        map[i] = -1;
        if (i >= lead && have == dim[i]) {
            map[i] = (int8_t)n;
            kept[n++] = have;
        } else if (i >= lead && have != 1) {
            graph_fail(x, "cannot be stretched to this shape");
        }
    }
    return n_bcast(n_reshape(x, n, kept), rank, dim, map);
}

Node *n_perm(Node *x, const int8_t *map)
{
    Attr a = { 0 };
    if (x->rank)
        memcpy(a.map, map, x->rank);
    return make1(OP_PERM, x, &a);
}

Node *n_reshape(Node *x, int rank, const int32_t *dim)
{
    return node(OP_RESHAPE, x->dt, rank, dim, 1, &x, NULL, (Loc){ 0 });
}

static Node *ranged(Op op, Node *x, int rank, const int32_t *dim, const int32_t *start, const int32_t *step)
{
    Attr a = { 0 };
    if (x->rank) {
        memcpy(a.start, start, sizeof *start * x->rank);
        memcpy(a.step, step, sizeof *step * x->rank);
    }
    return node(op, x->dt, rank, dim, 1, &x, &a, (Loc){ 0 });
}

Node *n_slice(Node *x, const int32_t *start, const int32_t *len, const int32_t *step)
{
    return ranged(OP_SLICE, x, x->rank, len, start, step);
}

Node *n_slice1(Node *x, int axis, int32_t start, int32_t len, int32_t step)
{
    int32_t s[MAXDIM], l[MAXDIM], p[MAXDIM];
    for (int i = 0; i < x->rank; i++)
        s[i] = 0, l[i] = x->dim[i], p[i] = 1;
    s[axis] = start, l[axis] = len, p[axis] = step;
    return n_slice(x, s, l, p);
}

Node *n_pad(Node *x, int rank, const int32_t *dim, const int32_t *start, const int32_t *step)
{
    return ranged(OP_PAD, x, rank, dim, start, step);
}

Node *n_window(Node *x, int axis, int n)
{
    Attr a = { .axis = axis, .k = n };
    return make1(OP_WINDOW, x, &a);
}

Node *n_fold(Node *x, int axis)
{
    Attr a = { .axis = axis, .k = x->dim[axis + 1] };
    return make1(OP_FOLD, x, &a);
}

/* ---- data movement */
Node *n_concat(int n, Node *const *x, int axis)
{
    Attr a = { .axis = axis };
    return make(OP_CONCAT, n, x, &a);
}

/* What stands at a place of the source: "E[s]". */
static const char *snippet(Loc at)
{
    const char *t = at.line ? source_text(at.file) : NULL;
    for (uint32_t line = 1; t && line < at.line; line++) {
        t = strchr(t, '\n');
        if (t) t++;
    }
    size_t room = t ? strcspn(t, "\n") : 0;
    if (!room || at.ecol <= at.col || at.ecol > room + 1u || at.ecol - at.col > 60) return "its tensor";
    return arena_strndup(t + at.col - 1, (size_t)(at.ecol - at.col));
}

Node *n_gather_of(Node *x, Node *idx, int nbatch, Loc loc, const char *what)
{
    Node *in[2] = { x, idx };
    Loc at = loc.line ? loc : graph_loc;
    Attr a = { .axis = nbatch, .site = (uint64_t)site_add(at, what ? what : snippet(at)) };
    return node(OP_GATHER, NDT, 0, NULL, 2, in, &a, loc);
}

Node *n_gather(Node *x, Node *idx, int nbatch, Loc loc) { return n_gather_of(x, idx, nbatch, loc, NULL); }

Node *n_scatter(Node *d, Node *idx, int nbatch, int rank, const int32_t *dim)
{
    Node *in[2] = { d, idx };
    Attr a = { .axis = nbatch };
    return node(OP_SCATTER, d->dt, rank, dim, 2, in, &a, (Loc){ 0 });
}

Node *n_cumsum(Node *x, int axis, bool reverse)
{
    Attr a = { .axis = axis, .k = reverse };
    return make1(OP_CUMSUM, x, &a);
}

Node *n_argsort(Node *x, int axis)
{
    Attr a = { .axis = axis };
    return make1(OP_ARGSORT, x, &a);
}

/* ---- reductions and products */
Node *n_sum(Node *x, uint32_t axes)
{
    Attr a = { .axes = axes };
    return make1(OP_SUM, x, &a);
}

Node *n_maxr(Node *x, uint32_t axes)
{
    Attr a = { .axes = axes };
    return make1(OP_MAXR, x, &a);
}

Node *n_argmax(Node *x, int axis)
{
    Attr a = { .axis = axis };
    return make1(OP_ARGMAX, x, &a);
}

Node *n_contract(Node *a, Node *b, const int8_t *la, const int8_t *lb, int rank, const int8_t *lo)
{
    Node *in[2] = { a, b };
    Attr at = { 0 };
    if (a->rank)
        memcpy(at.la, la, a->rank);
    if (b->rank)
        memcpy(at.lb, lb, b->rank);
    if (rank > MAXDIM)
        graph_fail(a, "a product of too many axes");
    if (rank)
        memcpy(at.lo, lo, (size_t)rank);
    return make(OP_CONTRACT, 2, in, &at);
}

/* ---- structure and tags */
Node *n_cond(Node *pred, int ncap, Node *const *cap, Region *then, Region *els)
{
    Node **in = NEWN(Node *, ncap + 1);
    Attr a = { .r = { then, els } };
    in[0] = pred;
    if (ncap)
        memcpy(in + 1, cap, sizeof *cap * (size_t)ncap);
    return make(OP_COND, ncap + 1, in, &a);
}

Node *n_loop(int32_t trip, bool reverse, Region *body, int nin, Node *const *in)
{
    Attr a = { .k = trip, .reverse = reverse, .r = { body } };
    return make(OP_LOOP, nin, in, &a);
}

Node *n_out(Node *s, int k)
{
    Attr a = { .k = k };
    return make1(OP_OUT, s, &a);
}

Node *n_mark(Node *x, int64_t uid)
{
    Attr a = { .k = uid };
    return make1(OP_MARK, x, &a);
}

Node *n_stop(Node *x, int64_t tag)
{
    Attr a = { .k = tag };
    return make1(OP_STOP, x, &a);
}
