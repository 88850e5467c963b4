/* desc.c: the description of the program, from JSON to structs. It was written by the compiler, so a fault in it is a fault of
   the build; but every index is checked, so that nothing behind this file has to. Strings stay in the JSON tree, which is kept. */
#include "rt.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void bad(const char *what)
{
    rt_fail("the description in this executable is damaged (%s); compile it again", what);
}

static const cJSON *get(const cJSON *o, const char *key) { return cJSON_GetObjectItemCaseSensitive(o, key); }

static const cJSON *list(const cJSON *o, const char *key, int *n)
{
    const cJSON *a = get(o, key);
    *n = cJSON_IsArray(a) ? cJSON_GetArraySize(a) : 0;
    return *n ? a->child : NULL;
}

static const char *text(const cJSON *o, const char *key)     /* NULL where it is absent or null */
{
    const cJSON *s = get(o, key);
    return cJSON_IsString(s) ? s->valuestring : NULL;
}

static const char *need_text(const cJSON *o, const char *key)
{
    const char *s = text(o, key);
    if (!s)
        bad(key);
    return s;
}

static double number(const cJSON *o, const char *key, double absent)
{
    const cJSON *x = get(o, key);
    return cJSON_IsNumber(x) && isfinite(x->valuedouble) ? x->valuedouble : absent;
}

static int64_t whole(const cJSON *o, const char *key, int64_t absent, int64_t least, int64_t most)
{
    double x = number(o, key, (double)absent);
    if (x < (double)least || x > (double)most)
        bad(key);
    return (int64_t)x;
}

static int index_of(const cJSON *o, const char *key, int n) { return (int)whole(o, key, -1, -1, n - 1); }

static int need_index(const cJSON *o, const char *key, int n)
{
    int i = index_of(o, key, n);
    if (i < 0)
        bad(key);
    return i;
}

static bool flag(const cJSON *o, const char *key) { return cJSON_IsTrue(get(o, key)); }

static const int64_t huge = INT64_C(1) << 50;
static int64_t size(const cJSON *o, const char *key) { return whole(o, key, 0, 0, huge); }

static Shape shape(const cJSON *o)
{
    Shape s;
    Type t;
    int n;
    int64_t dim[MAXRANK];
    const cJSON *x = list(o, "shape", &n);
    if (!type_find(need_text(o, "type"), &t) || n > MAXRANK)
        bad("type");
    for (int i = 0; i < n; i++, x = x->next)
        dim[i] = cJSON_IsNumber(x) ? (int64_t)x->valuedouble : -1;
    if (!shape_set(&s, t, n, dim))
        bad("shape");
    return s;
}

/* An array of n structs from `o[key]`: each is `read`, an expression of its JSON `item`. */
#define READ_LIST(o, key, n, at, read) do {                                                 \
        const cJSON *item = list(o, key, &(n));                                             \
        (at) = rt_alloc(sizeof *(at) * (size_t)(n));                                        \
        for (int i_ = 0; i_ < (n); i_++, item = item->next)                                 \
            (at)[i_] = read;                                                                \
    } while (0)

static const char *string_item(const cJSON *x)
{
    if (!cJSON_IsString(x))
        bad("a list of texts");
    return x->valuestring;
}

static double number_item(const cJSON *x) { return cJSON_IsNumber(x) ? x->valuedouble : 0; }

static int index_item(const cJSON *x, int n)
{
    if (!cJSON_IsNumber(x) || x->valuedouble < 0 || x->valuedouble >= n)
        bad("a list of indices");
    return (int)x->valuedouble;
}

/* ---- models */
static State read_state(const cJSON *o)
{
    static const char *const kinds[] = {"learn", "state", "rule", "count", "gsum"};
    State s = {.path = need_text(o, "path"), .rule = text(o, "rule"), .shape = shape(o), .offset = (size_t)size(o, "offset"),
               .every = size(o, "every"), .count = (int)whole(o, "count", -1, -1, INT32_MAX), .of = (int)whole(o, "of", -1, -1, INT32_MAX),
               .level = (int)whole(o, "level", -1, -1, INT32_MAX), .kept = flag(o, "kept")};
    const char *kind = need_text(o, "kind");
    int k = 0;
    while (k < 5 && strcmp(kinds[k], kind) != 0)
        k++;
    if (k == 5)
        bad("kind");
    s.kind = (StateKind)k;
    return s;
}

static Level read_level(const cJSON *o)
{
    return (Level){.name = need_text(o, "name"), .objective = text(o, "objective"), .context = text(o, "context"), .every = size(o, "every")};
}

