/* plan_body.c: the bodies of branches and loops, planned as regions of their own.
   COND: both branches write their results where the cond's results lie; a state that a branch leaves alone costs nothing.
   LOOP: a carried value is a state of the loop: formal and result share a buffer. ITEM and STACK are parts of a buffer that
   move with t. A SUM is a carried value that starts at zero. Where nothing is carried, the threads share the turns. */
#include "plan.h"
#include <string.h>

enum { MAX_BLOCK = 1 << 24 };   /* bytes that each thread may be given for the turns of a loop */

static View leaf_of(const View *w, Dt dt)
{
    if (w->val->pure)
        return *w;
    return leaf_view(dt, w->val->buf, w->val->base + w->off, w);
}

static Val *out_of(const Group *g, int k)
{
    for (int i = 0; i < g->out.n; i++)
        if (g->out.at[i]->node->a.k == k)
            return g->out.at[i];
    return NULL;
}

/* The region with those results only that someone wants. */
static Region *wanted(const Group *g, const Region *r, Buf ***result)
{
    Region *s = NEW(Region);
    *s = *r;
    s->nr = 0;
    s->result = NEWN(Node *, r->nr + 1);
    *result = NEWN(Buf *, r->nr + 1);
    for (int k = 0; k < r->nr; k++) {
        Val *v = out_of(g, k);
        if (!v)
            continue;
        (*result)[s->nr] = v->buf;
        s->result[s->nr++] = r->result[k];
    }
    return s;
}

static void plan_cond(Rplan *rp, Group *g)
{
    Step *st = g->step = NEW(Step);
    st->kind = STEP_IF;
    for (int side = 0; side < 2; side++) {
        Region *r = g->node->a.r[side];
        View *formal = NEWN(View, r->np + 1);
        Buf **result;
        for (int i = 0; i < r->np; i++)
            formal[i] = leaf_of(&g->reads.at[i + 1], r->formal[i]->dt);
        Region *s = wanted(g, r, &result);
        st->body[side] = plan_region(rp->plan, rp->entry, s, formal, result);
    }
}

/* ---- loops */

typedef struct {
    Rplan *rp; Group *g;
    const Region *r;
    VEC(Node *) formal; VEC(View) view;
    VEC(Node *) result; VEC(Buf *) to;
    VEC(Buf *) carries;          /* of the CARRY formals, in order */
} Body;

static Buf *moving(Body *b, Buf *in, int64_t offset, int64_t step, int64_t bytes)
{
    Buf *buf = NEW(Buf);
    buf->space = SP_ITEM;
    buf->in = in;
    buf->offset = offset;
    buf->step = step;
    buf->bytes = bytes;
    buf->loop = b->g->step;
    return buf;
}

static Buf *carry_buf(Body *b, int k, const Node *n)
{
    Val *v = out_of(b->g, k);
    return v ? v->buf : buf_new(b->rp, n_size(n) * dt_size(n->dt));
}

static void add_formal(Body *b, Node *formal, View v)
{
    PUSH(b->formal, formal);
    PUSH(b->view, v);
}

static View dense_on(Node *n, Buf *buf)
{
    View w = { 0 };
    dense_strides(n->rank, n->dim, w.stride);
    return leaf_view(n->dt, buf, 0, &w);
}

static View item_view(Body *b, Node *formal, const View *operand)
{
    View w = *operand;
    int size = dt_size(formal->dt);
    memmove(w.stride, w.stride + 1, sizeof w.stride - sizeof *w.stride);
    Buf *item = moving(b, operand->val->buf, (operand->off + operand->val->base) * size, operand->stride[0] * size,
                       n_size(formal) * size);
    return leaf_view(formal->dt, item, 0, &w);
}

static int nth_carry_result(const Region *r, int n)
{
    for (int k = 0; k < r->nr; k++)
        if (r->rkind[k] == K_CARRY && n-- == 0)
            return k;
    return -1;
}

static void formals_of_loop(Body *b)
{
    Group *g = b->g;
    int operand = 0, carries = 0;
    for (int i = 0; i < b->r->np; i++) {
        Node *f = b->r->formal[i];
        if (b->r->fkind[i] == K_INDEX) {
            Buf *t = moving(b, NULL, 0, 0, 4);
            t->space = SP_INDEX;
            g->step->indexed = true;
            add_formal(b, f, dense_on(f, t));
            continue;
        }
        View *w = &g->reads.at[operand++];
        if (b->r->fkind[i] == K_CARRY) {
            Buf *buf = carry_buf(b, nth_carry_result(b->r, carries++), f);
            PUSH(g->carry, buf);
            PUSH(g->carry_from, *w);
            PUSH(g->carry_node, f);
            PUSH(b->carries, buf);
            add_formal(b, f, dense_on(f, buf));
        } else if (b->r->fkind[i] == K_ITEM) {
            add_formal(b, f, item_view(b, f, w));
        } else {
            add_formal(b, f, leaf_of(w, f->dt));
        }
    }
}

