/* derive.c: streams that are made by a program or from other streams: gen, map, slice, when, cat, mix, window.
   Each says how many items it has (prepare) and where item i comes from (fetch). */
#include "rt.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- what runs an entry of the program for one item: buffers of the inputs and outputs, per thread */
typedef struct { void **out; const void **in; char *arena, *scratch; } Worker;

static Worker *workers(Stream *s)
{
    const Entry *e = &s->desc->entry[s->entry];
    Worker *w = rt_alloc(sizeof *w * (size_t)team_threads());
    for (int t = 0; t < team_threads(); t++) {
        w[t].in = rt_alloc(sizeof *w->in * (size_t)(s->ntake + s->nonce));
        for (int k = 0; k < s->nonce; k++)
            w[t].in[s->ntake + k] = s->kept[k];
        w[t].out = rt_alloc(sizeof *w->out * (size_t)e->nout);
        for (int k = 0; k < e->nout; k++)
            w[t].out[k] = rt_alloc(e->out[k].bytes);
        w[t].arena = rt_alloc(e->arena);
        w[t].scratch = rt_alloc(e->scratch);
    }
    return w;
}

/* Input k of the entry: a field of the source or, behind these, what `once` gave. NULL: there is none. */
static const Shape *given(const Stream *s, int k)
{
    if (k < s->ntake)
        return s->nsrc ? &stream_src(s, 0)->field[s->take[k]].shape : NULL;
    return k < s->ntake + s->nonce ? &s->desc->entry[s->once].out[k - s->ntake] : NULL;
}

static void check_entry(const Stream *s, bool fields)
{
    bool ok = s->entry >= 0;
    const Entry *e = ok ? &s->desc->entry[s->entry] : NULL;
    ok = ok && e->nout == (fields ? s->nfield : 1);
    for (int k = 0; ok && k < e->nin; k++) {
        const Shape *from = given(s, k);
        ok = from && (e->in[k].count < 0 || (e->in[k].type == from->type && e->in[k].bytes == from->bytes));
    }
    for (int k = 0; ok && fields && k < e->nout; k++)
        ok = e->out[k].type == s->field[k].shape.type && e->out[k].bytes == s->field[k].shape.bytes;
    if (!ok || (!fields && e->out[0].bytes != 1))
        stream_fail(s, "its function does not fit its fields; compile the program again");
}

/* Room for what `once` gives. */
static void once_open(Stream *s)
{
    const Entry *e = s->once >= 0 ? &s->desc->entry[s->once] : NULL;
    s->nonce = e ? e->nout : 0;
    s->kept = rt_alloc(sizeof *s->kept * (size_t)s->nonce);
    for (int k = 0; k < s->nonce; k++)
        s->kept[k] = rt_alloc(e->out[k].bytes);
}

/* What does not depend on the item, for this seed. */
static void once_run(Stream *s)
{
    if (s->once < 0)
        return;
    Call c = {.out = s->kept, .count = 1, .seed = s->seed};
    nl_status st = alone_call(s->once, &c, NULL, NULL);
    stream_status(s, &st);
}

static void run_entry(const Stream *s, Worker *w, int64_t i)
{
    Call c = {.in = w->in, .out = w->out, .count = 1, .index = i, .seed = s->seed};
    nl_status st = alone_call(s->entry, &c, w->arena, w->scratch);
    stream_status(s, &st);
}

/* Item i of the source into the temporaries of this thread, then the entry. */
static Worker *run_on_source(const Stream *s, int64_t i, int tid)
{
    Worker *w = (Worker *)s->own + tid;
    Stream *src = stream_src(s, 0);
    src->reader->fetch(src, i, tid, s->tmp[tid]);
    for (int k = 0; k < s->ntake; k++)
        w->in[k] = s->tmp[tid][s->take[k]];
    run_entry(s, w, i);
    return w;
}

static void copy_fields(const Stream *s, const Worker *w, void *const *out)
{
    for (int k = 0; k < s->nfield; k++)
        memcpy(out[k], w->out[k], s->field[k].shape.bytes);
}

/* ---- gen: no end */
static void gen_open(Stream *s, const Desc *d)
{
    (void)d;
    once_open(s);
    check_entry(s, true);
    s->own = workers(s);
    s->count = ENDLESS;
}

static void gen_prepare(Stream *s, const Desc *d)
{
    (void)d;
    once_run(s);
}

static void gen_fetch(Stream *s, int64_t i, int tid, void *const *out)
{
    Worker *w = (Worker *)s->own + tid;
    run_entry(s, w, i);
    copy_fields(s, w, out);
}

const Reader derive_gen = {"gen", gen_open, gen_prepare, gen_fetch, NULL};

/* ---- map: an item from each item of the source */
static void map_open(Stream *s, const Desc *d)
{
    (void)d;
    once_open(s);
    check_entry(s, true);
    s->own = workers(s);
    stream_temps(s, stream_src(s, 0));
}

