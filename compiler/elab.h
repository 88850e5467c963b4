/* elab.h: elaboration turns the tree into tensor graph by evaluating it: names are bound to Values, some known when
   compiling (numbers, lists, functions, instances), some tensors of the graph.

   MAP AXES. A model's body runs once per item of the batch, a function declared for [d] and called with [T, d] once per
   row. Instead of loops, a Value carries the axes it is mapped over: the elaborator keeps a stack of map axes (batch
   outermost); bit i of Value.axes says that the node has stack axis i in front of its logical shape. Axes stand in
   stack order, so the node's shape is [sizes of its map axes..., logical dims...]. An operation on values of different
   axes lines them up; a product of a mapped and an unmapped operand is one big product. The user only ever sees logical
   shapes. */
#ifndef ELAB_H
#define ELAB_H
#include "program.h"

typedef enum {
    V_ERR,       /* an error was reported; whatever meets it is V_ERR, silently */
    V_NONE,      /* no value (a body without a result) */
    V_NUM,       /* a number known when compiling: exact integer, real, or bool */
    V_STR,
    V_TENSOR,    /* node, axes */
    V_LIST,      /* elem[n]; tuple */
    V_DEF,       /* a function, block, rule, model, stream or builtin, perhaps with its arguments already given
                    (gd(0.1)) */
    V_INST,      /* an instance of a block */
    V_STREAM,
    V_MODEL,     /* an instance of a model in a schedule */
    V_PAIR,      /* key: value, in calls */
    V_PERCENT,   /* 90% */
    V_EVENT,     /* of a model */
} VKind;
typedef enum { N_INT, N_REAL, N_BOOL } NumKind;

typedef struct Value Value;
struct Value {
    VKind kind;
    NumKind nk;                  /* V_NUM */
    bool weak;                   /* V_TENSOR: made of `step`, `t` and constants alone: f64, becomes the float type of
                                    what it meets */
    bool tuple;                  /* V_LIST */
    uint16_t axes;               /* V_TENSOR */
    int n;
    union {
        double num;              /* V_NUM (N_REAL), V_PERCENT */
        int64_t inum;            /* V_NUM (N_INT, N_BOOL) */
        Node *node;
        Value *elem;
        const char *str;         /* V_STR; V_NONE: the level that emits nothing, or NULL */
        struct Closure *clo;
        struct Inst *inst;
        Stream *stream;
        struct ModelInst *minst;
        struct Event *event;
    };
    struct State *state;         /* V_TENSOR: this is the current value of that state, named as such (wrt, W.m,
                                    copies) */
    Loc loc;                     /* where it was computed */
};

/* The stack of map axes. */
typedef struct { int n; int32_t size[MAXDIM]; } Axes;
extern Axes axes;
int  axis_push(int32_t size);    /* returns its index */
void axis_pop(void);

/* ---- tensor.c: the language's operations on Values, with its shape and type rules and messages */
Value v_err(void);
Value v_int(int64_t i);
Value v_real(double x);
Value v_bool(bool b);
Value v_tensor(Node *n, uint16_t axes);
Value v_list(int n, Value *elem, bool tuple);
bool  v_is_num(Value v);                              /* V_NUM, or V_TENSOR that is a rank 0 constant */
bool  v_number(Value v, double *x);                   /* the number it is when compiling */
bool  v_integer(Value v, int64_t *i);
bool  v_shape(Value v, int *rank, int32_t *dim);      /* logical shape of a number, tensor, or list of equal shapes;
                                                         false: has none */
Dt    v_dt(Value v);                                  /* type as a tensor: V_NUM int -> I32, real -> float_dt, bool ->
                                                         BOOL */
Dt    float_dt(void);                                 /* F32 or F64 (opt.f64) */
const char *v_show(Value v);                          /* for messages: "a tensor [3, 4]", "the number 3", "the rule
                                                         gd" */
const char *v_dims(Value v);                          /* "[3, 4]" */
Value v_as_tensor(Value v, Loc at);                   /* number -> constant, list of equal shapes -> stacked; V_ERR and
                                                         a message otherwise */
Value v_as_float(Value v, Loc at);                    /* the same, in the default float type (bool and integers
                                                         converted; weak f64 -> float_dt) */
Node *v_full(Value v, uint16_t want, int rank, const int32_t *dim);   /* the node with exactly these map axes and this
                                                                         logical shape (stretched) */
Value v_unary(int op, Value a, Loc at);               /* Ast's op: '-' 'n' '\'' */
Value v_binary(int op, Value a, Value b, Loc at);     /* Ast's op, with `@`; exact on integers known when compiling */
/* of: text of what it is an index of, or NULL */
typedef struct { enum { IX_AT, IX_SLICE, IX_NEW } kind; Value at; bool has_from, has_to; Value from, to; Loc loc;
                 const char *of; } Index;
Value v_index(Value base, int n, const Index *ix, Loc at);            /* tensors and lists; computed indices become
                                                                         gathers */
Value v_select(Value c, Value a, Value b, Loc at);
Value v_elem(Op op, Value a, Loc at);                 /* one elementwise operation in floats */
Value v_sum_all(Value a, Loc at);
Value v_stretch(Value v, int rank, const int32_t *dim, Loc at, const char *what);   /* to a declared shape; sizes of 1
                                                                                       and missing axes stretch */
Value v_convert(Value v, Dt dt, Loc at);              /* to an element type */
Value v_lower_axis(Value v, int axis);                /* the map axis `axis` (the innermost) becomes the leading logical
                                                         axis */
Value v_raise_axis(Value v, int axis);                /* the leading logical axis becomes map axis `axis` (the
                                                         innermost) */
bool  v_equal_shape(Value a, Value b);                /* both have a logical shape, and the same */
Value v_linear(Value m, Value x, Loc at);             /* a matrix called like a function: m @ x for every row of x */

/* ---- builtins.c: functions that need no context (sum, softmax, gather, zeros, ...) and the draws */
typedef struct Builtin Builtin;
const Builtin *builtin_find(const char *name);        /* NULL if there is none */
const char *builtin_name(const Builtin *b);
const char *const *builtin_names(int *n);             /* for suggestions */
/* args: positional then named; name[i] is NULL for a positional one. */
Value builtin_call(const Builtin *b, int n, const Value *arg, const char *const *name, Loc at);

/* Where draws get their numbers (elab.c sets it): bits(seed, step, item, element; word, site). */
typedef struct {
    Node *seed, *step;           /* i64[]; seed NULL: no draws here (a message) */
    Node *item; uint16_t item_axes;   /* i64[axes]: lane or item number */
    const char *path;            /* hashed with ndraws into the site */
    int ndraws;
} DrawContext;
extern DrawContext draws;
uint64_t hash_text(const char *s, uint64_t h);

/* ---- elab.c: names, definitions, instances, states, objectives */
typedef struct Scope Scope;
Value eval(Scope *s, Ast *e);                         /* an expression */
Scope *scope_new(Scope *parent, Loc at);
void  scope_bind(Scope *s, const char *name, Value v, Loc at);
bool  scope_find(Scope *s, const char *name, Value *v);
#endif
