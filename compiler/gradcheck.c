/* gradcheck.c: `nlc gradcheck`: every objective's gradient against central differences.

   Requires entries whose regions still have their MARKs and STOPs. For each objective of each entry it evaluates, in
   f64, the objective E, its gradients, and for each tensor w that it moves the values at the frontier of w: the nodes
   that E needs, that do not depend on w, and that are read by nodes that do. What a stop of this objective hides is on
   the frontier, and so stays as it is, as the language has it. E as a function of w alone (all else fixed) is then a
   small region of its own, and
        (E(w + h) - E(w - h)) / 2h
   is compared for up to SAMPLE elements of w. States start as the program's do, a little moved; inputs are random
   numbers. Nested objectives are differentiated first, so each is checked with the inner ones already expanded: sound
   by induction. */
#include "program.h"
#include "ops.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLE = 20 };
static const double wrong_above = 1e-4;

/* ---- Random inputs: the first attempt that gives a finite objective counts. */

static const struct { double lo, hi; int whole; } attempts[] = {{-1, 1, 8}, {0.1, 0.9, 2}, {0.1, 0.9, 1}};

static double draw(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return (double)(*s >> 11) / 9007199254740992.0;
}

static int64_t tensor_size(const Tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++) n *= t->dim[i];
    return n;
}

static Tensor *random_tensor(const Node *x, int attempt, uint64_t *seed)
{
    Tensor *t = tensor_new((Dt)x->dt, x->rank, x->dim);
    double lo = attempts[attempt].lo, width = attempts[attempt].hi - lo;
    int whole = x->dt == BOOL && attempts[attempt].whole > 2 ? 2 : attempts[attempt].whole;
    for (int64_t i = 0; i < tensor_size(t); i++) {
        double u = draw(seed);
        if (t->f) t->f[i] = lo + width * u;
        else t->i[i] = (int64_t)(u * whole);
    }
    return t;
}

static Tensor *tensor_copy(const Tensor *t)
{
    Tensor *c = tensor_new((Dt)t->dt, t->rank, t->dim);
    if (t->f) memcpy(c->f, t->f, sizeof *t->f * (size_t)tensor_size(t));
    else memcpy(c->i, t->i, sizeof *t->i * (size_t)tensor_size(t));
    return c;
}

/* ---- What an entry's formals are. */

typedef struct {
    const Entry *e;
    Tensor **birth; int nbirth;  /* by state of the model */
} Inputs;

/* The states of the model as they are born with seed 1. */
static Inputs inputs_new(const Entry *e)
{
    Inputs in = {.e = e};
    if (!e->model || !e->model->init) return in;
    const Entry *init = e->model->init;
    const Region *r = init->r;
    Tensor **arg = NEWN(Tensor *, r->np + 1), **out = NEWN(Tensor *, r->nr + 1);
    for (int k = 0; k < r->np; k++) {
        arg[k] = tensor_new((Dt)r->formal[k]->dt, r->formal[k]->rank, r->formal[k]->dim);
        if (arg[k]->i && !arg[k]->rank) arg[k]->i[0] = 1;
    }
    EvalStatus st = {0};
    region_eval(r, arg, out, false, &st);
    in.nbirth = e->model->state.n;
    in.birth = NEWN(Tensor *, in.nbirth + 1);
    for (int k = 0; k < r->nr; k++)
        if (init->out[k].kind == B_STATE) in.birth[init->out[k].index] = out[k];
    for (int k = 0; k < r->np; k++) tensor_free(arg[k]);
    return in;
}

static void inputs_free(Inputs *in)
{
    for (int k = 0; k < in->nbirth; k++) if (in->birth[k]) tensor_free(in->birth[k]);
}

/* Number of items in the batch: the leading axis of the first field. */
static int64_t batch_of(const Entry *e)
{
    for (int k = 0; k < e->r->np; k++)
        if (e->in[k].kind == B_FIELD && e->r->formal[k]->rank) return e->r->formal[k]->dim[0];
    return 1;
}

