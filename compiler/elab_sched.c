/* elab_sched.c: the schedule. It is run when compiling: loops are unrolled, and what is left is a list of steps
   (program.h, Do). */
#include <math.h>
#include <string.h>
#include "elab_int.h"

typedef struct { Elabmodel *em; ModelInst *inst; } Default;
/* Net(..) in a train statement, bound to no name */
typedef struct { ModelInst *inst; Loc at; int repeat; bool said; } Unnamed;
static struct {
    VEC(LoopVar) var;
    VEC(Unnamed) unnamed;
    VEC(Default) dflt; int start;            /* models used by their name alone: made where this block of the schedule
                                                starts */
    int repeat;
    VEC(Do *) table; VEC(Ast *) table_ast; VEC(Scope *) table_scope;
} sc;

static void statements(Scope *s, Ast **body, int n);

static Do *do_new(DoKind kind, Loc at)
{
    Do *d = NEW(Do);
    d->kind = kind; d->loc = at; d->inst = d->from = -1; d->repeat = sc.repeat;
    for (int i = 0; i < sc.var.n; i++) PUSH(d->var, sc.var.at[i]);
    return d;
}

static void insert(Do *d, int at)
{
    PUSH(el.p->todo, d);
    for (int i = el.p->todo.n - 1; i > at; i--) el.p->todo.at[i] = el.p->todo.at[i - 1];
    el.p->todo.at[at] = d;
}

static ModelInst *model_inst(Closure *c, const char *name, int at_index, Loc at)
{
    ModelInst *m = NEW(ModelInst);
    m->em = model_get(c, at);
    m->name = name; m->id = el.p->ninst++;
    Do *d = do_new(DO_NEW, at);
    d->inst = m->id; d->model = m->em->m; d->name = name;
    insert(d, at_index);
    return m;
}

static bool is_model(Value v) { return v.kind == V_DEF && v.clo->def && v.clo->def->kind == D_MODEL; }

static Value model_v(ModelInst *m, Loc at) { return (Value){ .kind = V_MODEL, .minst = m, .loc = at }; }

/* Net(..) makes a new instance where it is bound. */
static Value instantiate(Value v, const char *name, Loc at)
{
    if (v.kind == V_LIST) {
        Value *e = NEWN(Value, v.n + 1);
        for (int i = 0; i < v.n; i++) e[i] = instantiate(v.elem[i], NULL, at);
        return v_list(v.n, e, v.tuple);
    }
    if (!is_model(v) || !v.clo->given) return v;
    return model_v(model_inst(v.clo, name ? name : v_text(v), el.p->todo.n, at), at);
}

static bool same_place(Loc a, Loc b) { return a.file == b.file && a.line == b.line && a.col == b.col; }

/* Remembers what a train statement in place `at` made without a name. */
static void remember_unnamed(Value v, ModelInst **m, int n, Loc at)
{
    for (int i = 0; i < n; i++) {
        Value x = v.kind == V_LIST ? v.elem[i] : v;
        int k = 0;
        if (!is_model(x) || !x.clo->given) continue;
        while (k < sc.unnamed.n && (sc.unnamed.at[k].inst->em != m[i]->em || !same_place(sc.unnamed.at[k].at, at))) k++;
        if (k < sc.unnamed.n) sc.unnamed.at[k].repeat = sc.repeat;       /* of another turn of a loop */
        else PUSH(sc.unnamed, ((Unnamed){ m[i], at, sc.repeat, false }));
    }
}

/* A new instance without a name. If one of the same model was trained before, it is out of reach, and is probably the
   one that is meant. */
static ModelInst *unnamed(Value v, Loc at)
{
    ModelInst *m = model_inst(v.clo, v_text(v), el.p->todo.n, at);
    for (int i = sc.unnamed.n - 1; i >= 0; i--) {
        Unnamed *u = &sc.unnamed.at[i];
        if (u->inst->em != m->em || u->repeat != sc.repeat) continue;
        if (u->said) break;
        u->said = true;
        warn_at(at, "this '%s' is a new instance, not the one that was trained in line %d, which has no name; to use "
                    "one again, name it: m = %s", m->name, u->at.line, m->name);
        break;
    }
    return m;
}

