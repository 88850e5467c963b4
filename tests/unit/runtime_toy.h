/* runtime_toy.h: a program written by hand, as the compiler would have made it, and a way to run it in a process of its own. */
#ifndef RUNTIME_TOY_H
#define RUNTIME_TOY_H
#include "nlrt.h"
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/* Toy: w : [2] learns 0.5*(w.x - y)^2 with momentum, slow : [] adds up the error every 5 items, idle is due every 1000, sum adds x[0] when
   it is tested with `learning`.  Reports: loss, accuracy (are w.x and y on the same side of 0.5). */
enum { E_INIT, E_STEP, E_TEST, E_LEARN, E_FINISH, E_VALUE, E_STEPS, E_UNTIL, E_GEN, E_MAP, E_WHEN, E_SHARE, E_BYTES, E_BYTES_FINISH, E_FRESH, E_VOID, E_ONCE, E_ONCE_MAP, NENTRIES };

extern int64_t toy_signal_at;    /* in this step of a Toy, counted from 1 ... */
extern int toy_signal;           /* ... this signal is raised */
extern int toy_watch_memory;     /* steps fail if memory was allocated between them */

char *fmt(const char *f, ...) __attribute__((format(printf, 1, 2)));      /* static storage, several at a time */

extern int toy_team;             /* steps are worth several threads */

extern int toy_kept;             /* Toy.sum is state of an inner level that goes on from item to item */

/* Pieces of the description. */
char *csv(const char *name, const char *path);                           /* -> (x : [2], y : []) */
char *new_toy(int inst, const char *name);
char *train(int inst, const char *name, int stream, int n, const char *more);
char *test(int inst, const char *name, int stream, const char *more);

typedef struct { int status; char *out, *err; } Ran;                     /* status: -signal if it was killed */
Ran run_toy(const char *streams, const char *schedule, const char *arguments);     /* arguments: separated by blanks */
pid_t start_program(const nl_program *p, const char *arguments, const char *input);     /* the same in two parts, of any program; input: a file, or NULL */
Ran end_program(pid_t pid);

void write_file(const char *name, const void *bytes, size_t n);
void write_text(const char *name, const char *text);
void write_gz(const char *name, const void *bytes, size_t n);
char *read_text_file(const char *name);
char *read_bytes(const char *name, size_t *n);
void toy_data(void);                                                     /* a.csv, b.csv: 10 and 7 points, in a fresh folder, which becomes the current one */
void toy_clean(void);
#endif
