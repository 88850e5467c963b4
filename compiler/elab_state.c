/* elab_state.c: instances of blocks and the states in them: paths, initial values, and the clauses `every` and `with`
   that hold for each state (the innermost wins: its own, those of the instances around it, the model's default). */
#include <string.h>
#include "elab_int.h"
#include "explain.h"

/* ---- states */

Var *var_find(Elabmodel *em, const char *path)
{
    for (int i = el.inner.n - 1; i >= 0; i--) if (!strcmp(el.inner.at[i]->st->path, path)) return el.inner.at[i];
    for (int i = 0; em && i < em->var.n; i++) if (!strcmp(em->var.at[i]->st->path, path)) return em->var.at[i];
    return NULL;
}

/* The model's states, and those of the levels whose loops are open. */
int live_vars(Var ***out)
{
    VEC(Var *) all = { 0 };
    for (int i = 0; el.em && i < el.em->var.n; i++) PUSH(all, el.em->var.at[i]);
    for (int i = 0; i < el.inner.n; i++) if (el.inner.at[i]->frame) PUSH(all, el.inner.at[i]);
    *out = all.at;
    return all.n;
}

Var *var_of(State *st)
{
    for (int i = el.inner.n - 1; i >= 0; i--) if (el.inner.at[i]->st == st) return el.inner.at[i];
    for (int i = 0; el.em && i < el.em->var.n; i++) if (el.em->var.at[i]->st == st) return el.em->var.at[i];
    return NULL;
}

Var *var_new(Elabmodel *em, const char *path, const char *name, StateKind kind, Dt dt, int rank, const int32_t *dim,
             Node *born, Loc at)
{
    Var *v = NEW(Var);
    State *st = NEW(State);
    st->path = path; st->kind = kind; st->dt = dt; st->rank = rank; st->loc = at; st->every = 1;
    for (int i = 0; i < rank; i++) st->dim[i] = dim[i];
    st->init = born; st->id = em->m->state.n; st->level = em->lvl.level;
    v->st = st; v->name = name;
    v->born = v_tensor(born, 0);
    v->born.state = st;
    v->moves = el.v ? el.v->train : true;
    PUSH(em->m->state, st);
    PUSH(em->var, v);
    return v;
}

static Value as_rule_sees(Var *v, Value r)
{
    for (Lvl *l = el.lvl; l && v->lead; l = l->parent)                  /* a rule mapped over leading axes */
        if (l->kind == L_RULE && (v->lvl == l || v == l->w)) {
            for (int k = 0; k < v->lead; k++) r = v_raise_axis(r, v->lead_at + k);
            r.state = v->st;
            break;
        }
    return r;
}

/* A state of an inner level: frozen, every read but its rule's sees the block's start. */
static Value inner_value(Var *v)
{
    Value r = v->cur;
    bool own = false;
    for (Lvl *l = el.lvl; l && !own; l = l->parent) own = l->kind == L_RULE && l->w == v;
    graph_read(v);
    if (v->is_frozen && v->at_block && !own) r.node = v->at_block;
    else explain_state(r.node, v->st, false);
    if (v->at_block) explain_state(v->at_block, v->st, true);
    r.state = v->st;
    return as_rule_sees(v, r);
}

Value var_value(Var *v)
{
    if (v->inner) return inner_value(v);
    if (el.mode == M_INIT) return v->born;
    if (el.mode != M_STEP) {
        error_at(el.finish_report ? el.finish_report->ast->loc : v->st->loc,
                 "the state '%s' cannot be read here; what stands around avg() is computed "
                 "from averages and constants alone", v->st->path);
        return v_err();
    }
    if (!v->in) {
        v->in = entry_in(el.v, B_STATE, v->st->id, v->st->dt, v->st->rank, v->st->dim);
        v->cur = v_tensor(v->first = n_mark(v->in, graph_uid()), 0);
    }
    v->cur.state = v->st;
    graph_read(v);
    explain_state(v->cur.node, v->st, false);
    return as_rule_sees(v, v->cur);
}