static void sum_result(Body *b, int k, Val *v)
{
    Node *n = b->r->result[k], *so_far = n_formal(b->formal.n, n->dt, n->rank, n->dim);
    add_formal(b, so_far, dense_on(so_far, v->buf));
    PUSH(b->g->carry, v->buf);
    View zero = { .val = NEW(Val) };
    zero.val->op = OP_CONST;
    zero.val->pure = true;
    zero.val->dt = n->dt;
    zero.val->node = n_splat(n->dt, 0, n->rank, n->dim);
    PUSH(b->g->carry_from, zero);
    PUSH(b->g->carry_node, n);
    PUSH(b->result, n_bin(OP_ADD, so_far, n));
    PUSH(b->to, v->buf);
}

static void results_of_loop(Body *b)
{
    int carries = 0;
    for (int k = 0; k < b->r->nr; k++) {
        Val *v = out_of(b->g, k);
        Node *n = b->r->result[k];
        int64_t bytes = n_size(n) * dt_size(n->dt);
        if (b->r->rkind[k] == K_CARRY) {
            PUSH(b->result, n);
            PUSH(b->to, b->carries.at[carries++]);
        } else if (v && b->r->rkind[k] == K_SUM) {
            sum_result(b, k, v);
        } else if (v) {
            PUSH(b->result, n);
            PUSH(b->to, moving(b, v->buf, 0, bytes, bytes));
        }
    }
}

/* ---- turns that need nothing of each other */

static int64_t work_of(const Seq *seq);

static int64_t kernel_work(const Kernel *k)
{
    const ContractSpec *c = &k->contract;
    int64_t n = 1;
    switch (k->kind) {
    case KN_NEST:
        for (int i = 0; i < k->nest.no + k->nest.ni; i++)
            n *= k->nest.dim[i];
        return n * k->nest.nins;
    case KN_CONTRACT:
        for (int i = 0; i < MAXDIM; i++)
            n *= (i < c->nbatch ? c->batch[i].n : 1) * (i < c->nm ? c->m[i].n : 1) * (i < c->nn ? c->n[i].n : 1) * (i < c->nk ? c->k[i].n : 1);
        return n;
    default: return k->move.size;
    }
}

static int64_t step_work(const Step *s)
{
    int64_t yes, no;
    switch (s->kind) {
    case STEP_KERNEL: return kernel_work(s->kernel);
    case STEP_FOR: return s->trip * work_of(s->body[0]);
    default:
        yes = work_of(s->body[0]);
        no = work_of(s->body[1]);
        return yes > no ? yes : no;
    }
}

static int64_t work_of(const Seq *seq)
{
    int64_t work = 0;
    for (int i = 0; i < seq->step.n; i++)
        work += step_work(seq->step.at[i]);
    return work;
}

/* Each thread has a block for a turn, where one was enough before. */
static bool turns_are_shared(const Group *g)
{
    const Step *s = g->step;
    return !g->carry.n && s->trip > 1 && s->body[0]->block->bytes <= MAX_BLOCK && step_work(s) >= plan_solo_work;
}

static void plan_loop(Rplan *rp, Group *g)
{
    Body b = { .rp = rp, .g = g, .r = g->node->a.r[0] };
    Step *st = g->step = NEW(Step);
    st->kind = STEP_FOR;
    st->trip = g->node->a.k;
    st->reverse = g->node->a.reverse;
    formals_of_loop(&b);
    results_of_loop(&b);
    Region *s = NEW(Region);
    s->np = b.formal.n;
    s->formal = b.formal.at;
    s->nr = b.result.n;
    s->result = b.result.at;
    bool independent = !g->carry.n && st->trip > 1;
    int64_t before = rp->entry->work;
    rp->entry->alone += independent;
    st->body[0] = plan_region(rp->plan, rp->entry, s, b.view.at, b.to.at);
    rp->entry->alone -= independent;
    st->shared = turns_are_shared(g);
    if (st->shared)              /* the more of it, the more threads are worth their while */
        rp->entry->work = before + step_work(st) / 2;
}

void plan_bodies(Rplan *rp)
{
    for (int i = 0; i < rp->group.n; i++) {
        Group *g = rp->group.at[i];
        if (g->kind == G_COND)
            plan_cond(rp, g);
        else if (g->kind == G_LOOP)
            plan_loop(rp, g);
    }
}
