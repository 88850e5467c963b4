/* progress.c: how far the run is, on the standard error: a line that moves on a terminal, and one plain line for each
   train and test; and, if asked for, how long every training step took. */
#define _POSIX_C_SOURCE 200809L
#include "rt.h"
#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

static struct {
    bool live, quiet, dirty;
    double begun, shown;
    int64_t total, first;
    FILE *times;
    double ticked;               /* the last step's end */
} now;

static _Noreturn void times_failed(const Run *r)
{
    rt_fail("%s: cannot be written: %s", r->times_path, strerror(errno));
}

void progress_open(const Run *r)
{
    now.quiet = r->quiet;
    now.live = !r->quiet && isatty(STDERR_FILENO);
    now.times = r->times_path ? fopen(r->times_path, "w") : NULL;
    if (r->times_path && !now.times)
        times_failed(r);
}

void progress_close(const Run *r)
{
    if (now.times && (ferror(now.times) | fclose(now.times)))
        times_failed(r);
    now.times = NULL;
}

void progress_clear(void)
{
    if (now.dirty)
        fputs("\r\033[K", stderr);
    now.dirty = false;
}

void progress_begin(const Run *r, const Do *d, int64_t total, int64_t done)
{
    (void)r, (void)d;
    now.begun = now.shown = now.ticked = rt_now();
    now.total = total;
    now.first = done;
}

static void rate_text(char *buf, size_t n, double rate)
{
    if (rate >= 1e6)
        snprintf(buf, n, "%.3gM items/s", rate / 1e6);
    else if (rate >= 1e4)
        snprintf(buf, n, "%.3gk items/s", rate / 1e3);
    else
        snprintf(buf, n, "%.4g items/s", rate);
}

static void time_text(char *buf, size_t n, double s)
{
    if (!(s < 359999))
        snprintf(buf, n, "long");
    else if (s >= 3600)
        snprintf(buf, n, "%d:%02d:%02d", (int)s / 3600, (int)s / 60 % 60, (int)s % 60);
    else
        snprintf(buf, n, "%d:%02d", (int)s / 60, (int)s % 60);
}

/* "train Simple on linear, task linear" */
static void title(char *buf, size_t n, const Run *r, const Do *d)
{
    const char *stream = do_stream(r, d);
    int at = d->kind == DO_TICK
        ? snprintf(buf, n, "tick %s.%s", do_model(r, d), d->event)
        : snprintf(buf, n, "%s %s%s%s", d->kind == DO_TRAIN ? "train" : "test", do_model(r, d), stream ? " on " : "",
                   stream ? stream : "");
    if (d->repeat >= 0 && at >= 0 && (size_t)at < n)
        at += snprintf(buf + at, n - (size_t)at, ", repeat %d", d->repeat + 1);
    for (int i = 0; i < d->nvar && at >= 0 && (size_t)at < n; i++)
        at += snprintf(buf + at, n - (size_t)at, ", %s %s", d->var[i].name, d->var[i].text);
}

/* From the end of one step to the end of the next: fetching the batch, the step, what is done with its sums. */
static void write_time(void)
{
    double t = rt_now();
    fprintf(now.times, "%.3f\n", 1e6 * (t - now.ticked));
    now.ticked = rt_now();
}

void progress_tick(const Run *r, const Do *d, int64_t k, int64_t items, double loss)
{
    if (now.times && d->kind == DO_TRAIN)
        write_time();
    if (!now.live)
        return;
    double t = rt_now();
    if (t - now.shown < 0.2)
        return;
    now.shown = t;
    char what[120], rate[48], left[32], loss_text[48] = "";
    double spent = t - now.begun, done = (double)(k - now.first);
    (void)items;
    title(what, sizeof what, r, d);
    rate_text(rate, sizeof rate, done * (double)d->batch / spent);
    time_text(left, sizeof left, done > 0 ? (double)(now.total - k) * spent / done : INFINITY);
    if (do_has_loss(r, d))
        snprintf(loss_text, sizeof loss_text, "  loss %.5g", loss);
    fprintf(stderr, "\r\033[K%.60s  step %lld/%lld%s  %s  %s left", what, (long long)k, (long long)now.total,
            loss_text, rate, left);
    fflush(stderr);
    now.dirty = true;
}

void progress_ticked(const Run *r, const Do *d, int64_t step)
{
    char what[512];
    if (now.quiet)
        return;
    progress_clear();
    title(what, sizeof what, r, d);
    fprintf(stderr, "%s: step %lld\n", what, (long long)step);
}

void progress_end(const Run *r, const Do *d, int64_t step, int64_t k, double loss, const double *values)
{
    char what[512], rate[48];
    if (now.quiet)
        return;
    progress_clear();
    double spent = rt_now() - now.begun;
    title(what, sizeof what, r, d);
    fprintf(stderr, "%s: step %lld", what, (long long)step);
    if (do_has_loss(r, d) && !do_reports_loss(d) && r->sum[0] > 0)
        fprintf(stderr, ", loss %.5g", loss);
    for (int i = 0; i < d->nreport && (r->sum[0] > 0 || d->kind == DO_TEST); i++)
        fprintf(stderr, ", %s %.5g", d->report[i], values[i]);
    if (k > now.first) {
        rate_text(rate, sizeof rate, (double)(k - now.first) * (double)d->batch / (spent > 1e-9 ? spent : 1e-9));
        fprintf(stderr, ", %s", rate);
    }
    fputc('\n', stderr);
}
