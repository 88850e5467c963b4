/* main.c: the command line of every executable. */
#define _POSIX_C_SOURCE 200809L
#include "rt.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- options: one row each */
typedef enum { OPT_HELP, OPT_VERSION, OPT_SEED, OPT_THREADS, OPT_METRICS, OPT_TABLES, OPT_QUIET, OPT_CHECKPOINT,
               OPT_SAVE, OPT_RESUME, OPT_LOG, OPT_TIMES, OPT_NAN } Option;

static const struct { const char *name, *value, *help; } options[] = {
    [OPT_HELP] = {"help", NULL, "say this"},
    [OPT_VERSION] = {"version", NULL, "say which compiler made this program"},
    [OPT_SEED] = {"seed", "S", "where all random numbers come from (0)"},
    [OPT_THREADS] = {"threads", "N", "threads (all cores); results do not depend on it"},
    [OPT_METRICS] = {"metrics", "FILE.jsonl", "write progress and tests as JSON, one object a line"},
    [OPT_TABLES] = {"tables", "DIR", "write the tables as CSV files into this folder"},
    [OPT_QUIET] = {"quiet", NULL, "only tables and errors"},
    [OPT_CHECKPOINT] = {"checkpoint", "FILE", "save here at the end and when interrupted (safetensors)"},
    [OPT_SAVE] = {"save-every", "N", "and every N training steps"},
    [OPT_RESUME] = {"resume", "FILE", "go on from a checkpoint"},
    [OPT_LOG] = {"log-every", "N", "training steps between two lines of metrics (a twentieth of each train)"},
    [OPT_TIMES] = {"times", "FILE", "write how long each training step took, in microseconds, one a line"},
    [OPT_NAN] = {"allow-nan", NULL, "go on when a value is not a number or infinite"},
};
enum { NOPTIONS = sizeof options / sizeof *options };

static bool is_reader(const Stream *s) { return s->def && s->npath > 0; }

/* The readers' names, each once: several streams may come of one definition. */
static bool first_of_def(const Desc *d, int i)
{
    for (int j = 0; j < i; j++)
        if (is_reader(&d->stream[j]) && strcmp(d->stream[j].def, d->stream[i].def) == 0)
            return false;
    return is_reader(&d->stream[i]);
}

static void print_help(const Desc *d)
{
    printf("usage: %s [options]         run the schedule of %s\n", rt_name, d->source);
    printf("       %s info [options]    say what is in this program\n\n", rt_name);
    for (int i = 0; i < NOPTIONS; i++) {
        char left[64];
        snprintf(left, sizeof left, "--%s %s", options[i].name, options[i].value ? options[i].value : "");
        printf("  %-22s %s\n", left, options[i].help);
    }
    for (int i = 0; i < d->nstream; i++) {
        const Stream *s = &d->stream[i];
        if (!first_of_def(d, i))
            continue;
        char *left = rt_printf("--%s PATH%s", s->def, s->npath > 1 ? ",.." : "");
        printf("  %-22s another file for stream %s:", left, s->def);
        for (int k = 0; k < s->npath; k++)
            printf(" %s", s->path[k]);
        putchar('\n');
        free(left);
    }
    printf("\nSIGINT and SIGTERM finish the step and, with --checkpoint, save.\n");
}

static int64_t read_number(const char *name, const char *text, int64_t least)
{
    char *end;
    errno = 0;
    int64_t v = strtoll(text, &end, 10);
    if (end == text || *end || errno || v < least)
        rt_usage("--%s needs a whole number%s, not '%s'", name,
                 least == 1 ? " from 1 on" : least == 0 ? " from 0 on" : "", text);
    return v;
}

static void set_option(Run *r, Option o, const char *value)
{
    const char *name = options[o].name;
    int64_t number;
    switch (o) {
    case OPT_HELP:
        print_help(&r->desc);
        exit(fflush(stdout) == 0 ? 0 : 1);
    case OPT_VERSION:
        printf("%s, made by nlc %s\n", rt_name, r->desc.version);
        exit(fflush(stdout) == 0 ? 0 : 1);
    case OPT_SEED:
        r->seed = (uint64_t)read_number(name, value, INT64_MIN);
        r->seed_given = true;
        break;
    case OPT_THREADS:
        number = read_number(name, value, 1);
        r->nthreads = number > 1024 ? 1024 : (int)number;
        break;
    case OPT_METRICS: r->metrics_path = value; break;
    case OPT_TABLES: r->tables = value; break;
    case OPT_QUIET: r->quiet = true; break;
    case OPT_CHECKPOINT: r->checkpoint = value; break;
    case OPT_SAVE: r->save_every = read_number(name, value, 1); break;
    case OPT_RESUME: r->resume = value; break;
    case OPT_LOG: r->log_every = read_number(name, value, 1); break;
    case OPT_TIMES: r->times_path = value; break;
    case OPT_NAN: r->allow_nan = true; break;
    }
}

/* --STREAM a,b: other files for all streams of that definition. */
static bool set_stream(Run *r, const char *name, const char *value)
{
    bool found = false;
    for (int i = 0; i < r->desc.nstream; i++) {
        Stream *s = &r->desc.stream[i];
        if (!is_reader(s) || strcmp(s->def, name) != 0)
            continue;
        found = true;
        if (!value)
            rt_usage("--%s needs a path", name);
        int n = 1;
        for (const char *p = value; *p; p++)
            n += *p == ',';
        if (n != s->npath)
            rt_usage("--%s: %d file%s, but the stream has %d", name, n, n > 1 ? "s" : "", s->npath);
        char *at = s->given = rt_strdup(value);
        for (int k = 0; k < n; k++) {
            char *comma = strchr(at, ',');
            if (comma)
                *comma = 0;
            s->path[k] = at;
            at = comma ? comma + 1 : at;
        }
    }
    return found;
}

