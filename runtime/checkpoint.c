/* checkpoint.c: the run as a safetensors file. Every state of every living instance is a tensor under its path (with the instance's name
   in front where a path alone would not tell instances apart). The metadata hold the program's hash and, as JSON under "run", the
   rest of where the run stands: the schedule's position, accumulators, clocks, stream positions, seed, records of tests. Numbers
   that must come back bit by bit are written as text: integers in decimal, reals in hexadecimal.

   The file itself is written and read by save.c. */
#include "rt.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- instances */
void instance_make(Run *r, int i, int model, const char *name)
{
    const Model *m = &r->desc.model[model];
    Instance *in = &r->inst[i];
    instance_drop(r, i);
    *in = (Instance){.model = model, .name = name};
    in->state = rt_alloc(m->bytes);
    in->pos = rt_alloc(sizeof *in->pos * (size_t)r->desc.nstream);
    in->born = rt_alloc(sizeof *in->born * (size_t)m->nstate);
    in->update = rt_alloc(sizeof *in->update * (size_t)m->nstate);
}

void instance_drop(Run *r, int i)
{
    Instance *in = &r->inst[i];
    free(in->state);
    free(in->pos);
    free(in->born);
    free(in->update);
    *in = (Instance){0};
}

/* ---- names of tensors */

/* The step that first makes an instance says its model and its name, for the whole program. */
const Do *instance_maker(const Desc *d, int inst)
{
    for (int i = 0; i < d->ndo; i++)
        if (d->todo[i].inst == inst && (d->todo[i].kind == DO_NEW || d->todo[i].kind == DO_COPY))
            return &d->todo[i];
    return NULL;
}

const Model *instance_model(const Desc *d, int inst)
{
    const Do *made = instance_maker(d, inst);
    return made ? &d->model[made->model] : NULL;
}

/* "", "plain." or "plain#3.": as much as it takes. */
static char *prefix(const Desc *d, int inst)
{
    const Do *own = instance_maker(d, inst);
    bool path_shared = false, name_shared = false;
    for (int i = 0; own && i < d->ninst; i++) {
        const Do *other = i == inst ? NULL : instance_maker(d, i);
        if (!other)
            continue;
        path_shared = path_shared || strcmp(d->model[other->model].name, d->model[own->model].name) == 0;
        name_shared = name_shared || strcmp(other->name, own->name) == 0;
    }
    return !path_shared ? rt_strdup("") : name_shared ? rt_printf("%s#%d.", own->name, inst) : rt_printf("%s.", own->name);
}

char *state_key(const Run *r, int inst, int state)
{
    static char **known;                         /* asked for at every save */
    if (!known)
        known = rt_alloc(sizeof *known * (size_t)r->desc.ninst);
    if (!known[inst])
        known[inst] = prefix(&r->desc, inst);
    const Do *own = instance_maker(&r->desc, inst);
    return rt_printf("%s%s", known[inst], r->desc.model[own->model].state[state].path);
}

/* ---- writing */
static void add_whole(cJSON *o, const char *key, int64_t v)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, v);
    cJSON_AddStringToObject(o, key, text);
}

static cJSON *whole_list(const int64_t *v, int n)
{
    cJSON *a = cJSON_CreateArray();
    for (int i = 0; i < n; i++) {
        char text[32];
        snprintf(text, sizeof text, "%" PRId64, v[i]);
        cJSON_AddItemToArray(a, cJSON_CreateString(text));
    }
    return a;
}

static cJSON *real_list(const double *v, int n)
{
    cJSON *a = cJSON_CreateArray();
    for (int i = 0; i < n; i++) {
        char text[48];
        snprintf(text, sizeof text, "%a", v[i]);
        cJSON_AddItemToArray(a, cJSON_CreateString(text));
    }
    return a;
}

static int accs_of(const Run *r) { return r->pc < r->desc.ndo ? r->desc.todo[r->pc].naccs : 0; }

