/* emit_move.c: the irregular kernels, in plain loops: scatter, fold, cumsum, argsort, argmax.
   Each result element is made by one thread in one order: threads share the rows of the result (scatter) or an axis that the
   operation does not run along (the others). */
#include "emit_kernel.h"
#include <assert.h>

typedef LLVMValueRef V;
typedef struct {
    Em *em;
    const Move *m;
    V ptr[3], tid, nthreads;
    int64_t so[MAXDIM];          /* strides of the result, on the operand's axes */
    EmLoop loop[MAXDIM]; int axis[MAXDIM], nloops;
    V x, o;                      /* first element of the line in operand and result */
} Mx;

/* ---- lines: loops over all axes but those in `skip` */

static int longest_other(const Move *m, uint32_t skip)
{
    int best = -1;
    for (int i = 0; i < m->rank; i++)
        if (!(skip >> i & 1) && (best < 0 || m->dim[i] > m->dim[best]))
            best = i;
    return best;
}

static void lines_begin(Mx *x, uint32_t skip)
{
    Em *em = x->em;
    const Move *m = x->m;
    int shared = m->solo ? -1 : longest_other(m, skip);
    x->x = x->o = em_int(em, 0);
    for (int i = 0; i < m->rank; i++) {
        if (skip >> i & 1)
            continue;
        V lo = em_int(em, 0), hi = em_int(em, m->dim[i]);
        if (i == shared)
            em_range(em, m->dim[i], 1, x->tid, x->nthreads, &lo, &hi);
        x->loop[x->nloops] = em_loop(em, lo, hi, 1, false);
        V at = x->loop[x->nloops++].i;
        x->x = em_index(em, at, m->sx[i], x->x);
        x->o = em_index(em, at, x->so[i], x->o);
    }
}

static void lines_end(Mx *x)
{
    while (x->nloops > 0)
        em_loop_end(x->em, &x->loop[--x->nloops]);
}

/* Strides of a dense result that has the operand's axes but one (`gone`, -1: all), with another size on one axis. */
static void result_strides(Mx *x, int gone, int resized, int64_t size)
{
    int64_t s = 1;
    for (int i = x->m->rank - 1; i >= 0; i--) {
        x->so[i] = i == gone ? 0 : s;
        if (i != gone)
            s *= i == resized ? size : x->m->dim[i];
    }
}

static V load(Mx *x, V i) { return em_load(x->em, x->m->dt, 1, x->ptr[0], i); }

static V less(Mx *x, V a, V b)
{
    LLVMBuilderRef bd = x->em->b;
    if (dt_float(x->m->dt))
        return LLVMBuildFCmp(bd, LLVMRealOLT, a, b, "");
    return LLVMBuildICmp(bd, x->m->dt == I32 || x->m->dt == I64 ? LLVMIntSLT : LLVMIntULT, a, b, "");
}

static V is_nan(Mx *x, V a)
{
    return dt_float(x->m->dt) ? LLVMBuildFCmp(x->em->b, LLVMRealUNO, a, a, "") : LLVMConstInt(x->em->i1, 0, false);
}

/* a stands before b: smaller (or larger), or b alone is no number */
static V before(Mx *x, V a, V b, bool falling)
{
    LLVMBuilderRef bd = x->em->b;
    V nan_last = LLVMBuildAnd(bd, is_nan(x, b), LLVMBuildNot(bd, is_nan(x, a), ""), "");
    return LLVMBuildOr(bd, falling ? less(x, b, a) : less(x, a, b), nan_last, "");
}

/* ---- along a line */

static void cumsum(Mx *x)
{
    Em *em = x->em;
    const Move *m = x->m;
    int64_t n = m->dim[m->axis];
    result_strides(x, -1, -1, 0);
    lines_begin(x, 1u << m->axis);
    V sum = em_var(em, em_type(em, m->dt, 1), emit_reduce_start(em, OP_SUM, m->dt, 1));
    EmLoop l = em_loop(em, em_int(em, 0), em_int(em, n), 1, false);
    V t = m->reverse ? LLVMBuildSub(em->b, em_int(em, n - 1), l.i, "") : l.i;
    em_set(em, sum, emit_reduce2(em, OP_SUM, m->dt, em_get(em, sum), load(x, em_index(em, t, m->sx[m->axis], x->x))));
    em_store(em, m->dt, em_get(em, sum), x->ptr[1], em_index(em, t, x->so[m->axis], x->o));
    em_loop_end(em, &l);
    lines_end(x);
}

