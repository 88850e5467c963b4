/* elab_level.c: levels inside models, blocks and rules. A level's body is elaborated once.

   What does not depend on the level's states is computed for all items at once: the item is a map axis, as in a mapped
   function. What does depend on them becomes the body of a LOOP, a frame: a value with the item's axis that meets a
   state becomes an ITEM of the loop (frames_meet), a value from outside that does not depend on the frame is captured,
   states are CARRYs, what is emitted is stacked. So a product per item becomes one product per sequence without a pass
   that looks for it.

   Clocks, item by item: `every n` adds gradients up in a carry and moves under a condition at items n, 2n, .. and at
   the last; `anchor C` takes the gradient and the rule's arguments at the block's start by substituting the state's
   value, `frozen C` lets every read see it. The number of the item is the loop's index; a kept state counts in a carry
   of its own. */
#include <string.h>
#include "elab_int.h"
#include "explain.h"

/* ---- which frames a node depends on */

static struct { uint32_t *mask; uint32_t n; } memo;
enum { UNKNOWN = 0x80000000u };

static void memo_set(Node *x, uint32_t mask)
{
    if (x->id >= memo.n) {
        uint32_t n = x->id * 2 + 1024, *m = NEWN(uint32_t, n);
        if (memo.n) memcpy(m, memo.mask, memo.n * sizeof *m);
        for (uint32_t i = memo.n; i < n; i++) m[i] = UNKNOWN;
        memo.mask = m; memo.n = n;
    }
    memo.mask[x->id] = mask;
}

static bool memo_get(const Node *x, uint32_t *mask)
{
    if (x->id >= memo.n || memo.mask[x->id] == UNKNOWN) return false;
    *mask = memo.mask[x->id];
    return true;
}

/* The open frames whose formals x reaches, as bits. An explicit stack: graphs are deep. */
uint32_t node_frames(Node *x)
{
    uint32_t m = 0;
    if (memo_get(x, &m)) return m;
    Nodes stack = { 0 };
    PUSH(stack, x);
    while (stack.n) {
        Node *top = stack.at[stack.n - 1];
        bool ready = true;
        uint32_t all = 0;
        for (int i = 0; i < top->nin; i++) {
            if (memo_get(top->in[i], &m)) { all |= m; continue; }
            PUSH(stack, top->in[i]);
            ready = false;
        }
        if (!ready) continue;
        stack.n--;
        memo_set(top, all);
    }
    memo_get(x, &m);
    return m;
}

static uint32_t value_frames(Value v)
{
    uint32_t m = 0;
    if (v.kind == V_TENSOR) return node_frames(v.node);
    if (v.kind == V_LIST) for (int i = 0; i < v.n; i++) m |= value_frames(v.elem[i]);
    return m;
}

bool nodeset_add(NodeSet *s, const Node *x)
{
    if (x->id >= s->n) {
        uint32_t n = x->id * 2 + 256;
        uint8_t *in = NEWN(uint8_t, n);
        if (s->n) memcpy(in, s->in, s->n);
        s->in = in; s->n = n;
    }
    if (s->in[x->id]) return false;
    s->in[x->id] = 1;
    return true;
}

/* ---- items: a value with the item's axis, inside the loop */

static int axes_below(uint16_t set, int axis)
{
    int n = 0;
    for (int i = 0; i < axis; i++) n += set >> i & 1;
    return n;
}

static Value import_item(Frame *f, Value v)
{
    int at = axes_below(v.axes, f->axis);
    int8_t map[MAXDIM];
    Node *x = v.node;
    map[0] = (int8_t)at;
    for (int i = 0, k = 1; i < x->rank; i++) if (i != at) map[k++] = (int8_t)i;
    Node *front = n_perm(x, map), *formal = NULL;
    for (int i = 0; i < f->item.n; i++) if (f->item.at[i].operand == front) formal = f->item.at[i].formal;
    if (!formal) {
        formal = formal_new((Dt)x->dt, x->rank - 1, front->dim + 1);
        memo_set(formal, f->mask);
        FrameItem it = { front, formal };
        explain_item(formal, front);
        PUSH(f->item, it);
    }
    Value r = v;
    r.node = formal;
    r.axes = v.axes & (uint16_t)~(1u << f->axis);
    r.state = NULL;
    return r;
}

static Value import_frames(Value v, uint32_t mask)
{
    if (v.kind == V_LIST) {
        Value *e = NEWN(Value, v.n + 1);
        for (int i = 0; i < v.n; i++) e[i] = import_frames(v.elem[i], mask);
        v.elem = e;
        return v;
    }
    if (v.kind != V_TENSOR) return v;
    Frame *chain[32];
    int n = 0;
    for (Frame *f = el.frame; f; f = f->parent) chain[n++] = f;
    while (n--)                                           /* outermost first */
        if ((mask & chain[n]->bit) && (v.axes >> chain[n]->axis & 1)) v = import_item(chain[n], v);
    return v;
}

/* Operands of one operation: if one of them depends on a frame, none of them has its item axis any more. */
void frames_meet(int n, Value *v)
{
    uint32_t mask = 0;
    if (!el.frame) return;
    for (int i = 0; i < n; i++) mask |= value_frames(v[i]);
    if (mask) for (int i = 0; i < n; i++) v[i] = import_frames(v[i], mask);
}

Value frames_enter(Value v) { return el.frame ? import_frames(v, el.frame->mask) : v; }

/* ---- states of levels */

static Var *carry_new(Lvl *l, const char *path, const char *name, StateKind kind, Value start, uint16_t set, Dt dt,
                      int rank, const int32_t *dim, Loc at)
{
    Frame *f = l->frame;
    Var *v = NEW(Var);
    State *st = NEW(State);
    st->path = path; st->kind = kind; st->dt = dt; st->rank = rank; st->loc = at; st->every = 1; st->id = -1;
    for (int i = 0; i < rank; i++) st->dim[i] = dim[i];
    v->st = st; v->name = name; v->inner = true; v->frame = f; v->moves = true; v->lvl = l; v->axes = set;
    v->keep = l->keep; v->until = l->home;
    v->born = v_tensor(v_full(start, set, rank, dim), set);
    v->start = v->born.node;
    PUSH(el.inner, v);
    if (f) PUSH(f->carry, v);
    return v;
}

/* The map axes that a state of a level has: all that are not the items of a level around it. */
static uint16_t lane_axes(void)
{
    uint16_t set = (uint16_t)((1u << axes.n) - 1);
    for (Frame *p = el.frame; p; p = p->parent) set &= (uint16_t)~(1u << p->axis);
    return set;
}

Var *inner_new(Lvl *l, const char *path, const char *name, StateKind kind, Value start, Dt dt, int rank,
               const int32_t *dim, Loc at)
{
    uint16_t set = l->frame ? l->frame->state_axes : l->preview ? lane_axes() | start.axes : start.axes;
    Var *v = carry_new(l, path, name, kind, start, set, dt, rank, dim, at);
    if (el.em && !l->preview) PUSH(el.em->m->inner, v->st);
    return v;
}

