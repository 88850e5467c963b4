/* elab_call.c: calls of functions and of instances. Both are inlined: the body is evaluated with the inputs bound. An
   input declared for a shape takes more leading axes: they become map axes while the body runs, and leading axes of the
   result afterwards. */
#include <string.h>
#include "elab_int.h"
#include "explain.h"

enum { MAX_DEPTH = 200 };

static Dt type_dt(Ast *type, bool *ok)
{
    static const struct { const char *name; Dt dt; } types[] = {
        { "f32", F32 }, { "f64", F64 }, { "i32", I32 }, { "i64", I64 }, { "u8", U8 }, { "bool", BOOL },
    };
    *ok = true;
    if (!type->name) return float_dt();
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(type->name, types[i].name)) return types[i].dt;
    error_at(type->loc, "unknown element type '%s'; there are f32, f64, i32, i64, u8 and bool", type->name);
    *ok = false;
    return F32;
}

Dt elem_type(Ast *type, bool *ok) { return type_dt(type, ok); }

static const char *dims_text(int n, const int32_t *dim)
{
    const char *t = "[";
    for (int i = 0; i < n; i++) t = arena_printf("%s%s%d", t, i ? ", " : "", (int)dim[i]);
    return arena_printf("%s]", t);
}

/* Meets the declared dimension i of p with that of a shape: a free name is bound, anything else must be equal. */
static bool meet_dim(Scope *s, Ast *p, int i, const int32_t *dim, const char *what, Loc at)
{
    Ast *d = p->type->list[i];
    Value v;
    int64_t k;
    if (d->kind == E_NAME && !scope_find(s, d->name, &v)) {
        Scope *top = s;
        while (top->parent) top = top->parent;
        Ast *def = find_definition(top->file, d->name, d->loc);
        if (!def || def->kind != D_CONST) { scope_bind(s, d->name, v_int(dim[i]), d->loc); return true; }
    }
    v = eval(s, d);
    if (v.kind == V_ERR) return false;
    if (!v_integer(v, &k)) { error_at(d->loc, "a dimension is a whole number, not %s", v_show(v)); return false; }
    if (k == dim[i]) return true;
    const char *with = d->kind == E_NUM ? "" : arena_printf(", with %s = %lld", ast_text(d), (long long)k);
    error_at(at, "'%s' is declared %s%s, and %s %s", p->name, ast_text(p->type), with, what,
             dims_text(p->type->n, dim));
    note_at(p->loc, "declared here");
    return false;
}

bool meet_type(Scope *s, Ast *p, const int32_t *dim, const char *what, Loc at)
{
    for (int i = 0; i < p->type->n; i++) if (!meet_dim(s, p, i, dim, what, at)) return false;
    return true;
}

/* Converts an argument to its declared element type and finds how many more axes it has. */
static bool take_input(Ast *p, Value *v, int *extra, Loc at)
{
    bool ok;
    int rank; int32_t dim[MAXDIM];
    Dt dt = type_dt(p->type, &ok);
    if (!ok) return false;
    *v = v_as_tensor(*v, at);
    if (v->kind != V_TENSOR) return false;
    *v = v_convert(*v, dt, at);
    if (v->kind != V_TENSOR || !v_shape(*v, &rank, dim)) return false;
    *extra = rank - p->type->n;
    if (*extra >= 0) return true;
    error_at(at, "'%s' is declared %s, and this argument is %s: %d ax%s too few", p->name, ast_text(p->type),
             v_show(*v), -*extra, *extra == -1 ? "is" : "es");
    note_at(p->loc, "declared here");
    return false;
}

static Value lower_all(Value v, int nax, const int *ax)
{
    if (v.kind == V_LIST) {
        Value *e = NEWN(Value, v.n + 1);
        for (int i = 0; i < v.n; i++) e[i] = lower_all(v.elem[i], nax, ax);
        return v_list(v.n, e, v.tuple);
    }
    if (!nax || v.kind == V_ERR || v.kind == V_NONE) return v;
    v = v_as_tensor(v, v.loc);
    for (int i = nax - 1; i >= 0 && v.kind == V_TENSOR; i--) v = v_lower_axis(v, ax[i]);
    return v;
}

