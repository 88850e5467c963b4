/* plan_move.c: the kernels that are no nests: products, and the irregular ones (scatter, fold, cumsum, argsort, argmax). */
#include "plan.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- products: labels fall into batch (a, b, c), m (a, c), n (b, c) and k (the rest) */

static int find_label(const int8_t *labels, int rank, int label)
{
    for (int i = 0; i < rank; i++)
        if (labels[i] == label)
            return i;
    return -1;
}

typedef struct { const Node *n; const View *a, *b; int64_t sc[MAXDIM]; } Product;

static Ext extent_of(const Product *p, int label)
{
    const Node *n = p->n;
    int ia = find_label(n->a.la, n->in[0]->rank, label), ib = find_label(n->a.lb, n->in[1]->rank, label);
    int ic = find_label(n->a.lo, n->rank, label);
    return (Ext){ ia >= 0 ? n->in[0]->dim[ia] : n->in[1]->dim[ib], ia >= 0 ? p->a->stride[ia] : 0, ib >= 0 ? p->b->stride[ib] : 0,
                  ic >= 0 ? p->sc[ic] : 0 };
}

/* Appends a loop to a list, as a part of the last one if all three operands lie so. */
static void add_extent(Ext *list, int *n, Ext e)
{
    if (e.n == 1)
        return;
    if (*n) {
        Ext *last = &list[*n - 1];
        if (last->sa == e.sa * e.n && last->sb == e.sb * e.n && last->sc == e.sc * e.n) {
            *last = (Ext){ last->n * e.n, e.sa, e.sb, e.sc };
            return;
        }
    }
    list[(*n)++] = e;
}

static void sort_labels(const Product *p, ContractSpec *s)
{
    const Node *n = p->n;
    int ra = n->in[0]->rank, rb = n->in[1]->rank;
    for (int i = 0; i < n->rank; i++) {
        int l = n->a.lo[i];
        bool ina = find_label(n->a.la, ra, l) >= 0, inb = find_label(n->a.lb, rb, l) >= 0;
        Ext e = extent_of(p, l);
        if (ina && inb)
            add_extent(s->batch, &s->nbatch, e);
        else if (ina)
            add_extent(s->m, &s->nm, e);
        else
            add_extent(s->n, &s->nn, e);
    }
    for (int i = 0; i < ra; i++)
        if (find_label(n->a.lo, n->rank, n->a.la[i]) < 0)
            add_extent(s->k, &s->nk, extent_of(p, n->a.la[i]));
    for (int i = 0; i < rb; i++)
        if (find_label(n->a.lo, n->rank, n->a.lb[i]) < 0 && find_label(n->a.la, ra, n->a.lb[i]) < 0)
            add_extent(s->k, &s->nk, extent_of(p, n->a.lb[i]));
}

static void swap_strides(Ext *e, int n)
{
    for (int i = 0; i < n; i++) {
        int64_t s = e[i].sa;
        e[i].sa = e[i].sb;
        e[i].sb = s;
    }
}

static int64_t extent(const Ext *e, int n)
{
    int64_t size = 1;
    for (int i = 0; i < n; i++)
        size *= e[i].n;
    return size;
}

/* Makes the axis of c that moves by 1 the last loop of n. True if a and b changed places. */
static bool orient(ContractSpec *s)
{
    bool m_is_unit = s->nm && s->m[s->nm - 1].sc == 1;
    if (!m_is_unit)
        return false;
    Ext t[MAXDIM];
    memcpy(t, s->m, sizeof t);
    memcpy(s->m, s->n, sizeof t);
    memcpy(s->n, t, sizeof t);
    int n = s->nm;
    s->nm = s->nn;
    s->nn = n;
    swap_strides(s->batch, s->nbatch);
    swap_strides(s->m, s->nm);
    swap_strides(s->n, s->nn);
    swap_strides(s->k, s->nk);
    return true;
}

static void print_extents(FILE *f, const char *name, const Ext *e, int n)
{
    fprintf(f, " %s", name);
    for (int i = 0; i < n; i++)
        fprintf(f, " %lld*%lld,%lld,%lld", (long long)e[i].n, (long long)e[i].sa, (long long)e[i].sb, (long long)e[i].sc);
}

static const char *contract_key(const ContractSpec *s)
{
    char *text;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    fprintf(f, "contract %d", s->dt);
    print_extents(f, "b", s->batch, s->nbatch);
    print_extents(f, "m", s->m, s->nm);
    print_extents(f, "n", s->n, s->nn);
    print_extents(f, "k", s->k, s->nk);
    fclose(f);
    char *key = arena_strndup(text, size);
    free(text);
    return key;
}

