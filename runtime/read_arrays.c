/* read_arrays.c: arrays in files, one file per field; the first axis counts the items, and all files must agree on it. Two formats:
   idx, that of MNIST: 0 0 type rank, then the sizes (u32, big end first), then the numbers, big end first;
   npy, NumPy's (npy.c). */
#include "rt.h"
#include <math.h>
#include <stdlib.h>

typedef struct { unsigned char *bytes, *at; Shape shape; size_t item; } Part;      /* one file; at: the first number */
typedef void (*Parse)(const char *path, unsigned char *b, size_t n, Part *part);

/* ---- idx */
static uint32_t big32(const unsigned char *b)
{
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* Numbers stand big end first; they are turned once, when the file is read. */
static void turn(unsigned char *b, int64_t n, size_t size)
{
    for (int64_t i = 0; i < n; i++, b += size)
        for (size_t j = 0; j < size / 2; j++) {
            unsigned char t = b[j];
            b[j] = b[size - 1 - j];
            b[size - 1 - j] = t;
        }
}

static Type idx_type(const char *path, int code)
{
    switch (code) {
    case 0x08: return T_U8;
    case 0x09: return T_I8;
    case 0x0b: return T_I16;
    case 0x0c: return T_I32;
    case 0x0d: return T_F32;
    case 0x0e: return T_F64;
    default: rt_fail("%s: byte 2: element type 0x%02x of idx is not known", path, code);
    }
}

static void idx_parse(const char *path, unsigned char *b, size_t n, Part *part)
{
    int64_t dim[MAXRANK];
    if (n < 4 || b[0] != 0 || b[1] != 0)
        rt_fail("%s: byte 0: not an idx file", path);
    Type type = idx_type(path, b[2]);
    int rank = b[3];
    if (rank < 1 || rank > MAXRANK)
        rt_fail("%s: byte 3: %d axes; 1 to %d can be read", path, rank, MAXRANK);
    size_t head = 4 + 4 * (size_t)rank;
    if (n < head)
        rt_fail("%s: byte %zu: the file ends within its sizes", path, n);
    for (int i = 0; i < rank; i++)
        dim[i] = big32(b + 4 + 4 * i);
    if (!shape_set(&part->shape, type, rank, dim))
        rt_fail("%s: byte 4: sizes that are too large", path);
    if (part->shape.bytes != n - head)
        rt_fail("%s: byte %zu: the sizes say %zu bytes, the file has %zu", path, head, part->shape.bytes, n - head);
    turn(b + head, part->shape.count, type_size(type));
    part->at = b + head;
}

/* ---- npy */
static void npy_parse_part(const char *path, unsigned char *b, size_t n, Part *part)
{
    Err err;
    Npy npy;
    if (!npy_parse(b, n, &npy, &err))
        rt_fail("%s: %s", path, err.text);
    if (npy.shape.rank < 1)
        rt_fail("%s: a single number; the first axis of the array counts the items", path);
    part->shape = npy.shape;
    part->at = b + npy.at;
}

/* ---- what both share */

/* The items' shape must be the field's, or a row of as many numbers. */
static void check_shape(const Stream *s, const char *path, const Shape *got, const Field *f)
{
    Shape item;
    char a[128], b[128];
    shape_set(&item, got->type, got->rank - 1, got->dim + 1);
    if (item.count != f->shape.count || (item.rank > 0 && f->shape.rank > 1 && !shape_same_dims(&item, &f->shape)))
        rt_fail("%s: its items are %s, field %s of %s is %s", path, shape_str(&item, a, sizeof a), f->name, s->name,
                shape_str(&f->shape, b, sizeof b));
}

static bool is_float(Type t) { return t == T_F32 || t == T_F64; }

/* Where a field of integers is filled from floats, they must be whole. */
static void check_whole(const char *path, const Part *part, const Field *f)
{
    for (int64_t i = 0; is_float(part->shape.type) && !is_float(f->shape.type) && i < part->shape.count; i++) {
        double v = load_number(part->shape.type, part->at, i);
        if (v != floor(v) || fabs(v) > 9007199254740992.0)
            rt_fail("%s: number %lld is %g, but field %s is of whole numbers (%s)", path, (long long)i, v, f->name,
                    type_name(f->shape.type));
    }
}

static void open_part(const Stream *s, const char *path, const Field *f, Part *part, Parse parse)
{
    Err err;
    size_t n;
    part->bytes = file_read(path, &n, &err);
    if (!part->bytes)
        stream_fail(s, "%s", err.text);
    parse(path, part->bytes, n, part);
    check_shape(s, path, &part->shape, f);
    check_whole(path, part, f);
    part->item = (size_t)f->shape.count * type_size(part->shape.type);
}

static void open_parts(Stream *s, const Desc *d, Parse parse)
{
    if (s->npath != s->nfield)
        stream_fail(s, "%d files for %d fields: %s reads one file per field", s->npath, s->nfield, s->reader->kind);
    Part *part = s->own = rt_alloc(sizeof *part * (size_t)s->nfield);
    for (int k = 0; k < s->nfield; k++) {
        s->path[k] = stream_file(d, s->path[k]);
        open_part(s, s->path[k], &s->field[k], &part[k], parse);
        int64_t n = part[k].shape.dim[0];
        if (k && n != s->count)
            stream_fail(s, "%s has %lld items, %s has %lld", s->path[0], (long long)s->count, s->path[k], (long long)n);
        s->count = n;
    }
}

static void idx_open(Stream *s, const Desc *d) { open_parts(s, d, idx_parse); }
static void npy_open(Stream *s, const Desc *d) { open_parts(s, d, npy_parse_part); }

static void fetch(Stream *s, int64_t i, int tid, void *const *out)
{
    const Part *part = s->own;
    (void)tid;
    for (int k = 0; k < s->nfield; k++)
        convert(s->field[k].shape.type, out[k], part[k].shape.type, part[k].at + (size_t)i * part[k].item, s->field[k].shape.count);
}

static void close_parts(Stream *s)
{
    Part *part = s->own;
    for (int k = 0; k < s->nfield; k++)
        free(part[k].bytes);
    free(part);
}

const Reader read_idx = {"idx", idx_open, NULL, fetch, close_parts};
const Reader read_npy = {"npy", npy_open, NULL, fetch, close_parts};