/* The state's new value. Its shape must be the state's, and it must be one value a step. */
void var_set(Var *v, Value x, Loc at)
{
    if (x.kind == V_ERR) return;
    x = v_as_tensor(x, at);
    if (x.kind != V_TENSOR) return;
    if (v->frame) x = frames_enter(x);
    x = v_convert(x, v->st->dt, at);
    for (int k = v->lead - 1; k >= 0 && x.kind == V_TENSOR; k--) x = v_lower_axis(x, v->lead_at + k);
    if (x.kind != V_TENSOR) return;
    uint16_t lanes = v->frame ? v->axes : 0;
    if (in_event() && !v->inner && !event_value(x.node, at)) return;
    if (x.axes & ~lanes) {
        error_at(at, "'%s' moves once a step, and this value is each item's own; pool() makes one value of a batch",
                 v->st->path);
        return;
    }
    x = v_stretch(x, v->st->rank, v->st->dim, at, arena_printf("the state '%s'", v->st->path));
    if (x.kind != V_TENSOR) return;
    var_value(v);
    v->cur = v_tensor(n_mark(v_full(x, lanes, v->st->rank, v->st->dim), graph_uid()), lanes);
    v->cur.state = v->st;
    v->ever_moved = true;
}

/* The clock of a state: counts the items at which it may move. */
Var *var_count(Var *v)
{
    if (v->count) return v->count;
    const char *path = arena_printf("%s.count", v->st->path);
    v->count = var_new(el.em, path, "count", ST_COUNT, I64, 0, NULL, n_iconst(I64, 0), v->st->loc);
    v->count->st->of = v->st;
    v->count->moves = v->moves;
    v->st->count = v->count->st;
    return v->count;
}

/* ---- clauses */

static bool clause_supported(Clauses *cl, Loc at)
{
    const char *what = cl->mode == 'a' ? "anchor" : cl->mode == 'f' ? "frozen" : NULL;
    if (cl->mode) at = cl->every_loc;
    if (what) error_at(at, "`%s` of a model's own state comes with the next release", what);
    return !what;
}

/* Names bound in a level's body are in the scope of its items. */
Scope *level_scope(Var *v, Scope *s) { return v->inner && v->lvl && s == v->lvl->decl ? v->lvl->body : s; }

/* The names of an instance's last call are seen, too. */
Scope *call_scope(Inst *i, Scope *s) { return i && i->call && i->scope == s ? i->call : s; }

/* Does `key` (a, a.b) name the tensor at `rel` (a path below the clause's instance), or something around it? */
static bool key_names(const char *key, const char *rel)
{
    size_t n = strlen(key);
    return !strncmp(key, rel, n) && (!rel[n] || rel[n] == '.');
}

static Ast *rule_by_name(Ast *with, const char *rel)
{
    for (int i = 0; i < with->n; i++) {
        Ast *p = with->list[i];
        if (p->kind != E_PAIR) continue;
        const char *key = ast_text(p->a);
        if (!strcmp(key, "other") || key_names(key, rel)) return p->b;
    }
    return NULL;
}

static const char *below(const char *path, const char *around)
{
    size_t n = strlen(around);
    return strncmp(path, around, n) || path[n] != '.' ? path : path + n + 1;
}

static Ast *pick_rule(Clauses *cl, const char *path, const char *around)
{
    if (!cl || !cl->with) return NULL;
    if (cl->with->kind == E_TUPLE && cl->with->n && cl->with->list[0]->kind == E_PAIR)
        return rule_by_name(cl->with, below(path, around));
    return cl->with;
}

/* What stands behind the `with` that holds for a state, and the scope that it is evaluated in. */
Ast *var_with(Var *v, Scope **scope)
{
    Ast *with = v->cl ? v->cl->with : NULL;
    Scope *s = v->inst ? call_scope(v->inst, v->cl_scope) : v->cl_scope;
    for (Inst *i = v->inst; i && !with; i = i->parent) {
        with = pick_rule(i->cl, v->st->path, i->path);
        s = i->parent ? call_scope(i->parent, i->cl_scope) : i->cl_scope;
        if (!with && !i->parent) { with = pick_rule(i->dflt, v->st->path, i->path); s = call_scope(i, i->dflt_scope); }
    }
    if (!with && v->inner && v->lvl && v->lvl->dflt) {
        with = pick_rule(v->lvl->dflt, v->st->path, v->lvl->path);
        s = v->lvl->decl;
    }
    *scope = level_scope(v, s);
    return with;
}

