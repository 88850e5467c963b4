/* plan_group.c: which vals one kernel computes.
   In program order, a val joins a group that it takes an operand from, if it is computed over the same axes, reads the
   group's members at its own index only, and no way leads out of the group and back to it. Then groups that feed each other
   are merged.  Requires: plan_values.  Guarantees: every val that is no leaf has a group; deps is the closure of "comes before". */
#include "plan.h"
#include <assert.h>
#include <string.h>

enum { MAX_STREAMS = 20, MAX_MEMBERS = 400, SLOTS = 16, SLOT_SIZE = 1 << 16, SMALL = 1024, MOST_INSIDE = 256 };

/* ---- closure */

static bool has(const uint64_t *set, int i) { return set[i / 64] >> (i % 64) & 1; }

bool group_depends(const Group *g, const Group *on)
{
    return has(g->deps, on->id);
}

void group_after(Rplan *rp, Group *g, Group *before)
{
    if (g == before || group_depends(g, before))
        return;
    for (int i = 0; i < rp->group.n; i++) {
        Group *h = rp->group.at[i];
        if (h != g && !group_depends(h, g))
            continue;
        for (int w = 0; w < rp->words; w++)
            h->deps[w] |= before->deps[w];
        h->deps[before->id / 64] |= 1ull << (before->id % 64);
    }
}

static Group *group_new(Rplan *rp, GroupKind kind)
{
    Group *g = NEW(Group);
    g->kind = kind;
    g->id = rp->group.n;
    g->deps = NEWN(uint64_t, rp->words);
    PUSH(rp->group, g);
    return g;
}

/* ---- axes */

/* A val's shape without sizes of 1 (its operand's, for a reduction), and its reduced axes there. */
static int squeeze(const Val *v, int32_t *dim, uint32_t *inner)
{
    int rank = 0;
    *inner = 0;
    for (int i = 0; i < v->rank; i++)
        if (v->dim[i] != 1) {
            if (op_reduces(v->op) && v->axes >> i & 1)
                *inner |= 1u << rank;
            dim[rank++] = v->dim[i];
        }
    return rank;
}

static bool is_shape(const Group *g, uint32_t without, int rank, const int32_t *dim)
{
    int n = 0;
    for (int i = 0; i < g->rank; i++)
        if (!(without >> i & 1)) {
            if (n == rank || dim[n] != g->dim[i])
                return false;
            n++;
        }
    return n == rank;
}

/* Axes of v (as it is computed) -> axes of F, -1 where the size is 1; returns whether v stands inside the passes. */
int group_axis_map(const Group *g, const Val *v, int *axis_of)
{
    int32_t dim[MAXDIM];
    uint32_t inner;
    int rank = squeeze(v, dim, &inner);
    bool full = g->inner && rank == g->rank;
    for (int i = 0, f = 0; i < v->rank; i++) {
        axis_of[i] = -1;
        if (v->dim[i] == 1)
            continue;
        while (!full && g->inner >> f & 1)
            f++;
        axis_of[i] = f++;
    }
    return full;
}

/* Stride of every axis of F in the val's own layout. */
static void layout_on_axes(const Group *g, const Val *v, int64_t *stride, bool *full)
{
    int axis_of[MAXDIM];
    int32_t dim[MAXDIM];
    int64_t s[MAXDIM];
    int rank = val_layout(v, dim);
    dense_strides(rank, dim, s);
    *full = group_axis_map(g, v, axis_of) && (v->across || !op_reduces(v->op));
    memset(stride, 0, sizeof *stride * MAXDIM);
    for (int i = 0, o = 0; i < v->rank; i++) {
        if (op_reduces(v->op) && v->axes >> i & 1)
            continue;
        if (axis_of[i] >= 0)
            stride[axis_of[i]] = s[o];
        o++;
    }
}

