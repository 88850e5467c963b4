/* streams_test.c: readers, sound and broken files, and streams made of streams. */
#include "runtime_toy.h"
#include <criterion/criterion.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

TestSuite(streams, .init = toy_data, .fini = toy_clean, .timeout = 120);

#define HAS(where, text) cr_assert(strstr(where, text), "no '%s' in:\n%s", text, where)
#define FAILS(r, code, text) do { Ran r_ = (r); \
        cr_assert_eq(r_.status, code, "status %d, not %d: %s", r_.status, code, r_.err); \
        cr_assert(strstr(r_.err, text), "no '%s' in: %s", text, r_.err); } while (0)

/* ---- streams of one field of four i32: the test reports their sum, and the sum weighted by position */
static char *fields4(const char *type,
                     const char *shape) { return fmt("[{\"name\":\"x\",\"type\":\"%s\",\"shape\":[%s]}]", type, shape);
                                          }

static char *reader4(const char *kind, const char *path)
{
    return fmt("{\"kind\":\"%s\",\"name\":\"s\",\"def\":\"s\",\"line\":\"toy.nl:3:1\",\"paths\":[\"%s\"],\"fields\":%s,\"src\":[]}", kind, path, fields4("i32", "4"));
}

static Ran test4(const char *streams, int stream)
{
    return run_toy(streams,
                   fmt("%s,{\"do\":\"test\",\"inst\":0,\"name\":\"p\",\"stream\":%d,\"entry\":%d,\"finish\":%d,\"batch\":2,\"accs\":3,\"line\":\"toy.nl:9:5\","
                                "\"reports\":[{\"name\":\"sum\",\"line\":null},{\"name\":\"weighted\",\"line\":null}],"
                                "\"fields\":[{\"name\":\"x\",\"from\":0,\"type\":\"i32\",\"shape\":[4]}]}",
                                    new_toy(0, "p"), stream, E_BYTES, E_BYTES_FINISH), "--metrics m");
}

static void reads4(const char *what, Ran r, double sum, double weighted)
{
    cr_assert_eq(r.status, 0, "%s: %s", what, r.err);
    HAS(read_text_file("m"), fmt("\"sum\":%.17g,\"weighted\":%.17g}", sum, weighted));
}

Test(streams, csv_forms)
{
    static const char *const same[] = {
        "1,2,3,4\n5,6,7,8\n9,10,11,12\n",
        "1,2,3,4\n5,6,7,8\n9,10,11,12",
        "a,b,c,d\r\n1,2,3,4\r\n5,6,7,8\r\n9,10,11,12\r\n",
        "\"a\"\"quoted\"\"\",\"two\nlines\",c,d\n\n1, 2 ,\"3\",4\n5,6.0,7,8e0\n\n9,10,11,12\n\n",
        "\xef\xbb\xbf" "1,2,3,4\n5,6,7,8\n+9,10,11,12\n  \n",
        "150,4,x,y,z\n1,2,3,4\n5,6,7,8\n9,10,11,12\n",
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        write_text("s.csv", same[i]);
        reads4(fmt("form %zu", i), test4(reader4("csv", "s.csv"), 0), 78, 15 * 1 + 18 * 2 + 21 * 3 + 24 * 4);
        write_gz("s.csv.gz", same[i], strlen(same[i]));
        reads4(fmt("form %zu, gz", i), test4(reader4("csv", "s.csv.gz"), 0), 78, 210);
    }
}

