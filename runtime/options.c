/* options.c: the command line of every executable: a command, its options in any order (--name value or --name=value), and for every
   stream that reads files an option of its name. */
#define _POSIX_C_SOURCE 200809L
#include "rt.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- commands and options: one row each */
static const struct { const char *name; Command command; const char *help; } commands[] = {
    {"run", CMD_RUN, "the same"},
    {"info", CMD_INFO, "say what is in this program"},
    {"generate", CMD_GENERATE, "let a model go on with a text, token by token"},
    {"stream", CMD_STREAM, "let a model read standard input without end and say how well it predicts it"},
};
enum { NCOMMANDS = sizeof commands / sizeof *commands, LIVE = CMD_GENERATE | CMD_STREAM, ALL = CMD_RUN | CMD_INFO | LIVE };

typedef enum {
    OPT_HELP, OPT_VERSION, OPT_SEED, OPT_THREADS, OPT_METRICS, OPT_TABLES, OPT_QUIET, OPT_CHECKPOINT, OPT_SAVE, OPT_RESUME, OPT_LOG, OPT_TIMES, OPT_NAN,
    OPT_FROM, OPT_MODEL, OPT_PROMPT, OPT_PROMPT_FILE, OPT_BYTES, OPT_TEMPERATURE, OPT_EVERY, OPT_LEARNING, OPT_MEMORY_LOAD, OPT_MEMORY_SAVE, OPT_MEMORY_RESET
} Option;

static const struct { int commands; const char *name, *value, *help; } options[] = {
    [OPT_HELP] = {ALL, "help", NULL, "say this"},
    [OPT_VERSION] = {ALL, "version", NULL, "say which compiler made this program"},
    [OPT_SEED] = {CMD_RUN | LIVE, "seed", "S", "where all random numbers come from (0); of generate, its draws"},
    [OPT_THREADS] = {CMD_RUN | LIVE, "threads", "N", "threads (all cores); results do not depend on it"},
    [OPT_METRICS] = {CMD_RUN | CMD_STREAM, "metrics", "FILE.jsonl", "write progress and tests as JSON, one object a line"},
    [OPT_TABLES] = {CMD_RUN, "tables", "DIR", "write the tables as CSV files into this folder"},
    [OPT_QUIET] = {CMD_RUN | LIVE, "quiet", NULL, "only tables, results and errors"},
    [OPT_CHECKPOINT] = {CMD_RUN, "checkpoint", "FILE", "save here at the end and when interrupted (safetensors)"},
    [OPT_SAVE] = {CMD_RUN, "save-every", "N", "and every N training steps"},
    [OPT_RESUME] = {CMD_RUN, "resume", "FILE", "go on from a checkpoint"},
    [OPT_LOG] = {CMD_RUN, "log-every", "N", "training steps between two lines of metrics (a twentieth of each train)"},
    [OPT_TIMES] = {CMD_RUN, "times", "FILE", "write how long each training step took, in microseconds, one a line"},
    [OPT_NAN] = {CMD_RUN, "allow-nan", NULL, "go on when a value is not a number or infinite"},
    [OPT_FROM] = {LIVE, "from", "CHECKPOINT", "the weights; without it they are untrained"},
    [OPT_MODEL] = {LIVE, "model", "NAME", "which model, where there are several"},
    [OPT_PROMPT] = {CMD_GENERATE, "prompt", "TEXT", "what it goes on with (a newline)"},
    [OPT_PROMPT_FILE] = {CMD_GENERATE, "prompt-file", "FILE", "the same from a file"},
    [OPT_BYTES] = {CMD_GENERATE, "bytes", "N", "how much it is to say, in tokens (256)"},
    [OPT_TEMPERATURE] = {CMD_GENERATE, "temperature", "T", "softmax(logits/T); 0: always the likeliest (1)"},
    [OPT_EVERY] = {CMD_STREAM, "every", "N", "bytes between two lines (1000)"},
    [OPT_LEARNING] = {CMD_STREAM, "learning", "NAME,..", "states that move as it reads, of those that the schedule offers"},
    [OPT_MEMORY_LOAD] = {CMD_RUN | LIVE, "memory-load", "FILE", "begin with what a model had learned in its context"},
    [OPT_MEMORY_SAVE] = {CMD_RUN | LIVE, "memory-save", "FILE", "save that at the end and when interrupted (safetensors)"},
    [OPT_MEMORY_RESET] = {CMD_RUN | LIVE, "memory-reset", NULL, "begin with nothing learned (also where a step says carry)"},
};
enum { NOPTIONS = sizeof options / sizeof *options };

