/* sort.c: argsort, called by emitted code for one line at a time.
   Keys become unsigned numbers in the wanted order, which a radix sort brings in order byte by byte, keeping equals as they
   stood; bytes that are alike in all keys are passed over.  Short lines are sorted by insertion. */
#include "nlrt.h"
#include <string.h>

enum { F32, F64, I32, I64, U32, U8, BOOL };                /* as the compiler numbers them */
enum { SHORT = 32, BYTE = 256 };

static uint64_t flip(uint64_t bits, uint64_t sign) { return bits & sign ? ~bits & (sign | (sign - 1)) : bits | sign; }

/* A float whose order is that of its bits; what is no number comes last, -0 is 0. */
static uint64_t key_of_f32(float x, int falling)
{
    uint32_t bits;
    if (x != x)
        return UINT32_MAX;
    x = x == 0 ? 0 : falling ? -x : x;
    memcpy(&bits, &x, sizeof bits);
    return flip(bits, 0x80000000u);
}

static uint64_t key_of_f64(double x, int falling)
{
    uint64_t bits;
    if (x != x)
        return UINT64_MAX;
    x = x == 0 ? 0 : falling ? -x : x;
    memcpy(&bits, &x, sizeof bits);
    return flip(bits, 0x8000000000000000u);
}

static uint64_t key_of(int32_t dt, const void *x, int64_t i, int falling)
{
    uint64_t k;
    switch (dt) {
    case F32: return key_of_f32(((const float *)x)[i], falling);
    case F64: return key_of_f64(((const double *)x)[i], falling);
    case I32: k = ((const uint32_t *)x)[i] ^ 0x80000000u; break;
    case I64: k = ((const uint64_t *)x)[i] ^ 0x8000000000000000u; break;
    case U32: k = ((const uint32_t *)x)[i]; break;
    default: k = ((const uint8_t *)x)[i];
    }
    return !falling ? k : dt == I64 ? ~k : ~k & UINT32_MAX;
}

typedef struct { uint64_t key; int64_t at; } Item;

static void insert(Item *a, int64_t n)
{
    for (int64_t i = 1; i < n; i++) {
        Item x = a[i];
        int64_t j = i;
        for (; j > 0 && a[j - 1].key > x.key; j--)
            a[j] = a[j - 1];
        a[j] = x;
    }
}

/* One byte of the keys, from a to b; 0 if it is the same in all of them. */
static int pass(const Item *a, Item *b, int64_t n, int shift)
{
    int64_t place[BYTE] = { 0 }, sum = 0;
    for (int64_t i = 0; i < n; i++)
        place[a[i].key >> shift & (BYTE - 1)]++;
    if (place[a[0].key >> shift & (BYTE - 1)] == n)
        return 0;
    for (int k = 0; k < BYTE; k++) {
        int64_t count = place[k];
        place[k] = sum;
        sum += count;
    }
    for (int64_t i = 0; i < n; i++)
        b[place[a[i].key >> shift & (BYTE - 1)]++] = a[i];
    return 1;
}

void nlrt_argsort(int32_t dt, int64_t n, const void *x, int64_t step, int32_t falling, int32_t *out, int64_t out_step, void *scratch)
{
    Item *a = scratch, *b = a + n;
    for (int64_t i = 0; i < n; i++)
        a[i] = (Item){ key_of(dt, x, i * step, falling), i };
    if (n <= SHORT) {
        insert(a, n);
    } else {
        for (int shift = 0; shift < 64; shift += 8)
            if (pass(a, b, n, shift)) {
                Item *t = a;
                a = b;
                b = t;
            }
    }
    for (int64_t i = 0; i < n; i++)
        out[i * out_step] = (int32_t)a[i].at;
}