Test(streams, csv_faults)
{
    static const struct { const char *text, *says; } wrong[] = {
        {"1,2,3,4\n5,6,7\n", "s.csv:2: 3 values, but the fields of s take 4"},
        {"1,2,3,4\n5,6,7,8,9\n", "s.csv:2: 5 values"},
        {"h,h,h,h\n1,2,3,x\n", "s.csv:2: 'x' (value 4 of the line) is no number"},
        {"1,2,3,4\n1,,3,4\n", "s.csv:2: '' (value 2 of the line) is no number"},
        {"1,2,3,4\n\n1,2,3.5,4\n", "s.csv:3: '3.5' is no whole number that fits field x (i32)"},
        {"1,2,3,3000000000\n", "s.csv:1: '3000000000' is no whole number that fits"},
        {"1,2,3,nan\n", "s.csv:1: 'nan' is no whole number"},
        {"1,2,3,0x10\n1,2,3,0x10\n", "s.csv:2: '0x10' (value 4 of the line) is no number"},
        {"1,2,3,4\n1,2,\"3,4\n5", "s.csv:2: a quote is opened here and never closed"},
        {"a,b,c,d\n", "there are no values in this file"},
        {"", "there are no values in this file"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        write_text("s.csv", wrong[i].text);
        FAILS(test4(reader4("csv", "s.csv"), 0), 1, wrong[i].says);
    }
    FAILS(test4(reader4("csv", "nowhere.csv"), 0), 1, "toy.nl:3:1: error: stream s: nowhere.csv: No such file");
    FAILS(test4(reader4("csv", "."), 0), 1, "is a folder");
}

Test(streams, csv_broken_gz)
{
    const char *text = "1,2,3,4\n5,6,7,8\n9,10,11,12\n";
    size_t n;
    write_gz("s.csv.gz", text, strlen(text));
    char *z = read_bytes("s.csv.gz", &n);
    for (size_t cut = 3; cut < n; cut++) {
        write_file("cut.csv.gz", z, cut);
        Ran r = test4(reader4("csv", "cut.csv.gz"), 0);
        cr_assert_eq(r.status, 1, "cut at %zu: %d %s", cut, r.status, r.err);
    }
    z[n - 6] ^= 1;
    write_file("cut.csv.gz", z, n);
    FAILS(test4(reader4("csv", "cut.csv.gz"), 0), 1, "damaged");
}

static void idx_file(const char *name, int type, const char *head_rest, size_t nhead, const void *data, size_t n)
{
    unsigned char b[256] = {0, 0, (unsigned char)type};
    memcpy(b + 3, head_rest, nhead);
    memcpy(b + 3 + nhead, data, n);
    write_file(name, b, 3 + nhead + n);
}

Test(streams, idx)
{
    static const unsigned char bytes[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 255};
    idx_file("s.idx", 8, "\2\0\0\0\3\0\0\0\4", 9, bytes, 12);
    reads4("bytes", test4(reader4("idx", "s.idx"), 0), 321, 15 + 18 * 2 + 21 * 3 + 267 * 4);
    idx_file("s.idx", 8, "\3\0\0\0\3\0\0\0\2\0\0\0\2", 13, bytes, 12);
    reads4("as a row", test4(reader4("idx", "s.idx"), 0), 321, 15 + 18 * 2 + 21 * 3 + 267 * 4);
    idx_file("s.idx", 11, "\2\0\0\0\1\0\0\0\4", 9, "\1\0\0\2\377\377\0\3", 8);
    reads4("i16", test4(reader4("idx", "s.idx"), 0), 256 + 2 - 1 + 3, 256 + 4 - 3 + 12);
    static const struct { int type; const char *head; size_t n; const char *says; } wrong[] = {
        {7, "\2\0\0\0\3\0\0\0\4", 9, "byte 2: element type 0x07"},
        {8, "\2\0\0\0\3\0\0\0\5", 9, "byte 12: the sizes say 15 bytes, the file has 12"},
        {8, "\2\0\0\0\3\0\0\0\3", 9, "byte 12: the sizes say 9 bytes"},
        {8, "\2\0\0\0\4\0\0\0\3", 9, "its items are u8[3], field x of s is i32[4]"},
        {8, "\0", 1, "byte 3: 0 axes"},
        {8, "\11", 1, "byte 3: 9 axes"},
        {8, "\10\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377", 33, "byte 4: sizes that are too large"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        idx_file("s.idx", wrong[i].type, wrong[i].head, wrong[i].n, bytes, 12);
        FAILS(test4(reader4("idx", "s.idx"), 0), 1, wrong[i].says);
    }
    write_file("s.idx", "\0\0\10\2\0\0\0", 7);
    FAILS(test4(reader4("idx", "s.idx"), 0), 1, "byte 7: the file ends within its sizes");
    write_file("s.idx", "\0\0", 2);
    FAILS(test4(reader4("idx", "s.idx"), 0), 1, "not an idx file");
}

Test(streams, idx_counts_must_agree)
{
    idx_file("x.idx", 14, "\2\0\0\0\1\0\0\0\2", 9, "\77\360\0\0\0\0\0\0\100\0\0\0\0\0\0\0", 16);      /* 1, 2 */
    idx_file("y.idx", 8, "\1\0\0\0\1", 5, "\1", 1);
    char *s = csv("s", "x.idx\",\"y.idx");
    s = fmt("{\"kind\":\"idx\"%s", strchr(s, ','));
    Ran r = run_toy(s, fmt("%s,%s", new_toy(0, "p"), test(0, "p", 0, "")), "--metrics m");
    cr_assert_eq(r.status, 0, "%s", r.err);
    HAS(read_text_file("m"), fmt("\"loss\":%.17g", 0.5 * pow(0.1 * 1 - 0.2 * 2 - 1, 2)));
    idx_file("y.idx", 8, "\1\0\0\0\2", 5, "\1\1", 2);
    FAILS(run_toy(s, fmt("%s,%s", new_toy(0, "p"), test(0, "p", 0, "")), ""), 1, "./x.idx has 1 items, ./y.idx has 2");
}

static void npy_file(const char *name, const char *head, const void *data, size_t n)
{
    char b[512] = "\x93NUMPY\1";
    size_t len = strlen(head);
    b[8] = (char)len;
    memcpy(b + 10, head, len);
    memcpy(b + 10 + len, data, n);
    write_file(name, b, 10 + len + n);
}

Test(streams, npy)
{
    static const float f[8] = {1, 2, 3, 4, 5, 6, 7, 8}, half[4] = {1, 2, 3.5f, 4};
    static const int64_t l[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    npy_file("s.npy", "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4), }\n", f, sizeof f);
    reads4("f4", test4(reader4("npy", "s.npy"), 0), 36, 6 + 16 + 30 + 48);
    npy_file("s.npy", "{'descr': '<i8', 'fortran_order': False, 'shape': (2, 2, 2), }\n", l, sizeof l);
    reads4("i8", test4(reader4("npy", "s.npy"), 0), 36, 100);
    static const struct { const char *head, *says; } wrong[] = {
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (2, 4), }", "big end first"},
        {"{'descr': '<c8', 'fortran_order': False, 'shape': (2, 4), }", "element type '<c8'"},
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (2, 4), }", "fortran_order"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 5), }",
         "the shape needs 40 bytes, the file has 32 more"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 99999999999), }", "too large"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4, 2), }", "its items are f32[2], field x of s is i32[4]"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (), }", "a single number"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': 8, }", "no list in parentheses"},
        {"{'descr': '<f4', 'shape': (2, 4), }", "lacks"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        npy_file("s.npy", wrong[i].head, f, sizeof f);
        FAILS(test4(reader4("npy", "s.npy"), 0), 1, wrong[i].says);
    }
    npy_file("s.npy", "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4), }\n", half, sizeof half);
    FAILS(test4(reader4("npy", "s.npy"), 0), 1, "number 2 is 3.5, but field x is of whole numbers");
    write_text("s.npy", "\x93NUMPY\1");
    FAILS(test4(reader4("npy", "s.npy"), 0), 1, "byte 0: not a npy file");
}

