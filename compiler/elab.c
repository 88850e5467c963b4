/* elab.c: names and expressions. Elaboration evaluates the tree: what is known when compiling becomes numbers, lists
   and definitions with their arguments, the rest becomes tensor graph. elaborate() runs the file's schedule and returns
   the program. Requires a parsed and resolved file. After an error a value is V_ERR and whatever meets it keeps
   quiet. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "elab_int.h"
#include "explain.h"

struct El el;
Axes axes;
DrawContext draws;

/* ---- values */

Value v_none(void) { return (Value){ .kind = V_NONE }; }
Value v_def(Closure *c) { return (Value){ .kind = V_DEF, .clo = c, .loc = c->at }; }

Closure *closure_new(Ast *def, const Builtin *b, Loc at)
{
    Closure *c = NEW(Closure);
    c->def = def; c->builtin = b; c->at = at;
    return c;
}

static const char *closure_text(const Closure *c)
{
    const char *t = c->builtin ? builtin_name(c->builtin) : c->def->name;
    if (!c->given || !c->n) return t;
    t = arena_printf("%s(", t);
    for (int i = 0; i < c->n; i++)
        t = arena_printf("%s%s%s%s%s", t, i ? ", " : "", c->argname[i] ? c->argname[i] : "", c->argname[i] ? " = " : "",
                         v_text(c->arg[i]));
    return arena_printf("%s)", t);
}

static const char *number_text(double x)
{
    for (int digits = 6; digits < 17; digits++) {
        const char *t = arena_printf("%.*g", digits, x);
        if (strtod(t, NULL) == x) return t;
    }
    return arena_printf("%.17g", x);
}

const char *v_text(Value v)
{
    double x;
    const char *t;
    switch (v.kind) {
    case V_NUM: return v.nk == N_REAL ? number_text(v.num) : arena_printf("%lld", (long long)v.inum);
    case V_PERCENT: return arena_printf("%s%%", number_text(v.num));
    case V_STR: return v.str;
    case V_DEF: return closure_text(v.clo);
    case V_STREAM: return v.stream->name;
    case V_INST: return v.inst->path;
    case V_MODEL: return v.minst->name;
    case V_EVENT: return v.event->name;
    case V_LIST:
        t = v.tuple ? "(" : "[";
        for (int i = 0; i < v.n; i++) t = arena_printf("%s%s%s", t, i ? ", " : "", v_text(v.elem[i]));
        return arena_printf("%s%s", t, v.tuple ? ")" : "]");
    case V_TENSOR:
        if (v_number(v, &x)) return number_text(x);
        if (v.state) return v.state->path;
        return arena_printf("%%%u", v.node->id);
    default: return "?";
    }
}

int list_items(Value v, Value **items, Loc at)
{
    if (v.kind == V_ERR) return -1;
    if (v.kind == V_LIST) { *items = v.elem; return v.n; }
    error_at(at, "this must be a list, a tuple or a range that is known when compiling, not %s", v_show(v));
    return -1;
}

/* What `for names in over` runs through. `for (a, b) in (A, B)`, a written tuple, walks A and B together, whatever lists or
   tensors they are; `for (a, b) in ((1, 2), (3, 4))` and any other list take its elements apart. */
int walk_items(Value over, const Ast *e, int names, Value **items, Loc at)
{
    bool together = e->kind == E_TUPLE && over.kind == V_LIST && names > 1 && over.n == names;
    for (int i = 0; together && i < over.n; i++)
        together = e->list[i]->kind != E_TUPLE && (over.elem[i].kind == V_TENSOR || over.elem[i].kind == V_LIST);
    if (!together) return list_items(over, items, at);
    int n = -1;
    for (int i = 0; i < names; i++) {
        int rank = 0, k = over.elem[i].n;
        int32_t dim[MAXDIM];
        if (over.elem[i].kind == V_TENSOR) {
            if (v_shape(over.elem[i], &rank, dim) && !rank) {
                error_at(at, "a scalar has no rows to go through");
                return -1;
            }
            k = dim[0];
        }
        if (n >= 0 && k != n) { error_at(at, "lists of %d and %d elements are not walked together", n, k); return -1; }
        n = k;
    }
    *items = NEWN(Value, n + 1);
    for (int k = 0; k < n; k++) {
        Value *e = NEWN(Value, names);
        for (int i = 0; i < names; i++)
            e[i] = v_index(over.elem[i], 1, &(Index){ IX_AT, .at = v_int(k), .loc = at }, at);
        (*items)[k] = v_list(names, e, true);
    }
    return n;
}

/* ---- scopes */

Scope *scope_new(Scope *parent, Loc at)
{
    Scope *s = NEW(Scope);
    s->parent = parent; s->at = at; s->file = -1;
    return s;
}

static VEC(Scope *) files;

Scope *file_scope(int file)
{
    for (int i = 0; i < files.n; i++) if (files.at[i]->file == file) return files.at[i];
    Scope *s = scope_new(NULL, (Loc){ 0 });
    s->file = file; s->is_file = true;
    PUSH(files, s);
    return s;
}

static Binding *scope_own(Scope *s, const char *name)
{
    for (Binding *b = s->first; b; b = b->next) if (b->name == name) return b;
    return NULL;
}

static Binding *scope_look(Scope *s, const char *name)
{
    for (; s; s = s->parent) {
        Binding *b = scope_own(s, name);
        if (b) return b;
    }
    return NULL;
}

