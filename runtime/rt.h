/* rt.h: what the files of the runtime share, in the order in which a run meets them.

   Memory: what the run needs is allocated at start-up or when a step of the schedule begins; nothing is allocated
   during a step of training. Everything hangs on one Run, which lives until the process ends. */
#ifndef RT_H
#define RT_H
#include "nlrt.h"
#include "data.h"
#include <stdbool.h>
#include <stdio.h>
#include <cJSON.h>

#define NLRT_VERSION "1"

/* ---- util.c: failing, memory, hashes */
extern const char *rt_name;                                /* of the program, for messages */
_Noreturn void rt_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));                 /* exit status 1 */
_Noreturn void rt_fail_at(const char *place, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
_Noreturn void rt_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));                /* exit status 2 */
/* a warning; the run goes on */
void rt_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void *rt_alloc(size_t n);                                  /* zeroed, 64-byte aligned, never NULL; free() */
void *rt_grow(void *p, size_t n);                          /* realloc, never NULL */
char *rt_strdup(const char *s);
/* malloc'ed text */
char *rt_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2), nonnull(1)));
uint64_t rt_hash(uint64_t h, const void *bytes, size_t n); /* FNV-1a; start with RT_HASH */
uint64_t rt_mix(uint64_t x);                               /* a good 64-bit mixer */
#define RT_HASH 0xcbf29ce484222325u
double rt_now(void);                                       /* seconds, monotonic */

/* ---- desc.c: the description of the program */
typedef enum { KIND_LEARN, KIND_STATE, KIND_RULE, KIND_COUNT, KIND_GSUM } StateKind;

typedef struct {
    const char *path, *rule;     /* rule may be NULL */
    Shape shape;
    size_t offset;
    StateKind kind;
    int64_t every;               /* items per update; 0: on an event */
    int count, of, level;        /* -1: none */
    bool kept;                   /* state of an inner level that lives from item to item */
} State;

typedef struct { const char *name, *objective, *context; int64_t every; } Level;

typedef struct {
    const char *name, *label;
    size_t bytes;
    int init;
    int nstate; State *state;
    int nlevel; Level *level;
} Model;

typedef struct {
    const char *name;
    size_t arena, scratch;
    double work;
    int nin, nout;
    Shape *in, *out;
} Entry;

/* from: step fields only: the field of the stream */
typedef struct { const char *name; Shape shape; int from; } Field;

struct Stream;
typedef struct { const char *name, *text; } Var;

typedef enum { DO_NEW, DO_COPY, DO_SEED, DO_TRAIN, DO_TEST, DO_TABLE, DO_TICK } DoKind;
typedef struct {
    DoKind kind;
    const char *line;            /* its place in the source, or NULL */
    int inst, from, model;
    const char *name;            /* of the instance */
    int64_t add;                 /* DO_SEED */
    int entry, finish, until, fresh;     /* fresh: writes the kept states anew; -1: none */
    int naccs, nreport;
    const char **report, **report_line;
    int stream;                  /* -1: none */
    int64_t batch, count;
    bool epochs, shuffled, carry, lanes, learning;
    int nvar; Var *var;
    int repeat;
    int nfield; Field *field;
    const char *event;           /* DO_TICK */
    const char *title, *rows, *cols, *cells;     /* DO_TABLE */
    bool lower;                  /* smaller values are better */
    int value, nname; const char **name_of;
} Do;

typedef struct { const char *line, *what; } Site;

typedef struct {
    int model, entry, fresh;
    int64_t rows, lag, classes;
    bool window;                 /* it mixes its whole window; else one token after the other */
    bool ahead;                  /* kept states may depend on the token that the lag adds */
    Type type;
    const char *learning;        /* names, or NULL: of the model's own state nothing moves */
    int nmove; int *move;        /* the states that do */
} Generate;

typedef struct {
    const nl_program *program;
    const char *version, *source, *dir, *hash;
    int nmodel, nentry, nstream, ndo, nsite, ninst, ngenerate;
    Model *model;
    Entry *entry;
    struct Stream *stream;
    Do *todo;
    Site *site;
    Generate *generate;
} Desc;