static void argmax(Mx *x)
{
    Em *em = x->em;
    const Move *m = x->m;
    result_strides(x, m->axis, -1, 0);
    lines_begin(x, 1u << m->axis);
    V best = em_var(em, em_type(em, m->dt, 1), load(x, x->x)), at = em_var(em, em->i64, em_int(em, 0));
    EmLoop l = em_loop(em, em_int(em, 1), em_int(em, m->dim[m->axis]), 1, false);
    V v = load(x, em_index(em, l.i, m->sx[m->axis], x->x)), b = em_get(em, best);
    V better = LLVMBuildAnd(em->b, is_nan(x, v), LLVMBuildNot(em->b, is_nan(x, b), ""), "");
    better = LLVMBuildOr(em->b, better, less(x, b, v), "");
    em_set(em, best, LLVMBuildSelect(em->b, better, v, b, ""));
    em_set(em, at, LLVMBuildSelect(em->b, better, l.i, em_get(em, at), ""));
    em_loop_end(em, &l);
    em_store(em, I32, LLVMBuildTrunc(em->b, em_get(em, at), em->i32, ""), x->ptr[1], x->o);
    lines_end(x);
}

/* ---- argsort: a merge sort of the places, from runs of 1, 2, 4, .. to runs of twice the length, between two lists in scratch */

static V lesser(Em *em, V a, V b) { return LLVMBuildSelect(em->b, LLVMBuildICmp(em->b, LLVMIntSLT, a, b, ""), a, b, ""); }

static V place_at(Mx *x, V i) { return LLVMBuildSExt(x->em->b, em_load(x->em, I32, 1, x->ptr[2], i), x->em->i64, ""); }

/* Element number `t` of the line. */
static V element(Mx *x, V t) { return load(x, em_index(x->em, t, x->m->sx[x->m->axis], x->x)); }

/* from[lo..mid) and from[mid..hi), each in order, to to[lo..hi); of equals the left one stands first. */
static void merge(Mx *x, V from, V to, V lo, V mid, V hi)
{
    Em *em = x->em;
    V left = em_var(em, em->i64, NULL), right = em_var(em, em->i64, NULL), one = em_int(em, 1);
    em_set(em, left, lo);
    em_set(em, right, mid);
    EmLoop l = em_loop(em, lo, hi, 1, false);
    V i = em_get(em, left), j = em_get(em, right);
    V more = LLVMBuildICmp(em->b, LLVMIntSLT, i, mid, ""), others = LLVMBuildICmp(em->b, LLVMIntSLT, j, hi, "");
    V a = place_at(x, LLVMBuildAdd(em->b, from, LLVMBuildSelect(em->b, more, i, lo, ""), ""));
    V b = place_at(x, LLVMBuildAdd(em->b, from, LLVMBuildSelect(em->b, others, j, lo, ""), ""));
    V sooner = before(x, element(x, b), element(x, a), x->m->reverse);
    V second = LLVMBuildAnd(em->b, others, LLVMBuildOr(em->b, LLVMBuildNot(em->b, more, ""), sooner, ""), "");
    V place = LLVMBuildSelect(em->b, second, b, a, "");
    em_store(em, I32, LLVMBuildTrunc(em->b, place, em->i32, ""), x->ptr[2], LLVMBuildAdd(em->b, to, l.i, ""));
    em_set(em, left, LLVMBuildSelect(em->b, second, i, LLVMBuildAdd(em->b, i, one, ""), ""));
    em_set(em, right, LLVMBuildSelect(em->b, second, LLVMBuildAdd(em->b, j, one, ""), j, ""));
    em_loop_end(em, &l);
}

