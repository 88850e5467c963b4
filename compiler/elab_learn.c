/* elab_learn.c: how states move. `minimize` takes the gradient at once (vjp) and hands it to each state's rule; a rule
   is a level body with one item, inlined for each tensor, and moves under its state's clock (elab_clock.c); `<-` moves
   a `state`. All states that one minimize moves change at once: gradients and rule arguments are taken before any of
   them moves. */
#include <string.h>
#include "elab_int.h"
#include "explain.h"

/* ---- rules */

/* Which of x, u, w an input of a rule is; -1: none. */
static int use_index(const Ast *input)
{
    const char *name = input->name;
    return !name[0] || name[1] || input->b ? -1 : name[0] == 'x' ? 0 : name[0] == 'u' ? 1 : name[0] == 'w' ? 2 : -1;
}

static bool rule_inputs_supported(Ast *def)
{
    for (int i = 2; i < def->ninputs; i++)
        if (use_index(def->inputs[i]) < 0) {
            error_at(def->inputs[i]->loc, "a rule takes the tensor that it moves, its gradient, and of the tensor's "
                                          "uses x, u and w, under these names");
            return false;
        }
    if (def->ninputs >= 2) return true;
    error_at(def->loc, "a rule takes the tensor that it moves and its gradient: rule %s(..) (W, g) { .. }", def->name);
    return false;
}

/* Opens the rule's scopes: parameters, dimension names, W and g; pushes map axes for leading axes beyond the declared
   shape. */
static bool rule_enter(Lvl *l, Closure *c, Var *w, int *extra, int *lead_before)
{
    Ast *def = c->def;
    int rank; int32_t dim[MAXDIM];
    Scope *ps = scope_new(file_scope(def->loc.file), c->at);
    *extra = 0; *lead_before = w->lead;
    if (!rule_inputs_supported(def) || !bind_params(ps, def, c)) return false;
    Scope *dims = scope_new(ps, c->at);
    Value now = var_value(w);
    v_shape(now, &rank, dim);
    Ast *type = def->inputs[0]->type;
    if (type) {
        *extra = rank - type->n;
        if (*extra < 0) {
            error_at(c->at, "the rule '%s' moves tensors of rank %d, and '%s' has rank %d; by_rank(matrix, other) "
                            "gives each its own rule", def->name,
                     type->n, w->st->path, rank);
            note_at(def->inputs[0]->loc, "declared here");
            *extra = 0;
            return false;
        }
        if (!meet_type(dims, def->inputs[0], dim + *extra, arena_printf("'%s' is", w->st->path), c->at)) {
            *extra = 0;
            return false;
        }
        for (int k = 0; k < *extra; k++) axis_push(dim[k]);
        w->lead += *extra;
        w->lead_at = axes.n - w->lead;
        raise_lead(&l->g, *extra);
        for (int k = 0; k < 2; k++) raise_lead(&l->use[k], *extra);
    }
    l->run = scope_new(dims, c->at);
    l->init = scope_new(dims, c->at);
    l->lead = w->lead;
    return true;
}

/* Binds x, u, w where the rule names them; false after a message. */
static bool bind_uses(Lvl *l, Closure *c, Var *w)
{
    for (int i = 2; i < c->def->ninputs; i++) {
        Ast *in = c->def->inputs[i];
        Value v = l->use[use_index(in)];
        int rank; int32_t dim[MAXDIM];
        if (v.kind != V_TENSOR) {
            const Seen *s = l->looked;
            const char *rule = c->def->name;
            if (w->st->rank < 2)
                error_at(c->at, "the rule '%s' sees how a matrix is used, and '%s' is none; by_rank(matrix, other) "
                                "gives each its own rule", rule, w->st->path);
            else if (!s)
                error_at(c->at, "the rule '%s' sees how '%s' is used; here it is given a gradient alone: write "
                                "%s(..)(W, g, x, u, w)", rule, w->st->path, rule);
            else if (s->otherwise) {
                error_at(s->at, "'%s' is used here otherwise than as W @ x, W(x) or x @ W', so the rule '%s' does not "
                                "see how", w->st->path, rule);
                note_at(c->at, "the rule is given here");
            }
            return false;
        }
        v_shape(v, &rank, dim);
        if (in->type && rank != in->type->n) {
            error_at(in->loc, "'%s' is declared %s, and of '%s' it is %s", in->name, ast_text(in->type), w->st->path,
                     v_dims(v));
            return false;
        }
        if (in->type && !meet_type(l->run->parent, in, dim, arena_printf("for '%s' it is", w->st->path), c->at))
            return false;
        scope_bind(l->run, in->name, v, c->at);
    }
    return true;
}

/* Binds W and g. */
static void rule_scopes(Lvl *l, Closure *c, Var *w)
{
    Value born = w->born;
    raise_lead(&born, w->lead);
    scope_bind(l->run, c->def->inputs[0]->name, v_none(), c->at);
    l->run->first->var = w;
    scope_bind(l->run, c->def->inputs[1]->name, l->g, c->at);
    scope_bind(l->init, c->def->inputs[0]->name, born, c->at);
    l->params = l->run->parent->parent;
}

/* A model's state moves once a step: its rule's arguments, and those of rules among them, are one value each. */
static bool arguments_alike(const Closure *c, const Var *w)
{
    for (int i = 0; i < c->n; i++) {
        Value v = c->arg[i];
        if (v.kind == V_DEF && !arguments_alike(v.clo, w)) return false;
        if (v.kind != V_TENSOR || !v.axes) continue;
        error_at(c->argloc[i], "'%s' moves once a step, and this argument of its rule is each item's own; pool() makes "
                               "one value of a batch", w->st->path);
        return false;
    }
    return true;
}

/* Moves w by the rule c with gradient g; t counts its updates; use: x, u, w. seen says why there are none; NULL: nobody
   looked. */
