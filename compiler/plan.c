/* plan.c: from entries to schedules; where every value of a region lies.
   States are updated in place where every other reader of the old value comes first; where that cannot be had, the new value
   is made elsewhere and copied when all else is done.  Requires: regions without MARK and STOP.
   Guarantees: arena, scratch and work of the entry are set. */
#include "plan.h"
#include "../runtime/nlrt.h"
#include <assert.h>
#include <string.h>

int64_t plan_solo_work = 1 << 15;

/* ---- leaves: values that come from outside */

View leaf_view(Dt dt, Buf *buf, int64_t base, const View *like)
{
    Val *v = NEW(Val);
    v->op = OP_FORMAL;
    v->dt = (uint8_t)dt;
    v->buf = buf;
    v->base = base;
    v->stored = true;
    View w = *like;
    w.val = v;
    w.off = 0;
    return w;
}

static View dense_leaf(Node *n, Buf *buf)
{
    View w = { 0 };
    dense_strides(n->rank, n->dim, w.stride);
    return leaf_view(n->dt, buf, 0, &w);
}

/* ---- which values have to be in memory */

static void mark_stored(Rplan *rp)
{
    for (int i = 0; i < rp->val.n; i++) {
        Val *v = rp->val.at[i];
        if (v->group && (v->group->kind != G_NEST || v->group->slots > 1) && (v->group->kind != G_NEST || op_reduces(v->op)))
            v->stored = true;
        for (int k = 0; k < v->nin; k++) {
            Val *x = v->in[k].val;
            if (x->group && (v->group != x->group || !group_inside(v->group, v, &v->in[k])))
                x->stored = true;
        }
    }
    for (int i = 0; i < rp->region->nr; i++) {
        Val *x = rp->rview[i].val;
        if (x->group)
            x->stored = true;
    }
}

/* ---- results */

static bool is_leaf_of(const Val *x, const Buf *b)
{
    return !x->group && !x->pure && x->buf == b;
}

bool same_place(const View *w, const Node *n, const Buf *b)
{
    View at_start = *w;
    at_start.off += w->val->base;
    return !w->val->pure && w->val->buf == b && view_dense(&at_start, n->rank, n->dim);
}

/* Does the user, in the group of x, read at x's own index, no later than x is written? */
static bool reads_in_step(const Group *g, const Val *x, const Val *user, int k)
{
    const View *w = &user->in[k];
    int ax[MAXDIM], au[MAXDIM];
    int32_t dim[MAXDIM];
    int64_t s[MAXDIM], want[MAXDIM] = { 0 }, have[MAXDIM] = { 0 };
    if (g->kind != G_NEST || g->slots > 1 || x->across || user->op == OP_PAD || (user->op == OP_GATHER && k == 0) || w->off + w->val->base)
        return false;
    if (x->full && user->last > x->pass)
        return false;
    dense_strides(val_layout(x, dim), dim, s);
    group_axis_map(g, x, ax);
    group_axis_map(g, user, au);
    for (int i = 0, o = 0; i < x->rank; i++) {
        if (op_reduces(x->op) && x->axes >> i & 1)
            continue;
        if (ax[i] >= 0)
            want[ax[i]] = s[o];
        o++;
    }
    for (int i = 0; i < user->rank; i++)
        if (au[i] >= 0)
            have[au[i]] = w->stride[i];
    return !memcmp(want, have, sizeof want);
}

/* The operand of a loop that is the first value of the state behind its result k. */
static int carry_operand(const Node *loop, int k)
{
    const Region *r = loop->a.r[0];
    int carry = 0, operand = 0;
    for (int i = 0; i < k; i++)
        carry += r->rkind[i] == K_CARRY;
    if (r->rkind[k] != K_CARRY)
        return -1;
    for (int i = 0; i < r->np; i++) {
        if (r->fkind[i] == K_CARRY && carry-- == 0)
            return operand;
        operand += r->fkind[i] != K_INDEX;
    }
    return -1;
}

static bool struct_in_step(const Group *g, const Val *x, const Val *user, int k)
{
    if (g->kind == G_COND)
        return x->op == OP_OUT && k > 0;
    return g->kind == G_LOOP && x->op == OP_OUT && carry_operand(g->node, (int)x->node->a.k) == k &&
           same_place(&user->in[k], user->node->in[k], user->in[k].val->buf);
}

/* May x be written to b, which others still read? Orders the writer behind the readers. */
static bool in_place(Rplan *rp, Val *x, const Buf *b, int result)
{
    for (int j = 0; j < rp->region->nr; j++) {
        View w = rp->rview[j];
        if (is_leaf_of(w.val, b) && j != result)
            return false;
    }
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < rp->val.n; i++) {
            Val *u = rp->val.at[i];
            for (int k = 0; k < u->nin; k++) {
                if (!is_leaf_of(u->in[k].val, b) || !u->group)
                    continue;
                if (pass)
                    group_after(rp, x->group, u->group);
                else if (u->group == x->group && !reads_in_step(x->group, x, u, k) && !struct_in_step(x->group, x, u, k))
                    return false;
                else if (u->group != x->group && group_depends(u->group, x->group))
                    return false;
            }
        }
    return true;
}

static int64_t val_bytes(const Val *v)
{
    return val_size(v) * dt_size((Dt)v->dt);
}