static ModelInst *as_model(Value v, Loc at)
{
    if (v.kind == V_MODEL) return v.minst;
    if (!is_model(v)) {
        if (v.kind != V_ERR) error_at(at, "a model is wanted here, not %s", v_show(v));
        return NULL;
    }
    if (v.clo->given) return unnamed(v, at);
    Elabmodel *em = model_get(v.clo, at);
    for (int i = 0; i < sc.dflt.n; i++) if (sc.dflt.at[i].em == em) return sc.dflt.at[i].inst;
    Default d = { em, model_inst(v.clo, em->m->name, sc.start++, at) };
    PUSH(sc.dflt, d);
    return d.inst;
}

static int model_list(Value v, ModelInst **out, Loc at)
{
    if (v.kind != V_LIST) return (out[0] = as_model(v, at)) ? 1 : 0;
    if (v.n > 64) { error_at(at, "at most 64 models at once"); return 0; }
    for (int i = 0; i < v.n; i++) if (!(out[i] = as_model(v.elem[i], at))) return 0;
    return v.n;
}

static Stream *sched_stream(Value v, Loc at)
{
    if (v.kind == V_DEF && v.clo->def && v.clo->def->kind == D_STREAM) v = stream_call(v.clo, at);
    if (v.kind == V_STREAM) return v.stream;
    if (v.kind != V_ERR) error_at(at, "a stream is wanted here, not %s", v_show(v));
    return NULL;
}

static int64_t whole(Scope *s, Ast *e, const char *what, int64_t least)
{
    Value v = eval(s, e);
    int64_t n;
    double x;
    if (v.kind == V_ERR) return -1;
    if (v_number(v, &x) && !v_integer(v, &n) && fabs(x) < 9e15 && x == floor(x)) v = v_int((int64_t)x);
    if (v_integer(v, &n) && n >= least) return n;
    error_at(e->loc, "%s is a whole number of at least %lld, not %s", what, (long long)least, v_show(v));
    return -1;
}

/* ---- small entries over report values: until, table */

static void report_names_in(Ast *e, Asts *out)
{
    if (!e) return;
    if (e->kind == E_NAME) PUSH(*out, e);
    if (e->kind == E_CALL) { if (e->a->kind != E_NAME) report_names_in(e->a, out); }
    else report_names_in(e->a, out);
    report_names_in(e->b, out); report_names_in(e->c, out);
    for (int i = 0; i < e->n; i++) report_names_in(e->list[i], out);
}

/* An entry that computes e from values of the given names, in f64. */
static Entry *value_entry(Scope *s, Ast *e, int n, const char *const *names, const char *label, bool flag)
{
    Version v = { 0 };
    int32_t dim = n;
    Node *in = entry_in(&v, B_FIELD, 0, F64, 1, &dim);
    Scope *sn = scope_new(s, e->loc);
    for (int i = 0; i < n; i++) {
        Value x = v_tensor(n_reshape(n_slice1(in, 0, i, 1, 1), 0, NULL), 0);
        x.weak = true;
        scope_bind(sn, names[i], x, e->loc);
    }
    Value x = eval(sn, e);
    if (x.kind == V_ERR) return NULL;
    x = v_as_tensor(x, e->loc);
    if (x.kind != V_TENSOR) return NULL;
    if (x.node->rank) { error_at(e->loc, "this is one number, not %s", v_show(x)); return NULL; }
    Node *out = n_cast(x.node, flag ? BOOL : F64);
    if (!flag) out = n_reshape(out, 0, NULL);
    return entry_close(arena_printf("%s.%d", label, el.p->entry.n), NULL, 1, &in, &(Bind){ B_FIELD, 0 }, 1, &out,
                       &(Bind){ B_OUT, 0 }, e->loc);
}

/* ---- train and test */

/* The states that `learning` names in this model; a name that a model lacks is skipped, one that all lack is an
   error. */
static int learning_vars(Elabmodel *em, SchedClauses *c, Var ***out, bool *hit)
{
    VEC(Var *) all = { 0 };
    for (int i = 0; i < c->nlearning; i++) {
        const char *name = arena_printf("%s.%s", em->m->name, ast_text(c->learning[i]));
        size_t n = strlen(name);
        for (int k = 0; k < em->var.n; k++) {
            Var *v = em->var.at[k];
            if (v->st->kind != ST_LEARN && v->st->kind != ST_STATE) continue;
            if (strncmp(v->st->path, name, n) || (v->st->path[n] && v->st->path[n] != '.')) continue;
            PUSH(all, v);
            hit[i] = true;
        }
    }
    *out = all.at;
    return all.n;
}