/* A carry begins a run of the loop: its formal, and the mark that gradients are taken at. */
void carry_open(Frame *f, Var *v)
{
    v->in = formal_new((Dt)v->start->dt, v->start->rank, v->start->dim);
    memo_set(v->in, f->mask);
    Node *x = v->in;
    if (f->truncate && v->st->kind != ST_COUNT && dt_float((Dt)x->dt)) {
        Node *first = n_bin(OP_EQ, n_bin(OP_MOD, f->index64, n_iconst(I64, f->truncate)), n_iconst(I64, 0));
        Node *cut = n_bin(OP_AND, first, n_bin(OP_LT, n_iconst(I64, 0), f->index64));
        x = n_select(n_expand(cut, x->rank, x->dim), n_stop(x, STOP_ALL), x);
    }
    v->cur = v_tensor(v->first = n_mark(x, graph_uid()), v->axes);
    v->cur.state = v->st;
    v->moved = false; v->counted = NULL; v->due = (Value){ 0 };
}

/* ---- keep: states that go on in a carry of the enclosing loop, their home, and are born there at its first item */

static Lvl *framed(Lvl *l) { while (l && (l->kind != L_LEVEL || !l->frame)) l = l->parent; return l; }

/* Kept from item to item of the model: a state of the model, with its lanes; `fresh` writes the value that it is born
   with. */
static Var *model_home(const char *path, const char *name, Value born, Dt dt, Loc at)
{
    Version *v = el.v;
    const char *key = v->batched && v->batch > 1 ? arena_printf("%s@%lld", path, (long long)v->batch) : path;
    Node *x = born.node;
    Var *h = NULL;
    for (int i = 0; i < el.em->var.n && !h; i++)
        if (el.em->var.at[i]->st->kept && !strcmp(el.em->var.at[i]->st->path, key)) h = el.em->var.at[i];
    if (h && (h->st->rank != x->rank || memcmp(h->st->dim, x->dim, (size_t)x->rank * sizeof *x->dim))) {
        error_at(at, "'%s' is kept, and its level runs once over one set of rows and once over another", path);
        return NULL;
    }
    if (!h) {
        h = var_new(el.em, key, name, ST_RULE, dt, x->rank, x->dim, n_splat(dt, 0, x->rank, x->dim), at);
        h->st->kept = true;
    }
    h->moves = true;
    if (h->in) return h;
    var_value(h);
    Node **order;
    bool late = false;                                    /* born of values of the first item */
    for (int i = 0, n = graph_order(1, &x, &order); i < n; i++)
        for (int k = 0; k < v->in.n; k++)
            late |= order[i] == v->in.at[k] && (v->bind.at[k].kind == B_FIELD || v->bind.at[k].kind == B_COUNT);
    if (late) {
        error_at(at, "'%s' is kept from item to item, so it cannot start from a value of one item", path);
        return h;
    }
    PUSH(v->kept, h);
    PUSH(v->kept_born, x);
    return h;
}

/* The home of a state of level l that goes on in the level `until`, made with the value that it is born with; NULL
   after a message. */
static Var *home_find(Lvl *l, Lvl *until, const char *path, const char *name, StateKind kind, Value born, uint16_t set,
                      Dt dt, int rank, const int32_t *dim, Loc at)
{
    Lvl *p = framed(l->parent);
    if (!p) return model_home(path, name, born, dt, at);
    const char *key = arena_printf("%s kept", path);
    Frame *f = p->frame;
    for (int i = 0; i < f->carry.n; i++)
        if (!strcmp(f->carry.at[i]->st->path, key)) {
            if (f->carry.at[i]->axes == set) return f->carry.at[i];
            error_at(at, "'%s' is kept, and its level runs once over one set of rows and once over another", path);
            return NULL;
        }
    bool late = (node_frames(born.node) & f->bit) != 0;   /* born of values of the first item */
    Node *zero = n_splat(dt, 0, born.node->rank, born.node->dim);
    Var *h = carry_new(p, key, name, kind == ST_LEARN ? ST_STATE : kind, late ? v_tensor(zero, born.axes) : born, set,
                       dt, rank, dim, at);
    h->hidden = true;
    h->keep = p != until || p->keep;                      /* kept in a level further out, or as long as this level lives
                                                             on */
    h->until = p != until ? until : p->home;
    carry_open(f, h);
    if (late) {
        Var *made = h->keep ? home_find(l, until, arena_printf("%s.made", path), "made", ST_COUNT,
                                        v_tensor(n_iconst(I64, 0), 0), 0, I64, 0, NULL, at) : NULL;
        Node *first = n_bin(OP_EQ, made ? made->cur.node : f->index64, n_iconst(I64, 0));
        if (made) made->cur.node = n_iconst(I64, 1);
        h->cur.node = n_select(n_expand(first, born.node->rank, born.node->dim), born.node, h->cur.node);
    }
    return h;
}

static void state_home(Lvl *l, Var *v)
{
    v->home = home_find(l, v->until, v->st->path, v->name, v->st->kind, v->born, v->axes, v->st->dt, v->st->rank,
                        v->st->dim, v->st->loc);
    if (v->home) v->start = v->home->cur.node;
}

/* The axes of a level's states here: all but the items' of the open frames. */
static uint16_t state_axes(void)
{
    uint16_t set = (uint16_t)((1u << axes.n) - 1);
    for (Frame *p = el.frame; p; p = p->parent) set &= (uint16_t)~(1u << p->axis);
    return set;
}

/* How many items the kept level had before this context. */
static Node *items_before(Lvl *l)
{
    if (l->before) return l->before;
    l->seen = home_find(l, l->home, arena_printf("%s.step", l->path), "step", ST_COUNT, v_tensor(n_iconst(I64, 0), 0),
                        0, I64, 0, NULL, l->ast->loc);
    return l->before = l->seen->cur.node;
}

/* What lives on goes back to its home. */
static void keep_states(Lvl *l, int64_t total)
{
    Frame *f = l->frame;
    for (int i = 0; f && i < f->carry.n; i++) {
        Var *v = f->carry.at[i];
        if (v->home) v->home->cur = v_tensor(n_mark(v->final, graph_uid()), v->axes);
    }
    if (l->seen) l->seen->cur.node = n_mark(n_bin(OP_ADD, l->seen->cur.node, n_iconst(I64, total)), graph_uid());
}

/* `step`: the item's number, from 1 at birth. */
Value level_step(Lvl *l)
{
    int32_t t = axes.size[l->axis];
    Node *n = n_bin(OP_ADD, n_iota(I64, 1, &t, 0), n_splat(I64, (double)(l->offset + 1), 1, &t));
    if (l->keep) n = n_bin(OP_ADD, n, n_expand(items_before(l), 1, &t));
    Value v = v_tensor(n, (uint16_t)(1u << l->axis));
    v.weak = true;
    return v;
}

/* The same inside the loop, since the state was born. */
static Node *state_index(Var *v)
{
    Frame *f = v->lvl->frame;
    return v->keep && !v->lvl->keep ? n_bin(OP_ADD, f->item64, items_before(v->lvl)) : f->index64;
}

