/* arena.c: the memory of a compilation. Requires nothing; everything that is handed out is zeroed, aligned to 16 bytes
   and lives until arena_free_all. Names are interned here, so that equal names are equal pointers. */
#include "nlc.h"
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* With the address sanitizer what is not handed out is forbidden ground, and a gap stands between two pieces. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define FORBID(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define ALLOW(p, n)  ASAN_UNPOISON_MEMORY_REGION(p, n)
#define GAP ((size_t)16)
#else
#define FORBID(p, n) ((void)(p), (void)(n))
#define ALLOW(p, n)  ((void)(p), (void)(n))
#define GAP ((size_t)0)
#endif

#define CHUNK ((size_t)1 << 18)
#define ALIGN ((size_t)16)

typedef struct Chunk Chunk;
struct Chunk {
    Chunk *next;
    size_t used, size;
};

/* The header takes a whole number of alignment units, so that what follows it is aligned as malloc aligns. */
#define HEADER ((sizeof(Chunk) + ALIGN - 1) / ALIGN * ALIGN)

static Chunk *chunks;

static void out_of_memory(void)
{
    fputs("nlc: out of memory\n", stderr);
    exit(1);
}

static Chunk *chunk_new(size_t size)
{
    Chunk *c = calloc(1, HEADER + size);
    if (!c) out_of_memory();
    c->size = size;
    FORBID((char *)c + HEADER, size);
    return c;
}

void *arena_alloc(size_t n)
{
    if (n > SIZE_MAX / 2) out_of_memory();
    size_t wanted = n;
    n = (n + ALIGN - 1) / ALIGN * ALIGN + GAP;
    if (n == 0) n = ALIGN;
    if (n > CHUNK / 4) {                            /* big pieces stand alone, behind the chunk that is being filled */
        Chunk *c = chunk_new(n);
        c->used = n;
        if (chunks) {
            c->next = chunks->next;
            chunks->next = c;
        } else {
            chunks = c;
        }
        ALLOW((char *)c + HEADER, wanted);
        return (char *)c + HEADER;
    }
    if (!chunks || chunks->size - chunks->used < n) {
        Chunk *c = chunk_new(CHUNK);
        c->next = chunks;
        chunks = c;
    }
    void *p = (char *)chunks + HEADER + chunks->used;
    chunks->used += n;
    ALLOW(p, wanted);
    return p;
}

char *arena_strndup(const char *s, size_t n)
{
    char *copy = arena_alloc(n + 1);
    memcpy(copy, s, n);
    return copy;
}

char *arena_strdup(const char *s)
{
    return arena_strndup(s, strlen(s));
}

char *arena_printf(const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) n = 0;
    char *s = arena_alloc((size_t)n + 1);
    vsnprintf(s, (size_t)n + 1, fmt, again);
    va_end(again);
    return s;
}

void vec_grow(void **at, int *cap, int n, size_t size)
{
    if (n < *cap) return;
    if (*cap > INT_MAX / 2) out_of_memory();
    int more = *cap ? 2 * *cap : 8;
    void *bigger = arena_alloc((size_t)more * size);
    if (n) memcpy(bigger, *at, (size_t)n * size);
    *at = bigger;
    *cap = more;
}

/* ---- interned strings: open addressing, never more than half full */

static struct {
    const char **slot;
    size_t size, n;
} names;

static size_t hash(const char *s)
{
    uint64_t h = 14695981039346656037u;             /* FNV-1a */
    for (; *s; s++) h = (h ^ (unsigned char)*s) * 1099511628211u;
    return (size_t)(h ^ h >> 32);
}

static const char **find_slot(const char *s)
{
    size_t i = hash(s) & (names.size - 1);
    while (names.slot[i] && strcmp(names.slot[i], s)) i = (i + 1) & (names.size - 1);
    return &names.slot[i];
}

static void names_grow(void)
{
    const char **old = names.slot;
    size_t n = names.size;
    names.size = n ? 2 * n : 1024;
    names.slot = calloc(names.size, sizeof *names.slot);
    if (!names.slot) out_of_memory();
    for (size_t i = 0; i < n; i++)
        if (old[i]) *find_slot(old[i]) = old[i];
    free(old);
}

const char *intern(const char *s)
{
    if (2 * (names.n + 1) > names.size) names_grow();
    const char **slot = find_slot(s);
    if (!*slot) {
        *slot = arena_strdup(s);
        names.n++;
    }
    return *slot;
}

void arena_free_all(void)
{
    while (chunks) {
        Chunk *next = chunks->next;
        free(chunks);
        chunks = next;
    }
    free(names.slot);
    names.slot = NULL;
    names.size = names.n = 0;
}
