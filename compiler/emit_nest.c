/* emit_nest.c: a nest as a function.
   Outer loops, then pass after pass of inner loops. Each instruction stands at the depth of the innermost loop that it
   depends on. One loop is the vector loop (the last inner one, if sums run along it, else the last outer one): its body is
   written for a whole vector, and once more for the rest of constant length.
   Where sums run along inner loops, several places of the last outer loop (its rows, or whole vectors of it) are in flight
   at once: what does not depend on that loop is loaded once for all of them, their sums are independent chains, and the lanes
   of several sums are joined together.
   Order of additions, which depends on shapes only: sums along the vector loop have 16 lanes (index mod 16) that are joined by
   halves; other sums, and what is added up in memory over outer loops, add in order of the loops, lane by lane. A product
   that is only added to a sum is one multiply-add with it. How many rows are in flight changes none of this, so it may
   depend on the target. */
#include "emit_kernel.h"
#include "../runtime/nlrt.h"
#include <assert.h>
#include <string.h>

typedef LLVMValueRef V;
enum { SUM_LANES = NEST_LANES, MAX_ROWS = 8, MAX_BODY = 600, MAX_FETCH = 512, CACHE_LINE = 64 };

typedef struct Nx {
    Em *em;
    const Nest *n;
    V *ptr, tid, nthreads;
    V idx[MAXDIM];
    V (*val)[MAX_ROWS], (*acc)[MAX_ROWS];        /* per instruction, and per row where `varies` */
    int *depth; bool *vec;
    bool *varies;                /* with the row, that is with the last outer loop */
    bool *fused;                 /* a product that only a sum takes: the two are one multiply-add */
    int rows, row;               /* in flight; the one that code is being made for */
    bool once;                   /* the last outer loop has one turn only */
    int64_t apart;               /* from one row to the next, in steps of the last outer loop */
    int loops, vecloop, lanes;   /* vecloop: -1 if there is none */
    int valid;                   /* lanes in use */
    V lo, hi, slot;              /* slots: the part of the first inner loop */
    int pass, filling;
} Nx;

/* ---- what depends on what */

static bool computes_op(int op)
{
    return op != I_STORE && op != I_ACCUM && op != I_JOIN;
}

static void find_depths(Nx *x)
{
    for (int i = 0; i < x->n->nins; i++) {
        const Ins *s = &x->n->ins[i];
        int d = 0, last = x->n->no - 1;
        bool vec = s->lanes, varies = false;
        for (int l = 0; s->stride && l < x->loops; l++)
            if (s->stride[l]) {
                d = l + 1;
                vec |= l == x->vecloop;
                varies |= l == last;
            }
        for (int k = 0; k < s->npad; k++) {
            d = s->pad[k].loop + 1 > d ? s->pad[k].loop + 1 : d;
            vec |= s->pad[k].loop == x->vecloop;
            varies |= s->pad[k].loop == last;
        }
        for (int k = 0; k < s->nin && computes_op(s->op); k++) {
            d = x->depth[s->in[k]] > d ? x->depth[s->in[k]] : d;
            vec |= x->vec[s->in[k]];
            varies |= x->varies[s->in[k]];
        }
        if (op_reduces(s->op)) {
            d = x->n->no;
            vec = vec && !x->n->vec_inner;
        }
        x->depth[i] = d;
        x->vec[i] = vec;
        x->varies[i] = varies;
    }
}

static int pow2_at_least(int64_t n)
{
    int p = 1;
    while (p < n)
        p *= 2;
    return p;
}

static void choose_lanes(Nx *x)
{
    const Nest *n = x->n;
    x->vecloop = n->vec_inner ? x->loops - 1 : n->no - 1;
    x->lanes = 1;
    if (x->vecloop < 0)
        return;
    int widest = 1;
    bool narrow = false, sums = n->vec_inner;
    for (int i = 0; i < n->nins; i++) {
        widest = dt_size((Dt)n->ins[i].dt) > widest ? dt_size((Dt)n->ins[i].dt) : widest;
        narrow |= n->ins[i].dt == F32;
        sums |= n->ins[i].lanes;
    }
    int lanes = sums ? SUM_LANES : x->em->t->vbytes / (narrow || widest < 4 ? 4 : widest);
    int64_t len = n->dim[x->vecloop];
    x->lanes = len < lanes ? pow2_at_least(len) : lanes;
}

/* ---- instructions */

static V *slot_of(Nx *x, V (*of)[MAX_ROWS], int i)
{
    return &of[i][x->varies[i] ? x->row : 0];
}

static V value(Nx *x, int i) { return *slot_of(x, x->val, i); }

static void set_value(Nx *x, int i, V v) { *slot_of(x, x->val, i) = v; }

