/* generate_test.c: generate, stream and memories, over a program written by hand.

   Talk keeps mem : [N] and hits, and says of the token after x what mem and its weights w say: mem fades and x adds to it. With a
   lag it also adds what follows, so it looks ahead. Its window form goes through the tokens from nothing: no more than R of them. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "runtime_toy.h"
#include "nlrt.h"
#include <criterion/criterion.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(generate, .init = toy_data, .fini = toy_clean, .timeout = 120);

#define OK(r)            cr_assert_eq((r).status, 0, "status %d: %s", (r).status, (r).err)
#define FAILS(r, code, text) do { Ran r_ = (r); \
        cr_assert_eq(r_.status, code, "status %d, not %d: %s", r_.status, code, r_.err); \
        cr_assert(strstr(r_.err, text), "no '%s' in: %s", text, r_.err); } while (0)
#define HAS(where, text) cr_assert(strstr(where, text), "no '%s' in:\n%s", text, where)

/* ---- the program */
enum { W = 8, INIT = 0, FRESH, STEP, WINDOW, BATCH, ENTRIES };
typedef struct { double w[W]; double mem[64]; int64_t hits; } Talk;
static int lag, cells = 8, classes = 256, ahead = 1, rows = 4, two_models, bad_token = -1;
static const char *hash = "00000000000000aa", *path = "Talk.mem";

static void init(const nl_call *c)
{
    Talk *t = (Talk *)c->state;
    for (int i = 0; i < W; i++)
        t->w[i] = sin(1 + i + (double)c->seed);
}

static void fresh(const nl_call *c)
{
    Talk *t = (Talk *)c->state;
    for (int i = 0; i < cells; i++)
        t->mem[i] = 0.25 * i;
    t->hits = 0;
}

static void learn(double *mem, int x)
{
    for (int i = 0; i < cells; i++)
        mem[i] = 0.9 * mem[i] + ((x * 7 + i * 3) % 11) * 0.1;
}

static void say(const Talk *t, const double *mem, double *logit)
{
    for (int c = 0; c < classes; c++)
        logit[c] = 3 * sin(t->w[c % W] * (c + 1) + mem[c % cells]) * mem[(c + 1) % cells];
}

static void step(const nl_call *c)
{
    Talk *t = (Talk *)c->state;
    const int32_t *x = c->in[0];
    if (c->tid)
        return;
    learn(t->mem, x[0]);
    say(t, t->mem, c->out[1]);
    if (lag && ahead)
        t->mem[x[1] % cells] += 0.5;
    if (x[0] == bad_token)
        *c->status = (nl_status){.site = 0, .index = 200, .limit = 128, .bad = 1};
    t->hits++;
    ((double *)c->out[0])[0] = 1;
    ((double *)c->out[0])[1] = 0;
}

static void window(const nl_call *c)
{
    const Talk *t = (const Talk *)c->state;
    const int32_t *x = c->in[0];
    double mem[64];
    for (int i = 0; i < cells; i++)
        mem[i] = 0.25 * i;
    for (int r = 0; r < rows; r++) {
        learn(mem, x[r]);
        say(t, mem, (double *)c->out[1] + r * classes);
    }
}

/* A step of the schedule: the first column of a.csv, one row an item. */
static void batch(const nl_call *c)
{
    Talk *t = (Talk *)c->state;
    learn(t->mem, (int)(100 * fabs(((const double *)c->in[0])[0])));
    t->hits++;
    ((double *)c->out[0])[0] = 1;
    ((double *)c->out[0])[1] = 0;
}

static const nl_entry entries[ENTRIES] = {[INIT] = {init, 0}, [FRESH] = {fresh, 0}, [STEP] = {step, 0}, [WINDOW] = {window, 0}, [BATCH] = {batch, 0}};

