/* levels.c: what moved, how often, and by how much. The size of an update is the norm of the difference that a step
   made; states are copied before a step only where that may be the last update of its train: before the last due steps of
   `every n`, n > 1, and before the last step otherwise. */
#include "rt.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool tracked(const State *s) { return s->kind == KIND_LEARN || s->kind == KIND_STATE; }

/* Items that the state's clock has counted. */
static int64_t items_seen(const Run *r, const Instance *in, const State *s)
{
    const Model *m = &r->desc.model[in->model];
    int64_t n = in->steps;
    if (s->count >= 0)
        memcpy(&n, in->state + m->state[s->count].offset, sizeof n);
    return n;
}

int64_t level_updates(const Run *r, const Instance *in, int state)
{
    const State *s = &r->desc.model[in->model].state[state];
    return items_seen(r, in, s) / (s->every > 1 ? s->every : 1);
}

void levels_born(Run *r, Instance *in)
{
    const Model *m = &r->desc.model[in->model];
    for (int i = 0; i < m->nstate; i++) {
        in->born[i] = rt_hash(RT_HASH, in->state + m->state[i].offset, m->state[i].shape.bytes);
        in->update[i] = -1;
    }
}

/* Only the last update of a train is looked at: `left` steps follow, and there will be another one if they are many. */
static bool due(const Run *r, const Instance *in, const State *s, bool last, int64_t left)
{
    if (!tracked(s) || s->every <= 1)
        return tracked(s) && (last || s->every < 1);
    return left / 2 < s->every && (items_seen(r, in, s) + 1) % s->every == 0;
}

void levels_before(Run *r, Instance *in, bool last, int64_t left)
{
    const Model *m = &r->desc.model[in->model];
    for (int i = 0; i < m->nstate; i++) {
        const State *s = &m->state[i];
        r->seen[i] = -1;
        if (!due(r, in, s, last, left))
            continue;
        memcpy(r->before + s->offset, in->state + s->offset, s->shape.bytes);
        r->seen[i] = items_seen(r, in, s);
    }
}

static double distance(const Shape *s, const void *a, const void *b)
{
    double sum = 0;
    if (memcmp(a, b, s->bytes) == 0)
        return 0;
    for (int64_t i = 0; i < s->count; i++) {
        double d = load_number(s->type, a, i) - load_number(s->type, b, i);
        sum += d * d;
    }
    return sqrt(sum);
}

void levels_after(Run *r, Instance *in, bool last)
{
    const Model *m = &r->desc.model[in->model];
    bool test = r->desc.todo[r->pc].kind == DO_TEST;     /* moves only some states */
    for (int i = 0; i < m->nstate; i++) {
        const State *s = &m->state[i];
        if (r->seen[i] < 0 || (s->every == 1 && !last) || (s->count >= 0 && items_seen(r, in, s) == r->seen[i]))
            continue;
        double size = distance(&s->shape, r->before + s->offset, in->state + s->offset);
        if (size != 0 || (s->every >= 1 && (s->count >= 0 || !test)))
            in->update[i] = size;
    }
}

/* ---- the table: a row for the states of one level and one frequency */
typedef struct { const Instance *in; int level; int64_t every, updates; double size; int first; } Row;

static bool same_row(const Run *r, const Row *row, const Instance *in, int state)
{
    const State *s = &r->desc.model[in->model].state[state];
    return row->in == in && row->level == s->level && row->every == s->every
        && row->updates == level_updates(r, in, state);
}

static int collect(const Run *r, Row **rows)
{
    int n = 0, cap = 0;
    *rows = NULL;
    for (int i = 0; i < r->desc.ninst; i++) {
        const Instance *in = &r->inst[i];
        const Model *m = in->state ? &r->desc.model[in->model] : NULL;
        int from = n;
        for (int k = 0; m && k < m->nstate; k++) {
            int j = from;
            if (!tracked(&m->state[k]))
                continue;
            while (j < n && !same_row(r, &(*rows)[j], in, k))
                j++;
            if (j == n && n == cap)
                *rows = rt_grow(*rows, sizeof **rows * (size_t)(cap = cap ? 2 * cap : 16));
            if (j == n)
                (*rows)[n++] = (Row){in, m->state[k].level, m->state[k].every, level_updates(r, in, k), -1, k};
            if (in->update[k] >= 0)              /* of several states together */
                (*rows)[j].size = hypot((*rows)[j].size > 0 ? (*rows)[j].size : 0, in->update[k]);
        }
    }
    return n;
}

/* By instance, then the most frequent first. */
static int by_frequency(const void *a, const void *b)
{
    const Row *x = a, *y = b;
    if (x->in != y->in)
        return x->in < y->in ? -1 : 1;
    if (x->every != y->every)                    /* nobody knows how often events come */
        return y->every == 0 || (x->every && x->every < y->every) ? -1 : 1;
    return x->level != y->level ? (x->level < y->level ? -1 : 1) : x->first - y->first;
}

/* The instance's name, with the loop variables that it was made under and that are not in its name. */
static char *label_of(const Run *r, const Instance *in)
{
    const Do *made = instance_maker(&r->desc, (int)(in - r->inst));
    char *label = rt_strdup(in->name);
    bool open = false;
    for (int i = 0; made && i < made->nvar; i++) {
        if (strcmp(made->var[i].text, in->name) == 0)
            continue;
        char *longer = rt_printf("%s%s%s = %s", label, open ? ", " : " (", made->var[i].name, made->var[i].text);
        free(label);
        label = longer;
        open = true;
    }
    char *closed = rt_printf("%s%s", label, open ? ")" : "");
    free(label);
    return closed;
}

