/* runtime_toy.c: see runtime_toy.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "runtime_toy.h"
#include "nlrt.h"
#include <dirent.h>
#include <fcntl.h>
#include <malloc.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

int64_t toy_signal_at;
int toy_signal, toy_watch_memory, toy_team, toy_kept, toy_sleep, toy_terminal;
const char *toy_out = "stdout";

/* ---- text */
static char *keep(char *s)                       /* the last few thousand texts stay */
{
    static char *kept[4096];
    static int next;
    next = (next + 1) % 4096;
    free(kept[next]);
    return kept[next] = s;
}

char *fmt(const char *f, ...)
{
    char *s = NULL;
    va_list ap;
    va_start(ap, f);
    if (vasprintf(&s, f, ap) < 0)
        abort();
    va_end(ap);
    return keep(s);
}

/* ---- files */
void write_file(const char *name, const void *bytes, size_t n)
{
    FILE *f = fopen(name, "wb");
    if (!f || fwrite(bytes, 1, n, f) != n || fclose(f) != 0)
        abort();
}

void write_text(const char *name, const char *text) { write_file(name, text, strlen(text)); }

void write_gz(const char *name, const void *bytes, size_t n)
{
    gzFile z = gzopen(name, "wb");
    if (!z || gzwrite(z, bytes, (unsigned)n) != (int)n || gzclose(z) != Z_OK)
        abort();
}

char *read_bytes(const char *name, size_t *n)
{
    FILE *f = fopen(name, "rb");
    char *s = calloc(1, 1 << 18);
    if (!s)
        abort();
    *n = f ? fread(s, 1, (1 << 18) - 1, f) : 0;
    if (f)
        fclose(f);
    return keep(realloc(s, *n + 1));
}

char *read_text_file(const char *name)
{
    size_t n;
    return read_bytes(name, &n);
}

static char folder[256];

void toy_data(void)
{
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/nlrt-XXXXXX", base && *base ? base : P_tmpdir);
    if (!mkdtemp(folder) || chdir(folder) != 0)
        abort();
    FILE *a = fopen("a.csv", "w"), *b = fopen("b.csv", "w");
    if (!a || !b)
        abort();
    fputs("x0,x1,y\n", a);
    for (int i = 0; i < 10; i++)
        fprintf(a, "%.17g,%.17g,%d\n", sin(i), cos(3 * i), i % 3 == 0);
    for (int i = 0; i < 7; i++)
        fprintf(b, "%.17g,%.17g,%d\n", cos(5 * i), sin(2 * i + 1), i % 2);
    fclose(a);
    fclose(b);
}

void toy_clean(void)
{
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.' && remove(e->d_name) != 0) {             /* a folder of tables */
            DIR *in = opendir(e->d_name);
            for (struct dirent *f; in && (f = readdir(in));)
                if (f->d_name[0] != '.')
                    remove(fmt("%s/%s", e->d_name, f->d_name));
            if (in)
                closedir(in);
            remove(e->d_name);
        }
    if (d)
        closedir(d);
    if (chdir("/") == 0)
        rmdir(folder);
}

/* ---- the entries */
typedef struct { double w[2], m[2], slow, idle; int64_t count; double sum; } Toy;

static void init(const nl_call *c)
{
    if (c->tid == 0)
        *(Toy *)c->state = (Toy){.w = {0.1 + (double)(c->seed % 97) * 1e-3, -0.2}};
}

/* Each thread computes some items' errors; then the first adds them up in order. */
static void errors(const nl_call *c)
{
    const Toy *t = (const Toy *)c->state;
    const double *x = c->in[0], *y = c->in[1];
    double *e = (double *)c->arena;
    for (int b = c->tid; b < 4; b += c->nthreads) {
        e[b] = t->w[0] * x[2 * b] + t->w[1] * x[2 * b + 1] - y[b];
        if (y[b] == 99)
            *c->status = (nl_status){.site = 0, .index = 99, .limit = 2, .bad = 1};
    }
    nlrt_barrier();
}

static void sums(const nl_call *c, double *acc)
{
    const double *y = c->in[1], *e = (const double *)c->arena;
    acc[0] = (double)c->count;
    acc[1] = acc[2] = 0;
    for (int b = 0; b < c->count; b++) {
        acc[1] += 0.5 * e[b] * e[b];
        acc[2] += (e[b] + y[b] > 0.5) == (y[b] > 0.5);
    }
}

static void watch_memory(int64_t step)
{
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
    static size_t before;
    size_t now = mallinfo2().uordblks;
    if (toy_watch_memory && step > 1 && now != before)
        _exit(77);
    before = now;
#else
    (void)step;
#endif
}

