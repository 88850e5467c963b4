/* tensor_index.c: parts of Values and Values put together: indexing, slices, gathers, reshape, stack, concat.

   What is known when compiling is checked here; an index that is computed becomes a GATHER, which has a place in the
   sites of the program and is checked while it runs. */
#include <string.h>
#include "tensor.h"

/* ---- axes in another order. Every axis gets a key; want is a permutation of have. */

enum { KEY_X = 100, KEY_INDEX = 200 };                /* map axes: their place in the stack; logical axes: from here */

static Node *arrange(Node *x, const int *have, const int *want)
{
    int8_t map[MAXDIM] = {0};
    bool same = true;
    for (int i = 0; i < x->rank; i++) {
        int j = 0;
        while (have[j] != want[i]) j++;
        map[i] = (int8_t)j;
        same = same && i == j;
    }
    return same ? x : n_perm(x, map);
}

static int map_keys(uint16_t set, int *key)
{
    int n = 0;
    for (int i = 0; i < axes.n; i++) if (set >> i & 1) key[n++] = i;
    return n;
}

static int logical_keys(int from, int to, int base, int *key)
{
    for (int i = from; i < to; i++) key[i - from] = base + i;
    return to > from ? to - from : 0;
}

Value v_move_axis(Value x, int from, int to)
{
    int have[MAXDIM], want[MAXDIM], rank = v_rank(x), k = map_keys(x.axes, have), n = k;
    logical_keys(0, rank, KEY_X, have + k);
    memcpy(want, have, sizeof(int) * (size_t)k);
    for (int i = 0, j = 0; i < rank; i++) {
        if (j == from) j++;
        want[n++] = KEY_X + (i == to ? from : j++);
    }
    x.node = arrange(x.node, have, want);
    x.state = NULL;
    return x;
}

/* ---- gather */

bool v_is_index(Value v, Loc at)
{
    Dt dt = v_dt(v);
    if (v.kind == V_NUM && v.nk == N_REAL) {
        int64_t i;
        if (v_integer(v, &i)) return true;
    }
    if (dt != BOOL && !dt_float(dt)) return true;
    error_at(at, "an index is a whole number, and this is %s of %s", v_show(v), dt_name(dt));
    if (dt == BOOL) note_at(at, "where(c, a, b) chooses by a bool");
    return false;
}

/* x[before.., n, after..] at index[k..] along `axis` -> [before.., k.., after..]. With nbatch = axis the axes before are
   shared: index[before.., k..]. A map axis of both is batch, of the index alone part of the index, of x alone carried along. */
Value v_gather(Value x, Value index, int axis, int nbatch, Loc at, const char *of)
{
    int have[2*MAXDIM], want[2*MAXDIM], hidx[2*MAXDIM], widx[2*MAXDIM], got[3*MAXDIM], end[3*MAXDIM];
    int rx = v_rank(x), ri = v_rank(index), nb, n, m, g, e;
    Value v[2] = {x, index};
    uint16_t both = x.axes & index.axes, set = v_union(2, v);
    Shape s = {0};
    for (int i = 0; i < axis; i++) s.dim[s.rank++] = v_dim(x)[i];
    for (int i = nbatch; i < ri && s.rank < MAXDIM; i++) s.dim[s.rank++] = v_dim(index)[i];
    for (int i = axis + 1; i < rx && s.rank < MAXDIM; i++) s.dim[s.rank++] = v_dim(x)[i];
    s.rank = rx - 1 + ri - nbatch;
    if (!v_fits(set, s.rank, s.dim, at)) return v_err();
    if (index.node->dt != I32 && index.node->dt != I64) index.node = n_cast(index.node, I32);

    n = map_keys(x.axes, have);
    logical_keys(0, rx, KEY_X, have + n);
    nb = map_keys(both, want);
    nb += logical_keys(0, nbatch, KEY_X, want + nb);
    memcpy(got, want, sizeof(int) * (size_t)nb);
    n = nb;
    want[n++] = KEY_X + axis;
    int rest = n;
    n += map_keys(x.axes & (uint16_t)~both, want + n);
    n += logical_keys(nbatch, axis, KEY_X, want + n);
    n += logical_keys(axis + 1, rx, KEY_X, want + n);

    m = map_keys(index.axes, hidx);
    logical_keys(0, nbatch, KEY_X, hidx + m);
    logical_keys(nbatch, ri, KEY_INDEX, hidx + m + nbatch);
    memcpy(widx, got, sizeof(int) * (size_t)nb);
    m = nb + map_keys(index.axes & (uint16_t)~both, widx + nb);
    m += logical_keys(nbatch, ri, KEY_INDEX, widx + m);

    memcpy(got + nb, widx + nb, sizeof(int) * (size_t)(m - nb));
    g = m;
    memcpy(got + g, want + rest, sizeof(int) * (size_t)(n - rest));

    e = map_keys(set, end);
    e += logical_keys(0, axis, KEY_X, end + e);
    e += logical_keys(nbatch, ri, KEY_INDEX, end + e);
    logical_keys(axis + 1, rx, KEY_X, end + e);

    Node *r = n_gather_of(arrange(x.node, have, want), arrange(index.node, hidx, widx), nb, at, of);
    return v_result(arrange(r, got, end), set, x.weak && index.weak, at);
}