void scope_bind(Scope *s, const char *name, Value v, Loc at)
{
    Binding *b = scope_own(s, name);
    if (!b) {
        b = NEW(Binding);
        b->name = name; b->next = s->first; s->first = b;
    }
    b->v = v; b->at = at; b->var = NULL;
}

/* The file that a scope's code stands in. */
static int scope_file(Scope *s)
{
    while (s->parent) s = s->parent;
    return s->file;
}

static Value number_of(const char *name, Loc at, bool *found)
{
    *found = true;
    if (!strcmp(name, "inf")) return v_real(INFINITY);
    if (!strcmp(name, "pi")) return v_real(3.14159265358979323846);
    if (!strcmp(name, "true")) return v_bool(true);
    if (!strcmp(name, "false")) return v_bool(false);
    for (Lvl *l = el.lvl; l && !strcmp(name, "step"); l = l->parent) if (l->kind == L_LEVEL) return level_step(l);
    if (!strcmp(name, "step") && el.mode == M_STEP) {
        Value v = var_value(el.em->step);
        v = v_tensor(el.em->step->counted ? el.em->step->counted : v.node, 0);
        v.weak = true;
        return v;
    }
    if (!strcmp(name, "t"))
        for (Lvl *l = el.lvl; l; l = l->parent) if (l->kind == L_RULE) return l->t;
    if (!strcmp(name, "loss") && el.mode == M_STEP && el.v->nminimize) return el.v->loss;
    *found = false;
    (void)at;
    return v_err();
}

/* Constants and streams are evaluated once per file, when first asked for. */
typedef struct { Ast *def; Value v; bool busy; } Cached;
static VEC(Cached *) cached;

static Value const_value(Ast *def)
{
    for (int i = 0; i < cached.n; i++)
        if (cached.at[i]->def == def) {
            if (cached.at[i]->busy) { error_at(def->loc, "'%s' is defined by itself", def->name); return v_err(); }
            return cached.at[i]->v;
        }
    Cached *c = NEW(Cached);
    c->def = def; c->busy = true;
    PUSH(cached, c);
    for (int i = opt.ndefines - 1; i >= 0; i--) {
        const char *d = opt.defines[i], *eq = strchr(d, '=');
        size_t n = eq ? (size_t)(eq - d) : 0;
        if (!eq || strlen(def->name) != n || strncmp(d, def->name, n)) continue;
        Ast *f = parse_file(source_add_text("-D", arena_printf("const %s\n", d)));
        if (f->nbody == 1 && f->body[0]->kind == D_CONST) {
            c->v = eval(file_scope(def->loc.file), f->body[0]->a);
            c->busy = false;
            return c->v;
        }
        c->busy = false;
        return c->v = v_err();
    }
    Scope *s = file_scope(def->loc.file);
    if (def->type) {
        int rank; int32_t dim[MAXDIM]; Dt dt;
        Ast tmp = *def;
        tmp.drawn = false;
        Value v = init_value(NULL, def->name, s, &tmp, def->loc, &rank, dim, &dt);
        c->v = v;
    } else {
        c->v = eval(s, def->a);
    }
    c->busy = false;
    return c->v;
}

Value eval_def(Ast *def, Loc at)
{
    if (def->kind == D_CONST) return const_value(def);
    Closure *c = closure_new(def, NULL, at);
    if (def->kind == D_STREAM && !def->nparams) return stream_call(c, at);
    return v_def(c);
}

static const char *suggestion(Scope *s, const char *name)
{
    VEC(const char *) all = { 0 };
    for (; s; s = s->parent)
        for (Binding *b = s->first; b; b = b->next) PUSH(all, b->name);
    int n;
    const char *const *b = builtin_names(&n);
    for (int i = 0; i < n; i++) PUSH(all, b[i]);
    return nearest(name, all.at, all.n);
}

static bool binding_value(Binding *b, Value *v)
{
    if (b->var) b->var->ever_read = true;
    *v = b->var ? var_value(b->var) : b->v;
    return true;
}

bool scope_find(Scope *s, const char *name, Value *v)
{
    Binding *b = scope_look(s, name);
    return b && binding_value(b, v);
}

/* Names that have a value, only not here. */
static bool name_elsewhere(Ast *e)
{
    static const struct { const char *name, *where; } words[] = {
        { "step", "in a model's body and in the rules' arguments there" },
        { "t", "in a rule" },
        { "loss", "below a model's `minimize`, and in `until` and `table` where the model says `report loss`" },
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcmp(words[i].name, e->name)) {
            error_at(e->loc, "'%s' has no value here; it has one %s", e->name, words[i].where);
            return true;
        }
    Ast *rule = el.mode == M_INIT && el.lvl && el.lvl->kind == L_RULE ? el.lvl->rule->def : NULL;
    if (rule && rule->inputs[1]->name == e->name) {
        error_at(e->loc, "'%s' is known when '%s' is updated, and a rule's state is made before; let it start at "
                         "zeros(%s)", e->name,
                 rule->inputs[0]->name, rule->inputs[0]->name);
        return true;
    }
    for (Inst *in = el.inst; in; in = in->parent)
        for (int i = 0; i < in->def->ninputs; i++) {
            if (in->def->inputs[i]->name == e->name) {
                error_at(e->loc, "'%s' is known when an item is there, and states are made before", e->name);
                note_at(in->def->inputs[i]->loc, "declared here");
                return true;
            }
            for (int k = 0; in->def->inputs[i]->type && k < in->def->inputs[i]->type->n; k++) {
                Ast *d = in->def->inputs[i]->type->list[k];
                if (d->kind != E_NAME || d->name != e->name) continue;
                error_at(e->loc, "'%s' is known when an item is there, and states are made before; make it a parameter "
                                 "or a const", e->name);
                note_at(d->loc, "declared here");
                return true;
            }
        }
    return false;
}

