/* build.c: the actions of the grammar.

   Requires: parts that were built here.  Does: makes the nodes of ast.h; says what a grammar cannot say well (a left
   side that is no name, a clause that stands twice or in the wrong statement).
   Guarantees: no tree deeper than AST_MAX_DEPTH; what is too deep is cut off, with one message a file. */
#include "build.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- depth */

static bool said_too_deep;

void build_begin(void)
{
    said_too_deep = false;
}

static int max(int a, int b)
{
    return a > b ? a : b;
}

static int depth_of(const Ast *a)
{
    return a ? a->depth : 0;
}

static int depth_of_list(Ast *const *list, int n)
{
    int d = 0;
    for (int i = 0; i < n; i++) d = max(d, list[i]->depth);
    return d;
}

static int depth_of_clauses(const Clauses *c)
{
    if (!c) return 0;
    int d = max(depth_of(c->every), max(depth_of(c->block), max(depth_of(c->when), depth_of(c->with))));
    d = max(d, max(depth_of(c->in), depth_of(c->truncate)));
    return max(d, depth_of_list(c->map, c->nmap));
}

static int depth_of_sched(const SchedClauses *c)
{
    if (!c) return 0;
    int d = max(depth_of(c->batch), max(depth_of(c->count), depth_of(c->until)));
    return max(d, depth_of_list(c->learning, c->nlearning));
}

/* Every constructor ends here. */
static Ast *built(Ast *a)
{
    int d = max(max(depth_of(a->a), depth_of(a->b)), max(depth_of(a->c), depth_of(a->type)));
    d = max(d, max(depth_of_list(a->list, a->n), depth_of_list(a->params, a->nparams)));
    d = max(d, max(depth_of_list(a->inputs, a->ninputs), depth_of_list(a->body, a->nbody)));
    d = max(d, max(depth_of_list(a->body2, a->nbody2), max(depth_of_clauses(a->cl), depth_of_sched(a->sc))));
    if (d < AST_MAX_DEPTH) {
        a->depth = d + 1;
        return a;
    }
    if (!said_too_deep) error_at(a->loc, "this is nested too deeply: more than %d levels", AST_MAX_DEPTH);
    said_too_deep = true;
    Ast *leaf = ast_new(E_NUM, a->loc);
    leaf->name = intern("0");
    leaf->isint = true;
    return leaf;
}

/* ---- lists */

AstVec *push(AstVec *v, Ast *a)
{
    PUSH(*v, a);
    return v;
}

AstVec *one(Ast *a)
{
    return push(NEW(AstVec), a);
}

static void set_list(Ast *a, const AstVec *v)
{
    if (!v) return;
    a->list = v->at;
    a->n = v->n;
}

static void set_params(Ast *a, const AstVec *v)
{
    if (!v) return;
    a->params = v->at;
    a->nparams = v->n;
}

static void set_inputs(Ast *a, const AstVec *v)
{
    if (!v) return;
    a->inputs = v->at;
    a->ninputs = v->n;
}

static void set_body(Ast *a, const AstVec *v)
{
    if (!v) return;
    a->body = v->at;
    a->nbody = v->n;
}

/* ---- leaves */

Ast *build_name(const Token *t)
{
    Ast *a = ast_new(E_NAME, t->loc);
    a->name = t->text;
    return a;
}

Ast *build_text(const Token *t)
{
    Ast *a = ast_new(E_STR, t->loc);
    a->name = t->text;
    return a;
}

Ast *build_number(const Token *t)
{
    Ast *a = ast_new(E_NUM, t->loc);
    a->name = t->text;
    a->num = strtod(t->text, NULL);
    a->isint = strspn(t->text, "0123456789") == strlen(t->text);
    if (a->isint) {
        errno = 0;
        a->inum = strtoll(t->text, NULL, 10);
        if (errno) error_at(t->loc, "this integer is too large: the largest is 9223372036854775807");
    } else if (!isfinite(a->num)) {
        error_at(t->loc, "this number is too large: the largest is about 1.8e308");
    }
    return a;
}

Ast *build_percent(Loc at, const Token *t)
{
    Ast *a = build_number(t);
    a->loc = at;
    a->percent = true;
    return a;
}

/* ---- expressions */

Ast *build_unary_node(AstKind kind, Loc at, Ast *a)
{
    Ast *r = ast_new(kind, at);
    r->a = a;
    return built(r);
}

Ast *build_binary_node(AstKind kind, Loc at, Ast *a, Ast *b)
{
    Ast *r = ast_new(kind, at);
    r->a = a;
    r->b = b;
    return built(r);
}

