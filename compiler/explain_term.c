/* explain_term.c: formulas of the language out of the tensor graph. A node is printed by what the source calls it (a bound name, a state, a
   call), or else by its operation: products as @, outer, dot by their labels, stretching and reshaping silently where the language
   aligns shapes itself. A term is a node without some of its axes (the items of a level, lanes), normalized: sums of terms with
   factors, products with one number in front. What several places share and has no name is named below the formulas.
   Requires the records that elaboration made (explain.h). */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "explain.h"
#include "ops.h"

bool explaining;

/* ---- what nodes are called */

typedef enum { I_NAME, I_CALL, I_STATE, I_START, I_ITEM, I_SUM, I_GRADIENT, I_POOL } InfoKind;
typedef struct Info {
    InfoKind kind;
    const char *name;            /* NAME, CALL; SUM: its words; GRADIENT: the objective's */
    Inst *in; bool always;       /* NAME: in whose body; CALL: of an instance */
    uint16_t axes;               /* NAME, CALL: map axes of the value */
    int n; const Value *arg; const char *const *argname;
    const State *st;             /* STATE, START, GRADIENT */
    Node *node;                  /* ITEM: operand; SUM: one of what is summed */
    bool opaque, stale;          /* stale: the name is bound to another value by now */
    const Scope *scope;          /* NAME */
    struct Info *next;
} Info;

static struct { Info **at; uint32_t n; } infos;

static Info *info_first(const Node *x) { return x->id < infos.n ? infos.at[x->id] : NULL; }

static Info *info_add(Node *x, InfoKind kind)
{
    if (x->id >= infos.n) {
        uint32_t n = x->id * 2 + 1024;
        Info **at = NEWN(Info *, n);
        if (infos.n) memcpy(at, infos.at, infos.n * sizeof *at);
        infos.at = at; infos.n = n;
    }
    Info *f = NEW(Info), **last = &infos.at[x->id];
    f->kind = kind;
    while (*last) last = &(*last)->next;
    return *last = f;
}

static Info *info_find(const Node *x, InfoKind kind)
{
    for (Info *f = info_first(x); f; f = f->next) if (f->kind == kind) return f;
    return NULL;
}

static bool nameable(Value v) { return explaining && v.kind == V_TENSOR && v.node->op != OP_CONST; }

/* Names bound so far, by scope: a name that is bound again means its last value. */
static VEC(Info *) bound;

void explain_name(Value v, const char *name, Inst *in, const Scope *scope)
{
    if (!nameable(v)) return;
    for (int i = bound.n - 1; i >= 0; i--) if (bound.at[i]->scope == scope && bound.at[i]->name == name) bound.at[i]->stale = true;
    for (Info *f = info_first(v.node); f; f = f->next) if (f->kind == I_NAME && f->in == in && f->axes == v.axes && !f->stale) return;
    Info *f = info_add(v.node, I_NAME);
    f->name = name; f->in = in; f->axes = v.axes; f->scope = scope;
    PUSH(bound, f);
}

void explain_always(Value v, const char *name)
{
    if (!nameable(v) || info_find(v.node, I_NAME)) return;
    Info *f = info_add(v.node, I_NAME);
    f->name = name; f->always = true; f->axes = v.axes;
}

void explain_call(Value result, const char *name, Inst *in, int n, const Value *arg, const char *const *argname)
{
    if (!nameable(result) || info_find(result.node, I_CALL) || info_find(result.node, I_STATE)) return;
    for (int i = 0; i < n; i++) if (arg[i].kind == V_TENSOR && arg[i].node == result.node) return;
    Info *f = info_add(result.node, I_CALL);
    Value *copy = NEWN(Value, n + 1);
    const char **names = NEWN(const char *, n + 1);
    for (int i = 0; i < n; i++) { copy[i] = arg[i]; names[i] = argname ? argname[i] : NULL; }
    f->name = name; f->in = in; f->axes = result.axes; f->n = n; f->arg = copy; f->argname = names;
}

void explain_state(Node *x, const State *st, bool start)
{
    if (!explaining || info_find(x, start ? I_START : I_STATE)) return;
    info_add(x, start ? I_START : I_STATE)->st = st;
}

void explain_item(Node *formal, Node *operand)
{
    if (explaining) info_add(formal, I_ITEM)->node = operand;
}

void explain_sum(Node *sum, const char *words, Node *one, const State *st)
{
    if (!explaining || one->op == OP_CONST) return;
    Info *f = info_add(sum, I_SUM);
    f->name = words; f->node = one; f->st = st;
}

static const char *objective;

void explain_objective_is(const char *text) { objective = text; }

void explain_gradient(Node *g, const State *st, bool opaque)
{
    if (!explaining || g->op == OP_CONST || st->kind == ST_RULE || info_find(g, I_GRADIENT)) return;
    Info *f = info_add(g, I_GRADIENT);
    f->name = objective; f->st = st; f->opaque = opaque;
}

Value explain_pool(Value v, const char *name, Value arg)
{
    if (!explaining || v.kind != V_TENSOR) return v;
    v.node = n_mark(v.node, graph_uid());
    explain_call(v, name, NULL, 1, &arg, NULL);
    info_add(v.node, I_POOL);
    return v;
}

bool explain_through_pool(Node *e, Node *w)
{
    Node **order;
    for (int i = 0, n = explaining ? graph_order(1, &e, &order) : 0; i < n; i++)
        if (info_find(order[i], I_POOL) && depends_on(order[i], w)) return true;
    return false;
}

/* ---- terms */

typedef enum { T_ATOM, T_STATE, T_SUM, T_PROD, T_FORM } TermKind;
enum { P_LOWEST, P_COMPARE, P_SUM, P_PRODUCT, P_AT, P_MINUS, P_POWER, P_POSTFIX, P_ATOM };     /* how tight */
struct Term {
    TermKind kind;
    int rank, prec;              /* rank: axes shown; prec: ATOM, FORM */
    const char *text;            /* ATOM; FORM: with $0, $1, .. for its arguments */
    const State *st; Node *value; bool start;      /* STATE */
    double coef;                 /* PROD */
    int n, den;                  /* arguments; PROD: the last `den` of them are divisors */
    Term **arg; double *c;       /* SUM: with their factors; a NULL argument is a number */
    int *need;                   /* FORM: how tight each argument must be */
    int uses; bool counted, force;
    const char *suggest, *name;
    Term *bare;                  /* PROD: without its number */
};

