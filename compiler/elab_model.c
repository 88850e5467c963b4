/* elab_model.c: models and their entries. One set of states per model and arguments (Elabmodel); one Version per way
   the schedule uses it (train or test, batch size, field shapes, states that learn): its step runs the body once for a
   batch and writes sums; its finish makes reports of the sums. */
#include <string.h>
#include "elab_int.h"
#include "explain.h"

static VEC(Elabmodel *) models;
static VEC(const char *) misfit;             /* definitions, and fields of streams that were found not to fit: said
                                                once */
static int formals;

Node *formal_new(Dt dt, int rank, const int32_t *dim) { return n_formal(1000 + formals++, dt, rank, dim); }

/* ---- entries */

Node *entry_in(Version *v, BindKind kind, int index, Dt dt, int rank, const int32_t *dim)
{
    Node *n = formal_new(dt, rank, dim);
    Bind b = { kind, index };
    PUSH(v->in, n);
    PUSH(v->bind, b);
    return n;
}

/* Closes a piece of graph as an entry; inputs that nothing reads are left out. */
Entry *entry_close(const char *name, Model *m, int nin, Node **in, const Bind *bind, int nout, Node **out,
                   const Bind *obind, Loc at)
{
    Entry *e = NEW(Entry);
    Node **order, **used = NEWN(Node *, nin + 1), **cap;
    Region *r1;
    int n = graph_order(nout, out, &order), k = 0;
    e->in = NEWN(Bind, nin + 1);
    for (int i = 0; i < nin; i++)
        for (int j = 0; j < n; j++)
            if (order[j] == in[i]) { used[k] = in[i]; e->in[k++] = bind[i]; break; }
    e->out = NEWN(Bind, nout + 1);
    memcpy(e->out, obind, (size_t)nout * sizeof *obind);
    int ncap = region_close2(nout, out, NULL, k, used, &cap, &e->r, &r1);
    e->name = name; e->model = m; e->source = used;
    if (ncap > k) { error_at(at, "a value of one step is used outside it"); return NULL; }
    e->id = el.p->entry.n;
    PUSH(el.p->entry, e);
    return e;
}

/* ---- models */

Elabmodel *model_get(Closure *c, Loc at)
{
    const char *label = v_text(v_def(c)), *key = arena_printf("%d:%s", c->def->loc.file, label);
    for (int i = 0; i < models.n; i++) if (!strcmp(models.at[i]->key, key)) return models.at[i];
    Elabmodel *em = NEW(Elabmodel), *keep = el.em;
    Model *m = NEW(Model);
    PUSH(models, em);
    em->key = key; em->clo = c; em->m = m;
    m->name = c->def->name; m->label = label; m->loc = c->def->loc; m->em = em;
    m->context = "(";
    for (int i = 0; i < c->def->ninputs; i++)
        m->context = arena_printf("%s%s%s : %s", m->context, i ? ", " : "", c->def->inputs[i]->name,
                                  c->def->inputs[i]->type ? ast_text(c->def->inputs[i]->type) : "?");
    m->context = arena_printf("%s)", m->context);
    em->lvl = (Lvl){ .kind = L_MODEL, .tag = graph_uid(), .em = em };
    em->init_seed = formal_new(I64, 0, NULL);
    Inst *inst = el.inst;
    Lvl *lvl = el.lvl;
    Version *v = el.v;
    el.em = em; el.v = NULL; el.inst = NULL; el.lvl = NULL;
    int errors = error_count();
    em->root = inst_new(c, c->def->name, NULL, em, at);
    if (em->root) {
        em->step = var_new(em, arena_printf("%s.step", m->name), "step", ST_COUNT, I64, 0, NULL, n_iconst(I64, 0),
                           m->loc);
        inst_declare(em->root);
    }
    if (!em->root || error_count() > errors) em->broken = true;
    el.em = keep; el.inst = inst; el.lvl = lvl; el.v = v;
    m->id = el.p->model.n;
    PUSH(el.p->model, m);
    return em;
}

/* ---- batches */

static Value batch_vector(Node *n) { return v_tensor(n, 1); }

