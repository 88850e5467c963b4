/* ops.c: the table of operations, and their shape rules.
   Requires: operands are well formed. A rule fills in type and shape from operands and attributes where they decide it;
   where they do not (leaves, CAST, BCAST, RESHAPE, SLICE, PAD, SCATTER) it checks what was given. */
#include "ops.h"
#include <string.h>

static void shape_of(Node *x, const Node *like)
{
    x->rank = like->rank;
    memcpy(x->dim, like->dim, sizeof x->dim);
}

bool same_shape(const Node *a, const Node *b)
{
    return a->rank == b->rank && !memcmp(a->dim, b->dim, sizeof(int32_t) * a->rank);
}

bool same_type(const Node *a, const Node *b) { return a->dt == b->dt && same_shape(a, b); }

static bool integer(int dt) { return dt == I32 || dt == I64 || dt == U32 || dt == U8; }
static bool number(int dt) { return dt_float(dt) || integer(dt); }

/* ---- leaves and elementwise */
static const char *infer_given(Node *x)
{
    if (x->dt >= NDT)
        return "no element type";
    if (x->op == OP_IOTA && (!number(x->dt) || x->a.axis < 0 || x->a.axis >= x->rank))
        return "an iota needs a number type and an axis of its shape";
    return NULL;
}

/* all operands of one type and shape, which is the result's */
static const char *infer_same(Node *x)
{
    for (int i = 1; i < x->nin; i++)
        if (!same_type(x->in[i], x->in[0]))
            return "operands differ in type or shape";
    x->dt = x->in[0]->dt;
    shape_of(x, x->in[0]);
    return NULL;
}

static const char *infer_number(Node *x)
{
    const char *bad = infer_same(x);
    return bad ? bad : number(x->dt) ? NULL : "wants numbers";
}

static const char *infer_float(Node *x)
{
    const char *bad = infer_same(x);
    return bad ? bad : dt_float(x->dt) ? NULL : "wants floats";
}

static const char *infer_bool(Node *x)
{
    const char *bad = infer_same(x);
    return bad ? bad : x->dt == BOOL ? NULL : "wants bools";
}

static const char *infer_compare(Node *x)
{
    const char *bad = infer_same(x);
    x->dt = BOOL;
    return bad;
}

static const char *infer_cast(Node *x)
{
    shape_of(x, x->in[0]);
    return x->dt < NDT ? NULL : "no element type";
}

static const char *infer_select(Node *x)
{
    if (x->in[0]->dt != BOOL || !same_shape(x->in[0], x->in[1]) || !same_type(x->in[1], x->in[2]))
        return "wants (bool, a, b) of one shape, a and b of one type";
    x->dt = x->in[1]->dt;
    shape_of(x, x->in[1]);
    return NULL;
}

static const char *infer_bits(Node *x)
{
    for (int i = 0; i < 4; i++)
        if (x->in[i]->dt != I64)
            return "operands must be i64";
    if (x->in[0]->rank || x->in[1]->rank || !same_shape(x->in[2], x->in[3]))
        return "wants seed [], step [], item and element of one shape";
    if (x->a.k < 0 || x->a.k > 3)
        return "the word is 0 to 3";
    x->dt = U32;
    shape_of(x, x->in[2]);
    return NULL;
}

/* ---- views */
static const char *infer_bcast(Node *x)
{
    const Node *y = x->in[0];
    unsigned seen = 0;
    x->dt = y->dt;
    for (int i = 0; i < x->rank; i++) {
        int m = x->a.map[i];
        if (m < -1 || m >= y->rank || (m >= 0 && (seen >> m & 1 || y->dim[m] != x->dim[i])))
            return "each axis of the operand must be one axis of the result, of its size";
        if (m >= 0)
            seen |= 1u << m;
    }
    return seen == (1u << y->rank) - 1 ? NULL : "an axis of the operand is missing in the result";
}

static const char *infer_perm(Node *x)
{
    const Node *y = x->in[0];
    unsigned seen = 0;
    x->dt = y->dt, x->rank = y->rank;
    for (int i = 0; i < x->rank; i++) {
        int m = x->a.map[i];
        if (m < 0 || m >= y->rank || seen >> m & 1)
            return "not a permutation";
        seen |= 1u << m;
        x->dim[i] = y->dim[m];
    }
    return NULL;
}

