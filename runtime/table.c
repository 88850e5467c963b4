/* table.c: the tables of a schedule, made from the records of all tests. Where records meet in one cell the last one
   counts; those of different `repeat` indices stand beside each other and are shown as mean +- standard deviation.

   Rows over a loop that trains, and columns over streams, make the accuracy matrix R[i][j]: after task i, on task j.
   Tests of the same instances before the loop are its row 0. When it is square its summaries follow (T tasks, b: row
   0):
     acc_last = mean_j R[T][j]                          learning_accuracy = mean_j R[j][j]
     bwt_gem = mean_{j<T} (R[T][j] - R[j][j])           fwt_gem = mean_{i>1} (R[i-1][i] - b[i])
     forgetting_chaudhry = mean_{j<T} (max_{i<T} R[i][j] - R[T][j])
   They take larger as better. Of a table that says `lower` they are those of -R, and the two that are means of values
   (acc_last, learning_accuracy) are turned back. */
#define _POSIX_C_SOURCE 200809L
#include "rt.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void record_add(Run *r, const Do *d, int64_t step, const double *values)
{
    if (r->nrecord == r->caprecord)
        r->record = rt_grow(r->record, sizeof *r->record * (size_t)(r->caprecord = 2 * r->caprecord + 64));
    Record *rec = &r->record[r->nrecord++];
    *rec = (Record){.todo = (int)(d - r->desc.todo), .step = step};
    rec->value = rt_alloc(sizeof(double) * (size_t)d->nreport);
    memcpy(rec->value, values, sizeof(double) * (size_t)d->nreport);
}

/* ---- the axes of a table: texts in the order in which they first appear */
typedef struct { int n, cap; const char **at; } Names;

static int name_index(Names *l, const char *s, bool add)
{
    for (int i = 0; i < l->n; i++)
        if (strcmp(l->at[i], s) == 0)
            return i;
    if (!add)
        return -1;
    if (l->n == l->cap)
        l->at = rt_grow(l->at, sizeof *l->at * (size_t)(l->cap = l->cap ? 2 * l->cap : 8));
    l->at[l->n] = s;
    return l->n++;
}

typedef struct { const Record *rec; const char *row, *col, *cell; int repeat; double value; } Point;

typedef struct {
    const Do *d;
    int npoint; Point *point;
    Names rows, cols, cells;     /* with a row 0, rows.at[0] is its label */
    int nrepeat; int *repeat;
    bool matrix, row0;
    int *task;                   /* the column of each row's task */
    double *value; bool *has;    /* [row][col][cell][repeat] */
} Grid;

static size_t place(const Grid *g, int row, int col, int cell, int rep)
{
    size_t cols = (size_t)g->cols.n, cells = (size_t)g->cells.n, repeats = (size_t)g->nrepeat;
    return (((size_t)row * cols + (size_t)col) * cells + (size_t)cell) * repeats + (size_t)rep;
}

/* What a record has under a name: its model, its stream or a loop's variable; NULL: nothing. */
static const char *key_of(const Run *r, const Do *t, const char *name)
{
    if (!name)
        return "";
    for (int i = t->nvar - 1; i >= 0; i--)
        if (strcmp(t->var[i].name, name) == 0)
            return t->var[i].text;
    if (strcmp(name, "model") == 0)
        return t->name;
    if (strcmp(name, "stream") == 0)
        return do_stream(r, t) ? do_stream(r, t) : "-";
    return NULL;
}

static bool has_var(const Do *t, const char *name)
{
    for (int i = 0; name && i < t->nvar; i++)
        if (strcmp(t->var[i].name, name) == 0)
            return true;
    return false;
}

static bool lookup(const Do *t, const Record *rec, const char *name, double *v)
{
    for (int i = 0; i < t->nreport; i++)
        if (strcmp(t->report[i], name) == 0) {
            *v = rec->value[i];
            return true;
        }
    *v = (double)rec->step;
    return strcmp(name, "step") == 0;
}

