/* elab_clock.c: when states move.

   `every n` counts items: the rule runs under a condition, at items n, 2n, .., with the sum or mean of the gradients
   that a carry (gsum) has added up. `every when c [sum]` ticks where c holds: the rule receives the gradient of that
   item, or the sum since the last tick; what only the rule needs of the gradient is computed behind the condition
   (sink.c), so that an item that does not tick costs nothing. Such a state counts its updates (t) in a state of its
   own.

   A condition may differ from lane to lane. Then the stretch runs if any lane ticks, and each lane picks the new value
   or the old. */
#include <string.h>
#include "elab_int.h"
#include "explain.h"

/* ---- conditions: what a stretch of elaboration changes, made conditional */

Snap snap_begin(void)
{
    Snap s;
    s.n = live_vars(&s.var);
    s.before = NEWN(Node *, s.n + 1);
    for (int i = 0; i < s.n; i++) s.before[i] = s.var[i]->in ? s.var[i]->cur.node : NULL;
    return s;
}

void add_node(Nodes *v, Node *x)
{
    if (!x || x->op == OP_CONST) return;
    for (int i = 0; i < v->n; i++) if (v->at[i] == x) return;
    PUSH(*v, x);
}

void add_value(Nodes *v, Value x)
{
    if (x.kind == V_TENSOR) add_node(v, x.node);
    if (x.kind == V_LIST) for (int i = 0; i < x.n; i++) add_value(v, x.elem[i]);
    if (x.kind == V_DEF) for (int i = 0; i < x.clo->n; i++) add_value(v, x.clo->arg[i]);
}

void add_scope(Nodes *v, Scope *s)
{
    for (; s && !s->is_file; s = s->parent)
        for (Binding *b = s->first; b; b = b->next) if (!b->var) add_value(v, b->v);
}

/* Which cut nodes the results really reach, not looking below a cut node. */
static void reach(Node *x, Nodes *cut, bool *hit, NodeSet *seen)
{
    for (int i = 0; i < cut->n; i++) if (cut->at[i] == x) { hit[i] = true; return; }
    if (!nodeset_add(seen, x)) return;
    for (int i = 0; i < x->nin; i++) reach(x->in[i], cut, hit, seen);
}

/* Is the condition true in any lane? */
static Node *any_lane(Node *x)
{
    if (n_size(x) == 1) return n_reshape(x, 0, NULL);
    return n_bin(OP_LT, n_iconst(I32, 0), n_sum(n_cast(x, I32), (1u << x->rank) - 1));
}

/* v's value where it is due, and the old one elsewhere. */
Node *when_due(Var *v, Value due, Node *old)
{
    int rank, lead = el.lvl->kind == L_RULE ? el.lvl->lead : 0;
    int32_t dim[MAXDIM];
    for (int k = 0; k < lead; k++) due = v_lower_axis(due, axes.n - 1 - k);
    v_shape(due, &rank, dim);
    Node *mask = v_full(due, lanes(v), rank, dim);         /* [lanes.., leading axes..]; the rest stretches */
    int32_t full[MAXDIM];
    for (int i = 0; i < old->rank; i++) full[i] = i < mask->rank ? mask->dim[i] : 1;
    return n_select(n_expand(n_reshape(mask, old->rank, full), old->rank, old->dim), v->cur.node, old);
}

/* Everything that moved since `snap` moves only if due: one cond, whose other side is the old values. */
void snap_end(Snap snap, Value due, Nodes *cut)
{
    VEC(Var *) moved = { 0 };
    Nodes then = { 0 }, other = { 0 }, used = { 0 };
    NodeSet seen = { 0 };
    Var **all;
    bool each = n_size(due.node) > 1;
    if (each) add_node(cut, due.node);
    for (int i = 0, n = live_vars(&all); i < n; i++) {
        Var *v = all[i];
        if (!v->in) continue;
        Node *old = v->first;
        for (int k = 0; k < snap.n; k++) if (snap.var[k] == v && snap.before[k]) old = snap.before[k];
        add_node(cut, old);
        if (old == v->cur.node) continue;
        PUSH(moved, v);
        PUSH(then, each ? when_due(v, due, old) : v->cur.node);
        PUSH(other, old);
    }
    if (!moved.n) return;
    bool *hit = NEWN(bool, cut->n + 1);
    for (int i = 0; i < moved.n; i++) { reach(then.at[i], cut, hit, &seen); reach(other.at[i], cut, hit, &seen); }
    for (int i = 0; i < cut->n; i++) if (hit[i]) PUSH(used, cut->at[i]);
    Node **cap;
    Region *r0, *r1;
    int ncap = region_close2(moved.n, then.at, other.at, used.n, used.at, &cap, &r0, &r1);
    Node *c = n_cond(any_lane(due.node), ncap, cap, r0, r1);
    for (int i = 0; i < moved.n; i++) moved.at[i]->cur.node = n_mark(n_out(c, i), graph_uid());
}

