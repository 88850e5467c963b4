/* blocks.c: loops over items become loops over blocks of items, which hold one value for the whole block.

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
