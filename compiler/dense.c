/* dense.c: a short loop without the loop.

   If in one turn the states z change by scalars times states plus products of values that follow from the turn's items alone,
       z_c' = sum_k g_ck z_k + sum_j f_j,     f_j = u k' , ..
   and are read by products with vectors q, then with the coefficients
       A_t[c][k][s]: of the terms that state k gets at turn s in state c before turn t,     B_t[c][k]: of state k at the start,
   every read is   z_c,t q_t = sum_k B_t[c][k] (z_k,0 q_t) + sum_k sum_s A_t[c][k][s] sum_j f_j(s) q_t ,
   products for all turns at once: chunked linear attention, the dual form of TTT, and its like with decay and momentum. The
   coefficients are a loop over scalars (none if all g are 1: A is a triangle of ones).
   Requires: a closed body whose own gradients have been taken. Equal to rounding. What reads a state to change it is no such loop. */
#include <string.h>
#include "graph.h"
#include "ops.h"

int64_t dense_worth = DENSE;

enum { MAXSTATE = 8, MAXTERM = 8, T = 20, S = 21, FREE = 10 };      /* T, S: labels of turns; FREE..: of axes that a read adds */

typedef struct { bool there; int n; Factor f[MAXFACTOR]; double times; } Times;    /* a product of one turn's values, labels: the state's axes from 1 */
typedef struct { Times g[MAXSTATE]; int n; Times term[MAXTERM]; } Form;            /* of a value: its coefficients on the states, its terms */

typedef struct {
    const Region *r;
    Node *const *operand;
    int32_t trip;
    int n; Node **order; PtrMap at;
    Form **form;                         /* NULL: no state, but a value */
    bool *reads;                         /* it follows from a read of a state */
    Node **value; bool *turns;           /* for all turns */
    int ns; Node *state[MAXSTATE]; int result[MAXSTATE]; Node *start[MAXSTATE];
    bool plain;                          /* all g are 1 or nothing: no coefficients to compute */
    Node *before[MAXSTATE][MAXSTATE], *after[MAXSTATE][MAXSTATE];      /* A_t, A_t+1: [trip, trip, label axes..] */
    Node *from[MAXSTATE][MAXSTATE], *left[MAXSTATE][MAXSTATE];         /* B_t, B_t+1: [trip, ..] */
    Node *last_a[MAXSTATE][MAXSTATE], *last_b[MAXSTATE][MAXSTATE];     /* when the loop is over */
    int ng; int8_t gl[MAXDIM]; int32_t gdim[MAXDIM];                   /* labels that the g have */
    int64_t large;
} Dense;

static int at(const Dense *d, const Node *x) { return (int)(intptr_t)ptrmap_get(&d->at, x) - 1; }
static Form *form_of(const Dense *d, const Node *x) { return d->form[at(d, x)]; }
static bool tag(const Node *x) { return x->op == OP_MARK; }

/* ---- what each value is in terms of the states */

static int64_t factor_size(const Factor *f) { return n_size(f->x); }

/* Every factor is small beside the largest state, and known before the loop. */
static bool usable(const Dense *d, const Times *t)
{
    for (int i = 0; i < t->n; i++) {
        int k = at(d, t->f[i].x);
        if (k < 0 || d->form[k] || d->reads[k] || factor_size(&t->f[i]) * dense_worth > d->large) return false;
    }
    return true;
}

static bool times_of(const Dense *d, Node *x, Times *t)
{
    int8_t l[MAXDIM] = { 0 };
    for (int i = 0; i < x->rank; i++) l[i] = (int8_t)(i + 1);
    *t = (Times){ .there = true, .times = 1 };
    t->n = factors_of(x, l, t->f, &t->times);
    return t->n >= 0 && usable(d, t);
}

static bool join_times(Times *t, const Times *by)
{
    if (t->n + by->n > MAXFACTOR - 3) return false;          /* room for a read's factors */
    memcpy(t->f + t->n, by->f, sizeof *by->f * (size_t)by->n);
    t->n += by->n;
    t->times *= by->times;
    return true;
}

static bool add_form(Form *f, const Form *by, double sign)
{
    for (int c = 0; c < MAXSTATE; c++) {
        if (!by->g[c].there) continue;
        bool numbers = f->g[c].there && !f->g[c].n && !by->g[c].n;
        if (f->g[c].there && !numbers) return false;
        if (numbers) f->g[c].times += sign * by->g[c].times;
        else { f->g[c] = by->g[c]; f->g[c].times *= sign; }
    }
    if (f->n + by->n > MAXTERM) return false;
    for (int i = 0; i < by->n; i++) { f->term[f->n] = by->term[i]; f->term[f->n++].times *= sign; }
    return true;
}

