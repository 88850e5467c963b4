/* metrics.c: one JSON object a line. Nothing in it depends on time, so that a resumed run writes the same bytes: a checkpoint keeps
   how long the file was, and resuming cuts it there. */
#define _POSIX_C_SOURCE 200809L
#include "rt.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static _Noreturn void failed(const Run *r) { rt_fail("%s: cannot be written: %s", r->metrics_path, strerror(errno)); }

void metrics_open(Run *r)
{
    static char buffer[BUFSIZ];                  /* else the first line would allocate one */
    struct stat st;
    if (!r->metrics_path)
        return;
    bool there = stat(r->metrics_path, &st) == 0 && S_ISREG(st.st_mode);
    bool go_on = r->resume && there && st.st_size >= r->metrics_at;
    if (r->resume && r->metrics_at > 0 && !go_on)
        rt_note("%s does not hold what the interrupted run had written; it begins anew", r->metrics_path);
    r->metrics = fopen(r->metrics_path, go_on ? "r+" : "w");
    if (!r->metrics)
        failed(r);
    setvbuf(r->metrics, buffer, _IOFBF, sizeof buffer);
    if (!go_on) {
        r->metrics_at = 0;
        return;
    }
    if (ftruncate(fileno(r->metrics), (off_t)r->metrics_at) != 0 || fseek(r->metrics, 0, SEEK_END) != 0)
        failed(r);
}

void metrics_sync(Run *r)
{
    if (!r->metrics)
        return;
    if (fflush(r->metrics) != 0)
        failed(r);
    long at = ftell(r->metrics);
    if (at > 0)                                  /* a pipe has no length */
        r->metrics_at = at;
}

void metrics_close(Run *r)
{
    metrics_sync(r);
    if (r->metrics && fclose(r->metrics) != 0)
        failed(r);
    r->metrics = NULL;
}

void print_number(FILE *to, double v)
{
    if (isfinite(v))
        fprintf(to, "%.17g", v);
    else
        fputs("null", to);
}

static void print_text(FILE *to, const char *s)
{
    fputc('"', to);
    for (; *s; s++)
        if (*s == '"' || *s == '\\')
            fprintf(to, "\\%c", *s);
        else if ((unsigned char)*s < 0x20)
            fprintf(to, "\\u%04x", (unsigned)*s);
        else
            fputc(*s, to);
    fputc('"', to);
}

static bool plain_number(const char *s, double *v)
{
    char *end;
    *v = strtod(s, &end);
    return *s && end != s && *end == 0 && isfinite(*v) && !strpbrk(s, "xX");
}

/* Keys of a line are unique: what comes first keeps the name. */
static bool taken(const Do *d, int nvar, int nreport, const char *key)
{
    static const char *const own[] = {"event", "model", "stream", "repeat", "step"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (strcmp(own[i], key) == 0)
            return true;
    if (d->kind == DO_TICK && strcmp(key, "tick") == 0)
        return true;
    for (int i = 0; i < nvar; i++)
        if (strcmp(d->var[i].name, key) == 0)
            return true;
    for (int i = 0; i < nreport; i++)
        if (strcmp(d->report[i], key) == 0)
            return true;
    return false;
}

static void print_vars(FILE *to, const Do *d)
{
    for (int i = 0; i < d->nvar; i++) {
        double v;
        if (taken(d, i, 0, d->var[i].name))
            continue;
        fputc(',', to);
        print_text(to, d->var[i].name);
        fputc(':', to);
        if (plain_number(d->var[i].text, &v))
            print_number(to, v);
        else
            print_text(to, d->var[i].text);
    }
}

void metrics_event(Run *r, const char *event, const Do *d, int64_t step, double loss, const double *values)
{
    FILE *to = r->metrics;
    if (!to)
        return;
    fprintf(to, "{\"event\":\"%s\",\"model\":", event);
    print_text(to, do_model(r, d));
    fputs(",\"stream\":", to);
    if (do_stream(r, d))
        print_text(to, do_stream(r, d));
    else
        fputs("null", to);
    if (d->repeat >= 0)
        fprintf(to, ",\"repeat\":%d", d->repeat);
    fprintf(to, ",\"step\":%lld", (long long)step);
    if (d->kind == DO_TICK) {
        fputs(",\"tick\":", to);
        print_text(to, d->event);
    }
    print_vars(to, d);
    if (d->kind != DO_TICK && do_has_loss(r, d) && !do_reports_loss(d) && !taken(d, d->nvar, 0, "loss")) {
        fputs(",\"loss\":", to);
        print_number(to, loss);
    }
    for (int i = 0; i < d->nreport; i++) {
        if (taken(d, d->nvar, i, d->report[i]))
            continue;
        fputc(',', to);
        print_text(to, d->report[i]);
        fputc(':', to);
        print_number(to, values[i]);
    }
    fputs("}\n", to);
    if (ferror(to))
        failed(r);
}

void metrics_line(Run *r, cJSON *o)
{
    char *s = r->metrics ? cJSON_PrintUnformatted(o) : NULL;
    if (s)
        fprintf(r->metrics, "%s\n", s);
    cJSON_free(s);
    cJSON_Delete(o);
}
