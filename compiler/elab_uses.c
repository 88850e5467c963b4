/* elab_uses.c: what rules see that name x, u, w: the uses of their matrix on the way to the objective, one a row.

   A use of W : [o, i] is a product W @ x, W(x) or x @ W'. Wherever a state whose rule names x, u or w is multiplied,
   two things are done. A tap is added, y = W x + 0: the gradient at that zero is u w, that of the objective at the
   output y. And W goes through a STOP with a tag that no objective has; where a gradient reaches W on another way than
   through these, W is used otherwise, which is an error. Inside a loop (a level whose body depends on its states) the
   tap is an ITEM, zeros for all items, and x leaves the loop as a STACK. When the gradients have been taken the zeros
   go (graph.c), and nothing of all this is left.

   uses_product and uses_linear require operands that have met (frames_meet). uses_close and uses_closed stand around
   the making of a loop. uses_taps and uses_seen are called by `minimize`, which differentiates with respect to the
   taps; uses_gather adds up the rows under a clock. Guarantees: (u' * w) @ x is the gradient g, and rows whose weight
   is 0 have u = 0. */
#include <string.h>
#include "elab_int.h"
#include "explain.h"

/* How W was used: the logical axes of x and of the output y. L: leading axes of W itself, beyond [o, i]. */
typedef enum { VECTOR, ROWS, COLUMNS } Form;     /* [L.., i] and [L.., o];  [L.., n.., i], [L.., n.., o];  [L.., i, n],
                                                    [L.., o, n] */

struct Use {
    Var *var;
    Value x;                     /* with all map axes of the output */
    Node *tap;                   /* inside a loop: the ITEM that it is there */
    uint16_t own;                /* the map axes of W: a use of each */
    int lead, logical;           /* the logical axes: how many are W's leading ones; all of them */
    Form form;
    int stack;                   /* the loop's result that is x, while it is closed */
};

/* ---- which states have such a rule */

static Binding *look(Scope *s, const char *name)
{
    for (; s; s = s->parent)
        for (Binding *b = s->first; b; b = b->next) if (b->name == name) return b;
    return NULL;
}

static bool value_sees(Value v)
{
    if (v.kind != V_DEF || !v.clo->def || v.clo->def->kind != D_RULE) return false;
    if (v.clo->def->ninputs > 2) return true;
    for (int i = 0; i < v.clo->n; i++) if (value_sees(v.clo->arg[i])) return true;
    return false;
}

/* What a name is that no scope binds; NULL: nothing that could be a rule. */
static Ast *defined(Scope *s, Ast *name)
{
    while (s->parent) s = s->parent;
    diag_quiet(true);
    Ast *def = find_definition(s->file, name->name, name->loc);
    diag_quiet(false);
    return def && (def->kind == D_RULE || def->kind == D_CONST || def->kind == D_FN) ? def : NULL;
}

/* Does this rule, or one among its arguments, name x, u or w? Numbers among the arguments are not looked at: they may
   not be known yet. */
static bool rule_sees(Scope *s, Ast *e)
{
    if (e->kind == E_ARG) return rule_sees(s, e->a);
    if (e->kind == E_CALL) {
        Ast *f = e->a->kind == E_NAME && !look(s, e->a->name) ? defined(s, e->a) : NULL;
        if (f && f->kind == D_FN) return value_sees(eval_quiet(s, e));
        if (rule_sees(s, e->a)) return true;
        for (int i = 0; i < e->n; i++) if (rule_sees(s, e->list[i])) return true;
        return false;
    }
    if (e->kind != E_NAME) return false;
    Binding *b = look(s, e->name);
    if (b) return !b->var && value_sees(b->v);
    Ast *def = defined(s, e);
    return def && def->kind != D_FN && value_sees(eval_def(def, e->loc));
}

bool uses_wanted(Var *v)
{
    if (!v->wants) {
        Scope *s;
        Ast *with = var_with(v, &s);
        v->wants = with && rule_sees(s, with) ? 'y' : 'n';
        if (v->wants == 'y') v->use_tag = STOP_USES - graph_uid();
    }
    return v->wants == 'y';
}

static bool swaps_last(const Node *x)
{
    for (int i = 0; i < x->rank - 2; i++) if (x->a.map[i] != i) return false;
    return x->rank >= 2 && x->a.map[x->rank - 2] == x->rank - 1;
}

/* The rule of v is at work: what it does with W is no use. */
static bool moving(const Var *v)
{
    for (Lvl *l = el.lvl; l; l = l->parent) if (l->kind == L_RULE && l->w == v) return true;
    return false;
}

