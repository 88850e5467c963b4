/* segment.c: long loops in two.

   The reverse of a loop of T items needs the state before each of them: T copies. A loop over q segments of a loop of S items keeps the q
   states at the segments' starts, and while the reverse goes through one segment, the S states in it, computed again: q + S, about
   2 sqrt(T), for one more forward pass. The forward numbers are the same. Items that do not fill a segment are a last, shorter loop.
   Loops with anchors are cut into their blocks first (blocks.c).
   loop_run() requires a closed region (kinds as n_loop wants them) and gives the value of each result. */
#include <math.h>
#include <string.h>
#include "graph.h"

enum { KEEP_ALL = 64 * 1024 };           /* bytes of states that are kept without a thought: less than a core's first caches */

/* A loop cut into q pieces of s items and `left` more. */
typedef struct {
    const Region *r; Region *inner;
    Anchors a;                           /* what is captured in a piece, not carried */
    Clocks clocks;                       /* period 0: none; what holds at a piece's last item only */
    int32_t q, s, left;
    bool differentiated, segments;       /* segments: the pieces are plain loops */
} Cut;

/* Items of a segment: near sqrt(T), and if possible so that they divide T. */
static int32_t segment_length(int32_t trip)
{
    int32_t s = (int32_t)ceil(sqrt(trip));
    for (int32_t d = 0; d <= s / 3; d++) {
        if (trip % (s + d) == 0) return s + d;
        if (s - d > 1 && trip % (s - d) == 0) return s - d;
    }
    return s;
}

int64_t loop_state_bytes(const Region *r)
{
    int64_t n = 0;
    for (int i = 0; i < r->np; i++) if (r->fkind[i] == K_CARRY && dt_float((Dt)r->formal[i]->dt)) n += n_size(r->formal[i]) * dt_size((Dt)r->formal[i]->dt);
    return n;
}

/* The body with its items counted from `base`, one more formal at the end. */
static Region *counted_from(const Region *r)
{
    Node **formal = NEWN(Node *, r->np + 1), **result = NEWN(Node *, r->nr + 1);
    uint8_t *kind = NEWN(uint8_t, r->np + 1);
    memcpy(formal, r->formal, (size_t)r->np * sizeof *formal);
    memcpy(kind, r->fkind, (size_t)r->np);
    memcpy(result, r->result, (size_t)r->nr * sizeof *result);
    formal[r->np] = n_formal(r->np, I32, 0, NULL);
    kind[r->np] = K_CAPTURE;
    for (int i = 0; i < r->np; i++) {
        if (r->fkind[i] != K_INDEX) continue;
        Node *from = r->formal[i], *to = n_bin(OP_ADD, formal[r->np], from);
        graph_subst(r->nr, result, 1, &from, &to);
    }
    return region_new(r->np + 1, formal, kind, r->nr, result, r->rkind);
}

static Node *rows(Node *x, int32_t from, int32_t n) { return n_slice1(x, 0, from, n, 1); }

/* [n * s, ..] as [n, s, ..], or back (s = 0: the first two axes become one). */
static Node *folded(Node *x, int32_t n, int32_t s)
{
    int32_t dim[MAXDIM] = { 0 };
    if (s) {
        dim[0] = n; dim[1] = s;
        for (int i = 1; i < x->rank; i++) dim[i + 1] = x->dim[i];
        return n_reshape(x, x->rank + 1, dim);
    }
    dim[0] = x->dim[0] * x->dim[1];
    for (int i = 2; i < x->rank; i++) dim[i - 1] = x->dim[i];
    return n_reshape(x, x->rank - 1, dim);
}

static int anchor_of_formal(const Cut *c, int i) { for (int k = 0; k < c->a.n; k++) if (c->a.formal[k] == i) return k; return -1; }
static int anchor_of_result(const Cut *c, int i) { for (int k = 0; k < c->a.n; k++) if (c->a.result[k] == i) return k; return -1; }

