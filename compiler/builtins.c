/* builtins.c: the named functions that need no context. A row of the table says how a function is called and which C
   function makes its result; builtin_call checks the call against the row, so that the functions find their arguments in
   order.

   Every function acts on the logical axes of its arguments; map axes stay where they are (see elab.h). */
#include <math.h>
#include <string.h>
#include "tensor.h"

enum { MAXARG = 4 };

/* One call: positional arguments of functions that take any number, or an argument for each parameter. */
typedef struct {
    const Builtin *f;
    int n; const Value *pos;                          /* as given, without the named ones */
    Value arg[MAXARG]; bool has[MAXARG];              /* by parameter */
    Value axis; bool has_axis;
    Loc at;
} Call;

struct Builtin {
    const char *name, *signature;
    int min, max;                                     /* how many arguments without axis; max -1: any number */
    bool axis;                                        /* takes axis = */
    const char *param[MAXARG];
    Value (*make)(const Call *c);
    Value (*draw)(int n, const Value *arg, Loc at);   /* draws: arguments as given */
    Op op;                                            /* elementwise functions */
};

/* ---- axes */

/* The logical axis of x that the call names, or the last one; -1 after a message. */
static int call_axis(const Call *c, Value x)
{
    int rank = v_rank(x);
    int64_t a = -1;
    if (!rank) {
        error_at(c->at, "%s works along an axis, and this is %s", c->f->name, v_show(x));
        return -1;
    }
    if (c->has_axis && !v_integer(c->axis, &a)) {
        error_at(c->at, "axis = of %s is a whole number known when compiling, not %s", c->f->name, v_show(c->axis));
        return -1;
    }
    if (a < -rank || a >= rank) {
        error_at(c->at, "%s: a tensor %s has no axis %lld; its axes are 0 to %d, the last is also -1", c->f->name, v_dims(x),
                 (long long)a, rank - 1);
        v_places(x, v_err(), c->at);
        return -1;
    }
    return (int)(a < 0 ? a + rank : a);
}

/* Node axes to reduce: the one that is named, or all logical ones. false after a message. */
static bool call_mask(const Call *c, Value x, uint32_t *mask)
{
    int k = v_naxes(x.axes), axis;
    *mask = 0;
    if (!c->has_axis) {
        for (int i = k; i < x.node->rank; i++) *mask |= 1u << i;
        return true;
    }
    if ((axis = call_axis(c, x)) < 0) return false;
    *mask = 1u << (k + axis);
    return true;
}

static Value like(Value x, Node *n, Loc at) { return v_result(n, x.axes, x.weak, at); }

/* r lacks one axis of `shape`, and is stretched along it. */
static Node *spread(Node *r, const Node *shape, int axis)
{
    int8_t map[MAXDIM];
    for (int i = 0; i < shape->rank; i++) map[i] = (int8_t)(i == axis ? -1 : i - (i > axis));
    return n_bcast(r, shape->rank, shape->dim, map);
}

static Node *real(const Node *x, double v) { return n_const((Dt)x->dt, v); }
static Node *add(Node *a, Node *b) { return n_bin(OP_ADD, a, b); }
static Node *sub(Node *a, Node *b) { return n_bin(OP_SUB, a, b); }
static Node *mul(Node *a, Node *b) { return n_bin(OP_MUL, a, b); }
static Node *divide(Node *a, Node *b) { return n_bin(OP_DIV, a, b); }
static Node *sum_of(Node *x, uint32_t mask) { return mask ? n_sum(x, mask) : x; }

/* ---- reductions */

static double count_of(const Node *x, uint32_t mask)
{
    double n = 1;
    for (int i = 0; i < x->rank; i++) if (mask >> i & 1) n *= x->dim[i];
    return n;
}

/* A list of numbers or tensors is reduced to what its elements have in common; a written list of lists is a tensor. */
static bool is_series(const Call *c)
{
    Value v = c->arg[0];
    if (v.kind != V_LIST || c->has_axis || !v.n) return false;
    for (int i = 0; i < v.n; i++) if (v.elem[i].kind != V_NUM && v.elem[i].kind != V_TENSOR) return false;
    return true;
}