bool group_inside(const Group *g, const Val *user, const View *in)
{
    const Val *v = in->val;
    int axis_of[MAXDIM];
    int64_t want[MAXDIM], have[MAXDIM] = { 0 };
    bool full, user_full = group_axis_map(g, user, axis_of);
    if (v->group != g || in->off || user->op == OP_PAD || v->op == OP_OUT || v->across)
        return false;
    layout_on_axes(g, v, want, &full);
    if (full && !user_full)
        return false;
    for (int i = 0; i < user->rank; i++)
        if (axis_of[i] >= 0)
            have[axis_of[i]] = in->stride[i];
    for (int f = 0; f < g->rank; f++)
        if (have[f] != want[f] && (user_full || !(g->inner >> f & 1)))
            return false;
    return true;
}

/* Does the user read operand k in the way of its nest (not as a table)? */
static bool in_registers(const Val *user, int k)
{
    return !(user->op == OP_GATHER && k == 0) && user->op != OP_PAD;
}

static bool edges_inside(const Group *g, const Val *v)
{
    for (int k = 0; k < v->nin; k++)
        if (v->in[k].val->group == g && (!in_registers(v, k) || !group_inside(g, v, &v->in[k])))
            return false;
    return true;
}

/* ---- joining */

static bool no_way_back(const Group *g, const Val *v)
{
    for (int k = 0; k < v->nin; k++) {
        const Group *from = v->in[k].val->group;
        if (from && from != g && group_depends(from, g))
            return false;
    }
    return true;
}

static int64_t group_size(const Group *g, uint32_t without)
{
    int64_t n = 1;
    for (int i = 0; i < g->rank; i++)
        if (!(without >> i & 1))
            n *= g->dim[i];
    return n;
}

/* Distinct values read from outside by the group and v. */
static int streams(const Group *g, const Val *v)
{
    const Val *seen[2 * MAX_STREAMS];
    int n = 0;
    for (int m = 0; m <= g->val.n; m++) {
        const Val *u = m < g->val.n ? g->val.at[m] : v;
        for (int k = 0; k < u->nin; k++) {
            const Val *x = u->in[k].val;
            bool known = x->pure || x->group == g;
            for (int i = 0; i < n && !known; i++)
                known = seen[i] == x;
            if (!known && n < 2 * MAX_STREAMS)
                seen[n++] = x;
        }
    }
    return n;
}

static bool reduces_to_slots(const Group *g, const Val *v)
{
    uint32_t all = (1u << g->rank) - 1;
    int32_t dim[MAXDIM];
    uint32_t inner;
    squeeze(v, dim, &inner);
    return op_reduces(v->op) && inner == all && group_size(g, 0) >= SLOT_SIZE;
}

/* A sum over outer loops of what the group computes: its parts are added up in memory while the loops run, if that is no axis
   which threads run along (there are none in a loop whose turns are a thread's own). Along the axis of vectors, they are added lane
   by lane, which takes room for every place inside. */
static bool may_join_across(const Rplan *rp, const Group *g, const Val *v)
{
    int32_t dim[MAXDIM];
    uint32_t axes;
    int rank = squeeze(v, dim, &axes), vector = g->rank - 1;
    if (g->kind != G_NEST || g->dead || g->slots > 1 || !axes || !g->inner || (axes & g->inner) || v->in[0].val->group != g)
        return false;
    if (!(g->inner >> vector & 1) && axes >> vector & 1 && (axes != 1u << vector || group_size(g, ~g->inner) > MOST_INSIDE))
        return false;
    if ((axes & 1 || g->inner & 1) && group_size(g, 0) > SMALL && !rp->entry->alone)
        return false;
    return is_shape(g, 0, rank, dim) && edges_inside(g, v) && g->val.n < MAX_MEMBERS;
}