/* ---- reshape */

static Node *node_reshape(Value x, const Shape *s)
{
    int32_t dim[MAXDIM];
    int k = v_naxes(x.axes);
    memcpy(dim, x.node->dim, sizeof(int32_t) * (size_t)k);
    memcpy(dim + k, s->dim, sizeof(int32_t) * (size_t)s->rank);
    return n_reshape(x.node, k + s->rank, dim);
}

static int64_t elements(Shape s)
{
    int64_t n = 1;
    for (int i = 0; i < s.rank; i++) n *= s.dim[i];
    return n;
}

Value v_reshape(Value x, Shape s, Loc at)
{
    Shape old = v_shape_of(x);
    if (elements(old) != elements(s)) {
        error_at(at, "reshape of %s to %s: %lld elements do not fill %lld", v_dims(x), shape_text(s.rank, s.dim),
                 (long long)elements(old), (long long)elements(s));
        v_places(x, v_err(), at);
        return v_err();
    }
    if (!v_fits(x.axes, s.rank, s.dim, at)) return v_err();
    return v_result(node_reshape(x, &s), x.axes, x.weak, at);
}

/* ---- indexing */

static Value drop_axis(Value x, int axis)
{
    Shape s = v_shape_of(x);
    memmove(s.dim + axis, s.dim + axis + 1, sizeof(int32_t) * (size_t)(s.rank - axis - 1));
    s.rank--;
    x.node = node_reshape(x, &s);
    return x;
}

static Value add_axis(Value x, int axis)
{
    Shape s = v_shape_of(x);
    memmove(s.dim + axis + 1, s.dim + axis, sizeof(int32_t) * (size_t)(s.rank - axis));
    s.dim[axis] = 1;
    s.rank++;
    x.node = node_reshape(x, &s);
    return x;
}

/* An index or a slice's end that is known when compiling; -1 is the last. */
static bool known_index(Value v, int64_t *i) { return (v.kind == V_NUM || v_rank(v) == 0) && v_integer(v, i); }

static bool inside(int64_t i, int64_t size, Value base, const char *what, Loc at)
{
    if (i >= -size && i < size) return true;
    error_at(at, "index %lld is outside of %s: it counts from 0 to %lld, or from -%lld to -1", (long long)i, what,
             (long long)size - 1, (long long)size);
    if (base.loc.line && (base.loc.line != at.line || base.loc.file != at.file))
        note_at(base.loc, "this is %s", v_show(base));
    return false;
}

static bool slice_end(Value v, int64_t size, int64_t *i, Loc at)
{
    if (v.kind == V_ERR) return false;
    if (!known_index(v, i)) {
        error_at(at, "the ends of a slice are whole numbers known when compiling, not %s; x[i + iota(n)] takes n from i on",
                 v_show(v));
        return false;
    }
    if (*i < 0) *i += size;
    return true;
}

/* from..to, exclusive, of an axis of some size */
static bool slice_bounds(const Index *ix, int64_t size, const char *what, int64_t *from, int64_t *to)
{
    *from = 0;
    *to = size;
    if (ix->has_from && !slice_end(ix->from, size, from, ix->loc)) return false;
    if (ix->has_to && !slice_end(ix->to, size, to, ix->loc)) return false;
    if (*from >= 0 && *to <= size && *from < *to) return true;
    long long a = *from, b = *to;
    if (a >= 0 && b <= size) error_at(ix->loc, "this slice of %s is empty: it goes from %lld to before %lld", what, a, b);
    else error_at(ix->loc, "this slice of %s goes from %lld to before %lld, outside of its %lld", what, a, b, (long long)size);
    return false;
}

