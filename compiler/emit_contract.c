/* emit_contract.c: one product with constant extents and strides becomes one kernel.

   Requires a ContractSpec (emit.h). Guarantees these bits, whatever the target's registers, the tiles, the packing
   and the threads:
   - chain form: an element is one chain of multiply-adds over k in ascending order from 0. Where all of k is more
     than 4096 long, its outermost long loop is cut into slabs of at most 4096 steps, one chain each, added in order.
   - dot form: 16 lanes (k mod 16) of the last k loop, joined as a tree 8, 4, 2, 1. It is taken if k is contiguous in
     both operands, n is not contiguous in b, and M or N is at most 4 (k at least 16), or at most 12 (k at least 64).
     Which of the two is decided by extents and strides only.

   The work is a list of panels: for each index of the outer loops a run of nv vectors along the vector axis. In a
   panel, m is cut into tiles of at most two heights; h x nv accumulators stay in registers while k runs. B's panel is
   packed into scratch first where its rows are not contiguous or lie too far apart. A thread does a range of tiles. */
#include "contract.h"

/* a * b + c in the type at hand */
static V mac(Gen *g, V a, V b, V c)
{
    if (dt_float(g->dt))
        return em_fma(g->em, a, b, c);
    return LLVMBuildAdd(g->em->b, c, LLVMBuildMul(g->em->b, a, b, ""), "");
}

static V plus(Gen *g, V a, V b)
{
    return dt_float(g->dt) ? LLVMBuildFAdd(g->em->b, a, b, "") : LLVMBuildAdd(g->em->b, a, b, "");
}

/* ---- the chain form: a tile of h rows by nv vectors */

/* One step of k: at[0] points into a, at[1] into b (or the packed panel), `ahead` steps of (sa, sb) further. */
static void tile_step(Gen *g, int h, const V *at, int64_t ahead, int64_t sa, int64_t sb, V *acc)
{
    Em *em = g->em;
    const Tiling *p = g->p;
    V b[MAXVECS];
    int64_t sv = p->pack ? 1 : p->vec.sb;
    for (int v = 0; v < g->nv; v++) {
        int valid = p->pack ? p->lanes : lanes_of(g, v);
        b[v] = em_load_strided(em, g->dt, p->lanes, valid, at[1], em_int(em, ahead * sb + v * p->lanes * sv), sv);
    }
    for (int r = 0; r < h; r++) {
        V x = NULL;
        for (int v = 0; v < g->nv; v++) {
            int64_t i = ahead * sa + r * (p->pack_a ? 1 : p->m.sa);
            if (p->vec.sa)
                x = em_load_strided(em, g->dt, p->lanes, lanes_of(g, v), at[0],
                                    em_int(em, i + v * p->lanes * p->vec.sa), p->vec.sa);
            else if (!x)
                x = em_splat(em, em_load(em, g->dt, 1, at[0], em_int(em, i)), p->lanes);
            acc[r * g->nv + v] = mac(g, x, b[v], acc[r * g->nv + v]);
        }
    }
}

/* `n` iterations of loop `level` of k and all of those inside. value[0], value[1]: where a and b stand; the
   accumulators follow. */
static void tile_loops(Gen *g, int h, int level, int64_t n, V *value)
{
    const Tiling *p = g->p;
    int nvalue = 2 + h * g->nv;
    Chain c;
    if (level == p->nk) {                            /* no k at all: one step */
        tile_step(g, h, value, 0, 0, 0, value + 2);
        return;
    }
    int64_t inner = 1;
    for (int i = level + 1; i < p->nk; i++)
        inner *= p->k[i].n;
    int64_t sa = p->pack_a ? h : p->k[level].sa, sb = p->pack ? inner * g->nv * p->lanes : p->k[level].sb;
    if (level < p->nk - 1) {
        chain_begin(g, &c, n, nvalue, value);
        V start[2] = { value[0], value[1] };
        tile_loops(g, h, level + 1, p->k[level + 1].n, value);
        value[0] = em_at(g->em, g->dt, start[0], em_int(g->em, sa));
        value[1] = em_at(g->em, g->dt, start[1], em_int(g->em, sb));
        chain_end(g, &c, nvalue, value);
        return;
    }
    int64_t unroll = n * h * g->nv <= 64 ? n : (h * g->nv >= 8 ? 2 : 4), looped = n / unroll, done = 0;
    if (looped > 1) {
        chain_begin(g, &c, looped, nvalue, value);
        for (int u = 0; u < unroll; u++)
            tile_step(g, h, value, u, sa, sb, value + 2);
        value[0] = em_at(g->em, g->dt, value[0], em_int(g->em, unroll * sa));
        value[1] = em_at(g->em, g->dt, value[1], em_int(g->em, unroll * sb));
        chain_end(g, &c, nvalue, value);
        done = looped * unroll;
    }
    for (int64_t u = done; u < n; u++)
        tile_step(g, h, value, u - done, sa, sb, value + 2);
}