static void check_learning(SchedClauses *c, bool *hit, ModelInst **m, int nm)
{
    for (int k = 0; k < nm; k++) if (m[k]->em->broken) return;
    for (int i = 0; i < c->nlearning; i++) {
        if (hit[i]) continue;
        const char *list = m[0]->name;
        for (int k = 1; k < nm; k++) list = arena_printf("%s, %s", list, m[k]->name);
        error_at(c->learning[i]->loc, "'%s' names no state and no instance of %s", ast_text(c->learning[i]), list);
    }
}

static void fill_reports(Do *d, Version *v)
{
    d->entry = v->step; d->finish = v->finish; d->naccs = v->acc.n; d->fresh = v->fresh;
    for (int i = 0; i < v->names.n; i++) { PUSH(d->report, v->names.at[i]); PUSH(d->report_loc, v->name_loc.at[i]); }
}

static void fill_fields(Do *d, ModelInst *m, Stream *s, const int *from)
{
    Ast *def = m->em->root->def;
    for (int i = 0; i < def->ninputs && s; i++) {
        Field f = s->field.at[from[i]];
        f.name = def->inputs[i]->name;
        PUSH(d->field, f);
        PUSH(d->field_from, from[i]);
    }
}

static bool lanes_fit(Ast *st, SchedClauses *c, const void *stream)
{
    if (c->lanes && !c->batch) {
        error_at(st->loc, "`lanes` cuts the stream into as many stretches as the batch has items: batch B lanes");
        return false;
    }
    if (c->lanes && c->shuffled) { error_at(st->loc, "lanes are read in order, not shuffled"); return false; }
    if ((c->lanes || c->carry) && !stream) {
        error_at(st->loc, "`%s` is about a stream's items, and there is no stream", c->lanes ? "lanes" : "carry");
        return false;
    }
    return true;
}

/* `carry` goes on from the kept state of an earlier step with as many lanes. */
static bool carry_fits(const Do *d, Loc at)
{
    if (!d->carry || !d->fresh) return true;
    for (int i = 0; i < el.p->todo.n; i++) {
        const Do *e = el.p->todo.at[i];
        if (e->inst == d->inst && (e->kind == DO_TRAIN || e->kind == DO_TEST) && e->fresh && e->batch == d->batch)
            return true;
    }
    error_at(at, "`carry` goes on from the state that an earlier train of '%s' with as many lanes left, and there is "
                 "none", d->name);
    return false;
}

static void train(Scope *s, Ast *st)
{
    SchedClauses *c = st->sc;
    ModelInst *m[64];
    Value mv = eval(s, st->a);
    int nm = model_list(mv, m, st->a->loc);
    Stream *stream = st->b ? sched_stream(eval(s, st->b), st->b->loc) : NULL;
    int64_t batch = c->batch ? whole(s, c->batch, "a batch", 1) : 1;
    int64_t count = c->count ? whole(s, c->count, "a number of steps or epochs", 0) : -1;
    if (c->nlearning) {
        error_at(c->learning[0]->loc, "`learning` is a clause of test; a train moves all that learns");
        return;
    }
    if (!c->count) { error_at(st->loc, "train needs a length: for N steps, or for N epochs"); return; }
    if (!nm || (st->b && !stream) || batch < 1 || count < 0 || !lanes_fit(st, c, stream)) return;
    if (batch > 1 << 24) { error_at(c->batch->loc, "a batch of %lld is too large", (long long)batch); return; }
    for (int i = 0; i < nm; i++) {
        int from[16] = { 0 };
        if (m[i]->em->root && !m[i]->em->root->def->ninputs && stream) {
            error_at(st->b->loc, "'%s' runs over (), without a stream", m[i]->name);
            continue;
        }
        if (c->epochs && !stream) {
            error_at(st->loc, "epochs are of a stream; `for N steps` is what this model wants");
            continue;
        }
        Version *v = version_get(m[i]->em, stream, batch, true, c->lanes, 0, NULL, st->b ? st->b->loc : st->loc, from);
        if (!v) continue;
        Do *d = do_new(DO_TRAIN, st->loc);
        d->inst = m[i]->id; d->name = m[i]->name; d->model = m[i]->em->m; d->stream = stream; d->batch = batch;
        d->count = count; d->epochs = c->epochs; d->shuffled = c->shuffled;
        fill_reports(d, v);
        d->carry = c->carry; d->lanes = c->lanes;
        if (!carry_fits(d, st->loc)) continue;
        fill_fields(d, m[i], stream, from);
        if (c->until) d->until = value_entry(s, c->until, v->names.n, v->names.at, "until", true);
        PUSH(el.p->todo, d);
    }
    remember_unnamed(mv, m, nm, st->a->loc);
}

