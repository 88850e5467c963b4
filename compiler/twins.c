/* twins.c: loops that are the same in everything but their lists of results.

   A gradient needs more of a forward loop than the forward needs (the carry-ins of every turn), and since nodes are
   immutable it makes a second loop with a longer list. loops_merge() requires a region in which that has happened,
   perhaps often and deep inside other loops, and makes of such twins the one with all their results. It changes no
   value, only how often the same turns are run. */
#include "graph.h"
#include <string.h>

/* The result that is the next value of the CARRY formal f. */
int loop_carry_result(const Region *r, int f)
{
    int nth = 0;
    for (int i = 0; i < f; i++) nth += r->fkind[i] == K_CARRY;
    for (int k = 0;; k++) if (r->rkind[k] == K_CARRY && nth-- == 0) return k;
}

/* Are these the same loop, with perhaps other STACK and SUM results? */
bool loop_same(const Node *x, const Node *y)
{
    if (x->op != OP_LOOP || y->op != OP_LOOP || x->nin != y->nin) return false;
    if (x->a.k != y->a.k || x->a.reverse != y->a.reverse) return false;
    if (memcmp(x->in, y->in, sizeof *x->in * (size_t)x->nin)) return false;
    const Region *r = x->a.r[0], *q = y->a.r[0];
    if (r->np != q->np || memcmp(r->fkind, q->fkind, (size_t)r->np)) return false;
    if (memcmp(r->formal, q->formal, sizeof *r->formal * (size_t)r->np)) return false;
    for (int i = 0; i < r->np; i++)
        if (r->fkind[i] == K_CARRY && r->result[loop_carry_result(r, i)] != q->result[loop_carry_result(q, i)])
            return false;
    return true;
}

/* Where result k of the region r stands in the wider one; -1: nowhere. CARRYs go by their order, others by what they
   are. */
int loop_find_result(const Region *wide, const Region *r, int k)
{
    int nth = 0;
    for (int j = 0; j < k; j++) nth += r->rkind[j] == K_CARRY;
    for (int j = 0; j < wide->nr; j++) {
        if (wide->rkind[j] != r->rkind[k]) continue;
        if (r->rkind[k] == K_CARRY ? nth-- == 0 : wide->result[j] == r->result[k]) return j;
    }
    return -1;
}

/* The loop with more results at the end of its list. */
Node *loop_more_results(Node *loop, int n, Node *const *result, const uint8_t *rkind)
{
    Region *r = loop->a.r[0];
    Node **res = NEWN(Node *, r->nr + n);
    uint8_t *kind = NEWN(uint8_t, r->nr + n);
    memcpy(res, r->result, sizeof *res * (size_t)r->nr);
    memcpy(kind, r->rkind, (size_t)r->nr);
    memcpy(res + r->nr, result, sizeof *res * (size_t)n);
    memcpy(kind + r->nr, rkind, (size_t)n);
    Region *body = region_new(r->np, r->formal, r->fkind, r->nr + n, res, kind);
    return n_loop((int32_t)loop->a.k, loop->a.reverse, body, loop->nin, loop->in);
}

/* The loop x with those results of y that it lacks. */
Node *loop_union(Node *x, const Node *y)
{
    const Region *r = y->a.r[0];
    Node **res = NEWN(Node *, r->nr);
    uint8_t *kind = NEWN(uint8_t, r->nr);
    int n = 0;
    for (int k = 0; k < r->nr; k++)
        if (loop_find_result(x->a.r[0], r, k) < 0) { res[n] = r->result[k]; kind[n++] = r->rkind[k]; }
    return n ? loop_more_results(x, n, res, kind) : x;
}

/* ---- The pass. */

typedef struct { VEC(Node *) from; VEC(Node *) to; } Moves;

/* A loop or cond whose regions have been merged inside. */
static Node *merge_inside(Node *x)
{
    Region *r0 = loops_merge(x->a.r[0]), *r1 = x->op == OP_COND ? loops_merge(x->a.r[1]) : NULL;
    if (r0 == x->a.r[0] && r1 == x->a.r[1]) return x;
    if (x->op == OP_COND) return n_cond(x->in[0], x->nin - 1, x->in + 1, r0, r1);
    return n_loop((int32_t)x->a.k, x->a.reverse, r0, x->nin, x->in);
}

/* Where the reads of the loops and conds in order[] are to go; empty when nothing is left to do. */
static void find_moves(int n, Node *const *order, Moves *moves)
{
    VEC(Node *) old = {0};
    VEC(Node *) inside = {0};
    VEC(Node *) wide = {0};
    VEC(int) group = {0};
    for (int i = 0; i < n; i++) {
        Node *x = order[i];
        if (x->op != OP_LOOP && x->op != OP_COND) continue;
        Node *y = merge_inside(x);
        int g = 0;
        while (g < wide.n && !loop_same(wide.at[g], y)) g++;
        if (g == wide.n) PUSH(wide, y);
        else wide.at[g] = loop_union(wide.at[g], y);
        PUSH(old, x);
        PUSH(inside, y);
        PUSH(group, g);
    }
    for (int i = 0; i < n; i++) {
        Node *x = order[i];
        if (x->op != OP_OUT) continue;
        int j = 0;
        while (old.at[j] != x->in[0]) j++;
        Node *to = wide.at[group.at[j]];
        if (to == old.at[j]) continue;
        /* merging inside keeps the order of results, a union finds them by what they are */
        int k = to == inside.at[j] ? (int)x->a.k : loop_find_result(to->a.r[0], inside.at[j]->a.r[0], (int)x->a.k);
        PUSH(moves->from, x);
        PUSH(moves->to, n_out(to, k));
    }
}

/* Moving the reads changes operands, by which other loops may become twins: repeat until nothing moves. */
Region *loops_merge(Region *r)
{
    Node **res = NEWN(Node *, r->nr + 1);
    memcpy(res, r->result, sizeof *res * (size_t)r->nr);
    bool changed = false;
    for (;;) {
        Node **order;
        Moves moves = {0};
        int n = graph_order(r->nr, res, &order);
        find_moves(n, order, &moves);
        if (!moves.from.n) break;
        graph_subst(r->nr, res, moves.from.n, moves.from.at, moves.to.at);
        changed = true;
    }
    return region_sink(changed ? region_new(r->np, r->formal, r->fkind, r->nr, res, r->rkind) : r);
}