/* Text, in windows of four bytes. */
static char *text4(const char *window)
{
    return fmt("{\"kind\":\"text\",\"name\":\"t\",\"def\":\"t\",\"line\":\"toy.nl:3:1\",\"paths\":[\"t.txt\"],\"fields\":%s,\"src\":[]},"
               "{\"kind\":\"window\",\"name\":\"w\",\"line\":\"toy.nl:4:1\",\"paths\":[],\"src\":[0],\"fields\":%s,%s}", fields4("u8", ""), fields4("u8", "4"), window);
}

Test(streams, text_and_windows)
{
    write_file("t.txt", "\1\2\3\4\5\6\7\10\11\377", 10);
    reads4("step 4", test4(text4("\"n\":4,\"step\":4"), 1), 36, 6 + 16 + 30 + 48);        /* the last two are dropped */
    reads4("step 3", test4(text4("\"n\":4,\"step\":3"), 1), 1 + 2 + 3 + 4 + 4 + 5 + 6 + 7 + 7 + 8 + 9 + 255,
           12 + 15 * 2 + 18 * 3 + 266 * 4);
    FAILS(test4(text4("\"n\":4,\"step\":0,\"anywhere\":true"), 1), 1, "stream w has no end, so it cannot be tested");
    write_text("t.txt", "abc");
    FAILS(test4(text4("\"n\":4,\"step\":4"), 1), 1, "stream w has no items");
    FAILS(test4(text4("\"n\":4,\"step\":0,\"anywhere\":true"), 1), 1, "fewer than a window of 4");
    write_text("t.txt", "");
    FAILS(test4(text4("\"n\":4,\"step\":4"), 1), 1, "t.txt: byte 0: the file is empty");
}

/* ---- streams of (x : [2], y : []) over gen: x = (i, seed), y = i % 2, tested by a Toy with w = (0.1 + seed/1000,
   -0.2) */