typedef struct { Node *x; uint32_t hidden; Term *t; } Known;
static Place place;
static bool place_alone;
static VEC(Known) known;
static VEC(Term *) roots;
static VEC(Term *) named;
static bool measuring;
typedef struct { const State *st; Node *old; } MovedState;
static VEC(MovedState) moved;

static const char *number_text(double x)
{
    char *t = arena_printf("%.6g", x), *e = strchr(t, 'e');
    if (!e) return t;
    char *digits = e + 1 + (e[1] == '+' || e[1] == '-'), *first = digits;
    while (*first == '0' && first[1]) first++;
    return arena_printf("%.*se%s%s", (int)(e - t), t, e[1] == '-' ? "-" : "", first);
}

static const char *under(const char *path, const char *around)
{
    size_t n = around ? strlen(around) : 0;
    return n && !strncmp(path, around, n) && path[n] == '.' ? path + n + 1 : NULL;
}

const char *place_path(const char *path)
{
    const char *t;
    if ((t = under(path, place.level))) return t;
    for (Inst *i = place.inst; i; i = i->parent) if ((t = under(path, i->path))) return t;
    return (t = under(path, place.model)) ? t : path;
}

static Term *term_new(TermKind kind, int rank)
{
    Term *t = NEW(Term);
    t->kind = kind; t->rank = rank; t->coef = 1; t->prec = P_ATOM;
    return t;
}

static Term *atom(const char *text, int rank)
{
    Term *t = term_new(T_ATOM, rank);
    t->text = text;
    return t;
}

static Term *number(double x)
{
    Term *t = term_new(T_PROD, 0);
    t->coef = x;
    return t;
}

static bool is_grad(const Term *t) { return t->kind == T_FORM && !strncmp(t->text, "grad(", 5); }
static bool is_number(const Term *t) { return t->kind == T_PROD && !t->n; }

static Term *form(const char *text, int prec, int rank, int n, Term *const *arg, const int *need)
{
    Term *t = term_new(T_FORM, rank);
    t->text = text; t->prec = prec; t->n = n;
    t->arg = NEWN(Term *, n + 1); t->need = NEWN(int, n + 1);
    for (int i = 0; i < n; i++) { t->arg[i] = arg[i]; t->need[i] = need ? need[i] : P_LOWEST; }
    return t;
}

static Term *form1(const char *text, int prec, int rank, Term *a, int need) { return form(text, prec, rank, 1, &a, &need); }
static Term *call1(const char *name, int rank, Term *a) { return form1(arena_printf("%s($0)", name), P_ATOM, rank, a, P_LOWEST); }
static Term *form2(const char *text, int prec, int rank, Term *a, int na, Term *b, int nb) { return form(text, prec, rank, 2, (Term *[]){ a, b }, (int[]){ na, nb }); }

/* name(arg, ..) with as many arguments as there are */
static Term *call_n(const char *name, int rank, int n, Term *const *arg, const char *const *argname)
{
    const char *t = arena_printf("%s(", name);
    for (int i = 0; i < n; i++) t = arena_printf("%s%s%s%s$%d", t, i ? ", " : "", argname && argname[i] ? argname[i] : "", argname && argname[i] ? " = " : "", i);
    return form(arena_printf("%s)", t), P_ATOM, rank, n, arg, NULL);
}

/* ---- sums and products */

typedef struct { double coef; VEC(Term *) num; VEC(Term *) den; } Product;

static void product_add(Product *p, Term *t, bool divide)
{
    if (t->kind != T_PROD) {
        if (divide) PUSH(p->den, t);
        else PUSH(p->num, t);
        return;
    }
    if (divide && t->coef != 1 && t->coef != -1) {
        PUSH(p->den, t);
        return;
    }
    p->coef = divide ? p->coef / t->coef : p->coef * t->coef;
    for (int i = 0; i < t->n; i++) {
        if ((i >= t->n - t->den) != divide) PUSH(p->den, t->arg[i]);
        else PUSH(p->num, t->arg[i]);
    }
}

/* exp(z - max(z)) / sum(exp(z - max(z))) */
static Term *softmax_of(const Term *num, const Term *den)
{
    if (den->kind == T_FORM && !strncmp(den->text, "$0[", 3)) den = den->arg[0];
    bool whole = den->kind == T_FORM && !strcmp(den->text, num->rank > 1 ? arena_printf("sum($0, axis = %d)", num->rank - 1) : "sum($0)");
    if (!whole || den->arg[0] != num) return NULL;
    const Term *e = num->kind == T_FORM && !strncmp(num->text, "exp(", 4) ? num->arg[0] : NULL;
    if (!e || e->kind != T_SUM || e->n != 2 || !e->arg[0] || !e->arg[1] || e->c[0] != 1 || e->c[1] != -1) return NULL;
    const Term *m = e->arg[1];
    if (m->kind == T_FORM && !strncmp(m->text, "$0[", 3)) m = m->arg[0];
    return m->kind == T_FORM && !strncmp(m->text, "max($0", 6) && m->arg[0] == e->arg[0] ? call1("softmax", num->rank, e->arg[0]) : NULL;
}

static void find_softmax(Product *p)
{
    for (int i = 0; i < p->num.n; i++)
        for (int j = 0; j < p->den.n; j++) {
            Term *s = softmax_of(p->num.at[i], p->den.at[j]);
            if (!s) continue;
            p->num.at[i] = s;
            p->den.at[j] = p->den.at[--p->den.n];
            break;
        }
}

static Term *product_term(Product *p)
{
    find_softmax(p);
    int n = p->num.n + p->den.n, k = 0;
    if (p->coef == 1 && p->num.n == 1 && !p->den.n) return p->num.at[0];
    Term *t = term_new(T_PROD, 0);
    t->coef = p->coef; t->n = n; t->den = p->den.n;
    t->arg = NEWN(Term *, n + 1);
    for (int rank = 0; rank <= MAXDIM; rank++)            /* scalars first */
        for (int i = 0; i < p->num.n; i++)
            if (p->num.at[i]->rank == rank) t->arg[k++] = p->num.at[i];
    for (int i = 0; i < p->den.n; i++) t->arg[k++] = p->den.at[i];
    for (int i = 0; i < n; i++) if (t->arg[i]->rank > t->rank) t->rank = t->arg[i]->rank;
    return t;
}

static Term *times(Term *t, double c)
{
    Product p = { .coef = c };
    if (c == 1) return t;
    product_add(&p, t, false);
    return product_term(&p);
}