Value is_due(Value count, int64_t n)
{
    return v_tensor(n_bin(OP_EQ, n_bin(OP_MOD, count.node, n_iconst(I64, n)),
                          n_splat(I64, 0, count.node->rank, count.node->dim)), count.axes);
}

/* ---- how states are stored: map axes, the leading axes over which a rule is mapped, the axes of the tensor */

uint16_t lanes(const Var *v) { return v->frame ? v->axes : 0; }

void raise_lead(Value *v, int n)
{
    for (int k = 0; k < n && v->kind == V_TENSOR; k++) *v = v_raise_axis(*v, axes.n - n + k);
}

Value raised(Var *v, Node *n)
{
    Value x = v_tensor(n, lanes(v));
    raise_lead(&x, v->lead);
    return x;
}

/* A number, or numbers, that belong to v: a state beside it, with the first `rank` of its axes. */
static Var *beside(Var *v, const char *name, StateKind kind, Dt dt, int rank)
{
    const char *path = arena_printf("%s.%s", v->st->path, name);
    Var *b;
    if (v->inner) {
        b = inner_new(v->lvl, path, name, kind, v_tensor(n_const(dt, 0), 0), dt, rank, v->st->dim, v->st->loc);
        b->keep = v->keep;
        carry_open(v->frame, b);
    } else b = var_new(el.em, path, name, kind, dt, rank, v->st->dim, n_splat(dt, 0, rank, v->st->dim), v->st->loc);
    b->st->of = v->st;
    return b;
}

static Var *sum_of(Var *v)
{
    if (!v->gsum) v->gsum = beside(v, "gsum", ST_GSUM, v->st->dt, v->st->rank);
    v->gsum->moves = v->moves;
    return v->gsum;
}

/* How many items are in the sum: asked for where a mean is wanted. */
static Var *items_in_sum(Var *v)
{
    if (!v->since) v->since = beside(v, "since", ST_COUNT, I64, 0);
    v->since->moves = v->moves;
    return v->since;
}

/* The sum of gradients since the last update, this item's included. */
Var *gradient_sum(Var *v, Node *g, Loc at)
{
    Node *old = var_value(sum_of(v)).node;
    if (v->event && v->st->mean)
        var_set(items_in_sum(v), v_tensor(n_bin(OP_ADD, var_value(items_in_sum(v)).node, n_iconst(I64, 1)), 0), at);
    var_set(v->gsum, v_tensor(n_bin(OP_ADD, old, g), lanes(v)), at);
    return v->gsum;
}

Node *gradient_since(Var *v)
{
    Node *sum = var_value(sum_of(v)).node;
    if (!v->st->mean) return sum;
    Node *n = n_bin(OP_MAX, var_value(items_in_sum(v)).node, n_iconst(I64, 1));
    return n_bin(OP_DIV, sum, n_expand(n_cast(n, (Dt)sum->dt), sum->rank, sum->dim));
}

/* ---- clauses */

