/* tool.c: what the shell tests need to look into files.

     tool close A B TOL        the same words; numbers up to TOL, relative or absolute; says where they differ
     tool records FILE.jsonl   the tests of a run, one a line: MODEL STREAM variable=value .. report=value ..
     tool tensors FILE NAME..  the values of tensors of a safetensors file, one tensor a line
     tool tensors FILE         of all of them, each behind its name
     tool json FILE PATH..     all numbers below a path (a.b.0), one path a line
     tool mutate FILE SEED     the file with a few bytes changed, moved, or lost: the same for the same seed
   Exit status 0, or 1 after a message. */
#include <cJSON.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fail(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
static void fail(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    exit(1);
}

static char *read_all(const char *path, size_t *size)
{
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    if (!f) fail("cannot read %s", path);
    size_t n = 0, cap = 1 << 16;
    char *text = malloc(cap + 1);
    for (size_t got; (got = fread(text + n, 1, cap - n, f)) > 0;) {
        n += got;
        if (n == cap) text = realloc(text, (cap *= 2) + 1);
    }
    text[n] = '\0';
    if (f != stdin) fclose(f);
    if (size) *size = n;
    return text;
}

/* ---- close */

/* The next word: a run of number characters, or one other character, or a run of letters. */
static const char *next_word(const char *s, const char **end, bool *number)
{
    while (*s == ' ' || *s == '\t') s++;
    char *after;
    strtod(s, &after);
    *number = after != s && strchr("0123456789.+-", *s) != NULL;
    *end = *number ? after : *s ? s + 1 : s;
    return s;
}

static bool same_number(double a, double b, double tol)
{
    if (isnan(a) || isnan(b)) return isnan(a) && isnan(b);
    return a == b || fabs(a - b) <= tol * fmax(1, fmax(fabs(a), fabs(b)));
}

static bool same_line(const char *a, const char *b, double tol)
{
    for (;;) {
        const char *ae, *be;
        bool an, bn;
        a = next_word(a, &ae, &an);
        b = next_word(b, &be, &bn);
        if (an && bn ? !same_number(strtod(a, NULL), strtod(b, NULL), tol)
                     : ae - a != be - b || memcmp(a, b, (size_t)(ae - a)) != 0) return false;
        if (!*a) return true;
        a = ae;
        b = be;
    }
}

static int do_close(char **arg)
{
    char *a = read_all(arg[0], NULL), *b = read_all(arg[1], NULL);
    double tol = strtod(arg[2], NULL);
    for (int line = 1; *a || *b; line++) {
        size_t na = strcspn(a, "\n"), nb = strcspn(b, "\n");
        bool enda = !a[na], endb = !b[nb];
        a[na] = b[nb] = '\0';
        if (!same_line(a, b, tol)) fail("line %d differs:\n  %s\n  %s", line, a, b);
        a += na + !enda;
        b += nb + !endb;
    }
    return 0;
}

/* ---- json */

static const cJSON *at_path(const cJSON *j, const char *path)
{
    char part[256];
    while (j && *path) {
        size_t n = strcspn(path, ".");
        if (n >= sizeof part) fail("a long path: %s", path);
        memcpy(part, path, n);
        part[n] = '\0';
        j = cJSON_IsArray(j) ? cJSON_GetArrayItem(j, atoi(part)) : cJSON_GetObjectItemCaseSensitive(j, part);
        path += n + (path[n] == '.');
    }
    return j;
}

static void print_numbers(const cJSON *j)
{
    if (cJSON_IsNumber(j)) printf(" %.17g", j->valuedouble);
    for (const cJSON *c = j->child; c; c = c->next) print_numbers(c);
}

static int do_json(char **arg, int n)
{
    cJSON *j = cJSON_Parse(read_all(arg[0], NULL));
    if (!j) fail("%s is no JSON", arg[0]);
    for (int i = 1; i < n; i++) {
        const cJSON *at = at_path(j, arg[i]);
        if (!at) fail("%s: no %s", arg[0], arg[i]);
        fputs("=", stdout);
        print_numbers(at);
        putchar('\n');
    }
    cJSON_Delete(j);
    return 0;
}

/* ---- records: of every test what was reported, but for the objective's own value, which every model has */

static bool is_report(const char *key)
{
    static const char *const other[] = { "event", "model", "stream", "repeat", "step", "loss" };
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        if (strcmp(key, other[i]) == 0) return false;
    return true;
}

static const char *text_of(const cJSON *o, const char *key)
{
    const char *s = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, key));
    return s ? s : "-";
}

static int do_records(char **arg)
{
    for (char *s = read_all(arg[0], NULL), *end; *s; s = end) {
        end = s + strcspn(s, "\n");
        if (*end) *end++ = '\0';
        cJSON *o = cJSON_Parse(s);
        if (!o) fail("no JSON: %s", s);
        if (strcmp(text_of(o, "event"), "test") == 0) {
            printf("%s %s", text_of(o, "model"), text_of(o, "stream"));
            for (const cJSON *c = o->child; c; c = c->next) {
                if (!is_report(c->string)) continue;
                if (cJSON_IsString(c)) printf(" %s=%s", c->string, c->valuestring);
                else printf(" %s=%.17g", c->string, cJSON_IsNumber(c) ? c->valuedouble : NAN);
            }
            putchar('\n');
        }
        cJSON_Delete(o);
    }
    return 0;
}

/* ---- tensors: 8 bytes length of the header, the header in JSON, the data */

