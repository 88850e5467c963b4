/* data.c: element types and shapes. */
#include "data.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct { const char *name; size_t size; } types[NSTORED] = {
    [T_F32] = {"f32", 4}, [T_F64] = {"f64", 8}, [T_I32] = {"i32", 4}, [T_I64] = {"i64", 8}, [T_U32] = {"u32", 4},
    [T_U8] = {"u8", 1}, [T_BOOL] = {"bool", 1}, [T_I8] = {"i8", 1}, [T_I16] = {"i16", 2}, [T_U16] = {"u16", 2},
    [T_U64] = {"u64", 8},
};

bool err_set(Err *e, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    return false;
}

const char *type_name(Type t) { return types[t].name; }
size_t type_size(Type t) { return types[t].size; }

bool type_find(const char *name, Type *t)
{
    for (int i = 0; i < NTYPES; i++)
        if (strcmp(types[i].name, name) == 0) {
            *t = (Type)i;
            return true;
        }
    return false;
}

bool shape_set(Shape *s, Type t, int rank, const int64_t *dim)
{
    const int64_t most = INT64_C(1) << 48;
    if (rank < 0 || rank > MAXRANK)
        return false;
    *s = (Shape){.type = t, .rank = rank, .count = 1};
    for (int i = 0; i < rank; i++) {
        if (dim[i] < 0 || (dim[i] > 0 && s->count > most / dim[i]))
            return false;
        s->dim[i] = dim[i];
        s->count *= dim[i];
    }
    s->bytes = (size_t)s->count * type_size(t);
    return true;
}

char *shape_str(const Shape *s, char *buf, size_t n)
{
    int at = snprintf(buf, n, "%s[", type_name(s->type));
    for (int i = 0; i < s->rank && at >= 0 && (size_t)at < n; i++)
        at += snprintf(buf + at, n - (size_t)at, "%s%lld", i ? ", " : "", (long long)s->dim[i]);
    if (at >= 0 && (size_t)at < n)
        snprintf(buf + at, n - (size_t)at, "]");
    return buf;
}

bool shape_same_dims(const Shape *a, const Shape *b)
{
    return a->rank == b->rank && memcmp(a->dim, b->dim, sizeof a->dim[0] * (size_t)a->rank) == 0;
}

/* Integers as int64 (u64 wraps); floats through double. memcpy, so that bytes of a file need no alignment. */
#define LOAD(T, x) do { T v_; memcpy(&v_, (const char *)from + (size_t)i * sizeof v_, sizeof v_); (x) = v_; } while (0)

static int64_t load_whole(Type t, const void *from, int64_t i)
{
    int64_t x = 0;
    switch (t) {
    case T_I32: LOAD(int32_t, x); break;
    case T_I64: LOAD(int64_t, x); break;
    case T_U32: LOAD(uint32_t, x); break;
    case T_U8: case T_BOOL: LOAD(uint8_t, x); break;
    case T_I8: LOAD(int8_t, x); break;
    case T_I16: LOAD(int16_t, x); break;
    case T_U16: LOAD(uint16_t, x); break;
    case T_U64: { uint64_t u; LOAD(uint64_t, u); memcpy(&x, &u, sizeof x); break; }
    default: break;
    }
    return x;
}

double load_number(Type t, const void *from, int64_t i)
{
    double d = 0;
    if (t == T_F32)
        LOAD(float, d);
    else if (t == T_F64)
        LOAD(double, d);
    else if (t == T_U64) {
        uint64_t u;
        LOAD(uint64_t, u);
        d = (double)u;
    } else
        d = (double)load_whole(t, from, i);
    return d;
}

/* A double as an integer: NaN is 0, what is too large is the largest. */
static int64_t to_whole(double d)
{
    if (isnan(d))
        return 0;
    return d >= 9223372036854775807.0 ? INT64_MAX : d <= -9223372036854775808.0 ? INT64_MIN : (int64_t)d;
}

#define STORE(T, x) do { T v_ = (T)(x); memcpy((char *)dst + (size_t)i * sizeof v_, &v_, sizeof v_); } while (0)

static void store(Type to, void *dst, int64_t i, bool real, double d, int64_t w)
{
    if (to == T_F32)
        STORE(float, real ? d : (double)w);
    else if (to == T_F64)
        STORE(double, real ? d : (double)w);
    else if (to == T_BOOL)
        STORE(uint8_t, real ? d != 0 : w != 0);
    else {
        int64_t x = real ? to_whole(d) : w;
        switch (type_size(to)) {
        case 8: STORE(int64_t, x); break;
        case 4: STORE(uint32_t, (uint64_t)x); break;
        default: STORE(uint8_t, (uint64_t)x); break;
        }
    }
}

void convert(Type to, void *dst, Type from, const void *src, int64_t n)
{
    if (n <= 0)
        return;
    if (to == from) {
        memcpy(dst, src, (size_t)n * type_size(to));
        return;
    }
    if (from == T_U8 && to == T_F32) {
        const unsigned char *s = src;
        float *d = dst;
        for (int64_t i = 0; i < n; i++)
            d[i] = s[i];
        return;
    }
    bool real = from == T_F32 || from == T_F64 || from == T_U64;
    for (int64_t i = 0; i < n; i++)
        store(to, dst, i, real, real ? load_number(from, src, i) : 0, real ? 0 : load_whole(from, src, i));
}