static void test_on(Scope *s, Ast *st, ModelInst **m, int nm, Stream *stream, int64_t batch, bool *hit)
{
    (void)s;
    for (int i = 0; i < nm; i++) {
        int from[16] = { 0 };
        Var **learn;
        int n = learning_vars(m[i]->em, st->sc, &learn, hit);
        if (m[i]->em->root && !m[i]->em->root->def->ninputs && stream) {
            error_at(st->b->loc, "'%s' runs over (), without a stream", m[i]->name);
            continue;
        }
        Version *v = version_get(m[i]->em, stream, batch, false, st->sc->lanes, n, learn, st->b ? st->b->loc : st->loc,
                                 from);
        if (!v) continue;
        Do *d = do_new(DO_TEST, st->loc);
        d->inst = m[i]->id; d->name = m[i]->name; d->model = m[i]->em->m; d->stream = stream; d->batch = batch;
        d->learning = n > 0;
        fill_reports(d, v);
        d->carry = st->sc->carry; d->lanes = st->sc->lanes;
        if (!carry_fits(d, st->loc)) continue;
        fill_fields(d, m[i], stream, from);
        PUSH(el.p->todo, d);
    }
}

static void test(Scope *s, Ast *st)
{
    SchedClauses *c = st->sc;
    ModelInst *m[64];
    int nm = model_list(eval(s, st->a), m, st->a->loc);
    int64_t batch = c->batch ? whole(s, c->batch, "a batch", 1) : 1;
    bool *hit = NEWN(bool, c->nlearning + 1);
    if (c->count || c->until || c->shuffled) {
        error_at(st->loc, "`for`, `until` and `shuffled` are clauses of train; a test reads each item once");
        return;
    }
    if (!nm || batch < 1 || !lanes_fit(st, c, st->b)) return;
    if (batch > 1 << 24) { error_at(c->batch->loc, "a batch of %lld is too large", (long long)batch); return; }
    int errors = error_count();
    if (!st->b) test_on(s, st, m, nm, NULL, batch, hit);
    else {
        Value on = eval(s, st->b), one[1] = { on }, *it = one;
        int n = 1;
        if (on.kind == V_LIST) n = list_items(on, &it, st->b->loc);
        for (int k = 0; k < n; k++) {
            Stream *stream = sched_stream(it[k], st->b->loc);
            if (stream) test_on(s, st, m, nm, stream, batch, hit);
        }
    }
    if (error_count() == errors) check_learning(c, hit, m, nm);
}

/* `stream M learning ..`: no step of the schedule, but a version for the command `stream` (elab_gen.c). */
static void live(Scope *s, Ast *st)
{
    SchedClauses *c = st->sc;
    ModelInst *m = as_model(eval(s, st->a), st->a->loc);
    bool *hit = NEWN(bool, c->nlearning + 1);
    Live l = { .names = "", .at = st->loc };
    if (!m) return;
    l.n = learning_vars(m->em, c, &l.var, hit);
    check_learning(c, hit, &m, 1);
    for (int i = 0; i < c->nlearning; i++)
        l.names = arena_printf("%s%s%s", l.names, i ? "," : "", ast_text(c->learning[i]));
    if (l.n) PUSH(m->em->live, l);
}

/* ---- the other statements */

/* A model's name that stands for the instance made at the start; that of a model which needs arguments does not. */
static bool names_default(Value v)
{
    if (!is_model(v) || v.clo->given) return false;
    for (int i = 0; i < v.clo->def->nparams; i++) if (!v.clo->def->params[i]->a) return false;
    return true;
}