Ast *build_unary(int op, Loc at, Ast *a)
{
    Ast *r = build_unary_node(E_UN, at, a);
    r->op = op;
    return r;
}

Ast *build_binary(int op, Loc at, Ast *a, Ast *b)
{
    Ast *r = build_binary_node(E_BIN, at, a, b);
    r->op = op;
    return r;
}

Ast *build_window(Loc at, Ast *stream, Ast *n, Ast *step, int op)
{
    Ast *r = ast_new(E_WINDOW, at);
    r->a = stream;
    r->b = n;
    r->c = step;
    r->op = op;
    return built(r);
}

Ast *build_field(Loc at, Ast *a, const Token *name)
{
    Ast *r = build_unary_node(E_FIELD, at, a);
    r->name = name->text;
    return r;
}

Ast *build_list(AstKind kind, Loc at, const AstVec *elements)
{
    Ast *r = ast_new(kind, at);
    set_list(r, elements);
    return built(r);
}

Ast *build_index(Loc at, Ast *a, const AstVec *indices)
{
    Ast *r = ast_new(E_INDEX, at);
    r->a = a;
    set_list(r, indices);
    return built(r);
}

Ast *build_at(Ast *a)
{
    if (a->kind == E_NAME && a->name == intern("new")) return ast_new(E_NEWAX, a->loc);
    return a;
}

Ast *build_slice(Loc at, Ast *from, Ast *to)
{
    return build_binary_node(E_SLICE, at, from, to);
}

Ast *build_call(Ast *a, const AstVec *arguments)
{
    Ast *r = ast_new(E_CALL, a->loc);
    r->a = a;
    set_list(r, arguments);
    return built(r);
}

Ast *build_argument(Loc at, Ast *name, Ast *value)
{
    if (name->kind != E_NAME) {
        error_at(name->loc, "an argument before '=' is a name; to compare, write '=='");
        return value;
    }
    Ast *r = build_unary_node(E_ARG, at, value);
    r->name = name->name;
    return r;
}

Ast *build_pair(Loc at, Ast *key, Ast *value)
{
    return build_binary_node(E_PAIR, at, key, value);
}

Ast *build_for(Loc at, Ast *e, Ast *target, Ast *list)
{
    Ast *r = ast_new(E_FOR, at);
    r->a = e;
    r->b = list;
    r->names = target->names;
    r->nnames = target->nnames;
    r->tuple = target->tuple;
    return built(r);
}

static void reject_named(const AstVec *elements)
{
    for (int i = 0; i < elements->n; i++)
        if (elements->at[i]->kind == E_ARG)
            error_at(elements->at[i]->loc, "only a call has named arguments; to compare, write '=='");
}

Ast *build_bracketed(Loc at, const AstVec *elements)
{
    reject_named(elements);
    for (int i = 0; i < elements->n; i++)
        if (elements->at[i]->kind == E_PAIR)
            error_at(elements->at[i]->loc, "a list has no keys; pairs 'key: value' stand in ( )");
    return build_list(E_LIST, at, elements);
}

Ast *build_parenthesised(Loc at, const AstVec *elements, bool comma)
{
    reject_named(elements);
    if (elements->n == 1 && !comma && elements->at[0]->kind != E_PAIR) return elements->at[0];
    return build_list(E_TUPLE, at, elements);
}

Ast *build_type(Loc at, const Token *element, const AstVec *dims)
{
    Ast *r = ast_new(E_TYPE, at);
    if (element) r->name = element->text;
    set_list(r, dims);
    return built(r);
}

/* ---- statements */

static void set_target(Ast *a, const Ast *target)
{
    a->names = target->names;
    a->nnames = target->nnames;
    a->tuple = target->tuple;
}

Ast *build_target(Loc at, const AstVec *names, bool tuple)
{
    Ast *r = ast_new(S_BIND, at);
    r->names = names->at;
    r->nnames = names->n;
    r->tuple = tuple;
    return r;
}

Ast *build_events(Loc at, const AstVec *names)
{
    Ast *r = ast_new(S_EVENT, at);
    r->names = names->at;
    r->nnames = names->n;
    return built(r);
}

static bool all_names(const Ast *tuple)
{
    for (int i = 0; i < tuple->n; i++)
        if (tuple->list[i]->kind != E_NAME) return false;
    return tuple->n > 0;
}

