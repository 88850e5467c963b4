/* plan_nest.c: the kernel of a group: its vals become instructions over loops.
   Outer loops run over the axes that are kept, inner loops (the passes) over those that are summed. An access is a stride per
   loop. Neighbouring loops become one where all accesses allow it. A full val that a later pass reads is computed again
   there if that is cheap, else read back from memory.  Requires: buffers are known (kernels do not depend on where they lie). */
#include "plan.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { CHEAP = 8, ROW_BYTES = 64 << 10, ALIGN = 64, MIN_ITEMS = 16, VECTORS = 64 };

typedef struct {
    Rplan *rp;
    const Group *g;
    Nest nest;
    VEC(Ins) ins;
    VEC(Arg) arg;
    int loop_of[MAXDIM];         /* axis of F -> loop */
    int64_t lead;                /* size of the first outer axis */
    int64_t work, scratch;       /* scratch: bytes given to rows so far */
} Builder;

/* ---- passes */

static int available(const Val *v)
{
    return op_reduces(v->op) && !v->across ? v->pass + 1 : v->pass;
}

static int op_cost(int op)
{
    switch (op) {
    case OP_EXP: case OP_LOG: case OP_SIN: case OP_COS: case OP_TANH: case OP_SIGMOID: case OP_ERF: case OP_POW: case OP_BITS: return 16;
    case OP_GATHER: return 16;
    case OP_PAD: return 4;
    case OP_DIV: case OP_SQRT: case OP_IDIV: case OP_MOD: return 3;
    default: return 1;
    }
}

/* For later passes: a row in the thread's scratch, if rows are short and vectors run along them; else all of it. */
static void keep(const Group *g, Val *x)
{
    int64_t row = dt_size((Dt)x->dt);
    for (int i = 0; i < g->rank; i++)
        row *= g->inner >> i & 1 ? g->dim[i] : 1;
    x->row = g->inner >> (g->rank - 1) & 1 && row <= ROW_BYTES;
    x->stored = !x->row;
}

/* What is not kept is computed again in each pass that computes one of its users. */
static void find_last(Group *g)
{
    for (int i = 0; i < g->val.n; i++)
        g->val.at[i]->last = g->val.at[i]->pass;
    for (int i = g->val.n - 1; i >= 0; i--)
        for (int k = 0; k < g->val.at[i]->nin; k++) {
            Val *v = g->val.at[i], *x = v->in[k].val;
            if (x->group == g && x->full && !x->stored && !x->row && v->last > x->last)
                x->last = v->last;
        }
}

static void plan_pass(Group *g)
{
    g->npass = 0;
    for (int i = 0; i < g->val.n; i++) {
        Val *v = g->val.at[i];
        int axis_of[MAXDIM];
        v->full = group_axis_map(g, v, axis_of) && (v->across || !op_reduces(v->op));
        v->pass = 0;
        v->cost = op_cost(v->op);
        for (int k = 0; k < v->nin; k++) {
            Val *x = v->in[k].val;
            if (x->group != g)
                continue;
            if (available(x) > v->pass)
                v->pass = available(x);
            if (x->full && !x->stored && v->full)
                v->cost += x->cost;
        }
        if ((v->full || op_reduces(v->op)) && v->pass + 1 > g->npass)
            g->npass = v->pass + 1;
    }
    for (int i = 0; i < g->val.n; i++) {
        Val *v = g->val.at[i];
        for (int k = 0; k < v->nin; k++) {
            Val *x = v->in[k].val;
            if (x->group == g && x->full && x->pass < v->pass && x->cost > CHEAP && !x->stored)
                keep(g, x);
        }
    }
    find_last(g);
}

void plan_passes(Rplan *rp)
{
    for (int i = 0; i < rp->group.n; i++)
        if (rp->group.at[i]->kind == G_NEST && !rp->group.at[i]->dead)
            plan_pass(rp->group.at[i]);
}

/* ---- operands and instructions */

static int operand(Builder *b, Buf *buf, int64_t offset, bool write)
{
    assert(buf);
    for (int i = 0; i < b->arg.n; i++)
        if (b->arg.at[i].buf == buf && b->arg.at[i].offset == offset) {
            if (write)
                b->arg.at[i].write = true;
            else
                b->arg.at[i].read = true;
            return i;
        }
    Arg a = { buf, offset, !write, write, 0, 0 };
    PUSH(b->arg, a);
    return b->arg.n - 1;
}

