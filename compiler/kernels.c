/* kernels.c: what each operation computes, on dense tensors of doubles and int64s. Written to be read: this is the
   definition that emitted code is tested against. Only contract is arranged for speed (packed operands, contiguous
   inner loops).
   Requires: out has the node's type and shape. Guarantees: every element of out is written. */
#include "ops.h"
#include "philox.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- elementwise: E in terms of x and y. Integers are computed modulo 2^64 and wrapped to their type afterwards. */
#define EACH(o, n, E) do { for (int64_t i_ = 0; i_ < (n); i_++) (o)[i_] = (E); } while (0)
#define x a[i_]
#define y b[i_]
#define FF(name, E) void ff_##name(int64_t n, double *o, const double *a, const double *b) { (void)b; EACH(o, n, E); }
#define II(name, E) void ii_##name(int64_t n, int64_t *o, const int64_t *a, const int64_t *b) \
    { (void)b; EACH(o, n, E); }
#define FI(name, E) void fi_##name(int64_t n, int64_t *o, const double *a, const double *b) { EACH(o, n, E); }
#define U(e) ((uint64_t)(e))

/* Division of integers rounds down; by zero it gives 0 (and mod gives 0), for want of anything better and without a
   trap. */
static int64_t int_div(int64_t a, int64_t b)
{
    if (b == 0)
        return 0;
    if (b == -1)
        return (int64_t)(0 - U(a));
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

static int64_t int_mod(int64_t a, int64_t b) { return b == 0 ? 0 : (int64_t)(U(a) - U(int_div(a, b)) * U(b)); }

static double sigmoid(double v)
{
    double e = exp(-fabs(v));                              /* the smaller of e^v and e^-v: no overflow */
    return v >= 0 ? 1 / (1 + e) : v < 0 ? e / (1 + e) : v;
}

FF(neg, -x)            II(neg, (int64_t)(0 - U(x)))
FF(abs, fabs(x))       II(abs, x < 0 ? (int64_t)(0 - U(x)) : x)
FF(sign, x > 0 ? 1 : x < 0 ? -1 : x)   II(sign, (x > 0) - (x < 0))
FF(floor, floor(x))    II(floor, x)
FF(sqrt, sqrt(x))
FF(exp, exp(x))
FF(log, log(x))
FF(sin, sin(x))
FF(cos, cos(x))
FF(tanh, tanh(x))
FF(sigmoid, sigmoid(x))
FF(erf, erf(x))
II(not, !x)
FF(add, x + y)         II(add, (int64_t)(U(x) + U(y)))
FF(sub, x - y)         II(sub, (int64_t)(U(x) - U(y)))
FF(mul, x * y)         II(mul, (int64_t)(U(x) * U(y)))
FF(div, x / y)
FF(pow, pow(x, y))
FF(min, y < x || isnan(y) ? y : x)     II(min, y < x ? y : x)
FF(max, x < y || isnan(y) ? y : x)     II(max, x < y ? y : x)
FF(idiv, floor(x / y))                 II(idiv, int_div(x, y))
FF(mod, x - floor(x / y) * y)          II(mod, int_mod(x, y))
FI(lt, x < y)          II(lt, x < y)
FI(le, x <= y)         II(le, x <= y)
FI(eq, x == y)         II(eq, x == y)
II(and, x & y)
II(or, x | y)
#undef x
#undef y
#undef FF
#undef II
#undef FI

static int64_t tensor_size(const Tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++)
        n *= t->dim[i];
    return n;
}

int64_t int_wrap(Dt dt, int64_t v)
{
    switch (dt) {
    case I32:  return (int32_t)(uint32_t)v;
    case U32:  return (uint32_t)v;
    case U8:   return (uint8_t)v;
    case BOOL: return v != 0;
    default:   return v;
    }
}

void tensor_round(Tensor *t)
{
    int64_t n = tensor_size(t);
    if (t->dt == F32)
        EACH(t->f, n, (float)t->f[i_]);
    else if (t->dt != F64 && t->dt != I64)
        EACH(t->i, n, int_wrap(t->dt, t->i[i_]));
}