/* The rule that moves a state: a V_DEF, its arguments evaluated now. */
Value var_rule(Var *v, Loc at)
{
    Scope *s;
    Ast *with = var_with(v, &s);
    if (!with) {
        error_at(v->st->loc, "no rule moves '%s': write `with RULE` here, on the instance around it, or in the model's "
                             "`default`", v->st->path);
        note_at(at, "this `minimize` would move it");
        return v_err();
    }
    Value r = eval(s, with);
    if (r.kind == V_ERR) return r;
    if (r.kind != V_DEF || !r.clo->def || r.clo->def->kind != D_RULE) {
        error_at(with->loc, "`with` takes a rule, not %s", v_show(r));
        return v_err();
    }
    r.loc = with->loc;
    if (v->st->rule == NULL) v->st->rule = intern(ast_text(with));
    return r;
}

/* Entries of `with (..)` that name nothing are errors; checked once, when the instance is complete. */
static void check_with_keys(Inst *i, Clauses *cl)
{
    if (!cl || !cl->with || cl->with->kind != E_TUPLE) return;
    Var **vars; int n;
    inst_vars(i, &vars, &n);
    for (int k = 0; k < cl->with->n; k++) {
        Ast *p = cl->with->list[k];
        if (p->kind != E_PAIR) continue;
        const char *key = ast_text(p->a);
        bool found = !strcmp(key, "other");
        for (int j = 0; j < n && !found; j++) found = key_names(key, below(vars[j]->st->path, i->path));
        if (!found) error_at(p->loc, "'%s' names no tensor and no instance of '%s'", key, i->path);
    }
}

/* ---- initial values */

static Value drawn_value(Scope *s, Ast *draw, int rank, const int32_t *dim)
{
    Value shape, arg[3], *d = NEWN(Value, rank + 1);
    for (int i = 0; i < rank; i++) d[i] = v_int(dim[i]);
    shape = v_list(rank, d, false);
    bool normal = draw->kind == E_CALL && draw->a->kind == E_NAME && !strcmp(draw->a->name, "normal");
    bool uniform = draw->kind == E_CALL && draw->a->kind == E_NAME && !strcmp(draw->a->name, "uniform");
    if ((!normal || draw->n != 1) && (!uniform || draw->n != 2)) {
        error_at(draw->loc, "an initial value is drawn by `~ normal(s)` or `~ uniform(a, b)`");
        return v_err();
    }
    const char *none[3] = { NULL, NULL, NULL };
    for (int i = 0; i < draw->n; i++) {
        arg[i + 1] = eval(s, draw->list[i]);
        if (arg[i + 1].kind == V_ERR) return v_err();
    }
    arg[0] = shape;
    if (uniform) return builtin_call(builtin_find("uniform"), 3, arg, none, draw->loc);
    Value z = builtin_call(builtin_find("normal"), 1, arg, none, draw->loc);
    return z.kind == V_ERR ? z : v_binary('*', z, arg[1], draw->loc);
}