/* The rows that instruction i is made for. */
static int rows_of(const Nx *x, int i) { return x->varies[i] ? x->rows : 1; }

/* Where loop l stands in this row, if it moves by `stride`. */
static V place_of(Nx *x, int l, int64_t stride, V at)
{
    at = em_index(x->em, x->idx[l], stride, at);
    if (l != x->n->no - 1 || !x->row || !stride)
        return at;
    return LLVMBuildAdd(x->em->b, at, em_int(x->em, x->row * x->apart * stride), "");
}

static V splat_to(Nx *x, int i, bool vec)
{
    V v = value(x, i);
    return vec && x->lanes > 1 && em_width(v) == 1 ? em_splat(x->em, v, x->lanes) : v;
}

/* Element index of an access at the current place (lane 0). */
static V place(Nx *x, int i)
{
    const Ins *s = &x->n->ins[i];
    V at = NULL;
    for (int l = 0; l < x->loops; l++)
        if (s->stride[l])
            at = place_of(x, l, s->stride[l], at);
    return at ? at : em_int(x->em, 0);
}

static V load_at(Nx *x, int i, V at)
{
    const Ins *s = &x->n->ins[i];
    if (!x->vec[i] || s->lanes)
        return em_load(x->em, (Dt)s->dt, s->lanes ? x->lanes : 1, x->ptr[s->operand], at);
    return em_load_strided(x->em, (Dt)s->dt, x->lanes, x->valid, x->ptr[s->operand], at, s->stride[x->vecloop]);
}

static void store_at(Nx *x, int i, V at, V v)
{
    const Ins *s = &x->n->ins[i];
    if (!x->vec[i] || s->lanes)
        em_store(x->em, (Dt)s->dt, v, x->ptr[s->operand], at);
    else
        em_store_strided(x->em, (Dt)s->dt, v, x->valid, x->ptr[s->operand], at, s->stride[x->vecloop]);
}

static V load(Nx *x, int i)
{
    return load_at(x, i, place(x, i));
}

static void store(Nx *x, int i)
{
    for (x->row = 0; x->row < rows_of(x, i); x->row++)
        store_at(x, i, x->slot ? x->slot : place(x, i), splat_to(x, x->n->ins[i].in[0], x->vec[i]));
    x->row = 0;
}

/* The outermost of the loops that instruction i adds over, if no other loop runs inside of it but the passes'; else -1. */
static int added_from(const Nx *x, const Ins *s)
{
    int l = x->n->no;
    if (s->lanes)
        return l - 1;
    while (l > 0 && (!s->stride[l - 1] || x->n->dim[l - 1] == 1))
        l--;
    for (int k = 0; k < l; k++)
        if (!s->stride[k] && x->n->dim[k] > 1)
            return -1;
    return l;
}

/* What is added to in the first turn of the loops that are summed: nothing. */
static V unless_first(Nx *x, const Ins *s, V old)
{
    Em *em = x->em;
    V first = NULL, start = emit_reduce_start(em, (int)s->inum, (Dt)s->dt, em_width(old));
    for (int l = 0; l < x->n->no; l++)
        if (!s->stride[l] && x->n->dim[l] > 1) {
            V c = LLVMBuildICmp(em->b, LLVMIntEQ, x->idx[l], em_int(em, 0), "");
            first = first ? LLVMBuildAnd(em->b, first, c, "") : c;
        }
    return first ? LLVMBuildSelect(em->b, first, start, old, "") : start;
}

/* One more summand, which may be a product that only this sum takes. */
static V joined(Nx *x, int op, Dt dt, V so_far, int i, bool vec)
{
    if (!x->fused[i])
        return emit_reduce2(x->em, op, dt, so_far, splat_to(x, i, vec));
    const Ins *product = &x->n->ins[i];
    return em_fma(x->em, splat_to(x, product->in[0], vec), splat_to(x, product->in[1], vec), so_far);
}

/* Where the last vector is short: `v` in the lanes that count, `other` in the rest. */
static V in_use(Nx *x, V v, V other)
{
    V on[64];
    if (x->valid >= x->lanes)
        return v;
    for (int k = 0; k < x->lanes; k++)
        on[k] = LLVMConstInt(x->em->i1, k < x->valid, false);
    return LLVMBuildSelect(x->em->b, LLVMConstVector(on, (unsigned)x->lanes), v, other, "");
}

