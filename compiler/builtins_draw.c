/* builtins_draw.c: random numbers. A draw is a pure function of the program's seed, the step, the item, the place of the
   draw (its site) and the number of the element in the drawn shape, row-major: bits(seed, step, item, element; word, site).
   So the same program with the same seed draws the same numbers, wherever and in whatever order it is run.

   Requires `draws` to say where we are. The result is mapped over the axes of draws.item: items of a batch draw their own. */
#include <math.h>
#include <string.h>
#include "tensor.h"

uint64_t hash_text(const char *s, uint64_t h)
{
    h ^= 0xcbf29ce484222325u;
    for (; *s; s++) h = (h ^ (unsigned char)*s) * 0x100000001b3u;
    return h;
}

/* Equal inputs give equal outputs, near ones give far ones. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

typedef struct { Node *item, *element; uint16_t set; Shape s; uint64_t site; } Draw;

/* One draw of a shape, at a site of its own; false after a message. */
static bool draw_begin(Draw *d, Shape s, Loc at)
{
    if (!draws.seed) {
        error_at(at, "random numbers can be drawn in models, rules, streams and initial values only");
        return false;
    }
    d->set = draws.item ? draws.item_axes : 0;
    d->s = s;
    d->site = mix(hash_text(draws.path ? draws.path : "", 0) + 0x9e3779b97f4a7c15u * (uint64_t)draws.ndraws++);
    if (!v_fits(d->set, s.rank, s.dim, at)) return false;
    int32_t n = 1;
    for (int i = 0; i < s.rank; i++) n *= s.dim[i];
    Node *number = n_reshape(n_iota(I64, 1, &n, 0), s.rank, s.dim);
    Value item = v_tensor(draws.item ? draws.item : n_iconst(I64, 0), d->set);
    d->element = v_full(v_tensor(number, 0), d->set, s.rank, s.dim);
    d->item = v_full(item, d->set, s.rank, s.dim);
    return true;
}

static Node *draw_bits(const Draw *d, int word)
{
    return n_bits(draws.seed, draws.step ? draws.step : n_iconst(I64, 0), d->item, d->element, word, d->site);
}

/* The upper 24 bits, as a number in [0, 1): exact in every float type. */
static Node *unit(const Draw *d, int word)
{
    Node *high = n_bin(OP_IDIV, draw_bits(d, word), n_iconst(U32, 256));
    return n_bin(OP_MUL, n_cast(high, float_dt()), n_const(float_dt(), 0x1p-24));
}

/* ---- arguments: [shape,] then numbers */

static bool draw_shape(int *n, const Value **arg, Shape *s, Loc at)
{
    *s = (Shape){0};
    if (!*n || (*arg)[0].kind != V_LIST) return true;
    if (!shape_argument((*arg)[0], s, at)) return false;
    double size = 1;
    for (int i = 0; i < s->rank; i++) size *= s->dim[i];
    if (size > INT32_MAX) {
        error_at(at, "a draw of shape %s is too large", shape_text(s->rank, s->dim));
        return false;
    }
    --*n;
    ++*arg;
    return true;
}

static Value too_many(const char *name, const char *how, Loc at)
{
    error_at(at, "%s is called as %s", name, how);
    return v_err();
}

/* Bounds may have axes, but do not add any to what is drawn. */
static Value as_drawn(const char *name, Value r, const Draw *d, Loc at)
{
    if (r.kind == V_ERR) return r;
    if (v_rank(r) == d->s.rank && !memcmp(v_dim(r), d->s.dim, sizeof(int32_t) * (size_t)d->s.rank)) return r;
    error_at(at, "%s draws %s here, but its arguments have shape %s: write %s(%s, ..)", name,
             d->s.rank ? shape_text(d->s.rank, d->s.dim) : "one number", v_dims(r), name, v_dims(r));
    return v_err();
}

/* Box and Muller: sqrt(-2 log(u)) cos(2 pi v), u in (0, 1] so that the logarithm is finite */
Value draw_normal(int n, const Value *arg, Loc at)
{
    Draw d;
    Shape s;
    if (!draw_shape(&n, &arg, &s, at)) return v_err();
    if (n > 1) return too_many("normal", "normal(), normal(sd), normal([n, d]) or normal([n, d], sd)", at);
    if (!draw_begin(&d, s, at)) return v_err();
    Dt dt = float_dt();
    Node *u = n_bin(OP_SUB, n_const(dt, 1), unit(&d, 0));
    Node *radius = n_un(OP_SQRT, n_bin(OP_MUL, n_un(OP_LOG, u), n_const(dt, -2)));
    Node *angle = n_bin(OP_MUL, unit(&d, 1), n_const(dt, 6.283185307179586476925));
    Value z = v_result(n_bin(OP_MUL, radius, n_un(OP_COS, angle)), d.set, false, at);
    return n ? as_drawn("normal", v_binary('*', z, arg[0], at), &d, at) : z;
}

/* a + (b - a) u */
Value draw_uniform(int n, const Value *arg, Loc at)
{
    Draw d;
    Shape s;
    if (!draw_shape(&n, &arg, &s, at)) return v_err();
    if (n != 0 && n != 2) return too_many("uniform", "uniform(), uniform(a, b), uniform([n, d]) or uniform([n, d], a, b)", at);
    if (!draw_begin(&d, s, at)) return v_err();
    Value u = v_result(unit(&d, 0), d.set, false, at);
    if (!n) return u;
    Value width = v_binary('-', arg[1], arg[0], at);
    return as_drawn("uniform", v_binary('+', arg[0], v_binary('*', width, u, at), at), &d, at);
}

/* floor(n bits / 2^32): each of 0 .. n-1 equally often, but for 1 in 2^32 / n */
Value draw_randint(int n, const Value *arg, Loc at)
{
    Draw d;
    Shape s;
    int64_t top;
    if (!draw_shape(&n, &arg, &s, at)) return v_err();
    if (n != 1) return too_many("randint", "randint(n) or randint([m, d], n)", at);
    Value limit = v_need(arg[0], at);
    if (limit.kind == V_ERR || !v_is_index(limit, at)) return v_err();
    if (v_integer(limit, &top) && (top < 1 || top > INT32_MAX)) {
        error_at(at, "randint draws one of 0 to n - 1, and n is %lld", (long long)top);
        return v_err();
    }
    if (!draw_begin(&d, s, at)) return v_err();
    Value bits = v_result(n_cast(draw_bits(&d, 0), I64), d.set, false, at);
    Value scaled = as_drawn("randint", v_zip(OP_MUL, bits, limit, (Type){I64, false}, at), &d, at);
    if (scaled.kind == V_ERR) return scaled;
    Node *k = n_bin(OP_IDIV, scaled.node, n_iconst(I64, INT64_C(1) << 32));
    return v_result(n_cast(k, I32), scaled.axes, false, at);
}

/* The order of n draws; of equal ones that of their places, so each of 0 .. n-1 comes once in any case. */
Value draw_permutation(int n, const Value *arg, Loc at)
{
    Draw d;
    int64_t size = 0;
    (void)n;
    if (!v_is_num(arg[0]) || !v_integer(arg[0], &size) || size < 1 || size > INT32_MAX) {
        error_at(at, "permutation takes a whole number of at least 1 that is known when compiling, not %s", v_show(arg[0]));
        return v_err();
    }
    if (!draw_begin(&d, (Shape){.rank = 1, .dim = {(int32_t)size}}, at)) return v_err();
    Node *keys = n_cast(draw_bits(&d, 0), I64);
    return v_result(n_argsort(keys, keys->rank - 1), d.set, false, at);
}
