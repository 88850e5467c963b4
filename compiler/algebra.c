/* algebra.c: simplify(x): a node that equals x and is simpler, or NULL. node() calls it on every new node, so that
   constant folding and the rules below need no pass. Each operation has one function of rules; they look one operand
   deep.
   Rules keep results to the bit, except these:
   - zeros are structural: x * 0 is 0 and x + 0 is x, whatever x is (0 * inf, -0 + 0), as a missing gradient or
     weight means "nothing";
   - a sum of equal numbers is a product, and sums merge: equal to rounding;
   - x ^ 2, x ^ 3, x ^ 0.5, x ^ -1 are products, roots and quotients: equal to rounding, and sqrt(-0) is -0 where pow
     gives 0.
   Numbers in front of a value merge where one of them is a power of two, x + x is 2 * x, and signs move from a factor
   to the sum around it: to the bit, unless a product is too small or too large for its type.
   min and max keep their operand order: at a tie the gradient goes to the first. */
#include "ops.h"
#include <math.h>
#include <string.h>

/* ---- small words */
static bool splat(const Node *x) { return x->op == OP_CONST; }
static bool is(const Node *x, int v) { return splat(x) && (dt_float(x->dt) ? x->a.num == v : x->a.inum == v); }
static bool isf(const Node *x, double v) { return splat(x) && dt_float(x->dt) && x->a.num == v; }

static Node *with_op(Op op, const Node *x, Node *const *in)   /* x with another operation */
{
    return node(op, NDT, 0, NULL, op_row[op].arity, in, NULL, x->loc);
}

static Node *un(Op op, Node *a) { return n_un(op, a); }
static Node *bin(Op op, Node *a, Node *b) { return node(op, NDT, 0, NULL, 2, (Node *[]){ a, b }, NULL, (Loc){ 0 }); }
static Node *like(const Node *x, double v) { return n_splat(x->dt, v, x->rank, x->dim); }

static Node *resplat(const Node *c, int rank, const int32_t *dim)   /* the same number in another shape */
{
    return node(OP_CONST, c->dt, rank, dim, 0, NULL, &c->a, c->loc);
}

/* ---- folding */
/* all operands are splats: compute one element in the node's own type */
static Node *fold(const Node *x)
{
    Tensor t[5], *in[4];
    double f[5];
    int64_t i[5];
    if (x->nin < 1 || x->nin > 4)
        return NULL;
    for (int j = 0; j < x->nin; j++) {
        if (!splat(x->in[j]))
            return NULL;
        f[j] = x->in[j]->a.num, i[j] = x->in[j]->a.inum;
        t[j] = (Tensor){ .dt = x->in[j]->dt, .f = &f[j], .i = &i[j] };
        in[j] = &t[j];
    }
    if ((x->op == OP_IDIV || x->op == OP_MOD) && !dt_float(x->dt) && i[1] == 0)
        return NULL;                                       /* left to the running program */
    t[4] = (Tensor){ .dt = x->dt, .f = &f[4], .i = &i[4] };
    f[4] = 0, i[4] = 0;
    elem_eval(x, in, &t[4], NULL);
    tensor_round(&t[4]);
    Attr a = { .num = f[4], .inum = i[4] };
    return node(OP_CONST, x->dt, x->rank, x->dim, 0, NULL, &a, x->loc);
}

static bool same_bcast(const Node *a, const Node *b)
{
    return !memcmp(a->a.map, b->a.map, sizeof a->a.map) && same_shape(a->in[0], b->in[0]);
}