/* The clauses that hold for a state's clock. */
Clauses *clock_clauses(Var *v, Scope **s)
{
    Clauses *cl = v->cl && (v->cl->every || v->cl->when) ? v->cl : NULL;
    *s = v->inst ? call_scope(v->inst, v->cl_scope) : v->cl_scope;
    for (Inst *i = v->inst; i && !cl; i = i->parent) {
        if (i->cl && (i->cl->every || i->cl->when)) {
            cl = i->cl;
            *s = i->parent ? call_scope(i->parent, i->cl_scope) : i->cl_scope;
        }
        else if (!i->parent && i->dflt && (i->dflt->every || i->dflt->when)) {
            cl = i->dflt;
            *s = call_scope(i, i->dflt_scope);
        }
    }
    if (!cl && v->inner && v->lvl && v->lvl->dflt && (v->lvl->dflt->every || v->lvl->dflt->when)) {
        cl = v->lvl->dflt;
        *s = v->lvl->decl;
    }
    *s = level_scope(v, *s);
    return cl;
}

static int64_t every_of(Var *of, Clauses *cl, Scope *s)
{
    Value v = eval(s, cl->every);
    int64_t n;
    if (v.kind == V_ERR) return 1;
    if (v.kind == V_EVENT) {
        if (cl->mode) error_at(cl->every_loc, "only `every 1` takes anchor and frozen");
        else if (event_fits(of, v.event, cl->every->loc)) of->event = v.event;
        return of->event ? 0 : 1;
    }
    if (v_integer(v, &n) && n >= 1) return n;
    error_at(cl->every->loc, "a period is a whole number of at least 1, known when compiling, not %s", v_show(v));
    return 1;
}

void var_clock(Var *v)
{
    Scope *s;
    Clauses *cl = clock_clauses(v, &s);
    v->st->every = 1; v->st->mean = cl && cl->mean; v->st->clock = NULL;
    v->when = cl ? cl->when : NULL; v->event = NULL;
    v->clock_at = !cl ? v->st->loc : cl->every ? cl->every->loc : cl->when->loc;
    v->when_sum = v->when && cl->when_sum;
    if (!cl) return;
    if (cl->every) {
        v->st->every = every_of(v, cl, s);
        if (v->event) v->st->clock = intern(arena_printf("every %s%s", v->event->name, cl->mean ? " mean" : ""));
        return;
    }
    v->st->every = 0;
    v->st->clock = intern(arena_printf("every when %s%s", ast_text(cl->when), v->when_sum ? " sum" : ""));
}

/* ---- every when c */

Value condition(Scope *s, Ast *e)
{
    int rank; int32_t dim[MAXDIM];
    Value c = eval(s, e);
    if (c.kind == V_ERR) return c;
    if (!v_shape(c, &rank, dim) || rank || v_dt(c) != BOOL) {
        error_at(e->loc, "`when` takes a condition, true or false, and this is %s%s", v_show(c), c.kind == V_EVENT ?
                 "; `every NAME` waits for an event" : "");
        return v_err();
    }
    return v_as_tensor(c, e->loc);
}

Value clock_due(Var *v)
{
    Scope *s;
    if (v->due.kind != V_ERR) return v->due;
    Clauses *cl = clock_clauses(v, &s);
    Value c = condition(s, cl->when);
    if (c.kind == V_ERR) return c;
    if (v->frame) c = frames_enter(c);
    if (!v->inner && el.lvl->kind == L_MODEL && c.axes) {
        error_at(cl->when->loc, "'%s' moves once a step, and this condition is each item's own; pool() makes one value "
                                "of a batch", v->st->path);
        return v_err();
    }
    return v->due = c;
}

static Var *ticks(Var *v)
{
    if (!v->count) v->count = beside(v, "count", ST_COUNT, I64, v->lead);
    v->count->moves = v->moves;
    v->st->count = v->count->st;
    return v->count;
}

Node *tick_count(Var *v) { return n_bin(OP_ADD, var_value(ticks(v)).node, n_iconst(I64, 1)); }

void tick_counted(Var *v, Node *count, Loc at) { var_set(ticks(v), v_tensor(count, lanes(v)), at); }

/* What `<-` moves counts for the runtime's table of levels, once an item. */
void tick_assigned(Var *v, Value due, Loc at)
{
    if (v->inner || v->st->kind != ST_STATE || v->counted) return;
    Node *one = n_cast(n_reshape(due.node, 0, NULL), I64);
    v->counted = n_bin(OP_ADD, var_value(ticks(v)).node, one);
    var_set(v->count, v_tensor(v->counted, 0), at);
}
