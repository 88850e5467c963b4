/* memory.c: what a model has learned in its context, apart from its weights: the kept states of its inner levels, as a safetensors file
   of its own. A run that loads one begins where another ended; the file is never written by that, so many runs may go on from it.

   Every instance has a memory of its own: `loaded` is put in place of the fresh births when the instance's first step with kept
   states begins, and `noted` is what its last such step left behind (of a test: before the training's memory is put back). Beside the
   states stands, for generate and stream, the token that was seen last, which the model has not been given yet, and how many it has.
   `stream --learning` moves states of the model itself: `moved` says which, and from then on they belong to the memory. */
#include "rt.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

bool model_keeps(const Model *m)
{
    for (int i = 0; m && i < m->nstate; i++)
        if (m->state[i].kept)
            return true;
    return false;
}

static bool stream_moves(const Desc *d, const Model *m, int state)
{
    for (int i = 0; i < d->ngenerate; i++)
        for (int k = 0; k < d->generate[i].nmove; k++)
            if (&d->model[d->generate[i].model] == m && d->generate[i].move[k] == state)
                return true;
    return false;
}

bool memory_holds(const Desc *d, const Model *m, int state) { return m->state[state].kept || stream_moves(d, m, state); }

void kept_copy(const Model *m, char *to, const char *from)
{
    for (int i = 0; i < m->nstate; i++)
        if (m->state[i].kept)
            memcpy(to + m->state[i].offset, from + m->state[i].offset, m->state[i].shape.bytes);
}

/* What belongs to the memory of the instance. */
static bool holds(const Run *r, const Model *m, int inst, int state)
{
    return m->state[state].kept || (r->memory[inst].moved && r->memory[inst].moved[state]);
}

static void copy_memory(const Run *r, const Model *m, int inst, char *to, const char *from)
{
    for (int i = 0; i < m->nstate; i++)
        if (holds(r, m, inst, i))
            memcpy(to + m->state[i].offset, from + m->state[i].offset, m->state[i].shape.bytes);
}

static void set_moved(Run *r, const Model *m, int inst, int state)
{
    if (!r->memory[inst].moved)
        r->memory[inst].moved = rt_alloc(sizeof(bool) * (size_t)m->nstate);
    r->memory[inst].moved[state] = true;
}

void memory_moves(Run *r, int inst, const Generate *g)
{
    for (int i = 0; i < g->nmove; i++)
        set_moved(r, &r->desc.model[g->model], inst, g->move[i]);
}

/* ---- writing */
typedef void (*Visit)(const Run *r, int inst, int state, void *with);

/* What the instances have in memory, in the order of their element size, so that every tensor is aligned in the file. */
static void each_kept(const Run *r, Visit visit, void *with)
{
    static const size_t sizes[] = {8, 4, 1};
    for (int z = 0; z < 3; z++)
        for (int i = 0; i < r->desc.ninst; i++) {
            const Model *m = r->memory[i].noted ? instance_model(&r->desc, i) : NULL;
            for (int k = 0; m && k < m->nstate; k++)
                if (holds(r, m, i, k) && type_size(m->state[k].shape.type) == sizes[z])
                    visit(r, i, k, with);
        }
}

typedef struct { cJSON *head; size_t at; } Heading;

static void head_kept(const Run *r, int inst, int state, void *with)
{
    Heading *h = with;
    char *key = state_key(r, inst, state);
    head_add(h->head, key, &instance_model(&r->desc, inst)->state[state].shape, &h->at);
    free(key);
}

static void write_kept(const Run *r, int inst, int state, void *with)
{
    const State *s = &instance_model(&r->desc, inst)->state[state];
    if (s->shape.bytes)
        fwrite(r->memory[inst].noted + s->offset, s->shape.bytes, 1, (FILE *)with);
}

static void add_whole(cJSON *o, const char *key, int64_t v)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, v);
    cJSON_AddStringToObject(o, key, text);
}

static void write_memory(FILE *to, const void *run)
{
    const Run *r = run;
    Heading h = {head_new(&r->desc, "nlc memory 1"), 0};
    cJSON *meta = cJSON_GetObjectItemCaseSensitive(h.head, "__metadata__");
    for (int i = 0; i < r->desc.ninst; i++)
        if (r->memory[i].noted && r->memory[i].last >= 0) {
            add_whole(meta, "last", r->memory[i].last);
            add_whole(meta, "tokens", r->memory[i].tokens);
        }
    each_kept(r, head_kept, &h);
    head_write(h.head, to);
    each_kept(r, write_kept, to);
}

