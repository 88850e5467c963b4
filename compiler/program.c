/* program.c: the program's description in JSON, which the runtime reads at start-up. Every field is documented in runtime/nlrt.h. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <libgen.h>
#include <limits.h>
#include <cjson/cJSON.h>
#include "program.h"

#ifndef NLC_VERSION
#define NLC_VERSION "0"
#endif

static const char *const state_kinds[] = { "learn", "state", "rule", "count", "gsum" };
static const char *const stream_kinds[] = { "csv", "idx", "npy", "text", "gen", "map", "slice", "when", "cat", "mix", "window" };

static void put_num(cJSON *o, const char *k, double v) { cJSON_AddNumberToObject(o, k, v); }
static void put_str(cJSON *o, const char *k, const char *v) { if (v) cJSON_AddStringToObject(o, k, v); else cJSON_AddNullToObject(o, k); }
static void put_bool(cJSON *o, const char *k, bool v) { cJSON_AddBoolToObject(o, k, v); }
static void put_entry(cJSON *o, const char *k, const Entry *e) { put_num(o, k, e ? e->id : -1); }
static void put_line(cJSON *o, Loc at) { put_str(o, "line", arena_printf("%s:%u:%u", source_name(at.file), at.line, at.col)); }

static void put_shape(cJSON *o, Dt dt, int rank, const int32_t *dim)
{
    put_str(o, "type", dt_name(dt));
    cJSON *s = cJSON_AddArrayToObject(o, "shape");
    for (int i = 0; i < rank; i++) cJSON_AddItemToArray(s, cJSON_CreateNumber(dim[i]));
}

static cJSON *add_object(cJSON *list)
{
    cJSON *o = cJSON_CreateObject();
    cJSON_AddItemToArray(list, o);
    return o;
}

static int level_index(const Model *m, const Level *l)
{
    for (int i = 0; i < m->level.n; i++) if (m->level.at[i] == l) return i;
    return -1;
}

static void put_model(cJSON *list, const Model *m)
{
    cJSON *o = add_object(list), *states, *levels;
    put_str(o, "name", m->name);
    put_str(o, "label", m->label);
    put_num(o, "bytes", (double)model_bytes(m));
    put_entry(o, "init", m->init);
    states = cJSON_AddArrayToObject(o, "states");
    for (int i = 0; i < m->state.n; i++) {
        const State *s = m->state.at[i];
        cJSON *so = add_object(states);
        put_str(so, "path", s->path);
        put_shape(so, s->dt, s->rank, s->dim);
        put_num(so, "offset", (double)state_offset(m, i));
        put_str(so, "kind", state_kinds[s->kind]);
        put_num(so, "every", (double)s->every);
        put_num(so, "count", s->count ? s->count->id : -1);
        put_num(so, "of", s->of ? s->of->id : -1);
        put_num(so, "level", level_index(m, s->level));
        put_str(so, "rule", s->rule);
        if (s->kept) put_bool(so, "kept", true);
    }
    levels = cJSON_AddArrayToObject(o, "levels");
    for (int i = 0; i < m->level.n; i++) {
        cJSON *lo = add_object(levels);
        put_str(lo, "name", m->level.at[i]->name);
        put_num(lo, "every", (double)m->level.at[i]->every);
        put_str(lo, "objective", m->level.at[i]->objective);
        put_str(lo, "context", m->level.at[i]->context);
    }
}

/* in[k], out[k] of nl_call; a buffer that the code does not read is described all the same, as bytes of no shape. */
static void put_buffers(cJSON *o, const char *key, int n, const Bind *bind, Node *const *node, BindKind kind)
{
    int most = -1;
    cJSON *list = cJSON_AddArrayToObject(o, key);
    for (int i = 0; i < n; i++) if (bind[i].kind == kind && bind[i].index > most) most = bind[i].index;
    for (int k = 0; k <= most; k++) {
        cJSON *b = add_object(list);
        int at = -1;
        for (int i = 0; i < n; i++) if (bind[i].kind == kind && bind[i].index == k) at = i;
        if (at >= 0) put_shape(b, (Dt)node[at]->dt, node[at]->rank, node[at]->dim);
        else { put_str(b, "type", "u8"); cJSON *s = cJSON_AddArrayToObject(b, "shape"); (void)s; put_bool(b, "unused", true); }
    }
}

static void put_entry_desc(cJSON *list, const Entry *e)
{
    cJSON *o = add_object(list);
    put_str(o, "name", e->name);
    put_num(o, "arena", (double)e->arena);
    put_num(o, "scratch", (double)e->scratch);
    put_num(o, "work", (double)e->work);
    put_buffers(o, "in", e->r->np, e->in, e->r->formal, B_FIELD);
    put_buffers(o, "out", e->r->nr, e->out, e->r->result, B_OUT);
}

