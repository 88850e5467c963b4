/* elab_context.c: what a level runs over: sequences, chunks of them, ranges. Each becomes a Value whose leading axis is
   that of the items. chunks(x, n) of a sequence that n does not divide is a context in two parts; the second is one
   item, shorter than the others. */
#include <string.h>
#include "elab_int.h"

static bool is_chunks(Ast *e)
{
    return e->kind == E_CALL && e->a->kind == E_NAME && !strcmp(e->a->name, "chunks") && e->n == 2;
}

static bool context_length(Value v, int32_t *t, Loc at)
{
    int rank; int32_t dim[MAXDIM];
    if (!v_shape(v, &rank, dim) || !rank) {
        error_at(at, "a level runs over a sequence, and this is %s", v_show(v));
        return false;
    }
    *t = dim[0];
    return true;
}

static Value take_rows(Value v, int32_t from, int32_t to, Loc at)
{
    Index ix = { IX_SLICE, .has_from = true, .has_to = true, .from = v_int(from), .to = v_int(to), .loc = at };
    return v_index(v, 1, &ix, at);
}

/* chunks(x, n): [T/n, n, ..], and a shorter last one. part 0: the whole chunks, 1: the rest. */
static Value chunk_part(Value v, int64_t n, int part, int32_t *trip, Loc at)
{
    int rank; int32_t dim[MAXDIM], t = 0;
    if (!context_length(v, &t, at)) return v_err();
    v_shape(v, &rank, dim);
    int32_t whole = (int32_t)(t / n), len = part ? (int32_t)(t % n) : (int32_t)n;
    *trip = part ? len > 0 : whole;
    if (!*trip) return v_none();
    if (rank + 1 > MAXDIM) { error_at(at, "too many axes"); return v_err(); }
    v = part ? take_rows(v, whole * (int32_t)n, t, at) : whole * n == t ? v : take_rows(v, 0, whole * (int32_t)n, at);
    Value *shape = NEWN(Value, rank + 1);
    shape[0] = v_int(*trip); shape[1] = v_int(len);
    for (int i = 1; i < rank; i++) shape[i + 1] = v_int(dim[i]);
    Value arg[2] = { v, v_list(rank + 1, shape, false) };
    return builtin_call(builtin_find("reshape"), 2, arg, (const char *[2]){ NULL, NULL }, at);
}

static Value range_context(Scope *s, Ast *e, int32_t *trip)
{
    Value a = eval(s, e->a), b = eval(s, e->b);
    int64_t x, y;
    if (a.kind == V_ERR || b.kind == V_ERR) return v_err();
    if (!v_integer(a, &x) || !v_integer(b, &y)) {
        error_at(e->loc, "a range runs over whole numbers known when compiling");
        return v_err();
    }
    if (y < x || y - x >= 1 << 30) {
        error_at(e->loc, "a level runs over at least one item, and this range has %lld",
                 (long long)(y < x ? 0 : y - x + 1));
        return v_err();
    }
    *trip = (int32_t)(y - x + 1);
    return v_tensor(n_bin(OP_ADD, n_iota(I32, 1, trip, 0), n_iconst(I32, x)), 0);
}

/* Fills the context of one part; trip 0: there is no such part. */
bool context_part(Scope *s, Ast *st, int part, Context *c)
{
    c->n = st->n; c->trip = -1;
    for (int i = 0; i < st->n; i++) {
        Ast *e = st->list[i];
        int32_t trip = 0;
        int64_t n;
        if (is_chunks(e)) {
            Value v = eval(s, e->list[0]), k = eval(s, e->list[1]);
            if (v.kind == V_ERR || k.kind == V_ERR) return false;
            v = v_as_tensor(v, e->list[0]->loc);
            if (!v_integer(k, &n) || n < 1) {
                error_at(e->list[1]->loc, "a chunk is a whole number of items, at least 1, known when compiling, not "
                                          "%s", v_show(k));
                return false;
            }
            if (v.kind == V_ERR) return false;
            c->v[i] = chunk_part(v, n, part, &trip, e->loc);
        } else if (part) c->v[i] = v_none();
        else if (e->kind == E_RANGE) c->v[i] = range_context(s, e, &trip);
        else {
            c->v[i] = v_as_tensor(eval(s, e), e->loc);
            if (c->v[i].kind == V_ERR || !context_length(c->v[i], &trip, e->loc)) return false;
        }
        if (c->v[i].kind == V_ERR) return false;
        if (c->trip >= 0 && trip != c->trip && !part) {
            error_at(e->loc, "the level's contexts have %d and %d items", c->trip, trip);
            return false;
        }
        c->trip = c->trip < 0 || trip < c->trip ? trip : c->trip;
    }
    return true;
}