Node *state_count(Var *v) { return n_bin(OP_ADD, state_index(v), n_iconst(I64, 1)); }

/* The block's start for anchor and frozen: a carry that takes the state's value at items 0, C, 2C, .. */
static void block_open(Lvl *l, Var *v)
{
    int64_t c = v->block;
    if (!c) return;
    if (!v->anchor) {
        v->anchor = inner_new(l, arena_printf("%s.anchor", v->st->path), "anchor", ST_STATE, v->born, v->st->dt,
                              v->st->rank, v->st->dim, v->st->loc);
        v->anchor->hidden = true;
        v->anchor->keep = v->keep;
    }
    if (!v->anchor->in) carry_open(l->frame, v->anchor);
    Node *start = n_bin(OP_EQ, n_bin(OP_MOD, state_index(v), n_iconst(I64, c)), n_iconst(I64, 0));
    Node *a = n_select(n_expand(start, v->cur.node->rank, v->cur.node->dim), v->cur.node, v->anchor->cur.node);
    v->anchor->cur.node = a;
    v->at_block = n_mark(a, graph_uid());
}

/* Periods beyond their context, in all its lengths: warned of at the end. */
typedef struct { Loc at; const char *level, *state; int64_t n, most; bool frozen, learns; } Period;
static VEC(Period) periods;

static void period_seen(Var *v, Lvl *l, int64_t n, bool frozen, Loc at)
{
    Period *p = NULL;
    for (int i = 0; i < periods.n && !p; i++)
        if (periods.at[i].n == n && periods.at[i].frozen == frozen && !memcmp(&periods.at[i].at, &at, sizeof at))
            p = &periods.at[i];
    if (n <= 1 || v->keep) return;                        /* what is kept goes on in the next context */
    if (!p) {
        Period first = { at, l->path, v->st->path, n, 0, frozen, v->st->kind == ST_LEARN };
        PUSH(periods, first);
        p = &periods.at[periods.n - 1];
    }
    if (l->frame->total > p->most) p->most = l->frame->total;
}

void warn_of_periods(void)
{
    for (int i = 0; i < periods.n; i++) {
        const Period *p = &periods.at[i];
        if (p->n <= p->most) continue;
        warn_at(p->at, "`%s %lld` is beyond the context of '%s', which has %lld item%s: %s", p->frozen ? "frozen" :
                "every", (long long)p->n, p->level,
                (long long)p->most, p->most == 1 ? "" : "s at most",
                arena_printf(p->frozen ? "what is read of '%s' is always its start" : p->learns ?
                             "'%s' moves once, at its end" : "'%s' never moves", p->state));
    }
    memset(&periods, 0, sizeof periods);
}

static void set_clauses(Var *v, Lvl *l)
{
    Scope *cs;
    var_clock(v);
    period_seen(v, l, v->st->every, false, v->clock_at);
    Clauses *cl = clock_clauses(v, &cs);
    if (!cl || !cl->mode) return;
    Value c = eval(l->outer, cl->block);
    int64_t n;
    if (c.kind == V_ERR) return;
    if (!v_integer(c, &n) || n < 1) {
        error_at(cl->block->loc, "a block is a whole number of items, at least 1, known when compiling, not %s",
                 v_show(c));
        return;
    }
    if (v->st->every != 1) { error_at(cl->block->loc, "only `every 1` takes anchor and frozen"); return; }
    v->block = n; v->is_frozen = cl->mode == 'f';
    if (v->is_frozen) period_seen(v, l, n, true, cl->block->loc);
}

static Var *inner_learn(Lvl *l, const char *path, const char *name, StateKind kind, Value start, Dt dt, Inst *in,
                        Clauses *cl, Scope *cs, Loc at)
{
    int rank;
    int32_t dim[MAXDIM];
    graph_start(l, path, start);
    start = v_convert(v_as_tensor(start, at), dt, at);
    if (start.kind != V_TENSOR) return NULL;
    if (l->frame) start = import_frames(start, l->frame->mask & ~l->frame->bit);
    else start = frames_enter(start);
    v_shape(start, &rank, dim);
    if (l->frame && (start.axes & ~l->frame->state_axes)) {
        error_at(at, "'%s' would start from a value of each item; it starts when the level begins", name);
        return NULL;
    }
    bool kept = l->keep || (cl && cl->keep);
    if (l->preview && kept)
        start = v_tensor(v_full(start, start.axes | state_axes(), rank, dim), start.axes | state_axes());
    Var *v = inner_new(l, path, name, kind, start, dt, rank, dim, at);
    v->learn = kind == ST_LEARN; v->inst = in; v->cl = cl; v->cl_scope = cs;
    v->keep = kept;
    if (l->preview) {                                     /* as the level will start */
        v->cur = v->born;
        if (v->keep) { state_home(l, v); v->cur = v_tensor(v->start, v->axes); }
    }
    return v;
}

/* ---- copies of instances */

static Value copy_value(Lvl *l, Value v, const char *path, const char *name, Clauses *cl, Scope *cs, Inst *parent,
                        Loc at);

static Inst *copy_inst(Lvl *l, Inst *src, const char *path, const char *name, Clauses *cl, Scope *cs, Inst *parent,
                       Loc at)
{
    Inst *i = NEW(Inst);
    i->def = src->def; i->path = path; i->name = name; i->parent = parent; i->em = src->em; i->at = at;
    i->cl = cl; i->cl_scope = cs;
    i->scope = scope_new(src->scope->parent, at);
    i->scope->is_body = true;
    i->inner = true;
    for (Binding *b = src->scope->first; b; b = b->next) {
        Binding *c = NEW(Binding);
        *c = *b;
        c->next = i->scope->first;
        i->scope->first = c;
    }
    for (int k = 0; k < src->member.n; k++) {
        Member m = src->member.at[k];
        const char *mp = arena_printf("%s.%s", path, m.name);
        if (m.var) {
            Value now = var_value(m.var);
            m.var = inner_learn(l, mp, m.name, m.var->st->kind == ST_STATE ? ST_STATE : ST_LEARN, now, m.var->st->dt, i,
                                m.var->cl, i->scope, at);
        } else if (m.inst) {
            m.inst = copy_inst(l, m.inst, mp, m.name, m.inst->cl, i->scope, i, at);
            m.list = (Value){ .kind = V_INST, .inst = m.inst, .loc = at };
        } else m.list = copy_value(l, m.list, mp, m.name, NULL, i->scope, i, at);
        PUSH(i->member, m);
        for (Binding *b = i->scope->first; b; b = b->next)
            if (b->name == m.name) { b->var = m.var; if (!m.var) b->v = m.list; }
    }
    return i;
}