static Value make_sum(const Call *c)
{
    uint32_t mask;
    Value x = c->arg[0];
    if (is_series(c)) {
        Value r = x.elem[0];
        for (int i = 1; i < x.n; i++) r = v_binary('+', r, x.elem[i], c->at);
        return x.n == 1 && r.kind == V_TENSOR ? v_numeric(r, c->at) : r;
    }
    x = v_need(x, c->at);
    if (x.kind == V_NUM && !c->has_axis) return x.nk == N_BOOL ? v_int(x.inum) : x;
    x = v_numeric(x, c->at);
    if (x.kind == V_ERR || !call_mask(c, x, &mask)) return v_err();
    return like(x, sum_of(x.node, mask), c->at);
}

static Value make_mean(const Call *c)
{
    uint32_t mask;
    if (is_series(c)) return v_binary('/', make_sum(c), v_int(c->arg[0].n), c->at);
    Value x = v_need(c->arg[0], c->at);
    if (x.kind == V_NUM && !c->has_axis) return v_binary('/', x, v_int(1), c->at);
    x = v_floats(x, c->at);
    if (x.kind == V_ERR || !call_mask(c, x, &mask)) return v_err();
    double n = count_of(x.node, mask);
    Node *s = sum_of(x.node, mask);
    return like(x, n == 1 ? s : divide(s, real(x.node, n)), c->at);
}

/* The reduced axes become one, so that of several equal values the first in row-major order is the one that counts. */
static Node *maximum_of(Value x, uint32_t mask)
{
    int k = v_naxes(x.axes);
    if (!(mask & (mask - 1))) return mask ? n_maxr(x.node, mask) : x.node;
    int32_t dim[MAXDIM];
    memcpy(dim, x.node->dim, sizeof dim);
    dim[k] = (int32_t)count_of(x.node, mask);
    return n_maxr(n_reshape(x.node, k + 1, dim), 1u << k);
}

static Value extreme(const Call *c, bool least)
{
    uint32_t mask;
    Value x = c->arg[0];
    if (c->has[1]) {
        if (c->has_axis) {
            error_at(c->at, "%s of two values is elementwise and takes no axis =", c->f->name);
            return v_err();
        }
        return v_maximum(least, x, c->arg[1], c->at);
    }
    if (is_series(c)) {
        Value r = x.elem[0];
        for (int i = 1; i < x.n; i++) r = v_maximum(least, r, x.elem[i], c->at);
        return r;
    }
    x = v_need(x, c->at);
    if (x.kind == V_NUM && !c->has_axis) return x;
    x = v_numeric(x, c->at);
    if (x.kind == V_ERR || !call_mask(c, x, &mask)) return v_err();
    if (!least) return like(x, maximum_of(x, mask), c->at);
    x.node = n_un(OP_NEG, x.node);
    return like(x, n_un(OP_NEG, maximum_of(x, mask)), c->at);
}

static Value make_max(const Call *c) { return extreme(c, false); }
static Value make_min(const Call *c) { return extreme(c, true); }

static Value make_sq(const Call *c)
{
    uint32_t mask;
    Value x = v_need(c->arg[0], c->at);
    if (x.kind == V_NUM && !c->has_axis) return v_binary('*', x, x, c->at);
    x = v_floats(x, c->at);
    if (x.kind == V_ERR || !call_mask(c, x, &mask)) return v_err();
    return like(x, sum_of(mul(x.node, x.node), mask), c->at);
}

/* The gradient of a square root at 0 is 0 (grad.c), so that of a norm is too, in all orders. */
static Node *norm_of(Node *x, uint32_t mask) { return n_un(OP_SQRT, sum_of(mul(x, x), mask)); }

static Value make_norm(const Call *c)
{
    uint32_t mask;
    Value x = v_need(c->arg[0], c->at);
    if (x.kind == V_NUM && !c->has_axis) return v_elem(OP_ABS, x, c->at);
    x = v_floats(x, c->at);
    if (x.kind == V_ERR || !call_mask(c, x, &mask)) return v_err();
    return like(x, norm_of(x.node, mask), c->at);
}