/* A value of no state as terms: sums are taken apart. */
static bool terms_of(const Dense *d, Node *x, double sign, Form *f)
{
    if (x->op == OP_ADD || x->op == OP_SUB)
        return terms_of(d, x->in[0], sign, f) && terms_of(d, x->in[1], x->op == OP_SUB ? -sign : sign, f);
    if (tag(x)) return terms_of(d, x->in[0], sign, f);
    if (x->op == OP_NEG) return terms_of(d, x->in[0], -sign, f);
    if (f->n == MAXTERM || !times_of(d, x, &f->term[f->n])) return false;
    f->term[f->n++].times *= sign;
    return true;
}

static bool add_operand(const Dense *d, Node *x, double sign, Form *f)
{
    Form *own = form_of(d, x);
    return own ? add_form(f, own, sign) : terms_of(d, x, sign, f);
}

static bool scale(const Dense *d, Node *by, Form *f)
{
    Times t;
    if (!times_of(d, by, &t)) return false;
    for (int c = 0; c < MAXSTATE; c++) if (f->g[c].there && !join_times(&f->g[c], &t)) return false;
    for (int i = 0; i < f->n; i++) if (!join_times(&f->term[i], &t)) return false;
    return true;
}

/* The form of a node of which at least one operand is a state; false: it has none. NULL in *out: it is a read. */
static bool find_form(const Dense *d, Node *x, Form **out)
{
    Form *f = NEW(Form), *a = form_of(d, x->in[0]), *b = x->nin > 1 ? form_of(d, x->in[1]) : NULL;
    *out = f;
    switch (x->op) {
    case OP_MARK: *f = *a; return true;
    case OP_NEG: return add_form(f, a, -1);
    case OP_ADD: return add_operand(d, x->in[0], 1, f) && add_operand(d, x->in[1], 1, f);
    case OP_SUB: return add_operand(d, x->in[0], 1, f) && add_operand(d, x->in[1], -1, f);
    case OP_MUL:
        if (a && b) return false;
        *f = a ? *a : *b;
        return scale(d, x->in[a ? 1 : 0], f);
    case OP_CONTRACT:
        *out = NULL;
        return !(a && b);
    default: return false;
    }
}

static bool liftable(const Node *x) { return can_lift(x) || x->op == OP_MARK || x->op == OP_STOP; }

static bool find_forms(Dense *d)
{
    for (int i = 0; i < d->n; i++) {
        Node *x = d->order[i];
        bool state = false;
        *ptrmap_at(&d->at, x) = (void *)(intptr_t)(i + 1);
        if (x->op == OP_FORMAL) {
            for (int c = 0; c < d->ns; c++)
                if (d->state[c] == x) { d->form[i] = NEW(Form); d->form[i]->g[c] = (Times){ .there = true, .times = 1 }; }
            continue;
        }
        for (int j = 0; j < x->nin; j++) { state |= form_of(d, x->in[j]) != NULL; d->reads[i] |= d->reads[at(d, x->in[j])]; }
        if (!state && x->nin && !liftable(x)) return false;
        if (state && !find_form(d, x, &d->form[i])) return false;
        if (state && !d->form[i]) d->reads[i] = true;
    }
    return true;
}

/* ---- values for all turns */

static bool value_of(Dense *d, Node *x, Node **v);

static void formal_value(Dense *d, int i)
{
    Node *x = d->order[i];
    int operand = 0;
    for (int k = 0; k < x->a.k; k++) operand += d->r->fkind[k] != K_INDEX;
    d->turns[i] = d->r->fkind[x->a.k] != K_CAPTURE;
    d->value[i] = d->r->fkind[x->a.k] == K_INDEX ? n_iota(I32, 1, &d->trip, 0) : d->operand[operand];
}

/* The factor for all turns, labelled `turn` (T or S). */
static Factor lifted_factor(Dense *d, const Factor *f, int turn)
{
    Factor g = { 0 };
    value_of(d, f->x, &g.x);
    bool turns = d->turns[at(d, f->x)];
    if (turns) g.l[0] = (int8_t)turn;
    memcpy(g.l + turns, f->l, (size_t)f->x->rank);
    return g;
}

