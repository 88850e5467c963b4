/* clock.c: runs the schedule, step by step. Between two batches everything that is still to matter stands in Run (and
   so in a checkpoint); nothing depends on time or on the number of threads. */
#define _POSIX_C_SOURCE 200809L
#include "rt.h"
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- being asked to stop */
static volatile sig_atomic_t asked;
static int wake = -1;

static void on_signal(int sig)
{
    asked = sig;
    if (wake >= 0 && write(wake, "", 1) < 0)
        return;                                  /* full: it will be read all the same */
}

void wake_by_signal(int fd) { wake = fd; }

int interrupted(void) { return asked; }

void catch_signals(void)
{
    struct sigaction a = {.sa_handler = on_signal};
    a.sa_flags = (int)(SA_RESETHAND | SA_RESTART);       /* the second one kills */
    sigemptyset(&a.sa_mask);
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigemptyset(&ignore.sa_mask);
    sigaction(SIGXFSZ, &ignore, NULL);           /* a full quota is an error of the write, with a message */
}

static _Noreturn void stop_here(Run *r, int sig)
{
    if (r->checkpoint)
        checkpoint_save(r, r->checkpoint);
    if (r->pc < r->desc.ndo && r->desc.todo[r->pc].kind == DO_TRAIN && r->desc.todo[r->pc].fresh >= 0)
        memory_note(r, r->desc.todo[r->pc].inst);
    memory_write(r);
    metrics_close(r);
    progress_clear();
    if (r->checkpoint)
        fprintf(stderr, "%s: stopped after %lld steps; --resume %s goes on from here\n", rt_name, (long long)r->total,
                r->checkpoint);
    else
        fprintf(stderr, "%s: stopped after %lld steps; nothing was saved (--checkpoint FILE would)\n", rt_name,
                (long long)r->total);
    exit(128 + sig);
}

/* ---- names */
uint64_t run_seed(const Run *r) { return r->seed + (uint64_t)r->add; }

const char *do_model(const Run *r, const Do *d)
{
    (void)r;
    return d->name;
}

const char *do_stream(const Run *r, const Do *d) { return d->stream < 0 ? NULL : r->desc.stream[d->stream].name; }

bool do_reports_loss(const Do *d)
{
    for (int i = 0; i < d->nreport; i++)
        if (strcmp(d->report[i], "loss") == 0)
            return true;
    return false;
}

/* acc 1 is the model's objective, if it has one. */
bool do_has_loss(const Run *r, const Do *d)
{
    const Model *m = &r->desc.model[d->model];
    for (int i = 0; i < m->nlevel; i++)
        if (m->level[i].objective)
            return true;
    return false;
}

/* ---- one call of a step's entry */
static void check_index(const Run *r, const Do *d, const nl_status *st, int64_t step)
{
    if (!st->bad)
        return;
    bool known = st->site >= 0 && st->site < r->desc.nsite;
    const char *what = known ? r->desc.site[st->site].what : NULL;
    rt_fail_at(known ? r->desc.site[st->site].line : d->line,
               "index %lld is outside of %s, which has %lld (model %s, step %lld)",
               (long long)st->index, what ? what : "its tensor", (long long)st->limit, d->name, (long long)step);
}

static void finish(Run *r, const Do *d, const double *sum, double *values)
{
    const void *in[1] = {sum};
    void *out[1] = {values};
    Call c = {.in = in, .out = out, .count = 1, .seed = run_seed(r)};
    if (d->finish >= 0) {
        nl_status st = alone_call(d->finish, &c, NULL, NULL);
        check_index(r, d, &st, 0);
    }
}

static _Noreturn void not_finite(const Run *r, const Do *d, const char *line, const char *what, double v, int64_t step)
{
    bool saved = r->checkpoint && r->save_every && r->total >= r->save_every;
    rt_fail_at(line ? line : d->line, "%s is %s (model %s, %s step %lld)%s%s; --allow-nan goes on", what,
               isnan(v) ? "not a number" : v > 0 ? "infinite" : "minus infinite", d->name,
               d->kind == DO_TEST ? "tested at" : "in", (long long)step, saved ? "; the last checkpoint is " : "",
               saved ? r->checkpoint : "");
}

static void check_values(const Run *r, const Do *d, const double *values, int64_t step)
{
    for (int i = 0; i < d->nreport && !r->allow_nan; i++)
        if (!isfinite(values[i]))
            not_finite(r, d, d->report_line[i], d->report[i], values[i], step);
}

