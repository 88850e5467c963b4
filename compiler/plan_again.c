/* plan_again.c: values that are cheaper to compute again than to keep.
   A val that is stored only for other nests to read at their own index, and that follows in a few cheap operations from what
   is in memory anyway, is computed in each of these nests: no store, no buffer, and no more loads than before.
   Requires: `stored` marks. Guarantees: no value of a leaf is read by a group that did not read it before, unless nothing can
   write there (else a state might no longer be updated in place). */
#include "plan.h"
#include <string.h>

enum { MAX_OPS = 6, MAX_LEAVES = 8 };

typedef struct { Val *user; int k; } Use;
typedef VEC(Use) Uses;
typedef struct { Rplan *rp; Uses *uses; int nuses; bool *result; } Again;

static void find_uses(Again *a)
{
    Rplan *rp = a->rp;
    a->nuses = rp->val.n;
    a->uses = NEWN(Uses, rp->val.n + 1);
    a->result = NEWN(bool, rp->val.n + 1);
    for (int i = 0; i < rp->val.n; i++)
        for (int k = 0; k < rp->val.at[i]->nin; k++) {
            Val *x = rp->val.at[i]->in[k].val;
            Use u = { rp->val.at[i], k };
            if (x->group)
                PUSH(a->uses[x->id], u);
        }
    for (int i = 0; i < rp->region->nr; i++) {
        Val *x = rp->rview[i].val;
        if (x->group)
            a->result[x->id] = true;
    }
}

static bool is_cheap(const Val *x)
{
    switch (x->op) {
    case OP_NEG: case OP_ABS: case OP_SIGN: case OP_NOT: case OP_CAST: case OP_ADD: case OP_SUB: case OP_MUL: case OP_MIN: case OP_MAX:
    case OP_LT: case OP_LE: case OP_EQ: case OP_AND: case OP_OR: case OP_SELECT: return true;
    default: return false;
    }
}

static bool whole_view(const View *w, const Val *x)
{
    return view_dense(w, x->rank, x->dim);
}

static bool same_axes(const Val *x, const Val *y)
{
    return x->rank == y->rank && !memcmp(x->dim, y->dim, sizeof *x->dim * (size_t)x->rank);
}

static bool reads(const Group *h, const Val *x)
{
    for (int i = 0; i < h->val.n; i++)
        for (int k = 0; k < h->val.at[i]->nin; k++)
            if (h->val.at[i]->in[k].val == x)
                return true;
    return false;
}

static bool never_written(const Val *leaf)
{
    return leaf->pure || leaf->buf->space == SP_IN || leaf->buf->space == SP_DATA || leaf->buf->space == SP_CALL;
}

static bool is_large(const Val *leaf, const View *w, const Val *x)
{
    for (int i = 0; i < x->rank; i++)
        if (x->dim[i] > 1 && w->stride[i] == 0)
            return false;
    return !leaf->pure;
}

/* What x follows from, as h would see it. */
typedef struct { int ops, loads, n; const Val *leaf[MAX_LEAVES]; } Price;

static bool price_of(const Val *x, const Group *h, Price *p)
{
    if (!is_cheap(x) || ++p->ops > MAX_OPS)
        return false;
    for (int k = 0; k < x->nin; k++) {
        const View *w = &x->in[k];
        const Val *o = w->val;
        if (o->group && !o->stored) {
            if (o->group != x->group || !same_axes(o, x) || !whole_view(w, o) || !price_of(o, h, p))
                return false;
            continue;
        }
        bool known = reads(h, o) || o->group == h;
        if (o->group == h || (!o->group && !known && !never_written(o)))
            return false;
        for (int i = 0; i < p->n && !known; i++)
            known = p->leaf[i] == o;
        if (known || !is_large(o, w, x))
            continue;
        if (p->n == MAX_LEAVES)
            return false;
        p->leaf[p->n++] = o;
        p->loads++;
    }
    return true;
}