static void put_fields(cJSON *list, const Field *f, const int *from)
{
    cJSON *o = add_object(list);
    put_str(o, "name", f->name);
    if (from) put_num(o, "from", *from);
    put_shape(o, f->dt, f->rank, f->dim);
}

static void put_stream(cJSON *list, const Stream *s)
{
    cJSON *o = add_object(list), *l;
    put_str(o, "kind", stream_kinds[s->kind]);
    put_str(o, "name", s->name);
    put_str(o, "def", s->def);
    put_line(o, s->loc);
    l = cJSON_AddArrayToObject(o, "paths");
    for (int i = 0; i < s->path.n; i++) cJSON_AddItemToArray(l, cJSON_CreateString(s->path.at[i]));
    l = cJSON_AddArrayToObject(o, "fields");
    for (int i = 0; i < s->field.n; i++) put_fields(l, &s->field.at[i], NULL);
    l = cJSON_AddArrayToObject(o, "src");
    for (int i = 0; i < s->src.n; i++) cJSON_AddItemToArray(l, cJSON_CreateNumber(s->src.at[i]->id));
    l = cJSON_AddArrayToObject(o, "weights");
    for (int i = 0; i < s->weight.n; i++) cJSON_AddItemToArray(l, cJSON_CreateNumber(s->weight.at[i]));
    l = cJSON_AddArrayToObject(o, "take");
    for (int i = 0; i < s->take.n; i++) cJSON_AddItemToArray(l, cJSON_CreateNumber(s->take.at[i]));
    put_entry(o, "entry", s->entry);
    if (s->once) put_entry(o, "once", s->once);
    put_num(o, "lo", (double)s->lo); put_num(o, "hi", (double)s->hi);
    put_bool(o, "lo_pct", s->lo_pct); put_bool(o, "hi_pct", s->hi_pct); put_bool(o, "hi_open", s->hi_open);
    put_num(o, "n", (double)s->n); put_num(o, "step", (double)s->step); put_bool(o, "anywhere", s->anywhere);
}

static void put_reports(cJSON *o, const Do *d)
{
    cJSON *l = cJSON_AddArrayToObject(o, "reports");
    for (int i = 0; i < d->report.n; i++) {
        cJSON *r = add_object(l);
        put_str(r, "name", d->report.at[i]);
        put_line(r, d->report_loc.at[i]);
    }
}

static void put_step(cJSON *o, const Do *d)
{
    put_entry(o, "entry", d->entry);
    put_entry(o, "finish", d->finish);
    if (d->fresh) put_entry(o, "fresh", d->fresh);
    put_num(o, "accs", d->naccs);
    put_reports(o, d);
    put_num(o, "stream", d->stream ? d->stream->id : -1);
    put_num(o, "batch", (double)d->batch);
    put_bool(o, "shuffled", d->shuffled); put_bool(o, "carry", d->carry); put_bool(o, "lanes", d->lanes);
    cJSON *l = cJSON_AddArrayToObject(o, "fields");
    for (int i = 0; i < d->field.n; i++) put_fields(l, &d->field.at[i], &d->field_from.at[i]);
    if (d->kind == DO_TRAIN) {
        put_num(o, "for", (double)d->count);
        put_bool(o, "epochs", d->epochs);
        put_entry(o, "until", d->until);
    } else put_bool(o, "learning", d->learning);
}

static void put_table(cJSON *o, const Do *d)
{
    put_str(o, "title", d->title);
    put_str(o, "rows", d->rows); put_str(o, "cols", d->cols); put_str(o, "cells", d->cells);
    put_bool(o, "lower", d->lower);
    put_entry(o, "value", d->value);
    cJSON *l = cJSON_AddArrayToObject(o, "names");
    for (int i = 0; i < d->names.n; i++) cJSON_AddItemToArray(l, cJSON_CreateString(d->names.at[i]));
}

static void put_do(cJSON *list, const Do *d)
{
    static const char *const kinds[] = { "new", "copy", "train", "test", "table", "seed", "tick" };
    cJSON *o = add_object(list);
    put_str(o, "do", kinds[d->kind]);
    put_line(o, d->loc);
    put_num(o, "repeat", d->repeat);
    if (d->inst >= 0) put_num(o, "inst", d->inst);
    if (d->name) put_str(o, "name", d->name);
    if (d->model) put_num(o, "model", d->model->id);
    if (d->kind == DO_COPY) put_num(o, "from", d->from);
    if (d->kind == DO_SEED) put_num(o, "add", (double)d->seed);
    if (d->kind == DO_TABLE) put_table(o, d);
    if (d->kind == DO_TRAIN || d->kind == DO_TEST) put_step(o, d);
    if (d->kind == DO_TICK) { put_str(o, "event", d->event->name); put_entry(o, "entry", d->entry); }
    cJSON *l = cJSON_AddArrayToObject(o, "vars");
    for (int i = 0; i < d->var.n; i++) {
        cJSON *pair = cJSON_CreateArray();
        cJSON_AddItemToArray(pair, cJSON_CreateString(d->var.at[i].name));
        cJSON_AddItemToArray(pair, cJSON_CreateString(d->var.at[i].text));
        cJSON_AddItemToArray(l, pair);
    }
}

