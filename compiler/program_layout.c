/* program_layout.c: where a model's states lie in an instance. The description, the code and the interpreter all ask
   here. State i begins at the first multiple of 64 bytes after state i - 1; an instance ends at a multiple of 64. */
#include "program.h"
#include <assert.h>

enum { ALIGN = 64 };

static int64_t align_up(int64_t n) { return (n + ALIGN - 1) / ALIGN * ALIGN; }

int64_t state_bytes(const State *s)
{
    int64_t n = dt_size(s->dt);
    for (int i = 0; i < s->rank; i++) n *= s->dim[i];
    return n;
}

int64_t state_offset(const Model *m, int state)
{
    assert(state >= 0 && state <= m->state.n);
    int64_t at = 0;
    for (int i = 0; i < state; i++) at = align_up(at + state_bytes(m->state.at[i]));
    return at;
}

int64_t model_bytes(const Model *m) { return state_offset(m, m->state.n); }