static double element(const char *type, const char *at)
{
    float f; double d; int32_t i; int64_t l; uint32_t u; uint8_t b;
    if (strcmp(type, "F32") == 0) return memcpy(&f, at, sizeof f), f;
    if (strcmp(type, "F64") == 0) return memcpy(&d, at, sizeof d), d;
    if (strcmp(type, "I32") == 0) return memcpy(&i, at, sizeof i), i;
    if (strcmp(type, "I64") == 0) return memcpy(&l, at, sizeof l), (double)l;
    if (strcmp(type, "U32") == 0) return memcpy(&u, at, sizeof u), u;
    if (strcmp(type, "U8") == 0 || strcmp(type, "BOOL") == 0) return memcpy(&b, at, sizeof b), b;
    fail("an element type %s", type);
}

static void print_tensor(const char *file, const cJSON *t, const char *data, size_t length)
{
    const cJSON *span = cJSON_GetObjectItem(t, "data_offsets");
    size_t from = (size_t)cJSON_GetArrayItem(span, 0)->valuedouble, to = (size_t)cJSON_GetArrayItem(span, 1)->valuedouble, count = 1;
    for (const cJSON *d = cJSON_GetObjectItem(t, "shape")->child; d; d = d->next) count *= (size_t)d->valuedouble;
    if (to < from || to > length) fail("%s: %s lies outside the file", file, t->string);
    const char *type = cJSON_GetObjectItem(t, "dtype")->valuestring;
    fputs("=", stdout);
    for (size_t k = 0; k < count; k++) printf(" %.17g", element(type, data + from + k * ((to - from) / count)));
    putchar('\n');
}

static int do_tensors(char **arg, int n)
{
    size_t size;
    char *bytes = read_all(arg[0], &size);
    uint64_t length = 0;
    if (size >= 8) memcpy(&length, bytes, 8);
    if (size < 8 || length > size - 8) fail("%s is no safetensors file", arg[0]);
    cJSON *head = cJSON_ParseWithLength(bytes + 8, length);
    if (!head) fail("%s: its header is no JSON", arg[0]);
    for (int i = 1; i < n; i++) {
        const cJSON *t = cJSON_GetObjectItemCaseSensitive(head, arg[i]);
        if (!t || !cJSON_GetObjectItem(t, "data_offsets")) {
            for (const cJSON *c = head->child; c; c = c->next) fprintf(stderr, "  %s\n", c->string);
            fail("%s: no tensor %s", arg[0], arg[i]);
        }
        print_tensor(arg[0], t, bytes + 8 + length, size - 8 - length);
    }
    for (const cJSON *t = n == 1 ? head->child : NULL; t; t = t->next) {
        if (!cJSON_GetObjectItem(t, "data_offsets")) continue;
        printf("%s ", t->string);
        print_tensor(arg[0], t, bytes + 8 + length, size - 8 - length);
    }
    cJSON_Delete(head);
    return 0;
}

/* ---- mutate */

static uint64_t draw(uint64_t *s)
{
    uint64_t z = *s += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static int do_mutate(char **arg)
{
    static const char *const bits[] = { "(", ")", "{", "}", "[", "]", "\n", "\"", "'", "@", "<-", "..", "level", "learn", "minimize",
        "with", "every 0", "-1", "99999999999999999999", "1e999", "for i in 0..100000000", "[0]", "[1, [2]]", "\0", "\xff", "given(", "=",
        ":", ",", "x", "W", "state", "[1000000000, 1000000000]", "stop(", "axis = 7", "f64[2]", "/ 0", "new", "use optim\n", "end", "#" };
    size_t n;
    char *s = read_all(arg[0], &n);
    uint64_t seed = strtoull(arg[1], NULL, 10) * 7919 + 1;
    s = realloc(s, n + 4096);
    for (int k = 1 + (int)(draw(&seed) % 4); k > 0 && n; k--) {
        size_t at = draw(&seed) % n, len = 1 + draw(&seed) % 12, to = draw(&seed) % n;
        if (len > n - at) len = n - at;
        const char *piece = bits[draw(&seed) % (sizeof bits / sizeof *bits)];
        size_t np = *piece ? strlen(piece) : 1;
        switch (draw(&seed) % 5) {
        case 0: s[at] = (char)draw(&seed); break;
        case 1: memmove(s + at, s + at + len, n - at - len); n -= len; break;                  /* lose */
        case 2: memmove(s + at + np, s + at, n - at); memcpy(s + at, piece, np); n += np; break;   /* put in */
        case 3: memmove(s + at, s + to, len < n - to ? len : n - to); break;                   /* copy over */
        case 4: if (draw(&seed) % 4 == 0) n = at; break;                                       /* cut */
        }
    }
    fwrite(s, 1, n, stdout);
    return 0;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "close") == 0 && argc == 5) return do_close(argv + 2);
    if (strcmp(what, "records") == 0 && argc == 3) return do_records(argv + 2);
    if (strcmp(what, "json") == 0 && argc > 3) return do_json(argv + 2, argc - 2);
    if (strcmp(what, "tensors") == 0 && argc > 2) return do_tensors(argv + 2, argc - 2);
    if (strcmp(what, "mutate") == 0 && argc == 4) return do_mutate(argv + 2);
    fail("usage: tool close A B TOL | records FILE | tensors FILE [NAME..] | json FILE PATH.. | mutate FILE SEED");
}