/* The objective must be finite at every step; if a sum is not, the reports of this step say which value it was. */
static void check_sums(Run *r, const Do *d, int64_t step)
{
    bool fine = true;
    for (int i = 0; i < d->naccs; i++)
        fine = fine && isfinite(r->acc[i]);
    if (fine || r->allow_nan)
        return;
    finish(r, d, r->acc, r->step_values);
    check_values(r, d, r->step_values, step);
    if (!isfinite(r->acc[1]))
        not_finite(r, d, NULL, "the objective", r->acc[1], step);
}

static void call_step(Run *r, const Do *d, const Instance *in, const Feed *f, int64_t count, int64_t index,
                      int64_t step)
{
    void *out[1] = {r->acc};
    Call c = {.state = in->state, .in = (const void *const *)f->in, .out = out, .count = count, .index = index,
              .seed = run_seed(r)};
    nl_status st = team_call(d->entry, &c);
    check_index(r, d, &st, step);
    check_sums(r, d, step);
    for (int i = 0; i < d->naccs; i++)
        r->sum[i] += r->acc[i];
}

/* Kept state begins anew, unless the step goes on from the one before; the first time it is what was loaded. */
static void begin_kept(Run *r, const Do *d, Instance *in)
{
    if (d->fresh < 0)
        return;
    bool first = memory_begins(r, d->inst);
    if (first && r->memory[d->inst].moved)
        rt_fail("%s: it holds states of %s that moved while it read a stream; generate and stream go on from them, a schedule does not",
                r->memory_load, d->name);
    if (first && memory_put(r, d->inst))
        return;
    if (d->carry && !(first && r->memory_reset))
        return;
    Call c = {.state = in->state, .seed = run_seed(r), .count = 1};
    nl_status st = alone_call(d->fresh, &c, NULL, NULL);
    check_index(r, d, &st, in->steps);
}

static double mean_loss(const Run *r) { return r->sum[0] > 0 ? r->sum[1] / r->sum[0] : 0; }

static void begin_sums(Run *r, const Do *d)
{
    r->logged = 0;
    memset(r->sum, 0, sizeof *r->sum * (size_t)d->naccs);
}

static Instance *instance_of(Run *r, const Do *d)
{
    Instance *in = &r->inst[d->inst];
    if (!in->state)
        rt_fail_at(d->line, "%s was not made; compile the program again", d->name);
    return in;
}

/* ---- train */
typedef struct {
    const Do *d;
    Instance *in;
    Feed feed;
    int64_t limit, steps;        /* items (rows of lanes) and batches that it makes at most */
    int64_t log_every;
    int64_t own_pos, *pos;
} Train;

static int64_t batches(int64_t items, int64_t batch) { return (items + batch - 1) / batch; }

/* Batches that `epochs` epochs take from pos on: the running epoch's rest, whole ones, and the beginning of another. */
static int64_t epoch_batches(const Feed *f, int64_t pos, int64_t epochs)
{
    int64_t batch = !f->s || f->d->lanes ? 1 : f->d->batch, n = feed_items(f), at = pos % n;
    if (epochs == 0)
        return 0;
    if (at == 0)
        return epochs * batches(n, batch);
    return batches(n - at, batch) + (epochs - 1) * batches(n, batch) + batches(at, batch);
}

static void train_begin(Run *r, Train *t, const Do *d)
{
    *t = (Train){.d = d, .in = instance_of(r, d)};
    feed_begin(&t->feed, &r->desc, d, run_seed(r));
    if (d->epochs && feed_items(&t->feed) == ENDLESS)
        rt_fail_at(d->line, "stream %s has no end, so it has no epochs; say `for N steps`, or cut it: %s[0:n]",
                   t->feed.s->name, t->feed.s->name);
    t->own_pos = t->in->steps;
    t->pos = d->stream < 0 ? &t->own_pos : &t->in->pos[d->stream];
    t->limit = d->epochs ? d->count * feed_items(&t->feed) : INT64_MAX;
    t->steps = d->epochs ? epoch_batches(&t->feed, *t->pos - r->items, d->count) : d->count;     /* also when resumed */
    t->log_every = r->log_every ? r->log_every : t->steps / 20 > 1 ? batches(t->steps, 20) : 1;
    if (r->k == 0) {
        begin_sums(r, d);
        begin_kept(r, d, t->in);
    }
    progress_begin(r, d, t->steps, r->k);
}