/* x as a member of h, before all others that are no copies like it. */
static Val *copy_into(Again *a, Val *x, Group *h)
{
    for (int i = 0; i < h->nagain; i++)
        if (h->val.at[i]->again == x)
            return h->val.at[i];
    Val *c = NEW(Val);
    *c = *x;
    c->again = x;
    c->id = a->rp->val.n;
    c->group = h;
    c->stored = false;
    c->buf = NULL;
    c->in = NEWN(View, x->nin + 1);
    PUSH(a->rp->val, c);
    for (int k = 0; k < x->nin; k++) {
        View w = x->in[k];
        c->in[k] = w;
        if (w.val->group && !w.val->stored)
            c->in[k].val = copy_into(a, w.val, h);
        else if (w.val->group && w.val->id < a->nuses) {
            Use u = { c, k };
            PUSH(a->uses[w.val->id], u);
        }
    }
    PUSH(h->val, NULL);
    memmove(h->val.at + h->nagain + 1, h->val.at + h->nagain, sizeof *h->val.at * (size_t)(h->val.n - 1 - h->nagain));
    h->val.at[h->nagain++] = c;
    return c;
}

static bool leaves_group(const Val *x, const Use *u)
{
    return u->user->group != x->group || !group_inside(x->group, u->user, &u->user->in[u->k]);
}

static bool can_follow(const Val *x, const Use *u)
{
    const Group *h = u->user->group;
    Price p = { 0 };
    return h && h != x->group && h->kind == G_NEST && !h->dead && u->user->op != OP_PAD && !(u->user->op == OP_GATHER && u->k == 0) &&
           same_axes(x, u->user) && whole_view(&u->user->in[u->k], x) && price_of(x, h, &p) && p.loads <= 1;
}

static void drop(Group *g, const Val *x)
{
    for (int i = 0; i < g->val.n; i++)
        if (g->val.at[i] == x) {
            memmove(g->val.at + i, g->val.at + i + 1, sizeof *g->val.at * (size_t)(g->val.n - 1 - i));
            g->val.n--;
            if (i < g->nagain)
                g->nagain--;
            return;
        }
}

static void forget_use(Again *a, Val *x, const Val *user)
{
    Uses *u = &a->uses[x->id];
    int n = 0;
    for (int i = 0; i < u->n; i++)
        if (u->at[i].user != user)
            u->at[n++] = u->at[i];
    u->n = n;
}

/* A val that nobody wants any more goes, and so do those that only it wanted. */
static void drop_unused(Again *a, Val *x)
{
    if (x->id >= a->nuses || a->uses[x->id].n || a->result[x->id] || !x->group || x->group->kind != G_NEST)
        return;
    drop(x->group, x);
    x->group = NULL;
    x->stored = false;
    for (int k = 0; k < x->nin; k++)
        if (x->in[k].val->group && x->in[k].val->id < a->nuses)
            forget_use(a, x->in[k].val, x);
    for (int k = 0; k < x->nin; k++)
        if (x->in[k].val->group)
            drop_unused(a, x->in[k].val);
    x->nin = 0;
}

static void compute_again(Again *a, Val *x)
{
    Uses *u = &a->uses[x->id];
    for (int i = 0; i < u->n; i++)
        if (leaves_group(x, &u->at[i]) && !can_follow(x, &u->at[i]))
            return;
    int n = 0;
    for (int i = 0; i < u->n; i++) {
        Use use = u->at[i];
        if (leaves_group(x, &use))
            use.user->in[use.k].val = copy_into(a, x, use.user->group);
        else
            u->at[n++] = use;
        u = &a->uses[x->id];
    }
    u->n = n;
    x->stored = false;
    drop_unused(a, x);
}

void plan_again(Rplan *rp)
{
    Again a = { .rp = rp };
    find_uses(&a);
    for (int i = a.nuses - 1; i >= 0; i--) {
        Val *x = rp->val.at[i];
        if (x->group && x->group->kind == G_NEST && x->group->slots <= 1 && x->stored && !a.result[i] && is_cheap(x))
            compute_again(&a, x);
    }
}