static cJSON *instances_json(const Run *r)
{
    cJSON *a = cJSON_CreateArray();
    for (int i = 0; i < r->desc.ninst; i++) {
        const Instance *in = &r->inst[i];
        if (!in->state)
            continue;
        cJSON *o = cJSON_CreateObject();
        add_whole(o, "inst", i);
        cJSON_AddStringToObject(o, "name", in->name);
        cJSON_AddStringToObject(o, "model", r->desc.model[in->model].label);
        add_whole(o, "version", in->model);
        add_whole(o, "steps", in->steps);
        cJSON_AddItemToObject(o, "positions", whole_list(in->pos, r->desc.nstream));
        cJSON_AddItemToObject(o, "born", whole_list((const int64_t *)in->born, r->desc.model[in->model].nstate));
        cJSON_AddItemToObject(o, "last_update", real_list(in->update, r->desc.model[in->model].nstate));
        cJSON_AddItemToArray(a, o);
    }
    return a;
}

static cJSON *records_json(const Run *r)
{
    cJSON *a = cJSON_CreateArray();
    for (int i = 0; i < r->nrecord; i++) {
        const Record *rec = &r->record[i];
        cJSON *o = cJSON_CreateObject();
        add_whole(o, "test", rec->todo);
        add_whole(o, "step", rec->step);
        cJSON_AddItemToObject(o, "values", real_list(rec->value, r->desc.todo[rec->todo].nreport));
        cJSON_AddItemToArray(a, o);
    }
    return a;
}

static cJSON *streams_json(const Run *r)
{
    cJSON *a = cJSON_CreateArray();
    for (int i = 0; i < r->desc.nstream; i++) {
        cJSON *o = cJSON_CreateObject();
        cJSON_AddStringToObject(o, "name", r->desc.stream[i].name);
        add_whole(o, "items", r->desc.stream[i].count);
        cJSON_AddItemToArray(a, o);
    }
    return a;
}

static char *run_json(const Run *r)
{
    cJSON *o = cJSON_CreateObject();
    add_whole(o, "seed", (int64_t)r->seed);
    add_whole(o, "seed_added", r->add);
    add_whole(o, "schedule", r->pc);
    add_whole(o, "batches", r->k);
    add_whole(o, "items", r->items);
    add_whole(o, "stopped", r->stopped);
    add_whole(o, "logged", r->logged);
    add_whole(o, "log_every", r->log_every);
    add_whole(o, "steps", r->total);
    add_whole(o, "metrics_bytes", r->metrics_at);
    cJSON_AddItemToObject(o, "sums", real_list(r->sum, accs_of(r)));
    cJSON_AddItemToObject(o, "streams", streams_json(r));
    cJSON_AddItemToObject(o, "instances", instances_json(r));
    cJSON_AddItemToObject(o, "records", records_json(r));
    char *text = cJSON_PrintUnformatted(o);
    cJSON_Delete(o);
    if (!text)
        rt_fail("not enough memory for a checkpoint");
    return text;
}

/* States in the order of their element size, so that every tensor is aligned in the file. */
static void each_state(const Run *r, void (*visit)(const Run *, int inst, int state, void *), void *with)
{
    static const size_t sizes[] = {8, 4, 1};
    for (int z = 0; z < 3; z++)
        for (int i = 0; i < r->desc.ninst; i++)
            for (int k = 0; r->inst[i].state && k < r->desc.model[r->inst[i].model].nstate; k++)
                if (type_size(r->desc.model[r->inst[i].model].state[k].shape.type) == sizes[z])
                    visit(r, i, k, with);
}

typedef struct { cJSON *head; size_t at; } Heading;

static void head_state(const Run *r, int inst, int state, void *with)
{
    Heading *h = with;
    char *key = state_key(r, inst, state);
    head_add(h->head, key, &r->desc.model[r->inst[inst].model].state[state].shape, &h->at);
    free(key);
}

static void write_state(const Run *r, int inst, int state, void *with)
{
    const State *s = &r->desc.model[r->inst[inst].model].state[state];
    if (s->shape.bytes)
        fwrite(r->inst[inst].state + s->offset, s->shape.bytes, 1, (FILE *)with);
}

