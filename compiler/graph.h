/* graph.h: the tensor graph. Nodes are immutable, pure and hash-consed; their operands are older (smaller ids).
   node() is the only constructor: it infers the type and shape from the operation's row in ops.def, folds constants and
   applies the algebra, so sharing and folding are no passes.  See HACKING.md for how to add an operation. */
#ifndef GRAPH_H
#define GRAPH_H
#include "nlc.h"

enum { MAXDIM = 8 };
typedef enum { F32, F64, I32, I64, U32, U8, BOOL, NDT } Dt;     /* BOOL is stored as a byte 0 or 1; U8 only as a stream's input */
int dt_size(Dt dt);
const char *dt_name(Dt dt);
static inline bool dt_float(Dt dt) { return dt == F32 || dt == F64; }

/* Operations: ops.def has one row each: OP(NAME, "name", arity (-1: any), group). */
typedef enum {
#define OP(NAME, name, arity, group) OP_##NAME,
#include "ops.def"
#undef OP
    NOPS
} Op;

typedef struct Node Node;
typedef struct Region Region;

/* Attributes; unused fields are zero, so that attributes compare as bytes. */
typedef struct {
    double  num;                 /* CONST of a float type */
    int64_t inum;                /* CONST of another type */
    int64_t k;                   /* FORMAL: position; OUT: result; STOP: tag; MARK: uid; BITS: word; LOOP: trip; CUMSUM, ARGSORT: 1 = reverse */
    int32_t axis;                /* IOTA CONCAT CUMSUM ARGMAX ARGSORT: axis; GATHER, SCATTER: number of leading batch axes */
    uint32_t axes;               /* SUM, MAXR: bit mask of reduced axes (they vanish from the shape) */
    int8_t  map[MAXDIM];         /* BCAST: for each axis of the result the operand's axis, or -1 (new); PERM: result axis i is operand axis map[i] */
    int32_t start[MAXDIM], step[MAXDIM];    /* SLICE, PAD: per axis (step may be negative) */
    int8_t  la[MAXDIM], lb[MAXDIM], lo[MAXDIM];   /* CONTRACT: labels 1..24 of a, b and the result; 0 past the rank */
    uint64_t site;               /* BITS: which draw; also GATHER: index of its place in sites (graph.c, site_add) */
    const void *data;            /* DATA: the tensor's bytes, row-major, in the type of the node (kept alive by the arena) */
    Region *r[2];                /* COND: then, else; LOOP: body */
    bool reverse;                /* LOOP: from the last item to the first */
} Attr;

struct Node {
    uint16_t op; uint8_t dt, rank;
    int32_t dim[MAXDIM];
    int nin; Node **in;
    Attr a;
    uint32_t id, hash;
    Loc loc;                     /* the first place that made it; not part of its identity */
};

/* A closed piece of graph: it sees the outside through its formals only. Formals and results carry a kind each. */
typedef enum { K_CAPTURE, K_INDEX, K_ITEM, K_CARRY, K_STACK, K_SUM } Kind;
struct Region { int np, nr; Node **formal; uint8_t *fkind; Node **result; uint8_t *rkind; };

