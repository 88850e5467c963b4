/* checkpoint.c: the run as a safetensors file. Every state of every living instance is a tensor under its path (with
   the instance's name in front where a path alone would not tell instances apart). The metadata hold the program's
   hash and, as JSON under "run", the rest of where the run stands: the schedule's position, accumulators, clocks,
   stream positions, seed, records of tests. Numbers that must come back bit by bit are written as text: integers in
   decimal, reals in hexadecimal.

   A file is written beside the old one, forced to the disk and then takes its name: the old one stays whole until
   then. */
#define _POSIX_C_SOURCE 200809L
#include "rt.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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
static const Do *maker(const Desc *d, int inst)
{
    for (int i = 0; i < d->ndo; i++)
        if (d->todo[i].inst == inst && (d->todo[i].kind == DO_NEW || d->todo[i].kind == DO_COPY))
            return &d->todo[i];
    return NULL;
}

/* "", "plain." or "plain#3.": as much as it takes. */
static char *prefix(const Desc *d, int inst)
{
    const Do *own = maker(d, inst);
    bool path_shared = false, name_shared = false;
    for (int i = 0; own && i < d->ninst; i++) {
        const Do *other = i == inst ? NULL : maker(d, i);
        if (!other)
            continue;
        path_shared = path_shared || strcmp(d->model[other->model].name, d->model[own->model].name) == 0;
        name_shared = name_shared || strcmp(other->name, own->name) == 0;
    }
    if (!path_shared)
        return rt_strdup("");
    return name_shared ? rt_printf("%s#%d.", own->name, inst) : rt_printf("%s.", own->name);
}