/* The value of a declaration `: type = a`, `= a` or `: type ~ a` at birth, and its shape and type. */
Value init_value(Elabmodel *em, const char *path, Scope *s, Ast *stmt, Loc at, int *rank, int32_t *dim, Dt *dt)
{
    (void)em;
    bool ok = true;
    if (stmt->type) {
        *dt = elem_type(stmt->type, &ok);
        *rank = stmt->type->n;
        if (*rank > MAXDIM) { error_at(stmt->type->loc, "a tensor has at most %d axes", MAXDIM); return v_err(); }
        for (int i = 0; i < *rank && ok; i++) {
            int64_t k;
            Value d = eval(s, stmt->type->list[i]);
            if (d.kind == V_ERR) return d;
            ok = v_integer(d, &k) && k >= 1 && k <= INT32_MAX;
            if (!ok)
                error_at(stmt->type->list[i]->loc, "a dimension is a whole number of at least 1, known when compiling, "
                                                   "not %s", v_show(d));
            else dim[i] = (int32_t)k;
        }
        if (!ok) return v_err();
        int64_t size = 1;
        for (int i = 0; i < *rank; i++)
            if ((size *= dim[i]) > (int64_t)1 << 40) {
                error_at(stmt->type->loc, "this tensor is too large");
                return v_err();
            }
    }
    if (!stmt->a) {
        error_at(at, "'%s' needs an initial value: `= expr`, `~ normal(s)` or `~ uniform(a, b)`", path);
        return v_err();
    }
    if (stmt->drawn && !stmt->type) {
        error_at(stmt->a->loc, "a drawn initial value needs a shape: `name : [d] ~ normal(s)`");
        return v_err();
    }
    Value v = stmt->drawn ? drawn_value(s, stmt->a, *rank, dim) : eval(s, stmt->a);
    if (v.kind == V_ERR) return v;
    v = v_as_tensor(v, stmt->a->loc);
    if (v.kind != V_TENSOR) return v_err();
    if (!stmt->type) {
        v_shape(v, rank, dim);
        *dt = v_number(v, &(double){ 0 }) || v_dt(v) == I64 ? float_dt() : v_dt(v);
    }
    v = v_convert(v, *dt, stmt->a->loc);
    return v.kind == V_ERR ? v : v_stretch(v, *rank, dim, stmt->a->loc, arena_printf("'%s'", path));
}

/* Runs f in the init graph: names of states are their values at birth, draws go by the state's path. */
typedef struct { Mode mode; DrawContext draws; Axes axes; } Saved;

static Saved init_begin(Elabmodel *em, const char *path)
{
    Saved s = { el.mode, draws, axes };
    el.mode = M_INIT; axes.n = 0;
    draws = (DrawContext){ .seed = em->init_seed, .step = n_iconst(I64, 0), .item = n_iconst(I64, 0), .path = path };
    return s;
}

static void init_end(Saved s) { el.mode = s.mode; draws = s.draws; axes = s.axes; }

/* ---- instances */

static void add_member(Inst *i, const char *name, Var *v, Inst *in, Value list)
{
    Member m = { name, v, in, list };
    PUSH(i->member, m);
}

static void bind_var(Scope *s, const char *name, Var *v, Loc at)
{
    scope_bind(s, name, v_none(), at);
    s->first->var = v;
    for (Binding *b = s->first; b; b = b->next) if (b->name == name) { b->var = v; break; }
}

static char *fill_index(const char *text, Scope *s)
{
    const char *open = strchr(text, '{'), *close = open ? strchr(open, '}') : NULL;
    Value v;
    if (!close || !scope_find(s, intern(arena_strndup(open + 1, (size_t)(close - open - 1))), &v))
        return arena_strdup(text);
    return arena_printf("%.*s%s%s", (int)(open - text), text, v_text(v), fill_index(close + 1, s));
}

/* `from FILE (path: "name", ..)`: values for the states of an instance; without a list, each by its own path. */
static bool value_from_file(Inst *i, const char *path, Value *v, Loc *at)
{
    for (; i; i = i->parent) {
        if (!i->from) continue;
        const char *rel = below(path, i->path);
        for (int k = 0; k < i->nmap; k++) {
            if (strcmp(ast_text(i->map[k]->a), rel)) continue;
            Value name = eval(i->from_scope, i->map[k]->b);
            *at = i->map[k]->loc;
            if (name.kind != V_STR) {
                error_at(*at, "the tensor's name in the file is a text");
                *v = v_err();
                return true;
            }
            Node *n = file_tensor(i->from, fill_index(name.str, i->from_scope), float_dt(), *at);
            *v = n ? v_tensor(n, 0) : v_err();
            return true;
        }
        if (!i->nmap) {
            *at = i->from_at;
            Node *n = file_tensor(i->from, rel, float_dt(), *at);
            *v = n ? v_tensor(n, 0) : v_err();
            return true;
        }
    }
    return false;
}

enum { MAX_STATES = 10000 };