static void apply_rule(Closure *c, Var *w, Value g, const Value *use, const Seen *seen, Value t, const char *path,
                       Moved *set, bool g_given, bool asleep)
{
    static int depth;
    Lvl *l = NEW(Lvl);
    *l = (Lvl){ .kind = L_RULE, .frame = w->frame, .parent = el.lvl, .tag = graph_uid(), .em = el.em,
                .rule = c, .w = w, .g = g, .t = t, .path = path, .set = set, .looked = seen, .g_given = g_given,
                .asleep = asleep };
    memcpy(l->use, use, sizeof l->use);
    /* taken at a place of the rule's own states, and a constant to its objectives */
    if (c->def->ninputs >= 2 && c->def->inputs[1]->b) {
        l->g.node = n_stop(l->g.node, l->tag);
        for (int k = 0; k < 3; k++) if (l->use[k].kind == V_TENSOR) l->use[k].node = n_stop(l->use[k].node, l->tag);
    }
    Lvl *keep = el.lvl;
    Inst *inst = el.inst;
    DrawContext draw = draws;
    int extra, lead;
    Axes outside = axes;
    if (!w->inner && (!keep || keep->kind != L_RULE)) {
        if (!arguments_alike(c, w)) return;
        axes.n = 0;                                       /* a model's state has no lanes */
    }
    if (depth > 50) { error_at(c->at, "the rule '%s' applies itself without end", c->def->name); return; }
    depth++;
    bool ok = rule_enter(l, c, w, &extra, &lead);
    if (ok) rule_scopes(l, c, w);
    if (ok && bind_uses(l, c, w)) {
        el.lvl = l; el.inst = NULL;
        draws.path = path; draws.ndraws = 0;
        draws.item = n_iconst(I64, 0); draws.item_axes = 0;
        bool done = false;
        exec(l->run, c->def->body, c->def->nbody, &done);
    }
    el.lvl = keep; el.inst = inst; draws = draw;
    axes = outside;
    w->lead = lead;
    if (!c->def->nbody) w->fixed = true;
    depth--;
}

/* `adamw(lr)(W, e)` or `then(W, g)` inside a rule. False if this call only gives the rule its arguments. */
bool apply_rule_call(Scope *s, Value f, int n, Value *arg, Loc at)
{
    (void)s;
    Lvl *l = el.lvl;
    Ast *def = f.clo->def;
    if (!l || l->kind != L_RULE || n < 2 || arg[0].kind != V_TENSOR || arg[0].state != l->w->st) return false;
    if (n > 2 && n != def->ninputs) {
        error_at(at, "a rule is applied to the tensor and a gradient: %s(W, g)", def->name);
        return true;
    }
    if (!rule_inputs_supported(def)) return true;
    if (def->inputs[1]->b) {
        error_at(at, "the rule '%s' asks for the gradient elsewhere (g at E); it moves a state itself and is not "
                     "applied inside another rule", f.clo->def->name);
        return true;
    }
    if (arg[0].node != var_value(l->w).node) {
        error_at(at, "a rule moves W as it is now; this is an older value of it");
        return true;
    }
    Value g = v_as_float(arg[1], at);
    if (g.kind != V_TENSOR) return true;
    int rank; int32_t dim[MAXDIM];
    Value w = var_value(l->w);
    v_shape(w, &rank, dim);
    bool same = g.node == l->g.node && l->g_given;
    g = v_stretch(v_convert(g, l->w->st->dt, at), rank, dim, at, "the gradient given to the rule");
    if (g.kind != V_TENSOR) return true;
    Value use[3] = { 0 };
    if (same) memcpy(use, l->use, sizeof use);
    for (int i = 2; i < n; i++) use[use_index(def->inputs[i])] = v_as_float(arg[i], at);
    const char *name = def->name;
    for (int i = 0; i < l->ncalls; i++) if (l->calls[i] == name) name = arena_printf("%s%d", name, l->ncalls);
    if (l->ncalls < 16) l->calls[l->ncalls++] = def->name;
    apply_rule(f.clo, l->w, g, use, same ? l->looked : NULL, l->t, arena_printf("%s.%s", l->path, name), l->set, same,
               l->asleep);
    return true;
}

/* The same for the rule of an inner level's state: a carry beside it. */
static Var *inner_rule_state(Lvl *l, const char *path, Ast *name, Value x, Dt dt, int rank, const int32_t *dim)
{
    int full_rank = rank + l->lead;
    int32_t full[MAXDIM];
    uint16_t may = l->w->frame->state_axes;
    for (int k = 0; k < l->lead; k++) may |= (uint16_t)(1u << (axes.n - l->lead + k));
    if (x.kind == V_TENSOR && ((node_frames(x.node) & l->w->frame->bit) || (x.axes & ~may))) {
        error_at(name->loc, "the initial value of '%s' may use %s and constant arguments only", name->name,
                 l->rule->def->inputs[0]->name);
        return NULL;
    }
    for (int k = 0; k < l->lead; k++) full[k] = axes.size[axes.n - l->lead + k];
    memcpy(full + l->lead, dim, (size_t)rank * sizeof *dim);
    x = v_stretch(x, rank, dim, name->loc, "the initial value");
    for (int k = l->lead - 1; k >= 0 && x.kind == V_TENSOR; k--) x = v_lower_axis(x, axes.n - l->lead + k);
    if (x.kind != V_TENSOR) return NULL;
    Var *v = inner_new(l->w->lvl, path, name->name, ST_RULE, x, dt, full_rank, full, name->loc);
    v->st->of = l->w->st;
    v->keep = l->w->keep;
    carry_open(v->frame, v);
    return v;
}

/* A rule's own `state` or `learn`, or one of an instance in a rule: found by its path, or born now, in the init graph,
   of values of scope s. */