void desc_read(Desc *d, const nl_program *p);              /* fails with a message if the description is malformed */

/* ---- team.c: entries are called by a team of threads */
void team_init(const Desc *d, int nthreads);
/* work(with) by the first thread, while the others wait for its calls */
void team_run(void (*work)(void *), void *with);
int  team_threads(void);
int  team_size(double work);                               /* threads that so many multiply-adds are worth */
typedef void (*Job)(void *with, int tid, int n);
void team_do(int n, Job job, void *with);                  /* by the first n threads; done when all are */
/* Runs entry e; nl_status of the call is checked by the caller: the lowest site wins. */
typedef struct { char *state; const void *const *in; void *const *out; int64_t count, index; uint64_t seed; } Call;
nl_status team_call(int entry, const Call *c);
nl_status alone_call(int entry, const Call *c, char *arena, char *scratch);     /* by this thread only */

/* ---- stream.c and read_*.c, derive.c: item i of a stream, by random access */
typedef struct Stream Stream;
typedef struct {
    const char *kind;
    void (*open)(Stream *s, const Desc *d);                /* reads and checks files; fails with a message */
    /* sets s->count; again when the seed changes; sources are ready */
    void (*prepare)(Stream *s, const Desc *d);
    void (*fetch)(Stream *s, int64_t i, int tid, void *const *out);      /* out[k]: field k of item i */
    void (*close)(Stream *s);
} Reader;
enum { ENDLESS = -1 };

struct Stream {
    const Reader *reader;
    const char *name, *def, *line;   /* def: readers: what --DEF PATH calls it */
    int npath; const char **path;    /* as written, then as found */
    char *given;                 /* by the command line, holds the paths */
    int nfield; Field *field;
    int nsrc; int *src;
    double *weight;
    int ntake; int *take;
    int entry, once;             /* once: what does not depend on the item, computed when the seed is set; -1: nothing */
    double lo, hi; bool lo_pct, hi_pct, hi_open;
    int64_t n, step; bool anywhere;
    /* filled by open and prepare */
    bool used, opened;
    bool ordered;                /* items can only be fetched by one thread at a time */
    double work;                 /* multiply-adds of an item */
    int64_t count;               /* ENDLESS: no end */
    uint64_t seed;
    const Desc *desc;
    void *own;                   /* of the reader */
    int nonce; void **kept;      /* what `once` gave: the entry's inputs behind the taken fields */
    void ***tmp;                 /* [thread][field]: one item of each source field (see stream_temps) */
};