/* Instances, tensors, lists and tuples of them as states of this level. */
static Value copy_value(Lvl *l, Value v, const char *path, const char *name, Clauses *cl, Scope *cs, Inst *parent,
                        Loc at)
{
    if (v.kind == V_INST) {
        Clauses *own = cl ? cl : v.inst->parent ? v.inst->cl : NULL;
        return (Value){ .kind = V_INST, .inst = copy_inst(l, v.inst, path, name, own, cs, parent, at), .loc = at };
    }
    Value *e = NEWN(Value, v.n + 1);
    for (int i = 0; i < v.n; i++) {
        const char *p = arena_printf("%s.%d", path, i);
        if (v.elem[i].kind == V_INST || v.elem[i].kind == V_LIST)
            e[i] = copy_value(l, v.elem[i], p, p, cl, cs, parent, at);
        else e[i] = v.elem[i];
    }
    return v_list(v.n, e, v.tuple);
}

/* ---- declarations in a level's body */

static void bind_inner(Scope *s, const char *name, Var *v, Value other, Loc at)
{
    scope_bind(s, name, v ? v_none() : other, at);
    for (Binding *b = s->first; b; b = b->next) if (b->name == name) b->var = v;
}

static void learn_one(Lvl *l, Scope *s, Ast *st, Ast *name, Value v, bool typed)
{
    const char *path = arena_printf("%s.%s", l->path, name->name);
    if (v.kind == V_ERR) { bind_inner(s, name->name, NULL, v, name->loc); return; }
    if (!typed && (v.kind == V_INST || (v.kind == V_LIST && v.n && v.elem[0].kind == V_INST))) {
        bind_inner(s, name->name, NULL, copy_value(l, v, path, name->name, st->cl, s, NULL, name->loc), name->loc);
        return;
    }
    if (!typed && v.kind == V_DEF && v.clo->def && v.clo->def->kind == D_BLOCK) {
        error_at(st->loc, "a new instance of a block is made by the model or the block around; a level learns a copy "
                          "of one: learn %s = NAME", name->name);
        return;
    }
    Dt dt = v.kind == V_TENSOR && !v.weak && !v_number(v, &(double){ 0 }) ? v_dt(v) : float_dt();
    if (typed) dt = v_dt(v);
    Var *var = inner_learn(l, path, name->name, st->kind == S_LEARN ? ST_LEARN : ST_STATE, v, dt, NULL, st->cl, s,
                           name->loc);
    bind_inner(s, name->name, var, v_err(), name->loc);
}

static void declare_inner(Lvl *l, Scope *s, Ast *st)
{
    /* until it is known */
    for (int i = 0; i < st->nnames; i++) bind_inner(s, st->names[i]->name, NULL, v_err(), st->names[i]->loc);
    if (st->tuple && st->nnames > 1) {
        Value v = eval(l->outer, st->a);
        if (v.kind == V_ERR) return;
        if (v.kind != V_LIST || v.n != st->nnames) {
            error_at(st->a->loc, "%d names for %s", st->nnames, v_show(v));
            return;
        }
        for (int i = 0; i < st->nnames; i++) learn_one(l, s, st, st->names[i], v.elem[i], false);
        return;
    }
    for (int i = 0; i < st->nnames; i++) {
        int rank; int32_t dim[MAXDIM]; Dt dt;
        const char *path = arena_printf("%s.%s", l->path, st->names[i]->name);
        Value v;
        if (st->type || st->drawn) v = init_value(el.em, path, l->outer, st, st->names[i]->loc, &rank, dim, &dt);
        else v = eval(l->outer, st->a);
        learn_one(l, s, st, st->names[i], v, st->type != NULL);
    }
}

static void declare_body(Lvl *l, Scope *s, Ast **body, int n)
{
    for (int i = 0; i < n; i++) {
        bool known;
        if (body[i]->kind == S_LEARN || body[i]->kind == S_STATE) declare_inner(l, s, body[i]);
        if (body[i]->kind == S_IF) {
            bool yes = eval_flag(l->outer, body[i]->a, &known);
            if (known) declare_body(l, s, yes ? body[i]->body : body[i]->body2, yes ? body[i]->nbody : body[i]->nbody2);
        }
    }
}

static bool has_states(Ast **body, int n)
{
    for (int i = 0; i < n; i++) {
        if (body[i]->kind == S_LEARN || body[i]->kind == S_STATE) return true;
        if (body[i]->kind == S_IF && (has_states(body[i]->body, body[i]->nbody) ||
                                      has_states(body[i]->body2, body[i]->nbody2)))
            return true;
    }
    return false;
}

/* ---- keep: what lives on, and where */

/* Does a level's body call something that lives on in it? Then the body is a loop, whether it has states of its own or
   not. */
static bool keeps(Scope *s, Ast *e);

static bool inst_keeps(Inst *i)
{
    if (i->cl && i->cl->keep) return true;
    for (int k = 0; k < i->def->nbody; k++) if (keeps(i->scope, i->def->body[k])) return true;
    return false;
}

static bool keeps(Scope *s, Ast *e)
{
    Value v;
    if (!e) return false;
    if (e->kind == S_LEVEL) {
        if (e->cl && e->cl->keep) return true;
        for (int i = 0; i < e->nbody; i++) if (e->body[i]->cl && e->body[i]->cl->keep) return true;
    }
    if (e->kind == E_NAME && scope_find(s, e->name, &v)) {
        if (v.kind == V_INST) return inst_keeps(v.inst);
        for (int i = 0; v.kind == V_LIST && i < v.n; i++)
            if (v.elem[i].kind == V_INST && inst_keeps(v.elem[i].inst)) return true;
        return false;
    }
    if (keeps(s, e->a) || keeps(s, e->b) || keeps(s, e->c)) return true;
    for (int i = 0; i < e->n; i++) if (keeps(s, e->list[i])) return true;
    for (int i = 0; i < e->nbody; i++) if (keeps(s, e->body[i])) return true;
    for (int i = 0; i < e->nbody2; i++) if (keeps(s, e->body2[i])) return true;
    return false;
}

static bool body_keeps(Scope *s, Ast *st)
{
    for (int i = 0; i < st->nbody; i++) if (keeps(s, st->body[i])) return true;
    return false;
}

/* From item to item of the model: each lane has its own, so the lanes must stay. */
static bool keep_in_model(Loc at)
{
    if (!el.v) {
        error_at(at, "`keep` in a stream has no meaning: each of its items is made on its own");
        return false;
    }
    if (!el.v->batched || el.v->batch == 1 || el.v->lanes) return true;
    error_at(at, "state that is kept from item to item needs batch 1 or `lanes`: `batch %lld lanes` cuts the stream "
                 "into stretches, one for each", (long long)el.v->batch);
    return false;
}

/* A state with `keep`. On an instance it keeps the states of the levels inside, not the tensors, which live as this
   level does. */
static bool keeps_itself(Scope *s, Ast *st)
{
    if ((st->kind != S_LEARN && st->kind != S_STATE) || !st->cl || !st->cl->keep) return false;
    Value v = st->type || !st->a ? v_none() : eval_quiet(s, st->a);
    return v.kind != V_INST && (v.kind != V_LIST || !v.n || v.elem[0].kind != V_INST);
}

/* Is a level around l in the body of the instance, too? */
static bool nested_in(const Lvl *l, const Inst *inst)
{
    for (const Lvl *p = l->parent; p; p = p->parent)
        for (const Inst *i = p->kind == L_LEVEL ? p->inst : NULL; i; i = i->parent) if (i == inst) return true;
    return false;
}