static Var *rule_state(Scope *s, Ast *st, Ast *name, Lvl *l, Inst *in)
{
    const char *path = arena_printf("%s.%s", in ? in->path : l->path, name->name);
    int rank; int32_t dim[MAXDIM], full[MAXDIM];
    Dt dt;
    bool inner = l->w->inner;
    Var *v = var_find(el.em, path);
    if (v && v->inner == inner && (!inner || v->frame)) return v;
    Mode mode = el.mode;
    DrawContext draw = draws;
    if (!inner) el.mode = M_INIT;
    if (!inner)
        draws = (DrawContext){ .seed = el.em->init_seed, .step = n_iconst(I64, 0), .item = n_iconst(I64, 0),
                               .path = path };
    Value x = init_value(el.em, path, s, st, name->loc, &rank, dim, &dt);
    for (int k = 0; in && k < in->init.n && x.kind != V_ERR; k++)
        if (in->init.at[k].name == name->name)
            x = v_stretch(v_convert(in->init.at[k].v, dt, in->init.at[k].at), rank, dim, in->init.at[k].at,
                          arena_printf("'%s'", path));
    el.mode = mode;
    draws = draw;
    if (x.kind == V_ERR) return NULL;
    if (inner) return inner_rule_state(l, path, name, x, dt, rank, dim);
    uint16_t lead = 0;
    for (int k = 0; k < l->lead; k++) {
        int ax = axes.n - l->lead + k;
        lead |= (uint16_t)(1u << ax);
        full[k] = axes.size[ax];
    }
    memcpy(full + l->lead, dim, (size_t)rank * sizeof *dim);
    Node *born = v_full(x, lead, rank, dim);
    Node **order;
    for (int i = 0, n = graph_order(1, &born, &order); i < n; i++)
        if (order[i]->op == OP_FORMAL && order[i] != el.em->init_seed) {
            error_at(st->a->loc, "the initial value of '%s' may use %s and constant arguments only", name->name,
                     l->rule->def->inputs[0]->name);
            return NULL;
        }
    v = var_new(el.em, path, name->name, ST_RULE, dt, rank + l->lead, full, born, name->loc);
    v->st->of = l->w->st;
    return v;
}

/* What a rule's state is now: declared in scope s, of the instance in, or of the rule itself. */
static void rule_owns(Lvl *l, Var *v, Ast *st, Scope *s, Inst *in)
{
    v->cl = st->cl; v->cl_scope = s; v->inst = in; v->lvl = l; v->lead = l->lead; v->lead_at = axes.n - l->lead;
    v->learn = st->kind == S_LEARN; v->moved = false; v->counted = NULL; v->due = (Value){ 0 };
    v->moves = l->w->moves;
    var_clock(v);
    PUSH(l->own, v);
}

/* A state of an instance in a rule. */
Var *rule_part(Inst *in, Scope *s, Ast *st, Ast *name)
{
    Var *v = rule_state(s, st, name, in->rule, in);
    if (v) rule_owns(in->rule, v, st, s, in);
    return v;
}

/* `learn m = Memory(o)`: its states are states of the rule. */
static Value rule_instance(Scope *s, Ast *st, const char *name, Lvl *l, Closure *block)
{
    Inst *in = inst_new(block, arena_printf("%s.%s", l->path, name), NULL, el.em, st->loc);
    if (!in) return v_err();
    in->rule = l; in->inner = l->w->inner;
    in->cl = st->cl; in->cl_scope = s;
    inst_declare(in);
    return (Value){ .kind = V_INST, .inst = in, .loc = st->loc };
}

void rule_declare(Scope *s, Ast *st)
{
    Lvl *l = el.lvl;
    bool can = !st->cl || !(st->cl->keep || st->cl->mode || st->cl->in || st->cl->from);
    Value block = st->type || !st->a || st->drawn ? v_none() : eval_quiet(l->init, st->a);
    if (!can) error_at(st->loc, "a rule's state takes `every` and `with` only");
    for (int i = 0; i < st->nnames; i++) {
        Ast *name = st->names[i];
        if (block.kind == V_DEF && block.clo->def && block.clo->def->kind == D_BLOCK) {
            scope_bind(s, name->name, can ? rule_instance(s, st, name->name, l, block.clo) : v_err(), name->loc);
            continue;
        }
        Var *v = can ? rule_state(l->init, st, name, l, NULL) : NULL;
        scope_bind(s, name->name, v ? v_none() : v_err(), name->loc);
        if (!v) continue;
        rule_owns(l, v, st, s, NULL);
        for (Binding *b = s->first; b; b = b->next) if (b->name == name->name) b->var = v;
    }
}

/* every n { .. } in a rule runs at this tensor's updates n, 2n, ..; every when c { .. } at those for which c holds. */
void stmt_every(Scope *s, Ast *st)
{
    Lvl *l = el.lvl;
    bool done = false;
    int64_t n = 0;
    Value v = st->op == 'w' ? condition(s, st->a) : eval(s, st->a);
    if (v.kind == V_ERR) return;
    if (v.kind == V_EVENT) { event_block(s, st, v.event); return; }
    if (l->asleep) return;
    if (st->op != 'w' && (!v_integer(v, &n) || n < 1)) {
        error_at(st->a->loc, "a period is a whole number of at least 1, known when compiling, not %s", v_show(v));
        return;
    }
    Scope *in = scope_new(s, st->loc);
    if (n == 1) { exec(in, st->body, st->nbody, &done); return; }
    explain_clock(n ? arena_printf("every %lld", (long long)n) : arena_printf("every when %s", ast_text(st->a)));
    Nodes cut = { 0 };
    add_scope(&cut, s);
    add_value(&cut, l->t);
    Snap snap = snap_begin();
    exec(in, st->body, st->nbody, &done);
    explain_clock(NULL);
    snap_end(snap, n ? is_due(l->t, n) : v, &cut);
}