static bool train_over(const Run *r, const Train *t)
{
    return r->stopped || (t->d->epochs ? r->items >= t->limit : r->k >= t->steps);
}

static void train_report(Run *r, const Train *t)
{
    finish(r, t->d, r->sum, r->values);
    check_values(r, t->d, r->values, t->in->steps);
    metrics_event(r, "train", t->d, t->in->steps, mean_loss(r), r->values);
}

static bool until_says_stop(Run *r, const Do *d)
{
    unsigned char yes = 0;
    const void *in[1] = {r->step_values};
    void *out[1] = {&yes};
    if (d->until < 0)
        return false;
    finish(r, d, r->acc, r->step_values);
    Call c = {.in = in, .out = out, .count = 1, .seed = run_seed(r)};
    nl_status st = alone_call(d->until, &c, NULL, NULL);
    check_index(r, d, &st, 0);
    return yes != 0;
}

static void train_step(Run *r, Train *t)
{
    const Do *d = t->d;
    int64_t count = feed_next(&t->feed, *t->pos, t->limit - r->items), read = d->lanes ? 1 : count;
    bool last = d->until >= 0 || (d->epochs ? r->items + read >= t->limit : r->k + 1 >= t->steps);
    levels_before(r, t->in, last, last ? 0 : t->steps - r->k - 1);
    call_step(r, d, t->in, &t->feed, count, *t->pos, t->in->steps + 1);
    *t->pos += read;
    r->items += read;
    r->k++;
    r->total++;
    r->logged++;
    t->in->steps++;
    r->stopped = until_says_stop(r, d);
    levels_after(r, t->in, train_over(r, t));
    progress_tick(r, d, r->k, r->items, mean_loss(r));
    if (r->logged == t->log_every && !train_over(r, t)) {
        train_report(r, t);
        begin_sums(r, d);
    }
}

static void between_steps(Run *r)
{
    if (interrupted())
        stop_here(r, interrupted());
    if (r->checkpoint && r->save_every && r->total % r->save_every == 0)
        checkpoint_save(r, r->checkpoint);
}

static void do_train(Run *r, const Do *d)
{
    Train t;
    train_begin(r, &t, d);
    while (!train_over(r, &t)) {
        train_step(r, &t);
        between_steps(r);
    }
    if (r->logged)
        train_report(r, &t);
    if (d->fresh >= 0)
        memory_note(r, d->inst);
    progress_end(r, d, t.in->steps, r->k, mean_loss(r), r->values);
    feed_end(&t.feed);
}

/* ---- test */
/* A test that is interrupted starts again when the run is resumed. */
static void undo_test(Run *r, const Do *d, Instance *in)
{
    const Model *m = &r->desc.model[in->model];
    memcpy(in->state, r->snapshot, m->bytes);
    memcpy(in->update, r->snapshot_update, sizeof *in->update * (size_t)m->nstate);
    r->k = r->items = 0;
    begin_sums(r, d);
}

static void test_batches(Run *r, const Do *d, Instance *in, Feed *f)
{
    int64_t n = feed_items(f);
    while (r->items < n) {
        int64_t count = feed_next(f, r->items, n - r->items), read = d->lanes ? 1 : count;
        bool last = d->learning && r->items + read >= n;
        if (d->learning)
            levels_before(r, in, last, 0);
        call_step(r, d, in, f, count, r->items, in->steps);
        if (d->learning)
            levels_after(r, in, last);
        r->items += read;
        r->k++;
        progress_tick(r, d, r->k, r->items, mean_loss(r));
        if (interrupted() && r->items < n) {
            undo_test(r, d, in);
            stop_here(r, interrupted());
        }
    }
}

static void do_test(Run *r, const Do *d)
{
    Instance *in = instance_of(r, d);
    const Model *m = &r->desc.model[in->model];
    Feed f;
    feed_begin(&f, &r->desc, d, run_seed(r));
    if (feed_items(&f) == ENDLESS)
        rt_fail_at(d->line, "stream %s has no end, so it cannot be tested; cut it: %s[0:n]", f.s->name, f.s->name);
    memcpy(r->snapshot, in->state, m->bytes);
    memcpy(r->snapshot_update, in->update, sizeof *in->update * (size_t)m->nstate);
    begin_sums(r, d);
    begin_kept(r, d, in);
    progress_begin(r, d, batches(feed_items(&f), d->lanes ? 1 : d->batch), 0);
    test_batches(r, d, in, &f);
    if (d->fresh >= 0)
        memory_note(r, d->inst);
    kept_copy(m, in->state, r->snapshot);
    finish(r, d, r->sum, r->values);
    check_values(r, d, r->values, in->steps);
    record_add(r, d, in->steps, r->values);
    metrics_event(r, "test", d, in->steps, mean_loss(r), r->values);
    progress_end(r, d, in->steps, r->k, mean_loss(r), r->values);
    feed_end(&f);
}

