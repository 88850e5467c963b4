/* program.h: what elaboration makes of a file: models with their states, entries (closed regions that become functions),
   streams, and the schedule, unrolled into a list of steps.  program.c writes it as JSON for the runtime (runtime/nlrt.h
   documents every field of that JSON: the two files say the same thing twice, once for each side). */
#ifndef PROGRAM_H
#define PROGRAM_H
#include "graph.h"
#include "ast.h"

/* What a formal or a result of an entry's region is bound to. */
typedef enum {
    B_STATE,    /* state `index` of the model (in and out) */
    B_FIELD,    /* in: input buffer `index` (field of the item, stacked over the batch; accumulators; report values) */
    B_OUT,      /* out: output buffer `index` */
    B_COUNT,    /* in: i64[], items present in this batch */
    B_INDEX,    /* in: i64[], number of the stream's item */
    B_SEED,     /* in: i64[], the program's seed */
} BindKind;
typedef struct { BindKind kind; int index; } Bind;

typedef struct Entry {
    const char *name;            /* "Nested.train.100", unique; becomes the function's name */
    Region *r;                   /* all kinds K_CAPTURE in, K_STACK out (kinds carry no meaning here); shapes as seen by the runtime */
    Bind *in, *out;              /* r->np, r->nr of them */
    Node **source;               /* r->np: what each formal is called in the objectives' nodes; NULL: the formals themselves */
    int id;                      /* position in Program.entry */
    struct Model *model;         /* or NULL */
    /* filled by emit (0 before): */
    int64_t arena, scratch, work;   /* bytes shared, bytes per thread, about how many multiply-adds a call does */
    /* for gradcheck, graph and explain: what was differentiated in here */
    VEC(struct Objective *) objective;
} Entry;

typedef struct Objective {
    const char *name; Loc loc;
    Node *e; int nw; Node **wrt, **grad; struct State **state; int64_t tag;
} Objective;

typedef enum { ST_LEARN, ST_STATE, ST_RULE, ST_COUNT, ST_GSUM } StateKind;   /* ST_RULE: a rule's own; ST_COUNT: a clock; ST_GSUM: gradients added up under `every n` */

typedef struct State {
    const char *path;            /* "Nested.hidden.fast", "Simple.W1.m" */
    StateKind kind; Dt dt; int rank; int32_t dim[MAXDIM]; Loc loc;
    int id;                      /* position in Model.state */
    int64_t every; bool mean;    /* its clock: items per update; 0: it ticks on an event */
    const char *clock;           /* then: "every when c sum" */
    struct State *count;         /* the counter of items (ST_COUNT), or NULL */
    struct State *of;            /* ST_RULE, ST_COUNT, ST_GSUM: the state it serves */
    struct Level *level;
    const char *rule;            /* text of its rule, for the level table; NULL for `<-` */
    Node *init;                  /* its value at birth, in the model's init region */
    bool kept;                   /* inner state that goes on from item to item of the model */
    bool read, moved;            /* seen in some entry (the level checks) */
} State;

/* How levels exchange knowledge. */
typedef enum { TR_PARAMETRIC, TR_OUTPUT, TR_BACKPROP, TR_INIT, TR_GENERATION } TransferKind;
typedef struct { TransferKind kind; const char *what, *to; } Transfer;    /* what: a state's path, an objective, "its output"; to: whom it reaches */
typedef struct { State *st; const char *clock, *rule; bool keep; } InnerState;    /* a state of a level inside, or of its rule */

/* A level of the graph: what learns together, in one context, at one frequency. */
typedef struct Level {
    const char *name;            /* "Nested", "Nested.hidden" */
    const char *context;         /* "batch of (x, y)", ... */
    int64_t every; const char *clock;  /* of its states */
    int depth; struct Level *parent; Loc loc;
    const char *objective;       /* text, or NULL where states move by <- */
    const char *rule; bool learned; struct Inst *inst;
    /* levels inside the item (Model.inside): name is the path, parent the level around, NULL: the model */
    int items; const char *lives;      /* of its context, at most; kept: the level in whose context its states live on, or the model */
    VEC(InnerState) inner; VEC(Transfer) transfer; VEC(Node *) result;
    bool emitted;                      /* what it gives goes on to what is around the level around */
} Level;

/* What a schedule ticks between a model's steps: states -> states. */
typedef struct Event { const char *name; Loc loc; bool ticked; Loc ticked_at; Entry *entry; VEC(State *) moved; } Event;

