/* read_npy.c: NumPy arrays, one file per field; the first axis counts the items. */
#include "rt.h"
#include <math.h>
#include <stdlib.h>

typedef struct { unsigned char *bytes; size_t at; Type type; } Part;

/* Where a field of integers is filled from floats, they must be whole. */
static void check_whole(const char *path, const Npy *npy, const unsigned char *data, const Field *f)
{
    bool from = npy->shape.type == T_F32 || npy->shape.type == T_F64;
    bool to = f->shape.type == T_F32 || f->shape.type == T_F64;
    for (int64_t i = 0; from && !to && i < npy->shape.count; i++) {
        double v = load_number(npy->shape.type, data, i);
        if (v != floor(v) || fabs(v) > 9007199254740992.0)
            rt_fail("%s: number %lld is %g, but field %s is of whole numbers (%s)", path, (long long)i, v, f->name,
                    type_name(f->shape.type));
    }
}

static int64_t open_part(const Stream *s, const char *path, const Field *f, Part *part)
{
    Err err;
    size_t n;
    Npy npy;
    Shape item;
    char a[128], b[128];
    part->bytes = file_read(path, &n, &err);
    if (!part->bytes)
        stream_fail(s, "%s", err.text);
    if (!npy_parse(part->bytes, n, &npy, &err))
        rt_fail("%s: %s", path, err.text);
    if (npy.shape.rank < 1)
        rt_fail("%s: a single number; the first axis of the array counts the items", path);
    shape_set(&item, npy.shape.type, npy.shape.rank - 1, npy.shape.dim + 1);
    if (item.count != f->shape.count || (item.rank > 0 && f->shape.rank > 1 && !shape_same_dims(&item, &f->shape)))
        rt_fail("%s: its items are %s, field %s of %s is %s", path, shape_str(&item, a, sizeof a), f->name, s->name,
                shape_str(&f->shape, b, sizeof b));
    check_whole(path, &npy, part->bytes + npy.at, f);
    part->at = npy.at;
    part->type = npy.shape.type;
    return npy.shape.dim[0];
}

static void npy_open(Stream *s, const Desc *d)
{
    if (s->npath != s->nfield)
        stream_fail(s, "%d files for %d fields: npy reads one file per field", s->npath, s->nfield);
    Part *part = s->own = rt_alloc(sizeof *part * (size_t)s->nfield);
    for (int k = 0; k < s->nfield; k++) {
        s->path[k] = stream_file(d, s->path[k]);
        int64_t n = open_part(s, s->path[k], &s->field[k], &part[k]);
        if (k && n != s->count)
            stream_fail(s, "%s has %lld items, %s has %lld", s->path[0], (long long)s->count, s->path[k], (long long)n);
        s->count = n;
    }
}

static void npy_fetch(Stream *s, int64_t i, int tid, void *const *out)
{
    const Part *part = s->own;
    (void)tid;
    for (int k = 0; k < s->nfield; k++) {
        int64_t n = s->field[k].shape.count;
        convert(s->field[k].shape.type, out[k], part[k].type,
                part[k].bytes + part[k].at + (size_t)(i * n) * type_size(part[k].type), n);
    }
}

static void npy_close(Stream *s)
{
    Part *part = s->own;
    for (int k = 0; k < s->nfield; k++)
        free(part[k].bytes);
    free(part);
}

const Reader read_npy = {"npy", npy_open, NULL, npy_fetch, npy_close};
