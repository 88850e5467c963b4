/* elab_event.c: events. A model declares `event NAME`, and a schedule says `tick MODEL.NAME` between two of its steps.
   What acts then:

     every NAME { .. } in a rule       its statements, on every tensor that the rule moves
     `<-` of a state, every NAME       with the value that the body gives it
     a learned state, every NAME       its rule, with the sum (mean) of the gradients since the last tick

   The body of the model is elaborated once more for each event, as a version in which nothing else moves (a rule that
   an objective would call is asleep: only its `every NAME` acts), and its entry keeps what is left: states -> states.
   There is no item then, and no gradient: what acts may use states and constants. */
#include <string.h>
#include "elab_int.h"

static void declare_one(Inst *i, Scope *s, const Ast *name)
{
    Model *m = i->em->m;
    for (int k = 0; k < m->event.n; k++)
        if (m->event.at[k]->name == name->name) {
            error_at(name->loc, "the event '%s' is declared twice", name->name);
            return;
        }
    Event *e = NEW(Event);
    *e = (Event){ .name = name->name, .loc = name->loc };
    PUSH(m->event, e);
    scope_bind(s, name->name, (Value){ .kind = V_EVENT, .event = e, .loc = name->loc }, name->loc);
}

void event_declare(Inst *i, Scope *s, Ast *st)
{
    for (int k = 0; k < st->nnames; k++) declare_one(i, s, st->names[k]);
}

Event *event_find(Elabmodel *em, const char *name, Loc at)
{
    VEC(const char *) all = { 0 };
    for (int k = 0; k < em->m->event.n; k++) {
        PUSH(all, em->m->event.at[k]->name);
        if (em->m->event.at[k]->name == name) return em->m->event.at[k];
    }
    const char *near = nearest(name, all.at, all.n);
    if (!em->broken)
        error_at(at, "the model '%s' has no event '%s'%s%s%s", em->m->name, name, near ? "; did you mean '" : all.n ?
                 "" : ": event NAME declares one",
                 near ? near : "", near ? "'?" : "");
    return NULL;
}

/* Is this the version of the model in which the event ticks? */
bool event_ticks(const Event *e) { return e && el.v && el.v->event == e; }

bool in_event(void) { return el.v && el.v->event; }

/* An event ticks between the items of the model: a state inside one cannot wait for it. */
bool event_fits(const Var *v, const Event *e, Loc at)
{
    if (!v->inner) return true;
    error_at(at, "the event '%s' ticks between the items of the model, and '%s' lives inside one", e->name,
             v->st->path);
    return false;
}

/* Whether `<-` acts on v here: at its event, if it has one; while an event ticks nothing else does, but rules that are
   not asleep. */
bool event_lets(Var *v)
{
    bool yes = v->event ? event_ticks(v->event) : !in_event() || v->inner ||
        (el.lvl->kind == L_RULE && !el.lvl->asleep);
    if (yes && in_event()) v->moves = true;
    return yes;
}

/* every NAME { .. } */
void event_block(Scope *s, Ast *st, const Event *e)
{
    Lvl *l = el.lvl;
    bool done = false, asleep = l->asleep;
    if (!event_fits(l->w, e, st->a->loc) || !event_ticks(e)) return;
    l->asleep = false;
    exec(scope_new(s, st->loc), st->body, st->nbody, &done);
    l->asleep = asleep;
}

/* A gradient that is not there. */
Node *no_gradient(const Var *v) { return formal_new(v->st->dt, v->st->rank, v->st->dim); }

void no_uses(Var *v, Value *use)
{
    int r = v->st->rank;
    int32_t dim[MAXDIM], one = 1;
    memset(use, 0, 3 * sizeof *use);
    if (r < 2) return;
    for (int k = 0; k < 2; k++) {
        memcpy(dim, v->st->dim, sizeof dim);
        dim[r - 2] = 1;
        dim[r - 1] = v->st->dim[k ? r - 2 : r - 1];
        use[k] = raised(v, formal_new(v->st->dt, r, dim));
    }
    use[2] = v_tensor(formal_new(v->st->dt, 1, &one), 0);
}

/* While an event ticks, x moves a state: it may depend on states only. */
bool event_value(Node *x, Loc at)
{
    Version *v = el.v;
    Node **order;
    if (error_count() > v->errors) return true;           /* once says it */
    for (int i = 0, n = graph_order(1, &x, &order); i < n; i++) {
        bool state = order[i]->op != OP_FORMAL;
        for (int k = 0; k < v->in.n && !state; k++)
            state = v->in.at[k] == order[i] && (v->bind.at[k].kind == B_STATE || v->bind.at[k].kind == B_SEED);
        if (state) continue;
        error_at(at, "this happens when '%s' ticks, between two items of the model: it may use states and constants, "
                     "not an item or a gradient", v->event->name);
        note_at(v->event->loc, "declared here");
        return false;
    }
    return true;
}

bool event_arguments(const Closure *c)
{
    for (int i = 0; i < c->n; i++) {
        if (c->arg[i].kind == V_DEF && !event_arguments(c->arg[i].clo)) return false;
        if (c->arg[i].kind == V_TENSOR && !event_value(c->arg[i].node, c->argloc[i])) return false;
    }
    return true;
}

/* ---- entries */

static Version *like(const Elabmodel *em)
{
    Version *any = NULL;
    for (int i = 0; i < em->version.n; i++) {
        Version *v = em->version.at[i];
        if (!v->step || v->event || v->generates) continue;
        if (v->train) return v;
        if (!any) any = v;
    }
    return any;
}

static void event_entry(Elabmodel *em, Event *e)
{
    int entries = el.p->entry.n, errors = error_count();
    Version *as = like(em);
    if (!as) {
        if (e->ticked)
            error_at(e->ticked_at, "'%s' is neither trained nor tested, so there is nothing that its events could act "
                                   "on", em->m->name);
        return;
    }
    e->entry = version_event(as, e);
    if (!e->moved.n && e->ticked && error_count() == errors)
        error_at(e->ticked_at, "nothing acts on the event '%s' of '%s': no state moves `every %s`, and no rule does",
                 e->name, em->m->name, e->name);
    if (!e->ticked) el.p->entry.n = entries;              /* it has been looked at */
}

void event_entries(Elabmodel *em)
{
    for (int k = 0; k < em->m->event.n && !em->broken; k++) {
        Event *e = em->m->event.at[k];
        event_entry(em, e);
        for (int i = 0; i < el.p->todo.n; i++) if (el.p->todo.at[i]->event == e) el.p->todo.at[i]->entry = e->entry;
    }
}