static Term *multiply(Term *a, Term *b, bool divide)
{
    Product p = { .coef = 1 };
    product_add(&p, a, false);
    product_add(&p, b, divide);
    return product_term(&p);
}

/* t without the number in front of it */
static Term *bare(Term *t, double *c)
{
    *c = 1;
    if (t->kind != T_PROD || t->coef == 1 || !t->n) return t;
    *c = t->coef;
    if (t->bare) return t->bare;
    Product p = { .coef = 1 };
    product_add(&p, t, false);
    p.coef = 1;
    return t->bare = product_term(&p);
}

typedef struct { VEC(Term *) t; VEC(double) c; } Sum;

static bool same(const Term *a, const Term *b)
{
    if (a == b) return true;
    return a && b && a->kind == T_PROD && b->kind == T_PROD && a->n == b->n && a->den == b->den && a->coef == b->coef &&
           !memcmp(a->arg, b->arg, (size_t)a->n * sizeof *a->arg);
}

static void sum_add(Sum *s, Term *t, double c)
{
    double k;
    if (t->kind == T_SUM && !t->suggest) {
        for (int i = 0; i < t->n; i++) {
            if (t->arg[i]) sum_add(s, t->arg[i], c * t->c[i]);
            else { PUSH(s->t, NULL); PUSH(s->c, c * t->c[i]); }
        }
        return;
    }
    Term *b = is_number(t) ? NULL : bare(t, &k);
    c *= b ? k : t->coef;
    for (int i = 0; i < s->t.n; i++) if (same(s->t.at[i], b)) { s->c.at[i] += c; return; }
    PUSH(s->t, b); PUSH(s->c, c);
}

static void sum_to_front(Term *t, int i)
{
    Term *x = t->arg[i];
    double c = t->c[i];
    memmove(t->arg + 1, t->arg, (size_t)i * sizeof *t->arg);
    memmove(t->c + 1, t->c, (size_t)i * sizeof *t->c);
    t->arg[0] = x; t->c[0] = c;
}

static void number_to_back(Term *t)
{
    for (int i = 0; i < t->n - 1; i++)
        if (!t->arg[i]) {
            double c = t->c[i];
            memmove(t->arg + i, t->arg + i + 1, (size_t)(t->n - 1 - i) * sizeof *t->arg);
            memmove(t->c + i, t->c + i + 1, (size_t)(t->n - 1 - i) * sizeof *t->c);
            t->arg[t->n - 1] = NULL; t->c[t->n - 1] = c;
            return;
        }
}

static Term *sum_term(Sum *s)
{
    Term *t = term_new(T_SUM, 0);
    t->arg = NEWN(Term *, s->t.n + 1); t->c = NEWN(double, s->t.n + 1);
    for (int i = 0; i < s->t.n; i++) {
        if (s->c.at[i] == 0) continue;
        t->arg[t->n] = s->t.at[i]; t->c[t->n++] = s->c.at[i];
        if (s->t.at[i] && s->t.at[i]->rank > t->rank) t->rank = s->t.at[i]->rank;
    }
    if (!t->n) return number(0);
    number_to_back(t);
    for (int i = t->n - 1, n = 0; i > n; i--)             /* 0.9 * m + 0.1 * g: what is kept of a state comes first */
        if (t->arg[i] && t->arg[i]->kind == T_STATE && fabs(t->c[i]) != 1) { sum_to_front(t, i++); n++; }
    for (int i = 1; i < t->n && t->c[0] < 0; i++) if (t->c[i] > 0) sum_to_front(t, i);       /* something positive first */
    return t->n > 1 ? t : t->arg[0] ? times(t->arg[0], t->c[0]) : number(t->c[0]);
}

static Term *plus(Term *a, Term *b, double c)
{
    Sum s = { { 0 }, { 0 } };
    sum_add(&s, a, 1);
    sum_add(&s, b, c);
    return sum_term(&s);
}

/* ---- nodes */

static Term *term(Node *x, uint32_t hidden);

static int shown(const Node *x, uint32_t hidden)
{
    int n = 0;
    for (int i = 0; i < x->rank; i++) n += !(hidden >> i & 1);
    return n;
}

/* Of the operand's axes, which are hidden: map[i] is the operand's axis behind axis i of x, -1: none. */
static uint32_t hidden_by_map(const Node *x, uint32_t hidden)
{
    uint32_t h = 0;
    for (int i = 0; i < x->rank; i++) if (hidden >> i & 1 && x->a.map[i] >= 0) h |= 1u << x->a.map[i];
    return h;
}

/* x with an index, factor by factor where x is a product */
static Term *indexed(Term *x, const char *index, int rank)
{
    Product p = { .coef = 1 };
    const char *t = arena_printf("$0[%s]", index);
    if (x->kind != T_PROD) return form1(t, P_POSTFIX, rank, x, P_POSTFIX);
    for (int i = 0; i < x->n; i++)
        if (x->arg[i]->rank && x->arg[i]->rank != x->rank) return form1(t, P_POSTFIX, rank, x, P_POSTFIX);
    p.coef = x->coef;
    for (int i = 0; i < x->n; i++) product_add(&p, x->arg[i]->rank ? form1(t, P_POSTFIX, rank, x->arg[i], P_POSTFIX) : x->arg[i], i >= x->n - x->den);
    return product_term(&p);
}

/* Stretched along the first axes, or not at all: the language does so itself. Otherwise v[:, new]. */
static Term *term_bcast(Node *x, uint32_t hidden)
{
    Term *a = term(x->in[0], hidden_by_map(x, hidden));
    const char *t = "";
    bool inside = false, aligned = true;
    int n = 0;
    for (int i = 0; i < x->rank; i++) {
        if (hidden >> i & 1) continue;
        bool mapped = x->a.map[i] >= 0;
        inside |= mapped;
        if (!inside) continue;
        aligned &= mapped;
        t = arena_printf("%s%s%s", t, n++ ? ", " : "", mapped ? ":" : "new");
    }
    if (aligned || !a->rank) return a;
    return indexed(a, t, n);
}

static Term *transpose(Term *a)
{
    double c;
    if (a->kind == T_FORM && !strcmp(a->text, "$0'")) return a->arg[0];
    a = bare(a, &c);
    return times(form1("$0'", P_POSTFIX, a->rank, a, P_POSTFIX), c);
}