/* An operation on values that are all broadcast alike is done before the broadcast. */
static Node *before_bcast(const Node *x)
{
    const Node *b = NULL;
    Node *in[4];
    for (int j = 0; j < x->nin; j++) {
        const Node *y = x->in[j];
        if (y->op == OP_BCAST && !b)
            b = y;
        else if (y->op == OP_BCAST ? !same_bcast(y, b) : !splat(y))
            return NULL;
    }
    if (!b || x->op == OP_BITS)
        return NULL;
    for (int j = 0; j < x->nin; j++)
        in[j] = splat(x->in[j]) ? resplat(x->in[j], b->in[0]->rank, b->in[0]->dim) : x->in[j]->in[0];
    Node *y = node(x->op, x->dt, 0, NULL, x->nin, in, &x->a, x->loc);
    return n_bcast(y, x->rank, x->dim, b->a.map);
}

static Node *ordered(const Node *x)                        /* commutative: the older operand first */
{
    return x->in[0]->id <= x->in[1]->id ? NULL : bin(x->op, x->in[1], x->in[0]);
}

/* ---- arithmetic */
static Node *rule_neg(const Node *x)
{
    const Node *a = x->in[0];
    if (a->op == OP_NEG)
        return a->in[0];
    if (a->op == OP_MUL)
        for (int i = 0; i < 2; i++)
            if (splat(a->in[i]))
                return bin(OP_MUL, a->in[!i], un(OP_NEG, a->in[i]));
    return NULL;
}

static Node *rule_abs(const Node *x)
{
    Node *a = x->in[0];
    return a->op == OP_ABS ? a : a->op == OP_NEG ? un(OP_ABS, a->in[0]) : NULL;
}

static Node *rule_floor(const Node *x) { return !dt_float(x->dt) || x->in[0]->op == OP_FLOOR ? x->in[0] : NULL; }
static Node *rule_not(const Node *x) { return x->in[0]->op == OP_NOT ? x->in[0]->in[0] : NULL; }

/* x * c with c < 0: x * -c; NULL for others */
static Node *minus_factor(const Node *x)
{
    if (x->op == OP_MUL && dt_float(x->dt))
        for (int i = 0; i < 2; i++)
            if (splat(x->in[i]) && x->in[i]->a.num < 0)
                return bin(OP_MUL, x->in[!i], un(OP_NEG, x->in[i]));
    return NULL;
}

static Node *rule_add(const Node *x)
{
    Node *a = x->in[0], *b = x->in[1], *y;
    if (is(a, 0))
        return b;
    if (is(b, 0))
        return a;
    if (a == b && dt_float(x->dt))
        return bin(OP_MUL, a, like(x, 2));
    if ((y = minus_factor(b)))
        return bin(OP_SUB, a, y);
    if ((y = minus_factor(a)))
        return bin(OP_SUB, b, y);
    if (b->op == OP_NEG)
        return bin(OP_SUB, a, b->in[0]);
    if (a->op == OP_NEG)
        return bin(OP_SUB, b, a->in[0]);
    return ordered(x);
}

static Node *rule_sub(const Node *x)
{
    Node *a = x->in[0], *b = x->in[1], *y;
    if (is(b, 0))
        return a;
    if (is(a, 0))
        return un(OP_NEG, b);
    if ((y = minus_factor(b)))
        return bin(OP_ADD, a, y);
    return b->op == OP_NEG ? bin(OP_ADD, a, b->in[0]) : NULL;
}

static bool power_of_two(const Node *c)
{
    int e;
    double m = frexp(c->a.num, &e);
    return (m == 0.5 || m == -0.5) && e > -100 && e < 100;
}

/* c * (y * d) = y * (c * d), where nothing is rounded twice */
static Node *merged_factors(Node *c, Node *y)
{
    if (!splat(c) || y->op != OP_MUL || !dt_float(c->dt))
        return NULL;
    for (int i = 0; i < 2; i++) {
        Node *d = y->in[i];
        if (splat(d) && isfinite(d->a.num) && (power_of_two(c) || (power_of_two(d) && isfinite(c->a.num))))
            return bin(OP_MUL, y->in[!i], bin(OP_MUL, c, d));
    }
    return NULL;
}

