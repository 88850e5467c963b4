/* plan_step.c: from groups to steps in order, places in the block, and barriers.
   Groups are ordered by level (longest way from the start): kernels of one level are independent and need no barrier between
   them. A buffer lives from the first to the last level that touches it. A barrier stands before a step that reads what
   another thread may still write, or writes what another may still read; steps of thread 0 follow each other as they stand. */
#include "plan.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64 };

static int64_t align_up(int64_t n) { return (n + ALIGN - 1) / ALIGN * ALIGN; }

Buf *buf_new(Rplan *rp, int64_t bytes)
{
    Buf *b = NEW(Buf);
    b->space = SP_BLOCK;
    b->in = rp->seq->block;
    b->bytes = bytes;
    b->first = b->last = -1;
    PUSH(rp->buf, b);
    return b;
}

Buf *scratch_buf(Rplan *rp, int64_t bytes)
{
    static Buf scratch = { .space = SP_SCRATCH };
    if (bytes > rp->entry->scratch)
        rp->entry->scratch = bytes;
    return &scratch;
}

/* ---- steps */

static Kernel *kernel_intern(Plan *plan, Kernel *k)
{
    k->key = intern(k->key);
    for (int i = 0; i < plan->kernel.n; i++)
        if (plan->kernel.at[i]->key == k->key)
            return plan->kernel.at[i];
    PUSH(plan->kernel, k);
    return k;
}

Arg view_arg(const View *v, Dt dt)
{
    return (Arg){ v->val->buf, (v->off + v->val->base) * dt_size(dt), true, false, 0, 0 };
}

Step *kernel_step(Rplan *rp, Kernel *k, int narg, const Arg *arg)
{
    Step *s = NEW(Step);
    s->kind = STEP_KERNEL;
    s->kernel = kernel_intern(rp->plan, k);
    s->solo = k->solo;
    s->narg = narg;
    s->arg = NEWN(Arg, narg + 1);
    memcpy(s->arg, arg, sizeof *arg * (size_t)narg);
    return s;
}

static void add_step(Rplan *rp, Step *s, int level)
{
    s->level = level;
    PUSH(rp->seq->step, s);
}

static void concat_steps(Rplan *rp, Group *g)
{
    Val *v = g->val.at[0];
    int64_t stride[MAXDIM], at = 0;
    dense_strides(v->rank, v->dim, stride);
    for (int i = 0; i < v->nin; i++) {
        const Node *x = v->node->in[i];
        Step *s = copy_step(rp, (Dt)v->dt, x->rank, x->dim, &v->in[i], v->buf, v->base + at * stride[v->node->a.axis], stride);
        s->apart = g;
        add_step(rp, s, g->level);
        at += x->dim[v->node->a.axis];
    }
}

/* ---- what a branch or loop touches */

static bool inside_block(const Buf *b, const Buf *block)
{
    for (; b && b->space == SP_BLOCK; b = b->in)
        if (b == block)
            return true;
    return false;
}

static const Buf *whole(const Buf *b)
{
    while (b->space == SP_ITEM)
        b = b->in;
    return b;
}

typedef VEC(Arg) Args;

static void touch(Args *all, const Arg *a)
{
    for (int i = 0; i < all->n; i++)
        if (all->at[i].buf == a->buf) {
            bool same = all->at[i].offset == a->offset && all->at[i].slices == a->slices && all->at[i].bytes == a->bytes;
            all->at[i].slices = same ? a->slices : 0;
            all->at[i].read |= a->read;
            all->at[i].write |= a->write;
            return;
        }
    PUSH(*all, *a);
}

static void touched(Args *all, const Seq *body, bool shared)
{
    for (int i = 0; body && i < body->step.n; i++) {
        const Step *s = body->step.at[i];
        for (int k = 0; k < s->narg; k++) {
            Arg a = s->arg[k];
            if (whole(a.buf) != a.buf || shared) {
                a.buf = (Buf *)whole(a.buf);
                a.offset = a.slices = 0;
            }
            if (!inside_block(a.buf, body->block) && a.buf->space != SP_INDEX && (a.read || a.write))
                touch(all, &a);
        }
    }
}