/* An anchor's value at the start of a piece, where the formals have the values in[]. */
static Node *anchored(const Cut *c, int k, Node *const *in)
{
    Node *x = c->a.start[k];
    graph_subst(1, &x, c->r->np, c->r->formal, in);
    return x;
}

/* One piece: n items from `base` on, in[i] the value of formal i (NULL for the index); value of each result. */
static void run_piece(const Cut *c, int32_t n, Node *base, Node **in, Node **result)
{
    const Region *r = c->r;
    Node **arg = NEWN(Node *, r->np + 2), **out = NEWN(Node *, r->nr + 1), *start[MAXANCHOR];
    int k = 0, o = 0;
    for (int i = 0; i < c->a.n; i++) start[i] = anchored(c, i, in);
    for (int i = 0; i < r->np; i++) {
        int a = anchor_of_formal(c, i);
        if (r->fkind[i] != K_INDEX) arg[k++] = a >= 0 ? start[a] : in[i];
    }
    arg[k++] = base;
    if (!c->segments) loop_run(n, c->inner, k, arg, c->differentiated, out);
    else {
        Node *loop = n_loop(n, false, c->inner, k, arg);       /* a segment */
        for (int i = 0; i < c->inner->nr; i++) out[i] = n_out(loop, i);
    }
    for (int i = 0; i < r->nr; i++) {
        int a = anchor_of_result(c, i);
        result[i] = a >= 0 ? start[a] : out[o++];
    }
}

/* A piece whose clocks tick at its last item: the others in a loop, then that one. index: number of the piece, NULL: what is left. */
static void run_ticking(const Cut *c, int32_t n, Node *base, Node *index, Node **in, Node **result)
{
    const Region *r = c->r;
    Node **arg = NEWN(Node *, r->np + 2), **out = NULL, **last = NEWN(Node *, r->np + 1);
    int k = 0;
    for (int i = 0; i < r->np; i++)
        if (r->fkind[i] != K_INDEX) arg[k++] = r->fkind[i] == K_ITEM ? rows(in[i], 0, n - 1) : in[i];
    arg[k++] = base;
    if (n > 1) loop_run(n - 1, c->inner, k, arg, c->differentiated, out = NEWN(Node *, r->nr + 1));
    for (int i = 0; i < r->np; i++) {
        last[i] = in[i];
        if (r->fkind[i] == K_INDEX) last[i] = n_bin(OP_ADD, base, n_iconst(I32, n - 1));
        if (r->fkind[i] == K_ITEM) last[i] = n_reshape(rows(in[i], n - 1, 1), in[i]->rank - 1, in[i]->dim + 1);
        if (r->fkind[i] == K_CARRY && out) last[i] = out[loop_carry_result(r, i)];
    }
    clocks_last(r, &c->clocks, index, c->q, c->left > 0, last, result);
    for (int i = 0; i < r->nr; i++) {
        if (r->rkind[i] == K_STACK) {
            int32_t dim[MAXDIM] = { 1 };
            memcpy(dim + 1, result[i]->dim, sizeof *dim * result[i]->rank);
            Node *row = n_reshape(result[i], result[i]->rank + 1, dim);
            result[i] = out ? n_concat(2, (Node *[2]){ out[i], row }, 0) : row;
        }
        if (r->rkind[i] == K_SUM && out) result[i] = n_bin(OP_ADD, out[i], result[i]);
    }
}