static void write_all(FILE *to, const void *run)
{
    const Run *r = run;
    Heading h = {head_new(&r->desc, "nlc checkpoint 1"), 0};
    char *text = run_json(r);
    cJSON_AddStringToObject(cJSON_GetObjectItemCaseSensitive(h.head, "__metadata__"), "run", text);
    cJSON_free(text);
    each_state(r, head_state, &h);
    head_write(h.head, to);
    each_state(r, write_state, to);
}

void checkpoint_save(Run *r, const char *path)
{
    metrics_sync(r);
    save_file(path, "checkpoint", write_all, r);
}

/* ---- reading */
typedef struct { Run *r; const char *path; Saved saved; cJSON *run; } Loading;

static _Noreturn void damaged(const Loading *l, const char *what)
{
    rt_fail("%s: damaged: its metadata lack a proper '%s'", l->path, what);
}

static int64_t read_whole(const Loading *l, const cJSON *o, const char *key, int64_t least, int64_t most)
{
    const cJSON *x = cJSON_GetObjectItemCaseSensitive(o, key);
    char *end = NULL;
    errno = 0;
    int64_t v = cJSON_IsString(x) ? strtoll(x->valuestring, &end, 10) : 0;
    if (!end || *end || end == x->valuestring || errno || v < least || v > most)
        damaged(l, key);
    return v;
}

static const cJSON *read_list(const Loading *l, const cJSON *o, const char *key, int n)
{
    const cJSON *a = cJSON_GetObjectItemCaseSensitive(o, key);
    if (!cJSON_IsArray(a) || (n >= 0 && cJSON_GetArraySize(a) != n))
        damaged(l, key);
    return a->child;
}

static void read_wholes(const Loading *l, const cJSON *o, const char *key, int64_t *to, int n, int64_t least)
{
    const cJSON *x = read_list(l, o, key, n);
    for (int i = 0; i < n; i++, x = x->next) {
        char *end = NULL;
        to[i] = cJSON_IsString(x) ? strtoll(x->valuestring, &end, 10) : 0;
        if (!end || *end || to[i] < least)
            damaged(l, key);
    }
}

static void read_reals(const Loading *l, const cJSON *o, const char *key, double *to, int n)
{
    const cJSON *x = read_list(l, o, key, n);
    for (int i = 0; i < n; i++, x = x->next) {
        char *end = NULL;
        to[i] = cJSON_IsString(x) ? strtod(x->valuestring, &end) : 0;
        if (!end || *end)
            damaged(l, key);
    }
}

static void load_state(Loading *l, int inst, int state)
{
    Instance *in = &l->r->inst[inst];
    const State *s = &l->r->desc.model[in->model].state[state];
    char *key = state_key(l->r, inst, state);
    const Tensor_at *t = safetensors_find(&l->saved.file, key);
    if (!t || !saved_fits(t, s))
        rt_fail("%s: damaged: %s is missing or has another shape", l->path, key);
    memcpy(in->state + s->offset, l->saved.bytes + t->at, s->shape.bytes);
    free(key);
}

static void load_instances(Loading *l)
{
    Run *r = l->r;
    for (const cJSON *o = read_list(l, l->run, "instances", -1); o; o = o->next) {
        int i = (int)read_whole(l, o, "inst", 0, r->desc.ninst - 1), model = (int)read_whole(l, o, "version", 0, r->desc.nmodel - 1);
        const Do *made = instance_maker(&r->desc, i);
        if (!made || made->model != model)
            damaged(l, "version");
        instance_make(r, i, model, made->name);
        Instance *in = &r->inst[i];
        in->steps = read_whole(l, o, "steps", 0, INT64_MAX);
        read_wholes(l, o, "positions", in->pos, r->desc.nstream, 0);
        read_wholes(l, o, "born", (int64_t *)in->born, r->desc.model[model].nstate, INT64_MIN);
        read_reals(l, o, "last_update", in->update, r->desc.model[model].nstate);
        for (int k = 0; k < r->desc.model[model].nstate; k++)
            load_state(l, i, k);
    }
}