static Term *term_perm(Node *x, uint32_t hidden)
{
    Term *a = term(x->in[0], hidden_by_map(x, hidden));
    int at[MAXDIM], n = 0;
    for (int i = 0; i < x->rank; i++) {
        if (hidden >> i & 1) continue;
        int p = 0;
        for (int k = 0; k < x->rank; k++) if (!(hidden >> k & 1) && x->a.map[k] < x->a.map[i]) p++;
        at[n++] = p;
    }
    bool same = true, swap = n >= 2;
    for (int i = 0; i < n; i++) {
        same &= at[i] == i;
        swap &= at[i] == (i < n - 2 ? i : i == n - 2 ? n - 1 : n - 2);
    }
    return same ? a : swap ? transpose(a) : call1("axes", n, a);
}

/* Hidden axes lead; they are found by their sizes. */
static uint32_t hidden_by_size(const Node *x, const Node *a, uint32_t hidden)
{
    uint32_t h = 0;
    for (int i = 0; i < x->rank && i < a->rank && x->dim[i] == a->dim[i]; i++) h |= hidden & 1u << i;
    return h;
}

/* drop: the first axis of which one element is taken is an index. */
static Term *term_slice(Node *x, uint32_t hidden, bool drop)
{
    Term *a = term(x->in[0], hidden);
    const char *t = "", *rest = "";
    int n = 0;
    for (int i = 0; i < x->rank; i++) {
        if (hidden >> i & 1) continue;
        int from = x->a.start[i], step = x->a.step[i], to = from + step * x->dim[i], all = x->in[0]->dim[i];
        const char *part = step != 1 ? arena_printf("%d:%d:%d", from, to, step) : from == 0 && to == all ? ":" :
                           arena_printf("%s:%s", from ? arena_printf("%d", from) : "", to < all ? arena_printf("%d", to) : "");
        if (drop && x->dim[i] == 1 && all > 1) { part = arena_printf("%d", from); drop = false; }
        rest = arena_printf("%s%s%s", rest, n++ ? ", " : "", part);
        if (strcmp(part, ":")) t = rest;
    }
    double c;
    if (!*t) return a;
    a = bare(a, &c);
    return times(form1(arena_printf("$0[%s]", t), P_POSTFIX, a->rank, a, P_POSTFIX), c);
}

static uint32_t hidden_before_reduce(const Node *x, uint32_t hidden)
{
    uint32_t h = 0;
    for (int i = 0, o = 0; i < x->in[0]->rank; i++) {
        if (x->a.axes >> i & 1) continue;
        if (hidden >> o++ & 1) h |= 1u << i;
    }
    return h;
}

static Term *term_reduce(Node *x, uint32_t hidden)
{
    uint32_t h = hidden_before_reduce(x, hidden);
    double c;
    Term *a = bare(term(x->in[0], h), &c);
    const char *name = x->op == OP_SUM ? "sum" : "max";
    if (x->op != OP_SUM && c < 0) { a = times(a, c); c = 1; }
    int rank = shown(x, hidden), axis = 0, n = 0;
    for (int i = 0, k = 0; i < x->in[0]->rank; i++) {
        if (h >> i & 1) continue;
        if (x->a.axes >> i & 1) { axis = k; n++; }
        k++;
    }
    if (rank == 0) return times(call1(name, 0, a), c);
    const char *t = n == 1 ? arena_printf("%s($0, axis = %d)", name, axis) : arena_printf("%s($0, all axes but the last %d)", name, rank);
    return times(form1(t, P_ATOM, rank, a, P_LOWEST), c);
}

/* ---- products of tensors, by their labels */

typedef struct { int n; int8_t l[MAXDIM]; } Labels;

static bool has(const Labels *a, int l) { for (int i = 0; i < a->n; i++) if (a->l[i] == l) return true; return false; }
static bool equal(const Labels *a, const Labels *b) { return a->n == b->n && !memcmp(a->l, b->l, (size_t)a->n); }

static Labels joined(const Labels *a, const Labels *b, const Labels *c)
{
    Labels r = *a;
    for (int i = 0; i < b->n; i++) r.l[r.n++] = b->l[i];
    for (int i = 0; c && i < c->n; i++) r.l[r.n++] = c->l[i];
    return r;
}

/* a in the order that is wanted: as it is, or with its last two axes swapped; NULL: neither */
static Term *in_order(Term *a, const Labels *have, const Labels *want)
{
    if (equal(have, want)) return a;
    if (have->n < 2 || have->n != want->n) return NULL;
    Labels swap = *have;
    swap.l[have->n - 1] = have->l[have->n - 2];
    swap.l[have->n - 2] = have->l[have->n - 1];
    return equal(&swap, want) ? transpose(a) : NULL;
}

typedef struct { Term *a, *b; Labels la, lb, lo, k, s, fa, fb; } Contract;      /* k: in all three; s: summed; fa, fb: in one and the result */

/* Leading axes in common, then matrix @ matrix, or matrix @ vector. */
static Term *as_matrices(const Contract *x)
{
    if (x->s.n != 1 || x->fa.n > 1 || x->fb.n > 1) return NULL;
    Labels out = joined(&x->k, &x->fa, &x->fb);
    if (!equal(&out, &x->lo)) return NULL;
    Labels wa = joined(&x->k, &x->fa, &x->s), wb = joined(&x->k, &x->s, &x->fb);
    Term *a = in_order(x->a, &x->la, &wa), *b = in_order(x->b, &x->lb, &wb);
    if (!a || !b || (!x->fa.n && !x->fb.n)) return NULL;
    if (x->fa.n) return form2("$0 @ $1", P_AT, out.n, a, P_AT, b, P_MINUS);
    wb = joined(&x->k, &x->fb, &x->s);                    /* vector @ matrix is written matrix' @ vector */
    b = in_order(x->b, &x->lb, &wb);
    return b ? form2("$0 @ $1", P_AT, out.n, b, P_AT, a, P_MINUS) : NULL;
}

/* A matrix applied to the last axis of a tensor. */
static Term *as_map(const Contract *x)
{
    Labels none = { 0 }, out = joined(&x->fa, &x->fb, &none), ta = joined(&x->fa, &x->s, &none), wb = joined(&x->fb, &x->s, &none);
    if (x->k.n || x->s.n != 1 || x->fb.n != 1 || x->fa.n < 2 || !equal(&out, &x->lo) || !equal(&ta, &x->la)) return NULL;
    Term *b = in_order(x->b, &x->lb, &wb);
    return b ? form2("$0($1)", P_ATOM, out.n, b, P_POSTFIX, x->a, P_LOWEST) : NULL;
}