/* The loop over the whole pieces. */
static void outer_loop(const Cut *c, Node *const *operand, Node **out)
{
    const Region *r = c->r;
    Node **formal = NEWN(Node *, r->np + 1), **in = NEWN(Node *, r->np + 1), **arg = NEWN(Node *, r->np + 1), **result = NEWN(Node *, r->nr + 1);
    uint8_t *kind = NEWN(uint8_t, r->np + 1);
    int np = 0, k = 0;
    Node *index = formal[np] = n_formal(0, I32, 0, NULL);
    kind[np++] = K_INDEX;
    for (int i = 0; i < r->np; i++) {
        in[i] = index;
        if (r->fkind[i] == K_INDEX) continue;
        Node *x = operand[k];
        bool item = r->fkind[i] == K_ITEM;
        if (item) x = folded(rows(x, 0, c->q * c->s), c->q, c->s);
        in[i] = formal[np] = n_formal(np, (Dt)x->dt, x->rank - item, x->dim + item);
        kind[np++] = r->fkind[i];
        arg[k++] = x;
    }
    Node *base = n_bin(OP_MUL, index, n_iconst(I32, c->s));
    if (c->clocks.period) run_ticking(c, c->s, base, c->s < c->clocks.period ? NULL : index, in, result);
    else run_piece(c, c->s, base, in, result);
    Region *body = region_new(np, formal, kind, r->nr, result, r->rkind);
    if (!c->segments) { loop_run(c->q, body, k, arg, c->differentiated, out); return; }
    Node *loop = n_loop(c->q, false, body, k, arg);
    for (int i = 0; i < r->nr; i++) out[i] = n_out(loop, i);
}

/* The items after the last whole piece go on from the states that the loop before left (NULL: there was none). */
static void rest_loop(const Cut *c, Node *const *operand, Node *const *before, Node **out)
{
    const Region *r = c->r;
    Node **in = NEWN(Node *, r->np + 1);
    int32_t from = c->q * c->s;
    int k = 0;
    for (int i = 0; i < r->np; i++) {
        in[i] = n_iconst(I32, from);
        if (r->fkind[i] == K_INDEX) continue;
        bool carried = r->fkind[i] == K_CARRY && before;
        in[i] = carried ? before[loop_carry_result(r, i)] : r->fkind[i] == K_ITEM ? rows(operand[k], from, c->left) : operand[k];
        k++;
    }
    if (c->clocks.period) run_ticking(c, c->left, n_iconst(I32, from), NULL, in, out);
    else run_piece(c, c->left, n_iconst(I32, from), in, out);
}

static void run_cut(const Cut *c, Node *const *operand, Node **out)
{
    const Region *r = c->r;
    Node **whole = NULL, **rest = NULL;
    if (c->q) outer_loop(c, operand, whole = NEWN(Node *, r->nr + 1));
    if (c->left) rest_loop(c, operand, whole, rest = NEWN(Node *, r->nr + 1));
    for (int i = 0; i < r->nr; i++) {
        Node *a = whole && r->rkind[i] == K_STACK ? folded(whole[i], c->q, 0) : whole ? whole[i] : NULL;
        if (!rest || !whole) out[i] = whole ? a : rest[i];
        else if (r->rkind[i] == K_CARRY) out[i] = rest[i];
        else if (r->rkind[i] == K_SUM) out[i] = n_bin(OP_ADD, a, rest[i]);
        else out[i] = n_concat(2, (Node *[2]){ a, rest[i] }, 0);
    }
}

/* Without carries that are none; false: all of them are. */
static bool run_without(int32_t trip, const Region *r, int nin, Node *const *operand, bool differentiated, Node **out)
{
    int *what = NEWN(int, r->nr + 1), n = 0;
    Region *less = carries_needed(r, what);
    if (!less) return false;
    Node **in = NEWN(Node *, nin + 1), **res = NEWN(Node *, r->nr + 1), **start = NEWN(Node *, r->nr + 1);
    for (int i = 0, k = 0; i < r->np; i++) {
        if (r->fkind[i] == K_CARRY) start[loop_carry_result(r, i)] = operand[k];
        if (r->fkind[i] != K_INDEX) { in[k] = operand[k]; k++; }
    }
    loop_run(trip, less, nin, in, differentiated, res);
    for (int k = 0; k < r->nr; k++) {
        if (what[k] == 1) out[k] = start[k];
        else if (what[k] == 2) out[k] = n_bin(OP_ADD, start[k], res[n++]);
        else out[k] = res[n++];
    }
    return true;
}