static const char *infer_reshape(Node *x)
{
    x->dt = x->in[0]->dt;
    return n_size(x) == n_size(x->in[0]) ? NULL : "the number of elements changes";
}

/* Do start + step * j, for j in 0 .. n-1, lie within size? */
static bool range_within(int64_t start, int64_t step, int64_t n, int64_t size)
{
    int64_t last = start + step * (n - 1);
    return n == 0 || (step != 0 && start >= 0 && start < size && last >= 0 && last < size);
}

static const char *infer_slice(Node *x)
{
    const Node *y = x->in[0];
    x->dt = y->dt;
    if (x->rank != y->rank)
        return "the rank changes";
    for (int i = 0; i < x->rank; i++)
        if (!range_within(x->a.start[i], x->a.step[i], x->dim[i], y->dim[i]))
            return "reaches outside of its operand";
    return NULL;
}

static const char *infer_pad(Node *x)
{
    const Node *y = x->in[0];
    x->dt = y->dt;
    if (x->rank != y->rank)
        return "the rank changes";
    for (int i = 0; i < x->rank; i++)
        if (!range_within(x->a.start[i], x->a.step[i], y->dim[i], x->dim[i]))
            return "the operand reaches outside of the result";
    return NULL;
}

static const char *infer_window(Node *x)                   /* [.., T, ..] -> [.., T-n+1, n, ..] */
{
    const Node *y = x->in[0];
    int ax = x->a.axis;
    if (ax < 0 || ax >= y->rank || y->rank == MAXDIM || x->a.k < 1 || x->a.k > y->dim[ax])
        return "needs an axis at least as long as the window";
    x->dt = y->dt, x->rank = y->rank + 1;
    for (int i = 0, o = 0; i < y->rank; i++) {
        x->dim[o++] = i == ax ? y->dim[i] - (int32_t)x->a.k + 1 : y->dim[i];
        if (i == ax)
            x->dim[o++] = (int32_t)x->a.k;
    }
    return NULL;
}

static const char *infer_fold(Node *x)                     /* [.., T-n+1, n, ..] -> [.., T, ..] */
{
    const Node *y = x->in[0];
    int ax = x->a.axis;
    if (ax < 0 || ax + 1 >= y->rank || y->dim[ax + 1] != x->a.k)
        return "needs the window's two axes";
    x->dt = y->dt, x->rank = y->rank - 1;
    for (int i = 0; i < x->rank; i++)
        x->dim[i] = i < ax ? y->dim[i] : i == ax ? y->dim[i] + (int32_t)x->a.k - 1 : y->dim[i + 1];
    return number(x->dt) ? NULL : "wants numbers";
}

/* ---- data movement */
static const char *infer_concat(Node *x)
{
    int ax = x->a.axis;
    int64_t total = 0;
    if (!x->nin || ax < 0 || ax >= x->in[0]->rank)
        return "needs operands that have the axis";
    x->dt = x->in[0]->dt;
    shape_of(x, x->in[0]);
    for (int i = 0; i < x->nin; i++) {
        const Node *y = x->in[i];
        if (y->dt != x->dt || y->rank != x->rank)
            return "operands differ in type or rank";
        for (int d = 0; d < x->rank; d++)
            if (d != ax && y->dim[d] != x->dim[d])
                return "operands differ in another axis";
        total += y->dim[ax];
    }
    x->dim[ax] = (int32_t)total;
    return total <= INT32_MAX ? NULL : "the axis becomes too long";
}

static const char *batch_agrees(const Node *a, const Node *b, int nb)
{
    if (nb < 0 || nb > a->rank || nb > b->rank || memcmp(a->dim, b->dim, sizeof(int32_t) * (size_t)nb))
        return "the leading axes differ";
    return NULL;
}

static const char *infer_gather(Node *x)                   /* x[b.., n, r..], idx[b.., i..] -> [b.., i.., r..] */
{
    const Node *y = x->in[0], *idx = x->in[1];
    int nb = x->a.axis;
    const char *bad = batch_agrees(y, idx, nb);
    if (bad || !integer(idx->dt))
        return bad ? bad : "the index must be of an integer type";
    if (y->rank <= nb || idx->rank + y->rank - nb - 1 > MAXDIM)
        return "no axis to index, or too many axes";
    x->dt = y->dt, x->rank = 0;
    for (int i = 0; i < idx->rank; i++)
        x->dim[x->rank++] = idx->dim[i];
    for (int i = nb + 1; i < y->rank; i++)
        x->dim[x->rank++] = y->dim[i];
    return NULL;
}