/* A finished vector: row m, lanes n.. of the panel. */
static void deliver(Gen *g, V v, V m, int64_t n, int valid)
{
    const Tiling *p = g->p;
    Em *em = g->em;
    if (!g->s->epilogue) {
        V at = iadd(g, iadd(g, imul(g, m, p->m.sc), em_int(em, n * p->vec.sc)), g->coff);
        em_store_strided(em, g->dt, v, valid, g->c, at, p->vec.sc);
        return;
    }
    V row = em_index(em, m, p->m_weight, g->flat[ROWS]), col = iadd(g, em_int(em, n), g->flat[p->vec_group]);
    if (p->vec_group == COLS) {
        g->s->epilogue(em, g->s, v, valid, g->flat[BATCH], row, col, g->operand);
        return;
    }
    for (int i = 0; i < valid; i++)
        g->s->epilogue(em, g->s, em_lane(em, v, i), 1, iadd(g, em_int(em, i), col), row, g->flat[COLS], g->operand);
}

/* With an epilogue of many instructions its code should stand once per vector, not once per row: the tile goes
   through memory. */
static void deliver_tile(Gen *g, int h, V m0, const V *acc)
{
    const Tiling *p = g->p;
    Em *em = g->em;
    if (!g->s->epilogue || h <= 2) {
        for (int r = 0; r < h; r++)
            for (int v = 0; v < g->nv; v++)
                deliver(g, acc[r * g->nv + v], iadd(g, em_int(em, r), m0), v * p->lanes, lanes_of(g, v));
        return;
    }
    for (int i = 0; i < h * g->nv; i++)
        em_store(em, g->dt, acc[i], g->tile, em_int(em, i * p->lanes));
    EmLoop l = em_loop(em, em_int(em, 0), em_int(em, h), 1, true);
    V row = em_at(em, g->dt, g->tile, imul(g, l.i, g->nv * p->lanes));
    for (int v = 0; v < g->nv; v++) {
        V x = em_load(em, g->dt, p->lanes, row, em_int(em, v * p->lanes));
        deliver(g, x, iadd(g, l.i, m0), v * p->lanes, lanes_of(g, v));
    }
    em_loop_end(em, &l);
}

/* Where row m of the panel has its sums of slabs. */
static V sums_row(Gen *g, V m) { return em_at(g->em, g->dt, g->sums, imul(g, m, g->nv * g->p->lanes)); }

/* Rows m0 .. m0+h-1 over `n` iterations of the cut loop; ap, bp: where k starts. */
static void tile(Gen *g, int h, V m0, int64_t n, V ap, V bp)
{
    const Tiling *p = g->p;
    V a = em_at(g->em, g->dt, p->pack_a ? g->packed_a : ap, imul(g, m0, p->pack_a ? p->ks : p->m.sa));
    V value[2 + MAXTILE] = { a, p->pack ? g->packed : bp };
    for (int i = 0; i < h * g->nv; i++)
        value[2 + i] = zero(g, p->lanes);
    tile_loops(g, h, p->cut, n, value);
    if (!p->slabs) {
        deliver_tile(g, h, m0, value + 2);
        return;
    }
    V sums = sums_row(g, m0);
    for (int i = 0; i < h * g->nv; i++) {
        V at = em_int(g->em, i * p->lanes), before = em_load(g->em, g->dt, p->lanes, sums, at);
        em_store(g->em, g->dt, plus(g, before, value[2 + i]), sums, at);
    }
}