static void map_prepare(Stream *s, const Desc *d)
{
    (void)d;
    once_run(s);
    s->count = stream_src(s, 0)->count;
}

static void map_fetch(Stream *s, int64_t i, int tid, void *const *out)
{
    copy_fields(s, run_on_source(s, i, tid), out);
}

const Reader derive_map = {"map", map_open, map_prepare, map_fetch, NULL};

/* ---- the others hand on the fields of their source */
static void check_same_fields(const Stream *s)
{
    for (int j = 0; j < s->nsrc; j++) {
        const Stream *src = stream_src(s, j);
        bool ok = src->nfield == s->nfield;
        for (int k = 0; ok && k < s->nfield; k++)
            ok = src->field[k].shape.type == s->field[k].shape.type && src->field[k].shape.bytes == s->field[k].shape.bytes;
        if (!ok)
            stream_fail(s, "its fields are not those of %s; compile the program again", src->name);
    }
    if (s->nsrc < 1)
        stream_fail(s, "it has no source; compile the program again");
}

static void same_open(Stream *s, const Desc *d)
{
    (void)d;
    check_same_fields(s);
}

static void fetch_from(const Stream *s, int k, int64_t i, int tid, void *const *out)
{
    Stream *src = stream_src(s, k);
    src->reader->fetch(src, i, tid, out);
}

/* ---- slice: items lo..hi-1, the start is kept in n */
static int64_t slice_edge(const Stream *s, double at, bool percent, int64_t count)
{
    if (count == ENDLESS && (percent || at < 0))
        stream_fail(s, "its source has no end, so it cannot be counted from there");
    if (percent)
        return (int64_t)floor((double)count * at / 100 + 1e-9);
    return at < 0 ? count + (int64_t)at : (int64_t)at;
}

static void slice_prepare(Stream *s, const Desc *d)
{
    (void)d;
    int64_t count = stream_src(s, 0)->count;
    int64_t lo = slice_edge(s, s->lo, s->lo_pct, count);
    int64_t hi = s->hi_open ? count : slice_edge(s, s->hi, s->hi_pct, count);
    if (count != ENDLESS && (lo < 0 || lo > count || hi > count))
        stream_fail(s, "%s has %lld items, so there are no items %lld to %lld", stream_src(s, 0)->name, (long long)count, (long long)lo,
                    (long long)hi - 1);
    if (hi != ENDLESS && hi < lo)
        stream_fail(s, "it ends (%lld) before it begins (%lld)", (long long)hi, (long long)lo);
    s->n = lo;
    s->count = hi == ENDLESS ? ENDLESS : hi - lo;
}

static void slice_fetch(Stream *s, int64_t i, int tid, void *const *out) { fetch_from(s, 0, s->n + i, tid, out); }

const Reader derive_slice = {"slice", same_open, slice_prepare, slice_fetch, NULL};

/* ---- when: the numbers of the items that pass. Of a source without end they are found as they are asked for. */
typedef struct { int64_t *at, n, cap, seen; Worker *worker; } Passing;
enum { LONG_SEARCH = 10000000 };

static bool passes(Stream *s, int64_t i, int tid)
{
    Passing *p = s->own;
    Stream *src = stream_src(s, 0);
    Worker *w = &p->worker[tid];
    src->reader->fetch(src, i, tid, s->tmp[tid]);
    for (int k = 0; k < s->ntake; k++)
        w->in[k] = s->tmp[tid][s->take[k]];
    run_entry(s, w, i);
    return *(const unsigned char *)w->out[0] != 0;
}

static void look_at_next(Stream *s, int tid)
{
    Passing *p = s->own;
    if (passes(s, p->seen, tid)) {
        if (p->n == p->cap)
            p->at = rt_grow(p->at, sizeof *p->at * (size_t)(p->cap = p->cap ? 2 * p->cap : 1024));
        p->at[p->n++] = p->seen;
    }
    p->seen++;
}

static void when_open(Stream *s, const Desc *d)
{
    (void)d;
    check_same_fields(s);
    once_open(s);
    check_entry(s, false);
    Passing *p = rt_alloc(sizeof *p);
    p->worker = workers(s);
    s->own = p;
    stream_temps(s, stream_src(s, 0));
}

static void when_prepare(Stream *s, const Desc *d)
{
    (void)d;
    Passing *p = s->own;
    once_run(s);
    int64_t count = stream_src(s, 0)->count;
    p->n = p->seen = 0;
    s->count = ENDLESS;
    s->ordered = count == ENDLESS;
    if (s->ordered)
        return;
    while (p->seen < count)
        look_at_next(s, 0);
    s->count = p->n;
}

