/* runtime_test.c: the runtime over a program written by hand: schedule, tables, levels, metrics, checkpoints. */
#include "runtime_toy.h"
#include "tensorfile.h"
#include <criterion/criterion.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(runtime, .init = toy_data, .fini = toy_clean, .timeout = 120);

#define OK(r)            cr_assert_eq((r).status, 0, "status %d: %s", (r).status, (r).err)
#define FAILS(r, code, text) do { Ran r_ = (r); \
        cr_assert_eq(r_.status, code, "status %d, not %d: %s", r_.status, code, r_.err); \
        cr_assert(strstr(r_.err, text), "no '%s' in: %s", text, r_.err); } while (0)
#define HAS(where, text) cr_assert(strstr(where, text), "no '%s' in:\n%s", text, where)
#define LACKS(where, text) cr_assert(!strstr(where, text), "'%s' in:\n%s", text, where)

#define AB          fmt("%s,%s", csv("a", "a.csv"), csv("b", "b.csv"))
#define AB_AND(more) fmt("%s%s", AB, more)
#define TABLE(more) "{\"do\":\"table\",\"title\":\"100*accuracy\",\"value\":5,\"names\":[\"accuracy\"],\"line\":\"toy.nl:20:5\"," more "}"

/* ---- schedule */
Test(runtime, trains_tests_and_prints)
{
    char *todo = fmt("%s,%s,%s,%s,%s", new_toy(0, "p"), train(0, "p", 0, 20, ""), test(0, "p", 0, ""),
                     test(0, "p", 1, ""),
                     TABLE("\"rows\":\"model\",\"cols\":\"stream\",\"cells\":null"));
    Ran r = run_toy(AB, todo, "--metrics m");
    OK(r);
    HAS(r.out, "100*accuracy by model and stream");
    HAS(r.out, "levels");
    HAS(r.out, "Toy.idle never moved: it is due every 1000 items and has seen 20");
    HAS(r.err, "train p on a: step 20, loss ");
    HAS(r.err, "test p on b: step 20, loss ");
    char *m = read_text_file("m");
    HAS(m, "{\"event\":\"train\",\"model\":\"p\",\"stream\":\"a\",\"step\":20,\"loss\":");
    HAS(m, "{\"event\":\"test\",\"model\":\"p\",\"stream\":\"b\",\"step\":20,\"loss\":");
    HAS(m, "{\"event\":\"summary\",\"model\":\"p\"");
}

Test(runtime, command_line)
{
    char *todo = new_toy(0, "p");
    OK(run_toy(AB, todo, "--quiet"));
    FAILS(run_toy(AB, todo, "--nonsense"), 2, "there is no option and no stream --nonsense");
    FAILS(run_toy(AB, todo, "--checkpiont x"), 2, "did you mean --checkpoint?");
    FAILS(run_toy(AB, todo, "word"), 2, "'word' is no option");
    FAILS(run_toy(AB, todo, "--seed"), 2, "--seed needs S");
    FAILS(run_toy(AB, todo, "--seed 1x"), 2, "whole number");
    FAILS(run_toy(AB, todo, "--threads 0"), 2, "from 1 on");
    FAILS(run_toy(AB, todo, "--threads 99999999999999999999"), 2, "whole number");
    FAILS(run_toy(AB, todo, "--quiet=1"), 2, "takes no value");
    FAILS(run_toy(AB, todo, "--save-every 3"), 2, "needs --checkpoint");
    FAILS(run_toy(AB, todo, "--a"), 2, "--a needs a path");
    FAILS(run_toy(AB, todo, "--a x,y"), 2, "2 files, but the stream has 1");
    FAILS(run_toy(AB, todo, "--resume nowhere"), 1, "nowhere: No such file");
    FAILS(run_toy(AB, todo, "--metrics none/m"), 1, "none/m: cannot be written");
    Ran r = run_toy(AB, todo, "--help");
    OK(r);
    HAS(r.out, "usage: toy [options]");
    HAS(r.out, "--a PATH");
    HAS(r.out, "--save-every N");
    OK(run_toy(AB, todo, "-h"));
    r = run_toy(AB_AND(",{\"kind\":\"slice\",\"name\":\"a[:2]\",\"src\":[0],\"hi\":2,\"fields\":[]}"), todo, "--help");      /* no definition, no files */
    OK(r);
    LACKS(r.out, "a[:2]");
    r = run_toy(AB, todo, "info");
    OK(r);
    HAS(r.out, "model Toy: 3 learned numbers");
    HAS(r.out, "f64[2]");
    HAS(r.out, "stream a: csv a.csv -> x : f64[2], y : f64[]");
    r = run_toy(AB, todo, "--version");
    HAS(r.out, "nlc 1.0");
}

/* The whole metrics file, without the lines of the event. */
static int count_lines(const char *text, const char *with)
{
    int n = 0;
    for (const char *p = text; (p = strstr(p, with)); p++)
        n++;
    return n;
}

static double number_after(const char *text, const char *key)
{
    const char *p = strstr(text, key);
    cr_assert(p, "no %s in %s", key, text);
    return strtod(p + strlen(key), NULL);
}

