/* emit_contract.c: one product with constant extents and strides becomes one kernel.

   Requires a ContractSpec (emit.h). Guarantees the bits of 5.1, whatever the target's registers, the tiles, packing and threads:
   - chain form: an element is one chain of multiply-adds over k in ascending order from 0. Where all of k is more than 4096
     long, its outermost long loop is cut into slabs of at most 4096 steps, one chain each, added in order.
   - dot form: 16 lanes (k mod 16) of the last k loop, joined as a tree 8, 4, 2, 1. It is taken if k is contiguous in both
     operands, n is not contiguous in b, and M or N is at most 4 (k at least 16), or at most 12 (k at least 64).
   Which of the two is decided by extents and strides only.

   The work is a list of panels: for each index of the outer loops a run of nv vectors along the vector axis. In a panel, m is cut
   into tiles of at most two heights; h x nv accumulators stay in registers while k runs. B's panel is packed into scratch first
   where its rows are not contiguous or lie too far apart. A thread does a range of tiles. */
#include "emit.h"
#include <assert.h>

typedef LLVMValueRef V;

enum { SLAB = 4096, DOT_LANES = 16, MAXTILE = 32, MAXVECS = 16 };
enum { BATCH, ROWS, COLS };                          /* the three groups of loops that an element of c has an index in */

typedef struct { Ext e; int group; int64_t weight; } Outer;       /* weight: what a step adds to the group's flat index */

/* What is decided before any code is made. */
typedef struct {
    Outer outer[3 * MAXDIM];
    int nouter;
    int64_t outers;                  /* product of their extents */
    Ext m, vec;                      /* the loop cut into tile rows, the loop laid along vectors (extent 1: none) */
    int64_t m_weight;                /* what a row adds to the flat index of the rows */
    int vec_group;                   /* COLS; BATCH if only a batch loop is contiguous in c */
    const Ext *k;
    int nk;
    int64_t ks;                      /* product of the k extents */
    int lanes, nv;                   /* lanes of a vector; vectors (chain) of a panel, or columns (dot) */
    int64_t panels;                  /* along vec */
    int high, low;                   /* tile heights, low == high - 1 */
    int64_t nhigh, nlow;             /* how many tiles of each, the high ones first */
    bool dot, pack, pack_a;
    int cut;                         /* the k loop that slabs cut; loops outside it make one slab each */
    int64_t step, slab;              /* its iterations in a slab; multiply-adds in a slab */
    bool slabs;                      /* more than one */
} Plan;

/* ---- decisions */

static Ext last_or_one(const Ext *list, int n) { return n ? list[n - 1] : (Ext){ .n = 1 }; }

/* All loops of a group but one (`skip`, -1: none) are outer loops. Returns the weight of the one skipped. */
static int64_t add_outer(Plan *p, const Ext *list, int n, int skip, int group)
{
    int64_t weight = 1, skipped = 1;
    for (int i = n - 1; i >= 0; weight *= list[i].n, i--) {
        if (i == skip) {
            skipped = weight;
            continue;
        }
        p->outer[p->nouter++] = (Outer){ list[i], group, weight };
        p->outers *= list[i].n;
    }
    return skipped;
}

/* Tile rows: the last loop of m, unless it is short and another one is longer. */
static int choose_rows(const ContractSpec *s)
{
    int best = s->nm - 1;
    for (int i = s->nm - 1; i >= 0; i--)
        if (s->m[best].n < 8 && s->m[i].n > s->m[best].n)
            best = i;
    return best;
}

/* The vector axis is the last loop of n; or the last batch loop, if c is contiguous along that one only. */
static void choose_axes(Plan *p, const ContractSpec *s)
{
    Ext n = last_or_one(s->n, s->nn), b = last_or_one(s->batch, s->nbatch);
    bool along_batch = s->nbatch && b.sc == 1 && b.n > 1 && (!s->nn || n.sc != 1) && (b.sa == 1 || b.sb == 1);
    p->outers = 1;
    p->vec_group = along_batch ? BATCH : COLS;
    p->vec = along_batch ? b : n;
    int rows = choose_rows(s);
    p->m = s->nm ? s->m[rows] : (Ext){ .n = 1 };
    add_outer(p, s->n, s->nn, along_batch ? -1 : s->nn - 1, COLS);
    p->m_weight = add_outer(p, s->m, s->nm, rows, ROWS);
    add_outer(p, s->batch, s->nbatch, along_batch ? s->nbatch - 1 : -1, BATCH);
    p->k = s->k;
    p->nk = s->nk;
    p->ks = 1;
    for (int i = 0; i < s->nk; i++)
        p->ks *= s->k[i].n;
}