static void step(const nl_call *c)
{
    errors(c);
    if (c->tid == 0) {
        Toy *t = (Toy *)c->state;
        const double *x = c->in[0], *e = (const double *)c->arena;
        sums(c, c->out[0]);
        for (int i = 0; i < 2; i++) {
            double g = 0;
            for (int b = 0; b < c->count; b++)
                g += e[b] * x[2 * b + i];
            t->m[i] = 0.9 * t->m[i] + g / (double)c->count;
            t->w[i] -= 0.1 * t->m[i];
        }
        t->count++;
        usleep((useconds_t)toy_sleep * 1000);
        watch_memory(t->count);
        if (t->count % 5 == 0)
            t->slow += ((double *)c->out[0])[1] + 1;
        if (t->count == toy_signal_at)
            raise(toy_signal);
    }
    nlrt_barrier();
}

static void test_step(const nl_call *c)
{
    errors(c);
    if (c->tid == 0)
        sums(c, c->out[0]);
    nlrt_barrier();
}

static void learn_step(const nl_call *c)
{
    test_step(c);
    for (int b = 0; b < c->count && c->tid == 0; b++)
        ((Toy *)c->state)->sum += ((const double *)c->in[0])[2 * b];
    if (c->tid == 0 && toy_signal_at < 0 && toy_signal_at == -c->index)
        raise(toy_signal);
}

static void finish(const nl_call *c)
{
    const double *acc = c->in[0];
    double *out = c->out[0];
    out[0] = acc[1] / acc[0];
    out[1] = acc[2] / acc[0];
}

static void value(const nl_call *c) { *(double *)c->out[0] = 100 * *(const double *)c->in[0]; }
static void steps(const nl_call *c) { *(double *)c->out[0] = *(const double *)c->in[0]; }
static void until(const nl_call *c) { *(unsigned char *)c->out[0] = ((const double *)c->in[0])[0] < 0.12; }

static void gen(const nl_call *c)
{
    double *x = c->out[0], *y = c->out[1];
    x[0] = (double)c->index;
    x[1] = (double)c->seed;
    *y = (double)(c->index % 2);
}

static void map(const nl_call *c)
{
    const double *x = c->in[0];
    double *to = c->out[0];
    to[0] = 2 * x[0];
    to[1] = (double)c->index;
    *(double *)c->out[1] = *(const double *)c->in[1];
    if (*(const double *)c->in[1] == 99)
        *c->status = (nl_status){.site = 0, .index = 99, .limit = 2, .bad = 1};
}

static void when(const nl_call *c) { *(unsigned char *)c->out[0] = *(const double *)c->in[0] == 1; }
static void share(const nl_call *c) { *(unsigned char *)c->out[0] = fmod(((const double *)c->in[0])[0], 3) == 0; }

/* What is the same for every item: 1000 times the seed, and how often it was asked for. */
static void once(const nl_call *c)
{
    static double calls;
    *(double *)c->out[0] = 1000 * (double)c->seed;
    *(double *)c->out[1] = ++calls;
}

static void once_map(const nl_call *c)
{
    double *to = c->out[0];
    to[0] = ((const double *)c->in[0])[0] + *(const double *)c->in[1];
    to[1] = (double)c->index;
    *(double *)c->out[1] = *(const double *)c->in[2];
}

/* Over items of one i32[4] field: what came in is what is reported. */
static void bytes(const nl_call *c)
{
    const int32_t *x = c->in[0];
    double *acc = c->out[0];
    acc[0] = (double)c->count;
    acc[1] = acc[2] = 0;
    for (int b = 0; b < c->count; b++)
        for (int j = 0; j < 4; j++) {
            acc[1] += x[4 * b + j];
            acc[2] += (j + 1) * x[4 * b + j];
        }
}

static void bytes_finish(const nl_call *c)
{
    const double *acc = c->in[0];
    double *out = c->out[0];
    out[0] = acc[1];
    out[1] = acc[2];
}

static void fresh(const nl_call *c) { ((Toy *)c->state)->sum = -1000; }

/* A step without data: how many there were. */
static void nothing(const nl_call *c)
{
    double *acc = c->out[0];
    acc[0] = 1;
    acc[1] = acc[2] = (double)++((Toy *)c->state)->count;
}

static const nl_entry entries[NENTRIES] = {
    [E_INIT] = {init, 0}, [E_STEP] = {step, 0}, [E_TEST] = {test_step, 0}, [E_LEARN] = {learn_step, 0},
        [E_FINISH] = {finish, 0},
    [E_VALUE] = {value, 0}, [E_STEPS] = {steps, 0}, [E_UNTIL] = {until, 0}, [E_GEN] = {gen, 0}, [E_MAP] = {map, 0},
        [E_WHEN] = {when, 0},
    [E_SHARE] = {share, 0}, [E_BYTES] = {bytes, 0}, [E_BYTES_FINISH] = {bytes_finish, 0}, [E_FRESH] = {fresh, 0},
        [E_VOID] = {nothing, 0},
    [E_ONCE] = {once, 0}, [E_ONCE_MAP] = {once_map, 0},
};