static Value eval_name(Scope *s, Ast *e)
{
    Value v;
    if (scope_find(s, e->name, &v)) return v;
    Ast *def = find_definition(scope_file(s), e->name, e->loc);
    if (def) return eval_def(def, e->loc);
    bool found;
    v = number_of(e->name, e->loc, &found);
    if (found) { explain_always(v, e->name); return v; }
    const Builtin *b = builtin_find(e->name);
    if (b) return v_def(closure_new(NULL, b, e->loc));
    if (name_elsewhere(e)) return v_err();
    const char *near = suggestion(s, e->name);
    if (near) error_at(e->loc, "'%s' has no value here; did you mean '%s'?", e->name, near);
    else error_at(e->loc, "'%s' has no value here: what binds it stands below, or is not reached", e->name);
    return v_err();
}

Value eval_quiet(Scope *s, Ast *e)
{
    diag_quiet(true);
    int before = error_count();
    Value v = eval(s, e);
    bool failed = error_count() > before;
    diag_quiet(false);
    return failed ? v_err() : v;
}

bool eval_flag(Scope *s, Ast *e, bool *known)
{
    Value v = eval(s, e);
    double x = 0;
    *known = v_number(v, &x);
    if (!*known && v.kind != V_ERR)
        error_at(e->loc, "a condition of `if` must be known when compiling, and this one is %s%s", v_show(v),
                 v.kind == V_TENSOR ? "; use where(c, a, b)" : "");
    return *known && x != 0;
}

/* In whose body the name is bound; NULL: in a function's or a rule's. */
static Inst *body_of(Scope *s)
{
    for (; s; s = s->parent) if (s->is_body) return el.inst;
    return NULL;
}

static void bind_one(Scope *s, const char *name, Value v, Loc at)
{
    scope_bind(s, name, v, at);
    if (explaining) explain_name(v, name, body_of(s), s);
}

/* Binds names to a value, taking tuples apart. */
void bind_names(Scope *s, Ast **names, int n, bool tuple, Value v, Loc at)
{
    for (int i = 0; i < n; i++) {
        Binding *b = scope_look(s, names[i]->name);
        if (b && b->var) {
            error_at(names[i]->loc, "'%s' is a state; it moves by `minimize` or `<-`, not by `=`", names[i]->name);
            note_at(b->at, "declared here");
            return;
        }
    }
    if (n == 1 && !tuple) { bind_one(s, names[0]->name, v, names[0]->loc); return; }
    if (v.kind == V_TENSOR) {                             /* (a, b) = a tensor: its rows */
        int rank; int32_t dim[MAXDIM];
        v_shape(v, &rank, dim);
        if (rank && dim[0] == n) {
            for (int i = 0; i < n; i++)
                scope_bind(s, names[i]->name, v_index(v, 1, &(Index){ IX_AT, .at = v_int(i), .loc = at }, at),
                           names[i]->loc);
            return;
        }
    }
    if (v.kind != V_LIST || v.n != n) {
        Loc all = loc_span(names[0]->loc, names[n - 1]->loc);
        if (v.kind == V_LIST) error_at(all, "%d names for %d values", n, v.n);
        else if (v.kind != V_ERR) error_at(all, "%d names for one value, %s", n, v_show(v));
        for (int i = 0; i < n; i++) scope_bind(s, names[i]->name, v_err(), names[i]->loc);
        return;
    }
    for (int i = 0; i < n; i++) bind_one(s, names[i]->name, v.elem[i], names[i]->loc);
}

/* ---- parameters */