static bool wants_dot(const Plan *p)
{
    if (!p->nk)
        return false;
    Ext k = p->k[p->nk - 1];
    int64_t few = p->m.n < p->vec.n ? p->m.n : p->vec.n;
    bool long_enough = (few <= 4 && k.n >= 16) || (few <= 12 && k.n >= 64);
    return long_enough && k.sa == 1 && k.sb == 1 && p->vec.sb != 1 && p->vec.sa == 0;
}

/* The outermost loop whose inner loops together are at most a slab long is cut. */
static void choose_slabs(Plan *p)
{
    int64_t inner = p->ks;
    p->step = 1;
    p->slab = p->ks;
    p->slabs = p->ks > SLAB && !p->dot;
    if (!p->slabs) {
        p->step = p->nk ? p->k[0].n : 1;
        return;
    }
    for (p->cut = 0; ; p->cut++) {
        inner /= p->k[p->cut].n;
        if (inner <= SLAB)
            break;
    }
    p->step = SLAB / inner < p->k[p->cut].n ? SLAB / inner : p->k[p->cut].n;
    p->slab = p->step * inner;
}

/* Rows in ceil(M / height) tiles as equal as can be. */
static void cut_rows(Plan *p, int height)
{
    int64_t tiles = (p->m.n + height - 1) / height;
    p->high = (int)((p->m.n + tiles - 1) / tiles);
    p->low = p->high - 1;
    p->nhigh = p->m.n - p->low * tiles;
    p->nlow = tiles - p->nhigh;
}

/* Half cycles of a panel of w vectors: multiply-adds, loads, or the latency of the chains; and a tile's own overhead. */
static double panel_cost(const Plan *p, int w)
{
    double cost = 0;
    for (int i = 0; i < 2; i++) {
        int h = i ? p->low : p->high;
        int64_t count = i ? p->nlow : p->nhigh;
        int busy = h * w > h + w ? h * w : h + w;
        if (busy < 8)
            busy = 8;
        cost += (double)count * ((double)(p->ks * busy) + 3 * h * w + 40);
    }
    return cost;
}

static void choose_tile(Plan *p, const Target *t)
{
    int64_t vectors = (p->vec.n + p->lanes - 1) / p->lanes;
    int spare = t->fma ? 1 : 2, best_h = 1, best_w = 1;
    double best = 0;
    for (int w = 1; w <= MAXVECS && w <= vectors; w++)
        for (int h = 1; h <= p->m.n && h * w + (h > 1 ? w : 1) + spare <= t->vregs; h++) {   /* one row: b straight from memory */
            cut_rows(p, h);
            double cost = (double)(vectors / w) * panel_cost(p, w) + (vectors % w ? panel_cost(p, (int)(vectors % w)) : 0);
            int variants = (p->nlow ? 2 : 1) * (vectors > w && p->vec.n % ((int64_t)w * p->lanes) ? 2 : 1);
            cost *= 1 + 0.015 * variants;            /* each is code that has to be made and held */
            if (best == 0 || cost < best) {
                best = cost;
                best_h = h;
                best_w = w;
            }
        }
    cut_rows(p, best_h);
    p->nv = best_w;
    p->panels = (vectors + best_w - 1) / best_w;
}

/* Dot: h x w elements take `each` registers apiece; the joining of lanes counts too. */
static void choose_dot_tile(Plan *p, const Target *t, Dt dt)
{
    int each = DOT_LANES * dt_size(dt) / t->vbytes, best_h = 1, best_w = 1;
    double best = 0;
    if (each < 1)
        each = 1;
    for (int w = 1; w <= 8 && w <= p->vec.n; w++)
        for (int h = 1; h <= p->m.n && (h * w == 1 || h * w * each + w + 2 <= t->vregs); h++) {
            cut_rows(p, h);
            int64_t tiles = (p->nhigh + p->nlow) * ((p->vec.n + w - 1) / w);
            int busy = each * (h * w > h + w ? h * w : h + w), variants = (p->nlow ? 2 : 1) * (p->vec.n % w ? 2 : 1);
            double cost = (double)tiles * ((double)(p->ks / DOT_LANES + 1) * (busy < 8 ? 8 : busy) + 5 * h * w + 40);
            cost *= 1 + 0.015 * variants;
            if (best == 0 || cost < best) {
                best = cost;
                best_h = h;
                best_w = w;
            }
        }
    cut_rows(p, best_h);
    p->nv = best_w;
    p->panels = (p->vec.n + best_w - 1) / best_w;
}