static bool is_reader(const Stream *s) { return s->def && s->npath > 0; }

/* The readers' names, each once: several streams may come of one definition. */
static bool first_of_def(const Desc *d, int i)
{
    for (int j = 0; is_reader(&d->stream[i]) && j < i; j++)
        if (is_reader(&d->stream[j]) && strcmp(d->stream[j].def, d->stream[i].def) == 0)
            return false;
    return is_reader(&d->stream[i]);
}

/* ---- help */
static void help_options(bool of_run)
{
    for (int i = 0; i < NOPTIONS; i++) {
        char left[64];
        if (((options[i].commands & CMD_RUN) != 0) != of_run)
            continue;
        snprintf(left, sizeof left, "--%s %s", options[i].name, options[i].value ? options[i].value : "");
        printf("  %-22s %s\n", left, options[i].help);
    }
}

static void help_streams(const Desc *d)
{
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
}

static _Noreturn void print_help(const Desc *d)
{
    printf("usage: %s [options]            run the schedule of %s\n", rt_name, d->source);
    for (int i = 0; i < NCOMMANDS; i++)
        printf("       %s %-8s [options]   %s\n", rt_name, commands[i].name, commands[i].help);
    putchar('\n');
    help_options(true);
    help_streams(d);
    printf("\nOf generate and stream, with --seed --threads --quiet --memory-load --memory-save --memory-reset (and stream --metrics):\n");
    help_options(false);
    printf("\nstream: levels inside the model learn from what it reads; its own weights stay as they are but for --learning.\n"
           "SIGINT and SIGTERM finish the step (or the token) and, with --checkpoint or --memory-save, save.\n");
    exit(fflush(stdout) == 0 ? 0 : 1);
}

/* ---- values */
static int64_t read_number(const char *name, const char *text, int64_t least)
{
    char *end;
    errno = 0;
    int64_t v = strtoll(text, &end, 10);
    if (end == text || *end || errno || v < least)
        rt_usage("--%s needs a whole number%s, not '%s'", name, least == 1 ? " from 1 on" : least == 0 ? " from 0 on" : "", text);
    return v;
}

static double read_temperature(const char *text)
{
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end || !(v >= 0) || !isfinite(v))
        rt_usage("--temperature needs a number from 0 on, not '%s'", text);
    return v;
}