#define STEP_OF(what, more) "{\"do\":\"" what "\",\"inst\":0,\"name\":\"p\",\"entry\":4,\"fresh\":1,\"accs\":2,\"stream\":0,\"batch\":1,\"line\":\"talk.nl:9:1\",\"reports\":[]," \
    "\"fields\":[{\"name\":\"x\",\"from\":0,\"type\":\"f64\",\"shape\":[2]}]" more "}"
#define NEW "{\"do\":\"new\",\"inst\":0,\"model\":0,\"name\":\"p\"}"
#define TRAIN(n, more) STEP_OF("train", ",\"for\":" #n more)
#define TEST STEP_OF("test", "")
static const char *schedule = NEW;
static bool windowed;

static char *description(void)
{
    char *generate = fmt("{\"model\":\"Talk\",\"entry\":%d,\"fresh\":%d,\"rows\":%d,\"lag\":%d,\"classes\":%d,\"window\":%s,\"type\":\"i32\"%s}", windowed ? WINDOW : STEP,
                         windowed ? -1 : FRESH, windowed ? rows : 1, lag, classes, windowed ? "true" : "false", ahead ? "" : ",\"ahead\":false");
    return fmt("{\"nlc\":\"1.0\",\"source\":\"talk.nl\",\"dir\":\".\",\"float\":\"f64\",\"hash\":\"%s\",\"models\":[{\"name\":\"Talk\",\"label\":\"Talk(8)\",\"bytes\":640,\"init\":0,"
               "\"states\":[{\"path\":\"Talk.w\",\"type\":\"f64\",\"shape\":[8],\"offset\":0,\"kind\":\"learn\",\"every\":1,\"level\":0,\"rule\":\"gd\"},"
               "{\"path\":\"%s\",\"type\":\"f64\",\"shape\":[%d],\"offset\":64,\"kind\":\"rule\",\"every\":1,\"kept\":true},"
               "{\"path\":\"Talk.hits\",\"type\":\"i64\",\"shape\":[],\"offset\":576,\"kind\":\"count\",\"every\":1,\"kept\":true}],"
               "\"levels\":[{\"name\":\"Talk\",\"every\":1,\"objective\":null,\"context\":\"x\"}]}],\"entries\":[{\"name\":\"init\"},{\"name\":\"fresh\"},"
               "{\"name\":\"step\",\"in\":[{\"type\":\"i32\",\"shape\":[1,%d]}],\"out\":[{\"type\":\"f64\",\"shape\":[2]},{\"type\":\"f64\",\"shape\":[1,%d]}]},"
               "{\"name\":\"window\",\"in\":[{\"type\":\"i32\",\"shape\":[1,%d]}],\"out\":[{\"type\":\"f64\",\"shape\":[2]},{\"type\":\"f64\",\"shape\":[%d,%d]}]},"
               "{\"name\":\"batch\",\"in\":[{\"type\":\"f64\",\"shape\":[1,2]}],\"out\":[{\"type\":\"f64\",\"shape\":[2]}]}],"
               "\"sites\":[{\"line\":\"talk.nl:7:9\",\"what\":\"E[s]\"}],\"streams\":[%s],\"schedule\":[%s%s],\"generate\":[%s]}",
               hash, path, cells, 1 + lag, classes, rows + lag, rows, classes, csv("a", "a.csv"), schedule,
               two_models ? ",{\"do\":\"new\",\"inst\":1,\"model\":0,\"name\":\"q\"}" : "", two_models < 0 ? "" : generate);
}

static nl_program program(void) { return (nl_program){.abi = NL_ABI, .json = description(), .entry = entries, .nentry = ENTRIES, .cpu_features = ""}; }

static Ran run(const char *arguments)
{
    nl_program p = program();
    return end_program(start_program(&p, arguments, NULL));
}

static Ran stream(const void *bytes, size_t n, const char *arguments)
{
    nl_program p = program();
    write_file("input", bytes, n);
    return end_program(start_program(&p, fmt("stream %s", arguments), "input"));
}