static Model read_model(const cJSON *o, int nentry)
{
    Model m = {.name = need_text(o, "name"), .label = text(o, "label"), .bytes = (size_t)size(o, "bytes"), .init = index_of(o, "init", nentry)};
    if (!m.label)
        m.label = m.name;
    READ_LIST(o, "states", m.nstate, m.state, read_state(item));
    READ_LIST(o, "levels", m.nlevel, m.level, read_level(item));
    for (int i = 0; i < m.nstate; i++) {
        State *s = &m.state[i];
        if (s->offset > m.bytes || s->shape.bytes > m.bytes - s->offset || s->offset % type_size(s->shape.type) != 0)
            bad("offset");
        if (s->count >= m.nstate || s->of >= m.nstate || s->level >= m.nlevel)
            bad("states");
        if (s->count >= 0 && (m.state[s->count].shape.type != T_I64 || m.state[s->count].shape.count < 1))
            bad("count");
    }
    return m;
}

/* A buffer that the entry does not read is described as unused. */
static Shape buffer(const cJSON *o) { return flag(o, "unused") ? (Shape){.count = -1} : shape(o); }

static Entry read_entry(const cJSON *o)
{
    Entry e = {.name = need_text(o, "name"), .arena = (size_t)size(o, "arena"), .scratch = (size_t)size(o, "scratch"), .work = number(o, "work", 0)};
    READ_LIST(o, "in", e.nin, e.in, buffer(item));
    READ_LIST(o, "out", e.nout, e.out, buffer(item));
    return e;
}

/* ---- streams */
static Field read_field(const cJSON *o) { return (Field){.name = need_text(o, "name"), .shape = shape(o), .from = -1}; }

static Stream read_stream(const cJSON *o, int nstream, int nentry)
{
    Stream s = {.reader = reader_find(need_text(o, "kind")), .name = need_text(o, "name"), .def = text(o, "def"), .line = text(o, "line"),
                .entry = index_of(o, "entry", nentry), .once = index_of(o, "once", nentry), .lo = number(o, "lo", 0), .hi = number(o, "hi", 0), .lo_pct = flag(o, "lo_pct"),
                .hi_pct = flag(o, "hi_pct"), .hi_open = flag(o, "hi_open"), .n = size(o, "n"), .step = size(o, "step"), .anywhere = flag(o, "anywhere")};
    int nweight;
    if (!s.reader)
        bad("kind of a stream");
    READ_LIST(o, "paths", s.npath, s.path, string_item(item));
    READ_LIST(o, "fields", s.nfield, s.field, read_field(item));
    READ_LIST(o, "src", s.nsrc, s.src, index_item(item, nstream));
    READ_LIST(o, "weights", nweight, s.weight, number_item(item));
    READ_LIST(o, "take", s.ntake, s.take, index_item(item, INT32_MAX));
    if (strcmp(s.reader->kind, "mix") == 0 && nweight != s.nsrc)
        bad("weights");
    return s;
}

/* ---- the schedule */
static Var read_var(const cJSON *x)
{
    if (!cJSON_IsArray(x) || cJSON_GetArraySize(x) != 2)
        bad("vars");
    return (Var){string_item(x->child), string_item(x->child->next)};
}

static Field read_step_field(const cJSON *o, const Stream *s)
{
    Field f = read_field(o);
    const cJSON *from = get(o, "from");
    if (cJSON_IsNumber(from))
        f.from = (int)whole(o, "from", -1, 0, s->nfield - 1);
    for (int i = 0; cJSON_IsString(from) && i < s->nfield; i++)
        if (strcmp(s->field[i].name, from->valuestring) == 0)
            f.from = i;
    if (f.from < 0 || !shape_same_dims(&f.shape, &s->field[f.from].shape))
        bad("fields of a step");
    return f;
}

static void read_reports(const cJSON *o, Do *t)
{
    int n;
    const cJSON *x = list(o, "reports", &n);
    t->nreport = n;
    t->report = rt_alloc(sizeof *t->report * (size_t)n);
    t->report_line = rt_alloc(sizeof *t->report_line * (size_t)n);
    for (int i = 0; i < n; i++, x = x->next) {
        t->report[i] = need_text(x, "name");
        t->report_line[i] = text(x, "line");
    }
}

static void check_out(const Entry *e, int64_t count, const char *what)
{
    if (e->nout < 1 || e->out[0].type != T_F64 || e->out[0].count != count)
        bad(what);
}