static void place_result(Rplan *rp, int i)
{
    Node *n = rp->region->result[i];
    Buf *b = rp->result[i];
    View w = rp->rview[i];
    if (!w.val->group && same_place(&w, n, b))
        return;
    bool all = view_dense(&w, n->rank, n->dim) && w.val->group && val_bytes(w.val) == b->bytes;
    if (all && !w.val->buf && in_place(rp, w.val, b, i)) {
        w.val->buf = b;
        return;
    }
    struct Final f = { w, n, b, NULL };
    PUSH(rp->final, f);
}

/* A leaf that is copied at the end, but lies where another copy of the end writes, goes through a buffer of its own. */
static void detour_finals(Rplan *rp)
{
    for (int i = 0; i < rp->final.n; i++) {
        struct Final *f = &rp->final.at[i];
        for (int j = 0; j < rp->final.n; j++)
            if (!f->from.val->group && !f->from.val->pure && f->from.val->buf == rp->final.at[j].to && !f->via)
                f->via = buf_new(rp, n_size(f->node) * dt_size(f->node->dt));
    }
}

void plan_results(Rplan *rp)
{
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < rp->region->nr; i++)
            if (pass == (rp->result[i]->space == SP_OUT))
                place_result(rp, i);
    detour_finals(rp);
    for (int i = 0; i < rp->val.n; i++) {
        Val *v = rp->val.at[i];
        if (v->op == OP_COND || v->op == OP_LOOP)
            continue;
        if (v->stored && !v->buf)
            v->buf = buf_new(rp, val_bytes(v));
        if (v->group && v->group->slots > 1 && op_reduces(v->op))
            v->slots = buf_new(rp, v->group->slots * dt_size(v->dt));
    }
}

/* ---- a region */

Seq *plan_region(Plan *plan, EntryPlan *ep, Region *r, View *formal, Buf **result)
{
    Rplan *rp = NEW(Rplan);
    rp->plan = plan;
    rp->entry = ep;
    rp->region = r;
    rp->formal = formal;
    rp->result = result;
    rp->seq = NEW(Seq);
    rp->seq->block = NEW(Buf);
    rp->seq->block->space = SP_BLOCK;
    plan_values(rp);
    plan_results_as_vals(rp);
    plan_groups(rp);
    mark_stored(rp);
    plan_again(rp);
    plan_passes(rp);
    plan_results(rp);
    plan_bodies(rp);
    plan_steps(rp);
    return rp->seq;
}

/* ---- entries */

static Buf *bound_buf(const Entry *e, Bind b, Node *n, Buf **state)
{
    Buf *buf = NEW(Buf);
    buf->bytes = n_size(n) * dt_size(n->dt);
    switch (b.kind) {
    case B_STATE:
        if (state[b.index])
            return state[b.index];
        state[b.index] = buf;
        buf->space = SP_STATE;
        buf->offset = state_offset(e->model, b.index);
        return buf;
    case B_FIELD: case B_OUT:
        buf->space = b.kind == B_FIELD ? SP_IN : SP_OUT;
        buf->index = b.index;
        return buf;
    default:
        buf->space = SP_CALL;
        buf->offset = b.kind == B_COUNT ? offsetof(nl_call, count) : b.kind == B_INDEX ? offsetof(nl_call, index) : offsetof(nl_call, seed);
        return buf;
    }
}

/* A thread's scratch: first what kernels use, then the blocks of loops whose turns are shared, one in another. */
static int64_t place_in_scratch(const Seq *seq, int64_t at)
{
    int64_t end = at;
    for (int i = 0; i < seq->step.n; i++) {
        const Step *s = seq->step.at[i];
        for (int side = 0; side < 2 && s->body[side]; side++) {
            Buf *block = s->body[side]->block;
            int64_t inside = at;
            if (s->shared) {
                block->space = SP_SCRATCH;
                block->in = NULL;
                block->offset = at;
                inside += block->bytes;
            }
            int64_t e = place_in_scratch(s->body[side], inside);
            end = e > end ? e : end;
        }
    }
    return end;
}

EntryPlan *plan_entry(Plan *plan, Entry *e)
{
    EntryPlan *ep = NEW(EntryPlan);
    Region *r = e->r;
    Buf **state = NEWN(Buf *, e->model ? e->model->state.n + 1 : 1), **result = NEWN(Buf *, r->nr + 1);
    View *formal = NEWN(View, r->np + 1);
    ep->entry = e;
    for (int i = 0; i < r->np; i++)
        formal[i] = dense_leaf(r->formal[i], bound_buf(e, e->in[i], r->formal[i], state));
    for (int i = 0; i < r->nr; i++)
        result[i] = bound_buf(e, e->out[i], r->result[i], state);
    ep->seq = plan_region(plan, ep, r, formal, result);
    ep->arena = ep->seq->block->bytes;
    ep->scratch = place_in_scratch(ep->seq, (ep->scratch + 63) / 64 * 64);
    ep->solo = true;
    for (int i = 0; i < ep->seq->step.n; i++)
        ep->solo = ep->solo && ep->seq->step.at[i]->solo;
    e->arena = ep->arena;
    e->scratch = ep->scratch;
    e->work = ep->work;
    return ep;
}

Plan *plan_program(Program *p, const Target *t)
{
    Plan *plan = NEW(Plan);
    plan->program = p;
    plan->target = t;
    for (int i = 0; i < p->entry.n; i++)
        PUSH(plan->entry, plan_entry(plan, p->entry.at[i]));
    return plan;
}