static const char *level_name(const Run *r, const Row *row)
{
    const Model *m = &r->desc.model[row->in->model];
    return row->level >= 0 ? m->level[row->level].name : m->name;
}

/* A state's path without the name of its level. */
static const char *short_path(const char *path, const char *level)
{
    size_t n = strlen(level);
    return strncmp(path, level, n) == 0 && path[n] == '.' ? path + n + 1 : path;
}

static void print_states(const Run *r, const Row *row, FILE *to)
{
    const Model *m = &r->desc.model[row->in->model];
    int width = 0, shown = 0, more = 0;
    for (int k = 0; k < m->nstate; k++) {
        if (!tracked(&m->state[k]) || !same_row(r, row, row->in, k))
            continue;
        const char *name = short_path(m->state[k].path, level_name(r, row));
        if (shown && width + (int)strlen(name) > 44) {
            more++;
            continue;
        }
        width += fprintf(to, "%s%s", shown++ ? " " : "", name);
    }
    if (more)
        fprintf(to, " and %d more", more);
    fputc('\n', to);
}

static void print_row(const Run *r, const Row *row, const char *model, int wide_model, int wide_level, FILE *to)
{
    char every[32], size[32];
    if (row->every > 0)
        snprintf(every, sizeof every, "%lld", (long long)row->every);
    else
        snprintf(every, sizeof every, "event");
    if (row->size >= 0)
        snprintf(size, sizeof size, "%.3g", row->size);
    else
        snprintf(size, sizeof size, "-");
    fprintf(to, "  %-*s  %-*s  %7s  %9lld  %11s  ", wide_model, model, wide_level, level_name(r, row), every,
            (long long)row->updates, size);
    print_states(r, row, to);
}

/* States of trained models that are as they were born, unless that was asked for. */
static void print_unmoved(const Run *r, FILE *to)
{
    for (int i = 0; i < r->desc.ninst; i++) {
        const Instance *in = &r->inst[i];
        const Model *m = in->state && in->steps > 0 ? &r->desc.model[in->model] : NULL;
        char *name = m ? label_of(r, in) : NULL;
        const char *of = m && strcmp(name, m->name) != 0 ? name : "";
        for (int k = 0; m && k < m->nstate; k++) {
            const State *s = &m->state[k];
            if (!tracked(s) || (s->rule && strncmp(s->rule, "fixed", 5) == 0))
                continue;
            if (rt_hash(RT_HASH, in->state + s->offset, s->shape.bytes) != in->born[k])
                continue;
            int64_t updates = level_updates(r, in, k), seen = items_seen(r, in, s);
            if (updates == 0 && s->every > 1 && seen > 0)
                fprintf(to, "%s%s%s never moved: it is due every %lld items and has seen %lld\n", of, *of ? ": " : "",
                        s->path, (long long)s->every, (long long)seen);
            else if (updates == 0 && s->every == 0)
                fprintf(to, "%s%s%s never moved: its clock has not ticked\n", of, *of ? ": " : "", s->path);
            else if (updates == 0)
                fprintf(to, "%s%s%s never moved\n", of, *of ? ": " : "", s->path);
            else
                fprintf(to, "%s%s%s never moved: all of its %lld updates were zero\n", of, *of ? ": " : "", s->path,
                        (long long)updates);
        }
        free(name);
    }
}

void levels_table(const Run *r, FILE *to)
{
    Row *rows;
    int n = collect(r, &rows), model = 5, level = 5;
    if (n)
        qsort(rows, (size_t)n, sizeof *rows, by_frequency);
    char **label = rt_alloc(sizeof *label * (size_t)n);
    for (int i = 0; i < n; i++) {
        label[i] = i && rows[i].in == rows[i - 1].in ? rt_strdup("") : label_of(r, rows[i].in);
        int a = (int)strlen(label[i]), b = (int)strlen(level_name(r, &rows[i]));
        model = a > model ? a : model;
        level = b > level ? b : level;
    }
    if (n)
        fprintf(to, "levels\n  %-*s  %-*s  %7s  %9s  %11s  %s\n", model, "model", level, "level", "every", "updates",
                "last update", "state");
    for (int i = 0; i < n; i++) {
        print_row(r, &rows[i], label[i], model, level, to);
        free(label[i]);
    }
    print_unmoved(r, to);
    free(label);
    free(rows);
}

/* One line per instance for the metrics: updates made and the size of the last one, by state. */
void levels_summary(Run *r)
{
    for (int i = 0; i < r->desc.ninst; i++) {
        const Instance *in = &r->inst[i];
        if (!in->state || !r->metrics)
            continue;
        const Model *m = &r->desc.model[in->model];
        cJSON *o = cJSON_CreateObject();
        cJSON_AddStringToObject(o, "event", "summary");
        cJSON_AddStringToObject(o, "model", in->name);
        cJSON_AddNullToObject(o, "stream");
        cJSON_AddNumberToObject(o, "step", (double)in->steps);
        cJSON *updates = cJSON_AddObjectToObject(o, "updates"), *last = cJSON_AddObjectToObject(o, "last_update");
        for (int k = 0; k < m->nstate; k++) {
            if (!tracked(&m->state[k]))
                continue;
            cJSON_AddNumberToObject(updates, m->state[k].path, (double)level_updates(r, in, k));
            if (in->update[k] >= 0)
                cJSON_AddNumberToObject(last, m->state[k].path, in->update[k]);
            else
                cJSON_AddNullToObject(last, m->state[k].path);
        }
        metrics_line(r, o);
    }
}