/* ---- the description */
#define F64(dims) "{\"type\":\"f64\",\"shape\":[" dims "]}"
#define STEP_ENTRY(name) "{\"name\":\"" name "\",\"arena\":64,\"scratch\":0,\"work\":%s,\"in\":[" F64("4,2") "," F64("4") "],\"out\":[" F64("3") "]}"

static const char head[] =
    "{\"nlc\":\"1.0\",\"source\":\"toy.nl\",\"dir\":\".\",\"float\":\"f64\",\"hash\":\"%s\",\"models\":[{\"name\":\"Toy\",\"label\":\"Toy\",\"bytes\":64,"
    "\"init\":0,\"states\":["
    "{\"path\":\"Toy.w\",\"type\":\"f64\",\"shape\":[2],\"offset\":0,\"kind\":\"learn\",\"every\":1,\"count\":4,\"of\":-1,\"level\":0,\"rule\":\"gd(0.1)\"},"
    "{\"path\":\"Toy.w.m\",\"type\":\"f64\",\"shape\":[2],\"offset\":16,\"kind\":\"rule\",\"every\":1,\"count\":4,\"of\":0,\"level\":0,\"rule\":null},"
    "{\"path\":\"Toy.deep.slow\",\"type\":\"f64\",\"shape\":[],\"offset\":32,\"kind\":\"state\",\"every\":5,\"count\":4,\"of\":-1,\"level\":1,\"rule\":null},"
    "{\"path\":\"Toy.idle\",\"type\":\"f64\",\"shape\":[],\"offset\":40,\"kind\":\"learn\",\"every\":1000,\"count\":4,\"of\":-1,\"level\":0,\"rule\":\"gd(1)\"},"
    "{\"path\":\"Toy.count\",\"type\":\"i64\",\"shape\":[],\"offset\":48,\"kind\":\"count\",\"every\":1,\"count\":-1,\"of\":-1,\"level\":-1,\"rule\":null},"
    "{\"path\":\"Toy.sum\",\"type\":\"f64\",\"shape\":[],\"offset\":56,\"kind\":\"state\",\"every\":1,\"count\":-1,\"of\":-1,\"level\":1,\"rule\":null,\"kept\":%s}],"
    "\"levels\":[{\"name\":\"Toy\",\"every\":1,\"objective\":\"error^2/2\",\"context\":\"batch\"},"
    "{\"name\":\"Toy.deep\",\"every\":5,\"objective\":null,\"context\":\"batch\"}]}],\"entries\":["
    "{\"name\":\"Toy.init\",\"in\":[],\"out\":[]}," STEP_ENTRY("Toy.step") "," STEP_ENTRY("Toy.test") "," STEP_ENTRY("Toy.learn") ","
    "{\"name\":\"finish\",\"in\":[" F64("3") "],\"out\":[" F64("2") "]},"
    "{\"name\":\"value\",\"in\":[" F64("1") "],\"out\":[" F64("") "]},"
    "{\"name\":\"steps\",\"in\":[" F64("1") "],\"out\":[" F64("") "]},"
    "{\"name\":\"until\",\"in\":[" F64("2") "],\"out\":[{\"type\":\"bool\",\"shape\":[]}]},"
    "{\"name\":\"gen\",\"in\":[],\"out\":[" F64("2") "," F64("") "]},"
    "{\"name\":\"map\",\"work\":%s,\"in\":[" F64("2") "," F64("") "],\"out\":[" F64("2") "," F64("") "]},"
    "{\"name\":\"when\",\"in\":[" F64("") "],\"out\":[{\"type\":\"bool\",\"shape\":[]}]},"
    "{\"name\":\"share\",\"in\":[" F64("2") "],\"out\":[{\"type\":\"bool\",\"shape\":[]}]},"
    "{\"name\":\"bytes\",\"in\":[{\"type\":\"i32\",\"shape\":[2,4]}],\"out\":[" F64("3") "]},"
    "{\"name\":\"bytes_finish\",\"in\":[" F64("3") "],\"out\":[" F64("2") "]},"
    "{\"name\":\"fresh\",\"in\":[],\"out\":[]},"
    "{\"name\":\"nothing\",\"in\":[],\"out\":[" F64("3") "]},"
    "{\"name\":\"once\",\"in\":[],\"out\":[" F64("") "," F64("") "]},"
    "{\"name\":\"once_map\",\"in\":[" F64("2") "," F64("") "," F64("") "],\"out\":[" F64("2") "," F64("") "]}],"
    "\"sites\":[{\"line\":\"toy.nl:7:9\",\"what\":\"E[y]\"}],";