/* `keep in` names the level in whose context a state is born anew: one around its own. */
static void refuse_keep_in(const Lvl *l, const Ast *own, const Ast *in)
{
    const char *around = "";
    for (const Lvl *p = l->parent; p; p = p->parent)
        if (p->kind == L_LEVEL) around = arena_printf("%s%s%s", around, *around ? ", " : "", p->ast->name);
    around = *around ? arena_printf("there is %s", around) : "there is none: `keep` alone goes on from item to item of "
                                                             "the model";
    if (own->name == in->name)
        error_at(in->loc, "'%s' is the state's own level; `keep in` names one around it, and %s", in->name, around);
    else error_at(in->loc, "no level '%s' is around '%s'; %s", in->name, own->name, around);
}

/* The `keep` that holds for a level, and the level in which its states go on. False after a message. That of an
   instance is for the outermost levels inside: those within them begin anew with each of their items, kept or not, or
   pieces would not be the whole. */
static bool level_keep(Lvl *l, Scope *s, Ast *st)
{
    Clauses *cl = st->cl && st->cl->keep ? st->cl : NULL;
    Loc at = st->loc;
    for (Inst *i = el.inst; i && !cl; i = i->parent)
        if (i->cl && i->cl->keep && !nested_in(l, i)) { cl = i->cl; at = i->at; }
    bool all = cl != NULL;
    for (int i = 0; i < st->nbody && !cl; i++)
        if (keeps_itself(s, st->body[i])) { cl = st->body[i]->cl; at = st->body[i]->loc; }
    /* items come one by one: all goes on */
    if (el.v && el.v->streaming && !framed(l->parent)) { l->keep = true; return true; }
    if (!cl) return true;
    Lvl *h = l->parent;
    if (cl->keep_in) while (h && (h->kind != L_LEVEL || h->ast->name != cl->keep_in->name)) h = h->parent;
    else while (h && h->kind != L_LEVEL) h = h->parent;
    if (!h && cl->keep_in) { refuse_keep_in(l, st, cl->keep_in); return false; }
    if (!h && !keep_in_model(at)) return false;
    l->keep = all; l->home = h;
    return true;
}

/* ---- the loop */

/* Nodes that the body needs and that do not depend on the frame. */
static void find_captures(Frame *f, Node *x, Nodes *cap, NodeSet *seen)
{
    Nodes stack = { 0 };
    PUSH(stack, x);
    while (stack.n) {
        Node *top = stack.at[--stack.n];
        bool known = false;
        if (!(node_frames(top) & f->bit)) {
            if (top->op == OP_STOP && top->a.k <= STOP_USES) top = top->in[0];      /* the stop stands at the product */
            for (int i = 0; i < cap->n && !known; i++) known = cap->at[i] == top;
            if (!known && top->op != OP_CONST) PUSH(*cap, top);
            continue;
        }
        if (!nodeset_add(seen, top)) continue;
        for (int i = 0; i < top->nin; i++) PUSH(stack, top->in[i]);
    }
}

typedef struct { Value v; Node *out; int stack; } Emitted;

/* Puts the loop's item axis, first in a stacked result, behind the map axes. */
static Value unstack(Node *x, uint16_t set)
{
    int k = 0;
    int8_t map[MAXDIM];
    for (int i = 0; i < MAXDIM; i++) k += set >> i & 1;
    for (int i = 0; i < x->rank; i++) map[i] = (int8_t)(i < k ? i + 1 : i == k ? 0 : i);
    return v_tensor(n_perm(x, map), set);
}

static void close_loop(Lvl *l, int nemit, Emitted *emit)
{
    Frame *f = l->frame;
    Nodes cut = { 0 }, res = { 0 }, cap = { 0 }, operand = { 0 };
    NodeSet seen = { 0 };
    Kinds fk = { 0 }, rk = { 0 };
    PUSH(cut, f->index); PUSH(fk, K_INDEX);
    for (int i = 0; i < f->carry.n; i++) {
        Var *v = f->carry.at[i];
        PUSH(cut, v->in); PUSH(fk, K_CARRY); PUSH(operand, v->start);
        PUSH(res, v->cur.node); PUSH(rk, K_CARRY);
    }
    for (int i = 0; i < nemit; i++) {
        if (!(node_frames(emit[i].v.node) & f->bit)) continue;
        emit[i].stack = res.n;
        PUSH(res, emit[i].v.node); PUSH(rk, K_STACK);
    }
    uses_close(f, &res, &rk);
    for (int i = 0; i < f->item.n; i++) {
        PUSH(cut, f->item.at[i].formal);
        PUSH(fk, K_ITEM);
        PUSH(operand, f->item.at[i].operand);
    }
    for (int i = 0; i < res.n; i++) find_captures(f, res.at[i], &cap, &seen);
    for (int i = 0; i < cap.n; i++) { PUSH(cut, cap.at[i]); PUSH(fk, K_CAPTURE); }
    Node **outside;
    Region *r, *none;
    int n = region_close2(res.n, res.at, NULL, cut.n, cut.at, &outside, &r, &none);
    for (int i = cut.n - cap.n; i < n; i++) PUSH(operand, outside[i]);
    for (int i = 0; i < fk.n; i++) r->fkind[i] = fk.at[i];
    for (int i = 0; i < rk.n; i++) r->rkind[i] = rk.at[i];
    r = region_sink(r);
    Node **out = NEWN(Node *, r->nr + 1);
    level_run(l->path, f->trip, r, operand.n, operand.at, el.v && el.v->train, out);
    for (int i = 0; i < nemit; i++) if (emit[i].stack >= 0) emit[i].out = out[emit[i].stack];
    for (int i = 0; i < f->carry.n; i++) f->carry.at[i]->final = out[i];
    uses_closed(f, out);
}

/* ---- one run of the body over a part of the context */

static void open_frame(Lvl *l, Frame *f, Context *c)
{
    f->trip = c->trip;
    f->item.n = 0;
    f->index = formal_new(I32, 0, NULL);
    memo_set(f->index, f->mask);
    f->item64 = f->index64 = n_bin(OP_ADD, n_cast(f->index, I64), n_iconst(I64, c->offset));
    if (l->keep) f->index64 = n_bin(OP_ADD, f->index64, items_before(l));
    for (int i = 0; i < f->carry.n; i++) { f->carry.at[i]->in = NULL; }
}

static void item_draws(int axis, int32_t trip)
{
    Value item = v_tensor(draws.item, draws.item_axes), n;
    int32_t t = trip;
    n = v_raise_axis(v_tensor(n_iota(I64, 1, &t, 0), 0), axis);
    item = v_binary('+', v_binary('*', item, v_int(trip), (Loc){ 0 }), n, (Loc){ 0 });
    draws.item = item.node; draws.item_axes = item.axes;
}