static void declare_state(Inst *i, Scope *s, Ast *st, Ast *name)
{
    const char *path = arena_printf("%s.%s", i->path, name->name);
    int rank; int32_t dim[MAXDIM]; Dt dt;
    if (i->rule) {
        Var *v = rule_part(i, s, st, name);
        if (!v) { scope_bind(s, name->name, v_err(), name->loc); return; }
        add_member(i, name->name, v, NULL, v_none());
        bind_var(s, name->name, v, name->loc);
        return;
    }
    if (var_find(i->em, path)) { error_at(name->loc, "'%s' is declared twice", path); return; }
    if (i->em->var.n >= MAX_STATES) {
        error_at(name->loc, "the model '%s' has more than %d states", i->em->m->name, MAX_STATES);
        scope_bind(s, name->name, v_err(), name->loc);
        return;
    }
    Saved save = init_begin(i->em, path);
    Value v = init_value(i->em, path, s, st, name->loc, &rank, dim, &dt), other;
    Loc at;
    for (int k = 0; k < i->init.n && v.kind != V_ERR; k++)
        if (i->init.at[k].name == name->name)
            v = v_stretch(v_convert(i->init.at[k].v, dt, i->init.at[k].at), rank, dim, i->init.at[k].at,
                          arena_printf("'%s'", path));
    if (v.kind != V_ERR && value_from_file(i, path, &other, &at))
        v = other.kind == V_ERR ? other : v_stretch(v_convert(other, dt, at), rank, dim, at,
                                                    arena_printf("'%s'", path));
    Node *born = v.kind == V_ERR ? NULL : v_full(v, 0, rank, dim);
    init_end(save);
    if (!born) { i->em->broken = true; scope_bind(s, name->name, v_err(), name->loc); return; }
    Var *var = var_new(i->em, path, name->name, st->kind == S_LEARN ? ST_LEARN : ST_STATE, dt, rank, dim, born,
                       name->loc);
    var->inst = i; var->cl = st->cl; var->cl_scope = s;
    add_member(i, name->name, var, NULL, v_none());
    bind_var(s, name->name, var, name->loc);
    if (st->cl && !clause_supported(st->cl, name->loc)) i->em->broken = true;
    var_clock(var);
}

static Inst *declare_inst(Inst *i, Scope *s, Ast *st, const char *name, Value v)
{
    Inst *in = inst_new(v.clo, name, i, i->em, st->loc);
    if (!in) return NULL;
    in->rule = i->rule; in->inner = i->rule && i->inner;
    in->cl = st->cl; in->cl_scope = s;
    if (st->cl && st->cl->from) {
        Value f = eval(s, st->cl->from);
        if (f.kind == V_STR) {
            in->from = f.str;
            in->map = st->cl->map;
            in->nmap = st->cl->nmap;
            in->from_scope = s;
            in->from_at = st->cl->from->loc;
        }
        else if (f.kind != V_ERR) error_at(st->cl->from->loc, "`from` takes a file's name");
    }
    if (st->cl && !clause_supported(st->cl, st->loc)) i->em->broken = true;
    inst_declare(in);
    check_with_keys(in, st->cl);
    return in;
}

static bool is_block(Value v) { return v.kind == V_DEF && v.clo->def && v.clo->def->kind == D_BLOCK; }

/* learn NAME = Block(..) [for i in LIST]. */
static void declare_insts(Inst *i, Scope *s, Ast *st, Ast *name, Value v)
{
    if (!st->cl || !st->cl->in) {
        Inst *in = declare_inst(i, s, st, name->name, v);
        Value iv = in ? (Value){ .kind = V_INST, .inst = in, .loc = name->loc } : v_err();
        if (in) add_member(i, name->name, NULL, in, iv);
        scope_bind(s, name->name, iv, name->loc);
        return;
    }
    Value over = eval(s, st->cl->in), *it = NULL;
    int n = walk_items(over, st->cl->in, st->cl->nvars, &it, st->cl->in->loc);
    if (n < 0) { scope_bind(s, name->name, v_err(), name->loc); return; }
    Value *list = NEWN(Value, n + 1);
    int errors = error_count();
    for (int k = 0; k < n && error_count() == errors; k++) {          /* one turn's errors say it all */
        Scope *sk = scope_new(s, st->loc);
        bind_names(sk, st->cl->vars, st->cl->nvars, st->cl->nvars > 1, it[k], st->loc);
        Saved save = init_begin(i->em, i->path);          /* initial values by name may be those of states */
        Value vk = eval(sk, st->a);
        init_end(save);
        Inst *in = is_block(vk) ? declare_inst(i, sk, st, arena_printf("%s.%d", name->name, k), vk) : NULL;
        list[k] = in ? (Value){ .kind = V_INST, .inst = in, .loc = name->loc } : v_err();
    }
    Value lv = v_list(n, list, false);
    add_member(i, name->name, NULL, NULL, lv);
    scope_bind(s, name->name, lv, name->loc);
}