typedef struct { int n; Factor f[MAXFACTOR + 4]; double times; } List;

static void put(List *p, Factor f) { if (p->n < MAXFACTOR) p->f[p->n] = f; p->n++; }
static void put_times(Dense *d, List *p, const Times *t, int turn)
{
    for (int i = 0; i < t->n; i++) put(p, lifted_factor(d, &t->f[i], turn));
    p->times *= t->times;
}

/* A coefficient with its labels: the axes of turns first, then those of the g. */
static void put_coef(const Dense *d, List *p, Node *x, int n, int first, int second)
{
    Factor f = { .x = x };
    if (!x) return;
    if (n > 0) f.l[0] = (int8_t)first;
    if (n > 1) f.l[1] = (int8_t)second;
    memcpy(f.l + n, d->gl, (size_t)d->ng);
    put(p, f);
}

typedef struct { Node *sum; int rank; int8_t lo[MAXDIM]; int32_t dim[MAXDIM]; bool ok; } Total;

static void add_product(Total *t, const List *p)
{
    if (p->n > MAXFACTOR || !p->n) { t->ok = false; return; }
    Node *x = factors_multiply(p->n, p->f, p->times, t->rank, t->lo, t->dim);
    t->sum = t->sum ? n_bin(OP_ADD, t->sum, x) : x;
}

/* sum_k B_k z_k,0 rest + sum_k sum_s A_k[s] f(s) rest, where `rest` is what they are multiplied with. */
static void add_states(Dense *d, Total *t, const List *rest, Node *const *a, Node *const *b, const bool *there, int turns)
{
    for (int k = 0; k < d->ns; k++) {
        if (!there[k]) continue;
        List p = *rest;
        put_coef(d, &p, b[k], turns, T, 0);
        Factor z = { .x = d->start[k] };
        for (int i = 0; i < z.x->rank; i++) z.l[i] = (int8_t)(i + 1);
        put(&p, z);
        add_product(t, &p);
        const Form *f = form_of(d, d->r->result[d->result[k]]);
        for (int j = 0; j < f->n; j++) {
            p = *rest;
            put_coef(d, &p, a[k], turns + 1, turns ? T : S, S);
            put_times(d, &p, &f->term[j], S);
            add_product(t, &p);
        }
    }
}

/* ---- the coefficients */

static bool one(const Times *t) { return t->there && !t->n && t->times == 1; }

static const Form *next_form(const Dense *d, int c) { return form_of(d, d->r->result[d->result[c]]); }

/* Does state c at some time depend on k? The closure of the g. */
static void depends(const Dense *d, bool on[MAXSTATE][MAXSTATE])
{
    for (int c = 0; c < d->ns; c++) for (int k = 0; k < d->ns; k++) on[c][k] = c == k || next_form(d, c)->g[k].there;
    for (int m = 0; m < d->ns; m++) for (int c = 0; c < d->ns; c++) for (int k = 0; k < d->ns; k++) on[c][k] |= on[c][m] && on[m][k];
}

static bool add_label(Dense *d, int l, int32_t size)
{
    for (int i = 0; i < d->ng; i++) if (d->gl[i] == l) return d->gdim[i] == size;
    if (d->ng > MAXDIM - 3) return false;
    d->gl[d->ng] = (int8_t)l;
    d->gdim[d->ng++] = size;
    return true;
}

/* The labels of all g: few numbers, or the coefficients are as large as the states. */
static bool find_labels(Dense *d)
{
    int64_t size = DENSE;
    d->plain = true;
    for (int c = 0; c < d->ns; c++)
        for (int k = 0; k < d->ns; k++) {
            const Times *g = &next_form(d, c)->g[k];
            d->plain &= c == k ? one(g) : !g->there;
            for (int i = 0; i < g->n; i++)
                for (int j = 0; j < g->f[i].x->rank; j++) if (!add_label(d, g->f[i].l[j], g->f[i].x->dim[j])) return false;
        }
    for (int i = 0; i < d->ng; i++) size *= d->gdim[i];
    return d->ng == 0 || !dense_worth || size * 4 <= d->large;
}

static Node *triangle(int32_t n, bool with)
{
    int32_t dim[2] = { n, n };
    Node *t = n_iota(I32, 2, dim, 0), *s = n_iota(I32, 2, dim, 1);
    return with ? n_bin(OP_LE, s, t) : n_bin(OP_LT, s, t);
}