/* total(e): the sum of e over all tensors that this minimize moves in this step. */
Value eval_total(Scope *s, Ast *call)
{
    (void)s;
    Lvl *l = el.lvl;
    if (!l || l->kind != L_RULE || call->n != 1) {
        error_at(call->loc, "total(e) stands in a rule: the sum of e over all tensors that one `minimize` moves");
        return v_err();
    }
    if (!l->g_given) {
        error_at(call->loc, "total() in a rule that another rule applies to a changed gradient has no meaning: the "
                            "others' changed gradients are not known here");
        return v_err();
    }
    Value sum = v_int(0);
    for (int j = 0; j < l->set->n; j++) {
        Scope *sj = scope_new(l->params, call->loc);
        scope_bind(sj, l->rule->def->inputs[0]->name, l->set->w[j], call->loc);
        scope_bind(sj, l->rule->def->inputs[1]->name, l->set->g[j], call->loc);
        Value e = v_as_float(eval(sj, call->list[0]), call->loc);
        int rank; int32_t dim[MAXDIM];
        if (e.kind != V_TENSOR) return v_err();
        v_shape(e, &rank, dim);
        if (rank || e.axes) {
            error_at(call->list[0]->loc, "total() adds up scalars, and this is %s; sum() makes one of it", v_show(e));
            return v_err();
        }
        if (l->set->due[j].kind == V_TENSOR) e = v_select(l->set->due[j], e, v_real(0), call->loc);
        sum = v_binary('+', sum, e, call->loc);
    }
    return sum;
}

/* ---- minimize */

/* The states named by `wrt`. */
static bool wrt_add(Value v, Loc at, Var ***vars, int *n, int *cap)
{
    if (v.kind == V_ERR) return false;
    if (v.kind == V_LIST) {
        for (int i = 0; i < v.n; i++) if (!wrt_add(v.elem[i], at, vars, n, cap)) return false;
        return true;
    }
    if (v.kind == V_INST) {
        Var **in; int k;
        inst_vars(v.inst, &in, &k);
        for (int i = 0; i < k; i++) {
            if (in[i]->st->kind != ST_LEARN && !in[i]->learn) continue;
            vec_grow((void **)vars, cap, *n, sizeof **vars);
            (*vars)[(*n)++] = in[i];
        }
        return true;
    }
    Var *x = v.kind == V_TENSOR && v.state ? var_of(v.state) : NULL;
    if (!x) { error_at(at, "`wrt` takes states and instances, not %s", v_show(v)); return false; }
    vec_grow((void **)vars, cap, *n, sizeof **vars);
    (*vars)[(*n)++] = x;
    return true;
}

typedef struct { int n, cap; Var **var; } Vars;

static bool in_vars(const Vars *v, const Var *x)
{
    for (int i = 0; i < v->n; i++) if (v->var[i] == x) return true;
    return false;
}

/* What the `wrt` of the other minimizes in this body name: not for a minimize without `wrt`. */
static Vars named_elsewhere(Scope *s, Ast *st, Ast **body, int n)
{
    Vars all = { 0 };
    for (int i = 0; i < n; i++)
        if (body[i] != st && body[i]->kind == S_MINIMIZE && body[i]->b) {
            Value v = eval_quiet(s, body[i]->b);
            diag_quiet(true);
            if (v.kind != V_ERR) wrt_add(v, body[i]->loc, &all.var, &all.n, &all.cap);
            diag_quiet(false);
        }
    return all;
}

/* What a minimize may move; false after a message. */
static bool candidates(Scope *s, Ast *st, Lvl *l, Vars *out)
{
    Vars c = { 0 };
    if (st->b) return wrt_add(eval(s, st->b), st->b->loc, &out->var, &out->n, &out->cap);
    Ast *def = l->kind == L_RULE ? l->rule->def : l->kind == L_LEVEL ? l->ast : el.em->root->def;
    Vars not = named_elsewhere(s, st, def->body, def->nbody);
    int n = l->kind == L_RULE ? l->own.n : l->kind == L_LEVEL ? el.inner.n : el.em->var.n;
    for (int i = 0; i < n; i++) {
        Var *v = l->kind == L_RULE ? l->own.at[i] : l->kind == L_LEVEL ? el.inner.at[i] : el.em->var.at[i];
        bool mine = l->kind == L_RULE ? v->learn : l->kind == L_LEVEL ? v->learn && v->lvl == l &&
            v->st->kind == ST_LEARN : v->st->kind == ST_LEARN;
        if (!mine || in_vars(&not, v)) continue;
        vec_grow((void **)&c.var, &c.cap, c.n, sizeof *c.var);
        c.var[c.n++] = v;
    }
    *out = c;
    return true;
}

/* Where messages about what an objective moves point: at its `wrt`, or else at all of it. */
static Loc objective_place(Ast *st) { return st->b ? st->b->loc : loc_span(st->a->loc, st->loc); }

/* Says that an objective moves nothing; not where another error of this model may be the cause. */
static void moves_nothing(Ast *st)
{
    if (!el.v || (!el.em->broken && error_count() == el.v->errors))
        error_at(objective_place(st), "this objective depends on none of its level's states, so it would move nothing");
}

static void record_objective(Ast *st, Node *e, Vars *moved, Node **w, Node **g, int64_t tag)
{
    if (el.frame) return;                                 /* inside a loop: checked through the outer objectives */
    Objective *o = NEW(Objective);
    o->name = st->name ? st->name : ast_text(st->a);
    o->loc = st->loc; o->e = e; o->nw = moved->n; o->wrt = w; o->grad = g; o->tag = tag;
    o->state = NEWN(State *, moved->n + 1);
    for (int i = 0; i < moved->n; i++) o->state[i] = moved->var[i]->st;
    PUSH(el.v->objective, o);
}

static Value next_count(Var *v)
{
    if (v->st->kind == ST_RULE) {                         /* a rule runs once an update */
        v->counted = el.lvl->t.node; v->counted_axes = el.lvl->t.axes;
        return el.lvl->t;
    }
    v->counted_axes = 0;
    if (v->inner) return v_tensor(v->counted = state_count(v), 0);
    Var *c = var_count(v);
    Node *n = n_bin(OP_ADD, var_value(c).node, n_iconst(I64, 1));
    var_set(c, v_tensor(n, 0), v->st->loc);
    return v_tensor(v->counted = n, 0);
}