char *state_key(const Run *r, int inst, int state)
{
    static char **known;                         /* asked for at every save */
    if (!known)
        known = rt_alloc(sizeof *known * (size_t)r->desc.ninst);
    if (!known[inst])
        known[inst] = prefix(&r->desc, inst);
    const Do *own = maker(&r->desc, inst);
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

static void add_tensor(cJSON *head, const char *key, const Shape *s, size_t *at)
{
    cJSON *t = cJSON_AddObjectToObject(head, key), *dims, *offsets;
    cJSON_AddStringToObject(t, "dtype", safetensors_type(s->type));
    dims = cJSON_AddArrayToObject(t, "shape");
    for (int i = 0; i < s->rank; i++)
        cJSON_AddItemToArray(dims, cJSON_CreateNumber((double)s->dim[i]));
    offsets = cJSON_AddArrayToObject(t, "data_offsets");
    cJSON_AddItemToArray(offsets, cJSON_CreateNumber((double)*at));
    *at += s->bytes;
    cJSON_AddItemToArray(offsets, cJSON_CreateNumber((double)*at));
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
    add_tensor(h->head, key, &r->desc.model[r->inst[inst].model].state[state].shape, &h->at);
    free(key);
}

static char *head_json(const Run *r)
{
    Heading h = {cJSON_CreateObject(), 0};
    cJSON *meta = cJSON_AddObjectToObject(h.head, "__metadata__");
    char *run = run_json(r);
    cJSON_AddStringToObject(meta, "format", "nlc checkpoint 1");
    cJSON_AddStringToObject(meta, "program", r->desc.source);
    cJSON_AddStringToObject(meta, "hash", r->desc.hash);
    cJSON_AddStringToObject(meta, "nlc", r->desc.version);
    cJSON_AddStringToObject(meta, "run", run);
    cJSON_free(run);
    each_state(r, head_state, &h);
    char *text = cJSON_PrintUnformatted(h.head);
    cJSON_Delete(h.head);
    if (!text)
        rt_fail("not enough memory for a checkpoint");
    return text;
}

static void write_state(const Run *r, int inst, int state, void *with)
{
    const State *s = &r->desc.model[r->inst[inst].model].state[state];
    if (s->shape.bytes)
        fwrite(r->inst[inst].state + s->offset, s->shape.bytes, 1, (FILE *)with);
}

static bool write_all(const Run *r, FILE *to)
{
    char *head = head_json(r);
    size_t n = strlen(head), padded = (n + 7) & ~(size_t)7;
    for (int i = 0; i < 8; i++)
        fputc((int)(padded >> 8 * i & 0xff), to);
    fwrite(head, n, 1, to);
    for (; n < padded; n++)
        fputc(' ', to);
    cJSON_free(head);
    each_state(r, write_state, to);
    return fflush(to) == 0 && !ferror(to);
}

static _Noreturn void save_failed(const char *path, const char *tmp, int why)
{
    if (tmp)
        unlink(tmp);
    bool before = tmp && access(path, F_OK) == 0;
    rt_fail("%s: the checkpoint cannot be written: %s%s", path, strerror(why),
            before ? "; the one before is whole" : "");
}

/* The folder's entry must be on the disk too. */
static void sync_folder(const char *path)
{
    char *folder = rt_strdup(path), *slash = strrchr(folder, '/');
    if (slash == folder)
        slash++;
    if (slash)
        *slash = 0;
    int fd = open(slash ? folder : ".", O_RDONLY);
    if (fd >= 0) {
        fsync(fd);                               /* some file systems cannot; the file itself is safe */
        close(fd);
    }
    free(folder);
}

void checkpoint_save(Run *r, const char *path)
{
    struct stat st;
    bool special = stat(path, &st) == 0 && !S_ISREG(st.st_mode);         /* a device or a pipe is not to be replaced */
    char *tmp = special ? NULL : rt_printf("%s.tmp", path);
    metrics_sync(r);
    errno = 0;
    FILE *to = fopen(special ? path : tmp, "wb");
    if (!to)
        save_failed(path, NULL, errno);
    errno = 0;
    bool ok = write_all(r, to) && (special || fsync(fileno(to)) == 0);
    int why = errno;
    if (fclose(to) != 0 && ok) {
        ok = false;
        why = errno;
    }
    if (!ok || (!special && rename(tmp, path) != 0))
        save_failed(path, tmp, ok ? errno : why);
    if (!special)
        sync_folder(path);
    free(tmp);
}

/* ---- reading: nothing in the file is believed */
typedef struct { Run *r; const char *path; const unsigned char *bytes; Safetensors file; cJSON *run; } Loading;

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

/* Another program: which state tells the difference? */
static _Noreturn void refuse(const Loading *l)
{
    const Run *r = l->r;
    char a[128], b[128];
    for (int t = 0; t < l->file.n; t++) {
        const Tensor_at *own = &l->file.tensor[t];
        bool found = false;
        for (int i = 0; i < r->desc.ninst; i++) {
            const Do *made = maker(&r->desc, i);
            const Model *m = made ? &r->desc.model[made->model] : NULL;
            for (int k = 0; m && k < m->nstate; k++) {
                char *key = state_key(r, i, k);
                bool same = strcmp(key, own->name) == 0;
                free(key);
                if (!same)
                    continue;
                found = true;
                if (own->shape.type != m->state[k].shape.type || !shape_same_dims(&own->shape, &m->state[k].shape))
                    rt_fail("%s: made by another program: %s is %s there and %s here", l->path, own->name,
                            shape_str(&own->shape, a, sizeof a),
                            shape_str(&m->state[k].shape, b, sizeof b));
            }
        }
        if (!found)
            rt_fail("%s: made by another program: %s is no state of this one", l->path, own->name);
    }
    rt_fail("%s: made by another program: its schedule or the states that it makes differ from this one's", l->path);
}

static void load_state(Loading *l, int inst, int state)
{
    Instance *in = &l->r->inst[inst];
    const State *s = &l->r->desc.model[in->model].state[state];
    char *key = state_key(l->r, inst, state);
    const Tensor_at *t = safetensors_find(&l->file, key);
    if (!t || t->shape.type != s->shape.type || !shape_same_dims(&t->shape, &s->shape))
        rt_fail("%s: damaged: %s is missing or has another shape", l->path, key);
    memcpy(in->state + s->offset, l->bytes + t->at, s->shape.bytes);
    free(key);
}

static void load_instances(Loading *l)
{
    Run *r = l->r;
    for (const cJSON *o = read_list(l, l->run, "instances", -1); o; o = o->next) {
        int i = (int)read_whole(l, o, "inst", 0, r->desc.ninst - 1);
        int model = (int)read_whole(l, o, "version", 0, r->desc.nmodel - 1);
        const Do *made = maker(&r->desc, i);
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
            rt_fail("%s: stream %s had %lld items when this was saved, and has %lld now", l->path, d->stream[i].name,
                    (long long)n,
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

static const char *metadata(const Loading *l, const char *key)
{
    const cJSON *x = cJSON_GetObjectItemCaseSensitive(l->file.metadata, key);
    return cJSON_IsString(x) ? x->valuestring : NULL;
}

void checkpoint_load(Run *r, const char *path)
{
    Loading l = {.r = r, .path = path};
    Err err;
    size_t n;
    unsigned char *bytes = file_read(path, &n, &err);
    if (!bytes)
        rt_fail("%s", err.text);
    l.bytes = bytes;
    if (!safetensors_parse(bytes, n, &l.file, &err))
        rt_fail("%s: %s", path, err.text);
    const char *format = metadata(&l, "format"), *hash = metadata(&l, "hash"), *run = metadata(&l, "run");
    if (!format || strcmp(format, "nlc checkpoint 1") != 0 || !hash || !run)
        rt_fail("%s: a safetensors file, but no checkpoint of a program", path);
    if (strcmp(hash, r->desc.hash) != 0)
        refuse(&l);
    l.run = cJSON_Parse(run);
    if (!cJSON_IsObject(l.run))
        damaged(&l, "run");
    load_run(&l);
    cJSON_Delete(l.run);
    safetensors_free(&l.file);
    free(bytes);
}