static bool may_join(Group *g, const Val *v)
{
    int32_t dim[MAXDIM];
    uint32_t inner, was = g->inner;
    int rank = squeeze(v, dim, &inner);
    if (g->kind != G_NEST || g->dead || g->val.n >= MAX_MEMBERS)
        return false;
    if (inner) {
        if ((g->inner && g->inner != inner) || !is_shape(g, 0, rank, dim))
            return false;
        g->inner = inner;
    } else if (!is_shape(g, 0, rank, dim) && (!g->inner || g->slots > 1 || !is_shape(g, g->inner, rank, dim))) {
        return false;
    }
    bool ok = edges_inside(g, v) && no_way_back(g, v) && (group_size(g, 0) < 4096 || streams(g, v) <= MAX_STREAMS);
    if (g->slots > 1)
        for (int k = 0; k < v->nin; k++)
            ok = ok && !(v->in[k].val->group == g && op_reduces(v->in[k].val->op));
    if (ok && inner && !was && group_size(g, 0) >= SLOT_SIZE && group_size(g, inner) < SLOTS && !reduces_to_slots(g, v))
        ok = g->val.n == 0;      /* would leave too few rows to share out */
    g->inner = was;
    return ok;
}

static void join(Rplan *rp, Group *g, Val *v)
{
    int32_t dim[MAXDIM];
    uint32_t inner;
    squeeze(v, dim, &inner);
    v->group = g;
    v->across = inner && g->inner && inner != g->inner;
    if (v->across)
        g->alone |= (inner & 1) || (g->inner & 1);
    else if (inner)
        g->inner = inner;
    if (!v->across && reduces_to_slots(g, v))
        g->slots = SLOTS;
    PUSH(g->val, v);
    for (int k = 0; k < v->nin; k++)
        if (v->in[k].val->group)
            group_after(rp, g, v->in[k].val->group);
}

/* A copy of a leaf stands best where the leaf is read anyway. */
static Group *fellow_reader(Rplan *rp, const Val *v)
{
    const Val *x = v->in[0].val;
    for (int i = rp->val.n - 1; i >= 0 && !x->pure; i--) {
        const Val *u = rp->val.at[i];
        for (int k = 0; k < u->nin; k++)
            if (u->in[k].val == x && u->group && in_registers(u, k) && may_join(u->group, v))
                return u->group;
    }
    return NULL;
}

static Group *candidate(Rplan *rp, const Val *v)
{
    Group *best = NULL;
    for (int k = 0; k < v->nin; k++) {
        Group *g = v->in[k].val->group;
        if (g && (!best || g->id > best->id) && (may_join(g, v) || may_join_across(rp, g, v)))
            best = g;
    }
    if (best || v->rank)
        return best || v->op != I_COPY ? best : fellow_reader(rp, v);
    for (int i = rp->group.n - 1; i >= 0 && i >= rp->group.n - 16; i--)         /* scalars: any recent group of scalars */
        if (rp->group.at[i]->rank == 0 && may_join(rp->group.at[i], v))
            return rp->group.at[i];
    return NULL;
}

static void place(Rplan *rp, Val *v)
{
    Group *g = candidate(rp, v);
    if (!g) {
        uint32_t inner;
        g = group_new(rp, G_NEST);
        g->rank = squeeze(v, g->dim, &inner);
    }
    join(rp, g, v);
}

static GroupKind kind_of(int op)
{
    switch (op) {
    case OP_CONTRACT: return G_CONTRACT;
    case OP_CONCAT: return G_CONCAT;
    case OP_COND: return G_COND;
    case OP_LOOP: return G_LOOP;
    case OP_SCATTER: case OP_FOLD: case OP_CUMSUM: case OP_ARGSORT: case OP_ARGMAX: return G_MOVE;
    default: return G_NEST;
    }
}

static void place_alone(Rplan *rp, Val *v, GroupKind kind)
{
    Group *g = group_new(rp, kind);
    g->node = v->node;
    for (int k = 0; k < v->nin; k++)
        PUSH(g->reads, v->in[k]);
    join(rp, g, v);
}

/* ---- merging */

/* Can h (which takes from g) become a part of g? */
static bool may_merge(Group *g, Group *h)
{
    if (g->kind != G_NEST || h->kind != G_NEST || g->dead || h->dead || g->slots > 1 || h->slots > 1 || g->rank != h->rank)
        return false;
    if (memcmp(g->dim, h->dim, sizeof *g->dim * (size_t)g->rank) || (g->inner && h->inner && g->inner != h->inner))
        return false;
    if (g->val.n + h->val.n > MAX_MEMBERS || !group_depends(h, g))
        return false;
    return group_size(g, 0) < SLOT_SIZE || g->inner == h->inner || group_size(g, g->inner | h->inner) >= SLOTS;
}

