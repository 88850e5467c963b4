/* plan.h: what emission walks without decisions. A region becomes a sequence of steps (kernel calls, branches, loops) over
   buffers. A kernel says by itself all there is to know about one loop nest, product or move: equal kernels are one function.

   VAL   a value that some kernel computes, or a leaf: the plan's node. Views are no values: a VIEW is a value, an offset and a
         stride for every axis (in elements of the value's layout; for IOTA the "layout" is the number itself).
   GROUP vals that one kernel computes: a nest over the axes F (sizes of 1 are dropped) of which R are summed: a member has the
         shape F (full) or F without R (outer). Inner axes run as passes: a value that follows from a reduction of pass p
         belongs to pass p + 1.
   BUF   a piece of memory: in a block (arena of a region), a state, an input, an output, constant data. */
#ifndef PLAN_H
#define PLAN_H
#include "program.h"
#include "emit.h"

typedef enum { SP_BLOCK, SP_STATE, SP_IN, SP_OUT, SP_CALL, SP_DATA, SP_ITEM, SP_INDEX, SP_SCRATCH, SP_STATUS } Space;

typedef struct Buf Buf;
struct Buf {
    Space space;
    Buf *in;                     /* SP_BLOCK: the block it lies in (NULL: this is the arena itself); SP_ITEM: what it is a part of */
    int64_t offset, bytes;       /* SP_STATE, SP_BLOCK, SP_CALL, SP_SCRATCH: place in bytes; SP_ITEM: place at t = 0 */
    int index;                   /* SP_IN, SP_OUT */
    int64_t step;                /* SP_ITEM: bytes from one t to the next */
    struct Step *loop;           /* SP_ITEM, SP_INDEX: whose t */
    Node *data;                  /* SP_DATA */
    int first, last;             /* levels of its region at which it is in use */
    bool placed;
};

/* What stands in a nest besides graph operations. */
/* ACCUM: a store that adds up (inum: SUM, MAXR) over the loops it has stride 0 in. JOIN: behind the vector loop, a store of what
   an ACCUM (in[0]) left in NEST_LANES lanes. */
enum { I_LOAD = NOPS, I_STORE, I_ACCUM, I_JOIN, I_COPY, I_OPS };
enum { NEST_LANES = 16 };        /* of sums along vectors */

typedef struct {
    uint16_t op; uint8_t dt;
    bool full;                   /* inside the passes' loops */
    int pass;
    int in[4], nin;
    int operand;                 /* LOAD STORE GATHER PAD: which pointer; BITS: that to its site */
    int64_t *stride;             /* per loop: LOAD STORE GATHER PAD (of the element), IOTA (of the value) */
    double num; int64_t inum;    /* CONST; IOTA: value at 0; GATHER: stride of the gathered axis */
    int64_t limit;               /* GATHER: size of the gathered axis; BITS: which word */
    uint64_t site;               /* GATHER */
    bool lanes;                  /* ACCUM: over the vector loop: each lane for itself, NEST_LANES elements apart */
    const struct PadAxis *pad; int npad;
} Ins;
typedef struct PadAxis { int loop; int64_t start, step, n, stride; } PadAxis;   /* inside: loop = start + step * (0..n-1), which counts elements of the operand */

typedef struct {
    int no, ni;                  /* outer and inner (summed) loops, outermost first */
    int64_t dim[MAXDIM];         /* no + ni of them */
    bool vec_inner;              /* the vector axis is the last inner loop, else the last outer one */
    int npass, slots;            /* slots > 1: the sums are left in that many parts */
    int nins; Ins *ins;
    int noperand;
    bool solo;                   /* so small that thread 0 does it all */
    int split;                   /* the loop that threads share, -1: none; cuts fall on multiples of grain */
    int64_t grain;
} Nest;

typedef enum { KN_NEST, KN_CONTRACT, KN_JOIN, KN_SCATTER, KN_FOLD, KN_CUMSUM, KN_ARGSORT, KN_ARGMAX } KernelKind;

/* The irregular ones: dense result, operands at any strides. */
typedef struct {
    Op op; Dt dt;
    int rank; int64_t dim[MAXDIM];        /* of the first operand (SCATTER: d) */
    int64_t sx[MAXDIM], si[MAXDIM];       /* its strides; of the index */
    int axis, nb, ni;                     /* SCATTER: leading batch axes, axes of the index after them */
    int64_t n, k; bool reverse;           /* size of the axis of the result; FOLD: window */
    int64_t site;
    Dt idt;
    bool solo;
    int64_t size;                         /* elements of the result */
} Move;