static Node *rule_mul(const Node *x)
{
    for (int i = 0; i < 2; i++) {
        Node *c = x->in[i], *y = x->in[!i], *m = merged_factors(c, y);
        if (is(c, 0))
            return c;
        if (is(c, 1))
            return y;
        if (isf(c, -1))
            return un(OP_NEG, y);
        if (splat(c) && y->op == OP_NEG)
            return bin(OP_MUL, y->in[0], un(OP_NEG, c));
        if (m)
            return m;
    }
    return ordered(x);
}

static Node *rule_div(const Node *x)
{
    return is(x->in[1], 1) ? x->in[0] : isf(x->in[1], -1) ? un(OP_NEG, x->in[0]) : NULL;
}

static Node *rule_idiv(const Node *x) { return is(x->in[1], 1) && !dt_float(x->dt) ? x->in[0] : NULL; }
static Node *rule_mod(const Node *x) { return is(x->in[1], 1) && !dt_float(x->dt) ? like(x, 0) : NULL; }
static Node *rule_same(const Node *x) { return x->in[0] == x->in[1] ? x->in[0] : NULL; }

static Node *rule_pow(const Node *x)
{
    Node *a = x->in[0], *e = x->in[1], *one = NULL;
    if (isf(e, 0))
        return like(x, 1);
    if (isf(e, 1))
        return a;
    if (isf(e, 2))
        return bin(OP_MUL, a, a);
    if (isf(e, 3))
        return bin(OP_MUL, bin(OP_MUL, a, a), a);
    if (isf(e, 0.5))
        return un(OP_SQRT, a);
    if (isf(e, -1) || isf(e, -0.5))
        one = like(x, 1);
    return !one ? NULL : bin(OP_DIV, one, isf(e, -1) ? a : un(OP_SQRT, a));
}

/* ---- logic */
static Node *rule_compare(const Node *x)
{
    if (x->in[0] == x->in[1] && !dt_float(x->in[0]->dt))
        return like(x, x->op != OP_LT);
    return x->op == OP_EQ ? ordered(x) : NULL;
}

/* AND: true vanishes, false decides; OR: the other way round */
static Node *rule_logic(const Node *x)
{
    int neutral = x->op == OP_AND;
    for (int i = 0; i < 2; i++)
        if (splat(x->in[i]))
            return is(x->in[i], neutral) ? x->in[!i] : x->in[i];
    return x->in[0] == x->in[1] ? x->in[0] : ordered(x);
}

static Node *rule_select(const Node *x)
{
    Node *c = x->in[0], *a = x->in[1], *b = x->in[2];
    if (splat(c))
        return is(c, 0) ? b : a;
    if (a == b)
        return a;
    return c->op == OP_NOT ? with_op(OP_SELECT, x, (Node *[]){ c->in[0], b, a }) : NULL;
}

static bool holds_all_of(int wide, int narrow)             /* every value of `narrow` is one of `wide`, exactly */
{
    switch (narrow) {
    case BOOL: return true;
    case U8:   return wide != BOOL;
    case I32:  return wide == I64 || wide == F64;
    case U32:  return wide == I64 || wide == F64;
    case F32:  return wide == F64;
    default:   return false;
    }
}

static Node *rule_cast(const Node *x)
{
    Node *a = x->in[0];
    if (a->dt == x->dt)
        return a;
    return a->op == OP_CAST && holds_all_of(a->dt, a->in[0]->dt) ? n_cast(a->in[0], x->dt) : NULL;
}

/* ---- views */
static bool identity_map(const Node *x)
{
    for (int i = 0; i < x->rank; i++)
        if (x->a.map[i] != i)
            return false;
    return true;
}

/* BCAST keeps the order of the operand's axes; where the result has another, a PERM comes before it. */
static Node *sorted_bcast(const Node *x)
{
    int8_t perm[MAXDIM], map[MAXDIM];
    int n = 0;
    bool sorted = true;
    for (int i = 0; i < x->rank; i++) {
        map[i] = x->a.map[i] < 0 ? -1 : (int8_t)n;
        if (x->a.map[i] >= 0) {
            sorted &= x->a.map[i] == n;
            perm[n++] = x->a.map[i];
        }
    }
    return sorted ? NULL : n_bcast(n_perm(x->in[0], perm), x->rank, x->dim, map);
}