/* The mean over the items present: what stands at items beyond the count has weight 0. */
Value batch_mean(Value v, Loc at)
{
    (void)at;
    if (explaining) return explain_pool(v, "pool", v);
    if (v.kind != V_TENSOR || !(v.axes & 1) || !el.v->batched) return v;
    Node *w = n_cast(el.v->weight.node, (Dt)v.node->dt);
    int8_t map[MAXDIM];
    memset(map, -1, sizeof map);
    map[0] = 0;
    Node *prod = n_bin(OP_MUL, v.node, n_bcast(w, v.node->rank, v.node->dim, map));
    return v_tensor(n_sum(prod, 1), v.axes & ~1u);
}

static void batch_open(Version *v)
{
    int32_t b = (int32_t)v->batch;
    v->count = entry_in(v, B_COUNT, 0, I64, 0, NULL);
    axis_push(b);
    if (b == 1) {
        v->mask = v->weight = batch_vector(n_splat(float_dt(), 1, 1, &b));
        return;
    }
    Node *lane = n_iota(I64, 1, &b, 0);
    Node *here = n_bin(OP_LT, lane, n_expand(v->count, 1, &b));
    Node *mask = n_cast(here, float_dt());
    v->mask = batch_vector(mask);
    v->weight = batch_vector(n_bin(OP_DIV, mask, n_expand(n_cast(v->count, float_dt()), 1, &b)));
}

/* ---- fields */