const Reader *reader_find(const char *kind);
Stream *stream_src(const Stream *s, int k);
void streams_open(Desc *d);                                /* those that the schedule uses, with their sources */
void streams_seed(Desc *d, uint64_t seed);                 /* also the first time */
void streams_close(Desc *d);
const char *stream_file(const Desc *d, const char *path);  /* beside the source file, then in the current folder */
void stream_temps(Stream *s, Stream *src);                 /* room for an item of src, per thread */
/* 64 random bits: seed, the stream's name, what, i */
uint64_t stream_draw(const Stream *s, const char *what, int64_t i);
_Noreturn void stream_fail(const Stream *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void stream_status(const Stream *s, const nl_status *st);  /* fails if an index of its entry was out of range */

extern const Reader read_csv, read_idx, read_npy, read_text;
extern const Reader derive_gen, derive_map, derive_slice, derive_when, derive_cat, derive_mix, derive_window;

/* ---- feed.c: batches of a stream for a step's entry */
typedef struct {
    const Do *d; Stream *s;                  /* s NULL: no data */
    int64_t n;                               /* items of the stream (of a lane); ENDLESS */
    int64_t lane;                            /* lanes: distance of their starts */
    uint64_t seed;
    int64_t *perm, perm_epoch;               /* shuffled */
    void **in; size_t *item;                 /* the entry's inputs; bytes of an item */
    void **tmp;                              /* a whole item of the stream, for each thread */
    void **slot;                             /* where its fields go, for each thread */
    int *direct;                             /* for each field of the stream: the input it is fetched into, or -1 */
} Feed;
void feed_begin(Feed *f, const Desc *d, const Do *step, uint64_t seed);
/* fills `in` from item number pos on, at most limit items; how many */
int64_t feed_next(Feed *f, int64_t pos, int64_t limit);
int64_t feed_items(const Feed *f);                         /* what a whole reading takes, in units of pos; ENDLESS */
void feed_end(Feed *f);

/* ---- the run */
typedef struct {
    char *state;                 /* NULL: not made yet, or over */
    int model;
    const char *name;
    int64_t steps;               /* steps of training */
    int64_t *pos;                /* for each stream the items that its trains have read */
    uint64_t *born;              /* for each state: hash at birth */
    double *update;              /* size of the last update; < 0: none yet */
} Instance;

typedef struct { int todo; int64_t step; double *value; } Record;        /* a test's reports */

typedef struct {                 /* of an instance: see memory.c */
    char *loaded, *noted;
    bool *moved;                 /* the model's own states that belong to it, moved by a stream; NULL: none */
    bool begun;
    int64_t last, tokens;
} Memory;

typedef struct {
    Desc desc;
    /* options */
    uint64_t seed; bool seed_given;
    int nthreads;
    bool quiet, allow_nan;
    const char *checkpoint, *resume, *metrics_path, *times_path, *tables;
    int64_t save_every, log_every;
    const char *memory_load, *memory_save; bool memory_reset;
    const char *from, *model, *prompt, *prompt_file, *learning;       /* generate and stream */
    int64_t ntokens, every; double temperature; uint64_t draw_seed;
    /* where the run stands: what a checkpoint keeps */
    int64_t add;                 /* added to the seed */
    int pc;                      /* step of the schedule */
    bool stopped;                /* its `until` said so */
    int64_t k, items;            /* batches and items done in it */
    int64_t logged;              /* batches in `sum` */
    double *sum;                 /* accumulators since the last progress interval or the start of the test */
    int64_t total;               /* training steps of the whole run */
    Instance *inst;
    int nrecord, caprecord; Record *record;
    int64_t metrics_at;          /* bytes of the metrics file */
    /* for the run only */
    FILE *metrics;
    double *acc, *values, *step_values;      /* a step's accumulators; reports */
    char *before;                /* an instance before a step (levels.c) ... */
    int64_t *seen;               /* ... and, for states that may be due, the items they had seen; -1: not due */
    char *snapshot;              /* an instance before a test */
    double *snapshot_update;
    Memory *memory;              /* for each instance */
} Run;

/* ---- clock.c: runs the schedule */
void run_schedule(Run *r);
void run_births(Run *r);                                   /* only what makes models */
int  interrupted(void);                                    /* the signal that asked to stop, or 0 */
void catch_signals(void);
void wake_by_signal(int fd);                               /* a signal also writes a byte there */
const char *do_model(const Run *r, const Do *d);           /* for messages and records: the instance's name */
const char *do_stream(const Run *r, const Do *d);          /* NULL if none */
bool do_has_loss(const Run *r, const Do *d);
bool do_reports_loss(const Do *d);
uint64_t run_seed(const Run *r);

/* ---- levels.c: what moved, and by how much */
void levels_born(Run *r, Instance *in);
/* before a step; last: perhaps the last of its train; left: steps that are sure to follow in it */
void levels_before(Run *r, Instance *in, bool last, int64_t left);
void levels_after(Run *r, Instance *in, bool last);        /* last: it was */
int64_t level_updates(const Run *r, const Instance *in, int state);
void levels_table(const Run *r, FILE *to);
void levels_summary(Run *r);                               /* to the metrics */

/* ---- table.c, metrics.c, progress.c */
void tables_print(Run *r);
void record_add(Run *r, const Do *d, int64_t step, const double *values);
void metrics_open(Run *r);
void metrics_event(Run *r, const char *event, const Do *d, int64_t step, double loss, const double *values);
void metrics_line(Run *r, cJSON *o);                       /* frees o */
void metrics_sync(Run *r);                                 /* written out; metrics_at is right */
void metrics_close(Run *r);
void print_number(FILE *to, double v);                     /* JSON, 17 digits */
void progress_open(const Run *r);
void progress_begin(const Run *r, const Do *d, int64_t total, int64_t done);
void progress_tick(const Run *r, const Do *d, int64_t k, int64_t items, double loss);
void progress_end(const Run *r, const Do *d, int64_t step, int64_t k, double loss, const double *values);
void progress_ticked(const Run *r, const Do *d, int64_t step);         /* an event */
void progress_clear(void);
void progress_close(const Run *r);

/* ---- save.c: files of tensors */
typedef struct { const char *path, *what; unsigned char *bytes; Safetensors file; } Saved;
cJSON *head_new(const Desc *d, const char *format);        /* its "__metadata__" say format and program */
void head_add(cJSON *head, const char *key, const Shape *s, size_t *at);
void head_write(cJSON *head, FILE *to);                    /* frees it */
void save_file(const char *path, const char *what, void (*write)(FILE *to, const void *with), const void *with);
void saved_open(Saved *s, const char *path, const char *format, const char *what);       /* fails with a message */
const char *saved_text(const Saved *s, const char *key);   /* of the metadata, or NULL */
bool saved_fits(const Tensor_at *t, const State *s);
_Noreturn void saved_refuse(const Run *r, const Saved *s, bool kept);    /* another program: which state tells the difference? */
void saved_close(Saved *s);

/* ---- checkpoint.c */
void checkpoint_save(Run *r, const char *path);
void checkpoint_load(Run *r, const char *path);            /* after the streams are open */
void checkpoint_weights(Run *r, const char *path);         /* only the instances, and the seed */
const Do *instance_maker(const Desc *d, int inst);        /* the step that makes it; NULL: none */
const Model *instance_model(const Desc *d, int inst);      /* NULL if no step makes it */
char *state_key(const Run *r, int inst, int state);        /* the tensor's name in a checkpoint */
void instance_make(Run *r, int inst, int model, const char *name);       /* room for it */
void instance_drop(Run *r, int inst);

/* ---- memory.c: kept states as an object of their own */
bool memory_holds(const Desc *d, const Model *m, int state);             /* kept states, and those that a stream may move */
bool model_keeps(const Model *m);
void kept_copy(const Model *m, char *to, const char *from);              /* the kept states of an instance */
void memory_open(Run *r, bool schedule);                   /* for its run, or for generate or stream: reads --memory-load */
bool memory_begins(Run *r, int inst);                      /* true the first time */
bool memory_put(Run *r, int inst);                         /* what was loaded, if anything was */
void memory_moves(Run *r, int inst, const Generate *g);    /* what a stream moves becomes part of it */
void memory_note(Run *r, int inst);                        /* as it is now, it is to be saved */
void memory_note_rest(Run *r);                             /* also of instances that had no step */
void memory_write(Run *r);                                 /* --memory-save */

/* ---- tokens.c: a model that predicts the next token */
typedef struct {
    Run *r; const Generate *g; const Model *m; Instance *in; int inst;
    int64_t last;                /* token that the model has not been given yet; -1: none */
    int64_t seen;                /* tokens that it has been given */
    bool given;                  /* it has been given `last`, and logit is what it says of the next one */
    void *buffer, *raw;          /* tokens and logits of a call */
    double *acc, *logit;
    char *keep;                  /* kept states */
    int64_t *window, nwindow;
} Tokens;
int  tokens_instance(const Run *r, const char *name, const Generate **g);   /* g: what it does without --learning */
const Generate *tokens_learning(const Run *r, const Generate *g, const char *names);
void tokens_begin(Tokens *t, Run *r, int inst, const Generate *g);
const double *tokens_next(Tokens *t);                      /* logits of the token after the last */
const double *tokens_add(Tokens *t, int64_t token);        /* it has come; what was said of it (not of a first one, nor by windows), or NULL */
double tokens_nats(const Tokens *t, int64_t token);        /* -log softmax */
void tokens_note(Tokens *t);
void tokens_end(Tokens *t);

/* ---- generate.c: commands */
void generate_command(void *run);
void stream_command(void *run);

/* ---- options.c */
typedef enum { CMD_RUN = 1, CMD_INFO = 2, CMD_GENERATE = 4, CMD_STREAM = 8 } Command;
Command options_read(Run *r, int argc, char **argv);
#endif