static bool run_part(Lvl *l, Ast *st, Context *c, bool first, ValueList *pieces)
{
    Frame *f = l->frame;
    Scope *s = first ? scope_new(l->outer, st->loc) : l->decl;     /* the states' clauses are evaluated in it */
    DrawContext draw = draws;
    int errors = error_count();
    if (!axes_fit(1, st->loc)) return false;
    int ax = axis_push(c->trip);
    l->turn = graph_uid();
    l->axis = ax; l->offset = c->offset;
    if (f) { f->axis = ax; open_frame(l, f, c); el.frame = f; }
    l->body = l->decl = s; l->nemit = l->npast = 0;
    if (f && first) {
        axis_pop();                                       /* births see the outside, not the item */
        declare_body(l, s, st->body, st->nbody);
        axis_push(c->trip);
        for (int i = 0; i < f->carry.n; i++)
            if (f->carry.at[i]->learn || f->carry.at[i]->st->kind == ST_STATE) set_clauses(f->carry.at[i], l);
        l->names = s->first;
    }
    item_draws(ax, c->trip);
    l->decl = s;
    for (int i = 0; f && i < f->carry.n; i++) if (!f->carry.at[i]->in) carry_open(f, f->carry.at[i]);
    for (int i = 0, n = f ? f->carry.n : 0; i < n; i++) block_open(l, f->carry.at[i]);
    Scope *items = l->body = scope_new(s, st->loc);       /* the items' names hide nothing of the states' scope */
    for (int i = 0; i < c->n; i++) {
        Value x = v_raise_axis(c->v[i], ax);
        bind_names(items, &st->names[st->nnames == c->n ? i : 0], 1, false, x, st->loc);
    }
    el.lvl = l;
    bool done = false;
    if (first) graph_states(l, f ? (int)f->total : c->trip);
    if (f && first) explain_level(l);
    exec(items, st->body, st->nbody, &done);
    if (f && first) { explain_level_end(l); graph_states(l, 0); graph_emits(l); }
    if (f && c->offset + c->trip == f->total && error_count() == errors)
        flush_states(l, n_bin(OP_EQ, f->item64, n_iconst(I64, f->total - 1)));
    l->flush.n = 0;
    el.lvl = l->parent;
    draws = draw;
    if (error_count() > errors) { axis_pop(); if (f) el.frame = f->parent; return false; }
    Emitted *emit = NEWN(Emitted, l->nemit + 1);
    for (int i = 0; i < l->nemit; i++) {
        Value v = v_as_tensor(l->emit[i], l->emit[i].loc);
        if (v.kind != V_TENSOR) { axis_pop(); if (f) el.frame = f->parent; return false; }
        if (f && (node_frames(v.node) & f->bit)) v = import_frames(v, f->mask);
        if (v.node->rank >= MAXDIM && !(v.axes >> ax & 1)) {
            error_at(v.loc, "too many axes");
            axis_pop();
            if (f) el.frame = f->parent;
            return false;
        }
        emit[i] = (Emitted){ v, NULL, -1 };
    }
    for (int i = 0; f && i < f->carry.n; i++)
        if (f->carry.at[i]->keep && !f->carry.at[i]->home) state_home(l, f->carry.at[i]);
    if (f) close_loop(l, l->nemit, emit);
    Value *out = NEWN(Value, l->nemit + 1);
    for (int i = 0; i < l->nemit; i++) {
        if (emit[i].stack >= 0) out[i] = unstack(emit[i].out, emit[i].v.axes);
        else out[i] = v_lower_axis(emit[i].v, ax);
    }
    axis_pop();
    if (f) el.frame = f->parent;
    Value piece = l->nemit == 1 ? out[0] : l->nemit ? v_list(l->nemit, out, true) : v_none();
    PUSH(*pieces, piece);
    for (int i = 0; f && i < f->carry.n; i++) f->carry.at[i]->start = f->carry.at[i]->final;
    return true;
}

/* After the level its states are what they ended as. */
static void end_states(Frame *f)
{
    for (int i = 0; i < f->carry.n; i++) {
        Var *v = f->carry.at[i];
        v->cur = v_tensor(n_mark(v->final, graph_uid()), v->axes);
        v->cur.state = v->st;
        explain_state(v->cur.node, v->st, false);
        v->frame = NULL;
        v->is_frozen = false;
    }
}

static bool same_items(Value a, Value b)
{
    int ra, rb; int32_t da[MAXDIM], db[MAXDIM];
    if (!v_shape(a, &ra, da) || !v_shape(b, &rb, db) || ra != rb) return false;
    for (int i = 1; i < ra; i++) if (da[i] != db[i]) return false;
    return true;
}

/* What a level over chunks of which the last is shorter emitted: one sequence if the items have one shape, or else the
   parts. */
static Value pieces_join(Lvl *l, int n, Value *piece, Loc at)
{
    const char *const axis[2] = { NULL, intern("axis") };
    if (l->nemit > 1) {
        Value *out = NEWN(Value, l->nemit + 1), part[2];
        for (int k = 0; k < l->nemit; k++) {
            for (int i = 0; i < n; i++) part[i] = piece[i].elem[k];
            Lvl one = { .nemit = 1 };
            out[k] = pieces_join(&one, n, part, at);
        }
        return v_list(l->nemit, out, true);
    }
    if (!l->nemit || !same_items(piece[0], piece[1])) return v_list(n, piece, false);
    Value arg[2] = { v_list(n, piece, false), v_int(0) };
    return builtin_call(builtin_find("concat"), 2, arg, axis, at);
}

void stmt_level(Scope *s, Ast *st)
{
    Context c = { 0 };
    scope_bind(s, st->name, v_err(), st->loc);             /* until it is done */
    Lvl *l = NEW(Lvl);
    *l = (Lvl){ .kind = L_LEVEL, .parent = el.lvl, .tag = graph_uid(), .em = el.em, .inst = el.inst,
                .outer = s, .ast = st, .g = v_err(), .parent_turn = el.lvl ? el.lvl->turn : 0 };
    l->path = arena_printf("%s.%s", el.inst ? el.inst->path : el.lvl && el.lvl->path ? el.lvl->path : "stream",
                           st->name);
    if (st->n > 16) { error_at(st->loc, "a level runs over at most 16 contexts"); return; }
    if (!context_part(s, st, 0, &c)) return;
    if (!level_keep(l, l->outer, st)) return;
    if (has_states(st->body, st->nbody) || body_keeps(s, st)) {
        Frame *f = NEW(Frame);
        f->parent = el.frame;
        f->bit = 1u << (el.frame ? el.frame->depth + 1 : 0);
        f->depth = el.frame ? el.frame->depth + 1 : 0;
        f->mask = f->bit | (el.frame ? el.frame->mask : 0);
        f->state_axes = state_axes();
        l->frame = f;
        if (st->cl && st->cl->truncate) {
            Value t = eval(s, st->cl->truncate);
            if (t.kind == V_ERR) return;
            if (!v_integer(t, &f->truncate) || f->truncate < 1) {
                error_at(st->cl->truncate->loc, "truncate takes a whole number of items, at least 1, not %s",
                         v_show(t));
                return;
            }
        }
    }
    for (int i = 0; i < st->nbody; i++) if (st->body[i]->kind == S_DEFAULT) l->dflt = st->body[i]->cl;
    Context rest = { 0 };
    if (l->frame) {
        if (!context_part(s, st, 1, &rest)) return;
        l->frame->total = (c.trip > 0 ? c.trip : 0) + (rest.trip > 0 ? rest.trip : 0);
    }
    ValueList pieces = { 0 };
    bool ok = true, first = true;
    int64_t total = 0;
    for (int part = 0; part < 2 && ok; part++) {
        int64_t before = c.offset + (part ? c.trip : 0);
        if (part && !context_part(s, st, 1, &c)) return;
        c.offset = part ? before : 0;
        if (c.trip <= 0) continue;
        total += c.trip;
        for (int i = 0; i < c.n; i++) c.v[i] = frames_enter(c.v[i]);
        ok = run_part(l, st, &c, first, &pieces);
        first = false;
    }
    if (!ok) return;
    if (l->frame) end_states(l->frame);
    keep_states(l, total);
    Value result = !l->nemit ? (Value){ .kind = V_NONE, .str = st->name } : pieces.n == 1 ? pieces.at[0] : pieces_join(l, pieces.n, pieces.at, st->loc);
    scope_bind(s, st->name, result, st->loc);
    explain_name(result, st->name, el.inst, s);
    graph_result(l, result);
    l->npieces = pieces.n; l->pieces = pieces.at;
    LevelRec *rec = NEW(LevelRec);
    *rec = (LevelRec){ st->name, l, s->levels };
    s->levels = rec;
}