static Var *state_at(const Node *mark)
{
    for (int i = el.inner.n - 1; i >= 0; i--)
        if (el.inner.at[i]->frame && (el.inner.at[i]->cur.node == mark || el.inner.at[i]->at_block == mark))
            return el.inner.at[i];
    for (int i = 0; el.em && i < el.em->var.n; i++)
        if (el.em->var.at[i]->in && el.em->var.at[i]->cur.node == mark) return el.em->var.at[i];
    return NULL;
}

/* The state that an operand is, as it stands or with its last axes swapped; NULL: none that is to be seen. */
static Var *seen_state(Value a, bool *swapped)
{
    if (a.kind != V_TENSOR || el.mode != M_STEP || el.in_report) return NULL;
    Node *x = a.node;
    *swapped = x->op == OP_PERM && swaps_last(x);
    if (*swapped) x = x->in[0];
    Var *v = x->op == OP_MARK ? state_at(x) : NULL;
    return v && v->moves && v->st->rank >= 2 && dt_float(v->st->dt) && !moving(v) && uses_wanted(v) ? v : NULL;
}

/* ---- the tap */

/* The frames inside that of v in which y is: their items' axes are axes of the tap. */
static uint16_t item_axes_between(const Var *v, const Node *y)
{
    uint16_t set = 0;
    for (Frame *f = el.frame; f && f != v->frame; f = f->parent)
        if (node_frames((Node *)y) & f->bit) set |= (uint16_t)(1u << f->axis);
    return set;
}

/* 0, of y's shape at every item of the loops around. */
static Value tap_of(const Var *v, Value y)
{
    uint16_t set = y.axes | item_axes_between(v, y.node);
    int rank, n = 0;
    int32_t dim[MAXDIM], all[MAXDIM];
    v_shape(y, &rank, dim);
    for (int i = 0; i < axes.n; i++) if (set >> i & 1) all[n++] = axes.size[i];
    memcpy(all + n, dim, (size_t)rank * sizeof *dim);
    return v_tensor(n_mark(n_splat((Dt)y.node->dt, 0, n + rank, all), graph_uid()), set);
}

static Value tapped(Var *v, Value y, Value x, uint16_t own, Form form, Loc at)
{
    int rank, w;
    int32_t dim[MAXDIM];
    if (y.kind != V_TENSOR) return y;
    for (int i = w = 0; i < MAXDIM; i++) w += (y.axes | item_axes_between(v, y.node)) >> i & 1;
    x = v_convert(v_as_tensor(x, at), v->st->dt, at);
    v_shape(y, &rank, dim);
    if (w + rank > MAXDIM || x.kind != V_TENSOR) { error_at(at, "too many axes"); return v_err(); }
    Value both[2] = { y, tap_of(v, y) };
    frames_meet(2, both);
    Value sum = v_binary('+', both[0], both[1], at);
    if (sum.kind != V_TENSOR) return sum;
    v_shape(x, &rank, dim);
    Use *u = NEW(Use);
    *u = (Use){ .var = v, .tap = both[1].node, .own = own, .form = form, .logical = rank, .stack = -1 };
    u->lead = v->st->rank - v->lead - 2;
    u->x = v_tensor(v_full(x, y.axes, rank, dim), y.axes);
    PUSH(el.use, u);
    return sum;
}

/* W, or W', behind its stop. */
static Value stopped(Var *v, Value a, bool swapped)
{
    Node *w = n_stop(swapped ? a.node->in[0] : a.node, v->use_tag);
    return v_tensor(swapped ? n_perm(w, a.node->a.map) : w, a.axes);
}

static int logical_rank(Value v)
{
    int rank; int32_t dim[MAXDIM];
    return v_shape(v, &rank, dim) ? rank : -1;
}

/* a @ b */
Value uses_product(Value a, Value b, Loc at)
{
    bool swapped;
    int ra = logical_rank(a), rb = logical_rank(b);
    Var *v = seen_state(a, &swapped);
    if (v && !swapped && (rb == ra || rb == ra - 1))
        return tapped(v, v_binary('@', stopped(v, a, false), b, at), b, a.axes, rb == ra ? COLUMNS : VECTOR, at);
    v = seen_state(b, &swapped);
    if (v && swapped && (ra == rb || ra == rb - 1))
        return tapped(v, v_binary('@', a, stopped(v, b, true), at), a, b.axes, ra == rb ? ROWS : VECTOR, at);
    return v_binary('@', a, b, at);
}