static char *same_bytes(const char *a, const char *b)
{
    size_t na, nb;
    char *x = read_bytes(a, &na), *y = read_bytes(b, &nb);
    cr_assert(na > 0 && na == nb && memcmp(x, y, na) == 0, "%s (%zu) and %s (%zu) differ", a, na, b, nb);
    return x;
}

/* What a run wrote to the standard output, kept under another name. */
static size_t said(const char *as)
{
    size_t n;
    char *s = read_bytes("stdout", &n);
    write_file(as, s, n);
    return n;
}

/* ---- generate */
Test(generate, command_line)
{
    FAILS(run("generate word"), 2, "'word' is no option");
    FAILS(run("--from c"), 2, "--from is no option of `toy run`");
    FAILS(run("generate --checkpoint c"), 2, "--checkpoint is no option of `toy generate`");
    FAILS(run("generate --temperature -1"), 2, "--temperature needs a number from 0 on");
    FAILS(run("generate --temperature x"), 2, "--temperature needs a number from 0 on");
    FAILS(run("generate --bytes -1"), 2, "--bytes needs a whole number from 0 on");
    FAILS(run("generate --prompt a --prompt-file b"), 2, "one of them");
    FAILS(run("generate --memory-load a --memory-reset"), 2, "one of them");
    FAILS(run("--resume a --memory-load a"), 2, "--memory-load and --resume");
    FAILS(run("generate --prompt-file nowhere"), 1, "nowhere: No such file");
    FAILS(run("generate --from nowhere"), 1, "nowhere: No such file");
    FAILS(run("generate --memory-load nowhere"), 1, "nowhere: No such file");
    FAILS(run("generate --memory-save none/x --bytes 1"), 1, "none/x: the memory cannot be written");
    FAILS(run("generate --model other"), 2, "there is no other that can go on with a sequence; there is p");
    FAILS(run("stream --every 0"), 2, "--every needs a whole number from 1 on");
    Ran r = run("--help");
    HAS(r.out, "toy generate");
    HAS(r.out, "--memory-save FILE");
    r = run("generate --bytes 5");
    OK(r);
    HAS(r.err, "warning: the weights are untrained");
    cr_assert_eq(said("x"), 5);
    OK(run("generate --bytes 5 --model p"));
    OK(run("generate --bytes 5 --model Talk"));
    r = run("info");
    HAS(r.out, "generate Talk(8): 256 kinds of tokens, one at a time, with a memory");
    two_models = 1;
    FAILS(run("generate"), 2, "say which one: --model p, q");
    FAILS(run("generate --model Talk"), 2, "say which one: --model p, q");
    OK(run("generate --model q"));
    two_models = -1;
    FAILS(run("generate"), 1, "no model of talk.nl can go on with a sequence");
}

Test(generate, the_same_again)
{
    OK(run("generate --bytes 60 --seed 3 --prompt ab"));
    said("x");
    OK(run("generate --bytes 60 --seed 3 --prompt=ab --threads 2"));
    said("y");
    same_bytes("x", "y");
    OK(run("generate --bytes 60 --seed 4 --prompt ab"));
    said("y");
    cr_assert_str_neq(read_text_file("x"), read_text_file("y"));
    OK(run("generate --bytes 60 --seed 3 --prompt ab --temperature 0"));
    said("x");
    OK(run("generate --bytes 60 --prompt ab --temperature 1e-9 --seed 3"));       /* as good as 0 */
    said("y");
    same_bytes("x", "y");
}

/* The weights come from the checkpoint; the seed of generate draws only. */
Test(generate, weights_of_a_checkpoint)
{
    OK(run("--seed 5 --checkpoint c --quiet"));
    OK(run("generate --bytes 40 --seed 5 --temperature 0"));
    said("x");
    Ran r = run("generate --bytes 40 --from c --temperature 0");
    OK(r);
    cr_assert(!strstr(r.err, "untrained"), "%s", r.err);
    said("y");
    same_bytes("x", "y");
    OK(run("generate --bytes 40 --temperature 0"));
    cr_assert_str_neq(read_text_file("x"), read_text_file("stdout"));
    hash = "00000000000000ab";
    FAILS(run("generate --from c"), 1, "c: made by another program: its schedule or the states");
    cells = 9;
    FAILS(run("generate --from c"), 1, "c: made by another program: Talk.mem is f64[8] there and f64[9] here");
    path = "Talk.memory";
    FAILS(run("generate --from c"), 1, "c: made by another program: Talk.mem is no state of this one");
}