/* sqrt(mean((x - mean(x))^2)) */
static Value make_std(const Call *c)
{
    uint32_t mask;
    Value x = v_floats(c->arg[0], c->at);
    if (x.kind == V_ERR || !call_mask(c, x, &mask)) return v_err();
    Node *n = real(x.node, count_of(x.node, mask)), *mean = divide(sum_of(x.node, mask), n);
    int8_t map[MAXDIM];
    for (int i = 0, j = 0; i < x.node->rank; i++) map[i] = mask >> i & 1 ? -1 : (int8_t)j++;
    Node *d = sub(x.node, n_bcast(mean, x.node->rank, x.node->dim, map));
    return like(x, n_un(OP_SQRT, divide(sum_of(mul(d, d), mask), n)), c->at);
}

static Value make_dot(const Call *c)
{
    Value a = v_need(c->arg[0], c->at), b = v_need(c->arg[1], c->at);
    int axis = 0;
    if (a.kind == V_ERR || b.kind == V_ERR) return v_err();
    if (a.kind == V_NUM && b.kind == V_NUM && !c->has_axis) return v_binary('*', a, b, c->at);
    if (c->has_axis && v_equal_shape(a, b) && (axis = call_axis(c, a)) < 0) return v_err();
    return v_dot(a, b, c->has_axis, axis, c->at);
}

static Value make_outer(const Call *c)
{
    Value a = v_need(c->arg[0], c->at), b = v_need(c->arg[1], c->at);
    if (a.kind == V_ERR || b.kind == V_ERR) return v_err();
    return v_outer(a, b, c->at);
}

/* ---- along one axis */

/* exp(x - m) / sum of it, m the maximum. Weights of -inf are 0, in a row of nothing else too: there m is replaced by 0,
   and the sum by 1; otherwise the sum is at least 1. */
static Node *softmax_of(Node *x, int axis)
{
    Node *m = n_maxr(x, 1u << axis), *low = add(n_zeros_like(m), real(m, -INFINITY));
    m = n_stop(n_select(n_bin(OP_EQ, m, low), n_zeros_like(m), m), STOP_SHIFT);
    Node *e = n_un(OP_EXP, sub(x, spread(m, x, axis)));
    Node *s = n_sum(e, 1u << axis), *none = n_bin(OP_EQ, s, n_zeros_like(s));
    return divide(e, spread(n_select(none, add(n_zeros_like(s), real(s, 1)), s), x, axis));
}

static Value make_softmax(const Call *c)
{
    int axis;
    Value x = v_floats(c->arg[0], c->at);
    if (x.kind == V_ERR || (axis = call_axis(c, x)) < 0) return v_err();
    return like(x, softmax_of(x.node, v_naxes(x.axes) + axis), c->at);
}

static Value make_normalize(const Call *c)
{
    int axis;
    Value x = v_floats(c->arg[0], c->at);
    if (x.kind == V_ERR || (axis = call_axis(c, x)) < 0) return v_err();
    int a = v_naxes(x.axes) + axis;
    Node *n = n_bin(OP_MAX, norm_of(x.node, 1u << a), real(x.node, 1e-6));
    return like(x, divide(x.node, spread(n, x.node, a)), c->at);
}

static Value make_argmax(const Call *c)
{
    int axis;
    Value x = v_numeric(c->arg[0], c->at);
    if (x.kind == V_ERR || (axis = call_axis(c, x)) < 0) return v_err();
    return like(x, n_argmax(x.node, v_naxes(x.axes) + axis), c->at);
}

static Value make_cumsum(const Call *c)
{
    int axis;
    Value x = v_numeric(c->arg[0], c->at);
    if (x.kind == V_ERR || (axis = call_axis(c, x)) < 0) return v_err();
    return like(x, n_cumsum(x.node, v_naxes(x.axes) + axis, false), c->at);
}

/* One label for each row of logits; to a single row any number of labels. */
static bool labels_fit(Value z, Value label, Loc at)
{
    Shape want = v_shape_of(z), have = v_shape_of(label);
    bool ok = --want.rank == have.rank && !memcmp(want.dim, have.dim, sizeof(int32_t) * (size_t)want.rank);
    if (ok || !want.rank) return true;
    error_at(at, "xent of logits %s takes labels of shape %s, and these are %s", v_dims(z), shape_text(want.rank, want.dim),
             v_dims(label));
    v_places(z, label, at);
    return false;
}

