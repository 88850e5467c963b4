/* elab_int.h: what the files of elaboration share (elab*.c). */
#ifndef ELAB_INT_H
#define ELAB_INT_H
#include "elab.h"

typedef VEC(Node *) Nodes;
typedef VEC(Ast *) Asts;
typedef VEC(Value) ValueList;
typedef struct { uint8_t *in; uint32_t n; } NodeSet;       /* nodes by their ids */
typedef VEC(uint8_t) Kinds;                               /* of a region's formals or results */

typedef struct Inst Inst;
typedef struct Var Var;
typedef struct Use Use;
typedef struct Lvl Lvl;
typedef struct Elabmodel Elabmodel;

/* A definition with, perhaps, its arguments: the value of `adamw`, `adamw(1e-3)`, `Mlp(4, 8)`, `sum`. */
typedef struct Closure {
    Ast *def;                    /* D_FN D_BLOCK D_RULE D_STREAM D_MODEL; NULL for a builtin */
    const Builtin *builtin;
    bool given;                  /* arguments were given */
    int n; Value *arg; const char **argname; Loc *argloc;
    Loc at;
} Closure;

/* A name in a scope. A declared state or a rule's W is a reference: reading the name gives the state's current
   value. */
typedef struct Binding { const char *name; Value v; Var *var; bool fixed; Loc at; struct Binding *next; } Binding;
typedef struct LevelRec { const char *name; struct Lvl *lvl; struct LevelRec *next; } LevelRec;
struct Scope { Scope *parent; Binding *first; LevelRec *levels; int file; bool is_file, is_body; Loc at; };

/* The uses of W that its rule sees: x, u, w; NULL: it is used otherwise, and where, or the reason has been said. */
typedef struct Seen { Node *node[3]; bool otherwise; Loc at; } Seen;

/* A state while it is elaborated. */
struct Var {
    State *st;
    const char *name;            /* last part of the path */
    Value cur;                   /* its value now, in the entry under construction (axes: a rule's map axes are
                                    lowered) */
    Value born;                  /* its value at birth, in the init graph */
    Var *count, *gsum;
    Inst *inst;                  /* where it was declared */
    Clauses *cl; Scope *cl_scope;      /* its own clauses */
    Lvl *lvl;
    Node *in;                    /* its formal in this entry, NULL: not yet read */
    bool moves;                  /* may move in this entry */
    const char *moved_by; Loc moved_at; bool moved;      /* by which minimize, in this entry */
    Node *first;                 /* its value when first read in this entry */
    bool learn;                  /* rule states: declared with `learn` */
    Node *counted; uint16_t counted_axes;      /* the count after this item, in this entry */
    Event *event; Var *since;    /* every NAME; items since its last tick, for `mean` */
    Loc clock_at; Ast *when; bool when_sum; Value due;       /* every when c [sum]: whether this item ticks, once that
                                                                is known */
    bool ever_moved, ever_read, fixed;
    int lead, lead_at;           /* while a rule is mapped over leading axes: how many, and which map axis is the
                                    first */
    char wants;                  /* does its rule see the uses: 'y', 'n', 0: not yet known */
    int64_t use_tag;             /* of the stop through which it goes into products */
    Seen *seen; Var *rows[3];    /* in this entry; under `every n` the rows since the last update */
    /* states of inner levels: carries of the level's loop */
    bool inner, hidden, is_frozen;
    struct Frame *frame;         /* while its loop is open */
    Node *start, *final;         /* before and after the loop */
    int64_t block; Var *anchor; Node *at_block;      /* anchor, frozen: length, value at the block's start */
    uint16_t axes;               /* its map axes: a state for each lane */
    bool keep; Var *home;        /* kept: the carry of the enclosing loop in which it goes on */
    Lvl *until;                  /* and the level with whose context it ends (NULL: the model) */
};