static V smaller(Gen *g, V a, V b, LLVMIntPredicate p)
{
    return LLVMBuildSelect(g->em->b, LLVMBuildICmp(g->em->b, p, a, b, ""), a, b, "");
}

/* The rows of this panel that are this thread's: tiles [from, to) of 0 .. nhigh + nlow - 1. */
typedef struct { V from, to; } Rows;

/* For each tile of `rows`, in order: high ones, then low ones. */
static void each_tile(Gen *g, Rows rows, int64_t n, V ap, V bp)
{
    const Tiling *p = g->p;
    Em *em = g->em;
    if (p->nhigh + p->nlow == 1) {
        tile(g, p->high, em_int(em, 0), n, ap, bp);
        return;
    }
    for (int i = 0; i < 2; i++) {
        int h = i ? p->low : p->high;
        int64_t first = i ? p->nhigh : 0, count = i ? p->nlow : p->nhigh;
        if (!count)
            continue;
        V from = i ? smaller(g, rows.from, em_int(em, first), LLVMIntSGT) : rows.from;
        V to = i ? rows.to : smaller(g, rows.to, em_int(em, count), LLVMIntSLT);
        EmLoop l = em_loop(em, from, to, 1, false);
        V m0 = iadd(g, imul(g, l.i, h), em_int(em, first * (p->high - h)));
        tile(g, h, m0, n, ap, bp);
        em_loop_end(em, &l);
    }
}

/* The first row of tile t (a run-time number). */
static V tile_row(Gen *g, V t)
{
    const Tiling *p = g->p;
    V high = imul(g, t, p->high), low = iadd(g, imul(g, t, p->low), em_int(g->em, p->nhigh));
    return p->nlow ? smaller(g, high, low, LLVMIntSLT) : high;
}

static void slab(Gen *g, Rows rows, int64_t n, V ap, V bp)
{
    if (g->p->pack)
        pack_panel(g, g->p->cut, n, bp, g->packed);
    each_tile(g, rows, n, ap, bp);
}

/* The k loops outside the slabs, then full slabs, then the rest. */
static void slab_loops(Gen *g, Rows rows, int level, V ap, V bp)
{
    const Tiling *p = g->p;
    Em *em = g->em;
    Ext k = p->nk ? p->k[level] : (Ext){ .n = 1 };
    bool outside = level < p->cut;
    int64_t step = outside ? 1 : p->step, full = k.n / step, rest = k.n % step;
    if (full > 1) {
        EmLoop l = em_loop(em, em_int(em, 0), em_int(em, full), 1, true);
        V a = em_at(em, g->dt, ap, imul(g, l.i, step * k.sa)), b = em_at(em, g->dt, bp, imul(g, l.i, step * k.sb));
        if (outside)
            slab_loops(g, rows, level + 1, a, b);
        else
            slab(g, rows, step, a, b);
        em_loop_end(em, &l);
    } else {
        slab(g, rows, step, ap, bp);
    }
    if (rest)
        slab(g, rows, rest, em_at(em, g->dt, ap, em_int(em, full * step * k.sa)),
             em_at(em, g->dt, bp, em_int(em, full * step * k.sb)));
}

/* One panel whose width is known: nv vectors, `valid` lanes in the last. */
static void chain_panel(Gen *g, Rows rows, int nv, int valid)
{
    const Tiling *p = g->p;
    Em *em = g->em;
    g->nv = nv;
    g->valid = valid;
    if (!p->slabs) {
        slab_loops(g, rows, 0, g->ap, g->bp);
        return;
    }
    V from = tile_row(g, rows.from), to = tile_row(g, rows.to);
    EmLoop l = em_loop(em, from, to, 1, false);
    for (int v = 0; v < nv; v++)
        em_store(em, g->dt, zero(g, p->lanes), sums_row(g, l.i), em_int(em, v * p->lanes));
    em_loop_end(em, &l);
    slab_loops(g, rows, 0, g->ap, g->bp);
    l = em_loop(em, from, to, 1, false);
    for (int v = 0; v < nv; v++) {
        V x = em_load(em, g->dt, p->lanes, sums_row(g, l.i), em_int(em, v * p->lanes));
        deliver(g, x, l.i, v * p->lanes, lanes_of(g, v));
    }
    em_loop_end(em, &l);
}