/* m(x) */
Value uses_linear(Value m, Value x, Loc at)
{
    bool swapped;
    Var *v = seen_state(m, &swapped);
    if (!v || swapped) return v_linear(m, x, at);
    return tapped(v, v_linear(stopped(v, m, false), x, at), x, m.axes, ROWS, at);
}

/* ---- out of a loop */

static Node *behind_perm(Node *x) { return x->op == OP_PERM ? x->in[0] : x; }

/* Before the loop of f is made: uses of states outside whose outputs are inside are further STACKs of it. Those that
   its results do not reach are forgotten, and those of its own states. */
void uses_close(Frame *f, Nodes *res, Kinds *kind)
{
    Node **order;
    int n = graph_order(res->n, res->at, &order), kept = 0;
    for (int i = 0; i < el.use.n; i++) {
        Use *u = el.use.at[i];
        if (u->var->inner && u->var->frame == f) continue;
        el.use.at[kept++] = u;
        if (!(node_frames(u->tap) & f->bit)) continue;
        bool reached = false;
        for (int k = 0; k < n && !reached; k++) reached = order[k] == u->tap;
        if (!reached) { kept--; continue; }
        u->stack = res->n;
        PUSH(*res, u->x.node);
        PUSH(*kind, K_STACK);
    }
    el.use.n = kept;
}

/* After: x has the items' axis, and the tap is what the loop's ITEM is a slice of. */
void uses_closed(Frame *f, Node *const *out)
{
    for (int i = 0; i < el.use.n; i++) {
        Use *u = el.use.at[i];
        if (u->stack < 0) continue;
        Node *x = out[u->stack];
        int8_t map[MAXDIM];
        int at = 0;
        for (int k = 0; k < f->axis; k++) at += u->x.axes >> k & 1;
        for (int k = 0; k < x->rank; k++) map[k] = (int8_t)(k < at ? k + 1 : k == at ? 0 : k);
        u->x = v_tensor(n_perm(x, map), u->x.axes | (uint16_t)(1u << f->axis));
        for (int k = 0; k < f->item.n; k++)
            if (f->item.at[k].formal == u->tap) { u->tap = behind_perm(f->item.at[k].operand); break; }
        u->stack = -1;
    }
}

/* ---- at the minimize */

/* The taps of v: gradients are taken with respect to them, too. */
int uses_taps(Var *v, Nodes *taps)
{
    int n = 0;
    for (int i = 0; i < el.use.n && uses_wanted(v); i++)
        if (el.use.at[i]->var == v) { PUSH(*taps, el.use.at[i]->tap); n++; }
    return n;
}

/* x or y as [own.., L.., n, i]: all axes that are not W's become rows. */
static Node *as_rows(const Use *u, Node *x, uint16_t set, int32_t *nrows)
{
    int8_t map[MAXDIM];
    int32_t dim[MAXDIM] = { 0 };
    int n = 0, k = 0, first;
    int last = u->form == COLUMNS ? u->lead : u->logical - 1;        /* the logical axis that W maps */
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0, at = 0; i < MAXDIM; i++) {
            if (!(set >> i & 1)) continue;
            if ((u->own >> i & 1) == !pass) map[n++] = (int8_t)at;
            at++;
        }
        if (pass) break;
        for (int i = 0; i < MAXDIM; i++) k += set >> i & 1;
        for (int i = 0; i < u->lead; i++) map[n++] = (int8_t)(k + i);
        first = n;
    }
    for (int i = u->lead; i < u->logical; i++) if (i != last) map[n++] = (int8_t)(k + i);
    map[n++] = (int8_t)(k + last);
    Node *p = n_perm(x, map);
    memcpy(dim, p->dim, (size_t)first * sizeof *dim);
    dim[first] = 1;
    for (int i = first; i < p->rank - 1; i++) dim[first] *= p->dim[i];
    dim[first + 1] = p->dim[p->rank - 1];
    *nrows = dim[first];
    return n_reshape(p, first + 2, dim);
}

/* The weight of each row: that of its item, in a model, and else 1. */
static Node *row_weights(const Use *u, uint16_t set, int32_t n, Dt dt)
{
    Version *v = el.v;
    if (el.lvl->kind != L_MODEL || !v->batched || !(set & 1)) return n_splat(dt, 1, 1, &n);
    int32_t b = v->weight.node->dim[0], dim[2] = { b, n / b };       /* the batch is the outermost axis */
    (void)u;
    return n_reshape(n_bcast(n_cast(v->weight.node, dt), 2, dim, (int8_t[MAXDIM]){ 0, -1 }), 1, &n);
}