/* B is packed where its vectors are strided and used by several tiles (or can be transposed in registers), or where its rows
   are so far apart that a panel's lines compete for the same places of the cache. */
static bool wants_pack(const Plan *p, const Target *t, Dt dt)
{
    int64_t tiles = p->nhigh + p->nlow;
    if (!p->nk || p->vec.sb == 0)
        return false;
    Ext k = p->k[p->nk - 1];
    if (p->vec.sb != 1)
        return tiles > 1 || (k.sb == 1 && k.n >= p->lanes && p->m.n > 1);
    int64_t row = (k.sb < 0 ? -k.sb : k.sb) * dt_size(dt);
    return tiles >= 8 && p->ks * row > t->l2;
}

/* A is packed, all of it at a thread's start, where it stands as [k, m] and its rows are far apart: a tile reads a few elements
   from each of them, and again for every panel. */
static bool wants_pack_a(const Plan *p, const Target *t, Dt dt)
{
    if (p->nk != 1 || p->slabs || p->outers > 1 || p->vec.sa || p->m.sa != 1 || p->panels < 8)
        return false;
    return p->ks * p->k[0].sa * dt_size(dt) > t->l2;
}

static Plan plan_of(const Target *t, const ContractSpec *s)
{
    Plan p = { 0 };
    choose_axes(&p, s);
    p.dot = wants_dot(&p);
    choose_slabs(&p);
    p.lanes = t->vbytes / dt_size(s->dt);
    while (p.lanes / 2 >= p.vec.n)
        p.lanes /= 2;
    if (p.dot) {
        choose_dot_tile(&p, t, s->dt);
        return p;
    }
    choose_tile(&p, t);
    p.pack = wants_pack(&p, t, s->dt);
    p.pack_a = wants_pack_a(&p, t, s->dt);
    return p;
}

static int64_t work_of(const ContractSpec *s)
{
    int64_t n = 1;
    for (int i = 0; i < s->nbatch; i++) n *= s->batch[i].n;
    for (int i = 0; i < s->nm; i++) n *= s->m[i].n;
    for (int i = 0; i < s->nn; i++) n *= s->n[i].n;
    for (int i = 0; i < s->nk; i++) n *= s->k[i].n;
    return n;
}

bool contract_small(const ContractSpec *s)
{
    return work_of(s) < 65536;
}

/* Scratch: the packed panel, the sums of slabs so far, the packed A. */
static int64_t pack_elems(const Plan *p) { return p->pack ? p->slab * p->nv * p->lanes : 0; }
static int64_t sums_elems(const Plan *p) { return p->slabs ? p->m.n * p->nv * p->lanes : 0; }

static int64_t pack_a_elems(const Plan *p) { return p->pack_a ? p->m.n * p->ks : 0; }

int64_t contract_scratch(const Target *t, const ContractSpec *s)
{
    Plan p = plan_of(t, s);
    return (pack_elems(&p) + sums_elems(&p) + pack_a_elems(&p)) * dt_size(s->dt);
}

/* ---- the state of emission */

typedef struct {
    Em *em;
    const ContractSpec *s;
    const Plan *p;
    Dt dt;
    V a, b, c;                       /* operands */
    const V *operand;                /* c and the epilogue's */
    V packed, sums, packed_a;        /* scratch */
    V tile;                          /* a variable that holds a finished tile for the epilogue */
    V lo, hi;                        /* this thread's tiles */
    V ap, bp;                        /* where the panel starts in a and b */
    V coff;                          /* and in c, in elements */
    V flat[3];                       /* flat indices of the panel's first element */
    int nv, valid;                   /* of the current panel: vectors, lanes of the last of them */
} Gen;

static V imul(Gen *g, V i, int64_t by) { return em_index(g->em, i, by, NULL); }
static V iadd(Gen *g, V a, V b) { return em_index(g->em, a, 1, b); }
static int lanes_of(const Gen *g, int v) { return v == g->nv - 1 ? g->valid : g->p->lanes; }
static V zero(Gen *g, int lanes) { return LLVMConstNull(em_type(g->em, g->dt, lanes)); }

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

/* A loop whose body sees pointers that advance, and n values that it changes; trip >= 1, constant. */
typedef struct { EmLoop l; V phi[2 + MAXTILE]; } Chain;