/* ---- the dot form: a tile of h rows by nv columns, 16 lanes each */

/* Joins lanes in a tree 8, 4, 2, 1 for all of x[0..n-1] together: a vector of n (rounded up to a power of two) sums.
   At each step a vector holds `per` sums of w lanes each; two of them become one of w / 2. */
static V join_lanes(Gen *g, V *x, int n)
{
    int total = DOT_LANES, lane[64], other[64];
    for (int w = DOT_LANES; w > 1; w /= 2) {
        int half = w / 2, per = total / w, out = 0;
        bool pairs = n > 1;
        for (int i = 0; i < n; i += pairs ? 2 : 1) {
            V a = x[i], b = i + 1 < n ? x[i + 1] : LLVMGetUndef(LLVMTypeOf(a));
            int len = 0;
            for (int s = 0; s < (pairs ? 2 * per : per); s++)
                for (int j = 0; j < half; j++, len++) {
                    lane[len] = s * w + j;
                    other[len] = s * w + j + half;
                }
            x[out++] = plus(g, shuffle(g, a, b, len, lane), shuffle(g, a, b, len, other));
        }
        total = (pairs ? 2 * per : per) * half;
        n = out;
    }
    return x[0];
}

static void dot_step(Gen *g, int h, int valid, const V *at, V *acc)
{
    V b[8];
    for (int c = 0; c < g->nv; c++)
        b[c] = em_load_part(g->em, g->dt, DOT_LANES, valid, at[1], em_int(g->em, c * g->p->vec.sb));
    for (int r = 0; r < h; r++) {
        V a = em_load_part(g->em, g->dt, DOT_LANES, valid, at[0], em_int(g->em, r * g->p->m.sa));
        for (int c = 0; c < g->nv; c++)
            acc[r * g->nv + c] = mac(g, a, b[c], acc[r * g->nv + c]);
    }
}

static void dot_loops(Gen *g, int h, int level, V *value)
{
    const Tiling *p = g->p;
    int nvalue = 2 + h * g->nv;
    bool innermost = level == p->nk - 1;
    int64_t n = p->k[level].n, each = innermost ? DOT_LANES : 1;
    Chain c;
    chain_begin(g, &c, n / each, nvalue, value);
    V start[2] = { value[0], value[1] };
    if (innermost)
        dot_step(g, h, DOT_LANES, value, value + 2);
    else
        dot_loops(g, h, level + 1, value);
    value[0] = em_at(g->em, g->dt, start[0], em_int(g->em, each * p->k[level].sa));
    value[1] = em_at(g->em, g->dt, start[1], em_int(g->em, each * p->k[level].sb));
    chain_end(g, &c, nvalue, value);
    if (n % each)
        dot_step(g, h, (int)(n % each), value, value + 2);
}

static void dot_tile(Gen *g, int h, V m0)
{
    V value[2 + MAXTILE] = { em_at(g->em, g->dt, g->ap, imul(g, m0, g->p->m.sa)), g->bp };
    for (int i = 0; i < h * g->nv; i++)
        value[2 + i] = zero(g, DOT_LANES);
    dot_loops(g, h, 0, value);
    for (int r = 0; r < h; r++) {
        V sums = join_lanes(g, value + 2 + r * g->nv, g->nv);
        if (g->nv == 1)
            sums = LLVMBuildExtractElement(g->em->b, sums, LLVMConstInt(g->em->i32, 0, false), "");
        deliver(g, sums, iadd(g, em_int(g->em, r), m0), 0, g->nv);
    }
}

