/* blocks.c: loops over items become loops over blocks of items, in which the states hold still.

   An anchor is a carry that takes a value at items 0, C, 2C, .. and else stays as it is:
       a' = select(item mod C == 0, x, a),   x a value of the states at the item's start.
   With items in blocks of C it is x at the block's start: the outer loop computes it once, and in the inner loop it is one value for all items,
   so that what depends on it and on the items alone becomes a product for the whole block (hoist.c). Found by its form, whatever made it.
   The numbers are the same. Where the loop's first item is not known to be the first of a block, the loop stays as it is. */
#include <string.h>
#include "graph.h"

static Node *plain(Node *x)
{
    while (x->op == OP_MARK) x = x->in[0];
    return x;
}

static bool is_splat(const Node *x, int64_t *v)
{
    while (x->op == OP_BCAST) x = x->in[0];
    if (x->op == OP_CONST && !dt_float((Dt)x->dt)) *v = x->a.inum;
    return x->op == OP_CONST && !dt_float((Dt)x->dt);
}

/* The number of the item: the loop's index and a constant, which is a multiple of c. */
static bool counts_items(const Node *x, const Region *r, int64_t c)
{
    int64_t offset;
    if (x->op == OP_ADD)
        for (int i = 0; i < 2; i++)
            if (is_splat(x->in[i], &offset)) return offset % c == 0 && counts_items(x->in[!i], r, c);
    while (x->op == OP_CAST) x = x->in[0];
    return x->op == OP_FORMAL && r->fkind[x->a.k] == K_INDEX;
}

/* item mod c == 0 */
static bool begins_block(const Node *x, const Region *r, int64_t *c)
{
    while (x->op == OP_BCAST) x = x->in[0];
    if (x->op != OP_EQ) return false;
    for (int i = 0; i < 2; i++) {
        const Node *m = x->in[!i];
        int64_t zero;
        if (is_splat(x->in[i], &zero) && !zero && m->op == OP_MOD && is_splat(m->in[1], c) && *c > 1) return counts_items(m->in[0], r, *c);
    }
    return false;
}

/* Follows from states and from what is the same in every turn. */
static bool of_states(Node *x, const Region *r)
{
    Node **order;
    for (int i = 0, n = graph_order(1, &x, &order); i < n; i++)
        if (order[i]->op == OP_FORMAL && r->fkind[order[i]->a.k] != K_CARRY && r->fkind[order[i]->a.k] != K_CAPTURE) return false;
    return true;
}

/* The anchors of the first block length that is met; 0: there are none. */
int64_t anchors_find(const Region *r, Anchors *a)
{
    int64_t length = 0;
    a->n = 0;
    for (int i = 0; i < r->np; i++) {
        int64_t c;
        if (r->fkind[i] != K_CARRY || a->n == MAXANCHOR) continue;
        int k = loop_carry_result(r, i);
        Node *s = plain(r->result[k]);
        if (s->op != OP_SELECT || plain(s->in[2]) != r->formal[i] || !begins_block(s->in[0], r, &c)) continue;
        if ((length && c != length) || !of_states(s->in[1], r)) continue;
        length = c;
        a->formal[a->n] = i; a->result[a->n] = k; a->select[a->n] = s; a->start[a->n++] = s->in[1];
    }
    return length;
}

/* The body in which the anchors are captured, not carried. */
Region *anchors_inside(const Region *r, const Anchors *a)
{
    Node **result = NEWN(Node *, r->nr + 1), **to = NEWN(Node *, a->n + 1);
    uint8_t *fkind = NEWN(uint8_t, r->np + 1), *rkind = NEWN(uint8_t, r->nr + 1);
    int nr = 0;
    memcpy(fkind, r->fkind, (size_t)r->np);
    for (int i = 0; i < a->n; i++) { fkind[a->formal[i]] = K_CAPTURE; to[i] = r->formal[a->formal[i]]; }
    for (int k = 0; k < r->nr; k++) {
        bool anchor = false;
        for (int i = 0; i < a->n; i++) anchor |= a->result[i] == k;
        if (!anchor) { result[nr] = r->result[k]; rkind[nr++] = r->rkind[k]; }
    }
    graph_subst(nr, result, a->n, a->select, to);
    return region_new(r->np, r->formal, fkind, nr, result, rkind);
}

/* ---- `every n`: a condition that holds at the last item of each block

   due = (item + 1) mod n == 0. In blocks of n items it is false for the first n - 1, whose turns are then independent of each other wherever
   only the clock moves their states, and true for the last, which is run by itself. Conditions with a period n k hold at the last item of
   every k-th block; that of the last, shorter chunk (item == T - 1) at the last item of all. */

/* item + offset of a count in the body; false: it is something else. */
static bool count_of(const Node *x, const Region *r, int64_t *offset)
{
    int64_t v;
    *offset = 0;
    while (x->op == OP_ADD || x->op == OP_CAST) {
        if (x->op == OP_CAST) { x = x->in[0]; continue; }
        int i = is_splat(x->in[0], &v) ? 0 : is_splat(x->in[1], &v) ? 1 : -1;
        if (i < 0) return false;
        *offset += v;
        x = x->in[!i];
    }
    return x->op == OP_FORMAL && r->fkind[x->a.k] == K_INDEX;
}

/* (item + offset) mod period == 0, or (period 0) item + offset == 0. */
static bool clock_of(const Node *x, const Region *r, int64_t *period, int64_t *offset)
{
    if (x->op != OP_EQ || x->rank || dt_float((Dt)x->in[0]->dt)) return false;
    for (int i = 0; i < 2; i++) {
        const Node *m = x->in[!i];
        int64_t v;
        if (!is_splat(x->in[i], &v)) continue;
        if (m->op == OP_MOD) return v == 0 && is_splat(m->in[1], period) && *period > 0 && count_of(m->in[0], r, offset);
        *period = 0;
        if (!count_of(m, r, offset)) return false;
        *offset -= v;
        return true;
    }
    return false;
}

