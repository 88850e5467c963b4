/* main.c: start-up, and what a command does. */
#define _POSIX_C_SOURCE 200809L
#include "rt.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- info */
static void info_models(const Desc *d, FILE *to)
{
    char shape[160];
    for (int i = 0; i < d->nmodel; i++) {
        const Model *m = &d->model[i];
        int64_t learned = 0;
        for (int k = 0; k < m->nstate; k++)
            learned += m->state[k].kind == KIND_LEARN ? m->state[k].shape.count : 0;
        fprintf(to, "model %s: %lld learned numbers, %zu bytes of state\n", m->label, (long long)learned, m->bytes);
        for (int k = 0; k < m->nstate; k++) {
            static const char *const kinds[] = {"learn", "state", "rule", "clock", "sum"};
            const State *s = &m->state[k];
            fprintf(to, "  %-5s  %-28s  %-18s", kinds[s->kind], s->path, shape_str(&s->shape, shape, sizeof shape));
            if (s->kind == KIND_LEARN || s->kind == KIND_STATE)
                fprintf(to, s->every > 0 ? "  every %lld" : "  on an event", (long long)s->every);
            fprintf(to, "%s%s\n", s->rule ? "  with " : "", s->rule ? s->rule : "");
        }
    }
}

void info_print(const Desc *d, FILE *to)
{
    char shape[160];
    fprintf(to, "%s, compiled by nlc %s, hash %s\n", d->source, d->version, d->hash);
    info_models(d, to);
    for (int i = 0; i < d->nstream; i++) {
        const Stream *s = &d->stream[i];
        fprintf(to, "stream %s: %s", s->name, s->reader->kind);
        for (int k = 0; k < s->npath; k++)
            fprintf(to, " %s", s->path[k]);
        for (int k = 0; k < s->nsrc; k++)
            fprintf(to, "%s%s", k ? ", " : " of ", d->stream[s->src[k]].name);
        fprintf(to, " ->");
        for (int k = 0; k < s->nfield; k++)
            fprintf(to, "%s %s : %s", k ? "," : "", s->field[k].name, shape_str(&s->field[k].shape, shape, sizeof shape));
        fputc('\n', to);
    }
    for (int i = 0; i < d->ngenerate; i++) {
        const Generate *g = &d->generate[i];
        fprintf(to, "generate %s: %lld kinds of tokens, ", d->model[g->model].label, (long long)g->classes);
        if (g->window)
            fprintf(to, "a window of %lld anew for each\n", (long long)g->rows);
        else
            fprintf(to, "one at a time, with a memory%s%s\n", g->learning ? ", learning " : "", g->learning ? g->learning : "");
    }
    for (int i = 0; i < d->nentry; i++)
        fprintf(to, "entry %s: %.3g multiply-adds, %zu bytes, %zu per thread\n", d->entry[i].name, d->entry[i].work, d->entry[i].arena, d->entry[i].scratch);
}

/* ---- start-up */
#if defined(__x86_64__) || defined(__i386__)
static void check_cpu(const char *features)
{
    __builtin_cpu_init();
    const struct { const char *name; int has; } known[] = {
        {"avx", __builtin_cpu_supports("avx")}, {"avx2", __builtin_cpu_supports("avx2")}, {"fma", __builtin_cpu_supports("fma")},
        {"avx512f", __builtin_cpu_supports("avx512f")}, {"avx512bw", __builtin_cpu_supports("avx512bw")},
        {"avx512dq", __builtin_cpu_supports("avx512dq")}, {"avx512vl", __builtin_cpu_supports("avx512vl")},
        {"bmi", __builtin_cpu_supports("bmi")}, {"bmi2", __builtin_cpu_supports("bmi2")}, {"sse4.2", __builtin_cpu_supports("sse4.2")},
        {"popcnt", __builtin_cpu_supports("popcnt")},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        char *plus = rt_printf("+%s", known[i].name), *at = strstr(features, plus);
        bool asked = at && (at[strlen(plus)] == ',' || at[strlen(plus)] == 0);
        free(plus);
        if (asked && !known[i].has)
            rt_fail("this program was compiled for a processor with %s, which this one lacks; compile it here, or with nlc --cpu", known[i].name);
    }
}
#else
static void check_cpu(const char *features) { (void)features; }
#endif

/* Buffers for the largest step and the largest instance. */
static void allocate(Run *r)
{
    const Desc *d = &r->desc;
    size_t accs = 2, reports = 1, bytes = 0, states = 0;
    for (int i = 0; i < d->ndo; i++) {
        accs = (size_t)d->todo[i].naccs > accs ? (size_t)d->todo[i].naccs : accs;
        reports = (size_t)d->todo[i].nreport > reports ? (size_t)d->todo[i].nreport : reports;
    }
    for (int i = 0; i < d->nmodel; i++) {
        bytes = d->model[i].bytes > bytes ? d->model[i].bytes : bytes;
        states = (size_t)d->model[i].nstate > states ? (size_t)d->model[i].nstate : states;
    }
    r->sum = rt_alloc(sizeof(double) * accs);
    r->acc = rt_alloc(sizeof(double) * accs);
    r->values = rt_alloc(sizeof(double) * reports);
    r->step_values = rt_alloc(sizeof(double) * reports);
    r->before = rt_alloc(bytes);
    r->seen = rt_alloc(sizeof *r->seen * states);
    r->snapshot = rt_alloc(bytes);
    r->snapshot_update = rt_alloc(sizeof(double) * states);
    r->inst = rt_alloc(sizeof *r->inst * (size_t)d->ninst);
}

static void finish_run(Run *r)
{
    if (r->checkpoint)
        checkpoint_save(r, r->checkpoint);
    if (r->memory_save)
        memory_note_rest(r);
    memory_write(r);
    progress_clear();
    if (!r->quiet)
        fflush(stderr);
    tables_print(r);
    levels_table(r, stdout);
    levels_summary(r);
    metrics_close(r);
    progress_close(r);
    if (fflush(stdout) != 0 || ferror(stdout))
        rt_fail("the results cannot be written: %s", strerror(errno));
}

static void run_and_finish(void *run)
{
    run_schedule(run);
    finish_run(run);
}

static void run_command(Run *r)
{
    streams_open(&r->desc);
    streams_seed(&r->desc, r->seed);
    if (r->resume)
        checkpoint_load(r, r->resume);
    metrics_open(r);
    progress_open(r);
    team_run(run_and_finish, r);
    streams_close(&r->desc);
}

int nlrt_main(const nl_program *p, int argc, char **argv)
{
    static Run run;
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    rt_name = slash ? slash + 1 : argc > 0 ? argv[0] : "program";
    run = (Run){0};
    desc_read(&run.desc, p);
    Command c = options_read(&run, argc, argv);
    if (c == CMD_INFO) {
        info_print(&run.desc, stdout);
        return fflush(stdout) == 0 ? 0 : 1;
    }
    check_cpu(p->cpu_features ? p->cpu_features : "");
    team_init(&run.desc, run.nthreads);
    allocate(&run);
    catch_signals();
    memory_open(&run, c == CMD_RUN);
    if (c == CMD_RUN)
        run_command(&run);
    else
        team_run(c == CMD_GENERATE ? generate_command : stream_command, &run);
    return 0;
}
