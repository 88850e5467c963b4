/* reference.c: `nlc run --reference`: the runtime over the evaluator.

   Requires a program whose entries still have their regions. Makes the nl_program that a compiled object would export,
   with one function for all entries: it turns the buffers of the call into tensors, evaluates the region, and writes
   states and outputs back. Slow, and the yardstick for the fast way: same description, same streams, same schedule,
   other arithmetic. Every entry is run by thread 0 of the team alone. */
#include <pthread.h>
#include "program.h"
#include "../runtime/nlrt.h"
#include <stdlib.h>
#include <string.h>

typedef struct {
    const Entry *e;
    int64_t *in_at, *out_at;     /* B_STATE: offset in the instance */
} Interpreted;

/* ---- Buffers and tensors. */

static int64_t tensor_size(const Tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++) n *= t->dim[i];
    return n;
}

#define READ(type, to) for (int64_t j = 0; j < n; j++) t->to[j] = ((const type *)from)[j]
static void tensor_read(Tensor *t, const void *from)
{
    int64_t n = tensor_size(t);
    switch (t->dt) {
    case F32:  READ(float, f); break;
    case F64:  READ(double, f); break;
    case I32:  READ(int32_t, i); break;
    case I64:  READ(int64_t, i); break;
    case U32:  READ(uint32_t, i); break;
    default:   READ(uint8_t, i); break;
    }
}

#define WRITE(type, from) for (int64_t j = 0; j < n; j++) ((type *)to)[j] = (type)t->from[j]
static void tensor_write(const Tensor *t, void *to)
{
    int64_t n = tensor_size(t);
    switch (t->dt) {
    case F32:  WRITE(float, f); break;
    case F64:  WRITE(double, f); break;
    case I32:  WRITE(int32_t, i); break;
    case I64:  WRITE(int64_t, i); break;
    case U32:  WRITE(uint32_t, i); break;
    default:   WRITE(uint8_t, i); break;
    }
}

/* ---- The one function. */

static void read_bound(Tensor *t, Bind b, int64_t at, const nl_call *c)
{
    switch (b.kind) {
    case B_STATE: tensor_read(t, c->state + at); break;
    case B_FIELD: tensor_read(t, c->in[b.index]); break;
    case B_COUNT: t->i[0] = c->count; break;
    case B_INDEX: t->i[0] = c->index; break;
    case B_SEED:  t->i[0] = (int64_t)c->seed; break;
    case B_OUT:   break;
    }
}

/* The evaluator keeps buffers by region, so one call at a time: items of a batch are fetched by several threads. */
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

static void interpret(const nl_call *c)
{
    if (c->tid != 0) return;
    const Interpreted *self = c->self;
    const Region *r = self->e->r;
    Tensor **in = calloc((size_t)r->np + 1, sizeof *in), **out = calloc((size_t)r->nr + 1, sizeof *out);
    if (!in || !out) { fputs("nlc: out of memory\n", stderr); exit(1); }
    for (int k = 0; k < r->np; k++) {
        const Node *x = r->formal[k];
        in[k] = tensor_new((Dt)x->dt, x->rank, x->dim);
        read_bound(in[k], self->e->in[k], self->in_at[k], c);
    }
    EvalStatus st = {0};
    pthread_mutex_lock(&one_at_a_time);
    region_eval(r, in, out, true, &st);
    pthread_mutex_unlock(&one_at_a_time);
    if (st.bad && c->status && (!c->status->bad || st.site < c->status->site))
        *c->status = (nl_status){.site = st.site, .index = st.index, .limit = st.value, .bad = 1};
    for (int k = 0; k < r->nr; k++) {
        Bind b = self->e->out[k];
        if (b.kind == B_STATE) tensor_write(out[k], c->state + self->out_at[k]);
        else tensor_write(out[k], c->out[b.index]);
        tensor_free(out[k]);
    }
    for (int k = 0; k < r->np; k++) tensor_free(in[k]);
    free(in);
    free(out);
}

static int64_t *offsets(const Entry *e, int n, const Bind *bind)
{
    int64_t *at = NEWN(int64_t, n + 1);
    for (int k = 0; k < n; k++) if (bind[k].kind == B_STATE) at[k] = state_offset(e->model, bind[k].index);
    return at;
}

int reference_run(Program *p, int argc, char **argv)
{
    nl_entry *entry = NEWN(nl_entry, p->entry.n + 1);
    for (int i = 0; i < p->entry.n; i++) {
        Interpreted *self = NEW(Interpreted);
        self->e = p->entry.at[i];
        self->in_at = offsets(self->e, self->e->r->np, self->e->in);
        self->out_at = offsets(self->e, self->e->r->nr, self->e->out);
        entry[i] = (nl_entry){interpret, self};
    }
    nl_program program = {.abi = NL_ABI, .json = program_json(p), .entry = entry, .nentry = p->entry.n};
    program.cpu_features = "";
    return nlrt_main(&program, argc, argv);
}