static bool all_solo(const Seq *body)
{
    for (int i = 0; body && i < body->step.n; i++)
        if (!body->step.at[i]->solo)
            return false;
    return true;
}

static void struct_step(Rplan *rp, Group *g)
{
    Step *s = g->step;
    Args all = { 0 };
    if (s->kind == STEP_IF) {
        Arg pred = view_arg(&g->reads.at[0], BOOL);
        PUSH(all, pred);
    }
    for (int side = 0; side < 2; side++)
        touched(&all, s->body[side], s->shared);
    Arg block = { s->body[0]->block, 0, true, true, 0, 0 };        /* the place of the values inside, too, may have been another's */
    if (!s->shared)
        PUSH(all, block);
    s->arg = all.at;
    s->narg = all.n;
    s->solo = !s->shared && all_solo(s->body[0]) && all_solo(s->body[1]);
    add_step(rp, s, g->level);
}

static void loop_steps(Rplan *rp, Group *g)
{
    for (int i = 0; i < g->carry.n; i++) {
        const View *from = &g->carry_from.at[i];
        const Node *n = g->carry_node.at[i];
        int64_t stride[MAXDIM];
        dense_strides(n->rank, n->dim, stride);
        if (!same_place(from, n, g->carry.at[i]))
            add_step(rp, copy_step(rp, (Dt)n->dt, n->rank, n->dim, from, g->carry.at[i], 0, stride), g->level);
    }
    struct_step(rp, g);
}

/* ---- order */

static int deps_count(const Rplan *rp, const Group *g)
{
    int n = 0;
    for (int w = 0; w < rp->words; w++)
        n += __builtin_popcountll(g->deps[w]);
    return n;
}

typedef struct { Group *g; int n; } Ranked;

static int by_deps(const void *a, const void *b)
{
    const Ranked *x = a, *y = b;
    return x->n != y->n ? (x->n < y->n ? -1 : 1) : x->g->id - y->g->id;
}

static int by_level(const void *a, const void *b)
{
    const Ranked *x = a, *y = b;
    return x->g->level != y->g->level ? x->g->level - y->g->level : x->g->id - y->g->id;
}

/* The closure only grows along it: sorted by its size, groups stand in a possible order. */
static Ranked *ordered(Rplan *rp, int *count)
{
    Ranked *r = NEWN(Ranked, rp->group.n + 1);
    int n = 0;
    for (int i = 0; i < rp->group.n; i++)
        if (!rp->group.at[i]->dead)
            r[n++] = (Ranked){ rp->group.at[i], deps_count(rp, rp->group.at[i]) };
    qsort(r, (size_t)n, sizeof *r, by_deps);
    rp->levels = 0;
    for (int i = 0; i < n; i++) {
        r[i].g->level = 0;
        for (int j = i; j < n; j++)
            assert(!group_depends(r[i].g, r[j].g));
        for (int j = 0; j < i; j++)
            if (group_depends(r[i].g, r[j].g) && r[j].g->level >= r[i].g->level)
                r[i].g->level = r[j].g->level + 1;
        if (r[i].g->level >= rp->levels)
            rp->levels = r[i].g->level + 1;
    }
    qsort(r, (size_t)n, sizeof *r, by_level);
    *count = n;
    return r;
}