/* The conditions of the shortest period, those of its multiples, and that of the last item; false: there is none. */
bool clocks_find(const Region *r, int32_t trip, Clocks *c)
{
    Node **order;
    int n = graph_order(r->nr, r->result, &order);
    int64_t period, offset;
    *c = (Clocks){ .trip = trip };
    for (int i = 0; i < n; i++)
        if (clock_of(order[i], r, &period, &offset) && period > 1 && (offset - 1) % period == 0 && (!c->period || period < c->period))
            c->period = period;
    if (!c->period) return false;
    for (int i = 0; i < n; i++) {
        if (!clock_of(order[i], r, &period, &offset)) continue;
        bool last = period == 0 && -offset == trip - 1, multiple = period && period % c->period == 0 && (offset - 1) % c->period == 0;
        if (!last && !multiple) continue;
        if (c->n == MAXANCHOR) return false;
        c->when[c->n] = order[i]; c->every[c->n] = period; c->offset[c->n++] = offset;
    }
    return true;
}

static Node *truth(bool yes) { return n_iconst(BOOL, yes); }

/* The condition k at the last item of the block `index` (NULL: of the rest, which ends with the last item of all). */
static Node *at_last(const Clocks *c, int k, Node *index, int64_t blocks, bool rest)
{
    int64_t every = c->every[k], n = c->period;
    if (!index) return truth(!every || (c->trip - 1 + c->offset[k]) % every == 0);
    if (!every) return rest ? truth(false) : n_bin(OP_EQ, index, n_iconst(I32, blocks - 1));
    if (every == n) return truth(true);
    Node *count = n_bin(OP_ADD, n_cast(index, I64), n_iconst(I64, 1 + (c->offset[k] - 1) / n));
    return n_bin(OP_EQ, n_bin(OP_MOD, count, n_iconst(I64, every / n)), n_iconst(I64, 0));
}

/* The results of a turn that is not the last of its block. */
Region *clocks_inside(const Region *r, const Clocks *c)
{
    Node **result = NEWN(Node *, r->nr + 1), *no[MAXANCHOR];
    memcpy(result, r->result, (size_t)r->nr * sizeof *result);
    for (int i = 0; i < c->n; i++) no[i] = truth(false);
    graph_subst(r->nr, result, c->n, c->when, no);
    return region_new(r->np, r->formal, r->fkind, r->nr, result, r->rkind);
}

/* The results of the last turn of a block, where the formals have the values in[]. */
void clocks_last(const Region *r, const Clocks *c, Node *index, int64_t blocks, bool rest, Node *const *in, Node **result)
{
    Node **from = NEWN(Node *, r->np + c->n + 1), **to = NEWN(Node *, r->np + c->n + 1);
    memcpy(result, r->result, (size_t)r->nr * sizeof *result);
    for (int i = 0; i < c->n; i++) { from[i] = c->when[i]; to[i] = at_last(c, i, index, blocks, rest); }
    for (int i = 0; i < r->np; i++) { from[c->n + i] = r->formal[i]; to[c->n + i] = in[i]; }
    graph_subst(r->nr, result, c->n + r->np, from, to);    /* all at once: formals of the region around may be the same nodes */
}

/* ---- states that need not be carried */

static int uses(const Region *r, const Node *f, int but, Node *x)
{
    Node **all = NEWN(Node *, r->nr + 1), **order;
    int n = 0, count = 0;
    for (int k = 0; k < r->nr; k++) if (k != but) all[n++] = r->result[k];
    all[n++] = x;
    for (int i = 0, m = graph_order(n, all, &order); i < m; i++) count += order[i] == f;
    return count;
}

/* The other side, where a carry only has something added to it and nobody else reads it; NULL: it is no such carry. */
static Node *added(const Region *r, Node *f, int k)
{
    Node *y = plain(r->result[k]);
    if (y->op != OP_ADD || !dt_float((Dt)y->dt)) return NULL;
    for (int i = 0; i < 2; i++)
        if (plain(y->in[i]) == f && !uses(r, f, k, y->in[!i])) return y->in[!i];
    return NULL;
}

/* A carry that nothing changes is captured, one that is only added to becomes a SUM: then it is 2 in what[], captured 1, carried 0, by result. */
Region *carries_needed(const Region *r, int *what)
{
    Node **result = NEWN(Node *, r->nr + 1);
    uint8_t *fkind = NEWN(uint8_t, r->np + 1), *rkind = NEWN(uint8_t, r->nr + 1);
    int nr = 0;
    bool any = false;
    memcpy(fkind, r->fkind, (size_t)r->np);
    memset(what, 0, (size_t)r->nr * sizeof *what);
    for (int k = 0; k < r->nr; k++) { result[k] = r->result[k]; rkind[k] = r->rkind[k]; }
    for (int i = 0; i < r->np; i++) {
        if (r->fkind[i] != K_CARRY) continue;
        int k = loop_carry_result(r, i);
        Node *x = added(r, r->formal[i], k);
        if (!x && plain(r->result[k]) != r->formal[i]) continue;
        any = true;
        what[k] = x ? 2 : 1;
        fkind[i] = K_CAPTURE;
        if (x) { result[k] = x; rkind[k] = K_SUM; }
    }
    if (!any) return NULL;
    for (int k = 0; k < r->nr; k++) if (what[k] != 1) { result[nr] = result[k]; rkind[nr++] = rkind[k]; }
    return region_new(r->np, r->formal, fkind, nr, result, rkind);
}
