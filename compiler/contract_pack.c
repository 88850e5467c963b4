/* contract_pack.c: operands of a product copied to where tiles read them in order, and the loops that copies and
   tiles are made of. */
#include "contract.h"

void chain_begin(Gen *g, Chain *c, int64_t trip, int n, V *value)
{
    LLVMBasicBlockRef before = LLVMGetInsertBlock(g->em->b);
    c->l = em_loop(g->em, em_int(g->em, 0), em_int(g->em, trip), 1, true);
    for (int i = 0; i < n; i++) {
        c->phi[i] = LLVMBuildPhi(g->em->b, LLVMTypeOf(value[i]), "");
        LLVMAddIncoming(c->phi[i], &value[i], &before, 1);
        value[i] = c->phi[i];
    }
}

void chain_end(Gen *g, Chain *c, int n, V *value)
{
    LLVMBasicBlockRef last = LLVMGetInsertBlock(g->em->b);
    for (int i = 0; i < n; i++)
        LLVMAddIncoming(c->phi[i], &value[i], &last, 1);
    em_loop_end(g->em, &c->l);
}

/* ---- packing */

V shuffle(Gen *g, V a, V b, int n, const int *lane)
{
    V index[64];
    for (int i = 0; i < n; i++)
        index[i] = LLVMConstInt(g->em->i32, (unsigned)lane[i], false);
    return LLVMBuildShuffleVector(g->em->b, a, b, LLVMConstVector(index, (unsigned)n), "");
}

/* In every `in` lanes: blocks of `block` lanes from the low (or high) half of a and of b in turn; a0 b0 a1 b1 for
   block == 1. */
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
        V x = em_load_strided(g->em, g->dt, g->p->lanes, lanes_of(g, v), first, NULL, g->p->vec.sb);
        pack_store(g, x, at[1], 0, v);
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
void pack_panel(Gen *g, int level, int64_t n, V from, V to)
{
    const Tiling *p = g->p;
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
void pack_a(Gen *g)
{
    const Tiling *p = g->p;
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