Test(runtime, epochs_and_going_on)
{
    /* 10 items, batch 4: an epoch has batches of 4, 4, 2. Two trains of 2 and 4 steps are one of 2 epochs. */
    char *one = fmt("%s,%s,%s", new_toy(0, "p"), train(0, "p", 0, 2, "\"epochs\":true"), test(0, "p", 1, ""));
    char *two = fmt("%s,%s,%s,%s", new_toy(0, "p"), train(0, "p", 0, 2, ""), train(0, "p", 0, 4, ""),
                    test(0, "p", 1, ""));
    OK(run_toy(AB, one, "--metrics m1"));
    OK(run_toy(AB, two, "--metrics m2"));
    char *a = strstr(read_text_file("m1"), "{\"event\":\"test\""),
        *b = strstr(read_text_file("m2"), "{\"event\":\"test\"");
    cr_assert(a && b && strcmp(a, b) == 0, "%s\n%s", a, b);
    HAS(a, "\"step\":6");
    /* the other stream has a place of its own, and a new instance starts again */
    char *mixed = fmt("%s,%s,%s,%s", new_toy(0, "p"), train(0, "p", 0, 6, ""), new_toy(0, "p"),
                      train(0, "p", 0, 6, ""));
    OK(run_toy(AB, mixed, "--metrics m3 --log-every 6"));
    char *m = read_text_file("m3"), *second = strchr(m, '\n') + 1;
    cr_assert_eq(strncmp(m, second, (size_t)(second - m)), 0, "%s", m);
    /* epochs that begin in the middle: 2 + 3 items, then a whole epoch from item 4 to item 3 */
    char *middle = fmt("%s,%s,%s", new_toy(0, "p"), train(0, "p", 0, 1, ""), train(0, "p", 0, 1, "\"epochs\":true"));
    Ran r = run_toy(AB, middle, "");
    OK(r);
    HAS(r.err, "step 4,");                   /* 1 + batches of 4, 2 and 4 */
}

Test(runtime, shuffled)
{
    char *todo = fmt("%s,%s,%s", new_toy(0, "p"), train(0, "p", 0, 3, "\"epochs\":true,\"shuffled\":true"),
                     test(0, "p", 0, ""));
    char *plain = fmt("%s,%s,%s", new_toy(0, "p"), train(0, "p", 0, 3, "\"epochs\":true"), test(0, "p", 0, ""));
    OK(run_toy(AB, todo, "--metrics m1"));
    OK(run_toy(AB, todo, "--metrics m2"));
    OK(run_toy(AB, todo, "--metrics m3 --seed 97"));         /* the same newborn state: 97 % 97 */
    OK(run_toy(AB, plain, "--metrics m4"));
    cr_assert_str_eq(read_text_file("m1"), read_text_file("m2"));
    cr_assert_str_neq(read_text_file("m1"), read_text_file("m3"));
    cr_assert_str_neq(read_text_file("m1"), read_text_file("m4"));
}

Test(runtime, until)
{
    char *todo = fmt("%s,%s", new_toy(0, "p"), train(0, "p", 0, 1000, "\"until\":7"));
    OK(run_toy(AB, todo, "--metrics m --log-every 1"));
    char *m = read_text_file("m");
    int n = count_lines(m, "\"event\":\"train\"");
    cr_assert(n > 1 && n < 1000, "%d", n);
    for (int i = 0; i < n; i++, m = strchr(m, '\n') + 1)
        cr_assert_eq(number_after(m, "\"loss\":") < 0.12, i == n - 1);
}

Test(runtime, errors_of_a_schedule)
{
    char *gen =
        "{\"kind\":\"gen\",\"name\":\"g\",\"line\":\"toy.nl:2:1\",\"entry\":8,\"fields\":[{\"name\":\"x\",\"type\":\"f64\",\"shape\":[2]},{\"name\":\"y\",\"type\":\"f64\",\"shape\":[]}]}";
    FAILS(run_toy(gen, fmt("%s,%s", new_toy(0, "p"), test(0, "p", 0, "")), ""), 1,
          "toy.nl:9:5: error: stream g has no end, so it cannot be tested");
    FAILS(run_toy(gen, fmt("%s,%s", new_toy(0, "p"), train(0, "p", 0, 2, "\"epochs\":true")), ""), 1,
          "has no end, so it has no epochs");
    FAILS(run_toy(gen, fmt("%s,%s", new_toy(0, "p"), train(0, "p", 0, 2, "\"shuffled\":true")), ""), 1,
          "cannot be shuffled");
    OK(run_toy(gen, fmt("%s,%s", new_toy(0, "p"), train(0, "p", 0, 9, "")), "--allow-nan"));
}

Test(runtime, not_a_number)
{
    write_text("nan.csv", "0,0,0\n1,1,1\n2,2,0\n3,3,1\nnan,1,1\n");
    char *streams = csv("n", "nan.csv"), *todo = fmt("%s,%s,%s", new_toy(0, "p"), train(0, "p", 0, 3, ""),
                                                     test(0, "p", 0, ""));
    FAILS(run_toy(streams, todo, ""), 1, "toy.nl:5:12: error: loss is not a number (model p, in step 2)");
    OK(run_toy(streams, todo, "--allow-nan --metrics m"));
    HAS(read_text_file("m"), "\"loss\":null");
    FAILS(run_toy(streams, todo, "--checkpoint c --save-every 1"), 1, "the last checkpoint is c");
    OK(run_toy(streams, fmt("%s,%s,%s", new_toy(0, "p"), train(0, "p", 0, 3, ""), test(0, "p", 0, "")),
               "--resume c --allow-nan --n nan.csv"));
}

