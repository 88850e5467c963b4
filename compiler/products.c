/* products.c: in which order several factors are multiplied and summed.

   Gradients come as products of products: sum_ij e_i k_j X_ij as a matrix e k' times X, summed. The order that costs the least is
   e . (X k): no matrix is made. Requires: a region without gradients still to be taken. Every product, sum of products and
   contraction is taken apart into its factors (through MUL, NEG, BCAST, PERM and contractions that sum nothing) and put
   together again, two at a time, cheapest first, if that needs fewer operations. Equal to rounding. */
#include "graph.h"
#include <string.h>

enum { MAXLABEL = 25 };

typedef struct {
    Factor f[MAXFACTOR]; int n;
    double times;                        /* numbers among the factors */
    double cost;                         /* operations as the graph has it */
    int64_t size[MAXLABEL];
    int rank; int8_t lo[MAXDIM]; int32_t dim[MAXDIM];      /* the result */
} Product;

static uint32_t labels_of(const Factor *f)
{
    uint32_t m = 0;
    for (int i = 0; i < f->x->rank; i++) m |= 1u << f->l[i];
    return m;
}

static double size_of(const Product *p, uint32_t labels)
{
    double n = 1;
    for (int l = 1; l < MAXLABEL; l++) if (labels >> l & 1) n *= (double)p->size[l];
    return n;
}

static uint32_t result_labels(const Product *p)
{
    uint32_t m = 0;
    for (int i = 0; i < p->rank; i++) m |= 1u << p->lo[i];
    return m;
}

/* ---- taking apart */

static bool add_factor(Product *p, Node *x, const int8_t *l);

static bool viewed(Product *p, Node *x, const int8_t *l)   /* BCAST, PERM: the operand with its labels */
{
    int8_t in[MAXDIM] = { 0 };
    for (int i = 0; i < x->rank; i++) if (x->a.map[i] >= 0) in[x->a.map[i]] = l[i];
    return add_factor(p, x->in[0], in);
}

/* A contraction that sums nothing is a product of its operands. */
static bool sums_nothing(const Node *x)
{
    uint32_t out = 0, in = 0;
    for (int i = 0; i < x->rank; i++) out |= 1u << x->a.lo[i];
    for (int i = 0; i < x->in[0]->rank; i++) in |= 1u << x->a.la[i];
    for (int i = 0; i < x->in[1]->rank; i++) in |= 1u << x->a.lb[i];
    return !(in & ~out);
}

static bool operands(Product *p, Node *x, const int8_t *l)
{
    for (int j = 0; j < 2; j++) {
        const int8_t *own = j ? x->a.lb : x->a.la;
        int8_t in[MAXDIM] = { 0 };
        for (int i = 0; i < x->in[j]->rank; i++)
            for (int o = 0; o < x->rank; o++) if (x->a.lo[o] == own[i]) in[i] = l[o];
        if (!add_factor(p, x->in[j], in)) return false;
    }
    return true;
}

static bool add_factor(Product *p, Node *x, const int8_t *l)
{
    Factor f = { .x = x };
    memcpy(f.l, l, MAXDIM);
    switch (x->op) {
    case OP_CONST: p->times *= x->a.num; return true;
    case OP_BCAST: case OP_PERM: return viewed(p, x, l);
    case OP_NEG: p->times = -p->times; return add_factor(p, x->in[0], l);
    case OP_MUL:
        p->cost += (double)n_size(x);
        return add_factor(p, x->in[0], l) && add_factor(p, x->in[1], l);
    case OP_CONTRACT:
        if (!sums_nothing(x)) break;
        p->cost += (double)n_size(x);
        return operands(p, x, l);
    default: break;
    }
    if (p->n == MAXFACTOR) return false;
    p->f[p->n++] = f;
    return true;
}

static bool apart_contract(Product *p, const Node *x)
{
    uint32_t all = 0;
    memcpy(p->lo, x->a.lo, MAXDIM);
    for (int j = 0; j < 2; j++)
        for (int i = 0; i < x->in[j]->rank; i++) {
            int l = j ? x->a.lb[i] : x->a.la[i];
            all |= 1u << l;
            p->size[l] = x->in[j]->dim[i];
        }
    p->cost = size_of(p, all);
    return add_factor(p, x->in[0], x->a.la) && add_factor(p, x->in[1], x->a.lb);
}