Ast *build_bind(Loc at, Ast *left, Ast *value)
{
    Ast *r = ast_new(S_BIND, at);
    r->a = value;
    if (left->kind == E_NAME) {
        AstVec *names = one(left);
        r->names = names->at;
        r->nnames = 1;
    } else if (left->kind == E_TUPLE && all_names(left)) {
        r->names = left->list;
        r->nnames = left->n;
        r->tuple = true;
    } else {
        error_at(left->loc, "'=' binds a name, or several in parentheses, and this is neither");
        r->kind = S_EXPR;
    }
    return built(r);
}

Ast *build_move(Loc at, Ast *left, Ast *value)
{
    Ast *r = build_binary_node(S_MOVE, at, value, left);
    if (left->kind == E_INDEX) error_at(left->loc, "'<-' moves a state as a whole, not a part of it");
    else if (left->kind != E_NAME && left->kind != E_FIELD) error_at(left->loc, "'<-' moves a state, and this is none");
    return r;
}

typedef enum { CAN_EVERY = 1, CAN_WITH = 2, CAN_FROM = 4, CAN_FOR = 8, CAN_KEEP = 16, CAN_TRUNCATE = 32 } Allowed;

static void check_clauses(const Clauses *c, Loc at, int allowed, const char *where, const char *help)
{
    const struct { bool there; Allowed flag; const char *word; Loc loc; } all[] = {
        { c->every || c->when, CAN_EVERY, "every", c->every_loc }, { c->with, CAN_WITH, "with", c->with_loc },
        { c->from, CAN_FROM, "from", at }, { c->in, CAN_FOR, "for", at },
        { c->keep, CAN_KEEP, "keep", at }, { c->truncate, CAN_TRUNCATE, "truncate", at },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].there && !(allowed & all[i].flag))
            error_at(all[i].loc, "'%s' cannot stand on %s; %s", all[i].word, where, help);
}

Ast *build_learn(int kind, Loc at, Ast *target, Ast *type, Ast *value, bool drawn, Clauses *cl)
{
    Ast *r = ast_new((AstKind)kind, at);
    set_target(r, target);
    r->type = type;
    r->a = value;
    r->drawn = drawn;
    r->cl = cl;
    check_clauses(cl, at, CAN_EVERY | CAN_WITH | CAN_FROM | CAN_FOR | CAN_KEEP, "a state", "it belongs to a level");
    if (!type && !value)
        error_at(target->loc, "a state needs a shape, an initial value or both: '%s %s : [n] = 0'",
                 kind == S_LEARN ? "learn" : "state", target->names[0]->name);
    return built(r);
}

Ast *build_default(Loc at, Clauses *cl)
{
    Ast *r = ast_new(S_DEFAULT, at);
    r->cl = cl;
    check_clauses(cl, at, CAN_EVERY | CAN_WITH, "a default", "only 'every' and 'with' can");
    if (!cl->every && !cl->when && !cl->with) error_at(at, "a default says 'every n', 'with rule' or both");
    return built(r);
}

Ast *build_minimize(Loc at, Ast *name, Ast *e, Ast *wrt)
{
    Ast *r = build_binary_node(S_MINIMIZE, at, e, wrt);
    if (!name) return r;
    if (name->kind == E_NAME) r->name = name->name;
    else error_at(name->loc, "an objective is named by a name: 'minimize loss = ...'");
    return r;
}

Ast *build_report(Loc at, Ast *name, Ast *e)
{
    Ast *r = build_unary_node(E_ARG, at, e);
    if (!name) return r;
    if (name->kind == E_NAME) r->name = name->name;
    else error_at(name->loc, "a report is named by a name: 'report error = ...'");
    return r;
}

Ast *build_named(AstKind kind, Loc at, const Token *name)
{
    Ast *r = ast_new(kind, at);
    r->name = name->text;
    return built(r);
}

Ast *build_if(Loc at, Ast *c, const AstVec *yes, const AstVec *no)
{
    Ast *r = ast_new(S_IF, at);
    r->a = c;
    set_body(r, yes);
    if (no) {
        r->body2 = no->at;
        r->nbody2 = no->n;
    }
    return built(r);
}

Ast *build_with_body(AstKind kind, Loc at, Ast *a, const AstVec *body)
{
    Ast *r = ast_new(kind, at);
    r->a = a;
    set_body(r, body);
    return built(r);
}

Ast *build_for_body(Loc at, Ast *target, Ast *list, const AstVec *body)
{
    Ast *r = ast_new(S_FOR, at);
    set_target(r, target);
    r->a = list;
    set_body(r, body);
    return built(r);
}