static void argsort(Mx *x)
{
    Em *em = x->em;
    const Move *m = x->m;
    int64_t size = m->dim[m->axis], passes = 0;
    V n = em_int(em, size), one = em_int(em, 1), zero = em_int(em, 0);
    while (INT64_C(1) << passes < size)
        passes++;
    result_strides(x, -1, -1, 0);
    lines_begin(x, 1u << m->axis);
    EmLoop i = em_loop(em, zero, n, 1, false);
    em_store(em, I32, LLVMBuildTrunc(em->b, i.i, em->i32, ""), x->ptr[2], i.i);
    em_loop_end(em, &i);
    EmLoop p = em_loop(em, zero, em_int(em, passes), 1, false);
    V odd = LLVMBuildAnd(em->b, p.i, one, ""), from = LLVMBuildMul(em->b, odd, n, ""), to = LLVMBuildSub(em->b, n, from, "");
    V run = LLVMBuildShl(em->b, one, p.i, ""), pair = LLVMBuildShl(em->b, run, one, "");
    V pairs = LLVMBuildSDiv(em->b, LLVMBuildAdd(em->b, n, LLVMBuildSub(em->b, pair, one, ""), ""), pair, "");
    EmLoop q = em_loop(em, zero, pairs, 1, false);
    V lo = LLVMBuildMul(em->b, q.i, pair, "");
    merge(x, from, to, lo, lesser(em, LLVMBuildAdd(em->b, lo, run, ""), n), lesser(em, LLVMBuildAdd(em->b, lo, pair, ""), n));
    em_loop_end(em, &q);
    em_loop_end(em, &p);
    EmLoop o = em_loop(em, zero, n, 1, false);
    V place = em_load(em, I32, 1, x->ptr[2], em_index(em, o.i, 1, em_int(em, passes % 2 * size)));
    em_store(em, I32, place, x->ptr[1], em_index(em, o.i, x->so[m->axis], x->o));
    em_loop_end(em, &o);
    lines_end(x);
}

/* ---- fold: out[t] = sum over j of in[t - j, j] */
static void fold(Mx *x)
{
    Em *em = x->em;
    const Move *m = x->m;
    int64_t rows = m->dim[m->axis], n = m->k;
    result_strides(x, m->axis + 1, m->axis, rows + n - 1);
    lines_begin(x, 3u << m->axis);
    EmLoop t = em_loop(em, em_int(em, 0), em_int(em, rows + n - 1), 1, false);
    V sum = em_var(em, em_type(em, m->dt, 1), emit_reduce_start(em, OP_SUM, m->dt, 1));
    V past = LLVMBuildSub(em->b, t.i, em_int(em, rows - 1), "");
    V from = LLVMBuildSelect(em->b, LLVMBuildICmp(em->b, LLVMIntSLT, past, em_int(em, 0), ""), em_int(em, 0), past, "");
    V next = LLVMBuildAdd(em->b, t.i, em_int(em, 1), "");
    V to = LLVMBuildSelect(em->b, LLVMBuildICmp(em->b, LLVMIntSLT, next, em_int(em, n), ""), next, em_int(em, n), "");
    EmLoop j = em_loop(em, from, to, 1, false);
    V at = em_index(em, LLVMBuildSub(em->b, t.i, j.i, ""), m->sx[m->axis], x->x);
    V v = load(x, em_index(em, j.i, m->sx[m->axis + 1], at));
    em_set(em, sum, emit_reduce2(em, OP_SUM, m->dt, em_get(em, sum), v));
    em_loop_end(em, &j);
    em_store(em, m->dt, em_get(em, sum), x->ptr[1], em_index(em, t.i, x->so[m->axis], x->o));
    em_loop_end(em, &t);
    lines_end(x);
}

/* ---- scatter: out[b.., idx[b.., i..], r..] += d[b.., i.., r..]; threads own rows of the gathered axis */

static V scatter_row(Mx *x, V at)
{
    Em *em = x->em;
    const Move *m = x->m;
    V row = em_load(em, m->idt, 1, x->ptr[1], at);
    if (m->idt != I64)
        row = m->idt == I32 ? LLVMBuildSExt(em->b, row, em->i64, "") : LLVMBuildZExt(em->b, row, em->i64, "");
    V low = LLVMBuildICmp(em->b, LLVMIntSLT, row, em_int(em, 0), "");
    V high = LLVMBuildICmp(em->b, LLVMIntSGE, row, em_int(em, m->n), "");
    return LLVMBuildSelect(em->b, low, em_int(em, 0), LLVMBuildSelect(em->b, high, em_int(em, m->n - 1), row, ""), "");
}

