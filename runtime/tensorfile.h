/* tensorfile.h: one tensor of numbers from a file (json, npy, safetensors; plain or .gz), for the compiler's file()
   constant. */
#ifndef TENSORFILE_H
#define TENSORFILE_H
#include "data.h"

typedef struct {
    int rank; int64_t dim[MAXRANK];
    int64_t count;
    bool whole;                  /* every number is whole, or the file stores integers */
    double *value;               /* malloc'ed, row-major; exact up to 2^53 */
} TensorFile;

/* json: `name` is a path of members and positions ("a.b.0.c") to a number or nested lists of one shape; "" is the
   whole file. safetensors: the tensor's name. npy: name is not looked at. */
bool tensorfile_read(const char *path, const char *name, TensorFile *out, Err *err);
void tensorfile_free(TensorFile *t);
#endif