/* log(sum(exp(z))) - z[label], stable: with m the maximum, m + log(sum(exp(z - m))) */
static Value make_xent(const Call *c)
{
    int axis;
    Value z = v_floats(c->arg[0], c->at), label = v_need(c->arg[1], c->at);
    if (z.kind == V_ERR || label.kind == V_ERR || (axis = call_axis(c, z)) < 0) return v_err();
    if (dt_float(v_dt(label))) {
        error_at(c->at, "labels of xent are whole numbers, and these are %s of %s", v_show(label), dt_name(v_dt(label)));
        v_places(label, v_err(), c->at);
        return v_err();
    }
    z.loc = c->arg[0].loc;
    z = v_move_axis(z, axis, v_rank(z) - 1);
    label = v_as_tensor(label, c->at);
    if (!labels_fit(z, label, c->at)) return v_err();
    int a = z.node->rank - 1;
    Node *m = n_stop(n_maxr(z.node, 1u << a), STOP_SHIFT);
    Node *e = n_un(OP_EXP, sub(z.node, spread(m, z.node, a)));
    Node *l = add(m, n_un(OP_LOG, n_sum(e, 1u << a)));
    int last = v_rank(z) - 1;
    Value picked = v_gather(z, label, last, last, c->at, "the classes of xent()");
    return picked.kind == V_ERR ? picked : v_binary('-', like(z, l, c->at), picked, c->at);
}

/* ---- elementwise */

static Value make_elem(const Call *c) { return v_elem(c->f->op, c->arg[0], c->at); }

/* abs, sign, floor leave whole numbers whole. */
static Value make_whole(const Call *c)
{
    Value x = v_need(c->arg[0], c->at);
    if (x.kind == V_ERR || dt_float(v_dt(x))) return v_elem(c->f->op, x, c->at);
    if (c->f->op == OP_FLOOR) return x.kind == V_NUM ? x : v_numeric(x, c->at);
    if (x.kind == V_NUM) {
        if (c->f->op == OP_SIGN) return v_int((x.inum > 0) - (x.inum < 0));
        return x.inum < 0 ? v_unary('-', x, c->at) : x;
    }
    x = v_numeric(x, c->at);
    return like(x, n_un(c->f->op, x.node), c->at);
}

static Value make_clamp(const Call *c)
{
    return v_maximum(true, v_maximum(false, c->arg[0], c->arg[1], c->at), c->arg[2], c->at);
}

/* 0 where x <= 0, so the gradient at 0 is 0; not-a-number stays. */
static Value make_relu(const Call *c)
{
    return v_maximum(false, v_int(0), c->arg[0], c->at);
}

/* x (1 + erf(x / sqrt(2))) / 2 */
static Value make_gelu(const Call *c)
{
    Value x = v_need(c->arg[0], c->at), half = v_binary('*', x, v_real(0.5), c->at);
    Value e = v_elem(OP_ERF, v_binary('*', x, v_real(0.70710678118654752), c->at), c->at);
    return v_binary('*', half, v_binary('+', e, v_int(1), c->at), c->at);
}

static Value make_where(const Call *c) { return v_select(c->arg[0], c->arg[1], c->arg[2], c->at); }

/* ---- shapes */

static bool size_ok(int64_t d, Shape *s, double *total, Loc at)
{
    *total *= (double)d;
    if (d < 1 || d > INT32_MAX || *total > 1e12) {
        error_at(at, d < 1 ? "a size must be at least 1, and this is %lld" : "a size of %lld makes too large a tensor",
                 (long long)d);
        return false;
    }
    if (s->rank == MAXDIM) {
        error_at(at, "a tensor has at most %d axes", MAXDIM);
        return false;
    }
    s->dim[s->rank++] = (int32_t)d;
    return true;
}

static bool written_shape(Value v)
{
    int64_t d;
    if (v.kind != V_LIST) return false;
    for (int i = 0; i < v.n; i++) if (!v_is_num(v.elem[i]) || !v_integer(v.elem[i], &d)) return false;
    return true;
}

bool shape_argument(Value v, Shape *s, Loc at)
{
    int64_t d;
    double total = 1;
    *s = (Shape){0};
    if (!written_shape(v)) {
        if (v_shape(v, &s->rank, s->dim)) return true;
        if (v.kind != V_ERR) error_at(at, "a shape is a list of sizes, [n, d], or a tensor that has it, not %s", v_show(v));
        return false;
    }
    for (int i = 0; i < v.n; i++) {
        v_integer(v.elem[i], &d);
        if (!size_ok(d, s, &total, at)) return false;
    }
    return true;
}