#define XY "\"fields\":[{\"name\":\"x\",\"type\":\"f64\",\"shape\":[2]},{\"name\":\"y\",\"type\":\"f64\",\"shape\":[]}]"
#define GEN "{\"kind\":\"gen\",\"name\":\"g\",\"line\":\"toy.nl:2:1\",\"entry\":8," XY "}"
#define OVER(kind, name, src, more) "{\"kind\":\"" kind "\",\"name\":\"" name "\",\"line\":\"toy.nl:4:1\",\"src\":[" src "]," XY "," more "}"

static double test_loss(const char *streams, int stream, const char *options)
{
    Ran r = run_toy(streams, fmt("%s,%s", new_toy(0, "p"), test(0, "p", stream, "")), fmt("--metrics m %s", options));
    cr_assert_eq(r.status, 0, "%s", r.err);
    char *m = strstr(read_text_file("m"), "\"loss\":");
    return strtod(m + 7, NULL);
}

static double loss_of(int n, const double (*item)[3])
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += 0.5 * pow(0.1 * item[i][0] - 0.2 * item[i][1] - item[i][2], 2);
    return sum / n;
}

#define SAME(streams, stream, ...) do { \
        const double items[][3] = {__VA_ARGS__}; \
        double want = loss_of(sizeof items / sizeof *items, items); \
        cr_assert_float_eq(test_loss(streams, stream, ""), want, 1e-12, "%s", streams); \
    } while (0)

#define CUT GEN "," OVER("slice", "c", "0", "\"lo\":3,\"hi\":8")         /* items 3 to 7 */

Test(streams, slices)
{
    SAME(CUT, 1, {3, 0, 1}, {4, 0, 0}, {5, 0, 1}, {6, 0, 0}, {7, 0, 1});
    SAME(CUT "," OVER("slice", "d", "1", "\"lo\":-2,\"hi\":0,\"hi_open\":true"), 2, {6, 0, 0}, {7, 0, 1});
    SAME(CUT "," OVER("slice", "d", "1", "\"lo\":1,\"hi\":-2"), 2, {4, 0, 0}, {5, 0, 1});
    SAME(CUT "," OVER("slice", "d", "1", "\"lo\":0,\"hi\":60,\"hi_pct\":true"), 2, {3, 0, 1}, {4, 0, 0}, {5, 0, 1});
    SAME(CUT "," OVER("slice", "d", "1", "\"lo\":60,\"lo_pct\":true,\"hi\":0,\"hi_open\":true"), 2, {6, 0, 0},
         {7, 0, 1});
    SAME(GEN "," OVER("slice", "c", "0", "\"lo\":3,\"hi\":0,\"hi_open\":true") "," OVER("slice", "d", "1",
            "\"lo\":1,\"hi\":3"), 2, {4, 0, 0}, {5, 0, 1});
    char *todo = fmt("%s,%s", new_toy(0, "p"), test(0, "p", 2, ""));
    FAILS(run_toy(CUT "," OVER("slice", "d", "1", "\"lo\":1,\"hi\":6"), todo, ""), 1,
          "c has 5 items, so there are no items 1 to 5");
    FAILS(run_toy(CUT "," OVER("slice", "d", "1", "\"lo\":4,\"hi\":2"), todo, ""), 1,
          "it ends (2) before it begins (4)");
    FAILS(run_toy(CUT "," OVER("slice", "d", "0", "\"lo\":0,\"hi\":50,\"hi_pct\":true"), todo, ""), 1,
          "its source has no end");
    FAILS(run_toy(CUT "," OVER("slice", "d", "1", "\"lo\":2,\"hi\":2"), todo, ""), 1, "stream d has no items");
}

Test(streams, maps_and_conditions)
{
    SAME(CUT "," OVER("map", "m", "1", "\"entry\":9,\"take\":[0,1]"), 2, {6, 0, 1}, {8, 1, 0}, {10, 2, 1}, {12, 3, 0},
         {14, 4, 1});
    SAME(CUT "," OVER("when", "m", "1", "\"entry\":10,\"take\":[1]"), 2, {3, 0, 1}, {5, 0, 1}, {7, 0, 1});
    SAME(CUT "," OVER("when", "m", "0", "\"entry\":11,\"take\":[0]") "," OVER("slice", "d", "2", "\"lo\":0,\"hi\":3"),
         3, {0, 0, 0}, {3, 0, 1}, {6, 0, 0});
    SAME(CUT "," OVER("when", "a", "1", "\"entry\":10,\"take\":[1]") "," OVER("when", "b", "2",
            "\"entry\":11,\"take\":[0]"), 3, {3, 0, 1});
}