static Term *as_outer(const Contract *x)
{
    Labels out = joined(&x->la, &x->lb, NULL);
    return !x->s.n && !x->k.n && equal(&out, &x->lo) ? form2("outer($0, $1)", P_ATOM, out.n, x->a, P_LOWEST, x->b, P_LOWEST) : NULL;
}

static Term *as_dot(const Contract *x)
{
    if (x->fa.n || x->fb.n || !x->s.n || !equal(&x->lo, &x->k)) return NULL;
    if (x->k.n && x->s.n > 1) return NULL;
    Labels want = x->k.n ? joined(&x->k, &x->s, NULL) : x->la;
    Term *a = in_order(x->a, &x->la, &want), *b = in_order(x->b, &x->lb, &want);
    if (!a || !b) return NULL;
    const char *axis = x->k.n ? ", axis = -1" : "";
    if (a == b) return form1(arena_printf("sq($0%s)", axis), P_ATOM, x->lo.n, a, P_LOWEST);
    return form2(arena_printf("dot($0, $1%s)", axis), P_ATOM, x->lo.n, a, P_LOWEST, b, P_LOWEST);
}

/* x with an axis of size 1 for every label of `out` that it has not; NULL: its labels stand in another order. */
static Term *spread_over(Term *x, const Labels *have, const Labels *out)
{
    const char *t = "";
    int n = 0, k = 0;
    for (int i = 0; i < out->n; i++) {
        bool in = has(have, out->l[i]);
        if (in && have->l[k++] != out->l[i]) return NULL;
        if (k) t = arena_printf("%s%s%s", t, n++ ? ", " : "", in ? ":" : "new");
    }
    return strstr(t, "new") ? indexed(x, t, n) : x;
}

/* Nothing is summed: an elementwise product, stretched. */
static Term *as_product(const Contract *x)
{
    Term *a = x->s.n ? NULL : spread_over(x->a, &x->la, &x->lo), *b = a ? spread_over(x->b, &x->lb, &x->lo) : NULL;
    return b ? multiply(a, b, false) : NULL;
}

static const char *label_text(const Labels *l)
{
    char *t = arena_alloc(MAXDIM + 1);
    for (int i = 0; i < l->n; i++) t[i] = (char)('a' + l->l[i] - 1);
    return t;
}

static Contract swapped(const Contract *x)
{
    return (Contract){ x->b, x->a, x->lb, x->la, x->lo, x->k, x->s, x->fb, x->fa };
}

static uint32_t labels_of(const Node *x, const int8_t *l, const Labels *hidden, Labels *out)
{
    uint32_t h = 0;
    out->n = 0;
    for (int i = 0; i < x->rank; i++) {
        if (has(hidden, l[i])) h |= 1u << i;
        else out->l[out->n++] = l[i];
    }
    return h;
}

static Term *term_contract(Node *x, uint32_t hidden)
{
    Contract c = { 0 };
    Labels hide = { 0 };
    double ca, cb;
    for (int i = 0; i < x->rank; i++) {
        if (hidden >> i & 1) hide.l[hide.n++] = x->a.lo[i];
        else c.lo.l[c.lo.n++] = x->a.lo[i];
    }
    uint32_t ha = labels_of(x->in[0], x->a.la, &hide, &c.la), hb = labels_of(x->in[1], x->a.lb, &hide, &c.lb);
    c.a = bare(term(x->in[0], ha), &ca);
    c.b = bare(term(x->in[1], hb), &cb);
    if (!c.la.n || !c.lb.n) return times(multiply(c.a, c.b, false), ca * cb);
    for (int i = 0; i < c.la.n; i++) {
        int l = c.la.l[i];
        Labels *to = !has(&c.lb, l) ? &c.fa : has(&c.lo, l) ? &c.k : &c.s;
        to->l[to->n++] = (int8_t)l;
    }
    for (int i = 0; i < c.lb.n; i++) if (!has(&c.la, c.lb.l[i])) c.fb.l[c.fb.n++] = c.lb.l[i];
    static Term *(*const ways[])(const Contract *) = { as_outer, as_dot, as_matrices, as_map, as_product };
    Contract d = swapped(&c);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        Term *t = ways[i](&c);
        if (!t) t = ways[i](&d);
        if (t) return times(t, ca * cb);
    }
    const char *t = arena_printf("einsum(\"%s,%s->%s\", $0, $1)", label_text(&c.la), label_text(&c.lb), label_text(&c.lo));
    return times(form2(t, P_ATOM, c.lo.n, c.a, P_LOWEST, c.b, P_LOWEST), ca * cb);
}

/* ---- elementwise operations */

static const struct { Op op; const char *text; int prec, left, right; } binary[] = {
    { OP_POW, "$0^$1", P_POWER, P_POSTFIX, P_POWER }, { OP_IDIV, "$0 // $1", P_PRODUCT, P_PRODUCT, P_AT }, { OP_MOD, "$0 % $1", P_PRODUCT, P_PRODUCT, P_AT },
    { OP_LT, "$0 < $1", P_COMPARE, P_SUM, P_SUM }, { OP_LE, "$0 <= $1", P_COMPARE, P_SUM, P_SUM }, { OP_EQ, "$0 == $1", P_COMPARE, P_SUM, P_SUM },
    { OP_AND, "$0 and $1", P_LOWEST, P_COMPARE, P_COMPARE }, { OP_OR, "$0 or $1", P_LOWEST, P_COMPARE, P_COMPARE },
    { OP_MIN, "min($0, $1)", P_ATOM, P_LOWEST, P_LOWEST }, { OP_MAX, "max($0, $1)", P_ATOM, P_LOWEST, P_LOWEST },
};

static bool is_value(const Node *x, double want)
{
    double v;
    return is_const(x, &v) && v == want;
}

/* where(x == 0, 0, c / where(x == 0, 1, x)), the slope of a root, is c / x. */
static Node *without_guard(const Node *x)
{
    const Node *c = x->in[0];
    if (x->op != OP_SELECT || c->op != OP_EQ) return NULL;
    int zero = is_value(c->in[0], 0) ? 0 : is_value(c->in[1], 0) ? 1 : -1;
    if (zero < 0) return NULL;
    if (is_value(x->in[1], 1) && x->in[2] == c->in[!zero]) return x->in[2];
    const Node *d = x->in[2];
    bool guarded = d->op == OP_DIV && d->in[1]->op == OP_SELECT && d->in[1]->in[0] == c;
    return is_value(x->in[1], 0) && guarded ? x->in[2] : NULL;
}