static void load_records(Loading *l)
{
    Run *r = l->r;
    for (const cJSON *o = read_list(l, l->run, "records", -1); o; o = o->next) {
        const Do *d = &r->desc.todo[read_whole(l, o, "test", 0, r->desc.ndo - 1)];
        if (d->kind != DO_TEST)
            damaged(l, "test");
        read_reals(l, o, "values", r->values, d->nreport);
        record_add(r, d, read_whole(l, o, "step", 0, INT64_MAX), r->values);
    }
}

/* The streams must still have as many items: positions mean nothing otherwise. */
static void check_streams(const Loading *l)
{
    const Desc *d = &l->r->desc;
    const cJSON *o = read_list(l, l->run, "streams", d->nstream);
    for (int i = 0; i < d->nstream; i++, o = o->next) {
        int64_t n = read_whole(l, o, "items", ENDLESS, INT64_MAX);
        if (n != d->stream[i].count)
            rt_fail("%s: stream %s had %lld items when this was saved, and has %lld now", l->path, d->stream[i].name, (long long)n,
                    (long long)d->stream[i].count);
    }
}

static void load_run(Loading *l)
{
    Run *r = l->r;
    uint64_t seed = (uint64_t)read_whole(l, l->run, "seed", INT64_MIN, INT64_MAX);
    int64_t log_every = read_whole(l, l->run, "log_every", 0, INT64_MAX);
    if (r->seed_given && seed != r->seed)
        rt_fail("%s: saved with --seed %lld, not %lld", l->path, (long long)seed, (long long)r->seed);
    if (r->log_every && log_every != r->log_every)
        rt_fail("%s: saved with --log-every %lld, not %lld", l->path, (long long)log_every, (long long)r->log_every);
    r->seed = seed;
    r->log_every = log_every;
    r->add = read_whole(l, l->run, "seed_added", INT64_MIN, INT64_MAX);
    streams_seed(&r->desc, run_seed(r));
    check_streams(l);
    r->pc = (int)read_whole(l, l->run, "schedule", 0, r->desc.ndo);
    r->k = read_whole(l, l->run, "batches", 0, INT64_MAX);
    r->items = read_whole(l, l->run, "items", 0, INT64_MAX);
    r->stopped = read_whole(l, l->run, "stopped", 0, 1) != 0;
    r->logged = read_whole(l, l->run, "logged", 0, INT64_MAX);
    r->total = read_whole(l, l->run, "steps", 0, INT64_MAX);
    r->metrics_at = read_whole(l, l->run, "metrics_bytes", 0, INT64_MAX);
    read_reals(l, l->run, "sums", r->sum, accs_of(r));
    load_instances(l);
    load_records(l);
}

static void load_begin(Loading *l, Run *r, const char *path)
{
    *l = (Loading){.r = r, .path = path};
    saved_open(&l->saved, path, "nlc checkpoint 1", "checkpoint");
    const char *run = saved_text(&l->saved, "run");
    if (strcmp(saved_text(&l->saved, "hash"), r->desc.hash) != 0)
        saved_refuse(r, &l->saved, false);
    l->run = run ? cJSON_Parse(run) : NULL;
    if (!cJSON_IsObject(l->run))
        damaged(l, "run");
}

static void load_end(Loading *l)
{
    cJSON_Delete(l->run);
    saved_close(&l->saved);
}

void checkpoint_load(Run *r, const char *path)
{
    Loading l;
    load_begin(&l, r, path);
    load_run(&l);
    load_end(&l);
}

void checkpoint_weights(Run *r, const char *path)
{
    Loading l;
    load_begin(&l, r, path);
    r->seed = (uint64_t)read_whole(&l, l.run, "seed", INT64_MIN, INT64_MAX);
    r->add = read_whole(&l, l.run, "seed_added", INT64_MIN, INT64_MAX);
    load_instances(&l);
    load_end(&l);
}