static void group_steps(Rplan *rp, Group *g)
{
    switch (g->kind) {
    case G_NEST:
        if (g->val.n == 0)
            return;
        add_step(rp, nest_step(rp, g), g->level);
        for (int i = 0; i < g->val.n; i++)
            if (g->val.at[i]->slots)
                add_step(rp, join_step(rp, g->val.at[i]), g->level);
        return;
    case G_CONTRACT: add_step(rp, contract_step(rp, g), g->level); return;
    case G_MOVE: add_step(rp, move_step(rp, g), g->level); return;
    case G_CONCAT: concat_steps(rp, g); return;
    case G_COND: struct_step(rp, g); return;
    case G_LOOP: loop_steps(rp, g); return;
    }
}

static void copy_final(Rplan *rp, const struct Final *f, const View *from, Buf *to, int level)
{
    int64_t stride[MAXDIM];
    dense_strides(f->node->rank, f->node->dim, stride);
    add_step(rp, copy_step(rp, (Dt)f->node->dt, f->node->rank, f->node->dim, from, to, 0, stride), level);
}

static void final_steps(Rplan *rp)
{
    for (int i = 0; i < rp->final.n; i++)
        if (rp->final.at[i].via)
            copy_final(rp, &rp->final.at[i], &rp->final.at[i].from, rp->final.at[i].via, rp->levels);
    for (int i = 0; i < rp->final.n; i++) {
        struct Final *f = &rp->final.at[i];
        View via = { 0 };
        dense_strides(f->node->rank, f->node->dim, via.stride);
        if (f->via)
            via = leaf_view((Dt)f->node->dt, f->via, 0, &via);
        copy_final(rp, f, f->via ? &via : &f->from, f->to, rp->levels + 1);
    }
}

/* ---- places: largest first, at the lowest gap that is big enough and fits best */

static void live(Rplan *rp, const Buf *b, int level)
{
    Buf *w = (Buf *)whole(b);
    if (w->space != SP_BLOCK || w->in != rp->seq->block)
        return;
    if (w->first < 0 || level < w->first)
        w->first = level;
    if (level > w->last)
        w->last = level;
}

static void lifetimes(Rplan *rp)
{
    for (int i = 0; i < rp->seq->step.n; i++) {
        Step *s = rp->seq->step.at[i];
        for (int k = 0; k < s->narg; k++)
            live(rp, s->arg[k].buf, s->level);
        if (s->kind == STEP_KERNEL || s->shared)
            continue;
        Buf *block = s->body[0]->block;
        block->in = rp->seq->block;
        block->first = block->last = s->level;
        PUSH(rp->buf, block);
        if (s->body[1]) {
            if (s->body[1]->block->bytes > block->bytes)
                block->bytes = s->body[1]->block->bytes;
            s->body[1]->block->in = block;
        }
    }
}

static int by_size(const void *a, const void *b)
{
    const Buf *x = *(Buf *const *)a, *y = *(Buf *const *)b;
    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    return x->first != y->first ? x->first - y->first : (x->index > y->index) - (x->index < y->index);
}