/* An instance of a block, or of a model (the root). */
typedef struct { const char *name; Var *var; Inst *inst; Value list; } Member;
struct Inst {
    Ast *def; const char *path, *name; Inst *parent; Elabmodel *em; Loc at;
    Scope *scope;                /* parameters and declared names */
    Scope *call;                 /* of the last call, its parent is `scope` */
    Clauses *cl; Scope *cl_scope;      /* clauses on its declaration */
    Clauses *dflt; Scope *dflt_scope;  /* `default` in its body (models) */
    VEC(Member) member;
    VEC(Binding) init;           /* named initial values: W1 = a */
    int ndraws;
    const char *from; Ast **map; int nmap; Scope *from_scope; Loc from_at;   /* from FILE (..) */
    bool called, inner;
    Lvl *rule;                   /* of a rule's state: the rule at work */
};

/* A level in whose body we are: a model, or a rule at work on one tensor. */
typedef enum { L_MODEL, L_LEVEL, L_RULE, L_STREAM } LvlKind;

/* The loop of an inner level that has states, while its body is elaborated (elab_level.c). */
typedef struct { Node *operand, *formal; } FrameItem;
typedef struct Frame {
    struct Frame *parent; int depth;
    int axis; int32_t trip;      /* the item's map axis; number of items */
    uint32_t bit, mask;          /* its bit in node_frames(); with those of the frames around */
    uint16_t state_axes;         /* map axes of its states: a state for each lane */
    int64_t truncate, total;     /* total: items of the whole context */
    Node *index, *index64;       /* i32[] formal; i64[], counted over all parts, and over all contexts if the level is
                                    kept */
    Node *item64;                /* i64[], counted over the parts of this context */
    VEC(FrameItem) item; VEC(Var *) carry;
} Frame;

struct Lvl {
    LvlKind kind; Lvl *parent; int64_t tag;
    Elabmodel *em; Level *level;
    /* rules */
    Closure *rule; Var *w; Value g, t, use[3]; const Seen *looked; const char *path; bool g_given; int nest;
    Scope *run, *init;           /* the rule's scope, and the one in which its states are born */
    VEC(Var *) own;              /* rules: states declared so far */
    int ncalls; const char *calls[16]; int lead; Scope *params;
    uint16_t axes;               /* map axes that a moved value may have */
    struct Moved *set;           /* what the minimize at work moves (total) */
    bool asleep;                 /* an event ticks, and the rule waits for what acts on it */
    /* inner levels */
    /* inst: in whose body */
    Frame *frame; int axis; int64_t offset; Ast *ast; Inst *inst; Scope *outer, *decl, *body; Clauses *dflt;
    Binding *names; int nemit; Value emit[16]; int npieces; Value *pieces;
    bool keep; Lvl *home; Var *seen; Node *before;   /* kept: in which level, its items so far and their number before
                                                        this context */
    int64_t turn, parent_turn;   /* which run of its body, and in which run of its parent's */
    VEC(struct Flush *) flush;   /* what the last, shorter chunks of this part move */
    bool preview;                /* only the states as the level will start are asked for */
    int npast; Nodes past;       /* past(): how many in the body; the rows that the next part begins with */
};

/* The tensors that one minimize moves, for total(). */
typedef struct Moved { int n; Var **var; Value *w, *g, *due; } Moved;      /* due: V_NONE where the state moves at every
                                                                              item */

typedef enum { M_SCHED, M_INIT, M_STEP, M_STREAM, M_FINISH } Mode;

/* `stream M learning ..` of the schedule: what may move while M reads a stream. */
typedef struct { const char *names; int n; Var **var; Loc at; } Live;

/* A model definition with its arguments: one set of states, shared by all its entries. */
struct Elabmodel {
    Model *m; Closure *clo; const char *key; Inst *root;
    VEC(Var *) var;
    Var *step;
    Lvl lvl;
    Node *init_seed;
    VEC(struct Version *) version;
    VEC(Live) live;
    bool trained, broken;
};

typedef struct { Ast *ast; int acc; int wacc; } Avg;        /* an avg(..) in a report: numerator and denominator among
                                                               the accumulators */
