/* feed.c: batches of a stream's items in the buffers of a step's entry.

   pos counts the items (with lanes: the rows of items) that the instance's trains have read from the stream: it says
   epoch and place within it. A batch never crosses the end; the places of missing items are filled with copies of item
   0. */
#include "rt.h"
#include <stdlib.h>
#include <string.h>

static void feed_buffers(Feed *f)
{
    int n = f->d->nfield;
    f->in = rt_alloc(sizeof *f->in * (size_t)n);
    f->item = rt_alloc(sizeof *f->item * (size_t)n);
    for (int k = 0; k < n; k++) {
        f->item[k] = f->d->field[k].shape.bytes;
        f->in[k] = rt_alloc(f->item[k] * (size_t)f->d->batch);
    }
    if (!f->s)
        return;
    f->tmp = rt_alloc(sizeof *f->tmp * (size_t)(f->s->nfield * team_threads()));
    f->slot = rt_alloc(sizeof *f->slot * (size_t)(f->s->nfield * team_threads()));
    f->direct = rt_alloc(sizeof *f->direct * (size_t)f->s->nfield);
    for (int j = 0; j < f->s->nfield * team_threads(); j++)
        f->tmp[j] = rt_alloc(f->s->field[j % f->s->nfield].shape.bytes);
    for (int j = 0; j < f->s->nfield; j++)
        f->direct[j] = -1;
    for (int k = 0; k < n; k++) {
        int j = f->d->field[k].from;
        if (f->direct[j] < 0 && f->d->field[k].shape.type == f->s->field[j].shape.type)
            f->direct[j] = k;
    }
}

void feed_begin(Feed *f, const Desc *d, const Do *step, uint64_t seed)
{
    *f = (Feed){.d = step, .s = step->stream < 0 ? NULL : &d->stream[step->stream], .n = ENDLESS, .seed = seed,
                .perm_epoch = -1};
    feed_buffers(f);
    if (!f->s)
        return;
    f->n = f->s->count;
    if (f->n == 0)
        rt_fail_at(step->line, "stream %s has no items", f->s->name);
    if (f->n == ENDLESS && (step->shuffled || step->lanes))
        rt_fail_at(step->line, "stream %s has no end, so it cannot be %s; cut it: %s[0:n]", f->s->name,
                   step->lanes ? "cut into lanes" : "shuffled",
                   f->s->name);
    if (step->lanes) {
        f->lane = f->n = f->n / step->batch;
        if (f->n == 0)
            rt_fail_at(step->line, "stream %s has %lld items, fewer than the %lld lanes", f->s->name,
                       (long long)f->s->count, (long long)step->batch);
    }
    if (step->shuffled)
        f->perm = rt_alloc(sizeof *f->perm * (size_t)f->n);
}

void feed_end(Feed *f)
{
    const Do *d = f->d;
    for (int k = 0; k < d->nfield; k++)
        free(f->in[k]);
    for (int j = 0; f->s && j < f->s->nfield * team_threads(); j++)
        free(f->tmp[j]);
    free(f->in);
    free(f->item);
    free(f->tmp);
    free(f->slot);
    free(f->direct);
    free(f->perm);
}

int64_t feed_items(const Feed *f) { return f->s ? f->n : 1; }

/* The order of an epoch: Fisher and Yates, drawn from the seed, the stream's name and the epoch alone. */
static void shuffle(Feed *f, int64_t epoch)
{
    if (f->perm_epoch == epoch)
        return;
    f->perm_epoch = epoch;
    uint64_t key = rt_mix(rt_hash(rt_mix(f->seed) ^ RT_HASH, f->s->name, strlen(f->s->name)) + (uint64_t)epoch);
    for (int64_t i = 0; i < f->n; i++)
        f->perm[i] = i;
    for (int64_t i = f->n - 1; i > 0; i--) {
        int64_t j = (int64_t)(rt_mix(key + (uint64_t)i) % (uint64_t)(i + 1)), t = f->perm[i];
        f->perm[i] = f->perm[j];
        f->perm[j] = t;
    }
}

/* Item number `item` into place `slot` of the batch: what is not converted goes there directly. */
static void fetch_into(const Feed *f, int64_t item, int64_t slot, int tid)
{
    Stream *s = f->s;
    void **out = f->slot + (ptrdiff_t)tid * s->nfield, **tmp = f->tmp + (ptrdiff_t)tid * s->nfield;
    for (int j = 0; j < s->nfield; j++)
        out[j] = f->direct[j] < 0 ? tmp[j] : (char *)f->in[f->direct[j]] + (size_t)slot * f->item[f->direct[j]];
    s->reader->fetch(s, item, tid, out);
    for (int k = 0; k < f->d->nfield; k++) {
        const Field *field = &f->d->field[k];
        if (f->direct[field->from] != k)
            convert(field->shape.type, (char *)f->in[k] + (size_t)slot * f->item[k], s->field[field->from].shape.type,
                    out[field->from],
                    field->shape.count);
    }
}

typedef struct { const Feed *f; int64_t at, n; } Fetching;

/* Place b takes item at + b of the (shuffled) epoch, or row `at` of lane b. Each thread has a stretch of places. */
static void fetch_part(void *with, int tid, int n)
{
    const Fetching *job = with;
    const Feed *f = job->f;
    for (int64_t b = job->n * tid / n; b < job->n * (tid + 1) / n; b++) {
        int64_t i = f->d->lanes ? job->at : job->at + b, item = f->perm ? f->perm[i] : i;
        fetch_into(f, f->d->lanes ? b * f->lane + item : item, b, tid);
    }
}

int64_t feed_next(Feed *f, int64_t pos, int64_t limit)
{
    int64_t batch = f->d->batch, n = batch;
    if (!f->s)
        return 1;
    int64_t epoch = f->n == ENDLESS ? 0 : pos / f->n, at = f->n == ENDLESS ? pos : pos % f->n;
    if (f->perm)
        shuffle(f, epoch);
    if (!f->d->lanes) {
        n = f->n != ENDLESS && n > f->n - at ? f->n - at : n;
        n = n > limit ? limit : n;
    }
    Fetching job = {f, at, n};
    team_do(f->s->ordered ? 1 : team_size(f->s->work * (double)n), fetch_part, &job);
    for (int64_t b = n; b < batch; b++)
        for (int k = 0; k < f->d->nfield; k++)
            memcpy((char *)f->in[k] + (size_t)b * f->item[k], f->in[k], f->item[k]);
    return n;
}