/* Binds the inputs of def to arg in s, runs the body under the map axes that the arguments bring, and takes the axes
   off the result. */
Value call_mapped(Ast *def, Scope *s, int n, Value *arg, Loc *argloc, Loc at, Value (*run)(Scope *, void *), void *data)
{
    Ast **in = def->kind == D_FN ? def->params : def->inputs;
    int nin = def->kind == D_FN ? def->nparams : def->ninputs, most = 0, who = -1;
    int *extra = NEWN(int, n + 1);
    int32_t lead[MAXDIM], dim[MAXDIM];
    if (n != nin) {
        error_at(at, "'%s' takes %d input%s, not %d", def->name, nin, nin == 1 ? "" : "s", n);
        return v_err();
    }
    for (int i = 0; i < n; i++) {
        if (!in[i]->type) continue;
        if (!take_input(in[i], &arg[i], &extra[i], argloc[i])) return v_err();
        if (extra[i] > most) { most = extra[i]; who = i; }
    }
    int rank;
    if (who >= 0) { v_shape(arg[who], &rank, dim); memcpy(lead, dim, sizeof lead); }
    for (int i = 0; i < n; i++) {
        if (!in[i]->type) continue;
        v_shape(arg[i], &rank, dim);
        for (int k = 0; k < extra[i]; k++)
            if (dim[k] != lead[most - extra[i] + k]) {
                error_at(argloc[i], "'%s' is mapped over the leading axes of its inputs, and they differ: %s and %s",
                         def->name, v_dims(arg[who]), v_dims(arg[i]));
                return v_err();
            }
        if (!meet_type(s, in[i], dim + extra[i], "this argument is", argloc[i])) return v_err();
    }
    if (!axes_fit(most, at)) return v_err();
    int ax[MAXDIM];
    for (int k = 0; k < most; k++) {
        ax[k] = axis_push(lead[k]);
        for (int i = 0; i < n; i++)
            if (in[i]->type && k >= most - extra[i]) arg[i] = v_raise_axis(arg[i], ax[k]);
    }
    for (int i = 0; i < n; i++) {
        scope_bind(s, in[i]->name, arg[i], in[i]->loc);
        if (def->kind == D_BLOCK) explain_name(arg[i], in[i]->name, el.inst, s);
    }
    Value v = run(s, data);
    v = lower_all(v, most, ax);
    for (int k = 0; k < most; k++) axis_pop();
    return v;
}

static bool enter(const char *name, Loc at)
{
    if (++el.depth <= MAX_DEPTH) return true;
    error_at(at, "'%s' calls itself without end", name);
    return false;
}

typedef struct { Ast **body; int n; Loc at; } Body;

static Value run_body(Scope *s, void *data)
{
    Body *b = data;
    bool done = false;
    return exec(s, b->body, b->n, &done);
}

static Value run_expr(Scope *s, void *data) { return eval(s, data); }

Value call_fn(Closure *f, Loc at)
{
    Ast *d = f->def;
    Value v = v_err();
    if (!enter(d->name, at)) { el.depth--; return v; }
    Scope *s = scope_new(file_scope(d->loc.file), at);
    Inst *keep = el.inst;
    if (bind_params(s, d, f)) {
        Value *arg = NEWN(Value, d->nparams + 1);
        Loc *loc = NEWN(Loc, d->nparams + 1);
        for (int i = 0; i < d->nparams; i++) {
            scope_find(s, d->params[i]->name, &arg[i]);
            loc[i] = f->at;
            for (int k = 0, pos = 0; k < f->n; k++)
                if (f->argname[k] ? f->argname[k] == d->params[i]->name : pos++ == i) loc[i] = f->argloc[k];
            if (arg[i].kind == V_ERR) { el.depth--; return v; }
        }
        /* The body sees the inputs in a scope of their own, so that dimension names are not hidden by parameters. */
        Scope *in = scope_new(file_scope(d->loc.file), at);
        for (int i = 0; i < d->nparams; i++)
            if (!d->params[i]->type) scope_bind(in, d->params[i]->name, arg[i], d->params[i]->loc);
        v = d->a ? call_mapped(d, in, d->nparams, arg, loc, at, run_expr, d->a)
                 : call_mapped(d, in, d->nparams, arg, loc, at, run_body, &(Body){ d->body, d->nbody, at });
    }
    el.inst = keep;
    el.depth--;
    if (v.kind == V_NONE) {
        error_at(at, "'%s' has no result: its body ends without an expression", d->name);
        note_at(d->loc, "defined here");
        v = v_err();
    }
    return v;
}