/*  The operations, in words (dims in, attributes -> dims out):
    leaf     CONST (num|inum, any shape: a splat), FORMAL(k), IOTA(axis) of a shape, DATA
    unary    NEG ABS SIGN FLOOR SQRT EXP LOG SIN COS TANH SIGMOID ERF NOT CAST       same shape; CAST to the dt asked for
    binary   ADD SUB MUL DIV POW MIN MAX IDIV MOD (round down) LT LE EQ AND OR       operands of one type and one shape (no broadcast here)
    SELECT   (c bool, a, b)
    BITS     (seed i64[], step i64[], item i64[shape]) word, site -> u32[shape]: Philox4x32-10; key = (seed, site), counter = (element?, ..):
             element number is the fourth operand i64[shape]; all of shape [shape] except seed and step
    views    BCAST(map) PERM(map) RESHAPE SLICE(start, step; dims) PAD(start, step; dims: zeros elsewhere) WINDOW(axis, k = n) FOLD
    data     CONCAT(axis)  GATHER(x, idx; axis = nb): out[b.., i.., r..] = x[b.., idx[b.., i..], r..]
             SCATTER(d, idx; axis = nb; dims): adjoint of GATHER (adds)   CUMSUM(axis, k = reverse)   ARGSORT(axis) -> i32, stable
    reduce   SUM(axes) MAXR(axes) ARGMAX(axis) -> i32 (first of equals)
    CONTRACT (a, b; la, lb, lo): einsum with two operands; a label in both and not in lo is summed
    COND     (pred bool[], captures..) r[0], r[1]: both regions have the captures as formals; results through OUT
    LOOP     (operands..) trip, reverse, r[0]: formals INDEX (i32[], no operand), CAPTURE, ITEM (slice t of the operand's axis 0), CARRY;
             results CARRY (same order as the CARRY formals), STACK (slot t), SUM (added over t).  Operands: one per formal that is no INDEX
    OUT      (cond or loop) k: its k-th result, with its shape outside
    MARK     (x) uid: x, as the version of a state that a gradient is taken at;  STOP (x) tag: x, nothing flows back when tag matches
*/

Node *node(Op op, Dt dt, int rank, const int32_t *dim, int nin, Node *const *in, const Attr *a, Loc loc);
      /* dt, rank and dim matter where the row cannot infer them: leaves, CAST, BCAST, RESHAPE, SLICE, PAD, SCATTER, BITS; else pass 0, 0, NULL */

/* Builders: shapes must already be right (asserted); the language's own rules and messages are in tensor.c. */
Node *n_const(Dt dt, double v);                            /* rank 0 */
Node *n_iconst(Dt dt, int64_t v);
Node *n_splat(Dt dt, double v, int rank, const int32_t *dim);
Node *n_zeros_like(Node *x);
Node *n_data(Dt dt, int rank, const int32_t *dim, const void *bytes);
Node *n_formal(int k, Dt dt, int rank, const int32_t *dim);
Node *n_iota(Dt dt, int rank, const int32_t *dim, int axis);
Node *n_un(Op op, Node *x);
Node *n_bin(Op op, Node *a, Node *b);                      /* equal shapes, or one of rank 0, which is broadcast */
Node *n_cast(Node *x, Dt dt);
Node *n_select(Node *c, Node *a, Node *b);
Node *n_bcast(Node *x, int rank, const int32_t *dim, const int8_t *map);
Node *n_expand(Node *x, int rank, const int32_t *dim);     /* aligns at the last axis and stretches axes of size 1 (numpy) */
Node *n_perm(Node *x, const int8_t *map);
Node *n_reshape(Node *x, int rank, const int32_t *dim);
Node *n_slice(Node *x, const int32_t *start, const int32_t *len, const int32_t *step);
Node *n_slice1(Node *x, int axis, int32_t start, int32_t len, int32_t step);
Node *n_pad(Node *x, int rank, const int32_t *dim, const int32_t *start, const int32_t *step);
Node *n_window(Node *x, int axis, int n);                  /* [.., T, ..] -> [.., T-n+1, n, ..] */
Node *n_concat(int n, Node *const *x, int axis);
Node *n_gather(Node *x, Node *idx, int nbatch, Loc loc);
Node *n_gather_of(Node *x, Node *idx, int nbatch, Loc loc, const char *what);    /* what: as a message calls x */
Node *n_sum(Node *x, uint32_t axes);
Node *n_maxr(Node *x, uint32_t axes);
Node *n_argmax(Node *x, int axis);
Node *n_cumsum(Node *x, int axis, bool reverse);
Node *n_argsort(Node *x, int axis);
Node *n_contract(Node *a, Node *b, const int8_t *la, const int8_t *lb, int rank, const int8_t *lo);
Node *n_bits(Node *seed, Node *step, Node *item, Node *element, int word, uint64_t site);
Node *n_cond(Node *pred, int ncap, Node *const *cap, Region *then, Region *els);
Node *n_loop(int32_t trip, bool reverse, Region *body, int nin, Node *const *in);
Node *n_out(Node *s, int k);
Node *n_mark(Node *x, int64_t uid);
Node *n_stop(Node *x, int64_t tag);                        /* an objective's tag, or: */
enum { STOP_ALL = -1, STOP_SHIFT = -2,                     /* every objective; the same, of a value that no result depends on (softmax's maximum) */
       STOP_USES = -3 };                                   /* and below: none; here a matrix goes into a product (elab_uses.c) */