/* Adds to what lies there: once for every row, or all rows to one place. */
static void accumulate(Nx *x, int i)
{
    const Ins *s = &x->n->ins[i];
    for (int r = 0; r < rows_of(x, i); r++) {
        x->row = r;
        V at = place(x, i), sum;
        if (x->once && added_from(x, s) == x->n->no - 1)
            sum = emit_reduce_start(x->em, (int)s->inum, (Dt)s->dt, x->vec[i] ? x->lanes : 1);
        else
            sum = load_at(x, i, at);
        if (added_from(x, s) < 0)
            sum = unless_first(x, s, sum);
        for (int k = 0; k < (x->varies[i] ? 1 : x->rows); k++) {
            x->row = x->varies[i] ? r : k;
            V more = joined(x, (int)s->inum, (Dt)s->dt, sum, s->in[0], x->vec[i]);
            sum = s->lanes ? in_use(x, more, sum) : more;
        }
        store_at(x, i, at, sum);
    }
    x->row = 0;
}

/* The numbers 0, step, 2 step, .. in the lanes. */
static V lane_numbers(Nx *x, Dt dt, int64_t step)
{
    V v[64];
    for (int k = 0; k < x->lanes; k++)
        v[k] = em_inum(x->em, dt, 1, k * step);
    return x->lanes == 1 ? v[0] : LLVMConstVector(v, (unsigned)x->lanes);
}

static V iota(Nx *x, int i)
{
    const Ins *s = &x->n->ins[i];
    Em *em = x->em;
    V at = em_int(em, s->inum);
    for (int l = 0; l < x->loops; l++)
        if (s->stride[l])
            at = place_of(x, l, s->stride[l], at);
    Dt whole = s->dt == F64 || s->dt == I64 ? I64 : I32;
    if (whole == I32)
        at = LLVMBuildTrunc(em->b, at, em->i32, "");
    int lanes = x->vec[i] ? x->lanes : 1;
    if (lanes > 1)
        at = LLVMBuildAdd(em->b, em_splat(em, at, lanes), lane_numbers(x, whole, s->stride[x->vecloop]), "");
    LLVMTypeRef to = em_type(em, (Dt)s->dt, lanes);
    if (dt_float((Dt)s->dt))
        return LLVMBuildSIToFP(em->b, at, to, "");
    return s->dt == U8 ? LLVMBuildTrunc(em->b, at, to, "") : at;
}

/* ---- gather */

/* Notes a bad index unless a lower place has one. Leaves the builder behind. */
void emit_bad_index(Em *em, V status, uint64_t site, V index, int64_t limit)
{
    V bad_at = em_at(em, I32, status, em_int(em, offsetof(nl_status, bad) / 4));
    V bad = em_load(em, I32, 1, bad_at, NULL), first = em_load(em, I64, 1, status, NULL);
    V lower = LLVMBuildICmp(em->b, LLVMIntSGT, first, em_int(em, (int64_t)site), "");
    V none = LLVMBuildICmp(em->b, LLVMIntEQ, bad, em_inum(em, I32, 1, 0), "");
    LLVMBasicBlockRef note = em_block(em, "note"), done = em_block(em, "noted");
    LLVMBuildCondBr(em->b, LLVMBuildOr(em->b, none, lower, ""), note, done);
    LLVMPositionBuilderAtEnd(em->b, note);
    em_store(em, I64, em_int(em, (int64_t)site), status, NULL);
    em_store(em, I64, index, status, em_int(em, offsetof(nl_status, index) / 8));
    em_store(em, I64, em_int(em, limit), status, em_int(em, offsetof(nl_status, limit) / 8));
    em_store(em, I32, em_inum(em, I32, 1, 1), bad_at, NULL);
    LLVMBuildBr(em->b, done);
    LLVMPositionBuilderAtEnd(em->b, done);
}

/* The first lane of a vector of i1 that is set (one is), and that lane of the indices. */
static V first_bad(Nx *x, V bad, V index)
{
    Em *em = x->em;
    int lanes = em_width(bad);
    if (lanes == 1)
        return index;
    LLVMTypeRef t = LLVMIntTypeInContext(em->cx, (unsigned)lanes);
    V bits = LLVMBuildZExtOrBitCast(em->b, LLVMBuildBitCast(em->b, bad, t, ""), t, "");
    V wide = LLVMBuildZExt(em->b, bits, em->i64, "");
    V arg[2] = { wide, LLVMConstInt(em->i1, 1, false) };
    return LLVMBuildExtractElement(em->b, index, em_call(em, "llvm.cttz", em->i64, 2, arg), "");
}

static V any_lane(Em *em, V c)
{
    if (em_width(c) == 1)
        return c;
    return em_call(em, "llvm.vector.reduce.or", LLVMTypeOf(c), 1, &c);
}

