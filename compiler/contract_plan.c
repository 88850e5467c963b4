/* contract_plan.c: how a product is cut up: its axes, its form, its slabs, its tiles, what is packed.

   Requires a ContractSpec. What changes the order of additions (the form, the slabs) looks at extents and strides
   only; the rest looks at the target too. */
#include "contract.h"

/* ---- decisions */

static Ext last_or_one(const Ext *list, int n) { return n ? list[n - 1] : (Ext){ .n = 1 }; }

/* All loops of a group but one (`skip`, -1: none) are outer loops. Returns the weight of the one skipped. */
static int64_t add_outer(Tiling *p, const Ext *list, int n, int skip, int group)
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
static void choose_axes(Tiling *p, const ContractSpec *s)
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

static bool wants_dot(const Tiling *p)
{
    if (!p->nk)
        return false;
    Ext k = p->k[p->nk - 1];
    int64_t few = p->m.n < p->vec.n ? p->m.n : p->vec.n;
    bool long_enough = (few <= 4 && k.n >= 16) || (few <= 12 && k.n >= 64);
    return long_enough && k.sa == 1 && k.sb == 1 && p->vec.sb != 1 && p->vec.sa == 0;
}

/* The outermost loop whose inner loops together are at most a slab long is cut. */
static void choose_slabs(Tiling *p)
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
static void cut_rows(Tiling *p, int height)
{
    int64_t tiles = (p->m.n + height - 1) / height;
    p->high = (int)((p->m.n + tiles - 1) / tiles);
    p->low = p->high - 1;
    p->nhigh = p->m.n - p->low * tiles;
    p->nlow = tiles - p->nhigh;
}

/* Half cycles of a panel of w vectors: multiply-adds, loads, or the latency of the chains; and a tile's own overhead.
   */
static double panel_cost(const Tiling *p, int w)
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

static void choose_tile(Tiling *p, const Target *t)
{
    int64_t vectors = (p->vec.n + p->lanes - 1) / p->lanes;
    int spare = t->fma ? 1 : 2, best_h = 1, best_w = 1;
    double best = 0;
    for (int w = 1; w <= MAXVECS && w <= vectors; w++)
        for (int h = 1; h <= p->m.n; h++) {
            if (h * w + (h > 1 ? w : 1) + spare > t->vregs)      /* one row takes b straight from memory */
                break;
            cut_rows(p, h);
            double cost = (double)(vectors / w) * panel_cost(p, w);
            if (vectors % w)
                cost += panel_cost(p, (int)(vectors % w));
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
static void choose_dot_tile(Tiling *p, const Target *t, Dt dt)
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

/* B is packed where its vectors are strided and used by several tiles (or can be transposed in registers), or where
   its rows are so far apart that a panel's lines compete for the same places of the cache. */
static bool wants_pack(const Tiling *p, const Target *t, Dt dt)
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

/* A is packed, all of it at a thread's start, where it stands as [k, m] and its rows are far apart: a tile reads a
   few elements from each of them, and again for every panel. */
static bool wants_pack_a(const Tiling *p, const Target *t, Dt dt)
{
    if (p->nk != 1 || p->slabs || p->outers > 1 || p->vec.sa || p->m.sa != 1 || p->panels < 8)
        return false;
    return p->ks * p->k[0].sa * dt_size(dt) > t->l2;
}

Tiling tiling_of(const Target *t, const ContractSpec *s)
{
    Tiling p = { 0 };
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

/* Below a few microseconds of work, meeting at barriers costs more than sharing it saves. */
bool contract_small(const ContractSpec *s)
{
    return work_of(s) < 1 << 18;
}

int64_t pack_elems(const Tiling *p) { return p->pack ? p->slab * p->nv * p->lanes : 0; }
int64_t sums_elems(const Tiling *p) { return p->slabs ? p->m.n * p->nv * p->lanes : 0; }

int64_t pack_a_elems(const Tiling *p) { return p->pack_a ? p->m.n * p->ks : 0; }

int64_t contract_scratch(const Target *t, const ContractSpec *s)
{
    Tiling p = tiling_of(t, s);
    return (pack_elems(&p) + sums_elems(&p) + pack_a_elems(&p)) * dt_size(s->dt);
}
