/* ops.h: the row of an operation: everything that the graph, the evaluator, the dump and the verifier know about it.
   To add an operation: a line in ops.def, a row in ops.c, an adjoint in grad.c, a kernel in the emitter. */
#ifndef OPS_H
#define OPS_H
#include "graph.h"

typedef enum { G_LEAF, G_ELEM, G_VIEW, G_MOVE, G_REDUCE, G_CONTRACT, G_STRUCT, G_TAG } Group;

/* Which attributes belong to a node's identity; node() clears the others. */
enum {
    A_VALUE = 1, A_K = 2, A_AXIS = 4, A_AXES = 8, A_MAP = 16, A_RANGE = 32 /* start, step */, A_LABELS = 64,
    A_SITE = 128, A_DATA = 256,
    A_REGION = 512, A_REVERSE = 1024,
};

typedef struct OpRow {
    const char *name; int arity; Group group;
    unsigned attrs;
    /* fills in dt, rank and dim, or checks those given; NULL, or what is wrong */
    const char *(*infer)(Node *x);
    /* Elementwise: n elements of operands of one type; by the type of operand and result */
    void (*ff)(int64_t n, double *o, const double *a, const double *b);
    void (*ii)(int64_t n, int64_t *o, const int64_t *a, const int64_t *b);
    void (*fi)(int64_t n, int64_t *o, const double *a, const double *b);
    /* Everything else (sizes are in the tensors); LOOP, COND and OUT are eval.c's own */
    void (*eval)(const Node *x, Tensor *const *in, Tensor *out, EvalStatus *st);
} OpRow;
extern const OpRow op_row[NOPS];

/* kernels.c */
/* any elementwise node, from its row */
void elem_eval(const Node *x, Tensor *const *in, Tensor *out, EvalStatus *st);
void tensor_round(Tensor *t);               /* f32: to float, i32 u32 u8: wrapped around */
#define EVAL(name) void name(const Node *x, Tensor *const *in, Tensor *out, EvalStatus *st)
EVAL(eval_const); EVAL(eval_iota); EVAL(eval_data); EVAL(eval_cast); EVAL(eval_select); EVAL(eval_bits);
EVAL(eval_bcast);
EVAL(eval_perm); EVAL(eval_copy); EVAL(eval_slice); EVAL(eval_pad); EVAL(eval_window); EVAL(eval_fold);
EVAL(eval_concat);
EVAL(eval_gather); EVAL(eval_scatter); EVAL(eval_cumsum); EVAL(eval_argsort); EVAL(eval_sum); EVAL(eval_maxr);
EVAL(eval_argmax);
EVAL(eval_contract);
#define KERNEL1(name) void ff_##name(int64_t n, double *o, const double *a, const double *b); \
                      void ii_##name(int64_t n, int64_t *o, const int64_t *a, const int64_t *b)
#define KERNELF(name) void ff_##name(int64_t n, double *o, const double *a, const double *b)
#define KERNELC(name) void fi_##name(int64_t n, int64_t *o, const double *a, const double *b); \
                      void ii_##name(int64_t n, int64_t *o, const int64_t *a, const int64_t *b)
KERNEL1(neg); KERNEL1(abs); KERNEL1(sign); KERNEL1(floor); KERNEL1(add); KERNEL1(sub); KERNEL1(mul); KERNEL1(min);
KERNEL1(max);
KERNEL1(idiv); KERNEL1(mod);
KERNELF(sqrt); KERNELF(exp); KERNELF(log); KERNELF(sin); KERNELF(cos); KERNELF(tanh); KERNELF(sigmoid); KERNELF(erf);
KERNELF(div);
KERNELF(pow);
KERNELC(lt); KERNELC(le); KERNELC(eq);
void ii_not(int64_t n, int64_t *o, const int64_t *a, const int64_t *b);
void ii_and(int64_t n, int64_t *o, const int64_t *a, const int64_t *b);
void ii_or(int64_t n, int64_t *o, const int64_t *a, const int64_t *b);

/* graph.c, for algebra.c and eval.c */
Node *simplify(const Node *x);              /* algebra.c: an equal node made of others, or NULL */
bool  same_shape(const Node *a, const Node *b);
bool  same_type(const Node *a, const Node *b);        /* type and shape */
int64_t int_wrap(Dt dt, int64_t v);
Region *region_intern(const Region *r);
void regions_reset(void);
void sites_reset(void);
void eval_forget(void);                     /* eval.c: frees what it keeps per region */
void check_region(const Region *r, const char *after, bool deep);   /* verify.c; deep: the regions inside too */
/* a rule of the graph was broken: an error of the compiler */
void graph_fail(const Node *x, const char *what) __attribute__((noreturn));

/* A map from pointers; malloc'ed; never iterated (order of addresses must not be seen in the output). */
typedef struct { const void **key; void **val; int cap, n; } PtrMap;
void **ptrmap_at(PtrMap *m, const void *key);         /* the slot of key, NULL in it if new */
void  *ptrmap_get(const PtrMap *m, const void *key);  /* or NULL */
void   ptrmap_free(PtrMap *m);
#endif