Node *n_fold(Node *x, int axis);                           /* adjoint of n_window: [.., T-n+1, n, ..] -> [.., T, ..] */
Node *n_scatter(Node *d, Node *idx, int nbatch, int rank, const int32_t *dim);
int64_t graph_uid(void);                                   /* a fresh number */

extern Loc graph_loc;                                      /* the place that nodes get whose builder takes none */
void graph_reset(void);                                    /* forgets all nodes, sites and evaluation plans: call it before arena_free_all */

bool is_const(const Node *x, double *v);                   /* a splat; its value */
Region *region_new(int np, Node *const *formal, const uint8_t *fkind, int nr, Node *const *result, const uint8_t *rkind);
int64_t n_size(const Node *x);                             /* number of elements */

/* Rebuilds results with some nodes replaced (from[i] by to[i]); regions inside are closed and stay, except where op_erase says so. */
void graph_subst(int nr, Node **result, int n, Node *const *from, Node *const *to);
Region *region_rewrite(Region *r, Node *(*each)(Node *x));  /* every node, operands first, by what `each` makes of it (perhaps x), at any depth */
Region *region_erase(Region *r);                           /* without MARK and STOP, everywhere */
int site_add(Loc loc, const char *what);                   /* places that a running program may have to name; graph_site gives them back */
int site_count(void); Loc site_loc(int i); const char *site_what(int i);

/* Topological order of what the results reach, operands first; the array is in the arena. */
int graph_order(int nr, Node *const *result, Node ***order);

/* dump.c, verify.c */
void region_print(const Region *r, FILE *to);
const char *node_type(const Node *x);                      /* "f32[3, 4]" */
void verify_region(const Region *r, const char *after);    /* aborts with a message if a rule of the graph is broken */

/* blocks.c: carries that hold a state's value at the start of each block of items */
enum { MAXANCHOR = 32 };
typedef struct { int n; int formal[MAXANCHOR], result[MAXANCHOR]; Node *select[MAXANCHOR], *start[MAXANCHOR]; } Anchors;
int64_t anchors_find(const Region *r, Anchors *a);          /* the block's length, 0: there is none */
Region *anchors_inside(const Region *r, const Anchors *a);  /* the body with the anchors captured; their results are gone */

typedef struct { int32_t trip; int64_t period; int n; Node *when[MAXANCHOR]; int64_t every[MAXANCHOR], offset[MAXANCHOR]; } Clocks;
bool clocks_find(const Region *r, int32_t trip, Clocks *c);          /* conditions that hold at the last item of blocks of `period` */
Region *clocks_inside(const Region *r, const Clocks *c);             /* the body before a block's last item, and the results of that one: */
void clocks_last(const Region *r, const Clocks *c, Node *index, int64_t blocks, bool rest, Node *const *in, Node **result);
Region *carries_needed(const Region *r, int *what);                  /* without carries that nothing changes, or that are sums */

/* dense.c: loops whose states change by scalars and products of what is known beforehand, as products of all turns */
enum { DENSE = 16 };                                       /* turns of a piece */
extern int64_t dense_worth;                                /* how many times smaller than the states the values of a turn are; tests set it to 0 */
int32_t dense_turns(const Region *r);                      /* so many may be done at once: 0, it is no such loop; without states, all */
bool dense_run(int32_t trip, const Region *r, Node *const *operand, Node **out);    /* false: it is none after all */

/* segment.c: n_loop and its results; a long loop that will be differentiated (and runs forwards) is made of segments */
void loop_run(int32_t trip, Region *body, int nin, Node *const *operand, bool differentiated, Node **out);
void level_run(const char *name, int32_t trip, Region *body, int nin, Node *const *operand, bool differentiated, Node **out);    /* the same; --dump=loops says how */
int64_t loop_state_bytes(const Region *body);