static void declare_states(Scope *s, Ast **body, int n)
{
    for (int i = 0; i < n; i++) {
        bool known;
        if (body[i]->kind == S_LEARN || body[i]->kind == S_STATE) rule_declare(s, body[i]);
        if (body[i]->kind != S_IF) continue;
        bool yes = eval_flag(s, body[i]->a, &known);
        if (known) declare_states(s, yes ? body[i]->body : body[i]->body2, yes ? body[i]->nbody : body[i]->nbody2);
    }
}

/* `g at E`: where the rule asks for the gradient, E of the state and of the rule's own, as they are now, and its
   arguments. NULL: at the state itself. */
static Node *gradient_place(Var *v, Closure *c, Value t)
{
    Ast *def = c->def, *at = def->ninputs >= 2 ? def->inputs[1]->b : NULL;
    Lvl *keep = el.lvl, *l = NEW(Lvl);
    Inst *inst = el.inst;
    Axes outside = axes;
    Value e = v_err();
    int extra, lead, rank;
    int32_t dim[MAXDIM];
    bool outer = !v->inner && keep->kind != L_RULE;
    if (!at || (outer && !arguments_alike(c, v))) return NULL;
    if (outer) axes.n = 0;
    *l = (Lvl){ .kind = L_RULE, .frame = v->frame, .parent = keep, .tag = graph_uid(), .em = el.em,
                .rule = c, .w = v, .g = v_err(), .t = t, .path = v->st->path };
    if (rule_enter(l, c, v, &extra, &lead)) {
        rule_scopes(l, c, v);
        el.lvl = l; el.inst = NULL;
        declare_states(l->run, def->body, def->nbody);
        e = v_convert(v_as_float(eval(l->run, at), at->loc), v->st->dt, at->loc);
        v_shape(var_value(v), &rank, dim);
        if (e.kind == V_TENSOR) e = v_stretch(e, rank, dim, at->loc, "the place of the gradient");
    }
    for (int k = v->lead - 1; k >= 0 && e.kind == V_TENSOR; k--) e = v_lower_axis(e, v->lead_at + k);
    el.lvl = keep; el.inst = inst;
    axes = outside;
    v->lead = lead;
    if (e.kind != V_TENSOR) return NULL;
    if (v->frame) e = frames_enter(e);
    if (e.axes & ~lanes(v)) {
        error_at(at->loc, "the place of a gradient is one value a step, and this is each item's own");
        return NULL;
    }
    return n_mark(v_full(e, lanes(v), v->st->rank, v->st->dim), graph_uid());
}

static Value value_subst(Value v, Nodes *from, Nodes *to)
{
    if (v.kind == V_TENSOR) graph_subst(1, &v.node, from->n, from->at, to->at);
    if (v.kind == V_LIST) {
        Value *e = NEWN(Value, v.n + 1);
        for (int i = 0; i < v.n; i++) e[i] = value_subst(v.elem[i], from, to);
        v.elem = e;
    }
    if (v.kind == V_DEF) {                                /* a rule's arguments, those of rules among them */
        Closure *c = NEW(Closure);
        *c = *v.clo;
        c->arg = NEWN(Value, c->n + 1);
        for (int i = 0; i < c->n; i++) c->arg[i] = value_subst(v.clo->arg[i], from, to);
        v.clo = c;
    }
    return v;
}

/* Where the gradient is taken, and with it the rule's arguments. `anchor`: those of the body run with the state at the
   start of the item's block. `g at E`: the gradient at E of the running state, all else as it is. */
static void anchored(Var *v, Node *w, Node **g, Value *rule, Value t)
{
    Nodes from = { 0 }, to = { 0 };
    Node *place = gradient_place(v, rule->clo, t);
    bool block = v->block && !v->is_frozen;
    if (!block && !place) return;
    for (int i = 0; i < el.inner.n; i++) {
        Var *a = el.inner.at[i];
        if (a->lvl != v->lvl || !a->block || a->is_frozen || !a->at_block || (place && a == v)) continue;
        PUSH(from, a->first);
        PUSH(to, a->at_block);
    }
    if (place) { PUSH(from, w); PUSH(to, place); }
    graph_subst(1, g, from.n, from.at, to.at);
    if (v->seen && v->seen->node[0]) graph_subst(3, v->seen->node, from.n, from.at, to.at);
    if (place) return;
    *rule = value_subst(*rule, &from, &to);
}

/* States whose clock does not divide their context: what is left over when it ends is one last, shorter chunk. */
typedef struct Flush { int n; Var **var; Value *rule; Loc at; } Flush;

static bool left_over(const Var *v)
{
    return v->inner && v->st->kind == ST_LEARN && !v->keep && v->frame->total % v->st->every;
}

static void flush_later(Ast *st, Vars *moved, Value *rule)
{
    Flush *f = NEW(Flush);
    *f = (Flush){ .var = NEWN(Var *, moved->n + 1), .rule = NEWN(Value, moved->n + 1), .at = st->loc };
    for (int i = 0; i < moved->n; i++)
        if (moved->var[i]->st->every > 1 && left_over(moved->var[i])) {
            f->var[f->n] = moved->var[i];
            f->rule[f->n++] = rule[i];
        }
    if (f->n && el.lvl->kind == L_LEVEL) PUSH(el.lvl->flush, f);
}

/* x, u, w as the rule gets them. */
static void uses_raised(Var *v, Value *use)
{
    memset(use, 0, 3 * sizeof *use);
    if (!v->seen || !v->seen->node[0]) return;
    for (int k = 0; k < 2; k++) use[k] = raised(v, v->seen->node[k]);
    use[2] = v_tensor(v->seen->node[2], 0);
}

/* After an event: the sum begins anew. */
static void event_moved(Var *v, Node *t, Loc at)
{
    var_set(v->gsum, v_real(0), at);
    if (v->since) var_set(v->since, v_int(0), at);
    tick_counted(v, t, at);
}