static void dot_panel(Gen *g, Rows rows, int columns)
{
    const Tiling *p = g->p;
    g->nv = columns;
    for (int i = 0; i < 2; i++) {
        int h = i ? p->low : p->high;
        int64_t first = i ? p->nhigh : 0, count = i ? p->nlow : p->nhigh;
        if (!count)
            continue;
        V from = i ? smaller(g, rows.from, em_int(g->em, first), LLVMIntSGT) : rows.from;
        V to = i ? rows.to : smaller(g, rows.to, em_int(g->em, count), LLVMIntSLT);
        EmLoop l = em_loop(g->em, from, to, 1, false);
        dot_tile(g, h, iadd(g, imul(g, l.i, h), em_int(g->em, first * (p->high - h))));
        em_loop_end(g->em, &l);
    }
}

/* ---- panels and threads */

/* Sets the panel's places from its number: the panel along vec runs fastest, then the outer loops as listed. Returns
   the number along vec. */
static V place_panel(Gen *g, V number)
{
    const Tiling *p = g->p;
    LLVMBuilderRef b = g->em->b;
    int64_t unit = p->dot ? p->nv : (int64_t)p->nv * p->lanes;
    V rest = number, along = em_int(g->em, 0), off[3] = { NULL, NULL, NULL };
    for (int i = 0; i < 3; i++)
        g->flat[i] = em_int(g->em, 0);
    if (p->panels > 1) {
        along = p->outers > 1 ? LLVMBuildURem(b, rest, em_int(g->em, p->panels), "") : rest;
        rest = p->outers > 1 ? LLVMBuildUDiv(b, rest, em_int(g->em, p->panels), "") : em_int(g->em, 0);
    }
    V first = imul(g, along, unit);
    g->flat[p->vec_group] = first;
    off[0] = imul(g, first, p->vec.sa);
    off[1] = imul(g, first, p->vec.sb);
    off[2] = imul(g, first, p->vec.sc);
    for (int i = 0; i < p->nouter; i++) {
        const Ext *e = &p->outer[i].e;
        int group = p->outer[i].group;
        bool last = i == p->nouter - 1;
        V index = last ? rest : LLVMBuildURem(b, rest, em_int(g->em, e->n), "");
        if (!last)
            rest = LLVMBuildUDiv(b, rest, em_int(g->em, e->n), "");
        g->flat[group] = em_index(g->em, index, p->outer[i].weight, g->flat[group]);
        off[0] = em_index(g->em, index, e->sa, off[0]);
        off[1] = em_index(g->em, index, e->sb, off[1]);
        off[2] = em_index(g->em, index, e->sc, off[2]);
    }
    g->ap = em_at(g->em, g->dt, g->a, off[0]);
    g->bp = em_at(g->em, g->dt, g->b, off[1]);
    g->coff = off[2];
    return along;
}

/* A panel of one of two widths: full, or what is left at the end of vec. */
static void one_width(Gen *g, Rows rows, bool full)
{
    const Tiling *p = g->p;
    int64_t before = (p->panels - 1) * p->nv;
    if (p->dot) {
        dot_panel(g, rows, full ? p->nv : (int)(p->vec.n - before));
        return;
    }
    int64_t vectors = (p->vec.n + p->lanes - 1) / p->lanes;
    int nv = full ? p->nv : (int)(vectors - before);
    chain_panel(g, rows, nv, full ? p->lanes : (int)(p->vec.n - (vectors - 1) * p->lanes));
}