/* Indices checked and clamped, as i64. Lanes that are not in use hold 0, or what follows from it: they do not count. */
static V checked_index(Nx *x, const Ins *s, V index, Dt dt)
{
    Em *em = x->em;
    int lanes = em_width(index);
    V status = x->ptr[x->n->noperand - 1];
    LLVMTypeRef wide = em_type(em, I64, lanes);
    if (dt != I64)
        index = dt == I32 ? LLVMBuildSExt(em->b, index, wide, "") : LLVMBuildZExt(em->b, index, wide, "");
    V limit = em_inum(em, I64, lanes, s->limit), last = em_inum(em, I64, lanes, s->limit - 1), zero = em_inum(em, I64, lanes, 0);
    V bad = LLVMBuildICmp(em->b, LLVMIntUGE, index, limit, "");
    if (lanes > 1 && x->valid < lanes) {
        V on[64];
        for (int k = 0; k < lanes; k++)
            on[k] = LLVMConstInt(em->i1, k < x->valid, false);
        bad = LLVMBuildAnd(em->b, bad, LLVMConstVector(on, (unsigned)lanes), "");
    }
    LLVMBasicBlockRef note = em_block(em, "bad"), done = em_block(em, "good");
    LLVMBuildCondBr(em->b, any_lane(em, bad), note, done);
    LLVMPositionBuilderAtEnd(em->b, note);
    emit_bad_index(em, status, s->site, first_bad(x, bad, index), s->limit);
    LLVMBuildBr(em->b, done);
    LLVMPositionBuilderAtEnd(em->b, done);
    V negative = LLVMBuildICmp(em->b, LLVMIntSLT, index, zero, "");
    V over = LLVMBuildICmp(em->b, LLVMIntSGE, index, limit, "");
    return LLVMBuildSelect(em->b, negative, zero, LLVMBuildSelect(em->b, over, last, index, ""), "");
}

static V gather(Nx *x, int i)
{
    const Ins *s = &x->n->ins[i];
    Em *em = x->em;
    Dt dt = (Dt)s->dt;
    V at = place(x, i), index = checked_index(x, s, value(x, s->in[0]), (Dt)x->n->ins[s->in[0]].dt);
    if (em_width(index) == 1) {
        V from = em_index(em, index, s->inum, at);
        if (!x->vec[i])
            return em_load(em, dt, 1, x->ptr[s->operand], from);
        return em_load_strided(em, dt, x->lanes, x->valid, x->ptr[s->operand], from, s->stride[x->vecloop]);
    }
    V out = LLVMConstNull(em_type(em, dt, x->lanes));
    for (int k = 0; k < x->valid; k++) {
        V from = em_index(em, em_lane(em, index, k), s->inum, at);
        from = em_index(em, em_int(em, k), s->stride[x->vecloop], from);
        V v = em_load(em, dt, 1, x->ptr[s->operand], from);
        out = LLVMBuildInsertElement(em->b, out, v, LLVMConstInt(em->i32, (unsigned)k, false), "");
    }
    return out;
}

/* ---- pad: zero outside of start + step * (0 .. n-1) */

/* The element that index i stands for, and whether there is one; scalars or vectors of i64. */
static V pad_element(Em *em, const PadAxis *p, V i, V *inside)
{
    int lanes = em_width(i);
    int64_t step = p->step < 0 ? -p->step : p->step;
    V start = em_inum(em, I64, lanes, p->start);
    V q = p->step < 0 ? LLVMBuildSub(em->b, start, i, "") : LLVMBuildSub(em->b, i, start, "");
    V ok = LLVMBuildICmp(em->b, LLVMIntULT, q, em_inum(em, I64, lanes, p->n * step), "");
    if (step != 1) {
        V by = em_inum(em, I64, lanes, step), whole = LLVMBuildUDiv(em->b, q, by, "");
        V even = LLVMBuildICmp(em->b, LLVMIntEQ, LLVMBuildMul(em->b, whole, by, ""), q, "");
        ok = LLVMBuildAnd(em->b, ok, even, "");
        q = whole;
    }
    *inside = *inside ? LLVMBuildAnd(em->b, *inside, ok, "") : ok;
    return LLVMBuildSelect(em->b, ok, q, em_inum(em, I64, lanes, 0), "");
}