Test(runtime, index_out_of_range)
{
    write_text("bad.csv", "0,0,0\n1,1,99\n");
    for (toy_team = 0; toy_team < 2; toy_team++)
        FAILS(run_toy(csv("n", "bad.csv"), fmt("%s,%s", new_toy(0, "p"), train(0, "p", 0, 3, "")), "--threads 2"), 1,
              "toy.nl:7:9: error: index 99 is outside of E[y], which has 2 (model p, step 1)");
}

Test(runtime, threads_change_no_bit)
{
    char *todo = fmt("%s,%s,%s", new_toy(0, "p"), train(0, "p", 0, 30, ""), test(0, "p", 0, ""));
    toy_team = 1;
    OK(run_toy(AB, todo, "--threads 1 --metrics m1 --checkpoint c1"));
    OK(run_toy(AB, todo, "--threads 3 --metrics m3 --checkpoint c3"));
    size_t n1, n3;
    char *c1 = read_bytes("c1", &n1), *c3 = read_bytes("c3", &n3);
    cr_assert_str_eq(read_text_file("m1"), read_text_file("m3"));
    cr_assert(n1 == n3 && memcmp(c1, c3, n1) == 0);
}

Test(runtime, no_memory_in_steps)
{
    toy_watch_memory = 1;
    OK(run_toy(AB, fmt("%s,%s", new_toy(0, "p"), train(0, "p", 0, 200, "\"shuffled\":true")),
               "--metrics m --threads 1"));
    OK(run_toy(AB, fmt("%s,%s", new_toy(0, "p"), train(0, "p", 0, 200, "\"until\":7")), "--threads 1"));
}

/* A model over () has steps without data; a test is one. */
Test(runtime, no_data)
{
    const char *rest =
        "\"inst\":0,\"name\":\"p\",\"stream\":-1,\"entry\":15,\"finish\":4,\"accs\":3,\"fields\":[],\"reports\":[{\"name\":\"loss\",\"line\":null},{\"name\":\"n\",\"line\":null}]";
    OK(run_toy(AB,
               fmt("%s,{\"do\":\"train\",\"for\":5,%s},{\"do\":\"train\",\"for\":2,\"epochs\":true,%s},{\"do\":\"test\",%s}", new_toy(0, "p"), rest, rest, rest),
               "--metrics m --checkpoint c"));
    HAS(read_text_file("m"), "{\"event\":\"test\",\"model\":\"p\",\"stream\":null,\"step\":7,\"loss\":8,\"n\":8}");
}

static double tensor_in(const char *checkpoint, const char *name)
{
    TensorFile t;
    Err err;
    cr_assert(tensorfile_read(checkpoint, name, &t, &err), "%s", err.text);
    double v = t.value[0];
    tensorfile_free(&t);
    return v;
}

/* Kept state of inner levels: fresh in each train and test, unless `carry`; after a test as before it. */
Test(runtime, kept_state)
{
    char *first = train(0, "p", 0, 2, "\"fresh\":14"), *tested = test(0, "p", 0, "\"learning\":true,\"fresh\":14");
    toy_kept = 1;
    OK(run_toy(AB, fmt("%s,%s", new_toy(0, "p"), train(0, "p", 0, 2, "\"fresh\":14,\"carry\":true")),
               "--checkpoint c.safetensors"));
    cr_assert_eq(tensor_in("c.safetensors", "Toy.sum"), 0);
    OK(run_toy(AB, fmt("%s,%s", new_toy(0, "p"), first), "--checkpoint c.safetensors"));
    cr_assert_eq(tensor_in("c.safetensors", "Toy.sum"), -1000);
    OK(run_toy(AB, fmt("%s,%s,%s", new_toy(0, "p"), first, tested), "--checkpoint c.safetensors"));
    cr_assert_eq(tensor_in("c.safetensors", "Toy.sum"), -1000);
    toy_kept = 0;
    OK(run_toy(AB, fmt("%s,%s,%s", new_toy(0, "p"), first, tested), "--checkpoint c.safetensors"));
    cr_assert(tensor_in("c.safetensors", "Toy.sum") != -1000);
}

Test(runtime, copies)
{
    char *copy = "{\"do\":\"copy\",\"inst\":1,\"from\":0,\"name\":\"q\"}";
    OK(run_toy(AB, fmt("%s,%s,%s,%s,%s", new_toy(0, "p"), train(0, "p", 0, 3, ""), copy, train(0, "p", 0, 3, ""),
                       train(1, "q", 0, 3, "")), "--checkpoint c.safetensors"));
    /* its place in the stream too */
    cr_assert_eq(tensor_in("c.safetensors", "p.Toy.w"), tensor_in("c.safetensors", "q.Toy.w"));
    cr_assert_eq(tensor_in("c.safetensors", "q.Toy.count"), 6);
}

/* ---- tables */
/* Tests in which `accuracy` is what we want: a stream of one item for each number would be long; the expression is the
   loss instead, and a point x = (v, 0), y = 0 of a Toy with w = (0.1, -0.2) has loss 0.005 v^2. */