static bool size_argument(const Call *c, int i, int32_t *size)
{
    int64_t d;
    Shape s = {0};
    double total = 1;
    if (!v_is_num(c->arg[i]) || !v_integer(c->arg[i], &d)) {
        error_at(c->at, "%s takes a whole number known when compiling, not %s", c->f->name, v_show(c->arg[i]));
        return false;
    }
    if (!size_ok(d, &s, &total, c->at)) return false;
    *size = s.dim[0];
    return true;
}

static Value filled(const Call *c, double v)
{
    Shape s;
    Value x = c->arg[0];
    if (!shape_argument(x, &s, c->at)) return v_err();
    Dt dt = x.kind == V_TENSOR && dt_float((Dt)x.node->dt) && !x.weak ? (Dt)x.node->dt : float_dt();
    return v_result(n_splat(dt, v, s.rank, s.dim), 0, false, c->at);
}

static Value make_zeros(const Call *c) { return filled(c, 0); }
static Value make_ones(const Call *c) { return filled(c, 1); }

static Value make_iota(const Call *c)
{
    int32_t n;
    if (!size_argument(c, 0, &n)) return v_err();
    return v_result(n_iota(I32, 1, &n, 0), 0, false, c->at);
}

/* row < column, row <= column, ...: of the last two of `dim` */
static Node *triangle(Op op, int rank, const int32_t *dim)
{
    return n_bin(op, n_iota(I32, rank, dim, rank - 2), n_iota(I32, rank, dim, rank - 1));
}

static Value make_eye(const Call *c)
{
    int32_t dim[2];
    if (!size_argument(c, 0, dim)) return v_err();
    dim[1] = dim[0];
    return v_result(n_cast(triangle(OP_EQ, 2, dim), float_dt()), 0, false, c->at);
}

static Value make_onehot(const Call *c)
{
    int32_t n;
    Value i = v_as_tensor(c->arg[0], c->at);
    if (i.kind == V_ERR || !v_is_index(i, c->at) || !size_argument(c, 1, &n)) return v_err();
    Shape s = v_shape_of(i);
    if (s.rank < MAXDIM) s.dim[s.rank] = n;
    if (!v_fits(i.axes, s.rank + 1, s.dim, c->at)) return v_err();
    int rank = i.node->rank;
    int32_t dim[MAXDIM];
    memcpy(dim, i.node->dim, sizeof dim);
    dim[rank] = n;
    Node *at = n_iota((Dt)i.node->dt, rank + 1, dim, rank);
    Node wide = {.rank = (uint8_t)(rank + 1)};
    memcpy(wide.dim, dim, sizeof dim);
    return v_result(n_cast(n_bin(OP_EQ, spread(i.node, &wide, rank), at), float_dt()), i.axes, false, c->at);
}

static Value keep_triangle(const Call *c, bool upper)
{
    Value x = v_as_tensor(c->arg[0], c->at);
    if (x.kind == V_ERR) return x;
    if (v_rank(x) < 2) {
        error_at(c->at, "%s takes matrices, and this is %s", c->f->name, v_show(x));
        v_places(x, v_err(), c->at);
        return v_err();
    }
    Node *n = x.node, *below = triangle(OP_LT, n->rank, n->dim);          /* row < column */
    Node *kept = upper ? n_bin(OP_OR, below, triangle(OP_EQ, n->rank, n->dim)) : n_un(OP_NOT, below);
    return like(x, n->dt == BOOL ? n_bin(OP_AND, n, kept) : n_select(kept, n, n_zeros_like(n)), c->at);
}

static Value make_tril(const Call *c) { return keep_triangle(c, false); }
static Value make_triu(const Call *c) { return keep_triangle(c, true); }

static Value make_reshape(const Call *c)
{
    Shape s;
    Value x = v_as_tensor(c->arg[0], c->at);
    if (x.kind == V_ERR) return x;
    if (c->arg[1].kind == V_LIST && !written_shape(c->arg[1])) {
        error_at(c->at, "the shape that reshape makes is a list of whole numbers known when compiling, not %s",
                 v_show(c->arg[1]));
        return v_err();
    }
    return shape_argument(c->arg[1], &s, c->at) ? v_reshape(x, s, c->at) : v_err();
}