static bool apart_elements(Product *p, Node *x, uint32_t summed)     /* MUL, or the operand of a SUM over `summed` */
{
    int8_t l[MAXDIM] = { 0 };
    for (int i = 0, o = 0; i < x->rank; i++) {
        l[i] = (int8_t)(i + 1);
        p->size[i + 1] = x->dim[i];
        if (!(summed >> i & 1)) p->lo[o++] = l[i];
    }
    if (summed) p->cost = (double)n_size(x);
    return add_factor(p, x, l);
}

static bool take_apart(Product *p, Node *x)
{
    *p = (Product){ .times = 1, .rank = x->rank };
    memcpy(p->dim, x->dim, sizeof p->dim);
    if (x->op == OP_CONTRACT) return apart_contract(p, x);
    return x->op == OP_SUM ? apart_elements(p, x->in[0], x->a.axes) : apart_elements(p, x, 0);
}

/* ---- putting together */

/* Labels that a product of factors i and j keeps: those of the result and of other factors. */
static uint32_t kept(const Product *p, int i, int j)
{
    uint32_t m = result_labels(p);
    for (int k = 0; k < p->n; k++) if (k != i && k != j) m |= labels_of(&p->f[k]);
    return m;
}

/* Factors without summed labels wait until all others are one: sums without them are more often equal to others. */
static bool waits(const Product *p, int i)
{
    uint32_t out = result_labels(p);
    bool others = false;
    for (int k = 0; k < p->n; k++) others |= (labels_of(&p->f[k]) & ~out) != 0;
    return others && !(labels_of(&p->f[i]) & ~out);
}

static uint32_t younger(const Product *p, int i, int j) { return p->f[i].x->id > p->f[j].x->id ? p->f[i].x->id : p->f[j].x->id; }

/* The pair that costs least, then that leaves least, then with the youngest factor: what is known early stays as it is. */
static int best_pair(const Product *p, bool wait, int *bi, int *bj, double *cost)
{
    double least = -1, left = 0;
    int open = 0;
    for (int i = 0; i < p->n; i++) {
        if (wait && waits(p, i)) continue;
        open++;
        for (int j = i + 1; j < p->n; j++) {
            if (wait && waits(p, j)) continue;
            uint32_t all = labels_of(&p->f[i]) | labels_of(&p->f[j]);
            double c = size_of(p, all), r = size_of(p, all & kept(p, i, j));
            bool tie = c == least && r == left && younger(p, i, j) > younger(p, *bi, *bj);
            if (least < 0 || c < least || (c == least && r < left) || tie) { *bi = i; *bj = j; least = c; left = r; }
        }
    }
    *cost = least;
    return open;
}

static void join(Product *p, int i, int j, bool build)
{
    uint32_t out = (labels_of(&p->f[i]) | labels_of(&p->f[j])) & kept(p, i, j);
    Factor f = { 0 };
    int rank = 0;
    int32_t dim[MAXDIM];
    for (int l = 1; l < MAXLABEL; l++) if (out >> l & 1) { dim[rank] = (int32_t)p->size[l]; f.l[rank++] = (int8_t)l; }
    if (p->f[i].x->id > p->f[j].x->id) { Factor t = p->f[i]; p->f[i] = p->f[j]; p->f[j] = t; }     /* older first */
    f.x = build ? n_contract(p->f[i].x, p->f[j].x, p->f[i].l, p->f[j].l, rank, f.l) : n_formal(0, (Dt)p->f[i].x->dt, rank, dim);
    p->f[i] = f;
    p->f[j] = p->f[--p->n];
}

static void sum_one(Product *p, bool build)                /* the only one that does not wait sums what it has alone */
{
    for (int i = 0; i < p->n; i++) {
        if (waits(p, i)) continue;
        Factor *f = &p->f[i], g = { 0 };
        uint32_t axes = 0;
        int32_t dim[MAXDIM];
        int rank = 0;
        for (int k = 0; k < f->x->rank; k++) {
            if (result_labels(p) >> f->l[k] & 1) { dim[rank] = f->x->dim[k]; g.l[rank++] = f->l[k]; }
            else axes |= 1u << k;
        }
        g.x = build ? n_sum(f->x, axes) : n_formal(0, (Dt)f->x->dt, rank, dim);
        *f = g;
        return;
    }
}

