/* elab_graph.c: what elaboration tells the level graph (levels.c) about levels inside models: contexts, objectives,
   clocks, rules, lifetimes, and how levels exchange knowledge, in the five ways of Nested Learning: a level reads a
   state of an outer one (direct, parametric); its output, or what its state ends as, is used outside (direct,
   non-parametric); an outer objective is differentiated through it (backpropagation); a state starts as an outer state
   (initialization), or as a value that is computed (generation). A level is one record, whatever versions of the model
   it occurs in. Nothing is recorded unless graphing is set before elaboration. */
#include <string.h>
#include "explain.h"

bool graphing;

static Lvl *body_level(void)
{
    Lvl *l = el.lvl;
    while (l && l->kind == L_RULE) l = l->parent;
    return l && l->kind == L_LEVEL ? l : NULL;
}

static Level *record_find(const Model *m, const char *path)
{
    for (int i = 0; i < m->inside.n; i++) if (!strcmp(m->inside.at[i]->name, path)) return m->inside.at[i];
    return NULL;
}

/* In which level's context the states of a kept level live on. */
static const char *lives_in(const Lvl *l)
{
    if (!l->keep) return NULL;
    return l->home ? l->home->path : l->em->m->name;
}

/* The record of an inner level; NULL: streams have none. */
static Level *record_of(Lvl *l)
{
    if (!graphing || !l->em || !l->em->m || l->preview) return NULL;
    Model *m = l->em->m;
    Level *r = record_find(m, l->path);
    if (r) return r;
    r = NEW(Level);
    r->name = l->path; r->loc = l->ast->loc; r->every = 1; r->context = level_context(l); r->lives = lives_in(l);
    Lvl *p = l->parent;
    while (p && p->kind == L_RULE) p = p->parent;
    if (p && p->kind == L_LEVEL) r->parent = record_of(p);
    r->depth = r->parent ? r->parent->depth + 1 : 1;
    PUSH(m->inside, r);
    return r;
}

static void transfer(Level *r, TransferKind kind, const char *what, const char *to)
{
    for (int i = 0; i < r->transfer.n; i++) {
        const Transfer *t = &r->transfer.at[i];
        if (t->kind == kind && !strcmp(t->what, what) && (t->to == to || (t->to && to && !strcmp(t->to, to)))) return;
    }
    Transfer t = { kind, what, to };
    PUSH(r->transfer, t);
}

static InnerState *state_of(Level *r, const char *path)
{
    for (int i = 0; i < r->inner.n; i++) if (!strcmp(r->inner.at[i].st->path, path)) return &r->inner.at[i];
    return NULL;
}

/* The level's states, when its body begins; those of their rules, when it has run. */
void graph_states(Lvl *l, int items)
{
    Level *r = record_of(l);
    if (!r) return;
    if (items > r->items) r->items = items;
    for (int i = 0; l->frame && i < l->frame->carry.n; i++) {
        Var *v = l->frame->carry.at[i];
        StateKind k = v->st->kind;
        if (v->hidden || (v->lvl != l && k != ST_RULE) || (k != ST_LEARN && k != ST_STATE && k != ST_RULE) ||
            state_of(r, v->st->path))
            continue;
        InnerState s = { v->st, state_clock(v), NULL, v->keep && !l->keep };
        PUSH(r->inner, s);
    }
}

/* Which levels inside l stand behind what it emits; before its loop is closed. */
void graph_emits(Lvl *l)
{
    Level *r = record_of(l);
    for (int i = 0; r && i < l->em->m->inside.n; i++) {
        Level *c = l->em->m->inside.at[i];
        if (c->parent != r) continue;
        for (int k = 0; k < c->result.n; k++)
            for (int e = 0; e < l->nemit; e++)
                if (l->emit[e].kind == V_TENSOR && depends_on(l->emit[e].node, c->result.at[k])) c->emitted = true;
    }
}

void graph_rule(Var *v, const char *rule)
{
    Level *r = graphing && v->inner && v->lvl ? record_of(v->lvl) : NULL;
    InnerState *s = r ? state_of(r, v->st->path) : NULL;
    if (s) s->rule = rule;
}

void graph_read(Var *v)
{
    if (!graphing || (v->st->kind != ST_LEARN && v->st->kind != ST_STATE)) return;
    Lvl *l = body_level();
    Level *r = l && !(v->inner && v->lvl == l) ? record_of(l) : NULL;
    if (r) transfer(r, TR_PARAMETRIC, v->st->path, NULL);
}