static const char *infer_scatter(Node *x)                  /* d[b.., i.., r..], idx[b.., i..] -> [b.., n, r..] */
{
    const Node *d = x->in[0], *idx = x->in[1];
    int nb = x->a.axis, rest = d->rank - idx->rank;
    const char *bad = batch_agrees(x, idx, nb);
    if (bad || !integer(idx->dt))
        return bad ? bad : "the index must be of an integer type";
    if (rest < 0 || memcmp(d->dim, idx->dim, sizeof(int32_t) * idx->rank) || x->rank != nb + 1 + rest ||
        memcmp(d->dim + idx->rank, x->dim + nb + 1, sizeof(int32_t) * (size_t)rest))
        return "operand, index and result do not fit";
    x->dt = d->dt;
    return number(x->dt) ? NULL : "wants numbers";
}

static const char *infer_along(Node *x)                    /* CUMSUM, ARGSORT */
{
    x->dt = x->op == OP_ARGSORT ? I32 : x->in[0]->dt;
    shape_of(x, x->in[0]);
    if (x->a.axis < 0 || x->a.axis >= x->rank)
        return "no such axis";
    return number(x->in[0]->dt) ? NULL : "wants numbers";
}

/* ---- reductions and products */
static const char *infer_reduce(Node *x)
{
    const Node *y = x->in[0];
    uint32_t axes = x->op == OP_ARGMAX ? x->a.axis < 0 ? ~0u : 1u << x->a.axis : x->a.axes;
    if (axes >> y->rank)
        return "no such axis";
    x->dt = x->op == OP_ARGMAX ? I32 : y->dt;
    x->rank = 0;
    for (int i = 0; i < y->rank; i++) {
        if (!(axes >> i & 1))
            x->dim[x->rank++] = y->dim[i];
        else if (!y->dim[i] && x->op != OP_SUM)
            return "no elements to choose from";
    }
    return number(y->dt) ? NULL : "wants numbers";
}

/* Sizes of the labels of one operand. */
static const char *label_sizes(const Node *y, const int8_t *l, int32_t *size)
{
    unsigned seen = 0;
    for (int i = 0; i < y->rank; i++) {
        if (l[i] < 1 || l[i] > 24 || seen >> l[i] & 1)
            return "labels are 1 to 24, each once in an operand";
        if (size[l[i]] >= 0 && size[l[i]] != y->dim[i])
            return "a label has two sizes";
        seen |= 1u << l[i];
        size[l[i]] = y->dim[i];
    }
    return NULL;
}

static const char *infer_contract(Node *x)
{
    int32_t size[25];
    memset(size, -1, sizeof size);
    const char *bad = label_sizes(x->in[0], x->a.la, size);
    if (!bad)
        bad = label_sizes(x->in[1], x->a.lb, size);
    if (bad)
        return bad;
    if (x->in[0]->dt != x->in[1]->dt || !number(x->in[0]->dt))
        return "wants numbers of one type";
    x->dt = x->in[0]->dt;
    unsigned seen = 0;
    for (x->rank = 0; x->rank < MAXDIM && x->a.lo[x->rank]; x->rank++) {
        int l = x->a.lo[x->rank];
        if (l < 1 || l > 24 || size[l] < 0 || seen >> l & 1)
            return "each label of the result must be in an operand, and once in the result";
        seen |= 1u << l;
        x->dim[x->rank] = size[l];
    }
    return NULL;
}

/* ---- structure */
static const char *infer_cond(Node *x)
{
    const Region *a = x->a.r[0], *b = x->a.r[1];
    if (x->nin < 1 || x->in[0]->dt != BOOL || x->in[0]->rank)
        return "the predicate must be bool[]";
    if (a->np != x->nin - 1 || b->np != x->nin - 1 || a->nr != b->nr)
        return "regions and captures do not agree in number";
    for (int i = 0; i < a->np; i++)
        if (!same_type(a->formal[i], x->in[i + 1]) || !same_type(b->formal[i], x->in[i + 1]))
            return "a capture and its formal differ in type";
    for (int i = 0; i < a->nr; i++)
        if (!same_type(a->result[i], b->result[i]))
            return "a result has two types";
    x->dt = NDT, x->rank = 0;
    return NULL;
}