static void check_in(const Entry *e, int64_t count, const char *what)
{
    if (e->nin > 1 || (e->nin == 1 && e->in[0].count >= 0 && (e->in[0].type != T_F64 || e->in[0].count != count)))
        bad(what);
}

/* The step's entry has one input per field, [batch, shape..], and the sums as its output; it may read less. */
static void check_step(const Desc *d, const Do *t)
{
    const Entry *e = &d->entry[t->entry];
    if (e->nin > t->nfield)
        bad("inputs of a step");
    for (int i = 0; i < e->nin; i++)
        if (e->in[i].count >= 0 && (e->in[i].type != t->field[i].shape.type || e->in[i].count != t->batch * t->field[i].shape.count))
            bad("an input of a step");
    check_out(e, t->naccs, "accs");
    if (t->nreport && t->finish < 0)
        bad("finish");
    if (t->nreport) {
        check_in(&d->entry[t->finish], t->naccs, "finish");
        check_out(&d->entry[t->finish], t->nreport, "finish");
    }
    if (t->until >= 0) {
        const Entry *u = &d->entry[t->until];
        check_in(u, t->nreport, "until");
        if (u->nout != 1 || u->out[0].bytes != 1)
            bad("until");
    }
}

static void read_step(const cJSON *o, Desc *d, Do *t)
{
    static const Stream none;
    t->entry = need_index(o, "entry", d->nentry);
    t->finish = index_of(o, "finish", d->nentry);
    t->until = index_of(o, "until", d->nentry);
    t->fresh = index_of(o, "fresh", d->nentry);
    t->naccs = (int)whole(o, "accs", 2, 2, 1 << 20);
    t->stream = index_of(o, "stream", d->nstream);
    t->batch = whole(o, "batch", 1, 1, INT32_MAX);
    t->count = whole(o, "for", 1, 0, huge);
    t->epochs = flag(o, "epochs");
    t->shuffled = flag(o, "shuffled");
    t->carry = flag(o, "carry");
    t->lanes = flag(o, "lanes");
    t->learning = flag(o, "learning");
    READ_LIST(o, "fields", t->nfield, t->field, read_step_field(item, t->stream < 0 ? &none : &d->stream[t->stream]));
    read_reports(o, t);
    if (t->nreport == 0)
        t->finish = -1;
    check_step(d, t);
}

static void read_table(const cJSON *o, Desc *d, Do *t)
{
    t->title = need_text(o, "title");
    t->rows = text(o, "rows");
    t->cols = text(o, "cols");
    t->cells = text(o, "cells");
    t->lower = flag(o, "lower");
    t->value = need_index(o, "value", d->nentry);
    READ_LIST(o, "names", t->nname, t->name_of, string_item(item));
    const Entry *e = &d->entry[t->value];
    check_in(e, t->nname, "names");
    check_out(e, 1, "value");
}

static int model_ref(const cJSON *o, const Desc *d)
{
    const char *name = text(o, "model");
    for (int i = 0; name && i < d->nmodel; i++)
        if (strcmp(d->model[i].name, name) == 0)
            return i;
    return index_of(o, "model", d->nmodel);
}

static Do read_do(const cJSON *o, Desc *d)
{
    static const char *const kinds[] = {"new", "copy", "seed", "train", "test", "table", "tick"};
    const char *what = need_text(o, "do");
    Do t = {.line = text(o, "line"), .name = text(o, "name"), .entry = -1, .finish = -1, .until = -1, .fresh = -1, .stream = -1, .value = -1,
            .inst = -1, .from = -1, .model = model_ref(o, d), .repeat = (int)whole(o, "repeat", -1, -1, INT32_MAX), .add = whole(o, "add", 0, -huge, huge)};
    int k = 0;
    while (k < DO_TICK && strcmp(kinds[k], what) != 0)
        k++;
    if (strcmp(kinds[k], what) != 0)
        bad("do");
    t.kind = (DoKind)k;
    READ_LIST(o, "vars", t.nvar, t.var, read_var(item));
    if (t.kind == DO_TABLE)
        read_table(o, d, &t);
    if (t.kind == DO_TABLE || t.kind == DO_SEED)
        return t;
    t.inst = (int)whole(o, "inst", -1, 0, 1 << 24);
    if (t.kind == DO_COPY)
        t.from = (int)whole(o, "from", -1, 0, 1 << 24);
    if (t.kind == DO_NEW && t.model < 0)
        bad("model");
    if (t.kind == DO_TRAIN || t.kind == DO_TEST)
        read_step(o, d, &t);
    if (t.kind == DO_TICK) {
        t.event = need_text(o, "event");
        t.entry = index_of(o, "entry", d->nentry);
        if (t.entry < 0)
            bad("entry");
    }
    d->ninst = t.inst >= d->ninst ? t.inst + 1 : d->ninst;
    return t;
}

