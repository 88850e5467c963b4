/* elab_gen.c: models that can go on with a sequence of tokens. A model over one field of whole numbers, s : i32[N],
   that emits logits has two more entries for `generate` and `stream`: one token at a time, with all inner state kept,
   if its only mixing over time is levels; otherwise its whole window. Which of the two holds is tried, with the
   evaluator, on random states: two tokens one by one against both at once. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "elab_int.h"

typedef struct { int32_t n, lag; int64_t classes; } Shape;

/* The length of the model's field where the schedule uses it, or 0. */
static int32_t used_length(Elabmodel *em)
{
    for (int i = 0; i < el.p->todo.n; i++) {
        const Do *d = el.p->todo.at[i];
        if (d->model == em->m && d->field.n == 1 && d->field.at[0].rank == 1 && !dt_float(d->field.at[0].dt))
            return d->field.at[0].dim[0];
    }
    return 0;
}

static Stream *token_stream(Ast *def, int32_t n)
{
    Stream *s = NEW(Stream);
    Field f = { .name = def->inputs[0]->name, .dt = I32, .rank = 1, .dim = { n }, .loc = def->inputs[0]->loc };
    s->kind = SM_GEN; s->name = "tokens"; s->loc = def->loc;
    PUSH(s->field, f);
    return s;
}

/* The version for a field of n tokens; NULL, without a message, if the model cannot be made for it. */
static Version *token_version(Elabmodel *em, int32_t n, Tokens how, Loc at)
{
    int from[16];
    diag_quiet(true);
    Version *v = version_make(em, token_stream(em->root->def, n), 1, false, false, how, 0, NULL, at, from);
    diag_quiet(false);
    return v && v->step && v->emits ? v : NULL;
}

/* What the model emits for n tokens: [n - lag, classes], or [classes]. */
static bool emitted_shape(Version *v, int32_t n, Shape *t)
{
    int rank; int32_t dim[MAXDIM];
    if (!v || v->emitted.kind != V_TENSOR || !v_shape(v->emitted, &rank, dim) || rank != 2) return false;
    if (dim[0] != n && dim[0] != n - 1) return false;
    *t = (Shape){ n, n - dim[0], dim[1] };
    return true;
}

/* ---- one by one against all at once */

static Tensor *random_state(const State *s, uint64_t *seed)
{
    Tensor *t = tensor_new(s->dt, s->rank, s->dim);
    int64_t n = 1;
    for (int i = 0; i < s->rank; i++) n *= s->dim[i];
    for (int64_t i = 0; i < n; i++) {
        *seed = *seed * 6364136223846793005u + 1442695040888963407u;
        double u = (double)(*seed >> 11) / 9007199254740992.0;
        if (t->f) t->f[i] = 0.6 * (u - 0.5);
        else t->i[i] = 0;
    }
    return t;
}

/* Runs an entry on the states; its results for states replace them. The logits (B_OUT 1) come back, or NULL. */
static Tensor *run_entry(const Entry *e, Tensor **state, Tensor *tokens)
{
    Tensor **in = NEWN(Tensor *, e->r->np + 1), **out = NEWN(Tensor *, e->r->nr + 1), *logits = NULL,
        one = { .dt = I64 };
    int64_t value = 1;
    EvalStatus st = { 0 };
    one.i = &value;
    for (int i = 0; i < e->r->np; i++)
        in[i] = e->in[i].kind == B_STATE ? state[e->in[i].index] : e->in[i].kind == B_FIELD ? tokens : &one;
    region_eval(e->r, in, out, false, &st);
    for (int i = 0; i < e->r->nr; i++) {
        if (e->out[i].kind == B_STATE) { tensor_free(state[e->out[i].index]); state[e->out[i].index] = out[i]; }
        else if (e->out[i].index == 1) logits = out[i];
        else tensor_free(out[i]);
    }
    return logits;
}

static Tensor *token_tensor(int32_t n, const int64_t *token)
{
    int32_t dim[2] = { 1, n };
    Tensor *t = tensor_new(I32, 2, dim);
    for (int i = 0; i < n; i++) t->i[i] = token[i];
    return t;
}

static bool same_logits(const Tensor *a, const Tensor *b, int64_t classes)
{
    int64_t na = (int64_t)a->dim[0] * classes, nb = (int64_t)b->dim[0] * classes;
    for (int64_t i = 0; i < classes; i++) {
        double x = a->f[na - classes + i], y = b->f[nb - classes + i];
        if (!(fabs(x - y) <= 1e-9 * (1 + fabs(x)))) return false;
    }
    return true;
}

/* one: a version for one token, two: for two. Do two calls of one give what one call of two gives? */
static bool streams(Elabmodel *em, Version *one, Version *two, const Shape *t)
{
    Model *m = em->m;
    Tensor **a = NEWN(Tensor *, m->state.n), **b = NEWN(Tensor *, m->state.n);
    uint64_t seed = 4711;
    for (int i = 0; i < m->state.n; i++) {
        uint64_t again = seed;
        a[i] = random_state(m->state.at[i], &seed);
        b[i] = random_state(m->state.at[i], &again);
    }
    int64_t token[4] = { t->classes > 1, t->classes > 2 ? 2 : 0, 0, 0 };
    Tensor *first = token_tensor(1 + t->lag, token), *second = token_tensor(1 + t->lag, token + 1),
        *both = token_tensor(2 + t->lag, token);
    if (one->fresh) run_entry(one->fresh, a, first);
    if (two->fresh) run_entry(two->fresh, b, both);
    Tensor *x = run_entry(one->step, a, first), *y = run_entry(one->step, a, second),
        *z = run_entry(two->step, b, both);
    bool same = x && y && z && same_logits(y, z, t->classes);
    if (x) tensor_free(x);
    if (y) tensor_free(y);
    if (z) tensor_free(z);
    tensor_free(first); tensor_free(second); tensor_free(both);
    for (int i = 0; i < m->state.n; i++) { tensor_free(a[i]); tensor_free(b[i]); }
    return same;
}