Ast *build_level(Loc at, const Token *name, Ast *target, Ast *context, Clauses *cl, const AstVec *body)
{
    Ast *r = ast_new(S_LEVEL, at);
    r->name = name->text;
    set_target(r, target);
    r->cl = cl;
    set_body(r, body);
    int n = target->nnames;
    bool several = target->tuple && n > 1;
    bool fits = context->kind == E_TUPLE && context->n == n;
    set_list(r, one(context));
    if (several && fits) {
        r->list = context->list;
        r->n = n;
    } else if (several) {
        error_at(context->loc, "%d names before 'in' need %d sequences in parentheses after it", n, n);
    }
    if (target->nnames > 1 && !target->tuple) error_at(target->loc, "several names before 'in' stand in parentheses");
    check_clauses(cl, at, CAN_KEEP | CAN_TRUNCATE, "a level",
                  "its states have it: write 'default ...' in the body, or put it on a state");
    return built(r);
}

/* ---- definitions */

Ast *build_param(Loc at, const Token *name, Ast *type, Ast *value, Ast *where)
{
    Ast *r = build_binary_node(P_PARAM, at, value, where);
    r->name = name->text;
    r->type = type;
    return built(r);
}

Ast *build_const(Loc at, const Token *name, Ast *type, Ast *value)
{
    Ast *r = build_named(D_CONST, at, name);
    r->type = type;
    r->a = value;
    return built(r);
}

/* Gradients elsewhere, `g at E`, are for rules. */
static void reject_at(const AstVec *params)
{
    for (int i = 0; params && i < params->n; i++)
        if (params->at[i]->b) error_at(params->at[i]->b->loc, "only a tensor of a rule is taken 'at' another place");
}

static void reject_types(const AstVec *params, const char *what)
{
    for (int i = 0; params && i < params->n; i++) {
        const Ast *type = params->at[i]->type;
        if (type) error_at(type->loc, "a parameter of a %s has no shape; its inputs do", what);
    }
}

static void reject_values(const AstVec *params, const char *what)
{
    for (int i = 0; params && i < params->n; i++)
        if (params->at[i]->a) error_at(params->at[i]->a->loc, "%s has no default value", what);
}

Ast *build_fn(Loc at, const Token *name, const AstVec *params, Ast *value, const AstVec *body)
{
    Ast *r = build_named(D_FN, at, name);
    set_params(r, params);
    r->a = value;
    set_body(r, body);
    reject_at(params);
    return built(r);
}

Ast *build_block(Loc at, const Token *name, const AstVec *params, const AstVec *inputs, Ast *types, const AstVec *body)
{
    Ast *r = build_named(D_BLOCK, at, name);
    set_params(r, params);
    set_inputs(r, inputs);
    r->type = types;
    set_body(r, body);
    reject_at(params);
    reject_at(inputs);
    reject_types(params, "block");
    reject_values(inputs, "an input");
    return built(r);
}

Ast *build_rule(Loc at, const Token *name, const AstVec *params, const AstVec *tensors, const AstVec *body)
{
    Ast *r = build_named(D_RULE, at, name);
    set_params(r, params);
    set_inputs(r, tensors);
    set_body(r, body);
    reject_at(params);
    reject_types(params, "rule");
    reject_values(tensors, "a tensor of a rule");
    return built(r);
}

Ast *build_model(Loc at, const Token *name, const AstVec *params, const AstVec *fields, const AstVec *body)
{
    Ast *r = build_named(D_MODEL, at, name);
    set_params(r, params);
    set_inputs(r, fields);
    set_body(r, body);
    reject_at(params);
    reject_at(fields);
    reject_types(params, "model");
    reject_values(fields, "a field");
    return built(r);
}

/* `over (fields) in T when c`: the condition is the stream definition's own. */
Ast *build_stream_from(Loc at, const AstVec *fields, Ast *source)
{
    Ast *r = ast_new(D_STREAM, at);
    set_inputs(r, fields);
    reject_at(fields);
    reject_values(fields, "a field");
    r->b = source->kind == E_WHEN ? source->a : source;
    r->c = source->kind == E_WHEN ? source->b : NULL;
    return r;
}

Ast *build_stream(Loc at, const Token *name, const AstVec *params, Ast *from, Ast *value, const AstVec *outputs,
                  const AstVec *body)
{
    Ast *r = build_named(D_STREAM, at, name);
    set_params(r, params);
    set_list(r, outputs);
    set_body(r, body);
    r->a = value;
    if (from) {
        r->inputs = from->inputs;
        r->ninputs = from->ninputs;
        r->b = from->b;
        r->c = from->c;
    }
    reject_at(params);
    reject_at(outputs);
    reject_types(params, "stream");
    reject_values(outputs, "a field");
    if (value && (from || body)) error_at(at, "a stream has a source after '=', or a body, not both");
    else if (!value && (!outputs || !body)) error_at(at, "a stream needs '= source', or '-> (fields) { ... }'");
    return built(r);
}