static Node *rule_bcast(const Node *x)
{
    Node *a = x->in[0];
    int8_t map[MAXDIM];
    if (splat(a))
        return resplat(a, x->rank, x->dim);
    if (x->rank == a->rank && identity_map(x))
        return a;
    if (a->op == OP_BCAST) {
        for (int i = 0; i < x->rank; i++)
            map[i] = x->a.map[i] < 0 ? -1 : a->a.map[x->a.map[i]];
        return n_bcast(a->in[0], x->rank, x->dim, map);
    }
    return sorted_bcast(x);
}

static Node *rule_perm(const Node *x)
{
    Node *a = x->in[0];
    int8_t map[MAXDIM] = { 0 };
    if (splat(a))
        return resplat(a, x->rank, x->dim);
    if (identity_map(x))
        return a;
    for (int i = 0; i < x->rank; i++)
        map[i] = a->op == OP_CONTRACT ? a->a.lo[x->a.map[i]] : a->a.map[x->a.map[i]];
    if (a->op == OP_PERM)
        return n_perm(a->in[0], map);
    if (a->op == OP_BCAST)
        return n_bcast(a->in[0], x->rank, x->dim, map);
    if (a->op == OP_CONTRACT)
        return n_contract(a->in[0], a->in[1], a->a.la, a->a.lb, x->rank, map);
    return NULL;
}

static Node *rule_reshape(const Node *x)
{
    Node *a = x->in[0];
    if (splat(a))
        return resplat(a, x->rank, x->dim);
    if (same_shape(x, a))
        return a;
    if (a->op == OP_RESHAPE)
        return n_reshape(a->in[0], x->rank, x->dim);
    return a->op == OP_DATA ? n_data(x->dt, x->rank, x->dim, a->a.data) : NULL;
}

static bool whole(const Node *x, const Node *part)         /* a slice of all, or a pad by nothing */
{
    for (int i = 0; i < x->rank; i++)
        if (x->a.start[i] != 0 || x->a.step[i] != 1)
            return false;
    return same_shape(x, part);
}

static Node *slice_of_slice(const Node *x, const Node *a)
{
    int32_t start[MAXDIM], step[MAXDIM];
    for (int i = 0; i < x->rank; i++) {
        start[i] = a->a.start[i] + x->a.start[i] * a->a.step[i];
        step[i] = x->a.step[i] * a->a.step[i];
    }
    return n_slice(a->in[0], start, x->dim, step);
}

static Node *slice_of_bcast(const Node *x, const Node *a)
{
    int32_t start[MAXDIM], step[MAXDIM], len[MAXDIM];
    for (int i = 0; i < x->rank; i++)
        if (a->a.map[i] >= 0) {
            start[a->a.map[i]] = x->a.start[i];
            step[a->a.map[i]] = x->a.step[i];
            len[a->a.map[i]] = x->dim[i];
        }
    return n_bcast(n_slice(a->in[0], start, len, step), x->rank, x->dim, a->a.map);
}

static Node *slice_of_concat(const Node *x, const Node *a)   /* within one piece */
{
    int32_t start[MAXDIM], at = 0, ax = a->a.axis, first = x->a.start[ax];
    int32_t last = first + x->a.step[ax] * (x->dim[ax] - 1);
    memcpy(start, x->a.start, sizeof start);
    for (int i = 0; i < a->nin; at += a->in[i++]->dim[ax]) {
        int32_t end = at + a->in[i]->dim[ax];
        if (first >= at && first < end && last >= at && last < end) {
            start[ax] -= at;
            return n_slice(a->in[i], start, x->dim, x->a.step);
        }
    }
    return NULL;
}