typedef struct { const char *name; Loc at; Ast *ast; Scope *scope; int acc, nacc; int rank; int32_t dim[MAXDIM];
                 int first, navg; } Report;

/* One entry of a model under construction, or done. */
typedef enum { NO_TOKENS, WINDOW, TOKEN_BY_TOKEN } Tokens;    /* a version for generate: all at once, or one after the
                                                                 other */

typedef struct Version {
    const char *key; Elabmodel *em;
    Entry *step, *finish;
    Stream *stream; int64_t batch; bool train;
    Event *event;                /* this is the version in which it ticks */
    int errors;                  /* the count of errors when it was begun */
    VEC(Node *) acc;             /* f64[] sums; 0: items, 1: objective */
    VEC(Avg) avg;
    VEC(Report) report;
    VEC(const char *) names; VEC(Loc) name_loc;      /* reports as the runtime sees them */
    VEC(Node *) in; VEC(Bind) bind;                  /* formals made so far */
    Node *seed, *index, *count;
    Value mask, weight;          /* [B]: 1 or 0; mask / count */
    int nminimize; Value loss; bool batched; int from[16];
    bool lanes, streaming;       /* kept inner state goes on: lane by lane; item by item (generate, stream) */
    VEC(Var *) kept; Nodes kept_born; Entry *fresh;
    bool generates;              /* its entry gives out what it emits */
    Value emitted; bool emits;   /* the model's `emit` */
    VEC(Objective *) objective;
} Version;

typedef struct ModelInst { Elabmodel *em; const char *name; int id; } ModelInst;

/* What is under construction. */
extern struct El {
    Program *p; Mode mode; int main_file;
    Lvl *lvl; Version *v; Elabmodel *em; Inst *inst;
    Scope *finish_scope; Node *finish_acc; Report *finish_report;
    bool in_report;
    Frame *frame; VEC(Var *) inner;   /* the innermost open loop; states of inner levels in this entry */
    VEC(Use *) use;              /* products with states whose rules see them */
    int depth;                   /* of calls: recursion is an error */
} el;

/* elab.c */
Value v_def(Closure *c);
Value v_none(void);
Closure *closure_new(Ast *def, const Builtin *b, Loc at);
Scope *file_scope(int file);
Value eval_def(Ast *def, Loc at);
void  bind_names(Scope *s, Ast **names, int n, bool tuple, Value v, Loc at);
bool  bind_params(Scope *s, Ast *def, Closure *c);
int   walk_items(Value over, const Ast *e, int names, Value **items, Loc at);
int   list_items(Value v, Value **items, Loc at);       /* ranges and lists as arrays; -1 and a message */
Value eval_quiet(Scope *s, Ast *e);                     /* V_ERR without a message */
const char *v_text(Value v);                            /* canonical text: labels and keys */
Value v_call(Value f, int n, Value *arg, const char **name, Loc *argloc, Loc at, Scope *s);
bool  axes_fit(int more, Loc at);
bool  eval_flag(Scope *s, Ast *e, bool *known);         /* a condition known when compiling */

/* elab_call.c: functions, blocks, mapped calls */
Dt    elem_type(Ast *type, bool *ok);
bool  meet_type(Scope *s, Ast *p, const int32_t *dim, const char *what, Loc at);   /* binds dimension names or compares;
                                                                                      what: "this argument is" */
Value call_mapped(Ast *def, Scope *s, int n, Value *arg, Loc *argloc, Loc at, Value (*run)(Scope *, void *),
                  void *data);
Value call_fn(Closure *f, Loc at);
Value call_inst(Inst *i, int n, Value *arg, const char **name, Loc *argloc, Loc at);

