/* generate.c: the commands `generate` and `stream`: a model goes on with a text, or reads one that need not end. */
#define _POSIX_C_SOURCE 200809L
#include "rt.h"
#include "philox.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BYTES = 256, NEWLINE = 10, CHUNK = 65536 };

/* ---- what both begin and end with */
static void begin(Run *r, Tokens *t)
{
    const Generate *g;
    r->draw_seed = r->seed;                      /* the run's own seed comes from the checkpoint */
    if (r->from)
        checkpoint_weights(r, r->from);
    else {
        run_births(r);
        rt_note("the weights are untrained; --from CHECKPOINT takes those of a run");
    }
    int inst = tokens_instance(r, r->model, &g);
    if (r->learning && !g->window)
        memory_moves(r, inst, g = tokens_learning(r, g, r->learning));
    if (g->window && g->fresh >= 0)
        rt_fail("%s keeps states from item to item, and mixes a window of %lld tokens that moves on by one: which of them the states have seen is not told",
                r->inst[inst].name, (long long)g->rows);
    if (g->window && (r->memory_load || r->memory_save || r->memory_reset))
        rt_fail("%s reads its last %lld tokens anew for every one, so it has no memory to load or save", r->inst[inst].name, (long long)g->rows);
    tokens_begin(t, r, inst, g);
}

/* The memory is saved also when a signal ends it. */
static void end(Run *r, Tokens *t)
{
    int sig = interrupted();
    tokens_note(t);
    memory_write(r);
    metrics_close(r);
    if (fflush(stdout) != 0 || ferror(stdout))
        rt_fail("the results cannot be written: %s", strerror(errno));
    if (!sig)
        return;
    fprintf(stderr, "%s: stopped after %lld tokens%s%s\n", rt_name, (long long)t->seen + (t->last >= 0), r->memory_save ? "; the memory is in " : "",
            r->memory_save ? r->memory_save : "");
    exit(128 + sig);
}

/* ---- generate: the prompt, as bytes or, for other numbers of classes, as numbers with blanks between them */
static char *prompt_text(const Run *r, size_t *n)
{
    Err err;
    if (!r->prompt_file) {
        const char *text = r->prompt ? r->prompt : "";
        *n = strlen(text);
        return rt_strdup(text);
    }
    unsigned char *bytes = file_read(r->prompt_file, n, &err);
    if (!bytes)
        rt_fail("%s", err.text);
    return (char *)bytes;
}

static void feed_numbers(Tokens *t, const char *text)
{
    for (char *end; *(text += strspn(text, " \t\r\n")); text = end) {
        errno = 0;
        long long v = strtoll(text, &end, 10);
        if (end == text || (*end && !strchr(" \t\r\n", *end)) || errno || v < 0 || v >= t->g->classes)
            rt_fail("the prompt: tokens of %s are whole numbers from 0 to %lld with blanks between them, not '%.20s'", t->in->name,
                    (long long)t->g->classes - 1, text);
        tokens_add(t, v);
    }
}

static void feed_prompt(Run *r, Tokens *t)
{
    size_t n;
    char *text = prompt_text(r, &n);
    if (t->g->classes != BYTES)
        feed_numbers(t, text);
    for (size_t i = 0; i < n && t->g->classes == BYTES && !interrupted(); i++)
        tokens_add(t, (unsigned char)text[i]);
    free(text);
    if (t->last < 0)                             /* something has to stand before the first token */
        tokens_add(t, t->g->classes == BYTES ? NEWLINE : 0);
}

static int64_t largest(const double *logit, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        best = logit[i] > logit[best] ? i : best;
    return best;
}

/* From softmax(logit / temperature), by a number u in [0, 1) that depends on the seed and the token's place alone. */
static int64_t draw(const Run *r, const Tokens *t, const double *logit)
{
    int64_t n = t->g->classes, top = largest(logit, n), last = top;
    if (r->temperature == 0 || isinf(logit[top]))
        return top;
    uint64_t site = rt_hash(RT_HASH, "generate", 8), place = (uint64_t)t->seen;
    uint64_t high = philox_bits(r->draw_seed, site, 0, place, 0, 0), low = philox_bits(r->draw_seed, site, 0, place, 0, 1);
    double sum = 0, u = (double)((high << 32 | low) >> 11) * 0x1p-53;
    for (int64_t i = 0; i < n; i++)
        sum += exp((logit[i] - logit[top]) / r->temperature);
    u *= sum;
    for (int64_t i = 0; i < n; i++) {
        double p = exp((logit[i] - logit[top]) / r->temperature);
        if (p > 0 && u < p)
            return i;
        u -= p;
        last = p > 0 ? i : last;
    }
    return last;
}