/* What does not depend on the item is computed when the stream is opened, and again for another seed. */
Test(streams, once_a_seed)
{
    char *streams = CUT "," OVER("map", "m", "1", "\"entry\":17,\"once\":16,\"take\":[0]");
    const double none[][3] = {{3, 0, 1}, {4, 1, 1}, {5, 2, 1}, {6, 3, 1}, {7, 4, 1}};
    cr_assert_float_eq(test_loss(streams, 2, ""), loss_of(5, none), 1e-12);
    char *todo = fmt("%s,{\"do\":\"seed\",\"add\":3},%s", new_toy(0, "p"), test(0, "p", 2, ""));
    Ran r = run_toy(streams, todo, "--metrics m");
    cr_assert_eq(r.status, 0, "%s", r.err);
    const double three[][3] = {{3003, 0, 2}, {3004, 1, 2}, {3005, 2, 2}, {3006, 3, 2}, {3007, 4, 2}};
    double got = strtod(strstr(read_text_file("m"), "\"loss\":") + 7, NULL);
    cr_assert_float_eq(got, loss_of(5, three), 1e-9 * got);
    FAILS(run_toy(CUT "," OVER("map", "m", "1", "\"entry\":17,\"take\":[0]"), fmt("%s,%s", new_toy(0, "p"), test(0, "p", 2, "")), ""), 1,
          "its function does not fit its fields");
}

/* Several threads fetch a batch: the same items. */
Test(streams, maps_by_threads)
{
    char *mapped = CUT "," OVER("map", "m", "1", "\"entry\":9,\"take\":[0,1]") "," OVER("map", "n", "2",
            "\"entry\":9,\"take\":[0,1]");
    double one = test_loss(mapped, 3, "");
    toy_team = 1;
    for (int n = 1; n < 6; n++)
        cr_assert_eq(test_loss(mapped, 3, fmt("--threads %d", n)), one);
    char *todo = fmt("%s,%s", new_toy(0, "p"), test(0, "p", 1, ""));
    write_text("bad.csv", "0,0,0\n1,1,99\n0,0,99\n0,0,99\n");
    FAILS(run_toy(fmt("%s,%s", csv("n", "bad.csv"), OVER("map", "m", "0", "\"entry\":9,\"take\":[0,1]")), todo,
                  "--threads 3"), 1,
          "toy.nl:7:9: error: index 99 is outside of E[y], which has 2 (stream m)");
}

Test(streams, one_after_the_other)
{
    SAME(CUT "," OVER("slice", "d", "0", "\"lo\":0,\"hi\":2") "," OVER("cat", "e", "1,2,1", "\"n\":0"), 3,
         {3, 0, 1}, {4, 0, 0}, {5, 0, 1}, {6, 0, 0}, {7, 0, 1}, {0, 0, 0}, {1, 0, 1}, {3, 0, 1}, {4, 0, 0}, {5, 0, 1},
             {6, 0, 0}, {7, 0, 1});
    FAILS(run_toy(CUT "," OVER("cat", "e", "0,1", "\"n\":0"), fmt("%s,%s", new_toy(0, "p"), train(0, "p", 2, 1, "")),
                  ""), 1, "nothing can follow g");
}

Test(streams, mixes)
{
    /* one item each: x = 3 with weight 3, x = 4 with weight 1; 4000 draws */
    #define TWO GEN "," OVER("slice", "a", "0", "\"lo\":3,\"hi\":4") "," OVER("slice", "b", "0", "\"lo\":4,\"hi\":5") ","
    #define MIXED TWO OVER("mix", "m", "1,2", "\"weights\":[3,1]") "," OVER("slice", "n", "3", "\"lo\":0,\"hi\":4000")
    const double a[][3] = {{3, 0, 1}}, b[][3] = {{4, 0, 0}};
    double la = loss_of(1, a), lb = loss_of(1, b), got = test_loss(MIXED, 4, ""), share = (got - lb) / (la - lb);
    cr_assert(fabs(share - 0.75) < 0.03, "%g", share);
    cr_assert_eq(got, test_loss(MIXED, 4, ""));
    char *todo = fmt("%s,%s", new_toy(0, "p"), train(0, "p", 3, 1, ""));
    FAILS(run_toy(TWO OVER("mix", "m", "1,2", "\"weights\":[-1,2]"), todo, ""), 1, "the weight of a is -1");
    FAILS(run_toy(TWO OVER("mix", "m", "1,2", "\"weights\":[0,0]"), todo, ""), 1, "add up to 0");
}