/* With a window that holds all, token by token is as all at once; so is one that looks ahead and one that does not. */
Test(generate, streaming_equals_batch)
{
    rows = 64;
    ahead = 0;
    for (lag = 0; lag < 2; lag++) {
        windowed = false;
        OK(run("generate --bytes 50 --prompt hello --temperature 0"));
        said("x");
        windowed = true;
        Ran r = run("generate --bytes 50 --prompt hello --temperature 0");
        OK(r);
        said("y");
        same_bytes("x", "y");
        OK(run("generate --bytes 50 --prompt hello --seed 7"));
        said("x");
        windowed = false;
        OK(run("generate --bytes 50 --prompt hello --seed 7"));
        said("y");
        same_bytes("x", "y");
    }
    lag = 1;
    windowed = true;
    FAILS(run("generate --memory-save m"), 1, "p reads its last 64 tokens anew for every one, so it has no memory");
    rows = 4;                                    /* a window that moves on */
    OK(run("generate --bytes 50 --prompt hello --temperature 0"));
    said("x");
    OK(run("generate --bytes 50 --prompt ello --temperature 0"));
    said("y");
    same_bytes("x", "y");
    HAS(run("info").out, "a window of 4 anew for each");
}

Test(generate, other_tokens)
{
    classes = 7;
    Ran r = run("generate --bytes 5 --prompt 3");
    OK(r);
    int n = 0, token[8], used = 0;
    for (char *s = r.out; n < 8 && sscanf(s, "%d%n", &token[n], &used) == 1; s += used, n++)
        cr_assert(token[n] >= 0 && token[n] < 7);
    cr_assert_eq(n, 5);
    write_text("p", " 3\n4 \t6\n");
    OK(run("generate --bytes 5 --prompt-file p"));
    FAILS(run("generate --prompt 7"), 1, "tokens of p are whole numbers from 0 to 6 with blanks between them, not '7'");
    FAILS(run("generate --prompt 3x"), 1, "not '3x'");
    FAILS(stream("abc", 3, ""), 1, "it tells 7 tokens apart, not 256");
}

Test(generate, index_out_of_range)
{
    write_file("p", "a\xc8z", 3);
    bad_token = 200;
    FAILS(run("generate --prompt-file p"), 1, "talk.nl:7:9: error: index 200 is outside of E[s], which has 128 (model p, token 1)");
}

/* ---- memories */
Test(generate, in_two_parts)
{
    for (lag = 0; lag < 2; lag++)
        for (ahead = 0; ahead < 2; ahead++) {
            OK(run("generate --bytes 40 --prompt hello --memory-save whole"));
            said("x");
            OK(run("generate --bytes 15 --prompt hello --memory-save first"));
            size_t n = said("y"), m;
            char *first = read_bytes("first", &m);
            write_file("kept", first, m);
            OK(run("generate --bytes 25 --memory-load first --memory-save second"));
            char *rest = read_bytes("stdout", &m), *all = malloc(n + m);
            memcpy(all, read_bytes("y", &n), n);
            memcpy(all + n, rest, m);
            write_file("z", all, n + m);
            free(all);
            same_bytes("x", "z");
            same_bytes("whole", "second");
            same_bytes("kept", "first");                          /* loading never writes */
            OK(run("generate --bytes 25 --memory-load first --memory-save fork"));
            same_bytes("fork", "second");
            OK(run("generate --bytes 25 --memory-load first --seed 2"));
            cr_assert_str_neq(read_text_file("stdout"), rest);
            OK(run("generate --bytes 40 --prompt hello --memory-reset"));
            said("z");
            same_bytes("x", "z");
        }
}

