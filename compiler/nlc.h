/* nlc.h: what every pass shares (memory, places, messages), and the passes' entry points in the order of the road. */
#ifndef NLC_H
#define NLC_H
#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>
#include <stdio.h>

/* ---- arena.c: all memory of a compilation lives in one arena and goes at the end; nothing is freed singly. */
void *arena_alloc(size_t n);                          /* zeroed, 16-byte aligned; exits with a message when out of memory */
void  arena_free_all(void);
char *arena_strdup(const char *s);
char *arena_strndup(const char *s, size_t n);
char *arena_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
#define NEW(T)      ((T *)arena_alloc(sizeof(T)))
#define NEWN(T, n)  ((T *)arena_alloc(sizeof(T) * (size_t)(n)))
const char *intern(const char *s);                    /* equal strings become equal pointers: names compare with == */

/* Growable array of T in the arena:  VEC(Node *) v = {0};  PUSH(v, x);  v.at[i], v.n */
#define VEC(T)      struct { T *at; int n, cap; }
#define PUSH(v, x)  (vec_grow((void **)&(v).at, &(v).cap, (v).n, sizeof *(v).at), (v).at[(v).n++] = (x))
void vec_grow(void **at, int *cap, int n, size_t size);

/* ---- diag.c: places and messages. */
typedef struct { uint16_t file; uint16_t col, ecol; uint32_t line; } Loc;   /* columns count from 1; ecol is one past the end; line 0: no place */

int  source_add(const char *path);                    /* reads a file, returns its index; -1 and a message if it cannot be read */
int  source_add_text(const char *name, const char *text);   /* for tests and built-in text */
const char *source_name(int file);
const char *source_text(int file);
int  source_find(const char *path);                   /* index or -1 */
int  source_add_bytes(const char *name, const char *text, size_t size);   /* the same for text that may hold zero bytes */
size_t source_size(int file);
size_t utf8_length(const char *s, size_t n);          /* bytes of the character at s; 0: no UTF-8 */

/* Every message: file:line:col: error: text, the source line, a caret. All errors of a run are printed, in source order,
   by diag_flush; two at one place count as one (the first). A note belongs to the message before it. */
void error_at(Loc at, const char *fmt, ...)   __attribute__((format(printf, 2, 3)));
void warn_at(Loc at, const char *fmt, ...)    __attribute__((format(printf, 2, 3)));
void note_at(Loc at, const char *fmt, ...)    __attribute__((format(printf, 2, 3)));
int  error_count(void);
void diag_flush(FILE *to);                            /* prints what was collected, sorted by file and line, and forgets it */
void diag_quiet(bool on);                             /* while on, errors are only counted, and the count is as before once it is off; nests */
void diag_reset(void);                                /* forgets sources, messages and counts: before arena_free_all, or between tests */
const char *nearest(const char *name, const char *const *names, int n);   /* a name that is nearly `name`, or NULL */
Loc  loc_span(Loc a, Loc b);                          /* from a's start to b's end (to the line's end if b is on another line) */

/* ---- options of a run, filled by main.c */
typedef struct {
    bool f64;                    /* --float=f64 */
    const char *cpu;             /* --cpu, NULL: this machine */
    const char *dump;            /* --dump=PASS, NULL: none */
    const char *const *defines;  /* -D NAME=EXPR */
    int ndefines;
    const char *libdir;          /* where stdlib/ is */
    const char *rtdir;           /* where libnlrt.a is */
    const char *cc;              /* the linker driver */
    bool item_clocks;            /* --clocks=item: every level item by item, no block forms */
    bool verify;                 /* --verify: check the graph after every pass */
} Options;
extern Options opt;

/* ---- the road (each in the file of its name) */
struct Ast; struct Program; struct Entry; struct Region;
struct Ast *parse_file(int file);                     /* parse.y: the tree (D_FILE), never NULL; errors were reported */
void resolve(struct Ast *file);                       /* resolve.c: unknown names in every definition, used or not */
struct Program *elaborate(int file);                  /* elab.c: the program: models, entries, streams, schedule; NULL after errors */
void levels_print(struct Program *p, FILE *to, bool dot);   /* levels.c: nlc graph */
void explain_begin(bool on);                          /* explain.c: before elaborate, if explain_print is to follow */
extern bool graphing;                                 /* elab_graph.c: levels_print is to follow */
void explain_print(struct Program *p, FILE *to);      /* nlc explain */
void explain_begin(bool on);                          /* explain.c: before elaborate, if explain_print is to follow */
void explain_print(struct Program *p, FILE *to);      /* nlc explain */
void optimize(struct Region *r);                      /* optimize.c: erases marks and stops, orders products, hoists */
int emit_program(struct Program *p, int nobj, const char *const *obj);  /* emit.c: up to nobj object files; how many, 0 after a message */
bool link_program(int nobj, const char *const *obj, const char *exe);   /* link.c */
char *program_json(struct Program *p);                /* program.c: the description that the runtime reads (runtime/nlrt.h) */
int  reference_run(struct Program *p, int argc, char **argv);  /* reference.c: the runtime over the evaluator */
int  gradcheck(struct Program *p, FILE *to);          /* gradcheck.c: number of objectives whose gradient is wrong */
#endif