static const char *formal_fits(const Node *f, int kind, const Node *in, int64_t trip)
{
    if (kind != K_ITEM)
        return same_type(f, in) ? NULL : "an operand and its formal differ in type";
    if (in->dt != f->dt || in->rank != f->rank + 1 || in->dim[0] != trip ||
        memcmp(in->dim + 1, f->dim, sizeof(int32_t) * f->rank))
        return "an item must be a slice of an operand with trip slices";
    return NULL;
}

static int next_carry(const Region *r, int i)              /* the first CARRY formal from i on */
{
    while (i < r->np && r->fkind[i] != K_CARRY)
        i++;
    return i;
}

static const char *infer_loop(Node *x)
{
    const Region *r = x->a.r[0];
    /* carry: the formal that the next CARRY result goes back to */
    int nin = 0, carry = 0;
    if (x->a.k < 0 || x->a.k > INT32_MAX)
        return "bad trip count";
    for (int i = 0; i < r->np; i++) {
        const Node *f = r->formal[i];
        if (r->fkind[i] == K_INDEX) {
            if (f->dt != I32 || f->rank)
                return "the index is i32[]";
            continue;
        }
        if (nin == x->nin)
            return "an operand is missing";
        const char *bad = formal_fits(f, r->fkind[i], x->in[nin++], x->a.k);
        if (bad)
            return bad;
    }
    if (nin != x->nin)
        return "too many operands";
    for (int i = 0; i < r->nr; i++) {
        const Node *y = r->result[i];
        if (r->rkind[i] == K_CARRY) {
            carry = next_carry(r, carry);
            if (carry == r->np || !same_type(y, r->formal[carry++]))
                return "a carry's result and formal differ in type";
        }
        if (r->rkind[i] == K_STACK && y->rank == MAXDIM)
            return "too many axes to stack";
        if (r->rkind[i] == K_SUM && !number(y->dt))
            return "a sum of what is no number";
    }
    x->dt = NDT, x->rank = 0;
    return next_carry(r, carry) == r->np ? NULL : "a carry has no result";
}

static const char *infer_out(Node *x)
{
    const Node *s = x->in[0];
    if ((s->op != OP_COND && s->op != OP_LOOP) || x->a.k < 0 || x->a.k >= s->a.r[0]->nr)
        return "no such result";
    const Node *y = s->a.r[0]->result[x->a.k];
    x->dt = y->dt;
    shape_of(x, y);
    if (s->op == OP_LOOP && s->a.r[0]->rkind[x->a.k] == K_STACK) {
        x->rank = y->rank + 1;
        x->dim[0] = (int32_t)s->a.k;
        memcpy(x->dim + 1, y->dim, sizeof(int32_t) * y->rank);
    }
    return NULL;
}

/* ---- the table */
#define F(n) .ff = ff_##n
#define FI(n) .ff = ff_##n, .ii = ii_##n
#define CMP(n) .fi = fi_##n, .ii = ii_##n