/* Binds a definition's parameters in s to a closure's arguments; defaults may use the parameters before them. */
bool bind_params(Scope *s, Ast *def, Closure *c)
{
    int errors = error_count();
    bool *set = NEWN(bool, def->nparams + 1);
    Value *val = NEWN(Value, def->nparams + 1);
    int pos = 0;
    for (int i = 0; i < c->n; i++) {
        int k = -1;
        if (!c->argname[i]) {
            if (pos < def->nparams) k = pos;
            else if (pos == def->nparams)
                error_at(c->argloc[i], "'%s' takes %d argument%s; this is one more", def->name, def->nparams,
                         def->nparams == 1 ? "" : "s");
            pos++;
        } else {
            for (int j = 0; j < def->nparams; j++) if (def->params[j]->name == c->argname[i]) k = j;
            if (k < 0 && def->kind == D_BLOCK) continue;      /* an initial value: inst_new takes it */
            if (k < 0) {
                VEC(const char *) all = { 0 };
                for (int j = 0; j < def->nparams; j++) PUSH(all, def->params[j]->name);
                const char *near = nearest(c->argname[i], all.at, all.n);
                error_at(c->argloc[i], "'%s' has no parameter '%s'%s%s%s", def->name, c->argname[i],
                         near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
            }
        }
        if (k < 0) continue;
        if (set[k]) error_at(c->argloc[i], "parameter '%s' of '%s' is given twice", def->params[k]->name, def->name);
        set[k] = true; val[k] = c->arg[i];
    }
    for (int j = 0; j < def->nparams; j++) {
        Ast *p = def->params[j];
        if (!set[j] && p->a) { val[j] = eval(s, p->a); set[j] = true; }
        if (!set[j]) {
            error_at(c->at, "'%s' needs a value for its parameter '%s'", def->name, p->name);
            note_at(p->loc, "declared here");
            val[j] = v_err();
        }
        scope_bind(s, p->name, val[j], p->loc);
    }
    return error_count() == errors;
}

/* ---- expressions */

/* Expressions and bodies inside each other, through calls: what the stack can bear. */
enum { MAX_NESTING = 1500 };
static int nesting;

static bool too_deep(Loc at)
{
    if (nesting < MAX_NESTING) return false;
    error_at(at, "expressions and calls are nested more than %d deep here", MAX_NESTING);
    return true;
}

/* Is there room for `more` map axes? */
bool axes_fit(int more, Loc at)
{
    if (axes.n + more <= MAXDIM) return true;
    error_at(at, "this is mapped over more than %d axes at once", MAXDIM);
    return false;
}

static Value map_tuple(Value v, Value (*f)(Value, Loc), Loc at)
{
    if (v.kind == V_INST) v = inst_tuple(v.inst, at);
    if (v.kind != V_LIST) return f(v, at);
    Value *e = NEWN(Value, v.n + 1);
    for (int i = 0; i < v.n; i++) e[i] = map_tuple(v.elem[i], f, at);
    return v_list(v.n, e, v.tuple);
}

static Value make_stop(Value v, Loc at)
{
    v = v_as_tensor(v, at);
    if (v.kind != V_TENSOR) return v;
    Value r = v_tensor(n_stop(v.node, STOP_ALL), v.axes);
    r.weak = v.weak;
    return r;
}

static Value make_given(Value v, Loc at)
{
    v = v_as_tensor(v, at);
    if (v.kind != V_TENSOR || !el.lvl) return v;
    Value r = v_tensor(n_stop(v.node, el.lvl->tag), v.axes);
    r.weak = v.weak;
    return r;
}

static bool one_arg(Ast *e)
{
    if (e->n == 1 && e->list[0]->kind != E_ARG) return true;
    error_at(e->loc, "%s takes one argument", e->a->name);
    return false;
}

static Value call_stop(Scope *s, Ast *e)
{
    return one_arg(e) ? map_tuple(eval(s, e->list[0]), make_stop, e->loc) : v_err();
}
static Value call_given(Scope *s, Ast *e)
{
    return one_arg(e) ? map_tuple(eval(s, e->list[0]), make_given, e->loc) : v_err();
}

static Value call_pool(Scope *s, Ast *e)
{
    if (!one_arg(e)) return v_err();
    if (el.mode != M_STEP || !el.lvl || el.lvl->kind != L_MODEL) {
        error_at(e->loc, "pool(e) is the mean over the batch: it stands in a model's body or in a block that the model "
                         "calls");
        return v_err();
    }
    return batch_mean(v_as_float(eval(s, e->list[0]), e->loc), e->loc);
}

static Value call_file(Scope *s, Ast *e)
{
    Value a[2] = { v_err(), v_err() };
    if (e->n < 1 || e->n > 2) {
        error_at(e->loc, "file(NAME, PATH) takes the file's name and, for json and safetensors, the tensor's");
        return v_err();
    }
    for (int i = 0; i < e->n; i++) {
        a[i] = eval(s, e->list[i]);
        if (a[i].kind == V_ERR) return a[i];
        if (a[i].kind != V_STR) {
            error_at(e->list[i]->loc, "file() takes texts, not %s", v_show(a[i]));
            return v_err();
        }
    }
    Node *n = file_tensor(a[0].str, e->n > 1 ? a[1].str : "", float_dt(), e->loc);
    return n ? v_tensor(n, 0) : v_err();
}

static Value call_chunks(Scope *s, Ast *e)
{
    (void)s;
    error_at(e->loc, "chunks(x, n) is a context: level NAME over c in chunks(x, n)");
    return v_err();
}

/* Functions that need their context or their arguments' text; everything else is a builtin (builtins.c) or stdlib. */
static const struct { const char *name; Value (*call)(Scope *, Ast *); } special[] = {
    { "stop", call_stop }, { "given", call_given }, { "pool", call_pool }, { "file", call_file },
    { "total", eval_total }, { "avg", eval_avg }, { "past", call_past }, { "chunks", call_chunks },
    { "join", call_join },
};

static Value eval_for(Scope *s, Ast *e)
{
    Value over = eval(s, e->b);
    if (over.kind == V_ERR) return over;
    Scope *in = scope_new(s, e->loc);
    if (over.kind == V_TENSOR) {                          /* over rows: a map */
        int rank; int32_t dim[MAXDIM];
        v_shape(over, &rank, dim);
        if (!rank) { error_at(e->b->loc, "a scalar has no rows to go through"); return v_err(); }
        if (!axes_fit(1, e->loc)) return v_err();
        int ax = axis_push(dim[0]);
        bind_names(in, e->names, e->nnames, e->tuple, v_raise_axis(over, ax), e->loc);
        Value v = v_as_tensor(eval(in, e->a), e->loc);
        v = v.kind == V_ERR ? v : v_lower_axis(v, ax);
        axis_pop();
        return v;
    }
    Value *it = NULL;
    int n = walk_items(over, e->b, e->nnames, &it, e->b->loc);
    if (n < 0) return v_err();
    Value *out = NEWN(Value, n + 1);
    for (int i = 0; i < n; i++) {
        bind_names(in, e->names, e->nnames, e->tuple, it[i], e->loc);
        out[i] = eval(in, e->a);
        if (out[i].kind == V_ERR) return out[i];
    }
    return v_list(n, out, false);
}

static Value eval_range(Scope *s, Ast *e)
{
    Value a = eval(s, e->a), b = eval(s, e->b);
    int64_t x, y;
    if (a.kind == V_ERR || b.kind == V_ERR) return v_err();
    if (!v_integer(a, &x)) {
        error_at(e->a->loc, "a range runs over whole numbers known when compiling, not %s", v_show(a));
        return v_err();
    }
    if (!v_integer(b, &y)) {
        error_at(e->b->loc, "a range runs over whole numbers known when compiling, not %s", v_show(b));
        return v_err();
    }
    if (y > x && (uint64_t)y - (uint64_t)x >= 1000000) {
        error_at(e->loc, "a range of %llu numbers is too long; a list has at most 1000000",
                 (unsigned long long)y - (unsigned long long)x + 1);
        return v_err();
    }
    int n = y < x ? 0 : (int)(y - x + 1);
    Value *v = NEWN(Value, n + 1);
    for (int i = 0; i < n; i++) v[i] = v_int(x + i);
    return v_list(n, v, false);
}

/* The base and computed indices meet in one loop. */
static void meet_index(Value *base, int n, Index *ix)
{
    Value all[1 + MAXDIM * 2];
    if (!el.frame) return;
    all[0] = *base;
    for (int i = 0; i < n; i++) all[i + 1] = ix[i].kind == IX_AT ? ix[i].at : v_int(0);
    frames_meet(n + 1, all);
    *base = all[0];
    for (int i = 0; i < n; i++) if (ix[i].kind == IX_AT) ix[i].at = all[i + 1];
}

/* E[i], W[0, i]: what the k-th index is an index of. */
static const char *indexed(const Ast *e, int k)
{
    const char *text = ast_text(e->a);
    int axis = 0;
    for (int i = 0; i < k; i++) axis += e->list[i]->kind != E_NEWAX;
    if (strlen(text) > 40) text = "its tensor";
    return axis ? arena_printf("axis %d of %s", axis, text) : text;
}

static Value eval_index(Scope *s, Ast *e)
{
    Value base = eval(s, e->a);
    if (base.kind == V_ERR) return base;
    if (base.kind == V_DEF && base.clo->def && base.clo->def->kind == D_STREAM) base = stream_call(base.clo, e->loc);
    if (base.kind == V_STREAM) {
        if (e->n != 1) { error_at(e->loc, "a stream has one axis, its items"); return v_err(); }
        return stream_slice(base, e->list[0], s);
    }
    Index ix[MAXDIM * 2];
    if (e->n > MAXDIM * 2) { error_at(e->loc, "too many indices"); return v_err(); }
    for (int i = 0; i < e->n; i++) {
        Ast *x = e->list[i];
        ix[i] = (Index){ .kind = IX_AT, .loc = x->loc };
        if (x->kind == E_NEWAX) ix[i].kind = IX_NEW;
        else if (x->kind == E_SLICE) {
            ix[i].kind = IX_SLICE;
            if (x->a) {
                ix[i].has_from = true;
                ix[i].from = eval(s, x->a);
                if (ix[i].from.kind == V_ERR) return v_err();
            }
            if (x->b) { ix[i].has_to = true; ix[i].to = eval(s, x->b); if (ix[i].to.kind == V_ERR) return v_err(); }
        } else {
            ix[i].at = eval(s, x);
            ix[i].of = indexed(e, i);
            if (ix[i].at.kind == V_ERR) return v_err();
        }
    }
    if (base.kind == V_INST) base = inst_tuple(base.inst, e->loc);
    meet_index(&base, e->n, ix);
    return v_index(base, e->n, ix, e->loc);
}

/* memory.M, and inst.memory.M: a state of a level above. */
static bool eval_level_field(Scope *s, Ast *e, Value *v)
{
    Lvl *l = NULL;
    if (e->a->kind == E_NAME) {
        l = level_find(s, e->a->name);
        if (!l && !scope_look(s, e->a->name) && level_before(s, NULL, e->a->name, e->name, e->loc, v)) return true;
    }
    if (e->a->kind == E_FIELD) {
        Value b = eval_quiet(s, e->a->a);
        if (b.kind == V_INST && b.inst->call) l = level_find(b.inst->call, e->a->name);
        if (!l && b.kind == V_INST && level_before(s, b.inst, e->a->name, e->name, e->loc, v)) return true;
    }
    if (l) *v = level_state(l, e->name, e->loc);
    return l != NULL;
}

static Value eval_field(Scope *s, Ast *e)
{
    Value of_level;
    if (eval_level_field(s, e, &of_level)) return of_level;
    Value b = eval(s, e->a);
    if (b.kind == V_ERR) return b;
    if (b.kind == V_INST) return inst_member(b.inst, e->name, e->loc);
    if (b.kind == V_LIST && e->name[0] >= '0' && e->name[0] <= '9')
        return v_index(b, 1, &(Index){ IX_AT, .at = v_int(atoll(e->name)), .loc = e->loc }, e->loc);
    if (b.kind == V_TENSOR && b.state && el.em) {         /* W.m: a state of W's rule */
        Var *v = var_find(el.em, arena_printf("%s.%s", b.state->path, e->name));
        if (v) return var_value(v);
        error_at(e->loc, "the rule that moves '%s' has no state '%s' (yet: it is known below the `minimize` that moves "
                         "it)", b.state->path, e->name);
        return v_err();
    }
    error_at(e->loc, "%s has no parts, so no '.%s'", v_show(b), e->name);
    return v_err();
}

/* + - * on tuples and instances act tensor by tensor. */
static Value tuple_binary(int op, Value a, Value b, Loc at)
{
    if (a.kind == V_INST) a = inst_tuple(a.inst, at);
    if (b.kind == V_INST) b = inst_tuple(b.inst, at);
    if (a.kind == V_ERR || b.kind == V_ERR) return v_err();
    bool la = a.kind == V_LIST && a.tuple, lb = b.kind == V_LIST && b.tuple;
    if (!la && !lb) {
        Value v[2] = { a, b };
        frames_meet(2, v);
        return op == '@' ? uses_product(v[0], v[1], at) : v_binary(op, v[0], v[1], at);
    }
    if (op != '+' && op != '-' && op != '*' && op != '/') {
        error_at(at, "instances and tuples take +, -, and * and / by a number only");
        return v_err();
    }
    if (la && lb && a.n != b.n) { error_at(at, "tuples of %d and %d tensors do not meet", a.n, b.n); return v_err(); }
    int n = la ? a.n : b.n;
    Value *e = NEWN(Value, n + 1);
    for (int i = 0; i < n; i++) e[i] = tuple_binary(op, la ? a.elem[i] : a, lb ? b.elem[i] : b, at);
    return v_list(n, e, true);
}

static bool is_stream(Value v)
{
    return v.kind == V_STREAM || (v.kind == V_DEF && v.clo->def && v.clo->def->kind == D_STREAM);
}

static Value eval_binary(Scope *s, Ast *e)
{
    Value a = eval(s, e->a);
    if (a.kind == V_ERR && nesting == MAX_NESTING) return a;              /* said once is enough */
    Value b = eval(s, e->b);
    if (a.kind == V_ERR || b.kind == V_ERR) return v_err();
    if (e->op == '+' && (is_stream(a) || is_stream(b))) return stream_cat(a, b, e);
    return tuple_binary(e->op, a, b, e->loc);
}

static Value eval_key(Scope *s, Ast *e)
{
    Value k = eval(s, e->b);
    if (k.kind == V_ERR) return k;
    Value kt = v_as_tensor(k, e->b->loc);
    if (kt.kind != V_TENSOR) return v_err();
    if (kt.node->rank || dt_float((Dt)kt.node->dt)) {
        error_at(e->b->loc, "a key is one whole number, not %s", v_show(k));
        return v_err();
    }
    DrawContext keep = draws;
    draws.item = n_cast(kt.node, I64);
    draws.item_axes = kt.axes;
    draws.step = n_iconst(I64, 0);
    draws.path = "key";                                   /* depends on the seed and the key alone */
    draws.ndraws = 0;
    Value v = eval(s, e->a);
    draws = keep;
    return v;
}

/* sq, dot, norm of instances add up over their tensors. */
static bool reduce_tuple(const Closure *f, int n, Value *arg, Loc at, Value *out)
{
    const char *name = builtin_name(f->builtin);
    bool sq = !strcmp(name, "sq"), dot = !strcmp(name, "dot"), norm = !strcmp(name, "norm");
    if (!sq && !dot && !norm) return false;
    for (int i = 0; i < n; i++) if (arg[i].kind == V_INST) arg[i] = inst_tuple(arg[i].inst, at);
    if (!n || arg[0].kind != V_LIST || !arg[0].tuple) return false;
    if (dot && (n != 2 || arg[1].kind != V_LIST || arg[1].n != arg[0].n)) {
        error_at(at, "dot of instances takes two of the same block");
        *out = v_err();
        return true;
    }
    const Builtin *inner = builtin_find(dot ? "dot" : "sq");
    Value sum = v_int(0);
    for (int i = 0; i < arg[0].n; i++) {
        Value a[2] = { arg[0].elem[i], dot ? arg[1].elem[i] : v_err() };
        sum = v_binary('+', sum, builtin_call(inner, dot ? 2 : 1, a, (const char *[2]){ NULL, NULL }, at), at);
    }
    *out = norm ? builtin_call(builtin_find("sqrt"), 1, &sum, (const char *[1]){ NULL }, at) : sum;
    return true;
}

/* A matrix called like a function. */
static Value call_matrix(Value m, Value x, Loc at)
{
    Value mx[2] = { m, v_as_tensor(x, at) };
    if (mx[1].kind != V_TENSOR) return v_err();
    frames_meet(2, mx);
    return uses_linear(mx[0], mx[1], at);
}

static Closure *closure_given(Closure *f, int n, Value *arg, const char **name, Loc *argloc, Loc at)
{
    Closure *c = NEW(Closure);
    *c = *f;
    c->given = true; c->n = n; c->arg = arg; c->argname = name; c->argloc = argloc; c->at = at;
    return c;
}

Value v_call(Value f, int n, Value *arg, const char **name, Loc *argloc, Loc at, Scope *s)
{
    (void)s;
    if (f.kind == V_ERR) return f;
    for (int i = 0; i < n; i++) if (arg[i].kind == V_ERR) return v_err();
    if (f.kind == V_INST) {
        Value v = call_inst(f.inst, n, arg, name, argloc, at);
        if (!f.inst->rule) explain_call(v, NULL, f.inst, n, arg, name);
        return v;
    }
    if (f.kind == V_TENSOR && n == 1) return call_matrix(f, arg[0], at);
    if (f.kind != V_DEF) { error_at(at, "%s cannot be called", v_show(f)); return v_err(); }
    if (f.clo->builtin) {
        Value out;
        if (reduce_tuple(f.clo, n, arg, at, &out)) return out;
        frames_meet(n, arg);
        out = builtin_call(f.clo->builtin, n, arg, name, at);
        explain_call(out, builtin_name(f.clo->builtin), NULL, n, arg, name);
        return out;
    }
    if (f.clo->def->kind == D_RULE && apply_rule_call(s, f, n, arg, at)) return v_none();
    if (f.clo->given) { error_at(at, "'%s' has its arguments already", v_text(f)); return v_err(); }
    Closure *c = closure_given(f.clo, n, arg, name, argloc, at);
    if (c->def->kind == D_FN) {
        Value v = call_fn(c, at);
        explain_call(v, c->def->name, NULL, n, arg, name);
        return v;
    }
    if (c->def->kind == D_STREAM) return stream_call(c, at);
    return v_def(c);
}

static int args_of(Scope *s, Ast *e, Value **arg, const char ***name, Loc **loc)
{
    *arg = NEWN(Value, e->n + 1); *name = NEWN(const char *, e->n + 1); *loc = NEWN(Loc, e->n + 1);
    int n = 0;
    for (int i = 0; i < e->n; i++) {
        Ast *x = e->list[i];
        if (x->kind == E_PAIR) { error_at(x->loc, "`key: value` has no meaning in this call"); return -1; }
        (*loc)[n] = x->loc;
        (*name)[n] = x->kind == E_ARG ? x->name : NULL;
        (*arg)[n] = eval(s, x->kind == E_ARG ? x->a : x);
        if ((*arg)[n++].kind == V_ERR) return -1;
    }
    return n;
}

static Value eval_call(Scope *s, Ast *e)
{
    Value shadow;
    if (e->a->kind == E_NAME && !scope_find(s, e->a->name, &shadow) &&
        !find_definition(scope_file(s), e->a->name, e->a->loc)) {
        for (size_t i = 0; i < sizeof special / sizeof *special; i++)
            if (!strcmp(special[i].name, e->a->name)) {
                Value v = special[i].call(s, e);
                if (special[i].call == call_past) explain_always(v, ast_text(e));
                return v;
            }
        if (is_reader(e->a->name) || !strcmp(e->a->name, "mix")) return stream_value(s, e);
    }
    Value f = eval(s, e->a), *arg;
    const char **name;
    Loc *loc;
    int n = args_of(s, e, &arg, &name, &loc);
    if (n < 0 || f.kind == V_ERR) return v_err();
    return v_call(f, n, arg, name, loc, e->loc, s);
}

/* [a, b] of tensors is their stack; numbers known when compiling stay a list (of sizes, of periods) until a tensor is
   wanted. */
static bool stacks(Value list)
{
    bool tensor = false;
    for (int i = 0; i < list.n; i++) {
        Value x = list.elem[i];
        if (x.kind == V_LIST ? !v_shape(x, &(int){ 0 }, (int32_t[MAXDIM]){ 0 }) : x.kind != V_TENSOR && x.kind != V_NUM)
            return false;
        tensor |= x.kind == V_TENSOR || (x.kind == V_LIST && stacks(x));
    }
    return tensor;
}

static Value eval_list(Scope *s, Ast *e)
{
    if (e->n == 1 && e->list[0]->kind == E_FOR) {         /* [e for ..]: the list itself */
        Value v = eval(s, e->list[0]);
        if (v.kind == V_LIST) v.tuple = e->kind == E_TUPLE;
        return v;
    }
    Value *v = NEWN(Value, e->n + 1);
    for (int i = 0; i < e->n; i++) {
        if (e->list[i]->kind == E_PAIR) {
            error_at(e->list[i]->loc, "`key: value` stands after `with` only");
            return v_err();
        }
        v[i] = eval(s, e->list[i]);
        if (v[i].kind == V_ERR) return v[i];
    }
    if (e->kind == E_LIST) frames_meet(e->n, v);
    Value list = v_list(e->n, v, e->kind == E_TUPLE);
    return e->kind == E_LIST && stacks(list) ? v_as_tensor(list, e->loc) : list;
}

static Value eval_number(Ast *e)
{
    if (e->percent) return (Value){ .kind = V_PERCENT, .num = e->num };
    return e->isint ? v_int(e->inum) : v_real(e->num);
}

Value eval(Scope *s, Ast *e)
{
    if (!e || too_deep(e->loc)) return v_err();
    Value v;
    nesting++;
    switch (e->kind) {
    case E_NUM: v = eval_number(e); break;
    case E_STR: v = (Value){ .kind = V_STR, .str = e->name }; break;
    case E_NAME: v = eval_name(s, e); break;
    case E_UN:
        v = eval(s, e->a);
        if (v.kind == V_LIST && v.tuple && e->op == '-') v = tuple_binary('*', v, v_int(-1), e->loc);
        else if (v.kind != V_ERR) v = v_unary(e->op, v, e->loc);
        break;
    case E_BIN: v = eval_binary(s, e); break;
    case E_CALL: v = eval_call(s, e); break;
    case E_INDEX: v = eval_index(s, e); break;
    case E_FIELD: v = eval_field(s, e); break;
    case E_LIST: case E_TUPLE: v = eval_list(s, e); break;
    case E_FOR: v = eval_for(s, e); break;
    case E_RANGE: v = eval_range(s, e); break;
    case E_KEY: v = eval_key(s, e); break;
    case E_WHEN: case E_WINDOW: v = stream_value(s, e); break;
    default: error_at(e->loc, "this is not an expression"); v = v_err();
    }
    nesting--;
    v.loc = e->loc;
    return v;
}

/* ---- statements of bodies (models, blocks, functions, rules, streams) */

static void exec_bind(Scope *s, Ast *st)
{
    Value v = eval(s, st->a);
    if (v.kind == V_DEF && v.clo->def && v.clo->def->kind == D_BLOCK && v.clo->given && st->nnames == 1 && el.inst) {
        Binding *b = scope_look(s, st->names[0]->name);   /* made when the instance around was declared */
        if (b && b->v.kind == V_INST) return;
    }
    bind_names(s, st->names, st->nnames, st->tuple, v, st->loc);
}

static void exec_emit(Scope *s, Ast *st)
{
    Lvl *l = el.lvl;
    if (l->kind == L_LEVEL && l->nemit) {
        error_at(st->loc, "a level emits once an item; emit a, b gives a pair");
        return;
    }
    if (st->n > 16) { error_at(st->loc, "emit takes at most 16 values"); return; }
    for (int k = 0; k < st->n; k++) {
        Value v = eval(s, st->list[k]);
        v.loc = st->list[k]->loc;
        if (l->kind == L_LEVEL) l->emit[l->nemit++] = v;
        else if (!k && el.v) { el.v->emits = true; el.v->emitted = v.kind == V_TENSOR ? v_as_float(v, v.loc) : v; }
    }
}

static void exec_for(Scope *s, Ast *st, Value *last, bool *done)
{
    Value over = eval(s, st->a), *it = NULL;
    if (over.kind == V_INST) over = inst_tuple(over.inst, st->a->loc);
    int n = walk_items(over, st->a, st->nnames, &it, st->a->loc);
    for (int i = 0; i < n && !*done; i++) {
        int errors = error_count();
        bind_names(s, st->names, st->nnames, st->tuple, it[i], st->loc);
        *last = exec(s, st->body, st->nbody, done);
        if (error_count() > errors) break;                /* one turn's errors say it all */
    }
}

Value exec(Scope *s, Ast **body, int n, bool *done)
{
    Value last = v_none();
    if (n && too_deep(body[0]->loc)) return v_err();
    nesting++;
    for (int i = 0; i < n && !*done; i++) {
        Ast *st = body[i];
        bool known;
        switch (st->kind) {
        case S_BIND: exec_bind(s, st); break;
        case S_MOVE: stmt_move(s, st); break;
        case S_LEARN: case S_STATE:
            if (el.lvl && el.lvl->kind == L_RULE && !el.inst) rule_declare(s, st);
            else if (el.lvl && el.lvl->kind == L_LEVEL && el.lvl->ast->body == body) break;
            break;
        case S_DEFAULT: case S_EVENT: break;
        case S_MINIMIZE: stmt_minimize(s, st); break;
        case S_REPORT: stmt_report(s, st); break;
        case S_EMIT:
            exec_emit(s, st);
            break;
        case S_IF: {
            bool yes = eval_flag(s, st->a, &known);
            last = known ? exec(s, yes ? st->body : st->body2, yes ? st->nbody : st->nbody2, done) : v_err();
            break;
        }
        case S_FOR: exec_for(s, st, &last, done); break;
        case S_EVERY: stmt_every(s, st); break;
        case S_LEVEL:
            stmt_level(s, st);
            /* a body that ends with a level gives what it emitted */
            if (!scope_find(s, st->name, &last)) last = v_err();
            break;
        case S_EXPR: last = eval(s, st->a); break;
        default: break;                                   /* resolve.c has seen to the others */
        }
    }
    nesting--;
    return last;
}

/* ---- the program */

static void check_alone(Ast *tree);

Program *elaborate(int file)
{
    Program *p = NEW(Program);
    Ast *tree = source_file(file)->tree;
    memset(&el, 0, sizeof el);
    memset(&axes, 0, sizeof axes);
    el.p = p; el.main_file = file; el.mode = M_SCHED;
    p->source = source_name(file); p->f64 = opt.f64;
    Scope *fs = file_scope(file);
    for (int i = 0; i < tree->nbody; i++)
        if (tree->body[i]->kind == D_CONST) const_value(tree->body[i]);
    for (int i = 0; i < tree->nbody; i++)
        if (tree->body[i]->kind == D_SCHEDULE) {
            Scope *s = scope_new(fs, tree->body[i]->loc);
            schedule_run(s, tree->body[i]->body, tree->body[i]->nbody);
        }
    check_alone(tree);
    if (!explaining) generate_entries();
    models_finish();
    warn_of_periods();
    return error_count() ? NULL : p;
}

/* Models that the schedule does not use are looked at all the same, where their parameters have defaults. */
static void check_alone(Ast *tree)
{
    for (int i = 0; i < tree->nbody; i++) {
        Ast *d = tree->body[i];
        if (d->kind != D_MODEL) continue;
        bool open = false;
        for (int j = 0; j < d->nparams; j++) open |= !d->params[j]->a;
        if (!open) model_get(closure_new(d, NULL, d->loc), d->loc);
    }
}
