/* safetensors.c: u64 length, JSON head { name: {dtype, shape, data_offsets} }, data. No length in the file is
   believed. */
#include "data.h"
#include <cJSON.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[NSTORED] = {
    [T_F32] = "F32", [T_F64] = "F64", [T_I32] = "I32", [T_I64] = "I64", [T_U32] = "U32", [T_U8] = "U8",
    [T_BOOL] = "BOOL",
    [T_I8] = "I8", [T_I16] = "I16", [T_U16] = "U16", [T_U64] = "U64",
};

const char *safetensors_type(Type t) { return names[t]; }

static bool whole_number(const cJSON *x, double most, int64_t *out)
{
    if (!cJSON_IsNumber(x) || !(x->valuedouble >= 0 && x->valuedouble <= most)
        || x->valuedouble != (double)(int64_t)x->valuedouble)
        return false;
    *out = (int64_t)x->valuedouble;
    return true;
}

static bool parse_dims(const cJSON *list, int64_t *dim, int *rank)
{
    *rank = 0;
    if (!cJSON_IsArray(list))
        return false;
    for (const cJSON *x = list->child; x; x = x->next)
        if (*rank == MAXRANK || !whole_number(x, 281474976710656.0, &dim[(*rank)++]))
            return false;
    return true;
}

/* A tensor of a type that is not known here (bf16) is left out, so that the others can be read. */
static bool parse_tensor(const cJSON *item, size_t data, size_t n, Safetensors *s, Err *err)
{
    const cJSON *dtype = cJSON_GetObjectItemCaseSensitive(item, "dtype");
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(item, "data_offsets");
    int64_t dim[MAXRANK], from, to;
    int rank, t = 0;
    Tensor_at *out = &s->tensor[s->n];
    if (!cJSON_IsString(dtype) || !parse_dims(cJSON_GetObjectItemCaseSensitive(item, "shape"), dim, &rank)
        || !cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2
        || !whole_number(offsets->child, (double)n, &from) || !whole_number(offsets->child->next, (double)n, &to)
        || from > to || (size_t)to > n - data)
        return err_set(err, "tensor '%.200s': its dtype, shape or data_offsets are malformed or reach past the end",
                       item->string);
    while (t < NSTORED && strcmp(names[t], dtype->valuestring) != 0)
        t++;
    if (t == NSTORED)
        return true;
    if (!shape_set(&out->shape, (Type)t, rank, dim) || out->shape.bytes != (size_t)(to - from))
        return err_set(err, "tensor '%.200s': its shape does not fit its data_offsets", item->string);
    out->name = item->string;
    out->at = data + (size_t)from;
    s->n++;
    return true;
}

bool safetensors_parse(const unsigned char *b, size_t n, Safetensors *s, Err *err)
{
    *s = (Safetensors){0};
    uint64_t len = 0;
    if (n < 8)
        return err_set(err, "byte 0: too short for a safetensors file");
    for (int i = 7; i >= 0; i--)
        len = len << 8 | b[i];
    if (len > n - 8)
        return err_set(err, "byte 0: not a safetensors file, or cut short: its head would have %llu bytes",
                       (unsigned long long)len);
    s->json = cJSON_ParseWithLength((const char *)b + 8, (size_t)len);
    if (!cJSON_IsObject(s->json)) {
        safetensors_free(s);
        return err_set(err, "byte 8: the head is not JSON");
    }
    s->tensor = calloc((size_t)cJSON_GetArraySize(s->json) + 1, sizeof *s->tensor);
    bool ok = s->tensor || err_set(err, "not enough memory");
    for (const cJSON *item = s->json->child; ok && item; item = item->next)
        if (item->string && strcmp(item->string, "__metadata__") == 0)
            s->metadata = item;
        else
            ok = item->string && parse_tensor(item, 8 + (size_t)len, n, s, err);
    if (!ok)
        safetensors_free(s);
    return ok;
}

const Tensor_at *safetensors_find(const Safetensors *s, const char *name)
{
    for (int i = 0; i < s->n; i++)
        if (strcmp(s->tensor[i].name, name) == 0)
            return &s->tensor[i];
    return NULL;
}

void safetensors_free(Safetensors *s)
{
    cJSON_Delete(s->json);
    free(s->tensor);
    *s = (Safetensors){0};
}