static void declare_learn(Inst *i, Scope *s, Ast *st)
{
    if (!st->type && st->a && !st->drawn) {
        Saved save = init_begin(i->em, i->path);
        Scope *probe = scope_new(s, st->loc);             /* the first turn of `for` tells what it is */
        if (st->cl && st->cl->in) {
            Value *it = NULL, over = eval_quiet(s, st->cl->in);
            if (over.kind == V_LIST && list_items(over, &it, st->loc) > 0)
                bind_names(probe, st->cl->vars, st->cl->nvars, st->cl->nvars > 1, it[0], st->loc);
        }
        Value v = eval(probe, st->a);
        init_end(save);
        if (v.kind == V_ERR) {
            i->em->broken = true;
            for (int k = 0; k < st->nnames; k++) scope_bind(s, st->names[k]->name, v, st->names[k]->loc);
            return;
        }
        if (is_block(v)) {
            for (int k = 0; k < st->nnames; k++) declare_insts(i, s, st, st->names[k], v);
            return;
        }
        if (v.kind == V_INST || (v.kind == V_TENSOR && v.state)) {
            error_at(st->a->loc, "a copy of '%s' starts in an inner level; a model has no level around it", v_text(v));
            i->em->broken = true;
            for (int k = 0; k < st->nnames; k++) scope_bind(s, st->names[k]->name, v_err(), st->names[k]->loc);
            return;
        }
    }
    for (int k = 0; k < st->nnames; k++) declare_state(i, s, st, st->names[k]);
}

/* Names bound before an item is there (sizes, periods, lists): tried without messages; the rest waits for the item. */
static void declare_bind(Inst *i, Scope *s, Ast *st)
{
    Saved save = init_begin(i->em, i->path);
    Value v = eval_quiet(s, st->a);
    init_end(save);
    if (v.kind == V_ERR) return;
    if (is_block(v) && v.clo->given && st->nnames == 1) {
        Inst *in = inst_new(v.clo, st->names[0]->name, i, i->em, st->loc);
        if (!in) return;
        in->rule = i->rule; in->inner = i->rule && i->inner;
        inst_declare(in);
        v = (Value){ .kind = V_INST, .inst = in, .loc = st->loc };
        add_member(i, st->names[0]->name, NULL, in, v);
    }
    if (v.kind == V_TENSOR && v.state) return;
    diag_quiet(true);                                     /* the body will say what is wrong */
    bind_names(s, st->names, st->nnames, st->tuple, v, st->loc);
    diag_quiet(false);
}

void declare(Inst *i, Scope *s, Ast *st)
{
    switch (st->kind) {
    case S_LEARN: case S_STATE: declare_learn(i, s, st); break;
    case S_BIND: declare_bind(i, s, st); break;
    case S_EVENT: event_declare(i, s, st); break;
    case S_DEFAULT:
        if (i->parent) error_at(st->loc, "`default` stands in a level or a model, not in a block");
        else { i->dflt = st->cl; i->dflt_scope = s; }
        break;
    case S_IF: {
        double x;
        Value v = eval_quiet(s, st->a);
        if (!v_number(v, &x)) break;
        for (int k = 0; k < (x ? st->nbody : st->nbody2); k++) declare(i, s, x ? st->body[k] : st->body2[k]);
        break;
    }
    case S_FOR: {
        Value v = eval_quiet(s, st->a), *it = NULL;
        int n = v.kind == V_LIST ? list_items(v, &it, st->loc) : 0;
        for (int k = 0; k < n; k++) {
            bind_names(s, st->names, st->nnames, st->tuple, it[k], st->loc);
            for (int j = 0; j < st->nbody; j++)
                if (st->body[j]->kind == S_LEARN || st->body[j]->kind == S_STATE) {
                    error_at(st->body[j]->loc, "states are not declared in a `for`; write `learn NAME = Block(..) for "
                                               "i in LIST`");
                    for (int m = 0; m < st->body[j]->nnames; m++)
                        scope_bind(s, st->body[j]->names[m]->name, v_err(), st->loc);
                    return;
                }
        }
        break;
    }
    default: break;
    }
}