Step *contract_step(Rplan *rp, Group *g)
{
    Val *v = g->val.at[0];
    Product p = { .n = v->node, .a = &v->in[0], .b = &v->in[1] };
    dense_strides(v->rank, v->dim, p.sc);
    Kernel *k = NEW(Kernel);
    ContractSpec *s = &k->contract;
    k->kind = KN_CONTRACT;
    s->dt = v->dt == BOOL || v->dt == U8 || v->dt == U32 ? I32 : (Dt)v->dt;
    sort_labels(&p, s);
    bool swapped = orient(s);
    k->solo = contract_small(s) && plan_solo_work;
    k->scratch = contract_scratch(rp->plan->target, s);
    k->noperand = 4;
    k->key = contract_key(s);
    rp->entry->work += extent(s->batch, s->nbatch) * extent(s->m, s->nm) * extent(s->n, s->nn) * extent(s->k, s->nk);
    if (k->scratch > rp->entry->scratch)
        rp->entry->scratch = k->scratch;
    static Buf scratch = { .space = SP_SCRATCH };
    View c = { .val = v };
    Arg arg[4] = { view_arg(&v->in[swapped], v->dt), view_arg(&v->in[!swapped], v->dt), view_arg(&c, v->dt), { &scratch, 0, false, false } };
    arg[2].read = false;
    arg[2].write = true;
    return kernel_step(rp, k, 4, arg);
}

/* ---- the parts of a sum, joined in a tree */

Step *join_step(Rplan *rp, const Val *v)
{
    Kernel *k = NEW(Kernel);
    k->kind = KN_JOIN;
    k->slots = v->group->slots;
    k->join = (Op)v->op;
    k->dt = (Dt)v->dt;
    k->noperand = 2;
    k->solo = true;
    k->key = arena_printf("join %d %d %d", k->slots, k->join, k->dt);
    Arg arg[2] = { { v->slots, 0, true, false }, { v->buf, v->base * dt_size(v->dt), false, true } };
    return kernel_step(rp, k, 2, arg);
}

/* ---- the irregular ones */

static KernelKind move_kind(int op)
{
    switch (op) {
    case OP_SCATTER: return KN_SCATTER;
    case OP_FOLD: return KN_FOLD;
    case OP_CUMSUM: return KN_CUMSUM;
    case OP_ARGSORT: return KN_ARGSORT;
    default: return KN_ARGMAX;
    }
}

static const char *move_key(const Move *m)
{
    char *s = arena_printf("move %d %d %d %d:", m->op, m->dt, m->idt, m->solo);
    for (int i = 0; i < m->rank; i++)
        s = arena_printf("%s %lld*%lld,%lld", s, (long long)m->dim[i], (long long)m->sx[i], (long long)m->si[i]);
    return arena_printf("%s; %d %d %d %lld %lld %d", s, m->axis, m->nb, m->ni, (long long)m->n, (long long)m->k, m->reverse);
}

Step *move_step(Rplan *rp, Group *g)
{
    Val *v = g->val.at[0];
    const Node *n = v->node;
    Kernel *k = NEW(Kernel);
    Move *m = &k->move;
    k->kind = move_kind(v->op);
    m->op = (Op)v->op;
    m->dt = n->in[0]->dt;
    m->rank = n->in[0]->rank;
    m->axis = n->a.axis;
    m->k = n->a.k;
    m->reverse = n->a.k != 0;
    m->size = n_size(n);
    for (int i = 0; i < m->rank; i++) {
        m->dim[i] = n->in[0]->dim[i];
        m->sx[i] = v->in[0].stride[i];
    }
    m->n = m->rank ? m->dim[m->axis < m->rank ? m->axis : 0] : 1;
    View out = { .val = v };
    Arg arg[3] = { view_arg(&v->in[0], m->dt) };
    int na = 1;
    if (v->op == OP_SCATTER) {
        m->nb = n->a.axis;
        m->ni = n->in[1]->rank - m->nb;
        m->n = n->dim[m->nb];
        m->idt = n->in[1]->dt;
        for (int i = 0; i < n->in[1]->rank; i++)
            m->si[i] = v->in[1].stride[i];
        arg[na++] = view_arg(&v->in[1], n->in[1]->dt);
    }
    arg[na] = view_arg(&out, v->dt);
    arg[na].read = false;
    arg[na++].write = true;
    if (k->kind == KN_ARGSORT) {                 /* two lists of places, sorted back and forth */
        static Buf scratch = { .space = SP_SCRATCH };
        arg[na++] = (Arg){ &scratch, 0, false, false };
        k->scratch = 2 * m->n * dt_size(I32);
        if (k->scratch > rp->entry->scratch)
            rp->entry->scratch = k->scratch;
    }
    m->solo = k->solo = 4 * n_size(n->in[0]) < plan_solo_work;
    k->noperand = na;
    k->key = move_key(m);
    rp->entry->work += n_size(n->in[0]);
    return kernel_step(rp, k, na, arg);
}