/* ---- does what is kept (B_STATE), or what is emitted (B_OUT), depend on the token that the lag adds? Told from the
   tokens but the last, and the last, put in place of all. */

static bool looks_ahead(const Entry *e, BindKind what)
{
    Node *from = NULL, **out = NEWN(Node *, e->r->nr + 1), **order;
    int n = 0;
    for (int i = 0; i < e->r->np; i++) if (e->in[i].kind == B_FIELD) from = e->r->formal[i];
    for (int i = 0; i < e->r->nr; i++)
        if (e->out[i].kind == what && (what == B_STATE || e->out[i].index == 1)) out[n++] = e->r->result[i];
    if (!from || !n) return false;
    int axis = from->rank - 1;
    int32_t dim[MAXDIM];
    memcpy(dim, from->dim, sizeof dim);
    dim[axis]--;
    Node *part[2] = { formal_new((Dt)from->dt, from->rank, dim), NULL };
    dim[axis] = 1;
    part[1] = formal_new((Dt)from->dt, from->rank, dim);
    Node *all = n_concat(2, part, axis);
    graph_subst(n, out, 1, &from, &all);
    for (int i = 0, k = graph_order(n, out, &order); i < k; i++) if (order[i] == part[1]) return true;
    return false;
}

static void add(Elabmodel *em, Version *v, const Shape *t, bool window, const char *learning)
{
    Generate *g = NEW(Generate);
    *g = (Generate){ em->m, v->step, v->fresh, t->n - t->lag, t->lag, t->classes, window,
                     t->lag && !window && looks_ahead(v->step, B_STATE), learning };
    PUSH(el.p->generate, g);
}

/* ---- `stream M learning ..`: the same for one token, and the states that are named move at each. */

static const char no_lag[] = "it emits a row for its last token too, so one token alone leaves nothing to predict; "
                             "emit rows for all but the last";

static void refuse_live(Elabmodel *em, const char *why)
{
    for (int i = 0; i < em->live.n; i++)
        error_at(em->live.at[i].at, "'%s' cannot learn from a stream: %s", em->m->name, why);
}

static void live_versions(Elabmodel *em, const Shape *t)
{
    for (int i = 0; i < em->live.n; i++) {
        Live *l = &em->live.at[i];
        int from[16];
        Version *v = version_make(em, token_stream(em->root->def, t->n), 1, false, false, TOKEN_BY_TOKEN, l->n, l->var,
                                  l->at, from);
        if (!v || !v->step) continue;
        if (looks_ahead(v->step, B_OUT))
            error_at(l->at, "'%s' would see the token that it is to predict: `emit` reads states that `minimize` has "
                            "moved; write `emit` above `minimize`", em->m->name);
        add(em, v, t, false, l->names);
    }
}

static void generate_model(Elabmodel *em)
{
    Ast *def = em->root->def;
    int32_t n = used_length(em);
    Shape t, small;
    if (em->broken) return;
    if (!n || def->ninputs != 1) {
        refuse_live(em, "it would be a model over one field of whole numbers, [N], that the schedule uses");
        return;
    }
    int entries = el.p->entry.n, states = em->var.n;
    Version *wide = token_version(em, n, WINDOW, def->loc);
    if (!emitted_shape(wide, n, &t)) {
        el.p->entry.n = entries;
        refuse_live(em, "it does not emit logits for the next token");
        return;
    }
    int before = el.p->entry.n;
    Version *one = token_version(em, 1 + t.lag, TOKEN_BY_TOKEN, def->loc);
    int after = el.p->entry.n;
    Version *two = one ? token_version(em, 2 + t.lag, TOKEN_BY_TOKEN, def->loc) : NULL;
    bool ok = one && two && emitted_shape(one, 1 + t.lag, &small) && small.lag == t.lag && streams(em, one, two, &t);
    el.p->entry.n = after;                                /* two was a trial */
    if (!ok) {
        el.p->entry.n = before;
        em->var.n = em->m->state.n = states;              /* its kept states go with it */
        add(em, wide, &t, true, NULL);
        if (!t.lag) refuse_live(em, no_lag);              /* a window reads no stream at all, as the command says */
        return;
    }
    for (int i = before; i < after; i++) {                /* the window's entries go */
        el.p->entry.at[entries + i - before] = el.p->entry.at[i];
        el.p->entry.at[entries + i - before]->id = entries + i - before;
    }
    el.p->entry.n = entries + after - before;
    add(em, one, &small, false, NULL);
    if (t.lag) live_versions(em, &small);
    else refuse_live(em, no_lag);
}

void generate_entries(void)
{
    if (error_count()) return;
    for (int i = 0; i < el.p->model.n; i++) {
        Elabmodel *em = el.p->model.at[i]->em;
        bool emits = false;
        for (int k = 0; k < em->version.n; k++) emits |= em->version.at[k]->emits;
        if (emits && em->root) generate_model(em);
        else if (em->root && !em->broken) refuse_live(em, "it emits nothing");
    }
}