/* The table's expression on a record; false if the record lacks a name in it. */
static bool evaluate(const Run *r, const Do *table, const Do *t, const Record *rec, double *v)
{
    double *names = rt_alloc(sizeof *names * (size_t)table->nname);
    const void *in[1] = {names};
    void *out[1] = {v};
    Call c = {.in = in, .out = out, .count = 1, .seed = run_seed(r)};
    bool ok = true;
    for (int i = 0; ok && i < table->nname; i++)
        ok = lookup(t, rec, table->name_of[i], &names[i]);
    if (ok) {
        nl_status st = alone_call(table->value, &c, NULL, NULL);
        ok = !st.bad;
    }
    free(names);
    return ok;
}

static bool is_matrix(const Run *r, const Do *d)
{
    if (!d->rows || !d->cols || strcmp(d->cols, "stream") != 0)
        return false;
    for (int i = 0; i < r->desc.ndo; i++)
        if (r->desc.todo[i].kind == DO_TRAIN && has_var(&r->desc.todo[i], d->rows))
            return true;
    return false;
}

static void collect(const Run *r, Grid *g)
{
    const Do *d = g->d;
    g->point = rt_alloc(sizeof *g->point * (size_t)r->nrecord);
    for (int i = 0; i < r->nrecord; i++) {
        const Record *rec = &r->record[i];
        const Do *t = &r->desc.todo[rec->todo];
        Point p = {.rec = rec, .row = key_of(r, t, d->rows ? d->rows : "model"), .col = key_of(r, t, d->cols),
                   .cell = key_of(r, t, d->cells),
                   .repeat = t->repeat};
        if (!p.col || !p.cell || (!p.row && !g->matrix) || !evaluate(r, d, t, rec, &p.value))
            continue;
        g->point[g->npoint++] = p;
    }
}

/* Row 0 takes the tests of an instance that come before its first test in the loop. */
static bool before_loop(const Run *r, const Grid *g, int k)
{
    const Do *t = &r->desc.todo[g->point[k].rec->todo];
    bool later = false;
    for (int i = 0; i < g->npoint; i++) {
        const Do *other = &r->desc.todo[g->point[i].rec->todo];
        if (!g->point[i].row || other->inst != t->inst || other->repeat != t->repeat)
            continue;
        if (i < k)
            return false;
        later = later || strcmp(g->point[i].col, g->point[k].col) == 0;
    }
    return later;
}

static void make_axes(const Run *r, Grid *g)
{
    int n = 0;
    for (int k = 0; k < g->npoint; k++) {
        bool keep = g->point[k].row || before_loop(r, g, k);
        if (!keep)
            g->point[k].col = NULL;
        g->row0 = g->row0 || (keep && !g->point[k].row);
    }
    for (int k = 0; k < g->npoint; k++)
        if (g->point[k].col)
            g->point[n++] = g->point[k];
    g->npoint = n;
    if (g->row0)
        name_index(&g->rows, "(before)", true);
    g->repeat = rt_alloc(sizeof *g->repeat * (size_t)(n + 1));
    for (int k = 0; k < n; k++) {
        const Point *p = &g->point[k];
        int j = 0;
        if (p->row)
            name_index(&g->rows, p->row, true);
        name_index(&g->cols, p->col, true);
        name_index(&g->cells, p->cell, true);
        while (j < g->nrepeat && g->repeat[j] != p->repeat)
            j++;
        if (j == g->nrepeat)
            g->repeat[g->nrepeat++] = p->repeat;
    }
}

/* Where columns have the rows' names they are told by them, otherwise by their order. */
static void find_tasks(Grid *g)
{
    int n = g->rows.n - g->row0;
    bool named = true;
    g->task = rt_alloc(sizeof *g->task * (size_t)n);
    for (int i = 0; i < n; i++) {
        g->task[i] = name_index(&g->cols, g->rows.at[i + g->row0], false);
        named = named && g->task[i] >= 0;
    }
    for (int i = 0; i < n && !named; i++)
        g->task[i] = i;
}