void elem_eval(const Node *x, Tensor *const *in, Tensor *out, EvalStatus *st)
{
    const OpRow *row = &op_row[x->op];
    const Tensor *a = in[0], *b = x->nin > 1 ? in[1] : in[0];
    int64_t n = tensor_size(out);
    if (row->eval)
        row->eval(x, in, out, st);
    else if (!dt_float(a->dt))
        row->ii(n, out->i, a->i, b->i);
    else if (row->fi)
        row->fi(n, out->i, a->f, b->f);
    else
        row->ff(n, out->f, a->f, b->f);
}

/* To an integer type: towards zero, the nearest value of the type if outside, 0 for what is no number. */
static int64_t float_to_int(Dt dt, double v)
{
    static const double lo[NDT] = { [I32] = INT32_MIN, [I64] = -0x1p63 };
    static const double hi[NDT] = { [I32] = INT32_MAX, [U32] = UINT32_MAX, [U8] = UINT8_MAX };
    if (dt == BOOL)
        return v != 0;
    if (isnan(v))
        return 0;
    if (dt == I64 && v >= 0x1p63)
        return INT64_MAX;
    return (int64_t)(v < lo[dt] ? lo[dt] : dt != I64 && v > hi[dt] ? hi[dt] : v);
}

EVAL(eval_cast)
{
    (void)st;
    const Tensor *a = in[0];
    int64_t n = tensor_size(out);
    if (dt_float(x->dt) && dt_float(a->dt))
        memcpy(out->f, a->f, sizeof(double) * (size_t)n);
    else if (dt_float(x->dt) && x->dt == F32)
        EACH(out->f, n, (float)a->i[i_]);
    else if (dt_float(x->dt))
        EACH(out->f, n, (double)a->i[i_]);
    else if (dt_float(a->dt))
        EACH(out->i, n, float_to_int(x->dt, a->f[i_]));
    else
        EACH(out->i, n, int_wrap(x->dt, a->i[i_]));
}

EVAL(eval_select)
{
    (void)st;
    int64_t n = tensor_size(out);
    if (dt_float(x->dt))
        EACH(out->f, n, in[0]->i[i_] ? in[1]->f[i_] : in[2]->f[i_]);
    else
        EACH(out->i, n, in[0]->i[i_] ? in[1]->i[i_] : in[2]->i[i_]);
}

EVAL(eval_bits)
{
    (void)st;
    uint64_t seed = U(in[0]->i[0]), step = U(in[1]->i[0]);
    const int64_t *item = in[2]->i, *element = in[3]->i;
    EACH(out->i, tensor_size(out), philox_bits(seed, x->a.site, step, U(item[i_]), U(element[i_]), (int)x->a.k));
}

/* ---- leaves */
EVAL(eval_const)
{
    (void)in, (void)st;
    int64_t n = tensor_size(out);
    if (dt_float(x->dt))
        EACH(out->f, n, x->a.num);
    else
        EACH(out->i, n, x->a.inum);
}

static int64_t inner_size(const Tensor *t, int axis)       /* elements behind the axis: its stride */
{
    int64_t n = 1;
    for (int i = axis + 1; i < t->rank; i++)
        n *= t->dim[i];
    return n;
}

EVAL(eval_iota)
{
    (void)in, (void)st;
    int64_t n = tensor_size(out), inner = inner_size(out, x->a.axis), len = out->dim[x->a.axis];
    if (dt_float(x->dt))
        EACH(out->f, n, (double)(i_ / inner % len));
    else
        EACH(out->i, n, i_ / inner % len);
}

EVAL(eval_data)
{
    (void)in, (void)st;
    int64_t n = tensor_size(out);
    const void *p = x->a.data;
    switch (x->dt) {
    case F32:  EACH(out->f, n, ((const float *)p)[i_]); break;
    case F64:  EACH(out->f, n, ((const double *)p)[i_]); break;
    case I32:  EACH(out->i, n, ((const int32_t *)p)[i_]); break;
    case I64:  EACH(out->i, n, ((const int64_t *)p)[i_]); break;
    case U32:  EACH(out->i, n, ((const uint32_t *)p)[i_]); break;
    default:   EACH(out->i, n, ((const uint8_t *)p)[i_]);
    }
}