/* How a loop is cut: at the blocks of its anchors or clocks, into dense pieces, or into segments; false: it is not. */
static bool find_cut(Cut *c, int32_t trip, bool dense)
{
    int64_t states = loop_state_bytes(c->r), s = 0;
    c->left = c->q = 0;
    if (!opt.item_clocks) {
        s = anchors_find(c->r, &c->a);
        if (!s && trip > 1 && clocks_find(c->r, trip, &c->clocks)) s = c->clocks.period;
        if (!s && dense && trip > DENSE) s = DENSE;
    }
    if (!s) {
        if (!c->differentiated || trip < 16 || states * trip <= KEEP_ALL) return false;
        c->segments = true;
        s = segment_length(trip);
    }
    c->s = (int32_t)(s < trip ? s : trip);
    c->q = trip / c->s;
    c->left = trip - c->q * c->s;
    c->inner = counted_from(c->a.n ? anchors_inside(c->r, &c->a) : c->clocks.period ? clocks_inside(c->r, &c->clocks) : c->r);
    return true;
}

/* ---- --dump=loops: how each level's loop is run */

static const char *told;                 /* of the level at work */
static int depth;

static void tell(const char *what)
{
    if (opt.dump && !strcmp(opt.dump, "loops")) told = arena_printf("%s%*s%s\n", told ? told : "", 2 * depth + 2, "", what);
}

static void tell_cut(const Cut *c, int32_t trip)
{
    const char *of = c->segments ? "segments" : c->a.n ? "blocks, which hold a state's value at their start," : c->clocks.period ? "blocks, at whose end a clock ticks," : "pieces";
    const char *left = c->left ? arena_printf(" and %d more", c->left) : "";
    if (!c->segments) { tell(arena_printf("%d items: %d %s of %d%s", trip, c->q, of, c->s, left)); return; }
    tell(arena_printf("%d items: %d %s of %d%s; kept for the backward pass: %d times %lld bytes of state", trip, c->q, of, c->s, left, c->q + c->s,
                      (long long)loop_state_bytes(c->r)));
}

static void tell_loop(const Region *r, int32_t trip, bool differentiated)
{
    long long bytes = (long long)loop_state_bytes(r);
    const char *kept = differentiated && bytes && trip > 1 ? arena_printf("; kept for the backward pass: %d times %lld bytes of state", trip, bytes) : "";
    tell(arena_printf("%d items: one after the other%s", trip, kept));
}

void level_run(const char *name, int32_t trip, Region *body, int nin, Node *const *operand, bool differentiated, Node **out)
{
    static const char *before;           /* versions of a model often run their levels alike */
    told = NULL;
    loop_run(trip, body, nin, operand, differentiated, out);
    if (!told) return;
    const char *all = intern(arena_printf("%s\n%s", name, told));
    if (all != before) fputs(all, stdout);
    before = all;
}

void loop_run(int32_t trip, Region *r, int nin, Node *const *operand, bool differentiated, Node **out)
{
    Cut c = { .r = r, .differentiated = differentiated };
    if (!opt.item_clocks && run_without(trip, r, nin, operand, differentiated, out)) return;
    int32_t turns = opt.item_clocks ? 0 : dense_turns(r);
    if (trip > 1 && trip <= turns && dense_run(trip, r, operand, out)) {
        tell(arena_printf("%d items: all at once", trip));
        return;
    }
    if (find_cut(&c, trip, turns > 0)) {
        tell_cut(&c, trip);
        depth++;
        run_cut(&c, operand, out);
        depth--;
        return;
    }
    tell_loop(r, trip, differentiated);
    Node *loop = n_loop(trip, false, r, nin, operand);
    for (int i = 0; i < r->nr; i++) out[i] = n_out(loop, i);
}