/* elab_state.c: instances and states */
Inst *inst_new(Closure *c, const char *name, Inst *parent, Elabmodel *em, Loc at);
void  inst_declare(Inst *i);
void  declare(Inst *i, Scope *s, Ast *stmt);
Value inst_member(Inst *i, const char *name, Loc at);
Value inst_tuple(Inst *i, Loc at);
void  inst_vars(Inst *i, Var ***vars, int *n);
Var  *var_new(Elabmodel *em, const char *path, const char *name, StateKind kind, Dt dt, int rank, const int32_t *dim,
              Node *born, Loc at);
Value var_value(Var *v);                                /* current, or born in the init graph */
void  var_set(Var *v, Value x, Loc at);
Var  *var_of(State *st);
Var  *var_find(Elabmodel *em, const char *path);
Value init_value(Elabmodel *em, const char *path, Scope *s, Ast *stmt, Loc at, int *rank, int32_t *dim, Dt *dt);
int   live_vars(Var ***out);                            /* the model's states and those of open levels */
Value var_rule(Var *v, Loc at);
Ast  *var_with(Var *v, Scope **s);                      /* what it evaluates, where; NULL: no rule */
Var  *var_count(Var *v);
Scope *level_scope(Var *v, Scope *s);
Scope *call_scope(Inst *i, Scope *s);

/* elab_context.c: what a level runs over */
typedef struct { int n; Value v[16]; int32_t trip; int64_t offset; } Context;    /* each v: logical [trip, ...] */
bool  context_part(Scope *s, Ast *st, int part, Context *c);

/* elab_level.c: levels inside models, blocks, rules and streams */
uint32_t node_frames(Node *x);
void  warn_of_periods(void);                            /* every n and frozen n beyond the context */
bool  nodeset_add(NodeSet *s, const Node *x);           /* false: it was there */
void  frames_meet(int n, Value *v);                     /* before every operation of several operands */
Value frames_enter(Value v);                            /* inside the innermost loop: no item axes */
void  stmt_level(Scope *s, Ast *st);
Var  *inner_new(Lvl *l, const char *path, const char *name, StateKind kind, Value start, Dt dt, int rank,
                const int32_t *dim, Loc at);
void  carry_open(Frame *f, Var *v);
Node *state_count(Var *v);                              /* i64[]: the item's number since the state was born, from 1 */
Value level_step(Lvl *l);                               /* the same with the item's axis */
Lvl  *level_find(Scope *s, const char *name);
Value level_state(Lvl *l, const char *name, Loc at);
/* of a level that has not run in this item */
bool  level_before(Scope *s, Inst *i, const char *level, const char *name, Loc at, Value *v);
Value call_join(Scope *s, Ast *e);
Value call_past(Scope *s, Ast *e);

/* elab_clock.c: when states move */
typedef struct { int n; Var **var; Node **before; } Snap;
void  add_node(Nodes *v, Node *x);
void  add_value(Nodes *v, Value x);
void  add_scope(Nodes *v, Scope *s);
Snap  snap_begin(void);                                 /* what moves from here .. */
void  snap_end(Snap snap, Value due, Nodes *cut);       /* .. moves only if due; cut: values that are there anyway */
Value is_due(Value count, int64_t n);                   /* n divides count */
uint16_t lanes(const Var *v);
void  raise_lead(Value *v, int n);
Value raised(Var *v, Node *n);                          /* n, stored like v, as its rule sees it */
Clauses *clock_clauses(Var *v, Scope **s);
void  var_clock(Var *v);                                /* reads its clauses */
Value clock_due(Var *v);                                /* every when c: c at this item */
Value condition(Scope *s, Ast *e);                      /* one truth value; V_ERR after a message */
Node *tick_count(Var *v);                               /* i64: the updates of a state under `every when`, with the next
                                                           one */
void  tick_counted(Var *v, Node *count, Loc at);
void  tick_assigned(Var *v, Value due, Loc at);         /* the same for `<-` */
Var  *gradient_sum(Var *v, Node *g, Loc at);
Node *gradient_since(Var *v);                           /* every NAME: what its rule receives when it ticks */
Node *when_due(Var *v, Value due, Node *old);           /* v's value, or the old one where it is not due */

