/* read_csv.c: lines of numbers, separated by commas (RFC 4180: quotes, doubled quotes, line ends within quotes; CRLF).
   The cells of a line fill the fields from left to right. */
#include "rt.h"
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct { char **column; int64_t rows; } Table;     /* for each field its values, in the declared type */

typedef struct {
    const char *path;
    const char *p, *end;
    long line;                   /* of p */
    char cell[128];              /* text of the last cell, without quotes and outer blanks */
    bool cut;                    /* it did not fit */
    bool last;                   /* it ended its line */
} Scan;

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

static void cell_add(Scan *c, size_t *n, char ch)
{
    if (*n == 0 && is_blank(ch))
        return;
    if (*n + 1 < sizeof c->cell)
        c->cell[(*n)++] = ch;
    else
        c->cut = true;
}

/* Inside quotes, from behind the first one; to behind the last one. */
static void scan_quoted(Scan *c, size_t *n)
{
    long from = c->line;
    for (; c->p < c->end; c->p++) {
        if (*c->p == '"' && !(c->p + 1 < c->end && c->p[1] == '"')) {
            c->p++;
            return;
        }
        if (*c->p == '"')
            c->p++;
        c->line += *c->p == '\n';
        cell_add(c, n, *c->p);
    }
    rt_fail("%s:%ld: a quote is opened here and never closed", c->path, from);
}

static void scan_cell(Scan *c)
{
    size_t n = 0;
    c->cut = false;
    while (c->p < c->end && is_blank(*c->p))
        c->p++;
    if (c->p < c->end && *c->p == '"') {
        c->p++;
        scan_quoted(c, &n);
    }
    while (c->p < c->end && *c->p != ',' && *c->p != '\n')
        cell_add(c, &n, *c->p++);
    while (n > 0 && is_blank(c->cell[n - 1]))
        n--;
    c->cell[n] = 0;
    c->last = c->p >= c->end || *c->p == '\n';
    if (c->p < c->end)
        c->p++;
}

static bool is_number(const Scan *c, double *v)
{
    char *end;
    if (c->cut || !*c->cell || strpbrk(c->cell, "xXpP"))         /* no hexadecimal numbers */
        return false;
    *v = strtod(c->cell, &end);
    return *end == 0;
}

/* Skips blank lines; false at the end of the file. */
static bool next_line(Scan *c)
{
    while (c->p < c->end && (is_blank(*c->p) || *c->p == '\n')) {
        const char *q = c->p;
        while (q < c->end && is_blank(*q))
            q++;
        if (q < c->end && *q != '\n')
            return true;
        c->p = q < c->end ? q + 1 : q;
        c->line += q < c->end;
    }
    return c->p < c->end;
}

static void skip_header(Scan *c)
{
    Scan first = *c;
    bool numbers = true;
    if (!next_line(&first))
        return;
    do {
        double v;
        scan_cell(&first);
        numbers = numbers && (!*first.cell || is_number(&first, &v));
    } while (!first.last);
    if (!numbers) {
        first.line++;
        *c = first;
    }
}

static void check_value(const Scan *c, long line, const Field *f, double v)
{
    static const struct { Type type; double lo, hi; } range[] = {
        {T_I32, INT32_MIN, INT32_MAX}, {T_U32, 0, UINT32_MAX}, {T_I64, -9007199254740992.0, 9007199254740992.0},
        {T_U8, 0, 255}, {T_BOOL, 0, 1},
    };
    for (size_t i = 0; i < sizeof range / sizeof *range; i++)
        if (f->shape.type == range[i].type && !(v >= range[i].lo && v <= range[i].hi && v == floor(v)))
            rt_fail("%s:%ld: '%s' is no whole number that fits field %s (%s)", c->path, line, c->cell, f->name,
                    type_name(f->shape.type));
    if (f->shape.type == T_F32 && isfinite(v) && fabs(v) > FLT_MAX)
        rt_fail("%s:%ld: '%s' is too large for field %s (f32)", c->path, line, c->cell, f->name);
}

/* One line into row `row`; places for values were made by the caller. */
static void scan_row(Scan *c, Stream *s, Table *t, int64_t row, int64_t need)
{
    long line = c->line;
    int64_t have = 0;
    int k = 0;
    c->last = false;
    for (int64_t j = 0; !c->last; have++) {
        double v;
        scan_cell(c);
        while (k < s->nfield && j == s->field[k].shape.count) {
            j = 0;
            k++;
        }
        if (k == s->nfield)
            continue;                            /* too many: counted, and reported below */
        if (!is_number(c, &v))
            rt_fail("%s:%ld: '%s' (value %lld of the line) is no number", c->path, line, c->cell, (long long)have + 1);
        const Field *f = &s->field[k];
        check_value(c, line, f, v);
        convert(f->shape.type, t->column[k] + (size_t)row * f->shape.bytes + (size_t)j * type_size(f->shape.type),
                T_F64, &v, 1);
        j++;
    }
    if (have != need)
        rt_fail("%s:%ld: %lld values, but the fields of %s take %lld", c->path, line, (long long)have, s->name,
                (long long)need);
    c->line++;
}

static void csv_open(Stream *s, const Desc *d)
{
    Err err;
    size_t n;
    int64_t need = 0, cap = 0;
    if (s->npath != 1)
        stream_fail(s, "csv reads one file, not %d", s->npath);
    const char *path = s->path[0] = stream_file(d, s->path[0]);
    unsigned char *bytes = file_read(path, &n, &err);
    if (!bytes)
        stream_fail(s, "%s", err.text);
    for (size_t i = 0; i < n; i++)
        cap += bytes[i] == '\n';
    Table *t = s->own = rt_alloc(sizeof *t);
    t->column = rt_alloc(sizeof *t->column * (size_t)s->nfield);
    for (int k = 0; k < s->nfield; k++) {
        need += s->field[k].shape.count;
        t->column[k] = rt_alloc(s->field[k].shape.bytes * (size_t)(cap + 1));
    }
    Scan c = {.path = path, .p = (const char *)bytes, .end = (const char *)bytes + n, .line = 1};
    if (n >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0)
        c.p += 3;
    skip_header(&c);
    for (; next_line(&c); t->rows++)
        scan_row(&c, s, t, t->rows, need);
    free(bytes);
    if (t->rows == 0)
        rt_fail("%s:%ld: there are no values in this file", path, c.line);
    s->count = t->rows;
}

static void csv_fetch(Stream *s, int64_t i, int tid, void *const *out)
{
    const Table *t = s->own;
    (void)tid;
    for (int k = 0; k < s->nfield; k++)
        memcpy(out[k], t->column[k] + (size_t)i * s->field[k].shape.bytes, s->field[k].shape.bytes);
}

static void csv_close(Stream *s)
{
    Table *t = s->own;
    for (int k = 0; k < s->nfield; k++)
        free(t->column[k]);
    free(t->column);
    free(t);
}

const Reader read_csv = {"csv", csv_open, NULL, csv_fetch, csv_close};