/* ---- one walk for all views and reductions: for every index of `dim`, o[o0 + so.index] gets a[a0 + sa.index] */
typedef enum { W_COPY, W_ADD, W_MAX } How;
enum { MAXWALK = 2 * MAXDIM };                              /* a contract may walk over the labels of both operands */
typedef struct { int rank; int32_t dim[MAXWALK]; int64_t o0, so[MAXWALK], a0, sa[MAXWALK]; } Walk;

static void row_f(How how, double *o, int64_t so, const double *a, int64_t sa, int64_t n)
{
    if (how == W_COPY)
        for (int64_t i = 0; i < n; i++)
            o[i * so] = a[i * sa];
    else if (how == W_ADD)
        for (int64_t i = 0; i < n; i++)
            o[i * so] += a[i * sa];
    else
        for (int64_t i = 0; i < n; i++)
            o[i * so] = o[i * so] < a[i * sa] || isnan(a[i * sa]) ? a[i * sa] : o[i * so];
}

static void row_i(How how, int64_t *o, int64_t so, const int64_t *a, int64_t sa, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t *p = o + i * so, v = a[i * sa];
        *p = how == W_COPY ? v : how == W_ADD ? (int64_t)(U(*p) + U(v)) : *p < v ? v : *p;
    }
}

static void walk(const Walk *w, How how, Tensor *out, const Tensor *a)
{
    int32_t at[MAXWALK] = { 0 };
    int64_t o = w->o0, s = w->a0;
    int last = w->rank - 1;
    for (int i = 0; i < w->rank; i++)
        if (!w->dim[i])
            return;
    int64_t n = last < 0 ? 1 : w->dim[last], so = last < 0 ? 0 : w->so[last], sa = last < 0 ? 0 : w->sa[last];
    for (;;) {
        if (dt_float(a->dt))
            row_f(how, out->f + o, so, a->f + s, sa, n);
        else
            row_i(how, out->i + o, so, a->i + s, sa, n);
        int d = last - 1;
        for (; d >= 0; d--) {
            o += w->so[d], s += w->sa[d];
            if (++at[d] < w->dim[d])
                break;
            o -= w->so[d] * w->dim[d], s -= w->sa[d] * w->dim[d];
            at[d] = 0;
        }
        if (d < 0)
            return;
    }
}

static void strides(const Tensor *t, int64_t *s)
{
    int64_t n = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        s[i] = n;
        n *= t->dim[i];
    }
}

static void fill(Tensor *t, double f, int64_t i)
{
    int64_t n = tensor_size(t);
    if (dt_float(t->dt))
        EACH(t->f, n, f);
    else
        EACH(t->i, n, i);
}

static Walk walk_over(const Tensor *t)                     /* every index of t */
{
    Walk w = { .rank = t->rank };
    memcpy(w.dim, t->dim, sizeof t->dim);
    return w;
}

EVAL(eval_copy)
{
    (void)st, (void)x;
    size_t bytes = sizeof(double) * (size_t)tensor_size(out);
    if (bytes && dt_float(out->dt))
        memcpy(out->f, in[0]->f, bytes);
    else if (bytes)
        memcpy(out->i, in[0]->i, bytes);
}

EVAL(eval_bcast)                                           /* a new axis has stride 0 in the operand */
{
    (void)st;
    Walk w = walk_over(out);
    int64_t s[MAXDIM];
    strides(in[0], s);
    strides(out, w.so);
    for (int i = 0; i < w.rank; i++)
        w.sa[i] = x->a.map[i] < 0 ? 0 : s[x->a.map[i]];
    walk(&w, W_COPY, out, in[0]);
}

EVAL(eval_perm) { eval_bcast(x, in, out, st); }

EVAL(eval_slice)
{
    (void)st;
    Walk w = walk_over(out);
    int64_t s[MAXDIM];
    strides(out, w.so);
    strides(in[0], s);
    for (int i = 0; i < w.rank; i++) {
        w.a0 += s[i] * x->a.start[i];
        w.sa[i] = s[i] * x->a.step[i];
    }
    walk(&w, W_COPY, out, in[0]);
}

