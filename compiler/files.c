/* files.c: tensors from files, for file(NAME, PATH) and `from`: runtime/tensorfile.c reads them, here they become constants of
   the graph. A relative name is looked for beside the source file that names it, then in the current folder. */
#include "graph.h"
#include "../runtime/tensorfile.h"
#include <float.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

static const char *find_file(const char *path, int file)
{
    const char *source = source_name(file), *slash = strrchr(source, '/');
    if (*path == '/' || !slash)
        return path;
    const char *beside = arena_printf("%.*s/%s", (int)(slash - source), source, path);
    return access(beside, F_OK) == 0 ? beside : path;
}

static Type stored_type(Dt dt)
{
    static const Type type[NDT] = { [F32] = T_F32, [F64] = T_F64, [I32] = T_I32, [I64] = T_I64, [U32] = T_U32, [U8] = T_U8, [BOOL] = T_BOOL };
    return type[dt];
}

/* A number that `want` cannot hold, or -1; inf and nan are numbers of the file's own. */
static int64_t first_unfit(const TensorFile *t, Dt want)
{
    static const struct { double lo, hi; } range[NDT] = {
        [I32] = { INT32_MIN, INT32_MAX }, [I64] = { -9007199254740992.0, 9007199254740992.0 }, [U32] = { 0, UINT32_MAX }, [U8] = { 0, 255 }, [BOOL] = { 0, 1 },
    };
    for (int64_t i = 0; i < t->count && want == F32; i++)
        if (isfinite(t->value[i]) && fabs(t->value[i]) > FLT_MAX)
            return i;
    for (int64_t i = 0; i < t->count && !dt_float(want); i++)
        if (!(t->value[i] >= range[want].lo && t->value[i] <= range[want].hi && t->value[i] == floor(t->value[i])))
            return i;
    return -1;
}

static Node *as_constant(const TensorFile *t, const char *path, Dt want, Loc at)
{
    int32_t dim[MAXDIM];
    if (t->rank > MAXDIM || t->count > INT32_MAX) {
        error_at(at, "%s: a tensor of %d axes and %lld numbers is too large", path, t->rank, (long long)t->count);
        return NULL;
    }
    for (int i = 0; i < t->rank; i++) {
        if (t->dim[i] == 0) {
            error_at(at, "%s: the tensor has no elements (axis %d has size 0)", path, i);
            return NULL;
        }
        dim[i] = (int32_t)t->dim[i];
    }
    int64_t bad = first_unfit(t, want);
    if (bad >= 0) {
        error_at(at, "%s: number %lld is %g, which does not fit into %s", path, (long long)bad, t->value[bad], dt_name(want));
        return NULL;
    }
    void *bytes = arena_alloc((size_t)t->count * (size_t)dt_size(want));
    convert(stored_type(want), bytes, T_F64, t->value, t->count);
    return n_data(want, t->rank, dim, bytes);
}

Node *file_tensor(const char *path, const char *name, Dt want, Loc at)
{
    TensorFile t;
    Err err;
    const char *found = find_file(path, at.file);
    if (!tensorfile_read(found, name, &t, &err)) {
        error_at(at, "%s", err.text);
        return NULL;
    }
    Node *n = as_constant(&t, found, want, at);
    tensorfile_free(&t);
    return n;
}