static Node *rule_slice(const Node *x)
{
    Node *a = x->in[0];
    if (splat(a))
        return resplat(a, x->rank, x->dim);
    if (!n_size(x))
        return like(x, 0);
    if (whole(x, a))
        return a;
    return a->op == OP_SLICE ? slice_of_slice(x, a) : a->op == OP_BCAST ? slice_of_bcast(x, a) :
           a->op == OP_CONCAT ? slice_of_concat(x, a) : NULL;
}

static Node *rule_pad(const Node *x) { return whole(x, x->in[0]) ? x->in[0] : is(x->in[0], 0) ? like(x, 0) : NULL; }

static Node *rule_window(const Node *x)
{
    if (splat(x->in[0]))
        return resplat(x->in[0], x->rank, x->dim);
    return x->a.k == 1 ? n_reshape(x->in[0], x->rank, x->dim) : NULL;
}

static Node *rule_fold(const Node *x)
{
    return is(x->in[0], 0) ? like(x, 0) : x->a.k == 1 ? n_reshape(x->in[0], x->rank, x->dim) : NULL;
}

static Node *rule_concat(const Node *x)
{
    Node **piece = NEWN(Node *, x->nin);
    int n = 0;
    bool equal = true;
    for (int i = 0; i < x->nin; i++)
        if (x->in[i]->dim[x->a.axis]) {
            piece[n++] = x->in[i];
            equal &= splat(piece[0]) && splat(x->in[i]) && !memcmp(&piece[0]->a, &x->in[i]->a, sizeof(Attr));
        }
    if (n == 0 || equal)
        return resplat(n ? piece[0] : like(x, 0), x->rank, x->dim);
    return n == 1 ? piece[0] : n < x->nin ? n_concat(n, piece, x->a.axis) : NULL;
}

static Node *rule_zero(const Node *x) { return is(x->in[0], 0) ? like(x, 0) : NULL; }

/* ---- reductions */
static bool merges_ones(const Node *x)                     /* only axes of one element are reduced */
{
    for (int i = 0; i < x->in[0]->rank; i++)
        if (x->a.axes >> i & 1 && x->in[0]->dim[i] != 1)
            return false;
    return true;
}

static Node *times(Node *x, double n) { return n == 1 ? x : bin(OP_MUL, x, like(x, n)); }

/* The reduction of a broadcast value: new axes vanish (*count is their size), the others are reduced in the operand. */
static Node *reduce_bcast(const Node *x, double *count)
{
    const Node *a = x->in[0];
    int8_t map[MAXDIM];
    uint32_t axes = 0;
    int32_t dim[MAXDIM];
    int8_t kept[MAXDIM];
    int rank = 0, n = 0;
    *count = 1;
    for (int i = 0; i < a->rank; i++) {
        bool gone = x->a.axes >> i & 1;
        if (gone && a->a.map[i] < 0)
            *count *= a->dim[i];
        else if (gone)
            axes |= 1u << a->a.map[i];
        else
            dim[rank] = a->dim[i], map[rank++] = a->a.map[i];
    }
    if (*count == 1 && !axes)
        return NULL;
    for (int i = 0; i < a->in[0]->rank; i++)               /* where the operand's axes are after the reduction */
        kept[i] = (int8_t)(axes >> i & 1 ? -1 : n++);
    for (int i = 0; i < rank; i++)
        map[i] = map[i] < 0 ? -1 : kept[map[i]];
    return n_bcast(x->op == OP_SUM ? n_sum(a->in[0], axes) : n_maxr(a->in[0], axes), rank, dim, map);
}

static Node *sum_of_sum(const Node *x, const Node *a)
{
    uint32_t axes = a->a.axes;
    for (int i = 0, o = 0; i < a->in[0]->rank; i++)
        if (!(a->a.axes >> i & 1) && x->a.axes >> o++ & 1)
            axes |= 1u << i;
    return x->op == OP_SUM ? n_sum(a->in[0], axes) : n_maxr(a->in[0], axes);
}