static V pad(Nx *x, int i)
{
    const Ins *s = &x->n->ins[i];
    Em *em = x->em;
    Dt dt = (Dt)s->dt;
    V at = place(x, i), inside = NULL;
    const PadAxis *lane_axis = NULL;
    for (int k = 0; k < s->npad; k++)
        if (s->pad[k].loop == x->vecloop && x->lanes > 1)
            lane_axis = &s->pad[k];
        else
            at = em_index(em, pad_element(em, &s->pad[k], place_of(x, s->pad[k].loop, 1, NULL), &inside), s->pad[k].stride, at);
    if (!lane_axis) {
        V zero = LLVMConstNull(em_type(em, dt, x->vec[i] ? x->lanes : 1));
        V v = !x->vec[i] ? em_load(em, dt, 1, x->ptr[s->operand], at)
                         : em_load_strided(em, dt, x->lanes, x->valid, x->ptr[s->operand], at, s->stride[x->vecloop]);
        return inside ? LLVMBuildSelect(em->b, inside, v, zero, "") : v;
    }
    V lanes = LLVMBuildAdd(em->b, em_splat(em, place_of(x, x->vecloop, 1, NULL), x->lanes), lane_numbers(x, I64, 1), ""), ok = NULL;
    V q = pad_element(em, lane_axis, lanes, &ok), out = LLVMConstNull(em_type(em, dt, x->lanes)), zero = out;
    for (int k = 0; k < x->valid; k++) {
        V v = em_load(em, dt, 1, x->ptr[s->operand], em_index(em, em_lane(em, q, k), lane_axis->stride, at));
        out = LLVMBuildInsertElement(em->b, out, v, LLVMConstInt(em->i32, (unsigned)k, false), "");
    }
    if (inside)
        ok = LLVMBuildAnd(em->b, ok, em_splat(em, inside, x->lanes), "");
    return LLVMBuildSelect(em->b, ok, out, zero, "");
}

static V compute(Nx *x, int i)
{
    const Ins *s = &x->n->ins[i];
    V in[5];
    switch (s->op) {
    case I_LOAD: return load(x, i);
    case OP_IOTA: return iota(x, i);
    case OP_GATHER: return gather(x, i);
    case OP_PAD: return pad(x, i);
    case OP_CONST:
        return dt_float((Dt)s->dt) ? em_num(x->em, (Dt)s->dt, 1, s->num) : em_inum(x->em, (Dt)s->dt, 1, s->inum);
    default:
        for (int k = 0; k < s->nin; k++)
            in[k] = splat_to(x, s->in[k], x->vec[i]);
        if (s->op == OP_BITS) {
            in[4] = em_load(x->em, I64, 1, x->ptr[s->operand], NULL);
            in[4] = x->vec[i] ? em_splat(x->em, in[4], x->lanes) : in[4];
        }
        return emit_elem(x->em, s, (Dt)x->n->ins[s->in[0]].dt, in);
    }
}

static bool computes(const Nx *x, int i)
{
    return computes_op(x->n->ins[i].op) && !op_reduces(x->n->ins[i].op) && !x->fused[i];
}

static void find_fused(Nx *x)
{
    const Nest *n = x->n;
    int *uses = NEWN(int, n->nins + 1);
    for (int i = 0; i < n->nins; i++)
        for (int k = 0; k < n->ins[i].nin; k++)
            uses[n->ins[i].in[k]]++;
    for (int i = 0; i < n->nins; i++) {
        const Ins *s = &n->ins[i];
        bool sums = s->op == OP_SUM || (s->op == I_ACCUM && s->inum == OP_SUM);
        const Ins *from = &n->ins[s->in[0]];
        if (sums && dt_float((Dt)s->dt) && uses[s->in[0]] == 1 && from->op == OP_MUL && from->full)
            x->fused[s->in[0]] = true;
    }
}

/* ---- loops */

typedef void Body(Nx *x, int depth);

static void run_vector(Nx *x, int loop, V lo, V hi, Body *body, int arg)
{
    Em *em = x->em;
    int64_t n = x->n->dim[loop], rest = n % x->lanes, whole = n - rest;
    int valid = x->valid;
    if (whole == x->lanes && !lo) {
        x->idx[loop] = em_int(em, 0);
        x->valid = x->lanes;
        body(x, arg);
    } else if (whole) {
        V end = em_int(em, whole);
        if (hi && rest)
            end = LLVMBuildSelect(em->b, LLVMBuildICmp(em->b, LLVMIntSLT, hi, end, ""), hi, end, "");
        else if (hi)
            end = hi;
        EmLoop l = em_loop(em, lo ? lo : em_int(em, 0), end, x->lanes, !lo);
        x->idx[loop] = l.i;
        x->valid = x->lanes;
        body(x, arg);
        em_loop_end(em, &l);
    }
    if (rest) {
        LLVMBasicBlockRef done = NULL;
        if (hi) {
            LLVMBasicBlockRef tail = em_block(em, "tail");
            done = em_block(em, "done");
            V mine = LLVMBuildICmp(em->b, LLVMIntEQ, hi, em_int(em, n), "");
            LLVMBuildCondBr(em->b, mine, tail, done);
            LLVMPositionBuilderAtEnd(em->b, tail);
        }
        x->idx[loop] = em_int(em, whole);
        x->valid = (int)rest;
        body(x, arg);
        if (done) {
            LLVMBuildBr(em->b, done);
            LLVMPositionBuilderAtEnd(em->b, done);
        }
    }
    x->valid = valid;
}