static void plain_coefs(Dense *d)
{
    Dt dt = (Dt)d->state[0]->dt;
    int32_t n = d->trip;
    for (int c = 0; c < d->ns; c++) {
        d->before[c][c] = n_cast(triangle(n, false), dt);
        d->after[c][c] = n_cast(triangle(n, true), dt);
    }
}

/* g for all turns on the labels' axes: [trip, ..]. */
static Node *coefficient(Dense *d, const Times *g)
{
    List p = { .times = 1 };
    int8_t lo[MAXDIM] = { T };
    int32_t dim[MAXDIM] = { d->trip };
    memcpy(lo + 1, d->gl, (size_t)d->ng);
    memcpy(dim + 1, d->gdim, sizeof *dim * (size_t)d->ng);
    put_times(d, &p, g, T);
    if (!p.n) return n_splat((Dt)d->state[0]->dt, p.times, 1 + d->ng, dim);
    return factors_multiply(p.n, p.f, p.times, 1 + d->ng, lo, dim);
}

typedef struct { VEC(Node *) formal; VEC(uint8_t) fkind; VEC(Node *) in; VEC(Node *) result; VEC(uint8_t) rkind; } Loop;

static Node *loop_formal(Loop *l, int kind, Node *operand, Dt dt, int rank, const int32_t *dim)
{
    Node *f = n_formal(l->formal.n, dt, rank, dim);
    PUSH(l->formal, f);
    PUSH(l->fkind, (uint8_t)kind);
    if (operand) PUSH(l->in, operand);
    return f;
}

static int loop_result(Loop *l, int kind, Node *x) { PUSH(l->result, x); PUSH(l->rkind, (uint8_t)kind); return l->result.n - 1; }

/* [.., labels] stretched over the sources' axis in front. */
static Node *stretched(Node *x, const Node *like) { return x->rank < like->rank ? lift_same(x, like->dim[0]) : x; }

/* The loop over scalars. */
static void loop_coefs(Dense *d, bool on[MAXSTATE][MAXSTATE])
{
    Loop l = { 0 };
    Dt dt = (Dt)d->state[0]->dt;
    int32_t dim[MAXDIM] = { d->trip };
    memcpy(dim + 1, d->gdim, sizeof *dim * (size_t)d->ng);
    Node *t = loop_formal(&l, K_INDEX, NULL, I32, 0, NULL), *g[MAXSTATE][MAXSTATE] = { 0 }, *now[2][MAXSTATE][MAXSTATE] = { 0 };
    int ra[MAXSTATE][MAXSTATE], rb[MAXSTATE][MAXSTATE], sa[2][MAXSTATE][MAXSTATE], sb[2][MAXSTATE][MAXSTATE];
    for (int c = 0; c < d->ns; c++)
        for (int k = 0; k < d->ns; k++) {
            if (!on[c][k]) continue;
            now[0][c][k] = loop_formal(&l, K_CARRY, n_splat(dt, 0, 1 + d->ng, dim), dt, 1 + d->ng, dim);
            now[1][c][k] = loop_formal(&l, K_CARRY, n_splat(dt, c == k, d->ng, dim + 1), dt, d->ng, dim + 1);
        }
    for (int c = 0; c < d->ns; c++)
        for (int k = 0; k < d->ns; k++)
            if (next_form(d, c)->g[k].there) g[c][k] = loop_formal(&l, K_ITEM, coefficient(d, &next_form(d, c)->g[k]), dt, d->ng, dim + 1);
    Node *here = n_cast(n_bin(OP_EQ, n_iota(I32, 1, dim, 0), t), dt);
    int8_t map[MAXDIM] = { 0, -1, -1, -1, -1, -1, -1, -1 };
    here = n_bcast(here, 1 + d->ng, dim, map);
    for (int c = 0; c < d->ns; c++)
        for (int k = 0; k < d->ns; k++) {
            if (!on[c][k]) continue;
            Node *a = c == k ? here : NULL, *b = NULL;
            for (int m = 0; m < d->ns; m++) {
                if (!g[c][m] || !on[m][k]) continue;
                Node *x = n_bin(OP_MUL, stretched(g[c][m], now[0][m][k]), now[0][m][k]), *y = n_bin(OP_MUL, g[c][m], now[1][m][k]);
                a = a ? n_bin(OP_ADD, a, x) : x;
                b = b ? n_bin(OP_ADD, b, y) : y;
            }
            ra[c][k] = loop_result(&l, K_CARRY, a ? a : n_zeros_like(now[0][c][k]));
            rb[c][k] = loop_result(&l, K_CARRY, b ? b : n_zeros_like(now[1][c][k]));
            sa[1][c][k] = loop_result(&l, K_STACK, l.result.at[ra[c][k]]);
            sb[1][c][k] = loop_result(&l, K_STACK, l.result.at[rb[c][k]]);
            sa[0][c][k] = loop_result(&l, K_STACK, now[0][c][k]);
            sb[0][c][k] = loop_result(&l, K_STACK, now[1][c][k]);
        }
    Region *body = region_new(l.formal.n, l.formal.at, l.fkind.at, l.result.n, l.result.at, l.rkind.at);
    Node *loop = n_loop(d->trip, false, body, l.in.n, l.in.at);
    for (int c = 0; c < d->ns; c++)
        for (int k = 0; k < d->ns; k++) {
            if (!on[c][k]) continue;
            d->before[c][k] = n_out(loop, sa[0][c][k]); d->after[c][k] = n_out(loop, sa[1][c][k]);
            d->from[c][k] = n_out(loop, sb[0][c][k]); d->left[c][k] = n_out(loop, sb[1][c][k]);
            d->last_a[c][k] = n_out(loop, ra[c][k]); d->last_b[c][k] = n_out(loop, rb[c][k]);
        }
}