/* Applies the rules to the states, each if it is due. */
static void move_due(Moved *set, Value *rule, Value *t, Loc at, bool explain)
{
    for (int i = 0; i < set->n; i++) {
        Var *v = set->var[i];
        Value use[3];
        uses_raised(v, use);
        if (explain) explain_unit(v, rule[i]);
        if (set->due[i].kind != V_TENSOR) {
            apply_rule(rule[i].clo, v, set->g[i], use, v->seen, t[i], v->st->path, set, true, false);
            if (v->event) event_moved(v, t[i].node, at);
            continue;
        }
        Nodes cut = { 0 };
        add_value(&cut, rule[i]);
        add_value(&cut, set->g[i]);
        add_value(&cut, t[i]);
        for (int k = 0; k < 3; k++) add_value(&cut, use[k]);
        for (int j = 0; j < set->n; j++) {
            add_value(&cut, set->g[j]);
            add_value(&cut, set->w[j]);
            add_value(&cut, set->due[j]);
        }
        Snap snap = snap_begin();
        if (explain && el.lvl->kind == L_RULE)
            explain_clock(v->when ? clock_text(v->st) : arena_printf("every %lld", (long long)v->st->every));
        apply_rule(rule[i].clo, v, set->g[i], use, v->seen, t[i], v->st->path, set, true, false);
        if (explain) explain_clock(NULL);
        if (v->gsum) var_set(v->gsum, v_real(0), at);
        if (v->when) tick_counted(v, t[i].node, at);
        snap_end(snap, set->due[i], &cut);
    }
}

/* After the last item, whose body has read the states as they were. */
void flush_states(Lvl *l, Node *last)
{
    for (int k = 0; k < l->flush.n; k++) {
        Flush *f = l->flush.at[k];
        Moved set = { f->n, f->var, NEWN(Value, f->n + 1), NEWN(Value, f->n + 1), NEWN(Value, f->n + 1) };
        Value *t = NEWN(Value, f->n + 1);
        for (int i = 0; i < f->n; i++) {
            Var *v = f->var[i];
            int64_t total = v->frame->total, every = v->st->every;
            Node *sum = v->gsum->cur.node;
            if (v->st->mean)
                sum = n_bin(OP_DIV, sum, n_expand(n_const((Dt)sum->dt, (double)(total % every)), sum->rank, sum->dim));
            set.w[i] = var_value(v);
            set.g[i] = raised(v, sum);
            uses_left(v, total % every);
            set.due[i] = v_tensor(last, 0);
            t[i] = v_tensor(n_iconst(I64, total / every + 1), 0);
            t[i].weak = true;
        }
        move_due(&set, f->rule, t, f->at, false);
    }
    l->flush.n = 0;
}

static bool differs_by_item(Lvl *l, Value v)
{
    if (v.kind == V_TENSOR) return (v.axes >> l->axis & 1) || (l->frame && (node_frames(v.node) & l->frame->bit));
    if (v.kind == V_LIST) for (int i = 0; i < v.n; i++) if (differs_by_item(l, v.elem[i])) return true;
    if (v.kind == V_DEF) for (int i = 0; i < v.clo->n; i++) if (differs_by_item(l, v.clo->arg[i])) return true;
    return false;
}

/* Under `every n`, or `sum`, one update serves several items: its rule's arguments are those of all of them. */
static bool arguments_last(Var *v, Value rule)
{
    if ((v->st->every < 2 && !v->when_sum) || el.lvl->kind != L_LEVEL || !differs_by_item(el.lvl, rule)) return true;
    error_at(rule.loc, "an argument of this rule differs from item to item, and '%s' moves %s; put the weight into the "
                       "objective: minimize c * E",
             v->st->path, v->when_sum ? "by a sum over items"
             : arena_printf("every %lld items", (long long)v->st->every));
    return false;
}

/* What the rule gets of gradient g: itself, or under a clock the sum or mean over the items since the last update. */
static Node *clocked_gradient(Var *v, Node *g, Loc at)
{
    int64_t every = v->st->every;
    if (v->event) {
        Node *since = n_mark(gradient_since(v), graph_uid());
        explain_sum(since, v->st->mean ? "mean since the last tick of" : "sum since the last tick of", g, v->st);
        return since;
    }
    if (every == 1 || (v->when && !v->when_sum)) return g;
    Node *sum = gradient_sum(v, g, at)->cur.node;
    explain_sum(sum, v->when ? "sum since the last tick of" : explain_period("sum", every), g, v->st);
    if (!v->st->mean) return sum;
    Node *mean = n_bin(OP_DIV, sum, n_const((Dt)sum->dt, (double)every));
    explain_sum(mean, explain_period("mean", every), g, v->st);
    return mean;
}

/* The number of the update that this item may make, and whether it makes it. */
static Value update_number(Var *v, Value *due)
{
    int64_t every = v->st->every;
    Value t;
    *due = v_none();
    if (v->event) t = raised(v, tick_count(v));
    else if (v->when) {
        *due = clock_due(v);
        t = due->kind == V_ERR ? v_err() : raised(v, tick_count(v));
    } else {
        Value count = next_count(v);
        if (every > 1) *due = is_due(count, every);
        t = v_tensor(every == 1 ? count.node : n_bin(OP_IDIV, count.node, n_iconst(I64, every)), count.axes);
    }
    t.weak = true;
    return t;
}

/* Events (elab_event.c). A state that waits for one only adds its gradient up; while one ticks, what does not wait for
   it sleeps. */
typedef enum { MOVES, ADDS_UP, SLEEPS } Part;

static Part part_of(Var *v, Node *g, Loc at)
{
    bool awake = el.lvl->kind == L_RULE && !el.lvl->asleep;
    if (!v->event && (!in_event() || v->inner || awake)) return MOVES;
    if (v->event && (!in_event() || awake)) gradient_sum(v, g, at);
    if (v->event) return event_ticks(v->event) ? MOVES : ADDS_UP;
    return SLEEPS;
}