static void stream_in_parts(const char *text, size_t cut)
{
    size_t n = strlen(text);
    OK(stream(text, n, "--memory-save whole --quiet"));
    OK(stream(text, cut, "--memory-save first"));
    OK(stream(text + cut, n - cut, "--memory-load first --memory-save second"));
    same_bytes("whole", "second");
    OK(stream("", 0, "--memory-load first --memory-save same"));
    same_bytes("first", "same");
    write_text("p", text);                       /* a prompt does the same as a stream */
    OK(run("generate --prompt-file p --bytes 0 --memory-save prompt"));
    same_bytes("whole", "prompt");
}

Test(generate, streams_in_parts)
{
    const char *text = "the quick brown fox\njumps over the lazy dog\n";
    for (lag = 0; lag < 2; lag++)
        for (size_t cut = 1; cut < strlen(text); cut += 9)
            stream_in_parts(text, cut);
    lag = 1;
    OK(stream("x", 1, "--memory-save whole"));
    cr_assert_str_eq(read_text_file("stdout"), "");
    OK(stream("", 0, "--memory-save none"));
    OK(stream("x", 1, "--memory-load none --memory-save second"));
    same_bytes("whole", "second");
}

Test(generate, refused_memories)
{
    size_t n;
    OK(run("generate --bytes 9 --memory-save m"));
    OK(run("--checkpoint c"));
    FAILS(run("generate --memory-load c"), 1, "c: a safetensors file, but no memory of a program");
    FAILS(run("generate --from m"), 1, "m: a safetensors file, but no checkpoint of a program");
    char *bytes = read_bytes("m", &n), *copy = malloc(n);
    for (size_t cut = 0; cut < n; cut += cut < 16 ? 1 : 23) {
        write_file("b", bytes, cut);
        cr_assert_eq(run("generate --memory-load b").status, 1);
    }
    memcpy(copy, bytes, n);
    memcpy(memmem(copy, n, "\"last\":\"", 8), "\"last\":\"-", 9);
    write_file("b", copy, n);
    FAILS(run("generate --memory-load b"), 1, "b: damaged");
    free(copy);
    hash = "00000000000000ab";
    FAILS(run("generate --memory-load m"), 1, "m: made by another program: its schedule or the weights that it makes differ");
    cells = 9;
    FAILS(run("generate --memory-load m"), 1, "m: made by another program: Talk.mem is f64[8] there and f64[9] here");
    FAILS(run("--memory-load m"), 2, "no train or test of talk.nl keeps what it learns");
    path = "Talk.w2";
    FAILS(run("generate --memory-load m"), 1, "m: made by another program: Talk.mem is no kept state of this one");
    hash = "00000000000000aa";
    path = "Talk.mem";
    cells = 8;
    two_models = 1;
    OK(run("generate --model p --bytes 4 --memory-save m"));
    FAILS(run("generate --model q --bytes 4 --memory-load m"), 1, "m: it holds no memory of q");
}