/* ---- reads */

static Node *untagged(Node *x)
{
    while (tag(x)) x = x->in[0];
    return x;
}

/* Which labels the read's axes have: the state's own from 1, others from FREE. */
static void read_labels(const Node *x, int state, int8_t *other, int8_t *lo)
{
    const int8_t *ls = state ? x->a.lb : x->a.la, *lx = state ? x->a.la : x->a.lb;
    int8_t to[25] = { 0 }, next = FREE;
    for (int i = 0; i < x->in[state]->rank; i++) to[ls[i]] = (int8_t)(i + 1);
    for (int i = 0; i < x->in[!state]->rank; i++) {
        if (!to[lx[i]]) to[lx[i]] = next++;
        other[i] = to[lx[i]];
    }
    for (int i = 0; i < x->rank; i++) lo[i] = to[x->a.lo[i]];
}

static bool read_value(Dense *d, Node *x, Node **v)
{
    int state = form_of(d, x->in[0]) ? 0 : 1, whose = -1;
    bool after = false, there[MAXSTATE], on[MAXSTATE][MAXSTATE];
    Node *s = untagged(x->in[state]);
    Factor q = { .x = x->in[!state] };
    Total t = { .rank = x->rank + 1, .ok = true };
    if (t.rank > MAXDIM || q.x->rank >= MAXDIM) return false;
    read_labels(x, state, q.l, t.lo + 1);
    t.lo[0] = T; t.dim[0] = d->trip;
    memcpy(t.dim + 1, x->dim, sizeof *x->dim * (size_t)x->rank);
    if (!value_of(d, q.x, &(Node *){ 0 })) return false;
    List rest = { .times = 1 };
    put(&rest, lifted_factor(d, &q, T));
    for (int c = 0; c < d->ns; c++) {
        if (s == d->state[c]) whose = c;
        if (s == untagged(d->r->result[d->result[c]])) { whose = c; after = true; }
    }
    depends(d, on);
    if (whose >= 0) {
        memcpy(there, on[whose], sizeof there);
        add_states(d, &t, &rest, after ? d->after[whose] : d->before[whose], after ? d->left[whose] : d->from[whose], there, 1);
        *v = t.sum;
        return t.ok;
    }
    const Form *f = form_of(d, s);
    for (int c = 0; c < d->ns; c++) {                      /* another value of the states: its own coefficients before theirs */
        if (!f->g[c].there) continue;
        List p = rest;
        put_times(d, &p, &f->g[c], T);
        add_states(d, &t, &p, d->before[c], d->from[c], on[c], 1);
    }
    for (int j = 0; j < f->n; j++) {
        List p = rest;
        put_times(d, &p, &f->term[j], T);
        add_product(&t, &p);
    }
    *v = t.sum;
    return t.ok && t.sum;
}