static void sleepers(Moved *set, Value *rule)
{
    for (int i = 0; i < set->n; i++) set->g[i] = raised(set->var[i], no_gradient(set->var[i]));
    for (int i = 0; i < set->n; i++) {
        Value t = v_tensor(n_iconst(I64, 1), 0), use[3];
        no_uses(set->var[i], use);
        set->w[i] = var_value(set->var[i]);
        t.weak = true;
        explain_sleeper(set->var[i], rule[i]);
        apply_rule(rule[i].clo, set->var[i], set->g[i], use, NULL, t, set->var[i]->st->path, set, true, true);
    }
}

static Moved moved_new(int n)
{
    return (Moved){ 0, NEWN(Var *, n + 1), NEWN(Value, n + 1), NEWN(Value, n + 1), NEWN(Value, n + 1) };
}

/* Hands its gradient to each state's rule, under its clock. */
static void move_states(Ast *st, Vars *moved, Node **w, Node **g)
{
    int n = moved->n;
    Moved set = moved_new(n), asleep = moved_new(n);
    Value *rule = NEWN(Value, n + 1), *t = NEWN(Value, n + 1), *sleeping = NEWN(Value, n + 1);
    bool fine = true;
    for (int i = 0; i < n; i++) fine &= (rule[i] = var_rule(moved->var[i], st->loc)).kind != V_ERR;
    for (int i = 0; i < n && fine; i++) {
        Var *v = moved->var[i];
        Part part = part_of(v, g[i], st->loc);
        if (v->event && uses_wanted(v)) {
            error_at(v->clock_at, "the rule of '%s' sees its uses, and how many there are between ticks is not known; "
                                  "write `every n`", v->st->path);
            return;
        }
        if (part == SLEEPS) { sleeping[asleep.n] = rule[i]; asleep.var[asleep.n++] = v; }
        if (part != MOVES) continue;
        if (in_event()) v->moves = true;
        if (v->event && !event_arguments(rule[i].clo)) return;
        int k = set.n;
        rule[k] = rule[i];
        t[k] = update_number(v, &set.due[k]);
        fine = t[k].kind != V_ERR && arguments_last(v, rule[k]);
        if (!fine) break;
        explain_always(t[k], "t");
        anchored(v, w[i], &g[i], &rule[k], t[k]);
        explain_gradient(g[i], v->st, false);
        set.var[k] = v;
        set.w[k] = var_value(v);
        g[i] = clocked_gradient(v, g[i], st->loc);
        uses_gather(v, st->loc);
        set.g[k] = raised(v, g[i]);
        set.n++;
    }
    if (!fine) return;
    sleepers(&asleep, sleeping);
    move_due(&set, rule, t, st->loc, true);
    *moved = (Vars){ set.n, set.n, set.var };
    flush_later(st, moved, rule);
}

/* The states among the candidates that the objective really moves, and their gradients. */
static bool differentiate(Ast *st, Vars *c, Value e, Node *cot, int64_t tag, Vars *moved, Node ***wrt, Node ***grad)
{
    Nodes all = { 0 };                                    /* the states, then the taps of their uses */
    int *tap = NEWN(int, c->n + 1);
    for (int i = 0; i < c->n; i++) {
        Var *v = c->var[i];
        var_value(v);
        PUSH(all, v->is_frozen && v->at_block ? v->at_block : v->cur.node);
    }
    for (int i = 0; i < c->n; i++) { tap[i] = all.n; uses_taps(c->var[i], &all); }
    Node **w = all.at, **g = NEWN(Node *, all.n + 1);
    vjp(1, &e.node, &cot, all.n, w, tag, g);
    *wrt = NEWN(Node *, c->n + 1); *grad = NEWN(Node *, c->n + 1);
    for (int i = 0; i < c->n; i++) {
        Var *v = c->var[i];
        if (!g[i]) {
            if (st->b) { error_at(st->b->loc, "the objective does not depend on '%s'", v->st->path); return false; }
            continue;
        }
        if (v->moved) {
            error_at(objective_place(st), "'%s' is moved by two objectives", v->st->path);
            note_at(v->moved_at, "the other one");
            return false;
        }
        v->moved = true; v->moved_at = objective_place(st);
        v->seen = NULL;
        if (v->st->rank >= 2 && uses_wanted(v)) uses_seen(v, w[i], e.node, tag, g + tap[i]);
        (*wrt)[moved->n] = w[i]; (*grad)[moved->n] = g[i];
        vec_grow((void **)&moved->var, &moved->cap, moved->n, sizeof *moved->var);
        moved->var[moved->n++] = v;
    }
    return true;
}

static Node *as_f64(Node *n) { return n_cast(n, F64); }

/* acc 1: the sum of the objective over the items present. */
static void add_loss(Value e)
{
    Version *v = el.v;
    v->loss = v->nminimize++ && v->loss.kind != V_ERR ? v_binary('+', v->loss, e, e.loc) : v->nminimize > 1 ? v->loss
        : e;
    Node *sum;
    if (e.axes & 1) sum = n_sum(n_bin(OP_MUL, as_f64(e.node), as_f64(v->mask.node)), 1);
    else sum = v->batched ? n_bin(OP_MUL, as_f64(e.node), as_f64(v->count)) : as_f64(e.node);
    v->acc.at[1] = v->acc.at[1] ? n_bin(OP_ADD, v->acc.at[1], sum) : sum;
}

static bool scalar_objective(Ast *st, Value e)
{
    int rank; int32_t dim[MAXDIM];
    v_shape(e, &rank, dim);
    if (!rank) return true;
    error_at(st->a->loc, "an objective is one number, and this is %s; sum(..) or mean(..) makes one of it", v_show(e));
    return false;
}