/* Adds a row: loops over the axes behind the index, the last one by vectors where it lies so. */
static void add_row(Mx *x, V from, V to)
{
    Em *em = x->em;
    const Move *m = x->m;
    int first = m->nb + m->ni, nloops = 0, last = m->rank - 1;
    EmLoop loop[MAXDIM];
    for (int i = first; i < last; i++) {
        loop[nloops] = em_loop(em, em_int(em, 0), em_int(em, m->dim[i]), 1, false);
        from = em_index(em, loop[nloops].i, m->sx[i], from);
        to = em_index(em, loop[nloops++].i, x->so[i], to);
    }
    int64_t n = last >= first ? m->dim[last] : 1, step = last >= first ? m->sx[last] : 0;
    int lanes = step == 1 && n >= em_lanes(em, m->dt) ? em_lanes(em, m->dt) : 1;
    int64_t whole = n - n % lanes;
    for (int part = 0; part < 2; part++) {
        if (part && whole == n)
            break;
        EmLoop l = em_loop(em, em_int(em, part ? whole : 0), em_int(em, part ? n : whole), part ? 1 : lanes, false);
        V o = em_index(em, l.i, 1, to), d = em_load(em, m->dt, part ? 1 : lanes, x->ptr[0], em_index(em, l.i, step, from));
        em_store(em, m->dt, emit_reduce2(em, OP_SUM, m->dt, em_load(em, m->dt, part ? 1 : lanes, x->ptr[2], o), d), x->ptr[2], o);
        em_loop_end(em, &l);
    }
    while (nloops > 0)
        em_loop_end(em, &loop[--nloops]);
}

static int64_t row_size(const Move *m)
{
    int64_t r = 1;
    for (int i = m->nb + m->ni; i < m->rank; i++)
        r *= m->dim[i];
    return r;
}

static void clear_rows(Mx *x, V lo, V hi)
{
    Em *em = x->em;
    const Move *m = x->m;
    int64_t row = row_size(m), batches = row * m->n > 0 ? m->size / (row * m->n) : 0;
    EmLoop b = em_loop(em, em_int(em, 0), em_int(em, batches), 1, false);
    V base = LLVMBuildMul(em->b, b.i, em_int(em, m->n * row), "");
    EmLoop l = em_loop(em, em_index(em, lo, row, base), em_index(em, hi, row, base), 1, false);
    em_store(em, m->dt, emit_reduce_start(em, OP_SUM, m->dt, 1), x->ptr[2], l.i);
    em_loop_end(em, &l);
    em_loop_end(em, &b);
}

static void scatter(Mx *x)
{
    Em *em = x->em;
    const Move *m = x->m;
    int64_t row = row_size(m), s = row * m->n, r = 1;
    for (int i = m->rank - 1; i >= m->nb + m->ni; i--) {
        x->so[i] = r;
        r *= m->dim[i];
    }
    for (int i = m->nb - 1; i >= 0; i--) {
        x->so[i] = s;
        s *= m->dim[i];
    }
    V lo = em_int(em, 0), hi = em_int(em, m->n);
    if (!m->solo)
        em_range(em, m->n, 1, x->tid, x->nthreads, &lo, &hi);
    clear_rows(x, lo, hi);
    uint32_t behind = 0;
    for (int i = m->nb + m->ni; i < m->rank; i++)
        behind |= 1u << i;
    Move all = *m;
    all.solo = true;
    x->m = &all;
    lines_begin(x, behind);
    V at = em_int(em, 0);
    for (int i = 0; i < m->nb + m->ni; i++)
        at = em_index(em, x->loop[i].i, m->si[i], at);
    V to = scatter_row(x, at);
    V mine = LLVMBuildAnd(em->b, LLVMBuildICmp(em->b, LLVMIntSGE, to, lo, ""), LLVMBuildICmp(em->b, LLVMIntSLT, to, hi, ""), "");
    LLVMBasicBlockRef add = em_block(em, "add"), next = em_block(em, "next");
    LLVMBuildCondBr(em->b, mine, add, next);
    LLVMPositionBuilderAtEnd(em->b, add);
    add_row(x, x->x, em_index(em, to, row, x->o));
    LLVMBuildBr(em->b, next);
    LLVMPositionBuilderAtEnd(em->b, next);
    lines_end(x);
    x->m = m;
}

LLVMValueRef emit_move(Em *em, const Kernel *k, const char *name)
{
    Mx x = { .em = em, .m = &k->move };
    V fn = em_kernel(em, name, k->noperand, x.ptr, &x.tid, &x.nthreads);
    switch (k->kind) {
    case KN_SCATTER: scatter(&x); break;
    case KN_FOLD: fold(&x); break;
    case KN_CUMSUM: cumsum(&x); break;
    case KN_ARGSORT: argsort(&x); break;
    default: argmax(&x); break;
    }
    em_kernel_end(em);
    return fn;
}