static int same_ins(const Builder *b, const Ins *x)
{
    for (int i = 0; i < b->ins.n; i++) {
        const Ins *y = &b->ins.at[i];
        if (y->op == x->op && y->dt == x->dt && y->operand == x->operand && y->full == x->full && (!x->full || y->pass == x->pass) &&
            y->num == x->num && y->inum == x->inum && (!x->stride || !memcmp(x->stride, y->stride, sizeof *x->stride * MAXDIM)))
            return i;
    }
    return -1;
}

static int put(Builder *b, const Ins *x)
{
    PUSH(b->ins, *x);
    b->work += op_cost(x->op);
    return b->ins.n - 1;
}

/* What the graph tells apart by sizes of 1, or by where it was read, may be one value here. */
static int put_value(Builder *b, const Ins *x)
{
    for (int i = 0; i < b->ins.n && x->operand < 0; i++) {
        const Ins *y = &b->ins.at[i];
        if (y->op == x->op && y->dt == x->dt && y->operand < 0 && y->full == x->full && y->pass == x->pass && y->nin == x->nin &&
            !memcmp(y->in, x->in, sizeof *x->in * (size_t)x->nin))
            return i;
    }
    return put(b, x);
}

/* Strides of a view on v's axes, per loop; returns whether an inner loop moves it. */
static bool loop_strides(Builder *b, const int *axis_of, int rank, const int64_t *stride, int64_t *out)
{
    bool inner = false;
    memset(out, 0, sizeof *out * MAXDIM);
    for (int i = 0; i < rank; i++)
        if (axis_of[i] >= 0) {
            int l = b->loop_of[axis_of[i]];
            out[l] = stride[i];
            inner |= l >= b->nest.no && stride[i];
        }
    return inner;
}

/* What a view shows in pass p: a load, a constant, a number of a loop. */
static int put_view(Builder *b, const int *axis_of, int rank, const View *w, int p)
{
    Val *x = w->val;
    Ins ins = { .op = I_LOAD, .dt = x->dt, .operand = -1, .pass = p, .stride = NEWN(int64_t, MAXDIM) };
    ins.full = loop_strides(b, axis_of, rank, w->stride, ins.stride);
    if (x->pure && x->op == OP_CONST) {
        ins = (Ins){ .op = OP_CONST, .dt = x->dt, .operand = -1, .num = x->node->a.num, .inum = x->node->a.inum };
    } else if (x->pure) {
        ins.op = OP_IOTA;
        ins.inum = w->off;
    } else {
        ins.operand = operand(b, x->buf, (w->off + x->base) * dt_size(x->dt), false);
    }
    if (!ins.full)
        ins.pass = 0;
    int known = same_ins(b, &ins);
    return known >= 0 ? known : put(b, &ins);
}

static void set_pads(Builder *b, const Val *v, const int *axis_of, Ins *ins)
{
    const Node *n = v->node;
    PadAxis *pad = NEWN(PadAxis, MAXDIM);
    for (int i = 0; i < v->rank; i++) {
        int len = n->in[0]->dim[i], start = n->a.start[i], step = n->a.step[i];
        if (v->dim[i] == len && start == 0 && step == 1)
            continue;
        if (axis_of[i] < 0)
            continue;
        int l = b->loop_of[axis_of[i]];
        pad[ins->npad++] = (PadAxis){ l, start, step, len, ins->stride[l] };
        ins->stride[l] = 0;
        ins->full |= l >= b->nest.no;
    }
    ins->pad = pad;
}

/* ---- equal kernels should look equal: operands that may change places are put in an order that no node's number decides */

static uint64_t mix(uint64_t h, uint64_t x)
{
    h = (h ^ x) * 0x9e3779b97f4a7c15ull;
    return h ^ h >> 29;
}

static uint64_t hash_operand(const Group *g, const Val *v, int k)
{
    const View *w = &v->in[k];
    if (w->val->group == g)
        return w->val->hash;
    uint64_t h = mix(w->val->dt, w->val->pure ? w->val->op : I_LOAD), bits;
    if (w->val->pure && w->val->op == OP_CONST) {
        memcpy(&bits, &w->val->node->a.num, sizeof bits);
        return mix(mix(h, bits), (uint64_t)w->val->node->a.inum);
    }
    for (int i = 0; i < v->rank; i++)
        h = mix(h, (uint64_t)w->stride[i]);
    return h;
}