static void panel(Gen *g, V number)
{
    const Tiling *p = g->p;
    Em *em = g->em;
    int64_t tiles = p->nhigh + p->nlow, unit = p->dot ? p->nv : (int64_t)p->nv * p->lanes;
    V along = place_panel(g, number), first = imul(g, number, tiles);
    Rows rows = { em_int(em, 0), em_int(em, tiles) };
    if (tiles > 1) {
        rows.from = smaller(g, LLVMBuildSub(em->b, g->lo, first, ""), rows.from, LLVMIntSGT);
        rows.to = smaller(g, LLVMBuildSub(em->b, g->hi, first, ""), rows.to, LLVMIntSLT);
    }
    if (p->vec.n % unit == 0 || p->panels == 1) {
        one_width(g, rows, p->vec.n % unit == 0);
        return;
    }
    LLVMBasicBlockRef full = em_block(em, "full"), tail = em_block(em, "tail"), done = em_block(em, "done");
    V is_last = LLVMBuildICmp(em->b, LLVMIntEQ, along, em_int(em, p->panels - 1), "");
    LLVMBuildCondBr(em->b, is_last, tail, full);
    for (int i = 0; i < 2; i++) {
        LLVMPositionBuilderAtEnd(em->b, i ? tail : full);
        one_width(g, rows, !i);
        LLVMBuildBr(em->b, done);
    }
    LLVMMoveBasicBlockAfter(done, LLVMGetInsertBlock(em->b));
    LLVMPositionBuilderAtEnd(em->b, done);
}

/* All panels that hold a tile of [lo, hi). */
static void all_panels(Gen *g)
{
    const Tiling *p = g->p;
    Em *em = g->em;
    int64_t tiles = p->nhigh + p->nlow;
    V from = g->lo, to = g->hi;
    if (tiles > 1) {
        from = LLVMBuildUDiv(em->b, g->lo, em_int(em, tiles), "");
        to = LLVMBuildUDiv(em->b, LLVMBuildAdd(em->b, g->hi, em_int(em, tiles - 1), ""), em_int(em, tiles), "");
    }
    if (LLVMIsConstant(from) && LLVMIsConstant(to) && p->outers * p->panels == 1) {
        panel(g, em_int(em, 0));
        return;
    }
    EmLoop l = em_loop(em, from, to, 1, false);
    panel(g, l.i);
    em_loop_end(em, &l);
}

/* Small work is thread 0's; otherwise every thread has a range of tiles (an empty one must not enter its panel's
   loops). */
static void ranges(Gen *g, V tid, V nthreads)
{
    const Tiling *p = g->p;
    Em *em = g->em;
    int64_t total = p->outers * p->panels * (p->nhigh + p->nlow);
    bool small = contract_small(g->s);
    V mine;
    if (small) {
        g->lo = em_int(em, 0);
        g->hi = em_int(em, total);
        mine = LLVMBuildICmp(em->b, LLVMIntEQ, tid, em_int(em, 0), "");
    } else {
        em_range(em, total, 1, tid, nthreads, &g->lo, &g->hi);
        mine = LLVMBuildICmp(em->b, LLVMIntSLT, g->lo, g->hi, "");
    }
    LLVMBasicBlockRef work = em_block(em, "work"), none = em_block(em, "none");
    LLVMBuildCondBr(em->b, mine, work, none);
    LLVMPositionBuilderAtEnd(em->b, work);
    if (p->pack_a)
        pack_a(g);
    all_panels(g);
    LLVMBuildBr(em->b, none);
    LLVMMoveBasicBlockAfter(none, LLVMGetInsertBlock(em->b));
    LLVMPositionBuilderAtEnd(em->b, none);
}

LLVMValueRef emit_contract(Em *em, const ContractSpec *s, const char *name)
{
    Tiling p = tiling_of(em->t, s);
    int nptr = 4 + s->nextra;
    V *operand = NEWN(V, nptr), tid, nthreads;
    V fn = em_kernel(em, name, nptr, operand, &tid, &nthreads);
    Gen g = { .em = em, .s = s, .p = &p, .dt = s->dt, .a = operand[0], .b = operand[1], .c = operand[2],
              .operand = operand + 2 };
    g.packed = operand[nptr - 1];
    g.sums = em_at(em, s->dt, g.packed, em_int(em, pack_elems(&p)));
    g.packed_a = em_at(em, s->dt, g.sums, em_int(em, sums_elems(&p)));
    if (s->epilogue && !p.dot && p.high > 2)
        g.tile = em_var(em, LLVMArrayType2(em_type(em, s->dt, p.lanes), (uint64_t)(p.high * p.nv)), NULL);
    ranges(&g, tid, nthreads);
    em_kernel_end(em);
    return fn;
}