static void unknown(const Run *r, const char *arg)
{
    for (int i = 0; i < NOPTIONS; i++)
        if (strncmp(options[i].name, arg, 3) == 0)
            rt_usage("there is no option --%s; did you mean --%s? (--help lists all)", arg, options[i].name);
    (void)r;
    rt_usage("there is no option and no stream --%s; --help lists all", arg);
}

static int find_option(const char *name)
{
    for (int i = 0; i < NOPTIONS; i++)
        if (strcmp(options[i].name, name) == 0)
            return i;
    return -1;
}

/* Options in any order; --name value or --name=value. Returns true for `info`. */
static bool read_arguments(Run *r, int argc, char **argv)
{
    bool info = false;
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        if (strcmp(arg, "-h") == 0)
            arg = "--help";
        if (strcmp(arg, "-q") == 0)
            arg = "--quiet";
        if (strcmp(arg, "info") == 0 && !info) {
            info = true;
            continue;
        }
        if (strncmp(arg, "--", 2) != 0 || !arg[2])
            rt_usage("'%s' is no option and no command; --help lists all", arg);
        const char *equals = strchr(arg, '='), *value = equals ? equals + 1 : NULL;
        char name[128];
        snprintf(name, sizeof name, "%s", arg + 2);
        name[strcspn(name, "=")] = 0;
        int o = find_option(name);
        bool takes = o < 0 || options[o].value;
        if (!takes && value)
            rt_usage("--%s takes no value", name);
        if (takes && !value && i + 1 < argc && strncmp(argv[i + 1], "--", 2) != 0)
            value = argv[++i];
        if (o >= 0 && takes && (!value || !*value))
            rt_usage("--%s needs %s", name, options[o].value);
        if (o >= 0)
            set_option(r, (Option)o, value);
        else if (!set_stream(r, name, value))
            unknown(r, name);
    }
    if (r->save_every && !r->checkpoint)
        rt_usage("--save-every needs --checkpoint FILE");
    return info;
}

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
            fprintf(to, "%s %s : %s", k ? "," : "", s->field[k].name,
                    shape_str(&s->field[k].shape, shape, sizeof shape));
        fputc('\n', to);
    }
    for (int i = 0; i < d->nentry; i++)
        fprintf(to, "entry %s: %.3g multiply-adds, %zu bytes, %zu per thread\n", d->entry[i].name, d->entry[i].work,
                d->entry[i].arena, d->entry[i].scratch);
}

/* ---- start-up */
#if defined(__x86_64__) || defined(__i386__)
static void check_cpu(const char *features)
{
    __builtin_cpu_init();
    const struct { const char *name; int has; } known[] = {
        {"avx", __builtin_cpu_supports("avx")}, {"avx2", __builtin_cpu_supports("avx2")},
        {"fma", __builtin_cpu_supports("fma")},
        {"avx512f", __builtin_cpu_supports("avx512f")}, {"avx512bw", __builtin_cpu_supports("avx512bw")},
        {"avx512dq", __builtin_cpu_supports("avx512dq")}, {"avx512vl", __builtin_cpu_supports("avx512vl")},
        {"bmi", __builtin_cpu_supports("bmi")}, {"bmi2", __builtin_cpu_supports("bmi2")},
        {"sse4.2", __builtin_cpu_supports("sse4.2")},
        {"popcnt", __builtin_cpu_supports("popcnt")},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        char *plus = rt_printf("+%s", known[i].name), *at = strstr(features, plus);
        bool asked = at && (at[strlen(plus)] == ',' || at[strlen(plus)] == 0);
        free(plus);
        if (asked && !known[i].has)
            rt_fail("this program was compiled for a processor with %s, which this one lacks; compile it here, or with "
                    "nlc --cpu", known[i].name);
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
    progress_clear();
    if (!r->quiet)
        fflush(stderr);
    tables_print(r);
    levels_table(r, stdout);
    levels_summary(r);
    metrics_close(r);
    if (fflush(stdout) != 0 || ferror(stdout))
        rt_fail("the results cannot be written: %s", strerror(errno));
}

static void run_and_finish(void *run)
{
    run_schedule(run);
    finish_run(run);
}

int nlrt_main(const nl_program *p, int argc, char **argv)
{
    static Run run;
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    rt_name = slash ? slash + 1 : argc > 0 ? argv[0] : "program";
    run = (Run){0};
    desc_read(&run.desc, p);
    if (read_arguments(&run, argc, argv)) {
        info_print(&run.desc, stdout);
        return fflush(stdout) == 0 ? 0 : 1;
    }
    check_cpu(p->cpu_features ? p->cpu_features : "");
    team_init(&run.desc, run.nthreads);
    allocate(&run);
    catch_signals();
    streams_open(&run.desc);
    streams_seed(&run.desc, run.seed);
    if (run.resume)
        checkpoint_load(&run, run.resume);
    metrics_open(&run);
    progress_open(&run);
    team_run(run_and_finish, &run);
    progress_close(&run);
    streams_close(&run.desc);
    return 0;
}