static bool commutes(int op)
{
    return op == OP_ADD || op == OP_MUL || op == OP_EQ || op == OP_AND || op == OP_OR;
}

static void hash_vals(const Group *g)
{
    for (int i = 0; i < g->val.n; i++) {
        Val *v = g->val.at[i];
        uint64_t h = mix(v->op, v->dt);
        for (int k = 0; k < v->nin; k++) {
            uint64_t x = hash_operand(g, v, k);
            h = commutes(v->op) ? h + mix(1, x) : mix(h, x);
        }
        v->hash = h;
    }
}

static bool swapped(const Builder *b, const Val *v)
{
    return commutes(v->op) && hash_operand(b->g, v, 1) < hash_operand(b->g, v, 0);
}

static int need(Builder *b, Val *v, int p);

/* Loads (from < 0) or stores v's row in scratch. */
static int put_row(Builder *b, Val *v, int p, int from)
{
    Ins ins = { .op = from < 0 ? I_LOAD : I_STORE, .dt = v->dt, .full = true, .pass = p, .stride = NEWN(int64_t, MAXDIM) };
    int64_t s = 1;
    for (int l = b->nest.no + b->nest.ni - 1; l >= b->nest.no; l--) {
        ins.stride[l] = s;
        s *= b->nest.dim[l];
    }
    if (from >= 0) {
        v->row_at = b->scratch;
        b->scratch += (s * dt_size((Dt)v->dt) + ALIGN - 1) / ALIGN * ALIGN;
        ins.in[ins.nin++] = from;
    }
    ins.operand = operand(b, scratch_buf(b->rp, b->scratch), v->row_at, from >= 0);
    return put(b, &ins);
}

static int need_operand(Builder *b, Val *v, int k, const int *axis_of, int p)
{
    const View *w = &v->in[k];
    if (w->val->group == b->g && b->g->kind == G_NEST)
        return need(b, w->val, p);
    return put_view(b, axis_of, v->rank, w, p);
}

static void set_table(Builder *b, Val *v, const int *axis_of, Ins *ins)
{
    const View *w = &v->in[0];
    ins->stride = NEWN(int64_t, MAXDIM);
    ins->full |= loop_strides(b, axis_of, v->rank, w->stride, ins->stride);
    ins->operand = operand(b, w->val->buf, (w->off + w->val->base) * dt_size(w->val->dt), false);
    if (v->op == OP_PAD)
        set_pads(b, v, axis_of, ins);
}

static Buf *site_buf(Plan *plan, uint64_t site)
{
    for (int i = 0; i < plan->site.n; i++)
        if (!memcmp(plan->site.at[i]->data->a.data, &site, sizeof site))
            return plan->site.at[i];
    uint64_t *bytes = NEW(uint64_t);
    *bytes = site;
    Buf *b = NEW(Buf);
    b->space = SP_DATA;
    b->bytes = sizeof site;
    b->data = n_data(I64, 0, NULL, bytes);
    PUSH(plan->site, b);
    return b;
}

/* The instruction that has v's value: an outer val once, a full one in each pass that asks. */
static int need(Builder *b, Val *v, int p)
{
    int axis_of[MAXDIM];
    group_axis_map(b->g, v, axis_of);
    if (!v->full && v->ins >= 0)
        return v->ins;
    if (v->full && v->ins_pass == p && v->ins >= 0)
        return v->ins;
    if (v->full && p > v->pass && v->stored) {
        View w = val_view(v);
        v->ins = put_view(b, axis_of, v->rank, &w, p);
        v->ins_pass = p;
        return v->ins;
    }
    if (v->row && p > v->pass) {
        v->ins = put_row(b, v, p, -1);
        v->ins_pass = p;
        return v->ins;
    }
    if (!v->full)
        p = v->pass;
    Ins ins = { .op = v->op, .dt = v->dt, .operand = -1, .full = v->full, .pass = p };
    bool swap = swapped(b, v);
    for (int k = 0; k < v->nin; k++)
        if (!((v->op == OP_GATHER && k == 0) || v->op == OP_PAD))
            ins.in[ins.nin++] = need_operand(b, v, swap ? 1 - k : k, axis_of, p);
    if (v->op == OP_GATHER || v->op == OP_PAD)
        set_table(b, v, axis_of, &ins);
    if (v->op == OP_GATHER) {
        ins.inum = v->gstride;
        ins.limit = v->glimit;
    }
    if (v->op == OP_GATHER)
        ins.site = v->node->a.site;
    if (v->op == OP_BITS) {
        ins.limit = v->node->a.k & 3;
        ins.operand = operand(b, site_buf(b->rp->plan, v->node->a.site), 0, false);
    }
    if (v->op == I_COPY)
        v->ins = ins.in[0];
    else
        v->ins = put_value(b, &ins);
    v->ins_pass = p;
    return v->ins;
}

