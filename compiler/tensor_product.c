/* tensor_product.c: products of Values that are contractions: a @ b, outer, dot.

   A contraction labels the axes of its two operands and of its result. Here a map axis that both operands have is a batch
   label, one that only one of them has is a free label of that side: so a layer applied to a batch is one product of all
   its rows with the weights. Labels 1 .. MAXDIM are the map axes by their place in the stack, those of the logical axes
   follow. */
#include <string.h>
#include "tensor.h"

enum { FIRST = MAXDIM + 1 };                          /* the first label of a logical axis */

/* Puts the labels of the map axes in front of those of n logical axes. */
static int with_map_axes(uint16_t set, int n, const int8_t *logical, int8_t *all)
{
    int k = 0;
    memset(all, 0, MAXDIM);
    for (int i = 0; i < axes.n; i++) if (set >> i & 1) all[k++] = (int8_t)(i + 1);
    memcpy(all + k, logical, (size_t)n);
    return k + n;
}

/* The sizes of the result's logical axes. */
static Shape result_sizes(Value a, Value b, const int8_t *la, const int8_t *lb, int n, const int8_t *lo)
{
    Shape s = {.rank = n};
    for (int i = 0; i < n && i < MAXDIM; i++) {
        for (int j = 0; j < v_rank(a); j++) if (la[j] == lo[i]) s.dim[i] = v_dim(a)[j];
        for (int j = 0; j < v_rank(b); j++) if (lb[j] == lo[i]) s.dim[i] = v_dim(b)[j];
    }
    return s;
}

static Value contract(Value a, Value b, const int8_t *la, const int8_t *lb, int n, const int8_t *lo, Loc at)
{
    Value v[2] = {a, b};
    Type t = v_common(2, v, true);
    uint16_t set = v_union(2, v);
    int8_t fa[MAXDIM], fb[MAXDIM], fo[MAXDIM];
    if (!v_fits(set, n, result_sizes(a, b, la, lb, n, lo).dim, at)) return v_err();
    a = v_to(a, t);
    b = v_to(b, t);
    with_map_axes(a.axes, v_rank(a), la, fa);
    with_map_axes(b.axes, v_rank(b), lb, fb);
    int rank = with_map_axes(set, n, lo, fo);
    return v_result(n_contract(a.node, b.node, fa, fb, rank, fo), set, t.weak, at);
}

static bool can_multiply(Value a, Value b, Loc at)
{
    int ra = v_rank(a), rb = v_rank(b);
    if (ra && rb && (ra != 1 || rb != 1) && ra - rb <= 1 && rb - ra <= 1) return true;
    const char *x = v_dims(a), *y = v_dims(b);
    if (!ra || !rb) error_at(at, "matrix product of %s and %s: a scalar is multiplied with *", x, y);
    else if (ra == 1 && rb == 1) error_at(at, "matrix product of two vectors, %s and %s: use dot(a, b), or outer(a, b)", x, y);
    else error_at(at, "matrix product of %s and %s: ranks %d and %d must be equal (matrices) or one apart (matrix and vector)",
                  x, y, ra, rb);
    v_places(a, b, at);
    return false;
}

static Value product_error(Value a, Value b, const char *which, int32_t x, int32_t y, Loc at)
{
    error_at(at, "matrix product of %s and %s: %s sizes %d and %d differ", v_dims(a), v_dims(b), which, x, y);
    v_places(a, b, at);
    return v_err();
}

/* [.., m, k] @ [.., k, n], [.., m, k] @ [.., k], [.., k] @ [.., k, n]: all leading axes are batch. */
Value v_product(Value a, Value b, Loc at)
{
    if (!can_multiply(a, b, at)) return v_err();
    int ra = v_rank(a), rb = v_rank(b), batch = ra == rb ? ra - 2 : (ra < rb ? ra : rb) - 1;
    int ib = rb >= ra ? rb - 2 : rb - 1, n = 0;       /* where b's summed axis is */
    const int32_t *da = v_dim(a), *db = v_dim(b);
    int8_t la[MAXDIM], lb[MAXDIM], lo[MAXDIM];
    if (da[ra - 1] != db[ib]) return product_error(a, b, "inner", da[ra - 1], db[ib], at);
    for (int i = 0; i < batch; i++) {
        if (da[i] != db[i]) return product_error(a, b, "leading", da[i], db[i], at);
        la[i] = lb[i] = lo[n++] = (int8_t)(FIRST + i);
    }
    la[ra - 1] = lb[ib] = (int8_t)(FIRST + batch);
    if (ra >= rb) la[ra - 2] = lo[n++] = (int8_t)(FIRST + batch + 1);
    if (rb >= ra) lb[rb - 1] = lo[n++] = (int8_t)(FIRST + batch + 2);
    return contract(a, b, la, lb, n, lo, at);
}

/* The axes of a, then those of b. */
Value v_outer(Value a, Value b, Loc at)
{
    int ra = v_rank(a), rb = v_rank(b);
    int8_t l[2*MAXDIM];
    for (int i = 0; i < ra + rb; i++) l[i] = (int8_t)(FIRST + i);
    return contract(a, b, l, l + ra, ra + rb, l, at);
}

Value v_dot(Value a, Value b, bool one, int axis, Loc at)
{
    int rank = v_rank(a), n = 0;
    int8_t l[MAXDIM], lo[MAXDIM];
    if (!v_equal_shape(a, b)) {
        error_at(at, "dot of %s and %s: the shapes must be equal", v_dims(a), v_dims(b));
        v_places(a, b, at);
        return v_err();
    }
    for (int i = 0; i < rank; i++) {
        l[i] = (int8_t)(FIRST + i);
        if (one && i != axis) lo[n++] = l[i];
    }
    return contract(a, b, l, l, n, lo, at);
}

/* m : [o, i] called with x : [.., i] gives [.., o]. */
Value v_linear(Value m, Value x, Loc at)
{
    m = v_need(m, at);
    x = v_need(x, at);
    if (m.kind == V_ERR || x.kind == V_ERR) return v_err();
    int rank = v_rank(x);
    if (v_rank(m) != 2) {
        error_at(at, "only matrices are called like functions, and this is %s", v_show(m));
        return v_err();
    }
    if (!rank || v_dim(x)[rank - 1] != v_dim(m)[1]) {
        error_at(at, "the linear map %s takes vectors of size %d, and this is %s", v_dims(m), v_dim(m)[1], v_show(x));
        v_places(m, x, at);
        return v_err();
    }
    int8_t lx[MAXDIM], lo[MAXDIM], lm[2] = {FIRST + MAXDIM, 0};
    for (int i = 0; i < rank; i++) lx[i] = lo[i] = (int8_t)(FIRST + i);
    lm[1] = lx[rank - 1];
    lo[rank - 1] = lm[0];
    return contract(x, m, lx, lm, rank, lo, at);
}