static Term *term_op(Node *x, uint32_t hidden)
{
    int rank = shown(x, hidden);
    Node *bare_of = without_guard(x);
    if (bare_of) return term(bare_of, hidden);
    Term **arg = NEWN(Term *, x->nin + 1);
    for (int i = 0; i < x->nin; i++) arg[i] = term(x->in[i], x->in[i]->rank == x->rank ? hidden : 0);
    if (x->op == OP_EQ && is_number(arg[0])) { Term *t = arg[0]; arg[0] = arg[1]; arg[1] = t; }
    for (size_t i = 0; i < sizeof binary / sizeof *binary; i++)
        if (binary[i].op == x->op) return form2(binary[i].text, binary[i].prec, rank, arg[0], binary[i].left, arg[1], binary[i].right);
    return call_n(x->op == OP_SELECT ? "where" : op_row[x->op].name, rank, x->nin, arg, NULL);
}

static Node *behind(Node *x)                               /* without marks and stretching */
{
    while (x->op == OP_BCAST || x->op == OP_MARK || x->op == OP_STOP || x->op == OP_CAST || x->op == OP_RESHAPE) x = x->in[0];
    return x;
}

/* exp(z - max(z)) / sum(exp(z - max(z))) */
static Node *softmax_argument(const Node *x)
{
    Node *e = x->in[0], *s = behind(x->in[1]);
    if (s->op == OP_SELECT) s = behind(s->in[2]);
    if (x->op != OP_DIV || e->op != OP_EXP || s->op != OP_SUM || s->in[0] != e || e->in[0]->op != OP_SUB) return NULL;
    Node *m = behind(e->in[0]->in[1]);
    if (m->op == OP_SELECT) m = behind(m->in[2]);
    return m->op == OP_MAXR && m->in[0] == e->in[0]->in[0] ? m->in[0] : NULL;
}

static Term *term_div(Node *x, uint32_t hidden)
{
    Node *z = softmax_argument(x);
    if (z) return call1("softmax", shown(x, hidden), term(z, hidden));
    return multiply(term(x->in[0], hidden), term(x->in[1], hidden), true);
}

/* A number added at one place of each row. */
static Term *term_scatter(Node *x, uint32_t hidden)
{
    double c;
    int rank = shown(x, hidden);
    if (!is_const(x->in[0], &c) || x->rank != x->in[1]->rank + 1) return NULL;
    Term *i = term(x->in[1], hidden_by_size(x, x->in[1], hidden));
    return times(form1(arena_printf("onehot($0, %d)", (int)x->dim[x->rank - 1]), P_ATOM, rank, i, P_LOWEST), c);
}

static const char *data_text(const Node *x, int axis, int64_t from, int64_t n)
{
    if (axis == x->rank) {
        const void *p = x->a.data;
        return x->dt == F32 ? number_text(((const float *)p)[from]) : x->dt == F64 ? number_text(((const double *)p)[from]) :
               x->dt == I32 ? number_text(((const int32_t *)p)[from]) : x->dt == I64 ? number_text((double)((const int64_t *)p)[from]) : "?";
    }
    const char *t = "[";
    for (int32_t i = 0; i < x->dim[axis]; i++)
        t = arena_printf("%s%s%s", t, i ? ", " : "", data_text(x, axis + 1, from + i * (n / x->dim[axis]), n / x->dim[axis]));
    return arena_printf("%s]", t);
}

static Term *term_by_op(Node *x, uint32_t hidden)
{
    double v;
    Term *t;
    switch (x->op) {
    case OP_CONST: is_const(x, &v); return number(v);
    case OP_MARK: case OP_STOP: case OP_CAST: return term(x->in[0], hidden);
    case OP_NEG: return times(term(x->in[0], hidden), -1);
    case OP_ADD: return plus(term(x->in[0], hidden), term(x->in[1], hidden), 1);
    case OP_SUB: return plus(term(x->in[0], hidden), term(x->in[1], hidden), -1);
    case OP_MUL: return multiply(term(x->in[0], hidden), term(x->in[1], hidden), false);
    case OP_DIV: return term_div(x, hidden);
    case OP_BCAST: return term_bcast(x, hidden);
    case OP_PERM: return term_perm(x, hidden);
    case OP_RESHAPE:
        if (x->in[0]->op == OP_SLICE && x->in[0]->rank == x->rank + 1) return term_slice(x->in[0], hidden_by_size(x, x->in[0], hidden), true);
        return term(x->in[0], hidden_by_size(x, x->in[0], hidden));
    case OP_SLICE: return term_slice(x, hidden, false);
    case OP_DATA: return atom(n_size(x) <= 16 ? data_text(x, 0, 0, n_size(x)) : "(a constant)", shown(x, hidden));
    case OP_SCATTER: return (t = term_scatter(x, hidden)) ? t : term_op(x, hidden);
    case OP_SUM: case OP_MAXR: return term_reduce(x, hidden);
    case OP_CONTRACT: return term_contract(x, hidden);
    case OP_GATHER: return form2("$0[$1]", P_POSTFIX, shown(x, hidden), term(x->in[0], 0), P_POSTFIX, term(x->in[1], hidden_by_size(x, x->in[1], hidden)), P_LOWEST);
    case OP_FORMAL: return atom("?", shown(x, hidden));
    case OP_OUT: return atom("(the levels inside)", shown(x, hidden));
    default: return term_op(x, hidden);
    }
}

/* ---- nodes with a name */

/* Which of a value's axes are hidden, as map axes. */
static uint16_t hidden_axes(uint16_t set, uint32_t hidden)
{
    uint16_t h = 0;
    for (int i = 0, k = 0; i < 16; i++) if (set >> i & 1 && hidden >> k++ & 1) h |= (uint16_t)(1u << i);
    return h;
}

static uint32_t hidden_of(uint16_t set, uint16_t axes_hidden)
{
    uint32_t h = 0;
    for (int i = 0, k = 0; i < 16; i++) if (set >> i & 1) { if (axes_hidden >> i & 1) h |= 1u << k; k++; }
    return h;
}

static uint32_t axes_positions(uint16_t set)
{
    uint32_t h = 0;
    for (int i = 0, k = 0; i < 16; i++) if (set >> i & 1) h |= 1u << k++;
    return h;
}

