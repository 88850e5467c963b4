/* util.c: failing, memory, hashes, time. */
#define _POSIX_C_SOURCE 200809L
#include "rt.h"
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const char *rt_name = "program";

/* Several threads may fail at once: the first one speaks, the others wait for the end. */
static void one_fails(void)
{
    static atomic_flag failing = ATOMIC_FLAG_INIT;
    while (atomic_flag_test_and_set(&failing))
        pause();
}

static void say(const char *place, const char *kind, const char *fmt, va_list ap)
{
    progress_clear();
    fflush(stdout);
    fprintf(stderr, "%s: %s", place, kind);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
}

#define FAIL(place, status) do {                  \
        va_list ap;                               \
        one_fails();                              \
        va_start(ap, fmt);                        \
        say(place, "error: ", fmt, ap);           \
        va_end(ap);                               \
        exit(status);                             \
    } while (0)

_Noreturn void rt_fail(const char *fmt, ...) { FAIL(rt_name, 1); }
_Noreturn void rt_usage(const char *fmt, ...) { FAIL(rt_name, 2); }
_Noreturn void rt_fail_at(const char *place, const char *fmt, ...) { FAIL(place && *place ? place : rt_name, 1); }

void rt_note(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    say(rt_name, "warning: ", fmt, ap);
    va_end(ap);
}

void *rt_alloc(size_t n)
{
    size_t room = (n + 64) & ~(size_t)63;
    void *p = room >= n ? aligned_alloc(64, room) : NULL;
    if (!p)
        rt_fail("not enough memory for %zu bytes", n);
    return memset(p, 0, room);
}

void *rt_grow(void *p, size_t n)
{
    p = realloc(p, n ? n : 1);
    if (!p)
        rt_fail("not enough memory for %zu bytes", n);
    return p;
}

char *rt_strdup(const char *s)
{
    size_t n = strlen(s) + 1;
    return memcpy(rt_grow(NULL, n), s, n);
}

char *rt_printf(const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *s = rt_grow(NULL, (size_t)(n < 0 ? 0 : n) + 1);
    *s = 0;
    vsnprintf(s, (size_t)(n < 0 ? 0 : n) + 1, fmt, again);
    va_end(again);
    return s;
}

uint64_t rt_hash(uint64_t h, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

uint64_t rt_mix(uint64_t x)
{
    x ^= x >> 32;
    x *= 0xe9846af9b1a615du;
    x ^= x >> 32;
    x *= 0xe9846af9b1a615du;
    return x ^ x >> 28;
}

double rt_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