/* What a stream may move besides the kept states. */
static void put_moved(cJSON *o, const Generate *g)
{
    cJSON *moves = cJSON_AddArrayToObject(o, "moves");
    put_str(o, "learning", g->learning);
    for (int i = 0; i < g->entry->r->nr; i++)
        if (g->entry->out[i].kind == B_STATE && !g->model->state.at[g->entry->out[i].index]->kept)
            cJSON_AddItemToArray(moves, cJSON_CreateNumber(g->entry->out[i].index));
}

static void put_generate(cJSON *list, const Generate *g)
{
    cJSON *o = add_object(list);
    put_num(o, "model", g->model->id);
    put_entry(o, "entry", g->entry);
    put_entry(o, "fresh", g->fresh);
    put_num(o, "rows", g->rows);
    put_num(o, "lag", g->lag);
    put_num(o, "classes", (double)g->classes);
    put_bool(o, "window", g->window);
    put_bool(o, "ahead", g->ahead);
    if (g->learning) put_moved(o, g);
    put_str(o, "type", dt_name(I32));
}

static uint64_t mix_hash(uint64_t h, const void *p, size_t n)
{
    const unsigned char *c = p;
    for (size_t i = 0; i < n; i++) h = (h ^ c[i]) * 1099511628211u;
    return h;
}

/* What a checkpoint must agree with: the states, and the steps of the schedule. */
static uint64_t program_hash(const Program *p)
{
    uint64_t h = 14695981039346656037u;
    for (int i = 0; i < p->model.n; i++)
        for (int k = 0; k < p->model.at[i]->state.n; k++) {
            const State *s = p->model.at[i]->state.at[k];
            h = mix_hash(h, s->path, strlen(s->path) + 1);
            h = mix_hash(h, s->dim, (size_t)s->rank * sizeof *s->dim);
            h = mix_hash(h, &s->dt, sizeof s->dt);
        }
    for (int i = 0; i < p->todo.n; i++) {
        const Do *d = p->todo.at[i];
        int64_t v[4] = { d->kind, d->inst, d->batch, d->count };
        h = mix_hash(h, v, sizeof v);
        if (d->stream) h = mix_hash(h, d->stream->name, strlen(d->stream->name));
        if (d->event) h = mix_hash(h, d->event->name, strlen(d->event->name));
    }
    return h;
}

static const char *folder_of(const char *source)
{
    char full[PATH_MAX];
    return arena_strdup(dirname(realpath(source, full) ? full : arena_strdup(source)));
}

char *program_json(Program *p)
{
    cJSON *o = cJSON_CreateObject(), *l;
    put_str(o, "nlc", NLC_VERSION);
    put_str(o, "source", p->source);
    put_str(o, "dir", folder_of(p->source));
    put_str(o, "float", p->f64 ? "f64" : "f32");
    put_str(o, "hash", arena_printf("%016llx", (unsigned long long)program_hash(p)));
    l = cJSON_AddArrayToObject(o, "models");
    for (int i = 0; i < p->model.n; i++) put_model(l, p->model.at[i]);
    l = cJSON_AddArrayToObject(o, "entries");
    for (int i = 0; i < p->entry.n; i++) put_entry_desc(l, p->entry.at[i]);
    l = cJSON_AddArrayToObject(o, "streams");
    for (int i = 0; i < p->stream.n; i++) put_stream(l, p->stream.at[i]);
    l = cJSON_AddArrayToObject(o, "schedule");
    for (int i = 0; i < p->todo.n; i++) put_do(l, p->todo.at[i]);
    l = cJSON_AddArrayToObject(o, "generate");
    for (int i = 0; i < p->generate.n; i++) put_generate(l, p->generate.at[i]);
    l = cJSON_AddArrayToObject(o, "sites");
    for (int i = 0; i < site_count(); i++) {
        cJSON *s = add_object(l);
        put_line(s, site_loc(i));
        put_str(s, "what", site_what(i));
    }
    char *text = cJSON_PrintUnformatted(o), *copy = arena_strdup(text);
    free(text);
    cJSON_Delete(o);
    return copy;
}