static char *point(const char *name, double percent)
{
    char *file = fmt("%s.csv", name);
    write_text(file, fmt("%.17g,0,0\n", sqrt(percent / 0.005)));
    return csv(name, file);
}

#define LOSS_TABLE(more) "{\"do\":\"table\",\"title\":\"loss\",\"value\":6,\"names\":[\"loss\"]," more "}"

static char *renamed(char *stream, const char *name)
{
    char *from = strstr(stream, "\"name\"");
    return fmt("%.*s\"name\":\"%s\"%s", (int)(from - stream), stream, name, strchr(from, ','));
}

/* R = [[.9,.1,.05],[.7,.8,.2],[.5,.85,.9]], row 0 of .1: twelve streams named for their column. */
static char *matrix_streams(void)
{
    static const double v[12] = {.1, .1, .1, .9, .1, .05, .7, .8, .2, .5, .85, .9};
    char *all = csv("a", "a.csv");
    for (int i = 0; i < 12; i++)
        all = fmt("%s,%s", all, renamed(point(fmt("p%d", i), v[i]), fmt("task%d", i % 3 + 1)));
    return all;
}

static char *matrix_tests(int row0, int inst, const char *extra)
{
    char *todo = new_toy(inst, "net");
    for (int i = row0 ? 0 : 3; i < 12; i++) {
        char *var = i < 3 ? "" : fmt("\"vars\":[[\"task\",\"t%d\"]]%s%s", i / 3, *extra ? "," : "", extra);
        if (i >= 3 && i % 3 == 0)
            todo = fmt("%s,%s", todo, train(inst, "net", i / 3, 0, var));
        todo = fmt("%s,%s", todo, test(inst, "net", i + 1, i < 3 ? extra : var));
    }
    return todo;
}

#define MATRIX LOSS_TABLE("\"rows\":\"task\",\"cols\":\"stream\",\"cells\":\"model\"")

Test(runtime, accuracy_matrix)
{
    Ran r = run_toy(matrix_streams(), fmt("%s,%s", matrix_tests(1, 0, ""), MATRIX), "--metrics m --tables t");
    OK(r);
    char *m = read_text_file("m"), *s = strstr(m, "\"acc_last\"");
    cr_assert(s, "%s", m);
    cr_assert_float_eq(number_after(s, "\"acc_last\":"), 0.75, 1e-12);
    cr_assert_float_eq(number_after(s, "\"bwt_gem\":"), -0.175, 1e-12);
    cr_assert_float_eq(number_after(s, "\"forgetting_chaudhry\":"), 0.175, 1e-12);
    cr_assert_float_eq(number_after(s, "\"fwt_gem\":"), 0.05, 1e-12);
    cr_assert_float_eq(number_after(s, "\"learning_accuracy\":"), 2.6 / 3, 1e-12);
    HAS(r.out, "loss by task and stream: net");
    HAS(r.out, "(before)");
    HAS(r.out, "task1");
    HAS(r.out, "0.8667");
    char *csv_file = read_text_file("t/loss_by_task_stream_model.csv");
    HAS(csv_file, "task,stream,model,value\n(before),task1,net,0.1");
    HAS(csv_file, "t3,task2,net,0.85");
    HAS(read_text_file("t/loss_by_task_stream_model_summary.csv"), "forgetting_chaudhry,net,0.17");
    r = run_toy(matrix_streams(), fmt("%s,%s", matrix_tests(0, 0, ""), MATRIX), "");
    OK(r);
    LACKS(r.out, "(before)");
    LACKS(r.out, "fwt_gem");
    HAS(r.out, "bwt_gem");
}

/* The same numbers as errors: what differences say has the other sign, and the least stands for the largest:
   bwt ((.9 - .5) + (.8 - .85))/2, forgetting ((.5 - .7) + (.85 - .1))/2, fwt ((.1 - .1) + (.1 - .2))/2. */
Test(runtime, accuracy_matrix_of_errors)
{
    char *table = LOSS_TABLE("\"rows\":\"task\",\"cols\":\"stream\",\"lower\":true");
    Ran r = run_toy(matrix_streams(), fmt("%s,%s", matrix_tests(1, 0, ""), table), "--metrics m");
    OK(r);
    char *m = read_text_file("m"), *s = strstr(m, "\"acc_last\"");
    cr_assert(s, "%s", m);
    cr_assert_float_eq(number_after(s, "\"acc_last\":"), 0.75, 1e-12);
    cr_assert_float_eq(number_after(s, "\"bwt_gem\":"), 0.175, 1e-12);
    cr_assert_float_eq(number_after(s, "\"forgetting_chaudhry\":"), 0.275, 1e-12);
    cr_assert_float_eq(number_after(s, "\"fwt_gem\":"), -0.05, 1e-12);
    cr_assert_float_eq(number_after(s, "\"learning_accuracy\":"), 2.6 / 3, 1e-12);
    HAS(r.out, "lower is better");
}