/* Does v sum over the loop that vectors run along, which is an outer one? */
static bool along_vectors(const Builder *b, const Val *v, const int *axis_of)
{
    bool along = false;
    for (int i = 0; v->across && !b->nest.vec_inner && i < v->rank; i++)
        along |= v->axes >> i & 1 && axis_of[i] >= 0 && b->loop_of[axis_of[i]] == b->nest.no - 1;
    return along;
}

/* Adds up, lane by lane, in scratch. */
static int put_lanes(Builder *b, const Val *v, const Ins *like)
{
    Ins ins = *like;
    int64_t s = NEST_LANES;
    ins.lanes = true;
    ins.stride = NEWN(int64_t, MAXDIM);
    for (int l = b->nest.no + b->nest.ni - 1; l >= b->nest.no; l--) {
        ins.stride[l] = s;
        s *= b->nest.dim[l];
    }
    int64_t at = b->scratch;
    b->scratch += (s * dt_size((Dt)v->dt) + ALIGN - 1) / ALIGN * ALIGN;
    ins.operand = operand(b, scratch_buf(b->rp, b->scratch), at, true);
    return put(b, &ins);
}

static void put_store(Builder *b, Val *v, int from)
{
    int axis_of[MAXDIM];
    int32_t dim[MAXDIM];
    int64_t s[MAXDIM], on_axes[MAXDIM] = { 0 };
    int rank = val_layout(v, dim);
    group_axis_map(b->g, v, axis_of);
    dense_strides(rank, dim, s);
    for (int i = 0, o = 0; i < v->rank; i++)
        if (!op_reduces(v->op) || !(v->axes >> i & 1))
            on_axes[i] = s[o++];
    Ins ins = { .op = v->across ? I_ACCUM : I_STORE, .dt = v->dt, .full = v->full, .nin = 1, .in = { from }, .stride = NEWN(int64_t, MAXDIM) };
    ins.inum = v->across ? v->op : 0;
    ins.pass = v->full ? v->pass : b->nest.npass;
    if (along_vectors(b, v, axis_of)) {
        ins.in[0] = put_lanes(b, v, &ins);
        ins.op = I_JOIN;
        ins.pass = b->nest.npass;
    }
    loop_strides(b, axis_of, v->rank, on_axes, ins.stride);
    if (v->slots)
        ins.operand = operand(b, v->slots, 0, true);
    else
        ins.operand = operand(b, v->buf, v->base * dt_size(v->dt), true);
    put(b, &ins);
}

/* ---- loops */

static void loops_of(Builder *b, int rank, const int32_t *dim, uint32_t inner)
{
    Nest *n = &b->nest;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < rank; i++)
            if ((int)(inner >> i & 1) == pass) {
                b->loop_of[i] = n->no + n->ni;
                n->dim[n->no + n->ni] = dim[i];
                if (pass)
                    n->ni++;
                else
                    n->no++;
            }
    b->lead = n->no ? n->dim[0] : 1;
    n->vec_inner = inner && inner >> (rank - 1) & 1;
}

static bool can_merge(const Builder *b, int l)
{
    for (int i = 0; i < b->ins.n; i++) {
        const Ins *x = &b->ins.at[i];
        if (x->stride && x->stride[l] != x->stride[l + 1] * b->nest.dim[l + 1])
            return false;
        for (int k = 0; k < x->npad; k++)
            if (x->pad[k].loop == l || x->pad[k].loop == l + 1)
                return false;
    }
    return true;
}