static const char *axis_text(Value x, int axis) { return arena_printf("axis %d of %s", axis, v_dims(x)); }

typedef struct { Value x; int axis; bool gathered; } Cursor;       /* what is left, and its logical axis that comes next */

static bool take_new(Cursor *c, const Index *ix)
{
    Shape s = v_shape_of(c->x);
    if (s.rank < MAXDIM) s.dim[s.rank] = 1;
    if (!v_fits(c->x.axes, s.rank + 1, s.dim, ix->loc)) return false;
    c->x = add_axis(c->x, c->axis++);
    return true;
}

static bool take_slice(Cursor *c, const Index *ix)
{
    int64_t from, to, size = v_dim(c->x)[c->axis];
    int k = v_naxes(c->x.axes);
    if (!slice_bounds(ix, size, axis_text(c->x, c->axis), &from, &to)) return false;
    if (from || to != size) c->x.node = n_slice1(c->x.node, k + c->axis, (int32_t)from, (int32_t)(to - from), 1);
    c->axis++;
    return true;
}

static bool take_known(Cursor *c, int64_t i, const Index *ix)
{
    int64_t size = v_dim(c->x)[c->axis];
    if (!inside(i, size, c->x, axis_text(c->x, c->axis), ix->loc)) return false;
    c->x.node = n_slice1(c->x.node, v_naxes(c->x.axes) + c->axis, (int32_t)(i < 0 ? i + size : i), 1, 1);
    c->x = drop_axis(c->x, c->axis);
    return true;
}

static bool take_computed(Cursor *c, Value at, const Index *ix)
{
    int rank = v_rank(at);
    if (rank && c->gathered) {
        error_at(ix->loc, "two tensors as indices in one pair of brackets may mean two things: write x[i][:, j], or "
                 "gather(x, i) for one entry a row");
        return false;
    }
    Loc loc = c->x.loc;
    c->x = v_gather(c->x, at, c->axis, 0, ix->loc, ix->of);
    c->x.loc = loc;
    c->axis += rank;
    c->gathered = c->gathered || rank;
    return c->x.kind != V_ERR;
}

static bool take_index(Cursor *c, const Index *ix)
{
    int64_t i;
    if (ix->kind == IX_NEW) return take_new(c, ix);
    if (ix->kind == IX_SLICE) return take_slice(c, ix);
    Value at = v_need(ix->at, ix->loc);
    if (at.kind == V_ERR || !v_is_index(at, ix->loc)) return false;
    return known_index(at, &i) ? take_known(c, i, ix) : take_computed(c, at, ix);
}

static Value tensor_index(Value base, int n, const Index *ix, Loc at)
{
    int used = 0;
    for (int i = 0; i < n; i++) used += ix[i].kind != IX_NEW;
    if (used > v_rank(base)) {
        error_at(at, "%d %s for %s", used, used == 1 ? "index" : "indices", v_show(base));
        v_places(base, v_err(), at);
        return v_err();
    }
    Cursor c = {.x = base};
    for (int i = 0; i < n; i++) if (!take_index(&c, &ix[i])) return v_err();
    return v_result(c.x.node, c.x.axes, c.x.weak, at);
}

/* L[i], L[a:b] of lists and tuples; the rest of the indices goes to the element. */
static Value list_index(Value base, int n, const Index *ix, Loc at)
{
    int64_t i, from, to;
    const char *what = arena_printf("%s of %d", base.tuple ? "a tuple" : "a list", base.n);
    if (ix[0].kind == IX_SLICE) {
        if (!slice_bounds(&ix[0], base.n, what, &from, &to)) return v_err();
        Value part = v_list((int)(to - from), base.elem + from, base.tuple);
        part.loc = base.loc;
        return part;
    }
    known_index(ix[0].at, &i);
    if (!inside(i, base.n, base, what, ix[0].loc)) return v_err();
    Value e = base.elem[i < 0 ? i + base.n : i];
    return n > 1 ? v_index(e, n - 1, ix + 1, at) : e;
}