static void fill(Grid *g)
{
    size_t n = (size_t)g->rows.n * (size_t)g->cols.n * (size_t)g->cells.n * (size_t)g->nrepeat;
    g->value = rt_alloc(sizeof *g->value * n);
    g->has = rt_alloc(sizeof *g->has * n);
    for (int k = 0; k < g->npoint; k++) {
        const Point *p = &g->point[k];
        int j = 0;
        while (g->repeat[j] != p->repeat)
            j++;
        size_t at = place(g, p->row ? name_index(&g->rows, p->row, false) : 0, name_index(&g->cols, p->col, false),
                          name_index(&g->cells, p->cell, false), j);
        g->value[at] = p->value;
        g->has[at] = true;
    }
}

static void grid_free(Grid *g)
{
    free(g->point);
    free(g->rows.at);
    free(g->cols.at);
    free(g->cells.at);
    free(g->repeat);
    free(g->task);
    free(g->value);
    free(g->has);
}

/* ---- numbers: mean and standard deviation, with as many decimals as the table needs */
typedef struct { double mean, sd; int n; } Stat;

static Stat stat_of(const double *v, const bool *has, int n)
{
    Stat s = {0};
    double sum = 0;
    for (int i = 0; i < n; i++)
        if (!has || has[i]) {
            s.mean += v[i];
            s.n++;
        }
    s.mean /= s.n ? s.n : 1;
    for (int i = 0; i < n; i++)
        if (!has || has[i])
            sum += (v[i] - s.mean) * (v[i] - s.mean);
    s.sd = s.n > 1 ? sqrt(sum / (s.n - 1)) : 0;
    return s;
}

static Stat cell_stat(const Grid *g, int row, int col, int cell)
{
    size_t at = place(g, row, col, cell, 0);
    return stat_of(g->value + at, g->has + at, g->nrepeat);
}

enum { SCIENTIFIC = -1 };

/* Enough for four digits of the largest number, no more than the numbers have, and one at least unless they are large
   and whole. */
static int decimals(const double *v, int n)
{
    double most = 0;
    int need = 0;
    for (int i = 0; i < n; i++)
        most = isfinite(v[i]) && fabs(v[i]) > most ? fabs(v[i]) : most;
    if (most != 0 && (most < 1e-3 || most >= 1e7))
        return SCIENTIFIC;
    int room = most >= 1000 ? 1 : most >= 100 ? 2 : most >= 10 ? 2 : most >= 1 ? 3 : 4;
    for (int i = 0; i < n; i++)
        for (double p = pow(10, need); need < room && isfinite(v[i]) && fabs(v[i] * p - round(v[i] * p)) > 1e-6;
             p *= 10)
            need++;
    return need == 0 && most < 1000 ? 1 : need;
}

/* Do so many decimals show less than two digits of v, and lose something of it? */
static bool too_small(double v, int places)
{
    double shown = v * pow(10, places);
    return v != 0 && fabs(shown) < 9.5 && fabs(shown - round(shown)) > 0.05 * fabs(shown);
}

static char *number_text(double v, int places)
{
    if (isnan(v))
        return rt_strdup("nan");
    if (places != SCIENTIFIC && too_small(v, places))
        return rt_printf("%.3g", v);
    return places == SCIENTIFIC ? rt_printf("%.3e", v) : rt_printf("%.*f", places, v == 0 ? 0.0 : v);
}

static char *stat_text(const Stat *s, int places, bool with_sd)
{
    if (s->n == 0)
        return rt_strdup("-");
    char *mean = number_text(s->mean, places);
    if (!with_sd)
        return mean;
    char *sd = places == SCIENTIFIC ? rt_printf("%.3e", s->sd) : rt_printf("%.*f", places, s->sd), *both = rt_printf("%s +- %s", mean, sd);
    free(mean);
    free(sd);
    return both;
}

/* ---- a text table: the first column to the left, the others to the right */
typedef struct { int rows, cols; char **at; } Sheet;

