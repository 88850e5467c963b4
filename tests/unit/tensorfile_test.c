/* tensorfile_test.c: single tensors from json, npy and safetensors files. */
#include "runtime_toy.h"
#include "tensorfile.h"
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

TestSuite(tensorfile, .init = toy_data, .fini = toy_clean, .timeout = 60);

static TensorFile t;
static Err err;

static void reads(const char *path, const char *name, int rank, int64_t count)
{
    err.text[0] = 0;
    cr_assert(tensorfile_read(path, name, &t, &err), "%s", err.text);
    cr_assert(t.rank == rank && t.count == count, "%s: rank %d, %lld numbers", name, t.rank, (long long)t.count);
}

static void refuses(const char *path, const char *name, const char *says)
{
    err.text[0] = 0;
    cr_assert(!tensorfile_read(path, name, &t, &err), "%s %s", path, name);
    cr_assert(strstr(err.text, says), "no '%s' in '%s'", says, err.text);
    cr_assert(!t.value);
}

#define JSON "{\"a\": {\"b\": [[1, 2, 3], [4, 5, 6.5]], \"n\": -7, \"list\": [{\"W\": [1, 2]}, {\"W\": [3]}]},\n \"x.y\": {\"z\": [true, false]},\n \"empty\": [], \"text\": \"no\"," \
    " \"ragged\": [[1, 2], [3]], \"deep\": [[1], [[2]]], \"mixed\": [1, \"x\"], \"bool\": true}"

Test(tensorfile, json)
{
    write_text("j.json", JSON);
    write_gz("j.json.gz", JSON, strlen(JSON));
    reads("j.json", "a.b", 2, 6);
    cr_assert(t.dim[0] == 2 && t.dim[1] == 3 && t.value[0] == 1 && t.value[5] == 6.5 && !t.whole);
    tensorfile_free(&t);
    reads("j.json.gz", "a.n", 0, 1);
    cr_assert(t.value[0] == -7 && t.whole);
    tensorfile_free(&t);
    reads("j.json", "a.list.1.W", 1, 1);
    cr_assert_eq(t.value[0], 3);
    tensorfile_free(&t);
    reads("j.json", "a.b.1", 1, 3);
    tensorfile_free(&t);
    reads("j.json", "x.y.z", 1, 2);              /* a key with a dot */
    cr_assert(t.value[0] == 1 && t.value[1] == 0);
    tensorfile_free(&t);
    reads("j.json", "bool", 0, 1);
    tensorfile_free(&t);
    reads("j.json", "empty", 1, 0);
    tensorfile_free(&t);
    write_text("top.json", "[[1], [2]]");
    reads("top.json", "", 2, 2);
    tensorfile_free(&t);
}

Test(tensorfile, json_faults)
{
    write_text("j.json", JSON);
    refuses("j.json", "b", "j.json: no member 'b' at the top");
    refuses("j.json", "a.c", "no member 'c' in 'a'");
    refuses("j.json", "a.list.2.W", "no member '2' in 'a.list'");
    refuses("j.json", "a.list.99999999999999999999", "no member");
    refuses("j.json", "text", "'text' is no number");
    refuses("j.json", "a", "'a' is no number");
    refuses("j.json", "ragged", "rows of different length");
    refuses("j.json", "deep", "different depth");
    refuses("j.json", "mixed", "element 1 is no number");
    refuses("j.json", "a..b", "no member");
    refuses("none.json", "a", "none.json: No such file");
    refuses("j.txt", "a", "not a kind that can be read");
    write_text("k.json", "{\"a\":\n [1, 2\n }");
    refuses("k.json", "a", "k.json: line 3: not JSON");
    write_text("k.json", "");
    refuses("k.json", "a", "not JSON");
    write_text("k.json", "[1] trailing");
    refuses("k.json", "", "not JSON");
    char *deep = fmt("%*s", 200000, "");
    memset(deep, '[', 200000);
    write_text("k.json", deep);
    refuses("k.json", "", "not JSON");
    write_text("k.json", "[[[[[[[[[1]]]]]]]]]");
    refuses("k.json", "", "more than 8 axes");
}

static void safetensors_file(const char *name, const char *head, const void *data, size_t n)
{
    char b[1024];
    uint64_t len = strlen(head);
    for (int i = 0; i < 8; i++)
        b[i] = (char)(len >> 8 * i);
    memcpy(b + 8, head, len);
    memcpy(b + 8 + len, data, n);
    write_file(name, b, 8 + len + n);
}

Test(tensorfile, safetensors)
{
    static const float f[4] = {1, 2, 3, 0.5f};
    const char *head =
        "{\"__metadata__\":{\"a\":\"b\"},\"W.x\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]},"
                       "\"half\":{\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[0,2]},\"i\":{\"dtype\":\"I32\",\"shape\":[],\"data_offsets\":[4,8]}}";
    safetensors_file("s.safetensors", head, f, sizeof f);
    reads("s.safetensors", "W.x", 2, 4);
    cr_assert(t.value[3] == 0.5 && !t.whole);
    tensorfile_free(&t);
    reads("s.safetensors", "i", 0, 1);
    cr_assert(t.whole);
    tensorfile_free(&t);
    refuses("s.safetensors", "half", "no tensor 'half' that can be read; the file has 'W.x' and others");
    static const struct { const char *head, *says; } wrong[] = {
        {"{\"W\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,17]}}", "malformed or reach past the end"},
        {"{\"W\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,16]}}", "shape does not fit"},
        {"{\"W\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[16,0]}}", "malformed"},
        {"{\"W\":{\"dtype\":\"F32\",\"shape\":[2,-2],\"data_offsets\":[0,16]}}", "malformed"},
        {"{\"W\":{\"dtype\":\"F32\",\"shape\":[1e300],\"data_offsets\":[0,16]}}", "malformed"},
        {"{\"W\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,16]}}", "does not fit"},
        {"{\"W\":{\"dtype\":\"F32\",\"data_offsets\":[0,16]}}", "malformed"},
        {"{\"W\":7}", "malformed"},
        {"[]", "not JSON"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        safetensors_file("s.safetensors", wrong[i].head, f, sizeof f);
        refuses("s.safetensors", "W", wrong[i].says);
    }
    write_text("s.safetensors", "abc");
    refuses("s.safetensors", "W", "too short");
    write_text("s.safetensors", "\377\377\377\377\377\377\377\377{}");
    refuses("s.safetensors", "W", "cut short");
}

/* Random damage: an answer or a message, never a crash. */
Test(tensorfile, damage)
{
    static const float f[4] = {1, 2, 3, 0.5f};
    safetensors_file("s.safetensors", "{\"W\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]}}", f,
                     sizeof f);
    write_text("j.json", JSON);
    static const char *const names[] = {"s.safetensors", "j.json"}, *const what[] = {"W", "a.b"};
    for (int k = 0; k < 2; k++) {
        size_t n;
        char *whole = read_bytes(names[k], &n), copy[1024];
        for (unsigned i = 0; i < 4000; i++) {
            memcpy(copy, whole, n);
            for (unsigned j = 0; j < 1 + i % 4; j++)
                copy[(i * 2654435761u + j * 40503u) % n] = (char)(i / 7 * 31 + j * 77);
            write_file(names[k], copy, i % 5 ? n : n * i / 4000);
            if (tensorfile_read(names[k], what[k], &t, &err))
                tensorfile_free(&t);
        }
    }
}