static bool merged_is_sound(Rplan *rp, Group *g, Group *h)
{
    for (int i = 0; i < rp->group.n; i++) {
        Group *m = rp->group.at[i];
        if (m != g && m != h && !m->dead && group_depends(m, g) && group_depends(h, m))
            return false;
    }
    uint32_t inner = g->inner, hinner = h->inner;
    g->inner = h->inner = inner | hinner;
    bool ok = true;
    for (int i = 0; i < h->val.n; i++)
        h->val.at[i]->group = g;
    for (int i = 0; i < h->val.n && ok; i++)
        ok = edges_inside(g, h->val.at[i]);
    for (int i = 0; i < g->val.n && ok; i++)
        ok = edges_inside(g, g->val.at[i]);
    int n = 0;
    for (int i = 0; i < h->val.n && ok && group_size(g, 0) >= 4096; i++) {
        int s = streams(g, h->val.at[i]);
        n = s > n ? s : n;
        ok = n + h->val.n / 8 <= MAX_STREAMS;
    }
    if (!ok) {
        for (int i = 0; i < h->val.n; i++)
            h->val.at[i]->group = h;
        g->inner = inner;
        h->inner = hinner;
    }
    return ok;
}

static void merge(Rplan *rp, Group *g, Group *h)
{
    for (int i = 0; i < h->val.n; i++)
        PUSH(g->val, h->val.at[i]);
    h->dead = true;
    g->alone |= h->alone;
    for (int i = 0; i < rp->group.n; i++)
        if (i != g->id && !rp->group.at[i]->dead && has(h->deps, i))      /* a dead one may be a part of g, and come after it */
            group_after(rp, g, rp->group.at[i]);
    for (int i = 0; i < rp->group.n; i++)
        if (i != g->id && !rp->group.at[i]->dead && group_depends(rp->group.at[i], h))
            group_after(rp, rp->group.at[i], g);
}

/* Values of a group in program order, which is that of their numbers. */
static void sort_vals(Group *g)
{
    for (int i = 1; i < g->val.n; i++) {
        Val *v = g->val.at[i];
        int j = i;
        for (; j > 0 && g->val.at[j - 1]->id > v->id; j--)
            g->val.at[j] = g->val.at[j - 1];
        g->val.at[j] = v;
    }
}

/* Merges h into a group that it takes from, if it can. */
static bool merge_upwards(Rplan *rp, Group *h)
{
    for (int m = 0; m < h->val.n && !h->dead && h->kind == G_NEST; m++)
        for (int k = 0; k < h->val.at[m]->nin; k++) {
            Group *g = h->val.at[m]->in[k].val->group;
            if (g && g != h && may_merge(g, h) && merged_is_sound(rp, g, h)) {
                merge(rp, g, h);
                return true;
            }
        }
    return false;
}

static void merge_groups(Rplan *rp)
{
    for (bool again = true; again;) {
        again = false;
        for (int i = 0; i < rp->group.n; i++)
            again |= merge_upwards(rp, rp->group.at[i]);
    }
    for (int i = 0; i < rp->group.n; i++)
        sort_vals(rp->group.at[i]);
}

void plan_groups(Rplan *rp)
{
    rp->words = rp->val.n / 64 + 1;
    for (int i = 0; i < rp->val.n; i++) {
        Val *v = rp->val.at[i];
        if (v->nin == 0 && (v->stored || v->pure))
            continue;
        if (v->op == OP_OUT) {
            v->group = v->in[0].val->group;
            PUSH(v->group->out, v);
            continue;
        }
        GroupKind kind = kind_of(v->op);
        if (kind == G_NEST)
            place(rp, v);
        else
            place_alone(rp, v, kind);
    }
    merge_groups(rp);
}