static Node *sum_of_contract(const Node *x, const Node *a)
{
    int8_t lo[MAXDIM];
    int rank = 0;
    for (int i = 0; i < a->rank; i++)
        if (!(x->a.axes >> i & 1))
            lo[rank++] = a->a.lo[i];
    return n_contract(a->in[0], a->in[1], a->a.la, a->a.lb, rank, lo);
}

static Node *reduce_perm(const Node *x, const Node *a)     /* reduce first; what is left of the permutation follows */
{
    uint32_t axes = 0;
    int8_t map[MAXDIM] = { 0 }, kept[MAXDIM];
    int n = 0, rank = 0;
    for (int i = 0; i < a->rank; i++)
        if (x->a.axes >> i & 1)
            axes |= 1u << a->a.map[i];
    for (int i = 0; i < a->rank; i++)
        kept[i] = (int8_t)(axes >> i & 1 ? -1 : n++);
    for (int i = 0; i < a->rank; i++)
        if (!(x->a.axes >> i & 1))
            map[rank++] = kept[a->a.map[i]];
    return n_perm(x->op == OP_SUM ? n_sum(a->in[0], axes) : n_maxr(a->in[0], axes), map);
}

static Node *rule_reduce(const Node *x)
{
    Node *a = x->in[0], *y;
    double count = 1;
    if (!x->a.axes)
        return a;
    for (int i = 0; i < a->rank; i++)
        count *= x->a.axes >> i & 1 ? a->dim[i] : 1;
    if (splat(a))
        return x->op == OP_SUM ? times(resplat(a, x->rank, x->dim), count) : resplat(a, x->rank, x->dim);
    if (merges_ones(x))
        return n_reshape(a, x->rank, x->dim);
    if (a->op == OP_BCAST && (y = reduce_bcast(x, &count)))
        return x->op == OP_SUM ? times(y, count) : y;
    if (a->op == x->op)
        return sum_of_sum(x, a);
    if (a->op == OP_PERM)
        return reduce_perm(x, a);
    return a->op == OP_CONTRACT && x->op == OP_SUM ? sum_of_contract(x, a) : NULL;
}

static Node *rule_argmax(const Node *x) { return splat(x->in[0]) || x->in[0]->dim[x->a.axis] == 1 ? like(x, 0) : NULL; }

/* ---- contract. An operand is worked on with its labels: views are absorbed, labels that it has alone are summed,
   what it is only broadcast along is dropped. What remains is multiplied, and stretched along labels that none has
   any more. */
typedef struct { Node *x; int8_t l[MAXDIM]; } Side;

static int find(const int8_t *l, int n, int label)
{
    for (int i = 0; i < n; i++)
        if (l[i] == label)
            return i;
    return -1;
}

static bool peel(Side *s)                                  /* one view of an operand into its labels */
{
    Node *x = s->x;
    int8_t l[MAXDIM] = { 0 };
    if (splat(x) && x->rank) {
        *s = (Side){ .x = resplat(x, 0, NULL) };
        return true;
    }
    if (x->op != OP_PERM && x->op != OP_BCAST)
        return false;
    for (int i = 0; i < x->rank; i++)
        if (x->a.map[i] >= 0)
            l[x->a.map[i]] = s->l[i];
    s->x = x->in[0];
    memcpy(s->l, l, sizeof l);
    return true;
}

/* Sums the labels that are neither in the other operand nor in the result, and adds them to *summed. */
static bool sum_alone(Side *s, const Side *other, const Node *x, unsigned *summed)
{
    uint32_t axes = 0;
    int8_t l[MAXDIM] = { 0 };
    int n = 0;
    for (int i = 0; i < s->x->rank; i++)
        if (find(other->l, other->x->rank, s->l[i]) < 0 && find(x->a.lo, x->rank, s->l[i]) < 0) {
            axes |= 1u << i;
            *summed |= 1u << s->l[i];
        } else {
            l[n++] = s->l[i];
        }
    if (!axes)
        return false;
    s->x = n_sum(s->x, axes);
    memcpy(s->l, l, sizeof l);
    return true;
}