static void chain_begin(Gen *g, Chain *c, int64_t trip, int n, V *value)
{
    LLVMBasicBlockRef before = LLVMGetInsertBlock(g->em->b);
    c->l = em_loop(g->em, em_int(g->em, 0), em_int(g->em, trip), 1, true);
    for (int i = 0; i < n; i++) {
        c->phi[i] = LLVMBuildPhi(g->em->b, LLVMTypeOf(value[i]), "");
        LLVMAddIncoming(c->phi[i], &value[i], &before, 1);
        value[i] = c->phi[i];
    }
}

static void chain_end(Gen *g, Chain *c, int n, V *value)
{
    LLVMBasicBlockRef last = LLVMGetInsertBlock(g->em->b);
    for (int i = 0; i < n; i++)
        LLVMAddIncoming(c->phi[i], &value[i], &last, 1);
    em_loop_end(g->em, &c->l);
}

/* ---- packing */

static V shuffle(Gen *g, V a, V b, int n, const int *lane)
{
    V index[64];
    for (int i = 0; i < n; i++)
        index[i] = LLVMConstInt(g->em->i32, (unsigned)lane[i], false);
    return LLVMBuildShuffleVector(g->em->b, a, b, LLVMConstVector(index, (unsigned)n), "");
}

/* Blocks of `block` lanes: the low (or high) half block of a and of b, side by side, in every block of 2 * block lanes... for
   block == 1 that is x86's unpack within 16 bytes (`in` lanes): a0 b0 a1 b1. */
static V interleave(Gen *g, V a, V b, int lanes, int in, int block, bool high)
{
    int lane[64];
    for (int i = 0; i < lanes; i++) {
        int base = i / in * in, at = i % in, unit = at / block, k = unit / 2 + (high ? in / block / 2 : 0);
        lane[i] = base + k * block + at % block + (unit & 1 ? lanes : 0);
    }
    return shuffle(g, a, b, lanes, lane);
}

/* The even (odd) blocks of a, then those of b. */
static V unzip(Gen *g, V a, V b, int lanes, int block, bool odd)
{
    int lane[64];
    for (int i = 0; i < lanes; i++)
        lane[i] = i / block * 2 * block + (odd ? block : 0) + i % block;
    return shuffle(g, a, b, lanes, lane);
}

/* x[i] lane j <-> x[j] lane i, for `lanes` vectors: first within 16 bytes, then the blocks of 16 bytes. */
static void transpose(Gen *g, V *x, int lanes)
{
    int in = 16 / dt_size(g->dt);
    V y[64];
    if (in > lanes)
        in = lanes;
    for (int r = 0; r < lanes; r += in) {
        V t[4];
        if (in == 2) {
            for (int i = 0; i < 2; i++)
                y[r + i] = interleave(g, x[r], x[r + 1], lanes, 2, 1, i);
            continue;
        }
        for (int i = 0; i < 4; i++)
            t[i] = interleave(g, x[r + (i & 2)], x[r + (i & 2) + 1], lanes, 4, 1, i & 1);
        for (int i = 0; i < 4; i++)
            y[r + i] = interleave(g, t[i >> 1], t[2 + (i >> 1)], lanes, 4, 2, i & 1);
    }
    for (int blocks = lanes / in, apart = in; blocks > 1; blocks /= 2, apart *= 2) {
        for (int r = 0; r < lanes; r++)
            x[r] = y[r];
        /* rows r and r + apart (r / apart even) become the even and the odd part */
        for (int r = 0; r < lanes; r++)
            if (!(r / apart & 1)) {
                y[r] = unzip(g, x[r], x[r + apart], lanes, in, false);
                y[r + apart] = unzip(g, x[r], x[r + apart], lanes, in, true);
            }
    }
    for (int r = 0; r < lanes; r++)
        x[r] = y[r];
}

static void pack_store(Gen *g, V v, V to, int64_t row, int vector)
{
    int64_t at = (row * g->nv + vector) * g->p->lanes;
    em_store(g->em, g->dt, v, to, em_int(g->em, at));
}