void memory_note(Run *r, int inst)
{
    const Instance *in = &r->inst[inst];
    const Model *m = &r->desc.model[in->model];
    if (!r->memory_save || (!model_keeps(m) && !r->memory[inst].moved))
        return;
    if (!r->memory[inst].noted)
        r->memory[inst].noted = rt_alloc(m->bytes);
    copy_memory(r, m, inst, r->memory[inst].noted, in->state);
}

/* Of a run that was resumed after their last step. */
void memory_note_rest(Run *r)
{
    for (int i = 0; i < r->desc.ninst; i++)
        if (r->inst[i].state && !r->memory[i].noted)
            memory_note(r, i);
}

void memory_write(Run *r)
{
    if (r->memory_save)
        save_file(r->memory_save, "memory", write_memory, r);
}

/* ---- reading */
static int64_t whole_text(const Saved *s, const char *key, int64_t absent)
{
    const char *text = saved_text(s, key);
    char *end = NULL;
    int64_t v = text ? strtoll(text, &end, 10) : absent;
    if (text && (end == text || *end || v < 0))
        rt_fail("%s: damaged: its metadata lack a proper '%s'", s->path, key);
    return v;
}

/* All kept states of the instance, or none, and what a stream has moved. */
static void load_instance(Run *r, const Saved *s, int inst, int *found)
{
    const Model *m = instance_model(&r->desc, inst);
    int own = 0, found_kept = 0, all = 0;
    char *at = rt_alloc(m->bytes);
    for (int k = 0; k < m->nstate; k++) {
        if (!memory_holds(&r->desc, m, k))
            continue;
        char *key = state_key(r, inst, k);
        const Tensor_at *t = safetensors_find(&s->file, key);
        all += m->state[k].kept;
        if (t && !saved_fits(t, &m->state[k]))
            rt_fail("%s: damaged: %s has another shape", s->path, key);
        free(key);
        if (!t)
            continue;
        found_kept += m->state[k].kept;
        own++;
        if (!m->state[k].kept)
            set_moved(r, m, inst, k);
        memcpy(at + m->state[k].offset, s->bytes + t->at, m->state[k].shape.bytes);
    }
    if (own && found_kept < all)
        rt_fail("%s: damaged: it lacks some kept states of %s", s->path, m->label);
    *found += own;
    r->memory[inst].loaded = own ? at : NULL;
    r->memory[inst].last = own ? whole_text(s, "last", -1) : -1;
    r->memory[inst].tokens = own ? whole_text(s, "tokens", 0) : 0;
    if (!own)
        free(at);
}

static void load(Run *r)
{
    Saved s;
    int found = 0;
    saved_open(&s, r->memory_load, "nlc memory 1", "memory");
    if (strcmp(saved_text(&s, "hash"), r->desc.hash) != 0)
        saved_refuse(r, &s, true);
    for (int i = 0; i < r->desc.ninst; i++)
        if (instance_model(&r->desc, i))
            load_instance(r, &s, i, &found);
    if (found < s.file.n)
        saved_refuse(r, &s, true);
    if (!found)
        rt_fail("%s: an empty memory", r->memory_load);
    saved_close(&s);
}

/* Does the command meet states that a memory holds? */
static bool uses_memory(const Run *r, bool schedule)
{
    for (int i = 0; schedule && i < r->desc.ndo; i++)
        if ((r->desc.todo[i].kind == DO_TRAIN || r->desc.todo[i].kind == DO_TEST) && r->desc.todo[i].fresh >= 0)
            return true;
    for (int i = 0; !schedule && i < r->desc.ngenerate; i++)
        if (model_keeps(&r->desc.model[r->desc.generate[i].model]) || r->desc.generate[i].nmove)
            return true;
    return false;
}

void memory_open(Run *r, bool schedule)
{
    r->memory = rt_alloc(sizeof *r->memory * (size_t)r->desc.ninst);
    for (int i = 0; i < r->desc.ninst; i++)
        r->memory[i].last = -1;
    if ((r->memory_load || r->memory_save || r->memory_reset) && !uses_memory(r, schedule))
        rt_usage("--memory-%s: no %s of %s keeps what it learns in its context%s", r->memory_load ? "load" : r->memory_save ? "save" : "reset",
                 schedule ? "train or test" : "model", r->desc.source, schedule ? " from item to item: `keep` makes it" : "");
    if (r->memory_load)
        load(r);
}

bool memory_begins(Run *r, int inst)
{
    bool first = !r->memory[inst].begun;
    r->memory[inst].begun = true;
    return first;
}

bool memory_put(Run *r, int inst)
{
    const Instance *in = &r->inst[inst];
    if (!r->memory[inst].loaded)
        return false;
    copy_memory(r, &r->desc.model[in->model], inst, in->state, r->memory[inst].loaded);
    return true;
}