/* ---- instances and the seed */
static void do_new(Run *r, const Do *d)
{
    const Model *m = &r->desc.model[d->model];
    instance_make(r, d->inst, d->model, d->name);
    Instance *in = &r->inst[d->inst];
    Call c = {.state = in->state, .count = 1, .seed = run_seed(r)};
    if (m->init >= 0) {
        nl_status st = team_call(m->init, &c);
        check_index(r, d, &st, 0);
    }
    levels_born(r, in);
}

static void do_copy(Run *r, const Do *d)
{
    const Instance *from = &r->inst[d->from];
    const Model *m = &r->desc.model[d->model];
    if (!from->state)
        rt_fail_at(d->line, "what %s is to be a copy of was not made; compile the program again", d->name);
    if (d->from != d->inst)
        instance_make(r, d->inst, d->model, d->name);
    from = &r->inst[d->from];
    Instance *in = &r->inst[d->inst];
    if (from == in)
        return;
    memcpy(in->state, from->state, m->bytes);
    memcpy(in->pos, from->pos, sizeof *in->pos * (size_t)r->desc.nstream);
    memcpy(in->born, from->born, sizeof *in->born * (size_t)m->nstate);
    memcpy(in->update, from->update, sizeof *in->update * (size_t)m->nstate);
    in->steps = from->steps;
}

static void do_seed(Run *r, const Do *d)
{
    if (d->add == r->add)
        return;
    r->add = d->add;
    streams_seed(&r->desc, run_seed(r));
}

/* An event of a model: what waited for it moves. */
static void do_tick(Run *r, const Do *d)
{
    Instance *in = instance_of(r, d);
    Call c = {.state = in->state, .count = 1, .seed = run_seed(r)};
    levels_before(r, in, false, 0);
    nl_status st = team_call(d->entry, &c);
    check_index(r, d, &st, in->steps);
    levels_after(r, in, false);
    metrics_event(r, "tick", d, in->steps, 0, NULL);
    progress_ticked(r, d, in->steps);
}

static void do_nothing(Run *r, const Do *d) { (void)r, (void)d; }         /* tables come at the end */

static void (*const doing[])(Run *, const Do *) = {
    [DO_NEW] = do_new, [DO_COPY] = do_copy, [DO_SEED] = do_seed, [DO_TRAIN] = do_train, [DO_TEST] = do_test,
    [DO_TABLE] = do_nothing, [DO_TICK] = do_tick,
};

/* An instance that is not used again and whose name another instance of its model takes over is given back. */
static void drop_unused(Run *r)
{
    const Desc *d = &r->desc;
    int inst = d->todo[r->pc].inst;
    bool heir = false;
    if (inst < 0)
        return;
    const Instance *in = &r->inst[inst];
    for (int i = r->pc + 1; i < d->ndo; i++) {
        const Do *t = &d->todo[i];
        if (t->inst == inst || (t->kind == DO_COPY && t->from == inst))
            return;
        heir = heir || ((t->kind == DO_NEW || t->kind == DO_COPY) && t->model == in->model
                        && strcmp(t->name, in->name) == 0);
    }
    if (heir)
        instance_drop(r, inst);
}

void run_births(Run *r)
{
    for (; r->pc < r->desc.ndo; r->pc++) {
        const Do *d = &r->desc.todo[r->pc];
        if (d->kind == DO_NEW || d->kind == DO_COPY || d->kind == DO_SEED)
            doing[d->kind](r, d);
    }
}

void run_schedule(Run *r)
{
    while (r->pc < r->desc.ndo) {
        const Do *d = &r->desc.todo[r->pc];
        doing[d->kind](r, d);
        drop_unused(r);
        r->pc++;
        r->k = r->items = 0;
        r->stopped = false;
        if (interrupted())
            stop_here(r, interrupted());
    }
}