/* ---- schedules */

Ast *build_train(AstKind kind, Loc at, Ast *models, Ast *stream, SchedClauses *sc)
{
    Ast *r = build_binary_node(kind, at, models, stream);
    r->sc = sc;
    return built(r);
}

Ast *build_live(Loc at, const Token *model, const AstVec *states)
{
    Ast *r = build_unary_node(S_LIVE, at, build_name(model));
    r->sc = NEW(SchedClauses);
    r->sc->learning = states->at;
    r->sc->nlearning = states->n;
    return built(r);
}

Ast *build_table(Loc at, Ast *e, SchedClauses *sc)
{
    Ast *r = build_unary_node(S_TABLE, at, e);
    r->sc = sc;
    return built(r);
}

/* ---- clauses */

/* The message when a clause stands a second time. */
static bool twice(bool there, Loc at, const char *word)
{
    if (there) error_at(at, "'%s' stands twice in this statement", word);
    return there;
}

Clauses *clause_every(Clauses *c, Loc at, Ast *n, int mode, Ast *block)
{
    if (twice(c->every || c->when, at, "every")) return c;
    c->every = n;
    c->every_loc = at;
    c->mean = mode == 'm';
    c->mode = mode == 'm' ? 0 : (char)mode;
    c->block = block;
    return c;
}

Clauses *clause_when(Clauses *c, Loc at, Ast *event, bool sum)
{
    if (twice(c->every || c->when, at, "every")) return c;
    c->when = event;
    c->when_sum = sum;
    c->every_loc = at;
    return c;
}

Clauses *clause_with(Clauses *c, Loc at, Ast *rule)
{
    if (twice(c->with, at, "with")) return c;
    c->with = rule;
    c->with_loc = at;
    return c;
}

Clauses *clause_from(Clauses *c, Loc at, Ast *file, const AstVec *map)
{
    if (twice(c->from, at, "from")) return c;
    c->from = file;
    c->map = map ? map->at : NULL;
    c->nmap = map ? map->n : 0;
    return c;
}

Clauses *clause_for(Clauses *c, Loc at, Ast *target, Ast *list)
{
    if (twice(c->in, at, "for")) return c;
    c->vars = target->names;
    c->nvars = target->nnames;
    c->in = list;
    return c;
}

Clauses *clause_keep(Clauses *c, Loc at, Ast *in)
{
    if (twice(c->keep, at, "keep")) return c;
    c->keep = true;
    c->keep_in = in;
    return c;
}

Clauses *clause_truncate(Clauses *c, Loc at, Ast *n)
{
    if (twice(c->truncate, at, "truncate")) return c;
    c->truncate = n;
    return c;
}

SchedClauses *clause_batch(SchedClauses *c, Loc at, Ast *n)
{
    if (!twice(c->batch, at, "batch")) c->batch = n;
    return c;
}

SchedClauses *clause_flag(SchedClauses *c, Loc at, const char *word, bool *flag)
{
    twice(*flag, at, word);
    *flag = true;
    return c;
}

SchedClauses *clause_count(SchedClauses *c, Loc at, Ast *n, bool epochs)
{
    if (twice(c->count, at, "for")) return c;
    c->count = n;
    c->epochs = epochs;
    return c;
}

SchedClauses *clause_until(SchedClauses *c, Loc at, Ast *e)
{
    if (!twice(c->until, at, "until")) c->until = e;
    return c;
}

SchedClauses *clause_learning(SchedClauses *c, Loc at, const AstVec *states)
{
    if (twice(c->learning, at, "learning")) return c;
    c->learning = states->at;
    c->nlearning = states->n;
    return c;
}

SchedClauses *clause_each(SchedClauses *c)
{
    c->each = true;
    return c;
}

SchedClauses *clause_rows(SchedClauses *c, const Token *name)
{
    if (twice(c->rows, name->loc, "rows")) return c;
    c->rows = name->text;
    c->rows_loc = name->loc;
    return c;
}

SchedClauses *clause_cols(SchedClauses *c, const Token *name)
{
    if (twice(c->cols, name->loc, "cols")) return c;
    c->cols = name->text;
    c->cols_loc = name->loc;
    return c;
}

SchedClauses *clause_cells(SchedClauses *c, const Token *name)
{
    if (twice(c->cells, name->loc, "cells")) return c;
    c->cells = name->text;
    c->cells_loc = name->loc;
    return c;
}

SchedClauses *clause_lower(SchedClauses *c)
{
    c->lower = true;
    return c;
}
