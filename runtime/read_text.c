/* read_text.c: a file as bytes: one field, one byte an item. */
#include "rt.h"
#include <stdlib.h>

static void text_open(Stream *s, const Desc *d)
{
    Err err;
    size_t n;
    if (s->npath != 1)
        stream_fail(s, "text reads one file, not %d", s->npath);
    if (s->nfield != 1 || s->field[0].shape.count != 1)
        stream_fail(s, "text has one field, a byte");
    const char *path = s->path[0] = stream_file(d, s->path[0]);
    s->own = file_read(path, &n, &err);
    if (!s->own)
        stream_fail(s, "%s", err.text);
    if (n == 0)
        rt_fail("%s: byte 0: the file is empty", path);
    s->count = (int64_t)n;
}

static void text_fetch(Stream *s, int64_t i, int tid, void *const *out)
{
    (void)tid;
    convert(s->field[0].shape.type, out[0], T_U8, (const unsigned char *)s->own + i, 1);
}

static void text_close(Stream *s) { free(s->own); }

const Reader read_text = {"text", text_open, NULL, text_fetch, text_close};