static int by_offset(const void *a, const void *b)
{
    const Buf *x = *(Buf *const *)a, *y = *(Buf *const *)b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* The placed buffers that live at the same time as b, by offset; then the best gap between them. */
static int64_t best_place(const Buf *b, Buf *const *placed, int n, Buf **near)
{
    int m = 0;
    for (int i = 0; i < n; i++)
        if (placed[i]->first <= b->last && b->first <= placed[i]->last && placed[i]->bytes)
            near[m++] = placed[i];
    qsort(near, (size_t)m, sizeof *near, by_offset);
    int64_t at = 0, best = -1, best_gap = INT64_MAX, need = align_up(b->bytes);
    for (int i = 0; i < m; i++) {
        int64_t gap = near[i]->offset - at;
        if (gap >= need && gap < best_gap) {
            best = at;
            best_gap = gap;
        }
        int64_t end = align_up(near[i]->offset + near[i]->bytes);
        if (end > at)
            at = end;
    }
    return best >= 0 ? best : at;
}

static void place_buffers(Rplan *rp)
{
    int n = rp->buf.n;
    Buf **order = NEWN(Buf *, n + 1), **near = NEWN(Buf *, n + 1);
    for (int i = 0; i < n; i++) {
        order[i] = rp->buf.at[i];
        order[i]->index = i;
    }
    qsort(order, (size_t)n, sizeof *order, by_size);
    int64_t end = 0;
    for (int i = 0; i < n; i++) {
        order[i]->offset = best_place(order[i], order, i, near);
        order[i]->placed = true;
        if (order[i]->offset + order[i]->bytes > end)
            end = order[i]->offset + order[i]->bytes;
    }
    rp->seq->block->bytes = align_up(end);
}

/* ---- barriers */

static bool overlap(const Buf *a, const Buf *b)
{
    a = whole(a);
    b = whole(b);
    if (a == b)
        return true;
    if (a->space != b->space || a->space == SP_DATA || a->space == SP_CALL || a->space == SP_SCRATCH || a->space == SP_STATUS ||
        a->space == SP_INDEX)
        return false;
    if (a->space == SP_IN || a->space == SP_OUT)
        return a->index == b->index;
    if (a->space == SP_BLOCK && !(a->placed && b->placed))
        return false;            /* of a block around this region: what lives there while the region runs lies apart */
    return a->in == b->in && a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
}

typedef struct { Arg arg; bool solo; const void *apart; } Pending;
typedef VEC(Pending) PendingList;

static bool same_slices(const Arg *a, const Arg *b)
{
    return a->slices && a->buf == b->buf && a->offset == b->offset && a->slices == b->slices && a->bytes == b->bytes;
}

/* In different turns of a loop: parts that move with it are others. */
static bool moves_on(const Arg *a, const Arg *b)
{
    const Buf *x = a->buf, *y = b->buf;
    int64_t step = x->step < 0 ? -x->step : x->step;
    return x->space == SP_ITEM && y->space == SP_ITEM && x->in == y->in && x->loop == y->loop && x->offset == y->offset &&
           x->step == y->step && x->bytes <= step && y->bytes <= step;
}

static bool conflicts(const PendingList *p, const Step *s, bool next_turn)
{
    for (int i = 0; i < p->n; i++) {
        const Pending *x = &p->at[i];
        if ((x->solo && s->solo) || (s->apart && s->apart == x->apart))
            continue;
        for (int k = 0; k < s->narg; k++) {
            const Arg *a = &s->arg[k];
            bool meet = (a->write && (x->arg.read || x->arg.write)) || (a->read && x->arg.write);
            if (meet && overlap(a->buf, x->arg.buf) && !same_slices(a, &x->arg) && !(next_turn && moves_on(a, &x->arg)))
                return true;
        }
    }
    return false;
}

static void set_barriers(const Seq *seq, PendingList *p)
{
    for (int i = 0; i < seq->step.n; i++) {
        Step *s = seq->step.at[i];
        s->barrier = conflicts(p, s, false);
        if (s->barrier)
            p->n = 0;
        for (int k = 0; k < s->narg; k++) {
            Pending x = { s->arg[k], s->solo, s->apart };
            if (x.arg.read || x.arg.write)
                PUSH(*p, x);
        }
    }
}

/* Must the threads meet between two turns? What is pending at the end meets the steps before the first barrier inside. */
static bool turns_conflict(const Seq *body, const PendingList *p)
{
    for (int i = 0; i < body->step.n && !body->step.at[i]->barrier; i++)
        if (conflicts(p, body->step.at[i], true))
            return true;
    return false;
}

void plan_steps(Rplan *rp)
{
    int n;
    Ranked *r = ordered(rp, &n);
    for (int i = 0; i < n; i++)
        group_steps(rp, r[i].g);
    final_steps(rp);
    lifetimes(rp);
    place_buffers(rp);
    PendingList pending = { 0 };
    set_barriers(rp->seq, &pending);
    rp->seq->meet = turns_conflict(rp->seq, &pending);
}