/* Loops l and l + 1 become one. */
static void merge_loop(Builder *b, int l)
{
    Nest *n = &b->nest;
    int total = n->no + n->ni;
    n->dim[l + 1] *= n->dim[l];
    for (int j = l; j + 1 < total; j++)
        n->dim[j] = n->dim[j + 1];
    for (int i = 0; i < b->ins.n; i++) {
        Ins *x = &b->ins.at[i];
        for (int j = l; x->stride && j + 1 < MAXDIM; j++)
            x->stride[j] = x->stride[j + 1];
        for (int k = 0; k < x->npad; k++)
            if (x->pad[k].loop > l)
                ((PadAxis *)x->pad)[k].loop--;
    }
    if (l < n->no)
        n->no--;
    else
        n->ni--;
}

static void merge_loops(Builder *b)
{
    for (int l = b->nest.no + b->nest.ni - 2; l >= 0; l--)
        if (l + 1 != b->nest.no && can_merge(b, l))
            merge_loop(b, l);
}

static int64_t nest_size(const Nest *n)
{
    int64_t size = 1;
    for (int i = 0; i < n->no + n->ni; i++)
        size *= n->dim[i];
    return size;
}

/* Threads share the outermost loop, or the longest one if that is short. Cuts fall between the items of the first axis if it is
   long enough, so that kernels over the same items give each thread the same ones. */
static bool adds_across(const Builder *b)
{
    for (int i = 0; i < b->ins.n; i++)
        if (b->ins.at[i].op == I_ACCUM)
            return true;
    return false;
}

static void choose_split(Builder *b)
{
    Nest *n = &b->nest;
    n->split = n->solo || !n->no ? -1 : 0;
    n->grain = 1;
    if (n->split < 0)
        return;
    for (int l = 1; l < n->no && n->dim[0] < MIN_ITEMS && !adds_across(b); l++)
        if (n->dim[l] > n->dim[n->split])
            n->split = l;
    if (n->split == 0 && b->lead >= MIN_ITEMS)
        n->grain = n->dim[0] / b->lead;
    if (n->split == n->no - 1 && !n->vec_inner && n->grain % VECTORS)
        n->grain = VECTORS;
}

/* Do threads touch disjoint parts of operand o? */
static void find_slices(Builder *b, int o)
{
    const Nest *n = &b->nest;
    int64_t step = 0, span = 1, size = 1;
    if (n->split != 0)
        return;
    for (int i = 0; i < b->ins.n; i++) {
        const Ins *x = &b->ins.at[i];
        if (x->operand != o)
            continue;
        if ((x->op != I_LOAD && x->op != I_STORE && x->op != I_ACCUM && x->op != I_JOIN) || !x->stride || (step && x->stride[0] != step) || x->stride[0] <= 0)
            return;
        step = x->stride[0];
        size = dt_size((Dt)x->dt);
        int64_t width = 1;
        for (int l = 0; l < n->no + n->ni; l++) {
            if (x->stride[l] < 0)
                return;
            width += x->stride[l] * ((l ? n->dim[l] : n->grain) - 1);
        }
        span = width > span ? width : span;
    }
    if (!step || span > step * n->grain)
        return;
    b->arg.at[o].slices = (n->dim[0] + n->grain - 1) / n->grain;
    b->arg.at[o].bytes = step * n->grain * size;
}

/* An operand of gather's messages: the status of the thread. */
static void add_status(Builder *b)
{
    static Buf status = { .space = SP_STATUS };
    for (int i = 0; i < b->ins.n; i++)
        if (b->ins.at[i].op == OP_GATHER) {
            Arg a = { &status, 0, false, false, 0, 0 };
            PUSH(b->arg, a);
            return;
        }
}