static Value make_flat(const Call *c)
{
    Value x = v_as_tensor(c->arg[0], c->at);
    if (x.kind == V_ERR) return x;
    double n = 1;
    for (int i = 0; i < v_rank(x); i++) n *= v_dim(x)[i];
    if (n > INT32_MAX) {
        error_at(c->at, "flat: %s is too large for one axis", v_show(x));
        return v_err();
    }
    return v_reshape(x, (Shape){.rank = 1, .dim = {(int32_t)n}}, c->at);
}

static Value make_rank(const Call *c)
{
    int rank;
    int32_t dim[MAXDIM];
    if (v_shape(c->arg[0], &rank, dim)) return v_int(rank);
    Value x = v_as_tensor(c->arg[0], c->at);
    return x.kind == V_ERR ? x : v_int(v_rank(x));
}

static Value make_len(const Call *c)
{
    Value x = c->arg[0];
    if (x.kind == V_LIST) return v_int(x.n);
    if (x.kind == V_TENSOR && v_rank(x)) return v_int(v_dim(x)[0]);
    error_at(c->at, "len counts the elements of a list or the rows of a tensor, and this is %s", v_show(x));
    return v_err();
}

/* ---- pieces */

/* The pieces of stack and concat: the arguments, or the elements of the only one. Numbers make one piece of concat. */
static bool pieces(const Call *c, bool scalars, int *n, const Value **v)
{
    *n = c->n;
    *v = c->pos;
    if (c->n == 1 && c->pos[0].kind == V_LIST) {
        bool flat = true;
        for (int i = 0; i < c->pos[0].n; i++) flat = flat && c->pos[0].elem[i].kind == V_NUM;
        if (scalars || !flat) {
            *n = c->pos[0].n;
            *v = c->pos[0].elem;
        }
    }
    if (*n) return true;
    error_at(c->at, "%s of nothing", c->f->name);
    return false;
}

static Value make_concat(const Call *c)
{
    int n;
    const Value *v;
    int64_t axis = 0;
    if (!pieces(c, false, &n, &v)) return v_err();
    if (c->has_axis && (!v_integer(c->axis, &axis) || axis < -MAXDIM || axis >= MAXDIM)) {
        error_at(c->at, "axis = of concat is a whole number known when compiling, not %s", v_show(c->axis));
        return v_err();
    }
    return v_concat(n, v, !c->has_axis, (int)axis, c->at);
}

static Value make_stack(const Call *c)
{
    int n;
    const Value *v;
    int64_t axis = 0;
    if (!pieces(c, true, &n, &v)) return v_err();
    Value first = v_as_tensor(v[0], c->at);
    if (first.kind == V_ERR) return first;
    int rank = v_rank(first) + 1;
    if (c->has_axis && (!v_integer(c->axis, &axis) || axis < -rank || axis >= rank)) {
        error_at(c->at, "axis = of stack is a whole number from %d to %d here, not %s", -rank, rank - 1, v_show(c->axis));
        return v_err();
    }
    return v_stack(n, v, (int)(axis < 0 ? axis + rank : axis), c->at);
}

/* gather(x, i): along the last axis, or `axis`, one entry for each of i, which also has the axes before that one. */
static Value make_gather(const Call *c)
{
    int axis;
    Value x = v_as_tensor(c->arg[0], c->at), i = v_as_tensor(c->arg[1], c->at);
    if (x.kind == V_ERR || i.kind == V_ERR || (axis = call_axis(c, x)) < 0 || !v_is_index(i, c->at)) return v_err();
    bool ok = v_rank(i) >= axis;
    for (int j = 0; ok && j < axis; j++) ok = v_dim(i)[j] == v_dim(x)[j];
    if (ok) return v_gather(x, i, axis, axis, c->at, arena_printf("axis %d of what gather() takes from", axis));
    error_at(c->at, "gather from %s by indices %s: the sizes before axis %d must be equal", v_dims(x), v_dims(i), axis);
    v_places(x, i, c->at);
    return v_err();
}

/* ---- the table */