Test(streams, the_seed_is_seen)
{
    char *streams = CUT;
    double one = 0;
    for (int i = 3; i < 8; i++)
        one += 0.5 * pow(0.105 * i - 0.2 * 5 - i % 2, 2) / 5;
    cr_assert_float_eq(test_loss(streams, 1, "--seed 5"), one, 1e-12);
    char *todo = fmt("{\"do\":\"seed\",\"add\":5},%s,%s", new_toy(0, "p"), test(0, "p", 1, ""));
    Ran r = run_toy(streams, todo, "--metrics m");
    cr_assert_eq(r.status, 0, "%s", r.err);
    cr_assert_float_eq(strtod(strstr(read_text_file("m"), "\"loss\":") + 7, NULL), one, 1e-12);
}

/* Lanes: 10 items in 4 stretches of 2; lane b reads items 2b and 2b + 1, the last two are left. */
Test(streams, lanes)
{
    char *cut = GEN "," OVER("slice", "c", "0", "\"lo\":0,\"hi\":10");
    char *todo = fmt("%s,%s,%s", new_toy(0, "p"), train(0, "p", 1, 1, "\"epochs\":true,\"lanes\":true"),
                     test(0, "p", 1, "\"lanes\":true"));
    Ran r = run_toy(cut, todo, "--metrics m --log-every 1");
    cr_assert_eq(r.status, 0, "%s", r.err);
    const double first[][3] = {{0, 0, 0}, {2, 0, 0}, {4, 0, 0}, {6, 0, 0}};
    HAS(read_text_file("m"), "\"step\":2");
    cr_assert_float_eq(strtod(strstr(read_text_file("m"), "\"loss\":") + 7, NULL), loss_of(4, first), 1e-12);
    FAILS(run_toy(CUT, fmt("%s,%s", new_toy(0, "p"), train(0, "p", 0, 1, "\"lanes\":true")), ""), 1,
          "cannot be cut into lanes");
    FAILS(run_toy(GEN "," OVER("slice", "c", "0", "\"lo\":0,\"hi\":3"), todo, ""), 1, "fewer than the 4 lanes");
}

/* A relative name is looked for beside the source ("dir" is "."), then here; --STREAM wins. */
Test(streams, other_files)
{
    char *streams = csv("a", "a.csv"), *todo = fmt("%s,%s", new_toy(0, "p"), test(0, "p", 0, ""));
    write_text("c.csv", "1,0,0\n");
    double was = test_loss(streams, 0, ""), now = test_loss(streams, 0, "--a c.csv");
    cr_assert_float_eq(now, 0.005, 1e-12);
    cr_assert(was != now);
    cr_assert_eq(test_loss(streams, 0, "--a=c.csv"), now);
    FAILS(run_toy(streams, todo, "--a d.csv"), 1, "d.csv: No such file");
}

/* Random damage to every kind of file: a message or a run, never a crash. */
Test(streams, damaged_files)
{
    static const unsigned char data[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    static const struct { const char *kind, *path; } files[] = {{"csv", "s.csv"}, {"csv", "s.csv.gz"},
                                                                {"idx", "s.idx"}, {"npy", "s.npy"}};
    const char *text = "a,b,c,d\n1,2,3,4\n5,6,\"7\",8\n";
    write_text("s.csv", text);
    write_gz("s.csv.gz", text, strlen(text));
    idx_file("s.idx", 8, "\2\0\0\0\4\0\0\0\4", 9, data, 16);
    npy_file("s.npy", "{'descr': '|u1', 'fortran_order': False, 'shape': (4, 4), }\n", data, 16);
    for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
        size_t n;
        char *whole = read_bytes(files[k].path, &n), copy[1024], *end = strrchr(files[k].path, '.'),
            *name = fmt("broken%s", end);
        for (unsigned i = 0; i < 60; i++) {
            memcpy(copy, whole, n);
            for (unsigned j = 0; j < 1 + i % 3; j++)
                copy[(i * 2654435761u + j * 40503u) % n] = (char)(i * 91 + j * 7);
            write_file(name, copy, i % 5 ? n : n * i / 60);
            Ran r = test4(reader4(files[k].kind, name), 0);
            cr_assert(r.status == 0 || r.status == 1, "%s, variant %u: %d %s", files[k].path, i, r.status, r.err);
        }
    }
}