EVAL(eval_pad)
{
    (void)st;
    Walk w = walk_over(in[0]);
    int64_t s[MAXDIM];
    strides(in[0], w.sa);
    strides(out, s);
    for (int i = 0; i < w.rank; i++) {
        w.o0 += s[i] * x->a.start[i];
        w.so[i] = s[i] * x->a.step[i];
    }
    fill(out, 0, 0);
    walk(&w, W_COPY, out, in[0]);
}

/* Strides by which an array of `rank` axes is seen through a window on `axis`: the two axes of the window move
   alike. */
static void window_strides(const int64_t *s, int rank, int axis, int64_t *seen)
{
    for (int i = 0, o = 0; i < rank; i++) {
        seen[o++] = s[i];
        if (i == axis)
            seen[o++] = s[i];
    }
}

EVAL(eval_window)
{
    (void)st;
    Walk w = walk_over(out);
    int64_t s[MAXDIM];
    strides(out, w.so);
    strides(in[0], s);
    window_strides(s, in[0]->rank, x->a.axis, w.sa);
    walk(&w, W_COPY, out, in[0]);
}

EVAL(eval_fold)
{
    (void)st;
    Walk w = walk_over(in[0]);
    int64_t s[MAXDIM];
    strides(in[0], w.sa);
    strides(out, s);
    window_strides(s, out->rank, x->a.axis, w.so);
    fill(out, 0, 0);
    walk(&w, W_ADD, out, in[0]);
}

EVAL(eval_concat)
{
    (void)st;
    int64_t s[MAXDIM], at = 0;
    strides(out, s);
    for (int i = 0; i < x->nin; i++) {
        Walk w = walk_over(in[i]);
        strides(in[i], w.sa);
        memcpy(w.so, s, sizeof s);
        w.o0 = at * s[x->a.axis];
        walk(&w, W_COPY, out, in[i]);
        at += in[i]->dim[x->a.axis];
    }
}

/* A reduction writes to stride 0 on the axes that vanish. */
static void reduce(uint32_t axes, How how, const Tensor *a, Tensor *out)
{
    Walk w = walk_over(a);
    int64_t s[MAXDIM];
    strides(a, w.sa);
    strides(out, s);
    for (int i = 0, o = 0; i < a->rank; i++)
        w.so[i] = axes >> i & 1 ? 0 : s[o++];
    walk(&w, how, out, a);
}

EVAL(eval_sum)
{
    (void)st;
    fill(out, 0, 0);
    reduce(x->a.axes, W_ADD, in[0], out);
}

EVAL(eval_maxr)
{
    (void)st;
    fill(out, -INFINITY, INT64_MIN);
    reduce(x->a.axes, W_MAX, in[0], out);
}

/* ---- along one axis: element i of lane l is at base(l) + i * inner */
typedef struct { int64_t lanes, inner, len; } Lanes;

static Lanes lanes_of(const Tensor *t, int axis)
{
    Lanes l = { .inner = inner_size(t, axis), .len = t->dim[axis] };
    l.lanes = l.len ? tensor_size(t) / l.len : 0;
    return l;
}

static int64_t lane_base(const Lanes *l, int64_t lane) { return lane / l->inner * l->inner * l->len + lane % l->inner; }

static bool is_more(const Tensor *t, int64_t p, int64_t q)   /* what is no number is more than any number */
{
    if (!dt_float(t->dt))
        return t->i[p] > t->i[q];
    return t->f[p] > t->f[q] || (isnan(t->f[p]) && !isnan(t->f[q]));
}

/* the first of equals */
EVAL(eval_argmax)
{
    (void)st;
    Lanes l = lanes_of(in[0], x->a.axis);
    for (int64_t lane = 0; lane < l.lanes; lane++) {
        int64_t base = lane_base(&l, lane), best = 0;
        for (int64_t i = 1; i < l.len; i++) {
            int64_t p = base + i * l.inner, q = base + best * l.inner;
            if (is_more(in[0], p, q))
                best = i;
        }
        out->i[lane] = best;
    }
}