#define NO_OP 0
#define ROW(name, signature, min, max, axis, make) {name, signature, min, max, axis, {NULL}, make, NULL, NO_OP}
#define ROW1(name, signature, min, max, axis, make) {name, signature, min, max, axis, {"x"}, make, NULL, NO_OP}
#define ROW2(name, signature, min, max, axis, a, b, make) {name, signature, min, max, axis, {a, b}, make, NULL, NO_OP}
#define ROW3(name, signature, a, b, c, make) {name, signature, 3, 3, false, {a, b, c}, make, NULL, NO_OP}
#define ELEM(name, op, make) {name, name "(x)", 1, 1, false, {"x"}, make, NULL, op}
#define DRAW(name, signature, min, max, make) {name, signature, min, max, false, {NULL}, NULL, make, NO_OP}

static const Builtin table[] = {
    ROW1("sum", "sum(x, axis = all)", 1, 1, true, make_sum),
    ROW1("mean", "mean(x, axis = all)", 1, 1, true, make_mean),
    ROW2("max", "max(x, axis = all) or max(a, b)", 1, 2, true, "x", "y", make_max),
    ROW2("min", "min(x, axis = all) or min(a, b)", 1, 2, true, "x", "y", make_min),
    ROW1("sq", "sq(x, axis = all)", 1, 1, true, make_sq),
    ROW1("norm", "norm(x, axis = all)", 1, 1, true, make_norm),
    ROW1("std", "std(x, axis = all)", 1, 1, true, make_std),
    ROW2("dot", "dot(a, b, axis = all)", 2, 2, true, "a", "b", make_dot),
    ROW2("outer", "outer(a, b)", 2, 2, false, "a", "b", make_outer),
    ROW1("softmax", "softmax(x, axis = -1)", 1, 1, true, make_softmax),
    ROW1("normalize", "normalize(x, axis = -1)", 1, 1, true, make_normalize),
    ROW1("argmax", "argmax(x, axis = -1)", 1, 1, true, make_argmax),
    ROW1("cumsum", "cumsum(x, axis = -1)", 1, 1, true, make_cumsum),
    ROW2("xent", "xent(logits, label, axis = -1)", 2, 2, true, "logits", "label", make_xent),
    ROW("concat", "concat(a, b, .., axis = -1)", 1, -1, true, make_concat),
    ROW("stack", "stack(a, b, .., axis = 0)", 1, -1, true, make_stack),
    ELEM("exp", OP_EXP, make_elem),
    ELEM("log", OP_LOG, make_elem),
    ELEM("tanh", OP_TANH, make_elem),
    ELEM("sigmoid", OP_SIGMOID, make_elem),
    ELEM("sqrt", OP_SQRT, make_elem),
    ELEM("sin", OP_SIN, make_elem),
    ELEM("cos", OP_COS, make_elem),
    ELEM("erf", OP_ERF, make_elem),
    ELEM("abs", OP_ABS, make_whole),
    ELEM("sign", OP_SIGN, make_whole),
    ELEM("floor", OP_FLOOR, make_whole),
    ELEM("relu", NO_OP, make_relu),
    ELEM("gelu", NO_OP, make_gelu),
    ROW3("clamp", "clamp(x, lo, hi)", "x", "lo", "hi", make_clamp),
    ROW3("where", "where(c, a, b)", "c", "a", "b", make_where),
    ROW2("gather", "gather(x, index, axis = -1)", 2, 2, true, "x", "index", make_gather),
    ROW2("reshape", "reshape(x, [n, d])", 2, 2, false, "x", "shape", make_reshape),
    ROW1("flat", "flat(x)", 1, 1, false, make_flat),
    ROW1("zeros", "zeros([n, d]) or zeros(x)", 1, 1, false, make_zeros),
    ROW1("ones", "ones([n, d]) or ones(x)", 1, 1, false, make_ones),
    ROW2("eye", "eye(n)", 1, 1, false, "n", NULL, make_eye),
    ROW2("iota", "iota(n)", 1, 1, false, "n", NULL, make_iota),
    ROW2("onehot", "onehot(i, n)", 2, 2, false, "i", "n", make_onehot),
    ROW1("tril", "tril(x)", 1, 1, false, make_tril),
    ROW1("triu", "triu(x)", 1, 1, false, make_triu),
    ROW1("rank", "rank(x)", 1, 1, false, make_rank),
    ROW1("len", "len(x)", 1, 1, false, make_len),
    DRAW("normal", "normal(), normal(sd), normal([n, d]) or normal([n, d], sd)", 0, 2, draw_normal),
    DRAW("uniform", "uniform(), uniform(a, b), uniform([n, d]) or uniform([n, d], a, b)", 0, 3, draw_uniform),
    DRAW("randint", "randint(n) or randint([m, d], n)", 1, 2, draw_randint),
    DRAW("permutation", "permutation(n)", 1, 1, draw_permutation),
};
enum { NTABLE = sizeof table / sizeof *table };

