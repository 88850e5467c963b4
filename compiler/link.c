/* link.c: from an object file to an executable, by the C compiler driver, which knows the start files and libraries of the
   system. The program needs libnlrt.a, cjson, zlib and libgomp; where static archives of these are installed they are taken, so
   that the executable asks nothing of the machine it runs on but libc.  NLC_LDFLAGS: further words for the driver. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE                                        /* posix_spawnp with the environment */
#endif
#include "nlc.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

#ifndef NLC_LINK_FLAGS
#define NLC_LINK_FLAGS ""                                  /* what the runtime was built with and a link has to say again: sanitizers */
#endif

typedef VEC(char *) Words;

static char *driver(void)
{
    const char *cc = opt.cc && *opt.cc ? opt.cc : getenv("CC");
    return arena_strdup(cc && *cc ? cc : "cc");
}

/* A driver may be several words ("ccache gcc"). */
static void add_words(Words *w, char *text)
{
    char *save = NULL;
    for (char *word = strtok_r(text, " \t", &save); word; word = strtok_r(NULL, " \t", &save))
        PUSH(*w, word);
}

static char *read_all(int fd)
{
    size_t n = 0;
    static char text[PATH_MAX];
    for (;;) {
        ssize_t got = read(fd, text + n, sizeof text - 1 - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    text[n] = '\0';
    return arena_strdup(text);
}

/* Runs the words; what it prints on standard output is returned if `output` is wanted. The exit status, or -1. */
static int spawn(Words *w, char **output)
{
    int pipes[2] = { -1, -1 }, status = 0;
    pid_t pid;
    posix_spawn_file_actions_t actions;
    PUSH(*w, NULL);
    posix_spawn_file_actions_init(&actions);
    if (output && pipe(pipes) == 0) {
        posix_spawn_file_actions_adddup2(&actions, pipes[1], 1);
        posix_spawn_file_actions_addclose(&actions, pipes[0]);
        posix_spawn_file_actions_addclose(&actions, pipes[1]);
    }
    int e = posix_spawnp(&pid, w->at[0], &actions, NULL, w->at, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (pipes[1] >= 0)
        close(pipes[1]);
    if (output && pipes[0] >= 0) {
        *output = e ? arena_strdup("") : read_all(pipes[0]);
        close(pipes[0]);
    }
    w->n--;
    if (e) {
        errno = e;
        return -1;
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The driver's path of a static archive, or NULL: it answers with the bare name where it finds none. */
static char *archive(const char *name)
{
    Words w = { 0 };
    char *path = NULL;
    add_words(&w, driver());
    PUSH(w, arena_printf("-print-file-name=%s", name));
    if (spawn(&w, &path) != 0 || !path)
        return NULL;
    path[strcspn(path, "\n")] = '\0';
    return path[0] == '/' && access(path, R_OK) == 0 ? path : NULL;
}

static void add_library(Words *w, const char *name)
{
    char *path = archive(arena_printf("lib%s.a", name));
    PUSH(*w, path ? path : arena_printf("-l%s", name));
}

static void print_command(const Words *w)
{
    for (int i = 0; i < w->n; i++)
        fprintf(stderr, "%s%s", i ? " " : "    ", w->at[i]);
    fputc('\n', stderr);
}

bool link_program(int nobj, const char *const *obj, const char *exe)
{
    static const char *const libraries[] = { "cjson", "z", "gomp" };
    Words w = { 0 };
    char *runtime = arena_printf("%s/libnlrt.a", opt.rtdir ? opt.rtdir : ".");
    if (access(runtime, R_OK)) {
        fprintf(stderr, "nlc: error: the runtime %s cannot be read: %s; NLC_RTDIR says where libnlrt.a is\n", runtime, strerror(errno));
        return false;
    }
    add_words(&w, driver());
    add_words(&w, arena_strdup(NLC_LINK_FLAGS));
    PUSH(w, arena_strdup("-o"));
    PUSH(w, arena_strdup(exe));
    for (int i = 0; i < nobj; i++)
        PUSH(w, arena_strdup(obj[i]));
    PUSH(w, runtime);
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++)
        add_library(&w, libraries[i]);
    const char *more = getenv("NLC_LDFLAGS");
    if (more)
        add_words(&w, arena_strdup(more));
    PUSH(w, arena_strdup("-lm"));
    PUSH(w, arena_strdup("-lpthread"));
    PUSH(w, arena_strdup("-ldl"));
    int status = spawn(&w, NULL);
    if (status == 0)
        return true;
    if (status < 0)
        fprintf(stderr, "nlc: error: cannot run the linker driver `%s`: %s; install gcc or clang, or name one in NLC_CC\n", w.at[0], strerror(errno));
    else
        fprintf(stderr, "nlc: error: linking failed (`%s` ended with %d); the command was\n", w.at[0], status);
    print_command(&w);
    return false;
}
