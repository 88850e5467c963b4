/* data.h: element types, shapes, and files of numbers; shared by the runtime and the compiler's file(). Nothing here
   exits: a function that fails returns false or NULL and leaves a sentence in *err. */
#ifndef DATA_H
#define DATA_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MAXRANK = 8 };
typedef enum { T_F32, T_F64, T_I32, T_I64, T_U32, T_U8, T_BOOL, NTYPES, T_I8 = NTYPES, T_I16, T_U16, T_U64,
               NSTORED } Type;
     /* from T_I8 on: only stored in files */
typedef struct { Type type; int rank; int64_t dim[MAXRANK]; int64_t count; size_t bytes; } Shape;

typedef struct { char text[768]; } Err;
bool err_set(Err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));    /* returns false */

const char *type_name(Type t);                  /* "f32" */
bool type_find(const char *name, Type *t);
size_t type_size(Type t);
bool shape_set(Shape *s, Type t, int rank, const int64_t *dim);      /* count and bytes; false on overflow */
char *shape_str(const Shape *s, char *buf, size_t n);              /* "f32[3, 4]" */
bool shape_same_dims(const Shape *a, const Shape *b);

double load_number(Type t, const void *from, int64_t i);
/* truncates and wraps as C does, but never undefined */
void convert(Type to, void *dst, Type from, const void *src, int64_t n);

/* gz.c: a whole file, plain or gzip; malloc'ed, with a NUL behind the last byte */
unsigned char *file_read(const char *path, size_t *n, Err *err);

/* npy.c: NumPy's array format */
/* shape.type may be a stored type; at: offset of the data */
typedef struct { Shape shape; size_t at; } Npy;
bool npy_parse(const unsigned char *bytes, size_t n, Npy *out, Err *err);

/* safetensors.c */
typedef struct { const char *name; Shape shape; size_t at; } Tensor_at;      /* at: offset in the file */
typedef struct { struct cJSON *json; const struct cJSON *metadata; int n; Tensor_at *tensor; } Safetensors;
bool safetensors_parse(const unsigned char *bytes, size_t n, Safetensors *out, Err *err);
const Tensor_at *safetensors_find(const Safetensors *s, const char *name);
void safetensors_free(Safetensors *s);
const char *safetensors_type(Type t);           /* "F32" */
#endif