/* Where a state starts: Value start, before it is converted. */
void graph_start(Lvl *l, const char *path, Value start)
{
    Level *r = record_of(l);
    if (!r || start.kind != V_TENSOR || start.node->op == OP_CONST) return;
    if (start.state) { transfer(r, TR_INIT, start.state->path, path); return; }
    bool found = false;
    for (int i = 0; l->em && i < l->em->var.n; i++) {
        Var *v = l->em->var.at[i];
        if ((v->st->kind != ST_LEARN && v->st->kind != ST_STATE) || !v->in || !depends_on(start.node, v->in)) continue;
        transfer(r, TR_GENERATION, v->st->path, path);
        found = true;
    }
    if (!found) transfer(r, TR_GENERATION, "the item", path);
}

static const char *around(const Lvl *l)
{
    Lvl *p = l->parent;
    while (p && p->kind == L_RULE) p = p->parent;
    return p && p->kind == L_LEVEL ? p->path : l->em->m->name;
}

/* The loops' results behind views. */
static void add_result(Level *r, Node *x)
{
    while (x->op == OP_PERM || x->op == OP_RESHAPE || x->op == OP_MARK) x = x->in[0];
    if (x->op != OP_CONCAT) { PUSH(r->result, x); return; }
    for (int i = 0; i < x->nin; i++) add_result(r, x->in[i]);
}

/* What a level has emitted, and what its states have become. */
void graph_result(Lvl *l, Value result)
{
    Level *r = record_of(l);
    if (!r) return;
    if (l->nemit) transfer(r, TR_OUTPUT, "its output", around(l));
    if (!l->frame) return;
    for (int i = 0; i < l->frame->carry.n; i++)
        if (l->frame->carry.at[i]->st->kind == ST_LEARN) add_result(r, l->frame->carry.at[i]->cur.node);
    if (result.kind == V_TENSOR) add_result(r, result.node);
    for (int i = 0; result.kind == V_LIST && i < result.n; i++)
        if (result.elem[i].kind == V_TENSOR) add_result(r, result.elem[i].node);
}

void graph_ended(Lvl *l, const Var *v)
{
    Level *r = record_of(l);
    if (r && v) transfer(r, TR_OUTPUT, v->st->path, body_level() ? body_level()->path : l->em->m->name);
}

/* Does a gradient flow from x back to one of these? */
static bool flows(Node *x, int n, Node *const *to)
{
    Node *cot = n_splat((Dt)x->dt, 1, x->rank, x->dim), **g = NEWN(Node *, n + 1);
    vjp(1, &x, &cot, n, to, el.lvl->tag, g);
    for (int i = 0; i < n; i++) if (g[i] && to[i]->op != OP_CONST) return true;
    return false;
}

static bool flows_through(Node *e, Node *result)
{
    if (!dt_float((Dt)result->dt) || !depends_on(e, result) || !flows(e, 1, &result)) return false;
    return result->op != OP_OUT || flows(result, result->in[0]->nin, result->in[0]->in);
}

static void goes_through(const Model *m, Level *r, const char *name, const char *of)
{
    transfer(r, TR_BACKPROP, name, of);
    for (int i = 0; i < m->inside.n; i++)
        if (m->inside.at[i]->parent == r && m->inside.at[i]->emitted) goes_through(m, m->inside.at[i], name, of);
}

/* Through which levels inside is the objective differentiated? */
void graph_objective(const char *name, Node *e)
{
    if (!graphing || !el.em || (el.lvl && el.lvl->kind == L_RULE)) return;
    Lvl *l = body_level();
    Model *m = el.em->m;
    Level *own = l ? record_of(l) : NULL;
    if (own && !own->objective) own->objective = name;
    else if (own && !strstr(own->objective, name)) own->objective = arena_printf("%s;  %s", own->objective, name);
    if (own) own->learned = true;
    for (int i = 0; i < m->inside.n; i++) {
        Level *r = m->inside.at[i];
        bool through = false;
        for (int k = 0; k < r->result.n && !through; k++) through = flows_through(e, r->result.at[k]);
        if (through) goes_through(m, r, name, own ? own->name : m->name);
    }
}