static void field_error(Ast *def, Stream *s, const char *name, Loc at)
{
    VEC(const char *) all = { 0 };
    for (int i = 0; i < s->field.n; i++) PUSH(all, s->field.at[i].name);
    const char *list = "", *near = nearest(name, all.at, all.n);
    for (int i = 0; i < all.n; i++) list = arena_printf("%s%s%s", list, i ? ", " : "", all.at[i]);
    error_at(at, "'%s' needs a field '%s', and the stream '%s' has %s%s%s%s", def->name, name, s->name, list, 
             near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* Binds the model's fields: from[k] is the stream's field for the entry's input k. */
static bool bind_fields(Version *v, Scope *call, Stream *s, int *from, Loc at)
{
    Ast *def = v->em->root->def;
    bool ok = true;
    for (int k = 0; k < def->ninputs; k++) {
        Ast *p = def->inputs[k];
        int f = -1;
        for (int i = 0; i < s->field.n; i++) if (s->field.at[i].name == p->name) f = i;
        if (f < 0 && s->field.n == 1 && def->ninputs == 1 && !s->field.at[0].name[0]) f = 0;
        if (f < 0) { field_error(def, s, p->name, at); note_at(p->loc, "declared here"); ok = false; continue; }
        Field *fd = &s->field.at[f];
        from[k] = f;
        if (!p->type) {
            error_at(p->loc, "the field '%s' needs a shape: %s : [n]", p->name, p->name);
            ok = false;
            continue;
        }
        if (fd->rank != p->type->n) {
            error_at(at, "the field '%s' of '%s' is declared %s, and the stream '%s' gives a %s", p->name, def->name,
                     ast_text(p->type), s->name,
                     fd->rank ? arena_printf("tensor of %d ax%s", fd->rank, fd->rank == 1 ? "is" : "es") : "scalar");
            note_at(p->loc, "declared here");
            ok = false;
            continue;
        }
        if (!meet_type(call, p, fd->dim, arena_printf("the stream '%s' gives", s->name), at)) { ok = false; continue; }
        int32_t dim[MAXDIM] = { (int32_t)v->batch };
        memcpy(dim + v->batched, fd->dim, (size_t)fd->rank * sizeof *dim);
        Value x = v_tensor(entry_in(v, B_FIELD, k, fd->dt, fd->rank + v->batched, dim), v->batched);
        bool tok;
        Dt dt = elem_type(p->type, &tok);
        if (tok && dt_float(fd->dt) && !dt_float(dt) && dt != BOOL) {
            error_at(at, "the field '%s' of '%s' is declared %s, and the stream '%s' gives %s: let the stream's own "
                         "field be %s", p->name, def->name,
                     ast_text(p->type), s->name, dt_name(fd->dt), dt_name(dt));
            note_at(p->loc, "declared here");
            ok = false;
            continue;
        }
        x = v_convert(x, dt, p->loc);
        ok &= tok && x.kind == V_TENSOR;
        scope_bind(call, p->name, x, p->loc);
        explain_name(x, p->name, v->em->root, call);
    }
    return ok;
}

/* ---- reports */

static bool find_avgs(Ast *e, Asts *out)
{
    if (!e) return out->n > 0;
    if (e->kind == E_CALL && e->a->kind == E_NAME && !strcmp(e->a->name, "avg")) PUSH(*out, e);
    find_avgs(e->a, out); find_avgs(e->b, out); find_avgs(e->c, out);
    for (int i = 0; i < e->n; i++) find_avgs(e->list[i], out);
    return out->n > 0;
}

/* The sum of e over all entries and the items present, in f64. */
static Node *total_of(Value e)
{
    Version *v = el.v;
    bool own = e.axes & 1;
    Node *n = e.node;
    if (own && v->batch > 1) {
        int8_t map[MAXDIM];
        memset(map, -1, sizeof map);
        map[0] = 0;
        n = n_bin(OP_MUL, n, n_bcast(n_cast(v->mask.node, (Dt)n->dt), n->rank, n->dim, map));
    }
    n = n_cast(n_sum(n, (1u << n->rank) - 1), F64);
    return own || !v->batched ? n : n_bin(OP_MUL, n, n_cast(v->count, F64));
}

static bool avg_args(Scope *s, Ast *call, Value *we, Value *w)
{
    if (call->n < 1 || call->n > 2) {
        error_at(call->loc, "avg(e) or avg(e, w): a value and its weight");
        return false;
    }
    Value e = v_as_float(eval(s, call->list[0]), call->loc);
    if (e.kind != V_TENSOR) return false;
    int rank; int32_t dim[MAXDIM];
    v_shape(e, &rank, dim);
    *w = v_as_float(call->n > 1 ? eval(s, call->list[1]) : v_real(1), call->loc);
    if (w->kind != V_TENSOR) return false;
    *w = v_stretch(*w, rank, dim, call->loc, "the weight of avg()");
    if (w->kind != V_TENSOR) return false;
    uint16_t both = e.axes | w->axes | (el.v->batched ? 1 : 0);
    *w = v_tensor(v_full(*w, both, rank, dim), both);
    *we = v_binary('*', e, *w, call->loc);
    return we->kind == V_TENSOR;
}

static int add_acc(Node *n) { PUSH(el.v->acc, n); return el.v->acc.n - 1; }

/* avg(..): in an objective the weighted mean of this batch, around a report's averages what was summed. */
Value eval_avg(Scope *s, Ast *call)
{
    Version *v = el.v;
    if (el.mode == M_FINISH) {
        for (int i = 0; i < v->avg.n; i++)
            if (v->avg.at[i].ast == call && i >= el.finish_report->first &&
                i < el.finish_report->first + el.finish_report->navg) {
                Node *num = n_slice1(el.finish_acc, 0, v->avg.at[i].acc, 1, 1),
                    *den = n_slice1(el.finish_acc, 0, v->avg.at[i].wacc, 1, 1);
                Value r = v_tensor(n_bin(OP_DIV, n_reshape(num, 0, NULL), n_reshape(den, 0, NULL)), 0);
                r.weak = true;
                return r;
            }
    }
    if (el.mode != M_STEP || !el.lvl || el.lvl->kind != L_MODEL || el.in_report) {
        error_at(call->loc, "avg() stands in a model's report or objective");
        return v_err();
    }
    Value we, w;
    if (!avg_args(s, call, &we, &w)) return v_err();
    Node *mask = v->batched && v->batch > 1 ? v->mask.node : NULL;
    Node *sum[2] = { we.node, w.node };
    for (int i = 0; i < 2; i++) {
        if (mask) {
            int8_t map[MAXDIM];
            memset(map, -1, sizeof map);
            map[0] = 0;
            sum[i] = n_bin(OP_MUL, sum[i], n_bcast(n_cast(mask, (Dt)sum[i]->dt), sum[i]->rank, sum[i]->dim, map));
        }
        sum[i] = n_sum(sum[i], (1u << sum[i]->rank) - 1);
    }
    return explain_pool(v_tensor(n_bin(OP_DIV, sum[0], sum[1]), 0), "avg",
                        explaining ? eval(s, call->list[0]) : v_none());
}

static void report_averages(Scope *s, Report *r, int n, Ast **calls)
{
    r->first = el.v->avg.n;
    for (int i = 0; i < n; i++) {
        Value we, w;
        if (!avg_args(s, calls[i], &we, &w)) return;
        Avg a = { calls[i], 0, 0 };
        a.acc = add_acc(total_of(we));
        a.wacc = add_acc(total_of(w));
        PUSH(el.v->avg, a);
        r->navg++;
    }
}

static void report_mean(Scope *s, Report *r)
{
    el.in_report = true;
    Value e = eval(s, r->ast);
    el.in_report = false;
    if (e.kind == V_ERR) return;
    e = v_as_float(e, r->ast->loc);
    if (e.kind != V_TENSOR) return;
    v_shape(e, &r->rank, r->dim);
    int64_t n = 1;
    for (int i = 0; i < r->rank; i++) n *= r->dim[i];
    if (n > 64) {
        error_at(r->ast->loc, "a report of %lld numbers is too long; sum(..) or mean(..) makes one of them",
                 (long long)n);
        return;
    }
    int32_t flat = (int32_t)n;
    Node *full = v_full(e, e.axes, r->rank, r->dim);
    int32_t dim[MAXDIM];
    int lead = full->rank - r->rank;
    memcpy(dim, full->dim, sizeof dim);
    dim[lead] = flat;
    full = n_reshape(full, lead + 1, dim);
    r->acc = el.v->acc.n;
    for (int i = 0; i < flat; i++) {
        Node *one = n_slice1(full, lead, i, 1, 1);
        add_acc(total_of(v_tensor(n_reshape(one, lead, dim), e.axes)));
    }
    r->nacc = flat;
}

void stmt_report(Scope *s, Ast *st)
{
    if (in_event()) return;
    for (int i = 0; i < st->n; i++) {
        Ast *a = st->list[i];
        Report r = { .ast = a->a, .at = a->loc, .scope = s };
        r.name = a->name ? a->name : a->a->kind == E_NAME ? a->a->name : NULL;
        if (!r.name) { error_at(a->loc, "a reported expression needs a name: report NAME = ..."); continue; }
        bool twice = false;
        for (int k = 0; k < el.v->report.n; k++) twice |= el.v->report.at[k].name == r.name;
        if (twice) { error_at(a->loc, "'%s' is reported twice", r.name); continue; }
        Asts calls = { 0 };
        int errors = error_count();
        if (find_avgs(a->a, &calls)) report_averages(s, &r, calls.n, calls.at);
        else report_mean(s, &r);
        if (error_count() == errors) PUSH(el.v->report, r);
    }
}

static void add_name(Version *v, Report *r, int k, Node *value, Nodes *out)
{
    const char *name = r->rank ? arena_printf("%s[%d]", r->name, k) : r->name;
    PUSH(v->names, name);
    PUSH(v->name_loc, r->ast->loc);
    PUSH(*out, value);
}

/* The entry that makes reports of sums. */
static void version_finish(Version *v, const char *name)
{
    int32_t n = v->acc.n;
    Nodes out = { 0 };
    Node *acc = formal_new(F64, 1, &n);
    el.mode = M_FINISH; el.finish_acc = acc;
    Node *items = n_reshape(n_slice1(acc, 0, 0, 1, 1), 0, NULL);
    for (int i = 0; i < v->report.n; i++) {
        Report *r = &v->report.at[i];
        el.finish_report = r;
        if (!r->navg) {
            for (int k = 0; k < r->nacc; k++)
                add_name(v, r, k, n_bin(OP_DIV, n_reshape(n_slice1(acc, 0, r->acc + k, 1, 1), 0, NULL), items), &out);
            continue;
        }
        Value x = eval(r->scope, r->ast);
        if (x.kind == V_ERR) continue;
        x = v_as_tensor(x, r->at);
        if (x.kind != V_TENSOR) continue;
        Node **order;
        bool clean = x.axes || x.node->rank == 0;
        if (!clean) error_at(r->ast->loc, "a report with avg() is one number, and this is %s", v_show(x));
        for (int k = 0, m = graph_order(1, &x.node, &order); k < m && clean; k++)
            if (order[k]->op == OP_FORMAL && order[k] != acc) {
                error_at(r->ast->loc, "what stands around avg() is computed once, at the end: from averages and "
                                      "constants alone");
                clean = false;
            }
        if (clean) add_name(v, r, 0, n_cast(x.node, F64), &out);
    }
    el.finish_report = NULL;
    el.mode = M_SCHED;
    if (!out.n) return;
    for (int i = 0; i < out.n; i++) out.at[i] = n_reshape(out.at[i], 1, &(int32_t){ 1 });
    Node *all = n_concat(out.n, out.at, 0);
    v->finish = entry_close(arena_printf("%s.finish", name), v->em->m, 1, &acc, &(Bind){ B_FIELD, 0 }, 1, &all,
                            &(Bind){ B_OUT, 0 }, v->em->m->loc);
}

/* ---- versions */

static void reset_vars(Version *v, int nlearn, Var **learn)
{
    Elabmodel *em = v->em;
    for (int i = 0; i < em->var.n; i++) {
        Var *x = em->var.at[i];
        x->in = NULL; x->first = NULL; x->counted = NULL; x->due = (Value){ 0 }; x->moved = false; x->lead = 0;
        x->seen = NULL;
        x->moves = v->train;
        for (int k = 0; k < nlearn; k++) x->moves |= x == learn[k] || x->st->of == learn[k]->st;
    }
    em->step->moves = v->train;
}

static void reset_draws(Inst *i)
{
    i->ndraws = 0; i->call = NULL;
    for (int k = 0; k < i->member.n; k++) {
        if (i->member.at[k].inst) reset_draws(i->member.at[k].inst);
        if (i->member.at[k].list.kind == V_LIST)
            for (int j = 0; j < i->member.at[k].list.n; j++)
                if (i->member.at[k].list.elem[j].kind == V_INST) reset_draws(i->member.at[k].list.elem[j].inst);
    }
}

/* The body for one batch; false if the stream's fields do not fit, which is no fault of the model. */
static bool version_step(Version *v, Scope *call, Stream *s, int *from, Loc at)
{
    Elabmodel *em = v->em;
    v->seed = entry_in(v, B_SEED, 0, I64, 0, NULL);
    v->batched = em->root->def->ninputs > 0 && !explaining;
    if (v->batched) batch_open(v);
    PUSH(v->acc, v->batched ? n_cast(v->count, F64) : n_const(F64, 1));
    PUSH(v->acc, NULL);
    Node *step = var_value(em->step).node;
    if (v->train) {
        step = n_bin(OP_ADD, step, n_iconst(I64, 1));
        var_set(em->step, v_tensor(step, 0), at);
    }
    em->step->counted = step;
    draws = (DrawContext){ .seed = v->seed, .step = step, .path = em->root->path };
    draws.item = v->batched ? n_iota(I64, 1, &(int32_t){ (int32_t)v->batch }, 0) : n_iconst(I64, 0);
    draws.item_axes = v->batched ? 1 : 0;
    if (em->root->def->ninputs && !bind_fields(v, call, s, from, at)) return false;
    bool done = false;
    exec(call, em->root->def->body, em->root->def->nbody, &done);
    for (int i = 0, n = em->var.n; i < n; i++) {
        Var *x = em->var.at[i];
        if (x->st->kind != ST_STATE || !x->moves || x->counted || x->when || x->event) continue;
        Var *c = var_count(x);
        var_set(c, v_tensor(n_bin(OP_ADD, var_value(c).node, n_iconst(I64, 1)), 0), at);
    }
    if (!v->acc.at[1]) v->acc.at[1] = n_const(F64, 0);
    return true;
}

static Entry *version_close(Version *v, const char *name, Loc at)
{
    VEC(Node *) out = { 0 };
    VEC(Bind) bind = { 0 };
    for (int i = 0; i < v->em->var.n; i++) {
        Var *x = v->em->var.at[i];
        if (!x->in || x->cur.node == x->first || !x->moves || (v->event && x->st->kept)) continue;
        if (v->event) PUSH(v->event->moved, x->st);
        Bind b = { B_STATE, x->st->id };
        PUSH(out, x->cur.node);
        PUSH(bind, b);
    }
    if (v->event)
        return out.n ? entry_close(name, v->em->m, v->in.n, v->in.at, v->bind.at, out.n, out.at, bind.at, at) : NULL;
    Node **acc = NEWN(Node *, v->acc.n);
    for (int i = 0; i < v->acc.n; i++) acc[i] = n_reshape(v->acc.at[i], 1, &(int32_t){ 1 });
    Bind b = { B_OUT, 0 };
    PUSH(out, n_concat(v->acc.n, acc, 0));
    PUSH(bind, b);
    if (v->emits && v->emitted.kind == V_TENSOR && v->generates) {        /* B_OUT 1: what generate samples from */
        int rank; int32_t dim[MAXDIM];
        v_shape(v->emitted, &rank, dim);
        Node *x = v_full(v->emitted, 1, rank, dim);
        Bind g = { B_OUT, 1 };
        PUSH(out, n_reshape(x, rank, x->dim + 1));
        PUSH(bind, g);
    }
    Entry *e = entry_close(name, v->em->m, v->in.n, v->in.at, v->bind.at, out.n, out.at, bind.at, at);
    if (e) for (int i = 0; i < v->objective.n; i++) PUSH(e->objective, v->objective.at[i]);
    return e;
}

/* The entry that writes the births of the kept states. */
static void version_fresh(Version *v, const char *name, Loc at)
{
    if (!v->kept.n) return;
    Bind *bind = NEWN(Bind, v->kept.n);
    for (int i = 0; i < v->kept.n; i++) bind[i] = (Bind){ B_STATE, v->kept.at[i]->st->id };
    v->fresh = entry_close(arena_printf("%s.fresh", name), v->em->m, v->in.n, v->in.at, v->bind.at, v->kept.n,
                           v->kept_born.at, bind, at);
}

static const char *version_key(Stream *s, int64_t batch, bool train, int nlearn, Var **learn)
{
    const char *k = arena_printf("%s %lld", train ? "train" : "test", (long long)batch);
    for (int i = 0; s && i < s->field.n; i++) {
        Field *f = &s->field.at[i];
        k = arena_printf("%s %s:%s", k, f->name, dt_name(f->dt));
        for (int d = 0; d < f->rank; d++) k = arena_printf("%s,%d", k, f->dim[d]);
    }
    for (int i = 0; i < nlearn; i++) k = arena_printf("%s +%s", k, learn[i]->st->path);
    return k;
}

Version *version_get(Elabmodel *em, Stream *s, int64_t batch, bool train, bool lanes, int nlearn, Var **learn, Loc at,
                     int *from)
{
    /* a model that is declared wrongly: its body is looked at once */
    if (!em->root || (em->broken && em->version.n)) return NULL;
    const char *key = arena_printf("%s%s", version_key(s, batch, train, nlearn, learn), lanes ? " lanes" : "");
    for (int i = 0; i < em->version.n; i++)
        if (!strcmp(em->version.at[i]->key, key)) {
            memcpy(from, em->version.at[i]->from, sizeof em->version.at[i]->from);
            return em->version.at[i]->step ? em->version.at[i] : NULL;
        }
    Version *v = version_make(em, s, batch, train, lanes, NO_TOKENS, nlearn, learn, at, from);
    if (v) v->key = key;
    return v && v->step ? v : NULL;
}

/* Elaborates the body anew; false if the stream's fields do not fit. */
static bool version_run(Version *v, const char *name, int nlearn, Var **learn, Loc at)
{
    Elabmodel *em = v->em;
    struct El save = el;
    Axes keep_axes = axes;
    DrawContext keep_draws = draws;
    int errors = v->errors = error_count();
    bool broken = em->broken, graph_on = graphing;
    el.v = v; el.em = em; el.mode = M_STEP; el.lvl = &em->lvl; el.inst = em->root;
    axes.n = 0; el.frame = NULL; el.inner.n = el.use.n = 0;
    graphing = graphing && !v->event;
    reset_vars(v, nlearn, learn);
    reset_draws(em->root);
    Scope *call = scope_new(em->root->scope, at);
    em->root->call = call;
    if (v->event) explain_event(em, v->event);
    else explain_model(em, v->batch, v->train);
    bool fits = version_step(v, call, v->stream, v->from, at);
    if (!broken && error_count() == errors) v->step = version_close(v, name, at);
    if (!broken && !v->event && error_count() == errors) version_fresh(v, name, at);
    if (!broken && !v->event && !v->generates && error_count() == errors) version_finish(v, name);
    for (int i = 0; i < em->var.n; i++) em->var.at[i]->ever_moved |= em->var.at[i]->moved;
    el.mode = save.mode; el.v = save.v; el.em = save.em; el.lvl = save.lvl; el.inst = save.inst;
    axes = keep_axes; draws = keep_draws;
    graphing = graph_on;
    PUSH(em->version, v);
    if (error_count() > errors) v->step = NULL;
    return fits;
}

/* A version without a step is one with errors. */
Version *version_make(Elabmodel *em, Stream *s, int64_t batch, bool train, bool lanes, Tokens tokens, int nlearn,
                      Var **learn, Loc at, int *from)
{
    Ast *def = em->root->def;
    const char *fields = arena_printf("%p %s", (void *)def, version_key(s, 0, false, 0, NULL));
    for (int i = 0; i < misfit.n; i++) if (!strcmp(misfit.at[i], fields)) return NULL;
    if (def->ninputs && !s) {
        error_at(at, "'%s' runs over (%s), so say on which stream", def->name, def->inputs[0]->name);
        return NULL;
    }
    if (def->ninputs > 16) { error_at(def->loc, "a model has at most 16 fields"); return NULL; }
    Version *v = NEW(Version);
    v->key = ""; v->em = em; v->stream = s; v->batch = batch; v->train = train; v->lanes = lanes;
    v->generates = tokens != NO_TOKENS; v->streaming = tokens == TOKEN_BY_TOKEN;
    const char *name = arena_printf("%s.%s.%lld.%d", em->m->name, train ? "train" : "test", (long long)batch,
                                    el.p->entry.n);
    bool broken = em->broken, fits = version_run(v, name, nlearn, learn, at);
    em->trained |= train && fits;
    if (!fits && !v->generates) PUSH(misfit, fields);
    if (broken || error_count() > v->errors) { em->broken |= fits && !v->generates; v->step = NULL; return v; }
    memcpy(from, v->from, sizeof v->from);
    return v;
}

/* What an event does to the states of a model that is used as in version `as`; NULL: nothing, or errors. */
Entry *version_event(const Version *as, Event *e)
{
    Version *v = NEW(Version);
    v->key = ""; v->em = as->em; v->stream = as->stream; v->batch = as->batch; v->lanes = as->lanes; v->event = e;
    version_run(v, arena_printf("%s.tick.%s.%d", v->em->m->name, e->name, el.p->entry.n), 0, NULL, e->loc);
    v->em->broken |= error_count() > v->errors;
    return v->step;
}

/* ---- the end: birth entries, and what the level graph must satisfy */

/* `with fixed`: a rule that does nothing, on a state that no objective may depend on. */
static bool meant_to_stay(Var *v)
{
    diag_quiet(true);
    Value r = var_rule(v, v->st->loc);
    diag_quiet(false);
    return r.kind == V_DEF && !r.clo->def->nbody;
}

/* The largest instance around v none of whose states is moved; NULL if others of v's own instance are. */
static Inst *unmoved_around(Var *v)
{
    Inst *all = NULL;
    for (Inst *i = v->inst; i && i->parent; i = i->parent) {
        Var **var; int n;
        inst_vars(i, &var, &n);
        for (int k = 0; k < n; k++) if (var[k]->ever_moved) return all;
        all = i;
    }
    return all;
}

static void check_states(Elabmodel *em)
{
    for (int i = 0; i < em->var.n; i++) {
        Var *v = em->var.at[i];
        v->st->moved = v->ever_moved; v->st->read = v->ever_read;
        if (v->st->kind == ST_LEARN && em->trained && !v->ever_moved && !v->fixed && !meant_to_stay(v)) {
            Inst *all = unmoved_around(v);            /* an instance that nothing uses is one mistake */
            error_at(all ? all->at : v->st->loc, "nothing moves '%s': no objective depends on it",
                     all ? all->path : v->st->path);
        }
        if (v->st->kind == ST_STATE && em->trained && !v->ever_moved)
            error_at(v->st->loc, "nothing moves the state '%s': no `<-` is reached", v->st->path);
        if (v->st->kind == ST_STATE && em->trained && v->ever_moved && !v->ever_read)
            error_at(v->st->loc, "nothing reads the state '%s'", v->st->path);
    }
}

/* The steps of the longest-trained instance, or -1: not known, or none. */
static int64_t most_steps(const Model *m)
{
    int64_t most = 0, *steps = NEWN(int64_t, el.p->ninst + 1);
    for (int i = 0; i < el.p->todo.n; i++) {
        const Do *d = el.p->todo.at[i];
        if (d->model != m) continue;
        if (d->learning || d->epochs) return -1;
        if (d->kind == DO_COPY) steps[d->inst] = steps[d->from];
        if (d->kind == DO_TRAIN) steps[d->inst] += d->count;
        if (d->inst >= 0 && steps[d->inst] > most) most = steps[d->inst];
    }
    return most ? most : -1;
}

static void warn_of_steps(Elabmodel *em)
{
    int64_t most = em->trained ? most_steps(em->m) : -1;
    for (int i = 0; i < em->var.n && most > 0; i++) {
        Var *v = em->var.at[i];
        if ((v->st->kind != ST_LEARN && v->st->kind != ST_STATE) || v->st->kept || v->fixed || v->st->every <= most)
            continue;
        warn_at(v->clock_at, "`every %lld`, and the schedule trains '%s' for %lld step%s at most: '%s' never moves",
                (long long)v->st->every, em->m->name,
                (long long)most, most == 1 ? "" : "s", v->st->path);
    }
}

/* Events, of which nobody knows how often they come, are last. */
static bool faster(const Level *a, const Level *b) { return a->every && (!b->every || a->every < b->every); }

/* States that learn at one frequency by one rule are a level. */
static void find_levels(Elabmodel *em)
{
    Model *m = em->m;
    for (int i = 0; i < em->var.n; i++) {
        State *st = em->var.at[i]->st;
        if (st->kind != ST_LEARN && st->kind != ST_STATE) continue;
        Level *found = NULL;
        for (int k = 0; k < m->level.n; k++) {
            Level *l = m->level.at[k];
            if (l->every == st->every && l->clock == st->clock && l->rule == st->rule &&
                l->learned == (st->kind == ST_LEARN) && (st->rule || l->inst == em->var.at[i]->inst))
                found = l;
        }
        if (!found) {
            found = NEW(Level);
            found->every = st->every; found->clock = st->clock; found->loc = st->loc; found->rule = st->rule;
            found->learned = st->kind == ST_LEARN; found->inst = em->var.at[i]->inst;
            PUSH(m->level, found);
        }
        st->level = found;
    }
    for (int i = 1; i < m->level.n; i++)                  /* by frequency, fastest first */
        for (int k = i; k > 0 && faster(m->level.at[k], m->level.at[k - 1]); k--) {
            Level *t = m->level.at[k]; m->level.at[k] = m->level.at[k - 1]; m->level.at[k - 1] = t;
        }
    for (int i = 0; i < m->level.n; i++) {
        Level *l = m->level.at[i];
        const char *common = NULL;
        for (int k = 0; k < em->var.n; k++)
            if (em->var.at[k]->st->level == l && em->var.at[k]->inst) {
                const char *p = em->var.at[k]->inst->path;
                size_t n = 0;
                if (!common) { common = p; continue; }
                for (size_t c = 0; ; c++) {
                    bool ea = !common[c] || common[c] == '.', eb = !p[c] || p[c] == '.';
                    if (ea && eb) n = c;
                    if (common[c] != p[c] || !common[c]) break;
                }
                common = arena_strndup(common, n);
            }
        l->name = common && *common ? common : m->name;
        for (int k = 0; k < em->version.n; k++) {
            Version *v = em->version.at[k];
            for (int o = 0; v->train && o < v->objective.n; o++)
                for (int j = 0; j < v->objective.at[o]->nw; j++)
                    if (v->objective.at[o]->state[j]->level == l && !l->objective)
                        l->objective = v->objective.at[o]->name;
        }
    }
}

void models_finish(void)
{
    for (int i = 0; i < models.n; i++) {
        Elabmodel *em = models.at[i];
        Model *m = em->m;
        if (em->broken || !em->root) continue;
        event_entries(em);
        if (em->broken) continue;
        check_states(em);
        warn_of_steps(em);
        find_levels(em);
        Node **out = NEWN(Node *, m->state.n + 1);
        Bind *bind = NEWN(Bind, m->state.n + 1);
        for (int k = 0; k < m->state.n; k++) { out[k] = m->state.at[k]->init; bind[k] = (Bind){ B_STATE, k }; }
        m->init = entry_close(arena_printf("%s.init.%d", m->name, m->id), m, 1, &em->init_seed, &(Bind){ B_SEED, 0 },
                              m->state.n, out, bind, m->loc);
    }
    models.n = misfit.n = 0;
}