/* level.M, and join(level) */

/* A level that has run in an item that is over is not known any more. */
static bool still_open(Lvl *l)
{
    if (!l->parent || l->parent->kind != L_LEVEL) return true;
    for (Lvl *p = el.lvl; p; p = p->parent) if (p == l->parent) return p->turn == l->parent_turn;
    return false;
}

Lvl *level_find(Scope *s, const char *name)
{
    for (; s; s = s->parent)
        for (LevelRec *r = s->levels; r; r = r->next) if (r->name == name && still_open(r->lvl)) return r->lvl;
    return NULL;
}

/* A state of a level that ran once per index of rows that are gone: their axes stand in front. */
static Value rows_in_front(Value v)
{
    if (v.kind == V_LIST) {
        Value *e = NEWN(Value, v.n + 1);
        for (int i = 0; i < v.n; i++) e[i] = rows_in_front(v.elem[i]);
        v.elem = e;
        return v;
    }
    if (v.kind != V_TENSOR || !(v.axes >> axes.n)) return v;
    /* map axes come first, innermost last: they are logical now */
    return v_tensor(v.node, v.axes & (uint16_t)((1u << axes.n) - 1));
}

Value level_state(Lvl *l, const char *name, Loc at)
{
    for (Binding *b = l->names; b; b = b->next)
        if (b->name == name) {
            graph_ended(l, b->var);
            return rows_in_front(b->var ? b->var->cur : b->v);
        }
    error_at(at, "the level '%s' has no state '%s'", l->ast->name, name);
    return v_err();
}

/* A state of a level that has not run in this item: as it will start. */
bool level_before(Scope *s, Inst *i, const char *level, const char *name, Loc at, Value *v)
{
    Ast *def = i ? i->def : el.lvl && el.lvl->kind == L_LEVEL ? el.lvl->ast : el.inst ? el.inst->def : NULL, *st = NULL;
    for (int k = 0; def && k < def->nbody; k++)
        if (def->body[k]->kind == S_LEVEL && def->body[k]->name == level) st = def->body[k];
    if (!st) return false;
    Inst *keep = el.inst;
    if (i) el.inst = i;
    Lvl *l = NEW(Lvl);
    *l = (Lvl){ .kind = L_LEVEL, .parent = el.lvl, .tag = graph_uid(), .em = el.em, .inst = el.inst,
                .ast = st, .preview = true, .g = v_err() };
    l->outer = i ? i->call ? i->call : i->scope : s;
    l->path = arena_printf("%s.%s", el.inst ? el.inst->path : "stream", st->name);
    Scope *in = scope_new(l->outer, at);
    if (level_keep(l, l->outer, st)) declare_body(l, in, st->body, st->nbody);
    l->names = in->first;
    el.inst = keep;
    *v = level_state(l, name, at);
    return true;
}

static Value join_piece(Value v, Loc at)
{
    int rank; int32_t dim[MAXDIM];
    if (!v_shape(v, &rank, dim) || rank < 2) {
        error_at(at, "join() puts the pieces of a level over chunks end to end; this level emits %s", v_show(v));
        return v_err();
    }
    Value *shape = NEWN(Value, rank);
    shape[0] = v_int((int64_t)dim[0] * dim[1]);
    for (int i = 2; i < rank; i++) shape[i - 1] = v_int(dim[i]);
    Value arg[2] = { v, v_list(rank - 1, shape, false) };
    return builtin_call(builtin_find("reshape"), 2, arg, (const char *[2]){ NULL, NULL }, at);
}

static Value join_all(int n, Value *piece, Loc at)
{
    Value *e = NEWN(Value, n + 1);
    for (int i = 0; i < n; i++) { e[i] = join_piece(piece[i], at); if (e[i].kind == V_ERR) return v_err(); }
    if (n == 1) return e[0];
    Value arg[2] = { v_list(n, e, false), v_int(0) };
    return builtin_call(builtin_find("concat"), 2, arg, (const char *[2]){ NULL, intern("axis") }, at);
}

Value call_join(Scope *s, Ast *e)
{
    Lvl *l = e->n == 1 && e->list[0]->kind == E_NAME ? level_find(s, e->list[0]->name) : NULL;
    Value v = v_none();
    if (!l && e->n == 1 && e->list[0]->kind == E_NAME && scope_find(s, e->list[0]->name, &v) && v.kind == V_ERR)
        return v;
    if (!l) { error_at(e->loc, "join(level) takes the name of a level above"); return v_err(); }
    if (l->nemit <= 1) return join_all(l->npieces, l->pieces, e->loc);
    Value *out = NEWN(Value, l->nemit + 1), *part = NEWN(Value, l->npieces + 1);
    for (int k = 0; k < l->nemit; k++) {
        for (int i = 0; i < l->npieces; i++) part[i] = l->pieces[i].elem[k];
        out[k] = join_all(l->npieces, part, e->loc);
    }
    return v_list(l->nemit, out, true);
}

/* ---- past(e, n): e at this item and the n - 1 before it, oldest first, zeros before the first */

/* Rows of the past are constants to the level's own objectives, this item's row, the last along the axis, is not. */
static Node *stop_past(Node *x, int axis, int n, int64_t tag)
{
    int32_t start[MAXDIM] = { 0 }, step[MAXDIM], len[MAXDIM];
    if (n == 1) return x;
    for (int i = 0; i < x->rank; i++) { step[i] = 1; len[i] = x->dim[i]; }
    len[axis] = n - 1;
    Node *old = n_slice(n_stop(x, tag), start, len, step);
    len[axis] = 1; start[axis] = n - 1;
    return n_concat(2, (Node *[2]){ old, n_slice(x, start, len, step) }, axis);
}