typedef struct {
    KernelKind kind;
    Nest nest; ContractSpec contract; Move move;
    int slots; Op join; Dt dt;   /* JOIN */
    int noperand;
    int64_t scratch;             /* bytes of scratch of a thread, the last operand (CONTRACT) */
    bool solo;
    const char *key;             /* all of the above as text */
    LLVMValueRef fn;             /* emission */
} Kernel;

/* slices > 0: what the threads touch lies apart, thread t has its share of so many slices of so many bytes each. Where two
   steps agree in this, each thread meets what it wrote itself, and no barrier is needed between them. */
typedef struct { Buf *buf; int64_t offset; bool read, write; int64_t slices, bytes; } Arg;     /* offset in bytes */

typedef enum { STEP_KERNEL, STEP_IF, STEP_FOR } StepKind;
typedef struct Step Step;
typedef struct Seq { VEC(Step *) step; Buf *block; bool meet; } Seq;     /* meet: as a loop's body, it needs a barrier between turns */
struct Step {
    StepKind kind;
    bool solo;                   /* thread 0 alone */
    bool barrier;                /* before it */
    int level;
    const void *apart;           /* steps of one group that write parts of one buffer */
    Kernel *kernel; int narg; Arg *arg;     /* IF: arg[0] is the predicate; IF, FOR: arg[1..]: all they touch, for barriers */
    Seq *body[2];
    int64_t trip; bool reverse;
    bool indexed;                /* FOR: the body reads t */
    bool shared;                 /* FOR: each thread goes through some of the turns, alone, with the body's block in its own scratch */
    LLVMValueRef t, tvar;        /* emission: t, and where it is stored for the body (i32) */
};

typedef struct {
    Entry *entry;
    Seq *seq;
    int64_t arena, scratch, work;
    bool solo;                   /* no step needs a second thread */
    int alone;                   /* how many loops are around what is planned whose turns are a thread's own */
} EntryPlan;

typedef struct Plan {
    Program *program;
    const Target *target;
    VEC(Kernel *) kernel;
    VEC(EntryPlan *) entry;
    VEC(Buf *) site;             /* keys of draws, as constant data: kernels that differ in them only are equal */
} Plan;

/* plan.c */
extern int64_t plan_solo_work;                       /* operations that one thread does sooner than a team; tests set it to 0 */
Plan *plan_program(Program *p, const Target *t);
EntryPlan *plan_entry(Plan *plan, Entry *e);
void plan_print(const Plan *p, FILE *to);             /* plan_print.c */

/* ---- between the files of the plan */
typedef struct Val Val;
typedef struct Group Group;
typedef struct { Val *val; int64_t off; int64_t stride[MAXDIM]; } View;

struct Val {
    uint16_t op; uint8_t dt;
    Node *node;                  /* attributes */
    int rank; int32_t dim[MAXDIM];        /* the axes it is computed over (its operand's for COPY, RESHAPE) */
    int nin; View *in;           /* on its own axes (reductions: on the operand's axes; CONTRACT and the moves: on each operand's) */
    uint32_t axes;               /* reductions: which of its axes are summed */
    int64_t gstride; int32_t glimit;      /* GATHER: stride and size of the gathered axis */
    Group *group;                /* NULL: a leaf */
    Buf *buf; int64_t base;      /* where it is (leaf), or where it is stored; first element */
    bool stored, pure;           /* pure: CONST or IOTA */
    bool across;                 /* a reduction over outer loops: added up in memory, complete when the kernel is */
    bool row;                    /* kept for later passes in the thread's scratch: the inner axes only */
    int64_t row_at;              /* its place there */
    int pass; bool full;         /* in its group: the pass that computes it, or (not full) that it comes before */
    int last;                    /* the last pass that computes it (again) */
    int cost, ins_pass, ins;     /* building the nest */
    uint64_t hash;               /* what it computes, not from where */
    Val *again;                  /* which val this one repeats */
    Buf *slots;                  /* where the parts of a sum in slots lie */
    int id;
};