char *csv(const char *name, const char *path)
{
    return fmt("{\"kind\":\"csv\",\"name\":\"%s\",\"def\":\"%s\",\"line\":\"toy.nl:3:1\",\"paths\":[\"%s\"],\"fields\":["
               "{\"name\":\"x\",\"type\":\"f64\",\"shape\":[2]},{\"name\":\"y\",\"type\":\"f64\",\"shape\":[]}],\"src\":[]}", name, name, path);
}

char *new_toy(int inst, const char *name) { return fmt("{\"do\":\"new\",\"inst\":%d,\"model\":0,\"name\":\"%s\"}",
                                                       inst, name); }

#define STEP_REST "\"batch\":4,\"accs\":3,\"line\":\"toy.nl:9:5\",\"reports\":[{\"name\":\"loss\",\"line\":\"toy.nl:5:12\"},{\"name\":\"accuracy\",\"line\":\"toy.nl:6:12\"}]," \
    "\"fields\":[{\"name\":\"x\",\"from\":0,\"type\":\"f64\",\"shape\":[2]},{\"name\":\"y\",\"from\":1,\"type\":\"f64\",\"shape\":[]}],\"finish\":4"

char *train(int inst, const char *name, int stream, int n, const char *more)
{
    return fmt("{\"do\":\"train\",\"inst\":%d,\"name\":\"%s\",\"stream\":%d,\"for\":%d,\"entry\":1," STEP_REST "%s%s}",
               inst, name, stream, n, *more ? "," : "", more);
}

char *test(int inst, const char *name, int stream, const char *more)
{
    bool learning = strstr(more, "learning") != NULL;
    return fmt("{\"do\":\"test\",\"inst\":%d,\"name\":\"%s\",\"stream\":%d,\"entry\":%d," STEP_REST "%s%s}", inst,
               name, stream, learning ? E_LEARN : E_TEST,
               *more ? "," : "", more);
}

/* ---- a run */
static _Noreturn void child(const nl_program *p, const char *arguments, const char *input, const char *terminal)
{
    char *argv[32] = {"toy"}, *words = strdup(arguments);
    int argc = 1;
    for (char *w = strtok(words, " "); w && argc < 31; w = strtok(NULL, " "))
        argv[argc++] = w;
    if (!freopen(toy_out, "w", stdout) || !freopen(terminal ? terminal : "stderr", "w", stderr)
        || (input && !freopen(input, "r", stdin)))
        _exit(99);
    exit(nlrt_main(p, argc, argv));
}

/* What was written to the terminal; it is small enough to lie there until the run is over. */
static void save_terminal(int master)
{
    char text[4096];
    fcntl(master, F_SETFL, O_NONBLOCK);
    ssize_t n = read(master, text, sizeof text);
    write_file("stderr", text, n > 0 ? (size_t)n : 0);
    close(master);
}

static struct { int master, line; const char *name; } terminal = {-1, -1, NULL};

static void open_terminal(void)
{
    terminal.master = toy_terminal ? posix_openpt(O_RDWR | O_NOCTTY) : -1;
    terminal.line = -1;
    terminal.name = NULL;
    if (terminal.master >= 0 && grantpt(terminal.master) == 0 && unlockpt(terminal.master) == 0)
        terminal.name = fmt("%s", ptsname(terminal.master));
    if (terminal.name)
        terminal.line = open(terminal.name, O_RDWR | O_NOCTTY);      /* held, so that it stays when the run closes its end */
}

pid_t start_program(const nl_program *p, const char *arguments, const char *input)
{
    open_terminal();
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        abort();
    if (pid == 0)
        child(p, arguments, input, terminal.name);
    return pid;
}

Ran end_program(pid_t pid)
{
    int status = 0;
    if (waitpid(pid, &status, 0) != pid)
        abort();
    if (terminal.name)
        save_terminal(terminal.master);
    if (terminal.line >= 0)
        close(terminal.line);
    return (Ran){WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), read_text_file("stdout"),
                 read_text_file("stderr")};
}

Ran run_toy(const char *streams, const char *schedule, const char *arguments)
{
    const char *hash = getenv("TOY_HASH");
    const char *work = toy_team ? "1e7" : "100";
    char *json = fmt(head, hash ? hash : "0123456789abcdef", toy_kept ? "true" : "false", work, work, work, work);
    json = fmt("%s\"streams\":[%s],\"schedule\":[%s]}", json, streams, schedule);
    const nl_program p = {.abi = NL_ABI, .json = json, .entry = entries, .nentry = NENTRIES, .cpu_features = ""};
    return end_program(start_program(&p, arguments, NULL));
}