#define OP(NAME, text, n, grp) [OP_##NAME] = { .name = text, .arity = n, .group = G_##grp, ROW_##NAME },
#define ROW_CONST    .infer = infer_given, .attrs = A_VALUE, .eval = eval_const
#define ROW_FORMAL   .infer = infer_given, .attrs = A_K
#define ROW_IOTA     .infer = infer_given, .attrs = A_AXIS, .eval = eval_iota
#define ROW_DATA     .infer = infer_given, .attrs = A_DATA, .eval = eval_data
#define ROW_NEG      .infer = infer_number, FI(neg)
#define ROW_ABS      .infer = infer_number, FI(abs)
#define ROW_SIGN     .infer = infer_number, FI(sign)
#define ROW_FLOOR    .infer = infer_number, FI(floor)
#define ROW_SQRT     .infer = infer_float, F(sqrt)
#define ROW_EXP      .infer = infer_float, F(exp)
#define ROW_LOG      .infer = infer_float, F(log)
#define ROW_SIN      .infer = infer_float, F(sin)
#define ROW_COS      .infer = infer_float, F(cos)
#define ROW_TANH     .infer = infer_float, F(tanh)
#define ROW_SIGMOID  .infer = infer_float, F(sigmoid)
#define ROW_ERF      .infer = infer_float, F(erf)
#define ROW_NOT      .infer = infer_bool, .ii = ii_not
#define ROW_CAST     .infer = infer_cast, .eval = eval_cast
#define ROW_ADD      .infer = infer_number, FI(add)
#define ROW_SUB      .infer = infer_number, FI(sub)
#define ROW_MUL      .infer = infer_number, FI(mul)
#define ROW_DIV      .infer = infer_float, F(div)
#define ROW_POW      .infer = infer_float, F(pow)
#define ROW_MIN      .infer = infer_number, FI(min)
#define ROW_MAX      .infer = infer_number, FI(max)
#define ROW_IDIV     .infer = infer_number, FI(idiv)
#define ROW_MOD      .infer = infer_number, FI(mod)
#define ROW_LT       .infer = infer_compare, CMP(lt)
#define ROW_LE       .infer = infer_compare, CMP(le)
#define ROW_EQ       .infer = infer_compare, CMP(eq)
#define ROW_AND      .infer = infer_bool, .ii = ii_and
#define ROW_OR       .infer = infer_bool, .ii = ii_or
#define ROW_SELECT   .infer = infer_select, .eval = eval_select
#define ROW_BITS     .infer = infer_bits, .attrs = A_K | A_SITE, .eval = eval_bits
#define ROW_BCAST    .infer = infer_bcast, .attrs = A_MAP, .eval = eval_bcast
#define ROW_PERM     .infer = infer_perm, .attrs = A_MAP, .eval = eval_perm
#define ROW_RESHAPE  .infer = infer_reshape, .eval = eval_copy
#define ROW_SLICE    .infer = infer_slice, .attrs = A_RANGE, .eval = eval_slice
#define ROW_PAD      .infer = infer_pad, .attrs = A_RANGE, .eval = eval_pad
#define ROW_WINDOW   .infer = infer_window, .attrs = A_AXIS | A_K, .eval = eval_window
#define ROW_FOLD     .infer = infer_fold, .attrs = A_AXIS | A_K, .eval = eval_fold
#define ROW_CONCAT   .infer = infer_concat, .attrs = A_AXIS, .eval = eval_concat
#define ROW_GATHER   .infer = infer_gather, .attrs = A_AXIS | A_SITE, .eval = eval_gather
#define ROW_SCATTER  .infer = infer_scatter, .attrs = A_AXIS, .eval = eval_scatter
#define ROW_CUMSUM   .infer = infer_along, .attrs = A_AXIS | A_K, .eval = eval_cumsum
#define ROW_ARGSORT  .infer = infer_along, .attrs = A_AXIS | A_K, .eval = eval_argsort
#define ROW_SUM      .infer = infer_reduce, .attrs = A_AXES, .eval = eval_sum
#define ROW_MAXR     .infer = infer_reduce, .attrs = A_AXES, .eval = eval_maxr
#define ROW_ARGMAX   .infer = infer_reduce, .attrs = A_AXIS, .eval = eval_argmax
#define ROW_CONTRACT .infer = infer_contract, .attrs = A_LABELS, .eval = eval_contract
#define ROW_COND     .infer = infer_cond, .attrs = A_REGION
#define ROW_LOOP     .infer = infer_loop, .attrs = A_REGION | A_K | A_REVERSE
#define ROW_OUT      .infer = infer_out, .attrs = A_K
#define ROW_MARK     .infer = infer_same, .attrs = A_K, .eval = eval_copy
#define ROW_STOP     .infer = infer_same, .attrs = A_K, .eval = eval_copy
const OpRow op_row[NOPS] = {
#include "ops.def"
};
#undef OP

int dt_size(Dt dt)
{
    static const int size[NDT] = { [F32] = 4, [F64] = 8, [I32] = 4, [I64] = 8, [U32] = 4, [U8] = 1, [BOOL] = 1 };
    return dt < NDT ? size[dt] : 0;
}

const char *dt_name(Dt dt)
{
    static const char *const name[NDT + 1] = { "f32", "f64", "i32", "i64", "u32", "u8", "bool", "results" };
    return name[dt <= NDT ? dt : NDT];
}

int64_t n_size(const Node *x)
{
    int64_t n = 1;
    for (int i = 0; i < x->rank; i++)
        if (__builtin_mul_overflow(n, (int64_t)x->dim[i], &n))
            return INT64_MAX;                              /* whoever asks finds it too big */
    return n;
}