/* ---- memories in the plain run */
Test(generate, schedules)
{
    schedule = NEW "," TRAIN(6, "");
    OK(run("--memory-save six"));
    schedule = NEW "," TRAIN(3, "");
    OK(run("--memory-save three --checkpoint c"));
    schedule = NEW "," TRAIN(3, "") "," TRAIN(3, ",\"carry\":true");
    OK(run("--memory-save carried"));
    same_bytes("six", "carried");
    schedule = NEW "," TRAIN(3, "") "," TRAIN(3, "");                    /* the second one begins anew */
    OK(run("--memory-save anew"));
    /* loaded: in place of the first births only */
    schedule = NEW "," TEST;
    OK(run("--memory-save tested"));
    OK(run("--memory-load tested --memory-save twice"));
    schedule = NEW "," TEST "," TEST;
    OK(run("--memory-load tested --memory-save thrice"));
    same_bytes("tested", "thrice");
    schedule = NEW "," TEST "," STEP_OF("test", ",\"carry\":true");      /* a test puts the memory back, so the loaded one is seen once */
    OK(run("--memory-load tested --memory-save back"));
    schedule = NEW "," STEP_OF("test", ",\"carry\":true");
    OK(run("--memory-load tested --memory-save loaded"));
    same_bytes("twice", "loaded");
    OK(run("--memory-reset --memory-save reset"));
    same_bytes("reset", "tested");
    hash = "00000000000000ab";
    cells = 9;
    FAILS(run("--memory-load tested"), 1, "tested: made by another program: Talk.mem is f64[8] there and f64[9] here");
    hash = "00000000000000aa";
    cells = 8;
    /* what a schedule has learned goes on in generate */
    OK(run("generate --memory-load tested --bytes 10 --temperature 0"));
    said("x");
    OK(run("generate --bytes 10 --temperature 0"));
    cr_assert_str_neq(read_text_file("x"), read_text_file("stdout"));
}

/* ---- stream */
Test(generate, rates)
{
    char text[2500];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = "abcab"[i % 5];
    Ran r = stream(text, sizeof text, "--every 1000 --metrics m");
    OK(r);
    HAS(r.out, "1000 bytes: ");
    HAS(r.out, "\n2000 bytes: ");
    HAS(r.out, "\n2500 bytes: ");
    HAS(r.out, ", the last 500 ");
    HAS(read_text_file("m"), "{\"event\":\"stream\",\"model\":\"p\",\"bytes\":1000,\"bits_per_byte\":");
    HAS(read_text_file("m"), "{\"event\":\"summary\",\"model\":\"p\",\"bytes\":2500,");
    char *out = r.out;
    r = stream(text, sizeof text, "--quiet");
    OK(r);
    cr_assert_eq(strncmp(r.out, "2500 bytes: ", 12), 0, "%s", r.out);
    cr_assert_eq(strtod(strstr(r.out, ": ") + 2, NULL), strtod(strstr(strstr(out, "\n2500"), ": ") + 2, NULL));
    windowed = true;
    FAILS(stream("abc", 3, ""), 1, "p cannot read a stream: it takes 4 tokens at a time");
}

static void wait_for(const char *file, const char *text)
{
    for (int i = 0; i < 2000 && !strstr(read_text_file(file), text); i++)
        usleep(5000);
    HAS(read_text_file(file), text);
}

/* Bytes come in small pieces through a pipe, then a signal while it waits for more. */
Test(generate, interrupted_stream)
{
    nl_program p = program();
    cr_assert_eq(mkfifo("pipe", 0600), 0);
    pid_t pid = start_program(&p, "stream --every 5 --memory-save m", "pipe");
    int to = open("pipe", O_WRONLY);
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(write(to, "abc", 3), 3);
        usleep(2000);
    }
    wait_for("stdout", "10 bytes: ");
    kill(pid, SIGINT);
    Ran r = end_program(pid);
    cr_assert_eq(r.status, 130, "%d %s", r.status, r.err);
    HAS(r.err, "stopped after 12 tokens; the memory is in m");
    HAS(r.out, "12 bytes: ");
    OK(stream("abcabcabcabc", 12, "--memory-save whole"));
    same_bytes("m", "whole");
    close(to);
}

Test(generate, interrupted_generate)
{
    nl_program p = program();
    pid_t pid = start_program(&p, "generate --bytes 1000000000 --memory-save m", NULL);
    for (int i = 0; i < 2000 && said("x") < 100; i++)
        usleep(5000);
    kill(pid, SIGTERM);
    Ran r = end_program(pid);
    cr_assert_eq(r.status, 143, "%d %s", r.status, r.err);
    OK(run("generate --bytes 5 --memory-load m"));
}