EVAL(eval_cumsum)
{
    (void)st;
    Lanes l = lanes_of(in[0], x->a.axis);
    for (int64_t lane = 0; lane < l.lanes; lane++) {
        int64_t p = lane_base(&l, lane), step = x->a.k ? -l.inner : l.inner;
        double f = 0;
        uint64_t u = 0;
        if (x->a.k)
            p += (l.len - 1) * l.inner;
        for (int64_t i = 0; i < l.len; i++, p += step) {
            if (dt_float(x->dt))
                out->f[p] = f += in[0]->f[p];
            else
                out->i[p] = (int64_t)(u += U(in[0]->i[p]));
        }
    }
}

typedef struct { double f; int64_t i, at; } SortKey;

static int by_rising(const void *pa, const void *pb)       /* what is no number comes last; equals keep their order */
{
    const SortKey *a = pa, *b = pb;
    if (isnan(a->f) != isnan(b->f))
        return isnan(a->f) ? 1 : -1;
    if (a->f != b->f && !isnan(a->f))
        return a->f < b->f ? -1 : 1;
    if (a->i != b->i)
        return a->i < b->i ? -1 : 1;
    return a->at < b->at ? -1 : 1;
}

EVAL(eval_argsort)
{
    (void)st;
    Lanes l = lanes_of(in[0], x->a.axis);
    SortKey *key = malloc(sizeof *key * (size_t)(l.len + 1));
    for (int64_t lane = 0; lane < l.lanes; lane++) {
        int64_t base = lane_base(&l, lane);
        for (int64_t i = 0; i < l.len; i++) {
            int64_t p = base + i * l.inner;
            bool real = dt_float(in[0]->dt);
            key[i] = (SortKey){ real ? in[0]->f[p] : 0, real ? 0 : in[0]->i[p], i };
            /* falling: of the negated values (~ reverses integers without overflow) */
            if (x->a.k) {
                key[i].f = -key[i].f;
                key[i].i = ~key[i].i;
            }
        }
        qsort(key, (size_t)l.len, sizeof *key, by_rising);
        for (int64_t i = 0; i < l.len; i++)
            out->i[base + i * l.inner] = key[i].at;
    }
    free(key);
}

/* ---- gather and scatter: x[B, N, R] by idx[B, I] -> [B, I, R] */
typedef struct { int64_t b, n, i, r; } Indexed;

static Indexed indexed(const Tensor *table, const Tensor *idx, int nb)
{
    Indexed d = { 1, table->dim[nb], 1, inner_size(table, nb) };
    for (int i = 0; i < nb; i++)
        d.b *= table->dim[i];
    for (int i = nb; i < idx->rank; i++)
        d.i *= idx->dim[i];
    return d;
}

static int64_t clamp(int64_t v, int64_t n) { return v < 0 ? 0 : v >= n ? n - 1 : v; }

EVAL(eval_gather)
{
    Indexed d = indexed(in[0], in[1], x->a.axis);
    for (int64_t b = 0; b < d.b; b++)
        for (int64_t i = 0; i < d.i; i++) {
            int64_t at = in[1]->i[b * d.i + i], from = (b * d.n + clamp(at, d.n)) * d.r, to = (b * d.i + i) * d.r;
            if ((at < 0 || at >= d.n) && st && (!st->bad || (int64_t)x->a.site < st->site))
                *st = (EvalStatus){ .site = (int64_t)x->a.site, .index = at, .value = d.n, .bad = true };
            for (int64_t r = 0; r < d.r; r++) {
                if (dt_float(x->dt))
                    out->f[to + r] = d.n ? in[0]->f[from + r] : 0;
                else
                    out->i[to + r] = d.n ? in[0]->i[from + r] : 0;
            }
        }
}