/* What learns is moved a little from its birth: at zero many a gradient vanishes. Upwards, so that what is positive
   stays so. */
static Tensor *state_value(const Inputs *in, int state, uint64_t *seed)
{
    if (state >= in->nbirth || !in->birth[state]) return NULL;
    Tensor *t = tensor_copy(in->birth[state]);
    if (t->f && in->e->model->state.at[state]->kind == ST_LEARN)
        for (int64_t i = 0; i < tensor_size(t); i++) t->f[i] += 0.05 * draw(seed);
    return t;
}

static Tensor *formal_value(const Inputs *in, const Node *x, int attempt, uint64_t *seed)
{
    for (int k = 0; k < in->e->r->np; k++) {
        if ((in->e->source ? in->e->source[k] : in->e->r->formal[k]) != x) continue;
        Bind b = in->e->in[k];
        Tensor *t = b.kind == B_STATE ? state_value(in, b.index, seed) : NULL;
        if (t) return t;
        if (b.kind != B_COUNT && b.kind != B_INDEX && b.kind != B_SEED) break;
        t = tensor_new((Dt)x->dt, x->rank, x->dim);
        t->i[0] = b.kind == B_COUNT ? batch_of(in->e) : 1;
        return t;
    }
    return random_tensor(x, attempt, seed);
}

/* ---- E as a function of one tensor. */

typedef struct {
    Node *w, *grad;              /* grad may be NULL: zero */
    int n; Node **node;          /* the frontier */
    Region *r;                   /* formals: w, then the frontier; result: E */
    bool reached, hidden;        /* E depends on w; a stop inside of a loop, which differences cannot leave out */
    bool felt;                   /* somewhere the gradient or a difference was not 0 */
    int at;                      /* where the values of grad (or -1), w and the frontier begin among the results */
} Slice;

/* A STOP_SHIFT need not be left out: differences do not feel it. */
static bool blocks(const Node *x, int64_t tag) { return x->op == OP_STOP && (x->a.k == tag || x->a.k == STOP_ALL); }

static bool blocks_inside(const Region *r, int64_t tag)
{
    Node **order;
    int n = graph_order(r->nr, r->result, &order);
    for (int i = 0; i < n; i++) {
        if (blocks(order[i], tag)) return true;
        for (int k = 0; k < 2; k++) if (order[i]->a.r[k] && blocks_inside(order[i]->a.r[k], tag)) return true;
    }
    return false;
}

/* Positions in a small table by id: what depends on w. */
typedef struct { int n; Node **order; bool *dep, *edge; } Marks;