typedef struct Model {
    const char *name;            /* "Simple" */
    const char *label;           /* "Mnist(adamw(0.001))": with its arguments as written */
    const char *context;         /* "(x : [2], y : [])": its fields as declared */
    int id; Loc loc;
    VEC(State *) state;
    VEC(Level *) level;
    VEC(State *) inner;          /* states of levels inside the item: for the level graph */
    VEC(Level *) inside;         /* levels inside the item, in program order */
    VEC(Event *) event;
    Entry *init;                 /* in: SEED; out: every state */
    struct Elabmodel *em;        /* elaboration's own */
} Model;

typedef struct { const char *name; Dt dt; int rank; int32_t dim[MAXDIM]; Loc loc; } Field;

typedef enum { SM_CSV, SM_IDX, SM_NPY, SM_TEXT, SM_GEN, SM_MAP, SM_SLICE, SM_WHEN, SM_CAT, SM_MIX, SM_WINDOW } StreamKind;
typedef struct Stream {
    StreamKind kind; int id; Loc loc;
    const char *name;            /* canonical: "permuted(heldout, 3)"; the label in tables */
    const char *def;             /* readers: the name it was declared under (--NAME PATH) */
    VEC(const char *) path;      /* readers: as found (absolute or as written) */
    VEC(Field) field;
    VEC(struct Stream *) src;
    VEC(double) weight;          /* MIX */
    VEC(int) take;               /* MAP, WHEN: for each input of the entry the field of src it reads */
    Entry *entry;                /* GEN, MAP: in INDEX, SEED, FIELDs (of src, `take`); out: fields.  WHEN: out: bool[] */
    Entry *once;                 /* or NULL: in SEED; its outputs are FIELDs of `entry` behind `take`; called when the stream is opened, and for each seed */
    int64_t lo, hi; bool lo_pct, hi_pct, hi_open;   /* SLICE: items lo..hi-1, or percent of all; hi_open: to the end; negative counts from the end */
    int64_t n, step; bool anywhere;                 /* WINDOW */
} Stream;

typedef struct { const char *name; const char *text; } LoopVar;   /* the loop variables around a step and their values as written */

typedef enum { DO_NEW, DO_COPY, DO_TRAIN, DO_TEST, DO_TABLE, DO_SEED, DO_TICK } DoKind;
typedef struct Do {
    DoKind kind; Loc loc;
    int inst, from;              /* which instance (a number); COPY: from */
    Model *model;                /* NEW */
    const char *name;            /* the instance's name in the schedule: the label in tables */
    Entry *entry, *finish;       /* TRAIN, TEST: the step; finish: accumulators f64[naccs] -> reports f64[nreports] */
    int naccs; VEC(const char *) report; VEC(Loc) report_loc;
    VEC(Field) field; VEC(int) field_from;      /* TRAIN, TEST: the entry's inputs: names and types, and the stream's field for each */
    Stream *stream; int64_t batch, count; bool epochs, shuffled, carry, lanes;
    Entry *fresh;                /* TRAIN, TEST: births of the kept states, or NULL */
    Entry *until;                /* in: FIELD 0 = reports f64[nreports]; out: bool[] */
    bool learning;               /* TEST: some states move */
    VEC(LoopVar) var;
    /* TABLE */
    const char *title, *rows, *cols, *cells; bool lower;
    Entry *value;                /* in: FIELD 0 = f64[nnames] reports by name; out: f64[] */
    VEC(const char *) names;
    int64_t seed;                /* SEED: added to the program's seed (repeat) */
    Event *event;                /* TICK; its entry is `entry` */
    int repeat;                  /* inside `repeat N seeds`: which one, from 0; else -1 */
} Do;

/* A model that can go on with a sequence of tokens (elab_gen.c). */
typedef struct {
    Model *model; Entry *entry, *fresh; int32_t rows, lag; int64_t classes; bool window, ahead;
    const char *learning;        /* the names of `stream M learning ..`; NULL: the model's own state stays as it is */
} Generate;

typedef struct Program {
    const char *source; const char *dir; bool f64;
    VEC(Model *) model; VEC(Entry *) entry; VEC(Stream *) stream; VEC(Do *) todo; VEC(Generate *) generate;
    int ninst;
} Program;

const char *clock_text(const State *s);               /* levels.c: "every 8 mean" */

/* ---- program_layout.c: where states lie in an instance: each begins at a multiple of 64 bytes, in order. */
int64_t state_bytes(const State *s);
int64_t state_offset(const Model *m, int state);
int64_t model_bytes(const Model *m);                  /* of an instance, a multiple of 64 */
#endif