/* Parts of one stream are no tasks, though there are as many of them as streams. */
Test(runtime, parts_of_one_stream)
{
    char *todo = new_toy(0, "net"), *streams = fmt("%s,%s,%s", csv("a", "a.csv"), point("q", 0.3), point("r", 0.4));
    for (int i = 0; i < 2; i++) {
        char *vars = fmt("\"vars\":[[\"part\",\"%d\"]]", i);
        todo = fmt("%s,%s,%s,%s", todo, train(0, "net", 0, 0, vars), test(0, "net", 1, vars), test(0, "net", 2, vars));
    }
    Ran r = run_toy(streams, fmt("%s,%s", todo, LOSS_TABLE("\"rows\":\"part\",\"cols\":\"stream\"")), "");
    OK(r);
    HAS(r.out, "loss by part and stream");
    LACKS(r.out, "acc_last");
}

/* A number that the decimals of the others would hide has its own. */
Test(runtime, small_beside_large)
{
    char *streams = fmt("%s,%s,%s,%s", csv("a", "a.csv"), point("q", 123.25), point("r", 1.25e-5), point("s", 0.25));
    char *todo = fmt("%s,%s,%s,%s,%s", new_toy(0, "p"), test(0, "p", 1, ""), test(0, "p", 2, ""), test(0, "p", 3, ""), LOSS_TABLE("\"rows\":\"stream\""));
    Ran r = run_toy(streams, todo, "");
    OK(r);
    HAS(r.out, "123.25\n");
    HAS(r.out, " 1.25e-05\n");
    HAS(r.out, "    0.25\n");
}

/* Columns that have the rows' names belong to them, in whatever order: .9 and .8 are the tasks just learned. */
Test(runtime, accuracy_matrix_by_name)
{
    static const struct { const char *stream, *task; double v; } r[] = {
        {"two", "one", .2}, {"one", "one", .9}, {"two", "two", .8}, {"one", "two", .6},
    };
    char *streams = csv("a", "a.csv"), *todo = new_toy(0, "net");
    for (int i = 0; i < 4; i++) {
        char *vars = fmt("\"vars\":[[\"task\",\"%s\"]]", r[i].task);
        streams = fmt("%s,%s", streams, renamed(point(fmt("q%d", i), r[i].v), r[i].stream));
        todo = fmt("%s,%s,%s", todo, train(0, "net", i / 2, 0, vars), test(0, "net", i + 1, vars));
    }
    OK(run_toy(streams, fmt("%s,%s", todo, LOSS_TABLE("\"rows\":\"task\",\"cols\":\"stream\"")), "--metrics m"));
    char *s = strstr(read_text_file("m"), "\"acc_last\"");
    cr_assert_float_eq(number_after(s, "\"bwt_gem\":"), -0.3, 1e-12);
    cr_assert_float_eq(number_after(s, "\"learning_accuracy\":"), 0.85, 1e-12);
}

Test(runtime, a_table_that_is_no_square)
{
    char *streams = fmt("%s,%s,%s", csv("a", "a.csv"), point("q", 0.3), point("r", 0.4));
    char *todo = fmt("%s,%s,%s,%s,%s,%s,%s", new_toy(0, "p"), train(0, "p", 0, 0, "\"vars\":[[\"task\",\"one\"]]"),
                     test(0, "p", 1, "\"vars\":[[\"task\",\"one\"]]"),
                     test(0, "p", 2, "\"vars\":[[\"task\",\"one\"]]"), test(0, "p", 2, ""),
                     LOSS_TABLE("\"rows\":\"task\",\"cols\":\"stream\",\"cells\":null"),
                     LOSS_TABLE("\"rows\":\"task\",\"cols\":\"none\",\"cells\":null"));
    Ran r = run_toy(streams, todo, "");
    OK(r);
    LACKS(r.out, "acc_last");
    LACKS(r.out, "(before)");                /* a test after the loop is no row 0 */
    HAS(r.out, "loss by task: no test has these names");
}

Test(runtime, repeats)
{
    char *var = "\"repeat\":0,\"vars\":[[\"task\",\"one\"]]", *var1 = "\"repeat\":1,\"vars\":[[\"task\",\"one\"]]";
    char *streams = fmt("%s,%s,%s", csv("a", "a.csv"), point("q", 0.3), renamed(point("r", 0.4), "q"));
    char *todo = fmt("%s,{\"do\":\"seed\",\"add\":0},%s,{\"do\":\"seed\",\"add\":97},%s,%s,%s,%s", new_toy(0, "p"),
                     test(0, "p", 1, var), new_toy(1, "p"),
                     test(1, "p", 1, var1), test(1, "p", 2, var1),
                     LOSS_TABLE("\"rows\":\"task\",\"cols\":\"stream\",\"cells\":null"));
    Ran r = run_toy(streams, todo, "--tables t");
    OK(r);
    HAS(r.out, "mean +- standard deviation of 2");
    HAS(r.out, "0.35 +- 0.07");              /* the last record of each counts: .3, .4 */
    HAS(read_text_file("t/loss_by_task_stream.csv"), "task,stream,value,sd,n\none,q,0.35");
}