static void put(const Tokens *t, int64_t token, bool first)
{
    if (t->g->classes == BYTES)
        putchar((int)token);
    else
        printf("%s%lld", first ? "" : " ", (long long)token);
    if (fflush(stdout) != 0)
        rt_fail("the results cannot be written: %s", strerror(errno));
}

void generate_command(void *run)
{
    Run *r = run;
    Tokens t;
    begin(r, &t);
    feed_prompt(r, &t);
    for (int64_t i = 0; i < r->ntokens && !interrupted(); i++) {
        int64_t token = draw(r, &t, tokens_next(&t));
        put(&t, token, i == 0);
        tokens_add(&t, token);
    }
    if (t.g->classes != BYTES && r->ntokens > 0)
        putchar('\n');
    end(r, &t);
    tokens_end(&t);
}

/* ---- stream: standard input, byte by byte */
typedef struct { Run *r; Tokens t; int64_t bytes, counted, in_window; double nats, window; } Reading;

static void print_rate(const Reading *s, bool last)
{
    double bits = log(2), all = s->counted ? s->nats / (double)s->counted / bits : 0;
    if (s->counted == 0)
        return;
    printf("%lld bytes: %.4f bits per byte", (long long)s->bytes, all);
    if (s->in_window)
        printf(", the last %lld %.4f", (long long)s->in_window, s->window / (double)s->in_window / bits);
    putchar('\n');
    if (fflush(stdout) != 0)
        rt_fail("the results cannot be written: %s", strerror(errno));
    cJSON *o = s->r->metrics ? cJSON_CreateObject() : NULL;
    if (!o)
        return;
    cJSON_AddStringToObject(o, "event", last ? "summary" : "stream");
    cJSON_AddStringToObject(o, "model", s->t.in->name);
    cJSON_AddNumberToObject(o, "bytes", (double)s->bytes);
    cJSON_AddNumberToObject(o, "bits_per_byte", all);
    if (s->in_window)
        cJSON_AddNumberToObject(o, "bits_per_byte_last", s->window / (double)s->in_window / bits);
    metrics_line(s->r, o);
    metrics_sync(s->r);                          /* a stream need not end */
}

static void read_byte(Reading *s, int64_t byte)
{
    const double *logit = tokens_add(&s->t, byte);
    s->bytes++;
    if (logit) {
        double nats = tokens_nats(&s->t, byte);
        s->nats += nats;
        s->window += nats;
        s->counted++;
        s->in_window++;
    }
    if (s->bytes % s->r->every)
        return;
    if (!s->r->quiet)
        print_rate(s, false);
    s->window = 0;
    s->in_window = 0;
}

/* A signal wakes it: the handler writes a byte into a pipe. Returns the number of bytes; 0 at the end, or when it is to stop. */
static size_t read_some(const int wake[2], unsigned char *to)
{
    for (;;) {
        struct pollfd on[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = wake[0], .events = POLLIN}};
        if (interrupted())
            return 0;
        if (poll(on, 2, -1) < 0 && errno != EINTR)
            rt_fail("standard input cannot be read: %s", strerror(errno));
        if (interrupted())
            return 0;
        if (!(on[0].revents & (POLLIN | POLLHUP | POLLERR | POLLNVAL)))
            continue;
        ssize_t n = read(STDIN_FILENO, to, CHUNK);
        if (n >= 0)
            return (size_t)n;
        if (errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK)
            rt_fail("standard input cannot be read: %s", strerror(errno));
    }
}

static void open_wake(int wake[2])
{
    if (pipe(wake) != 0)
        rt_fail("no pipe can be made: %s", strerror(errno));
    for (int i = 0; i < 2; i++) {
        fcntl(wake[i], F_SETFD, FD_CLOEXEC);
        fcntl(wake[i], F_SETFL, O_NONBLOCK);
    }
    wake_by_signal(wake[1]);
}

void stream_command(void *run)
{
    static unsigned char chunk[CHUNK];
    Reading s = {.r = run};
    int wake[2];
    begin(s.r, &s.t);
    if (s.t.g->window)
        rt_fail("%s cannot read a stream: it takes %lld tokens at a time, not one by one; either something besides levels mixes them (attention, positions), "
                "or its field has that length: a name that is no constant, as in s : i32[L], leaves it open", s.t.in->name, (long long)s.t.g->rows);
    if (s.t.g->classes != BYTES)
        rt_fail("%s cannot read a stream of bytes: it tells %lld tokens apart, not 256", s.t.in->name, (long long)s.t.g->classes);
    metrics_open(s.r);
    open_wake(wake);
    for (size_t n; (n = read_some(wake, chunk)) > 0;)
        for (size_t i = 0; i < n && !interrupted(); i++)
            read_byte(&s, chunk[i]);
    print_rate(&s, true);
    end(s.r, &s.t);
    tokens_end(&s.t);
}