typedef enum { G_NEST, G_CONTRACT, G_CONCAT, G_MOVE, G_COND, G_LOOP } GroupKind;
struct Group {
    GroupKind kind;
    int id, rank; int32_t dim[MAXDIM];    /* F, without sizes of 1 */
    uint32_t inner;              /* R */
    VEC(Val *) val;
    uint64_t *deps;              /* closure: groups that come before, as bits */
    int slots, level, npass;
    int nagain;                  /* the first vals are computed here again */
    bool dead;                   /* merged into another */
    bool alone;                  /* one thread must do it: something is added up along the first axis */
    Node *node;                  /* COND, LOOP */
    VEC(View) reads;             /* COND, LOOP, CONCAT: operands */
    VEC(Val *) out;              /* COND, LOOP: results */
    Step *step;                  /* LOOP, COND: made before its body is planned */
    VEC(Buf *) carry; VEC(View) carry_from; VEC(Node *) carry_node;      /* LOOP: its states, their first values, their types */
};

typedef struct Rplan {
    Plan *plan; EntryPlan *entry;
    Region *region;
    struct Info { Node *node; View view; } *info; int ninfo;      /* open hash by node */
    VEC(Group *) group;
    VEC(Val *) val;
    int words;                   /* of a deps set */
    View *formal;
    Buf **result; View *rview;   /* where results go, and what they are */
    VEC(struct Final { View from; Node *node; Buf *to; Buf *via; }) final;      /* results that are copied when all is done */
    VEC(Buf *) buf;              /* to be placed in the block */
    Seq *seq;
    int levels;
} Rplan;

void plan_values(Rplan *rp);                          /* plan_view.c: every node's view; every val's operands */
View plan_view(Rplan *rp, Node *n);
View val_view(Val *v);                                /* the whole of it, on the axes of its layout */
Val *val_new(Rplan *rp, Op op, Dt dt, Node *node, int rank, const int32_t *dim, int nin);
void plan_results_as_vals(Rplan *rp);                 /* every result is a val of its own, in order, or lies where it should already */
Val *val_copy(Rplan *rp, View from, Dt dt, int rank, const int32_t *dim);      /* a dense copy */
int  val_layout(const Val *v, int32_t *dim);          /* the axes of what it leaves: its own, less those a reduction sums */
int64_t val_size(const Val *v);                       /* elements of its layout */
void dense_strides(int rank, const int32_t *dim, int64_t *stride);
bool view_dense(const View *v, int rank, const int32_t *dim);     /* offset 0 and row-major */
bool op_reduces(int op);
bool same_place(const View *w, const Node *n, const Buf *b);      /* the view is all of b, in order */
void plan_groups(Rplan *rp);                          /* plan_group.c */
bool group_inside(const Group *g, const Val *user, const View *in);   /* the edge stays in registers */
bool group_depends(const Group *g, const Group *on);
void group_after(Rplan *rp, Group *g, Group *before); /* adds an edge to the closure */
int  group_axis_map(const Group *g, const Val *v, int *axis_of);  /* axes of v -> axes of F (-1: size 1) */
void plan_again(Rplan *rp);                           /* plan_again.c: cheap values are computed again */
void  plan_passes(Rplan *rp);                         /* plan_nest.c: pass and full of every val in a nest; what later passes want stored */
Step *nest_step(Rplan *rp, Group *g);                 /* the kernel of a group and its call */
Step *copy_step(Rplan *rp, Dt dt, int rank, const int32_t *dim, const View *from, Buf *to, int64_t off, const int64_t *stride);
Step *contract_step(Rplan *rp, Group *g);             /* plan_move.c: products and the irregular kernels */
Step *move_step(Rplan *rp, Group *g);
Step *join_step(Rplan *rp, const Val *v);
Buf  *scratch_buf(Rplan *rp, int64_t bytes);          /* plan_step.c: the thread's scratch, at least so large */
Step *kernel_step(Rplan *rp, Kernel *k, int narg, const Arg *arg);             
Arg   view_arg(const View *v, Dt dt);
void  plan_steps(Rplan *rp);                          /* levels, steps in order, places in the block, barriers */
Buf  *buf_new(Rplan *rp, int64_t bytes);              /* in the region's block */
void  plan_results(Rplan *rp);                        /* plan.c: buffers of all stored vals, states in place */
void  plan_bodies(Rplan *rp);                         /* plan_body.c: branches and loops */
View  leaf_view(Dt dt, Buf *buf, int64_t base, const View *like);
Seq *plan_region(Plan *plan, EntryPlan *ep, Region *r, View *formal, Buf **result);     /* plan.c */
extern int64_t plan_solo_work;                       /* operations that one thread does sooner than a team; tests set it to 0 */
#endif