static Sheet sheet_new(int rows, int cols)
{
    return (Sheet){rows, cols, rt_alloc(sizeof(char *) * (size_t)(rows * cols))};
}

static void sheet_set(Sheet *s, int row, int col, char *text) { s->at[row * s->cols + col] = text; }

static int columns_of(const char *s)             /* UTF-8: characters, not bytes */
{
    int n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

static void sheet_print(Sheet *s, FILE *to)
{
    for (int i = 0; i < s->rows; i++) {
        fputs(" ", to);
        for (int j = 0; j < s->cols; j++) {
            int width = 0, own = columns_of(s->at[i * s->cols + j]);
            for (int k = 0; k < s->rows; k++)
                width = columns_of(s->at[k * s->cols + j]) > width ? columns_of(s->at[k * s->cols + j]) : width;
            if (j == 0)
                fprintf(to, " %s%*s", s->at[i * s->cols + j], s->cols > 1 ? width - own : 0, "");
            else
                fprintf(to, "  %*s%s", width - own, "", s->at[i * s->cols + j]);
        }
        fputc('\n', to);
    }
    for (int i = 0; i < s->rows * s->cols; i++)
        free(s->at[i]);
    free(s->at);
}

static int grid_decimals(const Grid *g)
{
    int n = g->rows.n * g->cols.n * g->cells.n, k = 0;
    double *v = rt_alloc(sizeof *v * (size_t)n);
    for (int i = 0; i < g->rows.n; i++)
        for (int j = 0; j < g->cols.n; j++)
            for (int c = 0; c < g->cells.n; c++) {
                Stat s = cell_stat(g, i, j, c);
                v[k++] = s.n ? s.mean : 0;
            }
    int places = decimals(v, n);
    free(v);
    return places;
}

static char *cells_text(const Grid *g, int row, int col, int places)
{
    char *all = NULL;
    for (int c = 0; c < g->cells.n; c++) {
        Stat s = cell_stat(g, row, col, c);
        char *one = stat_text(&s, places, g->nrepeat > 1);
        char *joined = all ? rt_printf("%s / %s", all, one) : rt_strdup(one);
        free(one);
        free(all);
        all = joined;
    }
    return all ? all : rt_strdup("");
}

static void print_heading(const Grid *g, FILE *to)
{
    const Do *d = g->d;
    fprintf(to, "%s by %s%s%s", d->title, d->rows ? d->rows : "model", d->cols ? " and " : "", d->cols ? d->cols : "");
    for (int c = 0; d->cells && c < g->cells.n; c++)
        fprintf(to, "%s%s", c ? " / " : ": ", g->cells.at[c]);
    if (g->nrepeat > 1)
        fprintf(to, " (mean +- standard deviation of %d)", g->nrepeat);
    fputc('\n', to);
}

static void print_grid(const Grid *g, FILE *to)
{
    int places = grid_decimals(g);
    Sheet s = sheet_new(g->rows.n + 1, g->cols.n + 1);
    print_heading(g, to);
    sheet_set(&s, 0, 0, rt_strdup(g->d->rows ? g->d->rows : "model"));
    for (int j = 0; j < g->cols.n; j++)
        sheet_set(&s, 0, j + 1, rt_strdup(g->d->cols ? g->cols.at[j] : g->d->title));
    for (int i = 0; i < g->rows.n; i++) {
        sheet_set(&s, i + 1, 0, rt_strdup(g->rows.at[i]));
        for (int j = 0; j < g->cols.n; j++)
            sheet_set(&s, i + 1, j + 1, cells_text(g, i, j, places));
    }
    sheet_print(&s, to);
}

/* ---- summaries of the matrix. R(i, j): the tasks counted from 1 */
typedef struct { const Grid *g; int cell, rep, n; double sign; } Matrix;     /* sign: -1 where lower is better */

static double at(const Matrix *m, int i, int j)
{
    const Grid *g = m->g;
    size_t k = place(g, i - 1 + g->row0, g->task[j - 1], m->cell, m->rep);
    return g->has[k] ? m->sign * g->value[k] : NAN;
}

static double acc_last(const Matrix *m)
{
    double sum = 0;
    for (int j = 1; j <= m->n; j++)
        sum += at(m, m->n, j);
    return sum / m->n;
}

static double bwt_gem(const Matrix *m)
{
    double sum = 0;
    for (int j = 1; j < m->n; j++)
        sum += at(m, m->n, j) - at(m, j, j);
    return sum / (m->n - 1);
}

static double forgetting_chaudhry(const Matrix *m)
{
    double sum = 0;
    for (int j = 1; j < m->n; j++) {
        double best = -INFINITY;
        for (int i = 1; i < m->n; i++)
            best = isnan(at(m, i, j)) ? NAN : at(m, i, j) > best ? at(m, i, j) : best;
        sum += best - at(m, m->n, j);
    }
    return sum / (m->n - 1);
}

static double fwt_gem(const Matrix *m)
{
    double sum = 0;
    for (int i = 2; i <= m->n; i++)
        sum += at(m, i - 1, i) - at(m, 0, i);
    return sum / (m->n - 1);
}

static double learning_accuracy(const Matrix *m)
{
    double sum = 0;
    for (int j = 1; j <= m->n; j++)
        sum += at(m, j, j);
    return sum / m->n;
}

/* level: a mean of values of the table, not of differences between them. */
static const struct { const char *name; double (*of)(const Matrix *); bool needs_row0, level; } summaries[] = {
    {"acc_last", acc_last, false, true}, {"bwt_gem", bwt_gem, false, false},
    {"forgetting_chaudhry", forgetting_chaudhry, false, false}, {"fwt_gem", fwt_gem, true, false},
    {"learning_accuracy", learning_accuracy, false, true},
};
enum { NSUMMARY = sizeof summaries / sizeof *summaries };

/* Is every stream of which the row's part of the loop trains also one of the other row's? */
static bool trains_as(const Run *r, const Grid *g, const char *row, const char *other)
{
    for (int i = 0; i < r->desc.ndo; i++) {
        const Do *t = &r->desc.todo[i];
        bool found = t->kind != DO_TRAIN || !has_var(t, g->d->rows) || strcmp(key_of(r, t, g->d->rows), row) != 0;
        for (int k = 0; k < r->desc.ndo && !found; k++) {
            const Do *o = &r->desc.todo[k];
            found = o->kind == DO_TRAIN && o->stream == t->stream && has_var(o, g->d->rows) && strcmp(key_of(r, o, g->d->rows), other) == 0;
        }
        if (!found)
            return false;
    }
    return true;
}

/* Rows are tasks if no two of them train on the same streams. */
static bool rows_are_tasks(const Run *r, const Grid *g)
{
    for (int i = g->row0; i < g->rows.n; i++)
        for (int k = g->row0; k < i; k++)
            if (trains_as(r, g, g->rows.at[i], g->rows.at[k]) && trains_as(r, g, g->rows.at[k], g->rows.at[i]))
                return false;
    return true;
}

/* As many tasks as streams. */
static bool square(const Run *r, const Grid *g)
{
    return g->matrix && g->cols.n > 1 && g->rows.n - g->row0 == g->cols.n && rows_are_tasks(r, g);
}

/* Over the repeats in which all of its numbers are there. */
static Stat summary(const Grid *g, int k, int cell)
{
    double *v = rt_alloc(sizeof *v * (size_t)g->nrepeat);
    int n = 0;
    for (int rep = 0; rep < g->nrepeat; rep++) {
        Matrix m = {g, cell, rep, g->cols.n, g->d->lower ? -1 : 1};
        v[n] = summaries[k].of(&m) * (summaries[k].level ? m.sign : 1);
        n += !isnan(v[n]);
    }
    Stat s = stat_of(v, NULL, n);
    free(v);
    return s;
}

static void print_summaries(const Grid *g, FILE *to)
{
    int rows = 1, n = 0;
    double v[NSUMMARY * 64];
    for (int k = 0; k < NSUMMARY; k++)
        for (int c = 0; c < g->cells.n && n < NSUMMARY * 64; c++)
            v[n++] = summaries[k].needs_row0 && !g->row0 ? 0 : summary(g, k, c).mean;
    int places = decimals(v, n);
    for (int k = 0; k < NSUMMARY; k++)
        rows += !summaries[k].needs_row0 || g->row0;
    Sheet s = sheet_new(rows, g->cells.n + 1);
    sheet_set(&s, 0, 0, rt_strdup(g->d->lower ? "summary (lower is better)" : "summary"));
    for (int c = 0; c < g->cells.n; c++)
        sheet_set(&s, 0, c + 1, rt_strdup(g->d->cells ? g->cells.at[c] : "value"));
    for (int k = 0, row = 1; k < NSUMMARY; k++) {
        if (summaries[k].needs_row0 && !g->row0)
            continue;
        sheet_set(&s, row, 0, rt_strdup(summaries[k].name));
        for (int c = 0; c < g->cells.n; c++) {
            Stat x = summary(g, k, c);
            sheet_set(&s, row, c + 1, stat_text(&x, places, g->nrepeat > 1));
        }
        row++;
    }
    fputc('\n', to);
    sheet_print(&s, to);
}

static void summary_metrics(Run *r, const Grid *g)
{
    for (int c = 0; r->metrics && c < g->cells.n; c++) {
        cJSON *o = cJSON_CreateObject();
        cJSON_AddStringToObject(o, "event", "summary");
        bool by_model = g->d->cells && strcmp(g->d->cells, "model") == 0;
        cJSON_AddItemToObject(o, "model", by_model ? cJSON_CreateString(g->cells.at[c]) : cJSON_CreateNull());
        cJSON_AddNullToObject(o, "stream");
        cJSON_AddNumberToObject(o, "step", (double)r->total);
        cJSON_AddStringToObject(o, "table", g->d->title);
        cJSON_AddStringToObject(o, "rows", g->d->rows);
        if (g->d->cells && !by_model)
            cJSON_AddStringToObject(o, g->d->cells, g->cells.at[c]);
        for (int k = 0; k < NSUMMARY; k++) {
            if (summaries[k].needs_row0 && !g->row0)
                continue;
            Stat s = summary(g, k, c);
            char *sd = rt_printf("%s_sd", summaries[k].name);
            cJSON_AddItemToObject(o, summaries[k].name, s.n ? cJSON_CreateNumber(s.mean) : cJSON_CreateNull());
            if (g->nrepeat > 1)
                cJSON_AddNumberToObject(o, sd, s.sd);
            free(sd);
        }
        metrics_line(r, o);
    }
}

/* ---- CSV: one row per row, column and cell of the table */
static void csv_text(FILE *to, const char *s)
{
    if (!strpbrk(s, ",\"\r\n")) {
        fputs(s, to);
        return;
    }
    fputc('"', to);
    for (; *s; s++)
        fprintf(to, *s == '"' ? "\"\"" : "%c", *s);
    fputc('"', to);
}

/* "100*accuracy", task, stream, model -> 100_accuracy_by_task_stream_model */
static char *file_name(const Run *r, const Do *d, const char *end)
{
    char *s = rt_printf("%s by %s %s %s", d->title, d->rows ? d->rows : "model", d->cols ? d->cols : "",
                        d->cells ? d->cells : "");
    char *to = s;
    for (const char *p = s; *p; p++)
        if ((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z'))
            *to++ = *p;
        else if (to > s && to[-1] != '_')
            *to++ = '_';
    while (to > s && to[-1] == '_')
        to--;
    *to = 0;
    char *path = rt_printf("%s/%.200s%s.csv", r->tables, s, end);
    free(s);
    return path;
}

static FILE *csv_begin(const char *path)
{
    FILE *to = fopen(path, "w");
    if (!to)
        rt_fail("%s: cannot be written: %s", path, strerror(errno));
    return to;
}

static void csv_end(FILE *to, char *path)
{
    bool bad = ferror(to) != 0;
    if (fclose(to) != 0 || bad)
        rt_fail("%s: cannot be written: %s", path, strerror(errno));
    free(path);
}

static void csv_stat(const Grid *g, FILE *to, const Stat *s)
{
    fprintf(to, "%.17g", s->mean);
    if (g->nrepeat > 1)
        fprintf(to, ",%.17g,%d", s->sd, s->n);
    fputc('\n', to);
}

static void write_grid(const Run *r, const Grid *g)
{
    const Do *d = g->d;
    char *path = file_name(r, d, "");
    FILE *to = csv_begin(path);
    fprintf(to, "%s%s%s%s%s,value%s\n", d->rows ? d->rows : "model", d->cols ? "," : "", d->cols ? d->cols : "",
            d->cells ? "," : "", d->cells ? d->cells : "", g->nrepeat > 1 ? ",sd,n" : "");
    for (int i = 0; i < g->rows.n; i++)
        for (int j = 0; j < g->cols.n; j++)
            for (int c = 0; c < g->cells.n; c++) {
                Stat s = cell_stat(g, i, j, c);
                if (s.n == 0)
                    continue;
                csv_text(to, g->rows.at[i]);
                fputc(',', to);
                if (d->cols) {
                    csv_text(to, g->cols.at[j]);
                    fputc(',', to);
                }
                if (d->cells) {
                    csv_text(to, g->cells.at[c]);
                    fputc(',', to);
                }
                csv_stat(g, to, &s);
            }
    csv_end(to, path);
}

static void write_summaries(const Run *r, const Grid *g)
{
    char *path = file_name(r, g->d, "_summary");
    FILE *to = csv_begin(path);
    fprintf(to, "summary%s%s,value%s\n", g->d->cells ? "," : "", g->d->cells ? g->d->cells : "",
            g->nrepeat > 1 ? ",sd,n" : "");
    for (int k = 0; k < NSUMMARY; k++)
        for (int c = 0; c < g->cells.n && (!summaries[k].needs_row0 || g->row0); c++) {
            Stat s = summary(g, k, c);
            if (s.n == 0)
                continue;
            fprintf(to, "%s,", summaries[k].name);
            if (g->d->cells) {
                csv_text(to, g->cells.at[c]);
                fputc(',', to);
            }
            csv_stat(g, to, &s);
        }
    csv_end(to, path);
}

static bool same_text(const char *a, const char *b) { return a == b || (a && b && strcmp(a, b) == 0); }

/* A table within a loop is unrolled with it, and printed once. */
static bool seen_before(const Run *r, const Do *d)
{
    for (const Do *t = r->desc.todo; t < d; t++)
        if (t->kind == DO_TABLE && same_text(t->line, d->line) && same_text(t->title, d->title)
            && same_text(t->rows, d->rows)
            && same_text(t->cols, d->cols) && same_text(t->cells, d->cells))
            return true;
    return false;
}

static void print_table(Run *r, const Do *d)
{
    Grid g = {.d = d, .matrix = is_matrix(r, d)};
    collect(r, &g);
    make_axes(r, &g);
    if (g.npoint == 0)
        printf("%s by %s: no test has these names\n\n", d->title, d->rows ? d->rows : "model");
    else {
        fill(&g);
        find_tasks(&g);
        print_grid(&g, stdout);
        if (r->tables)
            write_grid(r, &g);
        if (square(r, &g)) {
            print_summaries(&g, stdout);
            summary_metrics(r, &g);
            if (r->tables)
                write_summaries(r, &g);
        }
        putchar('\n');
    }
    grid_free(&g);
}

void tables_print(Run *r)
{
    if (r->tables && mkdir(r->tables, 0777) != 0 && errno != EEXIST)
        rt_fail("%s: the folder cannot be made: %s", r->tables, strerror(errno));
    for (int i = 0; i < r->desc.ndo; i++)
        if (r->desc.todo[i].kind == DO_TABLE && !seen_before(r, &r->desc.todo[i]))
            print_table(r, &r->desc.todo[i]);
}