/* du / w, and 0 where w is 0. */
static Node *unweighted(Node *du, Node *w)
{
    Node *zero = n_bin(OP_EQ, w, n_zeros_like(w)), *one = n_splat((Dt)w->dt, 1, w->rank, w->dim);
    Node *factor = n_select(zero, n_zeros_like(w), n_bin(OP_DIV, one, n_select(zero, one, w)));
    int8_t map[MAXDIM];
    memset(map, -1, sizeof map);
    map[du->rank - 2] = 0;
    return n_bin(OP_MUL, du, n_bcast(factor, du->rank, du->dim, map));
}

/* A place where W is used otherwise, in what the results are made of. */
static bool place_otherwise(int nr, Node *const *result, Node *w, int64_t tag, int64_t also, Loc *at)
{
    Node **order;
    int n = graph_order(nr, result, &order);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < order[i]->nin; k++) {
            Node *x = order[i];
            bool flows = x->op == OP_LOOP || x->op == OP_COND;       /* inside it may */
            if (x->in[k] != w || (x->op == OP_STOP && (x->a.k == tag || x->a.k == also || x->a.k == STOP_ALL ||
                                                       x->a.k == STOP_SHIFT)))
                continue;
            for (int j = 0; j < nr && !flows; j++) flows = flows_past(result[j], x, tag, also);
            if (!flows) continue;
            if (x->op != OP_LOOP && x->op != OP_COND) {
                if (x->loc.line) *at = x->loc;
                return true;
            }
            Region *r = x->a.r[0];
            int f = 0;
            for (int in = x->op == OP_COND; f < r->np; f++) if (r->fkind[f] != K_INDEX && in++ == k) break;
            for (int side = 0; side < 2; side++)
                if (x->a.r[side] && place_otherwise(x->a.r[side]->nr, x->a.r[side]->result, r->formal[f], tag, also,
                                                    at))
                    return true;
        }
    return false;
}

/* What v's rule sees; du are the gradients at the taps. */
void uses_seen(Var *v, Node *w, Node *e, int64_t tag, Node *const *du)
{
    Seen *s = v->seen = NEW(Seen);
    Nodes x = { 0 }, u = { 0 }, wt = { 0 };
    if (flows_past(e, w, tag, v->use_tag)) {
        s->otherwise = true;
        s->at = v->st->loc;
        place_otherwise(1, &e, w, tag, v->use_tag, &s->at);
        return;
    }
    for (int i = 0, k = 0; i < el.use.n; i++) {
        Use *use = el.use.at[i];
        if (use->var != v || !du[k++]) continue;
        int32_t n;
        Node *rows = as_rows(use, use->x.node, use->x.axes, &n),
            *grad = n_cast(as_rows(use, du[k - 1], use->x.axes, &n), v->st->dt);
        Node *weight = row_weights(use, use->x.axes, n, v->st->dt);
        PUSH(x, rows);
        PUSH(u, unweighted(grad, weight));
        PUSH(wt, weight);
    }
    s->node[0] = n_concat(x.n, x.at, x.at[0]->rank - 2);
    s->node[1] = n_concat(u.n, u.at, u.at[0]->rank - 2);
    s->node[2] = n_concat(wt.n, wt.at, 0);
}

/* ---- clocks */

static Node *scaled(Node *w, int64_t n) { return n_bin(OP_DIV, w, n_splat((Dt)w->dt, (double)n, w->rank, w->dim)); }

/* More rows, of weight 0. */
static Node *padded(Node *x, int row, int32_t n)
{
    int32_t dim[MAXDIM], start[MAXDIM] = { 0 }, step[MAXDIM];
    for (int i = 0; i < MAXDIM; i++) { dim[i] = x->dim[i]; step[i] = 1; }
    dim[row] = n;
    return n_pad(x, x->rank, dim, start, step);
}

static const char *const names[] = { "x", "u", "w" };

/* The rows since the last update: a state beside v, [.., every * n, ..]. */
static Var *gathered(Var *v, int k, const Node *now, Loc at)
{
    const char *path = arena_printf("%s.uses.%s", v->st->path, names[k]);
    int own = k == 2 ? 0 : v->inner ? v->start->rank - v->st->rank : 0, rank = now->rank - own,
        row = k == 2 ? 0 : now->rank - 2;
    int32_t dim[MAXDIM];
    for (int i = 0; i < rank; i++) dim[i] = now->dim[own + i] * (own + i == row ? (int32_t)v->st->every : 1);
    Var *b = v->rows[k];
    if (!b && v->inner) {
        b = inner_new(v->lvl, path, "uses", ST_GSUM, v_real(0), v->st->dt, rank, dim, v->st->loc);
        b->keep = v->keep;
        if (k == 2) { b->axes = 0; b->born = v_tensor(b->start = n_splat(v->st->dt, 0, rank, dim), 0); }
        carry_open(v->frame, b);
    }
    if (!b)
        b = var_new(el.em, path, "uses", ST_GSUM, v->st->dt, rank, dim, n_splat(v->st->dt, 0, rank, dim), v->st->loc);
    v->rows[k] = b;
    b->st->of = v->st;
    b->moves = v->moves;
    b->hidden = true;
    int32_t room = b->st->dim[row - own] / (int32_t)v->st->every;    /* for the rows of an item */
    if (now->dim[row] <= room) return b;
    error_at(at, "the rule of '%s' sees its uses of %lld items together; there are %d in an item here, and room for "
                 "%d, as many as it had first: "
             "let the largest batch be the first", v->st->path, (long long)v->st->every, (int)now->dim[row], (int)room);
    return NULL;
}