static void minimize_model(Scope *s, Ast *st, Value e)
{
    Version *v = el.v;
    if (e.axes & ~(uint32_t)v->batched) {
        error_at(objective_place(st), "`minimize` stands in a block that is called once an item, not mapped over rows");
        return;
    }
    add_loss(e);
    Vars c = { 0 }, moving = { 0 }, moved = { 0 };
    if (!candidates(s, st, el.lvl, &c)) return;
    for (int i = 0; i < c.n; i++)
        if (c.var[i]->moves || v->event) {
            vec_grow((void **)&moving.var, &moving.cap, moving.n, sizeof *moving.var);
            moving.var[moving.n++] = c.var[i];
        }
    if (!v->train && !moving.n) return;
    Node *cot = e.axes & 1 ? n_cast(v->weight.node, (Dt)e.node->dt) : n_const((Dt)e.node->dt, 1);
    Node **w, **g;
    if (!differentiate(st, &moving, e, cot, el.lvl->tag, &moved, &w, &g)) return;
    if (!moved.n) {
        if (v->train) moves_nothing(st);
        return;
    }
    Node *total = e.axes & 1 ? n_sum(n_bin(OP_MUL, e.node, cot), 1) : e.node;
    Node **keep = NEWN(Node *, moved.n + 1);
    memcpy(keep, g, (size_t)moved.n * sizeof *g);
    record_objective(st, total, &moved, w, keep, el.lvl->tag);
    explain_objective(st, e.node, moved.n, moved.var, w, g);
    move_states(st, &moved, w, g);
}

/* In a rule, or a level inside the item: each lane is on its own, so the sum over lanes has the gradient of each. */
static void minimize_inner(Scope *s, Ast *st, Value e)
{
    if (el.lvl->kind == L_LEVEL && !el.lvl->frame) { moves_nothing(st); return; }
    uint16_t own = el.lvl->kind == L_LEVEL ? el.lvl->frame ? el.lvl->frame->state_axes : 0 : (uint16_t)~0u;
    if (el.lvl->kind == L_LEVEL && el.lvl->frame) e = frames_enter(e);
    if (e.axes & ~own) {
        error_at(objective_place(st), "this objective is mapped over rows; an item of the level has one objective");
        return;
    }
    Vars c = { 0 }, moved = { 0 };
    if (!candidates(s, st, el.lvl, &c)) return;
    Node **w, **g, *cot = n_splat((Dt)e.node->dt, 1, e.node->rank, e.node->dim);
    if (!differentiate(st, &c, e, cot, el.lvl->tag, &moved, &w, &g)) return;
    if (!moved.n) { moves_nothing(st); return; }
    explain_objective(st, e.node, moved.n, moved.var, w, g);
    move_states(st, &moved, w, g);
}

void stmt_minimize(Scope *s, Ast *st)
{
    Value e = eval(s, st->a);
    if (e.kind != V_ERR) e = v_as_float(e, st->a->loc);
    if (e.kind != V_TENSOR || !scalar_objective(st, e)) {      /* its value keeps quiet from here on */
        if (st->name) scope_bind(s, st->name, v_err(), st->loc);
        if (el.v) { el.v->nminimize++; el.v->loss = v_err(); }
        return;
    }
    if (st->name) scope_bind(s, st->name, e, st->loc);
    if (el.lvl->kind == L_MODEL) minimize_model(s, st, e);
    else minimize_inner(s, st, e);
}

/* ---- <- */

static Var *move_target(Scope *s, Ast *b)
{
    if (b->kind != E_NAME) { error_at(b->loc, "`<-` moves a state by its name"); return NULL; }
    for (Scope *k = s; k; k = k->parent)
        for (Binding *x = k->first; x; x = x->next)
            if (x->name == b->name) {
                if (x->var) return x->var;
                if (x->v.kind == V_ERR) return NULL;
                error_at(b->loc, "'%s' is no state; `<-` moves a state, `=` names a value", b->name);
                note_at(x->at, "bound here");
                return NULL;
            }
    Value v = eval(s, b);
    if (v.kind != V_ERR) error_at(b->loc, "'%s' is no state; `<-` moves a state", b->name);
    return NULL;
}

/* `<-` moves a `state`, and in a rule W. (A rule sees no other states than W and its own.) */
static bool may_move(Var *v, Ast *st)
{
    Lvl *l = el.lvl;
    bool rule = l && l->kind == L_RULE;
    bool mine = rule ? v == l->w || v->lvl == l : v->inner ? v->lvl == l : l && l->kind == L_MODEL;
    if (!mine) {
        error_at(st->b->loc, "'%s' belongs to %s level, which alone moves it", v->st->path, v->inner ? "another" :
                 "an outer");
        note_at(v->st->loc, "declared here");
        return false;
    }
    if (rule ? v == l->w || !v->learn : v->st->kind == ST_STATE) return true;
    error_at(st->b->loc, "'%s' is learned: `minimize` moves it; `<-` moves what is declared with `state`",
             rule ? v->name : v->st->path);
    note_at(v->st->loc, "declared here");
    return false;
}

void stmt_move(Scope *s, Ast *st)
{
    Var *v = move_target(s, st->b);
    Value x = eval(s, st->a);
    if (!v || x.kind == V_ERR || !may_move(v, st) || !event_lets(v) || !v->moves) return;
    Node *old = (var_value(v), v->cur.node);
    if (el.lvl->kind == L_RULE && v == el.lvl->w) {
        var_set(v, v_as_float(x, st->a->loc), st->a->loc);
        explain_line(v, old);
        return;
    }
    Value due = v->when ? clock_due(v) : v_none();
    if (v->event && v->st->kind == ST_STATE && !v->counted) tick_counted(v, v->counted = tick_count(v), st->loc);
    if (v->when && due.kind == V_ERR) return;
    if (v->when) tick_assigned(v, due, st->loc);
    else if (!v->counted && !v->event && (v->st->every > 1 || v->st->kind == ST_STATE)) next_count(v);
    if (v->st->every > 1) due = is_due(v_tensor(v->counted, v->counted_axes), v->st->every);
    var_set(v, x, st->a->loc);
    if (el.lvl->kind == L_RULE) explain_line(v, old);
    else explain_assign(v, st);
    if (due.kind == V_TENSOR && v->cur.node != old) v->cur.node = n_mark(when_due(v, due, old), graph_uid());
}