Value v_index(Value base, int n, const Index *ix, Loc at)
{
    int64_t i;
    graph_loc = at;
    if (base.kind == V_ERR) return base;
    for (int k = 0; k < n; k++) if (ix[k].kind == IX_AT && ix[k].at.kind == V_ERR) return v_err();
    if (base.kind == V_LIST && n) {
        bool known = ix[0].kind == IX_AT && known_index(ix[0].at, &i);
        if (known || (ix[0].kind == IX_SLICE && n == 1)) return list_index(base, n, ix, at);
    }
    base = v_as_tensor(base, at);
    return base.kind == V_ERR ? base : tensor_index(base, n, ix, at);
}

/* ---- stack and concat */

/* All as tensors of one type; false after a message. */
static bool same_type(int n, const Value *v, Value *out, Type *t, Loc at)
{
    for (int i = 0; i < n; i++) {
        out[i] = v_need(v[i], at);
        if (out[i].kind == V_ERR) return false;
    }
    *t = v_common(n, out, false);
    for (int i = 0; i < n; i++) {
        Loc loc = out[i].loc;
        out[i] = v_to(out[i], *t);
        out[i].loc = loc;
    }
    return true;
}

static Value unequal(const char *what, Value a, Value b, Loc at)
{
    error_at(at, "%s of %s and %s: the shapes must be equal", what, v_dims(a), v_dims(b));
    v_places(a, b, at);
    return v_err();
}

Value v_stack(int n, const Value *v, int axis, Loc at)
{
    Value *x = NEWN(Value, n);
    Node **part = NEWN(Node *, n);
    Type t;
    if (!same_type(n, v, x, &t, at)) return v_err();
    uint16_t set = v_union(n, x);
    Shape s = v_shape_of(x[0]);
    if (s.rank < MAXDIM) s.dim[s.rank] = n;
    if (!v_fits(set, s.rank + 1, s.dim, at)) return v_err();
    for (int i = 0; i < n; i++) {
        if (!v_equal_shape(x[0], x[i])) return unequal("a stack", x[0], x[i], at);
        Value full = {.kind = V_TENSOR, .node = v_full(x[i], set, s.rank, s.dim), .axes = set};
        part[i] = add_axis(full, axis).node;
    }
    return v_result(n_concat(n, part, v_naxes(set) + axis), set, t.weak, at);
}

/* The shape of pieces laid end to end along an axis; false after a message. */
static bool whole_shape(int n, const Value *x, int axis, Shape *whole, Loc at)
{
    double length = 0;
    *whole = v_shape_of(x[0]);
    for (int i = 0; i < n; i++) {
        Shape s = v_shape_of(x[i]);
        bool ok = s.rank == whole->rank;
        for (int j = 0; ok && j < s.rank; j++) ok = j == axis || s.dim[j] == whole->dim[j];
        if (!ok) {
            error_at(at, "concat of %s and %s: the shapes may differ at axis %d only", v_dims(x[0]), v_dims(x[i]), axis);
            v_places(x[0], x[i], at);
            return false;
        }
        length += s.dim[axis];
    }
    if (length > INT32_MAX) {
        error_at(at, "this concat has an axis of %.0f, which is too large", length);
        return false;
    }
    whole->dim[axis] = (int32_t)length;
    return v_fits(v_union(n, x), whole->rank, whole->dim, at);
}

/* Numbers and scalars count as vectors of one element. */
Value v_concat(int n, const Value *v, bool last, int axis, Loc at)
{
    Value *x = NEWN(Value, n);
    Node **part = NEWN(Node *, n);
    Shape whole;
    Type t;
    if (!same_type(n, v, x, &t, at)) return v_err();
    uint16_t set = v_union(n, x);
    for (int i = 0; i < n; i++) {
        if (v_rank(x[i])) continue;
        if (!v_fits(x[i].axes, 1, (int32_t[]){1}, at)) return v_err();
        x[i] = add_axis(x[i], 0);
    }
    int rank = v_rank(x[0]), asked = axis;
    if (last) axis = rank - 1;
    else if (axis < 0) axis += rank;
    if (axis < 0 || axis >= rank) {
        error_at(at, "concat of %s has no axis %d", v_dims(x[0]), asked);
        return v_err();
    }
    if (!whole_shape(n, x, axis, &whole, at)) return v_err();
    for (int i = 0; i < n; i++) part[i] = v_full(x[i], set, rank, v_shape_of(x[i]).dim);
    return v_result(n == 1 ? part[0] : n_concat(n, part, v_naxes(set) + axis), set, t.weak, at);
}