static bool seen_from_here(const Info *f)
{
    if (f->always || f->stale) return f->always;
    for (const Inst *i = place.inst; i; i = i->parent) if (i == f->in) return f->in == place.inst;
    return false;
}

static const Info *name_of(const Node *x, uint32_t hidden)
{
    const Info *other = NULL;
    for (const Info *f = info_first(x); f; f = f->next)
        if (f->kind == I_NAME && seen_from_here(f)) {
            if (axes_positions(f->axes) == hidden) return f;
            if (!other) other = f;
        }
    return other;
}

static Term *value_term(Value v, uint16_t axes_hidden)
{
    if (v.kind == V_TENSOR) return term(v.node, hidden_of(v.axes, axes_hidden));
    if (v.kind != V_LIST) {
        double x;
        return v_number(v, &x) ? number(x) : atom(v.kind == V_INST ? place_path(v.inst->path) : v_text(v), 0);
    }
    const char *t = v.tuple ? "(" : "[";
    Term **arg = NEWN(Term *, v.n + 1);
    for (int i = 0; i < v.n; i++) {
        arg[i] = value_term(v.elem[i], axes_hidden);
        t = arena_printf("%s%s$%d", t, i ? ", " : "", i);
    }
    return form(arena_printf("%s%s", t, v.tuple ? ")" : "]"), P_ATOM, 1, v.n, arg, NULL);
}

static Term *term_of_call(const Node *x, const Info *f, uint32_t hidden)
{
    uint16_t h = hidden_axes(f->axes, hidden);
    Term **arg = NEWN(Term *, f->n + 1);
    for (int i = 0; i < f->n; i++) arg[i] = value_term(f->arg[i], h | (uint16_t)~f->axes);    /* what the result has not is gone */
    return call_n(f->in ? place_path(f->in->path) : f->name, shown(x, hidden), f->n, arg, f->argname);
}

static Term *term_of_state(const Info *f, Node *x, uint32_t hidden)
{
    Term *t = term_new(T_STATE, shown(x, hidden));
    t->st = f->st; t->value = x; t->start = f->kind == I_START;
    return t;
}

/* Is x short enough to be written out? Counts the nodes without a name; loops have no closed form. */
static int length_of(Node *x, NodeSet *seen)
{
    int n = 1;
    if (x->op == OP_CONST || !nodeset_add(seen, x)) return 0;
    const Info *item = info_find(x, I_ITEM);
    if (item) return length_of(item->node, seen);
    if (name_of(x, 0) || info_find(x, I_STATE) || info_find(x, I_START) || info_find(x, I_CALL)) return 1;
    if (x->op == OP_OUT || x->op == OP_FORMAL) return 1000;
    for (int i = 0; i < x->nin && n < 1000; i++) n += length_of(x->in[i], seen);
    return n;
}

enum { LONGEST = 90 };

static Term *term_of_gradient(Node *x, const Info *f, uint32_t hidden)
{
    NodeSet seen = { 0 };
    if (!f->opaque && length_of(x, &seen) <= LONGEST) return NULL;
    Term *w = term_new(T_STATE, 0);
    w->st = f->st;
    Term *t = form1(arena_printf("grad(%s, $0)", f->name), P_ATOM, shown(x, hidden), w, P_LOWEST);
    return t;
}

static const char *gradient_name(const State *st) { return place_alone ? "g" : arena_printf("g(%s)", place_path(st->path)); }

static Term *term_of_sum(Node *x, const Info *f, uint32_t hidden)
{
    double c;
    Term *one = bare(term(f->node, hidden), &c);
    const Info *grad = info_find(f->node, I_GRADIENT);
    if (grad && is_grad(one) && strstr(f->name, "batch")) return one;
    const char *t = arena_printf("%s $0", f->name);
    if (c != -1) { one = times(one, c); c = 1; }          /* the sign stands outside */
    Term *r = form1(t, P_LOWEST, shown(x, hidden), one, one->force ? P_LOWEST : P_PRODUCT);
    r->force = true; r->suggest = gradient_name(f->st);
    one->force = false;                                   /* what is summed is no gradient of the state any more */
    if (grad || info_find(f->node, I_SUM)) one->suggest = NULL;
    return times(r, c);
}

static Term *term_named(Node *x, uint32_t hidden)
{
    const Info *f;
    if ((f = info_find(x, I_SUM))) return term_of_sum(x, f, hidden);
    if ((f = info_find(x, I_STATE)) || (f = info_find(x, I_START))) return term_of_state(f, x, hidden);
    if ((f = name_of(x, hidden))) return atom(f->name, shown(x, hidden));
    if ((f = info_find(x, I_ITEM))) return term(f->node, hidden << 1 | 1);
    if ((f = info_find(x, I_GRADIENT))) {
        Term *t = term_of_gradient(x, f, hidden);
        if (t) return t;
    }
    if ((f = info_find(x, I_CALL))) return term_of_call(x, f, hidden);
    return NULL;
}

static Term *term(Node *x, uint32_t hidden)
{
    for (int i = known.n - 1; i >= 0; i--) if (known.at[i].x == x && known.at[i].hidden == hidden) return known.at[i].t;
    Term *t = x->op == OP_CONST ? NULL : term_named(x, hidden);
    if (!t) {
        t = term_by_op(x, hidden);
        const Info *local = info_find(x, I_NAME);
        if (local && !t->suggest && t->kind != T_ATOM && t->kind != T_STATE) t->suggest = local->name;
        const Info *g = info_find(x, I_GRADIENT);
        if (g && t->kind != T_ATOM && t->kind != T_STATE) t->suggest = gradient_name(g->st);
    }
    Known k = { x, hidden, t };
    PUSH(known, k);
    return t;
}

/* ---- text */

static const char *text_of(Term *t, int need);

/* In the new value of st, what stands for its old value comes first. */
void formula_first(Term *t, const State *st)
{
    if (t->kind != T_SUM) return;
    for (int i = 0; i < t->n; i++) {
        const Term *a = t->arg[i];
        bool mine = a && a->kind == T_STATE && a->st == st;
        for (int k = 0; a && a->kind == T_PROD && k < a->n; k++) mine |= a->arg[k]->kind == T_STATE && a->arg[k]->st == st;
        if (mine) { sum_to_front(t, i); return; }
    }
}