/* Rows of k, each nv vectors long, as they are. */
static void pack_rows(Gen *g, V from, V to, int64_t n, int64_t sk)
{
    Chain c;
    V at[2] = { from, to };
    chain_begin(g, &c, n, 2, at);
    for (int v = 0; v < g->nv; v++) {
        V first = em_at(g->em, g->dt, at[0], em_int(g->em, v * g->p->lanes * g->p->vec.sb));
        pack_store(g, em_load_strided(g->em, g->dt, g->p->lanes, lanes_of(g, v), first, NULL, g->p->vec.sb), at[1], 0, v);
    }
    at[0] = em_at(g->em, g->dt, at[0], em_int(g->em, sk));
    at[1] = em_at(g->em, g->dt, at[1], em_int(g->em, g->nv * g->p->lanes));
    chain_end(g, &c, 2, at);
}

/* `rows` (<= lanes) steps of k, contiguous in b, by one vector of `valid` columns. */
static void pack_block(Gen *g, V from, V to, int valid, int rows)
{
    int lanes = g->p->lanes;
    V x[64];
    for (int i = 0; i < lanes; i++) {
        V at = em_int(g->em, i * g->p->vec.sb);
        x[i] = i < valid ? em_load_part(g->em, g->dt, lanes, rows, from, at) : zero(g, lanes);
    }
    if (lanes > 1)
        transpose(g, x, lanes);
    for (int i = 0; i < rows; i++)
        pack_store(g, x[i], to, i, 0);
}

/* One vector of columns, n steps of k. */
static void pack_strip(Gen *g, V from, V to, int valid, int64_t n)
{
    int lanes = g->p->lanes;
    V at[2] = { from, to };
    if (n >= lanes) {
        Chain c;
        chain_begin(g, &c, n / lanes, 2, at);
        pack_block(g, at[0], at[1], valid, lanes);
        at[0] = em_at(g->em, g->dt, at[0], em_int(g->em, lanes));
        at[1] = em_at(g->em, g->dt, at[1], em_int(g->em, (int64_t)g->nv * lanes * lanes));
        chain_end(g, &c, 2, at);
    }
    if (n % lanes)
        pack_block(g, at[0], at[1], valid, (int)(n % lanes));
}

static void pack_transposed(Gen *g, V from, V to, int64_t n)
{
    int lanes = g->p->lanes, full = g->valid == lanes ? g->nv : g->nv - 1;
    V at[2] = { from, to };
    if (full) {
        Chain c;
        chain_begin(g, &c, full, 2, at);
        V start[2] = { at[0], at[1] };
        pack_strip(g, at[0], at[1], lanes, n);
        at[0] = em_at(g->em, g->dt, start[0], em_int(g->em, lanes * g->p->vec.sb));
        at[1] = em_at(g->em, g->dt, start[1], em_int(g->em, lanes));
        chain_end(g, &c, 2, at);
    }
    if (full < g->nv)
        pack_strip(g, at[0], at[1], g->valid, n);
}

/* B's panel for one slab: `n` iterations of loop `level`, all of the loops inside; `inner` steps per iteration. */
static void pack_panel(Gen *g, int level, int64_t n, V from, V to)
{
    const Plan *p = g->p;
    if (level == p->nk - 1) {
        if (p->vec.sb != 1 && p->k[level].sb == 1)
            pack_transposed(g, from, to, n);
        else
            pack_rows(g, from, to, n, p->k[level].sb);
        return;
    }
    int64_t inner = 1;
    for (int i = level + 1; i < p->nk; i++)
        inner *= p->k[i].n;
    EmLoop l = em_loop(g->em, em_int(g->em, 0), em_int(g->em, n), 1, true);
    pack_panel(g, level + 1, p->k[level + 1].n, em_at(g->em, g->dt, from, imul(g, l.i, p->k[level].sb)),
               em_at(g->em, g->dt, to, imul(g, l.i, inner * g->nv * p->lanes)));
    em_loop_end(g->em, &l);
}

/* A as the tiles read it: tile by tile, k by k, its h rows. */
static void pack_a(Gen *g)
{
    const Plan *p = g->p;
    Em *em = g->em;
    for (int i = 0; i < 2; i++) {
        int h = i ? p->low : p->high;
        int64_t first = i ? p->nhigh * p->high : 0, count = i ? p->nlow : p->nhigh;
        if (!count)
            continue;
        EmLoop l = em_loop(em, em_int(em, 0), em_int(em, count), 1, true);
        V row = iadd(g, imul(g, l.i, h), em_int(em, first));
        V at[2] = { em_at(em, g->dt, g->a, row), em_at(em, g->dt, g->packed_a, imul(g, row, p->ks)) };
        Chain c;
        chain_begin(g, &c, p->ks, 2, at);
        em_store(em, g->dt, em_load(em, g->dt, h, at[0], NULL), at[1], NULL);
        at[0] = em_at(em, g->dt, at[0], em_int(em, p->k[0].sa));
        at[1] = em_at(em, g->dt, at[1], em_int(em, h));
        chain_end(g, &c, 2, at);
        em_loop_end(em, &l);
    }
}