static Value check_result(Scope *s, Ast *type, Value v, Ast *def, Loc at)
{
    int rank; int32_t dim[MAXDIM];
    if (v.kind == V_ERR || v.kind == V_NONE) return v;
    if (type->kind == E_TUPLE) {
        if (v.kind != V_LIST || v.n != type->n) {
            error_at(at, "'%s' is declared to give %d values, and gives %s", def->name, type->n, v_show(v));
            note_at(type->loc, "declared here");
            return v_err();
        }
        Value *e = NEWN(Value, v.n + 1);
        for (int i = 0; i < v.n; i++) e[i] = check_result(s, type->list[i], v.elem[i], def, at);
        return v_list(v.n, e, true);
    }
    v = v_as_tensor(v, at);
    if (!v_shape(v, &rank, dim)) return v_err();
    bool fits = rank == type->n;
    for (int i = 0; i < type->n && fits; i++) {
        int64_t k;
        Value d = eval(s, type->list[i]);
        if (d.kind == V_ERR) return d;
        fits = v_integer(d, &k) && k == dim[i];
    }
    if (fits) { bool ok; Dt dt = type_dt(type, &ok); return ok ? v_convert(v, dt, at) : v_err(); }
    error_at(v.loc.line ? v.loc : at, "the result of '%s' is declared %s, and is %s", def->name, ast_text(type),
             v_dims(v));
    note_at(type->loc, "declared here");
    return v_err();
}

typedef struct { Inst *inst; Loc at; } Call;

static Value run_inst(Scope *s, void *data)
{
    Call *c = data;
    bool done = false;
    Value v = exec(s, c->inst->def->body, c->inst->def->nbody, &done);
    if (v.kind == V_NONE && c->inst->def->type) {
        error_at(c->at, "'%s' has no result: its body ends without an expression", c->inst->def->name);
        note_at(c->inst->def->loc, "defined here");
        return v_err();
    }
    return c->inst->def->type ? check_result(s, c->inst->def->type, v, c->inst->def, c->at) : v;
}

Value call_inst(Inst *i, int n, Value *arg, const char **name, Loc *argloc, Loc at)
{
    Value v = v_err();
    for (int k = 0; k < n; k++)
        if (name[k]) { error_at(argloc[k], "the inputs of an instance have no names"); return v; }
    bool rule = false;
    for (Lvl *l = el.lvl; l; l = l->parent) rule |= l->kind == L_RULE;
    if (el.mode != M_STEP || (rule && !i->rule)) {
        error_at(at, "'%s' is called where its states are not at hand; call it in a model's body", i->path);
        return v;
    }
    if (!enter(i->def->name, at)) { el.depth--; return v; }
    Inst *keep = el.inst;
    DrawContext draw = draws;
    Scope *s = scope_new(i->scope, at);
    el.inst = i; i->call = s; i->called = true;
    draws.path = i->path; draws.ndraws = i->ndraws;
    v = call_mapped(i->def, s, n, arg, argloc, at, run_inst, &(Call){ i, at });
    i->ndraws = draws.ndraws;
    draws = draw;
    el.inst = keep;
    el.depth--;
    return v;
}