static void set_option(Run *r, Option o, const char *value)
{
    const char *name = options[o].name;
    switch (o) {
    case OPT_HELP: print_help(&r->desc);
    case OPT_VERSION:
        printf("%s, made by nlc %s\n", rt_name, r->desc.version);
        exit(fflush(stdout) == 0 ? 0 : 1);
    case OPT_SEED:
        r->seed = (uint64_t)read_number(name, value, INT64_MIN);
        r->seed_given = true;
        break;
    case OPT_THREADS: r->nthreads = (int)read_number(name, value, 1) > 1024 ? 1024 : (int)read_number(name, value, 1); break;
    case OPT_METRICS: r->metrics_path = value; break;
    case OPT_TABLES: r->tables = value; break;
    case OPT_QUIET: r->quiet = true; break;
    case OPT_CHECKPOINT: r->checkpoint = value; break;
    case OPT_SAVE: r->save_every = read_number(name, value, 1); break;
    case OPT_RESUME: r->resume = value; break;
    case OPT_LOG: r->log_every = read_number(name, value, 1); break;
    case OPT_TIMES: r->times_path = value; break;
    case OPT_NAN: r->allow_nan = true; break;
    case OPT_FROM: r->from = value; break;
    case OPT_MODEL: r->model = value; break;
    case OPT_PROMPT: r->prompt = value; break;
    case OPT_PROMPT_FILE: r->prompt_file = value; break;
    case OPT_BYTES: r->ntokens = read_number(name, value, 0); break;
    case OPT_TEMPERATURE: r->temperature = read_temperature(value); break;
    case OPT_EVERY: r->every = read_number(name, value, 1); break;
    case OPT_LEARNING: r->learning = value; break;
    case OPT_MEMORY_LOAD: r->memory_load = value; break;
    case OPT_MEMORY_SAVE: r->memory_save = value; break;
    case OPT_MEMORY_RESET: r->memory_reset = true; break;
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

/* ---- arguments */
static _Noreturn void unknown(const char *arg)
{
    for (int i = 0; i < NOPTIONS; i++)
        if (strncmp(options[i].name, arg, 3) == 0)
            rt_usage("there is no option --%s; did you mean --%s? (--help lists all)", arg, options[i].name);
    rt_usage("there is no option and no stream --%s; --help lists all", arg);
}

static int find_option(const char *name)
{
    for (int i = 0; i < NOPTIONS; i++)
        if (strcmp(options[i].name, name) == 0)
            return i;
    return -1;
}

static bool find_command(const char *name, Command *c)
{
    for (int i = 0; i < NCOMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0) {
            *c = commands[i].command;
            return true;
        }
    return false;
}

static const char *command_name(Command c)
{
    for (int i = 0; i < NCOMMANDS; i++)
        if (commands[i].command == c)
            return commands[i].name;
    return "";
}

/* One option, with its value in the next argument or behind "="; returns how many arguments it took. */
static int read_option(Run *r, const char *arg, const char *next, int *seen)
{
    const char *equals = strchr(arg, '='), *value = equals ? equals + 1 : NULL;
    char name[128];
    snprintf(name, sizeof name, "%.*s", (int)(equals ? equals - arg - 2 < 127 ? equals - arg - 2 : 127 : 127), arg + 2);
    int o = find_option(name), took = 1;
    bool takes = o < 0 || options[o].value, any_text = o == OPT_PROMPT;
    if (!takes && value)
        rt_usage("--%s takes no value", name);
    if (takes && !value && next && (any_text || strncmp(next, "--", 2) != 0)) {
        value = next;
        took = 2;
    }
    if (o >= 0 && takes && (!value || (!*value && !any_text)))
        rt_usage("--%s needs %s", name, options[o].value);
    if (o >= 0) {
        *seen |= 1 << o;
        set_option(r, (Option)o, value);
    } else if (!set_stream(r, name, value))
        unknown(name);
    return took;
}

static void check_together(const Run *r, Command c, int seen)
{
    for (int o = 0; o < NOPTIONS; o++)
        if (seen >> o & 1 && !(options[o].commands & c) && c != CMD_INFO)
            rt_usage("--%s is no option of `%s %s`; --help says what is", options[o].name, rt_name, command_name(c));
    if (r->save_every && !r->checkpoint)
        rt_usage("--save-every needs --checkpoint FILE");
    if (r->prompt && r->prompt_file)
        rt_usage("--prompt and --prompt-file: one of them");
    if (r->memory_load && r->memory_reset)
        rt_usage("--memory-load and --memory-reset: one of them");
    if (r->resume && (r->memory_load || r->memory_reset))
        rt_usage("--memory-%s and --resume: the checkpoint says what the memory is", r->memory_load ? "load" : "reset");
}

Command options_read(Run *r, int argc, char **argv)
{
    Command c = CMD_RUN;
    bool named = false;
    int seen = 0;
    r->ntokens = 256;
    r->temperature = 1;
    r->every = 1000;
    for (int i = 1; i < argc;) {
        const char *arg = strcmp(argv[i], "-h") == 0 ? "--help" : strcmp(argv[i], "-q") == 0 ? "--quiet" : argv[i];
        if (!named && find_command(arg, &c)) {
            named = true;
            i++;
            continue;
        }
        if (strncmp(arg, "--", 2) != 0 || !arg[2])
            rt_usage("'%s' is no option and no command; --help lists all", arg);
        i += read_option(r, arg, i + 1 < argc ? argv[i + 1] : NULL, &seen);
    }
    check_together(r, c, seen);
    return c;
}