Test(runtime, cells_and_step)
{
    char *streams = fmt("%s,%s", csv("a", "a.csv"), point("q", 0.5));
    char *todo = fmt("%s,%s,%s,%s,%s,%s,%s", new_toy(0, "p"), new_toy(1, "q"), test(0, "p", 1, ""),
                     test(1, "q", 1, ""), train(1, "q", 0, 3, ""),
                     LOSS_TABLE("\"rows\":\"stream\",\"cells\":\"model\",\"cols\":null"),
                     "{\"do\":\"table\",\"title\":\"step\",\"value\":6,\"names\":[\"step\"],\"rows\":\"model\"}");
    Ran r = run_toy(streams, todo, "");
    OK(r);
    HAS(r.out, "loss by stream: p / q");
    HAS(r.out, "0.5 / 0.5");
    HAS(r.out, "step by model");
}

/* ---- levels */
Test(runtime, levels)
{
    Ran r = run_toy(AB, fmt("%s,%s,%s", new_toy(0, "p"), train(0, "p", 0, 12, ""),
                            test(0, "p", 0, "\"learning\":true")), "--metrics m");
    OK(r);
    char *m = strstr(read_text_file("m"), "\"event\":\"summary\"");
    cr_assert_eq(number_after(m, "\"Toy.w\":"), 12);
    cr_assert_eq(number_after(m, "\"Toy.deep.slow\":"), 2);
    char *last = strstr(m, "\"last_update\"");
    cr_assert(number_after(last, "\"Toy.w\":") > 0);
    cr_assert(number_after(last, "\"Toy.deep.slow\":") > 1);
    cr_assert(number_after(last, "\"Toy.sum\":") != 0);
    HAS(r.out, "Toy.idle never moved");
    LACKS(r.out, "Toy.w never moved");
    r = run_toy(AB, fmt("%s,%s", new_toy(0, "p"), test(0, "p", 0, "")), "");
    LACKS(r.out, "never moved");                 /* nothing was trained */
    r = run_toy(AB, fmt("{\"do\":\"new\",\"inst\":0,\"model\":0,\"name\":\"p\",\"vars\":[[\"task\",\"7\"],[\"net\",\"p\"]]},%s", train(0, "p", 0, 12, "")), "");
    OK(r);
    HAS(r.out, "  p (task = 7)  Toy ");
    HAS(r.out, "p (task = 7): Toy.idle never moved");
}

/* ---- what is written */
Test(runtime, progress_on_a_terminal)
{
    toy_terminal = 1;
    toy_sleep = 30;
    Ran r = run_toy(AB, fmt("%s,%s", new_toy(0, "p"),
                            train(0, "p", 0, 16, "\"vars\":[[\"task\",\"one\"]],\"repeat\":2")), "");
    OK(r);
    HAS(r.err, "\r\033[Ktrain p on a, repeat 3, task one  step ");
    HAS(r.err, "/16  loss 0.");
    HAS(r.err, " items/s  0:00 left\r\033[Ktrain p on a, repeat 3, task one: step 16, loss ");
    r = run_toy(AB, fmt("%s,%s", new_toy(0, "p"), train(0, "p", 0, 16, "")), "-q");
    LACKS(r.err, "train");
}

Test(runtime, names_in_metrics_and_tables)
{
    /* loop variables called as a column or a report, and texts that JSON and CSV must quote */
    const char *vars =
        "\"vars\":[[\"step\",\"7\"],[\"loss\",\"x\"],[\"rate\",\"1e-3\"],[\"rule\",\"a \\\"b\\\", c\\n\"],[\"hex\",\"0x10\"]]";
    OK(run_toy(AB, fmt("%s,%s,%s", new_toy(0, "p"), test(0, "p", 0, vars),
                       TABLE("\"rows\":\"rule\",\"cols\":\"rate\",\"cells\":\"hex\"")), "--metrics m --tables t"));
    char *m = read_text_file("m");
    HAS(m, "\"step\":0,\"loss\":\"x\",\"rate\":0.001,\"rule\":\"a \\\"b\\\", c\\u000a\",\"hex\":\"0x10\",\"accuracy\":");
    HAS(read_text_file("t/100_accuracy_by_rule_rate_hex.csv"), "rule,rate,hex,value\n\"a \"\"b\"\", c\n\",1e-3,0x10,");
}

Test(runtime, summaries_over_repeats)
{
    char *both = fmt("%s,%s", matrix_tests(1, 0, "\"repeat\":0"), matrix_tests(1, 1, "\"repeat\":1"));
    Ran r = run_toy(matrix_streams(), fmt("%s,%s", both, LOSS_TABLE("\"rows\":\"task\",\"cols\":\"stream\"")),
                    "--metrics m --tables t");
    OK(r);
    HAS(read_text_file("m"), "\"rows\":\"task\",\"acc_last\":0.75");
    HAS(read_text_file("m"), "\"acc_last_sd\":");
    HAS(r.out, "acc_last              0.7500 +- 0.0000");
    HAS(read_text_file("t/loss_by_task_stream_summary.csv"), "summary,value,sd,n\nacc_last,0.75");
}

/* Tables within a loop are printed once; numbers that need it are in powers of ten. */
Test(runtime, tables_once)
{
    char *table = LOSS_TABLE("\"rows\":\"model\",\"line\":\"toy.nl:1:1\""),
        *streams = fmt("%s,%s", csv("a", "a.csv"), point("q", 3e9));
    Ran r = run_toy(streams, fmt("%s,%s,%s,%s", new_toy(0, "p"), test(0, "p", 1, ""), table, table), "");
    OK(r);
    cr_assert_eq(count_lines(r.out, "loss by model"), 1);
    HAS(r.out, "3.000e+09");
}