EVAL(eval_scatter)                                         /* the forward gather has reported an index out of range */
{
    (void)st;
    Indexed d = indexed(out, in[1], x->a.axis);
    fill(out, 0, 0);
    for (int64_t b = 0; b < d.b && d.n; b++)
        for (int64_t i = 0; i < d.i; i++) {
            int64_t to = (b * d.n + clamp(in[1]->i[b * d.i + i], d.n)) * d.r, from = (b * d.i + i) * d.r;
            if (dt_float(x->dt))
                row_f(W_ADD, out->f + to, 1, in[0]->f + from, 1, d.r);
            else
                row_i(W_ADD, out->i + to, 1, in[0]->i + from, 1, d.r);
        }
}

/* ---- contract: the labels fall into batch (a, b, out), M (a, out), N (b, out), K (a, b). The operands are copied
   to [batch, M, K] and [batch, K, N] (or [batch, N, K] where N is short), multiplied, and the product copied to its
   place. */
typedef struct { int n; int8_t label[MAXDIM * 2]; int64_t size; } Labels;
typedef struct { Labels batch, m, n, k; int32_t dim[25]; } Split;

static bool has_label(const int8_t *l, int rank, int label) { return rank && memchr(l, label, (size_t)rank); }

static void add_label(Labels *set, int label, int32_t dim)
{
    set->label[set->n++] = (int8_t)label;
    set->size *= dim;
}

static Split split_labels(const Node *x, const Tensor *a, const Tensor *b)
{
    Split s = { { .size = 1 }, { .size = 1 }, { .size = 1 }, { .size = 1 }, { 0 } };
    for (int i = 0; i < a->rank; i++)
        s.dim[x->a.la[i]] = a->dim[i];
    for (int i = 0; i < b->rank; i++)
        s.dim[x->a.lb[i]] = b->dim[i];
    for (int i = 0; i < x->rank; i++) {
        int l = x->a.lo[i];
        bool ina = has_label(x->a.la, a->rank, l), inb = has_label(x->a.lb, b->rank, l);
        add_label(ina && inb ? &s.batch : ina ? &s.m : &s.n, l, s.dim[l]);
    }
    for (int i = 0; i < a->rank; i++)                      /* (one that b lacks sums a alone; b gets stride 0) */
        if (!has_label(x->a.lo, x->rank, x->a.la[i]))
            add_label(&s.k, x->a.la[i], a->dim[i]);
    for (int i = 0; i < b->rank; i++)
        if (!has_label(x->a.lo, x->rank, x->a.lb[i]) && !has_label(x->a.la, a->rank, x->a.lb[i]))
            add_label(&s.k, x->a.lb[i], b->dim[i]);
    return s;
}

/* A walk over three sets of labels; t has its strides (`own`, 0 for a label it lacks), the packed side is dense in
   this order. */
static void walk_labels(Walk *w, const Split *s, const Labels *const set[3], const Tensor *t, const int8_t *lt,
    int64_t *own, int64_t *dense)
{
    int64_t st[MAXDIM], n = 1;
    strides(t, st);
    for (int j = 0; j < 3; j++)
        for (int i = 0; i < set[j]->n; i++) {
            int l = set[j]->label[i];
            const int8_t *at = t->rank ? memchr(lt, l, t->rank) : NULL;
            own[w->rank] = at ? st[at - lt] : 0;
            w->dim[w->rank++] = s->dim[l];
        }
    for (int i = w->rank - 1; i >= 0; i--) {
        dense[i] = n;
        n *= w->dim[i];
    }
}

static Tensor scratch(Dt dt, int64_t n)                    /* zeros */
{
    void *p = calloc((size_t)n + 1, sizeof(int64_t));
    return (Tensor){ .dt = dt, .f = dt_float(dt) ? p : NULL, .i = dt_float(dt) ? NULL : p };
}

/* t in the order of the three sets: a copy, or t itself where it lies so. */
static Tensor pack(const Split *s, const Labels *p, const Labels *q, const Labels *r, const Tensor *t, const int8_t *lt)
{
    Walk w = { 0 };
    walk_labels(&w, s, (const Labels *[]){ p, q, r }, t, lt, w.sa, w.so);
    if (!memcmp(w.sa, w.so, sizeof *w.sa * (size_t)w.rank))
        return *t;
    Tensor out = scratch(t->dt, p->size * q->size * r->size);
    walk(&w, W_COPY, &out, t);
    return out;
}

