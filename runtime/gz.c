/* gz.c: reads a whole file, plain or gzip (zlib passes plain bytes through). */
#include "data.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

/* Reads all that is left of z; *n bytes. NULL: out of memory or a damaged file. */
static unsigned char *read_all(gzFile z, size_t first, size_t *n, const char *path, Err *err)
{
    size_t cap = first + 2, len = 0;
    unsigned char *buf = malloc(cap);
    while (buf) {
        size_t room = cap - 1 - len;
        int got = gzread(z, buf + len, room < (1u << 30) ? (unsigned)room : 1u << 30);
        if (got <= 0)
            break;
        len += (size_t)got;
        if (len + 1 < cap)
            continue;
        unsigned char *more = cap <= SIZE_MAX / 2 ? realloc(buf, cap *= 2) : NULL;
        if (!more)
            free(buf);
        buf = more;
    }
    if (!buf) {
        err_set(err, "%s: not enough memory to read it", path);
        return NULL;
    }
    int code = 0;
    const char *what = gzerror(z, &code);
    if (code != Z_OK && code != Z_STREAM_END) {
        err_set(err, "%s: damaged after %zu bytes of content: %s", path, len,
                code == Z_BUF_ERROR ? "the file ends too early" : code == Z_ERRNO ? strerror(errno) : what);
        free(buf);
        return NULL;
    }
    buf[len] = 0;
    *n = len;
    return buf;
}

unsigned char *file_read(const char *path, size_t *n, Err *err)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        err_set(err, "%s: %s", path, strerror(errno));
        return NULL;
    }
    if (S_ISDIR(st.st_mode)) {
        err_set(err, "%s: is a folder, not a file", path);
        return NULL;
    }
    gzFile z = gzopen(path, "rb");
    if (!z) {
        err_set(err, "%s: %s", path, errno ? strerror(errno) : "cannot be opened");
        return NULL;
    }
    gzbuffer(z, 1 << 17);
    size_t first = st.st_size > 0 ? (size_t)st.st_size : 4096;
    unsigned char *bytes = read_all(z, first, n, path, err);
    int closed = gzclose(z);
    if (bytes && closed != Z_OK) {               /* a gzip file that ends within its trailer is found only here */
        err_set(err, "%s: damaged after %zu bytes of content: %s", path, *n, "the file ends too early");
        free(bytes);
        return NULL;
    }
    return bytes;
}