static Node *last_rows(Node *x, int axis, int n)
{
    int32_t start[MAXDIM] = { 0 }, step[MAXDIM], len[MAXDIM];
    for (int i = 0; i < x->rank; i++) { step[i] = 1; len[i] = x->dim[i]; }
    len[axis] = n; start[axis] = x->dim[axis] - n;
    return n_slice(x, start, len, step);
}

/* `truncate c`: rows of items before the last multiple of c are constants to all objectives. x: items along `items`,
   rows along `rows`. */
static Node *cut_rows(Lvl *l, Node *x, int items, int rows, int n)
{
    int64_t c = l->frame->truncate;
    Node *item = n_bin(OP_ADD, n_iota(I64, x->rank, x->dim, items), n_splat(I64, (double)l->offset, x->rank, x->dim));
    if (l->keep) item = n_bin(OP_ADD, item, n_expand(items_before(l), x->rank, x->dim));
    Node *from = n_bin(OP_SUB, n_bin(OP_ADD, item, n_iota(I64, x->rank, x->dim, rows)),
                       n_splat(I64, (double)(n - 1), x->rank, x->dim));
    Node *begin = n_bin(OP_SUB, item, n_bin(OP_MOD, item, n_splat(I64, (double)c, x->rank, x->dim)));
    return n_select(n_bin(OP_LT, from, begin), n_stop(x, STOP_ALL), x);
}

static const char *past_path(Lvl *l) { return arena_printf("%s.past%d", l->path, l->npast++); }

/* Of a value that depends on the level's states: the last n - 1 rows are a state of the level. */
static Value past_state(Lvl *l, Value v, int n, Loc at)
{
    Frame *f = l->frame;
    int rank, k = 0; int32_t dim[MAXDIM];
    const char *path = past_path(l);
    v = import_frames(v, f->mask);
    v_shape(v, &rank, dim);
    if (rank + 1 > MAXDIM) { error_at(at, "too many axes"); return v_err(); }
    memmove(dim + 1, dim, (size_t)rank * sizeof *dim);
    dim[0] = 1;
    Node *row = v_full(v, v.axes, rank, dim + 1), *x;
    for (int i = 0; i < MAXDIM; i++) k += v.axes >> i & 1;
    int8_t map[MAXDIM];
    int32_t shape[MAXDIM];
    for (int i = 0; i <= row->rank; i++) {
        map[i] = (int8_t)(i < k ? i : i == k ? -1 : i - 1);
        shape[i] = i < k ? row->dim[i] : i == k ? 1 : row->dim[i - 1];
    }
    row = n_bcast(row, row->rank + 1, shape, map);
    if (n == 1) return v_tensor(row, v.axes);
    dim[0] = n - 1;
    Var *w = NULL;
    for (int i = 0; i < f->carry.n; i++) if (!strcmp(f->carry.at[i]->st->path, path)) w = f->carry.at[i];
    if (!w) {
        w = carry_new(l, path, "past", ST_STATE, v_real(0), v.axes, (Dt)row->dt, rank + 1, dim, at);
        w->hidden = true;
        carry_open(f, w);
    }
    x = n_concat(2, (Node *[2]){ w->cur.node, row }, k);
    w->cur.node = n_mark(last_rows(x, k, n - 1), graph_uid());
    return v_tensor(stop_past(x, k, n, l->tag), v.axes);
}

/* The n - 1 rows before the first item of this part: zeros, or what the part or the context before left. x: [.., T, ..]
   with T at `at`. */
static Node *rows_before(Lvl *l, Node *x, int at, int n, Var **home, Loc loc)
{
    const char *path = past_path(l);
    int32_t dim[MAXDIM];
    memcpy(dim, x->dim, sizeof dim);
    dim[at] = n - 1;
    Node *zero = n_splat((Dt)x->dt, 0, x->rank, dim);
    if (l->offset && l->npast <= l->past.n) {
        Node *rows = l->past.at[l->npast - 1];
        bool same = rows && rows->rank == x->rank && rows->dt == x->dt;
        for (int i = 0; i < x->rank && same; i++) same = rows->dim[i] == dim[i];
        if (same) return rows;
        if (rows) error_at(loc, "past() of a value whose shape changes in the last, shorter chunk");
        return zero;
    }
    if (!l->keep) return zero;
    *home = home_find(l, l->home, path, "past", ST_STATE, v_tensor(zero, 0), 0, (Dt)x->dt, x->rank, dim, loc);
    return *home ? (*home)->cur.node : zero;
}

Value call_past(Scope *s, Ast *e)
{
    Lvl *l = el.lvl;
    int64_t n;
    while (l && l->kind == L_RULE) l = l->parent;
    if (!l || l->kind != L_LEVEL || e->n != 2) {
        error_at(e->loc, "past(e, n) stands in a level: e at this item and the n - 1 before it");
        return v_err();
    }
    Value v = v_as_float(eval(s, e->list[0]), e->loc), k = eval(s, e->list[1]);
    if (v.kind != V_TENSOR || k.kind == V_ERR) return v_err();
    if (!v_integer(k, &n) || n < 1 || n > 1 << 24) {
        error_at(e->list[1]->loc, "past() looks back over a whole number of items, at least 1, not %s", v_show(k));
        return v_err();
    }
    if (l->frame && (node_frames(v.node) & l->frame->bit)) return past_state(l, v, (int)n, e->loc);
    int ax = l->axis, rank;
    int32_t dim[MAXDIM];
    Lvl *around = l->keep ? framed(l->parent) : NULL;
    if (around) v = import_frames(v, around->frame->mask);         /* its rows live in the loop around */
    v_shape(v, &rank, dim);
    uint16_t set = v.axes | (uint16_t)(1u << ax);
    Node *x = v_full(v, set, rank, dim);
    int at = axes_below(set, ax);
    if (x->rank + 1 > MAXDIM) { error_at(e->loc, "too many axes"); return v_err(); }
    if (n > 1) {
        Var *home = NULL;
        int before = l->npast;
        Node *rows = rows_before(l, x, at, (int)n, &home, e->loc);
        x = n_concat(2, (Node *[2]){ rows, x }, at);
        Node *left = last_rows(x, at, (int)n - 1);
        if (home) home->cur.node = n_mark(left, graph_uid());
        while (l->past.n <= before) PUSH(l->past, NULL);
        l->past.at[before] = left;
    }
    Node *w = n_window(x, at, (int)n);                    /* [.., T, n, ..]: n stands behind T; it is the first logical
                                                             axis */
    int behind = 0;
    for (int i = ax + 1; i < MAXDIM; i++) behind += set >> i & 1;
    int8_t map[MAXDIM];
    for (int i = 0; i < w->rank; i++)
        map[i] = (int8_t)(i <= at ? i : i <= at + behind ? i + 1 : i == at + behind + 1 ? at + 1 : i);
    Node *all = stop_past(n_perm(w, map), at + behind + 1, (int)n, l->tag);
    if (l->frame && l->frame->truncate) all = cut_rows(l, all, at, at + behind + 1, (int)n);
    return v_tensor(all, set);
}