static void unpack(const Node *x, const Split *s, const Tensor *c, Tensor *out)
{
    Walk w = { 0 };
    walk_labels(&w, s, (const Labels *[]){ &s->batch, &s->m, &s->n }, out, x->a.lo, w.so, w.sa);
    walk(&w, W_COPY, out, c);
}

static void unscratch(Tensor *t, const Tensor *not_this)
{
    if (t->f != not_this->f)
        free(t->f);
    if (t->i != not_this->i)
        free(t->i);
}

/* c[M,N] += a[M,K] b[K,N], four rows of b at a time: each pass over a row of c does four multiply-adds per element. */
static void gemm_rows(int64_t m, int64_t n, int64_t k, const double *a, const double *b, double *c)
{
    for (int64_t i = 0; i < m; i++) {
        double *ci = c + i * n;
        const double *ai = a + i * k;
        int64_t p = 0;
        for (; p + 4 <= k; p += 4) {
            double a0 = ai[p], a1 = ai[p + 1], a2 = ai[p + 2], a3 = ai[p + 3];
            const double *b0 = b + p * n, *b1 = b0 + n, *b2 = b1 + n, *b3 = b2 + n;
            for (int64_t j = 0; j < n; j++)
                ci[j] += a0 * b0[j] + a1 * b1[j] + a2 * b2[j] + a3 * b3[j];
        }
        for (; p < k; p++)
            for (int64_t j = 0; j < n; j++)
                ci[j] += ai[p] * b[p * n + j];
    }
}

/* c[M,N] += a[M,K] b[N,K]' */
static void gemm_dots(int64_t m, int64_t n, int64_t k, const double *a, const double *b, double *c)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            const double *ai = a + i * k, *bj = b + j * k;
            double s0 = 0, s1 = 0, s2 = 0, s3 = 0;
            int64_t p = 0;
            for (; p + 4 <= k; p += 4) {
                s0 += ai[p] * bj[p], s1 += ai[p + 1] * bj[p + 1];
                s2 += ai[p + 2] * bj[p + 2], s3 += ai[p + 3] * bj[p + 3];
            }
            for (; p < k; p++)
                s0 += ai[p] * bj[p];
            c[i * n + j] += (s0 + s1) + (s2 + s3);
        }
}

static void contract_ints(const Split *s, const int64_t *a, const int64_t *b, int64_t *c)
{
    for (int64_t t = 0; t < s->batch.size; t++)
        for (int64_t i = 0; i < s->m.size; i++)
            for (int64_t j = 0; j < s->n.size; j++) {
                uint64_t sum = 0;
                for (int64_t p = 0; p < s->k.size; p++)
                    sum += U(a[(t * s->m.size + i) * s->k.size + p]) * U(b[(t * s->n.size + j) * s->k.size + p]);
                c[(t * s->m.size + i) * s->n.size + j] = (int64_t)sum;
            }
}

EVAL(eval_contract)
{
    (void)st;
    Split s = split_labels(x, in[0], in[1]);
    int64_t m = s.m.size, n = s.n.size, k = s.k.size;
    bool real = dt_float(x->dt), rows = real && n >= 4;
    Tensor a = pack(&s, &s.batch, &s.m, &s.k, in[0], x->a.la), c = scratch(x->dt, s.batch.size * m * n);
    Tensor b = rows ? pack(&s, &s.batch, &s.k, &s.n, in[1], x->a.lb) : pack(&s, &s.batch, &s.n, &s.k, in[1], x->a.lb);
    if (!real)
        contract_ints(&s, a.i, b.i, c.i);
    for (int64_t t = 0; real && t < s.batch.size; t++)
        (rows ? gemm_rows : gemm_dots)(m, n, k, a.f + t * m * k, b.f + t * k * n, c.f + t * m * n);
    unpack(x, &s, &c, out);
    unscratch(&a, in[0]);
    unscratch(&b, in[1]);
    unscratch(&c, out);
}