static void run(Nx *x, int loop, V lo, V hi, Body *body, int arg)
{
    if (loop == x->vecloop && x->lanes > 1) {
        run_vector(x, loop, lo, hi, body, arg);
        return;
    }
    if (x->n->dim[loop] == 0 && !lo)
        return;
    if (x->n->dim[loop] == 1 && !lo) {
        x->idx[loop] = em_int(x->em, 0);
        body(x, arg);
        return;
    }
    EmLoop l = em_loop(x->em, lo ? lo : em_int(x->em, 0), hi ? hi : em_int(x->em, x->n->dim[loop]), 1, !lo);
    x->idx[loop] = l.i;
    body(x, arg);
    em_loop_end(x->em, &l);
}

/* Everything of this depth and (from the innermost outer loop on) of this pass. */
static void compute_at(Nx *x, int depth, int pass)
{
    for (int i = 0; i < x->n->nins; i++)
        if (computes(x, i) && x->depth[i] == depth && (pass < 0 || x->n->ins[i].pass == pass))
            for (x->row = 0; x->row < rows_of(x, i); x->row++)
                set_value(x, i, compute(x, i));
    x->row = 0;
}

static void add_up(Nx *x, int i)
{
    const Ins *s = &x->n->ins[i];
    bool lanes = x->n->vec_inner || x->vec[i];
    for (x->row = 0; x->row < rows_of(x, i); x->row++) {
        V acc = *slot_of(x, x->acc, i), so_far = em_get(x->em, acc);
        V next = joined(x, s->op, (Dt)s->dt, so_far, s->in[0], lanes);
        em_set(x->em, acc, x->n->vec_inner ? in_use(x, next, so_far) : next);
    }
    x->row = 0;
}

static void inner(Nx *x, int depth)
{
    const Nest *n = x->n;
    if (depth > n->no)
        compute_at(x, depth, x->pass);
    if (depth < x->loops) {
        bool cut = x->slot && depth == n->no;
        run(x, depth, cut ? x->lo : NULL, cut ? x->hi : NULL, inner, depth + 1);
        return;
    }
    for (int i = 0; i < n->nins; i++)
        if (op_reduces(n->ins[i].op) && n->ins[i].pass == x->pass)
            add_up(x, i);
    for (int i = 0; i < n->nins; i++)
        if (n->ins[i].op == I_ACCUM && n->ins[i].pass == x->pass)
            accumulate(x, i);
        else if (n->ins[i].op == I_STORE && n->ins[i].full && n->ins[i].pass == x->pass) {
            V slot = x->slot;
            x->slot = NULL;
            store(x, i);
            x->slot = slot;
        }
}

static bool sum_of_pass(const Nx *x, int i)
{
    return op_reduces(x->n->ins[i].op) && x->n->ins[i].pass == x->pass;
}

static void start_sums(Nx *x)
{
    for (int i = 0; i < x->n->nins; i++) {
        const Ins *s = &x->n->ins[i];
        int lanes = x->n->vec_inner || x->vec[i] ? x->lanes : 1;
        for (int r = 0; sum_of_pass(x, i) && r < rows_of(x, i); r++)
            x->acc[i][r] = em_var(x->em, em_type(x->em, (Dt)s->dt, lanes), emit_reduce_start(x->em, s->op, (Dt)s->dt, lanes));
    }
}

static void end_sums(Nx *x)
{
    for (int i = 0; i < x->n->nins; i++) {
        const Ins *s = &x->n->ins[i];
        int rows = sum_of_pass(x, i) ? rows_of(x, i) : 0;
        for (int r = 0; r < rows; r++)
            x->val[i][r] = em_get(x->em, x->acc[i][r]);
        if (rows && x->n->vec_inner)
            emit_reduce_rows(x->em, s->op, (Dt)s->dt, rows, x->val[i]);
    }
}

static void passes(Nx *x)
{
    const Nest *n = x->n;
    for (int p = 0; p < n->npass; p++) {
        compute_at(x, n->no, p);
        x->pass = p;
        start_sums(x);
        inner(x, n->no);
        end_sums(x);
    }
    compute_at(x, n->no, n->npass);
    for (int i = 0; i < n->nins; i++)
        if (n->ins[i].op == I_STORE && !n->ins[i].full)
            store(x, i);
}

/* ---- rows */

static void outer(Nx *x, int depth);

/* Registers that pass p takes for every row: its sums, and what stands in all lanes of vectors. */
static int row_registers(const Nx *x, int p)
{
    const Nest *n = x->n;
    int sum = n->vec_inner && x->em->t->vbytes < 4 * SUM_LANES ? 4 * SUM_LANES / x->em->t->vbytes : 1, count = 0;
    bool *seen = NEWN(bool, n->nins + 1);
    for (int i = 0; i < n->nins; i++) {
        const Ins *s = &n->ins[i];
        if (s->pass != p || !(s->full || op_reduces(s->op)))
            continue;
        count += op_reduces(s->op) && x->varies[i] ? sum : 0;
        for (int k = 0; k < s->nin; k++)
            if (!n->ins[s->in[k]].full && x->varies[s->in[k]] && !seen[s->in[k]]) {
                seen[s->in[k]] = true;
                count++;
            }
    }
    return count;
}

