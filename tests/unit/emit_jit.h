/* emit_jit.h: for tests of emitted code: makes a module's functions callable in the running process. */
#ifndef EMIT_JIT_H
#define EMIT_JIT_H
#include "emit.h"

/* Compiles em (and frees it), links it as a shared object and loads it; exits with a message if that fails. */
void *jit_load(Em *em);
void *jit_find(void *lib, const char *name);
double seconds(void);

/* A generator of test data: the same numbers on every machine. */
uint64_t rng_next(uint64_t *state);
double rng_unit(uint64_t *state);                    /* -1 .. 1 */

void flush_denormals(bool on);                       /* as the runtime's workers do */

/* Zeroed memory that ends where a page begins that nobody may touch: reading or writing past the end is a crash. */
void *guarded_alloc(size_t bytes);
void guarded_free(void *p, size_t bytes);
#endif