const Builtin *builtin_find(const char *name)
{
    for (int i = 0; i < NTABLE; i++) if (!strcmp(table[i].name, name)) return &table[i];
    return NULL;
}

const char *builtin_name(const Builtin *b) { return b->name; }

const char *const *builtin_names(int *n)
{
    static const char *names[NTABLE];
    for (int i = 0; i < NTABLE; i++) names[i] = table[i].name;
    *n = NTABLE;
    return names;
}

/* ---- calls */

static const char *how_many(const Builtin *f)
{
    if (f->max < 0) return arena_printf("at least %d argument%s", f->min, f->min == 1 ? "" : "s");
    if (f->min == f->max) return arena_printf("%d argument%s", f->min, f->min == 1 ? "" : "s");
    return arena_printf("%d to %d arguments", f->min, f->max);
}

static bool wrong_count(const Call *c, int n)
{
    error_at(c->at, "%s takes %s, not %d: %s", c->f->name, how_many(c->f), n, c->f->signature);
    return false;
}

static bool unknown_name(const Call *c, const char *name)
{
    const char *known[MAXARG + 1];
    int n = 0;
    for (int i = 0; i < MAXARG; i++) if (c->f->param[i]) known[n++] = c->f->param[i];
    if (c->f->axis) known[n++] = "axis";
    const char *near = n ? nearest(name, known, n) : NULL;
    if (near) error_at(c->at, "%s has no argument '%s'; did you mean '%s'? %s", c->f->name, name, near, c->f->signature);
    else error_at(c->at, "%s has no argument '%s': %s", c->f->name, name, c->f->signature);
    return false;
}

static bool place_named(Call *c, const char *name, Value v)
{
    bool twice = false, found = c->f->axis && !strcmp(name, "axis");
    if (found) {
        twice = c->has_axis;
        c->axis = v;
        c->has_axis = true;
    }
    for (int i = 0; i < MAXARG && c->f->param[i]; i++) {
        if (strcmp(c->f->param[i], name)) continue;
        found = true;
        twice = c->has[i];
        c->arg[i] = v;
        c->has[i] = true;
    }
    if (!found) return unknown_name(c, name);
    if (twice) error_at(c->at, "'%s' is given twice: %s", name, c->f->signature);
    return !twice;
}

/* Positional arguments come first. */
static bool place_arguments(Call *c, int n, const Value *arg, const char *const *name)
{
    const Builtin *f = c->f;
    int named = 0;
    for (int i = 0; i < n && !(name && name[i]); i++) c->n++;
    c->pos = arg;
    if (f->max >= 0 && c->n > f->max) return wrong_count(c, n);
    for (int i = 0; i < c->n && i < MAXARG; i++) {
        c->arg[i] = arg[i];
        c->has[i] = true;
    }
    for (int i = c->n; i < n; i++) {
        if (!name[i]) return error_at(c->at, "%s: arguments without a name come first", f->name), false;
        if (!place_named(c, name[i], arg[i])) return false;
        named += !c->f->axis || strcmp(name[i], "axis");
    }
    if (c->n + named < f->min) return wrong_count(c, c->n + named);
    for (int i = 0; i < f->min && f->param[0]; i++) {
        if (c->has[i]) continue;
        error_at(c->at, "%s needs '%s': %s", f->name, f->param[i], f->signature);
        return false;
    }
    return true;
}

Value builtin_call(const Builtin *b, int n, const Value *arg, const char *const *name, Loc at)
{
    Call c = {.f = b, .at = at};
    graph_loc = at;
    for (int i = 0; i < n; i++) if (arg[i].kind == V_ERR) return v_err();
    if (!place_arguments(&c, n, arg, name)) return v_err();
    Value r = b->draw ? b->draw(c.n, arg, at) : b->make(&c);
    if (r.kind != V_ERR) r.loc = at;
    return r;
}