static bool value_of(Dense *d, Node *x, Node **v)
{
    int i = at(d, x);
    if (!d->value[i]) {
        if (x->op == OP_FORMAL) formal_value(d, i);
        else {
            Node **in = NEWN(Node *, x->nin + 1);
            bool *turns = NEWN(bool, x->nin + 1), read = false;
            for (int j = 0; j < x->nin; j++) read |= form_of(d, x->in[j]) != NULL;
            if (read) {
                if (!read_value(d, x, &d->value[i])) return false;
                d->turns[i] = true;
            } else {
                for (int j = 0; j < x->nin; j++) {
                    if (!value_of(d, x->in[j], &in[j])) return false;
                    turns[j] = d->turns[at(d, x->in[j])];
                    d->turns[i] |= turns[j];
                }
                if (tag(x)) d->value[i] = in[0];
                else if (x->op == OP_STOP) d->value[i] = n_stop(in[0], x->a.k);
                else if (d->turns[i]) d->value[i] = lift_node(x, in, turns, d->trip);
                else d->value[i] = node(x->op, x->dt, x->rank, x->dim, x->nin, in, &x->a, x->loc);
            }
        }
    }
    *v = d->value[i];
    return true;
}

/* ---- the whole */

static bool find_states(Dense *d)
{
    int operand = 0;
    for (int i = 0; i < d->r->np; i++) {
        if (d->r->fkind[i] == K_CARRY) {
            Node *f = d->r->formal[i];
            if (!dt_float((Dt)f->dt) || !f->rank || d->ns == MAXSTATE || (d->ns && f->dt != d->state[0]->dt)) return false;
            d->state[d->ns] = f;
            d->start[d->ns] = d->operand ? d->operand[operand] : NULL;
            d->result[d->ns++] = loop_carry_result(d->r, i);
            if (n_size(f) > d->large) d->large = n_size(f);
        }
        operand += d->r->fkind[i] != K_INDEX;
    }
    return true;
}

/* States that one changes by the other have one shape. */
static bool alike(const Dense *d)
{
    for (int c = 0; c < d->ns; c++) {
        const Form *f = next_form(d, c);
        if (!f) return false;
        for (int k = 0; k < d->ns; k++) if (f->g[k].there && !same_shape(d->state[c], d->state[k])) return false;
    }
    return true;
}

static bool results(Dense *d, Node **out)
{
    bool on[MAXSTATE][MAXSTATE];
    depends(d, on);
    for (int k = 0; k < d->r->nr; k++) {
        Node *x = d->r->result[k];
        if (d->r->rkind[k] != K_CARRY) {
            if (form_of(d, x) || !value_of(d, x, &out[k])) return false;
            if (!d->turns[at(d, x)]) out[k] = lift_same(out[k], d->trip);
            if (d->r->rkind[k] == K_SUM) out[k] = n_sum(out[k], 1);
            continue;
        }
        int c = 0;
        while (d->result[c] != k) c++;
        Total t = { .rank = x->rank, .ok = true };
        List rest = { .times = 1 };
        for (int i = 0; i < x->rank; i++) { t.lo[i] = (int8_t)(i + 1); t.dim[i] = x->dim[i]; }
        add_states(d, &t, &rest, d->last_a[c], d->last_b[c], on[c], 0);
        if (!t.ok) return false;
        out[k] = t.sum;
    }
    return true;
}

/* Is the body of that form? */
static bool has_form(Dense *d)
{
    if (!find_states(d)) return false;
    d->n = graph_order(d->r->nr, d->r->result, &d->order);
    d->form = NEWN(Form *, d->n + 1);
    d->reads = NEWN(bool, d->n + 1); d->turns = NEWN(bool, d->n + 1);
    d->value = NEWN(Node *, d->n + 1);
    return find_forms(d) && alike(d) && (!d->ns || find_labels(d));
}

int32_t dense_turns(const Region *r)
{
    Dense d = { .r = r };
    bool yes = has_form(&d);
    ptrmap_free(&d.at);
    return !yes ? 0 : d.ns ? DENSE : INT32_MAX;
}

bool dense_run(int32_t trip, const Region *r, Node *const *operand, Node **out)
{
    Dense d = { .r = r, .operand = operand, .trip = trip };
    bool on[MAXSTATE][MAXSTATE], ok = has_form(&d);
    if (ok) {
        depends(&d, on);
        if (d.plain) plain_coefs(&d);
        else if (d.ns) loop_coefs(&d, on);
        ok = results(&d, out);
    }
    ptrmap_free(&d.at);
    return ok;
}
