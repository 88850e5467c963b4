/* save.c: files of tensors (checkpoints, memories), in the safetensors format. A file is written beside the old one, forced to the disk
   and then takes its name: the old one stays whole until then. Nothing in a file that is read is believed. */
#define _POSIX_C_SOURCE 200809L
#include "rt.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- writing */
void head_add(cJSON *head, const char *key, const Shape *s, size_t *at)
{
    cJSON *t = cJSON_AddObjectToObject(head, key), *dims, *offsets;
    cJSON_AddStringToObject(t, "dtype", safetensors_type(s->type));
    dims = cJSON_AddArrayToObject(t, "shape");
    for (int i = 0; i < s->rank; i++)
        cJSON_AddItemToArray(dims, cJSON_CreateNumber((double)s->dim[i]));
    offsets = cJSON_AddArrayToObject(t, "data_offsets");
    cJSON_AddItemToArray(offsets, cJSON_CreateNumber((double)*at));
    *at += s->bytes;
    cJSON_AddItemToArray(offsets, cJSON_CreateNumber((double)*at));
}

cJSON *head_new(const Desc *d, const char *format)
{
    cJSON *head = cJSON_CreateObject(), *meta = cJSON_AddObjectToObject(head, "__metadata__");
    cJSON_AddStringToObject(meta, "format", format);
    cJSON_AddStringToObject(meta, "program", d->source);
    cJSON_AddStringToObject(meta, "hash", d->hash);
    cJSON_AddStringToObject(meta, "nlc", d->version);
    return head;
}

void head_write(cJSON *head, FILE *to)
{
    char *text = cJSON_PrintUnformatted(head);
    cJSON_Delete(head);
    if (!text)
        rt_fail("not enough memory for the head of a file");
    size_t n = strlen(text), padded = (n + 7) & ~(size_t)7;
    for (int i = 0; i < 8; i++)
        fputc((int)(padded >> 8 * i & 0xff), to);
    fwrite(text, n, 1, to);
    for (; n < padded; n++)
        fputc(' ', to);
    cJSON_free(text);
}

static _Noreturn void save_failed(const char *path, const char *what, const char *tmp, int why)
{
    if (tmp)
        unlink(tmp);
    rt_fail("%s: the %s cannot be written: %s%s", path, what, strerror(why), tmp && access(path, F_OK) == 0 ? "; the one before is whole" : "");
}

/* The folder's entry must be on the disk too. */
static void sync_folder(const char *path)
{
    char *folder = rt_strdup(path), *slash = strrchr(folder, '/');
    if (slash == folder)
        slash++;
    if (slash)
        *slash = 0;
    int fd = open(slash ? folder : ".", O_RDONLY);
    if (fd >= 0) {
        fsync(fd);                               /* some file systems cannot; the file itself is safe */
        close(fd);
    }
    free(folder);
}

void save_file(const char *path, const char *what, void (*write)(FILE *to, const void *with), const void *with)
{
    struct stat st;
    bool special = stat(path, &st) == 0 && !S_ISREG(st.st_mode);         /* a device or a pipe is not to be replaced */
    char *tmp = special ? NULL : rt_printf("%s.tmp", path);
    errno = 0;
    FILE *to = fopen(special ? path : tmp, "wb");
    if (!to)
        save_failed(path, what, NULL, errno);
    errno = 0;
    write(to, with);
    bool ok = fflush(to) == 0 && !ferror(to) && (special || fsync(fileno(to)) == 0);
    int why = errno;
    if (fclose(to) != 0 && ok) {
        ok = false;
        why = errno;
    }
    if (!ok || (!special && rename(tmp, path) != 0))
        save_failed(path, what, tmp, ok ? errno : why);
    if (!special)
        sync_folder(path);
    free(tmp);
}

/* ---- reading */
const char *saved_text(const Saved *s, const char *key)
{
    const cJSON *x = cJSON_GetObjectItemCaseSensitive(s->file.metadata, key);
    return cJSON_IsString(x) ? x->valuestring : NULL;
}

void saved_open(Saved *s, const char *path, const char *format, const char *what)
{
    Err err;
    size_t n;
    *s = (Saved){.path = path, .what = what};
    s->bytes = file_read(path, &n, &err);
    if (!s->bytes)
        rt_fail("%s", err.text);
    if (!safetensors_parse(s->bytes, n, &s->file, &err))
        rt_fail("%s: %s", path, err.text);
    const char *own = saved_text(s, "format");
    if (!own || strcmp(own, format) != 0 || !saved_text(s, "hash"))
        rt_fail("%s: a safetensors file, but no %s of a program", path, what);
}

bool saved_fits(const Tensor_at *t, const State *s) { return t->shape.type == s->shape.type && shape_same_dims(&t->shape, &s->shape); }

void saved_close(Saved *s)
{
    safetensors_free(&s->file);
    free(s->bytes);
    *s = (Saved){0};
}

/* Which state is it that the tensor belongs to? */
static const State *state_named(const Run *r, const char *name, bool kept)
{
    for (int i = 0; i < r->desc.ninst; i++) {
        const Model *m = instance_model(&r->desc, i);
        for (int k = 0; m && k < m->nstate; k++) {
            if (kept && !memory_holds(&r->desc, m, k))
                continue;
            char *key = state_key(r, i, k);
            bool same = strcmp(key, name) == 0;
            free(key);
            if (same)
                return &m->state[k];
        }
    }
    return NULL;
}

/* States of instances that are in the file, but not all of them. */
static void refuse_missing(const Run *r, const Saved *s, bool kept)
{
    for (int i = 0; i < r->desc.ninst; i++) {
        const Model *m = instance_model(&r->desc, i);
        char *missing = NULL;
        bool some = false;
        for (int k = 0; m && k < m->nstate; k++) {
            if (kept && !m->state[k].kept)
                continue;
            char *key = state_key(r, i, k);
            if (safetensors_find(&s->file, key))
                some = true;
            else if (!missing)
                missing = rt_strdup(key);
            free(key);
        }
        if (some && missing)
            rt_fail("%s: made by another program: it lacks %s", s->path, missing);
        free(missing);
    }
}

_Noreturn void saved_refuse(const Run *r, const Saved *s, bool kept)
{
    char a[128], b[128];
    for (int t = 0; t < s->file.n; t++) {
        const Tensor_at *own = &s->file.tensor[t];
        const State *st = state_named(r, own->name, kept);
        if (!st)
            rt_fail("%s: made by another program: %s is no %sstate of this one", s->path, own->name, kept ? "kept " : "");
        if (!saved_fits(own, st))
            rt_fail("%s: made by another program: %s is %s there and %s here", s->path, own->name, shape_str(&own->shape, a, sizeof a),
                    shape_str(&st->shape, b, sizeof b));
    }
    refuse_missing(r, s, kept);
    rt_fail("%s: made by another program: its schedule or the %s that it makes differ from this one's", s->path, kept ? "weights" : "states");
}