/* Every instance is made before it is used, and steps know their model. */
static void check_instances(Desc *d)
{
    int *model = rt_alloc(sizeof *model * (size_t)(d->ninst + 1));
    for (int i = 0; i < d->ninst; i++)
        model[i] = -1;
    for (int i = 0; i < d->ndo; i++) {
        Do *t = &d->todo[i];
        if (t->inst < 0)
            continue;
        if (t->kind == DO_COPY)
            t->model = t->from < d->ninst ? model[t->from] : -1;
        if (t->kind == DO_NEW || t->kind == DO_COPY)
            model[t->inst] = t->model;
        t->model = model[t->inst];
        if (t->model < 0)
            bad("inst");
        if (!t->name)
            t->name = d->model[t->model].label;
    }
    free(model);
}

/* ---- models that predict tokens */
static Generate read_generate(const cJSON *o, const Desc *d)
{
    Generate g = {.model = model_ref(o, d), .entry = need_index(o, "entry", d->nentry), .fresh = index_of(o, "fresh", d->nentry),
                  .rows = whole(o, "rows", 1, 1, INT32_MAX), .lag = whole(o, "lag", 0, 0, 1), .classes = whole(o, "classes", 0, 1, INT32_MAX),
                  .window = flag(o, "window"), .ahead = !cJSON_IsFalse(get(o, "ahead")), .type = T_I32};
    const Entry *e = &d->entry[g.entry];
    const char *type = text(o, "type");
    g.learning = text(o, "learning");
    if (type && !type_find(type, &g.type))
        bad("type of tokens");
    if (g.model < 0 || (g.type != T_I32 && g.type != T_I64 && g.type != T_U32 && g.type != T_U8) || (!g.window && g.rows != 1))
        bad("generate");
    READ_LIST(o, "moves", g.nmove, g.move, index_item(item, d->model[g.model].nstate));
    if (e->nin > 1 || (e->nin == 1 && e->in[0].count >= 0 && (e->in[0].type != g.type || e->in[0].count != g.rows + g.lag)))
        bad("tokens of generate");
    if (e->nout < 2 || e->out[0].type != T_F64 || (e->out[1].type != T_F32 && e->out[1].type != T_F64) || e->out[1].count != g.rows * g.classes)
        bad("logits of generate");
    return g;
}

static Site read_site(const cJSON *o) { return (Site){.line = text(o, "line"), .what = text(o, "what")}; }

/* A stream's sources stand before it, and its entry and `take` fit them. */
static void check_streams(const Desc *d)
{
    for (int i = 0; i < d->nstream; i++) {
        const Stream *s = &d->stream[i];
        for (int k = 0; k < s->nsrc; k++)
            if (s->src[k] >= i)
                bad("src");
        for (int k = 0; k < s->ntake; k++)
            if (s->nsrc < 1 || s->take[k] >= d->stream[s->src[0]].nfield)
                bad("take");
    }
}

void desc_read(Desc *d, const nl_program *p)
{
    if (p->abi != NL_ABI)
        rt_fail("this executable was compiled for version %u of the runtime, and linked with version %u; compile it again", p->abi, (unsigned)NL_ABI);
    static cJSON *root;                          /* kept: the strings are in it */
    root = cJSON_Parse(p->json);
    if (!cJSON_IsObject(root))
        bad("not JSON");
    *d = (Desc){.program = p, .version = text(root, "nlc"), .source = text(root, "source"), .dir = text(root, "dir"), .hash = text(root, "hash")};
    if (!d->version) d->version = "";
    if (!d->source) d->source = rt_name;
    if (!d->dir) d->dir = ".";
    if (!d->hash) d->hash = "";
    READ_LIST(root, "entries", d->nentry, d->entry, read_entry(item));
    if (d->nentry != p->nentry)
        bad("entries");
    READ_LIST(root, "models", d->nmodel, d->model, read_model(item, d->nentry));
    int nstream;
    list(root, "streams", &nstream);
    READ_LIST(root, "streams", d->nstream, d->stream, read_stream(item, nstream, d->nentry));
    check_streams(d);
    READ_LIST(root, "schedule", d->ndo, d->todo, read_do(item, d));
    check_instances(d);
    READ_LIST(root, "sites", d->nsite, d->site, read_site(item));
    READ_LIST(root, "generate", d->ngenerate, d->generate, read_generate(item, d));
}
