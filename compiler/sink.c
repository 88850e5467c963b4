/* sink.c: what only one side of a cond needs is computed inside it.
   A state that moves under a clock moves in a cond, whose captures are what was there when it was made: the gradient,
   the arguments of the rule. A node that nothing else uses is not wanted where the clock does not tick, so it moves
   into the branch, and with it what it alone is made of: an item that does not tick costs no gradient, forward or
   (taken of the result) backward.
   Requires: no gradient is still to be taken with respect to a node of this region itself. Values stay the same. */
#include <string.h>
#include "graph.h"

/* Whose a node is, by position in the order: nobody's yet, one side's of one cond, or everybody's. */
typedef struct { int cond, side; } Owner;
enum { NOBODY = -1, ALL = -2 };

typedef struct { int n; Node **node; Owner *owner; int mask, *slot; } Uses;

static int find(const Uses *u, const Node *x)
{
    for (uint32_t h = x->id * 2654435761u;; h++) {
        int i = u->slot[h & (uint32_t)u->mask] - 1;
        if (i < 0 || u->node[i] == x) return i;
    }
}

static void use(Uses *u, const Node *x, Owner by)
{
    Owner *o = &u->owner[find(u, x)];
    if (o->cond == NOBODY) *o = by;
    else if (o->cond != by.cond || o->side != by.side) o->cond = ALL;
}

static bool reaches(const Region *r, const Node *formal)
{
    Node **order;
    int n = graph_order(r->nr, r->result, &order);
    for (int i = 0; i < n; i++) if (order[i] == formal) return true;
    return false;
}

static bool stays(const Node *x)
{
    return x->op == OP_FORMAL || x->op == OP_CONST || x->op == OP_IOTA || x->op == OP_DATA;
}

/* Captures of a cond that one of its sides alone reads. */
static void use_captures(Uses *u, int at)
{
    Node *c = u->node[at];
    use(u, c->in[0], (Owner){ ALL, 0 });
    for (int i = 1; i < c->nin; i++) {
        bool then = reaches(c->a.r[0], c->a.r[0]->formal[i - 1]);
        bool other = reaches(c->a.r[1], c->a.r[1]->formal[i - 1]);
        use(u, c->in[i], then && other ? (Owner){ ALL, 0 } : (Owner){ at, other });
    }
}

/* From the results back, so that all uses of a node are known when its own operands are looked at. */
static Uses find_owners(int nr, Node *const *result)
{
    Uses u = { 0 };
    u.n = graph_order(nr, result, &u.node);
    u.owner = NEWN(Owner, u.n + 1);
    for (u.mask = 15; u.mask < 2 * u.n; u.mask = 2 * u.mask + 1) {}
    u.slot = NEWN(int, u.mask + 1);
    for (int i = 0; i < u.n; i++) {
        uint32_t h = u.node[i]->id * 2654435761u;
        while (u.slot[h & (uint32_t)u.mask]) h++;
        u.slot[h & (uint32_t)u.mask] = i + 1;
        u.owner[i].cond = NOBODY;
    }
    for (int i = 0; i < nr; i++) use(&u, result[i], (Owner){ ALL, 0 });
    for (int i = u.n - 1; i >= 0; i--) {
        Node *x = u.node[i];
        if (stays(x)) u.owner[i].cond = ALL;
        if (x->op == OP_COND && u.owner[i].cond == ALL) use_captures(&u, i);
        else for (int k = 0; k < x->nin; k++) use(&u, x->in[k], u.owner[i]);
    }
    for (int i = 0; i < u.n; i++)                         /* a result of a loop that stays stays with it */
        if (u.node[i]->op == OP_OUT && u.owner[find(&u, u.node[i]->in[0])].cond == ALL) u.owner[i].cond = ALL;
    return u;
}

/* The cond at `at` with what is its own inside. */
static Node *filled(const Uses *u, int at)
{
    Node *c = u->node[at], **res[2], **cap;
    VEC(Node *) cut = { 0 };
    Region *r[2];
    for (int i = 0; i < u->n; i++) {                      /* where its own nodes, and its captures, begin */
        Node *x = u->node[i];
        bool mine = u->owner[i].cond == at;
        for (int k = 0; k < x->nin && (mine || i == at); k++) {
            int j = find(u, x->in[k]);
            bool known = stays(x->in[k]) || u->owner[j].cond == at || (i == at && !k);
            for (int m = 0; m < cut.n && !known; m++) known = cut.at[m] == x->in[k];
            if (!known) PUSH(cut, x->in[k]);
        }
    }
    for (int s = 0; s < 2; s++) {
        Region *side = c->a.r[s];
        res[s] = NEWN(Node *, side->nr + 1);
        memcpy(res[s], side->result, sizeof *res[s] * (size_t)side->nr);
        graph_subst(side->nr, res[s], side->np, side->formal, c->in + 1);
    }
    int n = region_close2(c->a.r[0]->nr, res[0], res[1], cut.n, cut.at, &cap, &r[0], &r[1]);
    return n_cond(c->in[0], n, cap, region_sink(r[0]), region_sink(r[1]));
}

/* One cond at a time, since the others' operands change with it; a filled one has nothing more of its own. */
Region *region_sink(Region *r)
{
    Node **res = NEWN(Node *, r->nr + 1);
    bool changed = false;
    memcpy(res, r->result, sizeof *res * (size_t)r->nr);
    for (bool more = true; more;) {
        Uses u = find_owners(r->nr, res);
        VEC(Node *) from = { 0 };
        VEC(Node *) to = { 0 };
        int at = -1;
        more = false;
        for (int i = 0; i < u.n && at < 0; i++) if (u.owner[i].cond >= 0) at = u.owner[i].cond;
        if (at < 0) break;
        Node *c = filled(&u, at);
        if (c == u.node[at]) break;
        for (int i = 0; i < u.n; i++)
            if (u.node[i]->op == OP_OUT && u.node[i]->in[0] == u.node[at]) {
                PUSH(from, u.node[i]);
                PUSH(to, n_out(c, (int)u.node[i]->a.k));
            }
        graph_subst(r->nr, res, from.n, from.at, to.at);
        more = changed = true;
    }
    return changed ? region_new(r->np, r->formal, r->fkind, r->nr, res, r->rkind) : r;
}
