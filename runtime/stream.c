/* stream.c: opening streams, and what all kinds of them share. A stream gives item i by random access; the kinds that
   read files (read_*.c) and those made from other streams (derive.c) are rows of one table. */
#define _POSIX_C_SOURCE 200809L
#include "rt.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const Reader *const readers[] = {
    &read_csv, &read_idx, &read_npy, &read_text,
    &derive_gen, &derive_map, &derive_slice, &derive_when, &derive_cat, &derive_mix, &derive_window,
};

const Reader *reader_find(const char *kind)
{
    for (size_t i = 0; i < sizeof readers / sizeof *readers; i++)
        if (strcmp(readers[i]->kind, kind) == 0)
            return readers[i];
    return NULL;
}

Stream *stream_src(const Stream *s, int k) { return &s->desc->stream[s->src[k]]; }

_Noreturn void stream_fail(const Stream *s, const char *fmt, ...)
{
    char what[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    rt_fail_at(s->line, "stream %s: %s", s->name, what);
}

void stream_status(const Stream *s, const nl_status *st)
{
    if (!st->bad)
        return;
    const Desc *d = s->desc;
    bool known = st->site >= 0 && st->site < d->nsite;
    const char *what = known ? d->site[st->site].what : NULL;
    rt_fail_at(known ? d->site[st->site].line : s->line, "index %lld is outside of %s, which has %lld (stream %s)",
               (long long)st->index,
               what ? what : "its tensor", (long long)st->limit, s->name);
}

const char *stream_file(const Desc *d, const char *path)
{
    if (*path == '/')
        return path;
    char *beside = rt_printf("%s/%s", d->dir, path);
    if (access(beside, F_OK) == 0)
        return beside;
    free(beside);
    return path;
}

static void mark_used(Desc *d, int i)
{
    Stream *s = &d->stream[i];
    if (s->used)
        return;
    s->used = true;
    for (int k = 0; k < s->nsrc; k++)
        mark_used(d, s->src[k]);
}

/* The streams of the schedule; sources come first in the list. */
void streams_open(Desc *d)
{
    for (int i = 0; i < d->ndo; i++)
        if (d->todo[i].stream >= 0)
            mark_used(d, d->todo[i].stream);
    for (int i = 0; i < d->nstream; i++) {
        Stream *s = &d->stream[i];
        s->desc = d;
        if (!s->used)
            continue;
        if (s->reader->open)
            s->reader->open(s, d);
        s->opened = true;
    }
}

enum { COPY_WORK = 16 };                 /* multiply-adds in the time of fetching a number */

/* What an item costs, and whether several threads may fetch items at once; sources are done. */
static void weigh(Stream *s, const Desc *d)
{
    s->work = s->entry < 0 ? 0 : d->entry[s->entry].work;
    for (int k = 0; k < s->nfield; k++)
        s->work += COPY_WORK * (double)s->field[k].shape.count;
    for (int k = 0; k < s->nsrc; k++) {
        const Stream *src = stream_src(s, k);
        s->ordered = s->ordered || src->ordered;
        s->work += src->work * (s->reader == &derive_window ? (double)s->n : 1);
    }
}

void streams_seed(Desc *d, uint64_t seed)
{
    for (int i = 0; i < d->nstream; i++) {
        Stream *s = &d->stream[i];
        s->seed = seed;
        if (!s->used)
            continue;
        s->ordered = false;
        if (s->reader->prepare)
            s->reader->prepare(s, d);
        weigh(s, d);
    }
}

void streams_close(Desc *d)
{
    for (int i = 0; i < d->nstream; i++)
        if (d->stream[i].opened && d->stream[i].reader->close) {
            d->stream[i].reader->close(&d->stream[i]);
            d->stream[i].opened = false;
        }
}

void stream_temps(Stream *s, Stream *src)
{
    int n = team_threads();
    s->tmp = rt_alloc(sizeof *s->tmp * (size_t)n);
    for (int t = 0; t < n; t++) {
        s->tmp[t] = rt_alloc(sizeof **s->tmp * (size_t)src->nfield);
        for (int k = 0; k < src->nfield; k++)
            s->tmp[t][k] = rt_alloc(src->field[k].shape.bytes);
    }
}

uint64_t stream_draw(const Stream *s, const char *what, int64_t i)
{
    uint64_t h = rt_hash(rt_hash(RT_HASH, s->name, strlen(s->name) + 1), what, strlen(what));
    return rt_mix(rt_mix(h ^ rt_mix(s->seed)) + (uint64_t)i);
}