Test(runtime, output_that_cannot_be_written)
{
    toy_out = "/dev/full";
    FAILS(run_toy(AB, fmt("%s,%s", new_toy(0, "p"), TABLE("\"rows\":\"model\"")), ""), 1,
          "the results cannot be written: No space left");
    toy_out = "stdout";
    FAILS(run_toy(AB, fmt("%s,%s,%s", new_toy(0, "p"), test(0, "p", 0, ""), TABLE("\"rows\":\"model\"")),
                  "--tables none/t"), 1, "none/t: the folder cannot be made");
}

Test(runtime, metrics_that_are_gone)
{
    char *todo = fmt("%s,%s,%s", new_toy(0, "p"), train(0, "p", 0, 3, ""), test(0, "p", 0, ""));
    OK(run_toy(AB, todo, "--checkpoint c --metrics m"));
    write_text("m", "short");
    Ran r = run_toy(AB, todo, "--resume c --metrics m");
    OK(r);
    HAS(r.err, "warning: m does not hold what the interrupted run had written; it begins anew");
    FAILS(run_toy(AB, todo, "--resume c --log-every 3"), 1, "saved with --log-every 0, not 3");
}

/* ---- checkpoints */
#define LONG_RUN(name) fmt("%s,%s,%s,%s,%s,%s,%s,%s,%s", new_toy(0, name), new_toy(1, "q"), train(0, name, 0, 17, "\"shuffled\":true"), \
    test(0, name, 1, "\"vars\":[[\"turn\",\"1\"]]"), train(1, "q", 1, 13, ""), train(0, name, 0, 3, "\"epochs\":true,\"shuffled\":true"), \
    test(0, name, 0, "\"learning\":true,\"vars\":[[\"turn\",\"2\"]]"), test(1, "q", 0, "\"vars\":[[\"turn\",\"2\"]]"), \
    TABLE("\"rows\":\"turn\",\"cols\":\"stream\",\"cells\":\"model\""))

/* Instances with one name, one after the other; the first ones are given back. */
#define TURN(inst, k) fmt("{\"do\":\"seed\",\"add\":%d},%s,%s,%s", k, new_toy(inst, "p"), train(inst, "p", 0, 6, "\"shuffled\":true,\"repeat\":" #k), \
    test(inst, "p", 1, "\"learning\":true,\"repeat\":" #k))
#define TURNS fmt("%s,%s,%s,%s", TURN(0, 0), TURN(1, 1), TURN(2, 2), TABLE("\"rows\":\"model\",\"cols\":\"stream\""))

static void same_end(const char *what, Ran whole, Ran parts)
{
    size_t n, m;
    char *c1 = read_bytes("whole.c", &n), *c2 = read_bytes("parts.c", &m);
    OK(parts);
    cr_assert_str_eq(parts.out, whole.out, "%s: %s\n%s", what, parts.out, whole.out);
    cr_assert_str_eq(read_text_file("parts.m"), read_text_file("whole.m"), "%s", what);
    cr_assert(n == m && memcmp(c1, c2, n) == 0, "%s: another checkpoint", what);
}

/* Interrupted in every step, saved, resumed: the same bits as without. */
Test(runtime, resumed_is_the_same)
{
    char *todo = LONG_RUN("p");
    Ran whole = run_toy(AB, todo, "--checkpoint whole.c --metrics whole.m --threads 1");
    OK(whole);
    static const int at[] = {1, 2, 5, 16, 17, 18, 20, 25, -4, -8};       /* negative: in the test that learns */
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        remove("parts.m");
        remove("parts.c");
        toy_signal_at = at[i];
        toy_signal = i % 2 ? SIGTERM : SIGINT;
        Ran first = run_toy(AB, todo, "--checkpoint parts.c --metrics parts.m");
        cr_assert_eq(first.status, 128 + toy_signal, "%d: %s", at[i], first.err);
        HAS(first.err, "--resume parts.c goes on");
        toy_signal_at = 0;
        same_end(fmt("step %d", at[i]), whole,
                 run_toy(AB, todo, "--checkpoint parts.c --resume parts.c --metrics parts.m"));
    }
}

Test(runtime, killed_and_resumed_is_the_same)
{
    char *todo = LONG_RUN("p");
    Ran whole = run_toy(AB, todo, "--checkpoint whole.c --metrics whole.m --log-every 4");
    OK(whole);
    for (int at = 4; at < 26; at += 5) {
        remove("parts.m");
        remove("parts.c");
        toy_signal_at = at;
        toy_signal = SIGKILL;
        cr_assert_eq(run_toy(AB, todo, "--checkpoint parts.c --save-every 3 --metrics parts.m --log-every 4").status,
                     -SIGKILL);
        toy_signal_at = 0;
        same_end(fmt("step %d", at), whole,
                 run_toy(AB, todo, "--checkpoint parts.c --resume parts.c --metrics parts.m"));
    }
}