/* grad.c: reverse mode. cot[i]: cotangent of result i (NULL: none). grad[j]: cotangent of wrt[j] (NULL: nothing flows there).
   wrt are MARK nodes or FORMALs (any node). STOP(tag') passes nothing if tag' == tag, STOP_ALL or STOP_SHIFT. */
void vjp(int nr, Node *const *result, Node *const *cot, int nw, Node *const *wrt, int64_t tag, Node **grad);
bool flows_past(Node *x, Node *to, int64_t tag, int64_t also);  /* does a gradient of x reach it, if STOP(also) lets nothing pass either? */
bool depends_on(Node *x, Node *on);                        /* x reaches on (looking through STOPs too) */

/* products.c: several factors in the order that needs the fewest operations */
Region *products_order(Region *r);
enum { MAXFACTOR = 8 };
typedef struct { Node *x; int8_t l[MAXDIM]; } Factor;      /* a tensor and the label of each of its axes */
int factors_of(Node *x, const int8_t *l, Factor *f, double *times);      /* up to MAXFACTOR, and numbers; -1: more */
Node *factors_multiply(int n, const Factor *f, double times, int rank, const int8_t *lo, const int32_t *dim);   /* their product, summed over labels that lo lacks */

/* lift.c: a node of a loop's body for all turns at once; turns[i]: operand i has the axis of turns in front */
bool can_lift(const Node *x);
Node *lift_node(const Node *x, Node *const *in, const bool *turns, int32_t trip);
Node *lift_same(Node *x, int32_t trip);

/* hoist.c: what a loop need not do turn by turn leaves it */
Region *loops_hoist(Region *r);

/* twins.c: loops that are the same in everything but their lists of results */
int  loop_carry_result(const Region *r, int f);            /* the result that is the next value of the CARRY formal f */
bool loop_same(const Node *x, const Node *y);              /* same but for STACK and SUM results */
int  loop_find_result(const Region *wide, const Region *r, int k);     /* result k of r in the wider region; -1: it has none */
Node *loop_more_results(Node *loop, int n, Node *const *result, const uint8_t *rkind);   /* further results at the end of the list */
Node *loop_union(Node *x, const Node *y);                  /* x with those results of y that it lacks */
Region *loops_merge(Region *r);                            /* the pass: twins become one, at any depth */

/* sink.c */
Region *region_sink(Region *r);                            /* what one side of a cond alone needs moves into it */

/* lanes.c: loops over time under a batch, lane by lane: loop { [B, ..] } becomes loop over lanes { loop { [g, ..] } } */
Region *lanes_split(Region *r);

/* eval.c: the reference evaluator: f64 loops, one node at a time, straight from the row.  A Tensor holds doubles (floats), or int64 (others). */
typedef struct { uint8_t dt, rank; int32_t dim[MAXDIM]; double *f; int64_t *i; } Tensor;
Tensor *tensor_new(Dt dt, int rank, const int32_t *dim);   /* malloc; zeros */
void tensor_free(Tensor *t);
typedef struct { int64_t site, index, value; bool bad; } EvalStatus;     /* a gather index out of range */
void region_eval(const Region *r, Tensor *const *in, Tensor **out, bool round, EvalStatus *st);
      /* round: each f32 node rounded to float.  out: malloc'ed. */
/* The same with the value of some nodes given (central differences): */
void region_eval_with(const Region *r, Tensor *const *in, Tensor **out, bool round, EvalStatus *st,
                      int n, Node *const *node, Tensor *const *value);

/* Closing: the part of the graph between `cut` (and whatever FORMALs are reached) and `result`, as a region for cond and loop.
   Formal i stands for cut[i]; formals that follow stand for FORMALs of the outside that were reached, appended to *cap, which on
   return lists all ncut + extra outside nodes. With two result lists (cond) both regions get the same formals. */
int region_close2(int nr, Node *const *res0, Node *const *res1 /* or NULL */, int ncut, Node *const *cut,
                  Node ***cap, Region **r0, Region **r1);      /* returns the number of captures; all kinds K_CAPTURE / K_STACK */

/* files.c: a tensor from a json (name "a.b.c"), npy or safetensors file, plain or .gz; beside the source file or in the current folder.
   NULL after a message. */
Node *file_tensor(const char *path, const char *name, Dt want, Loc at);
#endif