/* How often each term occurs: the size of all labels to be summed that no operand depends on. */
static double repeats(const Node *x, const Side *s, unsigned summed)
{
    double count = 1;
    for (int j = 0; j < 2; j++)
        for (int i = 0; i < x->in[j]->rank; i++) {
            int l = j ? x->a.lb[i] : x->a.la[i];
            if (summed >> l & 1 || find(x->a.lo, x->rank, l) >= 0 || find(s[0].l, s[0].x->rank, l) >= 0 ||
                find(s[1].l, s[1].x->rank, l) >= 0)
                continue;
            summed |= 1u << l;
            count *= x->in[j]->dim[i];
        }
    return count;
}

/* Nothing is summed, and one operand has all axes of the result (rank of them): elements are multiplied, not
   matrices. */
static bool elementwise(const Side *s, int rank, const int8_t *lo)
{
    for (int j = 0; j < 2; j++)
        for (int i = 0; i < s[j].x->rank; i++)
            if (find(lo, rank, s[j].l[i]) < 0)
                return false;
    return s[0].x->rank == rank || s[1].x->rank == rank;
}

static Node *spread(const Side *s, int rank, const int32_t *dim, const int8_t *lo)
{
    int8_t map[MAXDIM];
    for (int i = 0; i < rank; i++)
        map[i] = (int8_t)find(s->l, s->x->rank, lo[i]);
    return n_bcast(s->x, rank, dim, map);
}

/* Labels by first appearance (result, then a), so that equal products have equal labels. NULL: they are so already. */
static Node *relabel(const Node *x)
{
    int8_t to[25] = { 0 }, n = 0;
    Attr a = { 0 };
    for (int i = 0; i < x->rank; i++)
        a.lo[i] = to[x->a.lo[i]] = ++n;
    for (int i = 0; i < x->in[0]->rank; i++) {
        int l = x->a.la[i];
        a.la[i] = to[l] = to[l] ? to[l] : ++n;
    }
    for (int i = 0; i < x->in[1]->rank; i++)
        a.lb[i] = to[x->a.lb[i]];
    if (!memcmp(a.lo, x->a.lo, MAXDIM) && !memcmp(a.la, x->a.la, MAXDIM) && !memcmp(a.lb, x->a.lb, MAXDIM))
        return NULL;
    return node(OP_CONTRACT, NDT, 0, NULL, 2, x->in, &a, x->loc);
}

static Node *product(const Node *x, const Side *s, unsigned summed)
{
    int8_t lo[MAXDIM] = { 0 }, map[MAXDIM];
    int32_t dim[MAXDIM];
    int rank = 0;
    for (int i = 0; i < x->rank; i++) {
        bool has = find(s[0].l, s[0].x->rank, x->a.lo[i]) >= 0 || find(s[1].l, s[1].x->rank, x->a.lo[i]) >= 0;
        map[i] = has ? (int8_t)rank : -1;
        if (has)
            dim[rank] = x->dim[i], lo[rank++] = x->a.lo[i];
    }
    Node *y = elementwise(s, rank, lo) ? bin(OP_MUL, spread(&s[0], rank, dim, lo), spread(&s[1], rank, dim, lo)) :
              n_contract(s[0].x, s[1].x, s[0].l, s[1].l, rank, lo);
    return n_bcast(times(y, repeats(x, s, summed)), x->rank, x->dim, map);
}