/* ---- the chain form: a tile of h rows by nv vectors */

/* One step of k: at[0] points into a, at[1] into b (or the packed panel), `ahead` steps of (sa, sb) further. */
static void tile_step(Gen *g, int h, const V *at, int64_t ahead, int64_t sa, int64_t sb, V *acc)
{
    Em *em = g->em;
    const Plan *p = g->p;
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
                x = em_load_strided(em, g->dt, p->lanes, lanes_of(g, v), at[0], em_int(em, i + v * p->lanes * p->vec.sa),
                                    p->vec.sa);
            else if (!x)
                x = em_splat(em, em_load(em, g->dt, 1, at[0], em_int(em, i)), p->lanes);
            acc[r * g->nv + v] = mac(g, x, b[v], acc[r * g->nv + v]);
        }
    }
}

/* `n` iterations of loop `level` of k and all of those inside. value[0], value[1]: where a and b stand; the accumulators follow. */
static void tile_loops(Gen *g, int h, int level, int64_t n, V *value)
{
    const Plan *p = g->p;
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
    const Plan *p = g->p;
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

/* With an epilogue of many instructions its code should stand once per vector, not once per row: the tile goes through memory. */
static void deliver_tile(Gen *g, int h, V m0, const V *acc)
{
    const Plan *p = g->p;
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
    for (int v = 0; v < g->nv; v++)
        deliver(g, em_load(em, g->dt, p->lanes, row, em_int(em, v * p->lanes)), iadd(g, l.i, m0), v * p->lanes, lanes_of(g, v));
    em_loop_end(em, &l);
}

/* Where row m of the panel has its sums of slabs. */
static V sums_row(Gen *g, V m) { return em_at(g->em, g->dt, g->sums, imul(g, m, g->nv * g->p->lanes)); }

/* Rows m0 .. m0+h-1 over `n` iterations of the cut loop; ap, bp: where k starts. */
static void tile(Gen *g, int h, V m0, int64_t n, V ap, V bp)
{
    const Plan *p = g->p;
    V a = p->pack_a ? em_at(g->em, g->dt, g->packed_a, imul(g, m0, p->ks)) : em_at(g->em, g->dt, ap, imul(g, m0, p->m.sa));
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
    const Plan *p = g->p;
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
    const Plan *p = g->p;
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
    const Plan *p = g->p;
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
    const Plan *p = g->p;
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
    for (int v = 0; v < nv; v++)
        deliver(g, em_load(em, g->dt, p->lanes, sums_row(g, l.i), em_int(em, v * p->lanes)), l.i, v * p->lanes, lanes_of(g, v));
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
    const Plan *p = g->p;
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
    const Plan *p = g->p;
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

/* Sets the panel's places from its number: the panel along vec runs fastest, then the outer loops as listed. Returns the number along vec. */
static V place_panel(Gen *g, V number)
{
    const Plan *p = g->p;
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
    const Plan *p = g->p;
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
    const Plan *p = g->p;
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
    const Plan *p = g->p;
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

/* Small work is thread 0's; otherwise every thread has a range of tiles (an empty one must not enter its panel's loops). */
static void ranges(Gen *g, V tid, V nthreads)
{
    const Plan *p = g->p;
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
    Plan p = plan_of(em->t, s);
    int nptr = 4 + s->nextra;
    V *operand = NEWN(V, nptr), tid, nthreads;
    V fn = em_kernel(em, name, nptr, operand, &tid, &nthreads);
    Gen g = { .em = em, .s = s, .p = &p, .dt = s->dt, .a = operand[0], .b = operand[1], .c = operand[2], .operand = operand + 2 };
    g.packed = operand[nptr - 1];
    g.sums = em_at(em, s->dt, g.packed, em_int(em, pack_elems(&p)));
    g.packed_a = em_at(em, s->dt, g.sums, em_int(em, sums_elems(&p)));
    if (s->epilogue && !p.dot && p.high > 2)
        g.tile = em_var(em, LLVMArrayType2(em_type(em, s->dt, p.lanes), (uint64_t)(p.high * p.nv)), NULL);
    ranges(&g, tid, nthreads);
    em_kernel_end(em);
    return fn;
}
