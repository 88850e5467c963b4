/* npy.c: the head of a NumPy array file (versions 1 to 3): \x93NUMPY, version, length, a Python dictionary as text. */
#include "data.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const struct { const char *code; Type type; } codes[] = {
    {"f4", T_F32}, {"f8", T_F64}, {"i4", T_I32}, {"i8", T_I64}, {"u4", T_U32}, {"u1", T_U8}, {"b1", T_BOOL},
    {"i1", T_I8}, {"i2", T_I16}, {"u2", T_U16}, {"u8", T_U64},
};

/* The text behind 'key': within the dictionary, or NULL. */
static const char *member(const char *head, const char *key)
{
    const char *p = strstr(head, key);
    if (!p)
        return NULL;
    p += strlen(key);
    while (*p == '\'' || *p == '"' || *p == ':' || isspace((unsigned char)*p))
        p++;
    return p;
}

static bool parse_type(const char *p, Type *t, Err *err)
{
    const char *whole = p;
    char order = *p;
    if (order == '>')
        return err_set(err, "byte 10: numbers are stored big end first; save the array with dtype '<...'");
    if (order && strchr("<|=", order))
        p++;
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (strncmp(p, codes[i].code, 2) == 0 && !isdigit((unsigned char)p[2])) {
            *t = codes[i].type;
            return true;
        }
    return err_set(err, "byte 10: element type '%.*s' is none of the known ones (f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 b1)",
                   (int)(strcspn(whole, "'\",}") < 20 ? strcspn(whole, "'\",}") : 20), whole);
}

static bool parse_shape(const char *p, Type t, Shape *s, Err *err)
{
    int64_t dim[MAXRANK];
    int rank = 0;
    if (*p++ != '(')
        return err_set(err, "byte 10: the shape is no list in parentheses");
    for (;;) {
        while (isspace((unsigned char)*p) || *p == ',')
            p++;
        if (*p == ')')
            break;
        char *end;
        if (!isdigit((unsigned char)*p) || rank == MAXRANK)
            return err_set(err, "byte 10: a shape that cannot be read, or of more than %d axes", MAXRANK);
        dim[rank++] = strtoll(p, &end, 10);
        p = end;
    }
    return shape_set(s, t, rank, dim) || err_set(err, "byte 10: a shape that is too large");
}

bool npy_parse(const unsigned char *b, size_t n, Npy *out, Err *err)
{
    if (n < 10 || memcmp(b, "\x93NUMPY", 6) != 0)
        return err_set(err, "byte 0: not a npy file");
    int version = b[6];
    size_t at = version == 1 ? 10 : 12;
    if (version < 1 || version > 3 || n < at)
        return err_set(err, "byte 6: version %d of the npy format is not known", version);
    size_t len = b[8] | (size_t)b[9] << 8;
    if (version > 1)
        len |= (size_t)b[10] << 16 | (size_t)b[11] << 24;
    if (len > n - at)
        return err_set(err, "byte 8: the head of %zu bytes reaches past the end of the file", len);
    char *head = malloc(len + 1);
    if (!head)
        return err_set(err, "not enough memory");
    memcpy(head, b + at, len);
    head[len] = 0;
    const char *descr = member(head, "descr"), *order = member(head, "fortran_order"), *shape = member(head, "shape");
    Type t = T_F32;
    bool ok = descr && order && shape;
    if (!ok)
        err_set(err, "byte 10: the head lacks 'descr', 'fortran_order' or 'shape'");
    ok = ok && parse_type(descr, &t, err) && parse_shape(shape, t, &out->shape, err);
    if (ok && out->shape.rank > 1 && strncmp(order, "True", 4) == 0)
        ok = err_set(err, "byte 10: columns come first (fortran_order); save numpy.ascontiguousarray(x)");
    free(head);
    if (!ok)
        return false;
    out->at = at + len;
    if (out->shape.bytes > n - out->at)
        return err_set(err, "byte %zu: the shape needs %zu bytes, the file has %zu more", out->at, out->shape.bytes,
                       n - out->at);
    return true;
}