static Node *rule_contract(const Node *x)
{
    Side s[2] = { { .x = x->in[0] }, { .x = x->in[1] } };
    bool changed = false, again = true;
    unsigned summed = 0;
    if (is(s[0].x, 0) || is(s[1].x, 0))
        return like(x, 0);
    for (int i = 0; i < 2; i++)
        if (s[i].x->op == OP_STOP && s[i].x->a.k <= STOP_USES)
            return relabel(x);                             /* this product is looked at as it stands */
    memcpy(s[0].l, x->a.la, MAXDIM);
    memcpy(s[1].l, x->a.lb, MAXDIM);
    while (again) {
        again = false;
        for (int i = 0; i < 2; i++)
            again |= peel(&s[i]) || sum_alone(&s[i], &s[!i], x, &summed);
        changed |= again;
    }
    return changed || elementwise(s, x->rank, x->a.lo) ? product(x, s, summed) : relabel(x);
}

/* ---- structure and tags */
static Node *rule_out(const Node *x)
{
    const Node *s = x->in[0];
    int k = (int)x->a.k;
    if (s->op == OP_COND && splat(s->in[0])) {             /* the branch that is taken, in place */
        const Region *r = s->a.r[is(s->in[0], 0)];
        Node *y = r->result[k];
        graph_subst(1, &y, r->np, r->formal, s->in + 1);
        return y;
    }
    if (s->op != OP_LOOP || s->a.r[0]->rkind[k] != K_CARRY)
        return NULL;
    const Region *r = s->a.r[0];                           /* a carry that nothing changes */
    int carry = 0, in = 0;
    for (int i = 0; i < k; i++)
        carry += r->rkind[i] == K_CARRY;
    for (int i = 0; i < r->np; i++) {
        if (r->fkind[i] == K_CARRY && carry-- == 0)
            return r->result[k] == r->formal[i] || s->a.k == 0 ? s->in[in] : NULL;
        in += r->fkind[i] != K_INDEX;
    }
    return NULL;
}

static Node *rule_stop(const Node *x)                      /* constants and what is no float have no gradient anyway */
{
    Node *a = x->in[0];
    if (splat(a) || !dt_float(a->dt))
        return a;
    return a->op == OP_STOP && (a->a.k == x->a.k || a->a.k == STOP_ALL) ? a : NULL;
}

static Node *(*const rule[NOPS])(const Node *) = {
    [OP_NEG] = rule_neg, [OP_ABS] = rule_abs, [OP_FLOOR] = rule_floor, [OP_NOT] = rule_not, [OP_CAST] = rule_cast,
    [OP_ADD] = rule_add, [OP_SUB] = rule_sub, [OP_MUL] = rule_mul, [OP_DIV] = rule_div, [OP_POW] = rule_pow,
    [OP_MIN] = rule_same, [OP_MAX] = rule_same, [OP_IDIV] = rule_idiv, [OP_MOD] = rule_mod,
    [OP_LT] = rule_compare, [OP_LE] = rule_compare, [OP_EQ] = rule_compare, [OP_AND] = rule_logic, [OP_OR] = rule_logic,
    [OP_SELECT] = rule_select, [OP_BCAST] = rule_bcast, [OP_PERM] = rule_perm, [OP_RESHAPE] = rule_reshape,
    [OP_SLICE] = rule_slice, [OP_PAD] = rule_pad, [OP_WINDOW] = rule_window, [OP_FOLD] = rule_fold,
    [OP_CONCAT] = rule_concat,
    [OP_SCATTER] = rule_zero, [OP_CUMSUM] = rule_zero, [OP_SUM] = rule_reduce, [OP_MAXR] = rule_reduce,
    [OP_ARGMAX] = rule_argmax,
    [OP_CONTRACT] = rule_contract, [OP_OUT] = rule_out, [OP_STOP] = rule_stop,
};

Node *simplify(const Node *x)
{
    Node *y = NULL;
    if (op_row[x->op].group == G_ELEM)
        y = fold(x);
    if (!y && rule[x->op])
        y = rule[x->op](x);
    if (!y && op_row[x->op].group == G_ELEM)
        y = before_bcast(x);
    return y;
}