static const char *nest_key(const Nest *n)
{
    char *s;
    size_t size;
    FILE *f = open_memstream(&s, &size);
    fprintf(f, "nest %d %d %d %d %d %d %d %lld:", n->no, n->ni, n->vec_inner, n->npass, n->slots, n->solo, n->split, (long long)n->grain);
    for (int i = 0; i < n->no + n->ni; i++)
        fprintf(f, " %lld", (long long)n->dim[i]);
    for (int i = 0; i < n->nins; i++) {
        const Ins *x = &n->ins[i];
        fprintf(f, "; %d %d %d %d %d (%d) %a %lld %lld %llx", x->op, x->dt, x->full, x->lanes, x->pass, x->operand, x->num,
                (long long)x->inum, (long long)x->limit, (unsigned long long)x->site);
        for (int k = 0; k < x->nin; k++)
            fprintf(f, " %d", x->in[k]);
        for (int k = 0; x->stride && k < n->no + n->ni; k++)
            fprintf(f, " *%lld", (long long)x->stride[k]);
        for (int k = 0; k < x->npad; k++)
            fprintf(f, " [%d %lld %lld %lld %lld]", x->pad[k].loop, (long long)x->pad[k].start, (long long)x->pad[k].step,
                    (long long)x->pad[k].n, (long long)x->pad[k].stride);
    }
    fclose(f);
    char *key = arena_strndup(s, size);
    free(s);
    return key;
}

static Step *finish(Builder *b)
{
    merge_loops(b);
    add_status(b);
    Nest *n = &b->nest;
    n->ins = b->ins.at;
    n->nins = b->ins.n;
    n->noperand = b->arg.n;
    int64_t work = nest_size(n) * b->work;
    n->solo = work < plan_solo_work || (n->no == 0 && n->slots <= 1) || (b->g && b->g->alone);
    b->rp->entry->work += work / 2;
    choose_split(b);
    for (int o = 0; o < b->arg.n; o++)
        find_slices(b, o);
    Kernel *k = NEW(Kernel);
    k->kind = KN_NEST;
    k->nest = *n;
    k->noperand = n->noperand;
    k->solo = n->solo;
    k->key = nest_key(n);
    return kernel_step(b->rp, k, b->arg.n, b->arg.at);
}

static const int *axes_of(const Group *g, const Val *v)
{
    int *axis_of = NEWN(int, MAXDIM);
    group_axis_map(g, v, axis_of);
    return axis_of;
}

Step *nest_step(Rplan *rp, Group *g)
{
    Builder b = { .rp = rp, .g = g };
    loops_of(&b, g->rank, g->dim, g->inner);
    hash_vals(g);
    b.nest.npass = g->npass;
    b.nest.slots = g->slots > 1 ? g->slots : 1;
    for (int i = 0; i < g->val.n; i++)
        g->val.at[i]->ins = -1;
    for (int p = 0; p <= g->npass; p++)
        for (int i = 0; i < g->val.n; i++) {
            Val *v = g->val.at[i];
            if (v->across && v->pass == p)
                put_store(&b, v, need_operand(&b, v, 0, axes_of(g, v), p));
            else if (v->stored && v->full && !v->across && v->pass == p)
                put_store(&b, v, need(&b, v, p));
            else if (v->row && v->pass == p)
                put_row(&b, v, p, need(&b, v, p));
            else if (!v->full && v->pass == p && (v->stored || op_reduces(v->op)))
                need(&b, v, p);
        }
    for (int i = 0; i < g->val.n; i++)
        if (g->val.at[i]->stored && !g->val.at[i]->full)
            put_store(&b, g->val.at[i], need(&b, g->val.at[i], g->npass));
    return finish(&b);
}

Step *copy_step(Rplan *rp, Dt dt, int rank, const int32_t *dim, const View *from, Buf *to, int64_t off, const int64_t *stride)
{
    Builder b = { .rp = rp };
    int axis_of[MAXDIM], n = 0;
    int32_t squeezed[MAXDIM];
    for (int i = 0; i < rank; i++) {
        axis_of[i] = dim[i] == 1 ? -1 : n;
        if (dim[i] != 1)
            squeezed[n++] = dim[i];
    }
    loops_of(&b, n, squeezed, 0);
    b.nest.slots = 1;
    Ins store = { .op = I_STORE, .dt = (uint8_t)dt, .nin = 1, .in = { put_view(&b, axis_of, rank, from, 0) }, .stride = NEWN(int64_t, MAXDIM) };
    loop_strides(&b, axis_of, rank, stride, store.stride);
    store.operand = operand(&b, to, off * dt_size(dt), true);
    put(&b, &store);
    return finish(&b);
}