static const char *state_text(const Term *t)
{
    const char *p = place_path(t->st->path);
    if (t->start) return arena_printf("start(%s)", p);
    for (int i = moved.n - 1; t->value && i >= 0; i--)
        if (moved.at[i].st == t->st && moved.at[i].old == t->value) return arena_printf("old(%s)", p);
    return p;
}

static const char *power_text(Term *t, int times_of) { return times_of == 1 ? text_of(t, P_AT) : arena_printf("%s^%d", text_of(t, P_POSTFIX), times_of); }

/* factors, equal ones as powers; `first`: whether something stands before them */
static const char *factors_text(const char *t, bool first, int n, Term *const *arg, const char *op)
{
    for (int i = 0; i < n; i++) {
        int k = 0;
        bool before = false;
        for (int j = 0; j < n; j++) { before |= arg[j] == arg[i] && j < i; k += arg[j] == arg[i]; }
        if (before) continue;
        t = arena_printf("%s%s%s", t, first ? "" : op, power_text(arg[i], k));
        first = false;
    }
    return t;
}

static const char *product_text(const Term *t, double coef)
{
    int num = t->n - t->den;
    bool plain = coef == 1 && num > 0;
    const char *s = plain ? "" : coef == -1 && num > 0 ? "-" : number_text(coef);
    s = factors_text(s, plain || (coef == -1 && num > 0), num, t->arg, " * ");
    return factors_text(s, false, t->den, t->arg + num, " / ");
}

static int factors(const Term *t)                         /* how many pieces a product is written as */
{
    return t->n + (t->coef != 1 && t->coef != -1);
}

/* c times t within a sum, without its sign */
static const char *summand_text(Term *t, double c)
{
    if (!t) return number_text(c);
    if (c == 1) return text_of(t, P_PRODUCT);
    if (t->kind == T_PROD && !t->name) return product_text(t, c * t->coef);
    return arena_printf("%s * %s", number_text(c), text_of(t, P_AT));
}

static const char *sum_text(const Term *t)
{
    const char *s = "";
    for (int i = 0; i < t->n; i++) {
        bool minus = t->c[i] < 0;
        const char *sign = i ? minus ? " - " : " + " : minus ? "-" : "";
        s = arena_printf("%s%s%s", s, sign, summand_text(t->arg[i], fabs(t->c[i])));
    }
    return s;
}

static const char *form_text(const Term *t)
{
    const char *s = "";
    for (const char *p = t->text; *p; p++) {
        if (*p != '$') { s = arena_printf("%s%c", s, *p); continue; }
        int k = 0;
        while (p[1] >= '0' && p[1] <= '9') k = k * 10 + *++p - '0';
        s = arena_printf("%s%s", s, text_of(t->arg[k], t->need[k]));
    }
    return s;
}

static const char *define_text(Term *t, int *prec)
{
    *prec = P_ATOM;
    switch (t->kind) {
    case T_ATOM: return t->text;
    case T_STATE: return state_text(t);
    case T_SUM: *prec = P_SUM; return sum_text(t);
    case T_PROD:
        *prec = factors(t) > 1 ? P_PRODUCT : t->coef < 0 ? P_MINUS : t->n ? P_POWER : P_ATOM;
        return product_text(t, t->coef);
    case T_FORM: *prec = t->prec; return form_text(t);
    }
    return "?";
}

static bool name_taken(const char *name)
{
    for (int i = 0; i < known.n; i++) {
        const Term *t = known.at[i].t;
        if (t->kind == T_ATOM && !strcmp(t->text, name)) return true;
        if (t->kind == T_STATE && !strcmp(place_path(t->st->path), name)) return true;
    }
    for (int i = 0; i < named.n; i++) if (!strcmp(named.at[i]->name, name)) return true;
    return false;
}

/* A named term is listed when it is written first; while lengths are measured nothing is. */
static const char *given_name(Term *t)
{
    if (measuring || *t->name) return *t->name ? t->name : "e1";
    const char *name = t->suggest;
    for (int i = name ? 2 : 1; !name || name_taken(name); i++) name = arena_printf("%s%d", t->suggest ? t->suggest : "e", i);
    t->name = name;
    PUSH(named, t);
    return name;
}

static const char *text_of(Term *t, int need)
{
    int prec;
    if (t->name) return given_name(t);
    const char *s = define_text(t, &prec);
    return prec < need ? arena_printf("(%s)", s) : s;
}

/* ---- formulas that are printed together */

void formulas_begin(Place at, bool alone)
{
    place = at;
    place_alone = alone;
    known.n = roots.n = named.n = moved.n = 0;
}

Term *formula_term(Node *x, uint32_t hidden) { return term(x, hidden); }

/* Is t to be named? It gets its name where it is written first. */
static void to_be_named(Term *t)
{
    int prec;
    if (t->kind == T_ATOM || t->kind == T_STATE || is_number(t) || is_grad(t)) return;
    if (!t->force && t->uses < 2) return;
    measuring = true;
    bool is_long = t->force || strlen(define_text(t, &prec)) >= 9;
    measuring = false;
    if (is_long) t->name = "";
}

/* Counts in how many places each term is written. */
static void count_uses(Term *t)
{
    if (t->uses++) return;
    for (int i = 0; i < t->n; i++) {
        bool again = false;                               /* a square writes its factor once */
        for (int j = 0; j < i && t->kind == T_PROD; j++) again |= t->arg[i] == t->arg[j];
        if (t->arg[i] && !again) count_uses(t->arg[i]);
    }
}

/* Inner terms first, so that the length of a term is what is left of it. */
static void name_all(Term *t)
{
    if (t->counted) return;
    t->counted = true;
    for (int i = 0; i < t->n; i++) if (t->arg[i]) name_all(t->arg[i]);
    to_be_named(t);
}

void formulas_count(Term *t)
{
    count_uses(t);
    PUSH(roots, t);
}

const char *formula_text(Term *t)
{
    for (int i = 0; i < roots.n; i++) name_all(roots.at[i]);
    roots.n = 0;
    int prec;
    return t->name ? text_of(t, P_LOWEST) : define_text(t, &prec);
}

void formula_moved(const State *st, Node *old)
{
    if (!st) { moved.n = 0; return; }
    MovedState m = { st, old };
    PUSH(moved, m);
}

bool formula_where(int i, const char **name, const char **text)
{
    int prec;
    if (i >= named.n) return false;
    moved.n = 0;
    *name = named.at[i]->name;
    *text = define_text(named.at[i], &prec);
    return true;
}