/* Registers and instructions decide how many rows are in flight. */
static int choose_rows(const Nx *x)
{
    const Nest *n = x->n;
    int work = 0, most = 0, rows = MAX_ROWS, registers = x->em->t->vregs;
    if (!n->ni || !n->no || n->slots > 1)
        return 1;
    int64_t len = n->dim[n->no - 1] / (x->vecloop == n->no - 1 ? x->lanes : 1);
    for (int i = 0; i < n->nins; i++) {
        if (n->ins[i].op == I_STORE && n->ins[i].full && !x->varies[i])          /* a row kept in scratch: there is one */
            return 1;
        work += x->varies[i];
    }
    for (int p = 0; p < n->npass; p++) {
        int one = row_registers(x, p);
        most = one > most ? one : most;
    }
    while (rows > 1 && (rows > len || rows * work > MAX_BODY || rows * most > registers - registers * 3 / 8))
        rows /= 2;
    return rows;
}

/* Indices [lo, hi) of the last outer loop, `rows` units at a time; gives the first that is left. */
static V run_rows(Nx *x, int rows, int64_t unit, V lo, V hi)
{
    Em *em = x->em;
    int loop = x->n->no - 1;
    int64_t step = rows * unit;
    V whole = LLVMBuildAnd(em->b, LLVMBuildSub(em->b, hi, lo, ""), em_int(em, -step), ""), end = LLVMBuildAdd(em->b, lo, whole, "");
    bool known = LLVMIsAConstantInt(whole);
    if (known && !LLVMConstIntGetSExtValue(whole))
        return end;
    x->rows = rows;
    x->apart = unit;
    if (known && LLVMConstIntGetSExtValue(whole) == step) {
        x->idx[loop] = lo;
        passes(x);
    } else {
        EmLoop l = em_loop(em, lo, end, step, known);
        x->idx[loop] = l.i;
        passes(x);
        em_loop_end(em, &l);
    }
    x->rows = 1;
    return end;
}

/* Numbers that stand side by side, one for each row, are fetched before the rows begin: no hardware foresees so few. */
static void fetch_ahead(Nx *x)
{
    const Nest *n = x->n;
    Em *em = x->em;
    int last = n->no - 1;
    for (int i = 0; i < n->nins; i++) {
        const Ins *s = &n->ins[i];
        int64_t bytes = n->dim[last] * dt_size((Dt)s->dt);
        if (s->op != I_LOAD || s->full || s->stride[last] != 1 || bytes > MAX_FETCH)
            continue;
        x->idx[last] = em_int(em, 0);
        V at = em_at(em, (Dt)s->dt, x->ptr[s->operand], place(x, i));
        for (int64_t k = 0; k < bytes; k += CACHE_LINE) {
            V arg[4] = { em_at(em, U8, at, em_int(em, k)), em_inum(em, I32, 1, 0), em_inum(em, I32, 1, 3), em_inum(em, I32, 1, 1) };
            em_call(em, "llvm.prefetch", em->ptr, 4, arg);
        }
    }
}

/* The last outer loop: several rows at a time, then the rest one at a time. */
static void run_last(Nx *x, V lo, V hi)
{
    Em *em = x->em;
    const Nest *n = x->n;
    int loop = n->no - 1, rows = choose_rows(x);
    assert(loop >= 0);
    bool vectors = loop == x->vecloop && x->lanes > 1;
    int64_t unit = vectors ? x->lanes : 1, whole = n->dim[loop] / unit * unit;
    if (rows == 1) {
        run(x, loop, lo, hi, outer, loop + 1);
        return;
    }
    if (!lo && n->vec_inner)
        fetch_ahead(x);
    V from = lo ? lo : em_int(em, 0), end = em_int(em, whole);
    if (hi)
        end = whole == n->dim[loop] ? hi : LLVMBuildSelect(em->b, LLVMBuildICmp(em->b, LLVMIntSLT, hi, end, ""), hi, end, "");
    from = run_rows(x, rows, unit, from, end);
    run(x, loop, from, hi, outer, loop + 1);
}

static void start_inside(Nx *x, int depth)
{
    if (depth < x->loops) {
        run(x, depth, NULL, NULL, start_inside, depth + 1);
        return;
    }
    for (int i = 0; i < x->n->nins; i++) {
        const Ins *s = &x->n->ins[i];
        if (s->op == I_ACCUM && added_from(x, s) == x->filling)
            store_at(x, i, place(x, i), emit_reduce_start(x->em, (int)s->inum, (Dt)s->dt, x->vec[i] ? x->lanes : 1));
    }
}