static int position(const Marks *m, const Node *x)
{
    int lo = 0, hi = m->n - 1;
    while (lo < hi) {
        int mid = (lo + hi) / 2;
        if (m->order[mid]->id < x->id) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

static int by_id(const void *a, const void *b)
{
    uint32_t x = (*(Node *const *)a)->id, y = (*(Node *const *)b)->id;
    return (x > y) - (x < y);
}

static Slice slice_new(Node *e, Node *w, Node *grad, int64_t tag)
{
    Slice s = {.w = w, .grad = grad};
    Marks m = {0};
    m.n = graph_order(1, &e, &m.order);
    qsort(m.order, (size_t)m.n, sizeof *m.order, by_id);
    m.dep = NEWN(bool, m.n);
    m.edge = NEWN(bool, m.n);
    for (int i = 0; i < m.n; i++) {
        Node *x = m.order[i];
        m.dep[i] = x == w;
        for (int k = 0; k < x->nin && !m.dep[i] && !blocks(x, tag); k++) m.dep[i] = m.dep[position(&m, x->in[k])];
        if (x == w || !m.dep[i]) continue;
        for (int k = 0; k < x->nin; k++) m.edge[position(&m, x->in[k])] = true;
        for (int k = 0; k < 2; k++) if (x->a.r[k] && blocks_inside(x->a.r[k], tag)) s.hidden = true;
    }
    s.reached = m.dep[position(&m, e)];
    Node **from = NEWN(Node *, m.n + 1), **to = NEWN(Node *, m.n + 1);
    uint8_t *kind = NEWN(uint8_t, m.n + 1);
    from[0] = w;
    for (int i = 0; i < m.n; i++) if (m.edge[i] && !m.dep[i] && m.order[i]->op != OP_CONST) from[++s.n] = m.order[i];
    for (int i = 0; i <= s.n; i++) to[i] = n_formal(i, (Dt)from[i]->dt, from[i]->rank, from[i]->dim);
    s.node = from + 1;
    Node *res[1] = {e};
    if (!s.reached) return s;
    graph_subst(1, res, s.n + 1, from, to);
    s.r = region_new(s.n + 1, to, kind, 1, res, kind);
    return s;
}

static double evaluate(const Region *r, Tensor **in)
{
    Tensor *out;
    EvalStatus st = {0};
    region_eval(r, in, &out, false, &st);
    double v = out->f[0];
    tensor_free(out);
    return v;
}

/* How far the gradient g of one element is from the differences, relative to the larger. At a kink the differences to
   the right and to the left are two slopes, and whatever lies between them is right. Two step sizes, and the better
   counts. */
static double element_error(Slice *s, Tensor **in, int64_t i, double g, double e, double least)
{
    double x = in[0]->f[i], best = INFINITY;
    for (int k = 0; k < 2 && !(best < wrong_above); k++) {
        double h = (k ? 1e-6 : 1e-5) * fmax(1, fabs(x));
        in[0]->f[i] = x + h;
        double up = (evaluate(s->r, in) - e) / h;
        in[0]->f[i] = x - h;
        double down = (e - evaluate(s->r, in)) / h;
        in[0]->f[i] = x;
        s->felt |= g != 0 || up != 0 || down != 0;
        double middle = 0.5 * (up + down);
        double error = fabs(middle - g) / (fmax(fabs(middle), fabs(g)) + least);
        bool between = g >= fmin(up, down) && g <= fmax(up, down);
        if (between && error > wrong_above) error = 0;
        if (error < best) best = error;
    }
    return best;
}

/* The worst error over a fixed sample of elements. */
static double worst_error(Slice *s, Tensor **value, double e)
{
    Tensor **in = value + s->at + (s->grad ? 1 : 0), *w = in[0];
    const double *g = s->grad ? value[s->at]->f : NULL;
    int64_t n = tensor_size(w), m = n < SAMPLE ? n : SAMPLE;
    double largest = 0, worst = 0;
    for (int64_t i = 0; g && i < n; i++) largest = fmax(largest, fabs(g[i]));
    double least = 1e-5 * largest + 1e-5 * fabs(e) + 1e-9;
    for (int64_t k = 0; k < m; k++) {
        int64_t i = k * n / m + (n > m ? 7 * k % (n / m) : 0);
        double error = element_error(s, in, i, g ? g[i] : 0, e, least);
        if (!(error <= worst)) worst = error;
    }
    return worst;
}

/* ---- One objective. */

typedef struct { VEC(Node *) result; VEC(Node *) formal; } Pieces;

static void find_formals(Pieces *p)
{
    Node **order;
    int n = graph_order(p->result.n, p->result.at, &order);
    for (int i = 0; i < n; i++) if (order[i]->op == OP_FORMAL) PUSH(p->formal, order[i]);
}

/* Everything that is needed, once; NULL when no attempt gives a finite objective. */
static Tensor **base_values(const Inputs *in, const Pieces *p)
{
    Region *r = region_new(p->formal.n, p->formal.at, NEWN(uint8_t, p->formal.n + 1), p->result.n, p->result.at,
                           NEWN(uint8_t, p->result.n + 1));
    Tensor **arg = NEWN(Tensor *, p->formal.n + 1), **out = NEWN(Tensor *, p->result.n + 1);
    for (size_t attempt = 0; attempt < sizeof attempts / sizeof *attempts; attempt++) {
        uint64_t seed = 88172645463325252u;
        for (int k = 0; k < p->formal.n; k++) arg[k] = formal_value(in, p->formal.at[k], (int)attempt, &seed);
        EvalStatus st = {0};
        region_eval(r, arg, out, false, &st);
        for (int k = 0; k < p->formal.n; k++) tensor_free(arg[k]);
        if (!st.bad && isfinite(out[0]->f[0])) return out;
        for (int k = 0; k < p->result.n; k++) tensor_free(out[k]);
    }
    return NULL;
}

static const char *tensor_name(const Objective *o, int j)
{
    if (o->state && o->state[j] && o->state[j]->path) return o->state[j]->path;
    return arena_printf("tensor %d", j + 1);
}

static void print_head(const Entry *e, const Objective *o, const char *tensor, FILE *to)
{
    fprintf(to, "%s", o->name ? o->name : "objective");
    if (o->loc.line) fprintf(to, " (%s:%d:%d)", source_name(o->loc.file), (int)o->loc.line, (int)o->loc.col);
    fprintf(to, " in %s, %s: ", e->name ? e->name : "an entry", tensor);
}

static bool check_tensor(const Entry *entry, const Objective *o, int j, Slice *s, Tensor **value, FILE *to)
{
    print_head(entry, o, tensor_name(o, j), to);
    if (s->hidden) {
        fprintf(to, "not checked: it is stopped inside of a level\n");
        return true;
    }
    if (!s->reached) {
        double largest = 0;
        for (int64_t i = 0; s->grad && i < tensor_size(value[s->at]); i++)
            largest = fmax(largest, fabs(value[s->at]->f[i]));
        fprintf(to, "the objective does not depend on it, %s\n", largest > 0 ? "but has a gradient: WRONG" : "ok");
        return !(largest > 0);
    }
    double worst = worst_error(s, value, value[0]->f[0]);
    bool ok = worst <= wrong_above;
    if (!s->felt) fprintf(to, "0 on both sides: nothing was exercised\n");
    else fprintf(to, "worst relative error %.1e, %s\n", worst, ok ? "ok" : "WRONG");
    return ok;
}

static int unchecked;            /* objectives that no random inputs make finite */

static bool check_objective(const Inputs *in, const Objective *o, FILE *to)
{
    Node *e = o->e->rank ? n_sum(o->e, (1u << o->e->rank) - 1) : o->e;
    e = n_cast(e, F64);
    Slice *slice = NEWN(Slice, o->nw + 1);
    Pieces p = {0};
    PUSH(p.result, e);
    for (int j = 0; j < o->nw; j++) {
        Slice *s = &slice[j];
        *s = slice_new(e, o->wrt[j], o->grad[j], o->tag);
        s->at = p.result.n;
        if (s->grad) PUSH(p.result, s->grad);
        PUSH(p.result, s->w);
        for (int k = 0; k < s->n; k++) PUSH(p.result, s->node[k]);
    }
    find_formals(&p);
    Tensor **value = base_values(in, &p);
    if (!value) {
        print_head(in->e, o, "all tensors", to);
        fprintf(to, "not checked: on random numbers the objective is not finite\n");
        unchecked++;
        return true;
    }
    bool ok = true;
    for (int j = 0; j < o->nw; j++) {
        ok &= check_tensor(in->e, o, j, &slice[j], value, to);
        eval_forget();                                /* each region is evaluated here and never again */
    }
    for (int k = 0; k < p.result.n; k++) tensor_free(value[k]);
    return ok;
}

int gradcheck(Program *p, FILE *to)
{
    int wrong = 0, seen = 0;
    unchecked = 0;
    for (int i = 0; i < p->entry.n; i++) {
        const Entry *e = p->entry.at[i];
        if (!e->objective.n) continue;
        Inputs in = inputs_new(e);
        for (int k = 0; k < e->objective.n; k++, seen++) wrong += !check_objective(&in, e->objective.at[k], to);
        inputs_free(&in);
    }
    seen -= unchecked;
    fprintf(to, "%d objective%s checked on random inputs, %d wrong", seen, seen == 1 ? "" : "s", wrong);
    if (unchecked) fprintf(to, ", %d not checked", unchecked);
    fputc('\n', to);
    return wrong;
}