/* Multiplies all, two at a time; the operations it takes, or -1: more than MAXDIM axes on the way. */
static double multiply(Product *p, bool wait, bool build)
{
    double sum = 0, c;
    while (p->n > 1) {
        int i = 0, j = 0;
        if (best_pair(p, wait, &i, &j, &c) == 1 && wait) {
            for (int k = 0; k < p->n; k++) if (!waits(p, k)) sum += size_of(p, labels_of(&p->f[k]));
            sum_one(p, build);
            continue;
        }
        uint32_t out = (labels_of(&p->f[i]) | labels_of(&p->f[j])) & kept(p, i, j);
        if (__builtin_popcount(out) > MAXDIM) return -1;
        sum += c;
        join(p, i, j, build);
    }
    uint32_t last = labels_of(&p->f[0]);
    return last & ~result_labels(p) ? sum + size_of(p, last) : sum;
}

/* The last factor in the result's shape: what is left is summed, numbers multiply the smaller side, the rest is broadcast. */
static Node *finished(const Product *p)
{
    const Factor *f = &p->f[0];
    int8_t map[MAXDIM];
    uint32_t sum = 0;
    Node *x = f->x;
    for (int i = 0, n = 0; i < f->x->rank; i++) {
        int at = -1;
        for (int o = 0; o < p->rank; o++) if (p->lo[o] == f->l[i]) at = o;
        if (at < 0) sum |= 1u << i;
        else map[n++] = (int8_t)at;
    }
    x = sum ? n_sum(x, sum) : x;
    if (p->times != 1) x = n_bin(OP_MUL, x, n_splat((Dt)x->dt, p->times, x->rank, x->dim));
    int8_t from[MAXDIM];
    memset(from, -1, sizeof from);
    for (int i = 0; i < x->rank; i++) from[map[i]] = (int8_t)i;
    return n_bcast(x, p->rank, p->dim, from);
}

/* Labels that no factor has: each term occurs that often. */
static double repeats(const Product *p)
{
    uint32_t have = result_labels(p), all = 0;
    for (int i = 0; i < p->n; i++) have |= labels_of(&p->f[i]);
    for (int l = 1; l < MAXLABEL; l++) if (p->size[l] > 1) all |= 1u << l;
    return size_of(p, all & ~have);
}

/* A product of two has the older operand first, so that equal ones are one node. */
static Node *older_first(Node *x)
{
    if (x->op != OP_CONTRACT || x->in[0]->id <= x->in[1]->id) return x;
    return n_contract(x->in[1], x->in[0], x->a.lb, x->a.la, x->rank, x->a.lo);
}

static Node *ordered_product(Node *x)
{
    Product p;
    if (x->op != OP_MUL && x->op != OP_CONTRACT && !(x->op == OP_SUM && (x->in[0]->op == OP_MUL || x->in[0]->op == OP_NEG))) return x;
    if (!dt_float((Dt)x->dt) || !take_apart(&p, x) || p.n < 2) return older_first(x);
    Product q = p, w = p;
    double now = multiply(&q, false, false), late = multiply(&w, true, false);
    bool wait = late >= 0 && (late <= now || now < 0);
    if ((wait ? late : now) < 0 || (wait ? late : now) >= p.cost) return older_first(x);
    p.times *= repeats(&p);
    multiply(&p, wait, true);
    return finished(&p);
}

int factors_of(Node *x, const int8_t *l, Factor *f, double *times)
{
    Product p = { .times = 1 };
    if (!dt_float((Dt)x->dt) || !add_factor(&p, x, l)) return -1;
    memcpy(f, p.f, sizeof *f * (size_t)p.n);
    *times *= p.times;
    return p.n;
}

Node *factors_multiply(int n, const Factor *f, double times, int rank, const int8_t *lo, const int32_t *dim)
{
    Product p = { .n = n, .times = times, .rank = rank };
    memcpy(p.f, f, sizeof *f * (size_t)n);
    memcpy(p.lo, lo, sizeof *lo * (size_t)rank);
    memcpy(p.dim, dim, sizeof *dim * (size_t)rank);
    for (int i = 0; i < rank; i++) p.size[lo[i]] = dim[i];
    for (int i = 0; i < n; i++)
        for (int k = 0; k < f[i].x->rank; k++) p.size[f[i].l[k]] = f[i].x->dim[k];
    Product now = p, late = p;
    double a = multiply(&now, false, false), b = multiply(&late, true, false);
    multiply(&p, b >= 0 && (b <= a || a < 0), true);
    return finished(&p);
}

Region *products_order(Region *r) { return region_rewrite(r, ordered_product); }
