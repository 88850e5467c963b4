/* emit_jit.c: see emit_jit.h. The compiler's own road (object file, linker driver) is used, so that what is tested is
   what ships. */
#include "emit_jit.h"
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#if defined __x86_64__
#include <immintrin.h>
#endif

Options opt = { .verify = true };

static void fail(const char *what, const char *detail)
{
    fprintf(stderr, "emit_jit: %s: %s\n", what, detail);
    exit(1);
}

static void link_shared(const char *obj, const char *so)
{
    const char *cc = getenv("CC");
    char command[2048];
    snprintf(command, sizeof command, "%s -shared -o '%s' '%s' -lm", cc && *cc ? cc : "cc", so, obj);
    if (system(command) != 0)
        fail("cannot link", command);
}

void *jit_load(Em *em)
{
    const char *tmp = getenv("TMPDIR");
    char dir[512], obj[600], so[600];
    snprintf(dir, sizeof dir, "%s/nlcjitXXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(dir))
        fail("cannot make a directory", dir);
    snprintf(obj, sizeof obj, "%s/k.o", dir);
    snprintf(so, sizeof so, "%s/k.so", dir);
    for (LLVMValueRef f = LLVMGetFirstFunction(em->mod); f; f = LLVMGetNextFunction(f))
        if (!LLVMIsDeclaration(f))
            LLVMSetLinkage(f, LLVMExternalLinkage);
    if (!em_finish(em, obj))
        fail("no code for", obj);
    link_shared(obj, so);
    void *lib = dlopen(so, RTLD_NOW | RTLD_LOCAL);
    if (!lib)
        fail("cannot load", dlerror());
    unlink(obj);
    unlink(so);
    rmdir(dir);
    return lib;
}

void *jit_find(void *lib, const char *name)
{
    void *f = dlsym(lib, name);
    if (!f)
        fail("no function", name);
    return f;
}

double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

uint64_t rng_next(uint64_t *state)                   /* splitmix64 */
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

double rng_unit(uint64_t *state)
{
    return (double)(int64_t)rng_next(state) * 0x1p-63;
}

void flush_denormals(bool on)
{
#if defined __x86_64__
    unsigned both = 0x8040;
    _mm_setcsr(on ? _mm_getcsr() | both : _mm_getcsr() & ~both);
#else
    (void)on;
#endif
}

static size_t whole_pages(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (bytes + page - 1) / page * page;
}

void *guarded_alloc(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = whole_pages(bytes);
    char *p = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || mprotect(p + room, page, PROT_NONE))
        fail("no memory", "mmap");
    return p + room - bytes;
}

void guarded_free(void *p, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = whole_pages(bytes);
    munmap((char *)p - (room - bytes), room + page);
}