/* Before the loops that something is added up over. */
static void start_adding(Nx *x, int depth)
{
    for (int i = 0; i < x->n->nins; i++)
        if (x->n->ins[i].op == I_ACCUM && added_from(x, &x->n->ins[i]) == depth) {
            x->filling = depth;
            start_inside(x, x->n->no);
            return;
        }
}

static void join_inside(Nx *x, int depth)
{
    if (depth < x->loops) {
        run(x, depth, NULL, NULL, join_inside, depth + 1);
        return;
    }
    for (int i = 0; i < x->n->nins; i++) {
        const Ins *s = &x->n->ins[i];
        if (s->op == I_JOIN) {
            V lanes = load_at(x, s->in[0], place(x, s->in[0]));
            store_at(x, i, place(x, i), emit_reduce_lanes(x->em, (int)s->inum, (Dt)s->dt, lanes));
        }
    }
}

/* Behind the vector loop, what was added up in lanes. */
static void join_lanes(Nx *x)
{
    for (int i = 0; i < x->n->nins; i++)
        if (x->n->ins[i].op == I_JOIN) {
            join_inside(x, x->n->no);
            return;
        }
}

static bool has_one_turn(const Nx *x)
{
    const Nest *n = x->n;
    int loop = n->no - 1, rows = choose_rows(x);
    int64_t unit = loop == x->vecloop ? x->lanes : 1;
    return n->split != loop && (n->dim[loop] == rows * unit || n->dim[loop] < unit);
}

static void outer(Nx *x, int depth)
{
    if (depth == x->n->no) {
        passes(x);
        return;
    }
    bool last = depth == x->n->no - 1, shared = depth == x->n->split;
    V lo = shared ? x->lo : NULL, hi = shared ? x->hi : NULL;
    x->once = last && has_one_turn(x);
    if (!x->once)
        start_adding(x, depth);
    compute_at(x, depth, -1);
    if (!last) {
        run(x, depth, lo, hi, outer, depth + 1);
        return;
    }
    run_last(x, lo, hi);
    x->once = false;
    join_lanes(x);
}

/* ---- threads */

static void share(Nx *x)
{
    const Nest *n = x->n;
    if (n->split >= 0)
        em_range(x->em, n->dim[n->split], n->grain, x->tid, x->nthreads, &x->lo, &x->hi);
}

/* Slot s owns whole vectors (or items) of the first inner loop: units [s U / P, (s + 1) U / P). */
static void run_slots(Nx *x)
{
    Em *em = x->em;
    V first, end;
    int loop = x->n->no;
    int64_t n = x->n->dim[loop], grain = loop == x->vecloop ? x->lanes : 1;
    if (x->n->solo) {
        first = em_int(em, 0);
        end = em_int(em, x->n->slots);
    } else {
        em_range(em, x->n->slots, 1, x->tid, x->nthreads, &first, &end);
    }
    EmLoop l = em_loop(em, first, end, 1, false);
    em_range(em, n, grain, l.i, em_int(em, x->n->slots), &x->lo, &x->hi);
    x->slot = l.i;
    passes(x);
    em_loop_end(em, &l);
}

LLVMValueRef emit_nest(Em *em, const Nest *n, const char *name)
{
    Nx x = { .em = em, .n = n, .loops = n->no + n->ni };
    x.ptr = NEWN(V, n->noperand + 1);
    x.val = arena_alloc(sizeof *x.val * (size_t)(n->nins + 1));
    x.acc = arena_alloc(sizeof *x.acc * (size_t)(n->nins + 1));
    x.depth = NEWN(int, n->nins + 1);
    x.vec = NEWN(bool, n->nins + 1);
    x.varies = NEWN(bool, n->nins + 1);
    x.fused = NEWN(bool, n->nins + 1);
    x.rows = 1;
    V fn = em_kernel(em, name, n->noperand, x.ptr, &x.tid, &x.nthreads);
    choose_lanes(&x);
    x.valid = x.lanes;
    find_depths(&x);
    find_fused(&x);
    share(&x);
    if (n->slots > 1)
        run_slots(&x);
    else
        outer(&x, 0);
    em_kernel_end(em);
    return fn;
}

LLVMValueRef emit_join(Em *em, const Kernel *k, const char *name)
{
    V p[2], tid, nthreads;
    V fn = em_kernel(em, name, 2, p, &tid, &nthreads);
    V parts = em_load(em, k->dt, k->slots, p[0], NULL);
    em_store(em, k->dt, emit_reduce_lanes(em, k->join, k->dt, parts), p[1], NULL);
    em_kernel_end(em);
    return fn;
}