Test(runtime, repeats_resumed)
{
    char *todo = TURNS;
    Ran whole = run_toy(AB, todo, "--checkpoint whole.c --metrics whole.m");
    OK(whole);
    HAS(whole.out, "of 3)");
    size_t n;
    LACKS(read_bytes("whole.c", &n) + 8, "p#1.Toy.w");
    HAS(read_bytes("whole.c", &n) + 8, "p#2.Toy.w");
    for (int at = 1; at <= 6; at++) {            /* killed when the turn's step `at` is done, as long as that takes */
        remove("parts.m");
        remove("parts.c");
        toy_signal = SIGTERM;
        toy_signal_at = at;
        Ran r = run_toy(AB, todo, "--checkpoint parts.c --metrics parts.m");
        for (int turn = 0; r.status != 0 && turn < 4; turn++) {
            cr_assert_eq(r.status, 143, "%s", r.err);
            r = run_toy(AB, todo, "--checkpoint parts.c --resume parts.c --metrics parts.m");
        }
        toy_signal_at = 0;
        same_end(fmt("step %d", at), whole, r);
    }
}

Test(runtime, interrupted_without_checkpoint)
{
    toy_signal_at = 3;
    toy_signal = SIGINT;
    Ran r = run_toy(AB, LONG_RUN("p"), "");
    cr_assert_eq(r.status, 130);
    HAS(r.err, "nothing was saved");
}

Test(runtime, what_a_checkpoint_holds)
{
    OK(run_toy(AB, LONG_RUN("p"), "--checkpoint c"));
    size_t n;
    char *c = read_bytes("c", &n);
    HAS(c + 8, "\"p.Toy.w\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[0,16]}");
    HAS(c + 8, "\"q.Toy.w.m\"");
    HAS(c + 8, "\"hash\":\"0123456789abcdef\"");
    OK(run_toy(AB, fmt("%s,%s", new_toy(0, "p"), train(0, "p", 0, 3, "")), "--checkpoint c"));
    HAS(read_bytes("c", &n) + 8, "\"Toy.w\":{");
    OK(run_toy(AB, fmt("%s,%s,%s", new_toy(0, "p"), new_toy(1, "p"), train(0, "p", 0, 3, "")), "--checkpoint c"));
    HAS(read_bytes("c", &n) + 8, "\"p#1.Toy.w\":{");
}

Test(runtime, checkpoints_of_another_program)
{
    char *todo = LONG_RUN("p");
    OK(run_toy(AB, todo, "--checkpoint c"));
    FAILS(run_toy(AB, todo, "--resume c --seed 5"), 1, "saved with --seed 0, not 5");
    setenv("TOY_HASH", "ffff", 1);
    FAILS(run_toy(AB, todo, "--resume c"), 1, "its schedule or the states that it makes differ");
    FAILS(run_toy(AB, LONG_RUN("z"), "--resume c"), 1, "p.Toy.w is no state of this one");
    unsetenv("TOY_HASH");
    FAILS(run_toy(AB, todo, "--resume c --a b.csv"), 1, "stream a had 10 items when this was saved, and has 7 now");
}

Test(runtime, disk_full)
{
    char *todo = fmt("%s,%s", new_toy(0, "p"), train(0, "p", 0, 3, ""));
    FAILS(run_toy(AB, todo, "--checkpoint /dev/full"), 1, "/dev/full: the checkpoint cannot be written: No space left");
    FAILS(run_toy(AB, fmt("%s,%s,%s", todo, test(0, "p", 0, ""), LOSS_TABLE("\"rows\":\"model\"")),
                  "--tables /dev/full"), 1, "/dev/full/loss_by_model.csv: cannot be written");
    FAILS(run_toy(AB, todo, "--metrics /dev/full"), 1, "/dev/full: cannot be written: No space left");
    OK(run_toy(AB, todo, "--checkpoint c"));
    size_t n, m;
    char *old = read_bytes("c", &n);
    FAILS(run_toy(AB, todo, "--checkpoint none/c"), 1, "none/c: the checkpoint cannot be written: No such file");
    cr_assert_eq(symlink("/dev/full", "c.tmp"), 0);
    FAILS(run_toy(AB, fmt("%s,%s", new_toy(0, "p"), train(0, "p", 0, 9, "")), "--checkpoint c"), 1,
          "the one before is whole");
    char *now = read_bytes("c", &m);
    cr_assert(n == m && memcmp(old, now, n) == 0);
}

/* A checkpoint with bytes changed or missing gives a message or a run, never a crash. */
Test(runtime, broken_checkpoints)
{
    char *todo = fmt("%s,%s,%s", new_toy(0, "p"), train(0, "p", 0, 3, ""), test(0, "p", 0, ""));
    OK(run_toy(AB, todo, "--checkpoint c"));
    size_t n;
    char *whole = read_bytes("c", &n), *copy = malloc(n);
    for (unsigned i = 0; i < 120; i++) {
        size_t len = i % 3 ? n : n * i / 120;
        memcpy(copy, whole, n);
        for (unsigned k = 0; k < 1 + i % 4 && i % 3; k++)
            copy[(i * 2654435761u + k * 40503u) % n] = (char)(i * 37 + k * 11);
        write_file("broken", copy, len);
        Ran r = run_toy(AB, todo, "--resume broken --threads 1");
        cr_assert(r.status == 0 || r.status == 1, "variant %u: status %d: %s", i, r.status, r.err);
    }
    free(copy);
}