Inst *inst_new(Closure *c, const char *name, Inst *parent, Elabmodel *em, Loc at)
{
    static int depth;
    Inst *i = NEW(Inst);
    i->def = c->def; i->name = name; i->parent = parent; i->em = em; i->at = at;
    i->path = parent ? arena_printf("%s.%s", parent->path, name) : name;
    i->scope = scope_new(file_scope(c->def->loc.file), at);
    i->scope->is_body = true;
    if (depth > 100) { error_at(at, "'%s' contains itself", c->def->name); return NULL; }
    depth++;
    bool ok = bind_params(i->scope, c->def, c);
    depth--;
    for (int k = 0; k < c->n; k++) {
        bool param = !c->argname[k];
        for (int j = 0; j < c->def->nparams; j++) param |= c->argname[k] == c->def->params[j]->name;
        Binding b = { .name = c->argname[k], .v = c->arg[k], .at = c->argloc[k] };
        if (!param) PUSH(i->init, b);
    }
    return ok ? i : NULL;
}

void inst_declare(Inst *i)
{
    static int depth;
    Inst *keep = el.inst;
    if (depth > 100) { error_at(i->at, "'%s' contains itself", i->def->name); return; }
    depth++;
    el.inst = i;
    for (int k = 0; k < i->def->nbody; k++)
        if (i->def->body[k]->kind == S_DEFAULT) declare(i, i->scope, i->def->body[k]);
    for (int k = 0; k < i->def->nbody; k++)
        if (i->def->body[k]->kind != S_DEFAULT) declare(i, i->scope, i->def->body[k]);
    el.inst = keep;
    depth--;
    for (int k = 0; k < i->init.n; k++) {
        bool found = false;
        VEC(const char *) all = { 0 };
        for (int j = 0; j < i->member.n; j++) {
            found |= i->member.at[j].name == i->init.at[k].name;
            PUSH(all, i->member.at[j].name);
        }
        for (int j = 0; j < i->def->nparams; j++) PUSH(all, i->def->params[j]->name);
        if (found) continue;
        const char *near = nearest(i->init.at[k].name, all.at, all.n);
        error_at(i->init.at[k].at, "'%s' has no parameter and no state '%s'%s%s%s", i->def->name, i->init.at[k].name,
                 near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
}

Value inst_member(Inst *i, const char *name, Loc at)
{
    VEC(const char *) all = { 0 };
    for (int k = 0; k < i->member.n; k++) {
        Member *m = &i->member.at[k];
        PUSH(all, m->name);
        if (m->name != name) continue;
        if (m->var) return var_value(m->var);
        if (m->inst) return (Value){ .kind = V_INST, .inst = m->inst };
        return m->list;
    }
    const char *near = nearest(name, all.at, all.n);
    error_at(at, "'%s' has no state and no instance '%s'%s%s%s", i->path, name, near ? "; did you mean '" : "",
             near ? near : "", near ? "'?" : "");
    return v_err();
}

void inst_vars(Inst *i, Var ***vars, int *n)
{
    VEC(Var *) all = { 0 };
    int m = i->inner ? el.inner.n : i->em->var.n;
    for (int k = 0; k < m; k++) {
        Var *v = i->inner ? el.inner.at[k] : i->em->var.at[k];
        if (v->st->kind != ST_LEARN && v->st->kind != ST_STATE && v->st->kind != ST_RULE) continue;
        Inst *in = v->inst;
        while (in && in != i) in = in->parent;
        if (in) PUSH(all, v);
    }
    *vars = all.at; *n = all.n;
}

Value inst_tuple(Inst *i, Loc at)
{
    Var **vars; int n;
    inst_vars(i, &vars, &n);
    if (!n) error_at(at, "'%s' has no tensors", i->path);
    Value *e = NEWN(Value, n + 1);
    for (int k = 0; k < n; k++) e[k] = var_value(vars[k]);
    return n ? v_list(n, e, true) : v_err();
}
