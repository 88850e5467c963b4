/* tensorfile.c: one tensor of numbers from a json, npy or safetensors file. Its name, less ".gz", tells the kind. */
#include "tensorfile.h"
#include <cJSON.h>
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void tensorfile_free(TensorFile *t)
{
    free(t->value);
    *t = (TensorFile){0};
}

static bool ends_with(const char *path, const char *end)
{
    size_t n = strlen(path), m = strlen(end);
    if (n > 3 && strcmp(path + n - 3, ".gz") == 0)
        n -= 3;
    return n > m && strncmp(path + n - m, end, m) == 0;
}

static bool is_whole(double x) { return x == floor(x) && fabs(x) <= 9007199254740992.0; }

static bool fill(TensorFile *out, const Shape *s, const unsigned char *bytes, Err *err)
{
    out->rank = s->rank;
    out->count = s->count;
    memcpy(out->dim, s->dim, sizeof out->dim);
    out->value = malloc(sizeof(double) * ((size_t)s->count + 1));
    if (!out->value)
        return err_set(err, "not enough memory for %lld numbers", (long long)s->count);
    out->whole = true;
    for (int64_t i = 0; i < s->count; i++) {
        out->value[i] = load_number(s->type, bytes, i);
        out->whole = out->whole && is_whole(out->value[i]);
    }
    return true;
}

static bool read_npy(const unsigned char *b, size_t n, const char *name, TensorFile *out, Err *err)
{
    Npy npy;
    (void)name;
    return npy_parse(b, n, &npy, err) && fill(out, &npy.shape, b + npy.at, err);
}

static bool read_safetensors(const unsigned char *b, size_t n, const char *name, TensorFile *out, Err *err)
{
    Safetensors s;
    if (!safetensors_parse(b, n, &s, err))
        return false;
    const Tensor_at *t = safetensors_find(&s, name);
    bool ok;
    if (t)
        ok = fill(out, &t->shape, b + t->at, err);
    else
        ok = s.n == 1 && !*name ? fill(out, &s.tensor[0].shape, b + s.tensor[0].at, err)
           : s.n ? err_set(err, "no tensor '%.200s' that can be read; the file has '%.200s'%s", name, s.tensor[0].name,
                           s.n > 1 ? " and others" : "")
                 : err_set(err, "no tensor '%.200s' that can be read", name);
    safetensors_free(&s);
    return ok;
}

/* ---- json */

/* The member or element that the next part of a path names; a key that holds dots is found too, longest first. */
static const cJSON *json_step(const cJSON *at, const char **path)
{
    const char *p = *path;
    size_t len = strlen(p);
    for (;;) {
        char key[256];
        if (len < sizeof key) {
            memcpy(key, p, len);
            key[len] = 0;
            const cJSON *to = cJSON_IsObject(at) ? cJSON_GetObjectItemCaseSensitive(at, key) : NULL;
            if (cJSON_IsArray(at) && isdigit((unsigned char)*key) && strspn(key, "0123456789") == len && len < 9)
                to = cJSON_GetArrayItem(at, atoi(key));
            if (to) {
                *path = p + len + (p[len] == '.');
                return to;
            }
        }
        do
            if (len-- <= 1)
                return NULL;
        while (p[len] != '.');
    }
}

static bool json_find(const cJSON *root, const char *path, const cJSON **found, Err *err)
{
    const cJSON *at = root;
    for (const char *p = path; *p;) {
        const char *part = p;
        const cJSON *next = json_step(at, &p);
        if (!next) {
            size_t n = strcspn(part, ".");
            return part == path ? err_set(err, "no member '%.*s' at the top", (int)(n < 200 ? n : 200), part)
                                : err_set(err, "no member '%.*s' in '%.*s'", (int)(n < 200 ? n : 200), part,
                                          (int)(part - path - 1 < 200 ? part - path - 1 : 200), path);
        }
        at = next;
    }
    *found = at;
    return true;
}

static bool json_shape(const cJSON *x, int64_t *dim, int *rank)
{
    for (*rank = 0; cJSON_IsArray(x); x = x->child) {
        if (*rank == MAXRANK)
            return false;
        dim[(*rank)++] = cJSON_GetArraySize(x);
    }
    return true;
}

/* Numbers of x into out->value, which must have the shape dim[at..]. */
static bool json_fill(const cJSON *x, int at, TensorFile *out, int64_t *k, Err *err)
{
    if (at == out->rank) {
        if (cJSON_IsBool(x) || cJSON_IsNumber(x)) {
            double v = cJSON_IsNumber(x) ? x->valuedouble : cJSON_IsTrue(x);
            out->whole = out->whole && is_whole(v);
            out->value[(*k)++] = v;
            return true;
        }
        return err_set(err, "element %lld is no number%s", (long long)*k,
                       cJSON_IsArray(x) ? " but a list: rows of different depth" : "");
    }
    if (!cJSON_IsArray(x) || cJSON_GetArraySize(x) != out->dim[at])
        return err_set(err, "rows of different length: one has %lld elements, another %d", (long long)out->dim[at],
                       cJSON_IsArray(x) ? cJSON_GetArraySize(x) : 0);
    for (x = x->child; x; x = x->next)
        if (!json_fill(x, at + 1, out, k, err))
            return false;
    return true;
}

static long line_of(const unsigned char *b, const char *at)
{
    long line = 1;
    for (const char *p = (const char *)b; at && p < at; p++)
        line += *p == '\n';
    return line;
}

static bool read_json(const unsigned char *b, size_t n, const char *name, TensorFile *out, Err *err)
{
    const char *end = NULL;
    cJSON *root = cJSON_ParseWithLengthOpts((const char *)b, n + 1, &end, 1);
    const cJSON *x = NULL;
    Shape s;
    int64_t k = 0;
    if (!root)
        return err_set(err, "line %ld: not JSON", line_of(b, end));
    bool ok = json_find(root, name, &x, err);
    if (ok && !cJSON_IsArray(x) && !cJSON_IsNumber(x) && !cJSON_IsBool(x))
        ok = err_set(err, "'%.200s' is no number and no list of numbers", name);
    if (ok && (!json_shape(x, out->dim, &out->rank) || !shape_set(&s, T_F64, out->rank, out->dim)))
        ok = err_set(err, "'%.200s' has more than %d axes, or is too large", name, MAXRANK);
    if (ok) {
        out->count = s.count;
        out->whole = true;
        /* never more numbers than the file has bytes */
        out->value = s.count <= (int64_t)n ? malloc(s.bytes + sizeof(double)) : NULL;
        ok = out->value ? json_fill(x, 0, out, &k, err) : err_set(err, "rows of different length in '%.200s'", name);
    }
    cJSON_Delete(root);
    return ok;
}

static const struct {
    const char *end;
    bool (*read)(const unsigned char *, size_t, const char *, TensorFile *, Err *);
} kinds[] = {{".json", read_json}, {".npy", read_npy}, {".safetensors", read_safetensors}};

bool tensorfile_read(const char *path, const char *name, TensorFile *out, Err *err)
{
    *out = (TensorFile){0};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (!ends_with(path, kinds[i].end))
            continue;
        size_t n;
        unsigned char *bytes = file_read(path, &n, err);
        if (!bytes)
            return false;
        Err why;
        bool ok = kinds[i].read(bytes, n, name ? name : "", out, &why);
        free(bytes);
        if (!ok) {
            tensorfile_free(out);
            err_set(err, "%s: %.500s", path, why.text);
        }
        return ok;
    }
    return err_set(err, "%s: not a kind that can be read here: .json, .npy or .safetensors, plain or .gz", path);
}