static void when_fetch(Stream *s, int64_t i, int tid, void *const *out)
{
    Passing *p = s->own;
    for (int64_t from = p->seen; i >= p->n; look_at_next(s, tid))
        if (p->seen - from > LONG_SEARCH)
            stream_fail(s, "none of %d items in a row passes", LONG_SEARCH);
    fetch_from(s, 0, p->at[i], tid, out);
}

static void when_close(Stream *s) { free(((Passing *)s->own)->at); }

const Reader derive_when = {"when", when_open, when_prepare, when_fetch, when_close};

/* ---- cat: one after the other */
static void cat_prepare(Stream *s, const Desc *d)
{
    (void)d;
    s->count = 0;
    for (int k = 0; k < s->nsrc; k++) {
        int64_t n = stream_src(s, k)->count;
        if (s->count == ENDLESS)
            stream_fail(s, "nothing can follow %s, which has no end", stream_src(s, k - 1)->name);
        s->count = n == ENDLESS ? ENDLESS : s->count + n;
    }
}

static void cat_fetch(Stream *s, int64_t i, int tid, void *const *out)
{
    int k = 0;
    for (; k + 1 < s->nsrc && stream_src(s, k)->count != ENDLESS && i >= stream_src(s, k)->count; k++)
        i -= stream_src(s, k)->count;
    fetch_from(s, k, i, tid, out);
}

const Reader derive_cat = {"cat", same_open, cat_prepare, cat_fetch, NULL};

/* ---- mix: item i is drawn: a source by its weight, then one of its items (of a source without end, its item i) */
static void mix_prepare(Stream *s, const Desc *d)
{
    (void)d;
    double sum = 0;
    s->count = ENDLESS;
    for (int k = 0; k < s->nsrc; k++) {
        if (!(s->weight[k] >= 0) || !isfinite(s->weight[k]))
            stream_fail(s, "the weight of %s is %g; it must not be negative", stream_src(s, k)->name, s->weight[k]);
        if (stream_src(s, k)->count == 0 && s->weight[k] > 0)
            stream_fail(s, "%s has no items", stream_src(s, k)->name);
        sum += s->weight[k];
    }
    if (!(sum > 0))
        stream_fail(s, "its weights add up to %g", sum);
}

static void mix_fetch(Stream *s, int64_t i, int tid, void *const *out)
{
    double sum = 0, u = (double)(stream_draw(s, "source", i) >> 11) * 0x1p-53;
    int k = 0, last = 0;
    for (int j = 0; j < s->nsrc; j++) {
        sum += s->weight[j];
        last = s->weight[j] > 0 ? j : last;
    }
    for (u *= sum; k < last && u >= s->weight[k]; k++)
        u -= s->weight[k];
    int64_t n = stream_src(s, k)->count;
    fetch_from(s, k, n == ENDLESS ? i : (int64_t)(stream_draw(s, "item", i) % (uint64_t)n), tid, out);
}

const Reader derive_mix = {"mix", same_open, mix_prepare, mix_fetch, NULL};

/* ---- window: n items in a row, at 0, step, 2 step, ... or anywhere */
static void window_open(Stream *s, const Desc *d)
{
    (void)d;
    bool ok = s->nsrc == 1 && s->n >= 1 && (s->anywhere || s->step >= 1) && stream_src(s, 0)->nfield == s->nfield;
    for (int k = 0; ok && k < s->nfield; k++) {
        const Shape *one = &stream_src(s, 0)->field[k].shape, *all = &s->field[k].shape;
        ok = one->type == all->type && one->count * s->n == all->count;
    }
    if (!ok)
        stream_fail(s, "its fields are not those of its source; compile the program again");
    s->own = rt_alloc(sizeof(void *) * (size_t)(s->nfield * team_threads()));
}

static void window_prepare(Stream *s, const Desc *d)
{
    (void)d;
    int64_t count = stream_src(s, 0)->count;
    s->count = count == ENDLESS || s->anywhere ? ENDLESS : count < s->n ? 0 : (count - s->n) / s->step + 1;
    if (s->anywhere && count == ENDLESS)
        stream_fail(s, "windows anywhere need a source with an end");
    if (s->anywhere && count < s->n)
        stream_fail(s, "%s has %lld items, fewer than a window of %lld", stream_src(s, 0)->name, (long long)count, (long long)s->n);
}

static void window_fetch(Stream *s, int64_t i, int tid, void *const *out)
{
    Stream *src = stream_src(s, 0);
    void **slot = (void **)s->own + (ptrdiff_t)tid * s->nfield;
    int64_t at = s->anywhere ? (int64_t)(stream_draw(s, "window", i) % (uint64_t)(src->count - s->n + 1)) : i * s->step;
    for (int64_t t = 0; t < s->n; t++) {
        for (int k = 0; k < s->nfield; k++)
            slot[k] = (char *)out[k] + (size_t)t * src->field[k].shape.bytes;
        src->reader->fetch(src, at + t, tid, slot);
    }
}

const Reader derive_window = {"window", window_open, window_prepare, window_fetch, NULL};