/* Item i of a period writes its rows at i; the first of them clears the others. */
static Node *write_rows(Node *old, Node *now, int row, Node *slot, int64_t every)
{
    int32_t n = now->dim[row];
    Node **again = NEWN(Node *, every);
    for (int64_t i = 0; i < every; i++) again[i] = now;
    Node *index = n_bin(OP_IDIV, n_iota(I64, old->rank, old->dim, row), n_splat(I64, n, old->rank, old->dim));
    Node *here = n_bin(OP_EQ, index, n_expand(slot, old->rank, old->dim));
    Node *first = n_expand(n_bin(OP_EQ, slot, n_iconst(I64, 0)), old->rank, old->dim);
    return n_select(here, n_concat((int)every, again, row), n_select(first, n_zeros_like(old), old));
}

/* The rows that a clock keeps for the rule cannot be kept here. */
static bool gather_never(Var *v, Loc at)
{
    bool sum = v->when_sum, each = v->st->every > 1 && v->counted_axes;
    if (sum)
        error_at(v->clock_at, "the rule of '%s' sees its uses, and how many there are between ticks is not known; "
                              "leave out `sum`, or write `every n`", v->st->path);
    if (each)
        error_at(at, "the rule of '%s' sees its uses of %lld updates, which are counted in each lane by itself here; "
                     "write `every 1`", v->st->path,
                 (long long)v->st->every);
    return sum || each;
}

static void explain_rows(Var *v, int k)
{
    explain_always(v_tensor(v->seen->node[k], k == 2 ? 0 : lanes(v)), arena_printf("%s(%s)", names[k], v->name));
}

/* A model is explained with one item for all of its batch. The rule sees the rows of all: as many are named, and that
   of the one item is not shown. */
static void rows_of_batch(Var *v)
{
    Seen *s = v->seen;
    if (!explaining || el.lvl->kind != L_MODEL || el.v->batch < 2) return;
    for (int k = 0; k < 3; k++) {
        int row = k == 2 ? 0 : s->node[k]->rank - 2;
        s->node[k] = n_mark(padded(s->node[k], row, (int32_t)el.v->batch * s->node[k]->dim[row]), graph_uid());
        explain_rows(v, k);
    }
}

/* Under `every n` the rows of n items are kept together. */
void uses_gather(Var *v, Loc at)
{
    Seen *s = v->seen;
    int64_t every = v->st->every;
    if (!s || !s->node[0]) return;
    rows_of_batch(v);
    if (gather_never(v, at)) { memset(s, 0, sizeof *s); return; }
    if (every < 2) return;
    Node *slot = n_bin(OP_MOD, n_bin(OP_SUB, v->counted, n_iconst(I64, 1)), n_iconst(I64, every));
    for (int k = 0; k < 3; k++) {
        Var *b = gathered(v, k, s->node[k], at);
        if (!b) { memset(s, 0, sizeof *s); return; }
        var_value(b);
        int row = k == 2 ? 0 : s->node[k]->rank - 2;
        Node *now = padded(s->node[k], row, b->cur.node->dim[row] / (int32_t)every);
        b->cur.node = n_mark(write_rows(b->cur.node, now, row, slot, every), graph_uid());
        b->ever_moved = true;
        s->node[k] = b->cur.node;
        explain_rows(v, k);
    }
    if (v->st->mean) s->node[2] = scaled(s->node[2], every);
}

/* The same for what is left over when the context ends, after `count` items. */
void uses_left(Var *v, int64_t count)
{
    Seen *s = v->seen;
    if (!s || !s->node[0]) return;
    for (int k = 0; k < 3; k++) s->node[k] = v->rows[k]->cur.node;
    if (v->st->mean) s->node[2] = scaled(s->node[2], count);
}