/* elab_event.c: events */
void  event_declare(Inst *i, Scope *s, Ast *st);
Event *event_find(Elabmodel *em, const char *name, Loc at);
bool  in_event(void);                                   /* an event ticks: this is its version */
bool  event_ticks(const Event *e);                      /* this one */
bool  event_fits(const Var *v, const Event *e, Loc at);
bool  event_lets(Var *v);                               /* may `<-` move v? */
void  event_block(Scope *s, Ast *st, const Event *e);
Node *no_gradient(const Var *v);                        /* what a rule that sleeps gets for g, and for x, u, w */
void  no_uses(Var *v, Value *use);
bool  event_value(Node *x, Loc at);
bool  event_arguments(const Closure *c);                /* of a rule that runs when it ticks */
void  event_entries(Elabmodel *em);

/* elab_learn.c: minimize, rules */
void  stmt_minimize(Scope *s, Ast *st);
void  flush_states(Lvl *l, Node *last);                 /* when its context ends: last is true at the last item */
void  stmt_move(Scope *s, Ast *st);
void  stmt_every(Scope *s, Ast *st);
bool  apply_rule_call(Scope *s, Value f, int n, Value *arg, Loc at);     /* a statement `adamw(lr)(W, e)` */
Value eval_total(Scope *s, Ast *call);
void  rule_declare(Scope *s, Ast *st);
Var  *rule_part(Inst *in, Scope *s, Ast *st, Ast *name);   /* a state of an instance in a rule */

/* elab_uses.c: x, u, w */
Value uses_product(Value a, Value b, Loc at);           /* a @ b */
Value uses_linear(Value m, Value x, Loc at);            /* m(x) */
void  uses_close(Frame *f, Nodes *res, Kinds *kind);    /* before and after the loop of f is made */
void  uses_closed(Frame *f, Node *const *out);
bool  uses_wanted(Var *v);                              /* does its rule see them? */
int   uses_taps(Var *v, Nodes *taps);                   /* the nodes at which the gradient is w u; their number */
void  uses_seen(Var *v, Node *w, Node *e, int64_t tag, Node *const *du);
void  uses_gather(Var *v, Loc at);                      /* the rows since the last update */
void  uses_left(Var *v, int64_t count);

/* elab_model.c: versions */
Elabmodel *model_get(Closure *c, Loc at);
Version *version_get(Elabmodel *em, Stream *s, int64_t batch, bool train, bool lanes, int nlearn, Var **learn, Loc at,
                     int *from);
void  stmt_report(Scope *s, Ast *st);
Value batch_mean(Value v, Loc at);
Value eval_avg(Scope *s, Ast *call);
Node *formal_new(Dt dt, int rank, const int32_t *dim);   /* a fresh formal */
Node *entry_in(Version *v, BindKind kind, int index, Dt dt, int rank, const int32_t *dim);
Entry *entry_close(const char *name, Model *m, int nin, Node **in, const Bind *bind, int nout, Node **out,
                   const Bind *obind, Loc at);
void  models_finish(void);
Entry *version_event(const Version *as, Event *e);
Version *version_make(Elabmodel *em, Stream *s, int64_t batch, bool train, bool lanes, Tokens tokens, int nlearn,
                      Var **learn, Loc at, int *from);

/* elab_gen.c */
void  generate_entries(void);                           /* for models that emit the next token */

/* elab_stream.c */
Value stream_value(Scope *s, Ast *e);                   /* `window`, `when`, mix, readers; V_ERR if e is none of
                                                           these */
Value stream_call(Closure *c, Loc at);
Value stream_slice(Value s, Ast *ix, Scope *sc);
bool  is_reader(const char *name);
Value stream_cat(Value a, Value b, Ast *sum);

/* elab_sched.c */
void  schedule_run(Scope *s, Ast **body, int n);

/* elab.c */
Value exec(Scope *s, Ast **body, int n, bool *done);    /* statements; the value of the last expression */
#endif