static void bind(Scope *s, Ast *st)
{
    Value v = eval(s, st->a);
    bool copies = st->a->kind == E_NAME && st->nnames == 1 && !st->tuple;
    if (copies && names_default(v)) v = model_v(as_model(v, st->a->loc), st->a->loc);
    if (copies && v.kind == V_MODEL) {                    /* m2 = m: a copy with all its state */
        ModelInst *c = NEW(ModelInst);
        c->em = v.minst->em; c->name = st->names[0]->name; c->id = el.p->ninst++;
        Do *d = do_new(DO_COPY, st->loc);
        d->inst = c->id; d->from = v.minst->id; d->model = c->em->m; d->name = c->name;
        PUSH(el.p->todo, d);
        v = model_v(c, st->loc);
    } else v = instantiate(v, st->nnames == 1 ? st->names[0]->name : NULL, st->loc);
    bind_names(s, st->names, st->nnames, st->tuple, v, st->loc);
}

/* tick m.end, tick (m, n).end */
static void tick(Scope *s, Ast *st)
{
    ModelInst *m[64];
    if (st->a->kind != E_FIELD) { error_at(st->a->loc, "`tick` takes an event of a model: tick MODEL.EVENT"); return; }
    int n = model_list(eval(s, st->a->a), m, st->a->a->loc);
    for (int i = 0; i < n; i++) {
        Event *e = event_find(m[i]->em, st->a->name, st->a->loc);
        if (!e) continue;
        Do *d = do_new(DO_TICK, st->loc);
        d->inst = m[i]->id; d->name = m[i]->name; d->model = m[i]->em->m; d->event = e;
        if (!e->ticked) { e->ticked = true; e->ticked_at = st->loc; }
        PUSH(el.p->todo, d);
    }
}

static void push_vars(Scope *s, Ast *st)
{
    for (int i = 0; i < st->nnames; i++) {
        Value v;
        LoopVar lv = { st->names[i]->name, "" };
        if (scope_find(s, lv.name, &v)) lv.text = v_text(v);
        PUSH(sc.var, lv);
    }
}

static void loop(Scope *s, Ast *st)
{
    Value *it = NULL;
    int n = walk_items(eval(s, st->a), st->a, st->nnames, &it, st->a->loc), depth = sc.var.n;
    for (int i = 0; i < n; i++) {
        int errors = error_count();
        Value v = instantiate(it[i], NULL, st->loc);
        bind_names(s, st->names, st->nnames, st->tuple, v, st->loc);
        push_vars(s, st);
        statements(s, st->body, st->nbody);
        sc.var.n = depth;
        if (error_count() > errors) break;
    }
}

static void seed(int64_t k, Loc at)
{
    Do *d = do_new(DO_SEED, at);
    d->seed = k;
    PUSH(el.p->todo, d);
}

static void repeat(Scope *s, Ast *st)
{
    int64_t n = whole(s, st->a, "a number of seeds", 1);
    int start = sc.start;
    int ndflt = sc.dflt.n;
    Default *keep = NEWN(Default, ndflt + 1);
    for (int i = 0; i < ndflt; i++) keep[i] = sc.dflt.at[i];
    if (sc.repeat >= 0) { error_at(st->loc, "a `repeat` does not stand in another one"); return; }
    for (int64_t k = 0; k < n; k++) {
        int errors = error_count();
        sc.repeat = (int)k;
        seed(k, st->loc);
        sc.dflt.n = 0;
        sc.start = el.p->todo.n;
        statements(s, st->body, st->nbody);
        if (error_count() > errors) break;
    }
    sc.repeat = -1; sc.start = start; sc.dflt.n = 0;
    for (int i = 0; i < ndflt; i++) PUSH(sc.dflt, keep[i]);
    seed(0, st->loc);
}

static void table(Scope *s, Ast *st)
{
    Do *d = do_new(DO_TABLE, st->loc);
    d->title = ast_text(st->a);
    d->rows = st->sc->rows; d->cols = st->sc->cols; d->cells = st->sc->cells;
    d->lower = st->sc->lower || (st->a->kind == E_NAME && !strcmp(st->a->name, "loss"));
    PUSH(el.p->todo, d);
    PUSH(sc.table, d);
    PUSH(sc.table_ast, st);
    PUSH(sc.table_scope, s);
}

static bool known_axis(const char *name)
{
    if (!strcmp(name, "model") || !strcmp(name, "stream")) return true;
    for (int i = 0; i < el.p->todo.n; i++)
        for (int k = 0; k < el.p->todo.at[i]->var.n; k++) if (el.p->todo.at[i]->var.at[k].name == name) return true;
    return false;
}

static void check_axis(const char *name, Loc at)
{
    VEC(const char *) all = { 0 };
    if (!name || known_axis(name)) return;
    PUSH(all, "model");
    PUSH(all, "stream");
    for (int i = 0; i < el.p->todo.n; i++)
        for (int k = 0; k < el.p->todo.at[i]->var.n; k++) PUSH(all, el.p->todo.at[i]->var.at[k].name);
    const char *near = nearest(name, all.at, all.n);
    error_at(at, "'%s' is no loop variable of the schedule, nor `model` or `stream`%s%s%s", name,
             near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* Tables are computed when all tests are known. */
static void finish_table(Do *d, Ast *st, Scope *s)
{
    Asts used = { 0 };
    VEC(const char *) all = { 0 };
    if (!error_count()) {
        check_axis(d->rows, st->sc->rows_loc);
        check_axis(d->cols, st->sc->cols_loc);
        check_axis(d->cells, st->sc->cells_loc);
    }
    report_names_in(st->a, &used);
    for (int i = 0; i < el.p->todo.n; i++)
        for (int k = 0; el.p->todo.at[i]->kind == DO_TEST && k < el.p->todo.at[i]->report.n; k++)
            PUSH(all, el.p->todo.at[i]->report.at[k]);
    for (int i = 0; i < used.n; i++) {
        bool report = false, twice = false;
        for (int k = 0; k < all.n; k++) report |= !strcmp(all.at[k], used.at[i]->name);
        for (int k = 0; k < d->names.n; k++) twice |= d->names.at[k] == used.at[i]->name;
        Value v;
        if (twice || (!report && eval_quiet(s, used.at[i]).kind != V_ERR)) continue;
        if (!report && scope_find(s, used.at[i]->name, &v)) continue;
        if (!report) {
            const char *near = nearest(used.at[i]->name, all.at, all.n);
            if (!error_count())
                error_at(used.at[i]->loc, "no test reports '%s'%s%s%s", used.at[i]->name, near ? "; did you mean '" :
                         "", near ? near : "", near ? "'?" : "");
            return;
        }
        PUSH(d->names, used.at[i]->name);
    }
    if (!d->names.n) { if (!error_count()) error_at(st->a->loc, "a table shows a value that a test reports"); return; }
    d->value = value_entry(s, st->a, d->names.n, d->names.at, "table", false);
}

static void statements(Scope *s, Ast **body, int n)
{
    for (int i = 0; i < n; i++) {
        Ast *st = body[i];
        bool known;
        switch (st->kind) {
        case S_BIND: bind(s, st); break;
        case S_FOR: loop(s, st); break;
        case S_IF: {
            bool yes = eval_flag(s, st->a, &known);
            if (known) statements(s, yes ? st->body : st->body2, yes ? st->nbody : st->nbody2);
            break;
        }
        case S_TRAIN: train(s, st); break;
        case S_TEST: test(s, st); break;
        case S_LIVE: live(s, st); break;
        case S_REPEAT: repeat(s, st); break;
        case S_TABLE: table(s, st); break;
        case S_TICK: tick(s, st); break;
        default: break;                                   /* resolve.c has seen to the others */
        }
        bool within = st->kind == S_FOR || st->kind == S_REPEAT || st->kind == S_IF;
        if (!within && el.p->todo.n > 100000) { error_at(st->loc, "the schedule has more than 100000 steps"); return; }
    }
}

void schedule_run(Scope *s, Ast **body, int n)
{
    memset(&sc, 0, sizeof sc);
    sc.repeat = -1;
    statements(s, body, n);
    for (int i = 0; i < sc.table.n; i++) finish_table(sc.table.at[i], sc.table_ast.at[i], sc.table_scope.at[i]);
}
